"""Tables of typed columns as CSV, JSON, Parquet and polars data frames, and back without loss."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from app import strict_json
from app.errors import Invalid
from app.world.text import quoted, reckoned

if TYPE_CHECKING:
    import polars as pl

Kind = Literal["text", "integer", "number", "boolean", "list"]
FILE_MOST = 256 * 2**20
"""Bytes of a file that is read."""


@dataclass(frozen=True)
class Column:
    """A column and what its cells hold; None is what is not there. A `list` is one of texts."""

    name: str
    kind: Kind = "text"


@dataclass(frozen=True)
class Table:
    """Rows as long as there are columns."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]

    def dicts(self) -> list[dict[str, Any]]:
        """The rows by column names."""
        names = [column.name for column in self.columns]
        return [dict(zip(names, row, strict=True)) for row in self.rows]


def to_json(table: Table) -> bytes:
    """A list of objects."""
    return json.dumps(table.dicts(), ensure_ascii=False, allow_nan=False, indent=1).encode()


def from_json(data: bytes, columns: Sequence[Column]) -> Table:
    """The table that `to_json` wrote.

    Raises:
        Invalid: it is no such table; the message says which row and column.
    """
    _small(data)
    try:
        rows = strict_json.loads(data, allow_bom=True)
    except strict_json.JSONError as error:
        raise Invalid(f"the table is not JSON: {error}") from None
    if not isinstance(rows, list):
        raise Invalid("the table must be a list of objects")
    names = {column.name for column in columns}
    for n, row in enumerate(rows, 1):
        if not isinstance(row, dict) or row.keys() != names:
            raise Invalid(f"row {n}: must be an object with the keys {', '.join(sorted(names))}")
    return Table(
        tuple(columns),
        tuple(tuple(_typed(column, row[column.name], n) for column in columns) for n, row in enumerate(rows, 1)),
    )


def _typed(column: Column, value: Any, n: int) -> Any:
    right = {
        "text": isinstance(value, str),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "boolean": isinstance(value, bool),
        "list": isinstance(value, list) and all(isinstance(one, str) for one in value),
    }
    if value is None or right[column.kind]:
        return value
    raise Invalid(f"row {n}: {column.name}: must be {_FORMS[column.kind]} or null")


def to_csv(table: Table) -> bytes:
    """RFC 4180 in UTF-8. What is not there is an empty cell, and so is an empty text; a list is a JSON array.

    Of texts, an apostrophe stands before what a spreadsheet would take for a formula; `from_csv` takes it away.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([quoted(column.name) for column in table.columns])
    for row in table.rows:
        writer.writerow([_cell(column.kind, value) for column, value in zip(table.columns, row, strict=True)])
    return text.getvalue().encode()


def _cell(kind: Kind, value: Any) -> str:
    if value is None:
        return ""
    match kind:
        case "text":
            return quoted(value)
        case "boolean":
            return "true" if value else "false"
        case "list":
            return json.dumps(value, ensure_ascii=False)
    return repr(value)


def from_csv(data: bytes, columns: Sequence[Column]) -> Table:
    """The table that `to_csv` wrote; an empty cell is None.

    Raises:
        Invalid: it is no such table; the message says which row and column.
    """
    _small(data)
    try:
        text = strict_json.decode(data, allow_bom=True)
    except strict_json.JSONError as error:
        raise Invalid(f"the table {error.message}") from None
    csv.field_size_limit(FILE_MOST)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise Invalid(f"the table is not CSV: {error}") from None
    if not rows or [reckoned(name) for name in rows[0]] != [column.name for column in columns]:
        raise Invalid(f"line 1: must be the names {', '.join(column.name for column in columns)}")
    read = []
    for n, row in enumerate(rows[1:], 1):
        if len(row) != len(columns):
            raise Invalid(f"row {n}: has {len(row)} cells, must be {len(columns)}")
        read.append(tuple(_read(column, cell, n) for column, cell in zip(columns, row, strict=True)))
    return Table(tuple(columns), tuple(read))


def _read(column: Column, cell: str, n: int) -> Any:
    if not cell:
        return None
    try:
        return _typed(column, _READ[column.kind](cell), n)
    except (ValueError, KeyError):
        raise Invalid(f"row {n}: {column.name}: must be {_FORMS[column.kind]}") from None


_READ: dict[Kind, Callable[[str], Any]] = {
    "text": reckoned,
    "integer": strict_json.loads,
    "number": strict_json.loads,
    "boolean": lambda cell: {"true": True, "false": False}[cell],
    "list": strict_json.loads,
}
_FORMS: dict[Kind, str] = {
    "text": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "list": "a list of texts",
}


def _small(data: bytes) -> None:
    if len(data) > FILE_MOST:
        raise Invalid(f"the table has {len(data):,} bytes; at most {FILE_MOST:,} are read")


def frame(table: Table) -> "pl.DataFrame":
    """A polars data frame: String, Int64, Float64, Boolean, List(String); numbers that are whole become floats."""
    import polars as pl  # 0.1 s

    types: dict[Kind, Any] = {
        "text": pl.String,
        "integer": pl.Int64,
        "number": pl.Float64,
        "boolean": pl.Boolean,
        "list": pl.List(pl.String),
    }
    columns = [
        pl.Series(
            column.name,
            [float(row[n]) if column.kind == "number" and row[n] is not None else row[n] for row in table.rows],
            types[column.kind],
        )
        for n, column in enumerate(table.columns)
    ]
    return pl.DataFrame(columns)


def to_parquet(table: Table) -> bytes:
    """Parquet with zstd, as polars writes it."""
    file = io.BytesIO()
    frame(table).write_parquet(file)
    return file.getvalue()


def from_parquet(data: bytes, columns: Sequence[Column]) -> Table:
    """The table that `to_parquet` wrote.

    Raises:
        Invalid: it is no Parquet, or of other columns.
    """
    import polars as pl

    _small(data)
    try:
        read = pl.read_parquet(io.BytesIO(data))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise Invalid(f"the table is not Parquet: {error}") from None
    if read.columns != [column.name for column in columns]:
        raise Invalid(f"its columns must be {', '.join(column.name for column in columns)}")
    rows = enumerate(read.rows(), 1)
    return Table(
        tuple(columns),
        tuple(tuple(_typed(column, cell, n) for column, cell in zip(columns, row, strict=True)) for n, row in rows),
    )
