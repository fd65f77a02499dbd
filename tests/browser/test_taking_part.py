"""A participant in a real browser: from the link to the codes by keyboard, over restarts, reloads and second tabs."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from app.db.engine import Database
from app.venues.chatroom import monitor
from app.world import rooms
from tests.browser.conftest import Site, Tab, open_context, open_tab, served
from tests.browser.looking import PHONE, WHAT_RUNS, WHAT_STICKS_OUT, hindrances
from tests.browser.world import World
from tests.web.pages.test_participant import CLOSING, QUESTIONS, XSS, a_study

PACE = {"words_per_minute": 0, "messages_per_minute": 1, "user_response_probability": 1.0}
ALL: dict[str, Any] = {
    "intake": QUESTIONS,
    "closing": CLOSING,
    "debrief_text": "It was about talk.\n\nThanks.",
    "pace": PACE,
    "redirect": {"completion": "https://example.org/?cc={completion_code}"},
}
VIEWS = ((PHONE, "light"), (PHONE, "dark"))
AGENT_SAYS = """
WITH room AS (
    UPDATE rooms SET messages_count = messages_count + 1, events_count = events_count + 1 WHERE key = $1
    RETURNING id, messages_count AS number, events_count AS position
), made AS (
    INSERT INTO room_messages (room_id, number, key, member, body) SELECT id, number, $2, $3, $4 FROM room
)
INSERT INTO room_events (room_id, position, kind, number, member) SELECT id, position, 'message', number, $3 FROM room
"""


@dataclass
class Seat:
    """A participant's tab, and the room it is in."""

    tab: Tab
    context: BrowserContext
    database: Database

    @property
    def page(self) -> Page:
        return self.tab.page

    async def key(self) -> str:
        return str(await self.database.fetchval("SELECT key FROM rooms ORDER BY id DESC LIMIT 1"))

    async def bodies(self) -> list[str]:
        rows = await self.database.fetch("SELECT body FROM room_messages WHERE member = 0 ORDER BY number")
        return [row["body"] for row in rows]

    async def agent_says(self, text: str, member: int = 1) -> None:
        await self.database.fetch(AGENT_SAYS, await self.key(), rooms.new_key(), member, text)

    async def connected(self) -> None:
        await expect(self.page.locator("[data-connection]")).to_have_attribute("data-state", "online", timeout=20_000)

    async def write(self, text: str) -> None:
        await self.page.locator("[data-text]").fill(text)
        await self.page.locator("[data-send]").click()

    async def shown(self) -> list[str]:
        """What stands in the log."""
        return await self.page.locator("[data-log] .said").all_text_contents()


async def tab_to(page: Page, selector: str) -> None:
    """Press Tab until what the selector names has the focus."""
    for _ in range(80):
        if await page.evaluate("(wanted) => document.activeElement.matches(wanted)", selector):
            return
        await page.keyboard.press("Tab")
    raise AssertionError(f"the Tab key does not come to {selector}")


async def press(page: Page, selector: str, key: str = "Enter") -> None:
    await tab_to(page, selector)
    await page.keyboard.press(key)


async def looked_at(tab: Tab) -> None:
    """Nothing hinders, sticks out, runs or is stopped on the page as it is."""
    assert await hindrances(tab.page, VIEWS) == {}, tab.page.url  # type: ignore[arg-type]  # literal pairs
    await tab.page.set_viewport_size({"width": 320, "height": 640})
    assert await tab.page.evaluate(WHAT_STICKS_OUT) == []
    assert await tab.page.evaluate(WHAT_RUNS) == []
    await tab.page.set_viewport_size(PHONE)
    assert await tab.troubles() == []


async def take_seat(browser: Browser, site: Site, database: Database, token: str, **more: Any) -> Seat:
    """Agree, and go as far as the room."""
    context = await open_context(browser, site, **more)
    tab = await open_tab(context, site)
    await tab.go(f"/s/{token}")
    await tab.page.get_by_role("button", name="Begin").click()
    seat = Seat(tab, context, database)
    await seat.connected()
    return seat


@pytest.fixture
async def site(url: str) -> AsyncIterator[Site]:
    with served(World(url)) as found:
        yield found


async def test_by_keyboard_from_the_link_to_the_codes_on_a_phone(
    browser: Browser, url: str, database: Database
) -> None:
    _, tokens = await a_study(database, "one", **ALL)
    with served(World(url), worker_enabled=True) as site:
        context = await open_context(browser, site, viewport=PHONE)
        tab = await open_tab(context, site)
        page = tab.page
        seat = Seat(tab, context, database)
        await tab.go(f"/s/{tokens[0]}?PROLIFIC_PID=p1")
        await looked_at(tab)
        await press(page, "button[value=agree]")
        await expect(page.locator("#q-why")).to_be_visible()
        await looked_at(tab)
        await press(page, "main button[type=submit]")
        await expect(page.locator(".summary")).to_be_focused()
        tab.problems.clear()  # Chromium reports the 422
        await looked_at(tab)
        await press(page, ".summary a[href='#q-why']")
        await tab_to(page, "#q-why")
        await page.keyboard.type("curious")
        for name in ("where", "what", "mood"):
            await press(page, f"[name=q-{name}]", "Space")
        await tab_to(page, "#q-age")
        await page.keyboard.type("44")
        await press(page, "main button[type=submit]")
        await expect(page.get_by_role("heading", name="The room is ready")).to_be_visible()
        await looked_at(tab)
        await tab_to(page, "#f-name")
        await page.keyboard.type("Kim")
        await page.keyboard.press("Enter")
        await seat.connected()
        await expect(page.locator("[data-clock]")).to_have_text(re.compile(r"1[45]:\d\d"))
        await tab_to(page, "[data-text]")
        await page.keyboard.type("Hello @ro")
        await expect(page.locator("[role=option]")).to_have_count(1)
        await looked_at(tab)
        await page.keyboard.press("Enter")
        await page.keyboard.type("how are you?")
        await page.keyboard.press("Enter")
        await expect(page.locator(".msg.own:not(.waiting) .said")).to_have_text("Hello @Robin how are you?")
        other = page.locator("[data-log] .msg:not(.own)")
        await expect(other.first).to_be_visible(timeout=60_000)
        await looked_at(tab)
        await tab_to(page, ".msg .deed")
        while not await page.evaluate("document.activeElement.matches('.msg:not(.own) .deed')"):
            await page.keyboard.press("ArrowUp")
        await page.evaluate("document.activeElement.closest('.msg').id = 'chosen'")
        await tab_to(page, "#chosen .deed.like")
        await page.keyboard.press("Enter")
        await expect(page.locator("#chosen .deed.like")).to_have_attribute("aria-pressed", "true")
        await press(page, "#chosen .deed.report")
        await expect(page.locator("[data-report]")).to_be_visible()
        await looked_at(tab)
        await tab_to(page, "[data-report-reason]")
        await page.keyboard.type("rude")
        await tab_to(page, "[data-report-send]")
        await page.keyboard.press("Enter")
        await expect(page.locator("#chosen .flag")).to_be_visible()
        found = await database.fetch("SELECT kind, reason FROM room_reactions WHERE member = 0 ORDER BY kind")
        assert [(row["kind"], row["reason"]) for row in found] == [("like", ""), ("report", "rude")]
        await press(page, ".help summary")
        await expect(page.locator(".help .contact")).to_have_text("lab@example.org")
        await page.keyboard.press("Escape")
        await page.evaluate("document.querySelector('[data-leave]').focus()")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Stay")).to_be_focused()
        await looked_at(tab)
        await press(page, "#leave .danger")
        await expect(page.locator("#q-end")).to_be_visible()
        await looked_at(tab)
        await press(page, "main button[type=submit]")
        await expect(page.get_by_text("It was about talk.")).to_be_visible()
        await looked_at(tab)
        await press(page, "main button[type=submit]")
        await expect(page.locator("#receipt")).to_be_visible()
        await looked_at(tab)
        code = await database.fetchval("SELECT completion_code FROM participants")
        assert await page.locator("#completion").text_content() == code
        assert await page.get_by_role("link", name="Finish and go back").get_attribute("href") == (
            f"https://example.org/?cc={code}"
        )
        await page.go_back()
        await expect(page.locator("#completion")).to_be_visible()
        await context.close()


async def test_a_restart_of_the_server_loses_and_doubles_nothing(
    browser: Browser, url: str, database: Database
) -> None:
    _, tokens = await a_study(database, "one", consent="external")
    with served(World(url)) as site:
        seat = await take_seat(browser, site, database, tokens[0])
        await seat.write("one")
        await expect(seat.page.locator(".msg.own:not(.waiting)")).to_have_count(1)
        port = int(site.address.rpartition(":")[2])
    state = seat.page.locator("[data-connection]")
    await expect(state).to_have_attribute("data-state", "lost")
    await expect(state).to_contain_text("Trying again")
    await seat.agent_says("while nobody listened")
    await seat.write("two")
    await seat.write("three")
    await seat.page.locator("[data-text]").fill("a draft")
    await expect(seat.page.locator(".waiting")).to_have_count(2)
    with served(World(url), port=port):
        await seat.connected()
        await expect(seat.page.locator(".msg.own:not(.waiting)")).to_have_count(3)
        await expect(seat.page.locator(".waiting")).to_have_count(0)
        assert await seat.shown() == ["one", "while nobody listened", "two", "three"]
        assert await seat.bodies() == ["one", "two", "three"]
        assert await seat.page.locator("[data-text]").input_value() == "a draft"
        await seat.page.reload()
        await seat.connected()
        await expect(seat.page.locator("[data-log] .msg")).to_have_count(4)
        assert await seat.page.locator("[data-text]").input_value() == "a draft"
        seat.tab.problems.clear()  # failed connections are reported by the browser
        await seat.context.close()


async def test_what_was_not_sent_survives_leaving_the_page(browser: Browser, url: str, database: Database) -> None:
    _, tokens = await a_study(database, "one", consent="external")
    with served(World(url)) as site:
        seat = await take_seat(browser, site, database, tokens[0])
    await expect(seat.page.locator("[data-connection]")).to_have_attribute("data-state", "lost")
    await seat.write("written in a tunnel")
    await expect(seat.page.locator(".waiting")).to_have_count(1)
    await seat.page.goto("about:blank")
    with served(World(url), port=int(site.address.rpartition(":")[2])):
        await seat.tab.go("/s")
        await expect(seat.page.locator("[data-log] .msg.own")).to_have_count(1, timeout=20_000)
        assert await seat.bodies() == ["written in a tunnel"]
        await seat.context.close()


async def test_of_two_tabs_the_newest_is_heard(browser: Browser, site: Site, database: Database) -> None:
    _, tokens = await a_study(database, "one", consent="external")
    seat = await take_seat(browser, site, database, tokens[0])
    second = Seat(await open_tab(seat.context, site), seat.context, database)
    await second.tab.go("/s")
    await second.connected()
    await expect(seat.page.locator("[data-connection]")).to_contain_text("open in another tab")
    assert await hindrances(seat.page, VIEWS) == {}  # type: ignore[arg-type]  # literal pairs
    await seat.page.get_by_role("button", name="Use it here").click()
    await seat.connected()
    await expect(second.page.locator("[data-connection]")).to_contain_text("open in another tab")
    await seat.context.close()


async def test_the_log_moves_only_for_who_reads_its_end(browser: Browser, site: Site, database: Database) -> None:
    _, tokens = await a_study(database, "one", consent="external")
    seat = await take_seat(browser, site, database, tokens[0])
    for number in range(30):
        await seat.agent_says(f"message {number}")
    messages = seat.page.locator("[data-log] .msg")
    await expect(messages).to_have_count(30)
    await expect(messages.last).to_be_in_viewport()
    await seat.page.locator("[data-stream]").evaluate("(stream) => { stream.scrollTop = 0; }")
    await seat.agent_says("news")
    button = seat.page.get_by_role("button", name="1 new message")
    await expect(button).to_be_visible()
    assert await seat.page.locator("[data-stream]").evaluate("(stream) => stream.scrollTop") == 0
    assert await hindrances(seat.page, VIEWS) == {}  # type: ignore[arg-type]  # literal pairs
    await button.click()
    await expect(messages.last).to_be_in_viewport()
    await expect(button).to_be_hidden()
    await seat.context.close()


async def test_what_agents_write_is_text(browser: Browser, site: Site, database: Database) -> None:
    cast = [{"name": "<img src=x onerror=window.__xss=1>"[:40]}, {"name": "Bo"}]
    _, tokens = await a_study(database, "one", consent="external", cast=cast, title=XSS, contact=XSS)
    seat = await take_seat(browser, site, database, tokens[0])
    hostile = [XSS, "javascript:alert(1)", "@Bo @participant <b>", "‮right to left", "A" * 2000, "👩‍👩‍👧‍👦" * 50]
    for text in hostile:
        await seat.agent_says(text)
    await seat.write(XSS)
    await expect(seat.page.locator("[data-log] .msg")).to_have_count(len(hostile) + 1)
    shown = await seat.shown()
    assert shown[0] == XSS
    assert shown[2] == "@Bo @you <b>"
    assert await seat.page.evaluate(WHAT_RUNS) == []
    await seat.page.set_viewport_size({"width": 320, "height": 640})
    assert await seat.page.evaluate(WHAT_STICKS_OUT) == []
    assert await seat.tab.troubles() == []
    await seat.context.close()


async def test_blocking_hides_what_somebody_wrote(browser: Browser, site: Site, database: Database) -> None:
    _, tokens = await a_study(database, "one", consent="external")
    seat = await take_seat(browser, site, database, tokens[0])
    await seat.agent_says("from Robin")
    await seat.agent_says("from Sam", member=2)
    await expect(seat.page.locator("[data-log] .msg")).to_have_count(2)
    await seat.page.get_by_role("button", name="Report the message of Robin").click()
    await seat.page.locator("[data-report-block]").check()
    await seat.page.locator("[data-report-send]").click()
    await expect(seat.page.locator("[data-log]").get_by_text("from Robin")).to_be_hidden()
    await expect(seat.page.locator("[data-member=Robin] .gone")).to_be_visible()
    await seat.agent_says("Robin again")
    await seat.agent_says("Sam again", member=2)
    await expect(seat.page.get_by_text("Sam again")).to_be_visible()
    await expect(seat.page.get_by_text("Robin again")).to_be_hidden()
    await seat.context.close()


async def test_the_end_of_the_time_is_told_and_leads_on(browser: Browser, site: Site, database: Database) -> None:
    _, tokens = await a_study(database, "one", consent="external", pace={"session_duration_minutes": 1.02})
    seat = await take_seat(browser, site, database, tokens[0])
    await expect(seat.page.locator("[data-announce]")).to_have_text("One minute left.", timeout=10_000)
    await rooms.end(database, await database.fetchval("SELECT id FROM rooms"), "time")
    await expect(seat.page.locator("[data-over]")).to_be_focused()
    await expect(seat.page.locator("[data-over]")).to_contain_text("The time is up")
    assert await hindrances(seat.page, VIEWS) == {}  # type: ignore[arg-type]  # literal pairs
    await seat.page.get_by_role("link", name="Continue").click()
    await expect(seat.page.locator("#completion")).to_be_visible()
    assert await seat.tab.troubles() == []
    await seat.context.close()


async def test_what_the_researchers_do_is_seen_and_heard(browser: Browser, site: Site, database: Database) -> None:
    study, tokens = await a_study(database, "one", consent="external")
    seat = await take_seat(browser, site, database, tokens[0])
    page, key = seat.page, await seat.key()
    clock = page.locator("[data-clock]")
    pin = page.locator("[data-pin]")
    await monitor.notice(database, study, key, f"Stay on the topic. {XSS}", by=None)
    await expect(pin).to_contain_text("Stay on the topic.")
    await expect(page.locator("[role=log] .from-team")).to_contain_text("From the research team")
    assert await page.locator("[data-log]").get_attribute("aria-live") == "polite"
    await page.locator("[data-text]").fill("half a thought")
    await monitor.pause_room(database, study, key, by=None)
    await expect(page.locator("[data-held]")).to_be_visible()
    await expect(page.locator("[data-send]")).to_be_disabled()
    await expect(page.locator("[role=log]")).to_contain_text("The conversation is paused.")
    stands = await clock.text_content()
    await page.keyboard.press("Enter")
    await page.wait_for_timeout(2500)
    assert await clock.text_content() == stands
    assert await seat.bodies() == []
    assert await hindrances(page, VIEWS) == {}  # type: ignore[arg-type]  # literal pairs
    await page.reload()
    await seat.connected()
    await expect(page.locator("[data-held]")).to_be_visible()
    await expect(pin).to_be_visible()
    await expect(page.locator("[data-announce]")).to_contain_text("paused")
    assert await page.locator("[data-text]").input_value() == "half a thought"
    await monitor.extend_room(database, study, key, 30, by=None)
    await expect(clock).to_have_text(re.compile(r"4[45]:\d\d"))
    await expect(page.locator("[role=log]")).to_contain_text("There are 30 minutes more.")
    await monitor.resume_room(database, study, key, by=None)
    await expect(page.locator("[data-held]")).to_be_hidden()
    stood = await clock.text_content()
    await expect(clock).not_to_have_text(stood or "")
    await page.locator("[data-send]").click()
    await expect(page.locator(".msg.own:not(.waiting)")).to_have_count(1)
    await page.get_by_role("button", name="Hide this notice").click()
    await expect(pin).to_be_hidden()
    await page.reload()
    await seat.connected()
    await expect(page.locator("[role=log] .from-team")).to_be_visible()
    await expect(pin).to_be_hidden()
    await page.set_viewport_size({"width": 320, "height": 640})
    assert await page.evaluate(WHAT_STICKS_OUT) == []
    assert await page.evaluate(WHAT_RUNS) == []
    assert await seat.tab.troubles() == []
    await seat.context.close()


async def test_where_the_unread_begins_is_marked(browser: Browser, site: Site, database: Database) -> None:
    _, tokens = await a_study(database, "one", consent="external")
    seat = await take_seat(browser, site, database, tokens[0])
    line = seat.page.locator("[data-log] .unread")
    for number in range(20):
        await seat.agent_says(f"message {number}")
    await expect(seat.page.locator("[data-log] .msg")).to_have_count(20)
    await expect(line).to_have_count(0)
    await seat.page.locator("[data-stream]").evaluate("(stream) => { stream.scrollTop = 0; }")
    for text in ("one", "two"):
        await seat.agent_says(text)
    await seat.page.get_by_role("button", name="2 new messages").click()
    assert await line.locator("xpath=following-sibling::*[1]").locator(".said").text_content() == "one"
    await seat.write("read it")
    await expect(line).to_have_count(0)
    await seat.context.close()


async def test_what_is_being_written_when_the_time_is_up_is_known_not_to_be_sent(
    browser: Browser, site: Site, database: Database
) -> None:
    _, tokens = await a_study(database, "one", consent="external", closing=CLOSING)
    seat = await take_seat(browser, site, database, tokens[0])
    await seat.page.locator("[data-text]").fill("I always wanted to s")
    await rooms.end(database, await database.fetchval("SELECT id FROM rooms"), "time")
    await expect(seat.page.locator("[data-over]")).to_contain_text("What you were writing was not sent.")
    await seat.page.get_by_role("link", name="Continue").click()
    await expect(seat.page.locator("#q-end")).to_be_visible()
    await seat.page.go_back()
    await expect(seat.page.locator("#q-end")).to_be_visible()
    assert await seat.bodies() == []
    await seat.context.close()


async def test_a_message_that_arrived_leaves_the_connection_alone(
    browser: Browser, site: Site, database: Database
) -> None:
    """Only one that was never confirmed is sent again over a new connection."""
    _, tokens = await a_study(database, "one", consent="external")
    seat = await take_seat(browser, site, database, tokens[0])
    await seat.write("once")
    await expect(seat.page.locator(".msg.own:not(.waiting)")).to_have_count(1)
    await seat.page.wait_for_timeout(7500)  # longer than a message waits to be confirmed
    assert await database.fetchval("SELECT visits FROM rooms") == 1
    await seat.context.close()


async def test_own_messages_are_told_once(browser: Browser, site: Site, database: Database) -> None:
    """What is on its way stands outside the log; it comes into it once, when the room has it."""
    _, tokens = await a_study(database, "one", consent="external")
    seat = await take_seat(browser, site, database, tokens[0])
    assert await seat.page.evaluate("!document.querySelector('[data-unsent]').closest('[role=log], [aria-live]')")
    await seat.page.evaluate(
        """() => {
            window.__added = [];
            const keep = (node) => window.__added.push(node.textContent);
            const tell = (all) => all.forEach((one) => one.addedNodes.forEach(keep));
            for (const live of document.querySelectorAll("[role=log], [role=status], [aria-live]:not([aria-live=off])"))
                new MutationObserver(tell).observe(live, { childList: true, subtree: true });
        }"""
    )
    await seat.write("just once")
    await expect(seat.page.locator(".msg.own:not(.waiting)")).to_have_count(1)
    await seat.page.wait_for_timeout(500)
    added = await seat.page.evaluate("window.__added")
    assert len([text for text in added if "just once" in text]) == 1, added
    await seat.context.close()


async def test_without_script_the_room_is_a_page(browser: Browser, site: Site, database: Database) -> None:
    _, tokens = await a_study(database, "one", consent="external")
    context = await open_context(browser, site, java_script_enabled=False, viewport=PHONE)
    page = await context.new_page()
    await page.goto(f"{site.address}/s/{tokens[0]}")
    await page.get_by_role("button", name="Begin").click()
    await page.wait_for_url("**/s?plain=1")
    await page.get_by_label("Your message").fill("Hello")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator(".msg.own .said")).to_have_text("Hello")
    await page.get_by_role("link", name="Leave").click()
    await page.get_by_role("button", name="Leave now").click()
    await expect(page.locator("#completion")).to_be_visible()
    await context.close()
