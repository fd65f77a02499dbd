"""Withdrawal and retention: a person takes back what they gave, at any time, down to the last byte of it.

A person is alone with agents in their room, and what agents say comes of what they were told, so an erased person's
room loses all its words, theirs and the agents', with all prompts and replies behind them. Its frame stays: who wrote
when, in what order, for how many tokens.
"""

import secrets
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal, TypeVar, get_args

import asyncpg

from app import streams
from app.auth.audit import record
from app.db.engine import Database, patiently
from app.db.queries import load
from app.errors import Conflict, FieldError, Invalid, NotFound
from app.ledger.commit import DEADLOCK_WAIT, MET
from app.venues.chatroom.design import stored
from app.world.rooms import ROOMS, end_in

ERASURE = load("erasure")
TRIES = 5
Kept = Literal["erase", "anonymised"]
T = TypeVar("T")


class _MovedError(Exception):
    """A room was opened for them while we were looking."""


AGAIN = (*MET, _MovedError)
"""What a second try mends."""


@dataclass(frozen=True)
class Withdrawn:
    """Who withdrew, from which study, and what became of their data."""

    pseudonym: str
    study: str
    kept: Kept


@dataclass(frozen=True)
class Retention:
    """A study's participants that are not erased, what is left of them, and when that is due to go."""

    id: int
    name: str
    state: str
    retention_days: int
    due_at: datetime | None
    due: bool
    participants: int
    answers: int
    messages: int

    def out(self) -> dict[str, Any]:
        return asdict(self)


async def withdraw(database: Database, participant_id: int, kept: str | None = None) -> Withdrawn:
    """Take a person out of their study: their room ends, what leads to them is deleted, and unless their words are
    kept anonymised, so is all that they wrote, answered and did. Asked again, nothing more happens.

    Args:
        kept: `erase` or `anonymised`, of those that the study offers; None is what they consented to.

    Raises:
        NotFound: there is no such participant.
        Invalid: the study does not offer `kept`.
    """
    person = await database.fetchrow(ERASURE["person"], participant_id)
    if person is None:
        raise NotFound(f"no participant has the id {participant_id}")
    offered = stored(person["design"]).withdrawal
    if kept is not None and kept not in offered:
        text = f"must be one of {', '.join(offered)}"
        raise Invalid(f"kept: {text}", errors=[FieldError("/kept", "value", text)])

    async def work(connection: asyncpg.pool.PoolConnectionProxy) -> Withdrawn:
        rooms, now = await _held(connection, person)
        wish: Kept = _kept(now["kept"] if kept is None or now["state"] == "withdrawn" else kept)
        if now["state"] != "withdrawn":
            await connection.execute(ERASURE["withdraw"], participant_id, wish)
            for room in rooms:
                await end_in(connection, room["id"], "withdrawn")
            await _remove(connection, person, rooms, wish)
            await record(
                connection, None, "participant.withdrawn", person["pseudonym"], study=person["study_id"], kept=wish
            )
        return Withdrawn(person["pseudonym"], person["study"], wish)

    return await _again(database, work)


def _kept(value: str) -> Kept:
    return next(known for known in get_args(Kept) if known == value)


async def _again(database: Database, work: Callable[[asyncpg.pool.PoolConnectionProxy], Coroutine[Any, Any, T]]) -> T:
    """Do `work` in a transaction, and anew when it met with another."""

    async def once() -> T:
        async with database.connection() as connection, connection.transaction():
            return await work(connection)

    return await patiently(once, AGAIN, tries=TRIES, wait=DEADLOCK_WAIT)


def whose(person: asyncpg.Record) -> tuple[int, int, int]:
    """By what a participant's rooms are found, also one that was taken from them: see `rooms_of`."""
    return person["id"], person["study_id"], streams.number(person["seed"], "room", person["pseudonym"])


async def _held(
    connection: asyncpg.pool.PoolConnectionProxy, person: asyncpg.Record
) -> tuple[list[asyncpg.Record], asyncpg.Record]:
    """Their rooms and they themselves, held until the transaction ends: rooms first, as whoever ends a room does."""
    theirs = whose(person)
    rooms = await connection.fetch(ERASURE["rooms_of"], *theirs)
    for room in rooms:
        await connection.fetchval(ROOMS["lock_id"], room["id"])
    now = await connection.fetchrow(ERASURE["hold_person"], person["id"])
    if await connection.fetch(ERASURE["rooms_of"], *theirs) != rooms:
        raise _MovedError
    return rooms, now


async def _remove(
    connection: asyncpg.pool.PoolConnectionProxy, person: asyncpg.Record, rooms: list[asyncpg.Record], kept: Kept
) -> None:
    await connection.execute(ERASURE["cut_links"], person["id"], secrets.token_bytes(32))
    if kept == "erase":
        await connection.execute(ERASURE["erase_person"], person["id"])
        for room in rooms:
            await _erase_room(connection, room)
    else:
        for room in rooms:
            await connection.execute(ERASURE["unname_messages"], room["id"])


async def _erase_room(connection: asyncpg.pool.PoolConnectionProxy, room: asyncpg.Record) -> None:
    """Answers of models that come later find the room erased: `close_room` takes their words out."""
    await connection.fetch(ERASURE["hold_turns"], room["run_id"])
    await connection.execute(ERASURE["erase_room"], room["id"])
    await connection.execute(ERASURE["erase_run"], room["run_id"])


# Retention


async def retention(database: Database, study_id: int) -> Retention:
    """How much of whom a study still holds, and until when.

    Raises:
        NotFound: no such study.
    """
    row = await database.fetchrow(ERASURE["purgeable"], study_id)
    if row is None:
        raise NotFound(f"no study has the id {study_id}")
    return Retention(**dict(row))


async def purge(database: Database, study_id: int, *, by: int | None) -> Retention:
    """Erase what is left of a study's participants, once its retention is over; one after the other, so that a purge
    that is cut off goes on when it is asked for again.

    Returns:
        What was there before.

    Raises:
        NotFound: no such study.
        Conflict: its retention is not over.
    """
    found = await retention(database, study_id)
    if not found.due:
        when = "is not closed" if found.due_at is None else f"keeps its data until {found.due_at:%Y-%m-%d %H:%M} UTC"
        raise Conflict(f"the study {found.name} {when}: retention is {found.retention_days} days after it is closed")
    after = 0
    while people := await database.fetch(ERASURE["left_in"], study_id, after):
        for one in people:
            await _retire(database, one["id"])
        after = people[-1]["id"]

    async def rest(connection: asyncpg.pool.PoolConnectionProxy) -> None:
        for room in await connection.fetch(ERASURE["rooms_left"], study_id):
            await connection.fetchval(ROOMS["lock_id"], room["id"])
            await _erase_room(connection, room)
        await connection.execute(ERASURE["unlabel"], study_id)
        await record(connection, by, "study.purged", found.name, id=study_id, participants=found.participants)

    await _again(database, rest)
    return found


async def _retire(database: Database, participant_id: int) -> None:
    person = await database.fetchrow(ERASURE["person"], participant_id)

    async def work(connection: asyncpg.pool.PoolConnectionProxy) -> None:
        rooms, now = await _held(connection, person)
        if now["erased_at"] is None:
            await connection.execute(ERASURE["retire"], participant_id)
            for room in rooms:
                await end_in(connection, room["id"], "study_closed")
            await _remove(connection, person, rooms, "erase")

    if person is not None:
        await _again(database, work)


async def purge_due(database: Database) -> list[str]:
    """Purge all studies whose retention is over; their names."""
    due = await database.fetch(ERASURE["due_studies"])
    for study in due:
        await purge(database, study["id"], by=None)
    return [study["name"] for study in due]
