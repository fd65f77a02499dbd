"""Plays what is queued: inside the server, or as `simfeed worker` anywhere else."""

import asyncio
from collections.abc import Mapping

import structlog

from app.agent.turn import Mind
from app.settings import Settings
from app.venues import feed, reflection
from app.venues.dispatch import Batch, Dispatch, PgQueue
from app.venues.run import TURNS, hand_out
from app.venues.tending import tend
from app.venues.worker import DRAIN_SECONDS, Prepare, Venue, Worker

VENUES: Mapping[str, Venue] = {feed.VENUE: feed.prepare_run, reflection.VENUE: reflection.prepare_run}
SWEEP_SECONDS = 4.0
log = structlog.get_logger()


class Crew:
    """This process's share of the work, until `stop`."""

    def __init__(self, mind: Mind, settings: Settings) -> None:
        self._mind = mind
        self._settings = settings
        at_once = settings.max_concurrent_turns // settings.batch_turns + 1
        self._queue: Dispatch = PgQueue(mind.database, at_once=at_once)
        self._worker = Worker(mind, at_once=settings.max_concurrent_turns)
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()

    async def __aenter__(self) -> "Crew":
        await self._worker.__aenter__()
        if (metrics := self._mind.committer.metrics) is not None:
            metrics.watch_turns(lambda: self._worker.in_flight)
        self._tasks = [
            asyncio.create_task(self._queue.run_worker(self._play), name="queue"),
            asyncio.create_task(tend(self._look, self._stopping, seconds=SWEEP_SECONDS, what="runs"), name="sweep"),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Take nothing more, finish the steps under way within seconds or give them back, and end."""
        self._stopping.set()
        await self._queue.stop()
        await self._worker.drain()
        _, late = await asyncio.wait(self._tasks, timeout=DRAIN_SECONDS / 4)
        for task in late:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._worker.__aexit__()

    async def _play(self, batch: Batch) -> None:
        venue = VENUES.get(batch.venue)
        if venue is None:
            log.error("nobody plays this venue", venue=batch.venue, run=batch.run)
            return
        prepare = await venue(self._mind, self._settings, batch.run)
        if prepare is None:
            return
        run = await self._mind.database.fetchrow(TURNS["run"], batch.run)
        if run is not None and run["pacing"] == "rounds":
            await self._play_rounds(batch.run, run["turns_total"], prepare)
        else:
            await self._worker.play(batch.run, prepare, ordinals=(batch.first, batch.last))

    async def _play_rounds(self, run_id: int, turns: int, prepare: Prepare) -> None:
        playing = asyncio.create_task(feed.play_rounds(self._mind, run_id, turns, prepare))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({playing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            playing.cancel()
            stopping.cancel()
            await asyncio.gather(playing, stopping, return_exceptions=True)

    async def _look(self) -> None:
        """Queue what should be queued and isn't: after a crash, a restart, or a halt."""
        database = self._mind.database
        if self._mind.pulse.halted:
            return
        await database.fetch(TURNS["wake_halted"])
        if await self._queue.depth():
            return
        for row in await database.fetch(TURNS["unfinished"], list(VENUES)):
            await hand_out(database, row["id"])
