"""sql/init.sql ≡ migrations ≡ models."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column, Connection, Integer, Table

from app.db import migrate
from app.db.migrate import alchemy_engine
from app.errors import Misconfigured
from app.models import Base
from tests.conftest import run_sql, with_database
from tests.schema_dump import INIT, dump


async def test_init_sql_is_what_the_migrations_make(server_url: str, url: str) -> None:
    name = f"init_{uuid4().hex[:8]}"
    other = with_database(server_url, name)
    await run_sql(server_url, f'CREATE DATABASE "{name}"')
    try:
        await run_sql(other, INIT.read_text())
        assert dump(other) == dump(url)
        assert (await migrate.status(other)).pending == ()
        await run_sql(other, "ALTER TABLE posts ADD COLUMN drift int")
        assert dump(other) != dump(url)
    finally:
        await run_sql(server_url, f'DROP DATABASE "{name}" WITH (FORCE)')


def differences(connection: Connection) -> list[Any]:
    return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), Base.metadata))


async def test_the_models_are_what_the_migrations_make(url: str) -> None:
    engine = alchemy_engine(url)
    try:
        async with engine.connect() as connection:
            assert await connection.run_sync(differences) == []
            drift = Table("drift", Base.metadata, Column("id", Integer, primary_key=True))
            try:
                assert await connection.run_sync(differences)
            finally:
                Base.metadata.remove(drift)
    finally:
        await engine.dispose()


async def test_migrating_twice_at_once_applies_once(server_url: str) -> None:
    name = f"twice_{uuid4().hex[:8]}"
    other = with_database(server_url, name)
    await run_sql(server_url, f'CREATE DATABASE "{name}"')
    try:
        states = await asyncio.gather(*(migrate.upgrade(other) for _ in range(3)))
        assert sorted(len(state.pending) for state in states) == [0, 0, 4]
    finally:
        await run_sql(server_url, f'DROP DATABASE "{name}" WITH (FORCE)')


async def test_a_newer_schema_is_refused(url: str) -> None:
    await run_sql(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Misconfigured, match="newer"):
        await migrate.status(url)
