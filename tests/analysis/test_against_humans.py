"""Simulated values against people's, against scipy, figures worked out by hand and simulations."""

import json
from math import sqrt
from random import Random
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from app.analysis.against_humans import Agreement, agreement, corrected_mean
from app.analysis.comparing import data

VALUES = st.lists(st.floats(-1e6, 1e6) | st.integers(-2, 2).map(float) | st.none(), max_size=8)


def people(seed: int, n: int = 200, mean: float = 0.0, sd: float = 1.0) -> list[float]:
    chance = Random(seed)
    return [chance.gauss(mean, sd) for _ in range(n)]


def runs(seed: int, mean: float = 0.0, sd: float = 1.0, count: int = 20) -> list[list[float]]:
    return [people(seed * 1_000 + run, 50, mean, sd) for run in range(count)]


def distance(found: Agreement, name: str) -> float:
    value = next(one.value for one in found.distances if one.name == name)
    assert value is not None
    return value


def test_distances_are_those_of_scipy() -> None:
    simulated, human = runs(1, 0.4, 1.3, 3), people(2)
    pooled = [value for run in simulated for value in run]
    found = agreement(simulated, human, seed=1)
    assert distance(found, "wasserstein") == pytest.approx(stats.wasserstein_distance(pooled, human))
    assert distance(found, "kolmogorov-smirnov") == pytest.approx(stats.ks_2samp(pooled, human).statistic)
    edges = np.quantile(human, np.arange(1, 10) / 10)
    p, q = (np.bincount(np.searchsorted(edges, side), minlength=10) / len(side) for side in (pooled, human))
    assert distance(found, "jensen-shannon") == pytest.approx(jensenshannon(p, q, 2) ** 2)
    assert distance(found, "total variation") == pytest.approx(abs(p - q).sum() / 2)


def test_distances_of_categories_by_hand() -> None:
    """Halves at 1 and 2 against all at 2: TV = KS = W = 1/2; JS = (log2(2) / 2 + log2(2/3) / 2 + log2(4/3)) / 2."""
    found = agreement([[1.0, 2.0]], [2.0, 2.0], seed=1)
    for name in ("wasserstein", "kolmogorov-smirnov", "total variation"):
        assert distance(found, name) == 0.5
    assert distance(found, "jensen-shannon") == pytest.approx(0.311278, abs=1e-6)
    apart = agreement([[0.0, 0.0]], [1.0, 1.0, 1.0], seed=1)
    assert [one.value for one in apart.distances] == [1, 1, 1, 1]
    same = agreement([[1.0, 2.0], [2.0, 1.0]], [1.0, 2.0], seed=1)
    assert [one.value for one in same.distances] == [0, 0, 0, 0]


def test_people_who_are_simulated_perfectly_are_calibrated() -> None:
    groups = {"young": (runs(3), people(4, 60)), "old": (runs(5), people(6, 60))}
    found = agreement(runs(7), people(8, 600), seed=1, groups=groups, held_out=True)
    assert found.stamp.reasons == ()
    assert found.stamp.stamp == "calibrated"
    for one in found.distances:
        assert one.value is not None
        assert one.chance is not None
        assert one.value < 3 * one.chance
    assert found.variance_ratio.low is not None
    assert found.variance_ratio.high is not None
    assert found.variance_ratio.low < 1 < found.variance_ratio.high


@pytest.mark.parametrize(
    ("simulated", "human", "held_out", "reason"),
    [
        (runs(7), people(8), False, "held out"),
        (runs(7, count=9), people(8), True, "9 runs, fewer than 10"),
        (runs(7), people(8, 29), True, "29 people, fewer than 30"),
        (runs(7, mean=0.3), people(8), True, "the mean is not shown"),
        (runs(7, sd=0.5), people(8), True, "the variance is not shown"),
        ([[(-1.0) ** i for i in range(50)]] * 20, people(8), True, "total variation"),
        ([[]], people(8), True, "0 runs"),
    ],
)
def test_whatever_does_not_hold_keeps_a_result_exploratory(
    simulated: list[list[float]], human: list[float], held_out: bool, reason: str
) -> None:
    found = agreement(simulated, human, seed=1, held_out=held_out).stamp
    assert found.stamp == "exploratory"
    assert any(reason in one for one in found.reasons)


def test_the_stamp_is_rarely_given_to_what_is_off_and_mostly_to_what_is_not() -> None:
    """Of 10 studies each with 500 people: alike ones, and such with the mean just at the bound of 0.2 SD."""
    stamps = {
        off: [
            agreement(runs(100 + study, off, count=10), people(study, 500), seed=1, held_out=True).stamp.stamp
            for study in range(10)
        ]
        for off in (0.0, 0.2)
    }
    assert stamps[0.0].count("calibrated") >= 5
    assert stamps[0.2].count("calibrated") <= 3


def test_a_sub_group_that_is_off_is_named() -> None:
    groups = {"young": (runs(3, mean=0.9), people(4, 60)), "old": (runs(5), people(6, 60)), "few": (runs(9), [0.0] * 9)}
    found = agreement(runs(7), people(8, 600), seed=1, groups=groups, held_out=True)
    assert found.worst_group == "young"
    error = {group.name: group.error for group in found.groups}["young"]
    assert error.value == pytest.approx(0.9, abs=0.25)
    assert error.low is not None
    assert error.low > 0.5
    assert found.stamp.reasons == ("few: 9 people, fewer than 10", "young: the mean is more than 0.5 SD off")


def test_runs_that_differ_widen_the_interval() -> None:
    """The run is the unit: values of one run that hang together don't count each for itself."""
    off = Random(3)
    together = [people(run, 50, off.gauss(0, 1), 0.5) for run in range(20)]
    values = [value for run in together for value in run]
    mixed = list(values)
    off.shuffle(mixed)
    shuffled = [mixed[i : i + 50] for i in range(0, len(mixed), 50)]
    wide, narrow = (agreement(one, people(8, 2_000), seed=1).mean_error for one in (together, shuffled))
    assert wide.value == pytest.approx(narrow.value)
    assert (wide.high or 0) - (wide.low or 0) > 2 * ((narrow.high or 0) - (narrow.low or 0))


@settings(max_examples=15)
@given(st.lists(VALUES, max_size=3), VALUES)
def test_nothing_is_ever_nan(simulated: list[list[float | None]], human: list[float | None]) -> None:
    found = agreement(simulated, human, seed=1, groups={"all": (simulated, human)})
    json.dumps(data(found), allow_nan=False)
    assert found.n + found.n_human + found.missing == sum(map(len, simulated)) + len(human)
    for one in found.distances:
        assert one.value is None or one.value >= 0
        assert one.name == "wasserstein" or one.value is None or one.value <= 1
    assert found.stamp.stamp == "exploratory"


def test_what_is_no_number_is_refused_with_its_place() -> None:
    with pytest.raises(ValueError, match="run 2: value 1"):
        agreement([[1.0], [float("nan")]], [1.0], seed=1)
    with pytest.raises(ValueError, match="people: value 2"):
        agreement([[1.0]], [1.0, float("inf")], seed=1)
    with pytest.raises(ValueError, match="as many"):
        corrected_mean([1.0], [], [1.0])


def test_prediction_powered_means_by_hand() -> None:
    """θ = 3 + 1/2; SE² = 2 / 2 + (1/3) / 4."""
    found = corrected_mean([1.0, 2, 3, 4], [1.0, 2, 2, 3], [2.0, 4])
    assert found.mean.value == 3.5
    assert found.mean.high == pytest.approx(3.5 + 1.959964 * sqrt(13 / 12))
    assert (found.bias, found.weight) == (-0.5, 1)
    assert found.classical.value == 2.5
    assert found.gain == pytest.approx((5 / 3 / 4) / (13 / 12))
    tuned = corrected_mean([1.0, 2, 3, 4], [1.0, 2, 2, 3], [2.0, 4], tuned=True)
    weight = 1 / (3 * np.var([1, 2, 2, 3, 2, 4], ddof=1))  # cov(y, f) is 1, 1 + n / N is 3
    assert tuned.weight == pytest.approx(weight)
    assert tuned.mean.value == pytest.approx(weight * 3 + 2.5 - weight * 2)
    few = corrected_mean([1.0], [1.0], [2.0, 3])
    assert few.mean.value is None
    exact = corrected_mean([1.0, 2], [1.0, 2], [3.0, 3])
    assert (exact.mean.value, exact.mean.low, exact.gain) == (3, None, None)


def test_prediction_powered_intervals_cover_where_simulated_means_dont() -> None:
    """Personas who answer 0.7 too high: of 400 surveys about 380 intervals hold the truth, and are narrower."""
    chance = Random(21)
    held = tuned_held = bare_held = classical_held = 0
    widths, alone = [], []
    for _ in range(400):
        truths = [chance.gauss(5, 1) for _ in range(560)]
        answers = [value + 0.7 + chance.gauss(0, 0.4) for value in truths]
        y, f, more = truths[:60], answers[:60], answers[60:]
        found, tuned = corrected_mean(y, f, more), corrected_mean(y, f, more, tuned=True)
        ends = [(one.low or 0, one.high or 0) for one in (found.mean, tuned.mean, found.classical)]
        held += ends[0][0] <= 5 <= ends[0][1]
        tuned_held += ends[1][0] <= 5 <= ends[1][1]
        classical_held += ends[2][0] <= 5 <= ends[2][1]
        half = 1.96 * float(np.std(more, ddof=1)) / sqrt(len(more))
        bare_held += abs(fmean(more) - 5) <= half
        widths.append(ends[0][1] - ends[0][0])
        alone.append(ends[2][1] - ends[2][0])
    assert all(362 <= count <= 396 for count in (held, tuned_held, classical_held))
    assert bare_held == 0
    assert fmean(widths) < 0.7 * fmean(alone)


def test_answers_that_are_worth_nothing_do_no_harm_when_tuned() -> None:
    chance = Random(22)
    y, f, more = ([chance.gauss(0, sd) for _ in range(n)] for sd, n in ((1, 200), (5, 200), (5, 2_000)))
    plain, tuned = corrected_mean(y, f, more), corrected_mean(y, f, more, tuned=True)
    assert (plain.gain or 0) < 0.1
    assert tuned.gain == pytest.approx(1, abs=0.05)


def test_more_than_twelve_different_values_are_put_into_tenths() -> None:
    """Even numbers of people, odd ones of personas: as categories they have nothing in common, in tenths nearly all."""
    for kinds, apart in ((12, True), (40, False)):
        even, odd = ([float(k) for k in range(first, kinds, 2)] * 10 for first in (0, 1))
        assert (distance(agreement([odd, odd], even, seed=1), "total variation") == 1) is apart
    found = agreement([[13.0] * 3], [float(k) for k in range(12)], seed=1)
    assert distance(found, "total variation") == pytest.approx(1 - 2 / 12), "thirteen: the last cell has two of twelve"


def test_a_missing_answer_does_not_shift_whose_prediction_is_whose() -> None:
    missing: list[Any] = [1.0, None, 3.0]
    with pytest.raises(ValueError, match="leaves out its pair"):
        corrected_mean(missing, [1.0, 2.0, 3.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="leaves out its pair"):
        corrected_mean([1.0, 2.0, 3.0], missing, [1.0, 2.0])
