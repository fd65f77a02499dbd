"""`simfeed backup`: what comes back is equal, the drill sees when it is not, and nothing is left half done."""

import asyncio
import json
import os
import signal
import stat
import subprocess
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from app.analysis.backup_files import DUMP, MANIFEST, checked
from app.db.dumps import libpq, program
from app.errors import AppError, Invalid, Misconfigured
from app.world.persona_backups import parse
from tests.cli.test_cli import SEED, SIMFEED, data, environment, simfeed
from tests.conftest import run_sql, with_database

SECRET_HASH = "argon2-hash-of-nobody"


def sql(url: str, statement: str, *arguments: object) -> list[asyncpg.Record]:
    async def work() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
            return rows
        finally:
            await connection.close()

    return asyncio.run(work())


@pytest.fixture(scope="module")
def home(server_url: str, template: str) -> Iterator[str]:
    """A home world with a cycle, an admin, a former version of a persona and one that has departed."""
    name = f"test_{uuid4().hex[:12]}"
    asyncio.run(run_sql(server_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
    url = with_database(server_url, name)
    assert simfeed(url, "personas", "import", str(SEED)).returncode == 0
    assert simfeed(url, "run", "--seed", "3").returncode == 0
    sql(url, "INSERT INTO admin (username, email, password_hash) VALUES ('ada', 'ada@example.org', $1)", SECRET_HASH)
    sql(
        url,
        "INSERT INTO persona_versions (persona_id, version, spec) SELECT id, 1, "
        "jsonb_build_object('username', username, 'description', 'Quieter then. “ü\\\\”') FROM personas WHERE id = 1",
    )
    assert simfeed(url, "personas", "remove", "2", "--yes").returncode == 0
    yield url
    for row in sql(url, "SELECT database FROM worlds"):
        asyncio.run(run_sql(server_url, f'DROP DATABASE IF EXISTS "{row["database"]}" WITH (FORCE)'))
    asyncio.run(run_sql(server_url, f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture(scope="module")
def backup(home: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("backups") / "monday.simfeed"
    told = data(simfeed(home, "backup", "make", "-o", str(path), "--json"))
    assert told["whole"] is False
    return path


@pytest.fixture(scope="module")
def everything(home: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("backups") / "all.simfeed"
    done = simfeed(home, "backup", "make", "-o", str(path), "--everything")
    assert done.returncode == 0, done.stderr
    assert "1 admins, with password hashes" in done.stderr
    return path


def programs(home: str, folder: Path, **instead: str) -> str:
    """A folder of PostgreSQL's programs, some of them replaced by scripts in which `real` is the one replaced."""
    major = sql(home, "SELECT current_setting('server_version_num')::int / 10000")[0][0]
    real = program("pg_dump", None, major).path.parent
    folder.mkdir()
    for name in ("pg_dump", "pg_restore"):
        path = folder / name
        body = instead.get(name, 'exec "$real" "$@"')
        version = '[ "$1" = --version ] && exec "$real" --version'
        path.write_text(f'#!/bin/sh\nreal="{real / name}"\npsql="{real / "psql"}"\n{version}\n{body}\n')
        path.chmod(0o755)
    return str(folder)


def state_of(home: str, world: str) -> str:
    return simfeed(home, "world", "hash", world).stdout.strip()


@pytest.mark.parametrize("more", [[], ["--everything"]])
def test_the_drill_restores_equal_worlds(home: str, more: list[str]) -> None:
    before = state_of(home, "home")
    found = data(simfeed(home, "backup", "drill", "--json", *more))
    assert found["equal"] is True
    assert found["state"] == found["state_restored"] == before
    tables = {one["table"]: one for one in found["tables"]}
    assert tables["public.posts"]["rows"] == tables["public.posts"]["rows_restored"] > 0
    assert tables["public.admin"]["rows"] == (1 if more else 0)
    assert {w["name"] for w in data(simfeed(home, "world", "list", "--json"))} == {"home"}
    assert sql(home, "SELECT count(*) FROM pg_database d JOIN worlds w ON w.database = d.datname")[0][0] == 0


CHANGED = "UPDATE posts SET body = overlay(body placing '~' from 1 for 1) WHERE id = (SELECT min(id) FROM posts)"
MEDDLES = f'"$real" "$@" && for last; do :; done; exec "$psql" -qX "$last" -c "{CHANGED}"'
"""A pg_restore that changes a letter behind the last row: everything else is as it should be."""


def test_control_the_drill_sees_one_changed_letter(home: str, tmp_path: Path) -> None:
    wrong = programs(home, tmp_path / "bin", pg_restore=MEDDLES)
    done = simfeed(home, "backup", "drill", "--json", POSTGRES_BINARIES=wrong)
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert found["equal"] is False
    assert [t["table"] for t in found["tables"] if not t["equal"]] == ["public.posts"]
    assert found["state"] != found["state_restored"]


def test_control_a_restore_that_is_not_equal_leaves_nothing(home: str, backup: Path, tmp_path: Path) -> None:
    wrong = programs(home, tmp_path / "bin", pg_restore=MEDDLES)
    done = simfeed(home, "backup", "restore", str(backup), "--as", "bent", POSTGRES_BINARIES=wrong)
    assert (done.returncode, done.stdout) == (1, "")
    assert "differs from the backup in public.posts" in done.stderr
    assert "bent" not in {w["name"] for w in data(simfeed(home, "world", "list", "--json"))}


def test_a_world_comes_back_under_a_name(home: str, backup: Path) -> None:
    made = data(simfeed(home, "backup", "restore", str(backup), "--as", "monday", "--json"))
    assert made["state_sha256"] == state_of(home, "home") == state_of(home, "monday")
    again = simfeed(home, "backup", "restore", str(backup), "--as", "Monday")
    assert again.returncode == 2
    assert "there is a world Monday already" in again.stderr
    assert simfeed(home, "run", "--world", "monday", "--seed", "1").returncode == 0
    assert simfeed(home, "world", "drop", "monday", "--yes").returncode == 0


def test_only_a_whole_backup_holds_accounts_and_no_world_made_of_it_does(
    home: str, backup: Path, everything: Path
) -> None:
    for path, held in ((backup, False), (everything, True)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert (checked(path).manifest.tables["public.admin"].rows > 0) is held
    made = data(simfeed(home, "backup", "restore", str(everything), "--as", "bare", "--json"))
    inside = with_database(home, made["database"])
    assert sql(inside, "SELECT count(*) FROM admin")[0][0] == 0
    assert state_of(home, "bare") == state_of(home, "home")
    assert simfeed(home, "world", "drop", "bare", "--yes").returncode == 0


def test_the_home_world_comes_back_into_an_empty_database_only(home: str, server_url: str, everything: Path) -> None:
    refused = simfeed(home, "backup", "restore", str(everything), "--as-home")
    assert refused.returncode == 2
    assert "is not empty" in refused.stderr
    name = f"test_{uuid4().hex[:12]}"
    asyncio.run(run_sql(server_url, f'CREATE DATABASE "{name}"'))
    try:
        fresh = with_database(server_url, name)
        assert data(simfeed(fresh, "backup", "restore", str(everything), "--as-home", "--json"))["home"] is True
        assert [row[0] for row in sql(fresh, "SELECT password_hash FROM admin")] == [SECRET_HASH]
        assert state_of(fresh, "home") == state_of(home, "home")
        assert simfeed(fresh, "personas", "add", "new_here", "Has just come.").returncode == 0
    finally:
        asyncio.run(run_sql(server_url, f'DROP DATABASE "{name}" WITH (FORCE)'))


def test_a_home_that_does_not_come_back_equal_leaves_the_database_empty(
    home: str, server_url: str, everything: Path, tmp_path: Path
) -> None:
    name = f"test_{uuid4().hex[:12]}"
    asyncio.run(run_sql(server_url, f'CREATE DATABASE "{name}"'))
    try:
        fresh = with_database(server_url, name)
        wrong = programs(home, tmp_path / "bin", pg_restore=MEDDLES)
        done = simfeed(fresh, "backup", "restore", str(everything), "--as-home", POSTGRES_BINARIES=wrong)
        assert done.returncode == 1
        assert sql(fresh, "SELECT count(*) FROM pg_tables WHERE schemaname IN ('public', 'queue')")[0][0] == 0
    finally:
        asyncio.run(run_sql(server_url, f'DROP DATABASE "{name}" WITH (FORCE)'))


def bent(path: Path, to: Path, **changes: Any) -> Path:
    """A copy of a backup whose manifest says something else."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(to, "w") as new:
        new.writestr(DUMP, old.read(DUMP))
        new.writestr(MANIFEST, json.dumps({**json.loads(old.read(MANIFEST)), **changes}))
    return to


def test_what_is_wrong_with_a_file_is_told(home: str, backup: Path, tmp_path: Path) -> None:
    whole = backup.read_bytes()
    (tmp_path / "cut.simfeed").write_bytes(whole[: len(whole) // 2])
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 1
    (tmp_path / "flipped.simfeed").write_bytes(flipped)
    (tmp_path / "wrong.simfeed").write_text("personas: none")
    with zipfile.ZipFile(tmp_path / "other.simfeed", "w") as pack:
        pack.writestr("letter.txt", "dear")
    bent(backup, tmp_path / "other-dump.simfeed", sha256="0" * 64)
    bent(backup, tmp_path / "newer.simfeed", revision="9999")
    bent(backup, tmp_path / "rows.simfeed", tables={"public.posts": {"rows": -1, "sha256": "x"}})
    bent(backup, tmp_path / "server.simfeed", server=99)
    for name, words in {
        "cut": "cut short or damaged",
        "flipped": "cut short or damaged",
        "wrong": "is no backup of Sim-Feed",
        "other": "lacks manifest.json",
        "other-dump": "not the one that its manifest names",
        "newer": "made by a newer Sim-Feed (schema '9999')",
        "rows": "tables.public.posts.rows: Input should be greater",
        "missing": "there is no file",
    }.items():
        with pytest.raises(AppError) as refused:
            checked(tmp_path / f"{name}.simfeed")
        assert words in refused.value.detail
    for name, code, words in (("cut", 2, "cut short"), ("server", 78, "made of PostgreSQL 99")):
        done = simfeed(home, "backup", "restore", str(tmp_path / f"{name}.simfeed"), "--as", "wrong")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done.stderr
        assert words in done.stderr
    assert {w["name"] for w in data(simfeed(home, "world", "list", "--json"))} == {"home"}
    listed = simfeed(home, "backup", "list", str(tmp_path), "--verify", "--json")
    assert listed.returncode == 1
    assert {one["file"] for one in json.loads(listed.stdout) if not one["fault"]} == {"server.simfeed"}
    assert [one["fault"] for one in data(simfeed(home, "backup", "list", str(backup.parent), "--json"))] == [None]


def test_a_full_disk_is_one_line(home: str) -> None:
    done = simfeed(home, "backup", "make", "-o", "/dev/full")
    assert done.returncode == 78
    assert done.stderr == "simfeed: /dev/full can't be written: No space left on device\n"


def test_no_password_is_on_a_command_line_and_a_wrong_one_is_told(home: str, tmp_path: Path) -> None:
    shown = programs(home, tmp_path / "bin", pg_dump=f'echo "$@" > {tmp_path / "args"}; exec "$real" "$@"')
    given = {"PGPASSWORD": "hunter2-hunter2", "POSTGRES_BINARIES": shown}
    assert simfeed(home, "backup", "make", "-o", str(tmp_path / "a.simfeed"), **given).returncode == 0
    assert "hunter2" not in (tmp_path / "args").read_text()
    url = "postgresql://me:s%20%40cret@[::1]:5433,db.example:5432/home%2Fworld?sslmode=require&jit=off"
    assert libpq(url) == {
        "PGUSER": "me", "PGPASSWORD": "s @cret", "PGHOST": "::1,db.example", "PGPORT": "5433,5432",
        "PGDATABASE": "home/world", "PGSSLMODE": "require",
    }  # fmt: skip


def test_programs_older_than_the_server_are_refused() -> None:
    with pytest.raises(Misconfigured, match=r"no pg_dump of PostgreSQL 99 or later was found"):
        program("pg_dump", None, 99)


def killed(home: str, marker: Path, *args: str, binaries: str) -> None:
    """Kill a command as soon as the program that it runs has left its number, and then that."""
    env = environment(home) | {"POSTGRES_BINARIES": binaries}
    with subprocess.Popen([*SIMFEED, *args], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not (marker.exists() and marker.read_text().strip()):
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.kill()
    os.kill(int(marker.read_text()), signal.SIGKILL)


def test_a_killed_backup_leaves_nothing_under_its_name(home: str, tmp_path: Path) -> None:
    marker, out = tmp_path / "pid", tmp_path / "half.simfeed"
    hangs = programs(home, tmp_path / "bin", pg_dump=f'"$real" "$@" | head -c 5000; echo $$ > {marker}; exec sleep 60')
    killed(home, marker, "backup", "make", "-o", str(out), binaries=hangs)
    assert not out.exists()
    assert [w["name"] for w in data(simfeed(home, "world", "list", "--json"))] == ["home"]
    assert sql(home, "SELECT count(*) FROM pg_database d JOIN worlds w ON w.database = d.datname")[0][0] == 0
    assert data(simfeed(home, "backup", "make", "-o", str(out), "--json"))["world"] == "home"
    assert checked(out)


def test_a_killed_restore_leaves_no_world(home: str, backup: Path, tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    hangs = programs(home, tmp_path / "bin", pg_restore=f'"$real" "$@"; echo $$ > {marker}; exec sleep 60')
    killed(home, marker, "backup", "restore", str(backup), "--as", "half", binaries=hangs)
    assert simfeed(home, "run", "--world", "half").returncode == 2
    assert "half" not in {w["name"] for w in data(simfeed(home, "world", "list", "--json"))}
    assert data(simfeed(home, "backup", "restore", str(backup), "--as", "half", "--json"))["name"] == "half"
    assert simfeed(home, "world", "drop", "half", "--yes").returncode == 0


def people(home: str) -> list[dict[str, Any]]:
    rows = sql(home, "SELECT to_jsonb(p) - 'paused_by' AS all FROM personas p ORDER BY id")
    return [json.loads(row["all"]) for row in rows]


def test_personas_come_back_as_they_were(home: str, tmp_path: Path) -> None:
    kept = tmp_path / "people.json"
    told = data(simfeed(home, "backup", "personas", "-o", str(kept), "--json"))
    assert (told["personas"], told["versions"]) == (12, 1)
    before = people(home)
    sql(home, "UPDATE personas SET description = 'bent', username = 'renamed' WHERE id = 3")
    sql(home, "UPDATE personas SET status = 'paused' WHERE id = 4")
    assert simfeed(home, "personas", "remove", "5", "--yes").returncode == 0
    planned = data(simfeed(home, "backup", "restore-personas", str(kept), "--dry-run", "--json"))
    assert planned["changed"] is False
    whats = {one["username"]: one["what"] for one in planned["personas"]}
    assert [whats[before[n]["username"]] for n in (2, 3, 4)] == ["changed", "changed", "back"]
    assert list(whats.values()).count("same") == 9
    assert people(home)[2]["username"] == "renamed"
    refused = simfeed(home, "backup", "restore-personas", str(kept))
    assert (refused.returncode, "Say --yes" in refused.stderr) == (2, True)
    assert data(simfeed(home, "backup", "restore-personas", str(kept), "--yes", "--json"))["changed"] is True
    assert people(home) == before
    assert sql(home, "SELECT spec ->> 'username' FROM persona_versions WHERE persona_id = 3")[0][0] == "renamed"
    nothing = data(simfeed(home, "backup", "restore-personas", str(kept), "--yes", "--json"))
    assert {one["what"] for one in nothing["personas"]} == {"same"}


def test_personas_come_into_an_empty_world_with_numbers_versions_and_those_departed(home: str, tmp_path: Path) -> None:
    kept = tmp_path / "people.json"
    assert simfeed(home, "backup", "personas", "-o", str(kept)).returncode == 0
    assert simfeed(home, "world", "create", "empty").returncode == 0
    simfeed(home, "personas", "add", "first_here", "Was here before.", "--world", "empty")
    args = ("backup", "restore-personas", str(kept), "--yes", "--json", "--world", "empty")
    assert {one["what"] for one in data(simfeed(home, *args))["personas"]} == {"made"}
    again = tmp_path / "again.json"
    assert simfeed(home, "backup", "personas", "-o", str(again), "--world", "empty").returncode == 0
    told, then = (
        {one["spec"]["username"]: one for one in json.loads(path.read_text())["personas"]} for path in (again, kept)
    )
    assert told.pop("first_here")["id"] == 1
    moved = {name for name in then if told[name] != then[name]}
    assert {then[name]["id"] for name in moved} == {1}
    assert all(told[name] | {"id": 1} == then[name] for name in moved)
    assert simfeed(home, "personas", "add", "last_here", "Comes after.", "--world", "empty").returncode == 0
    assert simfeed(home, "world", "drop", "empty", "--yes").returncode == 0


@pytest.fixture(scope="module")
def kept(home: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("people") / "people.json"
    assert simfeed(home, "backup", "personas", "-o", str(path)).returncode == 0
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file["personas"][2]["spec"].update(activity=2), "personas.2.spec.activity: "),
        (lambda file: file["personas"][1].pop("departed_at"), "personas.1.departed_at: "),
        (lambda file: file["personas"][0].update(status="departed"), "personas.0: departed_at must be there"),
        (lambda file: file["personas"].append(file["personas"][0]), "is there twice"),
        (lambda file: file.update(format="else"), "is no backup of personas"),
        (lambda file: file.update(more=1), "more: "),
    ],
)
def test_a_wrong_file_of_personas_is_refused_with_the_place(kept: Path, change: Any, words: str) -> None:
    file = json.loads(kept.read_text())
    change(file)
    with pytest.raises(Invalid) as refused:
        parse(json.dumps(file).encode(), "people.json")
    assert words in refused.value.detail


def test_a_file_of_personas_that_was_cut_short_changes_nothing(home: str, kept: Path, tmp_path: Path) -> None:
    (tmp_path / "people.json").write_bytes(kept.read_bytes()[:900])
    before = people(home)
    done = simfeed(home, "backup", "restore-personas", str(tmp_path / "people.json"), "--yes")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "cut short" in done.stderr
    assert people(home) == before
