"""A proxy in front of PostgreSQL that does to a connection what networks do, and what only bad luck does.

By hand: `python -m tests.fault_proxy --help`. It reads PostgreSQL's protocol only as far as it must: which statement
runs, and when the server has said that it is done.
"""

import argparse
import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit, urlunsplit

Mode = Literal["pass", "drop", "refuse", "reset", "delay", "cut"]
MODES: tuple[Mode, ...] = ("pass", "drop", "refuse", "reset", "delay", "cut")
HEAD = 5
PIECE = 65_536
Wanted = Callable[[str], bool]


def nothing(_: str) -> bool:
    return False


def upstream_of(url: str) -> tuple[str, int]:
    """Where a URL's server listens: (host or folder of its socket, port)."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    host = query.get("host", [parts.hostname or "127.0.0.1"])[0]
    return host, int(query.get("port", [parts.port or 5432])[0])


@dataclass(eq=False)
class Line:
    """One client's connection: what was prepared on it, which statement runs, and what the server has said of it."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    passed: int = 0
    prepared: dict[bytes, str] = field(default_factory=dict)
    running: str = ""
    requests: bytes = b""
    replies: bytes = b""
    started: bool = False
    secret: bool = False

    def reset(self) -> None:
        """Break both ends with RST."""
        for writer in (self.client, self.server):
            raw = writer.get_extra_info("socket")
            if raw is not None and raw.family != socket.AF_UNIX and raw.fileno() >= 0:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def ask(self, data: bytes) -> None:
        """Follow what the client asks for."""
        self.requests += data
        while (message := self._next_request()) is not None:
            kind, body = message
            if kind == b"Q":
                self.running = body.rstrip(b"\0").decode(errors="replace")
            elif kind == b"P":
                name, statement = body.split(b"\0")[:2]
                self.prepared[name] = statement.decode(errors="replace")
            elif kind == b"B":
                self.running = self.prepared.get(body.split(b"\0")[1], "")

    def _next_request(self) -> tuple[bytes, bytes] | None:
        begin = 1 if self.started else 0
        if len(self.requests) < begin + 4:
            return None
        (length,) = struct.unpack_from("!i", self.requests, begin)
        if len(self.requests) < begin + length:
            return None
        kind, body = self.requests[:begin], self.requests[begin + 4 : begin + length]
        self.requests = self.requests[begin + length :]
        if not self.started:  # an SSL or GSS request is answered by one byte, then the start comes again
            self.secret = length == 8
            self.started = not self.secret
        return kind, body

    def answered(self, data: bytes) -> tuple[bytes, bytes]:
        """The replies that are whole now, and their kinds; a ReadyForQuery is `Z` or, within a transaction, `z`."""
        if self.secret and not self.started:
            return data, b""
        self.replies += data
        taken, kinds = 0, b""
        while len(self.replies) >= taken + HEAD:
            (length,) = struct.unpack_from("!i", self.replies, taken + 1)
            if len(self.replies) < taken + 1 + length:
                break
            kind = self.replies[taken : taken + 1]
            idle = self.replies[taken + HEAD : taken + HEAD + 1] == b"I"
            kinds += b"z" if kind == b"Z" and not idle else kind
            taken += 1 + length
        whole, self.replies = self.replies[:taken], self.replies[taken:]
        return whole, kinds


@dataclass
class FaultProxy:
    """Carries connections to the server of `url`, in the mode of the moment.

    `lose` chooses statements whose success the server tells and the client never hears: all is committed, then the
    connection is cut. `lost` counts them.
    """

    url: str
    mode: Mode = "pass"
    delay: float = 0.1
    after: int = 0
    lose: Wanted = nothing
    lost: int = 0
    opened: int = 0
    port: int = 0
    path: str | None = None
    _server: asyncio.Server | None = None
    _lines: set[Line] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def client_url(self) -> str:
        """`url` through the proxy."""
        parts = urlsplit(self.url)
        if self.path is not None:
            query = f"host={Path(self.path).parent}&port={self.path.rpartition('.')[2]}"
            return urlunsplit(parts._replace(netloc=f"{parts.username or ''}@", query=query))
        user = parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{user + '@' if user else ''}127.0.0.1:{self.port}", query=""))

    async def set(self, mode: Mode) -> None:
        """From now on; `reset` breaks what is open as well, `refuse` does so and listens no more."""
        self.mode = mode
        if mode in ("reset", "refuse"):
            for line in list(self._lines):
                line.reset()
        if mode == "refuse":
            await self._deaf()
        elif self._server is None:
            await self.start()

    async def start(self) -> None:
        if self.path is not None:
            self._server = await asyncio.start_unix_server(self._connected, self.path)
        else:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        await self._deaf()
        for line in list(self._lines):
            line.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _deaf(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        if self.path is not None:
            await asyncio.to_thread(Path(self.path).unlink, missing_ok=True)
        await asyncio.sleep(0)

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = upstream_of(self.url)
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.opened += 1
        try:
            await self._carry(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, server = await self._dial()
        except OSError:
            return
        line = Line(writer, server)
        self._lines.add(line)
        try:
            if self.mode == "reset":
                line.reset()
            pumps = asyncio.gather(self._up(line, reader), self._down(line, there))
            with suppress(OSError):
                await pumps
        finally:
            self._lines.discard(line)
            server.transport.abort()

    async def _up(self, line: Line, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(PIECE):
            if self.mode == "drop":
                continue
            await self._wait()
            line.ask(data)
            line.server.write(data)
            await line.server.drain()
        line.server.transport.abort()

    async def _down(self, line: Line, there: asyncio.StreamReader) -> None:
        held, heard = b"", b""
        while data := await there.read(PIECE):
            if self.mode == "drop":
                continue
            await self._wait()
            whole, kinds = line.answered(data)
            held, heard = held + whole, heard + kinds
            if b"C" in heard and b"Z" in heard and self.lose(line.running):
                self.lost += 1
                line.reset()
                return
            if b"C" not in heard or b"z" in heard.lower():
                await self._send(line, held)
                held, heard = b"", b""
        await self._send(line, held)
        line.client.transport.close()

    async def _send(self, line: Line, data: bytes) -> None:
        if self.mode == "cut" and line.passed + len(data) > self.after:
            data = data[: max(0, self.after - line.passed)]
        line.passed += len(data)
        line.client.write(data)
        await line.client.drain()
        if self.mode == "cut" and line.passed >= self.after:
            line.reset()

    async def _wait(self) -> None:
        if self.mode == "delay":
            await asyncio.sleep(self.delay)


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[FaultProxy]:
    """A proxy to the server of `url`, which passes everything on to begin with."""
    proxy = FaultProxy(url)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()


async def _main(given: argparse.Namespace) -> None:
    left = given.times

    def wanted(statement: str) -> bool:
        nonlocal left
        left -= (chosen := left > 0 and given.lose_answer_to is not None and given.lose_answer_to in statement)
        return chosen

    proxy = FaultProxy(
        given.url, given.mode, given.delay / 1_000, given.after, wanted, port=given.port, path=given.path
    )
    if given.mode != "refuse":
        await proxy.start()
    print(f"{proxy.client_url} leads to {given.url}, mode {given.mode}")  # noqa: T201 - a tool
    await asyncio.Event().wait()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="A proxy in front of PostgreSQL that misbehaves to order.",
        epilog="Modes: pass; drop (packets vanish both ways, connections stay); refuse; reset (RST to all); delay; "
        "cut (each connection after --after bytes of answers).",
    )
    parser.add_argument("url", help="the server's URL, e.g. of `simfeed db url`")
    parser.add_argument("--port", type=int, default=6432, help="where to listen on 127.0.0.1")
    parser.add_argument("--path", help="or a unix socket, named FOLDER/.s.PGSQL.PORT")
    parser.add_argument("--mode", choices=MODES, default="pass")
    parser.add_argument("--delay", type=float, default=100, help="milliseconds, in mode delay")
    parser.add_argument("--after", type=int, default=1_000, help="bytes, in mode cut")
    parser.add_argument("--lose-answer-to", metavar="TEXT", help="cut once a statement with this text has committed")
    parser.add_argument("--times", type=int, default=1, help="how often")
    return parser.parse_args()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_main(_arguments()))
