"""Plays a cycle with a progress bar on stderr, and sums it up."""

import asyncio
from dataclasses import asdict
from typing import Any

import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.agent.turn import Mind
from app.cli.common import err, table
from app.cli.intervene import data
from app.db.engine import Database
from app.ledger import figures
from app.llm.remedies import REMEDIES
from app.settings import Settings
from app.venues.estimate import compared
from app.venues.feed import play_cycle
from app.venues.run import TURNS
from app.world import interventions

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


async def summary(database: Database, run_id: int) -> dict[str, Any]:
    """A run in figures: turns by state, actions by kind and outcome, tokens, cost in US dollars."""
    run = await database.fetchrow(TURNS["run"], run_id)
    turns = await database.fetch(TURNS["turn_states"], run_id)
    detail = await figures.detail(database, run_id)
    assert run is not None  # noqa: S101 - the caller has seen it
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
        "interventions": data(await interventions.of_run(database, run_id)),
    }


def _off(times: float | None) -> str:
    return "" if times is None else f", {times:.2f} × the estimate"


def show_summary(result: dict[str, Any]) -> None:
    if not result["turns"]["total"]:
        err.print("Nobody woke: there is no active persona. `simfeed personas add` or `import` makes some.")
        return
    turns = [(f"turns {row['state']}", row["turns"], row["reason"]) for row in result["turns"]["ended"]]
    actions = [(row["name"], row["times"], row["outcome"]) for row in result["actions"]]
    dollars = f"${result['cost_usd']:.4f}" + (
        f" and {result['unpriced']} calls of unknown price" * bool(result["unpriced"])
    )
    prompt = f"{result['prompt_tokens']:,} prompt ({result['cached_tokens']:,} cached)"
    tokens = f"{prompt}, {result['completion_tokens']:,} written"
    off = result["estimate_off"] or {}
    lost = f", {result['lost_calls']} lost" * bool(result["lost_calls"])
    totals = [
        ("model calls", result["calls"], f"{result['failed_calls']} failed{lost}{_off(off.get('calls'))}"),
        ("tokens", tokens, _off(off.get("tokens")).lstrip(", ")),
        ("cost", dollars, _off(off.get("usd")).lstrip(", ")),
    ]
    marked = [("texts that are marked", times, mark) for mark, times in result["marked"].items()]
    rows: list[tuple[object, ...]] = [*turns, *actions, *marked, ("refused", result["refused"], ""), *totals]
    reason = f" ({result['reason']})" if result["reason"] else ""
    table(f"Run {result['run']}: {result['state']}{reason}", "what", "how many", "how", rows=rows, empty="")
    for one in result["interventions"]:
        why = f": {one['outcome'].get('reason', '')}" if one["state"] == "failed" else ""
        err.print(f"It began with intervention {one['id']}, {one['summary']}: {one['state']}{why}", markup=False)
    for trouble in result["troubles"]:
        why = REMEDIES.get(trouble["status"], trouble["status"])
        err.print(f"{trouble['times']} × {trouble['model']}: {why} ({trouble['detail']})", markup=False)
    err.print(f"simfeed trace {result['run']} shows who did what.", markup=False)
    if result["state"] in ("stopped", "budget_exhausted", "failed", "partial", "paused"):
        more = " --budget-usd …" if result["state"] == "budget_exhausted" else ""
        err.print(f"simfeed runs resume {result['run']}{more} goes on with it.", markup=False)
