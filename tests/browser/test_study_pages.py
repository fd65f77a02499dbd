"""A researcher in a real browser: a study from nothing to a monitored room, and every page of it at every width."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from app.db.engine import Database
from app.world import rooms
from tests.browser.conftest import Site, Tab, open_context, open_tab, served
from tests.browser.looking import EVERY_VIEW, WHAT_IS_OUT_OF_REACH, looked_at
from tests.browser.world import World, become_admin
from tests.taking_part import open_study, take_part
from tests.web.pages.test_researcher import FULL, SAID, XSS, a_draft, finished

HERE = "/admin/studies"
PATIENCE = 30_000


@pytest.fixture
async def site(url: str) -> AsyncIterator[Site]:
    with served(World(url)) as found:
        found.cookies = await become_admin(found.address)
        yield found


async def a_desk(browser: Browser, site: Site, **more: Any) -> tuple[BrowserContext, Tab]:
    context = await open_context(browser, site, admin=True, **more)
    return context, await open_tab(context, site)


async def press(page: Page, name: str) -> None:
    await page.get_by_role("button", name=name, exact=True).first.click()


async def build(page: Page) -> None:
    """Write a study of two arms and a question, row by row."""
    await page.fill("#f-name", "bicycles")
    await page.fill("#f-title", "How people talk about bicycles")
    await page.fill("#f-arms-0-name", "civil")
    await page.fill("#f-arms-0-prompt_template", "Be kind.")
    await press(page, "Add an arm")
    await expect(page.locator("#f-arms-1-name")).to_be_visible()
    await page.fill("#f-arms-1-name", "curt")
    await page.fill("#f-arms-1-prompt_template", "Be curt.")
    await page.locator("#sec-closing").get_by_role("button", name="Add a question").click()
    await page.fill("#f-closing-0-id", "fair")
    await page.select_option("#f-closing-0-kind", "likert")
    await page.get_by_role("button", name="Remove agent 4").click()
    await expect(page.locator("#f-cast-3-name")).to_have_count(0)


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
async def test_from_nothing_to_a_monitored_room(browser: Browser, site: Site, database: Database, script: bool) -> None:
    context, tab = await a_desk(browser, site, java_script_enabled=script)
    page = tab.page
    await tab.go(HERE)
    await page.get_by_role("link", name="New study").first.click()
    await build(page)
    await press(page, "Keep as a draft")
    await expect(page.get_by_text("One field needs mending.")).to_be_visible()
    assert await page.input_value("#f-arms-1-prompt_template") == "Be curt."
    await page.get_by_role("link", name="closing 0 text").click()
    await page.fill("#f-closing-0-text", "The others were fair.")
    await press(page, "Preview")
    await expect(page.locator(".phone").first).to_be_visible()
    assert await page.locator(".phone").count() == 5
    await press(page, "Keep as a draft")
    await expect(page.get_by_text("The draft is kept.")).to_be_visible()
    await press(page, "Open the study")
    await expect(page.get_by_text("The study is open")).to_be_visible()
    await page.get_by_role("navigation", name="Study").get_by_role("link", name="Tokens").click()
    await page.fill("#f-count", "1")
    await press(page, "Make tokens")
    link = (await page.locator(".link code").inner_text()).strip()
    async with page.expect_download() as sheet:
        await press(page, "Link sheet (CSV)")
    assert (await sheet.value).suggested_filename.endswith("-links.csv")

    person = await open_tab(await open_context(browser, site), site)
    await person.page.goto(link)
    await press(person.page, "I agree")
    await press(person.page, "Enter the room")
    await expect(person.page.locator("[data-connection]")).to_have_attribute("data-state", "online", timeout=PATIENCE)
    await person.page.locator("[data-text]").fill("Good morning")
    await person.page.locator("[data-send]").click()
    study = await database.fetchval("SELECT id FROM studies")
    pseudonym = await database.fetchval("SELECT pseudonym FROM participants")
    await tab.go(f"{HERE}/{study}/monitor")
    seat = page.locator("tr", has_text=str(pseudonym))
    await expect(seat).to_contain_text("running")
    await seat.get_by_role("link", name=str(pseudonym)).click()
    await expect(page.get_by_text("Good morning")).to_be_visible()
    if script:
        await person.page.locator("[data-text]").fill("Still there?")
        await person.page.locator("[data-send]").click()
        await expect(page.get_by_text("Still there?")).to_be_visible(timeout=PATIENCE)
    await press(page, "Pause the room")
    await expect(page.get_by_text("The room is paused")).to_be_visible()
    await press(page, "Go on")
    await page.fill("#f-minutes", "5")
    await press(page, "Extend")
    await expect(page.get_by_text("5 more minutes")).to_be_visible()
    await page.fill("#f-text", "Five more minutes for you.")
    await press(page, "Send")
    await expect(page.get_by_text("Notice to the participant:")).to_be_visible()
    await expect(person.page.get_by_text("Five more minutes for you.").first).to_be_attached(timeout=PATIENCE)
    await page.get_by_role("button", name=f"Remove {pseudonym} …").click()
    await page.get_by_role("button", name=f"Remove {pseudonym}", exact=True).click()
    await expect(page.locator("tr", has_text=str(pseudonym))).to_contain_text("removed")
    deeds = {row["action"] for row in await database.fetch("SELECT action FROM audit")}
    assert {"room.pause", "room.resume", "room.extend", "room.notice", "participant.removed"} <= deeds
    if script:
        troubles = [each for each in await tab.troubles() if "status of 422" not in each]
        assert troubles == []
    await context.close()
    await person.page.context.close()


async def test_every_page_is_sound_at_every_width(browser: Browser, site: Site, database: Database) -> None:
    hostile = [{"id": "fair", "text": XSS, "kind": "likert", "low": XSS, "high": XSS}]
    study = await open_study(database, "bicycles", title=XSS, closing=hostile)
    taker = await finished(database, study, 4)
    there = await take_part(database, study, label=XSS)
    await rooms.enter(database, there.key)
    await database.fetch(SAID, there.key, rooms.new_key(), 1, f"{XSS} {'w' * 300}")
    draft = await a_draft(database, "pilot", **{**FULL, "strata": None})
    context, tab = await a_desk(browser, site)
    paths = [HERE, f"{HERE}/new", f"{HERE}/{draft}/edit", f"{HERE}/{draft}", f"{HERE}/{draft}/preview"]
    paths += [f"{HERE}/{study}{path}" for path in ("", "/tokens", "/monitor", "/results", "/preview")]
    paths += [f"{HERE}/{study}/rooms/{one.key}" for one in (taker, there)]
    found = {}
    for path in paths:
        if wrong := await looked_at(tab, path, EVERY_VIEW):
            found[path] = wrong
        if out := await tab.page.evaluate(WHAT_IS_OUT_OF_REACH):
            found[path + " (reach)"] = out
    assert found == {}
    await context.close()


async def test_a_lost_connection_is_told(browser: Browser, site: Site, database: Database) -> None:
    study = await open_study(database)
    await take_part(database, study)
    context, tab = await a_desk(browser, site)
    await tab.go(f"{HERE}/{study}/monitor")
    await context.set_offline(True)
    words = tab.page.locator("[data-follow-words]")
    await expect(words).to_have_text("Connection lost — trying again …", timeout=PATIENCE)
    await context.set_offline(False)
    await expect(words).to_have_text("", timeout=PATIENCE)
    await context.close()
