"""W1–W6: who may connect, floods, people who don't read, frames, connections that come and go."""

import asyncio
import json
import os
import random
import socket as sockets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from app.db.engine import Database
from app.web import server
from app.web import socket as web_socket
from app.web.socket import Visit
from app.world import rooms
from tests.chat import Person, make_room, person, talks
from tests.fault_llm import FaultLLM, serving
from tests.web.test_socket import house

EXTRAS = "?extras=1"


@asynccontextmanager
async def served(url: str) -> AsyncIterator[tuple[str, FaultLLM]]:
    async with serving(talks()) as endpoint, house(url, endpoint) as address:
        yield address, endpoint


async def until(holds: Callable[[], Any], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not (await found if asyncio.iscoroutine(found := holds()) else found):
            await asyncio.sleep(0.05)


async def closed_with(address: str, key: str, *, query: str = "", **more: Any) -> int | None:
    """The code with which a connection is closed at once; None when it stays."""
    async with person(address, key, query=query or EXTRAS, **more) as one:
        await one.until(lambda: one.code or one.events)
        await asyncio.sleep(0.05)
        return one.code


# W1


async def study(database: Database, design: dict[str, Any], consent: str = "page") -> int:
    return int(
        await database.fetchval(
            "INSERT INTO studies (name, state, consent, design, design_sha256, seed) "
            "VALUES (gen_random_uuid()::text, 'open', $1, $2, '\\x00', 1) RETURNING id",
            consent,
            json.dumps(design),
        )
    )


@pytest.mark.parametrize(
    ("consent", "design", "origin", "joins"),
    [
        ("page", {}, None, True),
        ("page", {}, "http://HOST", True),
        ("page", {}, "https://HOST", True),
        ("page", {}, "https://elsewhere.example", False),
        ("page", {}, "https://HOST.elsewhere.example", False),
        ("page", {}, "null", False),
        ("page", {}, "", False),
        ("page", {"origins": []}, "https://elsewhere.example", False),
        ("page", {"origins": ["https://lab.example"]}, "https://lab.example", True),
        ("page", {"origins": ["https://lab.example"]}, "https://lab.example:8443", False),
        ("page", {"origins": ["https://lab.example"]}, "http://lab.example", False),
        ("page", {"origins": ["*"]}, "https://elsewhere.example", True),
        ("external", {}, "https://elsewhere.example", True),
        ("external", {"origins": ["https://lab.example"]}, "https://elsewhere.example", False),
    ],
)
async def test_w1_only_pages_of_allowed_origins_join(
    database: Database, url: str, consent: str, design: dict[str, Any], origin: str | None, joins: bool
) -> None:
    async with served(url) as (address, _):
        key = await make_room(database)
        number = await study(database, design, consent)
        await database.fetch("UPDATE rooms SET study_id = $1", number)
        given = None if origin is None else origin.replace("HOST", address.partition("://")[2])
        more: dict[str, Any] = {} if given is None else {"additional_headers": {"Origin": given}}
        assert await closed_with(address, key, **more) == (None if joins else 1008)
        assert await database.fetchval("SELECT visits FROM rooms") == (1 if joins else 0)


async def test_w1_control_without_the_check_every_page_joins(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_socket, "allowed_origin", lambda *_: True)
    async with served(url) as (address, _):
        key = await make_room(database)
        assert await closed_with(address, key, additional_headers={"Origin": "https://elsewhere.example"}) is None


async def test_w1_a_room_that_ends_while_somebody_enters_stays_ended(database: Database) -> None:
    """They wait for each other at the row: whoever comes second finds what the first has done."""
    key = await make_room(database)
    async with database.connection() as connection, connection.transaction():
        await connection.execute("UPDATE rooms SET state = 'ending', end_reason = 'removed', ended_at = now()")
        entering = asyncio.create_task(rooms.enter(database, key))
        await asyncio.sleep(0.3)
        assert not entering.done()
    assert await entering is None
    assert await database.fetchval("SELECT state FROM rooms") == "ending"


# W2


async def flood(database: Database, address: str, key: str, times: int) -> int | None:
    async with connect(f"{address.replace('http', 'ws')}/ws/{key}", proxy=None) as one:
        with suppress(ConnectionClosed):
            for n in range(times):
                await one.send(json.dumps({"type": "user_message", "content": f"flood {n}"}))
            async with asyncio.timeout(10):
                while True:
                    await one.recv()
        return one.close_code


async def stored(database: Database, key: str) -> int:
    statement = "SELECT count(*) FROM room_messages m JOIN rooms r ON r.id = m.room_id WHERE r.key = $1 AND member = 0"
    return int(await database.fetchval(statement, key))


async def test_w2_a_flood_is_warned_then_closed_and_others_are_unaffected(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_socket, "RATE", 0.0)  # so that what is taken is counted and not timed
    async with served(url) as (address, _):
        flooded = await make_room(database, "Zoe")
        others = [await make_room(database, f"Bob{n}") for n in range(4)]

        async def talk(n: int) -> int:
            async with person(address, others[n]) as one:
                for number in range(5):
                    await one.say(f"@Bob{n} {number}?")
                    await one.until(lambda n=number: len(one.messages) == n + 1)  # type: ignore[misc]
                return len(one.messages)

        codes, *told = await asyncio.gather(flood(database, address, flooded, 1_000), *(talk(n) for n in range(4)))
        assert codes == 1008
        assert told == [5] * 4
        assert await stored(database, flooded) == 10
        assert await flood(database, address, flooded, 100) == 1008  # connecting again gives no more
        assert await stored(database, flooded) == 10


async def test_w2_control_without_the_bucket_all_is_stored(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_socket.Bucket, "take", lambda _: True)
    async with served(url) as (address, _):
        key = await make_room(database)
        flooding = asyncio.create_task(flood(database, address, key, 60))
        await until(lambda: _is(stored(database, key), 60))
        flooding.cancel()


async def _is(found: Any, expected: object) -> bool:
    return bool(await found == expected)


# W3


@asynccontextmanager
async def not_reading(address: str, key: str, since: int) -> AsyncIterator[sockets.socket]:
    loop = asyncio.get_running_loop()
    host, _, port = address.partition("://")[2].partition(":")
    with sockets.socket() as one:
        one.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        one.setblocking(False)
        await loop.sock_connect(one, (host, int(port)))
        request = (
            f"GET /ws/{key}{EXTRAS}&since={since} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await loop.sock_sendall(one, request.encode())
        assert (await loop.sock_recv(one, 12)).endswith(b" 101")
        yield one


class Watched:
    """What visits hold and how they are closed, for all servers of this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.codes: list[int] = []
        self.messages = self.bytes = 0
        put, close = Visit._put, Visit.close

        def watched_put(visit: Visit, position: int, sent: bytes) -> None:
            put(visit, position, sent)
            self.messages = max(self.messages, len(visit._waiting))
            self.bytes = max(self.bytes, sum(len(one) for _, one in visit._waiting))

        def watched_close(visit: Visit, code: int, reason: str) -> None:
            self.codes.append(code)
            close(visit, code, reason)

        monkeypatch.setattr(Visit, "_put", watched_put)
        monkeypatch.setattr(Visit, "close", watched_close)


async def agents_write(database: Database, key: str, count: int) -> None:
    """So many messages of an agent, long ones, told as they come."""
    await database.fetch(
        """WITH room AS (
               UPDATE rooms SET messages_count = messages_count + $2, events_count = events_count + $2 WHERE key = $1
               RETURNING id, messages_count - $2 AS n, events_count - $2 AS p
           ), made AS (
               INSERT INTO room_messages (room_id, number, key, member, body)
               SELECT id, n + s, gen_random_uuid()::text, 1, repeat('x', 1900) FROM room, generate_series(1, $2::int) s
           )
           INSERT INTO room_events (room_id, position, kind, number, member)
           SELECT id, p + s, 'message', n + s, 1 FROM room, generate_series(1, $2::int) s""",
        key,
        count,
    )
    await database.fetch("NOTIFY simfeed_rooms")


async def healthy(address: str, key: str, words: int) -> int:
    async with person(address, key) as one:
        for number in range(words):
            await one.say(f"@Bob {number}?")
            await one.until(lambda n=number: len(one.messages) == n + 1)  # type: ignore[misc]
        return len(one.messages)


async def stall(database: Database, url: str, watched: Watched, rounds: int) -> list[int]:
    """What two healthy people heard while a third didn't read `rounds` times twenty messages."""
    async with served(url) as (address, _):
        stalled = await make_room(database, "Ann")
        others = [await make_room(database, "Bob", "Cid"), await _named(database, "Bob")]
        async with not_reading(address, stalled, 0):
            await until(lambda: _is(database.fetchval("SELECT visits FROM rooms WHERE key = $1", stalled), 1))
            talking = [asyncio.create_task(healthy(address, key, 5)) for key in others]
            for _ in range(rounds):
                await agents_write(database, stalled, 20)
                await asyncio.sleep(0.05)
                if watched.codes:
                    break
            return await asyncio.gather(*talking)


async def _named(database: Database, name: str) -> str:
    """A second room with a persona that plays elsewhere too."""
    key = await make_room(database, f"{name}2")
    await database.fetch("UPDATE room_members SET name = $1 WHERE name = $1 || '2'", name)
    return key


async def test_w3_who_does_not_read_is_closed_and_holds_up_nobody(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    told = await stall(database, url, watched, 200)
    assert watched.codes[0] == 1013
    assert watched.messages <= web_socket.QUEUE_MESSAGES
    assert watched.bytes <= web_socket.QUEUE_BYTES
    assert told == [5, 5]


async def test_w3_control_without_bounds_it_is_all_kept_in_memory(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    monkeypatch.setattr(web_socket, "QUEUE_MESSAGES", 10**9)
    monkeypatch.setattr(web_socket, "QUEUE_BYTES", 10**12)
    await stall(database, url, watched, 100)
    assert 1013 not in watched.codes
    assert watched.bytes > 1_000_000


async def test_w3_a_long_history_is_replayed_as_fast_as_it_is_read(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    async with served(url) as (address, _):
        key = await make_room(database)
        await agents_write(database, key, 700)
        async with person(address, key, query=f"{EXTRAS}&since=0") as one:
            await one.until(lambda: len(one.messages) == 700)
            assert [m["position"] for m in one.messages] == list(range(1, 701))
            await one.say("and on @Bob", client_id="c")
            await one.until(lambda: len(one.messages) == 702)
        async with person(address, key, query=f"{EXTRAS}&since=99999999") as beyond:
            await beyond.say("here @Bob", client_id="d")
            await beyond.until(lambda: len(beyond.messages) == 2)
    assert web_socket.TOO_SLOW not in watched.codes
    assert watched.messages <= web_socket.QUEUE_MESSAGES


# W4


async def code_after(address: str, key: str, *sent: Any, text: bool | None = None) -> int | None:
    async with connect(f"{address.replace('http', 'ws')}/ws/{key}", proxy=None, max_size=None) as one:
        with suppress(ConnectionClosed):
            for piece in sent:
                await one.send(piece, text=text)
            async with asyncio.timeout(10):
                while True:
                    await one.recv()
        return one.close_code


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.parametrize(
    ("sent", "text", "code"),
    [
        (["x" * 16 * 2**20], None, 1009),
        (["x" * (server.FRAME_MAX + 1)], None, 1009),
        ([b"\x00binary"], None, 1003),
        ([b"\xff\xfe\xfd"], True, 1007),
        (["not JSON"], None, 1003),
        (["[" * 4_000], None, 1003),
        ([["x" * 300 for _ in range(60)]], None, 1009),
        ([["" for _ in range(10_000)]], None, 1009),
        ([[b"\xff", b"\xfe"]], True, 1007),
    ],
    ids=["16 MB", "8 KB + 1", "binary", "no UTF-8", "no JSON", "deep", "long fragments", "empty fragments", "halves"],
)
async def test_w4_frames_that_no_client_sends(
    database: Database, url: str, sent: list[Any], text: bool | None, code: int
) -> None:
    async with served(url) as (address, _):
        key = await make_room(database)
        before = resident_mb()
        assert await code_after(address, key, *sent, text=text) == code
        if len(sent[0]) < 2**20:
            assert resident_mb() - before < 20
        assert await healthy(address, key, 1) == 1
        assert await database.fetchval("SELECT count(*) FROM room_messages WHERE member = 0") == 1


async def test_w4_a_message_in_some_fragments_is_one(database: Database, url: str) -> None:
    async with served(url) as (address, _):
        key = await make_room(database)
        whole = json.dumps({"type": "user_message", "content": "höchst @Bob"}, ensure_ascii=False).encode()
        async with person(address, key) as one:
            await one.socket.send([whole[n : n + 3] for n in range(0, len(whole), 3)], text=True)
            await one.until(lambda: one.messages)
        assert await database.fetchval("SELECT body FROM room_messages WHERE number = 1") == "höchst @Bob"


@pytest.mark.parametrize(
    "given",
    [
        {},
        [],
        7,
        {"type": "user_message"},
        {"type": "other", "content": "x"},
        {"type": "user_message", "content": ""},
        {"type": "user_message", "content": 5},
        {"type": "user_message", "content": "x" * 2_001},
        {"type": "user_message", "content": "a\0b"},
        {"type": "user_message", "content": "\ud800"},
        {"type": "user_message", "content": "x", "client_id": "a\0b"},
        {"type": "user_message", "content": "x", "client_id": "\ud800"},
        {"type": "user_message", "content": "x", "reply_to": "a\0b"},
        {"type": "user_message", "content": "x", "reply_to": 10**30},
        {"type": "user_message", "content": "x", "quoted_text": "\0"},
        {"type": "user_message", "content": "x", "mentions": ["x"] * 51},
        {"type": "user_message", "content": "x", "mentions": "all"},
    ],
)
async def test_w4_messages_that_are_none_are_told_so(database: Database, url: str, given: Any) -> None:
    async with served(url) as (address, _):
        key = await make_room(database)
        async with person(address, key, query=EXTRAS) as one:
            await one.until(lambda: one.events)
            await one.socket.send(json.dumps(given))
            await one.until(lambda: len(one.events) > 1)
            assert one.events[1]["event_type"] == "error"
            assert "again" not in one.events[1]["detail"]
            await one.say("@Bob?")
            await one.until(lambda: len(one.messages) == 2)
        assert await stored(database, key) == 1


async def ping(address: str, key: str, megabytes: int) -> bool:
    """Ping without reading an answer; whether all could be sent."""
    frame = b"\x89\xfd" + b"\0" * 4 + b"p" * 125
    async with not_reading(address, key, 0) as one:
        block = frame * 1_000
        for _ in range(megabytes * 2**20 // len(block)):
            try:
                await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(one, block), 5)
            except (OSError, TimeoutError):
                return False
    return True


async def test_w4_pings_without_end_are_cut_off(database: Database, url: str) -> None:
    async with served(url) as (address, _):
        key = await make_room(database)
        before = resident_mb()
        assert not await ping(address, key, 60)
        assert resident_mb() - before < 20
        assert await healthy(address, key, 1) == 1


async def test_w4_control_the_bare_protocol_keeps_every_pong(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = {**server.options(), "ws": "websockets-sansio"}
    monkeypatch.setattr(server, "options", lambda: bare)
    async with served(url) as (address, _):
        key = await make_room(database)
        before = resident_mb()
        assert await ping(address, key, 60)
        assert resident_mb() - before > 20


# W5


async def drop(one: Person, chance: random.Random) -> None:
    """The connection ends politely or not."""
    if chance.random() < 0.5:
        one.socket.transport.abort()
    await one.socket.close()


async def schedule(database: Database, address: str, seed: int, *, words: int = 6) -> tuple[int, int, bool, int]:
    """Talk through random disconnects, sending again what was not acknowledged: lost, doubled, in order, drops."""
    chance = random.Random(seed)
    key = await make_room(database, f"Bob{seed}", "Alice" if seed == 0 else f"Alice{seed}")
    told: list[dict[str, Any]] = []
    waiting = [f"c{n}" for n in range(words)]
    drops = 0
    while waiting or not told or sum(not m.get("own") for m in told) < words:
        since = told[-1]["position"] if told else 0
        async with person(address, key, query=f"{EXTRAS}&since={since}") as one:
            given: list[str] = []
            ends = asyncio.get_running_loop().time() + chance.choice([0.0, 0.02, 0.1, 0.5])
            for name in waiting[: chance.randint(1, 3)]:
                with suppress(ConnectionClosed):
                    await one.say(f"@Bob{seed} {name}", client_id=name)
                    given.append(name)
            await asyncio.sleep(max(0.0, ends - asyncio.get_running_loop().time()))
            if chance.random() < 0.3:
                with suppress(TimeoutError):
                    await one.until(lambda: len(one.messages) > 1, 1)
            await drop(one, chance)
        told += one.messages
        drops += 1
        waiting = [name for name in waiting if name not in {m.get("client_id") for m in told}]
    rows = await database.fetch(
        "SELECT m.key, m.client_id FROM room_messages m JOIN rooms r ON r.id = m.room_id "
        "WHERE r.key = $1 ORDER BY number",
        key,
    )
    written = [row["key"] for row in rows]
    got = [m["message_id"] for m in told]
    lost = len(set(written) - set(got)) + words - len({row["client_id"] for row in rows} - {None})
    return lost, len(got) - len(set(got)) + len(written) - 2 * words, got == written, drops


@pytest.mark.parametrize("count", [12, pytest.param(200, marks=pytest.mark.slow)])
async def test_w5_random_disconnects_lose_and_double_nothing(
    database: Database, url: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_socket, "BURST", 10**6)
    monkeypatch.setattr(web_socket.Bucket, "take", lambda _: True)
    async with served(url) as (address, _):
        gate = asyncio.Semaphore(12)

        async def one(seed: int) -> tuple[int, int, bool, int]:
            async with gate:
                return await schedule(database, address, seed)

        found = await asyncio.gather(*(one(seed) for seed in range(count)))
    assert [(lost, doubled, ordered) for lost, doubled, ordered, _ in found] == [(0, 0, True)] * count
    assert sum(drops for *_, drops in found) > 2 * count


async def written(database: Database, count: int) -> bool:
    return bool(await database.fetchval("SELECT count(*) FROM room_messages") == count)


async def test_w5_a_plain_client_is_told_what_it_missed_once(database: Database, url: str) -> None:
    """A plain client that comes back gets what it missed, once; one that asks from 0 gets all of it again."""
    async with served(url) as (address, _):
        key = await make_room(database)
        for round_ in range(4):
            async with person(address, key) as one:
                if round_:
                    await one.until(lambda: one.messages)
                await one.say(f"@Bob {round_}?")
                if round_ % 2:
                    one.socket.transport.abort()  # no goodbye: what was on its way is told again
            await until(lambda n=round_: written(database, 2 * n + 2))  # type: ignore[misc]
            if round_:
                assert [m["content"] for m in one.messages] == [f"thought number {round_}"]
        async with person(address, key, query=f"{EXTRAS}&since=0") as whole:
            await whole.until(lambda: len(whole.messages) == 8)


async def test_w5_what_never_reached_a_plain_client_is_told_again(database: Database, url: str) -> None:
    """Written to a connection is not told: the line of a telephone in a tunnel takes it and loses it."""
    async with served(url) as (address, _):
        key = await make_room(database)
        async with not_reading(address, key, 0):
            await until(lambda: _is(database.fetchval("SELECT visits FROM rooms"), 1))
            await agents_write(database, key, 3)
            await asyncio.sleep(1.5)
        async with person(address, key) as one:
            await one.until(lambda: len(one.messages) == 3)
            await one.say("@Bob?")
            await one.until(lambda: len(one.messages) == 4)
        await until(lambda: _is(database.fetchval("SELECT max(told_up_to) FROM room_members"), 5))


async def test_w5_another_device_takes_over_at_once(database: Database, url: str) -> None:
    async with served(url) as (address, _):
        key = await make_room(database)
        async with person(address, key, query=EXTRAS) as one, person(address, key, query=EXTRAS) as two:
            await one.until(lambda: one.code)
            assert one.code == 1008
            await two.say("@Bob?", client_id="c")
            await two.until(lambda: len(two.messages) == 2)


# W6


async def attending(database: Database, key: str) -> int:
    """A participant of a study of Simulacra's kind whose room this is."""
    number = await study(database, {}, "external")
    token = await database.fetchval(
        "INSERT INTO study_tokens (study_id, sha256) VALUES ($1, sha256($2::bytea)) RETURNING id", number, key.encode()
    )
    found = await database.fetchval(
        "INSERT INTO participants (study_id, token_id, pseudonym, arm, stage) VALUES ($1, $2, 'p1', 'a', 'chat') "
        "RETURNING id",
        number,
        token,
    )
    await database.fetch("UPDATE rooms SET study_id = $1, participant_id = $2 WHERE key = $3", number, found, key)
    return int(found)


async def ended_as(database: Database, key: str) -> str | None:
    return await database.fetchval("SELECT end_reason FROM rooms WHERE key = $1", key)  # type: ignore[no-any-return]


async def test_w6_who_leaves_for_good_has_dropped_out(database: Database, url: str) -> None:
    async with served(url) as (address, _):
        stays = await make_room(database, "Ann", grace_seconds=1.5)
        leaves = await make_room(database, "Bob", grace_seconds=1.5)
        never = await make_room(database, "Cid", grace_seconds=1.5)
        participant = await attending(database, leaves)
        async with person(address, stays, query=EXTRAS) as one:
            async with person(address, leaves) as two:
                await two.say("I have to go")
                await until(lambda: _is(stored(database, leaves), 1))
            await until(lambda: _is(ended_as(database, leaves), "dropped_out"))
            await until(lambda: _is(ended_as(database, never), "dropped_out"))
            await one.say("@Ann, are you there?", client_id="c")
            await one.until(lambda: len(one.messages) == 2)
            assert await ended_as(database, stays) is None
    row = await database.fetchrow("SELECT state, end_reason FROM participants WHERE id = $1", participant)
    assert row is not None
    assert tuple(row) == ("dropped_out", "dropped_out")


async def test_w6_control_whose_socket_says_nothing_drops_out(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_socket, "STAY_SECONDS", 0.0)
    monkeypatch.setattr(Visit, "stay", lambda _: asyncio.Event().wait())
    async with served(url) as (address, _):
        key = await make_room(database, grace_seconds=1.5)
        async with person(address, key, query=EXTRAS) as one:
            await one.until(lambda: one.code)
            assert one.events[-1] | {"reason": "dropped_out"} == one.events[-1]
