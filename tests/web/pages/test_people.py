"""Everybody, found and sorted: each once through all pages, whatever the order."""

import asyncpg
import httpx2
import pytest

from tests.conftest import run_sql
from tests.web.pages.desk import Page, look
from tests.web.test_page import BROWSER, HOSTILE

MANY = """
INSERT INTO personas (username, description, profile, followers_count, posts_count, status)
SELECT 'Person_' || n, 'x',
       jsonb_build_object('display_name', 'Number ' || n, 'leaning', (ARRAY['left', 'right'])[1 + n % 2]),
       n % 7, n % 5, CASE WHEN n % 50 = 0 THEN 'departed' WHEN n % 25 = 0 THEN 'paused' ELSE 'active' END
FROM generate_series(1, 130) n
"""


@pytest.fixture
async def browser(client: httpx2.AsyncClient) -> httpx2.AsyncClient:
    client.headers.update(BROWSER)
    return client


def handles(page: Page) -> list[str]:
    return [link for link in page.links if link.startswith(("/@", "/persona/"))]


async def test_an_empty_world_says_what_to_do(browser: httpx2.AsyncClient) -> None:
    assert "Nobody lives here yet" in (await look(browser, "/people")).text


@pytest.mark.parametrize("sort", ["newest", "followers", "posts", "name"])
@pytest.mark.parametrize(
    ("more", "count"), [("", 128), ("&leaning=left", 63), ("&state=paused", 3), ("&q=person_1", 41)]
)
async def test_everybody_once_in_each_order(
    browser: httpx2.AsyncClient, url: str, sort: str, more: str, count: int
) -> None:
    await run_sql(url, MANY)
    address, seen = f"/people?sort={sort}{more}", []
    while address:
        page = await look(browser, address)
        seen += handles(page)
        following = page.all("a", rel="next")
        address = following[0]["href"] if following else ""
    assert len(seen) == len(set(seen)) == count
    if sort == "name":
        assert seen == sorted(seen, key=str.lower)


async def test_state_and_leaning_are_seen(browser: httpx2.AsyncClient, url: str) -> None:
    await run_sql(url, MANY)
    departed = await look(browser, "/people?state=departed&sort=name")
    assert handles(departed) == ["/persona/100", "/persona/50"]
    assert "departed" in departed.text
    assert "128 here, 3 of them paused; 2 departed" in departed.text
    assert "paused" in (await look(browser, "/people?state=paused")).text
    assert "left (63)" in departed.text


@pytest.mark.parametrize(
    ("words", "found"), [("@person_77", 1), ("NUMBER 77", 1), ("%", 0), ("_77", 1), ("\\", 0), ("zzz", 0)]
)
async def test_words_are_words_and_no_pattern(browser: httpx2.AsyncClient, url: str, words: str, found: int) -> None:
    await run_sql(url, MANY)
    answer = await browser.get("/people", params={"q": words})
    page = Page(answer.text)
    assert answer.status_code == 200
    assert len(handles(page)) == found
    assert found or "Nobody like that" in page.text


@pytest.mark.parametrize(
    "query",
    ["sort=odd", "state=x", "cursor=abc", "q=%00", "q=" + "a" * 300, "leaning=%ED%A0%80", "cursor=" + "a" * 500],
)
async def test_hostile_queries(browser: httpx2.AsyncClient, query: str) -> None:
    answer = await browser.get(f"/people?{query}")
    assert answer.status_code < 500
    assert Page(answer.text).is_sound()


async def test_a_cursor_of_another_order_is_refused(browser: httpx2.AsyncClient, url: str) -> None:
    await run_sql(url, MANY)
    following = (await look(browser, "/people")).all("a", rel="next")[0]["href"]
    await look(browser, following.replace("/people?", "/people?sort=name&"), 422)


async def test_what_they_say_of_themselves_is_text(browser: httpx2.AsyncClient, url: str) -> None:
    await run_sql(url, MANY)
    connection = await asyncpg.connect(url)
    await connection.execute(
        "UPDATE personas SET bio = $1, profile = jsonb_build_object('display_name', $1::text, 'leaning', $1::text)",
        HOSTILE,
    )
    await connection.close()
    page = await look(browser, "/people")
    assert HOSTILE in page.text
    found = await browser.get("/people", params={"q": HOSTILE[:90], "leaning": HOSTILE})
    assert found.status_code == 200
    assert Page(found.text).is_sound()
