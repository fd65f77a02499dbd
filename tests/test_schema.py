"""sql/init.sql ≡ migrations ≡ models."""

import asyncio
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from alembic import command
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
        revisions = len(list((migrate.ROOT / "migrations/versions").glob("0*.py")))
        assert sorted(len(state.pending) for state in states) == [0, 0, revisions]
    finally:
        await run_sql(server_url, f'DROP DATABASE "{name}" WITH (FORCE)')


async def test_admins_of_the_schema_before_stay_admins_and_observers_do_not_become_some(server_url: str) -> None:
    name = f"older_{uuid4().hex[:8]}"
    other = with_database(server_url, name)
    await run_sql(server_url, f'CREATE DATABASE "{name}"')
    engine = alchemy_engine(other)

    def down(connection: Connection) -> None:
        config = migrate._config()
        config.attributes["connection"] = connection
        command.downgrade(config, "0004")

    try:
        await migrate.upgrade(other, "0004")
        await run_sql(
            other,
            "INSERT INTO admin (username, email, password_hash) VALUES ('ada', 'a@x', 'x'), ('olga', 'o@x', 'x')",
            "INSERT INTO admin_sessions (jti, admin_id, expires_at) VALUES ('j', 2, now() + interval '1 day')",
            "INSERT INTO admin_invitations (email, token_sha256, expires_at) VALUES ('e@x.org', '\\x00', now())",
        )
        await migrate.upgrade(other)
        connection = await asyncpg.connect(other)
        assert [row[0] for row in await connection.fetch("SELECT DISTINCT role FROM admin")] == ["admin"]
        assert await connection.fetchval("SELECT role FROM admin_invitations") == "admin"
        await connection.execute("UPDATE admin SET role = 'observer' WHERE id = 2")
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute("UPDATE admin SET role = 'root' WHERE id = 1")
        await connection.close()
        async with engine.begin() as session:
            await session.run_sync(down)
        connection = await asyncpg.connect(other)
        disabled = await connection.fetch("SELECT username FROM admin WHERE disabled_at IS NOT NULL")
        assert [row[0] for row in disabled] == ["olga"]
        assert await connection.fetchval("SELECT count(*) FROM admin_sessions WHERE revoked_at IS NULL") == 0
        await connection.close()
        await migrate.upgrade(other)
    finally:
        await engine.dispose()
        await run_sql(server_url, f'DROP DATABASE "{name}" WITH (FORCE)')


async def test_a_newer_schema_is_refused(url: str) -> None:
    await run_sql(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Misconfigured, match="newer"):
        await migrate.status(url)
