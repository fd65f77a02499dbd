"""Rooms as their researchers watch and hold them; who may do so, and the audit log, is the venue's affair."""

from typing import Literal

import asyncpg

from app.db.engine import Database
from app.db.queries import load
from app.errors import NotFound

MONITOR = load("monitor")
HERE_SECONDS = 25.0
"""Whoever was heard of this recently is connected: their socket tells so every ten seconds."""

Deed = Literal["notice", "pause", "resume", "extend"]


async def seats(
    database: Database, study_id: int, *, after: int, limit: int, stage: str, state: str
) -> list[asyncpg.Record]:
    """Participants after a number, by number, with how their rooms stand."""
    return await database.fetch(MONITOR["seats"], study_id, after, limit, stage, state, HERE_SECONDS)


async def room(database: Database, study_id: int, key: str) -> asyncpg.Record:
    """A room of a study.

    Raises:
        NotFound: the study has no such room.
    """
    if row := await database.fetchrow(MONITOR["room"], study_id, key):
        return row
    raise NotFound("the study has no room of that id")


async def told(database: Database, room_id: int, *, after: int, limit: int) -> list[asyncpg.Record]:
    """What a room told after a position, in its order."""
    return await database.fetch(MONITOR["told"], room_id, after, limit)


async def do(
    connection: asyncpg.pool.PoolConnectionProxy, study_id: int, key: str, deed: Deed, *arguments: object
) -> bool:
    """Do something in a room, after all that was written in it before. False when it stands otherwise.

    Raises:
        NotFound: the study has no such room.
    """
    room_id = await connection.fetchval(MONITOR["lock"], study_id, key)
    if room_id is None:
        raise NotFound("the study has no room of that id")
    return await connection.fetchval(MONITOR[deed], room_id, *arguments) is not None


async def participant(connection: asyncpg.pool.PoolConnectionProxy, study_id: int, pseudonym: str) -> asyncpg.Record:
    """Somebody of a study, with the number of their open room.

    Raises:
        NotFound: there is nobody of that pseudonym.
    """
    row: asyncpg.Record | None = await connection.fetchrow(MONITOR["participant"], study_id, pseudonym)
    if row is None:
        raise NotFound(f"the study has no participant {pseudonym}")
    return row
