"""What would come of a persona's effects if they were committed now. Nothing is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from app.db.engine import Database
from app.db.queries import load
from app.world.effects import FAMILY, Effect

VERDICTS = load("verdicts")
Outcome = Literal["made", "already", "not_found", "not_allowed"]
OF_POSTS = frozenset({"comment", "like", "unlike", "repost", "report"})
NOT_ONES_OWN = frozenset({"like", "repost", "report"})


@dataclass
class Imagined:
    """A persona's world as it would be after what it has tried so far."""

    persona_id: int
    posts: set[int] = field(default_factory=set)
    comments: int = 0
    done: dict[tuple[str, int], str] = field(default_factory=dict)

    async def judge(self, database: Database, effects: Sequence[Effect]) -> list[tuple[Outcome, int | None]]:
        """The outcome of each effect of one reply, and the number of what it would make."""
        if not effects:
            return []
        kinds, targets = [e.kind for e in effects], [e.target_id for e in effects]
        rows = await database.fetch(VERDICTS["verdicts"], self.persona_id, kinds, targets)
        last = await database.fetchrow(VERDICTS["last_ids"])
        newest = (last["post"], last["comment"]) if last is not None else (0, 0)
        own = set(self.posts)  # a reply is judged as one: what it makes itself is not there yet
        found = [self._outcome(e, cast(Outcome, row["outcome"]), own) for e, row in zip(effects, rows, strict=True)]
        pairs = zip(effects, found, strict=True)
        return [(outcome, self._made(e, newest) if outcome == "made" else None) for e, outcome in pairs]

    def _outcome(self, effect: Effect, outcome: Outcome, own: set[int]) -> Outcome:
        if effect.target_id is None:
            return outcome
        if effect.kind in OF_POSTS and effect.target_id in own:
            outcome = "not_allowed" if effect.kind in NOT_ONES_OWN else "already" if effect.kind == "unlike" else "made"
        before = self.done.get((FAMILY.get(effect.kind, effect.kind), effect.target_id))
        if before is None or effect.kind == "comment" or outcome not in ("made", "already"):
            return outcome
        return "already" if before == effect.kind else "made"

    def _made(self, effect: Effect, newest: tuple[int, int]) -> int | None:
        if effect.target_id is not None:
            self.done[FAMILY.get(effect.kind, effect.kind), effect.target_id] = effect.kind
        if effect.kind in ("post", "repost"):
            number: int = max(newest[0], *self.posts, 0) + 1
            self.posts.add(number)
            return number
        if effect.kind == "comment":
            self.comments += 1
            return newest[1] + self.comments
        return effect.target_id
