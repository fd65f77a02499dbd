"""H8, H9, R5: a token lets one person in once, guessing is bounded, and arms stay balanced whoever comes at once."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.auth import participants, tokens
from app.auth.participants import PARTICIPANTS, Entered, Stage
from app.db.engine import Database
from app.errors import AppError, Conflict, NotFound, TooMany, Unauthorized
from app.venues.chatroom.design import StudyDesign, arm_of
from app.world import rooms, studies
from tests.auth.conftest import RACERS

ARMS = {"a": {"prompt_template": "x", "weight": 2}, "b": {"prompt_template": "y"}, "c": {"prompt_template": "z"}}


def a_design(**more: Any) -> StudyDesign:
    return StudyDesign.model_validate({"title": "T", "arms": ARMS, **more})


async def a_study(database: Database, name: str = "one", state: str = "open", **more: Any) -> int:
    design = a_design(**more)
    async with database.connection() as connection:
        study_id = await studies.create(
            connection,
            name=name,
            consent=design.consent,
            design=design.canonical(),
            design_sha256=design.sha256(),
            seed=7,
            by=None,
        )
    await database.fetchval("UPDATE studies SET state = $2 WHERE id = $1", study_id, state)
    return study_id


async def new_tokens(database: Database, study_id: int, count: int = 1, arm: str | None = None) -> list[str]:
    async with database.connection() as connection:
        return [one.token for one in await participants.make_tokens(connection, study_id, count, arm=arm)]


def by_place(place: int) -> str:
    return arm_of(a_design(), 7, "", place)


async def come(database: Database, token: str, stage: Stage = "chat", **more: Any) -> Entered:
    async with database.connection() as connection, connection.transaction():
        return await participants.redeem(connection, token, stage=stage, arm_of=by_place, **more)


async def race(run: Callable[[], Coroutine[Any, Any, object]]) -> Counter[str]:
    """What came of each racer: `won`, or the name of its error."""

    async def racer() -> str:
        try:
            await run()
        except AppError as error:
            return type(error).__name__
        return "won"

    return Counter(await asyncio.gather(*(racer() for _ in range(RACERS))))


# H8


async def one_winner_each(wide: Database, count: int) -> None:
    study_id = await a_study(wide)
    for token in await new_tokens(wide, study_id, count):
        assert await race(lambda one=token: come(wide, one)) == {"won": 1, "Unauthorized": RACERS - 1}  # type: ignore[misc]
    assert await wide.fetchval("SELECT count(*) FROM participants") == count
    assert await wide.fetchval("SELECT count(*) FROM identities") == count
    assert await wide.fetchval("SELECT count FROM study_assigned WHERE study_id = $1", study_id) == count


async def test_h8_one_token_lets_one_in(wide: Database) -> None:
    await one_winner_each(wide, 20)


@pytest.mark.slow
async def test_h8_a_thousand_tokens_and_32_racers_each(wide: Database) -> None:
    await one_winner_each(wide, 1_000)


async def test_h8_control_look_then_take_has_several_winners(wide: Database) -> None:
    study_id = await a_study(wide)

    async def naive(token: str) -> None:
        look = "SELECT id FROM study_tokens WHERE sha256 = $1 AND redeemed_at IS NULL"
        found = await wide.fetchval(look, tokens.digest(token))
        if found is None:
            raise Unauthorized("used")
        await wide.fetchval("UPDATE study_tokens SET redeemed_at = now() WHERE id = $1", found)

    won = [(await race(lambda one=token: naive(one)))["won"] for token in await new_tokens(wide, study_id, 10)]  # type: ignore[misc]
    assert max(won) > 1


async def test_h8_only_open_unused_unrevoked_tokens_of_open_studies(database: Database) -> None:
    study_id = await a_study(database)
    used, revoked, fine = await new_tokens(database, study_id, 3)
    await come(database, used)
    listed = await participants.list_tokens(database, study_id, after=0, limit=10)
    async with database.connection() as connection:
        await participants.revoke_token(connection, study_id, listed[1]["id"])
        for token_id in (listed[0]["id"], listed[1]["id"], 999):
            with pytest.raises(NotFound):
                await participants.revoke_token(connection, study_id, token_id)
    states = [one["state"] for one in await participants.list_tokens(database, study_id, after=0, limit=10)]
    assert states == ["used", "revoked", "open"]
    told = set()
    for token in (used, revoked, "", "sf_par_nobody", "\0", "\ud800", "x" * 10_000):
        for ask in (come, participants.look):
            with pytest.raises(Unauthorized) as caught:
                await ask(database, token)
            told.add(caught.value.detail)
    for state in ("draft", "paused", "closed"):
        await database.fetchval("UPDATE studies SET state = $1", state)
        for ask in (come, participants.look):
            with pytest.raises(Unauthorized) as caught:
                await ask(database, fine)
            told.add(caught.value.detail)
    assert told == {participants.NO_ENTRY}
    await database.fetchval("UPDATE studies SET state = 'open'")
    assert (await participants.look(database, fine))["id"] == study_id
    assert (await come(database, fine)).fresh


async def test_h9_tokens_are_long_and_only_their_hashes_are_kept(database: Database) -> None:
    study_id = await a_study(database)
    (token,) = await new_tokens(database, study_id)
    assert re.fullmatch(r"sf_par_[A-Za-z0-9_-]{43}", token), "256 bits"
    entered = await come(database, token, username="Ada Canary", params={"PROLIFIC_PID": "canary-5"})
    assert re.fullmatch(r"P[A-Z2-7]{6}", entered.pseudonym)
    async with database.connection() as connection:
        receipt = await participants.give_receipt(connection, entered.id)
        assert receipt is not None
        assert await participants.give_receipt(connection, entered.id) is None
    for table in ("studies", "study_tokens", "participants", "study_assigned", "answers"):
        for row in await database.fetch(f"SELECT * FROM {table}"):
            for secret in (token, entered.secret, receipt, receipt.replace("-", ""), "Ada Canary", "canary-5"):
                assert secret not in str(dict(row)), table
    known = await database.fetchrow("SELECT username, params::text AS params FROM identities")
    assert known is not None
    assert (known["username"], known["params"]) == ("Ada Canary", '{"PROLIFIC_PID": "canary-5"}')


# H9


async def guess(database: Database, token: str, address: str = "192.0.2.1", most: int = 5) -> None:
    async with participants.guarded(database, address, most):
        await come(database, token)


async def outcome(work: Coroutine[Any, Any, object]) -> str:
    try:
        await work
    except AppError as error:
        return type(error).__name__
    return "in"


@pytest.fixture
def endless_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hour does not end within a test."""
    monkeypatch.setattr(participants, "GUESS_SECONDS", 10**9)


@pytest.mark.usefixtures("endless_hour")
async def test_h9_failures_of_an_address_are_bounded_and_only_failures_count(database: Database) -> None:
    study_id = await a_study(database)
    for token in await new_tokens(database, study_id, 12):
        await guess(database, token)
    tried = [await outcome(guess(database, f"guess {n}")) for n in range(20)]
    assert tried == ["Unauthorized"] * 5 + ["TooMany"] * 15
    fine, other = await new_tokens(database, study_id, 2)
    assert await outcome(guess(database, fine)) == "TooMany"
    assert await outcome(guess(database, other, address="192.0.2.2")) == "in"
    with pytest.raises(TooMany) as caught:
        await guess(database, fine)
    assert int(caught.value.headers["Retry-After"]) > 0


@pytest.mark.usefixtures("endless_hour")
async def test_h9_control_without_the_guard_all_guesses_are_looked_up(database: Database) -> None:
    await a_study(database)
    tried = [await outcome(come(database, f"guess {n}")) for n in range(20)]
    assert tried == ["Unauthorized"] * 20


@pytest.mark.usefixtures("endless_hour")
async def test_h9_addresses_are_counted_by_who_has_them(database: Database) -> None:
    for n in range(5):
        assert await outcome(guess(database, "x", address=f"2001:db8::{n}:1")) == "Unauthorized"
    assert await outcome(guess(database, "x", address="2001:db8::ffff")) == "TooMany"
    assert await outcome(guess(database, "x", address="2001:db8:0:1::1")) == "Unauthorized"
    for n in range(5):
        assert await outcome(guess(database, "x", address="::ffff:192.0.2.9")) == "Unauthorized", n
    assert await outcome(guess(database, "x", address="192.0.2.9")) == "TooMany"
    assert await outcome(guess(database, "x", address="no address at all")) == "Unauthorized"


async def no_hits(database: Database, guesses: int) -> None:
    study_id = await a_study(database)
    await new_tokens(database, study_id, 1_000)
    known = 0
    for start in range(0, guesses, 1_000):
        hashes = [tokens.digest(tokens.new_token("sf_par")) for _ in range(start, start + 1_000)]
        known += await database.fetchval("SELECT count(*) FROM study_tokens WHERE sha256 = ANY ($1::bytea[])", hashes)
    assert known == 0


@pytest.mark.slow
async def test_h9_a_hundred_thousand_guesses_hit_nothing(database: Database) -> None:
    await no_hits(database, 100_000)


# R5


def imbalance(design: StudyDesign, arms: list[str]) -> int:
    """The worst deviation of an arm in a full block."""
    size, worst = design.block_size, 0
    for start in range(0, len(arms) - size + 1, size):
        found = Counter(arms[start : start + size])
        off = [abs(found[name] - arm.weight * design.repeat) for name, arm in design.arms.items()]
        worst = max(worst, *off)
    return worst


async def balanced(database: Database, count: int) -> None:
    study_id = await a_study(database)
    made = await new_tokens(database, study_id, count)
    gate = asyncio.Semaphore(RACERS)

    async def join(token: str) -> Entered:
        async with gate:
            return await come(database, token)

    await asyncio.gather(*(join(token) for token in made))
    rows = await database.fetch("SELECT place, arm FROM participants ORDER BY place")
    assert [row["place"] for row in rows] == list(range(1, count + 1))
    assert [row["arm"] for row in rows] == [by_place(place) for place in range(1, count + 1)]
    assert imbalance(a_design(), [row["arm"] for row in rows]) == 0


async def test_r5_arms_are_balanced_in_every_block(wide: Database) -> None:
    await balanced(wide, 120)


@pytest.mark.slow
async def test_r5_a_thousand_join_at_once(wide: Database) -> None:
    await balanced(wide, 1_000)


async def test_r5_control_counting_without_the_row_gives_places_twice(wide: Database) -> None:
    study_id = await a_study(wide)

    async def naive(token: str) -> int:
        count = await wide.fetchval("SELECT count(*) FROM participants WHERE study_id = $1", study_id)
        await come(wide, token)
        return int(count) + 1

    places = await asyncio.gather(*(naive(token) for token in await new_tokens(wide, study_id, RACERS)))
    assert len(set(places)) < RACERS


def test_r5_the_assignment_depends_on_seed_stratum_and_place_alone() -> None:
    design = a_design(repeat=2)
    first = [arm_of(design, 7, "", place) for place in range(1, 81)]
    assert first == [arm_of(design, 7, "", place) for place in range(1, 81)]
    assert imbalance(design, first) == 0
    assert first != [arm_of(design, 8, "", place) for place in range(1, 81)]
    assert first != [arm_of(design, 7, "old", place) for place in range(1, 81)]
    assert first[:8] != first[8:16], "each block is shuffled anew"
    shuffled = StudyDesign.model_validate({"title": "T", "arms": dict(reversed(ARMS.items())), "repeat": 2})
    assert first == [arm_of(shuffled, 7, "", place) for place in range(1, 81)]


async def test_r5_a_tokens_own_arm_is_kept_and_takes_no_place(database: Database) -> None:
    study_id = await a_study(database)
    (bound,) = await new_tokens(database, study_id, 1, "b")
    (free,) = await new_tokens(database, study_id)
    entered = await come(database, bound)
    assert (entered.arm, entered.place) == ("b", None)
    assert (await come(database, free)).place == 1


async def test_r5_strata_are_assigned_later_and_once(wide: Database) -> None:
    study_id = await a_study(wide)
    ids = []
    for token in await new_tokens(wide, study_id, 16):
        async with wide.connection() as connection, connection.transaction():
            entered = await participants.redeem(connection, token, stage="intake", arm_of=None)
        assert (entered.arm, entered.place) == ("", None)
        ids.append(entered.id)

    async def assign(participant_id: int) -> str:
        stratum = "young" if participant_id % 2 else "old"
        async with wide.connection() as connection, connection.transaction():
            return await participants.assign(
                connection, participant_id, stratum, lambda place: arm_of(a_design(), 7, stratum, place)
            )

    found = await asyncio.gather(*(assign(one) for one in ids * 2))
    assert found[:16] == found[16:]
    for stratum in ("young", "old"):
        rows = await wide.fetch("SELECT place, arm FROM participants WHERE stratum = $1 ORDER BY place", stratum)
        assert [row["place"] for row in rows] == list(range(1, 9))
        assert imbalance(a_design(), [row["arm"] for row in rows]) == 0


# Coming again


async def a_room(database: Database, study_id: int, participant_id: int) -> int:
    async with database.connection() as connection:
        return await rooms.open_room(
            connection,
            key=rooms.new_key(),
            seed=1,
            study_id=study_id,
            participant_id=participant_id,
            arm="a",
            pace={"grace_seconds": 60, "session_duration_minutes": 1},
            settings={},
            members=[],
        )


WRITE = "INSERT INTO room_messages (room_id, number, key, member, body) VALUES ($1, 1, 'k', 0, 'hello')"


async def test_w6_a_token_is_not_burnt_before_the_first_message_where_the_study_allows(database: Database) -> None:
    study_id = await a_study(database, token_reusable_before_first_message=True)
    (token,) = await new_tokens(database, study_id)
    first = await come(database, token, username="Ada")
    room = await a_room(database, study_id, first.id)
    assert await participants.stop(database, first.id, "dropped_out", "closed the tab")
    again = await come(database, token)
    assert not again.fresh
    assert (again.id, again.pseudonym, again.arm, again.place) == (first.id, first.pseudonym, first.arm, first.place)
    assert await participants.by_secret(database, first.secret) is None
    found = await participants.by_secret(database, again.secret)
    assert found is not None
    assert (found["state"], found["end_reason"], found["username"]) == ("active", None, "Ada")
    assert (await participants.look(database, token))["used"]
    await database.fetchval(WRITE, room)
    for ask in (come, participants.look):
        with pytest.raises(Unauthorized):
            await ask(database, token)
    assert await database.fetchval("SELECT count(*) FROM participants") == 1


@pytest.mark.parametrize("state", ["withdrawn", "removed", "failed"])
async def test_w6_who_has_ended_for_good_does_not_come_again(database: Database, state: Any) -> None:
    study_id = await a_study(database, token_reusable_before_first_message=True)
    (token,) = await new_tokens(database, study_id)
    entered = await come(database, token)
    await participants.stop(database, entered.id, state, "asked")
    with pytest.raises(Unauthorized):
        await come(database, token)


async def test_w6_racers_who_may_come_again_are_one_participant(wide: Database) -> None:
    study_id = await a_study(wide, token_reusable_before_first_message=True)
    (token,) = await new_tokens(wide, study_id)
    entered = await asyncio.gather(*(come(wide, token) for _ in range(RACERS)))
    assert Counter(one.fresh for one in entered) == {True: 1, False: RACERS - 1}
    assert len({(one.id, one.arm) for one in entered}) == 1
    found = [await participants.by_secret(wide, one.secret) for one in entered]
    assert sum(one is not None for one in found) == 1, "one browser at a time"


# On the way


async def test_stages_move_once_and_only_forwards(wide: Database) -> None:
    study_id = await a_study(wide)
    (token,) = await new_tokens(wide, study_id)
    entered = await come(wide, token, stage="intake", consent_sha256=b"\1" * 32, kept="anonymised")
    found = await participants.by_secret(wide, entered.secret)
    assert found is not None
    assert (found["kept"], found["stage"], found["study"]) == ("anonymised", "intake", "one")
    assert found["consented_at"] is not None
    moves = await asyncio.gather(*(participants.advance(wide, entered.id, "intake", "chat") for _ in range(RACERS)))
    assert Counter(moves) == {True: 1, False: RACERS - 1}
    assert not await participants.advance(wide, entered.id, "intake", "chat")
    assert await participants.finish(wide, entered.id, "debrief") is None
    codes = await asyncio.gather(*(participants.finish(wide, entered.id, "chat") for _ in range(RACERS)))
    assert len(set(codes)) == 1
    assert re.fullmatch("[A-Z2-7]{8}", codes[0] or "")
    assert not await participants.stop(wide, entered.id, "dropped_out", "late")
    found = await participants.by_secret(wide, entered.secret)
    assert found is not None
    assert (found["stage"], found["state"], found["completion_code"]) == ("done", "finished", codes[0])


async def test_a_studys_own_completion_code_is_given(database: Database) -> None:
    study_id = await a_study(database)
    (token,) = await new_tokens(database, study_id)
    entered = await come(database, token)
    assert await participants.finish(database, entered.id, "chat", "C0FFEE") == "C0FFEE"
    assert await participants.finish(database, entered.id, "chat", "OTHER") == "C0FFEE"


async def test_answers_are_kept_in_their_stage_only(database: Database) -> None:
    study_id = await a_study(database)
    (token,) = await new_tokens(database, study_id)
    entered = await come(database, token, stage="intake")
    given: dict[str, Any] = {"age": 40, "why": "ÄÖ — \u202e", "which": ["a", "b"], "open": None, "half": 0.5}
    async with database.connection() as connection:
        await participants.answer(connection, entered.id, "intake", {**given, "age": 41})
        await participants.answer(connection, entered.id, "intake", given)
        with pytest.raises(Conflict):
            await participants.answer(connection, entered.id, "closing", given)
        await participants.advance(connection, entered.id, "intake", "chat")
        with pytest.raises(Conflict):
            await participants.answer(connection, entered.id, "intake", given)
    assert await participants.answers(database, entered.id, "intake") == given
    assert await participants.answers(database, entered.id, "closing") == {}


async def test_a_receipt_is_found_however_it_is_spelled(database: Database) -> None:
    study_id = await a_study(database)
    (token,) = await new_tokens(database, study_id)
    entered = await come(database, token)
    code = await participants.give_receipt(database, entered.id)
    assert code is not None
    assert re.fullmatch(r"([A-Z2-7]{5}-){5}[A-Z2-7]{5}", code), "150 bits"
    for spelled in (code, code.lower(), code.replace("-", " "), f"  {code.replace('-', '')}\n", code.replace("O", "0")):
        assert (await participants.by_receipt(database, spelled))["id"] == entered.id
    for wrong in ("", code[:-1], code + "A", "AAAAA-" * 5 + "AAAAA", "\0", "\ud800", "x" * 10_000):
        with pytest.raises(Unauthorized):
            await participants.by_receipt(database, wrong)
    assert await participants.by_secret(database, "sf_page_nobody") is None


async def test_a_pseudonym_that_is_taken_is_drawn_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    study_id = await a_study(database)
    drawn = iter(["AAAAAAAA", "AAAAAAAA", "AAAAAAAA", "BBBBBBBB"])
    monkeypatch.setattr(participants, "_base32", lambda size: next(drawn))
    found = [await come(database, token) for token in await new_tokens(database, study_id, 2)]
    assert [(one.pseudonym, one.place) for one in found] == [("PAAAAAA", 1), ("PBBBBBB", 2)]


async def test_own_tokens_may_be_used_again_once_their_study_is_closed(database: Database) -> None:
    own = {"a": ["user0001", "user0002"], "b": ["user0003"]}
    first, second = await a_study(database, "first"), await a_study(database, "second")
    async with database.connection() as connection:
        assert await participants.add_own_tokens(connection, first, own) == 3
        with pytest.raises(Conflict, match=r"2 of the tokens are in use in the study first"):
            await participants.add_own_tokens(connection, second, {"a": ["user0001", "new"], "c": ["user0003"]})
        assert await connection.fetchval("SELECT count(*) FROM study_tokens") == 3
    assert (await come(database, "user0003")).arm == "b"
    async with database.connection() as connection:
        assert await studies.close(connection, first) == 2
        assert await studies.close(connection, first) is None
        assert await participants.add_own_tokens(connection, second, own) == 3
    assert (await come(database, "user0003")).study_id == second


def test_every_statement_is_used() -> None:
    source = Path(participants.__file__).read_text()
    assert [name for name in PARTICIPANTS if f'"{name}"' not in source] == []


async def test_plans_of_what_everybody_asks_are_index_scans(database: Database) -> None:
    """A token, a secret and a receipt are found by their hashes however many there are."""
    study_id = await a_study(database)
    await database.fetchval(
        "INSERT INTO study_tokens (study_id, sha256) SELECT $1, sha256(n::text::bytea) FROM generate_series(1, 5000) n",
        study_id,
    )
    connection: asyncpg.Connection = await asyncpg.connect(database.url)
    await connection.execute("ANALYZE study_tokens")
    plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {PARTICIPANTS['look']}", tokens.digest("7")))
    await connection.close()
    assert "study_tokens_sha256_key" in plan
    assert "Seq Scan on study_tokens" not in plan
