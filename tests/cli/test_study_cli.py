"""`simfeed study` on a real database: files in, tokens out, nothing changed by bad input."""

import csv
import stat
from pathlib import Path

import pytest

from tests.cli.test_cli import data, simfeed
from tests.venues.test_study_design import SIMULATION, TWO_LINES, simulacra


@pytest.fixture
def study(tmp_path: Path) -> Path:
    file = tmp_path / "study.toml"
    file.write_text(TWO_LINES)
    return file


def test_a_study_from_file_to_close(url: str, study: Path, tmp_path: Path) -> None:
    made = data(simfeed(url, "study", "create", "bicycles", "--file", str(study), "--seed", "5", "--json"))
    assert (made["state"], made["seed"], made["title"]) == ("draft", 5, "Bicycles")
    sheet, codes = tmp_path / "out" / "links.csv", tmp_path / "codes"
    wish = (
        "--count",
        "3",
        "--label",
        "first",
        "--csv",
        str(sheet),
        "--qr",
        str(codes),
        "--url",
        "https://chat.example.org/",
    )
    told = data(simfeed(url, "study", "tokens", "bicycles", *wish, "--json"))
    with sheet.open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["token"] for row in read] == [one["token"] for one in told]
    assert all(row["url"] == f"https://chat.example.org/s/{row['token']}" for row in read)
    assert [row["label"] for row in read] == ["first", str(told[1]["id"]), str(told[2]["id"])]
    assert sorted(path.name for path in codes.iterdir()) == sorted(
        f"{one['id']}{'-first' * (one['label'] == 'first')}.svg" for one in told
    )
    for path in (sheet, *codes.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = simfeed(url, "study", "tokens", "bicycles", *wish)
    assert again.returncode == 2
    assert "is there already" in again.stderr
    listed = simfeed(url, "study", "tokens", "bicycles", "--json")
    assert [(one["label"], one["state"]) for one in data(listed)] == [("first", "open"), ("", "open"), ("", "open")]
    assert not [one for one in told if one["token"] in listed.stdout]
    opened = simfeed(url, "study", "open", "1")
    assert opened.returncode == 0
    assert "Robin, Sam, Noor, Toni" in opened.stderr
    assert simfeed(url, "study", "open", "bicycles").returncode == 2
    assert simfeed(url, "study", "pause", "Bicycles").returncode == 0
    assert data(simfeed(url, "study", "list", "--json"))[0]["state"] == "paused"
    assert simfeed(url, "study", "resume", "bicycles").returncode == 0
    shown = simfeed(url, "study", "show", "bicycles")
    assert shown.returncode == 0
    assert "15 min, 5 messages a minute, answers 70%" in shown.stdout
    assert "Robin is " in shown.stdout
    asked = simfeed(url, "study", "close", "bicycles")
    assert (asked.returncode, "--yes" in asked.stderr) == (2, True)
    assert data(simfeed(url, "study", "close", "bicycles", "--yes", "--json")) == {
        "study": "bicycles",
        "tokens_revoked": 3,
    }
    assert data(simfeed(url, "study", "show", "bicycles", "--json"))["state"] == "closed"


def test_simulacras_files(url: str, tmp_path: Path) -> None:
    config = tmp_path / "pilot config"
    config.mkdir()
    simulacra(config, simulation=SIMULATION + "random_seed = 42\n")
    done = simfeed(url, "study", "create", "pilot", "--toml", str(config))
    assert done.returncode == 0, done.stderr
    assert "note: simulation_settings.toml: random_seed has no use here" in done.stderr
    assert "a draft with 4 tokens of its own" in done.stderr
    assert "user0001" not in done.stderr + done.stdout
    shown = data(simfeed(url, "study", "show", "pilot", "--json"))
    assert (shown["consent"], shown["title"]) == ("external", "pilot")
    assert [(one["arm"], one["count"]) for one in shown["tokens"]] == [("Tx1", 2), ("Tx2", 2)]
    (config / "simulation_settings.toml").write_text(SIMULATION.replace("probability = 1", "probability = 2"))
    for command in (("create", "second"), ("validate",)):
        wrong = simfeed(url, "study", *command, "--toml", str(config))
        assert wrong.returncode == 2
        assert "simulation_settings.toml: user_response_probability must be a number from 0 to 1, not 2" in wrong.stderr
    assert [one["name"] for one in data(simfeed(url, "study", "list", "--json"))] == ["pilot"]


def test_validating_needs_no_database(study: Path) -> None:
    found = data(simfeed("postgresql://nobody@127.0.0.1:1/none", "study", "validate", "--file", str(study), "--json"))
    assert (found["valid"], found["arms"], found["stages"]) == (True, ["talk"], ["chat", "done"])
    readable = simfeed("postgresql://nobody@127.0.0.1:1/none", "study", "validate", "--file", str(study))
    assert "Robin, Sam, Noor, Toni" in readable.stdout


def test_wrong_input_changes_nothing_and_says_what_to_do(url: str, study: Path, tmp_path: Path) -> None:
    for args, code, told in (
        (("create", "x"), 2, "either --file"),
        (("create", "x", "--file", str(study), "--toml", str(tmp_path)), 2, "either --file"),
        (("create", "x", "--file", str(tmp_path / "none.toml")), 2, "there is no file"),
        (("create", "x", "--toml", str(tmp_path)), 2, "no experimental_settings.toml"),
        (("create", "", "--file", str(study)), 2, "must not be empty"),
        (("create", "a\nb", "--file", str(study)), 2, "one line"),
        (("create", "../x y", "--file", str(study)), 2, "NAME must be 1 to 60 letters A-Z, digits, '_', '-' or '.'"),
        (("create", "..", "--file", str(study)), 2, "begin and end with a letter or digit"),
        (("open", "nobody"), 2, "no study has the name nobody"),
        (("show", "7"), 2, "no study has the id 7"),
        (("show", "9" * 30), 2, "no study has the name"),
        (("tokens", "nobody", "--count", "1"), 2, "no study has the name nobody"),
        (("tokens", "nobody", "--count", "0"), 2, "--count"),
        (("tokens", "nobody", "--arm", "a"), 2, "--count"),
    ):
        done = simfeed(url, "study", *args)
        assert (done.returncode, told in done.stderr) == (code, True), (args, done.stderr)
    assert simfeed(url, "study", "list").stderr.startswith("No studies yet")
