"""Sessions as rows: who takes part, what is asked of whom, the transcript."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from app.db.engine import Database
from app.db.queries import load
from app.errors import Conflict, NotFound

SESSIONS = load("sessions")
CHANNEL = "simfeed_sessions"
"""Where it is told, by number, that a session has more lines or another state."""

PAGE = 5_000
KEY = "a session's key is 12 letters and digits; `simfeed session list` shows them"


@dataclass(frozen=True)
class Member:
    """Who takes part: `number` counts from 1; 0 is nobody in particular. `row` holds the persona's columns."""

    number: int
    persona_id: int
    name: str
    detail: Mapping[str, Any]
    row: asyncpg.Record = field(repr=False, compare=False)


@dataclass(frozen=True)
class Ask:
    """What somebody is asked, once by its `key`, as of line `upto`."""

    key: str
    member: int
    kind: str
    round: int = 0
    upto: int = 0
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """A line of a transcript. `missing` is why nothing came of what was asked."""

    key: str
    member: int
    kind: str
    round: int = 0
    body: str = ""
    thought: str | None = None
    value: Mapping[str, Any] | None = None
    missing: str | None = None
    number: int = 0
    turn_id: int | None = None
    at: datetime | None = None


@dataclass(frozen=True)
class Ended:
    """An ask whose turn is at an end, or not yet: what became of it, its last reply and what that called."""

    turn_id: int
    ask: Ask
    state: str
    reason: str | None
    status: str | None
    reply: bytes
    called: str | None
    arguments: str | None

    @property
    def over(self) -> bool:
        return self.state not in ("queued", "running")


def new_key() -> str:
    """A key for a session: 12 letters and digits, none of which look alike."""
    return "".join(secrets.choice("abcdefghjkmnpqrstuvwxyz23456789") for _ in range(12))


def encoded(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def decoded(value: str | None) -> Any:
    return None if value is None else msgspec.json.decode(value)


async def found(database: Database, key: str) -> asyncpg.Record:
    """A session with its run.

    Raises:
        NotFound: there is none of that key.
    """
    row = await database.fetchrow(SESSIONS["session"], None, key)
    if row is None:
        raise NotFound(f"no session has the key {key[:40]!r}: {KEY}")
    return row


async def by_id(database: Database, session_id: int) -> asyncpg.Record:
    """A session with its run; it is there."""
    row = await database.fetchrow(SESSIONS["session"], session_id, None)
    assert row is not None  # noqa: S101 - who asks has its number from a row
    return row


async def members(database: Database, session_id: int) -> list[Member]:
    """Who takes part, in order of their numbers, from 0."""
    rows = await database.fetch(SESSIONS["members"], session_id)
    return [Member(r["number"], r["persona_id"], r["name"], decoded(r["detail"]), r) for r in rows]


async def lines(database: Database, session_id: int, *, after: int = 0, most: int | None = None) -> list[Line]:
    """The transcript behind line `after`, in order."""
    got: list[Line] = []
    while most is None or len(got) < most:
        size = PAGE if most is None else min(PAGE, most - len(got))
        rows = await database.fetch(SESSIONS["lines"], session_id, got[-1].number if got else after, size)
        got += [_line(row) for row in rows]
        if len(rows) < size:
            break
    return got


def _line(row: asyncpg.Record) -> Line:
    return Line(
        row["key"],
        row["member"],
        row["kind"],
        row["round"],
        row["body"],
        row["thought"],
        decoded(row["value"]),
        row["missing"],
        row["number"],
        row["turn_id"],
        row["at"],
    )


async def say(database: Database, session_id: int, epoch: int, said: Sequence[Line]) -> None:
    """Lines that the session itself says, once each by their keys; in vain where it is driven by another."""
    await database.fetchrow(
        SESSIONS["say"],
        session_id,
        epoch,
        [line.key for line in said],
        [line.member for line in said],
        [line.kind for line in said],
        [line.round for line in said],
        [line.body for line in said],
        [encoded(line.value) for line in said],
    )


async def ask(database: Database, session_id: int, epoch: int, asked: Sequence[Ask]) -> None:
    """Turns for what is asked, once each by their keys; in vain where the session is driven by another."""
    await database.fetchrow(
        SESSIONS["ask"],
        session_id,
        epoch,
        [one.key for one in asked],
        [one.member for one in asked],
        [one.kind for one in asked],
        [one.round for one in asked],
        [one.upto for one in asked],
        [encoded(one.about) for one in asked],
    )


async def asks(database: Database, turn_ids: Sequence[int]) -> dict[int, Ask]:
    """What these turns are asked."""
    return {row["turn_id"]: _ask(row) for row in await database.fetch(SESSIONS["asks"], list(turn_ids))}


def _ask(row: asyncpg.Record) -> Ask:
    return Ask(row["key"], row["member"], row["kind"], row["round"], row["upto"], decoded(row["about"]))


async def unanswered(database: Database, session_id: int, answered: int, most: int) -> list[Ended]:
    """The asks behind those `answered`, which have a line each, in their order."""
    return [
        Ended(r["turn_id"], _ask(r), r["state"], r["reason"], r["status"], r["reply"] or b"", r["name"], r["arguments"])
        for r in await database.fetch(SESSIONS["unanswered"], session_id, answered, most)
    ]


async def answer(database: Database, session_id: int, epoch: int, answered: Sequence[Line]) -> None:
    """Lines that answer asks, in this order, once each; in vain where the session is driven by another."""
    await database.fetchrow(
        SESSIONS["answer"],
        session_id,
        epoch,
        [line.turn_id for line in answered],
        [line.body for line in answered],
        [line.thought for line in answered],
        [encoded(line.value) for line in answered],
        [line.missing for line in answered],
    )


async def cancel(database: Database, session_id: int) -> None:
    """Nobody is asked any more; what was said stays.

    Raises:
        Conflict: it is at its end.
    """
    if await database.fetchrow(SESSIONS["cancel"], session_id) is None:
        raise Conflict("the session is at its end and can't be cancelled")


async def pause(database: Database, session_id: int, reason: str = "paused by hand") -> None:
    """Nobody is asked anything further until it goes on.

    Raises:
        Conflict: it is not under way.
    """
    if await database.fetchrow(SESSIONS["pause"], session_id, reason) is None:
        raise Conflict("the session is not under way and can't be paused")


async def go_on(database: Database, session_id: int, *, steps: int | None = None) -> None:
    """Go on with a session that stands still; with `steps` it pauses again after so many lines.

    Raises:
        Conflict: it is under way, or at its end.
    """
    if await database.fetchrow(SESSIONS["go_on"], session_id, steps) is None:
        raise Conflict("the session does not stand still: it is under way or at its end")


def state_sha256(transcript: Sequence[Line]) -> bytes:
    """The hash of a transcript: of the JSON of each line's number, key, who, kind, round, words, value, in order."""
    digest = hashlib.sha256()
    for line in transcript:
        told = (line.number, line.key, line.member, line.kind, line.round, line.body, line.thought, line.value)
        digest.update(msgspec.json.encode((*told, line.missing), order="deterministic"))
    return digest.digest()


async def checkpoint(database: Database, session_id: int, name: str, transcript: Sequence[Line], asked: int) -> bool:
    """Mark where a session stands; False where a point of that name is there."""
    made = await database.fetchval(
        SESSIONS["checkpoint"], session_id, name, len(transcript), asked, state_sha256(transcript)
    )
    return made is not None
