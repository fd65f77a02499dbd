"""The page of a post: what stands on it, for whom, and that its address still gives programs their JSON."""

import asyncpg
import httpx2
import pytest

from app.db.engine import Database
from app.ledger import origins
from tests.conftest import run_sql, serving, settings_for
from tests.web.pages.desk import Page, at_desk, look, played
from tests.web.test_contract import populate
from tests.web.test_page import BROWSER, HOSTILE


@pytest.fixture
async def browser(client: httpx2.AsyncClient) -> httpx2.AsyncClient:
    client.headers.update(BROWSER)
    return client


async def test_a_post_with_who_likes_it_and_what_was_said(browser: httpx2.AsyncClient, url: str) -> None:
    await populate(url)
    page = await look(browser, "/post/1")
    assert {"post-1", "likes", "comments", "comment-1", "comment-2", "why", "cascade"} <= page.ids
    assert page.text.index("first") < page.text.index("second")
    assert "No turn made this post" in page.text
    assert {"/@ann", "/@bob"} <= set(page.links)
    marks = [a for t, a in page.elements if t == "article" and a.get("data-ai-generated") == "true"]
    assert len(marks) == 3
    assert len(page.all("meta", itemprop="digitalSourceType")) == 3
    assert "Nobody likes this yet" in (await look(browser, "/post/2")).text


async def test_one_address_two_representations(client: httpx2.AsyncClient, url: str) -> None:
    await populate(url)
    plain = await client.get("/post/1")
    assert plain.json()["comments"][0]["body"] == "second"
    assert (await client.get("/post/1", headers={"Accept": "application/json, text/html"})).text == plain.text
    page = await client.get("/post/1", headers=BROWSER)
    assert page.headers["content-type"].startswith("text/html")
    assert "accept" in plain.headers["vary"].lower()
    assert "accept" in page.headers["vary"].lower()
    assert page.headers["etag"] != plain.headers["etag"]
    again = await client.get("/post/1", headers={**BROWSER, "If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = await client.head("/post/1", headers=BROWSER)
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", page.headers["etag"])


async def test_many_comments_come_in_pages(browser: httpx2.AsyncClient, url: str) -> None:
    await populate(url, posts=1)
    await run_sql(url, "INSERT INTO comments (post_id, author_id, body) SELECT 1, 2, 'c' FROM generate_series(3, 205)")
    seen: list[str] = []
    address = "/post/1"
    for _ in range(3):
        page = await look(browser, address)
        seen += [a["id"] for a in page.all("article") if a.get("id", "").startswith("comment-")]
        more = page.all("a", rel="next")
        address = more[0]["href"] if more else ""
    assert seen == [f"comment-{n}" for n in range(1, 206)]
    assert address == ""


async def test_many_likes_are_told_by_number(browser: httpx2.AsyncClient, url: str) -> None:
    await populate(url, posts=1)
    await run_sql(
        url,
        "INSERT INTO personas (username, description) SELECT 'q' || n, 'x' FROM generate_series(3, 60) n",
        "INSERT INTO likes (post_id, persona_id) SELECT 1, n FROM generate_series(3, 60) n",
        "UPDATE post_counts SET likes_count = 59",
    )
    assert "and 29 more" in (await look(browser, "/post/1")).text


async def test_the_public_is_told_why_and_admins_all_of_it(url: str, database: Database) -> None:
    await played(database, url, people=4, cycles=2)
    rows = await database.fetch("SELECT object_id FROM actions WHERE effect = 'post' AND outcome = 'made' ORDER BY 1")
    post_id = rows[-1]["object_id"]
    origin = await origins.origin(database, "post", post_id)
    assert origin is not None
    await database.fetchval(
        "UPDATE calls SET reply = convert_to('{\"content\": \"Secretly I love herring.\"}', 'UTF8'), cost_usd = 0.125"
        " WHERE turn_id = $1 AND step = $2",
        origin.turn_id,
        origin.step,
    )
    async with serving(settings_for(url)) as client:
        client.headers.update(BROWSER)
        public = await look(client, f"/post/{post_id}")
    assert f"wrote this in step {origin.step}" in public.text
    assert "What it read last" in public.text
    assert "Secretly" not in public.text
    assert "$0.1" not in public.text
    assert not any(link.startswith("/admin/traces") for link in public.links)
    async with at_desk(url) as client:
        page = await look(client, f"/post/{post_id}")
        assert "Secretly I love herring." in page.text
        assert "$0.1" in page.text
        assert f"/admin/traces/{origin.turn_id}#step-{origin.step}" in page.links
        first = await look(client, f"/post/{rows[0]['object_id']}")
        assert any("#step-" in link for link in first.links)


async def test_what_came_of_a_post_is_a_tree(url: str, database: Database) -> None:
    await played(database, url, people=6, cycles=2)
    async with serving(settings_for(url)) as client:
        client.headers.update(BROWSER)
        page = await look(client, "/post/1")
    cascade = await origins.cascade(database, 1)
    assert cascade.size
    assert f"{cascade.size} deed" in page.text
    for deed in cascade.deeds:
        assert f"@{deed.username}" in page.text


async def test_a_share_leads_to_what_it_shares(browser: httpx2.AsyncClient, url: str) -> None:
    await populate(url, posts=1)
    await run_sql(
        url,
        "INSERT INTO posts (author_id, body, repost_of) VALUES (2, '', 1)",
        "INSERT INTO post_counts (post_id) VALUES (2)",
    )
    assert "/post/1" in (await look(browser, "/post/2")).links
    assert "shared it" in (await look(browser, "/post/1")).text


async def test_what_is_in_quarantine_has_no_page(browser: httpx2.AsyncClient, url: str) -> None:
    await populate(url, posts=2)
    await run_sql(
        url,
        "INSERT INTO comments (post_id, author_id, body, hidden) VALUES (2, 1, 'vile', true), (2, 1, 'mild', false)",
        "UPDATE posts SET hidden = true WHERE id = 1",
    )
    await look(browser, "/post/1", 404)
    page = await look(browser, "/post/2")
    assert "mild" in page.text
    assert "vile" not in page.text


@pytest.mark.parametrize("post_id", ["0", "-1", "99", "9223372036854775807", "9223372036854775808", "1e3", "%00", "x"])
@pytest.mark.parametrize("query", ["", "?cursor=", "?cursor=abc", "?cursor=%F0%9F%90%9F", f"?cursor={'a' * 500}"])
async def test_hostile_addresses(browser: httpx2.AsyncClient, url: str, post_id: str, query: str) -> None:
    answer = await browser.get(f"/post/{post_id}{query}")
    assert 400 <= answer.status_code < 500
    assert Page(answer.text).is_sound()


async def test_a_cursor_of_another_post_is_refused(browser: httpx2.AsyncClient, url: str) -> None:
    await populate(url, posts=2)
    await run_sql(url, "INSERT INTO comments (post_id, author_id, body) SELECT 1, 2, 'c' FROM generate_series(1, 120)")
    following = (await look(browser, "/post/1")).all("a", rel="next")[0]["href"].partition("?")[2]
    await look(browser, f"/post/2?{following}", 422)


async def test_what_personas_write_is_text(url: str, database: Database) -> None:
    await played(database, url, people=4, cycles=2)
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE posts SET body = $1, title = $1 WHERE repost_of IS NULL", HOSTILE)
    await connection.execute("UPDATE comments SET body = $1", HOSTILE)
    await connection.execute(
        "UPDATE personas SET bio = $1, profile = jsonb_build_object('display_name', $1::text, 'leaning', $1::text)",
        HOSTILE,
    )
    await connection.execute("UPDATE calls SET model = $1, model_returned = $1 || 'x'", HOSTILE)
    await connection.execute(
        "UPDATE calls SET reply = convert_to(jsonb_build_object('content', $1::text)::text, 'UTF8')", HOSTILE
    )
    count = await connection.fetchval("SELECT max(id) FROM posts")
    await connection.close()
    async with at_desk(url) as client:
        for post_id in range(1, min(count, 6) + 1):
            page = await look(client, f"/post/{post_id}")
            assert HOSTILE in page.text
            assert all(not image["src"].startswith("x") for image in page.all("img"))
