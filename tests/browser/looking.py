"""Looking at a page: what could run on it, what stands in anybody's way, and what sticks out."""

from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]  # it ships no types
from playwright.async_api import Page, ViewportSize

from tests.browser.conftest import Tab
from tests.browser.every_page import SIGNED_OUT

WHAT_RUNS = """() => [...document.querySelectorAll("*")].flatMap((e) => [...e.attributes].filter((a) =>
  a.name.startsWith("on") || a.name === "style" || a.name === "srcdoc" ||
  (["href", "src", "action", "formaction", "data", "xlink:href"].includes(a.name) &&
   !["http:", "https:"].includes(new URL(a.value, location.href).protocol))
).map((a) => `${e.tagName} ${a.name}=${a.value}`)).concat(
  [...document.querySelectorAll("script, iframe, object, embed, base, template")]
  .filter((e) => !e.src?.startsWith(location.origin + "/static/"))
  .map((e) => e.outerHTML.slice(0, 200)))"""
"""Elements and attributes that could run something, other than our own modules."""

WHAT_STICKS_OUT = """() => document.scrollingElement.scrollWidth <= 320 ? [] :
  [`${document.scrollingElement.scrollWidth} px`].concat([...document.body.querySelectorAll("*")].filter((e) => {
    const box = e.getBoundingClientRect();
    return box.right > 321 && box.width > 0 && !e.closest(".scroll, .tabs, .filters");
  }).slice(0, 5).map((e) => e.outerHTML.slice(0, 140)))"""
"""What is wider than the narrowest screen."""

WHAT_IS_OUT_OF_REACH = """() =>
  [...document.querySelectorAll("a[href], button, input, select, textarea, summary")]
  .filter((e) => e.checkVisibility() && e.type !== "hidden" && !e.disabled && e.tabIndex < 0)
  .concat([...document.querySelectorAll("[tabindex]")].filter((e) => e.tabIndex > 0))
  .filter((e) => !["tab", "radio", "option"].includes(e.getAttribute("role"))).map((e) => e.outerHTML.slice(0, 140))"""
"""Controls that the Tab key doesn't come to, or out of the order of the page."""

WIDE, PHONE, NARROW = (ViewportSize(width=w, height=h) for w, h in ((1280, 800), (390, 844), (320, 640)))
View = tuple[ViewportSize, Literal["light", "dark"]]
EVERY_VIEW: tuple[View, ...] = ((WIDE, "light"), (WIDE, "dark"), (PHONE, "light"), (PHONE, "dark"))


def whose(path: str) -> str:
    return "admin" if path.startswith("/admin") and path not in SIGNED_OUT else "anybody"


async def violations(page: Page, *, colours_only: bool = False) -> list[str]:
    """What axe finds, a line each."""
    options: dict[str, Any] = {"resultTypes": ["violations"], "preload": False}
    if colours_only:
        options["runOnly"] = {"type": "rule", "values": ["color-contrast"]}
    found = (await Axe().run(page, options=options)).response["violations"]
    return [f"{v['id']}: {node['target']} {node['html'][:160]}" for v in found for node in v["nodes"][:3]]


async def hindrances(page: Page, views: Sequence[View]) -> dict[str, list[str]]:
    """What axe finds in each view. Rules that know no colour run once at each width."""
    found: dict[str, list[str]] = {}
    seen: set[int] = set()
    for size, theme in views:
        await page.set_viewport_size(size)
        await page.emulate_media(color_scheme=theme)
        if wrong := await violations(page, colours_only=size["width"] in seen):
            found[f"{size['width']} px, {theme}"] = wrong
        seen.add(size["width"])
    return found


async def overflow(page: Page) -> list[str]:
    await page.set_viewport_size(NARROW)
    found: list[str] = await page.evaluate(WHAT_STICKS_OUT)
    return found


async def looked_at(tab: Tab, address: str, views: Sequence[View] = EVERY_VIEW) -> dict[str, Any]:
    """All that is wrong with a page."""
    await tab.page.set_viewport_size(WIDE)
    status = await tab.go(address)
    if urlsplit(tab.page.url).path != urlsplit(address).path:
        views = views[:1]  # another page, which is looked at under its own address
    wrong: dict[str, Any] = {"status": status if status != 200 else None}
    wrong["runs"] = await tab.page.evaluate(WHAT_RUNS)
    wrong["axe"] = await hindrances(tab.page, views)
    wrong["too wide"] = await overflow(tab.page)
    wrong["troubles"] = await tab.troubles()
    return {name: what for name, what in wrong.items() if what}
