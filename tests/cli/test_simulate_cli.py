"""`simfeed simulate`: a conversation in the engine's format, cut off and gone on with, and experiments of them."""

import asyncio
import copy
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.cli.common import EXIT_USAGE, exit_code
from app.db.engine import Database
from app.errors import AppError
from app.experiments.engine.config import configured
from app.experiments.engine.personas import looked_over, usable
from app.experiments.engine.result import result_of
from app.experiments.engine.single import design_data, design_of, play_out
from app.llm.model import Completion, Request
from app.settings import load_settings
from app.venues.session.opening import begin
from app.world import sessions
from tests.cli.test_cli import SIMFEED, data, environment, simfeed
from tests.conftest import a_mind, copy_of
from tests.experiments.test_engine_personas import PEOPLE, TOM, VERA
from tests.session_stand import Watched

NOWHERE = "postgresql://127.0.0.1:1/none"
"""What is refused before the database is asked must not ask one."""

METRICS = {"duration", "total_messages", "total_tokens", "api_calls", "errors", "average_response_time"}
SEED_TEXT = "A four-day week?"


@pytest.fixture(scope="module")
async def town(server_url: str, template: str) -> AsyncIterator[str]:
    """A world for all tests here that only add to it."""
    async with copy_of(server_url, template) as found:
        yield found


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "people.json").write_text(json.dumps(PEOPLE))
    (tmp_path / "faulty.json").write_text(json.dumps([VERA, TOM | {"id": "a b", "temperature": 5}, VERA]))
    (tmp_path / "variants.json").write_text(json.dumps([{"name": "plain"}, {"name": "brief", "prompt": "Be brief."}]))
    (tmp_path / "config.ini").write_text("[Simulation]\nmax_turns = 3\n[OpenAI]\nmax_attempts = 4\n")
    return tmp_path


def talk(url: str, files: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    given = ("--personas-file", str(files / "people.json"), "--seed-text", SEED_TEXT)
    return simfeed(url, "simulate", *given, *words, **env)


# A look over a file


def invoked(*words: str) -> Any:
    return CliRunner().invoke(app, ["simulate", *words], env={"DATABASE_URL": NOWHERE})


def test_a_look_over_a_file_needs_no_database(files: Path) -> None:
    right = invoked("--mode", "validate", "--personas-file", str(files / "people.json"))
    assert right.exit_code == 0, right.output
    assert "critic_1" in right.output
    wrong = invoked("--mode", "validate", "--personas-file", str(files / "faulty.json"))
    assert wrong.exit_code == EXIT_USAGE
    for told in (
        "item 2: id: must be letters A-Z, digits, '_' or '-'",
        "item 2: temperature: must be a number from 0 to 2, not 5",
        'item 3: id: "critic_1" is already the id of item 1',
        'item 3: name: "Vera Stone" is already the name of item 1',
        "3 personas, 2 of them with faults",
    ):
        assert told in wrong.stderr
    found = json.loads(invoked("--mode", "validate", "--personas-file", str(files / "faulty.json"), "--json").stdout)
    assert (found["valid"], found["faulty"]) == (False, 2)


def test_what_options_come_to_and_whence(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMULATE_MAX_WORKERS", "5")
    words = ("--show-config", "--config", str(files / "config.ini"), "--set", "timeout=9", "--model", "scripted")
    told = {one["option"]: one for one in json.loads(invoked(*words, "--json").stdout)}
    assert {name: (told[name]["value"], told[name]["source"]) for name in ("model", "timeout", "max_workers")} == {
        "model": ("scripted", "flag"), "timeout": (9.0, "flag"), "max_workers": (5, "environment"),
    }  # fmt: skip
    assert (told["max_turns"]["value"], told["max_turns"]["source"]) == (3, "file")
    assert told["max_attempts"]["becomes"].startswith("not used: how often is fixed")
    shown = invoked(*words)
    assert shown.exit_code == 0
    assert "max_attempts is not used" in shown.stderr


REFUSED: list[tuple[list[str], str]] = [
    ([], "--seed-text: is needed"),
    (["--seed-text", "x"], "who talks?"),
    (["--seed-text", "x", "--personas-file", "none.json"], "there is no file"),
    (["--seed-text", "x", "--personas-file", "faulty.json"], "item 2: id: must be letters"),
    (["--seed-text", " ", "--personas-file", "people.json"], "--seed-text"),
    (["--seed-text", "x", "--personas-file", "people.json", "--personas", "nobody"], "nobody has the id 'nobody'"),
    (["--seed-text", "x", "--personas-file", "people.json", "--personas", "critic_1"], "needs two personas"),
    (["--seed-text", "x", "--personas-file", "people.json", "--format", "pdf"], "--format: pdf is none of json"),
    (["--seed-text", "x", "--personas-file", "people.json", "--set", "max_turns=0"], "--max-turns: must be a whole"),
    (["--seed-text", "x", "--personas-file", "people.json", "--set", "colour=1"], "--set: 'colour=1' is not"),
    (["--temperature", "3"], "--temperature: must be a number from 0 to 2, not 3"),
    (["--turns", "3", "--set", "max_turns=4"], "max_turns is given twice"),
    (["3"], "3: stands behind --parallel"),
    (["--config", "none.ini"], "there is no file"),
    (["--mode", "validate"], "--personas-file: is needed"),
    (["--mode", "experiment", "--seed-text", "x", "--personas-file", "people.json"], "--variants: is needed"),
    (
        ["--mode", "experiment", "--seed-text", "x", "--personas-file", "people.json", "--variants", "faulty.json"],
        "faulty.json: item 1: ",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_wrong_input_is_a_line_and_changes_nothing(
    files: Path, words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    done = invoked(*words)
    assert isinstance(done.exception, AppError), (done.output, done.exception)
    assert exit_code(done.exception) == EXIT_USAGE
    assert message in done.exception.detail
    assert "\n" not in done.exception.detail


@pytest.mark.parametrize("words", [["--mode", "dance"], ["--turns", "0"], ["--runs", "x"], ["--parallel", "0"]])
def test_wrong_flags_are_usage_errors(words: list[str]) -> None:
    assert invoked(*words).exit_code == EXIT_USAGE


def test_an_estimate_asks_nobody(files: Path) -> None:
    given = ("--seed-text", SEED_TEXT, "--personas-file", str(files / "people.json"), "--turns", "5")
    done = invoked(*given, "--estimate", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["calls"] == 5
    both = ("--mode", "experiment", "--variants", str(files / "variants.json"), "--runs", "3", "--estimate", "--json")
    assert json.loads(invoked(*given, *both).stdout)["calls"] == 30
    paid = (*given, "--model", "dear", "--budget-usd", "0.01")
    refused = CliRunner().invoke(
        app,
        ["simulate", *paid],
        env={
            "DATABASE_URL": NOWHERE,
            "MODEL_PRICES": "dear=1000/1000/1000",
            "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
            "OPENAI_API_KEY": "none",
        },
    )
    assert "--budget-usd: $0.01 is less" in str(getattr(refused.exception, "detail", refused.output))


# One conversation


def test_a_conversation_in_the_engines_format(town: str, files: Path) -> None:
    folder = files / "results"
    config = ("--config", str(files / "config.ini"))
    done = talk(town, files, *config, "--seed", "7", "--json", "-o", str(folder), "--format", "json,csv,md,html,txt")
    result = data(done)
    assert result["success"] is True
    assert result["agents"] == [{"name": "Vera Stone", "role": "Critic"}, {"name": "Tom", "role": "Baker"}]
    assert [(one["turn"], one["speaker"], one["role"]) for one in result["transcript"]] == [
        (1, "Vera Stone", "Critic"), (2, "Tom", "Baker"), (3, "Vera Stone", "Critic"),
    ]  # fmt: skip
    assert all(one["text"] and one["timestamp"].endswith("+00:00") for one in result["transcript"])
    assert set(result["metrics"]) == METRICS
    assert (result["metrics"]["total_messages"], result["metrics"]["api_calls"], result["metrics"]["errors"]) == (
        3,
        3,
        0,
    )
    assert result["metrics"]["total_tokens"] > 0
    assert (result["config"]["seed_text"], result["config"]["turns"]) == (SEED_TEXT, 3)
    assert "max_attempts is not used" in done.stderr
    key = result["session"]["key"]
    written = {path.name.removeprefix(f"simulation_{key}") for path in folder.iterdir()}
    assert written == {".json", ".csv", ".md", ".html", ".txt", "_messages.svg", "_words.svg"}
    assert json.loads((folder / f"simulation_{key}.json").read_text()) == result
    assert (folder / f"simulation_{key}.html").read_text().count("<svg") == 2
    again = data(simfeed(town, "simulate", "--resume", key, *config, "--json"))
    assert again["transcript"] == result["transcript"]
    other = data(talk(town, files, *config, "--seed", "7", "--json"))
    assert [one["text"] for one in other["transcript"]] == [one["text"] for one in result["transcript"]]


def test_the_chosen_speak_in_their_order_and_without_a_file_the_worlds_do(town: str, files: Path) -> None:
    chosen = talk(town, files, "--personas", "baker-2,critic_1", "--turns", "2", "--set", "save_visualizations=no")
    assert chosen.returncode == 0, chosen.stderr
    assert [line.partition(":")[0] for line in chosen.stdout.splitlines()] == ["Moderator", "Tom", "Vera Stone"]
    for name in ("una", "bob"):
        simfeed(town, "personas", "add", name, "Likes moss.")
    done = data(simfeed(town, "simulate", "--seed-text", "x", "--personas", "@una,@bob", "--turns", "2", "--json"))
    assert [one["speaker"] for one in done["transcript"]] == ["una", "bob"]


def test_personas_go_into_a_world_and_out_again(town: str, files: Path) -> None:
    brought = simfeed(town, "personas", "import", str(files / "people.json"), "--json")
    assert data(brought)["imported"] == 2
    done = simfeed(town, "personas", "export", "critic_1", "baker-2", "--format", "engine")
    assert json.loads(done.stdout) == PEOPLE
    again = files / "again.json"
    again.write_text(done.stdout)
    assert invoked("--mode", "validate", "--personas-file", str(again)).exit_code == 0


def test_killed_and_gone_on_with(town: str, files: Path) -> None:
    given = ("--personas-file", str(files / "people.json"), "--seed-text", SEED_TEXT, "--turns", "40", "--seed", "3")
    whole = data(simfeed(town, "simulate", *given, "--json"))
    command = [*SIMFEED, "simulate", *given]
    playing = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(town))
    assert playing.stdout is not None
    assert playing.stderr is not None
    for _ in range(4):
        assert playing.stdout.readline()
    os.kill(playing.pid, signal.SIGKILL)
    rest = playing.communicate(timeout=30)[1].decode()
    key = rest.split("Conversation ", 1)[1][:12]
    result = data(simfeed(town, "simulate", "--resume", key, "--json"))
    assert result["success"] is True
    assert [one["text"] for one in result["transcript"]] == [one["text"] for one in whole["transcript"]]


# What goes wrong


def failing(request: Request, _: int) -> Completion | None:
    """Tom's model is away."""
    is_toms = b"You are Tom" in b"\n".join(request.messages).split(b"With you")[0]
    return Completion("unavailable", "stub", detail="away", cost_usd=0.0) if is_toms else None


async def came_to(database: Database, **flags: Any) -> dict[str, Any]:
    """What a conversation comes to in which one of two gives nothing."""
    options = configured(None, {"max_turns": 6, **flags}, {})
    people = usable(looked_over(copy.deepcopy(PEOPLE), "p"))
    settings = load_settings()
    key = await begin(database, settings, "dialogue", design_of(design_data(people, SEED_TEXT, options)))
    async with a_mind(database, Watched(failing)) as mind, asyncio.timeout(60):
        row = await sessions.found(database, key)
        row = await play_out(mind, settings, row, graceful=options["graceful_degradation"])
    return await result_of(database, row, options.in_effect())


async def test_who_gives_nothing_is_skipped_and_counted(database: Database) -> None:
    result = await came_to(database)
    assert result["success"] is True
    assert {one["speaker"] for one in result["transcript"]} == {"Vera Stone"}
    assert (result["metrics"]["total_messages"], result["metrics"]["errors"]) == (3, 3)
    assert [one["turn"] for one in result["transcript"]] == [1, 3, 5]
    assert {one["speaker"] for one in result["session"]["lost"]} == {"Tom"}
    assert result["session"]["status"] == "partial"


async def test_without_graceful_degradation_the_first_loss_ends_it(database: Database) -> None:
    result = await came_to(database, graceful_degradation=False)
    assert result["success"] is False
    assert (result["metrics"]["total_messages"], result["metrics"]["errors"]) == (1, 1)
    assert result["session"]["status"] == "failed"
    assert "Tom gave nothing in turn 2 (unavailable)" in result["session"]["reason"]


async def test_a_conversation_that_was_cut_off_did_not_succeed(database: Database) -> None:
    result = await came_to(database, timeout_seconds=0.1, max_turns=10_000)
    assert result["success"] is False
    assert result["session"]["status"] == "timeout"
    assert result["session"]["reason"].startswith("timeout_seconds were over")


def test_a_model_that_is_away_fails_and_says_so(town: str, files: Path) -> None:
    away = {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "OPENAI_API_KEY": "none", "MODEL_TIMEOUT": "1"}
    done = talk(town, files, "--model", "small", "--turns", "1", "--json", **away)
    assert done.returncode == 1
    result = json.loads(done.stdout)
    assert (result["success"], result["transcript"], result["metrics"]["errors"]) == (False, [], 1)
    assert "simfeed doctor" in done.stderr
    saved = talk(town, files, "--model", "small", "--fallback-model", "scripted", "--turns", "1", "--json", **away)
    assert data(saved)["success"] is True


# Experiments


def test_an_experiment_of_variants_and_runs(url: str, files: Path) -> None:
    folder = files / "out"
    given = ("--mode", "experiment", "--variants", str(files / "variants.json"), "--turns", "2", "--seed", "5")
    done = talk(url, files, *given, "--runs", "2", "--parallel", "2", "--json", "-o", str(folder))
    found = data(done)
    assert found["success"] is True
    assert {name: (one["runs"], one["succeeded"]) for name, one in found["variants"].items()} == {
        "plain": (2, 2), "brief": (2, 2),
    }  # fmt: skip
    assert set(found["variants"]["plain"]["metrics"]) == METRICS
    runs = found["results"]
    for name in ("plain", "brief"):
        assert [one["metrics"]["total_messages"] for one in runs[name]] == [2, 2]
        assert all(set(one) >= {"success", "transcript", "agents", "metrics", "config"} for one in runs[name])
    assert [one["session"]["seed"] for one in runs["plain"]] == [one["session"]["seed"] for one in runs["brief"]]
    assert (folder / "plain_1.json").exists()
    assert json.loads((folder / f"experiment_{found['experiment']['key']}.json").read_text()) == found
    again = simfeed(url, "simulate", "--mode", "experiment", "--resume", found["experiment"]["key"], "--json")
    assert data(again)["variants"] == found["variants"]
