"""Inequality and exposure have the values that a hand reckons, stay within their bounds and don't mind the order."""

from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy

from app.analysis import exposure, inequality

AMOUNTS = st.lists(st.floats(0, 1e300), min_size=1, max_size=40)


def test_known_attention_gini() -> None:
    """1, 2, 3, 4: (-3·1 - 1·2 + 1·3 + 3·4) / (4 · 10) = 1/4, times 4/3."""
    assert inequality.gini([4, 1, 3, 2], corrected=False) == pytest.approx(1 / 4)
    assert inequality.gini([4, 1, 3, 2]) == pytest.approx(1 / 3)
    assert inequality.gini([0, 0, 5]) == pytest.approx(1), "all in one hand"
    assert inequality.gini([0, 0, 5], corrected=False) == pytest.approx(2 / 3)


def test_known_participation_entropy() -> None:
    assert inequality.entropy([2, 1, 1]) == pytest.approx(1.5)
    assert inequality.entropy([7, 0]) == 0


def test_known_participation_evenness() -> None:
    assert inequality.evenness([2, 1, 1, 0]) == pytest.approx(1.5 / 2), "the silent one counts"
    assert inequality.evenness([3, 3, 3]) == pytest.approx(1)


def test_known_top_share() -> None:
    """Of 20 people the top tenth are two: 10 + 5 of 33."""
    assert inequality.top_share([10, 5] + [1] * 18) == pytest.approx(15 / 33)
    assert inequality.top_share([3, 1], 0.5) == pytest.approx(3 / 4)
    assert inequality.top_share([4, 3, 2, 1, 0]) == pytest.approx(4 / 10), "a tenth of five is one"
    assert inequality.top_share([1] * 10, 0.3) == pytest.approx(0.3), "0.3 · 10 is 3, not a hair more"


def test_nothing_has_no_inequality() -> None:
    for measure in (inequality.gini, inequality.entropy, inequality.evenness, inequality.top_share):
        assert measure([]) is None
        assert measure([0, 0]) is None
    assert inequality.gini([3]) is None
    assert inequality.evenness([3]) is None


@pytest.mark.parametrize("wrong", [[1, -1], [1, float("nan")], [float("inf")], [[1, 2]]])
def test_bad_amounts_are_refused(wrong: list[float]) -> None:
    for measure in (inequality.gini, inequality.entropy, inequality.evenness, inequality.top_share):
        with pytest.raises(ValueError, match="values: "):
            measure(wrong)


def test_the_fault_has_its_place() -> None:
    with pytest.raises(ValueError, match="values: item 2: must be 0 or more"):
        inequality.gini([1, -1])
    with pytest.raises(ValueError, match="top: "):
        inequality.top_share([1], 0)


@given(AMOUNTS, st.randoms())
def test_inequality_keeps_to_its_bounds_and_minds_no_order(values: list[float], chance: object) -> None:
    mixed = sorted(values, key=lambda _: chance.random())  # type: ignore[attr-defined]
    for measure in (inequality.gini, inequality.evenness, inequality.top_share):
        found = measure(values)
        assert found is None or 0 <= found <= 1
        assert found == pytest.approx(measure(mixed))
    if any(values):
        assert 0 <= (inequality.entropy(values) or 0) <= log2(len(values)) + 1e-9


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=30).filter(any), st.integers(1, 1000))
def test_gini_is_the_mean_difference_and_minds_no_unit(values: list[int], unit: int) -> None:
    """Its definition: Σᵢ Σⱼ |xᵢ - xⱼ| / (2 n² x̄)."""
    n, x = len(values), np.array(values)
    assert inequality.gini(values, corrected=False) == pytest.approx(
        np.abs(x[:, None] - x).sum() / (2 * n * n * x.mean())
    )
    assert inequality.gini(x * unit) == pytest.approx(inequality.gini(x))
    assert inequality.entropy(values) == pytest.approx(scipy_entropy(values, base=2), abs=1e-9)


def test_known_exposure_entropy() -> None:
    """0 sees 1 twice and 2 twice: 1 bit. 1 sees 2 alone: 0. What 2 sees of itself does not count."""
    assert exposure.exposure_entropy([0, 0, 0, 0, 1, 2], [1, 1, 2, 2, 2, 2]) == pytest.approx(0.5)
    assert exposure.exposure_entropy([0, 0, 1], [1, 2, 2], [3, 3, 9]) == pytest.approx(0.5)


def test_known_effective_authors() -> None:
    """2 authors and 1 author; with 3 : 1, 2^(2 - 3/4 · log₂ 3)."""
    assert exposure.effective_authors([0, 0, 1], [1, 2, 2]) == pytest.approx(1.5)
    assert exposure.effective_authors([0, 0], [1, 2], [3, 1]) == pytest.approx(2 ** (2 - 0.75 * log2(3)))


def test_known_leaning_entropy() -> None:
    """0 sees 1 and 2 of leaning 5 and 3 and 4 of leaning 9; 6 has none."""
    leaning = [5, 5, 5, 9, 9, 5, exposure.UNKNOWN]
    assert exposure.leaning_entropy([0] * 5, [1, 2, 3, 4, 6], leaning) == pytest.approx(1)
    assert exposure.leaning_entropy([0, 0], [1, 2], leaning) == 0


def test_known_cross_cutting_share() -> None:
    """0: one of three others' is from the other side; 3: one of one; 6 has no leaning and is no viewer."""
    leaning = [5, 5, 5, 9, 9, 5, exposure.UNKNOWN]
    viewer, author = [0, 0, 0, 0, 3, 6], [1, 2, 3, 6, 0, 1]
    assert exposure.cross_cutting_share(viewer, author, leaning) == pytest.approx((1 / 3 + 1) / 2)
    assert exposure.cross_cutting_share([0, 0], [1, 3], leaning, [1, 3]) == pytest.approx(3 / 4)


def test_no_exposure_has_no_measure() -> None:
    assert exposure.exposure_entropy([], []) is None
    assert exposure.effective_authors([1], [1]) is None, "of oneself alone"
    assert exposure.effective_authors([0], [1], [0]) is None, "without weight"
    assert exposure.leaning_entropy([0], [1], [1, -1]) is None
    assert exposure.cross_cutting_share([0], [1], [-1, 1]) is None


def test_bad_exposures_are_refused() -> None:
    with pytest.raises(ValueError, match="equally long: viewer has 1, author has 2"):
        exposure.exposure_entropy([0], [1, 2])
    with pytest.raises(ValueError, match="viewer: must be whole numbers"):
        exposure.exposure_entropy([0.5], [1])
    with pytest.raises(ValueError, match="author: item 2: must be from 0 to 1"):
        exposure.cross_cutting_share([0, 0], [1, 2], [0, 1])
    with pytest.raises(ValueError, match="weight: item 1: must be 0 or more"):
        exposure.effective_authors([0], [1], [-1])


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 5)), max_size=40))
def test_exposure_is_what_plain_loops_find(seen: list[tuple[int, int, int]]) -> None:
    leaning = [0, 0, 1, 1, 2, -1, -1]
    v, a, w = ([row[k] for row in seen] for k in range(3))
    entropies, sides, crossing = [], [], []
    for viewer in range(7):
        mine = [(author, weight) for who, author, weight in seen if who == viewer != author and weight]
        by_author = [sum(x for author, x in mine if author == one) for one in range(7)]
        by_side = [sum(x for author, x in mine if leaning[author] == side) for side in range(3)]
        if mine:
            entropies.append(float(scipy_entropy(by_author, base=2)))
        if sum(by_side):
            sides.append(float(scipy_entropy(by_side, base=2)))
            if leaning[viewer] >= 0:
                crossing.append(1 - by_side[leaning[viewer]] / sum(by_side))

    def middle(values: list[float]) -> object:
        return pytest.approx(sum(values) / len(values), abs=1e-9) if values else None

    assert exposure.exposure_entropy(v, a, w) == middle(entropies)
    assert exposure.effective_authors(v, a, w) == middle([2**h for h in entropies])
    assert exposure.leaning_entropy(v, a, leaning, w) == middle(sides)
    share = exposure.cross_cutting_share(v, a, leaning, w)
    assert share == middle(crossing)
    assert share is None or 0 <= share <= 1
