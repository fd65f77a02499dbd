"""`simfeed population`: people drawn from demographics, fragments of character, and whether people are as expected."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, track

from app.agent.population import PersonaFormat, write_personas
from app.agent.population.compose import composed
from app.agent.population.consistency import Consistency
from app.agent.population.expectations import Expectations, check, expectations_of
from app.agent.population.fragments import Fragment, apply, fragments, read_fragment
from app.agent.population.objects import BYTES_MAX, object_of, read_object
from app.agent.population.sampling import SIZE_MAX, Method, Sample, plan
from app.agent.population.statistics_files import population_of
from app.auth.admins import record
from app.cli.common import EXIT_FAILED, Home, Json, err, go, opened, out, settings_for, show_json, table
from app.cli.personas import DryRun, every_persona, find, read_file, write_file
from app.db.engine import Database
from app.errors import Invalid
from app.settings import Settings
from app.venues.run import open_mind
from app.venues.session import calls
from app.venues.session.design import Terms
from app.venues.session.written import interview as consistency_interview
from app.venues.session.written import write_population
from app.world import personas, versions
from app.world.personas import PersonaSpec
from app.world.text import INT64_MAX

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="\b\nExamples:\n  simfeed population example > demographics.json\n"
    "  simfeed population generate --from demographics.json --size 100 --seed 7 --into people.json\n"
    "  simfeed population validate people.json\n\n"
    "People drawn from demographics, and whether they are as expected (docs/populations.md).",
)
WORLD = "world"
FORMS = {".json": PersonaFormat.JSON, ".jsonl": PersonaFormat.JSONL, ".csv": PersonaFormat.CSV}
EXAMPLE: dict[str, Any] = {
    "title": "Adults of a port town",
    "marginals": {
        "age": {"18-29": 0.2, "30-49": 0.35, "50-64": 0.25, "65+": 0.2},
        "gender": {"woman": 51, "man": 48, "non-binary": 1},
        "education": {"no degree": 62, "vocational training": 21, "university degree": 17},
    },
    "joint": [
        {"attributes": {"region": "harbour", "leaning": "left"}, "weight": 24},
        {"attributes": {"region": "harbour", "leaning": "right"}, "weight": 12},
        {"attributes": {"region": "hills", "leaning": "left"}, "weight": 18},
        {"attributes": {"region": "hills", "leaning": "right"}, "weight": 46},
    ],
    "ranges": {
        "people at home": {"low": 1, "high": 6, "distribution": "triangular", "mode": 2},
        "income": {"low": 8000, "high": 90000, "distribution": "normal", "mean": 31000, "sd": 11000},
    },
}
From = Annotated[
    str, typer.Option("--from", metavar="FILE", help="Demographics of our form or TinyTroupe's; - is stdin.")
]


@app.command()
def generate(
    source: From,
    size: Annotated[int, typer.Option(min=1, max=SIZE_MAX, help="How many people.")] = 100,
    seed: Annotated[int, typer.Option(min=0, max=INT64_MAX, help="The same seed, the same people.")] = 1,
    method: Annotated[Method, typer.Option(help="How they are drawn.")] = "quota",
    into: Annotated[
        str | None,
        typer.Option(metavar="world|FILE", help="The world, or a .json, .jsonl or .csv file; without it, stdout."),
    ] = None,
    given: Annotated[
        str, typer.Option("--fragments", metavar="A,B", help="Fragments of character that everybody gets.")
    ] = "",
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Has this model write each person; else they are composed.")
    ] = None,
    dry_run: DryRun = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed population generate --from demographics.json --size 100 --seed 7 --dry-run
      simfeed population generate --from demographics.json --size 100 --seed 7 --into people.json
      simfeed population generate --from usa.json --size 50 --fragments tech_sceptic,shy --into world
      simfeed population generate --from demographics.json --size 20 --model deepseek-chat --into people.json

    Draw people from demographics and make each a persona: composed, or written by a model, one call a person. The table
    says what was asked for, and what there is.
    """
    form = _form(into)
    population, notes = population_of(_object(source), _name(source))
    sample = plan(population, size, seed, method)
    chosen = _chosen(given.split(",")) if given else []
    apply(PersonaSpec(username="anybody", description="Anybody."), chosen)
    for note in notes:
        err.print(f"note: {note}", markup=False, highlight=False)
    made: list[PersonaSpec] = []
    if model is not None and not dry_run:
        made = go(_written(settings_for(home), sample, chosen, model, settle=into == WORLD))
    elif not dry_run and into == WORLD:
        made = go(_settle(settings_for(home), sample, chosen))
    elif not dry_run:
        made = _made(sample, chosen)
    is_stdout = into is None and not dry_run and not json
    _tell(sample, made, json=json, is_stdout=is_stdout)
    if is_stdout or (form is not None and not dry_run):
        write_file(write_personas(made, form or PersonaFormat.JSON), Path(into) if into else None)
    if into is not None and not dry_run:
        place = "moved into the world" if into == WORLD else f"written to {into}"
        err.print(f"{len(made):,} persona(s) {place}", markup=False)


def _form(into: str | None) -> PersonaFormat | None:
    """What a file is written as; None for the world or stdout."""
    if into is None or into == WORLD:
        return None
    if (form := FORMS.get(Path(into).suffix.lower())) is None:
        raise Invalid(f"--into must be `{WORLD}` or a file {', '.join(FORMS)}, not {into}")
    return form


def _made(sample: Sample, chosen: Sequence[Fragment | str], taken: Sequence[str] = ()) -> list[PersonaSpec]:
    people = composed(sample, sample.seed, taken=taken)
    shown = track(people, "Composing", total=len(sample.rows), console=err, disable=not err.is_terminal)
    return [apply(one, chosen) if chosen else one for one in shown]


async def _settle(settings: Settings, sample: Sample, chosen: Sequence[Fragment | str]) -> list[PersonaSpec]:
    """Move people into the world, all or none, under names that nobody there has."""
    async with opened(settings) as database, database.connection() as connection, connection.transaction():
        made = _made(sample, chosen, await _names(database))
        await personas.add(connection, made)
        await record(connection, None, "population.generated", str(len(made)), seed=sample.seed, method=sample.method)
    return made


async def _written(
    settings: Settings, sample: Sample, chosen: Sequence[Fragment | str], model: str, *, settle: bool
) -> list[PersonaSpec]:
    """Have a model write them, and move them into the world if wanted; those it could not write are named."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    async with opened(settings) as database, open_mind(settings, database) as mind:
        with Progress(*columns, console=err, disable=not err.is_terminal) as bar:
            task = bar.add_task("Writing", total=len(sample.rows))
            terms = Terms(seed=sample.seed, model=model)
            people, wrong = await write_population(
                mind, settings, sample, terms, told=lambda lines: bar.update(task, advance=len(lines))
            )
        for one in wrong:
            err.print(f"not written: {one}", markup=False, highlight=False)
        if not people:
            raise Invalid("nobody was written")
        made = [apply(one, chosen) if chosen else one for one in people]
        if settle:
            await calls.settle(database, made)
    return made


@app.command()
def interview(
    file: Annotated[str, typer.Argument(help="Personas, in any form that `personas import` reads; - is stdin.")],
    seed: Annotated[int, typer.Option(min=0, max=INT64_MAX, help="The same seed, the same answers.")] = 1,
    model: Annotated[str | None, typer.Option(metavar="MODEL", help="Else SIMFEED_MODEL.")] = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed population interview people.json
      simfeed population interview people.json --model deepseek-chat --json

    Ask each persona about itself, and score from 0 to 1 whether it answers as who it is. One call a persona; nothing
    of it is remembered.
    """
    read = read_file(file, None)
    for problem in read.problems[:50]:
        err.print(str(problem), markup=False, highlight=False)
    if read.problems or not read.personas:
        raise Invalid(f"nobody was asked: {len(read.problems)} problem(s) in {file}")

    async def work() -> list[Consistency]:
        settings = settings_for(home)
        async with opened(settings) as database, open_mind(settings, database) as mind:
            return await consistency_interview(mind, settings, read.personas, Terms(seed=seed, model=model))

    scored = go(work())
    if json:
        people = zip(read.personas, scored, strict=True)
        show_json([{"username": one.username, **asdict(found)} for one, found in people])
        return
    rows: list[tuple[object, ...]] = [
        (
            one.username,
            "–" if found.score is None else f"{found.score:.2f}",
            f"{found.answered} of {found.asked}",
            ", ".join(v.key for v in found.verdicts if v.score is not None and v.score < 1),
        )
        for one, found in zip(read.personas, scored, strict=True)
    ]
    table("", "who", "consistency", "answered", "not as described", rows=rows, empty="nobody")


async def _names(database: Database) -> list[str]:
    rows = await every_persona(database)
    shown = [msgspec.json.decode(row["profile"]).get("display_name") or "" for row in rows]
    return [*(row["username"] for row in rows), *filter(None, shown)]


def _tell(sample: Sample, made: Sequence[PersonaSpec], *, json: bool, is_stdout: bool) -> None:
    if json:
        people = [one.model_dump(exclude_defaults=True) for one in made]
        head = {"size": len(sample.rows), "seed": sample.seed, "method": sample.method, "worst": sample.worst()}
        show_json({**head, "table": [asdict(share) for share in sample.table()], "personas": people})
        return
    rows: list[tuple[object, ...]] = [
        (share.attribute, share.value, f"{share.asked:.1f}", f"{share.got:g}", f"{share.off:+.1f}")
        if not share.mean
        else (share.attribute, share.value, f"{share.asked:,.1f}", f"{share.got:,.1f}", f"{share.off:+,.1f}")
        for share in sample.table()
    ]
    title = f"{len(sample.rows):,} people by {sample.method}, seed {sample.seed}"
    table(title, "attribute", "value", "asked", "got", "off", rows=rows, empty="", console=err if is_stdout else out)


@app.command()
def validate(
    file: Annotated[str, typer.Argument(help="Personas, in any form that `personas import` reads; - is stdin.")],
    expect: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Expectations (docs/populations.md); without, names and texts.")
    ] = None,
    format: Annotated[PersonaFormat | None, typer.Option(help="When the name does not tell.")] = None,  # noqa: A002
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed population validate people.json
      simfeed population validate people.csv --expect expectations.json --json

    Check personas against expectations: fields, ranges, names that repeat, texts that are too alike, shares. Exits with
    1 if something is not as expected.
    """
    expected = expectations_of(read_object(expect), expect.name) if expect else Expectations()
    read = read_file(file, format)
    for problem in read.problems[:50]:
        err.print(str(problem), markup=False, highlight=False)
    if read.problems:
        raise Invalid(f"nothing was checked: {len(read.problems)} problem(s) in {file}")
    found = check(read.personas, expected)
    if json:
        show_json({"personas": len(read.personas), "findings": [asdict(finding) for finding in found]})
    else:
        rows: list[tuple[object, ...]] = [(one.person, one.field, one.message) for one in found]
        table("", "who", "field", "finding", rows=rows, empty=_fine(len(read.personas)))
    if found:
        raise typer.Exit(EXIT_FAILED)


def _fine(count: int) -> str:
    return f"{count:,} persona(s), all as expected"


@app.command("fragments")
def fragments_(json: Json = False) -> None:
    """\b
    Examples:
      simfeed population fragments
      simfeed population fragments --json

    The fragments of character that personas can be given.
    """
    known = fragments().values()
    if json:
        show_json(
            [
                {"name": one.name, "category": one.category, "text": one.text, "against": sorted(one.against)}
                for one in known
            ]
        )
        return
    rows: list[tuple[object, ...]] = [
        (one.name, one.category, one.text, ", ".join(sorted(one.against))) for one in known
    ]
    table("", "name", "category", "what it says", "not with", rows=rows, empty="")


@app.command("apply")
def apply_(
    names: Annotated[list[str], typer.Argument(metavar="FRAGMENT", help="Names, or TinyTroupe's *.fragment.json.")],
    to: Annotated[list[str], typer.Option("--to", metavar="WHO", help="A username or an id; several by several --to.")],
    dry_run: DryRun = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed population apply tech_sceptic shy --to @rita_bolt
      simfeed population apply travel.fragment.json --to @rita_bolt --to 3 --dry-run

    Give personas fragments of character, all or none; the former description is kept as a version.
    """
    chosen = _chosen(names)

    async def work() -> dict[str, list[str]]:
        done: dict[str, list[str]] = {}
        async with opened(settings_for(home)) as database:
            rows = [await find(database, one) for one in to]
            async with database.connection() as connection, connection.transaction():
                for row in rows:
                    spec = apply(personas.spec_of(row), chosen)
                    done[spec.username] = spec.fragments
                    if not dry_run and await versions.replace(
                        connection, row["id"], lambda former: apply(former, chosen), by=None
                    ):
                        await record(connection, None, "persona.updated", str(row["id"]))
        return done

    done = go(work())
    if json:
        show_json(done)
        return
    for username, names_now in done.items():
        would = "would be" if dry_run else "is"
        err.print(f"@{username} {would}: {', '.join(names_now)}", markup=False)


@app.command()
def example() -> None:
    """\b
    Examples:
      simfeed population example > demographics.json

    A demographics file that works, to begin with.
    """
    show_json(EXAMPLE)


def _chosen(names: Sequence[str]) -> list[Fragment | str]:
    given = [name.strip() for name in names]
    return [read_fragment(Path(name)) if name.lower().endswith(".json") else name for name in given if name]


def _name(source: str) -> str:
    return "standard input" if source == "-" else Path(source).name


def _object(source: str) -> Any:
    if source != "-":
        return read_object(Path(source))
    return object_of(sys.stdin.buffer.read(BYTES_MAX + 1), _name(source))
