"""Good talk scores high, bad talk is told by its lines and flagged."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.analysis.adherence import Persona
from app.analysis.claims import claims, contradictions
from app.analysis.quotes import Line
from app.analysis.talk import CHECKS, FLAGS, RULES, Asked, Check, CheckName, Quality, agrees, data, differs, quality

QUARREL = (
    ("Ana", "Nobody needs a mug that talks. I have three mugs and none of them has ever said a word."),
    ("Bo", "That's the trouble with yours. Mine tells me when the tea is cold, and last week it saved a whole pot."),
    ("Cleo", "I worry more about the battery: who charges a cup every night, next to the phone and the watch?"),
    ("Ana", "Exactly my point, but worse: in a year the firm goes broke and your cup falls silent."),
    ("Bo", "Then I drink from a silent cup. You make it sound like a funeral, Ana."),
    ("Cleo", "At forty euros it is one. My grandmother's enamel pot cost two and outlived her."),
    ("Ana", "I'd rather see the money go into a lid that closes. Spills are the real disaster at my desk."),
    ("Bo", "A lid I would buy too, and I'd still want the voice, if only to annoy my brother."),
    ("Cleo", "You two will never settle this; let somebody with children decide, they drop everything anyway."),
)
CHORUS = (
    ("Ana", "I think the talking mug is a wonderful product for modern families everywhere."),
    ("Bo", "I totally agree with Ana! The talking mug is a wonderful product for modern families."),
    ("Cleo", "I totally agree with Bo! The talking mug is a wonderful product for modern families."),
    ("Ana", "Absolutely, great point Cleo! The mug is a wonderful product for modern families."),
    ("Bo", "I couldn't agree more, Ana! A wonderful product for modern families everywhere."),
    ("Cleo", "That's a great point, Bo! I totally agree, a wonderful product for modern families."),
    ("Ana", "I completely agree with Cleo! It is a wonderful product for modern families."),
    ("Bo", "Well said, Ana! The talking mug is a wonderful product for modern families."),
    ("Cleo", "Exactly, Bo! I totally agree, the talking mug is a wonderful product for families."),
)


def talk(said: tuple[tuple[str, str], ...], speakers: int = 3) -> list[Line]:
    return [Line(n + 1, who, text, n // speakers + 1) for n, (who, text) in enumerate(said)]


def checked(name: CheckName, *said: str, **more: Any) -> Check:
    found = quality([Line(n, "Ana", text) for n, text in enumerate(said, 1)], [name], **more)
    return found.checks[0]


def rules(check: Check) -> list[tuple[str, int]]:
    return [(finding.rule, finding.line) for finding in check.findings]


def by_name(found: Quality) -> dict[str, Check]:
    return {check.name: check for check in found.checks}


def test_a_lively_quarrel_scores_high() -> None:
    found = quality(talk(QUARREL))
    assert found.score is not None
    assert found.score > 0.95
    assert found.flags == ()
    assert [check.score for check in found.checks if check.score is None] == []


def test_a_chorus_is_flagged() -> None:
    found = quality(talk(CHORUS))
    checks = by_name(found)
    assert "uniform_agreement" in found.flags
    assert "repetition_loop" in found.flags
    assert checks["convergence"].score == 0
    assert checks["convergence"].figures["loops"] == [[2, 9]]
    assert checks["convergence"].figures["agreement"][1:] == [1, 1]
    repetition = checks["repetition"].score
    assert repetition is not None
    assert repetition < 0.6
    quarrel = quality(talk(QUARREL)).score
    assert found.score is not None
    assert quarrel is not None
    assert found.score < quarrel - 0.3


def test_one_who_agrees_with_oneself_or_five_who_agree_once_are_no_loop() -> None:
    alone = [Line(n, "Ana", f"I totally agree with number {n}!") for n in range(12)]
    assert "uniform_agreement" not in quality(alone).flags
    mixed = [
        line if n % 2 else Line(line.number, line.speaker, "I'm not sold on it.") for n, line in enumerate(talk(CHORUS))
    ]
    assert "uniform_agreement" not in quality(mixed).flags
    assert quality(talk(CHORUS)[:6]).flags.count("uniform_agreement") == 0  # five after the first


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I agree.", True),
        ("Yes, Bo, I fully agree with you", True),
        ("Great point, Ana!", True),
        ("You're absolutely right about the lid", True),
        ("That's an excellent idea.", True),
        ("Building on what Cleo said, lids matter", True),
        ("I do not agree with that", False),
        ("I don't agree", False),
        ("Great point, but the price is absurd", False),
        ("I agree that this is nonsense", False),
        ("Yes, I would buy one", False),
        ("The lid is great", False),
        ("", False),
    ],
)
def test_who_only_agrees(text: str, expected: bool) -> None:
    assert agrees(text) is expected


@pytest.mark.parametrize(
    ("rule", "bad", "good"),
    [
        ("cut_off", "I went to the shop and then I saw the", "I went to the shop, and then I saw it"),
        ("cut_off", "What I mean is,", "What I mean is this…"),
        ("broken_encoding", "Itâ€™s a cafÃ© thing", "It’s a café thing, naïve São Paulo"),
        ("broken_encoding", "So \ufffd it goes", "Fish & chips"),
        ("repeated_words", "the the the the", "It was very very good"),
        ("repeated_words", "I like this mug I like this mug", "a cup and a mug and a pot"),
        ("too_short", "…", "No."),
        ("too_long", "word and " * 160, "word and sentence " * 99 + "."),
        ("tool_speak", '{"answer": "yes"}', "She said {perhaps} and left."),
        ("tool_speak", "<|im_start|>assistant hello", "2 < 3 and that's that"),
        ("tool_speak", "Action: speak\nHello", "Action is what we need: now."),
        ("tool_speak", "```json\nhello```", "A `mug` is fine."),
    ],
)
def test_fluency(rule: str, bad: str, good: str) -> None:
    assert (rule, 1) in rules(checked("fluency", bad))
    assert rule not in [broken for broken, _ in rules(checked("fluency", good))]


def test_who_repeats_whom() -> None:
    first = "A lid that closes is all I want from a mug."
    again = quality([Line(1, "Ana", first), Line(2, "Bo", "Prices fall."), Line(3, "Ana", f"Well: {first}")])
    finding = by_name(again)["repetition"].findings[0]
    assert (finding.rule, finding.line, finding.earlier) == ("repeats_itself", 3, 1)
    echo = by_name(quality([Line(1, "Ana", first), Line(2, "Bo", first)]))["repetition"]
    assert [(one.rule, one.earlier) for one in echo.findings] == [("repeats_another", 1)]
    assert echo.score == 0.5
    assert checked("repetition", "No.", "No.").score is None  # too short to tell


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("I love mint tea.", "Honestly, I don't like mint tea at all."),
        ("I really hate crowds", "I enjoy crowds."),
        ("I'd buy that mug.", "I would never buy that mug!"),
        ("I own a dog", "I have no dog"),
        ("I don't trust banks.", "I trust banks, and so should you."),
        ("I'm a vegetarian.", "I am not a vegetarian."),
    ],
)
def test_who_contradicts_oneself(before: str, now: str) -> None:
    check = checked("consistency", before, "The weather is fine.", now)
    assert [(one.rule, one.line, one.earlier) for one in check.findings] == [("contradiction", 3, 1)]
    assert check.score == pytest.approx(2 / 3)
    assert contradictions([Line(1, "Ana", before), Line(2, "Bo", now)]) == []  # two may differ


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("I love mint tea.", "I changed my mind: I don't like mint tea."),
        ("I don't like trams.", "Bo convinced me, I like trams now."),
        ("I love tea.", "I don't like coffee."),
        ("I like trams.", "Do I not like trams?"),
        ("I would buy it.", "If it leaks, I would not buy it."),
        ("I like my dog.", "He said that they don't like my dog."),
        ("I don't never lie", "I love lies"),
    ],
)
def test_what_is_no_contradiction(before: str, now: str) -> None:
    assert contradictions([Line(1, "Ana", before), Line(2, "Ana", now)]) == []


def test_what_a_claim_is() -> None:
    (claim,) = claims(Line(1, "Ana", "Well, I really don’t like cold trams because they squeak."))
    assert (claim.verb, sorted(claim.thing), claim.affirmed) == ("like", ["cold", "tram"], False)


def test_who_answers_otherwise_when_asked_again() -> None:
    asked = [
        Asked("Ana", "Would you buy it?", 5, 1, points=5),
        Asked("Ana", "would you buy it", 1, 2, points=5),
        Asked("Bo", "Would you buy it?", 4, 3, points=5),
        Asked("Bo", "Would you buy it?", 5, 4, points=5),
    ]
    check = checked("consistency", "Five.", "One.", asked=asked)
    assert [(one.rule, one.line, one.speaker) for one in check.findings] == [("answered_otherwise", 2, "Ana")]
    assert (check.figures["asked_again"], check.figures["mean_difference"]) == (2, (1 + 0.25) / 2)


@pytest.mark.parametrize(
    ("one", "other", "points", "off"),
    [
        (2, 4, 5, 0.5),
        (10.0, 8.0, None, 0.2),
        ("red", "blue", None, 1),
        (True, False, None, 1),
        (["a", "b"], ["b", "c"], None, 2 / 3),
        (["a", "b", "c"], ["b", "a", "c"], None, 1 / 3),
        ({"x": 1, "y": 5}, {"x": 5, "y": 5}, 5, 0.5),
        (3, 3, 5, 0),
    ],
)
def test_how_far_answers_differ(one: Any, other: Any, points: int | None, off: float) -> None:
    assert differs(Asked("A", "?", one, 1, points), Asked("A", "?", other, 2, points)) == pytest.approx(off)


def test_who_falls_out_of_character() -> None:
    description = "You are Ana, a retired gardener who distrusts all machines and speaks of roses whenever she can."
    persona = {"Ana": Persona(1, description, {"leaning": "conservative"})}
    check = checked(
        "adherence",
        "My roses need no machine.",
        "As an AI language model, I have no roses.",
        description,
        "Tax the rich, and bring the wealth tax!",
        personas=persona,
    )
    assert set(rules(check)) == {("assistant_speak", 2), ("own_instructions", 3), ("against_leaning", 4)}
    assert check.score == 0.25
    lines = [Line(1, "Zoe", "How can I help you today?")]  # nothing is known of her but how people talk
    assert quality(lines).flags == ("out_of_character",)


def test_nothing_said_and_one_line() -> None:
    assert quality([]).score is None
    assert quality([]).flags == ()
    only = quality([Line(1, "Ana", "A lid that closes is what I want.")])
    assert only.score == 1
    assert quality(talk(QUARREL), []).score is None


def test_growing_likeness_has_a_trend() -> None:
    rounds = [("north wind cold ", "south sun warm "), ("wind sun ", "sun warm "), ("sun warm ", "sun warm ")]
    lines = [
        Line(2 * n + i + 1, who, text * 3, n)
        for n, pair in enumerate(rounds)
        for i, (who, text) in enumerate(zip("AB", pair, strict=True))
    ]
    likeness = by_name(quality([Line(0, "M", "Speak"), *lines]))["convergence"].figures["likeness"]
    assert likeness == sorted(likeness)
    assert likeness[-1] == pytest.approx(1)


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.text(max_size=80)), max_size=12))
def test_any_talk_has_scores_from_0_to_1(said: list[tuple[str, str]]) -> None:
    found = quality([Line(n, who, text) for n, (who, text) in enumerate(said)])
    assert [check.name for check in found.checks] == list(CHECKS)
    assert all(check.score is None or 0 <= check.score <= 1 for check in found.checks)
    assert {finding.rule for check in found.checks for finding in check.findings} <= RULES.keys()
    assert set(found.flags) <= FLAGS.keys()
    json.dumps(data(found), allow_nan=False)


def test_every_rule_belongs_to_a_check() -> None:
    assert {check for check, _ in RULES.values()} == set(CHECKS)
