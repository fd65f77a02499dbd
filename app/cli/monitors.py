"""`simfeed runs show` and `runs realism`: a run in figures, and what monitors find in it."""

from dataclasses import asdict
from typing import Annotated, Any

import msgspec
import typer

from app.analysis import realism
from app.analysis.adherence import RULES
from app.analysis.alarms import BY_NAME
from app.analysis.realism import Realism
from app.cli.common import Home, Json, err, go, opened, out, settings_for, show_json, table
from app.cli.progress import show_summary, summary
from app.errors import NotFound
from app.settings import Settings
from app.venues.run import TURNS
from app.world.text import INT64_MAX

Number = Annotated[int, typer.Argument(min=1, max=INT64_MAX, help="A run's number.")]


def show_run(number: Number, home: Home = None, json: Json = False) -> None:
    """\b
    Examples:
      simfeed runs show 7
      simfeed runs show 7 --json

    A run in figures: turns, actions, tokens, cost; and what monitors found in it, with alarms.
    """
    found = go(_shown(settings_for(home), number))
    if json:
        show_json(found)
        return
    show_summary(found)
    if found["venue"] == realism.VENUE:
        _tell(number, found["realism"], found["handles"])


async def _shown(settings: Settings, number: int) -> dict[str, Any]:
    async with opened(settings) as database:
        run = await database.fetchrow(TURNS["run"], number)
        if run is None:
            raise NotFound(f"no run has the number {number}: `simfeed runs` lists them")
        found = await realism.of_run(database, number)
        return {**await summary(database, number), "venue": run["venue"], **await _told(database, found)}


async def _told(database: Any, found: Realism | None) -> dict[str, Any]:
    """What monitors found as data, alarms with their text, and the handles of the personas named."""
    if found is None:
        return {"realism": None, "handles": {}}
    told: dict[str, Any] = msgspec.to_builtins(asdict(found))
    told["alarms"] = [{**one, "text": alarm.text} for one, alarm in zip(told["alarms"], found.alarms, strict=True)]
    return {"realism": told, "handles": {str(k): v for k, v in (await realism.handles(database, found)).items()}}


def look_again(number: Number, home: Home = None, json: Json = False) -> None:
    """\b
    Examples:
      simfeed runs realism 7
      simfeed runs realism 7 --json

    Let monitors look at a run anew, by today's ALARMS and ACTION_MIX, and keep what they find.
    """
    found = go(_look(settings_for(home), number))
    if json:
        show_json({"run": number, **found})
        return
    _tell(number, found["realism"], found["handles"])


async def _look(settings: Settings, number: int) -> dict[str, Any]:
    async with opened(settings) as database:
        return await _told(database, await realism.look(database, settings, number))


def _tell(number: int, found: dict[str, Any] | None, handles: dict[str, str]) -> None:
    if found is None:
        err.print(
            f"Monitors have not looked at run {number}: `simfeed runs realism {number}` lets them, once it has ended.",
            markup=False,
        )
        return
    levels = {alarm["monitor"]: alarm["level"] for alarm in found["alarms"]}
    rows: list[tuple[object, ...]] = []
    for name, one in found["values"].items():
        known = BY_NAME[name]
        value = "—" if one["value"] is None else f"{one['value']:.3f}"
        enough = "" if one["n"] >= known.least else f", too few to judge ({known.least})"
        rows.append((name, value, known.unit, f"{one['n']:g} {known.of}{enough}", levels.get(name, "")))
    looked = f"{found['turns']} of {found['total']} turns looked at"
    table(f"Monitors of run {number} ({looked})", "monitor", "value", "unit", "from", "", rows=rows, empty="")
    if found["drift"]:
        drift = found["drift"]
        told = f"{drift['per_run']:+.4f} a run, 99 % interval {drift['low']:+.4f} to {drift['high']:+.4f}"
        out.print(f"agreement over {drift['runs']} runs: {told}", markup=False)
    for one in found["worst"][:5]:
        who = handles.get(str(one["persona_id"]), str(one["persona_id"]))
        out.print(f"@{who}: {one['broken']} of {one['of']} texts: {RULES[one['rule']]}", markup=False)
    for alarm in found["alarms"]:
        err.print(
            f"{alarm['level']}: {alarm['text']}", markup=False, style="red" if alarm["level"] == "alarm" else "yellow"
        )
