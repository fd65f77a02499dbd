"""A bounded load: so many requests, so many at once, each timed. HTTP over raw keep-alive connections, or SQL."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence

import asyncpg
import msgspec

from app.db.engine import WEB_TIMEOUTS

LENGTH = re.compile(rb"\r\ncontent-length: *(\d{1,9})\r\n", re.IGNORECASE)
OK = b"HTTP/1.1 200 "
SECONDS = 30.0
"""The longest that one request may take."""


class Timing(msgspec.Struct):
    """Times in milliseconds; `each` is one request's, without the wait for its turn."""

    requests: int
    a_second: float
    p50_ms: float
    p99_ms: float
    errors: int = 0


def timing(times: list[float], seconds: float, errors: int = 0) -> Timing:
    ordered = sorted(times)
    p50, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1000 for part in (0.5, 0.99))
    return Timing(len(times), len(times) / seconds, p50, p99, errors)


async def spread(jobs: Sequence[Callable[[int], Awaitable[bool]]], requests: int) -> Timing:
    """Requests 0 to `requests`, handed to the workers as they become free."""
    left = iter(range(requests))
    times: list[float] = []
    errors = 0

    async def work(job: Callable[[int], Awaitable[bool]]) -> None:
        nonlocal errors
        for n in left:
            began = time.perf_counter()
            fine = await asyncio.wait_for(job(n), SECONDS)
            times.append(time.perf_counter() - began)
            errors += not fine

    began = time.perf_counter()
    await asyncio.gather(*map(work, jobs))
    return timing(times, time.perf_counter() - began, errors)


class Connection:
    """One keep-alive connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, accept: str) -> None:
        self.reader = reader
        self.writer = writer
        self.accept = accept

    async def get(self, path: str) -> bool:
        """Whether the answer was 200; its body is read to the end."""
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {self.accept}\r\n\r\n".encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = LENGTH.search(head)
        await self.reader.readexactly(int(length[1]) if length else 0)
        return head.startswith(OK)


async def over_http(
    port: int, paths: Sequence[str], requests: int, concurrency: int, accept: str = "application/json"
) -> Timing:
    """GET these paths in turn."""
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(concurrency)]
    try:
        jobs = [_getting(Connection(*pair, accept), paths) for pair in opened]
        return await spread(jobs, requests)
    finally:
        for _, writer in opened:
            writer.close()


def _getting(connection: Connection, paths: Sequence[str]) -> Callable[[int], Awaitable[bool]]:
    return lambda n: connection.get(paths[n % len(paths)])


async def over_sql(
    url: str, query: str, arguments: Sequence[tuple[object, ...]], requests: int, at_once: int
) -> Timing:
    """Fetch the same query with these arguments in turn, on connections that are set as the program's."""
    connections = [await asyncpg.connect(url, server_settings=WEB_TIMEOUTS) for _ in range(at_once)]
    try:
        return await spread([_fetching(c, query, arguments) for c in connections], requests)
    finally:
        for connection in connections:
            await connection.close()


def _fetching(
    connection: asyncpg.Connection, query: str, arguments: Sequence[tuple[object, ...]]
) -> Callable[[int], Awaitable[bool]]:
    async def job(n: int) -> bool:
        return bool(await connection.fetch(query, *arguments[n % len(arguments)]))

    return job
