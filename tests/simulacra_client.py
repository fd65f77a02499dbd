"""A client of Simulacra's, as somebody writes it who has read section 2 of the contracts and nothing else of ours."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

MESSAGE = {
    "sender", "content", "timestamp", "message_id", "reply_to", "quoted_text", "mentions", "likes_count", "liked_by",
    "reported",
}  # fmt: skip
EVENTS = {
    "message_like": {"message_id", "action", "likes_count", "liked_by", "user", "timestamp", "session_id"},
    "message_report": {"message_id", "action", "reported", "user"},
    "user_block": {"blocked"},
}
LOGGED = {
    "session_start", "message", "llm_call", "session_end", "error", "message_like", "message_report", "user_block",
}  # fmt: skip
PATIENCE = 60.0


@dataclass
class Line:
    """An open connection: what came over it, and with which code it was closed."""

    socket: ClientConnection
    messages: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    strange: list[Any] = field(default_factory=list)
    """What is neither a message nor one of the three events."""

    code: int | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def say(self, content: str, **more: Any) -> None:
        await self.raw(json.dumps({"type": "user_message", "content": content, **more}))

    async def raw(self, text: str) -> None:
        await self.socket.send(text)

    async def read(self) -> None:
        try:
            async for frame in self.socket:
                told = json.loads(frame)
                kind = told.get("event_type") if isinstance(told, dict) else None
                if isinstance(told, dict) and kind is None and told.keys() >= MESSAGE:
                    self.messages.append(told)
                elif kind in EVENTS:
                    self.events.append(told)
                else:
                    self.strange.append(told)
                self._changed.set()
        except ConnectionClosed:
            pass
        self.code = self.socket.close_code
        self._changed.set()

    async def until(self, holds: Callable[[], object], seconds: float = PATIENCE) -> None:
        async with asyncio.timeout(seconds):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    async def heard(self, count: int) -> list[dict[str, Any]]:
        """The messages, once there are so many."""
        await self.until(lambda: len(self.messages) >= count)
        return self.messages

    async def event(self, kind: str, place: int = -1, *, about: str = "") -> dict[str, Any]:
        """The newest event of a kind about a message, or the one at `place` among them, once it is there."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            found[:] = [
                one for one in self.events if one["event_type"] == kind and about in ("", one.get("message_id"))
            ]
            return len(found) > max(place, 0)

        await self.until(there)
        return found[place]

    async def closed(self) -> int:
        await self.until(lambda: self.code is not None)
        assert self.code is not None
        return self.code


class Simulacra:
    """Simulacra's routes at `base`."""

    def __init__(self, base: str) -> None:
        self.base = base

    async def get(self, path: str) -> httpx2.Response:
        return await self._ask("GET", path)

    async def post(self, path: str, given: Any) -> httpx2.Response:
        return await self._ask("POST", path, json=given)

    async def _ask(self, method: str, path: str, **more: Any) -> httpx2.Response:
        async with httpx2.AsyncClient(base_url=self.base, trust_env=False, timeout=PATIENCE) as client:
            return await client.request(method, path, **more)

    async def start(self, token: str, **more: Any) -> httpx2.Response:
        return await self.post("/session/start", {"token": token, **more})

    async def session(self, token: str, **more: Any) -> str:
        """The id of the session that a token starts."""
        answer = await self.start(token, **more)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["session_id"])

    async def like(self, session: str, message: str, user: str = "user") -> httpx2.Response:
        return await self.post(f"/session/{session}/message/{message}/like", {"user": user})

    async def report(self, session: str, message: str, user: str = "user", **more: Any) -> httpx2.Response:
        return await self.post(f"/session/{session}/message/{message}/report", {"user": user, **more})

    @asynccontextmanager
    async def connect(self, session: str) -> AsyncIterator[Line]:
        address = f"{self.base.replace('http', 'ws', 1)}/ws/{session}"
        async with connect(address, proxy=None) as socket:
            line = Line(socket)
            reading = asyncio.create_task(line.read())
            try:
                yield line
            finally:
                await socket.close()
                await asyncio.gather(reading, return_exceptions=True)


def moment(text: str) -> datetime:
    """An ISO 8601 time."""
    return datetime.fromisoformat(text)


def read_log(text: str) -> list[dict[str, Any]]:
    """A session's log: an object a line."""
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]
