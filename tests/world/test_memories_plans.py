"""Recall costs the same after 500 cycles: a bounded number of memories, found by an index, in one statement."""

import json
from datetime import timedelta
from typing import Any

import pytest

from app.actions.showing import tokens
from app.agent import memory
from app.agent.memory import LINE_TOKENS, Remembering
from app.db.engine import Database
from app.settings import load_settings
from app.world import memories
from app.world.memories import DECAY, MEMORIES, PICKED, SAYS_NOTHING, WEIGHTS
from tests.world.test_memories import NOW, people

CYCLES, MOST, BUDGET = 500, 60, 200
WHO = [1, 2, 3]
LIVED = """
WITH run AS (INSERT INTO runs (venue, slot, seed, state) VALUES ('feed', 'c' || $1::int, 1, 'completed') RETURNING id),
turned AS (
    INSERT INTO turns (run_id, persona_id, ordinal, state) SELECT id, p, p, 'done' FROM run, generate_series(1, 3) p
    RETURNING id, persona_id
),
posted AS (
    INSERT INTO posts (author_id, body)
    SELECT persona_id, 'Post ' || $1::int || ' about '
        || (ARRAY['trams', 'herons', 'soup', 'tides', 'chess'])[1 + ($1::int + persona_id) % 5]
        || ', and why it matters more than most people think it does'
    FROM turned RETURNING id, author_id
),
called AS (
    INSERT INTO calls (
        turn_id, step, status, model, model_returned, options, told, tools_sha256, request_sha256, reply, response
    )
    SELECT t.id, s, 'ok', 'm', 'm', '', '[]', '', '', '', '' FROM turned t, generate_series(0, 1) s
)
SELECT (SELECT id FROM run) AS run_id, t.id AS turn_id, t.persona_id, p.id AS post_id,
       (SELECT o.id FROM posts o WHERE o.author_id = 1 + t.persona_id % 3 ORDER BY o.id DESC LIMIT 1) AS theirs
FROM turned t JOIN posted p ON p.author_id = t.persona_id ORDER BY 1, 2
"""
DID = """
WITH said AS (
    INSERT INTO comments (post_id, author_id, body) SELECT * FROM unnest($3::bigint[], $2::bigint[], $4::text[])
    RETURNING id, author_id
)
INSERT INTO actions (turn_id, step, ordinal, call_id, name, arguments, effect, target_id, outcome, object_id)
SELECT t, 0, 0, 'c', 'create_post', '{}', 'post', NULL, 'made', mine
FROM unnest($1::bigint[], $5::bigint[]) AS u (t, mine)
UNION ALL
SELECT u.t, 1, 0, 'd', 'comment_on_post', '{}', 'comment', u.post, 'made', s.id
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS u (t, who, post) JOIN said s ON s.author_id = u.who
"""


async def live_through(database: Database, cycles: int) -> None:
    """Three personas post, and answer one another with kind and unkind words, cycle after cycle."""
    for n in range(cycles):
        rows = await database.fetch(LIVED, n)
        said = [f"@x {'that is nonsense' if (n + k) % 3 else 'well said, I agree'}, number {n}" for k in range(3)]
        asked = [row for row in rows if row["theirs"] is not None]
        await database.fetch(
            DID,
            [row["turn_id"] for row in asked],
            [row["persona_id"] for row in asked],
            [row["theirs"] for row in asked],
            said[: len(asked)],
            [row["post_id"] for row in asked],
        )
        await memories.remember(database, rows[0]["run_id"], now=at(n), most=MOST)


def at(cycle: int) -> Any:
    return NOW + timedelta(minutes=30 * cycle)


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in nodes(child))]


@pytest.fixture
async def old_world(database: Database) -> Database:
    await people(database, "ann", "bob", "cid", interests='["herons", "trams"]')
    await live_through(database, CYCLES)
    await database.fetch("ANALYZE")
    return database


async def plan_of(database: Database, whose: list[int]) -> dict[str, Any]:
    query = MEMORIES["recall"].replace("{relevance}", MEMORIES["relevance_by_words"])
    args = (whose, at(CYCLES), PICKED, None, None, SAYS_NOTHING, *WEIGHTS, DECAY)
    explained = await database.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}", *args)
    found = json.loads(explained)[0]["Plan"]
    assert isinstance(found, dict)
    return found


async def test_after_500_cycles_recall_is_bounded(old_world: Database) -> None:
    database = old_world
    live = await database.fetch(
        "SELECT persona_id, count(*) AS n FROM memories WHERE folded_into IS NULL GROUP BY 1 ORDER BY 1"
    )
    assert [row["n"] for row in live] == [MOST] * 3
    assert await database.fetchval("SELECT count(*) FROM memories") == 3 * MOST
    how = Remembering.of(load_settings(memory_tokens=BUDGET), {})
    for cycle in (CYCLES, CYCLES + 48):
        found = await memory.come_to_mind(database, how, WHO, now=at(cycle), run_id=10**6)
        assert set(found) == set(WHO)
        for recollection in found.values():
            assert 3 <= len(recollection.lines) <= PICKED
            assert sum(tokens(line) + LINE_TOKENS for line in recollection.lines) <= BUDGET
    assert (
        await database.fetchval("SELECT counts[1] FROM memories WHERE kind = 'bond' AND persona_id = 1 AND about = 2")
        >= CYCLES - 2
    )

    plan = await plan_of(database, WHO)
    scans = [node for node in nodes(plan) if node.get("Relation Name") == "memories"]
    assert scans
    assert {node["Node Type"] for node in scans} <= {"Index Scan", "Bitmap Heap Scan"}
    read = [node["Actual Rows"] * node["Actual Loops"] for node in scans]
    assert sum(read) <= 3 * MOST
    blocks = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    assert blocks <= 3_000


async def test_without_a_cap_a_persona_would_remember_ever_more(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the one above."""
    monkeypatch.setitem(MEMORIES, "trim", "SELECT cardinality($1::bigint[]) + $2::int")
    await people(database, "ann", "bob", "cid")
    await live_through(database, 60)
    assert await database.fetchval("SELECT count(*) FROM memories WHERE persona_id = 1") > 2 * MOST


async def test_one_statement_recalls_for_everybody(old_world: Database) -> None:
    together = await memories.recall(old_world, WHO, now=at(CYCLES))
    alone = {who: (await memories.recall(old_world, [who], now=at(CYCLES)))[who] for who in WHO}
    assert together == alone
