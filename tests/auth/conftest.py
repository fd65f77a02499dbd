"""Racers: so many that start at once, each with a connection of its own."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.db.engine import Database

RACERS = 32


@pytest.fixture
async def wide(url: str) -> AsyncIterator[Database]:
    """As many connections as racers, all open before the start."""
    found = await Database.open(url, size=RACERS)
    await asyncio.gather(*(found.fetchval("SELECT pg_sleep(0.05)") for _ in range(RACERS)))
    yield found
    await found.close()
