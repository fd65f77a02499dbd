"""`simfeed write`, and `simfeed population` with a model: each runs whole offline; bad input is one line."""

import json
from pathlib import Path

from app.db.engine import Database
from tests.cli.test_cli import data, simfeed
from tests.conftest import a_mind
from tests.session_stand import a_group, played

TOWN = {"marginals": {"age": {"18-40": 1, "41-70": 1}, "gender": {"woman": 1, "man": 1}}}


async def test_a_document_is_written_from_a_transcript(url: str, database: Database, tmp_path: Path) -> None:
    async with a_mind(database) as mind:
        number, _ = await played(mind, a_group(3))
    key = str(await database.fetchval("SELECT key FROM sessions WHERE id = $1", number))
    file = tmp_path / "minutes.md"
    done = simfeed(url, "write", "document", key, "--genre", "minutes", "-o", str(file))
    assert (done.returncode, done.stdout) == (0, "")
    assert file.read_text().startswith("# ")
    assert "NOT FOUND" not in file.read_text()
    found = data(simfeed(url, "write", "document", key, "--json"))
    assert found["quotes"]
    assert all(quote["as_cited"] for quote in found["quotes"])
    nobody = simfeed(url, "write", "document", "aaaaaaaaaaaa")
    assert nobody.returncode == 2
    assert "no session has the key" in nobody.stderr


def test_a_text_is_written_anew(url: str, database: Database) -> None:
    text = "The tram to the harbour is late again and 40 people wait in the rain."
    done = simfeed(url, "write", "rewrite", "-", "--wish", "formal", stdin=text)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() not in ("", text)


def test_a_persona_out_of_sources_can_be_imported(url: str, database: Database, tmp_path: Path) -> None:
    notes, people = tmp_path / "notes.md", tmp_path / "rita.json"
    notes.write_text("Rita repairs tram lines in the harbour.\n\nOn Sundays she plays chess with her father.\n")
    told = data(simfeed(url, "write", "ground", str(notes), "--name", "Rita Bolt", "--json"))
    assert {trait["source"] for trait in told["traits"]} <= set(notes.read_text().strip().split("\n\n"))
    assert told["traits"]
    people.write_text(json.dumps([told["persona"]]))
    assert simfeed(url, "personas", "import", str(people)).returncode == 0
    gone = simfeed(url, "write", "ground", str(tmp_path / "no.md"), "--name", "X")
    assert gone.returncode == 2
    assert len(gone.stderr.strip().splitlines()) == 1


def test_a_model_writes_a_population_and_is_interviewed(url: str, database: Database, tmp_path: Path) -> None:
    town, people = tmp_path / "town.json", tmp_path / "people.json"
    town.write_text(json.dumps(TOWN))
    asked = ("population", "generate", "--from", str(town), "--size", "4", "--seed", "7", "--model", "scripted")
    done = simfeed(url, *asked, "--into", str(people))
    assert done.returncode == 0, done.stderr
    written = json.loads(people.read_text())
    assert len({one["display_name"] for one in written}) == 4
    composed = json.loads(simfeed(url, *asked[:-2]).stdout)
    assert {one["description"] for one in written}.isdisjoint(one["description"] for one in composed)
    scored = data(simfeed(url, "population", "interview", str(people), "--json"))
    assert [one["username"] for one in scored] == [one["username"] for one in written]
    assert all(0 <= one["score"] <= 1 and one["answered"] == one["asked"] for one in scored)
