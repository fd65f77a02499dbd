"""Ticks: one run a slot for any number of replicas, an interval that is kept, and nothing left unfinished."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from app.db.engine import Database
from app.scheduler import Scheduler
from app.settings import load_settings
from app.venues.feed import open_cycle
from tests.conftest import a_mind
from tests.venues.test_cycle import people


async def until(condition: Callable[[], object], database: Database, query: str, wanted: object) -> None:
    for _ in range(1_000):
        if condition() and await database.fetchval(query) == wanted:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{query} never gave {wanted!r}, but {await database.fetchval(query)!r}")


async def test_replicas_that_tick_at_once_make_one_run(database: Database, url: str) -> None:
    await people(database, 12)
    settings = load_settings(scheduler_job_interval=0.05)
    other = await Database.open(url, size=6)
    try:
        async with a_mind(database) as one, a_mind(other) as two:
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


async def test_an_unfinished_run_is_gone_on_with(database: Database) -> None:
    await people(database, 3)
    async with a_mind(database) as mind:
        await open_cycle(mind, load_settings())
        scheduler = Scheduler(mind, load_settings(scheduler_job_interval=60))
        await scheduler.start()
        await until(lambda: True, database, "SELECT state FROM runs", "completed")
        await scheduler.stop()


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


async def test_a_cycle_that_is_still_running_skips_the_tick(database: Database) -> None:
    async with a_mind(database) as mind:
        scheduler = Scheduler(mind, load_settings(scheduler_job_interval=0.05))
        release = asyncio.Event()

        async def slow(_: int) -> None:
            await release.wait()

        await people(database, 1)
        scheduler._play = slow  # type: ignore[method-assign,assignment]  # a cycle that does not end
        await scheduler.start()
        for _ in range(1_000):
            if scheduler.skipped:
                break
            await asyncio.sleep(0.02)
        release.set()
        await scheduler.stop()
        assert scheduler.skipped >= 1
        assert await database.fetchval("SELECT count(*) FROM runs") == 1
