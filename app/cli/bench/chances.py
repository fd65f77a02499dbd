"""`simfeed bench statistics`: how often intervals and tests are right, and whom the stamp lets pass."""

import random
import time
from collections.abc import Callable
from typing import Any

import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.cli.bench import misses, report
from app.cli.common import err, out, table
from app.streams import stream

RUNS = (5, 10, 20, 40)
PEOPLE = (100, 200, 500)
STAMPED_RUNS, STAMPED_VALUES = 10, 50
LEVEL = 0.95

Draw = Callable[[random.Random], float]
SHAPES: dict[str, Draw] = {
    "normal": lambda chance: chance.gauss(0, 1),
    "exponential": lambda chance: chance.expovariate(1),
}
TRUTH = {"normal": 0.0, "exponential": 1.0}


class Wanted(msgspec.Struct):
    """What the command was asked for: how many of each kind and case, and the seed of all."""

    intervals: int
    stamps: int
    simulations: int
    seed: int


def measure(wanted: Wanted) -> dict[str, Any]:
    """Draw runs of known truth, and return how often each interval held it; stamp simulations that are as people."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    began = time.perf_counter()
    with Progress(*columns, console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task("intervals", total=len(RUNS) * len(SHAPES) * wanted.intervals)
        held = [_held(shape, n, wanted, lambda: bar.advance(task)) for shape in SHAPES for n in RUNS]
        task = bar.add_task("stamps", total=2 * len(PEOPLE) * wanted.stamps)
        passed = [_passed(off, n, wanted, lambda: bar.advance(task)) for off in _offs() for n in PEOPLE]
        task = bar.add_task("cases", total=len(misses.CASES) * wanted.simulations)
        missed = [
            row
            for case in misses.CASES
            for row in misses.counted(case, wanted.simulations, wanted.seed, lambda: bar.advance(task))
        ]
    return {
        "asked": msgspec.to_builtins(wanted),
        "intervals": held,
        "stamps": passed,
        "misses": missed,
        "seconds": time.perf_counter() - began,
    }


def _offs() -> tuple[float, float]:
    """No error of the mean, and one that is just at the rule's bound."""
    from app.analysis.against_humans import MEAN_MOST

    return 0.0, MEAN_MOST


def _held(shape: str, n: int, wanted: Wanted, tick: Callable[[], None]) -> dict[str, Any]:
    from app.analysis.intervals import bootstrap_mean, t_mean

    found = {"bca": 0, "t": 0}
    for place in range(wanted.intervals):
        chance = stream(wanted.seed, "bench", shape, n, place)
        values = [SHAPES[shape](chance) for _ in range(n)]
        for one in (bootstrap_mean(values, LEVEL, place), t_mean(values, LEVEL)):
            within = one.low is not None and one.high is not None and one.low <= TRUTH[shape] <= one.high
            found[one.method] += within
        tick()
    return {"shape": shape, "runs": n, **{name: times / wanted.intervals for name, times in found.items()}}


def _passed(off: float, people: int, wanted: Wanted, tick: Callable[[], None]) -> dict[str, Any]:
    from app.analysis.against_humans import agreement

    passed = 0
    for place in range(wanted.stamps):
        chance = stream(wanted.seed, "bench", "stamp", off, people, place)
        human = [chance.gauss(0, 1) for _ in range(people)]
        runs = [[chance.gauss(off, 1) for _ in range(STAMPED_VALUES)] for _ in range(STAMPED_RUNS)]
        passed += agreement(runs, human, seed=place, held_out=True).stamp.stamp == "calibrated"
        tick()
    return {"mean_off": off, "people": people, "calibrated": passed / wanted.stamps}


def show(found: dict[str, Any]) -> None:
    """The report for people."""
    n = report.number
    by = {(row["shape"], row["runs"]): row for row in found["intervals"]}
    rows: list[tuple[object, ...]] = [
        (runs, *(n(by[shape, runs][method]) for shape in SHAPES for method in ("bca", "t"))) for runs in RUNS
    ]
    heads = [f"{shape}: {method}" for shape in SHAPES for method in ("BCa", "t")]
    table(
        f"Share of 95 % intervals that held the truth, of {found['asked']['intervals']:,}",
        "runs",
        *heads,
        rows=rows,
        empty="",
    )
    stamped: list[tuple[object, ...]] = [
        (one["people"], n(one["mean_off"], 1), n(one["calibrated"])) for one in found["stamps"]
    ]
    title = f"Share stamped calibrated, of {found['asked']['stamps']:,} simulations of 10 runs of 50"
    table(title, "people", "mean off by, SD", "calibrated", rows=stamped, empty="")
    misses.show(found["misses"], found["asked"]["simulations"])
    out.print(f"{found['seconds']:.0f} s", markup=False)
