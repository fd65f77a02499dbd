"""Reports in a browser, on screens and on paper: alone, readable by all, and nothing of them cut."""

from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, ViewportSize

from app.analysis.catalogue import METRICS
from app.analysis.report.experiment import experiment_report
from app.analysis.report.world import world_page
from app.db.engine import Database
from app.experiments.results import told
from tests.browser.conftest import Site, open_context, open_tab
from tests.browser.looking import EVERY_VIEW, WHAT_IS_OUT_OF_REACH, WHAT_RUNS, hindrances, overflow
from tests.experiments.test_results import designed, row, trials

SHEET = ViewportSize(width=703, height=1009)
"""What the margins leave of a sheet of A4, at 96 dots to the inch."""

CUT = """([width, height]) => [...document.querySelectorAll("table, svg.plot, .stamp, p, pre, h2, h3")].filter((e) => {
  const box = e.getBoundingClientRect();
  return box.width && (box.left < -1 || box.right > width + 1 || (e.matches("svg.plot") && box.height > height - 80));
}).map((e) => `${e.outerHTML.slice(0, 80)} ${JSON.stringify(e.getBoundingClientRect())}`)"""
"""What a sheet is too small for, with room for a plot's title above it."""

APART = """() => [...document.querySelectorAll(".drawn, tr, .stamp, figcaption")].filter(
  (e) => getComputedStyle(e).breakInside !== "avoid").length"""
"""What a page break may go through."""

TORN = """() => [...document.querySelectorAll("thead th, td:not(.long, .unbroken)")].flatMap((e) => {
  const range = document.createRange(), text = e.firstChild;
  return text === null ? [] : [...text.data.matchAll(/[A-Za-z0-9_.]+/g)].filter((word) => {
    range.setStart(text, word.index);
    range.setEnd(text, word.index + word[0].length);
    return new Set([...range.getClientRects()].map((box) => box.top)).size > 1;
  }).map((word) => word[0]);
})"""
"""Words of tables that stand in two lines."""


def wide(arms: tuple[str, ...]) -> str:
    """The report of an experiment with ten outcomes and so many arms."""
    names = list(METRICS)[:10]
    outcomes = {"primary": names[:2], "exploratory": names[2:], "margins": {names[0]: 0.1}}
    design = designed(
        name="w" * 200, variants={arm: {"prompt": f"Be {arm}."} for arm in arms}, runs=6, outcomes=outcomes
    )
    each = cycle([0.5, 0.1234567, 0.333333, 0.25, 0.777777, 0.6543])
    values = {arm: [dict(zip(names, islice(each, n, 10 + n), strict=True)) for n in range(6)] for arm in arms}
    return experiment_report(told(row(reason="it " * 50), design, trials(design, values)))


async def reports(site: Site, tmp_path: Path) -> list[str]:
    """Addresses of reports: of experiments as the server gives them, one of them not run, and of a hostile world."""
    database = await Database.open(site.world.url, size=2)
    page = await world_page(database, title="<b>A</b> world", world="home")
    await database.close()
    (tmp_path / "world.html").write_text(page.html())
    keys = [site.world.values[name][0] for name in ("experiment_key", "planned_key")]
    served = [f"{site.address}/admin/experiments/{key}/export/report.html" for key in keys]
    return [*served, (tmp_path / "world.html").as_uri()]


async def test_a_report_is_alone_and_for_everybody(browser: Browser, hostile: Site, tmp_path: Path) -> None:
    context = await open_context(browser, hostile, admin=True)
    tab = await open_tab(context, hostile)
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    wrong: dict[str, Any] = {}
    for address in await reports(hostile, tmp_path):
        asked.clear()
        answer = await tab.page.goto(address)
        assert answer is not None
        assert answer.status in (0, 200)
        found = {
            "asks": asked[1:],
            "runs": await tab.page.evaluate(WHAT_RUNS) if address.startswith("http") else [],
            "axe": await hindrances(tab.page, EVERY_VIEW),
            "out of reach": await tab.page.evaluate(WHAT_IS_OUT_OF_REACH),
            "too wide": await overflow(tab.page),
            "troubles": await tab.troubles(),
        }
        wrong[address] = {name: what for name, what in found.items() if what}
    await context.close()
    assert {address: what for address, what in wrong.items() if what} == {}


async def on_paper(page: Page) -> dict[str, Any]:
    """What is wrong with a page that is printed by somebody who reads screens in dark."""
    await page.set_viewport_size(SHEET)
    await page.emulate_media(media="print", color_scheme="dark")
    looks = await page.evaluate(
        "() => [document.body, document.querySelector('.fill-paper') ?? document.body].map((e, n) => "
        "getComputedStyle(e)[n && e !== document.body ? 'fill' : 'backgroundColor'])"
    )
    return {
        "not on white": [look for look in looks if look != "rgb(255, 255, 255)"],
        "light ink": await page.evaluate("() => getComputedStyle(document.body).color") != "rgb(34, 28, 21)",
        "cut": await page.evaluate(CUT, [SHEET["width"], SHEET["height"]]),
        "breaks": await page.evaluate(APART),
        "folded": await page.locator("figure details:not([open]):visible").count(),
    }


@pytest.mark.parametrize("arms", [("latest", "interest", "kind", "curt"), ("control", "x" * 40, "W" * 40)])
async def test_a_report_fits_on_paper(browser: Browser, tmp_path: Path, arms: tuple[str, ...]) -> None:
    file = tmp_path / "report.html"
    file.write_text(wide(arms))
    page = await browser.new_page()
    await page.goto(file.as_uri())
    wrong = await on_paper(page)
    assert {name: what for name, what in wrong.items() if what} == {}
    assert len(arms) < 4 or await page.evaluate(TORN) == []
    await page.locator("figure summary").first.evaluate("one => one.parentElement.open = true")
    assert await page.locator("figure details:visible").count() == 1  # what somebody opened is printed
    assert await page.pdf(format="A4", prefer_css_page_size=True)
    await page.close()


async def test_the_report_of_a_hostile_world_fits_on_paper(browser: Browser, hostile: Site, tmp_path: Path) -> None:
    context = await open_context(browser, hostile, admin=True)
    page = await context.new_page()
    for address in await reports(hostile, tmp_path):
        await page.goto(address)
        wrong = await on_paper(page)
        assert {name: what for name, what in wrong.items() if what} == {}, address
    await context.close()
