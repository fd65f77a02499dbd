"""What a package of data is made of: a world, or an experiment with the worlds of its runs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from app.analysis.dataset.options import Extra, Source
from app.analysis.report.experiment import experiment_report
from app.analysis.tables import Column, Table, to_csv
from app.db import worlds as databases
from app.db.engine import Database
from app.errors import Conflict
from app.experiments import results as comparing
from app.experiments.said import COLUMNS, all_said
from app.experiments.standing import standing

TEXTS = ("variant", "state", "excluded", "world", "session")
"""Columns of runs that hold texts; others hold numbers."""


async def of_world(home: Database, name: str) -> list[Source]:
    """A world alone.

    Raises:
        NotFound: there is none of this name.
    """
    return [Source(name, await databases.locate(home.url, name))]


async def of_experiment(home: Database, key: str) -> tuple[list[Source], dict[str, Extra]]:
    """The worlds in which its runs lie, each in a folder of its own, and what they came to.

    Raises:
        NotFound: there is none of this key.
        Conflict: it runs, or no world of it is left.
    """
    one = await standing(home, key)
    if one.row["state"] == "running":
        raise Conflict(f"the experiment {key} runs: package it when it is over, or stop it")
    names = [one.row["start_world"], *(trial.world for trial in one.trials)]
    sources = [
        Source(name, await databases.locate(home.url, name), f"worlds/{name}/") for name in dict.fromkeys(names) if name
    ]
    if not sources:
        raise Conflict(f"the experiment {key} has no worlds: it never ran, or they were deleted")
    found = await comparing.results(home, key)
    extras: dict[str, Extra] = {
        "experiment/design.json": _json(one.design),
        "experiment/results.json": _json(found),
        "experiment/assignment.csv": assignment_csv(found),
        "experiment/outcomes.csv": outcomes_csv(found),
        "experiment/report.html": experiment_report(found).encode(),
    }
    if one.row["venue"] == "chatroom":
        extras["experiment/messages.csv"] = messages_csv([line async for line in all_said(home, key)])
    if found.get("freeze"):
        extras["experiment/freeze.json"] = _json(found["freeze"])
    return sources, extras


def assignment_csv(found: Mapping[str, Any]) -> bytes:
    """Which run had which treatment and seed: a row a run."""
    return _csv(("number", "variant", "replicate", "seed", "world", "session"), found["trials"], ())


def outcomes_csv(found: Mapping[str, Any]) -> bytes:
    """What each run came to: a row a run, a column an outcome; what is missing is empty."""
    names = ("number", "variant", "replicate", "seed", "state", "excluded", "calls", "tokens", "usd", "seconds")
    return _csv(names, found["trials"], [one["name"] for one in found["outcomes"]])


def messages_csv(lines: Sequence[Mapping[str, Any]]) -> bytes:
    """What was said in the rooms, whose world's other files have no rooms: a row a message."""
    names = ("run", "variant", "replicate", *COLUMNS)
    columns = [
        Column(name, "text" if name in ("variant", "speaker", "text", "missing") else "number") for name in names
    ]
    return to_csv(Table(tuple(columns), tuple(tuple(line[name] for name in names) for line in lines)))


def _csv(names: Sequence[str], runs: Sequence[Mapping[str, Any]], outcomes: Sequence[str]) -> bytes:
    rows = ((*(run[name] for name in names), *(run["outcomes"].get(one) for one in outcomes)) for run in runs)
    columns = [Column(name, "text" if name in TEXTS else "number") for name in (*names, *outcomes)]
    return to_csv(Table(tuple(columns), tuple(rows)))


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1, default=str).encode()
