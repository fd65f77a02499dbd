"""`simfeed study export|log|purge` on a real database."""

import json
import os
import stat
import subprocess
import zipfile
from pathlib import Path

from app.db.engine import Database
from tests.cli.test_cli import data, simfeed
from tests.taking_part import CANARY, open_study, take_part
from tests.venues.test_study_export import Package, check


def piped(url: str, pipe: Path) -> bytes:
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        done = simfeed(url, "study", "export", "bicycles", "--out", str(pipe))
        assert (done.returncode, done.stdout, pipe.is_fifo()) == (0, "", True), done.stderr
        return reader.communicate()[0]


async def test_export_log_and_purge(database: Database, url: str, tmp_path: Path) -> None:
    study_id = await open_study(database, retention_days=10)
    one = await take_part(database, study_id, why=f"{CANARY}-answer")
    file, folder = tmp_path / "out" / "study.zip", tmp_path / "logs"

    made = simfeed(url, "study", "export", "bicycles", "--out", str(file), "--spreadsheet", "--json")
    assert data(made)["rows"]["participants"] == 1
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert zipfile.is_zipfile(file)
    check(Package(file.read_bytes()))
    again = simfeed(url, "study", "export", "bicycles", "--out", str(file))
    assert (again.returncode, "is there already" in again.stderr) == (2, True)
    full = simfeed(url, "study", "export", "bicycles", "--out", "/dev/full")
    assert (full.returncode, "/dev/full can't be written: No space left" in full.stderr) == (78, True), full.stderr
    check(Package(piped(url, tmp_path / "pipe")))
    nothing = simfeed(url, "study", "export", "nobody", "--out", str(tmp_path / "x.zip"))
    assert nothing.returncode == 2
    assert not (tmp_path / "x.zip").exists()

    assert simfeed(url, "study", "log", "bicycles", "--out", str(folder)).returncode == 0
    (written,) = folder.iterdir()
    assert written.name == f"{one.key}.jsonl"
    told = simfeed(url, "study", "log", one.key)
    assert told.stdout.encode() == written.read_bytes()
    assert json.loads(told.stdout.splitlines()[0])["event_type"] == "session_start"
    assert simfeed(url, "study", "log", "nothing").returncode == 2

    tried = data(simfeed(url, "study", "purge", "bicycles", "--dry-run", "--json"))
    assert (tried["due"], tried["due_at"], tried["participants"], tried["purged"]) == (False, None, 1, False)
    early = simfeed(url, "study", "purge", "bicycles", "--yes")
    assert (early.returncode, "is not closed" in early.stderr) == (2, True)
    await database.fetch("UPDATE studies SET state = 'closed', closed_at = now() - interval '11 days'")
    asked = simfeed(url, "study", "purge", "bicycles")
    assert (asked.returncode, "--yes" in asked.stderr) == (2, True)
    tried = data(simfeed(url, "study", "purge", "bicycles", "--dry-run", "--json"))
    assert (tried["due"], tried["participants"], tried["answers"]) == (True, 1, 3)
    assert await database.fetchval("SELECT count(*) FROM answers") == 3
    done = simfeed(url, "study", "purge", "bicycles", "--yes")
    assert (done.returncode, "1 participants" in done.stderr) == (0, True)
    assert await database.fetchval("SELECT count(*) FROM answers") == 0
    actions = {row["action"] for row in await database.fetch("SELECT action FROM audit")}
    assert {"study.exported", "study.log_read", "study.purged"} <= actions
