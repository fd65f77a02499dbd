"""`simfeed group`, `survey`, `interview`: personas are asked, heard and counted."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from app.cli.common import Home, Json, err, go, opened, settings_for
from app.cli.session import finish, play_and_tell
from app.cli.session_design import (
    BudgetTokens,
    BudgetUsd,
    Checks,
    Fields,
    MaxTokens,
    Model,
    Objective,
    Seed,
    given,
    simulation_of,
)
from app.settings import Settings
from app.venues.run import open_mind
from app.venues.session.design import Simulation
from app.venues.session.forecast import forecast
from app.venues.session.opening import begin
from app.world import sessions

Type = Literal["focus_group", "survey", "interview"]
File = Annotated[
    Path | None, typer.Argument(metavar="[FILE]", help="A design in JSON, TOML or YAML (`simfeed session example`).")
]
People = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="FILE|world|@A,@B",
        help="Demographics or personas in a file, those of the world, or some of them.",
    ),
]
Count = Annotated[int | None, typer.Option(min=1, max=1000, help="How many take part.")]
Text = Annotated[str | None, typer.Option(metavar="TEXT", help="What is talked about.")]
Context = Annotated[str, typer.Option(metavar="TEXT", help="What is to be known of that.")]
Rounds = Annotated[int | None, typer.Option(min=1, max=100, help="Rounds of talk; or how often a survey is asked.")]
Questions = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Questions with typed answers (docs/sessions.md).")
]
Thinking = Annotated[bool, typer.Option("--thinking", help="They think for themselves before they speak.")]
InTurn = Annotated[bool, typer.Option("--in-turn", help="One after the other, each hearing all before it.")]
Alone = Annotated[bool, typer.Option("--alone", help="Nobody hears the others.")]
Repetitions = Annotated[int | None, typer.Option(min=1, max=9, help="Extract so often; what agrees is more certain.")]
CALLED: dict[Type, str] = {"focus_group": "group", "survey": "survey", "interview": "interview"}
TOLD: dict[Type, tuple[str, str]] = {
    "focus_group": (
        "  simfeed group run --from demographics.json --count 12 --product 'A cup with a deposit' --rounds 3 "
        "--fields reason,would_use:boolean --seed 7\n"
        "  simfeed group run group.toml --model gpt-4o-mini --budget-usd 1\n"
        "  simfeed group run --from @max_vantage,@rita_bolt --question 'Bicycles?' --in-turn\n",
        "People talk about something, in rounds.",
    ),
    "survey": (
        "  simfeed survey run --from demographics.json --count 200 --questions questions.json --seed 7\n"
        "  simfeed survey run --from world --question 'What should the town do first?' --json\n",
        "People answer questions, each for itself.",
    ),
    "interview": (
        "  simfeed interview run --from demographics.json --count 6 --questions questions.json --rounds 4 --seed 7\n"
        "  simfeed interview run --from @max_vantage --question 'How was your week?' --rounds 5\n",
        "People are interviewed, one by one.",
    ),
}
END_OF_HELP = "What is said comes on stdout as it is said, then what it comes to: distributions with their intervals, "


def _command(kind: Type) -> Callable[..., None]:
    fixed = kind != "focus_group"
    types = Annotated[Type | None, typer.Option("--type", hidden=fixed, help="Rather a survey, or interviews.")]

    def run(
        file: File = None,
        people: People = None,
        count: Count = None,
        product: Text = None,
        question: Text = None,
        message: Text = None,
        scenario: Text = None,
        context: Context = "",
        questions: Questions = None,
        rounds: Rounds = None,
        fields: Fields = "",
        objective: Objective = "",
        repetitions: Repetitions = None,
        thinking: Thinking = False,
        in_turn: InTurn = False,
        alone: Alone = False,
        check: Checks = None,
        type_: types = None,
        seed: Seed = None,
        model: Model = None,
        max_tokens: MaxTokens = None,
        budget_tokens: BudgetTokens = None,
        budget_usd: BudgetUsd = None,
        home: Home = None,
        json: Json = False,
    ) -> None:
        config = given(rounds=rounds, enable_thinking=thinking or None, in_turn=in_turn or None)
        terms = given(seed=seed, model=model, max_tokens=max_tokens, budget_tokens=budget_tokens, budget_usd=budget_usd)
        design = simulation_of(
            kind if fixed else type_,
            file,
            people=people,
            count=count,
            stimulus={"product": product, "question": question, "message": message, "scenario": scenario},
            context=context,
            questions=questions,
            fields=fields,
            objective=objective,
            more={
                **given(checks=check),
                "simulation_config": {**config, **({"broadcast_mode": False} if alone else {})},
                "terms": terms,
                "extraction_config": given(repetitions=repetitions),
            },
        )
        finish(go(_run(settings_for(home), design, silent=json)), json=json)

    examples, told = TOLD[kind]
    run.__doc__ = (
        f"\b\nExamples:\n{examples}\n{told} {END_OF_HELP}the extraction with its quotes, a summary, flags, cost."
    )
    return run


async def _run(settings: Settings, design: Simulation, *, silent: bool) -> dict[str, Any]:
    config = design.session_config
    name = config.session_name or (design.stimulus.content[:60] if design.stimulus else "")
    kind = design.simulation_config.environment_type
    async with opened(settings) as database, open_mind(settings, database, works=True) as mind:
        key = await begin(database, settings, kind, design, name=" ".join(name.split()))
        row = await sessions.found(database, key)
        people = len(await sessions.members(database, row["id"])) - 1
        takes = forecast(settings, design, people)
        dollars = "of unknown price" if takes.usd is None else f"${takes.usd:.4f}"
        tokens = takes.prompt_tokens + takes.completion_tokens
        about = f"about {takes.calls:,} calls and {tokens:,} tokens of {takes.model}, {dollars}"
        which = f"{kind.replace('_', ' ').capitalize()} {key}: {people} take part, seed {design.terms.seed}"
        err.print(f"{which}; {about}.", markup=False, highlight=False)
        return await play_and_tell(mind, settings, row, silent=silent)


def _group(kind: Type) -> typer.Typer:
    examples, told = TOLD[kind]
    made = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        help=f"\b\nExamples:\n{examples}  simfeed session example {kind} > design.json\n"
        f"  simfeed {CALLED[kind]} run design.json\n\n{told.removesuffix('.')} (docs/sessions.md).",
    )
    made.command("run")(_command(kind))
    made.callback()(lambda: None)
    return made


group, survey, interview = _group("focus_group"), _group("survey"), _group("interview")
