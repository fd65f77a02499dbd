"""A world at a glance: its numbers, and who is loud in it."""

from dataclasses import dataclass
from typing import Any

from app.db.engine import Database
from app.db.queries import load
from app.world import feed
from app.world.feed import Row

GLANCE = load("glance")
WINDOW = 500
"""The newest posts that make somebody most active."""

HEARD_MAX = 12


@dataclass(frozen=True)
class Glance:
    """What stands beside the feed."""

    facts: Row
    hot: list[Row]
    active: list[Row]
    window: int
    heard: list[str]
    """The leanings of those who wrote lately, the loudest first."""


async def glance(database: Database) -> Glance:
    """Numbers, the five hottest posts, the five who posted most among the newest."""
    facts = await database.fetchrow(GLANCE["facts"])
    assert facts is not None  # noqa: S101 - aggregates always give a row
    hot = await feed.posts(database, sort="hot", limit=5, after=feed.Position())
    active = await database.fetch(GLANCE["most_active"], WINDOW, 5)
    heard = [row["leaning"] for row in await database.fetch(GLANCE["heard"], WINDOW, HEARD_MAX)]
    return Glance(facts, hot, active, min(WINDOW, max(facts["posts"], 1)), heard)


async def leanings(database: Database, persona_ids: list[int]) -> dict[int, Any]:
    """The leaning of each persona that has one."""
    return {row["id"]: row["leaning"] for row in await database.fetch(GLANCE["leanings"], persona_ids)}
