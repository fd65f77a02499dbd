"""`simfeed personas`: who lives here."""

import sys
import zipfile
from pathlib import Path
from typing import Annotated, Any, Literal

import asyncpg
import msgspec
import typer
from pydantic import ValidationError
from rich.progress import track

from app.agent.population import (
    PersonaFormat,
    ReadResult,
    parse_personas,
    read_agents,
    read_personas,
    write_engine,
    write_oasis_csv,
    write_oasis_json,
    write_personas,
    write_tinytroupe,
)
from app.cli.common import Home, Json, confirm, err, go, opened, out, settings_for, show_json, table
from app.cli.writing import whole
from app.db.engine import Database
from app.errors import Invalid
from app.settings import Settings
from app.world import personas
from app.world.personas import PersonaSpec
from app.world.text import INT64_MAX

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="\b\nExamples:\n  simfeed personas list\n  simfeed personas import people.csv --dry-run\n"
    "  simfeed personas export > personas.json\n\nWho lives here.",
)
BATCH = 1_000
READABLE = 0o666
"""As the umask has it: personas are no people."""
Who = Annotated[str, typer.Argument(help="A username or an id.")]
Written = Literal["json", "jsonl", "csv", "tinytroupe", "oasis-csv", "oasis-json", "engine"]
"""What `import` reads, too."""
_ABROAD = {
    PersonaFormat.OASIS_CSV: write_oasis_csv,
    PersonaFormat.OASIS_JSON: write_oasis_json,
    PersonaFormat.ENGINE: write_engine,
}
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


async def find(database: Database, who: str) -> asyncpg.Record:
    if who.isascii() and who.isdigit() and 0 < int(who[:20]) <= INT64_MAX:
        return await personas.present(database, int(who))
    return await personas.by_username(database, who)


async def every_persona(database: Database) -> list[asyncpg.Record]:
    rows: list[asyncpg.Record] = []
    while batch := await personas.listed(database, after=rows[-1]["id"] if rows else 0, limit=BATCH):
        rows += batch
    return rows


def _shown(row: asyncpg.Record) -> dict[str, Any]:
    return {**dict(row), "profile": msgspec.json.decode(row["profile"])}


@app.command("list")
def list_(home: Home = None, json: Json = False) -> None:
    """\b
    Examples:
      simfeed personas list
      simfeed personas list --json

    All personas that have not departed.
    """

    async def read() -> list[dict[str, Any]]:
        async with opened(settings_for(home)) as database:
            return [_shown(row) for row in await every_persona(database)]

    rows = go(read())
    if json:
        show_json(rows)
        return
    cells: list[tuple[object, ...]] = [
        (r["id"], f"@{r['username']}", r["status"], r["posts_count"], r["followers_count"], r["model"] or "", r["bio"])
        for r in rows
    ]
    columns = ("id", "username", "status", "posts", "followers", "model", "bio")
    table("", *columns, rows=cells, empty="No personas yet: `simfeed up` moves twelve in; `personas add` makes one.")


@app.command()
def show(who: Who, home: Home = None, json: Json = False) -> None:
    """\b
    Examples:
      simfeed personas show rita_bolt
      simfeed personas show 3 --json

    One persona with all its fields.
    """

    async def read() -> dict[str, Any]:
        async with opened(settings_for(home)) as database:
            return _shown(await find(database, who))

    found = go(read())
    if json:
        show_json(found)
        return
    for name, value in {**found, **found.pop("profile")}.items():
        if value not in (None, "", [], {}):
            out.print(f"{name:>16}  {value}", markup=False, highlight=False)


@app.command()
def add(
    username: Annotated[str, typer.Argument(help="Its handle.")],
    description: Annotated[str, typer.Argument(help="Who it is, as the model shall play it.")],
    bio: Annotated[str, typer.Option(help="What everybody reads of it.")] = "",
    model: Annotated[str | None, typer.Option(help="A model of its own.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 to 2.")] = None,
    activity: Annotated[float, typer.Option(help="How often it wakes, 0 to 1.")] = 1.0,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed personas add professor_rust "Loves compilers, hates meetings, speaks in error messages."

    Make one persona; it takes part from the next cycle on.
    """
    given = {"username": username, "description": description, "bio": bio, "model": model}
    try:
        spec = PersonaSpec.model_validate({**given, "temperature": temperature, "activity": activity})
    except ValidationError as error:
        raise Invalid("; ".join(f"{'.'.join(map(str, e['loc']))} {e['msg']}" for e in error.errors())) from None

    async def work() -> dict[str, Any]:
        async with opened(settings_for(home)) as database:
            async with database.connection() as connection:
                made = (await personas.add(connection, [spec]))[0]
            return _shown(await personas.get(database, made["id"]))

    made = go(work())
    if json:
        show_json(made)
    else:
        err.print(f"@{made['username']} is persona {made['id']}", markup=False)


@app.command("import")
def import_(
    file: Annotated[
        str,
        typer.Argument(
            help="JSON, JSONL, CSV, TinyTroupe *.agent.json (or a folder or zip file of them), OASIS CSV or JSON, the "
            "simulation engine's list; - is stdin."
        ),
    ],
    format: Annotated[PersonaFormat | None, typer.Option(help="When the name does not tell.")] = None,  # noqa: A002
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Import the valid ones, list the others.")
    ] = False,
    dry_run: DryRun = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed personas import people.csv --dry-run
      simfeed personas import Lisa.agent.json
      simfeed personas import oasis_users.csv --skip-invalid
      cat people.jsonl | simfeed personas import -

    Import personas, all or none (unless --skip-invalid).
    """
    found = read_file(file, format)
    for problem in found.problems[:50]:
        err.print(str(problem), markup=False, highlight=False)
    for note in found.notes:
        err.print(f"note: {note}", markup=False, highlight=False)
    if found.problems and not skip_invalid:
        raise Invalid(
            f"nothing was imported: {len(found.problems)} problem(s) in {file}; mend them, or import the rest with "
            "--skip-invalid"
        )
    made = 0 if dry_run else go(_import(settings_for(home), found.personas, skip_taken=skip_invalid))
    result = {"imported": made, "valid": len(found.personas), "problems": [str(p) for p in found.problems]}
    if json:
        show_json(result)
    elif dry_run:
        err.print(f"{len(found.personas)} persona(s) would be imported", markup=False)
    else:
        err.print(f"{made} persona(s) imported", markup=False)


def read_file(file: str, format: PersonaFormat | None) -> ReadResult:  # noqa: A002
    if file == "-":
        return parse_personas(sys.stdin.buffer.read(), "standard input", format)
    path = Path(file)
    if path.is_dir() or (path.is_file() and path.suffix.lower() == ".zip"):
        return read_agents(path)
    if not path.is_file():
        raise Invalid(f"there is no file {file}")
    return read_personas(path, format=format)


async def _import(settings: Settings, specs: list[PersonaSpec], *, skip_taken: bool) -> int:
    made = 0
    async with opened(settings) as database, database.connection() as connection, connection.transaction():
        for start in track(range(0, len(specs), BATCH), "Importing", console=err, disable=not err.is_terminal):
            batch = specs[start : start + BATCH]
            if skip_taken:
                batch = await _untaken(connection, batch)
            made += len(await personas.add(connection, batch)) if batch else 0
    return made


async def _untaken(connection: asyncpg.pool.PoolConnectionProxy, batch: list[PersonaSpec]) -> list[PersonaSpec]:
    taken = await personas.taken(connection, [spec.username for spec in batch])
    for username in taken:
        err.print(f"skipped: the username {username} is taken", markup=False)
    return [spec for spec in batch if spec.username.lower() not in taken]


@app.command()
def export(
    who: Annotated[list[str] | None, typer.Argument(help="Usernames or ids; without any, all.")] = None,
    format: Annotated[Written, typer.Option(help="What it is written as.")] = "json",  # noqa: A002
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A file; without it, stdout. For TinyTroupe a folder or zip file, too."),
    ] = None,
    home: Home = None,
) -> None:
    """\b
    Examples:
      simfeed personas export > personas.json
      simfeed personas export --format csv -o personas.csv
      simfeed personas export --format tinytroupe -o agents/
      simfeed personas export rita_bolt --format tinytroupe -o rita_bolt.agent.json

    All personas that have not departed, or those that are named, in a form that `import` reads. What another system's
    form can't hold is told.
    """

    async def read() -> list[PersonaSpec]:
        async with opened(settings_for(home)) as database:
            rows = [await find(database, one) for one in dict.fromkeys(who)] if who else await every_persona(database)
            return [personas.spec_of(row) for row in {row["id"]: row for row in rows}.values()]

    specs, notes = go(read()), list[str]()
    match form := PersonaFormat(format):
        case PersonaFormat.TINYTROUPE:
            notes = _write_agents(specs, output)
        case _ if form in _ABROAD:
            data, notes = _ABROAD[form](specs)
            write_file(data, output)
        case _:
            write_file(write_personas(specs, form), output)
    for note in notes:
        err.print(f"note: {note}", markup=False, highlight=False)


def _write_agents(specs: list[PersonaSpec], output: Path | None) -> list[str]:
    """Write one agent to a file, several to a folder or a zip file; return notes on what is lost."""
    files, notes = write_tinytroupe(specs)
    if output is not None and output.suffix.lower() == ".zip":
        with whole(output, READABLE, folders=False) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, data in files.items():
                packed.writestr(name, data)
    elif len(files) == 1 and not (output is not None and output.is_dir()):
        write_file(next(iter(files.values())), output)
    elif output is None or (output.exists() and not output.is_dir()):
        raise Invalid("TinyTroupe has one agent a file: name a folder or a zip file by --output, or one persona")
    else:
        output.mkdir(exist_ok=True)
        for name, data in files.items():
            write_file(data, output / name)
    return notes


def write_file(data: bytes, output: Path | None) -> None:
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    with whole(output, READABLE, folders=False) as file:
        file.write(data)


@app.command()
def pause(
    who: Who, off: Annotated[bool, typer.Option("--off", help="Wake it again.")] = False, home: Home = None
) -> None:
    """\b
    Examples:
      simfeed personas pause rita_bolt
      simfeed personas pause rita_bolt --off

    A paused persona does not wake.
    """

    async def work() -> str:
        async with opened(settings_for(home)) as database:
            row = await find(database, who)
            await personas.set_status(database, row["id"], "active" if off else "paused")
            return str(row["username"])

    err.print(f"@{go(work())} is {'active' if off else 'paused'}", markup=False)


@app.command()
def remove(
    who: Who,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: DryRun = False,
    home: Home = None,
) -> None:
    """\b
    Examples:
      simfeed personas remove rita_bolt --dry-run
      simfeed personas remove rita_bolt --yes

    A persona departs: it never wakes again; what it made stays readable.
    """

    async def work() -> str:
        async with opened(settings_for(home)) as database:
            row = await find(database, who)
            name = f"@{row['username']}"
            if dry_run:
                return f"{name} would depart"
            confirm(f"{name} departs; an admin can bring it back while its name is free.", yes=yes)
            await personas.depart(database, row["id"])
            return f"{name} has departed"

    err.print(go(work()), markup=False)
