"""The feed as a venue: in a cycle every persona that wakes has one turn, all at once."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import asyncpg
import msgspec
import structlog

from app.actions.feed import every_feed_actions, feed_actions, feed_actions_by
from app.agent import prompt
from app.agent.turn import Mind, Seat, State, Turn
from app.db.engine import TROUBLE
from app.ledger import transcript
from app.settings import Settings
from app.streams import number
from app.venues.run import TURNS, account, awake, now, open_run
from app.venues.worker import EVERY, Claim, Play, Prepare, TurnEnd, Worker
from app.world import feed, moderation

VENUE = "feed"
log = structlog.get_logger()


async def open_cycle(
    mind: Mind,
    settings: Settings,
    *,
    slot: str | None = None,
    seed: int | None = None,
    waits: bool = False,
    terms: Mapping[str, Any] = MappingProxyType({}),
) -> int | None:
    """Open a cycle for all that wake and return its run; None when the slot is already taken.

    Without a slot the cycle is one of its own. Without a seed it follows from the slot. `terms` are the run's own.
    """
    slot = slot or f"feed/by-hand/{time.time_ns()}"
    seed = number(0, slot, bits=62) if seed is None else seed
    personas = await awake(mind.database, seed)
    kept = {
        "model": settings.simfeed_model,
        "tool_mode": settings.tool_mode,
        "max_actions": settings.max_actions,
        "copies": settings.copies,
        **terms,
    }
    return await open_run(
        mind.database,
        venue=VENUE,
        slot=slot,
        seed=seed,
        settings=kept,
        personas=personas,
        batch=settings.batch_turns,
        waits=waits,
    )


async def prepare_run(mind: Mind, settings: Settings, run_id: int) -> Prepare | None:
    """How a cycle's turns are played; None if there is no such run.

    Marked texts are looked into once none of the cycle's turns is open, by whoever ends the last; and, in case that
    process died, before anybody begins the next cycle.
    """
    run = await mind.database.fetchrow(TURNS["run"], run_id)
    if run is None:
        return None
    terms = msgspec.json.decode(run["settings"])
    native = terms.get("tool_mode", "native") == "native"
    copies: moderation.Mode = terms.get("copies", settings.copies)
    await _look_into(mind, await moderation.left_over(mind.database, VENUE, run_id), copies)
    await transcript.keep_tools(mind.database, [(a.tools_sha256, a.tools) for a in every_feed_actions()])

    under_way = 0

    async def prepare(claims: list[Claim]) -> Play:
        nonlocal under_way
        rows = await feed.situations(mind.database, [claim.persona_id for claim in claims])

        under_way += len(claims)

        async def play(claim: Claim) -> tuple[State, str | None]:
            nonlocal under_way
            row = rows[claim.persona_id]
            seat = _seat(claim, row, run_id, run["seed"], terms, settings, native)
            try:
                turn = await _turn(mind, seat, claim, row)
                state = await turn.play()
            finally:
                under_way -= 1
            if not under_way:
                await _close(mind, run_id, copies)
            return state, turn.reason

        return play

    return prepare


async def _close(mind: Mind, run_id: int, copies: moderation.Mode) -> None:
    """Look into what was marked, if the cycle is over."""
    try:
        if await mind.database.fetchval(TURNS["open_turns"], run_id, *EVERY):
            return
    except TROUBLE as error:
        log.debug("left to the next cycle", run=run_id, error=type(error).__name__)
        return
    await _look_into(mind, [run_id], copies)


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
    """Play a cycle's open turns in this process, beside any workers, and return the run's state."""
    prepare = await prepare_run(mind, settings, run_id)
    if prepare is None:
        return None
    async with Worker(mind, at_once=settings.max_concurrent_turns) as worker:
        await worker.play(run_id, prepare, on_end=on_end)
    return str(await mind.database.fetchval(TURNS["run_state"], run_id))


def _lately(row: asyncpg.Record) -> list[tuple[str, int, str]]:
    return [tuple(did) for did in msgspec.json.decode(row["lately"] or "[]")]


def _seat(
    claim: Claim, row: asyncpg.Record, run_id: int, seed: int, terms: dict[str, Any], settings: Settings, native: bool
) -> Seat:
    temperature = row["temperature"] if row["temperature"] is not None else settings.model_temperature
    return Seat(
        turn_id=claim.turn_id,
        persona_id=claim.persona_id,
        epoch=claim.epoch,
        seed=seed,
        model=row["model"] or str(terms.get("model", settings.simfeed_model)),
        temperature=temperature,
        native=native,
        actions=feed_actions(
            has_liked=any(did == "liked" for did, _, _ in _lately(row)), follows=row["following_count"] > 0
        ),
        marker=prompt.marker(seed, claim.persona_id),
        account=account(
            settings, terms, run_id=run_id, persona_id=claim.persona_id, turn_id=claim.turn_id, epoch=claim.epoch
        ),
        goes_on=claim.goes_on,
    )


async def _turn(mind: Mind, seat: Seat, claim: Claim, row: asyncpg.Record) -> Turn:
    if claim.next_step:
        progress = await transcript.progress(mind.database, claim.turn_id)
        offered = feed_actions_by(progress.tools_sha256) or seat.actions
        return await Turn.resumed(mind, replace(seat, actions=offered), progress)
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
        now=now(),
    )
    max_actions = mind.limits.max_actions
    return Turn.fresh(
        mind,
        seat,
        prompt.opening(situation, seat.actions, marker=seat.marker, max_actions=max_actions, native=seat.native),
    )
