"""Who plays which turns: batches of them, handed out to any number of processes."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Protocol

import asyncpg
import msgspec
import structlog
from pgqueuer import QueueManager

from app.db.engine import TROUBLE, Database, plain_url
from app.db.queue import SETTINGS, queries

TURNS_OF = "turns"
HEARTBEAT = timedelta(seconds=6)
"""A batch whose worker is not heard of for so long is handed out anew."""

LOOK = timedelta(seconds=5)
AWAY_SECONDS = 1.0
log = structlog.get_logger()


class Batch(msgspec.Struct, frozen=True):
    """The turns of a run with ordinals from `first` to `last`."""

    venue: str
    run: int
    first: int
    last: int


PlayBatch = Callable[[Batch], Awaitable[None]]


class Dispatch(Protocol):
    """What handing out needs of a queue. Batches may come twice: turns are claimed by rows, not by batches."""

    @staticmethod
    async def enqueue_run(connection: object, venue: str, run_id: int, batches: Iterable[int], size: int) -> None:
        """Queue batches by number, in the connection's transaction; one that is queued or under way stays as it is."""
        ...

    async def run_worker(self, play: PlayBatch) -> None:
        """Play what is queued until `stop`, through any loss of the database."""
        ...

    async def depth(self) -> int:
        """Batches that nobody has taken yet."""
        ...

    async def stop(self) -> None:
        """Take no more; `run_worker` returns when what was taken has been played."""
        ...


class PgQueue:
    """PgQueuer in the world's own database. `at_once` is how many batches this process takes together."""

    def __init__(self, database: Database, *, at_once: int = 2) -> None:
        self._database = database
        self._at_once = max(2, at_once)
        self._stopping = False
        self._manager: QueueManager | None = None

    @staticmethod
    async def enqueue_run(connection: object, venue: str, run_id: int, batches: Iterable[int], size: int) -> None:
        numbers = list(batches)
        if not numbers:
            return
        payloads: list[bytes | None] = [
            msgspec.json.encode(Batch(venue, run_id, n * size + 1, (n + 1) * size)) for n in numbers
        ]
        keys: list[str | None] = [f"{run_id}/{size}/{n}" for n in numbers]
        await queries(connection).enqueue(
            [TURNS_OF] * len(numbers), payloads, [0] * len(numbers), dedupe_key=keys, on_conflict="skip"
        )

    async def depth(self) -> int:
        async with self._database.connection() as connection:
            sizes = await queries(connection).queue_size()
        return sum(size.count for size in sizes if size.entrypoint == TURNS_OF and size.status == "queued")

    async def stop(self) -> None:
        self._stopping = True
        if self._manager is not None:
            self._manager.shutdown.set()

    async def run_worker(self, play: PlayBatch) -> None:
        while not self._stopping:
            try:
                await self._take(play)
            except TROUBLE as error:
                log.debug("the queue is away", error=type(error).__name__)
            except Exception:  # a lost connection shows in many ways, and without the queue nobody plays
                log.exception("the queue failed")
            if not self._stopping:
                await asyncio.sleep(AWAY_SECONDS)

    async def _take(self, play: PlayBatch) -> None:
        connection = await asyncpg.connect(
            plain_url(self._database.url),
            timeout=10,
            command_timeout=10,
            server_settings={"application_name": "simfeed queue"},
        )
        try:
            manager = QueueManager(queries(connection), SETTINGS.channel)

            async def handle(job: object) -> None:
                payload = getattr(job, "payload", None)
                if isinstance(payload, bytes):
                    await play(msgspec.json.decode(payload, type=Batch))

            manager.entrypoint(TURNS_OF, accepts_context=False)(handle)
            self._manager = manager
            if self._stopping:
                return
            await manager.run(
                dequeue_timeout=LOOK,
                batch_size=1,
                max_concurrent_tasks=self._at_once,
                heartbeat_timeout=HEARTBEAT,
                shutdown_on_listener_failure=True,
            )
        finally:
            self._manager = None
            await connection.close(timeout=2)
