"""`simfeed bench events`: how soon listeners of `/events` are told, what that costs, and whether any is left out."""

import asyncio
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any, cast

import asyncpg
import msgspec

from app.cli.bench import meter, place, reads, report
from app.cli.bench.meter import BENCH
from app.cli.bench.report import Verdict
from app.cli.common import err, go, out, table
from app.db.engine import Database
from app.db.notify import Bell
from app.errors import Unavailable
from app.ledger.commit import ActionRecord, Committer, StepRecord
from app.settings import Settings
from app.world.effects import NewPost
from app.world.events import CHANNEL

WRITERS = 64
LEASE_SECONDS = 3600.0
START_SECONDS = 30.0
END_SECONDS = 30.0
IDLE_SECONDS = 5.0
AGAIN_SECONDS = 0.05
BODY = "A post of ordinary length, as personas write them: a thought, a second thought, and a question to end with? "
TOLD = re.compile(rb'\nid: (\d+)\n(?:data: \{"id":(\d+))?')


class Wanted(msgspec.Struct):
    """What the command was asked for; `rate` is posts a second."""

    clients: int
    posts: int
    rate: float
    leaving: int


class Listener(asyncio.Protocol):
    """One client: raw, so that it costs little beside what it measures. It comes back by its last id when cut off."""

    def __init__(self, port: int, patience: Iterator[int] | None) -> None:
        self.port = port
        self.last: int | None = None
        self.told: list[tuple[int, float]] = []
        self.joined = asyncio.Event()
        self.comebacks = 0
        self.stays = patience is None
        self.done = False
        self._patience = patience
        self._left = next(patience) if patience is not None else 0
        self._rest = b""
        self._transport: asyncio.Transport | None = None

    async def connect(self) -> None:
        with suppress(OSError):
            await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self.port)
            return
        self._later()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._rest = cast(asyncio.Transport, transport), b""
        last = f"Last-Event-ID: {self.last}\r\n" if self.last is not None else ""
        self._transport.write(f"GET /events?types=post HTTP/1.1\r\nHost: 127.0.0.1\r\n{last}\r\n".encode())

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 200 "):
            assert self._transport is not None  # noqa: S101 - it has just given data
            self._transport.abort()  # the place of one that left is not free yet
            return
        whole, blank, self._rest = (self._rest + data).rpartition(b"\n\n")
        for event, post in TOLD.findall(whole + blank):
            self.last = int(event)
            self.joined.set()
            if post:
                self.told.append((int(post), now))
                self._left -= 1
                if self._patience is not None and self._left <= 0:
                    self._left = next(self._patience)
                    assert self._transport is not None  # noqa: S101 - it has just given data
                    self._transport.abort()
                    return  # what came with it is asked for again

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done:
            self.comebacks += 1
            self._later()

    def _later(self) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(AGAIN_SECONDS, lambda: loop.create_task(self.connect()))

    def close(self) -> None:
        self.done = True
        if self._transport is not None:
            self._transport.abort()


def record(writer: int, step: int) -> StepRecord:
    """A step of a writer's turn that posts."""
    number = secrets.token_hex(4)
    post = ActionRecord(0, f"c{step}", "create_post", "{}", NewPost(body=BODY * 2 + number))
    return StepRecord(
        turn_id=writer, persona_id=writer, epoch=1, step=step, state="running", reason=None, status="ok", detail="",
        model="bench", model_returned="bench", options=b"{}", told=b"[]", tools_sha256=b"-", request_sha256=b"-",
        reply=b"{}", response=b"{}", prompt_tokens=1, completion_tokens=1, cached_tokens=0, cost_usd=0.0, latency_ms=1,
        actions=(post,),
    )  # fmt: skip


def measure(settings: Settings, wanted: Wanted) -> dict[str, Any]:
    """Measure everything and return the report.

    Raises:
        Unavailable: the server did not come up, or the listeners could not all join.
    """
    machine = report.machine()
    with place.server(settings) as server, server.database() as url:
        err.print(f"{wanted.clients} listeners, {wanted.posts} posts, {wanted.rate:g} a second", markup=False)
        with reads.serving(url, secrets.token_urlsafe(48), WORKER_ENABLED="false") as (pid, port):
            found = go(_all(pid, port, url, wanted))
        label = server.label
    p99 = found["latency"]["p99_ms"]
    targets = [
        Verdict("commit to client, p99", p99, 500, " ms"),
        Verdict("posts that a listener was not told", found["lost"], 0),
        Verdict("posts that a listener was told twice", found["doubled"], 0),
    ]
    return {
        "machine": {**machine, "server": label},
        "asked": msgspec.to_builtins(wanted),
        **found,
        "sound": not found["lost"] and not found["doubled"],
        "targets": [target.plain() for target in targets],
    }


async def _all(pid: int, port: int, url: str, wanted: Wanted) -> dict[str, Any]:
    database = await Database.open(url, size=4)
    try:
        await database.fetch(BENCH["make_writers"], WRITERS)
        await database.fetch(BENCH["make_writing_run"])
        await database.fetch(BENCH["make_writing_turns"])
        connection = await asyncpg.connect(url)
        postgres = await meter.postmaster(connection)
        await connection.close()
        listeners = await _joined(port, wanted)
        try:
            return await _play(pid, postgres, database, listeners, wanted)
        finally:
            for listener in listeners:
                listener.close()
    finally:
        await database.close()


def _patience(random: Random) -> Iterator[int]:
    """After how many posts a listener leaves, again and again."""
    while True:
        yield random.randint(5, 40)


async def _joined(port: int, wanted: Wanted) -> list[Listener]:
    random = Random(7)  # noqa: S311 - who leaves is no secret
    listeners = [
        Listener(port, _patience(random) if number < wanted.leaving else None) for number in range(wanted.clients)
    ]
    try:
        async with asyncio.timeout(START_SECONDS):
            for begin in range(0, len(listeners), 50):
                some = listeners[begin : begin + 50]
                await asyncio.gather(*(one.connect() for one in some))
                await asyncio.gather(*(one.joined.wait() for one in some))
    except TimeoutError:
        raise Unavailable("not all listeners could join") from None
    return listeners


async def _play(
    pid: int, postgres: int | None, database: Database, listeners: list[Listener], wanted: Wanted
) -> dict[str, Any]:
    idle = meter.process_seconds(pid)
    await asyncio.sleep(IDLE_SECONDS)
    idle_ms = (meter.process_seconds(pid) - idle) / IDLE_SECONDS * 1000
    before, spent = meter.process_seconds(pid), meter.spent(postgres)
    async with (
        Bell(database, CHANNEL) as bell,
        Committer(database, lease_seconds=LEASE_SECONDS, bell=bell) as committer,
    ):
        committed = await _write(committer, wanted)
        await _settled(listeners, len(committed))
    server_ms = (meter.process_seconds(pid) - before) * 1000
    since = meter.spent(postgres).since(spent)
    stayed = [one for one in listeners if one.stays] or listeners
    latencies = sorted((at - committed[post]) * 1000 for one in stayed for post, at in one.told)
    lost = sum(len(committed.keys() - {post for post, _ in one.told}) for one in listeners)
    doubled = sum(len(one.told) - len({post for post, _ in one.told}) for one in listeners)
    deliveries = max(1, sum(len(one.told) for one in listeners))
    return {
        "seconds": since.wall,
        "deliveries": deliveries,
        "a_second": deliveries / since.wall,
        "latency": {f"p{part}_ms": _part(latencies, part / 100) for part in (50, 90, 99, 100)},
        "lost": lost,
        "doubled": doubled,
        "comebacks": sum(one.comebacks for one in listeners),
        "server_ms": server_ms,
        "server_ms_a_delivery": server_ms / deliveries,
        "server_ms_a_post": server_ms / max(1, len(committed)),
        "postgres_ms_a_post": None if since.postgres is None else since.postgres * 1000 / max(1, len(committed)),
        "idle_server_ms_a_second": idle_ms,
    }


def _part(ordered: list[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else float("nan")


async def _write(committer: Committer, wanted: Wanted) -> dict[int, float]:
    """Commit the posts at their rate, however long each takes; by id, when its commit returned."""
    committed: dict[int, float] = {}
    steps = [0] * WRITERS
    began = time.perf_counter()

    async def one(number: int) -> None:
        writer = number % WRITERS
        steps[writer] += 1
        outcomes = await committer.commit(record(writer + 1, steps[writer] - 1))
        post = outcomes[0].object_id
        assert post is not None  # noqa: S101 - a post is always made
        committed[post] = time.perf_counter()

    async with asyncio.TaskGroup() as tasks:
        for number in range(wanted.posts):
            await asyncio.sleep(max(0.0, began + number / wanted.rate - time.perf_counter()))
            tasks.create_task(one(number))
    return committed


async def _settled(listeners: list[Listener], posts: int) -> None:
    """Wait until all have been told all, or nobody is told anything more."""
    with suppress(TimeoutError):
        async with asyncio.timeout(END_SECONDS):
            while any(len(one.told) < posts for one in listeners):  # noqa: ASYNC110 - they only note what they hear
                await asyncio.sleep(0.02)
    await asyncio.sleep(1.5)  # what would come twice would come now


def show(found: dict[str, Any]) -> None:
    n = report.number
    latency = found["latency"]
    table(
        f"{found['asked']['clients']} listeners, {found['asked']['rate']:g} posts a second",
        "posts", "told", "told/s", "p50 ms", "p90 ms", "p99 ms", "most ms", "lost", "twice", "came back",
        rows=[(
            f"{found['asked']['posts']:,}", f"{found['deliveries']:,}", n(found["a_second"], 0),
            *(n(latency[f"p{part}_ms"], 1) for part in (50, 90, 99, 100)),
            found["lost"], found["doubled"], f"{found['comebacks']:,}",
        )],
        empty="",
    )  # fmt: skip
    out.print(
        f"CPU of the server: {found['server_ms_a_delivery']:.4f} ms a post and listener, "
        f"{n(found['server_ms_a_post'])} ms a post; of PostgreSQL {n(found['postgres_ms_a_post'])} ms a post, with its "
        "commit. Times are those of listeners that stayed. While nothing happened the server took "
        f"{n(found['idle_server_ms_a_second'], 1)} ms a second.",
        markup=False,
    )
    report.show_verdicts([Verdict(**{k: v for k, v in t.items() if k != "reached"}) for t in found["targets"]])
