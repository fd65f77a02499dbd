"""Quotes, replies, likes of comments, blocks, reactions: what comes of them, who may, counters equal to recounts."""

import asyncio
import json
from typing import Any

import pytest

from app.db.engine import Database
from app.ledger import commit as module
from app.ledger.commit import Committer
from app.ledger.invariants import RULES, check
from app.world.effects import (
    BlockPersona,
    Effect,
    FollowPersona,
    Like,
    LikeComment,
    MutePersona,
    NewComment,
    NewPost,
    Quote,
    React,
    Reply,
    Repost,
    UnfollowPersona,
    UnlikeComment,
)
from app.world.verdicts import Imagined
from tests.ledger.test_commit import commit, outcome, step, turns_for

BLOCK_BEFORE = "SELECT before FROM actions WHERE effect = 'block' AND outcome = 'made'"
BY_HAND = {RULES["turn_states"][1], RULES["run_states"][1]}
"""Rules that these tests' own turns break."""


class Steps:
    """Commits one step after the other for each persona."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._next: dict[int, int] = {}

    def record(self, persona: int, *effects: Effect) -> Any:
        number = self._next.get(persona, 0)
        self._next[persona] = number + 1
        return step(persona, number, *effects)

    async def __call__(self, persona: int, *effects: Effect) -> list[str]:
        (self.last,) = await commit(self.database, [self.record(persona, *effects)])
        return [outcome(self.last, n) for n in range(len(effects))]

    @property
    def made(self) -> int:
        number = self.last[0].object_id
        assert number is not None
        return int(number)


async def sound(database: Database) -> None:
    """All rules of the world hold."""
    async with database.connection() as connection:
        found = [one for one in await check(connection) if one.violations and one.rule not in BY_HAND]
    assert not found, found


async def test_a_quote_is_a_post_over_the_original(database: Database) -> None:
    await turns_for(database, 3)
    steps = Steps(database)
    assert await steps(1, NewPost(body="hello")) == ["made"]
    post = steps.made
    assert await steps(2, Repost(post)) == ["made"]
    shared = steps.made
    assert await steps(3, Quote(shared, title="t", body="look"), Quote(99, body="nothing")) == ["made", "not_found"]
    quote = steps.made
    row = await database.fetchrow("SELECT title, body, quote_of, repost_of FROM posts WHERE id = $1", quote)
    assert row is not None
    assert tuple(row) == ("t", "look", post, None)
    assert await steps(1, Quote(post, body="me again")) == ["made"], "one may quote oneself"
    assert await steps(3, Quote(shared, body="and again")) == ["made"], "any number of times"
    assert await database.fetchval("SELECT quotes_count FROM post_counts WHERE post_id = $1", post) == 3
    events = await database.fetch("SELECT kind, object_id, target_id FROM events WHERE object_id = $1", quote)
    assert [tuple(event) for event in events] == [("post", quote, None)]
    shown = await database.fetchrow("SELECT quote_of, quote_username, quote_body FROM feed_posts WHERE id = $1", quote)
    assert shown is not None
    assert tuple(shown) == (post, "p1", "hello")
    await sound(database)


async def test_replies_keep_their_parent_and_likes_of_comments_count(database: Database) -> None:
    await turns_for(database, 3)
    steps = Steps(database)
    await steps(1, NewPost(body="hello"))
    post = steps.made
    await steps(2, NewComment(post, body="first"))
    comment = steps.made
    assert await steps(3, Reply(comment, body="second"), Reply(99, body="nothing")) == ["made", "not_found"]
    reply = steps.made
    assert await steps(1, Reply(reply, body="third")) == ["made"]
    rows = await database.fetch("SELECT post_id, parent_id FROM comments ORDER BY id")
    assert [tuple(row) for row in rows] == [(post, None), (post, comment), (post, reply)]
    assert await database.fetchval("SELECT comments_count FROM post_counts WHERE post_id = $1", post) == 3
    assert await steps(1, LikeComment(comment), LikeComment(99)) == ["made", "not_found"]
    assert await steps(3, LikeComment(comment)) == ["made"]
    assert await steps(3, LikeComment(comment)) == ["already"]
    assert await steps(2, LikeComment(comment)) == ["not_allowed"]
    assert await database.fetchval("SELECT likes_count FROM comments WHERE id = $1", comment) == 2
    assert await steps(3, UnlikeComment(comment)) == ["made"]
    assert await steps(3, UnlikeComment(comment)) == ["already"]
    assert await database.fetchval("SELECT likes_count FROM comments WHERE id = $1", comment) == 1
    assert await database.fetchval("SELECT count(*) FROM events WHERE kind = 'comment'") == 3
    await sound(database)


async def test_a_newer_reaction_replaces_the_older(database: Database) -> None:
    await turns_for(database, 2)
    steps = Steps(database)
    await steps(1, NewPost(body="hello"))
    post = steps.made

    async def dislikes() -> int:
        return int(await database.fetchval("SELECT dislikes_count FROM post_counts WHERE post_id = $1", post))

    assert await steps(2, React(post, body="dislike")) == ["made"]
    assert await dislikes() == 1
    assert await steps(2, React(post, body="dislike")) == ["already"]
    assert await steps(2, React(post, body="love")) == ["made"]
    assert await dislikes() == 0
    assert await steps(2, React(post, body="sad")) == ["made"]
    assert await steps(2, React(post, body="dislike")) == ["made"]
    assert await dislikes() == 1
    assert await steps(1, React(post, body="love")) == ["not_allowed"]
    assert [row["kind"] for row in await database.fetch("SELECT kind FROM reactions")] == ["dislike"]
    befores = await database.fetch(
        "SELECT split_part(before, ' ', 2) AS was FROM actions WHERE effect = 'react' AND outcome = 'made'"
    )
    assert sorted(row["was"] or "" for row in befores) == ["", "dislike", "love", "sad"]
    await sound(database)


async def test_a_block_ends_what_was_between_two(database: Database) -> None:
    await turns_for(database, 3)
    steps = Steps(database)
    await steps(1, NewPost(body="one"), FollowPersona(2))
    one = steps.made
    await steps(2, NewPost(body="two"), FollowPersona(1), NewComment(one, body="c"))
    two, comment = steps.made, steps.last[2].object_id
    assert await steps(1, BlockPersona(2), BlockPersona(1), BlockPersona(99)) == ["made", "not_allowed", "not_found"]
    assert await database.fetchval("SELECT count(*) FROM follows") == 0
    before = json.loads(await database.fetchval(BLOCK_BEFORE))
    assert not before["muted"]
    assert [(follower, followed) for _, follower, followed, _ in before["follows"]] == [(1, 2), (2, 1)]
    theirs: list[Effect] = [
        FollowPersona(1), NewComment(one, body="c"), Like(one), Repost(one),
        Quote(one, body="q"), React(one, body="sad"),
    ]  # fmt: skip
    assert await steps(2, *theirs) == ["not_allowed"] * len(theirs)
    mine: list[Effect] = [
        FollowPersona(2), NewComment(two, body="c"), Like(two), Repost(two),
        Quote(two, body="q"), React(two, body="sad"),
        Reply(comment, body="r"), LikeComment(comment),
    ]  # fmt: skip
    assert await steps(1, *mine) == ["not_allowed"] * len(mine)
    assert await steps(1, BlockPersona(2)) == ["already"]
    assert await steps(1, MutePersona(2)) == ["already"]
    assert await steps(3, FollowPersona(1), Like(one), Like(two)) == ["made"] * 3, "others are not concerned"
    await sound(database)


async def test_a_block_reaches_through_what_others_share(database: Database) -> None:
    await turns_for(database, 3)
    steps = Steps(database)
    await steps(1, NewPost(body="one"))
    await steps(3, Repost(steps.made))
    shared = steps.made
    await steps(1, BlockPersona(2))
    assert await steps(2, Like(shared), Quote(shared, body="q"), Repost(shared)) == ["not_allowed"] * 3


async def test_a_mute_becomes_a_block(database: Database) -> None:
    await turns_for(database, 2)
    steps = Steps(database)
    await steps(2, NewPost(body="two"))
    two = steps.made
    assert await steps(1, MutePersona(2), Like(two)) == ["made", "made"], "who mutes may still like"
    assert await steps(1, BlockPersona(2)) == ["made"]
    assert json.loads(await database.fetchval("SELECT before FROM actions WHERE effect = 'block'"))["muted"]
    assert [tuple(row) for row in await database.fetch("SELECT persona_id, muted_id, block FROM mutes")] == [
        (1, 2, True)
    ]
    assert await steps(2, NewPost(body="three")) == ["made"]
    assert await steps(1, Like(steps.made)) == ["not_allowed"]
    await sound(database)


async def fuss(database: Database, rounds: int) -> int:
    """Two processes: one blocks, the other follows, at once; how many follows stand beside a block."""
    await turns_for(database, 2 * rounds)
    async with Committer(database, lease_seconds=20) as a, Committer(database, lease_seconds=20) as b:
        for n in range(1, 2 * rounds, 2):
            work = [(n, a, BlockPersona(n + 1)), (n + 1, b, FollowPersona(n))]
            pair = work if n % 4 == 1 else work[::-1]
            await asyncio.gather(*(who.commit(step(persona, 0, effect)) for persona, who, effect in pair))
    return int(
        await database.fetchval(
            "SELECT count(*) FROM follows f "
            "JOIN mutes m ON m.block AND m.persona_id = f.followed AND m.muted_id = f.follower"
        )
    )


async def test_nobody_follows_who_blocks_them_at_the_same_moment(database: Database) -> None:
    assert await fuss(database, 60) == 0
    await sound(database)


async def test_a_group_with_a_block_is_committed_in_order(database: Database) -> None:
    await turns_for(database, 6)
    effects: list[Effect] = [
        FollowPersona(3), FollowPersona(3), BlockPersona(1), FollowPersona(3), BlockPersona(4), FollowPersona(5),
    ]  # fmt: skip
    records = [step(n, 0, effect) for n, effect in enumerate(effects, 1)]
    async with Committer(database, lease_seconds=20) as committer:
        told = await committer.commit_together(records)
    assert [outcome(one) for one in told] == ["made"] * 6
    assert {tuple(row) for row in await database.fetch("SELECT follower, followed FROM follows")} == {
        (2, 3),
        (4, 3),
        (6, 5),
    }
    await sound(database)


async def test_blocks_and_follows_of_one_group_are_told_apart(database: Database) -> None:
    await turns_for(database, 40)
    records = [step(n, 0, BlockPersona(n + 1) if n % 2 else FollowPersona(n - 1)) for n in range(1, 41)]
    results = await commit(database, records)
    assert {outcome(result) for result in results[::2]} == {"made"}
    assert {outcome(result) for result in results[1::2]} <= {"made", "not_allowed"}
    assert await database.fetchval("SELECT count(*) FROM follows") == 0
    await sound(database)


async def test_without_the_lock_a_follow_could_slip_in(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: a follow whose statement began before the block's ended stands beside it."""
    await turns_for(database, 2)
    monkeypatch.setitem(module.STATEMENTS, "alone", "SELECT 1")
    blocking = module._arguments([step(1, 0, BlockPersona(2))], 20.0)
    async with database.connection() as connection:
        async with connection.transaction():
            await connection.fetch(module.COMMIT, *blocking)
            (late,) = [asyncio.create_task(commit(database, [step(2, 0, FollowPersona(1))]))]
            await asyncio.sleep(0.3)
        await late
    assert await database.fetchval("SELECT count(*) FROM follows") == 1


async def test_many_like_and_dislike_at_once_exactly(database: Database) -> None:
    await turns_for(database, 121)
    steps = Steps(database)
    await steps(121, NewPost(body="viral"), NewPost(body="other"))
    post, other = (steps.last[n].object_id for n in range(2))
    await steps(121, NewComment(post, body="c"), NewComment(post, body="d"))
    comments = [steps.last[n].object_id for n in range(2)]
    async with Committer(database, lease_seconds=20) as a, Committer(database, lease_seconds=20) as b:

        async def one(n: int) -> None:
            ours = comments if n % 2 else comments[::-1]
            who = a if n % 2 else b
            feelings = ("dislike", "love")[:: 1 if n % 2 else -1]
            await who.commit(
                step(n, 0, *map(LikeComment, ours), React(post, body=feelings[0]), React(other, body="dislike"))
            )
            await who.commit(
                step(n, 1, React(post, body=feelings[1]), *([UnlikeComment(ours[0])] if n % 3 == 0 else []))
            )

        await asyncio.gather(*map(one, range(1, 121)))
    row = await database.fetchrow("SELECT dislikes_count FROM post_counts WHERE post_id = $1", post)
    assert row is not None
    assert row["dislikes_count"] == 60
    assert await database.fetchval("SELECT sum(likes_count) FROM comments") == 240 - 40
    await sound(database)


EVERY: list[Effect] = [
    *(kind(n, body="x") for kind in (Quote, NewComment) for n in range(1, 7)),
    *(kind(n) for kind in (Like, Repost) for n in range(1, 7)),
    *(React(n, body=feeling) for feeling in ("love", "dislike") for n in range(1, 7)),
    *(Reply(n, body="x") for n in range(1, 6)),
    *(kind(n) for kind in (LikeComment, UnlikeComment) for n in range(1, 6)),
    *(kind(n) for kind in (FollowPersona, UnfollowPersona, MutePersona, BlockPersona) for n in range(1, 7)),
]


@pytest.mark.parametrize("between", [None, MutePersona, BlockPersona])
@pytest.mark.parametrize("whose", [1, 2])
async def test_verdicts_are_the_outcomes(database: Database, between: type[Effect] | None, whose: int) -> None:
    await turns_for(database, 5)
    steps = Steps(database)
    for n in (1, 2, 3):
        await steps(n, NewPost(body=f"by {n}"))
    await steps(3, Repost(2))
    await steps(3, Repost(1))
    for n in (1, 2, 3):
        await steps(n, NewComment(n, body=f"by {n}"), NewComment(3, body="c"))
    await steps(1, Like(3), LikeComment(5), React(3, body="love"), FollowPersona(3))
    if between is not None:
        await steps(whose, between(3 - whose))
    for effect in EVERY:
        ((foretold, _),) = await Imagined(1).judge(database, [effect])
        (real,) = await steps(1, effect)
        assert foretold == real, effect
    await sound(database)


async def test_a_trial_remembers_what_it_did(database: Database) -> None:
    await turns_for(database, 2)
    steps = Steps(database)
    await steps(2, NewPost(body="two"))
    await steps(2, NewComment(1, body="c"))
    imagined = Imagined(1)

    async def tried(*effects: Effect) -> list[str]:
        return [found for found, _ in await imagined.judge(database, effects)]

    assert await tried(React(1, body="love")) == ["made"]
    assert await tried(React(1, body="love")) == ["already"]
    assert await tried(React(1, body="sad")) == ["made"]
    assert await tried(LikeComment(1)) == ["made"]
    assert await tried(LikeComment(1)) == ["already"]
    assert await tried(UnlikeComment(1)) == ["made"]
    assert await tried(Quote(1, body="q")) == ["made"]
    assert await tried(Quote(1, body="q"), Quote(2, body="own")) == ["made", "made"]
    assert await tried(Reply(1, body="r")) == ["made"]
    assert await tried(LikeComment(2), Reply(2, body="own")) == ["not_allowed", "made"]
    assert await tried(MutePersona(2)) == ["made"]
    assert await tried(BlockPersona(2)) == ["made"]
    assert await tried(BlockPersona(2)) == ["already"]
    assert await tried(MutePersona(2)) == ["already"]
    assert await tried(FollowPersona(2)) == ["not_allowed"]
    await sound(database)
