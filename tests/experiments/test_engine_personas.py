"""The simulation engine's persona files: each rule, and every fault with its place."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from app.agent.population.engine import look_over
from app.errors import AppError, Invalid
from app.experiments.engine.personas import as_data, chosen, looked_over, read_people, usable

VERA: dict[str, Any] = {
    "type": "persona",
    "id": "critic_1",
    "name": "Vera Stone",
    "role": "Critic",
    "description": "Vera reviews plays.",
    "personality": {
        "traits": ["sharp", "fair"],
        "goals": ["find the flaw"],
        "style": "Terse, dry",
        "communication": "direct",
        "decisions": "quick",
        "approach": "reads first",
    },
    "model": None,
    "temperature": 0.7,
    "prompting": {"format": "markdown", "role": "system"},
    "validation_rules": {"required_traits": ["Sharp"], "max_goals": 3, "style_constraints": ["terse"]},
}
TOM: dict[str, Any] = {
    "id": "baker-2",
    "name": "Tom",
    "role": "Baker",
    "description": "Tom bakes at night.",
    "personality": {"traits": ["calm"], "goals": ["a good crust"], "style": "warm"},
}
PEOPLE = [VERA, TOM]


def with_(place: str, value: Any, of: dict[str, Any] = VERA) -> dict[str, Any]:
    """The record with another value at a place."""
    record = copy.deepcopy(of)
    *above, last = place.split(".")
    inner = record
    for key in above:
        inner = inner.setdefault(key, {})
    inner[last] = value
    return record


def without(place: str) -> dict[str, Any]:
    record = copy.deepcopy(VERA)
    *above, last = place.split(".")
    inner = record
    for key in above:
        inner = inner[key]
    del inner[last]
    return record


def told(*records: object) -> list[str]:
    return [str(fault) for fault in looked_over(list(records), "people.json").faults]


# Rules


def test_a_whole_record_and_the_least_one_are_right() -> None:
    found = looked_over(copy.deepcopy(PEOPLE), "people.json")
    assert found.faults == ()
    assert found.warnings == ()


NO_TEXTS: tuple[Any, ...] = (5, True, ["a"], {"a": 1}, 1.5)
NO_NUMBERS: tuple[Any, ...] = (2.1, -0.1, "0.5", True, 10**300, [1], {})
WRONG: list[tuple[dict[str, Any], str]] = [
    *((without(place), f"{place}: is missing or empty") for place in ("id", "name", "role", "description")),
    *((without(place), f"{place}: is missing or empty") for place in ("personality", "personality.traits")),
    *((with_(place, ""), f"{place}: is missing or empty") for place in ("id", "name", "personality.style")),
    *((with_(place, []), f"{place}: is missing or empty") for place in ("personality.traits", "personality.goals")),
    (with_("name", "  "), "name: is missing or empty"),
    (with_("personality", {}), "personality: is missing or empty"),
    (with_("personality", "x"), "personality: must be an object with traits, goals and style"),
    *((with_("id", bad), "id: must be letters A-Z, digits, '_' or '-'") for bad in ("a b", "a.b", "ä", "a\n", " a")),
    *((with_("id", bad), "id: must be a text, not") for bad in NO_TEXTS),
    *((with_("role", bad), "role: must be a text, not") for bad in (5, False, ["a"])),
    *((with_("temperature", bad), "temperature: must be a number from 0 to 2, not") for bad in NO_NUMBERS),
    (with_("simfeed", 5), "simfeed: must be an object, not 5"),
    (with_("simfeed", {"activity": 2}), "simfeed.activity: must be a number from 0"),
    *((with_("model", bad), "model: must be a text of 1 to 200 characters, not") for bad in (5, "", "m" * 201, ["m"])),
    (with_("type", 5), "type: must be a text, not 5"),
    (with_("personality.traits", ["a", 5]), "personality.traits item 2: must be a text, not 5"),
    (with_("personality.traits", ["a", " "]), "personality.traits item 2: is empty"),
    (with_("personality.traits", {"a": 1}), "personality.traits: must be a list of texts, not an object"),
    (with_("personality.goals", 5), "personality.goals: must be a list of texts, not 5"),
    (with_("personality.style", ["dry"]), "personality.style: must be a text, not a list"),
    (with_("personality.approach", 5), "personality.approach: must be a text or a list of texts, not 5"),
    (with_("prompting", "markdown"), "prompting: must be an object with format and role"),
    (with_("prompting.format", 5), "prompting.format: must be a text, not 5"),
    (with_("validation_rules", []), "validation_rules: must be an object, not a list"),
    (with_("validation_rules.max_goals", "3"), "validation_rules.max_goals: must be a whole number from 1"),
    (with_("validation_rules.max_goals", True), "validation_rules.max_goals: must be a whole number from 1"),
    (with_("validation_rules.max_goals", 0), "validation_rules.max_goals: must be a whole number from 1"),
    (with_("validation_rules.required_traits", 5), "validation_rules.required_traits: must be a list of texts"),
    (with_("validation_rules.required_traits", ["kind"]), 'personality.traits: must hold "kind"'),
    (with_("personality.goals", ["a", "b", "c", "d"]), "personality.goals: has 4 entries, must have at most 3"),
    (with_("validation_rules.style_constraints", ["loud"]), 'personality.style: must say "loud"'),
]


@pytest.mark.parametrize(("record", "message"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
def test_each_rule_is_held_and_tells_its_place(record: dict[str, Any], message: str) -> None:
    (fault,) = told(record)
    assert fault.startswith(f"item 1: {message}")


@pytest.mark.parametrize("value", [0, 2, 0.0, 1.999, 1])
def test_temperatures_within_the_bounds_are_right(value: float) -> None:
    assert told(with_("temperature", value)) == []


@pytest.mark.parametrize("record", [5, None, "x", [], True, 1.5])
def test_what_is_no_record_is_told(record: object) -> None:
    assert told(VERA, record)[0].startswith("item 2: must be an object, not ")


def test_every_fault_of_every_record_is_told() -> None:
    worst = {"id": "a b", "role": 5, "personality": {"goals": []}, "temperature": 3}
    assert told(worst, VERA, 7, worst | {"name": "vera stone"}) == [
        "item 1: id: must be letters A-Z, digits, '_' or '-'",
        "item 1: name: is missing or empty",
        "item 1: role: must be a text, not 5",
        "item 1: description: is missing or empty",
        "item 1: temperature: must be a number from 0 to 2, not 3",
        "item 1: personality.traits: is missing or empty",
        "item 1: personality.goals: is missing or empty",
        "item 1: personality.style: is missing or empty",
        "item 3: must be an object, not 7",
        "item 4: id: must be letters A-Z, digits, '_' or '-'",
        "item 4: role: must be a text, not 5",
        "item 4: description: is missing or empty",
        "item 4: temperature: must be a number from 0 to 2, not 3",
        "item 4: personality.traits: is missing or empty",
        "item 4: personality.goals: is missing or empty",
        "item 4: personality.style: is missing or empty",
        'item 4: id: "a b" is already the id of item 1',
        'item 4: name: "vera stone" is already the name of item 2',
    ]


@pytest.mark.parametrize("same", ["critic_1", "CRITIC_1"])
def test_ids_differ_by_more_than_case(same: str) -> None:
    assert told(VERA, TOM | {"id": same}) == [f'item 2: id: "{same}" is already the id of item 1']


def test_extra_keys_are_no_fault() -> None:
    found = looked_over([with_("personality.mood", "grey") | {"shoe": 5}, TOM], "p")
    assert found.faults == ()
    assert [str(one) for one in found.warnings] == [
        "item 1: shoe: is no field of the engine's",
        "item 1: personality.mood: is no field of the engine's",
    ]


def test_a_constraint_of_several_words_is_told_to_the_persona() -> None:
    found = looked_over([with_("validation_rules.style_constraints", ["terse", "never swears"])], "p")
    assert found.faults == ()
    assert "can't be checked" in found.warnings[0].message
    assert "never swears" in usable(found)[0].bot()["prompt"]
    assert "never swears" not in usable(looked_over([VERA], "p"))[0].bot()["prompt"]


@examples(max_examples=150)
@given(
    st.lists(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from([*VERA, *VERA["personality"], *VERA["validation_rules"], "format", "x"]), inner
                )
            ),
            max_leaves=12,
        ),
        max_size=4,
    )
)
def test_anything_is_looked_over_without_a_traceback(records: list[Any]) -> None:
    found = look_over(records)
    for number, record in enumerate(records, 1):
        if not isinstance(record, dict):
            assert any(fault.item == number and not fault.warning for fault in found)


@examples(max_examples=100)
@given(st.sampled_from(["id", "name", "role", "description", "personality.traits", "personality.style"]), st.data())
def test_a_required_field_of_the_wrong_type_is_always_a_fault(place: str, data: st.DataObject) -> None:
    wrong = (
        st.none() | st.booleans() | st.integers() | st.floats() | st.dictionaries(st.text(), st.integers(), max_size=2)
    )
    assert any(fault.startswith(f"item 1: {place}: ") for fault in told(with_(place, data.draw(wrong))))


# Files


def file_of(tmp_path: Path, data: object, name: str = "people.json") -> Path:
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    return path


@pytest.mark.parametrize("shape", [lambda p: p, lambda p: {"personas": p}, lambda p: {"agents": p}])
def test_the_shapes_that_files_have(tmp_path: Path, shape: Any) -> None:
    assert len(usable(read_people(file_of(tmp_path, shape(PEOPLE))))) == 2


def test_one_object_a_byte_order_mark_and_what_stands_beside(tmp_path: Path) -> None:
    assert [one.id for one in usable(read_people(file_of(tmp_path, VERA)))] == ["critic_1"]
    marked = b"\xef\xbb\xbf" + json.dumps(PEOPLE).encode()
    assert len(usable(read_people(file_of(tmp_path, marked)))) == 2
    found = read_people(file_of(tmp_path, {"version": 1, "agents": PEOPLE}))
    assert [(one.place, one.warning) for one in found.warnings] == [("version", True)]


UNREADABLE = [
    (b"", "is empty"),
    (b"not JSON", "is not JSON"),
    (b"{", "is not JSON"),
    (json.dumps(PEOPLE).encode("utf-16"), "UTF-16"),
    (b"\xff\xfe\x00", "UTF-16"),
    (b'[{"id": "\xe4"}]', "not UTF-8"),
    (b'[{"temperature": NaN}]', "NaN is not a finite number"),
    (b'[{"temperature": 1e999}]', "not a finite number"),
    (b'[{"id": "a", "id": "b"}]', "given twice"),
    (b"[" * 100 + b"]" * 100, "nested deeper"),
    (b"[]", "holds no personas"),
    (b'{"personas": []}', "holds no personas"),
    (b'{"personas": 5}', "must hold a list"),
    (b"5", "must hold a list"),
    (b"null", "must hold a list"),
    (b'"x"', "must hold a list"),
]


@pytest.mark.parametrize(("data", "message"), UNREADABLE)
def test_what_is_no_file_of_personas_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(Invalid, match=message) as refused:
        read_people(file_of(tmp_path, data))
    assert "people.json" in refused.value.detail


def test_a_file_that_is_away_a_folder_and_one_too_big(tmp_path: Path) -> None:
    huge = tmp_path / "huge.json"
    with huge.open("wb") as file:
        file.truncate(65 * 1024**2)
    for path, message in ((tmp_path / "no.json", "no file"), (tmp_path, "can't be read"), (huge, "larger than")):
        with pytest.raises(AppError, match=message):
            read_people(path)


def test_ten_thousand_records_and_all_their_faults() -> None:
    right = [TOM | {"id": f"t{n}", "name": f"Tom {n}"} for n in range(10_000)]
    assert len(usable(looked_over(right, "p"))) == 10_000
    wrong = looked_over([one | {"temperature": 5, "id": "x y"} for one in right], "p")
    assert len(wrong.faults) == 2 * 10_000 + 9_999
    with pytest.raises(Invalid, match="and 29,949 more"):
        usable(wrong)
    with pytest.raises(Invalid, match="at most 100,000"):
        looked_over([TOM] * 100_001, "p")


def test_what_a_terminal_or_a_page_would_obey_does_not_reach_a_name() -> None:
    odd = TOM | {"name": "To\x1b[31mm ⟦x⟧\n\ud800", "role": "Ba\x07ker", "id": "o"}
    (person,) = usable(looked_over([odd], "p"))
    assert person.name == "To [31mm [x]"
    assert person.role == "Ba ker"
    twins = [TOM | {"id": str(n), "name": "N" * 70 + str(n)} for n in range(2)]
    names = [one.name for one in usable(looked_over(twins, "p"))]
    assert len(set(names)) == 2
    assert max(map(len, names)) <= 60


def test_a_look_over_as_data() -> None:
    found = as_data(looked_over([VERA, TOM | {"id": 5}], "p.json"))
    assert (found["valid"], found["total"], found["faulty"]) == (False, 2, 1)
    assert [one["ok"] for one in found["personas"]] == [True, False]
    assert found["personas"][1]["faults"] == [{"place": "id", "message": "must be a text, not 5"}]
    json.dumps(found)


def test_the_refusal_points_at_each_fault() -> None:
    with pytest.raises(Invalid) as refused:
        usable(looked_over([VERA, with_("personality.traits", ["a", 5]) | {"id": "b", "name": "B"}], "p"))
    assert [one.pointer for one in refused.value.errors] == ["/1/personality/traits/1"]


def test_who_is_chosen() -> None:
    people = usable(looked_over([*PEOPLE, TOM | {"id": "c", "name": "Ida"}], "p"))
    assert [one.id for one in chosen(people, [], most=20)] == ["critic_1", "baker-2", "c"]
    assert [one.id for one in chosen(people, ["ida", " CRITIC_1 "], most=20)] == ["c", "critic_1"]
    for wanted, most, message in (
        (["c"], 20, "needs two"),
        (["c", "Ida"], 20, "asked for twice"),
        (["c", "critic1"], 20, "did you mean critic_1"),
        ([], 2, "at most 2"),
    ):
        with pytest.raises(Invalid, match=message):
            chosen(people, wanted, most=most)


def test_no_fault_holds_what_a_terminal_would_obey() -> None:
    odd = "\x1b[31m\x9b\ud800\u202e"
    wrong = with_("validation_rules.required_traits", [odd]) | {odd: 1, "name": odd, "model": [odd]}
    found = looked_over({odd: 1, "agents": [wrong, wrong | {"id": "b"}, VERA]}, "p")
    told = [str(one) for one in (*found.faults, *found.warnings)]
    assert len(told) >= 8
    assert all(line.isprintable() for line in told)
    json.dumps(as_data(found), ensure_ascii=False).encode()
