"""Arms compared, against published figures, scipy and figures worked out by hand."""

import json
from itertools import combinations
from math import sqrt
from random import Random
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from app.analysis.comparing import cliffs_delta, compare, d_z, data, equivalence, hedges_g
from app.analysis.intervals import bootstrap_mean, t_mean
from app.analysis.resampling import (
    DRAWS,
    bootstrap_difference,
    flip_test,
    overall_test,
    permutation_test,
    welch_difference,
)

MAIZE = [49.0, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
"""Darwin's plants, crossed less self-fertilised, in eighths of an inch (Fisher 1935, Design of Experiments, §17)."""

ONE, OTHER = [5.1, 4.9, 6.2, 5.8, 6.0, 7.1], [4.2, 5.0, 4.4, 5.1, 3.9]
VALUES = st.floats(-1e6, 1e6) | st.integers(-3, 3).map(float) | st.none()


def test_darwins_maize_has_fishers_p() -> None:
    """Of 32,768 assignments 863 reach the sum of 314, and as many the other way (Fisher 1935, §21)."""
    found = flip_test(MAIZE, seed=1)
    assert (found.p, found.exact, found.draws, found.least) == (2 * 863 / 32_768, True, 32_768, 2 / 32_768)
    assert flip_test(MAIZE, seed=1, alternative="greater").p == 863 / 32_768
    less = flip_test(MAIZE, seed=1, alternative="less").p
    assert less is not None
    assert less > 1 - 863 / 32_768  # ties count on both sides


def test_assignments_that_are_drawn_come_near_to_all() -> None:
    twice = [*MAIZE, *(value + 0.5 for value in MAIZE)]
    found = flip_test(twice, seed=1)
    assert (found.exact, found.draws, found.least) == (False, DRAWS, 1 / (DRAWS + 1))
    normal = 2 * stats.norm.sf(sum(twice) / sqrt(sum(value**2 for value in twice)))
    assert found.p == pytest.approx(normal, abs=0.005)
    assert found == flip_test(twice, seed=1)
    assert found != flip_test(twice, seed=2)


def test_a_drawn_p_is_never_zero() -> None:
    assert flip_test([float(value) for value in range(100, 140)], seed=3).p == 1 / (DRAWS + 1)
    apart = permutation_test([float(value) for value in range(20)], [float(value) for value in range(90, 110)], seed=3)
    assert (apart.p, apart.exact) == (1 / (DRAWS + 1), False)


def test_permutations_by_hand_and_by_scipy() -> None:
    found = permutation_test([4.0, 5, 6], [1.0, 2, 3], seed=1)
    assert (found.p, found.draws, found.least) == (2 / 20, 20, 2 / 20)
    assert permutation_test([4.0, 5, 6], [1.0, 2, 3], seed=1, alternative="greater").p == 1 / 20
    assert permutation_test([4.0, 5, 6], [1.0, 2, 3], seed=1, alternative="less").p == 1
    for alternative in ("greater", "less"):
        theirs = stats.permutation_test(
            (ONE, OTHER), lambda x, y: np.mean(x) - np.mean(y), n_resamples=np.inf, alternative=alternative
        )
        ours = permutation_test(ONE, OTHER, seed=1, alternative=alternative)
        assert ours.p == pytest.approx(theirs.pvalue)


def test_three_arms_are_tested_together() -> None:
    low, high = [1.0, 2, 3, 4, 5, 6, 7, 8], [11.0, 12, 13, 14, 15, 16, 17, 18]
    for paired in (True, False):
        assert overall_test([low, low, high], paired=paired, seed=1).p == pytest.approx(1e-4, abs=2e-3)
        assert overall_test([low, low, low], paired=paired, seed=1).p == 1
    noise = Random(4)
    blocks = [[noise.gauss(10 * block, 1) for block in range(8)] for _ in range(2)]
    arms = [*blocks, [value + 2.5 for value in blocks[0]]]
    paired_p, plain_p = (overall_test(arms, paired=paired, seed=1).p or 0 for paired in (True, False))
    assert paired_p < 0.01  # what differs by block is chance only where blocks are not told apart
    assert plain_p > 0.5
    anova = stats.f_oneway(*arms).pvalue
    assert plain_p == pytest.approx(anova, abs=0.03)


def test_effect_sizes_by_hand() -> None:
    """Γ's correction as in Hedges 1981, table 1: 0.5642 at 2 degrees of freedom, 0.7236 at 3, 0.9228 at 10."""
    assert hedges_g([1.0, 3], [0.0, 2]) == pytest.approx(0.5642 / sqrt(2), abs=1e-4)
    assert hedges_g([1.0, 3], [1.0, 3, 2]) == pytest.approx(0)
    assert hedges_g([2.0, 3, 4], [0.0, 2]) == pytest.approx(0.7236 * 2 / sqrt(4 / 3), abs=1e-4)
    six = [0.0, 1, 2, 3, 4, 5]
    assert hedges_g([value + 1 for value in six], six) == pytest.approx(0.9228 / sqrt(3.5), abs=1e-4)
    assert hedges_g([1.0], [2.0, 3]) is None
    assert hedges_g([1.0, 1], [2.0, 2]) is None
    assert cliffs_delta([1.0, 2, 3], [2.0]) == 0
    assert cliffs_delta([3.0, 4], [1.0, 2]) == 1
    assert cliffs_delta([1.0, 2, 2, 5], [2.0, 3]) == (2 - 4) / 8
    assert cliffs_delta([], [1.0]) is None
    assert d_z([1.0, 2, 3]) == 2
    assert d_z([1.0, 1.0]) is d_z([1.0]) is None


def test_intervals_are_those_of_scipy() -> None:
    theirs = stats.ttest_ind(ONE, OTHER, equal_var=False).confidence_interval(0.95)
    ours = welch_difference(ONE, OTHER, 0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    found = bootstrap_difference(ONE, OTHER, 0.95, 1)
    assert found.value == pytest.approx(fmean(ONE) - fmean(OTHER))
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.4)
    assert found == bootstrap_difference(ONE, OTHER, 0.95, 1)


def test_pairs_take_out_what_a_seed_does() -> None:
    control = [100.0, 200, 300, 400, 500, 600, 700, 800]
    treated = [value + off for value, off in zip(control, [2, 3, 1, 2, 4, 1, 2, 3], strict=True)]
    outcome = {"latest": control, "interest": treated}
    [paired] = compare(outcome, seeds=range(8), seed=1).contrasts
    [plain] = compare(outcome, seeds=range(8), seed=1, paired=False).contrasts
    assert (paired.difference.value, paired.test.p) == (2.25, 2 / 256)
    assert plain.test.p is not None
    assert plain.test.p > 0.9
    assert paired.difference.high is not None
    assert plain.difference.high is not None
    assert paired.difference.high < 4 < plain.difference.high
    assert paired.d_z == pytest.approx(2.25 / np.std([2, 3, 1, 2, 4, 1, 2, 3], ddof=1))
    assert plain.d_z is None
    assert paired.hedges_g == plain.hedges_g


def test_few_runs_show_students_interval_and_many_the_bootstraps() -> None:
    """Of 400 bootstrap intervals of 5 runs fewer than 360 hold the mean, Student's about 380."""
    noise = Random(14)
    held = {"bca": 0, "t": 0}
    for _ in range(400):
        few = [noise.gauss(0, 1) for _ in range(5)]
        for one in (bootstrap_mean(few, 0.95, 1), t_mean(few, 0.95)):
            held[one.method] += (one.low or 0) <= 0 <= (one.high or 0)
    assert held["bca"] < 360 < held["t"]
    for n, method in ((19, "t"), (20, "bca")):
        values = [noise.gauss(0, 1) for _ in range(n)]
        found = compare({"a": values, "b": values[::-1]}, seeds=range(n), seed=1)
        assert found.contrasts[0].shown == found.arms[0].mean.method == method


def test_missing_runs_are_counted_and_take_their_pair_along() -> None:
    outcome: dict[str, list[float | None]] = {"a": [1.0, None, 3, 4, 5], "b": [2.0, 9, 5, None, 8], "c": [None] * 5}
    found = compare(outcome, seeds=[7, 8, 9, 10, 11], seed=1)
    assert [(arm.planned, arm.n, arm.missing) for arm in found.arms] == [(5, 4, 1), (5, 4, 1), (5, 0, 5)]
    b, c = found.contrasts
    assert (b.n, b.n_control, b.dropped, b.difference.value) == (3, 3, 2, 2)
    assert (c.n, c.dropped, c.difference.value, c.test.p, c.hedges_g) == (0, 4, None, None, None)
    assert found.overall is not None
    assert found.overall.p is None
    plain = compare(outcome, seeds=range(5), seed=1, paired=False).contrasts[0]
    assert (plain.n, plain.n_control, plain.dropped, plain.difference.value) == (4, 4, 0, 6 - 3.25)


def test_runs_are_paired_by_seed_not_by_place() -> None:
    outcome, control = {"a": [1.0, 2, 30], "b": [31.0, 2, 4]}, [1, 2, 3]
    [found] = compare(outcome, seeds={"a": control, "b": [3, 1, 9]}, seed=1).contrasts
    assert (found.n, found.dropped, found.difference.value) == (2, 2, 1.0)


@pytest.mark.parametrize(
    ("outcome", "seeds", "options", "fault"),
    [
        ({"a": [1.0]}, [1], {}, "two arms"),
        ({"a": [1.0], "b": [1.0, 2]}, [1], {}, "b: 2 values for 1 seeds"),
        ({"a": [1.0, 2], "b": [1.0, 2]}, [1, 1], {}, "a: a seed stands there twice"),
        ({"a": [1.0], "b": [float("nan")]}, [1], {}, "b: run 1: must be a finite number"),
        ({"a": [1.0], "b": [1e200]}, [1], {}, "b: run 1"),
        ({"a": [1.0], "b": [1.0]}, [1], {"control": "c"}, "there is no arm 'c'"),
        ({"a": [1.0], "b": [1.0]}, [1], {"level": 1.0}, "level"),
    ],
)
def test_what_is_no_outcome_is_refused(
    outcome: dict[str, list[float | None]], seeds: list[int], options: dict[str, str], fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        compare(outcome, seeds=seeds, seed=1, **options)  # type: ignore[arg-type]


@settings(max_examples=40)
@given(st.lists(st.tuples(VALUES, VALUES, VALUES), max_size=9), st.booleans())
def test_nothing_is_ever_nan(rows: list[tuple[float | None, float | None, float | None]], paired: bool) -> None:
    outcome = {name: [row[i] for row in rows] for i, name in enumerate("abc")}
    found = compare(outcome, seeds=range(len(rows)), seed=1, paired=paired)
    same = equivalence(outcome, seeds=range(len(rows)), margin=1.0, seed=1, paired=paired)
    json.dumps([data(found), *map(data, same)], allow_nan=False)
    for one in found.contrasts:
        assert one.test.p is None or 0 < one.test.p <= 1
        assert one.cliffs_delta is None or -1 <= one.cliffs_delta <= 1


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=7), st.booleans())
def test_arms_that_change_places_change_the_sign_alone(rows: list[tuple[int, int]], paired: bool) -> None:
    a, b = ([float(row[i]) for row in rows] for i in (0, 1))
    [one] = compare({"a": a, "b": b}, seeds=range(len(a)), seed=1, paired=paired).contrasts
    [other] = compare({"b": b, "a": a}, seeds=range(len(a)), seed=1, paired=paired).contrasts
    assert one.test == other.test
    assert (one.cliffs_delta or 0) == -(other.cliffs_delta or 0)
    assert (one.difference.value or 0) == pytest.approx(-(other.difference.value or 0))


def test_tost_is_two_of_scipys_tests() -> None:
    outcome = {"a": ONE[:5], "b": [value + 0.1 * (-1) ** i for i, value in enumerate(ONE[:5])]}
    apart = [x - y for x, y in zip(outcome["b"], outcome["a"], strict=True)]
    [found] = equivalence(outcome, seeds=range(5), margin=0.3, seed=1)
    assert found.p_low == pytest.approx(stats.ttest_1samp(apart, -0.3, alternative="greater").pvalue)
    assert found.p_high == pytest.approx(stats.ttest_1samp(apart, 0.3, alternative="less").pvalue)
    assert found.p == max(found.p_low or 0, found.p_high or 0)
    assert found.equivalent is True
    [plain] = equivalence({"a": OTHER, "b": ONE[:5]}, seeds=range(5), margin=(-1, 2.5), seed=1, paired=False)
    shifted = [value - 2.5 for value in ONE[:5]]
    assert plain.p_high == pytest.approx(stats.ttest_ind(shifted, OTHER, equal_var=False, alternative="less").pvalue)


def test_equal_is_what_lies_within_the_margin_and_not_what_is_not_significant() -> None:
    outcome = {"a": [0.0, 0, 0, 0], "b": [5.0, -4, 6, -3]}
    [contrast] = compare(outcome, seeds=range(4), seed=1).contrasts
    [found] = equivalence(outcome, seeds=range(4), margin=2, seed=1)
    assert contrast.test.p is not None
    assert contrast.test.p > 0.05
    assert found.equivalent is False
    assert found.low is not None
    assert found.low < -2


def test_runs_that_dont_vary_are_judged_by_randomisation() -> None:
    six, four = ({"a": [3.0] * n, "b": [3.0] * n} for n in (6, 4))
    [found] = equivalence(six, seeds=range(6), margin=0.5, seed=1)
    assert (found.method, found.p, found.equivalent, found.low) == ("randomised", 1 / 64, True, None)
    [found] = equivalence(four, seeds=range(4), margin=0.5, seed=1)
    assert (found.p, found.equivalent) == (1 / 16, False)
    with pytest.raises(ValueError, match="margin"):
        equivalence(six, seeds=range(6), margin=0, seed=1)


def test_the_error_of_the_first_kind_is_alpha() -> None:
    """Of 1,000 experiments without an effect about 50 find one: skewed runs, paired and not."""
    noise = Random(11)
    paired = plain = 0
    for _ in range(1_000):
        a, b = ([noise.expovariate(1) for _ in range(6)] for _ in range(2))
        paired += (flip_test([x - y for x, y in zip(a, b, strict=True)], seed=1).p or 0) <= 0.05
        plain += (permutation_test(a, b, seed=1).p or 0) <= 0.05
    assert 20 <= paired <= 65  # 2 of 64 is what the design can give below 0.05
    assert 25 <= plain <= 80


def test_posts_as_the_unit_find_what_is_not_there() -> None:
    """Why n counts runs: posts of a run share its chance, and a test over posts takes that for an effect."""
    noise = Random(12)
    by_run = by_post = 0
    for _ in range(300):
        means = [noise.gauss(0, 1) for _ in range(10)]
        posts = [[noise.gauss(mean, 1) for _ in range(20)] for mean in means]
        runs = [fmean(run) for run in posts]
        by_run += (permutation_test(runs[:5], runs[5:], seed=1).p or 0) <= 0.05
        flat = [[value for run in half for value in run] for half in (posts[:5], posts[5:])]
        by_post += stats.ttest_ind(*flat).pvalue <= 0.05
    assert by_run <= 33
    assert by_post >= 120


def test_intervals_cover_what_they_should() -> None:
    """Of 400 intervals about 380 hold the true difference of 1; percentiles of few runs are known to be too narrow."""
    noise = Random(13)
    held = {"bca": 0, "t": 0, "bca of pairs": 0, "t of pairs": 0}
    for _ in range(400):
        a, b = [noise.gauss(1, 1) for _ in range(20)], [noise.gauss(0, 2) for _ in range(20)]
        apart = [x - y for x, y in zip(a, b, strict=True)]
        for name, one in (
            ("bca", bootstrap_difference(a, b, 0.95, 1)),
            ("t", welch_difference(a, b, 0.95)),
            ("bca of pairs", bootstrap_mean(apart, 0.95, 1)),
            ("t of pairs", t_mean(apart, 0.95)),
        ):
            assert one.low is not None
            assert one.high is not None
            held[name] += one.low <= 1 <= one.high
    assert all(0.88 * 400 <= held[name] <= 0.99 * 400 for name in ("bca", "bca of pairs")), held
    assert all(0.91 * 400 <= held[name] <= 0.985 * 400 for name in ("t", "t of pairs")), held


def test_unequal_arms_are_compared_by_welchs_t() -> None:
    """All 35 ways to choose 3 of 7, by scipy's t; and a small arm that varies more is not taken for another mean."""
    treated, control = [5.0, 9.0, 1.0], [2.0, 3.0, 2.5, 3.5]

    def t(one: list[float], other: list[float]) -> float:
        return abs(float(stats.ttest_ind(one, other, equal_var=False).statistic))

    every, observed = [*treated, *control], t(treated, control)
    ways = [
        t([every[i] for i in some], [every[i] for i in range(7) if i not in some]) for some in combinations(range(7), 3)
    ]
    found = permutation_test(treated, control, seed=1)
    assert (found.p, found.draws) == (sum(way >= observed - 1e-9 for way in ways) / 35, 35)
    rng = np.random.default_rng(7)
    false = sum(
        (permutation_test((3 * rng.normal(size=4)).tolist(), rng.normal(size=12).tolist(), seed=1).p or 1) <= 0.05
        for _ in range(400)
    )
    assert false / 400 < 0.14, "the difference alone: 0.24"


@pytest.mark.parametrize("arms", [([1.0, 1], [0.0, 0, 0]), ([1.0], [0.0, 0, 0]), ([0.0, 0], [0.0, 0, 1])])
def test_unequal_arms_that_hardly_vary_have_a_p(arms: tuple[list[float], list[float]]) -> None:
    ways = [sum(some) for some in combinations([*arms[0], *arms[1]], len(arms[0]))]
    apart = [abs(way / len(arms[0]) - (sum(map(sum, arms)) - way) / len(arms[1])) for way in ways]
    observed = abs(fmean(arms[0]) - fmean(arms[1]))
    assert permutation_test(*arms, seed=1).p == pytest.approx(sum(one >= observed - 1e-9 for one in apart) / len(ways))


def test_over_all_arms_large_ones_weigh_more() -> None:
    """Σ nⱼ (x̄ⱼ - x̄)² as Kruskal's F test has it: of assignments drawn anew by hand as many reach it."""
    arms = [[1.0, 2, 3], [2.0, 3, 4, 5, 6, 7, 4, 5], [3.0, 8]]
    every, cuts = np.array([x for arm in arms for x in arm]), [3, 11]

    def between(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
        return float(sum(len(part) * (part.mean() - every.mean()) ** 2 for part in np.split(values, cuts)))

    rng = np.random.default_rng(1)
    wanted = np.mean([between(rng.permutation(every)) >= between(every) - 1e-9 for _ in range(20_000)])
    assert overall_test(arms, paired=False, seed=1).p == pytest.approx(wanted, abs=0.02)


def test_assignments_are_all_looked_at_up_to_sixteen_pairs() -> None:
    assert [flip_test([1.0] * n, seed=1).draws for n in (16, 17)] == [65_536, DRAWS]


def test_equivalence_has_the_interval_of_one_less_two_alpha_and_p_of_alpha_is_enough() -> None:
    values = {"a": [0.0] * 8, "b": [0.3, -0.2, 0.5, 0.1, 0.4, -0.3, 0.2, 0.0]}
    seeds = range(8)
    [found] = equivalence(values, seeds=seeds, margin=0.6, seed=1)
    t = t_mean(values["b"], 0.9)
    assert (found.low, found.high) == pytest.approx((t.low, t.high))
    assert found.p is not None
    for alpha, equal in ((found.p, True), (found.p * 0.999, False)):
        assert equivalence(values, seeds=seeds, margin=0.6, seed=1, alpha=alpha)[0].equivalent is equal
