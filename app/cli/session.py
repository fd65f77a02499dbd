"""`simfeed session`: all that is asked of models in sessions, how it stands, and what came of it."""

from typing import Annotated, Any, Literal

import asyncpg
import typer

from app.agent.turn import Mind
from app.cli import session_examples
from app.cli.common import EXIT_FAILED, Home, Json, err, go, opened, settings_for, show_json, table
from app.cli.session_data import Form, Out, What, exported, write
from app.cli.session_design import (
    BudgetTokens,
    BudgetUsd,
    Fields,
    MaxTokens,
    Model,
    Objective,
    Seed,
    extraction_config,
    given,
)
from app.cli.session_play import Screen, perform, piped, plain
from app.cli.session_play import watch as follow_it
from app.cli.session_show import cost, show, wide
from app.db.engine import Database
from app.errors import Conflict, Invalid
from app.settings import Settings
from app.venues.run import open_mind
from app.venues.session import results
from app.venues.session.design import Kind, Terms, checked
from app.venues.session.results import block, status_of, transcript
from app.world import sessions
from app.world.sessions import SESSIONS, encoded
from app.world.text import INT64_MAX

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="\b\nExamples:\n  simfeed session list\n  simfeed session show KEY\n  simfeed session resume KEY\n"
    "  simfeed session export KEY --what answers --format csv -o answers.csv\n"
    "  simfeed session example survey > survey.json\n\n"
    "Dialogues, focus groups, surveys, interviews: what came of them, and going on with them (docs/sessions.md).",
)
Key = Annotated[str, typer.Argument(metavar="KEY", help="A session's key: 12 letters and digits.")]
Steps = Annotated[int, typer.Option(min=1, max=10_000, help="Messages until it is paused again.")]
Leave = Annotated[bool, typer.Option("--leave", help="Leave it to the server.")]
CheckpointName = Annotated[str, typer.Argument(metavar="NAME", help="What the checkpoint is called.")]


async def of_kind(database: Database, key: str, kind: Kind) -> asyncpg.Record:
    """A session that is of that kind.

    Raises:
        NotFound, Invalid: there is none, or it is another's.
    """
    row = await sessions.found(database, key)
    if row["kind"] != kind:
        raise Invalid(f"the session {key} is no {kind}, but of the kind {row['kind']}")
    return row


@app.command("list")
def list_(
    kind: Annotated[Kind | None, typer.Option(help="Of one kind only.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed session list
      simfeed session list --kind survey --json

    The newest sessions.
    """

    async def read() -> list[asyncpg.Record]:
        async with opened(settings_for(home)) as database:
            return await database.fetch(SESSIONS["listed"], INT64_MAX, kind, limit)

    rows = go(read())
    if json:
        show_json([{**dict(row), "status": status_of(row)} for row in rows])
        return
    cells: list[tuple[object, ...]] = [
        (
            r["key"],
            r["kind"],
            r["name"],
            status_of(r),
            r["members"],
            f"{r['answered']}/{r['asks_count']}",
            r["created_at"],
        )
        for r in rows
    ]
    columns = ("key", "kind", "name", "status", "people", "answered", "begun")
    empty = "No sessions yet: `simfeed dialogue run` or `simfeed group run` begins one."
    table("", *columns, rows=cells, empty=empty, console=wide())


@app.command("show")
def show_(key: Key, home: Home = None, json: Json = False) -> None:
    """\b
    Examples:
      simfeed session show kx7m2pqrs4td
      simfeed session show kx7m2pqrs4td --json

    How a session stands, and what came of it so far.
    """

    async def work() -> dict[str, Any] | None:
        async with opened(settings_for(home)) as database:
            row = await sessions.found(database, key)
            if json:
                return await block(database, row)
            points = await database.fetch(SESSIONS["checkpoints"], row["id"])
            with piped():
                typer.echo(
                    f"{row['kind']} {key} {plain(row['name'])}".strip() + f": {status_of(row)}, seed {row['seed']}"
                )
                for point in points:
                    mark = point["sha256"].hex()[:16]
                    typer.echo(f"checkpoint {plain(point['name'])}: {point['lines']} lines, sha256 {mark}…")
            await show(database, row)
            return None

    found = go(work())
    if found is not None:
        show_json(found)


def watch(
    key: Key,
    new: Annotated[bool, typer.Option("--new", help="Only what is said from now on.")] = False,
    home: Home = None,
) -> None:
    """\b
    Examples:
      simfeed session watch kx7m2pqrs4td
      simfeed dialogue watch kx7m2pqrs4td --new

    Follow what is said until the session is at its end; where it stands still, wait.
    """
    settings = settings_for(home)

    async def work() -> None:
        async with opened(settings) as database:
            row = await sessions.found(database, key)
            await follow_it(database, settings, row, Screen(), after=row["lines_count"] if new else 0)
            for line in await cost(database, await sessions.by_id(database, row["id"])):
                err.print(line, markup=False, highlight=False)

    go(work())


def pause(key: Key, home: Home = None) -> None:
    """\b
    Examples:
      simfeed session pause kx7m2pqrs4td

    Ask nobody anything further until it goes on; what is under way is finished.
    """

    async def work() -> None:
        async with opened(settings_for(home)) as database:
            row = await sessions.found(database, key)
            await sessions.pause(database, row["id"])

    go(work())
    err.print(f"Paused. `simfeed session resume {key}` goes on with it.", markup=False)


def resume(
    key: Key,
    steps: Annotated[int | None, typer.Option(min=1, max=10_000, help="Pause again after so many messages.")] = None,
    leave: Leave = False,
    budget_tokens: BudgetTokens = None,
    budget_usd: BudgetUsd = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed session resume kx7m2pqrs4td                     one that was paused, or whose process was killed
      simfeed session resume kx7m2pqrs4td --budget-usd 2      one that had used up its budget
      simfeed session resume kx7m2pqrs4td --leave             played by the server, not here

    Go on with a session where it stands. Nobody is asked again what was answered.
    """
    settings = settings_for(home)
    terms = given(budget_tokens=budget_tokens, budget_usd=budget_usd)
    found = go(_resume(settings, key, steps, terms, leave=leave, silent=json))
    finish(found, json=json)


def finish(found: dict[str, Any] | None, *, json: bool) -> None:
    """Tell programs what came of it; exit with 1 where that is nothing."""
    if found is None:
        return
    if json:
        show_json(found)
    if found["status"] == "failed":
        raise typer.Exit(EXIT_FAILED)


async def _resume(
    settings: Settings, key: str, steps: int | None, terms: dict[str, Any], *, leave: bool, silent: bool
) -> dict[str, Any] | None:
    async with opened(settings) as database:
        row = await sessions.found(database, key)
        if row["ended_at"] is not None:
            raise Conflict(f"the session {key} is at its end ({status_of(row)}): there is nothing to go on with")
        async with open_mind(settings, database, works=not leave) as mind:
            for provider in mind.pulse.blocked():
                mind.pulse.unblock(provider)
            await mind.pulse.beat()
            if terms:
                await database.fetchval(SESSIONS["allow"], row["id"], encoded(terms))
            if row["state"] != "running":
                await sessions.go_on(database, row["id"], steps=steps)
            elif steps is not None:
                raise Conflict(f"the session {key} is under way: pause it first, then let it make steps")
            if leave:
                err.print(f"The session {key} goes on as soon as a server has time.", markup=False)
                return None
            return await play_and_tell(mind, settings, row, silent=silent)


async def play_and_tell(mind: Mind, settings: Settings, row: asyncpg.Record, *, silent: bool) -> dict[str, Any]:
    """Drive a session from where it stands, tell what is said and what comes of it; its answer block."""
    database = mind.database
    if row["lease_until"] is not None:
        err.print("It is taken over from who drove it, or followed while that one does.", markup=False)
    await perform(mind, settings, [row], Screen(silent), after=row["lines_count"])
    row = await sessions.by_id(database, row["id"])
    if not silent and row["kind"] != "dialogue":
        await show(database, row)
    else:
        for line in await cost(database, row):
            err.print(line, markup=False, highlight=False)
    answer = await block(database, row)
    return {**answer, "lines": await transcript(database, row)} if row["kind"] == "dialogue" else answer


app.command("watch")(watch)
app.command("pause")(pause)
app.command("resume")(resume)


@app.command()
def cancel(key: Key, home: Home = None) -> None:
    """\b
    Examples:
      simfeed session cancel kx7m2pqrs4td

    End a session for good: nobody is asked any more. What was said stays.
    """

    async def work() -> None:
        async with opened(settings_for(home)) as database:
            await sessions.cancel(database, (await sessions.found(database, key))["id"])

    go(work())
    err.print(f"The session {key} is cancelled. `simfeed session show {key}` has what was said.", markup=False)


@app.command()
def checkpoint(key: Key, name: CheckpointName, home: Home = None, json: Json = False) -> None:
    """\b
    Examples:
      simfeed session checkpoint kx7m2pqrs4td before-the-price

    Mark where a session stands, to go on from there another time. Each round marks itself: round-1, round-2.
    """
    if not name.strip() or len(name) > 60 or not name.isprintable():
        raise Invalid("NAME must be a line of 1 to 60 characters")

    async def work() -> dict[str, Any]:
        async with opened(settings_for(home)) as database:
            row = await sessions.found(database, key)
            await results.mark(database, row, name)
            points = await database.fetch(SESSIONS["checkpoints"], row["id"])
            return next(dict(point) for point in points if point["name"] == name)

    made = go(work())
    if json:
        show_json(made)
    else:
        err.print(
            f"Checkpoint {name}: {made['lines']} lines, sha256 {made['sha256'].hex()}", markup=False, highlight=False
        )


@app.command()
def recover(
    key: Key,
    name: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="`session show` lists them.")],
    leave: Leave = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed session recover kx7m2pqrs4td round-1
      simfeed session recover kx7m2pqrs4td round-1 --leave

    Go on from a checkpoint in a new session with the same people; the old one stays. The new key comes on stdout.
    """
    settings = settings_for(home)

    async def work() -> dict[str, Any] | None:
        async with opened(settings) as database:
            made = await results.recover(database, settings, await sessions.found(database, key), name)
            row = await sessions.found(database, made)
            if json:
                err.print(made, markup=False, highlight=False)
            else:
                typer.echo(made)
            if leave:
                return None
            async with open_mind(settings, database, works=True) as mind:
                return await play_and_tell(mind, settings, row, silent=json)

    finish(go(work()), json=json)


@app.command()
def extract(
    key: Key,
    fields: Fields,
    objective: Objective = "",
    situation: Annotated[str, typer.Option(metavar="TEXT", help="What is to be known of the talk.")] = "",
    per: Annotated[
        Literal["participant", "run"] | None, typer.Option(help="A record of each participant, or one of all.")
    ] = None,
    repetitions: Annotated[
        int | None, typer.Option(min=1, max=9, help="So often; what agrees is more certain.")
    ] = None,
    seed: Seed = None,
    model: Model = None,
    max_tokens: MaxTokens = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed session extract kx7m2pqrs4td --fields "reason,would_use:boolean" --objective "who would use it, and why"
      simfeed session extract kx7m2pqrs4td --fields "stance:category=for|against|undecided" --repetitions 3 --json

    Read what was said in a session again, for other fields.
    """
    settings = settings_for(home)
    config = extraction_config(fields, objective, situation=situation, per=per, repetitions=repetitions)
    terms: Terms = checked(Terms, given(seed=seed, model=model, max_tokens=max_tokens), "terms")

    async def work() -> dict[str, Any]:
        async with opened(settings) as database, open_mind(settings, database, works=True) as mind:
            row = await sessions.found(database, key)
            made = await results.extract(database, settings, row, config, terms=terms)
            err.print(f"Extraction {made} of {row['kind']} {key}.", markup=False, highlight=False)
            return await play_and_tell(mind, settings, await sessions.found(database, made), silent=json)

    finish(go(work()), json=json)


@app.command()
def export(
    key: Key,
    what: Annotated[What, typer.Option(help="What of it.")] = "transcript",
    form: Annotated[Form, typer.Option("--format", help="As what; md is for transcripts and documents.")] = "json",
    to: Out = None,
    home: Home = None,
) -> None:
    """\b
    Examples:
      simfeed session export kx7m2pqrs4td --what answers --format csv -o answers.csv
      simfeed session export kx7m2pqrs4td --what extracted --format parquet -o fields.parquet
      simfeed session export kx7m2pqrs4td --what transcript --format md

    A session's answers, extracted values, transcript or result, as a file or on stdout.
    """

    async def read() -> bytes:
        async with opened(settings_for(home)) as database:
            return await exported(database, await sessions.found(database, key), what, form)

    write(go(read()), to, binary=form == "parquet")


app.command("example")(session_examples.example)
