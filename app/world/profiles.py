"""Personas and posts in depth: what the pages of a person, of all people and of a post show beyond the feed."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import asyncpg

from app.db.engine import Database
from app.db.queries import load
from app.world.feed import INT32_MAX, Row
from app.world.text import INT64_MAX

PROFILES = load("profiles")
DAYS = 28
DEEDS_MAX = 2_000
"""Posts, comments and likes, each, that an activity picture looks back on."""

Order = Literal["newest", "followers", "posts", "name"]
Here = Literal["", "active", "paused", "departed"]


async def likers(database: Database, post_id: int, limit: int) -> list[Row]:
    """Who likes a post; of more than a thousand, some."""
    return await database.fetch(PROFILES["likers"], post_id, limit)


async def thread(database: Database, post_id: int, *, after: int = 0, limit: int) -> list[Row]:
    """A post's comments, oldest first."""
    return await database.fetch(PROFILES["thread"], post_id, after, limit)


async def quotes(database: Database, post_id: int, limit: int) -> list[Row]:
    """The posts that quote a post, newest first."""
    return await database.fetch(PROFILES["quotes"], post_id, limit)


async def felt(database: Database, post_id: int) -> dict[str, int]:
    """How often each reaction was had to a post, the most frequent first."""
    return {row["kind"]: row["times"] for row in await database.fetch(PROFILES["felt"], post_id)}


async def comments_by(database: Database, persona_id: int, *, before: int = INT64_MAX, limit: int) -> list[Row]:
    """A persona's comments with the posts they are on, newest first."""
    return await database.fetch(PROFILES["comments_by"], persona_id, before, limit)


async def likes_by(database: Database, persona_id: int, *, before: int = INT64_MAX, limit: int) -> list[Row]:
    """The posts that a persona likes, the last liked first."""
    return await database.fetch(PROFILES["likes_by"], persona_id, before, limit)


async def ties(
    database: Database,
    persona_id: int,
    side: Literal["following", "followers"],
    *,
    before: int = INT64_MAX,
    limit: int,
) -> list[Row]:
    """Whom a persona follows, or who follows it, newest first."""
    name = "followed_by_persona" if side == "following" else "followers_of_persona"
    return await database.fetch(PROFILES[name], persona_id, before, limit)


async def ties_among(database: Database, persona_ids: list[int]) -> list[tuple[int, int]]:
    """Who of these follows whom of them."""
    rows = await database.fetch(PROFILES["ties"], persona_ids)
    return [(row["follower"], row["followed"]) for row in rows]


async def tallies(database: Database, persona_id: int) -> Row:
    """Likes given and got, and when the persona last had a turn."""
    row = await database.fetchrow(PROFILES["tallies"], persona_id)
    assert row is not None  # noqa: S101 - it is made of aggregates
    return row


async def activity(database: Database, persona_id: int, today: datetime) -> dict[datetime, int]:
    """How often a persona did something, by the hour (UTC), in the `DAYS` days that end with `today`."""
    first = today.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=DAYS - 1)
    rows = await database.fetch(PROFILES["activity"], persona_id, first, DEEDS_MAX)
    return {row["hour"].astimezone(UTC): row["deeds"] for row in rows}


@dataclass(frozen=True)
class Census:
    """How many personas there are, by state and, of those who have not departed, by leaning."""

    states: dict[str, int]
    leanings: dict[str, int]

    @property
    def here(self) -> int:
        """All but the departed."""
        return sum(count for state, count in self.states.items() if state != "departed")


async def census(database: Database) -> Census:
    """All personas, counted."""
    states: Counter[str] = Counter()
    leanings: Counter[str] = Counter()
    for row in await database.fetch(PROFILES["census"]):
        states[row["status"]] += row["personas"]
        if row["leaning"] and row["status"] != "departed":
            leanings[row["leaning"]] += row["personas"]
    return Census(dict(states), dict(leanings.most_common()))


async def people(
    database: Database,
    *,
    order: Order,
    state: Here = "",
    leaning: str = "",
    words: str = "",
    after: tuple[str | int, int] | None = None,
    limit: int,
) -> list[asyncpg.Record]:
    """Personas in an order, behind a place in it; by name only those that have not departed."""
    literal = words.removeprefix("@").replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    rank, last = after or ("" if order == "name" else INT32_MAX, INT64_MAX)
    return await database.fetch(
        PROFILES[f"people_{order}"], state, leaning, words, f"%{literal}%", str(rank), last, limit
    )


def place(order: Order, row: asyncpg.Record) -> tuple[str | int, int]:
    """Where `row` stands in an order."""
    rank = {"newest": 0, "followers": row["followers_count"], "posts": row["posts_count"]}
    return (row["username"].lower() if order == "name" else rank[order], row["id"])
