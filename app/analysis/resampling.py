"""Chance by the design: bootstrap intervals of a difference and randomisation tests, over runs or pairs of runs.

Each is given values of which none is missing, and a seed: the same for the same values. What there is too little for is
None, never NaN.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from math import comb, isfinite, sqrt
from statistics import fmean, variance
from typing import Any, Literal

from app.analysis.intervals import AT_ONCE, RESAMPLES, Mean
from app.streams import number

Alternative = Literal["two-sided", "greater", "less"]

EXACT = 65_536
"""Assignments up to which all are looked at."""

DRAWS = 9_999
"""Assignments that are drawn where there are more."""

TOLERANCE = 1e-9
"""Relative difference up to which two statistics are tied."""


LEAST_VARIANCE = 1e-18
"""What the squared error of a difference is at least, of values up to 1: less is rounding."""


@dataclass(frozen=True)
class Randomised:
    """A randomisation test: `p` of `draws` assignments, all there are (`exact`) or drawn ones.

    `least` is the smallest p that the design can give: where it is above alpha, no outcome could have been significant.
    """

    p: float | None
    exact: bool
    draws: int
    least: float | None


NOTHING = Randomised(None, True, 0, None)


def flip_test(differences: Sequence[float], *, seed: int, alternative: Alternative = "two-sided") -> Randomised:
    """Whether the mean of paired differences is 0, by all flips of their signs, or 9,999 drawn ones.

    Within each pair it was chance which run had the treatment: Fisher 1935, The Design of Experiments, §21. Drawn ones
    have p = (b + 1) / (m + 1): Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9(1), 39.
    """
    import numpy as np

    n = len(differences)
    size = max(map(abs, differences), default=0.0)
    if not n:
        return NOTHING
    exact = n < 64 and 2**n <= EXACT
    total = 2**n if exact else DRAWS
    least = (2 if alternative == "two-sided" else 1) / 2**n if exact else 1 / (DRAWS + 1)
    if not size:
        return Randomised(1.0, exact, total, least)
    d = np.array([value / size for value in differences])
    rng = np.random.default_rng(number(seed, "flips", bits=63))
    extreme = 0
    for start, stop in _chunks(total, n):
        if exact:
            bits = np.arange(start, stop)[:, None] >> np.arange(n) & 1
        else:
            bits = rng.integers(0, 2, (stop - start, n), dtype=np.int8)
        extreme += _extreme((1.0 - 2.0 * bits) @ d, float(d.sum()), alternative, TOLERANCE * n)
    return _p(extreme, total, exact, least)


def permutation_test(
    treated: Sequence[float], control: Sequence[float], *, seed: int, alternative: Alternative = "two-sided"
) -> Randomised:
    """Whether two arms have the same mean, by all ways to assign the runs to them, or 9,999 drawn ones.

    Pitman 1937, Suppl. J. R. Stat. Soc. 4(1), 119-130; p of drawn ones as in `flip_test`. What is looked at is Welch's
    t (Janssen 1997, Stat. Probab. Lett. 36(1), 9-21), or a small arm that varies more would pass for another mean. Of
    arms as large as each other it orders assignments as the difference does.
    """
    import numpy as np

    n, k = len(treated) + len(control), len(treated)
    if not treated or not control:
        return NOTHING
    ways = comb(n, k)
    exact = ways <= EXACT
    total = ways if exact else DRAWS
    mirrored = alternative == "two-sided" and k == n - k
    least = (2 if mirrored else 1) / ways if exact else 1 / (DRAWS + 1)
    z = _scaled([*treated, *control])
    if z is None:
        return Randomised(1.0, exact, total, least)
    observed = float(_apart(z[None, :k], z)[0])
    rng = np.random.default_rng(number(seed, "permutations", bits=63))
    every = combinations(range(n), k)
    extreme = 0
    for start, stop in _chunks(total, n):
        if exact:
            places = np.array(list(islice(every, stop - start)))
        else:
            places = rng.random((stop - start, n)).argsort(axis=1)[:, :k]
        extreme += _extreme(_apart(z[places], z), observed, alternative, TOLERANCE * n * max(1.0, abs(observed)))
    return _p(extreme, total, exact, least)


def _apart(treated: Any, every: Any) -> Any:
    """Welch's t of each row of treated values against the rest of `every`; the sum where an arm is a single run."""
    import numpy as np

    total = treated.sum(axis=1)
    (k, rest), others = (treated.shape[1], len(every) - treated.shape[1]), every.sum() - total
    if min(k, rest) < 2 or k == rest:
        return total
    squares = (treated**2).sum(axis=1)
    within, without = squares - total**2 / k, (every @ every) - squares - others**2 / rest
    variance = np.maximum(within, 0) / (k * (k - 1)) + np.maximum(without, 0) / (rest * (rest - 1))
    apart = total / k - others / rest
    return apart / np.sqrt(np.maximum(variance, LEAST_VARIANCE))


def overall_test(arms: Sequence[Sequence[float]], *, paired: bool, seed: int) -> Randomised:
    """Whether any of three or more arms differs, by Σ nⱼ (x̄ⱼ - x̄)² of 9,999 drawn assignments.

    `paired`: the i-th value of each arm is of the same block, and chance is which of a block's runs had which arm;
    else which of all runs (Edgington & Onghena 2007, Randomization Tests, 4th ed., ch. 4 and 6).
    """
    import numpy as np

    sizes = [len(arm) for arm in arms]
    if len(arms) < 2 or not min(sizes):
        return NOTHING
    least = 1 / (DRAWS + 1)
    z = _scaled([value for arm in arms for value in arm])
    if z is None:
        return Randomised(1.0, False, DRAWS, least)
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    rng = np.random.default_rng(number(seed, "overall", bits=63))

    def between(rows: Any) -> Any:
        return (np.add.reduceat(rows, starts, axis=1) ** 2 / sizes).sum(axis=1)

    observed = float(between(z[None, :])[0])
    extreme = 0
    for start, stop in _chunks(DRAWS, len(z)):
        if paired:
            blocks = np.broadcast_to(z.reshape(len(arms), -1).T, (stop - start, sizes[0], len(arms)))
            rows = rng.permuted(blocks, axis=2).transpose(0, 2, 1).reshape(stop - start, -1)
        else:
            rows = rng.permuted(np.broadcast_to(z, (stop - start, len(z))), axis=1)
        extreme += _extreme(between(rows), observed, "greater", TOLERANCE * len(z))
    return _p(extreme, DRAWS, False, least)


def bootstrap_difference(treated: Sequence[float], control: Sequence[float], level: float, seed: int) -> Mean:
    """The difference of two means with its bias-corrected and accelerated interval, each arm drawn for itself.

    Efron 1987, as in `bootstrap_mean`. None for its ends where an arm has fewer than 2 runs or both don't vary.
    """
    if not treated or not control:
        return Mean(None, None, None, "bca")
    middle = fmean(treated) - fmean(control)
    size = max(abs(value - fmean(arm)) for arm in (treated, control) for value in arm)
    varies = any(min(arm) < max(arm) for arm in (treated, control))
    if min(len(treated), len(control)) < 2 or not size or not varies:
        return Mean(middle, None, None, "bca")
    import numpy as np
    from scipy.stats import bootstrap

    found = bootstrap(
        tuple(np.array([(value - fmean(arm)) / size for value in arm]) for arm in (treated, control)),
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
        n_resamples=RESAMPLES,
        batch=max(1, AT_ONCE // max(len(treated), len(control))),
        confidence_level=level,
        vectorized=True,
        rng=np.random.default_rng(number(seed, "bootstrap", bits=63)),
    ).confidence_interval
    low, high = middle + size * float(found.low), middle + size * float(found.high)
    return Mean(middle, low if isfinite(low) else None, high if isfinite(high) else None, "bca")


def welch(treated: Sequence[float], control: Sequence[float]) -> tuple[float, float] | None:
    """The standard error of a difference of means and its degrees of freedom; None where there is no spread to tell.

    Welch 1947, Biometrika 34(1/2), 28-35; Satterthwaite 1946, Biometrics Bulletin 2(6), 110-114.
    """
    if min(len(treated), len(control)) < 2:
        return None
    a, b = (variance(arm) / len(arm) for arm in (treated, control))
    if not a + b:
        return None
    p, q = a / (a + b), b / (a + b)
    return sqrt(a + b), 1 / (p * p / (len(treated) - 1) + q * q / (len(control) - 1))


def welch_difference(treated: Sequence[float], control: Sequence[float], level: float) -> Mean:
    """The difference of two means with Welch's interval."""
    if not treated or not control:
        return Mean(None, None, None, "t")
    middle = fmean(treated) - fmean(control)
    if (spread := welch(treated, control)) is None:
        return Mean(middle, None, None, "t")
    from scipy.special import stdtrit

    half = float(stdtrit(spread[1], (1 + level) / 2)) * spread[0]
    return Mean(middle, middle - half, middle + half, "t")


def _scaled(values: Sequence[float]) -> Any:
    """The values less their mean, the farthest at ±1; None where all are equal."""
    import numpy as np

    middle = fmean(values)
    size = max(abs(value - middle) for value in values)
    if min(values) == max(values) or not size:
        return None
    return np.array([(value - middle) / size for value in values])


def _chunks(total: int, n: int) -> Iterator[tuple[int, int]]:
    step = max(1, AT_ONCE // n)
    starts: Iterable[int] = range(0, total, step)
    return ((start, min(total, start + step)) for start in starts)


def _extreme(statistics: Any, observed: float, alternative: Alternative, tolerance: float) -> int:
    if alternative == "two-sided":
        statistics, observed = abs(statistics), abs(observed)
    elif alternative == "less":
        statistics, observed = -statistics, -observed
    return int((statistics >= observed - tolerance).sum())


def _p(extreme: int, total: int, exact: bool, least: float) -> Randomised:
    return Randomised(extreme / total if exact else (extreme + 1) / (total + 1), exact, total, least)
