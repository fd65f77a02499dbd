"""The feed: one statement a list, for the API, the pages and the personas alike."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import asyncpg

from app.db.engine import Database
from app.db.queries import load
from app.world.text import INT64_MAX

FEED = load("feed")
PAGE_SIZE = 20
PAGES_MAX = 100
"""How deep pages go by number; beyond, a cursor costs the same at any depth."""

Sort = Literal["latest", "hot", "top", "discussed"]
RANK: dict[Sort, str] = {"hot": "hot", "top": "likes_count", "discussed": "comments_count"}
INT32_MAX = 2**31 - 1
LOOKED = 2_000
"""Posts that are looked at to find those of one leaning."""
Row: TypeAlias = asyncpg.Record


@dataclass(frozen=True)
class Position:
    """Where a page begins: after the post `id`, whose rank under the sort was `rank` (unused by `latest`)."""

    id: int = INT64_MAX
    rank: float | None = None


async def posts(
    database: Database, *, sort: Sort = "latest", limit: int = PAGE_SIZE, after: Position, author: int | None = None
) -> list[Row]:
    """Up to `limit` posts after a position."""
    by = "_by" if author is not None else ""
    tail = () if author is None else (author,)
    if sort == "latest":
        return await database.fetch(FEED["latest" + by], after.id, limit, *tail)
    top: Any = after.rank if after.rank is not None else (float("inf") if sort == "hot" else INT32_MAX)
    return await database.fetch(FEED[sort + by], top if sort == "hot" else int(top), limit, after.id, *tail)


def position(sort: Sort, row: Row) -> Position:
    """The position after `row`."""
    return Position(row["id"], None if sort == "latest" else row[RANK[sort]])


async def following(database: Database, persona_id: int, *, limit: int, after: Position) -> list[Row]:
    """The newest posts of those whom a persona follows."""
    return await database.fetch(FEED["following"], after.id, limit, persona_id)


async def of_leaning(
    database: Database, leaning: str, *, limit: int, after: Position
) -> tuple[list[Row], Position | None]:
    """The newest posts of those who lean so, and where to look on if that was not far enough to find `limit`."""
    rows = await database.fetch(FEED["leaning"], after.id, limit, leaning, LOOKED)
    if len(rows) == limit:
        return rows, None
    looked = await database.fetchrow(FEED["looked"], after.id, LOOKED)
    assert looked is not None  # noqa: S101 - an aggregate always gives a row
    return rows, Position(looked["oldest"]) if looked["posts"] == LOOKED else None


async def page(database: Database, number: int) -> list[Row]:
    """Page `number` (from 1) of the newest posts."""
    return await database.fetch(FEED["page"], (number - 1) * PAGE_SIZE, PAGE_SIZE)


async def post(database: Database, post_id: int) -> Row | None:
    return await database.fetchrow(FEED["post"], post_id)


async def comments(database: Database, post_id: int, *, limit: int, before: int = INT64_MAX) -> list[Row] | None:
    """A post's comments, newest first; None when there is no such post."""
    rows = await database.fetch(FEED["comments"], post_id, before, limit)
    return [row for row in rows if row["id"] is not None] if rows else None


async def for_persona(
    database: Database, persona_id: int, which: Literal["latest", "top", "discussed"], limit: int
) -> list[Row]:
    """Posts of others as a persona sees them."""
    return await database.fetch(FEED[f"for_persona_{which}"], persona_id, limit)


async def comments_for_persona(database: Database, persona_id: int, post_id: int, limit: int) -> list[Row] | None:
    """A post's newest comments; None when there is no such post."""
    rows = await database.fetch(FEED["comments_for_persona"], persona_id, post_id, limit)
    return [row for row in rows if row["id"] is not None] if rows else None


async def author_for_persona(database: Database, persona_id: int, post_id: int) -> Row | None:
    return await database.fetchrow(FEED["author_for_persona"], persona_id, post_id)


async def follows_actions(database: Database, persona_id: int, limit: int) -> list[Row]:
    """What those whom a persona follows did lately."""
    return await database.fetch(FEED["follows_actions"], persona_id, limit)


async def situations(database: Database, persona_ids: list[int]) -> dict[int, Row]:
    """What each persona's turn starts from, by id."""
    return {row["id"]: row for row in await database.fetch(FEED["situations"], persona_ids)}
