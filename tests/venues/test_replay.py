"""A recorded run, played again without asking anybody: the same world, or the first difference."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.analysis.state import Terms, diff, state
from app.db.engine import Database
from app.ledger.recorded import in_order, recording
from app.settings import Settings, load_settings
from app.venues.feed import open_cycle, play_cycle
from app.venues.replay import Replayed, replay_run
from app.world.rewind import rewind
from tests.conftest import a_mind, copy_of
from tests.mischief import Mischief
from tests.venues.test_cycle import people

SETTINGS = load_settings(memory="off", reactions="all")
NETWORK = Terms(part="network", times="all")
MONDAY = datetime(2026, 3, 2, 7, tzinfo=UTC)


class Silent:
    """A model that must not be asked."""

    async def complete(self, _: object) -> None:
        raise AssertionError("a model was asked")


async def tables(database: Database) -> dict[str, str]:
    async with database.connection() as connection:
        found = await state(connection, NETWORK)
    return {one.table: f"{one.rows} rows, {one.sha256}" for one in found.tables if one.table != "instance"}


@asynccontextmanager
async def fork_of(server_url: str, url: str, source: Database) -> AsyncIterator[Database]:
    """A copy of a world, made while nobody is connected to it."""
    await source.close()
    async with copy_of(server_url, url.partition("?")[0].rsplit("/", 1)[1]) as found:
        fork = await Database.open(found, size=8)
        try:
            yield fork
        finally:
            await fork.close()


async def lived(
    database: Database,
    model: Any,
    cycles: int,
    *,
    rounds: bool = False,
    simulated: bool = False,
    settings: Settings = SETTINGS,
) -> list[int]:
    found = []
    async with a_mind(database, model) as mind:
        for n in range(cycles):
            at = MONDAY + n * timedelta(minutes=30) if rounds or simulated else None
            run_id = await open_cycle(mind, settings, seed=100 + n, rounds=rounds, at=at)
            assert run_id is not None
            assert await play_cycle(mind, settings, run_id) in ("completed", "partial")
            found.append(run_id)
    return found


async def again(fork: Database, run_id: int) -> Replayed:
    recorded = await recording(fork, run_id)
    async with fork.connection() as connection:
        await rewind(connection, run_id)
    async with a_mind(fork, Silent()) as mind:
        return await replay_run(mind, SETTINGS, recorded)


@pytest.mark.parametrize("pace", ["live", "simulated", "rounds"])
@pytest.mark.parametrize("model", [None, Mischief(0.02)], ids=["offline", "mischief"])
async def test_the_last_run_again_gives_the_same_world(
    server_url: str, url: str, database: Database, model: Any, pace: str
) -> None:
    rounds = pace == "rounds"
    await people(database, 12)
    runs = await lived(database, model, 4, rounds=rounds, simulated=pace == "simulated")
    before = await tables(database)
    async with fork_of(server_url, url, database) as fork:
        told = await again(fork, runs[-1])
        assert await tables(fork) == before
    assert told.calls > 12
    assert told.drifted == 0 or not rounds


async def test_fifty_runs_again(server_url: str, url: str, database: Database) -> None:
    """R6: an earlier run, too, is what it was, when those behind it are taken back."""
    await people(database, 8)
    model = Mischief(0.005, people=8)
    runs, states = [], []
    for _ in range(10):
        runs += await lived(database, model, 1)
        states.append(await tables(database))
    async with fork_of(server_url, url, database) as fork:
        for n in reversed(range(10)):
            for _ in range(5):
                await again(fork, runs[n])
                assert await tables(fork) == states[n], f"run {n}"


async def test_what_was_in_vain_is_in_vain_again(server_url: str, url: str, database: Database) -> None:
    """A like that did not see its post, as both were committed at once: now it would, and still must not count."""
    await people(database, 8)
    runs = await lived(database, None, 3)
    like = await database.fetchrow(
        "SELECT a.turn_id, a.step, a.ordinal, a.object_id, l.post_id FROM actions a JOIN likes l ON l.id = a.object_id "
        "JOIN turns t ON t.id = a.turn_id WHERE a.effect = 'like' AND a.outcome = 'made' AND t.run_id = $1 LIMIT 1",
        runs[-1],
    )
    assert like is not None
    await database.fetchval(
        "UPDATE actions SET outcome = 'not_found', object_id = NULL WHERE (turn_id, step, ordinal) = ($1, $2, $3)",
        *like[:3],
    )
    await database.fetchval("DELETE FROM likes WHERE id = $1", like["object_id"])
    await database.fetchval("UPDATE post_counts SET likes_count = likes_count - 1 WHERE post_id = $1", like["post_id"])
    before = await tables(database)
    async with fork_of(server_url, url, database) as fork:
        for _ in range(2):
            await again(fork, runs[-1])
            assert await tables(fork) == before


async def test_a_commit_that_saw_another_comes_after_it(server_url: str, url: str, database: Database) -> None:
    """Two commits overlapped, and the one that began first liked what the other posted: it goes second."""
    await people(database, 8)
    one_by_one = load_settings(memory="off", max_concurrent_turns=1)
    saw = None
    while saw is None:
        run_id = (await lived(database, None, 1, settings=one_by_one))[0]
        saw = await database.fetchrow(
            "SELECT a.turn_id, a.step, a.object_id, made.created_at - interval '1 microsecond' AS began "
            "FROM actions a JOIN turns t ON t.id = a.turn_id JOIN posts made ON made.id = a.target_id "
            "JOIN actions m ON m.object_id = made.id AND m.effect = 'post' AND m.outcome = 'made' "
            "JOIN turns o ON o.id = m.turn_id AND o.run_id = t.run_id "
            "WHERE a.effect = 'like' AND a.outcome = 'made' AND t.run_id = $1 AND NOT EXISTS ("
            "SELECT FROM actions x WHERE (x.turn_id, x.step) = (a.turn_id, a.step) AND x.outcome = 'made' "
            "AND x.ordinal <> a.ordinal) LIMIT 1",
            run_id,
        )
    turn, step, like, began = saw
    await database.fetchval("UPDATE calls SET created_at = $3 WHERE (turn_id, step) = ($1, $2)", turn, step, began)
    await database.fetchval("UPDATE likes SET created_at = $2 WHERE id = $1", like, began)
    before = await tables(database)
    async with fork_of(server_url, url, database) as fork:
        async with asyncio.timeout(60):  # a step that waits for one behind it would wait for ever
            await again(fork, run_id)
        assert await tables(fork) == before


def test_groups_come_after_what_they_need() -> None:
    a, b, c, d = (1, 0), (2, 0), (1, 1), (3, 0)
    assert in_order([[a], [b], [c], [d]], {}) == [[a], [b], [c], [d]]
    assert in_order([[a], [b], [c], [d]], {a: {b}}) == [[b], [a], [c], [d]]
    assert in_order([[a], [c], [b], [d]], {a: {b}}) == [[b], [a], [c], [d]]
    assert in_order([[a, d], [b]], {a: {d}, d: {(9, 9)}}) == [[a, d], [b]]


async def test_what_the_guard_took_is_taken_again(server_url: str, url: str, database: Database) -> None:
    """Also when later runs, played again, have begun again since: each run gets its own quarantines back."""
    await people(database, 8)
    runs, states = [], []
    for _ in range(3):
        runs += await lived(database, None, 1)
        head = await database.fetchval(
            "INSERT INTO quarantines (post_id, taken_by, reason) "
            "SELECT max(id), 'guard', 'r' FROM posts WHERE NOT hidden RETURNING id"
        )
        await database.fetchval(
            "INSERT INTO quarantines (post_id, cause, taken_by, reason) "
            "SELECT min(id), $1, 'guard', 'r' FROM posts "
            "WHERE NOT hidden AND id NOT IN (SELECT post_id FROM quarantines WHERE post_id IS NOT NULL)",
            head,
        )
        for table, key in (("posts", "id"), ("post_counts", "post_id")):
            await database.fetchval(
                f"UPDATE {table} SET hidden = EXISTS (SELECT FROM quarantines WHERE post_id IN ({table}.{key}, "
                f"(SELECT p.repost_of FROM posts p WHERE p.id = {table}.{key})))"
            )
        states.append(await tables(database))
    async with fork_of(server_url, url, database) as fork:
        for n in (2, 2, 1, 1, 0):
            await again(fork, runs[n])
            assert await tables(fork) == states[n], f"run {n}"


async def test_control_another_reply_gives_another_world(server_url: str, url: str, database: Database) -> None:
    await people(database, 8)
    (run_id,) = await lived(database, None, 1)
    before = await tables(database)
    async with fork_of(server_url, url, database) as fork:
        await fork.fetchval(
            "UPDATE calls SET reply = "
            "convert_to(replace(convert_from(reply, 'UTF8'), 'create_post', 'end_turn'), 'UTF8') "
            "WHERE (turn_id, step) = "
            "(SELECT turn_id, step FROM actions WHERE effect = 'post' AND outcome = 'made' LIMIT 1)"
        )
        await again(fork, run_id)
        assert await tables(fork) != before


async def test_a_world_goes_on_after_a_replay(server_url: str, url: str, database: Database) -> None:
    """New posts get numbers of their own."""
    await people(database, 8)
    runs = await lived(database, None, 2)
    async with fork_of(server_url, url, database) as fork:
        await again(fork, runs[0])
        most = await fork.fetchval("SELECT max(id) FROM posts")
        await lived(fork, None, 1)
        assert await fork.fetchval("SELECT count(*) FROM posts WHERE id > $1", most) > 0


async def test_what_differs_is_told(server_url: str, url: str, database: Database) -> None:
    await people(database, 8)
    (run_id,) = await lived(database, None, 1)
    async with fork_of(server_url, url, database) as fork:
        await again(fork, run_id)
        post = await fork.fetchval("SELECT id FROM posts ORDER BY id LIMIT 1")
        await fork.fetchval("UPDATE posts SET body = 'something else' WHERE id = $1", post)
        source = await Database.open(url, size=2)
        async with source.connection() as a, fork.connection() as b:
            found = await diff(a, b, NETWORK)
        await source.close()
    assert [(table.table, table.changed) for table in found.tables if table.changed] == [("posts", 1)]
