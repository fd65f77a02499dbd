"""A world in numbers: the metrics of the catalogue, reckoned from what its database holds (docs/metrics-of-worlds.md).

Only the database's reading awaits; the reckoning goes on in a thread, so that whoever else is served meanwhile.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from app.analysis.alarms import BY_NAME, Level
from app.analysis.catalogue import METRICS, Family, Metric, chosen
from app.analysis.gathering import Gathered, gather
from app.analysis.reckoning import SIZES, VALUES, View, World
from app.db.engine import Database

FEED = "feed"
LEDGER: tuple[str, ...] = ("posts", "comments", "likes", "follows", "active", "calls", "tokens", "usd", "failed")
"""What `series` tells of each run beside the metrics asked for."""


@dataclass(frozen=True)
class Measured:
    """A world in numbers.

    `values`: each metric that was asked for, None where too little is known, never NaN; `why`: of those without a
    value, what is missing. `counts`: personas, posts, comments, likes, follows, exposures, runs that counted. `alarms`:
    which values are as bad as monitors call a notice or an alarm, by their usual levels.
    """

    values: dict[str, float | None]
    why: dict[str, str]
    counts: dict[str, int]
    alarms: dict[str, Level] = field(default_factory=dict)


async def measure(
    database: Database,
    names: Sequence[str] | None = None,
    *,
    runs: Sequence[int] | None = None,
    since: int | None = None,
    seed: int = 0,
) -> Measured:
    """The metrics of these names (None: all), of one moment.

    Args:
        runs: only what happened in the turns of these runs counts as activity; ties are those at the end all the same.
        since: only runs after this one count; the trial of an experiment begins in a world that has a past.
        seed: of communities, and of the draw of texts in a large world. Same world and seed, same values.

    Raises:
        Invalid: there is no metric of a name; each fault with its place and what is near.
        NotFound: there is no run of a number.
        Unavailable: the database can't be reached.
    """
    return await measure_at(database.url, names, runs=runs, since=since, seed=seed)


async def measure_at(
    url: str,
    names: Sequence[str] | None = None,
    *,
    runs: Sequence[int] | None = None,
    since: int | None = None,
    seed: int = 0,
) -> Measured:
    """`measure`, of the world at `url`."""
    metrics = chosen(names)
    found = await gather(url, _families(metrics), runs=runs, since=since, counted=True)
    return await asyncio.to_thread(_measured, found, metrics, seed)


async def series(
    database: Database, names: Sequence[str] | None = None, *, since: int | None = None, seed: int = 0
) -> list[dict[str, Any]]:
    """Each cycle of the feed, in order: `{"run": id, "at": ISO time or None, …}` with `LEDGER`, then the metrics.

    What a metric tells of a cycle is told of what was done in it; ties are those at the end that had been made by then,
    drifts are from the cycle before. `active` is personas that did anything, `usd` None where a call has no price,
    `failed` turns that failed or were put off.

    Args:
        names: metrics beside `LEDGER`; None for none.
        since: only cycles after this run.

    Raises:
        Invalid, NotFound, Unavailable: as `measure`.
    """
    metrics = chosen(names or ())
    found = await gather(database.url, {*_families(metrics), "process"}, since=since, venue=FEED)
    return await asyncio.to_thread(_series, found, metrics, seed)


def _families(metrics: Sequence[Metric]) -> set[Family]:
    return {one.family for one in metrics}


def _measured(found: Gathered, metrics: Sequence[Metric], seed: int) -> Measured:
    view = View(World(found, seed))
    values = _values(view, metrics)
    return Measured(values, _why(values), view.counts, _alarms(view, values))


def _values(view: View, metrics: Sequence[Metric]) -> dict[str, float | None]:
    found = {one.name: VALUES[one.name](view) for one in metrics}
    return {name: None if value is None or not isfinite(value) else float(value) for name, value in found.items()}


def _why(values: Mapping[str, float | None]) -> dict[str, str]:
    return {name: f"needs {METRICS[name].needs}" for name, value in values.items() if value is None}


def _alarms(view: View, values: Mapping[str, float | None]) -> dict[str, Level]:
    found: dict[str, Level] = {}
    for name, value in values.items():
        monitor = METRICS[name].monitor
        level = BY_NAME[monitor].level(value, SIZES[name](view)) if monitor and value is not None else None
        if level is not None:
            found[name] = level
    return found


def _series(found: Gathered, metrics: Sequence[Metric], seed: int) -> list[dict[str, Any]]:
    world = World(found, seed)
    return [_cycle(View(world, place), metrics) for place in range(len(found.runs))]


def _cycle(view: View, metrics: Sequence[Metric]) -> dict[str, Any]:
    (run,) = view.played
    took, counts = run.process, view.counts
    told: dict[str, Any] = {"run": run.id, "at": None if run.at is None else run.at.isoformat()}
    told |= {name: counts[name] for name in ("posts", "comments", "likes", "follows")}
    told |= {"active": int((view.acts > 0).sum()), "calls": took.calls}
    told |= {"tokens": took.prompt_tokens + took.completion_tokens, "usd": None if took.unpriced else took.cost_usd}
    return told | {"failed": took.lost} | _values(view, metrics)
