"""What a persona does rather than post, comment and like: it quotes, replies, likes comments, reacts, blocks."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.llm.scripted.reading import Call, Post, Remark
from app.llm.scripted.remembering import grudges
from app.llm.scripted.topics import quotes

if TYPE_CHECKING:
    from app.llm.scripted.acting import Actor

_CHANCES: tuple[tuple[str, str, float], ...] = (
    ("comment_on_post", "reply_to_comment", 0.8),
    ("like_post", "react_to_post", 0.4),
    ("like_post", "dislike_post", 0.25),
    ("like_post", "like_comment", 0.5),
    ("create_post", "quote_post", 0.12),
    ("repost", "quote_post", 0.5),
    ("mute_user", "block_user", 0.4),
    ("unlike_post", "unlike_comment", 0.3),
)
STANDS_FOR: dict[str, tuple[str, ...]] = {}
for _act, _other, _ in _CHANCES:
    STANDS_FOR[_other] = (*STANDS_FOR.get(_other, ()), _act)

_QUOTED_FROM = 1_009
"""Where quotes begin in the order in which comments are made, so that one doesn't say what the other does."""


@dataclass(frozen=True)
class Bent:
    """What a persona does rather in a turn, where it is offered and there is occasion: act → other acts.

    `own`: it looks at what was answered to its own posts. `cross`: it blocks whom it remembers a quarrel with.
    """

    instead: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    own: bool = False
    cross: bool = False


def bent(chance: random.Random) -> Bent:
    """Of this turn."""
    chosen = [(act, other) for act, other, probability in _CHANCES if chance.random() < probability]
    instead = {act: tuple(other for whose, other in chosen if whose == act) for act, _ in chosen}
    return Bent(instead, own=chance.random() < 0.45, cross=chance.random() < 0.02)


def own_posts(actor: "Actor") -> set[int]:
    """The posts of its own that a persona is told of."""
    return actor.scene.lately_did("posted")


def look_at_own(actor: "Actor") -> Call | None:
    """What was answered to the newest of its own posts."""
    own = own_posts(actor) if actor.bent.own and "reply_to_comment" in actor.scene.offered else set()
    return Call("view_comments_on_post", {"post_id": max(own)}) if own else None


def quote(actor: "Actor") -> dict[str, object] | None:
    """A post over another one, about what can be quoted of it."""
    known = actor.scene.lately_did("quoted") | actor.touched("quote_post")
    posts = [post for post in actor.others() if post.id not in known and quotes(post.text)]
    if not posts:
        return None
    target = actor.best(posts)
    index = _QUOTED_FROM + actor.scene.written + actor.times("quote_post") + actor.times("create_post")
    return {"post_id": target.id, "body": actor.voice.quote(target, actor.tone(target.by), index, actor.heard())}


def reply(actor: "Actor") -> dict[str, object] | None:
    """An answer to a comment, rather to one under an own post, and to nothing that it answered before."""
    me = actor.scene.persona.username
    done = actor.touched("reply_to_comment", "comment_id") | {r.reply_to for r in actor.scene.remarks if r.by == me}
    open_ones = _remarks(actor, done)
    if not open_ones:
        return None
    own = own_posts(actor)
    target = actor.chance.choice([r for r in open_ones if r.post_id in own][-4:] or open_ones[-4:])
    index = actor.scene.commented + actor.times("comment_on_post") + actor.times("reply_to_comment")
    body = actor.voice.comment(target, actor.tone(target.by), index, actor.heard())
    return {"comment_id": target.id, "body": actor.with_grudge(target.by, body)}


def like_comment(actor: "Actor") -> dict[str, object] | None:
    """The comment that it likes best, if it likes any."""
    known = actor.touched("like_comment", "comment_id") | actor.scene.lately_did("liked comment")
    warm = {r.id: actor.voice.warmth(r) + actor.chance.random() for r in _remarks(actor, known)}
    liked = [number for number, warmth in warm.items() if warmth >= 0.3]
    return {"comment_id": max(liked, key=warm.__getitem__)} if liked else None


def unlike_comment(actor: "Actor") -> dict[str, object] | None:
    liked = sorted(actor.scene.lately_did("liked comment") - actor.touched("unlike_comment", "comment_id"))
    return {"comment_id": liked[0]} if liked else None


def react(actor: "Actor") -> dict[str, object] | None:
    """What it feels about a post, by how it stands to the author and the matter."""
    posts = _unfelt(actor, "react_to_post")
    if not posts:
        return None
    post = actor.chance.choice(posts)
    warmth = actor.voice.warmth(post) + 0.6 * (actor.chance.random() - 0.5)
    cold = "angry" if actor.plan.mood == "irritable" else "dislike"
    return {
        "post_id": post.id,
        "reaction": "love" if warmth > 0.7 else "laugh" if warmth > -0.1 else "sad" if warmth > -0.5 else cold,
    }


def dislike(actor: "Actor") -> dict[str, object] | None:
    warm = {post.id: actor.voice.warmth(post) for post in _unfelt(actor, "dislike_post")}
    cold = [number for number, warmth in warm.items() if warmth < -0.2]
    return {"post_id": min(cold, key=warm.__getitem__)} if cold else None


def block(actor: "Actor") -> dict[str, object] | None:
    """Somebody it remembers a quarrel with; else one of those it can't stand."""
    ids, foils = actor.scene.ids, actor.voice.bank.foils
    cross = [by for by in grudges(actor.scene.memories) if by in ids]
    return actor.person(cross or [post.by for post in actor.others() if post.by in foils], "block_user")


def _remarks(actor: "Actor", known: set[int]) -> list[Remark]:
    me = actor.scene.persona.username
    return [remark for remark in actor.scene.remarks if remark.id and remark.by != me and remark.id not in known]


def _unfelt(actor: "Actor", name: str) -> list[Post]:
    known = actor.scene.lately_did("reacted to") | actor.touched(name)
    return [post for post in actor.others() if post.id not in known]
