"""`simfeed worker`: plays turns that the scheduler or anybody else has opened."""

import asyncio
import signal
from typing import Annotated

import typer

from app import logs
from app.cli.common import Home, err, go, opened, settings_for
from app.llm.gateway import ready
from app.settings import Settings
from app.venues.crew import Crew
from app.venues.run import open_mind


def worker(
    at_once: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Turns at once (MAX_CONCURRENT_TURNS).")
    ] = None,
    home: Home = None,
) -> None:
    """\b
    Examples:
      simfeed worker                                     beside a server on this machine
      DATABASE_URL=postgresql://… simfeed worker         on any other machine
      simfeed worker --at-once 256

    Play turns until Ctrl-C or SIGTERM: the step under way is finished, the rest is left to others.
    """
    settings = settings_for(home, max_concurrent_turns=at_once)
    ready(settings, settings.simfeed_model)
    logs.configure(settings.log_level)
    go(_work(settings))


async def _work(settings: Settings) -> None:
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    for kind in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(kind, done.set)
    async with opened(settings) as database, open_mind(settings, database, works=True) as mind, Crew(mind, settings):
        err.print(f"Plays up to {settings.max_concurrent_turns} turns at once (Ctrl-C ends it).", markup=False)
        await done.wait()
        err.print("Finishing the steps under way …", markup=False)
