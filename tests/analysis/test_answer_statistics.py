"""What answers come to, against published figures and figures worked out by hand."""

import json
from collections.abc import Sequence
from math import isclose
from random import Random
from statistics import NormalDist, fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.actions.asking import (
    ExtractedField,
    Likert,
    Matrix,
    Multiple,
    Number,
    Open,
    Question,
    Ranking,
    Single,
    Value,
)
from app.analysis.answers import (
    Grid,
    Numbers,
    Ranks,
    Scale,
    Shares,
    Summary,
    Texts,
    bars,
    concordance,
    consensus,
    data,
    summarise_field,
    summarise_question,
)
from app.analysis.intervals import bootstrap_mean, share, t_mean

COLOURS = ("red", "green", "blue")
QUESTIONS: list[Question] = [
    Single(key="q", text="?", options=COLOURS),
    Multiple(key="q", text="?", options=COLOURS),
    Likert(key="q", text="?"),
    Matrix(key="q", text="?", rows=("price", "smell")),
    Number(key="q", text="?"),
    Ranking(key="q", text="?", options=COLOURS),
    Open(key="q", text="?"),
]
ANSWERS: list[Value] = ["red", ["red", "blue"], 4, {"price": 2, "smell": 5}, 12.5, ["blue", "red", "green"], "Why me?"]
FIELDS = [
    ExtractedField(name="f", type="category", options=COLOURS),
    ExtractedField(name="f", type="boolean"),
    ExtractedField(name="f", type="number"),
    ExtractedField(name="f", type="integer"),
    ExtractedField(name="f", type="text"),
    ExtractedField(name="f", type="list"),
]
FOUND: list[Value] = ["red", True, 1.5, 3, "because", ["one", "two"]]


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_shares_have_the_intervals_of_newcombe(count: int, n: int, low: float, high: float) -> None:
    """Newcombe 1998, Statistics in Medicine 17, table I, method 3."""
    found = share("", count, n)
    assert [found.low, found.high] == pytest.approx([low, high], abs=5e-5)


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_share_lies_in_its_interval(a: int, b: int) -> None:
    found = share("", a, a + b)
    if a + b == 0:
        assert found.share is found.low is found.high is None
        return
    assert found.share is not None
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= found.share <= found.high <= 1


def test_a_mean_with_students_interval() -> None:
    # 1 … 5: s = √2.5, t(4) = 2.776445, so 3 ± 1.963243
    found = t_mean([1, 2, 3, 4, 5])
    assert [found.value, found.low, found.high] == pytest.approx([3, 1.036757, 4.963243])
    assert t_mean([1, 2, 3, 4, 5], 0.99).high == pytest.approx(3 + 4.604095 * 0.5**0.5)


def by_hand(values: Sequence[float], draws: int, seed: int) -> tuple[float, float]:
    """The BCa interval of a mean as Efron & Tibshirani 1993, section 14.3, write it; in plain Python."""
    chance, normal, n, mean = Random(seed), NormalDist(), len(values), fmean(values)
    drawn = sorted(fmean(chance.choices(values, k=n)) for _ in range(draws))
    z = normal.inv_cdf(sum(one < mean for one in drawn) / draws)
    without = [(sum(values) - one) / (n - 1) for one in values]
    off = [fmean(without) - one for one in without]
    a = sum(x**3 for x in off) / (6 * sum(x**2 for x in off) ** 1.5)
    ends = [normal.cdf(z + (z + q) / (1 - a * (z + q))) for q in (normal.inv_cdf(0.025), normal.inv_cdf(0.975))]
    return drawn[round(ends[0] * draws)], drawn[round(ends[1] * draws)]


def test_a_mean_with_a_bootstrapped_interval() -> None:
    prices = [3.1, 4.7, 5.2, 5.9, 6.4, 7.3, 8.8, 12.5, 19.9, 41.0, 2.2, 6.6]
    found, (low, high) = bootstrap_mean(prices, seed=1), by_hand(prices, 20_000, 2)
    assert found.low is not None
    assert found.high is not None
    assert [found.low, found.high] == pytest.approx([low, high], rel=0.03)
    assert found.high - fmean(prices) > fmean(prices) - found.low  # it leans to the long side, as a t-interval can't
    assert found == bootstrap_mean(prices, seed=1) != bootstrap_mean(prices, seed=2)


@given(st.lists(st.floats(-1e12, 1e12), max_size=12))
def test_no_mean_has_an_end_that_is_no_number(values: list[float]) -> None:
    found = bootstrap_mean(values)
    assert (found.value is None) == (not values)
    if found.low is not None and found.high is not None:
        assert found.low <= found.high
        assert found.low >= min(values) or isclose(found.low, min(values), abs_tol=1e-9 * max(map(abs, values)))


def test_consensus_against_published_figures() -> None:
    assert consensus([30, 40, 210, 130, 530, 50, 10]) == pytest.approx(0.7256876)  # the R package agrmt has it
    assert consensus([5, 0, 0, 0, 5]) == 0
    assert consensus([0, 0, 7, 0, 0]) == 1
    assert consensus([0, 0, 0]) is None
    # 1 and 3 of 5 evenly: μ = 2, |x - μ| / d = 1/4, so 1 + log₂(3/4)
    assert consensus([1, 0, 1, 0, 0]) == pytest.approx(0.5849625)


def test_concordance_of_three_judges() -> None:
    """Siegel & Castellan 1988, Nonparametric Statistics, section 9.6: three managers and six applicants, W = .16."""
    ranks = [(1, 6, 3, 2, 5, 4), (1, 5, 6, 4, 2, 3), (6, 3, 2, 5, 4, 1)]
    rankings = [[f"a{place}" for _, place in sorted(zip(of, range(6), strict=True))] for of in ranks]
    w, p = concordance(rankings)
    assert w == pytest.approx(25.5 / 157.5)
    assert p == pytest.approx(0.79, abs=0.01)  # χ² = 2.43 of 5 degrees of freedom
    assert concordance([["a", "b", "c"]] * 4)[0] == 1
    assert concordance(rankings[:1]) == (None, None)


def test_a_scale() -> None:
    found = summarise_question(Likert(key="q", text="?"), [5, 4, 4, 2, None, 9], reasons=[None] * 4 + ["refused"])
    assert isinstance(found, Scale)
    assert found.n == 4
    assert found.missing == {"refused": 1, "not valid: must be a whole number from 1 to 5": 1}
    assert [one.count for one in found.shares] == [0, 1, 0, 2, 1]
    assert (found.mean.value, found.median, found.top.count, found.top.label) == (3.75, 4, 3, "4–5")
    assert found.sd == pytest.approx(1.2583057)
    three = summarise_question(Likert(key="q", text="?", points=3), [3, 2, 3])
    assert isinstance(three, Scale)
    assert (three.top.label, three.top.count) == ("3", 2)


def test_a_matrix_is_a_scale_for_each_row() -> None:
    matrix = Matrix(key="q", text="?", rows=("price", "smell"), points=7)
    found = summarise_question(matrix, [{"price": 1, "smell": 7}, {"price": 3, "smell": 6}, None])
    assert isinstance(found, Grid)
    assert [(row.key, row.mean.value, row.n) for row in found.rows] == [("price", 2, 2), ("smell", 6.5, 2)]
    assert [(bar.label, bar.count, bar.share) for bar in bars(found)] == [("price", 0, 0), ("smell", 2, 1)]


def test_options_and_things_that_were_named() -> None:
    single = summarise_question(QUESTIONS[0], ["red", "red", "blue"])
    assert [(bar.label, bar.count) for bar in bars(single)] == [("red", 2), ("green", 0), ("blue", 1)]
    multiple = summarise_question(QUESTIONS[1], [["red", "blue"], ["red"], [], None])
    assert isinstance(multiple, Shares)
    assert [(one.count, one.n) for one in multiple.shares] == [(2, 3), (0, 3), (1, 3)]
    listed = summarise_field(FIELDS[5], [["Tram", "tram ", "bus"], ["tram"], ["TRAM"]])
    assert next((bar.label, bar.count, bar.share) for bar in bars(listed)) == ("tram", 3, 1)
    truths = summarise_field(FIELDS[1], [True, False, True, 1])
    assert [(bar.label, bar.count) for bar in bars(truths)] == [("yes", 2), ("no", 1)]
    assert truths.missing == {"not valid: must be true or false": 1}


def test_numbers_have_quartiles_as_spreadsheets_have_them() -> None:
    found = summarise_question(Number(key="q", text="?", unit="€"), [1, 2, 3, 4])
    assert isinstance(found, Numbers)
    assert (found.q1, found.median, found.q3, found.least, found.most) == (1.75, 2.5, 3.25, 1, 4)
    assert found.unit == "€"
    many = summarise_question(Number(key="q", text="?"), list(range(1_000)))
    assert len(bars(many)) == 11  # ⌈log₂ 1000⌉ + 1
    assert sum(bar.count for bar in bars(many)) == 1_000


def test_a_ranking() -> None:
    found = summarise_question(
        QUESTIONS[5], [["blue", "red", "green"], ["blue", "green", "red"], ["red", "blue", "green"]]
    )
    assert isinstance(found, Ranks)
    assert [(one.label, one.borda) for one in found.ranks] == [("blue", 5), ("red", 3), ("green", 1)]
    assert [one.mean_rank for one in found.ranks] == [pytest.approx(4 / 3), 2, pytest.approx(8 / 3)]
    assert found.w == pytest.approx(12 * (4 + 0 + 4) / (9 * 24))
    assert [bar.count for bar in bars(found)] == [2, 1, 0]


def test_words_of_texts() -> None:
    found = summarise_question(QUESTIONS[6], ["The lid, the lid!", "A lid and a handle.", "Nothing"])
    assert isinstance(found, Texts)
    assert (found.words, found.different, found.diversity) == (10, 6, None)
    assert found.mean_words.value == pytest.approx(10 / 3)
    assert [(bar.label, bar.count) for bar in bars(found)] == [("lid", 2), ("handle", 1), ("nothing", 1)]


def numbers(value: Any) -> list[Any]:
    """All numbers within."""
    if isinstance(value, dict | list | tuple):
        return [one for part in (value.values() if isinstance(value, dict) else value) for one in numbers(part)]
    return [value] if isinstance(value, float) else []


def summaries(times: int) -> list[Summary]:
    asked = [summarise_question(q, [a] * times) for q, a in zip(QUESTIONS, ANSWERS, strict=True)]
    return asked + [summarise_field(f, [v] * times) for f, v in zip(FIELDS, FOUND, strict=True)]


@pytest.mark.parametrize("times", [0, 1, 2, 40])
def test_none_one_and_equal_answers_of_every_type_are_json(times: int) -> None:
    for summary in summaries(times):
        plain = data(summary)
        assert json.loads(json.dumps(plain, allow_nan=False))["n"] == times
        assert [bar for bar in bars(summary) if bar.share is not None and not 0 <= bar.share <= 1] == []
        assert all(number == number for number in numbers(plain))
        if times == 0:
            assert summary.missing == {}


def test_what_varied_in_nobody_has_no_interval_of_its_mean() -> None:
    for values in ([4], [4, 4, 4]):
        assert (t_mean(values).low, bootstrap_mean(values).high) == (None, None)
        assert t_mean(values).value == bootstrap_mean(values).value == 4
