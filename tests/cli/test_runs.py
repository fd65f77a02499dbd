"""`simfeed runs stop|resume`, `halt`, `worker`: what an operator does to runs."""

import json
import signal
import socket
import subprocess

import httpx2

from app.db.engine import Database
from app.settings import load_settings
from app.venues.feed import open_cycle
from tests.cli.test_cli import SIMFEED, data, environment, simfeed
from tests.conftest import a_mind
from tests.venues.test_cycle import people
from tests.web.test_edge import assert_problem
from tests.web.test_metrics import read, value


async def waiting(database: Database) -> int:
    """A run that nobody plays."""
    await people(database, 3)
    async with a_mind(database) as mind:
        run_id = await open_cycle(mind, load_settings())
    assert run_id is not None
    return run_id


def begin_worker(url: str, *words: str, **more: str) -> "subprocess.Popen[bytes]":
    pipe = subprocess.PIPE
    return subprocess.Popen([*SIMFEED, "worker", *words], env=environment(url) | more, stdout=pipe, stderr=pipe)


def told_at(worker: "subprocess.Popen[bytes]") -> str:
    """Where a worker says that it tells its metrics."""
    assert worker.stderr is not None
    for line in worker.stderr:
        if line.startswith(b"Metrics: "):
            return line.decode().split()[1]
    raise AssertionError("it never said where")


async def test_stop_and_resume(database: Database, url: str) -> None:
    run_id = await waiting(database)
    stopped = simfeed(url, "runs", "stop", str(run_id))
    assert (stopped.returncode, stopped.stdout) == (0, "")
    assert f"simfeed runs resume {run_id}" in stopped.stderr
    (listed,) = data(simfeed(url, "runs", "--json"))
    assert (listed["state"], listed["reason"]) == ("stopped", "stopped by hand")
    again = simfeed(url, "runs", "stop", str(run_id))
    assert again.returncode == 2
    assert "stopped" in again.stderr
    done = data(simfeed(url, "runs", "resume", str(run_id), "--json"))
    assert (done["state"], done["reason"], done["lost_calls"]) == ("completed", None, 0)
    over = simfeed(url, "runs", "resume", str(run_id))
    assert over.returncode == 2
    assert "completed" in over.stderr


async def test_what_does_not_exist_is_said_in_a_line(url: str) -> None:
    for words in (("stop", "99"), ("resume", "99")):
        missing = simfeed(url, "runs", *words)
        assert missing.returncode == 2
        assert missing.stderr.count("\n") == 1
    for bad in ("stop 0", "stop x", "resume 1 --budget-usd -1", f"resume {2**70}"):
        assert simfeed(url, "runs", *bad.split()).returncode == 2


async def test_a_summary_tells_how_far_the_estimate_was_off(database: Database, url: str) -> None:
    await people(database, 3)
    estimate = data(simfeed(url, "estimate", "--json"))
    assert (estimate["turns"], estimate["usd"]) == (3, 0)
    found = data(simfeed(url, "run", "--json"))
    used = found["prompt_tokens"] + found["completion_tokens"]
    assert found["estimate_off"]["tokens"] == round(
        used / (estimate["prompt_tokens"] + estimate["completion_tokens"]), 3
    )
    told = simfeed(url, "run").stdout
    assert "× the estimate" in told


async def test_a_run_with_a_budget_too_small_says_how_to_go_on(database: Database, url: str) -> None:
    await people(database, 3)
    short = simfeed(url, "run", "--budget-tokens", "3000")
    assert "budget_exhausted" in short.stdout
    assert "simfeed runs resume 1 --budget-usd" in short.stderr
    done = data(simfeed(url, "runs", "resume", "1", "--budget-tokens", "1000000", "--json"))
    assert done["state"] == "completed"


async def test_halt_and_a_worker_that_waits_for_its_end(database: Database, url: str) -> None:
    run_id = await waiting(database)
    assert data(simfeed(url, "halt", "--json")) == {"halted": True}
    worker = begin_worker(url)
    try:
        state = "SELECT state FROM runs WHERE id = $1"
        for _ in range(30):
            listed = json.loads(simfeed(url, "runs", "--json").stdout)
            assert listed[0]["state"] in ("running", "paused")
            assert await database.fetchval("SELECT count(*) FROM calls") == 0
            if listed[0]["state"] == "paused":
                break
        assert await database.fetchval(state, run_id) == "paused"
        assert data(simfeed(url, "halt", "--off", "--json")) == {"halted": False}
        for _ in range(60):
            if json.loads(simfeed(url, "runs", "--json").stdout)[0]["state"] == "completed":
                break
        assert await database.fetchval(state, run_id) == "completed"
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
    finally:
        end(worker)


def test_a_worker_without_a_database_says_so() -> None:
    lost = simfeed("postgresql://nobody@127.0.0.1:1/none", "worker")
    assert lost.returncode == 69
    assert lost.stderr.count("\n") == 1


async def test_a_worker_tells_what_it_has_counted(database: Database, url: str) -> None:
    run_id = await waiting(database)
    worker = begin_worker(url, "--metrics-port", "0")
    try:
        address = told_at(worker)
        assert address.startswith("http://127.0.0.1:")
        async with httpx2.AsyncClient() as client:
            while await database.fetchval("SELECT state FROM runs WHERE id = $1", run_id) != "completed":
                assert (await client.get(address)).status_code == 200
            found = read((await client.get(address)).text)
            elsewhere = await client.get(address, headers={"X-Forwarded-For": "127.0.0.1"})
            assert_problem(elsewhere, 403)
            assert_problem(await client.get(address.replace("/metrics", "/posts")), 404)
            assert_problem(await client.post(address), 405)
        calls = await database.fetchval("SELECT count(*) FROM calls")
        assert value(found, "simfeed_llm_calls_total", status="ok") == calls > 0
        assert value(found, "simfeed_turns_in_flight") == 0
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
    finally:
        end(worker)


def test_a_worker_tells_other_machines_only_for_a_token(url: str) -> None:
    refused = simfeed(url, "worker", "--metrics-port", "0", "--metrics-host", "0.0.0.0")
    assert refused.returncode == 78
    assert "METRICS_TOKEN" in refused.stderr
    token = "metrics-0123456789-abcdef"
    worker = begin_worker(url, "--metrics-port", "0", "--metrics-host", "0.0.0.0", METRICS_TOKEN=token)
    try:
        address = told_at(worker).replace("0.0.0.0", "127.0.0.1")
        assert_problem(httpx2.get(address), 401)
        assert httpx2.get(address, headers={"Authorization": f"Bearer {token}"}).status_code == 200
    finally:
        end(worker)


def test_a_port_that_is_taken_is_said_in_a_line(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = simfeed(url, "worker", "--metrics-port", str(taken.getsockname()[1]))
    assert refused.returncode == 69
    assert "--metrics-port" in refused.stderr
    assert refused.stderr.count("\n") == 1


def end(worker: "subprocess.Popen[bytes]") -> None:
    if worker.poll() is None:
        worker.kill()
    worker.communicate()


async def test_a_summary_is_what_the_ledger_has(database: Database, url: str) -> None:
    await people(database, 4)
    found = data(simfeed(url, "run", "--json"))
    await database.fetch(
        "UPDATE actions SET detail = 'copies what it has just read' WHERE outcome = 'made' AND turn_id = 1"
    )
    await database.fetch("UPDATE calls SET status = 'timeout', detail = 'slow' WHERE turn_id = 2")
    await database.fetch("UPDATE calls SET cost_usd = NULL WHERE turn_id = 3")
    await database.fetch("UPDATE runs SET state = 'stopped' WHERE id = 1")
    found = data(simfeed(url, "runs", "resume", "1", "--json"))
    actions = await database.fetch(
        "SELECT name, outcome, count(*) AS times FROM actions GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2"
    )
    assert found["actions"] == [dict(row) for row in actions]
    marked = await database.fetchval("SELECT count(*) FROM actions WHERE detail LIKE 'copies%' AND outcome = 'made'")
    assert found["marked"].get("copies what it has just read", 0) == marked
    calls = await database.fetchrow(
        "SELECT count(*) AS calls, sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens,"
        " sum(cached_tokens) AS cached_tokens, count(*) FILTER (WHERE cost_usd IS NULL) AS unpriced,"
        " count(*) FILTER (WHERE status <> 'ok') AS failed_calls FROM calls"
    )
    assert calls is not None
    assert {name: found[name] for name in dict(calls)} == dict(calls)
    assert found["unpriced"] > 0
    (trouble,) = found["troubles"]
    assert (trouble["status"], trouble["detail"], trouble["times"]) == ("timeout", "slow", found["failed_calls"])
