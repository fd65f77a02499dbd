"""The persona list of the TinyTroupe Simulation Engine: its rules, each fault with its place; read and written."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.agent.population.checking import shown
from app.agent.population.foreign import LINE_MAX, Draft, is_blank, labelled, plain_list, slug, tidy
from app.agent.population.results import UnusableError
from app.strict_json import loads
from app.world.personas import ORIGINAL_MOST, PersonaSpec
from app.world.text import USERNAME_MAX

ENGINE = "engine"
REQUIRED = ("id", "name", "role", "description", "personality")
FILLED = ("traits", "goals", "style")
TOLD = ("communication", "decisions", "approach")
OURS = "simfeed"
"""Under which key fields of ours stand that the engine has none for."""

KNOWN = ("type", *REQUIRED, "model", "temperature", "prompting", "validation_rules", OURS)
PROMPTING = ("format", "role")
RULES = ("required_traits", "max_goals", "style_constraints")
ID = re.compile(r"[A-Za-z0-9_-]+")
ID_RULE = "must be letters A-Z, digits, '_' or '-'"
TEMPERATURE_MOST = 2
_NUMBERED = USERNAME_MAX - 7
"""Characters of an id that a username begins with, whatever number it got among others like it."""

_OTHERS = ("bio", "interests", "leaning", "demographics", "fragments", "activity", "hours", "ranker", "status")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a record (or, as a `warning`, only unusual), and where; items count from 1."""

    item: int
    place: str
    message: str
    warning: bool = False

    def __str__(self) -> str:
        return f"item {self.item}: {self.place}: {self.message}" if self.place else f"item {self.item}: {self.message}"


def look_over(records: Sequence[object]) -> list[Fault]:
    """Every fault and warning of every record, in order; ids and names must differ by more than case."""
    found: list[Fault] = []
    owners: dict[tuple[str, str], int] = {}
    for number, record in enumerate(records, 1):
        if not isinstance(record, dict):
            found.append(Fault(number, "", f"must be an object, not {shown(record)}"))
            continue
        found += [Fault(number, place, message) for place, message in faults(record)]
        for field in ("id", "name"):
            value = record.get(field)
            if isinstance(value, str) and value.strip():
                owner = owners.setdefault((field, tidy(value).casefold()), number)
                if owner != number:
                    told = f"{plain(shown(value))} is already the {field} of item {owner}"
                    found.append(Fault(number, field, told))
        found += [Fault(number, place, message, warning=True) for place, message in warnings(record)]
    return found


def plain(text: str) -> str:
    """`text` with U+FFFD for whatever a terminal would obey or can't show."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def faults(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with one record by itself: (place, message) each."""
    held = list(_personality(record))
    wrong = {place.partition(" item ")[0] for place, _ in held}
    found = [*_texts(record), *_settings(record), *held, *_rules(record, wrong)]
    return [(place, plain(message)) for place, message in found]


def _texts(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in REQUIRED:
        value: Any = record.get(name)
        if is_blank(value):
            yield name, "is missing or empty"
        elif name != "personality" and not isinstance(value, str):
            yield name, f"must be a text, not {shown(value)}"
        elif name == "id" and not ID.fullmatch(value):
            yield name, ID_RULE
    if not isinstance(record.get("type", ""), str | None):
        yield "type", f"must be a text, not {shown(record['type'])}"


def _settings(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    model, temperature = record.get("model"), record.get("temperature")
    if model is not None and not (isinstance(model, str) and 0 < len(model.strip()) <= LINE_MAX):
        yield "model", f"must be a text of 1 to {LINE_MAX} characters, not {shown(model)}"
    if temperature is not None and not _is_number(temperature, TEMPERATURE_MOST):
        yield "temperature", f"must be a number from 0 to {TEMPERATURE_MOST}, not {shown(temperature)}"
    if not isinstance(record.get(OURS), dict | None):
        yield OURS, f"must be an object, not {shown(record[OURS])}"
    prompting = record.get("prompting")
    if prompting is not None and not isinstance(prompting, dict):
        yield "prompting", f"must be an object with format and role, not {shown(prompting)}"
    elif prompting:
        for name in PROMPTING:
            if not isinstance(prompting.get(name, ""), str | None):
                yield f"prompting.{name}", f"must be a text, not {shown(prompting[name])}"


def _is_number(value: object, most: float) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= most
    )


def _personality(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    personality = record.get("personality")
    if is_blank(personality):
        return
    if not isinstance(personality, dict):
        yield "personality", "must be an object with traits, goals and style"
        return
    for name in FILLED:
        value = personality.get(name)
        if is_blank(value):
            yield f"personality.{name}", "is missing or empty"
        elif name == "style":
            if not isinstance(value, str):
                yield "personality.style", f"must be a text, not {shown(value)}"
        else:
            yield from _list(f"personality.{name}", value)
    for name in TOLD:
        value = personality.get(name)
        if isinstance(value, list):
            yield from _list(f"personality.{name}", value)
        elif value is not None and not isinstance(value, str):
            yield f"personality.{name}", f"must be a text or a list of texts, not {shown(value)}"


def _list(place: str, value: object) -> Iterator[tuple[str, str]]:
    """A list of filled texts, or one text."""
    if isinstance(value, str):
        return
    if not isinstance(value, list):
        yield place, f"must be a list of texts, not {shown(value)}"
        return
    for number, one in enumerate(value, 1):
        if not isinstance(one, str):
            yield f"{place} item {number}", f"must be a text, not {shown(one)}"
        elif not one.strip():
            yield f"{place} item {number}", "is empty"


def _rules(record: Mapping[str, Any], wrong: set[str]) -> Iterator[tuple[str, str]]:
    """Faults of the record's own rules, and what of the record breaks them, where it is not `wrong` anyhow."""
    rules, personality = record.get("validation_rules"), record.get("personality")
    if rules is None:
        return
    if not isinstance(rules, dict):
        yield "validation_rules", f"must be an object, not {shown(rules)}"
        return
    of_rules = [*_list_rule(rules, "required_traits"), *_list_rule(rules, "style_constraints"), *_most_rule(rules)]
    yield from of_rules
    wrong = wrong | {place.partition(" item ")[0] for place, _ in of_rules}
    if not isinstance(personality, dict):
        return
    for field, rule, breaches in (
        ("traits", "required_traits", _trait_breaches),
        ("goals", "max_goals", _goal_breaches),
        ("style", "style_constraints", _style_breaches),
    ):
        if not wrong & {f"personality.{field}", f"validation_rules.{rule}"} and not is_blank(personality.get(field)):
            said = breaches(rules.get(rule), personality[field])
            yield from ((f"personality.{field}", f"{one}, as validation_rules.{rule} says") for one in said)


def _list_rule(rules: Mapping[str, Any], name: str) -> Iterator[tuple[str, str]]:
    if rules.get(name) is not None:
        yield from _list(f"validation_rules.{name}", rules[name])


def _most_rule(rules: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    most = rules.get("max_goals")
    if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
        yield "validation_rules.max_goals", f"must be a whole number from 1, not {shown(most)}"


def _trait_breaches(required: object, traits: object) -> Iterator[str]:
    has = {trait.strip().casefold() for trait in _words(traits)}
    yield from (f"must hold {shown(one)}" for one in _words(required) if one.strip().casefold() not in has)


def _goal_breaches(most: int | None, goals: object) -> Iterator[str]:
    if most is not None and len(_words(goals)) > most:
        yield f"has {len(_words(goals))} entries, must have at most {most}"


def _style_breaches(constraints: object, style: str) -> Iterator[str]:
    words = set(re.findall(r"\w+", style.casefold()))
    for one in _words(constraints):
        if _is_word(one) and one.strip().casefold() not in words:
            yield f"must say {shown(one)}"


def _is_word(constraint: str) -> bool:
    """Whether a rule can see that a style keeps it; what is more than a word only its persona can be told."""
    return re.fullmatch(r"\w+", constraint.strip()) is not None


def _words(value: object) -> list[str]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str) and one.strip()]


def warnings(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is unusual in a record and does not keep it from being used: (place, message) each."""
    places: list[tuple[str, object, Sequence[str]]] = [
        ("", record, KNOWN),
        ("personality", record.get("personality"), (*FILLED, *TOLD)),
        ("prompting", record.get("prompting"), PROMPTING),
        ("validation_rules", record.get("validation_rules"), RULES),
    ]
    for place, value, known in places:
        if isinstance(value, dict):
            front = f"{place}." if place else ""
            yield from (
                (f"{front}{plain(name[:60])}", "is no field of the engine's") for name in value if name not in known
            )
    rules = record.get("validation_rules")
    for constraint in _words(rules.get("style_constraints") if isinstance(rules, dict) else None):
        if not _is_word(constraint):
            told = f"{plain(shown(constraint))} can't be checked by a rule: the persona is told it"
            yield "validation_rules.style_constraints", told


# Into our fields


def from_engine(record: dict[str, Any]) -> Draft:
    """The draft of one persona; the record is kept beside its fields, so that it can be written again as it was.

    Raises:
        UnusableError: of several faults, its `more` holds those behind the first.
    """
    if wrong := [UnusableError(message, place) for place, message in faults(record)]:
        wrong[0].more = wrong[1:]
        raise wrong[0]
    personality = record["personality"]
    draft = Draft(handle=record["id"], unique={key: record[key] for key in ("id", "name")})
    draft.parts.append(record["description"])
    draft.line("display_name", record["name"], "Name")
    draft.line("role", record["role"], "Role")
    draft.lines("traits", personality["traits"], "Traits")
    draft.lines("goals", personality["goals"], "Goals")
    draft.line("style", personality["style"], "Style")
    for name, value in personality.items():
        if name not in FILLED:
            draft.tell(labelled(name), value)
    _told_constraints(draft, record)
    draft.fields |= {name: record[name] for name in ("model", "temperature") if record.get(name) is not None}
    draft.rest(record, KNOWN)
    ours = record.get(OURS)
    if isinstance(ours, dict):
        draft.fields |= {name: ours[name] for name in _OTHERS if name in ours}
    if not is_blank(record.get("prompting")):
        draft.losses.append("prompting: kept to be written again, but not used")
    if len(original := json.dumps({ENGINE: record})) <= ORIGINAL_MOST:
        draft.fields["original"] = original
    else:
        draft.losses.append("too long to be kept as it was")
    return draft


def _told_constraints(draft: Draft, record: Mapping[str, Any]) -> None:
    rules = record.get("validation_rules")
    constraints = plain_list(rules.get("style_constraints")) if isinstance(rules, dict) else []
    draft.tell("Style constraints", [one for one in constraints if isinstance(one, str) and not _is_word(one)])


# And out of them


def written(spec: PersonaSpec, name: str, was: PersonaSpec | None) -> dict[str, Any]:
    """The record of a persona by that name.

    Args:
        was: what importing the record it came from gives; what has not changed since is written as it was there.
    """
    fresh = _fresh(spec, name)
    kept = kept_record(spec)
    if was is None or kept is None:
        return fresh
    record = _overlaid(kept, fresh, _fresh(was, was.display_name or was.username))
    if spec.username.startswith(slug(kept["id"])[:_NUMBERED]):
        record["id"] = kept["id"]
    record["name"] = kept["name"] if spec.display_name == was.display_name else name
    return record


def kept_record(spec: PersonaSpec) -> dict[str, Any] | None:
    """The record of the engine's that a persona came from, if it did and the record still keeps the rules."""
    kept = loads(spec.original).get(ENGINE) if spec.original else None
    return kept if isinstance(kept, dict) and not faults(kept) else None


def _fresh(spec: PersonaSpec, name: str) -> dict[str, Any]:
    given = spec.model_dump(mode="json", include={*_OTHERS}, exclude_defaults=True)
    settings = spec.model_dump(include={"model", "temperature"}, exclude_none=True)
    personality = {"traits": spec.traits, "goals": spec.goals, "style": spec.style}
    ours = {OURS: given} if given else {}
    return {
        "type": "persona",
        "id": spec.username.replace(".", "_"),
        "name": name,
        "role": spec.role,
        "description": spec.description,
        "personality": personality,
        **settings,
        **ours,
    }


def _overlaid(kept: Mapping[str, Any], fresh: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """`kept`, with what is not `before` any more as it is `fresh`."""
    record = dict(kept)
    for key in {**fresh, **before}:
        now, then = fresh.get(key), before.get(key)
        if now == then:
            continue
        if isinstance(now, dict) and isinstance(then, dict) and isinstance(kept.get(key), dict):
            record[key] = _overlaid(kept[key], now, then)
        elif now is None:
            record.pop(key, None)
        else:
            record[key] = now
    return record
