"""Where one blocked the other, neither is shown what the other wrote, shared or quoted, in any reading."""

from datetime import timedelta
from typing import Any

import pytest

from app.actions import feed as actions
from app.actions.registry import ActionContext, ActionRefused, Reading
from app.db.engine import Database
from app.world import feed, ranking
from app.world.effects import (
    BlockPersona,
    FollowPersona,
    Like,
    MutePersona,
    NewBio,
    NewComment,
    NewPost,
    Quote,
    Reply,
    Repost,
)
from app.world.ranking import RANKERS, SUGGESTERS, parse
from tests.ledger.test_commit import turns_for
from tests.ledger.test_social_commit import Steps

ME, FOE, FRIEND, OTHER = 1, 2, 3, 4


class Town:
    """Four people: what the foe wrote, and what a friend shared and quoted of it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.steps = Steps(database)

    async def build(self) -> "Town":
        await turns_for(self.database, 4)
        do = self.steps
        await do(ME, NewPost(body="trains by me"), NewBio(body="railway"))
        self.mine = do.made
        await do(FOE, NewPost(body="trains by the foe"), NewBio(body="railway"))
        self.theirs = do.made
        await do(FRIEND, NewPost(body="trains by a friend"))
        self.neutral = do.made
        of_them = Repost(self.theirs), Quote(self.theirs, body="trains quoted")
        await do(FRIEND, *of_them, Repost(self.mine), Quote(self.mine, body="trains of mine"))
        self.shared, self.quoted, self.shared_mine, self.quoted_mine = (do.last[n].object_id for n in range(4))
        await do(FOE, NewComment(self.neutral, body="the foe says"))
        self.comment = do.made
        await do(OTHER, NewComment(self.neutral, body="another says"), Reply(self.comment, body="to the foe"))
        for who in (ME, FOE, OTHER):
            await do(who, FollowPersona(FRIEND))
        await do(OTHER, Like(self.theirs), Like(self.mine), Like(self.neutral), FollowPersona(FOE), FollowPersona(ME))
        return self

    @property
    def about_foe(self) -> set[int]:
        return {self.theirs, self.shared, self.quoted}

    async def see(self, action: Any, who: int = ME, **arguments: Any) -> Reading:
        now = await self.database.fetchval("SELECT now()")
        context = ActionContext(self.database, who, 2_000, now)
        reading = await action.read(context, action.arguments(**arguments))
        assert isinstance(reading, Reading)
        return reading


@pytest.fixture
async def town(database: Database) -> Town:
    return await Town(database).build()


VIEWS: tuple[tuple[Any, dict[str, Any]], ...] = (
    (actions.view_most_recent_posts, {}),
    (actions.view_most_popular_posts, {}),
    (actions.view_most_commented_posts, {}),
    (actions.search_posts, {"query": "trains"}),
)


async def seen(town: Town, who: int) -> set[int]:
    found: set[int] = set()
    for action, given in VIEWS:
        found |= set((await town.see(action, who, **given)).items)
    return found


async def ranked(town: Town, ranker: str, who: int) -> set[int]:
    now = await town.database.fetchval("SELECT now()") + timedelta(minutes=1)
    feeds = await ranking.rank(town.database, parse(ranker), [who], now=now, size=20, seed=1, draw=0)
    return {one.item for one in feeds[who]}


async def test_without_a_block_all_is_seen(town: Town) -> None:
    """The negative control of what follows."""
    assert await seen(town, ME) >= {*town.about_foe, town.quoted_mine}
    assert (await town.see(actions.search_users, query="railway")).items == (FOE,)
    comments = (await town.see(actions.view_comments_on_post, post_id=town.neutral)).result["comments"]
    assert [c.get("reply_to") for c in comments] == [town.comment, None, None]
    assert len((await town.see(actions.view_comments_on_post, post_id=town.theirs)).items) == 0
    did = (await town.see(actions.view_follows_recent_actions)).result["actions"]
    assert {"repost", "quote"} & {one["did"] for one in did}
    quoted = next(p for p in (await town.see(VIEWS[0][0])).result["posts"] if p["id"] == town.quoted)
    assert quoted["quotes"] == {"id": town.theirs, "by": "@p2", "text": "trains by the foe"}


@pytest.mark.parametrize("by", [ME, FOE])
async def test_neither_sees_the_other(town: Town, by: int) -> None:
    await town.steps(by, BlockPersona(ME + FOE - by))
    assert await seen(town, ME) & town.about_foe == set()
    assert await seen(town, ME) >= {town.neutral, town.quoted_mine}, "others' posts, and who quotes one, stay"
    theirs = await seen(town, FOE)
    assert theirs & {town.mine, town.shared_mine, town.quoted_mine} == set()
    assert theirs >= {town.neutral, town.quoted}
    for who, whom in ((ME, town.theirs), (FOE, town.mine)):
        assert (await town.see(actions.search_users, who, query="railway")).items == ()
        for action in (actions.view_comments_on_post, actions.find_post_author):
            with pytest.raises(ActionRefused):
                await town.see(action, who, post_id=whom)
    said = (await town.see(actions.view_comments_on_post, ME, post_id=town.neutral)).result["comments"]
    assert [c["by"] for c in said] == ["@p4", "@p4"]
    did = (await town.see(actions.view_follows_recent_actions, ME)).result["actions"]
    assert not [one for one in did if one["post_id"] in town.about_foe]


@pytest.mark.parametrize("ranker", sorted(RANKERS))
@pytest.mark.parametrize("by", [None, ME, FOE])
async def test_no_ranker_shows_it(town: Town, ranker: str, by: int | None) -> None:
    found = await ranked(town, ranker, ME)
    if by is None:
        assert found & town.about_foe or ranker in ("interest", "similar_people", "mixed", "following")
        return
    await town.steps(by, BlockPersona(ME + FOE - by))
    assert await ranked(town, ranker, ME) & town.about_foe == set()
    assert await ranked(town, ranker, FOE) & {town.mine, town.shared_mine, town.quoted_mine} == set()


async def test_a_mute_hides_quotes_of_whom_it_mutes_to_one_side(town: Town) -> None:
    await town.steps(ME, MutePersona(FOE))
    assert await seen(town, ME) & town.about_foe == set()
    assert await ranked(town, "latest", ME) & town.about_foe == set()
    assert await seen(town, FOE) >= {town.mine, town.quoted_mine}
    assert await ranked(town, "latest", FOE) >= {town.mine, town.quoted_mine}


@pytest.mark.parametrize("way", sorted(SUGGESTERS))
@pytest.mark.parametrize("by", [ME, FOE])
async def test_nobody_is_suggested_whom_a_block_parts(town: Town, way: str, by: int) -> None:
    await town.steps(by, BlockPersona(ME + FOE - by))
    now = await town.database.fetchval("SELECT now()")
    for who in (ME, FOE):
        told = (await ranking.suggest(town.database, way, [who], now=now))[who]
        assert ME + FOE - who not in {one.item for one in told}


async def test_what_is_quarantined_is_quoted_no_more(town: Town) -> None:
    await town.database.fetchval("UPDATE posts SET hidden = true WHERE id = $1", town.theirs)
    row = await feed.post(town.database, town.quoted)
    assert row is not None
    assert (row["quote_of"], row["quote_body"]) == (None, None)
    quoted = next(p for p in (await town.see(VIEWS[0][0])).result["posts"] if p["id"] == town.quoted)
    assert "quotes" not in quoted
