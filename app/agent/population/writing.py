"""Personas to a file of our own formats, which reads back as the same personas."""

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

from app.agent.population.results import PersonaFormat
from app.agent.population.tables import COLUMNS, LISTS
from app.world.personas import PersonaSpec


def write_personas(personas: Iterable[PersonaSpec], format: PersonaFormat = PersonaFormat.JSON) -> bytes:  # noqa: A002
    """Return the file.

    Raises:
        ValueError: `format` belongs to another system.
    """
    records = [persona.model_dump(exclude_defaults=True) for persona in personas]
    if format is PersonaFormat.JSON:
        text = _dumps(records, indent=2) + "\n"
    elif format is PersonaFormat.JSONL:
        text = "".join(_dumps(record) + "\n" for record in records)
    elif format is PersonaFormat.CSV:
        text = _table(records)
    else:
        raise ValueError(f"personas are written as json, jsonl or csv, not as {format}")
    return text.encode()


def _dumps(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)


def _table(records: list[dict[str, Any]]) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerows([_cell(name, record.get(name)) for name in COLUMNS] for record in records)
    return out.getvalue()


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in LISTS:
        return _list(value)
    return _dumps(value) if isinstance(value, dict | float) else str(value)


def _list(items: list[str]) -> str:
    plain = ";".join(items)
    return _dumps(items) if plain.startswith("[") or plain.count(";") >= len(items) else plain
