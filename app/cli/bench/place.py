"""Where the bench measures: databases and processes of its own, gone when it ends, however it ends."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import asyncpg

from app.cli.bench.meter import BENCH
from app.cli.common import go
from app.db import embedded, migrate
from app.db.engine import plain_url
from app.errors import Unavailable
from app.settings import Settings

PATIENCE = 10.0


@dataclass(frozen=True)
class Server:
    """A PostgreSQL and what it is called in the report. `address` gives a database's URL."""

    label: str
    admin_url: str
    address: Callable[[str], str]

    @contextmanager
    def database(self) -> Iterator[str]:
        """A fresh, migrated world; dropped at the end."""
        name = f"simfeed_bench_{secrets.token_hex(5)}"
        go(self._run("create_database", name))
        try:
            url = self.address(name)
            go(migrate.upgrade(url))
            yield url
        finally:
            go(self._run("drop_database", name))

    async def _run(self, statement: str, name: str) -> None:
        connection = await asyncpg.connect(self.admin_url, timeout=10)
        try:
            await connection.execute(BENCH[statement].replace("{name}", name))
        finally:
            await connection.close()


@contextmanager
def server(settings: Settings) -> Iterator[Server]:
    """DATABASE_URL's server, or a durable embedded one in a temporary folder that is deleted at the end."""
    with _signals():
        if settings.database_url is not None:
            url = plain_url(settings.database_url.get_secret_value())
            yield Server("PostgreSQL of DATABASE_URL", url, lambda name: _with_database(url, name))
            return
        with embedded.throwaway(binaries=settings.postgres_binaries) as running:
            yield Server(f"embedded PostgreSQL {running.version}, durable", running.url("postgres"), running.url)


def _with_database(url: str, name: str) -> str:
    head, _, query = url.partition("?")
    scheme, _, rest = head.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/{name}" + (f"?{query}" if query else "")


def _interrupt(_: int, frame: FrameType | None) -> None:
    """Call what SIGINT would call: raised from within a handler, it can be lost on a loop that sleeps."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)


@contextmanager
def _signals() -> Iterator[None]:
    """A polite kill or a closed terminal ends as Ctrl-C does: cleaning up."""
    kinds = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(kind, _interrupt) for kind in kinds]
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background job
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)


def environment(**more: str) -> dict[str, str]:
    """Ours without any setting or key, so that what is measured is the same everywhere."""
    settings = {name.upper() for name in Settings.model_fields}
    return {name: value for name, value in os.environ.items() if name.upper() not in settings} | more


@contextmanager
def process(module: str, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process of `app.cli.bench.MODULE`, out of the terminal's reach; ended at the end."""
    child = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", f"app.cli.bench.{module}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=env or environment(),
        cwd=migrate.ROOT,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()
    try:
        child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()


def first_line(child: subprocess.Popen[bytes], what: str) -> str:
    """The line with which a process says that it is ready.

    Raises:
        Unavailable: it ended instead.
    """
    assert child.stdout is not None  # noqa: S101 - a pipe was asked for
    line = child.stdout.readline().decode().strip()
    if not line:
        raise Unavailable(f"{what} did not start; the lines above say why")
    return line
