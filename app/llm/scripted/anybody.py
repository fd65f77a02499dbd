"""A voice for personas without a bank of their own, made of what their text says about them."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from app.llm.scripted.chance import order
from app.llm.scripted.reading import Persona
from app.llm.scripted.voices import Bank, labelled, load, strings

_LOVES = re.compile(
    r"\b(?:loves?|adores?|likes?|obsess(?:es|ed) (?:over|with|about)|passionate about|collects?|fan of|"
    r"devoted to|talks? about|interested in|expert (?:in|on)|cares? about|posts? about|dreams? of)"
    r"\s+([^,.;:!?\n]{3,80})",
    re.I,
)
_HATES = re.compile(
    r"\b(?:hates?|loathes?|despises?|detests?|against|annoyed by|suspicious of|distrusts?|can(?:no|')t stand|"
    r"complains? about|allergic to|afraid of|fears?)\s+([^,.;:!?\n]{3,80})",
    re.I,
)
_STOP = re.compile(r"\s+(?:and|but|who|which|that|while|when|because|with|or)\s+(?:\w+s\s+)?.*$", re.I)
_ODD = re.compile(r"[^\w\s'’&+#./-]")
_WORD = re.compile(r"[^\W\d_]{4,}")
_EMPTY = frozenset(
    [
        "that",
        "this",
        "with",
        "from",
        "have",
        "been",
        "they",
        "them",
        "their",
        "about",
        "which",
        "would",
        "could",
        "should",
        "very",
        "just",
        "like",
    ]
)


@lru_cache(maxsize=512)
def invent(persona: Persona) -> Bank:
    """The bank of a persona nobody wrote lines for."""
    data = load("anybody")
    loves = loved(persona) or _key_words(persona) or ("the finer points",)
    posts, forms = labelled(_lines(persona, data))
    lists = strings(load("common")["lists"] | data["lists"]) | {
        "love": loves,
        "hate": _hates(persona, data["hates"]),
        "me": (persona.username,),
    }
    return Bank(
        hellos=tuple(data["hellos"]),
        posts=posts,
        forms=forms,
        callbacks=tuple(data["callbacks"]),
        agree=tuple(data["agree"]),
        needle=tuple(data["needle"]),
        muse=tuple(data["muse"]),
        stances={"any": tuple(data["any"])},
        bios=tuple(data["bios"]),
        reasons=tuple(data["reasons"]),
        searches=loves,
        lists=lists,
    )


def _lines(persona: Persona, data: dict[str, Any]) -> list[str]:
    """The common posts and those of the tones the persona's words betray."""
    told = " ".join([persona.role, persona.description, *(value for _, value in persona.facts)]).lower()
    words = set(_WORD.findall(told))
    tones = [tone for tone, signs in data["tones"].items() if words & set(signs)]
    return [*data["posts"], *(line for tone in tones for line in data["says"][tone])]


def loved(persona: Persona) -> tuple[str, ...]:
    """What a persona's text says that it likes."""
    listed = phrases(re.split("[,;]", persona.fact("Interests")))
    told = phrases(_STOP.sub("", found[1]) for found in _LOVES.finditer(persona.description))
    return tuple(dict.fromkeys(listed + told))


def hated(persona: Persona) -> tuple[str, ...]:
    """What a persona's text says that it dislikes."""
    return tuple(phrases(_STOP.sub("", found[1]) for found in _HATES.finditer(persona.description)))


def _hates(persona: Persona, common: list[str]) -> tuple[str, ...]:
    told = hated(persona)
    places = order(f"hates/{persona.username}", len(common))
    return tuple(dict.fromkeys([*told, *(common[place] for place in places[: 3 if told else 5])]))


def phrases(pieces: Iterable[str]) -> list[str]:
    """Pieces of a persona's text, as phrases short and clean enough to stand in a sentence."""
    cleaned = [" ".join(_ODD.sub(" ", piece).split())[:48].strip(" .-/") for piece in pieces]
    return [phrase for phrase in cleaned if len(phrase) > 1]


def _key_words(persona: Persona) -> tuple[str, ...]:
    words = [word.lower() for word in _WORD.findall(f"{persona.description} {persona.role}")]
    return tuple(dict.fromkeys(word for word in reversed(words) if word not in _EMPTY))[:3]
