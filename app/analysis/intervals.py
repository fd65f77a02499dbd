"""Intervals of shares and means. What too little is there for is None, never NaN."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from statistics import NormalDist, fmean, stdev

from app.streams import number

RESAMPLES = 4_000
AT_ONCE = 1_000_000
"""Numbers that are drawn at once."""


@dataclass(frozen=True)
class Share:
    """How many of `n` had this, as a share from 0 to 1 with its Wilson interval."""

    label: str
    count: int
    n: int
    share: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Mean:
    """A mean with its interval, in the unit of the values; `method` is `t` or `bca`."""

    value: float | None
    low: float | None
    high: float | None
    method: str


def share(label: str, count: int, n: int, level: float = 0.95) -> Share:
    """A share with its interval: (p + z²/2n ± z √(p(1 - p)/n + z²/4n²)) / (1 + z²/n).

    Wilson 1927, J. Am. Stat. Assoc. 22(158), 209-212; without a correction for continuity, as Brown, Cai & DasGupta
    2001, Statistical Science 16(2), have it for small n.
    """
    if not n:
        return Share(label, count, n, None, None, None)
    z, p = NormalDist().inv_cdf((1 + level) / 2), count / n
    middle, half = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    whole = 1 + z * z / n
    low = 0.0 if count == 0 else max(0.0, (middle - half) / whole)
    return Share(label, count, n, p, low, 1.0 if count == n else min(1.0, (middle + half) / whole))


def t_mean(values: Sequence[float], level: float = 0.95) -> Mean:
    """A mean with Student's interval, x̄ ± t(n - 1) s / √n. None for its ends where n < 2 or all values are equal."""
    if not values:
        return Mean(None, None, None, "t")
    middle = fmean(values)
    if not _spread(values):
        return Mean(middle, None, None, "t")
    from scipy.special import stdtrit  # 0.1 s, which the command line need not wait for

    half = float(stdtrit(len(values) - 1, (1 + level) / 2)) * stdev(values) / sqrt(len(values))
    return Mean(middle, middle - half, middle + half, "t")


def bootstrap_mean(values: Sequence[float], level: float = 0.95, seed: int = 0) -> Mean:
    """A mean with its bias-corrected and accelerated bootstrap interval, of a seed: the same for the same values.

    Efron 1987, "Better bootstrap confidence intervals", J. Am. Stat. Assoc. 82(397), 171-185. None for its ends where
    n < 2 or all values are equal: what was not seen to vary can't be drawn again.
    """
    if not values:
        return Mean(None, None, None, "bca")
    middle = fmean(values)
    if not _spread(values):
        return Mean(middle, None, None, "bca")
    import numpy as np
    from scipy.stats import bootstrap

    size = max(abs(value - middle) for value in values)
    if not size:  # they differ by less than the mean can tell
        return Mean(middle, None, None, "bca")
    found = bootstrap(
        (np.array([(value - middle) / size for value in values]),),  # centred, so that rounding makes no NaN
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, AT_ONCE // len(values)),
        confidence_level=level,
        rng=np.random.default_rng(number(seed, "bootstrap", bits=63)),
    ).confidence_interval
    low, high = middle + size * float(found.low), middle + size * float(found.high)
    return Mean(middle, low if isfinite(low) else None, high if isfinite(high) else None, "bca")


def _spread(values: Sequence[float]) -> bool:
    return len(values) > 1 and min(values) < max(values)
