"""Measures of language over time have the values that a hand reckons, and those of the talk's own rules."""

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from app.analysis import drift
from app.analysis.quotes import Line
from app.analysis.talk import quality
from app.analysis.words import chance_divergence, mattr

COUNTS = st.dictionaries(st.sampled_from(["tram", "bread", "rain", "goal"]), st.integers(1, 90))


def test_known_topic_drift() -> None:
    """p = (1, 0), q = (1/2, 1/2): H(3/4, 1/4) - 1/2. A word that comes four times in all doesn't count."""
    mixed = -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25))
    assert drift.topic_drift({"tram": 10}, {"tram": 10, "bread": 10, "rain": 4}) == pytest.approx(mixed - 0.5)
    assert drift.topic_drift({"tram": 9}, {"bread": 9}) == pytest.approx(1)


def test_known_topic_drift_excess() -> None:
    """1 bit less (2 - 1)(1/50 + 1/50) / (8 ln 2)."""
    assert drift.topic_drift_excess({"tram": 50}, {"bread": 50}) == pytest.approx(1 - 0.04 / (8 * np.log(2)))
    assert drift.topic_drift_excess({"tram": 50}, {"tram": 5}) == 0


def test_known_near_copy_rate() -> None:
    """The second has 2 of its 3 stretches from the first, the third 1 of 3; the fourth is too short to tell."""
    texts = [one.split() for one in ("a b c d e f", "a b c d e x", "a b c d y z", "a b c")]
    assert drift.said_before(texts)[:3].tolist() == pytest.approx([0, 2 / 3, 1 / 3])
    assert np.isnan(drift.said_before(texts)[3])
    assert drift.near_copy_rate(texts) == pytest.approx(1 / 3)


def test_known_lexical_diversity() -> None:
    """Stretches of three of a b a b c: 2, 2, 3 different words."""
    assert drift.lexical_diversity([["a", "b", "a"], ["b", "c"]], [0, 0], 3) == [pytest.approx(7 / 9)]
    assert drift.lexical_diversity([["a"] * 60, ["b"]], [0, 1]) == [pytest.approx(1 / 50), None]


def test_known_text_length() -> None:
    assert drift.text_length([["a", "b"], [], ["c"]]) == pytest.approx(1)


def test_windows_are_told_apart() -> None:
    texts = [["the", "tram", "is", "late"], ["bread", "and", "rain"], ["tram", "tram", "ok"]]
    assert drift.topics(texts, [0, 2, 0]) == [Counter(tram=3, late=1), Counter(), Counter(bread=1, rain=1)]
    shares = [0.5, 1.0, 0.2, float("nan")]
    assert drift.near_copy_rates(shares, [0, 0, 0, 2]) == [pytest.approx(2 / 3), None, None]


def test_what_has_no_value_is_none() -> None:
    assert drift.topic_drift({}, {"tram": 9}) is None
    assert drift.topic_drift({"tram": 2}, {"tram": 2}) is None, "too seldom"
    assert drift.drifts([]) == []
    assert drift.near_copy_rate([]) is None
    assert drift.near_copy_rate([["a"]]) is None
    assert drift.text_length([]) is None
    assert drift.topics([], []) == []


def test_bad_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="window: must be one for each of 1 texts, not 2"):
        drift.topics([["a"]], [0, 1])
    with pytest.raises(ValueError, match="window: item 1: must be from 0"):
        drift.lexical_diversity([["a"]], [-1])
    with pytest.raises(ValueError, match="shares: item 1: must be 1 or less"):
        drift.near_copy_rates([2], [0])


@given(COUNTS, COUNTS)
def test_scipy_agrees_on_drift_within_bounds(one: dict[str, int], other: dict[str, int]) -> None:
    common = [word for word in {**one, **other} if one.get(word, 0) + other.get(word, 0) >= drift.COMMON]
    p, q = ([of.get(word, 0) for word in common] for of in (one, other))
    found = drift.topic_drift(one, other)
    if not sum(p) or not sum(q):
        assert found is None
        return
    assert found == pytest.approx(jensenshannon(p, q, base=2) ** 2, abs=1e-7)
    assert found == pytest.approx(drift.topic_drift(other, one))
    by_chance = chance_divergence(len(common), sum(p), sum(q))
    assert drift.topic_drift_excess(one, other) == pytest.approx(max(0, (found or 0) - by_chance), abs=1e-7)


def test_two_samples_of_one_mix_hardly_drift_and_another_mix_does() -> None:
    chance = random.Random(2)
    names = [f"word{k}" for k in range(60)]
    same = [Counter(chance.choices(names, k=2000)) for _ in range(3)]
    other = Counter(chance.choices(names[30:], k=2000))
    assert all(found is not None and found < 0.01 for found in drift.drifts(same))
    turned = drift.topic_drift_excess(same[0], other)
    assert turned is not None
    assert turned > 0.2


@pytest.mark.parametrize("seed", range(5))
def test_the_talk_finds_the_same_copies(seed: int) -> None:
    chance = random.Random(seed)
    texts = [chance.choices("abc", k=chance.randint(0, 9)) for _ in range(40)]
    lines = [Line(k, "ann", " ".join(text)) for k, text in enumerate(texts)]
    check = quality(lines, ["repetition"]).checks[0]
    share = drift.said_before(texts)
    known = share[~np.isnan(share)]
    assert check.of == len(known)
    assert check.score == pytest.approx(1 - known.mean())
    assert drift.near_copy_rate(texts) == pytest.approx(len(check.findings) / check.of)


@given(st.lists(st.lists(st.sampled_from("abcde"), max_size=12), max_size=20))
def test_language_keeps_to_its_bounds(texts: list[list[str]]) -> None:
    share = drift.said_before(texts)
    assert share.shape == (len(texts),)
    assert ((share >= 0) & (share <= 1) | np.isnan(share)).all()
    rate = drift.near_copy_rate(texts)
    assert rate is None or 0 <= rate <= 1
    flat = [word for text in texts for word in text]
    assert drift.lexical_diversity(texts, [0] * len(texts), 5) == ([mattr(flat, 5)] if texts else [])
