"""What it took to play runs, and what of it failed: the ledger in numbers."""

from dataclasses import dataclass

import numpy as np

from app.analysis.arrays import Ints

PERCENTILES = {"latency_p50_ms": 50, "latency_p95_ms": 95}


@dataclass(frozen=True, eq=False)
class Process:
    """Runs in sum: turns planned, at an end, declined and lost (failed or put off); calls, tokens, US dollars.

    `unpriced`: calls without a price. `latency_ms`: of each call that was answered, shape (n,).
    """

    runs: int
    planned: int
    ended: int
    refused: int
    lost: int
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    unpriced: int
    latency_ms: Ints


def summary(found: Process) -> dict[str, float | None]:
    """By the catalogue's names; None where nothing was played, or (of costs) a call has no price."""
    told: dict[str, float | None] = {
        "calls": found.calls if found.runs else None,
        "prompt_tokens": found.prompt_tokens if found.runs else None,
        "completion_tokens": found.completion_tokens if found.runs else None,
        "cost_usd": found.cost_usd if found.runs and not found.unpriced else None,
    }
    for name, percent in PERCENTILES.items():
        told[name] = float(np.percentile(found.latency_ms, percent)) if found.latency_ms.size else None
    told["refusal_share"] = found.refused / found.ended if found.ended else None
    told["missing_turn_share"] = found.lost / found.planned if found.planned else None
    return told
