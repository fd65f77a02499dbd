"""What a persona can do once it has spoken itself: quote, answer and like comments, block, and react to posts.

Each docstring is what the model reads.
"""

from typing import Literal

from app.actions.registry import Arguments, writes
from app.world import effects
from app.world.effects import Effect
from app.world.text import CommentBody, Id, PostBody


class QuoteText(Arguments):
    post_id: Id
    body: PostBody


class ReplyText(Arguments):
    comment_id: Id
    body: CommentBody


class CommentRef(Arguments):
    comment_id: Id


class UserRef(Arguments):
    user_id: Id


class PostRef(Arguments):
    post_id: Id


class Feeling(Arguments):
    post_id: Id
    reaction: Literal["dislike", "love", "laugh", "sad", "angry"]


@writes(QuoteText)
def quote_post(given: QuoteText) -> Effect:
    """Quote post"""
    return effects.Quote(given.post_id, body=given.body)


@writes(ReplyText)
def reply_to_comment(given: ReplyText) -> Effect:
    """Reply to comment"""
    return effects.Reply(given.comment_id, body=given.body)


@writes(CommentRef)
def like_comment(given: CommentRef) -> Effect:
    """Like comment"""
    return effects.LikeComment(given.comment_id)


@writes(CommentRef)
def unlike_comment(given: CommentRef) -> Effect:
    """Unlike comment"""
    return effects.UnlikeComment(given.comment_id)


@writes(UserRef)
def block_user(given: UserRef) -> Effect:
    """Block user"""
    return effects.BlockPersona(given.user_id)


@writes(PostRef)
def dislike_post(given: PostRef) -> Effect:
    """Dislike post"""
    return effects.React(given.post_id, body="dislike")


@writes(Feeling)
def react_to_post(given: Feeling) -> Effect:
    """dislike, love, laugh, sad or angry"""
    return effects.React(given.post_id, body=given.reaction)
