"""Long work on worlds, done beside the requests that ask for it: copies made and dropped, hashes and differences."""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import structlog

from app.db.engine import explain
from app.errors import AppError, TooMany, Unavailable
from app.logs import places

CHANGES_AT_ONCE = 1
READS_AT_ONCE = 2
READ_SECONDS = 300.0
"""For so long a page reads worlds; the command line has all the time it needs."""

KEPT = 30
Told = Callable[[str], None]
Kind = Literal["make", "drop", "hash", "diff"]
CHANGES = ("make", "drop")
log = structlog.get_logger()


@dataclass
class Job:
    """Work under way, or what has come of it: `found`, or a `problem`.

    `about` names the worlds, `wish` says what else was asked for, `words` what is being done just now.
    """

    id: str
    kind: Kind
    about: tuple[str, ...]
    wish: dict[str, str]
    begun: datetime
    words: str = ""
    ended: datetime | None = None
    found: Any = None
    problem: AppError | None = None

    @property
    def seconds(self) -> float:
        """How long it has taken so far, or in all."""
        return ((self.ended or datetime.now(UTC)) - self.begun).total_seconds()


@dataclass
class Workshop:
    """The jobs of this process, and the newest that have come to an end. What is under way ends with it."""

    jobs: OrderedDict[str, Job] = field(default_factory=OrderedDict)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def __aenter__(self) -> "Workshop":
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def read_seconds(self) -> float:
        return READ_SECONDS

    def under_way(self, kinds: tuple[str, ...] = CHANGES) -> list[Job]:
        """Jobs of these kinds that have not ended."""
        return [job for job in self.jobs.values() if job.ended is None and job.kind in kinds]

    def failed(self, kinds: tuple[str, ...] = CHANGES) -> list[Job]:
        """Those of which nothing came, the newest first."""
        return [job for job in reversed(self.jobs.values()) if job.problem is not None and job.kind in kinds]

    def begin(
        self,
        kind: Kind,
        about: tuple[str, ...],
        work: Callable[[Told], Awaitable[Any]],
        wish: dict[str, str] | None = None,
    ) -> Job:
        """Begin to `work`; the same reading that is under way already is not begun anew.

        Raises:
            TooMany: as much as this process does at once is under way.
        """
        alike = CHANGES if kind in CHANGES else ("hash", "diff")
        busy = self.under_way(alike)
        wished = wish or {}
        if kind not in CHANGES and (same := [j for j in busy if (j.kind, j.about, j.wish) == (kind, about, wished)]):
            return same[0]
        if len(busy) >= (CHANGES_AT_ONCE if kind in CHANGES else READS_AT_ONCE):
            names = " and ".join(" / ".join(job.about) for job in busy)
            raise TooMany(f"this server is busy with worlds already ({names}): wait for that to end, then ask again")
        job = Job(secrets.token_hex(16), kind, about, wished, datetime.now(UTC))
        self.jobs[job.id] = job
        self._tasks[job.id] = asyncio.create_task(self._do(job, work), name=f"world {kind}")
        self._forget()
        return job

    async def settled(self, job: Job, seconds: float) -> bool:
        """Wait for a job, but no longer than so many seconds; whether it has ended."""
        if (task := self._tasks.get(job.id)) is not None:
            await asyncio.wait({task}, timeout=seconds)
        return job.ended is not None

    def take_away(self, job: Job) -> None:
        """Forget a job that has ended."""
        self.jobs.pop(job.id, None)

    def _forget(self) -> None:
        ended = [key for key, job in self.jobs.items() if job.ended is not None]
        for key in ended[: max(0, len(self.jobs) - KEPT)]:
            del self.jobs[key]

    async def _do(self, job: Job, work: Callable[[Told], Awaitable[Any]]) -> None:
        def told(words: str) -> None:
            job.words = words

        limit = asyncio.timeout(self.read_seconds if job.kind not in CHANGES else None)
        try:
            async with limit:
                job.found = await work(told)
        except AppError as error:
            job.problem = error
        except Exception as error:
            job.problem = self._problem(job, error, late=limit.expired())
        finally:
            job.ended = datetime.now(UTC)
            self._tasks.pop(job.id, None)

    def _problem(self, job: Job, error: Exception, *, late: bool) -> AppError:
        if late:
            return Unavailable(f"this took longer than {self.read_seconds:g} s, and was given up")
        if (known := explain(error)) is not None:
            return known
        log.error("bug", error=type(error).__name__, at=places(error), job=job.kind)
        return AppError("something went wrong here; it has been logged")
