"""The members as admins look through them: searched, sorted, changed many at a time."""

from dataclasses import dataclass
from typing import Literal

import asyncpg

from app.db.engine import Database
from app.db.queries import load
from app.world.text import INT64_MAX

ROSTER = load("roster")
Sort = Literal["newest", "oldest", "name", "posts"]
Who = Literal["here", "active", "paused", "departed"]
FIELDS = (
    "p.id, p.username, p.profile ->> 'display_name' AS display_name, p.model, p.status, p.posts_count, p.departed_at"
)
ORDER: dict[Sort, tuple[str, str, str]] = {
    "newest": ("p.id", "bigint", "DESC"),
    "oldest": ("p.id", "bigint", "ASC"),
    "name": ("lower(p.username)", "text", "ASC"),
    "posts": ("p.posts_count", "int", "DESC"),
}
"""What a sort goes by, of which type, which way; equal ones by id."""

WHO: dict[Who, str] = {
    "here": "p.status IN ('active', 'paused')",
    "active": "p.status = 'active'",
    "paused": "p.status = 'paused'",
    "departed": "p.status = 'departed'",
}
FOUND = "(strpos(lower(p.username), lower($4::text)) > 0 OR strpos(lower(p.profile ->> 'display_name'), lower($4)) > 0)"


@dataclass(frozen=True)
class After:
    """Where a page begins: behind the persona `id`, whose rank was `rank`."""

    id: int
    rank: int | float | str | None


async def page(
    database: Database, *, sort: Sort, who: Who, words: str = "", after: After | None = None, limit: int
) -> list[asyncpg.Record]:
    """Up to `limit` personas, each with its `rank` under the sort; with `words`, whose names hold them."""
    rank, kind, way = ORDER[sort]
    where = [WHO[who], f"({rank}, p.id) {'<' if way == 'DESC' else '>'} ($1::{kind}, $2::bigint)"]
    arguments: list[object] = [after.rank if after else None, after.id if after else INT64_MAX, limit]
    if after is None:
        where[1] = f"($1::{kind} IS NULL AND $2::bigint IS NOT NULL)"
    if words:
        where.append(FOUND)
        arguments.append(words)
    statement = (
        f"SELECT {FIELDS}, {rank} AS rank FROM personas p WHERE {' AND '.join(where)} "  # noqa: S608 - our own pieces
        f"ORDER BY {rank} {way}, p.id {way} LIMIT $3"
    )
    return await database.fetch(statement, *arguments)


async def counts(database: Database) -> asyncpg.Record:
    """How many are active, paused and departed."""
    row = await database.fetchrow(ROSTER["counts"])
    assert row is not None  # noqa: S101 - an aggregate always gives its row
    return row


async def some(database: Database, ids: list[int]) -> list[asyncpg.Record]:
    """These personas, as far as they exist."""
    return await database.fetch(ROSTER["some"], ids)


async def set_status(
    connection: asyncpg.pool.PoolConnectionProxy, ids: list[int], status: Literal["active", "paused"]
) -> list[asyncpg.Record]:
    """Pause or wake those of `ids` that were not; returns them."""
    rows: list[asyncpg.Record] = await connection.fetch(ROSTER["set_status"], ids, status)
    return rows


async def depart(connection: asyncpg.pool.PoolConnectionProxy, ids: list[int]) -> list[asyncpg.Record]:
    """Take those of `ids` that are here out of the world; returns them. What they made stays."""
    rows: list[asyncpg.Record] = await connection.fetch(ROSTER["depart"], ids)
    return rows
