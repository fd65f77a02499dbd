"""`simfeed experiment`: from a design to a package; what is wrong is one line, and nothing is kept of it."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from app.db.engine import Database
from app.experiments.examples import EXAMPLES
from tests.cli.test_cli import SIMFEED, data, environment, simfeed
from tests.experiment_stand import a_home

SMALL = """
name = "kind or not"
runs = 2
seed = 7
setting = { cycles = 1 }
[variants.plain]
[variants.kind]
prompt = "Be kind."
[outcomes]
primary = ["calls"]
exploratory = ["density"]
margins = { calls = 1000 }
"""


async def test_from_a_design_to_a_package(url: str, tmp_path: Path) -> None:
    design = tmp_path / "kind.toml"
    design.write_text(SMALL)
    async with a_home(url) as home:
        told = data(simfeed(url, "experiment", "plan", str(design), "--dry-run", "--json"))
        assert (told["key"], told["estimate"]["runs"], len(told["runs"])) == (None, 4, 4)
        assert await home.fetchval("SELECT count(*) FROM experiments") == 0
        planned = simfeed(url, "experiment", "plan", str(design))
        key = planned.stdout.strip()
        assert (planned.returncode, len(key)) == (0, 12)
        frozen = simfeed(url, "experiment", "freeze", key)
        assert len(frozen.stdout.strip()) == 64
        done = data(simfeed(url, "experiment", "run", key, "--parallel", "2", "--json"))
        assert (done["state"], done["cells"]) == ("completed", {"plain": {"completed": 2}, "kind": {"completed": 2}})
        await _compared(url, key)
        await _packed(url, key, tmp_path)
        again = simfeed(url, "experiment", "run", key)
        assert (again.returncode, "nothing is left to be run" in again.stderr) == (2, True)
        assert simfeed(url, "experiment", "drop", key).returncode == 2
        assert simfeed(url, "experiment", "drop", key, "--yes").returncode == 0
    left = simfeed(url, "world", "list", "--json")
    assert [one["name"] for one in data(left)] == ["home"]


async def _compared(url: str, key: str) -> None:
    found = data(simfeed(url, "experiment", "compare", key, "--json"))
    assert (found["n_done"], found["unit_of_analysis"], found["deviations"]) == (4, "run", [])
    assert [one["name"] for one in found["outcomes"]] == ["calls", "density"]
    out = simfeed(url, "experiment", "exclude", key, "1", "--reason", "by mistake")
    assert out.returncode == 0, out.stderr
    shown = simfeed(url, "experiment", "compare", key)
    assert "n = 4 of 4" in shown.stderr
    assert "by mistake" in shown.stderr
    assert "left out by hand" in shown.stderr
    rows = simfeed(url, "experiment", "compare", key, "--csv").stdout.splitlines()
    assert rows[0].endswith("calls,density")
    assert len(rows) == 5
    assert simfeed(url, "experiment", "power", key, "calls", "--effect", "5", "--json").returncode == 0


async def _packed(url: str, key: str, folder: Path) -> None:
    page, package = folder / "report.html", folder / "kind.zip"
    assert simfeed(url, "experiment", "report", key, "-o", str(page)).returncode == 0
    assert "kind or not" in page.read_text()
    made = simfeed(url, "experiment", "export", key, "-o", str(package))
    assert made.returncode == 0, made.stderr
    checked = simfeed(url, "dataset", "check", str(package))
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("runs = 2", "variants"),
        (SMALL.replace("calls", "cals"), "did you mean calls?"),
        (SMALL.replace("seed = 7", 'seed = 7\nworld = "nowhere"'), "there is no world 'nowhere'"),
        (SMALL.replace("[outcomes]", "[budget]\ntokens = 3\n[outcomes]"), "budget.tokens: 3 can't hold"),
        (SMALL.replace('prompt = "Be kind."', 'model = "gpt-none"'), "gpt-none"),
        ("[[", "is not TOML"),
    ],
)
async def test_what_is_wrong_is_one_line(url: str, tmp_path: Path, content: str, words: str) -> None:
    design = tmp_path / "wrong.toml"
    design.write_text(content)
    async with a_home(url):
        done = simfeed(url, "experiment", "plan", str(design))
    assert done.returncode in (2, 78)
    assert (done.stdout, len(done.stderr.strip().splitlines())) == ("", 1)
    assert words in done.stderr


def test_examples_and_what_is_not_there(url: str, database: Database) -> None:
    assert simfeed(url, "experiment", "example").stdout == EXAMPLES["rankers"]
    assert simfeed(url, "experiment", "example", "none").returncode == 2
    assert json.loads(simfeed(url, "experiment", "list", "--json").stdout) == []
    assert "simfeed experiment example" in simfeed(url, "experiment", "list").stderr
    for verb in ("status", "stop", "resume", "compare", "freeze"):
        done = simfeed(url, "experiment", verb, "aaaaaaaaaaaa")
        assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1), verb


async def test_a_design_from_standard_input(url: str) -> None:
    async with a_home(url):
        for text in (SMALL, json.dumps({"variants": {"a": {}}, "runs": 4}), "variants: {a: {}, b: {}}\nruns: 2\n"):
            done = simfeed(url, "experiment", "plan", "-", "--dry-run", "--json", stdin=text)
            assert data(done)["estimate"]["runs"] == 4
        wrong = simfeed(url, "experiment", "run", "-", stdin="variants: {a: {}}\nrun: 2\n")
        assert (wrong.returncode, "standard input: run: " in wrong.stderr) == (2, True)
        lost = simfeed(url, "experiment", "run", "kx7m2pqrs4td")
        assert (lost.returncode, "neither an experiment's key" in lost.stderr) == (2, True)


async def test_what_is_not_done_does_not_exit_as_if_it_were(url: str, tmp_path: Path) -> None:
    design = tmp_path / "kind.toml"
    design.write_text(SMALL.replace("cycles = 1", "cycles = 40") + "[stop]\nseconds = 0.1\n")
    async with a_home(url):
        over = simfeed(url, "experiment", "run", str(design), "--json")
        assert (over.returncode, json.loads(over.stdout)["state"]) == (1, "stopped")
        design.write_text(SMALL.replace("cycles = 1", "cycles = 400"))
        for seconds in (0.0, 1.0, 2.0):
            key = data(simfeed(url, "experiment", "plan", str(design), "--json"))["key"]
            ended = _terminated(url, key, seconds)
            assert ended == (143, f"Stopped; `simfeed experiment resume {key}` goes on.\n"), seconds
            assert data(simfeed(url, "experiment", "status", key, "--json"))["state"] == "stopped"


def _terminated(url: str, key: str, seconds: float) -> tuple[int, str]:
    """The exit code, and what is said, of an experiment that is ended by SIGTERM so long after it has begun."""
    command = [*SIMFEED, "experiment", "run", key]
    running = subprocess.Popen(command, env=environment(url), stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    assert running.stderr.readline() == f"Experiment {key}.\n"
    time.sleep(seconds)
    running.terminate()
    _, told = running.communicate(timeout=60)
    return running.returncode, told
