"""How far opinions and ties are apart: spread, two peaks, groups, and whether ties keep within them.

Opinions are one number per person, from -1 to 1 unless told otherwise. Groups (leanings, communities) are one whole
number per person, -1 for who has none that is known; ties of these don't count. What has no value is None.
"""

import numpy as np
from numpy.typing import ArrayLike

from app.analysis.arrays import Floats, Ints, floats, ints, summed
from app.analysis.exposure import UNKNOWN
from app.analysis.networks import Ties

POINTS = 7
"""Points of the scale that opinions are put on, where groups are those of equal opinion."""

ALPHA, ALPHA_MOST = 1.0, 1.6


def variance(opinions: ArrayLike) -> float | None:
    """Σ (x - x̄)² / n: dispersion (DiMaggio, Evans & Bryson 1996, Am. J. Sociol. 102(3), 690-755).

    Args:
        opinions: shape (n,). They are all people of a world, no sample, hence / n.

    Returns:
        0 on, in the unit of opinions squared; at most 1 for opinions from -1 to 1. None for none.

    Raises:
        ValueError: one is not finite.
    """
    x = floats("opinions", opinions)
    return float(x.var()) if x.size else None


def bimodality(opinions: ArrayLike) -> float | None:
    """BC = (g² + 1) / (k + 3 (n - 1)² / ((n - 2)(n - 3))), g and k being skewness and excess kurtosis of the sample.

    g = n / ((n - 1)(n - 2)) Σ z³ and k = n (n + 1) / ((n - 1)(n - 2)(n - 3)) Σ z⁴ - 3 (n - 1)² / ((n - 2)(n - 3)) with
    z = (x - x̄) / s, s by n - 1: SAS/STAT, PROC CLUSTER, as Pfister et al. 2013, Front. Psychol. 4, 700 have it. Above
    5/9, what a uniform distribution has, two peaks are likely; a heavy skew brings that about too.

    Args:
        opinions: shape (n,).

    Returns:
        0 to 1 (two points and many people; two halves of 4, 20, 100 people have 0.13, 0.77, 0.95). None for n < 4, or
        where all are the same.

    Raises:
        ValueError: one is not finite.
    """
    x = floats("opinions", opinions)
    n = len(x)
    if n < 4 or x.min() == x.max():
        return None
    x = x / np.abs(x).max()
    z = x - x.mean()
    square = z @ z / n
    if not square or np.ptp(x) < 1e-12:
        return None
    z = z / np.sqrt(square)
    skew, tail = float((z**3).mean()), float((z**4).mean())
    g = skew * np.sqrt(n * (n - 1)) / (n - 2)
    whole = (n - 1) * (n + 1) / ((n - 2) * (n - 3)) * tail
    return min(1.0, float((g * g + 1) / whole))


def on_points(opinions: ArrayLike, *, low: float = -1, high: float = 1, points: int = POINTS) -> tuple[Floats, Floats]:
    """How many people are nearest to each of `points` equally spaced places from `low` to `high`: (counts, places).

    Both have the shape (points,); who is halfway goes up.

    Raises:
        ValueError: an opinion is not from `low` to `high`, or there are fewer than 2 points.
    """
    if points < 2 or not low < high:
        raise ValueError("points: must be 2 or more, from a low to a higher end")
    x = floats("opinions", opinions, least=low, most=high)
    at = np.floor((x - low) / (high - low) * (points - 1) + 0.5).astype(np.int64)
    return np.bincount(at, minlength=points).astype(np.float64), np.linspace(low, high, points)


def esteban_ray(masses: ArrayLike, places: ArrayLike, *, width: float = 2.0, alpha: float = ALPHA) -> float | None:
    """P = K Σᵢ Σⱼ πᵢ^(1 + α) πⱼ |yᵢ - yⱼ|, π the share of each group and y its opinion, K = 2^(1 + α) / width.

    Esteban & Ray 1994, Econometrica 62(4), 819-851, eq. 3. By this K it is 1 for two halves `width` apart.

    Args:
        masses: shape (g,), people in each group, 0 or more (`on_points` makes them).
        places: shape (g,), the opinion of each group, within a range of `width`.
        alpha: how much people feel with their own, above 0 to 1.6; towards 0 it is an inequality alone.

    Returns:
        0 (all think the same) to 1; None where there is nobody.

    Raises:
        ValueError: these are not such rows, or alpha or the width is out of its limits.
    """
    if not 0 < alpha <= ALPHA_MOST:
        raise ValueError(f"alpha: must be above 0 and at most {ALPHA_MOST}, not {alpha:g}")
    mass, y = floats("masses", masses, least=0), floats("places", places)
    if len(mass) != len(y):
        raise ValueError(f"masses and places must be equally long, not {len(mass)} and {len(y)}")
    if not mass.any():
        return None
    if not np.ptp(y) <= width * (1 + 1e-12) or width <= 0:
        raise ValueError(f"places: must be within a width of {width:g}, not {np.ptp(y):g}")
    different, where = np.unique(y, return_inverse=True)
    share = summed(where, mass / mass.max(), len(different))
    share /= share.sum()
    return min(1.0, 2 ** (1 + alpha) / width * _apart(share ** (1 + alpha), share, different))


def _apart(a: Floats, b: Floats, y: Floats) -> float:
    """Σᵢ Σⱼ aᵢ bⱼ |yᵢ - yⱼ| for y ascending, by sums of what lies on either side of each gap."""
    left_a, left_b = np.cumsum(a)[:-1], np.cumsum(b)[:-1]
    return float(np.diff(y) @ (left_a * (b.sum() - left_b) + left_b * (a.sum() - left_a)))


def ei_index(groups: ArrayLike, ties: Ties) -> float | None:
    """(E - I) / (E + I), E the weight of ties between groups and I of those within them.

    Krackhardt & Stern 1988, Soc. Psychol. Q. 51(2), 123-140.

    Args:
        groups: shape (nodes,).

    Returns:
        -1 (all within) to 1 (all between); None where no tie has two known ends.

    Raises:
        ValueError: there is not one group for each node.
    """
    a, b, weight = _ends(groups, ties)
    whole = weight.sum()
    if not whole:
        return None
    return min(1.0, max(-1.0, float((weight[a != b].sum() - weight[a == b].sum()) / whole)))


def group_assortativity(groups: ArrayLike, ties: Ties) -> float | None:
    """r = (Σ eᵢᵢ - Σ aᵢ bᵢ) / (1 - Σ aᵢ bᵢ), eᵢⱼ the share of ties' weight from group i to j, a and b its sums.

    Newman 2003, Phys. Rev. E 67, 026126, eq. 2. Arguments and errors as for `ei_index`.

    Returns:
        -1 to 1 (all within); 0 is by chance. None where no tie has two known ends, or all ends are of one group.
    """
    a, b, weight = _ends(groups, ties)
    whole = weight.sum()
    if not whole:
        return None
    kinds = int(max(a.max(), b.max())) + 1
    by_chance = float(summed(a, weight, kinds) @ summed(b, weight, kinds) / whole**2)
    if np.unique(np.concatenate([a, b])).size < 2:
        return None
    same = float(weight[a == b].sum() / whole)
    return min(1.0, max(-1.0, (same - by_chance) / (1 - by_chance)))


def modularity(groups: ArrayLike, ties: Ties) -> float | None:
    """Q = Σ over groups of L / m - (K / 2m)²: weight of the ties within less what chance would put there.

    L is the weight within a group, K the strengths of its nodes in sum, m the weight of all ties; direction doesn't
    count (Newman & Girvan 2004, Phys. Rev. E 69, 026113; with weights: Newman 2004, Phys. Rev. E 70, 056131). Groups
    are leanings, or `communities.communities` of a seed. Arguments and errors as for `ei_index`.

    Returns:
        -1/2 to 1; None where no tie has two known ends.
    """
    a, b, weight = _ends(groups, ties)
    whole = weight.sum()
    if not whole:
        return None
    kinds = int(max(a.max(), b.max())) + 1
    strength = summed(a, weight, kinds) + summed(b, weight, kinds)
    return float(weight[a == b].sum() / whole - ((strength / (2 * whole)) ** 2).sum())


def _ends(groups: ArrayLike, ties: Ties) -> tuple[Ints, Ints, Floats]:
    """(group of the source, of the target, weight) of the ties whose two ends have known groups, numbered from 0."""
    group = ints("groups", groups, least=UNKNOWN)
    if len(group) != ties.nodes:
        raise ValueError(f"groups: must be one for each of {ties.nodes} nodes, not {len(group)}")
    _, short = np.unique(np.append(group, UNKNOWN), return_inverse=True)
    short = short[:-1] - 1
    a, b = short[ties.source], short[ties.target]
    known = (a >= 0) & (b >= 0)
    return a[known], b[known], ties.weight[known]
