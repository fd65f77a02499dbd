"""Every page, in a real browser: nothing runs but our scripts, nothing is out of reach, and it fits any width."""

from collections.abc import AsyncIterator
from html import unescape

import httpx2
import pytest
from playwright.async_api import Browser

from app.web.pages.frame import ASSETS
from tests.browser.conftest import Site, Tab, open_context, open_tab
from tests.browser.every_page import HEALTH, addresses, application, page_paths, parts, routes
from tests.browser.looking import EVERY_VIEW, WHAT_IS_OUT_OF_REACH, WHAT_RUNS, WIDE, looked_at, whose
from tests.browser.payloads import PAYLOADS, numbers
from tests.web.test_page import BROWSER

PATHS = page_paths(application())
TOLD = {
    *(
        "/",
        "/post/{post_id}",
        "/@{handle}",
        "/persona/{persona_id}",
        "/people",
        "/graph",
        "/admin/access",
        "/admin/audit",
    ),
    *("/admin/personas", "/admin/personas/{persona_id}", "/admin/safety"),
    *(
        "/admin/personas/{persona_id}/history",
        "/admin/runs",
        "/admin/runs/{run_id}",
        "/admin/traces/{turn_id}",
        "/admin/traces/{a}/diff/{b}",
        "/admin/sessions",
        "/admin/sessions/{session_key}",
        "/admin/experiments",
        "/admin/experiments/{experiment_key}",
        "/admin/experiments/{experiment_key}/compare",
    ),
}
"""Pages that show what others have written."""

PARTS = {*HEALTH, "/static/{version}/{name}", "/fragments/posts"}
"""Addresses that are neither pages nor downloads."""


@pytest.fixture(scope="module")
async def tabs(browser: Browser, hostile: Site) -> AsyncIterator[dict[str, Tab]]:
    """One page for admins and one for everybody else, each used again and again."""
    contexts = {name: await open_context(browser, hostile, admin=name == "admin") for name in ("admin", "anybody")}
    yield {name: await open_tab(context, hostile) for name, context in contexts.items()}
    for context in contexts.values():
        await context.close()


@pytest.mark.parametrize("path", PATHS)
async def test_a_page_is_sound(tabs: dict[str, Tab], hostile: Site, path: str) -> None:
    tab = tabs[whose(path)]
    first, *more = addresses(path, hostile.world)
    wrong = {first: await looked_at(tab, first)}
    wrong |= {address: await looked_at(tab, address, EVERY_VIEW[:1]) for address in more}
    assert {address: what for address, what in wrong.items() if what} == {}


async def test_an_error_page_is_sound(tabs: dict[str, Tab]) -> None:
    wrong = await looked_at(tabs["anybody"], "/no/such/<script>window.__xss=0</script>page")
    assert wrong.pop("status") == 404
    wrong["troubles"] = [each for each in wrong.get("troubles", ()) if "status of 404" not in each]
    assert {name: what for name, what in wrong.items() if what} == {}


async def test_without_the_content_policy_nothing_would_run_either(browser: Browser, hostile: Site) -> None:
    """The policy is the second wall: text is text without it."""
    context = await open_context(browser, hostile, admin=True, bypass_csp=True)
    tab, ran = await open_tab(context, hostile), {}
    for address in (a for path in PATHS for a in addresses(path, hostile.world)):
        await tab.go(address)
        if found := [each for each in await tab.troubles() if not each.startswith("console")]:
            ran[address] = found
    await context.close()
    assert ran == {}


async def test_control_the_watch_sees_what_runs_and_what_is_stopped(browser: Browser, hostile: Site) -> None:
    seen = {}
    for bypass in (True, False):
        context = await open_context(browser, hostile, bypass_csp=bypass)
        tab = await open_tab(context, hostile)
        await tab.go("/about" if "/about" in PATHS else "/admin/login")
        ran = 0
        for payload in PAYLOADS[:40]:
            await tab.page.evaluate(
                "(text) => document.querySelector('main').insertAdjacentHTML('beforeend', text)", payload
            )
        await tab.page.wait_for_timeout(200)
        assert await tab.page.evaluate(WHAT_RUNS)
        troubles = await tab.troubles()
        ran = sum(each.startswith("ran: ") for each in troubles)
        seen[bypass] = (ran, any(each.startswith("policy: script-src") for each in troubles))
        await context.close()
    assert seen == {True: (1, False), False: (0, True)}


async def test_the_hostile_texts_are_really_on_the_pages(hostile: Site) -> None:
    seen: set[int] = set()
    bare: list[str] = []
    async with httpx2.AsyncClient(
        base_url=hostile.address, cookies=hostile.cookies, headers=BROWSER, follow_redirects=True
    ) as client:
        for path in PATHS:
            for address in addresses(path, hostile.world):
                text = (await client.get(address)).text
                found = numbers(unescape(text))
                seen |= found
                if not found:
                    bare.append(path)
    assert len(seen) >= 300
    assert set(bare) & TOLD == set()


async def test_no_address_of_the_api_is_a_page_unknown_to_us(hostile: Site) -> None:
    unknown = []
    async with httpx2.AsyncClient(base_url=hostile.address, cookies=hostile.cookies, headers=BROWSER) as client:
        for route in routes(application()):
            if "GET" not in (route.methods or ()) or route.path in PATHS or not route.include_in_schema:
                continue
            if route.path == "/events":
                continue
            answer = await client.get(addresses(route.path, hostile.world)[0])
            if answer.status_code == 200 and answer.headers["content-type"].startswith("text/html"):
                unknown.append(route.path)
    assert unknown == []


def test_every_address_is_known() -> None:
    assert parts(application()) == PARTS, "a new address: is it a page? See tests/browser/every_page.py"


def test_our_scripts_are_small_and_all_from_here() -> None:
    scripts = {name: len(asset.body) for name, asset in ASSETS.items() if name.endswith(".js")}
    assert sum(scripts.values()) < 150_000, scripts


@pytest.mark.parametrize("path", PATHS)
async def test_a_page_can_be_read_without_script(browser: Browser, hostile: Site, path: str) -> None:
    context = await open_context(browser, hostile, admin=whose(path) == "admin", java_script_enabled=False)
    page = await context.new_page()
    answer = await page.goto(hostile.address + addresses(path, hostile.world)[0])
    assert answer is not None
    assert answer.status == 200
    assert await page.locator("h1").count() == 1
    assert len(await page.locator("main").inner_text()) > 40
    await context.close()


@pytest.mark.parametrize("path", PATHS)
async def test_a_page_is_reached_by_keyboard(tabs: dict[str, Tab], path: str) -> None:
    """The first stop leads past the navigation; every control is a stop of its own, in the order of the page."""
    tab = tabs[whose(path)]
    await tab.page.set_viewport_size(WIDE)
    await tab.go(addresses(path, tab.site.world)[0])
    if "#" in tab.page.url:  # a redirect into the page: there the Tab key goes on from
        await tab.go(tab.page.url.removeprefix(tab.site.address).partition("#")[0])
    await tab.page.keyboard.press("Tab")
    assert await tab.page.evaluate("document.activeElement.className") == "skip"
    await tab.page.keyboard.press("Enter")
    assert await tab.page.evaluate("document.activeElement.id") == "main"
    assert await tab.page.evaluate(WHAT_IS_OUT_OF_REACH) == []
