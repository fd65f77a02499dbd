"""What a log line says, and what it must not."""

import json
import time
from datetime import datetime, tzinfo

import pytest
import structlog

from app import logs, main
from app.db.engine import Database


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


@pytest.mark.parametrize(("minutes", "warned"), [(0, False), (10, True), (-10, True)])
async def test_p8_a_clock_that_differs_from_the_databases_is_told_at_start(
    database: Database,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    minutes: int,
    *,
    warned: bool,
) -> None:
    class Off(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Off":
            return cls.fromtimestamp(time.time() + minutes * 60, tz)

    logs.configure("info")
    monkeypatch.setattr(main, "datetime", Off)
    monkeypatch.setattr(main, "log", structlog.get_logger())
    await main.check_clock(database)
    assert ("clock differs" in capsys.readouterr().err) is warned
