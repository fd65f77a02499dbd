"""Begin, go on with and end a run: shared by every venue."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec
import structlog

from app.agent.prompt import texts_sha256
from app.agent.turn import Limits, Mind, State
from app.db.engine import Database
from app.db.queries import load
from app.ledger.commit import Committer, Superseded
from app.llm.gateway import Gateway
from app.settings import Settings
from app.streams import stream

TURNS = load("turns")
LEASE_SECONDS = 20.0
HEARTBEAT_SECONDS = 5.0
log = structlog.get_logger()


@asynccontextmanager
async def open_mind(settings: Settings, database: Database) -> AsyncIterator[Mind]:
    """All that turns need, over an open database; closed again at the end of the block."""
    gateway = Gateway(settings)
    limits = Limits(
        max_actions=settings.max_actions,
        max_calls_per_reply=settings.max_calls_per_reply,
        result_tokens=settings.result_tokens,
        max_tokens=settings.model_max_tokens,
    )
    try:
        async with Committer(database, lease_seconds=LEASE_SECONDS) as committer:
            yield Mind(database, committer, gateway, limits)
    finally:
        await gateway.aclose()


@dataclass(frozen=True)
class Claim:
    """A turn this process holds."""

    turn_id: int
    persona_id: int
    epoch: int
    next_step: int


@dataclass(frozen=True)
class TurnEnd:
    """How a turn ended here. `state` is None when another process took it over."""

    claim: Claim
    state: State | None
    reason: str | None


Play = Callable[[Claim], Awaitable[tuple[State, str | None]]]
"""Plays one claimed turn to its end."""


async def open_run(
    database: Database, *, venue: str, slot: str, seed: int, settings: dict[str, Any], personas: Sequence[int]
) -> int | None:
    """Open the run of a slot with a turn for each persona, in this order; None when the slot is already taken."""
    kept = msgspec.json.encode({**settings, "prompts_sha256": texts_sha256()}).decode()
    run_id = await database.fetchval(TURNS["open_run"], venue, slot, seed, kept, list(personas))
    if run_id is not None and not personas:
        await database.fetchval(TURNS["settle_run"], run_id)
    return run_id if isinstance(run_id, int) else None


async def awake(database: Database, seed: int) -> list[int]:
    """The personas that wake this time, shuffled; both by the run's seed."""
    rows = await database.fetch(TURNS["awake"])
    chosen = [row["id"] for row in rows if stream(seed, "awake", row["id"]).random() < row["activity"]]
    stream(seed, "order").shuffle(chosen)
    return chosen


class Worker:
    """Plays a run's turns, at most `at_once` of them together, until none is open; any number of processes may."""

    def __init__(self, mind: Mind, *, at_once: int, on_end: Callable[[TurnEnd], None] | None = None) -> None:
        self.mind = mind
        self.at_once = at_once
        self._on_end = on_end or (lambda _: None)
        self._held: dict[int, Claim] = {}

    async def run(self, run_id: int, prepare: Callable[[list[Claim]], Awaitable[Play]]) -> str | None:
        """Play the run and return its state at the end; None when another process ended it.

        `prepare` is called with each batch of claims and returns what plays them.
        """
        heartbeat = asyncio.create_task(self._beat(), name=f"leases-{run_id}")
        tasks: set[asyncio.Task[None]] = set()
        try:
            while True:
                claims = await self._claim(run_id, self.at_once - len(tasks))
                if claims:
                    play = await prepare(claims)
                    tasks |= {asyncio.create_task(self._play(claim, play)) for claim in claims}
                elif not tasks and not await self._others_play(run_id):
                    break
                if tasks:
                    _, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                elif not claims:
                    await asyncio.sleep(1)
            state = await self.mind.database.fetchval(TURNS["settle_run"], run_id)
            return str(state) if state is not None else None
        finally:
            heartbeat.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, heartbeat, return_exceptions=True)
            await self._park()

    async def _claim(self, run_id: int, free: int) -> list[Claim]:
        if free <= 0:
            return []
        rows = await self.mind.database.fetch(TURNS["claim_turns"], run_id, free, LEASE_SECONDS)
        claims = [Claim(row["id"], row["persona_id"], row["epoch"], row["next_step"]) for row in rows]
        self._held |= {claim.turn_id: claim for claim in claims}
        return claims

    async def _others_play(self, run_id: int) -> bool:
        return bool(await self.mind.database.fetchval(TURNS["open_turns"], run_id))

    async def _play(self, claim: Claim, play: Play) -> None:
        """The turn boundary: whatever goes wrong in one turn ends that turn as failed and touches no other."""
        try:
            state, reason = await play(claim)
        except Superseded:
            self._ended(TurnEnd(claim, None, "superseded"))
        except Exception as error:
            log.exception("turn failed", turn=claim.turn_id, persona=claim.persona_id)
            await self._fail(claim, f"internal: {type(error).__name__}")
            self._ended(TurnEnd(claim, "failed", "internal"))
        else:
            self._ended(TurnEnd(claim, state, reason))

    def _ended(self, end: TurnEnd) -> None:
        self._held.pop(end.claim.turn_id, None)
        self._on_end(end)

    async def _fail(self, claim: Claim, reason: str) -> None:
        try:
            await self.mind.database.fetchval(TURNS["fail_turn"], claim.turn_id, claim.epoch, reason)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            log.warning("turn left to its lease", turn=claim.turn_id)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            try:
                await self._send("extend_leases", LEASE_SECONDS)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                log.warning("leases not extended", turns=len(self._held))

    async def _park(self) -> None:
        """Give back what was not finished, so that the next process need not wait for the leases."""
        try:
            await self._send("park_turns")
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            log.warning("turns left to their leases", turns=len(self._held))

    async def _send(self, statement: str, *more: object) -> None:
        held = list(self._held.values())
        if held:
            ids, epochs = [c.turn_id for c in held], [c.epoch for c in held]
            await self.mind.database.fetch(TURNS[statement], ids, epochs, *more)


def now() -> datetime:
    """The world's time."""
    return datetime.now(UTC)
