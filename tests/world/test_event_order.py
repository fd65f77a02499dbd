"""W10: events are followed in order, without losing one that is committed late; each write that matters tells one."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.agent.turn import Mind
from app.db.engine import Database
from app.settings import load_settings
from app.venues.feed import open_cycle, play_cycle
from app.venues.run import TURNS, begin_run, resume_run, stop_run
from app.world import events
from app.world.effects import FollowPersona, Like, NewComment, NewPost, Repost
from app.world.events import Follower
from tests.ledger.test_commit import commit, step, turns_for

DRAW = "INSERT INTO events (kind, object_id) VALUES ('post', 0) RETURNING id"


@asynccontextmanager
async def connections(database: Database, number: int) -> AsyncIterator[list[asyncpg.Connection]]:
    opened = [await asyncpg.connect(database.url) for _ in range(number)]
    try:
        yield opened
    finally:
        for connection in opened:
            connection.terminate()


async def begun(database: Database) -> Follower:
    follower = Follower(database)
    async with asyncio.timeout(10):
        while not await follower.begin():
            await asyncio.sleep(0.01)
    return follower


async def take(follower: Follower) -> list[int]:
    """What can be told now; the head moves behind it."""
    rows = await follower.next()
    if rows:
        follower.head = rows[-1]["id"]
    return [row["id"] for row in rows]


async def seen(database: Database, last: int) -> list[int]:
    """What a naive follower sees behind its last id."""
    return [row["id"] for row in await events.after(database, last)]


# The order of commits


async def test_a_late_commit_is_waited_for(database: Database) -> None:
    follower = await begun(database)
    async with connections(database, 2) as (slow, quick):
        late = slow.transaction()
        await late.start()
        assert await slow.fetchval(DRAW) == 1
        assert await quick.fetchval(DRAW) == 2
        assert await seen(database, 0) == [2]
        for _ in range(5):
            assert await take(follower) == []
            assert follower.waits
        await late.commit()
        assert await take(follower) == [1, 2]
        assert not follower.waits


async def test_control_who_follows_the_newest_id_loses_the_late_one(database: Database) -> None:
    async with connections(database, 2) as (slow, quick):
        late = slow.transaction()
        await late.start()
        await slow.fetchval(DRAW)
        await quick.fetchval(DRAW)
        told = await seen(database, 0)
        await late.commit()
        told += await seen(database, told[-1])
    assert told == [2]
    assert await database.fetchval("SELECT count(*) FROM events") == 2


async def test_what_was_rolled_back_is_not_waited_for(database: Database) -> None:
    follower = await begun(database)
    async with connections(database, 2) as (slow, quick):
        vain = slow.transaction()
        await vain.start()
        assert await slow.fetchval(DRAW) == 1
        assert await quick.fetchval(DRAW) == 2
        assert await take(follower) == []
        await vain.rollback()
        assert await take(follower) == [2]
        with pytest.raises(asyncpg.DivisionByZeroError):
            await quick.execute(f"WITH e AS ({DRAW}) SELECT 1 / (id - id) FROM e")
        assert await quick.fetchval(DRAW) == 4
        assert await take(follower) == [4], "who drew 3 was gone before it was missed"


async def test_control_a_snapshots_bounds_do_not_tell_who_may_still_come(database: Database) -> None:
    """`xmax` is the highest xid that has ended, plus one: whoever writes with a higher one is not seen by it."""
    bounds = """SELECT pg_snapshot_xmin(s)::text::bigint AS least, pg_snapshot_xmax(s)::text::bigint AS most
                FROM pg_current_snapshot() s"""
    follower = await begun(database)
    async with connections(database, 2) as (slow, quick):
        for connection in (quick, slow):  # the slow one has the higher xid, and draws first
            await connection.execute("BEGIN; SELECT pg_current_xact_id()")
        assert await slow.fetchval(DRAW) == 1
        assert await quick.fetchval(DRAW) == 2
        await quick.execute("COMMIT")
        assert await seen(database, 0) == [2]
        noted = await database.fetchrow(bounds)
        again = await database.fetchrow(bounds)
        assert noted is not None
        assert again is not None
        assert again["least"] >= noted["most"], "by that rule event 1 would be taken for dead"
        assert await take(follower) == []
        await slow.execute("COMMIT")
        assert await take(follower) == [1, 2]


async def test_a_transaction_that_only_came_later_is_not_waited_for(database: Database) -> None:
    follower = await begun(database)
    async with connections(database, 3) as (slow, quick, later):
        await slow.execute("BEGIN")
        await slow.fetchval(DRAW)
        await quick.fetchval(DRAW)
        assert await take(follower) == []
        await later.execute("BEGIN")
        assert await later.fetchval(DRAW) == 3
        await slow.execute("ROLLBACK")
        assert await take(follower) == [2]
        assert await quick.fetchval(DRAW) == 4
        assert await take(follower) == []
        await later.execute("COMMIT")
        assert await take(follower) == [3, 4]


async def test_the_head_at_the_start_is_behind_what_is_being_committed(database: Database) -> None:
    async with connections(database, 2) as (slow, quick):
        await slow.execute("BEGIN")
        await slow.fetchval(DRAW)
        await quick.fetchval(DRAW)
        follower = Follower(database)
        assert not await follower.begin()
        await slow.execute("COMMIT")
        assert await follower.begin()
        assert follower.head == 2
        assert await take(follower) == []


async def test_many_writers_some_of_whom_fail(database: Database) -> None:
    """Each id that was committed is told once, in order, however the commits overlap."""
    follower = await begun(database)
    committed: list[int] = []
    told: list[int] = []

    async def write(connection: asyncpg.Connection, number: int) -> None:
        for turn in range(40):
            transaction = connection.transaction()
            await transaction.start()
            ids = [await connection.fetchval(DRAW) for _ in range(1 + (number + turn) % 3)]
            await asyncio.sleep(0.001 * ((number * 7 + turn) % 5))
            if (number + turn) % 4 == 0:
                await transaction.rollback()
            else:
                await transaction.commit()
                committed.extend(ids)

    async with connections(database, 6) as opened:
        writing = asyncio.gather(*(write(one, n) for n, one in enumerate(opened)))
        while not writing.done():
            told += await take(follower)
        await writing
    while more := await take(follower):
        told += more
    assert told == sorted(committed)
    assert len(told) > 200


def test_events_are_written_only_out_of_a_write() -> None:
    """So that what an event tells of is there when it is told."""
    for path in Path("sql").glob("*.sql"):
        if path.name == "init.sql":
            continue
        for statement in re.split(r"^-- name: ", path.read_text(), flags=re.MULTILINE):
            for source in re.findall(r"INSERT INTO events[^)]*\)\s+(\w+)", statement):
                assert source == "SELECT", (path, statement[:60])
                assert statement.lstrip().partition("\n")[2].startswith("WITH "), (path, statement[:60])


def test_whatever_tells_of_a_run_rings_the_bell() -> None:
    """In the same statement: a run's state changes so seldom that nobody waits for it."""
    ring = f"pg_notify('{events.CHANNEL}', '')"
    telling = {name for name, statement in TURNS.items() if "INSERT INTO events" in statement}
    assert {name for name, statement in TURNS.items() if ring in statement.rpartition("SELECT")[2]} == telling
    assert len(telling) == 7


# What is told


async def told(database: Database) -> list[tuple[str, dict[str, Any]]]:
    """All events as they are told now."""
    rows = await events.after(database, 0)
    found = await events.objects(database, rows)
    return [(row["kind"], dict(found[row["id"]])) for row in rows if row["id"] in found]


async def test_each_effect_is_told(database: Database) -> None:
    await turns_for(database, 2)
    made = await commit(database, [step(1, 0, NewPost(body="hello", title="t"))])
    post = made[0][0].object_id
    await commit(database, [step(2, 0, Like(post), NewComment(post, body="c"), FollowPersona(1), Repost(post))])
    found = await told(database)
    assert sorted(kind for kind, _ in found) == ["comment", "follow", "like", "post", "post"]
    by_kind = dict(found)
    assert found[0][1]["body"] == "hello"
    assert by_kind["comment"]["body"] == "c"
    assert by_kind["comment"]["author_username"] == "p2"
    assert by_kind["like"] | {"event_id": 0} == {
        "event_id": 0, "post_id": post, "persona_id": 2, "username": "p2", "likes_count": 1
    }  # fmt: skip
    assert (by_kind["follow"]["follower_username"], by_kind["follow"]["followed_username"]) == ("p2", "p1")


async def test_what_can_not_be_read_is_not_told(database: Database) -> None:
    await turns_for(database, 2)
    made = await commit(database, [step(1, 0, NewPost(body="hello"))])
    post = made[0][0].object_id
    await commit(database, [step(2, 0, Like(post), NewComment(post, body="c"), FollowPersona(1))])
    await database.fetch("DELETE FROM likes")
    assert [kind for kind, _ in await told(database)] == ["post", "comment", "follow"]
    await database.fetch("UPDATE posts SET hidden = true")
    assert [kind for kind, _ in await told(database)] == ["follow"]


async def test_each_change_of_a_runs_state_is_told(mind: Mind) -> None:
    database = mind.database
    await turns_for(database, 3)
    await database.fetch("DELETE FROM turns")
    await database.fetch("DELETE FROM runs")
    settings = load_settings(max_concurrent_turns=4)

    async def states(run_id: int | None) -> list[tuple[str, str | None]]:
        found = await told(database)
        return [(one["state"], one["reason"]) for kind, one in found if kind == "run" and one["run_id"] == run_id]

    run = await open_cycle(mind, settings, waits=True)
    assert run is not None
    await begin_run(database, run)
    await database.fetchval(TURNS["hold_run"], run, "paused", "halted")
    await database.fetch(TURNS["wake_halted"])
    await stop_run(database, run)
    await resume_run(database, run, terms={})
    await database.fetchval(TURNS["hold_run"], run, "budget_exhausted", "instance: 9.99 of 10 US dollars")
    await resume_run(database, run, terms={})
    assert await play_cycle(mind, settings, run) == "completed"
    assert await states(run) == [
        ("queued", None), ("running", None), ("paused", "halted"), ("running", None), ("stopped", "by hand"),
        ("running", None), ("budget_exhausted", None), ("running", None), ("completed", None),
    ]  # fmt: skip
    await database.fetchval(TURNS["hold_run"], run, "paused", "halted")
    assert len(await states(run)) == 9, "what changes nothing tells nothing"
    await database.fetch("UPDATE personas SET status = 'departed'")
    assert await states(await open_cycle(mind, settings)) == [("running", None), ("completed", None)]


async def test_a_providers_words_are_not_told(mind: Mind) -> None:
    database = mind.database
    await turns_for(database, 1)
    await database.fetch("UPDATE turns SET state = 'failed', reason = 'internal: sk-canary', ended_at = now()")
    await database.fetchval(TURNS["settle_run"], 1)
    assert [one["reason"] for _, one in await told(database)] == ["internal"]
    assert "canary" not in str(await told(database))


# What is kept


async def test_pruning_keeps_the_newest_and_the_young(database: Database) -> None:
    await database.fetch(
        "INSERT INTO events (kind, object_id, created_at)"
        " SELECT 'post', 0, now() - make_interval(hours => 2412 - 24 * n) FROM generate_series(1, 100) n"
    )
    assert await events.prune(database, keep=1_000, days=10, at_once=7) == 90
    assert await seen(database, 0) == list(range(91, 101))
    assert await events.prune(database, keep=3, days=1000) == 7
    assert await seen(database, 0) == [98, 99, 100]
    assert await events.prune(database, keep=1, days=0) == 2
    assert await events.bounds(database) == events.Bounds(100, 100)
    assert await events.prune(database, keep=1, days=0) == 0
