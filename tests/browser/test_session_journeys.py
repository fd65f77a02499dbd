"""An admin in a real browser: a focus group from the form to its charts, and a dialogue gone through step by step."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.browser.conftest import Site, Tab, open_context, open_tab, served
from tests.browser.looking import EVERY_VIEW, looked_at
from tests.browser.world import World, become_admin

HERE = "/admin/sessions"
PATIENCE = 60_000


@pytest.fixture
async def site(url: str) -> AsyncIterator[Site]:
    """An empty world whose server plays what is begun."""
    with served(World(url), worker_enabled=True) as found:
        found.cookies = await become_admin(found.address)
        yield found


async def a_desk(browser: Browser, site: Site, **more: object) -> tuple[BrowserContext, Tab]:
    context = await open_context(browser, site, admin=True, **more)
    return context, await open_tab(context, site)


async def press(page: Page, name: str) -> None:
    await page.get_by_role("button", name=name, exact=True).first.click()


async def until(page: Page, state: str) -> None:
    """Wait for a state: the page tells it by itself, or, without script, when it is loaded again."""
    place = page.locator("[data-word=state]")
    for _ in range(PATIENCE // 500):
        if await place.inner_text() == state:
            return
        await page.wait_for_timeout(500)
        if await page.locator("noscript a").count():
            await page.reload()
    await expect(place).to_have_text(state)


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
async def test_a_focus_group_from_the_form_to_its_charts(browser: Browser, site: Site, script: bool) -> None:
    context, tab = await a_desk(browser, site, java_script_enabled=script)
    page = tab.page
    await tab.go(HERE)
    await page.get_by_role("link", name="A returnable cup").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("New focus group")
    await page.fill("#f-questions", "single: Which colour? | green\nlikert: I would use this cup.")
    await press(page, "Begin")
    await expect(page.locator("#wrong-questions")).to_contain_text("line 1: a single question needs two options")
    assert await page.input_value("#f-name") == "Returnable cup"
    await page.fill("#f-questions", "single: Which colour? | green | white\nlikert: I would use this cup.")
    await page.fill("#f-count", "8")
    await press(page, "What would it take?")
    await expect(page.locator(".foretold")).to_contain_text("prompt tokens")
    await press(page, "Begin")
    await expect(page.get_by_text("The session has begun.")).to_be_visible()
    await until(page, "completed")
    chart = page.locator("figure").filter(has_text="Which colour?")
    await expect(chart).to_contain_text("8 of 8 answers")
    await expect(chart.get_by_role("row")).to_have_count(3)
    counts = [int(await row.locator("td.number").first.inner_text()) for row in await chart.locator("tbody tr").all()]
    assert sum(counts) == 8
    await expect(page.locator(".extracted tbody tr")).to_have_count(8)
    await expect(page.locator(".line-host").first).to_contain_text("A reusable coffee cup")
    thought = page.locator(".line-thought").first
    await expect(thought.locator("p")).to_be_hidden()
    await thought.locator("summary").click()
    await expect(thought.locator("p")).to_be_visible()
    await page.locator(".cell-quote a").first.click()
    assert "#line-" in page.url
    async with page.expect_download() as kept:
        await page.get_by_role("link", name="Answers as CSV").click()
    assert (await kept.value).suggested_filename.endswith("-answers.csv")
    if script:
        assert [each for each in await tab.troubles() if "status of 422" not in each] == []
        assert await looked_at(tab, page.url.removeprefix(site.address).partition("#")[0], EVERY_VIEW) == {}
    await context.close()


async def test_a_dialogue_moves_under_the_readers_eyes(browser: Browser, site: Site) -> None:
    context, tab = await a_desk(browser, site)
    page = tab.page
    await tab.go(f"{HERE}/new/dialogue?template=rare-earths")
    await page.get_by_label("Begin paused").check()
    await page.fill("#f-turns", "6")
    await press(page, "Begin")
    await until(page, "paused")
    await expect(page.locator("[data-line]")).to_have_count(0)
    await press(page, "One step")
    await expect(page.locator("[data-line]")).not_to_have_count(0)
    await until(page, "paused")
    before = await page.locator("[data-line]").count()
    await page.fill("#f-point", "near the beginning")
    await press(page, "Checkpoint")
    await expect(page.get_by_text("The checkpoint is made.")).to_be_visible()
    await press(page, "Resume")
    await until(page, "completed")
    await expect(page.locator("[data-line]")).to_have_count(7)
    numbers = [await line.get_attribute("data-line") for line in await page.locator("[data-line]").all()]
    assert numbers == [str(n) for n in range(1, 8)]
    await press(page, "Go on from near the beginning")
    await expect(page.get_by_text("A new session goes on from the checkpoint.")).to_be_visible()
    await until(page, "completed")
    await expect(page.locator("[data-line]")).to_have_count(7)
    assert 0 < before < 7
    assert await tab.troubles() == []
    await context.close()


async def test_people_are_chosen_in_one_way_at_a_time(browser: Browser, site: Site) -> None:
    """With script the other fields are hidden; without, all are there, and the chosen one counts."""
    for script in (True, False):
        context, tab = await a_desk(browser, site, java_script_enabled=script)
        await tab.go(f"{HERE}/new/survey")
        await tab.page.locator("#mode-json").check()
        await expect(tab.page.locator("#f-people")).to_be_visible()
        assert await tab.page.locator("#f-demographics").is_visible() is not script
        await context.close()
