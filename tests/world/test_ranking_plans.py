"""Rankers read little whatever the world's size: index scans alone at 50,000 posts, and no more than at 10,000."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from app.ledger.exposures import EXPOSURES, LOOKED
from app.world.ranking import FOLLOWS_SEEN, HALF_LIFE, MEMORY, POOL, STATEMENTS, SUGGESTIONS, mixture
from tests.conftest import copy_of, run_sql
from tests.world.test_plans import WORLD, big_scans, blocks

VIEWERS = list(range(1, 41))
MORE = """
UPDATE personas p SET following_count = 20, followers_count = 20;
INSERT INTO mutes (persona_id, muted_id)
    SELECT n, 1 + (n + k * 97) % 1000 FROM generate_series(1, 1000) n, generate_series(1, 3) k;
INSERT INTO runs (venue, slot, seed) VALUES ('feed', 's', 1);
INSERT INTO turns (run_id, persona_id, ordinal, round) SELECT 1, 1 + n % 1000, n, n FROM generate_series(1, 20000) n;
INSERT INTO calls (
    turn_id, step, status, model, model_returned, options, told, tools_sha256, request_sha256, reply, response
)
    SELECT id, 0, 'ok', 'm', 'm', '', '', '', '', '', '' FROM turns;
INSERT INTO exposures (turn_id, step, ordinal, kind, ranker, items, scores, reasons)
    SELECT id, 0, 0, 'post', 'hot', ARRAY[id, id + 1, 7], ARRAY[3, 2, 1], ARRAY['a', 'b', 'c'] FROM turns;
ANALYZE;
"""
MOST = {"latest": 40, "following": 200, "hot": 60, "top": 60, "interest": 650, "similar_people": 220, "random": 450}
"""8 kB blocks that a viewer's feed may touch in a batch: a quarter more than it does. Likes alone are a thousand."""

A_SUGGESTION = 750


@pytest.fixture(scope="module")
async def connection(server_url: str, template: str) -> AsyncIterator[asyncpg.Connection]:
    async with copy_of(server_url, template) as url:
        await run_sql(url, WORLD, MORE, "VACUUM")
        found = await asyncpg.connect(url, server_settings={"plan_cache_mode": "force_generic_plan", "jit": "off"})
        yield found
        await found.close()


async def plan_of(connection: asyncpg.Connection, query: str, *args: Any) -> dict[str, Any]:
    explained = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}", *args)
    found: dict[str, Any] = json.loads(explained)[0]["Plan"]
    return found


def asked(pool: Any, viewers: list[int] = VIEWERS) -> tuple[Any, ...]:
    return viewers, datetime.now(UTC), 10, viewers, pool, HALF_LIFE, MEMORY


@pytest.mark.parametrize("name", STATEMENTS)
async def test_a_ranker_reads_little(connection: asyncpg.Connection, name: str) -> None:
    plan = await plan_of(connection, STATEMENTS[name], *asked(POOL[name]))
    assert big_scans(plan) == []
    assert plan["Actual Rows"] == 10 * len(VIEWERS)
    assert blocks(plan) <= MOST[name] * len(VIEWERS)


@pytest.mark.parametrize("way", SUGGESTIONS)
async def test_a_suggestion_reads_little(connection: asyncpg.Connection, way: str) -> None:
    plan = await plan_of(connection, SUGGESTIONS[way], *asked(FOLLOWS_SEEN))
    assert big_scans(plan) == []
    assert plan["Actual Rows"] > 0
    assert blocks(plan) <= A_SUGGESTION * len(VIEWERS)


async def test_a_mixture_reads_what_its_rankers_read(connection: asyncpg.Connection) -> None:
    names = list(STATEMENTS)
    plan = await plan_of(connection, mixture(names), *asked([POOL[name] for name in names]))
    assert big_scans(plan) == []
    each = [blocks(await plan_of(connection, STATEMENTS[name], *asked(POOL[name]))) for name in names]
    assert blocks(plan) <= 1.2 * sum(each)


@pytest.mark.parametrize("name", ["latest", "hot", "interest", "similar_people"])
async def test_many_viewers_share_what_is_the_same_for_all(connection: asyncpg.Connection, name: str) -> None:
    one, many = [
        blocks(await plan_of(connection, STATEMENTS[name], *asked(POOL[name], viewers))) for viewers in ([7], VIEWERS)
    ]
    assert many < len(VIEWERS) * one


@pytest.mark.parametrize(
    ("index", "name"),
    [
        ("likes_persona_id_idx", "interest"),
        ("likes_persona_id_idx", "similar_people"),
        ("post_counts_top_idx", "top"),
        ("posts_author_id_idx", "following"),
    ],
)
async def test_control_without_its_index_a_ranker_would_fail_here(
    connection: asyncpg.Connection, index: str, name: str
) -> None:
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(f"DROP INDEX {index}")
        plan = await plan_of(connection, STATEMENTS[name], *asked(POOL[name]))
        assert big_scans(plan) or blocks(plan) > MOST[name] * len(VIEWERS)
    finally:
        await transaction.rollback()


async def test_why_looks_at_one_personas_turns(connection: asyncpg.Connection) -> None:
    things = [row["id"] for row in await connection.fetch(EXPOSURES["same_post"], 7)]
    for which in (None, things):
        arguments = (7, which, 51, 2**63 - 1, 0, 0, 0, LOOKED)
        plan = await plan_of(connection, EXPOSURES["of_persona"], *arguments)
        assert big_scans(plan) == []
        assert blocks(plan) <= 300
        assert plan["Actual Rows"] == (21 if which else 51)  # in each of 20 turns, and once more as a turn's own
