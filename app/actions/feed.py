"""What a persona can do in the feed. Each docstring is what the model reads."""

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

import msgspec

from app.actions import news, showing, social
from app.actions.registry import (
    Action,
    ActionContext,
    ActionRefused,
    ActionSet,
    Arguments,
    EndTurn,
    Reading,
    reads,
    writes,
)
from app.actions.showing import ago, cut, fit
from app.actions.social import PostRef, UserRef
from app.world import effects, feed, ranking, search
from app.world.effects import Effect
from app.world.ranking import Ranked
from app.world.text import Bio, CommentBody, Id, Line, PostBody, PostTitle, Query

VIEW_MAX = 10


class Nothing(Arguments):
    pass


class PostText(Arguments):
    body: PostBody
    title: PostTitle | None = None


class CommentText(Arguments):
    post_id: Id
    body: CommentBody


class Words(Arguments):
    query: Query


class ReportText(Arguments):
    post_id: Id
    reason: Line


class BioText(Arguments):
    bio: Bio


def _posts(context: ActionContext, rows: list[feed.Row], ranker: str) -> Reading:
    shown = fit(rows, context.result_tokens, lambda row: showing.post(row, context.now))
    return Reading({"posts": shown}, "post", ranker, tuple(row["id"] for row in rows[: len(shown)]))


@reads(Nothing)
async def view_most_recent_posts(context: ActionContext, _: Nothing) -> Reading:
    """Newest posts"""
    rows = await feed.for_persona(context.database, context.persona_id, "latest", VIEW_MAX)
    return _posts(context, rows, "latest")


@reads(Nothing)
async def view_most_popular_posts(context: ActionContext, _: Nothing) -> Reading:
    """Most liked posts"""
    rows = await feed.for_persona(context.database, context.persona_id, "top", VIEW_MAX)
    return _posts(context, rows, "top")


@reads(Nothing)
async def view_most_commented_posts(context: ActionContext, _: Nothing) -> Reading:
    """Most discussed posts"""
    rows = await feed.for_persona(context.database, context.persona_id, "discussed", VIEW_MAX)
    return _posts(context, rows, "discussed")


@reads(Nothing)
async def view_follows_recent_actions(context: ActionContext, _: Nothing) -> Reading:
    """What those you follow did"""

    def show(row: feed.Row) -> dict[str, Any]:
        head = {"by": "@" + row["author_username"], "by_id": row["author_id"], "did": row["did"]}
        text = {"text": cut(row["text"], 160)} if row["text"] else {}
        return {**head, "post_id": row["post_id"], **text, "ago": ago(row["created_at"], context.now)}

    rows = await feed.follows_actions(context.database, context.persona_id, VIEW_MAX)
    shown = fit(rows, context.result_tokens, show)
    return Reading({"actions": shown}, "post", "follows", tuple(row["post_id"] for row in rows[: len(shown)]))


@reads(PostRef)
async def view_comments_on_post(context: ActionContext, given: PostRef) -> Reading:
    """View comments on post"""
    rows = await feed.comments_for_persona(context.database, context.persona_id, given.post_id, VIEW_MAX)
    if rows is None:
        raise ActionRefused(f"there is no post {given.post_id}")
    shown = fit(rows, context.result_tokens, lambda row: showing.comment(row, context.now))
    result = {"post_id": given.post_id, "comments": shown}
    return Reading(result, "comment", "latest", tuple(row["id"] for row in rows[: len(shown)]))


@reads(PostRef)
async def find_post_author(context: ActionContext, given: PostRef) -> Reading:
    """Find post author"""
    row = await feed.author_for_persona(context.database, context.persona_id, given.post_id)
    if row is None:
        raise ActionRefused(f"there is no post {given.post_id}")
    author = {"post_id": given.post_id, "by": "@" + row["username"], "by_id": row["id"], "bio": cut(row["bio"], 120)}
    result = {**author, "followers": row["followers_count"], "you_follow": row["followed"]}
    return Reading(result, "persona", "author", (row["id"],))


@reads(Words)
async def search_posts(context: ActionContext, given: Words) -> Reading:
    """Search posts"""
    rows = await search.for_persona(context.database, context.persona_id, given.query, VIEW_MAX)
    return _posts(context, rows, "search")


def _person(row: feed.Row) -> dict[str, Any]:
    who = {"id": row["id"], "by": "@" + row["username"], "bio": cut(row["bio"], 120)}
    return {**who, "followers": row["followers_count"]}


@reads(Words)
async def search_users(context: ActionContext, given: Words) -> Reading:
    """Members by name or bio"""
    rows = await search.people(context.database, given.query, limit=VIEW_MAX, viewer=context.persona_id)
    shown = fit(rows, context.result_tokens, _person)
    return Reading({"users": shown}, "persona", "search", tuple(row["id"] for row in rows[: len(shown)]))


def _because(kind: str, ranker: str, version: int, items: Sequence[Ranked], result: dict[str, Any]) -> Reading:
    """What a ranker showed, and why; `items` are those that were shown."""
    return Reading(
        result,
        kind,
        ranker,
        tuple(one.item for one in items),
        version,
        tuple(one.score for one in items),
        tuple(one.reason for one in items),
        tuple(one.chance for one in items if one.chance is not None),
    )


@reads(Nothing)
async def view_feed(context: ActionContext, _: Nothing) -> Reading:
    """Your feed"""
    ours, me = context.ranking, context.persona_id
    feeds = await ranking.rank(
        context.database, ours, [me], now=context.now, size=VIEW_MAX, seed=context.seed, draw=context.draw
    )
    found = {one.item: one for one in feeds[me]}
    rows = await ranking.posts(context.database, list(found))
    shown = fit(rows, context.result_tokens, lambda row: showing.post(row, context.now))
    items = [found[row["id"]] for row in rows[: len(shown)]]
    return _because("post", ours.name, ours.version, items, {"posts": shown})


@reads(Nothing)
async def suggest_follows(context: ActionContext, _: Nothing) -> Reading:
    """Whom you might follow"""
    way, me = context.suggester or "common_neighbours", context.persona_id
    found = {one.item: one for one in (await ranking.suggest(context.database, way, [me], now=context.now))[me]}
    rows = await ranking.people(context.database, list(found))
    shown = fit(rows, context.result_tokens, _person)
    items = [found[row["id"]] for row in rows[: len(shown)]]
    return _because("persona", way, ranking.VERSION, items, {"users": shown})


@writes(PostText)
def create_post(given: PostText) -> Effect:
    """Write a post, up to 500 characters"""
    return effects.NewPost(title=given.title or None, body=given.body)


@writes(CommentText)
def comment_on_post(given: CommentText) -> Effect:
    """Comment on post"""
    return effects.NewComment(given.post_id, body=given.body)


@writes(PostRef)
def like_post(given: PostRef) -> Effect:
    """Like post"""
    return effects.Like(given.post_id)


@writes(PostRef)
def unlike_post(given: PostRef) -> Effect:
    """Unlike post"""
    return effects.Unlike(given.post_id)


@writes(PostRef)
def repost(given: PostRef) -> Effect:
    """Share a post"""
    return effects.Repost(given.post_id)


@writes(UserRef)
def follow_user(given: UserRef) -> Effect:
    """Follow user"""
    return effects.FollowPersona(given.user_id)


@writes(UserRef)
def unfollow_user(given: UserRef) -> Effect:
    """Unfollow user"""
    return effects.UnfollowPersona(given.user_id)


@writes(UserRef)
def mute_user(given: UserRef) -> Effect:
    """Mute user"""
    return effects.MutePersona(given.user_id)


@writes(ReportText)
def report_post(given: ReportText) -> Effect:
    """Report post"""
    return effects.ReportPost(given.post_id, body=given.reason)


@writes(BioText)
def update_bio(given: BioText) -> Effect:
    """Update bio"""
    return effects.NewBio(body=given.bio)


@writes(Nothing)
def end_turn(_: Nothing) -> EndTurn:
    """End turn"""
    return EndTurn()


ALWAYS = (
    view_most_recent_posts,
    view_most_popular_posts,
    view_most_commented_posts,
    view_comments_on_post,
    find_post_author,
    search_posts,
    search_users,
    create_post,
    comment_on_post,
    like_post,
    repost,
    follow_user,
    mute_user,
    report_post,
    update_bio,
    end_turn,
)
RANKED = (view_feed,)
SUGGESTED = (suggest_follows,)
UNDO_LIKE = (unlike_post,)
OF_FOLLOWERS = (unfollow_user, view_follows_recent_actions)
OF_WORLDS = (social.dislike_post, social.react_to_post, *news.EXTRAS)
"""What a world's settings bring, for everybody in it."""

OF_THOSE_WHO_POST = (social.quote_post,)
OF_THOSE_WHO_COMMENT = (social.reply_to_comment, social.like_comment)
OF_THOSE_WHO_ARE_FOLLOWED = (social.block_user,)
UNDO_COMMENT_LIKE = (social.unlike_comment,)
EXTRAS = {
    action.name: action
    for action in (
        *OF_WORLDS,
        *OF_THOSE_WHO_POST,
        *OF_THOSE_WHO_COMMENT,
        *OF_THOSE_WHO_ARE_FOLLOWED,
        *UNDO_COMMENT_LIKE,
    )
}
"""What `feed_actions` takes by name, in the order in which it is offered."""

ACTIONS: Mapping[str, Action] = {
    action.name: action for action in (*ALWAYS, *RANKED, *SUGGESTED, *UNDO_LIKE, *OF_FOLLOWERS, *EXTRAS.values())
}
"""All actions of the feed by name."""

BY_REACTIONS = {"off": (), "dislike": ("dislike_post",), "all": ("react_to_post",)}


@cache
def feed_actions(
    *,
    has_liked: bool = True,
    follows: bool = True,
    ranked: bool = False,
    suggests: bool = False,
    extras: frozenset[str] = frozenset(),
) -> ActionSet:
    """What a persona may do now: what can be undone is offered once there is something to undo.

    All else comes first and in the same order, so that a provider's prompt cache serves every persona.

    Args:
        ranked: a ranker was chosen, so there is a feed to view.
        suggests: a way was chosen in which people are suggested.
        extras: names out of `EXTRAS`.
    """
    given = [action for name, action in EXTRAS.items() if name in extras]
    worlds = [action for action in given if action in OF_WORLDS]
    chosen = (*(RANKED if ranked else ()), *(SUGGESTED if suggests else ()), *worlds)
    undone = (*(UNDO_LIKE if has_liked else ()), *(OF_FOLLOWERS if follows else ()))
    return ActionSet((*ALWAYS, *chosen, *undone, *(action for action in given if action not in OF_WORLDS)))


def offered(
    situation: Mapping[str, Any], *, ranked: bool, suggests: bool, worlds: frozenset[str] = frozenset()
) -> ActionSet:
    """What the persona of a situation (a row of `world/feed.situations`) may do now.

    What answers others is offered once it has spoken itself, to block somebody once somebody follows it. `worlds`: the
    extras of all personas in this world.
    """
    lately = msgspec.json.decode(situation["lately"] or "[]")
    did = {kind for kind, _, _ in lately}
    ours = (
        *(OF_THOSE_WHO_POST if situation["posts_count"] else ()),
        *(OF_THOSE_WHO_COMMENT if situation["comments_count"] else ()),
        *(OF_THOSE_WHO_ARE_FOLLOWED if situation["followers_count"] else ()),
        *(UNDO_COMMENT_LIKE if "liked comment" in did else ()),
    )
    return feed_actions(
        has_liked="liked" in did,
        follows=situation["following_count"] > 0,
        ranked=ranked,
        suggests=suggests,
        extras=worlds.union(action.name for action in ours),
    )


def world_extras(reactions: str) -> frozenset[str]:
    """The extras that a world's settings bring; `reactions` is `REACTIONS`."""
    return frozenset(BY_REACTIONS.get(reactions, ()))


class _Function(msgspec.Struct):
    name: str


class _Tool(msgspec.Struct):
    function: _Function


@lru_cache(maxsize=256)
def feed_actions_by(tools: bytes) -> ActionSet | None:
    """The set that stored tools (their JSON) are of, so that a resumed turn goes on with what it was offered.

    None where one of them is no action any more, or has changed.
    """
    try:
        names = [tool.function.name for tool in msgspec.json.decode(tools, type=list[_Tool])]
    except msgspec.DecodeError:
        return None
    if not all(name in ACTIONS for name in names):
        return None
    found = ActionSet(ACTIONS[name] for name in names)
    return found if found.tools == tools else None
