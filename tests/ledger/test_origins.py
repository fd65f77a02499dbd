"""From a thing to the step that made it, and from a post to what came of it."""

import json
from dataclasses import replace

import pytest

from app.db.engine import Database
from app.ledger import origins
from app.ledger.commit import Committer, ExposureRecord, StepRecord
from app.ledger.origins import Deed
from app.world.effects import FollowPersona, Kind, Like, NewBio, NewComment, NewPost, Repost
from app.world.text import INT64_MAX
from tests.ledger.test_commit import step, turns_for


def read(record: StepRecord, *items: int, kind: str = "post") -> StepRecord:
    """`record`, with things shown before it."""
    return replace(record, exposures=(ExposureRecord(0, kind, "latest", items),))


@pytest.fixture
async def world(database: Database) -> Database:
    """Persona 1 posts; 2 likes, answers and follows it and posts; 3 shares 1; 4 likes what 3 shared; 5 posts unread."""
    await turns_for(database, 6)
    reply = json.dumps({"role": "assistant", "content": "I shall say hello."}).encode()
    async with Committer(database, lease_seconds=20) as committer:
        await committer.commit(replace(step(1, 0, NewPost(body="hello")), reply=reply))
        await committer.commit(read(step(2, 0, Like(1), NewComment(1, body="well said")), 1))
        await committer.commit(step(2, 1, FollowPersona(1), NewPost(body="inspired")))
        await committer.commit(step(3, 0, Repost(1)))
        await committer.commit(step(4, 0, Like(3), NewBio(body="new")))
        await committer.commit(step(5, 0, NewPost(body="unrelated")))
        await committer.commit(read(step(6, 0, NewPost(body="only read it")), 4, 1))
        await committer.commit(step(5, 1, NewBio(body="first"), NewPost(body="again")))
    return database


def told(deeds: list[Deed]) -> set[tuple[str, int]]:
    return {(deed.effect, deed.persona_id) for deed in deeds}


async def test_a_thing_leads_to_the_step_that_made_it(world: Database) -> None:
    found = await origins.origin(world, "post", 1)
    assert found is not None
    assert (found.turn_id, found.step, found.ordinal, found.run_id, found.persona_id) == (1, 0, 0, 1, 1)
    assert (found.username, found.model, found.thought) == ("p1", "m", "I shall say hello.")
    assert (found.steps, found.tokens, float(found.cost_usd), found.made) == (1, 15, 0.001, 1)
    assert found.trace == "/admin/traces/1#step-0"
    comment = await origins.origin(world, "comment", 1)
    assert comment is not None
    assert (comment.turn_id, comment.ordinal, comment.thought) == (2, 1, "")
    later = await origins.origin(world, "post", 2)
    assert later is not None
    assert (later.step, later.steps, later.tokens) == (1, 2, 30)


@pytest.mark.parametrize(
    ("effect", "object_id"), [("post", 99), ("post", INT64_MAX), ("like", 77), ("repost", 1), ("mute", 1)]
)
async def test_what_no_turn_made_has_no_origin(world: Database, effect: Kind, object_id: int) -> None:
    assert await origins.origin(world, effect, object_id) is None


async def test_a_bios_origin_is_the_newest(world: Database) -> None:
    async with Committer(world, lease_seconds=20) as committer:
        await committer.commit(step(5, 2, NewBio(body="second")))
    found = await origins.origin(world, "bio", 5)
    assert found is not None
    assert (found.turn_id, found.step) == (5, 2)


async def test_what_comes_of_a_post(world: Database) -> None:
    cascade = await origins.cascade(world, 1)
    assert told(cascade.deeds) == {("like", 2), ("comment", 2), ("follow", 2), ("post", 2), ("repost", 3), ("post", 6)}
    by = {(deed.effect, deed.persona_id): deed for deed in cascade.deeds}
    assert by["post", 2].acted
    assert not by["post", 6].acted
    assert by["comment", 2].body == "well said"
    assert by["like", 2].trace == "/admin/traces/2#step-0"
    assert told(by["repost", 3].consequences) == {("like", 4)}
    assert (cascade.size, cascade.depth, cascade.cut) == (7, 2, False)


async def test_what_was_done_before_the_reading_is_no_consequence(database: Database) -> None:
    await turns_for(database, 2)
    async with Committer(database, lease_seconds=20) as committer:
        await committer.commit(step(1, 0, NewPost(body="hello")))
        await committer.commit(step(2, 0, NewPost(body="early"), FollowPersona(1)))
        await committer.commit(read(step(2, 1, NewPost(body="late")), 1))
    cascade = await origins.cascade(database, 1)
    assert [deed.body for deed in cascade.deeds] == ["late"]


async def test_nobody_causes_themselves(database: Database) -> None:
    await turns_for(database, 1)
    async with Committer(database, lease_seconds=20) as committer:
        await committer.commit(step(1, 0, NewPost(body="hello")))
        await committer.commit(step(1, 1, NewComment(1, body="to myself")))
    assert (await origins.cascade(database, 1)).size == 0


async def test_a_post_that_no_turn_made_has_direct_consequences(database: Database) -> None:
    await turns_for(database, 2)
    await database.fetchval("INSERT INTO posts (author_id, body) VALUES (1, 'seed')")
    await database.fetchval("INSERT INTO post_counts (post_id) VALUES (1)")
    await database.fetchval("INSERT INTO likes (post_id, persona_id) VALUES (1, 2)")
    cascade = await origins.cascade(database, 1)
    assert [(deed.effect, deed.turn_id, deed.trace) for deed in cascade.deeds] == [("like", None, "")]


async def test_a_cascade_has_bounds(database: Database) -> None:
    await turns_for(database, 1)
    await database.fetchval(
        "INSERT INTO personas (username, description) SELECT 'q' || n, 'x' FROM generate_series(1, 100) n"
    )
    async with Committer(database, lease_seconds=20) as committer:
        await committer.commit(step(1, 0, NewPost(body="hello")))
    await database.fetchval("INSERT INTO likes (post_id, persona_id) SELECT 1, n FROM generate_series(2, 90) n")
    await database.fetchval(
        "INSERT INTO comments (post_id, author_id, body) SELECT 1, n, 'c' FROM generate_series(2, 90) n"
    )
    cascade = await origins.cascade(database, 1)
    assert cascade.size == 2 * origins.EACH_MAX
    assert cascade.cut


async def test_what_was_read_is_told_last_first_and_once(world: Database) -> None:
    async with Committer(world, lease_seconds=20) as committer:
        await committer.commit(read(step(6, 1, NewPost(body="more")), 1, 2))
    rows = await origins.readings(world, 6, 1)
    assert [(row["kind"], row["object_id"]) for row in rows] == [("post", 1), ("post", 2), ("post", 4)]
    assert (rows[0]["username"], rows[0]["excerpt"]) == ("p1", "hello")
    assert await origins.read_counts(world, 6, 1) == {"post": 3}
    assert [row["object_id"] for row in await origins.readings(world, 6, 0)] == [4, 1]
    assert await origins.readings(world, 6, 1, limit=1) == rows[:1]


async def test_what_is_in_quarantine_is_left_out(world: Database) -> None:
    await world.fetchval("UPDATE posts SET hidden = true WHERE id IN (3, 4)")
    await world.fetchval("UPDATE post_counts SET hidden = true WHERE post_id IN (3, 4)")
    await world.fetchval("UPDATE comments SET hidden = true")
    cascade = await origins.cascade(world, 1)
    assert told(cascade.deeds) == {("like", 2), ("follow", 2), ("post", 2), ("post", 6)}
    assert [row["object_id"] for row in await origins.readings(world, 6, 0)] == [1]
    await world.fetchval("UPDATE posts SET hidden = true WHERE id = 1")
    assert (await origins.cascade(world, 1)).size == 0
