"""A world made again from a package: what was exported comes in, and its canonical hash is the manifest's."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg

from app.analysis import state as states
from app.analysis.dataset.checking import tables_of
from app.analysis.dataset.forms import FORMS, Form
from app.analysis.dataset.landing import sha256_of
from app.analysis.dataset.network import DATASET
from app.analysis.dataset.options import Step, Told
from app.analysis.dataset.reading import FileEntry, Manifest, WorldEntry, listing, manifest_of, opened
from app.analysis.dataset.rows import rows
from app.analysis.dataset.schema import Field, Shape, shapes
from app.db import migrate
from app.db import worlds as databases
from app.db.engine import Database
from app.db.worlds import COPIED, CUT, Place
from app.errors import AppError, Invalid
from app.world import worlds
from app.world.worlds import World

Files = dict[str, tuple[Form, FileEntry]]


@dataclass(frozen=True)
class Rebuilt:
    """A world that was made. `sha256` is its hash before what was open in it was put at rest (`rested`).

    `same`: it is the manifest's; None where pseudonyms made it another.
    """

    world: World
    sha256: str
    same: bool | None
    rows: int
    rested: bool


async def rebuild(
    home: Database, path: Path, name: str, *, world: str | None = None, told: Told = lambda _: None
) -> Rebuilt:
    """Make a world `name` beside `home` from a package; of several worlds in it the one called `world`.

    Nothing is left of a world that can't be made.

    Raises:
        NotFound: there is no package.
        Invalid: it is none, is of another schema, is not whole, or breaks a rule of the tables; the message says where.
        Conflict: there is a world of that name.
        as `app.world.worlds.make`.
    """
    databases.checked_name(name)
    with opened(path) as folder:
        manifest = manifest_of(folder)
        entry = _chosen(manifest, world)
        await _fits(home, manifest)
        files = _whole(manifest, entry)
        _as_listed(folder, [file for _, file in files.values()])
        counted = sum(file.rows or 0 for _, file in files.values())
        found: list[tuple[str, bool]] = []

        async def fill(place: Place, at: asyncpg.Connection, target: str) -> None:
            told(Step("making the tables"))
            await databases.make_empty(place, at, target)
            found.append(await _filled(place.url_of(target), folder, files, manifest, entry, told))

        note = f"from the dataset {manifest.title}"[:200]
        made = await worlds.make(home, name, kind="made", note=note, fill=fill)
        (sha256, rested) = found[0]
        return Rebuilt(made, sha256, None if manifest.pseudonyms != "none" else True, counted, rested)


def _chosen(manifest: Manifest, name: str | None) -> WorldEntry:
    found = [one for one in manifest.worlds if name is None or one.name == name]
    if len(found) != 1:
        names = ", ".join(one.name[:60] for one in manifest.worlds[:20])
        raise Invalid(f"which of its worlds? It has {names or 'none'}")
    return found[0]


async def _fits(home: Database, manifest: Manifest) -> None:
    head = (await migrate.status(home.url)).head
    if manifest.schema == head:
        return
    older = migrate.knows(manifest.schema)
    raise Invalid(
        f"the dataset's tables are of {'an older' if older else 'another'} schema ({manifest.schema[:40]}) than this "
        f"program's ({head}): import it with Sim-Feed {manifest.program.version[:20]}"
        + (", and bring that world up to date with this one" if older else "")
    )


def _whole(manifest: Manifest, world: WorldEntry) -> Files:
    tables = tables_of(manifest, world)
    if lost := sorted(set(COPIED) - set(tables)):
        raise Invalid(f"the world {world.name} is not whole: the package lacks {', '.join(lost)}")
    return {
        name: next((form, forms[form]) for form in FORMS if form in forms)
        for name, forms in tables.items()
        if name in COPIED
    }


def _as_listed(folder: Path, files: Sequence[FileEntry]) -> None:
    there, _ = listing(folder)
    for file in files:
        path = folder / file.path
        if file.path not in there:
            raise Invalid(f"{file.path}: is missing")
        try:
            same = path.stat().st_size == file.bytes and sha256_of(path) == file.sha256
        except OSError as error:
            raise Invalid(f"{file.path}: can't be read: {error.strerror}") from None
        if not same:
            raise Invalid(f"{file.path}: is not what the manifest says: `simfeed dataset check` tells more")


async def _filled(
    url: str, folder: Path, files: Files, manifest: Manifest, world: WorldEntry, told: Told
) -> tuple[str, bool]:
    """Fill an empty world; its hash, and whether anything in it was put at rest."""
    connection = await databases.connect(databases.unhurried(url))
    try:
        place, done, every = "", 0, sum(file.rows or 0 for _, file in files.values())
        try:
            async with databases.filling(connection):
                for name, (form, file) in files.items():
                    place = file.path
                    for batch in _ready(shapes()[name], folder, form, file):
                        await connection.copy_records_to_table(
                            name, records=batch, columns=[one.name for one in shapes()[name].fields]
                        )
                        done += len(batch)
                        told(Step(name, done, every))
                await _numbered(connection)
                place = "references"
                told(Step(place, every, every))
        except asyncpg.DataError as error:
            raise Invalid(f"{place}: {error}") from None
        except asyncpg.IntegrityConstraintViolationError as error:
            raise Invalid(f"{place}: {error.detail or error}") from None
        await connection.execute("ANALYZE")
        told(Step("hashing the world", every, every))
        found = await states.state(connection)
        if manifest.pseudonyms == "none" and found.sha256 != world.sha256:
            raise Invalid(_other(found, world))
        return found.sha256, await databases.put_at_rest(connection)
    except AppError:
        raise
    except (OverflowError, ValueError, TypeError) as error:
        raise Invalid(f"{place}: {error}") from None
    finally:
        await connection.close()


def _other(found: states.WorldState, world: WorldEntry) -> str:
    wrong = [one.table for one in found.tables if world.tables.get(one.table) is None
             or one.sha256 != world.tables[one.table].sha256]  # fmt: skip
    return f"the world that comes of it has another hash than the manifest says: {', '.join(wrong) or 'its tables fit'}"


async def _numbered(connection: asyncpg.Connection) -> None:
    """Let what comes next get the next number."""
    for row in await connection.fetch(DATASET["next_numbers"], list(COPIED)):
        await connection.execute(
            f"SELECT setval($1::text::regclass, max({row['column']})) FROM {row['table']}",  # noqa: S608 - quoted
            row["name"],
        )


def _ready(shape: Shape, folder: Path, form: Form, file: FileEntry) -> Iterator[list[tuple[Any, ...]]]:
    """Rows as COPY takes them; columns that tell of admins are empty, whatever the file says."""
    turns = [_turn(shape.name, one) for one in shape.fields]
    for batch in rows(form, folder / file.path, shape.fields, safe=file.spreadsheet_safe):
        if any(turns):
            yield [
                tuple(
                    cell if turn is None or cell is None else turn(cell) for turn, cell in zip(turns, row, strict=True)
                )
                for row in batch
            ]
        else:
            yield batch


def _turn(table: str, one: Field) -> Callable[[Any], Any] | None:
    if one.name in CUT.get(table, ()):
        return lambda _: None
    if one.type.startswith("numeric"):
        return lambda cell: Decimal(repr(cell))
    return None
