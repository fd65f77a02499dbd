"""The world's clock: real, or simulated, so that a day takes no longer than the model does."""

import asyncio
import re
from datetime import UTC, datetime, timedelta

import structlog

from app.db.engine import TROUBLE, Database
from app.db.queries import load

INSTANCE = load("instance")
LOOK_SECONDS = 3.0
log = structlog.get_logger()
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
LONGEST = timedelta(days=366)


async def world_now(database: Database) -> datetime:
    """The time in the world."""
    return await stands_at(database) or datetime.now(UTC)


async def stands_at(database: Database) -> datetime | None:
    """Where a simulated clock stands; None where the clock is real."""
    found = await database.fetchval(INSTANCE["world_at"])
    return found if isinstance(found, datetime) else None


async def set_clock(database: Database, at: datetime | None) -> None:
    """Let the clock stand at `at`; None: it is real from now on."""
    await database.fetchval(INSTANCE["set_world_at"], at)


class Watch:
    """Knows where the world's clock stands, a few seconds late: `at` is None where it is real."""

    def __init__(self, database: Database) -> None:
        self.at: datetime | None = None
        self._database = database
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Watch":
        self.at = await stands_at(self._database)
        self._task = asyncio.create_task(self._look(), name="clock")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                self.at = await stands_at(self._database)
            except TROUBLE as error:
                log.debug("the clock is not read", error=type(error).__name__)


def span(text: str) -> timedelta:
    """A span of time as people write it: 90s, 30m, 2h, 1d, 1h30m.

    Raises:
        ValueError: says what is allowed.
    """
    parts = re.findall(r"(\d{1,7}(?:\.\d{1,3})?)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("must be a span of time such as 90s, 30m, 2h or 1h30m")
    found = timedelta(seconds=sum(float(number) * UNITS[unit] for number, unit in parts))
    if not timedelta() < found <= LONGEST:
        raise ValueError("must be more than nothing and at most 366d")
    return found


def aware(value: datetime) -> datetime:
    """A time with its zone; without one it is UTC."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value
