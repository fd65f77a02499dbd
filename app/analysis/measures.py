"""Measures of a directed graph whose ties have weights, each by its formula and source.

A graph is given as the number of its nodes, 0 to n - 1, and its ties (source, target, weight), each pair at most once
and none from a node to itself. What a graph has no value for is None.
"""

from collections.abc import Iterable, Sequence
from math import sqrt

Tie = tuple[int, int, float]


def density(nodes: int, ties: Sequence[Tie]) -> float | None:
    """m / (n (n - 1)): the share of all possible ties that are there (Wasserman & Faust 1994, §4.3)."""
    return len(ties) / (nodes * (nodes - 1)) if nodes > 1 else None


def reciprocity(ties: Sequence[Tie]) -> float | None:
    """The share of ties whose reverse is there too (Wasserman & Faust 1994, §13.2; r of Newman 2010, §7.10)."""
    pairs = {(source, target) for source, target, _ in ties}
    return sum((target, source) in pairs for source, target in pairs) / len(pairs) if pairs else None


def assortativity(ties: Sequence[Tie]) -> float | None:
    """Pearson's r, over all ties, of the source's out-degree and the target's in-degree.

    r = (Σ jk / m - Σj Σk / m²) / (σj σk): Newman 2003, "Mixing patterns in networks", Phys. Rev. E 67, 026126, eq. 25
    (his excess degrees j and k are these less 1, which leaves r as it is). None where either is everywhere the same.
    """
    out, into = degrees(ties)
    pairs = [(out[source], into[target]) for source, target, _ in ties]
    m = len(pairs)
    sum_j, sum_k = sum(j for j, _ in pairs), sum(k for _, k in pairs)
    spread_j = m * sum(j * j for j, _ in pairs) - sum_j**2
    spread_k = m * sum(k * k for _, k in pairs) - sum_k**2
    if not spread_j or not spread_k:
        return None
    return (m * sum(j * k for j, k in pairs) - sum_j * sum_k) / (sqrt(spread_j) * sqrt(spread_k))


def clustering(nodes: int, ties: Sequence[Tie]) -> float | None:
    """The mean over all nodes of 2 e / (k (k - 1)), where e of a node's k neighbours' pairs are tied; 0 for k < 2.

    Direction and weight don't count (Watts & Strogatz 1998, Nature 393, 440).
    """
    near: list[set[int]] = [set() for _ in range(nodes)]
    for source, target, _ in ties:
        near[source].add(target)
        near[target].add(source)
    if not nodes:
        return None
    return sum(_closed(near, mine) for mine in near) / nodes


def _closed(near: list[set[int]], mine: set[int]) -> float:
    k = len(mine)
    return sum(len(near[other] & mine) for other in mine) / (k * (k - 1)) if k > 1 else 0.0


def modularity(group: Sequence[int], ties: Sequence[Tie]) -> float | None:
    """Q = Σ over groups of L / m - (K / 2m)²: weight of the ties within less what chance would put there.

    L is the weight within a group, K the strengths of its nodes in sum, m the weight of all ties; direction doesn't
    count (Newman & Girvan 2004, Phys. Rev. E 69, 026113; with weights: Newman 2004, Phys. Rev. E 70, 056131).
    """
    total = sum(weight for *_, weight in ties)
    if not total:
        return None
    within: dict[int, float] = {}
    strength: dict[int, float] = {}
    for source, target, weight in ties:
        strength[group[source]] = strength.get(group[source], 0) + weight
        strength[group[target]] = strength.get(group[target], 0) + weight
        if group[source] == group[target]:
            within[group[source]] = within.get(group[source], 0) + weight
    return sum(within.get(one, 0) / total - (k / (2 * total)) ** 2 for one, k in sorted(strength.items()))


def degrees(ties: Iterable[Tie]) -> tuple[dict[int, int], dict[int, int]]:
    """How many ties leave each node that has any, and how many arrive."""
    out: dict[int, int] = {}
    into: dict[int, int] = {}
    for source, target, _ in ties:
        out[source] = out.get(source, 0) + 1
        into[target] = into.get(target, 0) + 1
    return out, into
