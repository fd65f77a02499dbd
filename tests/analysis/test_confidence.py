"""Confidence: its evidence, its weights, and how often it is right."""

import json
from dataclasses import astuple
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from app.actions.asking import ExtractedField
from app.analysis import calibration as cases
from app.analysis.confidence import (
    WEIGHTS,
    Calibration,
    Features,
    calibrate,
    confidence,
    features,
    numbers,
    same,
    supported,
)
from app.analysis.quotes import Line
from app.cli import app as cli
from app.streams import stream

PRICE = ExtractedField(name="price", type="number")
BUYS = ExtractedField(name="buys", type="boolean")
DRINK = ExtractedField(name="drink", type="category", options=("green tea", "tea"))
REASON = ExtractedField(name="reason", type="text")
BRANDS = ExtractedField(name="brands", type="list")
TALK = [
    Line(1, "Ana", "I would pay twelve euros for a mug like that."),
    Line(2, "Bo", "Twelve? I would not pay more than 4.50, and only for the lid."),
]


@pytest.fixture(scope="module")
def shipped() -> Calibration:
    return cases.shipped()


def test_evidence_is_a_quote_of_the_person_that_holds_the_value() -> None:
    quote = "I would pay twelve euros"
    assert astuple(features(PRICE, 12, quote, TALK, person="Ana")) == (1, 1, 1, 0, 0)
    assert astuple(features(PRICE, 12, quote, TALK, person="Bo")) == (1, 0, 1, 0, 0)
    assert astuple(features(PRICE, 12, quote, TALK)) == (1, 1, 1, 0, 0)
    assert astuple(features(PRICE, 13, quote, TALK, person="Ana")) == (1, 1, 0, 0, 0)
    assert astuple(features(PRICE, 12, "I would pay dozens of euros", TALK, person="Ana")) == (0, 0, 1, 0, 0)
    assert astuple(features(PRICE, 12, None, TALK, person="Cleo")) == (0, 0, 0, 0, 0)
    assert astuple(features(PRICE, 12, quote, [], person="Ana", repetitions=[12, 12.05, None, 4])) == (0, 0, 0, 1, 0.5)


def test_what_of_a_value_is_in_a_text() -> None:
    assert supported(BUYS, False, "I wouldn't, not for the world") == supported(BUYS, True, "Put me down for one") == 1
    assert supported(BUYS, True, "No, I never buy mugs") == 0
    assert supported(REASON, "the lid stays tight", "What counts is a lid that stays on") == pytest.approx(2 / 3)
    assert supported(BRANDS, ["Alto", "Birch"], "We had an Alto once") == 0.5
    assert supported(BRANDS, [], "none") == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It was 1,200.50 or 3,5 and -4 at last.", {1200.5, 3.5, -4}),
        ("twenty-five, two hundred and five thousand, seven", {25, 205_000, 7}),
        ("five, four, three", {5, 4, 3}),
        ("three million one hundred thousand and twelve", {3_100_012}),
        ("version v2.0 of B12", set()),
        ("a hundred and a thousand", {100}),  # “a thousand” is often said of what nobody counted
        ("9" * 400, set()),
        ("no number, not even half of it", set()),
    ],
)
def test_numbers_in_texts(text: str, expected: set[float]) -> None:
    assert numbers(text) == expected


def test_when_two_extractions_are_the_same() -> None:
    assert same(PRICE, 100, 100.9)
    assert not same(PRICE, 100, 102)
    assert not same(PRICE, 0, 1)
    assert not same(PRICE, 1, True)
    assert same(BUYS, False, False)
    assert not same(BUYS, False, None)
    assert same(REASON, "because the lid stays tight", "The lid stays tight!")
    assert not same(REASON, "the lid", "its colour")
    assert not same(DRINK, "green tea", "tea")
    assert same(BRANDS, ["Alto", "Birch"], ["birch", "ALTO"])
    assert same(BRANDS, [], [])
    assert not same(BRANDS, ["Alto"], ["Birch"])


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.floats(0, 1))
def test_more_evidence_never_makes_less_confident(told: list[float], more: float) -> None:
    for place, again in product(range(3), (0.0, 1.0)):
        raised = [max(x, more) if n == place else x for n, x in enumerate(told)]
        assert confidence(Features(told[0], told[1], told[2], again, again)) <= confidence(
            Features(raised[0], raised[1], raised[2], again, again)
        )


def test_repetition_speaks_for_a_value_or_against_it() -> None:
    once = confidence(Features(1, 1, 1, 0, 0))
    assert confidence(Features(1, 1, 1, 1, 1)) > once > confidence(Features(1, 1, 1, 1, 0.25))
    assert 0 < confidence(Features(0, 0, 0, 1, 0)) < 0.1 < 0.9 < once < 1


def test_the_weights_in_use_are_those_of_the_procedure(shipped: Calibration) -> None:
    assert shipped.weights == WEIGHTS


def test_confidence_is_as_often_right_as_it_says(shipped: Calibration) -> None:
    assert shipped.error < 0.03
    assert shipped.brier < 0.6 * shipped.brier_by_rate
    assert sum(one.right.n for one in shipped.table) == shipped.n > 3_000
    other = cases.examples(seed=99, talks=200)  # other talks, the weights in use
    sure = [right for one, right in other if confidence(one) > 0.9]
    unsure = [right for one, right in other if confidence(one) < 0.2]
    assert sum(sure) / len(sure) > 0.93
    assert sum(unsure) / len(unsure) < 0.15


def test_the_documented_table_is_that_of_the_procedure(shipped: Calibration) -> None:
    told = (Path(__file__).parents[2] / "docs" / "extraction.md").read_text()
    for one in shipped.table:
        figures = (one.confidence, one.right.share, one.right.low, one.right.high)
        mean, right, low, high = (f"{figure:.3f}" for figure in figures if figure is not None)
        assert f"| {one.right.label} | {one.right.n} | {mean} | {right} | {low}–{high} |" in told
    assert f"ECE (Guo et al. 2017, arXiv:1706.04599): {shipped.error:.3f}. Brier score: {shipped.brier:.3f}" in told
    assert ", ".join(map(str, WEIGHTS)) in told


def test_weights_that_know_nothing_are_told_by_the_table() -> None:
    """The control: where being right has nothing to do with evidence, confidence is the overall share, no more."""
    chance = stream(3, "coin")
    blind = calibrate([(one, chance.random() < 0.7) for one, _ in cases.examples(talks=60)])
    assert blind.brier == pytest.approx(blind.brier_by_rate, abs=0.02)
    assert confidence(Features(1, 1, 1, 1, 1), blind.weights) < 0.85


def test_expected_calibration_error_and_brier_score_by_hand() -> None:
    """All features alike: one confidence, the share that is right in the half that was fitted."""
    found = calibrate([(Features(0, 0, 0, 0, 0), n % 4 > 0) for n in range(4_000)], seed=5)
    sure = confidence(Features(0, 0, 0, 0, 0), found.weights)
    (only,) = (one for one in found.table if one.right.n)
    assert only.right.share is not None
    assert only.confidence == pytest.approx(sure)
    assert found.error == pytest.approx(abs(only.right.share - sure))
    right = only.right.share
    assert found.brier == pytest.approx(right * (1 - sure) ** 2 + (1 - right) * sure**2)


def test_a_calibration_needs_right_and_wrong_examples() -> None:
    one = Features(1, 1, 1, 0, 0)
    for examples in ([], [(one, True)] * 60, [(one, True), (one, False)] * 10):
        with pytest.raises(ValueError, match="50 examples"):
            calibrate(examples)
    parted = calibrate([(one, True), (Features(0, 0, 0, 0, 0), False)] * 30)  # without a ridge there would be no end
    assert parted.brier < 0.05


def test_the_command_prints_the_table() -> None:
    answer = CliRunner().invoke(cli, ["calibration", "--talks", "40", "--json"])
    assert answer.exit_code == 0
    told = json.loads(answer.stdout)
    assert (told["talks"], tuple(told["shipped_weights"]), len(told["table"])) == (40, WEIGHTS, 10)
    assert "0.9–1.0" in CliRunner().invoke(cli, ["calibration", "--talks", "40"]).stdout
    assert CliRunner().invoke(cli, ["calibration", "--talks", "3"]).exit_code == 2
