"""`simfeed simulate`: the TinyTroupe Simulation Engine's command line."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import typer

from app import logs
from app.cli.common import (
    EXIT_FAILED,
    EXIT_USAGE,
    Home,
    Json,
    confirm,
    err,
    go,
    opened,
    settings_for,
    show_json,
    table,
)
from app.cli.session import of_kind
from app.cli.session_design import BudgetTokens, BudgetUsd, Seed, note
from app.cli.session_play import Screen
from app.cli.session_show import cost
from app.cli.simulate_files import write_results
from app.db.engine import Database
from app.errors import Invalid
from app.experiments.engine.config import OPTIONS, Config, configured
from app.experiments.engine.exports import forms_of
from app.experiments.engine.personas import Person, as_data, chosen, read_people, usable
from app.experiments.engine.result import result_of
from app.experiments.engine.single import design_data, design_of, estimated, play_out
from app.settings import Settings
from app.venues.run import open_mind
from app.venues.session.design import Dialogue
from app.venues.session.opening import begin
from app.world import sessions

FORMS = "json"
ROWS_MOST, LINES_MOST = 200, 500
"""Personas and faults of a file that a terminal is shown."""


class Mode(StrEnum):
    """What is done."""

    SINGLE = "single"
    EXPERIMENT = "experiment"
    VALIDATE = "validate"


def simulate(
    side_by_side: Annotated[
        int | None, typer.Argument(metavar="[N]", min=1, max=64, help="With --parallel: how many at once.")
    ] = None,
    mode: Annotated[Mode, typer.Option(help="What is done.")] = Mode.SINGLE,
    personas_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Personas, as the engine has them (JSON).")
    ] = None,
    personas: Annotated[
        str, typer.Option(metavar="ID,ID", help="Who talks, by ids of the file; or @handles of the world's personas.")
    ] = "",
    seed_text: Annotated[str | None, typer.Option(metavar="TEXT", help="What it begins with.")] = None,
    turns: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Messages; 10 if nothing says otherwise.")
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="M", help="The model that everybody is played by.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Everybody's, 0 to 2.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Most tokens of an answer; 500 if not given.")] = None,
    variants: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What is compared (JSON, TOML or YAML).")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, max=1_000, help="Runs of each variant.")] = 1,
    parallel: Annotated[bool, typer.Option("--parallel", help="Runs side by side; `--parallel 4`: so many.")] = False,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="config.ini, or the same as JSON, TOML or YAML.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any option of the configuration.")
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", "-o", metavar="FOLDER", help="Where results are written.")
    ] = None,
    form: Annotated[str, typer.Option("--format", metavar="F,F", help="Of results: json, csv, md, html, txt.")] = FORMS,
    timeout_seconds: Annotated[float | None, typer.Option(metavar="S", help="Cut off after so many seconds.")] = None,
    fallback_model: Annotated[
        str | None, typer.Option(metavar="M", help="Asked where a persona's own model gives nothing.")
    ] = None,
    graceful: Annotated[
        bool | None,
        typer.Option("--graceful-degradation/--strict", help="Skip turns that give nothing, or end with the first."),
    ] = None,
    seed: Seed = None,
    budget_tokens: BudgetTokens = None,
    budget_usd: BudgetUsd = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="Tell what it would take, and ask nobody.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before money is spent.")] = False,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Each option: its value, whence, what it becomes.")
    ] = False,
    resume: Annotated[str | None, typer.Option(metavar="KEY", help="Go on with a conversation; or its result.")] = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed simulate --mode validate --personas-file people.json
      simfeed simulate --seed-text "A four-day week?" --turns 10 --personas-file people.json -o results --format html
      simfeed simulate --mode experiment --seed-text "A four-day week?" --personas-file people.json \\
        --variants variants.yaml --runs 10 --parallel 4
      simfeed simulate --show-config --config config.ini

    One conversation, an experiment, or a look over a file of personas. Files, options and results are the TinyTroupe
    Simulation Engine's (docs/engine.md).
    """
    named = {"model": model, "temperature": temperature, "max_tokens": max_tokens, "timeout_seconds": timeout_seconds}
    named |= {"fallback_model": fallback_model, "graceful_degradation": graceful, "max_turns": turns}
    named |= {"output_dir": None if output_dir is None else str(output_dir)}
    named |= {"max_workers": side_by_side, "parallel_execution": True if parallel else None}
    if side_by_side is not None and not parallel:
        raise Invalid(f"{side_by_side}: stands behind --parallel, or nowhere")
    options = configured(config, _over(named, option or ()))
    if show_config:
        _show_config(options, as_json=json)
        return
    if mode is Mode.VALIDATE:
        _validate(personas_file, as_json=json)
        return
    note(options.notes)
    if options.values["log_level"].source != "default":
        logs.configure(options["log_level"])
    if mode is Mode.SINGLE:
        note(_beside(variants=variants is not None, runs=runs > 1, parallel=parallel))
    forms = forms_of(form)
    settings = options.settings(settings_for(home))
    if resume is not None and mode is Mode.EXPERIMENT:
        from app.cli.simulate_experiment import go_on

        go_on(settings, options, resume, forms, json=json)
        return
    if resume is not None:
        _tell(go(_resumed(settings, options, resume, silent=json)), options, forms, as_json=json)
        return
    if seed_text is None:
        raise Invalid("--seed-text: is needed: what shall they talk about?")
    people, talking = _people(personas_file, personas, options)
    terms: dict[str, Any] = {"seed": seed or 0, "budget_tokens": budget_tokens, "budget_usd": budget_usd}
    data = design_data(talking, seed_text, options, **terms)
    if mode is Mode.EXPERIMENT:
        from app.cli.simulate_experiment import compare

        compare(
            settings, options, data, people, variants, runs=runs, forms=forms, estimate=estimate, yes=yes, json=json
        )
        return
    design = design_of(data)
    _estimate(settings, design, budget_usd, only=estimate, yes=yes, as_json=json)
    if not estimate:
        _tell(go(_played(settings, options, design, silent=json)), options, forms, as_json=json)


def _over(named: Mapping[str, Any], said: Sequence[str]) -> dict[str, Any]:
    """Options that flags of their own or `--set` give."""
    found = {name: value for name, value in named.items() if value is not None}
    for one in said:
        name, equals, value = one.partition("=")
        name = name.strip().lower()
        if not equals or name not in OPTIONS:
            raise Invalid(f"--set: {one[:60]!r} is not NAME=VALUE with one of {', '.join(OPTIONS)}")
        if name in found:
            raise Invalid(f"--set: {name} is given twice")
        found[name] = value
    return found


def _beside(**given: bool) -> list[str]:
    """What is said beside one conversation and goes with experiments."""
    return [f"--{name} is not used: it is for --mode experiment" for name, is_given in given.items() if is_given]


def _people(file: Path | None, asked: str, options: Config) -> tuple[list[Person], list[Person | str]]:
    """Everybody in the file, and who talks."""
    wanted = [one.strip() for one in asked.split(",") if one.strip()]
    if file is None:
        if len(wanted) < 2:
            raise Invalid("who talks? Give --personas-file FILE, or two --personas @handle,@handle of the world")
        return [], [*wanted]
    looked = read_people(file)
    people = usable(looked)
    note([str(one) for one in looked.warnings[:20]])
    return people, [*chosen(people, wanted, most=options["max_personas"])]


def _validate(file: Path | None, *, as_json: bool) -> None:
    if file is None:
        raise Invalid("--personas-file: is needed: which file shall be looked over?")
    found = as_data(read_people(file))
    if as_json:
        show_json(found)
    else:
        _show_people(found)
    if not found["valid"]:
        raise typer.Exit(EXIT_USAGE)


def _show_people(found: Mapping[str, Any]) -> None:
    """Who is in a file, those with faults if they are many; and what is wrong where."""
    shown = [one for one in found["personas"] if not one["ok"] or found["total"] <= ROWS_MOST]
    rows: list[tuple[object, ...]] = [
        (one["item"], one["id"], one["name"], "ok" if one["ok"] else f"{len(one['faults'])} faults")
        for one in shown[:ROWS_MOST]
    ]
    if rows:
        table(found["file"], "item", "id", "name", "", rows=rows, empty="")
    told = [
        f"{kind}item {one['item']}: {fault['place']}{': ' * bool(fault['place'])}{fault['message']}"
        for one in found["personas"]
        for kind, of in (("", "faults"), ("note: ", "warnings"))
        for fault in one[of]
    ]
    for line in told[:LINES_MOST]:
        err.print(line, markup=False, highlight=False)
    if len(told) > LINES_MOST or len(shown) > ROWS_MOST:
        err.print("… and more: --json has all of it", markup=False, highlight=False)
    note([f"{one['place']}: {one['message']}" for one in found["warnings"]])
    counted = f"{found['total']:,} personas, {found['faulty']:,} of them with faults."
    err.print(counted if found["faulty"] else f"{counted} `simfeed backup --help`: copies of them.", markup=False)


def _show_config(options: Config, *, as_json: bool) -> None:
    note(options.notes)
    told = options.told()
    if as_json:
        show_json(told)
        return
    rows: list[tuple[object, ...]] = [
        (one["section"], one["option"], one["value"], one["place"] or one["source"], one["becomes"]) for one in told
    ]
    table("", "section", "option", "value", "from", "becomes", rows=rows, empty="")


def _estimate(
    settings: Settings, design: Dialogue, most_usd: float | None, *, only: bool, yes: bool, as_json: bool
) -> None:
    """Tell what it will take; ask where money is spent and somebody is there to be asked."""
    found = estimated(settings, design)
    usd = "of unknown price" if found["usd"] is None else f"${found['usd']:,.4f}"
    tokens = f"{found['prompt_tokens']:,} prompt and {found['completion_tokens']:,} written tokens"
    told = f"About {found['calls']:,} calls of {', '.join(found['models'])}, {tokens}, {usd}."
    err.print(told, markup=False, highlight=False)
    if only:
        if as_json:
            show_json(found)
        return
    if most_usd is not None and found["usd"] is not None and found["usd"] > most_usd and not yes:
        raise Invalid(f"--budget-usd: ${most_usd:g} is less than the estimate; --yes begins all the same")
    if err.is_terminal and found["usd"] != 0:
        confirm("This costs money.", yes=yes)


async def _played(settings: Settings, options: Config, design: Dialogue, *, silent: bool) -> dict[str, Any]:
    async with opened(settings) as database, open_mind(settings, database, works=True) as mind:
        key = await begin(database, settings, "dialogue", design, name="simulation")
        row = await sessions.found(database, key)
        told = f"Conversation {key}, seed {design.terms.seed}: `simfeed simulate --resume {key}` if it is cut off."
        err.print(told, markup=False, highlight=False)
        return await _to_its_end(mind, settings, options, row, silent=silent)


async def _resumed(settings: Settings, options: Config, key: str, *, silent: bool) -> dict[str, Any]:
    async with opened(settings) as database:
        row = await of_kind(database, key, "dialogue")
        if row["ended_at"] is not None:
            return await _ended(database, options, row)
        if row["state"] != "running":
            await sessions.go_on(database, row["id"])
        async with open_mind(settings, database, works=True) as mind:
            return await _to_its_end(mind, settings, options, row, silent=silent)


async def _to_its_end(
    mind: Any, settings: Settings, options: Config, row: asyncpg.Record, *, silent: bool
) -> dict[str, Any]:
    screen = Screen(silent)
    with screen.showing(bar=silent):
        task = screen.begin(f"conversation {row['key']}", Dialogue.model_validate_json(row["design"]).stop.turns)
        said = 0

        def heard(line: Mapping[str, Any]) -> None:
            nonlocal said
            said += line["kind"] == "say"
            screen.hear([line])
            screen.at(task, said, said, over=False)

        row = await play_out(mind, settings, row, graceful=options["graceful_degradation"], heard=heard)
    return await _ended(mind.database, options, row)


async def _ended(database: Database, options: Config, row: asyncpg.Record) -> dict[str, Any]:
    for line in await cost(database, row):
        err.print(line, markup=False, highlight=False)
    return await result_of(database, row, options.in_effect())


def _tell(result: dict[str, Any], options: Config, forms: Sequence[str], *, as_json: bool) -> None:
    if options["output_dir"] is not None:
        charts = bool(options["save_visualizations"] and options["auto_analysis"])
        for path in write_results(result, Path(options["output_dir"]), forms, charts=charts):
            err.print(f"{path}: written", markup=False, highlight=False)
    elif forms != [FORMS]:
        err.print("note: --format is for files: name a folder, -o FOLDER", markup=False)
    if as_json:
        show_json(result)
    if not result["success"]:
        session = result["session"]
        why = f" ({session['reason']})" if session["reason"] else ""
        told = (
            f"It did not succeed: {session['status']}{why}. `simfeed doctor` says whether model and database are well."
        )
        err.print(told, markup=False, highlight=False)
        raise typer.Exit(EXIT_FAILED)
