"""Whether a package is what its manifest says: files, checksums, rows, references, and the hash of each world."""

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.analysis.dataset.canonical import table_sha256, world_sha256
from app.analysis.dataset.forms import FORMS, Form
from app.analysis.dataset.landing import sha256_of
from app.analysis.dataset.options import Step, Told
from app.analysis.dataset.reading import (
    MANIFEST,
    FileEntry,
    Manifest,
    WorldEntry,
    listing,
    manifest_of,
    opened,
)
from app.analysis.dataset.rows import rows
from app.analysis.dataset.schema import Field, Shape, dtypes, references, shapes
from app.analysis.state import ALL
from app.errors import Invalid

if TYPE_CHECKING:
    import polars as pl

FAULTS_EACH = 20
"""Faults of one kind that are told of a file."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with a file, and where in it: a line or row, counted from 1, or nothing."""

    file: str
    place: str
    what: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.place, self.what) if part)


@dataclass
class Checked:
    """What was found. `rows` are those of all tables, each counted once."""

    manifest: Manifest
    faults: list[Fault] = field(default_factory=list)
    files: int = 0
    rows: int = 0

    def fault(self, file: str, what: str, place: str = "") -> None:
        self.faults.append(Fault(file, place, what))


@dataclass
class _Table:
    """A table of a world: its files by form, and, once it is read, its hash and the columns that references need."""

    shape: Shape
    files: dict[Form, FileEntry] = field(default_factory=dict)
    sha256: str | None = None
    keys: "dict[tuple[str, ...], pl.DataFrame]" = field(default_factory=dict)

    @property
    def first(self) -> FileEntry:
        return self.files[next(form for form in FORMS if form in self.files)]


def check(path: Path, told: Told = lambda _: None) -> Checked:
    """Verify a package, a folder or a zip file, without a database.

    Raises:
        NotFound: there is nothing.
        Invalid: it has no manifest that can be read, or is a zip file that means harm.
    """
    with opened(path) as folder:
        found = Checked(manifest_of(folder))
        _files(found, folder, told)
        broken = {fault.file for fault in found.faults}
        for world in found.manifest.worlds:
            _world(found, folder, world, broken, told)
        return found


def _files(found: Checked, folder: Path, told: Told) -> None:
    there, strange = listing(folder)
    listed = {one.path for one in found.manifest.files}
    for path in sorted(strange):
        found.fault(path, "is a link or a device")
    for path in sorted(there - listed - {MANIFEST}):
        found.fault(path, "is not in the manifest")
    for done, one in enumerate(found.manifest.files):
        told(Step("checksums", done, len(listed)))
        found.files += 1
        if one.path not in there:
            found.fault(one.path, "is missing")
        elif (size := (folder / one.path).stat().st_size) != one.bytes:
            found.fault(one.path, f"has {size:,} bytes, must be {one.bytes:,}")
        elif sha256_of(folder / one.path) != one.sha256:
            found.fault(one.path, "has another SHA-256 than the manifest says")


def tables_of(manifest: Manifest, world: WorldEntry) -> dict[str, dict[Form, FileEntry]]:
    """The files of a world's tables, by name and form.

    Raises:
        Invalid: there is a table or form that is not known here.
    """
    found: dict[str, dict[Form, FileEntry]] = {}
    for one in manifest.files:
        if one.table is None or one.prefix != world.prefix:
            continue
        form = next((form for form in FORMS if form == one.format), None)
        if one.table not in shapes() or form is None:
            raise Invalid(f"{MANIFEST}: {one.path}: {one.table[:40]!r} as {one.format!r} is not known here")
        found.setdefault(one.table, {})[form] = one
    return found


def _world(found: Checked, folder: Path, world: WorldEntry, broken: set[str], told: Told) -> None:
    try:
        files = tables_of(found.manifest, world)
    except Invalid as error:
        found.fault(MANIFEST, error.detail)
        return
    tables = {name: _Table(shapes()[name], held) for name, held in files.items()}
    every = sum(table.first.rows or 0 for table in tables.values())
    done = 0
    for table in tables.values():
        told(Step(table.shape.name, done, every))
        for form in FORMS:
            if form in table.files and table.files[form].path not in broken:
                _table(found, folder, world, table, form)
        done += table.first.rows or 0
    found.rows += done
    for table in tables.values():
        told(Step("references", every, every))
        _refers(found, table, tables)
    _hashed(found, world, tables)


def _wanted(name: str) -> set[tuple[str, ...]]:
    """The columns of a table that others refer to, and those with which it does, and its key."""
    own = {columns for columns, _, _ in references(name)} | {shapes()[name].key}
    return own | {there for other in shapes() for _, parent, there in references(other) if parent == name}


def _table(found: Checked, folder: Path, world: WorldEntry, table: _Table, form: Form) -> None:
    """Read a file to its end: what its rows are, and how many."""
    file, shape = table.files[form], table.shape
    collect = _Keys(shape) if file is table.first else None
    counted = 0

    def batches() -> Iterator[Sequence[tuple[Any, ...]]]:
        nonlocal counted
        for batch in rows(form, folder / file.path, shape.fields, safe=file.spreadsheet_safe):
            if (wrong := _null(shape, batch)) is not None:
                found.fault(file.path, f"{wrong[1]}: must not be NULL", f"row {counted + wrong[0] + 1}")
            counted += len(batch)
            if collect is not None:
                collect.add(batch)
            yield batch

    try:
        if shape.name in ALL.tables():
            digest = table_sha256(shape, batches())
            expected = world.tables[shape.name].sha256 if shape.name in world.tables else ""
            if found.manifest.pseudonyms == "none" and digest != expected:
                found.fault(file.path, "its rows are others than the manifest's hash of the table says")
            if collect is not None:
                table.sha256 = digest
            elif table.sha256 is not None and digest != table.sha256:
                found.fault(file.path, f"its rows are others than those of {table.first.path}")
        else:
            for _ in batches():
                pass
    except Invalid as error:
        found.fault(file.path, re.sub(r"^[^:]*: ", "", error.detail, count=1), _place(counted))
        return
    except (struct.error, OverflowError, ValueError, ArithmeticError) as error:
        found.fault(file.path, f"holds what its column can't: {error}", _place(counted))
        return
    if counted != file.rows:
        found.fault(file.path, f"has {counted:,} rows, must be {file.rows:,}")
    if collect is not None:
        table.keys = collect.done()


def _place(counted: int) -> str:
    return f"behind row {counted:,}" if counted else ""


def _null(shape: Shape, batch: Sequence[tuple[Any, ...]]) -> tuple[int, str] | None:
    """The first cell (row, column) that is NULL and must not be."""
    for column, one in enumerate(shape.fields):
        if not one.null:
            for row, cells in enumerate(batch):
                if cells[column] is None:
                    return row, one.name
    return None


class _Keys:
    """Gathers columns of a table, as little as references need."""

    def __init__(self, shape: Shape) -> None:
        self._place = {one.name: n for n, one in enumerate(shape.fields)}
        self._sets = {columns: dtypes([_field(shape, name) for name in columns]) for columns in _wanted(shape.name)}
        self._held: dict[tuple[str, ...], list[pl.DataFrame]] = {columns: [] for columns in self._sets}

    def add(self, batch: Sequence[tuple[Any, ...]]) -> None:
        import polars as pl

        for columns, types in self._sets.items():
            cells = {name: pl.Series(name, [row[self._place[name]] for row in batch], types[name]) for name in columns}
            self._held[columns].append(pl.DataFrame(cells))

    def done(self) -> "dict[tuple[str, ...], pl.DataFrame]":
        import polars as pl

        return {
            columns: pl.concat([pl.DataFrame(schema=self._sets[columns]), *held])
            for columns, held in self._held.items()
        }


def _field(shape: Shape, name: str) -> Field:
    return next(one for one in shape.fields if one.name == name)


def _refers(found: Checked, table: _Table, tables: dict[str, _Table]) -> None:
    """Keys that are there twice, and references to what is not there."""
    import polars as pl

    if not table.keys:
        return
    path = table.first.path
    keys = table.keys[table.shape.key].with_row_index("row", offset=1)
    twice = keys.filter(~pl.struct(table.shape.key).is_first_distinct()).head(FAULTS_EACH)
    for row, *key in twice.rows():
        found.fault(path, f"the key {_shown(table.shape.key, key)} is there twice", f"row {row}")
    for own, parent, there in references(table.shape.name):
        if parent not in tables or there not in tables[parent].keys:
            continue
        wanted = table.keys[own].with_row_index("row", offset=1).drop_nulls()
        known = tables[parent].keys[there].unique()
        lost = wanted.join(known, left_on=list(own), right_on=list(there), how="anti").sort("row").head(FAULTS_EACH)
        for row, *key in lost.rows():
            found.fault(path, f"{_shown(own, key)}: there is no such row in {parent}", f"row {row}")


def _shown(columns: Sequence[str], key: Sequence[Any]) -> str:
    return ", ".join(f"{name} {str(cell)[:60]}" for name, cell in zip(columns, key, strict=True))


def _hashed(found: Checked, world: WorldEntry, tables: dict[str, _Table]) -> None:
    """The canonical hash, where all of the world is there as it was."""
    known = {name: one.sha256 for name, one in world.tables.items()}
    if set(known) != set(ALL.tables()) or world_sha256(known) != world.sha256:
        found.fault(MANIFEST, f"worlds: {world.name}: its hash is not that of its tables")
    elif world.whole and not set(ALL.tables()) <= set(tables):
        lost = ", ".join(sorted(set(ALL.tables()) - set(tables)))
        found.fault(MANIFEST, f"worlds: {world.name}: is said to be whole, and lacks {lost}")
