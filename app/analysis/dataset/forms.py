"""The forms of a table's rows: CSV, JSON lines, Parquet. Each gives back exactly what was written.

CSV is RFC 4180 in UTF-8, times in UTC: every text stands in quotes, so that `""` is an empty text and a cell with
nothing in it is NULL. Bytes are `\\x` and hexadecimal digits, lists are JSON arrays. In JSON lines a JSON column that
is NULL has no key, and numbers that JSON lacks are the texts NaN, Infinity and -Infinity.
"""

import io
import json
import math
import queue
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from app.analysis.dataset.schema import LISTS, Cells, Field, dtypes
from app.world.text import quoted

if TYPE_CHECKING:
    import polars as pl

Form = Literal["parquet", "csv", "jsonl"]
FORMS: tuple[Form, ...] = ("parquet", "csv", "jsonl")
ROW_GROUP = 20_000
BATCH = 2_000
HELD_BYTES, GROUP_BYTES = 4 * 2**20, 16 * 2**20
"""Of rows that are handed on in one go, and about of a row group."""

TIME = "%Y-%m-%dT%H:%M:%S%.6fZ"


class Sink(Protocol):
    """Takes the columns of some rows, as often as there are rows, and is closed."""

    def put(self, columns: Sequence[Cells], rows: int) -> None: ...

    def close(self) -> None: ...

    def abandon(self) -> None: ...


class CsvSink:
    """In a `safe` one an apostrophe stands before what a spreadsheet would take for a formula."""

    def __init__(self, path: Path, fields: Sequence[Field], *, safe: bool = False) -> None:
        import polars as pl

        self._file = path.open("wb")
        self._fields = fields
        self._safe = safe
        self._types = {
            name: pl.String() if isinstance(kind, pl.List | pl.Binary) else kind
            for name, kind in dtypes(fields).items()
        }
        self._head = True

    def put(self, columns: Sequence[Cells], rows: int) -> None:
        cells = [_written(field, column, safe=self._safe) for field, column in zip(self._fields, columns, strict=True)]
        frame = framed(self._types, cells)
        frame.write_csv(self._file, include_header=self._head, quote_style="non_numeric", datetime_format=TIME)
        self._head = False

    def close(self) -> None:
        if self._head:
            self.put([[] for _ in self._fields], 0)
        self._file.close()

    def abandon(self) -> None:
        self._file.close()


def _written(field: Field, column: Cells, *, safe: bool) -> Cells:
    if field.kind == "bytes":
        return [None if cell is None else "\\x" + cell.hex() for cell in column]
    if field.kind in LISTS:
        return [None if cell is None else _array(cell) for cell in column]
    if safe and field.kind in ("text", "json"):
        return [None if cell is None else quoted(cell) for cell in column]
    return column


def _array(cell: Sequence[Any]) -> str:
    return json.dumps([_number(one) for one in cell], ensure_ascii=False)


def _number(cell: Any) -> Any:
    """A number as JSON has it; it lacks three."""
    if isinstance(cell, float) and not math.isfinite(cell):
        return "NaN" if math.isnan(cell) else "Infinity" if cell > 0 else "-Infinity"
    return cell


class JsonlSink:
    def __init__(self, path: Path, fields: Sequence[Field]) -> None:
        self._file = path.open("wb")
        self._fields = fields
        self._encoder = msgspec.json.Encoder()

    def put(self, columns: Sequence[Cells], rows: int) -> None:
        cells = [_valued(field, column) for field, column in zip(self._fields, columns, strict=True)]
        names = [field.name for field in self._fields]
        lines: list[Any] = [dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True)]
        for name in [field.name for field in self._fields if field.kind == "json" and field.null]:
            for line in lines:
                if line[name] is None:
                    del line[name]
        self._file.write(self._encoder.encode_lines(lines))

    def close(self) -> None:
        self._file.close()

    abandon = close


def _valued(field: Field, column: Cells) -> Cells:
    match field.kind:
        case "json":
            return [None if cell is None else msgspec.Raw(cell.encode()) for cell in column]
        case "bytes":
            return [None if cell is None else "\\x" + cell.hex() for cell in column]
        case "number":
            return [_number(cell) for cell in column]
        case "numbers":
            return [None if cell is None else [_number(one) for one in cell] for cell in column]
    return column


class ParquetSink:
    """Row groups as polars' own engine writes them, in a thread that is handed one stretch of rows after another."""

    def __init__(self, path: Path, fields: Sequence[Field]) -> None:
        self._path = path
        self._types = dtypes(fields)
        self._given: queue.Queue[pl.DataFrame | None] = queue.Queue(2)
        self._held: list[pl.DataFrame] = []
        self._trouble: BaseException | None = None
        self._thread: threading.Thread | None = None

    def _work(self, group: int) -> None:
        import polars as pl
        from polars.io.plugins import register_io_source

        def source(*_: object) -> "Iterator[pl.DataFrame]":
            yield pl.DataFrame(schema=self._types)
            while (frame := self._given.get()) is not None:
                yield frame

        try:
            register_io_source(source, schema=pl.Schema(self._types), is_pure=False).sink_parquet(
                self._path, compression="zstd", row_group_size=group, maintain_order=True
            )
        except BaseException as error:  # it is told to who puts or closes
            self._trouble = error
            while self._given.get() is not None:
                pass

    def put(self, columns: Sequence[Cells], rows: int) -> None:
        self._held.append(framed(self._types, columns))
        if sum(frame.height for frame in self._held) >= BATCH or self._bytes() > HELD_BYTES:
            self._flush()

    def _bytes(self) -> int:
        return int(sum(frame.estimated_size() for frame in self._held))

    def _flush(self) -> None:
        import polars as pl

        frame = pl.concat([pl.DataFrame(schema=self._types), *self._held])
        if self._thread is None:
            each = self._bytes() // max(1, frame.height) + 1
            group = min(ROW_GROUP, max(100, GROUP_BYTES // each))
            self._thread = threading.Thread(target=self._work, args=(group,), daemon=True)
            self._thread.start()
        self._held = []
        if self._trouble is not None:
            raise self._trouble
        self._given.put(frame)

    def close(self) -> None:
        if self._held or self._thread is None:
            self._flush()
        self._end()
        if self._trouble is not None:
            raise self._trouble

    def _end(self) -> None:
        if self._thread is not None:
            self._given.put(None)
            self._thread.join()

    abandon = _end


def framed(types: "dict[str, pl.DataType]", columns: Sequence[Cells]) -> "pl.DataFrame":
    """A data frame of these columns."""
    import polars as pl

    return pl.DataFrame(
        [pl.Series(name, column, kind) for (name, kind), column in zip(types.items(), columns, strict=True)]
    )


def sink(form: Form, path: Path, fields: Sequence[Field], *, safe: bool = False) -> Sink:
    """What writes that form to `path`."""
    match form:
        case "csv":
            return CsvSink(path, fields, safe=safe)
        case "jsonl":
            return JsonlSink(path, fields)
        case "parquet":
            return ParquetSink(path, fields)


def as_table(columns: Sequence[Field], lines: Sequence[Sequence[Any]]) -> bytes:
    """A small table as CSV, for what goes along."""
    text = io.BytesIO()
    cells = [[line[n] for line in lines] for n in range(len(columns))]
    framed(dtypes(columns), cells).write_csv(text, quote_style="non_numeric")
    return text.getvalue()
