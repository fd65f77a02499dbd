"""Where experiments are rows: the home world, whatever world others work in."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer

from app.cli.world import at_home, opened_home
from app.db.engine import Database
from app.settings import Settings

Key = Annotated[str, typer.Argument(metavar="KEY", help="An experiment's key: 12 letters and digits.")]


@asynccontextmanager
async def opened_there(home: Path | None) -> AsyncIterator[tuple[Settings, Database]]:
    """The home world and its settings, once what others have left half done is away."""
    async with opened_home(home) as database:
        yield at_home(home), database
