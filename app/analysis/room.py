"""What a chatroom came to, from its transcript: how much was written, by whom, how fast, in which tone.

Times are of the room's clock. The person is whoever takes the participant's place.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log2
from typing import Any

from app.analysis.tone import sentiments, toxicity_share
from app.analysis.words import mattr, words
from app.db.engine import Database
from app.world.rooms import PERSON, ROOMS, transcript


@dataclass(frozen=True)
class Line:
    """A message: `answers` is the number of the message for which it was written, `likes` how many like it."""

    number: int
    member: int
    body: str
    seconds: float
    reply_to: int | None = None
    answers: int | None = None
    likes: int = 0
    mentions: bool = False


@dataclass(frozen=True)
class Talk:
    """A whole room. `goes` are members' turns, `lost` those that came to nothing for want of an answer."""

    lines: Sequence[Line]
    minutes: float
    goes: int = 0
    lost: int = 0
    used: Mapping[str, Any] | None = None

    def by(self, person: bool) -> list[Line]:
        return [line for line in self.lines if (line.member == PERSON) is person]


@dataclass(frozen=True)
class Figure:
    """A figure of a room: its unit, what it counts, and how it is reckoned; None where there is nothing to count."""

    unit: str
    what: str
    of: Callable[[Talk], float | None]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _length(lines: Sequence[Line]) -> float | None:
    return _mean([len(words(line.body)) for line in lines])


def _tone(lines: Sequence[Line]) -> float | None:
    return float(sentiments([line.body for line in lines]).mean()) if lines else None


def _share(talk: Talk, test: Callable[[Line], bool]) -> float | None:
    return _mean([float(test(line)) for line in talk.lines])


def participation_entropy(talk: Talk) -> float | None:
    """-Σ p log₂ p over those who wrote, p = messages of one / all messages, bits (Shannon 1948)."""
    counts: dict[int, int] = {}
    for line in talk.lines:
        counts[line.member] = counts.get(line.member, 0) + 1
    total = len(talk.lines)
    return sum(n / total * log2(total / n) for n in counts.values()) if total else None


def answer_seconds(talk: Talk) -> list[float | None]:
    """For each of the person's messages: after how many seconds the first agent answered it, None for nobody.

    An agent answers a message that it replies to, or for which it had its turn.
    """
    found: dict[int, float] = {}
    for line in talk.by(person=False):
        for number in {line.reply_to, line.answers} - {None}:
            if number is not None:
                found.setdefault(number, line.seconds)
    return [found[line.number] - line.seconds if line.number in found else None for line in talk.by(person=True)]


def _answered(talk: Talk) -> float | None:
    return _mean([float(seconds is not None) for seconds in answer_seconds(talk)])


def _used(name: str) -> Callable[[Talk], float | None]:
    def of(talk: Talk) -> float | None:
        return None if talk.used is None or talk.used[name] is None else float(talk.used[name])

    return of


FIGURES: dict[str, Figure] = {
    "messages": Figure("messages", "messages of all", lambda talk: float(len(talk.lines))),
    "participant_messages": Figure("messages", "messages of the person", lambda talk: float(len(talk.by(person=True)))),
    "agent_messages": Figure("messages", "messages of the agents", lambda talk: float(len(talk.by(person=False)))),
    "messages_per_minute": Figure(
        "messages a minute", "messages of all / the room's minutes", lambda talk: len(talk.lines) / talk.minutes
    ),
    "words_per_message": Figure("words", "words of a message, on average", lambda talk: _length(talk.lines)),
    "participant_words_per_message": Figure(
        "words", "words of a message of the person, on average", lambda talk: _length(talk.by(person=True))
    ),
    "lexical_diversity": Figure(
        "ratio",
        "moving-average type-token ratio of all messages in a row, 0 to 1; None below 50 words",
        lambda talk: mattr([word for line in talk.lines for word in words(line.body)]),
    ),
    "participation_entropy": Figure(
        "bits",
        "how evenly members wrote: 0 where one did alone, log₂ of the members where all did alike",
        participation_entropy,
    ),
    "answered_share": Figure("share", "share of the person's messages that an agent answered, 0 to 1", _answered),
    "answer_seconds": Figure(
        "seconds",
        "from a message of the person to the first agent's answer, on average, in the room's time",
        lambda talk: _mean([seconds for seconds in answer_seconds(talk) if seconds is not None]),
    ),
    "reply_share": Figure(
        "share",
        "share of messages that quote another, 0 to 1",
        lambda talk: _share(talk, lambda x: x.reply_to is not None),
    ),
    "mention_share": Figure(
        "share",
        "share of messages that name somebody as @NAME, 0 to 1",
        lambda talk: _share(talk, lambda x: x.mentions),
    ),
    "likes": Figure("likes", "likes of messages", lambda talk: float(sum(line.likes for line in talk.lines))),
    "sentiment_mean": Figure(
        "score",
        "VADER's compound score of messages, on average, -1 to 1 (English alone)",
        lambda talk: _tone(talk.lines),
    ),
    "participant_sentiment": Figure(
        "score", "the same of the person's messages", lambda talk: _tone(talk.by(person=True))
    ),
    "agent_sentiment": Figure("score", "the same of the agents' messages", lambda talk: _tone(talk.by(person=False))),
    "toxicity_share": Figure(
        "share",
        "share of messages that insult somebody by a weak rule, 0 to 1 (English alone)",
        lambda talk: toxicity_share([line.body for line in talk.lines]),
    ),
    "missing_turn_share": Figure(
        "share",
        "share of members' turns that came to nothing for want of an answer, 0 to 1",
        lambda talk: talk.lost / talk.goes if talk.goes else None,
    ),
    "calls": Figure("calls", "model calls", _used("calls")),
    "prompt_tokens": Figure("tokens", "tokens of prompts", _used("prompt_tokens")),
    "completion_tokens": Figure("tokens", "tokens that models wrote", _used("completion_tokens")),
    "cost_usd": Figure("USD", "US dollars", _used("usd")),
}
"""By name."""


async def talk_of(database: Database, key: str, *, minutes: float, used: Mapping[str, Any]) -> Talk:
    """A room by its key; `used` holds calls, prompt_tokens, completion_tokens and usd."""
    lost = await database.fetchrow(ROOMS["lost_goes"], key)
    lines = [
        Line(
            row["number"],
            row["member"],
            row["body"],
            row["seconds"],
            row["reply_to"],
            row["answers"],
            len(row["liked_by"]),
            bool(row["mentions"]),
        )
        for row in await transcript(database, key)
    ]
    return Talk(lines, minutes, lost["goes"] if lost else 0, lost["lost"] if lost else 0, used)


def measure(talk: Talk, names: Sequence[str]) -> tuple[dict[str, float | None], dict[str, str]]:
    """Figures of a room by name, and why those that are None have no value."""
    values = {name: FIGURES[name].of(talk) for name in names}
    return values, {name: "there is nothing to count" for name, value in values.items() if value is None}
