"""`simfeed replay`: a recorded run again, with nobody asked; or otherwise, from some point on."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from app.agent.turn import Limits, Mind
from app.analysis import state as states
from app.analysis.state import Terms, WorldDiff
from app.cli.common import Home, Json, err, go, opened, out, settings_for, show_json, table
from app.db import worlds as databases
from app.db.engine import Database
from app.errors import Conflict, Invalid, NotFound
from app.ledger.commit import Committer
from app.ledger.recorded import Cycle, Position, cycles, maker, next_run, recording
from app.llm.gateway import Gateway, ready
from app.settings import Settings
from app.venues.replay import Change, play_otherwise, replay_run
from app.venues.run import LEASE_SECONDS
from app.world import moderation, personas, ranking, worlds
from app.world.interventions import behind_post
from app.world.rewind import rewind
from app.world.text import INT64_MAX

NETWORK = Terms(part="network", times="world")
ASIDE = frozenset({"memories", "instance"})
"""Tables that say nothing of what happened: memories are made of it, and kept only as long as they matter."""

EXIT_DIFFERENT = 1
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--counterfactual",
        metavar="CHANGE",
        help="What is otherwise from RUN on: `drop post 17`, `model gpt-4o-mini`, `ranker interest`, "
        "`persona ada description TEXT`, `without intervention 3`.",
    ),
]


@dataclass
class Wish:
    """The changes of a counterfactual, read."""

    drop: list[int] = field(default_factory=list)
    without: list[int] = field(default_factory=list)
    terms: dict[str, Any] = field(default_factory=dict)
    personas: list[tuple[str, str, str]] = field(default_factory=list)


def replay(
    run: Annotated[int, typer.Argument(min=1, max=INT64_MAX, help="A cycle's number, as `simfeed runs` lists them.")],
    counterfactual: Changes = None,
    keep: Annotated[
        str | None, typer.Option(metavar="NAME", help="Keep the world in which it was played, under this name.")
    ] = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed replay 12
      simfeed replay 12 --counterfactual "drop post 17" --keep without-17
      simfeed replay 12 --counterfactual "ranker interest"

    Play a recorded cycle again in a fork, with what models answered then, and compare the worlds by their hash.

    With --counterfactual it and all cycles after it are played otherwise: what is asked as it was is answered as it
    was, at no cost; the rest is asked anew. What has become different is told.
    """
    settings = settings_for(home)
    if settings.simfeed_world:
        raise Invalid("a replay begins in the home world: leave SIMFEED_WORLD and --world out")
    if counterfactual:
        found = go(_otherwise(settings, run, _wish(counterfactual), keep))
        _show_otherwise(found, json=json)
        return
    found = go(_again(settings, run, keep))
    _show(found, json=json)
    if not found["equal"]:
        raise typer.Exit(EXIT_DIFFERENT)


def _wish(changes: list[str]) -> Wish:
    wish = Wish()
    for change in changes:
        words = change.split(None, 3)
        match words:
            case ["drop", "post", number] if number.isascii() and number.isdigit() and len(number) < 19:
                wish.drop.append(int(number))
            case ["without", "intervention", number] if number.isascii() and number.isdigit() and len(number) < 19:
                wish.without.append(int(number))
            case ["model", name]:
                wish.terms["model"] = name
            case ["ranker", *_]:
                wish.terms["ranker"] = str(ranking.parse(change.removeprefix("ranker").strip()))
            case ["persona", name, "description" | "bio" as what, text]:
                wish.personas.append((name.removeprefix("@"), what, text))
            case _:
                raise Invalid(
                    f"--counterfactual can't be {change[:80]!r}: it is `drop post N`, `without intervention N`, "
                    "`model NAME`, `ranker NAME`, or `persona NAME description TEXT` (or bio)"
                )
    return wish


@asynccontextmanager
async def _fork(settings: Settings, run: int, keep: str | None) -> AsyncIterator[tuple[Database, Database, str]]:
    """The home world, and a fork of it that is dropped again unless it is to be kept."""
    name = keep or f"replay-{run}-{secrets.token_hex(4)}"
    async with opened(settings) as home:
        if not await home.fetchval("SELECT EXISTS (SELECT FROM runs WHERE id = $1 AND venue = 'feed')", run):
            raise NotFound(f"no cycle of the feed has the number {run}: `simfeed runs` lists them")
        with err.status(f"forking the world as {name}") as status:
            await worlds.make(home, name, note=f"replay of run {run}", told=lambda words: status.update(words))
        kept = False
        try:
            fork = await Database.open(databases.unhurried(await databases.locate(home.url, name)), size=10)
            try:
                yield home, fork, name
            finally:
                await fork.close()
            kept = keep is not None
        finally:
            if not kept:
                await worlds.drop(home, name)


@asynccontextmanager
async def _mind(settings: Settings, fork: Database, model: Any) -> AsyncIterator[Mind]:
    limits = Limits(
        max_actions=settings.max_actions,
        max_calls_per_reply=settings.max_calls_per_reply,
        result_tokens=settings.result_tokens,
        max_tokens=settings.model_max_tokens,
    )
    async with Committer(fork, lease_seconds=LEASE_SECONDS) as committer:
        yield Mind(fork, committer, model, limits)


async def _back(fork: Database, run: int) -> None:
    async with fork.connection() as connection:
        await rewind(connection, run)


async def hashes(fork: Database) -> dict[str, str]:
    """The canonical hash of each table that tells what happened in the world."""
    async with fork.connection() as connection:
        found = await states.state(connection, NETWORK)
    return {one.table: one.sha256 for one in found.tables if one.table not in ASIDE}


class _Nobody:
    """Stands where a model would; nobody is asked."""

    async def complete(self, _: object) -> None:
        raise Conflict("the recording is not whole: a reply is missing")


async def _again(settings: Settings, run: int, keep: str | None) -> dict[str, Any]:
    async with _fork(settings, run, keep) as (home, fork, name):
        later = await next_run(fork, run)
        if later is not None:
            await _back(fork, later)
        before = await hashes(fork)
        recorded = await recording(fork, run)
        await _back(fork, run)
        with err.status(f"playing run {run} again: {len(recorded.calls):,} calls, nobody is asked"):
            async with _mind(settings, fork, _Nobody()) as mind:
                told = await replay_run(mind, settings, recorded)
        after = await hashes(fork)
        different = sorted(table for table in before if before[table] != after[table])
        shown = await states.diff_at(home.url, fork.url, NETWORK, limit=3) if different and later is None else None
    return {
        "run": run,
        "equal": not different,
        "calls": told.calls,
        "asked": 0,
        "drifted": told.drifted,
        "state": told.state,
        "different_tables": different,
        "sha256": after,
        "world": name if keep else None,
        "diff": shown,
    }


def _show(found: dict[str, Any], *, json: bool) -> None:
    shown = found.pop("diff")
    if json:
        show_json(found)
        return
    word = "equal" if found["equal"] else "different"
    out.print(
        f"Run {found['run']} again: {word}. {found['calls']:,} calls answered from the ledger, nobody was asked; "
        f"{found['drifted']:,} were asked in other words than then.",
        markup=False,
        highlight=False,
    )
    if not found["equal"]:
        out.print(f"Different: {', '.join(found['different_tables'])}", markup=False, highlight=False)
        if shown is not None:
            _show_diff(shown)
    if found["world"]:
        err.print(f"The world is kept: simfeed world diff home {found['world']}", markup=False)


def _show_diff(found: WorldDiff) -> None:
    rows: list[tuple[object, ...]] = [
        (one.table, one.only_a, one.only_b, one.changed, "; ".join(row.about for row in one.first)[:120])
        for one in found.tables
        if one.table not in ASIDE and (one.only_a or one.only_b or one.changed)
    ]
    table("", "table", "only then", "only now", "changed", "first", rows=rows, empty="Nothing is different.")


async def _otherwise(settings: Settings, run: int, wish: Wish, keep: str | None) -> dict[str, Any]:
    if "model" in wish.terms:
        ready(settings, wish.terms["model"])
    async with _fork(settings, run, keep) as (home, fork, name):
        unsaid, hidden = await _unsaid(fork, run, wish.drop)
        played = await cycles(fork, run)
        _check_without(played, wish.without)
        await _back(fork, run)
        await _change(fork, wish, hidden)
        gateway = Gateway(settings)
        try:
            async with _mind(settings, fork, gateway) as mind:
                change = Change(unsaid, wish.terms, frozenset(wish.without))
                told = await _play(mind, settings, played, change)
        finally:
            await gateway.aclose()
        shown = await states.diff_at(home.url, fork.url, NETWORK, limit=3)
    return {
        "run": run,
        "cycles": [
            {"run": one.recorded.run_id, "calls": t.calls, "asked": t.drifted, "state": t.state}
            for one, t in zip(played, told, strict=True)
        ],
        "reused": sum(t.calls - t.drifted for t in told),
        "asked": sum(t.drifted for t in told),
        "world": name if keep else None,
        "diff": shown,
    }


async def _play(mind: Mind, settings: Settings, played: list[Cycle], change: Change) -> list[Any]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task("cycles", total=len(played))
        return await play_otherwise(mind, settings, played, change, on_cycle=lambda _: bar.update(task, advance=1))


async def _unsaid(fork: Database, run: int, posts: list[int]) -> tuple[frozenset[tuple[Position, str]], list[int]]:
    """What was said from the run on, as the tool calls that said it; and what had been said before."""
    calls: set[tuple[Position, str]] = set()
    before: list[int] = []
    for post in posts:
        found = await maker(fork, post)
        if found is None and (injected := await behind_post(fork, post)) is not None:
            raise Invalid(f"an intervention made post {post}: say `without intervention {injected['id']}`")
        if found is None:
            raise NotFound(f"no persona's turn has made a post {post}")
        made_in, place, call_id = found
        if made_in >= run:
            calls.add((place, call_id))
        else:
            before.append(post)
    return frozenset(calls), before


def _check_without(played: list[Cycle], numbers: list[int]) -> None:
    done = {number for cycle in played for number in cycle.recorded.interventions}
    for number in numbers:
        if number not in done:
            raise NotFound(
                f"no intervention {number} was done in run {played[0].recorded.run_id} or after it: "
                "`simfeed intervene list` tells which was done where"
            )


async def _change(fork: Database, wish: Wish, hidden: list[int]) -> None:
    async with fork.connection() as connection, connection.transaction():
        for post in hidden:
            await moderation.quarantine(connection, post, by=moderation.By("operator"), reason="counterfactual")
    for name, what, text in wish.personas:
        row = await fork.fetchrow(personas.PEOPLE["by_username"], name)
        if row is None:
            raise NotFound(f"no persona has the username {name}")
        spec = personas.spec_of(await personas.get(fork, row["id"])).model_copy(update={what: text})
        await fork.fetchval(personas.PEOPLE["update"], row["id"], *personas.columns(spec))


def _show_otherwise(found: dict[str, Any], *, json: bool) -> None:
    shown = found.pop("diff")
    if json:
        show_json(found)
        return
    rows: list[tuple[object, ...]] = [(one["run"], one["state"], one["calls"], one["asked"]) for one in found["cycles"]]
    table("", "run", "state", "calls", "asked anew", rows=rows, empty="")
    out.print(
        f"{found['reused']:,} calls were answered from the ledger, {found['asked']:,} asked anew.",
        markup=False,
        highlight=False,
    )
    _show_diff(shown)
    if found["world"]:
        err.print(f"The world is kept: simfeed world diff home {found['world']}", markup=False)
