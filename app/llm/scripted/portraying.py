"""A person who fits the facts of a sample: a free name, a description that holds the facts, a manner of being."""

import random
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from app.llm.scripted.asked import Asked
from app.llm.scripted.grammar import article
from app.llm.scripted.voices import load, words
from app.llm.scripted.wording import joined

_WOMEN = words("women")
_MEN = words("men")
_EITHER = words("either")
_FAMILIES = words("families")
_TEMPERS: tuple[str, ...] = tuple(load("writing")["tempers"])
_OPPOSITES = (
    {"patient", "impatient"}, {"warm", "dry"}, {"sceptical", "optimistic"}, {"calm", "restless"}, {"calm", "impatient"},
    {"shy", "blunt"}, {"careful", "impatient"}, {"cheerful", "dry"}, {"patient", "restless"}, {"kind", "blunt"},
)  # fmt: skip
_LIKES: tuple[str, ...] = tuple(load("writing")["likes"])
_GOALS: tuple[str, ...] = tuple(load("writing")["goals"])
_STYLES: tuple[str, ...] = tuple(load("writing")["styles"])
_HABITS: tuple[str, ...] = tuple(load("writing")["habits"])
_PLACES = ("city", "region", "country", "place", "location", "residence")
_FEMALE = frozenset(["female", "woman", "f", "w", "women", "girl"])
_MALE = frozenset(["male", "man", "m", "men", "boy"])
_TRADE = ("occupation", "job", "profession", "work", "role")
_KEPT = ("traits", "trait", "personality", "interests", "interest", "hobbies", "goals", "name", "display_name", "style")


def write_persona(asked: Asked, chance: random.Random) -> dict[str, Any]:
    """Somebody who fits what is `sampled`, under a name that nobody has."""
    sampled = {str(key): value for key, value in _mapping(asked.given.get("sampled")).items()}
    known = {key.lower().replace(" ", "_"): key for key in sampled}
    given = {plain: _told(sampled[key]) for plain, key in known.items() if _told(sampled[key])}
    name = _name(given, {one.lower() for one in asked.strings("taken")}, chance)
    traits = _listed(sampled, known, ("traits", "trait", "personality"))
    traits = _tempered(traits, chance)
    likes = _listed(sampled, known, ("interests", "interest", "hobbies"))
    likes += [one for one in chance.sample(_LIKES, 3) if one not in likes][: max(0, 3 - len(likes))]
    meant = [one.format(years=chance.randint(3, 9), days=chance.randint(3, 4)) for one in chance.sample(_GOALS, 2)]
    goals = [*_listed(sampled, known, ("goals",)), *meant]
    trade = next((given[key] for key in _TRADE if key in given), "")
    style = given.get("style") or chance.choice(_STYLES)
    return {
        "username": _handle(name, {one.lower() for one in asked.strings("taken")}, chance),
        "display_name": name,
        "description": _description(name, given, trade, traits, likes, chance),
        "bio": _bio(trade, likes, given, chance),
        "role": (trade or f"{traits[0]} neighbour")[:80],
        "traits": traits[:6],
        "goals": goals[:3],
        "style": style[:120],
        "interests": likes[:5],
    }


def _tempered(traits: list[str], chance: random.Random) -> list[str]:
    """The traits with one or two more that don't contradict them."""
    wanted = max(3, len(traits) + 1)
    for one in chance.sample(_TEMPERS, len(_TEMPERS)):
        if len(traits) < wanted and one not in traits and not any({one, known} in _OPPOSITES for known in traits):
            traits = [*traits, one]
    return traits


def _mapping(value: object) -> Mapping[Any, Any]:
    return value if isinstance(value, dict) else {}


def _told(value: object) -> str:
    """A fact as it stands in a sentence."""
    if isinstance(value, bool) or value is None:
        return "yes" if value is True else "no" if value is False else ""
    if isinstance(value, list):
        return ", ".join(filter(None, map(_told, value)))
    return " ".join(str(value).split())[:200] if isinstance(value, str | int | float) else ""


def _listed(sampled: Mapping[str, Any], known: Mapping[str, str], names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        value = sampled.get(known.get(name, ""))
        found += [
            _told(one)
            for one in (value if isinstance(value, list) else re.split("[;,]", value) if isinstance(value, str) else [])
        ]
    return [one for one in dict.fromkeys(found) if one]


def _name(given: Mapping[str, str], taken: set[str], chance: random.Random) -> str:
    if (named := given.get("display_name") or given.get("name", "")) and named.lower() not in taken:
        return named[:60]
    gender = given.get("gender", given.get("sex", "")).lower()
    firsts = _WOMEN if gender in _FEMALE else _MEN if gender in _MALE else _EITHER if gender else [*_WOMEN, *_MEN]
    for _ in range(60):
        name = f"{chance.choice(firsts)} {chance.choice(_FAMILIES)}"
        if name.lower() not in taken and _plain(name) not in taken:
            return name
    first = chance.choice(firsts)
    pairs = (f"{first} {one}-{other}" for one in _FAMILIES for other in _FAMILIES if one != other)
    return next(
        (name for name in pairs if name.lower() not in taken and _plain(name) not in taken),
        f"{first} {chance.getrandbits(24)}",
    )


def _plain(name: str) -> str:
    bare = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", bare).strip("_")[:32] or "somebody"


def _handle(name: str, taken: set[str], chance: random.Random) -> str:
    handle = _plain(name)
    while handle in taken:
        handle = f"{_plain(name)[:30]}_{chance.randint(2, 9_999)}"
    return handle


def _description(
    name: str, given: Mapping[str, str], trade: str, traits: Sequence[str], likes: Sequence[str], chance: random.Random
) -> str:
    """A few sentences, to whom they describe, that hold every fact."""
    age, gender = given.get("age", ""), given.get("gender", given.get("sex", ""))
    work = f" and work as {article(trade)}" if trade else ""
    who = ", ".join(one for one in (age, gender) if one)
    parts = [f"You are {who}{work}." if who else f"You work as {article(trade)}." if trade else f"You are {name}."]
    told = {"age", "gender", "sex", *_TRADE, *_KEPT, *_PLACES}
    places = [given[key] for key in _PLACES if key in given]
    if places:
        parts.append(f"You live in {', '.join(dict.fromkeys(places))}.")
    parts += [f"{_label(key)}: {value}." for key, value in given.items() if key not in told]
    habits = chance.sample(_HABITS, 2)
    parts.append(f"You are {joined(traits)}, {habits[0]} and {habits[1]}.")
    parts.append(f"You like {joined(likes)}.")
    return " ".join(parts)


def _label(key: str) -> str:
    return f"{key[:1].upper()}{key[1:]}".replace("_", " ")


def _bio(trade: str, likes: Sequence[str], given: Mapping[str, str], chance: random.Random) -> str:
    place = given.get("city") or given.get("region") or given.get("place") or ""
    where = f" from {place}" if place else ""
    start = f"{trade[:1].upper()}{trade[1:]}{where}." if trade else f"Here{where}."
    ends = (
        f"Mostly {likes[0]}.",
        f"Ask me about {likes[-1]}.",
        f"{likes[0].capitalize()} first, the rest later.",
        f"Will talk about {likes[0]}.",
    )
    return f"{start} {chance.choice(ends)}"[:300]
