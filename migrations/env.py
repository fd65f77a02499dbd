"""Runs the revisions: over a connection that `app.db.migrate` hands in, or one of its own to the home world."""

import asyncio

from alembic import context
from sqlalchemy import Connection

from app.db.migrate import alchemy_engine, open_home_url
from app.models import Base
from app.settings import load_settings


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()


async def run_alone() -> None:
    with open_home_url(load_settings()) as url:
        engine = alchemy_engine(url)
        async with engine.begin() as connection:
            await connection.run_sync(run)
        await engine.dispose()


given = context.config.attributes.get("connection")
if given is None:
    asyncio.run(run_alone())
else:
    run(given)
