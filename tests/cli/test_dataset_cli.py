"""`simfeed dataset` from the terminal: build, kill, go on, check, import; and its bench."""

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cli.test_cli import SEED, data, environment, simfeed
from tests.cli.test_world_cli import rows, sha
from tests.conftest import copy_of, run_sql, with_database


@pytest.fixture(scope="module")
async def home(server_url: str, template: str) -> AsyncIterator[str]:
    async with copy_of(server_url, template) as url:
        assert simfeed(url, "personas", "import", str(SEED)).returncode == 0
        assert simfeed(url, "run", "--seed", "3").returncode == 0
        yield url
        for row in await rows(url, "SELECT database FROM worlds WHERE state <> 'dropped'"):
            await run_sql(with_database(url, "postgres"), f'DROP DATABASE IF EXISTS "{row["database"]}" WITH (FORCE)')


async def test_a_package_is_built_checked_and_imported(home: str, tmp_path: Path) -> None:
    made = data(
        simfeed(home, "dataset", "build", "-o", str(tmp_path / "town.zip"), "--author", "A. Body",
                "--license", "CC0-1.0", "--title", "Town: 12", "--json")
    )  # fmt: skip
    assert made["worlds"][0]["sha256"] == sha(home)
    done = data(simfeed(home, "dataset", "check", str(tmp_path / "town.zip"), "--json"))
    assert (done["sound"], done["faults"]) == (True, [])
    new = data(simfeed(home, "dataset", "import", str(tmp_path / "town.zip"), "--as", "town", "--json"))
    assert new["sha256"] == sha(home) == sha(home, "town")
    assert data(simfeed(home, "run", "--world", "town", "--json"))["state"] == "completed"
    again = simfeed(home, "dataset", "import", str(tmp_path / "town.zip"), "--as", "town")
    assert (again.returncode, again.stdout) == (2, "")
    assert "already" in again.stderr
    assert simfeed(home, "dataset", "build", "-o", str(tmp_path / "town2"), "--world", "town").returncode == 0
    deeds = [tuple(row) for row in await rows(home, "SELECT action, subject FROM audit ORDER BY id")]
    assert deeds == [("world.made", "town")]
    cited = (tmp_path / "town2/CITATION.cff").read_text()
    assert "author not stated" in cited


def test_tables_are_listed(home: str) -> None:
    found = {one["table"]: one["rows"] for one in data(simfeed(home, "dataset", "tables", "--json"))}
    assert found["personas"] == 12
    assert {"exposures", "exposure_items", "calls"} <= set(found)
    assert not {"admin", "participants", "room_messages"} & set(found)
    assert "personas" in simfeed(home, "dataset", "tables").stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("build", "-o", "{}/x", "--tables", "admin"), 2, "no table 'admin'"),
        (("build", "-o", "{}/x", "--formats", "xlsx"), 2, "no format 'xlsx'"),
        (("build", "-o", "{}/x", "--pseudonyms", "some"), 2, "--pseudonyms: none, names, all"),
        (("build", "-o", "{}/x", "--world", "nowhere"), 2, "no world 'nowhere'"),
        (("build", "-o", "{}/file/x"), 78, "can't be"),
        (("check", "{}/nowhere"), 2, "there is no"),
        (("check", "{}/file"), 2, "can't be unpacked"),
        (("check", "{}"), 2, "no manifest.json"),
        (("import", "{}/file", "--as", "x"), 2, "can't be unpacked"),
        (("import", "{}/file", "--as", "home"), 2, "world's name"),
    ],
)
def test_bad_input_is_one_clear_line(home: str, tmp_path: Path, words: tuple[str, ...], code: int, said: str) -> None:
    (tmp_path / "file").write_text("no package")
    done = simfeed(home, "dataset", *(word.format(tmp_path) for word in words))
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_damaged_package_fails_the_check(home: str, tmp_path: Path) -> None:
    assert simfeed(home, "dataset", "build", "-o", str(tmp_path / "town"), "--formats", "csv").returncode == 0
    assert simfeed(home, "dataset", "check", str(tmp_path / "town")).returncode == 0
    (tmp_path / "town/data/posts.csv").write_text("x")
    done = simfeed(home, "dataset", "check", str(tmp_path / "town"))
    assert done.returncode == 1
    assert done.stdout.startswith("data/posts.csv: has 1 bytes")


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from app.analysis.dataset.options import Options, Source
from app.analysis.dataset.package import build
url, target, where = sys.argv[1:]
def told(step):
    if step.what == where:
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(build([Source("home", url)], Path(target), options=Options(resume=Path(target).exists()), told=told))
"""


def _killed(url: str, target: Path, where: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, url, str(target), where], env=environment(url), capture_output=True, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def _complete(folder: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in sorted((folder / "data").iterdir()) if one.suffix != ".part"}


async def test_a_killed_build_goes_on_and_keeps_what_it_had(home: str, tmp_path: Path) -> None:
    whole, target = tmp_path / "whole", tmp_path / "town"
    assert simfeed(home, "dataset", "build", "-o", str(whole)).returncode == 0
    _killed(home, target, "memories")
    had = _complete(target)
    assert {"actions.csv", "likes.parquet"} <= set(had)
    assert not {"memories.csv", "posts.csv"} & set(had)
    assert had == {name: body for name, body in _complete(whole).items() if name in had}
    assert not (target / "manifest.json").exists()
    refused = simfeed(home, "dataset", "check", str(target))
    assert (refused.returncode, "never finished" in refused.stderr) == (2, True)
    refused = simfeed(home, "dataset", "build", "-o", str(target))
    assert (refused.returncode, "--resume" in refused.stderr) == (2, True)
    (target / "data/likes.csv").write_text("damaged meanwhile")
    stamps = {name: (target / "data" / name).stat().st_mtime_ns for name in had}
    done = data(simfeed(home, "dataset", "build", "-o", str(target), "--resume", "--json"))
    assert (done["kept"], done["anew"]) == (len(had) - 3, "")
    written = {name for name, stamp in stamps.items() if (target / "data" / name).stat().st_mtime_ns != stamp}
    assert written == {"likes.csv", "likes.jsonl", "likes.parquet"}
    assert _complete(target) == _complete(whole)
    assert simfeed(home, "dataset", "check", str(target)).returncode == 0


async def test_a_killed_build_begins_anew_when_the_world_has_changed(home: str, tmp_path: Path) -> None:
    target = tmp_path / "town"
    _killed(home, target, "memories")
    _killed(home, target, "posts")
    await run_sql(home, "UPDATE turns SET epoch = epoch + 1 WHERE id = 1")  # no part of the hash, and exported
    done = simfeed(home, "dataset", "build", "-o", str(target), "--resume")
    assert done.returncode == 0
    assert "Nothing of the earlier try was kept: the world has changed since." in done.stderr
    assert simfeed(home, "dataset", "check", str(target)).returncode == 0
    _killed(home, tmp_path / "other", "posts")
    done = simfeed(home, "dataset", "build", "-o", str(tmp_path / "other"), "--resume", "--formats", "csv")
    assert "asked for otherwise" in done.stderr
    assert {one.suffix for one in (tmp_path / "other/data").iterdir()} == {".csv"}
    assert simfeed(home, "dataset", "check", str(tmp_path / "other")).returncode == 0


def test_a_killed_zip_leaves_no_zip(home: str, tmp_path: Path) -> None:
    target = tmp_path / "town.zip"
    _killed(home, target, "packing")
    assert not target.exists()
    done = simfeed(home, "dataset", "build", "-o", str(target), "--resume")
    assert done.returncode == 0, done.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["town.zip"]
    assert simfeed(home, "dataset", "check", str(target)).returncode == 0


def test_the_bench_measures_an_export(home: str) -> None:
    found = json.loads(simfeed(home, "bench", "export", "--rows", "2000", "--json").stdout)
    assert found["sound"]
    assert found["rows"] > 1500
    assert found["build"]["peak_mb"] > 0
    assert len(found["targets"]) == 2
