"""A transcript as a page shows it: who said what to whom, with what belongs to it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from app.actions.asking import Question
from app.venues.session.reading import speaker, worded
from app.world.sessions import Line, Member

NAMED_MOST = 60
"""Members among whom is looked for those whom a line names."""

TO_MOST = 3
NOTES = ("choice", "hand")
"""Lines by which it is settled who speaks."""

READINGS = ("record", "summary", "judge")
"""What is asked about the talk: told of beside it."""

Side = Literal["host", "person", "note"]


@dataclass(frozen=True)
class Entry:
    """A line of the transcript, ready to be shown. `answers` are pairs of question and answer."""

    number: int
    side: Side
    kind: str
    name: str
    handle: str
    linked: bool
    to: str
    text: str
    thought: str | None
    answers: tuple[tuple[str, str], ...]
    missing: str | None
    turn_id: int | None
    at: datetime | None
    round: int
    begins: bool
    """Whether a round begins with it."""


@dataclass(frozen=True)
class Talk:
    """What must be known to show lines: who takes part, what was asked, and who hears whom."""

    kind: str
    members: Sequence[Member]
    questions: Mapping[str, Question]
    broadcast: bool

    def entries(self, lines: Sequence[Line], before: int = -1) -> list[Entry]:
        """The lines as entries; `before` is the round of the line before them, -1 where there is none."""
        made = []
        for line in lines:
            begins = line.round != before and line.round > 0 and self.kind not in ("dialogue", "extraction", "survey")
            before = line.round
            made.append(self._entry(line, begins))
        return made

    def _entry(self, line: Line, begins: bool) -> Entry:
        member = self.members[line.member]
        host = line.member == 0
        side: Side = "note" if line.kind in (*NOTES, *READINGS) else "host" if host else "person"
        return Entry(
            line.number,
            side,
            line.kind,
            speaker(line, self.members),
            str(member.row["username"]),
            member.row["status"] in ("active", "paused"),
            self._to(line) if side != "note" else "",
            line.body if line.kind not in NOTES else "",
            line.thought,
            self._answers(line),
            line.missing,
            line.turn_id,
            line.at,
            line.round,
            begins,
        )

    def _to(self, line: Line) -> str:
        """To whom it is said: whom it names, else whoever hears it."""
        if line.member == 0 or line.kind == "seed":
            return "everybody"
        if line.kind == "answer" or self.kind in ("survey", "interview") or not self.broadcast:
            return "the moderator"
        others = [m.name for m in self.members[1:] if m.number != line.member]
        if self.kind == "dialogue" and len(others) == 1:
            return others[0]
        body = line.body.casefold()
        if len(others) <= NAMED_MOST:
            named = [name for name in others if re.search(rf"\b{re.escape(name.casefold())}\b", body)]
            if 0 < len(named) <= TO_MOST:
                return " and ".join(named)
        return "everybody"

    def _answers(self, line: Line) -> tuple[tuple[str, str], ...]:
        value = line.value or {}
        match line.kind:
            case "answer":
                return tuple((self._question(key), worded(given)) for key, given in value.items())
            case "choice" if "name" in value:
                return (("gives the word to", str(value["name"])),)
            case "hand" if "eagerness" in value:
                return (("raises a hand", f"{value['eagerness']} of 10"),)
            case "judge" if "score" in value:
                return ((f"is judged {value['score']} of 10", str(value.get("reason", ""))),)
            case "record":
                return tuple((key, _found(found)) for key, found in value.items())
        return tuple((key, _plain(given)) for key, given in value.items() if key not in ("by", "text"))

    def _question(self, key: str) -> str:
        question = self.questions.get(key)
        return question.text if question is not None else key


def _found(found: Any) -> str:
    return worded(found["value"]) if isinstance(found, dict) and "value" in found else _plain(found)


def _plain(value: Any) -> str:
    """Any JSON in words, as it is written in a population or a document."""
    if isinstance(value, list):
        return "; ".join(_plain(one) for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_plain(one)}" for key, one in value.items())
    return str(value)
