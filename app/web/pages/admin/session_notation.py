"""Questions, fields and demographics as people write them into a form: one a line. What is wrong is told by line."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import TypeAdapter, ValidationError

from app import strict_json
from app.actions.asking import ExtractedField, Question

TYPES = ("open", "single", "multiple", "likert", "number", "ranking", "matrix")
HEAD = re.compile(r"(?:\[([^\]]{1,60})\]\s*)?(?:([A-Za-z]+)\s*:\s+)?(.*)", re.DOTALL)
RANGE = re.compile(r"(-?\d+(?:\.\d+)?)\s*\.\.\s*(-?\d+(?:\.\d+)?)\s*(whole\b)?\s*(.*)")
POINTS = re.compile(r"(?:1\s*\.\.\s*)?(\d{1,2})(?:\s*points?)?")
CONDITION = re.compile(r"if\s+([A-Za-z_]\w{0,39})\s*(=|>=|<=)\s*(.+)", re.IGNORECASE)
FIELD = re.compile(r"([^\s(:]+)\s*(?:\(([^)]*)\))?\s*(?::\s*(.*))?", re.DOTALL)
SHARE = re.compile(r"(.+?)\s*[= ]\s*(\d+(?:\.\d+)?)\s*%?")
FIELD_TYPES = ("text", "number", "integer", "boolean", "list")
_QUESTION: TypeAdapter[Any] = TypeAdapter(Question)
WRONG_MOST = 8


class WrongLinesError(ValueError):
    """What is wrong with lines; told in one sentence each."""


def _each(text: str, read: Callable[[int, str], Any]) -> list[Any]:
    """What `read` makes of each line that is not blank, by its number among them.

    Raises:
        WrongLinesError: tells of every line that can't be read, by its number in the text.
    """
    found: list[Any] = []
    wrong: list[str] = []
    for place, line in _lines(text):
        try:
            found.append(read(len(found) + len(wrong) + 1, line))
        except ValidationError as error:
            told = dict.fromkeys(_fault(one) for one in error.errors())
            wrong.append(f"line {place}: {'; '.join(list(told)[:3])}")
        except ValueError as error:
            wrong.append(f"line {place}: {error}")
    if wrong:
        raise WrongLinesError(". ".join(wrong[:WRONG_MOST]))
    return found


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for place, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield place, line.strip()


def _fault(error: Any) -> str:
    said = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "string_pattern_mismatch":
        return "a name must begin with a letter and have up to 40 letters, digits and _"
    at = [str(part) for part in error["loc"] if part not in TYPES]
    where = {"key": "the key in brackets", "text": "the question"}.get(at[0], at[0]) if at else ""
    return f"{where}: {said[:1].lower()}{said[1:]}" if where and said[:4] != "must" else f"{where} {said}".strip()


def questions(text: str) -> list[Any]:
    """Questions, each a line: `[key] type: text | what belongs to the type | if key = answer`. Open where no type is.

    Raises:
        WrongLinesError: tells of every line that is none.
    """
    return _each(text, _question)


def _question(number: int, line: str) -> Any:
    head, *parts = [part.strip() for part in line.split("|")]
    found = HEAD.fullmatch(head)
    assert found is not None  # noqa: S101 - it matches anything
    key, kind, words = found[1], (found[2] or "").lower(), found[3]
    if kind not in TYPES:
        kind, words = "open", head if not key else head.partition("]")[2].strip()
    given: dict[str, Any] = {"key": (key or f"q{number}").strip(), "type": kind, "text": words}
    rest = []
    for part in parts:
        if part.lower().startswith("if "):
            given["when"] = _condition(part)
        elif part:
            rest.append(part)
    return _QUESTION.validate_python(given | _belonging(kind, rest))


def _condition(part: str) -> dict[str, Any]:
    found = CONDITION.fullmatch(part)
    if found is None:
        raise ValueError("write a condition as `if q1 = yes` or `if q1 >= 4`")
    key, sign, value = found[1], found[2], found[3].strip()
    if sign == "=":
        among: list[Any] = [one.strip() for one in value.split(",") if one.strip()]
        return {"question": key, "among": among + [int(one) for one in among if re.fullmatch(r"\d{1,4}", one)]}
    try:
        return {"question": key, "at_least" if sign == ">=" else "at_most": float(value)}
    except ValueError:
        raise ValueError(f"a condition with {sign} needs a number, as `if q1 {sign} 4`") from None


def _belonging(kind: str, parts: list[str]) -> dict[str, Any]:
    """What stands behind the question's text, by its type."""
    match kind:
        case "open" if parts:
            raise ValueError("an open question has no options: begin it with `single:` or `multiple:` to give some")
        case "likert":
            return _scale(parts)
        case "number":
            return _range(parts)
        case "matrix":
            return {"rows": parts}
        case "open":
            return {}
    if len(parts) < 2:
        raise ValueError(f"a {kind} question needs two options or more, as `{kind}: Which colour? | red | green`")
    return {"options": parts}


def _scale(parts: list[str]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if parts and (found := POINTS.fullmatch(parts[0])):
        made["points"] = int(found[1])
        parts = parts[1:]
    if len(parts) not in (0, 2):
        raise ValueError("a scale takes both its ends or none, as `likert: … | 7 | never | always`")
    return made | dict(zip(("low", "high"), parts, strict=False))


def _range(parts: list[str]) -> dict[str, Any]:
    if len(parts) > 1:
        raise ValueError("a number takes one range, as `number: … | 0..20 euros`")
    if not parts:
        return {}
    found = RANGE.fullmatch(parts[0])
    if found is None:
        return {"unit": parts[0]}
    return {"least": float(found[1]), "most": float(found[2]), "whole": bool(found[3]), "unit": found[4]}


def fields(text: str) -> list[ExtractedField]:
    """Fields to be extracted, each a line: `name (type): hint`. The type is text, number, integer, boolean, list, or
    categories with bars between them; text where none is given.

    Raises:
        WrongLinesError: tells of every line that is none.
    """
    return _each(text, _field)


def _field(_: int, line: str) -> ExtractedField:
    found = FIELD.fullmatch(line)
    if found is None:
        raise ValueError("write a field as `name (type): what to look for`")
    name, kind, hint = found[1], (found[2] or "text").strip(), (found[3] or "").strip()
    given: dict[str, Any] = {"name": name, "hint": hint}
    head = kind.split(" ")[0].lower()
    if "|" in kind:
        given |= {"type": "category", "options": [one.strip() for one in kind.split("|") if one.strip()]}
    elif head in ("number", "integer") and (bounds := RANGE.fullmatch(kind[len(head) :].strip())):
        given |= {"type": head, "least": float(bounds[1]), "most": float(bounds[2])}
    elif kind.lower() in FIELD_TYPES:
        given["type"] = kind.lower()
    else:
        raise ValueError(f"({kind[:40]}) is no type: must be {', '.join(FIELD_TYPES)}, or categories as (glad | angry)")
    return ExtractedField.model_validate(given)


def demographics(text: str) -> dict[str, Any]:
    """Demographics: a JSON object, or lines as `age: 18-29 = 20, 30-49 = 40, 50-80 = 40`.

    Raises:
        WrongLinesError: tells of every line that can't be read, or where the JSON breaks off.
    """
    if text.lstrip().startswith("{"):
        found = json_of(text)
        assert isinstance(found, dict)  # noqa: S101 - it begins as one
        return found
    rows = _each(text, _marginal)
    if twice := {name for name, _ in rows if sum(name == other for other, _ in rows) > 1}:
        raise WrongLinesError(f"{', '.join(sorted(twice))}: must be in one line each")
    return dict(rows)


def _marginal(_: int, line: str) -> tuple[str, dict[str, float]]:
    name, colon, rest = line.partition(":")
    shares: dict[str, float] = {}
    for part in rest.split(","):
        found = SHARE.fullmatch(part.strip())
        if not colon or found is None:
            raise ValueError("write `gender: female = 50, male = 50`: a name, a colon, values with their shares")
        if found[1] in shares:
            raise ValueError(f"{found[1][:40]} is there twice")
        shares[found[1]] = float(found[2])
    return name.strip(), shares


def json_of(text: str) -> Any:
    """Pasted JSON.

    Raises:
        WrongLinesError: it is none; tells where.
    """
    try:
        return strict_json.loads(text)
    except strict_json.JSONError as error:
        raise WrongLinesError(f"is not JSON: {error}") from None
