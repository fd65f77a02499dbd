"""`simfeed bench rank`: what a ranked feed costs, made for many personas in one go."""

import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.cli.bench import meter, place, report, world
from app.cli.bench.report import Verdict
from app.cli.common import err, go, out, table
from app.db.engine import WEB_TIMEOUTS, plain_url
from app.settings import Settings
from app.world import ranking
from app.world.ranking import Ranked

MOST = {"interest": 3.0, "mixed": None}
"""CPU-ms a persona that a ranker may take; any other 1. `mixed` takes what it is mixed of."""

Rank = Callable[[Sequence[int]], Awaitable[dict[int, list[Ranked]]]]


class Wanted(msgspec.Struct):
    """What the command was asked for; each ranker's cheapest round counts."""

    personas: int
    posts: int
    likes: int
    rounds: int


class Measured(msgspec.Struct):
    """One ranker's figures: CPU in milliseconds a persona in one go, and of a feed that is made alone."""

    name: str
    kind: str
    items: int
    seconds: float
    ours_ms: float
    postgres_ms: float | None
    cpu_ms: float | None
    alone_ms: float | None


def measure(settings: Settings, wanted: Wanted) -> dict[str, Any]:
    """Measure all rankers and all ways to suggest people, and return the report."""
    machine = report.machine()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        place.server(settings) as server,
        server.database() as url,
        Progress(*columns, console=err, disable=not err.is_terminal) as bar,
    ):
        if not err.is_terminal:
            err.print(f"making a world of {wanted.posts:,} posts and {wanted.likes:,} likes", markup=False)
        began = time.perf_counter()
        held = go(world.make(url, wanted.posts, wanted.likes, bar))
        made_seconds = time.perf_counter() - began
        viewers = min(wanted.personas, held["personas"])
        rows = go(_all(url, list(range(1, viewers + 1)), wanted.rounds, bar))
    return {
        "machine": {**machine, "server": server.label},
        "asked": msgspec.to_builtins(wanted),
        "world": held,
        "viewers": viewers,
        "made_seconds": made_seconds,
        "rankers": [msgspec.to_builtins(row) for row in rows],
        "targets": [
            Verdict(f"{row.name}: CPU a persona, {viewers:,} in one go", row.cpu_ms, most, "ms").plain()
            for row in rows
            if row.kind == "post" and (most := MOST.get(row.name, 1.0)) is not None
        ],
    }


async def _all(url: str, viewers: list[int], rounds: int, bar: Progress) -> list[Measured]:
    patient = {**WEB_TIMEOUTS, "statement_timeout": "0"}
    connection = await asyncpg.connect(plain_url(url), server_settings=patient)
    try:
        postgres = await meter.postmaster(connection)
        now = datetime.now(UTC)
        task = bar.add_task("rankers", total=len(ranking.RANKERS) + len(ranking.SUGGESTERS))
        rows: list[Measured] = []
        for name in (*ranking.RANKERS, *ranking.SUGGESTERS):
            post = len(rows) < len(ranking.RANKERS)
            rows.append(
                await _one(
                    name,
                    "post" if post else "persona",
                    _ranker(connection, name, now, post=post),
                    postgres,
                    viewers,
                    rounds,
                )
            )
            bar.update(task, advance=1)
        return rows
    finally:
        await connection.close()


def _ranker(connection: asyncpg.Connection, name: str, now: datetime, *, post: bool) -> Rank:
    async def rank(viewers: Sequence[int]) -> dict[int, list[Ranked]]:
        if post:
            return await ranking.rank(connection, ranking.Ranking(name), viewers, now=now)
        return await ranking.suggest(connection, name, viewers, now=now)

    return rank


async def _one(name: str, kind: str, rank: Rank, postgres: int | None, viewers: list[int], rounds: int) -> Measured:
    spent: list[meter.Spent] = []
    items = 0
    for _ in range(rounds + 1):  # the first warms up
        before = meter.spent(postgres)
        found = await rank(viewers)
        spent.append(meter.spent(postgres).since(before))
        items = sum(map(len, found.values()))
    best = min(spent[1:], key=lambda one: one.ours + (one.postgres or 0))
    few = viewers[:: max(1, len(viewers) // 50)]
    before = meter.spent(postgres)
    for viewer in few:
        await rank([viewer])
    alone = meter.spent(postgres).since(before)
    return Measured(
        name,
        kind,
        items,
        best.wall,
        _ms(best.ours, viewers),
        None if best.postgres is None else _ms(best.postgres, viewers),
        None if best.postgres is None else _ms(best.ours + best.postgres, viewers),
        None if alone.postgres is None else _ms(alone.ours + alone.postgres, few),
    )


def _ms(seconds: float, viewers: list[int]) -> float:
    return seconds / len(viewers) * 1000


def show(found: dict[str, Any]) -> None:
    n = report.number
    rows: list[tuple[object, ...]] = [
        (
            r["name"], r["kind"], f"{r['items']:,}", n(r["seconds"]), n(r["ours_ms"], 3), n(r["postgres_ms"], 3),
            n(r["cpu_ms"], 3), n(r["alone_ms"]),
        )
        for r in found["rankers"]
    ]  # fmt: skip
    held = ", ".join(f"{number:,} {what}" for what, number in found["world"].items())
    table(
        f"{held}; feeds of {found['viewers']:,} personas in one go. CPU-ms a persona", "ranker", "of", "items",
        "seconds", "ours", "database", "both", "one alone", rows=rows, empty="",
    )  # fmt: skip
    out.print("Of each ranker the cheapest round; the last column: feeds made one by one.", markup=False)
    report.show_verdicts([Verdict(**{k: v for k, v in t.items() if k != "reached"}) for t in found["targets"]])
