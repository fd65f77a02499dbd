"""Studies from draft to close: opened with a cast, closed with their tokens, entered by one person each."""

import asyncio
import csv
import io
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.auth import participants
from app.auth.participants import NewToken
from app.db.engine import Database
from app.errors import Conflict, Forbidden, Invalid, NotFound, TooMany, Unauthorized
from app.settings import Settings, load_settings
from app.venues.chatroom import studies
from app.venues.chatroom.design import StudyDesign
from app.venues.chatroom.files import read_simulacra
from app.world import personas, rooms
from app.world import studies as rows
from app.world.personas import PersonaSpec
from tests.venues.test_study_design import simulacra

ARMS = {"a": {"prompt_template": "Be kind."}, "b": {"prompt_template": "Be curt.", "weight": 2}}
ADDRESS = "192.0.2.1"
CHOICE = {"id": "age", "text": "?", "kind": "single", "options": ["young", "old"]}


def a_design(**more: Any) -> StudyDesign:
    return StudyDesign.model_validate({"title": "T", "arms": ARMS, "consent": "external", **more})


@pytest.fixture
def settings() -> Settings:
    return load_settings()


async def an_open_study(database: Database, name: str = "one", **more: Any) -> int:
    made = await studies.create(database, name, a_design(**more), seed=7, by=None)
    await studies.open_study(database, load_settings(), made, by=None)
    return made


async def tokens_of(database: Database, study_id: int, count: int, arm: str | None = None) -> list[str]:
    return [one.token for one in await studies.make_tokens(database, study_id, count, arm=arm, by=None)]


async def audited(database: Database) -> list[str]:
    return [row["action"] for row in await database.fetch("SELECT action FROM audit ORDER BY id")]


# From draft to close


async def test_a_study_from_draft_to_close(database: Database, settings: Settings) -> None:
    made = await studies.create(database, "One", a_design(), by=None)
    with pytest.raises(Conflict, match="of the name ONE already"):
        await studies.create(database, "ONE", a_design(), by=None)
    await studies.edit(database, made, a_design(title="U"), by=None)
    for change in (studies.pause, studies.resume):
        with pytest.raises(Conflict, match="is draft"):
            await change(database, made, by=None)
    token, other = await tokens_of(database, made, 2)
    with pytest.raises(Unauthorized):
        await studies.start_session(database, settings, token, address=ADDRESS)
    await studies.open_study(database, settings, made, by=None)
    for refused in (
        studies.open_study(database, settings, made, by=None),
        studies.edit(database, made, a_design(), by=None),
        studies.resume(database, made, by=None),
    ):
        with pytest.raises(Conflict, match="is open"):
            await refused
    await studies.pause(database, made, by=None)
    with pytest.raises(Unauthorized):
        await studies.start_session(database, settings, token, address=ADDRESS)
    await studies.resume(database, made, by=None)
    await studies.start_session(database, settings, token, address=ADDRESS)
    assert await studies.close(database, made, by=None) == 1
    with pytest.raises(Conflict, match="closed"):
        await studies.close(database, made, by=None)
    with pytest.raises(Conflict, match="closed"):
        await studies.make_tokens(database, made, 1, by=None)
    with pytest.raises(Unauthorized):
        await studies.start_session(database, settings, other, address=ADDRESS)
    found = await studies.show(database, made)
    assert (found.state, found.design.title, found.row["opened_at"] < found.row["closed_at"]) == ("closed", "U", True)
    assert found.people == [{"arm": found.people[0]["arm"], "state": "active", "stage": "chat", "count": 1}]
    assert {(one["state"], one["count"]) for one in found.tokens} == {("used", 1), ("revoked", 1)}
    assert await audited(database) == [
        f"study.{deed}" for deed in ("created", "edited", "tokens_made", "opened", "paused", "resumed", "closed")
    ]
    for unknown in (studies.show(database, 99), studies.close(database, 99, by=None), studies.find(database, "99")):
        with pytest.raises(NotFound):
            await unknown
    assert (await studies.find(database, "oNE"))["id"] == (await studies.find(database, str(made)))["id"] == made


async def test_only_one_of_many_opens_a_study(database: Database, settings: Settings) -> None:
    made = await studies.create(database, "one", a_design(), by=None)

    async def attempt() -> str:
        try:
            await studies.open_study(database, settings, made, by=None)
        except Conflict:
            return "refused"
        return "opened"

    assert Counter(await asyncio.gather(*(attempt() for _ in range(8)))) == {"opened": 1, "refused": 7}
    assert len(await rows.members(database, made)) == len(a_design().cast)


async def test_a_study_that_is_not_ready_says_all_that_is_missing(database: Database, settings: Settings) -> None:
    cast = [{"name": "Al", "persona": "nobody"}, {"name": "Bo", "description": "d", "model": "no-such-model"}]
    made = await studies.create(database, "one", a_design(cast=cast, model="deepseek-chat"), by=None)
    await tokens_of(database, made, 1, "a")
    await studies.edit(database, made, a_design(cast=cast, model="deepseek-chat", arms={"b": ARMS["b"]}), by=None)
    with pytest.raises(Conflict) as caught:
        await studies.open_study(database, settings, made, by=None)
    reasons = [error.message for error in caught.value.errors]
    assert len(reasons) == 4
    for part in ("username nobody", "no-such-model", "DEEPSEEK_API_KEY", "the arm a"):
        assert sum(part in reason for reason in reasons) == 1, part
    assert await database.fetchval("SELECT count(*) FROM personas") == 0
    assert (await studies.show(database, made)).state == "draft"


async def test_the_cast_is_put_together_when_the_study_opens(database: Database) -> None:
    async with database.connection() as connection:
        (known,) = await personas.add(connection, [PersonaSpec(username="rita_bolt", description="Mends bicycles.")])
    cast = [
        {"name": "Rita", "persona": "Rita_Bolt"},
        {
            "name": "Zoë Übel",
            "description": "Reads tea leaves.",
            "bio": "b",
            "traits": ["dry"],
            "demographics": {"age": 40},
        },
        {"name": "Karim"},
        {"name": "rita_bolt"},
    ]
    made = await an_open_study(database, cast=cast)
    members = await rows.members(database, made)
    assert [(one["ordinal"], one["name"]) for one in members] == [
        (1, "Rita"),
        (2, "Zoë Übel"),
        (3, "Karim"),
        (4, "rita_bolt"),
    ]
    assert members[0]["persona_id"] == known["id"]
    assert [one["status"] for one in members] == ["active", "cast", "cast", "cast"]
    row = await database.fetchrow("SELECT * FROM personas WHERE id = $1", members[1]["persona_id"])
    assert row is not None
    assert (row["username"], row["description"], row["bio"]) == ("Zoe_Ubel", "Reads tea leaves.", "b")
    profile = msgspec.json.decode(row["profile"])
    assert profile == {"display_name": "Zoë Übel", "traits": ["dry"], "demographics": {"age": 40}}
    assert members[2]["description"].startswith("Karim is ")
    assert [one["username"] for one in await personas.listed(database)] == ["rita_bolt"], (
        "the cast stays out of the feed"
    )


async def test_the_same_seed_makes_up_the_same_cast(database: Database) -> None:
    casts = [
        [one["description"] for one in await rows.members(database, await an_open_study(database, name))]
        for name in ("one", "two")
    ]
    assert casts[0] == casts[1]
    assert len(set(casts[0])) == 4


# Tokens


async def test_tokens_are_made_for_arms_that_are(database: Database) -> None:
    made = await studies.create(database, "one", a_design(), by=None)
    found = await studies.make_tokens(database, made, 3, arm="a", labels=["first", "second"], by=None)
    assert [(one.label, one.arm) for one in found] == [("first", "a"), ("second", "a"), ("", "a")]
    for wrong in ({"arm": "z"}, {"arm": ""}, {"labels": ["x"] * 4}):
        with pytest.raises(Invalid):
            await studies.make_tokens(database, made, 3, by=None, **wrong)
    for count in (0, -1, 10_001):
        with pytest.raises(Invalid):
            await studies.make_tokens(database, made, count, by=None)
    await studies.revoke_token(database, made, found[0].id, by=None)
    with pytest.raises(NotFound):
        await studies.revoke_token(database, made, found[0].id, by=None)
    with pytest.raises(NotFound):
        await studies.revoke_token(database, made + 1, found[1].id, by=None)


def test_the_link_sheet_is_safe_to_open() -> None:
    made = [
        NewToken(1, "sf_par_x", "=HYPERLINK(1)", "a,b"),
        NewToken(2, "sf_par_y", 'Zoë "Z"', None),
        NewToken(3, "z", "", "-1"),
    ]
    read = list(csv.reader(io.StringIO(studies.link_sheet(made, "https://chat.example.org/"))))
    assert read == [
        ["label", "token", "url", "arm"],
        ["'=HYPERLINK(1)", "sf_par_x", "https://chat.example.org/s/sf_par_x", "a,b"],
        ['Zoë "Z"', "sf_par_y", "https://chat.example.org/s/sf_par_y", ""],
        ["3", "z", "https://chat.example.org/s/z", "'-1"],
    ]


def test_qr_codes_are_svg_and_differ() -> None:
    codes = [studies.qr_svg(f"https://chat.example.org/s/sf_par_{'x' * 42}{n}") for n in range(3)]
    for code in codes:
        assert ET.fromstring(code).tag == "{http://www.w3.org/2000/svg}svg"
    assert len(set(codes)) == 3
    names = [
        studies.qr_name(NewToken(n, "t", label, None)) for n, label in enumerate(["", "../../etc", "a b/c", "ä" * 90])
    ]
    assert names == ["0.svg", "1-etc.svg", "2-a_b_c.svg", "3.svg"]


# Sessions


async def test_a_session_begins_with_a_room_of_the_studys(database: Database, settings: Settings) -> None:
    made = await an_open_study(database, pace={"session_duration_minutes": 0.5}, temperature=0.3)
    (token,) = await tokens_of(database, made, 1, "b")
    params = {"PROLIFIC_PID": "p1", "other": "x"}
    found = await studies.start_session(database, settings, token, address=ADDRESS, username="Ada", params=params)
    room = await rooms.by_key(database, found.key)
    assert room is not None
    assert (room["study_id"], room["participant_id"], room["arm"], room["state"]) == (
        made, found.participant.id, "b", "waiting",
    )  # fmt: skip
    assert room["username"] == "Ada"
    assert await rooms.members(database, room["id"]) == [rooms.PERSON_NAME, *(one.name for one in a_design().cast)]
    run = await database.fetchrow("SELECT venue, slot, settings::text AS terms FROM runs WHERE id = $1", room["run_id"])
    assert run is not None
    assert (run["venue"], run["slot"]) == ("chatroom", f"chatroom/{found.key}")
    terms = msgspec.json.decode(run["terms"])
    assert (terms["prompt_template"], terms["temperature"], terms["consent"]) == ("Be curt.", 0.3, "external")
    assert terms["design_sha256"] == (await studies.show(database, made)).design_sha256
    assert msgspec.json.decode(room["pace"])["session_duration_minutes"] == 0.5
    kept = await database.fetchval("SELECT params::text FROM identities")
    assert msgspec.json.decode(kept) == {"PROLIFIC_PID": "p1"}
    everything = str([dict(row) for row in await database.fetch("SELECT * FROM runs, rooms, participants, audit")])
    assert "Ada" not in everything
    assert token not in everything
    with pytest.raises(Unauthorized):
        await studies.start_session(database, settings, token, address=ADDRESS)


async def test_h8_of_many_starts_with_one_token_one_has_a_room(database: Database, settings: Settings) -> None:
    made = await an_open_study(database)
    generous = settings.model_copy(update={"session_guesses_per_hour": 10**6})

    async def attempt(token: str) -> str:
        try:
            return (await studies.start_session(database, generous, token, address=ADDRESS)).key
        except Unauthorized:
            return "refused"

    for token in await tokens_of(database, made, 5):
        found = Counter(await asyncio.gather(*(attempt(token) for _ in range(16))))
        assert found["refused"] == 15
    assert await database.fetchval("SELECT count(*) FROM rooms") == 5
    assert await database.fetchval("SELECT count(*) FROM runs") == 5


async def test_h9_guesses_are_bounded_and_starts_are_not(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(participants, "GUESS_SECONDS", 10**9)
    made = await an_open_study(database)
    strict = load_settings(session_guesses_per_hour=3)
    for token in await tokens_of(database, made, 6):
        await studies.start_session(database, strict, token, address=ADDRESS)
    outcomes: list[type[Exception]] = []
    for n in range(6):
        with pytest.raises((Unauthorized, TooMany)) as caught:
            await studies.start_session(database, strict, f"guess {n}", address=ADDRESS)
        outcomes.append(caught.type)
    assert outcomes == [Unauthorized] * 3 + [TooMany] * 3


async def test_a_study_with_its_own_consent_page_starts_nothing_before(database: Database, settings: Settings) -> None:
    made = await an_open_study(database, consent="page", intake=[CHOICE], strata="age")
    (token,) = await tokens_of(database, made, 1)
    with pytest.raises(Forbidden, match="/s/TOKEN"):
        await studies.start_session(database, settings, token, address=ADDRESS)
    agreed = (await studies.show(database, made)).design.consent_sha256
    for consent, kept, error in ((b"x" * 32, "erase", Conflict), (agreed, "sell", Invalid)):
        with pytest.raises(error):
            await studies.enter(database, settings, token, address=ADDRESS, consent_sha256=consent, kept=kept)
    for table in ("participants", "identities", "rooms", "study_assigned"):
        assert await database.fetchval(f"SELECT count(*) FROM {table}") == 0
    entered = await studies.enter(
        database, settings, token, address=ADDRESS, consent_sha256=agreed, kept="anonymised", params={"STUDY_ID": "s"}
    )
    assert (entered.stage, entered.arm) == ("intake", "")
    stored = await database.fetchrow("SELECT consent_sha256, consented_at, kept FROM participants")
    assert stored is not None
    assert (stored["consent_sha256"], stored["kept"]) == (agreed, "anonymised")


async def test_a_participants_way_from_consent_to_code(database: Database, settings: Settings) -> None:
    closing = [{"id": "fair", "text": "?", "kind": "likert"}]
    made = await an_open_study(
        database,
        consent="page",
        intake=[CHOICE],
        strata="age",
        closing=closing,
        debrief_text="d",
        completion_code="CODE7",
    )
    design = (await studies.show(database, made)).design
    (token,) = await tokens_of(database, made, 1)
    entered = await studies.enter(
        database, settings, token, address=ADDRESS, consent_sha256=design.consent_sha256, kept="erase"
    )
    person = await participants.by_secret(database, entered.secret)
    assert person is not None
    async with database.connection() as connection:
        with pytest.raises(Conflict, match="not open to you"):
            await studies.open_room_of(connection, settings, entered.id)
    with pytest.raises(Invalid):
        await studies.submit(database, person, "intake", {"age": "middle"})
    with pytest.raises(Conflict):
        await studies.submit(database, person, "closing", {"fair": 3})
    assert await studies.submit(database, person, "intake", {"age": "old"}) == "chat"
    with pytest.raises(Conflict):
        await studies.submit(database, person, "intake", {"age": "young"})
    person = await participants.by_secret(database, entered.secret)
    assert person is not None
    assert (person["stage"], person["stratum"], person["arm"] in ARMS) == ("chat", "old", True)

    async def enter_room() -> str:
        async with database.connection() as connection, connection.transaction():
            return await studies.open_room_of(connection, settings, entered.id)

    keys = await asyncio.gather(*(enter_room() for _ in range(8)))
    assert len(set(keys)) == 1
    room = await rooms.by_key(database, keys[0])
    assert room is not None
    await rooms.end(database, room["id"], "left")
    with pytest.raises(Conflict, match="not open to you"):
        await enter_room()
    assert await studies.submit(database, person, "closing", {"fair": 3}) == "debrief"
    assert await studies.go_on(database, design, entered.id, "debrief") == "done"
    person = await participants.by_secret(database, entered.secret)
    assert person is not None
    assert (person["state"], person["stage"], person["completion_code"]) == ("finished", "done", "CODE7")
    assert await participants.answers(database, entered.id, "intake") == {"age": "old"}


async def test_w6_who_left_before_writing_gets_another_room_where_the_study_allows(
    database: Database, settings: Settings
) -> None:
    made = await an_open_study(database, token_reusable_before_first_message=True)
    (token,) = await tokens_of(database, made, 1)
    first = await studies.start_session(database, settings, token, address=ADDRESS)
    same = await studies.start_session(database, settings, token, address=ADDRESS)
    assert (same.key, same.participant.id, same.participant.fresh) == (first.key, first.participant.id, False)
    room = await rooms.by_key(database, first.key)
    assert room is not None
    assert await rooms.end(database, room["id"], "dropped_out")
    assert [one["state"] for one in (await studies.show(database, made)).people] == ["dropped_out"]
    again = await studies.start_session(database, settings, token, address=ADDRESS)
    assert again.key != first.key
    assert (again.participant.id, again.participant.arm) == (first.participant.id, first.participant.arm)
    owners = await database.fetch("SELECT key, participant_id FROM rooms ORDER BY id")
    assert [tuple(row) for row in owners] == [(first.key, None), (again.key, first.participant.id)]


# Simulacra


async def test_simulacras_study_from_files_to_room(database: Database, settings: Settings, tmp_path: Path) -> None:
    simulacra(tmp_path)
    read = read_simulacra(tmp_path)
    made = await studies.create(database, "pilot", read.design, own_tokens=read.tokens, by=None)
    await studies.open_study(database, settings, made, by=None)
    found = await studies.start_session(database, settings, "user0003", address=ADDRESS)
    assert found.participant.arm == "Tx2"
    room = await rooms.by_key(database, found.key)
    assert room is not None
    assert await rooms.members(database, room["id"]) == [rooms.PERSON_NAME, "Alice", "Bob", "Charlie"]
    with pytest.raises(Unauthorized):
        await studies.start_session(database, settings, "user0003", address=ADDRESS)
    with pytest.raises(Conflict, match="in use in the study pilot"):
        await studies.create(database, "pilot 2", read.design, own_tokens=read.tokens, by=None)
    assert [row["name"] for row in await rows.page(database, before=10**9, limit=10)] == ["pilot"]


def test_every_statement_of_studies_is_used() -> None:
    source = Path(rows.__file__).read_text()
    moves = {"open", "pause", "resume"}
    assert [name for name in rows.STUDIES if f'"{name}"' not in source and name not in moves] == []
