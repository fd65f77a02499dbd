"""The feed as a venue: in a cycle every persona that wakes has one turn, all at once."""

import time
from collections.abc import Callable
from dataclasses import replace

import asyncpg
import msgspec

from app.actions.feed import every_feed_actions, feed_actions, feed_actions_by
from app.agent import prompt
from app.agent.turn import Mind, Seat, State, Turn
from app.ledger import transcript
from app.settings import Settings
from app.streams import number
from app.venues.run import TURNS, Claim, Play, TurnEnd, Worker, awake, now, open_run
from app.world import feed

VENUE = "feed"


async def open_cycle(mind: Mind, settings: Settings, *, slot: str | None = None, seed: int | None = None) -> int | None:
    """Open a cycle for all that wake and return its run; None when the slot is already taken.

    Without a slot the cycle is one of its own. Without a seed it follows from the slot.
    """
    slot = slot or f"feed/by-hand/{time.time_ns()}"
    seed = number(0, slot, bits=62) if seed is None else seed
    personas = await awake(mind.database, seed)
    terms = {"model": settings.simfeed_model, "tool_mode": settings.tool_mode, "max_actions": settings.max_actions}
    return await open_run(mind.database, venue=VENUE, slot=slot, seed=seed, settings=terms, personas=personas)


async def play_cycle(
    mind: Mind, settings: Settings, run_id: int, *, on_end: Callable[[TurnEnd], None] | None = None
) -> str | None:
    """Play a cycle's open turns and return the run's state; None when another process ended it."""
    run = await mind.database.fetchrow(TURNS["run"], run_id)
    if run is None:
        return None
    terms = msgspec.json.decode(run["settings"])
    native = terms.get("tool_mode", "native") == "native"
    await transcript.keep_tools(mind.database, [(a.tools_sha256, a.tools) for a in every_feed_actions()])

    async def prepare(claims: list[Claim]) -> Play:
        rows = await feed.situations(mind.database, [claim.persona_id for claim in claims])

        async def play(claim: Claim) -> tuple[State, str | None]:
            row = rows[claim.persona_id]
            seat = _seat(claim, row, run["seed"], str(terms.get("model", settings.simfeed_model)), settings, native)
            turn = await _turn(mind, seat, claim, row)
            return await turn.play(), turn.reason

        return play

    return await Worker(mind, at_once=settings.max_concurrent_turns, on_end=on_end).run(run_id, prepare)


def _lately(row: asyncpg.Record) -> list[tuple[str, int, str]]:
    return [tuple(did) for did in msgspec.json.decode(row["lately"] or "[]")]


def _seat(claim: Claim, row: asyncpg.Record, seed: int, model: str, settings: Settings, native: bool) -> Seat:
    temperature = row["temperature"] if row["temperature"] is not None else settings.model_temperature
    return Seat(
        turn_id=claim.turn_id,
        persona_id=claim.persona_id,
        epoch=claim.epoch,
        seed=seed,
        model=row["model"] or model,
        temperature=temperature,
        native=native,
        actions=feed_actions(
            has_liked=any(did == "liked" for did, _, _ in _lately(row)), follows=row["following_count"] > 0
        ),
        marker=prompt.marker(seed, claim.persona_id),
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
