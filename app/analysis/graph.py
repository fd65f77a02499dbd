"""The graph of the personas, who follows, likes or answers whom, at any moment of a world's life.

It is read and laid out once for the whole life; a moment shows what of it was there by then. So nobody moves when time
does.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from math import ceil, sqrt
from typing import Any, Literal, TypeVar

from app.analysis import measures
from app.analysis.layout import Place, communities, places
from app.db.engine import Database
from app.db.queries import load
from app.errors import Unavailable

GRAPH = load("graph")
Kind = Literal["follows", "likes", "replies"]
Colour = Literal["community", "leaning"]
Size = Literal[25, 50, 150, 400, 1000]
STEPS_MOST = 24
TIES_MOST = 30_000
KEPT_MOST = 16
MADE_MOST = 2 * STEPS_MOST
KEPT_SECONDS = 60.0
KEPT_PER_SECOND = 20.0
WAIT_SECONDS = 15.0
READ_SECONDS = 22.0
HOURS = (1, 2, 3, 4, 6, 8, 12, 24, 36, 48, 72, 96, 120, 168, 240, 336, 504, 672, 1008, 1344, 2016, 2688, 4032, 8064)
STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, *(3600 * h for h in HOURS))
"""Seconds that a step of the slider may have: the moments it stops at are round."""

T = TypeVar("T")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def printable(text: str) -> str:
    """`text` with U+FFFD for whatever XML 1.0 can't hold, and for the C1 controls."""
    return _UNPRINTABLE.sub("\ufffd", text)


@dataclass(frozen=True)
class Life:
    """The time of a world, in steps: step k ends `k * seconds` after `start`, which is round."""

    start: datetime
    last: datetime
    seconds: int
    steps: int

    @classmethod
    def between(cls, first: datetime, last: datetime) -> "Life":
        span = max(1.0, (last - first).total_seconds())
        seconds = next((step for step in STEPS if span <= step * (STEPS_MOST - 1)), 0) or ceil(span / (STEPS_MOST - 1))
        start = datetime.fromtimestamp(first.timestamp() // seconds * seconds, UTC)
        return cls(start, last, seconds, max(1, ceil((last - start).total_seconds() / seconds)))

    def step(self, moment: datetime | None) -> int:
        """The newest step that has ended by `moment`; the last one for None."""
        if moment is None:
            return self.steps
        return min(max(int((moment - self.start).total_seconds() // self.seconds), 0), self.steps)

    def started(self, moment: datetime) -> int:
        """The first step by whose end something of `moment` is there."""
        return min(max(ceil((moment - self.start).total_seconds() / self.seconds), 0), self.steps)

    def end(self, step: int) -> datetime:
        return self.start + timedelta(seconds=self.seconds * step)


@dataclass(frozen=True)
class Person:
    """A node."""

    id: int
    handle: str
    name: str
    leaning: str
    followers: int
    departed: bool
    born: int


@dataclass(frozen=True)
class Tie:
    """What `source` did to `target` (both are places in the list of people): in which steps, and how often in each."""

    source: int
    target: int
    steps: tuple[int, ...]
    counts: tuple[int, ...]

    def weight(self, step: int) -> int:
        """How often by the end of `step`."""
        return sum(count for at, count in zip(self.steps, self.counts, strict=True) if at <= step)


@dataclass(frozen=True)
class Group:
    """People of one colour: a community or a leaning. `named` is whether it has a colour of its own."""

    number: int
    label: str
    members: int
    named: bool = True


@dataclass
class Graph:
    """The most connected personas of a world and the ties among them."""

    kind: Kind
    life: Life
    people: list[Person]
    ties: list[Tie]
    people_in_all: int
    ties_in_all: int
    made: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    """What was drawn or written of it: kept as long as the graph is."""

    @cached_property
    def whole(self) -> list[measures.Tie]:
        return [(tie.source, tie.target, tie.weight(self.life.steps)) for tie in self.ties]

    @cached_property
    def got(self) -> list[int]:
        """How many ties arrive at each in the end: it makes a node's final size."""
        into = measures.degrees(self.whole)[1]
        return [into.get(node, 0) for node in range(len(self.people))]

    @cached_property
    def communities(self) -> list[int]:
        return communities(len(self.people), self.whole)

    @cached_property
    def places(self) -> list[Place]:
        return places(self.communities, self.whole, [self.radius(got) for got in self.got])

    def radius(self, got: int) -> float:
        """A node's size: its area grows with the ties that arrive."""
        biggest = 24.0 if len(self.people) <= 60 else 20.0 if len(self.people) <= 200 else 11.0
        smallest = biggest / 5
        most = max(self.got, default=0) or 1
        return round(smallest + (biggest - smallest) * sqrt(got / most), 1)

    def grouping(self, colour: Colour) -> tuple[list[int], list[Group]]:
        """The group of each node, and the groups, largest first. In the whole life, so no colour changes with time."""
        return self._by_community if colour == "community" else self._by_leaning

    @cached_property
    def _by_community(self) -> tuple[list[int], list[Group]]:
        sizes = Counter(self.communities)
        groups = []
        for number, members in sorted(sizes.items()):
            inside = [node for node, one in enumerate(self.communities) if one == number]
            heart = min(inside, key=lambda node: (-self.got[node], node))
            groups.append(Group(number, f"around @{self.people[heart].handle}", members, members > 1))
        return self.communities, groups

    @cached_property
    def _by_leaning(self) -> tuple[list[int], list[Group]]:
        sizes = Counter(person.leaning for person in self.people)
        order = sorted(sizes, key=lambda leaning: (not leaning, -sizes[leaning], leaning))
        number = {leaning: k for k, leaning in enumerate(order)}
        groups = [Group(number[one], one or "no leaning given", sizes[one], bool(one)) for one in order]
        return [number[person.leaning] for person in self.people], groups

    def at(self, step: int) -> "Moment":
        return Moment(self, step)


@dataclass
class Moment:
    """The graph as it was at the end of a step."""

    graph: Graph
    step: int

    @property
    def time(self) -> datetime:
        return min(self.graph.life.end(self.step), self.graph.life.last)

    @cached_property
    def ties(self) -> list[measures.Tie]:
        """Those that were there, strongest first: by weight, then mutual ones, then those among the best connected."""
        there = [(tie.source, tie.target, weight) for tie in self.graph.ties if (weight := tie.weight(self.step))]
        pairs = {(source, target) for source, target, _ in there}
        out, into = measures.degrees(there)

        def strength(tie: measures.Tie) -> tuple[float, ...]:
            source, target, weight = tie
            known = into.get(source, 0) + into.get(target, 0) + out.get(source, 0) + out.get(target, 0)
            return -weight, (target, source) not in pairs, -known, source, target

        return sorted(there, key=strength)

    @cached_property
    def out(self) -> dict[int, int]:
        return measures.degrees(self.ties)[0]

    @cached_property
    def into(self) -> dict[int, int]:
        return measures.degrees(self.ties)[1]

    @cached_property
    def nodes(self) -> list[int]:
        """Who was there, in the order of ties got, given, and age."""
        there = [
            node
            for node, person in enumerate(self.graph.people)
            if person.born <= self.step or node in self.into or node in self.out
        ]
        return sorted(there, key=lambda node: (-self.into.get(node, 0), -self.out.get(node, 0), node))

    def facts(self, colour: Colour) -> dict[str, float | None]:
        """The measures of this moment, by name."""
        number = {node: k for k, node in enumerate(self.nodes)}
        ties = [(number[source], number[target], weight) for source, target, weight in self.ties]
        group = self.graph.grouping(colour)[0]
        return {
            "density": measures.density(len(number), ties),
            "reciprocity": measures.reciprocity(ties),
            "clustering": measures.clustering(len(number), ties),
            "assortativity": measures.assortativity(ties),
            "modularity": measures.modularity([group[node] for node in self.nodes], ties),
        }


async def read(database: Database, kind: Kind, size: int) -> Graph:
    """The graph of the `size` most connected personas, placed and grouped."""
    async with database.connection() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(GRAPH["roomy"])
        span = await connection.fetchrow(GRAPH["span"])
        assert span is not None  # noqa: S101 - aggregates always give a row
        life = Life.between(span["first"], span["last"])
        most = await connection.fetch(GRAPH[f"most_{kind}"], size, timeout=READ_SECONDS)
        ids = sorted(row["id"] for row in most)
        rows = await connection.fetch(GRAPH["people"], ids)
        frame = (ids, life.start, life.seconds, life.steps, TIES_MOST)
        ties = await connection.fetch(GRAPH[f"ties_{kind}"], *frame, timeout=READ_SECONDS)
    in_all = most[0]["people"] if most else 0
    return await asyncio.to_thread(build, kind, life, rows, ties, in_all)


def build(kind: Kind, life: Life, rows: list[Any], ties: list[Any], people_in_all: int) -> Graph:
    """The graph of these rows, whatever order they come in."""
    people = [
        Person(
            id=row["id"],
            handle=printable(row["username"]),
            name=printable(row["display_name"] or ""),
            leaning=printable(row["leaning"] or "").strip()[:80],
            followers=row["followers_count"],
            departed=row["departed"],
            born=life.started(row["created_at"]),
        )
        for row in sorted(rows, key=lambda row: row["id"])
    ]
    place = {person.id: k for k, person in enumerate(people)}
    found = [
        Tie(place[row["source"]], place[row["target"]], tuple(row["steps"]), tuple(row["counts"]))
        for row in sorted(ties, key=lambda row: (row["source"], row["target"]))
    ]
    graph = Graph(kind, life, people, found, people_in_all, ties[0]["ties"] if ties else 0)
    graph.places  # noqa: B018 - here, not on the event loop
    return graph


class Graphs:
    """The graphs of a world, each kept for a while: the longer it took to make, the longer. One is made at a time."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._kept: dict[tuple[Kind, int], tuple[float, Graph]] = {}
        self._working = asyncio.Lock()
        self._drawing = asyncio.Lock()

    async def get(self, kind: Kind, size: int) -> Graph:
        """The graph.

        Raises:
            Unavailable: others are being made, and it would take too long.
        """
        if found := self._fresh(kind, size):
            return found
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._working.acquire()
        except TimeoutError:
            raise Unavailable("the graph is being drawn for others: try again", headers={"Retry-After": "5"}) from None
        try:
            if found := self._fresh(kind, size):
                return found
            began = time.monotonic()
            graph = await read(self.database, kind, size)
            took = time.monotonic() - began
            self._kept.pop((kind, size), None)
            self._kept[kind, size] = (time.monotonic() + max(KEPT_SECONDS, KEPT_PER_SECOND * took), graph)
            while len(self._kept) > KEPT_MOST:
                self._kept.pop(next(iter(self._kept)))
            return graph
        finally:
            self._working.release()

    def _fresh(self, kind: Kind, size: int) -> Graph | None:
        until, graph = self._kept.get((kind, size), (0.0, None))
        return graph if time.monotonic() < until else None

    async def make(self, graph: Graph, key: tuple[Any, ...], work: Callable[[], T]) -> T:
        """What `work` makes of `graph`, in a thread, once."""
        if key not in graph.made:
            async with self._drawing:
                if key not in graph.made:
                    while len(graph.made) >= MADE_MOST:
                        graph.made.pop(next(iter(graph.made)))
                    graph.made[key] = await asyncio.to_thread(work)
        found: T = graph.made[key]
        return found
