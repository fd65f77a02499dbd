"""The command line on a real database: data on stdout, talk on stderr, exit codes, nothing changed by bad input."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import run_sql

SEED = Path(__file__).parents[2] / "sql" / "seed" / "personas.json"
SIMFEED = [".venv/bin/simfeed"] if Path(".venv/bin/simfeed").exists() else ["simfeed"]


def environment(url: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "DATABASE_URL": url}


def simfeed(url: str, *args: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    given = environment(url) | env
    return subprocess.run([*SIMFEED, *args], capture_output=True, text=True, env=given, input=stdin, timeout=120)


def data(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def seeded(url: str) -> str:
    done = simfeed(url, "personas", "import", str(SEED), "--json")
    assert data(done)["imported"] == 12
    return url


def test_a_cycle_and_its_trace(seeded: str) -> None:
    result = data(simfeed(seeded, "run", "--seed", "3", "--json"))
    assert result["state"] == "completed"
    assert result["turns"]["total"] > 0
    assert result["failed_calls"] == 0
    assert result["cost_usd"] == 0
    run = data(simfeed(seeded, "trace", str(result["run"]), "--json"))
    assert len(run["turns"]) == result["turns"]["total"]
    turn = data(simfeed(seeded, "trace", "--turn", str(run["turns"][0]["id"]), "--json"))
    assert [message["role"] for message in turn["steps"][0]["told"]] == ["system", "user"]
    readable = simfeed(seeded, "trace", "--turn", str(run["turns"][0]["id"]))
    assert "You are @" in readable.stdout
    assert [r["state"] for r in data(simfeed(seeded, "runs", "--json"))] == ["completed"]


def test_personas_from_end_to_end(seeded: str, tmp_path: Path) -> None:
    exported = tmp_path / "people.csv"
    assert simfeed(seeded, "personas", "export", "--format", "csv", "-o", str(exported)).returncode == 0
    again = simfeed(seeded, "personas", "import", str(exported))
    assert again.returncode == 2
    assert "taken" in again.stderr
    skipped = data(simfeed(seeded, "personas", "import", str(exported), "--skip-invalid", "--json"))
    assert skipped["imported"] == 0
    added = data(simfeed(seeded, "personas", "add", "prof", "Loves compilers.", "--json"))
    assert simfeed(seeded, "personas", "pause", "prof").returncode == 0
    assert data(simfeed(seeded, "personas", "show", str(added["id"]), "--json"))["status"] == "paused"
    assert simfeed(seeded, "personas", "remove", "prof", "--dry-run").returncode == 0
    refused = simfeed(seeded, "personas", "remove", "prof")
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert simfeed(seeded, "personas", "remove", "prof", "--yes").returncode == 0
    gone = simfeed(seeded, "personas", "show", "prof")
    assert (gone.returncode, gone.stdout) == (2, "")
    assert len(data(simfeed(seeded, "personas", "list", "--json"))) == 12


def test_one_wrong_record_imports_nothing(url: str, tmp_path: Path) -> None:
    file = tmp_path / "people.json"
    file.write_text('[{"username": "a", "description": "x"}, {"username": "b", "description": "x", "temperature": 9}]')
    done = simfeed(url, "personas", "import", str(file))
    assert done.returncode == 2
    assert "record 2" in done.stderr
    assert "temperature" in done.stderr
    assert data(simfeed(url, "personas", "list", "--json")) == []
    assert data(simfeed(url, "personas", "import", str(file), "--skip-invalid", "--json"))["imported"] == 1


def test_the_dry_run_and_stdin(url: str) -> None:
    line = '{"username": "a", "description": "x"}\n'
    assert data(simfeed(url, "personas", "import", "-", "--dry-run", "--json", stdin=line))["imported"] == 0
    assert data(simfeed(url, "personas", "import", "-", "--json", stdin=line))["imported"] == 1


def test_admins(url: str) -> None:
    done = simfeed(url, "admin", "invite", "ada@example.org")
    assert done.stdout.startswith("sf_inv_")
    assert simfeed(url, "admin", "invite", "not an address").returncode == 2
    assert data(simfeed(url, "admin", "list", "--json")) == []
    unknown = simfeed(url, "admin", "reset-password", "nobody")
    assert (unknown.returncode, unknown.stdout) == (2, "")


async def test_keys_and_authenticators_of_admins(url: str) -> None:
    await run_sql(
        url,
        "INSERT INTO admin (username, email, password_hash) VALUES ('ada', 'ada@example.org', 'x')",
        "INSERT INTO admin_totp (admin_id, secret, confirmed_at) VALUES (1, 'x', now())",
    )
    assert data(simfeed(url, "admin", "list", "--json"))[0]["role"] == "admin"
    assert data(simfeed(url, "admin", "invite", "e@x.org", "--observer", "--json"))["role"] == "observer"
    made = simfeed(url, "admin", "key", "create", "ada", "--name", "ci", "--days", "2")
    assert (made.returncode, len(made.stdout.strip())) == (0, 50), made.stderr
    for wrong in (["nobody", "--name", "ci"], ["ada", "--name", ""], ["ada", "--name", "ci", "--days", "366"]):
        refused = simfeed(url, "admin", "key", "create", *wrong)
        assert (refused.returncode, refused.stdout) == (2, ""), wrong
    listed = simfeed(url, "admin", "key", "list", "--json")
    assert made.stdout.strip() not in listed.stdout
    assert [(one["owner"], one["name"], one["state"]) for one in data(listed)] == [("ada", "ci", "live")]
    assert simfeed(url, "admin", "key", "revoke", "1").returncode == 0
    assert simfeed(url, "admin", "key", "revoke", "1").returncode == 2
    assert simfeed(url, "admin", "reset-totp", "ada").returncode == 0
    assert simfeed(url, "admin", "reset-totp", "ada").returncode == 2


def test_the_database_commands(url: str) -> None:
    status = data(simfeed(url, "db", "status", "--json"))
    assert status["pending"] == []
    assert simfeed(url, "db", "url").stdout.strip().startswith("postgresql://")
    assert simfeed(url, "db", "migrate").returncode == 0
    assert simfeed(url, "db", "reset", "--dry-run").returncode == 0
    assert simfeed(url, "db", "reset").returncode == 2
    assert simfeed(url, "personas", "add", "a", "x").returncode == 0
    assert simfeed(url, "db", "reset", "--yes").returncode == 0
    assert data(simfeed(url, "personas", "list", "--json")) == []


def test_the_offline_model_conforms(url: str) -> None:
    findings = data(simfeed(url, "models", "check", "scripted", "--json"))
    assert len(findings) == 5
    assert all(finding["ok"] for finding in findings)
    assert {entry["preset"] for entry in data(simfeed(url, "models", "list", "--json"))} >= {
        "scripted",
        "local",
        "openai",
        "ollama",
    }


def test_doctor(url: str) -> None:
    checks = {check["what"]: check for check in data(simfeed(url, "doctor", "--json"))}
    assert checks.keys() >= {"settings", "disk", "database", "migrations", "clock", "model"}
    lost = simfeed("postgresql://nobody@127.0.0.1:1/none", "doctor", "--json")
    assert lost.returncode == 1
    assert any(not check["ok"] and check["mend"] for check in json.loads(lost.stdout))


def test_personas_go_to_other_systems_and_come_back(seeded: str, tmp_path: Path) -> None:
    forms = {"tinytroupe": ["agents", "agents.zip"], "oasis-csv": ["users.csv"], "oasis-json": ["users.json"]}
    for form, names in forms.items():
        for name in names:
            done = simfeed(seeded, "personas", "export", "--format", form, "-o", str(tmp_path / name))
            assert (done.returncode, done.stdout) == (0, ""), done.stderr
            assert all(line.startswith("note: ") for line in done.stderr.splitlines())
            assert f"held by {form}" in done.stderr
            again = simfeed(seeded, "personas", "import", str(tmp_path / name), "--dry-run")
            assert "12 persona(s) would be imported" in again.stderr
    assert len(list((tmp_path / "agents").glob("*.agent.json"))) == 12
    one = simfeed(seeded, "personas", "export", "1", "--format", "tinytroupe")
    person = json.loads(one.stdout)["persona"]
    assert json.loads((tmp_path / "agents" / f"{person['username']}.agent.json").read_text())["persona"] == person


def test_a_pipe_is_written_to_and_not_replaced(seeded: str, tmp_path: Path) -> None:
    direct = simfeed(seeded, "personas", "export").stdout
    assert simfeed(seeded, "personas", "export", "-o", "/dev/stdout").stdout == direct
    pipe, linked = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    linked.symlink_to(tmp_path / "file")
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True)
    assert simfeed(seeded, "personas", "export", "-o", str(pipe)).returncode == 0
    assert reader.communicate(timeout=30)[0] == direct
    assert pipe.is_fifo()
    assert simfeed(seeded, "personas", "export", "-o", str(linked)).returncode == 0
    assert linked.is_symlink()
    assert (tmp_path / "file").read_text() == direct
    assert {path.name for path in tmp_path.iterdir()} == {"pipe", "link", "file"}


@pytest.mark.parametrize(
    ("args", "env", "code", "words"),
    [
        (["nonsense"], {}, 2, "nonsense"),
        (["run", "--seed", "x"], {}, 2, "seed"),
        (["run", "--model", "mystery-model"], {}, 78, "provider"),
        (["run", "--model", "gpt-4o-mini"], {}, 78, "OPENAI_API_KEY"),
        (["run"], {"SECRET_KEY": "short"}, 78, "SECRET_KEY"),
        (["run"], {"DATABASE_URL": "mysql://x/y"}, 78, "DATABASE_URL"),
        (["run"], {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}, 69, "database"),
        (["personas", "show", "nobody"], {}, 2, "nobody"),
        (["personas", "export", "--format", "toml"], {}, 2, "--format"),
        (["personas", "export", "--format", "tinytroupe"], {}, 2, "name a folder or a zip file"),
        (["personas", "export", "nobody"], {}, 2, "nobody"),
        (["personas", "import", "/no/such/file.json"], {}, 2, "no file"),
        (["personas", "add", "not a handle", "x"], {}, 2, "username"),
        (["personas", "add", "a", ""], {}, 2, "description"),
        (["trace", "999"], {}, 2, "999"),
        (["trace", "0"], {}, 2, "greater than or equal to 1"),
        (["up", "--model", "gpt-4o-mini"], {}, 78, "OPENAI_API_KEY"),
        (["up", "--host", "no.such.host.invalid"], {}, 69, "listen"),
        (["up", "--host", "300.1.2.3"], {}, 69, "300.1.2.3: it is no address of this machine"),
        (["up", "--host", "192.0.2.1"], {}, 69, "192.0.2.1: it is no address of this machine"),
        (["up", "--port", "1", "--home", "/dev/null/home"], {}, 78, "/dev/null/home can't be used"),
        (["personas", "export", "-o", "/no/such/folder/people.json"], {}, 78, "people.json"),
        (["personas", "export", "-o", "/dev/full"], {}, 78, "/dev/full can't be written: No space left on device"),
    ],
)
def test_bad_input_gets_one_line(url: str, args: list[str], env: dict[str, str], code: int, words: str) -> None:
    done = simfeed(url, *args, **env)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "Traceback" not in done.stderr
