"""Who may ask a provider now: one gate for all of a process's calls to it, in the order in which they came."""

import asyncio
import random
import time
from collections import deque
from dataclasses import dataclass, field
from typing import cast

import msgspec

from app.ledger.pulse import Block, Pulse
from app.llm.breaker import Breaker
from app.llm.model import Completion, Halted, Model, Request, Status
from app.llm.rate_limit import RateLimit
from app.llm.window import Slot, Window

LONGEST_PAUSE = 60.0
FIRST_PAUSE = 1.0
JITTER = (0.05, 0.25)
"""Seconds, least and most, that are waited beyond a pause, so that processes don't all come back at once."""

LOOK_SECONDS = 0.5
"""How often those who wait look whether all is halted, or a provider blocked by another process."""

UNDER_WAY = "a request was under way"
FAULTS = frozenset({"unavailable", "timeout"})
BLOCKS = frozenset({"auth", "quota"})
GONE = "HTTP 404"
FORBIDDEN = "HTTP 403"
"""Some providers say this of one request's text."""

REFUSALS = {
    "auth": "authentication refused by {}",
    "quota": "no quota left at {}",
    "config": "{} does not know what it is asked for",
}


@dataclass(eq=False)
class _Waiting:
    model: str
    tokens: int
    since: float
    let_in: asyncio.Future[Slot | Completion]


@dataclass(eq=False)
class Gate:
    """What one provider bears: blocks and pauses, which all processes share, a breaker, a window and rate limits.

    `patience` is how many seconds a call waits at a gate behind which nobody is answered.
    """

    provider: str
    key: str
    pulse: Pulse
    limits: RateLimit
    window: Window
    patience: float = 60.0
    breaker: Breaker = field(default_factory=Breaker)
    _queue: deque[_Waiting] = field(default_factory=deque)
    _timer: asyncio.TimerHandle | None = None
    _resumes: float = 0.0
    _limited: int = 0
    _answered: float = 0.0
    _probes: set[Slot] = field(default_factory=set)
    """Calls that were let in while the breaker was open, and are still under way."""

    async def enter(self, request: Request) -> Slot | Completion:
        """A place among the calls under way, to be given back by `leave`; or why there is none.

        Raises:
            Halted: the kill switch is on.
        """
        if self.pulse.halted:
            raise Halted
        if (block := self._block(request.model)) is not None:
            return self._refusal(block)
        tokens, now = self.limits.estimate(request), time.monotonic()
        if not self._queue and self._delay(tokens, now)[0] == 0:
            return self._let_in(tokens)
        waiting = _Waiting(request.model, tokens, now, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._look()
        try:
            return await waiting.let_in
        except asyncio.CancelledError:
            if waiting.let_in.done() and not waiting.let_in.cancelled():
                given = waiting.let_in.result()
                if isinstance(given, Slot):
                    self.leave(given, request.model, None)
            raise

    def leave(self, slot: Slot, model: str, completion: Completion | None) -> None:
        """A call to `model` is over; None where it was given up."""
        fresh = self.window.leave(slot)
        if completion is not None:
            self.limits.correct(slot.tokens, completion.usage)
            self._learn(slot, model, completion, fresh)
        self._probes.discard(slot)
        if self._queue:
            self._look()

    def _learn(self, slot: Slot, model: str, completion: Completion, fresh: bool) -> None:
        """Draw the lesson of a reply; calls that began before the last closing have less to say."""
        status, now = completion.status, time.monotonic()
        if status in FAULTS:
            if fresh and self.breaker.failed(now):
                self.window.restart()
                self._probes.clear()
            self.window.shrink(slot)
        elif status == "rate_limit":
            self._pause(completion.retry_after, fresh)
        elif status in BLOCKS and not completion.detail.startswith(FORBIDDEN):
            self._shut(self.provider, completion)
        elif status == "config" and completion.detail.startswith(GONE):
            self._shut(f"{self.provider}/{model}", completion)
        else:
            self._answered = now
            if fresh or slot in self._probes:
                self._limited = 0
                self.breaker.answered()
                self.window.grow()

    def _shut(self, name: str, completion: Completion) -> None:
        self.pulse.block(name, self.key, Block(completion.status, completion.detail))
        self.window.restart()

    def _block(self, model: str) -> Block | None:
        """Why a model is not asked: its provider refuses us, or does not have it."""
        whole = self.pulse.block_of(self.provider, self.key)
        return whole or self.pulse.block_of(f"{self.provider}/{model}", self.key)

    def _pause(self, asked: float | None, fresh: bool) -> None:
        if not asked and not fresh:
            return
        if fresh:
            self._limited += 1
        most = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._limited, 16))
        jittered = random.uniform(0, most)  # noqa: S311 - spreads load, no secret
        self.pulse.pause(self.provider, min(LONGEST_PAUSE, asked or jittered))
        self.window.restart()

    def _delay(self, tokens: int, now: float) -> tuple[float, Status | None]:
        """Seconds until the next call may go, and what it is to be told if it loses patience; None: it must not."""
        wait = self.pulse.wait_of(self.provider)
        if wait and now + wait > self._resumes:
            self._resumes = now + wait + random.uniform(*JITTER)  # noqa: S311 - spreads load, no secret
            self.window.restart()
        elif not wait:
            self._resumes = min(self._resumes, now + JITTER[1])
        if self._resumes > now:
            return self._resumes - now, "rate_limit"
        if wait := self.breaker.wait(now):
            return wait, "unavailable"
        if self.breaker.open and self._probes and not self.window.has_room(alone=True):
            self._give_up_probe()
        if not self.window.has_room(alone=self.breaker.open):
            return LOOK_SECONDS, "unavailable"
        return self.limits.wait(tokens, now, self.pulse.workers), None

    def _give_up_probe(self) -> None:
        """Let another go beside a probe that hangs; it isn't cut off, for a late answer closes the circuit too."""
        self.breaker.hung()
        self.window.restart()

    def _let_in(self, tokens: int) -> Slot:
        self.limits.take(tokens)
        slot = self.window.enter(tokens)
        if self.breaker.open:
            self.breaker.probed(time.monotonic())
            self._probes.add(slot)
        return slot

    def _look(self) -> None:
        """Let in who may come in, send away who has waited too long, and set the time of the next look."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        halted = self.pulse.halted
        while self._queue:
            waiting, now = self._queue[0], time.monotonic()
            if waiting.let_in.done():
                self._queue.popleft()
            elif halted:
                self._queue.popleft().let_in.set_exception(Halted())
            elif (block := self._block(waiting.model)) is not None:
                self._queue.popleft().let_in.set_result(self._refusal(block))
            else:
                delay, status = self._delay(waiting.tokens, now)
                left = self._patient_until(waiting) - now
                if delay == 0:
                    self._queue.popleft().let_in.set_result(self._let_in(waiting.tokens))
                elif status is not None and left <= 0:
                    self._queue.popleft().let_in.set_result(self._sent_away(status))
                else:
                    soon = min(delay, LOOK_SECONDS, left if status is not None else LOOK_SECONDS)
                    self._timer = asyncio.get_running_loop().call_later(soon, self._look)
                    return

    def _patient_until(self, waiting: _Waiting) -> float:
        """Until when a call waits; answers to others renew its patience, and one pause does not count."""
        since = max(waiting.since, self._answered)
        return max(since, min(self._resumes, since + LONGEST_PAUSE)) + self.patience

    def _refusal(self, block: Block) -> Completion:
        detail = f"{REFUSALS.get(block.status, '{} refuses us').format(self.provider)} ({block.detail})"
        return Completion(cast(Status, block.status), "", detail=detail, asked=False)

    def _sent_away(self, status: Status) -> Completion:
        reason = "asks us to wait" if status == "rate_limit" else "does not answer"
        return Completion(status, "", detail=f"{self.provider} {reason}: not asked", asked=False)


@dataclass(frozen=True)
class Admitted:
    """`inner`, asked when its provider's gate lets a call in."""

    inner: Model
    gate: Gate

    async def complete(self, request: Request) -> Completion:
        slot = await self.gate.enter(request)
        if isinstance(slot, Completion):
            return msgspec.structs.replace(slot, model=request.model)
        completion = None
        try:
            completion = await self.inner.complete(request)
        except asyncio.CancelledError as cut:
            cut.add_note(UNDER_WAY)
            raise
        finally:
            self.gate.leave(slot, request.model, completion)
        return completion

    async def aclose(self) -> None:
        await self.inner.aclose()
