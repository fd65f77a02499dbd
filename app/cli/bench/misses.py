"""How often tests find at 5 % what is not there, and 95 % intervals miss the truth, by case (docs/statistics.md)."""

from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from app.cli.bench import report
from app.cli.common import table
from app.streams import stream

ALPHA = 0.05
BETWEEN_LEVELS = 0.5
LEAST, MOST = 10, 80
"""Pairs from which a rule of precision is looked at, and that end it anyway."""

P, INTERVAL, FURTHER = "p ≤ 0.05", "interval", "interval of a further level"

Wrong = dict[str, bool]
"""By what was looked at, whether it was wrong."""


def pairs(chance: Random, seed: int, n: int) -> Wrong:
    from app.analysis.resampling import flip_test

    return {P: _found(flip_test(_normal(chance, n), seed=seed).p)}


def arms(chance: Random, seed: int, n: int, others: int, sd: float = 1.0, exponential: bool = False) -> Wrong:
    """The first arm varies `sd` times as much as the other."""
    from app.analysis.resampling import permutation_test

    drawn = _exponential if exponential else _normal
    treated, control = drawn(chance, n), drawn(chance, others)
    return {P: _found(permutation_test([sd * value for value in treated], control, seed=seed).p)}


def several(chance: Random, seed: int, *sizes: int, blocks: bool = False) -> Wrong:
    """Three arms or more; those of a block share what varies three times as much as they do."""
    from app.analysis.resampling import overall_test

    values = [_normal(chance, n) for n in sizes]
    if blocks:
        shared = _normal(chance, sizes[0], sd=3)
        values = [[value + more for value, more in zip(arm, shared, strict=True)] for arm in values]
    return {P: _found(overall_test(values, paired=blocks, seed=seed).p)}


def at_the_margin(chance: Random, seed: int, n: int, paired: bool) -> Wrong:
    """A difference of just the margin, which is not to be called equal."""
    from app.analysis.comparing import equivalence

    control = _normal(chance, n, sd=2 if paired else 1)
    treated = [value + (before if paired else 0) for value, before in zip(_normal(chance, n, 1), control, strict=True)]
    outcome = {"control": control, "treated": treated}
    [told] = equivalence(outcome, seeds=range(n), margin=1.0, seed=seed, paired=paired)
    return {P: _found(told.p)}


def stopped(chance: Random, seed: int, half_width: float) -> Wrong:
    """Pairs, one more at a time until the interval that is shown of them is narrow enough."""
    from app.analysis.comparing import arm_of, known_to
    from app.analysis.resampling import flip_test

    differences = _normal(chance, LEAST)
    while not known_to(mean := arm_of("", differences, 1 - ALPHA, seed).mean, half_width) and len(differences) < MOST:
        differences += _normal(chance, 1)
    return {P: _found(flip_test(differences, seed=seed).p), INTERVAL: _misses(mean.low, mean.high, 0)}


def levels(chance: Random, seed: int, k: int) -> Wrong:
    """Effects that differ by level, each known with an error of 0.2 to 0.6."""
    from app.analysis.sensitivity import heterogeneity

    errors = [chance.uniform(0.2, 0.6) for _ in range(k)]
    effects = {str(i): (chance.gauss(chance.gauss(0, BETWEEN_LEVELS), error), error) for i, error in enumerate(errors)}
    told = heterogeneity(effects, level=1 - ALPHA)
    further = chance.gauss(0, BETWEEN_LEVELS)
    return {
        INTERVAL: _misses(told.mean.low, told.mean.high, 0),
        FURTHER: _misses(told.further_low, told.further_high, further),
    }


def corrected(chance: Random, seed: int, people: int, useful: bool) -> Wrong:
    """Beside ten times as many who were not asked; useful predictions correlate with answers by 0.67, others by 0."""
    from app.analysis.against_humans import corrected_mean

    traits = _normal(chance, 11 * people)
    answers = [trait + chance.gauss(1, 0.7) for trait in traits[:people]]
    predicted = [(trait if useful else chance.gauss(0, 1)) + chance.gauss(3, 0.7) for trait in traits]
    told = corrected_mean(answers, predicted[:people], predicted[people:], level=1 - ALPHA, tuned=True).mean
    return {INTERVAL: _misses(told.low, told.high, 1)}


class Case(NamedTuple):
    what: str
    simulated: Callable[..., Wrong]
    given: tuple[float, ...]
    more: dict[str, Any] = {}  # noqa: RUF012 - never changed


CASES = (
    Case("6 pairs", pairs, (6,)),
    Case("10 pairs", pairs, (10,)),
    Case("25 pairs", pairs, (25,)),
    Case("arms of 5 and 5", arms, (5, 5)),
    Case("arms of 12 and 12", arms, (12, 12)),
    Case("arms of 4 and 9, exponential", arms, (4, 9), {"exponential": True}),
    Case("arms of 5 and 15, 3 times the spread in the small one", arms, (5, 15, 3)),
    Case("arms of 8 and 12, 3 times the spread in the small one", arms, (8, 12, 3)),
    Case("arms of 15 and 5, 3 times the spread in the large one", arms, (15, 5, 3)),
    Case("three arms of 8, in blocks", several, (8, 8, 8), {"blocks": True}),
    Case("three arms of 4, 6 and 9", several, (4, 6, 9)),
    Case("equivalence at the margin, 5 pairs", at_the_margin, (5, True)),
    Case("equivalence at the margin, 12 pairs", at_the_margin, (12, True)),
    Case("equivalence at the margin, arms of 5", at_the_margin, (5, False)),
    Case("equivalence at the margin, arms of 12", at_the_margin, (12, False)),
    Case("pairs until known to ±0.7 SD", stopped, (0.7,)),
    Case("pairs until known to ±0.5 SD", stopped, (0.5,)),
    Case("pairs until known to ±0.4 SD", stopped, (0.4,)),
    Case("mean of 3 levels", levels, (3,)),
    Case("mean of 6 levels", levels, (6,)),
    Case("mean of 12 levels", levels, (12,)),
    Case("mean of 30 people and useful predictions", corrected, (30, True)),
    Case("mean of 30 people and useless predictions", corrected, (30, False)),
    Case("mean of 100 people and useful predictions", corrected, (100, True)),
    Case("mean of 100 people and useless predictions", corrected, (100, False)),
)


def counted(case: Case, simulations: int, seed: int, tick: Callable[[], None]) -> list[dict[str, Any]]:
    """For each thing looked at, the share of simulations in which it was wrong, with Wilson's interval."""
    from app.analysis.comparing import data
    from app.analysis.intervals import share

    wrong: dict[str, int] = {}
    for place in range(simulations):
        chance = stream(seed, "bench", case.what, place)
        for name, times in case.simulated(chance, place, *case.given, **case.more).items():
            wrong[name] = wrong.get(name, 0) + times
        tick()
    return [{"case": case.what, **data(share(name, times, simulations))} for name, times in wrong.items()]


def show(found: list[dict[str, Any]], simulations: int) -> None:
    """The report for people."""
    n = report.number
    rows: list[tuple[object, ...]] = [
        (one["case"], one["label"], n(one["share"], 3), f"{n(one['low'], 3)} to {n(one['high'], 3)}") for one in found
    ]
    title = f"Share of {simulations:,} simulations with p ≤ 0.05 where nothing is, or an interval without the truth"
    table(title, "case", "what", "share", "95 %", rows=rows, empty="")


def _normal(chance: Random, n: int, mean: float = 0.0, sd: float = 1.0) -> list[float]:
    return [chance.gauss(mean, sd) for _ in range(n)]


def _exponential(chance: Random, n: int) -> list[float]:
    return [chance.expovariate(1) for _ in range(n)]


def _found(p: float | None) -> bool:
    return p is not None and p <= ALPHA


def _misses(low: float | None, high: float | None, truth: float) -> bool:
    return low is None or high is None or not low <= truth <= high
