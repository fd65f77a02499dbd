"""`simfeed population`: from demographics to personas in a file or the world, checked; and what is wrong, in a line."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.db.engine import Database
from tests.cli.test_cli import data, simfeed

NOWHERE = "postgresql://127.0.0.1:1/none"
"""What needs no database must not ask one."""


@pytest.fixture
def town(tmp_path: Path) -> str:
    file = tmp_path / "town.json"
    done = simfeed(NOWHERE, "population", "example")
    assert done.returncode == 0
    file.write_text(done.stdout)
    return str(file)


def generate(url: str, town: str, *words: str) -> Any:
    return simfeed(url, "population", "generate", "--from", town, "--seed", "7", *words)


def test_the_example_works_and_its_people_are_as_expected(town: str, tmp_path: Path) -> None:
    expect, people = tmp_path / "expect.json", tmp_path / "people.json"
    shares = json.loads(Path(town).read_text())
    expect.write_text(json.dumps({"required": ["bio"], "ranges": {"age": {"least": 18}}, "shares": shares}))
    done = generate(NOWHERE, town, "--into", str(people))
    assert done.returncode == 0, done.stderr
    assert "100 people by quota, seed 7" in done.stdout
    assert "region × leaning" in done.stdout
    assert f"100 persona(s) written to {people}" in done.stderr
    checked = simfeed(NOWHERE, "population", "validate", str(people), "--expect", str(expect))
    assert (checked.returncode, checked.stdout) == (0, "")
    assert "100 persona(s), all as expected" in checked.stderr


def test_people_go_to_stdout_and_the_table_to_stderr(town: str) -> None:
    done = generate(NOWHERE, town, "--size", "5")
    assert len(json.loads(done.stdout)) == 5
    assert "asked" in done.stderr
    assert done.stdout == generate(NOWHERE, town, "--size", "5").stdout
    told = data(generate(NOWHERE, town, "--size", "5", "--json", "--method", "quasi"))
    assert (told["size"], told["seed"], told["method"], len(told["personas"])) == (5, 7, "quasi", 5)
    assert {"attribute", "value", "asked", "got", "mean"} <= told["table"][0].keys()
    piped = simfeed(NOWHERE, "population", "generate", "--from", "-", "--size", "3", stdin=Path(town).read_text())
    assert len(json.loads(piped.stdout)) == 3


def test_a_dry_run_writes_nothing(town: str, tmp_path: Path) -> None:
    people = tmp_path / "people.csv"
    done = generate(NOWHERE, town, "--into", str(people), "--dry-run")
    assert done.returncode == 0
    assert "gender" in done.stdout
    assert not people.exists()
    assert generate(NOWHERE, town, "--into", "world", "--dry-run").returncode == 0  # asks no database


async def test_people_move_into_the_world_under_free_names(town: str, url: str, database: Database) -> None:
    for _ in range(2):
        done = generate(url, town, "--size", "30", "--into", "world", "--fragments", "shy, optimist")
        assert done.returncode == 0, done.stderr
    rows = await database.fetch("SELECT username, profile FROM personas")
    assert len({row["username"].lower() for row in rows}) == 60
    profiles = [json.loads(row["profile"]) for row in rows]
    assert len({profile["display_name"] for profile in profiles}) == 60
    assert all(profile["fragments"] == ["shy", "optimist"] for profile in profiles)
    assert await database.fetchval("SELECT count(*) FROM audit WHERE action = 'population.generated'") == 2


async def test_fragments_are_applied_to_personas_of_the_world(url: str, database: Database, tmp_path: Path) -> None:
    for name in ("ada", "bo"):
        assert simfeed(url, "personas", "add", name, "Somebody.").returncode == 0
    file = tmp_path / "wanderer.fragment.json"
    file.write_text('{"type": "Fragment", "persona": {"beliefs": ["Distance helps."]}}')
    words = ("population", "apply", "shy", str(file), "--to", "@ada", "--to", "bo")
    assert simfeed(url, *words, "--dry-run").returncode == 0
    assert await database.fetchval("SELECT count(*) FROM personas WHERE profile ? 'fragments'") == 0
    assert data(simfeed(url, *words, "--json")) == {"ada": ["shy", "wanderer"], "bo": ["shy", "wanderer"]}
    told = await database.fetchval("SELECT description FROM personas WHERE username = 'ada'")
    assert "Distance helps." in told
    refused = simfeed(url, "population", "apply", "talkative", "--to", "ada")
    assert refused.returncode == 2
    assert "@ada: the fragments shy and talkative contradict each other" in refused.stderr
    known = data(simfeed(url, "population", "fragments", "--json"))
    assert len(known) >= 16
    assert "contrarian" in simfeed(url, "population", "fragments").stdout


def test_findings_are_listed_and_end_with_one(tmp_path: Path) -> None:
    file = tmp_path / "people.json"
    twin = {"description": "You keep bees and count them each evening.", "display_name": "Ada"}
    file.write_text(json.dumps([{"username": "ada", **twin}, {"username": "bo", **twin}]))
    done = simfeed(NOWHERE, "population", "validate", str(file), "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["personas"] == 2
    assert [(one["person"], one["field"], one["other"]) for one in told["findings"]] == [
        ("@bo", "display_name", "@ada"),
        ("@ada", "description", "@bo"),
    ]
    assert "is like that of @bo (100%)" in simfeed(NOWHERE, "population", "validate", str(file)).stdout


def test_one_bad_record_names_it(tmp_path: Path) -> None:
    file = tmp_path / "people.json"
    file.write_text('[{"username": "a", "description": "x"}, {"username": "b", "description": "x", "temperature": 9}]')
    done = simfeed(NOWHERE, "population", "validate", str(file))
    assert done.returncode == 2
    assert "people.json, record 2, field temperature: must be a number from 0 to 2" in done.stderr


BAD = {
    "missing": (None, "cannot be read"),
    "empty": (b"", "is not JSON"),
    "latin": (b'{"marginals": {"a": {"\xe9": 1}}}', "is not UTF-8"),
    "twice": (b'{"marginals": {}, "marginals": {}}', 'the key "marginals" is given twice'),
    "nan": (b'{"marginals": {"a": {"x": NaN}}}', "NaN is not a finite number"),
    "large": (b" " * (4 * 1024**2 + 1), "is larger than 4 MiB"),
    "list": (b"[]", "must be an object"),
    "negative": (b'{"marginals": {"a": {"x": -1, "y": 2}}}', 'marginals.a["x"]: must not be negative'),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_demographics_are_refused_in_words(name: str, tmp_path: Path) -> None:
    content, words = BAD[name]
    file = tmp_path / f"{name}.json"
    if content is not None:
        file.write_bytes(content)
    done = generate(NOWHERE, str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert f"{name}.json" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--size", "0"), "greater than or equal to 1"),
        (("--size", "10001"), "less than or equal to 10000"),
        (("--method", "dice"), "dice"),
        (("--into", "people.txt"), "--into must be `world` or a file .json, .jsonl, .csv"),
        (("--fragments", "optimis"), "nearest are optimist"),
        (("--fragments", "shy,talkative"), "contradict each other"),
        (("--fragments", "none.fragment.json"), "cannot be read"),
    ],
)
def test_contradictory_words_are_refused_in_a_line(more: tuple[str, ...], words: str, town: str) -> None:
    done = generate(NOWHERE, town, *more)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
