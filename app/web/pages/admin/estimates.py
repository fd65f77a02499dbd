"""What turns and cycles will take, asked of the database at most once in a while."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from starlette.requests import Request

from app.db.engine import TROUBLE
from app.venues.estimate import Estimate, estimate_run, estimate_turn
from app.web.deps import House

FRESH_SECONDS = 30.0
AGAIN_SECONDS = 600.0
"""After one that took too long: it would again."""

KEPT_MAX = 100


@dataclass
class Estimates:
    """The last estimates; None for those for which the database took too long."""

    _kept: dict[str, tuple[float, Estimate | None]] = field(default_factory=dict)

    async def turn(self, house: House, model: str) -> Estimate | None:
        """What one turn with `model` will take."""
        return await self._read(f"turn {model}", lambda: estimate_turn(house.database, house.settings, model))

    async def cycle(self, house: House) -> Estimate | None:
        """What the next cycle will take."""
        model = house.settings.simfeed_model
        return await self._read("cycle", lambda: estimate_run(house.database, house.settings, model))

    async def _read(self, key: str, work: Callable[[], Awaitable[Estimate]]) -> Estimate | None:
        made, found = self._kept.get(key, (-AGAIN_SECONDS, None))
        age = time.monotonic() - made
        if age < (FRESH_SECONDS if found is not None else AGAIN_SECONDS) and key in self._kept:
            return found
        try:
            found = await work()
        except TROUBLE:
            found = None
        if len(self._kept) >= KEPT_MAX:
            self._kept.clear()
        self._kept[key] = (time.monotonic(), found)
        return found


def estimates(request: Request) -> Estimates:
    """Those of this server."""
    state = request.app.state
    if not hasattr(state, "estimates"):
        state.estimates = Estimates()
    found = state.estimates
    assert isinstance(found, Estimates)  # noqa: S101 - nobody else writes it
    return found
