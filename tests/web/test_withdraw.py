"""Withdrawing in a browser and by program: with the browser's secret, or with the receipt code alone."""

import json
from collections.abc import AsyncIterator

import httpx2
import msgspec
import pytest

from app.db.engine import Database
from app.world import rooms
from tests.conftest import serving, settings_for, sign_up
from tests.taking_part import CANARY, Taker, hits, open_study, take_part

COOKIE = "simfeed_participant"
HTML = {"accept": "text/html"}


@pytest.fixture
async def visitor(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A browser at a server."""
    async with serving(settings_for(url)) as client:
        yield client


def known(client: httpx2.AsyncClient, one: Taker) -> None:
    client.cookies.set(COOKIE, one.secret)


def csrf(page: str) -> str:
    return page.split('name="csrf" value="', 1)[1].split('"', 1)[0]


async def state(database: Database, one: Taker) -> tuple[str, str]:
    row = await database.fetchrow("SELECT state, kept FROM participants WHERE id = $1", one.id)
    assert row is not None
    return row["state"], row["kept"]


async def test_in_ones_own_browser(database: Database, visitor: httpx2.AsyncClient) -> None:
    one = await take_part(database, await open_study(database), why=f"{CANARY}-answer")
    known(visitor, one)
    page = (await visitor.get("/withdraw", headers=HTML)).text
    assert one.pseudonym in page
    assert 'value="erase" checked' in page
    assert "anonymised" in page
    form = {"csrf": csrf(page), "do": "withdraw", "kept": "anonymised"}
    for wrong, status in (
        ({**form}, 422),  # not sure
        ({**form, "sure": "yes", "kept": "sell"}, 422),
        ({**form, "sure": "yes", "csrf": "x"}, 403),
        ({**form, "sure": "yes", "csrf": "\udcff".encode("utf-8", "surrogateescape").decode("latin-1")}, 403),
    ):
        assert (await visitor.post("/withdraw", data=wrong)).status_code == status, wrong
    other = await visitor.post("/withdraw", data={**form, "sure": "yes"}, headers={"Origin": "https://evil.example"})
    assert other.status_code == 403
    assert await state(database, one) == ("active", "erase")
    done = await visitor.post("/withdraw", data={**form, "sure": "yes"})
    assert done.status_code == 200
    assert "You have withdrawn" in done.text
    assert "It was about bicycles." in done.text
    assert f'{COOKIE}=""' in done.headers["set-cookie"]
    assert await state(database, one) == ("withdrawn", "anonymised")
    assert await database.fetchval("SELECT debriefed_at IS NOT NULL FROM participants")
    known(visitor, one)
    assert "Receipt code" in (await visitor.get("/withdraw", headers=HTML)).text
    assert (await visitor.get("/s/my-data.json")).status_code == 404


async def test_by_receipt_on_another_device(database: Database, visitor: httpx2.AsyncClient) -> None:
    study_id = await open_study(database, withdrawal=["erase"])
    one = await take_part(database, study_id, why=f"{CANARY}-answer")
    assert "Receipt code" in (await visitor.get("/withdraw", headers=HTML)).text
    assert (await visitor.post("/withdraw", data={})).status_code == 422
    code = one.receipt.lower().replace("-", " ")
    page = await visitor.post("/withdraw", data={"receipt": code})
    assert page.status_code == 200
    assert one.pseudonym in page.text
    data = await visitor.post("/withdraw", data={"receipt": code, "do": "data"})
    assert data.headers["content-type"].startswith("application/json")
    assert hits(data.content, f"{CANARY}-answer")
    assert await state(database, one) == ("active", "erase")
    done = await visitor.post("/withdraw", data={"receipt": code, "do": "withdraw", "kept": "erase", "sure": "yes"})
    assert "has been erased" in done.text
    assert await state(database, one) == ("withdrawn", "erase")
    assert (await visitor.post("/withdraw", data={"receipt": code})).status_code == 422


async def test_a_receipt_code_at_any_stage(database: Database, visitor: httpx2.AsyncClient) -> None:
    one = await take_part(database, await open_study(database))
    await database.fetch("UPDATE participants SET receipt_sha256 = NULL")
    known(visitor, one)
    page = (await visitor.get("/withdraw", headers=HTML)).text
    assert "Show my receipt code" in page
    assert (await visitor.post("/withdraw", data={"csrf": "x", "do": "receipt"})).status_code == 403
    given = (await visitor.post("/withdraw", data={"csrf": csrf(page), "do": "receipt"})).text
    code = given.split('id="receipt">', 1)[1].split("<", 1)[0]
    again = (await visitor.get("/withdraw", headers=HTML)).text
    assert "Show my receipt code" not in again
    assert await state(database, one) == ("active", "erase")
    visitor.cookies.clear()
    done = await visitor.post("/withdraw", data={"receipt": code, "do": "withdraw", "sure": "yes"})
    assert "has been erased" in done.text


async def test_own_data_tell_of_machines_when_the_study_does(database: Database, visitor: httpx2.AsyncClient) -> None:
    study_id = await open_study(
        database, disclosure="delayed", ethics_reference="EC 1", consent_text="We ask you to talk."
    )
    one = await take_part(database, study_id)
    known(visitor, one)
    before = (await visitor.get("/s/my-data.json")).text
    assert "model" not in before
    await database.fetch("UPDATE participants SET debriefed_at = now()")
    assert "model_calls" in (await visitor.get("/s/my-data.json")).text


async def test_own_data_of_this_browser(database: Database, visitor: httpx2.AsyncClient) -> None:
    one = await take_part(database, await open_study(database), why=f"{CANARY}-answer")
    assert (await visitor.get("/s/my-data.json")).status_code == 404
    known(visitor, one)
    answer = await visitor.get("/s/my-data.json")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    found = msgspec.json.decode(answer.content)
    assert found["pseudonym"] == one.pseudonym
    assert found["rooms"][0]["session_id"] == one.key
    by_code = await visitor.post("/my-data", json={"receipt": one.receipt})
    assert msgspec.json.decode(by_code.content)["pseudonym"] == one.pseudonym


async def test_by_program(database: Database, visitor: httpx2.AsyncClient) -> None:
    study_id = await open_study(database, consent="external", strata=None, intake=[], closing=[])
    admin = await sign_up(visitor)
    made = await visitor.post(f"/studies/{study_id}/tokens", json={"count": 2}, headers=admin)
    first, second = [
        (await visitor.post("/session/start", json={"token": one["token"], "username": f"{CANARY}-name"})).json()
        for one in made.json()["tokens"]
    ]
    path = f"/session/{first['session_id']}"
    receipt = (await visitor.post(f"{path}/receipt")).json()["receipt"]
    assert (await visitor.post(f"{path}/receipt")).status_code == 409
    assert (await visitor.post("/session/nothing/receipt")).status_code == 404
    for where, given, status in (
        (path, {"receipt": "A" * 30}, 401),
        (f"/session/{second['session_id']}", {"receipt": receipt}, 401),
        ("/session/nothing", {"receipt": receipt}, 401),
        (path, {"receipt": receipt, "kept": "sell"}, 422),
        (path, {"receipt": 7}, 422),
        (path, {}, 422),
        (path, {"receipt": "x" * 101}, 422),
        (path, {"receipt": "\0\ud800"}, 422),
    ):
        body = json.dumps(given)
        answer = await visitor.post(f"{where}/withdraw", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == status, (where, given, answer.text)
    assert await database.fetchval("SELECT count(*) FROM participants WHERE state = 'withdrawn'") == 0
    done = await visitor.post(f"{path}/withdraw", json={"receipt": receipt, "kept": "anonymised"})
    assert done.json() == {"message": "withdrawn", "kept": "anonymised", "debrief": "It was about bicycles."}
    row = await database.fetchrow("SELECT state, end_reason FROM rooms WHERE key = $1", first["session_id"])
    assert row is not None
    assert tuple(row) == ("ending", "withdrawn")
    assert (await visitor.post(f"{path}/receipt")).status_code == 409
    await rooms.name_person(database, first["session_id"], f"{CANARY}-again")  # a like under way gives a name again
    assert await database.fetchval("SELECT count(*) FROM identities") == 1  # the other's


async def test_guesses_are_counted(database: Database, url: str) -> None:
    one = await take_part(database, await open_study(database))
    async with serving(settings_for(url, session_guesses_per_hour=10)) as client:

        async def guess(n: int) -> httpx2.Response:
            code = {"receipt": "BCD"[n % 3] * 30}
            if n % 3 == 0:
                return await client.post("/withdraw", data=code)
            return await client.post(f"/session/{one.key}/withdraw" if n % 3 == 1 else "/my-data", json=code)

        assert [(await guess(n)).status_code for n in range(10)] == [422, 401, 401] * 3 + [422]
        for n in range(3):
            answer = await guess(n)
            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) > 0
        right = await client.post(f"/session/{one.key}/withdraw", json={"receipt": one.receipt})
        assert right.status_code == 429
    assert await state(database, one) == ("active", "erase")


async def test_hostile_forms(database: Database, visitor: httpx2.AsyncClient) -> None:
    one = await take_part(database, await open_study(database))
    odd = [
        b"receipt=%00",
        b"receipt=%ED%A0%80",
        b"receipt=" + b"A" * 5_000,
        b"do=withdraw",
        b"%",
        b"\xff\xfe",
        b"a=b&" * 500,
    ]
    for secret in ("", one.secret):
        visitor.cookies.clear()
        if secret:
            known(visitor, one)
        for body in odd:
            answer = await visitor.post(
                "/withdraw", content=body, headers={"content-type": "application/x-www-form-urlencoded"}
            )
            assert 400 <= answer.status_code < 500, (body, answer.status_code)
    for cookie in ("x" * 5_000, "\u00e9", "%00"):
        answer = await visitor.get("/s/my-data.json", headers={b"cookie": f"{COOKIE}={cookie}".encode("latin-1")})
        assert answer.status_code == 404
    page = await visitor.post("/withdraw", data={"receipt": '"><script>alert(1)</script>'})
    assert "<script>alert" not in page.text
    assert await state(database, one) == ("active", "erase")
