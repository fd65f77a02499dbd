"""Activity, opinions by endorsement, tone, collapse and process: known answers, and what has none."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.analysis import activity, collapse, opinions, process, tone
from app.analysis.process import Process
from app.analysis.words import words

SMART = ("VADER is smart, handsome, and funny.", "At least it isn't a horrible book.", "Today SUX!")
"""From the scorer's own page, with the scores that it gives there."""

SMART_SCORES = (0.8316, 0.431, -0.5461)
FOUR = [words(text) for text in ("the tram is late", "The tram is late!", "bread rises slowly", "")]
TOOK = Process(2, 10, 8, 2, 1, 4, 400, 40, 0.5, 0, np.array([100, 200, 300, 400]))


def test_known_active_share() -> None:
    assert activity.active_share([3, 0, 1, 0]) == 0.5
    assert activity.active_share([]) is None
    with pytest.raises(ValueError, match="item 2: must be 0 or more"):
        activity.active_share([1, -1])


def test_known_posts_per_persona() -> None:
    assert activity.per_persona(10, 4) == 2.5
    assert activity.per_persona(0, 4) == 0, "a silent world has a value"
    assert activity.per_persona(0, 0) is None


def test_known_comments_per_persona() -> None:
    assert activity.per_persona(3, 4) == 0.75


def test_known_likes_per_persona() -> None:
    assert activity.per_persona(1, 4) == 0.25


def test_known_follows_per_persona() -> None:
    assert activity.per_persona(12, 4) == 3


def test_sides_are_those_that_leanings_name_or_two_of_any_kind() -> None:
    found = opinions.sides(["labour left", "conservative", "harbour", None])
    assert found[:2].tolist() == [-1, 1]
    assert np.isnan(found[2:]).all()
    assert opinions.sides(["tea", "coffee", None, "tea"])[[0, 1, 3]].tolist() == [1, -1, 1]
    assert np.isnan(opinions.sides(["tea", "coffee", "water"])).all(), "three parties have no two sides"


def test_positions_are_mean_sides_of_whom_one_endorsed() -> None:
    side = np.array([-1.0, -1.0, 1.0, np.nan])
    found = opinions.positions([0, 0, 0, 0, 3, 3, 1], [1, 1, 2, 0, 0, 2, 3], side)
    assert found[[0, 3]].tolist() == pytest.approx([-1 / 3, 0])
    assert np.isnan(found[[1, 2]]).all(), "who endorses nobody on a side has no opinion that is known"
    assert np.isnan(opinions.positions([0, 1], [0, 2], side)[0]), "who endorses oneself says nothing by it"
    with pytest.raises(ValueError, match="author"):
        opinions.positions([0], [4], side)


def test_known_opinion_mean() -> None:
    assert opinions.opinion_mean([-1, 0.5, 0.5, 1]) == 0.25
    assert opinions.opinion_mean([]) is None
    with pytest.raises(ValueError, match="must be 1 or less"):
        opinions.opinion_mean([2])


def test_known_opinion_drift() -> None:
    before, after = np.array([-1, 0, np.nan, 0.5]), np.array([1, 0.5, 0.2, np.nan])
    assert opinions.opinion_drift(before, after) == 1.25
    assert opinions.opinion_drift(before, before) == 0
    assert opinions.opinion_drift(before, np.full(4, np.nan)) is None


def test_known_sentiment_mean() -> None:
    found = tone.sentiments(SMART)
    assert found.tolist() == pytest.approx(SMART_SCORES)
    assert tone.sentiment_mean(found) == pytest.approx(sum(SMART_SCORES) / 3)
    assert tone.sentiment_mean([]) is None


def test_known_sentiment_spread() -> None:
    assert tone.sentiment_spread([-0.5, 0.5]) == 0.5
    assert tone.sentiment_spread([0.3, 0.3]) == 0
    assert tone.sentiment_spread([]) is None


TOXIC = ("You are a stupid idiot.", "your hateful friends", "Go away. You disgust me, you liar!")
HARMLESS = ("What a lovely day.", "You were right.", "The war was terrible.", "You see? War is hell.", "")
MISSED = ("Get out of my country.", "One day somebody will pay you a visit.")
"""What the rule can't hear, as its limits say."""


def test_known_toxicity_share() -> None:
    assert [one for one in (*TOXIC, *HARMLESS, *MISSED) if tone.toxic(one)] == [*TOXIC]
    assert tone.toxicity_share([*TOXIC, *HARMLESS, *MISSED]) == 0.3
    assert tone.toxicity_share([]) is None
    valence = {"hero": 2.6, "blame": -1.4, "boring": -1.3, "idiot": -2.3, "awful": -2.0, "weak": -1.9}
    assert {word: tone._scorer().lexicon[word] for word in valence} == valence
    assert [word for word in valence if tone.toxic(f"you {word}")] == ["idiot", "awful"], "harsh is -2 and less"


def test_known_distinct_share() -> None:
    assert collapse.distinct_share(FOUR, ["", "", "", ""]) == 0.75
    assert collapse.distinct_share(FOUR[:2], ["one", "other"]) == 0.5, "it goes by words"
    assert collapse.distinct_share([[]] * 4, ["🎉", "😀", "😀 ", "..."]) == 0.75, "or by what there is without words"
    assert collapse.distinct_share([], []) is None


def test_known_text_similarity() -> None:
    assert collapse.text_similarity(FOUR[:3]) == pytest.approx(1 / 3), "one of three pairs is the same"
    assert collapse.text_similarity(FOUR[:1]) is None


def test_known_self_similarity() -> None:
    same, other = FOUR[0], FOUR[2]
    found = collapse.self_similarity([same, other, same, other, other], np.array([0, 1, 0, 1, 2]))
    assert found.value == pytest.approx(1), "each repeats itself"
    assert found.n == 2, "one has a single text"
    assert collapse.self_similarity([same, other], np.array([0, 0])).value == 0
    three = collapse.self_similarity([same, other, other], np.array([0, 0, 0]))
    assert three.value == 0, "the one in the middle is a later one"
    assert collapse.self_similarity([same, other], np.array([0, 1])).value is None


def test_known_agreement() -> None:
    assert collapse.agreement(["I agree, true", "that is wrong"]).value == pytest.approx(1 / 3, abs=1e-4)
    assert collapse.agreement(["the tram"]).value is None


def test_known_calls() -> None:
    assert process.summary(TOOK)["calls"] == 4
    nothing = Process(0, 0, 0, 0, 0, 0, 0, 0, 0.0, 0, np.empty(0, np.int64))
    assert set(process.summary(nothing).values()) == {None}


def test_known_prompt_tokens() -> None:
    assert process.summary(TOOK)["prompt_tokens"] == 400


def test_known_completion_tokens() -> None:
    assert process.summary(TOOK)["completion_tokens"] == 40


def test_known_cost_usd() -> None:
    assert process.summary(TOOK)["cost_usd"] == 0.5
    unpriced = Process(2, 10, 8, 2, 1, 4, 400, 40, 0.5, 1, TOOK.latency_ms)
    assert process.summary(unpriced)["cost_usd"] is None, "the sum of some prices is not the cost"


def test_known_latency_p50_ms() -> None:
    assert process.summary(TOOK)["latency_p50_ms"] == 250


def test_known_latency_p95_ms() -> None:
    assert process.summary(TOOK)["latency_p95_ms"] == pytest.approx(385)


def test_known_refusal_share() -> None:
    assert process.summary(TOOK)["refusal_share"] == 0.25


def test_known_missing_turn_share() -> None:
    assert process.summary(TOOK)["missing_turn_share"] == 0.1


@given(st.lists(st.text(max_size=200), max_size=12))
def test_any_text_has_a_tone(texts: list[str]) -> None:
    found = tone.sentiments(texts)
    assert all(-1 <= score <= 1 and math.isfinite(score) for score in found.tolist())
    assert (tone.toxicity_share(texts) is None) == (not texts)
