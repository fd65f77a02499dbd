"""Plays sessions here, or follows them while others do: what is said on stdout as it comes, a bar on stderr."""

import asyncio
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from app.agent.turn import Mind
from app.cli.common import err, out
from app.db.engine import Database
from app.db.notify import Listener
from app.settings import Settings
from app.streams import number
from app.venues.session.design import Dialogue, Simulation
from app.venues.session.forecast import forecast
from app.venues.session.reading import worded
from app.venues.session.results import told
from app.venues.session.scripts import design_of
from app.venues.session.stage import play
from app.world import sessions
from app.world.sessions import CHANNEL, SESSIONS, Member

LOOK_SECONDS = 0.3
SHOWN = ("seed", "stimulus", "question", "say", "answer")
"""Kinds of lines that are told as they come; what is asked about the talk itself is told at the end."""

COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_red", "bright_cyan", "bright_green")


@contextmanager
def piped() -> Iterator[None]:
    """Where whoever reads stdout has gone, end with 141, and not as if the database were away."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be flushed goes nowhere
        raise typer.Exit(141) from None


def plain(text: str) -> str:
    """Without what a terminal would obey; further lines are indented."""
    return "\n  ".join(
        "".join(c if c.isprintable() or c == "\t" else " " for c in line) for line in text.strip().splitlines()
    )


def spoken(line: Mapping[str, Any]) -> str | None:
    """What a line says, in words; None where it is not told as it comes."""
    if line["kind"] not in SHOWN:
        return None
    if line["missing"]:
        return f"(nothing: {line['missing']})"
    if line["kind"] == "answer":
        return "; ".join(f"{key}: {worded(value)}" for key, value in (line["value"] or {}).items())
    return str(line["text"])


@dataclass
class Screen:
    """stdout for what is said, stderr for how far it is; neither spoils the other where both are one terminal."""

    silent: bool = False
    """Nothing is told of what is said."""

    _bar: Progress | None = None

    @contextmanager
    def showing(self, *, bar: bool = True) -> Iterator["Screen"]:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(
            *columns,
            console=err,
            auto_refresh=False,
            disable=not (bar and err.is_terminal),
            redirect_stdout=False,
            redirect_stderr=False,
        )
        with self._bar:
            yield self

    def begin(self, title: str, total: int) -> TaskID:
        assert self._bar is not None  # noqa: S101 - only within `showing`
        return self._bar.add_task(title, total=total or None)

    def at(self, task: TaskID, answered: int, asked: int, *, over: bool) -> None:
        assert self._bar is not None  # noqa: S101 - only within `showing`
        total = self._bar.tasks[task].total or 0
        self._bar.update(task, completed=answered, total=answered if over else max(total, asked))
        self._bar.refresh()

    def hear(self, lines: Iterable[Mapping[str, Any]], channel: str = "") -> None:
        """Tell what was said; `channel` stands before it."""
        said = [(line, words) for line in lines if (words := spoken(line)) is not None]
        if self.silent or not said:
            return
        hides = self._bar is not None and not self._bar.disable and out.is_terminal
        if hides:
            err.file.write("\r\x1b[2K")  # one bar, as `perform` has it where stdout is a terminal
            err.file.flush()
        with piped():
            for line, words in said:
                self._say(str(line["by"]), plain(words), channel)
        if hides and self._bar is not None:
            self._bar.refresh()

    def _say(self, by: str, words: str, channel: str) -> None:
        front = f"[{plain(channel)}] " if channel else ""
        if out.is_terminal:
            colour = COLOURS[number(0, by) % len(COLOURS)]
            out.print(Text.assemble((front, "dim"), (f"{plain(by)}:", f"bold {colour}"), f" {words}"), soft_wrap=True)
        else:
            typer.echo(f"{front}{plain(by)}: {words}")


async def stands(database: Database, session_id: int) -> asyncpg.Record:
    """How a session stands, without its design: state, ended_at, asks_count, answered."""
    row = await database.fetchrow(SESSIONS["listed"], session_id + 1, None, 1)
    assert row is not None  # noqa: S101 - sessions are never deleted
    return row


@dataclass
class Follower:
    """Tells what is said in a session, whoever drives it; `heard` is the last line that was told."""

    database: Database
    settings: Settings
    row: asyncpg.Record
    screen: Screen
    heard: int = 0
    channel: str = ""
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    _members: Sequence[Member] = ()
    _task: TaskID = field(default=TaskID(0))

    async def begin(self) -> None:
        self._members = await sessions.members(self.database, self.row["id"])
        design = design_of(self.row)
        calls = 0
        if isinstance(design, Dialogue | Simulation):
            calls = forecast(self.settings, design, len(self._members) - 1).calls
        title = self.channel or f"{self.row['kind'].replace('_', ' ')} {self.row['key']}"
        self._task = self.screen.begin(title, calls)

    async def follow(self) -> bool:
        """Tell what is said until the session is at an end (True) or stands still."""
        while True:
            self.woken.clear()
            now = await self._look()
            if now["ended_at"] is not None or now["state"] != "running":
                return now["ended_at"] is not None
            await self._wait(LOOK_SECONDS)

    async def to_the_end(self) -> None:
        """Tell what is said until the end; where the session stands still, wait."""
        while not await self.follow():
            while (await stands(self.database, self.row["id"]))["state"] != "running":
                if (await stands(self.database, self.row["id"]))["ended_at"] is not None:
                    return
                self.woken.clear()
                await self._wait(LOOK_SECONDS * 3)

    async def _look(self) -> asyncpg.Record:
        now = await stands(self.database, self.row["id"])
        if now["lines_count"] > self.heard:
            new = await sessions.lines(self.database, self.row["id"], after=self.heard)
            self.heard = new[-1].number
            self.screen.hear([told(line, self._members) for line in new], self.channel)
        self.screen.at(self._task, now["answered"], now["asks_count"], over=now["ended_at"] is not None)
        return now

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.woken.wait()
        except TimeoutError:
            return


async def watch(database: Database, settings: Settings, row: asyncpg.Record, screen: Screen, *, after: int = 0) -> None:
    """Follow a session that others drive to its end."""
    with screen.showing(bar=_wants_bar([row])):
        follower = Follower(database, settings, row, screen, after)
        await follower.begin()
        async with Listener(database.url, CHANNEL, follower.woken.set):
            await follower.to_the_end()


async def perform(
    mind: Mind, settings: Settings, rows: Sequence[asyncpg.Record], screen: Screen, *, after: int = 0
) -> None:
    """Drive sessions side by side, unless others do, until each is at an end or stands still; tell what is said."""
    if mind.pulse.halted:
        err.print("The kill switch is on: nothing is asked until `simfeed halt --off`.", markup=False)
    with screen.showing(bar=_wants_bar(rows)):
        named = {row["id"]: _channel(row) if len(rows) > 1 else "" for row in rows}
        try:
            async with asyncio.TaskGroup() as group:
                for row in rows:
                    follower = Follower(mind.database, settings, row, screen, after, named[row["id"]])
                    group.create_task(_perform(mind, follower))
        except asyncio.CancelledError:
            for row in rows:
                err.print(f"`simfeed session resume {row['key']}` goes on with it.", markup=False)
            raise
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None


async def _perform(mind: Mind, follower: Follower) -> None:
    await follower.begin()
    playing = asyncio.create_task(
        play(mind, follower.settings, follower.row["id"], told=lambda _: follower.woken.set())
    )
    following = asyncio.create_task(follower.follow())
    try:
        await asyncio.wait({playing, following}, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in (playing, following):
            task.cancel()
        await asyncio.gather(playing, following, return_exceptions=True)
    for task in (playing, following):
        if not task.cancelled():
            task.result()


def _wants_bar(rows: Sequence[asyncpg.Record]) -> bool:
    """Where each line of a dialogue is told on the terminal, they are progress enough."""
    return not (out.is_terminal and all(row["kind"] == "dialogue" for row in rows))


def _channel(row: asyncpg.Record) -> str:
    design = design_of(row)
    return (design.channel or design.name) if isinstance(design, Dialogue) else row["name"] or row["key"]
