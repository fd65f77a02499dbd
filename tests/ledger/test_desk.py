"""Budgets: never over the cap, never lost, never twice; what they say equals what the ledger says."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from app.db.engine import Database
from app.ledger import budget as module
from app.ledger.budget import (
    BUDGETS,
    Account,
    BudgetExhausted,
    Caps,
    Desk,
    Hold,
    Superseded,
    charge_lost,
    charge_lost_of_run,
    recount,
)
from app.ledger.commit import Committer, StepRecord
from app.world.effects import FollowPersona, Like, NewPost
from tests.ledger.test_commit import step

MANY = Caps(tokens=10**9, usd=1000.0)


async def world(database: Database, personas: int, runs: int = 1) -> None:
    """Personas 1..n; in run r (1..) a claimed turn (r - 1) * n + p for each persona p."""
    await database.fetchval(
        "INSERT INTO personas (username, description) SELECT 'p' || n, 'x' FROM generate_series(1, $1::int) n", personas
    )
    await database.fetchval(
        "INSERT INTO runs (venue, slot, seed, state) SELECT 'feed', r, 1, 'running' FROM generate_series(1, $1::int) r",
        runs,
    )
    await database.fetchval(
        "INSERT INTO turns (run_id, persona_id, ordinal, state, epoch) SELECT r, n, n, 'running', 1"
        " FROM generate_series(1, $2::int) r, generate_series(1, $1::int) n ORDER BY r, n",
        personas,
        runs,
    )


@asynccontextmanager
async def desks(database: Database, number: int = 1) -> AsyncIterator[list[Desk]]:
    """Desks as so many processes have."""
    opened = [Desk(database) for _ in range(number)]
    for desk in opened:
        await desk.__aenter__()
    try:
        yield opened
    finally:
        for desk in opened:
            await desk.__aexit__()


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    async with Desk(database) as found:
        yield found


@pytest.fixture
async def committer(database: Database) -> AsyncIterator[Committer]:
    async with Committer(database, lease_seconds=20) as found:
        yield found


def account(turn: int = 1, /, **more: Any) -> Account:
    return replace(Account(run_id=1, persona_id=turn, turn_id=turn, epoch=1), **more)


async def row(database: Database, scope: str = "run", key: int = 1) -> tuple[int, float, int, float]:
    """A budget as (spent tokens, spent dollars, held tokens, held dollars)."""
    found = await database.fetchrow("SELECT * FROM budgets WHERE scope = $1 AND key = $2", scope, key)
    assert found is not None
    return (found["spent_tokens"], float(found["spent_usd"]), found["held_tokens"], float(found["held_usd"]))


async def taken_over(database: Database, turn: int) -> int:
    """Another process claims a turn whose process is gone; its new epoch."""
    epoch = await database.fetchval("UPDATE turns SET epoch = epoch + 1 WHERE id = $1 RETURNING epoch", turn)
    return int(epoch)


async def held(desk: Desk, who: Account, tokens: int, usd: float = 0.0) -> Hold:
    hold = await desk.reserve(who, tokens, usd)
    assert hold is not None
    return hold


async def settle(committer: Committer, turn: int, number: int, hold: Hold | None, **more: Any) -> None:
    await committer.commit(step(turn, number, **{"hold": hold, **more}))


async def test_a_hold_becomes_what_the_call_took(database: Database, desk: Desk, committer: Committer) -> None:
    await world(database, 1)
    who = account(persona=MANY, run=MANY, instance=MANY)
    before = datetime.now(UTC).date()
    hold = await held(desk, who, 2000, 0.01)
    assert hold in (Hold(2000, 0.01, before), Hold(2000, 0.01, datetime.now(UTC).date()))
    for scope, key in (("run", 1), ("persona", 1), ("instance", 0)):
        assert await row(database, scope, key) == (0, 0, 2000, 0.01)
    assert await database.fetchval("SELECT held_tokens + held_usd FROM turns") == Decimal("2000.01")
    await settle(committer, 1, 0, hold, prompt_tokens=300, completion_tokens=20, cost_usd=0.002)
    for scope, key in (("run", 1), ("persona", 1), ("instance", 0)):
        assert await row(database, scope, key) == (320, 0.002, 0, 0)
    assert await database.fetchval("SELECT held_tokens + held_usd FROM turns") == 0
    assert await recount(database) == []


async def test_where_nothing_is_capped_nothing_is_asked_of_the_database(
    database: Database, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise AssertionError("a query")

    monkeypatch.setattr(Database, "fetch", refuse)
    assert await desk.reserve(account(), 10**6, 50.0) is None
    assert await desk.reserve(account(turn=Caps(tokens=100)), 90, 0.0) is None
    with pytest.raises(AssertionError, match="a query"):
        await desk.reserve(account(run=MANY), 90, 0.0)
    monkeypatch.undo()
    assert await database.fetchval("SELECT count(*) FROM budgets") == 1


@pytest.mark.parametrize(
    ("caps", "wish", "said"),
    [
        ({"call": Caps(tokens=100)}, (101, 0.0), "BUDGET_CALL_TOKENS"),
        ({"call": Caps(usd=0.01)}, (1, 0.02), "BUDGET_CALL_USD"),
        ({"turn": Caps(tokens=100), "spent_tokens": 60}, (41, 0.0), "BUDGET_TURN_TOKENS"),
        ({"turn": Caps(usd=0.01), "spent_usd": 0.009}, (1, 0.002), "BUDGET_TURN_USD"),
        ({"persona": Caps(tokens=100)}, (101, 0.0), "BUDGET_PERSONA_DAY_TOKENS"),
        ({"run": Caps(usd=0.01)}, (1, 0.02), "BUDGET_RUN_USD"),
        ({"instance": Caps(tokens=100)}, (101, 0.0), "BUDGET_DAY_TOKENS"),
        ({"call": Caps(tokens=10**9)}, (1, float("inf")), "MODEL_PRICES"),
    ],
)
async def test_each_cap_says_what_to_raise(
    database: Database, desk: Desk, caps: dict[str, Any], wish: tuple[int, float], said: str
) -> None:
    await world(database, 1)
    with pytest.raises(BudgetExhausted, match=said) as caught:
        await desk.reserve(account(**caps), *wish)
    assert caught.value.scope == next(iter(caps))
    assert await database.fetchval("SELECT count(*) FROM turns WHERE held_tokens > 0") == 0
    await desk.reserve(account(**caps), wish[0] - 1, min(wish[1] / 2.1, 1.0))


async def storm(database: Database, counters: list[Desk], caps: Caps, wishes: int) -> int:
    """50 tasks hold and settle on one run, over and over; how many wishes were granted."""
    granted = 0

    async def play(turn: int, number: int) -> None:
        nonlocal granted
        counter = counters[turn % len(counters)]
        for _ in range(number):
            try:
                await held(counter, account(turn, run=caps), 7, 0.001)
            except BudgetExhausted:
                continue
            granted += 1
            await database.fetchval("UPDATE turns SET held_tokens = 0, held_usd = 0 WHERE id = $1", turn)

    await asyncio.gather(*(play(turn, wishes // 50) for turn in range(1, 51)))
    return granted


async def test_ten_thousand_wishes_never_pass_the_cap(database: Database, desk: Desk) -> None:
    await world(database, 50)
    granted = await storm(database, [desk], Caps(tokens=7 * 6000 + 6, usd=100.0), 10_000)
    assert granted == 6000
    assert await row(database) == (0, 0, 42_000, 6.0)


async def test_two_processes_share_one_cap(database: Database) -> None:
    await world(database, 50)
    async with desks(database, 2) as both:
        assert await storm(database, both, Caps(tokens=10**9, usd=1.0005), 3000) == 1000
    assert await row(database) == (0, 0, 7000, 1.0)


async def test_without_the_lock_on_the_row_two_processes_pass_the_cap(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    loose = BUDGETS["reserve"].replace("ORDER BY scope, key, day FOR NO KEY UPDATE", "ORDER BY scope, key, day")
    loose = loose.replace("JOIN locked USING (scope, key, day)", "CROSS JOIN (SELECT pg_sleep(1)) AS z")
    assert loose.count("pg_sleep") == 1
    monkeypatch.setitem(module.BUDGETS, "reserve", loose)
    await world(database, 2)
    async with desks(database, 2) as (a, b):
        one, two = account(1, run=Caps(tokens=100)), account(2, run=Caps(tokens=100))
        await asyncio.gather(held(a, one, 60), held(b, two, 60))
    assert (await row(database))[2] > 100


async def test_a_call_that_fits_is_let_through_among_those_that_do_not(database: Database, desk: Desk) -> None:
    await world(database, 6)
    wishes = [60, 500, 30, 70, 10, 5]
    given = [desk.reserve(account(n, run=Caps(tokens=100)), wish, 0.0) for n, wish in enumerate(wishes, 1)]
    results = await asyncio.gather(*given, return_exceptions=True)
    assert [isinstance(result, Hold) for result in results] == [True, False, True, False, True, False]
    assert (await row(database))[2] == 100
    assert desk.groups <= 4


async def test_all_scopes_or_none(database: Database, desk: Desk) -> None:
    await world(database, 2)
    with pytest.raises(BudgetExhausted) as caught:
        await desk.reserve(account(1, run=MANY, persona=Caps(tokens=10), instance=MANY), 11, 0.0)
    assert caught.value.scope == "persona"
    assert await database.fetchval("SELECT sum(held_tokens) FROM budgets") == 0
    await desk.reserve(account(2, run=MANY, persona=Caps(tokens=11), instance=MANY), 11, 0.0)
    assert await database.fetchval("SELECT sum(held_tokens) FROM budgets") == 33


async def test_one_cent(database: Database, desk: Desk, committer: Committer) -> None:
    await world(database, 1)
    who = account(run=Caps(usd=0.01))
    for number in range(3):
        hold = await held(desk, who, 1500, 0.003)
        await settle(committer, 1, number, hold, cost_usd=0.003)
    with pytest.raises(BudgetExhausted, match=r"the cap is \$0\.010000, of which run 1 has spent \$0\.009000"):
        await desk.reserve(who, 1500, 0.003)
    await held(desk, who, 1500, 0.001)
    assert (await row(database))[1::2] == (0.009, 0.001)


async def test_caps_set_in_mid_day_count_earlier_calls(database: Database, desk: Desk, committer: Committer) -> None:
    await world(database, 2, runs=2)
    for turn in (1, 2, 3):
        await committer.commit(step(turn, 0, persona_id=(turn - 1) % 2 + 1))
    await database.fetchval("UPDATE calls SET created_at = created_at - interval '2 days' WHERE turn_id = 3")
    await held(desk, account(1, persona=MANY, run=MANY, instance=MANY), 100)
    assert [(await row(database, *of))[0] for of in (("run", 1), ("persona", 1), ("instance", 0))] == [30, 15, 30]
    with pytest.raises(BudgetExhausted, match="spent 15 tokens"):
        await desk.reserve(account(2, persona=Caps(tokens=20)), 6, 0.0)


async def test_a_row_that_fell_behind_without_its_cap_catches_up_once(database: Database, committer: Committer) -> None:
    await world(database, 3)
    async with desks(database) as (morning,):
        await settle(committer, 1, 0, await held(morning, account(1, instance=MANY), 50))
    await committer.commit(step(2, 0))
    async with desks(database, 3) as evening:
        await asyncio.gather(*(held(d, account(n, instance=MANY), 50) for n, d in enumerate(evening, 1)))
    assert await row(database, "instance", 0) == (30, 0.002, 150, 0)


async def test_who_has_lost_the_turn_holds_nothing(database: Database, desk: Desk) -> None:
    await world(database, 2)
    await taken_over(database, 1)
    with pytest.raises(Superseded):
        await desk.reserve(account(1, run=MANY), 10, 0.0)
    await database.fetchval("UPDATE turns SET state = 'failed' WHERE id = 2")
    with pytest.raises(Superseded):
        await desk.reserve(account(2, run=MANY), 10, 0.0)
    assert (await row(database))[2] == 0


async def test_without_the_fence_a_ghost_would_hold(
    database: Database, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    loose = BUDGETS["reserve"].replace("AND t.epoch = g.epoch AND t.state = 'running'", "")
    assert loose != BUDGETS["reserve"]
    monkeypatch.setitem(module.BUDGETS, "reserve", loose)
    await world(database, 1)
    await taken_over(database, 1)
    await held(desk, account(1, run=MANY), 10)
    assert (await row(database))[2] == 10


async def test_a_lost_call_is_charged_exactly_once(database: Database, desk: Desk, committer: Committer) -> None:
    await world(database, 2)
    who = account(1, run=MANY, persona=MANY)
    hold = await held(desk, who, 900, 0.02)
    epoch = await taken_over(database, 1)
    charges = [charge_lost(database, [1, 2], [epoch, 1]) for _ in range(8)]
    assert sum(await asyncio.gather(*charges)) == 1
    assert await row(database) == (900, 0.02, 0, 0)
    assert await database.fetchval("SELECT lost_calls FROM runs") == 1
    with pytest.raises(Superseded):
        await settle(committer, 1, 0, hold)
    again = await held(desk, replace(who, epoch=epoch), 100)
    assert await charge_lost(database, [1], [1]) == 0, "an old owner must not charge the new one's call"
    await settle(committer, 1, 0, again, epoch=epoch)
    assert await row(database) == (915, 0.021, 0, 0)
    assert await recount(database) == []


async def test_a_turn_that_holds_something_is_charged_before_it_holds_more(database: Database, desk: Desk) -> None:
    await world(database, 1)
    await held(desk, account(run=MANY), 40)
    await held(desk, account(run=MANY), 50)
    assert await row(database) == (40, 0, 50, 0)
    assert await database.fetchval("SELECT lost_calls FROM runs") == 1


async def test_what_failed_turns_hold_is_charged_with_their_run(database: Database, desk: Desk) -> None:
    await world(database, 3)
    for turn in (1, 2, 3):
        await held(desk, account(turn, run=MANY), 10)
    await database.fetchval("UPDATE turns SET state = 'failed', epoch = 2 WHERE id < 3")
    assert await charge_lost(database, [1]) == 1
    assert await charge_lost_of_run(database, 1) == 2
    assert await charge_lost_of_run(database, 1) == 0
    assert await row(database) == (30, 0, 0, 0)


async def test_a_release_gives_back_unless_the_turn_has_moved_on(database: Database, desk: Desk) -> None:
    await world(database, 2)
    first, second = account(1, run=MANY), account(2, run=MANY)
    await held(desk, first, 10, 0.5)
    await held(desk, second, 20, 0.25)
    await desk.release(first)
    await desk.release(first)
    await taken_over(database, 2)
    await desk.release(second)
    assert await row(database) == (0, 0, 20, 0.25)


async def test_who_stops_waiting_holds_nothing(database: Database, desk: Desk) -> None:
    await world(database, 1)
    waiting = asyncio.create_task(desk.reserve(account(run=MANY), 10, 0.0))
    await asyncio.sleep(0.001)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await desk._queue.join()
    assert await database.fetchval("SELECT coalesce(sum(held_tokens), 0) FROM budgets") == 0
    assert await recount(database) == []


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -5, "completion_tokens": -7, "cost_usd": -3.0},
        {"prompt_tokens": 0, "completion_tokens": -(2**31), "cost_usd": None},
        {"prompt_tokens": -1, "completion_tokens": 0, "cost_usd": -float("inf")},
    ],
)
async def test_no_usage_gives_anything_back(
    database: Database, desk: Desk, committer: Committer, usage: dict[str, Any]
) -> None:
    await world(database, 1)
    await settle(committer, 1, 0, await held(desk, account(run=MANY), 100, 0.1))
    hold = await held(desk, account(run=MANY), 100, 0.1)
    cost = usage["cost_usd"]
    stored = {**usage, "cost_usd": None if cost == -float("inf") else cost}
    await settle(committer, 1, 1, hold, **stored)
    assert await row(database) == (15, 0.001, 0, 0)
    assert module.charged(**usage) == (0, 0.0)
    assert await recount(database) == []


async def test_a_group_of_mixed_holds(database: Database, desk: Desk, committer: Committer) -> None:
    await world(database, 60)
    caps = [{}, {"run": MANY}, {"run": MANY, "persona": MANY}, {"run": MANY}]
    holds = await asyncio.gather(*(desk.reserve(account(n, **caps[n % 4]), n, n / 1000) for n in range(1, 61)))
    assert [hold is None for hold in holds] == [n % 4 == 0 for n in range(1, 61)]
    assert (await row(database))[2] == sum(n for n in range(1, 61) if n % 4)
    before = committer.groups
    records = [step(n, 0, NewPost(body="x"), hold=hold, prompt_tokens=n) for n, hold in enumerate(holds, 1)]
    results = await asyncio.gather(*map(committer.commit, records))
    assert [result[0].outcome for result in results] == ["made"] * 60
    assert committer.groups - before <= 3
    assert await row(database) == (sum(n + 5 for n in range(1, 61) if n % 4), 0.045, 0, 0)
    assert await row(database, "persona", 2) == (7, 0.001, 0, 0)
    assert await database.fetchval("SELECT count(*) FROM budgets WHERE scope = 'persona'") == 15


async def test_a_bad_step_in_a_group_settles_nothing_of_its_own(
    database: Database, desk: Desk, committer: Committer
) -> None:
    await world(database, 3)
    holds = [await held(desk, account(n, run=MANY), 50) for n in (1, 2, 3)]
    records = [step(n, 0, NewPost(body="x" * (501 if n == 2 else 5)), hold=hold) for n, hold in enumerate(holds, 1)]
    results = await asyncio.gather(*map(committer.commit, records), return_exceptions=True)
    assert [isinstance(result, Exception) for result in results] == [False, True, False]
    assert await row(database) == (30, 0.002, 50, 0)
    assert await recount(database) == []


async def test_near_its_cap_a_scope_is_told_of_once(database: Database) -> None:
    await world(database, 4)
    told: list[module.Nearly] = []
    async with Desk(database, on_nearly=told.append) as desk:
        await held(desk, account(1, run=Caps(tokens=100)), 79)
        assert told == []
        await held(desk, account(2, run=Caps(tokens=100)), 1)
        await held(desk, account(3, run=Caps(tokens=100), persona=Caps(usd=1.0)), 1, 0.9)
    assert told == [module.Nearly("run", 1, 0.8), module.Nearly("persona", 3, 0.9)]
    assert desk.nearly == told


async def test_the_next_day_starts_anew(database: Database, desk: Desk) -> None:
    await world(database, 1)
    await held(desk, account(instance=Caps(tokens=100)), 90)
    await database.fetchval("UPDATE budgets SET day = day - 1")
    await database.fetchval("UPDATE turns SET held_day = held_day - 1")
    hold = await held(desk, account(instance=Caps(tokens=100)), 80)
    days = await database.fetch("SELECT day, spent_tokens, held_tokens FROM budgets ORDER BY day")
    assert [tuple(day)[1:] for day in days] == [(90, 0), (0, 80)]
    assert days[1]["day"] == hold.day


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE budgets SET spent_tokens = spent_tokens - 1",
        "UPDATE budgets SET spent_tokens = spent_tokens + 1",
        "UPDATE budgets SET spent_usd = spent_usd + 0.001",
        "UPDATE budgets SET held_tokens = held_tokens + 1",
        "UPDATE turns SET held_usd = held_usd + 0.001",
    ],
)
async def test_a_recount_finds_what_is_wrong(database: Database, desk: Desk, committer: Committer, damage: str) -> None:
    await world(database, 2)
    who = account(1, run=MANY, persona=MANY, instance=MANY)
    await settle(committer, 1, 0, await held(desk, who, 50, 0.01))
    await held(desk, who, 60, 0.01)
    assert await recount(database) == []
    await database.fetchval(damage)
    assert [found["scope"] for found in await recount(database)] == ["instance", "persona", "run"]


async def test_a_call_over_midnight_is_no_drift(database: Database, desk: Desk, committer: Committer) -> None:
    await world(database, 1)
    who = account(instance=MANY, persona=MANY)
    hold = await held(desk, who, 50)
    await database.fetchval("UPDATE budgets SET day = day - 1")
    await settle(committer, 1, 0, Hold(hold.tokens, hold.usd, date_before(hold)), latency_ms=1000)
    await database.fetchval("UPDATE calls SET created_at = date_trunc('day', now(), 'UTC') + interval '1 second'")
    assert await recount(database) == []
    await database.fetchval("UPDATE calls SET created_at = created_at + interval '1 hour'")
    assert len(await recount(database)) == 2


def date_before(hold: Hold) -> Any:
    return hold.day.fromordinal(hold.day.toordinal() - 1)


class History:
    """Random goes of four runs' turns, with what they must add up to."""

    def __init__(self, database: Database, desk: Desk, committer: Committer, seed: int) -> None:
        self.database, self.desk, self.committer = database, desk, committer
        self.random = random.Random(seed)
        self.lost = 0
        self.calls = 0

    async def play(self, turn: int, goes: int) -> None:
        run = (turn - 1) // 5 + 1
        who = Account(run, (turn - 1) % 5 + 1, turn, 1, run=Caps(tokens=30_000), instance=Caps(tokens=60_000))
        if run == 4:
            who = replace(who, run=Caps())
        number = 0
        for _ in range(goes):
            tokens = self.random.randrange(10, 2000)
            try:
                hold = await held(self.desk, who, tokens, tokens / 1e6)
            except BudgetExhausted:
                continue
            match self.random.randrange(5):
                case 0:
                    await self.desk.release(who)
                case 1:
                    who = replace(who, epoch=await taken_over(self.database, turn))
                    lost = await charge_lost(self.database, [turn], [who.epoch])
                    self.lost += tokens * lost
                case 2:
                    self.lost += tokens  # by the turn's next wish
                case _:
                    effects = (NewPost(body="b"), Like(1), FollowPersona(self.random.randrange(1, 6)))
                    record: StepRecord = step(turn, number, *effects, persona_id=who.persona_id, epoch=who.epoch)
                    cost = tokens / 2e6
                    await self.committer.commit(replace(record, hold=hold, prompt_tokens=tokens // 2, cost_usd=cost))
                    self.calls += tokens // 2 + 5
                    number += 1
        still = await self.database.fetchval("SELECT held_tokens FROM turns WHERE id = $1", turn)
        self.lost -= still


@pytest.mark.parametrize("seed", range(4))
async def test_after_any_history_the_sums_agree(database: Database, seed: int) -> None:
    await world(database, 5, runs=4)
    async with desks(database, 2) as both, Committer(database, lease_seconds=20) as committer:
        histories = [History(database, desk, committer, seed * 2 + n) for n, desk in enumerate(both)]
        await asyncio.gather(*(histories[turn % 2].play(turn, 40) for turn in range(1, 21)))
    assert await recount(database) == []
    spent, _, now_held, _ = await row(database, "instance", 0)
    assert spent == sum(history.calls + history.lost for history in histories)
    assert now_held == await database.fetchval("SELECT sum(held_tokens) FROM turns")
    assert spent + now_held <= 60_000
    charges = "greatest(0, prompt_tokens) + greatest(0, completion_tokens)"
    assert await database.fetchval(f"SELECT sum({charges}) FROM calls") == sum(h.calls for h in histories)
    await charge_lost(database, list(range(1, 21)))
    assert await database.fetchval("SELECT sum(held_tokens) + sum(held_usd) FROM budgets") == 0
    assert await recount(database) == []


async def test_no_deadlock_among_commits_and_reservations(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight committers and four desks, on the same posts, people and budgets, without a single retry."""
    monkeypatch.setattr("app.ledger.commit.DEADLOCK_TRIES", 1)
    monkeypatch.setattr(module, "TRIES", 1)
    turns = 96
    await world(database, turns)
    async with Committer(database, lease_seconds=20) as first:
        posts = await asyncio.gather(*(first.commit(step(n, 0, NewPost(body="x"))) for n in range(1, 9)))
    likes = [Like(int(made[0].object_id or 0)) for made in posts]
    async with desks(database, 4) as counters:
        committers = [await Committer(database, lease_seconds=20).__aenter__() for _ in range(8)]

        async def play(turn: int) -> None:
            who = account(turn, persona=MANY, run=MANY, instance=MANY)
            for number in range(int(turn <= 8), 8):
                hold = await held(counters[(turn + number) % 4], who, 100, 0.001)
                effects = [*random.Random(turn * 8 + number).sample(likes, 3), FollowPersona(turn % 7 + 1)]
                await committers[(turn + number) % 8].commit(step(turn, number, *effects, hold=hold))

        await asyncio.gather(*map(play, range(1, turns + 1)))
        for committer in committers:
            await committer.__aexit__()
    assert await recount(database) == []
    assert (await row(database))[0] == 15 * turns * 8


@pytest.mark.parametrize("backwards", [False, True])
async def test_only_in_another_order_they_would_deadlock(
    database: Database, monkeypatch: pytest.MonkeyPatch, backwards: bool
) -> None:
    """A transaction that locks a day's row and then a run's, as a settlement does, meets a reservation of both."""
    if backwards:
        other = BUDGETS["reserve"].replace("ORDER BY scope, key, day FOR", "ORDER BY scope DESC, key, day FOR")
        assert other != BUDGETS["reserve"]
        monkeypatch.setitem(module.BUDGETS, "reserve", other)
    await world(database, 2)
    async with desks(database) as (desk,):
        await held(desk, account(2, run=MANY, instance=MANY), 1)
        async with database.connection() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("SET LOCAL deadlock_timeout = '50ms'")
            await connection.execute("SELECT FROM budgets WHERE scope = 'instance' FOR UPDATE")
            waiting = asyncio.create_task(held(desk, account(1, run=MANY, instance=MANY), 1))
            while not await database.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
                await asyncio.sleep(0.01)
            met = False
            try:
                await connection.execute("SELECT FROM budgets WHERE scope = 'run' FOR UPDATE")
            except asyncpg.DeadlockDetectedError:
                met = True
            await transaction.rollback()
        await waiting
    assert met == backwards


async def test_without_its_lock_a_lost_call_would_be_charged_again(
    database: Database, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    loose = BUDGETS["end_holds"].replace("ORDER BY t.id FOR NO KEY UPDATE OF t", "AND pg_sleep(0.5) IS NOT NULL")
    loose = loose.replace(
        "WHERE t.held_tokens > 0 OR t.held_usd > 0\n", "WHERE (t.held_tokens > 0 OR t.held_usd > 0)\n"
    )
    assert loose.count("pg_sleep") == 1
    monkeypatch.setitem(module.BUDGETS, "end_holds", loose)
    await world(database, 1)
    await held(desk, account(run=MANY), 900)
    await asyncio.gather(*(charge_lost(database, [1]) for _ in range(2)))
    assert await row(database) == (1800, 0, 0, 0)


async def test_without_its_floor_a_settlement_would_give_back(
    database: Database, desk: Desk, committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.ledger.commit.charged", lambda prompt, completion, cost: (prompt + completion, cost))
    await world(database, 1)
    hold = await held(desk, account(run=MANY), 100, 0.1)
    await settle(committer, 1, 0, hold, prompt_tokens=-50, completion_tokens=5, cost_usd=-1.0)
    assert await row(database) == (-45, -1.0, 0, 0)
    assert len(await recount(database)) == 1


async def test_a_reservation_whose_answer_is_lost_is_made_once_and_charged_to_nobody(
    database: Database, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world(database, 1)
    ask = Database.fetch
    broken = 0

    async def breaking(self: Database, query: str, *args: object) -> Any:
        nonlocal broken
        rows = await ask(self, query, *args)
        if query == BUDGETS["reserve"] and not broken:
            broken += 1
            raise ConnectionResetError
        return rows

    monkeypatch.setattr(Database, "fetch", breaking)
    await held(desk, account(run=MANY), 40, 0.5)
    assert broken == 1
    assert await row(database) == (0, 0, 40, 0.5)
    assert await database.fetchval("SELECT lost_calls FROM runs") == 0
