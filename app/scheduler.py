"""APScheduler decides only when a cycle begins; rows decide who plays it, and the crew plays."""

import asyncio
from datetime import UTC, datetime, timedelta

import structlog
from apscheduler.events import EVENT_JOB_MAX_INSTANCES, JobSubmissionEvent
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from app.agent.turn import Mind
from app.db.engine import TROUBLE
from app.db.queries import load
from app.errors import AppError
from app.llm.gateway import endpoint
from app.llm.pricing import OFFLINE
from app.settings import Settings
from app.venues.chatroom.withdrawal import purge_due
from app.venues.estimate import keep_estimate
from app.venues.feed import VENUE, open_cycle
from app.venues.run import TURNS, begin_run

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
"""Every replica ticks at the same moments: whole intervals since this one."""

INSTANCE = load("instance")
JOB = "cycle"
CYCLES = f"{VENUE}/%"
LOOK_SECONDS = 5.0
PURGE_WAIT = timedelta(minutes=1)
"""After the start, until studies whose retention is over are purged; then once a day."""

log = structlog.get_logger()


class Scheduler:
    """Ticks every interval; each tick opens its slot's cycle, unless an earlier one is still under way."""

    def __init__(self, mind: Mind, settings: Settings) -> None:
        self._mind = mind
        self._settings = settings
        self._apscheduler = AsyncIOScheduler(timezone=UTC)
        self._apscheduler.add_listener(self._late, EVENT_JOB_MAX_INSTANCES)
        self._interval = 0.0
        self._following: asyncio.Task[None] | None = None
        self.skipped = 0

    async def start(self) -> None:
        """Begin to tick."""
        self._set(await stored_interval(self._mind, self._settings))
        self._apscheduler.start()
        self._apscheduler.add_job(
            self._purge,
            IntervalTrigger(days=1, timezone=UTC),
            next_run_time=datetime.now(UTC) + PURGE_WAIT,
            coalesce=True,
        )
        self._following = asyncio.create_task(self._follow_interval(), name="interval")

    async def stop(self) -> None:
        """Stop ticking."""
        self._apscheduler.shutdown(wait=False)
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)

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

    def _late(self, _: JobSubmissionEvent) -> None:
        self._skip("the last tick is still being dealt with")

    def _skip(self, why: str) -> None:
        self.skipped += 1
        log.warning("tick skipped", why=why, skipped=self.skipped)

    async def _tick(self) -> None:
        """The job boundary."""
        try:
            await self._open()
        except Exception:
            log.exception("tick failed")

    async def _purge(self) -> None:
        """The job boundary. Several replicas may do it at once: whoever comes second finds nothing left."""
        try:
            for study in await purge_due(self._mind.database):
                log.info("study purged: its retention is over", study=study)
        except Exception:
            log.exception("purge failed")

    async def _open(self) -> None:
        slot = await self._slot()
        if self._mind.pulse.halted:
            return self._skip("everything is halted")
        if (why := self._refused()) is not None:
            return self._skip(why)
        before = await self._mind.database.fetch(TURNS["under_way"], VENUE, CYCLES)
        waits = bool(before)
        if before and (self._settings.scheduler_overrun == "skip" or before[-1]["state"] == "queued"):
            if await self._mind.database.fetchval(INSTANCE["run_of_slot"], slot) is None:
                self._skip("the last cycle still runs")
            return None
        run_id = await open_cycle(self._mind, self._settings, slot=slot, waits=waits)
        if run_id is not None:
            log.info("cycle opened", run=run_id, waits=waits)
            await keep_estimate(self._mind.database, self._settings, run_id, self._settings.simfeed_model)
        return None

    def _refused(self) -> str | None:
        """Why the provider of the personas' model would not answer."""
        if self._settings.simfeed_model in OFFLINE:
            return None
        where = endpoint(self._settings, self._settings.simfeed_model)
        pulse, name = self._mind.pulse, f"{where.provider}/{where.name}"
        block = pulse.block_of(where.provider, where.key) or pulse.block_of(name, where.key)
        return f"{block.detail}: mend it, then `simfeed runs resume`" if block is not None else None

    async def _slot(self) -> str:
        """The same for all replicas at one tick: which interval, by the database's clock, this is."""
        tick = await self._mind.database.fetchval(INSTANCE["tick"], EPOCH, self._interval * 60)
        return f"{VENUE}/{self._interval:g}/{tick}"

    async def _follow_interval(self) -> None:
        """Another replica's admin may have changed it; and a cycle that waits begins when its turn has come."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                self._set(await stored_interval(self._mind, self._settings))
                await self._begin_next()
            except (*TROUBLE, AppError):
                log.warning("interval not read; the last one stays")

    async def _begin_next(self) -> None:
        found = await self._mind.database.fetch(TURNS["under_way"], VENUE, CYCLES)
        if found and found[0]["state"] == "queued":
            await begin_run(self._mind.database, found[0]["id"])


async def stored_interval(mind: Mind, settings: Settings) -> float:
    """Minutes between ticks: what an admin has set, else the setting."""
    stored = await mind.database.fetchval(INSTANCE["interval"])
    return float(stored) if isinstance(stored, float) else settings.scheduler_job_interval
