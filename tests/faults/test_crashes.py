"""D3, D4 and D9: PostgreSQL dies at any moment; what was acknowledged is there, once."""

import asyncio
import random
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg
import pytest

from app.db.engine import TROUBLE, Database
from app.ledger.commit import Committer, Superseded
from app.venues.feed import open_cycle
from app.world.effects import NewPost
from tests.conftest import a_mind
from tests.faults.own import (
    SETTINGS,
    OwnServer,
    Slow,
    broken,
    opened,
    own_server,
    played,
    small_disk,
    why_failed,
    world_of,
    write_until_it_panics,
)
from tests.ledger.test_commit import step, turns_for
from tests.venues.test_cycle import people

WRITERS = 16
MANY = 300
"""Posts that are there when it crashes, at the least."""


async def cycle_through(server: OwnServer, url: str, *, people_: int, hits: int, seed: int = 0) -> None:
    """A cycle that plays on while the server is stopped and killed under it."""
    chance = random.Random(seed)
    async with opened(url) as database:
        await people(database, people_)
        async with a_mind(database, Slow(0.05)) as mind:
            run_id = await open_cycle(mind, SETTINGS)
            assert run_id is not None
            playing = asyncio.create_task(played(mind, run_id, seconds=180))
            for n in range(hits):
                await asyncio.sleep(0.3 + 0.4 * chance.random())
                await asyncio.to_thread(server.crash if n % 2 else server.stop_at_once)
                await asyncio.sleep(0.2 * chance.random())
                await asyncio.to_thread(server.start)
            states = await playing
        assert sum(states.values()) == people_
        assert states.keys() <= {"done", "limit", "failed"}
        assert {reason.partition(":")[0] for reason in await why_failed(database)} <= {"internal"}
        assert await database.fetchval("SELECT count(*) FROM posts") > 0


async def test_d3_d4_a_cycle_goes_on_through_crashes(hit: OwnServer, own_url: str) -> None:
    await cycle_through(hit, own_url, people_=40, hits=2)
    assert await broken(own_url) == {}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
async def test_d3_d4_many_crashes(hit: OwnServer, own_url: str, seed: int) -> None:
    await cycle_through(hit, own_url, people_=150, hits=8, seed=seed)
    assert await broken(own_url) == {}


async def writes(database: Database, crashed: asyncio.Event, told: set[str]) -> set[str]:
    """Every persona writes post after post until the crash: what was acknowledged goes to `told`; the rest."""
    tried: set[str] = set()

    async def write(committer: Committer, persona: int) -> None:
        for number in range(100_000):
            tried.add(body := f"{persona}/{number}")
            try:
                await committer.commit(step(persona, number, NewPost(body=body)))
            except (*TROUBLE, Superseded):
                return
            told.add(body)
            if crashed.is_set():
                return

    async with Committer(database, lease_seconds=60) as committer:
        await asyncio.gather(*(write(committer, persona) for persona in range(1, WRITERS + 1)))
    return tried - told


async def kill_9(server: OwnServer) -> None:
    await asyncio.to_thread(server.crash)


async def lost_by_a_crash(
    server: OwnServer, crash: Callable[[OwnServer], Awaitable[None]] = kill_9
) -> tuple[int, int, list[asyncpg.Record]]:
    """A crash under load, kill -9 of all processes or another: (acknowledged, lost, bodies that are there twice)."""
    async with world_of(server) as url:
        crashed = asyncio.Event()
        async with opened(url) as database:
            await turns_for(database, WRITERS)
            await database.fetch("UPDATE runs SET turns_total = $1", WRITERS)
            told: set[str] = set()
            writing = asyncio.create_task(writes(database, crashed, told))
            while len(told) < MANY:
                await asyncio.sleep(0.01)
            await crash(server)
            crashed.set()
            doubtful = await writing
            await asyncio.to_thread(server.start)
            there = {row["body"] for row in await again(database, "SELECT body FROM posts")}
            twice = await again(database, "SELECT body FROM posts GROUP BY 1 HAVING count(*) > 1")
        assert there <= told | doubtful
        assert await broken(url) == {}
        return len(told), len(told - there), twice


async def again(database: Database, query: str) -> list[asyncpg.Record]:
    for _ in range(1_500):
        with suppress(*TROUBLE):
            return await database.fetch(query)
        await asyncio.sleep(0.02)
    raise AssertionError("it does not come back")


async def test_d4_what_was_acknowledged_outlives_kill_9(hit: OwnServer) -> None:
    for _ in range(2):
        told, lost, twice = await lost_by_a_crash(hit)
        assert told >= MANY
        assert (lost, twice) == (0, [])


async def test_d4_control_without_waiting_for_the_disk_some_are_lost() -> None:
    with own_server(synchronous_commit="off", wal_writer_delay="10s", wal_writer_flush_after="100MB") as server:
        told, lost, twice = await lost_by_a_crash(server)
    assert told >= MANY
    assert lost > 0
    assert twice == []


@pytest.mark.slow
async def test_d4_fifty_kills(hit: OwnServer) -> None:
    written = 0
    for _ in range(50):
        told, lost, twice = await lost_by_a_crash(hit)
        written += told
        assert (lost, twice) == (0, [])
    assert written >= 50 * MANY


async def test_d9_what_was_acknowledged_outlives_a_full_disk_of_the_log() -> None:
    """The log's disk is full, so the server panics; it comes back with all of it once there is room."""
    with small_disk(96) as disk, own_server() as server:
        server.move_log(disk)
        filler = disk / "filler"

        async def fill_up(hit: OwnServer) -> None:
            filler.write_bytes(bytes(shutil.disk_usage(disk).free))
            await write_until_it_panics(hit.url())
            filler.unlink()

        told, lost, twice = await lost_by_a_crash(server, fill_up)
        panic = [line for line in (server.home / "pg.log").read_text().splitlines() if "PANIC" in line]
    assert any("No space left on device" in line for line in panic), panic
    assert told >= MANY
    assert (lost, twice) == (0, [])
