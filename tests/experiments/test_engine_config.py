"""The simulation engine's configuration: what is stronger than what, what is refused, what it becomes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from app.errors import AppError, Invalid
from app.experiments.engine.config import FRONT, OPTIONS, configured
from app.settings import load_settings

# Configuration

INI = """\
[OpenAI]
# as TinyTroupe has it
MODEL = gpt-file
temperature = 0.5   ; warm
max_tokens = 300
timeout = 30
max_attempts = 5
exponential_backoff_factor = 2
[Simulation]
parallel_agent_actions = True
max_turns = 7
[Performance]
rate_limit_delay = 0.5
max_workers = 3
[Monitoring]
log_level = WARNING
[Engine]
output_dir = out
graceful_degradation = no
fallback_model = gpt-b
"""


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    path = tmp_path / "config.ini"
    path.write_text(INI)
    return path


def test_a_default_where_nothing_is_said() -> None:
    found = configured(None, {}, {})
    assert (found["max_turns"], found.values["max_turns"].source) == (10, "default")
    assert found["model"] is None


def test_a_file_is_stronger_than_a_default(ini: Path) -> None:
    found = configured(ini, {}, {})
    assert (found["max_turns"], found.values["max_turns"].source) == (7, "file")
    assert (found["model"], found["temperature"], found["log_level"]) == ("gpt-file", 0.5, "warning")
    assert (found["graceful_degradation"], found["output_dir"]) == (False, "out")


def test_the_environment_is_stronger_than_a_file(ini: Path) -> None:
    found = configured(ini, {}, {"SIMULATE_MAX_TURNS": "8", "SIMFEED_MODEL": "gpt-env"})
    assert (found["max_turns"], found.values["max_turns"].source) == (8, "environment")
    assert (found["model"], found.values["model"].place) == ("gpt-env", "SIMFEED_MODEL")
    assert found["temperature"] == 0.5
    assert configured(ini, {}, {"SIMULATE_MODEL": "own", "SIMFEED_MODEL": "gpt-env"})["model"] == "own"


def test_a_flag_is_stronger_than_the_environment(ini: Path) -> None:
    found = configured(ini, {"max_turns": 9, "model": None}, {"SIMULATE_MAX_TURNS": "8", "SIMFEED_MODEL": "gpt-env"})
    assert (found["max_turns"], found.values["max_turns"].source) == (9, "flag")
    assert found["model"] == "gpt-env"


def test_what_options_become(ini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_TIMEOUT", "200")
    found = configured(ini, {"persona_timeout": 12})
    settings = found.settings(load_settings())
    assert settings.simfeed_model == "gpt-file"
    assert settings.model_temperature == 0.5
    assert settings.model_timeout == 12
    assert settings.model_fallback == "gpt-b"
    assert settings.requests_per_minute == 120
    assert settings.max_concurrent_turns == 3
    assert settings.log_level == "warning"
    assert configured(None, {"rate_limit_delay": 0}, {}).settings(load_settings()).requests_per_minute == 0
    plain = load_settings()
    assert configured(None, {}, {}).settings(plain) == plain


def test_the_environments_own_limit_is_stronger_than_a_files_delay(ini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_PER_MINUTE", "10")
    assert configured(ini).settings(load_settings()).requests_per_minute == 10
    assert configured(ini, {"rate_limit_delay": 1}).settings(load_settings()).requests_per_minute == 60


def test_what_has_no_meaning_here_is_named(ini: Path) -> None:
    notes = configured(ini, {}, {}).notes
    for name in ("max_attempts", "exponential_backoff_factor", "parallel_agent_actions"):
        assert any(f"{name} is not used: " in note for note in notes)
    assert not any("max_turns" in note for note in notes)


def test_every_option_of_the_contract_is_known_and_told() -> None:
    known = {
        "OpenAI": "model temperature max_tokens timeout max_attempts exponential_backoff_factor",
        "Simulation": "parallel_agent_generation parallel_agent_actions max_turns",
        "Performance": "rate_limit_delay max_workers batch_size",
        "Monitoring": "enable_monitoring log_level performance_tracking",
        "*": "max_personas persona_timeout parallel_execution max_retries output_dir auto_analysis save_visualizations "
        "timeout_seconds graceful_degradation fallback_model",
    }
    assert {(s, name) for s, names in known.items() for name in names.split()} == {
        (one.section, one.name) for one in OPTIONS.values()
    }
    assert all(one["becomes"] for one in configured(None, {}, {}).told())


FAULTY = [
    ("[OpenAI]\ntemperature = hot", "config.ini: [OpenAI] temperature: must be a number from 0 to 2, not"),
    ("[OpenAI]\ntemperature = nan", "temperature: must be a number from 0 to 2"),
    ("[OpenAI]\ntemperature = 2.1", "temperature: must be a number from 0 to 2"),
    ("[OpenAI]\nmax_tokens = 1.5", "max_tokens: must be a whole number from 16 to 16,000"),
    ("[OpenAI]\ntimeout = 0", "timeout: must be a number above 0 to 600"),
    ("[Simulation]\nmax_turns = 0", "max_turns: must be a whole number from 1 to 10,000"),
    ("[Simulation]\nparallel_agent_actions = maybe", "must be true or false"),
    ("[Performance]\nmax_workers = many", "max_workers: must be a whole number"),
    ("[Monitoring]\nlog_level = loud", "log_level: must be one of debug"),
    ("[X]\nmax_personas = 1", "max_personas: must be a whole number from 2 to 20"),
    ("[X]\nmax_personas = 3\n[Y]\nmax_personas = 4", "is given already as"),
    ("no section = 1", "is no configuration file"),
    ("[a]\nx=1\n[a]\ny=2", "is no configuration file"),
    ("[a]\nx=1\nx=2", "is no configuration file"),
]


@pytest.mark.parametrize(("text", "message"), FAULTY)
def test_wrong_options_are_refused_with_place_and_rule(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.ini"
    path.write_text(text)
    with pytest.raises(Invalid) as refused:
        configured(path, {}, {})
    assert message in refused.value.detail


def test_every_wrong_option_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "config.ini"
    path.write_text("[OpenAI]\ntemperature = 9\ntimeout = x\n")
    with pytest.raises(Invalid) as refused:
        configured(path, {"max_turns": 0}, {"SIMULATE_MAX_WORKERS": "0"})
    assert [one.pointer for one in refused.value.errors] == [
        "config.ini: [OpenAI] temperature", "config.ini: [OpenAI] timeout", "SIMULATE_MAX_WORKERS", "--max-turns",
    ]  # fmt: skip


def test_unknown_keys_and_sections_and_empty_ones_are_named(tmp_path: Path) -> None:
    path = tmp_path / "config.ini"
    path.write_text("[OpenAI]\ncache = 1\nmax_turns = 3\nmodel =\n[Else]\ncolour = red\n")
    found = configured(path, {}, {})
    assert found["max_turns"] == 10
    assert [note.partition(" is ")[0] for note in found.notes] == [
        "config.ini: [OpenAI] cache", "config.ini: [OpenAI] max_turns", "config.ini: [OpenAI] model",
        "config.ini: [Else] colour",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.json", '{"OpenAI": {"model": "m", "temperature": 1}, "max_personas": 5}'),
        ("c.toml", 'max_personas = 5\n[OpenAI]\nmodel = "m"\ntemperature = 1\n'),
        ("c.yaml", "max_personas: 5\nOpenAI: {model: m, temperature: 1}\n"),
        ("c.yml", "max_personas: 5\nmodel: m\ntemperature: 1\n"),
    ],
)
def test_the_same_as_an_object(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    found = configured(path, {}, {})
    assert (found["model"], found["temperature"], found["max_personas"]) == ("m", 1, 5)
    assert found.notes == ()


@pytest.mark.parametrize("data", [b"\xff\xfe[\x00", b"\xff[a]", b"x" * (2**20 + 1)])
def test_a_configuration_that_is_none_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "c.ini"
    path.write_bytes(data)
    with pytest.raises(AppError, match=r"c\.ini"):
        configured(path, {}, {})
    with pytest.raises(AppError, match="no file"):
        configured(tmp_path / "none.ini", {}, {})


def test_no_note_holds_what_a_terminal_would_obey(tmp_path: Path) -> None:
    path = tmp_path / "c.ini"
    path.write_text("[\x1b[31m]\n\x9bkey = 1\n[OpenAI]\ntemperature = \x1b\u202e\n")
    with pytest.raises(Invalid) as refused:
        configured(path, {}, {})
    assert refused.value.detail.isprintable()
    path.write_text("[\x1b[31m]\n\x9bkey = 1\n")
    assert all(note.isprintable() for note in configured(path, {}, {}).notes)


@examples(max_examples=200)
@given(st.sampled_from(list(OPTIONS)), st.text(max_size=12))
def test_any_text_is_an_option_or_refused(name: str, text: str) -> None:
    try:
        found = configured(None, {}, {FRONT + name.upper(): text})
    except Invalid:
        return
    assert found.values[name].source == ("environment" if text.strip() else "default")
