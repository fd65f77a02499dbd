"""Validation of a population against expectations, and the consistency interview."""

import json
import re
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from app.actions.asking import Multiple, Number, Open, Question, Single, Value
from app.agent.population.compose import compose
from app.agent.population.consistency import consistency, interview_questions
from app.agent.population.expectations import Finding, check, expectations_of
from app.agent.population.sampling import plan
from app.errors import Invalid
from app.world.personas import PersonaSpec
from tests.agent.test_sampling_plan import TOWN


def people(size: int = 60) -> list[PersonaSpec]:
    return compose(plan(TOWN, size, 7), 7)


def changed(one: PersonaSpec, **fields: Any) -> PersonaSpec:
    return one.model_copy(update=fields)


def found(personas: list[PersonaSpec], **expected: Any) -> list[tuple[str, str, str]]:
    return [(one.person, one.field, one.message) for one in check(personas, expectations_of(expected))]


EXPECTED: dict[str, Any] = {
    "required": ["bio", "age", "display_name", "goals", "demographics.gender"],
    "ranges": {"age": {"least": 18, "most": 100}, "activity": {"most": 1}},
    "shares": TOWN,
    "size": {"least": 60, "most": 60},
}


def test_composed_people_are_as_expected() -> None:
    assert check(people(), expectations_of(EXPECTED)) == []
    assert check(people()) == []


def test_each_finding_has_the_persons_name_and_field() -> None:
    ada, bo, *_ = made = people()
    made[0] = changed(ada, bio="", goals=[], demographics={**ada.demographics, "age": 12})
    made[1] = changed(bo, demographics={**bo.demographics, "age": "old"}, display_name=made[2].display_name)
    assert found(made, **{**EXPECTED, "shares": None}) == [
        (f"@{ada.username}", "bio", "is missing"),
        (f"@{ada.username}", "goals", "is missing"),
        (f"@{ada.username}", "age", "is 12, below 18"),
        (f"@{bo.username}", "age", 'must be a number, not "old"'),
        (f"@{made[2].username}", "display_name", f'"{made[2].display_name}" is that of @{bo.username}, too'),
    ]


def test_near_duplicates_are_named_in_pairs_with_their_similarity() -> None:
    ada, bo, cy, *_ = made = people()
    made[2] = changed(cy, description=ada.description.replace("and", "or", 1))
    made[1] = changed(bo, description=ada.description)
    findings = check(made)
    assert [(one.person, one.other) for one in findings] == [
        (f"@{ada.username}", f"@{bo.username}"),
        (f"@{ada.username}", f"@{cy.username}"),
        (f"@{bo.username}", f"@{cy.username}"),
    ]
    assert findings[0].similarity == 1
    assert findings[1].similarity is not None
    assert 0.7 < findings[1].similarity < 1
    assert isinstance(findings[0], Finding)
    assert "(100%)" in str(findings[0])
    assert len(check(made, expectations_of({"similar": 1.0}))) == 1


def test_shares_that_are_off_are_told() -> None:
    made = [one for one in people(200) if one.demographics["gender"] == "woman"]
    told = {field: message for _, field, message in found(made, shares={"marginals": TOWN["marginals"]})}
    assert set(told) == {'gender "woman"', 'gender "man"'}
    assert "100.0% (102 of 102), where 51.0% were asked for" in told['gender "woman"']
    assert found(made, shares={"marginals": TOWN["marginals"]}, tolerance=0.5) == []
    assert found(made[:3], size={"least": 5}) == [("", "size", "is 3, below 5")]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "expectations: must be an object, not a list"),
        ({"requird": []}, "unknown field 'requird'; did you mean 'required'?"),
        ({"ranges": {"age": {"least": 3, "most": 1}}}, "ranges.age: least must not be more than most"),
        ({"ranges": {"age": {"min": 3}}}, "unknown field 'min'"),
        ({"similar": 0}, "similar: must be greater than 0"),
        ({"similar": 1.5}, "similar: must be less than or equal to 1"),
        ({"required": "bio"}, "required: must be a valid tuple"),
        ({"shares": {"marginals": {"a": {"x": -1}}}}, 'shares: marginals.a["x"]: must not be negative'),
    ],
)
def test_wrong_expectations_are_refused_with_the_place(value: Any, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        expectations_of(value)
    assert words in caught.value.detail


# The interview


def honest(spec: PersonaSpec) -> dict[str, Value]:
    """What somebody would answer who knows who they are."""
    told: dict[str, Value] = {}
    for question in interview_questions(spec):
        match question:
            case Multiple(key=key, options=options):
                told[key] = [one for one in options if one in getattr(spec, key)]
            case Single():
                told[question.key] = str(spec.leaning)
            case Number():
                told[question.key] = int(spec.demographics[question.key.partition("_")[2]])
            case Open(key="name"):
                told["name"] = f"I'm {spec.display_name}, hello."
            case Open(key="role"):
                told["role"] = f"These days I am {spec.role}."
            case _:
                told[question.key] = f"{spec.demographics[question.key.partition('_')[2]]}, I would say"
    return told


def test_who_knows_who_they_are_scores_one() -> None:
    for one in people(30):
        told = consistency(one, honest(one))
        assert told.score == 1, told
        assert (told.asked, told.answered) == (len(told.verdicts), len(told.verdicts))
        assert told.asked >= 8


def test_who_takes_themselves_for_somebody_else_scores_low() -> None:
    made = people(40)
    strangers = [consistency(one, honest(other)) for one, other in pairwise(made)]
    assert mean(told.score or 0.0 for told in strangers) < 0.45
    assert all(told.score != 1 for told in strangers)


def test_the_questions_are_valid_the_same_each_time_and_only_of_what_the_prompt_tells() -> None:
    one = people(1)[0]
    questions = interview_questions(one)
    assert questions == interview_questions(one)
    keys = [question.key for question in questions]
    assert len(set(keys)) == len(keys)
    answers = honest(one)
    assert [question.fault(answers[question.key]) for question in questions] == [None] * len(questions)
    secret = changed(one, demographics={**one.demographics, "shoe size": one.demographics["age"], "pet": "ferret"})
    assert interview_questions(secret) == questions
    assert interview_questions(PersonaSpec(username="x", description="Somebody.")) == []


def test_each_verdict_says_what_was_expected_and_got() -> None:
    spec = PersonaSpec(
        username="ada",
        description="Ada, 41, keeps bees in Cork.",
        display_name="Ada Byrne",
        role="bee keeper",
        traits=["patient", "exact"],
        leaning="green",
        demographics={"age": 41, "region": "Cork"},
    )
    questions: dict[str, Question] = {question.key: question for question in interview_questions(spec)}
    assert set(questions) == {"name", "role", "traits", "leaning", "fact0_age", "fact1_region"}
    wrong = next(one for one in getattr(questions["leaning"], "options", ()) if one != "green")
    answers: dict[str, Value] = {
        "name": "Ada",
        "role": "I keep bees and count them",
        "traits": ["patient"],
        "leaning": wrong,
        "fact0_age": 42,
        "fact1_region": 7,
    }
    told = consistency(spec, answers)
    scores = {verdict.key: verdict.score for verdict in told.verdicts}
    assert scores == {
        "name": 0.5,
        "role": 0.5,
        "traits": pytest.approx(2 / 3),
        "leaning": 0.0,
        "fact0_age": 1.0,
        "fact1_region": 0.0,
    }
    assert told.score == pytest.approx(mean(score for score in scores.values() if score is not None))
    by_key = {verdict.key: verdict for verdict in told.verdicts}
    assert (by_key["leaning"].expected, by_key["leaning"].got, by_key["leaning"].why) == ("green", wrong, "contradicts")
    assert by_key["fact1_region"].why.startswith("must be a text")
    assert consistency(spec, {**answers, "fact0_age": 50}).score != told.score


def test_what_was_not_answered_counts_for_nothing() -> None:
    one = people(1)[0]
    told = consistency(one, {"name": str(one.display_name)})
    assert (told.score, told.answered) == (1.0, 1)
    assert consistency(one, {}).score is None


def test_what_the_docs_show_is_read() -> None:
    text = (Path(__file__).parents[2] / "docs" / "populations.md").read_text()
    demographics, expectations = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL))
    assert plan(demographics, 100, 7).worst() < 1
    assert expectations_of(expectations).shares is not None
