"""Personality fragments: pieces of character that any persona can be given, of a closed set or TinyTroupe's files."""

import difflib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from app.agent.population.checking import shown
from app.agent.population.foreign import ENTRIES_MAX, Draft, labelled, shortened, tidy
from app.agent.population.objects import read_object
from app.errors import FieldError, Invalid
from app.world.personas import PersonaSpec
from app.world.text import PERSONA_MAX

BYTES_MAX = 1024**2
SUFFIXES = (".fragment.json", ".agent.fragment.json")
_LINES = ("traits", "interests", "goals")


@dataclass(frozen=True, slots=True)
class Fragment:
    """A fragment: one of the closed set, whose text is in a persona's prompt, or `foreign`: told in its description.

    `against`: the names it can't go together with. `traits`, `interests` and `goals` are added to the persona's.
    """

    name: str
    category: str
    text: str
    against: frozenset[str] = frozenset()
    foreign: bool = False
    traits: tuple[str, ...] = ()
    interests: tuple[str, ...] = ()
    goals: tuple[str, ...] = ()


@cache
def fragments() -> dict[str, Fragment]:
    """The closed set by name, in its order."""
    told = tomllib.loads(files("app.agent.population").joinpath("fragments.toml").read_text("utf-8"))
    against: dict[str, set[str]] = {name: set(one.get("against", ())) for name, one in told.items()}
    for name, one in told.items():
        for other in one.get("against", ()):
            against[other].add(name)
    return {name: Fragment(name, one["category"], one["text"], frozenset(against[name])) for name, one in told.items()}


def text_of(entry: str) -> str:
    """What a persona's prompt says of an entry of its `fragments`: the text of a known one, else the entry itself."""
    known = fragments().get(entry)
    return known.text if known else entry


def apply(spec: PersonaSpec, names: Sequence[str | Fragment]) -> PersonaSpec:
    """`spec` with these fragments, each once; those it has stay, and are not put in again.

    Raises:
        Invalid: a name is unknown, two contradict each other, or there are too many.
    """
    chosen = _chosen(names)
    has = list(dict.fromkeys([*spec.fragments, *(one.name for one in chosen)]))
    if faults := [*_contradictions(has), *_too_many(has)]:
        raise _invalid([f"@{spec.username}: {fault}" for fault in faults])
    new = [one for one in chosen if one.name not in spec.fragments]
    changes: dict[str, Any] = {"fragments": has}
    for field in _LINES:
        added = [line for one in new for line in getattr(one, field)]
        changes[field] = list(dict.fromkeys([*getattr(spec, field), *added]))[:ENTRIES_MAX]
    told = [one.text for one in new if one.foreign and one.text]
    if told:
        changes["description"] = shortened("\n".join([spec.description, *told]), PERSONA_MAX)[0]
    return PersonaSpec.model_validate({**spec.model_dump(), **changes})


def _chosen(names: Sequence[str | Fragment]) -> list[Fragment]:
    known, found, faults = fragments(), [], []
    for name in names:
        if isinstance(name, Fragment):
            found.append(name)
        elif name in known:
            found.append(known[name])
        else:
            near = difflib.get_close_matches(name.lower(), list(known), n=3, cutoff=0.5)
            hint = f"nearest are {', '.join(near)}" if near else f"known are {', '.join(known)}"
            faults.append(f"unknown fragment {shown(name)}; {hint}")
    if faults:
        raise _invalid(faults)
    return found


def _contradictions(names: Sequence[str]) -> list[str]:
    known = fragments()
    return [
        f"the fragments {one} and {other} contradict each other"
        for place, one in enumerate(names)
        for other in names[place + 1 :]
        if one in known and other in known[one].against
    ]


def _too_many(names: Sequence[str]) -> list[str]:
    return [f"has {len(names)} fragments, at most {ENTRIES_MAX} are allowed"] if len(names) > ENTRIES_MAX else []


def _invalid(faults: Sequence[str]) -> Invalid:
    return Invalid("; ".join(faults), errors=[FieldError("/fragments", "invalid", fault) for fault in faults])


def read_fragment(path: Path) -> Fragment:
    """The fragment in a TinyTroupe `*.fragment.json`, named as its file is.

    Raises:
        Invalid: it can't be read, or holds no fragment.
    """
    name = path.name
    for suffix in (*reversed(SUFFIXES), ".json"):
        name = name.removesuffix(suffix)
    return fragment_of(read_object(path, BYTES_MAX), name, path.name)


def fragment_of(value: object, name: str, file: str = "fragment") -> Fragment:
    """The fragment that an object of TinyTroupe's form (`{"type": "Fragment", "persona": {…}}`) describes.

    What has no field here is told in words. A name of the closed set gets `_file` behind it.

    Raises:
        Invalid: it has another form, or says nothing.
    """
    if not isinstance(value, dict):
        raise Invalid(f"{file}: must be an object, not {shown(value)}")
    if value.get("type") != "Fragment":
        raise Invalid(f'{file}: type: must be "Fragment", not {shown(value.get("type"))}')
    persona = value.get("persona")
    if not isinstance(persona, dict) or not persona:
        raise Invalid(f"{file}: persona: must be an object that says something, not {shown(persona)}")
    called = tidy(name)[:60]
    if not called:
        raise Invalid(f"{file}: needs a name")
    called += "_file" * (called in fragments())
    draft = Draft(handle=called)
    personality, preferences = persona.get("personality"), persona.get("preferences")
    draft.lines("traits", _part(personality, "traits"), "Personality traits")
    draft.lines("interests", _part(preferences, "interests"), "Interests")
    draft.lines("goals", persona.get("long_term_goals"), "Long-term goals")
    mapped = ("personality", "preferences", "long_term_goals")
    rest = {
        **{key: value for key, value in persona.items() if key not in mapped},
        **_others(personality, "traits"),
        **_others(preferences, "interests"),
    }
    for key, one in rest.items():
        draft.tell(labelled(key), one)
    traits, interests, goals = (tuple(draft.fields.get(field, ())) for field in _LINES)
    text = "\n".join(draft.parts)
    return Fragment(called, "tinytroupe", text, foreign=True, traits=traits, interests=interests, goals=goals)


def _part(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else value


def _others(value: object, name: str) -> dict[str, object]:
    return {key: inner for key, inner in value.items() if key != name} if isinstance(value, dict) else {}
