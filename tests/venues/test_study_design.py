"""What a study may be: defaults, contradictions, answers, files of ours and of Simulacra; the manual tells all."""

import math
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from app.agent.population.invented import WORK, handles, invented
from app.errors import Invalid, NotFound
from app.venues.chatroom import files
from app.venues.chatroom.answers import answer_of, check_answer, check_answers
from app.venues.chatroom.design import (
    Arm,
    Member,
    Pace,
    Question,
    Redirect,
    StudyDesign,
    redirect_url,
    stored,
)

MANUAL = (Path(__file__).parents[2] / "docs" / "studies.md").read_text()
TWO_LINES = 'title = "Bicycles"\narms.talk.prompt_template = "You chat about bicycles."\n'
SMALL: dict[str, Any] = {"title": "T", "arms": {"a": {"prompt_template": "x"}}}
CHOICE = {"id": "sex", "text": "?", "kind": "single", "options": ["f", "m", "x"]}


def design(**more: Any) -> StudyDesign:
    return StudyDesign.model_validate({**SMALL, **more})


def wrong(**more: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        design(**more)
    return "; ".join(f"{place} {message}" for place, message in files.problems(caught.value))


# The design


def test_two_lines_are_a_study(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(TWO_LINES)
    found = files.read_toml(tmp_path / "study.toml")
    assert len(found.cast) == 4
    assert (found.consent, found.disclosure, found.withdrawal) == ("page", "at_once", ["erase", "anonymised"])
    assert found.stages() == ["chat", "done"]
    assert len(found.consent_sha256) == 32
    assert found.allowed_origins == []


def test_a_design_is_the_same_however_it_is_stored() -> None:
    found = design(arms={"b": {"prompt_template": "x"}, "a": {"prompt_template": "y", "weight": 3}}, intake=[CHOICE])
    again = stored(found.canonical())
    assert again == found
    assert again.sha256() == found.sha256()
    turned = design(arms={"a": {"prompt_template": "y", "weight": 3}, "b": {"prompt_template": "x"}}, intake=[CHOICE])
    assert turned.sha256() == found.sha256()
    assert design(pace={"messages_per_minute": 5}).sha256() == design(pace={"messages_per_minute": 5.0}).sha256()
    assert design(title="U").sha256() != design().sha256()


def test_stages_follow_what_is_asked() -> None:
    full = design(intake=[CHOICE], closing=[{**CHOICE, "id": "b"}], debrief_text="thanks")
    assert full.stages() == ["intake", "chat", "closing", "debrief", "done"]
    assert [full.after(stage) for stage in full.stages()] == ["chat", "closing", "debrief", "done", "done"]
    assert [design().after(stage) for stage in ("intake", "chat", "closing", "done")] == [
        "chat",
        "done",
        "done",
        "done",
    ]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"title": ""}, "title must not be empty"),
        ({"title": "a\nb"}, "title must be one line"),
        ({"title": "a\0b"}, "title holds U+0000"),
        ({"title": "\ud800"}, "title holds"),
        ({"title": 5}, "title must be a text, not 5"),
        ({"arms": {}}, "arms must be a table with 1 to 50 entries"),
        ({"arms": {"": {"prompt_template": "x"}}}, "arms. is a name that must not be empty"),
        ({"arms": {"a": {"prompt_template": " \n"}}}, "arms.a.prompt_template must not be empty"),
        ({"arms": {"a": {}}}, "arms.a.prompt_template is missing"),
        (
            {"arms": {"a": {"prompt_template": "x", "weight": 0}}},
            "arms.a.weight must be a whole number from 1 to 100, not 0",
        ),
        ({"arms": {"a": {"prompt_template": "x", "weight": True}}}, "arms.a.weight must be a whole number"),
        ({"arms": {"a": {"prompt_template": "x", "weight": 100}}, "repeat": 11}, "repeat makes blocks of 1100 places"),
        ({"pace": {"messages_per_minute": 0}}, "pace.messages_per_minute must be a number above 0, at most 60, not 0"),
        ({"pace": {"messages_per_minute": 60.1}}, "pace.messages_per_minute must be"),
        ({"pace": {"messages_per_minute": math.nan}}, "pace.messages_per_minute must be"),
        ({"pace": {"user_response_probability": 1.01}}, "must be a number from 0 to 1, not 1.01"),
        ({"pace": {"user_response_probability": True}}, "must be a number from 0 to 1, not true"),
        ({"pace": {"context_window_size": 201}}, "must be a whole number from 1 to 200, not 201"),
        ({"pace": {"context_window_size": 10.0}}, "must be a whole number from 1 to 200, not 10.0"),
        ({"pace": {"session_duration_minutes": 1441}}, "must be a number above 0, at most 1,440, not 1441"),
        ({"pace": {"llm_concurrency_limit": 0}}, "must be a whole number above 0, at most 1,000, not 0"),
        ({"pace": {"mesages_per_minute": 5}}, "did you mean 'messages_per_minute'?"),
        ({"disclosure": "never"}, 'disclosure must be "at_once" or "delayed", not "never"'),
        ({"disclosure": "delayed"}, "disclosure is delayed, which needs ethics_reference and debrief_text"),
        ({"disclosure": "delayed", "ethics_reference": "1/26", "debrief_text": "d"}, "write your own"),
        ({"withdrawal": []}, "withdrawal must be a list of 1 to 2 texts, not a list of 0"),
        ({"withdrawal": ["erase", "erase"]}, "withdrawal must not name the same twice"),
        ({"cast": []}, "cast must be a list of 1 to 30 tables"),
        ({"cast": [{"name": "Al"}, {"name": "AL"}]}, "cast has more than one member of the name al"),
        ({"cast": [{"name": "Participant"}]}, "cast item 1.name is kept for others"),
        ({"cast": [{"name": "Al", "persona": "al", "bio": "b"}]}, "cast item 1.persona names an existing persona"),
        ({"cast": [{"name": "Al", "traits": ["dry"]}]}, "comes with traits but without description"),
        (
            {"cast": [{"name": "A", "persona": "x"}, {"name": "B", "persona": "X"}]},
            "cast has the persona x more than once",
        ),
        ({"strata": "sex"}, "strata must be the id of an intake question"),
        ({"strata": "sex", "intake": [{**CHOICE, "required": False}]}, "strata must be a required intake question"),
        ({"strata": "sex", "intake": [CHOICE], "consent": "external"}, "strata needs intake questions, which nobody"),
        (
            {"intake": [CHOICE], "closing": [{**CHOICE, "id": "SEX"}]},
            "closing has more than one question with the id sex",
        ),
        ({"intake": [{**CHOICE, "options": ["a"]}]}, "intake item 1.options must be 2 to 50 texts"),
        ({"intake": [{**CHOICE, "options": ["a", "a"]}]}, "options must differ"),
        ({"intake": [{**CHOICE, "kind": "open"}]}, "options are for the kinds single and multiple only"),
        ({"intake": [{**CHOICE, "min": 1}]}, "kind is single, which has neither"),
        ({"intake": [{"id": "n", "text": "?", "kind": "number", "min": 3, "max": 2}]}, "between min and max"),
        ({"intake": [{"id": "n", "text": "?", "kind": "likert", "max": 7.5}]}, "whole number for the kind likert"),
        ({"intake": [{"id": "n", "text": "?", "kind": "likert", "max": 500}]}, "2 to 101 points"),
        ({"intake": [{"id": "n", "text": "?", "kind": "multiple", "options": ["a", "b"], "max": 3}]}, "from 0 to 2"),
        ({"intake": [{"id": "n", "text": "?", "kind": "open", "low": "x"}]}, "low and high are for likert only"),
        ({"intake": [{"id": "1x", "text": "?", "kind": "open"}]}, "intake item 1.id must be 1 to 40 letters"),
        ({"params": ["a", "a"]}, "params names a twice"),
        ({"params": ["a b"]}, "params item 1 must be 1 to 60 letters"),
        ({"completion_code": "a b"}, "completion_code must be at most 60"),
        ({"retention_days": 0}, "retention_days must be a whole number from 1 to 36,500"),
        ({"token_reusable_before_first_message": 1}, "must be true or false, not 1"),
    ],
)
def test_a_wrong_value_says_where_and_what_is_allowed(more: dict[str, Any], told: str) -> None:
    assert told in wrong(**more)


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "ftp://x.org",
        "//x.org",
        "http://",
        "https://a:b@x.org",
        "https://x.org/\n",
        "https://x.org/ä",
        "https://{completion_code}.org/",
        "https://x.org/{other}",
        "https://x.org/<b>",
        "https://x.org:99999/",
        "data:text/html,x",
        "https://[::1/",
        " https://x.org",
        "https://x.org/\0",
        "HTTPS:x.org",
        "https://x.org\\@y.org/",
    ],
)
def test_only_plain_web_addresses_are_led_to(address: str) -> None:
    assert "redirect.completion must" in wrong(redirect={"completion": address})


def test_the_completion_code_is_put_in() -> None:
    given = "https://app.example.org/done?cc={completion_code}&x=1"
    found = design(redirect={"completion": given, "leave": "http://127.0.0.1:3000/bye"}).redirect
    assert redirect_url(found.completion, "A&B") == "https://app.example.org/done?cc=A%26B&x=1"


@pytest.mark.parametrize(
    "origin", ["https://x.org/", "x.org", "null", "https://x.org/a", "https://a@x.org", "ws://x.org", "**"]
)
def test_origins_are_origins(origin: str) -> None:
    assert "origins item 1 must be * or an origin" in wrong(origins=[origin])


def test_origins_default_to_our_own_or_any() -> None:
    assert design(origins=["https://X.org:8443"]).allowed_origins == ["https://x.org:8443"]
    assert design(consent="external").allowed_origins == ["*"]
    assert design(consent="external", origins=["https://x.org"]).allowed_origins == ["https://x.org"]


def test_only_the_studys_parameters_are_kept() -> None:
    given = {"PROLIFIC_PID": " p1 ", "email": "ada@example.org", "STUDY_ID": "x" * 201, "SESSION_ID": "a\0"}
    assert design().kept_params(given) == {"PROLIFIC_PID": "p1"}
    assert design(params=[]).kept_params(given) == {}


# Answers


def a(kind: str, **more: Any) -> Question:
    options = {"options": ["a", "b", "c"]} if kind in ("single", "multiple") else {}
    return Question.model_validate({"id": "q", "text": "?", "kind": kind, **options, **more})


NO_ANSWERS: list[Any] = [None, "", [], {}, {"a": 1}, True, [[]], [None], "\0", "\ud800", "x" * 30_000]
NO_ANSWERS += [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize(
    ("question", "value", "kept"),
    [
        (a("open"), "  ja\r\nwohl ", "ja\nwohl"),
        (a("open", required=False), "   ", None),
        (a("open", min=2, max=3), "abc", "abc"),
        (a("single"), "b", "b"),
        (a("multiple"), ["c", "a", "c"], ["a", "c"]),
        (a("multiple", required=False, min=2), [], None),
        (a("likert"), 7, 7),
        (a("likert", min=0, max=10), 0.0, 0),
        (a("number", min=-1, max=1), -0.5, -0.5),
        (a("number"), 10**11, 10**11),
        (a("number", required=False), None, None),
    ],
)
def test_right_answers(question: Question, value: object, kept: object) -> None:
    assert check_answer(question, value) == kept
    assert type(check_answer(question, value)) is type(kept)


@pytest.mark.parametrize(
    ("question", "value"),
    [
        *((a(kind), value) for kind in ("open", "single", "multiple", "likert", "number") for value in NO_ANSWERS),
        (a("open", max=3), "abcd"),
        (a("open", min=3), "ab"),
        (a("open"), 5),
        (a("open"), " \n "),
        (a("single"), "d"),
        (a("single"), ["a"]),
        (a("single"), 0),
        (a("multiple"), "a"),
        (a("multiple"), ["a", "d"]),
        (a("multiple", max=2), ["a", "b", "c"]),
        (a("multiple", min=2), ["a", "a"]),
        (a("likert"), 0),
        (a("likert"), 8),
        (a("likert"), 1.5),
        (a("likert"), "3"),
        (a("number", max=5), 5.01),
        (a("number"), 10**30),
        (a("number"), 1e300),
        (a("number"), "5"),
    ],
)
def test_wrong_answers(question: Question, value: object) -> None:
    with pytest.raises(Invalid) as caught:
        check_answer(question, value)
    assert [error.pointer for error in caught.value.errors] == ["/q"]


def test_all_wrong_answers_are_told_at_once() -> None:
    questions = [Question.model_validate({**CHOICE, "id": name}) for name in ("one", "two", "three")]
    assert check_answers(questions, {"one": "f", "two": "m", "three": "x"}) == {"one": "f", "two": "m", "three": "x"}
    with pytest.raises(Invalid) as caught:
        check_answers(questions, {"two": "?", "three": "f", "four\0": 1})
    assert [error.pointer for error in caught.value.errors] == ["/four\0", "/one", "/two"]


@pytest.mark.parametrize(
    ("question", "fields", "kept"),
    [
        (a("likert"), ["3"], 3),
        (a("number"), ["2,5"], 2.5),
        (a("number"), [" -4 "], -4),
        (a("multiple"), ["b", "a"], ["a", "b"]),
        (a("single"), ["a"], "a"),
        (a("open"), ["12"], "12"),
        (a("number", required=False), [], None),
    ],
)
def test_forms_are_read(question: Question, fields: list[str], kept: object) -> None:
    assert check_answer(question, answer_of(question, fields)) == kept


@pytest.mark.parametrize("text", ["1e3", "nan", "0x10", "１", "9" * 5_000, "--1", "1_0"])
def test_what_is_no_number_in_a_form_stays_none(text: str) -> None:
    with pytest.raises(Invalid):
        check_answer(a("number"), answer_of(a("number"), [text]))


# Personas made up


def test_made_up_personas_are_the_same_again_and_differ_from_each_other() -> None:
    names = [f"Name {n}" for n in range(30)]
    made = invented(names, 5)
    assert made == invented(names, 5)
    assert made != invented(names, 6)
    assert len({re.sub(r"^Name \d+ is \d+ ", "", one.description) for one in made}) == len(WORK) == 30
    assert [one.display_name for one in made] == names
    assert all(name in one.description for name, one in zip(names, made, strict=True))


def test_handles_are_usernames_and_differ() -> None:
    found = handles(["Alice", "alice", "Zoë Übel", "李", "...", "李", "x" * 40, "X" * 40])
    assert found[:4] == ["Alice", "alice_2", "Zoe_Ubel", "member_4"]
    assert len({one.lower() for one in found}) == 8
    assert len(invented(["Alice", "alice", "Zoë Übel", "李", "...", "李", "x" * 40, "X" * 40], 1)) == 8


# Our file


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\xff\xfe", "study.toml is not UTF-8"),
        (b"title = ", "study.toml is not valid TOML"),
        (b"title = 'a'\ntitle = 'b'", "study.toml is not valid TOML"),
        (b"x = " + b"[" * 100_000, "study.toml is not valid TOML"),
        (b"#" * 1_000_001, "is larger than 1,000,000 bytes"),
        (b"", "study.toml: title is missing; it must be a text\nstudy.toml: arms is missing"),
        (
            TWO_LINES.encode() + b"consents = 1",
            "study.toml: consents is an unknown key 'consents'; did you mean 'consent'?",
        ),
        (TWO_LINES.encode() + b"contact = 1979-05-27", "study.toml: contact must be a text, not 1979-05-27"),
        (TWO_LINES.encode() + b"repeat = 1e400", "study.toml: repeat must be a whole number from 1 to 100"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "study.toml").write_bytes(content)
    with pytest.raises(Invalid) as caught:
        files.read_toml(tmp_path / "study.toml")
    assert told in caught.value.detail


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"study\.toml"):
        files.read_toml(tmp_path / "study.toml")
    with pytest.raises(Invalid, match="can't be read"):
        files.read_toml(tmp_path)


# Simulacra's files

EXPERIMENT = '''
# treatment groups
[groups.Tx1]
prompt_template = """
You are in a group chat about the weather. Keep it short.
"""
[groups.Tx2]
prompt_template = "You are in a group chat about the weather. Be kind."
'''
TOKENS = '[groups]\nTx1 = ["user0001", "user0002"]\nTx2 = ["user0003", "user0004"]\n'
SIMULATION = """
num_agents = 3
agent_names = ["Alice", "Bob", "Charlie"]
messages_per_minute = 5
user_response_probability = 1
context_window_size = 10
session_duration_minutes = 5
llm_concurrency_limit = 5
"""


def simulacra(
    folder: Path, experiment: str = EXPERIMENT, tokens: str = TOKENS, simulation: str = SIMULATION
) -> files.Simulacra:
    (folder / "experimental_settings.toml").write_text(experiment)
    (folder / "participant_tokens.toml").write_text(tokens)
    (folder / "simulation_settings.toml").write_text(simulation)
    return files.read_simulacra(folder)


def test_simulacras_files_as_they_are(tmp_path: Path) -> None:
    found, tokens, notes = simulacra(tmp_path)
    assert notes == []
    assert tokens == {"Tx1": ["user0001", "user0002"], "Tx2": ["user0003", "user0004"]}
    assert found.consent == "external"
    assert [member.name for member in found.cast] == ["Alice", "Bob", "Charlie"]
    assert found.arms["Tx1"].prompt_template == "You are in a group chat about the weather. Keep it short."
    pace = found.pace
    assert (pace.messages_per_minute, pace.user_response_probability, pace.context_window_size) == (5, 1, 10)
    assert (pace.session_duration_minutes, pace.llm_concurrency_limit) == (5, 5)
    assert found.title == tmp_path.name


def test_simulacra_what_has_no_use_is_named(tmp_path: Path) -> None:
    more = "random_seed = 42\nwords_per_minute = 0\nmodel = 'scripted'\n"
    found, _, notes = simulacra(
        tmp_path,
        experiment=EXPERIMENT + "\nscenario = 'base'\n[groups.Tx3]\nprompt_template = 'z'\n[prompts.x]\ny = 1\n",
        simulation=SIMULATION + more,
    )
    assert notes == [
        "experimental_settings.toml: prompts has no use here",
        "experimental_settings.toml: groups.Tx2.scenario has no use here",
        "experimental_settings.toml: groups.Tx3 has no tokens in participant_tokens.toml",
        "simulation_settings.toml: random_seed has no use here",
    ]
    assert (found.pace.words_per_minute, found.model) == (0, "scripted")


@pytest.mark.parametrize(
    ("files_given", "told"),
    [
        (
            {"simulation": SIMULATION.replace("= 3", "= 4")},
            ["settings.toml: num_agents must be 3, the number of agent_names, not 4"],
        ),
        ({"simulation": SIMULATION.replace("= 3", "= true")}, ["simulation_settings.toml: num_agents must be 3"]),
        (
            {"simulation": SIMULATION.replace('"Bob"', "7")},
            ["simulation_settings.toml: agent_names item 2 must be a text, not 7"],
        ),
        (
            {"simulation": SIMULATION.replace('"Bob"', '"alice"')},
            ["simulation_settings.toml: agent_names has more than one member of the name alice"],
        ),
        (
            {"simulation": SIMULATION.replace('["Alice", "Bob", "Charlie"]', '"Alice"')},
            ["agent_names must be a list of names"],
        ),
        (
            {
                "simulation": SIMULATION.replace("probability = 1", "probability = 1.5").replace(
                    "minutes = 5", "minutes = 0"
                )
            },
            [
                "simulation_settings.toml: user_response_probability must be a number from 0 to 1, not 1.5",
                "simulation_settings.toml: session_duration_minutes must be a number above 0, at most 1,440, not 0",
            ],
        ),
        ({"simulation": ""}, [f"simulation_settings.toml: {key} is missing; it must be" for key in files.NEEDED]),
        (
            {"simulation": SIMULATION.replace("limit = 5", "limit = 0")},
            ["llm_concurrency_limit must be a whole number above 0"],
        ),
        (
            {"tokens": TOKENS + 'Tx9 = ["q"]\n'},
            ["participant_tokens.toml: groups.Tx9 is no group of experimental_settings.toml, which has Tx1, Tx2"],
        ),
        (
            {"tokens": TOKENS.replace("user0004", "user0001")},
            ["participant_tokens.toml: groups.Tx2 item 2 is the same token as groups.Tx1 item 1"],
        ),
        (
            {"tokens": '[groups]\nTx1 = ["", " a", 5, "a\\u0000"]\nTx2 = "x"\n'},
            [
                *(f"participant_tokens.toml: groups.Tx1 item {n} must be a text" for n in (1, 2, 3, 4)),
                "groups.Tx2 must be a list of tokens",
            ],
        ),
        ({"tokens": ""}, ["participant_tokens.toml: groups must be a table with at least one group"]),
        (
            {"experiment": "[groups]\nTx1 = 5\n[groups.Tx2]\ntreatment = 'x'\n"},
            [
                "experimental_settings.toml: groups.Tx1 must be a table with prompt_template, not 5",
                "experimental_settings.toml: groups.Tx2.prompt_template is missing; it must be a text",
            ],
        ),
        ({"experiment": "groups = 5"}, ["experimental_settings.toml: groups must be a table with at least one group"]),
    ],
)
def test_simulacra_all_that_is_wrong_is_told_at_once(
    tmp_path: Path, files_given: dict[str, str], told: list[str]
) -> None:
    with pytest.raises(Invalid) as caught:
        simulacra(tmp_path, **files_given)
    assert [one for one in told if one not in caught.value.detail] == []
    assert "user0001" not in caught.value.detail, "tokens are not shown"


def test_simulacra_missing_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "simulation_settings.toml").write_text(SIMULATION)
    with pytest.raises(NotFound, match=r"no experimental_settings\.toml and no participant_tokens\.toml"):
        files.read_simulacra(tmp_path)


# The manual

TABLES: dict[str, type[BaseModel]] = {
    "### All keys": StudyDesign,
    "In `[arms.NAME]`": Arm,
    "In `[[cast]]`": Member,
    "In `[pace]`": Pace,
    "In `[[intake]]` and `[[closing]]`": Question,
    "In `[redirect]`": Redirect,
}


def documented(title: str) -> dict[str, list[str]]:
    """The keys of a table of the manual, each with its other cells."""
    table = MANUAL.split(title, 1)[1].split("| key |", 1)[1].split("\n\n", 1)[0]
    found: dict[str, list[str]] = {}
    for line in table.splitlines()[2:]:
        first, *cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        found |= dict.fromkeys(re.findall(r"`(\w+)`", first), cells)
    return found


@pytest.mark.parametrize("title", TABLES)
def test_every_key_is_in_the_manual_with_its_default(title: str) -> None:
    told, model = documented(title), TABLES[title]
    assert told.keys() == model.model_fields.keys()
    for name, field in model.model_fields.items():
        default, said = field.default, told[name][0]
        if field.is_required():
            assert said == "needed", name
        elif isinstance(default, bool):
            assert said == f"`{default}".lower() + "`", name
        elif isinstance(default, int | float):
            assert said == f"`{default:g}`", name
        elif isinstance(default, str) and default and len(default) < 40:
            assert said == f"`{default}`", name
        elif name in ("withdrawal", "params"):
            assert said == ", ".join(f"`{one}`" for one in default)


@pytest.mark.parametrize("title", TABLES)
def test_the_bounds_in_the_manual_are_those_of_the_model(title: str) -> None:
    told = documented(title)
    for name, schema in TABLES[title].model_json_schema()["properties"].items():
        options = [one for one in schema.get("anyOf", [schema]) if one.get("type") in ("integer", "number")]
        for one in options:
            if name not in ("min", "max"):
                assert f"{one['maximum']:,g}" in told[name][-1], name
                assert f"{one.get('minimum', one.get('exclusiveMinimum')):g}" in told[name][-1], name


def test_the_examples_of_the_manual_are_studies() -> None:
    found = [tomllib.loads(one) for one in re.findall(r"```toml\n(.*?)```", MANUAL, re.DOTALL)]
    designs = [StudyDesign.model_validate(one) for one in found]
    assert len(designs) == 2
    assert designs[1].block_size == 6
    assert designs[1].cast[0].description is not None
