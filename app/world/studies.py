"""Studies as rows: designs, states, casts. What a design means is known in the chatroom venue."""

from collections.abc import Sequence
from typing import Literal

import asyncpg

from app.db.engine import Database
from app.db.queries import load
from app.errors import Conflict, NotFound

STUDIES = load("studies")
Move = Literal["open", "pause", "resume"]


async def create(
    connection: asyncpg.pool.PoolConnectionProxy,
    *,
    name: str,
    consent: str,
    design: str,
    design_sha256: bytes,
    seed: int,
    by: int | None,
) -> int:
    """A draft; `design` is JSON.

    Raises:
        Conflict: another study has the name.
    """
    made = await connection.fetchval(STUDIES["create"], name, consent, design, design_sha256, seed, by)
    if made is None:
        raise Conflict(f"there is a study of the name {name} already")
    return int(made)


async def edit(
    connection: asyncpg.pool.PoolConnectionProxy, study_id: int, *, consent: str, design: str, design_sha256: bytes
) -> bool:
    """Give a draft another design; False when it is no draft any more."""
    return await connection.fetchval(STUDIES["edit"], study_id, consent, design, design_sha256) is not None


async def get(connection: asyncpg.pool.PoolConnectionProxy | Database, study_id: int) -> asyncpg.Record:
    """One study.

    Raises:
        NotFound: there is none with this id.
    """
    row: asyncpg.Record | None = await connection.fetchrow(STUDIES["by_id"], study_id)
    if row is not None:
        return row
    raise NotFound(f"no study has the id {study_id}")


async def by_name(database: Database, name: str) -> asyncpg.Record:
    """One study.

    Raises:
        NotFound: there is none of this name.
    """
    if row := await database.fetchrow(STUDIES["by_name"], name):
        return row
    raise NotFound(f"no study has the name {name}")


async def locked(connection: asyncpg.pool.PoolConnectionProxy, study_id: int) -> asyncpg.Record:
    """One study that stays as it is until the transaction ends.

    Raises:
        NotFound: there is none with this id.
    """
    if row := await connection.fetchrow(STUDIES["lock"], study_id):
        return row
    raise NotFound(f"no study has the id {study_id}")


async def page(database: Database, *, before: int, limit: int) -> list[asyncpg.Record]:
    """Studies before an id, newest first, with counts of participants and tokens."""
    return await database.fetch(STUDIES["page"], before, limit)


async def people(database: Database, study_id: int) -> list[asyncpg.Record]:
    """Counts of participants by arm, state and stage."""
    return await database.fetch(STUDIES["people"], study_id)


async def stock(database: Database, study_id: int) -> list[asyncpg.Record]:
    """Counts of tokens by arm (null: assigned) and state (open, used, revoked)."""
    return await database.fetch(STUDIES["stock"], study_id)


async def token_arms(connection: asyncpg.pool.PoolConnectionProxy, study_id: int) -> list[str]:
    """The arms that open tokens lead to."""
    return [row["arm"] for row in await connection.fetch(STUDIES["token_arms"], study_id)]


async def move(connection: asyncpg.pool.PoolConnectionProxy, study_id: int, to: Move) -> bool:
    """Open a draft, pause an open study or go on with a paused one; False when it was in no such state."""
    return await connection.fetchval(STUDIES[to], study_id) is not None


async def close(connection: asyncpg.pool.PoolConnectionProxy, study_id: int) -> int | None:
    """Close a study and revoke its tokens; how many were unused, or None when it was closed already."""
    row = await connection.fetchrow(STUDIES["close"], study_id)
    return None if row is None else int(row["revoked"])


async def set_cast(
    connection: asyncpg.pool.PoolConnectionProxy, study_id: int, members: Sequence[tuple[int, str]]
) -> None:
    """Who plays in the study's rooms: (persona id, name in the room), in order."""
    await connection.execute(STUDIES["cast"], study_id, [one for one, _ in members], [name for _, name in members])


async def members(connection: asyncpg.pool.PoolConnectionProxy | Database, study_id: int) -> list[asyncpg.Record]:
    """Who plays in the study's rooms, in order."""
    rows: list[asyncpg.Record] = await connection.fetch(STUDIES["members"], study_id)
    return rows


async def room_of(connection: asyncpg.pool.PoolConnectionProxy, participant_id: int) -> asyncpg.Record | None:
    """A participant's room."""
    return await connection.fetchrow(STUDIES["room_of"], participant_id)


async def leave_room(connection: asyncpg.pool.PoolConnectionProxy, room_id: int) -> None:
    """Take an ended room from its participant."""
    await connection.execute(STUDIES["leave_room"], room_id)
