"""`simfeed bench feed`: how fast the feed is read over HTTP, beside the same SQL without a server."""

import asyncio
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import asyncpg
import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.cli.bench import load, meter, place, report, world
from app.cli.bench.load import Timing
from app.cli.bench.report import Verdict, ratio
from app.cli.common import err, go, out, table
from app.errors import Unavailable
from app.settings import Settings
from app.web.inputs import sign_cursor
from app.web.pages.feed import cursor_scope
from app.world import personas
from app.world.feed import FEED, INT32_MAX, PAGE_SIZE
from app.world.text import INT64_MAX

DEEP = 10_000
SPREAD = 2_000
"""Different deep pages, posts and personas that are asked for in turn: too many for the server to keep them warm."""

COMMENTS = 100
WARM_UP = 100
START_SECONDS = 30.0


class Wanted(msgspec.Struct):
    """What the command was asked for."""

    posts: int
    likes: int
    requests: int
    concurrency: int


class Read(msgspec.Struct):
    """One kind of request: paths over HTTP, and the same rows by SQL."""

    name: str
    paths: list[str]
    query: str
    arguments: list[tuple[object, ...]]
    accept: str = "application/json"


class Measured(msgspec.Struct):
    """One kind's figures; CPU in milliseconds a request. `http_to_sql` compares the medians."""

    name: str
    http: Timing
    sql: Timing
    server_ms: float
    postgres_ms: float | None
    http_to_sql: float | None


def depth(posts: int) -> int:
    """How deep the deep page lies: as far as promised, or half-way down a smaller world."""
    return min(DEEP, posts // 2)


def reads(wanted: Wanted, secret: str) -> list[Read]:
    """The kinds of requests, as the routes ask them: a page and one more row, to see whether there is a next."""
    random = Random(7)  # noqa: S311 - which posts are read is no secret
    posts, people, older = (
        random.sample(range(1, most + 1), min(SPREAD, most))
        for most in (wanted.posts, world.people(wanted.posts), depth(wanted.posts) // 5)
    )
    row = PAGE_SIZE + 1

    def pages(
        name: str, depth: int, *, path: str = "/posts", scope: tuple[Any, ...] = ("posts", "latest", None)
    ) -> Read:
        below = [wanted.posts - depth - n + 1 for n in older]
        cursors = [sign_cursor(secret, scope, (n, None)) for n in below]
        return Read(name, [f"{path}?cursor={c}" for c in cursors], FEED["latest"], [(n, row) for n in below])

    html = pages("pages near the top, HTML", 0, path="/", scope=cursor_scope())
    html.accept = "text/html"

    return [
        Read("page 1", ["/posts"], FEED["latest"], [(INT64_MAX, row)]),
        pages("pages near the top", 0),
        pages(f"pages from depth {depth(wanted.posts):,} on", depth(wanted.posts)),
        Read(
            "thread", [f"/posts/{n}/comments" for n in posts], FEED["comments"],
            [(n, INT64_MAX, COMMENTS + 1) for n in posts],
        ),
        Read("persona", [f"/persona/{n}" for n in people], personas.PEOPLE["persona"], [(n,) for n in people]),
        Read("hot, page 1", ["/posts?sort=hot"], FEED["hot"], [(float("inf"), row, INT64_MAX)]),
        Read("top, page 1", ["/posts?sort=top"], FEED["top"], [(INT32_MAX, row, INT64_MAX)]),
        html,
    ]  # fmt: skip


def measure(settings: Settings, wanted: Wanted) -> dict[str, Any]:
    """Measure everything and return the report."""
    machine = report.machine()
    secret = secrets.token_urlsafe(48)
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
        with serving(url, secret) as (pid, port):
            rows = go(_all(pid, port, url, wanted, reads(wanted, secret), bar))
            bare = go(_bare(pid, port, wanted))
    top, deep, html = rows[1], rows[2], rows[-1]
    return {
        "machine": {**machine, "server": server.label},
        "asked": msgspec.to_builtins(wanted),
        "world": held,
        "made_seconds": made_seconds,
        "reads": [msgspec.to_builtins(row) for row in rows],
        "bare": bare,
        "errors": sum(row.http.errors + row.sql.errors for row in rows),
        "targets": [
            Verdict(
                "deep pages to pages near the top, HTTP p50", ratio(deep.http.p50_ms, top.http.p50_ms), 1.5
            ).plain(),
            *[Verdict(f"{row.name}: HTTP p50 to SQL p50", row.http_to_sql, 3).plain() for row in rows[:-1]],
            Verdict("a page as HTML to its JSON, CPU of the server", ratio(html.server_ms, top.server_ms), 4).plain(),
            Verdict("pages as HTML a second, of one process", html.http.a_second, least=150).plain(),
        ],
    }


@contextmanager
def serving(url: str, secret: str, **more: str) -> Iterator[tuple[int, int]]:
    """The real server over that world: its process and its port."""
    env = place.environment(
        DATABASE_URL=url,
        SECRET_KEY=secret,
        BOOTSTRAP_TOKEN=secrets.token_urlsafe(24),
        RATE_LIMIT_PER_MINUTE="0",
        SCHEDULER_ENABLED="false",
        LOG_LEVEL="warning",
        **more,
    )
    with place.process("served", env) as child:
        port = int(place.first_line(child, "the server"))
        go(_answers(port))
        yield child.pid, port


async def _answers(port: int) -> None:
    """Wait until the server answers.

    Raises:
        Unavailable: it doesn't.
    """
    try:
        async with asyncio.timeout(START_SECONDS):
            await load.over_http(port, ["/livez"], 1, 1)
    except (TimeoutError, OSError, asyncio.IncompleteReadError) as error:
        raise Unavailable("the server did not come up; the lines above say why") from error


async def _all(pid: int, port: int, url: str, wanted: Wanted, kinds: list[Read], bar: Progress) -> list[Measured]:
    connection = await asyncpg.connect(url)
    try:
        postgres = await meter.postmaster(connection)
    finally:
        await connection.close()
    task = bar.add_task("requests", total=len(kinds) * wanted.requests * 2)
    rows = []
    for kind in kinds:
        rows.append(await _one(pid, port, url, postgres, wanted, kind))
        bar.update(task, advance=wanted.requests * 2)
    return rows


async def _bare(pid: int, port: int, wanted: Wanted) -> dict[str, Any]:
    """What the server takes for an answer without any SQL: the floor of all reads."""
    before = meter.process_seconds(pid)
    found = await load.over_http(port, ["/livez"], wanted.requests, wanted.concurrency)
    server_ms = (meter.process_seconds(pid) - before) / wanted.requests * 1000
    return {"path": "/livez", "http": msgspec.to_builtins(found), "server_ms": server_ms}


async def _one(pid: int, port: int, url: str, postgres: int | None, wanted: Wanted, kind: Read) -> Measured:
    at_once = wanted.concurrency
    await load.over_http(port, kind.paths, WARM_UP, at_once, kind.accept)
    server, database = meter.process_seconds(pid), meter.spent(postgres)
    http = await load.over_http(port, kind.paths, wanted.requests, at_once, kind.accept)
    spent = meter.spent(postgres).since(database)
    server_ms = (meter.process_seconds(pid) - server) / wanted.requests * 1000
    await load.over_sql(url, kind.query, kind.arguments, WARM_UP, at_once)
    sql = await load.over_sql(url, kind.query, kind.arguments, wanted.requests, at_once)
    postgres_ms = None if spent.postgres is None else spent.postgres / wanted.requests * 1000
    return Measured(kind.name, http, sql, server_ms, postgres_ms, ratio(http.p50_ms, sql.p50_ms))


def show(found: dict[str, Any]) -> None:
    n = report.number
    rows: list[tuple[object, ...]] = [
        (
            r["name"], n(r["http"]["a_second"], 0), n(r["http"]["p50_ms"]), n(r["http"]["p99_ms"]), n(r["server_ms"]),
            n(r["postgres_ms"]), n(r["sql"]["a_second"], 0), n(r["sql"]["p50_ms"]), n(r["sql"]["p99_ms"]),
        )
        for r in found["reads"]
    ]  # fmt: skip
    held = ", ".join(f"{number:,} {what}" for what, number in found["world"].items())
    table(
        f"{held}; {found['asked']['concurrency']} at once", "read", "req/s", "p50 ms", "p99 ms", "CPU server",
        "CPU database", "SQL/s", "p50 ms", "p99 ms", rows=rows, empty="",
    )  # fmt: skip
    bare = found["bare"]
    out.print("The last three columns: the same statement by asyncpg alone. CPU in ms a request.", markup=False)
    out.print(
        f"Without any SQL ({bare['path']}) the server answers {n(bare['http']['a_second'], 0)} requests a second, p50 "
        f"{n(bare['http']['p50_ms'])} ms, CPU {n(bare['server_ms'])} ms.",
        markup=False,
    )
    report.show_verdicts([Verdict(**{k: v for k, v in t.items() if k != "reached"}) for t in found["targets"]])
