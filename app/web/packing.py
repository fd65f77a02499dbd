"""Packages of data, built beside the requests that ask for them."""

import asyncio
import hashlib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from app.analysis.dataset import package
from app.analysis.dataset.options import FORMATS, Options, Step
from app.db.engine import TROUBLE, Database, explain
from app.errors import AppError, Conflict, TooMany
from app.experiments import packages
from app.logs import places
from app.world import sessions
from app.world.datasets import DATASETS, found

AT_ONCE = 1
TELL_SECONDS = 1.0
PLACE = "datasets"
log = structlog.get_logger()


@dataclass
class Packing:
    """The builds of this process. What is under way ends with it, and is shown as failed when a server starts again."""

    home: Database
    folder: Path
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def __aenter__(self) -> "Packing":
        with suppress(*TROUBLE):
            await self.home.fetch(DATASETS["orphaned"], [])
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def path(self, key: str) -> Path:
        """Where a package lies."""
        return self.folder / f"{key}.zip"

    async def begin(self, kind: str, about: str, asked: dict[str, Any], *, by: int | None) -> str:
        """Begin to build; the key of the package.

        Raises:
            TooMany: as much as this process does at once is under way.
            NotFound, Conflict: there is nothing to put into it.
            Invalid: it can't be built so.
        """
        if len(self._tasks) >= AT_ONCE:
            raise TooMany("this server builds a package already: wait for that to end, then ask again")
        options = options_of(asked)
        if kind == "experiment":
            sources, extras = await packages.of_experiment(self.home, about)
        else:
            sources, extras = await packages.of_world(self.home, about), {}
        package.checked(sources, options)
        key = sessions.new_key()
        await self.home.fetchval(DATASETS["add"], key, kind, about, sessions.encoded(asked), by)
        task = asyncio.create_task(self._build(key, sources, options, extras), name=f"dataset {key}")
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key, None))
        return key

    async def settled(self, key: str, seconds: float) -> None:
        """Wait for a build, but no longer than so many seconds."""
        if (task := self._tasks.get(key)) is not None:
            await asyncio.wait({task}, timeout=seconds)

    async def drop(self, key: str) -> None:
        """Delete a package and its file; a build under way ends.

        Raises:
            NotFound: there is none.
        """
        await found(self.home, key)
        if (task := self._tasks.get(key)) is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self.home.fetchval(DATASETS["drop"], key)
        await asyncio.to_thread(self.path(key).unlink, missing_ok=True)

    async def file(self, key: str) -> Path:
        """The file of a package that is whole.

        Raises:
            NotFound: there is none of this key.
            Conflict: it is not whole, or its file is gone.
        """
        row = await found(self.home, key)
        if row["state"] != "completed":
            raise Conflict(f"the dataset {key} is {row['state']}: there is no file")
        if not await asyncio.to_thread(self.path(key).is_file):
            raise Conflict(f"the file of the dataset {key} is gone from {PLACE}/: build it again")
        return self.path(key)

    async def _build(self, key: str, sources: Any, options: Options, extras: Any) -> None:
        step = Step("begins")

        def told(now: Step) -> None:
            nonlocal step
            step = now

        async def tell() -> None:
            while True:
                await asyncio.sleep(TELL_SECONDS)
                with suppress(*TROUBLE):
                    await self.home.fetch(DATASETS["words"], key, said(step))

        telling = asyncio.create_task(tell())
        target = self.path(key)
        try:
            await asyncio.to_thread(self.folder.mkdir, parents=True, exist_ok=True)
            built = await package.build(sources, target, options=options, extras=extras, told=told)
            size, sha256 = await asyncio.to_thread(measured, target)
            rows = sum(one["rows"] for world in built.manifest["worlds"] for one in world["tables"].values())
            if await self.home.fetchval(DATASETS["finish"], key, target.name, size, rows, sha256) is None:
                await asyncio.to_thread(target.unlink, missing_ok=True)
        except asyncio.CancelledError:
            await self._failed(key, "the server ended while it was built")
            raise
        except AppError as error:
            await self._failed(key, error.detail)
        except Exception as error:
            if (known := explain(error)) is None:
                log.error("bug", error=type(error).__name__, at=places(error), job="dataset")
            await self._failed(key, known.detail if known else "something went wrong here; it has been logged")
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def _failed(self, key: str, reason: str) -> None:
        with suppress(*TROUBLE):
            await self.home.fetchval(DATASETS["fail"], key, reason)


def options_of(asked: dict[str, Any]) -> Options:
    """What was asked for, as a build takes it."""
    plain = ("pseudonyms", "spreadsheet_safe", "title", "description", "licence")
    tables = asked.get("tables")
    return Options(
        tables=None if tables is None else tuple(dict.fromkeys(tables)),
        formats=tuple(dict.fromkeys(asked.get("formats") or FORMATS)),
        **{name: asked[name] for name in plain if name in asked},
    )


def said(step: Step) -> str:
    """How far a build is, in words."""
    far = f", {step.done:,} of {step.total:,} rows" if step.total else ""
    return f"{step.what.replace('_', ' ')}{far}"


def measured(path: Path) -> tuple[int, bytes]:
    """A file's size in bytes, and its SHA-256."""
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").digest()
