"""Trends: what is more frequent of late than before, by enough people, among posts that anybody can see."""

from datetime import UTC, datetime, timedelta
from math import isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.db.engine import Database
from app.world import moderation, trends
from app.world.moderation import By
from app.world.trends import likelihood_ratio

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


async def people(database: Database, count: int = 12) -> None:
    await database.fetch(
        "INSERT INTO personas (username, description) SELECT 'p' || n, 'x' FROM generate_series(1, $1::int) n", count
    )


async def say(database: Database, body: str, authors: range, hours_ago: float) -> list[int]:
    at = NOW - timedelta(hours=hours_ago)
    rows = await database.fetch(
        "WITH made AS (INSERT INTO posts (author_id, body, created_at)"
        " SELECT a, $2, $3 FROM unnest($1::bigint[]) a RETURNING id, created_at)"
        " INSERT INTO post_counts (post_id, created_at) SELECT * FROM made RETURNING post_id",
        list(authors), body, at,
    )  # fmt: skip
    return [row["post_id"] for row in rows]


async def rising(database: Database, now: datetime = NOW) -> list[str]:
    return [one.term for one in (await trends.trends(database, now=now)).rising]


async def a_week(database: Database) -> None:
    """Seven days in which trains and bread are talked about, and nothing else."""
    await people(database)
    for day in range(7, 0, -1):
        await say(database, "the trains are late and the bread is fine", range(1, 9), 24 * day + 1)


async def test_what_rises_is_told_with_its_figures(database: Database) -> None:
    await a_week(database)
    await say(database, "the swans are coming to the #Lake, say the swans", range(1, 7), 3)
    await say(database, "the trains are late and the bread is fine", range(1, 5), 2)
    found = await trends.trends(database, now=NOW)
    assert (found.posts, found.before, found.since) == (10, 56, NOW - timedelta(hours=24))
    terms = {one.term: one for one in found.rising}
    assert {"swans", "#lake", "coming"} <= set(terms)
    assert not {"the", "are", "trains", "bread", "lake", "and"} & set(terms)
    swans = terms["swans"]
    assert (swans.posts, swans.authors, swans.before, swans.times) == (6, 6, 0, None)
    assert isclose(swans.score, likelihood_ratio(6, 0, 10, 56))
    assert list(found.rising) == sorted(found.rising, key=lambda one: (-one.score, one.term))


async def test_one_who_repeats_it_makes_no_trend(database: Database) -> None:
    await a_week(database)
    for hour in range(20):
        await say(database, "swans swans swans", range(1, 3), hour)
    assert await rising(database) == []
    await say(database, "swans", range(3, 4), 1)
    assert await rising(database) == ["swans"]


async def test_what_is_hidden_or_of_the_future_does_not_count(database: Database) -> None:
    await a_week(database)
    ids = await say(database, "swans", range(1, 4), 2)
    await say(database, "geese", range(1, 8), -1)
    assert await rising(database) == ["swans"]
    async with database.connection() as connection, connection.transaction():
        await moderation.quarantine(connection, ids[0], by=By("operator"), reason="r")
    assert await rising(database) == []


async def test_without_a_past_nothing_rises(database: Database) -> None:
    await people(database)
    await say(database, "swans everywhere", range(1, 9), 1)
    assert await rising(database) == []
    assert await rising(database, NOW + timedelta(days=30)) == []


async def test_a_busy_day_is_compared_with_itself(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trends, "LOOKED", 40)
    await people(database)
    for hour in range(20, 2, -1):
        await say(database, "trains and bread again", range(1, 5), hour)
    for hour in (2, 1):
        await say(database, "swans now", range(1, 9), hour)
    found = await trends.trends(database, now=NOW)
    assert found.posts + found.before == 40
    assert found.since > NOW - timedelta(hours=24)
    assert "swans" in {one.term for one in found.rising}


COUNT = st.integers(0, 10**6)


@given(COUNT, COUNT, COUNT, COUNT)
def test_the_ratio_is_never_negative_and_nothing_where_shares_agree(
    late: int, before: int, more: int, other: int
) -> None:
    found = likelihood_ratio(late, before, late + more, before + other)
    assert found >= -1e-6 * (late + before + more + other + 1)
    assert abs(likelihood_ratio(late, late, late + more, late + more)) < 1e-6 * (late + more + 1)


def test_the_ratio_is_that_of_the_source() -> None:
    """Dunning 1993, table 4: "the swiss" in 110 of 2,442 + 110 places before "swiss", else in 111 of 29,114 + 111."""
    assert isclose(likelihood_ratio(110, 111, 110 + 2442, 111 + 29114), 270.72, abs_tol=1.5)
