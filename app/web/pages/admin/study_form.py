"""A study's design as a form's fields, and back: a row for each arm, agent and question, lists by lines."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from app.agent.population.tables import number, whole_number
from app.venues.chatroom.design import Arm, Member, Pace, Question, Redirect, StudyDesign
from app.venues.chatroom.files import located
from app.web.pages.admin.persona_form import WrongFields, entry_of, fact_of, line_of
from app.web.pages.session import Form
from app.world.text import clean

TEXTS = (
    *("title", "ethics_reference", "debrief_text", "consent_text", "contact", "completion_code"),
    *("disclosure", "consent"),
)
OPTIONAL = ("strata", "model")
LISTS = ("params", "origins")
WHOLE = ("repeat", "retention_days")
AGAIN = "token_reusable_before_first_message"
PACE, REDIRECT = tuple(Pace.model_fields), tuple(Redirect.model_fields)
PACE_WHOLE = ("context_window_size", "llm_concurrency_limit")
FIELDS = (
    *(*TEXTS, *OPTIONAL, *LISTS, *WHOLE, "temperature", "withdrawal", AGAIN),
    *(f"pace-{key}" for key in PACE),
    *(f"redirect-{key}" for key in REDIRECT),
)
"""Fields that occur once."""

ROWS = {
    "arms": ("name", *Arm.model_fields),
    "cast": tuple(Member.model_fields),
    "intake": tuple(Question.model_fields),
    "closing": tuple(Question.model_fields),
}
MOST = {"arms": 50, "cast": 30, "intake": 100, "closing": 100}
BLANK = {
    "arms": {"weight": "1"},
    "cast": {},
    "intake": {"kind": "single", "required": "yes"},
    "closing": {"kind": "likert", "required": "yes"},
}
"""What a new row begins with."""

FIELDS_MOST = 4_000
"""All fields of the largest design, with some to spare."""

LINES_OF = {"cast": ("traits", "goals", "interests", "fragments"), "intake": ("options",), "closing": ("options",)}
NUMBERS_OF = {"cast": ("temperature",), "intake": ("min", "max"), "closing": ("min", "max")}
ROW_FIELD = re.compile(r"(arms|cast|intake|closing)-(0|[1-9][0-9]{0,3})-([a-z_]{1,40})", re.ASCII)
DEED = re.compile(r"(add|drop|up)-(arms|cast|intake|closing)(?:-(0|[1-9][0-9]{0,3}))?", re.ASCII)
"""What a button of the form does with its rows. Arms have no order."""

Row = dict[str, str]


@dataclass
class Fields:
    """What stands in the form: single fields, and rows by group."""

    texts: dict[str, str]
    rows: dict[str, list[Row]]


def fields_of(design: StudyDesign) -> Fields:
    """The form of a design."""
    told = design.model_dump()
    texts = {name: told[name] or "" for name in (*TEXTS, *OPTIONAL)}
    texts |= {name: "\n".join(told[name]) for name in LISTS}
    texts |= {name: _number(told[name]) for name in (*WHOLE, "temperature")}
    texts |= {"withdrawal": ",".join(told["withdrawal"]), AGAIN: "yes" if told[AGAIN] else ""}
    texts |= {f"pace-{key}": _number(told["pace"][key]) for key in PACE}
    texts |= {f"redirect-{key}": told["redirect"][key] for key in REDIRECT}
    arms = [{"name": name, **arm} for name, arm in told["arms"].items()]
    given = {"arms": arms, **{group: told[group] for group in ("cast", "intake", "closing")}}
    return Fields(texts, {group: [_row(group, row) for row in rows] for group, rows in given.items()})


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.15g}"


def _row(group: str, row: Mapping[str, Any]) -> Row:
    found = {}
    for key in ROWS[group]:
        match row[key]:
            case None | False:
                found[key] = ""
            case True:
                found[key] = "yes"
            case int() | float() as value:
                found[key] = _number(value)
            case list() as entries:
                found[key] = "\n".join(line_of(entry) for entry in entries)
            case dict() as facts:
                found[key] = "\n".join(_fact(name, value) for name, value in facts.items())
            case text:
                found[key] = text
    return found


def _fact(name: str, value: str | int) -> str:
    told = line_of(value, bool(re.fullmatch(r"-?\d{1,10}", value))) if isinstance(value, str) else str(value)
    return f"{line_of(name, ':' in name)}: {told}"


def blank() -> Fields:
    """The form of a study that is to be written."""
    usual = StudyDesign.model_validate({"title": "-", "arms": {"talk": {"prompt_template": "-"}}})
    found = fields_of(usual)
    found.texts["title"] = found.rows["arms"][0]["prompt_template"] = ""
    return found


def fields_in(form: Form) -> Fields:
    """The form as somebody has filled it in; rows in the order of their numbers."""
    texts = {name: _text(form[name]) for name in FIELDS}
    rows: dict[str, dict[int, Row]] = {group: {} for group in ROWS}
    for name in form.fields:
        if (found := ROW_FIELD.fullmatch(name)) and found[3] in ROWS[found[1]]:
            rows[found[1]].setdefault(int(found[2]), {})[found[3]] = _text(form[name])
    whole = {
        group: [{key: row.get(key, "") for key in ROWS[group]} for _, row in sorted(numbered.items())]
        for group, numbered in rows.items()
    }
    return Fields(texts, whole)


def _text(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def reshape(fields: Fields, deed: str) -> bool:
    """Add a row, drop one or move it up; False if it is none of these."""
    found = DEED.fullmatch(deed)
    if found is None or (found[1] == "add") == (found[3] is not None):
        return False
    rows, place = fields.rows[found[2]], int(found[3] or 0)
    match found[1]:
        case "add" if len(rows) < MOST[found[2]]:
            rows.append({key: BLANK[found[2]].get(key, "") for key in ROWS[found[2]]})
        case "drop" if place < len(rows):
            del rows[place]
        case "up" if 0 < place < len(rows):
            rows[place - 1], rows[place] = rows[place], rows[place - 1]
    return True


def design_in(fields: Fields) -> StudyDesign:
    """The design that a form describes.

    Raises:
        WrongFields: tells of every field that can't be taken, by its name; `arms`, `cast` and so on are whole groups.
    """
    wrong: dict[str, str] = {}
    texts = fields.texts
    given: dict[str, Any] = {name: texts[name] for name in TEXTS}
    given |= {name: texts[name] for name in OPTIONAL if texts[name].strip()}
    given |= {name: _lines(texts[name]) for name in LISTS}
    given |= {name: whole_number(texts[name].strip()) for name in WHOLE if texts[name].strip()}
    if texts["temperature"].strip():
        given["temperature"] = number(texts["temperature"].strip())
    given["withdrawal"] = [one for one in texts["withdrawal"].split(",") if one]
    given[AGAIN] = texts[AGAIN] == "yes"
    given["pace"] = {
        key: (whole_number if key in PACE_WHOLE else number)(texts[f"pace-{key}"].strip())
        for key in PACE
        if texts[f"pace-{key}"].strip()
    }
    given["redirect"] = {key: texts[f"redirect-{key}"].strip() for key in REDIRECT}
    given["arms"], places = _arms(fields.rows["arms"], wrong)
    for group in ("cast", "intake", "closing"):
        given[group] = [_value(group, n, row, wrong) for n, row in enumerate(fields.rows[group])]
    design = None
    try:
        design = StudyDesign.model_validate(given)
    except ValidationError as error:
        for place, message in located(error):
            name, inner = _field(place, places)
            wrong.setdefault(name, f"{inner}{message}")
    if wrong or design is None:
        raise WrongFields(wrong)
    return design


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.strip()]


def _arms(rows: Sequence[Row], wrong: dict[str, str]) -> tuple[dict[str, Any], dict[str, int]]:
    """Arms by name, and the row of each."""
    arms: dict[str, Any] = {}
    places: dict[str, int] = {}
    for n, row in enumerate(rows):
        try:
            name = clean(row["name"])
        except PydanticCustomError:
            name = row["name"]
        if name in places:
            wrong[f"arms-{n}-name"] = "is the name of another arm" if name else "must not be empty"
            continue
        places[name] = n
        arms[name] = {"prompt_template": row["prompt_template"]}
        if row["weight"].strip():
            arms[name]["weight"] = whole_number(row["weight"].strip())
    return arms, places


def _value(group: str, place: int, row: Row, wrong: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, text in row.items():
        if key in LINES_OF[group]:
            found[key] = [entry_of(line) for line in _lines(text)]
        elif key in NUMBERS_OF[group]:
            found[key] = number(text.strip()) if text.strip() else None
        elif key == "demographics":
            found[key] = _facts(text, f"{group}-{place}-{key}", wrong)
        elif key == "required":
            found[key] = text == "yes"
        elif group == "cast" and key not in ("name", "bio"):
            found[key] = text if text.strip() else None
        else:
            found[key] = text
    return found


def _facts(text: str, name: str, wrong: dict[str, str]) -> dict[str, str | int]:
    facts: dict[str, str | int] = {}
    for n, line in enumerate(_lines(text), 1):
        fact = fact_of(line)
        if fact is None:
            wrong.setdefault(name, f"entry {n} is not of the form key: value")
        elif fact[0] in facts:
            wrong.setdefault(name, f"entry {n} gives {fact[0][:60]!r} a second time")
        else:
            facts[fact[0]] = fact[1]
    return facts


def _field(place: Sequence[int | str], arms: Mapping[str, int]) -> tuple[str, str]:
    """The name of the field of a place in a design, and where in the field."""
    match place:
        case ("arms", str(name), *rest):
            return f"arms-{arms.get(name, 0)}-{rest[0] if rest else 'name'}", _inner(rest[1:])
        case ("cast" | "intake" | "closing" as group, int(n), str(key), *rest):
            return f"{group}-{n}-{key}", _inner(rest)
        case ("pace" | "redirect" as table, str(key), *rest):
            return f"{table}-{key}", _inner(rest)
        case (str(key), *rest):
            return key, _inner(rest)
    return "title", ""


def _inner(rest: Sequence[int | str]) -> str:
    return "".join(f"entry {part + 1}: " if isinstance(part, int) else f"{part[:60]}: " for part in rest[:1])
