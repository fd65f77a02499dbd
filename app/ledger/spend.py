"""What has been spent: by persona, by day, against every cap; as admins look at it."""

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Literal

import asyncpg

from app.db.engine import Database
from app.db.queries import load
from app.ledger.budget import Caps
from app.ledger.figures import index_new
from app.settings import Settings
from app.world import roster

SPEND = load("spend")
LATELY = 5_000
"""Turns that rankings look back on, at most a week old."""

DAYS = 14
COUNT_SECONDS = 3.0
FRESH_SECONDS = 15.0
FRESH_TIMES = 60.0
AGAIN_SECONDS = 600.0
LATE_SHARE = 0.01
"""How much of a new day passes until nobody writes calls of the day before any more."""

Rank = Literal["cost", "failures", "recent"]
RANKS: dict[Rank, str] = {
    "cost": "coalesce(s.usd, 0)::float8",
    "failures": "coalesce(s.failed::float8 / nullif(s.turns, 0), 0)",
    "recent": "coalesce(extract(epoch FROM s.last_turn), 0)::float8",
}
SUMS = """
WITH lately AS MATERIALIZED (
    SELECT id, persona_id, state, started_at, ended_at FROM (SELECT * FROM turns ORDER BY id DESC LIMIT {limit}) l
    WHERE started_at >= now() - interval '7 days'
),
sums AS MATERIALIZED (
    SELECT t.persona_id, max(t.started_at) AS last_turn, count(*) FILTER (WHERE t.ended_at IS NOT NULL) AS turns,
           count(*) FILTER (WHERE t.state = 'failed') AS failed, {cost} AS usd
    FROM lately t GROUP BY t.persona_id
)
"""
COST = "sum((SELECT sum(cost_usd) FROM calls c WHERE c.turn_id = t.id))"


@dataclass(frozen=True)
class Used:
    """What a scope has spent, and holds for calls under way."""

    spent_tokens: int = 0
    spent_usd: float = 0.0
    held_tokens: int = 0
    held_usd: float = 0.0


@dataclass(frozen=True)
class Day:
    """What a day's calls came to; `unpriced` of them cost nobody knows what."""

    day: date
    calls: int
    tokens: int
    usd: float
    unpriced: int


@dataclass(frozen=True)
class Halt:
    """Since when the kill switch is on, if it is, and who threw it; nobody known where it was the command line."""

    since: datetime | None
    admin: str | None


async def of_personas(database: Database, ids: Sequence[int]) -> dict[int, asyncpg.Record]:
    """Last turn, cost, turns and failures of each persona in seven days, at most in its last 400 turns."""
    return {row["id"]: row for row in await database.fetch(SPEND["of_personas"], list(ids))}


async def ranked(
    database: Database, *, by: Rank, who: roster.Who, words: str = "", after: roster.After | None = None, limit: int
) -> list[asyncpg.Record]:
    """As `roster.page`, by what the last turns of this world came to."""
    rank = RANKS[by]
    where = [roster.WHO[who]]
    arguments: list[object] = [after.rank if after else None, after.id if after else 0, limit]
    where.append(
        f"({rank}, p.id) < ($1::float8, $2::bigint)" if after else "($1::float8 IS NULL AND $2::bigint IS NOT NULL)"
    )
    if words:
        where.append(roster.FOUND)
        arguments.append(words)
    statement = (
        f"{SUMS.format(limit=LATELY, cost=COST if by == 'cost' else 'NULL::numeric')}"  # noqa: S608 - our own pieces
        f"SELECT {roster.FIELDS}, {rank} AS rank FROM personas p LEFT JOIN sums s ON s.persona_id = p.id "
        f"WHERE {' AND '.join(where)} ORDER BY {rank} DESC, p.id DESC LIMIT $3"
    )
    return await database.fetch(statement, *arguments)


async def instance_today(database: Database) -> Used | None:
    """The instance's budget of today; None where no cap has ever asked for it."""
    return _used(await database.fetchrow(SPEND["instance_today"]))


async def persona_today(database: Database, persona_id: int) -> Used | None:
    """A persona's budget of today; None where no cap has ever asked for it."""
    return _used(await database.fetchrow(SPEND["persona_today"], persona_id))


def _used(row: asyncpg.Record | None) -> Used | None:
    return Used(*row) if row is not None else None


async def left_for_turn(database: Database, settings: Settings, persona_id: int) -> Caps:
    """The most that a turn outside any run may take now: its own cap, or what is left of the day's."""
    day = Caps(settings.budget_day_tokens, settings.budget_day_usd)
    own = Caps(settings.budget_persona_day_tokens, settings.budget_persona_day_usd)
    caps = [Caps(settings.budget_turn_tokens, settings.budget_turn_usd)]
    if day:
        caps.append(_left(day, await instance_today(database)))
    if own:
        caps.append(_left(own, await persona_today(database, persona_id)))
    tokens = [cap.tokens for cap in caps if cap.tokens is not None]
    usd = [cap.usd for cap in caps if cap.usd is not None]
    return Caps(min(tokens, default=None), min(usd, default=None))


def _left(cap: Caps, used: Used | None) -> Caps:
    used = used or Used()
    return Caps(
        None if cap.tokens is None else max(0, cap.tokens - used.spent_tokens - used.held_tokens),
        None if cap.usd is None else max(0.0, cap.usd - used.spent_usd - used.held_usd),
    )


async def personas_today(database: Database) -> list[asyncpg.Record]:
    """Who has spent most of their day's cap."""
    return await database.fetch(SPEND["personas_today"])


async def runs(database: Database) -> list[asyncpg.Record]:
    """The newest runs with a cap, and what they have spent."""
    return await database.fetch(SPEND["runs"])


async def models(database: Database) -> list[asyncpg.Record]:
    """The models that personas name."""
    return await database.fetch(SPEND["models"])


async def halt(database: Database) -> Halt:
    """Whether everything is halted, since when and by whom."""
    row = await database.fetchrow(SPEND["halt"])
    if row is None or row["halted_at"] is None:
        return Halt(None, None)
    known = row["subject"] == "on" and abs(row["at"] - row["halted_at"]) < timedelta(seconds=5)
    return Halt(row["halted_at"], row["username"] if known else None)


@dataclass
class Calendar:
    """What each of the last days came to. A day that is over is counted once; today anew after a while.

    That is the longer, the longer it takes.
    """

    _days: dict[date, Day] = field(default_factory=dict)
    _stale: dict[date, float] = field(default_factory=dict)
    _counting: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def read(self, database: Database) -> tuple[list[tuple[date, Day | None]], float]:
        """The last days, newest first, None where there was no time to count; and how much of today has passed."""
        async with self._counting:
            row = await database.fetchrow(SPEND["today"])
            assert row is not None  # noqa: S101 - a select without FROM always gives its row
            wanted = [row["day"] - timedelta(days=n) for n in range(DAYS)]
            await self._count(database, wanted, settled=2 if row["passed"] < LATE_SHARE else 1)
            self._days = {day: self._days[day] for day in wanted if day in self._days}
            self._stale = {day: self._stale[day] for day in wanted if day in self._stale}
            return [(day, self._days.get(day)) for day in wanted], row["passed"]

    async def _count(self, database: Database, wanted: list[date], *, settled: int) -> None:
        begun = time.monotonic()
        if any(begun >= self._stale.get(day, 0.0) for day in wanted):
            await index_new(database)
        for n, day in enumerate(wanted):
            now = time.monotonic()
            if now < self._stale.get(day, 0.0):
                continue
            if now - begun > COUNT_SECONDS:
                return
            try:
                row = await database.fetchrow(SPEND["day"], day)
            except (asyncpg.QueryCanceledError, TimeoutError):
                self._stale[day] = time.monotonic() + AGAIN_SECONDS
                continue
            if row is not None:
                self._days[day] = Day(day, row["calls"], row["tokens"], row["usd"], row["unpriced"])
            took = time.monotonic() - now
            self._stale[day] = math.inf if n >= settled else now + max(FRESH_SECONDS, FRESH_TIMES * took)
