"""Processes that are killed, stopped or frozen: P1, P2, P5, P6 with real workers and a real endpoint."""

import asyncio
import os
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field

import pytest

from app.db.engine import Database
from app.settings import load_settings
from app.venues.feed import open_cycle
from app.venues.run import open_mind
from tests import kill_loop, restart_loop
from tests.conftest import BOOTSTRAP, SECRET, run_sql
from tests.fault_llm import Exchange
from tests.faults.own import broken, own_server
from tests.faults.test_process import SERVE
from tests.kill_loop import Told, Workers, count, endpoint, fill
from tests.kill_points import POINTS
from tests.pace import clock
from tests.venues.test_crew import TURNS_TOO_MANY


async def opened(database: Database, base_url: str) -> int:
    settings = load_settings(simfeed_model="m", openai_base_url=base_url, batch_turns=10)
    async with open_mind(settings, database) as mind:
        run_id = await open_cycle(mind, settings)
    assert run_id is not None
    return run_id


async def until(database: Database, query: str, seconds: float = 180) -> None:
    async with asyncio.timeout(seconds):
        while not await database.fetchval(query):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("transport", ["sdk", "raw"])
async def test_p1_killed_workers_lose_nothing_and_double_nothing(url: str, transport: str) -> None:
    await fill(url, 40)
    found = await kill_loop.loop(
        url, kills=3, writes=300, at_once=16, pause=(0.8, 1.5), latency=0.02, transport=transport
    )
    assert (found.lost, found.doubled, found.drifted, found.open_turns) == (0, 0, 0, 0)
    assert found.writes >= 300
    assert found.repeated <= 3 * 16


async def test_p1_control_the_count_sees_what_is_lost_and_what_is_doubled(url: str, database: Database) -> None:
    await fill(url, 4)
    found = await kill_loop.loop(url, kills=0, writes=10, workers=1, pause=(0.1, 0.2))
    assert (found.lost, found.doubled, found.drifted) == (0, 0, 0)
    one, two = (row["id"] for row in await database.fetch("SELECT id FROM posts ORDER BY id DESC LIMIT 2"))
    await run_sql(
        url,
        f"DELETE FROM comments WHERE post_id = {one}; DELETE FROM likes WHERE post_id = {one}",
        f"DELETE FROM post_counts WHERE post_id = {one}; DELETE FROM posts WHERE id = {one}",
        f"INSERT INTO posts (author_id, body) SELECT author_id, body FROM posts WHERE id = {two}",
        "UPDATE personas SET followers_count = followers_count + 1 WHERE id = 1",
    )
    after = await count(database, Told(posts={one, two}), 0, 0, 0)
    assert (after.lost, after.doubled) == (1, 1)
    assert after.drifted > 0


QUICK = ("before_commit", "after_commit", "before_settle")


@pytest.mark.parametrize(
    "point", [point if point in QUICK else pytest.param(point, marks=pytest.mark.slow) for point in POINTS]
)
async def test_p1_a_worker_that_dies_at_a_point_loses_nothing_and_doubles_nothing(
    url: str, database: Database, point: str
) -> None:
    at_once, told = 6, Told()
    await fill(url, at_once)
    async with endpoint(told) as base_url:
        run_id = await opened(database, base_url)
        times = 1 if point in ("after_claim", "before_settle") else 13
        dying = Workers(url, base_url, 1, at_once=at_once, transport="raw", point=(point, times))
        await dying.start()
        assert await dying.alive[0].wait() == -signal.SIGKILL
        stored = await database.fetchval("SELECT count(*) FROM calls")
        assert (stored == 0) is (point == "after_claim")
        heir = Workers(url, base_url, 1, at_once=at_once, transport="raw")
        await heir.start()
        await until(database, f"SELECT state = 'completed' FROM runs WHERE id = {run_id}")
        assert await heir.stop() == [0]
    found = await count(database, told, 1, 1, 0)
    assert (found.lost, found.doubled, found.drifted, found.open_turns) == (0, 0, 0, 0)
    assert found.repeated <= (0 if point in ("after_claim", "before_settle") else at_once)


async def test_p5_a_worker_that_is_asked_to_end_finishes_its_steps(url: str, database: Database) -> None:
    await fill(url, 20)
    told = Told(latency=0.5)
    async with endpoint(told) as base_url:
        run_id = await opened(database, base_url)
        crew = Workers(url, base_url, 1, at_once=20, transport="sdk")
        await crew.start()
        await until(database, "SELECT count(*) >= 20 FROM calls")
        began = clock()
        assert await crew.stop() == [0]
        assert clock() - began < 12
        assert sum(told.asked.values()) == await database.fetchval("SELECT count(*) FROM calls")
        assert await database.fetchval("SELECT count(*) FROM turns WHERE state = 'running'") == 0
        await crew.start()
        await until(database, f"SELECT state = 'completed' FROM runs WHERE id = {run_id}")
        await crew.stop()
    found = await count(database, told, 0, 1, 0)
    assert (found.lost, found.doubled, found.drifted, found.repeated) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("kills", "writes", "grace"), [(2, 200, 0.5), pytest.param(20, 1_000, 3.0, marks=pytest.mark.slow)]
)
async def test_p6_a_worker_that_is_killed_while_it_ends_loses_nothing_and_doubles_nothing(
    url: str, kills: int, writes: int, grace: float
) -> None:
    """It is asked to end, and killed after so many seconds, in the middle of calls that take longer."""
    await fill(url, 40)
    found = await kill_loop.loop(
        url, kills=kills, writes=writes, at_once=16, pause=(0.8, 1.5), latency=0.1, transport="raw", grace=grace
    )
    assert (found.kills, found.writes >= writes) == (kills, True)
    assert (found.lost, found.doubled, found.drifted, found.open_turns) == (0, 0, 0, 0)
    assert found.repeated <= kills * 16
    assert await broken(url) == {}


async def test_resuming_after_all_were_killed_takes_at_most_ten_seconds(url: str, database: Database) -> None:
    await fill(url, 20)
    told = Told(latency=0.3)
    async with endpoint(told) as base_url:
        run_id = await opened(database, base_url)
        crew = Workers(url, base_url, 2, at_once=10, transport="sdk")
        await crew.start()
        await until(database, "SELECT count(*) >= 20 FROM calls")
        for one in list(crew.alive):
            await crew.signal(one, signal.SIGKILL)
        assert await database.fetchval("SELECT count(*) FROM turns WHERE state = 'running'") > 0
        began, earlier = clock(), await database.fetchval("SELECT count(*) FROM workers")
        await crew.start()
        await until(database, f"SELECT count(*) > {earlier} FROM workers")
        started = clock() - began  # a second here, and any time on a busy machine
        await until(database, "SELECT EXISTS (SELECT FROM turns WHERE epoch > 1 AND state = 'running')")
        assert clock() - began < 9 + started
        await until(database, f"SELECT state = 'completed' FROM runs WHERE id = {run_id}")
        await crew.stop()
    found = await count(database, told, 2, 1, 0)
    assert (found.lost, found.doubled, found.drifted, found.open_turns) == (0, 0, 0, 0)
    assert found.repeated <= 20


@pytest.mark.slow
async def test_p2_a_frozen_worker_that_wakes_up_late_can_not_write(url: str, database: Database) -> None:
    await fill(url, 10)
    told = Told(latency=0.5)
    async with endpoint(told) as base_url:
        run_id = await opened(database, base_url)
        crew = Workers(url, base_url, 1, at_once=10, transport="sdk")
        await crew.start()
        await until(database, "SELECT count(*) >= 10 FROM calls")
        frozen = crew.alive.pop()
        frozen.send_signal(signal.SIGSTOP)
        await crew.start()
        await until(database, f"SELECT state = 'completed' FROM runs WHERE id = {run_id}")
        calls = await database.fetchval("SELECT count(*) FROM calls")
        crew.alive.append(frozen)
        frozen.send_signal(signal.SIGCONT)
        await asyncio.sleep(3)
        assert await database.fetchval("SELECT count(*) FROM calls") == calls
        assert set(await crew.stop()) == {0}
    found = await count(database, told, 0, 1, 0)
    assert (found.lost, found.doubled, found.drifted, found.open_turns) == (0, 0, 0, 0)


@dataclass
class ToldByProcess(Told):
    """Each process asks by a path of its own: how many of its calls are under way, and how many came."""

    under_way: Counter[str] = field(default_factory=Counter)
    came: Counter[str] = field(default_factory=Counter)

    async def play(self, exchange: Exchange) -> None:
        who = exchange.request.path.split("/")[1]
        self.came[who] += 1
        self.under_way[who] += 1
        try:
            await super().play(exchange)
        finally:
            self.under_way[who] -= 1


async def server(url: str, base_url: str, name: str) -> asyncio.subprocess.Process:
    """The whole application, its scheduler ticking every three seconds, its worker asking at a path of its own."""
    env = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": url,
        "DATABASE_POOL_SIZE": "4",
        "SECRET_KEY": SECRET,
        "BOOTSTRAP_TOKEN": BOOTSTRAP,
        "SCHEDULER_JOB_INTERVAL": "0.05",
        "BATCH_TURNS": "3",
        "MAX_CONCURRENT_TURNS": "6",
        "SIMFEED_MODEL": "m",
        "MODEL_TRANSPORT": "raw",
        "OPENAI_BASE_URL": base_url.replace("/v1", f"/{name}/v1"),
        "LOG_LEVEL": "error",
    }
    null = asyncio.subprocess.DEVNULL
    words = (sys.executable, "-c", SERVE.format(before=""), "0")
    return await asyncio.create_subprocess_exec(*words, env=env, cwd=kill_loop.ROOT, stdout=null, stderr=null)


@pytest.mark.slow
async def test_p2_one_of_five_schedulers_is_frozen_at_work_and_wakes_up_late(url: str, database: Database) -> None:
    """Each persona has one turn in each slot, and what the late one brings is written by nobody."""
    await fill(url, 25)
    told = ToldByProcess(latency=0.5)
    async with endpoint(told) as base_url:
        five = {name: await server(url, base_url, name) for name in ("p1", "p2", "p3", "p4", "p5")}
        try:
            async with asyncio.timeout(60):
                while not any(calls >= 3 for calls in told.under_way.values()):
                    await asyncio.sleep(0.01)
            ((name, _),) = told.under_way.most_common(1)
            frozen = five[name]
            frozen.send_signal(signal.SIGSTOP)
            run_id = await database.fetchval("SELECT max(id) FROM runs")
            await until(database, f"SELECT state = 'completed' FROM runs WHERE id = {run_id}")
            taken_over = await database.fetchval(f"SELECT count(*) FROM turns WHERE run_id = {run_id} AND epoch > 1")
            await until(database, f"SELECT count(*) > 0 FROM runs WHERE id > {run_id} AND state = 'completed'")
            came = told.came[name]
            frozen.send_signal(signal.SIGCONT)
            async with asyncio.timeout(60):
                while told.came[name] == came:
                    await asyncio.sleep(0.05)
            await database.fetch("UPDATE instance SET scheduler_interval_minutes = 10000")
            await until(database, OVER)
        finally:
            for one in five.values():
                one.send_signal(signal.SIGTERM)
            codes = [await one.wait() for one in five.values()]
    assert set(codes) == {-signal.SIGTERM}  # uvicorn ends everything, then passes the signal on
    found = await count(database, told, 0, 1, 0)
    assert (found.lost, found.doubled, found.drifted, found.open_turns) == (0, 0, 0, 0)
    runs = await database.fetchval("SELECT count(*) FROM runs")
    assert runs >= 3
    assert found.turns == 25 * runs
    assert await database.fetchval(TURNS_TOO_MANY) == 0
    assert taken_over > 0
    assert found.repeated >= taken_over  # answers that were given and not written, though every process lived on
    assert await broken(url) == {}


OVER = """
    SELECT NOT EXISTS (SELECT FROM runs WHERE state = 'running') AND max(created_at) < now() - interval '8 seconds'
    FROM runs
"""


async def test_d3_d4_workers_play_on_through_crashes_of_postgresql() -> None:
    with own_server(max_connections="60") as server:
        crashes, found = await restart_loop.loop(
            server, people=30, turns=60, pause=(0.5, 2.0), least=3, latency=0.05, workers=1
        )
    assert crashes.all >= 3
    assert (found.lost, found.doubled, found.drifted, found.open_turns) == (0, 0, 0, 0)
