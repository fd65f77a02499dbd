"""Measures of opinions have the values that a hand reckons and scipy finds, and keep to their bounds."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import kurtosis, skew

from app.analysis import polarisation

OPINIONS = st.lists(st.floats(-1, 1), min_size=1, max_size=40)
MASSES = st.lists(st.integers(0, 50), min_size=7, max_size=7).filter(any)


def test_known_opinion_variance() -> None:
    assert polarisation.variance([1, 2, 3, 4]) == pytest.approx(1.25)
    assert polarisation.variance([-1, 1, -1, 1]) == pytest.approx(1), "the most there can be from -1 to 1"


def test_known_bimodality() -> None:
    """1, 2, 3, 4, 5: g = 0, k = -1.2, 3 · 16 / (3 · 2) = 8, so 1 / 6.8. Two halves of four: g = 0, k = -6, 1 / 7.5."""
    assert polarisation.bimodality([1, 2, 3, 4, 5]) == pytest.approx(1 / 6.8)
    assert polarisation.bimodality([0, 0, 1, 1]) == pytest.approx(1 / 7.5)
    assert polarisation.bimodality([-1, 1] * 5000) == pytest.approx(1, abs=1e-3)
    assert polarisation.bimodality(np.linspace(-1, 1, 20_001)) == pytest.approx(5 / 9, abs=1e-3)


def test_known_esteban_ray() -> None:
    """Two halves at the ends: 1. Thirds at -1, 0, 1 with α = 1: 4/2 · (1/3)³ · (4 · 1 + 2 · 2)."""
    assert polarisation.esteban_ray([5, 5], [-1, 1]) == pytest.approx(1)
    assert polarisation.esteban_ray([1, 1, 1], [-1, 0, 1]) == pytest.approx(2 * 8 / 27)
    assert polarisation.esteban_ray([3, 1], [-1, 1]) == pytest.approx(2 * (9 / 16 * 1 / 4 + 1 / 16 * 3 / 4) * 2)
    assert polarisation.esteban_ray([4, 0], [-1, 1]) == 0


def test_opinions_go_to_the_nearest_point() -> None:
    counts, places = polarisation.on_points([-1, -0.9, 0.1, 1, 1], points=3)
    assert (counts.tolist(), places.tolist()) == ([2, 1, 2], [-1, 0, 1])
    counts, places = polarisation.on_points([0.5, -0.5])
    assert places.tolist() == pytest.approx([-1, -2 / 3, -1 / 3, 0, 1 / 3, 2 / 3, 1]), "seven of them"
    assert counts.tolist() == [0, 0, 1, 0, 0, 1, 0], "who is halfway goes up"


def test_what_has_no_value_is_none() -> None:
    assert polarisation.variance([]) is None
    assert polarisation.bimodality([1, 2, 3]) is None
    assert polarisation.bimodality([2, 2, 2, 2]) is None
    assert polarisation.esteban_ray([0, 0], [-1, 1]) is None


def test_bad_opinions_are_refused() -> None:
    with pytest.raises(ValueError, match="opinions: item 2: must be finite"):
        polarisation.variance([0, float("nan")])
    with pytest.raises(ValueError, match="opinions: item 1: must be 1 or less"):
        polarisation.on_points([1.5])
    with pytest.raises(ValueError, match="points: "):
        polarisation.on_points([0], points=1)
    for alpha in (0, 1.7):
        with pytest.raises(ValueError, match="alpha: "):
            polarisation.esteban_ray([1, 1], [-1, 1], alpha=alpha)
    with pytest.raises(ValueError, match="places: must be within a width of 2, not 3"):
        polarisation.esteban_ray([1, 1], [0, 3])
    with pytest.raises(ValueError, match="equally long"):
        polarisation.esteban_ray([1], [0, 1])


@pytest.mark.parametrize("n", [4, 5, 30, 1000])
def test_scipy_agrees_on_bimodality(n: int) -> None:
    x = np.random.default_rng(n).gamma(2, size=n)
    share = 3 * (n - 1) ** 2 / ((n - 2) * (n - 3))
    assert polarisation.bimodality(x) == pytest.approx(
        (skew(x, bias=False) ** 2 + 1) / (kurtosis(x, bias=False) + share)
    )


@given(OPINIONS)
def test_opinions_keep_to_their_bounds_and_mind_no_mirror(opinions: list[float]) -> None:
    x = np.array(opinions)
    assert 0 <= (polarisation.variance(x) or 0) <= 1 + 1e-12
    assert polarisation.variance(-x) == pytest.approx(polarisation.variance(x))
    found = polarisation.bimodality(x)
    assert found is None or 0 <= found <= 1
    if found is not None and np.ptp(x) > 1e-3:
        assert polarisation.bimodality(-x) == pytest.approx(found)
        assert polarisation.bimodality(3 * x + 5) == pytest.approx(found, rel=1e-6)


@given(MASSES, st.floats(0.05, 1.6))
def test_esteban_ray_is_its_double_sum_and_halves_at_the_ends_are_the_most(masses: list[int], alpha: float) -> None:
    places = np.linspace(-1, 1, 7)
    p = np.array(masses) / sum(masses)
    apart = np.abs(places[:, None] - places)
    whole = 2 ** (1 + alpha) / 2 * float((p[:, None] ** (1 + alpha) * p * apart).sum())
    assert whole <= 1 + 1e-9
    assert polarisation.esteban_ray(masses, places, alpha=alpha) == pytest.approx(whole, abs=1e-12)
    assert polarisation.esteban_ray(masses[::-1], places, alpha=alpha) == pytest.approx(whole, abs=1e-12)


@given(st.lists(st.integers(1, 50), min_size=2, max_size=7), st.floats(0.1, 1.6))
def test_groups_of_one_place_are_one_group(masses: list[int], alpha: float) -> None:
    assume(sum(masses) > 2)
    split = polarisation.esteban_ray([*masses, 9], [0.0] * len(masses) + [1.0], alpha=alpha)
    assert split == pytest.approx(polarisation.esteban_ray([sum(masses), 9], [0, 1], alpha=alpha))
