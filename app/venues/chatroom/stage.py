"""This process's rooms: takes those nobody drives, keeps their leases, and gives them back when it stops."""

import asyncio
from weakref import WeakValueDictionary

import structlog

from app.agent.turn import Mind
from app.db.engine import TROUBLE
from app.settings import Settings
from app.venues.chatroom.driver import Driver
from app.venues.chatroom.relay import Relay
from app.venues.tending import tend
from app.venues.worker import Worker
from app.world.rooms import ROOMS

LEASE_SECONDS = 5.0
LOOK_SECONDS = 0.5
ROOMS_MOST = 500
log = structlog.get_logger()


class Stage:
    """Drives rooms until `stop`."""

    def __init__(self, mind: Mind, settings: Settings, relay: Relay, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._mind = mind
        self._settings = settings
        self._relay = relay
        self._lease_seconds = lease_seconds
        self._worker = Worker(mind, at_once=settings.max_concurrent_turns, lease_seconds=lease_seconds)
        self._held: dict[int, tuple[Driver, asyncio.Task[None]]] = {}
        self._slots: WeakValueDictionary[int, asyncio.Semaphore] = WeakValueDictionary()
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    async def __aenter__(self) -> "Stage":
        await self._worker.__aenter__()
        self._task = asyncio.create_task(
            tend(self._look, self._stopping, seconds=LOOK_SECONDS, what="rooms"), name="stage"
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def driven(self) -> frozenset[int]:
        """The rooms that are driven here."""
        return frozenset(self._held)

    async def stop(self) -> None:
        """Take nothing more, free the rooms for others at once, and finish the calls under way or give them back."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        self._worker.draining = True
        held = dict(self._held)
        for driver, _ in held.values():
            driver.stop()
        await asyncio.gather(*(task for _, task in held.values()), return_exceptions=True)
        if held:
            try:
                epochs = [driver.epoch for driver, _ in held.values()]
                await self._mind.database.fetch(ROOMS["free_rooms"], list(held), epochs)
            except TROUBLE as error:
                log.debug("rooms are left to their leases", error=type(error).__name__)
        await self._worker.drain()
        await self._worker.__aexit__()

    async def _look(self) -> None:
        await self._keep()
        await self._take()

    async def _keep(self) -> None:
        if not self._held:
            return
        epochs = [driver.epoch for driver, _ in self._held.values()]
        rows = await self._mind.database.fetch(ROOMS["keep_rooms"], list(self._held), epochs, self._lease_seconds)
        kept = {row["id"] for row in rows}
        for room_id, (driver, _) in list(self._held.items()):
            if room_id not in kept:
                driver.stop()

    async def _take(self) -> None:
        free = ROOMS_MOST - len(self._held)
        if free <= 0:
            return
        database = self._mind.database
        for row in await database.fetch(ROOMS["claim_rooms"], self._lease_seconds, min(free, 50), list(self._held)):
            self._begin(row["id"], row["epoch"], row["study_id"] or 0, row["at_once"])

    def _begin(self, room_id: int, epoch: int, study_id: int, at_once: int) -> None:
        slots = self._slots.get(study_id)
        if slots is None:
            slots = self._slots[study_id] = asyncio.Semaphore(at_once)
        driver = Driver(self._mind, self._settings, self._worker, self._relay, room_id, epoch, slots)

        async def drive() -> None:
            try:
                await driver.drive()
            except TROUBLE as error:
                log.debug("a room is given up", room=room_id, error=type(error).__name__)
            except Exception:
                log.exception("a room's driver failed", room=room_id)
                await asyncio.sleep(LOOK_SECONDS)
            finally:
                self._held.pop(room_id, None)

        self._held[room_id] = (driver, asyncio.create_task(drive(), name=f"room-{room_id}"))
