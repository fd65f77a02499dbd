"""Measures of a directed graph as large as a world's, over arrays; `measures.py` has them for a graph that is drawn.

Both give the same values (tests/analysis/test_world_networks.py). What a graph has no value for is None.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from app.analysis.arrays import Floats, Ints, alike, ints, summed, weights

NODES_MOST = 2**31
AT_ONCE = 4_000_000
"""Pairs of ties that are looked at in one go."""


@dataclass(frozen=True, eq=False)
class Ties:
    """Ties among nodes 0 to `nodes` - 1, each pair once, by source and target; `Ties.of` makes them.

    `source`, `target` and `weight` have the shape (m,).
    """

    nodes: int
    source: Ints
    target: Ints
    weight: Floats

    @classmethod
    def of(cls, nodes: int, source: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None) -> "Ties":
        """The ties of these rows; weights of a pair that comes several times are added up, those of 0 are no ties.

        Raises:
            ValueError: a node is none of these, a tie goes from a node to itself, or a weight is negative.
        """
        if not 0 <= nodes <= NODES_MOST:
            raise ValueError(f"nodes: must be from 0 to {NODES_MOST}, not {nodes}")
        a, b = (ints(name, row, below=nodes) for name, row in (("source", source), ("target", target)))
        alike(source=a, target=b)
        w = weights(weight, len(a))
        if (own := np.flatnonzero(a == b)).size:
            raise ValueError(f"target: item {own[0] + 1}: must be another node than its source")
        pairs, joined = _joined(a * nodes + b, w)
        there = joined > 0
        return cls(nodes, pairs[there] // nodes, pairs[there] % nodes, joined[there])

    def undirected(self) -> tuple[Ints, Ints, Floats]:
        """(lower node, higher node, weight both ways) of each pair that is tied."""
        if not self.nodes:
            return self.source, self.target, self.weight
        low, high = np.minimum(self.source, self.target), np.maximum(self.source, self.target)
        pairs, weight = _joined(low * self.nodes + high, self.weight)
        return pairs // self.nodes, pairs % self.nodes, weight


def _joined(pairs: Ints, weight: Floats) -> tuple[Ints, Floats]:
    """The different pairs in order, and the sum of the weights of each."""
    different, place = np.unique(pairs, return_inverse=True)
    return different, summed(place, weight, len(different))


def density(ties: Ties) -> float | None:
    """m / (n (n - 1)): the share of all possible ties that are there (Wasserman & Faust 1994, §4.3). None for n < 2."""
    return len(ties.source) / (ties.nodes * (ties.nodes - 1)) if ties.nodes > 1 else None


def reciprocity(ties: Ties) -> float | None:
    """The share of ties whose reverse is there too (Wasserman & Faust 1994, §13.2; r of Newman 2010, §7.10)."""
    if not len(ties.source):
        return None
    there, back = ties.source * ties.nodes + ties.target, ties.target * ties.nodes + ties.source
    return float(np.isin(back, there, assume_unique=True).mean())


def degree_assortativity(ties: Ties) -> float | None:
    """Pearson's r, over all ties, of the source's out-degree and the target's in-degree.

    Newman 2003, Phys. Rev. E 67, 026126, eq. 25. None where either is everywhere the same.
    """
    if not len(ties.source):
        return None
    j, k = (np.bincount(row, minlength=ties.nodes)[row] for row in (ties.source, ties.target))
    if j.min() == j.max() or k.min() == k.max():
        return None
    x, y = j - j.mean(), k - k.mean()
    return min(1.0, max(-1.0, float(x @ y / np.sqrt((x @ x) * (y @ y)))))


def clustering(ties: Ties) -> float | None:
    """The mean over all nodes of 2 e / (k (k - 1)), where e of a node's k neighbours' pairs are tied; 0 for k < 2.

    Direction and weight don't count (Watts & Strogatz 1998, Nature 393, 440).
    """
    if not ties.nodes:
        return None
    a, b, _ = ties.undirected()
    degree = np.bincount(np.concatenate([a, b]), minlength=ties.nodes)
    pairs = degree * (degree - 1) / 2
    closed = np.divide(_triangles(ties.nodes, a, b, degree), pairs, out=np.zeros(ties.nodes), where=pairs > 0)
    return float(closed.mean())


def _triangles(nodes: int, a: Ints, b: Ints, degree: Ints) -> Ints:
    """In how many triangles each node is: by pairs of ties that lead up, in the order of degrees, from one node.

    So no node has more than √(2m) such ties (Schank & Wagner 2005, WEA, LNCS 3503, 606-609: "forward").
    """
    up = np.argsort(degree, kind="stable")
    rank = np.empty(nodes, np.int64)
    rank[up] = np.arange(nodes)
    keys = np.sort(np.minimum(rank[a], rank[b]) * nodes + np.maximum(rank[a], rank[b]))
    low, high = keys // nodes, keys % nodes
    later = np.searchsorted(low, low, side="right") - np.arange(len(low)) - 1
    before = np.concatenate([[0], np.cumsum(later)])
    found = np.zeros(nodes, np.int64)
    start = 0
    while start < len(low):
        stop = max(start + 1, int(np.searchsorted(before, before[start] + AT_ONCE, side="right")) - 1)
        first = np.repeat(np.arange(start, stop), later[start:stop])
        second = first + 1 + np.arange(len(first)) - (before[first] - before[start])
        wanted = high[first] * nodes + high[second]
        tied = keys[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)] == wanted
        for corner in (low[first[tied]], high[first[tied]], high[second[tied]]):
            found += np.bincount(corner, minlength=nodes)
        start = stop
    return found[rank]
