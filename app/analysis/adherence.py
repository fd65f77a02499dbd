"""Whether personas stay who they are: plain rules over what they wrote, each with a name, counted for each persona.

Rules are words and counts, so that anybody can see why one was broken; they hear no irony. A rule that says nothing
about a persona (no interests, no leaning, too few texts) is not counted for it.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from app.analysis.words import words
from app.world.memories import DISSENT

RULES: dict[str, str] = {
    "assistant_speak": "speaks as an AI assistant: “as an AI language model”, “how can I assist you”",
    "own_instructions": "repeats the instructions it was given",
    "off_topic": "posts without a word of its interests, goals or role",
    "other_script": "writes in another script than its description",
    "length": "much longer, or much shorter, than it has written so far",
    "against_leaning": "uses the other side's catchwords, and neither its own nor a word of dissent",
}
"""Every rule and what breaks it."""

ASSISTANT = re.compile(
    r"\bas an? (?:ai|artificial intelligence|(?:large )?language model|(?:ai |virtual )?assistant)\b"
    r"|\bi(?:'m| am) (?:just |only )?an? (?:ai|(?:large )?language model|chatbot|(?:ai |virtual )assistant)\b"
    r"|\blanguage model (?:trained|developed|created) by\b|\bmy (?:training data|knowledge cut-?off)\b"
    r"|\bi(?: cannot| can't| can not| am unable to|'m unable to| won't) (?:assist|help|comply)"
    r" with (?:that|this|your)\b"
    r"|\bhow (?:can|may) i (?:assist|help) you\b"
)
LEFT = (
    "workers' rights|minimum wage|living wage|corporate greed|tax the rich|big oil|social justice|trade union|"
    "public housing|wealth tax|climate justice|working class|gun control|universal healthcare"
)
RIGHT = (
    "death tax|illegal aliens?|illegal immigration|border security|tax relief|traditional marriage|law and order|"
    "small government|war on terror|pro-life|second amendment|free market|welfare state|private property"
)
CATCHWORDS = {side: re.compile(rf"\b(?:{texts})\b") for side, texts in (("left", LEFT), ("right", RIGHT))}
"""Phrases that one side uses, in the manner of Gentzkow & Shapiro 2010, Econometrica 78(1), table I; English only."""

SIDES = {
    "left": re.compile(r"\b(?:left|far left|centre-left|labour|socialist|progressive|marxist|green|social democrat)\b"),
    "right": re.compile(r"\b(?:right|far right|centre-right|conservative|republican|tory|libertarian|monarchist)\b"),
}
STEM = 5
"""Letters by which a word is known: `tram` and `trams`, `knit` and `knitting` are one from the fourth on."""

POSTS_LEAST, EARLIER_LEAST = 3, 5
LETTERS_LEAST = 20


@dataclass
class Broken:
    """How many texts of a persona broke a rule, of how many it was counted for."""

    broken: int = 0
    of: int = 0


@dataclass(frozen=True)
class Written:
    """A text: in this run, or (`now` False) one from before, to compare with."""

    persona_id: int
    kind: str
    body: str
    leaks: bool = False
    now: bool = True


@dataclass(frozen=True)
class Persona:
    """What rules know of a persona."""

    id: int
    description: str = ""
    profile: Mapping[str, Any] = field(default_factory=dict)


Counts = dict[tuple[int, str], Broken]


def count(people: Sequence[Persona], texts: Sequence[Written]) -> Counts:
    """By persona and rule, what was broken of what was counted."""
    own: dict[int, list[Written]] = {}
    for text in texts:
        own.setdefault(text.persona_id, []).append(text)
    found: Counts = {}
    for persona in people:
        for rule, broken in _of(persona, own.get(persona.id, [])):
            counted = found.setdefault((persona.id, rule), Broken())
            counted.of += 1
            counted.broken += broken
    return found


def _of(persona: Persona, texts: Sequence[Written]) -> list[tuple[str, bool]]:
    new = [text for text in texts if text.now]
    if not new:
        return []
    found = [("own_instructions", text.leaks) for text in new]
    plain = {id(text): text.body.lower().replace("’", "'") for text in new}
    found += [("assistant_speak", bool(ASSISTANT.search(plain[id(text)]))) for text in new]
    found += _on_topic(persona, [text for text in texts if text.kind == "post"])
    home = script(persona.description)
    found += [("other_script", other != home) for text in new if home and (other := script(text.body))]
    before = [len(words(text.body)) for text in texts if not text.now]
    if len(before) >= EARLIER_LEAST:
        usual = median(before)
        sizes = [len(words(text.body)) for text in new]
        found += [("length", size > 3 * usual + 10 or 5 * size < usual - 10) for size in sizes]
    if side := side_of(str(persona.profile.get("leaning") or "")):
        found += [("against_leaning", _against(side, plain[id(text)])) for text in new]
    return found


def _on_topic(persona: Persona, posts: Sequence[Written]) -> list[tuple[str, bool]]:
    if not persona.profile.get("interests") or len(posts) < POSTS_LEAST:
        return []
    topics = _stems(_said(persona.profile, "interests", "goals", "role"))
    return [("off_topic", not (topics & _stems(text.body))) for text in posts]


def _said(profile: Mapping[str, Any], *names: str) -> str:
    values = [profile.get(name) or "" for name in names]
    return " ".join(value if isinstance(value, str) else " ".join(map(str, value)) for value in values)


def _stems(text: str) -> set[str]:
    return {word[: STEM if len(word) > STEM else len(word)].rstrip("s") for word in words(text) if len(word) > 3}


def script(text: str) -> str | None:
    """The script of most letters of a text, as Unicode names it (`LATIN`, `CYRILLIC`); None for few letters."""
    letters = [c for c in text[:400] if c.isalpha()]
    if len(letters) < LETTERS_LEAST:
        return None
    return Counter(unicodedata.name(c, "?").split()[0] for c in letters).most_common(1)[0][0]


def side_of(leaning: str) -> str | None:
    """The side a leaning names, if it names one and only one."""
    found = [side for side, pattern in SIDES.items() if pattern.search(leaning.lower())]
    return found[0] if len(found) == 1 else None


def _against(side: str, plain: str) -> bool:
    other = "right" if side == "left" else "left"
    if not CATCHWORDS[other].search(plain) or CATCHWORDS[side].search(plain):
        return False
    return not set(words(plain)) & set(DISSENT)
