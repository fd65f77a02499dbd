"""ASGI entry and composition root: settings, database, model, scheduler, web application."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import structlog
from fastapi import FastAPI

from app import logs
from app.actions.feed import ACTIONS
from app.agent.turn import Mind
from app.db import migrate
from app.db.engine import Database
from app.db.queries import load
from app.errors import Misconfigured
from app.experiments.runner import ExperimentStage
from app.metrics import Metrics
from app.scheduler import Scheduler
from app.settings import Settings, load_settings
from app.venues.chatroom import relay as rooms
from app.venues.chatroom.stage import Stage
from app.venues.crew import Crew
from app.venues.run import open_mind
from app.venues.session.stage import SessionStage
from app.web.app import build
from app.web.deps import House
from app.web.events import Relay
from app.web.packing import PLACE, Packing
from app.web.socket import Visits
from app.web.workshop import Workshop
from app.world import ranking
from app.world.clock import Watch

INSTANCE = load("instance")
SKEW_SECONDS = 5.0
log = structlog.get_logger()


def check_secrets(settings: Settings) -> None:
    """Refuse to serve without the secrets that tokens hang on.

    Raises:
        Misconfigured: SECRET_KEY is not set.
    """
    if not settings.secret_key.get_secret_value():
        raise Misconfigured(
            "SECRET_KEY is not set: `bin/up` generates one; or set it to "
            "`python3 -c 'import secrets; print(secrets.token_urlsafe(48))'`"
        )


async def check_clock(database: Database) -> None:
    """Warn when our clock and the database's differ: whatever expires does so by the database's."""
    row = await database.fetchrow(INSTANCE["ready"])
    off = (datetime.now(UTC) - row["now"]).total_seconds() if row is not None else 0.0
    if abs(off) > SKEW_SECONDS:
        log.warning("the clock differs from the database's", seconds=round(off, 1), mend="synchronise both (NTP)")


@asynccontextmanager
async def _ticking(scheduler: Scheduler, *, enabled: bool) -> AsyncIterator[None]:
    if enabled:
        await scheduler.start()
    try:
        yield
    finally:
        if enabled:
            await scheduler.stop()


@asynccontextmanager
async def _working(mind: Mind, settings: Settings, told: rooms.Relay, *, enabled: bool) -> AsyncIterator[None]:
    """Turns are played, rooms, sessions and experiments driven; all end together, so that none waits for another's."""
    if not enabled:
        yield
        return
    crew = await Crew(mind, settings).__aenter__()
    stage = await Stage(mind, settings, told).__aenter__()
    sessions = await SessionStage(mind, settings).__aenter__()
    experiments = await ExperimentStage(mind, settings).__aenter__()
    try:
        yield
    finally:
        await asyncio.gather(stage.stop(), sessions.stop(), experiments.stop(), crew.stop())


def create_app(settings: Settings | None = None) -> FastAPI:
    """The ASGI application: `uvicorn --factory app.main:create_app`."""
    chosen = settings or load_settings()
    check_secrets(chosen)
    ranking.check(chosen)
    logs.configure(chosen.log_level)
    metrics = Metrics(ACTIONS)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with migrate.open_home_url(chosen) as url:
            state = await migrate.status(url)
            if state.pending:
                raise Misconfigured(
                    f"the database lacks {len(state.pending)} migration(s): run `simfeed db migrate` first"
                )
            database = await Database.open(url, size=chosen.database_pool_size)
            try:
                await check_clock(database)
                async with open_mind(chosen, database, works=chosen.worker_enabled, metrics=metrics) as mind:
                    scheduler = Scheduler(mind, chosen)
                    ticking = _ticking(scheduler, enabled=chosen.scheduler_enabled)
                    metrics.watch_pool(database.pool.get_size, database.pool.get_idle_size)
                    relaying = Relay(database, keep=chosen.events_kept, days=chosen.events_days)
                    async with (
                        Watch(database) as watch,
                        rooms.Relay(database) as told,
                        _working(mind, chosen, told, enabled=chosen.worker_enabled),
                        ticking,
                        relaying as relay,
                        Workshop() as workshop,
                        Packing(database, chosen.simfeed_home / PLACE) as packing,
                        metrics.watching_loop(),
                    ):
                        app.state.house = House(chosen, database, mind, scheduler, watch)
                        app.state.relay = relay
                        app.state.workshop = workshop
                        app.state.packing = packing
                        app.state.rooms = told
                        app.state.visits = Visits()
                        metrics.watch_clients(lambda: len(relay.clients))
                        yield
            finally:
                await database.close()

    app = build(chosen, lifespan)
    app.state.metrics = metrics
    return app
