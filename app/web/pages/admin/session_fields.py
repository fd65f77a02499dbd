"""The forms that begin sessions: what stands in them, what they come to as a design, and which field is wrong."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from app.errors import FieldError, Invalid
from app.venues.session.design import Dialogue, Rule, Simulation, checked
from app.web.pages.admin.session_notation import WrongLinesError, demographics, fields, json_of, questions
from app.web.pages.session import Form

Begun = Literal["dialogue", "focus_group", "survey", "interview"]
KINDS: tuple[Begun, ...] = get_args(Begun)
BOTS = range(1, 7)
CHECKS: tuple[str, ...] = (*get_args(Rule), "judge")
TEXT_MOST = 20_000
PEOPLE_MOST = 120_000
"""Characters of a field that are put back into a form; a body has at most 256 KiB."""

SHARED = {"name": "", "seed": "0", "model": "", "waits": "", "recall": "", "remember": ""}
DEMOGRAPHICS = "age: 18-29 = 20, 30-49 = 40, 50-80 = 40\ngender: female = 50, male = 50"
OF_DIALOGUE = {
    **{f"bot{n}_{part}": "" for n in BOTS for part in ("name", "persona", "prompt", "model")},
    "seed_from": "Host",
    "seed_message": "",
    "turn_taking": "round_robin",
    "initial_bot": "",
    "turns": "12",
    "window": "20",
    "goodbye": "yes",
    "phrase": "",
    "temperature": "",
    "max_tokens": "500",
}
OF_SIMULATION = {
    "mode": "demographics",
    "demographics": DEMOGRAPHICS,
    "handles": "",
    "people": "",
    "count": "12",
    "stimulus_type": "product",
    "content": "",
    "context": "",
    "questions": "",
    "rounds": "3",
    "memory": "yes",
    "broadcast": "yes",
    "thinking": "yes",
    "in_turn": "",
    "fields": "",
    "objective": "",
    "summary": "yes",
    "repetitions": "1",
    "temperature": "",
    "max_tokens": "500",
}
TICKS = ("waits", "recall", "remember", "goodbye", "memory", "broadcast", "thinking", "in_turn", "summary")
_OWN = {
    "survey": {"rounds": "1", "thinking": "", "broadcast": "", "count": "50", "stimulus_type": "question"},
    "interview": {"rounds": "4", "broadcast": "", "count": "6", "stimulus_type": "question"},
}
PLACES: Mapping[str, str] = {
    "session_config/session_name": "name",
    "name": "name",
    "participants/count": "count",
    "stimulus/type": "stimulus_type",
    "stimulus/context": "context",
    "stimulus": "content",
    "simulation_config/rounds": "rounds",
    "simulation_config/in_turn": "in_turn",
    "extraction_config/extraction_objective": "objective",
    "extraction_config/repetitions": "repetitions",
    "extraction_config/fields": "fields",
    "questions": "questions",
    "terms/seed": "seed",
    "terms/model": "model",
    "terms/temperature": "temperature",
    "terms/max_tokens": "max_tokens",
    "terms": "seed",
    "seed_message/from": "seed_from",
    "seed_message": "seed_message",
    "initial_bot": "initial_bot",
    "turn_taking": "turn_taking",
    "stop/turns": "turns",
    "stop/phrase": "phrase",
    "window": "window",
    "stop": "turns",
    "checks": "checks",
}
"""Which field of a form holds a place of a design; the longest beginning counts."""

COUNTED_FROM_1 = ("participants", "model")
"""Codes of faults whose places count items from 1, not from 0 as JSON Pointers do."""


@dataclass
class Typed:
    """What stands in a form: texts by field, and the checks of talk that are ticked."""

    texts: dict[str, str]
    checks: tuple[str, ...] = ()


class WrongFieldsError(ValueError):
    """What is wrong with fields, by name; `form` for what no field can mend alone."""

    def __init__(self, wrong: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {said}" for name, said in wrong.items()))
        self.wrong = dict(wrong)


def blank(kind: Begun) -> Typed:
    """The form as it is first shown."""
    own = OF_DIALOGUE if kind == "dialogue" else {**OF_SIMULATION, **_OWN.get(kind, {})}
    return Typed({**SHARED, **own}, ("repetition", "convergence") if kind in ("dialogue", "focus_group") else ())


def typed(kind: Begun, form: Form) -> Typed:
    """The form as somebody has filled it in; overlong texts are cut where nobody would read them."""
    names = blank(kind).texts
    most = {name: PEOPLE_MOST if name in ("people", "demographics", "handles") else TEXT_MOST + 1 for name in names}
    texts = {name: form[name].replace("\r\n", "\n")[: most[name]] for name in names}
    return Typed(texts, tuple(name for name in CHECKS if name in form.all("checks")))


def design_of(kind: Begun, given: Typed) -> Dialogue | Simulation:
    """The design that a form describes.

    Raises:
        WrongFieldsError: tells of every field that can't be taken.
    """
    made = _dialogue(given) if kind == "dialogue" else _simulation(kind, given)
    try:
        design = checked(Dialogue if kind == "dialogue" else Simulation, made)
    except Invalid as error:
        raise WrongFieldsError(located(kind, given, error)) from None
    assert isinstance(design, Dialogue | Simulation)  # noqa: S101 - what was asked for
    return design


def located(kind: Begun, given: Typed, error: Invalid) -> dict[str, str]:
    """What is wrong, by the form's fields."""
    wrong: dict[str, str] = {}
    for one in error.errors or [FieldError("", "", error.detail)]:
        place, said = _slashed(one.pointer.strip("/")), one.message
        head, colon, rest = said.partition(": ")
        if colon and (not place or _slashed(head) == place):
            place, said = _slashed(head), rest
        first = 1 if one.code in COUNTED_FROM_1 else 0
        wrong.setdefault(_field(kind, given, place, first), _plainly(said))
    return wrong


def _slashed(place: str) -> str:
    return place.replace(" item ", "/").replace(".", "/")


def _plainly(said: str) -> str:
    """What pydantic says, in our words."""
    if said.startswith("String should have at least 1 char"):
        return "must not be empty"
    return (
        said.replace("Input should be ", "must be ").replace("valid integer", "whole number").partition(", unable")[0]
    )


def _field(kind: Begun, given: Typed, place: str, first: int) -> str:
    parts = place.split("/")
    if parts[0] == "bots":
        rows = _rows(given)
        n = rows[int(parts[1]) - first] if len(parts) > 1 else rows[0]
        return f"bot{n}_{parts[2] if len(parts) > 2 else 'name'}"
    for size in range(len(parts), 0, -1):
        if (name := PLACES.get("/".join(parts[:size]))) is not None:
            return name
    return people_field(given) if kind != "dialogue" and parts[0] == "participants" else "form"


def people_field(given: Typed) -> str:
    """Where it stands who takes part."""
    return {"world": "handles", "json": "people"}.get(given.texts["mode"], "demographics")


def _rows(given: Typed) -> list[int]:
    """The bots of which anything is filled in."""
    return [n for n in BOTS if any(given.texts[f"bot{n}_{part}"].strip() for part in ("name", "persona", "prompt"))]


def _plain(texts: Mapping[str, str], **names: str) -> dict[str, Any]:
    """What is filled in, by the design's names."""
    return {name: texts[field].strip() for name, field in names.items() if texts[field].strip()}


def _terms(texts: Mapping[str, str]) -> dict[str, Any]:
    told = _plain(texts, seed="seed", model="model", temperature="temperature", max_tokens="max_tokens")
    return {**told, "recall": texts["recall"] == "yes", "remember": texts["remember"] == "yes"}


def _dialogue(given: Typed) -> dict[str, Any]:
    t = given.texts
    rows, bots = _rows(given), []
    if len(rows) < 2:
        missing = next(n for n in BOTS if n not in rows)
        raise WrongFieldsError({f"bot{missing}_name": "two bots or more take part: fill this one in, too"})
    for n in rows:
        part = _plain(t, persona=f"bot{n}_persona", prompt=f"bot{n}_prompt", model=f"bot{n}_model")
        bots.append({"name": t[f"bot{n}_name"].strip() or part.get("persona", ""), **part})
    first = {"initial_bot": t["initial_bot"].strip()} if t["initial_bot"].strip() else {}
    return {
        "name": t["name"].strip(),
        "bots": bots,
        "seed_message": {"from": t["seed_from"].strip(), "message": t["seed_message"]},
        "stop": {**_plain(t, turns="turns", phrase="phrase"), "goodbye": t["goodbye"] == "yes"},
        "checks": list(given.checks),
        "terms": _terms(t),
        **_plain(t, turn_taking="turn_taking", window="window"),
        **first,
    }


def _read(wrong: dict[str, str], name: str, read: Callable[[str], Any], text: str) -> Any:
    try:
        return read(text)
    except WrongLinesError as error:
        wrong[name] = str(error)
    return None


def _simulation(kind: Begun, given: Typed) -> dict[str, Any]:
    t, wrong = given.texts, dict[str, str]()
    asked = _read(wrong, "questions", questions, t["questions"])
    extracts = bool(t["fields"].strip())
    found = _read(wrong, "fields", fields, t["fields"])
    participants = _participants(t, wrong)
    if wrong:
        raise WrongFieldsError(wrong)
    told: dict[str, Any] = {
        "session_config": {"session_name": t["name"].strip()},
        "participants": participants,
        "simulation_config": {
            "environment_type": kind,
            "enable_thinking": t["thinking"] == "yes",
            "enable_memory": t["memory"] == "yes",
            "broadcast_mode": t["broadcast"] == "yes",
            "in_turn": t["in_turn"] == "yes",
            **_plain(t, rounds="rounds"),
        },
        "questions": [one.model_dump(mode="json", exclude_defaults=True) | {"type": one.type} for one in asked],
        "checks": list(given.checks),
        "terms": _terms(t),
    }
    if t["content"].strip():
        told["stimulus"] = {"content": t["content"], **_plain(t, type="stimulus_type", context="context")}
    if extracts or (t["summary"] == "yes" and t["objective"].strip()):
        told["extraction_config"] = {
            "extract_results": extracts,
            "extraction_objective": t["objective"].strip(),
            "fields": [one.model_dump(mode="json", exclude_defaults=True) for one in found],
            "summary": t["summary"] == "yes",
            **_plain(t, repetitions="repetitions"),
        }
    return told


def _participants(t: Mapping[str, str], wrong: dict[str, str]) -> dict[str, Any]:
    count = {"count": t["count"].strip()} if t["count"].strip() else {}
    match t["mode"]:
        case "world":
            names = t["handles"].replace(",", " ").split()
            if names:
                return {"mode": "custom", "specifications": names}
            return {"mode": "from_population", "specifications": {"world": True}, **count}
        case "json":
            records = _read(wrong, "people", json_of, t["people"])
            if isinstance(records, dict) and isinstance(records.get("personas", records.get("agents")), list):
                return {"mode": "from_population", "specifications": records, **count}
            several = isinstance(records, list) and len(records) > 1
            return {"mode": "from_population" if several else "from_agent", "specifications": records, **count}
        case _:
            return {"mode": "from_demographics", "specifications": _read(wrong, *_demographics(t)), **count}


def _demographics(t: Mapping[str, str]) -> tuple[str, Callable[[str], Any], str]:
    return "demographics", demographics, t["demographics"]
