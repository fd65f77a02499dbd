"""How an effect varies, against a published meta-analysis and figures worked out by hand."""

from math import log, sqrt

import numpy as np
import pytest
from scipy import stats

from app.analysis.comparing import data
from app.analysis.sensitivity import heterogeneity, sensitivity

BCG = [
    *((4, 119, 11, 128), (6, 300, 29, 274), (3, 228, 11, 209), (62, 13536, 248, 12619), (33, 5036, 47, 5761)),
    *((180, 1361, 372, 1079), (8, 2537, 10, 619), (505, 87886, 499, 87892), (29, 7470, 45, 7232)),
    *((17, 1699, 65, 1600), (186, 50448, 141, 27197), (5, 2493, 3, 2338), (27, 16886, 29, 17825)),
]
"""Ill and well with and without the vaccine in 13 trials (Colditz et al. 1994, JAMA 271(9), 698-702)."""

RUNS = [1.0, 2, 3, 4]


def test_the_trials_of_the_bcg_vaccine() -> None:
    """Q = 152.233, I² = 92.12 %, τ² = 0.3088, mean log risk ratio -0.7141 (Viechtbauer 2010, J. Stat. Softw. 36(3)).

    The interval of Hartung and Knapp is that of statsmodels 0.15.0, `combine_effects(…, "chi2", use_t=True)`.
    """
    effects = {}
    for trial, (a, b, c, d) in enumerate(BCG):
        value = log(a / (a + b)) - log(c / (c + d))
        effects[str(trial)] = (value, sqrt(1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)))
    found = heterogeneity(effects)
    assert found.q == pytest.approx(152.233, abs=5e-4)
    assert found.i2 == pytest.approx(0.9212, abs=5e-5)
    assert (found.tau or 0) ** 2 == pytest.approx(0.3088, abs=5e-5)
    assert found.mean.value == pytest.approx(-0.7141, abs=5e-5)
    assert (found.p or 0) < 1e-4
    assert (found.mean.low, found.mean.high) == pytest.approx((-1.107821, -0.320413), abs=1e-6)
    half = stats.t.ppf(0.975, 11) * sqrt(0.3087603 + 0.178742**2)
    assert found.further_high == pytest.approx(-0.7141172 + half, abs=1e-4)
    assert (found.further_low or 0) < (found.mean.low or 0) < (found.mean.high or 0) < (found.further_high or 0)


def test_two_levels_by_hand() -> None:
    """w = 1, 1: mean 2, Q = 2, I² = 1/2, τ² = (2 - 1) / (2 - 2/2) = 1, SE² = 2/2."""
    found = heterogeneity({"a": (1.0, 1.0), "b": (3.0, 1.0)})
    assert (found.q, found.i2, found.tau, found.mean.value) == (2, 0.5, 1, 2)
    assert found.mean.high == pytest.approx(2 + 12.7062, abs=1e-4), "t of one degree of freedom"
    assert found.further_low is None


def test_levels_that_agree_differ_by_chance_alone() -> None:
    found = heterogeneity({"a": (2.0, 1.0), "b": (2.0, 3.0), "c": (2.0, 0.5)})
    assert (found.q, found.i2, found.tau, found.p) == (0, 0, 0, 1)
    half = stats.t.ppf(0.975, 2) / sqrt(1 + 1 / 9 + 4)
    assert found.mean.high == pytest.approx(2 + half), "never as sure as if the levels had no errors"
    one = heterogeneity({"a": (2.0, 1.0)})
    assert (one.k, one.q, one.i2, one.mean.value) == (1, None, None, 2)
    assert one.mean.high == pytest.approx(2 + 1.959964), "a level alone has Gauss' interval"
    assert heterogeneity({}).mean.value is None
    with pytest.raises(ValueError, match="a: "):
        heterogeneity({"a": (2.0, 0.0)})


@pytest.mark.parametrize("paired", [True, False])
def test_effects_by_prompt(paired: bool) -> None:
    outcomes: dict[str, dict[str, list[float | None]]] = {
        "plain": {"latest": [*RUNS], "interest": [3.0, 4.5, 5, 6]},
        "strict": {"latest": [*RUNS], "interest": [0.0, 1, 2.5, 3]},
        "short": {"latest": [*RUNS], "interest": [5.0, None, None, None]},
    }
    found = sensitivity(outcomes, seeds=range(4), arm="interest", control="latest", seed=1, paired=paired)
    assert [one.n for one in found.levels] == [4, 4, 1]
    assert found.left_out == ("short",)
    assert found.lowest == -0.875
    assert found.heterogeneity.k == 2
    assert found.same_sign == pytest.approx(2 / 3)
    if paired:
        assert (found.heterogeneity.i2 or 0) > 0.9
    data(found)


def test_a_level_without_the_arm_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="strict: needs the arms"):
        sensitivity({"strict": {"a": RUNS}}, seeds=range(4), arm="b", control="a", seed=1)
    with pytest.raises(ValueError, match="strict: b: 1 values"):
        sensitivity({"strict": {"a": RUNS, "b": [1.0]}}, seeds=range(4), arm="b", control="a", seed=1)


def test_the_mean_over_few_levels_is_as_sure_as_it_says() -> None:
    """Gauss' interval held the truth in 88 of 100 cases of three levels."""
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(600):
        found = heterogeneity({str(level): (float(rng.normal(0, 0.5) + rng.normal(0, 0.4)), 0.4) for level in range(3)})
        held += (found.mean.low or 0) <= 0 <= (found.mean.high or 0)
    assert held / 600 >= 0.93
