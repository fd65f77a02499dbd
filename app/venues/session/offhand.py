"""Sessions in three lines of Python, without a server: opens the home world by itself, and waits for the end.

    from app import simulate
    block = simulate({"participants": {…}, "stimulus": {"content": "…"}})
    print(block["status"], block["extracted_results"])

Without DATABASE_URL that world is the embedded one in SIMFEED_HOME (`.simfeed`), which is made where there is none.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import structlog

from app import logs
from app.agent.population.sampling import Method
from app.agent.turn import Mind
from app.db import migrate
from app.db.engine import Database
from app.errors import Misconfigured
from app.settings import Settings, load_settings
from app.venues.run import open_mind
from app.venues.session import calls

T = TypeVar("T")


@asynccontextmanager
async def open_home(settings: Settings) -> AsyncIterator[Mind]:
    """All that sessions need, over the home world; closed again at the end of the block.

    Raises:
        Misconfigured: the schema of the database that DATABASE_URL names is not up to date.
    """
    with migrate.open_home_url(settings) as url:
        if (await migrate.status(url)).pending:
            if settings.database_url is not None:
                raise Misconfigured("the database is not up to date: run `simfeed db migrate` first")
            await migrate.upgrade(url)
        database = await Database.open(url, size=settings.database_pool_size)
        try:
            async with open_mind(settings, database) as mind:
                yield mind
        finally:
            await database.close()


def simulate(request: Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    """Run a focus group, survey or interview to its end, and return the answer block of `calls.simulate`.

    Args:
        settings: any setting by its name in lower case, before the environment: `simfeed_model="scripted"`.

    Raises:
        Invalid: the request has faults; its `errors` point at each.
        Misconfigured: the settings or the database are not as they must be.
    """

    async def work(mind: Mind, chosen: Settings) -> dict[str, Any]:
        return await calls.simulate(mind, chosen, request)

    return through(_at_home(work, settings))


def dialogue(request: Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    """Let personas or bare bots talk until they stop, and return the block of `calls.dialogue`; as `simulate`."""

    async def work(mind: Mind, chosen: Settings) -> dict[str, Any]:
        return await calls.dialogue(mind, chosen, request)

    return through(_at_home(work, settings))


def generate_population(
    demographics: Mapping[str, Any], *, size: int, seed: int = 0, method: Method = "quota"
) -> dict[str, Any]:
    """Draw people from demographics, as `calls.generate_population` does; this needs no world.

    Raises:
        Invalid: the demographics have faults, or `size` or `method` is none.
    """
    return through(calls.generate_population(demographics, size=size, seed=seed, method=method))


async def _at_home(work: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    chosen = load_settings(**given)
    if not structlog.is_configured():
        logs.configure("warning")
    async with open_home(chosen) as mind:
        found: dict[str, Any] = await work(mind, chosen)
        return found


def through(work: Coroutine[Any, Any, T]) -> T:
    """Run it to its end, also where an event loop runs already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as beside:
        return beside.submit(asyncio.run, work).result()
