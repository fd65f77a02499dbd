"""Rooms for tests: an endpoint that talks, a room of two agents, and a small client that knows the wire alone."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from app.db.engine import Database
from app.world import rooms
from tests.fault_llm import Exchange, Fault, answer, reply

PACE: dict[str, Any] = {
    "session_duration_minutes": 5,
    "messages_per_minute": 0.01,
    "user_response_probability": 0.0,
    "context_window_size": 20,
    "words_per_minute": 0,
    "llm_concurrency_limit": 8,
    "grace_seconds": 60,
}
"""A room in which agents speak when they are spoken to, and at once."""


def talks(words: Callable[[dict[str, Any]], str] | None = None, *, think: float = 0.0) -> Fault:
    """An endpoint that says something each time it is asked."""
    asked = 0

    async def fault(exchange: Exchange) -> None:
        nonlocal asked
        asked += 1
        body = json.loads(exchange.request.body)
        text = words(body) if words else f"thought number {asked}"
        await asyncio.sleep(think)
        await answer(reply(("say", {"text": text})))(exchange)

    return fault


async def cast(database: Database, *names: str) -> list[tuple[int | None, str]]:
    """Personas that only play in rooms."""
    rows = await database.fetch(
        "INSERT INTO personas (username, description, status) SELECT n, n || ', a neighbour', 'cast' "
        "FROM unnest($1::text[]) AS n RETURNING id, username",
        list(names),
    )
    return [(row["id"], row["username"]) for row in rows]


async def make_room(
    database: Database, *names: str, seed: int = 7, settings: dict[str, Any] | None = None, **pace: Any
) -> str:
    """The key of a room with agents of these names (Alice and Bob) that waits for its person."""
    members = await cast(database, *(names or ("Alice", "Bob")))
    key = rooms.new_key()
    async with database.connection() as connection, connection.transaction():
        await rooms.open_room(
            connection,
            key=key,
            seed=seed,
            study_id=None,
            participant_id=None,
            arm="",
            pace={**PACE, **pace},
            settings=settings or {"model": "any"},
            members=members,
        )
    return key


@dataclass
class Person:
    """A client that keeps what it was sent."""

    socket: ClientConnection
    messages: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    code: int | None = None
    _new: asyncio.Event = field(default_factory=asyncio.Event)

    async def say(self, content: str, **more: Any) -> None:
        await self.socket.send(json.dumps({"type": "user_message", "content": content, **more}))

    async def read(self) -> None:
        try:
            async for frame in self.socket:
                told = msgspec.json.decode(frame)
                (self.events if "event_type" in told else self.messages).append(told)
                self._new.set()
        except ConnectionClosed:
            pass
        self.code = self.socket.close_code
        self._new.set()

    async def until(self, holds: Callable[[], object], seconds: float = 30.0) -> None:
        """Wait until it holds of what has come."""
        async with asyncio.timeout(seconds):
            while not holds():
                self._new.clear()
                await self._new.wait()


@asynccontextmanager
async def person(address: str, key: str, *, query: str = "", **more: Any) -> AsyncIterator[Person]:
    """Somebody connected to a room."""
    url = f"{address.replace('http', 'ws', 1)}/ws/{key}{query}"
    async with connect(url, proxy=None, **more) as socket:
        one = Person(socket)
        reading = asyncio.create_task(one.read())
        try:
            yield one
        finally:
            await socket.close()
            await asyncio.gather(reading, return_exceptions=True)
