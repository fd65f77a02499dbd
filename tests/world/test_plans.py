"""The feed's statements stay index scans at 50,000 posts: an index that stops being used fails here."""

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from app.db.queries import load
from app.world.text import INT64_MAX
from tests.conftest import copy_of, run_sql

FEED = load("feed")
WORLD = """
INSERT INTO personas (username, description) SELECT 'p' || n, 'x' FROM generate_series(1, 1000) n;
INSERT INTO posts (author_id, body, created_at)
    SELECT 1 + n % 1000, 'post about swan number ' || n, now() - make_interval(secs => 50000 - n)
    FROM generate_series(1, 50000) n;
INSERT INTO post_counts (post_id, likes_count, comments_count, created_at)
    SELECT id, (id * 7919) % 100, (id * 104729) % 30, created_at FROM posts;
INSERT INTO comments (post_id, author_id, body) SELECT 1 + n % 5000, 1 + n % 1000, 'c' FROM generate_series(1, 50000) n;
INSERT INTO likes (post_id, persona_id) SELECT 1 + (n * 7919) % 50000, 1 + n % 1000 FROM generate_series(0, 99999) n
    ON CONFLICT DO NOTHING;
INSERT INTO follows (follower, followed)
    SELECT a, 1 + (a + b) % 1000 FROM generate_series(1, 1000) a, generate_series(0, 19) b;
ANALYZE;
"""
QUERIES: dict[str, tuple[Any, ...]] = {
    "latest": (25_000, 21),
    "latest_by": (25_000, 21, 7),
    "top": (50, 21, 25_000),
    "hot": (38_000.0, 21, 25_000),
    "discussed": (15, 21, 25_000),
    "following": (25_000, 21, 7),
    "page": (1_980, 20),
    "post": (7,),
    "comments": (7, INT64_MAX, 101),
    "for_persona_latest": (7, 10),
    "for_persona_top": (7, 10),
    "for_persona_discussed": (7, 10),
    "comments_for_persona": (7, 7, 10),
    "author_for_persona": (7, 7),
    "follows_actions": (7, 10),
    "situations": ([1, 2, 3],),
}
EPIDEMIC = """
UPDATE post_counts SET hidden = true
    WHERE post_id BETWEEN 24000 AND 24999 OR post_id > 49000 OR likes_count > 97 OR comments_count > 28;
UPDATE posts SET hidden = true WHERE id IN (SELECT post_id FROM post_counts WHERE hidden);
"""
BLOCKS_MOST = 2_500
"""8 kB blocks that any one of these may touch; a sequential scan of posts and counts touches more."""


@pytest.fixture(scope="module")
async def connection(server_url: str, template: str) -> AsyncIterator[asyncpg.Connection]:
    async with copy_of(server_url, template) as url:
        await run_sql(url, WORLD)
        found = await asyncpg.connect(url)
        yield found
        await found.close()


@pytest.fixture(scope="module")
async def after_an_epidemic(server_url: str, template: str) -> AsyncIterator[asyncpg.Connection]:
    """The same world with some five thousand posts in quarantine, once vacuum has gone over it."""
    async with copy_of(server_url, template) as url:
        await run_sql(url, WORLD, EPIDEMIC, "VACUUM ANALYZE posts", "VACUUM ANALYZE post_counts")
        found = await asyncpg.connect(url)
        yield found
        await found.close()


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in nodes(child))]


async def plan_of(connection: asyncpg.Connection, query: str, *args: Any) -> dict[str, Any]:
    explained = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}", *args)
    found: dict[str, Any] = json.loads(explained)[0]["Plan"]
    return found


def blocks(plan: dict[str, Any]) -> int:
    """8 kB blocks that a plan touched."""
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def big_scans(plan: dict[str, Any]) -> list[str]:
    """Relations of which a sequential scan reads more than a thousand rows."""
    return [
        node["Relation Name"]
        for node in nodes(plan)
        if node["Node Type"] == "Seq Scan" and node["Actual Rows"] + node.get("Rows Removed by Filter", 0) > 1_000
    ]


@pytest.mark.parametrize("name", QUERIES)
async def test_a_hot_query_reads_little(connection: asyncpg.Connection, name: str) -> None:
    plan = await plan_of(connection, FEED[name], *QUERIES[name])
    assert big_scans(plan) == []
    assert blocks(plan) <= BLOCKS_MOST


@pytest.mark.parametrize("name", [name for name in QUERIES if name not in ("post", "situations")])
async def test_a_thousand_hidden_posts_cost_a_page_nothing(
    connection: asyncpg.Connection, after_an_epidemic: asyncpg.Connection, name: str
) -> None:
    """Hidden are the newest, the best liked and the most discussed, and some where deep pages begin: 5,000 in all."""
    before = await plan_of(connection, FEED[name], *QUERIES[name])
    after = await plan_of(after_an_epidemic, FEED[name], *QUERIES[name])
    assert big_scans(after) == []
    assert blocks(after) <= 1.6 * blocks(before) + 30
    assert after["Actual Rows"] == before["Actual Rows"]


async def test_control_an_index_that_holds_hidden_posts_is_gone_through(
    after_an_epidemic: asyncpg.Connection,
) -> None:
    transaction = after_an_epidemic.transaction()
    await transaction.start()
    try:
        good = await plan_of(after_an_epidemic, FEED["for_persona_top"], *QUERIES["for_persona_top"])
        await after_an_epidemic.execute("DROP INDEX post_counts_top_idx")
        await after_an_epidemic.execute("CREATE INDEX ON post_counts (likes_count DESC, post_id DESC)")
        bad = await plan_of(after_an_epidemic, FEED["for_persona_top"], *QUERIES["for_persona_top"])
        assert blocks(bad) > 1.5 * blocks(good)
    finally:
        await transaction.rollback()


async def test_a_deep_page_costs_no_more_than_the_first(connection: asyncpg.Connection) -> None:
    first = await plan_of(connection, FEED["latest"], INT64_MAX, 21)
    deep = await plan_of(connection, FEED["latest"], 1_000, 21)
    assert deep["Shared Hit Blocks"] <= 1.5 * first["Shared Hit Blocks"]


async def test_without_its_index_a_query_would_fail_here(connection: asyncpg.Connection) -> None:
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute("DROP INDEX post_counts_top_idx")
        plan = await plan_of(connection, FEED["top"], *QUERIES["top"])
        assert big_scans(plan) or plan["Shared Hit Blocks"] > BLOCKS_MOST
    finally:
        await transaction.rollback()
