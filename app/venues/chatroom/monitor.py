"""A study under way: who is where, what rooms tell, and what researchers do there. Each deed is in the audit log."""

from dataclasses import dataclass
from typing import Any

import asyncpg

from app.auth import participants
from app.auth.audit import record
from app.db.engine import Database
from app.errors import Conflict, Invalid
from app.world import monitor, rooms
from app.world.monitor import Deed

MINUTES_MOST = 240
BEGUN = "the room has not begun, or it is at an end"


@dataclass(frozen=True)
class RoomView:
    """A room, and what it told after a position: messages, notices, pauses and its end, in order."""

    room: asyncpg.Record
    told: list[asyncpg.Record]
    more: bool


async def seats(
    database: Database, study_id: int, *, after: int = 0, limit: int = 100, stage: str = "", state: str = ""
) -> list[asyncpg.Record]:
    """Participants after a number, oldest first, with how their rooms stand. `stage` and `state` may be ''."""
    return await monitor.seats(database, study_id, after=after, limit=limit, stage=stage, state=state)


async def room_view(database: Database, study_id: int, key: str, *, after: int = 0, limit: int = 200) -> RoomView:
    """A room and what it told after position `after`.

    Raises:
        NotFound: the study has no such room.
    """
    room = await monitor.room(database, study_id, key)
    told = await monitor.told(database, room["id"], after=after, limit=limit + 1)
    return RoomView(room, told[:limit], len(told) > limit)


async def notice(database: Database, study_id: int, key: str, text: str, *, by: int | None) -> None:
    """Tell the person in a room something, in the researchers' name. The agents don't read it.

    Raises:
        NotFound: the study has no such room.
        Conflict: the room is at an end.
    """
    await _do(database, study_id, key, "notice", text, refused="the room is at an end", by=by, characters=len(text))


async def pause_room(database: Database, study_id: int, key: str, *, by: int | None) -> None:
    """Stop a room's clock: nobody writes until it is resumed.

    Raises:
        NotFound: the study has no such room.
        Conflict: the room doesn't run.
    """
    await _do(database, study_id, key, "pause", refused=f"{BEGUN}, or paused already", by=by)


async def resume_room(database: Database, study_id: int, key: str, *, by: int | None) -> None:
    """Let a paused room go on with the time it had left.

    Raises:
        NotFound: the study has no such room.
        Conflict: the room is not paused.
    """
    await _do(database, study_id, key, "resume", refused="the room is not paused", by=by)


async def extend_room(database: Database, study_id: int, key: str, minutes: float, *, by: int | None) -> None:
    """Give a room more time.

    Raises:
        NotFound: the study has no such room.
        Invalid: not more than 0 and at most `MINUTES_MOST` minutes.
        Conflict: the room's time doesn't run.
    """
    if not 0 < minutes <= MINUTES_MOST:
        raise Invalid(f"minutes: must be more than 0 and at most {MINUTES_MOST}")
    await _do(database, study_id, key, "extend", minutes, refused=BEGUN, by=by, minutes=minutes)


async def _do(
    database: Database,
    study_id: int,
    key: str,
    deed: Deed,
    *arguments: object,
    refused: str,
    by: int | None,
    **detail: Any,
) -> None:
    async with database.connection() as connection, connection.transaction():
        if not await monitor.do(connection, study_id, key, deed, *arguments):
            raise Conflict(refused)
        await record(connection, by, f"room.{deed}", key, id=study_id, **detail)


async def remove(database: Database, study_id: int, pseudonym: str, *, by: int | None) -> None:
    """End somebody's part in a study, and their room. What they gave stays, as they consented.

    Raises:
        NotFound: the study has nobody of that pseudonym.
        Conflict: they take no part any more.
    """
    async with database.connection() as connection, connection.transaction():
        person = await monitor.participant(connection, study_id, pseudonym)
        ended = person["room_id"] is not None and await rooms.end_in(connection, person["room_id"], "removed")
        if not await participants.stop(connection, person["id"], "removed", "removed") and not ended:
            raise Conflict(f"the participant {pseudonym} takes no part any more")
        await record(connection, by, "participant.removed", pseudonym, id=study_id)
