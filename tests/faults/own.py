"""A PostgreSQL of a test's own that may be hit, cycles that go on through it, and what must hold afterwards."""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest

from app.agent.turn import Mind
from app.db import embedded, migrate
from app.db.engine import TROUBLE, Database
from app.ledger.invariants import check
from app.llm.model import Completion, Request
from app.llm.scripted import ScriptedModel
from app.settings import Settings, load_settings
from app.venues.feed import play_cycle
from tests.conftest import run_sql, with_database
from tests.pace import clock

OPEN = ("queued", "running")
SETTINGS = load_settings(max_concurrent_turns=8)
KILL_ONE = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    ORDER BY random() LIMIT $1"""


@dataclass
class OwnServer:
    """The server and its home; `options` are those of the embedded one."""

    home: Path
    options: Mapping[str, str] = field(default_factory=dict)
    durable: bool = True
    _share: embedded.EmbeddedServer | None = None

    def start(self) -> None:
        """Start it, or start it anew after a crash."""
        fresh = embedded.start(self.home, options=self.options, durable=self.durable)
        self._leave()
        self._share = fresh

    def mend(self) -> None:
        """Start it if a test has left it down."""
        if not embedded.status(self.home).running:
            self.start()

    def url(self, database: str = "postgres") -> str:
        assert self._share is not None
        return self._share.url(database)

    def processes(self) -> list[int]:
        """The postmaster and its children."""
        pid = embedded.status(self.home).pid
        assert pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def crash(self) -> None:
        """kill -9, postmaster and children together."""
        self._hit(self.processes(), signal.SIGKILL)

    def stop_at_once(self) -> None:
        """An immediate shutdown: no checkpoint, the clients are cut off."""
        self._hit(self.processes()[:1], signal.SIGQUIT)

    def move_log(self, to: Path) -> None:
        """Have the write-ahead log on another file system."""
        self._leave()
        self._share = None
        log = self.home.joinpath("pg").resolve() / "pg_wal"
        owner = log.stat()
        os.chown(to, owner.st_uid, owner.st_gid)
        subprocess.run(["cp", "-a", f"{log}/.", str(to)], check=True)
        shutil.rmtree(log)
        log.symlink_to(to)
        self.start()

    def _hit(self, pids: list[int], how: signal.Signals) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, how)
        while any(Path(f"/proc/{pid}/exe").exists() for pid in pids):
            time.sleep(0.005)

    def _leave(self) -> None:
        if self._share is not None:
            self._share.close()

    def remove(self) -> None:
        self._leave()
        embedded.remove(self.home)


@contextmanager
def own_server(*, durable: bool = True, **options: str) -> Iterator[OwnServer]:
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**29
    home = Path(tempfile.mkdtemp(prefix="simfeed-faults-", dir=memory if roomy else None))
    home.chmod(0o755)
    server = OwnServer(home, options, durable)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """A file system of this size; only root may make one."""
    folder = Path(tempfile.mkdtemp(prefix="simfeed-small-"))
    folder.chmod(0o755)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        folder.rmdir()
        pytest.skip("no small file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
        folder.rmdir()


@asynccontextmanager
async def world_of(server: OwnServer) -> Any:
    """The URL of a migrated database of its own."""
    name = f"faults_{uuid4().hex[:12]}"
    await run_sql(server.url(), f'CREATE DATABASE "{name}"')
    url = with_database(server.url(), name)
    await migrate.upgrade(url)
    try:
        yield url
    finally:
        await run_sql(server.url(), f'DROP DATABASE "{name}" WITH (FORCE)')


@asynccontextmanager
async def opened(url: str, size: int = 8) -> Any:
    database = await Database.open(url, size=size)
    try:
        yield database
    finally:
        await database.close()


class Slow(ScriptedModel):
    """The offline model, taking its time, so that faults meet a cycle under way."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    async def complete(self, request: Request) -> Completion:
        await asyncio.sleep(self.seconds)
        return await super().complete(request)


async def played(mind: Mind, run_id: int, *, seconds: float = 180, settings: Settings = SETTINGS) -> dict[str, int]:
    """Play a run to its end, as workers do: once more whenever the database was away. The states of its turns.

    Leases are short, and end at once between two tries, for nobody else plays.
    """
    mind.committer._lease_seconds = 2
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(*TROUBLE):
            await play_cycle(mind, settings, run_id)
            states = await turn_states(mind.database)
            if not states.keys() & set(OPEN):
                return states
        with suppress(*TROUBLE):
            await mind.database.fetch("UPDATE turns SET lease_until = now() WHERE state = 'running'")
        await asyncio.sleep(0.05)
    raise AssertionError(f"not over: {await turn_states(mind.database)}")


async def turn_states(database: Database) -> dict[str, int]:
    rows = await database.fetch("SELECT state, count(*) AS n FROM turns GROUP BY 1")
    return {row["state"]: row["n"] for row in rows}


async def why_failed(database: Database) -> list[str]:
    rows = await database.fetch("SELECT reason FROM turns WHERE state = 'failed' ORDER BY id")
    return [row["reason"] for row in rows]


async def broken(url: str) -> dict[str, tuple[str, ...]]:
    """The invariants that do not hold, with examples."""
    connection = await asyncpg.connect(url)
    try:
        return {f"{f.invariant} {f.rule}": f.examples for f in await check(connection) if f.violations}
    finally:
        await connection.close()


async def kills(url: str, *, every: float, how_many: int, done: asyncio.Event, seed: int = 0) -> int:
    """Terminate so many random backends of a database every so often, from outside its pools."""
    chance = random.Random(seed)
    killed = 0
    connection = await asyncpg.connect(with_database(url, "postgres"))
    name = url.partition("?")[0].rpartition("/")[2]
    statement = KILL_ONE.replace("current_database()", f"'{name}'")
    try:
        while not done.is_set():
            killed += len(await connection.fetch(statement, how_many))
            with suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), every * (0.5 + chance.random()))
    finally:
        await connection.close()
    return killed


async def reads(client: httpx2.AsyncClient, done: asyncio.Event) -> dict[int, int]:
    """How a reader of the API is answered meanwhile, by status."""
    found: dict[int, int] = {}
    paths = ("/posts", "/feed", "/post/1", "/persona/1", "/posts?page=2")
    while not done.is_set():
        for path in paths:
            status = (await client.get(path)).status_code
            found[status] = found.get(status, 0) + 1
        await asyncio.sleep(0.005)
    return found


async def take_all(server: OwnServer) -> list[asyncpg.Connection]:
    """Every connection the server still gives."""
    taken = []
    with suppress(asyncpg.TooManyConnectionsError):
        while True:
            taken.append(await asyncpg.connect(server.url()))
    return taken


async def write_until_it_panics(url: str) -> None:
    """Write to a log whose disk is full."""
    eater = await asyncpg.connect(url)
    with suppress(*TROUBLE):
        for _ in range(1_000):
            await eater.execute("SELECT pg_logical_emit_message(false, 'eats', repeat('x', 200000))")
            await asyncio.sleep(0.01)
    assert eater.is_closed()


async def within(seconds: float, condition: Callable[[], Awaitable[bool]]) -> float:
    """How long it took until the condition held."""
    begin = clock()
    while not await condition():
        assert clock() - begin < seconds, f"not within {seconds} s"
        await asyncio.sleep(0.02)
    return clock() - begin
