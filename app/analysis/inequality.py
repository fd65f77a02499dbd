"""How unequally something is shared among people: attention received, or what each wrote.

Values are one number per person, 0 for whoever has nothing: leaving these out makes a world look more equal than it
is. What too little is there for is None.
"""

from math import ceil, log2

import numpy as np
from numpy.typing import ArrayLike

from app.analysis.arrays import Floats, floats

TOP = 0.1
"""The share of people that are the top."""


def gini(values: ArrayLike, *, corrected: bool = True) -> float | None:
    """G = Σ (2i - n - 1) xᵢ / (n Σ x), x ascending, i from 1; times n / (n - 1) where `corrected`.

    Gini 1912, as Dixon et al. 1987, Ecology 68(5), 1548-1551 have it; the correction for small samples, by which 1 is
    all in one hand whatever n is, is that of Deltas 2003, Rev. Econ. Stat. 85(1), 226-234.

    Args:
        values: shape (n,), each 0 or more; any unit.

    Returns:
        0 (all have the same) to 1; without correction to 1 - 1/n. None for n < 2, or where nobody has anything.

    Raises:
        ValueError: a value is negative or not finite.
    """
    x = np.sort(_scaled(values))
    n = len(x)
    if n < 2 or not x.any():
        return None
    found = float((2 * np.arange(1, n + 1) - n - 1) @ x / (n * x.sum()))
    return min(1.0, max(0.0, found * n / (n - 1) if corrected else found))


def entropy(values: ArrayLike) -> float | None:
    """Shannon's H = -Σ p log₂ p in bits, p = x / Σ x (Shannon 1948, Bell Syst. Tech. J. 27, 379-423).

    Args:
        values: shape (n,), each 0 or more.

    Returns:
        0 (all is one person's) to log₂ n; None where nobody has anything.

    Raises:
        ValueError: a value is negative or not finite.
    """
    x = _scaled(values)
    if not x.any():
        return None
    p = x / x.sum()
    p = p[p > 0]
    return max(0.0, float(-(p * np.log2(p)).sum()))


def evenness(values: ArrayLike) -> float | None:
    """H / log₂ n: entropy as a share of what it could be, n being all who could have had something.

    Pielou 1966, J. Theor. Biol. 13, 131-144. Arguments and errors as for `entropy`; 0 to 1, None also for n < 2.
    """
    x = _scaled(values)
    found = entropy(x)
    return None if found is None or len(x) < 2 else min(1.0, found / log2(len(x)))


def top_share(values: ArrayLike, top: float = TOP) -> float | None:
    """The share of all that the ⌈top · n⌉ people have who have most (Piketty & Saez 2003, Q. J. Econ. 118(1), 1-41).

    Args:
        values: shape (n,), each 0 or more.
        top: a share of people, above 0 to 1.

    Returns:
        About `top` (all have the same) to 1; None where nobody has anything.

    Raises:
        ValueError: a value is negative or not finite, or `top` is no share.
    """
    if not 0 < top <= 1:
        raise ValueError(f"top: must be above 0 and at most 1, not {top:g}")
    x = np.sort(_scaled(values))[::-1]
    if not x.any():
        return None
    return min(1.0, float(x[: ceil(round(top * len(x), 9))].sum() / x.sum()))


def _scaled(values: ArrayLike) -> Floats:
    """Values as shares of the largest, so that no sum overflows."""
    x = floats("values", values, least=0)
    most = float(x.max(initial=0))
    return x / most if most else x
