"""Worlds that are forked: nothing lost at home, nothing taken along that must not travel, nothing left by who dies."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx2
import pytest

from app.analysis.state import state_at
from app.db import migrate
from app.db import worlds as databases
from app.db.engine import TROUBLE, Database
from app.db.worlds import COPIED, CUT, EMPTIED, HOME
from app.errors import Conflict, Invalid, Misconfigured, NotFound
from app.ledger.invariants import check
from app.models import Base
from app.settings import load_settings
from app.venues.feed import open_cycle, play_cycle
from app.venues.session.stage import play
from app.world import personas, sessions, worlds
from app.world.personas import PersonaSpec
from tests.conftest import BOOTSTRAP, a_mind, run_sql, serving, settings_for, sign_up, with_database
from tests.filled import fill
from tests.schema_dump import dump, pg_dump
from tests.session_stand import a_group, began, plain, said
from tests.venues.test_cycle import people

SETTINGS = load_settings()
MANY = 8
"""Rows of which ANALYZE keeps samples that are short enough not to be compressed."""


@pytest.fixture
async def home(url: str) -> AsyncIterator[Database]:
    """A home world whose other worlds are gone after the test."""
    found = await Database.open(url, size=6)
    yield found
    left = await found.fetch("SELECT database FROM worlds WHERE state <> 'dropped'")
    for row in left:
        await run_sql(with_database(url, "postgres"), f'DROP DATABASE IF EXISTS "{row["database"]}" WITH (FORCE)')
    await found.close()


async def lived(home: Database, cycles: int = 1) -> None:
    await people(home, 6)
    async with a_mind(home) as mind:
        for _ in range(cycles):
            run_id = await open_cycle(mind, SETTINGS)
            assert run_id is not None
            await play_cycle(mind, SETTINGS, run_id)


async def inside(home: Database, name: str) -> str:
    return await databases.locate(home.url, name)


async def asked(url: str, query: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def schema(url: str) -> list[str]:
    """Its statements; pg_dump's own order goes by the age of things where nothing else decides."""
    return sorted(dump(url).split("\n\n"))


# What travels


def test_every_table_is_copied_or_emptied() -> None:
    assert sorted([*COPIED, *EMPTIED]) == sorted(Base.metadata.tables)


def test_nothing_that_is_copied_leads_to_what_is_emptied() -> None:
    leads = {
        (table, column.name)
        for table in COPIED
        for column in Base.metadata.tables[table].columns
        for key in column.foreign_keys
        if key.column.table.name in EMPTIED
    }
    assert leads == {(t, c) for t, columns in CUT.items() if t != "instance" for c in columns}


@pytest.mark.parametrize("via", ["template", "dump"])
async def test_a_fork_is_the_same_world(home: Database, via: databases.Via) -> None:
    await lived(home)
    made = await worlds.make(home, "Try-1.a", via=via, note="why")
    assert (made.name, made.kind, made.state, made.source, made.run_id, made.note, made.via) == (
        "Try-1.a", "fork", "ready", HOME, 1, "why", via,
    )  # fmt: skip
    there = await inside(home, "try-1.A")
    assert await state_at(there) == await state_at(home.url)
    assert schema(there) == schema(home.url)
    assert not (await migrate.status(there)).pending
    fork = await Database.open(there, size=4)
    try:
        async with fork.connection() as connection:
            assert [finding for finding in await check(connection) if finding.violations] == []
        before = await fork.fetchval("SELECT count(*) FROM posts")
        async with a_mind(fork) as mind:
            run_id = await open_cycle(mind, SETTINGS)
            assert run_id == 2  # its numbers go on
            await play_cycle(mind, SETTINGS, run_id)
        assert await fork.fetchval("SELECT count(*) FROM posts") > before
    finally:
        await fork.close()
    assert await home.fetchval("SELECT count(*) FROM runs") == 1


async def marked(home: Database) -> dict[str, str]:
    """A mark in many rows of each table that must not travel, and in what was said in a room with a person."""
    wordless = {"budgets", "room_blocks"}
    marks = {table: f"CANARY-{table}-{uuid4().hex[:8]}" for table in (*EMPTIED, "strange") if table not in wordless}
    marks |= {f"{table} of a room": f"CANARY-room-{table}-{uuid4().hex[:8]}" for table in ROOM_ROWS}
    connection = await asyncpg.connect(home.url)
    try:
        for table in EMPTIED:
            await fill(connection, table, marks.get(table, ""), rows=MANY, first=900)
        for table in ROOM_ROWS:
            await fill(connection, table, marks[f"{table} of a room"], rows=MANY, first=900)
        await connection.execute("UPDATE memories SET sources = '{900}', run_id = NULL, turn_id = NULL WHERE id = 901")
        await connection.execute(
            f"CREATE TABLE strange AS SELECT '{marks['strange']}' AS a FROM generate_series(1, 500)"
        )
        await connection.execute("ANALYZE")
    finally:
        await connection.close()
    return marks


ROOM_ROWS = ("actions", "calls", "exposures", "memories", "runs", "turns")


async def in_files(url: str, marks: dict[str, str]) -> set[str]:
    """The marks that the files of a database hold."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CHECKPOINT")
        folder = Path(await connection.fetchval("SHOW data_directory")) / "base"
        folder /= str(await connection.fetchval("SELECT oid FROM pg_database WHERE datname = current_database()"))
    finally:
        await connection.close()
    if not os.access(folder, os.R_OK):
        pytest.skip("the server's files can't be read from here")
    held = b"".join(file.read_bytes() for file in folder.iterdir())
    return {name for name, mark in marks.items() if mark.encode() in held}


def in_dump(url: str, marks: dict[str, str]) -> set[str]:
    done = subprocess.run([pg_dump(), "--inserts", url], capture_output=True, text=True, check=True)
    plain = done.stdout
    return {n for n, mark in marks.items() if mark in plain or mark.encode().hex() in plain}


@pytest.mark.parametrize("via", ["template", "dump"])
async def test_forks_carry_no_secret_and_nothing_of_participants(home: Database, via: databases.Via) -> None:
    await lived(home)
    marks = await marked(home)
    made = await worlds.make(home, "clean", via=via)
    assert made.via == via
    there = await inside(home, "clean")
    assert in_dump(there, marks) == set()
    assert await in_files(there, marks) == set()
    assert await asked(there, "SELECT count(*) FROM runs") == await asked(there, "SELECT count(*) FROM turns") / 6 == 1  # type: ignore[operator]
    assert await state_at(there) == await state_at(home.url)
    assert schema(there) == [s for s in schema(home.url) if "public.strange" not in s]


async def test_control_a_plain_copy_holds_every_mark(home: Database, url: str) -> None:
    marks = await marked(home)
    await home.close()
    name = f"plain_{uuid4().hex[:8]}"
    at = with_database(url, "postgres")
    await run_sql(at, f'CREATE DATABASE "{name}" TEMPLATE "{url.split("?")[0].rsplit("/", 1)[1]}"')
    try:
        plain = with_database(url, name)
        assert await in_files(plain, marks) == in_dump(plain, marks) == set(marks)
    finally:
        await run_sql(at, f'DROP DATABASE "{name}" WITH (FORCE)')
        home.pool = (await Database.open(url, size=2)).pool


async def test_control_what_is_emptied_only_is_still_in_the_statistics(
    home: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> None:
        pass

    marks = await marked(home)
    monkeypatch.setattr(databases, "_without_statistics", nothing)
    monkeypatch.setattr(databases, "_rewritten", nothing)
    await worlds.make(home, "half", via="template")
    there = await inside(home, "half")
    assert in_dump(there, marks) == set()
    assert {"admin", "identities"} <= await in_files(there, marks)


async def test_a_fork_has_no_admins_and_does_not_go_on_by_itself(home: Database, url: str) -> None:
    async with serving(settings_for(url)) as client:
        await sign_up(client)
    await lived(home)
    await run_sql(
        url,
        "UPDATE runs SET state = 'running'; UPDATE turns SET state = 'running', lease_until = now(), held_tokens = 5",
        "UPDATE instance SET halted_at = now(), world_at = '2030-01-01 00:00Z', scheduler_interval_minutes = 7",
        "DELETE FROM quarantines",
        "INSERT INTO quarantines (post_id, taken_by, admin_id, reason) SELECT min(id), 'admin', 1, 'r' FROM posts",
    )
    await worlds.make(home, "still")
    there = await inside(home, "still")
    connection = await asyncpg.connect(there)
    row = await connection.fetchrow(
        "SELECT i.*, r.state, (SELECT count(*) FROM admin) AS admins, (SELECT admin_id FROM quarantines) AS by,"
        " (SELECT max(held_tokens) FROM turns) AS held, (SELECT count(*) FROM turns WHERE state = 'queued') AS waiting,"
        " (SELECT count(*) FROM queue.pgqueuer) AS jobs FROM instance i, runs r"
    )
    await connection.close()
    assert row is not None
    assert (row["state"], row["admins"], row["by"], row["held"], row["waiting"], row["jobs"]) == (
        "stopped", 0, None, 0, 6, 0,
    )  # fmt: skip
    assert (row["bootstrapped_at"], row["halted_at"], row["world_at"].year) == (None, None, 2030)
    async with serving(settings_for(there)) as client:
        refused = await client.post("/auths/login", data={"username": "ada", "password": "a long enough password"})
        assert refused.status_code == 401
        await sign_up(client)  # its own first admin
    assert BOOTSTRAP


# Holding the source still


async def storm(url: str, until: asyncio.Event, done: list[int], refused: list[BaseException]) -> None:
    """Writers through a pool such as servers have; what is acknowledged is noted."""
    database = await Database.open(url, size=10)

    async def write(writer: int) -> None:
        n = writer * 1_000_000
        while not until.is_set():
            n += 1
            try:
                await database.fetchval("INSERT INTO login_attempts VALUES ($1, now(), 1)", f"storm {n}")
                done.append(n)
            except TROUBLE as error:
                refused.append(error)
                await asyncio.sleep(0.05)

    await asyncio.gather(*(write(writer) for writer in range(1, 17)))
    await database.close()


async def test_a_fork_in_a_storm_of_writers_and_a_running_cycle_loses_nothing(home: Database, url: str) -> None:
    await people(home, 30)
    until, done, refused = asyncio.Event(), list[int](), list[BaseException]()
    busy = Database(url, (await Database.open(url, size=8)).pool)
    async with a_mind(busy) as mind:
        storming = asyncio.create_task(storm(url, until, done, refused))
        cycles: list[int] = []

        async def play() -> None:
            while not until.is_set():
                run_id = None
                while run_id is None:
                    try:
                        run_id = await open_cycle(mind, SETTINGS)
                    except TROUBLE:
                        await asyncio.sleep(0.05)
                cycles.append(run_id)
                try:
                    await play_cycle(mind, SETTINGS, run_id)
                except TROUBLE:
                    await asyncio.sleep(0.05)

        playing = asyncio.create_task(play())
        while len(done) < 200 or not cycles:
            await asyncio.sleep(0.02)
        made = await worlds.make(home, "busy", via="template")
        wrote = len(done)
        while len(done) < wrote + 200:  # they go on
            await asyncio.sleep(0.02)
        until.set()
        await asyncio.gather(storming, playing)
        for run_id in cycles:
            await play_cycle(mind, SETTINGS, run_id)
    await busy.close()
    assert made.via == "template"
    kept = {row[0] for row in await home.fetch("SELECT key FROM login_attempts WHERE key LIKE 'storm %'")}
    assert {f"storm {n}" for n in done} <= kept
    assert len(kept) <= len(done) + len(refused)
    bad = await home.fetch("SELECT state, reason FROM turns WHERE state IN ('failed', 'deferred', 'queued', 'running')")
    assert [tuple(row) for row in bad] == []
    async with home.connection() as connection:
        assert [finding for finding in await check(connection) if finding.violations] == []
    fork = await Database.open(await inside(home, "busy"), size=2)
    try:
        async with fork.connection() as connection:
            assert [finding for finding in await check(connection) if finding.violations] == []
    finally:
        await fork.close()


async def test_control_without_dispersing_nobody_can_copy_a_world_in_use(
    home: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(databases.WORLDS, "disperse", "SELECT $1::text, $2::bool")
    monkeypatch.setattr(databases, "TEMPLATE_TRIES", 1)
    with pytest.raises(Conflict, match="in use"):
        await worlds.make(home, "no", via="template")


async def test_a_server_answers_200_or_503_while_its_world_is_forked(home: Database, url: str) -> None:
    await lived(home)
    seen: list[httpx2.Response] = []
    async with serving(settings_for(url)) as client:
        over = asyncio.Event()

        async def read(path: str) -> None:
            while not over.is_set():
                seen.append(await client.get(path))
                await asyncio.sleep(0)

        readers = [
            asyncio.create_task(read(path)) for path in ("/posts?sort=hot", "/persona/1", "/feed?q=a", "/posts/1")
        ]
        for n in range(3):
            await worlds.make(home, f"n{n}", via="template")
        over.set()
        await asyncio.gather(*readers)
        assert (await client.get("/posts")).status_code == 200
    assert {answer.status_code for answer in seen} <= {200, 503}
    assert all("retry-after" in answer.headers for answer in seen if answer.status_code == 503)


async def test_strangers_are_not_cut_off(home: Database, url: str) -> None:
    await lived(home)
    stranger = await asyncpg.connect(url, server_settings={"application_name": "psql"})
    try:
        with pytest.raises(databases.Occupied, match=r"others are connected .*psql"):
            await worlds.make(home, "held", via="template")
        said: list[str] = []
        made = await worlds.make(home, "held", told=said.append)
        assert made.via == "dump"
        assert any("psql" in words and "row by row" in words for words in said)
        assert await stranger.fetchval("SELECT 1") == 1
    finally:
        await stranger.close()
    assert await state_at(await inside(home, "held")) == await state_at(url)


# Names, rights, lives


HOSTILE = ('a"; DROP DATABASE postgres; --', "a'b", "a/b", "a\n", "a\x00", "$1", "a%s")


@pytest.mark.parametrize("name", ["", "home", "HOME", "-a", ".a", "a b", "ä", "x" * 41, *HOSTILE])
async def test_names_that_are_refused(home: Database, name: str) -> None:
    with pytest.raises(Invalid):
        await worlds.make(home, name, kind="made")
    assert await home.fetchval("SELECT count(*) FROM worlds") == 0


@pytest.mark.parametrize("name", ["a", "x" * 40, "9..__--", "Select", "a.b-c_D"])
def test_databases_of_names_are_short_and_plain(name: str) -> None:
    made = databases.new_database(databases.checked_name(name))
    assert made.startswith(databases.PREFIX)
    assert len(made) <= 63
    assert made.replace("_", "a").isalnum()
    assert made == made.lower()


async def test_a_home_database_of_any_name(server_url: str, template: str) -> None:
    at, name = with_database(server_url, "postgres"), f"""ho"me'; x/y?%41é {uuid4().hex[:6]}"""
    quoted = databases.ident(name)
    await run_sql(at, f'CREATE DATABASE {quoted} TEMPLATE "{template}"')
    home = await Database.open(databases.with_database(server_url, name), size=2)
    try:
        made = await worlds.make(home, "a")
        assert made.source == HOME
        assert await worlds.drop(home, "a")
    finally:
        await home.close()
        await run_sql(at, f"DROP DATABASE {quoted} WITH (FORCE)")


@pytest.mark.parametrize(
    ("url", "there"),
    [
        ("postgresql://u:p%40@h:5/a", "postgresql://u:p%40@h:5/b%2F%3F"),
        ("postgresql+asyncpg://h/a?x=1", "postgresql://h/b%2F%3F?x=1"),
        ("postgresql:///a?host=/s", "postgresql:///b%2F%3F?host=/s"),
        ("postgres://h", "postgresql://h/b%2F%3F"),
    ],
)
def test_urls_of_other_databases(url: str, there: str) -> None:
    assert databases.with_database(url, "b/?") == there


async def test_a_name_is_taken_until_it_is_dropped(home: Database) -> None:
    made = await worlds.make(home, "one", kind="made")
    with pytest.raises(Conflict, match="there is a world ONE already"):
        await worlds.make(home, "ONE", kind="made")
    gone = await worlds.drop(home, "One")
    assert (gone.state, gone.database) == ("dropped", made.database)
    assert await home.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", made.database) == 0
    with pytest.raises(NotFound):
        await worlds.drop(home, "one")
    assert (await worlds.make(home, "one", kind="made")).database != made.database
    with pytest.raises(Invalid):
        await worlds.drop(home, "home")
    with pytest.raises(NotFound):
        await worlds.make(home, "two", source="nobody")
    assert [world.name for world in await worlds.everything(home)] == [HOME, "one"]


async def test_a_checkpoint_stays_as_it_is_and_is_gone_on_from(home: Database) -> None:
    await lived(home)
    await worlds.make(home, "kept", kind="checkpoint")
    before = await state_at(home.url)
    await run_sql(home.url, "UPDATE personas SET bio = 'changed'")
    there = await inside(home, "kept")
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await run_sql(there, "UPDATE personas SET bio = 'changed'")
    assert await state_at(there) == before != await state_at(home.url)
    again = await worlds.restore(home, "kept", "again")
    assert (again.kind, again.source) == ("fork", "kept")
    assert await state_at(await inside(home, "again")) == before
    await run_sql(await inside(home, "again"), "UPDATE personas SET bio = 'mine'")
    assert await state_at(there) == before
    with pytest.raises(Invalid, match="no checkpoint"):
        await worlds.restore(home, "again", "third")


async def test_an_older_world_is_brought_up_to_date_when_it_is_opened(home: Database) -> None:
    await worlds.make(home, "old", kind="checkpoint")
    row = await home.fetchrow("SELECT database FROM worlds")
    assert row is not None
    there = with_database(home.url, row["database"])
    old = databases.writable(there)
    await run_sql(old, "DROP SCHEMA public CASCADE; DROP SCHEMA queue CASCADE; CREATE SCHEMA public")
    await migrate.upgrade(old, "0006")
    assert (await migrate.status(there)).pending[0] == "0007"
    assert await inside(home, "old") == there
    assert not (await migrate.status(there)).pending


async def test_a_role_that_may_not_create_databases_is_told_so(home: Database, url: str) -> None:
    role = f"poor_{uuid4().hex[:6]}"
    await run_sql(url, f"CREATE ROLE {role} LOGIN PASSWORD 'x'", f"GRANT pg_read_all_data, pg_write_all_data TO {role}")
    poor = await Database.open(as_role(url, role), size=2)
    try:
        for kind in ("fork", "made"):
            with pytest.raises(Misconfigured, match="CREATEDB"):
                await worlds.make(poor, "a", kind=kind)
        assert await home.fetchval("SELECT array_agg(state) FROM worlds") == ["dropped", "dropped"]
        await run_sql(url, f"ALTER ROLE {role} CREATEDB")
        with pytest.raises(Misconfigured, match="--via dump"):
            await worlds.make(poor, "a", via="template")
        made = await worlds.make(poor, "a")  # it may read all, but does not own the database
        assert made.via == "dump"
        assert (await worlds.drop(poor, "a")).state == "dropped"
    finally:
        await poor.close()
        await run_sql(url, f"DROP OWNED BY {role}; DROP ROLE {role}")


def as_role(url: str, role: str) -> str:
    return (
        url.replace("//postgres:", f"//{role}:")
        .replace("//simfeed@", f"//{role}@")
        .replace("//postgres@", f"//{role}@")
    )


async def test_an_owner_without_other_rights_forks_by_template(server_url: str) -> None:
    role, name = f"owner_{uuid4().hex[:6]}", f"owned_{uuid4().hex[:6]}"
    await run_sql(server_url, f"CREATE ROLE {role} LOGIN CREATEDB PASSWORD 'x'", f"CREATE DATABASE {name} OWNER {role}")
    url = as_role(with_database(server_url, name), role)
    await migrate.upgrade(url)
    home = await Database.open(url, size=2)
    try:
        await lived(home)
        assert (await worlds.make(home, "a", via="template")).via == "template"
        assert await state_at(await inside(home, "a")) == await state_at(url)
        await worlds.drop(home, "a")
    finally:
        await home.close()
        await run_sql(server_url, f"DROP DATABASE {name} WITH (FORCE)", f"DROP ROLE {role}")


DIES = """
import asyncio, os, signal, sys
from app.db import worlds as databases
from app.db.engine import Database
from app.world import worlds

async def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

async def main(url, what):
    home = await Database.open(url, size=2)
    if what == "drop":
        databases.drop = die
        await worlds.drop(home, "left")
    else:
        setattr(databases, what, die)
        await worlds.make(home, "left", kind="checkpoint", via="dump" if what == "_by_rows" else "template")

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("what", ["emptied", "_by_rows", "set_read_only", "drop"])
async def test_what_a_kill_leaves_is_gone_with_the_next_command(home: Database, what: str) -> None:
    if what == "drop":
        await worlds.make(home, "left")
    ended = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", DIES, home.url, what])
    assert ended.returncode == -signal.SIGKILL
    row = await home.fetchrow("SELECT state, database FROM worlds")
    assert row is not None
    assert row["state"] == ("dropping" if what == "drop" else "making")
    there = f"SELECT count(*) FROM pg_database WHERE datname = '{row['database']}'"
    assert await home.fetchval(there) == 1
    with pytest.raises(Conflict, match="not ready"):
        await inside(home, "left")
    for _ in range(50):  # the server takes a moment to see that the process is gone
        if await worlds.tidy(home) == ["left"]:
            break
        await asyncio.sleep(0.1)
    assert await home.fetchval(there) == 0
    assert await home.fetchval("SELECT state FROM worlds") == "dropped"


async def test_control_what_somebody_is_making_is_left_alone(home: Database) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    def told(words: str) -> None:
        begun.set()

    async def slow(*arguments: object, **more: object) -> None:
        begun.set()
        await go_on.wait()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(databases, "emptied", slow)
        making = asyncio.create_task(worlds.make(home, "mine", via="template", told=told))
        await begun.wait()
        while not await home.fetchval("SELECT count(*) FROM worlds WHERE state = 'making'"):
            await asyncio.sleep(0.01)
        assert await worlds.tidy(home) == []
        with pytest.raises(Conflict, match="being made"):
            await worlds.drop(home, "mine")
        go_on.set()
        assert (await making).state == "ready"


async def test_a_fork_that_fails_leaves_nothing(home: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(_: str) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(databases, "emptied", fails)
    with pytest.raises(RuntimeError):
        await worlds.make(home, "bad", via="template")
    row = await home.fetchrow("SELECT state, database FROM worlds")
    assert row is not None
    assert row["state"] == "dropped"
    assert await home.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", row["database"]) == 0


async def test_forks_at_once(home: Database) -> None:
    await lived(home)
    made = await asyncio.gather(*(worlds.make(home, f"n{n}", via="template") for n in range(3)))
    states = {(await state_at(await inside(home, world.name))).sha256 for world in made}
    assert states == {(await state_at(home.url)).sha256}


async def test_a_world_of_personas_of_its_own(home: Database) -> None:
    await people(home, 3)
    await worlds.make(home, "empty", kind="made")
    there = await Database.open(await inside(home, "empty"), size=2)
    try:
        assert await there.fetchval("SELECT count(*) FROM personas") == 0
        async with there.connection() as connection:
            await personas.add(connection, [PersonaSpec(username="solo", description="Alone.")])
        assert json.loads(json.dumps(await there.fetchval("SELECT count(*) FROM personas"))) == 1
    finally:
        await there.close()


@pytest.mark.parametrize("via", ["template", "dump"])
async def test_a_session_goes_on_in_a_fork_as_at_home(home: Database, via: databases.Via) -> None:
    number = await began(home, a_group(4, rounds=2), steps=5)
    async with a_mind(home) as mind:
        assert await play(mind, load_settings(), number) == "paused"
    await worlds.make(home, "there", via=via)
    there = await Database.open(await inside(home, "there"), size=4)
    try:
        ends = []
        for world in (home, there):
            await sessions.go_on(world, number)
            async with a_mind(world) as mind:
                assert await play(mind, load_settings(), number) == "completed"
            ends.append(plain(await said(world, number)))
    finally:
        await there.close()
    assert ends[0] == ends[1]
    assert len(ends[0]) > 5
