"""Persona files: what is read, what is refused and in which words, and what comes back as it was."""

import csv
import io
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.agent.population import (
    PersonaFormat,
    parse_personas,
    read_agents,
    read_personas,
    write_oasis_csv,
    write_oasis_json,
    write_personas,
    write_tinytroupe,
)
from app.agent.population.files import BYTES_MAX
from app.agent.population.foreign import slug
from app.agent.population.oasis import MAPPED, is_left_out
from app.agent.population.tables import whole_number
from app.errors import Invalid
from app.world.personas import PersonaSpec

DATA = Path(__file__).parent / "data"
OURS = [PersonaFormat.JSON, PersonaFormat.JSONL, PersonaFormat.CSV]
ADA = {"username": "ada", "description": "You keep bees."}


def problems(records: object, name: str = "p.json") -> list[str]:
    return [str(problem) for problem in parse_personas(json.dumps(records).encode(), name).problems]


def refusal(data: bytes, name: str = "p.json", format: PersonaFormat | None = None) -> str:  # noqa: A002
    with pytest.raises(Invalid) as caught:
        parse_personas(data, name, format)
    return caught.value.detail


def read(name: str) -> list[PersonaSpec]:
    result = read_personas(DATA / name)
    assert result.problems == []
    return result.personas


# Our own formats


@pytest.mark.parametrize("name", ["ours.json", "ours.jsonl", "ours.csv"])
def test_reads_our_formats(name: str) -> None:
    ada, bo = read(name)
    assert (ada.username, bo.username) == ("ada", "bo.tree")
    assert bo.description.startswith("You climb trees")


def test_reads_every_kind_of_cell() -> None:
    ada, bo = read("ours.csv")
    assert ada.description == "You keep bees,\nand count them."
    assert ada.traits == ["patient", "exact"]
    assert ada.temperature == 0.4
    assert ada.demographics == {"age": 41, "country": "Ireland"}
    assert bo.traits == ["a;b", "c"]
    assert bo.temperature is None


@pytest.mark.parametrize("value", [ADA, [ADA], {"personas": [ADA]}])
def test_json_may_be_an_object_a_list_or_a_named_list(value: object) -> None:
    result = parse_personas(json.dumps(value).encode(), "-")
    assert [persona.username for persona in result.personas] == ["ada"]


@pytest.mark.parametrize(
    ("data", "username"),
    [
        (b'{"username": "a", "persona": "x"}\n{"username": "b", "persona": "y"}\n', "a"),
        (b"username,persona\na,x\n", "a"),
        (b'\n [\n{"username": "a", "persona": "x"}]', "a"),
        ("username,persona\né,x\na,x\n".encode("utf-8-sig"), "a"),
    ],
)
def test_the_content_decides_when_the_name_does_not(data: bytes, username: str) -> None:
    assert parse_personas(data, "-").personas[0].username == username


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": "hot"}, 'p.json, record 2, field temperature: must be a number from 0 to 2, not "hot"'),
        ({"temperature": 2.5}, "field temperature: must be a number from 0 to 2, not 2.5"),
        ({"temperature": True}, "field temperature: must be a number from 0 to 2, not true"),
        ({"activity": None}, "field activity: must be a number from 0 to 1, not null"),
        ({"tempature": 1}, "field tempature: unknown field 'tempature'; did you mean 'temperature'?"),
        ({"q": 1}, "unknown field 'q'; known are username, description, "),
        ({"status": "asleep"}, 'field status: must be "active" or "paused", not "asleep"'),
        ({"traits": "kind"}, 'field traits: must be a list of texts, not "kind"'),
        ({"traits": ["kind", 7]}, "field traits item 2: must be a text, not 7"),
        ({"traits": ["a", " "]}, "field traits item 2: must not be empty"),
        ({"goals": ["x"] * 33}, "field goals: has 33 entries, at most 32 are allowed"),
        ({"style": "x" * 201}, "field style: has 201 characters, at most 200 are allowed"),
        ({"bio": 5}, "field bio: must be a text, not 5"),
        ({"bio": "a\0b"}, "field bio: holds U+0000, a control character or lone surrogate, which is not allowed"),
        ({"bio": "\ud800"}, "lone surrogate, which is not allowed"),
        ({"username": "a b"}, "field username: must be 1 to 40 letters A-Z, digits,"),
        ({"username": "ADA"}, 'field username: "ADA" is already the username of record 1'),
        ({"persona": "y"}, "field persona: is another name of description; give only one of them"),
        ({"demographics": {"age": 1.5}}, "field demographics.age: must be a text of at most 200 characters or a whole"),
        ({"demographics": [1]}, "field demographics: must be an object, not a list"),
    ],
)
def test_names_the_wrong_field_and_what_is_allowed(change: dict[str, Any], message: str) -> None:
    found = problems([ADA, {"username": "bo", "description": "x"} | change])
    assert len(found) == 1
    assert message in found[0]


def test_reports_every_problem_and_keeps_the_rest() -> None:
    result = parse_personas(json.dumps([{"username": "!"}, 7, ADA]).encode(), "p.json")
    assert [(problem.record, problem.field) for problem in result.problems] == [
        (1, "username"),
        (1, "description"),
        (2, ""),
    ]
    assert str(result.problems[1]) == "p.json, record 1, field description: is missing"
    assert str(result.problems[2]) == "p.json, record 2: must be an object, not 7"
    assert len(result.personas) == 1


def test_a_wrong_line_of_jsonl_is_one_problem() -> None:
    result = parse_personas(b'{"username": "a", "persona": "x"}\n\n{"username": "b", "username": "c"}\n{\n', "p.jsonl")
    assert [str(problem) for problem in result.problems] == [
        'p.jsonl, record 2 (line 3): is not JSON: column 19: the key "username" is given twice',
        "p.jsonl, record 3 (line 4): is not JSON: column 2: expecting property name enclosed in double quotes",
    ]
    assert len(result.personas) == 1


def test_csv_problems_name_record_and_line() -> None:
    data = b'username,persona,temperature,traits\na,"x\ny",hot,\nb,x\nc,x,,"[1"\nd,x,1,a;;b\ne,x,01,\nf,x,1,,\n'
    found = [str(problem) for problem in parse_personas(data, "personas.csv").problems]
    assert found[0] == ('personas.csv, record 1 (line 2), field temperature: must be a number from 0 to 2, not "hot"')
    assert found[1] == "personas.csv, record 2 (line 4): has 2 cells, but the header has 4 columns"
    assert "record 3 (line 5), field traits: must be an array in JSON: line 1, column 3" in found[2]
    assert found[3] == "personas.csv, record 4 (line 6), field traits item 2: must not be empty"
    assert 'record 5 (line 7), field temperature: must be a number from 0 to 2, not "01"' in found[4]
    assert found[5] == "personas.csv, record 6 (line 8): has 5 cells, but the header has 4 columns"


def test_a_demographic_given_twice_is_refused() -> None:
    data = b'username,persona,demographics.age,demographics\na,x,3,"{""age"": 4}"\n'
    assert "field demographics.age: is given both" in str(parse_personas(data, "p.csv").problems[0])


@pytest.mark.parametrize(
    ("data", "name", "message"),
    [
        (b"", "p.json", "p.json: is empty"),
        (b" \n\t", "p.csv", "p.csv: is empty"),
        (b"[]", "p.json", "p.json: holds no personas"),
        (b"username,persona\n", "p.csv", "p.csv: holds no personas"),
        (b'[\n{"username": "a",}]', "p.json", "p.json: is not JSON: line 2, column 18: expecting property name"),
        (b'[{"a": 1, "a": 2}]', "p.json", 'line 1, column 11: the key "a" is given twice'),
        (b'[{"temperature": NaN}]', "p.json", "NaN is not a finite number"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "p.json", "is nested deeper than 32 levels"),
        (b"[" * 100_000, "p.json", "is nested deeper than 32 levels"),
        (b'["caf\xe9"]', "p.json", "line 1, column 6: is not UTF-8: byte 0xE9; save it as UTF-8"),
        ("[]".encode("utf-16"), "p.json", "is UTF-16 or UTF-32, not UTF-8; save it as UTF-8"),
        (b'"text"', "p.json", 'must hold a list of personas or one object, not "text"'),
        (b'{"personas": {}}', "p.json", "must hold a list of personas or one object, not an object"),
        (b'{"personas": [], "person": 1}', "p.json", "unknown field 'person'; did you mean 'personas'?"),
        (b"username,persona,tempature\n", "p.csv", "line 1: unknown column 'tempature'; did you mean 'temperature'?"),
        (b"username,persona,bio,bio\n", "p.csv", "line 1: column 'bio' is given twice"),
        (b"username,persona,\n", "p.csv", "line 1: a column without a name"),
        (b"bio\nx\n", "p.csv", "column 'username' is missing; column 'description' is missing"),
        (b"username;persona\na;b\n", "p.csv", "columns must be separated by commas"),
        (b'username,persona\na,"x\n', "p.csv", "line 2: is not CSV"),
        (b'username,persona\na,"x"y\n', "p.csv", "line 2: is not CSV"),
        (b"\0\0\0\0", "p.csv", "is UTF-16"),
    ],
)
def test_refuses_a_file_it_cannot_read(data: bytes, name: str, message: str) -> None:
    assert message in refusal(data, name)


def test_refuses_a_file_too_large_or_unreadable(tmp_path: Path) -> None:
    large = tmp_path / "large.json"
    with large.open("wb") as file:
        file.truncate(BYTES_MAX + 1)
    for path, message in [(large, "larger than 64 MiB"), (tmp_path, "cannot be read"), (tmp_path / "no", "cannot be")]:
        with pytest.raises(Invalid, match=message):
            read_personas(path)


def test_refuses_more_records_than_a_world_could_use() -> None:
    assert "holds 1,000,001 personas, at most 1,000,000 are allowed" in refusal(b"[0" + b",0" * 1_000_000 + b"]")


@given(st.binary(max_size=300), st.sampled_from([None, *PersonaFormat]), st.sampled_from(["p", "p.csv", "p.json"]))
def test_any_bytes_are_read_or_refused(data: bytes, format: PersonaFormat | None, name: str) -> None:  # noqa: A002
    try:
        result = parse_personas(data, name, format)
    except Invalid:
        return
    assert result.personas or result.problems


# Round trip

nasty = st.sampled_from(['a,b"c', "a\r\nb\rc", "=cmd()", ";lead", "trail;", "[x", "{y", "🐝👩🏽‍🚀", "é", "\u2028", "'"])
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40) | nasty
lines = texts.filter(lambda text: bool(text.strip()))
items = st.lists(lines, max_size=4)
names = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,8}[A-Za-z0-9])?", fullmatch=True)
facts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.integers(-(10**9), 10**9)


def _valid(fields: dict[str, Any]) -> PersonaSpec | None:
    try:
        return PersonaSpec(**fields)
    except ValidationError:
        return None


personas = st.fixed_dictionaries(
    {"username": names, "description": lines},
    optional={
        "bio": texts,
        **dict.fromkeys(["display_name", "role", "style", "leaning", "model"], st.none() | lines),
        **dict.fromkeys(["traits", "goals", "interests", "fragments"], items),
        "demographics": st.dictionaries(lines, facts, max_size=4),
        "temperature": st.none() | st.floats(0, 2),
        "activity": st.floats(0, 1),
        "status": st.sampled_from(["active", "paused"]),
    },
).map(_valid)


@settings(max_examples=200)
@given(
    st.lists(
        personas.filter(bool),
        min_size=1,
        max_size=4,
        unique_by=lambda persona: str(persona and persona.username).lower(),
    ),
    st.sampled_from(OURS),
)
def test_what_is_written_reads_back_the_same(written: list[PersonaSpec], format: PersonaFormat) -> None:  # noqa: A002
    result = parse_personas(write_personas(written, format), "-", format)
    assert result.problems == []
    assert result.personas == written
    assert parse_personas(write_personas(written, format), f"p.{format}").personas == written


def test_the_written_csv_is_rfc_4180() -> None:
    data = write_personas(
        [PersonaSpec(username="a", description='say "hi",\nbye', traits=["x", "y"])], PersonaFormat.CSV
    )
    head, row = data.split(b"\r\n")[:2]
    assert head.startswith(b"username,description,bio,display_name")
    assert row.startswith(b'a,"say ""hi"",\nbye",,,,x;y,')


def test_the_engines_list_is_not_written() -> None:
    with pytest.raises(ValueError, match="json, jsonl or csv"):
        write_personas([], PersonaFormat.ENGINE)


HELD = {
    PersonaFormat.TINYTROUPE: {
        *("username", "description", "bio", "display_name", "role", "traits", "goals", "style", "interests", "leaning"),
        "demographics",
    },
    PersonaFormat.OASIS_CSV: {
        *("username", "description", "bio", "display_name", "role", "interests", "model", "temperature", "activity"),
        "demographics",
    },
}
HELD[PersonaFormat.OASIS_JSON] = HELD[PersonaFormat.OASIS_CSV]


def abroad(written: list[PersonaSpec], format: PersonaFormat) -> tuple[bytes, list[str]]:  # noqa: A002
    if format is PersonaFormat.TINYTROUPE:
        files, notes = write_tinytroupe(written)
        assert list(files) == [f"{one.username}.agent.json" for one in written]
        return b"[" + b",".join(files.values()) + b"]", notes
    return (write_oasis_csv if format is PersonaFormat.OASIS_CSV else write_oasis_json)(written)


def differing(one: PersonaSpec, other: PersonaSpec) -> set[str]:
    return {name for name in PersonaSpec.model_fields if getattr(one, name) != getattr(other, name)}


@settings(max_examples=200)
@given(
    st.lists(
        personas.filter(bool),
        min_size=1,
        max_size=4,
        unique_by=lambda persona: str(persona and persona.username).lower(),
    ),
    st.sampled_from(list(HELD)),
)
def test_what_is_written_for_others_reads_back_or_is_told(written: list[PersonaSpec], format: PersonaFormat) -> None:  # noqa: A002
    data, notes = abroad(written, format)
    result = parse_personas(data, "-", format)
    assert result.problems == []
    lost = set().union(*(differing(one, back) for one, back in zip(written, result.personas, strict=True)))
    assert lost == {note.partition(":")[0] for note in notes if "held by" in note}
    held = HELD[format]
    # A name is no display name where it says the username, and agents of TinyTroupe can't share one.
    names = [one.display_name for one in written if one.display_name]
    if len({*names, *(one.username for one in written)}) < len(names) + len(written):
        held = held - {"display_name"}
    if any(not _kept(name, value, format) for one in written for name, value in one.demographics.items()):
        held = held - {"demographics"}
    assert not lost & held


def _kept(name: str, value: str | int, format: PersonaFormat) -> bool:  # noqa: A002
    """Whether the form keeps this fact: no empty text, no name of OASIS' own, in a table no figures as text."""
    is_table = format is PersonaFormat.OASIS_CSV
    mine = format is not PersonaFormat.TINYTROUPE and (name in MAPPED or is_left_out(name))
    return value != "" and not mine and not (is_table and whole_number(str(value)) != value)


FULL = PersonaSpec(
    username="Zoe.O",
    description="You keep bees.\nYou count them.",
    bio="@home with bees",
    display_name="Zoë Ørnby",
    role="Beekeeper",
    traits=["patient", "=exact"],
    goals=["A wood."],
    style="Dry.",
    interests=["Moss, wet", "Rain"],
    leaning="green",
    demographics={"age": 33, "country": "Denmark", "name": "none of yours", "=x": -1},
    model="m-1",
    temperature=0.5,
    activity=0.25,
    status="paused",
)


def test_a_tinytroupe_agent_has_what_its_loader_and_prompts_ask_for() -> None:
    files, notes = write_tinytroupe([FULL, PersonaSpec(username="bo", description="d", display_name="Zoë Ørnby")])
    full, bare = (json.loads(data) for data in files.values())
    assert full == {
        "type": "TinyPerson",
        "persona": {
            "name": "Zoë Ørnby",
            "username": "Zoe.O",
            "age": 33,
            "nationality": None,
            "occupation": {"title": "Beekeeper"},
            "description": "You keep bees.\nYou count them.",
            "bio": "@home with bees",
            "style": "Dry.",
            "personality": {"traits": ["patient", "=exact"]},
            "preferences": {"interests": ["Moss, wet", "Rain"]},
            "long_term_goals": ["A wood."],
            "political_affiliation": "green",
            "demographics": {"name": "none of yours"},
            "country": "Denmark",
            "=x": -1,
        },
    }
    assert bare["persona"].keys() == {"name", "username", "age", "nationality", "occupation", "description"}
    assert bare["persona"]["name"] == "bo"
    assert notes == [
        "display_name: not, or not wholly, held by tinytroupe (1 persona)",
        "model: not, or not wholly, held by tinytroupe (1 persona)",
        "temperature: not, or not wholly, held by tinytroupe (1 persona)",
        "activity: not, or not wholly, held by tinytroupe (1 persona)",
        "status: not, or not wholly, held by tinytroupe (1 persona)",
        "age: written as null, as nothing tells it (1 persona)",
        "nationality: written as null, as nothing tells it (2 personas)",
        "occupation: written as null, as nothing tells it (1 persona)",
    ]


def test_a_tinytroupe_person_with_words_of_our_export_is_read_by_them() -> None:
    record = tiny(username=3, description=" Own words. ", occupation={"title": "w " * 150, "organization": "Aarhus"})
    (kim,) = parse_personas(json.dumps(record | {"x": 1}).encode(), "kim.agent.json").personas
    assert kim.description.splitlines() == ["Own words.", f"Occupation: {('w ' * 150).strip()}", "Organization: Aarhus"]
    assert (kim.username, kim.display_name, kim.demographics) == ("kim", "Kim", {"username": 3})


def test_a_folder_and_a_zip_file_of_agents_are_read_whole(tmp_path: Path) -> None:
    files, _ = write_tinytroupe([FULL, PersonaSpec(username="bo", description="d")])
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as packed:
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
            packed.writestr(f"agents/{name}", content)
        packed.writestr("readme.txt", "x")
    for place in (tmp_path, tmp_path / "all.zip"):
        found = read_agents(place)
        assert found.problems == []
        assert [one.username for one in found.personas] == ["Zoe.O", "bo"]
    (tmp_path / "copy.agent.json").write_bytes(files["bo.agent.json"])
    (tmp_path / "wrong.agent.json").write_text('{"type": "TinyPerson", "persona": {"name": 3}}')
    assert [str(problem) for problem in read_agents(tmp_path).problems] == [
        'copy.agent.json, record 1, field username: "bo" is already the username of bo.agent.json',
        "wrong.agent.json, record 1, field name: is missing; a TinyTroupe person needs a name, a text",
    ]


def test_refuses_a_place_without_agents(tmp_path: Path) -> None:
    (tmp_path / "no.zip").write_text("no zip file")
    with pytest.raises(Invalid, match=r"holds no \*\.agent\.json"):
        read_agents(tmp_path)
    with pytest.raises(Invalid, match="is no zip file"):
        read_agents(tmp_path / "no.zip")


def test_oasis_profiles_have_what_its_loaders_ask_for() -> None:
    table, notes = write_oasis_csv([FULL])
    (row,) = csv.DictReader(io.StringIO(table.decode(), newline=""))
    assert (row["username"], row["name"], row["user_char"]) == ("Zoe.O", "Zoë Ørnby", FULL.description)
    assert (row["following_agentid_list"], row["previous_tweets"]) == ("[]", "[]")
    assert (row["description"], row["'=x"]) == ("'@home with bees", "'-1")
    told = {"traits", "goals", "style", "leaning", "demographics", "status"}
    assert {note.partition(":")[0] for note in notes} == told
    profiles, notes = write_oasis_json([FULL])
    (profile,) = json.loads(profiles)
    assert profile["interested_topics"] == ["Moss, wet", "Rain"]
    names = ("realname", "username", "bio", "persona", "age", "gender", "mbti", "country", "profession")
    assert [profile[name] for name in names] == [
        *("Zoë Ørnby", "Zoe.O", "@home with bees", FULL.description, 33, None, None, "Denmark", "Beekeeper"),
    ]
    assert {note.partition(":")[0] for note in notes} == told | {"gender", "mbti"}


# Other systems' formats


def test_reads_a_tinytroupe_person() -> None:
    result = read_personas(DATA / "keeper.agent.json")
    (zoe,) = result.personas
    assert zoe.model_dump(exclude_defaults=True, exclude={"description"}) == {
        "username": "zoe_ornby",
        "display_name": "Zoë Ørnby",
        "role": "Forester",
        "traits": ["You wait."],
        "goals": ["Plant a wood."],
        "style": "Slow and dry.",
        "interests": ["Moss."],
        "demographics": {
            "age": 33,
            "gender": "Female",
            "nationality": "Danish",
            "residence": "Aarhus, Denmark",
            "education": "A forestry diploma.",
            "marital_status": "Married",
        },
    }
    assert result.notes == [
        "mental_faculties: not imported (1 record)",
        "current_episode_event_count: not imported (1 record)",
    ]


def test_a_tinytroupe_description_reads_as_prose() -> None:
    (zoe,) = read("keeper.agent.json")
    assert zoe.description.splitlines() == [
        "You are Zoë Ørnby, Forester at Aarhus Woods.",
        "Occupation: You mark which trees are felled.",
        "Big five:",
        "- openness: High.",
        "- neuroticism: Low.",
        "Likes:",
        "- Rain.",
        "Dislikes:",
        "- Leaf blowers.",
        "Beliefs:",
        "- A tree is older than its owner.",
        "Skills:",
        "- Climbing.",
        "Behaviors:",
        "- general:",
        "  - Hums.",
        "- routines:",
        "  - morning:",
        "    - Walks the dog.",
        "Health: Good.",
        "Relationships:",
        "- Ib: Your brother, a sawyer.",
        "Other facts:",
        "- You once met the queen.",
    ]


def test_reads_the_older_flat_tinytroupe_person() -> None:
    result = read_personas(DATA / "flat.agent.json")
    (otto,) = result.personas
    assert (otto.username, otto.role) == ("otto", "Baker")
    assert otto.traits == ["You are quick.", "You joke."]
    assert otto.interests == ["Sourdough.", "Zither."]
    assert otto.demographics == {"age": 30, "nationality": "Austrian"}
    assert "You bake rye bread at night." in otto.description
    assert "- You can plait dough." in otto.description
    assert result.notes == ["episodic_memory: not imported (1 record)"]


def tiny(**persona: Any) -> dict[str, Any]:
    return {"type": "TinyPerson", "persona": {"name": "Kim"} | persona}


def test_what_does_not_fit_a_field_goes_into_the_description() -> None:
    long = "word " * 50
    record = tiny(style=long, long_term_goals=[f"goal {n}" for n in range(40)], education=long, pet=True, style_2=1.5)
    result = parse_personas(json.dumps(record).encode(), "kim.agent.json")
    (kim,) = result.personas
    assert kim.goals == [f"goal {n}" for n in range(32)]
    assert "- goal 39" in kim.description
    assert kim.description.count(long.strip()) == 2
    assert "Pet: yes" in kim.description
    assert "Style 2: 1.5" in kim.description


def test_an_endless_description_is_cut_and_control_characters_are_shown() -> None:
    record = tiny(beliefs=["A belief about trees."] * 900, residence="caf\0e9")
    result = parse_personas(json.dumps(record).encode(), "kim.agent.json")
    (kim,) = result.personas
    assert 7_900 < len(kim.description) <= 8_000
    assert kim.description.endswith("…")
    assert kim.demographics == {"residence": "caf\ufffde9"}
    assert result.notes == [
        "description: cut to 8,000 characters (1 record)",
        "control characters: replaced by U+FFFD (1 record)",
    ]


def test_usernames_are_unique_and_the_same_every_time() -> None:
    records = [
        tiny(name=name) for name in ["Ann Lee", "ann lee", "李雷", "Ann Lee 2", "ANN  LEE", "韩梅", "x" * 60, "X" * 60]
    ]
    data = json.dumps(records).encode()
    found = [persona.username for persona in parse_personas(data, "p.json").personas]
    assert found[:4] == ["ann_lee", "ann_lee_3", "persona", "ann_lee_2"]
    assert found[4:] == ["ann_lee_4", "persona_2", "x" * 40, "x" * 38 + "_2"]
    assert found == [persona.username for persona in parse_personas(data, "p.json").personas]


@given(st.text())
def test_every_slug_is_a_username(text: str) -> None:
    assert PersonaSpec(username=slug(text), description="x").username == slug(text)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"type": "Fragment", "persona": {"beliefs": ["x"]}}, "field type: is a TinyTroupe fragment"),
        ({"type": "TinyPerson", "persona": {"age": 3}}, "field name: is missing; a TinyTroupe person needs a name"),
        ({"type": "TinyPerson", "persona": {"name": 3}}, "field name: is missing"),
    ],
)
def test_refuses_what_is_no_tinytroupe_person(record: object, message: str) -> None:
    assert message in problems([record])[0]


def test_reads_oasis_csv() -> None:
    result = read_personas(DATA / "oasis_profiles.csv")
    nell, second, quiet = result.personas
    assert result.problems == []
    assert nell.model_dump(exclude_defaults=True) == {
        "username": "nellpark",
        "description": "You ask one more question than people like.",
        "bio": "Questions, mostly.",
        "display_name": "Nell Park",
        "demographics": {"age": 29},
        "temperature": 0.5,
    }
    assert (second.username, second.description, second.bio) == ("NellPark_2", "Second account.", "Second account.")
    assert (quiet.username, quiet.description) == ("quiet", "You are _quiet_.")
    assert result.notes == [
        "user_id: not imported (3 records)",
        "following_agentid_list: not imported (2 records)",
        "previous_tweets: not imported (1 record)",
        "username: changed to be valid and unique (2 records)",
        "description: written from the name, as there is none (1 record)",
    ]


def test_reads_oasis_json() -> None:
    (tomas,) = read("oasis_profiles.json")
    assert tomas.model_dump(exclude_defaults=True) == {
        "username": "tomrey",
        "description": "Tomás draws ferry maps.",
        "bio": "Maps and ferries.",
        "display_name": "Tomás Rey",
        "role": "Cartography",
        "interests": ["Transport", "History"],
        "demographics": {"age": 52, "gender": "male", "mbti": "INTP", "country": "Chile"},
    }


def test_reads_the_simulation_engines_list() -> None:
    result = read_personas(DATA / "engine.json")
    assert [persona.model_dump(exclude_defaults=True, exclude={"original"}) for persona in result.personas] == [
        {
            "username": "critic_1",
            "description": "Vera reviews plays.\nCommunication: direct",
            "display_name": "Vera Stone",
            "role": "Critic",
            "traits": ["sharp"],
            "goals": ["find the flaw"],
            "style": "terse",
            "model": "small",
            "temperature": 0.7,
        }
    ]
    assert result.notes == ["prompting: kept to be written again, but not used (1 record)"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "other"}, 'field name: "Vera Stone" is already the name of record 1'),
        ({"name": "Other"}, 'field id: "critic_1" is already the id of record 1'),
        ({"id": "a.b"}, "field id: must be letters A-Z, digits, '_' or '-'"),
        ({"role": ""}, "field role: is missing or empty"),
        ({"description": 4}, "field description: must be a text, not 4"),
        ({"personality": ["x"]}, "field personality: must be an object with traits, goals and style"),
        ({"personality": {"traits": ["a"], "goals": []}}, "field personality.goals: is missing or empty"),
        ({"id": "o", "name": "O", "temperature": 3}, "field temperature: must be a number from 0 to 2, not 3"),
    ],
)
def test_holds_the_engines_rules(change: dict[str, Any], message: str) -> None:
    (vera,) = json.loads((DATA / "engine.json").read_text())
    assert message in problems([vera, vera | change])[0]


# Size


def many() -> list[dict[str, Any]]:
    return [
        {
            "username": f"user_{n}",
            "description": f"You are number {n}. " + "You keep bees on a roof and count everything. " * 12,
            "bio": "Bees, roofs, numbers.",
            "traits": ["patient", "exact", "dry"],
            "goals": ["a hundred hives", "a quiet year"],
            "interests": ["bees", "roofs"],
            "demographics": {"age": 20 + n % 60, "country": "Ireland"},
            "temperature": 0.7,
        }
        for n in range(10_000)
    ]


def as_json(records: list[dict[str, Any]]) -> tuple[str, bytes]:
    return "p.json", json.dumps(records).encode()


def as_jsonl(records: list[dict[str, Any]]) -> tuple[str, bytes]:
    return "p.jsonl", "\n".join(map(json.dumps, records)).encode()


def as_csv(records: list[dict[str, Any]]) -> tuple[str, bytes]:
    return "p.csv", write_personas([PersonaSpec(**record) for record in records], PersonaFormat.CSV)


def as_oasis(records: list[dict[str, Any]]) -> tuple[str, bytes]:
    rows = [{"username": "bee", "user_char": record["description"], "user_id": 7} for record in records]
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, ["username", "user_char", "user_id"])
    writer.writeheader()
    writer.writerows(rows)
    return "p.csv", out.getvalue().encode()


@pytest.mark.parametrize("encode", [as_json, as_jsonl, as_csv, as_oasis])
def test_ten_thousand_personas_take_seconds(encode: Callable[[list[dict[str, Any]]], tuple[str, bytes]]) -> None:
    name, data = encode(many())
    start = time.process_time()
    result = parse_personas(data, name)
    assert time.process_time() - start < 3
    assert len(result.personas) == 10_000
