"""`simfeed runs stop|resume`, `halt`, `worker`: what an operator does to runs."""

import json
import signal
import subprocess

from app.db.engine import Database
from app.settings import load_settings
from app.venues.feed import open_cycle
from tests.cli.test_cli import SIMFEED, data, environment, simfeed
from tests.conftest import a_mind
from tests.venues.test_cycle import people


async def waiting(database: Database) -> int:
    """A run that nobody plays."""
    await people(database, 3)
    async with a_mind(database) as mind:
        run_id = await open_cycle(mind, load_settings())
    assert run_id is not None
    return run_id


def begin_worker(url: str) -> "subprocess.Popen[bytes]":
    pipe = subprocess.PIPE
    return subprocess.Popen([*SIMFEED, "worker"], env=environment(url), stdout=pipe, stderr=pipe)


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
        if worker.poll() is None:
            worker.kill()
        worker.communicate()


def test_a_worker_without_a_database_says_so() -> None:
    lost = simfeed("postgresql://nobody@127.0.0.1:1/none", "worker")
    assert lost.returncode == 69
    assert lost.stderr.count("\n") == 1
