"""How much of two texts is the same: shingles, for near-duplicates among many without looking at each pair twice."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

SHINGLE = 3
NEAR = 0.5
"""Resemblance from which two texts count as near-duplicates."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two places in a list of texts, and the resemblance of what stands there."""

    one: int
    other: int
    resemblance: float


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    """All runs of three words in lower case; of a shorter text, its words as one run."""
    words = _WORD.findall(text.lower())
    if len(words) < SHINGLE:
        return frozenset([tuple(words)]) if words else frozenset()
    return frozenset(zip(words, words[1:], words[2:], strict=False))


def resemblance(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    """|A ∩ B| / |A ∪ B| of the shingles (Broder 1997, "On the resemblance and containment of documents")."""
    both = len(one & other)
    return both / (len(one) + len(other) - both) if both else 0.0


class Near:
    """Texts seen so far, by their shingles: which of them a new one resembles."""

    def __init__(self) -> None:
        self._sets: list[frozenset[tuple[str, ...]]] = []
        self._places: dict[tuple[str, ...], list[int]] = {}

    def closest(self, text: str, least: float = NEAR) -> list[tuple[int, float]]:
        """The places of the texts seen that resemble this one at `least` so much, the nearest first."""
        own = shingles(text)
        # What shares ceil(least · |own|) shingles shares one of any |own| - that + 1: the rarest lead to the fewest.
        needed = max(1, ceil(least * len(own) - 1e-9))
        rare = sorted(own, key=lambda shingle: (len(self._places.get(shingle, ())), shingle))[: len(own) - needed + 1]
        met = {place for shingle in rare for place in self._places.get(shingle, ())}
        near = [(place, resemblance(own, self._sets[place])) for place in met]
        return sorted(((place, much) for place, much in near if much >= least), key=lambda one: (-one[1], one[0]))

    def add(self, text: str) -> None:
        own = shingles(text)
        for shingle in own:
            self._places.setdefault(shingle, []).append(len(self._sets))
        self._sets.append(own)


def pairs(texts: Sequence[str], least: float = NEAR) -> list[Pair]:
    """Each pair of near-duplicates among the texts, in order."""
    seen, found = Near(), []
    for place, text in enumerate(texts):
        found += [Pair(one, place, much) for one, much in seen.closest(text, least)]
        seen.add(text)
    return sorted(found, key=lambda pair: (pair.one, pair.other))
