"""A recorded run, read whole, so that it can be played again without asking anybody."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any

import msgspec

from app.db.engine import Database
from app.db.queries import load
from app.ledger.commit import ActionOutcome
from app.world.interventions import Recorded
from app.world.moderation import Guarded

REPLAY = load("replay")
Position = tuple[int, int]
"""A call's place: turn, step."""


@dataclass(frozen=True)
class Answered:
    """A call as it was answered. `at` is when it was committed; `made`: numbers of what was made, by action.

    `marked` says, by action, whether what it said was a near copy: of what was read then, in live mode maybe not now.
    `vain` are the actions that changed nothing, and why: of two commits at once neither has seen the other.
    """

    status: str
    detail: str
    model: str
    request_sha256: bytes
    reply: bytes
    response: bytes
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cost_usd: float | None
    latency_ms: int
    at: datetime
    made: Mapping[int, int] = field(default_factory=dict)
    marked: Mapping[int, str] = field(default_factory=dict)
    vain: Mapping[int, ActionOutcome] = field(default_factory=dict)


@dataclass(frozen=True)
class Recording:
    """A run's calls by their places, the groups in which they were committed, and what its turns came to.

    `personas` tells whose turn each was, `interventions` with what it began.
    """

    run_id: int
    calls: Mapping[Position, Answered]
    groups: list[list[Position]]
    ends: Mapping[int, tuple[str, str | None]]
    personas: Mapping[int, int]
    interventions: Mapping[int, Recorded] = field(default_factory=dict)
    guarded: Guarded | None = None


@dataclass(frozen=True)
class Cycle:
    """A recorded cycle with its terms: it can be opened anew, and played with what was answered in it."""

    recorded: Recording
    seed: int
    terms: Mapping[str, Any]
    rounds: bool
    world_at: datetime | None


async def recording(database: Database, run_id: int) -> Recording:
    """All that a run was answered."""
    made: dict[Position, dict[int, int]] = {}
    for row in await database.fetch(REPLAY["made"], run_id):
        made.setdefault((row["turn_id"], row["step"]), {})[row["ordinal"]] = row["object_id"]
    marked: dict[Position, dict[int, str]] = {}
    for row in await database.fetch(REPLAY["marked"], run_id):
        marked.setdefault((row["turn_id"], row["step"]), {})[row["ordinal"]] = row["detail"]
    vain: dict[Position, dict[int, ActionOutcome]] = {}
    for row in await database.fetch(REPLAY["vain"], run_id):
        vain.setdefault((row["turn_id"], row["step"]), {})[row["ordinal"]] = row["outcome"]
    rows = await database.fetch(REPLAY["calls"], run_id)
    calls = {
        (r["turn_id"], r["step"]): Answered(
            r["status"],
            r["detail"],
            r["model_returned"],
            r["request_sha256"],
            r["reply"],
            r["response"],
            r["prompt_tokens"],
            r["completion_tokens"],
            r["cached_tokens"],
            None if r["cost_usd"] is None else float(r["cost_usd"]),
            r["latency_ms"],
            r["created_at"],
            made.get((r["turn_id"], r["step"]), {}),
            marked.get((r["turn_id"], r["step"]), {}),
            vain.get((r["turn_id"], r["step"]), {}),
        )
        for r in rows
    }
    groups = [[(r["turn_id"], r["step"]) for r in group] for _, group in groupby(rows, key=lambda r: r["created_at"])]
    needs: dict[Position, set[Position]] = {}
    for row in await database.fetch(REPLAY["needs"], run_id):
        needs.setdefault((row["turn_id"], row["step"]), set()).add((row["made_turn"], row["made_step"]))
    ends = {r["turn_id"]: (r["state"], r["reason"]) for r in await database.fetch(REPLAY["ends"], run_id)}
    personas = {r["turn_id"]: r["persona_id"] for r in await database.fetch(REPLAY["places"], run_id)}
    began = {
        r["id"]: Recorded(r["done_at"], msgspec.json.decode(r["outcome"]))
        for r in await database.fetch(REPLAY["interventions"], run_id)
    }
    found = await database.fetchrow(REPLAY["guarded"], run_id)
    guarded = Guarded(*found) if found is not None and found["started_at"] is not None else None
    return Recording(run_id, calls, in_order(groups, needs), ends, personas, began, guarded)


def in_order(groups: list[list[Position]], needs: Mapping[Position, set[Position]]) -> list[list[Position]]:
    """Groups of calls such that none comes before what it needs, as near as can be to the order in which they began.

    Of two commits that overlapped, the one that began first may have seen what the other made.
    """
    calls = {place for group in groups for place in group}
    ordered: list[list[Position]] = []
    done: set[Position] = set()
    held: list[list[Position]] = []

    def ready(group: list[Position]) -> bool:
        wanted = {place for turn, step in group for place in ((turn, step - 1), *needs.get((turn, step), ()))}
        return wanted & calls <= done | set(group)

    for began in groups:
        held.append(began)
        while (first := next(filter(ready, held), None)) is not None:
            held.remove(first)
            ordered.append(first)
            done.update(first)
    return ordered + held


async def cycles(database: Database, run_id: int) -> list[Cycle]:
    """The cycles from a run on, each with all that was answered in it."""
    return [
        Cycle(
            await recording(database, row["id"]),
            row["seed"],
            msgspec.json.decode(row["settings"]),
            row["pacing"] == "rounds",
            row["world_at"],
        )
        for row in await database.fetch(REPLAY["cycles"], run_id)
    ]


async def maker(database: Database, post_id: int) -> tuple[int, Position, str] | None:
    """Which call made a post: its run, its place, and the id of the tool call; None for one that nobody's turn made."""
    row = await database.fetchrow(REPLAY["maker"], post_id)
    return None if row is None else (row["run_id"], (row["turn_id"], row["step"]), row["call_id"])


async def drifted(database: Database, recorded: Recording) -> int:
    """How many of the recorded calls are now there with another request, or not at all."""
    places = list(recorded.calls)
    return int(
        await database.fetchval(
            REPLAY["drifted"],
            [turn for turn, _ in places],
            [step for _, step in places],
            [recorded.calls[place].request_sha256 for place in places],
        )
    )


async def next_run(database: Database, run_id: int) -> int | None:
    """The cycle after a run."""
    found = await database.fetchval(REPLAY["next_run"], run_id)
    return None if found is None else int(found)


async def example(database: Database, run_id: int) -> tuple[int, str] | None:
    """A post of a run that others liked, if there is one, and whose it is: to try what had been without it."""
    row = await database.fetchrow(REPLAY["example"], run_id)
    return None if row is None else (row["post_id"], row["username"])


async def numbers_on(database: Database) -> None:
    """Give new posts and comments numbers behind all that there are."""
    await database.fetchrow(REPLAY["numbers_on"])
