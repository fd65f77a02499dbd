"""Another model, asked once where a persona's own gives nothing."""

from dataclasses import dataclass

import msgspec

from app.llm.model import Completion, Halted, Model, Request, Usage

LET_DOWN = frozenset({"unavailable", "timeout", "rate_limit", "quota", "auth", "config", "parse"})


@dataclass(frozen=True)
class Fallback:
    """`first`, and `second` where it fails with what another model may do better; both are charged.

    A completion's `model` says who answered. Where both fail, it is the first's, and `detail` tells of both.
    """

    first: Model
    second: Model

    async def complete(self, request: Request) -> Completion:
        first = await self.first.complete(request)
        if first.status not in LET_DOWN:
            return first
        try:
            second = await self.second.complete(request)
        except Halted:
            if first.usage == Usage():
                raise
            return first
        usage, cost = first.usage + second.usage, _sum(first, second)
        if second.status in LET_DOWN:
            detail, asked = f"{first.detail}; then {second.detail}", first.asked or second.asked
            return msgspec.structs.replace(first, usage=usage, cost_usd=cost, detail=detail, asked=asked)
        latency = first.latency_ms + second.latency_ms
        return msgspec.structs.replace(second, usage=usage, cost_usd=cost, latency_ms=latency)

    async def aclose(self) -> None:
        await self.first.aclose()
        await self.second.aclose()


def _sum(*completions: Completion) -> float | None:
    """What they cost together; None where one has tokens of unknown price."""
    total = 0.0
    for completion in completions:
        if completion.cost_usd is not None:
            total += completion.cost_usd
        elif completion.usage != Usage():
            return None
    return total
