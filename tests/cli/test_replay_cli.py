"""`simfeed replay` in a home of its own: equal, or what is different; counterfactuals; nothing left behind."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import run_sql

SEED = Path(__file__).parents[2] / "sql" / "seed" / "personas.json"


def simfeed(url: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "DATABASE_URL": url, "COLUMNS": "160"}
    words = [sys.executable, "-c", "from app.cli import main; main()", *arguments]
    return subprocess.run(words, capture_output=True, text=True, env=environment, timeout=240)


def data(done: "subprocess.CompletedProcess[str]") -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def lived(url: str) -> str:
    """A world with three cycles, in rounds and under a simulated clock."""
    assert simfeed(url, "personas", "import", str(SEED)).returncode == 0
    done = simfeed(url, "run", "--cycles", "3", "--clock", "simulated", "--rounds", "--seed", "5", "--json")
    assert [one["state"] for one in data(done)] == ["completed"] * 3
    return url


def cycles(url: str) -> list[int]:
    return sorted(one["id"] for one in data(simfeed(url, "runs", "--json")) if one["venue"] == "feed")


def worlds(url: str) -> list[str]:
    return [one["name"] for one in data(simfeed(url, "world", "list", "--json"))]


def test_each_run_again_is_equal(lived: str) -> None:
    for run in cycles(lived):
        found = data(simfeed(lived, "replay", str(run), "--json"))
        assert (found["equal"], found["asked"], found["different_tables"]) == (True, 0, [])
        assert found["calls"] > 12
    assert worlds(lived) == ["home"]
    said = simfeed(lived, "replay", str(cycles(lived)[0])).stdout
    assert "equal" in said
    assert "nobody was asked" in said


async def test_a_run_that_is_not_what_was_recorded(lived: str) -> None:
    await run_sql(
        lived, "UPDATE posts SET body = body || '!' WHERE id = (SELECT max(id) FROM posts WHERE repost_of IS NULL)"
    )
    run = cycles(lived)[-1]
    done = simfeed(lived, "replay", str(run), "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["different_tables"] == ["posts"]
    assert "posts" in simfeed(lived, "replay", str(run)).stdout


async def test_a_post_that_never_appeared(lived: str) -> None:
    run = cycles(lived)[0]
    found = data(simfeed(lived, "replay", str(run), "--counterfactual", "drop post 1", "--keep", "without-1", "--json"))
    assert [one["state"] for one in found["cycles"]] == ["completed"] * 3
    assert found["reused"] > 0
    assert found["asked"] > 0
    assert worlds(lived) == ["home", "without-1"]
    told = data(simfeed(lived, "world", "diff", "home", "without-1", "--json"))
    assert "posts" in json.dumps(told)


def test_a_change_of_nothing_asks_nobody(lived: str) -> None:
    """Prompts are the same, so all is reused, over all three cycles."""
    found = data(simfeed(lived, "replay", str(cycles(lived)[0]), "--counterfactual", "model scripted", "--json"))
    assert found["asked"] == 0, found


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["999"], 2),
        (["1", "--counterfactual", "fly away"], 2),
        (["1", "--counterfactual", "drop post 99999"], 2),
        (["1", "--counterfactual", "ranker best"], 2),
        (["1", "--counterfactual", "persona nobody bio x"], 2),
        (["1", "--keep", "a/b"], 2),
        (["0"], 2),
    ],
)
def test_what_cannot_be(lived: str, arguments: list[str], code: int) -> None:
    if arguments[0] == "1":
        arguments = [str(cycles(lived)[0]), *arguments[1:]]
    done = simfeed(lived, "replay", *arguments)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert "Traceback" not in done.stderr
    assert worlds(lived) == ["home"]
