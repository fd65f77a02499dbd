"""A participant's end of the wire: what was sent, what was told, when, and whether it came whole and in order."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from app.cli.bots.pages import PATIENCE, Unexpected

ACKNOWLEDGED_SECONDS = 10.0
AGAIN_SECONDS = 0.5
COMES_BACK_AFTER = (1006, 1011, 1012, 1013)
"""Closing codes after which a client connects again by itself."""


@dataclass
class Sent:
    """A message of ours. `key` and `seconds` are known once it has come back."""

    content: str
    client_id: str
    at: float
    key: str = ""
    seconds: float | None = None
    refused: bool = False


@dataclass
class Seat:
    """A connection to a room that may break and come again.

    `extras` asks for what clients of ours are told besides: positions, the end, and our own messages. `heard`: the
    messages of the page as it is, in the order told; `at`: when each was first told.
    """

    url: str
    extras: bool
    origin: str | None = None
    sent: list[Sent] = field(default_factory=list)
    heard: list[dict[str, Any]] = field(default_factory=list)
    at: dict[str, float] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    blocks: set[str] = field(default_factory=set)
    position: int = 0
    seconds_left: float | None = None
    ended: str = ""
    """Why the room is at an end; `closed` for a plain client, who is told by the closing code alone."""

    doubled: int = 0
    gaps: int = 0
    refused: list[str] = field(default_factory=list)
    breaks: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)
    greeted: asyncio.Event = field(default_factory=asyncio.Event)
    _connection: ClientConnection | None = None
    _reading: asyncio.Task[None] | None = None
    _waited: dict[str, asyncio.Event] = field(default_factory=dict)

    async def open(self) -> None:
        """Connect, or connect again where it broke off.

        Raises:
            TimeoutError: the server can't be reached.
        """
        address = f"{self.url}?extras=1&since={self.position}" if self.extras else self.url
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    given = {"Origin": self.origin} if self.origin else {}
                    self._connection = await connect(address, proxy=None, compression=None, additional_headers=given)
                    break
                except (OSError, InvalidHandshake):
                    self.breaks += 1
                    await asyncio.sleep(AGAIN_SECONDS)
        self._reading = asyncio.create_task(self._read(self._connection))

    async def lose(self) -> None:
        """The line breaks. A client that doesn't count what it was told still takes what is on its way."""
        if self._connection is None or self._reading is None:
            return
        reading, connection = self._reading, self._connection
        self._reading = self._connection = None
        if self.extras:
            connection.transport.abort()
        else:
            connection.transport.write_eof()
        await asyncio.wait([reading], timeout=PATIENCE)

    def forget(self) -> None:
        """A page that is loaded again knows nothing."""
        if self.extras:
            self.position = 0
            self.heard.clear()

    async def close(self) -> None:
        reading, connection = self._reading, self._connection
        self._reading = self._connection = None
        if connection is not None:
            await connection.close()
        if reading is not None:
            await asyncio.wait([reading], timeout=PATIENCE)

    async def say(self, content: str, *, reply_to: dict[str, Any] | None = None) -> None:
        """Write a message, and wait until it has come back, where it does; sent again if the line breaks meanwhile.

        Raises:
            Unexpected: it never does.
        """
        sent = Sent(content, f"bot-{len(self.sent) + 1}", time.perf_counter())
        self.sent.append(sent)
        given: dict[str, Any] = {"type": "user_message", "content": content}
        if reply_to is not None:
            given |= {"reply_to": reply_to["message_id"], "quoted_text": reply_to["content"][:120]}
        if not self.extras:
            await self._send(given)
            return
        waited = self._waited[sent.client_id] = asyncio.Event()
        for _ in range(3):
            await self._send({**given, "client_id": sent.client_id})
            with suppress(TimeoutError):
                async with asyncio.timeout(ACKNOWLEDGED_SECONDS):
                    await waited.wait()
                    return
            if self.over.is_set():
                break
        raise Unexpected("a message was not acknowledged")

    async def _send(self, given: dict[str, Any]) -> None:
        text = msgspec.json.encode(given).decode()
        for _ in range(20):
            connection = self._connection
            if self.over.is_set():
                return
            if connection is not None:
                with suppress(ConnectionClosed):
                    await connection.send(text)
                    return
            await asyncio.sleep(AGAIN_SECONDS)
        raise Unexpected("a message could not be sent: the connection did not come back")

    async def _read(self, connection: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            async for frame in connection:
                self._hear(msgspec.json.decode(frame))
        if connection is not self._connection:
            return  # it was our doing
        code = connection.close_code or 1006
        if code == 1000:
            self.ended = self.ended or "closed"
            self.over.set()
        elif code in COMES_BACK_AFTER:
            self.breaks += 1
            await asyncio.sleep(AGAIN_SECONDS)
            try:
                await self.open()
            except (TimeoutError, OSError):
                self._shut("the room could not be reached any more")
        else:
            self._shut(f"the connection was closed with {code}: {connection.close_reason}")

    def _shut(self, words: str) -> None:
        self.refused.append(words)
        self.greeted.set()
        self.over.set()

    def _hear(self, told: dict[str, Any]) -> None:
        now = time.perf_counter()
        kind = told.get("event_type")
        if kind == "hello":
            self.names = [name for name in told["members"] if name != told["you"]]
            self.seconds_left = told["seconds_left"]
            self.greeted.set()
            return
        if kind == "error":
            self._refuse(told)
            return
        if "position" in told and not self._counted(told["position"]):
            return
        if kind is None:
            self._message(told, now)
        elif kind == "user_block":
            self.blocks |= set(told["blocked"])
        elif kind == "ended":
            self.ended = told["reason"]
            self.over.set()

    def _counted(self, position: int) -> bool:
        if position <= self.position:
            self.doubled += 1
            return False
        if position > self.position + 1 and not self.blocks:
            self.gaps += position - self.position - 1
        self.position = position
        return True

    def _message(self, told: dict[str, Any], now: float) -> None:
        key = told["message_id"]
        if any(known["message_id"] == key for known in self.heard):
            self.doubled += 1
            return
        self.heard.append(told)
        self.at.setdefault(key, now)
        if told.get("own"):
            for sent in self.sent:
                if sent.client_id == told["client_id"] and not sent.key:
                    sent.key, sent.seconds = key, now - sent.at
                    self._waited[sent.client_id].set()
        elif told["sender"] not in self.names:
            self.names.append(told["sender"])

    def _refuse(self, told: dict[str, Any]) -> None:
        for sent in self.sent:
            if not sent.refused and not sent.key and told.get("client_id") == sent.client_id:
                sent.refused = True
                self._waited[sent.client_id].set()
        self.refused.append(f"a message was refused: {told['detail']}")
