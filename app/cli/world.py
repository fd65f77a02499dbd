"""`simfeed world`: other worlds beside the home world, and what tells them apart."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from app.analysis import state as states
from app.analysis.state import Part, Terms, Times, WorldDiff
from app.auth.admins import record
from app.cli.common import Home, Json, confirm, err, go, opened, settings_for, show_json, table
from app.cli.session_show import wide
from app.db import worlds as databases
from app.db.engine import TROUBLE, Database, patiently
from app.db.worlds import HOME, Told, Via
from app.errors import Invalid
from app.models import Base
from app.settings import Settings
from app.world import personas, worlds
from app.world.personas import PersonaSpec
from app.world.worlds import World

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="\b\nExamples:\n  simfeed world fork try\n  simfeed run --world try\n  simfeed world diff home try\n\n"
    "Copies of the world to try things in, and what tells worlds apart.",
)
BATCH = 500
Name = Annotated[str, typer.Argument(help=f"A world's name; `{HOME}` is the home world's.")]
New = Annotated[str, typer.Argument(metavar="NAME", help="What the new world is called.")]
Source = Annotated[str, typer.Option("--from", metavar="WORLD", help="The world that is copied.")]
Note = Annotated[str, typer.Option(help="What it is for; kept with it.")]
How = Annotated[
    Via,
    typer.Option(
        "--via", help="`template`: by the server, which holds the source still; `dump`: row by row, while it goes on."
    ),
]
What = Annotated[Part, typer.Option("--part", help="The network, the ledger of runs, or both.")]
When = Annotated[
    Times, typer.Option("--times", help="Which times count: all; not what wall clocks measured (`world`); none.")
]
Without = Annotated[
    list[str] | None, typer.Option("--without", metavar="TABLE.COLUMN", help="A column that does not count.")
]


def at_home(home: Path | None) -> Settings:
    return settings_for(home).model_copy(update={"simfeed_world": None})


@asynccontextmanager
async def opened_home(home: Path | None) -> AsyncIterator[Database]:
    """The home world, once what others have left half done is away."""
    async with opened(at_home(home)) as database:
        for name in await worlds.tidy(database):
            err.print(f"The world {name} was left half made or half dropped; it is gone now.", markup=False)
        yield database


@contextmanager
def telling() -> Iterator[Told]:
    """What is being done, on a terminal."""
    if not err.is_terminal:
        yield lambda _: None
        return
    with err.status("") as status:
        yield lambda words: status.update(f"{words} …")


async def wrote(database: Database, deed: str, name: str, **detail: object) -> None:
    async def work() -> None:
        async with database.connection() as connection:
            await record(connection, None, deed, name, **detail)

    await patiently(work, TROUBLE, tries=5, wait=0.2)


@app.command("list")
def list_(home: Home = None, json: Json = False) -> None:
    """\b
    Examples:
      simfeed world list
      simfeed world list --json

    All worlds, the home world first: where each comes from, and how large it is.
    """

    async def work() -> list[World]:
        async with opened_home(home) as database:
            return await worlds.everything(database)

    found = go(work())
    if json:
        show_json([asdict(world) for world in found])
        return
    rows: list[tuple[object, ...]] = [
        (w.name, w.kind, w.state, w.source, w.run_id, _megabytes(w.bytes), w.created_at, w.note) for w in found
    ]
    columns = ("name", "kind", "state", "from", "newest run then", "MB", "made", "note")
    table("", *columns, rows=rows, empty="", console=wide())


def _megabytes(size: int | None) -> str | None:
    return None if size is None else f"{size / 1e6:.0f}"


def _made(world: World, *, json: bool) -> None:
    if json:
        show_json(asdict(world))
        return
    how = {"template": "", "dump": ", row by row"}.get(world.via or "", "")
    what = {"made": "an empty world"}.get(world.kind, f"a {world.kind} of {world.source}{how}")
    err.print(f"The world {world.name} is ready: {what}, {_megabytes(world.bytes)} MB.", markup=False)
    if world.kind == "checkpoint":
        err.print(f"It stays as it is; `simfeed world restore {world.name} NAME` goes on from it.", markup=False)
    else:
        err.print(f"`simfeed run --world {world.name}` plays a cycle in it.", markup=False)


async def _make(home: Path | None, name: str, told: Told, **more: Any) -> World:
    async with opened_home(home) as database:
        world = await worlds.make(database, name, told=told, **more)
        await wrote(database, "world.made", world.name, kind=world.kind, source=world.source)
        return world


def _read(people: Path) -> list[PersonaSpec]:
    from app.agent.population.files import read_personas

    found = read_personas(people)
    if found.problems:
        raise Invalid("; ".join(str(problem) for problem in found.problems[:3]) + ": nothing was made")
    return found.personas


@app.command()
def create(
    name: New,
    people: Annotated[
        Path | None, typer.Option("--personas", exists=True, dir_okay=False, help="A file of personas who move in.")
    ] = None,
    note: Note = "",
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed world create quiet
      simfeed world create town --personas people.csv

    Make an empty world.
    """
    specs = [] if people is None else _read(people)

    async def work(told: Told) -> World:
        async with opened_home(home) as database:
            world = await worlds.make(database, name, kind="made", note=note, told=told)
            await wrote(database, "world.made", world.name, kind="made")
            if specs:
                inside = await Database.open(await databases.locate(database.url, name), size=2)
                try:
                    async with inside.connection() as connection, connection.transaction():
                        for start in range(0, len(specs), BATCH):
                            await personas.add(connection, specs[start : start + BATCH])
                finally:
                    await inside.close()
            return await worlds.one(database, name)

    with telling() as told:
        world = go(work(told))
    _made(world, json=json)


@app.command()
def fork(
    name: New, source: Source = HOME, note: Note = "", via: How = "auto", home: Home = None, json: Json = False
) -> None:
    """\b
    Examples:
      simfeed world fork try
      simfeed world fork second --from try --note "the same, once more"
      simfeed world fork slow --via dump        while others are connected to the database

    Copy a world, without credentials and participants. Whoever uses the source waits for a moment.
    """
    with telling() as told:
        world = go(_make(home, name, told, source=source, note=note, via=via))
    _made(world, json=json)


@app.command()
def checkpoint(
    name: New, source: Source = HOME, note: Note = "", via: How = "auto", home: Home = None, json: Json = False
) -> None:
    """\b
    Examples:
      simfeed world checkpoint before-the-vote
      simfeed world checkpoint day-3 --from try

    Keep a copy of a world that stays as it is.
    """
    with telling() as told:
        world = go(_make(home, name, told, kind="checkpoint", source=source, note=note, via=via))
    _made(world, json=json)


@app.command()
def restore(
    kept: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="The checkpoint to go on from.")],
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="What the new world is called.")] = None,
    as_home: Annotated[
        bool, typer.Option("--as-home", help="Says why the home world is not replaced, and what to do.")
    ] = False,
    note: Note = "",
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed world restore before-the-vote again

    Make a world that goes on from a checkpoint. The checkpoint stays.
    """
    if as_home or name is None:
        raise Invalid(
            "the home world is not replaced: it holds the admins, studies and the audit log, which no checkpoint has. "
            f"Restore under a name (`simfeed world restore {kept} NAME`), and work in that (`simfeed up --world NAME`, "
            "or SIMFEED_WORLD)"
        )

    async def work(told: Told) -> World:
        async with opened_home(home) as database:
            world = await worlds.restore(database, kept, name, note=note, told=told)
            await wrote(database, "world.made", world.name, kind="fork", source=world.source)
            return world

    with telling() as told:
        world = go(work(told))
    _made(world, json=json)


@app.command()
def drop(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed world drop try
      simfeed world drop try --yes

    Delete a world and all that is in it, for ever; whoever works in it is cut off.
    """

    async def look() -> World:
        async with opened_home(home) as database:
            return await worlds.one(database, name)

    async def work() -> World:
        async with opened_home(home) as database:
            dropped = await worlds.drop(database, name)
            await wrote(database, "world.dropped", dropped.name)
            return dropped

    found = go(look())
    confirm(f"This deletes the {found.kind} {found.name} ({_megabytes(found.bytes)} MB), for ever.", yes=yes)
    dropped = go(work())
    if json:
        show_json(asdict(dropped))
    else:
        err.print(f"The world {dropped.name} is gone.", markup=False)


def terms_of(part: Part, times: Times, without: list[str] | None) -> Terms:
    """What is compared.

    Raises:
        Invalid: there is no such column.
    """
    for one in without or ():
        name, _, column = one.partition(".")
        if name not in Terms().tables() or column not in Base.metadata.tables[name].columns:
            raise Invalid(f"--without: there is no column {one!r}; say TABLE.COLUMN, as posts.created_at")
    return Terms(part, times, frozenset(without or ()))


@app.command("hash")
def hash_(
    name: Annotated[str, typer.Argument(help="The world.")] = HOME,
    part: What = "all",
    times: When = "all",
    without: Without = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed world hash
      simfeed world hash try --part network --times none
      simfeed world hash try --json                        each table's, too

    The canonical hash of a world's state: equal worlds have equal hashes.
    """
    terms = terms_of(part, times, without)

    async def work(told: Told) -> states.WorldState:
        async with opened_home(home) as database:
            return await states.state_at(await databases.locate(database.url, name), terms, told)

    with telling() as told:
        found = go(work(told))
    if json:
        show_json(asdict(found))
    else:
        typer.echo(found.sha256)


@app.command()
def diff(
    a: Annotated[str, typer.Argument(help="A world.")],
    b: Annotated[str, typer.Argument(help="Another.")],
    part: What = "all",
    times: When = "all",
    without: Without = None,
    limit: Annotated[int, typer.Option(min=0, max=1000, help="Rows shown of each table.")] = 10,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed world diff home try
      simfeed world diff home try --part network --limit 50
      simfeed world diff try second --times none --json

    What differs between two worlds: counted by table, and the first rows of each.
    """
    terms = terms_of(part, times, without)

    async def work(told: Told) -> WorldDiff:
        async with opened_home(home) as database:
            left, right = [await databases.locate(database.url, name) for name in (a, b)]
            return await states.diff_at(left, right, terms, limit=limit, told=told)

    with telling() as told:
        found = go(work(told))
    if json:
        show_json({"a": a, "b": b, "equal": found.equal, "tables": [asdict(one) for one in found.tables]})
    else:
        _show(found, a, b)


def _show(found: WorldDiff, a: str, b: str) -> None:
    if found.equal:
        err.print(f"{a} and {b} are the same.", markup=False)
        return
    rows: list[tuple[object, ...]] = [
        (one.table, one.rows_a, one.rows_b, one.only_a, one.only_b, one.changed)
        for one in found.tables
        if not one.equal
    ]
    table("", "table", f"rows in {a}", f"in {b}", f"only in {a}", f"only in {b}", "changed", rows=rows, empty="")
    words = {"only_a": f"only in {a}", "only_b": f"only in {b}", "changed": "changed"}
    for one in found.tables:
        for row in one.first:
            key = "/".join(row.key.values())
            typer.echo(f"{one.table} {key} {words[row.kind]}: {_plain(row.about)}")
            if row.kind == "changed":
                for column, (before, after) in row.columns.items():
                    typer.echo(f"    {column}: {_plain(before)} → {_plain(after)}")


def _plain(value: str | None) -> str:
    """In a line, without what a terminal would obey."""
    return "nothing" if value is None else "".join(c if c.isprintable() else " " for c in value)
