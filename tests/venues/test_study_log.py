"""The contract's session log: JSON Lines of `timestamp, event_type, session_id, data`, made from rows."""

import asyncio
import io
import zipfile
from datetime import datetime
from typing import Any

import httpx2
import msgspec
import pytest

from app.db.engine import Database
from app.errors import NotFound
from app.venues.chatroom import log, monitor
from app.venues.chatroom.export import export
from app.venues.chatroom.log import write_log
from app.world import rooms
from tests.chat import make_room, person
from tests.conftest import sign_up
from tests.fault_llm import answer, ok
from tests.taking_part import CANARY, echoing, hits, house, open_study, take_part, until_ended

TYPES = {
    "session_start",
    "message",
    "llm_call",
    "session_end",
    "error",
    "message_like",
    "message_report",
    "user_block",
}


async def read(database: Database, key: str) -> list[dict[str, Any]]:
    file = io.BytesIO()
    count = await write_log(database, key, file)
    lines = file.getvalue().splitlines()
    assert len(lines) == count
    assert file.getvalue().endswith(b"\n")
    return [msgspec.json.decode(line) for line in lines]


def of(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event["data"] for event in events if event["event_type"] == kind]


async def test_a_session_from_start_to_end(database: Database, url: str) -> None:
    study_id = await open_study(database)
    async with (
        house(url, answer(b"not json")) as (address, endpoint),
        httpx2.AsyncClient(base_url=address) as client,
    ):
        admin = await sign_up(client)
        one = await take_part(database, study_id, label=f"{CANARY}-label", PROLIFIC_PID=f"{CANARY}-prolific")
        async with person(address, one.key, query="?extras=1") as socket:
            await socket.say("hello @Bob")
            async with asyncio.timeout(20):
                while not await database.fetchval("SELECT count(*) FROM turns WHERE state = 'failed'"):
                    await asyncio.sleep(0.05)
            endpoint.play(echoing())
            await socket.say("hello again @Bob")
            await socket.until(lambda: any(not m.get("own") for m in socket.messages))
            said = next(m for m in socket.messages if not m.get("own"))
            path = f"/session/{one.key}/message/{said['message_id']}"
            await client.post(f"{path}/like", json={"user": f"{CANARY}-name"})
            await client.post(f"{path}/report", json={"user": "x", "reason": "rude", "block": True})
            await socket.until(lambda: len(socket.events) >= 4)
            sent = msgspec.json.decode(endpoint.received[-1].body)["messages"]
        room = await rooms.by_key(database, one.key)
        assert room is not None
        await rooms.end(database, room["id"], "left")
        assert await until_ended(database, one.key) == "left"
        events = await read(database, one.key)
        answered = await client.get(f"/studies/{study_id}/sessions/{one.key}/log", headers=admin)
        assert answered.headers["content-type"].startswith("application/x-ndjson")
        assert int(answered.headers["content-length"]) == len(answered.content)
        assert [msgspec.json.decode(line) for line in answered.content.splitlines()] == events
        for path, status in (
            (f"/studies/{study_id + 1}/sessions/{one.key}/log", 404),
            (f"/studies/{study_id}/sessions/nothing/log", 404),
            (f"/studies/{study_id}/sessions/%00/log", 422),
            (f"/studies/0/sessions/{one.key}/log", 422),
        ):
            assert (await client.get(path, headers=admin)).status_code == status, path
        assert (await client.get(f"/studies/{study_id}/sessions/{one.key}/log")).status_code == 401

    assert {event["event_type"] for event in events} == TYPES
    assert {event["session_id"] for event in events} == {one.key}
    assert all(set(event) == {"timestamp", "event_type", "session_id", "data"} for event in events)
    times = [datetime.fromisoformat(event["timestamp"]) for event in events]
    assert all(time.tzinfo is not None for time in times)
    assert times[0] == min(times)
    assert times[-1] == max(times)
    assert events[0]["event_type"] == "session_start"
    assert events[-1]["event_type"] == "session_end"

    start = events[0]["data"]
    assert start["treatment_group"] in ("civil", "curt")
    assert start["treatment"]["prompt_template"] in ("Be kind.", "Be curt.")
    assert set(start["experimental_config"]["groups"]) == {"civil", "curt"}
    assert start["simulation_config"]["agent_names"] == ["Alice", "Bob"]
    assert start["simulation_config"]["num_agents"] == 2
    assert start["simulation_config"]["messages_per_minute"] == 0.01
    assert start["consent"] == "page"
    assert start["participant"] == one.pseudonym
    assert events[-1]["data"]["reason"] == "left"

    messages = of(events, "message")
    assert [(m["number"], m["sender"], m["role"]) for m in messages][:2] == [
        (1, "participant", "participant"),
        (2, "participant", "participant"),
    ]
    assert messages[-1]["sender"] == "Bob"
    failed, fine = of(events, "llm_call")
    assert failed["status"] == "parse"
    assert (fine["status"], fine["agent"], fine["cause"], fine["completion_tokens"]) == ("ok", "Bob", "addressed", 10)
    assert fine["latency_ms"] >= 0
    assert fine["prompt"] == sent
    assert fine["reply"]["tool_calls"][0]["function"]["name"] == "say"
    (error,) = of(events, "error")
    assert (error["what"], error["status"]) == ("model call", "parse")
    (like,) = of(events, "message_like")
    assert (like["action"], like["likes_count"], like["liked_by"], like["user"]) == (
        "liked",
        1,
        ["participant"],
        "participant",
    )
    (report,) = of(events, "message_report")
    assert (report["action"], report["reported"], report["reason"]) == ("reported", True, "rude")
    (block,) = of(events, "user_block")
    assert list(block["blocked"]) == ["Bob"]
    text = msgspec.json.encode(events)
    assert hits(text, f"{CANARY}-name", f"{CANARY}-label", f"{CANARY}-prolific", one.token, one.secret) == 0


async def test_the_prompt_of_a_later_step_is_the_whole_conversation(database: Database, url: str) -> None:
    async with house(url, ok(("like_message", {"message": 99}))) as (address, endpoint):
        key = await make_room(database)
        async with person(address, key) as socket:
            await socket.say("hello @Bob")
            async with asyncio.timeout(20):
                while not await database.fetchval("SELECT count(*) FROM turns WHERE state = 'limit'"):
                    await asyncio.sleep(0.05)
        sent = [msgspec.json.decode(one.body)["messages"] for one in endpoint.received]
        calls = of(await read(database, key), "llm_call")
    assert len(sent) > 1
    assert [call["prompt"] for call in calls] == sent
    assert len(sent[-1]) > len(sent[0])


async def test_a_room_of_no_study_and_one_that_goes_on(database: Database) -> None:
    key = await make_room(database)
    (start,) = await read(database, key)
    assert start["data"]["study"] is None
    assert start["data"]["simulation_config"]["num_agents"] == 2
    with pytest.raises(NotFound):
        await read(database, "nothing")
    for odd in ("", "x" * 500):
        assert not await log.is_session(database, odd)


async def test_what_researchers_do_in_a_room_is_told_in_log_and_package(database: Database, url: str) -> None:
    study_id = await open_study(database)
    async with house(url, echoing()) as (address, _):
        one = await take_part(database, study_id)
        async with person(address, one.key, query="?extras=1") as socket:
            await socket.until(lambda: socket.events)  # it has begun
            await monitor.notice(database, study_id, one.key, "Please be kind.", by=None)
            await monitor.pause_room(database, study_id, one.key, by=None)
            await monitor.extend_room(database, study_id, one.key, 2.5, by=None)
            await monitor.resume_room(database, study_id, one.key, by=None)
            await socket.until(lambda: len(socket.events) >= 5)
            told = {event["event_type"]: event for event in socket.events}
    assert told["notice"]["text"] == "Please be kind."
    kinds = ["notice", "paused", "extended", "resumed"]
    events = [event for event in await read(database, one.key) if event["event_type"] in kinds]
    assert [event["event_type"] for event in events] == kinds
    notice, paused, extended, resumed = (event["data"] for event in events)
    assert (notice, paused, extended["minutes"]) == ({"text": "Please be kind."}, {}, 2.5)
    assert 400 < extended["seconds_left"] <= 450
    assert 400 < resumed["seconds_left"] <= 450
    file = io.BytesIO()
    await export(database, study_id, file)
    with zipfile.ZipFile(file) as packed:
        rows = [msgspec.json.decode(line) for line in packed.read("data/events.jsonl").splitlines()]
    assert [(row["kind"], row["detail"]) for row in rows if row["kind"] in kinds] == [
        (event["event_type"], event["data"]) for event in events
    ]
