"""Who plays a run, and what stops it: workers in this process, other processes, hands and switches."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from app.agent.turn import Mind
from app.db.engine import Database
from app.errors import Conflict, NotFound
from app.ledger import commit, pulse
from app.ledger.pulse import Pulse
from app.llm.model import Completion, Halted, Request
from app.llm.scripted import ScriptedModel
from app.scheduler import Scheduler
from app.settings import Settings, load_settings
from app.venues import crew as crew_module
from app.venues import dispatch
from app.venues.crew import Crew
from app.venues.dispatch import PgQueue
from app.venues.feed import open_cycle, play_cycle, prepare_run
from app.venues.run import TURNS, hand_out, resume_run, stop_run
from app.venues.worker import TurnEnd, Worker
from tests.conftest import a_mind
from tests.ledger.test_commit import drifted
from tests.pace import clock
from tests.venues.test_cycle import people, states

SETTINGS = load_settings(batch_turns=4)


class Counting(ScriptedModel):
    """The offline model at the pace of a provider; `ended` counts the answers that were given."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds = seconds
        self.begun = self.ended = 0

    async def complete(self, request: Request) -> Completion:
        self.begun += 1
        await asyncio.sleep(self.seconds)
        self.ended += 1
        return await super().complete(request)


@asynccontextmanager
async def working(database: Database, model: Any = None, settings: Settings = SETTINGS) -> AsyncIterator[Mind]:
    """A crew at work on its own mind."""
    async with (
        Pulse(database, works=True).living() as heart,
        a_mind(database, model, pulse=heart) as mind,
        Crew(mind, settings),
    ):
        yield mind


async def until(found: Callable[[], Awaitable[object]], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await found():
            await asyncio.sleep(0.02)


async def state(database: Database, run_id: int) -> str:
    return str(await database.fetchval(TURNS["run_state"], run_id))


async def open_run(database: Database, **more: Any) -> int:
    async with a_mind(database) as mind:
        run_id = await open_cycle(mind, SETTINGS, **more)
    assert run_id is not None
    return run_id


async def test_a_crew_plays_what_others_open(database: Database) -> None:
    await people(database, 10)
    async with working(database):
        run_id = await open_run(database)
        await until(lambda: is_state(database, run_id, "completed"))
    assert sum((await states(database)).values()) == 10
    assert await database.fetchval("SELECT max(epoch) FROM turns") == 1
    assert await database.fetchval("SELECT count(*) FROM queue.pgqueuer") == 0
    assert await drifted(database) == {"post_counts": 0, "personas": 0}


async def is_state(database: Database, run_id: int, wanted: str) -> bool:
    return await state(database, run_id) == wanted


async def test_what_was_opened_before_is_played_too(database: Database) -> None:
    await people(database, 10)
    run_id = await open_run(database)
    async with working(database):
        await until(lambda: is_state(database, run_id, "completed"))


async def test_a_run_whose_jobs_are_lost_is_queued_anew(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew_module, "SWEEP_SECONDS", 0.2)
    await people(database, 10)
    run_id = await open_run(database)
    await database.fetch("DELETE FROM queue.pgqueuer")
    async with working(database):
        await until(lambda: is_state(database, run_id, "completed"))


async def test_control_without_the_sweep_it_waits_for_ever(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(_: Crew) -> None:
        return

    monkeypatch.setattr(Crew, "_look", nothing)
    await people(database, 4)
    run_id = await open_run(database)
    await database.fetch("DELETE FROM queue.pgqueuer")
    async with working(database):
        await asyncio.sleep(1)
        assert await state(database, run_id) == "running"


async def test_a_queue_that_fails_in_whatever_way_is_taken_up_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "AWAY_SECONDS", 0.05)
    take, failures = PgQueue._take, [asyncpg.InternalClientError("cannot switch to state 12"), KeyError("ours")]

    async def failing(queue: PgQueue, play: Any) -> None:
        if failures:
            raise failures.pop()
        await take(queue, play)

    monkeypatch.setattr(PgQueue, "_take", failing)
    await people(database, 4)
    async with working(database):
        run_id = await open_run(database)
        await until(lambda: is_state(database, run_id, "completed"))
    assert failures == []


class Waiting(Counting):
    """Answers nothing until the other one has been asked too, however late that is."""

    def __init__(self) -> None:
        super().__init__(0.01)
        self.asked = asyncio.Event()
        self.other = self

    async def complete(self, request: Request) -> Completion:
        self.asked.set()
        await asyncio.wait_for(self.other.asked.wait(), 50)
        return await super().complete(request)


async def test_two_crews_share_a_run_and_play_each_turn_once(database: Database, url: str) -> None:
    await people(database, 40)
    other = await Database.open(url, size=6)
    one, two = Waiting(), Waiting()
    one.other, two.other = two, one
    few = load_settings(batch_turns=4, max_concurrent_turns=8)
    try:
        async with working(database, one, few), working(other, two, few):
            run_id = await open_run(database)
            await until(lambda: is_state(database, run_id, "completed"))
    finally:
        await other.close()
    assert one.ended > 0 < two.ended
    assert one.ended + two.ended == await database.fetchval("SELECT count(*) FROM calls")
    assert await database.fetchval("SELECT max(epoch) FROM turns") == 1


TURNS_TOO_MANY = """
    SELECT count(*) FROM (
        SELECT FROM turns t JOIN runs r ON r.id = t.run_id
        GROUP BY t.persona_id, split_part(r.slot, '/', 3) HAVING count(*) > 1
    ) d
"""
"""Personas that have more than one turn in a slot, which is what the scheduler calls VENUE/MINUTES/TICK."""


@pytest.mark.parametrize("shared", [True, False])
async def test_p2_five_schedulers_at_one_tick_and_control_each_with_a_slot_of_its_own(
    database: Database, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    slot = Scheduler._slot

    async def own(scheduler: Scheduler) -> str:
        return f"{await slot(scheduler)}/{id(scheduler)}"

    if not shared:
        monkeypatch.setattr(Scheduler, "_slot", own)
    await people(database, 10)
    async with a_mind(database) as mind:
        five = [Scheduler(mind, SETTINGS) for _ in range(5)]
        for scheduler in five:
            scheduler._set(60)
        await asyncio.gather(*(scheduler._tick() for scheduler in five))
    assert (await database.fetchval("SELECT count(*) FROM runs") == 1) is shared
    assert (await database.fetchval(TURNS_TOO_MANY) == 0) is shared


class Held(Counting):
    """A model that thinks until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.free = asyncio.Event()

    async def complete(self, request: Request) -> Completion:
        self.begun += 1
        await self.free.wait()
        return await ScriptedModel.complete(self, request)


@pytest.mark.parametrize("fenced", [True, False])
async def test_p2_what_a_stale_epoch_brings_is_rejected_and_control_without_the_fence_it_is_written(
    database: Database, monkeypatch: pytest.MonkeyPatch, fenced: bool
) -> None:
    """One worker is frozen while it asks; another takes its turns over, and still asks when the first wakes up."""
    unfenced = commit.COMMIT.replace("t.epoch = g.epoch AND ", "")
    assert unfenced != commit.COMMIT
    if not fenced:
        monkeypatch.setattr(commit, "COMMIT", unfenced)
    await people(database, 6)
    frozen, heir, ended = Held(), Held(), list[TurnEnd]()
    async with (
        a_mind(database, frozen) as one,
        a_mind(database, heir) as two,
        Worker(one, at_once=6, lease_seconds=0.3) as late,
        Worker(two, at_once=6) as other,
    ):
        run_id = await open_cycle(one, SETTINGS)
        assert run_id is not None
        prepare = await prepare_run(one, SETTINGS, run_id), await prepare_run(two, SETTINGS, run_id)
        assert prepare[0] is not None
        assert prepare[1] is not None
        waking = asyncio.create_task(late.play(run_id, prepare[0], on_end=ended.append))
        await until(lambda: asyncio.sleep(0, frozen.begun == 6))
        assert late._beating is not None
        late._beating.cancel()
        inheriting = asyncio.create_task(other.play(run_id, prepare[1]))
        await until(lambda: asyncio.sleep(0, heir.begun == 6))
        frozen.free.set()
        await until(lambda: asyncio.sleep(0, len(ended) == 6))
        written = await database.fetchval("SELECT count(*) FROM calls")
        assert [end.reason == "superseded" for end in ended] == [fenced] * 6
        assert (written == 0) is fenced
        heir.free.set()
        await asyncio.gather(waking, inheriting)
    assert await state(database, run_id) == "completed"


async def test_queued_batches_are_queued_once(database: Database) -> None:
    await people(database, 10)
    run_id = await open_run(database)
    queue = PgQueue(database)
    assert await queue.depth() == 3
    await hand_out(database, run_id)
    assert await queue.depth() == 3


async def test_a_stopped_run_takes_no_further_step_and_goes_on_when_resumed(database: Database) -> None:
    await people(database, 12)
    model = Counting(0.05)
    async with working(database, model):
        run_id = await open_run(database)
        await until(lambda: database.fetchval("SELECT count(*) > 5 FROM calls"))
        await stop_run(database, run_id)
        await until(lambda: all_parked(database))
        begun = model.begun
        await asyncio.sleep(0.5)
        assert model.begun == model.ended == begun
        assert await state(database, run_id) == "stopped"
        await resume_run(database, run_id, terms={})
        await until(lambda: is_state(database, run_id, "completed"))
    assert model.ended == await database.fetchval("SELECT count(*) FROM calls")
    assert await drifted(database) == {"post_counts": 0, "personas": 0}


async def all_parked(database: Database) -> bool:
    return not await database.fetchval("SELECT EXISTS (SELECT FROM turns WHERE state = 'running')")


async def test_what_is_at_an_end_can_be_neither_stopped_nor_resumed(database: Database) -> None:
    await people(database, 2)
    async with a_mind(database) as mind:
        run_id = await open_cycle(mind, SETTINGS)
        assert run_id is not None
        await play_cycle(mind, SETTINGS, run_id)
    with pytest.raises(Conflict, match="completed"):
        await stop_run(database, run_id)
    with pytest.raises(Conflict, match="completed"):
        await resume_run(database, run_id, terms={})
    with pytest.raises(NotFound):
        await stop_run(database, run_id + 1)


async def test_the_kill_switch_stops_all_calls_within_two_seconds_and_lets_go(database: Database) -> None:
    await people(database, 12)

    class Asking(Counting):
        async def complete(self, request: Request) -> Completion:
            if heart.halted:
                raise Halted
            return await super().complete(request)

    model = Asking(0.4)
    async with (
        Pulse(database, works=True).living() as heart,
        a_mind(database, model, pulse=heart) as mind,
        Crew(mind, SETTINGS),
    ):
        run_id = await open_run(database)
        await until(lambda: database.fetchval("SELECT count(*) > 5 FROM calls"))
        began = clock()
        await pulse.halt(database, True)
        await until(lambda: asyncio.sleep(0, heart.halted))
        assert clock() - began < 2
        begun = model.begun
        await until(lambda: is_state(database, run_id, "paused"))
        await until(lambda: all_parked(database))
        assert model.begun == begun
        await pulse.halt(database, False)
        await until(lambda: is_state(database, run_id, "completed"))
    assert model.ended == await database.fetchval("SELECT count(*) FROM calls")


async def test_a_crew_that_ends_finishes_the_steps_under_way(database: Database) -> None:
    await people(database, 12)
    model = Counting(0.3)
    async with working(database, model):
        run_id = await open_run(database)
        await until(lambda: asyncio.sleep(0, model.begun >= 12))
    assert model.begun == model.ended == await database.fetchval("SELECT count(*) FROM calls")
    assert (await states(database)) == {"queued": 12}
    assert await state(database, run_id) == "running"


async def test_control_a_crew_that_does_not_wait_loses_calls(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    drain = Worker.drain
    monkeypatch.setattr(Worker, "drain", lambda worker, _=0.0: drain(worker, 0.0))
    await people(database, 12)
    model = Counting(0.3)
    async with working(database, model):
        await open_run(database)
        await until(lambda: asyncio.sleep(0, model.begun >= 12))
    assert await database.fetchval("SELECT count(*) FROM calls") < model.begun


class Away(ScriptedModel):
    """A provider that is away until it is back."""

    def __init__(self, status: str) -> None:
        super().__init__()
        self.status = status
        self.asked = True

    async def complete(self, request: Request) -> Completion:
        if self.status == "ok":
            return await super().complete(request)
        return Completion(self.status, request.model, detail="away just now", asked=self.asked)  # type: ignore[arg-type]


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize(("status", "turns"), [("unavailable", "deferred"), ("auth", "failed")])
async def test_turns_that_a_provider_let_down_are_played_on_when_resumed(
    database: Database, status: str, turns: str, *, asked: bool
) -> None:
    await people(database, 5)
    model = Away("ok")
    async with a_mind(database, model) as mind:
        run_id = await open_cycle(mind, SETTINGS)
        assert run_id is not None
        model.status, model.asked = status, asked
        assert await play_cycle(mind, SETTINGS, run_id) == "failed"
        assert await states(database) == {turns if asked else "deferred": 5}
        assert await database.fetchval("SELECT reason FROM runs") == ("away just now" if asked else status)
        assert await database.fetchval("SELECT count(*) FROM calls") == (5 if asked else 0)
        model.status = "ok"
        await resume_run(database, run_id, terms={})
        assert await play_cycle(mind, SETTINGS, run_id) == "completed"
    assert set(await states(database)) <= {"done", "limit"}
    told = "SELECT count(*) FROM calls WHERE status = 'ok' AND octet_length(reply) = 0"
    assert await database.fetchval(told) == 0
