"""A real browser against a real server: Chromium, found on this machine, driven by Playwright."""

import os
import shutil
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request, async_playwright, expect

from app.main import create_app
from app.web.server import options
from tests.browser.world import World, become_admin, live, poison
from tests.conftest import copy_of, settings_for
from tests.web.test_edge import Server

expect.set_options(timeout=20_000)  # milliseconds; a busy machine takes longer than the five seconds it has

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WATCH = """
window.__csp = [];
addEventListener(
  "securitypolicyviolation", (e) => window.__csp.push(`${e.violatedDirective}: ${e.blockedURI} ${e.sample}`), true);
window.__shifts = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries())
    if (!entry.hadRecentInput)
      window.__shifts.push(...entry.sources.map((s) => `${s.node?.outerHTML?.slice(0, 120) ?? s.node?.textContent} ` +
        JSON.stringify([s.previousRect, s.currentRect])));
}).observe({ type: "layout-shift", buffered: true });
"""
"""Keeps what the content policy stopped, and what moved by itself."""


def chromium() -> str | None:
    """The browser to drive: SIMFEED_TEST_CHROMIUM, else what is installed."""
    given = os.environ.get("SIMFEED_TEST_CHROMIUM")
    return given or next((path for name in NAMES if (path := shutil.which(name))), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a browser where there is none."""
    if chromium() is None:
        missing = pytest.mark.skip(
            reason="no Chromium here: apt-get install chromium, or set SIMFEED_TEST_CHROMIUM to a browser of its kind"
        )
        for item in items:
            if "/browser/" in item.nodeid and "browser" in getattr(item, "fixturenames", ()):
                item.add_marker(missing)


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        found = await playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        yield found
        await found.close()


@dataclass
class Site:
    """A served world and the cookies of its admin."""

    address: str
    world: World
    cookies: dict[str, str] = field(default_factory=dict)


@contextmanager
def served(world: World, port: int = 0, **more: Any) -> Iterator[Site]:
    """A real server on a thread, on a port of its own or the one given."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    config = uvicorn.Config(create_app(settings_for(world.url, **more)), **options())
    server = Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            thread.join(0.02)
        assert server.started
        yield Site(f"http://127.0.0.1:{listener.getsockname()[1]}", world)
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


@pytest.fixture(scope="session")
async def hostile(server_url: str, template: str) -> AsyncIterator[Site]:
    """A world in which everybody tries to run a script in the reader's browser."""
    async with copy_of(server_url, template) as url:
        world = await live(url)
        await poison(world)
        with served(world) as site:
            site.cookies = await become_admin(site.address)
            yield site


@pytest.fixture(scope="session")
async def empty(server_url: str, template: str) -> AsyncIterator[Site]:
    """A world in which nobody is and nothing happened."""
    async with copy_of(server_url, template) as url:
        with served(World(url)) as site:
            site.cookies = await become_admin(site.address)
            yield site


@dataclass
class Tab:
    """A page, and what went wrong on it."""

    page: Page
    site: Site
    problems: list[str] = field(default_factory=list)

    async def go(self, path: str) -> int:
        """Open one of the site's pages; its status."""
        answer = await self.page.goto(self.site.address + path, wait_until="load")
        assert answer is not None
        return answer.status

    async def troubles(self) -> list[str]:
        """What went wrong since this was asked last."""
        seen: list[str] = await self.page.evaluate("window.__csp ?? ['the watch does not run']")
        ran = await self.page.evaluate("window.__xss")
        found = self.problems + [f"policy: {each}" for each in seen] + ([f"ran: {ran}"] if ran is not None else [])
        self.problems = []
        return found


async def open_tab(context: BrowserContext, site: Site) -> Tab:
    """A new page whose console, errors and requests are watched."""
    page = await context.new_page()
    tab = Tab(page, site)
    home = urlsplit(site.address).netloc

    def told(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            tab.problems.append(f"console: {message.text}")

    def asked(request: Request) -> None:
        if urlsplit(request.url).netloc not in (home, ""):
            tab.problems.append(f"asked elsewhere: {request.url}")

    page.on("console", told)
    page.on("pageerror", lambda error: tab.problems.append(f"error: {error}"))
    page.on("request", asked)
    await page.add_init_script(WATCH)
    return tab


async def open_context(browser: Browser, site: Site, *, admin: bool = False, **more: Any) -> BrowserContext:
    context = await browser.new_context(
        **{"reduced_motion": "reduce", "viewport": {"width": 1280, "height": 800}, **more}
    )
    if admin:
        cookies = [{"name": name, "value": value, "url": site.address} for name, value in site.cookies.items()]
        await context.add_cookies(cookies)  # type: ignore[arg-type]  # plain dictionaries, as it documents
    return context
