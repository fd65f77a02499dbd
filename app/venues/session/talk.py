"""What the venues of sessions share: who somebody is, and what was said as data for a prompt."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from app.actions.showing import tokens
from app.agent import prompt
from app.world.sessions import Line, Member

ENTRY_TOKENS = 12
"""What an entry of a transcript takes beside its text."""


def named(member: Member) -> str:
    """Who a member is, in a few lines, by the name that it has in the session."""
    profile = {k: v for k, v in msgspec.json.decode(member.row["profile"]).items() if k != "display_name"}
    who = prompt.character(member.name, member.row["description"], member.row["bio"], profile)
    facts = "; ".join(f"{name}: {value}" for name, value in profile.get("demographics", {}).items())
    return f"{who}\nFacts: {prompt.unmarked(facts)}." if facts else who


@lru_cache(maxsize=8_192)
def size(text: str) -> int:
    """Tokens of an entry of a transcript: many are told the same."""
    return tokens(text) + ENTRY_TOKENS


def by(line: Line, members: Sequence[Member]) -> str:
    """Whose line it is."""
    return str(line.value["by"]) if line.value and "by" in line.value else members[line.member].name


def said_data(lines: Sequence[Line], members: Sequence[Member], budget: int) -> list[dict[str, Any]]:
    """The newest of the lines that fit into so many tokens, oldest first; the last is told in any case."""
    told: list[dict[str, Any]] = []
    for line in reversed(lines):
        budget -= size(line.body)
        if budget < 0 and told:
            break
        told.append({"n": line.number, "by": by(line, members), "text": line.body})
    return told[::-1]
