"""When agents speak: background talk as a Poisson process, answers by chance, typing as fast as people type."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from app.streams import stream

TYPING_LEAST = 0.4
TYPING_MOST = 20.0
"""Seconds within which a message is typed."""

WINDOW_SECONDS = 60.0
TOLERANCE = 1.1
"""Agents together write at most this much of `messages_per_minute` in any minute, unless they are spoken to."""

STALE_SECONDS = 60.0
"""How long something nobody asked for may wait to be told."""


class Pace(msgspec.Struct, frozen=True):
    """A room's tempo. Times in the unit of their name; `words_per_minute` 0: what is thought is written at once."""

    session_duration_minutes: float
    messages_per_minute: float
    user_response_probability: float
    context_window_size: int
    words_per_minute: float = 60.0
    llm_concurrency_limit: int = 8
    grace_seconds: float = 60.0

    def typing_seconds(self, text: str) -> float:
        """How long somebody types this."""
        if not self.words_per_minute:
            return 0.0
        words = max(1, len(text.split()))
        return min(TYPING_MOST, max(TYPING_LEAST, 60 * words / self.words_per_minute))

    def most_a_minute(self) -> int:
        """Messages that agents may write in any minute."""
        return max(1, int(self.messages_per_minute * TOLERANCE + 1e-9))


@dataclass
class Ticks:
    """The moments, in seconds from the clock's start, at which an agent may speak unasked: a seeded Poisson process."""

    seed: int
    a_minute: float
    number: int = 0
    at: float = 0.0

    def __post_init__(self) -> None:
        self._chance = stream(self.seed, "ticks")
        self._advance()

    def _advance(self) -> None:
        self.number += 1
        self.at += self._chance.expovariate(self.a_minute / 60)

    def due(self, age: float) -> Iterator[int]:
        """The numbers of the ticks up to `age`, each once."""
        while self.at <= age:
            yield self.number
            self._advance()


def answers(seed: int, number: int, probability: float) -> bool:
    """Whether somebody answers the person's message of this number."""
    return stream(seed, "answer", number).random() < probability


def chosen(seed: int, what: str, number: int, candidates: list[int]) -> int | None:
    """Which of the candidates it is; None when there is none."""
    return stream(seed, what, number).choice(candidates) if candidates else None
