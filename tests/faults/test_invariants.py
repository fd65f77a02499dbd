"""`simfeed doctor --invariants`: silent over a sound world, and each rule sees what breaks it."""

import json

import asyncpg
import pytest

from app.db.engine import Database
from app.ledger.invariants import RULES, check
from app.venues.feed import open_cycle, play_cycle
from tests.cli.test_cli import simfeed
from tests.conftest import a_mind
from tests.faults.own import SETTINGS, broken
from tests.venues.test_cycle import people

COMMENT = (
    "INSERT INTO comments (post_id, author_id, body) SELECT min(id), 1, 'a harm' FROM posts;"
    " UPDATE post_counts SET comments_count = comments_count + 1 WHERE post_id = (SELECT min(id) FROM posts);"
    " UPDATE personas SET comments_count = comments_count + 1 WHERE id = 1; "
)
"""A comment that is counted wherever it counts, as if imported."""

HARM = {
    "made_is_there": "DELETE FROM reports; UPDATE actions SET effect = 'report', object_id = 999 WHERE ctid = ("
    "SELECT ctid FROM actions WHERE outcome = 'made' LIMIT 1)",
    "made_once": "INSERT INTO actions SELECT turn_id, step, 99, 'x', name, arguments, effect, target_id, outcome,"
    " object_id, '' FROM actions WHERE outcome = 'made' AND effect = 'post' LIMIT 1",
    "made_by_an_action": "INSERT INTO posts (author_id, body, created_at)"
    " SELECT persona_id, 'from nowhere', started_at FROM turns LIMIT 1",
    "actions_ended": "UPDATE actions SET outcome = 'made', object_id = NULL WHERE outcome = 'read'",
    "steps_whole": "UPDATE turns SET next_step = next_step + 1 WHERE id = 1",
    "turn_states": "UPDATE turns SET ended_at = NULL WHERE id = 1",
    "run_states": "UPDATE runs SET turns_total = turns_total + 1",
    "orphans": "SET session_replication_role = replica; UPDATE posts SET author_id = 999 WHERE id = 1",
    "exposures_of_steps": "INSERT INTO exposures (turn_id, step, ordinal, kind, ranker, items)"
    " VALUES (1, 77, 0, 'post', 'latest', '{1}')",
    "post_counts": "UPDATE post_counts SET likes_count = likes_count + 1 WHERE post_id = 1",
    "comment_counts": COMMENT + "UPDATE comments SET likes_count = likes_count + 1 WHERE body = 'a harm'",
    "replies_beneath": COMMENT + "UPDATE comments SET parent_id = id WHERE body = 'a harm'",
    "blocked_apart": "WITH f AS (INSERT INTO follows (follower, followed) VALUES (1, 2)"
    " ON CONFLICT DO NOTHING RETURNING 1),"
    " a AS (UPDATE personas SET following_count = following_count + (SELECT count(*) FROM f) WHERE id = 1),"
    " b AS (UPDATE personas SET followers_count = followers_count + (SELECT count(*) FROM f) WHERE id = 2)"
    " INSERT INTO mutes (persona_id, muted_id, block) VALUES (2, 1, true)"
    " ON CONFLICT (persona_id, muted_id) DO UPDATE SET block = true",
    "persona_counts": "UPDATE personas SET followers_count = followers_count + 1 WHERE id = 1",
    "interventions_done": "INSERT INTO interventions (kind, cycle) VALUES ('news', 1)",
    "told_once": "INSERT INTO exposures (turn_id, step, ordinal, kind, ranker, items)"
    " VALUES (1, 0, 98, 'message', 'intervention', '{1}'), (1, 0, 99, 'message', 'intervention', '{1}')",
    "budgets_held": "INSERT INTO budgets (scope, key, day, held_tokens) VALUES ('run', 1, '1970-01-01', 5)",
    "turns_held": "UPDATE turns SET held_tokens = 5, held_day = now() WHERE id = 1",
    "admins_invited": "INSERT INTO admin (username, email, password_hash) VALUES ('eve', 'eve@example.org', 'x')",
    "invitations_used_in_time": "INSERT INTO admin_invitations (email, token_sha256, expires_at, accepted_at)"
    " VALUES ('a@example.org', 'x', now() + interval '1 h', now() + interval '2 h')",
}


ALONE = {"comment_counts", "replies_beneath", "blocked_apart"}
"""Harms that break their own rule and no other."""


async def lived_in(database: Database) -> None:
    """A world after a cycle."""
    await people(database, 8)
    async with a_mind(database) as mind:
        run_id = await open_cycle(mind, SETTINGS)
        assert run_id is not None
        assert await play_cycle(mind, SETTINGS, run_id) == "completed"


async def test_a_world_that_was_lived_in_is_sound(database: Database, url: str) -> None:
    await lived_in(database)
    assert await broken(url) == {}


def test_every_rule_has_its_harm() -> None:
    assert HARM.keys() == RULES.keys()


async def test_each_rule_sees_its_harm(database: Database, url: str) -> None:
    """Each harm is done and undone within a transaction of its own."""
    await lived_in(database)
    connection = await asyncpg.connect(url)
    try:
        for name, harm in HARM.items():
            undo = connection.transaction(isolation="repeatable_read")
            await undo.start()
            await connection.execute(harm)
            seen = {(f.invariant, f.rule): f for f in await check(connection) if f.violations}
            assert RULES[name] in seen, (name, seen)
            assert seen[RULES[name]].examples
            assert len(seen) == 1 or name not in ALONE, (name, seen)
            await undo.rollback()
        assert not any(finding.violations for finding in await check(connection))
    finally:
        await connection.close()


async def test_what_was_imported_needs_no_action(database: Database, url: str) -> None:
    await people(database, 2)
    await database.fetch("INSERT INTO posts (author_id, body) VALUES (1, 'imported')")
    await database.fetch("INSERT INTO post_counts (post_id) SELECT id FROM posts")
    await database.fetch("UPDATE personas SET posts_count = 1 WHERE id = 1")
    assert await broken(url) == {}


async def test_what_was_taken_back_is_no_loss(database: Database, url: str) -> None:
    from app.world.effects import FollowPersona, Like, NewPost, UnfollowPersona, Unlike
    from tests.ledger.test_commit import commit, step, turns_for

    await turns_for(database, 2)
    await database.fetch("UPDATE runs SET turns_total = 2")
    await commit(database, [step(1, 0, NewPost(body="a"))])
    await commit(database, [step(2, 0, Like(1), FollowPersona(1))])
    await commit(database, [step(2, 1, Unlike(1), UnfollowPersona(1))])
    assert await broken(url) == {}
    await database.fetch("DELETE FROM actions WHERE effect = 'unlike'")
    assert [rule.partition(" ")[0] for rule in await broken(url)] == ["I1"]


@pytest.mark.parametrize("harmed", [False, True])
async def test_the_command(database: Database, url: str, harmed: bool) -> None:
    await people(database, 2)
    if harmed:
        await database.fetch("UPDATE personas SET posts_count = 3")
    told, shown = simfeed(url, "doctor", "--invariants", "--json"), simfeed(url, "doctor", "--invariants")
    assert (told.returncode, shown.returncode) == ((1, 1) if harmed else (0, 0))
    found = {f["rule"]: f for f in json.loads(told.stdout)}
    counters = found["a persona's counters equal their recounts"]
    expected = (2, ["persona 1", "persona 2"]) if harmed else (0, [])
    assert (counters["violations"], counters["examples"]) == expected
    assert "I10" in shown.stderr
    assert ("persona 1; persona 2" in shown.stdout) == harmed
