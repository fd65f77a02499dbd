"""Adjusted p values, against published tables and scipy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from app.analysis.corrections import adjust, benjamini_hochberg, holm

INFARCTION = [
    *(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344),
    *(0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000),
]
"""The 15 comparisons of Benjamini & Hochberg 1995, §3.2."""

PS = st.lists(st.floats(0, 1), max_size=30)


def test_benjamini_and_hochbergs_example() -> None:
    """They reject four with a false discovery rate of 0.05, and three with Bonferroni's or Hochberg's procedure."""
    found = benjamini_hochberg(INFARCTION)
    assert sum(p <= 0.05 for p in found if p is not None) == 4
    assert sum(p <= 0.05 for p in holm(INFARCTION) if p is not None) == 3
    assert found[:4] == pytest.approx([0.0015, 0.003, 0.0095, 0.035625])


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([]) == benjamini_hochberg([]) == []
    assert holm([0.04]) == benjamini_hochberg([0.04]) == [0.04]


def test_what_has_no_p_still_counts() -> None:
    assert holm([0.01, None, 0.02]) == [0.03, None, 0.04]
    assert benjamini_hochberg([0.01, None, 0.02]) == pytest.approx([0.03, None, 0.03])
    assert holm([None]) == [None]


@given(PS)
def test_benjamini_hochberg_is_scipys(ps: list[float]) -> None:
    if ps:
        assert benjamini_hochberg(ps) == pytest.approx(list(stats.false_discovery_control(ps)))


@given(PS)
def test_adjusting_keeps_the_order_and_lies_between_p_and_bonferroni(ps: list[float]) -> None:
    strict, mild = holm(ps), benjamini_hochberg(ps)
    order = sorted(range(len(ps)), key=lambda place: ps[place])
    for adjusted in (strict, mild):
        known = [adjusted[place] or 0 for place in order]
        assert known == sorted(known)
    for p, q, r in zip(ps, strict, mild, strict=True):
        assert q is not None
        assert r is not None
        assert p * (1 - 1e-12) <= r <= q * (1 + 1e-12) <= min(1, len(ps) * p) * (1 + 1e-9)


def test_families_are_adjusted_each_for_itself() -> None:
    found = {
        one.key: one for one in adjust({"gini": 0.02, "reach": 0.03}, {"length": 0.02, "links": 0.03, "likes": None})
    }
    assert found["gini"].adjusted == pytest.approx(0.04)
    assert (found["gini"].method, found["gini"].of, found["gini"].significant) == ("holm", 2, True)
    assert found["length"].adjusted == pytest.approx(0.045)
    assert (found["likes"].adjusted, found["likes"].significant, found["likes"].of) == (None, None, 3)


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_what_is_no_p_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="test 2"):
        holm([0.5, p])
    with pytest.raises(ValueError, match="both"):
        adjust({"a": 0.1}, {"a": 0.1})


def test_holm_finds_nothing_false_where_twenty_uncorrected_tests_do() -> None:
    """Of 1,000 reports with 20 outcomes that don't differ, some 640 have a p ≤ 0.05; of adjusted ones some 50."""
    from random import Random

    noise = Random(3)
    plain = adjusted = 0
    for _ in range(1_000):
        ps = [noise.random() for _ in range(20)]
        plain += min(ps) <= 0.05
        adjusted += min(p for p in holm(ps) if p is not None) <= 0.05
    assert plain > 550
    assert adjusted < 80


def test_a_p_of_just_alpha_is_significant() -> None:
    both = adjust({"a": 0.025, "b": 1.0}, {"c": 0.05})
    assert [one.adjusted for one in both] == [0.05, 1.0, 0.05]
    assert [one.significant for one in both] == [True, False, True]
