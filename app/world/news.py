"""News: what an admin, a feed file or an intervention tells the world. Nothing is ever fetched."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeAlias
from urllib.parse import urlsplit

import asyncpg
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from app.db.engine import Database
from app.db.queries import load
from app.errors import NotFound
from app.world.text import INT64_MAX, Line, Note, Quotation

NEWS = load("news")
TEXT_MAX, SOURCE_MAX = 2_000, 100
NAME_BYTES = 2_000
"""The most that an address or guid may take in UTF-8: what an index of PostgreSQL can hold."""

ITEMS_MAX = 1_000
"""Items that are published at once."""

FRESH = timedelta(days=7)
"""For so long, in the world's time, personas are offered to read an item."""

FAR = datetime(9999, 1, 1, tzinfo=UTC)
Row: TypeAlias = asyncpg.Record
Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy"


def _address(value: str) -> str:
    """A web address, and nothing that a browser would run.

    Raises:
        PydanticCustomError: says what is allowed.
    """
    try:
        parts = urlsplit(value)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        fine = False
    if not fine or any(character.isspace() for character in value):
        raise PydanticCustomError(
            "news_url", "must be an address that begins with http:// or https://, without a password in it"
        )
    return value


def _time(value: datetime) -> datetime:
    if not 1900 <= value.year <= 2999:
        raise PydanticCustomError("news_time", "must be a time between the years 1900 and 2999")
    return value.astimezone(UTC)


def _bounded(value: str) -> str:
    if not value or len(value.encode()) > NAME_BYTES:
        raise PydanticCustomError("news_name", "must be 1 to {limit} bytes of text", {"limit": NAME_BYTES})
    return value


Source = Annotated[Note, Field(max_length=SOURCE_MAX)]
Guid = Annotated[Quotation, AfterValidator(_bounded)]
Address = Annotated[Guid, AfterValidator(_address)]
Published = Annotated[AwareDatetime, AfterValidator(_time)]


class NewsItem(BaseModel):
    """One item, as people, files and clients give it. It is shown from `published_at` in the world's time on.

    Without a time it is shown at once. `guid` names it in the feed it came from.
    """

    model_config = ConfigDict(extra="forbid")

    title: Annotated[Line, Field(examples=["The bridge is closed until spring"])]
    text: Annotated[Quotation, Field(examples=["The council found a crack."])] = ""
    source: Annotated[Source, Field(examples=["The Daily Gull"])] = ""
    url: Annotated[Address | None, Field(examples=["https://gull.example/bridge"])] = None
    published_at: Published | None = None
    guid: Guid | None = None


@dataclass(frozen=True)
class Position:
    """Behind which item a page begins."""

    at: datetime = FAR
    id: int = INT64_MAX


async def publish(
    connection: Connection, items: Sequence[NewsItem], *, now: datetime, admin_id: int | None = None
) -> list[int | None]:
    """Bring items into the world, in the caller's transaction, and tell listeners of those whose time has come.

    Args:
        now: the time in the world; items without a time of their own get it.

    Returns:
        The id of each, in order; None for one whose address or guid the world, or an earlier one of these, has.
    """
    columns = (
        [item.title for item in items],
        [item.text for item in items],
        [item.source for item in items],
        [item.url for item in items],
        [item.guid for item in items],
        [item.published_at or now for item in items],
    )
    rows = await connection.fetch(NEWS["publish"], *columns, admin_id, now)
    made = {row["place"]: row["id"] for row in rows}
    return [made.get(place) for place in range(1, len(items) + 1)]


async def withdraw(connection: Connection, item_id: int) -> bool:
    """Take an item back: nobody is shown it any more; personas from the next cycle on. False: it was so already.

    Raises:
        NotFound: there never was such an item.
    """
    if await connection.fetchval(NEWS["withdraw"], item_id) is not None:
        return True
    if not await connection.fetchval(NEWS["exists"], item_id):
        raise NotFound(f"no news item has the id {item_id}")
    return False


async def latest(database: Database, *, now: datetime, limit: int, after: Position = Position()) -> list[Row]:
    """What is shown at `now` in the world, newest first."""
    return await database.fetch(NEWS["latest"], now, after.at, after.id, limit)


async def every(database: Database, limit: int) -> list[Row]:
    """All items, those to come and those withdrawn too, newest first."""
    return await database.fetch(NEWS["all"], limit)


async def for_persona(database: Database, *, now: datetime, known: datetime | None, limit: int) -> list[Row]:
    """What a persona reads at `now` in the world: of the last seven days, as it stood at `known` by the wall clock."""
    return await database.fetch(NEWS["for_persona"], now, known or datetime.now(UTC), now - FRESH, limit)


async def any_fresh(database: Database, *, now: datetime, known: datetime | None) -> bool:
    """Whether personas have news to read."""
    return bool(await for_persona(database, now=now, known=known, limit=1))
