"""What all commands share: data on stdout, talk on stderr, one way to open the home world."""

import asyncio
import json
import signal
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import uvloop
from rich.console import Console
from rich.markup import escape

from app.db import migrate
from app.db.engine import Database, explain
from app.errors import AppError, Invalid, Misconfigured, Unavailable
from app.settings import Settings, load_settings

EXIT_FAILED, EXIT_USAGE, EXIT_UNAVAILABLE, EXIT_CONFIG = 1, 2, 69, 78
"""1 it failed, 2 wrong input, 69 a service is away, 78 something must be configured (as sysexits.h has them)."""

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)
Json = Annotated[bool, typer.Option("--json", help="Data as JSON, for programs.")]
Home = Annotated[
    Path | None,
    typer.Option("--home", help="Folder of the embedded database and secrets (SIMFEED_HOME, default .simfeed)."),
]
T = TypeVar("T")


def exit_code(error: AppError) -> int:
    if isinstance(error, Misconfigured):
        return EXIT_CONFIG
    if isinstance(error, Unavailable):
        return EXIT_UNAVAILABLE
    return EXIT_USAGE if error.status < 500 else EXIT_FAILED


def go(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's asynchronous part; a database that is away becomes a sentence. SIGTERM cancels it, as Ctrl-C."""
    terminated: list[int] = []

    async def cancellable() -> T:
        task = asyncio.current_task()

        def end() -> None:
            terminated.append(signal.SIGTERM)
            if task is not None:
                task.cancel()

        if threading.current_thread() is threading.main_thread():  # no other hears of signals
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
        return await work

    before = signal.getsignal(signal.SIGTERM)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(cancellable())
    except AppError:
        raise
    except asyncio.CancelledError:
        if terminated and callable(before):
            before(signal.SIGTERM, None)  # which exits, as where nothing is to be cancelled
        raise
    except Exception as error:
        if (known := explain(error)) is not None:
            raise Unavailable(f"{known.detail} ({type(error).__name__})") from error
        raise


def settings_for(home: Path | None, **overrides: object) -> Settings:
    given = {name: value for name, value in overrides.items() if value is not None}
    return load_settings(**({"simfeed_home": home} if home is not None else {}), **given)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Database]:
    """The home world's database, with its schema up to date.

    Raises:
        Misconfigured: the schema is older or newer than this program.
    """
    with migrate.open_home_url(settings) as url:
        state = await migrate.status(url)
        if state.pending:
            raise Misconfigured("the database is not up to date: run `simfeed db migrate` first (or `simfeed up`)")
        database = await Database.open(url, size=settings.database_pool_size)
        try:
            yield database
        finally:
            await database.close()


def _plain(value: object) -> object:
    match value:
        case datetime():
            return value.isoformat()
        case Decimal():
            return float(value)
        case Path():
            return str(value)
        case bytes():
            return value.hex()
        case _:
            raise TypeError(f"{type(value).__name__} has no JSON form")


def show_json(data: object) -> None:
    typer.echo(json.dumps(data, default=_plain, ensure_ascii=False, indent=2))


def table(title: str, *columns: str, rows: list[tuple[object, ...]], empty: str, console: Console = out) -> None:
    """A table on stdout (or `console`), or on stderr a sentence about what to do when there is nothing to show."""
    if not rows:
        err.print(empty, markup=False)
        return
    from rich.table import Table

    grid = Table(title=title or None, title_justify="left", header_style="bold")
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*("" if cell is None else _cell(cell) for cell in row))
    console.print(grid, markup=False)


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return escape(value) if isinstance(value, str) else str(value)


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is lost.

    Raises:
        Invalid: there is no terminal to ask at, and no --yes.
    """
    if yes:
        return
    if not err.is_terminal:
        raise Invalid(f"{question} Say --yes to do it without being asked.")
    typer.confirm(question, abort=True, err=True)
