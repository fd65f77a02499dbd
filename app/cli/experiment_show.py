"""How experiments stand: a bar while they run, runs by variant and state, what they will take and have taken."""

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from app.cli.common import err, table
from app.db.engine import TROUBLE, Database
from app.experiments.design import Experiment, FeedSetting
from app.experiments.planning import Estimate
from app.experiments.runner import design_of
from app.experiments.standing import standing as stands
from app.experiments.standing import told
from app.world.experiments import EXPERIMENTS, found

LOOK_SECONDS = 0.5
OVER = ("stopped", "paused", "budget_exhausted", "partial", "failed", "completed")
STATES = ("queued", "running", "completed", "partial", "failed", "budget_exhausted")


def money(usd: float | None) -> str:
    """US dollars in words."""
    return "no price known" if usd is None else f"${usd:.4f}"


def estimated(design: Experiment, told: Estimate) -> None:
    """What a design will take, on stderr."""
    rows: list[tuple[object, ...]] = [
        (cell.variant, cell.runs, f"{cell.calls:,.0f}", f"{cell.tokens:,}", money(cell.usd)) for cell in told.cells
    ]
    title = f"{design.name or 'experiment'}: {told.runs} runs of {design.venue}, paired by seed"
    table(title, "variant", "runs", "calls, about", "tokens", "cost", rows=rows, empty="", console=err)
    minutes = f"{told.seconds / 60:,.0f} minutes" if told.seconds > 90 else f"{told.seconds:,.0f} s"
    err.print(
        f"In all about {told.calls:,.0f} calls, {told.tokens:,} tokens, {money(told.usd)}, {minutes} "
        f"with {design.parallel} at once.",
        markup=False,
        highlight=False,
    )


async def following(database: Database, key: str, driving: "asyncio.Task[str] | None") -> None:
    """A bar of what is done, until it is over or no longer driven; none where stderr is no terminal."""
    row = await found(database, key)
    design = design_of(row)
    cycles = {v: _cycles(design, v) for v in design.variants}
    total = sum(cycles[run.variant] for run in design.plan())
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task(design.name[:30] or key, total=total, note="")
        while driving is None or not driving.done():
            with suppress(*TROUBLE):
                sums = await database.fetchrow(EXPERIMENTS["progress"], row["id"])
                assert sums is not None  # noqa: S101 - an aggregate always gives a row
                note = f"{sums['done']}/{sums['trials']} runs, {sums['tokens']:,} tokens, {money(sums['usd'])}"
                bar.update(
                    task, completed=sums["cycles"], note=note + (f", {sums['failed']} failed" if sums["failed"] else "")
                )
                if driving is None and (await found(database, key))["state"] in OVER:
                    return
            if driving is not None:
                await asyncio.wait({driving}, timeout=LOOK_SECONDS)
            else:
                await asyncio.sleep(LOOK_SECONDS)


def _cycles(design: Experiment, variant: str) -> int:
    setting = design.setting_of(variant)
    return setting.cycles if isinstance(setting, FeedSetting) else 1


async def standing(database: Database, key: str) -> dict[str, Any]:
    """An experiment as it stands, as the API tells it, and by variant how many runs are in which state."""
    one = await stands(database, key)
    cells = {variant: dict(Counter(run.state for run in runs)) for variant, runs in one.cells.items()}
    return {**told(one), "cells": cells}


def show(found: dict[str, Any]) -> None:
    """The same for people: a row a variant, and each run that did not come to what it should."""
    cells: list[tuple[object, ...]] = [
        (variant, *(states.get(state) for state in STATES)) for variant, states in found["cells"].items()
    ]
    reason = f" ({found['reason']})" if found["reason"] else ""
    title = f"{found['name'] or found['key']}: {found['state']}{reason}"
    table(title, "variant", *(state.replace("_", " ") for state in STATES), rows=cells, empty="")
    wrong: list[tuple[object, ...]] = [
        (one["number"], one["variant"], one["replicate"] + 1, one["state"], one["reason"] or one["excluded"])
        for one in found["trials"]
        if one["state"] in ("failed", "partial", "budget_exhausted") or one["excluded"]
    ]
    if wrong:
        table(
            "Runs that are not as they should be", "run", "variant", "replicate", "state", "why", rows=wrong, empty=""
        )
    err.print(
        f"{found['progress']['tokens']:,} tokens, {money(found['progress']['usd'])}", markup=False, highlight=False
    )
    key = found["key"]
    hints = {
        "completed": f"`simfeed experiment compare {key}` compares the variants.",
        "partial": f"`simfeed experiment compare {key}` compares what there is; `resume --failed` plays those again.",
        "budget_exhausted": f"`simfeed experiment resume {key} --budget-usd N` goes on.",
        "queued": f"`simfeed experiment run {key}` runs it.",
    }
    if (hint := hints.get(found["state"], f"`simfeed experiment resume {key}` goes on.")) and found[
        "state"
    ] != "running":
        err.print(hint, markup=False)
