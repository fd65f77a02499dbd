"""The list of commands is told without importing them, and says what they say."""

import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from app.cli import COMMANDS, app, found

HEAVY = {"alembic", "asyncpg", "fastapi", "jose", "networkx", "openai", "pgqueuer", "pydantic", "rich", "sqlalchemy"}
HELP = """
from app.cli import main
sys.argv = ["simfeed", "--help"]
try: main()
except SystemExit: pass
"""


def imported(code: str) -> set[str]:
    """The modules that are there after `code`."""
    ran = subprocess.run(
        [sys.executable, "-c", f"import sys{code}\nprint()\nprint(*sys.modules)"],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return {name.partition(".")[0] for name in ran.stdout.splitlines()[-1].split()}


def test_the_list_of_commands_imports_none_of_them() -> None:
    assert imported(HELP) & HEAVY == set()


@pytest.mark.parametrize("group", [[], ["personas"]])
def test_a_group_without_a_command_shows_its_help(group: list[str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", "from app.cli import main; main()", *group], capture_output=True, text=True, timeout=120
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "\nCommands:\n" in ran.stderr


def test_control_the_help_of_one_imports_what_it_needs() -> None:
    assert imported(HELP.replace('"--help"', '"personas", "--help"')) & HEAVY >= {"asyncpg", "pydantic", "rich"}


def test_personas_need_neither_the_web_nor_the_vendor() -> None:
    assert imported("\nimport app.cli.personas") & HEAVY <= {"asyncpg", "pydantic", "rich"}


def test_the_list_is_whole() -> None:
    said = CliRunner().invoke(app, ["--help"]).output
    assert all(f"\n  {name} " in said for name in COMMANDS)


@pytest.mark.parametrize("name", [name for name in COMMANDS if hasattr(found(name), "commands")])
def test_a_groups_list_says_what_its_commands_do(name: str) -> None:
    said = CliRunner().invoke(app, [name, "--help"]).output.partition("\nCommands:\n")[2]
    assert all(f"\n  {command} " in f"\n{said}" for command in found(name).commands)
    assert not re.search(r"^  \S+ *$|Examples:", said, re.MULTILINE), said


@pytest.mark.parametrize("name", COMMANDS)
def test_what_the_list_says_of_a_command_it_says_itself(name: str) -> None:
    words = COMMANDS[name][1]
    assert words in " ".join((found(name).help or "").split())
    assert len(words) < 70, "one line of a terminal"
