"""`simfeed bench worlds`: what it takes to fork a world, to play a run again, and to live a day."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.agent.turn import Mind
from app.cli.bench import meter, place, report, world
from app.cli.bench.play import move_in
from app.cli.bench.report import Verdict
from app.cli.common import err, go, opened, out, table
from app.cli.replay import hashes
from app.db import worlds as databases
from app.db.engine import Database
from app.ledger.recorded import recording
from app.llm.model import Completion, Model, Request
from app.settings import Settings, load_settings
from app.venues.feed import open_cycle, play_cycle
from app.venues.replay import replay_run
from app.venues.run import open_mind
from app.world import worlds
from app.world.rewind import rewind

FORK_SECONDS = 5.0
TIMES = 20.0
DAY_SECONDS = 60.0
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
HALF_AN_HOUR = timedelta(minutes=30)
AT_ONCE = (1, 8, 64)
"""Turns under way at once in a run that is played again."""


class Wanted(msgspec.Struct):
    """What the command was asked for; `latency_ms` is how long the model thinks in what is played again."""

    posts: int
    personas: int
    cycles: int
    latency_ms: float
    forks: int


class Again(msgspec.Struct):
    """A run and its replay: seconds of both, how many calls it had, and whether the world's hash was the same."""

    name: str
    calls: int
    original: float
    replayed: float
    equal: bool

    @property
    def times(self) -> float:
        return self.original / self.replayed


class Slow:
    """A model that thinks for so long before it answers."""

    def __init__(self, inner: Model, seconds: float) -> None:
        self._inner = inner
        self._seconds = seconds

    async def complete(self, request: Request) -> Completion:
        await asyncio.sleep(self._seconds)
        return await self._inner.complete(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


def measure(settings: Settings, wanted: Wanted) -> dict[str, Any]:
    """Measure all three, and return the report."""
    machine = report.machine()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        place.server(settings) as server,
        Progress(*columns, console=err, disable=not err.is_terminal) as bar,
    ):
        with _told(f"a world of {wanted.posts:,} posts, forked"), server.database() as url:
            held = go(world.make(url, wanted.posts, wanted.posts * 5, bar))
            forks, via = go(_fork(url, wanted.forks))
        again = []
        task = bar.add_task("replays", total=len(AT_ONCE) + 1)
        with _told("runs, played again"):
            for at_once, rounds in (*((n, False) for n in AT_ONCE), (max(AT_ONCE), True)):
                with server.database() as url:
                    again.append(go(_again(url, wanted, at_once, rounds=rounds)))
                bar.update(task, advance=1)
        with _told(f"{wanted.cycles} cycles of {wanted.personas} personas"), server.database() as url:
            task = bar.add_task("cycles", total=wanted.cycles)
            day = go(_day(url, wanted, bar, task))
    alone = again[0]
    return {
        "machine": {**machine, "server": server.label},
        "asked": msgspec.to_builtins(wanted),
        "world": held,
        "fork": {"seconds": forks, "via": via},
        "replays": [{**msgspec.to_builtins(one), "times": one.times} for one in again],
        "day": day,
        "targets": [
            verdict.plain()
            for verdict in (
                Verdict(f"fork of {wanted.posts:,} posts, the slowest of {len(forks)}", max(forks), FORK_SECONDS, "s"),
                Verdict(f"replay of a run by {alone.name}, times as fast", alone.times, None, "", TIMES),
                Verdict(f"{wanted.cycles} cycles of {wanted.personas} personas", day["seconds"], DAY_SECONDS, "s"),
            )
        ],
        "sound": all(one.equal for one in again),
    }


@contextmanager
def _told(what: str) -> Iterator[None]:
    if not err.is_terminal:
        err.print(f"measuring {what}", markup=False)
    yield


async def _fork(url: str, times: int) -> tuple[list[float], str]:
    home = await Database.open(url, size=4)
    took, via = [], ""
    try:
        for n in range(times):
            began = time.perf_counter()
            made = await worlds.make(home, f"bench-{n}")
            took.append(time.perf_counter() - began)
            via = made.via or ""
            await worlds.drop(home, made.name)
    finally:
        await home.close()
    return took, via


def _settings(url: str, at_once: int) -> Settings:
    return load_settings(database_url=url, simfeed_model="scripted", max_concurrent_turns=at_once, memory="off")


async def _again(url: str, wanted: Wanted, at_once: int, *, rounds: bool) -> Again:
    settings = _settings(url, at_once)
    async with opened(settings) as home, open_mind(settings, home) as mind:
        await move_in(home, wanted.personas)
        for n in range(2):
            await _cycle(mind, settings, n, rounds=rounds)
        slow = replace(mind, model=Slow(mind.model, wanted.latency_ms / 1000))
        began = time.perf_counter()
        run_id = await _cycle(slow, settings, 2, rounds=rounds)
        original = time.perf_counter() - began
        before = await hashes(home)
        made = await worlds.make(home, "bench-again")
        try:
            fork = await Database.open(databases.unhurried(await databases.locate(home.url, made.name)), size=10)
            try:
                recorded = await recording(fork, run_id)
                async with fork.connection() as connection:
                    await rewind(connection, run_id)
                async with open_mind(settings, fork) as other:
                    began = time.perf_counter()
                    await replay_run(other, settings, recorded)
                    replayed = time.perf_counter() - began
                after = await hashes(fork)
            finally:
                await fork.close()
        finally:
            await worlds.drop(home, made.name)
    name = "rounds" if rounds else f"{at_once} at once"
    return Again(name, len(recorded.calls), original, replayed, before == after)


async def _cycle(mind: Mind, settings: Settings, n: int, *, rounds: bool = False) -> int:
    at = MONDAY + n * HALF_AN_HOUR
    run_id = await open_cycle(mind, settings, seed=n, rounds=rounds, at=at, lasts=HALF_AN_HOUR)
    assert run_id is not None  # noqa: S101 - a slot of its own is never taken
    await play_cycle(mind, settings, run_id)
    return run_id


async def _day(url: str, wanted: Wanted, bar: Progress, task: Any) -> dict[str, Any]:
    settings = load_settings(database_url=url, simfeed_model="scripted")
    async with opened(settings) as database, open_mind(settings, database) as mind:
        await move_in(database, wanted.personas)
        async with database.connection() as connection:
            postgres = await meter.postmaster(connection)
        before = meter.spent(postgres)
        for n in range(wanted.cycles):
            await _cycle(mind, settings, n)
            bar.update(task, advance=1)
        spent = meter.spent(postgres).since(before)
        turns = await database.fetchval("SELECT count(*) FROM turns WHERE state IN ('done', 'limit', 'refused')")
        calls = await database.fetchval("SELECT count(*) FROM calls")
    return {"seconds": spent.wall, "ours": spent.ours, "postgres": spent.postgres, "turns": turns, "calls": calls}


def show(found: dict[str, Any]) -> None:
    n = report.number
    rows: list[tuple[object, ...]] = [
        (r["name"], f"{r['calls']:,}", n(r["original"]), n(r["replayed"]), n(r["times"], 1), r["equal"])
        for r in found["replays"]
    ]
    title = f"A run of {found['asked']['personas']} personas, a model of {found['asked']['latency_ms']:g} ms; again"
    table(title, "run", "calls", "then, s", "again, s", "times", "equal", rows=rows, empty="")
    day, forks = found["day"], found["fork"]
    out.print(
        f"{found['asked']['cycles']} cycles: {n(day['seconds'])} s, {day['turns']:,} turns, {day['calls']:,} calls; "
        f"CPU {n(day['ours'], 1)} s ours, {n(day['postgres'], 1)} s PostgreSQL's. Forks by {forks['via']}: "
        f"{', '.join(n(seconds) for seconds in forks['seconds'])} s.",
        markup=False,
        highlight=False,
    )
    report.show_verdicts([Verdict(**{k: v for k, v in t.items() if k != "reached"}) for t in found["targets"]])
