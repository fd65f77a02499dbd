"""What members begin to talk about: words and hashtags of the world's last day that are more frequent than before."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import log

from app.db.engine import Database
from app.db.queries import load

TRENDS = load("trends")
OF_LATE = timedelta(hours=24)
BEFORE = timedelta(days=7)
LOOKED = 4_000
"""The newest posts that are looked at: what bounds the cost, however many there are."""

WRITERS_MIN = 3
"""Different writers of late that make a word a trend: who repeats themselves makes none."""

SCORE_MIN = 3.84
"""The log-likelihood ratio above which chance would be below 0.05 (χ², one degree of freedom)."""

MOST = 10


@dataclass(frozen=True)
class Trend:
    """A word or hashtag: posts and writers of late, posts `before`, and how far it rose."""

    term: str
    posts: int
    authors: int
    before: int
    score: float
    times: float | None


@dataclass(frozen=True)
class Trends:
    """What rises, and among how many posts: those since `since` beside those before."""

    rising: tuple[Trend, ...]
    since: datetime
    until: datetime
    posts: int
    before: int


def likelihood_ratio(late: int, before: int, posts_late: int, posts_before: int) -> float:
    """How surprising it is that a word stands in `late` of `posts_late` posts and in `before` of `posts_before`.

    G² of T. Dunning 1993, "Accurate Methods for the Statistics of Surprise and Coincidence", Computational Linguistics
    19(1), over the 2 × 2 table of posts with and without the word, of late and before:

        G² = 2 Σ O ln(O / E),  E = row total × column total / all posts

    Unlike χ² it holds for rare words. Rayson & Garside 2000 compare corpora so. 0 where nothing can be compared.
    """
    whole = posts_late + posts_before
    found = late + before
    total = 0.0
    for observed, row, column in (
        (late, posts_late, found),
        (before, posts_before, found),
        (posts_late - late, posts_late, whole - found),
        (posts_before - before, posts_before, whole - found),
    ):
        if observed:
            total += observed * log(observed * whole / (row * column))
    return 2 * total if posts_late and posts_before else 0.0


async def trends(database: Database, *, now: datetime, most: int = MOST) -> Trends:
    """What rises at `now` in the world, the most surprising first; reads at most `LOOKED` posts.

    Compared are the 24 hours before `now` with the seven days before these. Where the posts of a day would fill more
    than half of what is looked at, its newer half is compared with the older one.
    """
    since = now - OF_LATE
    rows = await database.fetch(TRENDS["rising"], now, since - BEFORE, since, LOOKED, WRITERS_MIN)
    late, before = (rows[0]["posts_of_late"], rows[0]["posts_before"]) if rows else (0, 0)
    found = [
        Trend(
            row["term"],
            row["posts"],
            row["authors"],
            row["before"],
            likelihood_ratio(row["posts"], row["before"], late, before),
            row["posts"] * before / (row["before"] * late) if row["before"] else None,
        )
        for row in rows
        if row["term"] is not None
    ]
    rising = sorted((one for one in found if one.score >= SCORE_MIN), key=lambda one: (-one.score, one.term))
    return Trends(tuple(rising[:most]), rows[0]["since"] if rows else since, now, late, before)
