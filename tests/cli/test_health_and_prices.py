"""`simfeed doctor` on persona files, disks, database and model; what prices are, how old, and against a user's list."""

import json
import os
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.cli.doctor import DISK_LEAST, _personas, _room
from app.llm.pricing import OLD_DAYS, Price, doubts, price, providers
from tests.cli.test_cli import SEED, data, simfeed


def checks(done: Any, what: str) -> list[dict[str, Any]]:
    return [check for check in json.loads(done.stdout) if check["what"] == what]


def test_all_is_well(url: str, tmp_path: Path) -> None:
    done = simfeed(url, "doctor", "--model", "--personas-file", str(SEED), "--json", SIMFEED_HOME=str(tmp_path))
    assert done.returncode == 0, done.stdout
    assert "12 personas" in checks(done, "personas")[0]["found"]
    assert "a round trip" in checks(done, "database")[0]["found"]
    assert "a process takes up to 10" in checks(done, "connections")[0]["found"]
    assert checks(done, "disk")[0]["found"].endswith(f"free at {tmp_path}")
    assert [one["found"].partition(":")[0] for one in checks(done, "functions")][:2] == [
        "answers", "calls offered functions",
    ]  # fmt: skip


def test_faults_of_a_persona_file_have_their_places(url: str, tmp_path: Path) -> None:
    path = tmp_path / "people.json"
    path.write_text(
        '[{"username": "a b", "description": "x"}, {"username": "ok", "description": "", "temperature": 9}]'
    )
    done = simfeed(url, "doctor", "--personas-file", str(path), "--json")
    assert done.returncode == 1
    found = [one["found"] for one in checks(done, "personas")]
    for place in ("record 1, field username", "record 2, field description", "record 2, field temperature"):
        assert any(place in one for one in found), found


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'[{"username": "a"', "is not JSON"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"", "is empty"),
        (b'[{"username": "a", "username": "b"}]', "is not JSON"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "people.json"
    if content is not None:
        path.write_bytes(content)
    (found,) = _personas(path)
    assert not found.ok
    assert words in found.found


def test_too_few_connections_are_told(url: str) -> None:
    done = simfeed(url, "doctor", "--json", DATABASE_POOL_SIZE="200")
    (found,) = checks(done, "connections")
    assert not found["ok"]
    assert "DATABASE_POOL_SIZE" in found["mend"]


def test_a_full_disk_and_one_that_is_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _room(tmp_path, tmp_path).ok
    monkeypatch.setattr("app.cli.doctor.DISK_LEAST", 2**80)
    assert not _room(tmp_path, tmp_path).ok
    monkeypatch.setattr("app.cli.doctor.DISK_LEAST", DISK_LEAST)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "can't be written" in _room(tmp_path, tmp_path).found


def test_every_price_of_the_presets_is_one_of_a_model_and_its_date_is_no_promise() -> None:
    for provider in providers().values():
        assert set(provider.as_of) <= set(provider.prices)
        assert not provider.prices or provider.source.startswith("https://")
        for name, known in provider.prices.items():
            assert 0 <= known.cached <= known.prompt <= known.completion, name
        assert all(type(day) is date and day <= date(2026, 11, 22) for day in provider.as_of.values())


def test_a_price_is_doubted_when_it_is_old_undated_or_unknown() -> None:
    day = providers()["openai"].as_of["gpt-4.1"]
    assert doubts("gpt-4.1", today=day + timedelta(days=OLD_DAYS)) is None
    old = doubts("gpt-4.1", today=day + timedelta(days=OLD_DAYS + 1))
    assert old is not None
    assert f"{OLD_DAYS + 1} days ago ({day})" in old
    assert "Nobody has noted" in (doubts("deepseek-chat", today=day) or "")
    assert "is not known" in (doubts("gpt-nothing", today=day) or "")
    own = {("openai", "gpt-4.1"): Price(1, 1, 1)}
    assert doubts("gpt-4.1", own, today=date(2099, 1, 1)) is None
    for free in ("scripted", "ollama/qwen3:8b"):
        assert doubts(free, today=date(2099, 1, 1)) is None


def test_prices_beside_a_list(tmp_path: Path) -> None:
    known = price("gpt-4.1")
    assert known is not None
    path = tmp_path / "mine.json"
    run = CliRunner()

    def compared(value: Any) -> Any:
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        return run.invoke(app, ["models", "prices", "--check", str(path), "--json"])

    same = {"gpt-4.1": [known.prompt, known.cached, known.completion]}
    assert (compared(same).exit_code, json.loads(compared(same).stdout)) == (0, [])
    other = compared({**same, "gpt-4o": [1, 1, 1], "never-heard": [0, 0, 0]})
    assert other.exit_code == 1
    assert [(one["model"], one["theirs"]) for one in json.loads(other.stdout)] == [
        ("gpt-4o", [1, 1, 1]), ("never-heard", [0, 0, 0]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ('{"a": [1, 2]}', "a: "),
        ('{"a": [1, 2, -3]}', "a.2: "),
        ('{"a": [NaN, 1, 1]}', "is not JSON"),
        ("[", "is not JSON"),
    ],
)
def test_a_wrong_list_of_prices_is_refused(url: str, tmp_path: Path, value: str, words: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(value)
    done = simfeed(url, "models", "prices", "--check", str(path))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert words in done.stderr


def test_the_table_of_prices_and_the_estimate_tell_doubts(url: str) -> None:
    found = data(simfeed(url, "models", "prices", "--json", MODEL_PRICES="mine=1/0.5/2"))
    by_name = {one["model"]: one for one in found}
    assert by_name["mine"]["source"] == "MODEL_PRICES"
    assert by_name["mine"]["doubt"] is None
    assert by_name["deepseek/deepseek-chat"]["as_of"] is None
    assert "Nobody has noted" in by_name["deepseek/deepseek-chat"]["doubt"]
    assert "Nobody has noted" in simfeed(url, "estimate", "--model", "deepseek-chat", DEEPSEEK_API_KEY="sk-1").stderr
