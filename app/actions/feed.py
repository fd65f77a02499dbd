"""What a persona can do in the feed. Each docstring is what the model reads."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any

from app.actions.registry import ActionContext, ActionRefused, ActionSet, Arguments, EndTurn, Reading, reads, writes
from app.world import effects, feed
from app.world.effects import Effect
from app.world.text import Bio, CommentBody, Id, Line, PostBody, PostTitle, Query

VIEW_MAX = 10
ITEM_TOKENS = 18
"""About what an item's names and numbers take."""

WRITTEN = ("title", "text", "bio")

NO_WORD = re.compile(r"[^\w\s]|[\d_\U00010000-\U0010ffff]")


class Nothing(Arguments):
    pass


class PostRef(Arguments):
    post_id: Id


class UserRef(Arguments):
    user_id: Id


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


def ago(then: datetime) -> str:
    """How long ago, in the largest unit: 40s, 3m, 2h, 5d."""
    seconds = max(0, int((datetime.now(UTC) - then).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def tokens(text: str) -> int:
    """About how many tokens a text takes: one for four bytes of UTF-8, as OpenAI's rule of thumb has it.

    What is no word (signs, emoji, rare scripts) takes up to a token a byte, and hostile text is full of it.
    """
    return max(len(text.encode()) // 4, len("".join(NO_WORD.findall(text)).encode())) + 1


def cut(text: str, limit: int) -> str:
    """At most `limit` characters, ending on a word."""
    return text if len(text) <= limit else text[: limit - 1].rsplit(" ", 1)[0] + "…"


def fit(rows: list[feed.Row], budget: int, show: Callable[[feed.Row], dict[str, Any]]) -> list[dict[str, Any]]:
    """As many rows as the token budget holds, the first of them always, if need be cut."""
    shown: list[dict[str, Any]] = []
    for row in rows:
        item = show(row)
        takes = ITEM_TOKENS + sum(tokens(item[part]) for part in WRITTEN if part in item)
        if takes > budget and shown:
            break
        shown.append(_shortened(item, budget / takes))
        budget -= takes
    return shown


def _shortened(item: dict[str, Any], share: float) -> dict[str, Any]:
    """An item with what members wrote cut to this share of its length."""
    if share >= 1:
        return item
    return item | {part: cut(item[part], max(1, int(len(item[part]) * share))) for part in WRITTEN if part in item}


def _post(row: feed.Row) -> dict[str, Any]:
    item = {"id": row["root_id"], "by": "@" + row["author_username"], "by_id": row["author_id"]}
    if row["repost_of"] is not None:
        item |= {"repost_of": row["root_id"], "written_by": f"@{row['repost_of_username']}"}
    if row["title"]:
        item["title"] = cut(row["title"], 80)
    counts = {"likes": row["likes_count"], "comments": row["comments_count"]}
    return {**item, "ago": ago(row["created_at"]), **counts, "text": cut(row["body"], 280)}


def _comment(row: feed.Row) -> dict[str, Any]:
    author = {"by": "@" + row["author_username"], "by_id": row["author_id"]}
    return {"id": row["id"], **author, "ago": ago(row["created_at"]), "text": cut(row["body"], 280)}


def _posts(context: ActionContext, rows: list[feed.Row], ranker: str) -> Reading:
    shown = fit(rows, context.result_tokens, _post)
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
        return {**head, "post_id": row["post_id"], **text, "ago": ago(row["created_at"])}

    rows = await feed.follows_actions(context.database, context.persona_id, VIEW_MAX)
    shown = fit(rows, context.result_tokens, show)
    return Reading({"actions": shown}, "post", "follows", tuple(row["post_id"] for row in rows[: len(shown)]))


@reads(PostRef)
async def view_comments_on_post(context: ActionContext, given: PostRef) -> Reading:
    """View comments on post"""
    rows = await feed.comments_for_persona(context.database, context.persona_id, given.post_id, VIEW_MAX)
    if rows is None:
        raise ActionRefused(f"there is no post {given.post_id}")
    shown = fit(rows, context.result_tokens, _comment)
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
    rows = await feed.search_for_persona(context.database, context.persona_id, given.query, VIEW_MAX)
    return _posts(context, rows, "search")


@reads(Words)
async def search_users(context: ActionContext, given: Words) -> Reading:
    """Members by name or bio"""

    def show(row: feed.Row) -> dict[str, Any]:
        who = {"id": row["id"], "by": "@" + row["username"], "bio": cut(row["bio"], 120)}
        return {**who, "followers": row["followers_count"]}

    rows = await feed.search_people(context.database, context.persona_id, given.query, VIEW_MAX)
    shown = fit(rows, context.result_tokens, show)
    return Reading({"users": shown}, "persona", "search", tuple(row["id"] for row in rows[: len(shown)]))


@writes(PostText)
def create_post(given: PostText) -> Effect:
    """Write a post, up to 500 characters"""
    return effects.NewPost(title=given.title or None, body=given.body)


@writes(CommentText)
def comment_on_post(given: CommentText) -> Effect:
    """Answer a post"""
    return effects.NewComment(given.post_id, body=given.body)


@writes(PostRef)
def like_post(given: PostRef) -> Effect:
    """Like post"""
    return effects.Like(given.post_id)


@writes(PostRef)
def unlike_post(given: PostRef) -> Effect:
    """Take a like back"""
    return effects.Unlike(given.post_id)


@writes(PostRef)
def repost(given: PostRef) -> Effect:
    """Share a post"""
    return effects.Repost(given.post_id)


@writes(UserRef)
def follow_user(given: UserRef) -> Effect:
    """Follow a member"""
    return effects.FollowPersona(given.user_id)


@writes(UserRef)
def unfollow_user(given: UserRef) -> Effect:
    """Stop following"""
    return effects.UnfollowPersona(given.user_id)


@writes(UserRef)
def mute_user(given: UserRef) -> Effect:
    """Never see a member again"""
    return effects.MutePersona(given.user_id)


@writes(ReportText)
def report_post(given: ReportText) -> Effect:
    """Report abuse"""
    return effects.ReportPost(given.post_id, body=given.reason)


@writes(BioText)
def update_bio(given: BioText) -> Effect:
    """Update bio"""
    return effects.NewBio(body=given.bio)


@writes(Nothing)
def end_turn(_: Nothing) -> EndTurn:
    """End turn"""
    return EndTurn()


UNDO_LIKE = (unlike_post,)
OF_FOLLOWERS = (unfollow_user, view_follows_recent_actions)
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


@cache
def feed_actions(*, has_liked: bool = True, follows: bool = True) -> ActionSet:
    """What a persona may do now: what can be undone is offered once there is something to undo.

    All else comes first and in the same order, so that a provider's prompt cache serves every persona.
    """
    return ActionSet((*ALWAYS, *(UNDO_LIKE if has_liked else ()), *(OF_FOLLOWERS if follows else ())))


def every_feed_actions() -> tuple[ActionSet, ...]:
    """All sets that `feed_actions` gives."""
    return tuple(feed_actions(has_liked=liked, follows=follows) for liked in (True, False) for follows in (True, False))


def feed_actions_by(tools_sha256: bytes) -> ActionSet | None:
    """The set whose tools have this hash, so that a resumed turn goes on with what it was offered."""
    return next((found for found in every_feed_actions() if found.tools_sha256 == tools_sha256), None)
