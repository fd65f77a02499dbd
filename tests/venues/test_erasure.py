"""R1, W8: whoever withdraws is gone to the byte, or anonymous, at any moment; everybody is once retention is over."""

import asyncio
import io
import zipfile
from typing import Any

import asyncpg
import httpx2
import msgspec
import pytest

from app.auth import participants
from app.db.engine import Database
from app.errors import Conflict, Invalid, NotFound, Unauthorized
from app.ledger import traces
from app.settings import load_settings
from app.venues.chatroom import monitor, studies, withdrawal
from app.venues.chatroom.export import export
from app.venues.chatroom.log import write_log
from app.venues.chatroom.own_data import own_data
from app.world import rooms
from app.world.rooms import ROOMS
from tests.chat import person
from tests.conftest import sign_up
from tests.fault_llm import Exchange
from tests.taking_part import (
    ADDRESS,
    CANARY,
    Taker,
    dump,
    echoing,
    hits,
    house,
    open_study,
    take_part,
    until_ended,
)


async def marked(database: Database, study_id: int, **more: str) -> Taker:
    """Somebody whose label, stratum, answers and parameters hold the canary."""
    given = {"label": f"{CANARY}-label", "city": f"{CANARY}-stratum", "why": f"because {CANARY}-answer"}
    return await take_part(database, study_id, **{**given, **more}, PROLIFIC_PID=f"{CANARY}-prolific")


async def live_through(address: str, database: Database, one: Taker) -> None:
    """Write, like, report, block and be quoted, with the canary wherever a client can put it."""
    async with person(address, one.key, query="?extras=1") as socket, httpx2.AsyncClient(base_url=address) as client:
        await socket.say(f"hello @Bob, I am {CANARY}-words", client_id=f"{CANARY}-client")
        await socket.until(lambda: any(not m.get("own") for m in socket.messages))
        said = next(m for m in socket.messages if not m.get("own"))
        assert f"{CANARY}-words" in said["content"]
        await socket.say("and @Bob again", reply_to=said["message_id"], quoted_text=f"{CANARY}-quoted")
        await socket.until(lambda: len(socket.messages) >= 4)
        path = f"/session/{one.key}/message/{said['message_id']}"
        assert (await client.post(f"{path}/like", json={"user": f"{CANARY}-name"})).status_code == 200
        given = {"user": "x", "reason": f"{CANARY}-reason", "block": True}
        assert (await client.post(f"{path}/report", json=given)).status_code == 200
        await socket.say(f"@Alice what of {CANARY}-more")
        await socket.until(lambda: len(socket.messages) >= 6)


async def package(database: Database, study_id: int) -> bytes:
    """Everything in a study's package, unpacked."""
    file = io.BytesIO()
    await export(database, study_id, file, spreadsheet=True)
    with zipfile.ZipFile(file) as packed:
        return b"\n".join(packed.read(name) for name in packed.namelist())


async def log_of(database: Database, key: str) -> bytes:
    file = io.BytesIO()
    await write_log(database, key, file)
    return file.getvalue()


async def where_found(database: Database, *words: str) -> set[str]:
    """The tables that hold any of the words."""
    found = set()
    tables = await database.fetch(
        "SELECT schemaname || '.' || tablename AS name FROM pg_tables "
        "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    )
    for row in tables:
        rows = await database.fetch(f"SELECT t::text AS whole FROM {row['name']} t")
        if hits("\n".join(one["whole"] for one in rows).encode(), *words):
            found.add(row["name"].removeprefix("public."))
    return found


EVERYWHERE = {
    "identities", "answers", "participants", "study_tokens", "studies", "study_assigned", "room_messages",
    "room_events", "room_reactions", "room_drafts", "calls", "actions",
}  # fmt: skip
DESIGNED = {"studies", "study_assigned"}
"""The stratum is a word of the design here, so these hold it, with whoever withdraws or not."""


async def test_r1_an_erased_person_is_gone_to_the_byte(
    database: Database, url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    study_id = await open_study(database)
    async with house(url, echoing(), log_level="debug") as (address, _), httpx2.AsyncClient(base_url=address) as client:
        admin = await sign_up(client)
        one = await marked(database, study_id)
        other = await take_part(database, study_id)
        await live_through(address, database, one)
        assert await where_found(database, CANARY) == EVERYWHERE
        words = f"{CANARY}-words"
        assert hits(dump(url), words) > 5
        assert hits(await log_of(database, one.key), words) > 2
        assert hits(await package(database, study_id), words) > 2
        calls = await database.fetchval("SELECT sum(prompt_tokens) FROM calls")
        numbers = [row["number"] for row in await database.fetch("SELECT number FROM room_messages ORDER BY number")]
        async with person(address, one.key, query="?extras=1&since=0") as socket:
            await socket.until(lambda: len(socket.messages) >= 6)
            answer = await client.post(f"/session/{one.key}/withdraw", json={"receipt": one.receipt.lower()})
            about = "It was about bicycles."
            assert answer.json() == {"message": "withdrawn", "kept": "erase", "debrief": about}
            await socket.until(lambda: socket.code, seconds=2)
            assert socket.events[-1]["event_type"] == "ended"
            assert socket.events[-1]["reason"] == "withdrawn"
        assert await until_ended(database, one.key) == "withdrawn"

        gone = [f"{CANARY}-{what}" for what in ("words", "more", "quoted", "client", "name", "reason", "label")]
        gone += [f"{CANARY}-answer", f"{CANARY}-prolific", one.token, one.receipt, one.secret]
        assert await where_found(database, *gone) == set()
        assert await where_found(database, CANARY) == DESIGNED
        assert hits(dump(url), *gone) == 0
        assert hits(await log_of(database, one.key), CANARY, *gone) == 0
        whole = await package(database, study_id)
        assert hits(whole, *gone) == 0
        headers = {"accept": "application/json", **admin}
        logged = await client.get(f"/studies/{study_id}/sessions/{one.key}/log", headers=headers)
        assert logged.status_code == 200
        assert hits(logged.content, CANARY) == 0
        assert hits("".join(capfd.readouterr()).encode(), CANARY, one.receipt, one.token) == 0

        stays = await database.fetchrow("SELECT * FROM participants WHERE id = $1", one.id)
        assert stays is not None
        assert (stays["pseudonym"], stays["state"], stays["kept"]) == (one.pseudonym, "withdrawn", "erase")
        assert stays["arm"] in ("civil", "curt")
        assert stays["ended_at"] is not None
        assert await database.fetchval("SELECT sum(prompt_tokens) FROM calls") == calls
        after = [row["number"] for row in await database.fetch("SELECT number FROM room_messages ORDER BY number")]
        assert after[: len(numbers)] == numbers == list(range(1, len(numbers) + 1))
        turn = await database.fetchval("SELECT max(turn_id) FROM calls")
        trace = await traces.read(database, turn)
        assert trace is not None
        assert trace.steps[0].messages == ()
        assert trace.steps[0].call["detail"] == "erased"
        entries = await database.fetch("SELECT * FROM audit WHERE action = 'participant.withdrawn'")
        assert [entry["subject"] for entry in entries] == [one.pseudonym]
        assert await database.fetchval("SELECT state FROM participants WHERE id = $1", other.id) == "active"
        with pytest.raises(Unauthorized):
            await participants.look(database, one.token)


async def test_r1_after_the_session_and_after_an_export(database: Database, url: str) -> None:
    study_id = await open_study(database)
    async with house(url, echoing()) as (address, _):
        one = await marked(database, study_id)
        await live_through(address, database, one)
        await rooms.end(database, await database.fetchval("SELECT id FROM rooms"), "left")
        assert await until_ended(database, one.key) == "left"
    assert hits(await package(database, study_id), f"{CANARY}-words") > 2
    await withdrawal.withdraw(database, one.id, "erase")
    assert await where_found(database, CANARY) == DESIGNED
    assert hits(dump(url), f"{CANARY}-words", f"{CANARY}-answer", f"{CANARY}-name") == 0
    assert hits(await package(database, study_id), f"{CANARY}-words", f"{CANARY}-answer", f"{CANARY}-name") == 0
    assert await until_ended(database, one.key) == "left"  # why the room ended stays true


async def test_r1_anonymised_keeps_the_words_and_nothing_that_leads_to_anybody(database: Database, url: str) -> None:
    study_id = await open_study(database)
    async with house(url, echoing()) as (address, _):
        one = await marked(database, study_id, kept="anonymised")
        before = await database.fetchrow("SELECT token_id FROM participants")
        await live_through(address, database, one)
        await withdrawal.withdraw(database, one.id)
        assert await until_ended(database, one.key) == "withdrawn"
    for what in ("name", "prolific", "label", "client"):
        assert await where_found(database, f"{CANARY}-{what}") == set(), what
    assert await where_found(database, f"{CANARY}-words") >= {"room_messages", "calls"}
    assert await where_found(database, f"{CANARY}-answer") == {"answers"}
    row = await database.fetchrow("SELECT * FROM participants")
    assert row is not None
    assert (row["state"], row["kept"], row["erased_at"]) == ("withdrawn", "anonymised", None)
    assert (row["secret_sha256"], row["receipt_sha256"], row["completion_code"]) == (None, None, None)
    assert before is not None
    assert row["token_id"] != before["token_id"]
    assert await database.fetchval("SELECT count(*) FROM study_tokens") == 1
    assert await participants.by_secret(database, one.secret) is None
    with pytest.raises(Unauthorized):
        await participants.by_receipt(database, one.receipt)
    with pytest.raises(Unauthorized):
        await participants.look(database, one.token)


async def test_w8_an_answer_that_comes_after_the_withdrawal_leaves_its_cost_and_no_word(
    database: Database, url: str
) -> None:
    study_id = await open_study(database)
    asked, may_answer = asyncio.Event(), asyncio.Event()
    quote = echoing()

    async def slow(exchange: Exchange) -> None:
        asked.set()
        await may_answer.wait()
        await quote(exchange)

    async with house(url, slow) as (address, _):
        one = await marked(database, study_id)
        async with person(address, one.key, query="?extras=1") as socket:
            await socket.say(f"@Bob {CANARY}-late")
            async with asyncio.timeout(20):
                await asked.wait()
            await withdrawal.withdraw(database, one.id)
            await socket.until(lambda: socket.code, seconds=2)
            assert await database.fetchval("SELECT state FROM rooms") == "ending"
            may_answer.set()
        assert await until_ended(database, one.key) == "withdrawn"
    assert await where_found(database, f"{CANARY}-late") == set()
    call = await database.fetchrow("SELECT * FROM calls")
    assert call is not None
    assert (call["completion_tokens"], call["detail"]) == (10, "erased")
    assert call["prompt_tokens"] >= 100
    assert await database.fetchval("SELECT count(*) FROM room_messages WHERE member > 0") == 0


async def test_r1_what_was_being_stored_when_they_withdrew_loses_its_words(database: Database, url: str) -> None:
    """A step that began before the withdrawal may see the room as it was, and add a draft to it."""
    study_id = await open_study(database)
    asked, may_answer = asyncio.Event(), asyncio.Event()
    quote = echoing()

    async def slow(exchange: Exchange) -> None:
        asked.set()
        await may_answer.wait()
        await quote(exchange)

    async with house(url, slow) as (address, _):
        one = await marked(database, study_id)
        async with person(address, one.key, query="?extras=1") as socket:
            await socket.say("@Bob hello")
            async with asyncio.timeout(20):
                await asked.wait()
            await withdrawal.withdraw(database, one.id)
            await database.fetch(
                "INSERT INTO room_drafts (room_id, member, turn_id, kind, body) "
                "SELECT r.id, 1, t.id, 'say', $1 FROM rooms r JOIN turns t ON t.run_id = r.run_id LIMIT 1",
                f"You said {CANARY}-draft",
            )
            may_answer.set()
        assert await until_ended(database, one.key) == "withdrawn"
    assert await where_found(database, f"{CANARY}-draft") == set()
    assert await database.fetchval("SELECT state FROM room_drafts") == "discarded"


async def test_r1_control_without_a_look_at_drafts_such_a_one_stays(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wipe = "CASE WHEN closed.erased_at IS NOT NULL THEN '' ELSE d.body END"
    assert wipe in ROOMS["close_room"]
    monkeypatch.setitem(ROOMS, "close_room", ROOMS["close_room"].replace(wipe, "d.body"))
    with pytest.raises(AssertionError, match="room_drafts"):
        await test_r1_what_was_being_stored_when_they_withdrew_loses_its_words(database, url)


async def test_what_tells_who_somebody_is_is_in_no_prompt_log_or_export(
    database: Database, url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Long before anybody withdraws. What they answer and write is data."""
    study_id = await open_study(database)
    agent = {"user-agent": f"{CANARY}-agent", "referer": f"https://{CANARY}-from.example"}
    async with (
        house(url, echoing(), log_level="debug") as (address, endpoint),
        httpx2.AsyncClient(base_url=address, headers=agent) as client,
    ):
        one = await marked(database, study_id)
        client.cookies.set("simfeed_participant", one.secret)
        await rooms.name_person(database, one.key, f"{CANARY}-name")
        for path in ("/s", f"/s/{one.token}?PROLIFIC_PID={CANARY}-prolific", "/withdraw", "/s/my-data.json"):
            assert (await client.get(path)).status_code in (200, 303)
        await live_through(address, database, one)
        await monitor.notice(database, study_id, one.key, f"Dear {CANARY}-notice", by=None)
        sent = b"".join(asked.body for asked in endpoint.received)
        logs = "".join(capfd.readouterr()).encode()
    secret = [f"{CANARY}-{what}" for what in ("name", "prolific", "label", "agent", "from")]
    secret += [one.token, one.secret, one.receipt, ADDRESS]
    log, whole = await log_of(database, one.key), await package(database, study_id)
    for where, data in (("prompts", sent), ("log", log), ("package", whole), ("server", logs)):
        assert hits(data, *secret) == 0, where
    assert hits(logs, CANARY) == 0
    for data in (log, whole):  # the control: what they wrote, and were told, is there
        assert hits(data, f"{CANARY}-words") > 0
        assert hits(data, f"{CANARY}-notice") > 0
    assert hits(sent, f"{CANARY}-words") > 0
    assert hits(sent, f"{CANARY}-notice") == 0
    assert await where_found(database, f"{CANARY}-agent", f"{CANARY}-from") == set()
    assert await where_found(database, f"{CANARY}-prolific", f"{CANARY}-name") == {"identities"}
    assert await where_found(database, f"{CANARY}-label") == {"study_tokens"}
    assert await where_found(database, one.token, one.secret, one.receipt, ADDRESS) == set()
    assert hits(msgspec.json.encode(await own_data(database, one.id)), f"{CANARY}-notice") == 1
    await withdrawal.withdraw(database, one.id, "erase")
    assert await where_found(database, CANARY) == DESIGNED
    again = await log_of(database, one.key)
    assert hits(again, CANARY) == 0
    assert b'"notice"' in again


async def test_w8_control_without_the_second_look_the_late_answer_stays(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind = ROOMS["close_room"].replace("closed.erased_at IS NOT NULL", "false")
    monkeypatch.setitem(ROOMS, "close_room", blind)
    with pytest.raises(AssertionError, match="calls"):
        await test_w8_an_answer_that_comes_after_the_withdrawal_leaves_its_cost_and_no_word(database, url)


async def test_withdrawal_wins_whatever_else_happens_at_that_moment(database: Database, url: str) -> None:
    study_id = await open_study(database)
    async with house(url, echoing(think=0.05)) as (address, _):
        takers = [await marked(database, study_id) for _ in range(8)]

        async def restless(one: Taker) -> None:
            async with person(address, one.key, query="?extras=1") as socket:
                for n in range(50):
                    await socket.say(f"@Bob @Alice {CANARY}-n{n}")
                    await asyncio.sleep(0.05)
                    if socket.code:
                        return

        async def named(one: Taker) -> None:
            for _ in range(60):
                await rooms.name_person(database, one.key, f"{CANARY}-name")
                await asyncio.sleep(0.02)

        async def gives_up(one: Taker, after: float) -> None:
            await asyncio.sleep(after)
            done = await asyncio.gather(*(withdrawal.withdraw(database, one.id, "erase") for _ in range(3)))
            assert {d.kept for d in done} == {"erase"}

        tasks = [
            task for n, one in enumerate(takers) for task in (restless(one), named(one), gives_up(one, 0.2 + 0.15 * n))
        ]
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [o for o in outcomes if isinstance(o, AssertionError | asyncpg.PostgresError)] == []
        for one in takers:
            assert await until_ended(database, one.key) == "withdrawn"
    assert await where_found(database, f"{CANARY}-n", f"{CANARY}-name", f"{CANARY}-label") == set()
    assert await where_found(database, CANARY) == DESIGNED
    assert await database.fetchval("SELECT count(*) FROM audit WHERE action = 'participant.withdrawn'") == len(takers)


async def test_after_the_end_and_in_a_room_that_was_taken_from_them(database: Database) -> None:
    study_id = await open_study(database, token_reusable_before_first_message=True)
    one = await marked(database, study_id)
    await database.fetch("UPDATE rooms SET state = 'running', started_at = now(), ends_at = now() + interval '1 hour'")
    room = await database.fetchval("SELECT id FROM rooms")
    await database.fetch(
        "INSERT INTO room_messages (room_id, number, key, member, body) VALUES ($1, 1, 'k1', 1, 'hello')", room
    )
    async with database.connection() as connection, connection.transaction():
        await rooms.report(database, one.key, "k1", reason=f"{CANARY}-left", block=False)
    await rooms.end(database, room, "dropped_out")
    await database.fetch("UPDATE rooms SET state = 'ended'")
    await database.fetch("UPDATE participants SET state = 'active'")
    async with database.connection() as connection, connection.transaction():
        await studies.open_room_of(connection, load_settings(), one.id)
    assert await database.fetchval("SELECT count(*) FROM rooms") == 2
    assert await where_found(database, f"{CANARY}-left") == {"room_events", "room_reactions"}
    await withdrawal.withdraw(database, one.id, "erase")
    assert await where_found(database, f"{CANARY}-left") == set()
    assert await database.fetchval("SELECT count(*) FROM rooms WHERE erased_at IS NULL") == 0


async def test_only_what_the_study_offers(database: Database) -> None:
    study_id = await open_study(database, withdrawal=["anonymised"])
    one = await take_part(database, study_id)
    for wrong in ("erase", "all", ""):
        with pytest.raises(Invalid):
            await withdrawal.withdraw(database, one.id, wrong)
    with pytest.raises(NotFound):
        await withdrawal.withdraw(database, 10**18)
    assert (await withdrawal.withdraw(database, one.id)).kept == "anonymised"
    assert (await withdrawal.withdraw(database, one.id)).kept == "anonymised"  # asked again, nothing more happens
    async with database.connection() as connection:
        assert await participants.give_receipt(connection, one.id) is None


async def test_retention_ends(database: Database, url: str) -> None:
    study_id = await open_study(database, retention_days=30)
    one, two, three = [await marked(database, study_id) for _ in range(3)]
    await withdrawal.withdraw(database, three.id, "anonymised")
    await database.fetch("UPDATE participants SET state = 'finished' WHERE id = $1", two.id)
    with pytest.raises(Conflict, match="is not closed"):
        await withdrawal.purge(database, study_id, by=None)
    await studies.close(database, study_id, by=None)
    with pytest.raises(Conflict, match="keeps its data until"):
        await withdrawal.purge(database, study_id, by=None)
    assert await withdrawal.purge_due(database) == []
    await database.fetch("UPDATE studies SET closed_at = now() - interval '31 days'")
    found = await withdrawal.retention(database, study_id)
    assert (found.due, found.participants, found.answers) == (True, 3, 9)
    assert await withdrawal.purge_due(database) == ["bicycles"]
    assert await withdrawal.purge_due(database) == []
    assert await where_found(database, CANARY) == DESIGNED
    rows = await database.fetch("SELECT state, kept, end_reason FROM participants ORDER BY id")
    assert [tuple(row) for row in rows] == [
        ("dropped_out", "erase", "retention"),
        ("finished", "erase", None),
        ("withdrawn", "anonymised", "withdrawn"),
    ]
    assert (await withdrawal.retention(database, study_id)).participants == 0
    assert await until_not_open(database) == {"study_closed", "withdrawn"}
    assert one.key != two.key


async def until_not_open(database: Database) -> set[str]:
    return {row["end_reason"] for row in await database.fetch("SELECT end_reason FROM rooms WHERE state <> 'running'")}


async def test_own_data_is_all_of_it(database: Database, url: str) -> None:
    study_id = await open_study(database)
    async with house(url, echoing()) as (address, _):
        one = await marked(database, study_id)
        other = await marked(database, study_id)
        await live_through(address, database, one)
        found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(await own_data(database, one.id)))
    text = msgspec.json.encode(found)
    for what in ("words", "more", "quoted", "client", "name", "reason", "answer", "prolific", "stratum"):
        assert hits(text, f"{CANARY}-{what}"), what
    assert found["arm"] is None  # they still take part
    assert found["identity"] == {"username": f"{CANARY}-name", "params": {"PROLIFIC_PID": f"{CANARY}-prolific"}}
    (room,) = found["rooms"]
    assert room["model_calls"] >= 3
    assert hits(text, other.pseudonym, other.key, one.token, ADDRESS) == 0
    with pytest.raises(NotFound):
        await own_data(database, 10**18)
