"""Why something is there, and what came of it: from a thing to the step that made it, from a post to what it caused.

What others did counts as caused by a post when it is aimed at it (a like, a comment, a repost), or when they had been
shown the post earlier in the same turn and then followed its author or wrote a post. What could have several causes
has the one that was shown last. Consequences of their own, down to `DEPTH`, have reposts, and posts whose writers did
more than read: they liked, answered or shared the post, or followed its author, in the same turn. Below the first
level, posts of those who only read are left out.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

import asyncpg
import msgspec

from app.db.engine import Database
from app.db.queries import load
from app.world.effects import Kind

ORIGINS = load("origins")
DEPTH = 3
EACH_MAX = 16
"""Actions of one kind that one post is followed by in a cascade."""

NODES_MAX = 60
CAUSES_MAX = 16
"""Posts of one level whose consequences are looked for."""

READINGS_MAX = 5_000
"""Readings, from the turn that wrote a post on, among which those are looked for that showed it."""


class _Reply(msgspec.Struct):
    content: str | None = None


@dataclass(frozen=True)
class Origin:
    """The step that made a thing; `steps`, `tokens` and `cost_usd` are of its turn up to and with it.

    `cost_usd` leaves out the `unpriced` calls. `thought` is what the model wrote beside its actions.
    """

    turn_id: int
    step: int
    ordinal: int
    run_id: int
    venue: str
    slot: str
    persona_id: int
    username: str
    turn_state: str
    started_at: datetime | None
    acted_at: datetime
    model: str
    model_returned: str
    latency_ms: int
    thought: str
    steps: int
    made: int
    tokens: int
    cost_usd: Decimal
    unpriced: int

    @property
    def trace(self) -> str:
        """The address of the step, for admins."""
        return f"/admin/traces/{self.turn_id}#step-{self.step}"


@dataclass(frozen=True)
class Deed:
    """Something that a persona did because of a post; `turn_id` and `step` are None where no turn did it.

    `acted` is false of a post whose writer had only read the one before.
    """

    effect: Kind
    object_id: int
    persona_id: int
    username: str
    departed: bool
    at: datetime
    body: str
    turn_id: int | None
    step: int | None
    acted: bool
    consequences: list["Deed"] = field(default_factory=list)

    @property
    def trace(self) -> str:
        """The address of the step, for admins; empty where no turn did it."""
        return f"/admin/traces/{self.turn_id}#step-{self.step}" if self.turn_id is not None else ""


@dataclass(frozen=True)
class Cascade:
    """What came of a post. `size` counts all its deeds; `cut` says that there may be more than are here."""

    deeds: list[Deed]
    size: int
    depth: int
    cut: bool


async def origin(database: Database, effect: Kind, object_id: int) -> Origin | None:
    """The step that made object `object_id` by this effect (for a bio, the newest); None where no turn did."""
    row = await database.fetchrow(ORIGINS["origin"], effect, object_id)
    if row is None:
        return None
    return Origin(
        turn_id=row["turn_id"],
        step=row["step"],
        ordinal=row["ordinal"],
        run_id=row["run_id"],
        venue=row["venue"],
        slot=row["slot"],
        persona_id=row["persona_id"],
        username=row["username"],
        turn_state=row["state"],
        started_at=row["started_at"],
        acted_at=row["created_at"],
        model=row["model"],
        model_returned=row["model_returned"],
        latency_ms=row["latency_ms"],
        thought=_thought(row["reply"]),
        steps=row["steps"],
        made=row["made"],
        tokens=row["tokens"],
        cost_usd=row["cost_usd"],
        unpriced=row["unpriced"],
    )


def _thought(reply: bytes) -> str:
    try:
        return (msgspec.json.decode(reply, type=_Reply).content or "").strip() if reply else ""
    except msgspec.DecodeError:
        return ""


async def readings(database: Database, turn_id: int, step: int, limit: int = 40) -> list[asyncpg.Record]:
    """What a turn was shown before a step, the last thing first; what is in quarantine now is left out."""
    return await database.fetch(ORIGINS["readings"], turn_id, step, limit)


async def read_counts(database: Database, turn_id: int, step: int) -> dict[str, int]:
    """How many different posts, comments and personas a turn was shown before a step."""
    return {row["kind"]: row["things"] for row in await database.fetch(ORIGINS["read_counts"], turn_id, step)}


async def cascade(database: Database, post_id: int) -> Cascade:
    """What others did because of a post."""
    grown = _Growing({post_id: []}, {("post", post_id)})
    causes, depth = [post_id], 0
    while causes and depth < DEPTH and grown.size < NODES_MAX:
        grown.cut = grown.cut or len(causes) > CAUSES_MAX
        rows = await database.fetch(ORIGINS["caused"], causes[:CAUSES_MAX], EACH_MAX + 1, READINGS_MAX)
        before = grown.size
        causes = grown.add(rows)
        depth += grown.size > before
    return Cascade(grown.deeds[post_id], grown.size, depth, grown.cut)


@dataclass
class _Growing:
    """A cascade under way: the deeds by the post that caused them, and what is in it already."""

    deeds: dict[int, list[Deed]]
    seen: set[tuple[str, int]]
    size: int = 0
    cut: bool = False
    first: bool = True

    def add(self, rows: list[asyncpg.Record]) -> list[int]:
        """Take in a level, and return the posts that the next one begins from."""
        counts: Counter[tuple[int, str]] = Counter()
        engaged = {(row["cause"], row["turn_id"]) for row in rows if row["effect"] != "post"}
        causes = []
        for row in rows:
            thing = ("post" if row["effect"] in ("repost", "quote") else row["effect"], row["object_id"])
            acted = row["effect"] != "post" or (row["cause"], row["turn_id"]) in engaged
            if thing in self.seen or not (acted or self.first):
                continue
            counts[row["cause"], row["effect"]] += 1
            if self.size >= NODES_MAX or counts[row["cause"], row["effect"]] > EACH_MAX:
                self.cut = True
                continue
            self.seen.add(thing)
            self.size += 1
            deed = _deed(row, acted)
            self.deeds[row["cause"]].append(deed)
            if acted and thing[0] == "post":
                causes.append(deed.object_id)
                self.deeds[deed.object_id] = deed.consequences
        self.first = False
        return causes


def _deed(row: asyncpg.Record, acted: bool) -> Deed:
    return Deed(
        effect=row["effect"],
        object_id=row["object_id"],
        persona_id=row["persona_id"],
        username=row["username"],
        departed=row["departed"],
        at=row["created_at"],
        body=row["body"],
        acted=acted,
        turn_id=row["turn_id"],
        step=row["step"],
    )
