"""What happened, in order: followed by ids without losing one, and read as it may be told now.

Events are written only by the statement that writes what they tell of (`sql/commit.sql`, `sql/turns.sql`).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

import asyncpg

from app.db.engine import Database
from app.db.queries import load

EVENTS = load("events")
Kind = Literal["post", "comment", "like", "follow", "run", "news"]
KINDS: frozenset[Kind] = frozenset(get_args(Kind))
CHANNEL = "simfeed_events"
PAGE = 500
PRUNED_AT_ONCE = 10_000
Row: TypeAlias = asyncpg.Record
_OBJECTS: dict[str, str] = {kind: EVENTS["news" if kind == "news" else f"{kind}s"] for kind in KINDS}


@dataclass(frozen=True)
class Bounds:
    """The oldest and the newest event there is; both 0 when there is none."""

    oldest: int
    newest: int


@dataclass
class _Unsettled:
    """Ids up to `upto` that can't be seen, and the transactions that may still bring them."""

    upto: int
    writers: frozenset[str]


@dataclass
class Follower:
    """Follows the events: `head` is the id up to which none can come any more. None until that is found out."""

    database: Database
    head: int | None = None
    waits: bool = False
    """Whether the next event can't be told yet, for one before it is still being committed."""

    _settled: int = 0
    _unsettled: _Unsettled | None = field(default=None, repr=False)

    async def begin(self) -> bool:
        """Set the head to the newest event; False while one before it may still come: call again.

        Raises:
            asyncpg.PostgresError, OSError, TimeoutError: the database is away.
        """
        if self._unsettled is None:
            self._unsettled = await self._note((await bounds(self.database)).newest)
        if await self._settle():
            self.head = self._settled
        return self.head is not None

    async def next(self, limit: int = PAGE) -> list[Row]:
        """The events behind the head that can be told, up to `limit`, in order; the caller moves the head.

        Raises:
            asyncpg.PostgresError, OSError, TimeoutError: the database is away.
        """
        assert self.head is not None  # noqa: S101 - begin() comes first
        if self._unsettled is not None:
            await self._settle()
        rows = await after(self.database, self.head, limit)
        ready = self._without_gap(rows)
        if len(ready) < len(rows) and self._unsettled is None:
            self._unsettled = await self._note(rows[-1]["id"])
            if not self._unsettled.writers:  # those that wrote have ended, so that a new look sees it all
                await self._settle()
                rows = await after(self.database, self.head, limit)
                ready = self._without_gap(rows)
        self.waits = len(ready) < len(rows)
        return ready

    def _without_gap(self, rows: list[Row]) -> list[Row]:
        assert self.head is not None  # noqa: S101 - begin() comes first
        last = self.head
        for n, row in enumerate(rows):
            if row["id"] > last + 1 and row["id"] - 1 > self._settled:
                return rows[:n]
            last = row["id"]
        return rows

    async def _note(self, upto: int) -> _Unsettled:
        return _Unsettled(upto, await writers(self.database))

    async def _settle(self) -> bool:
        """Whether what was unsettled is so no more: what a look from now on doesn't see never comes."""
        noted = self._unsettled
        if noted is None:
            return True
        if noted.writers and noted.writers & await writers(self.database):
            return False
        self._settled = max(self._settled, noted.upto)
        self._unsettled = None
        return True


async def bounds(database: Database) -> Bounds:
    row = await database.fetchrow(EVENTS["bounds"])
    return Bounds(row["oldest"] or 0, row["newest"] or 0) if row is not None else Bounds(0, 0)


async def writers(database: Database) -> frozenset[str]:
    """The transactions that may have drawn an event's id and not yet committed it."""
    return frozenset(row["writer"] for row in await database.fetch(EVENTS["writers"]))


async def after(database: Database, last: int, limit: int = PAGE) -> list[Row]:
    """Up to `limit` events behind the id `last` that can be seen, in order."""
    return await database.fetch(EVENTS["after"], last, limit)


async def objects(database: Database, rows: Sequence[Row]) -> dict[int, Row]:
    """What these events tell of, by their ids, as it stands now; what can't be read is left out."""
    by_kind: dict[str, list[int]] = {}
    for row in rows:
        by_kind.setdefault(row["kind"], []).append(row["id"])
    found = [await database.fetch(_OBJECTS[kind], ids) for kind, ids in by_kind.items()]
    return {row["event_id"]: row for some in found for row in some}


async def prune(database: Database, *, keep: int, days: int, at_once: int = PRUNED_AT_ONCE) -> int:
    """Delete events that are older than `days` or not among the newest `keep`, in small bites; how many."""
    gone = 0
    while True:
        bite = len(await database.fetch(EVENTS["prune"], keep, days, at_once))
        gone += bite
        if bite < at_once:
            return gone
        await asyncio.sleep(0.1)
