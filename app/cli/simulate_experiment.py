"""`simfeed simulate --mode experiment`: variants × runs of one conversation."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.cli.common import EXIT_FAILED, confirm, err, go, opened, show_json, table
from app.cli.session_show import wide
from app.cli.simulate_files import write_results, write_whole
from app.db.engine import Database
from app.errors import Invalid
from app.experiments import design as experiments
from app.experiments.design import Experiment
from app.experiments.engine import single
from app.experiments.engine.config import Config
from app.experiments.engine.personas import Person
from app.experiments.engine.trials import planned, played, results_of
from app.experiments.engine.variants import METRICS, as_experiment, read_variants
from app.settings import Settings
from app.venues.run import open_mind
from app.venues.session.design import Dialogue
from app.world.experiments import found, trials

NAME = "simulation"
LOOK_SECONDS = 0.5
PRIMARY = ("words_per_line", "lexical_diversity")
EXPLORATORY = ("lines", "missing_share", "completion_tokens", "cost_usd")


def compare(
    settings: Settings,
    options: Config,
    data: Mapping[str, Any],
    people: Sequence[Person],
    variants: Path | None,
    *,
    runs: int,
    forms: Sequence[str],
    estimate: bool,
    yes: bool,
    json: bool,
) -> None:
    """Play an experiment as the engine's users describe it, and tell each run's result and each variant's means."""
    design = designed(options, data, people, variants, runs=runs)
    told = estimated(settings, design)
    usd = "of unknown price" if told["usd"] is None else f"${told['usd']:,.4f}"
    cells = f"{len(design.variants)} variants × {runs} runs"
    err.print(f"{cells}: about {told['calls']:,} calls, {usd}.", markup=False, highlight=False)
    if estimate:
        if json:
            show_json(told)
        return
    if err.is_terminal and told["usd"] != 0:
        confirm("This costs money.", yes=yes)
    run_experiment(settings, options, design, forms, as_json=json)


def designed(
    options: Config, data: Mapping[str, Any], people: Sequence[Person], variants: Path | None, *, runs: int
) -> Experiment:
    """The experiment that the engine's flags and variants mean.

    Raises:
        NotFound, Invalid: tells each fault with its place.
    """
    if variants is None:
        raise Invalid("--variants: is needed: a file of what is compared")
    side_by_side = (options["max_workers"] or 2) if options["parallel_execution"] else 1
    value = as_experiment(
        data,
        read_variants(variants),
        people,
        runs=runs,
        seed=data["terms"]["seed"],
        parallel=min(side_by_side, 64),
        most=options["max_personas"],
        name=NAME,
        outcomes={"primary": list(PRIMARY), "exploratory": list(EXPLORATORY)},
    )
    return experiments.checked(value, variants.name)


def estimated(settings: Settings, design: Experiment) -> dict[str, Any]:
    """Calls, tokens and US dollars of all runs together; `usd` is None where a price is unknown."""
    asked = []
    for variant, runs in design.counts().items():
        setting = design.setting_of(variant)
        assert isinstance(setting, Dialogue)  # noqa: S101 - the venue is dialogue
        asked.append((runs, single.estimated(settings, setting)))
    usd = [None if one["usd"] is None else runs * one["usd"] for runs, one in asked]
    counted = ("calls", "prompt_tokens", "completion_tokens")
    return {
        "runs": sum(runs for runs, _ in asked),
        **{name: sum(runs * one[name] for runs, one in asked) for name in counted},
        "usd": None if None in usd else sum(one for one in usd if one is not None),
        "models": list(dict.fromkeys(model for _, one in asked for model in one["models"])),
    }


def run_experiment(
    settings: Settings, options: Config, design: Experiment, forms: Sequence[str], *, as_json: bool
) -> None:
    """Play an experiment to its end, and tell what came of it.

    Raises:
        Invalid, NotFound, Misconfigured: it can't be run as it is.
    """

    async def work() -> dict[str, Any]:
        async with opened(settings) as database:
            key = await planned(database, settings, design)
            err.print(f"Experiment {key}: {_again(key)} if it is cut off.", markup=False, highlight=False)
            return await _played(database, settings, options, key)

    _tell(go(work()), options, forms, as_json=as_json)


def go_on(settings: Settings, options: Config, key: str, forms: Sequence[str], *, json: bool) -> None:
    """Go on with an experiment that was cut off, or tell what came of one that is at its end.

    Raises:
        NotFound: there is none of this key.
    """

    async def work() -> dict[str, Any]:
        async with opened(settings) as database:
            row = await found(database, key)
            if row["state"] == "completed":
                return await results_of(database, key, options.in_effect())
            return await _played(database, settings, options, key)

    _tell(go(work()), options, forms, as_json=json)


def _again(key: str) -> str:
    return f"`simfeed simulate --mode experiment --resume {key}`"


async def _played(database: Database, settings: Settings, options: Config, key: str) -> dict[str, Any]:
    row = await found(database, key)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task("Runs", total=len(await trials(database, row["id"])))
        async with open_mind(settings, database, works=True) as mind:
            playing = asyncio.create_task(played(mind, settings, key))
            try:
                while not playing.done():
                    await asyncio.wait({playing}, timeout=LOOK_SECONDS)
                    bar.update(
                        task, completed=sum(one.ended_at is not None for one in await trials(database, row["id"]))
                    )
                await playing
            finally:
                playing.cancel()
                await asyncio.gather(playing, return_exceptions=True)
    return await results_of(database, key, options.in_effect())


def _tell(told: Mapping[str, Any], options: Config, forms: Sequence[str], *, as_json: bool) -> None:
    key = told["experiment"]["key"]
    if options["output_dir"] is not None:
        folder = Path(options["output_dir"])
        for variant, runs in told["results"].items():
            for number, run in enumerate(runs, 1):
                charts = bool(options["save_visualizations"] and run.get("analysis"))
                write_results(run, folder, forms, charts=charts, name=f"{variant}_{number}")
        path = write_whole(told, folder, f"experiment_{key}")
        err.print(f"{path} and the files of each run beside it: written", markup=False, highlight=False)
    if as_json:
        show_json(told)
    else:
        rows: list[tuple[object, ...]] = [
            (name, f"{one['succeeded']} of {one['runs']}", *(one["metrics"][metric] for metric in METRICS))
            for name, one in told["variants"].items()
        ]
        columns = ("variant", "succeeded", *(metric.replace("_", " ") for metric in METRICS))
        table("Means of all runs", *columns, rows=rows, empty="", console=wide())
    hint = f"`simfeed experiment compare {key}` has intervals and tests."
    state = told["experiment"]["state"]
    err.print(f"Experiment {key}: {state}. {hint}", markup=False, highlight=False)
    if not told["success"]:
        reason = f" ({told['experiment']['reason']})" if told["experiment"]["reason"] else ""
        err.print(f"It did not wholly succeed: {state}{reason}.", markup=False, highlight=False)
        raise typer.Exit(EXIT_FAILED)
