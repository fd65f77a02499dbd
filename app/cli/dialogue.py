"""`simfeed dialogue`: models talk to each other."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import asyncpg
import typer

from app.cli.common import EXIT_FAILED, Home, Json, err, go, opened, settings_for, show_json
from app.cli.session import Key, Steps, of_kind, pause, resume, watch
from app.cli.session_data import Out, dialogue_export
from app.cli.session_design import (
    BudgetTokens,
    BudgetUsd,
    Checks,
    MaxTokens,
    Model,
    Seed,
    dialogues_of,
    given,
)
from app.cli.session_play import Screen, perform
from app.cli.session_show import cost
from app.db.engine import Database
from app.errors import Invalid
from app.settings import Settings
from app.venues.run import open_mind
from app.venues.session.design import Dialogue
from app.venues.session.opening import begin
from app.venues.session.results import block, transcript
from app.world import sessions

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="\b\nExamples:\n  simfeed dialogue run app.yaml --seed-file seed.yaml --turns 8 --seed 7 --model scripted\n"
    "  simfeed dialogue run --bot 'Geo=You are a geologist.' --bot 'Mara=You are a sceptic.' --message 'Rare earths?'\n"
    "  simfeed dialogue watch KEY\n  simfeed dialogue export KEY -o analytics.csv\n\n"
    "Models talk to each other (docs/sessions.md).",
)


class Turns(StrEnum):
    """Who speaks next."""

    ROUND_ROBIN = "round_robin"
    RANDOM = "random"
    MODERATED = "moderated"
    RAISED_HANDS = "raised_hands"


File = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE]", help="GenAI Social Sim's app.yaml, or a dialogue (`session example dialogue`)."),
]
SeedFiles = Annotated[
    list[Path] | None, typer.Option("--seed-file", metavar="FILE", help="A seed.yaml; several: a channel each.")
]
Channels = Annotated[
    list[str] | None, typer.Option("--channel", metavar="C", help="A channel; several run side by side.")
]
Bots = Annotated[
    list[str] | None,
    typer.Option("--bot", metavar="NAME=PROMPT", help="Who talks: NAME=PROMPT, or NAME=@handle of a persona."),
]
MessageText = Annotated[str | None, typer.Option(metavar="TEXT", help="What it begins with.")]
From = Annotated[str | None, typer.Option("--from", metavar="NAME", help="Whose words those are.")]
TurnCount = Annotated[int | None, typer.Option(min=1, max=10_000, help="Ends after so many turns; 20 if not given.")]
Taking = Annotated[Turns | None, typer.Option(help="Who speaks next.")]
Moderator = Annotated[Literal["model", "rule"] | None, typer.Option(help="Who chooses, where it is moderated.")]
Window = Annotated[int | None, typer.Option(min=1, max=200, help="Messages that a bot is shown; 20 if not given.")]
Until = Annotated[str, typer.Option(metavar="PHRASE", help="Ends as soon as somebody says that.")]
Seconds = Annotated[float | None, typer.Option(min=0.1, max=7 * 86_400, help="Ends after so many seconds.")]
Tokens = Annotated[int | None, typer.Option(min=1, max=10**10, help="Ends once it took so many tokens.")]


@app.command()
def run(
    file: File = None,
    seed_file: SeedFiles = None,
    channel: Channels = None,
    bot: Bots = None,
    message: MessageText = None,
    sender: From = None,
    turns: TurnCount = None,
    turn_taking: Taking = None,
    moderator: Moderator = None,
    window: Window = None,
    until: Until = "",
    seconds: Seconds = None,
    tokens: Tokens = None,
    check: Checks = None,
    seed: Seed = None,
    model: Model = None,
    max_tokens: MaxTokens = None,
    budget_tokens: BudgetTokens = None,
    budget_usd: BudgetUsd = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed dialogue run app.yaml --seed-file seed.yaml --model scripted
      simfeed dialogue run app.yaml --channel general --channel weather --message "What now?"
      simfeed dialogue run --bot "A=You are curt." --bot B=@max_vantage --message "Bicycles?" --turn-taking random

    Play a dialogue, or one in each of several channels at once; what is said comes on stdout as it is said.
    """
    stop = given(turns=turns, phrase=until, seconds=seconds, tokens=tokens)
    terms = given(seed=seed, model=model, max_tokens=max_tokens, budget_tokens=budget_tokens, budget_usd=budget_usd)
    more = given(turn_taking=turn_taking, moderator=moderator, window=window, checks=check)
    more |= {name: value for name, value in (("stop", stop), ("terms", terms)) if value}
    designs = dialogues_of(
        file,
        seeds=seed_file or (),
        channels=channel or (),
        bots=bot or (),
        message=message,
        sender=sender,
        model=model,
        more=more,
    )
    found = go(_run(settings_for(home), designs, silent=json))
    if json:
        show_json(found)
    if all(one["status"] == "failed" for one in found):
        raise typer.Exit(EXIT_FAILED)


async def _run(settings: Settings, designs: Sequence[Dialogue], *, silent: bool) -> list[dict[str, Any]]:
    async with opened(settings) as database, open_mind(settings, database, works=True) as mind:
        rows = await _begin(database, settings, designs)
        await perform(mind, settings, rows, Screen(silent))
        return [await _ended(database, row["key"]) for row in rows]


async def _begin(
    database: Database, settings: Settings, designs: Sequence[Dialogue], *, waits: bool = False
) -> list[asyncpg.Record]:
    rows = []
    for design in designs:
        key = await begin(database, settings, "dialogue", design, name=design.name or design.channel, waits=waits)
        rows.append(await sessions.found(database, key))
        channel = f" in channel {design.channel}" if design.channel else ""
        err.print(f"Dialogue {key}{channel}, seed {design.terms.seed}.", markup=False, highlight=False)
    return rows


async def _ended(database: Database, key: str) -> dict[str, Any]:
    """A dialogue as programs get it, once how it ended has been told."""
    row = await sessions.found(database, key)
    for line in await cost(database, row):
        err.print(line, markup=False, highlight=False)
    answer = await block(database, row)
    told = {name: answer[name] for name in ("session_id", "status", "reason", "quality", "metadata")}
    return {**told, "channel": row["name"], "lines": await transcript(database, row)}


@app.command()
def seed(
    what: Annotated[
        str, typer.Argument(metavar="KEY|FILE", help="A dialogue that waits, or a file as `run` takes it.")
    ],
    seed_file: SeedFiles = None,
    channel: Channels = None,
    bot: Bots = None,
    message: MessageText = None,
    sender: From = None,
    turns: TurnCount = None,
    number: Annotated[
        int | None, typer.Option("--seed", min=0, max=2**62, help="The same seed, the same talk.")
    ] = None,
    model: Model = None,
    wait: Annotated[bool, typer.Option("--wait", help="Nothing is asked until it is seeded by its key.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed dialogue seed app.yaml --seed-file seed.yaml          its key; the server plays it
      simfeed dialogue seed app.yaml --seed-file seed.yaml --wait   nothing is asked yet
      simfeed dialogue seed kx7m2pqrs4td                            now it begins

    Begin a dialogue and leave it to the server, or let one begin that waits. The keys come on stdout.
    """
    settings = settings_for(home)
    path = Path(what)
    if not path.suffix and not path.exists():
        go(_let_begin(settings, what))
        keys = [what]
    else:
        more = {"stop": given(turns=turns), "terms": given(seed=number, model=model)}
        designs = dialogues_of(
            path,
            seeds=seed_file or (),
            channels=channel or (),
            bots=bot or (),
            message=message,
            sender=sender,
            model=model,
            more={name: value for name, value in more.items() if value},
        )
        keys = go(_seed(settings, designs, waits=wait))
    if json:
        show_json(keys)
        return
    for key in keys:
        typer.echo(key)
    told = (
        "waits; `simfeed dialogue seed KEY` begins it"
        if wait
        else "is played by a server; `simfeed dialogue watch KEY`"
    )
    err.print(f"It {told}.", markup=False)


async def _let_begin(settings: Settings, key: str) -> None:
    async with opened(settings) as database:
        row = await of_kind(database, key, "dialogue")
        if row["lines_count"]:
            raise Invalid(f"the dialogue {key} has begun already: `simfeed dialogue resume {key}` goes on with it")
        await sessions.go_on(database, row["id"])


async def _seed(settings: Settings, designs: Sequence[Dialogue], *, waits: bool) -> list[str]:
    async with opened(settings) as database:
        return [row["key"] for row in await _begin(database, settings, designs, waits=waits)]


app.command("watch")(watch)
app.command("pause")(pause)
app.command("resume")(resume)


@app.command()
def step(key: Key, steps: Steps = 1, home: Home = None, json: Json = False) -> None:
    """\b
    Examples:
      simfeed dialogue step kx7m2pqrs4td
      simfeed dialogue step kx7m2pqrs4td --steps 3

    Let a dialogue that is paused go on for a message, or for so many; then it is paused again.
    """
    resume(key, steps=steps, home=home, json=json)


@app.command()
def export(
    key: Key,
    form: Annotated[
        Literal["csv", "jsonl", "md", "txt"],
        typer.Option("--format", help="csv: analytics by bot; jsonl, md, txt: what was said."),
    ] = "csv",
    to: Out = None,
    home: Home = None,
) -> None:
    """\b
    Examples:
      simfeed dialogue export kx7m2pqrs4td                         analytics as CSV
      simfeed dialogue export kx7m2pqrs4td --format md -o talk.md

    What a dialogue came to: analytics of each bot (GenAI Social Sim's columns), or its transcript.
    """

    async def read() -> bytes:
        async with opened(settings_for(home)) as database:
            return await dialogue_export(database, await of_kind(database, key, "dialogue"), form)

    from app.cli.session_data import write

    write(go(read()), to)
