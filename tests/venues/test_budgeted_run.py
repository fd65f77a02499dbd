"""Runs that cost what they are allowed: a cent, a day, a turn; and go on when there is more."""

from typing import Any

import pytest

from app.db.engine import Database
from app.settings import Settings, load_settings
from app.venues.feed import open_cycle, play_cycle
from app.venues.run import TURNS, open_mind, resume_run
from tests.kill_loop import Told, count, endpoint
from tests.venues.test_cycle import people, states

PRICE = "m=1/1/2"


def settings_of(base_url: str, **more: Any) -> Settings:
    given = {"simfeed_model": "m", "openai_base_url": base_url, "model_prices": PRICE, "max_concurrent_turns": 4}
    return load_settings(**{**given, **more})


async def spent(database: Database) -> float:
    return float(await database.fetchval("SELECT sum(cost_usd) FROM calls"))


@pytest.mark.parametrize("transport", ["sdk", "raw"])
async def test_a_run_stops_at_a_cent_and_goes_on_with_more(database: Database, transport: str) -> None:
    await people(database, 6)
    told = Told()
    async with endpoint(told) as base_url:
        settings = settings_of(base_url, budget_run_usd=0.01, model_transport=transport)
        async with open_mind(settings, database) as mind:
            run_id = await open_cycle(mind, settings)
            assert run_id is not None
            assert await play_cycle(mind, settings, run_id) == "budget_exhausted"
            first = await spent(database)
            assert 0 < first <= 0.01
            assert "queued" in await states(database)
            assert "cap" in await database.fetchval("SELECT reason FROM runs")
            await resume_run(database, run_id, terms={"budget_usd": 1.0})
            assert await play_cycle(mind, settings, run_id) == "completed"
    assert 0.01 < await spent(database) <= 1.0
    found = await count(database, told, 0, 1, 0)
    assert (found.lost, found.doubled, found.drifted, found.open_turns, found.repeated) == (0, 0, 0, 0, 0)
    held, charged = await database.fetchval("SELECT (sum(held_usd), sum(spent_usd)) FROM budgets WHERE scope = 'run'")
    assert float(held) == 0
    assert float(charged) == pytest.approx(await spent(database))


async def test_control_without_a_cap_it_costs_more_than_a_cent(database: Database) -> None:
    await people(database, 6)
    async with endpoint(Told()) as base_url:
        settings = settings_of(base_url)
        async with open_mind(settings, database) as mind:
            run_id = await open_cycle(mind, settings)
            assert run_id is not None
            assert await play_cycle(mind, settings, run_id) == "completed"
    assert await spent(database) > 0.01


async def test_a_turn_that_has_used_its_tokens_ends_and_the_run_goes_on(database: Database) -> None:
    await people(database, 3)
    async with endpoint(Told()) as base_url:
        settings = settings_of(base_url, budget_turn_tokens=4_000)
        async with open_mind(settings, database) as mind:
            run_id = await open_cycle(mind, settings)
            assert run_id is not None
            assert await play_cycle(mind, settings, run_id) == "completed"
    assert await states(database) == {"limit": 3}
    assert {row["reason"] for row in await database.fetch("SELECT reason FROM turns")} == {"budget"}
    most = "SELECT max(n) FROM (SELECT sum(prompt_tokens + completion_tokens) AS n FROM calls GROUP BY turn_id) t"
    assert 0 < await database.fetchval(most) <= 4_000


async def test_a_cap_in_dollars_is_not_trusted_to_an_unknown_price(database: Database) -> None:
    await people(database, 2)
    told = Told()
    async with endpoint(told) as base_url:
        settings = settings_of(base_url, model_prices="", budget_day_usd=5.0)
        async with open_mind(settings, database) as mind:
            run_id = await open_cycle(mind, settings)
            assert run_id is not None
            assert await play_cycle(mind, settings, run_id) == "budget_exhausted"
    assert not told.asked
    run = await database.fetchrow(TURNS["run"], run_id)
    assert run is not None
    assert "MODEL_PRICES" in run["reason"]
