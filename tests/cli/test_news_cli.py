"""`simfeed news`, and reports on the command line: what goes in, what is said, what is refused in one line."""

import json
from pathlib import Path

import pytest

from app.db.engine import Database
from app.world.effects import ReportPost
from tests.cli.test_cli import data, simfeed
from tests.world.test_moderation import World
from tests.world.test_news import BOMB, RSS


async def test_add_list_and_withdraw(database: Database, url: str) -> None:
    assert "There is no news" in simfeed(url, "news", "list").stderr
    added = simfeed(
        url, "news", "add", "--title", "Rain [until] Monday", "--source", "Gull", "--url", "https://x.example/r"
    )
    assert (added.returncode, added.stdout) == (0, "")
    assert "Item 1 is in the world" in added.stderr
    assert data(simfeed(url, "news", "add", "--title", "Soon", "--at", "2999-01-01", "--json")) == {
        "id": 2,
        "published": True,
    }
    assert "already" in simfeed(url, "news", "add", "--title", "Again", "--url", "https://x.example/r").stderr
    shown = simfeed(url, "news", "list").stdout
    assert "to come" in shown
    assert "[until]" in shown
    assert data(simfeed(url, "news", "withdraw", "1", "--json")) == {"id": 1, "withdrawn": True, "changed": True}
    assert "already" in simfeed(url, "news", "withdraw", "1").stderr
    assert [row["withdrawn_at"] is None for row in data(simfeed(url, "news", "list", "--json"))] == [True, False]
    deeds = await database.fetch("SELECT action FROM audit WHERE action LIKE 'news.%' ORDER BY id")
    assert [row["action"] for row in deeds] == ["news.published", "news.published", "news.withdrawn"]


def test_files_are_taken_whole_or_not_at_all(url: str, tmp_path: Path) -> None:
    feed = tmp_path / "feed.xml"
    feed.write_text(RSS)
    assert data(simfeed(url, "news", "import", str(feed), "--json"))["ids"] == [1, 2]
    again = simfeed(url, "news", "import", str(feed))
    assert "0 of 2 items are in the world, 2 known already" in again.stderr
    mixed = tmp_path / "items.jsonl"
    mixed.write_text('{"title": "Fine"}\n' + json.dumps({"title": "x", "url": "javascript:alert(1)"}) + "\n")
    refused = simfeed(url, "news", "import", str(mixed))
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "items.jsonl: item 2, url: must be an address that begins with http" in refused.stderr
    assert len(data(simfeed(url, "news", "list", "--json"))) == 2
    taken = data(simfeed(url, "news", "import", str(mixed), "--skip-invalid", "--json"))
    assert (taken["published"], [p["item"] for p in taken["problems"]]) == (1, [2])


@pytest.mark.parametrize(
    "words",
    [
        ("add", "--title", ""),
        ("add", "--title", "x" * 201),
        ("add", "--title", "x\x1b[2J"),
        ("add", "--title", "x", "--at", "soon"),
        ("add", "--title", "x", "--url", "ftp://x.example"),
        ("import", "none.xml"),
        ("withdraw", "9"),
        ("withdraw", "x"),
        ("add",),
    ],
)
def test_what_is_wrong_is_said_in_a_line(url: str, words: tuple[str, ...]) -> None:
    wrong = simfeed(url, "news", *words)
    assert wrong.returncode == 2, wrong.stderr
    assert wrong.stderr.count("\n") == 1


def test_hostile_files_are_refused(url: str, tmp_path: Path) -> None:
    for name, content in (
        ("bomb.xml", (BOMB + RSS.partition("?>")[2]).encode()),
        ("large.xml", b"<" + b" " * 6 * 1024**2),
    ):
        (tmp_path / name).write_bytes(content)
        wrong = simfeed(url, "news", "import", str(tmp_path / name))
        assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1), name


async def test_reports_are_listed_and_closed(database: Database, url: str) -> None:
    world = await World.of(database, 3)
    post = await world.writes(1)
    assert "No report is open" in simfeed(url, "posts", "reports").stderr
    await world.does(2, ReportPost(post, body="it is [spam]"))
    (row,) = data(simfeed(url, "posts", "reports", "--json"))
    assert (row["post_id"], row["reasons"]) == (post, ["it is [spam]"])
    assert "[spam]" in simfeed(url, "posts", "reports").stdout
    closed = data(simfeed(url, "posts", "close", str(post), "--verdict", "hidden", "--reason", "spam", "--json"))
    assert closed == {"post_id": post, "verdict": "hidden", "closed": 1, "posts": 1, "comments": 0}
    assert "closed so already" in simfeed(url, "posts", "close", str(post), "--verdict", "hidden").stderr
    assert simfeed(url, "posts", "close", str(post), "--verdict", "dismissed").returncode == 2
    assert simfeed(url, "posts", "close", "99", "--verdict", "hidden").returncode == 2
    assert simfeed(url, "posts", "close", str(post), "--verdict", "burnt").returncode == 2
    assert await world.hidden() == {post}
    comment = await world.writes(
        3, "nobody is to see this answer", on=await world.writes(2, "a post that anybody can see")
    )
    hidden = data(simfeed(url, "posts", "quarantine", str(comment), "--comment", "--cascade", "--json"))
    assert hidden == {"comment_id": comment, "quarantined": True, "posts": 0, "comments": 1}
    assert data(simfeed(url, "posts", "quarantine", str(comment), "--comment", "--lift", "--json"))["comments"] == 1
    assert simfeed(url, "posts", "quarantine", "1", "--lift", "--cascade").returncode == 2


def test_bench_search_measures_every_kind(server_url: str) -> None:
    found = data(simfeed(server_url, "bench", "search", "--posts", "300", "--requests", "10", "--json"))
    assert found["world"]["posts"] == 300
    assert len(found["searches"]) == len(found["targets"]) == 14
    by_name = {row["name"]: row for row in found["searches"]}
    assert by_name["rare word: in one post"]["found"] == 1
    assert by_name["word in half of all posts"]["found"] == 20
    assert by_name["two frequent words, never together"]["found"] == 0
    assert by_name["no hit"]["found"] == by_name["person, no hit"]["found"] == 0
    assert by_name["person by bio"]["found"] == 1
