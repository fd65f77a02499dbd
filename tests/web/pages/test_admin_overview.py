"""The overview: what is well is green, and what is not says what to do."""

import httpx2
import pytest

from app.db.engine import Database
from app.ledger.pulse import halt
from app.web.pages.admin import overview
from tests.conftest import run_sql, serving, settings_for, sign_up
from tests.web.pages.desk import Page, at_desk, look, played
from tests.web.test_page import BROWSER

HOME = "/admin"


def lights(page: Page) -> list[str]:
    return [svg["aria-label"] for svg in page.all("svg", role="img") if svg.get("class", "").startswith("light ")]


async def test_an_empty_world_is_well_but_for_what_is_off(url: str) -> None:
    async with at_desk(url) as client:
        page = await look(client, HOME)
        for word in (
            "Database",
            "Scheduler",
            "Model",
            "Queue",
            "Workers",
            "Disk",
            "Migrations",
            "No cycle has been played",
        ):
            assert word in page.text
        assert "off on this server" in page.text
        assert "none is alive" in page.text
        assert {"/admin/runs#now-name", "/admin/budgets"} <= set(page.links)


async def test_a_whole_server_has_only_green_lights(url: str) -> None:
    async with at_desk(url, worker_enabled=True, scheduler_enabled=True) as client:
        page = await look(client, HOME)
        assert lights(page) == ["all is well"] * 7
        assert "To look at" not in page.text


async def test_cycles_and_their_losses_are_drawn(database: Database, url: str) -> None:
    runs = await played(database, url, cycles=3)
    await run_sql(
        url,
        "UPDATE turns SET state = 'failed', reason = 'timeout' WHERE id = 7",
        f"UPDATE runs SET state = 'partial', reason = 'the model took too long' WHERE id = {runs[2]}",
    )
    async with at_desk(url) as client:
        page = await look(client, HOME)
        assert "In the last 3 cycles, 1 turn was lost, in 1 of them." in page.text
        assert "the model took too long" in page.text
        assert f"/admin/runs/{runs[2]}" in page.links
        assert len([a for a in page.all("rect") if a.get("class") == "spark-good"]) == 2
        assert len([a for a in page.all("rect") if a.get("class") == "spark-bad"]) == 1


async def test_what_is_wrong_says_how_to_mend_it(database: Database, url: str) -> None:
    await played(database, url)
    await halt(database, True)
    await run_sql(
        url,
        "INSERT INTO providers (name, blocked, detail) VALUES ('openai', 'quota', 'HTTP 429, insufficient_quota')",
        "INSERT INTO runs (venue, slot, seed, state, reason) VALUES"
        " ('feed', 'a', 1, 'budget_exhausted', 'the run is at its cap'), ('feed', 'b', 1, 'paused', 'halted')",
        "UPDATE calls SET cost_usd = 1",
    )
    async with at_desk(url, budget_day_usd=2.0) as client:
        page = await look(client, HOME)
        for told in (
            "the kill switch is on",
            "Kill switch is on",
            "openai refuses us",
            "check the account's balance",
            "the run is at its cap",
            "stands still: halted",
            "of today's cap ($2.00) is spent",
        ):
            assert told in page.text, told
        assert page.all("meter")


async def test_a_model_without_its_key_is_a_red_light(url: str) -> None:
    async with at_desk(url, simfeed_model="gpt-4o-mini") as client:
        assert "set OPENAI_API_KEY" in (await look(client, HOME)).text


async def test_a_little_disk_is_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "DISK_LEAST", 2**80)
    async with at_desk(url) as client:
        assert "Free some space" in (await look(client, HOME)).text


async def test_only_admins_see_it(client: httpx2.AsyncClient) -> None:
    await sign_up(client)
    answer = await client.get(HOME, headers=BROWSER)
    assert answer.headers["location"] == "/admin/login?next=%2Fadmin"


async def test_to_a_program_it_is_a_problem(url: str) -> None:
    async with serving(settings_for(url)) as client:
        assert (await client.get(HOME, headers={"Accept": "application/json"})).status_code == 401
