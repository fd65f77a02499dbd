"""Measures of texts against values worked out by hand, and their bounds."""

from math import log, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.analysis.words import (
    chance_divergence,
    cross_similarity,
    divergence,
    mattr,
    mean_similarity,
    slope,
    vectors,
    words,
)

BAGS = st.lists(st.lists(st.sampled_from("abcdefg"), max_size=8), min_size=2, max_size=8)


def test_words_are_runs_of_letters_and_digits() -> None:
    assert words("Don't stop: 3 trams, @bob’s & söß!") == ["don't", "stop", "3", "trams", "bob's", "söß"]


def test_diversity_is_the_mean_over_all_windows() -> None:
    # windows of 3 in a b a a: {a, b}, {a, b} → 2/3 each
    assert mattr(list("abaa"), window=3) == pytest.approx(2 / 3)
    # a b c d, window 2: always 2 of 2; a a a a: always 1 of 2
    assert mattr(list("abcd"), window=2) == 1.0
    assert mattr(list("aaaa"), window=2) == 0.5
    assert mattr(list("ab"), window=3) is None


@given(st.lists(st.sampled_from("abcdef"), min_size=4, max_size=60))
def test_diversity_slides_as_if_every_window_were_counted(tokens: list[str]) -> None:
    windows = [tokens[n : n + 4] for n in range(len(tokens) - 3)]
    assert mattr(tokens, window=4) == pytest.approx(sum(len(set(w)) / 4 for w in windows) / len(windows))


def test_diversity_does_not_fall_with_length() -> None:
    text = [f"w{n % 40}" for n in range(5_000)]
    assert mattr(text[:200]) == pytest.approx(mattr(text))


def test_likeness_by_hand() -> None:
    # two texts of one word they share and one they don't: idf = 1 for the shared one, ln(3/2) + 1 for the others
    other = log(3 / 2) + 1
    units = vectors([["tram", "red"], ["tram", "blue"]])
    assert mean_similarity(units) == pytest.approx(1 / (1 + other**2))
    assert units[0]["tram"] == pytest.approx(1 / sqrt(1 + other**2))
    assert mean_similarity(vectors([["tram"], ["tram"], ["tram"]])) == pytest.approx(1)
    assert mean_similarity(vectors([["a"], ["b"]])) == 0
    assert mean_similarity(vectors([["a"]])) is None
    assert cross_similarity([], units) is None


@given(BAGS)
def test_likeness_without_pairs_is_that_of_all_pairs(bags: list[list[str]]) -> None:
    units = vectors(bags)
    pairs = [(a, b) for n, a in enumerate(units) for b in units[:n]]
    by_pairs = sum(sum(x * b.get(word, 0) for word, x in a.items()) for a, b in pairs) / len(pairs)
    found = mean_similarity(units)
    assert found is not None
    assert found == pytest.approx(by_pairs, abs=1e-9)
    assert 0 <= found <= 1 + 1e-9


def test_a_slope_and_its_interval_by_hand() -> None:
    # y = 1, 2, 4: b = 3/2; residuals 1/6, -1/3, 1/6: s² = 1/6; Σ(i - ī)² = 2; t(1) = 63.657
    found = slope([(1, 1), (2, 1), (4, 1)])
    assert found is not None
    assert found.per_run == pytest.approx(1.5)
    assert found.high - found.per_run == pytest.approx(63.657 * sqrt(1 / 6 / 2))
    exact = slope([(0.1 * n, 5) for n in range(40)])
    assert exact is not None
    assert exact.n == 20
    assert exact.low == pytest.approx(0.1)
    assert slope([(1, 1), (2, 1)]) is None
    assert slope([(1, 0)] * 5) is None
    # a weight of 2 is as if the value were there twice
    light = slope([(0, 2), (1, 1), (3, 1)])
    assert light is not None
    assert light.per_run == pytest.approx(sum((i - 0.75) * (y - 1) for i, y in ((0, 0), (0, 0), (1, 1), (2, 3))) / 2.75)


def test_divergence_by_hand() -> None:
    assert divergence({"post": 3}, {"post": 7}) == 0
    assert divergence({"post": 3}, {"like": 7}) == 1  # nothing in common: one bit
    # p = (1, 0), q = (1/2, 1/2): H(3/4, 1/4) - 1/2 = 0.811278 - 0.5
    assert divergence({"post": 1}, {"post": 5, "like": 5}) == pytest.approx(0.311278, abs=1e-6)
    assert divergence({}, {"post": 1}) is None


COUNTS = st.dictionaries(st.sampled_from("abcde"), st.integers(1, 50), min_size=1)


@given(COUNTS, COUNTS)
def test_divergence_is_symmetric_and_from_0_to_1(one: dict[str, int], other: dict[str, int]) -> None:
    found = divergence(one, other)
    assert found is not None
    assert 0 <= found <= 1
    assert found == pytest.approx(divergence(other, one) or 0.0, abs=1e-12)


def test_chance_is_what_two_samples_of_one_mix_differ_by() -> None:
    import random

    chance = random.Random(5)
    kinds, n, m = "abcd", 60, 300
    total = 0.0
    for _ in range(400):
        one, other = ([chance.choice(kinds) for _ in range(size)] for size in (n, m))
        total += divergence({k: one.count(k) for k in kinds}, {k: other.count(k) for k in kinds}) or 0.0
    assert total / 400 == pytest.approx(chance_divergence(4, n, m), rel=0.15)
    assert chance_divergence(4, 60, float("inf")) == pytest.approx(3 / 60 / (8 * log(2)))
