"""The graph is read as it was, laid out the same each time, and written so that others can read it."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from math import hypot
from typing import Any

import asyncpg
import networkx as nx
import pytest

from app.analysis import files, layout
from app.analysis.graph import Graph, Graphs, Kind, Life, Person, Tie, build, printable, read
from app.analysis.picture import DRAWN_MOST, INKS, LABELS_MOST, picture
from app.db.engine import Database

START = datetime(2026, 3, 1, tzinfo=UTC)
LIFE = Life.between(START, START + timedelta(days=20))
WORLD = """
INSERT INTO personas (username, description, profile, created_at, status)
    SELECT name, 'x', profile::jsonb, now() - make_interval(days => days), status FROM (VALUES
        ('ann', '{"leaning": "green", "display_name": "Ann"}', 19, 'active'),
        ('bob', '{"leaning": "green"}', 19, 'active'), ('cat', '{}', 19, 'departed'),
        ('dan', '{}', 5, 'active'), ('eve', '{}', 19, 'active')
    ) v (name, profile, days, status);
INSERT INTO follows (follower, followed, created_at)
    SELECT a, b, now() - make_interval(days => days)
    FROM (VALUES (1, 2, 18), (2, 1, 10), (3, 1, 17), (4, 1, 4)) v (a, b, days);
INSERT INTO posts (author_id, body, created_at, hidden)
    SELECT author, 'x', now() - make_interval(days => days), hidden
    FROM (VALUES (1, 18, false), (1, 17, false), (2, 16, true)) v (author, days, hidden);
INSERT INTO likes (post_id, persona_id, created_at)
    SELECT post, persona, now() - make_interval(days => days)
    FROM (VALUES (1, 2, 17), (2, 2, 11), (2, 1, 11), (3, 4, 11), (1, 4, 3)) v (post, persona, days);
INSERT INTO comments (post_id, author_id, body, created_at, hidden)
    SELECT 1, author, 'x', now() - make_interval(days => days), hidden
    FROM (VALUES (2, 15, false), (2, 14, false), (5, 14, true), (1, 14, false)) v (author, days, hidden);
INSERT INTO post_counts (post_id, likes_count, comments_count, hidden)
    SELECT id, (SELECT count(*) FROM likes WHERE post_id = posts.id),
           (SELECT count(*) FROM comments WHERE post_id = posts.id), hidden FROM posts;
UPDATE personas SET comments_count = (SELECT count(*) FROM comments WHERE author_id = personas.id),
    followers_count = (SELECT count(*) FROM follows WHERE followed = personas.id),
    following_count = (SELECT count(*) FROM follows WHERE follower = personas.id);
"""


def ago(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


async def fill(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(WORLD)
    await connection.close()


def seen(graph: Graph, until: datetime | None = None) -> dict[tuple[str, str], float]:
    """The ties of a moment by handles."""
    people = graph.people
    moment = graph.at(graph.life.step(until))
    return {(people[source].handle, people[target].handle): weight for source, target, weight in moment.ties}


def rows(count: int = 120, seed: int = 5, weights: int = 4) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A town of four circles."""
    chance = random.Random(seed)
    people = [
        {
            "id": 10 + k,
            "username": f"p{k}",
            "display_name": f"P {k}" if k % 3 else None,
            "leaning": ("green", "red", None)[k % 3],
            "followers_count": k,
            "departed": k % 17 == 0,
            "created_at": START + timedelta(hours=k),
        }
        for k in range(count)
    ]
    pairs = [
        (a, b)
        for a in range(count)
        for b in range(count)
        if a != b and chance.random() < (0.2 if a % 4 == b % 4 else 0.01)
    ]
    ties = [
        {"source": 10 + a, "target": 10 + b, "steps": [chance.randrange(12), 15], "ties": len(pairs),
         "counts": [chance.randint(1, weights), 1]}
        for a, b in pairs
    ]  # fmt: skip
    return people, ties


def town(**options: int) -> Graph:
    people, ties = rows(**options)
    return build("likes", LIFE, people, ties, len(people))


async def test_follows_are_read_as_they_were(url: str, database: Database) -> None:
    await fill(url)
    graph = await read(database, "follows", 150)
    assert seen(graph) == {("ann", "bob"): 1, ("bob", "ann"): 1, ("cat", "ann"): 1, ("dan", "ann"): 1}
    early = ago(days=12)
    assert seen(graph, early) == {("ann", "bob"): 1, ("cat", "ann"): 1}
    assert {graph.people[node].handle for node in graph.at(graph.life.step(early)).nodes} == {"ann", "bob", "cat"}
    assert [person.handle for person in graph.people if person.departed] == ["cat"]
    assert graph.people_in_all == 4, "eve neither follows nor is followed"


async def test_likes_are_weighted_and_hidden_posts_and_ones_own_left_out(url: str, database: Database) -> None:
    await fill(url)
    graph = await read(database, "likes", 150)
    assert seen(graph) == {("bob", "ann"): 2, ("dan", "ann"): 1}
    assert seen(graph, ago(days=13)) == {("bob", "ann"): 1}


async def test_replies_are_comments_on_anothers_posts(url: str, database: Database) -> None:
    await fill(url)
    assert seen(await read(database, "replies", 150)) == {("bob", "ann"): 2}


async def test_the_best_connected_are_chosen(url: str, database: Database) -> None:
    await fill(url)
    graph = await read(database, "follows", 2)
    assert [person.handle for person in graph.people] == ["ann", "bob"]
    assert graph.people_in_all == 4


@pytest.mark.parametrize("kind", ["follows", "likes", "replies"])
async def test_an_empty_world_has_an_empty_graph(database: Database, kind: Kind) -> None:
    graph = await read(database, kind, 25)
    assert (graph.people, graph.ties, graph.places) == ([], [], [])
    assert picture(graph.at(0), "community").dots == []
    assert set(graph.at(0).facts("leaning").values()) == {None}


async def test_a_graph_is_made_once_for_many(url: str, database: Database) -> None:
    await fill(url)
    graphs = Graphs(database)
    first, *others = await asyncio.gather(*(graphs.get("follows", 25) for _ in range(5)))
    assert all(other is first for other in others)
    made = await asyncio.gather(*(graphs.make(first, ("x",), object) for _ in range(5)))
    assert len(set(map(id, made))) == 1


@pytest.mark.parametrize(
    "span",
    [
        timedelta(0),
        timedelta(seconds=40),
        timedelta(hours=7),
        timedelta(days=33),
        timedelta(days=4_000),
        timedelta(days=90_000),
    ],
)
def test_a_life_has_about_two_dozen_round_steps(span: timedelta) -> None:
    first = datetime(2026, 3, 1, 12, 34, 56, 789, tzinfo=UTC)
    life = Life.between(first, first + span)
    assert 1 <= life.steps <= 25
    assert life.start <= first
    assert life.end(life.steps) >= first + span
    assert life.start.timestamp() % life.seconds == 0
    assert all(life.step(life.end(step)) == step for step in range(life.steps + 1))
    assert life.step(datetime(1970, 1, 1, tzinfo=UTC)) == 0
    assert life.step(datetime(9998, 1, 1, tzinfo=UTC)) == life.steps


def test_the_same_rows_in_any_order_give_the_same_bytes() -> None:
    def everything(people: list[Any], ties: list[Any]) -> tuple[Any, ...]:
        moment = build("likes", LIFE, people, ties, 120).at(14)
        return (
            picture(moment, "community"),
            picture(moment, "leaning"),
            files.graphml(moment, "community"),
            files.edges_csv(moment),
            repr(moment.facts("community")),
        )

    people, ties = rows()
    first = everything(people, ties)
    for seed in range(3):
        random.Random(seed).shuffle(people)
        random.Random(seed).shuffle(ties)
        assert everything(people, ties) == first


def test_nobody_moves_or_changes_colour_when_time_does() -> None:
    graph = town()
    pictures = [picture(graph.at(step), "community") for step in (3, 9, graph.life.steps)]
    last = {dot.node: (dot.x, dot.y, dot.look) for dot in pictures[-1].dots}
    assert [len(one.dots) for one in pictures] == sorted(len(one.dots) for one in pictures)
    for one in pictures:
        assert {dot.node: (dot.x, dot.y, dot.look) for dot in one.dots}.items() <= last.items()


def test_circles_are_found_and_nobody_stands_on_another() -> None:
    graph = town()
    circles = {frozenset(k for k, one in enumerate(graph.communities) if one == number) for number in range(4)}
    assert circles == {frozenset(range(start, 120, 4)) for start in range(4)}
    radius = [graph.radius(got) for got in graph.got]
    for a, (x, y) in enumerate(graph.places):
        assert radius[a] <= x <= layout.WIDTH - radius[a]
        assert radius[a] <= y <= layout.HEIGHT - radius[a]
        for b in range(a):
            assert hypot(x - graph.places[b][0], y - graph.places[b][1]) >= radius[a] + radius[b]


def test_those_without_ties_have_a_place_too() -> None:
    people, _ = rows(count=30)
    graph = build("follows", LIFE, people, [], 30)
    assert len(set(graph.places)) == 30
    assert not any(look.slot for look in picture(graph.at(24), "community").legend)


def test_only_the_strongest_ties_are_drawn_and_files_hold_all() -> None:
    graph = town(count=200)
    moment = graph.at(graph.life.steps)
    assert len(moment.ties) > DRAWN_MOST
    drawn = picture(moment, "community")
    assert drawn.drawn == DRAWN_MOST
    assert sum(strand.path.count("M") for strand in drawn.strands) == DRAWN_MOST
    assert sum(1 for dot in drawn.dots if dot.label) <= LABELS_MOST + len(INKS)
    assert files.edges_csv(moment).count(b"\r\n") == len(moment.ties) + 1


def test_graphml_comes_back_as_it_went() -> None:
    graph = town(count=40)
    moment = graph.at(14)
    back = nx.parse_graphml(files.graphml(moment, "leaning").decode(), node_type=int)
    assert back.is_directed()
    people = graph.people
    assert dict.fromkeys(((people[a].id, people[b].id), weight) for a, b, weight in moment.ties) == dict.fromkeys(
        ((a, b), weight) for a, b, weight in back.edges(data="weight")
    )
    assert set(back) == {people[node].id for node in moment.nodes}
    for node in moment.nodes:
        told, person = back.nodes[people[node].id], people[node]
        assert (told["handle"], told["name"], told["leaning"]) == (person.handle, person.name, person.leaning)
        assert (told["departed"], told["followers"]) == (person.departed, person.followers)
        assert (told["x"], -told["y"]) == graph.places[node]
        assert told["received"] == back.in_degree(person.id)


HOSTILE = ["<b>&\"']]>", "\x01\x1b[31m\x85", "=cmd|' /C calc'!A0", "\ufffe\uffff", "a\r\nb,c", "\u202eevil", "@SUM(1)"]


def test_hostile_names_break_no_file() -> None:
    people, ties = rows(count=len(HOSTILE))
    for row, name in zip(people, HOSTILE, strict=True):
        row |= {"username": name, "display_name": name, "leaning": name}
    ties = [{"source": 10, "target": 11 + k, "steps": [0], "counts": [1], "ties": 6} for k in range(6)]
    moment = build("follows", LIFE, people, ties, 7).at(20)
    back = nx.parse_graphml(files.graphml(moment, "community").decode())
    assert back.nodes["10"]["name"] == HOSTILE[0]
    assert back.nodes["11"]["handle"] == "\ufffd\ufffd[31m\ufffd"
    for line in files.edges_csv(moment).decode().splitlines()[1:]:
        for cell in line.split(","):
            assert not cell.strip('"').startswith(("=", "+", "-", "@", "\t"))


def test_what_xml_cannot_hold_is_replaced() -> None:
    assert (
        printable("a\x00\x1f\x7f\x9f\ud800\uffff\U0001f600é\n") == "a\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\U0001f600é\n"
    )


def test_a_tie_grows() -> None:
    tie = Tie(0, 1, (2, 5), (3, 4))
    assert [tie.weight(step) for step in (1, 2, 4, 5, 9)] == [0, 3, 3, 7, 7]
    assert Person(1, "a", "", "", 0, False, 0).born == 0
