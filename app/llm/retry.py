"""Tries again what may be tried again, waiting as long as the provider asks, within reason."""

import asyncio
import random
from dataclasses import dataclass

from app.llm.model import Completion, Model, Request

TRIES = 3
FIRST_WAIT = 0.5
LONGEST_WAIT = 60.0
AGAIN = frozenset({"rate_limit", "unavailable", "timeout"})
PARSE_TRIES = 2


@dataclass(frozen=True)
class Retrying:
    """`inner`, asked up to three times; `scale` shortens the waits in tests."""

    inner: Model
    scale: float = 1.0

    async def complete(self, request: Request) -> Completion:
        tries = 1
        while True:
            completion = await self.inner.complete(request)
            if not _again(completion, tries):
                return completion
            await asyncio.sleep(wait(completion, tries) * self.scale)
            tries += 1

    async def aclose(self) -> None:
        await self.inner.aclose()


def _again(completion: Completion, tries: int) -> bool:
    if completion.status == "parse":
        return tries < PARSE_TRIES
    return completion.status in AGAIN and tries < TRIES


def wait(completion: Completion, tries: int) -> float:
    """Seconds until the next try: at least what was asked for, else exponential with full jitter."""
    jitter = random.uniform(0, FIRST_WAIT * 2**tries)  # noqa: S311 - spreads load, no secret
    return min(LONGEST_WAIT, (completion.retry_after or 0) + jitter)
