"""A small world filled by hand is measured through SQL: known values of every family, None with a reason."""

import math
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from app.analysis.catalogue import FAMILIES, METRICS
from app.analysis.measuring import LEDGER, Measured, measure, series
from app.analysis.reckoning import SIZES, VALUES
from app.db.engine import Database
from app.errors import Invalid, NotFound
from tests.conftest import copy_of, run_sql

WORLD = """
INSERT INTO personas (username, description, profile, status) VALUES
    ('ann', 'x', '{"leaning": "left"}', 'active'), ('bob', 'x', '{"leaning": "left"}', 'active'),
    ('cat', 'x', '{"leaning": "right"}', 'departed'), ('dan', 'x', '{}', 'paused'), ('zoe', 'x', '{}', 'cast');
INSERT INTO runs (id, venue, slot, seed, state, turns_total, world_at) VALUES
    (1, 'feed', 'a', 1, 'completed', 3, '2026-11-20 12:00Z'), (2, 'dialogue', 'b', 1, 'completed', 1, NULL),
    (3, 'feed', 'c', 1, 'partial', 2, '2026-11-20 13:00Z');
INSERT INTO turns (id, run_id, persona_id, ordinal, state) VALUES
    (1, 1, 1, 1, 'done'), (2, 1, 2, 2, 'done'), (3, 1, 3, 3, 'refused'), (4, 2, 1, 1, 'done'),
    (5, 3, 2, 1, 'done'), (6, 3, 3, 2, 'failed'), (7, 3, 4, 3, 'limit');
INSERT INTO posts (id, author_id, body, repost_of, quote_of, hidden, created_at) VALUES
    (1, 1, 'you are a stupid idiot', NULL, NULL, false, '2026-11-20 11:00Z'),
    (2, 2, 'what a lovely day it is', NULL, NULL, false, '2026-11-20 12:00Z'),
    (3, 3, '', 2, NULL, false, '2026-11-20 12:01Z'),
    (4, 3, 'what a lovely day it is', NULL, 1, false, '2026-11-20 13:00Z'),
    (5, 4, 'nobody can see this', NULL, NULL, true, '2026-11-20 13:00Z');
INSERT INTO comments (id, post_id, author_id, body, parent_id, hidden, created_at) VALUES
    (1, 1, 2, 'yes, I agree', NULL, false, '2026-11-20 12:02Z'), (2, 1, 1, 'no', 1, false, '2026-11-20 13:01Z'),
    (3, 2, 1, 'hidden', NULL, true, '2026-11-20 13:01Z'),
    (4, 5, 1, 'on a hidden one', NULL, false, '2026-11-20 13:01Z');
INSERT INTO likes (id, post_id, persona_id) VALUES (1, 1, 2), (2, 3, 1), (3, 2, 3), (4, 1, 3), (5, 4, 2), (6, 5, 1);
INSERT INTO follows (id, follower, followed) VALUES (1, 1, 2), (2, 2, 1), (3, 3, 1);
INSERT INTO calls (turn_id, step, status, model, model_returned, options, told, tools_sha256, request_sha256, reply,
                   response, prompt_tokens, completion_tokens, cost_usd, latency_ms)
    SELECT turn, step, status, 'm', 'm', '', '', '', '', '', '', 100, 10, usd, ms FROM (VALUES
        (1, 0, 'ok', 0.5, 100), (2, 0, 'ok', 0.25, 200), (3, 0, 'refused', 0, 50),
        (4, 0, 'ok', 1, 400), (5, 0, 'ok', 0.25, 300),
        (6, 0, 'error', NULL, 9000)
    ) v (turn, step, status, usd, ms);
INSERT INTO actions (turn_id, step, ordinal, call_id, name, arguments, effect, outcome, object_id) VALUES
    (2, 0, 0, 'a', 'x', '{}', 'post', 'made', 2), (3, 0, 0, 'a', 'x', '{}', 'repost', 'made', 3),
    (5, 0, 0, 'a', 'x', '{}', 'quote', 'made', 4), (2, 0, 1, 'b', 'x', '{}', 'comment', 'made', 1),
    (5, 0, 1, 'b', 'x', '{}', 'reply', 'made', 2), (2, 0, 2, 'c', 'x', '{}', 'like', 'made', 1),
    (3, 0, 2, 'c', 'x', '{}', 'like', 'made', 3), (3, 0, 3, 'd', 'x', '{}', 'like', 'made', 4),
    (5, 0, 2, 'c', 'x', '{}', 'like', 'made', 5), (5, 0, 3, 'd', 'x', '{}', 'like', 'already', NULL),
    (1, 0, 0, 'a', 'x', '{}', 'follow', 'made', 1), (5, 0, 4, 'e', 'x', '{}', 'follow', 'made', 2);
INSERT INTO exposures (turn_id, step, ordinal, kind, ranker, items) VALUES
    (1, 0, 0, 'post', 'latest', '{2, 3, 4, 1}'), (2, 0, 0, 'post', 'latest', '{1}'), (2, 0, 1, 'persona', 'x', '{3}'),
    (5, 0, 0, 'post', 'latest', '{4, 1}');
"""
KNOWN: dict[str, float | None] = {
    "active_share": 3 / 4, "posts_per_persona": 1, "comments_per_persona": 2 / 4, "likes_per_persona": 5 / 4,
    "follows_per_persona": 3 / 4, "participation_entropy": 1.584963,  # posts and comments: ann 2, bob 2, cat 2
    "participation_evenness": 1.584963 / 2,
    "attention_gini": 7 / 15,  # likes got: ann 2, bob 2 (one of them of a repost of hers), cat 1, dan 0
    "top_share": 2 / 5,
    "density": 3 / 12, "reciprocity": 2 / 3, "ei_index": -1 / 3, "clustering": 0.0,
    "leaning_modularity": 2 / 3 - (5 / 6) ** 2 - (1 / 6) ** 2,
    "exposure_entropy": 0.918296,  # ann saw bob twice (once by a repost) and cat, bob ann twice and cat
    "cross_cutting_share": 1 / 3,
    "opinion_mean": -2 / 3, "opinion_variance": 2 / 9,  # ann liked bob's: -1; bob ann's and cat's: 0; cat: -1
    "cascade_size": 3, "cascade_largest": 4, "cascade_depth": 3 / 2, "structural_virality": (1 + 10 / 6) / 2,
    "text_length": (5 + 6 + 6 + 3 + 1) / 5, "toxicity_share": 1 / 5, "distinct_share": 4 / 5, "near_copy_rate": 1 / 3,
    "agreement": 0.3333,  # agree, yes, lovely, lovely; stupid, idiot
    "lexical_diversity": None, "self_similarity": 0.0, "topic_drift": None,
    "calls": 6, "prompt_tokens": 600, "completion_tokens": 60, "cost_usd": None, "latency_p50_ms": 250,
    "latency_p95_ms": 385, "refusal_share": 1 / 7, "missing_turn_share": 1 / 7,
}  # fmt: skip


@pytest.fixture(scope="module")
async def small(server_url: str, template: str) -> AsyncIterator[Database]:
    """The world above."""
    async with copy_of(server_url, template) as url:
        await run_sql(url, WORLD)
        database = await Database.open(url, size=2)
        yield database
        await database.close()


@pytest.fixture(scope="module")
async def found(small: Database) -> Measured:
    return await measure(small)


@pytest.mark.parametrize("name", KNOWN)
def test_known_values_through_sql(found: Measured, name: str) -> None:
    wanted = KNOWN[name]
    assert found.values[name] == (None if wanted is None else pytest.approx(wanted, abs=1e-4)), name


def test_all_that_was_asked_is_told_and_nothing_is_nan(found: Measured) -> None:
    assert list(found.values) == list(METRICS) == [one for one in METRICS if one in VALUES]
    assert {METRICS[name].family for name in KNOWN} == set(FAMILIES)
    assert all(value is None or math.isfinite(value) for value in found.values.values())
    assert set(found.why) == {name for name, value in found.values.items() if value is None}
    assert found.why["lexical_diversity"] == "needs 50 words"
    assert found.counts == {
        "personas": 4, "posts": 4, "comments": 2, "likes": 5, "follows": 3, "exposures": 7, "runs": 3,
    }  # fmt: skip


def test_each_value_lies_within_its_bounds(found: Measured) -> None:
    for name, value in found.values.items():
        low, high = METRICS[name].bounds
        assert value is None or ((low is None or value >= low) and (high is None or value <= high)), name


def test_whatever_a_monitor_judges_says_from_how_much_it_is_known() -> None:
    assert set(SIZES) == {one.name for one in METRICS.values() if one.monitor}


async def test_of_runs_only_what_their_turns_did_counts(small: Database) -> None:
    names = ["posts_per_persona", "likes_per_persona", "density", "cascade_size", "text_length", "calls", "cost_usd"]
    one = await measure(small, names, runs=[1])
    assert one.counts == {
        "personas": 4, "posts": 2, "comments": 1, "likes": 3, "follows": 1, "exposures": 5, "runs": 1,
    }  # fmt: skip
    assert list(one.values.values()) == pytest.approx([0.5, 0.75, 0.25, 1.5, 4.5, 3, 0.75])
    later = await measure(small, names, since=1)
    assert later.counts["runs"] == 2
    assert later.counts["posts"] == 1
    assert (later.values["cost_usd"], later.why["cost_usd"]) == (None, "needs a price for every model call")
    assert await measure(small, names, runs=[1, 3], since=1) == await measure(small, names, runs=[3])
    nothing = await measure(small, ["text_length", "posts_per_persona", "calls", "density"], since=99)
    assert nothing.values == {"text_length": None, "posts_per_persona": 0, "calls": None, "density": 0.25}


async def test_drift_of_opinions_is_between_the_halves_of_the_runs(small: Database) -> None:
    assert (await measure(small, ["opinion_drift"])).values == {"opinion_drift": 2.0}, "bob: ann in run 1, cat in run 3"
    assert (await measure(small, ["opinion_drift"], runs=[1])).values == {"opinion_drift": None}


async def test_a_series_goes_by_cycles_of_the_feed(small: Database) -> None:
    rows = await series(small, ["opinion_drift", "density", "text_length"])
    assert [row["run"] for row in rows] == [1, 3], "run 2 is a dialogue"
    assert [row["at"] for row in rows] == ["2026-11-20T12:00:00+00:00", "2026-11-20T13:00:00+00:00"]
    assert {name: rows[0][name] for name in LEDGER} == {
        "posts": 2, "comments": 1, "likes": 3, "follows": 1, "active": 3, "calls": 3, "tokens": 330, "usd": 0.75,
        "failed": 0,
    }  # fmt: skip
    assert (rows[1]["usd"], rows[1]["failed"], rows[1]["active"]) == (None, 1, 3)
    assert [row["opinion_drift"] for row in rows] == [None, 2.0]
    assert [row["density"] for row in rows] == pytest.approx([2 / 12, 3 / 12])
    seen = [row["exposure_entropy"] for row in await series(small, ["exposure_entropy"])]
    assert seen == pytest.approx([0.918296 / 2, 1]), "ann saw bob twice and cat, bob ann; then bob cat and ann"
    assert [row["run"] for row in await series(small, since=1)] == [3]
    assert set(rows[0]) == {"run", "at", *LEDGER, "opinion_drift", "density", "text_length"}


async def test_an_unknown_name_is_refused_with_its_place_and_what_is_near(small: Database) -> None:
    with pytest.raises(Invalid, match=r"metrics\.2: there is no metric 'densty': did you mean density") as refused:
        await measure(small, ["density", "densty", "\x00qqq"])
    assert "metrics.3" in refused.value.detail
    with pytest.raises(Invalid):
        await series(small, ["posts"])
    with pytest.raises(NotFound, match="number 77"):
        await measure(small, ["density"], runs=[1, 77])


async def test_an_empty_world_has_reasons_and_no_numbers_made_up(database: Database) -> None:
    found = await measure(database)
    assert set(found.counts.values()) == {0}
    assert all(value is None for value in found.values.values())
    assert await series(database, ["density"]) == []


async def test_same_seed_same_values(small: Database, found: Measured) -> None:
    assert await measure(small) == found


async def test_one_text_said_by_all_is_an_alarm(url: str, database: Database) -> None:
    assert not (await measure(database)).alarms
    connection: Any = await asyncpg.connect(url)
    await connection.execute(
        "INSERT INTO personas (username, description) SELECT 'p' || n, 'x' FROM generate_series(1, 9) n"
    )
    insert = "INSERT INTO posts (author_id, body) SELECT id, {} FROM personas, generate_series(1, 2) n"
    different = "(SELECT string_agg(md5(personas.id || '-' || n || '-' || k), ' ') FROM generate_series(1, 14) k)"
    await connection.execute(insert.format(different))
    quiet = await measure(database)
    assert (quiet.alarms, quiet.values["distinct_share"]) == ({}, 1.0)
    await connection.execute("DELETE FROM posts")
    await connection.execute(
        insert.format("'yes, yes, I agree: exactly this, of course, and always the same words again'")
    )
    await connection.close()
    loud = await measure(database)
    assert loud.alarms == {
        "lexical_diversity": "alarm", "text_similarity": "alarm", "self_similarity": "alarm", "agreement": "alarm",
    }  # fmt: skip
    assert loud.values["distinct_share"] == pytest.approx(1 / 18)
