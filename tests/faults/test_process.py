"""P7, P8, P10–P12: clocks that lie, few file descriptors, a busy event loop, a log that can't be written."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest

from app.auth import passwords
from app.cli import doctor
from app.db.engine import Database
from app.venues import run as run_module
from app.venues.feed import open_cycle
from tests.conftest import BOOTSTRAP, PASSWORD, SECRET, a_mind, free_port, serving, settings_for
from tests.faults.own import SETTINGS, broken, played
from tests.venues.test_cycle import people

SERVE = """
import sys, uvicorn
from app.main import create_app
from app.web.server import options
{before}
uvicorn.run(create_app(), host="127.0.0.1", port=int(sys.argv[1]), **options())
"""
UNGUARDED = "from app import logs; logs._Stderr.write = lambda _, text: sys.stderr.write(text) and sys.stderr.flush()"


@contextmanager
def server(url: str, *, shell: str = "exec", before: str = "", log_level: str = "info") -> Iterator[str]:
    """The application in a process of its own, begun by `shell`."""
    port = free_port()
    given = {"PATH": os.environ["PATH"], "DATABASE_URL": url, "SECRET_KEY": SECRET, "BOOTSTRAP_TOKEN": BOOTSTRAP}
    more = {"SCHEDULER_ENABLED": "false", "LOG_LEVEL": log_level, "RATE_LIMIT_PER_MINUTE": "0"}
    words = ["/bin/bash", "-c", f'{shell} "$@"', "sh", sys.executable, "-c", SERVE.format(before=before), str(port)]
    with subprocess.Popen(words, env={**given, **more}) as process:
        try:
            deadline = time.monotonic() + 90
            while process.poll() is None and time.monotonic() < deadline:
                with socket.socket() as knock:
                    if knock.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
            assert process.poll() is None, "it died"
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


# P7, P8


@pytest.mark.parametrize("hours", [2, -2, 24 * 365 * 12])
async def test_p7_an_app_clock_that_is_wrong_orders_and_ends_nothing_wrongly(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """Leases, ends and order come from the database's clock; whoever is asleep waits by the monotonic one."""
    really, times = run_module.now, time.time
    monkeypatch.setattr("app.venues.feed.now", lambda: really() + timedelta(hours=hours))
    monkeypatch.setattr(time, "time", lambda: times() + hours * 3600)
    await people(database, 6)
    async with a_mind(database) as mind:
        run_id = await open_cycle(mind, SETTINGS)
        assert run_id is not None
        states = await played(mind, run_id)
    assert states.keys() <= {"done", "limit"}
    assert await database.fetchval("SELECT count(*) FROM calls WHERE latency_ms < 0") == 0
    assert await database.fetchval("SELECT count(*) FROM turns WHERE ended_at NOT BETWEEN started_at AND now()") == 0
    assert await broken(url) == {}


@pytest.mark.parametrize(("minutes", "ok"), [(0, True), (10, False), (-10, False)])
async def test_p8_doctor_tells_of_a_clock_that_is_off(
    url: str, monkeypatch: pytest.MonkeyPatch, minutes: int, ok: bool
) -> None:
    class Off(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + timedelta(minutes=minutes)

    monkeypatch.setattr(doctor, "datetime", Off)
    (clock,) = [check for check in await doctor._database(url, 4) if check.what == "clock"]
    assert clock.ok == ok


# P10


def test_p10_few_file_descriptors(url: str) -> None:
    """More clients than it can hold: it says no or lets them wait, lives, and serves when they are gone."""
    with server(url, shell="ulimit -n 64; exec") as address:
        with ExitStack() as clients:
            for _ in range(120):
                try:
                    clients.enter_context(socket.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1])), 2))
                except OSError:
                    break
            time.sleep(0.3)
        with httpx2.Client(base_url=address, timeout=30) as client:
            for path in ("/livez", "/posts", "/readyz"):
                assert client.get(path).status_code == 200


# P11


async def lag(seconds: float, begin: asyncio.Event) -> list[float]:
    """How late a task of the loop was woken, in seconds."""
    found = []
    begin.set()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        before = time.monotonic()
        await asyncio.sleep(0.005)
        found.append(time.monotonic() - before - 0.005)
    return sorted(found)


async def lag_under_logins(url: str) -> list[float]:
    """Of the loop, while fifty sign in a second."""
    async with serving(settings_for(url, login_attempts_per_account=10**9)) as client:
        await passwords.hashed(PASSWORD)
        begin = asyncio.Event()
        measuring = asyncio.create_task(lag(1.2, begin))
        await begin.wait()
        answers = []
        for n in range(50):
            form = {"username": "ada", "password": PASSWORD if n % 2 else "wrong" * 4}
            answers.append(asyncio.create_task(client.post("/auths/login", data=form)))
            await asyncio.sleep(0.02)
        assert {answer.status_code for answer in await asyncio.gather(*answers)} <= {200, 401, 429, 503}
        return await measuring


def takes_long(*_: object) -> bool:
    """A password's hash on a busy machine."""
    time.sleep(0.15)
    return False


async def test_p11_fifty_logins_a_second_do_not_hold_up_the_loop(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside its control: hashing on the loop holds it up for as long as the hashes take."""

    class Here(ThreadPoolExecutor):
        def submit(self, work: Any, /, *given: Any, **more: Any) -> "Future[Any]":
            found: Future[Any] = Future()
            found.set_result(work(*given, **more))
            return found

    monkeypatch.setattr(passwords, "_verify", takes_long)
    aside = await lag_under_logins(url)
    monkeypatch.setattr(passwords, "_THREADS", Here())
    on_the_loop = await lag_under_logins(url)
    assert on_the_loop[int(len(on_the_loop) * 0.95)] > 0.1
    assert aside[int(len(aside) * 0.95)] < on_the_loop[int(len(on_the_loop) * 0.95)]


# P12


@pytest.mark.parametrize(
    "shell",
    [
        "exec >/dev/full 2>/dev/full; exec",
        "exec 2>&-; exec",
        "exec >&-; exec",
    ],
)
def test_p12_a_log_that_cannot_be_written_fails_no_request(url: str, shell: str) -> None:
    with server(url, shell=shell) as address, httpx2.Client(base_url=address, timeout=30) as client:
        statuses = [client.get(path).status_code for path in ("/posts", "/feed", "/nothing", "/livez") * 10]
    assert statuses == [200, 200, 404, 200] * 10


def test_p12_control_without_the_guard_requests_fail(url: str) -> None:
    with (
        server(url, shell="exec 2>/dev/full; exec", before=UNGUARDED) as address,
        httpx2.Client(base_url=address, timeout=30) as client,
    ):
        statuses = []
        for _ in range(5):
            try:
                statuses.append(client.get("/posts").status_code)
            except httpx2.HTTPError:
                statuses.append(0)
    assert set(statuses) != {200}
