"""What a kind of session has to tell its driver: what comes next, how it is asked, how an answer is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from app.actions.registry import ActionSet
from app.agent.memory import Recollection
from app.llm.model import read_reply
from app.world.sessions import Ask, Ended, Line, Member


@dataclass(frozen=True)
class Stand:
    """How a session stands: the transcript so far, and for how many seconds it has run."""

    lines: Sequence[Line]
    age: float = 0.0
    tokens: int = 0


@dataclass(frozen=True)
class Move:
    """What comes next: lines that the session itself says, then what is asked; `over` is at its end."""

    say: Sequence[Line] = ()
    ask: Sequence[Ask] = ()
    over: bool = False
    checkpoint: str = ""


@dataclass(frozen=True)
class Opening:
    """How something is asked. Without actions a model answers in plain words."""

    messages: tuple[bytes, ...]
    actions: ActionSet
    max_tokens: int
    model: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    tries: int = 2
    again: int = 0
    """Which of several times the same is asked: so that an answer is not used again."""


class Script(Protocol):
    """A kind of session. All but what it is given follows from its design and seed: the same lines, the same move."""

    members: Sequence[Member]

    def move(self, stand: Stand) -> Move:
        """What comes next, all that was asked being answered."""
        ...

    def opening(self, ask: Ask, lines: Sequence[Line], marker: str, *, native: bool, recalled: Recollection) -> Opening:
        """How `ask` is asked, behind `lines`."""
        ...

    def result(self, lines: Sequence[Line]) -> Mapping[str, Any]:
        """What came of it."""
        ...


@dataclass(frozen=True)
class Said:
    """An answer as it was read: plain words, or what was called."""

    text: str = ""
    given: Mapping[str, Any] = field(default_factory=dict)


NO_ACTIONS = ActionSet([])
CUT_OFF = "length"
WRONG_FORM = "no answer of the form asked for"
UNUSABLE = frozenset({WRONG_FORM, "empty", "no_call", "parse", "refusal", CUT_OFF})
"""Reasons why a reply of a model came to nothing; where there was none, it failed."""

SAYS = ("say", "summary", "rewrite")
"""Asks whose answer is a text."""


def read(ended: Ended) -> Line:
    """The line that an ask comes to: the words, or the values, or why nothing came."""
    ask = ended.ask
    if ended.called is not None and ended.arguments is not None:
        given = msgspec.json.decode(ended.arguments.encode())
        thought = given.pop("thought") if isinstance(given.get("thought"), str) else None
        body = str(given.pop("text")) if ask.kind in SAYS else ""
        return _line(ended, body, thought, given or None)
    if ended.status in ("ok", CUT_OFF) and ask.about.get("plain"):
        text = read_reply("ok", ended.reply).text.strip()
        return _line(ended, spoken(text, str(ask.about["plain"])), None, None) if text else _nothing(ended, "empty")
    return _nothing(ended, ended.reason or ended.status or ended.state)


def spoken(text: str, name: str) -> str:
    """What was said, without the speaker's own name in front."""
    head, colon, rest = text.partition(":")
    return rest.strip() if colon and rest.strip() and head.strip("*_[]() ").casefold() == name.casefold() else text


def _nothing(ended: Ended, reason: str) -> Line:
    return _line(ended, "", None, None, WRONG_FORM if reason == "max_actions" else reason)


def _line(
    ended: Ended, body: str, thought: str | None, value: Mapping[str, Any] | None, missing: str | None = None
) -> Line:
    ask = ended.ask
    return Line(ask.key, ask.member, ask.kind, ask.round, body, thought, value, missing, turn_id=ended.turn_id)
