"""Every setting, action, command and route is documented, and what the README shows runs."""

import re
import shlex
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.actions.feed import feed_actions
from app.cli import COMMANDS as NOUNS
from app.cli import app as cli
from app.cli import found
from app.settings import Settings
from tests.conftest import BOOTSTRAP, settings_for
from tests.web.test_contract import populate

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
DOCS = README + REFERENCE


def commands(group: Any, name: str) -> list[str]:
    """The full names of all commands below a group."""
    if not hasattr(group, "commands"):
        return [name]
    return [path for child, command in group.commands.items() for path in commands(command, f"{name} {child}")]


COMMANDS = [path for noun in NOUNS for path in commands(found(noun), f"simfeed {noun}")]


def test_all_commands_are_looked_at() -> None:
    assert len(COMMANDS) >= 20


@pytest.mark.parametrize("name", [name.upper() for name in Settings.model_fields])
def test_every_setting_is_documented(name: str) -> None:
    assert f"`{name}`" in REFERENCE


@pytest.mark.parametrize("name", feed_actions().by_name)
def test_every_action_is_documented(name: str) -> None:
    assert f"`{name}`" in REFERENCE


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    assert f"`{command}" in DOCS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_commands_help_leads_with_examples(command: str) -> None:
    from typer.testing import CliRunner

    answer = CliRunner().invoke(cli, [*command.split()[1:], "--help"])
    assert answer.exit_code == 0
    body = answer.output.split("Usage:", 1)[1].split("\n", 2)[2]
    assert body.strip().startswith("Examples:"), answer.output


async def test_every_route_is_documented(client: httpx2.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    missing = [
        f"{method.upper()} {path}"
        for path, operations in paths.items()
        for method in operations
        if f"`{method.upper()} {path}`" not in REFERENCE
    ]
    assert missing == []


def test_every_script_is_documented() -> None:
    scripts = [path.name for path in (ROOT / "bin").iterdir() if path.name != "install"]
    assert [name for name in scripts if f"bin/{name}" not in DOCS] == []


def shown_requests() -> list[list[str]]:
    """The curl commands of the README, continuation lines joined."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL)).replace("\\\n", " ")
    blocks = re.sub(r"\$\(curl -s (.*?) \|.*?\)$", r"\ncurl \1", blocks, flags=re.DOTALL | re.MULTILINE)
    found = re.findall(r"^(?:TOKEN=)?\s*(curl (?:[^'\n#]|'[^']*')+)", blocks, re.MULTILINE)
    return [shlex.split(command) for command in found]


def parsed(command: list[str]) -> tuple[str, str, dict[str, str], str]:
    """(method, path, headers, body) of a curl command."""
    method, url, headers, data = "", "", {}, []
    words = iter(command[1:])
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-d":
            data.append(next(words))
        else:
            url = word
    body = "&".join(data)
    if body and "Content-Type" not in headers:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    return method or ("POST" if body else "GET"), url.removeprefix("http://127.0.0.1:8000"), headers, body


async def test_every_request_of_the_readme_works(client: httpx2.AsyncClient, url: str) -> None:
    assert settings_for(url).bootstrap_token.get_secret_value() == BOOTSTRAP
    await populate(url)
    token = ""
    requests = [parsed(command) for command in shown_requests()]
    assert len(requests) >= 12
    for method, path, headers, body in requests:
        headers = {name: value.replace("$TOKEN", token) for name, value in headers.items()}
        answer = await client.request(method, path, headers=headers, content=body.replace('"TOKEN"', f'"{BOOTSTRAP}"'))
        assert answer.status_code < 300, (method, path, answer.text)
        if path == "/auths/login":
            token = answer.json()["access_token"]
    assert token
