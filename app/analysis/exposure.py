"""What people are shown: of how many, how evenly, and how much of it comes from the other side.

An exposure is (viewer, author, weight): who was shown something of whom, and how much that counts (1, or a chance of
being seen). What one is shown of oneself does not count. People are whole numbers from 0 on.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from app.analysis.arrays import Floats, Ints, alike, ints, mean, summed, weights

UNKNOWN = -1
"""The leaning of who has none that is known."""


def exposure_entropy(viewer: ArrayLike, author: ArrayLike, weight: ArrayLike | None = None) -> float | None:
    """The mean over viewers of H = -Σ p log₂ p in bits, p an author's share of what the viewer was shown.

    Shannon 1948, Bell Syst. Tech. J. 27, 379-423.

    Args:
        viewer, author: shape (n,), whole numbers.
        weight: shape (n,), each 0 or more; all 1 for None.

    Returns:
        0 (each viewer sees one author) on; None where nobody was shown anything of others.

    Raises:
        ValueError: these are not such rows, or not equally long.
    """
    return mean(_entropies(*_others(viewer, author, weight)))


def effective_authors(viewer: ArrayLike, author: ArrayLike, weight: ArrayLike | None = None) -> float | None:
    """The mean over viewers of 2^H: how many authors, all seen alike, would make the entropy of what was seen.

    The Hill number of order 1 (Hill 1973, Ecology 54(2), 427-432; Jost 2006, Oikos 113(2), 363-375). Arguments, errors
    and None as for `exposure_entropy`; 1 on.
    """
    return mean(np.exp2(_entropies(*_others(viewer, author, weight))))


def leaning_entropy(
    viewer: ArrayLike, author: ArrayLike, leaning: ArrayLike, weight: ArrayLike | None = None
) -> float | None:
    """The mean over viewers of -Σ p log₂ p in bits, p a leaning's share of what the viewer was shown.

    Shannon 1948. Authors without a known leaning don't count.

    Args:
        viewer, author: shape (n,), places in `leaning`.
        leaning: shape (people,), a number for each leaning, `UNKNOWN` for none.
        weight: shape (n,), each 0 or more; all 1 for None.

    Returns:
        0 (each viewer sees one leaning) to log₂ of their number; None where nobody was shown a known one.

    Raises:
        ValueError: these are not such rows, or not equally long.
    """
    v, a, w, side = _sided(viewer, author, leaning, weight)
    known = side[a] != UNKNOWN
    return mean(_entropies(v[known], side[a][known], w[known]))


def cross_cutting_share(
    viewer: ArrayLike, author: ArrayLike, leaning: ArrayLike, weight: ArrayLike | None = None
) -> float | None:
    """The mean over viewers of the share of what they were shown that comes from authors of another leaning.

    Σ w [leaning differs] / Σ w for each viewer, over authors with a leaning, for viewers with one: as the exposure to
    cross-cutting content of Bakshy, Messing & Adamic 2015, Science 348(6239), 1130-1132, who have two leanings and go
    by the content's where here the author's stands for it. Arguments, errors and None as for `leaning_entropy`; 0 to 1.
    """
    v, a, w, side = _sided(viewer, author, leaning, weight)
    known = (side[a] != UNKNOWN) & (side[v] != UNKNOWN)
    v, a, w = v[known], a[known], w[known]
    whole = summed(v, w, len(side))
    other = summed(v, w * (side[a] != side[v]), len(side))
    shown = whole > 0
    return mean(np.clip(other[shown] / whole[shown], 0, 1))


def _others(
    viewer: ArrayLike, author: ArrayLike, weight: ArrayLike | None, people: int = 2**62
) -> tuple[Ints, Ints, Floats]:
    v, a = ints("viewer", viewer, below=people), ints("author", author, below=people)
    alike(viewer=v, author=a)
    w = weights(weight, len(v))
    counts = (v != a) & (w > 0)
    return v[counts], a[counts], w[counts]


def _sided(
    viewer: ArrayLike, author: ArrayLike, leaning: ArrayLike, weight: ArrayLike | None
) -> tuple[Ints, Ints, Floats, Ints]:
    side = ints("leaning", leaning, least=UNKNOWN)
    return *_others(viewer, author, weight, len(side)), side


def _entropies(viewer: Ints, shown: Ints, weight: Floats) -> Floats:
    """By viewer, the entropy in bits of what it was shown: log₂ W - Σ w log₂ w / W."""
    if not len(viewer):
        return np.empty(0)
    order = np.lexsort((shown, viewer))
    v, s = viewer[order], shown[order]
    of_next = v[1:] != v[:-1]
    viewers, pairs = (_starts(one) for one in (of_next, of_next | (s[1:] != s[:-1])))
    by_pair = np.add.reduceat(weight[order] / weight.max(), pairs)
    of = np.searchsorted(viewers, pairs, side="right") - 1
    share = by_pair / summed(of, by_pair, len(viewers))[of]
    terms = np.zeros_like(share)
    np.log2(share, out=terms, where=share > 0)
    return np.maximum(0, summed(of, -share * terms, len(viewers)))


def _starts(differs: NDArray[np.bool_]) -> Ints:
    """Where something new begins, from whether each but the first differs from the one before."""
    return np.flatnonzero(np.concatenate([[True], differs]))
