"""The feed as a page: for browsers only, and nothing in it is ever markup."""

import re

import asyncpg
import httpx2

from tests.web.test_contract import populate

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
HOSTILE = "<script>window.__xss=1</script><img src=x onerror=alert(1)>\"'{{ 7*7 }}{% raw %}"


async def test_a_browser_gets_the_page_and_a_program_json(client: httpx2.AsyncClient, url: str) -> None:
    await populate(url)
    page = await client.get("/", headers=BROWSER)
    assert page.headers["content-type"].startswith("text/html")
    assert "post 45" in page.text
    for accept in ("application/json", "*/*", "application/json, text/html"):
        assert (await client.get("/", headers={"Accept": accept})).json()["status"] == "OK"
    sheet = re.search(r'href="(/static/[0-9a-f]+/style\.css)"', page.text)
    assert sheet is not None
    kept = await client.get(sheet[1])
    assert (kept.status_code, kept.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in kept.headers["cache-control"]
    assert "immutable" not in (await client.get("/static/old/style.css")).headers["cache-control"]
    assert (await client.get("/static/x/..%2Fframe.py")).status_code == 404


async def test_an_empty_world_says_what_to_do(client: httpx2.AsyncClient) -> None:
    assert "simfeed run" in (await client.get("/", headers=BROWSER)).text


async def test_what_personas_write_is_text(client: httpx2.AsyncClient, url: str) -> None:
    await populate(url, posts=1)
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE posts SET body = $1, title = $1", HOSTILE)
    await connection.close()
    page = await client.get("/", headers=BROWSER)
    card = page.text[page.text.index("<article") : page.text.index("</article>")]
    assert "<script" not in card
    assert "<img src=x" not in page.text
    assert HOSTILE[:17] not in page.text
    assert "{{ 7*7 }}" in page.text
    assert "unsafe-inline" not in page.headers["content-security-policy"]
    assert "default-src 'none'" in page.headers["content-security-policy"]


async def test_every_post_is_marked_as_a_machines(client: httpx2.AsyncClient, url: str) -> None:
    await populate(url, posts=3)
    page = (await client.get("/", headers=BROWSER)).text
    assert page.count('data-ai-generated="true"') == page.count("<article") == 3
    assert page.count("digitalsourcetype/trainedAlgorithmicMedia") == 3
    assert page.count(">AI</span>") >= 3


async def test_older_posts_are_a_link_away_and_never_twice(client: httpx2.AsyncClient, url: str) -> None:
    await populate(url, posts=45)
    address, seen = "/", []
    while address:
        page = (await client.get(address, headers=BROWSER)).text
        seen += re.findall(r'data-post="(\d+)"', page)
        found = re.search(r'href="([^"]+)" data-older', page)
        address = found[1].replace("&amp;", "&") if found else ""
    assert len(seen) == len(set(seen)) == 45


async def test_the_fragment_holds_what_is_newer(client: httpx2.AsyncClient, url: str) -> None:
    await populate(url, posts=5)
    ids = re.findall(r'data-post="(\d+)"', (await client.get("/", headers=BROWSER)).text)
    page = await client.get(f"/fragments/posts?newer={ids[2]}", headers=BROWSER)
    assert re.findall(r'data-post="(\d+)"', page.text) == ids[:2]
    assert (await client.get("/fragments/posts?newer=-1", headers=BROWSER)).status_code == 422
    assert (await client.get("/fragments/posts", headers=BROWSER)).status_code == 422


async def test_an_avatar_is_a_picture_and_nothing_else(client: httpx2.AsyncClient) -> None:
    one = await client.get("/avatar/ada.svg")
    assert one.headers["content-type"] == "image/svg+xml"
    assert one.content == (await client.get("/avatar/ADA.svg")).content
    assert one.content != (await client.get("/avatar/grace.svg")).content
    hostile = await client.get("/avatar/%3Cscript%3Ealert(1).svg")
    assert b"script" not in hostile.content
    assert (await client.get(f"/avatar/{'x' * 201}.svg")).status_code == 422
