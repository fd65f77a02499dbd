"""`simfeed costs`: what has been spent, and on what."""

import csv
import sys
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated

import typer

from app.cli.common import Home, Json, err, go, opened, settings_for, show_json, table
from app.errors import Invalid
from app.ledger.costs import Cost
from app.ledger.costs import costs as read
from app.world.text import quoted

COLUMNS = ("calls", "prompt_tokens", "cached_tokens", "completion_tokens", "usd", "unpriced")


class What(StrEnum):
    """By what costs are told apart."""

    DAY = "day"
    MODEL = "model"
    VENUE = "venue"
    RUN = "run"
    PERSONA = "persona"


Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="A day (UTC), included.")]


def costs(
    by: Annotated[What, typer.Option("--by", help="What they are told apart by.")] = What.DAY,
    since: Day = None,
    until: Day = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Data as CSV.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed costs
      simfeed costs --by model --since 2026-11-01
      simfeed costs --by persona --csv > costs.csv

    Tell what the calls of a world have cost, by day, model, venue, run or persona. Calls without a known price are
    counted apart, never as nothing.
    """
    if json and as_csv:
        raise Invalid("say either --json or --csv")
    first, last = _day(since), _day(until)
    if first and last and first > last:
        raise Invalid(f"--since {first} is after --until {last}")

    async def work() -> list[Cost]:
        async with opened(settings_for(home)) as database, database.connection() as connection:
            return await read(connection, by.value, since=first, until=last)

    found = go(work())
    if json:
        show_json([{by.value: one.key} | {name: getattr(one, name) for name in COLUMNS} for one in found])
    elif as_csv:
        _write(found, by)
    else:
        _show(found, by)


def _day(given: datetime | None) -> date | None:
    return None if given is None else given.date()


def _write(found: list[Cost], by: What) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow((by.value, *COLUMNS))
    writer.writerows((quoted(one.key), *(getattr(one, name) for name in COLUMNS)) for one in found)


def _show(found: list[Cost], by: What) -> None:
    rows: list[tuple[object, ...]] = [
        (_plain(one.key), *(f"{getattr(one, name):,}" for name in COLUMNS[:4]), f"{one.usd:,.4f}", one.unpriced or "")
        for one in found
    ]
    table(
        "", by.value, "calls", "prompt", "cached", "written", "US $", "unpriced", rows=rows, empty="Nothing was asked."
    )
    if rows:
        unpriced = sum(one.unpriced for one in found)
        more = f", and {unpriced:,} calls whose price nobody knows" if unpriced else ""
        err.print(f"${sum(one.usd for one in found):,.4f} in all{more}.", markup=False, highlight=False)


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
