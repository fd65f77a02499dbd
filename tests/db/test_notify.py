"""NOTIFY wakes, soon and not too often; what is lost of it is nobody's loss."""

import asyncio
import time
from typing import Any

import pytest

from app.db.engine import Database
from app.db.notify import Bell, Listener
from tests.conftest import run_sql

CHANNEL = "test_channel"
PATIENCE = 60.0


async def until(holds: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.01)


async def test_a_bell_is_heard_by_all_who_listen(database: Database) -> None:
    heard = [asyncio.Event(), asyncio.Event()]
    async with (
        Listener(database.url, CHANNEL, heard[0].set) as one,
        Listener(database.url, CHANNEL, heard[1].set) as other,
        Listener(database.url, "another_channel", lambda: None),
        Bell(database, CHANNEL) as bell,
    ):
        await one.listening.wait()
        await other.listening.wait()
        for event in heard:
            event.clear()
        bell.ring()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(event.wait() for event in heard))


async def test_many_rings_are_few(database: Database) -> None:
    """However often it is asked to, it rings once a pace; and the last one is not swallowed."""
    async with Bell(database, CHANNEL, pace=0.2) as bell:
        began = time.monotonic()
        for _ in range(50):
            bell.ring()
            await asyncio.sleep(0.001)
        paces = (time.monotonic() - began) // 0.2
        await until(lambda: bell.rung >= 2)
        await asyncio.sleep(0.5)
        assert 2 <= bell.rung <= 2 + paces


async def test_a_ring_leaves_nothing_behind_in_the_connection(database: Database) -> None:
    """It does not wait for the disk; whatever comes after on its connection does."""
    async with database.connection() as connection:
        before = await connection.fetchval("SHOW synchronous_commit")
    async with Bell(database, CHANNEL) as bell:
        bell.ring()
        await until(lambda: bell.rung == 1)
    async with database.connection() as connection:
        assert await connection.fetchval("SHOW synchronous_commit") == before


async def test_whoever_listens_hears_when_the_connection_is_lost_and_back(database: Database) -> None:
    heard = 0

    def hear() -> None:
        nonlocal heard
        heard += 1

    async with Listener(database.url, CHANNEL, hear) as listener:
        await listener.listening.wait()
        assert heard == 1
        await database.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", f"simfeed {CHANNEL}"
        )
        await until(lambda: heard == 2)
        await run_sql(database.url, f"NOTIFY {CHANNEL}")
        await until(lambda: heard == 3)


async def test_a_bell_outlives_the_database(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Database.fetchval

    async def away(*_: object) -> None:
        raise ConnectionRefusedError

    async with Bell(database, CHANNEL, pace=0.01) as bell:
        with monkeypatch.context() as patch:
            patch.setattr(Database, "fetchval", away)
            bell.ring()
            await asyncio.sleep(0.1)
            assert bell.rung == 0
        assert Database.fetchval is kept
        bell.ring()
        await until(lambda: bell.rung == 1)
