"""The feed as a venue: in a cycle every persona that wakes has one turn, all at once."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Any

import asyncpg
import msgspec
import structlog

from app.actions import news as informing
from app.actions.feed import feed_actions_by, offered, world_extras
from app.agent import memory, prompt, told
from app.agent.memory import NOTHING, Recollection, Remembering
from app.agent.turn import Commits, Mind, Seat, State, Turn
from app.analysis import alarms, realism
from app.db.engine import TROUBLE, patiently
from app.errors import AppError
from app.ledger import transcript
from app.settings import Settings
from app.streams import number, stream
from app.venues import reflection
from app.venues.rounds import Rounds, alone
from app.venues.run import TURNS, Connection, Crowd, account, awake, now, open_run_in
from app.venues.worker import EVERY, Claim, Play, Prepare, TurnEnd, Worker
from app.world import feed, in_force, interventions, memories, moderation, news, ranking
from app.world.clock import set_clock, stands_at
from app.world.interventions import Recorded

VENUE = "feed"
LOOK_SECONDS = 0.5
log = structlog.get_logger()


async def open_cycle(
    mind: Mind,
    settings: Settings,
    *,
    slot: str | None = None,
    seed: int | None = None,
    waits: bool = False,
    terms: Mapping[str, Any] = MappingProxyType({}),
    rounds: bool | None = None,
    at: datetime | None = None,
    lasts: timedelta | None = None,
    again: Mapping[int, Recorded | None] | None = None,
) -> int | None:
    """Open a cycle for all that wake and return its run; None when the slot is already taken.

    Without a slot the cycle is one of its own. Without a seed it follows from the slot. `terms` are the run's own.

    Args:
        rounds: everybody reads the world as it was when the round began (`app/venues/rounds.py`).
        at: when the cycle begins in a world whose clock is simulated; personas wake within `lasts` after it, in the
            order of the times that the seed gives them, and the clock goes on by so much. What is not given, the
            settings say.
        again: instead of the interventions that are due, these are done (`app/world/interventions.py`).

    Raises:
        Invalid: `terms` name a ranker, or a way to suggest people, that there is not.
        Misconfigured: FEED_RANKER does, or ALARMS or ACTION_MIX says what can't be.
    """
    alarms.check(settings)
    lasts = lasts or timedelta(minutes=settings.world_step_minutes)
    if at is None and settings.world_clock == "simulated":
        at = await stands_at(mind.database) or now()
    slot = slot or f"feed/by-hand/{time.time_ns()}"
    seed = number(0, slot, bits=62) if seed is None else seed
    if at is not None:
        terms = {**terms, "lasts_seconds": lasts.total_seconds()}
    kept = {
        "model": settings.simfeed_model,
        "tool_mode": settings.tool_mode,
        "max_actions": settings.max_actions,
        "copies": settings.copies,
        "memory": settings.memory,
        "memory_scope": settings.memory_scope,
        **({"reuse": True} if settings.reuse else {}),
        **({"reactions": settings.reactions} if settings.reactions != "off" else {}),
        **({"trends": settings.trends} if settings.trends != "off" else {}),
        **terms,
        **_shown(settings, terms),
    }

    async def gather(connection: Connection, run_id: int) -> Crowd:
        await interventions.begin(connection, run_id, at=at, again=again)
        return await crowd_of(connection, seed, at, lasts)

    async def work() -> int | None:
        async with mind.database.connection() as connection, connection.transaction():
            await interventions.hold(connection)
            return await open_run_in(
                connection,
                gather,
                venue=VENUE,
                slot=slot,
                seed=seed,
                settings=kept,
                batch=settings.batch_turns,
                waits=waits,
                rounds=settings.rounds if rounds is None else rounds,
                at=at,
            )

    run_id = await patiently(work, memories.MET, tries=memories.TRIES, wait=memories.WAIT)
    if at is not None and run_id is not None:
        await set_clock(mind.database, at + lasts)
    return run_id


async def crowd_of(
    connection: Connection, seed: int, at: datetime | None, lasts: timedelta, opened: datetime | None = None
) -> Crowd:
    """Who wakes in a cycle, and when; and what rankers were switched for whom.

    In a world whose clock is real it was `opened` then, or is now.
    """
    personas = await awake(connection, seed, at or opened or now())
    later: list[float] = []
    if at is not None:
        times = {one: stream(seed, "time", one).random() * lasts.total_seconds() for one in personas}
        personas.sort(key=times.__getitem__)
        later = [times[one] for one in personas]
    switched = await in_force.rules(connection)
    return Crowd(personas, later, {"switched": switched} if switched else {})


def _shown(settings: Settings, terms: Mapping[str, Any]) -> dict[str, str]:
    """What decides what personas are shown, as the run keeps it: only what somebody has chosen."""
    if "ranker" not in terms:
        ranking.check(settings)
    ours = ranking.of_run(terms, settings.feed_ranker)
    way = str(terms.get("who_to_follow", settings.who_to_follow))
    return {
        **({"ranker": str(ours)} if ours is not None else {}),
        **({"who_to_follow": ranking.suggester(way)} if way != "off" else {}),
    }


async def prepare_run(
    mind: Mind,
    settings: Settings,
    run_id: int,
    *,
    through: Callable[[Commits | None], Commits] | None = None,
    guard: Callable[[], Awaitable[None]] | None = None,
) -> Prepare | None:
    """How a cycle's turns are played; None if there is no such run.

    `through` makes what takes the steps of what would: the run's rounds, or (None) the committer. A `guard`
    is called at the end, instead of looking into marked texts.

    Marked texts are looked into, and what happened becomes memories, once none of the cycle's turns is open, by whoever
    ends the last; and, in case that process died, before anybody begins the next cycle.
    """
    run = await mind.database.fetchrow(TURNS["run"], run_id)
    if run is None:
        return None
    terms = msgspec.json.decode(run["settings"])
    native = terms.get("tool_mode", "native") == "native"
    copies: moderation.Mode = terms.get("copies", settings.copies)
    if guard is None:
        await _look_into(mind, await moderation.left_over(mind.database, VENUE, run_id), copies)
    how = Remembering.of(settings, terms)
    if how.on:
        await _catch_up(mind, settings, run_id)
    await _watch(realism.catch_up(mind.database, settings, run_id), run_id)
    worlds = world_extras(str(terms.get("reactions", "off"))) | await _informed(mind, run, terms)

    under_way = 0
    kept: set[bytes] = set()
    rounds = Rounds(mind, run_id) if run["pacing"] == "rounds" else None
    commits: Commits | None = rounds if through is None else through(rounds)

    async def prepare(claims: list[Claim]) -> Play:
        nonlocal under_way
        rows = await feed.situations(mind.database, [claim.persona_id for claim in claims])
        fresh = [claim.persona_id for claim in claims if not claim.next_step]
        at = run["world_at"] or now()
        recalled = await memory.come_to_mind(mind.database, how, fresh, now=at, run_id=run_id)
        begun = [claim.turn_id for claim in claims if not claim.next_step]
        messages = await in_force.untold(mind.database, begun, fresh)

        seats = {
            claim.turn_id: _seat(claim, rows[claim.persona_id], run, terms, settings, native, worlds)
            for claim in claims
        }
        new = {seat.actions.tools_sha256: seat.actions.tools for seat in seats.values()}
        if new := {sha256: tools for sha256, tools in sorted(new.items()) if sha256 not in kept}:
            await transcript.keep_tools(mind.database, list(new.items()))
            kept.update(new)

        under_way += len(claims)
        if rounds is not None:
            for claim in claims:
                rounds.enter(claim)

        async def play(claim: Claim) -> tuple[State, str | None]:
            nonlocal under_way
            row = rows[claim.persona_id]
            seat = replace(seats[claim.turn_id], commits=commits)
            try:
                if rounds is not None:
                    await rounds.begin(claim)
                recollection = recalled.get(claim.persona_id, NOTHING)
                hearing = told.fit(messages.get(claim.turn_id, ()), len(recollection.shown))
                turn = await _turn(mind, seat, claim, row, recollection, hearing)
                state = await turn.play()
            finally:
                under_way -= 1
                if rounds is not None:
                    await rounds.leave(claim)
            if not under_way:
                await _close(mind, settings, run, guard or partial(_look_into, mind, [run["id"]], copies))
            return state, turn.reason

        return play

    return prepare


async def _close(mind: Mind, settings: Settings, run: asyncpg.Record, guard: Callable[[], Awaitable[None]]) -> None:
    """Look into what was marked, remember what happened, and let those look back who have enough to, if it is over."""
    try:
        if await mind.database.fetchval(TURNS["open_turns"], run["id"], *EVERY):
            return
    except TROUBLE as error:
        log.debug("left to the next cycle", run=run["id"], error=type(error).__name__)
        return
    await guard()
    await _remember(mind, settings, run)
    await _watch(realism.look(mind.database, settings, run["id"]), run["id"])


async def _watch(looking: Awaitable[object], run_id: int) -> None:
    """Let monitors look; what they can't just now, they do before the next cycle."""
    try:
        await looking
    except (*TROUBLE, AppError) as error:
        log.warning("monitors look before the next cycle", run=run_id, error=type(error).__name__)


async def _remember(mind: Mind, settings: Settings, run: asyncpg.Record) -> None:
    how = Remembering.of(settings, msgspec.json.decode(run["settings"]))
    if not how.on:
        return
    at, own = run["world_at"] or now(), how.scope == "run"
    try:
        await in_force.remember(mind.database, run["id"], now=at)
        kept = await memories.remember(mind.database, run["id"], now=at, most=how.most, own_bonds=own)
        await memory.embed_new(mind.database, settings, kept.whose)
        await reflection.open_after(mind, settings, run)
    except TROUBLE as error:
        log.warning("a cycle is remembered before the next one", run=run["id"], error=type(error).__name__)


async def _catch_up(mind: Mind, settings: Settings, run_id: int) -> None:
    """Remember what the processes that died before they could have left."""
    for late in await memories.left_over(mind.database, VENUE, run_id, on=settings.memory == "on"):
        run = await mind.database.fetchrow(TURNS["run"], late)
        if run is not None:
            await _remember(mind, settings, run)
    await reflection.look_after(mind, run_id)


async def _look_into(mind: Mind, run_ids: list[int], copies: moderation.Mode) -> None:
    try:
        changed = await moderation.look_into(mind.database, run_ids, copies)
    except TROUBLE as error:
        log.warning("marked texts are looked into before the next cycle", runs=run_ids, error=type(error).__name__)
        return
    if changed.posts or changed.comments:
        log.warning("texts that spread are in quarantine", runs=run_ids, posts=changed.posts, comments=changed.comments)


async def play_cycle(
    mind: Mind, settings: Settings, run_id: int, *, on_end: Callable[[TurnEnd], None] = lambda _: None
) -> str | None:
    """Play a cycle's open turns in this process, beside any workers, and return the run's state.

    One in rounds is played by one process: this one waits until no other does.
    """
    prepare = await prepare_run(mind, settings, run_id)
    run = await mind.database.fetchrow(TURNS["run"], run_id)
    if prepare is None or run is None:
        return None
    if run["pacing"] == "rounds":
        ours = False
        while not ours:
            ours = await play_rounds(mind, run_id, run["turns_total"], prepare, on_end)
            await asyncio.sleep(0 if ours else LOOK_SECONDS)
    else:
        async with Worker(mind, at_once=settings.max_concurrent_turns) as worker:
            await worker.play(run_id, prepare, on_end=on_end)
    await reflection.play_behind(mind, settings)
    return str(await mind.database.fetchval(TURNS["run_state"], run_id))


async def play_rounds(
    mind: Mind, run_id: int, turns: int, prepare: Prepare, on_end: Callable[[TurnEnd], None] = lambda _: None
) -> bool:
    """Play a run in rounds, with all of its turns held here; False when another process does."""
    async with alone(mind.database, run_id) as ours:
        if ours:
            async with Worker(mind, at_once=max(1, turns)) as worker:
                await worker.play(run_id, prepare, on_end=on_end)
    return ours


def _lately(row: asyncpg.Record) -> list[tuple[str, int, str]]:
    return [tuple(did) for did in msgspec.json.decode(row["lately"] or "[]")]


async def _informed(mind: Mind, run: asyncpg.Record, terms: dict[str, Any]) -> frozenset[str]:
    """What personas may look up in this cycle beside what members say: as of when it was opened, also in a replay."""
    known = run["created_at"]
    fresh = await news.any_fresh(mind.database, now=run["world_at"] or known, known=known)
    return informing.extras(fresh_news=fresh, trending=terms.get("trends") == "on")


def _seat(
    claim: Claim,
    row: asyncpg.Record,
    run: asyncpg.Record,
    terms: dict[str, Any],
    settings: Settings,
    native: bool,
    worlds: frozenset[str],
) -> Seat:
    run_id, seed = run["id"], run["seed"]
    temperature = row["temperature"] if row["temperature"] is not None else settings.model_temperature
    profile, rules = msgspec.json.decode(row["profile"]), terms.get("switched", ())
    own = ranking.of_persona(profile, ranking.of_run(terms, ranking.LATEST.name))
    ours = in_force.ranking_of(rules, claim.persona_id, profile, own)
    way = in_force.switched(rules, "who_to_follow", claim.persona_id, profile) or str(terms.get("who_to_follow", ""))
    way = way.removeprefix("off")
    return Seat(
        turn_id=claim.turn_id,
        persona_id=claim.persona_id,
        epoch=claim.epoch,
        seed=seed,
        model=row["model"] or str(terms.get("model", settings.simfeed_model)),
        temperature=temperature,
        native=native,
        actions=offered(
            row,
            ranked=ours is not None,
            suggests=bool(way),
            worlds=worlds,
        ),
        ranking=ours or ranking.LATEST,
        suggester=way,
        opened=run["created_at"],
        reuse=bool(terms.get("reuse")),
        marker=prompt.marker(seed, claim.persona_id),
        account=account(
            settings, terms, run_id=run_id, persona_id=claim.persona_id, turn_id=claim.turn_id, epoch=claim.epoch
        ),
        at=claim.world_at,
        goes_on=claim.goes_on,
    )


async def _turn(
    mind: Mind, seat: Seat, claim: Claim, row: asyncpg.Record, recalled: Recollection, hearing: told.Hearing
) -> Turn:
    if claim.next_step:
        progress = await transcript.progress(mind.database, claim.turn_id)
        actions = feed_actions_by(progress.tools) or seat.actions
        return await Turn.resumed(mind, replace(seat, actions=actions), progress)
    situation = prompt.Situation(
        username=row["username"],
        description=row["description"],
        bio=row["bio"],
        profile=msgspec.json.decode(row["profile"]),
        posts=row["posts_count"],
        comments=row["comments_count"],
        followers=row["followers_count"],
        following=row["following_count"],
        lately=_lately(row),
        now=claim.world_at or now(),
        memories=recalled.lines,
        told=hearing.lines,
    )
    max_actions = mind.limits.max_actions
    return Turn.fresh(
        mind,
        seat,
        prompt.opening(situation, seat.actions, marker=seat.marker, max_actions=max_actions, native=seat.native),
        (*recalled.shown, *hearing.shown),
    )
