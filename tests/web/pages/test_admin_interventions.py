"""The page of interventions: a form for each kind, the list, cancelling; and where else they are told of."""

import re

import httpx2
import pytest

from app.db.engine import Database
from app.venues.feed import open_cycle, play_cycle
from app.web.pages.admin.interventions import FIELDS
from tests.conftest import a_mind, serving, settings_for
from tests.venues.test_cycle import people
from tests.web.pages.desk import at_desk, look
from tests.web.test_page import BROWSER, HOSTILE

HERE = "/admin/runs/interventions"


async def token(client: httpx2.AsyncClient) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', (await client.get(HERE)).text)
    assert found is not None
    return found[1]


async def test_an_empty_world_and_every_form(url: str) -> None:
    async with at_desk(url) as client:
        page = await look(client, HERE)
        assert "None yet" in page.text
        assert page.is_sound()
        for kind, fields in FIELDS.items():
            page = await look(client, f"{HERE}?kind={kind}")
            assert page.is_sound()
            named = {a.get("name") for tag in ("input", "textarea", "select") for a in page.all(tag)}
            assert {*fields, "cycle", "at", "note"} <= named
        await look(client, f"{HERE}?kind=dance", 422)
        assert "None is planned" in (await look(client, f"{HERE}?state=planned")).text
        assert HERE in (await look(client, "/admin/runs")).links


async def test_plan_done_and_told_of(url: str, database: Database) -> None:
    await people(database, 4)
    async with at_desk(url) as client:
        csrf = await token(client)
        words = "They say <script>window.hurt=1</script> the tram is late."
        answer = await client.post(
            f"{HERE}/plan/post",
            data={"csrf": csrf, "cycle": "1", "persona": "p1", "body": words, "note": HOSTILE[:150]},
        )
        assert answer.headers["location"].startswith(f"{HERE}?done=intervention-planned")
        answer = await client.post(f"{HERE}/plan/pause", data={"csrf": csrf, "cycle": "1", "to": "p2, p3"})
        assert answer.status_code == 303
        answer = await client.post(
            f"{HERE}/plan/ranker", data={"csrf": csrf, "cycle": "9", "ranker": "hot", "tag": "sea"}
        )
        assert answer.status_code == 303
        last = await database.fetchval("SELECT max(id) FROM interventions")
        answer = await client.post(f"{HERE}/{last}/cancel", data={"csrf": csrf})
        assert answer.headers["location"] == f"{HERE}?done=intervention-cancelled"
        assert (await client.post(f"{HERE}/{last}/cancel", data={"csrf": csrf})).status_code == 409
        assert (await client.post(f"{HERE}/999/cancel", data={"csrf": csrf})).status_code == 404
        async with a_mind(database) as mind:
            run_id = await open_cycle(mind, settings_for(url), seed=1)
            assert run_id is not None
            await play_cycle(mind, settings_for(url), run_id)
        page = await look(client, HERE)
        assert page.is_sound()
        assert "They say <script>" in page.text
        assert f"/admin/runs/{run_id}" in page.links
        post = await database.fetchval("SELECT (outcome ->> 'post_id')::bigint FROM interventions WHERE kind = 'post'")
        assert f"/post/{post}" in page.links
        run = await look(client, f"/admin/runs/{run_id}")
        assert "It began with" in run.text
        assert "pauses @p2, @p3" in run.text
        assert run.is_sound()
        thread = await look(client, f"/post/{post}")
        assert "an intervention put it here in the name of @p1" in thread.text
        assert thread.is_sound()
    async with serving(settings_for(url)) as anybody:
        seen = (await anybody.get(f"/post/{post}", headers=BROWSER)).text
        assert "an intervention put it here" in seen
        assert HOSTILE[:20] not in seen
    audited = await database.fetch("SELECT action FROM audit WHERE action LIKE 'intervention.%' ORDER BY id")
    assert [row["action"] for row in audited] == ["intervention.planned"] * 3 + ["intervention.cancelled"]


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        ("post", {"cycle": "1", "persona": "nobody", "body": "x"}, "no persona has the username nobody"),
        ("post", {"cycle": "x", "persona": "p1", "body": "x"}, "must be a whole number from 1"),
        ("post", {"cycle": "1", "persona": "p1"}, "must be given"),
        ("post", {"persona": "p1", "body": "x"}, "needs either"),
        ("post", {"cycle": "1", "at": "2026-03-02T08:00", "persona": "p1", "body": "x"}, "needs either"),
        ("post", {"at": "soon", "persona": "p1", "body": "x"}, "must be a time such as"),
        ("post", {"at": "1999-03-02T08:00", "persona": "p1", "body": "x"}, "is over"),
        ("pause", {"cycle": "1"}, "must be given"),
        ("pause", {"cycle": "1", "to": "all", "tag": "x"}, "say either names"),
        ("ranker", {"cycle": "1"}, "needs `ranker` or `who_to_follow`"),
        ("news", {"cycle": "1", "title": "x", "url": "javascript:alert(1)"}, "must be an address"),
        ("message", {"cycle": "1", "body": HOSTILE * 9, "from": HOSTILE}, "from"),
    ],
)
async def test_what_is_wrong_is_said_at_its_field(
    url: str, database: Database, kind: str, fields: dict[str, str], said: str
) -> None:
    await people(database, 2)
    async with at_desk(url) as client:
        answer = await client.post(f"{HERE}/plan/{kind}", data={"csrf": await token(client), **fields})
        assert answer.status_code == 422
        assert said in answer.text.replace("&#39;", "'")
        assert "<script>window" not in answer.text
    assert await database.fetchval("SELECT count(*) FROM interventions") == 0


async def test_who_may(url: str) -> None:
    async with at_desk(url) as client:
        csrf = await token(client)
        form = {"cycle": "1", "title": "x"}
        assert (await client.post(f"{HERE}/plan/news", data={"csrf": "0" * 64, **form})).status_code == 403
        headers = {"Sec-Fetch-Site": "cross-site"}
        answer = await client.post(f"{HERE}/plan/news", data={"csrf": csrf, **form}, headers=headers)
        assert answer.status_code == 403
        assert (await client.post(f"{HERE}/plan/dance", data={"csrf": csrf, **form})).status_code in (404, 422)
        assert (await client.get(f"{HERE}?cursor=x")).status_code == 422
    async with serving(settings_for(url)) as nobody:
        nobody.headers.update(BROWSER)
        assert (await nobody.get(HERE)).headers["location"].startswith("/admin/login")


async def test_pages_of_the_list(url: str, database: Database) -> None:
    async with at_desk(url) as client:
        await database.fetchval(
            "INSERT INTO interventions (kind, cycle, detail) "
            "SELECT 'news', n, '{\"title\": \"x\"}' FROM generate_series(1, 40) n"
        )
        first = await look(client, HERE)
        rest = await look(client, next(link for link in first.links if "cursor=" in link))
        assert "That was the very first one" in rest.text
