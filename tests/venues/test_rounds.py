"""Round mode: the seed decides what happens, whoever plays it and however fast; and the simulated clock."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from app.agent.turn import Mind
from app.db.engine import Database
from app.ledger.commit import Committer
from app.llm.gateway import Gateway
from app.llm.model import Completion, Request
from app.settings import load_settings
from app.venues import rounds as module
from app.venues.crew import Crew
from app.venues.feed import open_cycle, play_cycle, play_rounds, prepare_run
from app.venues.run import TURNS
from app.venues.worker import Worker
from app.world.personas import PersonaSpec, add
from tests.conftest import a_mind, copy_of
from tests.ledger.test_commit import drifted
from tests.venues.test_cycle import people

SETTINGS = load_settings(max_concurrent_turns=3, batch_turns=2, memory_reflect=0)  # no run but the cycle to wait for
MONDAY = datetime(2026, 3, 2, 7, tzinfo=UTC)
HALF_AN_HOUR = timedelta(minutes=30)
WORLD = {
    "posts": "id, author_id, title, body, repost_of, quote_of, created_at",
    "post_counts": "post_id, likes_count, comments_count, reposts_count, quotes_count, dislikes_count, created_at",
    "comments": "id, post_id, author_id, body, parent_id, likes_count, created_at",
    "likes": "id, post_id, persona_id, created_at",
    "reactions": "id, post_id, comment_id, persona_id, kind, created_at",
    "follows": "id, follower, followed, created_at",
    "mutes": "persona_id, muted_id, block, created_at",
    "reports": "id, post_id, reporter_id, reason, created_at",
    "personas": "id, username, bio, posts_count, comments_count, followers_count, following_count",
    "turns": "id, run_id, persona_id, ordinal, state, reason, next_step, world_at",
    "calls": "turn_id, step, status, request_sha256, told, reply",
    "actions": "turn_id, step, ordinal, call_id, name, arguments, effect, target_id, outcome, object_id, detail",
    "exposures": "turn_id, step, ordinal, kind, ranker, items",
}
"""Every row that a cycle writes, but for the time it really took."""


class Jittery:
    """The offline model, as slow as chance has it; and as often away, if `fails`."""

    def __init__(self, seed: int, longest: float) -> None:
        self._model = Gateway(load_settings())
        self._chance = random.Random(seed)
        self._longest = longest

    async def complete(self, request: Request) -> Completion:
        await asyncio.sleep(self._chance.random() * self._longest)
        return await self._model.complete(request)


async def rows(database: Database) -> dict[str, list[tuple[object, ...]]]:
    return {
        table: sorted((tuple(row) for row in await database.fetch(f"SELECT {columns} FROM {table}")), key=repr)
        for table, columns in WORLD.items()
    }


def difference(one: dict[str, list[tuple[object, ...]]], two: dict[str, list[tuple[object, ...]]]) -> str:
    """The first row in which two worlds differ; empty where none does."""
    for table in WORLD:
        for a, b in zip(one[table], two[table], strict=False):
            if a != b:
                return f"{table}: {a} / {b}"
        if len(one[table]) != len(two[table]):
            return f"{table}: {len(one[table])} / {len(two[table])} rows"
    return ""


@asynccontextmanager
async def two_worlds(server_url: str, template: str, count: int = 8) -> AsyncIterator[tuple[Database, Database]]:
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(2):
            world = await Database.open(await stack.enter_async_context(copy_of(server_url, template)), size=12)
            stack.push_async_callback(world.close)
            await people(world, count, activity=0.8)
            found.append(world)
        yield found[0], found[1]


async def opened(mind: Mind, seed: int, n: int, *, rounds: bool = True) -> int:
    found = await open_cycle(
        mind, SETTINGS, slot=f"test/{n}", seed=seed, rounds=rounds, at=MONDAY + n * HALF_AN_HOUR, lasts=HALF_AN_HOUR
    )
    assert found is not None
    return found


async def by_one(mind: Mind, seed: int, n: int, *, rounds: bool = True) -> None:
    run_id = await opened(mind, seed, n, rounds=rounds)
    assert await play_cycle(mind, SETTINGS, run_id) == "completed"


async def by_crews(minds: list[Mind], seed: int, n: int) -> None:
    """Three crews, all after the same run."""
    async with AsyncExitStack() as stack:
        for mind in minds:
            await stack.enter_async_context(Crew(mind, SETTINGS))
        run_id = await opened(minds[0], seed, n)
        async with asyncio.timeout(60):
            while await minds[0].database.fetchval(TURNS["run_state"], run_id) != "completed":
                await asyncio.sleep(0.02)


async def test_the_same_seed_gives_the_same_world_row_for_row(server_url: str, template: str) -> None:
    """20 seeds, one after the other: by one process at once, and by three with a model that is slow by chance."""
    async with two_worlds(server_url, template) as (one, two), AsyncExitStack() as stack:
        first = await stack.enter_async_context(a_mind(one))
        others = [await stack.enter_async_context(a_mind(two, Jittery(n, 0.01))) for n in range(3)]
        for n in range(20):
            await by_one(first, 1000 + n, n)
            await by_crews(others, 1000 + n, n)
            assert difference(await rows(one), await rows(two)) == "", f"seed {1000 + n}"
        assert await one.fetchval("SELECT count(*) FROM posts") > 20
        assert await one.fetchval("SELECT count(*) FROM likes") > 20
        assert await drifted(one) == await drifted(two) == {"post_counts": 0, "personas": 0}


async def test_control_live_who_is_faster_decides(server_url: str, template: str) -> None:
    async with two_worlds(server_url, template) as (one, two), AsyncExitStack() as stack:
        first = await stack.enter_async_context(a_mind(one))
        second = await stack.enter_async_context(a_mind(two, Jittery(1, 0.03)))
        for n in range(4):
            await by_one(first, n, n, rounds=False)
            await by_one(second, n, n, rounds=False)
        assert difference(await rows(one), await rows(two)) != ""


async def test_another_seed_gives_another_world(server_url: str, template: str) -> None:
    async with two_worlds(server_url, template) as (one, two), a_mind(one) as first, a_mind(two) as second:
        await by_one(first, 1, 0)
        await by_one(second, 2, 0)
        assert difference(await rows(one), await rows(two)) != ""


async def test_a_round_that_was_broken_off_is_played_again_from_where_it_began(server_url: str, template: str) -> None:
    """Whoever plays is cancelled again and again, at any point; what comes out is what comes out undisturbed."""
    async with two_worlds(server_url, template) as (one, two), a_mind(one) as first:
        await by_one(first, 5, 0)
        chance = random.Random(3)
        async with a_mind(two, Jittery(4, 0.02)) as second:
            run_id = await opened(second, 5, 0)
            for _ in range(200):
                playing = asyncio.create_task(play_cycle(second, SETTINGS, run_id))
                await asyncio.wait({playing}, timeout=0.02 + chance.random() * 0.15)
                if playing.done():
                    break
                playing.cancel()
                await asyncio.gather(playing, return_exceptions=True)
            assert await two.fetchval(TURNS["run_state"], run_id) == "completed"
        told = difference(await rows(one), await rows(two))
        assert told == "", told


async def test_a_round_is_one_commit(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written whole is not written at all, and everybody goes on from before."""
    await people(database, 6)
    broken: list[int] = []
    write = Committer._part

    async def breaking(self: Committer, *arguments: object) -> object:
        done = await write(self, *arguments)  # type: ignore[arg-type]
        if len(broken) < 3:
            broken.append(await database.fetchval("SELECT count(*) FROM calls"))
            raise OSError("gone")
        return done

    monkeypatch.setattr("app.ledger.commit.GROUP", 4)  # a larger round takes several statements
    monkeypatch.setattr(Committer, "_part", breaking)
    async with a_mind(database) as mind:
        await by_one(mind, 1, 0)
    assert broken == [0, 0, 0]
    assert await drifted(database) == {"post_counts": 0, "personas": 0}


async def test_who_is_gone_is_not_waited_for(database: Database) -> None:
    """A persona that departs in the middle of a run leaves its round; the others go on."""
    await people(database, 6)

    class Departing(Jittery):
        asked = 0

        async def complete(self, request: Request) -> Completion:
            self.asked += 1
            if self.asked == 9:
                await database.fetchval(
                    "UPDATE turns SET state = 'failed', reason = 'departed', epoch = epoch + 1 "
                    "WHERE id = (SELECT max(id) FROM turns WHERE state = 'running')"
                )
            return await super().complete(request)

    async with a_mind(database, Departing(1, 0.01)) as mind:
        run_id = await opened(mind, 1, 0)
        assert await play_cycle(mind, SETTINGS, run_id) == "partial"
    assert await database.fetchval("SELECT count(*) FROM turns WHERE state IN ('queued', 'running')") == 0


async def test_one_process_plays_a_run_at_a_time(database: Database) -> None:
    await people(database, 6)
    async with a_mind(database, Jittery(1, 0.05)) as mind, a_mind(database) as other:
        run_id = await opened(mind, 1, 0)
        playing = asyncio.create_task(play_cycle(mind, SETTINGS, run_id))
        while not await database.fetchval("SELECT count(*) FROM calls"):
            await asyncio.sleep(0.005)
        prepare = await prepare_run(other, SETTINGS, run_id)
        assert prepare is not None
        assert await play_rounds(other, run_id, 6, prepare) is False
        assert await playing == "completed"


async def test_turns_that_are_held_elsewhere_are_not_passed_over(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should the lock have been lost: no round is committed without them, and ours are given back."""
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.3)
    await people(database, 4)
    async with a_mind(database) as mind:
        run_id = await opened(mind, 1, 0)
        held = await database.fetch(TURNS["claim_turns"], run_id, 1, 30.0, 1, 9, [])
        prepare = await prepare_run(mind, SETTINGS, run_id)
        assert prepare is not None
        async with Worker(mind, at_once=9) as worker:
            playing = asyncio.create_task(worker.play(run_id, prepare))
            await asyncio.sleep(1.5)
            assert await database.fetchval("SELECT count(*) FROM calls") == 0
            await database.fetch(TURNS["park_turns"], [row["id"] for row in held], [row["epoch"] for row in held])
            await asyncio.wait_for(playing, 60)
    assert await database.fetchval(TURNS["run_state"], run_id) == "completed"


async def test_what_happens_has_the_worlds_time(database: Database) -> None:
    await people(database, 8)
    async with a_mind(database) as mind:
        for n in range(3):
            await by_one(mind, n, n)
    times = await database.fetch(
        "SELECT p.created_at, t.world_at FROM posts p "
        "JOIN actions a ON a.effect IN ('post', 'repost') AND a.object_id = p.id JOIN turns t ON t.id = a.turn_id"
    )
    assert times
    assert all(row["created_at"] == row["world_at"] for row in times)
    assert {MONDAY <= row["created_at"] < MONDAY + 3 * HALF_AN_HOUR for row in times} == {True}
    asked = await database.fetch("SELECT told FROM calls WHERE step = 0 ORDER BY turn_id")
    assert all(b"Monday 2 March 2026, 0" in row["told"] for row in asked)
    ordered = await database.fetch("SELECT run_id, world_at FROM turns ORDER BY run_id, ordinal")
    assert [tuple(row) for row in ordered] == sorted(tuple(row) for row in ordered)


async def test_personas_wake_at_their_hours(database: Database) -> None:
    """Somebody who sleeps at night wakes only by day; the hours are the world's."""
    night = [0.0] * 7 + [1.0] * 15 + [0.0] * 2
    async with database.connection() as connection:
        await add(connection, [PersonaSpec(username="lark", description="x", hours=night)])
        await add(connection, [PersonaSpec(username="always", description="x")])
    async with a_mind(database) as mind:
        for hour in range(24):
            at = MONDAY.replace(hour=hour)
            assert await open_cycle(mind, SETTINGS, slot=f"hour/{hour}", seed=1, at=at, lasts=HALF_AN_HOUR)
    woke = await database.fetch(
        "SELECT username, array_agg(extract(hour FROM r.world_at)::int ORDER BY r.id) AS hours FROM turns t "
        "JOIN runs r ON r.id = t.run_id JOIN personas p ON p.id = t.persona_id GROUP BY 1"
    )
    assert {row["username"]: row["hours"] for row in woke} == {
        "lark": list(range(7, 22)), "always": list(range(24))
    }  # fmt: skip
