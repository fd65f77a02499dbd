"""News, trends and search over HTTP: who may, pages, revalidation, hostile input; and the pages of the same."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from app.db.engine import Database
from app.world.clock import set_clock
from tests.conftest import settings_for
from tests.web.test_contract import populate
from tests.web.test_edge import assert_problem, loopback
from tests.web.test_events import listening

ITEM = {"title": "The bridge is closed", "text": "Until spring.", "source": "Gull", "url": "https://gull.example/1"}
PAGE = {"Accept": "text/html"}
NASTY = '<script>window.__xss=1</script>"><img src=x onerror=alert(1)>'


async def publish(client: httpx2.AsyncClient, admin: dict[str, str], *items: dict[str, Any]) -> list[int | None]:
    answer = await client.post("/news", json={"items": items}, headers=admin)
    assert answer.status_code == 201, answer.text
    ids: list[int | None] = answer.json()["ids"]
    return ids


async def test_news_is_published_read_and_withdrawn(
    client: httpx2.AsyncClient, admin: dict[str, str], database: Database
) -> None:
    assert await publish(client, admin, ITEM, {"title": "Rain"}) == [1, 2]
    again = await client.post("/news", json={"items": [ITEM]}, headers=admin)
    assert again.json() == {"ids": [None], "published": 0, "known": 1}
    answer = await client.get("/news")
    found = answer.json()
    assert [one["title"] for one in found["data"]] == ["Rain", "The bridge is closed"]
    assert {name: found["data"][1][name] for name in ITEM} == ITEM
    same = await client.get("/news", headers={"If-None-Match": answer.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    for _ in range(2):
        assert (await client.delete("/news/2", headers=admin)).json() == {"id": 2, "withdrawn": True}
    assert [one["id"] for one in (await client.get("/news")).json()["data"]] == [1]
    deeds = await database.fetch("SELECT action, subject FROM audit WHERE action LIKE 'news.%' ORDER BY id")
    assert [tuple(row) for row in deeds] == [("news.published", "1"), ("news.published", "2"), ("news.withdrawn", "2")]


async def test_pages_of_news_by_signed_cursors(client: httpx2.AsyncClient, admin: dict[str, str]) -> None:
    await publish(client, admin, *({"title": str(n)} for n in range(5)))
    found: list[str] = []
    path = "/news?limit=2"
    while path:
        page = (await client.get(path)).json()
        found += [one["title"] for one in page["data"]]
        path = f"/news?limit=2&cursor={page['next_cursor']}" if page["has_more"] else ""
    assert found == ["4", "3", "2", "1", "0"]
    first = (await client.get("/news?limit=2")).json()["next_cursor"]
    for wrong in ("x", first[:-2] + "AA", (await client.get("/feed")).json()["next_cursor"] or "AAAA"):
        assert_problem(await client.get(f"/news?cursor={wrong}"), 422)


async def test_the_worlds_future_is_not_shown(
    client: httpx2.AsyncClient, admin: dict[str, str], database: Database
) -> None:
    noon = datetime(2031, 5, 1, 12, tzinfo=UTC)
    await set_clock(database, noon)
    await publish(client, admin, {"title": "Now"}, {"title": "Soon", "published_at": "2031-05-01T13:00:00Z"})
    assert [one["title"] for one in (await client.get("/news")).json()["data"]] == ["Now"]
    await set_clock(database, noon + timedelta(hours=1))
    assert [one["title"] for one in (await client.get("/news")).json()["data"]] == ["Soon", "Now"]


async def test_who_may_and_what_is_refused(client: httpx2.AsyncClient, admin: dict[str, str]) -> None:
    assert_problem(await client.post("/news", json={"items": [ITEM]}), 401)
    assert_problem(await client.delete("/news/1"), 401)
    assert_problem(await client.delete("/news/1", headers=admin), 404)
    wrong: Any
    for wrong in (
        {"items": []},
        {"items": [ITEM] * 101},
        {"items": [{"title": ""}]},
        {"items": [ITEM | {"url": "javascript:alert(1)"}]},
        {"items": [ITEM | {"published_at": "2026-11-20T12:00:00"}]},
        {"items": [ITEM | {"created_by": 1}]},
        {"items": [ITEM | {"title": "x\0"}]},
        ITEM,
    ):
        assert_problem(await client.post("/news", json=wrong, headers=admin), 422)
    assert (await client.get("/news")).json()["data"] == []


async def test_one_wrong_item_leaves_all_out(client: httpx2.AsyncClient, admin: dict[str, str]) -> None:
    answer = await client.post("/news", json={"items": [ITEM, {"title": "x" * 201}]}, headers=admin)
    assert_problem(answer, 422)
    assert answer.json()["errors"][0]["pointer"] == "/items/1/title"
    assert (await client.get("/news")).json()["data"] == []


async def test_listeners_are_told_of_news(client: httpx2.AsyncClient, admin: dict[str, str], url: str) -> None:
    await publish(client, admin, {"title": "Before"})
    with loopback(settings_for(url)) as address:
        async with listening(address, "?types=news&last_event_id=0") as stream:
            (told,) = await stream.take(1)
            assert (told.kind, told.data["title"], told.data["url"]) == ("news", "Before", None)
            await publish(client, admin, {"title": "After"})
            (told,) = await stream.take(1)
            assert (told.data["id"], told.data["title"]) == (2, "After")
    assert_problem(await client.get("/events?types=rumours"), 422)


async def test_the_page_of_news(client: httpx2.AsyncClient, admin: dict[str, str]) -> None:
    empty = await client.get("/news", headers=PAGE)
    assert "Nobody has told this world anything yet" in empty.text
    await publish(
        client, admin, {"title": NASTY, "text": NASTY, "source": NASTY[:100], "url": "https://x.example/?a=<b>"}
    )
    page = await client.get("/news", headers=PAGE)
    assert (page.status_code, "<script>window" in page.text, "onerror=alert" in page.text.replace("&#34;", '"')) == (
        200, False, True,
    )  # fmt: skip
    assert "<img src=x" not in page.text
    assert 'rel="nofollow ugc noopener noreferrer"' in page.text
    feed = await client.get("/", headers=PAGE)
    assert '<h2><a class="plain" href="/news">News</a></h2>' in feed.text
    assert "<img src=x" not in feed.text
    assert (await client.get("/news?cursor=x", headers=PAGE)).status_code == 422


# Search


async def test_search_finds_posts_and_people(client: httpx2.AsyncClient, url: str) -> None:
    await populate(url)
    everything = (await client.get("/feed?q=post&limit=100")).json()["data"]
    found: list[dict[str, Any]] = []
    path = "/search?q=post&limit=7"
    while path:
        page = (await client.get(path)).json()
        found += page["posts"]
        path = f"/search?q=post&limit=7&cursor={page['next_cursor']}" if page["has_more"] else ""
    assert found == everything
    assert (await client.get("/search")).json() == {"people": [], "posts": [], "next_cursor": None, "has_more": False}
    name = everything[0]["author_username"]
    person = (await client.get(f"/search?q=@{name[:4]}")).json()["people"][0]
    assert person["username"].startswith(name[:4])


@pytest.mark.parametrize("words", ["%", "_", "\\", "'", "!(", "a:*", "-a", "or", '"', "a & | !", "''", "<->", "(" * 90])
async def test_any_words_are_answered(client: httpx2.AsyncClient, url: str, words: str) -> None:
    await populate(url)
    for path in ("/search", "/feed", "/"):
        for accept in ("application/json", "text/html"):
            answer = await client.get(path, params={"q": words}, headers={"Accept": accept})
            assert answer.status_code == 200, (path, words)
    assert_problem(await client.get("/search", params={"q": "x" * 101}), 422)
    for headers in ({}, PAGE):
        assert (await client.get("/search?cursor=AAAA", headers=headers)).status_code == 422
    assert_problem(await client.get("/search", params={"q": "a\0"}), 422)


async def test_the_page_of_search(client: httpx2.AsyncClient, url: str) -> None:
    await populate(url)
    assert "Words find posts" in (await client.get("/search", headers=PAGE)).text
    page = await client.get("/search?q=post", headers=PAGE)
    assert page.text.count('class="card post"') or page.text.count("data-post=") == 20
    assert "Older posts" in page.text
    nothing = await client.get("/search", params={"q": NASTY[:100]}, headers=PAGE)
    assert "Nobody said that" in nothing.text
    assert "<script>window" not in nothing.text


async def test_trends_are_public(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/trends")
    found = answer.json()
    assert (found["data"], found["posts"], found["posts_before"]) == ([], 0, 0)
    assert datetime.fromisoformat(found["until"]) - datetime.fromisoformat(found["since"]) == timedelta(hours=24)
