"""Fragments: a closed set that any persona can be given, what contradicts, and TinyTroupe's files."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.agent.population.fragments import apply, fragment_of, fragments, read_fragment
from app.agent.prompt import character
from app.errors import Invalid
from app.world.personas import PersonaSpec

ADA = PersonaSpec(username="ada", description="You keep bees.", interests=["bees"])
FILE: dict[str, Any] = {
    "type": "Fragment",
    "persona": {
        "preferences": {"interests": ["Maps", "bees"], "likes": ["Night trains"]},
        "personality": {"traits": ["restless"]},
        "beliefs": ["Distance helps."],
        "behaviors": {"travel": ["Packs light."]},
    },
}


def refusal(names: list[Any], spec: PersonaSpec = ADA) -> str:
    with pytest.raises(Invalid) as caught:
        apply(spec, names)
    assert all(fault.pointer == "/fragments" for fault in caught.value.errors)
    return caught.value.detail


def test_the_set_is_closed_and_sound() -> None:
    known = fragments()
    assert len(known) >= 16
    assert {"optimist", "contrarian", "tech_sceptic", "busy_parent"} <= known.keys()
    for name, one in known.items():
        assert one.text.endswith(".")
        assert len(one.text) <= 160
        assert one.category
        assert name not in one.against
        assert all(name in known[other].against for other in one.against)  # both ways
    assert len({one.text for one in known.values()}) == len(known)
    assert sum(bool(one.against) for one in known.values()) >= 16


@pytest.mark.parametrize("name", list(fragments()))
def test_each_can_be_applied_and_is_told_to_the_model(name: str) -> None:
    made = apply(ADA, [name])
    assert made.fragments == [name]
    assert ADA.fragments == []
    told = character(made.username, made.description, made.bio, made.model_dump())
    assert fragments()[name].text in told
    assert fragments()[name].text not in character(ADA.username, ADA.description, ADA.bio, ADA.model_dump())


def test_sentences_of_ones_own_stay_as_they_are() -> None:
    spec = ADA.model_copy(update={"fragments": ["Hums while thinking."]})
    made = apply(spec, ["optimist"])
    assert made.fragments == ["Hums while thinking.", "optimist"]
    assert "Hums while thinking." in character("ada", made.description, "", made.model_dump())


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    assert 'unknown fragment "optimis"; nearest are optimist' in refusal(["shy", "optimis"])
    assert "known are optimist, " in refusal(["qqqq"])


def test_contradictions_are_refused_also_with_what_the_persona_has() -> None:
    assert "@ada: the fragments optimist and pessimist contradict each other" in refusal(["optimist", "pessimist"])
    spec = apply(ADA, ["pessimist"])
    assert "contradict" in refusal(["optimist"], spec)
    assert apply(spec, ["pessimist"]) == spec  # again is the same


def test_tinytroupes_fragments_are_read(tmp_path: Path) -> None:
    for name in ("wanderer.fragment.json", "wanderer.agent.fragment.json", "wanderer.json"):
        file = tmp_path / name
        file.write_text(json.dumps(FILE))
        one = read_fragment(file)
        assert one.name == "wanderer"
    made = apply(ADA, [one, "shy"])
    assert made.fragments == ["wanderer", "shy"]
    assert made.interests == ["bees", "Maps"]
    assert made.traits == ["restless"]
    assert made.description.startswith("You keep bees.\n")
    for told in ("Night trains", "Distance helps.", "Packs light."):
        assert told in made.description
    assert apply(made, [one]) == made
    assert fragment_of(FILE, "optimist").name == "optimist_file"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "must be an object, not a list"),
        ({"type": "TinyPerson", "persona": {"name": "x"}}, 'type: must be "Fragment", not "TinyPerson"'),
        ({"type": "Fragment"}, "persona: must be an object that says something"),
        ({"type": "Fragment", "persona": {}}, "persona: must be an object that says something"),
    ],
)
def test_what_is_no_fragment_is_refused(value: Any, words: str, tmp_path: Path) -> None:
    file = tmp_path / "x.fragment.json"
    file.write_text(json.dumps(value))
    with pytest.raises(Invalid) as caught:
        read_fragment(file)
    assert f"x.fragment.json: {words}" in caught.value.detail


@pytest.mark.parametrize(
    "data", [b"{", b"\xff", b'{"type": "Fragment", "type": "Fragment"}', b"{" + b" " * 2**20 + b"}"]
)
def test_a_file_that_is_no_json_is_refused(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "x.fragment.json"
    file.write_bytes(data)
    with pytest.raises(Invalid, match=r"x\.fragment\.json"):
        read_fragment(file)
    with pytest.raises(Invalid, match="cannot be read"):
        read_fragment(tmp_path / "none.fragment.json")
