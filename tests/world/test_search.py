"""Search: the same posts however frequent the words are, in a bounded number of rows, and nothing that is hidden."""

import random
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from app.db.engine import Database
from app.world import moderation, search
from app.world.feed import Position
from app.world.moderation import By
from app.world.search import SEARCH, Found
from tests.conftest import copy_of, run_sql
from tests.world.test_plans import big_scans, blocks, nodes, plan_of

WORDS = ("alpha", "beta", "gamma", "delta", "epsilon")
POSTS = 60
MANY = """
INSERT INTO personas (username, description) SELECT 'p' || n, 'x' FROM generate_series(1, 100) n;
INSERT INTO posts (author_id, body) SELECT 1 + n % 100, 'the same old story number ' || n
    || CASE WHEN n % 2 = 0 THEN ' even' ELSE ' odd' END || CASE WHEN n < 30000 THEN ' long ago' ELSE '' END
    FROM generate_series(1, 60000) n;
INSERT INTO post_counts (post_id, created_at) SELECT id, created_at FROM posts;
ANALYZE;
"""


async def small_world(database: Database) -> list[set[str]]:
    """Posts of random words; returns the words of each, by its number less one."""
    chance = random.Random(3)
    texts = [chance.sample(WORDS, chance.randint(1, 4)) for _ in range(POSTS)]
    await database.fetch(
        "INSERT INTO personas (username, description, bio)"
        " SELECT 'p' || n, 'x', 'Bio of ' || n FROM generate_series(1, 3) n"
    )
    await database.fetch(
        "INSERT INTO posts (author_id, body)"
        " SELECT 1 + n % 3, t FROM unnest($1::text[]) WITH ORDINALITY AS u (t, n) ORDER BY n",
        [" ".join(words) for words in texts],
    )
    await database.fetch("INSERT INTO post_counts (post_id, created_at) SELECT id, created_at FROM posts")
    return [set(words) for words in texts]


async def everything(database: Database, words: str, limit: int = 7) -> list[int]:
    """All that is found, page by page."""
    ids: list[int] = []
    after: Position | None = Position()
    while after is not None:
        found = await search.page(database, words, limit=limit, after=after)
        ids += [row["id"] for row in found.rows]
        after = found.further
    return ids


@pytest.mark.parametrize(
    ("gathered", "at_first", "walked"), [(5_000, 1_000, 10_000), (5_000, 1, 5), (0, 3, 7), (5, 2, 9)]
)
async def test_what_is_found_does_not_depend_on_the_way(
    database: Database, monkeypatch: pytest.MonkeyPatch, gathered: int, at_first: int, walked: int
) -> None:
    texts = await small_world(database)
    for name, value in (("GATHERED", gathered), ("AT_FIRST", at_first), ("WALKED", walked)):
        monkeypatch.setattr(search, name, value)
    wishes: dict[str, Callable[[set[str]], bool]] = {
        "alpha": lambda t: "alpha" in t,
        "alpha beta": lambda t: {"alpha", "beta"} <= t,
        "ALPHA -beta": lambda t: "alpha" in t and "beta" not in t,
        "alpha or beta": lambda t: bool({"alpha", "beta"} & t),
        "-alpha": lambda t: "alpha" not in t,
        "omega": lambda t: False,
    }
    for words, holds in wishes.items():
        expected = [n for n in range(POSTS, 0, -1) if holds(texts[n - 1])]
        assert await everything(database, words) == expected, words
    phrase = await database.fetch("SELECT id FROM posts WHERE body ~ '\\malpha beta\\M' ORDER BY id DESC")
    assert await everything(database, '"alpha beta"') == [row["id"] for row in phrase]
    unsaid = await database.fetch(
        "SELECT id FROM posts WHERE body !~ '\\malpha beta\\M' AND body ~ 'beta' ORDER BY id DESC"
    )
    assert await everything(database, 'beta -"alpha beta"') == [row["id"] for row in unsaid]


async def test_words_that_are_none_find_nothing(database: Database) -> None:
    await small_world(database)
    for words in ("", "!", "'", '"', "()"):
        assert await search.posts(database, words, limit=5) == Found([], None)


async def test_what_is_hidden_or_muted_is_not_found(database: Database) -> None:
    await small_world(database)
    before = await everything(database, "alpha")
    async with database.connection() as connection, connection.transaction():
        await moderation.quarantine(connection, before[0], by=By("operator"), reason="r")
    assert await everything(database, "alpha") == before[1:]
    author = await database.fetchval("SELECT author_id FROM posts WHERE id = $1", before[1])
    viewer = author % 3 + 1
    seen = [row["id"] for row in await search.for_persona(database, viewer, "alpha", 50)]
    assert before[1] in seen
    await database.fetch("INSERT INTO mutes (persona_id, muted_id, block) VALUES ($1, $2, true)", author, viewer)
    found = await search.for_persona(database, viewer, "alpha", 50)
    assert found
    assert author not in {row["author_id"] for row in found}
    assert author not in {row["id"] for row in await search.people(database, "p", limit=9, viewer=viewer)}
    assert len(await search.people(database, "p", limit=9)) == 3


async def test_people_are_found_by_handle_and_bio(database: Database) -> None:
    await small_world(database)
    assert [row["username"] for row in await search.people(database, "@P2", limit=5)] == ["p2"]
    assert [row["username"] for row in await search.people(database, "bio of 3", limit=5)] == ["p3"]
    for words in ("%", "_", "\\"):
        assert await search.people(database, words, limit=5) == []


@pytest.fixture(scope="module")
async def many(server_url: str, template: str) -> AsyncIterator[asyncpg.Connection]:
    async with copy_of(server_url, template) as url:
        await run_sql(url, MANY)
        connection = await asyncpg.connect(url)
        await connection.execute("SET plan_cache_mode = force_generic_plan; SET jit = off")
        yield connection
        await connection.close()


async def test_neither_way_reads_more_than_it_may(many: asyncpg.Connection) -> None:
    rare = await plan_of(many, SEARCH["rare"], 2**62, 21, "'number' & '777'", 1_001, "'number' & '777'")
    assert big_scans(rare) == []
    often = await plan_of(many, SEARCH["rare"], 2**62, 21, "'even'", 1_001, "'even'")
    assert max(node["Actual Rows"] + node.get("Rows Removed by Filter", 0) for node in nodes(often)) <= 3_000
    dense = await plan_of(many, SEARCH["dense"], 2**62, 21, "'even'", 20_000)
    assert blocks(dense) < 300
    nowhere = await plan_of(many, SEARCH["dense"], 2**62, 21, "'long'", 1_000)
    assert max(node["Actual Rows"] for node in nodes(nowhere)) <= 1_000


async def test_a_statement_without_bounds_reads_them_all(many: asyncpg.Connection) -> None:
    plain = "SELECT id FROM posts WHERE search @@ $1::text::tsquery ORDER BY id DESC LIMIT 21"
    found = await plan_of(many, plain, "'long'")
    assert max(node["Actual Rows"] + node.get("Rows Removed by Filter", 0) for node in nodes(found)) > 20_000
