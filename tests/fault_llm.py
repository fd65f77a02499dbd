"""A language model's endpoint that misbehaves to order: any bytes at any pace, over loopback.

By hand: `python -m tests.fault_llm --port 9000`, then a base URL of http://127.0.0.1:9000/NAME/v1 gets the fault NAME;
with `--plan` it plays a personality of `tests/fault_plan.py` at http://127.0.0.1:9000/v1.
"""

import argparse
import asyncio
import gzip
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

SEND_BUFFER = 64 * 1024
"""Bytes the kernel may take beyond what the client has read, as far as we can tell it."""


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Exchange:
    """One request and the wire to answer it on."""

    request: Received
    server: "FaultLLM"
    writer: asyncio.StreamWriter

    async def send(self, data: bytes, *, piece: int = 65_536) -> None:
        for start in range(0, len(data), piece):
            part = data[start : start + piece]
            self.writer.write(part)
            await self.writer.drain()
            self.server.sent += len(part)

    async def drip(self, data: bytes, *, every: float) -> None:
        for n in range(len(data)):
            await self.send(data[n : n + 1])
            await asyncio.sleep(every)

    def reset(self) -> None:
        """Break the connection with RST, what was not read is lost."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Fault: TypeAlias = Callable[[Exchange], Awaitable[None]]


@dataclass
class FaultLLM:
    """The server. `faults` are played one a request, the last of them for ever; with `tls` it speaks HTTPS."""

    faults: list[Fault] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    sent: int = 0
    open: int = 0
    port: int = 0
    tls: ssl.SSLContext | None = None
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http{'s' * bool(self.tls)}://127.0.0.1:{self.port}/v1"

    def play(self, *faults: Fault) -> None:
        """From now on, with the counts at zero."""
        self.faults = list(faults)
        self.received.clear()
        self.sent = 0

    async def start(self, port: int = 0) -> None:
        listener = socket.create_server(("127.0.0.1", port))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._server = await asyncio.start_server(self._connected, sock=listener, limit=2**20, ssl=self.tls)
        self.port = listener.getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open += 1
        try:
            while (request := await _read(reader)) is not None:
                self.received.append(request)
                fault = self.faults.pop(0) if len(self.faults) > 1 else self._last(request)
                if not await self._play(fault, Exchange(request, self, writer), reader):
                    break
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()

    def _last(self, request: Received) -> Fault:
        return self.faults[0] if self.faults else NAMED.get(request.path.strip("/").partition("/")[0], ok())

    async def _play(self, fault: Fault, exchange: Exchange, reader: asyncio.StreamReader) -> bool:
        """Play a fault until it is done or the client is gone, which is told apart by reading on."""
        playing = asyncio.ensure_future(fault(exchange))
        gone = asyncio.create_task(_until_gone(reader))
        try:
            await asyncio.wait({playing, gone}, return_when=asyncio.FIRST_COMPLETED)
            done = playing.done() and not exchange.writer.is_closing()
            if playing.done():
                with suppress(ConnectionError):
                    playing.result()
            return done
        finally:
            for task in (playing, gone):
                task.cancel()
            await asyncio.gather(playing, gone, return_exceptions=True)


async def _until_gone(reader: asyncio.StreamReader) -> None:
    while not reader.at_eof():  # waiting by reading would eat the next request
        await asyncio.sleep(0.01)


async def _read(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    method, path, _ = head[0].split(" ", 2)
    return Received(method, path, headers, body)


def reply(
    *calls: tuple[str, Any], text: str | None = None, finish: str | None = None, message: Any = None, **more: Any
) -> dict[str, Any]:
    """A chat completion that says `text` and asks for `calls`: (name, arguments); arguments that are text stay so."""
    said: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        said["tool_calls"] = [
            {
                "id": f"c{n}",
                "type": "function",
                "function": {"name": name, "arguments": given if isinstance(given, str) else json.dumps(given)},
            }
            for n, (name, given) in enumerate(calls)
        ]
    choice = {"index": 0, "message": said if message is None else message, "finish_reason": finish or "stop"}
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    return {"id": "x", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage, **more}


def head(status: int = 200, *lines: str, length: int | None = None, kind: str = "application/json") -> bytes:
    extra = [*lines, *([] if length is None else [f"Content-Length: {length}"])]
    return "\r\n".join([f"HTTP/1.1 {status} X", f"Content-Type: {kind}", *extra, "", ""]).encode("latin-1")


def answer(body: Any = None, status: int = 200, *lines: str, kind: str = "application/json") -> Fault:
    """A whole reply; `body` that is bytes goes as it is."""
    data = body if isinstance(body, bytes) else json.dumps(reply(text="hello") if body is None else body).encode()

    async def fault(exchange: Exchange) -> None:
        await exchange.send(head(status, *lines, length=len(data), kind=kind) + data)

    return fault


def ok(*calls: tuple[str, Any], text: str | None = None) -> Fault:
    return answer(reply(*calls, text=text or (None if calls else "hello")))


def raw(data: bytes) -> Fault:
    """These bytes, then the end of the connection."""

    async def fault(exchange: Exchange) -> None:
        await exchange.send(data)
        exchange.writer.close()

    return fault


def hang() -> Fault:
    async def fault(_: Exchange) -> None:
        await asyncio.Event().wait()

    return fault


def drip(every: float = 1.0, body: bytes = b" " * 100_000) -> Fault:
    async def fault(exchange: Exchange) -> None:
        await exchange.send(head(length=len(body)))
        await exchange.drip(body, every=every)

    return fault


def reset(after: bytes = b"") -> Fault:
    """RST after these bytes."""

    async def fault(exchange: Exchange) -> None:
        if after:
            await exchange.send(after)
            await asyncio.sleep(0.05)
        exchange.reset()

    return fault


def endless(piece: bytes = b" " * 16_384) -> Fault:
    """Chunks until the client has enough."""

    async def fault(exchange: Exchange) -> None:
        await exchange.send(head(200, "Transfer-Encoding: chunked"))
        while not exchange.writer.is_closing():
            await exchange.send(b"%x\r\n%b\r\n" % (len(piece), piece))

    return fault


def chunked(size: int, piece: bytes = b" " * 16_384) -> Fault:
    """About `size` bytes in chunks, with an end."""

    async def fault(exchange: Exchange) -> None:
        await exchange.send(head(200, "Transfer-Encoding: chunked"))
        for _ in range(size // len(piece)):
            await exchange.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await exchange.send(b"0\r\n\r\n")

    return fault


def error(status: int, code: str | None = None, *lines: str) -> Fault:
    return answer({"error": {"message": "no", "type": code, "code": code}}, status, *lines)


_GOOD = json.dumps(reply(text="hello")).encode()
_BOMB = gzip.compress(b" " * 50_000_000)

NAMED: dict[str, Fault] = {
    "ok": ok(),
    "429": error(429, "rate_limit_exceeded", "Retry-After: 3"),
    "quota": error(429, "insufficient_quota"),
    "500": error(500),
    "503": error(503, None, "Retry-After: 1"),
    "401": error(401, "invalid_api_key"),
    "404": error(404, "model_not_found"),
    "hang": hang(),
    "drip": drip(),
    "reset": reset(),
    "midreset": reset(head(length=1_000) + b'{"choices"'),
    "trunc": raw(head(length=len(_GOOD) + 100) + _GOOD),
    "big": answer(b" " * 10_000_000),
    "endless": endless(),
    "gzipbomb": answer(_BOMB, 200, "Content-Encoding: gzip"),
    "html": answer(b"<html>Welcome</html>", kind="text/html"),
    "redirect": answer(b"", 302, "Location: http://127.0.0.1:1/v1/chat/completions"),
    "empty": answer(reply(text="")),
    "length": answer(reply(("create_post", '{"body":"hel'), finish="length")),
}


@asynccontextmanager
async def serving(*faults: Fault, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[FaultLLM]:
    server = FaultLLM(list(faults), tls=tls)
    await server.start(port)
    try:
        yield server
    finally:
        await server.stop()


async def _main(given: argparse.Namespace) -> None:
    from tests import fault_llm, fault_plan  # they import this module, which is another one when run by hand

    async with fault_llm.serving(port=given.port) as server:
        if given.plan is None:
            print(f"http://127.0.0.1:{server.port}/NAME/v1, NAME one of: {', '.join(fault_llm.NAMED)}")  # noqa: T201 - a tool
        else:
            latency, faults = given.latency / 1_000, tuple(given.faults)
            server.play(fault_plan.Plan(given.plan, given.seed, given.rate, latency, given.patience, faults))
            print(f"{server.url} answers as {given.plan}, seed {given.seed}")  # noqa: T201 - a tool
        await asyncio.Event().wait()


def _arguments() -> argparse.Namespace:
    from tests import fault_plan

    parser = argparse.ArgumentParser(description="A language model's endpoint that misbehaves to order.")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--plan", choices=fault_plan.PERSONALITIES, help="answer as this personality")
    parser.add_argument("--seed", type=int, default=0, help="of the plan: the same seed, the same faults")
    parser.add_argument("--rate", type=float, default=0.3, help="share of the calls that meet a fault (chaos)")
    parser.add_argument("--faults", nargs="+", default=fault_plan.CHAOS, help="which faults (chaos)")
    parser.add_argument("--latency", type=float, default=0, help="milliseconds before an answer")
    parser.add_argument("--patience", type=float, default=60, help="seconds a hang lasts")
    return parser.parse_args()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_main(_arguments()))
