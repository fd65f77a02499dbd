"""Public answers that many ask for at once: made once, and given to all for half a second."""

import time
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.web.cached import CACHE

FRESH = 0.5
"""Seconds for which an answer is given again. One that is being remade may be given for as long once more."""

HOT = 10
"""Requests for one address within that time that make it worth keeping: whoever asks now and then gets the newest."""

COUNTED_MAX = 4_096
KEPT_MAX = 64
BODY_MAX = 256 * 1024

Key = tuple[str, bytes, str, bytes, bytes]
Headers = list[tuple[bytes, bytes]]


@dataclass
class _Kept:
    headers: Headers
    body: bytes
    tag: bytes
    until: float
    route: object
    given: int = 0

    async def give(self, wanted: bytes, send: Send) -> None:
        same = bool(self.tag) and self.tag in wanted
        headers = (
            [h for h in self.headers if h[0] not in (b"content-length", b"content-type")] if same else self.headers
        )
        await send({"type": "http.response.start", "status": 304 if same else 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if same else self.body})


class HotAnswers:
    """ASGI middleware: keeps what `cached.answer` made, and nothing that was asked for with a token or a cookie."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._kept: dict[Key, _Kept] = {}
        self._counts: dict[Key, int] = {}
        self._counted_until = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = _asked(scope)
        if asked is None:
            await self.app(scope, receive, send)
            return
        key, wanted = asked
        now = time.monotonic()
        self._turn_over(now)
        kept = self._kept.get(key)
        if kept is not None and now < kept.until:
            kept.given += 1
            scope["route"] = kept.route
            await kept.give(wanted, send)
        elif kept is not None or self._is_hot(key):
            if kept is not None:
                kept.until = now + FRESH
            await self._remake(key, now, wanted, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _turn_over(self, now: float) -> None:
        """Forget, at the end of each window, what was counted in it and what has cooled down."""
        if now < self._counted_until:
            return
        self._counted_until = now + FRESH
        self._counts.clear()
        self._kept = {key: kept for key, kept in self._kept.items() if kept.given >= HOT and now < kept.until + FRESH}

    def _is_hot(self, key: Key) -> bool:
        count = self._counts.get(key, 0) + 1
        if count > 1 or len(self._counts) < COUNTED_MAX:
            self._counts[key] = count
        return count >= HOT and len(self._kept) < KEPT_MAX

    async def _remake(self, key: Key, now: float, wanted: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask for the whole answer, whatever this caller has of it, and keep it if it may be."""
        whole = {**scope, "headers": [header for header in scope["headers"] if header[0] != b"if-none-match"]}
        messages: list[Message] = []

        async def collect(message: Message) -> None:
            if messages or (message["type"] == "http.response.start" and _for_everybody(message)):
                messages.append(message)
            else:  # it may have no end
                await send(message)

        try:
            await self.app(whole, receive, collect)
        except BaseException:
            self._kept.pop(key, None)
            raise
        finally:
            scope["route"] = whole.get("route")
        body = b"".join(message.get("body", b"") for message in messages[1:])
        if messages and len(body) <= BODY_MAX:
            headers: Headers = messages[0]["headers"]
            made = _Kept(headers, body, dict(headers).get(b"etag", b""), now + FRESH, scope["route"])
            self._kept[key] = made
            await made.give(wanted, send)
            return
        self._kept.pop(key, None)
        for message in messages:
            await send(message)


def _for_everybody(start: Message) -> bool:
    return bool(start["status"] == 200 and dict(start["headers"]).get(b"cache-control") == CACHE.encode())


def _asked(scope: Scope) -> tuple[Key, bytes] | None:
    """What is asked for, and which version the caller has; None if it is not for everybody."""
    if scope["type"] != "http" or scope["method"] != "GET":
        return None
    host = accept = wanted = b""
    for name, value in scope["headers"]:
        if name in (b"authorization", b"cookie"):
            return None
        if name == b"host":
            host = value
        elif name == b"accept":
            accept = value
        elif name == b"if-none-match":
            wanted = value
    return (scope["path"], scope["query_string"], scope["scheme"], host, accept), wanted
