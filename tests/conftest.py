"""A real PostgreSQL for every test that touches data, a server to ask, and an admin to ask as."""

import os
import secrets
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import hypothesis
import pytest
from asgi_lifespan import LifespanManager

from app.agent.turn import Limits, Mind
from app.db import embedded, migrate
from app.db.engine import Database
from app.ledger.commit import Committer
from app.ledger.pulse import Pulse
from app.llm.gateway import Gateway
from app.main import create_app
from app.settings import Settings, load_settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background job: children must hear Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile("unhurried", deadline=None)  # how long an example takes, the machine decides
hypothesis.settings.load_profile("unhurried")

SECRET = "tests-only-0123456789-abcdefghij-KLMNOP"
BOOTSTRAP = "sf_boot_tests-only-0123456789"
PASSWORD = "a long enough password"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SETTING_NAMES = [name.upper() for name in Settings.model_fields]


LONGEST = (
    "cli/test_session_cli.py",
    "cli/test_study_test.py",
    "venues/test_kill.py",
    "web/test_contract_rooms.py",
    "web/test_socket_faults.py",
    "venues/test_rooms_driving.py",
    "browser/test_study_pages.py",
    "browser/test_taking_part.py",
    "browser/test_pages.py",
    "web/test_events.py",
    "db/test_embedded.py",
    "faults/test_database.py",
    "browser/test_journeys.py",
    "faults/test_process.py",
    "cli/test_runs.py",
    "web/test_openapi.py",
    "cli/test_cli.py",
    "cli/test_posts.py",
    "cli/test_up.py",
)
"""The files that take longest, in the order in which workers take them: one that came last would be waited for."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        places = {f"tests/{name}": place for place, name in enumerate(LONGEST)}
        items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting or key of the developer's reaches a test."""
    for name in SETTING_NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The world's time stands still: what the offline model does depends on it, and it is the same on every day."""
    monkeypatch.setattr("app.venues.feed.now", lambda: NOON)


def docker_answers() -> bool:
    """Whether a Docker daemon is there, by a raw ping on its socket."""
    try:
        with socket.socket(socket.AF_UNIX) as ping:
            ping.settimeout(1)
            ping.connect("/var/run/docker.sock")
            ping.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b"OK" in ping.recv(1024)
    except OSError:
        return False


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """A PostgreSQL server: TEST_DATABASE_URL, else a container, else the embedded one, in memory if there is room."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
    elif docker_answers():
        from testcontainers.community.postgres import PostgresContainer  # takes 0.8 s to import

        with PostgresContainer("postgres:17-alpine", driver=None) as container:
            yield container.get_connection_url()
    else:
        shm = Path("/dev/shm")
        roomy = shm.is_dir() and os.access(shm, os.W_OK) and shutil.disk_usage(shm).free > 512 * 1024**2
        base = shm if roomy else None
        with embedded.throwaway(base=base, durable=False, options={"max_connections": "200"}) as server:
            yield server.url("postgres")


def free_port() -> int:
    """A port below those that the system gives to whoever asks for any, so that nobody takes it meanwhile."""
    while True:
        with socket.socket() as probe:
            port = secrets.randbelow(12_000) + 20_000
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port


def with_database(url: str, name: str) -> str:
    """`url` with another database's name."""
    head, _, query = url.partition("?")
    return head.rsplit("/", 1)[0] + f"/{name}" + (f"?{query}" if query else "")


async def run_sql(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
async def template(server_url: str) -> AsyncIterator[str]:
    """A migrated, empty world that every test's world is a copy of."""
    name = f"template_{uuid4().hex[:12]}"
    await run_sql(server_url, f'CREATE DATABASE "{name}"')
    await migrate.upgrade(with_database(server_url, name))
    yield name
    await run_sql(server_url, f'DROP DATABASE "{name}" WITH (FORCE)')


@asynccontextmanager
async def copy_of(server_url: str, template: str) -> AsyncIterator[str]:
    name = f"world_{uuid4().hex[:12]}"
    await run_sql(server_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
    try:
        yield with_database(server_url, name)
    finally:
        await run_sql(server_url, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
async def url(server_url: str, template: str) -> AsyncIterator[str]:
    """A world of the test's own."""
    async with copy_of(server_url, template) as found:
        yield found


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    found = await Database.open(url, size=8)
    yield found
    await found.close()


def settings_for(url: str, **more: Any) -> Settings:
    """Settings of a server under test: no scheduler, no worker, no limits in the way, unless `more` says so."""
    given: dict[str, Any] = {
        "database_url": url,
        "secret_key": SECRET,
        "bootstrap_token": BOOTSTRAP,
        "scheduler_enabled": False,
        "worker_enabled": False,
        "rate_limit_per_minute": 0,
        "login_attempts_per_ip": 100_000,
        "login_delay_seconds": 0,
        "log_level": "error",
    }
    return load_settings(**{**given, **more})


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the whole application, lifespan included."""
    app = create_app(settings)
    async with LifespanManager(app, startup_timeout=60, shutdown_timeout=60) as running:
        transport = httpx2.ASGITransport(app=running.app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://simfeed.test") as client:
            yield client


@pytest.fixture
async def client(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(settings_for(url)) as found:
        yield found


async def sign_up(client: httpx2.AsyncClient, username: str = "ada") -> dict[str, str]:
    """Register the first admin and return its headers."""
    person = {"username": username, "email": f"{username}@example.org", "password": PASSWORD}
    answer = await client.post("/auths/register", json={**person, "bootstrap_token": BOOTSTRAP})
    assert answer.status_code == 201, answer.text
    return await sign_in(client, username)


async def sign_in(client: httpx2.AsyncClient, username: str = "ada", password: str = PASSWORD) -> dict[str, str]:
    answer = await client.post("/auths/login", data={"username": username, "password": password})
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


@pytest.fixture
async def admin(client: httpx2.AsyncClient) -> dict[str, str]:
    """The headers of a signed-in admin."""
    return await sign_up(client)


@asynccontextmanager
async def a_mind(
    database: Database, model: Any = None, limits: Limits | None = None, pulse: Pulse | None = None
) -> AsyncIterator[Mind]:
    """All that turns need, with the offline model unless another is given."""
    async with Committer(database, lease_seconds=20) as committer:
        chosen = model or Gateway(load_settings())
        yield Mind(database, committer, chosen, limits or Limits(), pulse or Pulse())


@pytest.fixture
async def mind(database: Database) -> AsyncIterator[Mind]:
    async with a_mind(database) as found:
        yield found
