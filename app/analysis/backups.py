"""Backups: a world or a whole database as one file, back again, and the proof that nothing changed on the way."""

import hashlib
import secrets
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import asyncpg

from app.analysis import state as states
from app.analysis.backup_files import DUMP, MANIFEST, Manifest, Pack, TableDigest, checked, quiet
from app.db import dumps, migrate
from app.db import worlds as databases
from app.db.dumps import DumpFailed
from app.db.engine import Database
from app.db.queries import load
from app.db.worlds import HOME, Place, Told
from app.errors import Conflict, Misconfigured
from app.world import worlds
from app.world.worlds import World

BACKUPS = load("backups")
FETCH = 10_000


@dataclass(frozen=True)
class Compared:
    """A table as it was backed up, and as it is restored; None where it is not there."""

    table: str
    rows: int | None
    rows_restored: int | None
    equal: bool


@dataclass
class Drill:
    """What became of a backup that was restored and compared. Seconds are wall time."""

    world: str
    whole: bool
    equal: bool
    bytes: int
    rows: int
    sha256: str
    state: str
    state_restored: str
    seconds: dict[str, float] = field(default_factory=dict)
    tables: list[Compared] = field(default_factory=list)


async def digests(connection: asyncpg.Connection, told: Told = quiet) -> dict[str, TableDigest]:
    """Rows and hash of every table, whatever the schema; in the caller's snapshot, in memory that does not grow."""
    found = {}
    for table in await connection.fetch(BACKUPS["tables"]):
        told(f"hashing {table['name']}")
        row = f"sha256(record_send(ROW({', '.join(table['columns'])})))"
        cursor = await connection.cursor(f"SELECT {row} AS digest FROM {table['name']} ORDER BY 1")  # noqa: S608 - quoted by the server
        digest, count = hashlib.sha256(), 0
        while rows := await cursor.fetch(FETCH):
            digest.update(b"".join([one[0] for one in rows]))
            count += len(rows)
        found[table["name"]] = TableDigest(rows=count, sha256=digest.hexdigest())
    return found


async def make(
    home: Database,
    file: IO[bytes],
    *,
    world: str = HOME,
    whole: bool = False,
    binaries: Path | None = None,
    told: Told = quiet,
) -> Manifest:
    """Write a backup of a world, or with `whole` of its database with all that never leaves it otherwise.

    A world alone is copied first, as forks are, without accounts, participants and what was said in rooms with people.
    Whoever uses the world goes on meanwhile: what is written is of one moment.

    Raises:
        NotFound: there is no such world.
        Misconfigured: pg_dump is not there, or too old for the server; or the user may not create databases.
        DumpFailed: pg_dump gave up.
    """
    if whole:
        return await _write(await databases.locate(home.url, world), file, world, whole, binaries, told)
    async with worlds.scratch(home, f"backup-{secrets.token_hex(4)}", source=world, told=told) as url:
        return await _write(url, file, world, whole, binaries, told)


async def _write(url: str, file: IO[bytes], world: str, whole: bool, binaries: Path | None, told: Told) -> Manifest:
    connection = await databases.connect(url)
    try:
        async with states.snapshot(connection):
            facts = await connection.fetchrow(BACKUPS["facts"])
            assert facts is not None  # noqa: S101 - the schema has its revision
            pg_dump = dumps.program("pg_dump", binaries, facts["server"])
            tables = await digests(connection, told)
            state = await states.state(connection, told=told)
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as pack:
                with pack.open(DUMP, "w", force_zip64=True) as into:
                    sink = _Sink(into, told)
                    await dumps.dump(url, pg_dump, facts["snapshot"], sink.take)
                manifest = Manifest(
                    world=world, whole=whole, admins=await connection.fetchval(BACKUPS["admins"]),
                    made_at=datetime.now(UTC), revision=facts["revision"], server=facts["server"],
                    program=pg_dump.major, bytes=sink.size, sha256=sink.digest.hexdigest(), state=state.sha256,
                    tables=tables,
                )  # fmt: skip
                pack.writestr(MANIFEST, manifest.model_dump_json(indent=1))
    finally:
        connection.terminate()
    return manifest


class _Sink:
    """Takes a dump, counts and hashes it."""

    def __init__(self, into: IO[bytes], told: Told) -> None:
        self._into, self._told = into, told
        self.digest, self.size = hashlib.sha256(), 0

    def take(self, block: bytes) -> None:
        self._into.write(block)
        self.digest.update(block)
        self.size += len(block)
        self._told(f"writing, {self.size / 1e6:,.0f} MB so far")


async def _pour(url: str, pack: Pack, binaries: Path | None, told: Told) -> None:
    """Make in an empty database all that a backup holds, or nothing."""
    connection = await databases.connect(url)
    try:
        server: int = await connection.fetchval(BACKUPS["server"])
    finally:
        connection.terminate()
    made_by = pack.manifest
    if server < made_by.server:
        raise Misconfigured(
            f"{pack.path}: was made of PostgreSQL {made_by.server}, and this server is {server}: restore it into "
            f"PostgreSQL {made_by.server} or later"
        )
    pg_restore = dumps.program("pg_restore", binaries, made_by.program)
    told("restoring")
    await dumps.restore(url, pg_restore, pack.blocks(told))


async def compare(url: str, manifest: Manifest, told: Told = quiet) -> list[Compared]:
    """Each table of a backup beside what a database holds now."""
    connection = await databases.connect(url)
    try:
        async with states.snapshot(connection):
            now = await digests(connection, told)
    finally:
        connection.terminate()
    then = manifest.tables
    return [
        Compared(name, _rows(then.get(name)), _rows(now.get(name)), then.get(name) == now.get(name))
        for name in sorted({*then, *now})
    ]


def _rows(table: TableDigest | None) -> int | None:
    return None if table is None else table.rows


async def _proven(url: str, pack: Pack, told: Told) -> None:
    """Refuse what differs from the backup; then bring the schema up to date.

    Raises:
        DumpFailed: a table, or the world's canonical hash, is not as it was.
    """
    wrong = [one.table for one in await compare(url, pack.manifest, told) if not one.equal]
    if wrong:
        raise DumpFailed(
            f"what was restored differs from the backup in {', '.join(wrong[:5])}; it was taken away again"
        )
    if (await migrate.status(url)).pending:
        told("bringing the schema up to date")
        await migrate.upgrade(url)
    elif (await states.state_at(url, told=told)).sha256 != pack.manifest.state:
        raise DumpFailed("the restored world's hash differs from the backup's; it was taken away again")


async def restore(home: Database, pack: Pack, name: str, *, binaries: Path | None = None, told: Told = quiet) -> World:
    """A new world beside the home world, equal to what was backed up; accounts do not come along.

    Raises:
        Invalid, Conflict: it can't be called that, or there is one of that name.
        Misconfigured: pg_restore is not there, the server too old, or the user may not create databases.
        DumpFailed: it could not be made, or differs; nothing of it is left.
    """

    async def fill(place: Place, at: asyncpg.Connection, target: str) -> None:
        url = place.url_of(target)
        await databases.make_bare(place, at, target)
        await _pour(url, pack, binaries, told)
        await _proven(url, pack, told)
        if pack.manifest.whole:
            told("emptying what must not travel")
            await databases.emptied(url)

    note = f"backup of {pack.manifest.world}, {pack.manifest.made_at:%Y-%m-%d %H:%M} UTC"
    return await worlds.make(home, name, kind="made", note=note, fill=fill, told=told)


async def restore_home(url: str, pack: Pack, *, binaries: Path | None = None, told: Told = quiet) -> list[str]:
    """Make a backup the home world, in a database that holds nothing yet. Returns the worlds that did not come along.

    Raises:
        Conflict: the database is not empty.
        Misconfigured, DumpFailed: as `restore`.
    """
    if tables := await migrate.table_count(url):
        raise Conflict(f"the home world's database is not empty ({tables} tables): name an empty one, nothing was done")
    await _pour(url, pack, binaries, told)
    connection = await databases.connect(url)
    try:
        try:
            await _proven(url, pack, told)
        except BaseException:
            await connection.execute(BACKUPS["nothing"])
            raise
        return [row["name"] for row in await connection.fetch(BACKUPS["forget_worlds"])]
    finally:
        connection.terminate()


async def drill(
    home: Database,
    path: Path,
    opened: Callable[[Path], AbstractContextManager[IO[bytes]]],
    *,
    world: str = HOME,
    whole: bool = False,
    binaries: Path | None = None,
    told: Told = quiet,
) -> Drill:
    """Back a world up to `path` (which `opened` opens), restore that into a scratch world, and compare every table.

    Raises:
        as `make` and `restore`; a difference is no error, but what is found.
    """
    seconds: dict[str, float] = {}
    with _timed(seconds, "backup"), opened(path) as file:
        await make(home, file, world=world, whole=whole, binaries=binaries, told=told)
    with _timed(seconds, "check"):
        pack = checked(path, told)
    with _timed(seconds, "restore"):
        async with _restored(home, pack, binaries, told) as url:
            with _timed(seconds, "compare"):
                tables = await compare(url, pack.manifest, told)
                restored = (await states.state_at(url, told=told)).sha256
    seconds["restore"] -= seconds["compare"]
    made = pack.manifest
    return Drill(
        world, whole, all(one.equal for one in tables) and restored == made.state, made.bytes, made.rows, made.sha256,
        made.state, restored, {name: round(value, 3) for name, value in seconds.items()}, tables,
    )  # fmt: skip


@asynccontextmanager
async def _restored(home: Database, pack: Pack, binaries: Path | None, told: Told) -> AsyncIterator[str]:
    async def fill(place: Place, at: asyncpg.Connection, target: str) -> None:
        await databases.make_bare(place, at, target)
        await _pour(place.url_of(target), pack, binaries, told)

    async with worlds.scratch(home, f"drill-{secrets.token_hex(4)}", fill, told=told) as url:
        yield url


@contextmanager
def _timed(seconds: dict[str, float], what: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    seconds[what] = time.monotonic() - begun
