"""PostgreSQL crashed over and over while workers play: every acknowledged write must be there, once.

By hand: `python -m tests.restart_loop --turns 5000`. See `tests.kill_loop` for what counts as acknowledged.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import TypeVar

from app.db import migrate
from app.db.engine import TROUBLE, Database
from app.errors import AppError
from app.settings import load_settings
from app.venues.feed import open_cycle
from app.venues.run import open_mind
from tests.faults.own import OwnServer, own_server
from tests.kill_loop import Outcome, Told, Workers, count, endpoint, fill

T = TypeVar("T")
CALLS = "SELECT count(*) FROM calls"
RUNNING = "SELECT count(*) FROM runs WHERE state = 'running'"


@dataclass
class Crashes:
    """How often PostgreSQL was cut off, and the longest that it took from its return to the next committed step."""

    kill_9: int = 0
    immediate: int = 0
    longest_resume: float = 0.0

    @property
    def all(self) -> int:
        return self.kill_9 + self.immediate


async def patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Do it as soon as the database is there."""
    while True:
        try:
            return await work()
        except (*TROUBLE, AppError):
            await asyncio.sleep(0.1)


async def hit(
    server: OwnServer, database: Database, crashes: Crashes, chance: random.Random, pause: tuple[float, float]
) -> None:
    """Crash it now and then, leave it down for up to two seconds, and see how long the next step takes."""
    while True:
        await asyncio.sleep(chance.uniform(*pause))
        if chance.random() < 0.5:
            await asyncio.to_thread(server.crash)
            crashes.kill_9 += 1
        else:
            await asyncio.to_thread(server.stop_at_once)
            crashes.immediate += 1
        await asyncio.sleep(chance.uniform(0, 2))
        await asyncio.to_thread(server.start)
        steps, back = await patiently(lambda: database.fetchval(CALLS)), time.monotonic()
        while await patiently(lambda: database.fetchval(CALLS)) == steps:
            if not await patiently(lambda: database.fetchval(RUNNING)):
                break
            await asyncio.sleep(0.05)
        crashes.longest_resume = max(crashes.longest_resume, time.monotonic() - back)


async def loop(
    server: OwnServer,
    *,
    people: int,
    turns: int,
    pause: tuple[float, float] = (5.0, 40.0),
    least: int = 0,
    workers: int = 2,
    latency: float = 0.0,
    seed: int = 7,
    transport: str = "sdk",
    talk: bool = False,
) -> tuple[Crashes, Outcome]:
    """Play cycles until there are that many turns and at least `least` crashes; then let all end, and count."""
    url, chance, told, crashes, began = (
        server.url(),
        random.Random(seed),
        Told(latency=latency),
        Crashes(),
        time.monotonic(),
    )
    await migrate.upgrade(url)
    await fill(url, people)
    database, runs = await Database.open(url, size=4), 0
    async with endpoint(told) as base_url:
        settings = load_settings(simfeed_model="m", openai_base_url=base_url, batch_turns=50)
        crew = Workers(url, base_url, workers, at_once=64, transport=transport)
        await crew.start()
        hitting: asyncio.Task[None] | None = None
        try:
            async with open_mind(settings, database) as mind:
                hitting = asyncio.create_task(hit(server, database, crashes, chance, pause))
                while True:
                    under_way = await patiently(lambda: database.fetchval(RUNNING))
                    if runs * people >= turns and crashes.all >= least:
                        if not under_way:
                            break
                    elif not under_way:
                        runs += 1
                        await patiently(partial(open_cycle, mind, settings, slot=f"feed/restart/{runs}"))
                    if talk:
                        sys.stderr.write(f"\r{crashes.all} crashes, {runs} runs, {told.writes:,} writes ")
                    await crew.start()
                    await asyncio.sleep(0.2)
        finally:
            if hitting is not None:
                hitting.cancel()
                with suppress(asyncio.CancelledError):
                    await hitting
            server.mend()
            codes = await crew.stop()
    assert set(codes) <= {0}, codes
    outcome = await count(database, told, 0, runs, time.monotonic() - began)
    await database.close()
    return crashes, outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5_000)
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds the model thinks")
    parser.add_argument("--transport", choices=("sdk", "raw"), default="sdk")
    given = parser.parse_args()
    with own_server(max_connections="60") as server:
        crashes, outcome = asyncio.run(
            loop(
                server,
                people=given.people,
                turns=given.turns,
                latency=given.latency,
                transport=given.transport,
                talk=True,
            )
        )
    sys.stdout.write(json.dumps({**asdict(crashes), **asdict(outcome)}, indent=2))


if __name__ == "__main__":
    main()
