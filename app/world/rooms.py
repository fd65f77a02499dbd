"""Chatrooms as rows: who is in them, what was written, and what each was told, in one order without a gap."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import asyncpg
import msgspec

from app.db.engine import Database
from app.db.queries import load
from app.errors import Conflict, NotFound

ROOMS = load("rooms")
CHANNEL = "simfeed_rooms"
"""Rung when a room has something new to tell."""

PERSON = 0
"""The person's ordinal in every room."""

PERSON_NAME = "participant"
"""What the person is called in rows, prompts and logs."""

POSITION_MOST = 2**31 - 1
NEWS_MOST = 200
"""Events of one room that are read at once."""

EndReason = Literal["time", "left", "dropped_out", "removed", "withdrawn", "error", "budget", "study_closed"]


@dataclass(frozen=True)
class Said:
    """A message of the person: its number and key; not `fresh` when it was there already."""

    number: int
    key: str
    fresh: bool


def new_key() -> str:
    """A name nobody can guess: 128 random bits, in the form of a UUID."""
    text = secrets.token_hex(16)
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


async def open_room(
    connection: asyncpg.pool.PoolConnectionProxy,
    *,
    key: str,
    seed: int,
    study_id: int | None,
    participant_id: int | None,
    arm: str,
    pace: Mapping[str, Any],
    settings: Mapping[str, Any],
    members: Sequence[tuple[int | None, str]],
) -> int:
    """A room that waits for its person, with its run. `members` are the agents: (persona id, name), in order.

    Returns:
        The room's number.
    """
    everybody = [(None, PERSON_NAME), *members]
    return int(
        await connection.fetchval(
            ROOMS["open_room"],
            key,
            seed,
            study_id,
            participant_id,
            arm,
            msgspec.json.encode(dict(pace)).decode(),
            [persona or 0 for persona, _ in everybody],
            [name for _, name in everybody],
            msgspec.json.encode(dict(settings)).decode(),
        )
    )


async def by_key(database: Database, key: str) -> asyncpg.Record | None:
    """A room by its key."""
    return await database.fetchrow(ROOMS["by_key"], key)


async def members(database: Database, room_id: int) -> list[str]:
    """The names of a room's members, by ordinal."""
    return [row["name"] for row in await database.fetch(ROOMS["members"], room_id)]


async def enter(database: Database, key: str, *, at: datetime | None = None) -> asyncpg.Record | None:
    """The person connects; the clock starts when that is the first time, or `at`. None when the room is at an end."""
    return await database.fetchrow(ROOMS["enter"], key, at)


async def say(
    database: Database,
    key: str,
    body: str,
    *,
    reply_to: str | None = None,
    quoted_text: str | None = None,
    mentions: Sequence[int] = (),
    client_id: str | None = None,
    at: datetime | None = None,
) -> Said:
    """The person writes a message. With a `client_id`, the same is written once however often it is sent.

    `at`: when, in a room in simulated time.

    Raises:
        Conflict: the room is at an end, paused, or not yet begun.
    """
    row = await _locked(database, key, "say", new_key(), body, reply_to, quoted_text, list(mentions), client_id, at)
    if row is None:
        raise Conflict("the session takes no messages now")
    return Said(row["number"], row["key"], row["fresh"])


async def like(database: Database, key: str, message: str) -> asyncpg.Record:
    """The person likes a message, or takes the like back.

    Raises:
        NotFound: no running session holds such a message.
    """
    row = await _locked(database, key, "like", message)
    if row is None:
        raise NotFound("no running session has a message of that id")
    return row


async def report(database: Database, key: str, message: str, *, reason: str, block: bool) -> asyncpg.Record:
    """The person reports an agent's message, or takes the report back; `block` blocks its sender.

    Raises:
        NotFound: no running session holds such a message of an agent.
    """
    row = await _locked(database, key, "report", message, reason, block)
    if row is None:
        raise NotFound("no running session has a message of that id by somebody else")
    return row


async def name_person(database: Database, key: str, name: str) -> None:
    """Keep what the person calls themselves, if nothing is known: it is shown to them alone. A token is no name."""
    if name != PERSON_NAME:
        await _locked(database, key, "rename", name, hashlib.sha256(name.encode()).digest())


async def message(database: Database, key: str, message_key: str) -> asyncpg.Record:
    """A message with who likes it, and whether the person has reported it.

    Raises:
        NotFound: the room has no such message.
    """
    if row := await database.fetchrow(ROOMS["message"], key, message_key):
        return row
    raise NotFound("the session has no message of that id")


async def blocks(database: Database, room_id: int, upto: int = POSITION_MOST) -> dict[int, str]:
    """Whom the person had blocked up to a position: ordinal → time, in ISO 8601."""
    rows = await database.fetch(ROOMS["blocked"], room_id, upto)
    return {row["blocked"]: row["at"].isoformat() for row in rows}


async def _locked(database: Database, key: str, statement: str, *arguments: object) -> asyncpg.Record | None:
    async with database.connection() as connection, connection.transaction():
        if await connection.fetchval(ROOMS["lock"], key) is None:
            return None
        row: asyncpg.Record | None = await connection.fetchrow(ROOMS[statement], key, *arguments)
        return row


async def locked_by_id(database: Database, room_id: int, statement: str, *arguments: object) -> asyncpg.Record | None:
    """A writing statement of `sql/rooms.sql` after all that was written in the room before."""
    async with database.connection() as connection, connection.transaction():
        await connection.fetchval(ROOMS["lock_id"], room_id)
        row: asyncpg.Record | None = await connection.fetchrow(ROOMS[statement], room_id, *arguments)
        return row


async def end(database: Database, room_id: int, reason: EndReason, *, at: datetime | None = None) -> bool:
    """The room takes nothing more. False when it was at an end already. `at`: when, in simulated time."""
    async with database.connection() as connection, connection.transaction():
        return await end_in(connection, room_id, reason, at=at)


async def end_in(
    connection: asyncpg.pool.PoolConnectionProxy, room_id: int, reason: EndReason, *, at: datetime | None = None
) -> bool:
    """The same in the caller's transaction."""
    await connection.fetchval(ROOMS["lock_id"], room_id)
    return await connection.fetchval(ROOMS["end_room"], room_id, reason, at) is not None


async def news(database: Database, known: Mapping[int, int], *, most: int = NEWS_MOST) -> list[asyncpg.Record]:
    """What rooms tell after the positions that are known, room by room in order."""
    return await database.fetch(ROOMS["news"], list(known), list(known.values()), most)


async def simulated(database: Database, key: str) -> asyncpg.Record:
    """A room in simulated time, with its run: id, run_id, seed, state, started_at, settings, run_state.

    Raises:
        NotFound: there is no such room.
    """
    if (row := await database.fetchrow(ROOMS["simulated"], key)) is None:
        raise NotFound(f"there is no room {key}")
    return row


async def transcript(database: Database, key: str) -> list[asyncpg.Record]:
    """All that was written in a room, in order: number, member, name, body, reply_to, mentions, answers (the number of
    the message for which it was written), seconds from the start, liked_by (ordinals)."""
    return await database.fetch(ROOMS["transcript"], key)


async def transcript_sha256(database: Database, key: str) -> bytes:
    """The hash of a room's transcript: of the JSON of each line, in order."""
    digest = hashlib.sha256()
    for line in await transcript(database, key):
        digest.update(msgspec.json.encode(tuple(line.values())))
    return digest.digest()
