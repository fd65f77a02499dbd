"""Power and needed runs, against Cohen's tables, scipy and the test that is simulated."""

from math import sqrt
from random import Random
from statistics import NormalDist, fmean, stdev

import numpy as np
import pytest
from scipy import stats

from app.analysis.comparing import data
from app.analysis.power import needed, normal_power, normal_runs, power

NORMAL = [NormalDist().inv_cdf((i + 0.5) / 40) for i in range(40)]
ARMS = {"control": NORMAL, "treated": [value + 0.5 for value in NORMAL]}
PAIRS = {"control": [0.0] * 40, "treated": [value + 0.5 for value in NORMAL]}
SEEDS = range(40)


def test_the_approximation_has_cohens_runs() -> None:
    """Cohen 1988, table 2.4.1: d = 0.2, 0.5, 0.8 need 393, 64, 26 an arm; Gauss takes off up to one."""
    assert [normal_runs(d, 2, 0.8) for d in (0.2, 0.5, 0.8)] == [393, 63, 25]
    assert normal_power(0.5, sqrt(2 / 63)) == pytest.approx(0.80, abs=0.005)
    assert normal_power(0, 1) == pytest.approx(0.05)
    assert normal_power(-0.5, 0.1) == normal_power(0.5, 0.1)


@pytest.mark.parametrize("paired", [True, False])
def test_simulated_power_is_that_of_students_test(paired: bool) -> None:
    runs = 20
    found = power(PAIRS if paired else ARMS, seeds=SEEDS, runs=runs, effect=0.6, paired=paired, seed=1)
    df, off = (runs - 1, 0.6 * sqrt(runs)) if paired else (2 * runs - 2, 0.6 * sqrt(runs / 2))
    bound = stats.t.ppf(0.975, df)
    exact = stats.nct.sf(bound, df, off) + stats.nct.cdf(-bound, df, off)
    assert found.power.share == pytest.approx(exact, abs=0.05)
    assert found.normal == pytest.approx(exact, abs=0.05)
    assert found.sd == pytest.approx(1, abs=0.03)


def test_a_pilot_of_three_runs_keeps_its_variance() -> None:
    found = power({"a": [0.0, 0, 0], "b": [-1.0, 0, 1]}, seeds=range(3), runs=20, effect=0.6, seed=1)
    assert found.sd == 1
    assert found.power.share == pytest.approx(stats.nct.sf(stats.t.ppf(0.975, 19), 19, 0.6 * sqrt(20)), abs=0.05)


@pytest.mark.parametrize(("paired", "runs"), [(True, 8), (True, 30), (False, 5), (False, 20)])
def test_where_nothing_is_there_power_is_alpha(paired: bool, runs: int) -> None:
    found = power(PAIRS if paired else ARMS, seeds=SEEDS, runs=runs, effect=0.0, paired=paired, seed=2)
    assert found.power.share is not None
    assert 0.02 <= found.power.share <= 0.08


def test_a_design_that_cant_be_significant_has_no_power() -> None:
    """Five pairs give p = 2 / 32 at best, however large the effect; six find it."""
    assert power(PAIRS, seeds=SEEDS, runs=5, effect=100, seed=1).power.share == 0
    assert power(PAIRS, seeds=SEEDS, runs=6, effect=100, seed=1).power.share == 1
    assert power(PAIRS, seeds=SEEDS, runs=5, effect=100, seed=1).normal == 1


def test_needed_runs_are_those_of_cohen() -> None:
    """Cohen 1988, table 2.4.1: 64 an arm for d = 0.5; table 2.4.1 with d √2 for pairs: 34."""
    plain = needed(ARMS, seeds=SEEDS, paired=False, effect=0.5, seed=1)
    assert plain.runs is not None
    assert 55 <= plain.runs <= 72
    pairs = needed(PAIRS, seeds=SEEDS, effect=0.5, seed=1)
    assert pairs.runs is not None
    assert pairs.at is not None
    assert 28 <= pairs.runs <= 40
    assert pairs.at.runs == pairs.runs
    assert (pairs.at.power.share or 0) >= 0.8
    assert pairs.cautious is not None
    assert pairs.normal is not None
    assert pairs.cautious > pairs.normal
    assert needed(PAIRS, seeds=SEEDS, effect=0.5, seed=1) == pairs


def test_pairs_that_share_their_chance_need_fewer_runs() -> None:
    noise = Random(5)
    base = [noise.gauss(0, 10) for _ in range(12)]
    pilot = {"a": base, "b": [value + noise.gauss(2, 1) for value in base]}
    pairs = needed(pilot, seeds=range(12), effect=2, seed=1)
    plain = needed(pilot, seeds=range(12), effect=2, seed=1, paired=False)
    assert pairs.runs is not None
    assert plain.runs is None or plain.runs > 10 * pairs.runs


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 1.0], [None, 2.0]])
def test_a_pilot_too_small_tells_nothing(values: list[float | None]) -> None:
    pilot = {"a": values, "b": values}
    found = power(pilot, seeds=range(len(values)), runs=5, seed=1)
    assert (found.power.share, found.normal) == (None, None)
    assert needed(pilot, seeds=range(len(values)), seed=1).runs is None
    data(found)


def test_an_effect_of_nothing_and_one_too_small_need_no_number_of_runs() -> None:
    assert needed(PAIRS, seeds=SEEDS, effect=0, seed=1).normal is None
    found = needed(PAIRS, seeds=SEEDS, effect=0.01, seed=1, simulations=100)
    assert found.runs is None
    assert found.normal == normal_runs(0.01, stats.tvar(PAIRS["treated"]), 0.8)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"runs": 1}, "runs"),
        ({"runs": 501}, "runs"),
        ({"runs": 5, "alpha": 0.0}, "alpha"),
        ({"runs": 5, "simulations": 0}, "simulations"),
        ({"runs": 5, "effect": float("inf")}, "effect"),
    ],
)
def test_what_is_out_of_range_is_refused(options: dict[str, float], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        power(PAIRS, seeds=SEEDS, seed=1, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="pilot"):
        power({**PAIRS, "third": NORMAL}, seeds=SEEDS, runs=5, seed=1)
    with pytest.raises(ValueError, match="wanted"):
        needed(PAIRS, seeds=SEEDS, seed=1, wanted=1.0)


def test_no_single_draw_of_assignments_decides_what_power_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 19 assignments each draw is a coarse test: by seed, one or two of them for all vary 2 to 3.5 times as much."""
    monkeypatch.setattr("app.analysis.power.ASSIGNMENTS", 19)
    found = [
        power(PAIRS, seeds=SEEDS, runs=13, effect=0.8, seed=seed, simulations=900).power.share or 0
        for seed in range(40)
    ]
    assert stdev(found) < 1.8 * sqrt(fmean(found) * (1 - fmean(found)) / 900)


def test_power_varies_by_seed_as_a_share_does() -> None:
    """As shares of 2,000 do, so that Wilson's interval tells all there is to tell."""
    found = [power(PAIRS, seeds=SEEDS, runs=13, effect=0.8, seed=seed).power.share or 0 for seed in range(30)]
    assert stdev(found) < 1.5 * sqrt(fmean(found) * (1 - fmean(found)) / 2000)


@pytest.mark.parametrize("paired", [True, False])
def test_approximations_never_promise_what_the_test_cannot_show(paired: bool) -> None:
    """A huge effect needs 6 pairs (2 / 2^6 = 0.031), or 4 runs an arm (2 / 70 = 0.029), whatever Gauss says."""
    found = needed(PAIRS if paired else ARMS, seeds=SEEDS, effect=50, paired=paired, seed=1)
    assert (found.runs, found.normal, found.cautious) == ((6,) * 3 if paired else (4,) * 3)


def test_a_pilot_is_smoothed_by_silvermans_bandwidth() -> None:
    """Two runs, ±1: of 200 draws, those between -0.1 and 0.1 are as many as two bells have there."""
    from app.analysis.power import _drawn

    h = (4 / 6) ** 0.2
    drawn = _drawn([-1.0, 1.0], sqrt(2), (200, 1000), np.random.default_rng(1))
    spread = sqrt(1 + h * h)
    wanted = stats.norm.cdf(0.1 * spread, 1, h) - stats.norm.cdf(-0.1 * spread, 1, h)
    assert np.mean(np.abs(drawn) < 0.1) == pytest.approx(wanted, rel=0.05)
    assert drawn.var() == pytest.approx(1, abs=0.02)
