"""A clock that stands still while the machine does, for what must be over within so many seconds.

A virtual machine that is taken off its processor for three seconds says nothing of how fast the program is. Whoever
holds up the event loop is not excused: the clock is kept by a thread of its own.
"""

import threading
import time

TICK = 0.02
LATE = 0.1
"""A tick that comes later than this was held up by the machine."""


class _Ticks(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="pace", daemon=True)
        self.stood_still = 0.0
        self.last = time.monotonic()
        self.kept = threading.Lock()
        self.start()

    def run(self) -> None:
        while True:
            time.sleep(TICK)
            with self.kept:
                now = time.monotonic()
                self.stood_still += self.late(now)
                self.last = now

    def late(self, now: float) -> float:
        lost = now - self.last - TICK
        return lost if lost > LATE else 0.0

    def now(self) -> float:
        with self.kept:
            now = time.monotonic()
            return now - self.stood_still - self.late(now)


_ticks: _Ticks | None = None


def clock() -> float:
    """Seconds, as `time.monotonic` counts them, without those in which the machine stood still."""
    global _ticks
    if _ticks is None:
        _ticks = _Ticks()
    return _ticks.now()
