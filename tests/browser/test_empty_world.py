"""Every page of a world in which nobody is and nothing has happened."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser

from tests.browser.conftest import Site, Tab, open_context, open_tab
from tests.browser.every_page import SIGNED_OUT, application, page_paths
from tests.browser.looking import EVERY_VIEW, looked_at, whose


@pytest.fixture(scope="module")
async def tabs(browser: Browser, empty: Site) -> AsyncIterator[dict[str, Tab]]:
    contexts = {name: await open_context(browser, empty, admin=name == "admin") for name in ("admin", "anybody")}
    yield {name: await open_tab(context, empty) for name, context in contexts.items()}
    for context in contexts.values():
        await context.close()


@pytest.mark.parametrize(
    "path", [path for path in page_paths(application()) if "{" not in path and path not in SIGNED_OUT]
)
async def test_a_page_of_an_empty_world_is_sound(tabs: dict[str, Tab], path: str) -> None:
    assert await looked_at(tabs[whose(path)], path, (EVERY_VIEW[0], EVERY_VIEW[-1])) == {}
