"""`simfeed dataset`: a world as files that others can open, and a world from such files."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.analysis.dataset import checking, package
from app.analysis.dataset import rebuild as rebuilding
from app.analysis.dataset.options import FORMATS, Options, Source, Step, Told
from app.analysis.dataset.pseudonyms import HOWS
from app.auth.admins import record
from app.cli.common import EXIT_FAILED, Home, Json, err, go, opened, settings_for, show_json, table
from app.db import worlds as databases
from app.db.engine import TROUBLE, Database, patiently
from app.db.worlds import HOME
from app.errors import Invalid

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="\b\nExamples:\n  simfeed dataset build -o town.zip\n  simfeed dataset check town.zip\n"
    "  simfeed dataset import town.zip --as town\n\n"
    "A world as files that others can open, and a world from such files (docs/datasets.md).",
)
SHOWN = 100
Package = Annotated[Path, typer.Argument(metavar="PATH", help="The package: a folder or a zip file.")]
World = Annotated[str, typer.Option("--world", metavar="NAME", help="The world; without it, the home world.")]


@contextmanager
def telling() -> Iterator[Told]:
    """How far it is, on a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=None)

        def told(step: Step) -> None:
            bar.update(task, description=step.what, completed=step.done, total=step.total or None)

        yield told


@asynccontextmanager
async def _home(home: Path | None) -> AsyncIterator[Database]:
    async with opened(settings_for(home).model_copy(update={"simfeed_world": None})) as database:
        yield database


def _several(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


@app.command()
def build(
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="PATH", help="A new folder, or a file that ends in .zip.")
    ],
    world: World = HOME,
    tables: Annotated[str | None, typer.Option(help="Which, separated by commas; without it, all.")] = None,
    formats: Annotated[str, typer.Option(help="Which, separated by commas.")] = ",".join(FORMATS),
    pseudonyms: Annotated[
        str, typer.Option(help="`names`: other names where names stand; `all`: also in what anybody wrote; or `none`.")
    ] = "none",
    spreadsheet_safe: Annotated[
        bool, typer.Option("--spreadsheet-safe", help="In CSV, an apostrophe before what would be a formula.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a build that was broken off.")] = False,
    title: Annotated[str, typer.Option(help="What the dataset is called.")] = "",
    description: Annotated[str, typer.Option(help="What it is, in a sentence.")] = "",
    author: Annotated[list[str] | None, typer.Option(help="An author, for the citation; may be said again.")] = None,
    licence: Annotated[str, typer.Option("--license", help="An SPDX name (CC-BY-4.0) or a URL.")] = "",
    url: Annotated[str, typer.Option(help="Where it can be found.")] = "",
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed dataset build -o town
      simfeed dataset build -o town.zip --world try --pseudonyms names --license CC-BY-4.0 --author "Ada Lovelace"
      simfeed dataset build -o posts --tables posts,comments --formats csv --spreadsheet-safe
      simfeed dataset build -o town --resume

    Write a world's tables, network, codebook and metadata as a package, all of it of one moment.
    """
    chosen = _several(formats) or ()
    if pseudonyms not in HOWS:
        raise Invalid(f"--pseudonyms: {', '.join(HOWS)}")
    options = Options(
        _several(tables),
        chosen,
        pseudonyms,
        spreadsheet_safe,
        resume,
        title,
        description,
        tuple(author or ()),
        licence,
        url,
    )

    async def work(told: Told) -> package.Built:
        async with _home(home) as database:
            source = Source(world, await databases.locate(database.url, world))
            return await package.build([source], out, options=options, told=told)

    with telling() as told:
        done = go(work(told))
    if done.anew:
        err.print(f"Nothing of the earlier try was kept: {done.anew}.", markup=False)
    elif done.kept:
        err.print(f"{done.kept} files of the earlier try were kept.", markup=False)
    if json:
        show_json({"path": str(done.path), "kept": done.kept, "anew": done.anew, **done.manifest})
        return
    files = done.manifest["files"]
    size = sum(one["bytes"] for one in files) / 1e6
    err.print(f"{done.path}: {len(files)} files, {size:,.1f} MB; {done.manifest['worlds'][0]['sha256']}", markup=False)


@app.command()
def check(path: Package, json: Json = False) -> None:
    """\b
    Examples:
      simfeed dataset check town.zip
      simfeed dataset check town --json

    Verify a package: its files, checksums, rows, references and the hash of each world. Needs no database.
    """
    with telling() as told:
        found = checking.check(path, told)
    if json:
        show_json(
            {
                "sound": not found.faults,
                "files": found.files,
                "rows": found.rows,
                "faults": [asdict(f) for f in found.faults],
            }
        )
    else:
        for fault in found.faults[:SHOWN]:
            typer.echo("".join(c if c.isprintable() else " " for c in str(fault)))
        if len(found.faults) > SHOWN:
            err.print(f"and {len(found.faults) - SHOWN} more", markup=False)
        if not found.faults:
            err.print(f"{path}: {found.files} files and {found.rows:,} rows are as the manifest says.", markup=False)
    if found.faults:
        raise typer.Exit(EXIT_FAILED)


@app.command("import")
def import_(
    path: Package,
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="What the new world is called.")],
    world: Annotated[str | None, typer.Option("--world", help="Which, of a package with several worlds.")] = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed dataset import town.zip --as town
      simfeed dataset import experiment.zip --world latest-1 --as again

    Make a world from a package. Its hash is that of the world that was exported; half a world is never left.
    """

    async def wrote(database: Database, made: rebuilding.Rebuilt) -> None:
        async with database.connection() as connection:
            await record(connection, None, "world.made", made.world.name, kind="made", dataset=str(path))

    async def work(told: Told) -> rebuilding.Rebuilt:
        async with _home(home) as database:
            made = await rebuilding.rebuild(database, path, name, world=world, told=told)
            await patiently(lambda: wrote(database, made), TROUBLE, tries=5, wait=0.2)
            return made

    with telling() as told:
        made = go(work(told))
    if json:
        show_json(
            {
                "world": made.world.name,
                "rows": made.rows,
                "sha256": made.sha256,
                "same": made.same,
                "rested": made.rested,
            }
        )
        return
    same = "; its hash is the manifest's" if made.same else "; with other names, its hash is another"
    err.print(f"The world {made.world.name} is ready: {made.rows:,} rows{same}.", markup=False)
    if made.rested:
        err.print("Runs that were open when it was exported are stopped in it.", markup=False)


@app.command("tables")
def tables_(world: World = HOME, home: Home = None, json: Json = False) -> None:
    """\b
    Examples:
      simfeed dataset tables
      simfeed dataset tables --world try --json

    The tables of a dataset, and how many rows of each a package of this world would have.
    """
    from app.analysis.dataset.codebook import table_meaning

    async def work() -> dict[str, int]:
        async with _home(home) as database:
            connection = await databases.connect(await databases.locate(database.url, world))
            try:
                return await package.counted(connection)
            finally:
                await connection.close()

    found = go(work())
    if json:
        show_json([{"table": name, "rows": rows, "meaning": table_meaning(name)} for name, rows in found.items()])
        return
    lines: list[tuple[object, ...]] = [
        (name, f"{rows:,}", table_meaning(name).split(". ")[0]) for name, rows in found.items()
    ]
    table("", "table", "rows", "what a row is", rows=lines, empty="")
