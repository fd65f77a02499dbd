"""Servers that the tests of faults may hit."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.faults.own import OwnServer, own_server, world_of


@pytest.fixture(scope="session")
def hit() -> Iterator[OwnServer]:
    """One server for this folder; whoever crashes it starts it again."""
    with own_server(max_connections="40", deadlock_timeout="100ms") as server:
        yield server


@pytest.fixture
async def own_url(hit: OwnServer) -> AsyncIterator[str]:
    """A world on it."""
    hit.mend()
    async with world_of(hit) as url:
        yield url
