"""A study under way, in the terminal: `simfeed study monitor`."""

import asyncio
from typing import Annotated, Any

import asyncpg
import typer
from rich.live import Live
from rich.table import Table

from app.cli.common import Home, Json, err, go, opened, out, settings_for, show_json
from app.db.engine import Database
from app.errors import Invalid
from app.models.studies import PARTICIPANT_STATES, STAGES
from app.venues.chatroom import monitor, studies

PAGE = 500
SHOWN = 200
"""Participants in the table that is drawn anew; `--json` tells of all."""

COLUMNS = ("participant", "arm", "stage", "for", "seen", "room", "left", "wrote", "read", "flags")


def show(
    study: Annotated[str, typer.Argument(metavar="NAME", help="A study's name or number.")],
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.5, max=3600, help="Seconds between two looks.")] = 2.0,
    stage: Annotated[str, typer.Option(help=f"Only those at this stage: {', '.join(STAGES)}.")] = "",
    state: Annotated[str, typer.Option(help=f"Only those in this state: {', '.join(PARTICIPANT_STATES)}.")] = "",
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed study monitor bicycles --watch
      simfeed study monitor bicycles --stage chat
      simfeed study monitor bicycles --json

    Who is where in a study: stage, room, time left, messages, reports. By pseudonym; nobody is named.
    """
    for given, allowed, name in ((stage, STAGES, "--stage"), (state, PARTICIPANT_STATES, "--state")):
        if given and given not in allowed:
            raise Invalid(f"{name}: must be one of {', '.join(allowed)}, not {given}")
    if watch and json:
        raise Invalid("--watch is for people, --json for programs: choose one")

    async def work() -> None:
        async with opened(settings_for(home)) as database:
            row = await studies.find(database, study)
            found = await _all(database, row["id"], stage, state)
            if json:
                show_json([{name: value for name, value in seat.items() if name != "id"} for seat in found])
                return
            if not found:
                err.print(_nobody(row["name"], stage or state), markup=False)
                if not watch:
                    return
            if not watch:
                out.print(_table(row["name"], found))
                return
            with Live(_table(row["name"], found), console=out, auto_refresh=False, screen=False) as shown:
                while True:
                    await asyncio.sleep(every)
                    row = await studies.find(database, study)
                    shown.update(_table(row["name"], await _all(database, row["id"], stage, state)), refresh=True)

    go(work())


async def _all(database: Database, study_id: int, stage: str, state: str) -> list[asyncpg.Record]:
    found: list[asyncpg.Record] = []
    while page := await monitor.seats(
        database, study_id, after=found[-1]["id"] if found else 0, limit=PAGE, stage=stage, state=state
    ):
        found += page
    return found


def _nobody(study: str, wanted: str) -> str:
    if wanted:
        return f"Nobody is {wanted} in {study}."
    return f"Nobody has come yet: `simfeed study tokens {study} --count 20` makes tokens, `study open` lets people in."


def _table(study: str, seats: list[asyncpg.Record]) -> Table:
    active = sum(seat["state"] == "active" for seat in seats)
    here = sum(seat["connected"] for seat in seats)
    title = f"{study}: {len(seats)} participants, {active} under way, {here} connected"
    grid = Table(title=title, title_justify="left", header_style="bold")
    for column in COLUMNS:
        grid.add_column(column, overflow="fold")
    newest = sorted(seats, key=lambda seat: (seat["state"] != "active", -seat["id"]))
    for seat in newest[:SHOWN]:
        grid.add_row(*map(str, _cells(seat)))
    if len(seats) > SHOWN:
        grid.caption = f"and {len(seats) - SHOWN} more"
    return grid


def _cells(seat: asyncpg.Record) -> tuple[Any, ...]:
    stands = seat["stage"] if seat["state"] == "active" else seat["state"].replace("_", " ")
    room = "paused" if seat["paused"] else seat["room_state"] or ""
    flags = [f"{seat[name]} {name if seat[name] != 1 else name[:-1]}" for name in ("reports", "blocks") if seat[name]]
    return (
        seat["pseudonym"],
        seat["arm"],
        stands,
        _span(seat["stage_for"]),
        "now" if seat["connected"] else f"{_span(seat['seen_ago'])} ago",
        room,
        "" if seat["seconds_left"] is None else _span(max(0.0, seat["seconds_left"])),
        seat["theirs"],
        seat["others"],
        ", ".join(flags),
    )


def _span(seconds: float) -> str:
    if seconds < 3600:
        return f"{int(seconds // 60)}:{int(seconds % 60):02}"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} d"
