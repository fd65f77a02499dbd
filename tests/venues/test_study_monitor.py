"""Researchers watch a study and hold its rooms: over the API, with a person connected, and each deed written down."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from app.auth import audit
from app.db.engine import Database
from app.venues.chatroom import monitor
from app.world.rooms import ROOMS
from tests.chat import Person, person, talks
from tests.conftest import sign_up
from tests.taking_part import Taker, house, open_study, take_part, until_ended
from tests.web.test_edge import assert_problem

EXTRAS = "?extras=1"


@dataclass
class Desk:
    """A researcher at a running server, with somebody who takes part."""

    http: httpx2.AsyncClient
    study: int
    taker: Taker
    address: str

    @property
    def room(self) -> str:
        return f"/studies/{self.study}/rooms/{self.taker.key}"

    async def do(self, path: str, **body: Any) -> httpx2.Response:
        return await self.http.post(path, json=body or None)

    async def seat(self, **query: str) -> dict[str, Any]:
        answer = await self.http.get(f"/studies/{self.study}/participants", params=query)
        assert answer.status_code == 200, answer.text
        (found,) = answer.json()["data"]
        return dict(found)


@asynccontextmanager
async def desk(url: str, database: Database, **more: Any) -> AsyncIterator[Desk]:
    study = await open_study(database, **more)
    taker = await take_part(database, study)
    async with house(url, talks()) as (address, _), httpx2.AsyncClient(base_url=address) as http:
        http.headers.update(await sign_up(http))
        yield Desk(http, study, taker, address)


def kinds(one: Person) -> list[str]:
    return [event["event_type"] for event in one.events]


async def refused(one: Person, words: str) -> str:
    """What somebody is told whose message isn't taken."""
    before = len(one.events)
    await one.say(words)
    await one.until(lambda: "error" in kinds(one)[before:])
    return str(one.events[-1]["detail"])


async def test_who_is_where(database: Database, url: str) -> None:
    async with desk(url, database) as at:
        waiting = await at.seat()
        assert (waiting["pseudonym"], waiting["stage"], waiting["state"]) == (at.taker.pseudonym, "chat", "active")
        assert (waiting["room_state"], waiting["connected"], waiting["seconds_left"]) == ("waiting", False, None)
        async with person(at.address, at.taker.key, query=EXTRAS) as one:
            await one.say("hello @Alice")
            await one.until(lambda: len(one.messages) == 2)
            answer = one.messages[1]["message_id"]
            await at.http.post(
                f"/session/{at.taker.key}/message/{answer}/report", json={"user": "x", "block": True, "reason": "rude"}
            )
            here = await at.seat(stage="chat", state="active")
            assert (here["room_state"], here["connected"], here["paused"]) == ("running", True, False)
            assert (here["theirs"], here["others"], here["reports"], here["blocks"]) == (1, 1, 1, 1)
            assert 200 < here["seconds_left"] <= 300
            seen = (await at.http.get(at.room)).json()
            assert [(told["kind"], told["by"], told["blocked"]) for told in seen["told"]] == [
                ("message", "participant", None), ("message", "Alice", None), ("user_block", None, "Alice")
            ]  # fmt: skip
            assert seen["told"][1]["reported"] == "rude"
            later = (await at.http.get(at.room, params={"after": seen["told"][0]["position"]})).json()
            assert [told["by"] for told in later["told"]] == ["Alice", None]
        nobody = await at.http.get(f"/studies/{at.study}/participants", params={"stage": "done"})
        assert nobody.json() == {"data": [], "next_cursor": None, "has_more": False}


async def test_pages_of_participants(database: Database, client: httpx2.AsyncClient, admin: dict[str, str]) -> None:
    study = await open_study(database)
    takers = [await take_part(database, study) for _ in range(5)]
    found, query = [], {"limit": "2"}
    while True:
        page = (await client.get(f"/studies/{study}/participants", params=query, headers=admin)).json()
        found += [one["pseudonym"] for one in page["data"]]
        if not page["has_more"]:
            break
        query["cursor"] = page["next_cursor"]
    assert found == [taker.pseudonym for taker in takers]
    foreign = await client.get(f"/studies/{study}/participants", params={**query, "stage": "chat"}, headers=admin)
    assert_problem(foreign, 422)


async def test_a_paused_room_takes_nothing_and_loses_no_time(database: Database, url: str) -> None:
    async with desk(url, database) as at, person(at.address, at.taker.key, query=EXTRAS) as one:
        await one.until(lambda: "hello" in kinds(one))
        assert (await at.do(f"{at.room}/pause")).status_code == 204
        await one.until(lambda: "paused" in kinds(one))
        assert "takes no messages" in await refused(one, "hello @Alice")
        left = (await at.seat())["seconds_left"]
        assert_problem(await at.do(f"{at.room}/pause"), 409)
        await database.fetchval(
            "UPDATE rooms SET ends_at = now() - interval '1 minute', paused_at = now() - interval '3 minutes'"
        )
        await asyncio.sleep(1.5)
        assert (await at.seat())["room_state"] == "running", "no time passes in a paused room"
        assert (await at.do(f"{at.room}/resume")).status_code == 204
        await one.until(lambda: "resumed" in kinds(one))
        assert 100 < one.events[-1]["seconds_left"] <= 121 < left
        await one.say("hello @Alice")
        await one.until(lambda: len(one.messages) == 2)
        assert_problem(await at.do(f"{at.room}/resume"), 409)


async def test_control_without_the_pause_the_room_ends(database: Database, url: str) -> None:
    async with desk(url, database) as at, person(at.address, at.taker.key, query=EXTRAS) as one:
        await one.until(lambda: "hello" in kinds(one))
        await database.fetchval("UPDATE rooms SET ends_at = now() - interval '1 minute'")
        assert await until_ended(database, at.taker.key) == "time"


async def test_more_time(database: Database, url: str) -> None:
    async with desk(url, database) as at:
        assert_problem(await at.do(f"{at.room}/extend", minutes=5), 409)
        async with person(at.address, at.taker.key, query=EXTRAS) as one:
            await one.until(lambda: "hello" in kinds(one))
            before = (await at.seat())["seconds_left"]
            assert (await at.do(f"{at.room}/extend", minutes=2.5)).status_code == 204
            await one.until(lambda: "extended" in kinds(one))
            assert one.events[-1]["minutes"] == 2.5
            assert before + 140 < one.events[-1]["seconds_left"] <= before + 150
            for wrong in (0, -1, 241, "5", 10**300, None):
                assert_problem(await at.do(f"{at.room}/extend", minutes=wrong), 422)


async def test_a_notice_reaches_the_person_alone(database: Database, url: str) -> None:
    async with desk(url, database) as at:
        async with person(at.address, at.taker.key, query=EXTRAS) as one:
            assert (await at.do(f"{at.room}/notice", text="Five minutes more. Thank you!")).status_code == 204
            await one.until(lambda: "notice" in kinds(one))
            assert one.events[-1]["text"] == "Five minutes more. Thank you!"
            await one.say("hello @Alice")
            await one.until(lambda: len(one.messages) == 2)
        async with person(at.address, at.taker.key) as plain:
            assert (await at.do(f"{at.room}/notice", text="Still there?")).status_code == 204
            told = ("Research team", "Still there?")
            await plain.until(lambda: told in [(one["sender"], one["content"]) for one in plain.messages])
        prompts = await database.fetchval("SELECT string_agg(convert_from(told, 'UTF8'), '') FROM calls")
        assert "hello" in prompts
        assert "Five minutes" not in prompts
        for wrong in ("", " ", "x" * 5_000, "a\x00b", "\ud800", 7, None):
            answer = await at.http.post(
                f"{at.room}/notice",
                content=json.dumps({"text": wrong}),
                headers={"Content-Type": "application/json"},
            )
            assert_problem(answer, 422)


async def test_somebody_is_removed(database: Database, url: str) -> None:
    async with desk(url, database) as at, person(at.address, at.taker.key, query=EXTRAS) as one:
        await one.until(lambda: "hello" in kinds(one))
        path = f"/studies/{at.study}/participants/{at.taker.pseudonym}/remove"
        assert (await at.do(path)).status_code == 204
        await one.until(lambda: "ended" in kinds(one))
        await one.until(lambda: one.code == 1000)
        assert (await until_ended(database, at.taker.key)) == "removed"
        gone = await at.seat()
        assert (gone["state"], gone["end_reason"], gone["room_reason"]) == ("removed", "removed", "removed")
        assert_problem(await at.do(path), 409)
        assert_problem(await at.do(f"{at.room}/notice", text="too late"), 409)


async def test_each_deed_is_written_down_without_its_words(database: Database, url: str) -> None:
    async with desk(url, database) as at, person(at.address, at.taker.key) as _:
        await at.do(f"{at.room}/notice", text="Zebra stripes")
        for deed in ("pause", "resume"):
            await at.do(f"{at.room}/{deed}")
        await at.do(f"{at.room}/extend", minutes=1)
        await at.do(f"/studies/{at.study}/participants/{at.taker.pseudonym}/remove")
        found = await audit.page(database, before=2**62, admin=None, action=None, words=None, limit=50)
        deeds = [
            row["action"] for row in reversed(found.entries) if row["action"].startswith(("room.", "participant."))
        ]
        assert deeds == ["room.notice", "room.pause", "room.resume", "room.extend", "participant.removed"]
        assert "Zebra" not in str([dict(row) for row in found.entries])


async def test_rooms_of_other_studies_and_strangers(
    database: Database, client: httpx2.AsyncClient, admin: dict[str, str]
) -> None:
    study, other = await open_study(database), await open_study(database, "other")
    taker = await take_part(database, study)
    for key in (taker.key, "nothing", "x" * 101):
        path = f"/studies/{other}/rooms/{key}"
        for answer in (
            await client.get(path, headers=admin),
            await client.post(f"{path}/pause", headers=admin),
            await client.post(f"{path}/notice", json={"text": "x"}, headers=admin),
        ):
            assert_problem(answer, 422 if len(key) > 100 else 404)
    gone = await client.post(f"/studies/{other}/participants/{taker.pseudonym}/remove", headers=admin)
    assert_problem(gone, 404)
    for path in (f"/studies/{study}/participants", f"/studies/{study}/rooms/{taker.key}"):
        assert_problem(await client.get(path), 401)


async def test_who_removes_and_who_ends_come_one_after_the_other(database: Database) -> None:
    """A room that ends at the moment in which its person is removed ends once, for one reason."""
    study = await open_study(database)
    for _ in range(5):
        taker = await take_part(database, study)
        room = await database.fetchval("SELECT id FROM rooms WHERE key = $1", taker.key)
        await database.fetchval("UPDATE rooms SET state = 'running' WHERE id = $1", room)

        async def end(room: int = room) -> None:
            async with database.connection() as connection, connection.transaction():
                await connection.fetchval(ROOMS["lock_id"], room)
                await connection.fetchval(ROOMS["end_room"], room, "time", None)

        await asyncio.gather(monitor.remove(database, study, taker.pseudonym, by=None), end())
        ended = await database.fetchval("SELECT count(*) FROM room_events WHERE room_id = $1 AND kind = 'ended'", room)
        person_ = await database.fetchrow("SELECT state FROM participants WHERE id = $1", taker.id)
        assert (ended, person_ and person_["state"]) == (1, "removed")


@pytest.fixture
async def admin(client: httpx2.AsyncClient) -> dict[str, str]:
    return await sign_up(client)


async def test_the_terminal_tells_the_same(database: Database, url: str) -> None:
    study = await open_study(database)
    empty = command(url, "monitor", "bicycles")
    assert (empty.returncode, empty.stdout) == (0, "")
    assert "simfeed study tokens bicycles" in empty.stderr
    takers = [await take_part(database, study, label="Zebra") for _ in range(3)]
    await monitor.remove(database, study, takers[0].pseudonym, by=None)
    told = json.loads(command(url, "monitor", str(study), "--json").stdout)
    assert [(seat["pseudonym"], seat["state"]) for seat in told] == [
        (taker.pseudonym, "removed" if taker is takers[0] else "active") for taker in takers
    ]
    table = command(url, "monitor", "bicycles").stdout
    assert "3 participants, 2 under way, 0 connected" in table
    assert "Zebra" not in table
    assert all(taker.pseudonym in table for taker in takers)
    assert takers[0].pseudonym not in command(url, "monitor", "bicycles", "--state", "active").stdout
    for wrong in (["--stage", "lunch"], ["--watch", "--json"], ["--every", "0"]):
        refused_ = command(url, "monitor", "bicycles", *wrong)
        assert (refused_.returncode, refused_.stdout) == (2, ""), wrong


def command(url: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "DATABASE_URL": url, "COLUMNS": "160"}
    words = [sys.executable, "-c", "from app.cli import main; main()", "study", *arguments]
    return subprocess.run(words, capture_output=True, text=True, env=environment, timeout=120)
