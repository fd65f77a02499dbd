"""`simfeed bench` runs, small: its figures are there and plausible, and nothing of it stays behind."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.cli.bench import figures, load, place, profile, reads, stub
from app.cli.bench.plan import Cycle, Plan
from app.cli.bench.report import Verdict
from app.settings import Settings

PROC = Path("/proc")
SETTING_NAMES = {name.upper() for name in Settings.model_fields}


def environment(temporary: Path, **more: str) -> dict[str, str]:
    """No setting of the developer's, and a place for what is temporary that the test can look at."""
    kept = {name: value for name, value in os.environ.items() if name.upper() not in SETTING_NAMES}
    return {**kept, "TMPDIR": str(temporary), **more}


def start(temporary: Path, *arguments: str, **more: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", "from app.cli import main; main()", "bench", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, env=environment(temporary, **more))


def bench(temporary: Path, *arguments: str, **more: str) -> dict[str, Any]:
    child = start(temporary, *arguments, "--json", **more)
    told, talk = child.communicate(timeout=240)
    assert child.returncode == 0, talk.decode()
    found = json.loads(told)
    assert isinstance(found, dict)
    return found


def left_behind(temporary: Path) -> list[str]:
    """Processes that still know this temporary folder, by their command line or environment."""
    mark = str(temporary).encode()
    found = []
    for entry in PROC.glob("[0-9]*"):
        words = b""
        for told in ("cmdline", "environ"):
            with suppress(OSError):  # it has ended, or its environment is not for us to read
                words += (entry / told).read_bytes()
        if mark in words and entry.name != str(os.getpid()):
            found.append(words[:200].decode(errors="replace"))
    return found


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """A path that PostgreSQL's account can enter."""
    for folder in (tmp_path, *tmp_path.parents):
        folder.chmod(0o755)
        if folder.name.startswith("pytest-of-"):
            break
    return tmp_path


def check_nothing_left(temporary: Path) -> None:
    assert left_behind(temporary) == []
    assert list(temporary.glob("simfeed-*")) == []


def check_costs(row: dict[str, Any]) -> None:
    assert 1 < row["steps_per_second"] < 100_000
    assert 0.05 < row["ours_ms"] < 500
    assert row["postgres_ms"] is None or 0.01 < row["postgres_ms"] < 500
    assert 20 < row["peak_mb"] < 2_000


def check_sizes(rows: dict[str, dict[str, Any]]) -> None:
    for row in rows.values():
        check_costs(row)
        assert 0 < row["steps"] <= 4 * 12
        assert row["checks"]["open_turns"] == row["checks"]["failed_turns"] == 0
        assert row["requests_counted"] == row["requests_rebuilt_exactly"] > 0
        assert 300 < row["first_call_tokens"] < 5_000
        assert row["first_call_tokens"] < row["tokens_a_call"] < row["tokens_an_action"]
    for over in ("http", "raw"):
        assert (rows[over]["turns"], rows[over]["steps"]) == (4, 24)
        assert rows[over]["checks"]["actions_made"] >= 4


def check_slow(flow: dict[str, Any], thousand: dict[str, Any]) -> None:
    for row, latency in ((flow, 0.2), (thousand, 0.1)):
        check_costs(row)
        assert (row["over"], row["turns"], row["steps"], row["checks"]["calls"]) == ("raw", 2, 20, 20)
        assert 10 <= row["actions"] <= 20
        assert row["seconds"] > 10 * latency
        assert row["actions_per_second"] == pytest.approx(row["actions"] / row["seconds"])


def test_turns(temporary: Path) -> None:
    sizes = ("--personas", "4", "--cycles", "1", "--min-steps", "1", "--concurrency", "4")
    found = bench(temporary, "turns", *sizes, "--growth-cycles", "0", "--slow-personas", "2")
    assert found["sound"]
    rows = found["configurations"]
    check_sizes({row["over"]: row for row in rows if row["kind"] == "sized"})
    (fresh, flow, thousand) = (row for row in rows if row["kind"] != "sized")
    assert (fresh["name"], fresh["turns"]) == ("fresh world of 12", 12)
    check_slow(flow, thousand)
    assert [(floor["over"], floor["steps"]) for floor in found["floors"]] == [("http", 24), ("raw", 24)]
    assert all(floor["ours_ms"] > 0 for floor in found["floors"])
    assert found["growth"] is None
    assert found["profiles"] == []
    assert len(found["targets"]) == 8
    check_nothing_left(temporary)


async def test_events_are_told_once_to_all(temporary: Path, server_url: str) -> None:
    sizes = ("--clients", "12", "--posts", "60", "--rate", "100", "--leaving", "6")
    found = bench(temporary, "events", *sizes, DATABASE_URL=server_url)
    assert (found["lost"], found["doubled"], found["deliveries"]) == (0, 0, 12 * 60)
    assert found["comebacks"] >= 6
    assert found["sound"]
    assert found["latency"]["p50_ms"] > 0


async def test_rooms_are_told_all_once_and_in_order(temporary: Path, server_url: str) -> None:
    sizes = ("--rooms", "4", "--agents", "2", "--minutes", "0.15", "--stalled", "1")
    found = bench(temporary, "rooms", *sizes, DATABASE_URL=server_url)
    assert found["sound"]
    assert (found["lost"], found["doubled"], found["disordered"], found["gaps"]) == (0, 0, 0, 0)
    assert (found["unacknowledged"], found["refused"], found["closed"]) == (0, 0, 0)
    assert found["messages"] > found["by_agents"] > 0
    assert found["alone"]["acknowledged"]["p50_ms"] > 0
    assert 20 < found["peak_mb"] < 400


async def test_feed_on_a_server_of_yours(temporary: Path, server_url: str) -> None:
    sizes = ("--posts", "300", "--likes", "600", "--requests", "20")
    found = bench(temporary, "feed", *sizes, DATABASE_URL=server_url)
    assert found["machine"]["server"] == "PostgreSQL of DATABASE_URL"
    assert found["errors"] == 0
    assert found["world"]["posts"] == 300
    assert found["world"]["likes"] == 600
    assert [row["name"] for row in found["reads"]] == [
        "page 1",
        "pages near the top",
        "pages from depth 150 on",
        "thread",
        "persona",
        "hot, page 1",
        "top, page 1",
        "pages near the top, HTML",
    ]
    for row in found["reads"]:
        for timing in (row["http"], row["sql"]):
            assert timing["requests"] == 20
            assert 1 < timing["a_second"] < 1_000_000
            assert 0 < timing["p50_ms"] <= timing["p99_ms"] < 30_000
        assert row["http_to_sql"] > 0
    connection = await asyncpg.connect(server_url)
    try:
        left = await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname LIKE 'simfeed_bench_%'")
    finally:
        await connection.close()
    assert left == 0
    check_nothing_left(temporary)


def test_ends_with_what_it_started_when_it_is_interrupted(temporary: Path) -> None:
    child = start(temporary, "feed", "--posts", "2000000", "--likes", "0")
    deadline = time.monotonic() + 180
    while not any(b"postgres" in line.encode() for line in left_behind(temporary)):
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.1)
    child.terminate()
    child.communicate(timeout=90)
    assert child.returncode == 130
    check_nothing_left(temporary)


def request(said: int, shown: str = "", seed: int = 7) -> bytes:
    told = b"".join(stub.SAID + b"}" for _ in range(said))
    return told + shown.encode() + b'"seed":' + str(seed).encode()


def test_the_stub_looks_acts_and_ends() -> None:
    shown = r"{\"id\":31,\"by\":\"@ada\",\"by_id\":5,"
    names = [stub.call(request(n, shown))[0] for n in range(6)]
    assert names == [
        "view_most_recent_posts",
        "create_post",
        "like_post",
        "comment_on_post",
        "follow_user",
        "end_turn",
    ]
    assert stub.call(request(2, shown))[1] == {"post_id": 31}
    assert stub.call(request(4, shown))[1] == {"user_id": 5}


def test_the_stub_goes_round_where_more_is_wanted() -> None:
    shown = r"{\"id\":31,\"by\":\"@ada\",\"by_id\":5,"
    names = [stub.call(request(n, shown), 10)[0] for n in range(11)]
    assert names[:5] == names[5:10]
    assert names[10] == "end_turn"


def test_the_stub_posts_where_nothing_was_shown() -> None:
    assert stub.call(request(2))[0] == "create_post"
    assert stub.call(request(2, seed=8)) != stub.call(request(2))


@pytest.mark.parametrize(
    ("cycles", "expected"),
    [
        ([Cycle(1, 10, 1.0, 0.02, 0.01)], 3.0),
        ([Cycle(1, 10, 1.0, 0.02, None)], None),
        ([], None),
    ],
)
def test_cpu_a_step(cycles: list[Cycle], expected: float | None) -> None:
    assert figures.cpu_ms(cycles) == (pytest.approx(expected) if expected else expected)


def test_how_a_world_ages() -> None:
    cycles = [Cycle(1, 10, 1.0, 0.01 * (n + 1), 0.0) for n in range(8)]
    aged = figures.age(Plan("", 3, 8, 0, 1, over="raw"), cycles)
    assert (aged["personas"], aged["cycles"], aged["over"]) == (3, 8, "raw")
    assert aged["first_quarter_cpu_ms"] == pytest.approx(1.5)
    assert aged["ratio"] == pytest.approx(5)


def test_a_target_that_could_not_be_measured_is_not_called_reached() -> None:
    assert Verdict("x", None, 4).reached is None
    assert Verdict("x", 4, 4).reached
    assert not Verdict("x", 4.1, 4).reached


def test_a_target_may_be_the_least() -> None:
    assert Verdict("x", 4, least=4).reached
    assert not Verdict("x", 3.9, least=4).reached
    assert Verdict("x", 3.9, unit="/s", least=4).target == "≥ 4 /s"


@pytest.mark.parametrize(("sizes", "expected"), [([10, 1_000, 10_000], 1_000), ([10, 100], 100), ([5_000], 5_000)])
def test_a_thousand_personas_stand_for_all(sizes: list[int], expected: int) -> None:
    assert figures.usual(sizes) == expected


def test_the_cpu_that_was_spent_is_sampled_by_layer() -> None:
    with profile.sampled(on=True) as found:
        ends = time.process_time() + 0.2
        while time.process_time() < ends:
            json.loads(json.dumps(list(range(1000))))
    (seen,) = found
    assert seen.samples > 5
    assert seen.layers[profile.JSON] > 0.2
    assert sum(seen.layers.values()) == pytest.approx(1)
    assert any(name.startswith("json/") for name in seen.functions)


def test_nothing_is_sampled_unasked() -> None:
    with profile.sampled(on=False) as found:
        pass
    assert found == []


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (f"{profile.OURS}llm/wire.py", "app/llm"),
        (f"{profile.OURS}strict_json.py", profile.JSON),
        (f"{profile.OURS}streams.py", "app, other"),
        ("/usr/lib/python3.11/asyncio/tasks.py", profile.LOOP),
        ("/venv/lib/python3.11/site-packages/aiohttp/client.py", "model client"),
        ("/venv/lib/python3.11/site-packages/asyncpg/pool.py", "asyncpg"),
        ("/usr/lib/python3.11/dataclasses.py", ""),
    ],
)
def test_layers(file: str, expected: str) -> None:
    assert profile.layer_of(file) == expected


def test_medians_and_tails() -> None:
    found = load.timing([0.001 * n for n in range(1, 101)], 2.0)
    assert (found.requests, found.a_second) == (100, 50)
    assert found.p50_ms == pytest.approx(51)
    assert found.p99_ms == pytest.approx(100)


def test_a_small_world_is_read_half_way_down() -> None:
    assert reads.depth(300) == 150
    assert reads.depth(200_000) == reads.DEEP


def test_no_key_reaches_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-the-stub")
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere/world")
    env = place.environment(LOG_LEVEL="warning")
    assert "OPENAI_API_KEY" not in env
    assert "DATABASE_URL" not in env
    assert env["LOG_LEVEL"] == "warning"
