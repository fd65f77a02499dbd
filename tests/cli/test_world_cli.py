"""`simfeed world`: worlds made, worked in, compared and dropped from the terminal."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from app.db.engine import Database
from app.world import moderation
from app.world.moderation import By
from tests.cli.test_cli import SEED, data, simfeed
from tests.conftest import run_sql, with_database


async def rows(url: str, query: str) -> list[asyncpg.Record]:
    """Over a connection of its own: while a command runs, no pool of ours would notice that it was cut off."""
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


@pytest.fixture
async def home(url: str) -> AsyncIterator[str]:
    """A world of twelve that has lived a cycle; what is made beside it is gone after the test."""
    assert simfeed(url, "personas", "import", str(SEED)).returncode == 0
    assert simfeed(url, "run", "--seed", "3").returncode == 0
    yield url
    for row in await rows(url, "SELECT database FROM worlds WHERE state <> 'dropped'"):
        await run_sql(with_database(url, "postgres"), f'DROP DATABASE IF EXISTS "{row["database"]}" WITH (FORCE)')


def sha(url: str, *words: str) -> str:
    done = simfeed(url, "world", "hash", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


async def test_a_fork_is_worked_in_and_told_apart(home: str) -> None:
    made = data(simfeed(home, "world", "fork", "try", "--note", "what if", "--json"))
    assert (made["name"], made["kind"], made["source"], made["via"], made["run_id"]) == (
        "try",
        "fork",
        "home",
        "template",
        1,
    )
    assert sha(home) == sha(home, "try") == sha(home, "try", "--part", "all")
    assert len(sha(home)) == 64
    assert "are the same" in simfeed(home, "world", "diff", "home", "try").stderr
    run = data(simfeed(home, "run", "--world", "try", "--seed", "4", "--json"))
    assert (run["run"], run["state"]) == (2, "completed")
    assert data(simfeed(home, "runs", "--json", SIMFEED_WORLD="try"))[0]["id"] == 2
    assert data(simfeed(home, "runs", "--json"))[0]["id"] == 1
    assert data(simfeed(home, "trace", "2", "--world", "try", "--json"))["turns"]
    assert len(data(simfeed(home, "personas", "list", "--world", "try", "--json"))) == 12
    assert simfeed(home, "doctor", "--invariants", "--world", "try").returncode == 0
    found = data(simfeed(home, "world", "diff", "home", "try", "--limit", "2", "--json"))
    by = {one["table"]: one for one in found["tables"]}
    assert not found["equal"]
    assert (by["runs"]["only_a"], by["runs"]["only_b"]) == (0, 1)
    assert all(len(one["first"]) <= 2 for one in found["tables"])
    listed = data(simfeed(home, "world", "list", "--json"))
    assert [(w["name"], w["state"], w["note"]) for w in listed] == [("home", "ready", ""), ("try", "ready", "what if")]
    asked = simfeed(home, "world", "drop", "try")
    assert asked.returncode == 2
    assert "--yes" in asked.stderr
    assert simfeed(home, "world", "drop", "try", "--yes").returncode == 0
    gone = simfeed(home, "runs", "--world", "try")
    assert gone.returncode == 2
    assert "simfeed world list" in gone.stderr
    deeds = [tuple(row) for row in await rows(home, "SELECT action, subject FROM audit ORDER BY id")]
    assert deeds == [("world.made", "try"), ("world.dropped", "try")]


async def test_diff_finds_exactly_what_a_counterfactual_changed(home: str) -> None:
    data(simfeed(home, "world", "fork", "if", "--json"))
    (row,) = await rows(home, "SELECT database FROM worlds")
    (post,) = await rows(
        home,
        "SELECT p.id, p.body, a.username FROM posts p JOIN personas a ON a.id = p.author_id"
        " WHERE NOT p.hidden AND NOT EXISTS (SELECT FROM posts r WHERE r.repost_of = p.id) AND p.repost_of IS NULL"
        " AND NOT EXISTS (SELECT FROM marks m WHERE m.source_id = p.id OR m.object_id = p.id) ORDER BY p.id LIMIT 1",
    )
    there = await Database.open(with_database(home, row["database"]), size=2)
    async with there.connection() as connection, connection.transaction():
        await moderation.quarantine(connection, post["id"], by=By("operator"), reason="what if it never was")
    await there.close()
    found = data(simfeed(home, "world", "diff", "home", "if", "--json"))
    differs = {one["table"]: one for one in found["tables"] if one["only_a"] or one["only_b"] or one["changed"]}
    assert {name: (o["only_a"], o["only_b"], o["changed"]) for name, o in differs.items()} == {
        "posts": (0, 0, 1), "post_counts": (0, 0, 1), "quarantines": (0, 1, 0),
    }  # fmt: skip
    (changed,) = differs["posts"]["first"]
    assert changed["columns"] == {"hidden": ["false", "true"]}
    readable = simfeed(home, "world", "diff", "home", "if")
    line = next(line for line in readable.stdout.splitlines() if line.startswith(f"posts {post['id']} "))
    assert f"@{post['username']}" in line
    assert post["body"][:40] in line
    assert "    hidden: false → true" in readable.stdout


async def test_a_checkpoint_and_what_goes_on_from_it(home: str) -> None:
    kept = simfeed(home, "world", "checkpoint", "before")
    assert (kept.returncode, kept.stdout) == (0, "")
    assert "simfeed world restore before NAME" in kept.stderr
    refused = simfeed(home, "run", "--world", "before")
    assert refused.returncode == 69
    assert "read-only" in refused.stderr
    for words in (["before"], ["before", "x", "--as-home"]):
        said = simfeed(home, "world", "restore", *words)
        assert said.returncode == 2
        assert "--world NAME" in said.stderr
    assert data(simfeed(home, "world", "restore", "before", "again", "--json"))["source"] == "before"
    assert sha(home, "again") == sha(home, "before")


async def test_a_new_world_with_its_own_people(home: str, tmp_path: Path) -> None:
    assert data(simfeed(home, "world", "create", "quiet", "--json"))["kind"] == "made"
    assert data(simfeed(home, "personas", "list", "--world", "quiet", "--json")) == []
    data(simfeed(home, "world", "create", "town", "--personas", str(SEED), "--json"))
    assert len(data(simfeed(home, "personas", "list", "--world", "town", "--json"))) == 12
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps([{"username": "a b", "description": "x"}]))
    refused = simfeed(home, "world", "create", "bad", "--personas", str(wrong))
    assert refused.returncode == 2
    assert "username" in refused.stderr
    assert [w["name"] for w in data(simfeed(home, "world", "list", "--json"))] == ["home", "quiet", "town"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fork", "home"], "a world's name has"),
        (["fork", 'a"; DROP DATABASE postgres; --'], "a world's name has"),
        (["fork", "a", "--from", "nobody"], "no world 'nobody'"),
        (["drop", "home", "--yes"], "home world can't be dropped"),
        (["hash", "nobody"], "no world 'nobody'"),
        (["hash", "--without", "posts.nothing"], "no column"),
        (["hash", "--without", "admin.email"], "no column"),
        (["restore", "nobody", "x"], "no world 'nobody'"),
        (["diff", "home", "x" * 300], "no world"),
    ],
)
def test_what_can_not_be(url: str, words: list[str], said: str) -> None:
    done = simfeed(url, "world", *words)
    assert done.returncode == 2, done.stderr
    assert said in " ".join(done.stderr.split())
    assert done.stdout == ""
