"""Brings the schema up to date, one migrator at a time, and says how far it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from app.db import embedded
from app.db.embedded.wire import ROLE as HOME_DATABASE
from app.db.engine import plain_url
from app.errors import Misconfigured
from app.settings import Settings

if TYPE_CHECKING:  # they take 0.3 s to import, which most of what imports this module need not wait for
    from alembic.config import Config
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncEngine

ROOT = Path(__file__).resolve().parents[2]
LOCK = 0x51F_FEED
"""The advisory lock that migrators queue for."""


@dataclass(frozen=True)
class SchemaState:
    """`current` is None in an empty database; `pending` lists what is still to be applied."""

    current: str | None
    head: str
    pending: tuple[str, ...]


@contextmanager
def open_home_url(settings: Settings) -> Iterator[str]:
    """The URL of the home world, or of SIMFEED_WORLD; the embedded server runs while the block does.

    Raises:
        NotFound, Conflict: there is no such world, or it is not ready.
    """
    if settings.database_url is not None:
        yield url_of_world(settings, settings.database_url.get_secret_value())
        return
    with embedded.start(settings.simfeed_home, binaries=settings.postgres_binaries) as server:
        yield url_of_world(settings, server.url())


def url_of_world(settings: Settings, home_url: str) -> str:
    """Where the world is that the settings name, its schema brought up to date; else the home world."""
    from app.db import worlds

    return worlds.locate_now(home_url, settings.simfeed_world) if settings.simfeed_world else home_url


def home_url(settings: Settings, world_url: str) -> str:
    """The home world's database, given that of a world beside it."""
    from app.db import worlds

    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return worlds.with_database(world_url, HOME_DATABASE)


def alchemy_engine(url: str) -> "AsyncEngine":
    """An SQLAlchemy engine over asyncpg that keeps no connection."""
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    async def connect(*_: object, **__: object) -> asyncpg.Connection:
        return await asyncpg.connect(plain_url(url), timeout=10)

    return create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)


def _config() -> "Config":
    from alembic.config import Config

    return Config(str(ROOT / "alembic.ini"))


def _state(connection: "Connection") -> SchemaState:
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(_config())
    head = script.get_current_head() or ""
    current = MigrationContext.configure(connection).get_current_revision()
    known = {revision.revision for revision in script.walk_revisions()}
    if current is not None and current not in known:
        raise Misconfigured(
            f"the database's schema ({current}) is newer than this program ({head}): install the newer Sim-Feed"
        )
    pending = [r.revision for r in script.iterate_revisions("head", current or "base")]
    return SchemaState(current, head, tuple(reversed(pending)))


def knows(revision: str) -> bool:
    """Whether this program has a schema of that revision."""
    from alembic.script import ScriptDirectory

    return any(one.revision == revision for one in ScriptDirectory.from_config(_config()).walk_revisions())


async def status(url: str) -> SchemaState:
    """How far the schema is.

    Raises:
        Misconfigured: the schema is newer than this program.
    """
    engine = alchemy_engine(url)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(_state)
    finally:
        await engine.dispose()


def _upgrade(connection: "Connection", revision: str) -> SchemaState:
    from alembic import command
    from sqlalchemy import text

    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
    before = _state(connection)
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
    return before


async def upgrade(url: str, revision: str = "head") -> SchemaState:
    """Apply what is pending, all or nothing, and return the state before.

    Raises:
        Misconfigured: the schema is newer than this program.
    """
    from app.db import queue

    engine = alchemy_engine(url)
    try:
        async with engine.begin() as connection:
            before = await connection.run_sync(_upgrade, revision)
    finally:
        await engine.dispose()
    await queue.prepare(url)
    return before


async def table_count(url: str) -> int:
    """How many tables the database holds."""
    connection = await asyncpg.connect(plain_url(url), timeout=10)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"))
    finally:
        await connection.close()


async def reset(url: str) -> None:
    """Delete all and make the empty schema anew.

    Raises:
        Misconfigured: the database's user may not.
    """
    connection = await asyncpg.connect(plain_url(url), timeout=10)
    try:
        async with connection.transaction():
            await connection.execute(
                "DROP SCHEMA public CASCADE; DROP SCHEMA IF EXISTS queue CASCADE; CREATE SCHEMA public"
            )
    except asyncpg.InsufficientPrivilegeError as error:
        raise Misconfigured(f"this database user may not delete the schema: {error}") from None
    finally:
        await connection.close()
    await upgrade(url)
