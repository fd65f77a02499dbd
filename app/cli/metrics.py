"""`simfeed metrics`: what a world comes to, in numbers."""

import csv
import io
from dataclasses import asdict
from typing import Annotated, Any

import typer

from app.analysis.catalogue import FAMILIES, Metric, chosen
from app.cli.common import Home, Json, err, go, opened, out, settings_for, show_json, table
from app.errors import Invalid
from app.settings import Settings
from app.world.text import INT64_MAX

RUNS_MOST = 100_000

Names = Annotated[list[str] | None, typer.Argument(metavar="[METRIC]...", help="Metrics by name; without any, all.")]
Runs = Annotated[
    str | None, typer.Option("--runs", metavar="RUNS", help="Only what was done in these runs, e.g. 12-48 or 3,7.")
]
Since = Annotated[int | None, typer.Option("--since", min=0, max=INT64_MAX, help="Only runs after this one.")]
Seed = Annotated[int, typer.Option("--seed", help="Of communities, and of texts drawn in a large world.")]
ByRun = Annotated[bool, typer.Option("--by-run", help="Activity by cycle of the feed, and metrics that are named.")]
Csv = Annotated[bool, typer.Option("--csv", help="Data as CSV.")]
Listed = Annotated[bool, typer.Option("--list", help="What metrics there are: unit, formula, source, limits.")]


def metrics(
    names: Names = None,
    runs: Runs = None,
    since: Since = None,
    seed: Seed = 0,
    by_run: ByRun = False,
    listed: Listed = False,
    csv: Csv = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed metrics
      simfeed metrics attention_gini density --json
      simfeed metrics --runs 12-48
      simfeed metrics --by-run --csv
      simfeed metrics --list

    What a world comes to, in numbers: activity, network, exposure, opinions, cascades, language, collapse, process.

    What a metric can't tell stands below the table; what has no value says what it needs. docs/metrics-of-worlds.md
    """
    if json and csv:
        raise Invalid("--json and --csv: one of them")
    wanted = chosen(names or None)
    if listed:
        _list(wanted, json=json, csv=csv)
        return
    asked = numbers(runs)
    if by_run:
        if asked is not None:
            raise Invalid("--runs: not with --by-run, which goes by all; --since leaves out the first ones")
        _show_series(go(_series(settings_for(home), names or [], since, seed)), json=json, csv=csv)
        return
    found = go(_measured(settings_for(home), [one.name for one in wanted], asked, since, seed))
    if json:
        show_json(found)
    elif csv:
        rows = [_row(one, found) for one in wanted]
        _write_csv(["metric", "family", "unit", "value", "version", "why", "alarm"], rows)
    else:
        _show(wanted, found)


def numbers(text: str | None) -> list[int] | None:
    """Runs given as numbers and ranges.

    Raises:
        Invalid: it is anything else.
    """
    if text is None:
        return None
    found: list[int] = []
    for place, part in enumerate(text.split(","), 1):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        ends = [first, last] if dash else [first, first]
        if not all(end.isascii() and end.isdigit() and 0 < int(end[:20]) <= INT64_MAX for end in ends):
            raise Invalid(
                f"--runs: item {place}: must be a run's number or a range of them, as 12-48, not {part[:40]!r}"
            )
        low, high = map(int, ends)
        if high < low or high - low >= RUNS_MOST - len(found):
            raise Invalid(f"--runs: item {place}: must go up, and all be at most {RUNS_MOST:,} runs")
        found += range(low, high + 1)
    return sorted(set(found))


async def _measured(
    settings: Settings, names: list[str], runs: list[int] | None, since: int | None, seed: int
) -> dict[str, Any]:
    from app.analysis.measuring import measure  # numpy takes its time, and --help needs none

    async with opened(settings) as database:
        return asdict(await measure(database, names, runs=runs, since=since, seed=seed))


async def _series(settings: Settings, names: list[str], since: int | None, seed: int) -> list[dict[str, Any]]:
    from app.analysis.measuring import series

    async with opened(settings) as database:
        return await series(database, names, since=since, seed=seed)


def _row(one: Metric, found: dict[str, Any]) -> tuple[object, ...]:
    value, why = found["values"][one.name], found["why"].get(one.name, "")
    return one.name, one.family, one.unit, value, one.version, why, found["alarms"].get(one.name, "")


def _show(wanted: list[Metric], found: dict[str, Any]) -> None:
    rows: list[tuple[object, ...]] = []
    for family in FAMILIES:
        of = [one for one in wanted if one.family == family]
        rows += [(family.upper(), None, None)] if of else []
        for one in of:
            name, _, unit, value, _, why, alarm = _row(one, found)
            rows.append((f"  {name}", "—" if value is None else f"{_told(value)} {unit}", why or alarm))
    held = ", ".join(f"{number:,} {what}" for what, number in found["counts"].items())
    table(held, "metric", "value", "", rows=rows, empty="")
    limits: dict[str, list[str]] = {}
    for one in wanted:
        if one.limits and found["values"][one.name] is not None:
            limits.setdefault(one.limits, []).append(one.name)
    for text, names in limits.items():
        err.print(f"{', '.join(names)}: {text}", markup=False, highlight=False)


def _told(value: object) -> str:
    if not isinstance(value, float):
        return "" if value is None else str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _show_series(rows: list[dict[str, Any]], *, json: bool, csv: bool) -> None:
    if json:
        show_json(rows)
        return
    columns = list(rows[0]) if rows else []
    if csv:
        _write_csv(columns, [tuple(row.values()) for row in rows])
        return
    cells: list[tuple[object, ...]] = [(row["run"], row["at"], *map(_told, list(row.values())[2:])) for row in rows]
    table("", *columns, rows=cells, empty="No cycle of the feed was played yet: `simfeed run` plays one.")


def _list(wanted: list[Metric], *, json: bool, csv: bool) -> None:
    if json:
        show_json([asdict(one) for one in wanted])
        return
    if csv:
        _write_csv(list(asdict(wanted[0])), [tuple(asdict(one).values()) for one in wanted])
        return
    for family in FAMILIES:
        of = [one for one in wanted if one.family == family]
        if of:
            out.print(f"[bold]{family}[/bold]")
        for one in of:
            out.print(f"  {one.name} ({one.unit}, version {one.version}): {one.formula}", markup=False, highlight=False)
            out.print(f"    {one.source}", markup=False, highlight=False)
            out.print(f"    needs {one.needs}", markup=False, highlight=False)
            if one.limits:
                out.print(f"    limits: {one.limits}", markup=False, highlight=False)


def _write_csv(columns: list[str], rows: list[tuple[object, ...]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    typer.echo(text.getvalue(), nl=False)
