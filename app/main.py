"""ASGI entry and composition root: settings, database, model, scheduler, web application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app import logs
from app.agent.turn import Limits, Mind
from app.db import migrate
from app.db.engine import Database
from app.errors import Misconfigured
from app.ledger.commit import Committer
from app.llm.gateway import Gateway
from app.scheduler import Scheduler
from app.settings import Settings, load_settings
from app.venues.run import LEASE_SECONDS
from app.web.app import build
from app.web.deps import House


def limits(settings: Settings) -> Limits:
    """What one turn may take, from the settings."""
    return Limits(settings.max_actions, settings.max_calls_per_reply, settings.result_tokens, settings.model_max_tokens)


@asynccontextmanager
async def open_mind(settings: Settings, url: str) -> AsyncIterator[Mind]:
    """All that turns need, opened and closed again."""
    database = await Database.open(url, size=settings.database_pool_size)
    gateway = Gateway(settings)
    try:
        async with Committer(database, lease_seconds=LEASE_SECONDS) as committer:
            yield Mind(database, committer, gateway, limits(settings))
    finally:
        await gateway.aclose()
        await database.close()


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


def create_app(settings: Settings | None = None) -> FastAPI:
    """The ASGI application: `uvicorn --factory app.main:create_app`."""
    chosen = settings or load_settings()
    check_secrets(chosen)
    logs.configure(chosen.log_level)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with migrate.open_home_url(chosen) as url:
            state = await migrate.status(url)
            if state.pending:
                raise Misconfigured(
                    f"the database lacks {len(state.pending)} migration(s): run `simfeed db migrate` first"
                )
            async with open_mind(chosen, url) as mind:
                scheduler = Scheduler(mind, chosen)
                app.state.house = House(chosen, mind.database, mind, scheduler)
                if chosen.scheduler_enabled:
                    await scheduler.start()
                try:
                    yield
                finally:
                    if chosen.scheduler_enabled:
                        await scheduler.stop()

    return build(chosen, lifespan)
