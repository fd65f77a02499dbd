"""Connections to PostgreSQL: one asyncpg pool, bounded waits, and what its errors mean to a caller."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg

from app.errors import AppError, Conflict, Unavailable

ACQUIRE_SECONDS = 2.0
COMMAND_SECONDS = 7.0
"""More than the server takes to end a statement by itself; a server that says nothing is given up 2 s later."""

WEB_TIMEOUTS = {
    "statement_timeout": "5s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "15s",
    "timezone": "UTC",
    "application_name": "simfeed",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}
"""`jit` off and generic plans: compiling and planning cost more than any of our bounded statements."""

RETRY = {"Retry-After": "2"}
AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InterfaceError,
    OSError,
    TimeoutError,
)
"""What says that the database is away or too busy just now, and that the same will do later."""

TROUBLE = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
"""Whatever may come of a statement."""

LONGEST_WAIT = 5.0
T = TypeVar("T")


def plain_url(url: str) -> str:
    """`url` as asyncpg takes it, whatever driver it names."""
    scheme, rest = url.split("://", 1)
    return f"postgresql://{rest}" if scheme.startswith("postgres") else url


async def _keep(_: asyncpg.Connection) -> None:
    """Nothing here leaves session state behind, so a released connection needs no round trip to be reset."""


@dataclass
class Database:
    """The open connections to one world."""

    url: str
    pool: asyncpg.Pool

    @classmethod
    async def open(cls, url: str, *, size: int = 10) -> "Database":
        """Connect.

        Raises:
            Unavailable: the server can't be reached, or refuses.
        """
        try:
            pool = await asyncpg.create_pool(
                plain_url(url),
                min_size=1,
                max_size=size,
                timeout=10,
                command_timeout=COMMAND_SECONDS,
                max_inactive_connection_lifetime=60,
                server_settings=WEB_TIMEOUTS,
                reset=_keep,
                max_cacheable_statement_size=0,  # no limit: the longest statement is the one that is asked most often
            )
        except (OSError, asyncpg.PostgresError, ValueError, TimeoutError) as error:
            raise Unavailable(f"the database can't be reached: {error}. Is DATABASE_URL right?") from error
        return cls(url, pool)

    async def close(self) -> None:
        try:
            await asyncio.wait_for(self.pool.close(), 5)
        except TimeoutError:
            self.pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
        """A connection of the pool, waited for at most two seconds.

        Raises:
            TimeoutError, OSError, asyncpg.PostgresError: all are in use, or the server is away.
        """
        async with self.pool.acquire(timeout=ACQUIRE_SECONDS) as connection:
            try:
                yield connection
            except asyncpg.InternalClientError as error:  # the server went between two bytes; it says so no better
                connection.terminate()
                raise asyncpg.ConnectionDoesNotExistError(f"connection was closed: {error}") from error

    async def fetch(self, query: str, *args: object) -> list[asyncpg.Record]:
        async with self.connection() as connection:
            rows: list[asyncpg.Record] = await connection.fetch(query, *args)
            return rows

    async def fetchrow(self, query: str, *args: object) -> asyncpg.Record | None:
        async with self.connection() as connection:
            return await connection.fetchrow(query, *args)

    async def fetchval(self, query: str, *args: object) -> Any:
        async with self.connection() as connection:
            return await connection.fetchval(query, *args)


async def patiently(
    work: Callable[[], Awaitable[T]], trouble: tuple[type[BaseException], ...], *, tries: int, wait: float
) -> T:
    """Do `work`, and again while it meets `trouble`; between its `tries` it waits `wait` seconds, then twice that.

    Raises:
        Exception: what the last try met.
    """
    for attempt in range(tries - 1):
        try:
            return await work()
        except trouble:
            await asyncio.sleep(min(LONGEST_WAIT, wait * 2**attempt))
    return await work()


def explain(error: BaseException) -> AppError | None:
    """What a database error means to a caller; None for our own bugs."""
    wrapped = getattr(error, "orig", None)
    match wrapped.__cause__ if isinstance(wrapped, BaseException) else error:
        case asyncpg.UniqueViolationError():
            return Conflict("that already exists")
        case asyncpg.DiskFullError():
            return Unavailable("the database's disk is full; nothing was changed", headers={"Retry-After": "60"})
        case asyncpg.QueryCanceledError() | asyncpg.LockNotAvailableError():
            return Unavailable("the database took too long; nothing was changed", headers=RETRY)
        case asyncpg.DeadlockDetectedError() | asyncpg.SerializationError():
            return Unavailable("two changes met; nothing was changed, try again", headers=RETRY)
        case asyncpg.ReadOnlySQLTransactionError():
            return Unavailable("the database is read-only just now", headers=RETRY)
        case (
            asyncpg.PostgresConnectionError()
            | asyncpg.InsufficientResourcesError()
            | asyncpg.OperatorInterventionError()
            | asyncpg.InvalidCatalogNameError()
            | asyncpg.ObjectNotInPrerequisiteStateError()
            | asyncpg.InternalClientError()
            | asyncpg.InterfaceError()
            | TimeoutError()
            | ConnectionError()
            | OSError()
        ):
            return Unavailable("the database is not reachable just now", headers=RETRY)
        case _:
            return None
