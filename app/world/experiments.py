"""Experiments as rows of the home world: their trials, what was changed, what people did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from app.db.engine import Database
from app.db.queries import load
from app.errors import NotFound
from app.world.sessions import decoded, encoded

EXPERIMENTS = load("experiments")
KEY = "an experiment's key is 12 letters and digits; `simfeed experiment list` shows them"


_DATA = ("outcomes", "why", "series", "programs")


@dataclass(frozen=True)
class Trial:
    """One run of a variant, as it stands. `outcomes` has a value or None by metric, `why` why it is None.

    `series` is what each cycle came to; `since` the newest run of the world in which it began; `usd` in US dollars.
    `excluded` names the rule that leaves it out of comparisons. `programs` are those that played it.
    """

    number: int
    variant: str
    replicate: int
    seed: int
    state: str
    reason: str | None
    attempts: int
    epoch: int
    world: str | None
    since: int | None
    session: str | None
    cycles_done: int
    calls: int
    prompt_tokens: int
    completion_tokens: int
    usd: float
    outcomes: Mapping[str, float | None]
    why: Mapping[str, str]
    series: Sequence[Mapping[str, Any]]
    world_sha256: bytes | None
    excluded: str | None
    programs: Sequence[Mapping[str, Any]]
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def seconds(self) -> float | None:
        """From its beginning to its end, pauses included."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()

    @property
    def over(self) -> bool:
        """Whether it came to an end that counts."""
        return self.state in ("completed", "partial")


def trial_of(row: asyncpg.Record) -> Trial:
    """A trial from its row."""
    plain = {name: row[name] for name in Trial.__dataclass_fields__ if name not in (*_DATA, "usd")}
    told = {name: decoded(row[name]) for name in _DATA}
    return Trial(**plain, **told, usd=float(row["usd"]))


async def found(database: Database, key: str) -> asyncpg.Record:
    """An experiment by its key.

    Raises:
        NotFound: there is none.
    """
    row = await database.fetchrow(EXPERIMENTS["experiment"], key)
    if row is None:
        raise NotFound(f"no experiment has the key {key[:40]!r}: {KEY}")
    return row


async def trials(database: Database, experiment_id: int) -> list[Trial]:
    """All trials of an experiment, in order of their numbers."""
    return [trial_of(row) for row in await database.fetch(EXPERIMENTS["trials"], experiment_id)]


async def change(
    database: "Database | asyncpg.pool.PoolConnectionProxy",
    experiment_id: int,
    what: str,
    *,
    was: Any = None,
    now: Any = None,
    note: str = "",
    by: int | None = None,
) -> None:
    """Note what was done to an experiment: what a freeze promised otherwise is told in its report."""
    await database.fetchval(EXPERIMENTS["change"], experiment_id, what, encoded(was), encoded(now), note, by)


async def changes(database: Database, experiment_id: int) -> list[dict[str, Any]]:
    """What was done to it, oldest first: `what`, `was`, `now`, `note`, `at`, `by`."""
    rows = await database.fetch(EXPERIMENTS["changes"], experiment_id)
    return [{**dict(row), "was": decoded(row["was"]), "now": decoded(row["now"])} for row in rows]
