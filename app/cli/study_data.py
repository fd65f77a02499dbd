"""What a study has brought, and what becomes of it: `simfeed study export|log|purge`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.auth.audit import record
from app.cli.common import Home, Json, confirm, err, go, opened, out, settings_for, show_json
from app.cli.writing import is_special, whole
from app.db.engine import Database
from app.errors import Invalid, NotFound
from app.venues.chatroom import export as packages
from app.venues.chatroom import log as logs
from app.venues.chatroom import studies, withdrawal

Which = Annotated[str, typer.Argument(metavar="NAME", help="A study's name or number.")]


async def _audit(database: Database, action: str, about: str, **detail: object) -> None:
    async with database.connection() as connection:
        await record(connection, None, action, about, **detail)


def export(
    study: Which,
    to: Annotated[Path, typer.Option("--out", help="The zip file to write.")],
    spreadsheet: Annotated[
        bool, typer.Option("--spreadsheet", help="Add a copy of each table that a spreadsheet takes for no formula.")
    ] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed study export bicycles --out bicycles.zip
      simfeed study export bicycles --out bicycles.zip --spreadsheet

    All that a study has brought, in one snapshot: tables as CSV and JSON Lines, codebook, design, checksums.
    """
    if to.exists() and not is_special(to):
        raise Invalid(f"{to} is there already: choose another file")

    async def work() -> dict[str, Any]:
        async with opened(settings_for(home)) as database:
            found = await studies.find(database, study)
            with whole(to) as file:
                manifest = await packages.export(database, found["id"], file, spreadsheet=spreadsheet)
                await _audit(database, "study.exported", found["name"], id=found["id"])
            return manifest

    manifest = go(work())
    if json:
        show_json(manifest)
        return
    for name, rows in manifest["rows"].items():
        (err if is_special(to) else out).print(f"{rows:>10}  {name}", markup=False, highlight=False)
    err.print(f"{to} holds {manifest['study']['name']} as it was at {manifest['snapshot_at']}", markup=False)


def log(
    which: Annotated[str, typer.Argument(metavar="NAME|SESSION", help="A study's name or number, or a session's id.")],
    folder: Annotated[Path | None, typer.Option("--out", help="A folder for a file of each session.")] = None,
    home: Home = None,
) -> None:
    """\b
    Examples:
      simfeed study log bicycles --out logs/
      simfeed study log 0b9f6a52-8f4e-4a55-9c3e-2f3f2b8f8a11

    Sessions as JSON Lines: one object a line, of timestamp, event_type, session_id, data. Without --out on stdout.
    """

    async def work() -> int:
        async with opened(settings_for(home)) as database:
            keys = await _sessions(database, which)
            stdout = typer.get_binary_stream("stdout")
            for key in keys:
                if folder is None:
                    await logs.write_log(database, key, stdout)
                else:
                    with whole(folder / f"{key}.jsonl") as file:
                        await logs.write_log(database, key, file)
            await _audit(database, "study.log_read", which[:200], sessions=len(keys))
            return len(keys)

    count = go(work())
    if folder is not None or not count:
        err.print(f"{count} session{'s' * (count != 1)}{f' written to {folder}' if folder else ''}", markup=False)


async def _sessions(database: Database, which: str) -> list[str]:
    try:
        study = await studies.find(database, which)
    except NotFound:
        if await logs.is_session(database, which):
            return [which]
        raise NotFound(f"there is neither a study nor a session {which[:100]}") from None
    return await logs.sessions(database, study["id"])


def purge(
    study: Which,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be erased.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without being asked.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed study purge bicycles --dry-run
      simfeed study purge bicycles --yes

    Erase what is left of a study's participants once its retention is over, counted from the day it was closed.
    The server does so by itself once a day.
    """

    async def look() -> withdrawal.Retention:
        async with opened(settings_for(home)) as database:
            return await withdrawal.retention(database, (await studies.find(database, study))["id"])

    async def work(study_id: int) -> withdrawal.Retention:
        async with opened(settings_for(home)) as database:
            return await withdrawal.purge(database, study_id, by=None)

    found = go(look())
    if not dry_run:
        if found.due:
            confirm(f"Erase all that is left of {found.participants} participants of {found.name}?", yes=yes)
        found = go(work(found.id))
    if json:
        show_json({**found.out(), "purged": not dry_run})
        return
    when = f"due since {found.due_at:%Y-%m-%d}" if found.due else f"due {found.due_at:%Y-%m-%d}" if found.due_at else ""
    verb = "would be erased" if dry_run else "erased"
    err.print(
        f"{found.name}: {found.participants} participants, {found.messages} messages, {found.answers} answers {verb} "
        f"({when or f'{found.retention_days} days after it is closed'})",
        markup=False,
    )
