"""Settings: unsafe values are refused, with the variable's name and what it must be."""

import pytest

from app.errors import Misconfigured
from app.settings import Settings, load_settings, sources
from app.web.pages.admin.settings import shown

GOOD = "k3J9-xQ2m_Vb7TzLw5RcYp8NsDf4Gh6A1"
WRONG = [
    ("SECRET_KEY", "short"),
    ("SECRET_KEY", "a" * 64),
    ("SECRET_KEY", "changeme-changeme-changeme-changeme"),
    ("SECRET_KEY", "your-secret-key-0123456789-0123456789"),
    ("BOOTSTRAP_TOKEN", "admin"),
    ("BOOTSTRAP_TOKEN", "a" * 40),
    ("DATABASE_URL", "mysql://localhost/x"),
    ("DATABASE_URL", "localhost:5432"),
    ("OPENAI_BASE_URL", "http://example.org/v1"),
    ("OPENAI_BASE_URL", "ftp://127.0.0.1/"),
    ("OPENAI_BASE_URL", "file:///etc/passwd"),
    ("OPENAI_BASE_URL", "https://"),
    ("SCHEDULER_JOB_INTERVAL", "0"),
    ("SCHEDULER_JOB_INTERVAL", "-5"),
    ("SCHEDULER_JOB_INTERVAL", "soon"),
    ("SCHEDULER_JOB_INTERVAL", "nan"),
    ("SCHEDULER_JOB_INTERVAL", "inf"),
    ("MAX_ACTIONS", "0"),
    ("MAX_ACTIONS", "1e3"),
    ("MAX_CONCURRENT_TURNS", "-1"),
    ("MODEL_TIMEOUT", "0"),
    ("MODEL_TEMPERATURE", "3"),
    ("MODEL_MAX_TOKENS", "1"),
    ("TOOL_MODE", "magic"),
    ("ACCESS_TOKEN_MINUTES", "0"),
    ("ACCESS_TOKEN_MINUTES", "1000000"),
    ("DATABASE_POOL_SIZE", "1"),
    ("RATE_LIMIT_PER_MINUTE", "-1"),
    ("LOGIN_ATTEMPTS_PER_IP", "0"),
    ("EVENTS_KEPT", "999"),
    ("EVENTS_DAYS", "0"),
    ("LOG_LEVEL", "loud"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(Misconfigured, match=name) as refused:
        load_settings()
    assert value not in refused.value.detail or len(value) < 6


def test_more_calls_than_actions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_ACTIONS", "3")
    with pytest.raises(Misconfigured, match="MAX_CALLS_PER_REPLY"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", GOOD),
        ("BOOTSTRAP_TOKEN", GOOD),
        ("DATABASE_URL", "postgresql://u:p@db.example.org/simfeed"),
        ("DATABASE_URL", "postgresql+asyncpg://u:p@db.example.org/simfeed"),
        ("DATABASE_URL", ""),
        ("OPENAI_BASE_URL", "http://127.0.0.1:11434/v1/"),
        ("OPENAI_BASE_URL", "https://models.example.org/v1"),
        ("OPENAI_BASE_URL", ""),
        ("SCHEDULER_JOB_INTERVAL", "0.5"),
        ("TRUSTED_PROXIES", "10.0.0.1, 10.0.0.2"),
    ],
)
def test_a_right_value_is_taken(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    load_settings()


def test_every_setting_says_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the admins' page shows them."""
    for name, value in (("RATE_LIMIT_PER_MINUTE", "60"), ("EVENTS_KEPT", "2000")):
        monkeypatch.setenv(name, value)
    settings = load_settings(events_days=3)
    found = sources(settings)
    assert found.keys() == Settings.model_fields.keys()
    told = {row.name: (row.value, row.source) for _, rows in shown(settings) for row in rows}
    assert told.keys() == {name.upper() for name in found}
    assert told["RATE_LIMIT_PER_MINUTE"] == ("60", "environment")
    assert told["EVENTS_KEPT"] == ("2000", "environment")
    assert told["EVENTS_DAYS"] == ("3", "command line")
    assert told["LOGIN_ATTEMPTS_PER_IP"] == ("25", "default")


def test_secrets_do_not_show() -> None:
    assert GOOD not in repr(
        load_settings(secret_key=GOOD, bootstrap_token=GOOD, database_url=f"postgresql://{GOOD}@h/d")
    )


def test_flags_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMFEED_MODEL", "gpt-4o-mini")
    assert load_settings(simfeed_model="scripted").simfeed_model == "scripted"
