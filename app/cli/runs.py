"""`simfeed run` and `runs`: a cycle now, and what became of earlier ones."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer

from app.cli.common import EXIT_FAILED, Home, Json, err, go, opened, settings_for, show_json, table
from app.cli.intervene import of_file, plan_in
from app.cli.monitors import look_again, show_run
from app.cli.progress import play, show_summary, summary
from app.cli.why import of_run
from app.db.engine import Database
from app.errors import Conflict, Invalid
from app.llm.gateway import ready
from app.settings import Settings
from app.streams import number
from app.venues.estimate import keep_estimate
from app.venues.feed import open_cycle
from app.venues.run import TURNS, open_mind, resume_run, stop_run
from app.world.clock import aware, set_clock, span, stands_at
from app.world.plans import Plan
from app.world.text import INT64_MAX


class Clock(StrEnum):
    """How time passes in the world."""

    REAL = "real"
    SIMULATED = "simulated"


RunNumber = Annotated[int, typer.Argument(min=1, max=INT64_MAX, help="A run's number.")]
BudgetUsd = Annotated[float | None, typer.Option(min=0.0001, help="Most US dollars that this run may spend.")]
BudgetTokens = Annotated[int | None, typer.Option(min=1, max=INT64_MAX, help="Most tokens that this run may use.")]


def run(
    model: Annotated[str | None, typer.Option(help="Model of personas that name none.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**62, help="Order, waking and the offline model.")] = None,
    cycles: Annotated[int, typer.Option(min=1, max=100_000, help="So many cycles, one after the other.")] = 1,
    every: Annotated[str, typer.Option(help="Time in the world between two cycles: 90s, 30m, 2h, 1d.")] = "30m",
    clock: Annotated[
        Clock | None, typer.Option(help="The world's clock. Simulated, it goes on by --every with each cycle.")
    ] = None,
    start: Annotated[
        datetime | None, typer.Option(help="When the first cycle begins in the world (simulated clock, UTC).")
    ] = None,
    rounds: Annotated[
        bool | None,
        typer.Option("--rounds/--live", help="All read the same state, then all act: the seed decides what happens."),
    ] = None,
    ranker: Annotated[
        str | None, typer.Option(help="What ranks the feeds, e.g. hot, interest, mixed:interest=0.8,random=0.2.")
    ] = None,
    who_to_follow: Annotated[
        str | None,
        typer.Option(help="How people are suggested: common_neighbours, adamic_adar, preferential, interest."),
    ] = None,
    plans: Annotated[
        Path | None,
        typer.Option("--interventions", metavar="FILE", help="Changes on the way; cycle 1 is the first of these."),
    ] = None,
    budget_usd: BudgetUsd = None,
    budget_tokens: BudgetTokens = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed run
      simfeed run --seed 7 --json
      simfeed run --cycles 48 --every 30m --clock simulated
      simfeed run --cycles 10 --interventions treatment.toml
      simfeed run --ranker interest --who-to-follow adamic_adar
      OPENAI_API_KEY=… simfeed run --model gpt-4o-mini --budget-usd 0.50

    Play one cycle now: every persona that wakes has one turn. Or so many, with a clock that is as fast as the model.
    """
    settings = settings_for(home, simfeed_model=model)
    ready(settings, settings.simfeed_model)
    try:
        step = span(every)
    except ValueError as error:
        raise Invalid(f"--every {error}, not {every}") from None
    simulated = settings.world_clock == "simulated" if clock is None else clock is Clock.SIMULATED
    if start is not None and not simulated:
        raise Invalid("--start is for --clock simulated")
    begin = None if start is None else aware(start)
    shown = {"ranker": ranker, "who_to_follow": who_to_follow}
    entries = of_file(plans, cycles) if plans is not None else []
    terms = _terms(budget_usd, budget_tokens, shown)
    plan = Cycles(cycles, step, simulated, begin, rounds, seed, terms, entries, plans.name if plans is not None else "")
    found = go(_run(settings, plan))
    if cycles > 1:
        _finish_many(found, json=json)
    else:
        _finish(found[0], json=json)


@dataclass(frozen=True)
class Cycles:
    """What is to be played; the seeds of further cycles follow from the first's."""

    number: int
    every: timedelta
    simulated: bool
    start: datetime | None
    rounds: bool | None
    seed: int | None
    terms: dict[str, Any]
    plans: list[Plan] = field(default_factory=list)
    file: str = ""


def _terms(
    budget_usd: float | None, budget_tokens: int | None, shown: Mapping[str, str | None] = MappingProxyType({})
) -> dict[str, Any]:
    """What a run has instead of the settings' caps, and of what they say personas are `shown`."""
    given = {"budget_usd": budget_usd, "budget_tokens": budget_tokens, **shown}
    return {name: value for name, value in given.items() if value is not None}


def _finish(result: dict[str, Any], *, json: bool) -> None:
    if json:
        show_json(result)
    else:
        show_summary(result)
    if result["state"] == "failed":
        raise typer.Exit(EXIT_FAILED)


async def _run(settings: Settings, plan: Cycles) -> list[dict[str, Any]]:
    async with opened(settings) as database, open_mind(settings, database, works=True) as mind:
        at = await _begins(database, plan)
        if plan.plans:
            await plan_in(database, plan.plans, plan.file, relative=True, now=at)
        found = []
        for n in range(plan.number):
            began = time.monotonic()
            seed = plan.seed if plan.seed is None or n == 0 else number(plan.seed, "cycle", n, bits=62)
            run_id = await open_cycle(
                mind, settings, seed=seed, terms=plan.terms, rounds=plan.rounds, at=at, lasts=plan.every
            )
            assert run_id is not None  # noqa: S101 - a slot of its own is never taken
            if n == 0:
                await keep_estimate(database, settings, run_id, settings.simfeed_model)
            if at is not None:
                at += plan.every
            when = f", {at:%a %H:%M}" if at is not None else ""
            which = f", cycle {n + 1} of {plan.number}" if plan.number > 1 else ""
            await play(mind, settings, run_id, title=f"Run {run_id}{which}{when}")
            found.append(await summary(mind.database, run_id))
            if found[-1]["state"] not in ("completed", "partial"):
                break
            if at is None and n + 1 < plan.number:
                await asyncio.sleep(max(0.0, plan.every.total_seconds() - (time.monotonic() - began)))
        return found


async def _begins(database: Database, plan: Cycles) -> datetime | None:
    """When the first cycle begins in the world; None where its clock is real.

    Raises:
        Conflict: the world is later than that already.
    """
    stands = await stands_at(database)
    if not plan.simulated:
        if stands is not None and stands > datetime.now(UTC):
            raise Conflict(
                f"this world's clock is simulated and stands at {stands:%Y-%m-%d %H:%M}: go on with --clock simulated"
            )
        if stands is not None:
            await set_clock(database, None)
        return None
    if plan.start is not None and stands is not None and plan.start < stands:
        raise Conflict(f"--start: the world is later already, its clock stands at {stands:%Y-%m-%d %H:%M}")
    return plan.start or stands or datetime.now(UTC).replace(second=0, microsecond=0)


def _finish_many(found: list[dict[str, Any]], *, json: bool) -> None:
    """Cycles in figures, a line each."""
    if json:
        show_json(found)
    else:
        rows: list[tuple[object, ...]] = [
            (
                one["run"],
                one["state"],
                one["turns"]["total"],
                one["calls"],
                sum(done["times"] for done in one["actions"] if done["outcome"] == "made"),
                one["refused"],
                f"{one['prompt_tokens'] + one['completion_tokens']:,}",
                f"${one['cost_usd']:.4f}",
            )
            for one in found
        ]
        table("", "run", "state", "turns", "calls", "made", "refused", "tokens", "cost", rows=rows, empty="")
        err.print(f"simfeed trace {found[-1]['run']} shows who did what in the last.", markup=False)
    if found[-1]["state"] == "failed":
        raise typer.Exit(EXIT_FAILED)


app = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode=None,
    help="\b\nExamples:\n  simfeed runs\n  simfeed runs --limit 100 --json\n  simfeed runs show 7\n"
    "  simfeed runs stop 7\n  simfeed runs resume 7 --budget-usd 2\n\n"
    "The newest runs; and how to stop one, and go on with it.",
)


app.command("show")(show_run)
app.command("realism")(look_again)
app.command("exposures")(of_run)


@app.command("stop")
def stop(number: RunNumber, home: Home = None) -> None:
    """\b
    Examples:
      simfeed runs stop 7

    No further step of a run is begun, by any process; what is done stays. `resume` goes on.
    """

    async def work() -> None:
        async with opened(settings_for(home)) as database:
            await stop_run(database, number)

    go(work())
    err.print(f"Run {number} is stopped. `simfeed runs resume {number}` goes on with it.", markup=False)


@app.command("resume")
def resume(
    number: RunNumber,
    budget_usd: BudgetUsd = None,
    budget_tokens: BudgetTokens = None,
    leave: Annotated[bool, typer.Option("--leave", help="Leave it to the server and the workers.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed runs resume 7                       a run that was stopped, or whose provider was away
      simfeed runs resume 7 --budget-usd 2        one that had used up its budget
      simfeed runs resume 7 --leave               played by the server or a worker, not here

    Go on with a run from its last step. Turns that a provider let down are played on.
    """
    settings = settings_for(home)
    result = go(_resume(settings, number, _terms(budget_usd, budget_tokens), leave=leave))
    if leave:
        err.print(f"Run {number} goes on as soon as a server or worker has time.", markup=False)
    else:
        _finish(result, json=json)


async def _resume(settings: Settings, run_id: int, terms: dict[str, Any], *, leave: bool) -> dict[str, Any]:
    async with opened(settings) as database, open_mind(settings, database, works=not leave) as mind:
        for provider in mind.pulse.blocked():
            mind.pulse.unblock(provider)
        await mind.pulse.beat()
        await resume_run(database, run_id, terms=terms)
        if not leave:
            await play(mind, settings, run_id, title=f"Run {run_id}")
        return await summary(mind.database, run_id)


@app.callback()
def runs(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    home: Home = None,
    json: Json = False,
) -> None:
    """List the newest runs."""
    if context.invoked_subcommand is not None:
        return

    async def read() -> list[dict[str, Any]]:
        async with opened(settings_for(home)) as database:
            return [dict(row) for row in await database.fetch(TURNS["runs"], INT64_MAX, limit)]

    rows = go(read())
    if json:
        show_json(rows)
        return
    cells: list[tuple[object, ...]] = [
        (r["id"], r["venue"], r["state"], r["reason"], r["turns_total"], r["started_at"], r["ended_at"], r["slot"])
        for r in rows
    ]
    table(
        "",
        "run",
        "venue",
        "state",
        "reason",
        "turns",
        "started",
        "ended",
        "slot",
        rows=cells,
        empty="No runs yet: `simfeed run`.",
    )
