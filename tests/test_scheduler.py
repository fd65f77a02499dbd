"""Ticks: one run a slot for any number of replicas, an interval that is kept, and nothing left unfinished."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import pytest

from app.db.engine import Database
from app.ledger.pulse import Block
from app.scheduler import Scheduler
from app.settings import load_settings
from app.venues.crew import Crew
from tests.conftest import a_mind
from tests.venues.test_cycle import people


async def until(condition: Callable[[], object], database: Database, query: str, wanted: object) -> None:
    for _ in range(3_000):
        if condition() and await database.fetchval(query) == wanted:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{query} never gave {wanted!r}, but {await database.fetchval(query)!r}")


async def test_replicas_that_tick_at_once_make_one_run(database: Database, url: str) -> None:
    await people(database, 12)
    settings = load_settings(scheduler_job_interval=0.05)
    other = await Database.open(url, size=6)
    try:
        async with a_mind(database) as one, a_mind(other) as two, Crew(one, settings), Crew(two, settings):
            replicas = [Scheduler(mind, settings) for mind in (one, two)]
            for replica in replicas:
                await replica.start()
            assert all(replica.next_tick is not None for replica in replicas)
            await until(lambda: True, database, "SELECT count(*) >= 2 FROM runs WHERE state = 'completed'", True)
            for replica in replicas:
                await replica.stop()
    finally:
        await other.close()
    assert await database.fetchval("SELECT count(*) = count(DISTINCT slot) FROM runs")
    doubled = "SELECT count(*) FROM (SELECT 1 FROM turns GROUP BY run_id, persona_id HAVING count(*) > 1) d"
    assert await database.fetchval(doubled) == 0
    assert await database.fetchval("SELECT max(epoch) FROM turns") == 1


async def test_a_new_interval_is_kept_and_reaches_other_replicas(database: Database) -> None:
    async with a_mind(database) as mind:
        settings = load_settings()
        one, two = Scheduler(mind, settings), Scheduler(mind, settings)
        await one.start()
        await two.start()
        await one.set_interval(7)
        assert await database.fetchval("SELECT scheduler_interval_minutes FROM instance") == 7
        two._set(7)
        assert two.next_tick is not None
        assert one.next_tick == two.next_tick
        assert two.next_tick - datetime.now(UTC) <= timedelta(minutes=7)
        await one.stop()
        await two.stop()


async def ticked(scheduler: Scheduler, times: int) -> None:
    """Tick, each time as if the next interval had begun."""
    for n in range(times):
        with patch.object(scheduler, "_slot", return_value=f"feed/1/{n}"):
            await scheduler._tick()


@pytest.mark.parametrize(("policy", "runs", "skipped"), [("skip", 1, 3), ("queue", 2, 2)])
async def test_a_tick_while_a_cycle_runs_is_left_out_or_waits(
    database: Database, policy: str, runs: int, skipped: int
) -> None:
    await people(database, 3)
    settings = load_settings(scheduler_overrun=policy)
    async with a_mind(database) as mind:
        scheduler = Scheduler(mind, settings)
        await ticked(scheduler, 4)
        assert scheduler.skipped == skipped
        states = [row["state"] for row in await database.fetch("SELECT state FROM runs ORDER BY id")]
        assert states == ["running", "queued"][:runs]
        async with Crew(mind, settings):
            await until(lambda: True, database, "SELECT count(*) FROM runs WHERE state = 'completed'", 1)
            await scheduler._begin_next()
            await until(lambda: True, database, "SELECT count(*) FROM runs WHERE state = 'completed'", runs)


async def test_a_slot_that_another_replica_has_opened_is_not_counted_as_skipped(database: Database) -> None:
    await people(database, 3)
    async with a_mind(database) as mind:
        one, two = Scheduler(mind, load_settings()), Scheduler(mind, load_settings())
        await ticked(one, 1)
        await ticked(two, 1)
    assert (one.skipped, two.skipped) == (0, 0)
    assert await database.fetchval("SELECT count(*) FROM runs") == 1


async def test_no_cycle_begins_while_all_is_halted_or_the_provider_refuses_us(database: Database) -> None:
    await people(database, 3)
    settings = load_settings(simfeed_model="gpt-4o-mini", openai_api_key="sk-1")
    async with a_mind(database) as mind:
        scheduler = Scheduler(mind, settings)
        mind.pulse.block("openai", "sk-1", Block("auth", "authentication refused by openai"))
        await ticked(scheduler, 1)
        assert scheduler.skipped == 1
        mind.pulse.unblock("openai")
        mind.pulse.halted = True
        await ticked(scheduler, 1)
        assert scheduler.skipped == 2
        mind.pulse.halted = False
        mind.pulse.block("openai", "another key", Block("auth", "authentication refused by openai"))
        await ticked(scheduler, 1)
    assert await database.fetchval("SELECT count(*) FROM runs") == 1
