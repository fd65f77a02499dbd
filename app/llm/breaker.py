"""A circuit breaker: a provider that fails again and again is left alone, and asked now and then whether it is back."""

from collections import deque

FAILURES = 10
WITHIN_SECONDS = 30.0
FIRST_PROBE = 1.0
LAST_PROBE = 8.0


class Breaker:
    """Closed until so many failures in so many seconds; then open, with one call let through at each probe.

    Times are in seconds of one clock.
    """

    def __init__(self) -> None:
        self.open = False
        self._failures: deque[float] = deque(maxlen=FAILURES)
        self._interval = FIRST_PROBE
        self._probe_at = 0.0

    def wait(self, now: float) -> float:
        """Seconds until a call may be let through; 0 while it is closed, or where the next probe is due."""
        return max(0.0, self._probe_at - now) if self.open else 0.0

    def probed(self, now: float) -> None:
        """Note that a probe begins: it is waited for as long as it was itself."""
        self._probe_at = now + self._interval

    def hung(self) -> None:
        """Note that a probe was not answered in its time: the next may go now, and has twice as long."""
        self._interval = min(LAST_PROBE, self._interval * 2)

    def failed(self, now: float) -> bool:
        """Note a failure; whether it opened the breaker."""
        if self.open:
            self._interval = min(LAST_PROBE, self._interval * 2)
            self._probe_at = now + self._interval
            return False
        self._failures.append(now)
        if len(self._failures) < FAILURES or now - self._failures[0] > WITHIN_SECONDS:
            return False
        self.open, self._interval, self._probe_at = True, FIRST_PROBE, now + FIRST_PROBE
        return True

    def answered(self) -> None:
        """Note a reply, which closes it."""
        if self.open:
            self.open = False
            self._failures.clear()
