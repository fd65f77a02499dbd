"""Worlds as databases: copied with the source held still, or row by row, and emptied of what must not travel."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

import asyncpg

from app.db import migrate, queue
from app.db.engine import TROUBLE, plain_url
from app.db.queries import load
from app.errors import AppError, Conflict, Invalid, Misconfigured, NotFound, Unavailable

WORLDS = load("worlds")
PREFIX = "simfeed_world_"
"""What the databases of all worlds but the home world begin with."""

HOME = "home"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
NAME_RULE = "1 to 40 letters (a to z), digits, `_`, `-`, `.`, the first of them a letter or digit"

Via = Literal["auto", "template", "dump"]
Told = Callable[[str], None]
"""Hears what is being done, for people who wait."""

IN_ROOMS = "(SELECT run_id FROM rooms)"
TURNS_IN_ROOMS = f"(SELECT id FROM turns WHERE run_id IN {IN_ROOMS})"  # noqa: S608 - made of constants
REMEMBERED_OF_ROOMS = f"""(
    WITH RECURSIVE told (id) AS (
        SELECT id FROM memories WHERE run_id IN {IN_ROOMS} OR turn_id IN {TURNS_IN_ROOMS}
        UNION
        SELECT m.id FROM memories m CROSS JOIN LATERAL unnest(m.sources) AS source (id) JOIN told ON told.id = source.id
    ) SELECT id FROM told)"""  # noqa: S608 - made of constants

COPIED: dict[str, str] = {
    "instance": "",
    "personas": "",
    "persona_versions": "",
    "posts": "",
    "post_counts": "",
    "comments": "",
    "likes": "",
    "reactions": "",
    "follows": "",
    "mutes": "",
    "reports": "",
    "quarantines": "",
    "events": "",
    "news": "",
    "interventions": "",
    "prompt_texts": "",
    "actions": f"turn_id IN {TURNS_IN_ROOMS}",
    "calls": f"turn_id IN {TURNS_IN_ROOMS}",
    "exposures": f"turn_id IN {TURNS_IN_ROOMS}",
    "marks": f"run_id IN {IN_ROOMS}",
    "memories": f"id IN {REMEMBERED_OF_ROOMS}",
    "session_checkpoints": "",
    "session_lines": "",
    "session_asks": "",
    "session_members": "",
    "sessions": "",
    "turns": f"run_id IN {IN_ROOMS}",
    "runs": f"id IN {IN_ROOMS}",
}
"""The tables that travel, in an order in which rows can be deleted, and which of their rows stay at home: what was said
in rooms with people, down to what agents were told of it and remember."""

EMPTIED = (
    "admin", "admin_invitations", "admin_keys", "admin_recovery_codes", "admin_sessions", "admin_totp", "answers",
    "audit", "budgets", "datasets", "experiment_changes", "experiment_references", "experiment_trials", "experiments",
    "identities", "login_attempts", "participants", "providers", "reusable", "room_blocks",
    "room_drafts", "room_events", "room_goes", "room_members", "room_messages", "room_reactions", "rooms", "studies",
    "study_assigned", "study_members", "study_tokens", "workers", "worlds",
)  # fmt: skip
"""The tables that don't: who may manage this installation, who took part in studies and what they said, and what
belongs to processes. Budgets are made anew from the calls."""

CUT = {
    "instance": ("bootstrapped_at", "halted_at"),
    "interventions": ("created_by",),
    "news": ("created_by",),
    "persona_versions": ("replaced_by",),
    "quarantines": ("admin_id", "lifted_by"),
    "reports": ("closed_by",),
    "sessions": ("created_by",),
}
"""Columns of copied tables that become null."""

TEMPLATE_TRIES = 4
LEAVE_SECONDS = 2.0
"""For so long others may be connected to the source before a copy by template is given up."""

GENTLE_SECONDS = 2.0
"""For so long our own connections may finish what they are at."""

LOOK_SECONDS = 0.02
WAL_MOST = 2 * 1024**3
"""Databases up to this size are copied through the log, which needs no checkpoint; larger ones file by file."""

PIPE = 16
IN_THE_WAY = (asyncpg.ObjectInUseError, asyncpg.LockNotAvailableError)


class Occupied(Conflict):
    """Others are connected to the source, and we may not end their connections."""


@dataclass(frozen=True)
class Place:
    """The server of a home world: its URL, and the home world's database."""

    url: str
    home: str

    def url_of(self, database: str) -> str:
        return with_database(self.url, database)


def with_database(url: str, database: str) -> str:
    """`url` with another database, whatever its name holds."""
    head, mark, query = plain_url(url).partition("?")
    scheme, rest = head.split("://", 1)
    return f"{scheme}://{rest.partition('/')[0]}/{quote(database, safe='')}{mark}{query}"


def writable(url: str) -> str:
    """`url` for who may write to a checkpoint: the one who brings its schema up to date."""
    return f"{url}{'&' if '?' in url else '?'}default_transaction_read_only=off"


def unhurried(url: str) -> str:
    """`url` for who makes what can be made again: commits don't wait for the disk, and a crash may lose the last."""
    return f"{url}{'&' if '?' in url else '?'}synchronous_commit=off"


def ident(name: str) -> str:
    """A name as SQL has it, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def checked_name(name: str) -> str:
    """A world's name.

    Raises:
        Invalid: it can't be one.
    """
    if not NAME.fullmatch(name) or name.lower() == HOME:
        raise Invalid(f"a world's name has {NAME_RULE}; `{HOME}` is the home world's")
    return name


def new_database(name: str) -> str:
    """A database name for a world: at most 63 bytes, and nobody else's."""
    return f"{PREFIX}{re.sub(r'[^a-z0-9]+', '_', name.lower())[:30].strip('_')}_{secrets.token_hex(5)}"


async def connect(url: str) -> asyncpg.Connection:
    """A connection of its own for long work; it is one of ours, which a fork may end.

    Raises:
        Unavailable: the server is away, or refuses.
    """
    try:
        return await asyncpg.connect(
            plain_url(url), timeout=20, server_settings={"application_name": "simfeed worlds", "timezone": "UTC"}
        )
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        raise Unavailable(f"the database can't be reached: {error}") from error


async def place_of(home_url: str) -> Place:
    """Where a home world lies."""
    connection = await connect(home_url)
    try:
        return Place(home_url, await connection.fetchval("SELECT current_database()"))
    finally:
        await connection.close()


@asynccontextmanager
async def desk(place: Place) -> AsyncIterator[asyncpg.Connection]:
    """A connection beside all worlds, always in the same database: databases are made from there, and locks held.

    Raises:
        Misconfigured: there is no such database that this role may use.
    """
    trouble = ""
    for database in ("postgres", "template1"):
        if database == place.home:
            continue
        try:
            connection = await connect(place.url_of(database))
        except Unavailable as error:
            trouble = error.detail
            continue
        try:
            yield connection
        finally:
            connection.terminate()
        return
    raise Misconfigured(
        f"worlds are made from the server's database `postgres` (or `template1`), which can't be used: {trouble}"
    )


def _may_not_create(role: str) -> Misconfigured:
    return Misconfigured(
        f"the database user {role} may not create databases: let a superuser `ALTER ROLE {ident(role)} CREATEDB`"
    )


async def make_empty(place: Place, at: asyncpg.Connection, target: str) -> None:
    """A migrated database without rows, as `make_bare` otherwise."""
    await make_bare(place, at, target)
    await migrate.upgrade(place.url_of(target))


async def make_bare(place: Place, at: asyncpg.Connection, target: str) -> None:
    """A database with nothing in it, that sorts and folds as the home world's does.

    Raises:
        Misconfigured: the role may not create databases.
    """
    row = await at.fetchrow(WORLDS["locale"], place.home)
    assert row is not None  # noqa: S101 - the home world is there
    options = [f"TEMPLATE template0 ENCODING {_text(row['encoding'])}"]
    options += [f"LC_COLLATE {_text(row['collate'])} LC_CTYPE {_text(row['ctype'])}"]
    match row["provider"]:
        case "b":
            options.append(f"LOCALE_PROVIDER builtin BUILTIN_LOCALE {_text(row['locale'])}")
        case "i":
            options.append(f"LOCALE_PROVIDER icu ICU_LOCALE {_text(row['locale'])}")
    try:
        await at.execute(f"CREATE DATABASE {ident(target)} {' '.join(options)}")
    except asyncpg.InsufficientPrivilegeError:
        raise _may_not_create(await at.fetchval("SELECT current_user")) from None


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


async def fork(place: Place, at: asyncpg.Connection, source: str, target: str, *, via: Via, told: Told) -> Via:
    """Make the database `target` a copy of `source` without what must not travel, and say how it was made.

    Raises:
        Misconfigured: the role may not create databases.
        Occupied: others are connected to the source, and `via` is `template`.
    """
    may = await at.fetchrow(WORLDS["may"], source)
    if may is None:
        raise NotFound(f"there is no database {source}")
    if not may["create"]:
        raise _may_not_create(may["role"])
    if via == "template" and not may["copy"]:
        raise Misconfigured(f"only the owner of {source} may copy it as a template: use `--via dump`")
    if via != "dump" and may["copy"]:
        try:
            told("holding the source still, and copying it")
            await _by_template(place, at, source, target)
        except Occupied as error:
            if via == "template":
                raise
            told(f"{error.detail}; copying row by row")
        else:
            told("emptying what must not travel")
            await emptied(place.url_of(target))
            return "template"
    await make_empty(place, at, target)
    await _by_rows(place.url_of(source), place.url_of(target), told)
    return "dump"


async def _by_template(place: Place, at: asyncpg.Connection, source: str, target: str) -> None:
    """`CREATE DATABASE … TEMPLATE`, which holds off whoever connects to the source until it is done.

    The server takes a lock on the source database first: who connects from then on waits for it, and who is connected
    has five seconds to go. We end our own connections meanwhile, those at rest first. Nothing is left behind by a
    process that dies, since the lock is the statement's.
    """
    async with desk(place) as other:
        for attempt in range(1, TEMPLATE_TRIES + 1):
            await _strangers_gone(other, source)
            strategy = "WAL_LOG" if await other.fetchval(WORLDS["size"], source) <= WAL_MOST else "FILE_COPY"
            statement = f"CREATE DATABASE {ident(target)} TEMPLATE {ident(source)} STRATEGY {strategy}"
            making = asyncio.create_task(at.execute(statement))
            try:
                await _disperse(other, source, making)
                await making
                return
            except IN_THE_WAY as error:
                if attempt == TEMPLATE_TRIES:
                    raise Occupied(f"the database {source} is in use and could not be held still: {error}") from None
            finally:
                making.cancel()
                await asyncio.gather(making, return_exceptions=True)


async def _disperse(other: asyncpg.Connection, source: str, making: "asyncio.Task[str]") -> None:
    begun = asyncio.get_running_loop().time()
    while not making.done():
        late = asyncio.get_running_loop().time() - begun > GENTLE_SECONDS
        await other.execute(WORLDS["disperse"], source, late)
        await asyncio.wait({making}, timeout=LOOK_SECONDS)


async def _strangers_gone(other: asyncpg.Connection, source: str) -> None:
    deadline = asyncio.get_running_loop().time() + LEAVE_SECONDS
    while True:
        found = [row for row in await other.fetch(WORLDS["connected"], source) if not row["ours"]]
        if not found:
            return
        if asyncio.get_running_loop().time() > deadline:
            who = ", ".join(
                f"{row['usename']} ({row['application_name'] or 'no name'}, {row['pid']})" for row in found[:5]
            )
            raise Occupied(f"others are connected to the database {source}: {who}")
        await asyncio.sleep(LOOK_SECONDS * 5)


async def emptied(url: str) -> None:
    """Take out of a copy what must not travel, so that no file of it holds any more of it."""
    connection = await connect(url)
    try:
        async with connection.transaction():
            await _drop_strange(connection)
            links = await _unlinked(connection, EMPTIED)
            await _cut(connection)
            left = [table for table, private in COPIED.items() if private and await _purged(connection, table, private)]
            await connection.execute("ALTER TABLE audit DISABLE TRIGGER USER")
            await connection.execute(f"TRUNCATE {', '.join(EMPTIED)} RESTART IDENTITY")
            await connection.execute("ALTER TABLE audit ENABLE TRIGGER USER")
            await _without_statistics(connection)
            await _linked(connection, links)
            await put_at_rest(connection)
        await _rewritten(connection, [*left, *CUT])
    finally:
        await connection.close()
    await queue.prepare(url)


async def _drop_strange(connection: asyncpg.Connection) -> None:
    for row in await connection.fetch(WORLDS["strange"], ["alembic_version", *COPIED, *EMPTIED]):
        await connection.execute(f"DROP {row['kind']} IF EXISTS {row['name']} CASCADE")


async def _unlinked(connection: asyncpg.Connection, tables: Iterable[str] | None) -> list[asyncpg.Record]:
    links: list[asyncpg.Record] = await connection.fetch(WORLDS["links"], None if tables is None else list(tables))
    for link in links:
        await connection.execute(f"ALTER TABLE {link['of']} DROP CONSTRAINT {link['name']}")
    return links


async def _linked(connection: asyncpg.Connection, links: list[asyncpg.Record]) -> None:
    for link in links:
        await connection.execute(f"ALTER TABLE {link['of']} ADD CONSTRAINT {link['name']} {link['definition']}")


async def _cut(connection: asyncpg.Connection) -> None:
    for table, columns in CUT.items():
        gone = ", ".join(f"{column} = NULL" for column in columns)
        held = " OR ".join(f"{column} IS NOT NULL" for column in columns)
        await connection.execute(f"UPDATE {table} SET {gone} WHERE {held}")  # noqa: S608 - made of constants


async def _purged(connection: asyncpg.Connection, table: str, private: str) -> bool:
    status: str = await connection.execute(f"DELETE FROM {table} WHERE {private}")  # noqa: S608 - made of constants
    return status != "DELETE 0"


async def _without_statistics(connection: asyncpg.Connection) -> None:
    """Statistics hold samples of values, and outlive TRUNCATE; to give a column its own type anew forgets them."""
    for table in EMPTIED:
        columns = await connection.fetch(WORLDS["columns"], table)
        again = ", ".join(f"ALTER COLUMN {ident(row['name'])} TYPE {row['type']}" for row in columns)
        await connection.execute(f"ALTER TABLE {table} {again}")


async def put_at_rest(connection: asyncpg.Connection) -> bool:
    """Park what somebody played in the world that these rows come from; whether there was any of it."""
    done = [await connection.execute(WORLDS[statement]) for statement in ("park_turns", "stop_runs")]
    return done != ["UPDATE 0", "UPDATE 0"]


@asynccontextmanager
async def filling(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """A transaction that fills an empty world, table by table in any order; references are checked at its end."""
    async with connection.transaction():
        links = await _unlinked(connection, None)
        await connection.execute("DELETE FROM instance")
        yield
        await _linked(connection, links)


async def _rewritten(connection: asyncpg.Connection, tables: list[str]) -> None:
    """Give these tables new files, with new statistics; deleted rows are in the old ones until then."""
    if await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        await connection.execute(WORLDS["forget_statistics"], tables)
    for table in tables:
        await connection.execute(f"VACUUM (FULL, ANALYZE) {table}")
    await connection.execute("VACUUM FULL pg_statistic")


async def _by_rows(source: str, target: str, told: Told) -> None:
    """Copy what travels, and nothing else, in one snapshot of the source, which goes on meanwhile."""
    reader, writer = await connect(source), await connect(target)
    try:
        async with reader.transaction(isolation="repeatable_read", readonly=True), filling(writer):
            for table, private in COPIED.items():
                told(f"copying {table}")
                await _copy_table(reader, writer, table, private)
            for row in await reader.fetch(WORLDS["sequences"], list(COPIED)):
                last = await reader.fetchrow(f"SELECT last_value, is_called FROM {row['name']}")  # noqa: S608 - quoted
                assert last is not None  # noqa: S101 - a sequence is one row
                await writer.execute("SELECT setval($1::text::regclass, $2, $3)", row["name"], *last)
        await put_at_rest(writer)
        await writer.execute("ANALYZE")
    finally:
        reader.terminate()
        await writer.close()


async def _copy_table(reader: asyncpg.Connection, writer: asyncpg.Connection, table: str, private: str) -> None:
    cut = CUT.get(table, ())
    columns = await writer.fetch(WORLDS["columns"], table)
    wanted = ", ".join(f"NULL::{row['type']}" if row["name"] in cut else ident(row["name"]) for row in columns)
    rows = f"SELECT {wanted} FROM {table}" + (f" WHERE NOT {private}" if private else "")  # noqa: S608 - constants
    pipe: asyncio.Queue[bytes | None] = asyncio.Queue(PIPE)

    async def flow() -> AsyncIterator[bytes]:
        while (data := await pipe.get()) is not None:
            yield data

    async def read() -> None:
        await reader.copy_from_query(rows, output=pipe.put, format="binary")
        await pipe.put(None)

    names = [row["name"] for row in columns]
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(read())
            both.create_task(writer.copy_to_table(table, source=flow(), columns=names, format="binary"))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors


async def set_read_only(at: asyncpg.Connection, database: str) -> None:
    """Make a checkpoint of a database: who opens it can't change it without saying so."""
    await at.execute(f"ALTER DATABASE {ident(database)} SET default_transaction_read_only = on")


async def drop(at: asyncpg.Connection, database: str) -> None:
    """Drop a world's database, whoever is connected to it.

    Raises:
        Misconfigured: the role may not.
    """
    if not database.startswith(PREFIX):
        raise Invalid(f"{database} is no world's database")
    try:
        await at.execute(f"DROP DATABASE IF EXISTS {ident(database)} WITH (FORCE)")
    except asyncpg.InsufficientPrivilegeError as error:
        raise Misconfigured(f"the database user may not drop {database}: {error}") from None


@asynccontextmanager
async def held(at: asyncpg.Connection, database: str) -> AsyncIterator[bool]:
    """Whether the database is ours to make or drop until the end of the block; nobody else's then."""
    got = bool(await at.fetchval(WORLDS["hold"], database))
    try:
        yield got
    finally:
        if got and not at.is_closed():
            with suppress(*TROUBLE):
                await at.fetchval(WORLDS["let_go"], database)


async def locate(home_url: str, name: str) -> str:
    """The URL of a world that is ready, its schema brought up to date.

    Raises:
        NotFound: there is none of that name.
        Conflict: it is being made or dropped.
    """
    if name.lower() == HOME:
        return home_url
    connection = await connect(home_url)
    try:
        row = await connection.fetchrow(WORLDS["found"], name)
    except asyncpg.UndefinedTableError:
        row = None
    finally:
        await connection.close()
    if row is None:
        raise NotFound(f"there is no world {name[:60]!r}: `simfeed world list` tells which there are")
    if row["state"] != "ready":
        raise Conflict(f"the world {row['name']} is not ready: {row['state']}")
    url = with_database(home_url, row["database"])
    if (await migrate.status(url)).pending:
        await migrate.upgrade(writable(url))
    return url


def locate_now(home_url: str, name: str) -> str:
    """`locate`, for those who can't await; also where a loop is running, which waits meanwhile."""
    from concurrent.futures import ThreadPoolExecutor

    try:
        with ThreadPoolExecutor(1) as apart:
            return apart.submit(lambda: asyncio.run(locate(home_url, name))).result()
    except AppError:
        raise
    except (asyncpg.PostgresError, OSError, TimeoutError) as error:
        raise Unavailable(f"the world {name} can't be opened: {error}") from error
