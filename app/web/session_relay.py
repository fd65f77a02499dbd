"""Sessions as they go on, for whoever watches one: new lines and states, told by one listener a process."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import asyncpg
import structlog
from starlette.requests import Request

from app.db.engine import TROUBLE, Database
from app.db.notify import Listener
from app.errors import Unavailable
from app.web.live import END, HEARTBEAT_SECONDS, RETRY, STILL_HERE, LiveStream
from app.world import sessions
from app.world.sessions import CHANNEL, Line

WATCHERS_MAX = 200
LINES_MOST = 200
"""Lines that are told at once."""

LOOK_SECONDS = 2.0
"""After which is looked even if nothing was rung."""

PACE_SECONDS = 0.2
log = structlog.get_logger()


@dataclass(frozen=True)
class News:
    """A session with its run as it stands now, and the lines that are new."""

    row: asyncpg.Record
    lines: list[Line]

    @property
    def over(self) -> bool:
        return self.row["ended_at"] is not None

    @property
    def stands(self) -> tuple[object, ...]:
        """What is told anew when it changes."""
        return tuple(self.row[name] for name in ("state", "reason", "asks_count", "ended_at"))


@dataclass
class SessionRelay:
    """Wakes all who watch sessions. It listens while anybody does, so that idle servers hold no connection for it."""

    database: Database
    watchers: set[asyncio.Event] = field(default_factory=set)
    _listener: Listener | None = None

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever some session has changed.

        Raises:
            Unavailable: as many watch already as may.
        """
        self.check_room()
        woken = asyncio.Event()
        self.watchers.add(woken)
        if self._listener is None:
            self._listener = await Listener(self.database.url, CHANNEL, self._ring).__aenter__()
        try:
            yield woken
        finally:
            self.watchers.discard(woken)
            if not self.watchers and (listener := self._listener) is not None:
                self._listener = None
                await listener.__aexit__(None, None, None)

    def check_room(self) -> None:
        """
        Raises:
            Unavailable: as many watch already as may.
        """
        if len(self.watchers) >= WATCHERS_MAX:
            raise Unavailable("too many watch sessions already; reload the page instead", headers={"Retry-After": "10"})

    def _ring(self) -> None:
        for woken in self.watchers:
            woken.set()

    async def follow(self, session_id: int, after: int, closed: asyncio.Event) -> AsyncGenerator[News | None, None]:
        """What is new of a session behind line `after`, until it ends or `closed`; None now and then, as a heartbeat.

        The first is told at once, whether or not there are lines; nothing is told twice, nothing left out.
        """
        async with self.watching() as woken:
            stood: tuple[object, ...] | None = None
            told = time.monotonic()
            while not closed.is_set():
                woken.clear()
                news = await self._look(session_id, after)
                if news is not None and (news.lines or news.stands != stood):
                    after, stood, told = (news.lines[-1].number if news.lines else after), news.stands, time.monotonic()
                    yield news
                if news is not None and len(news.lines) == LINES_MOST:
                    continue
                if news is not None and news.over:
                    return
                if time.monotonic() - told > HEARTBEAT_SECONDS:
                    told = time.monotonic()
                    yield None
                await _first(LOOK_SECONDS, woken, closed)
                await _first(PACE_SECONDS, closed)

    async def _look(self, session_id: int, after: int) -> News | None:
        """The row is read first: once it is at its end, the lines that are read then are all."""
        try:
            row = await sessions.by_id(self.database, session_id)
            return News(row, await sessions.lines(self.database, session_id, after=after, most=LINES_MOST))
        except TROUBLE as error:
            log.debug("a watched session waits for the database", error=type(error).__name__)
            return None


async def _first(seconds: float, *events: asyncio.Event) -> None:
    """Wait until one of the events is set, and no longer than so."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()


def session_relay_of(request: Request) -> SessionRelay:
    """The process's one."""
    state = request.app.state
    if not hasattr(state, "session_relay"):
        state.session_relay = SessionRelay(state.house.database)
    found = state.session_relay
    assert isinstance(found, SessionRelay)  # noqa: S101 - nobody else writes it
    return found


Told = Callable[[News], Awaitable[bytes]]


class SessionStream(LiveStream):
    """A session as server-sent events, until it ends, or `allowed` says no."""

    def __init__(
        self, relay: SessionRelay, session_id: int, after: int, told: Told, allowed: Callable[[], Awaitable[bool]]
    ) -> None:
        super().__init__()
        self._relay = relay
        self._session_id = session_id
        self._after = after
        self._told = told
        self._allowed = allowed

    async def events(self, closed: asyncio.Event) -> AsyncIterator[bytes]:
        yield RETRY
        over = False
        with suppress(Unavailable):
            async for news in self._relay.follow(self._session_id, self._after, closed):
                if news is None:
                    if not await self._allowed():
                        return
                    yield STILL_HERE
                    continue
                yield await self._told(news)
                over = news.over
        if over and not closed.is_set():
            yield END
