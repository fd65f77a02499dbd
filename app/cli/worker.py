"""`simfeed worker`: plays turns that the scheduler or anybody else has opened."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from app import logs
from app.cli.common import Home, err, go, opened, settings_for
from app.db.engine import Database
from app.llm.gateway import ready
from app.settings import Settings
from app.venues.crew import Crew
from app.venues.run import open_mind

if TYPE_CHECKING:
    from app.metrics import Metrics


def worker(
    at_once: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Turns at once (MAX_CONCURRENT_TURNS).")
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Tell metrics at /metrics on this port; 0: any free one.")
    ] = None,
    metrics_host: Annotated[
        str, typer.Option(help="Where to tell them; beyond this machine only with METRICS_TOKEN.")
    ] = "127.0.0.1",
    home: Home = None,
) -> None:
    """\b
    Examples:
      simfeed worker                                     beside a server on this machine
      DATABASE_URL=postgresql://… simfeed worker         on any other machine
      simfeed worker --at-once 256
      simfeed worker --metrics-port 9100                 for Prometheus on this machine

    Play turns until Ctrl-C or SIGTERM: the step under way is finished, the rest is left to others.
    """
    settings = settings_for(home, max_concurrent_turns=at_once)
    ready(settings, settings.simfeed_model)
    logs.configure(settings.log_level)
    go(_work(settings, None if metrics_port is None else (metrics_host, metrics_port)))


async def _work(settings: Settings, told_at: tuple[str, int] | None) -> None:
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    for kind in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(kind, done.set)
    async with (
        opened(settings) as database,
        _telling(settings, database, told_at) as metrics,
        open_mind(settings, database, works=True, metrics=metrics) as mind,
        Crew(mind, settings),
    ):
        err.print(f"Plays up to {settings.max_concurrent_turns} turns at once (Ctrl-C ends it).", markup=False)
        await done.wait()
        err.print("Finishing the steps under way …", markup=False)


@asynccontextmanager
async def _telling(
    settings: Settings, database: Database, told_at: tuple[str, int] | None
) -> AsyncIterator["Metrics | None"]:
    """What is counted from now on, and told there; None where nobody wants to know."""
    if told_at is None:
        yield None
        return
    from app.actions.feed import ACTIONS
    from app.metrics import Metrics
    from app.web import scrape

    metrics = Metrics(ACTIONS)
    metrics.watch_pool(database.pool.get_size, database.pool.get_idle_size)
    host, _ = told_at
    with scrape.listener(settings, *told_at) as on:
        async with metrics.watching_loop(), scrape.telling(settings, database, metrics, on):
            address = f"[{host}]" if ":" in host else host
            err.print(f"Metrics: http://{address}:{on.getsockname()[1]}/metrics", markup=False)
            yield metrics
