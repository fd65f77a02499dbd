"""NOTIFY and LISTEN: to be woken soon. Nothing hangs on it: rows are the truth, and who waits also looks by itself."""

import asyncio
from collections.abc import Callable
from types import TracebackType

import asyncpg
import structlog

from app.db.engine import TROUBLE, Database, plain_url
from app.db.queries import load

BELL = load("events")["bell"]
PACE_SECONDS = 0.05
AGAIN_SECONDS = 0.5
AGAIN_MOST_SECONDS = 5.0
CHECK_SECONDS = 30.0
CONNECT_SECONDS = 5.0
log = structlog.get_logger()


class Bell:
    """Rings on a channel, from a task of its own and at most every `pace` seconds.

    Not in the transaction that has something to tell: a NOTIFY makes commits wait for each other. Only what is seldom
    written, as a run's state (`sql/turns.sql`), rings in its own transaction.
    """

    def __init__(self, database: Database, channel: str, *, pace: float = PACE_SECONDS) -> None:
        self._database = database
        self._channel = channel
        self._pace = pace
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.rung = 0

    async def __aenter__(self) -> "Bell":
        self._task = asyncio.create_task(self._run(), name=f"bell-{self._channel}")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def ring(self) -> None:
        """Let it be heard soon."""
        self._wanted.set()

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._database.fetchval(BELL, self._channel)
                self.rung += 1
            except TROUBLE as error:
                log.debug("not rung", channel=self._channel, error=type(error).__name__)
            await asyncio.sleep(self._pace)


class Listener:
    """Calls `heard` whenever a channel is rung, and once whenever it has begun to listen, on a connection of its own.

    A lost connection is made anew, for as long as the block lasts.
    """

    def __init__(self, url: str, channel: str, heard: Callable[[], None], *, check: float = CHECK_SECONDS) -> None:
        self._url = plain_url(url)
        self._channel = channel
        self._heard = heard
        self._check = check
        self._task: asyncio.Task[None] | None = None
        self.listening = asyncio.Event()

    async def __aenter__(self) -> "Listener":
        self._task = asyncio.create_task(self._run(), name=f"listen-{self._channel}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        pause = AGAIN_SECONDS
        while True:
            try:
                await self._listen()
            except TROUBLE as error:
                log.debug("not listening", channel=self._channel, error=type(error).__name__)
            except Exception:
                log.exception("the listener failed")
            pause = AGAIN_SECONDS if self.listening.is_set() else min(pause * 2, AGAIN_MOST_SECONDS)
            self.listening.clear()
            await asyncio.sleep(pause)

    async def _listen(self) -> None:
        """Listen until the connection is lost."""
        lost = asyncio.Event()
        connection = await asyncpg.connect(
            self._url,
            timeout=CONNECT_SECONDS,
            command_timeout=CONNECT_SECONDS,
            server_settings={"application_name": f"simfeed {self._channel}"},
        )
        try:
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(self._channel, lambda *_: self._heard())
            self.listening.set()
            self._heard()
            while not lost.is_set():
                try:
                    async with asyncio.timeout(self._check):
                        await lost.wait()
                except TimeoutError:
                    await connection.fetchval("SELECT 1")  # a line that is cut says nothing by itself
        finally:
            connection.terminate()
