"""Designs of sessions from what is said on the command line: files, and options that say otherwise than they do."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from app.agent.population import read_personas
from app.cli.common import err
from app.errors import Invalid
from app.venues.session.design import Dialogue, ExtractionConfig, Simulation, checked
from app.venues.session.files import read_value
from app.venues.session.genai import App, app_of, dialogues, is_app, read_seed, strays, with_bots, with_model

LINE = "the command line"
WORLD = "world"
PEOPLE = (".csv", ".jsonl")
SENDER = "Host"

# Options that several commands share

Seed = Annotated[int | None, typer.Option(min=0, max=2**62, help="The same seed, the same session; 0 if not given.")]
Model = Annotated[str | None, typer.Option(metavar="M", help="The model that is asked (SIMFEED_MODEL).")]
MaxTokens = Annotated[int | None, typer.Option(min=16, max=16_000, help="Most tokens of an answer; 500 if not given.")]
BudgetTokens = Annotated[int | None, typer.Option(min=1, max=10**12, help="Most tokens that it may use.")]
BudgetUsd = Annotated[float | None, typer.Option(min=0.0001, help="Most US dollars that it may spend.")]
Checks = Annotated[
    list[str] | None,
    typer.Option(
        "--check",
        metavar="CHECK",
        help="Watch adherence, consistency, fluency, repetition, convergence; or ask a judge.",
    ),
]
Fields = Annotated[
    str,
    typer.Option(
        metavar="A,B:TYPE,…",
        help="What is extracted: names, each with its type if it is no text: number, integer, boolean, list, or "
        "category=ONE|OTHER.",
    ),
]
Objective = Annotated[str, typer.Option(metavar="TEXT", help="What the extraction is to find out.")]


def given(**options: object) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value not in (None, "", [])}


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base`, where `over` says nothing else."""
    made = dict(base)
    for key, value in over.items():
        below = made.get(key)
        made[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return {key: value for key, value in made.items() if value != {} or key in base}


def note(notes: Sequence[str]) -> None:
    for one in notes:
        err.print(f"note: {one}", markup=False, highlight=False)


# Dialogues


def dialogues_of(
    file: Path | None,
    *,
    seeds: Sequence[Path],
    channels: Sequence[str],
    bots: Sequence[str],
    message: str | None,
    sender: str | None,
    model: str | None,
    more: Mapping[str, Any],
) -> list[Dialogue]:
    """A design for each channel: of GenAI Social Sim's files, of a file of ours, or of `--bot`s alone.

    Raises:
        NotFound, Invalid: names file and place of what is wrong.
    """
    value = read_value(file) if file is not None else None
    says = [read_seed(path) for path in seeds]
    talking = _bots(bots)
    if file is not None and not is_app(value):
        made = _of_design(value, file.name, channels, talking, message, sender, more)
        if says:
            raise Invalid(f"--seed-file goes with an app.yaml; {file.name} says itself what its dialogue begins with")
    else:
        app = app_of(value, file.name) if file is not None else App(LINE, {})
        app = with_bots(app, talking)
        note([*app.notes, *(n for one in says for n in one.notes), *strays(app, says)])
        begins = None if message is None else {"from": sender or _sender(app, says), "message": message}
        made = dialogues(app, says, channels=channels, message=begins, more=more)
    return [with_model(one, model) if model else one for one in made]


def _sender(app: App, says: Sequence[Any]) -> str:
    first = says[0].message if says else app.message
    return str(first["from"]) if first else SENDER


def _bots(named: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Bots by name, of NAME=PROMPT and NAME=@handle."""
    found: dict[str, dict[str, Any]] = {}
    for one in named:
        name, equals, said = one.partition("=")
        name = name.strip()
        if not equals or not name:
            raise Invalid(f"--bot: {one[:60]!r} is not NAME=PROMPT or NAME=@handle")
        if name in found:
            raise Invalid(f"--bot: {name} is given twice")
        is_handle = said.strip().startswith("@") and len(said.split()) == 1
        found[name] = {"name": name, **({"persona": said.strip()[1:]} if is_handle else {"prompt": said})}
    return found


def _of_design(
    value: Any,
    name: str,
    channels: Sequence[str],
    bots: Mapping[str, Mapping[str, Any]],
    message: str | None,
    sender: str | None,
    more: Mapping[str, Any],
) -> list[Dialogue]:
    if not isinstance(value, dict):
        raise Invalid(
            f"{name}: must be a dialogue (`simfeed session example dialogue`), or GenAI Social Sim's app.yaml"
        )
    listed = value.get("bots")
    there = [dict(bot) for bot in listed if isinstance(bot, dict)] if isinstance(listed, list) else []
    if bots:
        known: dict[Any, Any] = {bot.get("name"): bot for bot in there}
        for who, bot in bots.items():
            known[who] = {**known.get(who, {}), **bot}
        value = {**value, "bots": list(known.values())}
    begins = given(**{"from": sender, "message": message})
    value = merged(value, {**more, **({"seed_message": begins} if begins else {})})
    named: Sequence[str | None] = channels or [None]
    return [checked(Dialogue, value if one is None else {**value, "channel": one}, name) for one in named]


# Focus groups, surveys, interviews


def simulation_of(
    kind: str | None,
    file: Path | None,
    *,
    people: str | None,
    count: int | None,
    stimulus: Mapping[str, str | None],
    context: str,
    questions: Path | None,
    fields: str,
    objective: str,
    more: Mapping[str, Any],
) -> Simulation:
    """A design of a file and of what the command line says; `kind` is what it must be, if not what the file says.

    Raises:
        NotFound, Invalid: names file and place of what is wrong.
    """
    value = read_value(file) if file is not None else {}
    name = file.name if file is not None else LINE
    if not isinstance(value, dict):
        raise Invalid(f"{name}: must be an object with participants and stimulus (`simfeed session example survey`)")
    over: dict[str, Any] = dict(more)
    if people is not None:
        over["participants"] = _participants(people)
        value = {key: one for key, one in value.items() if key != "participants"}
    if count is not None:
        over["participants"] = {**over.get("participants", {}), "count": count}
    shown = {type_: text for type_, text in stimulus.items() if text}
    if len(shown) > 1:
        raise Invalid(f"only one of --{', --'.join(shown)} can be what is talked about")
    if shown or context:
        what, content = next(iter(shown.items()), (None, None))
        over["stimulus"] = given(type=what, content=content, context=context)
    if questions is not None:
        over["questions"] = _questions(questions)
    if extraction := extraction_of(fields, objective):
        over["extraction_config"] = extraction
    if "participants" not in over and "participants" not in value:
        raise Invalid("who takes part? Give --from FILE (demographics or personas), --from world, or a design's file")
    config = value.get("simulation_config")
    told = config.get("environment_type") if isinstance(config, dict) else None
    if kind is not None and told not in (None, kind):
        raise Invalid(
            f"{name}: simulation_config.environment_type: is {told}, not {kind}: `simfeed group run` takes any"
        )
    over = merged(over, {"simulation_config": given(environment_type=kind)})
    made: Simulation = checked(Simulation, merged(value, over), name)
    return made


def _participants(people: str) -> dict[str, Any]:
    """Who takes part: those of the world, of a file of personas, one agent, or people drawn from demographics."""
    if people == WORLD:
        return {"mode": "from_population", "specifications": {WORLD: True}}
    if people.startswith("@"):
        return {"mode": "custom", "specifications": [one.strip() for one in people.split(",") if one.strip()]}
    path = Path(people)
    if path.suffix.lower() in PEOPLE:
        found = read_personas(path)
        if found.problems:
            raise Invalid("; ".join(str(problem) for problem in found.problems[:20]))
        return {
            "mode": "from_population",
            "specifications": [p.model_dump(exclude_defaults=True) for p in found.personas],
        }
    value = read_value(path)
    if isinstance(value, list) or (isinstance(value, dict) and {"agents", "personas"} & set(value)):
        return {"mode": "from_population", "specifications": value}
    agent = isinstance(value, dict) and bool({"type", "username", "persona", "name"} & set(value))
    return {"mode": "from_agent" if agent else "from_demographics", "specifications": value}


def _questions(path: Path) -> list[Any]:
    value = read_value(path)
    if isinstance(value, dict) and set(value) == {"questions"}:
        value = value["questions"]
    if not isinstance(value, list):
        raise Invalid(f"{path.name}: must be a list of questions (`simfeed session example survey` has some)")
    return value


def extraction_of(fields: str, objective: str) -> dict[str, Any]:
    """What is to be extracted, of `--fields` and `--objective`."""
    listed = [_field(one.strip()) for one in fields.split(",") if one.strip()]
    return given(fields=listed, extraction_objective=objective)


def extraction_config(fields: str, objective: str, **more: object) -> ExtractionConfig:
    """A design of an extraction alone.

    Raises:
        Invalid: names what is wrong.
    """
    made: ExtractionConfig = checked(ExtractionConfig, {**extraction_of(fields, objective), **given(**more)}, LINE)
    if not made.fields and made.extract_results:
        raise Invalid("--fields: must name at least one field")
    return made


def _field(said: str) -> dict[str, Any]:
    name, _, kind = said.partition(":")
    kind, _, options = kind.partition("=")
    return {"name": name, **given(type=kind.strip(), options=[o.strip() for o in options.split("|") if o.strip()])}
