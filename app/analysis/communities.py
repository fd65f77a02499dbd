"""Which nodes of a large graph belong together, from a seed: the same on every machine."""

from dataclasses import dataclass

import numpy as np

from app.analysis.arrays import Floats, Ints, summed
from app.analysis.networks import Ties
from app.analysis.polarisation import modularity
from app.streams import number

ONE_BY_ONE = 256
"""Nodes up to which each moves by itself; of more, a sixteenth at a time."""

BATCHES = 16
SWEEPS = 20
ENOUGH = 1e-5
"""Modularity that a sweep must gain for another one to be worth it."""


@dataclass(frozen=True, eq=False)
class _Level:
    """A graph whose nodes are groups: each tie both ways, sorted by `row`; `loop` is the weight within, twice."""

    row: Ints
    col: Ints
    weight: Floats
    loop: Floats

    @property
    def strength(self) -> Floats:
        return summed(self.row, self.weight, len(self.loop)) + self.loop

    def quality(self, group: Ints) -> float:
        """Modularity."""
        k = self.strength
        total = k.sum()
        within = self.weight[group[self.row] == group[self.col]].sum() + self.loop.sum()
        return float(within / total - ((summed(group, k, len(k)) / total) ** 2).sum())

    def folded(self, group: Ints, groups: int) -> "_Level":
        """The graph of the groups."""
        pairs, place = np.unique(group[self.row] * groups + group[self.col], return_inverse=True)
        weight = summed(place, self.weight, len(pairs))
        row, col = pairs // groups, pairs % groups
        loop = summed(group, self.loop, groups)
        own = row == col
        loop[row[own]] += weight[own]
        return _Level(row[~own], col[~own], weight[~own], loop)


def communities(ties: Ties, *, seed: int = 0) -> Ints:
    """The community of each node, shape (nodes,), 0 being the largest; nodes without ties have their own.

    Louvain's method (Blondel et al. 2008, J. Stat. Mech. P10008) on weights, without direction. In a large graph nodes
    move in batches rather than one by one, which numpy does fast; sweeps stop when modularity no longer grows.
    """
    low, high, weight = ties.undirected()
    group = np.arange(ties.nodes)
    if not len(low):
        return group
    row, col = np.concatenate([low, high]), np.concatenate([high, low])
    order = np.lexsort((col, row))
    level = _Level(row[order], col[order], np.concatenate([weight, weight])[order], np.zeros(ties.nodes))
    chance = np.random.default_rng(number(seed, "communities", bits=63))
    while True:
        names, moved = np.unique(_settled(level, chance), return_inverse=True)
        if len(names) == len(level.loop):
            return _by_size(group)
        group = moved[group]
        level = level.folded(moved, len(names))


def community_modularity(ties: Ties, *, seed: int = 0) -> float | None:
    """`polarisation.modularity` of the communities of a seed; None without ties."""
    return modularity(communities(ties, seed=seed), ties)


def _settled(level: _Level, chance: np.random.Generator) -> Ints:
    """The best group of each node that moves among neighbours' groups find."""
    nodes = len(level.loop)
    batches = nodes if nodes <= ONE_BY_ONE else BATCHES
    batch = chance.permutation(nodes) % batches
    by_batch = np.argsort(batch[level.row], kind="stable")
    cuts = np.searchsorted(batch[level.row][by_batch], np.arange(1, batches))
    edges = [one for one in np.split(by_batch, cuts) if one.size]
    k = level.strength
    group, inside = np.arange(nodes), k.copy()
    best, reached = group.copy(), level.quality(group)
    for _ in range(SWEEPS):
        for one in edges:
            _move(level, one, group, inside, k)
        now = level.quality(group)
        grown = now - reached
        if grown > 0:
            best, reached = group.copy(), now
        if grown < ENOUGH:
            break
    return best


def _move(level: _Level, edges: Ints, group: Ints, inside: Floats, k: Floats) -> None:
    """Put each node of these edges into the group that gains most; `inside` is the strength of each group.

    What a node gains by a group is w - k (K - own k) / 2m, w its ties to it, K the strength in it.
    """
    nodes, total = len(group), k.sum()
    pairs, place = np.unique(level.row[edges] * nodes + group[level.col[edges]], return_inverse=True)
    node, to = pairs // nodes, pairs % nodes
    stays = to == group[node]
    gain = summed(place, level.weight[edges], len(pairs)) - k[node] * (inside[to] - stays * k[node]) / total
    start = np.flatnonzero(np.concatenate([[True], node[1:] != node[:-1]]))
    who = node[start]
    most = np.maximum.reduceat(gain, start)
    now = -k[who] * (inside[group[who]] - k[who]) / total
    at = np.searchsorted(who, node[stays])
    now[at] = gain[stays]
    is_most = np.flatnonzero(gain >= np.repeat(most, np.diff(np.append(start, len(node)))))
    first = is_most[np.searchsorted(is_most, start)]
    goes = most > now + 1e-12 * total
    who, to = who[goes], to[first[goes]]
    inside -= summed(group[who], k[who], nodes)
    inside += summed(to, k[who], nodes)
    group[who] = to


def _by_size(group: Ints) -> Ints:
    """Groups numbered by size, then by their first node."""
    _, first, place, size = np.unique(group, return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(first), np.int64)
    rank[np.lexsort((first, -size))] = np.arange(len(first))
    return rank[place]
