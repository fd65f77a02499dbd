"""PgQueuer's tables, in a schema of their own: made and brought up to date by PgQueuer itself."""

import logging
from typing import cast

import asyncpg
from pgqueuer import AsyncpgDriver, Queries
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment, QueryQueueBuilder, QuerySchedulerBuilder
from pgqueuer.domain.settings import DBSettings

from app.db.engine import Database, plain_url

SETTINGS = DBSettings(db_schema="queue")
logging.getLogger("pgqueuer").setLevel(logging.CRITICAL)  # it logs exceptions with their words; callers tell of them


def queries(connection: object) -> Queries:
    """PgQueuer over one asyncpg connection, or one lent by a pool."""
    driver = AsyncpgDriver(cast(asyncpg.Connection, connection))
    return Queries(
        driver, QueryBuilderEnvironment(SETTINGS), QueryQueueBuilder(SETTINGS), QuerySchedulerBuilder(SETTINGS)
    )


async def is_missing(database: Database) -> bool:
    """Whether the world was made without it, as from `sql/init.sql`."""
    return bool(await database.fetchval("SELECT to_regclass('queue.pgqueuer') IS NULL"))


async def prepare(url: str) -> None:
    """Make the queue's tables, or bring them up to date; any number of processes may at once."""
    connection = await asyncpg.connect(plain_url(url), timeout=10)
    try:
        await queries(connection).apply_upgrade()
    finally:
        await connection.close()
