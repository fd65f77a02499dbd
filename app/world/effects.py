"""What a persona's action changes, as data; `ledger/commit` makes it so. Who acts comes from the turn."""

from dataclasses import dataclass
from typing import ClassVar, Literal

Kind = Literal[
    "post", "comment", "like", "unlike", "follow", "unfollow", "repost", "mute", "report", "bio", "say", "like_message"
]


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
        return None if self.target_id is None else (FAMILY.get(self.kind, self.kind), self.target_id)


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


FAMILY: dict[Kind, str] = {"like": "like", "unlike": "like", "follow": "follow", "unfollow": "follow"}
