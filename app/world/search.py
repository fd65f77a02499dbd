"""Search over posts and people, in a bounded time however many there are and however common the words."""

from dataclasses import dataclass
from typing import Any

from app.db.engine import Database
from app.db.queries import load
from app.world.feed import Position, Row

SEARCH = load("search")
GATHERED = 5_000
"""Posts that a search may bring together and sort."""

AT_FIRST, WALKED = 1_000, 10_000
"""The newest posts that a search walks through at first, and before it says how to look on."""

NEWEST = Position()
NOBODY = 0


@dataclass(frozen=True)
class Found:
    """Posts, newest first, and where to look on: None where there is nothing further."""

    rows: list[Row]
    further: Position | None


async def posts(
    database: Database, words: str, *, limit: int, after: Position = NEWEST, viewer: int | None = None
) -> Found:
    """Up to `limit` posts that hold all the words, newest first; as persona `viewer` sees them, if it is given.

    `"…"` is a phrase, `or` and `-word` work as in web search engines. If more than `GATHERED` posts hold the words, it
    looks through `WALKED` posts at a time: a page may then be short, or empty, and `further` leads on.
    """
    plan = await database.fetchrow(SEARCH["plan"], words)
    if plan is None or not plan["query"]:
        return Found([], None)
    who, kind = ((), "") if viewer is None else ((viewer,), "_for_persona")
    asked = (after.id, limit, plan["query"])
    rows = await database.fetch(SEARCH[f"dense{kind}"], *asked, AT_FIRST, *who)
    if len(rows) < limit and plan["indexed"]:
        found = await database.fetch(SEARCH[f"rare{kind}"], *asked, GATHERED + 1, plan["together"], *who)
        if found[0]["gathered"] <= GATHERED:
            return _whole([row for row in found if row["id"] is not None], limit)
    if len(rows) < limit:
        rows = await database.fetch(SEARCH[f"dense{kind}"], *asked, WALKED, *who)
    if len(rows) == limit:
        return _whole(rows, limit)
    looked = await database.fetchrow(SEARCH["looked"], after.id, WALKED)
    assert looked is not None  # noqa: S101 - an aggregate always gives a row
    return Found(rows, Position(looked["oldest"]) if looked["posts"] == WALKED else None)


def _whole(rows: list[Row], limit: int) -> Found:
    return Found(rows, Position(rows[-1]["id"]) if len(rows) == limit else None)


async def page(database: Database, words: str, *, limit: int, after: Position = NEWEST) -> Found:
    """As `posts`, and `further` is None where the page was the last."""
    found = await posts(database, words, limit=limit + 1, after=after)
    if len(found.rows) > limit:
        return Found(found.rows[:limit], Position(found.rows[limit - 1]["id"]))
    return found


async def for_persona(database: Database, persona_id: int, words: str, limit: int) -> list[Row]:
    """Posts as a persona finds them."""
    return (await posts(database, words, limit=limit, viewer=persona_id)).rows


async def people(database: Database, words: str, *, limit: int, viewer: int = NOBODY) -> list[Row]:
    """Whose handle begins so, or whose name or bio holds the words; the best known first."""
    literal = words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    found: list[Any] = await database.fetch(SEARCH["people"], viewer, words.removeprefix("@"), literal, limit)
    return found
