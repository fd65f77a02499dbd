"""`simfeed runs show` and `runs realism`."""

from app.db.engine import Database
from tests.analysis.test_realism_worlds import lived, varied
from tests.cli.test_cli import data, simfeed
from tests.web.pages.test_admin_monitors import assistants


async def test_show_tells_figures_monitors_and_alarms(database: Database, url: str) -> None:
    await lived(database, assistants)
    shown = simfeed(url, "runs", "show", "1")
    assert shown.returncode == 0, shown.stderr
    assert "Run 1: completed" in shown.stdout
    assert "assistant_speak" in shown.stdout
    assert "alarm: Texts in the voice of an AI assistant: 1.00" in shown.stderr
    found = data(simfeed(url, "runs", "show", "1", "--json"))
    assert found["venue"] == "feed"
    assert {one["monitor"] for one in found["realism"]["alarms"]} >= {"assistant_speak"}
    assert found["realism"]["worst"][0]["rule"] == "assistant_speak"


async def test_realism_looks_anew_by_todays_limits(database: Database, url: str) -> None:
    await lived(database, varied, 2)
    await database.fetch("UPDATE runs SET realism = NULL")
    before = simfeed(url, "runs", "show", "2")
    assert "simfeed runs realism 2" in before.stderr
    found = data(simfeed(url, "runs", "realism", "2", "--json", ALARMS="similarity=0/2"))
    assert [(one["monitor"], one["level"]) for one in found["realism"]["alarms"]] == [("similarity", "notice")]
    assert "notice: How alike the run's texts are" in simfeed(url, "runs", "show", "2").stderr


async def test_wrong_input_is_one_line(database: Database, url: str) -> None:
    for words in (("show", "99"), ("realism", "99")):
        found = simfeed(url, "runs", *words)
        assert (found.returncode, found.stderr.count("\n")) == (2, 1)
    wrong = simfeed(url, "runs", "realism", "1", ALARMS="nothing=1/2")
    assert wrong.returncode == 78
    assert "ALARMS" in wrong.stderr
