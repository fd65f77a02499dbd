"""Sessions on the command line: played, followed, paused, killed and resumed, exported; bad input in a line."""

import csv
import io
import json
import os
import pty
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.analysis.extracted import extraction_columns
from app.analysis.tables import from_parquet
from app.cli import app
from app.cli.common import EXIT_USAGE, exit_code
from app.cli.session_examples import EXAMPLES
from app.db.engine import Database
from app.errors import AppError
from app.venues.session.results import COLUMNS
from app.world import sessions
from tests.cli.test_cli import SIMFEED, data, environment, simfeed
from tests.venues.test_genai_files import APP, SEED

NOWHERE = "postgresql://127.0.0.1:1/none"
"""What is refused before the database is asked must not ask one."""

DEMOGRAPHICS = {"age": {"18-29": 20, "30-49": 40, "50-80": 40}, "gender": {"woman": 50, "man": 50}}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "app.yaml").write_text(APP)
    (tmp_path / "seed.yaml").write_text(SEED)
    (tmp_path / "town.json").write_text(json.dumps(DEMOGRAPHICS))
    for kind, design in EXAMPLES.items():
        (tmp_path / f"{kind}.json").write_text(json.dumps(design))
    return tmp_path


def talk(url: str, files: Path, *words: str) -> subprocess.CompletedProcess[str]:
    named = ("--seed-file", str(files / "seed.yaml"), "--model", "scripted")
    return simfeed(url, "dialogue", "run", str(files / "app.yaml"), *named, *words)


def key_in(told: str) -> str:
    found = re.search(r"\b(?:Dialogue|Focus group|Survey|Interview|Extraction) ([a-z0-9]{12})\b", told)
    assert found, told
    return found[1]


# Dialogues


def test_a_dialogue_of_their_files_twice_with_a_seed_is_the_same(url: str, files: Path) -> None:
    first, second = (talk(url, files, "--turns", "6", "--seed", "7") for _ in range(2))
    other = talk(url, files, "--turns", "6", "--seed", "8")
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout != other.stdout
    lines = first.stdout.splitlines()
    assert lines[0] == "host: What of dysprosium?"
    assert [line.partition(":")[0] for line in lines[1:]] == ["BOT2", "BOT1"] * 3
    assert "redis is not used" in first.stderr
    key = key_in(first.stderr)
    exported = simfeed(url, "dialogue", "export", key)
    rows = list(csv.DictReader(io.StringIO(exported.stdout)))
    assert tuple(rows[0]) == COLUMNS
    assert [(r["Bot"], r["Channel"], r["Generations"], r["Turns"]) for r in rows] == [
        ("BOT1", "general", "3", "3"), ("BOT2", "general", "3", "3"),
    ]  # fmt: skip
    assert simfeed(url, "dialogue", "export", key, "--format", "txt").stdout == first.stdout
    told = [
        json.loads(line) for line in simfeed(url, "dialogue", "export", key, "--format", "jsonl").stdout.splitlines()
    ]
    assert [one["number"] for one in told] == list(range(1, 8))
    markdown = files / "talk.md"
    assert simfeed(url, "dialogue", "export", key, "--format", "md", "-o", str(markdown)).stdout == ""
    assert "**host:** What of dysprosium?" in markdown.read_text()


def test_channels_side_by_side(url: str, files: Path) -> None:
    words = ("--channel", "general", "--channel", "rain", "--message", "Rain?", "--from", "Ann", "--turns", "2")
    done = talk(url, files, *words)
    assert sorted(line[: line.index(":")] for line in done.stdout.splitlines() if "Rain?" in line) == [
        "[general] Ann", "[rain] Ann",
    ]  # fmt: skip
    assert len(done.stdout.splitlines()) == 6
    found = data(talk(url, files, *words, "--json"))
    assert [(one["channel"], one["status"], len(one["lines"])) for one in found] == [
        ("general", "completed", 3), ("rain", "completed", 3),
    ]  # fmt: skip


def test_bots_of_the_command_line_and_personas(url: str) -> None:
    simfeed(url, "personas", "add", "prof", "Loves compilers.")
    talking = ("--bot", "A=You are curt.", "--bot", "B=@prof", "--message", "Hello?", "--turns", "4")
    for taking in ("random", "moderated", "raised_hands"):
        done = simfeed(url, "dialogue", "run", *talking, "--turn-taking", taking)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("Host: Hello?\n")
        assert {line[:2] for line in done.stdout.splitlines()[1:]} == {"A:", "B:"}
    nobody = simfeed(url, "dialogue", "run", "--bot", "A=x", "--bot", "B=@none", "--message", "x")
    assert (nobody.returncode, nobody.stdout) == (2, "")
    assert "bots item 2.persona" in nobody.stderr


def test_a_dialogue_waits_steps_pauses_and_goes_on(url: str, files: Path) -> None:
    seeded = ("--seed-file", str(files / "seed.yaml"), "--model", "scripted", "--turns", "5", "--wait")
    made = simfeed(url, "dialogue", "seed", str(files / "app.yaml"), *seeded)
    key = made.stdout.strip()
    assert data(simfeed(url, "session", "show", key, "--json"))["status"] == "paused"
    first = simfeed(url, "dialogue", "step", key)
    assert first.stdout == "host: What of dysprosium?\n"
    again = simfeed(url, "dialogue", "seed", key)
    assert again.returncode == 2
    assert "begun already" in again.stderr
    two = simfeed(url, "dialogue", "step", key, "--steps", "2").stdout
    assert len(two.splitlines()) == 2
    with_rest = simfeed(url, "dialogue", "resume", key, "--leave")
    assert (with_rest.returncode, with_rest.stdout) == (0, "")
    assert simfeed(url, "dialogue", "pause", key).returncode == 0
    assert simfeed(url, "dialogue", "pause", key).returncode == 2
    rest = simfeed(url, "dialogue", "resume", key)
    assert len(rest.stdout.splitlines()) == 3
    whole = simfeed(url, "dialogue", "watch", key)
    assert whole.stdout == first.stdout + two + rest.stdout
    over = simfeed(url, "session", "resume", key)
    assert over.returncode == 2
    assert "at its end (completed)" in over.stderr


def test_who_watches_sees_it_live_to_its_end(url: str, files: Path) -> None:
    made = ("--seed-file", str(files / "seed.yaml"), "--model", "scripted", "--turns", "12", "--wait")
    key = simfeed(url, "dialogue", "seed", str(files / "app.yaml"), *made).stdout.strip()
    pipe = subprocess.PIPE
    watching = subprocess.Popen(
        [*SIMFEED, "dialogue", "watch", key], env=environment(url), stdout=pipe, stderr=pipe, text=True
    )
    assert watching.stdout is not None
    simfeed(url, "dialogue", "step", key)
    assert watching.stdout.readline() == "host: What of dysprosium?\n"
    assert watching.poll() is None
    rest = simfeed(url, "dialogue", "resume", key).stdout
    told, talked = watching.communicate(timeout=60)
    assert (told, watching.returncode) == (rest, 0)
    assert "completed" in talked


async def test_what_is_shown_obeys_no_escape(url: str, database: Database) -> None:
    done = simfeed(
        url, "dialogue", "run", "--bot", "A=x", "--bot", "B=y", "--message", "one\x1b[2J\x07\ntwo", "--turns", "1"
    )
    assert done.stdout.startswith("Host: one [2J \n  two\n")


# Groups, surveys, interviews


def test_a_focus_group_on_a_product(url: str, files: Path) -> None:
    words = ("--from", str(files / "town.json"), "--count", "6", "--product", "A cup with a deposit", "--rounds", "2")
    more = (
        "--fields",
        "reason,use:boolean,stance:category=for|against",
        "--objective",
        "who would use it",
        "--seed",
        "7",
    )
    done = simfeed(url, "group", "run", *words, *more, "--check", "convergence", "--thinking")
    assert done.returncode == 0, done.stderr
    assert "Moderator: A cup with a deposit" in done.stdout
    assert "Extracted" in done.stdout
    assert re.search(r"stance \(category, n = \d", done.stdout)
    assert re.search(r"  for +█* +\d+\.\d% \[ *\d+\.\d%, +\d+\.\d%\] +\d", done.stdout)
    assert "Summary: " in done.stdout
    assert "Quality " in done.stdout
    assert "6 take part, seed 7; about 19 calls" in done.stderr
    assert "19 calls" in done.stderr.splitlines()[-1]
    answer = data(simfeed(url, "group", "run", *words, *more, "--thinking", "--json"))
    assert answer["participants"] == {"total": 6, "successful": 6, "failed": 0, "failures": []}
    assert len(answer["extracted_results"]["individual_results"]) == 6
    said = [one["text"] for one in answer["simulation_results"]["interactions"]]
    assert all(f": {text}" in done.stdout for text in said)


def test_the_examples_run_as_they_are(url: str, files: Path) -> None:
    for kind, noun, people in (("survey", "survey", 200), ("interview", "interview", 4), ("focus_group", "group", 12)):
        shown = simfeed(NOWHERE, "session", "example", kind)
        assert data(shown) == EXAMPLES[kind]
        answer = data(simfeed(url, noun, "run", str(files / f"{kind}.json"), "--json"))
        assert (answer["status"], answer["participants"]["successful"]) == ("completed", people)
    assert simfeed(url, "dialogue", "run", str(files / "dialogue.json")).returncode == 0


def test_a_survey_in_toml_with_questions_of_a_file(url: str, files: Path) -> None:
    toml, asked = files / "town.toml", files / "asked.yaml"
    toml.write_text(
        'stimulus = {content = "Bicycles in town"}\nterms.seed = 3\n[participants]\nmode = "from_demographics"\n'
        'count = 40\n[participants.specifications.age]\n"18-29" = 20\n"30-80" = 80\n'
    )
    asked.write_text("- {key: likes, type: likert, text: I like them.}\n- {key: say, type: open, text: 'Why?'}\n")
    done = simfeed(url, "survey", "run", str(toml), "--questions", str(asked))
    assert done.returncode == 0, done.stderr
    assert "likes (likert, n = 40): I like them." in done.stdout
    assert re.search(r"mean \d\.\d\d \[\d\.\d\d, \d\.\d\d\], median", done.stdout)
    key = key_in(done.stderr)
    table = files / "answers.csv"
    exported = simfeed(url, "session", "export", key, "--what", "answers", "--format", "csv", "-o", str(table))
    assert exported.returncode == 0
    assert table.read_bytes().splitlines()[0] == b"participant,name,likes,likes.missing,say,say.missing"
    assert len(table.read_bytes().splitlines()) == 41
    nothing = simfeed(url, "session", "export", key, "--what", "extracted")
    assert nothing.returncode == 2
    assert "session extract" in nothing.stderr


def test_people_of_the_world_and_personas_of_files(url: str, files: Path) -> None:
    simfeed(url, "personas", "add", "prof", "Loves compilers.")
    people = files / "people.csv"
    people.write_text("username,description\nann,Bakes bread.\nbob,Fixes bikes.\n")
    agents = files / "agents.json"
    agents.write_text(json.dumps([{"username": "cat", "description": "Paints."}]))
    for who, count in (("world", 1), ("@prof", 1), (str(people), 2), (str(agents), 1)):
        answer = data(simfeed(url, "survey", "run", "--from", who, "--question", "What first?", "--json"))
        assert (answer["status"], answer["participants"]["total"]) == ("completed", count)


# Killed, taken back, read again


def killed_in_round_two(url: str, files: Path) -> str:
    """The key of a focus group whose process was killed with -9 once somebody had spoken in round 2."""
    pipe = subprocess.PIPE
    words = ["group", "run", str(files / "focus_group.json"), "--in-turn"]
    with subprocess.Popen([*SIMFEED, *words], env=environment(url), stdout=pipe, stderr=pipe, text=True) as running:
        assert running.stdout is not None
        asked = 0
        for line in running.stdout:
            asked += line.startswith("Moderator: ")
            if asked == 3 and not line.startswith("Moderator: "):  # what it is about, then a question each round
                break
        running.send_signal(signal.SIGKILL)
        assert running.stderr is not None
        return key_in(running.stderr.read())


async def test_killed_in_round_two_it_goes_on_and_asks_nothing_twice(url: str, files: Path, database: Database) -> None:
    key = killed_in_round_two(url, files)
    stood = data(simfeed(url, "session", "show", key, "--json"))
    assert stood["status"] == "running"
    assert stood["progress"]["round"] == 2
    done = simfeed(url, "session", "resume", key)
    assert done.returncode == 0, done.stderr
    whole = simfeed(url, "group", "run", str(files / "focus_group.json"), "--in-turn")
    ended, undisturbed = (data(simfeed(url, "session", "show", one, "--json")) for one in (key, key_in(whole.stderr)))
    assert ended["progress"] == undisturbed["progress"]
    assert ended["metadata"]["calls"] == undisturbed["metadata"]["calls"] == 61
    texts = [[one["text"] for one in ended_["simulation_results"]["interactions"]] for ended_ in (ended, undisturbed)]
    assert texts[0] == texts[1]
    assert ended["extracted_results"] == undisturbed["extracted_results"]
    row = await sessions.found(database, key)
    twice = await database.fetchval(
        "SELECT count(*) FROM session_asks a JOIN turns t ON t.id = a.turn_id "
        "JOIN calls c ON c.turn_id = t.id WHERE a.session_id = $1 AND c.step > 0",
        row["id"],
    )
    assert twice == 0


def test_a_session_is_cancelled_for_good(url: str, files: Path) -> None:
    made = simfeed(url, "dialogue", "seed", str(files / "dialogue.json"), "--wait")
    key = made.stdout.strip()
    assert simfeed(url, "session", "cancel", key).returncode == 0
    assert simfeed(url, "session", "cancel", key).returncode == 2
    assert simfeed(url, "session", "resume", key).returncode == 2
    (listed,) = data(simfeed(url, "session", "list", "--json"))
    assert (listed["key"], listed["status"]) == (key, "cancelled")


def test_taken_back_to_a_checkpoint_and_read_again(url: str, files: Path) -> None:
    done = simfeed(url, "group", "run", str(files / "focus_group.json"))
    key = key_in(done.stderr)
    again = simfeed(url, "session", "recover", key, "round-2")
    assert again.returncode == 0, again.stderr
    made, *told = again.stdout.splitlines()
    assert made != key
    assert told[0].startswith("Moderator: ")
    assert [line for line in done.stdout.splitlines() if line in told[:13]] == told[:13]
    assert data(simfeed(url, "session", "checkpoint", key, "mine", "--json"))["name"] == "mine"
    assert simfeed(url, "session", "checkpoint", key, "mine").returncode == 2
    unknown = simfeed(url, "session", "recover", key, "never")
    assert unknown.returncode == 2
    assert "round-1, round-2, round-3" in unknown.stderr
    fields = ("--fields", "worry,likes:boolean", "--objective", "worries", "--repetitions", "2")
    read = simfeed(url, "session", "extract", key, *fields)
    assert "likes (boolean, n = " in read.stdout
    extraction, table = key_in(read.stderr), files / "fields.parquet"
    words = ("--what", "extracted", "--format", "parquet", "-o", str(table))
    assert simfeed(url, "session", "export", extraction, *words).returncode == 0
    from app.actions.asking import ExtractedField

    columns = extraction_columns([ExtractedField(name="worry"), ExtractedField(name="likes", type="boolean")])
    assert len(from_parquet(table.read_bytes(), columns).rows) == 12
    transcript = simfeed(url, "session", "export", key, "--format", "md").stdout
    assert "## Round 3" in transcript


def test_ctrl_c_leaves_it_for_others(url: str, files: Path) -> None:
    pipe = subprocess.PIPE
    words = [*SIMFEED, "dialogue", "run", str(files / "dialogue.json"), "--turns", "2000"]
    with subprocess.Popen(words, env=environment(url), stdout=pipe, stderr=pipe, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline()
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "simfeed session resume" in told
    step = simfeed(url, "session", "pause", key_in(told))
    assert step.returncode == 0


# Terminals


def on_terminals(url: str, *words: str, out_too: bool) -> tuple[str, str]:
    """What comes on stdout and stderr where stderr (and stdout) is a terminal."""
    ours, theirs = pty.openpty()
    env = environment(url) | {"TERM": "xterm-256color", "COLUMNS": "100"}
    out = theirs if out_too else subprocess.PIPE
    with subprocess.Popen([*SIMFEED, *words], env=env, stdout=out, stderr=theirs, stdin=theirs) as running:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 65_536)
            except OSError:
                break
            if not piece:
                break
            shown += piece
        told = running.stdout.read() if running.stdout is not None else b""
    os.close(ours)
    return told.decode(), shown.decode()


def test_a_bar_is_on_stderr_and_never_among_the_data(url: str, files: Path) -> None:
    words = ("group", "run", "--from", str(files / "town.json"), "--count", "3", "--product", "A cup", "--seed", "1")
    piped = simfeed(url, *words)
    assert "━" not in piped.stderr
    told, shown = on_terminals(url, *words, out_too=False)
    assert told == piped.stdout
    assert "3/3" in shown
    _, both = on_terminals(url, *words, out_too=True)
    assert all(line.partition(": ")[2][:30] in both for line in told.splitlines())
    assert "\x1b[1;3" in both


def test_a_closed_pipe_is_no_trouble_of_the_database(url: str, files: Path) -> None:
    words = [*SIMFEED, "dialogue", "run", str(files / "dialogue.json"), "--turns", "200"]
    with subprocess.Popen(words, env=environment(url), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        running.stdout.close()
        assert running.stderr is not None
        told = running.stderr.read().decode()
    assert running.returncode == 141
    assert "database" not in told


# Bad input


BAD: list[tuple[tuple[str, ...], str]] = [
    (("dialogue", "run"), "--message"),
    (("dialogue", "run", "none.yaml"), "there is no file"),
    (("dialogue", "run", "{files}/town.json"), "bots: "),
    (("dialogue", "run", "{files}/app.yaml", "--bot", "x"), "NAME=PROMPT"),
    (("dialogue", "run", "--bot", "A=x", "--message", "hi"), "at least 2"),
    (("dialogue", "run", "{files}/app.yaml", "--turns", "0"), "--turns"),
    (("dialogue", "run", "{files}/app.yaml", "--turn-taking", "loudest"), "--turn-taking"),
    (("dialogue", "run", "{files}/app.yaml", "--check", "nonsense"), "checks item 1"),
    (("dialogue", "run", "{files}/dialogue.json", "--seed-file", "{files}/seed.yaml"), "goes with an app.yaml"),
    (("group", "run"), "who takes part"),
    (("group", "run", "--from", "{files}/none.json", "--product", "x"), "there is no file"),
    (("group", "run", "--from", "{files}/town.json"), "stimulus"),
    (("group", "run", "--from", "{files}/town.json", "--product", "x", "--question", "y"), "only one of"),
    (("group", "run", "--from", "{files}/town.json", "--product", "x", "--count", "1001"), "--count"),
    (("group", "run", "--from", "{files}/town.json", "--product", "x", "--fields", "a b"), "fields item 1.name"),
    (("group", "run", "--from", "{files}/town.json", "--product", "x", "--fields", "a:colour"), "fields item 1.type"),
    (("group", "run", "--from", "{files}/town.json", "--product", "x", "--in-turn", "--alone"), "in_turn"),
    (("survey", "run", "{files}/focus_group.json"), "is focus_group, not survey"),
    (("survey", "run", "{files}/town.json"), "who takes part"),
    (("survey", "run", "--from", "{files}/town.json", "--questions", "{files}/town.json"), "a list of questions"),
    (("session", "list", "--kind", "quiz"), "--kind"),
    (("session", "example", "quiz"), "quiz"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "told"), BAD, ids=[" ".join(words)[:60] for words, _ in BAD])
def test_bad_input_is_a_sentence_and_asks_no_database(
    files: Path, words: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", NOWHERE)
    done = CliRunner().invoke(app, [word.format(files=files) for word in words])
    refused = done.exception
    assert done.stdout == ""
    if isinstance(refused, AppError):
        assert exit_code(refused) == EXIT_USAGE
        assert told in refused.detail
    else:
        assert done.exit_code == EXIT_USAGE
        assert told in done.stderr


def test_a_session_that_is_not_there(url: str) -> None:
    for words in ("show", "watch", "pause", "resume", "cancel", "checkpoint {} x", "recover {} x", "export"):
        verb, _, rest = words.partition(" ")
        done = simfeed(url, "session", verb, "nothere", *(rest.replace("{}", "").split()))
        assert (done.returncode, done.stdout) == (2, ""), verb
        assert done.stderr.count("\n") == 1


def test_another_world_and_a_name_are_two_things(url: str, files: Path) -> None:
    key = simfeed(url, "dialogue", "seed", str(files / "dialogue.json"), "--wait").stdout.strip()
    elsewhere: Any = simfeed(url, "session", "checkpoint", key, "start", "--world", "nowhere")
    assert elsewhere.returncode == 2
    assert "no world 'nowhere'" in elsewhere.stderr
    assert simfeed(url, "session", "checkpoint", key, "start").returncode == 0
