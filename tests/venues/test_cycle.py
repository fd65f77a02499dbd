"""A cycle of the feed: everybody once, whatever happens, however many processes."""

import asyncio

import pytest

from app.agent.turn import Turn
from app.db.engine import Database
from app.llm.model import Completion, Request
from app.llm.scripted import ScriptedModel
from app.settings import load_settings
from app.venues import run as module
from app.venues import worker
from app.venues.feed import open_cycle, play_cycle
from app.venues.worker import TurnEnd
from app.world import personas
from app.world.personas import PersonaSpec
from tests.conftest import NOON, a_mind
from tests.ledger.test_commit import drifted

SETTINGS = load_settings()


async def people(database: Database, count: int, **more: object) -> None:
    specs = [
        PersonaSpec.model_validate({"username": f"p{n}", "description": "Loves trains, hates cars.", **more})
        for n in range(count)
    ]
    async with database.connection() as connection:
        await personas.add(connection, specs)


async def states(database: Database) -> dict[str, int]:
    rows = await database.fetch("SELECT state, count(*) AS n FROM turns GROUP BY 1")
    return {row["state"]: row["n"] for row in rows}


async def test_a_cycle_plays_everybody_once(database: Database) -> None:
    await people(database, 12)
    ended: list[TurnEnd] = []
    async with a_mind(database) as mind:
        run_id = await open_cycle(mind, SETTINGS)
        assert run_id is not None
        assert await play_cycle(mind, SETTINGS, run_id, on_end=ended.append) == "completed"
    assert len({end.claim.persona_id for end in ended}) == len(ended) == 12
    assert await database.fetchval("SELECT count(*) FROM posts") > 0
    assert await drifted(database) == {"post_counts": 0, "personas": 0}


async def test_paused_and_departed_personas_do_not_wake(database: Database) -> None:
    await people(database, 3)
    await personas.set_status(database, 1, "paused")
    await personas.depart(database, 2)
    async with a_mind(database) as mind:
        run_id = await open_cycle(mind, SETTINGS)
        assert run_id is not None
        await play_cycle(mind, SETTINGS, run_id)
    assert [row["persona_id"] for row in await database.fetch("SELECT persona_id FROM turns")] == [3]


async def test_a_world_of_nobody_completes(database: Database) -> None:
    async with a_mind(database) as mind:
        run_id = await open_cycle(mind, SETTINGS)
        assert run_id is not None
        await play_cycle(mind, SETTINGS, run_id)
    assert await database.fetchval("SELECT state FROM runs") == "completed"


async def test_who_wakes_and_in_which_order_follows_from_the_seed(database: Database) -> None:
    await people(database, 30, activity=0.5)
    chosen = [await module.awake(database, seed, NOON) for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert 5 <= len(chosen[0]) <= 25


async def test_a_slot_is_played_once_by_any_number_of_replicas(database: Database, url: str) -> None:
    await people(database, 24)
    other = await Database.open(url, size=4)
    try:
        async with a_mind(database) as one, a_mind(other) as two:
            opened = await asyncio.gather(*(open_cycle(mind, SETTINGS, slot="tick/1") for mind in (one, two)))
            assert sorted(run is None for run in opened) == [False, True]
            run_id = next(run for run in opened if run is not None)
            await asyncio.gather(*(play_cycle(mind, SETTINGS, run_id) for mind in (one, two)))
    finally:
        await other.close()
    assert await database.fetchval("SELECT count(*) FROM runs") == 1
    assert await states(database) == {"done": 24} or set(await states(database)) <= {"done", "limit"}
    assert await database.fetchval("SELECT max(epoch) FROM turns") == 1
    assert await database.fetchval("SELECT state FROM runs") == "completed"


class Sometimes:
    """The offline model, except for one persona, for which our own code breaks."""

    def __init__(self) -> None:
        self.inner = ScriptedModel()

    async def complete(self, request: Request) -> Completion:
        if b"@p3." in request.messages[0]:
            raise RuntimeError("a bug of ours")
        return await self.inner.complete(request)

    async def aclose(self) -> None:
        await self.inner.aclose()


async def test_one_personas_failure_touches_no_other(database: Database) -> None:
    await people(database, 6)
    async with a_mind(database, Sometimes()) as mind:
        run_id = await open_cycle(mind, SETTINGS)
        assert run_id is not None
        assert await play_cycle(mind, SETTINGS, run_id) == "partial"
    failed = await database.fetch("SELECT persona_id, reason FROM turns WHERE state = 'failed'")
    assert [tuple(row) for row in failed] == [(4, "internal: RuntimeError")]


class Refusing:
    async def complete(self, request: Request) -> Completion:
        return Completion("auth", request.model, detail="HTTP 401")

    async def aclose(self) -> None:
        pass


async def test_a_wrong_key_fails_the_run_and_says_why(database: Database) -> None:
    await people(database, 3)
    async with a_mind(database, Refusing()) as mind:
        run_id = await open_cycle(mind, SETTINGS)
        assert run_id is not None
        assert await play_cycle(mind, SETTINGS, run_id) == "failed"
    assert {row["reason"] for row in await database.fetch("SELECT reason FROM turns")} == {"auth"}
    assert await database.fetchval("SELECT count(*) FROM calls WHERE status = 'auth' AND detail = 'HTTP 401'") == 3


async def test_a_run_that_was_cut_off_goes_on_from_its_stored_replies(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process dies in the middle of every turn; the second asks nothing again that is stored."""
    await people(database, 8)
    asked: list[bytes] = []

    class Counting(ScriptedModel):
        async def complete(self, request: Request) -> Completion:
            asked.append(request.sha256())
            return await super().complete(request)

    async with a_mind(database, Counting()) as mind:
        run_id = await open_cycle(mind, SETTINGS)
        assert run_id is not None
        first = asyncio.create_task(play_cycle(mind, SETTINGS, run_id))
        while not await database.fetchval("SELECT count(*) FROM calls"):
            await asyncio.sleep(0)
        monkeypatch.setattr(worker.Worker, "_park", _died)
        monkeypatch.setattr(worker, "DRAIN_SECONDS", 0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        monkeypatch.undo()
    stored = await database.fetchval("SELECT count(*) FROM calls")
    assert stored > 0
    assert (await states(database)).get("running", 0) + (await states(database)).get("queued", 0) > 0
    await database.fetchval("UPDATE turns SET lease_until = now() - interval '1 s' WHERE state = 'running'")
    before = len(asked)
    async with a_mind(database, Counting()) as mind:
        assert await play_cycle(mind, SETTINGS, run_id) == "completed"
    calls = await database.fetchval("SELECT count(*) FROM calls")
    assert len(asked) - before == calls - stored
    assert await drifted(database) == {"post_counts": 0, "personas": 0}


async def _died(*_: object) -> None:
    return None


async def test_what_is_given_up_in_order_is_free_at_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await people(database, 4)

    async def hang(_: Turn) -> str:
        await asyncio.sleep(3600)
        raise AssertionError

    monkeypatch.setattr(Turn, "play", hang)
    monkeypatch.setattr(worker, "DRAIN_SECONDS", 0.1)
    async with a_mind(database) as mind:
        run_id = await open_cycle(mind, SETTINGS)
        assert run_id is not None
        playing = asyncio.create_task(play_cycle(mind, SETTINGS, run_id))
        while await states(database) != {"running": 4}:
            await asyncio.sleep(0.01)
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
    assert await states(database) == {"queued": 4}


async def test_a_departed_persona_can_no_longer_write(database: Database) -> None:
    await people(database, 1)

    class Departing(ScriptedModel):
        async def complete(self, request: Request) -> Completion:
            await personas.depart(database, 1)
            return await super().complete(request)

    ended: list[TurnEnd] = []
    async with a_mind(database, Departing()) as mind:
        run_id = await open_cycle(mind, SETTINGS)
        assert run_id is not None
        await play_cycle(mind, SETTINGS, run_id, on_end=ended.append)
    assert [end.reason for end in ended] == ["superseded"]
    assert await database.fetchval("SELECT count(*) FROM calls") == 0
    assert await database.fetchval("SELECT reason FROM turns") == "departed"
