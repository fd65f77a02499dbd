"""What personas were shown, in a browser: all of one's, each time of one post, who saw a post; the editor's rankers."""

import re

import httpx2
import pytest

from app.db.engine import Database
from app.ledger import exposures
from app.web.pages.admin import shown
from app.web.pages.admin.persona_form import RANKERS
from app.world import ranking
from tests.conftest import run_sql
from tests.web.pages.desk import at_desk, csrf, look
from tests.web.test_exposures_api import lived
from tests.web.test_page import HOSTILE


async def walked(client: httpx2.AsyncClient, address: str, found: str) -> list[str]:
    """What a pattern finds on a page and on all that follow it."""
    every: list[str] = []
    for _ in range(500):
        answer = await client.get(address)
        assert answer.status_code == 200
        every += re.findall(found, answer.text)
        following = re.search(r'rel="next" href="([^"]+)"', answer.text)
        if following is None:
            return every
        address = following[1].replace("&amp;", "&")
    raise AssertionError("it never ends")


async def test_all_that_a_persona_was_shown(database: Database, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = await lived(database)
    here = f"/admin/personas/{seen['persona_id']}/shown"
    total = await database.fetchval(
        "SELECT sum(cardinality(e.items)) FROM exposures e JOIN turns t ON t.id = e.turn_id WHERE t.persona_id = $1",
        seen["persona_id"],
    )
    async with at_desk(url) as client:
        page = await look(client, here)
        assert here in (await look(client, f"/admin/personas/{seen['persona_id']}")).links
        assert f"/admin/traces/{seen['turn_id']}#step-{seen['step']}" in page.links
        assert seen["reasons"][0] in page.text
        assert "mixed version 1" in page.text
        assert f"chance {seen['chances'][0]:.4g}" in page.text
        monkeypatch.setattr(shown, "PAGE", 3)
        assert len(await walked(client, here, r'<span class="soft">place \d+')) == total
        monkeypatch.setattr(exposures, "LOOKED", 2)
        assert len(await walked(client, here, r'<span class="soft">place \d+')) == total
        post = seen["items"][0]
        page = await look(client, f"{here}?post={post}")
        assert f"saw post {post}" in page.text
        assert seen["reasons"][0] in page.text


async def test_who_was_shown_a_post(database: Database, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = await lived(database)
    root = await database.fetchval("SELECT coalesce(repost_of, id) FROM posts WHERE id = $1", seen["items"][0])
    expected = await database.fetch(
        "SELECT e.turn_id FROM exposures e CROSS JOIN LATERAL unnest(e.items) AS i (item) JOIN posts p ON p.id = i.item"
        " WHERE e.kind = 'post' AND (p.id = $1 OR p.repost_of = $1)"
        " ORDER BY e.turn_id DESC, e.step DESC, e.ordinal DESC",
        root,
    )
    turns = [str(row["turn_id"]) for row in expected]
    assert turns
    async with at_desk(url) as client:
        here = f"/admin/traces/shown/{root}"
        assert here in (await look(client, f"/post/{root}")).links
        pattern = r'href="/admin/traces/(\d+)#step-\d+">turn'
        assert await walked(client, here, pattern) == turns
        monkeypatch.setattr(shown, "PAGE", 1)
        assert await walked(client, here, pattern) == turns
        monkeypatch.setattr(exposures, "LOOKED", 2)
        assert await walked(client, here, pattern) == turns
        await run_sql(url, f"UPDATE posts SET hidden = true WHERE id = {root}")
        page = await look(client, here)
        assert f"/admin/safety/post/{root}" in page.links
        client.cookies.clear()
        for address in (here, f"/admin/personas/{seen['persona_id']}/shown"):
            assert (await client.get(address)).status_code == 303


async def test_odd_addresses_and_hostile_words(database: Database, url: str) -> None:
    seen = await lived(database)
    here = f"/admin/personas/{seen['persona_id']}/shown"
    literal = HOSTILE.replace("'", "''")
    await run_sql(
        url,
        f"UPDATE exposures SET ranker = '{literal}',"
        f" reasons = array_fill('{literal}'::text, ARRAY[cardinality(reasons)])",
        f"UPDATE posts SET body = '{literal}' WHERE body <> ''",
    )
    async with at_desk(url) as client:
        assert HOSTILE in (await look(client, here)).text
        assert HOSTILE in (await look(client, f"/admin/traces/shown/{seen['items'][0]}")).text
        assert HOSTILE in (await look(client, f"/admin/traces/{seen['turn_id']}")).text
        await look(client, f"{here}?post=&cursor=")
        for query in ("post=0", "post=x", f"post={2**63}", "cursor=x", "cursor=" + "x" * 401):
            await look(client, f"{here}?{query}", 422)
        await look(client, f"{here}?post=999999", 404)
        await look(client, "/admin/personas/999/shown", 404)
        await look(client, "/admin/traces/shown/999999", 404)
        await look(client, f"/admin/traces/shown/{2**63}", 422)
        await look(client, f"/admin/traces/shown/{seen['items'][0]}?cursor=x", 422)


async def test_the_trace_says_why_each_item_stands_where_it_stands(database: Database, url: str) -> None:
    seen = await lived(database)
    async with at_desk(url) as client:
        page = await look(client, f"/admin/traces/{seen['turn_id']}")
        assert page.all("ol", class_="shown-items")
        for reason, score, chance in zip(seen["reasons"], seen["scores"], seen["chances"], strict=True):
            assert reason in page.text
            assert f"score {score:.4g}, chance {chance:.4g}" in page.text
        assert f"/admin/personas/{seen['persona_id']}/shown" in page.links
        file = await client.get(f"/admin/traces/{seen['turn_id']}.html")
        assert seen["reasons"][0] in file.text


async def test_nobody_has_read_anything(database: Database, url: str) -> None:
    await run_sql(
        url,
        "INSERT INTO personas (username, description) VALUES ('ann', 'x')",
        "INSERT INTO posts (author_id, body) VALUES (1, 'hello')",
        "INSERT INTO post_counts (post_id) VALUES (1) ON CONFLICT DO NOTHING",
    )
    async with at_desk(url) as client:
        assert "has read nothing yet" in (await look(client, "/admin/personas/1/shown")).text
        assert "was never shown post 1" in (await look(client, "/admin/personas/1/shown?post=1")).text
        assert "No reading of any persona" in (await look(client, "/admin/traces/shown/1")).text


async def test_the_editor_explains_the_rankers(url: str) -> None:
    assert tuple(RANKERS) == ranking.RANKERS
    await run_sql(url, "INSERT INTO personas (username, description) VALUES ('ann', 'x')")
    async with at_desk(url, feed_ranker="hot:pool=50") as client:
        page = await look(client, "/admin/personas/1")
        options = [given["value"] for given in page.all("option") if given.get("label")]
        assert options == list(RANKERS)
        assert "now hot:pool=50" in page.text
        settings = await look(client, "/admin/settings")
        assert "FEED_RANKER" in settings.text
        assert "hot:pool=50" in settings.text
        mark = page.all("input", name="mark")[0]["value"]
        given = {"csrf": await csrf(client), "mark": mark, "username": "ann", "description": "x", "status": "active"}
        given["activity"] = "1"
        answer = await client.post("/admin/personas/1", data={**given, "ranker": HOSTILE[:150]})
        assert answer.status_code == 422
        assert 'id="wrong-ranker"' in answer.text
        answer = await client.post("/admin/personas/1", data={**given, "ranker": "mixed:top=2,random=1"})
        assert answer.status_code == 303
        assert (await look(client, "/admin/personas/1")).all("input", name="ranker", value="mixed:random=1,top=2")
