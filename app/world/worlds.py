"""The worlds there are: rows of the home world that know the other databases, from making to dropped."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Literal

import asyncpg

from app.db import worlds as databases
from app.db.engine import TROUBLE, Database, patiently
from app.db.worlds import HOME, WORLDS, Place, Told, Via
from app.errors import Conflict, Invalid, NotFound

Kind = Literal["fork", "checkpoint", "made"]
Fill = Callable[[Place, asyncpg.Connection, str], Awaitable[None]]
"""Makes a world's database (its name is the last) on this server, over a connection beside all worlds."""

TRIES, WAIT = 6, 0.2
"""The home world's own connections are among those that a fork of it ends."""


@dataclass(frozen=True)
class World:
    """A world as people see it. `source` is the world it was copied from, `run_id` the newest run it holds from there.

    `via` is how it was copied, told to who made it alone.
    """

    name: str
    kind: str
    state: str
    source: str | None
    run_id: int | None
    note: str
    created_by: str | None
    created_at: datetime | None
    bytes: int | None
    database: str
    via: str | None = None


def _quiet(_: str) -> None:
    pass


async def _read(home: Database, statement: str, *arguments: object) -> list[asyncpg.Record]:
    return await patiently(lambda: home.fetch(WORLDS[statement], *arguments), TROUBLE, tries=TRIES, wait=WAIT)


async def everything(home: Database) -> list[World]:
    """The home world first, then the others, oldest first; those that are being made or dropped, too."""
    (own,) = await _read(home, "home")
    first = World(HOME, "home", "ready", None, None, "", None, None, own["bytes"], own["database"])
    return [first, *(_world(row) for row in await _read(home, "list", None))]


async def one(home: Database, name: str) -> World:
    """A world by its name, whatever becomes of it just now.

    Raises:
        NotFound: there is none.
    """
    if name.lower() == HOME:
        return (await everything(home))[0]
    rows = await _read(home, "list", name)
    if not rows:
        raise _none(name)
    return _world(rows[0])


def _none(name: str) -> NotFound:
    return NotFound(f"there is no world {name[:60]!r}: `simfeed world list` tells which there are")


def _world(row: asyncpg.Record) -> World:
    source = row["source"] or (None if row["kind"] == "made" else HOME)
    return World(
        row["name"], row["kind"], row["state"], source, row["run_id"], row["note"], row["created_by"],
        row["created_at"], row["bytes"], row["database"],
    )  # fmt: skip


async def _source(home: Database, place: Place, name: str) -> tuple[int | None, str, str]:
    """Its row's id, database and kind; one that must be brought up to date is, before it is copied."""
    if name.lower() == HOME:
        return None, place.home, HOME
    rows = await _read(home, "found", name)
    if not rows:
        raise _none(name)
    await databases.locate(home.url, name)
    return rows[0]["id"], rows[0]["database"], rows[0]["kind"]


async def make(
    home: Database,
    name: str,
    *,
    kind: Kind = "fork",
    source: str = HOME,
    note: str = "",
    by: int | None = None,
    via: Via = "auto",
    fill: Fill | None = None,
    told: Told = _quiet,
) -> World:
    """Make a world: a `fork` of another, a `checkpoint` of it that stays as it is, or an empty one (`made`).

    Where `fill` is given, it makes the database of a `made` world, and all that is in it.

    Raises:
        Invalid: it can't be called that.
        Conflict: there is one of that name, or the source can't be copied now.
        NotFound: there is no such source.
        Misconfigured: the database user may not.
    """
    databases.checked_name(name)
    place = await databases.place_of(home.url)
    async with databases.desk(place) as at:
        await _tidy(home, at)
        source_id, copied, _ = (None, "", "") if kind == "made" else await _source(home, place, source)
        async with _making(home, place, at, (name, kind, source_id, note, by)) as (row_id, target):
            how: Via | None = None
            if fill is not None:
                await fill(place, at, target)
            elif kind == "made":
                told("making the tables")
                await databases.make_empty(place, at, target)
            else:
                how = await databases.fork(place, at, copied, target, via=via, told=told)
            newest = await _newest_run(place.url_of(target))
            if kind == "checkpoint":
                await databases.set_read_only(at, target)
            await _read(home, "ready", row_id, newest)
    done = await one(home, name)
    return World(**{**vars(done), "via": how})


@asynccontextmanager
async def _making(
    home: Database, place: Place, at: asyncpg.Connection, described: tuple[object, ...]
) -> AsyncIterator[tuple[int, str]]:
    """The row of a world that is being made (name, kind, source, note, by) and its database's name.

    An error in the block leaves nothing of it.
    """
    name = str(described[0])
    target = databases.new_database(name)
    async with databases.held(at, target):
        row_id = await patiently(partial(_begin, home, name, target, described[1:]), TROUBLE, tries=TRIES, wait=WAIT)
        try:
            yield row_id, target
        except BaseException:
            await _undo(home, place, target, row_id)
            raise


async def _begin(home: Database, name: str, target: str, described: tuple[object, ...]) -> int:
    """The row of a world that is being made, which an earlier try may have left whose answer was lost."""
    try:
        return int(await home.fetchval(WORLDS["begin"], name, target, *described))
    except asyncpg.UniqueViolationError:
        for row in await home.fetch(WORLDS["found"], name):
            if row["database"] == target:
                return int(row["id"])
        raise Conflict(f"there is a world {name} already: drop it first, or take another name") from None


@asynccontextmanager
async def scratch(
    home: Database, name: str, fill: Fill | None = None, *, source: str = HOME, via: Via = "dump", told: Told = _quiet
) -> AsyncIterator[str]:
    """The URL of a world that is never ready for others, and gone at the end of the block, whatever comes.

    `fill` puts something into the new database; without it, it becomes a copy of `source`. What a killed process leaves
    is dropped as any half-made world is.

    Raises:
        as `make`.
    """
    place = await databases.place_of(home.url)
    async with databases.desk(place) as at:
        await _tidy(home, at)
        source_id, copied, _ = await _source(home, place, source)
        kind: Kind = "fork" if fill is None else "made"
        async with _making(home, place, at, (name, kind, source_id, "for the length of a command", None)) as made:
            row_id, target = made
            if fill is None:
                await databases.fork(place, at, copied, target, via=via, told=told)
            else:
                await fill(place, at, target)
            yield place.url_of(target)
            await _undo(home, place, target, row_id)


@asynccontextmanager
async def inside(home: Database, name: str, *, size: int = 4) -> AsyncIterator[Database]:
    """A world's database, open until the end of the block; the home world is that of the caller.

    Raises:
        NotFound: there is none.
    """
    if name.lower() == HOME:
        yield home
        return
    database = await Database.open(await databases.locate(home.url, name), size=size)
    try:
        yield database
    finally:
        await database.close()


async def _newest_run(url: str) -> int | None:
    connection = await databases.connect(url)
    try:
        found: int | None = await connection.fetchval(WORLDS["newest_run"])
        return found
    finally:
        await connection.close()


async def _undo(home: Database, place: Place, target: str, row_id: int) -> None:
    """Leave nothing of a world that could not be made; what this can't do, the next command does."""
    try:
        async with databases.desk(place) as at:
            await databases.drop(at, target)
        await _read(home, "dropped", row_id)
    except TROUBLE:
        return


async def restore(
    home: Database, checkpoint: str, name: str, *, note: str = "", by: int | None = None, told: Told = _quiet
) -> World:
    """A new fork of a checkpoint, under a name of its own.

    Raises:
        Invalid: it is no checkpoint.
        as `make`.
    """
    found = await one(home, checkpoint)
    if found.kind != "checkpoint":
        raise Invalid(f"{found.name} is no checkpoint, but a {found.kind} world: `fork` copies it")
    return await make(home, name, source=found.name, note=note, by=by, told=told)


async def drop(home: Database, name: str) -> World:
    """Drop a world and all that is in it; its row stays.

    Raises:
        Invalid: it is the home world.
        NotFound: there is none.
        Conflict: it is being made.
    """
    if name.lower() == HOME:
        raise Invalid("the home world can't be dropped: `simfeed db reset` empties it")
    place = await databases.place_of(home.url)
    found = await one(home, name)
    async with databases.desk(place) as at:
        async with databases.held(at, found.database) as ours:
            if not ours:
                raise Conflict(f"the world {found.name} is being made or dropped just now")
            rows = await _read(home, "found", name)
            if not rows or rows[0]["database"] != found.database:
                raise _none(name)
            await _read(home, "dropping", rows[0]["id"])
            await databases.drop(at, found.database)
            await _read(home, "dropped", rows[0]["id"])
        await _tidy(home, at)
    return World(**{**vars(found), "state": "dropped", "bytes": None})


async def tidy(home: Database) -> list[str]:
    """Finish what processes that died have left half made or half dropped: none of it remains. Tells the names."""
    if not await _read(home, "unfinished"):
        return []
    async with databases.desk(await databases.place_of(home.url)) as at:
        return await _tidy(home, at)


async def _tidy(home: Database, at: asyncpg.Connection) -> list[str]:
    done = []
    for row in await _read(home, "unfinished"):
        async with databases.held(at, row["database"]) as ours:
            if ours and any(left["id"] == row["id"] for left in await _read(home, "unfinished")):
                await databases.drop(at, row["database"])
                await _read(home, "dropped", row["id"])
                done.append(row["name"])
    return done
