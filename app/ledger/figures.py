"""Runs in figures, for people who watch them: how their turns stand, what they took, how fast they go."""

import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg

from app.db.engine import TROUBLE, Database
from app.db.queries import load

FIGURES = load("figures")
OVER = ("stopped", "failed", "partial", "completed")
"""States in which nothing of a run changes until somebody resumes it."""

OPEN = ("queued", "running")
LOST = ("failed", "deferred")
COUNTED_MAX = 300_000
SUMMED_MAX = 50_000
"""Turns that are counted, or whose calls are summed, for one list of runs."""

KEPT_MAX = 2_000
INDEX_SECONDS = 60.0
SETTLED = timedelta(minutes=1)
"""After which no call of an hour is still being committed."""


@dataclass(frozen=True)
class Figures:
    """How a run's turns stand, by state, and what its calls took; None where that is too much to sum for a list."""

    states: Mapping[str, int] = field(default_factory=dict)
    calls: int | None = None
    tokens: int | None = None
    cost_usd: Decimal | None = None
    unpriced: int = 0

    @property
    def ended(self) -> int:
        return sum(turns for state, turns in self.states.items() if state not in OPEN)

    @property
    def open(self) -> int:
        return sum(turns for state, turns in self.states.items() if state in OPEN)

    @property
    def lost(self) -> int:
        return sum(self.states.get(state, 0) for state in LOST)


class Kept:
    """The figures of runs that are over, which are not counted again."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, ...], Figures] = OrderedDict()

    async def of(self, database: Database, runs: Sequence[asyncpg.Record], *, sums: bool = True) -> dict[int, Figures]:
        """Figures of these runs, by id; a run too large to be counted among so many others has none.

        Args:
            sums: what the calls took, too.
        """
        found = {run["id"]: kept for run in runs if (kept := self._kept.get(_key(run, sums))) is not None}
        missing = [run for run in runs if run["id"] not in found]
        counted = _within(missing, COUNTED_MAX)
        states = await _states(database, [run["id"] for run in counted])
        summed = {run["id"] for run in _within(counted, SUMMED_MAX)} if sums else set()
        taken = await _usage(database, list(summed))
        for run in counted:
            figures = replace(taken.get(run["id"], Figures()), states=states.get(run["id"], {}))
            found[run["id"]] = figures
            if run["state"] in OVER and (not sums or run["id"] in summed):
                self._keep(_key(run, sums), figures)
        return found

    def _keep(self, key: tuple[object, ...], figures: Figures) -> None:
        self._kept[key] = figures
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)


def _key(run: asyncpg.Record, sums: bool) -> tuple[object, ...]:
    return run["id"], run["state"], run["ended_at"], sums


def _within(runs: Iterable[asyncpg.Record], most: int) -> list[asyncpg.Record]:
    chosen, turns = [], 0
    for run in runs:
        if turns + run["turns_total"] <= most:
            chosen.append(run)
            turns += run["turns_total"]
    return chosen


async def _states(database: Database, runs: list[int]) -> dict[int, dict[str, int]]:
    found: dict[int, dict[str, int]] = {}
    for row in await database.fetch(FIGURES["states"], runs) if runs else ():
        found.setdefault(row["run_id"], {})[row["state"]] = row["turns"]
    return found


async def _usage(database: Database, runs: list[int]) -> dict[int, Figures]:
    rows = await database.fetch(FIGURES["usage"], runs) if runs else []
    found = {run: Figures(calls=0, tokens=0, cost_usd=Decimal()) for run in runs}
    return found | {row["run_id"]: _figures(row) for row in rows}


def _figures(row: asyncpg.Record) -> Figures:
    tokens = int(row["prompt_tokens"] + row["completion_tokens"])
    return Figures({}, int(row["calls"]), tokens, row["cost_usd"], int(row["unpriced"]))


async def now(database: Database, run_id: int) -> tuple[Figures, int]:
    """A run's figures as of now, whatever its size, and how many of its turns ended within the last minute."""
    states = await _states(database, [run_id])
    figures = (await _usage(database, [run_id]))[run_id]
    ended = await database.fetchval(FIGURES["pace"], run_id)
    return replace(figures, states=states.get(run_id, {})), ended


@dataclass(frozen=True)
class Usage:
    """What calls took. `cost_usd` leaves out the `unpriced` ones."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: Decimal = field(default_factory=Decimal)
    unpriced: int = 0
    failed_calls: int = 0


@dataclass(frozen=True)
class Detail:
    """What a run's personas did, by action and outcome; what of it was marked; what went wrong; what it took."""

    done: dict[str, dict[str, int]]
    marks: dict[str, int]
    troubles: list[asyncpg.Record]
    usage: Usage


async def detail(database: Database, run_id: int) -> Detail:
    """What a run's turns did and took."""
    done: dict[str, dict[str, int]] = {}
    marks: dict[str, int] = {}
    for row in await database.fetch(FIGURES["done"], run_id):
        outcomes = done.setdefault(row["name"], {})
        outcomes[row["outcome"]] = outcomes.get(row["outcome"], 0) + row["times"]
        if row["marked"]:
            marks[row["marked"]] = marks.get(row["marked"], 0) + row["times"]
    used = await database.fetchrow(FIGURES["usage"], [run_id])
    whole = (
        Usage()
        if used is None
        else Usage(
            int(used["calls"]),
            int(used["prompt_tokens"]),
            int(used["completion_tokens"]),
            int(used["cached_tokens"]),
            used["cost_usd"],
            int(used["unpriced"]),
            int(used["failed_calls"]),
        )
    )
    return Detail(done, marks, await database.fetch(FIGURES["troubles"], run_id), whole)


@dataclass(frozen=True)
class Spent:
    """What calls took in all."""

    calls: int = 0
    tokens: int = 0
    cost_usd: Decimal = field(default_factory=Decimal)
    unpriced: int = 0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(
            self.calls + other.calls,
            self.tokens + other.tokens,
            self.cost_usd + other.cost_usd,
            self.unpriced + other.unpriced,
        )


async def index_new(database: Database) -> None:
    """Let the calls of an hour or a day be found soon, also before a vacuum. As far as that can be had at once."""
    with suppress(*TROUBLE):
        await database.fetchval(FIGURES["index_new"])


@dataclass
class Day:
    """What today (UTC) took so far, hour by hour: an hour that is over is summed once."""

    hours: dict[datetime, Spent] = field(default_factory=dict)
    _indexed: float = -INDEX_SECONDS

    async def spent(self, database: Database, now: datetime) -> Spent:
        if time.monotonic() - self._indexed > INDEX_SECONDS:
            await index_new(database)
            self._indexed = time.monotonic()
        midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        self.hours = {hour: kept for hour, kept in self.hours.items() if hour >= midnight}
        whole, hour = Spent(), midnight
        while hour <= now:
            end = hour + timedelta(hours=1)
            part = self.hours.get(hour)
            if part is None:
                row = await database.fetchrow(FIGURES["spent"], hour, end)
                assert row is not None  # noqa: S101 - an aggregate always gives a row
                part = Spent(row["calls"], int(row["tokens"]), row["cost_usd"], row["unpriced"])
                if now > end + SETTLED:
                    self.hours[hour] = part
            whole, hour = whole + part, end
        return whole


async def runs(
    database: Database, *, before: int, states: Sequence[str] | None = None, limit: int
) -> list[asyncpg.Record]:
    """The newest runs before run `before`, of any of these states if given."""
    return await database.fetch(FIGURES["runs"], before, None if states is None else list(states), limit)


async def cycles(database: Database, venue: str, limit: int) -> list[asyncpg.Record]:
    """The newest runs of a venue that have begun."""
    return await database.fetch(FIGURES["cycles"], venue, limit)


async def turns(database: Database, run_id: int, *, behind: int, limit: int) -> list[dict[str, Any]]:
    """The next turns of a run behind ordinal `behind`, with what they took and what ailed them."""
    return [dict(row) for row in await database.fetch(FIGURES["turns"], run_id, behind, limit)]
