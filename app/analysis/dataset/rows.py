"""The rows of a table's file, typed again: exactly what was written, or the line where it is something else."""

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO, Any

import msgspec

from app.analysis.dataset.forms import BATCH, Form
from app.analysis.dataset.schema import LISTS, Field, dtypes
from app.errors import Invalid
from app.world.text import reckoned

ROW_MOST = 64 * 2**20
"""Bytes of a row that is read."""

_CELL = re.compile(r'(?:"((?:[^"]|"")*+)"|([^",\r\n]*))(,|\r?\n?\Z)')
_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def rows(form: Form, path: Path, fields: Sequence[Field], *, safe: bool = False) -> Iterator[list[tuple[Any, ...]]]:
    """The rows of a file, some at a time, with typed cells; memory does not grow with the file.

    Raises:
        Invalid: it is no such file; the message says which line or row, and which column.
    """
    match form:
        case "csv":
            return _batched(_csv_rows(path, fields, safe=safe))
        case "jsonl":
            return _batched(_jsonl_rows(path, fields))
        case "parquet":
            return _parquet_rows(path, fields)


def _batched(found: Iterator[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    batch: list[tuple[Any, ...]] = []
    for row in found:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def records(file: IO[str]) -> Iterator[tuple[int, list[str | None]]]:
    """The line on which each record of a CSV file begins, and its cells; None is what has nothing in it.

    Raises:
        ValueError: it is no CSV as it is written here; names the line.
    """
    begun, held, size, odd = 1, [], 0, False
    for number, line in enumerate(iter(lambda: file.readline(ROW_MOST), ""), 1):
        held.append(line)
        size += len(line)
        odd ^= bool(line.count('"') % 2)
        if size > ROW_MOST:
            raise ValueError(f"line {begun}: is longer than {ROW_MOST:,} characters")
        if odd:
            continue
        yield begun, _cells("".join(held), begun)
        begun, held, size = number + 1, [], 0
    if held:
        raise ValueError(f"line {begun}: its last quote is not closed")


def _cells(record: str, line: int) -> list[str | None]:
    cells: list[str | None] = []
    place = 0
    while (found := _CELL.match(record, place)) is not None:
        inside, bare, end = found.groups()
        cells.append(inside.replace('""', '"') if inside is not None else bare or None)
        place = found.end()
        if end != ",":
            return cells
    raise ValueError(f"line {line}: cell {len(cells) + 1} is no CSV")


def _csv_rows(path: Path, fields: Sequence[Field], *, safe: bool) -> Iterator[tuple[Any, ...]]:
    names = [field.name for field in fields]
    read = [_reader(field, safe=safe) for field in fields]
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for number, (line, cells) in enumerate(records(file)):
                if number == 0:
                    if cells != names:
                        raise Invalid(f"{path.name}: line 1: must be the names {', '.join(names)}")
                    continue
                if len(cells) != len(fields):
                    raise Invalid(f"{path.name}: line {line}: has {len(cells)} cells, must be {len(fields)}")
                yield tuple(_cell(path, line, f, r, c) for f, r, c in zip(fields, read, cells, strict=True))
    except UnicodeDecodeError:
        raise Invalid(f"{path.name}: is not UTF-8") from None
    except ValueError as error:
        raise Invalid(f"{path.name}: {error}") from None


def _cell(path: Path, line: int, field: Field, read: Callable[[str], Any], cell: str | None) -> Any:
    if cell is None:
        return None
    try:
        return read(cell)
    except (ValueError, KeyError, TypeError):
        raise Invalid(f"{path.name}: line {line}: {field.name}: {cell[:60]!r} is no {field.kind}") from None


def _reader(field: Field, *, safe: bool) -> Callable[[str], Any]:
    def number(cell: Any) -> float:
        return _NUMBERS[cell] if isinstance(cell, str) and cell in _NUMBERS else float(cell)

    def of_list(cell: str) -> list[Any]:
        found = json.loads(cell)
        if not isinstance(found, list):
            raise ValueError
        return [inside[field.kind](one) for one in found]

    def text(cell: Any) -> str:
        if not isinstance(cell, str):
            raise ValueError
        return cell

    inside: dict[str, Callable[[Any], Any]] = {"integers": _integer, "numbers": number, "texts": text}
    if field.kind in LISTS:
        return of_list
    if field.kind in ("text", "json"):
        return reckoned if safe else text
    plain: dict[str, Callable[[str], Any]] = {
        "integer": int,
        "number": number,
        "boolean": {"true": True, "false": False}.__getitem__,
        "bytes": _unhexed,
        "time": _moment,
        "date": date.fromisoformat,
    }
    return plain[field.kind]


def _integer(cell: Any) -> int:
    if not isinstance(cell, int) or isinstance(cell, bool):
        raise ValueError
    return cell


def _unhexed(cell: str) -> bytes:
    if not cell.startswith("\\x"):
        raise ValueError
    return bytes.fromhex(cell[2:])


def _moment(cell: str) -> datetime:
    found = datetime.fromisoformat(cell)
    if found.tzinfo is None:
        raise ValueError
    return found.astimezone(UTC)


_JSON: dict[str, Any] = {
    "integer": int,
    "number": float | str,
    "boolean": bool,
    "text": str,
    "json": msgspec.Raw,
    "bytes": str,
    "time": datetime,
    "date": date,
    "integers": list[int],
    "numbers": list[float | str],
    "texts": list[str],
}


def _jsonl_rows(path: Path, fields: Sequence[Field]) -> Iterator[tuple[Any, ...]]:
    shape = msgspec.defstruct(
        "Line",
        [
            (f"c{n}", _JSON[f.kind] | msgspec.UnsetType, msgspec.UNSET)
            if f.kind == "json" and f.null
            else (f"c{n}", _JSON[f.kind] | None if f.kind != "json" else _JSON[f.kind])
            for n, f in enumerate(fields)
        ],
        rename={f"c{n}": f.name for n, f in enumerate(fields)},
        forbid_unknown_fields=True,
        kw_only=True,
    )
    decoder = msgspec.json.Decoder(shape)
    back = [_from_json(field) for field in fields]
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(ROW_MOST), b""), 1):
            try:
                found = decoder.decode(line)
                yield tuple(
                    None if cell is None or cell is msgspec.UNSET else turn(cell)
                    for turn, cell in zip(back, msgspec.structs.astuple(found), strict=True)
                )
            except (msgspec.MsgspecError, ValueError, KeyError) as error:
                raise Invalid(f"{path.name}: line {number}: {str(error) or 'is wrong'}") from None


def _from_json(field: Field) -> Callable[[Any], Any]:
    def number(cell: Any) -> float:
        return _NUMBERS[cell] if isinstance(cell, str) else float(cell)

    turns: dict[str, Callable[[Any], Any]] = {
        "json": lambda cell: bytes(cell).decode(),
        "bytes": _unhexed,
        "number": number,
        "numbers": lambda cells: [number(cell) for cell in cells],
        "time": lambda cell: cell.astimezone(UTC),
    }
    return turns.get(field.kind, lambda cell: cell)


def _parquet_rows(path: Path, fields: Sequence[Field]) -> Iterator[list[tuple[Any, ...]]]:
    import polars as pl

    try:
        scan = pl.scan_parquet(path, glob=False)
        found = dict(scan.collect_schema())
        if found != dtypes(fields):
            raise Invalid(
                f"{path.name}: its columns must be {', '.join(field.name for field in fields)}, of those types"
            )
        for frame in scan.collect_batches(chunk_size=BATCH, maintain_order=True):
            yield frame.rows()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise Invalid(f"{path.name}: is no Parquet that can be read: {str(error)[:200]}") from None
