"""Looking back, as a venue: behind a cycle, whoever has enough to think about has a turn of its own kind.

A run of its own, so that it has its own budget, can be resumed by itself, and neither fails nor delays the cycle; its
turn has one step, whose call, memories shown and answer are in the ledger as those of any other. At the end the
answers become memories by one statement, which holds what they were drawn from.
"""

from dataclasses import replace
from typing import Any

import asyncpg
import msgspec
import structlog

from app.actions.memory import REFLECTION
from app.agent import memory, prompt
from app.agent.dry_run import situation_of
from app.agent.memory import Remembering
from app.agent.turn import Mind, Seat, State, Turn
from app.db.engine import TROUBLE
from app.ledger import transcript
from app.settings import Settings
from app.streams import number, stream
from app.venues.run import TURNS, account, now, open_run
from app.venues.worker import EVERY, Claim, Play, Prepare, Worker
from app.world import feed, memories

VENUE = "reflection"
JITTER = 0.2
"""By so much of it the threshold differs from persona to persona and time to time, lest all look back at once."""

log = structlog.get_logger()


def slot_of(run_id: int) -> str:
    return f"{VENUE}/{run_id}"


async def open_after(mind: Mind, settings: Settings, run: asyncpg.Record) -> int | None:
    """Open the reflection behind a cycle for those who have enough to think about; None when nobody has, or it is open.

    Who they are follows from what they remember and the cycle's seed.
    """
    terms = msgspec.json.decode(run["settings"])
    how = Remembering.of(settings, terms)
    if not (how.on and how.reflect_at):
        return None
    seed = number(run["seed"], VENUE, bits=62)
    rows = await memories.weighty(mind.database, run["id"], how.reflect_at * (1 - JITTER), how.only(run["id"]))
    due = [persona for persona, weight in rows if weight >= how.reflect_at * (1 + JITTER * _jitter(seed, persona))]
    if not due:
        return None
    kept = {name: terms[name] for name in ("model", "tool_mode", "memory", "memory_scope", "reuse") if name in terms}
    return await open_run(
        mind.database,
        venue=VENUE,
        slot=slot_of(run["id"]),
        seed=seed,
        settings={"model": settings.simfeed_model, **kept, "of": run["id"]},
        personas=due,
        batch=settings.batch_turns,
        at=run["world_at"],
    )


def _jitter(seed: int, persona_id: int) -> float:
    return stream(seed, "threshold", persona_id).uniform(-1, 1)


async def prepare_run(mind: Mind, settings: Settings, run_id: int) -> Prepare | None:
    """How the turns of a reflection are played; None if there is no such run."""
    run = await mind.database.fetchrow(TURNS["run"], run_id)
    if run is None:
        return None
    terms = msgspec.json.decode(run["settings"])
    native = terms.get("tool_mode", "native") == "native"
    await transcript.keep_tools(mind.database, [(REFLECTION.tools_sha256, REFLECTION.tools)])
    at = run["world_at"] or now()
    under_way = 0

    async def prepare(claims: list[Claim]) -> Play:
        nonlocal under_way
        whose = [claim.persona_id for claim in claims]
        rows = await feed.situations(mind.database, whose)
        old = await memories.to_reflect_on(mind.database, whose, only=_only(terms))
        under_way += len(claims)

        async def play(claim: Claim) -> tuple[State, str | None]:
            nonlocal under_way
            row = rows[claim.persona_id]
            seat = _seat(claim, row, run, terms, settings, native)
            try:
                if claim.next_step:
                    progress = await transcript.progress(mind.database, claim.turn_id)
                    turn = await Turn.resumed(mind, seat, progress)
                else:
                    shown = memory.fit_oldest(old.get(claim.persona_id, []), at)
                    situation = replace(situation_of(row, at), memories=shown.lines)
                    opening = prompt.reflection_opening(situation, REFLECTION, marker=seat.marker, native=native)
                    turn = Turn.fresh(mind, seat, opening, shown.shown)
                state = await turn.play()
            finally:
                under_way -= 1
            if not under_way:
                await _close(mind, run, terms)
            return state, turn.reason

        return play

    return prepare


def _only(terms: dict[str, Any]) -> int | None:
    return int(terms["of"]) if terms.get("memory_scope") == "run" else None


async def look_after(mind: Mind, before: int) -> None:
    """Make memories of the answers of reflections before run `before` whose process died."""
    for run in await memories.unfolded(mind.database, before):
        await _close(mind, run, msgspec.json.decode(run["settings"]))


async def _close(mind: Mind, run: asyncpg.Record, terms: dict[str, Any]) -> None:
    """Make memories of the answers, if all have looked back."""
    try:
        if not await mind.database.fetchval(TURNS["open_turns"], run["id"], *EVERY):
            await memories.fold(
                mind.database, run["id"], now=run["world_at"] or now(), read=memory.thought, only=_only(terms)
            )
    except TROUBLE as error:
        log.warning("a reflection is remembered behind the next cycle", run=run["id"], error=type(error).__name__)


async def play_behind(mind: Mind, settings: Settings) -> None:
    """Play in this process, beside any workers, what is open of reflections: that behind the cycle just played, and
    those whose process died before them."""
    for run in await mind.database.fetch(TURNS["unfinished"], [VENUE]):
        prepare = await prepare_run(mind, settings, run["id"])
        if prepare is not None:
            async with Worker(mind, at_once=settings.max_concurrent_turns) as worker:
                await worker.play(run["id"], prepare)


def _seat(
    claim: Claim, row: asyncpg.Record, run: asyncpg.Record, terms: dict[str, Any], settings: Settings, native: bool
) -> Seat:
    return Seat(
        turn_id=claim.turn_id,
        persona_id=claim.persona_id,
        epoch=claim.epoch,
        seed=run["seed"],
        model=row["model"] or str(terms.get("model", settings.simfeed_model)),
        temperature=row["temperature"] if row["temperature"] is not None else settings.model_temperature,
        native=native,
        actions=REFLECTION,
        reuse=bool(terms.get("reuse")),
        marker=prompt.marker(run["seed"], claim.persona_id),
        account=account(
            settings,
            terms,
            run_id=run["id"],
            persona_id=claim.persona_id,
            turn_id=claim.turn_id,
            epoch=claim.epoch,
        ),
        at=claim.world_at,
        goes_on=claim.goes_on,
    )
