"""Cascades: what each post set off, as trees of replies, reposts or quotes, given by the parent of each post."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from app.analysis.arrays import Floats, Ints, ints, mean, summed

ROOT = -1
"""The parent of who has none."""


@dataclass(frozen=True, eq=False)
class Cascades:
    """One row per cascade, in the order of their roots; each has the shape (cascades,).

    `root`: the place of the first post; `size`: posts; `depth`: steps from the root to the farthest; `breadth`: posts
    on the fullest level; `virality`: structural virality in steps, NaN for a post alone.
    """

    root: Ints
    size: Ints
    depth: Ints
    breadth: Ints
    virality: Floats


def cascades(parents: ArrayLike) -> Cascades:
    """The cascades of a forest.

    Structural virality is the mean distance of all pairs of different posts, ν = 2 W / (n (n - 1)): Goel et al. 2016,
    Management Science 62(1), 180-196, eq. 1. W, the Wiener index (Wiener 1947, J. Am. Chem. Soc. 69(1), 17-20), is the
    sum over ties of s (n - s), s posts being below a tie, which makes it O(n).

    Args:
        parents: shape (posts,), the place of each post's parent, `ROOT` for none, in any order.

    Raises:
        ValueError: a parent is no post, or posts are each other's parents.
    """
    parent = ints("parents", parents, least=ROOT, below=len(np.asarray(parents)))
    depth, root = _places(parent)
    roots = np.flatnonzero(parent == ROOT)
    tree = np.searchsorted(roots, root)
    n = np.bincount(tree, minlength=len(roots))
    below = _below(parent, depth)
    within = np.where(parent == ROOT, 0, below * (n[tree] - below)).astype(np.float64)
    pairs = n * (n - 1) / 2
    virality = np.full(len(roots), np.nan)
    np.divide(summed(tree, within, len(roots)), pairs, out=virality, where=pairs > 0)
    most = np.zeros(len(roots), np.int64)
    np.maximum.at(most, tree, depth)
    return Cascades(roots, n, most, _breadth(tree, depth, len(roots)), virality)


def summary(found: Cascades) -> dict[str, float | None]:
    """What a world's cascades come to, by the catalogue's names; None where there is none (or, of virality, no pair).

    Posts that set off nothing count as cascades of one: without them a mean tells of those alone that spread.
    """
    return {
        "cascade_size": mean(found.size.astype(np.float64)),
        "cascade_largest": float(found.size.max()) if found.size.size else None,
        "cascade_depth": mean(found.depth.astype(np.float64)),
        "cascade_breadth": mean(found.breadth.astype(np.float64)),
        "structural_virality": mean(found.virality),
    }


def _places(parent: Ints) -> tuple[Ints, Ints]:
    """The depth and the root of each post, by steps of 1, 2, 4, … upwards."""
    up = np.where(parent == ROOT, np.arange(len(parent)), parent)
    depth = (parent != ROOT).astype(np.int64)
    for _ in range(len(parent).bit_length()):
        depth = depth + depth[up]
        up = up[up]
    if (lost := np.flatnonzero(parent[up] != ROOT)).size:
        raise ValueError(f"parents: item {lost[0] + 1}: leads back to itself, not to a root")
    return depth, up


def _below(parent: Ints, depth: Ints) -> Ints:
    """How many posts each has below it, with itself: children before parents."""
    below = [1] * len(parent)
    above = parent.tolist()
    for post in np.argsort(-depth, kind="stable").tolist():
        if above[post] != ROOT:
            below[above[post]] += below[post]
    return np.array(below, np.int64)


def _breadth(tree: Ints, depth: Ints, trees: int) -> Ints:
    """How many posts the fullest level of each tree has."""
    most = np.zeros(trees, np.int64)
    levels, posts = np.unique(tree * (len(tree) + 1) + depth, return_counts=True)
    np.maximum.at(most, levels // (len(tree) + 1), posts)
    return most
