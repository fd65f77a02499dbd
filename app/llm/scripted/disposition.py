"""What a persona is inclined to: for or against a text, by what is told of it and by a constant of its own."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from app.llm.scripted.anybody import hated, loved
from app.llm.scripted.chance import digest
from app.llm.scripted.hearing import kin, topics_of
from app.llm.scripted.reading import Persona
from app.llm.scripted.voices import bank, load, words
from app.llm.scripted.wording import stem, stems, subject, tokens, turns

_AGE = re.compile(
    r"\b(\d{2,3})(?:[- ]years?[- ]old)?\b(?! ?(?:%|percent|euros?|minutes|hours|years? (?:at|of|in|on|on the)|km|kg))"
)
_AGED = re.compile(
    r"\b(?:age|aged|is|am|are|turned)[: ]+(\d{2,3})\b|\b(\d{2,3})[- ]years?[- ]old\b|, (\d{2,3})(?=[,.; ])", re.I
)
_HATES = re.compile(
    r"\b(?:hates?|loathes?|despises?|detests?|against|dislikes?|distrusts?|avoids?|fed up with|tired of"
    r"|can't stand) ([^.;:!?\n]{3,120})",
    re.IGNORECASE,
)
_NOISE = 0.55
"""The standard deviation of the leaning of those of whom nothing is known that bears on the matter."""

_WARM = frozenset(words("warm"))
_COOL = frozenset(words("cool"))
_FRUGAL = frozenset(words("frugal"))
_RICH = frozenset(words("rich"))
_RIVALS = {"bike": "car", "car": "bike", "bus": "car", "meat": "vegan", "vegan": "meat", "fly": "weather"}
_VEGAN = frozenset(["vegan", "vegetarian", "tofu", "veggie"])
_WIDE = frozenset(words("wide"))


@dataclass(frozen=True)
class Nature:
    """What of a persona bears upon its answers. `fond` and `averse` are stems and kin of what it likes and dislikes."""

    key: str
    words: frozenset[str]
    stems: frozenset[str]
    fond: frozenset[str]
    averse: frozenset[str]
    kin: frozenset[str]
    against_kin: frozenset[str]
    age: int
    warmth: float
    thrift: float
    left: float
    warm_topics: frozenset[str]
    cold_topics: frozenset[str]


@lru_cache(maxsize=4_096)
def nature(persona: Persona) -> Nature:
    told = " ".join([persona.role, persona.description, *(value for _, value in persona.facts)])
    words = frozenset(tokens(told))
    likes = " . ".join(loved(persona))
    dislikes = " . ".join([*hated(persona), *_HATES.findall(told)])
    fond, averse = stems(likes) - _WIDE_STEMS, stems(dislikes) - _WIDE_STEMS
    things = _kin(told)
    against = _kin(dislikes) | {_RIVALS[one] for one in things - _kin(dislikes) if one in _RIVALS}
    own = bank(persona.username.lower())
    return Nature(
        key=digest(persona.username, told),
        words=words,
        stems=stems(told) - _WIDE_STEMS,
        fond=fond,
        averse=averse,
        kin=things - _kin(dislikes),
        against_kin=against - (things - _kin(dislikes)),
        age=_age(told),
        warmth=0.42 * (bool(words & _WARM) - bool(words & _COOL)) + 0.12 * steady("warmth", persona.username, told),
        thrift=float(bool(words & _FRUGAL) - bool(words & _RICH)),
        left=_left(words),
        warm_topics=own.warm if own else frozenset(),
        cold_topics=own.cold if own else frozenset(),
    )


_WIDE_STEMS = frozenset(stem(word) for word in _WIDE)


def _kin(text: str) -> frozenset[str]:
    """The things a text speaks of. What is eaten without meat is a thing of its own."""
    words = set(tokens(text))
    found = set(kin(text)) - {"poor", "boss", "job", "price", "build", "heat", "news", "trip", "study", "cook"}
    if words & _VEGAN:
        found = (found - {"meat"}) | {"vegan"}
    return frozenset(found)


def _age(told: str) -> int:
    found = _AGED.search(told[:600]) or _AGE.search(told[:200])
    age = int(next(filter(None, found.groups()))) if found else 0
    return age if 12 < age < 105 else 0


def _left(words: frozenset[str]) -> float:
    signs: Mapping[str, Any] = load("chat")["leanings"]
    left, right = len(words & set(signs["left"])), len(words & set(signs["right"]))
    return float((left > right) - (right > left))


def steady(*names: object) -> float:
    """A constant of about -2 to 2 for these names, like a draw from a normal distribution (Box & Muller 1958)."""
    bits = int(digest(*names), 16)
    one, other = ((bits >> 32) + 1) / 2**32, (bits & 0xFFFFFFFF) / 2**32
    return math.sqrt(-2 * math.log(min(one, 1.0))) * math.cos(2 * math.pi * other)


def even(*names: object) -> float:
    """A constant from 0 to 1 for these names."""
    return (int(digest(*names), 16) + 0.5) / 2**64


@lru_cache(maxsize=65_536)
def leaning(one: Nature, text: str) -> float:
    """How much a persona is for what a text says, from about -2 to 2: its taste and a constant of its own."""
    turned = -1 if turns(text) else 1
    thing = subject(text)
    whole = steady(one.key, " ".join(sorted(stems(text))))
    same = steady(one.key, " ".join(sorted(stems(thing.text)))) if thing else whole
    return drawn(one, text) + turned * one.warmth + _NOISE * (0.85 * turned * same + 0.5 * whole)


@lru_cache(maxsize=65_536)
def drawn(one: Nature, text: str) -> float:
    """How much of that comes of words that its own text and this one share; 0 where nothing does."""
    said = stems(text)
    pull = 1.1 * bool(said & one.fond) - 1.3 * bool(said & one.averse)
    if not pull:
        things = _kin(text)
        pull = 0.95 if things & one.kin else -0.95 if things & one.against_kin else 0.0
    about = topics_of(text)[:2]
    words: Mapping[str, Any] = load("chat")["leanings"]
    if one.left and about:
        side = sum((topic in words["left_for"]) - (topic in words["right_for"]) for topic in about)
        pull += 0.75 * one.left * max(-1, min(1, side))
    if one.warm_topics or one.cold_topics:
        pull += 0.5 * (bool(one.warm_topics & set(about)) - bool(one.cold_topics & set(about)))
    if one.age and "tech" in about:
        pull += 0.35 * (one.age < 32) - 0.35 * (one.age > 62)
    return -pull if pull and turns(text) else pull
