"""`simfeed study test`: a study played by bots before the first person comes."""

import asyncio
import os
import re
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.cli.bench import place, reads
from app.cli.bench.report import number
from app.cli.bots import package
from app.cli.bots.people import CHARACTERS, STAGES, Bot, Study
from app.cli.common import EXIT_FAILED, Home, Json, confirm, err, go, opened, out, settings_for, show_json, table
from app.cli.writing import is_special, whole
from app.db import embedded, migrate
from app.db.engine import Database
from app.errors import Invalid, NotFound, Unavailable
from app.llm.budget import pricing_of
from app.llm.gateway import ready
from app.llm.model import Usage
from app.llm.pricing import OFFLINE, SCRIPTED
from app.settings import Settings
from app.streams import stream
from app.venues.chatroom import export as packages
from app.venues.chatroom import studies
from app.venues.chatroom.design import Member, StudyDesign
from app.venues.chatroom.files import read_simulacra, read_toml
from app.world import personas
from app.world.personas import PEOPLE, PersonaSpec
from app.world.text import INT64_MAX

MOST = 500
ARRIVAL_SECONDS = 0.1
"""One bot after the other so often; all within `ARRIVAL_MOST`."""

ARRIVAL_MOST = 15.0
GRACE_SHARE = 0.25
"""How much of a room a participant may be away, where the study does not say less."""

LOOK_SECONDS = 0.3
SETTLE_SECONDS = 30.0
PROMPT_TOKENS, COMPLETION_TOKENS = 1_500, 60
"""What a model call in a room takes about, as guessed."""

HUMAN_A_MINUTE = 4.0
ENDS = ("finished", "left", "dropped out", "withdrawn", "removed", "failed")
HANDED_ON = ("MODEL_", "OPENAI_", "DEEPSEEK_", "GEMINI_", "OPENROUTER_", "BUDGET_")
ALSO = frozenset({"TOOL_MODE", "REQUESTS_PER_MINUTE", "TOKENS_PER_MINUTE"})
"""Settings that a real model is asked under, here as anywhere."""


@dataclass(frozen=True)
class Source:
    """The study that is tried. `arms`: to which arms its tokens lead, one entry a token; None is assigned."""

    name: str
    design: StudyDesign
    seed: int
    arms: list[str | None]
    personas: list[PersonaSpec]


@dataclass(frozen=True)
class Wanted:
    """What the command was asked for."""

    participants: int
    minutes: float
    seed: int
    model: str


def study_test(
    study: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A study's name or number; or give --file or --toml.")
    ] = None,
    participants: Annotated[int, typer.Option(min=1, max=MOST, help="How many bots take part.")] = 50,
    minutes: Annotated[float, typer.Option(min=0.1, max=60, help="How long each room is open.")] = 2,
    file: Annotated[Path | None, typer.Option("--file", help="A study in one TOML file (docs/studies.md).")] = None,
    toml: Annotated[Path | None, typer.Option("--toml", help="A folder with Simulacra's three TOML files.")] = None,
    to: Annotated[Path | None, typer.Option("--out", help="The zip file to write; else NAME-test.zip.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    seed: Annotated[
        int | None, typer.Option(min=0, max=INT64_MAX, help="Decides what the bots do; drawn if not given.")
    ] = None,
    model: Annotated[str, typer.Option(help="The model of all agents; a real one costs money.")] = SCRIPTED,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the world they played in, as a folder NAME-test-world to look at.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask a real model without being asked.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed study test bicycles
      simfeed study test --file study.toml --participants 20 --minutes 1
      simfeed study test --toml config/ --seed 7 --out pilot-test.zip
      simfeed study test bicycles --participants 5 --model gpt-4o-mini

    Let bots play a whole study over HTTP and WebSocket, in a database of its own, and write the package it brings.
    """
    settings = settings_for(home, simfeed_model=model)
    ready(settings, model)
    source = _source(settings, study, file, toml, random_seed := secrets.randbits(31) if seed is None else seed)
    wanted = Wanted(participants, minutes, random_seed, model)
    to = to or Path(f"{_file_name(source.name)}-test.zip")
    if is_special(to):
        raise Invalid(f"{to} is no file, and the package is read again: choose another by --out")
    if to.exists() and not force:
        raise Invalid(f"{to} is there already: choose another file by --out, or write over it by --force")
    world = Path(f"{_file_name(source.name)}-test-world") if keep else None
    if world is not None and world.exists():
        raise Invalid(f"{world} is there already: move it away first")
    if model not in OFFLINE:
        _warn_of_cost(settings, source.design, wanted)
        confirm(f"Let {model} play?", yes=yes)
    with whole(to) as target:
        found = measure(settings, source, wanted, target, world)
    found["file"] = str(to)
    if json:
        show_json(found)
    else:
        show(found, source)
        err.print(f"{to} holds what the study brings, marked as a test", markup=False)
        if world is not None:
            err.print(f"`simfeed up --home {world}` shows the world they played in", markup=False)
    if not found["sound"]:
        err.print("simfeed: the study did not go as it should; the lines above say what", markup=False)
        raise typer.Exit(EXIT_FAILED)


# What is tried


def _source(settings: Settings, name: str | None, file: Path | None, folder: Path | None, seed: int) -> Source:
    """The study, from wherever it is.

    Raises:
        Invalid: none is named, or more than one.
        NotFound: there is none.
    """
    if sum(one is not None for one in (name, file, folder)) != 1:
        raise Invalid("name a study, or give its files by --file or --toml: one of them")
    if name is not None:
        return go(_stored(settings, name))
    if file is not None:
        return _with_stand_ins(Source(file.stem, read_toml(file), seed, [], []))
    design, tokens, notes = read_simulacra(folder or Path())
    for note in notes:
        err.print(f"note: {note}", markup=False, highlight=False)
    return Source(design.title, design, seed, [arm for arm, own in tokens.items() for _ in own], [])


async def _stored(settings: Settings, name: str) -> Source:
    async with opened(settings) as database:
        found = await studies.show(database, (await studies.find(database, name))["id"])
        specs = []
        for member in found.design.cast:
            if member.persona is not None:
                row = await database.fetchrow(PEOPLE["by_username"], member.persona)
                if row is None:
                    raise NotFound(f"cast: no persona has the username {member.persona}")
                specs.append(personas.spec_of(row))
    arms = [stock["arm"] for stock in found.tokens for _ in range(stock["count"])]
    return Source(found.name, found.design, found.seed, arms, specs)


def _with_stand_ins(source: Source) -> Source:
    """A file knows no persona of a database: made-up ones of these names play instead."""
    cast = source.design.cast
    if absent := [member.name for member in cast if member.persona is not None]:
        err.print(f"note: {', '.join(absent)}: played by made-up personas, for a file has no others", markup=False)
        cast = [Member(name=member.name) if member.persona else member for member in cast]
    return replace(source, design=source.design.model_copy(update={"cast": cast}))


def rehearsed(design: StudyDesign, minutes: float) -> StudyDesign:
    """The design with shorter rooms, played by one model."""
    grace = min(design.pace.grace_seconds, max(1.0, 60 * minutes * GRACE_SHARE))
    pace = design.pace.model_copy(update={"session_duration_minutes": float(minutes), "grace_seconds": grace})
    cast = [member.model_copy(update={"model": None}) for member in design.cast]
    return design.model_copy(update={"pace": pace, "cast": cast, "model": None})


def _warn_of_cost(settings: Settings, design: StudyDesign, wanted: Wanted) -> None:
    a_minute = design.pace.messages_per_minute + HUMAN_A_MINUTE * design.pace.user_response_probability
    calls = wanted.participants * wanted.minutes * a_minute
    usd = pricing_of(settings)(wanted.model, Usage(round(calls * PROMPT_TOKENS), round(calls * COMPLETION_TOKENS), 0))
    cost = "at a price that is not known here" if usd is None else f"for about ${usd:,.2f}"
    err.print(f"{wanted.model} will be asked about {calls:,.0f} times, {cost}", markup=False)


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "study"


# Playing


def measure(
    settings: Settings, source: Source, wanted: Wanted, target: IO[bytes], world: Path | None = None
) -> dict[str, Any]:
    """Have it played, write the package to `target`, and return the figures.

    Raises:
        Unavailable: the server did not come up.
        Conflict: the study can't be opened as it is.
    """
    design = rehearsed(source.design, wanted.minutes)
    began = time.perf_counter()
    if not err.is_terminal:
        err.print(f"{wanted.participants} bots play {source.name}, {wanted.minutes:g} min each", markup=False)
    with _place(settings, world) as url:
        study_id, tokens = go(_prepare(settings, url, source, design, wanted))
        with reads.serving(url, secrets.token_urlsafe(48), **_environment(settings, wanted)) as (_, port):
            bots = make_bots(f"http://127.0.0.1:{port}", design, tokens, wanted)
            go(_play(url, study_id, bots, wanted))
        facts: dict[str, Any] = {
            "test": True,
            "bots": wanted.participants,
            "seed": wanted.seed,
            "minutes": wanted.minutes,
            "model": wanted.model,
            "of_design_sha256": source.design.sha256().hex(),
        }
        manifest = go(_export(url, study_id, target, facts))
    found = package.compare(package.read(target), bots, design, source.seed)
    rows = {name: manifest["rows"][name] for name in ("participants", "sessions", "messages", "answers", "calls")}
    return {
        "study": source.name,
        **facts,
        "consent": design.consent,
        "seconds": time.perf_counter() - began,
        **found,
        "rows": rows,
    }


@contextmanager
def _place(settings: Settings, world: Path | None) -> Iterator[str]:
    """A migrated database for this alone: gone at the end, unless it is to be kept as `world`."""
    if world is None:
        with place.server(settings) as server, server.database() as url:
            yield url
        return
    with place._signals(), embedded.start(world, binaries=settings.postgres_binaries) as kept:
        go(migrate.upgrade(kept.url()))
        yield kept.url()


def _environment(settings: Settings, wanted: Wanted) -> dict[str, str]:
    """What the server is to know of the model, and that all bots come from one address."""
    names = [name.upper() for name in Settings.model_fields]
    handed = {} if wanted.model in OFFLINE else {
        name: value
        for name, value in os.environ.items()
        if name.upper() in names and (name.upper().startswith(HANDED_ON) or name.upper() in ALSO)
    }  # fmt: skip
    return {**handed, "SIMFEED_MODEL": wanted.model, "SESSION_GUESSES_PER_HOUR": str(10**6)}


async def _prepare(
    settings: Settings, url: str, source: Source, design: StudyDesign, wanted: Wanted
) -> tuple[int, list[str]]:
    """The copy of the study, open, and a token for each bot."""
    database = await Database.open(url, size=2)
    try:
        if source.personas:
            async with database.connection() as connection:
                await personas.add(connection, [one.model_copy(update={"model": None}) for one in source.personas])
        name = f"{source.name[:50]} (test)"
        study_id = await studies.create(database, name, design, seed=source.seed, by=None)
        await studies.open_study(database, settings, study_id, by=None)
        arms = shared_out(source.arms, design, wanted.participants)
        stream(wanted.seed, "tokens").shuffle(arms)
        made: dict[str | None, list[str]] = {}
        for arm in dict.fromkeys(arms):
            new = await studies.make_tokens(database, study_id, arms.count(arm), arm=arm, by=None)
            made[arm] = [one.token for one in new]
        return study_id, [made[arm].pop() for arm in arms]
    finally:
        await database.close()


def shared_out(stock: Sequence[str | None], design: StudyDesign, count: int) -> list[str | None]:
    """To which arms so many tokens lead, in the proportions of those that the study has."""
    known = sorted((arm for arm in stock if arm is None or arm in design.arms), key=lambda arm: arm or "")
    return [known[place * len(known) // count] for place in range(count)] if known else [None] * count


def make_bots(address: str, design: StudyDesign, tokens: Sequence[str], wanted: Wanted) -> list[Bot]:
    """Bots of all characters, in an order of chance."""
    known = Study(
        address=address,
        external=design.consent == "external",
        intake=design.intake,
        closing=design.closing,
        debriefs=bool(design.debrief_text),
        minutes=wanted.minutes,
        grace_seconds=design.pace.grace_seconds,
    )
    chance, bots = stream(wanted.seed, "bots"), []
    within = min(ARRIVAL_MOST, ARRIVAL_SECONDS * len(tokens))
    for start in range(0, len(tokens), len(CHARACTERS)):
        characters = chance.sample(CHARACTERS, len(CHARACTERS))
        for n, (character, token) in enumerate(zip(characters, tokens[start:], strict=False), start + 1):
            own = stream(wanted.seed, "bot", n)
            bots.append(Bot(n, character, token, known, own, arrives=own.uniform(0, within)))
    return bots


async def _play(url: str, study_id: int, bots: Sequence[Bot], wanted: Wanted) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task("participants", total=len(bots), note="")
        playing = asyncio.gather(*(bot.play() for bot in bots))
        try:
            while not playing.done():
                await asyncio.wait({playing}, timeout=LOOK_SECONDS)
                stages = Counter(bot.stage for bot in bots)
                ended = stages.pop("done", 0) + stages.pop("stuck", 0)
                note = " · ".join(f"{name} {stages[name]}" for name in STAGES if stages[name])
                bar.update(task, completed=ended, note=note)
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
        bar.update(task, note="waiting for the last rooms to end")
        await _settled(url, study_id, 60 * wanted.minutes + SETTLE_SECONDS)


async def _settled(url: str, study_id: int, seconds: float) -> None:
    """Wait until no room goes on: those whose participants dropped out end a while after.

    Raises:
        Unavailable: some never end.
    """
    database = await Database.open(url, size=2)
    try:
        async with asyncio.timeout(seconds):
            while await _open_rooms(database, study_id):  # noqa: ASYNC110 - another process ends them
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise Unavailable("some rooms did not come to an end") from None
    finally:
        await database.close()


async def _open_rooms(database: Database, study_id: int) -> int:
    ids = [row["id"] for row in await database.fetch(packages.EXPORT["room_ids"], study_id)]
    rooms = await database.fetch(packages.EXPORT["sessions"], ids)
    return sum(room["state"] != "ended" for room in rooms)


async def _export(url: str, study_id: int, file: IO[bytes], facts: Mapping[str, Any]) -> dict[str, Any]:
    database = await Database.open(url, size=2)
    try:
        return await packages.export(database, study_id, file, facts=facts, preface=package.WARNING)
    finally:
        await database.close()


# Telling


def show(found: dict[str, Any], source: Source) -> None:
    """The tables on stdout."""
    seen = [end for end in ENDS if any(row.get(end) for row in found["ends"])]
    rows: list[tuple[object, ...]] = [
        (row["arm"] or "(none yet)", row["came"], *(row.get(end, 0) for end in seen)) for row in found["ends"]
    ]
    rows.append(("all", found["participants"], *(sum(row.get(end, 0) for row in found["ends"]) for end in seen)))
    table(f"{found['bots']} bots in {source.name}, seed {found['seed']}", "arm", "came", *seen, rows=rows, empty="")
    table(
        "Characters", "", "bots", "wrote", "were told", "failed", empty="",
        rows=[(c["character"], c["bots"], c["wrote"], c["was_told"], c["failed"]) for c in found["characters"]],
    )  # fmt: skip
    times: list[tuple[object, ...]] = [
        (what, one["count"], number(one["p50_ms"], 0), number(one["p99_ms"], 0))
        for what, one in (
            ("a participant's message, sent to its echo", found["echo"]),
            ("the first answer of an agent to it", found["first_answer"]),
        )
    ]
    table("Times", "", "count", "p50 ms", "p99 ms", rows=times, empty="")
    balance: list[tuple[object, ...]] = [
        (one["arm"], one["weight"], one["by_token"], one["drawn"], one["expected"]) for one in found["balance"]
    ]
    table("Assignment", "arm", "weight", "by token", "drawn", "expected", rows=balance, empty="")
    said = found["messages"]
    lost = found["lost"]
    out.print(
        f"{said['people']:,} messages of participants, {said['agents']:,} of agents, {found['calls']:,} model calls "
        f"({found['calls_failed']} failed); {lost} lost, {found['doubled']} doubled, {found['disordered']} sessions "
        f"out of order, {found['assigned_otherwise']} assigned otherwise than seed and design say, "
        f"{len(found['problems'])} problems; {found['seconds']:.0f} s.",
        markup=False,
        highlight=False,
    )
    for one in found["problems"]:
        who = f"bot {one['bot']} ({one['character']})" if one["bot"] is not None else "the study"
        out.print(f"{who}: {one['problem']}", markup=False, highlight=False)
