"""What a persona remembers, on its page: shown with where it came from, given and taken, audited."""

import re

import pytest

from app.db.engine import Database
from app.world import memories
from tests.conftest import NOON, run_sql
from tests.venues.test_cycle import people
from tests.venues.test_remembering import a_quarrel
from tests.web.pages.desk import at_desk, csrf, look, played
from tests.web.test_page import HOSTILE

AT = "/admin/personas/1/memory"


async def test_the_list_says_what_and_where_it_came_from(database: Database, url: str) -> None:
    post = await a_quarrel(database)
    async with at_desk(url) as client:
        page = await look(client, AT)
        assert 'You posted: "Trams should be free for everybody."' in page.text
        assert "disagreed with you about your post" in page.text
        assert {f"/post/{post}", "/@p1"} <= set(page.links)
        turns = [link for link in page.links if re.fullmatch(r"/admin/traces/\d+", link)]
        assert len(turns) >= 2
        assert (await client.get(turns[0])).status_code == 200
        assert AT in (await look(client, "/admin/personas/1")).links


async def test_an_empty_memory_says_so(database: Database, url: str) -> None:
    await people(database, 1)
    async with at_desk(url, memory="off") as client:
        page = await look(client, AT)
    assert "It remembers nothing yet" in page.text
    assert "Memory is off" in page.text


async def test_give_and_forget_are_audited(database: Database, url: str) -> None:
    await people(database, 1)
    async with at_desk(url) as client:
        token = await csrf(client)
        body = "You grew up by the <sea>."
        answer = await client.post(AT, data={"csrf": token, "body": body, "importance": "0.5"})
        assert answer.status_code == 303
        page = await look(client, answer.headers["location"])
        assert body in page.text
        made = page.all("input", name="forget")[0]["value"]
        assert (await client.post(AT, data={"csrf": token, "forget": made})).status_code == 303
        assert (await client.post(AT, data={"csrf": token, "forget": made})).status_code == 404
        assert "It remembers nothing yet" in (await look(client, AT)).text
    rows = await database.fetch("SELECT action FROM audit WHERE action LIKE 'memory.%' ORDER BY id")
    assert [row["action"] for row in rows] == ["memory.given", "memory.forgotten"]


@pytest.mark.parametrize(
    ("body", "importance", "told"),
    [("", "0.5", "up to 500"), ("x" * 501, "0.5", "up to 500"), ("x", "2", "from 0 to 1"), ("x", "a", "from 0 to 1"),
     ("x", "nan", "from 0 to 1"), ("a\x00b", "0.5", "up to 500")],
)  # fmt: skip
async def test_a_wrong_field_is_explained(database: Database, url: str, body: str, importance: str, told: str) -> None:
    await people(database, 1)
    async with at_desk(url) as client:
        answer = await client.post(AT, data={"csrf": await csrf(client), "body": body, "importance": importance})
        assert 400 <= answer.status_code < 500
        if answer.status_code == 422:
            assert told in answer.text
    assert await database.fetchval("SELECT count(*) FROM memories") == 0


async def test_too_many_are_a_conflict(database: Database, url: str) -> None:
    await people(database, 1)
    for n in range(memories.GIVEN_MOST):
        await memories.give(database, 1, f"Thing {n}", now=NOON)
    async with at_desk(url) as client:
        answer = await client.post(AT, data={"csrf": await csrf(client), "body": "One more", "importance": ""})
        assert answer.status_code == 409
        assert "forget one first" in answer.text
        seen: list[str] = []
        address: str | None = AT
        while address:
            page = await look(client, address)
            seen += [field["value"] for field in page.all("input", name="forget")]
            address = next((a["href"] for a in page.all("a", rel="next")), None)
    assert len(seen) == len(set(seen)) == memories.GIVEN_MOST


async def test_what_is_remembered_is_data(database: Database, url: str) -> None:
    await people(database, 1)
    await database.fetch("INSERT INTO memories (persona_id, kind, about, body) VALUES (1, 'done_to', 1, $1)", HOSTILE)
    async with at_desk(url) as client:
        assert HOSTILE in (await look(client, AT)).text  # `look` finds handlers, and scripts that are not ours


@pytest.mark.parametrize("path", [f"{AT}?cursor=x", "/admin/personas/999/memory", "/admin/personas/x/memory",
                                  f"/admin/personas/{2**70}/memory", f"{AT}?folded=perhaps"])  # fmt: skip
async def test_wrong_addresses(database: Database, url: str, path: str) -> None:
    await people(database, 1)
    async with at_desk(url) as client:
        assert 400 <= (await client.get(path)).status_code < 500


async def test_forms_count_only_from_our_pages_and_for_admins(database: Database, url: str) -> None:
    await people(database, 1)
    async with at_desk(url) as client:
        assert (await client.post(AT, data={"csrf": "0" * 64, "body": "x"})).status_code == 403
        for forget in ("x", "0", str(2**80), "-1"):
            answer = await client.post(AT, data={"csrf": await csrf(client), "forget": forget})
            assert 400 <= answer.status_code < 500
        client.cookies.clear()
        assert (await client.get(AT)).headers["location"].startswith("/admin/login")


async def test_a_trace_says_what_was_remembered_and_why(database: Database, url: str) -> None:
    runs = await played(database, url, people=4, cycles=4)
    turn = await database.fetchval(
        "SELECT e.turn_id FROM exposures e JOIN turns t ON t.id = e.turn_id"
        " WHERE e.kind = 'memory' AND t.run_id = $1 LIMIT 1",
        runs[-1],
    )
    async with at_desk(url) as client:
        page = await look(client, f"/admin/traces/{turn}")
        assert "Remembered by recall (version 1), best first" in " ".join(page.text.split())
        assert re.search(r"score [01]\.\d{3}: \w+: recency [01]\.\d+, importance", page.text), page.text
        (link, *_) = [one for one in page.links if "#m" in one]
        address, _, place = link.partition("#")
        assert place in (await look(client, address)).ids


async def test_a_departed_persona_is_shown_and_given_nothing(database: Database, url: str) -> None:
    await people(database, 1)
    await run_sql(url, "UPDATE personas SET status = 'departed' WHERE id = 1")
    async with at_desk(url) as client:
        page = await look(client, AT)
        assert "Give it a memory" not in page.text
        answer = await client.post(AT, data={"csrf": await csrf(client), "body": "x", "importance": "0.5"})
        assert 400 <= answer.status_code < 500
