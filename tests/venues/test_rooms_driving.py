"""W7–W9 and what else befalls whoever drives a room: kills, halts, spent budgets, databases that go away."""

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import asyncpg
import pytest

from app.db.engine import Database
from app.ledger.pulse import halt
from app.venues.chatroom import driver as driving
from app.venues.chatroom import pace
from app.venues.chatroom.goes import Plan, Table
from app.world import rooms
from app.world.rooms import ROOMS
from tests import room_kill_loop
from tests.chat import make_room, person, talks
from tests.fault_llm import FaultLLM, serving
from tests.faults.own import own_server, world_of
from tests.room_kill_loop import Process, gaps
from tests.web.test_socket import house
from tests.web.test_socket_faults import EXTRAS, _is, ended_as, until

AGENTS = "SELECT member FROM room_messages WHERE member > 0 ORDER BY number"


@asynccontextmanager
async def served(url: str, *, think: float = 0.0, **more: Any) -> AsyncIterator[tuple[str, FaultLLM]]:
    async with serving(talks(think=think)) as endpoint, house(url, endpoint, **more) as address:
        yield address, endpoint


async def count(database: Database, statement: str) -> int:
    return int(await database.fetchval(f"SELECT count(*) FROM {statement}"))


# W7


async def test_w7_killed_servers_lose_and_double_nothing(database: Database, url: str) -> None:
    found = await room_kill_loop.loop(url, kills=2, rooms_=8)
    assert found.faults == 0, found
    assert found.kills == 2
    assert found.acknowledged > 16
    assert found.visits >= 8 * 3


async def test_w7_taking_over_asks_once_what_was_planned(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the room is: a room of many messages is taken over with as few writes as one of few."""
    tried: list[str] = []
    locked = rooms.locked_by_id

    async def counted(database: Database, room_id: int, statement: str, *given: object) -> Any:
        tried.append(statement)
        return await locked(database, room_id, statement, *given)

    async with served(url) as (address, _):
        key = await make_room(database)
        async with person(address, key) as one:
            for n in range(6):
                await one.say(f"@Bob {n}")
                await one.until(lambda n=n: len(one.messages) == n + 1)  # type: ignore[misc]
    monkeypatch.setattr(rooms, "locked_by_id", counted)
    async with served(url) as (address, _), person(address, key) as again:
        await again.say("@Bob and now?")
        await again.until(lambda: again.messages)
    assert tried.count("let_go") == 1


@pytest.mark.parametrize("how", [signal.SIGTERM])
async def test_w7_a_server_that_is_asked_to_end_gives_its_rooms_back(
    database: Database, url: str, how: signal.Signals
) -> None:
    async with serving(talks(think=1.5)) as endpoint:
        server = Process(url, endpoint.url)
        await server.start(ready=True)
        key = await make_room(database)
        async with person(server.address, key, query=EXTRAS) as one:
            await one.say("@Bob?", client_id="c")
            await until(lambda: _is(count(database, "turns WHERE state = 'running'"), 1))
            began = time.monotonic()
            code = await asyncio.wait_for(server.end(how), 12)
            assert code in (0, -how)  # uvicorn ends everything, then passes the signal on
            assert time.monotonic() - began < 12
            await one.until(lambda: one.code)
            assert one.code == 1012
        assert await database.fetchval("SELECT lease_until IS NULL FROM rooms")
        assert await count(database, "calls") == 1  # the call under way was finished and is kept
        assert await count(database, "turns WHERE state = 'running'") == 0
        await server.start(ready=True)
        async with person(server.address, key, query=f"{EXTRAS}&since=0") as again:
            await again.until(lambda: len(again.messages) == 2)
        assert len(endpoint.received) == 1
        await server.end(signal.SIGTERM)


async def test_what_is_said_in_rooms_is_never_kept_to_be_used_again(database: Database, url: str) -> None:
    async with served(url, reuse=True) as (address, _):
        key = await make_room(database)
        async with person(address, key) as one:
            await one.say("@Bob?")
            await one.until(lambda: one.messages)
    assert await count(database, "calls") == 1
    assert await count(database, "reusable") == 0


# Two drivers


async def test_whoever_drove_before_writes_nothing(database: Database) -> None:
    """A paused process wakes up late: all it does is told by its epoch. Beside it, the same in the right epoch."""
    key = await make_room(database)
    room_id = await database.fetchval("SELECT id FROM rooms")
    await rooms.enter(database, key)
    (claimed,) = await database.fetch(ROOMS["claim_rooms"], 5.0, 10, [])
    late = claimed["epoch"]
    go = await rooms.locked_by_id(database, room_id, "let_go", late, 1, "background", None, "tick/1")
    assert go is not None
    draft = await database.fetchval(
        "INSERT INTO room_drafts (room_id, member, turn_id, kind, body) VALUES ($1, 1, $2, 'say', 'x') RETURNING id",
        room_id,
        go["turn_id"],
    )
    assert await database.fetch(ROOMS["claim_rooms"], 5.0, 10, []) == []  # its lease holds
    await database.fetch("UPDATE rooms SET lease_until = now() - interval '1 s'")
    (again,) = await database.fetch(ROOMS["claim_rooms"], 5.0, 10, [])
    assert again["epoch"] == late + 1

    async def does(epoch: int) -> list[bool]:
        told = [
            await rooms.locked_by_id(database, room_id, "let_go", epoch, 2, "background", None, "tick/2"),
            await rooms.locked_by_id(database, room_id, "begin_typing", epoch, 1),
            await rooms.locked_by_id(database, room_id, "tell_draft", epoch, draft, rooms.new_key(), [], None),
        ]
        return [one is not None for one in told]

    before = await database.fetchrow("SELECT * FROM rooms")
    assert await does(late) == [False] * 3
    assert await database.fetch(ROOMS["keep_rooms"], [room_id], [late], 5.0) == []
    assert await database.fetchrow(ROOMS["stand"], room_id, late, 0) is None
    await database.fetch(ROOMS["free_rooms"], [room_id], [late])
    assert await database.fetchrow("SELECT * FROM rooms") == before
    assert await does(late + 1) == [True] * 3
    assert await does(late + 1) == [False, True, False]  # each thing once
    assert await gaps(database) == 0


@pytest.mark.slow
async def test_p2_a_frozen_server_wakes_up_late(database: Database, url: str) -> None:
    async with serving(talks(think=0.3)) as endpoint:
        first, second = Process(url, endpoint.url), Process(url, endpoint.url)
        await first.start(ready=True)
        await second.start(ready=True)
        key = await make_room(database)
        async with person(first.address, key) as one:
            await one.say("@Bob?")
            await one.until(lambda: one.messages)
            await asyncio.sleep(0.5)  # who leaves before they could say that it came is told it again
        for n in range(3):  # wherever it is driven: freeze one, then the other
            frozen, awake = (first, second) if n % 2 else (second, first)
            assert frozen.child is not None
            frozen.child.send_signal(signal.SIGSTOP)
            async with person(awake.address, key) as two:
                await two.say("@Bob and @Alice?")
                await two.until(lambda two=two: len(two.messages) >= 2, 40)  # type: ignore[misc]
                frozen.child.send_signal(signal.SIGCONT)
                await asyncio.sleep(2)
                assert len(two.messages) == 2
        assert await gaps(database) == 0
        await first.end(signal.SIGTERM)
        await second.end(signal.SIGTERM)


# W8


@pytest.mark.parametrize(("minutes", "late"), [(0.02, True), (5, False)])
async def test_w8_what_comes_after_the_end_is_not_told_and_its_cost_is_kept(
    database: Database, url: str, minutes: float, late: bool
) -> None:
    async with served(url, think=2.0) as (address, endpoint):
        key = await make_room(database, session_duration_minutes=minutes)
        async with person(address, key, query=EXTRAS) as one:
            await one.say("@Bob and @Alice?", client_id="c")
            if late:
                await one.until(lambda: one.code)
                await until(lambda: _is(database.fetchval("SELECT state FROM rooms"), "ended"))
            else:
                await one.until(lambda: len(one.messages) == 3)
        assert len(endpoint.received) == 2
        assert await count(database, "calls WHERE completion_tokens > 0") == 2
        assert await count(database, "room_messages WHERE member > 0") == (0 if late else 2)
        assert await count(database, "actions WHERE outcome = 'not_allowed'") == (2 if late else 0)
        assert await count(database, "room_drafts WHERE state = 'typing'") == 0
        if late:
            assert one.events[-1]["event_type"] == "ended"
            assert await database.fetchval("SELECT state FROM runs") == "completed"


async def test_w8_a_room_that_ends_while_its_turns_wait_asks_nobody(database: Database, url: str) -> None:
    """A turn given back, or left by a killed process, is not played once the room is over."""
    key = await make_room(database)
    room_id = await database.fetchval("SELECT id FROM rooms")
    await rooms.enter(database, key)
    (claimed,) = await database.fetch(ROOMS["claim_rooms"], 1.0, 10, [])
    for member in (1, 2):
        go = await rooms.locked_by_id(
            database, room_id, "let_go", claimed["epoch"], member, "background", None, f"tick/{member}"
        )
        assert go is not None
    await database.fetch("UPDATE turns SET state = 'running', epoch = 1, lease_until = now() WHERE ordinal = 1")
    assert await rooms.end(database, room_id, "removed")
    await database.fetch("UPDATE turns SET state = 'queued', ended_at = NULL, reason = NULL WHERE ordinal = 2")
    async with served(url) as (_, endpoint):
        await until(lambda: _is(database.fetchval("SELECT state FROM rooms"), "ended"))
        assert endpoint.received == []
    reasons = await database.fetch("SELECT state, reason FROM turns")
    assert [tuple(row) for row in reasons] == [("done", "room_over")] * 2
    assert await database.fetchval("SELECT state FROM runs") == "completed"


# W9


async def chatter(database: Database, url: str, words: int, seconds: float, **given: Any) -> str:
    """A room of eight agents in which a person addresses nobody."""
    names = [f"Agent{n}" for n in range(8)]
    async with served(url) as (address, _):
        key = await make_room(database, *names, **given)
        async with person(address, key) as one:
            for n in range(words):
                await one.say(f"what of {n}?")
                await asyncio.sleep(0.22)
            await asyncio.sleep(seconds)
    return key


MOST_A_MINUTE = """
    SELECT max(n) FROM (
        SELECT count(*) OVER (ORDER BY at RANGE BETWEEN CURRENT ROW AND interval '59.999 s' FOLLOWING) AS n
        FROM room_messages WHERE member > 0
    ) counted
"""


@pytest.mark.parametrize("bounded", [True, False])
async def test_w9_agents_together_write_so_much_a_minute_and_no_more(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch, bounded: bool
) -> None:
    """Beside its control: without the bound they answer everything."""
    if not bounded:
        monkeypatch.setattr(pace, "TOLERANCE", 1_000)
    await chatter(database, url, 40, 2, messages_per_minute=10, user_response_probability=1.0)
    assert await count(database, "room_messages WHERE member = 0") == 40
    found = await database.fetchval(MOST_A_MINUTE)
    assert (found <= 11) is bounded
    assert found >= 8


async def test_w9_in_every_minute_of_a_long_room(database: Database, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Minutes of one second: what is true of these is true of sixty."""
    monkeypatch.setattr(driving, "WINDOW_SECONDS", 1.0)
    monkeypatch.setattr(pace.Ticks, "__post_init__", _sixty_times_as_fast)
    await chatter(database, url, 0, 12, messages_per_minute=8)
    ages = [row["at"].timestamp() for row in await database.fetch("SELECT at FROM room_messages ORDER BY number")]
    assert len(ages) > 40
    assert max(sum(1 for at in ages if begin <= at < begin + 0.999) for begin in ages) <= 8


def _sixty_times_as_fast(ticks: pace.Ticks) -> None:
    ticks.a_minute *= 120  # twice as many as the bound allows
    ticks._chance = random.Random(ticks.seed)
    ticks._advance()


@pytest.mark.parametrize("heeded", [True, False])
async def test_w9_nobody_answers_themselves(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch, heeded: bool
) -> None:
    if not heeded:
        anybody = Table.anybody

        def careless(table: Table, plan: Plan, busy: set[int], _: int | None) -> Plan | None:
            return anybody(table, plan, busy, None)

        monkeypatch.setattr(Table, "anybody", careless)
    async with served(url) as (address, _):
        key = await make_room(database, "Ann", "Bob", "Cid", messages_per_minute=600)
        async with person(address, key):
            await until(lambda: _is_at_least(database, 60))
    members = [row["member"] for row in await database.fetch(AGENTS)]
    repeated = sum(one == next_ for one, next_ in pairwise(members))
    assert (repeated == 0) is heeded


async def _is_at_least(database: Database, most: int) -> bool:
    return await count(database, "room_messages WHERE member > 0") >= most


async def test_w9_nobody_replies_to_or_likes_themselves(database: Database) -> None:
    key = await make_room(database)
    room_id = await database.fetchval("SELECT id FROM rooms")
    await rooms.enter(database, key)
    (claimed,) = await database.fetch(ROOMS["claim_rooms"], 5.0, 10, [])
    epoch = claimed["epoch"]

    async def told(member: int, kind: str, target: int | None, name: str) -> None:
        go = await rooms.locked_by_id(database, room_id, "let_go", epoch, member, "background", None, name)
        draft = await database.fetchval(
            "INSERT INTO room_drafts (room_id, member, turn_id, kind, body, reply_to) VALUES ($1, $2, $3, $4, 'x', $5) "
            "RETURNING id",
            room_id,
            member,
            go and go["turn_id"],
            kind,
            target,
        )
        assert await rooms.locked_by_id(database, room_id, "tell_draft", epoch, draft, rooms.new_key(), [], None)

    await told(1, "say", None, "tick/1")
    await told(1, "say", 1, "tick/2")
    await told(1, "like_message", 1, "tick/3")
    await told(2, "say", 1, "tick/4")
    await told(2, "like_message", 1, "tick/5")
    replies = await database.fetch("SELECT reply_to FROM room_messages ORDER BY number")
    assert [row["reply_to"] for row in replies] == [None, None, 1]
    likes = await database.fetch("SELECT member, number FROM room_reactions")
    assert [tuple(row) for row in likes] == [(2, 1)]
    assert await gaps(database) == 0


async def test_who_is_spoken_to_need_not_wait_with_those_who_are_not(database: Database, url: str) -> None:
    """When agents have written as much as they may, an unasked draft waits; an answer to the person passes it."""
    async with served(url) as (address, _):
        key = await make_room(database, "Ann", "Bob", "Cid", messages_per_minute=1, user_response_probability=1.0)
        async with person(address, key) as one:
            await one.say("somebody?")
            await one.until(lambda: one.messages)  # the one message of this minute
            await one.say("somebody else?")
            await until(lambda: _is(count(database, "room_drafts WHERE state = 'typing'"), 1))
            await asyncio.sleep(0.5)
            waiting = await database.fetchval("SELECT member FROM room_drafts WHERE state = 'typing'")
            name = ["Ann", "Bob", "Cid"][waiting % 3]
            await one.say(f"@{name}?")
            await one.until(lambda: len(one.messages) == 2, 15)
            assert one.messages[1]["sender"] == name


# Halts, budgets, databases


async def test_the_kill_switch_stops_calls_and_rooms_go_on_after_it(database: Database, url: str) -> None:
    async with served(url) as (address, endpoint):
        key = await make_room(database)
        async with person(address, key, query=EXTRAS) as one:
            await one.say("@Bob?", client_id="a")
            await one.until(lambda: len(one.messages) == 2)
            assert await halt(database, True)
            await asyncio.sleep(2.5)
            await one.say("@Bob again?", client_id="b")
            await one.until(lambda: len(one.messages) == 3)
            await asyncio.sleep(2)
            assert len(endpoint.received) == 1
            ends = await make_room(database, "Cid", session_duration_minutes=0.01)
            async with person(address, ends, query=EXTRAS) as other:
                await other.until(lambda: other.code)  # its time is over, calls or no calls
            await halt(database, False)
            await one.until(lambda: len(one.messages) == 4)


async def test_a_spent_budget_ends_the_room(database: Database, url: str) -> None:
    async with served(url) as (address, endpoint):
        key = await make_room(database, settings={"model": "any", "budget_tokens": 3_000})
        async with person(address, key, query=EXTRAS) as one:
            for n in range(50):
                if one.code:
                    break
                await one.say(f"@Bob and @Alice {n}?", client_id=f"c{n}")
                await one.until(lambda n=n: one.code or sum("own" in m for m in one.messages) > n)  # type: ignore[misc]
                await asyncio.sleep(0.3)
            await one.until(lambda: one.code)
            assert one.code == 1000
            assert one.events[-1]["reason"] == "budget"
        await until(lambda: _is(database.fetchval("SELECT state FROM rooms"), "ended"))
        assert await ended_as(database, key) == "budget"
        assert await count(database, "turns WHERE state IN ('queued', 'running')") == 0
        asked = len(endpoint.received)
        await asyncio.sleep(1)
        assert len(endpoint.received) == asked


async def test_while_the_database_is_away_sockets_live_and_rooms_go_on_after_it() -> None:
    """Longer than the grace: nobody has left because nobody could say that they stay."""
    with own_server(max_connections="40") as server:
        async with world_of(server) as url:
            database = await Database.open(url, size=4)
            async with served(url) as (address, _):
                key = await make_room(database, grace_seconds=3)
                async with person(address, key, query=EXTRAS) as one:
                    await one.say("@Bob?", client_id="a")
                    await one.until(lambda: len(one.messages) == 2)
                    await asyncio.to_thread(server.crash)
                    await one.say("is anybody there?", client_id="b")
                    await one.until(lambda: any(e["event_type"] == "error" for e in one.events))
                    await asyncio.sleep(6)
                    assert one.code is None
                    await asyncio.to_thread(server.start)
                    for n in range(60):
                        await one.say("@Bob now?", client_id=f"c{n}")
                        await asyncio.sleep(0.5)
                        if len(one.messages) >= 4:
                            break
                    await one.until(lambda: len(one.messages) >= 4)
                    assert one.code is None
            assert await gaps(database) == 0
            await database.close()


# Numbers


async def everything_at_once(database: Database, seed: int) -> str:
    """Many connections say, like, report, type, tell and end in one room at once."""
    chance = random.Random(seed)
    key = await make_room(database, *(f"Agent{n}" for n in range(4)))
    room_id = await database.fetchval("SELECT id FROM rooms WHERE key = $1", key)
    await rooms.enter(database, key)
    (claimed,) = await database.fetch(ROOMS["claim_rooms"], 60.0, 10, [])
    epoch = claimed["epoch"]
    first = await rooms.say(database, key, "first")

    async def agent(number: int) -> None:
        member = 1 + number % 4
        go = await rooms.locked_by_id(database, room_id, "let_go", epoch, member, "background", None, f"tick/{number}")
        assert go is not None
        kind = chance.choice(["say", "like_message"])
        draft = await database.fetchval(
            "INSERT INTO room_drafts (room_id, member, turn_id, kind, body, reply_to) VALUES ($1, $2, $3, $4, 'x', 1) "
            "RETURNING id",
            room_id,
            member,
            go["turn_id"],
            kind,
        )
        for _ in range(2):  # told once, however often it is tried
            await rooms.locked_by_id(database, room_id, "tell_draft", epoch, draft, rooms.new_key(), [], None)

    async def one(number: int) -> None:
        match chance.randrange(6):
            case 0 | 1:
                await rooms.say(database, key, f"{number}", client_id=f"c{chance.randrange(12)}")
            case 2:
                await rooms.like(database, key, first.key)
            case 3:
                await rooms.locked_by_id(database, room_id, "begin_typing", epoch, 1 + number % 4)
            case _:
                await agent(number)

    await asyncio.gather(*(one(number) for number in range(120)))
    return key


@pytest.mark.parametrize("seed", range(4))
async def test_numbers_and_positions_have_no_gap_whoever_writes_at_once(database: Database, seed: int) -> None:
    await everything_at_once(database, seed)
    assert await gaps(database) == 0
    assert await count(database, "room_events") > 60
    once = await database.fetchrow(
        "SELECT count(client_id), count(DISTINCT client_id), count(turn_id), count(DISTINCT turn_id) FROM room_messages"
    )
    assert once is not None
    assert once[0] == once[1] <= 12
    assert once[2] == once[3]


async def test_control_without_the_lock_what_may_happen_once_clashes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlocked = "SELECT id FROM rooms WHERE key = $1"
    monkeypatch.setitem(ROOMS, "lock", unlocked)
    key = await make_room(database)
    await rooms.enter(database, key)

    async def say_all_twice() -> None:
        for n in range(50):
            await asyncio.gather(*(rooms.say(database, key, "x", client_id=f"c{n}") for _ in range(8)))

    with pytest.raises(asyncpg.UniqueViolationError):
        await say_all_twice()
