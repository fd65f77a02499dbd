"""The socket of a room's person, over the real wire."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from app.db.engine import Database
from tests.chat import make_room, person, talks
from tests.conftest import settings_for
from tests.fault_llm import FaultLLM, serving
from tests.web.test_edge import loopback

MESSAGE = {
    "sender",
    "content",
    "timestamp",
    "message_id",
    "reply_to",
    "quoted_text",
    "mentions",
    "likes_count",
    "liked_by",
    "reported",
}


@asynccontextmanager
async def house(url: str, endpoint: FaultLLM, **more: Any) -> AsyncIterator[str]:
    """A server that drives rooms with that endpoint as its model."""
    given = {"simfeed_model": "any", "openai_base_url": endpoint.url, "openai_api_key": "k", "worker_enabled": True}
    with loopback(settings_for(url, **given, **more)) as address:
        yield address


async def test_who_is_spoken_to_answers(database: Database, url: str) -> None:
    async with serving(talks()) as endpoint, house(url, endpoint) as address:
        key = await make_room(database)
        async with person(address, key) as one:
            await one.say("hello @Bob, how are you?")
            await one.until(lambda: one.messages)
            told = one.messages[0]
            assert set(told) == MESSAGE
            assert told["sender"] == "Bob"
            assert told["content"] == "thought number 1"
            assert told["likes_count"] == 0
            assert told["liked_by"] == []
            assert told["reported"] is False
            assert one.events == []  # a plain client is not told of its own message, nor of typing
        asked = endpoint.received[0].body.decode()
        assert "hello @Bob, how are you?" in asked
        assert "Message 1 speaks to you" in asked


async def test_likes_reports_and_blocks(database: Database, url: str) -> None:
    async with serving(talks()) as endpoint, house(url, endpoint) as address:
        key = await make_room(database)
        async with person(address, key) as one, httpx2.AsyncClient(base_url=address) as client:
            await one.say("hello @Bob")
            await one.until(lambda: one.messages)
            message = one.messages[0]["message_id"]
            path = f"/session/{key}/message/{message}"
            for liked_by in (["participant"], []):
                told = (await client.post(f"{path}/like", json={"user": "participant"})).json()["message"]
                assert (told["message_id"], told["liked_by"], told["likes_count"]) == (message, liked_by, len(liked_by))
                assert told == one.messages[0] | {"liked_by": liked_by, "likes_count": len(liked_by)}
            await one.until(lambda: len(one.events) == 2)
            liked, unliked = one.events
            assert (liked["event_type"], liked["action"], liked["likes_count"]) == ("message_like", "liked", 1)
            assert (liked["message_id"], liked["liked_by"], liked["user"]) == (message, ["participant"], "participant")
            assert liked["session_id"] == key
            assert (unliked["action"], unliked["likes_count"], unliked["liked_by"]) == ("unliked", 0, [])
            given = {"user": "participant", "block": True, "reason": "rude"}
            assert (await client.post(f"{path}/report", json=given)).status_code == 200
            await one.until(lambda: len(one.events) == 4)
            reported, blocked = one.events[2:]
            assert (reported["event_type"], reported["action"], reported["reported"]) == (
                "message_report",
                "reported",
                True,
            )
            assert blocked["event_type"] == "user_block"
            assert list(blocked["blocked"]) == ["Bob"]
            await one.say("hello again @Bob and @Alice")
            await one.until(lambda: len(one.messages) == 2)
            assert one.messages[1]["sender"] == "Alice"
            assert await database.fetchval("SELECT count(*) FROM room_goes WHERE member = 2") == 1


async def test_an_unknown_or_ended_session_is_closed_with_1008(database: Database, url: str) -> None:
    async with serving(talks()) as endpoint, house(url, endpoint) as address:
        for key in ("nothing", "%00", "x" * 500, "é"):
            async with person(address, key) as one:
                await one.until(lambda one=one: one.code)  # type: ignore[misc]
                assert one.code == 1008
        key = await make_room(database, session_duration_minutes=0.05)
        async with person(address, key, query="?extras=1") as one:
            await one.until(lambda: one.code)
            assert one.code == 1000
            assert one.events[0]["event_type"] == "hello"
            assert one.events[-1]["event_type"] == "ended"
            assert one.events[-1]["reason"] == "time"
        async with person(address, key) as one:
            await one.until(lambda: one.code)
            assert one.code == 1008
        for _ in range(100):
            if await database.fetchval("SELECT state FROM rooms WHERE key = $1", key) == "ended":
                break
            await asyncio.sleep(0.1)
        state = await database.fetchrow(
            "SELECT r.state, run.state AS run FROM rooms r JOIN runs run ON run.id = r.run_id"
        )
        assert state is not None
        assert tuple(state) == ("ended", "completed")


async def test_what_was_missed_is_told_once(database: Database, url: str) -> None:
    async with serving(talks()) as endpoint, house(url, endpoint) as address:
        key = await make_room(database)
        async with person(address, key) as one:
            await one.say("one @Bob")
            await one.until(lambda: one.messages)
            await one.say("two @Bob")
        for _ in range(100):
            if await database.fetchval("SELECT count(*) FROM room_messages") == 4:
                break
            await asyncio.sleep(0.1)
        async with person(address, key) as again:
            await again.until(lambda: again.messages)
            await asyncio.sleep(0.3)
            assert [m["content"] for m in again.messages] == ["thought number 2"]
        async with person(address, key, query="?extras=1&since=0") as whole:
            await whole.until(lambda: len(whole.messages) == 4)
            assert [m["content"] for m in whole.messages] == [
                "one @Bob",
                "thought number 1",
                "two @Bob",
                "thought number 2",
            ]
            assert [m.get("own", False) for m in whole.messages] == [True, False, True, False]
            positions = [m["position"] for m in whole.messages]
            assert positions == sorted(positions)


async def test_the_same_client_id_is_one_message(database: Database, url: str) -> None:
    async with serving(talks()) as endpoint, house(url, endpoint) as address:
        key = await make_room(database)
        async with person(address, key, query="?extras=1") as one:
            for _ in range(5):
                await one.say("only once", client_id="c1")
            await one.say("and another", client_id="c2")
            await one.until(lambda: len(one.messages) == 2)
            assert [m["client_id"] for m in one.messages] == ["c1", "c2"]
        numbers = await database.fetch("SELECT number FROM room_messages ORDER BY number")
        assert [row["number"] for row in numbers] == [1, 2]
