"""Where the nodes of a graph stand, and which belong together: the same for the same graph, always."""

from collections.abc import Sequence
from math import cos, hypot, log1p, pi, sin, sqrt

import rustworkx as rx

from app.analysis.measures import Tie

SEED = 7
WIDTH, HEIGHT = 1000, 720
MARGIN = 44
ROUNDS = 300
Place = tuple[float, float]


def communities(nodes: int, ties: Sequence[Tie]) -> list[int]:
    """The community of each node, 0 being the largest.

    Louvain's method (Blondel et al. 2008, J. Stat. Mech. P10008) on the weights, without direction, from a fixed seed.
    """
    import networkx as nx  # 0.2 s, which a server that draws nothing need not wait for

    graph = nx.Graph()
    graph.add_nodes_from(range(nodes))
    graph.add_weighted_edges_from((a, b, weight) for (a, b), weight in _undirected(ties).items())
    found = sorted(nx.community.louvain_communities(graph, seed=SEED), key=lambda one: (-len(one), min(one)))
    number = {node: k for k, one in enumerate(found) for node in one}
    return [number[node] for node in range(nodes)]


def _undirected(ties: Sequence[Tie]) -> dict[tuple[int, int], float]:
    joined: dict[tuple[int, int], float] = {}
    for source, target, weight in sorted(ties):
        pair = (min(source, target), max(source, target))
        joined[pair] = joined.get(pair, 0) + weight
    return dict(sorted(joined.items()))


def places(group: Sequence[int], ties: Sequence[Tie], radius: Sequence[float]) -> list[Place]:
    """A place for each node within WIDTH × HEIGHT: friends near each other, groups apart, nobody on top of another.

    Fruchterman & Reingold's springs (1991) from a ring of the groups; ties within a group pull harder than the others,
    and a weak hub in the middle holds those who have few. What still overlaps is pushed apart.
    """
    nodes = len(group)
    if nodes == 0:
        return []
    graph = rx.PyGraph()
    graph.add_nodes_from(range(nodes + 1))
    for (a, b), weight in _undirected(ties).items():
        graph.add_edge(a, b, log1p(weight) * (1.0 if group[a] == group[b] else 0.3))
    for node in range(nodes):
        graph.add_edge(node, nodes, 0.08)
    start = dict(enumerate(_ring(group)))
    found = rx.spring_layout(
        graph, pos={**start, nodes: (0.0, 0.0)}, fixed={nodes}, k=1.6 / sqrt(nodes), num_iter=ROUNDS,
        repulsive_exponent=2, weight_fn=float, seed=SEED,
    )  # fmt: skip
    return _apart(_fit([(found[node][0], found[node][1]) for node in range(nodes)]), radius)


def _ring(group: Sequence[int]) -> list[Place]:
    """Each group on a spot of a ring, its nodes on a spiral around it."""
    groups = max(group) + 1
    seen = [0] * groups
    spots = []
    for one in group:
        turn, around = 2 * pi * one / groups, seen[one] * 2.399963
        far = 0.03 * sqrt(seen[one] + 1)
        seen[one] += 1
        spots.append((cos(turn) + far * cos(around), sin(turn) + far * sin(around)))
    return spots


def _fit(spots: list[Place]) -> list[Place]:
    """Stretch to the picture."""
    fitted = []
    for axis, size in ((0, WIDTH), (1, HEIGHT)):
        values = [spot[axis] for spot in spots]
        low, high = min(values), max(values)
        room = size - 2 * MARGIN
        fitted.append([MARGIN + (value - low) / (high - low) * room if high > low else size / 2 for value in values])
    return list(zip(*fitted, strict=True))


def _apart(spots: list[Place], radius: Sequence[float], gap: float = 3.0) -> list[Place]:
    """Push apart what overlaps, within the picture."""
    x, y = [spot[0] for spot in spots], [spot[1] for spot in spots]
    cell = 2 * max(radius) + gap
    for _ in range(60):
        grid: dict[tuple[int, int], list[int]] = {}
        for node in range(len(spots)):
            grid.setdefault((int(x[node] // cell), int(y[node] // cell)), []).append(node)
        moved = False
        for (column, row), members in sorted(grid.items()):
            near = [n for dx in (-1, 0, 1) for dy in (-1, 0, 1) for n in grid.get((column + dx, row + dy), ())]
            for a in members:
                for b in near:
                    if b <= a:
                        continue
                    dx, dy = x[b] - x[a], y[b] - y[a]
                    far, wanted = hypot(dx, dy), radius[a] + radius[b] + gap
                    if far >= wanted:
                        continue
                    moved = True
                    if far < 0.01:
                        dx, dy, far = cos(a + b), sin(a + b), 1.0
                    push = (wanted - min(far, wanted)) / 2 / far + 0.01
                    x[a], y[a], x[b], y[b] = x[a] - dx * push, y[a] - dy * push, x[b] + dx * push, y[b] + dy * push
        for node, size in enumerate(radius):
            x[node] = min(max(x[node], size + 4), WIDTH - size - 4)
            y[node] = min(max(y[node], size + 4), HEIGHT - size - 4)
        if not moved:
            break
    return [(round(a, 1), round(b, 1)) for a, b in zip(x, y, strict=True)]
