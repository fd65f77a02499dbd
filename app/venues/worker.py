"""Plays turns: claims them, keeps their leases, and gives back what it can't finish."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg
import structlog

from app.agent.turn import Mind, NotAsked, Parked, State
from app.db.engine import AWAY, TROUBLE
from app.ledger.budget import BudgetExhausted, charge_lost
from app.ledger.commit import Superseded
from app.llm.model import Halted
from app.settings import Settings
from app.venues.run import LEASE_SECONDS, TURNS, settle_run

LOOK_SECONDS = 0.5
DRAIN_SECONDS = 8.0
EVERY = (0, 2**31 - 1)
log = structlog.get_logger()


OUT_OF_MEMORY = 71
"""The exit code, as sysexits.h has it: an operating system error."""


def _out_of_memory(error: BaseException | None) -> bool:
    """Whether that is what it came from; asyncpg calls it bad data."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


@dataclass(frozen=True)
class Claim:
    """A turn this process holds; `goes_on` tells between its steps whether it may take another."""

    turn_id: int
    persona_id: int
    epoch: int
    next_step: int
    ordinal: int = 0
    world_at: datetime | None = None
    goes_on: Callable[[], bool] = field(default=lambda: True, compare=False)


@dataclass(frozen=True)
class TurnEnd:
    """How a turn ended here. `state` is None when it was given back, or another process took it over."""

    claim: Claim
    state: State | None
    reason: str | None


Play = Callable[[Claim], Awaitable[tuple[State, str | None]]]
"""Plays one claimed turn to its end."""

Prepare = Callable[[list[Claim]], Awaitable[Play]]
"""Called with each batch of claims; returns what plays them."""

Venue = Callable[[Mind, Settings, int], Awaitable[Prepare | None]]
"""How a run's turns are played; None if there is no such run."""


class Worker:
    """Plays turns of any runs, at most `at_once` together; any number of processes may play the same run."""

    def __init__(self, mind: Mind, *, at_once: int, lease_seconds: float = LEASE_SECONDS) -> None:
        self.mind = mind
        self.at_once = at_once
        self.draining = False
        self._lease_seconds = lease_seconds
        self._held: dict[int, Claim] = {}
        self._playing: dict[int, int] = {}
        self._over: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._beating: asyncio.Task[None] | None = None

    @property
    def in_flight(self) -> int:
        """Turns that are held here."""
        return len(self._held)

    async def __aenter__(self) -> "Worker":
        self._beating = asyncio.create_task(self._beat(), name="leases")
        return self

    async def __aexit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        await self.drain(DRAIN_SECONDS if kind is asyncio.CancelledError else 0)
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)

    async def drain(self, seconds: float = DRAIN_SECONDS) -> None:
        """Claim nothing more; steps under way are finished within that time, or given back."""
        self.draining = True
        tasks = set(self._tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds) if seconds else (set(), tasks)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._park(list(self._held.values()))

    async def play(
        self,
        run_id: int,
        prepare: Prepare,
        *,
        ordinals: tuple[int, int] = EVERY,
        on_end: Callable[[TurnEnd], None] = lambda _: None,
    ) -> None:
        """Play those of a run's turns that are open, until none is or the run stands still; then settle the run."""
        self._playing[run_id] = self._playing.get(run_id, 0) + 1
        tasks: set[asyncio.Task[None]] = set()
        try:
            while self._goes_on(run_id):
                try:
                    claims = await self._claim(run_id, ordinals)
                    if claims:
                        play = await self._prepared(prepare, claims)
                        tasks |= {self._begin(run_id, claim, play, on_end) for claim in claims}
                    elif not tasks and not await self._open(run_id, ordinals):
                        break
                except TROUBLE as error:
                    log.debug("the database is away", run=run_id, error=type(error).__name__)
                if tasks:
                    _, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=LOOK_SECONDS)
                else:
                    await asyncio.sleep(LOOK_SECONDS)
            if tasks:
                await asyncio.wait(tasks)
        finally:
            self._leave(run_id)
        try:
            await self._settle(run_id)
        except TROUBLE as error:
            log.debug("not settled yet", run=run_id, error=type(error).__name__)

    @contextmanager
    def attending(self, run_id: int) -> Iterator[None]:
        """While the block lasts, turns of the run stop between two steps once it stands still."""
        self._playing[run_id] = self._playing.get(run_id, 0) + 1
        try:
            yield
        finally:
            self._leave(run_id)

    async def take(self, run_id: int, prepare: Prepare, on_end: Callable[[TurnEnd], None]) -> int:
        """Claim what turns of a run are open, begin them, and return how many; who attends the run calls it."""
        if not self._goes_on(run_id):
            return 0
        claims = await self._claim(run_id, EVERY)
        if claims:
            play = await self._prepared(prepare, claims)
            for claim in claims:
                self._begin(run_id, claim, play, on_end)
        return len(claims)

    async def _prepared(self, prepare: Prepare, claims: list[Claim]) -> Play:
        """What plays these claims; they are given back if it can't be found out."""
        try:
            return await prepare(claims)
        except BaseException:
            for claim in claims:
                self._held.pop(claim.turn_id, None)
            await self._park(claims)
            raise

    def _goes_on(self, run_id: int) -> bool:
        return not (self.draining or self.mind.pulse.halted or run_id in self._over)

    def _leave(self, run_id: int) -> None:
        self._playing[run_id] -= 1
        if not self._playing[run_id]:
            del self._playing[run_id]
            self._over.discard(run_id)

    async def _settle(self, run_id: int) -> None:
        database = self.mind.database
        if self.mind.pulse.halted and not self.draining:
            await database.fetchval(TURNS["hold_run"], run_id, "paused", "halted")
        elif not await self._open(run_id, EVERY):
            await settle_run(database, run_id)

    async def _claim(self, run_id: int, ordinals: tuple[int, int]) -> list[Claim]:
        free = self.at_once - len(self._held)
        if free <= 0:
            return []
        rows = await self.mind.database.fetch(
            TURNS["claim_turns"], run_id, free, self._lease_seconds, *ordinals, list(self._held)
        )
        claims = [
            Claim(
                r["id"],
                r["persona_id"],
                r["epoch"],
                r["next_step"],
                r["ordinal"],
                r["world_at"],
                lambda: self._goes_on(run_id),
            )
            for r in rows
        ]
        self._held |= {claim.turn_id: claim for claim in claims}
        await self._charge([self._held[row["id"]] for row in rows if row["holds"]])
        return claims

    async def _open(self, run_id: int, ordinals: tuple[int, int]) -> bool:
        return bool(await self.mind.database.fetchval(TURNS["open_turns"], run_id, *ordinals))

    def _begin(self, run_id: int, claim: Claim, play: Play, on_end: Callable[[TurnEnd], None]) -> asyncio.Task[None]:
        async def played() -> None:
            try:
                state, reason = await self._play(run_id, claim, play)
            finally:
                self._held.pop(claim.turn_id, None)
            on_end(TurnEnd(claim, state, reason))

        task = asyncio.create_task(played(), name=f"turn-{claim.turn_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _play(self, run_id: int, claim: Claim, play: Play) -> tuple[State | None, str | None]:
        """The turn boundary: whatever goes wrong in one turn ends that turn as failed and touches no other."""
        try:
            return await play(claim)
        except Superseded:
            return None, "superseded"
        except (Parked, Halted):
            await self._park([claim])
            return None, "parked"
        except asyncio.CancelledError:
            await asyncio.shield(self._park([claim]))
            raise
        except BudgetExhausted as spent:
            return await self._out_of_budget(run_id, claim, spent)
        except NotAsked as refused:
            return await self._end(claim, "deferred", refused.status)
        except AWAY as error:
            log.debug("turn given back: the database is away", turn=claim.turn_id, error=type(error).__name__)
            await self._park([claim])
            return None, "parked"
        except Exception as error:
            if _out_of_memory(error):
                os._exit(OUT_OF_MEMORY)  # whoever is started next goes on with all that is held here
            log.exception("turn failed", turn=claim.turn_id, persona=claim.persona_id)
            return await self._end(claim, "failed", f"internal: {type(error).__name__}")

    async def _out_of_budget(self, run_id: int, claim: Claim, spent: BudgetExhausted) -> tuple[State | None, str]:
        if spent.scope in ("turn", "persona"):
            await self._end(claim, "limit", "budget")
            return "limit", "budget"
        self._over.add(run_id)
        await self._park([claim])
        if await self._try("hold_run", run_id, "budget_exhausted", spent.detail):
            log.warning("budget exhausted", run=run_id, scope=spent.scope, detail=spent.detail)
        return None, "budget"

    async def _end(self, claim: Claim, state: State, reason: str) -> tuple[State, str]:
        await self._charge([claim])
        await self._try("end_turn", claim.turn_id, claim.epoch, state, reason)
        if (metrics := self.mind.committer.metrics) is not None:
            metrics.turn(state)
        return state, reason

    async def _park(self, claims: list[Claim]) -> None:
        """Give turns back, so that the next process need not wait for the leases."""
        if claims:
            await self._charge(claims)
            await self._try("park_turns", [c.turn_id for c in claims], [c.epoch for c in claims])

    async def _charge(self, claims: list[Claim]) -> None:
        """What was held for calls whose answers are lost is spent."""
        if not claims:
            return
        try:
            await charge_lost(self.mind.database, [c.turn_id for c in claims], [c.epoch for c in claims])
        except TROUBLE as error:
            log.debug("lost calls are not charged yet", turns=len(claims), error=type(error).__name__)

    async def _try(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        try:
            return await self.mind.database.fetch(TURNS[statement], *arguments)
        except TROUBLE as error:
            log.debug("left to the leases", statement=statement, error=type(error).__name__)
            return []

    async def _beat(self) -> None:
        while True:
            held = list(self._held.values())
            if held:
                ids, epochs = [c.turn_id for c in held], [c.epoch for c in held]
                await self._try("extend_leases", ids, epochs, self._lease_seconds)
            if self._playing:
                self._over |= {row["id"] for row in await self._try("over", list(self._playing))}
            await asyncio.sleep(min(1.0, self._lease_seconds / 4))
