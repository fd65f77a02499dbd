"""Plays a cycle with a progress bar on stderr, and sums it up."""

import asyncio
from dataclasses import asdict
from typing import Any

import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.agent.turn import Mind
from app.cli.common import err
from app.ledger import figures
from app.settings import Settings
from app.venues.estimate import compared
from app.venues.feed import play_cycle
from app.venues.run import TURNS

LOOK_SECONDS = 0.3


async def play(mind: Mind, settings: Settings, run_id: int, *, title: str) -> str | None:
    """Play a cycle beside any workers and return its state; silent where stderr is no terminal."""
    run = await mind.database.fetchrow(TURNS["run"], run_id)
    total = run["turns_total"] if run is not None else 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task(title, total=total, note="")
        playing = asyncio.create_task(play_cycle(mind, settings, run_id))
        try:
            while not playing.done():
                await asyncio.wait({playing}, timeout=LOOK_SECONDS)
                ended = await mind.database.fetch(TURNS["turn_states"], run_id)
                trouble = [row for row in ended if row["state"] in ("failed", "deferred")]
                note = ", ".join(f"{row['turns']} {row['state']} ({row['reason']})" for row in trouble[:2])
                done = sum(row["turns"] for row in ended if row["state"] not in ("queued", "running"))
                bar.update(task, completed=done, note=note)
        except asyncio.CancelledError:
            err.print("Finishing the steps under way; Ctrl-C again to stop at once.", markup=False)
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
            raise
        return playing.result()


async def summary(mind: Mind, run_id: int) -> dict[str, Any]:
    """A run in figures: turns by state, actions by kind and outcome, tokens, cost in US dollars."""
    database = mind.database
    run = await database.fetchrow(TURNS["run"], run_id)
    turns = await database.fetch(TURNS["turn_states"], run_id)
    detail = await figures.detail(database, run_id)
    assert run is not None  # noqa: S101 - the caller has just played it
    counts = [(name, outcome, times) for name, done in detail.done.items() for outcome, times in done.items()]
    counts.sort(key=lambda one: (-one[2], *one))
    usage = asdict(detail.usage)
    return {
        "run": run_id,
        "state": run["state"],
        "reason": run["reason"],
        "lost_calls": run["lost_calls"],
        "turns": {"total": run["turns_total"], "ended": [dict(row) for row in turns]},
        "actions": [{"name": name, "outcome": outcome, "times": times} for name, outcome, times in counts],
        "refused": sum(times for _, outcome, times in counts if outcome == "refused"),
        "marked": dict(sorted(detail.marks.items(), key=lambda one: (-one[1], one[0]))),
        **usage,
        "estimate_off": compared(msgspec.json.decode(run["estimate"]), usage) if run["estimate"] else None,
        "troubles": [dict(row) for row in detail.troubles],
    }
