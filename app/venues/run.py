"""Begin, stop and go on with a run: shared by every venue."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
import msgspec

from app.agent.prompt import texts_sha256
from app.agent.turn import Limits, Mind
from app.db import migrate, queue
from app.db.engine import Database
from app.db.notify import Bell
from app.db.queries import load
from app.errors import Conflict, NotFound
from app.ledger.budget import Account, Caps, Desk, charge_lost_of_run
from app.ledger.commit import Committer
from app.ledger.pulse import Pulse
from app.llm.budget import Budgeted, pricing_of
from app.llm.gateway import Gateway
from app.llm.model import Model
from app.llm.reuse import Reusing
from app.settings import Settings
from app.streams import stream
from app.venues.dispatch import PgQueue
from app.world.events import CHANNEL

if TYPE_CHECKING:
    from app.metrics import Metrics

Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy"
TURNS = load("turns")
LEASE_SECONDS = 8.0
BATCH = 100
AGAIN = ["auth", "quota", "config", "unavailable", "timeout", "rate_limit", "parse"]
"""Reasons of failed turns that a resumed run plays again."""


@asynccontextmanager
async def open_mind(
    settings: Settings,
    database: Database,
    *,
    works: bool = False,
    metrics: "Metrics | None" = None,
    gateway: Model | None = None,
) -> AsyncIterator[Mind]:
    """All that turns need, over an open database; closed again at the end of the block.

    Args:
        works: counts among the workers between which rate limits are divided.
        metrics: what is committed is counted there.
        gateway: who answers, where several worlds share the limits of one; it is the caller's to close.
    """
    limits = Limits(
        max_actions=settings.max_actions,
        max_calls_per_reply=settings.max_calls_per_reply,
        result_tokens=settings.result_tokens,
        max_tokens=settings.model_max_tokens,
    )
    if await queue.is_missing(database):
        await queue.prepare(database.url)
    async with Pulse(database, works=works).living() as pulse, Desk(database) as desk:
        own = gateway or Gateway(settings, pulse)
        budgeted = Budgeted(own, desk, pricing_of(settings), settings.model_fallback)
        try:
            async with (
                home_of(settings, database) as home,
                Bell(database, CHANNEL) as bell,
                Committer(database, lease_seconds=LEASE_SECONDS, bell=bell, metrics=metrics) as committer,
            ):
                yield Mind(database, committer, Reusing(budgeted, home, pulse), limits, pulse, own)
        finally:
            if gateway is None:
                await own.aclose()


@asynccontextmanager
async def home_of(settings: Settings, database: Database) -> AsyncIterator[Database]:
    """The home world, beside which the world of `database` lies, or which it is."""
    if not settings.simfeed_world:
        yield database
        return
    home = await Database.open(migrate.home_url(settings, database.url), size=settings.database_pool_size)
    try:
        yield home
    finally:
        await home.close()


def account(
    settings: Settings, terms: dict[str, Any], *, run_id: int, persona_id: int, turn_id: int, epoch: int
) -> Account:
    """Who pays for a turn: the settings' caps, and the run's own where its terms hold them."""
    run = Caps(
        terms.get("budget_tokens", settings.budget_run_tokens),
        terms.get("budget_usd", settings.budget_run_usd),
    )
    return Account(
        run_id,
        persona_id,
        turn_id,
        epoch,
        call=Caps(settings.budget_call_tokens, settings.budget_call_usd),
        turn=Caps(settings.budget_turn_tokens, settings.budget_turn_usd),
        persona=Caps(settings.budget_persona_day_tokens, settings.budget_persona_day_usd),
        run=run,
        instance=Caps(settings.budget_day_tokens, settings.budget_day_usd),
    )


@dataclass(frozen=True)
class Crowd:
    """Who has a turn in a run, in this order; each so many seconds `later`. `terms` are more of the run's own."""

    personas: Sequence[int]
    later: Sequence[float] = ()
    terms: Mapping[str, Any] = field(default_factory=dict)


Gather = Callable[[Connection, int], Awaitable[Crowd]]
"""Finds out who has a turn in a run that was just opened, in the transaction that opens it."""


async def open_run(database: Database, *, personas: Sequence[int], **run: Any) -> int | None:
    """Open the run of a slot, as `open_run_in` does, with a turn for each persona, in this order."""

    async def gather(_: Connection, __: int) -> Crowd:
        return Crowd(personas)

    async with database.connection() as connection, connection.transaction():
        return await open_run_in(connection, gather, **run)


async def open_run_in(
    connection: Connection,
    gather: Gather,
    *,
    venue: str,
    slot: str,
    seed: int,
    settings: dict[str, Any],
    batch: int,
    waits: bool = False,
    rounds: bool = False,
    at: datetime | None = None,
) -> int | None:
    """Open the run of a slot with a turn for all whom `gather` finds, and hand it out in batches.

    Args:
        rounds: its steps are taken together; it is one batch.
        at: when it begins in the world, where the world's clock is simulated.

    Returns:
        Its number; None when the slot is already taken.
    """
    kept = msgspec.json.encode({**settings, "prompts_sha256": texts_sha256()}).decode()
    state, pacing = "queued" if waits else "running", "rounds" if rounds else "live"
    run_id = await connection.fetchval(TURNS["open_run"], venue, slot, seed, kept, [], state, pacing, at, [])
    if run_id is None:
        return None
    crowd = await gather(connection, run_id)
    personas = list(crowd.personas)
    batch = max(1, len(personas)) if rounds else batch
    await fill_run(connection, run_id, replace(crowd, terms={**crowd.terms, "batch": batch}))
    if not personas and not waits:
        await connection.fetchval(TURNS["settle_run"], run_id)
    elif not waits:
        batches = range((len(personas) + batch - 1) // batch)
        await PgQueue.enqueue_run(connection, venue, run_id, batches, batch)
    return int(run_id)


async def fill_run(connection: Connection, run_id: int, crowd: Crowd) -> None:
    """Give a run its turns."""
    terms = msgspec.json.encode(dict(crowd.terms)).decode()
    await connection.fetchval(TURNS["fill_run"], run_id, list(crowd.personas), list(crowd.later), terms)


async def awake(database: "Database | Connection", seed: int, at: datetime) -> list[int]:
    """The personas that wake at this time in the world, shuffled; both by the run's seed."""
    rows = await database.fetch(TURNS["awake"], at.astimezone(UTC).hour)
    chosen = [row["id"] for row in rows if stream(seed, "awake", row["id"]).random() < row["activity"]]
    stream(seed, "order").shuffle(chosen)
    return chosen


async def stop_run(database: Database, run_id: int) -> None:
    """Nobody begins another step of the run.

    Raises:
        NotFound: no such run.
        Conflict: it is at an end.
    """
    if await database.fetchval(TURNS["stop_run"], run_id) is None:
        await _explain(database, run_id, "stopped")


async def resume_run(database: Database, run_id: int, *, terms: dict[str, Any]) -> None:
    """Go on with a run that stands still, or play again what came to nothing in it; `terms` replace the run's own.

    Raises:
        NotFound: no such run.
        Conflict: there is nothing to go on with.
    """
    changed = msgspec.json.encode(terms).decode()
    if await database.fetchval(TURNS["resume_run"], run_id, changed, AGAIN) is None:
        await _explain(database, run_id, "resumed")
    await hand_out(database, run_id)


async def begin_run(database: Database, run_id: int) -> None:
    """A run that waited its turn begins."""
    if await database.fetchval(TURNS["begin_run"], run_id) is not None:
        await hand_out(database, run_id)


async def hand_out(database: Database, run_id: int) -> None:
    """Queue the batches in which the run has open turns; those that are queued already stay. Settles it if none is."""
    run = await database.fetchrow(TURNS["run"], run_id)
    if run is None:
        return
    batch = int(msgspec.json.decode(run["settings"]).get("batch", BATCH))
    rows = await database.fetch(TURNS["open_batches"], run_id, batch)
    if not rows:
        await settle_run(database, run_id)
        return
    async with database.connection() as connection:
        await PgQueue.enqueue_run(connection, run["venue"], run_id, [row["batch"] for row in rows], batch)


async def settle_run(database: Database, run_id: int) -> None:
    """End a run none of whose turns is open; what is still held for lost calls is charged."""
    await charge_lost_of_run(database, run_id)
    await database.fetchval(TURNS["settle_run"], run_id)


async def _explain(database: Database, run_id: int, wish: str) -> None:
    state = await database.fetchval(TURNS["run_state"], run_id)
    if state is None:
        raise NotFound(f"no run has the number {run_id}: `simfeed runs` lists them")
    raise Conflict(f"run {run_id} is {state} and can't be {wish}")


def now() -> datetime:
    """The world's time."""
    return datetime.now(UTC)
