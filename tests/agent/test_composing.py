"""Composed personas: fitting what was sampled, all different, and the same for the same seed."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.agent.copies import repeated
from app.agent.population import PersonaFormat, parse_personas, write_personas
from app.agent.population.compose import compose, phrases
from app.agent.population.naming import gender_of, group_of, groups
from app.agent.population.resemblance import pairs, resemblance, shingles
from app.agent.population.sampling import Row, plan
from app.analysis.words import vectors, words
from app.errors import Invalid
from app.streams import stream
from app.world.personas import PersonaSpec
from tests.agent.test_sampling_plan import COUNTRY, TOWN


def people(size: int, seed: int = 7) -> list[PersonaSpec]:
    return compose(plan(TOWN, size, seed), seed)


def test_there_are_names_enough() -> None:
    names = {name for group in groups().values() for name in (*group.women, *group.men)}
    surnames = {name for group in groups().values() for name in group.surnames}
    assert len(names) >= 100
    assert len(surnames) >= 100


@pytest.mark.parametrize("demographics", [TOWN, COUNTRY])
def test_a_thousand_people_have_different_names_and_texts(demographics: dict[str, object]) -> None:
    made = compose(plan(demographics, 1000, 7), 7)
    for field in ("username", "display_name", "description", "bio"):
        assert len({str(getattr(one, field)).casefold() for one in made}) == 1000, field
    assert pairs([one.description for one in made]) == []


def test_of_two_hundred_no_two_texts_are_near_duplicates_by_any_measure() -> None:
    made = people(200)
    texts = [one.description for one in made]
    assert pairs(texts) == []
    units = vectors([words(text) for text in texts])
    cosines = [
        sum(x * other.get(word, 0.0) for word, x in unit.items())
        for place, unit in enumerate(units)
        for other in units[:place]
    ]
    assert max(cosines) < 0.6
    told = [json.dumps({"content": text}).encode() for text in texts]
    assert not any(repeated(text, [b"{}", *told[:place], *told[place + 1 :]]) for place, text in enumerate(texts))


def test_the_measures_find_copies() -> None:
    """Without it the test above would be worth nothing."""
    texts = [one.description for one in people(20)]
    texts.append(texts[3].replace("Lives", "Dwells") + " Indeed.")
    assert [(pair.one, pair.other) for pair in pairs(texts)] == [(3, 20)]
    assert repeated(texts[3], [b"{}", json.dumps(json.dumps({"content": texts[20]})).encode()])


def test_pairs_finds_the_pairs_that_looking_at_each_finds() -> None:
    chance = stream(1, "texts")
    texts = [" ".join(chance.choices("abcdef", k=chance.randrange(1, 12))) for _ in range(120)]
    for least in (0.2, 0.5, 1.0):
        looked = [
            (one, other)
            for one in range(len(texts))
            for other in range(one + 1, len(texts))
            if resemblance(shingles(texts[one]), shingles(texts[other])) >= least
        ]
        assert [(pair.one, pair.other) for pair in pairs(texts, least)] == looked


def test_the_same_seed_makes_the_same_people_and_another_seed_others() -> None:
    assert people(30) == people(30)
    sample = plan(TOWN, 30, 7)
    assert {one.username for one in compose(sample, 7)} != {one.username for one in compose(sample, 8)}


def test_a_persona_is_what_was_sampled() -> None:
    sample = plan(TOWN, 60, 7)
    for row, one in zip(sample.rows, compose(sample, 7), strict=True):
        assert one.demographics == row
        assert one.leaning == row["leaning"]
        for fact in (row["age"], row["gender"], row["region"]):
            assert str(fact) in one.description
        assert one.display_name is not None
        assert one.display_name in one.description
        assert one.role
        assert len(one.traits) >= 3
        assert len(one.goals) == 2
        assert one.style
        assert len(one.interests) >= 3
        if isinstance(row["age"], int) and row["age"] >= 67:
            assert one.role.startswith("retired")


def test_what_was_sampled_of_work_traits_and_interests_is_kept() -> None:
    rows: list[Row] = [
        {"occupation": "glassblower", "traits": "calm; exact", "interests": "owls", "age": 30, "extraversion": "Low"}
    ]
    (one,) = compose(rows, 1)
    assert one.role == "glassblower"
    assert one.traits[:3] == ["calm", "exact", "reserved"]
    assert one.interests[0] == "owls"


def test_values_are_never_read_as_templates() -> None:
    (one,) = compose([{"region": "{goals}", "occupation": "{nothing} {name}", "hat {x}": "{y}"}], 1)
    assert "{goals}" in one.description
    assert "{nothing} {name}" in one.description


NAMES = st.sampled_from(
    [
        "age",
        "gender",
        "region",
        "country",
        "occupation",
        "sector",
        "education",
        "leaning",
        "traits",
        "interests",
        "ethnicity",
    ]
)
VALUES = st.dictionaries(st.text(min_size=1, max_size=30), st.integers(1, 9), min_size=1, max_size=4)


@given(st.dictionaries(NAMES | st.text(min_size=1, max_size=20), VALUES, min_size=1, max_size=5), st.integers(0, 2**63))
@settings(max_examples=80, deadline=None)
def test_whatever_demographics_are_valid_can_be_composed(marginals: dict[str, dict[str, int]], seed: int) -> None:
    try:
        sample = plan({"marginals": marginals}, 5, seed)
    except Invalid:
        return
    made = compose(sample, seed)
    assert [one.demographics for one in made] == list(sample.rows)
    assert len({one.username for one in made}) == 5


def test_names_fit_gender_and_place() -> None:
    hispanic = groups()["hispanic"]
    made = compose([{"gender": "Female", "country": "Spain"}] * 40 + [{"gender": "man", "region": "Andalusia"}] * 40, 3)
    for place, one in enumerate(made):
        first, _, surname = str(one.display_name).partition(" ")
        assert first in (hispanic.women if place < 40 else hispanic.men)
        assert surname in hispanic.surnames
    assert [gender_of(value) for value in ("F", "trans woman", "Male", "fluid", None)] == [
        "woman",
        "woman",
        "man",
        "other",
        "",
    ]
    chance = stream(1)
    usa = {"country": "United States of America"}
    assert group_of({**usa, "ethnicity": "Hispanic or Latino"}, chance) is hispanic
    assert group_of({**usa, "ethnicity": "White (Non-Hispanic)"}, chance) is groups()["english"]


def test_names_that_somebody_has_are_not_given_again() -> None:
    first = people(40)
    taken = [name for one in first for name in (one.username, str(one.display_name))]
    again = compose(plan(TOWN, 40, 7), 7, taken=taken)
    assert not {one.username for one in again} & {one.username for one in first}
    assert not {one.display_name for one in again} & {one.display_name for one in first}


def test_many_people_of_one_kind_still_have_names_of_their_own() -> None:
    made = compose([{"gender": "woman", "country": "Israel"}] * 900, 1)
    assert len({one.display_name for one in made}) == 900


def test_they_come_back_from_a_file_as_they_were() -> None:
    made = people(20)
    for name in ("p.json", "p.jsonl", "p.csv"):
        data = write_personas(made, PersonaFormat(name[2:]))
        assert parse_personas(data, name).personas == made


def test_every_slot_of_the_phrases_is_filled() -> None:
    known = {"name", "age_told", "doing", "where", "home", "interest", "interest2", "dislike", "trait", "trait2"}
    for name, phrase in ((name, phrase) for name, list_ in phrases().items() if name != "jobs" for phrase in list_):
        for slot in [part.partition("}")[0] for part in phrase.split("{")[1:]]:
            own = slot if slot in phrases() else slot[0].lower() + slot[1:]
            assert own in known or own in phrases() or slot == "age_Told", (name, slot)
