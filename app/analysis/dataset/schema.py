"""What a dataset holds of each table: its columns, their kinds, and how they are read from the database.

A cell is None, int, float, bool, str, bytes, a UTC `datetime`, a `date` or a list of int, float or str. JSON is a text
as PostgreSQL writes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import ARRAY, Boolean, Column, Date, DateTime, Float, Integer, LargeBinary, Numeric, Text
from sqlalchemy.dialects.postgresql import JSONB, REAL

from app.analysis.state import in_order
from app.db.worlds import COPIED, CUT
from app.models import Base

if TYPE_CHECKING:
    import polars as pl

Kind = Literal["integer", "number", "boolean", "text", "json", "bytes", "time", "date", "integers", "numbers", "texts"]
Cells = Sequence[Any]
LISTS: dict[Kind, Kind] = {"integers": "integer", "numbers": "number", "texts": "text"}


@dataclass(frozen=True)
class Field:
    """A column. `type` is PostgreSQL's, empty in tables that are made for the dataset."""

    name: str
    kind: Kind
    type: str = ""
    null: bool = False


@dataclass(frozen=True)
class Shape:
    """A table of a dataset: its columns in their order, and the statement that reads it in the order of its key.

    A `derived` one is made of others, and needs no place in a world.
    """

    name: str
    fields: tuple[Field, ...]
    query: str
    key: tuple[str, ...]
    derived: bool = False


def _kind(column: "Column[Any]") -> Kind:
    match column.type:
        case ARRAY(item_type=Integer()):
            return "integers"
        case ARRAY(item_type=Float()):
            return "numbers"
        case ARRAY():
            return "texts"
        case JSONB():
            return "json"
        case LargeBinary():
            return "bytes"
        case Boolean():
            return "boolean"
        case DateTime():
            return "time"
        case Date():
            return "date"
        case Integer():
            return "integer"
        case Float() | Numeric():
            return "number"
        case Text():
            return "text"
    raise AssertionError(f"{column}: {column.type}")


def _read(table: str, column: "Column[Any]") -> str:
    """How a column is read; a number of single precision as the shortest decimal that stands for it."""
    name, kind = f't."{column.name}"', column.type
    if column.name in CUT.get(table, ()):
        return f'NULL::{_type(column)} AS "{column.name}"'
    if isinstance(kind, ARRAY) and isinstance(kind.item_type, REAL):
        return f"{name}::text[]::float8[]"
    if isinstance(kind, REAL):
        return f"{name}::text::float8"
    if isinstance(kind, Numeric) and not isinstance(kind, Float):
        return f"{name}::float8"
    return f"{name}::text" if isinstance(kind, JSONB) else name


def _type(column: "Column[Any]") -> str:
    from sqlalchemy.dialects.postgresql import dialect

    return str(column.type.compile(dialect=dialect())).lower()  # type: ignore[no-untyped-call]


SHOWN = Shape(
    "exposure_items",
    (
        Field("turn_id", "integer"),
        Field("step", "integer"),
        Field("ordinal", "integer"),
        Field("rank", "integer"),
        Field("item_id", "integer"),
        Field("score", "number", null=True),
        Field("reason", "text", null=True),
        Field("chance", "number", null=True),
    ),
    "SELECT t.turn_id, t.step, t.ordinal, i.rank, i.item_id, t.scores[i.rank]::text::float8 AS score,"  # noqa: S608 - as below
    " t.reasons[i.rank] AS reason, t.chances[i.rank]::text::float8 AS chance FROM ("
    f"SELECT t.* {in_order('exposures')}"
    ") t CROSS JOIN LATERAL unnest(t.items) WITH ORDINALITY AS i (item_id, rank)"
    " ORDER BY t.turn_id, t.step, t.ordinal, i.rank",
    ("turn_id", "step", "ordinal", "rank"),
    derived=True,
)
"""`exposures` with one row for each thing that was shown."""


@cache
def shapes() -> dict[str, Shape]:
    """All tables of a dataset by name: those that travel with a world, without generated columns, and those derived."""
    found = {}
    for name in sorted(COPIED):
        table = Base.metadata.tables[name]
        columns = [column for column in table.columns if column.computed is None]
        null = CUT.get(name, ())
        fields = tuple(Field(c.name, _kind(c), _type(c), bool(c.nullable) or c.name in null) for c in columns)
        read = ", ".join(_read(name, column) for column in columns)
        key = tuple(column.name for column in table.primary_key)
        found[name] = Shape(name, fields, f"SELECT {read} {in_order(name)}", key)
    return {**found, SHOWN.name: SHOWN}


@cache
def references(table: str) -> tuple[tuple[tuple[str, ...], str, tuple[str, ...]], ...]:
    """A table's foreign keys to tables of a dataset: its columns, whose they are, and the columns there."""
    if shapes()[table].derived:
        return ((("turn_id", "step", "ordinal"), "exposures", ("turn_id", "step", "ordinal")),)
    found = []
    for key in Base.metadata.tables[table].foreign_key_constraints:
        parent = key.elements[0].column.table.name
        own = tuple(column.name for column in key.columns)
        if parent in COPIED and not set(own) & set(CUT.get(table, ())):
            found.append((own, parent, tuple(element.column.name for element in key.elements)))
    return tuple(sorted(found))


def dtypes(fields: Sequence[Field]) -> "dict[str, pl.DataType]":
    """The columns' types in polars: Int64, Float64, Boolean, String, Binary, Datetime (µs, UTC), Date, lists."""
    import polars as pl

    plain: dict[Kind, Any] = {
        "integer": pl.Int64(),
        "number": pl.Float64(),
        "boolean": pl.Boolean(),
        "text": pl.String(),
        "json": pl.String(),
        "bytes": pl.Binary(),
        "time": pl.Datetime("us", "UTC"),
        "date": pl.Date(),
    }
    return {
        field.name: pl.List(plain[LISTS[field.kind]]) if field.kind in LISTS else plain[field.kind] for field in fields
    }
