"""The page of a persona: by handle, or by id when it has departed; each tab, and the JSON as it was."""

import json

import asyncpg
import httpx2
import pytest

from tests.conftest import run_sql
from tests.web.pages.desk import Page, look
from tests.web.test_contract import populate
from tests.web.test_page import BROWSER, HOSTILE

PROFILE = {
    "display_name": "Ann of Green",
    "leaning": "green",
    "role": "gardener",
    "traits": ["calm"],
    "goals": ["grow"],
    "interests": ["beans"],
    "fragments": ["a secret"],
}
TABS = ["posts", "comments", "likes", "network", "activity"]


@pytest.fixture
async def browser(client: httpx2.AsyncClient, url: str) -> httpx2.AsyncClient:
    await populate(url)
    connection = await asyncpg.connect(url)
    await connection.execute(
        "UPDATE personas SET bio = 'Digs.', profile = $1, description = 'private words' WHERE id = 1",
        json.dumps(PROFILE),
    )
    await connection.close()
    client.headers.update(BROWSER)
    return client


async def test_who_it_is(browser: httpx2.AsyncClient) -> None:
    page = await look(browser, "/@ann")
    for words in (
        "Ann of Green",
        "@ann",
        "Digs.",
        "green",
        "gardener",
        "calm",
        "grow",
        "beans",
        "offline model",
        "active",
    ):
        assert words in page.text
    for private in ("private words", "a secret"):
        assert private not in page.text
    assert "/?following=@ann" in page.links
    assert {f"/@ann?tab={tab}" for tab in TABS[1:]} <= set(page.links)
    assert (await look(browser, "/@ANN")).ids == page.ids
    assert (await look(browser, "/persona/1")).text == page.text


async def test_programs_get_the_json_they_got(browser: httpx2.AsyncClient) -> None:
    answer = await browser.get("/persona/1", headers={"Accept": "application/json"})
    assert answer.json()["username"] == "ann"
    assert "traits" not in answer.json()
    assert "accept" in answer.headers["vary"].lower()
    page = await browser.get("/persona/1")
    head = await browser.head("/persona/1")
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", page.headers["etag"])


async def test_its_posts_in_pages(browser: httpx2.AsyncClient) -> None:
    seen: list[int] = []
    address = "/@ann"
    while address:
        page = await look(browser, address)
        seen += [int(a["data-post"]) for a in page.all("article") if "data-post" in a]
        more = page.all("a", rel="next")
        address = more[0]["href"] if more else ""
    assert seen == list(range(45, 0, -1))


async def test_its_comments_stand_with_their_posts(browser: httpx2.AsyncClient) -> None:
    page = await look(browser, "/@bob?tab=comments")
    assert page.text.index("second") < page.text.index("first")
    assert {"/post/1#comment-1", "/post/1#comment-2", "/@ann"} <= set(page.links)


async def test_its_likes(browser: httpx2.AsyncClient) -> None:
    page = await look(browser, "/@bob?tab=likes")
    assert "post-1" in page.ids
    assert "Nothing liked" in (await look(browser, "/@ann?tab=likes")).text


async def test_its_network(browser: httpx2.AsyncClient, url: str) -> None:
    page = await look(browser, "/@ann?tab=network")
    assert page.all("svg", role="img")
    assert "/@bob" in page.links
    assert "/@bob" in (await look(browser, "/@ann?tab=network&side=followers")).links
    assert "follows nobody" in (await look(browser, "/@ann?tab=network&side=following")).text
    await run_sql(
        url,
        "INSERT INTO personas (username, description) SELECT 'q' || n, 'x' FROM generate_series(3, 100) n",
        "INSERT INTO follows (follower, followed) SELECT n, 1 FROM generate_series(3, 100) n",
        "INSERT INTO follows (follower, followed) SELECT 1, n FROM generate_series(2, 40) n",
        "UPDATE personas SET followers_count = 99, following_count = 39 WHERE id = 1",
    )
    page = await look(browser, "/@ann?tab=network")
    assert len(page.all("image")) == 17
    assert "All 99" in page.text
    first = await look(browser, "/@ann?tab=network&side=followers")
    second = await look(browser, first.all("a", rel="next")[0]["href"])
    handles = {link for page in (first, second) for link in page.links if link.startswith(("/@q", "/@bob"))}
    assert len(handles) == 99


async def test_its_activity_has_a_table(browser: httpx2.AsyncClient) -> None:
    page = await look(browser, "/@bob?tab=activity")
    assert "3 things done" in page.text
    assert page.all("table")
    assert len(page.all("rect")) == 28 * 24
    await look(browser, "/@ann?tab=activity")


async def test_a_departed_one_is_found_by_id_only(browser: httpx2.AsyncClient, url: str) -> None:
    await run_sql(url, "UPDATE personas SET status = 'departed', departed_at = now() WHERE id = 1")
    await look(browser, "/@ann", 404)
    page = await look(browser, "/persona/1")
    assert "departed" in page.text
    assert "/persona/1?tab=network" in page.links
    assert "/?following=@ann" not in page.links
    assert "/persona/1" in (await look(browser, "/@bob?tab=comments")).links


async def test_one_that_did_nothing(browser: httpx2.AsyncClient, url: str) -> None:
    await run_sql(url, "INSERT INTO personas (username, description, status) VALUES ('carl', 'x', 'paused')")
    for tab, words in zip(TABS, ("Not a word", "No comments", "Nothing liked", "Nobody yet", "All quiet"), strict=True):
        page = await look(browser, f"/@carl?tab={tab}")
        assert words in page.text
        assert "paused" in page.text


async def test_what_is_in_quarantine_is_not_listed(browser: httpx2.AsyncClient, url: str) -> None:
    await run_sql(
        url, "UPDATE posts SET hidden = true WHERE id = 1", "UPDATE post_counts SET hidden = true WHERE post_id = 1"
    )
    for tab in ("comments", "likes"):
        assert "/post/1" not in {link.partition("#")[0] for link in (await look(browser, f"/@bob?tab={tab}")).links}


@pytest.mark.parametrize(
    "address",
    [
        "/@nobody",
        "/@",
        "/@%00",
        "/@%F0%9F%90%9F",
        "/@<script>",
        "/@" + "a" * 300,
        "/persona/0",
        "/persona/99",
        "/persona/9223372036854775808",
        "/@ann?tab=secrets",
        "/@ann?cursor=abc",
        "/@ann?tab=likes&cursor=%00",
        "/@ann?tab=network&side=all",
    ],
)
async def test_hostile_addresses(browser: httpx2.AsyncClient, address: str) -> None:
    answer = await browser.get(address)
    assert 400 <= answer.status_code < 500, answer.status_code
    assert Page(answer.text).is_sound()


async def test_what_it_says_of_itself_is_text(browser: httpx2.AsyncClient, url: str) -> None:
    told = {key: [HOSTILE] if isinstance(value, list) else HOSTILE for key, value in PROFILE.items()}
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE personas SET bio = $1, model = $1, profile = $2", HOSTILE, json.dumps(told))
    await connection.execute("UPDATE posts SET body = $1, title = $1", HOSTILE)
    await connection.execute("UPDATE comments SET body = $1", HOSTILE)
    await connection.close()
    for tab in TABS:
        for handle in ("ann", "bob"):
            assert HOSTILE in (await look(browser, f"/@{handle}?tab={tab}")).text
