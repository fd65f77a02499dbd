"""What rooms tell, handed to whoever listens in this process: one look at the database for all rooms."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import asyncpg
import structlog

from app.db.engine import TROUBLE, Database
from app.db.notify import Bell, Listener
from app.world import rooms
from app.world.rooms import CHANNEL

POLL_SECONDS = 1.0
Heard = Callable[[list[asyncpg.Record]], None]
"""Called with a room's next events, in order; it must not wait."""

log = structlog.get_logger()


class Listening:
    """One listener of a room: it has heard all events up to `position`."""

    def __init__(self, room_id: int, position: int, heard: Heard) -> None:
        self.room_id = room_id
        self.position = position
        self.heard = heard

    def offer(self, events: list[asyncpg.Record]) -> None:
        new = [event for event in events if event["position"] > self.position]
        if new and new[0]["position"] == self.position + 1:
            self.position = new[-1]["position"]
            self.heard(new)


class Relay:
    """Follows the rooms that somebody in this process listens to."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._bell = Bell(database, CHANNEL, pace=0.02)
        self._listener = Listener(database.url, CHANNEL, self.look)
        self._rooms: dict[int, set[Listening]] = {}
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Relay":
        await self._bell.__aenter__()
        await self._listener.__aenter__()
        self._task = asyncio.create_task(self._run(), name="rooms-relay")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._listener.__aexit__(None, None, None)
        await self._bell.__aexit__()

    def look(self) -> None:
        """Look for news at once."""
        self._woken.set()

    def tell(self) -> None:
        """A room has news: here and in all other processes they are looked for."""
        self._woken.set()
        self._bell.ring()

    @contextmanager
    def listening(self, room_id: int, position: int, heard: Heard) -> Iterator[Listening]:
        """While the block lasts, `heard` gets the room's events behind `position`."""
        listening = Listening(room_id, position, heard)
        self._rooms.setdefault(room_id, set()).add(listening)
        self._woken.set()
        try:
            yield listening
        finally:
            self._rooms[room_id].discard(listening)
            if not self._rooms[room_id]:
                del self._rooms[room_id]

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()
            try:
                await self._look()
            except TROUBLE as error:
                log.debug("rooms are not heard", error=type(error).__name__)
                await asyncio.sleep(POLL_SECONDS / 4)
            except Exception:
                log.exception("the relay failed")

    async def _look(self) -> None:
        known = {room: min(one.position for one in all_) for room, all_ in self._rooms.items()}
        if not known:
            return
        events: dict[int, list[asyncpg.Record]] = {}
        for row in await rooms.news(self._database, known):
            events.setdefault(row["room_id"], []).append(row)
        for room_id, new in events.items():
            for listening in list(self._rooms.get(room_id, ())):
                listening.offer(new)
            if len(new) == rooms.NEWS_MOST:
                self._woken.set()
