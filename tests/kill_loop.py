"""Workers killed with SIGKILL over and over while personas write: what was acknowledged must be there, once.

By hand: `python -m tests.kill_loop --kills 200 --writes 100000`. An acknowledged write is one whose result a model has
been told: the endpoint here reads it from the next request, so no process of ours is trusted to say so.
"""

import argparse
import asyncio
import json
import os
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from app.cli.common import EXIT_UNAVAILABLE
from app.db import embedded, migrate
from app.db.engine import Database
from app.settings import load_settings
from app.venues.feed import open_cycle
from app.venues.run import open_mind
from app.world import personas
from app.world.personas import PersonaSpec
from tests.fault_llm import Exchange, FaultLLM, answer, reply

MADE = re.compile(r'\\"ok\\":true,\\"(post_id|comment_id)\\":(\d+)')
SHOWN = re.compile(r'\\"id\\":(\d+),\\"by\\":\\"@[\w.]+\\",\\"by_id\\":(\d+)')
SIMFEED = [sys.executable, "-c", "from app.cli import main; main()"]
ROOT = Path(__file__).parents[1]
DOUBLES = """
    SELECT count(*) FROM (SELECT author_id, body FROM {table} GROUP BY 1, 2 HAVING count(*) > 1) d
"""
DRIFT = """
    SELECT (SELECT count(*) FROM personas p WHERE posts_count <> (SELECT count(*) FROM posts WHERE author_id = p.id)
                OR comments_count <> (SELECT count(*) FROM comments WHERE author_id = p.id)
                OR following_count <> (SELECT count(*) FROM follows WHERE follower = p.id)
                OR followers_count <> (SELECT count(*) FROM follows WHERE followed = p.id))
         + (SELECT count(*) FROM post_counts c
            WHERE likes_count <> (SELECT count(*) FROM likes WHERE post_id = c.post_id)
                OR comments_count <> (SELECT count(*) FROM comments WHERE post_id = c.post_id))
"""


@dataclass
class Told:
    """What the models were told, and how often each was asked the same; every tenth call takes `stall` seconds more."""

    posts: set[int] = field(default_factory=set)
    comments: set[int] = field(default_factory=set)
    asked: Counter[tuple[int, int]] = field(default_factory=Counter)
    latency: float = 0.0
    stall: float = 0.0

    @property
    def writes(self) -> int:
        return len(self.posts) + len(self.comments)

    async def play(self, exchange: Exchange) -> None:
        body = exchange.request.body.decode()
        for kind, number in MADE.findall(body):
            (self.posts if kind == "post_id" else self.comments).add(int(number))
        step = body.count('"role":"assistant"')
        seed = int(body.rpartition('"seed":')[2].rstrip("}").split(",")[0])
        self.asked[seed, step] += 1
        if wait := self.latency + self.stall * (sum(self.asked.values()) % 10 == 0):
            await asyncio.sleep(wait)
        await answer(_reply(step, seed, body))(exchange)


def _reply(step: int, seed: int, body: str) -> dict[str, Any]:
    def post(n: int) -> tuple[str, Any]:
        return "create_post", {"body": f"post {seed} {step} {n}"}

    calls: list[tuple[str, Any]]
    shown = SHOWN.findall(body)
    number, author = (int(x) for x in shown[seed % len(shown)]) if shown else (0, 0)
    if step == 0:
        calls = [("view_most_recent_posts", {})]
    elif step == 1:
        calls = [post(0), post(1), ("like_post", {"post_id": number}), ("follow_user", {"user_id": author})]
    elif step in (2, 3) and number:
        calls = [post(0), ("comment_on_post", {"post_id": number, "body": f"answer {seed} {step}"})]
    elif step in (2, 3):
        calls = [post(0)]
    else:
        calls = [("end_turn", {})]
    message = reply(*calls)
    for n, call in enumerate(message["choices"][0]["message"]["tool_calls"]):
        call["id"] = f"s{step}-{n}"
    return message


@dataclass
class Outcome:
    """What a loop came to; `lost` and `doubled` must be 0."""

    kills: int
    seconds: float
    runs: int
    turns: int
    writes: int
    lost: int
    doubled: int
    drifted: int
    open_turns: int
    calls: int
    repeated: int


@asynccontextmanager
async def endpoint(told: Told) -> AsyncIterator[str]:
    server = FaultLLM([told.play])
    await server.start()
    try:
        yield server.url
    finally:
        await server.stop()


class Workers:
    """Processes of `simfeed worker`, one of which is killed now and then."""

    def __init__(
        self, url: str, base_url: str, count: int, *, at_once: int, transport: str, point: tuple[str, int] | None = None
    ) -> None:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
        self._env = {
            **kept,
            "DATABASE_URL": url,
            "OPENAI_BASE_URL": base_url,
            "SIMFEED_MODEL": "m",
            "MODEL_TRANSPORT": transport,
            "LOG_LEVEL": "error",
        }
        more = ["--at-once", str(at_once)]
        self._command = [*SIMFEED, "worker", *more]
        if point is not None:
            self._command = [sys.executable, "-m", "tests.kill_points", point[0], str(point[1]), *more]
        self._count = count
        self.alive: list[asyncio.subprocess.Process] = []

    async def start(self) -> None:
        """As many as there should be; as a supervisor does, anew what ended because the database was away."""
        assert {one.returncode for one in self.alive} <= {None, EXIT_UNAVAILABLE}, "a worker ended by itself"
        self.alive = [one for one in self.alive if one.returncode is None]
        while len(self.alive) < self._count:
            null = asyncio.subprocess.DEVNULL
            self.alive.append(
                await asyncio.create_subprocess_exec(*self._command, env=self._env, cwd=ROOT, stdout=null, stderr=null)
            )

    async def signal(self, one: asyncio.subprocess.Process, kind: signal.Signals) -> int:
        one.send_signal(kind)
        self.alive.remove(one)
        return await one.wait()

    async def end(self, one: asyncio.subprocess.Process, grace: float) -> int:
        """Ask it to end, and kill it where it lives on for so many seconds; its exit code."""
        one.send_signal(signal.SIGTERM)
        self.alive.remove(one)
        try:
            return await asyncio.wait_for(one.wait(), grace)
        except TimeoutError:
            one.kill()
            return await one.wait()

    async def stop(self) -> list[int]:
        return [await self.signal(one, signal.SIGTERM) for one in list(self.alive) if one.returncode is None]


async def fill(url: str, people: int) -> None:
    database = await Database.open(url, size=2)
    specs = [PersonaSpec.model_validate({"username": f"p{n}", "description": "Likes trains."}) for n in range(people)]
    async with database.connection() as connection:
        await personas.add(connection, specs)
    await database.close()


async def loop(
    url: str,
    *,
    kills: int,
    writes: int,
    workers: int = 2,
    at_once: int = 64,
    seed: int = 7,
    pause: tuple[float, float] = (1.0, 3.0),
    latency: float = 0.0,
    transport: str = "sdk",
    grace: float = 0.0,
    talk: bool = False,
) -> Outcome:
    """Kill until there were that many kills and writes; then let all end, and count.

    With `grace` a worker is asked to end so many seconds before; one that does so in time is no kill. Some calls take
    longer than that.
    """
    told = Told(latency=latency, stall=grace * 2)
    chance, began = random.Random(seed), time.monotonic()
    database = await Database.open(url, size=4)
    killed = runs = 0
    async with endpoint(told) as base_url:
        settings = load_settings(simfeed_model="m", openai_base_url=base_url, batch_turns=50)
        crew = Workers(url, base_url, workers, at_once=at_once, transport=transport)
        try:
            async with open_mind(settings, database) as mind:
                while True:
                    await crew.start()
                    strike = time.monotonic() + chance.uniform(*pause)
                    while True:
                        enough = killed >= kills and told.writes >= writes
                        open_runs = await database.fetchval("SELECT count(*) FROM runs WHERE state = 'running'")
                        if not enough and open_runs < 2:
                            await open_cycle(mind, settings, slot=f"feed/kill/{runs}")
                            runs += 1
                        under_way = await database.fetchval("SELECT EXISTS (SELECT FROM turns WHERE state = 'running')")
                        if (enough and not open_runs) or (time.monotonic() > strike and (under_way or enough)):
                            break
                        await asyncio.sleep(0.05)
                    if enough and not open_runs:
                        break
                    if killed < kills and grace:
                        killed += await crew.end(chance.choice(crew.alive), grace) == -signal.SIGKILL
                    elif killed < kills:
                        await crew.signal(chance.choice(crew.alive), signal.SIGKILL)
                        killed += 1
                    if talk:
                        sys.stderr.write(f"\r{killed} kills, {runs} runs, {told.writes:,} writes ")
        finally:
            codes = await crew.stop()
    assert set(codes) <= {0}, codes
    outcome = await count(database, told, killed, runs, time.monotonic() - began)
    await database.close()
    return outcome


async def count(database: Database, told: Told, kills: int, runs: int, seconds: float) -> Outcome:
    async def missing(table: str, numbers: set[int]) -> int:
        there = await database.fetchval(f"SELECT count(*) FROM {table} WHERE id = ANY ($1::bigint[])", list(numbers))
        return len(numbers) - int(there)

    connection = await asyncpg.connect(database.url)  # these take longer than a page may
    try:
        doubled = sum([await connection.fetchval(DOUBLES.format(table=table)) for table in ("posts", "comments")])
        drifted = await connection.fetchval(DRIFT)
    finally:
        await connection.close()
    calls = await database.fetchval("SELECT count(*) FROM calls")
    return Outcome(
        kills=kills,
        seconds=seconds,
        runs=runs,
        turns=await database.fetchval("SELECT count(*) FROM turns"),
        writes=told.writes,
        lost=await missing("posts", told.posts) + await missing("comments", told.comments),
        doubled=doubled,
        drifted=drifted,
        open_turns=await database.fetchval("SELECT count(*) FROM turns WHERE state IN ('queued', 'running', 'failed')"),
        calls=calls,
        repeated=sum(told.asked.values()) - calls,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--writes", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds the model thinks")
    parser.add_argument("--grace", type=float, default=0.0, help="seconds between SIGTERM and SIGKILL")
    parser.add_argument("--transport", choices=("sdk", "raw"), default="sdk")
    given = parser.parse_args()
    base = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    with embedded.throwaway(base=base) as server:
        url = server.url("postgres")

        async def work() -> Outcome:
            await migrate.upgrade(url)
            await fill(url, given.people)
            return await loop(
                url,
                kills=given.kills,
                writes=given.writes,
                workers=given.workers,
                transport=given.transport,
                latency=given.latency,
                grace=given.grace,
                talk=True,
            )

        sys.stdout.write(json.dumps(asyncio.run(work()).__dict__, indent=2))


if __name__ == "__main__":
    main()
