"""What a persona's action changes, as data; `ledger/commit` makes it so. Who acts comes from the turn."""

from dataclasses import dataclass
from typing import ClassVar, Literal

Kind = Literal[
    "post", "comment", "like", "unlike", "follow", "unfollow", "repost", "mute", "report", "bio", "say", "like_message",
    "quote", "reply", "like_comment", "unlike_comment", "block", "react",
]  # fmt: skip


@dataclass(frozen=True)
class Effect:
    """Base of the effects: `kind` names the branch of `sql/commit.sql` that carries it out."""

    kind: ClassVar[Kind]
    target_id: int | None = None
    title: str | None = None
    body: str | None = None

    @property
    def key(self) -> tuple[str, int | None] | None:
        """Effects of one reply with the same key would contradict or repeat each other."""
        return None if self.target_id is None else (family(self.kind), self.target_id)

    @property
    def keys(self) -> tuple[tuple[str, int | None], ...]:
        """All keys that an effect has."""
        return () if self.key is None else (self.key,)


class NewPost(Effect):
    kind = "post"


class NewComment(Effect):
    kind = "comment"

    @property
    def key(self) -> None:
        return None


class Like(Effect):
    kind = "like"


class Unlike(Effect):
    kind = "unlike"


class FollowPersona(Effect):
    kind = "follow"


class UnfollowPersona(Effect):
    kind = "unfollow"


class Repost(Effect):
    kind = "repost"


class MutePersona(Effect):
    kind = "mute"


class ReportPost(Effect):
    kind = "report"


class Quote(Effect):
    """A post of one's own over another: over the original, where that is shared."""

    kind = "quote"


class Reply(Effect):
    """A comment that answers the comment `target_id`."""

    kind = "reply"

    @property
    def key(self) -> None:
        return None


class LikeComment(Effect):
    kind = "like_comment"


class UnlikeComment(Effect):
    kind = "unlike_comment"


class BlockPersona(Effect):
    """Neither sees nor deals with the other, and neither follows the other any more."""

    kind = "block"

    @property
    def keys(self) -> tuple[tuple[str, int | None], ...]:
        return (("follow", self.target_id), ("mute", self.target_id))


class React(Effect):
    """A feeling (`body`) about a post, in place of an earlier one."""

    kind = "react"


class NewBio(Effect):
    kind = "bio"

    @property
    def key(self) -> tuple[str, int | None]:
        return ("bio", None)


class Say(Effect):
    """A chat message, in answer to the message whose number is `target_id`, if any."""

    kind = "say"

    @property
    def key(self) -> tuple[str, int | None]:
        return ("say", None)


class LikeMessage(Effect):
    kind = "like_message"


FAMILY: dict[Kind, str] = {"unlike": "like", "unfollow": "follow", "unlike_comment": "like_comment", "block": "mute"}


def family(kind: Kind) -> str:
    """What an effect and its opposite share."""
    return FAMILY.get(kind, kind)
