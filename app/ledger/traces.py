"""Turns found by what happened in them, and one turn read back whole: requests as sent, replies, actions, readings."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import asyncpg
import msgspec

from app.db.engine import Database
from app.db.queries import load
from app.ledger import transcript
from app.world.text import INT64_MAX

TRACES = load("traces")
TURNS = transcript.TURNS
FAR, FARTHER, FARTHEST = 1_000, 5_000, 20_000
"""How many turns one search looks at: where all that was said must be read, where calls are counted, and else."""


@dataclass(frozen=True)
class Wanted:
    """What is looked for; None is anything. `text` is found whatever its case; `cost` is in US dollars."""

    run: int | None = None
    persona: int | None = None
    state: str | None = None
    status: str | None = None
    action: str | None = None
    text: str | None = None
    cost: float | None = None

    @property
    def far(self) -> int:
        if self.text is not None:
            return FAR
        return FARTHER if (self.status, self.action, self.cost) != (None, None, None) else FARTHEST

    @property
    def among(self) -> str:
        """The turns from which is chosen, as SQL."""
        where = ("all", "persona", "run", "both")[2 * (self.run is not None) + (self.persona is not None)]
        return TRACES[f"among_{where}"]


@dataclass(frozen=True)
class Found:
    """Turns, newest first, each with `done`: (action, outcome, times).

    `before` is where the next search begins, None at the end; `looked_at` counts the turns looked at when fewer were
    found than asked for, and `since` is the oldest of them.
    """

    rows: list[dict[str, Any]]
    before: int | None
    looked_at: int = 0
    since: datetime | None = None


async def search(database: Database, wanted: Wanted, *, limit: int, before: int = INT64_MAX) -> Found:
    """The newest turns before turn `before` that are as wanted."""
    text = None if wanted.text is None else msgspec.json.encode(wanted.text).decode()[1:-1]
    scope = (before, wanted.far, wanted.run, wanted.persona)
    filters = (wanted.state, wanted.status, wanted.action, text, wanted.cost)
    found = await database.fetch(TRACES["traces"].format(among=wanted.among), *scope, *filters, limit + 1)
    rows: list[dict[str, Any]] = [dict(row) | {"done": []} for row in found[:limit]]
    by_id = {row["id"]: row for row in rows}
    for done in await database.fetch(TRACES["done_in"], list(by_id)) if rows else ():
        by_id[done["turn_id"]]["done"].append((done["name"], done["outcome"], done["times"]))
    if len(found) > limit:
        return Found(rows, rows[-1]["id"])
    looked = await database.fetchrow(TRACES["looked"].format(among=wanted.among), *scope)
    assert looked is not None  # noqa: S101 - an aggregate always gives a row
    more = looked["turns"] >= wanted.far
    return Found(rows, looked["oldest"] if more else None, looked["turns"], looked["since"])


@dataclass(frozen=True)
class Step:
    """One model call with all that came of it; `messages` and `tools` (empty if unknown) are of its request as sent."""

    number: int
    call: asyncpg.Record
    told: tuple[dict[str, Any], ...]
    messages: tuple[bytes, ...]
    tools: bytes
    reply: dict[str, Any]
    actions: tuple[asyncpg.Record, ...]
    exposures: tuple[asyncpg.Record, ...]

    @property
    def tokens(self) -> int:
        return int(self.call["prompt_tokens"] + self.call["completion_tokens"])

    @property
    def response(self) -> str:
        """The reply as received, as far as it is text."""
        return bytes(self.call["response"]).decode("utf-8", "replace")


@dataclass(frozen=True)
class Trace:
    """A whole turn. `cost_usd` leaves out the `unpriced` calls."""

    turn: asyncpg.Record
    steps: tuple[Step, ...]
    tokens: int = 0
    cost_usd: Decimal = field(default_factory=Decimal)
    unpriced: int = 0
    latency_ms: int = 0

    @property
    def made(self) -> int:
        return sum(action["outcome"] == "made" for step in self.steps for action in step.actions)


async def read(database: Database, turn_id: int) -> Trace | None:
    """A turn; None if there is no such."""
    turn = await database.fetchrow(TRACES["turn"], turn_id)
    if turn is None:
        return None
    calls = await database.fetch(TURNS["turn_calls"], turn_id)
    actions = await database.fetch(TURNS["turn_actions"], turn_id)
    exposures = await database.fetch(TRACES["exposures"], turn_id)
    hashes = list({call["tools_sha256"] for call in calls})
    tools = {row["sha256"]: row["body"] for row in await database.fetch(TRACES["texts"], hashes)} if hashes else {}
    steps = tuple(
        Step(
            call["step"],
            call,
            tuple(msgspec.json.decode(message) for message in transcript.told(call)),
            tuple(transcript.messages(calls, upto=n)),
            bytes(tools.get(call["tools_sha256"], b"")),
            msgspec.json.decode(call["reply"]) if call["reply"] else {},
            tuple(action for action in actions if action["step"] == call["step"]),
            tuple(shown for shown in exposures if shown["step"] == call["step"]),
        )
        for n, call in enumerate(calls)
    )
    return Trace(
        turn,
        steps,
        sum(step.tokens for step in steps),
        sum((call["cost_usd"] or Decimal() for call in calls), Decimal()),
        sum(call["cost_usd"] is None for call in calls),
        sum(call["latency_ms"] for call in calls),
    )
