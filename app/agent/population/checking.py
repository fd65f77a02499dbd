"""From a record to a PersonaSpec, or to one sentence for each of its wrong fields."""

import difflib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.agent.population.results import Problem, ReadResult, Record
from app.world.personas import PersonaSpec

FIELDS = (*PersonaSpec.model_fields, "persona")
_SCHEMA: dict[str, dict[str, Any]] = PersonaSpec.model_json_schema()["properties"]
_OUR_WORDS = {"text_character", "string_too_long", "string_too_short", "username"}


class Checker:
    """Collects the personas and problems of one file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.result = ReadResult()
        self._owners: dict[str, int] = {}

    def check(self, record: Record, fields: object) -> None:
        if not isinstance(fields, dict):
            self.refuse(record, "", f"must be an object, not {shown(fields)}")
        elif "description" in fields and "persona" in fields:
            self.refuse(record, "persona", "is another name of description; give only one of them")
        else:
            self._check_fields(record, fields)

    def refuse(self, record: Record, field: str, message: str) -> None:
        self.result.problems.append(Problem(self.name, record.number, field, message, record.line))

    def _check_fields(self, record: Record, fields: dict[str, Any]) -> None:
        try:
            persona = PersonaSpec.model_validate(fields)
        except ValidationError as error:
            for field, message in dict(worded(error)).items():
                self.refuse(record, field, message)
            return
        owner = self._owners.setdefault(persona.username.casefold(), record.number)
        if owner != record.number:
            self.refuse(record, "username", f"{shown(persona.username)} is already the username of record {owner}")
        else:
            self.result.personas.append(persona)


def worded(error: ValidationError) -> Iterator[tuple[str, str]]:
    # Reversed, so that of the several errors of one union the first remains in the caller's dict.
    details = error.errors(include_url=False, include_context=True)
    ordered = {_place(detail): detail for detail in reversed(details)}
    for place, detail in reversed(ordered.items()):
        yield place, _message(detail)


def _place(detail: ErrorDetails) -> str:
    head, *rest = detail["loc"]
    if not rest:
        return str(head)
    return f"{head} item {rest[0] + 1}" if isinstance(rest[0], int) else f"{head}.{rest[0]}"


def _message(detail: ErrorDetails) -> str:
    kind, field, given = detail["type"], str(detail["loc"][0]), detail["input"]
    if kind == "extra_forbidden":
        return unknown(field, "field", FIELDS)
    if kind == "missing":
        return "is missing"
    if kind == "too_long":
        return f"has {len(given)} entries, at most {detail['ctx']['max_length']} are allowed"
    if kind == "string_unicode":
        return "holds a lone surrogate, which is not allowed"
    if kind in _OUR_WORDS:
        return detail["msg"]
    return f"must be {_allowed(field, nested=len(detail['loc']) > 1)}, not {shown(given)}"


def _allowed(field: str, *, nested: bool) -> str:
    schema = _SCHEMA[field]
    schema = schema.get("anyOf", [schema])[0]
    if nested and schema["type"] == "object":
        return "a text of at most 200 characters or a whole number within a billion of 0"
    if "enum" in schema:
        return " or ".join(f'"{value}"' for value in schema["enum"])
    if schema["type"] == "number":
        return f"a number from {schema['minimum']} to {schema['maximum']}"
    return "a text" if nested else {"array": "a list of texts", "object": "an object"}.get(schema["type"], "a text")


def unknown(given: str, kind: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(given.lower(), list(known), n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}"
    return f"unknown {kind} '{given[:60]}'; {hint}"


def shown(value: object) -> str:
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"
