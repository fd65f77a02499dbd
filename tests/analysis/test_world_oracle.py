"""Worlds drawn at random, measured through SQL and reckoned anew from their rows, one by one, in plain Python."""

import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import combinations
from math import log2
from statistics import fmean, pvariance
from typing import Any

import asyncpg
import networkx as nx
import pytest

from app.analysis.measuring import measure
from app.db.engine import Database, plain_url
from tests.conftest import copy_of

NAMES = (
    "active_share", "posts_per_persona", "comments_per_persona", "likes_per_persona", "follows_per_persona",
    "attention_gini", "top_share", "participation_entropy", "exposure_entropy", "effective_authors", "leaning_entropy",
    "cross_cutting_share", "density", "reciprocity", "clustering", "ei_index", "opinion_mean", "opinion_variance",
    "cascade_size", "cascade_largest", "cascade_depth", "structural_virality", "distinct_share",
)  # fmt: skip
WORDS = ("tram", "Tram!", "rain", "日本", "🎉", "😀", "...", "été")


@dataclass
class Rows:
    """A world as lists: what the tables hold."""

    leaning: dict[int, str | None]
    cast: set[int]
    posts: dict[int, tuple[int, int | None, int | None, bool, str]] = field(default_factory=dict)
    comments: dict[int, tuple[int, int, int | None, bool, str]] = field(default_factory=dict)
    likes: list[tuple[int, int]] = field(default_factory=list)
    follows: list[tuple[int, int]] = field(default_factory=list)
    shown: list[tuple[int, list[int]]] = field(default_factory=list)


def drawn(seed: int) -> Rows:
    """Hidden posts and comments, reposts of them, replies to replies, players of rooms, likes of one's own."""
    chance = random.Random(seed)
    people = range(1, chance.randint(2, 9))
    rows = Rows({n: chance.choice(["left", "right", "third", None]) for n in people}, set())
    rows.cast = {n for n in people if n > 2 and chance.random() < 0.15}
    for n in range(1, chance.randint(2, 25)):
        of = chance.choice(list(rows.posts)) if rows.posts and chance.random() < 0.4 else None
        repost, quote = (of, None) if chance.random() < 0.5 else (None, of)
        author = chance.choice(people)
        if repost and (rows.posts[repost][1] or (author, repost) in [one[:2] for one in rows.posts.values()]):
            repost = None
        body = "" if repost is not None else " ".join(chance.choices(WORDS, k=chance.randint(1, 2)))
        rows.posts[n] = (author, repost, quote, chance.random() < 0.2, body)
    for n in range(1, chance.randint(2, 25)):
        post = chance.choice(list(rows.posts))
        above = [k for k, one in rows.comments.items() if one[1] == post]
        parent = chance.choice(above) if above and chance.random() < 0.6 else None
        rows.comments[n] = (chance.choice(people), post, parent, chance.random() < 0.2, chance.choice(WORDS))
    rows.likes = [(who, post) for who in people for post in rows.posts if chance.random() < 0.25]
    rows.follows = [(a, b) for a in people for b in people if a != b and chance.random() < 0.3]
    rows.shown = [(who, chance.choices(list(rows.posts), k=chance.randint(1, 6))) for who in people for _ in "ab"]
    return rows


async def kept(url: str, rows: Rows) -> None:
    connection: Any = await asyncpg.connect(plain_url(url))
    at = datetime(2026, 11, 20, tzinfo=UTC)
    await connection.executemany(
        "INSERT INTO personas (id, username, description, profile, status)"
        " VALUES ($1, 'p' || $1::bigint, 'x', jsonb_strip_nulls(jsonb_build_object('leaning', $2::text)), $3)",
        [(n, leaning, "cast" if n in rows.cast else "active") for n, leaning in rows.leaning.items()],
    )
    await connection.executemany(
        "INSERT INTO posts (id, author_id, repost_of, quote_of, hidden, body, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)",
        [(n, *one, at + timedelta(minutes=n)) for n, one in rows.posts.items()],
    )
    await connection.executemany(
        "INSERT INTO comments (id, author_id, post_id, parent_id, hidden, body, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)",
        [(n, *one, at + timedelta(minutes=n)) for n, one in rows.comments.items()],
    )
    await connection.executemany("INSERT INTO likes (persona_id, post_id) VALUES ($1, $2)", rows.likes)
    await connection.executemany("INSERT INTO follows (follower, followed) VALUES ($1, $2)", rows.follows)
    await connection.execute(
        "INSERT INTO runs (id, venue, slot, seed, state, turns_total)"
        " VALUES (1, 'feed', 'a', 1, 'completed', 1), (2, 'feed', 'b', 1, 'completed', 1)"
    )
    for n, (who, items) in enumerate(rows.shown, 1):
        await connection.execute(
            "INSERT INTO turns (id, run_id, persona_id, ordinal, state) VALUES ($1, $2, $3, 0, 'done')",
            n,
            1 + n % 2,
            who,
        )
        await connection.execute(
            "INSERT INTO exposures (turn_id, step, ordinal, kind, ranker, items) VALUES ($1, 0, 0, 'post', 'x', $2)",
            n, items,
        )  # fmt: skip
    await connection.close()


def entropy(counts: Counter[Any]) -> float:
    whole = sum(counts.values())
    return -sum(n / whole * log2(n / whole) for n in counts.values())


def mean(values: list[float]) -> float | None:
    return fmean(values) if values else None


def reckoned(rows: Rows) -> tuple[dict[str, float | None], int]:
    """Each metric by its words in the docs, and how many exposures there are."""
    people = [n for n in rows.leaning if n not in rows.cast]
    posts = {n: one for n, one in rows.posts.items() if not one[3]}
    comments = {n: one for n, one in rows.comments.items() if not one[3] and one[1] in posts}
    likes = [(who, post) for who, post in rows.likes if post in posts]

    def whose(post: int) -> int | None:
        author, repost, *_ = posts[post]
        return author if repost is None else posts[repost][0] if repost in posts else None

    own_posts = [one[0] for one in posts.values() if one[0] in people]
    own_comments = [one[0] for one in comments.values() if one[0] in people]
    own_likes = [(who, whose(post)) for who, post in likes if who in people]
    ties = [(a, b) for a, b in rows.follows if a in people and b in people]
    active = {*own_posts, *own_comments, *(who for who, _ in own_likes), *(a for a, b in rows.follows if a in people)}
    got = Counter(to for who, to in own_likes if to != who and to in people)
    x = sorted((got[n] for n in people), reverse=True)
    n, likes_got = len(people), got.total()
    gini = sum(abs(a - b) for a in x for b in x) / (2 * n * (n - 1)) * n / likes_got if n > 1 and likes_got else None

    seen: dict[int, Counter[int]] = defaultdict(Counter)
    exposures = 0
    for who, items in rows.shown:
        for item in items:
            author, repost, *_ = rows.posts[item]
            author = author if repost is None else rows.posts[repost][0]
            exposures += who in people and author in people
            if who in people and author in people and author != who:
                seen[who][author] += 1
    lean = {n: rows.leaning[n] for n in people}
    sided = {who: Counter({a: k for a, k in by.items() if lean[a]}) for who, by in seen.items()}
    by_side: list[Counter[Any]] = []
    for by in sided.values():
        sides: Counter[Any] = Counter()
        for author, times in by.items():
            sides[lean[author]] += times
        by_side += [sides] if sides else []
    crossing = [
        sum(k for a, k in by.items() if lean[a] != lean[who]) / sum(by.values())
        for who, by in sided.items() if by and lean[who]
    ]  # fmt: skip

    side = {"left": -1.0, "right": 1.0}
    endorsed: dict[int, list[float]] = defaultdict(list)
    for who, to in [*own_likes, *((one[0], whose(k)) for k, one in posts.items() if one[1] is not None)]:
        if who in people and to in people and to != who and lean[to] in side:
            endorsed[who].append(side[lean[to] or ""])
    opinions = [fmean(one) for one in endorsed.values()]

    forest: nx.Graph[Any] = nx.Graph()
    roots = []
    for k, (author, repost, quote, *_) in posts.items():
        above = repost or quote
        if author in people:
            forest.add_node(("post", k))
            if above in posts and posts[above][0] in people:
                forest.add_edge(("post", k), ("post", above))
            else:
                roots.append(("post", k))
    for k, (author, post, parent, *_) in comments.items():
        if author in people:
            up: tuple[str, int] | None = ("comment", parent) if parent in comments else ("post", post)
            whole = comments if up and up[0] == "comment" else posts
            forest.add_node(("comment", k))
            if up and whole[up[1]][0] in people:
                forest.add_edge(("comment", k), up)
            else:
                roots.append(("comment", k))
    trees = [forest.subgraph(one) for one in nx.connected_components(forest)]
    depth = [max(nx.single_source_shortest_path_length(forest, root).values()) for root in roots]
    graph: nx.DiGraph[Any] = nx.DiGraph(ties)
    graph.add_nodes_from(people)
    across = [lean[a] != lean[b] for a, b in ties if lean[a] and lean[b]]
    texts = [one[4] for one in posts.values() if one[0] in people and one[4]]
    texts += [one[4] for one in comments.values() if one[0] in people]
    keys = {
        tuple(w for w in text.lower().replace("!", "").split() if any(c.isalnum() for c in w)) or text for text in texts
    }
    return {
        "active_share": len(active) / n,
        "posts_per_persona": len(own_posts) / n,
        "comments_per_persona": len(own_comments) / n,
        "likes_per_persona": len(own_likes) / n,
        "follows_per_persona": sum(a in people for a, _ in rows.follows) / n,
        "attention_gini": gini,
        "top_share": sum(x[: -(-n // 10)]) / likes_got if likes_got else None,
        "participation_entropy": entropy(Counter(own_posts + own_comments)) if own_posts + own_comments else None,
        "exposure_entropy": mean([entropy(by) for by in seen.values()]),
        "effective_authors": mean([2 ** entropy(by) for by in seen.values()]),
        "leaning_entropy": mean([entropy(by) for by in by_side]),
        "cross_cutting_share": mean(crossing),
        "density": len(ties) / (n * (n - 1)) if n > 1 else None,
        "reciprocity": nx.reciprocity(graph) if ties else None,
        "clustering": nx.average_clustering(graph.to_undirected()),
        "ei_index": mean([1.0 if one else -1.0 for one in across]),
        "opinion_mean": mean(opinions),
        "opinion_variance": pvariance(opinions) if opinions else None,
        "cascade_size": mean([float(len(one)) for one in trees]),
        "cascade_largest": max((float(len(one)) for one in trees), default=None),
        "cascade_depth": mean([float(one) for one in depth]),
        "structural_virality": mean(
            [
                fmean(nx.shortest_path_length(one, a, b) for a, b in combinations(one, 2))
                for one in trees if len(one) > 1
            ]
        ),
        "distinct_share": len(keys) / len(texts) if texts else None,
    }, exposures  # fmt: skip


@pytest.fixture(params=range(12))
async def world(request: pytest.FixtureRequest, server_url: str, template: str) -> AsyncIterator[tuple[Rows, Database]]:
    async with copy_of(server_url, template) as url:
        rows = drawn(request.param)
        await kept(url, rows)
        database = await Database.open(url, size=2)
        yield rows, database
        await database.close()


async def test_a_world_comes_to_what_its_rows_come_to(world: tuple[Rows, Database]) -> None:
    rows, database = world
    found = await measure(database, NAMES)
    wanted, exposures = reckoned(rows)
    assert found.values == {name: value if value is None else pytest.approx(value) for name, value in wanted.items()}
    assert found.counts["exposures"] == exposures
    alone = await measure(database, ["density"])
    assert alone.counts == found.counts, "what is counted does not hang on what is measured"
    first = await measure(database, ["density"], runs=[1])
    both = [await measure(database, NAMES, runs=[run]) for run in (1, 2)]
    assert [first.counts["exposures"], sum(one.counts["exposures"] for one in both)] == [
        both[0].counts["exposures"], exposures,
    ]  # fmt: skip
