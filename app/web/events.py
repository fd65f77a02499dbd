"""Events as they happen: one relay a process reads them once, encodes them once, and hands the bytes to all who listen.

A listener costs nothing at the database while it is up to date. One that is behind is read its pages from there.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
import structlog
from fastapi import Depends, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.db.engine import TROUBLE, Database
from app.db.notify import Listener
from app.errors import Unavailable
from app.settings import KEPT, KEPT_DAYS
from app.web.api.feed import comment_out, post_out
from app.web.server import LINE, Line
from app.world import events
from app.world.events import CHANNEL, Follower, Kind

CLIENTS_MAX = 500
HEARTBEAT_SECONDS = 15.0
POLL_SECONDS = 1.0
PACE_SECONDS = 0.05
"""Between two looks: what is committed meanwhile is told together, and a missing event is looked for as often."""

QUEUE_BYTES = 256 * 1024
"""What may wait for one listener; bytes are shared by all for whom they wait."""

BLOCKED_SECONDS = 30.0
"""How long a listener may take nothing at all."""

PRUNE_SECONDS = 60.0
CATCHING_UP = 4
"""Listeners that are read pages at once, so that connections remain for everybody else."""

RETRY_MS = 2_000
log = structlog.get_logger()


@dataclass(frozen=True)
class Told:
    """An event as it is sent."""

    id: int
    kind: Kind
    sent: bytes


@dataclass(eq=False)
class Client:
    """One listener. What waits for it is bounded: one that takes it too slowly is let go, and may come back."""

    kinds: frozenset[Kind]
    cut: Callable[[], None] = lambda: None
    position: int = -1
    """The event up to which all has been sent or waits here; -1: not known yet."""

    live: bool = False
    closed: bool = False
    slow: bool = False
    last_at: float = field(default_factory=time.monotonic)
    sending_since: float | None = None
    _waiting: deque[bytes] = field(default_factory=deque)
    _size: int = 0
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, sent: bytes) -> None:
        """Let it be sent, or let go of a listener for whom too much waits."""
        if self.closed:
            return
        if self._size + len(sent) > QUEUE_BYTES and self._waiting:
            self.drop()
            return
        self._waiting.append(sent)
        self._size += len(sent)
        self._woken.set()

    def close(self) -> None:
        """No more is sent."""
        self.closed = True
        self._waiting.clear()
        self._size = 0
        self._woken.set()

    def drop(self) -> None:
        """Close it, and the connection, on which something may be stuck."""
        self.slow = True
        self.close()
        self.cut()

    def taken(self) -> bytes:
        """All that waits."""
        sent = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
        self._waiting.clear()
        self._size = 0
        return sent

    async def take(self) -> bytes:
        """All that waits, as soon as anything does; nothing once it is closed."""
        while not self._waiting and not self.closed:
            self._woken.clear()
            await self._woken.wait()
        return self.taken()


class Relay:
    """Follows the events of one world for all listeners of this process. `async with` it."""

    def __init__(
        self,
        database: Database,
        *,
        most: int = CLIENTS_MAX,
        heartbeat: float = HEARTBEAT_SECONDS,
        poll: float = POLL_SECONDS,
        blocked: float = BLOCKED_SECONDS,
        listens: bool = True,
        keep: int = KEPT,
        days: int = KEPT_DAYS,
    ) -> None:
        self.clients: set[Client] = set()
        self.dropped = 0
        self.most = most
        self._database = database
        self._heartbeat = heartbeat
        self._poll = poll
        self._blocked = blocked
        self._keep = keep
        self._days = days
        self._follower = Follower(database)
        self._rung = asyncio.Event()
        self._begun = asyncio.Event()
        self._pages = asyncio.Semaphore(CATCHING_UP)
        self._listener = Listener(database.url, CHANNEL, self._rung.set) if listens else None
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False

    async def __aenter__(self) -> "Relay":
        if self._listener is not None:
            await self._listener.__aenter__()
        self._tasks = [
            asyncio.create_task(self._follow(), name="events"),
            asyncio.create_task(self._tend(), name="event-clients"),
            asyncio.create_task(self._prune(), name="event-prune"),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        for client in list(self.clients):
            client.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._listener is not None:
            await self._listener.__aexit__(None, None, None)

    @property
    def head(self) -> int | None:
        """The event up to which all have been told; None before that is known."""
        return self._follower.head

    def check_room(self) -> None:
        """
        Raises:
            Unavailable: as many listen already as may.
        """
        if len(self.clients) >= self.most or self._closed:
            raise Unavailable("too many listen already; try again later", headers={"Retry-After": "10"})

    def join(self, client: Client) -> None:
        self.clients.add(client)
        if self._closed:
            client.close()

    def leave(self, client: Client) -> None:
        self.clients.discard(client)
        self.dropped += client.slow

    async def sent_to(self, client: Client, last: int | None) -> AsyncIterator[bytes]:
        """What a listener is sent, from behind the event `last` on or else from now on, until it is closed."""
        yield b"retry: %d\n\n" % RETRY_MS
        while not client.closed and not self._begun.is_set():
            await _until(self._begun, self._poll)
            yield client.taken()
        if last is not None:
            async for page in self._since(client, last):
                yield page
        elif not client.closed:
            yield _here(self._go_live(client))
        while sent := await client.take():
            yield sent

    def _go_live(self, client: Client) -> int:
        """From here on the listener is handed what the relay reads. Nothing may be awaited between this and a look
        at the head."""
        assert self.head is not None  # noqa: S101 - the caller has waited for it
        client.position = max(client.position, self.head)
        client.live = True
        return client.position

    async def _since(self, client: Client, last: int) -> AsyncIterator[bytes]:
        """Pages from behind `last` up to the head, and then live."""
        known: events.Bounds | None = None
        while not client.closed:
            try:
                known = known or await events.bounds(self._database)
                if last > known.newest or last + 1 < known.oldest:
                    head = self._go_live(client)
                    yield encode("reset", head, {"head": head})
                    return
                client.position = max(client.position, last)
                if client.position >= (self.head or 0):
                    self._go_live(client)
                    return
                yield await self._page(client)
            except TROUBLE as error:
                log.debug("a listener waits", error=type(error).__name__)
                await asyncio.sleep(self._poll)
                yield client.taken()

    async def _page(self, client: Client) -> bytes:
        """The next page, and the position moved behind it. What lies beyond the head is left to the relay."""
        async with self._pages:
            head = self.head or 0
            rows = await events.after(self._database, client.position)
            mine = [row for row in rows if row["id"] <= head]
            sent = await self._encoded([row for row in mine if row["kind"] in client.kinds])
        client.position = mine[-1]["id"] if mine and len(mine) == len(rows) == events.PAGE else head
        return b"".join(one.sent for one in sent)

    async def _encoded(self, rows: Iterable[events.Row]) -> list[Told]:
        rows = list(rows)
        found = await events.objects(self._database, rows) if rows else {}
        return [
            Told(row["id"], row["kind"], encode(row["kind"], row["id"], _data(row["kind"], found[row["id"]])))
            for row in rows
            if row["id"] in found
        ]

    async def _follow(self) -> None:
        """Read what happens when the bell rings, and at least once a poll, through any absence of the database."""
        lost = False
        while True:
            self._rung.clear()
            more = False
            try:
                more = await self._look()
                if lost:
                    log.info("events flow again")
                lost = False
            except TROUBLE as error:
                if not lost:
                    log.warning("events wait for the database", error=type(error).__name__)
                lost = True
            except Exception:
                log.exception("events failed")
                await asyncio.sleep(self._poll)
            if not more:
                await asyncio.sleep(PACE_SECONDS)
                if lost or not (self._follower.waits or self.head is None):
                    await _until(self._rung, self._poll)

    async def _look(self) -> bool:
        """Tell what is new; whether there may be more at once."""
        if self.head is None:
            if await self._follower.begin():
                self._begun.set()
            return False
        rows = await self._follower.next()
        if not rows:
            return False
        live = any(client.live for client in self.clients)
        told = await self._encoded(rows) if live else []
        self._tell(told, rows[-1]["id"])
        return len(rows) == events.PAGE

    def _tell(self, told: list[Told], head: int) -> None:
        """Hand each listener what is for it, and move the head: in one go, so that nobody comes live in between."""
        first = self.head
        joined: dict[tuple[frozenset[Kind], int], bytes] = {}
        for client in self.clients:
            if not client.live or client.position >= head:
                continue
            behind = max(client.position, first or 0)
            key = (client.kinds, behind)
            if key not in joined:
                joined[key] = b"".join(one.sent for one in told if one.id > behind and one.kind in client.kinds)
            client.position = head
            if joined[key]:
                client.offer(joined[key])
        self._follower.head = head

    async def _tend(self) -> None:
        """Heartbeats, each with the position, so that a listener of rare kinds comes back to where it was."""
        while True:
            await asyncio.sleep(min(self._poll, self._heartbeat / 2, self._blocked / 2))
            now = time.monotonic()
            for client in list(self.clients):
                if client.sending_since is not None and now - client.sending_since > self._blocked:
                    client.drop()
                elif client.sending_since is None and now - client.last_at >= self._heartbeat:
                    client.last_at = now
                    client.offer(b": still here\n" + (_here(client.position) if client.live else b"\n"))

    async def _prune(self) -> None:
        while True:
            try:
                await events.prune(self._database, keep=self._keep, days=self._days)
            except TROUBLE as error:
                log.debug("events not pruned", error=type(error).__name__)
            await asyncio.sleep(PRUNE_SECONDS)


async def _until(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def encode(kind: str, number: int, data: dict[str, Any]) -> bytes:
    """An event as it goes over the line."""
    return b"event: %b\nid: %d\ndata: %b\n\n" % (kind.encode(), number, msgspec.json.encode(data))


def _here(position: int) -> bytes:
    """An id without an event: a listener that comes back says it, and nothing is told of it."""
    return b"id: %d\n\n" % position


def _data(kind: Kind, row: events.Row) -> dict[str, Any]:
    if kind == "post":
        return post_out(row)
    if kind == "comment":
        return comment_out(row) | {"comments_count": row["comments_count"]}
    return {name: value for name, value in row.items() if name != "event_id"}


class EventStream(Response):
    """The answer that goes on until its reader leaves, is too slow, or the server ends."""

    media_type = "text/event-stream"

    def __init__(self, relay: Relay, kinds: frozenset[Kind], last: int | None, *, head_only: bool = False) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._relay = relay
        self._client = Client(kinds)
        self._last = last
        self._head_only = head_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        client = self._client
        line: Line = scope.get("extensions", {}).get(LINE) or Line()
        client.cut = line.cut
        line.on_shutdown.add(client.close)
        if self._head_only:
            client.close()
        else:
            self._relay.join(client)
        watching = asyncio.create_task(_watch(client, receive), name="event-reader")
        try:
            await send(start)
            if not client.closed:
                async for sent in self._relay.sent_to(client, self._last):
                    await _send(client, send, sent)
            if not client.slow:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            line.on_shutdown.discard(client.close)
            self._relay.leave(client)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


async def _send(client: Client, send: Send, sent: bytes) -> None:
    if not sent:
        return
    client.last_at = client.sending_since = time.monotonic()
    await send({"type": "http.response.body", "body": sent, "more_body": True})
    client.sending_since = None


async def _watch(client: Client, receive: Receive) -> None:
    """Learn that the reader has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
    client.close()


async def _relay(request: Request) -> Relay:
    # Not a plain function: FastAPI would send each request through a thread for it.
    found = request.app.state.relay
    assert isinstance(found, Relay)  # noqa: S101 - the lifespan has set it
    return found


TheRelay = Annotated[Relay, Depends(_relay)]
