"""Requests and tokens a minute: buckets that refill with time and may be overdrawn by one large draught."""

from dataclasses import dataclass

from app.llm.model import Request, Usage
from app.llm.replies import sent

BURST_SECONDS = 1.0


@dataclass
class Bucket:
    """What may be taken in a minute, of which a second's worth at once. Times are in seconds of one clock."""

    per_minute: float
    _level: float = 1.0
    _at: float = 0.0

    def wait(self, amount: float, now: float, sharers: int = 1) -> float:
        """Seconds until `amount` may be taken, where the bucket is shared by so many."""
        rate = self.per_minute / 60 / max(1, sharers)
        most = max(1.0, rate * BURST_SECONDS)
        self._level = min(most, self._level + rate * (now - self._at))
        self._at = now
        return max(0.0, (min(amount, most) - self._level) / rate)

    def take(self, amount: float) -> None:
        """Take it, or give back what is negative."""
        self._level -= amount


class RateLimit:
    """The limits of one provider; 0 is none. What a call will need is estimated before it, and corrected after it."""

    def __init__(self, requests: int, tokens: int) -> None:
        self._requests = Bucket(requests) if requests else None
        self._tokens = Bucket(tokens) if tokens else None

    def estimate(self, request: Request) -> int:
        """Tokens that a request may take; 0 where nobody counts them."""
        return sent(request) + (request.max_tokens or 0) if self._tokens else 0

    def wait(self, tokens: int, now: float, sharers: int) -> float:
        """Seconds until a call of so many tokens may begin."""
        first = self._requests.wait(1, now, sharers) if self._requests else 0.0
        return max(first, self._tokens.wait(tokens, now, sharers)) if self._tokens else first

    def take(self, tokens: int) -> None:
        if self._requests:
            self._requests.take(1)
        if self._tokens:
            self._tokens.take(tokens)

    def correct(self, tokens: int, usage: Usage) -> None:
        """What a call of so many estimated tokens took."""
        if self._tokens:
            self._tokens.take(usage.prompt + usage.completion - tokens)
