"""What calls have cost, by day, model, venue, run or persona."""

from dataclasses import dataclass
from datetime import date
from typing import Literal, get_args

import asyncpg

from app.db.queries import load

COSTS = load("costs")
By = Literal["day", "model", "venue", "run", "persona"]
BYS: tuple[By, ...] = get_args(By)
SECONDS = 300


@dataclass(frozen=True)
class Cost:
    """What the calls of one `key` took. `usd` leaves out the `unpriced` ones, whose price nobody knows."""

    key: str
    calls: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    usd: float
    unpriced: int


async def costs(
    connection: asyncpg.pool.PoolConnectionProxy, by: By, *, since: date | None = None, until: date | None = None
) -> list[Cost]:
    """The costs of a world's calls from the day `since` to the day `until` (UTC, both included), the dearest first."""
    statement = f"{COSTS[f'by_{by}'].format(sums=COSTS['sums'])} {COSTS['calls']}"
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(f"SET LOCAL statement_timeout = '{SECONDS}s'")
        return [Cost(*row) for row in await connection.fetch(statement, since, until, timeout=SECONDS)]
