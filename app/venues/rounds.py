"""Runs in rounds: everybody reads the world as it stood when the round began, and then all that was done becomes rows.

A round is one step of every open turn of the run. Their replies are committed in the order of the turns, in one
transaction, once the last is there; only then does anybody read again. So what a run does depends on its seed and on
what the models answer, not on who was faster, however many processes there are: one plays a run at a time.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from app.agent.turn import Mind, Parked
from app.db.engine import TROUBLE, Database
from app.ledger.commit import EffectOutcome, StepRecord
from app.venues.run import TURNS
from app.venues.worker import Claim

LOOK_SECONDS = 0.2
PATIENCE_SECONDS = 30.0
"""So long a round waits for turns of its run that are held elsewhere, before it gives its own back."""


@dataclass
class _Arrived:
    record: StepRecord
    done: "asyncio.Future[dict[int, EffectOutcome]]" = field(default_factory=asyncio.Future)


class Rounds:
    """One run's rounds, in the process that plays it. Commits steps as the committer does, all of a round together."""

    def __init__(self, mind: Mind, run_id: int) -> None:
        self._mind = mind
        self._run_id = run_id
        self._steps: dict[int, int] = {}
        self._ordinals: dict[int, int] = {}
        self._arrived: dict[int, _Arrived] = {}
        self._moved = asyncio.Condition()
        self._closing: asyncio.Task[None] | None = None

    def enter(self, claim: Claim) -> None:
        """The turn takes part from its next step on; all claims of a batch enter before any of them is played."""
        self._steps[claim.turn_id] = claim.next_step
        self._ordinals[claim.turn_id] = claim.ordinal

    async def leave(self, claim: Claim) -> None:
        """The turn is at an end, or given back: nobody waits for it any more."""
        self._steps.pop(claim.turn_id, None)
        self._arrived.pop(claim.turn_id, None)
        await self._move()

    async def begin(self, claim: Claim) -> None:
        """Wait until nobody is behind the turn, so that what it reads is what all read."""
        async with self._moved:
            await self._moved.wait_for(lambda: min(self._steps.values(), default=0) >= claim.next_step)

    async def commit(self, record: StepRecord) -> dict[int, EffectOutcome]:
        """Commit one step with its round, and return its effects' outcomes by ordinal.

        Raises:
            Parked: turns of the run are held by another process, and it takes too long.
            Superseded, asyncpg.PostgresError, OSError: as the committer.
        """
        arrived = self._arrived[record.turn_id] = _Arrived(record)
        await self._move()
        try:
            return await arrived.done
        finally:
            if self._arrived.get(record.turn_id) is arrived:
                del self._arrived[record.turn_id]

    async def _move(self) -> None:
        async with self._moved:
            self._moved.notify_all()
        if self._complete() and (self._closing is None or self._closing.done()):
            self._closing = asyncio.create_task(self._close(), name=f"round-{self._run_id}")

    def _round(self) -> list[_Arrived]:
        """Who has arrived of those that nobody is behind, in the order of the turns."""
        step = min(self._steps.values(), default=0)
        found = [one for turn, one in self._arrived.items() if one.record.step == step and not one.done.done()]
        return sorted(found, key=lambda one: self._ordinals[one.record.turn_id])

    def _complete(self) -> bool:
        step = min(self._steps.values(), default=0)
        at_work = sum(taken == step for taken in self._steps.values())
        return 0 < at_work == len(self._round())

    async def _close(self) -> None:
        """Commit rounds as long as there is one that is complete."""
        waited = 0.0
        while self._complete():
            arrived = self._round()
            step = arrived[0].record.step
            try:
                behind = await self._mind.database.fetchval(TURNS["behind"], self._run_id, step)
            except TROUBLE as error:
                _fail(arrived, error)
                continue
            if behind > len(arrived):
                waited += LOOK_SECONDS
                if waited > PATIENCE_SECONDS:
                    _fail(arrived, Parked())
                await asyncio.sleep(LOOK_SECONDS)
                continue
            waited = 0.0
            await self._commit(arrived)
            async with self._moved:
                self._moved.notify_all()
            await asyncio.sleep(0)

    async def _commit(self, arrived: list[_Arrived]) -> None:
        for one in arrived:
            self._arrived.pop(one.record.turn_id, None)
        try:
            outcomes = await self._mind.committer.commit_together([one.record for one in arrived])
        except Exception as error:
            _fail(arrived, error)
            return
        for one, outcome in zip(arrived, outcomes, strict=True):
            if one.done.done():
                continue
            if isinstance(outcome, Exception):
                one.done.set_exception(outcome)
                continue
            if one.record.turn_id in self._steps:
                self._steps[one.record.turn_id] += 1
            one.done.set_result(outcome)


def _fail(arrived: list[_Arrived], error: Exception) -> None:
    for one in arrived:
        if not one.done.done():
            one.done.set_exception(error)


@asynccontextmanager
async def alone(database: Database, run_id: int) -> AsyncIterator[bool]:
    """Whether this process may play the run; while the block lasts, no other one may."""
    async with database.connection() as connection:
        held = bool(await connection.fetchval(TURNS["hold_rounds"], run_id))
        try:
            yield held
        finally:
            if held and not connection.is_closed():
                await connection.fetchval(TURNS["free_rounds"], run_id)
