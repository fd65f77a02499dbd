"""This process's sessions: takes those nobody drives, keeps their leases, and gives them back when it stops."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from app.agent.turn import Mind
from app.db.engine import TROUBLE, Database
from app.settings import Settings
from app.venues.session.driver import Driver, Told
from app.venues.session.scripts import script_of
from app.venues.tending import tend
from app.venues.worker import Worker
from app.world import sessions
from app.world.sessions import SESSIONS

LEASE_SECONDS = 5.0
LOOK_SECONDS = 0.5
SESSIONS_MOST = 100
log = structlog.get_logger()


@dataclass
class Held:
    """A session that is ours, in this epoch; its driver once it is there."""

    epoch: int
    task: asyncio.Task[None] | None = None
    driver: Driver | None = None
    lost: bool = False

    def stop(self) -> None:
        self.lost = True
        if self.driver is not None:
            self.driver.stop()


class SessionStage:
    """Drives sessions until `stop`. With `only` it takes no other than that one; `told` hears new lines."""

    def __init__(
        self,
        mind: Mind,
        settings: Settings,
        *,
        only: int | None = None,
        told: Told = lambda _: None,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._mind = mind
        self._settings = settings
        self._only = only
        self._told = told
        self._lease_seconds = lease_seconds
        self._worker = Worker(mind, at_once=settings.max_concurrent_turns, lease_seconds=lease_seconds)
        self._held: dict[int, Held] = {}
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    async def __aenter__(self) -> "SessionStage":
        await self._worker.__aenter__()
        self._task = asyncio.create_task(
            tend(self._look, self._stopping, seconds=LOOK_SECONDS, what="sessions"), name="sessions"
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Take nothing more, free the sessions for others at once, finish the calls under way or give them back."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        self._worker.draining = True
        held = dict(self._held)
        for one in held.values():
            one.stop()
        await asyncio.gather(*(one.task for one in held.values() if one.task), return_exceptions=True)
        await self._free(held)
        await self._worker.drain()
        await self._worker.__aexit__()

    @staticmethod
    async def over(database: Database, keys: Sequence[str]) -> None:
        """Wait until these sessions are at an end or stand still."""
        left = list(keys)
        while left:
            row = await sessions.found(database, left[0])
            if row["ended_at"] is not None or row["state"] != "running":
                left.pop(0)
            else:
                await asyncio.sleep(LOOK_SECONDS / 10)

    async def _free(self, held: dict[int, Held]) -> None:
        if held:
            try:
                await self._mind.database.fetch(SESSIONS["free"], list(held), [one.epoch for one in held.values()])
            except TROUBLE as error:
                log.debug("sessions are left to their leases", error=type(error).__name__)

    async def _look(self) -> None:
        await self._keep()
        await self._take()

    async def _keep(self) -> None:
        if not self._held:
            return
        epochs = [one.epoch for one in self._held.values()]
        rows = await self._mind.database.fetch(SESSIONS["keep"], list(self._held), epochs, self._lease_seconds)
        kept = {row["id"] for row in rows}
        for session_id, one in list(self._held.items()):
            if session_id not in kept:
                one.stop()

    async def _take(self) -> None:
        free = SESSIONS_MOST - len(self._held)
        if free <= 0 or self._mind.pulse.halted:
            return
        taken = [self._lease_seconds, min(free, 20), list(self._held), self._only]
        for row in await self._mind.database.fetch(SESSIONS["claim"], *taken):
            held = self._held[row["id"]] = Held(row["epoch"])
            held.task = asyncio.create_task(self._drive(row["id"], held), name=f"session-{row['id']}")

    async def _drive(self, session_id: int, held: Held) -> None:
        """Whatever goes wrong in one session ends that one as failed, and touches no other."""
        try:
            row = await sessions.by_id(self._mind.database, session_id)
            script = await script_of(self._mind.database, row)
            held.driver = Driver(self._mind, self._settings, self._worker, script, row, held.epoch, self._told)
            if not held.lost:
                await held.driver.drive()
        except TROUBLE as error:
            log.debug("a session is given up", session=session_id, error=type(error).__name__)
        except Exception as error:
            log.exception("a session failed", session=session_id)
            await self._fail(session_id, held.epoch, f"internal: {type(error).__name__}")
        await self._free({session_id: held})
        self._held.pop(session_id, None)

    async def _fail(self, session_id: int, epoch: int, reason: str) -> None:
        try:
            await self._mind.database.fetchrow(SESSIONS["end"], session_id, epoch, "{}", "failed", reason)
        except TROUBLE as error:
            log.debug("not ended yet", session=session_id, error=type(error).__name__)


async def play(mind: Mind, settings: Settings, session_id: int, *, told: Told = lambda _: None) -> str:
    """Drive one session in this process, unless another does, until it is at an end or stands still; its state."""
    async with SessionStage(mind, settings, only=session_id, told=told):
        while True:
            row = await sessions.by_id(mind.database, session_id)
            if row["ended_at"] is not None or row["state"] != "running":
                return str(row["state"])
            await asyncio.sleep(LOOK_SECONDS / 10)
