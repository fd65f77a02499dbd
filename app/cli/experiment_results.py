"""`simfeed experiment`: what came of it. Comparing, promising, leaving out, people beside it, reports and packages."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.analysis.dataset import package
from app.analysis.dataset.options import Options
from app.analysis.report.experiment import experiment_page
from app.analysis.report.page import Page
from app.cli.common import Home, Json, err, go, show_json, table
from app.cli.dataset import telling
from app.cli.experiment_home import Key, opened_there
from app.cli.report import Forms, Out, Plots, put
from app.cli.session_data import write
from app.cli.session_show import wide
from app.errors import Invalid
from app.experiments import freezing, packages, references, results
from app.experiments.freezing import osf_text
from app.venues.session.files import read_value

Outcome = Annotated[str, typer.Argument(metavar="OUTCOME", help="One of the experiment's outcomes.")]
Note = Annotated[str, typer.Option(help="Why; kept with it, and told in the report.")]


def compare(
    key: Key,
    csv: Annotated[bool, typer.Option("--csv", help="The runs as CSV: a row a run, a column an outcome.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed experiment compare kx7m2pqrs4td
      simfeed experiment compare kx7m2pqrs4td --csv > runs.csv
      simfeed experiment compare kx7m2pqrs4td --json

    Compare the variants: the unit is the run. Means, differences with intervals, p and corrected p, effect sizes.
    """

    async def work() -> dict[str, Any]:
        async with opened_there(home) as (_, database):
            return await results.results(database, key)

    found = go(work())
    if json:
        show_json(found)
    elif csv:
        write(packages.outcomes_csv(found), None)
    else:
        _show(found)


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}g}"


def _interval(mean: dict[str, Any]) -> str:
    if mean["low"] is None or mean["high"] is None:
        return _number(mean["value"])
    return f"{_number(mean['value'])} [{_number(mean['low'])}, {_number(mean['high'])}]"


def _show(found: dict[str, Any]) -> None:
    head = found["name"] or found["key"]
    counted = (
        f"n = {found['n_done']} of {found['n_planned']}, {found['n_failed']} failed, {found['n_excluded']} left out"
    )
    err.print(
        f"{head}: {found['state']}, {found['stamp']['label']}. Unit of analysis: run ({counted}).",
        markup=False,
        highlight=False,
    )
    rows: list[tuple[object, ...]] = []
    for outcome in found["outcomes"]:
        comparison = outcome["comparison"]
        contrasts = {one["arm"]: one for one in comparison["contrasts"]}
        rows += [_row(outcome, arm, contrasts.get(arm["name"])) for arm in comparison["arms"]]
    columns = ("outcome", "variant", "n", "mean", "difference", "g", "p", "corrected p")
    empty = "It names no outcomes: `simfeed experiment amend` adds some."
    table("", *columns, rows=rows, empty=empty, console=wide())
    for outcome in found["outcomes"]:
        typer.echo(outcome["verdict"])
    for one in found["missing"]:
        what = "is missing or left out" if one["outcome"] is None else f"has no {one['outcome']}"
        err.print(f"Run {one['number']} ({one['variant']}) {what}: {one['why']}", markup=False)
    for one in found["deviations"]:
        err.print(f"Otherwise than frozen: {one['what']}", markup=False)


def _row(outcome: dict[str, Any], arm: dict[str, Any], contrast: dict[str, Any] | None) -> tuple[object, ...]:
    name = f"{outcome['name']} ({outcome['family']})"
    told = (name, arm["name"], f"{arm['n']}/{arm['planned']}", _interval(arm["mean"]))
    if contrast is None:
        return (*told, "control", None, None, None)
    adjusted = outcome["adjusted"].get(arm["name"], {})
    difference = _interval(contrast["t"] if contrast["shown"] == "t" else contrast["difference"])
    p, corrected = adjusted.get("p"), adjusted.get("p_adjusted")
    return (*told, difference, _number(contrast["hedges_g"], 3), _number(p, 3), _number(corrected, 3))


def power(
    key: Key,
    outcome: Outcome,
    effect: Annotated[float | None, typer.Option(help="Smallest difference that matters, in its unit.")] = None,
    wanted: Annotated[float, typer.Option(min=0.06, max=0.999, help="The power that is wanted.")] = 0.8,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed experiment power kx7m2pqrs4td attention_gini --effect 0.05

    How many runs it would need, by the runs there are as a pilot.
    """

    async def work() -> dict[str, Any]:
        async with opened_there(home) as (_, database):
            return await results.power(database, key, outcome, effect, wanted)

    found = go(work())
    if json:
        show_json(found)
        return
    rows: list[tuple[object, ...]] = [
        (one["arm"], one["needed"]["runs"], one["needed"].get("cautious"), _number(one["planned"]["power"]["share"], 3))
        for one in found["contrasts"]
    ]
    title = f"{outcome}, a difference of {_number(found['effect'])} ({found['effect_from']}), power {wanted:g}"
    table(title, "variant", "runs needed", "cautious", "power of the design", rows=rows, empty="")
    if found["note"]:
        err.print(found["note"], markup=False)


def freeze(
    key: Key,
    late: Annotated[bool, typer.Option("--late", help="Although runs have begun; the report tells that.")] = False,
    markdown: Annotated[bool, typer.Option("--md", help="As text for a registry; freezes nothing anew.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed experiment freeze kx7m2pqrs4td
      simfeed experiment freeze kx7m2pqrs4td --md > preregistration.md

    Promise hypotheses, outcomes, exclusions and analysis, with a hash. What is done otherwise later is told.
    """

    async def work() -> dict[str, Any]:
        async with opened_there(home) as (settings, database):
            if markdown and (kept := (await results.results(database, key))["freeze"]) is not None:
                return dict(kept)
            return await freezing.freeze(database, settings, key, late=late)

    found = go(work())
    if markdown:
        typer.echo(osf_text(found["document"]), nl=False)
    elif json:
        show_json(found)
    else:
        typer.echo(found["sha256"])
        err.print(f"Frozen at {found['at']}. `simfeed experiment freeze {key} --md` is the text.", markup=False)


def amend(
    key: Key,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What is otherwise (TOML, YAML, JSON; RFC 7396).")],
    note: Note = "",
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed experiment amend kx7m2pqrs4td more-outcomes.toml --note "asked for by a reviewer"

    Change a design; once runs have begun only what is made of them. Each change is noted.
    """

    async def work() -> list[dict[str, Any]]:
        async with opened_there(home) as (settings, database):
            changes = read_value(file)
            if not isinstance(changes, dict):
                raise Invalid(f"{file.name}: must be a table of keys and values")
            return await freezing.amend(database, settings, key, changes, note)

    done = go(work())
    if json:
        show_json(done)
    else:
        rows: list[tuple[object, ...]] = [(one["what"], str(one["was"])[:60], str(one["is"])[:60]) for one in done]
        table("", "what", "was", "is", rows=rows, empty="")


def exclude(
    key: Key,
    number: Annotated[int, typer.Argument(min=1, max=10_000, help="The run's number.")],
    reason: Annotated[str | None, typer.Option(help="Why it is left out.")] = None,
    back: Annotated[bool, typer.Option("--back", help="Take it in again.")] = False,
    home: Home = None,
) -> None:
    """\b
    Examples:
      simfeed experiment exclude kx7m2pqrs4td 7 --reason "the provider changed its model that day"
      simfeed experiment exclude kx7m2pqrs4td 7 --back

    Leave a run out of comparisons by hand; it stays, and the report tells it and why.
    """
    if back == (reason is not None):
        raise Invalid("say either --reason, or --back")

    async def work() -> None:
        async with opened_there(home) as (_, database):
            await freezing.exclude(database, key, number, reason)

    go(work())
    err.print(f"Run {number} is {'taken in again' if back else 'left out'}.", markup=False)


def attach(
    key: Key,
    outcome: Outcome,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="People's values: CSV or JSON.")] = None,
    name: Annotated[
        str, typer.Option(help="What these people are called; a variant's name: beside that alone.")
    ] = "people",
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Nothing of the experiment was chosen by looking at them.")
    ] = False,
    note: Note = "",
    remove: Annotated[bool, typer.Option("--remove", help="Take them away.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed experiment attach kx7m2pqrs4td answer.use survey.csv --held-out --note "600 people, May"
      simfeed experiment attach kx7m2pqrs4td answer.use --remove

    Put what people did beside an outcome: distances, variance ratio, sub-groups; exploratory or calibrated.
    """
    if remove == (file is not None):
        raise Invalid("give either a file, or --remove")

    async def work() -> dict[str, Any]:
        async with opened_there(home) as (_, database):
            if file is None:
                await references.detach(database, key, outcome, name)
                return {"outcome": outcome, "name": name, "people": 0}
            return await references.attach(database, key, outcome, name, file, held_out=held_out, note=note)

    done = go(work())
    if json:
        show_json(done)
    else:
        err.print(f"{done['people']} people's values beside {outcome}.", markup=False)


def report(
    key: Key, out: Out = None, plots: Plots = None, form: Forms = "svg", home: Home = None, json: Json = False
) -> None:
    """\b
    Examples:
      simfeed experiment report kx7m2pqrs4td -o report.html
      simfeed experiment report kx7m2pqrs4td --plots figures --format svg,png

    One page that needs nothing else: design, freeze, runs, comparisons, plots, limits.
    """

    async def work() -> Page:
        async with opened_there(home) as (_, database):
            return experiment_page(await results.results(database, key))

    put(work, out, plots, form, json=json)


def export(
    key: Key,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="PATH", help="A new folder, or a .zip file.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a build that was broken off.")] = False,
    author: Annotated[list[str] | None, typer.Option(help="An author, for the citation; may be said again.")] = None,
    licence: Annotated[str, typer.Option("--license", help="An SPDX name (CC-BY-4.0) or a URL.")] = "",
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed experiment export kx7m2pqrs4td -o rankers.zip
      simfeed experiment export kx7m2pqrs4td -o rankers --license CC-BY-4.0 --author "Ada Lovelace"

    A package with the worlds of all runs, assignment, outcomes, design, freeze, report, prompts, codebook.
    """
    with telling() as told:

        async def work() -> package.Built:
            async with opened_there(home) as (_, database):
                sources, extras = await packages.of_experiment(database, key)
                title = (await results.results(database, key))["name"] or f"Experiment {key}"
                options = Options(resume=resume, title=title, authors=tuple(author or ()), licence=licence)
                return await package.build(sources, out, options=options, extras=extras, told=told)

        done = go(work())
    if json:
        show_json({"path": str(done.path), "kept": done.kept, "anew": done.anew, **done.manifest})
    else:
        size = sum(one["bytes"] for one in done.manifest["files"]) / 1e6
        err.print(f"{done.path}: {len(done.manifest['files'])} files, {size:,.1f} MB", markup=False)
