"""Tries again what may be tried again, within a time for all tries together."""

import asyncio
import random
import time
from dataclasses import dataclass

import msgspec

from app.llm.admission import UNDER_WAY
from app.llm.model import Completion, Halted, Model, Request, Usage
from app.llm.replies import sent

TRIES = {"rate_limit": 3, "unavailable": 3, "timeout": 3, "parse": 2}
"""How often a request is asked in all that comes back so; what is not listed is not tried again."""

FIRST_WAIT = 0.5
LONGEST_WAIT = 60.0


@dataclass(frozen=True)
class Retrying:
    """`inner`, asked up to three times; the tokens of all tries are charged.

    `deadline` is in seconds and for all tries together; `scale` shortens the waits in tests.
    """

    inner: Model
    deadline: float = 180.0
    scale: float = 1.0

    async def complete(self, request: Request) -> Completion:
        started = time.monotonic()
        completion = await self.inner.complete(request)
        if completion.status not in TRIES or not completion.asked:
            return completion
        left = self.deadline - (time.monotonic() - started)
        return await self._again(request, completion, asyncio.get_running_loop().time() + left)

    async def _again(self, request: Request, completion: Completion, ends: float) -> Completion:
        spent, tries = completion.usage, 1
        try:
            async with asyncio.timeout_at(ends):
                while tries < TRIES.get(completion.status, 0):
                    await asyncio.sleep(wait(completion.status, tries) * self.scale)
                    last, tries = await self._once_more(request, spent), tries + 1
                    if last is None:
                        break
                    completion, spent = last, spent + last.usage
        except TimeoutError as cut:
            if UNDER_WAY in getattr(cut.__cause__, "__notes__", ()):
                spent += Usage(sent(request))
        return msgspec.structs.replace(completion, usage=spent)

    async def _once_more(self, request: Request, spent: Usage) -> Completion | None:
        """A further try's completion; None where the provider was not asked, and the last one stands."""
        try:
            completion = await self.inner.complete(request)
        except Halted:
            if spent == Usage():
                raise
            return None
        return completion if completion.asked else None

    async def aclose(self) -> None:
        await self.inner.aclose()


def wait(status: str, tries: int) -> float:
    """Seconds until the next try, exponential with full jitter; how long a rate limit lasts is known elsewhere."""
    if status == "rate_limit":
        return 0.0
    return random.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2**tries))  # noqa: S311 - spreads load, no secret
