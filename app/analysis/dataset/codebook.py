"""The codebook of a dataset, made from the schema: what each table and column is, holds and refers to."""

import inspect
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache

from sqlalchemy import CheckConstraint

from app.analysis.dataset.forms import as_table
from app.analysis.dataset.meanings import COLUMNS, EXACT, TABLES, UNITS
from app.analysis.dataset.schema import Field, Shape, references
from app.db.worlds import COPIED, CUT
from app.models import Base

_VALUES = re.compile(r"^(\w+) IN \(('(?:[^']*)'(?:, '(?:[^']*)')*)\)$")
KINDS = {
    "integer": "whole number",
    "number": "number (double precision)",
    "boolean": "true or false",
    "text": "text",
    "json": "JSON",
    "bytes": "bytes",
    "time": "time, UTC, in microseconds",
    "date": "date",
    "integers": "list of whole numbers",
    "numbers": "list of numbers",
    "texts": "list of texts",
}


@dataclass(frozen=True)
class Entry:
    """A column. `values` are all that it may hold, where that is fixed; `refers_to` is a table and its columns."""

    table: str
    column: str
    kind: str
    type: str
    unit: str
    null: bool
    key: bool
    meaning: str
    values: tuple[str, ...]
    refers_to: str


@cache
def _docs() -> dict[str, str]:
    found = {}
    for mapper in Base.registry.mappers:
        doc = mapper.class_.__dict__.get("__doc__") or ""
        found[mapper.local_table.name] = inspect.cleandoc(doc)  # type: ignore[attr-defined]
    return found


def table_meaning(table: str) -> str:
    """What a row of the table is."""
    return TABLES.get(table) or " ".join(_docs().get(table, "").split())


def values(table: str) -> dict[str, tuple[str, ...]]:
    """The columns that hold one of certain texts, and which, by the schema's constraints."""
    if table not in COPIED:
        return {}
    found = {}
    for constraint in Base.metadata.tables[table].constraints:
        if isinstance(constraint, CheckConstraint) and (match := _VALUES.match(str(constraint.sqltext))):
            found[match[1]] = tuple(re.findall(r"'([^']*)'", match[2]))
    return found


def _meaning(table: str, column: str) -> str:
    if column in CUT.get(table, ()):
        return "never in a dataset: it would tell of this installation's admins"
    if found := EXACT.get(f"{table}.{column}"):
        return found
    sentences = re.split(r"(?<=[.;])\s+", table_meaning(table))
    if found := " ".join(one for one in sentences if f"`{column}`" in one):
        return found
    return COLUMNS.get(column, "")


def entries(shapes: Sequence[Shape]) -> list[Entry]:
    """Each column of these tables."""
    found = []
    for shape in shapes:
        fixed = values(shape.name)
        refers = {
            own: f"{parent}({', '.join(there)})" for owns, parent, there in references(shape.name) for own in owns
        }
        found += [
            Entry(
                shape.name, field.name, KINDS[field.kind], field.type, UNITS.get(field.name, ""), field.null,
                field.name in shape.key, _meaning(shape.name, field.name), fixed.get(field.name, ()),
                refers.get(field.name, ""),
            )
            for field in shape.fields
        ]  # fmt: skip
    return found


def as_json(shapes: Sequence[Shape]) -> bytes:
    """The codebook as JSON: tables by name, each with its columns."""
    every = entries(shapes)
    tables = [
        {
            "name": shape.name,
            "meaning": table_meaning(shape.name),
            "derived": shape.derived,
            "key": list(shape.key),
            "columns": [asdict(one) for one in every if one.table == shape.name],
        }
        for shape in shapes
    ]
    return json.dumps({"tables": tables}, ensure_ascii=False, indent=1).encode() + b"\n"


def as_csv(shapes: Sequence[Shape]) -> bytes:
    """The codebook as CSV, a row for each column."""
    names = ("table", "column", "kind", "type", "unit", "null", "key", "meaning", "values", "refers_to")
    fields = [Field(name, "boolean" if name in ("null", "key") else "text") for name in names]
    lines = [
        [", ".join(one.values) if name == "values" else getattr(one, name) for name in names] for one in entries(shapes)
    ]
    return as_table(fields, lines)


def as_markdown(shapes: Sequence[Shape]) -> bytes:
    """The codebook for people."""
    every = entries(shapes)
    parts = ["# Codebook\n"]
    for shape in shapes:
        parts.append(f"## {shape.name}\n\n{table_meaning(shape.name)}\n\nKey: {', '.join(shape.key)}\n")
        parts.append("| column | kind | unit | may be null | meaning | refers to |\n|---|---|---|---|---|---|")
        for one in every:
            if one.table == shape.name:
                what = one.meaning + (f" (one of {', '.join(one.values)})" if one.values else "")
                cells = (one.column, one.kind, one.unit, "yes" if one.null else "", what, one.refers_to)
                parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        parts.append("")
    return "\n".join(parts).encode()
