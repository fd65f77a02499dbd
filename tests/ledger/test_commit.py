"""The committer: exactly once, fenced, grouped; counters equal their recounts."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from app.db.engine import Database
from app.ledger.commit import ActionRecord, Committer, EffectOutcome, ExposureRecord, StepRecord, Superseded
from app.world.effects import (
    Effect,
    FollowPersona,
    Like,
    MutePersona,
    NewBio,
    NewComment,
    NewPost,
    ReportPost,
    Repost,
    UnfollowPersona,
    Unlike,
)

RECOUNTS = {
    "post_counts": """
        SELECT count(*) FROM post_counts c WHERE likes_count <> (SELECT count(*) FROM likes WHERE post_id = c.post_id)
        OR comments_count <> (SELECT count(*) FROM comments WHERE post_id = c.post_id)
        OR reposts_count <> (SELECT count(*) FROM posts WHERE repost_of = c.post_id)""",
    "personas": """
        SELECT count(*) FROM personas p WHERE posts_count <> (SELECT count(*) FROM posts WHERE author_id = p.id)
        OR comments_count <> (SELECT count(*) FROM comments WHERE author_id = p.id)
        OR followers_count <> (SELECT count(*) FROM follows WHERE followed = p.id)
        OR following_count <> (SELECT count(*) FROM follows WHERE follower = p.id)""",
}


async def drifted(database: Database) -> dict[str, int]:
    return {name: await database.fetchval(query) for name, query in RECOUNTS.items()}


async def turns_for(database: Database, personas: int) -> None:
    """Personas 1..n, one run, and a claimed turn n for each persona n."""
    await database.fetchval(
        "INSERT INTO personas (username, description) SELECT 'p' || n, 'x' FROM generate_series(1, $1::int) n", personas
    )
    await database.fetchval("INSERT INTO runs (venue, slot, seed, state) VALUES ('feed', 's', 1, 'running')")
    await database.fetchval(
        "INSERT INTO turns (run_id, persona_id, ordinal, state, epoch)"
        " SELECT 1, n, n, 'running', 1 FROM generate_series(1, $1::int) n",
        personas,
    )


def step(turn: int, number: int, *effects: Effect, **more: Any) -> StepRecord:
    actions = tuple(ActionRecord(n, f"c{number}-{n}", "act", "{}", effect) for n, effect in enumerate(effects))
    record = StepRecord(
        turn_id=turn,
        persona_id=turn,
        epoch=1,
        step=number,
        state="running",
        reason=None,
        status="ok",
        detail="",
        model="m",
        model_returned="m",
        options=b"{}",
        told=b"[]",
        tools_sha256=b"t",
        request_sha256=b"r",
        reply=b"{}",
        response=b"raw \x00 bytes",
        prompt_tokens=10,
        completion_tokens=5,
        cached_tokens=0,
        cost_usd=0.001,
        latency_ms=3,
        actions=actions,
    )
    return replace(record, **more)


async def commit(database: Database, records: Sequence[StepRecord]) -> list[Any]:
    async with Committer(database, lease_seconds=20) as committer:
        return await asyncio.gather(*map(committer.commit, records), return_exceptions=True)


def outcome(result: Any, ordinal: int = 0) -> str:
    assert isinstance(result, dict), result
    found = result[ordinal]
    assert isinstance(found, EffectOutcome)
    return found.outcome


async def test_every_effect_and_its_outcomes(database: Database) -> None:
    await turns_for(database, 3)
    made = await commit(database, [step(1, 0, NewPost(body="hello", title="t")), step(2, 0, NewBio(body="new me"))])
    post = made[0][0].object_id
    assert post is not None
    second = [
        step(2, 1, Like(post), NewComment(post, body="c"), FollowPersona(1), Repost(post), ReportPost(post, body="r")),
        step(1, 1, Like(post), FollowPersona(1), Repost(post), FollowPersona(99), Like(99)),
    ]
    two, one = await commit(database, second)
    assert [outcome(two, n) for n in range(5)] == ["made"] * 5
    assert [outcome(one, n) for n in range(5)] == ["not_allowed"] * 3 + ["not_found"] * 2
    (again,) = await commit(
        database, [step(2, 2, Like(post), FollowPersona(1), Repost(post), ReportPost(post, body="r"))]
    )
    assert [outcome(again, n) for n in range(4)] == ["already"] * 4
    (undone,) = await commit(database, [step(2, 3, Unlike(post), UnfollowPersona(1))])
    assert [outcome(undone, n) for n in range(2)] == ["made"] * 2
    (nothing,) = await commit(database, [step(2, 4, Unlike(post), UnfollowPersona(1))])
    assert [outcome(nothing, n) for n in range(2)] == ["already"] * 2
    assert await database.fetchval("SELECT bio FROM personas WHERE id = 2") == "new me"
    assert await drifted(database) == {"post_counts": 0, "personas": 0}


async def test_who_is_muted_may_not_follow_or_comment(database: Database) -> None:
    await turns_for(database, 2)
    (made,) = await commit(database, [step(1, 0, NewPost(body="hello"), MutePersona(2), MutePersona(1))])
    assert [outcome(made, n) for n in range(3)] == ["made", "made", "not_allowed"]
    post = made[0].object_id
    (tried,) = await commit(database, [step(2, 0, FollowPersona(1), NewComment(post, body="c"), Repost(post))])
    assert [outcome(tried, n) for n in range(3)] == ["not_allowed"] * 3
    assert await drifted(database) == {"post_counts": 0, "personas": 0}


async def test_a_repost_of_a_repost_shares_the_original(database: Database) -> None:
    await turns_for(database, 3)
    (made,) = await commit(database, [step(1, 0, NewPost(body="hello"))])
    (shared,) = await commit(database, [step(2, 0, Repost(made[0].object_id))])
    await commit(database, [step(3, 0, Repost(shared[0].object_id))])
    rows = await database.fetch("SELECT id, repost_of, body, likes_count, reposts_count FROM feed_posts ORDER BY id")
    assert [row["repost_of"] for row in rows] == [None, made[0].object_id, made[0].object_id]
    assert {row["body"] for row in rows} == {"hello"}
    assert rows[0]["reposts_count"] == 2


async def test_many_like_one_post_exactly(database: Database) -> None:
    await turns_for(database, 301)
    (made,) = await commit(database, [step(301, 0, NewPost(body="viral"))])
    post = made[0].object_id
    results = await commit(database, [step(n, 0, Like(post), FollowPersona(301)) for n in range(1, 301)])
    assert {outcome(result) for result in results} == {"made"}
    assert await database.fetchval("SELECT likes_count FROM post_counts WHERE post_id = $1", post) == 300
    assert await database.fetchval("SELECT followers_count FROM personas WHERE id = 301") == 300
    assert await drifted(database) == {"post_counts": 0, "personas": 0}


async def test_a_step_is_written_once(database: Database) -> None:
    await turns_for(database, 1)
    record = step(1, 0, NewPost(body="once"))
    first, second = await commit(database, [record, record])
    assert sorted(isinstance(result, Superseded) for result in (first, second)) == [False, True]
    assert await database.fetchval("SELECT count(*) FROM posts") == 1


@pytest.mark.parametrize("wrong", [{"epoch": 2}, {"step": 1}, {"epoch": 0}])
async def test_a_stale_writer_writes_nothing(database: Database, wrong: dict[str, Any]) -> None:
    await turns_for(database, 1)
    (result,) = await commit(database, [replace(step(1, 0, NewPost(body="stale")), **wrong)])
    assert isinstance(result, Superseded)
    for table in ("posts", "calls", "actions"):
        assert await database.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_without_the_fence_a_stale_writer_would_write(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.ledger import commit as module

    unfenced = module.COMMIT.replace("AND t.epoch = g.epoch", "")
    assert unfenced != module.COMMIT
    monkeypatch.setattr(module, "COMMIT", unfenced)
    await turns_for(database, 1)
    await commit(database, [replace(step(1, 0, NewPost(body="stale")), epoch=7)])
    assert await database.fetchval("SELECT count(*) FROM posts") == 1


async def test_one_bad_step_fails_alone(database: Database) -> None:
    await turns_for(database, 3)
    bad = step(2, 0, NewPost(body="x" * 501))
    good, failed, other = await commit(database, [step(1, 0, NewPost(body="a")), bad, step(3, 0, NewPost(body="b"))])
    assert (outcome(good), outcome(other)) == ("made", "made")
    assert isinstance(failed, Exception)
    assert await database.fetchval("SELECT count(*) FROM posts") == 2
    assert await database.fetchval("SELECT next_step FROM turns WHERE id = 2") == 0


async def test_a_turns_end_and_what_was_shown_are_kept(database: Database) -> None:
    await turns_for(database, 1)
    shown = (ExposureRecord(0, "post", "latest", (9, 7, 8)),)
    refused = (ActionRecord(0, "c", "nope", "{}", outcome="refused", detail="no such action"),)
    record = replace(step(1, 0), state="done", reason="end_turn", actions=refused, exposures=shown)
    await commit(database, [record])
    turn = await database.fetchrow("SELECT state, reason, ended_at, lease_until FROM turns")
    assert turn is not None
    assert (turn["state"], turn["reason"], turn["lease_until"]) == ("done", "end_turn", None)
    assert turn["ended_at"] is not None
    assert await database.fetchval("SELECT items FROM exposures") == [9, 7, 8]
    assert await database.fetchval("SELECT outcome FROM actions") == "refused"
    assert await database.fetchval("SELECT response FROM calls") == b"raw \x00 bytes"


async def test_steps_are_grouped(database: Database) -> None:
    await turns_for(database, 100)
    async with Committer(database, lease_seconds=20) as committer:
        await asyncio.gather(*(committer.commit(step(n, 0, NewPost(body=f"{n}"))) for n in range(1, 101)))
        assert committer.steps == 100
        assert committer.groups <= 4


async def test_likes_and_unlikes_across_processes_stay_exact(database: Database) -> None:
    """Two committers, as two processes have, on the same rows in opposite orders."""
    await turns_for(database, 40)
    posts = await commit(database, [step(n, 0, NewPost(body=f"{n}")) for n in range(1, 11)])
    ids = [result[0].object_id for result in posts]
    async with Committer(database, lease_seconds=20) as a, Committer(database, lease_seconds=20) as b:
        work = []
        for n in range(11, 41):
            mine = ids if n % 2 else list(reversed(ids))
            effects = [Like(post) for post in mine]
            work.append((a if n % 2 else b).commit(step(n, 0, *effects)))
        results = await asyncio.gather(*work)
    assert all(outcome(result, n) == "made" for result in results for n in range(10))
    assert await drifted(database) == {"post_counts": 0, "personas": 0}
