"""What interventions mean for turns once they are done: whose feed is ranked otherwise, and who is told something."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import msgspec

from app.db.engine import Database
from app.db.queries import load
from app.world.interventions import Connection, statement_for
from app.world.memories import GIVEN_MOST
from app.world.plans import OWN
from app.world.ranking import Ranking, parse

_SQL = load("interventions")
UNTOLD = statement_for("untold", "s.whom")
CHANCES = 8
"""Turns in which a persona may be told something; by then it was."""

Rules = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Told:
    """What a persona is to be told in its turn: by intervention `id`, in the name of `by`."""

    id: int
    by: str
    body: str


async def rules(connection: "Connection | Database") -> list[dict[str, Any]]:
    """What is in force for whom, the later before the earlier: `to`, and `ranker` or `who_to_follow` or both."""
    found: list[dict[str, Any]] = []
    for row in await connection.fetch(_SQL["rules"]):
        given = msgspec.json.decode(row["detail"])
        rule = {key: given[key] for key in ("to", "ranker", "who_to_follow") if key in given}
        for older in found:
            if "all" in rule["to"] or older["to"] == rule["to"]:
                for key in ("ranker", "who_to_follow"):
                    if key in rule:
                        older.pop(key, None)
        found = [one for one in found if len(one) > 1]
        if "all" in rule["to"]:
            rule = {key: value for key, value in rule.items() if value != OWN}
        found += [rule] if len(rule) > 1 else []
    return found[::-1]


def is_addressed(to: Mapping[str, Any], persona_id: int, profile: Mapping[str, Any]) -> bool:
    """Whether a persona is one of those whom `to` says; the statement `addressed` says the same."""
    if "personas" in to:
        return persona_id in to["personas"]
    if "leaning" in to:
        return str(profile.get("leaning") or "").lower() == str(to["leaning"]).lower()
    if "tag" in to:
        tags = [*profile.get("interests", ()), *profile.get("traits", ()), profile.get("role") or ""]
        return str(to["tag"]).lower() in (str(tag).lower() for tag in tags)
    return "all" in to


def switched(in_force: Rules, what: Literal["ranker", "who_to_follow"], persona_id: int, profile: Any) -> str | None:
    """The name that the rules give a persona; None where they leave it to its run and itself."""
    for rule in in_force:
        if what in rule and is_addressed(rule["to"], persona_id, profile):
            return None if rule[what] == OWN else str(rule[what])
    return None


def ranking_of(in_force: Rules, persona_id: int, profile: Any, otherwise: Ranking | None) -> Ranking | None:
    """A persona's ranking by the rules, else `otherwise`."""
    name = switched(in_force, "ranker", persona_id, profile)
    return otherwise if name is None else parse(name)


async def untold(database: Database, turn_ids: Sequence[int], persona_ids: Sequence[int]) -> dict[int, list[Told]]:
    """What each of these fresh turns has to tell its persona, oldest first.

    What a turn was told stands in the exposures of its first step, by which nobody is told twice.
    """
    if not turn_ids or not await database.fetchval(_SQL["any_messages"]):
        return {}
    found: dict[int, list[Told]] = {}
    for row in await database.fetch(UNTOLD, list(turn_ids), list(persona_ids), CHANCES):
        by = f"@{row['username']}" if row["username"] else row["sender"] or "somebody outside"
        found.setdefault(row["turn_id"], []).append(Told(row["id"], by, row["body"]))
    return found


async def remember(database: Database, run_id: int, *, now: datetime) -> int:
    """Make memories of what a run's personas were told, once, whoever asks and however often; how many."""
    return int(await database.fetchval(_SQL["remember"], run_id, now, GIVEN_MOST))
