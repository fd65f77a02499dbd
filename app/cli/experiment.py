"""`simfeed experiment`: arms compared, planned and run."""

import asyncio
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import typer

from app.agent.turn import Mind
from app.auth.admins import record
from app.cli import experiment_results
from app.cli.common import EXIT_FAILED, Home, Json, confirm, err, go, show_json, table
from app.cli.experiment_home import Key, opened_there
from app.cli.experiment_show import estimated, following, show, standing
from app.cli.session_show import wide
from app.db.engine import TROUBLE, Database
from app.errors import Invalid, NotFound
from app.experiments import planning
from app.experiments.design import Experiment, checked, read
from app.experiments.examples import EXAMPLES
from app.experiments.keeping import drop as drop_experiment
from app.experiments.planning import Estimate
from app.experiments.runner import Runner, begin
from app.experiments.runner import stop as stop_experiment
from app.experiments.said import said_in
from app.settings import Settings
from app.venues.run import open_mind
from app.venues.session.files import FILE_MOST, value_of_any
from app.world.experiments import EXPERIMENTS, change, found
from app.world.text import INT64_MAX

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="\b\nExamples:\n  simfeed experiment example > rankers.toml\n  simfeed experiment plan rankers.toml\n"
    "  simfeed experiment run rankers.toml\n  simfeed experiment status KEY\n  simfeed experiment compare KEY\n"
    "  simfeed experiment export KEY -o rankers.zip\n\n"
    "Arms compared: runs of the same start that differ by their treatment (docs/experiments.md).",
)
What = Annotated[
    str, typer.Argument(metavar="FILE|KEY", help="A file with a design (TOML, YAML, JSON; - is stdin), or a key.")
]
Parallel = Annotated[int | None, typer.Option(min=1, max=64, help="Runs at once; else as the design says.")]
BudgetUsd = Annotated[float | None, typer.Option(min=0.0001, help="Most US dollars of all runs together.")]
ENDED_SHORT = ("failed", "stopped", "paused", "budget_exhausted")
"""Not all that was asked for is there, so a script must not go on as if it were."""

BudgetTokens = Annotated[int | None, typer.Option(min=1, max=INT64_MAX, help="Most tokens of all runs together.")]


app.command()(experiment_results.compare)
app.command()(experiment_results.power)
app.command()(experiment_results.freeze)
app.command()(experiment_results.amend)
app.command()(experiment_results.exclude)
app.command()(experiment_results.attach)
app.command()(experiment_results.report)
app.command()(experiment_results.export)


@app.command()
def example(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help=f"Which: {', '.join(EXAMPLES)}.")] = "rankers",
) -> None:
    """\b
    Examples:
      simfeed experiment example > rankers.toml
      simfeed experiment example cups > cups.toml

    A design that runs as it is, as TOML.
    """
    if name not in EXAMPLES:
        raise Invalid(f"there is no example {name[:40]!r}; there are {', '.join(EXAMPLES)}")
    typer.echo(EXAMPLES[name], nl=False)


@app.command()
def plan(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A design: TOML, YAML or JSON; - is stdin.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and estimate; nothing is kept.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed experiment plan rankers.toml
      simfeed experiment plan rankers.toml --dry-run --json

    Check a design as a whole, tell what it will take, and keep it. Nothing is run yet.
    """
    design = _design(file)

    async def work() -> tuple[Estimate, str | None]:
        async with opened_there(home) as (settings, database):
            told = await planning.check(database, settings, design)
            return told, None if dry_run else await _kept(database, design, told)

    told, key = go(work())
    if json:
        show_json({"key": key, "estimate": told.data(), "runs": [vars(run) for run in design.plan()]})
        return
    estimated(design, told)
    if key is not None:
        typer.echo(key)
        err.print(
            f"`simfeed experiment freeze {key}` promises it, `simfeed experiment run {key}` runs it.", markup=False
        )


def _design(file: Path) -> Experiment:
    if str(file) != "-":
        return read(file)
    data = sys.stdin.buffer.read(FILE_MOST + 1)
    if len(data) > FILE_MOST:
        raise Invalid(f"standard input: is larger than {FILE_MOST:,} bytes")
    return checked(value_of_any(data, "standard input"), "standard input")


async def _kept(database: Database, design: Experiment, told: Estimate) -> str:
    async with database.connection() as connection, connection.transaction():
        key = await planning.plan(connection, design, told)
        await record(connection, None, "experiment.planned", key)
        return key


@app.command()
def run(
    what: What,
    parallel: Parallel = None,
    yes: Annotated[bool, typer.Option("--yes", help="Spend money without asking.")] = False,
    leave: Annotated[bool, typer.Option("--leave", help="Leave it to the server.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed experiment run rankers.toml
      simfeed experiment run kx7m2pqrs4td --parallel 4
      simfeed experiment run kx7m2pqrs4td --leave

    Run an experiment to its end, with a bar. Killed or stopped, it goes on with `resume`; a second process helps.
    """

    async def work() -> dict[str, Any]:
        async with opened_there(home) as (settings, database):
            key = what
            if not await _is_key(database, what):
                design = _named(what)
                told = await planning.check(database, settings, design)
                estimated(design, told)
                if told.usd:
                    confirm(f"This will spend about ${told.usd:.4f}.", yes=yes)
                key = await _kept(database, design, told)
            await begin(database, key)
            return await _driven(settings, database, key, parallel, leave=leave)

    _told(go(work()), json=json)


def _named(what: str) -> Experiment:
    try:
        return _design(Path(what))
    except NotFound:
        raise NotFound(f"{what[:60]!r} is neither an experiment's key (`simfeed experiment list`) nor a file") from None


async def _is_key(database: Database, what: str) -> bool:
    return await database.fetchrow(EXPERIMENTS["experiment"], what) is not None


async def _driven(
    settings: Settings, database: Database, key: str, parallel: int | None, *, leave: bool
) -> dict[str, Any]:
    err.print(f"Experiment {key}.", markup=False, highlight=False)
    if not leave:
        try:
            async with open_mind(settings, database, works=True) as mind:
                await _drive(mind, settings, key, parallel)
        except (asyncio.CancelledError, SystemExit):
            await _leave(database, key)
            raise
    return await standing(database, key)


async def _leave(database: Database, key: str) -> None:
    """Whoever ends the command that runs it wants no more of it, unless another process runs it too."""
    with suppress(*TROUBLE):
        if await database.fetchval(EXPERIMENTS["left"], key, "stopped by hand") is None:
            err.print(f"Another process goes on with it; `simfeed experiment stop {key}` stops it.", markup=False)
            return
    err.print(f"Stopped; `simfeed experiment resume {key}` goes on.", markup=False)


async def _drive(mind: Mind, settings: Settings, key: str, parallel: int | None) -> None:
    runner = Runner(mind, settings, key, parallel)
    driving = asyncio.create_task(runner.run())
    try:
        await following(mind.database, key, driving)
    finally:
        if not driving.done():
            driving.cancel()
            await asyncio.gather(driving, return_exceptions=True)
    driving.result()


def _told(found: dict[str, Any], *, json: bool) -> None:
    if json:
        show_json(found)
    else:
        show(found)
    if found["state"] in ENDED_SHORT:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def status(
    key: Key,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it with a bar until it ends.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed experiment status kx7m2pqrs4td
      simfeed experiment status kx7m2pqrs4td --watch

    How far it is, by variant; what failed and why; what it has cost.
    """

    async def work() -> dict[str, Any]:
        async with opened_there(home) as (_, database):
            await found(database, key)
            if watch:
                await following(database, key, None)
            return await standing(database, key)

    told = go(work())
    if json:
        show_json(told)
    else:
        show(told)


@app.command()
def transcript(
    key: Key,
    run: Annotated[int, typer.Argument(min=1, help="The run's number; `status` lists them.")],
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed experiment transcript kx7m2pqrs4td 3
      simfeed experiment transcript kx7m2pqrs4td 3 --json > run-3.json

    What was said in a run of a chatroom or a session, line by line.
    """

    async def work() -> list[dict[str, Any]]:
        async with opened_there(home) as (_, database):
            return await said_in(database, key, run)

    lines = go(work())
    if json:
        show_json(lines)
        return
    cells: list[tuple[object, ...]] = [
        (
            line["number"],
            "" if line["seconds"] is None else clock(line["seconds"]),
            line["speaker"],
            line["text"] or f"({line['missing']})",
        )
        for line in lines
    ]
    table("", "", "at", "who", "text", rows=cells, empty="Nothing was said.", console=wide())


def clock(seconds: float) -> str:
    """Minutes and seconds: 3:05."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20, home: Home = None, json: Json = False
) -> None:
    """\b
    Examples:
      simfeed experiment list
      simfeed experiment list --json

    The newest experiments.
    """

    async def work() -> list[asyncpg.Record]:
        async with opened_there(home) as (_, database):
            return await database.fetch(EXPERIMENTS["listed"], INT64_MAX, limit)

    rows = go(work())
    if json:
        show_json([dict(row) for row in rows])
        return
    cells: list[tuple[object, ...]] = [
        (
            r["key"],
            r["name"],
            r["venue"],
            r["state"],
            f"{r['done']}/{r['trials']}",
            r["failed"],
            f"${r['usd']:.4f}",
            r["created_at"],
        )
        for r in rows
    ]
    empty = "No experiments yet: `simfeed experiment example` shows one."
    table(
        "",
        "key",
        "name",
        "venue",
        "state",
        "done",
        "failed",
        "cost",
        "planned",
        rows=cells,
        empty=empty,
        console=wide(),
    )


@app.command()
def stop(key: Key, home: Home = None) -> None:
    """\b
    Examples:
      simfeed experiment stop kx7m2pqrs4td

    Begin no further cycle; what is done stays, and `resume` goes on.
    """

    async def work() -> None:
        async with opened_there(home) as (_, database):
            await stop_experiment(database, key)
            row = await found(database, key)
            await change(database, row["id"], "stopped by hand")

    go(work())
    err.print(f"The experiment {key} is stopped; `simfeed experiment resume {key}` goes on.", markup=False)


@app.command()
def resume(
    key: Key,
    failed: Annotated[bool, typer.Option("--failed", help="Play runs that failed once more, too.")] = False,
    budget_usd: BudgetUsd = None,
    budget_tokens: BudgetTokens = None,
    parallel: Parallel = None,
    leave: Annotated[bool, typer.Option("--leave", help="Leave it to the server.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed experiment resume kx7m2pqrs4td
      simfeed experiment resume kx7m2pqrs4td --budget-usd 20
      simfeed experiment resume kx7m2pqrs4td --failed

    Go on with an experiment that was killed or stopped, or whose budget was spent. No paid call is made twice.
    """

    async def work() -> dict[str, Any]:
        async with opened_there(home) as (settings, database):
            await planning.raise_budget(database, key, tokens=budget_tokens, usd=budget_usd, parallel=parallel)
            await begin(database, key, failed=failed)
            return await _driven(settings, database, key, parallel, leave=leave)

    _told(go(work()), json=json)


@app.command()
def drop(
    key: Key,
    worlds_only: Annotated[bool, typer.Option("--worlds", help="Drop its worlds; what they came to stays.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    home: Home = None,
) -> None:
    """\b
    Examples:
      simfeed experiment drop kx7m2pqrs4td --worlds
      simfeed experiment drop kx7m2pqrs4td --yes

    Delete an experiment with its worlds, for ever; or its worlds alone, to save space.
    """

    async def work() -> int:
        async with opened_there(home) as (_, database):
            await found(database, key)
            what = f"the worlds of the experiment {key}" if worlds_only else f"the experiment {key} and its worlds"
            confirm(f"This deletes {what}, for ever.", yes=yes)
            return await drop_experiment(database, key, worlds_only=worlds_only)

    dropped = go(work())
    err.print(f"Dropped {dropped} worlds" + ("." if worlds_only else f", and the experiment {key}."), markup=False)
