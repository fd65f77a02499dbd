"""CSV: rows to records, cells to values, and back."""

import csv
import io
import re
from collections.abc import Iterator
from typing import Any

from app.agent.population.checking import unknown
from app.agent.population.results import Record, UnusableError
from app.strict_json import JSONError, loads
from app.world.personas import PersonaSpec

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,30})(?:\.[0-9]{1,60})?(?:[eE][-+]?[0-9]{1,3})?", re.ASCII)
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,8})", re.ASCII)

COLUMNS = tuple(PersonaSpec.model_fields)
LISTS = frozenset({"traits", "goals", "interests", "fragments"})
NUMBERS = frozenset({"temperature", "activity"})
DEMOGRAPHIC = "demographics."


class TableError(ValueError):
    """The whole table is unreadable."""


def rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not blank with the line it begins on."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise TableError(f"line {line}: is not CSV: {error}") from None
        if row:
            yield line, row


def header(text: str) -> list[str]:
    for _, row in rows(text):
        return [cell.strip() for cell in row]
    return []


def records(text: str) -> Iterator[Record]:
    """Yield each row as a record of its cells by column, or of an UnusableError."""
    names = header(text)
    for number, (line, row) in enumerate(rows(text)):
        if number == 0:
            continue
        if len(row) == len(names):
            yield Record(number, dict(zip(names, row, strict=True)), line)
        else:
            yield Record(number, UnusableError(f"has {len(row)} cells, but the header has {len(names)} columns"), line)


def header_faults(names: list[str], *, ours: bool) -> list[str]:
    """Return what is wrong with the header; in another system's table only a repeated column is."""
    if len(names) == 1 and re.search("[;\t|]", names[0]):
        return ["columns must be separated by commas"]
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    faults = [f"column '{name}' is given twice" for name in repeated]
    return [*_unknown(names), *faults, *(f"column '{name}' is missing" for name in _absent(names))] if ours else faults


def _unknown(names: list[str]) -> list[str]:
    known = (*COLUMNS, "persona")
    strange = [name for name in names if name not in known and not re.match(f"{re.escape(DEMOGRAPHIC)}.", name)]
    return [unknown(name, "column", known) if name else "a column without a name" for name in strange]


def _absent(names: list[str]) -> list[str]:
    absent = [] if "username" in names else ["username"]
    return absent if "description" in names or "persona" in names else [*absent, "description"]


def fields(cells: dict[str, str]) -> dict[str, Any]:
    """Return the fields the cells of one row hold.

    Raises:
        UnusableError: a cell can't be read.
    """
    found = {name: _value(name, cell.strip()) for name, cell in cells.items() if cell.strip()}
    columns = [name for name in found if name.startswith(DEMOGRAPHIC)]
    for name in columns:
        known = found.setdefault("demographics", {})
        if name.removeprefix(DEMOGRAPHIC) in known:
            raise UnusableError("is given both in its own column and in 'demographics'", name)
        known[name.removeprefix(DEMOGRAPHIC)] = found.pop(name)
    return found


def _value(name: str, cell: str) -> Any:
    if name == "demographics" or (name in LISTS and cell.startswith("[")):
        return _json(name, cell)
    if name in LISTS:
        return [item.strip() for item in cell.split(";")]
    if name in NUMBERS:
        return number(cell)
    return whole_number(cell) if name.startswith(DEMOGRAPHIC) else cell


def number(cell: str) -> float | str:
    """Return the number `cell` is written as, else `cell`, for the checks to refuse."""
    return float(cell) if _NUMBER.fullmatch(cell) else cell


def whole_number(cell: str) -> int | str:
    return int(cell) if _INTEGER.fullmatch(cell) else cell


def _json(name: str, cell: str) -> Any:
    shape = "an array" if name in LISTS else "an object"
    try:
        value = loads(cell)
    except JSONError as error:
        raise UnusableError(f"must be {shape} in JSON: {error}", name) from None
    if not isinstance(value, list if name in LISTS else dict):
        raise UnusableError(f"must be {shape} in JSON", name)
    return value
