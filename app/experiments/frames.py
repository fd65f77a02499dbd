"""Rows of PostgreSQL as DataFrames: the dtype of a column follows from its type there, also where it holds nothing."""

from collections.abc import Callable, Mapping
from typing import Any

import asyncpg
import polars as pl

from app.errors import Invalid

FETCH = 20_000
TIME = pl.Datetime("us", "UTC")
Dtype = pl.DataType | type[pl.DataType]

DTYPES: Mapping[str, Dtype] = {
    "int2": pl.Int64, "int4": pl.Int64, "int8": pl.Int64, "oid": pl.Int64, "float4": pl.Float64, "float8": pl.Float64,
    "numeric": pl.Float64, "bool": pl.Boolean, "text": pl.String, "varchar": pl.String, "bpchar": pl.String,
    "name": pl.String, "char": pl.String, "json": pl.String, "jsonb": pl.String, "uuid": pl.String, "bytea": pl.Binary,
    "date": pl.Date, "timestamp": pl.Datetime("us"), "timestamptz": TIME, "interval": pl.Duration("us"),
}  # fmt: skip
"""A type of PostgreSQL, and what it is in a frame. A list (`int8[]`) is a list; anything else is text."""

PYTHON: Mapping[str, Callable[[Any], Any]] = {"numeric": float, "uuid": str}


def dtype(kind: str, *, array: bool = False) -> Dtype:
    """The dtype of a column of this type."""
    inner = DTYPES.get(kind, pl.String)
    return pl.List(inner) if array else inner


def _converter(kind: str) -> Callable[[Any], Any] | None:
    return PYTHON.get(kind) or (None if kind in DTYPES else str)


async def frame(connection: asyncpg.Connection, query: str, *arguments: object) -> pl.DataFrame:
    """What a statement gives; in the caller's transaction.

    Raises:
        asyncpg.PostgresError: the statement is wrong, or changes something.
        Invalid: it gives no columns, as COPY, which would write files and run programs even in a read-only transaction.
    """
    statement = await connection.prepare(query)
    if not statement.get_attributes():
        raise Invalid("the statement was refused: it gives no columns, so it reads nothing")
    kinds = [
        (one.name, one.type.name.removesuffix("[]"), one.type.kind == "array") for one in statement.get_attributes()
    ]
    schema = dict(_unique([(name, dtype(kind, array=array)) for name, kind, array in kinds]))
    mend = [
        (place, convert) for place, (_, kind, array) in enumerate(kinds) if (convert := _converter(kind)) and not array
    ]
    parts = []
    cursor = await statement.cursor(*arguments)
    while rows := await cursor.fetch(FETCH):
        parts.append(_part(rows, schema, mend))
    return pl.concat(parts) if parts else pl.DataFrame(schema=schema)


def _part(
    rows: list[asyncpg.Record], schema: Mapping[str, Dtype], mend: list[tuple[int, Callable[[Any], Any]]]
) -> pl.DataFrame:
    columns = [list(column) for column in zip(*rows, strict=True)]
    for place, convert in mend:
        columns[place] = [None if value is None else convert(value) for value in columns[place]]
    series = [
        pl.Series(name, values, dtype=kind, strict=False)
        for (name, kind), values in zip(schema.items(), columns, strict=True)
    ]
    return pl.DataFrame(series)


def _unique(columns: list[tuple[str, Dtype]]) -> list[tuple[str, Dtype]]:
    """The same with each name once: a further `id` becomes `id_2`."""
    seen: dict[str, int] = {}
    found = []
    for name, kind in columns:
        seen[name] = seen.get(name, 0) + 1
        found.append((name if seen[name] == 1 else f"{name}_{seen[name]}", kind))
    return found
