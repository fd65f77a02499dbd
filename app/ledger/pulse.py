"""What the processes of one world tell each other, about once a second: who lives, what is halted, who must wait."""

import asyncio
import hashlib
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
import structlog

from app.db.engine import TROUBLE, Database
from app.db.queries import load

PULSE = load("pulse")
BEAT_SECONDS = 1.0
log = structlog.get_logger()


@dataclass(frozen=True)
class Block:
    """Why a provider is not asked any more: `auth`, `quota` or `config`, and in its words."""

    status: str
    detail: str


class _Told(msgspec.Struct):
    name: str
    blocked: str | None
    detail: str
    key: str | None
    wait: float | None


def fingerprint(key: str) -> bytes:
    """32 bytes that tell a provider's keys apart without telling them."""
    return hashlib.sha256(b"simfeed provider key|" + key.encode()).digest()


@dataclass
class Pulse:
    """The state all share, as of the last beat; what this process finds out counts here at once.

    Without a database it is this process's alone. `workers` is how many processes play turns, this one included.
    """

    database: Database | None = None
    works: bool = False
    workers: int = 1
    halted: bool = False
    id: str = field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}")
    on_change: list[Callable[[], None]] = field(default_factory=list)
    _paused: dict[str, float] = field(default_factory=dict)
    _blocked: dict[str, tuple[Block, bytes]] = field(default_factory=dict)
    _unsent: list[tuple[str, tuple[object, ...]]] = field(default_factory=list)
    _beating: asyncio.Event = field(default_factory=asyncio.Event)

    def wait_of(self, provider: str) -> float:
        """Seconds for which a provider has asked to be left alone; 0 when it has not."""
        return max(0.0, self._paused.get(provider, 0.0) - time.monotonic())

    def pause(self, provider: str, seconds: float) -> None:
        """Leave a provider alone for that long, in all processes."""
        until = time.monotonic() + seconds
        if until > self._paused.get(provider, 0.0):
            self._paused[provider] = until
            self._send("pause", provider, seconds)

    def block_of(self, provider: str, key: str) -> Block | None:
        """Why a provider is not asked with this key, if so."""
        found = self._blocked.get(provider)
        return found[0] if found is not None and found[1] == fingerprint(key) else None

    def blocked(self) -> list[str]:
        """The providers that are not asked, with whatever key."""
        return list(self._blocked)

    def block(self, provider: str, key: str, block: Block) -> None:
        """Don't ask a provider with this key any more, in all processes, until `unblock`."""
        if self.block_of(provider, key) != block:
            log.error("provider refuses us", provider=provider, status=block.status, detail=block.detail)
            self._blocked[provider] = (block, fingerprint(key))
            self._send("block", provider, block.status, block.detail, fingerprint(key))

    def unblock(self, provider: str) -> None:
        """It answers again."""
        held = self._blocked.pop(provider, None), self._paused.pop(provider, None)
        if held != (None, None):
            self._send("unblock", provider)

    def _send(self, statement: str, *arguments: object) -> None:
        if self.database is not None:
            self._unsent.append((statement, arguments))
            self._beating.set()

    async def beat(self) -> None:
        """Tell and learn. Raises what asyncpg raises."""
        if self.database is None:
            return
        while self._unsent:
            statement, arguments = self._unsent[0]
            await self.database.fetchval(PULSE[statement], *arguments)
            self._unsent.pop(0)
        me = self.id if self.works else None
        row = await self.database.fetchrow(PULSE["beat"], me, socket.gethostname(), os.getpid())
        if row is None:
            return
        self.workers = int(row["others"]) + 1
        changed, self.halted = self.halted != row["halted"], row["halted"]
        if not self._unsent:
            self._learn(msgspec.json.decode(row["providers"], type=list[_Told]))
        if changed:
            for told in self.on_change:
                told()

    def _learn(self, providers: list[_Told]) -> None:
        now = time.monotonic()
        self._paused = {p.name: now + p.wait for p in providers if p.wait}
        self._blocked = {
            p.name: (Block(p.blocked, p.detail), bytes.fromhex(p.key)) for p in providers if p.blocked and p.key
        }

    async def _live(self) -> None:
        lost = False
        while True:
            try:
                await self.beat()
                if lost:
                    log.warning("the database is back")
                lost = False
            except TROUBLE as error:
                if not lost:
                    log.warning("the database is away", error=type(error).__name__)
                lost = True
            self._beating.clear()
            try:
                async with asyncio.timeout(BEAT_SECONDS):
                    await self._beating.wait()
            except TimeoutError:
                continue

    @asynccontextmanager
    async def living(self) -> AsyncIterator["Pulse"]:
        """Beat in the background until the end of the block."""
        if self.database is not None:
            await self.beat()
        task = asyncio.create_task(self._live(), name="pulse")
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self._leave()

    async def _leave(self) -> None:
        if self.database is None or not self.works:
            return
        try:
            await self.database.fetchval(PULSE["leave"], self.id)
        except TROUBLE:
            log.warning("left without a word")


async def halt(database: Database, halted: bool) -> bool:
    """Throw the kill switch, or take it back; every process follows at its next beat."""
    return await database.fetchval(PULSE["halt"], halted) is not None
