"""The page of what spreads, and the kill switch of a post."""

import re

import httpx2
import pytest

from app.db.engine import Database
from app.world.effects import ReportPost
from tests.web.test_contract import populate
from tests.web.test_page import BROWSER, HOSTILE
from tests.world.test_moderation import World


async def csrf(client: httpx2.AsyncClient) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', (await client.get("/admin/safety")).text)
    assert found is not None
    return found[1]


async def test_a_world_without_trouble_says_so(browser: httpx2.AsyncClient) -> None:
    page = await browser.get("/admin/safety")
    assert page.status_code == 200
    for words in ("Nothing spreads", "Nothing is hidden", "Nothing is marked"):
        assert words in page.text


async def test_a_post_is_hidden_and_shown_again(browser: httpx2.AsyncClient, url: str, database: Database) -> None:
    await populate(url, posts=3)
    post_id = await database.fetchval("SELECT max(id) FROM posts")
    await database.fetch("UPDATE posts SET body = $2 WHERE id = $1", post_id, HOSTILE)
    token = await csrf(browser)
    found = await browser.post("/admin/safety/find", data={"csrf": token, "post": f"http://x/post/{post_id}"})
    assert found.headers["location"] == f"/admin/safety/post/{post_id}"
    page = await browser.get(f"/admin/safety/post/{post_id}")
    assert "Hide it" in page.text
    assert "<script>window" not in page.text
    answer = await browser.post(
        f"/admin/safety/post/{post_id}", data={"csrf": token, "do": "quarantine", "reason": HOSTILE}
    )
    assert answer.headers["location"] == "/admin/safety?done=quarantined"
    assert f'data-post="{post_id}"' not in (await browser.get("/")).text
    listed = (await browser.get("/admin/safety?done=quarantined")).text
    assert f"/admin/safety/post/{post_id}" in listed
    assert "<script>window" not in listed
    assert "Show it again" in (await browser.get(f"/admin/safety/post/{post_id}")).text
    await browser.post(f"/admin/safety/post/{post_id}", data={"csrf": token, "do": "lift", "reason": ""})
    assert f'data-post="{post_id}"' in (await browser.get("/")).text
    told = await database.fetch("SELECT action FROM audit WHERE subject = $1 ORDER BY id", str(post_id))
    assert [row["action"] for row in told] == ["post.quarantined", "post.released"]


async def test_without_the_token_nothing_is_hidden(browser: httpx2.AsyncClient, url: str, database: Database) -> None:
    await populate(url, posts=1)
    post_id = await database.fetchval("SELECT max(id) FROM posts")
    answer = await browser.post(f"/admin/safety/post/{post_id}", data={"do": "quarantine"})
    assert answer.status_code == 403
    assert f'data-post="{post_id}"' in (await browser.get("/")).text


@pytest.mark.parametrize("given", ["", "x", "-1", "0", "9" * 30, "１２", "<script>"])
async def test_what_is_no_post_is_said_at_the_field(browser: httpx2.AsyncClient, given: str) -> None:
    answer = await browser.post("/admin/safety/find", data={"csrf": await csrf(browser), "post": given})
    assert answer.status_code == 422
    assert "must be a post" in answer.text
    assert "<script>" not in answer.text.partition("<main")[2]


async def test_a_post_that_is_not_there_and_a_reason_that_cannot_be(
    browser: httpx2.AsyncClient, url: str, database: Database
) -> None:
    assert (await browser.get("/admin/safety/post/999")).status_code == 404
    await populate(url, posts=1)
    post_id = await database.fetchval("SELECT max(id) FROM posts")
    data = {"csrf": await csrf(browser), "do": "quarantine", "reason": "x" * 5_000}
    answer = await browser.post(f"/admin/safety/post/{post_id}", data=data)
    assert answer.status_code == 422
    assert "at most 200" in answer.text


async def test_only_admins_see_it(client: httpx2.AsyncClient) -> None:
    for path in ("/admin/safety", "/admin/safety/post/1"):
        answer = await client.get(path, headers=BROWSER)
        assert (answer.status_code, answer.headers["location"][:12]) == (303, "/admin/login")


async def test_reports_are_judged_by_forms(browser: httpx2.AsyncClient, database: Database) -> None:
    world = await World.of(database, 3)
    post, other = await world.writes(1, HOSTILE[:300]), await world.writes(1, "a text that is fine, if you ask me")
    for number in (post, other):
        await world.does(2, ReportPost(number, body=HOSTILE[:150]))
    page = await browser.get("/admin/safety")
    assert page.text.count("/admin/safety/reports/") == 2
    assert "<script>window" not in page.text
    token = await csrf(browser)

    async def judge(number: int, **form: str) -> httpx2.Response:
        return await browser.post(f"/admin/safety/reports/{number}", data={"csrf": token, "reason": "", **form})

    wrong = await judge(post, verdict="hidden", reason="r" * 201)
    assert (wrong.status_code, f'id="wrong-reason-{post}"' in wrong.text) == (422, True)
    assert (await judge(post, verdict="hidden", csrf="0" * 64)).status_code == 403
    assert await world.hidden() == set()
    assert (await judge(post, verdict="hidden")).headers["location"] == "/admin/safety?done=hidden"
    assert (await judge(other, verdict="dismissed")).headers["location"] == "/admin/safety?done=dismissed"
    assert await world.hidden() == {post}
    assert (await judge(post, verdict="dismissed")).status_code == 409
    assert (await judge(99, verdict="hidden")).status_code == 404
    assert "No report is open" in (await browser.get("/admin/safety")).text
