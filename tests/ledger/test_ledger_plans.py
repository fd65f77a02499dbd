"""What admins and readers ask of the ledger stays bounded at 60,000 turns: by indexes, by turns, or by rows.

Plans are generic, as they are in the program: made once, for whatever is asked later.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from app.db.engine import WEB_TIMEOUTS, Database
from app.db.queries import load
from app.ledger import figures
from app.ledger.origins import CAUSES_MAX, EACH_MAX, READINGS_MAX
from app.ledger.traces import Wanted
from app.world.moderation import AT_ONCE, ENOUGH, JUST_READ, OTHERS, OWN_INSTRUCTIONS, PARTS
from app.world.text import INT64_MAX
from tests.conftest import copy_of, run_sql
from tests.world.test_plans import big_scans, blocks

RUN, TURN, POST, PERSONA = 30, 29_500, 24_000, 7
REPORTED = 10
"""A post with three open reports; of 30,000 reports, of 10,000 posts, one in a hundred is open."""

WORLD = """
INSERT INTO personas (username, description, followers_count, following_count)
    SELECT 'p' || n, 'x', 20, 20 FROM generate_series(1, 5000) n;
INSERT INTO runs (venue, slot, seed, state, turns_total, created_at, started_at, ended_at)
    SELECT 'feed', 's' || n, n, 'completed', 1000, t, t, t + interval '1 hour'
    FROM generate_series(1, 60) n, LATERAL (SELECT now() - make_interval(hours => 4 * (60 - n) + 2) AS t) t;
INSERT INTO turns (run_id, persona_id, ordinal, state, next_step, epoch, started_at, ended_at)
    SELECT r.id, 1 + (n + r.id * 1000) % 5000, n, CASE WHEN n % 50 = 0 THEN 'failed' ELSE 'done' END, 2, 1, t, t
    FROM runs r, generate_series(1, 1000) n, LATERAL (SELECT r.started_at + make_interval(secs => 3 * n) AS t) t
    ORDER BY r.id, n;
INSERT INTO prompt_texts (sha256, body) SELECT sha256(n::text::bytea), 'tools' FROM generate_series(1, 2000) n;
INSERT INTO calls (turn_id, step, status, model, model_returned, options, told, tools_sha256, request_sha256, reply,
        response, prompt_tokens, completion_tokens, cost_usd, latency_ms, created_at)
    SELECT t.id, n, CASE WHEN t.id % 50 = 0 THEN 'timeout' ELSE 'ok' END, 'm', 'm', '{}', '[{"content":"a prompt"}]',
           sha256('1'), sha256('2'), '{"content":"a reply"}', repeat('r', 400)::bytea, 1000, 100, 0.001, 900,
           t.started_at
    FROM turns t, generate_series(0, 1) n ORDER BY t.id, n;
INSERT INTO posts (author_id, body, created_at) SELECT t.persona_id, 'post number ' || t.id, t.started_at
    FROM turns t WHERE t.id <= 50000 ORDER BY t.id;
INSERT INTO post_counts (post_id, likes_count, comments_count, created_at)
    SELECT id, (id * 7919) % 100, (id * 104729) % 30, created_at FROM posts;
INSERT INTO comments (post_id, author_id, body) SELECT 1 + n % 5000, 1 + n % 5000, 'c' FROM generate_series(1, 50000) n;
INSERT INTO likes (post_id, persona_id) SELECT 1 + (n * 7919) % 50000, 1 + n % 5000 FROM generate_series(0, 99999) n
    ON CONFLICT DO NOTHING;
INSERT INTO follows (follower, followed)
    SELECT a, 1 + (a + b) % 5000 FROM generate_series(1, 5000) a, generate_series(1, 20) b;
INSERT INTO actions (turn_id, step, ordinal, call_id, name, arguments, effect, outcome, object_id, detail)
    SELECT id, 0, 0, 'c', 'create_post', '{}', 'post', 'made', id,
           CASE WHEN id % 500 = 0 THEN 'copies what it has just read' ELSE '' END FROM turns WHERE id <= 50000
    UNION ALL
    SELECT id, 1, 0, 'c', 'like_post', '{}', 'like', 'made', id, '' FROM turns
    UNION ALL
    SELECT id, 1, 1, 'c', 'end_turn', '{}', NULL, 'ended', NULL, '' FROM turns ORDER BY 1, 2, 3;
INSERT INTO exposures (turn_id, step, ordinal, kind, ranker, items, created_at)
    SELECT id, 0, 0, 'post', 'hot', ARRAY(SELECT 1 + (id * 7 + n * 31) % 50000 FROM generate_series(1, 10) n),
           started_at
    FROM turns;
INSERT INTO marks (turn_id, step, ordinal, run_id, persona_id, mark, kind, object_id, source_kind, source_id,
        similarity, origin_kind, origin_id, generation, created_at)
    SELECT id, 0, 0, run_id, persona_id, 'copy', 'post', id, 'post', id - 1, 1, 'post', 1 + id % 300, 1, now()
    FROM turns WHERE id % 20 = 0 AND id <= 50000;
INSERT INTO quarantines (post_id, taken_by, reason) SELECT id, 'guard', 'r' FROM posts WHERE id % 100 = 0;
INSERT INTO reports (post_id, reporter_id, reason, verdict, closed_at)
    SELECT 1 + n % 10000, 1 + n / 10000, 'r', v, CASE WHEN v IS NOT NULL THEN now() END
    FROM generate_series(0, 29999) n, LATERAL (SELECT CASE WHEN n % 100 <> 9 THEN 'dismissed' END AS v) t;
INSERT INTO budgets (scope, key, day, spent_tokens, spent_usd)
    SELECT 'persona', p, (now() AT TIME ZONE 'UTC')::date - d, 1000, 1
    FROM generate_series(1, 5000) p, generate_series(0, 9) d
    UNION ALL SELECT 'run', id, DATE '1970-01-01', 1000, 1 FROM runs
    UNION ALL SELECT 'instance', 0, (now() AT TIME ZONE 'UTC')::date - d, 1000, 1 FROM generate_series(0, 9) d;
ANALYZE;
"""
FIGURES, GRAPH, MODERATION = load("figures"), load("graph"), load("moderation")
ORIGINS, SPEND, TRACES = load("origins"), load("spend"), load("traces")
NOW = datetime.now(UTC)
SOME = list(range(1, 151))


@dataclass(frozen=True)
class Asked:
    """A statement as it is asked, and the 8 kB blocks it may touch; `whole` are the tables it reads once, by design."""

    statement: str
    arguments: tuple[Any, ...]
    blocks: int
    whole: frozenset[str] = frozenset()
    before: str = ""


def traces(wanted: Wanted, most: int, *, before: int = INT64_MAX) -> Asked:
    filters = (wanted.state, wanted.status, wanted.action, wanted.text, wanted.cost)
    scope = (before, wanted.far, wanted.run, wanted.persona)
    return Asked(TRACES["traces"].format(among=wanted.among), (*scope, *filters, 31), most)


def looked(wanted: Wanted, most: int) -> Asked:
    statement = TRACES["looked"].format(among=wanted.among)
    return Asked(statement, (INT64_MAX, wanted.far, wanted.run, wanted.persona), most)


def graph(name: str, *whole: str, ties: bool = False) -> Asked:
    frame = (SOME, NOW - timedelta(days=10), 3600, 240, 30_000) if ties else (150,)
    return Asked(GRAPH[name], frame, 8_000, frozenset(whole), GRAPH["roomy"])


ASKED = {
    "origins: the step that made a post": Asked(ORIGINS["origin"], ("post", POST), 100),
    "origins: what was read before": Asked(ORIGINS["readings"], (TURN, 1, 40), 400),
    "origins: how much was read": Asked(ORIGINS["read_counts"], (TURN, 1), 20),
    "origins: what a post caused": Asked(ORIGINS["caused"], ([POST], EACH_MAX + 1, READINGS_MAX), 600),
    "origins: what a level caused": Asked(
        ORIGINS["caused"], (list(range(POST, POST + CAUSES_MAX)), EACH_MAX + 1, READINGS_MAX), 2_000
    ),
    "traces: the newest": traces(Wanted(), 700),
    "traces: from far back": traces(Wanted(), 700, before=1_000),
    "traces: of a run": traces(Wanted(run=RUN), 3_000),
    "traces: of a persona": traces(Wanted(persona=PERSONA), 500),
    "traces: of a persona in a run": traces(Wanted(run=RUN, persona=PERSONA), 100),
    "traces: in a state that none has": traces(Wanted(state="deferred"), 1_500),
    "traces: with a status that none has": traces(Wanted(status="quota"), 30_000),
    "traces: with an action that none has": traces(Wanted(action="mute_user"), 30_000),
    "traces: with words that none has": traces(Wanted(text="nowhere"), 8_000),
    "traces: how far they reach": looked(Wanted(), 1_500),
    "traces: how far a run's reach": looked(Wanted(run=RUN), 3_000),
    "traces: how far a persona's reach": looked(Wanted(persona=PERSONA), 100),
    "traces: what was done": Asked(TRACES["done_in"], (list(range(TURN, TURN + 30)),), 200),
    "traces: one turn": Asked(TRACES["turn"], (TURN,), 100),
    "traces: what a turn was shown": Asked(TRACES["exposures"], (TURN,), 20),
    "figures: the newest runs": Asked(FIGURES["runs"], (INT64_MAX, None, 20), 50),
    "figures: cycles": Asked(FIGURES["cycles"], ("feed", 20), 50),
    "figures: how a run's turns stand": Asked(FIGURES["states"], ([RUN],), 200),
    "figures: how a list's turns stand": Asked(FIGURES["states"], (list(range(31, 61)),), 3_000),
    "figures: what a run took": Asked(FIGURES["usage"], ([RUN],), 7_000),
    "figures: what was done in a run": Asked(FIGURES["done"], (RUN,), 7_000),
    "figures: what troubled a run": Asked(FIGURES["troubles"], (RUN,), 7_000),
    "figures: how fast a run goes": Asked(FIGURES["pace"], (RUN,), 200),
    "figures: a page of a run's turns": Asked(FIGURES["turns"], (RUN, 500, 50), 800),
    "figures: what an hour took": Asked(FIGURES["spent"], (NOW - timedelta(hours=6), NOW - timedelta(hours=5)), 2_500),
    "spend: personas on a page": Asked(SPEND["of_personas"], (list(range(1, 51)),), 6_000),
    "spend: the instance today": Asked(SPEND["instance_today"], (), 30),
    "spend: a persona today": Asked(SPEND["persona_today"], (PERSONA,), 30),
    "spend: who spent most today": Asked(SPEND["personas_today"], (), 30_000),
    "spend: runs": Asked(SPEND["runs"], (), 60),
    "spend: what a day took": Asked(SPEND["day"], (NOW.date() - timedelta(days=2),), 3_000),
    "spend: who halted": Asked(SPEND["halt"], (), 300),
    "spend: models": Asked(SPEND["models"], (), 300, frozenset({"personas"})),
    "moderation: runs left over": Asked(MODERATION["left_over"], (60, "feed", 2), 50),
    "moderation: marks of a run": Asked(
        MODERATION["look_into"], ([RUN], JUST_READ, OWN_INSTRUCTIONS, ENOUGH / PARTS, AT_ONCE), 4_000
    ),
    "moderation: what spreads": Asked(MODERATION["spreading"], (["post"] * 3, [10, 11, 12], OTHERS), 200),
    "moderation: a cascade": Asked(MODERATION["cascade"], ("post", POST, False), 100),
    "moderation: a cascade with what quotes it": Asked(MODERATION["cascade"], ("post", POST, True), 100),
    "moderation: answers to a comment, too": Asked(MODERATION["cascade"], ("comment", PERSONA, True), 100),
    "moderation: counters held": Asked(MODERATION["hold"], ([POST, POST + 1],), 100),
    "moderation: hide": Asked(MODERATION["apply"], ([POST], [PERSONA]), 300),
    "moderation: take": Asked(
        MODERATION["take"], (["post"], [POST + 1], ["post"], [POST + 1], "guard", None, "r"), 200
    ),
    "moderation: lift": Asked(MODERATION["lift"], (POST, None, "r", "post"), 200),
    "moderation: lift a comment": Asked(MODERATION["lift"], (PERSONA, None, "r", "comment"), 200),
    "moderation: open reports": Asked(MODERATION["reports"], (INT64_MAX, 50), 1_000),
    "moderation: close reports": Asked(MODERATION["close_reports"], (REPORTED, "dismissed", None), 200),
    "moderation: what reports were closed with": Asked(MODERATION["last_verdict"], (REPORTED,), 50),
    "moderation: flagged": Asked(MODERATION["flagged"], (JUST_READ, OWN_INSTRUCTIONS, 50), 5_000),
    "moderation: spread lately": Asked(MODERATION["spread_lately"], (20,), 200, frozenset({"marks"})),
    "moderation: quarantined": Asked(MODERATION["quarantined"], (50,), 1_500),
    "moderation: a text": Asked(MODERATION["text_of"], ("post", POST), 50),
    "moderation: how texts spread": Asked(
        MODERATION["infection"],
        (["post"] * 20, list(range(1, 21))),
        16_000,
        frozenset({"marks"}),
        MODERATION["in_bulk"],
    ),
    "graph: span": Asked(GRAPH["span"], (), 100),
    "graph: people": Asked(GRAPH["people"], (SOME,), 1_000),
    "graph: most follows": graph("most_follows", "personas"),
    "graph: most likes": graph("most_likes", "posts", "post_counts", "likes"),
    "graph: most replies": graph("most_replies", "posts", "post_counts", "personas"),
    "graph: follows": graph("ties_follows", "follows", ties=True),
    "graph: likes": graph("ties_likes", "likes", "posts", ties=True),
    "graph: replies": graph("ties_replies", "comments", "posts", ties=True),
}


@pytest.fixture(scope="module")
async def connection(server_url: str, template: str) -> AsyncIterator[asyncpg.Connection]:
    async with copy_of(server_url, template) as url:
        await run_sql(url, WORLD, FIGURES["index_new"])
        found = await asyncpg.connect(url, server_settings=WEB_TIMEOUTS, statement_cache_size=0)
        yield found
        await found.close()


def literal(value: Any) -> str:
    """A value as EXECUTE takes it, which takes no parameters itself."""
    if value is None:
        return "NULL"
    if isinstance(value, list):
        value = "{" + ",".join(map(str, value)) + "}"
    if isinstance(value, date):
        value = value.isoformat()
    return "'" + str(value).replace("'", "''") + "'"


async def plan_of(connection: asyncpg.Connection, asked: Asked) -> dict[str, Any]:
    """The plan by which a statement was carried out; what it wrote is undone."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        if asked.before:
            await connection.execute(asked.before)
        await connection.execute(f"PREPARE asked AS {asked.statement}")
        given = ", ".join(map(literal, asked.arguments))
        call = f"EXECUTE asked({given})" if given else "EXECUTE asked"
        explained = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {call}")
    finally:
        await transaction.rollback()
        await connection.execute("DEALLOCATE asked")
    found: dict[str, Any] = json.loads(explained)[0]["Plan"]
    return found


@pytest.mark.parametrize("name", ASKED)
async def test_a_statement_reads_little(connection: asyncpg.Connection, name: str) -> None:
    asked = ASKED[name]
    plan = await plan_of(connection, asked)
    scans = big_scans(plan)
    assert set(scans) <= asked.whole
    assert len(scans) == len(set(scans)), "a whole table is read once at most"
    assert blocks(plan) <= asked.blocks


def test_all_their_statements_are_looked_at() -> None:
    """What only sets a transaction up, or reads a row by its key from a table that stays small, needs no plan."""
    small = {
        "among_all", "among_run", "among_persona", "among_both", "texts", "standing", "server", "today", "turn",
        "exists", "roomy", "in_bulk", "index_new", "unsettled",
    }  # fmt: skip
    looked_at = {asked.statement for asked in ASKED.values()}
    for file in (FIGURES, GRAPH, MODERATION, ORIGINS, SPEND, TRACES):
        missing = {
            name for name, statement in file.items() if statement not in looked_at and "{among}" not in statement
        }
        assert missing <= small


async def test_calls_that_no_vacuum_has_come_to_are_found_soon(connection: asyncpg.Connection) -> None:
    """The index of calls by time knows nothing of new pages by itself, and they are all read then."""
    forget = "SELECT brin_desummarize_range('calls_created_at_idx', n) FROM generate_series(0, $1::int, 128) n"
    pages = await connection.fetchval("SELECT relpages FROM pg_class WHERE relname = 'calls'")
    await connection.fetch(forget, pages)
    for name in ("spend: what a day took", "figures: what an hour took"):
        assert blocks(await plan_of(connection, ASKED[name])) > 2 * ASKED[name].blocks
    assert await connection.fetchval(FIGURES["index_new"]) > 20
    for name in ("spend: what a day took", "figures: what an hour took"):
        assert blocks(await plan_of(connection, ASKED[name])) <= ASKED[name].blocks
    assert await connection.fetchval(FIGURES["index_new"]) == 0


async def test_a_vacuum_is_not_waited_for(database: Database) -> None:
    async with database.connection() as other, other.transaction():
        await other.execute("LOCK TABLE calls IN SHARE UPDATE EXCLUSIVE MODE")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await database.fetchval(FIGURES["index_new"])
        await figures.index_new(database)
        assert await figures.Day().spent(database, NOW) == figures.Spent()


async def test_control_a_join_that_reads_all_is_found_out(connection: asyncpg.Connection) -> None:
    joined = "SELECT count(*) FROM calls c JOIN turns t ON t.id = c.turn_id WHERE t.run_id = $1"
    plan = await plan_of(connection, Asked(joined, (RUN,), 0))
    assert big_scans(plan) or blocks(plan) > ASKED["figures: what a run took"].blocks
    bad = Asked(ORIGINS["origin"], ("post", POST), 100, before="DROP INDEX actions_object_idx")
    plan = await plan_of(connection, bad)
    assert big_scans(plan) or blocks(plan) > bad.blocks
