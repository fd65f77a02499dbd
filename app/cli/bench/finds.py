"""`simfeed bench search`: how long it takes to find posts and people, whatever the words."""

import time
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import asyncpg
import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.cli.bench import load, meter, place, report, world
from app.cli.bench.load import Timing
from app.cli.bench.report import Verdict
from app.cli.common import err, go, out, table
from app.db.engine import Database
from app.settings import Settings
from app.world import search
from app.world.feed import PAGE_SIZE, Position

MOST_MS = 300.0
"""What a search may take, all but the slowest hundredth."""

WARM_UP = 5
SPREAD = 500
"""Different rare words and people that are asked for in turn."""

PEOPLE = 10


class Wanted(msgspec.Struct):
    """What the command was asked for."""

    posts: int
    requests: int
    concurrency: int


class Search(msgspec.Struct):
    """One kind of search, by words that are asked for in turn; of people, or of posts, also from far back."""

    name: str
    words: list[str]
    people: bool = False
    after: int | None = None


class Measured(msgspec.Struct):
    """One kind's figures: results of the first words, whether there may be more, CPU in milliseconds a search."""

    name: str
    example: str
    found: int
    further: bool
    timing: Timing
    ours_ms: float
    postgres_ms: float | None


def searches(posts: int) -> list[Search]:
    """The kinds of searches in a world that `simfeed bench` makes."""
    random = Random(11)  # noqa: S311 - which words are asked for is no secret
    numbers = [str(n) for n in random.sample(range(1, posts + 1), min(SPREAD, posts))]
    people = [str(n) for n in random.sample(range(1, world.people(posts) + 1), min(SPREAD, world.people(posts)))]
    return [
        Search("rare word: in one post", numbers),
        Search("word in half of all posts", ["honestly"]),
        Search("the same, from the middle on", ["honestly"], after=posts // 2),
        Search("two words, in one of 35 posts", ["gulls council", "bakery mother", "duke questions"]),
        Search("two frequent words, never together", ["gulls bakery", "duke ghost", "bakery rent"]),
        Search("frequent and rare", [f"honestly {number}" for number in numbers]),
        Search("phrase, in one of five posts", ['"the council has been informed"']),
        Search("phrase of frequent words, in none", ['"informed council the"']),
        Search("one word or another", ["gulls or bakery", f"{numbers[0]} or {numbers[-1]}"]),
        Search("with one word, without another", ["honestly -gulls"]),
        Search("no hit", ["xylophone"]),
        Search("person by the beginning of a handle", [f"member_{number}" for number in people], people=True),
        Search("person by bio", [f"Number {number} of this" for number in people], people=True),
        Search("person, no hit", ["xylophone"], people=True),
    ]


def measure(settings: Settings, wanted: Wanted) -> dict[str, Any]:
    """Measure all kinds of searches, and return the report."""
    machine = report.machine()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        place.server(settings) as server,
        server.database() as url,
        Progress(*columns, console=err, disable=not err.is_terminal) as bar,
    ):
        if not err.is_terminal:
            err.print(f"making a world of {wanted.posts:,} posts", markup=False)
        began = time.perf_counter()
        held = go(world.make(url, wanted.posts, 0, bar))
        made_seconds = time.perf_counter() - began
        rows = go(_all(url, wanted, bar))
    return {
        "machine": {**machine, "server": server.label},
        "asked": msgspec.to_builtins(wanted),
        "world": held,
        "made_seconds": made_seconds,
        "walked": search.WALKED,
        "searches": [msgspec.to_builtins(row) for row in rows],
        "targets": [Verdict(f"{row.name}: p99", row.timing.p99_ms, MOST_MS, "ms").plain() for row in rows],
    }


async def _all(url: str, wanted: Wanted, bar: Progress) -> list[Measured]:
    kinds = searches(wanted.posts)
    connection = await asyncpg.connect(url)
    try:
        postgres = await meter.postmaster(connection)
    finally:
        await connection.close()
    database = await Database.open(url, size=max(2, wanted.concurrency))
    try:
        task = bar.add_task("searches", total=len(kinds) * wanted.requests)
        rows = []
        for kind in kinds:
            rows.append(await _one(database, postgres, kind, wanted))
            bar.update(task, advance=wanted.requests)
        return rows
    finally:
        await database.close()


def _asking(database: Database, kind: Search) -> Callable[[int], Awaitable[tuple[int, bool]]]:
    async def ask(n: int) -> tuple[int, bool]:
        words = kind.words[n % len(kind.words)]
        if kind.people:
            return len(await search.people(database, words, limit=PEOPLE)), False
        after = Position() if kind.after is None else Position(kind.after)
        found = await search.page(database, words, limit=PAGE_SIZE, after=after)
        return len(found.rows), found.further is not None

    return ask


async def _one(database: Database, postgres: int | None, kind: Search, wanted: Wanted) -> Measured:
    ask = _asking(database, kind)
    found, further = await ask(0)
    for n in range(1, WARM_UP):
        await ask(n)

    async def job(n: int) -> bool:
        await ask(n)
        return True

    before = meter.spent(postgres)
    timing = await load.spread([job] * wanted.concurrency, wanted.requests)
    spent = meter.spent(postgres).since(before)
    each = 1000 / wanted.requests
    cpu = None if spent.postgres is None else spent.postgres * each
    return Measured(kind.name, kind.words[0], found, further, timing, spent.ours * each, cpu)


def show(found: dict[str, Any]) -> None:
    n = report.number
    rows: list[tuple[object, ...]] = [
        (
            r["name"], r["example"], f"{r['found']}{'+' if r['further'] else ''}", n(r["timing"]["a_second"], 0),
            n(r["timing"]["p50_ms"]), n(r["timing"]["p99_ms"]), n(r["ours_ms"]), n(r["postgres_ms"]),
        )
        for r in found["searches"]
    ]  # fmt: skip
    held = ", ".join(f"{number:,} {what}" for what, number in found["world"].items())
    table(
        f"{held}; {found['asked']['concurrency']} at once", "search", "e.g.", "found", "a second", "p50 ms", "p99 ms",
        "CPU ours", "CPU database", rows=rows, empty="",
    )  # fmt: skip
    out.print(
        f"CPU in ms a search. Frequent words are sought in {found['walked']:,} posts at a time; +: there may be more.",
        markup=False,
    )
    report.show_verdicts([Verdict(**{k: v for k, v in t.items() if k != "reached"}) for t in found["targets"]])
