"""The report of a world and its runs: what it was, what happened, what it comes to, and what that can't tell."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

import asyncpg
import msgspec

from app.analysis import graph, plots
from app.analysis.alarms import BY_NAME
from app.analysis.catalogue import METRICS
from app.analysis.measuring import LEDGER, Measured, measure, series
from app.analysis.report.page import Bullets, Code, Facts, Figure, Grid, Page, Part, Section, Text
from app.analysis.state import state_at
from app.db.engine import Database
from app.db.queries import load
from app.errors import NotFound

REPORT = load("report")
NETWORK = 150
SERIES = ("opinion_mean", "opinion_variance", "attention_gini", "sentiment_mean", "topic_drift_excess")
DRAWN = ("attention_gini", "sentiment_mean", "topic_drift_excess")
LIMITS = (
    "All texts are by machines: a language model, or its offline stand-in, plays every persona. What they say is no "
    "evidence of what people think or do.",
    "One world is one observation: however many posts it has, n = 1. Arms are compared over runs, in an experiment.",
    "Opinions are told from whom personas endorse, not from what they would answer.",
    "Scorers of texts were made for people's English, and count words: irony, quotation and other languages "
    "mislead them.",
)


async def world_page(
    database: Database,
    *,
    title: str,
    world: str = "",
    since: int | None = None,
    runs: Sequence[int] | None = None,
) -> Page:
    """All of a world's report, from one reading of it after the other.

    Args:
        title: What stands above it.
        world: The world's name, for the commands that make the report again; empty for the home world.
        since: Only runs behind this one count.
        runs: Only these runs count.

    Raises:
        NotFound: There is no such run.
        Unavailable: The database can't be reached.
    """
    rows = await database.fetch(REPORT["runs"], since or 0, None if runs is None else list(runs))
    if runs is not None and (missing := set(runs) - {row["id"] for row in rows}):
        raise NotFound(f"no run has the number {min(missing)}: `simfeed runs` lists them")
    ids = [row["id"] for row in rows]
    measured = await measure(database, runs=runs, since=since)
    cycles = [row for row in await series(database, SERIES, since=since) if runs is None or row["run"] in runs]
    lost, models = [await database.fetch(REPORT[name], ids) for name in ("lost", "models")]
    follows, replies = [await graph.read(database, kind, NETWORK) for kind in ("follows", "replies")]
    shared = await database.fetch(REPORT["shared"])
    state = await state_at(database.url)
    again = _again(world, since, runs)

    def made() -> Page:
        sections = [
            Section("What it was", _design(rows)),
            Section("Activity over time", [Figure(plots.activity(cycles)), *_cycles(cycles)]),
            Section("Metrics", _metrics(measured)),
            Section("Networks", [Figure(plots.network(follows)), Figure(plots.network(replies))]),
            Section("Opinions", [Figure(_opinions(cycles))]),
            Section("Over time", _over_time(cycles)),
            Section("Cost and process", _process(rows, lost, models)),
            Section("Alarms", _alarms(measured)),
            Section("What set off most", [_shared(shared)]),
            Section("Limits", [Bullets([*LIMITS, *_metric_limits(measured)])]),
            Section("How to make it again", [*_reproduce(rows, state.sha256), Code(again)]),
        ]
        return Page(title, _lead(rows, measured, cycles), sections)

    return await asyncio.to_thread(made)


def _settings(row: asyncpg.Record) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(row["settings"])
    return found


def _lead(rows: Sequence[asyncpg.Record], measured: Measured, cycles: Sequence[Mapping[str, Any]]) -> list[str]:
    counts = measured.counts
    told = ", ".join(f"{counts[name]:,} {name}" for name in ("posts", "comments", "likes", "follows") if name in counts)
    models = sorted({str(_settings(row).get("model", "")) for row in rows} - {""})
    played = f"{counts.get('personas', 0):,} personas, {len(rows):,} runs, {len(cycles):,} of them cycles of the feed"
    return [f"{played}: {told}.", f"Played by {', '.join(models) or 'no model'}. One world is one observation (n = 1)."]


def _design(rows: Sequence[asyncpg.Record]) -> list[Part]:
    """What all runs shared, and where they differed."""
    if not rows:
        return [Text("No run was played.")]
    settings = [_settings(row) | {"pacing": row["pacing"]} for row in rows]
    names = sorted({name for one in settings for name in one})
    same = {name: settings[0].get(name) for name in names if len({str(one.get(name)) for one in settings}) == 1}
    states = Counter(row["state"] for row in rows)
    facts: list[tuple[str, Any]] = [
        ("Runs", len(rows)),
        ("States", ", ".join(f"{n} {state}" for state, n in states.items())),
        ("Venues", ", ".join(sorted({row["venue"] for row in rows}))),
        ("In the world, from", _moment(rows[0])),
        ("to", _moment(rows[-1])),
        *((name.replace("_", " "), value) for name, value in same.items()),
    ]
    differ = [name for name in names if name not in same]
    columns = ["run", "venue", "state", "seed", "turns", "lost calls", *(name.replace("_", " ") for name in differ)]
    table = [
        (
            row["id"],
            row["venue"],
            row["state"],
            str(row["seed"]),
            row["turns_total"],
            row["lost_calls"],
            *(one.get(name) for name in differ),
        )
        for row, one in zip(rows, settings, strict=True)
    ]
    return [Facts(facts), Grid("Runs, and the settings in which they differ", columns, table)]


def _moment(row: asyncpg.Record) -> str:
    found = row["world_at"] or row["started_at"]
    return f"{found:%Y-%m-%d %H:%M} UTC" if found else ""


def _cycles(cycles: Sequence[Mapping[str, Any]]) -> list[Part]:
    if not cycles:
        return []
    return [Grid("Each cycle", ["run", *LEDGER], [[row["run"], *(row.get(name) for name in LEDGER)] for row in cycles])]


def _metrics(measured: Measured) -> list[Part]:
    families: dict[str, list[Sequence[Any]]] = {}
    for name, value in measured.values.items():
        one = METRICS[name]
        row = (name, value, one.unit, measured.why.get(name) or one.formula)
        families.setdefault(one.family, []).append(row)
    grids = [
        Grid(family.capitalize(), ["metric", "value", "unit", "formula, or why there is none"], rows)
        for family, rows in families.items()
    ]
    return [Text("Formulas, sources and versions are in docs/metrics-of-worlds.md."), *grids]


def _opinions(cycles: Sequence[Mapping[str, Any]]) -> plots.Plot:
    mean: list[float | None] = [row["opinion_mean"] for row in cycles]
    spread = [None if row["opinion_variance"] is None else sqrt(row["opinion_variance"]) for row in cycles]
    ends = [
        (None, None) if m is None or s is None else (max(-1.0, m - s), min(1.0, m + s))
        for m, s in zip(mean, spread, strict=True)
    ]
    drawn = {"mean": mean, "low": [low for low, _ in ends], "high": [high for _, high in ends]}
    return plots.opinion_drift({"personas": drawn}, band="one standard deviation of personas to each side")


def _over_time(cycles: Sequence[Mapping[str, Any]]) -> list[Part]:
    return [
        Figure(plots.over_time(name, {"this world": [[row[name] for row in cycles]]}, METRICS[name].unit))
        for name in DRAWN
    ]


def _process(
    rows: Sequence[asyncpg.Record], lost: Sequence[asyncpg.Record], models: Sequence[asyncpg.Record]
) -> list[Part]:
    taken = [
        {
            "name": one["name"],
            "usd": None if one["usd"] is None else float(one["usd"]),
            "tokens": int(one["tokens"]),
            "calls": one["calls"],
        }
        for one in models
    ]
    failed = [(one["name"], one["calls"], one["failed"]) for one in models]
    troubled = [
        (row["id"], row["state"], row["reason"]) for row in rows if row["state"] not in ("completed", "running")
    ]
    return [
        Figure(plots.cost(taken)),
        Grid("Calls that failed, by model", ["model", "calls", "failed"], failed),
        Grid(
            "Turns that did not end well: they count as missing",
            ["state", "reason", "turns"],
            [(row["state"], row["reason"], row["turns"]) for row in lost],
        ),
        Grid("Runs that are not complete", ["run", "state", "reason"], troubled),
    ]


def _alarms(measured: Measured) -> list[Part]:
    if not measured.alarms:
        return [
            Text("No metric is as bad as a monitor's notice or alarm, by the usual levels (docs/monitors.md).", "good")
        ]
    rows = []
    for name, level in measured.alarms.items():
        monitor = METRICS[name].monitor
        rows.append((level, name, measured.values[name], METRICS[name].unit, BY_NAME[monitor].do if monitor else ""))
    return [
        Text("Read these before anything else in this report is believed.", "warn"),
        Grid("Values beyond a monitor's levels", ["level", "metric", "value", "unit", "what to do"], rows),
    ]


def _shared(shared: Sequence[asyncpg.Record]) -> Grid:
    rows = [(one["id"], f"@{one['username']}", one["body"], one["shares"], one["comments"]) for one in shared]
    columns = ["post", "by", "text, its first 200 characters", "reposts and quotes", "comments"]
    return Grid("Posts that set off most, as the world is at the end", columns, rows)


def _metric_limits(measured: Measured) -> list[str]:
    told: dict[str, list[str]] = {}
    for name, value in measured.values.items():
        if value is not None and (limit := METRICS[name].limits):
            told.setdefault(limit, []).append(name)
    return [f"{', '.join(names)}: {limit}" for limit, names in told.items()]


def _reproduce(rows: Sequence[asyncpg.Record], sha256: str) -> list[Part]:
    prompts = sorted({str(_settings(row).get("prompts_sha256", "")) for row in rows} - {""})
    return [
        Facts(
            [
                ("World, SHA-256 of all its rows (simfeed world hash)", sha256),
                ("Prompts, SHA-256", ", ".join(prompts)),
                (
                    "Metrics, versions",
                    ", ".join(f"{one.name} {one.version}" for one in METRICS.values() if one.version > 1) or "all 1",
                ),
            ]
        ),
        Text(
            "Each run is made again by its seed and settings, which stand above, in a world of the same start: "
            "`simfeed run --seed SEED`; what a language model answers may differ. This report is made again by:"
        ),
    ]


def _again(world: str, since: int | None, runs: Sequence[int] | None) -> str:
    parts = ["simfeed report -o report.html"]
    parts += [f"--world {world}"] if world else []
    parts += [f"--since {since}"] if since is not None else []
    parts += ["--runs " + ",".join(map(str, runs))] if runs is not None else []
    return " ".join(parts)
