"""The feed as a page: for browsers only, and nothing in it is ever markup."""

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
    assert (await client.get("/static/style.css")).status_code == 200


async def test_an_empty_world_says_what_to_do(client: httpx2.AsyncClient) -> None:
    assert "simfeed run" in (await client.get("/", headers=BROWSER)).text


async def test_what_personas_write_is_text(client: httpx2.AsyncClient, url: str) -> None:
    await populate(url, posts=1)
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE posts SET body = $1, title = $1", HOSTILE)
    await connection.close()
    page = await client.get("/", headers=BROWSER)
    assert "<script" not in page.text
    assert "<img" not in page.text
    assert "{{ 7*7 }}" in page.text
    assert "unsafe-inline" not in page.headers["content-security-policy"]
    assert "default-src 'none'" in page.headers["content-security-policy"]
