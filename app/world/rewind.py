"""Takes back what runs did, so that a fork is as its world was before them."""

import asyncpg

from app.db.queries import load
from app.errors import NotFound

REWIND = load("rewind")


async def rewind(connection: asyncpg.pool.PoolConnectionProxy, run_id: int) -> None:
    """Take back the run, and all cycles of the feed after it, in one transaction; its turns wait to be played again.

    What admins have done since stays done, but for quarantines. Meant for forks: what is taken back is gone.

    Raises:
        NotFound: no such cycle.
    """
    async with connection.transaction():
        if not await connection.fetchval("SELECT EXISTS (SELECT FROM runs WHERE id = $1 AND venue = 'feed')", run_id):
            raise NotFound(f"no cycle of the feed has the number {run_id}")
        for statement in REWIND.values():
            await connection.execute(statement, *((run_id,) if "$1" in statement else ()), timeout=600)
