"""An experiment in a browser: built, planned, run by the server while its page follows, compared, told."""

from collections.abc import AsyncIterator
from pathlib import Path
from zipfile import ZipFile

import pytest
from playwright.async_api import Browser, expect

from app.db.engine import Database
from app.world import personas, worlds
from tests.browser.conftest import Site, Tab, open_context, open_tab, served
from tests.browser.world import World, become_admin
from tests.conftest import copy_of

TEXT = """
name = "two by two"
runs = 2
seed = 7
[setting]
cycles = 1
[variants.latest]
ranker = "latest"
[variants.interest]
ranker = "interest"
[outcomes]
primary = ["posts_per_persona"]
"""


@pytest.fixture
async def site(server_url: str, template: str, tmp_path: Path) -> AsyncIterator[Site]:
    """A world of three, and a server that works in it."""
    async with copy_of(server_url, template) as url:
        database = await Database.open(url, size=2)
        specs = [
            personas.PersonaSpec.model_validate({"username": f"person_{n}", "persona": f"Number {n}."})
            for n in (1, 2, 3)
        ]
        async with database.connection() as connection:
            await personas.add(connection, specs)
        with served(World(url), worker_enabled=True, simfeed_home=tmp_path) as found:
            found.cookies = await become_admin(found.address)
            yield found
        for name in [one.name for one in await worlds.everything(database) if one.kind != "home"]:
            await worlds.drop(database, name)
        await database.close()


async def open_as_admin(browser: Browser, site: Site) -> Tab:
    return await open_tab(await open_context(browser, site, admin=True), site)


async def test_from_the_builder_to_the_report(browser: Browser, site: Site, tmp_path: Path) -> None:
    tab = await open_as_admin(browser, site)
    page = tab.page
    await tab.go("/admin/experiments")
    await page.get_by_role("link", name="New experiment").click()
    await page.get_by_role("link", name="As text").click()
    file = tmp_path / "two.toml"
    file.write_text(TEXT)
    await page.get_by_label("A file").set_input_files(file)
    await expect(page.get_by_label("The text")).to_have_value(TEXT)
    await page.get_by_label("The text").fill(TEXT.replace('ranker = "latest"', 'ranker = "newest"'))
    await page.get_by_role("button", name="Check and estimate").click()
    await expect(page.get_by_role("alert")).to_contain_text("variants.latest.ranker")
    assert all("422" in each for each in await tab.troubles())
    await page.get_by_label("The text").fill(TEXT)
    await page.get_by_role("button", name="Check and estimate").click()
    await expect(page.get_by_role("heading", name="About what it takes")).to_be_visible()
    await page.get_by_role("button", name="Plan and run").click()
    await expect(page.get_by_role("heading", name="two by two")).to_be_visible()
    cells = page.get_by_role("region", name="Runs by variant and replicate")
    await expect(cells.locator(".state-completed")).to_have_count(4)  # the page follows by itself
    await page.get_by_role("navigation", name="Views of the experiment").get_by_role("link", name="Compare").click()
    await expect(page.get_by_text("Unit of analysis: run (n = 4)")).to_be_visible()
    assert await page.locator("svg.plot").count() >= 3
    assert await tab.troubles() == []
    await page.get_by_role("link", name="Report").click()
    await expect(page.get_by_role("heading", name="two by two")).to_be_visible()
    await page.context.close()


async def test_a_package_is_asked_for_once_and_taken_home(browser: Browser, site: Site, tmp_path: Path) -> None:
    tab = await open_as_admin(browser, site)
    page = tab.page
    await tab.go("/admin/datasets")
    await page.get_by_label("Title").fill("asked for twice")
    await page.get_by_role("button", name="Build it").dblclick()
    packages = page.get_by_role("region", name="Packages")
    await expect(packages.locator(".state-completed")).to_have_count(1)  # the page follows by itself
    assert await page.get_by_role("alert").count() == 0
    async with page.expect_download() as coming:
        await page.get_by_role("link", name="Download").click()
    await (await coming.value).save_as(tmp_path / "package.zip")
    assert "README.md" in {name.rpartition("/")[2] for name in ZipFile(tmp_path / "package.zip").namelist()}
    assert await tab.troubles() == []
    await page.context.close()


async def test_one_page_leads_to_an_experiment_of_one_variant(browser: Browser, site: Site) -> None:
    tab = await open_as_admin(browser, site)
    page = tab.page
    await tab.go("/admin")
    await page.get_by_role("link", name="Simulate").click()
    await page.get_by_label("What it begins with").fill("A new tram line")
    await page.get_by_label("Turns, rounds or cycles").fill("0")
    await page.get_by_label("person_1").check()
    await page.get_by_label("the feed: they post").check()
    await page.get_by_label("Runs").fill("2")
    await page.get_by_role("button", name="Run it").click()
    await expect(page.get_by_role("alert")).to_contain_text("turns must be a whole number")
    await expect(page.get_by_label("What it begins with")).to_have_value("A new tram line")
    await expect(page.get_by_label("person_1")).to_be_checked()
    assert all("422" in each for each in await tab.troubles())
    await page.get_by_label("Turns, rounds or cycles").fill("1")
    await page.get_by_role("button", name="Run it").dblclick()
    await expect(
        page.get_by_role("region", name="Runs by variant and replicate").locator(".state-completed")
    ).to_have_count(2)
    await page.get_by_role("link", name="Compare").first.click()
    await expect(page.get_by_text("Unit of analysis: run (n = 2)")).to_be_visible()
    assert await page.get_by_role("heading", name="Differences to the control").count() == 0
    titles = page.locator(".plot-box > figcaption")
    assert await titles.count() == await page.locator("svg.plot").count() > 0
    assert all([await one.is_visible() for one in await titles.all()])
    await tab.go("/admin/experiments")
    assert await page.locator("tbody tr").count() == 1
    assert await tab.troubles() == []
    await page.context.close()
