"""P9: a worker that runs out of memory dies, and another goes on where it was."""

import asyncio
from typing import Any

import pytest

from app.db.engine import Database
from tests import kill_loop
from tests.kill_loop import Told, Workers, count, endpoint, fill
from tests.venues.test_kill import opened, until

KILOBYTES = 200_000
FAT = 900_000
HELD = "SELECT count(*) FROM turns WHERE state = 'running'"


@pytest.mark.slow
async def test_p9_a_worker_out_of_memory_loses_nothing_and_doubles_nothing(
    url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From their third step on, replies are as large as they may be, and the worker has no room for so many."""
    thin, told, fat = kill_loop._reply, Told(), FAT

    def reply(step: int, seed: int, body: str) -> dict[str, Any]:
        message = thin(step, seed, body)
        if step >= 2:
            message["choices"][0]["message"]["content"] = "x" * fat
        return message

    monkeypatch.setattr(kill_loop, "_reply", reply)
    await fill(url, 100)
    async with endpoint(told) as base_url:
        run_id = await opened(database, base_url)
        poor = Workers(url, base_url, 1, at_once=60, transport="raw")
        poor._command = ["/bin/bash", "-c", f'ulimit -d {KILOBYTES}; exec "$@"', "sh", *poor._command]
        await poor.start()
        assert await asyncio.wait_for(poor.alive[0].wait(), 60) != 0
        written, held = told.writes, await database.fetchval(HELD)
        fat = 0
        heir = Workers(url, base_url, 1, at_once=60, transport="raw")
        await heir.start()
        await until(database, f"SELECT state <> 'running' FROM runs WHERE id = {run_id}")
        assert await heir.stop() == [0]
    # it went on when the first leases were over: each turn that the dead one held was claimed once more, by the heir
    assert held > 0
    epochs = await database.fetch("SELECT epoch, count(*) AS turns FROM turns GROUP BY 1")
    assert {row["epoch"]: row["turns"] for row in epochs} == {1: 100 - held, 2: held}
    found = await count(database, told, 1, 1, 0)
    assert written > 0
    assert found.writes > written
    assert (found.lost, found.doubled, found.drifted, found.open_turns) == (0, 0, 0, 0)
