"""Racers: so many that start at once, each with a connection of its own."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.db.engine import TROUBLE, Database, patiently

RACERS = 32


@pytest.fixture
async def wide(url: str) -> AsyncIterator[Database]:
    """As many connections as racers, all open before the start."""
    found = await Database.open(url, size=RACERS)

    async def all_at_once() -> None:
        await asyncio.gather(*(found.fetchval("SELECT pg_sleep(0.05)") for _ in range(RACERS)))

    await patiently(all_at_once, TROUBLE, tries=6, wait=0.2)
    yield found
    await found.close()
