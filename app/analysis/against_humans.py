"""Simulated values against those of people: distances, spread, sub-groups, correction, and a stamp by rule.

Simulated values come by run, because runs are the unit of chance; people each for themselves. What is above zero by
sampling alone stands beside each distance (`chance`), so that noise is not taken for a difference.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite, sqrt
from statistics import NormalDist
from typing import Any, Literal, TypeAlias

from app.analysis.comparing import LARGEST
from app.analysis.intervals import Mean, bootstrap_mean
from app.analysis.words import divergence
from app.streams import number

Runs: TypeAlias = Sequence[Sequence[float | None]]
_Statistic: TypeAlias = Callable[[Any, Any], float | None]

RESAMPLES = 2_000
CHANCES, SAMPLE_MOST = 200, 10_000
"""Samples of the people themselves that tell what distance is chance, and how large they get."""

CATEGORIES_MOST = 12
"""Different values up to which each is a category; more are put into tenths of the people's distribution."""

RUNS_LEAST, PEOPLE_LEAST, GROUP_LEAST = 10, 30, 10
MEAN_MOST, GROUP_MOST = 0.2, 0.5
"""Human standard deviations within which the mean has to lie, and each sub-group's."""

VARIANCE_LEAST, VARIANCE_MOST = 0.5, 2.0
VARIATION_MOST = 0.1
"""Total variation beyond chance, at most."""


@dataclass(frozen=True)
class Distance:
    """A distance of the pooled values, its mean over runs (each against the people), and what chance comes to.

    `chance` is the mean distance of two samples of the people themselves, as large as both sides are.
    """

    name: str
    value: float | None
    by_run: Mean
    chance: float | None


@dataclass(frozen=True)
class Interval:
    """A value with a percentile bootstrap interval over runs and people."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Group:
    """A sub-group: its simulated mean less the people's, in human standard deviations of all people."""

    name: str
    n: int
    n_human: int
    error: Interval


@dataclass(frozen=True)
class Stamp:
    """`calibrated`, or `exploratory` with each reason why not."""

    stamp: Literal["exploratory", "calibrated"]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Agreement:
    """How `n` values of `runs` runs agree with those of `n_human` people; `missing` of both had none.

    `mean_error` is in human standard deviations with its 90 % interval, `variance_ratio` simulated by human.
    """

    runs: int
    n: int
    n_human: int
    missing: int
    distances: tuple[Distance, ...]
    mean_error: Interval
    variance_ratio: Interval
    groups: tuple[Group, ...]
    worst_group: str | None
    held_out: bool
    stamp: Stamp


@dataclass(frozen=True)
class Corrected:
    """The mean of all people by prediction-powered inference, and by the `n` asked people alone beside it.

    `gain` is how many times as many people would have been needed without the simulated answers.
    """

    n: int
    n_simulated: int
    mean: Mean
    classical: Mean
    weight: float | None
    bias: float | None
    gain: float | None


def agreement(
    simulated: Runs,
    human: Sequence[float | None],
    *,
    seed: int,
    groups: Mapping[str, tuple[Runs, Sequence[float | None]]] | None = None,
    held_out: bool = False,
    level: float = 0.95,
) -> Agreement:
    """Compare simulated values, by run, with those of people; sub-groups likewise.

    Args:
        simulated: The values of each run, None where one is missing.
        human: A value of each person, None where it is missing, in the same unit.
        seed: What all resampling draws from.
        groups: By name the simulated values, by run, and the people's.
        held_out: Nothing of the experiment was chosen by looking at these people's values.
        level: Of the intervals but that of the mean's error, which is 90 % (two one-sided tests at 5 %).

    Raises:
        ValueError: a value that is no finite number, with its place; a level that is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level: must be between 0 and 1, not {level}")
    runs = [kept for place, run in enumerate(simulated, 1) if (kept := _given(f"run {place}", run))]
    people = _given("people", human)
    unit = _sd(people)
    found = tuple(_group(name, both, unit, seed, level) for name, both in sorted((groups or {}).items()))
    known = [group for group in found if group.error.value is not None]
    worst = max(known, key=lambda group: abs(group.error.value or 0), default=None)
    planned = sum(len(run) for run in simulated) + len(human)
    n = sum(map(len, runs))
    distances = _distances(runs, people, level, seed)
    error = _bootstrapped("mean", runs, people, 0.9, seed, lambda x, y: _error(x, y, unit))
    ratio = _bootstrapped("variance", runs, people, level, seed, _ratio)
    return Agreement(
        len(runs),
        n,
        len(people),
        planned - n - len(people),
        distances,
        error,
        ratio,
        found,
        worst.name if worst else None,
        held_out,
        stamp(len(runs), len(people), distances, error, ratio, found, held_out=held_out),
    )


def stamp(
    runs: int,
    people: int,
    distances: Sequence[Distance],
    error: Interval,
    ratio: Interval,
    groups: Sequence[Group],
    *,
    held_out: bool,
) -> Stamp:
    """The rule of docs/statistics.md: calibrated where all of it holds, else exploratory, with what does not hold."""
    variation = next((one for one in distances if one.name == "total variation"), None)
    beyond = None if variation is None or variation.value is None else variation.value - (variation.chance or 0)
    rules = [
        (held_out, "the people's values were not held out"),
        (runs >= RUNS_LEAST, f"{runs} runs, fewer than {RUNS_LEAST}"),
        (people >= PEOPLE_LEAST, f"{people} people, fewer than {PEOPLE_LEAST}"),
        (_within(error, -MEAN_MOST, MEAN_MOST), f"the mean is not shown to lie within {MEAN_MOST} SD of the people's"),
        (
            _within(ratio, VARIANCE_LEAST, VARIANCE_MOST),
            f"the variance is not shown to be {VARIANCE_LEAST} to {VARIANCE_MOST} of the people's",
        ),
        (
            beyond is not None and beyond <= VARIATION_MOST,
            f"total variation is more than {VARIATION_MOST} beyond chance",
        ),
        *(_group_rule(group) for group in groups),
    ]
    reasons = tuple(reason for holds, reason in rules if not holds)
    return Stamp("exploratory" if reasons else "calibrated", reasons)


def corrected_mean(
    human: Sequence[float],
    predicted: Sequence[float],
    simulated: Sequence[float],
    *,
    level: float = 0.95,
    tuned: bool = False,
) -> Corrected:
    """The mean of people, from `n` who were asked and simulated answers of them and of many more.

    θ = λ mean(f(X̃)) + mean(y - λ f(X)), SE² = λ² var(f(X̃)) / N + var(y - λ f(X)) / n, with Gauss' interval and λ = 1
    (Angelopoulos, Bates, Fannjiang, Jordan & Zrnic 2023, "Prediction-powered inference", Science 382, 669-674);
    `tuned`: λ = cov(y, f) / ((1 + n / N) var(f)) between 0 and 1 (Angelopoulos, Duchi & Zrnic 2023, "PPI++",
    arXiv:2311.01453, example 6.1). It holds for many people (n of 30 and more), who were drawn as all are.

    Args:
        human: What each asked person answered.
        predicted: What that person's persona answered, in the same order.
        simulated: What the personas of people answered who were not asked.
        level: Of both intervals.
        tuned: Weigh the simulated answers by what they are worth, so that poor ones do no harm.

    Raises:
        ValueError: not as many predicted as human values, or one of them missing; a value that is no finite number; a
            level out of range.
    """
    if len(human) != len(predicted):
        raise ValueError(f"{len(human)} people and {len(predicted)} predictions of them: there must be as many")
    if not 0 < level < 1:
        raise ValueError(f"level: must be between 0 and 1, not {level}")
    y, f, more = _given("people", human), _given("predicted", predicted), _given("simulated", simulated)
    if len(y) < len(human) or len(f) < len(predicted):
        raise ValueError("people and predictions of them must all be there: a missing one leaves out its pair")
    n, m = len(y), len(more)
    if n < 2 or m < 2:
        nothing = Mean(None, None, None, "ppi")
        return Corrected(n, m, nothing, Mean(None, None, None, "normal"), None, None, None)
    import numpy as np

    ys, fs, others = np.array(y), np.array(f), np.array(more)
    weight = 1.0
    if tuned:
        spread = float(np.concatenate([fs, others]).var(ddof=1))
        weight = min(1.0, max(0.0, float(np.cov(ys, fs)[0, 1]) / ((1 + n / m) * spread))) if spread else 0.0
    left = ys - weight * fs
    variance = weight**2 * float(others.var(ddof=1)) / m + float(left.var(ddof=1)) / n
    plain = float(ys.var(ddof=1)) / n
    return Corrected(
        n,
        m,
        _normal(weight * float(others.mean()) + float(left.mean()), variance, level, "ppi"),
        _normal(float(ys.mean()), plain, level, "normal"),
        weight,
        float(fs.mean() - ys.mean()),
        plain / variance if variance and isfinite(plain / variance) else None,
    )


def _given(name: str, values: Sequence[float | None]) -> list[float]:
    for place, value in enumerate(values, 1):
        if value is not None and not (isfinite(value) and abs(value) <= LARGEST):
            raise ValueError(f"{name}: value {place}: must be a finite number or None, not {value}")
    return [float(value) for value in values if value is not None]


def _sd(values: Sequence[float]) -> float | None:
    import numpy as np

    return (float(np.std(values, ddof=1)) or None) if len(values) > 1 and min(values) < max(values) else None


def _normal(value: float, variance: float, level: float, method: str) -> Mean:
    if not variance:
        return Mean(value, None, None, method)
    half = NormalDist().inv_cdf((1 + level) / 2) * sqrt(variance)
    return Mean(value, value - half, value + half, method)


def _distances(runs: list[list[float]], people: list[float], level: float, seed: int) -> tuple[Distance, ...]:
    import numpy as np

    pooled = [value for run in runs for value in run]
    names = ("wasserstein", "kolmogorov-smirnov", "total variation", "jensen-shannon")
    if not pooled or not people:
        return tuple(Distance(name, None, Mean(None, None, None, "bca"), None) for name in names)
    edges = _edges(pooled, people)
    whole = _all(pooled, people, edges)
    each = [_all(run, people, edges) for run in runs]
    rng = np.random.default_rng(number(seed, "chance", bits=63))
    sizes = [min(len(side), SAMPLE_MOST) for side in (pooled, people)]
    drawn = [_all(rng.choice(people, sizes[0]), rng.choice(people, sizes[1]), edges) for _ in range(CHANCES)]
    chance = np.array(drawn).mean(axis=0)
    return tuple(
        Distance(name, whole[i], bootstrap_mean([one[i] for one in each], level, seed), float(chance[i]))
        for i, name in enumerate(names)
    )


def _edges(pooled: Sequence[float], people: Sequence[float]) -> Any:
    """Where the cells of a distribution end: between its categories, or at the tenths of the people's values."""
    import numpy as np

    different = sorted({*pooled, *people})
    if len(different) <= CATEGORIES_MOST:
        return np.array([one / 2 + other / 2 for one, other in pairwise(different)])
    return np.unique(np.quantile(people, np.linspace(0.1, 0.9, 9)))


def _all(one: Any, other: Any, edges: Any) -> list[float]:
    """∫|F - G| in the values' unit, max|F - G|, Σ|p - q| / 2 and Jensen-Shannon in bits over the cells.

    Of both: Gibbs & Su 2002, "On choosing and bounding probability metrics", Int. Stat. Rev. 70(3), 419-435; Lin 1991.
    """
    import numpy as np

    x, y = np.sort(np.asarray(one)), np.sort(np.asarray(other))
    every = np.sort(np.concatenate([x, y]))
    apart = np.abs(np.searchsorted(x, every, "right") / len(x) - np.searchsorted(y, every, "right") / len(y))
    cells = [np.bincount(np.searchsorted(edges, side), minlength=len(edges) + 1) for side in (x, y)]
    p, q = (counts / counts.sum() for counts in cells)
    mixes = [{str(cell): float(count) for cell, count in enumerate(counts)} for counts in cells]
    return [
        float((apart[:-1] * np.diff(every)).sum()),
        float(apart.max()),
        float(np.abs(p - q).sum() / 2),
        divergence(*mixes) or 0.0,
    ]


def _bootstrapped(
    name: str, runs: list[list[float]], people: list[float], level: float, seed: int, statistic: _Statistic
) -> Interval:
    """A statistic with its percentile interval: whole runs are drawn, and people."""
    import numpy as np

    if not runs or not people:
        return Interval(None, None, None)
    arrays, known = [np.array(run) for run in runs], np.array(people)
    value = statistic(np.concatenate(arrays), known)
    if len(runs) < 2 or len(people) < 2 or value is None:
        return Interval(value, None, None)
    rng = np.random.default_rng(number(seed, "bootstrap", name, bits=63))
    drawn = []
    for _ in range(RESAMPLES):
        some = [arrays[i] for i in rng.integers(0, len(arrays), len(arrays))]
        drawn.append(statistic(np.concatenate(some), rng.choice(known, len(known))))
    found = [one for one in drawn if one is not None]
    if len(found) < RESAMPLES // 2:
        return Interval(value, None, None)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def _error(simulated: Any, people: Any, unit: float | None) -> float | None:
    return float(simulated.mean() - people.mean()) / unit if unit else None


def _ratio(simulated: Any, people: Any) -> float | None:
    if min(len(simulated), len(people)) < 2 or not (below := float(people.var(ddof=1))):
        return None
    ratio = float(simulated.var(ddof=1)) / below
    return ratio if isfinite(ratio) else None


def _group(name: str, both: tuple[Runs, Sequence[float | None]], unit: float | None, seed: int, level: float) -> Group:
    simulated, human = both
    runs = [kept for place, run in enumerate(simulated, 1) if (kept := _given(f"{name}: run {place}", run))]
    people = _given(f"{name}: people", human)
    error = _bootstrapped(f"group {name}", runs, people, level, seed, lambda x, y: _error(x, y, unit))
    return Group(name, sum(map(len, runs)), len(people), error)


def _within(interval: Interval, low: float, high: float) -> bool:
    return interval.low is not None and interval.high is not None and low <= interval.low and interval.high <= high


def _group_rule(group: Group) -> tuple[bool, str]:
    if group.n_human < GROUP_LEAST:
        return False, f"{group.name}: {group.n_human} people, fewer than {GROUP_LEAST}"
    off = group.error.value
    return off is not None and abs(off) <= GROUP_MOST, f"{group.name}: the mean is more than {GROUP_MOST} SD off"
