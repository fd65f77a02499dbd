"""What would come of a persona's effects if they were committed now. Nothing is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from app.db.engine import Database
from app.db.queries import load
from app.world.effects import Effect, family

VERDICTS = load("verdicts")
Outcome = Literal["made", "already", "not_found", "not_allowed"]
OF_POSTS = frozenset({"comment", "like", "unlike", "repost", "report", "quote", "react"})
NOT_ONES_OWN = frozenset({"like", "repost", "report", "react", "like_comment"})
OF_COMMENTS = frozenset({"reply", "like_comment", "unlike_comment"})
REPEATED = frozenset({"comment", "reply", "quote"})
"""What can be done to a thing any number of times."""


@dataclass
class Imagined:
    """A persona's world as it would be after what it has tried so far."""

    persona_id: int
    posts: set[int] = field(default_factory=set)
    comments: set[int] = field(default_factory=set)
    done: dict[tuple[str, int], str] = field(default_factory=dict)
    blocked: set[int] = field(default_factory=set)

    async def judge(self, database: Database, effects: Sequence[Effect]) -> list[tuple[Outcome, int | None]]:
        """The outcome of each effect of one reply, and the number of what it would make."""
        if not effects:
            return []
        kinds, targets, bodies = [e.kind for e in effects], [e.target_id for e in effects], [e.body for e in effects]
        rows = await database.fetch(VERDICTS["verdicts"], self.persona_id, kinds, targets, bodies)
        last = await database.fetchrow(VERDICTS["last_ids"])
        newest = (last["post"], last["comment"]) if last is not None else (0, 0)
        own = self.posts.copy(), self.comments.copy()  # a reply is judged as one: what it makes is not there yet
        found = [self._outcome(e, cast(Outcome, row["outcome"]), *own) for e, row in zip(effects, rows, strict=True)]
        pairs = zip(effects, found, strict=True)
        return [(outcome, self._made(e, newest) if outcome == "made" else None) for e, outcome in pairs]

    def _outcome(self, effect: Effect, outcome: Outcome, posts: set[int], comments: set[int]) -> Outcome:
        if effect.target_id is None:
            return outcome
        own = posts if effect.kind in OF_POSTS else comments if effect.kind in OF_COMMENTS else set[int]()
        if effect.target_id in own:
            outcome = "not_allowed" if effect.kind in NOT_ONES_OWN else "made"
            outcome = "already" if effect.kind in ("unlike", "unlike_comment") else outcome
        if effect.kind == "follow" and effect.target_id in self.blocked:
            return "not_allowed"
        before = self.done.get((family(effect.kind), effect.target_id))
        if before is None or effect.kind in REPEATED or outcome not in ("made", "already"):
            return outcome
        return "already" if before in (_deed(effect), "block") else "made"

    def _made(self, effect: Effect, newest: tuple[int, int]) -> int | None:
        if effect.target_id is not None:
            self.done[family(effect.kind), effect.target_id] = _deed(effect)
            if effect.kind == "block":
                self.blocked.add(effect.target_id)
                self.done["follow", effect.target_id] = "unfollow"
        if effect.kind in ("post", "repost", "quote"):
            number: int = max(newest[0], *self.posts, 0) + 1
            self.posts.add(number)
            return number
        if effect.kind in ("comment", "reply"):
            number = max(newest[1], *self.comments, 0) + 1
            self.comments.add(number)
            return number
        return effect.target_id


def _deed(effect: Effect) -> str:
    return f"react {effect.body}" if effect.kind == "react" else effect.kind
