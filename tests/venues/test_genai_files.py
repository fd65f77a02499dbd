"""GenAI Social Sim's two files: read as they are, or refused with each place; YAML that means harm does none."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.errors import AppError, Invalid, Misconfigured, NotFound
from app.llm.gateway import endpoint
from app.settings import load_settings
from app.venues.session.files import SIZE_MOST, YAML_MOST, read_value, yaml_value
from app.venues.session.genai import App, dialogues, model_name, read_app, read_seed, strays, with_bots, with_model

APP = """\
redis:
  host: redis
  port: 6379
channels:
  defaults: ["general", "science"]
ollama:
  base_url: http://host.docker.internal:11434
  bots:
    BOT1:
      model: gemma3:4b
      generation_config:
        temperature: 0.7
        top_p: 0.95
        num_predict: 300
        # stop: ["/shutdown"]
    BOT2:
      model: llama3
      generation_config:
        stop: ["/shutdown", "END"]
channel_turns:
  general:
    initial_bot: BOT2
cli:
  prompt_prefix: "\\n> "
message:
  from: "system"
  body: "Discuss current issues surrounding rare earth metals."
prompts:
  BOT1: Respond to the most recent message.
  BOT2: >
      Be
      brief.
"""
SEED = 'channel: "general"\nmessage:\n  from: "host"\n  body: "What of dysprosium?"\nprompts:\n  BOT1: Be concise.\n'


@pytest.fixture
def app_file(tmp_path: Path) -> Path:
    return written(tmp_path, APP)


def written(folder: Path, text: str, name: str = "app.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_the_files_are_read_as_they_are(app_file: Path, tmp_path: Path) -> None:
    app, seed = read_app(app_file), read_seed(written(tmp_path, SEED, "seed.yaml"))
    first, second = dialogues(app, more={"terms": {"seed": 7}})
    assert [one.channel for one in (first, second)] == ["general", "science"]
    assert (first.initial_bot, second.initial_bot) == ("BOT2", "random")
    assert [(b.name, b.model, b.prompt) for b in first.bots] == [
        ("BOT1", "ollama/gemma3:4b", "Respond to the most recent message."),
        ("BOT2", "ollama/llama3", "Be brief."),
    ]
    options = first.bots[0].options
    assert (options.temperature, options.top_p, options.num_predict, options.stop) == (0.7, 0.95, 300, ())
    assert first.bots[1].options.stop == ("/shutdown", "END")
    assert (first.seed_message.from_, first.terms.seed) == ("system", 7)
    (seeded,) = dialogues(app, [seed])
    assert (seeded.channel, seeded.seed_message.from_, seeded.seed_message.message) == (
        "general", "host", "What of dysprosium?",
    )  # fmt: skip
    assert [bot.prompt for bot in seeded.bots] == ["Be concise.", "Be brief."]


def test_what_has_no_use_here_is_named(app_file: Path) -> None:
    notes = "\n".join(read_app(app_file).notes)
    assert "redis is not used" in notes
    assert "cli is not used" in notes
    assert "OLLAMA_BASE_URL" in notes
    assert notes.count("\n") == 2


def test_a_place_of_ollama_that_is_ours_needs_no_note(tmp_path: Path) -> None:
    for place in ("http://127.0.0.1:11434", "http://localhost:11434/v1/", ""):
        made = read_app(written(tmp_path, f"ollama: {{base_url: '{place}', bots: {{A: {{model: m}}}}}}"))
        assert made.notes == []


def test_unknown_keys_and_prompts_of_nobody_are_named(tmp_path: Path) -> None:
    app = read_app(
        written(
            tmp_path,
            "ollama:\n  bots:\n    A: {model: m, colour: red, generation_config: {num_ctx: 9, num_predict: -1}}\n"
            "prompts: {C: hi}\nextra: 1\n",
        )
    )
    assert [note.removeprefix("app.yaml: ").partition(" is not used")[0] for note in app.notes] == [
        "ollama.bots.A.colour", "ollama.bots.A.generation_config.num_ctx", "extra",
        "ollama.bots.A.generation_config.num_predict", "prompts.C",
    ]  # fmt: skip
    assert app.bots["A"]["options"] == {}
    seed = read_seed(written(tmp_path, "message: {body: x}\nprompts: {D: hi}", "seed.yaml"))
    assert strays(app, [seed]) == ["seed.yaml: prompts.D is not used: no bot has that name"]


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("llama3", "ollama/llama3"),
        ("deepseek-r1:8b", "ollama/deepseek-r1:8b"),
        ("someone/model:7b", "ollama/someone/model:7b"),
        ("ollama/llama3", "ollama/llama3"),
        ("openrouter/x/y", "openrouter/x/y"),
        ("scripted", "scripted"),
    ],
)
def test_models_are_ollamas_unless_they_say_otherwise(name: str, called: str) -> None:
    assert model_name(name) == called


def test_one_model_for_all_bots(app_file: Path) -> None:
    (design, _) = dialogues(read_app(app_file))
    scripted = with_model(design, "scripted")
    assert {bot.model for bot in scripted.bots} == {scripted.terms.model} == {"scripted"}
    assert {bot.model for bot in design.bots} == {"ollama/gemma3:4b", "ollama/llama3"}


def test_bots_of_the_command_line_come_beside_those_of_the_file(app_file: Path) -> None:
    app = with_bots(read_app(app_file), {"BOT1": {"name": "BOT1", "prompt": "new"}, "C": {"name": "C", "prompt": "c"}})
    (design, _) = dialogues(app)
    assert [(b.name, b.prompt, b.model) for b in design.bots] == [
        ("BOT1", "new", "ollama/gemma3:4b"), ("BOT2", "Be brief.", "ollama/llama3"), ("C", "c", None),
    ]  # fmt: skip


def test_where_ollama_is_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert endpoint(load_settings(), "ollama/m").base_url == "http://127.0.0.1:11434/v1"
    for given_, used in (("http://models:11434", "http://models:11434/v1"), ("http://m/x/", "http://m/x"), ("", None)):
        monkeypatch.setenv("OLLAMA_BASE_URL", given_)
        assert endpoint(load_settings(), "ollama/m").base_url == (used or "http://127.0.0.1:11434/v1")
    monkeypatch.setenv("OLLAMA_BASE_URL", "ftp://m")
    with pytest.raises(Misconfigured, match="OLLAMA_BASE_URL"):
        load_settings()


WRONG = [
    ("", "is empty"),
    ("[]", "must be a map"),
    ("channels: {}", "ollama.bots: must name at least one"),
    ("ollama: {bots: {A: }}", "ollama.bots.A.model: Field required"),
    ("ollama: {bots: {A: {model: 7}}}", "ollama.bots.A.model"),
    ("ollama: {bots: {A: {model: 'a b'}}}", "ollama.bots.A.model"),
    ("ollama: {bots: [A]}", "ollama.bots"),
    (
        "ollama: {bots: {A: {model: m, generation_config: {temperature: 3, top_p: -1}}}}",
        "ollama.bots.A.generation_config.temperature: .*; ollama.bots.A.generation_config.top_p: ",
    ),
    ("ollama: {bots: {A: {model: m, generation_config: {stop: {a: b}}}}}", "generation_config.stop"),
    (
        "ollama: {bots: {A: {model: m}}}\nchannel_turns: {general: {initial_bot: Z}}",
        "channel_turns.general.initial_bot",
    ),
    ("ollama: {bots: {A: {model: m}}}\nmessage: {from: x}", "message.body: Field required"),
    ("ollama: {bots: {A: {model: m}}}\nchannels: {defaults: general}", "channels.defaults"),
    ("ollama: {bots: {A: {model: m}}}\nprompts: {A: [1]}", "prompts.A"),
]


@pytest.mark.parametrize(("text", "told"), WRONG)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(Invalid, match=told) as refused:
        read_app(written(tmp_path, text))
    assert refused.value.detail.startswith("app.yaml: ")


def test_a_channel_that_nothing_begins_is_refused(tmp_path: Path) -> None:
    app = read_app(written(tmp_path, "ollama: {bots: {A: {model: m}, B: {model: m}}}"))
    with pytest.raises(Invalid, match="--message"):
        dialogues(app)
    with pytest.raises(Invalid, match="at least 2"):
        dialogues(App("x", {"A": {"name": "A"}}), message={"from": "x", "message": "hi"})
    seed = read_seed(written(tmp_path, SEED, "seed.yaml"))
    with pytest.raises(Invalid, match="same channel"):
        dialogues(app, [seed, seed])


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{two}: &{two} [{','.join([f'*{one}'] * 9)}]\n" for one, two in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {k: v}\n" + "".join(
    f"{two}: &{two} {{<<: [{','.join([f'*{one}'] * 9)}]}}\n" for one, two in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE: list[tuple[str | bytes, str]] = [
    (BOMB, "aliases written out"),
    (MERGES, "aliases written out"),
    ("a: &a [*a]", "holds itself"),
    ("[" * 100_000, "nested deeper"),
    ("{a: " * 50, "nested deeper"),
    ("- " * 60_000, "nested deeper"),
    ("x: [" + "a," * 60_000 + "]", "more than 50,000 values"),
    ("a: 1\nb: 2\na: 3", "line 3, column 1: the key 'a' is given twice"),
    ("a: {b: 1, b: 2}", "given twice"),
    ("? [a]\n: b", "must be a text"),
    ("yes: 1", "must be a text"),
    ("!!python/object/apply:os.system [echo]", "is not read"),
    ("a: !!binary aGk=", "is not read"),
    ("a: !!set {b}", "is not read"),
    ("a: .nan", "finite"),
    ("a: -.inf", "finite"),
    ("a: !!int x", "is no int"),
    ("a: " + "9" * 5000, "400 characters"),
    ("a: *b", "undefined alias"),
    ("a: 1\n---\nb: 2", "another document"),
    ("a: 'x", "line 1"),
    ("a: \x07", "not allowed"),
    (b"a: \xff", "UTF-8"),
    ("a: b".encode("utf-16"), "UTF-8"),
    (b"#" * (YAML_MOST + 1), "larger than"),
]


@pytest.mark.parametrize(("text", "told"), HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_yaml_is_refused_in_a_sentence(text: str | bytes, told: str) -> None:
    with pytest.raises(Invalid, match=told) as refused:
        yaml_value(text if isinstance(text, bytes) else text.encode(), "f.yaml")
    assert refused.value.detail.startswith("f.yaml: ")
    assert "\n" not in refused.value.detail


def test_control_tame_yaml_is_read() -> None:
    text = "\ufeffa: &a {k: 1, j: two}\nb:\n  <<: *a\n  k: 3\nc: [*a, 2024-01-31, 1.5, on, ~, 'on']\n"
    tame: dict[str, Any] = {"k": 1, "j": "two"}
    assert yaml_value(text.encode(), "f") == {
        "a": tame, "b": {"k": 3, "j": "two"}, "c": [tame, "2024-01-31", 1.5, True, None, "on"],
    }  # fmt: skip
    wide = "x: [" + ",".join(["a"] * (SIZE_MOST - 100)) + "]"
    assert len(yaml_value(wide.encode(), "f")["x"]) == SIZE_MOST - 100


@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)))
@example(b'a: "\\ud800"')
@example(b"%YAML 9.9\n---\na")
@example(b"a: 0b\nb: 1__0\nc: 1:99\n")
@example(b"<<: 3")
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_yaml_ends_in_a_traceback(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(data)
    for read in (read_value, read_app, read_seed):
        try:
            read(path)
        except AppError as error:
            assert error.detail  # noqa: PT017 - most of it is refused


KEYS = st.sampled_from(["ollama", "bots", "channels", "defaults", "channel_turns", "message", "body", "prompts", "A"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_no_form_of_an_app_ends_in_a_traceback(value: dict[str, Any]) -> None:
    from app.venues.session.genai import app_of

    try:
        app_of({"ollama": {"bots": {"A": {"model": "m"}}}, **value}, "app.yaml")
    except Invalid as error:
        assert error.detail.startswith("app.yaml: ")  # noqa: PT017 - much of it is refused


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no file"):
        read_app(tmp_path / "none.yaml")
    with pytest.raises(Invalid, match="can't be read"):
        read_app(tmp_path)
    with pytest.raises(Invalid, match="must end in"):
        read_value(written(tmp_path, "x", "a.txt"))
    for name, text in (("a.toml", "x = ["), ("a.toml", "x = 1\nx = 2"), ("a.json", '{"a": NaN}'), ("a.json", "{")):
        with pytest.raises(Invalid, match=name):
            read_value(written(tmp_path, text, name))
    assert read_value(written(tmp_path, "x = 1", "a.toml")) == {"x": 1}
    assert read_value(written(tmp_path, '{"x": 1}', "a.json")) == {"x": 1}
