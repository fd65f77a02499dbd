"""Builds a dataset: tables of one or more worlds, each of one moment, and what is told about them, as one package."""

import asyncio
import fcntl
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import asyncpg

from app.analysis import state as states
from app.analysis.dataset import codebook, network
from app.analysis.dataset.along import put_along
from app.analysis.dataset.forms import FORMS, Sink, sink
from app.analysis.dataset.journal import Journal
from app.analysis.dataset.landing import landed
from app.analysis.dataset.licences import licence
from app.analysis.dataset.options import FORMATS, GRAPHML, Build, Extra, Options, Source, Step, Told
from app.analysis.dataset.pseudonyms import HOWS, Pseudonyms
from app.analysis.dataset.reading import FORMAT_VERSION, JOURNAL, MANIFEST, checked_path
from app.analysis.dataset.schema import Shape, shapes
from app.analysis.state import LEFT_OUT, NO_STATE
from app.db import worlds as databases
from app.db.worlds import COPIED
from app.errors import Conflict, Invalid, Misconfigured

DATASET = network.DATASET
FETCH_FIRST, FETCH_MOST, FETCH_BYTES = 100, 5_000, 2 * 2**20
"""Rows that are asked for first, at most, and about how many bytes of them."""


@dataclass(frozen=True)
class Built:
    """A package: its manifest, how many files an earlier try had finished, and why it began anew, if it did."""

    path: Path
    manifest: dict[str, Any]
    kept: int = 0
    anew: str = ""


def checked(sources: Sequence[Source], options: Options) -> None:
    """Refuse what can't be built.

    Raises:
        Invalid: there is no such table or format, or two worlds would lie in one place.
    """
    problems = [f"there is no table {name!r}" for name in options.tables or () if name not in shapes()]
    problems += [
        f"there is no format {name!r}: {', '.join(FORMATS)}" for name in options.formats if name not in FORMATS
    ]
    if not options.forms():
        problems.append(f"name a format of tables: {', '.join(FORMS)}")
    if options.pseudonyms not in HOWS:
        problems.append(f"pseudonyms: {', '.join(HOWS)}")
    try:
        licence(options.licence)
    except ValueError as error:
        problems.append(f"license: {error}")
    if not sources or len({one.prefix for one in sources}) < len(sources):
        problems.append("each world needs a folder of its own")
    for one in sources:
        if one.prefix:
            checked_path(f"{one.prefix}data")
            if not one.prefix.endswith("/"):
                problems.append(f"{one.prefix}: must end in /")
    if problems:
        raise Invalid("; ".join(problems))


async def build(
    sources: Sequence[Source],
    target: Path,
    *,
    options: Options | None = None,
    extras: Mapping[str, Extra] | None = None,
    told: Told = lambda _: None,
) -> Built:
    """Build a package: a folder, or a zip file where `target` ends so.

    Each world is read in one snapshot of its own; memory does not grow with it. `extras` are more files by their path
    in the package. Files are put under their names when they are whole, the manifest last; a build that was broken off
    goes on with `options.resume`, and keeps what it had as long as the world is what it was.

    Raises:
        Invalid: as `checked`, or an extra's path can't be one.
        Conflict: there is something at `target` already, or somebody builds there.
        Misconfigured: it can't be written there.
        Unavailable: a database can't be reached.
    """
    options = options or Options()
    checked(sources, options)
    for path in extras or {}:
        checked_path(path)
    zipped = target.suffix.lower() == ".zip"
    if zipped and target.exists():  # noqa: ASYNC240 - one look
        raise Conflict(f"{target} is there already")
    folder = target.with_name(f".{target.name}.building") if zipped else target
    with _held(folder, target, resume=options.resume):
        journal = Journal.open(folder, _terms(options))
        work = Build(folder, options, told, journal)
        for source in sources:
            await _world(work, source)
        if len(work.revisions) > 1:
            raise Invalid(f"the worlds have different schemas: {', '.join(sorted(work.revisions))}")
        manifest = await asyncio.to_thread(put_along, work, sources, dict(extras or {}))
        if zipped:
            told(Step("packing"))
            await asyncio.to_thread(_zip, folder, target, [one["path"] for one in manifest["files"]])
            shutil.rmtree(folder)
        else:
            journal.close()
    return Built(target, manifest, work.kept, journal.anew)


async def counted(connection: asyncpg.Connection) -> dict[str, int]:
    """How many rows of each table a package of this world would have."""
    async with states.snapshot(connection):
        return {
            name: await connection.fetchval(f"SELECT count(*) FROM ({shape.query}) t")  # noqa: S608 - names of our models
            for name, shape in shapes().items()
        }


def _terms(options: Options) -> str:
    """What files that were finished depend on, beside the world."""
    asked = {
        key: value for key, value in asdict(options).items() if key in ("tables", "pseudonyms", "spreadsheet_safe")
    }
    return json.dumps([asked, options.forms(), GRAPHML in options.formats, version("simfeed"), FORMAT_VERSION])


@contextmanager
def _held(folder: Path, target: Path, *, resume: bool) -> Iterator[None]:
    """The folder is ours to build in; an empty one is not left behind."""
    found = list(folder.iterdir()) if folder.is_dir() else []
    if folder.exists() and not folder.is_dir():
        raise Conflict(f"{folder} is there already, and no folder")
    if found and not (folder / JOURNAL).exists():
        raise Conflict(f"{target} is there already, and not empty")
    if found and not resume:
        raise Conflict(f"a build of {target} was broken off: go on with it (--resume), or delete {folder}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        number = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise Misconfigured(f"{folder} can't be made: {error.strerror}") from None
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Conflict(f"{target} is being built by another process") from None
        yield
    finally:
        os.close(number)
        with suppress(OSError):
            folder.rmdir()


async def _guard(connection: asyncpg.Connection, found: states.WorldState) -> str:
    """What stays the same as long as all that a dataset holds does: the canonical hash, and what it leaves out."""
    parts = [found.sha256]
    for table in sorted((*NO_STATE, *LEFT_OUT)):
        shape = shapes()[table]
        names = [f.name for f in shape.fields if table in NO_STATE or f.name in (*LEFT_OUT[table], *shape.key)]
        row = ", ".join(f'"{name}"' for name in names)
        statement = f"SELECT coalesce(sum(hashtextextended(ROW({row})::text, 0)), 0)::text FROM ({shape.query}) t"  # noqa: S608 - names of our models
        parts.append(await connection.fetchval(statement))
    return " ".join(parts)


async def _world(work: Build, source: Source) -> None:
    connection = await databases.connect(source.url)
    try:
        async with states.snapshot(connection):
            work.told(Step("hashing the world"))
            found = await states.state(connection)
            guard = await _guard(connection, found)
            work.revisions.add(await connection.fetchval(DATASET["revision"]))
            others = Pseudonyms(
                [tuple(row) for row in await connection.fetch(DATASET["names"])], work.options.pseudonyms
            )
            work.journal.begin(source.prefix, guard)
            counted = {one.table: one.rows for one in found.tables}
            wanted = work.options.shapes()
            total = sum(counted.get(shape.name, 0) for shape in wanted)
            done = 0
            for shape in wanted:
                await _table(work, source, connection, shape, others, (done, total))
                done += counted.get(shape.name, 0)
            if GRAPHML in work.options.formats:
                work.told(Step("network", done, total))
                await _network(work, source, connection, others)
            await _prompts(work, source, connection)
            work.worlds.append(
                {
                    "name": source.name,
                    "prefix": source.prefix,
                    "taken_at": (await connection.fetchval(DATASET["moment"])).isoformat(),
                    "whole": set(COPIED) <= {shape.name for shape in wanted},
                    "sha256": found.sha256,
                    "tables": {one.table: {"rows": one.rows, "sha256": one.sha256} for one in found.tables},
                }
            )
    finally:
        connection.terminate()


async def _table(
    work: Build,
    source: Source,
    connection: asyncpg.Connection,
    shape: Shape,
    others: Pseudonyms,
    far: tuple[int, int],
) -> None:
    """Write a table in all forms, in one reading."""
    paths = {form: f"{source.prefix}data/{shape.name}.{form}" for form in work.options.forms()}
    kept = await asyncio.to_thread(work.journal.kept, source.prefix, list(paths.values()))
    if kept is not None:
        work.files += kept
        work.kept += len(kept)
        return
    spared = frozenset(codebook.values(shape.name)) | {f.name for f in shape.fields if f.name.endswith("sha256")}
    safe = work.options.spreadsheet_safe
    rows = 0
    with ExitStack() as landing:
        parts = {form: landing.enter_context(landed(work.folder / path)) for form, path in paths.items()}
        sinks = [sink(form, part, shape.fields, safe=safe) for form, part in parts.items()]
        try:
            cursor = await connection.cursor(shape.query)
            most = FETCH_FIRST
            while found := await cursor.fetch(most):

                def take(batch: list[asyncpg.Record] = found) -> None:
                    columns = others.fix(shape, list(zip(*batch, strict=True)), spared)
                    for one in sinks:
                        one.put(columns, len(batch))

                await asyncio.to_thread(take)
                rows += len(found)
                most = _next(found, most)
                work.told(Step(shape.name, far[0] + (0 if shape.derived else rows), far[1]))
            await asyncio.to_thread(_close, sinks)
        except BaseException:
            for one in sinks:
                one.abandon()
            raise
    entries = []
    for form, path in paths.items():
        more: dict[str, Any] = {"derived": True} if shape.derived else {}
        if form == "csv" and safe:
            more["spreadsheet_safe"] = True
        about = f"The table {shape.name}" + (f" of the world {source.name}." if source.prefix else ".")
        told = {"about": about, "world": source.name, "prefix": source.prefix, "table": shape.name, "format": form}
        entries.append(await asyncio.to_thread(work.add, path, **told, rows=rows, **more))
    work.journal.note(source.prefix, entries)


def _close(sinks: Sequence[Sink]) -> None:
    for one in sinks:
        one.close()


def _next(found: Sequence[asyncpg.Record], most: int) -> int:
    """How many rows to ask for next, by how large these were."""
    sample = found[:: max(1, len(found) // 20)]
    each = sum(len(cell) if isinstance(cell, str | bytes | list) else 8 for row in sample for cell in row) / len(sample)
    return int(max(20, min(FETCH_MOST, most * 4, FETCH_BYTES // max(1, each))))


async def _network(work: Build, source: Source, connection: asyncpg.Connection, others: Pseudonyms) -> None:
    path = f"{source.prefix}network.graphml"
    if (kept := work.journal.kept(source.prefix, [path])) is not None:
        work.files += kept
        work.kept += 1
        return
    with landed(work.folder / path) as part:
        edges = await network.write(connection, part, others)
    entry = work.add(
        path, about="Who follows, likes, answers and quotes whom.", world=source.name, format=GRAPHML, rows=edges
    )
    work.journal.note(source.prefix, [entry])


async def _prompts(work: Build, source: Source, connection: asyncpg.Connection) -> None:
    cursor = await connection.cursor(shapes()["prompt_texts"].query)
    while rows := await cursor.fetch(FETCH_FIRST):
        for row in rows:
            path = f"{source.prefix}prompts/{row['sha256'].hex()}.txt"
            work.put(path, row["body"], "A text that prompts share, under its SHA-256.")


def _zip(folder: Path, target: Path, paths: Sequence[str]) -> None:
    """The package as one file; what is compressed already is not compressed again."""
    with landed(target) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as file:
        for path in (*paths, MANIFEST):
            packed = zipfile.ZIP_STORED if path.endswith((".parquet", ".png")) else zipfile.ZIP_DEFLATED
            file.write(folder / path, path, packed)
