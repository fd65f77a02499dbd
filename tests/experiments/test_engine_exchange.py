"""The simulation engine's persona lists, into our fields and back without loss."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from app.agent.population import PersonaFormat, parse_personas, write_engine
from app.experiments.engine.personas import looked_over
from app.world.personas import ORIGINAL_MOST, PersonaSpec
from tests.experiments.test_engine_personas import TOM, VERA, with_

# There and back


def again(records: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    read = parse_personas(json.dumps(records).encode(), "p.json")
    assert read.problems == []
    data, notes = write_engine(read.personas)
    return json.loads(data), notes


def test_a_list_is_written_as_it_was() -> None:
    rich = with_("personality.mood", {"am": "grey"}) | {"shoe": [1, "x"], "id": "-odd-", "name": "Odd"}
    records = [VERA, TOM, rich, TOM | {"id": "Baker_3-", "name": "T" * 250, "role": "r" * 300}]
    written, notes = again(records)
    assert written == records
    assert notes == []
    assert looked_over(written, "p").faults == ()


filled = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda text: bool(text.strip())
)
engine_records = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.from_regex(r"[A-Za-z0-9_-]{1,50}", fullmatch=True),
            "name": filled,
            "role": filled,
            "description": filled,
            "personality": st.fixed_dictionaries(
                {
                    "traits": st.lists(filled, min_size=1, max_size=3),
                    "goals": st.lists(filled, min_size=1),
                    "style": filled,
                },
                optional={"communication": filled, "approach": st.lists(filled)},
            ),
        },
        optional={
            "type": filled,
            "model": st.none() | st.just("m"),
            "temperature": st.none() | st.floats(0, 2),
            "prompting": st.dictionaries(st.sampled_from(["format", "role"]), filled),
            "x": st.integers() | filled | st.lists(filled, max_size=2),
        },
    ),
    min_size=1,
    max_size=4,
)


@examples(max_examples=150)
@given(engine_records)
def test_what_the_engine_wrote_comes_back_without_loss(records: list[dict[str, Any]]) -> None:
    if not looked_over(records, "p").faults:
        assert again(records)[0] == records


def test_what_has_changed_since_is_written_as_it_is_now() -> None:
    (vera,) = parse_personas(json.dumps([VERA]).encode(), "p.json").personas
    now = vera.model_copy(update={"role": "Editor", "goals": ["rest"], "temperature": None, "bio": "Hello."})
    ((written,), _) = json.loads(write_engine([now])[0]), None
    assert written["role"] == "Editor"
    assert written["personality"] == VERA["personality"] | {"goals": ["rest"]}
    assert "temperature" not in written
    assert written["description"] == VERA["description"]
    assert written["simfeed"] == {"bio": "Hello."}
    (back,) = parse_personas(json.dumps([written]).encode(), "p.json").personas
    assert (back.bio, back.role, back.goals) == ("Hello.", "Editor", ["rest"])


def test_our_own_personas_become_a_list_and_what_it_needs_is_told() -> None:
    ours = [
        PersonaSpec(
            username="a.b", description="d", role="r", traits=["t"], goals=["g"], style="s", interests=["moss"]
        ),
        PersonaSpec(username="a_b", description="d", display_name="a.b"),
    ]
    data, notes = write_engine(ours)
    written = json.loads(data)
    assert [one["id"] for one in written] == ["a_b", "a_b_2"]
    assert len({one["name"] for one in written}) == 2
    assert sorted(note.partition(":")[0] for note in notes) == [
        "personality.goals", "personality.style", "personality.traits", "role",
    ]  # fmt: skip
    (back,) = parse_personas(json.dumps(written[:1]).encode(), "p.json").personas
    assert back.interests == ["moss"]


def test_a_record_too_long_to_be_kept_is_imported_and_told() -> None:
    read = parse_personas(json.dumps([VERA | {"description": "d" * (ORIGINAL_MOST + 1)}]).encode(), "p.json")
    assert read.personas[0].original == ""
    assert any("too long to be kept" in note for note in read.notes)


@pytest.mark.parametrize("original", ["[]", "5", "{", '{"a": 1, "a": 2}', '{"a": "é"}', '{"a": NaN}', "x"])
def test_an_original_is_an_object_in_ascii(original: str) -> None:
    record = {"username": "a", "description": "d", "original": original}
    assert parse_personas(json.dumps([record]).encode(), "p.json").problems
    assert not parse_personas(json.dumps([record | {"original": '{"engine": {}}'}]).encode(), "p.json").problems


def test_every_fault_of_a_record_is_told_at_import_too() -> None:
    wrong = VERA | {"role": "", "temperature": 3}
    read = parse_personas(json.dumps([VERA, wrong, VERA]).encode(), "p.json", PersonaFormat.ENGINE)
    assert [(one.record, one.field) for one in read.problems] == [
        (2, "role"), (2, "temperature"), (3, "id"), (3, "name"),
    ]  # fmt: skip
