"""`simfeed bench rooms`: many chatrooms on one process, each with a person, while some of them don't read any more."""

import asyncio
import json
import secrets
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from app.cli.bench import load, meter, place, reads, report
from app.cli.bench.meter import BENCH
from app.cli.bench.report import Verdict
from app.cli.common import err, go, out, table
from app.db.engine import Database
from app.settings import Settings
from app.world import rooms

HISTORY = 2_000
"""Messages of the rooms whose people don't read: more than all buffers hold."""

JOIN_SECONDS = 5.0
"""Within how many seconds all people come."""

SAY_SECONDS = (6.0, 14.0)
SETTLE_SECONDS = 4.0
LATE_SECONDS = 1.0
"""What is written so shortly before people leave need not have come any more."""

WORDS_A_MINUTE = 300.0
A_MINUTE = 12.0
"""Messages that agents of a room write unasked."""


class Wanted(msgspec.Struct):
    """What the command was asked for."""

    rooms: int
    agents: int
    minutes: float
    stalled: int


class Person:
    """One room's person: writes now and then, and keeps what came, when and in which order."""

    def __init__(self, key: str, url: str, random: Random) -> None:
        self.key = key
        self.url = url
        self.random = random
        self.told: list[tuple[str, float]] = []
        self.positions: list[int] = []
        self.said: dict[str, float] = {}
        self.acknowledged: list[tuple[float, float]] = []
        """When a message was sent, and after how many seconds its acknowledgement came."""

        self.refused = 0
        self.closed: int | None = None

    async def read(self, connection: ClientConnection) -> None:
        try:
            async for frame in connection:
                now, clock = time.perf_counter(), time.time()
                told = msgspec.json.decode(frame)
                if "position" in told and told.get("event_type") != "hello":
                    self.positions.append(told["position"])
                if "event_type" in told:
                    self.refused += told["event_type"] == "error"
                    continue
                self.told.append((told["message_id"], clock))
                if told.get("own"):
                    began = self.said.pop(told["client_id"])
                    self.acknowledged.append((began, now - began))
        except ConnectionClosed:
            self.closed = connection.close_code

    async def talk(self, connection: ClientConnection, until: float) -> None:
        number = 0
        await asyncio.sleep(self.random.uniform(0, SAY_SECONDS[1]))
        while time.perf_counter() < until:
            number += 1
            whom = f"@agent{self.random.randint(1, 2)}_ " if self.random.random() < 0.3 else ""
            given = {"type": "user_message", "content": f"{whom}what do you say to number {number}?"}
            self.said[str(number)] = time.perf_counter()
            await connection.send(json.dumps({**given, "client_id": str(number)}))
            await asyncio.sleep(self.random.uniform(*SAY_SECONDS))


def measure(settings: Settings, wanted: Wanted) -> dict[str, Any]:
    """Measure everything and return the report.

    Raises:
        Unavailable: the server did not come up.
    """
    machine = report.machine()
    with place.server(settings) as server, server.database() as url, place.process("stub") as stub:
        model = place.first_line(stub, "the stub of a model's server")
        err.print(
            f"{wanted.rooms} rooms of a person and {wanted.agents} agents, {wanted.minutes:g} min, then half of that "
            f"with {wanted.stalled} who don't read",
            markup=False,
        )
        more = {"OPENAI_BASE_URL": f"http://127.0.0.1:{model}/v1", "OPENAI_API_KEY": "none", "SIMFEED_MODEL": "bench"}
        with reads.serving(url, secrets.token_urlsafe(48), **more) as (pid, port):
            found = go(_all(pid, port, url, wanted))
        label = server.label
    alone, beside = found["alone"], found["beside"]
    targets = [
        Verdict("messages that were not told", found["lost"], 0),
        Verdict("messages that were told twice", found["doubled"], 0),
        Verdict("messages out of order", found["disordered"], 0),
        Verdict("an agent's message, commit to its person, p99", alone["told"]["p99_ms"], 100, "ms"),
        Verdict("a person's message, sent to acknowledged, p99", alone["acknowledged"]["p99_ms"], 100, "ms"),
        Verdict("memory of the server", found["peak_mb"], 400, "MB"),
        Verdict(
            "told p99 beside who doesn't read, to p99 without",
            report.ratio(beside["told"]["p99_ms"], alone["told"]["p99_ms"]) if wanted.stalled else None,
            1.5,
        ),
    ]
    return {
        "machine": {**machine, "server": label},
        "asked": msgspec.to_builtins(wanted),
        **found,
        "sound": not (found["lost"] or found["doubled"] or found["disordered"] or found["gaps"]),
        "targets": [target.plain() for target in targets],
    }


async def _all(pid: int, port: int, url: str, wanted: Wanted) -> dict[str, Any]:
    database = await Database.open(url, size=4)
    try:
        async with database.connection() as connection:
            postgres = await meter.postmaster(connection)
        cast = [row["id"] for row in await database.fetch(BENCH["make_cast"], wanted.agents)]
        made = [await _room(database, cast, wanted) for _ in range(wanted.rooms)]
        stalled = [await _room(database, cast, wanted) for _ in range(wanted.stalled)]
        for number, _ in stalled:
            await database.fetch(BENCH["make_history"], number, HISTORY)
        return await _play(pid, postgres, port, database, made, [key for _, key in stalled], wanted)
    finally:
        await database.close()


async def _room(database: Database, cast: list[int], wanted: Wanted) -> tuple[int, str]:
    key = rooms.new_key()
    pace = {
        "session_duration_minutes": 2 * wanted.minutes + 5,
        "messages_per_minute": A_MINUTE,
        "user_response_probability": 0.6,
        "context_window_size": 20,
        "words_per_minute": WORDS_A_MINUTE,
        "llm_concurrency_limit": 64,
        "grace_seconds": 60,
    }
    async with database.connection() as connection, connection.transaction():
        number = await rooms.open_room(
            connection,
            key=key,
            seed=secrets.randbelow(2**31),
            study_id=None,
            participant_id=None,
            arm="",
            pace=pace,
            settings={"prompt_template": "A chat among neighbours."},
            members=[(one, f"agent{n}_") for n, one in enumerate(cast, 1)],
        )
    return number, key


async def _play(
    pid: int,
    postgres: int | None,
    port: int,
    database: Database,
    made: list[tuple[int, str]],
    stalled: list[str],
    wanted: Wanted,
) -> dict[str, Any]:
    people = [Person(key, f"ws://127.0.0.1:{port}/ws/{key}?extras=1", Random(n)) for n, (_, key) in enumerate(made)]  # noqa: S311
    began, clock = time.perf_counter(), time.time()
    turn = began + 60 * wanted.minutes
    until = turn + (30 * wanted.minutes if stalled else 0)
    ended = clock + until - began + SETTLE_SECONDS
    before, spent = meter.process_seconds(pid), meter.spent(postgres)
    async with asyncio.TaskGroup() as tasks:
        for person in people:
            tasks.create_task(_attend(person, until))
        await asyncio.sleep(turn - time.perf_counter())
        changed = time.time()
        server_seconds, since = meter.process_seconds(pid) - before, meter.spent(postgres).since(spent)
        async with _not_reading(port, stalled):
            await asyncio.sleep(until - time.perf_counter())
    rows = await database.fetch(BENCH["room_messages"], [number for number, _ in made], ended - LATE_SECONDS)
    written: dict[str, list[str]] = {}
    at = {row["key"]: row["at"] for row in rows if row["member"]}
    for row in rows:
        written.setdefault(row["room"], []).append(row["key"])
    gaps = await database.fetchval(BENCH["room_gaps"])
    heard = {person.key: [key for key, _ in person.told] for person in people}
    messages = len(rows)
    return {
        "messages": messages,
        "by_agents": len(at),
        "a_second": messages / (until - began),
        "alone": _timings(people, at, lambda clock: clock < changed, lambda sent: sent < turn),
        "beside": _timings(people, at, lambda clock: clock >= changed, lambda sent: sent >= turn),
        "lost": sum(len(set(written.get(key, ())) - set(told)) for key, told in heard.items()),
        "doubled": sum(len(told) - len(set(told)) for told in heard.values()),
        "disordered": sum(told[: len(written[key])] != written[key] for key, told in heard.items() if key in written)
        + sum(p.positions != sorted(set(p.positions)) for p in people),
        "unacknowledged": sum(len(p.said) for p in people),
        "refused": sum(p.refused for p in people),
        "closed": sum(p.closed not in (None, 1000) for p in people),
        "gaps": gaps,
        "peak_mb": _peak_mb(pid),
        "server_ms_a_second": server_seconds / (turn - began) * 1000,
        "postgres_ms_a_second": None if since.postgres is None else since.postgres / (turn - began) * 1000,
    }


async def _attend(person: Person, until: float) -> None:
    await asyncio.sleep(person.random.uniform(0, min(JOIN_SECONDS, (until - time.perf_counter()) / 4)))
    async with connect(person.url, proxy=None, compression=None) as connection:
        reading = asyncio.create_task(person.read(connection))
        with suppress(ConnectionClosed):
            await person.talk(connection, until)
            await asyncio.sleep(until + SETTLE_SECONDS - time.perf_counter())
        await connection.close()
        await reading


@asynccontextmanager
async def _not_reading(port: int, keys: list[str]) -> AsyncIterator[None]:
    """Clients that ask for all that was said, and read nothing of it."""
    loop, open_ = asyncio.get_running_loop(), []
    for key in keys:
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.setblocking(False)
        await loop.sock_connect(one, ("127.0.0.1", port))
        request = (
            f"GET /ws/{key}?extras=1&since=0 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await loop.sock_sendall(one, request.encode())
        open_.append(one)
    try:
        yield
    finally:
        for one in open_:
            one.close()


def _timings(people: list[Person], at: dict[str, float], told_in: Any, sent_in: Any) -> dict[str, Any]:
    told = [clock - at[key] for p in people for key, clock in p.told if key in at and told_in(clock)]
    acknowledged = [seconds for p in people for sent, seconds in p.acknowledged if sent_in(sent)]
    return {
        name: msgspec.to_builtins(load.timing(times, 1.0)) if times else dict.fromkeys(("p50_ms", "p99_ms"))
        for name, times in (("told", told), ("acknowledged", acknowledged))
    }


def _peak_mb(pid: int) -> float | None:
    try:
        status = (meter.PROC / str(pid) / "status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    except (OSError, ValueError, IndexError):
        return None


def show(found: dict[str, Any]) -> None:
    n, asked = report.number, found["asked"]
    table(
        f"{asked['rooms']} rooms of a person and {asked['agents']} agents",
        "", "told", "p50 ms", "p99 ms", "acknowledged", "p50 ms", "p99 ms",
        rows=[
            (name, told.get("requests", 0), n(told["p50_ms"], 1), n(told["p99_ms"], 1),
             back.get("requests", 0), n(back["p50_ms"], 1), n(back["p99_ms"], 1))
            for name, told, back in (
                ("all read", found["alone"]["told"], found["alone"]["acknowledged"]),
                (f"{asked['stalled']} don't", found["beside"]["told"], found["beside"]["acknowledged"]),
            )
        ],
        empty="",
    )  # fmt: skip
    out.print(
        f"{found['messages']:,} messages, {found['by_agents']:,} of them by agents, {n(found['a_second'], 1)} a "
        f"second; {found['lost']} lost, {found['doubled']} twice, {found['disordered']} rooms out of order, "
        f"{found['gaps']} gaps, {found['refused']} refused, {found['unacknowledged']} not acknowledged. The "
        f"server took {n(found['server_ms_a_second'], 0)} ms of CPU a second and at most {n(found['peak_mb'], 0)} MB, "
        f"PostgreSQL {n(found['postgres_ms_a_second'], 0)} ms.",
        markup=False,
    )
    report.show_verdicts([Verdict(**{k: v for k, v in t.items() if k != "reached"}) for t in found["targets"]])
