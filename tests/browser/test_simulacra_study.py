"""A study of Simulacra's three files, from the command line to the last page: played in a browser, and in its log."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.browser.conftest import Site, open_context, open_tab, served
from tests.browser.looking import PHONE, WHAT_RUNS
from tests.browser.world import World
from tests.cli.test_cli import data, simfeed
from tests.venues.test_study_design import SIMULATION, simulacra

TOKENS = '[groups]\nTx1 = ["user0001", "user0002"]\nTx2 = ["user0003", "one/two & three"]\n'


@dataclass
class Pilot:
    """A study made of Simulacra's files, and the server it lives on."""

    site: Site
    url: str

    def log(self) -> list[dict[str, object]]:
        """The log of its one session."""
        done = simfeed(self.url, "study", "log", "pilot")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
async def pilot(url: str, tmp_path: Path) -> AsyncIterator[Pilot]:
    config = tmp_path / "config"
    config.mkdir()
    simulacra(config, tokens=TOKENS, simulation=SIMULATION + "words_per_minute = 0\n")
    for command in (("create", "pilot", "--toml", str(config)), ("open", "pilot")):
        done = simfeed(url, "study", *command)
        assert done.returncode == 0, done.stderr
    with served(World(url), worker_enabled=True) as site:
        yield Pilot(site, url)


async def test_from_the_token_to_the_completion_code(browser: Browser, pilot: Pilot) -> None:
    context = await open_context(browser, pilot.site, viewport=PHONE)
    tab = await open_tab(context, pilot.site)
    page = tab.page
    assert await tab.go("/s/user0003?PROLIFIC_PID=p1") == 200
    await expect(page.get_by_role("heading", name="Artificial intelligence takes part")).to_be_visible()
    await expect(page.get_by_text("You have been told about this study elsewhere")).to_be_visible()
    await page.get_by_role("button", name="Begin").click()
    await expect(page.locator("[data-connection]")).to_have_attribute("data-state", "online")
    await expect(page.locator("[data-clock]")).to_have_text(re.compile(r"[45]:\d\d"))
    await page.locator("details.members summary").click()
    for name in ("Alice", "Bob", "Charlie"):
        await expect(page.locator(f"[data-member={name}]")).to_be_visible()
    await page.locator("[data-text]").fill("@Bob what about the rain?")
    await page.locator("[data-send]").click()
    await expect(page.locator(".msg.own:not(.waiting) .said")).to_have_text("@Bob what about the rain?")
    answer = page.locator("[data-log] .msg:not(.own)", has_text=re.compile(r"Bob"))
    await expect(answer.first).to_be_visible(timeout=60_000)
    await answer.first.locator(".deed.like").click()
    await expect(answer.first.locator(".deed.like")).to_have_attribute("aria-pressed", "true")
    await page.reload()
    await expect(page.locator("[data-connection]")).to_have_attribute("data-state", "online")
    await expect(page.locator(".msg.own .said")).to_have_count(1)
    await page.locator("[data-leave]").click()
    await page.get_by_role("button", name="Leave now").click()
    await expect(page.get_by_role("heading", name="Thank you for taking part")).to_be_visible()
    code = await page.locator("#completion").text_content()
    assert code
    assert re.fullmatch(r"[A-Z0-9-]{30,}", await page.locator("#receipt").text_content() or "")
    assert await page.evaluate(WHAT_RUNS) == []
    assert await tab.troubles() == []
    another = await open_context(browser, pilot.site)
    second = await open_tab(another, pilot.site)
    assert await second.go("/s/user0003") == 404
    log = pilot.log()
    assert [log[0]["event_type"], log[-1]["event_type"]] == ["session_start", "session_end"]
    said = [one["data"] for one in log if one["event_type"] == "message"]
    assert any(isinstance(one, dict) and one["content"] == "@Bob what about the rain?" for one in said)
    start, end = log[0]["data"], log[-1]["data"]
    assert isinstance(start, dict)
    assert isinstance(end, dict)
    assert (start["treatment_group"], start["consent"], end["reason"]) == ("Tx2", "external", "left")
    assert "user0003" not in json.dumps(log)
    assert "p1" not in {str(value) for value in start.values()}
    people = data(simfeed(pilot.url, "study", "show", "pilot", "--json"))["participants"]
    assert [(one["arm"], one["state"], one["count"]) for one in people] == [("Tx2", "finished", 1)]
    await another.close()
    await context.close()


async def test_a_token_may_hold_what_addresses_are_made_of(browser: Browser, pilot: Pilot) -> None:
    context = await open_context(browser, pilot.site, viewport=PHONE)
    tab = await open_tab(context, pilot.site)
    assert await tab.go("/s/one%2Ftwo%20%26%20three") == 200
    await tab.page.get_by_role("button", name="Begin").click()
    await expect(tab.page.locator("[data-connection]")).to_have_attribute("data-state", "online")
    assert await tab.troubles() == []
    await context.close()


async def test_whoever_does_not_begin_leaves_no_trace(browser: Browser, pilot: Pilot) -> None:
    context = await open_context(browser, pilot.site, viewport=PHONE)
    tab = await open_tab(context, pilot.site)
    await tab.go("/s/user0001")
    await tab.page.get_by_role("button", name="Not now").click()
    await expect(tab.page.get_by_role("main")).to_be_visible()
    shown = data(simfeed(pilot.url, "study", "show", "pilot", "--json"))
    assert shown["participants"] == []
    assert {one["state"] for one in shown["tokens"]} == {"open"}
    await context.close()
