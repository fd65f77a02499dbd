"""What a log line says, and what it must not."""

import json

import pytest
import structlog

from app import logs


def test_an_exception_is_told_by_kind_and_place_without_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info")
    try:
        try:
            raise KeyError("what a person wrote")
        except KeyError as error:
            raise RuntimeError("another secret") from error
    except RuntimeError:
        structlog.get_logger().exception("turn failed", turn=7)
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["error"], line["turn"]) == ("turn failed", "RuntimeError", 7)
    assert "builtins.KeyError" in line["at"]
    assert any("test_logs.py" in place for place in line["at"])
    assert "person" not in json.dumps(line)
    assert "secret" not in json.dumps(line)


def test_what_looks_like_a_secret_is_taken_out(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info")
    structlog.get_logger().info("hello", api_key="abc", url="postgresql://ann:hush@db/x", said="sk-" + "a" * 20)
    told = capsys.readouterr().err
    assert json.loads(told)["event"] == "hello"
    for secret in ("abc", "hush", "sk-a"):
        assert secret not in told
