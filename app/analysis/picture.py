"""A moment of a graph as shapes to draw: what stands where, how large, in which colour, with which label."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import cos, pi, sin, sqrt

from app.analysis.graph import Colour, Graph, Group, Moment, Person
from app.analysis.layout import HEIGHT, WIDTH, Place

DRAWN_MOST = 1_500
"""Ties that are drawn: more than these can't be told apart."""

LABELS_MOST = 24
LABEL_MOST = 18
LETTER, LINE = 7.6, 16.0
"""The room that a letter and a line of a label take."""

INKS = ("#1293b5", "#e87304", "#4d21ac", "#0e4e01", "#ba8a51", "#7888fa", "#5d345a")
"""For the largest groups, on white. With normal sight, protanopia, deuteranopia or tritanopia (Machado 2009), any two
of them and REST lie at least 25 apart in CIELAB; each has 3 : 1 on white. `graph.css` has their like for dark."""

REST = "#81796e"
Box = tuple[float, float, float, float]
SHAPES = ("circle", "square", "triangle", "diamond", "hexagon", "plus", "star")


def _polygon(corners: int, turn: float = -90.0, inner: float = 1.0) -> list[Place]:
    """Corners on a circle, every other one at `inner` of its radius, with the area of a circle of radius 1."""
    spots = [
        (cos(a) * (inner if k % 2 else 1), sin(a) * (inner if k % 2 else 1))
        for k, a in enumerate(turn * pi / 180 + 2 * pi * k / corners for k in range(corners))
    ]
    area = abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(spots, [*spots[1:], spots[0]], strict=True))) / 2
    return [(x * sqrt(pi / area), y * sqrt(pi / area)) for x, y in spots]


_PLUS = [(a * 0.86, b * 0.86) for a, b in
         ((-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4),
          (0.4, 1.2), (-0.4, 1.2), (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4))]  # fmt: skip
_CORNERS = {
    "square": _polygon(4, -45),
    "triangle": _polygon(3),
    "diamond": _polygon(4),
    "hexagon": _polygon(6),
    "plus": _PLUS,
    "star": _polygon(10, inner=0.5),
}


def shape(name: str, x: float, y: float, radius: float) -> str:
    """The path of a shape around (x, y) with the area of a circle."""
    if name not in _CORNERS:
        half = f"a{radius} {radius} 0 1 1"
        return f"M{x - radius:.1f} {y:.1f}{half} {2 * radius:.1f} 0{half} {-2 * radius:.1f} 0z"
    corners = (f"{x + radius * a:.1f} {y + radius * b:.1f}" for a, b in _CORNERS[name])
    return f"M{'L'.join(corners)}z"


@dataclass(frozen=True)
class Look:
    """How a group looks: `slot` from 1 has a colour and a shape of its own; 0 is all the rest, hollow."""

    group: Group
    slot: int

    @property
    def ink(self) -> str:
        return INKS[self.slot - 1] if self.slot else REST

    @property
    def mark(self) -> str:
        """The shape for the legend, in 20 × 20 units."""
        return shape(self.name, 10, 10, 6.5)

    @property
    def name(self) -> str:
        return SHAPES[self.slot - 1] if self.slot else "ring"


@dataclass(frozen=True)
class Label:
    text: str
    x: float
    y: float
    first: bool


@dataclass(frozen=True)
class Dot:
    """A node that is drawn."""

    node: int
    person: Person
    x: float
    y: float
    path: str
    look: Look
    got: int
    gave: int
    to: tuple[int, ...]
    label: Label | None


@dataclass(frozen=True)
class Strand:
    """Ties of one colour and width, in one path. They bend clockwise from source to target."""

    path: str
    look: Look | None
    width: float


@dataclass(frozen=True)
class Picture:
    width: int
    height: int
    dots: list[Dot]
    strands: list[Strand]
    drawn: int
    legend: list[Look]
    others: int
    """How many people the rest of the legend stands for."""


def picture(moment: Moment, colour: Colour) -> Picture:
    """What to draw of `moment`: dots by size, so that small ones lie on top when drawn in reverse order."""
    graph = moment.graph
    group_of, groups = graph.grouping(colour)
    looks = _looks(groups)
    drawn = moment.ties[:DRAWN_MOST]
    to: dict[int, list[int]] = {}
    for source, target, _ in drawn:
        to.setdefault(source, []).append(target)
    labels = _labels(graph)
    dots = []
    for node in moment.nodes:
        (x, y), got, look = graph.places[node], moment.into.get(node, 0), looks[group_of[node]]
        dots.append(
            Dot(
                node=node,
                person=graph.people[node],
                x=x,
                y=y,
                path=shape(look.name, x, y, graph.radius(got)),
                look=look,
                got=got,
                gave=moment.out.get(node, 0),
                to=tuple(sorted(to.get(node, ()))),
                label=labels.get(node),
            )
        )
    named = [look for look in looks if look.slot]
    others = sum(look.group.members for look in looks if not look.slot)
    return Picture(WIDTH, HEIGHT, dots, list(_strands(graph, drawn, group_of, looks)), len(drawn), named, others)


def _looks(groups: Sequence[Group]) -> list[Look]:
    slots = iter(range(1, len(INKS) + 1))
    return [Look(group, next(slots, 0) if group.named else 0) for group in groups]


def _strands(
    graph: Graph, ties: Sequence[tuple[int, int, float]], group_of: Sequence[int], looks: Sequence[Look]
) -> Iterator[Strand]:
    strongest = max((weight for *_, weight in ties), default=1)
    paths: dict[tuple[int, int], list[str]] = {}
    for source, target, weight in ties:
        own = looks[group_of[source]].slot if group_of[source] == group_of[target] else 0
        heavy = 0 if strongest == 1 else min(2, int(3 * (weight - 1) / strongest))
        paths.setdefault((own, heavy), []).append(curve(graph.places[source], graph.places[target]))
    by_slot = {look.slot: look for look in looks if look.slot}
    for (own, heavy), found in sorted(paths.items()):
        yield Strand("".join(found), by_slot.get(own), (1.0, 1.8, 3.0)[heavy])


def curve(start: Place, end: Place) -> str:
    """From start to end, bent clockwise by an eighth of the way."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    return f"M{start[0]:.0f} {start[1]:.0f}q{dx / 2 - dy / 8:.0f} {dy / 2 + dx / 8:.0f} {dx:.0f} {dy:.0f}"


def _labels(graph: Graph) -> dict[int, Label]:
    """Handles beside the best known, where there is room; the first few leave room for larger letters."""
    if ("labels",) not in graph.made:
        graph.made["labels",] = dict(_place_labels(graph))
    found: dict[int, Label] = graph.made["labels",]
    return found


def _place_labels(graph: Graph) -> Iterator[tuple[int, Label]]:
    """The heart of each large community, then the largest others, as far as they hide no dot and no other label."""
    radius = [graph.radius(got) for got in graph.got]
    dots = [(x - r / 2, y - r / 2, x + r / 2, y + r / 2) for (x, y), r in zip(graph.places, radius, strict=True)]
    order = [node for node in sorted(range(len(dots)), key=lambda node: (-graph.got[node], node)) if graph.got[node]]
    hearts = {graph.communities[node]: node for node in reversed(order)}
    first = [hearts[one] for one in range(len(INKS)) if one in hearts]
    taken: list[Box] = []
    for node in dict.fromkeys([*first, *order[:LABELS_MOST]]):
        handle = f"@{graph.people[node].handle}"
        text = handle if len(handle) <= LABEL_MOST else handle[: LABEL_MOST - 1] + "…"
        larger = 1.9 if node in first else 1.0
        half, x, y = len(text) * LETTER / 2, *graph.places[node]
        for below in (radius[node] + LINE / 2 + 1, -radius[node] - LINE / 2 - 1):
            box = _box(x, y + below, half, LINE / 2)
            wide = _box(x, y + below, half * larger, LINE / 2 * larger)
            inside = wide[0] > 0 and wide[1] > 0 and wide[2] < WIDTH and wide[3] < HEIGHT
            hides = node not in first and any(_overlap(box, other) for other in dots)
            if inside and not hides and not any(_overlap(wide, other) for other in taken):
                taken.append(wide)
                yield node, Label(text, x, round(y + below, 1), node in first)
                break


def _box(x: float, y: float, half: float, tall: float) -> Box:
    return x - half, y - tall, x + half, y + tall


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
