"""Statements are parsed and planned once for each connection, however long they are."""

import asyncpg
import pytest

from app.db.engine import Database
from app.ledger.commit import COMMIT, _arguments

KEPT = "SELECT count(*) FROM pg_prepared_statements WHERE statement = $1 AND generic_plans > 1"


async def asked(connection: asyncpg.Connection) -> int:
    for _ in range(3):
        assert await connection.fetch(COMMIT, *_arguments([], 8.0)) == []
    return int(await connection.fetchval(KEPT, COMMIT))


async def test_the_longest_statement_is_planned_once(database: Database) -> None:
    async with database.connection() as connection:
        assert await asked(connection) == 1


@pytest.mark.parametrize("size", [15 * 1024])
async def test_control_the_drivers_default_would_plan_it_each_time(url: str, size: int) -> None:
    assert len(COMMIT) > size
    connection = await asyncpg.connect(url, max_cacheable_statement_size=size)
    try:
        assert await asked(connection) == 0
    finally:
        await connection.close()
