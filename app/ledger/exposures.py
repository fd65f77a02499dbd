"""What personas were shown, by which ranker and why: read back from the ledger."""

from dataclasses import dataclass

import asyncpg

from app.db.engine import Database
from app.db.queries import load
from app.world.text import INT64_MAX

EXPOSURES = load("exposures")
LOOKED = 2_000
"""Turns that are looked through for a page."""


@dataclass(frozen=True)
class Place:
    """Behind which impression a page begins: the one at `rank` of a reading, before `step` of a turn."""

    turn_id: int = INT64_MAX
    step: int = 0
    ordinal: int = 0
    rank: int = 0


@dataclass(frozen=True)
class Impressions:
    """A page of impressions, the newest first, and where the next begins, if there may be more."""

    rows: list[asyncpg.Record]
    following: Place | None


async def of_persona(
    database: Database, persona_id: int, *, post_id: int | None = None, limit: int, after: Place = Place()
) -> Impressions | None:
    """What a persona was shown; of one post (and its reposts) if `post_id` is given. None when there is no such post.

    A page that is not full may have a next one all the same, since only so many turns are looked through for each.
    """
    things = None
    if post_id is not None:
        things = [row["id"] for row in await database.fetch(EXPOSURES["same_post"], post_id)]
        if not things:
            return None
    position = (after.turn_id, after.step, after.ordinal, after.rank)
    rows = await database.fetch(EXPOSURES["of_persona"], persona_id, things, limit + 1, *position, LOOKED)
    if len(rows) > limit:
        last = rows[limit - 1]
        return Impressions(rows[:limit], Place(last["turn_id"], last["step"], last["ordinal"], last["rank"]))
    looked = await database.fetchrow(EXPOSURES["looked"], persona_id, after.turn_id, LOOKED)
    assert looked is not None  # noqa: S101 - an aggregate always gives a row
    return Impressions(rows, Place(looked["oldest"]) if looked["turns"] == LOOKED else None)


async def of_runs(database: Database, first: int, last: int) -> list[asyncpg.Record]:
    """What each ranker showed in the runs from `first` to `last`: impressions, viewers, different items, and of these:

    `top_share`: the share of the most shown; `gini` = 2 Σ i xᵢ / (n Σ xᵢ) - (n + 1) / n over the n items that were
    shown, xᵢ times, ascending: 0 when all were shown as often (Gini 1912; Dorfman 1979). `cross_leaning`: of the
    impressions in which viewer and author both have a leaning, the share in which they differ; None without any.
    """
    return await database.fetch(EXPOSURES["of_runs"], first, last)


async def of_post(database: Database, post_id: int, *, limit: int, after: Place = Place()) -> Impressions:
    """Who was shown a post or a share of it, the newest first; as of `of_persona`, a short page may have a next one."""
    things = [row["id"] for row in await database.fetch(EXPOSURES["same_post"], post_id)]
    position = (after.turn_id, after.step, after.ordinal, after.rank)
    rows = await database.fetch(EXPOSURES["of_post"], things, limit + 1, *position, LOOKED, post_id)
    if len(rows) > limit:
        last = rows[limit - 1]
        return Impressions(rows[:limit], Place(last["turn_id"], last["step"], last["ordinal"], last["rank"]))
    looked = await database.fetchrow(EXPOSURES["looked_of_post"], *position[:3], LOOKED, post_id)
    if looked is None:
        return Impressions(rows, None)
    return Impressions(rows, Place(looked["turn_id"], looked["step"], looked["ordinal"], INT64_MAX))


async def things(database: Database, shown: set[tuple[str, int]]) -> dict[tuple[str, int], asyncpg.Record]:
    """What these (kind, id) are: by whom, how it begins, and the post it belongs to; what is gone is left out."""
    kinds = ("post", "comment", "persona", "news", "memory")
    ids = [[number for kind, number in shown if kind == wanted] for wanted in kinds]
    return {(row["kind"], row["id"]): row for row in await database.fetch(EXPOSURES["things"], *ids)}
