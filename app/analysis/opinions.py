"""What people's opinions are, as far as what they do tells: whom they endorse, by liking or reposting.

The position of a person is the mean side of the authors it endorsed, -1 or 1 each, as Bond & Messing 2015, Am. Polit.
Sci. Rev. 109(1), 62-78 place people by what they like. Which side is -1 and which 1 says nothing.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from app.analysis.adherence import side_of
from app.analysis.arrays import Floats, alike, floats, ints, summed

SIDES = {"left": -1.0, "right": 1.0}


def sides(leanings: Sequence[str | None]) -> Floats:
    """The side of each leaning, shape (people,), NaN for none that is known.

    That which it names, left (-1) or right (1); or where there are just two leanings, which name none, the first by
    the alphabet (-1) or the second.
    """
    named = {one: side for one in {*leanings} - {None} if one is not None and (side := side_of(one))}
    known = {one: SIDES[side] for one, side in named.items()}
    if not known and len(both := sorted({one for one in leanings if one})) == 2:
        known = {both[0]: -1.0, both[1]: 1.0}
    return np.array([np.nan if one is None else known.get(one, np.nan) for one in leanings], np.float64)


def positions(person: ArrayLike, author: ArrayLike, side: Floats) -> Floats:
    """The opinion of each person, -1 to 1, shape (people,); NaN for whoever endorsed nobody on a side.

    Args:
        person, author: shape (n,), who endorsed something of whom; places in `side`.
        side: shape (people,), from `sides`.

    Raises:
        ValueError: these are not such rows, or not equally long.
    """
    p, a = (ints(name, row, below=len(side)) for name, row in (("person", person), ("author", author)))
    alike(person=p, author=a)
    counts = ~np.isnan(side[a]) & (p != a)
    p, a = p[counts], a[counts]
    times = summed(p, np.ones(len(p)), len(side))
    found = np.full(len(side), np.nan)
    np.divide(summed(p, side[a], len(side)), times, out=found, where=times > 0)
    return found


def known(opinions: Floats) -> Floats:
    """Those that there are."""
    return opinions[~np.isnan(opinions)]


def opinion_mean(opinions: ArrayLike) -> float | None:
    """Σ x / n; None for none.

    Raises:
        ValueError: one is not from -1 to 1.
    """
    x = floats("opinions", opinions, least=-1, most=1)
    return float(x.mean()) if x.size else None


def opinion_drift(before: Floats, after: Floats) -> float | None:
    """Σ |after - before| / n over the n people who have both, 0 to 2; None for nobody.

    Args:
        before, after: shape (people,), NaN for who has none.
    """
    alike(before=before, after=after)
    moved = np.abs(after - before)
    moved = moved[~np.isnan(moved)]
    return float(moved.mean()) if moved.size else None
