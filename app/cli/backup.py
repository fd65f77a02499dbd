"""`simfeed backup`: copies of personas and worlds as files, and whether they can be restored."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from app.analysis import backups
from app.analysis.backup_files import SUFFIX, Manifest, checked, peek
from app.analysis.backups import Drill
from app.cli.common import EXIT_FAILED, Home, Json, confirm, err, go, opened, settings_for, show_json, table
from app.cli.session_show import wide
from app.cli.world import at_home, opened_home, telling, wrote
from app.cli.writing import whole
from app.db import migrate
from app.db.worlds import HOME
from app.errors import AppError, Invalid
from app.world import persona_backups
from app.world.persona_backups import Restored
from app.world.worlds import World

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="\b\nExamples:\n  simfeed backup make -o monday.simfeed\n  simfeed backup restore monday.simfeed --as monday\n"
    "  simfeed backup drill\n\nCopies of personas and worlds, and whether they can be restored.",
)
Out = Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="The file; one that is there is replaced.")]
Which = Annotated[str, typer.Option("--world", metavar="NAME", help="The world; without it, the home world.")]
AnyWorld = Annotated[
    str | None, typer.Option("--world", metavar="NAME", help="The world (SIMFEED_WORLD, default the home world).")
]
Everything = Annotated[
    bool,
    typer.Option("--everything", help="The whole database: accounts, participants, rooms and the audit log, too."),
]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would be.")]


@app.command()
def make(out: Out, world: Which = HOME, everything: Everything = False, home: Home = None, json: Json = False) -> None:
    """\b
    Examples:
      simfeed backup make -o monday.simfeed
      simfeed backup make -o try.simfeed --world try
      simfeed backup make -o all.simfeed --everything     with accounts: keep it as safe as the database

    Write a world, or the whole database, to a file, while the world goes on. Needs pg_dump, which the embedded server
    has.
    """
    settings = at_home(home)

    async def work() -> Manifest:
        async with opened_home(home) as database:
            with telling() as told, whole(out) as file:
                manifest = await backups.make(
                    database, file, world=world, whole=everything, binaries=settings.postgres_binaries, told=told
                )
            await wrote(database, "backup.made", manifest.world, everything=everything, sha256=manifest.sha256)
            return manifest

    made = go(work())
    if json:
        show_json({"file": str(out), **_short(made)})
        return
    err.print(
        f"{out}: {made.world}, {made.rows:,} rows, {made.bytes / 1e6:,.1f} MB, world {made.state[:12]}", markup=False
    )
    _warn(made)


def _short(manifest: Manifest) -> dict[str, Any]:
    return {**manifest.model_dump(mode="json", exclude={"tables"}), "rows": manifest.rows}


def _warn(manifest: Manifest) -> None:
    if manifest.whole:
        err.print(
            f"It holds accounts ({manifest.admins} admins, with password hashes), participants and what they said: "
            "only its owner may read it; keep it so. The secrets of the home folder are not in it.",
            markup=False,
        )
    else:
        err.print("It holds no accounts, participants or rooms (--everything does).", markup=False)


@app.command()
def restore(
    file: File,
    name: Annotated[str | None, typer.Option("--as", metavar="NAME", help="What the restored world is called.")] = None,
    as_home: Annotated[
        bool, typer.Option("--as-home", help="Make it the home world; its database must be empty.")
    ] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed backup restore monday.simfeed --as monday
      simfeed backup restore all.simfeed --as-home --home new      into a new home folder
      DATABASE_URL=postgresql://… simfeed backup restore all.simfeed --as-home

    Make a world of a backup, and prove that it is equal; or nothing. A backup is a program that the database runs:
    restore only what you or people you trust have made.
    """
    if as_home == (name is not None):
        raise Invalid("say either `--as NAME`, the world it becomes, or `--as-home`")
    settings = at_home(home)
    with telling() as told:
        pack = checked(file, told)
        if name is None:
            with migrate.open_home_url(settings) as url:
                gone = go(backups.restore_home(url, pack, binaries=settings.postgres_binaries, told=told))
            _home_is_back(pack.manifest, gone, json=json)
            return

        async def work(name: str) -> World:
            async with opened_home(home) as database:
                world = await backups.restore(database, pack, name, binaries=settings.postgres_binaries, told=told)
                await wrote(database, "backup.restored", world.name, sha256=pack.manifest.sha256)
                return world

        made = go(work(name))
    if json:
        show_json({**asdict(made), "state_sha256": pack.manifest.state})
        return
    err.print(f"The world {made.name} is ready, equal to the backup ({pack.manifest.state[:12]}).", markup=False)
    if pack.manifest.whole:
        err.print("Accounts, participants and rooms were left out: they belong to a home world.", markup=False)


def _home_is_back(manifest: Manifest, gone: list[str], *, json: bool) -> None:
    if json:
        show_json({"home": True, "state_sha256": manifest.state, "worlds_gone": gone})
        return
    err.print(f"The home world is back, equal to the backup ({manifest.state[:12]}).", markup=False)
    if gone:
        err.print(f"Worlds whose databases are not here were taken off the list: {', '.join(gone)}.", markup=False)
    if not manifest.whole:
        err.print("The backup held no accounts: the bootstrap token registers the first admin.", markup=False)


@app.command()
def drill(
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="Keep the backup; without it, it is deleted.")
    ] = None,
    world: Which = HOME,
    everything: Everything = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed backup drill
      simfeed backup drill --everything -o all.simfeed
      simfeed backup drill --world try --json

    Prove that backups can be restored: make one, restore it into a scratch world, compare every table, drop that.
    """
    settings = at_home(home)

    async def work(path: Path) -> Drill:
        async with opened_home(home) as database:
            with telling() as told:
                found = await backups.drill(
                    database, path, whole, world=world, whole=everything, binaries=settings.postgres_binaries, told=told
                )
            await wrote(database, "backup.drilled", found.world, equal=found.equal, sha256=found.sha256)
            return found

    with nullcontext(out) if out is not None else _somewhere() as path:
        found = go(work(path))
    if json:
        show_json(asdict(found))
    else:
        _show_drill(found)
    if not found.equal:
        raise typer.Exit(EXIT_FAILED)


@contextmanager
def _somewhere() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="simfeed-drill-") as folder:
        yield Path(folder, "drill.simfeed")


def _show_drill(found: Drill) -> None:
    rows: list[tuple[object, ...]] = [
        (one.table, one.rows, one.rows_restored, "equal" if one.equal else "DIFFERENT")
        for one in found.tables
        if one.rows or not one.equal
    ]
    table("", "table", "rows", "restored", "", rows=rows, empty="")
    took = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in found.seconds.items())
    verdict = "equal in every table" if found.equal else "DIFFERENT"
    err.print(
        f"{found.world}: {found.rows:,} rows, {found.bytes / 1e6:,.1f} MB; {took}.", markup=False, highlight=False
    )
    same = "" if found.state == found.state_restored else f", restored {found.state_restored}"
    err.print(f"The restored world is {verdict}; hash {found.state}{same}.", markup=False, highlight=False)


@app.command("list")
def list_(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of backups.")] = Path(),
    verify: Annotated[bool, typer.Option("--verify", help="Read each whole, and compare it with its SHA-256.")] = False,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed backup list /srv/backups
      simfeed backup list /srv/backups --verify

    The backups of a folder, newest first: of what, when, how large, and whether they hold accounts. One that is damaged
    is told, and makes the exit code 1.
    """
    if not folder.is_dir():
        raise Invalid(f"there is no folder {folder}")
    found = [_described(path, verify=verify) for path in sorted(folder.glob(f"*{SUFFIX}"))]
    found.sort(key=lambda one: str(one.get("made_at", "")), reverse=True)
    if json:
        show_json(found)
    else:
        rows: list[tuple[object, ...]] = [
            (
                one["file"], one.get("world"), str(one.get("made_at", ""))[:16].replace("T", " "), one.get("rows"),
                f"{one['bytes'] / 1e6:,.1f}" if "bytes" in one else None,
                {True: "with accounts", False: "no accounts", None: ""}[one.get("whole")],
                str(one.get("state", ""))[:12], one["fault"] or ("verified" if verify else "ok"),
            )
            for one in found
        ]  # fmt: skip
        columns = ("file", "world", "made (UTC)", "rows", "MB", "holds", "world's hash", "")
        table("", *columns, rows=rows, empty=f"{folder} holds no file named *{SUFFIX}", console=wide())
    if any(one["fault"] for one in found):
        raise typer.Exit(EXIT_FAILED)


def _described(path: Path, *, verify: bool) -> dict[str, Any]:
    try:
        manifest = checked(path).manifest if verify else peek(path)
    except AppError as error:
        return {"file": path.name, "fault": error.detail}
    return {"file": path.name, "fault": None, **_short(manifest)}


@app.command("personas")
def personas_(out: Out, world: AnyWorld = None, home: Home = None, json: Json = False) -> None:
    """\b
    Examples:
      simfeed backup personas -o people.json
      simfeed backup personas -o people.json --world try

    Write all personas, departed ones too, with status, profile and former versions. (`simfeed personas export` is for
    other programs.)
    """

    async def work() -> bytes:
        async with opened(settings_for(home, simfeed_world=world)) as database:
            return await persona_backups.write(database)

    data = go(work())
    with whole(out) as file:
        file.write(data)
    people, versions = persona_backups.counted(data)
    if json:
        show_json({"file": str(out), "personas": people, "versions": versions})
    else:
        err.print(f"{out}: {people:,} personas, {versions:,} former versions, {len(data):,} bytes", markup=False)


@app.command("restore-personas")
def restore_personas(
    file: File,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: DryRun = False,
    world: AnyWorld = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed backup restore-personas people.json --dry-run
      simfeed backup restore-personas people.json --yes

    Bring back personas that are missing or have changed since, all or none. Nobody else is touched, and what a persona
    was until now stays among its former versions.
    """
    backup = persona_backups.read(file)

    async def work(*, keep: bool) -> list[Restored]:
        async with opened(settings_for(home, simfeed_world=world)) as database:
            return await persona_backups.restore(database, backup, keep=keep)

    planned = go(work(keep=False))
    changes = [one for one in planned if one.what != "same"]
    if changes and not dry_run:
        confirm(f"This changes {len(changes)} of {len(planned)} personas.", yes=yes)
        done = go(work(keep=True))
        if [one.what for one in done] != [one.what for one in planned]:
            err.print("Somebody has changed personas meanwhile; what was done is:", markup=False)
        planned, changes = done, [one for one in done if one.what != "same"]
    if json:
        show_json({"changed": not dry_run and bool(changes), "personas": [asdict(one) for one in planned]})
        return
    rows: list[tuple[object, ...]] = [(f"@{one.username}", one.what, ", ".join(one.fields)) for one in changes]
    table("", "persona", "would be" if dry_run else "is", "fields", rows=rows, empty="")
    same = len(planned) - len(changes)
    err.print(f"{len(changes)} {'would change' if dry_run else 'changed'}, {same} as they were.", markup=False)
