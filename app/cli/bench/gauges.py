"""`simfeed bench metrics`: what it takes to reckon all metrics of a large world."""

import time
from typing import Any

import asyncpg
import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.analysis import gathering, measuring, reckoning
from app.analysis.catalogue import METRICS
from app.cli.bench import meter, place, report, world
from app.cli.bench.meter import BENCH
from app.cli.bench.report import Verdict
from app.cli.common import err, go, out, table
from app.db.engine import Database, plain_url
from app.settings import Settings

SECONDS_MOST = 60.0
SLOWEST = 8


class Wanted(msgspec.Struct):
    """What the command was asked for; `edges` are follows (up to twenty a persona) and likes."""

    posts: int
    edges: int
    personas: int
    runs: int


def measure(settings: Settings, wanted: Wanted) -> dict[str, Any]:
    """Make a world, measure it whole, and return the report."""
    machine = report.machine()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        place.server(settings) as server,
        server.database() as url,
        Progress(*columns, console=err, disable=not err.is_terminal) as bar,
    ):
        if not err.is_terminal:
            err.print(f"making a world of {wanted.posts:,} posts and {wanted.edges:,} edges", markup=False)
        held = go(_made(url, wanted, bar))
        before = meter.peak_mb()
        found = go(_measured(plain_url(url), len(METRICS)))
    return {
        "machine": {**machine, "server": server.label},
        "asked": msgspec.to_builtins(wanted),
        "world": held,
        "mb_before": before,
        **found,
        "targets": [
            Verdict("all metrics", found["seconds"], SECONDS_MOST, "s").plain(),
            Verdict("edges measured", held["likes"] + held["follows"], least=wanted.edges * 0.99).plain(),
        ],
    }


async def _made(url: str, wanted: Wanted, bar: Progress) -> dict[str, int]:
    follows = min(20 * wanted.personas, wanted.edges)
    held = await world.make(url, wanted.posts, wanted.edges - follows, bar, wanted.personas)
    connection = await asyncpg.connect(plain_url(url))
    try:
        await connection.execute(BENCH["make_leanings"])
        await connection.execute(BENCH["make_played_runs"], wanted.runs, wanted.personas)
        task = bar.add_task("runs", total=wanted.runs)
        for run in range(1, wanted.runs + 1):
            await connection.execute(BENCH["make_played_turns"], run, wanted.personas, wanted.posts)
            bar.update(task, completed=run)
        await connection.execute(BENCH["make_deeds"], wanted.runs)
        await connection.execute(BENCH["statistics"])
    finally:
        await connection.close()
    return held | {"runs": wanted.runs, "turns": wanted.runs * wanted.personas}


async def _measured(url: str, metrics: int) -> dict[str, Any]:
    """All metrics as whoever asks for them gets them, and then each by itself, in the order of the catalogue."""
    database = await Database.open(url, size=2)
    try:
        postgres = await _postgres(url)
        before = meter.spent(postgres)
        whole = await measuring.measure(database)
        took = meter.spent(postgres).since(before)
        peak = meter.peak_mb()
        began = time.perf_counter()
        found = await gathering.gather(url, {one.family for one in METRICS.values()})
        read = time.perf_counter() - began
        began = time.perf_counter()
        rows = await measuring.series(database)
        by_run = time.perf_counter() - began
    finally:
        await database.close()
    view = reckoning.View(reckoning.World(found))
    each = {}
    for name in METRICS:
        began = time.perf_counter()
        reckoning.VALUES[name](view)
        each[name] = time.perf_counter() - began
    return {
        "metrics": metrics,
        "with_a_value": metrics - len(whole.why),
        "counts": whole.counts,
        "seconds": took.wall,
        "cpu_ours": took.ours,
        "cpu_postgres": took.postgres,
        "peak_mb": peak,
        "reading_seconds": read,
        "series_seconds": by_run,
        "series_runs": len(rows),
        "each_seconds": each,
        "values": whole.values,
    }


async def _postgres(url: str) -> int | None:
    connection = await asyncpg.connect(url)
    try:
        return await meter.postmaster(connection)
    finally:
        await connection.close()


def show(found: dict[str, Any]) -> None:
    """The report for people."""
    n = report.number
    held = ", ".join(f"{number:,} {what}" for what, number in found["world"].items())
    figures: list[tuple[object, ...]] = [
        (f"{found['with_a_value']} of {found['metrics']} metrics have a value", f"{n(found['seconds'])} s"),
        ("of that reading", f"{n(found['reading_seconds'])} s"),
        ("CPU of this program", f"{n(found['cpu_ours'])} s"),
        ("CPU of PostgreSQL", f"{n(found['cpu_postgres'])} s"),
        ("peak memory of this program", f"{n(found['peak_mb'], 0)} MB, {n(found['mb_before'], 0)} before"),
        (f"activity of each of {found['series_runs']} runs", f"{n(found['series_seconds'])} s"),
    ]
    table(held, "what", "took", rows=figures, empty="")
    slowest = sorted(found["each_seconds"].items(), key=lambda one: -one[1])[:SLOWEST]
    told = ", ".join(f"{name} {n(seconds)} s" for name, seconds in slowest)
    out.print(f"Slowest once all is read (what several share counts for the first): {told}.", markup=False)
    report.show_verdicts([Verdict(**{k: v for k, v in t.items() if k != "reached"}) for t in found["targets"]])
