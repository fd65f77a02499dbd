"""`simfeed study test`: bots play whole studies, what they bring is marked, and whatever goes wrong is told."""

import asyncio
import hashlib
import io
import json
import os
import signal
import stat
import subprocess
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.cli import study_test
from app.cli.bots import package
from app.cli.bots.answers import filled, values_of
from app.cli.bots.pages import Form, Unexpected
from app.cli.bots.people import CHARACTERS, Bot
from app.cli.bots.room import Seat, Sent
from app.cli.study_test import Source, Wanted
from app.db.engine import Database
from app.errors import Unavailable
from app.streams import stream
from app.venues.chatroom import studies
from app.venues.chatroom.answers import answer_of, check_answers
from app.venues.chatroom.design import Question, StudyDesign, arm_of
from app.web import socket as web_socket
from app.web.socket import Visit
from tests.cli.test_cli import SIMFEED, data, environment, simfeed
from tests.conftest import settings_for
from tests.taking_part import DESIGN
from tests.venues.test_study_design import SIMULATION, simulacra
from tests.web.pages.test_participant import QUESTIONS
from tests.web.test_edge import loopback

STUDY = """
title = "Bicycles"
repeat = 2
strata = "cycles"
debrief_text = "It was about tone."
arms.civil.prompt_template = "Be polite."
arms.curt.prompt_template = "Be curt."
closing = [{id = "fair", text = "Fair?", kind = "likert"}]
pace = {messages_per_minute = 30, words_per_minute = 0}
cast = [{name = "Rita"}, {name = "Karim", persona = "karim_k"}]

[[intake]]
id = "cycles"
text = "Do you ride?"
kind = "single"
options = ["often", "never"]

[[intake]]
id = "why"
text = "Why?"
kind = "open"
min = 5
max = 60
"""
SHORT = ("--minutes", "0.2", "--seed", "7")
OFFERS: dict[str, Any] = {
    "why": {"id": "why", "text": "?", "kind": "open", "min": 30, "max": 31},
    "long": {"id": "long", "text": "?", "kind": "open", "min": 400, "max": 5000},
    "none": {"id": "none", "text": "?", "kind": "multiple", "options": ["a", "b"], "min": 0, "required": False},
    "all": {"id": "all", "text": "?", "kind": "multiple", "options": ["a", "b"], "min": 2},
    "far": {"id": "far", "text": "?", "kind": "number", "min": 5000, "max": 5001},
    "under": {"id": "under", "text": "?", "kind": "number", "max": -7.5},
    "half": {"id": "half", "text": "?", "kind": "number", "min": 0.2, "max": 0.7},
    "free": {"id": "free", "text": "?", "kind": "number"},
}


async def bench_databases(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        return [
            row[0] for row in await connection.fetch("SELECT datname FROM pg_database WHERE datname LIKE '%bench%'")
        ]
    finally:
        await connection.close()


def checked(file: Path) -> dict[str, bytes]:
    """A package's files, each as its checksums say."""
    with zipfile.ZipFile(file) as packed:
        assert packed.testzip() is None
        files = {name: packed.read(name) for name in packed.namelist()}
    sums = dict(line.split("  ")[::-1] for line in files["SHA256SUMS"].decode().splitlines())
    assert sums == {name: hashlib.sha256(what).hexdigest() for name, what in files.items() if name != "SHA256SUMS"}
    for entry in json.loads(files["manifest.json"])["files"]:
        assert (len(files[entry["path"]]), entry["sha256"]) == (entry["bytes"], sums[entry["path"]])
    return files


# Whole studies


async def test_a_study_with_pages_and_every_character(url: str, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    to = tmp_path / "out.zip"
    done = simfeed(
        url, "study", "test", "--file", str(tmp_path / "study.toml"), "--participants", "10", *SHORT, "--out", str(to),
        "--json",
    )  # fmt: skip
    found = data(done)
    assert found["sound"] is True, found["problems"]
    assert "Karim: played by made-up personas" in done.stderr
    assert (found["test"], found["bots"], found["seed"], found["participants"]) == (True, 10, 7, 10)
    assert sum(one["bots"] for one in found["characters"]) == 10
    assert {one["character"] for one in found["characters"]} == set(CHARACTERS)
    ends = {end: sum(arm.get(end, 0) for arm in found["ends"]) for end in ("finished", "left", "dropped out")}
    assert (ends["finished"], ends["left"], ends["dropped out"]) == (7, 1, 1)
    assert (found["lost"], found["doubled"], found["disordered"]) == (0, 0, 0)
    assert found["echo"]["count"] == found["messages"]["people"] > 10
    assert found["first_answer"]["count"] > 0
    files = checked(to)
    manifest = json.loads(files["manifest.json"])
    assert (manifest["test"], manifest["bots"], manifest["seed"]) == (True, 10, 7)
    assert files["README.md"].startswith(b"> **This is test data.**")
    assert b"bot-" not in b"".join(files.values()).replace(b"a bot's report", b"")  # a parameter of the links
    assert stat.S_IMODE(to.stat().st_mode) == 0o600
    assert await bench_databases(url) == []


async def test_simulacras_files_and_its_client(url: str, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.mkdir()
    simulacra(config, simulation=SIMULATION + "words_per_minute = 0\n")
    to = tmp_path / "out.zip"
    given = ("--toml", str(config), "--participants", "10", *SHORT, "--out", str(to))
    found = data(simfeed(url, "study", "test", *given, "--json"))
    assert found["sound"] is True, found["problems"]
    assert found["consent"] == "external"
    assert [(one["arm"], one["by_token"]) for one in found["balance"]] == [("Tx1", 5), ("Tx2", 5)]
    assert json.loads(checked(to)["manifest.json"])["study"]["consent"] == "external"
    again = simfeed(url, "study", "test", *given)
    assert (again.returncode, "is there already" in again.stderr) == (2, True)


async def test_a_stored_study_is_copied_and_left_as_it_is(database: Database, url: str, tmp_path: Path) -> None:
    person = {"username": "karim_k", "description": "Karim likes trains.", "traits": ["calm"]}
    (tmp_path / "people.json").write_text(json.dumps([person]))
    assert simfeed(url, "personas", "import", str(tmp_path / "people.json")).returncode == 0
    (tmp_path / "study.toml").write_text(STUDY)
    assert simfeed(url, "study", "create", "bicycles", "--file", str(tmp_path / "study.toml")).returncode == 0
    before = data(simfeed(url, "study", "show", "bicycles", "--json"))
    to = tmp_path / "own.zip"
    to.write_bytes(b"old")
    given = ("bicycles", "--participants", "2", *SHORT, "--out", str(to), "--force")
    readable = simfeed(url, "study", "test", *given)
    assert readable.returncode == 0, readable.stdout + readable.stderr
    assert "2 bots in bicycles" in readable.stdout
    files = checked(to)
    cast = [json.loads(line) for line in files["data/cast_members.jsonl"].splitlines()]
    assert ("karim_k", "Karim likes trains.") in {(one["username"], one["description"]) for one in cast}
    manifest = json.loads(files["manifest.json"])
    assert manifest["study"]["name"] == "bicycles (test)"
    assert manifest["study"]["seed"] == before["seed"]
    assert manifest["of_design_sha256"] == before["design_sha256"]
    assert data(simfeed(url, "study", "show", "bicycles", "--json")) == before
    assert await database.fetchval("SELECT count(*) FROM participants") == 0


def test_wrong_input_starts_nothing(url: str, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    file = ("--file", str(tmp_path / "study.toml"), "--out", str(tmp_path / "x.zip"))
    for args, code, told in (
        ((), 2, "name a study"),
        (("bicycles", *file), 2, "one of them"),
        (("nobody",), 2, "no study has the name nobody"),
        ((*file, "--participants", "0"), 2, "--participants"),
        ((*file, "--minutes", "0"), 2, "--minutes"),
        (("--file", str(tmp_path / "none.toml")), 2, "there is no file"),
        ((*file, "--model", "deepseek-chat"), 78, "DEEPSEEK_API_KEY"),
    ):
        done = simfeed(url, "study", "test", *args)
        assert (done.returncode, told in done.stderr) == (code, True), (args, done.stderr)
    costly = simfeed(url, "study", "test", *file, "--model", "deepseek-chat", DEEPSEEK_API_KEY="none")
    assert costly.returncode == 2
    assert "will be asked about" in costly.stderr
    assert "$" in costly.stderr
    assert "--yes" in costly.stderr
    assert not (tmp_path / "x.zip").exists()


def test_ctrl_c_leaves_nothing_behind(url: str, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    command = [str(Path(SIMFEED[0]).absolute()) if "/" in SIMFEED[0] else SIMFEED[0], "study", "test", "--file"]
    run = subprocess.Popen(
        [*command, "study.toml", "--participants", "4", "--minutes", "5"],
        cwd=tmp_path, env=environment(url), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        servers: list[int] = []
        until = time.monotonic() + 60
        while not servers and time.monotonic() < until and run.poll() is None:
            time.sleep(0.2)
            servers = _children(run.pid)
        assert servers
        time.sleep(3)
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=60)
    finally:
        if run.poll() is None:
            run.kill()
            run.wait()
    assert run.returncode == 130
    assert [pid for pid in servers if _alive(pid)] == []
    assert [path.name for path in tmp_path.iterdir()] == ["study.toml"]
    assert asyncio.run(bench_databases(url)) == []


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text() if Path(f"/proc/{pid}/task").exists() else ""
    return [int(one) for one in text.split()]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z (zombie)" not in Path(f"/proc/{pid}/status").read_text()


# What bots notice


async def tried(url: str, **more: Any) -> dict[str, Any]:
    """A small study played against a server in this process, so that it can be broken."""
    pace = {"messages_per_minute": 60.0, "words_per_minute": 0.0}
    design = StudyDesign.model_validate({**DESIGN, "pace": pace, "strata": None, **more})
    wanted = Wanted(participants=6, minutes=0.15, seed=7, model="scripted")
    source = Source("broken", design, 7, [], [])
    short = study_test.rehearsed(design, wanted.minutes)
    settings = settings_for(url, worker_enabled=True, session_guesses_per_hour=1_000)
    study_id, tokens = await study_test._prepare(settings, url, source, short, wanted)
    with loopback(settings) as address:
        bots = study_test.make_bots(address, short, tokens, wanted)
        for bot in bots:
            bot.character = "chatty"
        await study_test._play(url, study_id, bots, wanted)
    made = io.BytesIO()
    await study_test._export(url, study_id, made, {"test": True})
    return package.compare(package.read(made), bots, short, source.seed)


def _every_third(which: Callable[[list[Any]], list[Any]]) -> Any:
    """`Visit.heard`, but every third agent's message goes wrong."""
    heard, count = Visit.heard, 0

    def broken(visit: Visit, events: list[Any]) -> None:
        nonlocal count
        for event in events:
            count += event["kind"] == "message" and event["member"] > 0
            spoilt = event["kind"] == "message" and event["member"] > 0 and count % 3 == 0
            heard(visit, which([event]) if spoilt else [event])

    return broken


async def test_bots_find_nothing_wrong_with_a_sound_server(url: str) -> None:
    found = await tried(url)
    assert found["sound"], found


@pytest.mark.parametrize(("fault", "figure"), [(0, "lost"), (2, "doubled")])
async def test_control_bots_notice_what_is_lost_and_doubled(
    url: str, monkeypatch: pytest.MonkeyPatch, fault: int, figure: str
) -> None:
    monkeypatch.setattr(Visit, "heard", _every_third(lambda events: events * fault))
    found = await tried(url)
    assert found[figure] > 0
    assert not found["sound"]


async def test_control_a_client_of_another_system_notices_too(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Visit, "heard", _every_third(lambda events: []))
    found = await tried(url, consent="external", intake=[], closing=[])
    assert found["lost"] > 0
    assert not found["sound"]


async def test_control_bots_notice_what_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_socket, "BURST", 2.0)
    monkeypatch.setattr(web_socket.Bucket, "tokens", 2.0)
    monkeypatch.setattr(web_socket, "RATE", 0.0)
    monkeypatch.setattr("app.cli.bots.room.ACKNOWLEDGED_SECONDS", 0.5)
    found = await tried(url)
    assert any("refused" in one["problem"] for one in found["problems"])
    assert not found["sound"]


async def test_control_bots_notice_questions_that_are_not_asked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.web.pages.participant._questions", lambda visitor: visitor.design.closing)
    found = await tried(url)
    assert any("does not ask the question" in one["problem"] for one in found["problems"])


def _read(**more: Any) -> package.Read:
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in package.ROWS}
    return package.Read({**rows, **more}, [])


def test_control_who_was_assigned_otherwise_is_told() -> None:
    design = StudyDesign.model_validate(DESIGN)
    right = [
        {"how": "drawn", "stratum": "", "place": place, "arm": arm_of(design, 7, "", place)} for place in range(1, 5)
    ]
    assert package.compare(_read(assignments=right), [], design, 7)["assigned_otherwise"] == 0
    right[2]["arm"] = next(arm for arm in design.arms if arm != right[2]["arm"])
    found = package.compare(_read(assignments=right), [], design, 7)
    assert (found["assigned_otherwise"], found["sound"]) == (1, False)


def test_control_a_changed_file_a_gap_and_an_end_that_should_be_another_are_told() -> None:
    design = StudyDesign.model_validate(DESIGN)
    read = package.Read(_read().rows, ["data/messages.csv"])
    assert not package.compare(read, [], design, 7)["sound"]
    gap = [{"session": "s", "number": n, "member": 1} for n in (1, 3)]
    assert package.compare(_read(messages=gap), [], design, 7)["lost"] == 1
    lab: Any = type("Lab", (), {"external": False})()
    bot = Bot(1, "chatty", "t", lab, stream(1), came=True)
    assert "1 bots came in" in package.compare(_read(), [bot], design, 7)["problems"][0]["problem"]


def test_what_is_erased_is_counted_and_what_is_missing_is_lost() -> None:
    lab: Any = type("Lab", (), {"external": False})()
    bot = Bot(1, "chatty", "t", lab, stream(1))
    bot.seat = Seat("ws://x", extras=True, sent=[Sent("one", "1", 0.0), Sent("two", "2", 0.0)])
    kept = [{"member": 0, "body": "one"}, {"member": 0, "body": "one"}]
    assert package._own(bot, {"messages": kept}) == (1, 1)
    erased = [{"member": 0, "body": None}, {"member": 0, "body": None}]
    assert package._own(bot, {"messages": erased}) == (0, 0)
    assert package._own(bot, {"messages": erased[:1]}) == (1, 0)


# Answers and tokens


@pytest.mark.parametrize("given", [*QUESTIONS, *OFFERS.values()], ids=lambda one: str(one["id"]))
def test_answers_are_such_as_the_question_allows(given: dict[str, Any]) -> None:
    question = Question.model_validate(given)
    for n in range(200):
        values = values_of(question, stream(n, "answers"))
        assert check_answers([question], {question.id: answer_of(question, values)})


def test_a_page_that_does_not_ask_is_noticed() -> None:
    question = Question.model_validate({"id": "sex", "text": "?", "kind": "single", "options": ["f", "m"]})
    with pytest.raises(Unexpected, match="does not ask"):
        filled(Form("/s/answers"), [question], stream(1))
    with pytest.raises(Unexpected, match="does not offer"):
        filled(Form("/s/answers", choices={"q-sex": ["x"]}), [question], stream(1))


def test_tokens_lead_to_arms_in_the_proportions_of_those_there_are() -> None:
    design = StudyDesign.model_validate(DESIGN)
    assert study_test.shared_out([], design, 3) == [None, None, None]
    assert study_test.shared_out(["civil"] * 30 + ["curt"] * 10, design, 8) == ["civil"] * 6 + ["curt"] * 2
    assert study_test.shared_out(["gone", None], design, 2) == [None, None]


async def test_a_room_that_never_ends_is_told(database: Database, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    design = StudyDesign.model_validate(DESIGN)
    made = await studies.create(database, "endless", design, seed=7, by=None)

    async def one(*_: object) -> int:
        return 1

    monkeypatch.setattr(study_test, "_open_rooms", one)
    with pytest.raises(Unavailable, match="did not come to an end"):
        await study_test._settled(url, made, 0.1)
