"""Rankers and suggestions: known answers in a small world, what holds in any world, and what chance may do."""

import itertools
import math
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.db.engine import Database
from app.errors import Invalid, Misconfigured
from app.settings import load_settings
from app.world import ranking
from app.world.personas import PersonaSpec
from app.world.ranking import RANKERS, SUGGESTERS, Ranked, Ranking, Urn, interleave, parse, rank, suggest

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = 24.0


class Place:
    """A world made by hand; hours are before NOW."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @classmethod
    async def of(cls, database: Database, people: int) -> "Place":
        await database.fetch(
            "INSERT INTO personas (username, description) SELECT 'p' || n, 'x' FROM generate_series(1, $1::int) n",
            people,
        )
        return cls(database)

    async def post(
        self, author: int, hours: float = 0, body: str = "word", *, shares: int | None = None, hidden: bool = False
    ) -> int:
        at = NOW - timedelta(hours=hours)
        return int(
            await self.database.fetchval(
                "WITH p AS (INSERT INTO posts (author_id, body, created_at, repost_of, hidden)"
                " VALUES ($1, $2, $3, $4, $5) RETURNING id, created_at, hidden)"
                " INSERT INTO post_counts (post_id, created_at, hidden) SELECT * FROM p RETURNING post_id",
                author, "" if shares else body, at, shares, hidden,
            )
        )  # fmt: skip

    async def count(self, post: int, likes: int = 0, comments: int = 0) -> None:
        """Give a post counters without those who made them."""
        await self.database.fetch(
            "UPDATE post_counts SET likes_count = $2, comments_count = $3 WHERE post_id = $1", post, likes, comments
        )

    async def like(self, persona: int, *posts: int, hours: float = 0) -> None:
        for post in posts:
            await self.database.fetch(
                "INSERT INTO likes (post_id, persona_id, created_at) VALUES ($1, $2, $3)",
                post, persona, NOW - timedelta(hours=hours),
            )  # fmt: skip

    async def comment(self, persona: int, post: int, hours: float = 0) -> None:
        at = NOW - timedelta(hours=hours)
        await self.database.fetch(
            "INSERT INTO comments (post_id, author_id, body, created_at) VALUES ($1, $2, 'c', $3)", post, persona, at
        )

    async def follow(self, persona: int, *others: int) -> None:
        for other in others:
            await self.database.fetch("INSERT INTO follows (follower, followed) VALUES ($1, $2)", persona, other)
            await self.database.fetch(
                "UPDATE personas SET following_count = following_count + 1 WHERE id = $1", persona
            )
            await self.database.fetch("UPDATE personas SET followers_count = followers_count + 1 WHERE id = $1", other)

    async def mute(self, persona: int, other: int) -> None:
        await self.database.fetch("INSERT INTO mutes (persona_id, muted_id) VALUES ($1, $2)", persona, other)

    async def feed(self, name: str, viewer: int = 1, **more: Any) -> list[Ranked]:
        return (await rank(self.database, parse(name), [viewer], now=NOW, **more))[viewer]

    async def met(self, way: str, viewer: int = 1, **more: Any) -> list[Ranked]:
        return (await suggest(self.database, way, [viewer], now=NOW, **more))[viewer]


def items(found: Sequence[Ranked]) -> list[int]:
    return [one.item for one in found]


# Known answers


async def test_latest(database: Database) -> None:
    world = await Place.of(database, 4)
    old, mine = await world.post(2, 5), await world.post(1, 4)
    shared, hidden, new = (
        await world.post(3, 3, shares=old),
        await world.post(3, 2, hidden=True),
        await world.post(4, 1),
    )
    found = await world.feed("latest")
    assert items(found) == [new, shared, old]
    assert {mine, hidden}.isdisjoint(items(found))
    assert [one.rank for one in found] == [1, 2, 3]
    assert [one.score for one in found] == pytest.approx([-1, -3, -5])
    assert [one.chance for one in found] == [None] * 3
    await world.mute(1, 2)
    assert items(await world.feed("latest")) == [new]  # neither the post nor its share by another


async def test_a_share_of_ones_own_post_is_ones_own(database: Database) -> None:
    world = await Place.of(database, 2)
    mine = await world.post(1)
    await world.post(2, shares=mine)
    for name in RANKERS:
        assert await world.feed(name) == []


async def test_hot_is_reddits(database: Database) -> None:
    world = await Place.of(database, 3)
    a, b, c = [await world.post(2, hours) for hours in (13, 0.4, 0)]
    await world.count(a, likes=60, comments=20)  # 100 votes: two powers of ten, worth 25 hours
    await world.count(b, likes=1)
    found = await world.feed("hot")
    assert items(found) == [a, c, b]
    votes = {a: 100, b: 1, c: 1}
    hours = {a: 13, b: 0.4, c: 0}
    for one in found:
        seconds = NOW.timestamp() - hours[one.item] * 3_600
        assert one.score == pytest.approx(math.log10(votes[one.item]) + seconds / 45_000)
    assert found[0].reason == "likes 60, comments 20"


async def test_top_and_its_ties(database: Database) -> None:
    world = await Place.of(database, 2)
    posts = [await world.post(2) for _ in range(3)]
    for post, likes in zip(posts, (4, 7, 4), strict=True):
        await world.count(post, likes=likes)
    found = await world.feed("top")
    assert [(one.item, one.score) for one in found] == [(posts[1], 7), (posts[2], 4), (posts[0], 4)]


async def test_following(database: Database) -> None:
    world = await Place.of(database, 5)
    by = {author: await world.post(author, 10 - author) for author in (2, 3, 4, 5)}
    shared = await world.post(3, 1, shares=by[5])
    await world.follow(1, 2, 3)
    found = await world.feed("following")
    assert items(found) == [shared, by[3], by[2]]
    assert found[0].reason == "follows 3"
    await world.mute(1, 5)
    assert items(await world.feed("following")) == [by[3], by[2]]
    await world.mute(1, 3)
    assert items(await world.feed("following")) == [by[2]]
    assert await world.feed("following", viewer=5) == []


async def test_interest_in_authors(database: Database) -> None:
    """It commented on a post of 3's (2), and liked one of 2's (1) a week ago (a half): shares of 1 and 0.25."""
    world = await Place.of(database, 4)
    liked, discussed = await world.post(2, 500, "aa"), await world.post(3, 500, "bb")
    await world.like(1, liked, hours=168)
    await world.comment(1, discussed)
    by_3, by_2, by_4 = await world.post(3, 48, "cc"), await world.post(2, 0, "dd"), await world.post(4, 0, "ee")
    await world.count(by_4, likes=9)
    found = {one.item: one for one in await world.feed("interest")}
    assert liked not in found  # it has that already
    assert found[by_3].score == pytest.approx((1 + 0 + 0) * 0.5**2)
    assert found[by_2].score == pytest.approx(0.25 + 0 + 0)
    assert found[by_4].score == pytest.approx(0 + 0 + 0.1 * math.log10(1 + 9))
    assert found[by_2].item < found[by_4].item
    order = items(await world.feed("interest"))
    assert [one for one in order if one in (by_2, by_3, by_4)] == sorted(
        (by_2, by_3, by_4), key=lambda one: (-found[one].score, -one)
    )
    assert found[by_3].reason == "author 1.00, likes 0, comments 0"
    (other,) = [one for one in await world.feed("interest:half_life=48") if one.item == by_3]
    assert other.score == pytest.approx(0.5)


async def test_interest_in_words(database: Database) -> None:
    """tf-idf over the newest posts: a profile of unit length, times the share of a post's words."""
    world = await Place.of(database, 4)
    liked = await world.post(2, 0, "rye bread")
    near, far = await world.post(3, 0, "fresh bread"), await world.post(4, 0, "late trains")
    await world.like(1, liked)
    found = {one.item: one for one in await world.feed("interest")}
    idf = {"rye": math.log(1 + 3 / 1), "bread": math.log(1 + 3 / 2)}
    taste = idf["bread"] / math.hypot(*idf.values())
    assert found[near].score == pytest.approx(taste / math.sqrt(2))
    assert found[near].reason.startswith("word bread 0.")
    assert found[far].score == 0
    assert items(await world.feed("interest")) == [near, far]


async def test_declared_interests_count_before_there_are_deeds(database: Database) -> None:
    world = await Place.of(database, 4)
    await world.post(2, 0, "late trains again")
    near = await world.post(3, 0, "fresh bread again")
    await world.post(4, 0, "quiet evening again")
    assert items(await world.feed("interest"))[0] != near
    await database.fetch("""UPDATE personas SET profile = '{"interests": ["Bread", "cheese"]}' WHERE id = 1""")
    assert items(await world.feed("interest"))[0] == near


async def test_similar_people(database: Database) -> None:
    """2 shares two of its three likes with 1, 3 one of its one: cosines 2 / √(2·3) and 1 / √(2·1)."""
    world = await Place.of(database, 5)
    a, b, only_2, only_4 = [await world.post(5, 9) for _ in range(4)]
    await world.like(1, a, b)
    await world.like(2, a, b, only_2, hours=DAY)
    await world.like(3, b)
    await world.like(4, only_4)
    found = await world.feed("similar_people")
    assert items(found) == [only_2, only_4]  # nobody alike liked the second: it fills the list
    assert found[0].score == pytest.approx(2 / math.sqrt(2 * 3) * 0.5)
    assert found[0].reason == "liked by 1 alike"
    assert (found[1].score, found[1].reason) == (0, "newest")
    more = await world.post(5)
    await world.like(3, more)
    found = await world.feed("similar_people")
    assert items(found)[0] == more
    assert found[0].score == pytest.approx(1 / math.sqrt(2 * 2))


async def test_random_is_drawn_anew_each_time_and_the_same_again(database: Database) -> None:
    world = await Place.of(database, 3)
    posts = [await world.post(2, n) for n in range(30)]
    await world.post(1)
    one, same, other, seeded = [
        await world.feed("random", seed=seed, draw=draw) for seed, draw in ((5, 0), (5, 0), (5, 1), (6, 0))
    ]
    assert one == same
    assert len({tuple(items(found)) for found in (one, other, seeded)}) == 3
    assert [r.chance for r in one] == pytest.approx([1 / (30 - n) for n in range(10)])
    assert [r.score for r in one] == sorted((r.score for r in one), reverse=True)
    assert set(items(one)) <= set(posts)
    assert {r.reason for r in one} == {"drawn from 30"}
    every = await world.feed("random", size=50)
    assert sorted(items(every)) == posts
    assert every[-1].chance == 1


async def test_random_draws_every_post_as_often(database: Database) -> None:
    world = await Place.of(database, 2)
    posts = [await world.post(2) for _ in range(8)]
    first = Counter([items(await world.feed("random", draw=draw, size=1))[0] for draw in range(400)])
    expected = 400 / len(posts)
    chi = sum((first[post] - expected) ** 2 / expected for post in posts)
    assert chi < 24.3  # 99.9 % of such draws, at 7 degrees of freedom


async def test_common_neighbours_and_adamic_adar(database: Database) -> None:
    """1 follows 2 and 3. Both follow 4; only 2, who has few ties, follows 5; only 3, who has many, follows 6."""
    world = await Place.of(database, 20)
    await world.follow(1, 2, 3)
    await world.follow(2, 4, 5)
    await world.follow(3, 4, 6, 1, *range(8, 20))
    common = await world.met("common_neighbours", size=3)
    assert [(one.item, one.score) for one in common] == [(4, 2), (5, 1), (6, 1)]
    assert common[0].reason == "in common 2"
    ties = {2: 3, 3: 16}
    adamic = await world.met("adamic_adar", size=3)
    assert items(adamic) == [4, 5, 6]
    assert [one.score for one in adamic] == pytest.approx(
        [1 / math.log(ties[2]) + 1 / math.log(ties[3]), 1 / math.log(ties[2]), 1 / math.log(ties[3])]
    )
    await world.mute(1, 4)
    await world.mute(5, 1)
    await database.fetch("UPDATE personas SET status = 'departed' WHERE id = 6")
    for way in ("common_neighbours", "adamic_adar"):
        assert items(await world.met(way, size=2)) == [8, 9]


async def test_preferential(database: Database) -> None:
    world = await Place.of(database, 6)
    await world.follow(1, 2)
    await world.follow(3, 4, 5)
    await world.follow(6, 4)
    found = await world.met("preferential")
    assert [(one.item, one.score) for one in found] == [(4, 1 * 2), (5, 1 * 1)]


async def test_interest_suggests_whose_posts_one_likes(database: Database) -> None:
    world = await Place.of(database, 4)
    for author, hours in ((2, 0), (3, 168), (3, 168), (4, 0)):
        await world.like(1, await world.post(author), hours=hours)
    await world.follow(1, 4)
    found = await world.met("interest")
    assert [(one.item, one.reason) for one in found] == [(2, "engagements 1"), (3, "engagements 2")]
    assert [one.score for one in found] == pytest.approx([1, 1])


# What holds in any world


async def any_world(database: Database, seed: int) -> Place:
    chance = random.Random(seed)
    world = await Place.of(database, 12)
    posts: list[int] = []
    for _ in range(60):
        shares = chance.choice(posts) if posts and chance.random() < 0.2 else None
        with suppress(asyncpg.UniqueViolationError):  # the same persona shares the same post again
            posts.append(
                await world.post(
                    chance.randint(1, 12), chance.choice((-3, 0, 5, 40, 5_000_000)),
                    " ".join(chance.choices(("bread", "train", "duke", "gull", "%", "'", "rent"), k=4)),
                    shares=shares, hidden=chance.random() < 0.15,
                )
            )  # fmt: skip
    for one, other in itertools.permutations(range(1, 13), 2):
        if chance.random() < 0.25:
            await world.follow(one, other)
        if chance.random() < 0.1:
            await world.mute(one, other)
    for persona, post in itertools.product(range(1, 13), posts):
        if chance.random() < 0.15:
            await world.like(persona, post, hours=chance.choice((-1, 0, 30, 5_000_000)))
        if chance.random() < 0.05:
            await world.comment(persona, post, hours=1)
    await database.fetch(
        "UPDATE post_counts c SET likes_count = (SELECT count(*) FROM likes l WHERE l.post_id = c.post_id)"
    )
    return world


WHOSE = """
SELECT p.id, p.author_id, o.author_id AS original_id, p.hidden FROM posts p LEFT JOIN posts o ON o.id = p.repost_of
"""


@pytest.mark.parametrize("seed", range(6))
async def test_what_no_ranker_may_do(database: Database, seed: int) -> None:
    world = await any_world(database, seed)
    posts = {row["id"]: row for row in await database.fetch(WHOSE)}
    muted = {(row["persona_id"], row["muted_id"]) for row in await database.fetch("SELECT * FROM mutes")}
    viewers = list(range(1, 13))
    for name in (*RANKERS, "mixed:hot=1,random=2,similar_people=0.5"):
        ours = parse(name)
        found = await rank(database, ours, viewers, now=NOW, seed=seed)
        assert found == await rank(database, ours, [*viewers[::-1], 1], now=NOW, seed=seed)
        assert found.keys() == set(viewers)
        alone = {one: (await rank(database, ours, [one], now=NOW, seed=seed))[one] for one in viewers}
        assert alone == found
        for viewer, feed in found.items():
            assert len(set(items(feed))) == len(feed) <= ranking.SIZE
            assert [one.rank for one in feed] == list(range(1, len(feed) + 1))
            assert all(math.isfinite(one.score) and one.reason for one in feed)
            for one in feed:
                row = posts[one.item]
                assert not row["hidden"]
                writers = {row["author_id"], row["original_id"]} - {None}
                assert viewer not in writers
                assert not any((viewer, writer) in muted for writer in writers)
                assert (one.chance is not None) == (ours.name in ("random", "mixed"))
                assert one.chance is None or 0 < one.chance <= 1
            if name in ("hot", "top", "interest", "similar_people", "random"):
                ordered = sorted(feed, key=lambda one: (-one.score, -one.item))
                assert items(ordered) == items(feed), name
    follows = {(row["follower"], row["followed"]) for row in await database.fetch("SELECT * FROM follows")}
    for way in SUGGESTERS:
        for viewer, met in (await suggest(world.database, way, viewers, now=NOW)).items():
            for one in met:
                assert one.item != viewer
                assert not {(viewer, one.item), (one.item, viewer)} & muted
                assert (viewer, one.item) not in follows


async def test_control_without_its_condition_a_ranker_shows_the_muted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await Place.of(database, 2)
    post = await world.post(2)
    await world.mute(1, 2)
    assert await world.feed("latest") == []
    broken = ranking.STATEMENTS["latest"].replace("m.persona_id = v.viewer", "false")
    monkeypatch.setitem(ranking.STATEMENTS, "latest", broken)
    assert items(await world.feed("latest")) == [post]


async def test_hardly_anybody_there(database: Database) -> None:
    assert await rank(database, parse("mixed"), [], now=NOW) == {}
    world = await Place.of(database, 1)
    for name in RANKERS:
        assert await world.feed(name) == []
        assert await world.feed(name, viewer=2**62) == []
    for way in SUGGESTERS:
        assert await world.met(way) == []


# The mixture

LISTS = {
    "latest": [Ranked(n, k, 0.0, "a") for k, n in enumerate((50, 49, 48, 47), 1)],
    "top": [Ranked(n, k, 0.0, "b") for k, n in enumerate((3, 50, 7), 1)],
}


def drawn(seed: int, among: int = 6) -> dict[str, list[Ranked]]:
    """The lists, and one drawn from the posts 45 to 50."""
    urn = random.Random(seed).sample(range(45, 45 + among), among)
    by_lot = [Ranked(item, k, 0.0, "c", 1 / (among - k + 1)) for k, item in enumerate(urn, 1)]
    return {**LISTS, "random": by_lot}


WEIGHTED = (("latest", 1.0), ("random", 1.0), ("top", 2.0))


def test_what_comes_first_comes_as_often_as_its_chance_says() -> None:
    times: Counter[int] = Counter()
    chances: dict[int, float] = {}
    for seed in range(20_000):
        (first,) = interleave(drawn(seed), WEIGHTED, random.Random(f"x{seed}"), 1, Urn(6, 45))
        times[first.item] += 1
        chances[first.item] = first.chance or 0
    assert chances == pytest.approx({50: 0.25 + 0.25 / 6, 3: 0.5, **dict.fromkeys(range(45, 50), 0.25 / 6)})
    assert sum(chances.values()) == pytest.approx(1)
    for item, chance in chances.items():
        assert abs(times[item] / 20_000 - chance) < 4 * math.sqrt(chance * (1 - chance) / 20_000), item


def test_a_whole_list_comes_as_often_as_the_product_of_its_chances() -> None:
    times: Counter[tuple[int, ...]] = Counter()
    told: dict[tuple[int, ...], float] = {}
    for seed in range(30_000):
        found = interleave(drawn(seed), WEIGHTED, random.Random(f"y{seed}"), 2, Urn(6, 45))
        key = tuple(items(found))
        times[key] += 1
        told[key] = math.prod(one.chance or 0 for one in found)
    assert sum(told.values()) == pytest.approx(1)
    for key, chance in told.items():
        assert abs(times[key] / 30_000 - chance) < 4.5 * math.sqrt(chance / 30_000), key


def test_a_mixture_says_which_ranker_gave_what() -> None:
    found = interleave(drawn(1), (("top", 1.0),), random.Random(1), 9)
    assert [(one.item, one.rank, one.reason, one.chance) for one in found] == [
        (3, 1, "top: b", 1), (50, 2, "top: b", 1), (7, 3, "top: b", 1),
    ]  # fmt: skip


@given(
    st.dictionaries(
        st.sampled_from(("latest", "top", "hot")), st.lists(st.integers(1, 12), unique=True, max_size=6), min_size=1
    ),
    st.integers(0, 9),
    st.integers(0, 1_000),
)
def test_a_mixture_is_a_permutation_of_what_there_is(given_lists: dict[str, list[int]], size: int, seed: int) -> None:
    lists = {name: [Ranked(n, k, 0.0, "") for k, n in enumerate(ids, 1)] for name, ids in given_lists.items()}
    found = interleave(lists, [(name, 1.0) for name in lists], random.Random(seed), size)
    there = set().union(*given_lists.values())
    assert len(found) == min(size, len(there))
    assert len(set(items(found))) == len(found)
    assert set(items(found)) <= there
    assert found == interleave(lists, [(name, 1.0) for name in lists], random.Random(seed), size)
    for name, ids in given_lists.items():
        of_it = [one.item for one in found if one.reason.startswith(name)]
        assert of_it == [item for item in ids if item in of_it]  # each ranker's own order is kept


async def test_a_mixture_of_one_is_that_one(database: Database) -> None:
    world = await any_world(database, 3)
    for name in RANKERS:
        if name != "mixed":
            alone, mixed = await world.feed(name, seed=4), await world.feed(f"mixed:{name}=1", seed=4)
            assert items(mixed) == items(alone)
            assert [one.chance for one in mixed] == pytest.approx([one.chance or 1 for one in alone])


# Names


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("latest", "latest"),
        (" hot:pool=40 ", "hot:pool=40"),
        ("interest:memory=24, half_life=0.5", "interest:half_life=0.5,memory=24"),
        ("mixed", "mixed"),
        ("mixed:top=2,random=0", "mixed:random=0,top=2"),
    ],
)
def test_a_ranking_is_read_and_named(text: str, canonical: str) -> None:
    assert str(parse(text)) == canonical
    assert parse(str(parse(text))) == parse(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "there is no ranker ''; there are latest, following, hot"),
        ("best", "there is no ranker 'best'"),
        ("latest:", "latest has no parameter ''; it has pool"),
        ("latest:half_life=3", "latest has no parameter 'half_life'"),
        ("hot:pool=1", "hot: pool must be a number from 20 to 500, not '1'"),
        ("hot:pool=nan", "not 'nan'"),
        ("hot:pool=1e9", "not '1e9'"),
        ("hot:pool=٤٠", "pool must be a number"),
        ("hot:pool=30,pool=40", "hot is given pool twice"),
        ("mixed:top=0", "a ranker that weighs more than 0"),
        ("mixed:mixed=1", "mixed has no parameter 'mixed'"),
        ("mixed:top=-1", "top must be a number from 0 to 1000"),
        ("hot'; DROP TABLE posts --", "there is no ranker"),
        ("x" * 10_000, "there is no ranker 'xxx"),
    ],
)
def test_a_wrong_ranking_is_said_to_be_wrong(text: str, says: str) -> None:
    with pytest.raises(Invalid) as error:
        parse(text)
    assert says in error.value.detail
    assert len(error.value.detail) < 300
    with pytest.raises(ValidationError):
        PersonaSpec.model_validate({"username": "a", "description": "b", "ranker": text})
    with pytest.raises(Misconfigured, match="FEED_RANKER"):
        ranking.check(load_settings(feed_ranker=text))


@given(st.text(max_size=60))
def test_any_text_is_a_ranking_or_refused(text: str) -> None:
    with suppress(Invalid):
        assert str(parse(text))


def test_who_chooses_the_ranker() -> None:
    hot, top = Ranking("hot"), Ranking("top")
    assert ranking.of_run({}, "latest") is None
    assert ranking.of_run({}, "hot") == hot
    assert ranking.of_run({"ranker": "latest"}, "hot") == ranking.LATEST
    assert ranking.of_persona({"ranker": "top"}, hot) == top
    assert ranking.of_persona({"ranker": None}, hot) == hot
    assert ranking.of_persona({"ranker": "one of the past"}, hot) == hot
    assert ranking.of_persona({}, None) is None
    with pytest.raises(Invalid):
        ranking.of_run({"ranker": ["hot"]}, "hot")


def test_who_to_follow_is_checked() -> None:
    assert ranking.suggester("adamic_adar") == "adamic_adar"
    with pytest.raises(Invalid, match="no way 'x'"):
        ranking.suggester("x")
