"""Public answers under load: made seldom, never old, and nobody's but everybody's."""

import asyncio
from typing import Any

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from app.web import hot
from app.web.cached import CACHE
from app.world import feed
from tests.conftest import run_sql, sign_up
from tests.web.test_contract import populate

CROWD = 200


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each page that is read from the database."""
    found: list[int] = []
    posts = feed.posts

    async def counted(*arguments: Any, **more: Any) -> Any:
        found.append(1)
        return await posts(*arguments, **more)

    monkeypatch.setattr(feed, "posts", counted)
    return found


@pytest.fixture
def fresh_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, a crowd comes within the time for which an answer is kept."""
    monkeypatch.setattr(hot, "FRESH", 10.0)


async def crowd(client: httpx2.AsyncClient, path: str = "/posts", **more: Any) -> list[httpx2.Response]:
    return [await client.get(path, **more) for _ in range(CROWD)]


async def add_post(url: str, body: str) -> None:
    await run_sql(
        url,
        f"""WITH new AS (INSERT INTO posts (author_id, body) VALUES (1, '{body}') RETURNING id, created_at)
            INSERT INTO post_counts (post_id, created_at) SELECT id, created_at FROM new""",
    )


async def newest(client: httpx2.AsyncClient) -> int:
    found = (await client.get("/posts")).json()["posts_found"][0]["id"]
    assert isinstance(found, int)
    return found


@pytest.mark.usefixtures("fresh_for_long")
async def test_a_crowd_costs_little_and_gets_what_one_gets(
    client: httpx2.AsyncClient, url: str, made: list[int]
) -> None:
    await populate(url)
    alone = await client.get("/posts")
    answers = await crowd(client)
    assert len(made) < CROWD / 2
    for answer in answers:
        assert answer.status_code == 200
        assert answer.content == alone.content
        assert {name: value for name, value in answer.headers.items() if name != "x-request-id"} == {
            name: value for name, value in alone.headers.items() if name != "x-request-id"
        }
    assert len({answer.headers["x-request-id"] for answer in answers}) == CROWD


async def test_control_without_it_each_is_made(
    client: httpx2.AsyncClient, url: str, made: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hot, "HOT", 10**9)
    await populate(url)
    await crowd(client)
    assert len(made) == CROWD


async def test_whoever_asks_now_and_then_gets_the_newest(client: httpx2.AsyncClient, url: str) -> None:
    await populate(url, posts=1)
    for number in range(2, 8):
        await add_post(url, f"post {number}")
        assert await newest(client) == number


async def test_a_crowd_soon_gets_the_newest(client: httpx2.AsyncClient, url: str) -> None:
    await populate(url)
    await crowd(client)
    await add_post(url, "the newest")
    before = await newest(client)
    async with asyncio.timeout(20):
        while await newest(client) == before:
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("fresh_for_long")
async def test_a_crowd_is_told_when_it_has_the_answer(client: httpx2.AsyncClient, url: str, made: list[int]) -> None:
    await populate(url)
    tag = (await client.get("/posts")).headers["etag"]
    answers = await crowd(client, headers={"If-None-Match": tag})
    assert len(made) < CROWD / 2
    assert {(answer.status_code, answer.content) for answer in answers} == {(304, b"")}
    assert {answer.headers["etag"] for answer in answers} == {tag}
    assert all("content-length" not in answer.headers for answer in answers)
    assert (await client.get("/posts", headers={"If-None-Match": 'W/"old"'})).status_code == 200


async def test_each_host_and_form_has_its_own(client: httpx2.AsyncClient, url: str) -> None:
    await populate(url)
    await crowd(client)
    assert "http://other.test/posts" in (await client.get("/posts", headers={"Host": "other.test"})).headers["link"]
    await crowd(client, "/")
    assert (await client.get("/", headers={"Accept": "text/html"})).headers["content-type"].startswith("text/html")
    assert (await client.head("/posts")).content == b""


async def test_nothing_of_a_token_or_a_cookie_is_kept(client: httpx2.AsyncClient, url: str, made: list[int]) -> None:
    await populate(url)
    headers = await sign_up(client)
    for more in (headers, {"Cookie": "a=b"}):
        made.clear()
        await crowd(client, headers=more)
        assert len(made) == CROWD


async def test_refusals_and_failures_are_not_kept(
    client: httpx2.AsyncClient, url: str, made: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    await populate(url)
    assert {answer.status_code for answer in await crowd(client, "/post/999999")} == {404}
    await crowd(client)

    async def failing(*_: Any, **__: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(feed, "posts", failing)
    async with asyncio.timeout(20):
        while (await client.get("/posts")).status_code == 200:
            await asyncio.sleep(0.01)
    assert {answer.status_code for answer in await crowd(client)} == {500}


async def test_many_addresses_take_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"cache-control", CACHE.encode())]})
        await send({"type": "http.response.body", "body": b"x" * 1_000})

    async def nothing(*_: Any) -> Any:
        return {}

    monkeypatch.setattr(hot, "FRESH", 60.0)
    layer = hot.HotAnswers(app)
    for times, addresses in ((1, 10_000), (hot.HOT + 1, 1_000)):
        for number in range(addresses):
            scope = {"type": "http", "method": "GET", "path": f"/post/{number}", "query_string": b"", "scheme": "http"}
            for _ in range(times):
                await layer({**scope, "headers": []}, nothing, nothing)
    assert 0 < len(layer._kept) <= hot.KEPT_MAX
    assert 0 < len(layer._counts) <= hot.COUNTED_MAX
