"""The audit trail: what admins did, each entry chained to the one before by its hash (docs/audit.md)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import msgspec

from app.db.engine import Database
from app.db.queries import load

ACCOUNTS = load("accounts")
STRETCH = 10_000
"""Entries that one statement re-computes; the statement stays far below its time limit."""

LOOKED = 20_000
"""Entries that a filtered page looks through at most before it asks to go on."""

LINES = 1_000


@dataclass(frozen=True)
class Chain:
    """How far the trail was checked: `head` is the hash of its last entry there, `broken` the first wrong one."""

    entries: int
    last: int
    head: bytes
    broken: int | None
    whole: bool


@dataclass(frozen=True)
class Found:
    """A page of the trail; `older` is where the next goes on, if there may be one."""

    entries: list[asyncpg.Record]
    older: int | None


async def record(
    connection: asyncpg.pool.PoolConnectionProxy, admin_id: int | None, action: str, about: str, **detail: object
) -> None:
    """Append to the audit trail, in the caller's transaction if there is one."""
    async with connection.transaction():
        await connection.execute(ACCOUNTS["audit_turn"])
        await connection.execute(
            ACCOUNTS["audit_append"], admin_id, action, about, msgspec.json.encode(detail).decode()
        )


async def check(database: Database, *, most: int | None = None) -> Chain:
    """Re-compute the hashes from the first entry on, up to `most` entries, a stretch at a time."""
    entries, last, head = 0, 0, b""
    while most is None or entries < most:
        size = STRETCH if most is None else min(STRETCH, most - entries)
        row = await database.fetchrow(ACCOUNTS["audit_stretch"], last, head, size)
        assert row is not None  # noqa: S101 - an aggregate always returns its row
        if row["broken"] is not None:
            return Chain(entries + row["entries"], last, head, row["broken"], False)
        if row["entries"]:
            entries, last, head = entries + row["entries"], row["last_id"], row["head"]
        if row["entries"] < size:
            return Chain(entries, last, head, None, True)
    return Chain(entries, last, head, None, not await database.fetchval(ACCOUNTS["audit_goes_on"], last))


async def broken_audit(database: Database) -> int | None:
    """The first entry of the audit trail that has been tampered with."""
    return (await check(database)).broken


async def page(
    database: Database, *, before: int, admin: int | None, action: str | None, words: str | None, limit: int
) -> Found:
    """The newest entries before `before`: of an admin (0: of none, as by the command line), of a kind, with words."""
    rows = await database.fetch(ACCOUNTS["audit_page"], before, admin, action, words, limit + 1, LOOKED)
    if len(rows) > limit:
        return Found(rows[:limit], rows[limit - 1]["id"])
    return Found(rows, await database.fetchval(ACCOUNTS["audit_looked"], before, LOOKED))


async def actions(database: Database) -> list[str]:
    """The kinds of the newest entries, by name."""
    return [row["action"] for row in await database.fetch(ACCOUNTS["audit_actions"], LOOKED)]


async def lines(database: Database) -> AsyncIterator[list[asyncpg.Record]]:
    """The whole trail, oldest first, in bundles, with the text that each hash was made of."""
    last = 0
    while rows := await database.fetch(ACCOUNTS["audit_lines"], last, LINES):
        yield rows
        last = rows[-1]["id"]
