"""Admins in a browser: who is let in, what a form must hold, and that nothing is done across origins."""

import re
from collections.abc import AsyncIterator

import httpx2
import pytest

from app.web.pages.admin.login import _within
from tests.conftest import BOOTSTRAP, PASSWORD, serving, settings_for, sign_up
from tests.web.test_page import BROWSER

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
async def browser(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that asks for pages and keeps cookies."""
    async with serving(settings_for(url)) as found:
        await sign_up(found)
        found.headers.update(BROWSER)
        yield found


async def enter(client: httpx2.AsyncClient, **more: str) -> httpx2.Response:
    return await client.post("/admin/login", data={"username": "ada", "password": PASSWORD, **more})


async def token_of(client: httpx2.AsyncClient) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', (await client.get("/")).text)
    assert found is not None
    return found[1]


async def test_signing_in_and_out(browser: httpx2.AsyncClient) -> None:
    assert "Sign in" in (await browser.get("/")).text
    answer = await enter(browser)
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin")
    cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("simfeed_session="))
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    page = await browser.get("/")
    assert "Sign out" in page.text
    assert page.headers["cache-control"] == "private, no-store"
    before = cookie.partition(";")[0]
    answer = await browser.post("/admin/logout", data={"csrf": await token_of(browser)})
    assert answer.status_code == 303
    assert "Sign out" not in (await browser.get("/")).text
    again = await browser.get("/", headers={"Cookie": before})
    assert "Sign out" not in again.text  # the session is over, not only its cookie


async def test_over_tls_the_cookie_is_bound_to_the_host(url: str) -> None:
    async with serving(settings_for(url)) as client:
        await sign_up(client)
        client.base_url = httpx2.URL("https://simfeed.test")
        cookies = (await enter(client)).headers.get_list("set-cookie")
        assert any(c.startswith("__Host-simfeed_session=") and "Secure" in c and "Path=/;" in c for c in cookies)


@pytest.mark.parametrize(
    ("trusted", "said", "bound"),
    [("", "https", False), ("127.0.0.1", "https", True), ("127.0.0.1", "https, http", False)],
)
async def test_behind_a_trusted_proxy_the_callers_scheme_counts(url: str, trusted: str, said: str, bound: bool) -> None:
    async with serving(settings_for(url, trusted_proxies=trusted)) as client:
        await sign_up(client)
        client.headers["X-Forwarded-Proto"] = said
        cookies = (await enter(client)).headers.get_list("set-cookie")
        assert any(c.startswith("__Host-simfeed_session=") for c in cookies) == bound


async def test_a_wrong_password_says_so_and_keeps_the_name(browser: httpx2.AsyncClient) -> None:
    answer = await enter(browser, password="not the password")
    assert answer.status_code == 401
    assert 'value="ada"' in answer.text
    assert "not the password" not in answer.text
    assert "simfeed_session" not in answer.headers.get("set-cookie", "")
    assert (await browser.post("/admin/login", content="", headers=FORM)).status_code == 422


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 303),
        ({"Sec-Fetch-Site": "same-origin"}, 303),
        ({"Origin": "http://simfeed.test"}, 303),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://evil.test"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.test", "Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
async def test_a_form_counts_only_from_our_own_pages(
    browser: httpx2.AsyncClient, headers: dict[str, str], expected: int
) -> None:
    await enter(browser)
    csrf = await token_of(browser)
    answer = await browser.post("/admin/logout", data={"csrf": csrf}, headers=headers)
    assert answer.status_code == expected
    assert ("Sign out" in (await browser.get("/")).text) == (expected == 403)


@pytest.mark.parametrize("csrf", ["", "0" * 64, "é", "x" * 10_000])
async def test_a_form_without_the_sessions_token_does_nothing(browser: httpx2.AsyncClient, csrf: str) -> None:
    await enter(browser)
    assert (await browser.post("/admin/logout", data={"csrf": csrf})).status_code == 403
    assert "Sign out" in (await browser.get("/")).text


async def test_the_token_of_another_session_does_nothing(browser: httpx2.AsyncClient) -> None:
    await enter(browser)
    other = await token_of(browser)
    browser.cookies.clear()
    await enter(browser)
    assert (await browser.post("/admin/logout", data={"csrf": other})).status_code == 403


async def test_the_api_takes_no_cookie(browser: httpx2.AsyncClient) -> None:
    await enter(browser)
    answer = await browser.post("/auths/logout", headers={"Accept": "application/json"})
    assert answer.status_code == 401
    assert (await browser.get("/personas", headers={"Accept": "application/json"})).status_code == 401


async def test_who_is_not_signed_in_is_led_to_the_form_and_back(browser: httpx2.AsyncClient) -> None:
    answer = await browser.get("/admin/settings?x=1")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/admin/login?next=%2Fadmin%2Fsettings%3Fx%3D1"
    assert (await browser.get("/admin/settings", headers={"Accept": "application/json"})).status_code == 401
    assert (await enter(browser, next="/admin/settings?x=1")).headers["location"] == "/admin/settings?x=1"


@pytest.mark.parametrize(
    "address",
    ["//evil.test", "https://evil.test/", "/\\evil.test", "\\\\evil", "javascript:alert(1)", "", "/a\nb", "/\t/evil"],
)
def test_the_way_back_never_leads_elsewhere(address: str) -> None:
    assert _within(address) == "/admin"


async def test_the_first_admin_registers_in_the_browser(url: str) -> None:
    async with serving(settings_for(url)) as client:
        client.headers.update(BROWSER)
        assert (await client.get("/admin/login")).headers["location"] == "/admin/register"
        person = {"username": "ada", "email": "ada@example.org", "password": PASSWORD}
        wrong = await client.post("/admin/register", data={**person, "token": "sf_boot_wrong"})
        assert wrong.status_code == 403
        assert "bootstrap token is wrong" in wrong.text
        short = await client.post("/admin/register", data={**person, "password": "short", "token": BOOTSTRAP})
        assert short.status_code == 422
        assert "at least 12 characters" in short.text
        answer = await client.post("/admin/register", data={**person, "token": BOOTSTRAP})
        assert answer.headers["location"] == "/admin/login?done=registered"
        assert (await enter(client)).status_code == 303


async def test_an_unknown_page_is_a_page_and_an_unknown_answer_a_problem(browser: httpx2.AsyncClient) -> None:
    page = await browser.get("/nothing/<b>here")
    assert page.status_code == 404
    assert "&lt;b&gt;" in page.text or "%3Cb%3E" in page.text
    problem = await browser.get("/nothing", headers={"Accept": "application/json"})
    assert problem.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("query", ["sort=best", "cursor=x", "following=%00", "q=" + "x" * 101, "following=nobody_here"])
async def test_a_wrong_address_of_the_feed_is_explained(browser: httpx2.AsyncClient, query: str) -> None:
    answer = await browser.get(f"/?{query}")
    assert answer.status_code in (404, 422)
    if "%00" not in query:  # the edge answers that one itself
        assert answer.headers["content-type"].startswith("text/html")
