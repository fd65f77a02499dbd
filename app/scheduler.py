"""APScheduler decides only when a cycle begins; rows decide who plays it."""

import asyncio
from datetime import UTC, datetime

import asyncpg
import structlog
from apscheduler.events import EVENT_JOB_MAX_INSTANCES, JobSubmissionEvent
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from app.agent.turn import Mind
from app.db.queries import load
from app.errors import AppError
from app.settings import Settings
from app.venues.feed import VENUE, open_cycle, play_cycle
from app.venues.run import TURNS

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
"""Every replica ticks at the same moments: whole intervals since this one."""

INSTANCE = load("instance")
JOB = "cycle"
LOOK_SECONDS = 5.0
log = structlog.get_logger()


class Scheduler:
    """Ticks every interval; each tick opens its slot's cycle, or joins the replica that has, and plays it."""

    def __init__(self, mind: Mind, settings: Settings) -> None:
        self._mind = mind
        self._settings = settings
        self._apscheduler = AsyncIOScheduler(timezone=UTC)
        self._apscheduler.add_listener(self._skipped, EVENT_JOB_MAX_INSTANCES)
        self._interval = 0.0
        self._playing = asyncio.Lock()
        self._background: list[asyncio.Task[None]] = []
        self.skipped = 0

    async def start(self) -> None:
        """Begin to tick, and go on with what an earlier process left unfinished."""
        self._set(await stored_interval(self._mind, self._settings))
        self._apscheduler.start()
        self._background = [
            asyncio.create_task(self._resume(), name="resume"),
            asyncio.create_task(self._follow_interval(), name="interval"),
        ]

    async def stop(self) -> None:
        """Stop ticking; turns under way are given back."""
        self._apscheduler.shutdown(wait=False)
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    @property
    def next_tick(self) -> datetime | None:
        job = self._apscheduler.get_job(JOB) if self._apscheduler.running else None
        return job.next_run_time if job is not None else None

    async def set_interval(self, minutes: float) -> None:
        """Keep a new interval and tick by it from now on; other replicas follow within seconds."""
        await self._mind.database.fetchval(INSTANCE["set_interval"], minutes)
        self._set(minutes)

    def _set(self, minutes: float) -> None:
        if minutes == self._interval:
            return
        self._interval = minutes
        seconds = minutes * 60
        self._apscheduler.add_job(
            self._tick,
            IntervalTrigger(seconds=seconds, start_date=EPOCH, timezone=UTC),
            id=JOB,
            max_instances=1,
            coalesce=True,
            misfire_grace_time=max(1, int(seconds)),
            replace_existing=True,
        )

    def _skipped(self, _: JobSubmissionEvent) -> None:
        self.skipped += 1
        log.warning("tick skipped: the last cycle still runs", skipped=self.skipped)

    async def _tick(self) -> None:
        """The job boundary."""
        try:
            slot = await self._slot()
            run_id = await open_cycle(self._mind, self._settings, slot=slot)
            if run_id is None:
                run_id = await self._mind.database.fetchval(INSTANCE["run_of_slot"], slot)
            if isinstance(run_id, int):
                await self._play(run_id)
        except Exception:
            log.exception("cycle failed")

    async def _slot(self) -> str:
        """The same for all replicas at one tick: which interval, by the database's clock, this is."""
        tick = await self._mind.database.fetchval(INSTANCE["tick"], EPOCH, self._interval * 60)
        return f"{VENUE}/{self._interval:g}/{tick}"

    async def _play(self, run_id: int) -> None:
        async with self._playing:
            state = await play_cycle(self._mind, self._settings, run_id)
            log.info("cycle ended", run=run_id, state=state)

    async def _resume(self) -> None:
        try:
            for row in await self._mind.database.fetch(TURNS["unfinished"], VENUE):
                log.info("going on with an unfinished cycle", run=row["id"])
                await self._play(row["id"])
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, AppError):
            log.exception("could not go on with unfinished cycles")

    async def _follow_interval(self) -> None:
        """Another replica's admin may have changed it."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                self._set(await stored_interval(self._mind, self._settings))
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, AppError):
                log.warning("interval not read; the last one stays")


async def stored_interval(mind: Mind, settings: Settings) -> float:
    """Minutes between ticks: what an admin has set, else the setting."""
    stored = await mind.database.fetchval(INSTANCE["interval"])
    return float(stored) if isinstance(stored, float) else settings.scheduler_job_interval
