"""Arms of an experiment compared by an outcome. The unit is the run: n counts runs, never posts or personas.

Arms are paired by seed: runs of the same seed share all chance but the treatment, and their difference is the datum. A
run without a value is missing and counted; with it goes its pair. All figures are JSON as they are: none is NaN.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, isfinite, lgamma, log, sqrt
from statistics import fmean, median, stdev, variance
from typing import Any, Literal, TypeAlias

import msgspec

from app.analysis.intervals import Mean, bootstrap_mean, t_mean
from app.analysis.resampling import (
    Randomised,
    bootstrap_difference,
    flip_test,
    overall_test,
    permutation_test,
    welch,
    welch_difference,
)

Outcome: TypeAlias = Mapping[str, Sequence[float | None]]
Seeds: TypeAlias = Sequence[int] | Mapping[str, Sequence[int]]

LARGEST = 1e100
"""What a value may come to; the squares of larger ones are no numbers any more."""

BOOTSTRAP_FROM = 20
"""Runs from which the bootstrap's interval is shown: of fewer it is too narrow (docs/statistics.md)."""


@dataclass(frozen=True)
class Arm:
    """The runs of an arm: `n` of `planned` have a value, `mean` with its interval over them, in the outcome's unit.

    The interval is Student's for fewer than `BOOTSTRAP_FROM` runs, else the bootstrap's.
    """

    name: str
    planned: int
    n: int
    missing: int
    mean: Mean
    sd: float | None
    median: float | None


@dataclass(frozen=True)
class Contrast:
    """An arm less the control, over `n` and `n_control` runs (as many as pairs); `dropped` runs had no partner.

    `difference` has the bootstrap's interval, `t` Student's (paired) or Welch's; `shown` is the method of the one to
    show. `hedges_g` is in pooled standard deviations of runs, `d_z` in those of the pairs' differences, `cliffs_delta`
    from -1 to 1.
    """

    arm: str
    control: str
    n: int
    n_control: int
    dropped: int
    difference: Mean
    t: Mean
    shown: Literal["t", "bca"]
    test: Randomised
    hedges_g: float | None
    cliffs_delta: float | None
    d_z: float | None


@dataclass(frozen=True)
class Comparison:
    """All arms, each compared with the control, and whether any differs where there are more than two (`overall`)."""

    paired: bool
    level: float
    control: str
    arms: tuple[Arm, ...]
    contrasts: tuple[Contrast, ...]
    overall: Randomised | None


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests: is the difference above `margin_low` and below `margin_high`?

    `p` is the larger of both; `low` to `high` is the interval of level 1 - 2 alpha, which lies within the margins where
    `equivalent`. `p_randomised` needs no normal runs; where the runs don't vary it decides alone (`method`).
    """

    arm: str
    control: str
    n: int
    n_control: int
    margin_low: float
    margin_high: float
    difference: float | None
    low: float | None
    high: float | None
    p_low: float | None
    p_high: float | None
    p: float | None
    p_randomised: float | None
    method: str
    equivalent: bool | None


def data(result: Any) -> dict[str, Any]:
    """A result as JSON has it."""
    plain: dict[str, Any] = msgspec.to_builtins(result)
    return plain


def compare(
    outcome: Outcome,
    *,
    seeds: Seeds,
    seed: int,
    paired: bool = True,
    level: float = 0.95,
    control: str | None = None,
) -> Comparison:
    """Compare arms by an outcome.

    Args:
        outcome: A value for each planned run of each arm; None where the run has none.
        seeds: The seed of each run: of all arms in the same order, or by arm.
        seed: What the bootstrap and the tests draw from.
        paired: Runs of the same seed are compared; else each arm is a sample of its own.
        level: Of all intervals.
        control: The arm that others are compared with; without it the first.

    Raises:
        ValueError: Fewer than two arms, an unknown control, as many values as seeds are not there, a seed twice where
            runs are paired, a value that is no finite number, a level that is not between 0 and 1.
    """
    table, control = checked(outcome, seeds, paired, control)
    if not 0 < level < 1:
        raise ValueError(f"level: must be between 0 and 1, not {level}")
    contrasts = tuple(_contrast(table, arm, control, paired, level, seed) for arm in table if arm != control)
    return Comparison(
        paired,
        level,
        control,
        tuple(arm_of(arm, [value for _, value in runs], level, seed) for arm, runs in table.items()),
        contrasts,
        _overall(table, paired, seed) if len(table) > 2 else None,
    )


def equivalence(
    outcome: Outcome,
    *,
    seeds: Seeds,
    margin: float | tuple[float, float],
    seed: int,
    paired: bool = True,
    alpha: float = 0.05,
    control: str | None = None,
) -> tuple[Equivalence, ...]:
    """Whether each arm is the control's equal but for less than a margin, fixed beforehand, in the outcome's unit.

    Schuirmann 1987, J. Pharmacokinet. Biopharm. 15(6), 657-680, by Student's t of the pairs, or Welch's.

    Raises:
        ValueError: As `compare`; a margin that does not hold 0 within it; an alpha that is not between 0 and 0.5.
    """
    table, control = checked(outcome, seeds, paired, control)
    low, high = margin if isinstance(margin, tuple) else (-margin, margin)
    if not (-LARGEST <= low < 0 < high <= LARGEST):
        raise ValueError(f"margin: must lie around 0, not {low} to {high}")
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha: must be between 0 and 0.5, not {alpha}")
    others = [arm for arm in table if arm != control]
    return tuple(_equivalence(table, arm, control, (low, high), paired, alpha, seed) for arm in others)


def hedges_g(treated: Sequence[float], control: Sequence[float]) -> float | None:
    """J (x̄₁ - x̄₂) / s, s pooled, J = Γ(m/2) / (√(m/2) Γ((m - 1)/2)) with m = n₁ + n₂ - 2.

    Hedges 1981, J. Educ. Stat. 6(2), 107-128. None where m < 2 or the runs don't vary.
    """
    m = len(treated) + len(control) - 2
    if m < 2 or min(len(treated), len(control)) < 1:
        return None
    squares = sum((len(arm) - 1) * variance(arm) for arm in (treated, control) if len(arm) > 1)
    if not squares:
        return None
    correction = exp(lgamma(m / 2) - log(m / 2) / 2 - lgamma((m - 1) / 2))
    return _finite(correction * (fmean(treated) - fmean(control)) / sqrt(squares / m))


def cliffs_delta(treated: Sequence[float], control: Sequence[float]) -> float | None:
    """(pairs where the treated is higher - pairs where it is lower) / all pairs (Cliff 1993, Psychol. Bull. 114(3))."""
    if not treated or not control:
        return None
    order = sorted(control)
    ahead = sum(bisect_left(order, value) - (len(order) - bisect_right(order, value)) for value in treated)
    return ahead / (len(treated) * len(control))


def d_z(differences: Sequence[float]) -> float | None:
    """The mean of paired differences by their standard deviation (Cohen 1988, Statistical Power Analysis, §2.3.5)."""
    if len(differences) < 2 or not (sd := stdev(differences)):
        return None
    return _finite(fmean(differences) / sd)


Table: TypeAlias = dict[str, list[tuple[int, float | None]]]


def checked(outcome: Outcome, seeds: Seeds, paired: bool, control: str | None) -> tuple[Table, str]:
    """Each arm's runs as (seed, value), and the control; raises what `compare` says."""
    if len(outcome) < 2:
        raise ValueError("outcome: there must be two arms or more")
    control = next(iter(outcome)) if control is None else control
    if control not in outcome:
        raise ValueError(f"control: there is no arm {control!r}; there are {', '.join(outcome)}")
    table: Table = {}
    for arm, values in outcome.items():
        own = seeds.get(arm, ()) if isinstance(seeds, Mapping) else seeds
        if len(own) != len(values):
            raise ValueError(f"{arm}: {len(values)} values for {len(own)} seeds")
        if paired and len(set(own)) < len(own):
            raise ValueError(f"{arm}: a seed stands there twice: paired runs need one each")
        for place, value in enumerate(values, 1):
            if value is not None and not (isfinite(value) and abs(value) <= LARGEST):
                raise ValueError(f"{arm}: run {place}: must be a finite number or None, not {value}")
        table[arm] = list(zip(own, values, strict=True))
    return table, control


def samples(table: Table, arms: Sequence[str], paired: bool) -> list[list[float]]:
    """The values of arms that count: all there are, or in the same order those of seeds that every arm has."""
    there = [{run: value for run, value in table[arm] if value is not None} for arm in arms]
    if not paired:
        return [[value for _, value in table[arm] if value is not None] for arm in arms]
    common = [run for run in there[0] if all(run in other for other in there)]
    return [[one[run] for run in common] for one in there]


def known_to(interval: Mean, half_width: float) -> bool:
    """Whether there is an interval that reaches no further than that to either side."""
    if interval.low is None or interval.high is None:
        return False
    return (interval.high - interval.low) / 2 <= half_width


def arm_of(name: str, values: Sequence[float | None], level: float, seed: int) -> Arm:
    """An arm by itself, from a value for each planned run of it."""
    given = [float(value) for value in values if value is not None]
    return Arm(
        name,
        len(values),
        len(given),
        len(values) - len(given),
        bootstrap_mean(given, level, seed) if len(given) >= BOOTSTRAP_FROM else t_mean(given, level),
        stdev(given) if len(given) > 1 else None,
        median(given) if given else None,
    )


def _contrast(table: Table, arm: str, control: str, paired: bool, level: float, seed: int) -> Contrast:
    treated, other = samples(table, (arm, control), paired)
    if paired:
        apart = [x - y for x, y in zip(treated, other, strict=True)]
        difference, t, test = bootstrap_mean(apart, level, seed), t_mean(apart, level), flip_test(apart, seed=seed)
    else:
        apart = []
        difference = bootstrap_difference(treated, other, level, seed)
        t, test = welch_difference(treated, other, level), permutation_test(treated, other, seed=seed)
    there = sum(value is not None for one in (arm, control) for _, value in table[one])
    return Contrast(
        arm,
        control,
        len(treated),
        len(other),
        there - len(treated) - len(other),
        difference,
        t,
        "bca" if min(len(treated), len(other)) >= BOOTSTRAP_FROM else "t",
        test,
        hedges_g(treated, other),
        cliffs_delta(treated, other),
        d_z(apart),
    )


def _overall(table: Table, paired: bool, seed: int) -> Randomised:
    return overall_test(samples(table, list(table), paired), paired=paired, seed=seed)


def _equivalence(
    table: Table, arm: str, control: str, margin: tuple[float, float], paired: bool, alpha: float, seed: int
) -> Equivalence:
    treated, other = samples(table, (arm, control), paired)
    sides = _sides(treated, other, margin, paired, alpha)
    randomised = _randomised_sides(treated, other, margin, paired, seed)
    difference = fmean(treated) - fmean(other) if treated and other else None
    low, high, p_low, p_high = sides or (None, None, *randomised)
    p = None if p_low is None or p_high is None else max(p_low, p_high)
    both = None if randomised[0] is None or randomised[1] is None else max(randomised[0], randomised[1])
    return Equivalence(
        arm,
        control,
        len(treated),
        len(other),
        *margin,
        difference,
        low,
        high,
        p_low,
        p_high,
        p,
        both,
        "t" if sides else "randomised",
        None if p is None else p <= alpha,
    )


def _sides(
    treated: Sequence[float], other: Sequence[float], margin: tuple[float, float], paired: bool, alpha: float
) -> tuple[float, float, float, float] | None:
    """The interval of level 1 - 2 alpha and both p by Student's t; None where the runs don't vary."""
    from scipy.special import stdtr, stdtrit

    if paired:
        apart = [x - y for x, y in zip(treated, other, strict=True)]
        error = stdev(apart) / sqrt(len(apart)) if len(apart) > 1 else 0.0
        spread = (error, len(apart) - 1.0) if error else None
    else:
        spread = welch(treated, other)
    if spread is None:
        return None
    (error, df), middle = spread, fmean(treated) - fmean(other)
    half = float(stdtrit(df, 1 - alpha)) * error
    p_low, p_high = float(stdtr(df, (margin[0] - middle) / error)), float(stdtr(df, (middle - margin[1]) / error))
    return middle - half, middle + half, p_low, p_high


def _randomised_sides(
    treated: Sequence[float], other: Sequence[float], margin: tuple[float, float], paired: bool, seed: int
) -> tuple[float | None, float | None]:
    """The same by randomisation: of the treated runs less the margin, are they still higher, or lower?"""
    low, high = ([value - end for value in treated] for end in margin)
    if paired:
        above = flip_test([x - y for x, y in zip(low, other, strict=True)], seed=seed, alternative="greater")
        below = flip_test([x - y for x, y in zip(high, other, strict=True)], seed=seed, alternative="less")
    else:
        above = permutation_test(low, other, seed=seed, alternative="greater")
        below = permutation_test(high, other, seed=seed, alternative="less")
    return above.p, below.p


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
