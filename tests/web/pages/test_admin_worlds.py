"""Worlds in a browser: made, compared and dropped by admins, looked at by observers; other worlds say where one is."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from app.analysis import state as states
from app.db import worlds as databases
from app.db.engine import Database
from app.errors import TooMany
from app.web.pages.admin import worlds as pages
from app.web.workshop import KEPT, Workshop
from app.world import worlds
from tests.conftest import run_sql, serving, settings_for, with_database
from tests.web.pages.desk import Page, at_desk, csrf, look, played
from tests.web.test_contract import populate
from tests.web.test_page import BROWSER, HOSTILE

HERE = "/admin/worlds"


@pytest.fixture(autouse=True)
async def swept(database: Database, url: str) -> AsyncIterator[None]:
    yield
    for row in await database.fetch("SELECT database FROM worlds WHERE state <> 'dropped'"):
        await run_sql(with_database(url, "postgres"), f'DROP DATABASE IF EXISTS "{row["database"]}" WITH (FORCE)')


@pytest.fixture
async def desk(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A browser in which an admin is signed in; their number is 1."""
    async with at_desk(url) as client:
        yield client


async def send(client: httpx2.AsyncClient, address: str = HERE, **fields: str) -> httpx2.Response:
    return await client.post(address, data={"csrf": await csrf(client), **fields})


def place(answer: httpx2.Response) -> str:
    assert answer.status_code == 303, answer.text[:1500]
    return str(answer.headers["location"])


async def deeds(database: Database) -> list[tuple[str, str]]:
    found = await database.fetch("SELECT action, subject FROM audit WHERE action LIKE 'world.%' ORDER BY id")
    return [(row["action"], row["subject"]) for row in found]


async def test_a_worlds_life(desk: httpx2.AsyncClient, url: str, database: Database) -> None:
    await populate(url)
    page = await look(desk, HERE)
    assert page.all("a", href=f"{HERE}/home")
    assert "home world" in page.text
    made = await send(desk, name="try", kind="fork", source="home", note=HOSTILE)
    assert place(made) == f"{HERE}/try?done=world-made"
    page = await look(desk, HERE)
    assert HOSTILE in page.text
    assert f"{HERE}/try" in page.links
    assert "ada" in page.text
    page = await look(desk, f"{HERE}/TRY?done=world-made")
    assert "The world is ready." in page.text
    for command in ("simfeed up --world try", "simfeed run --world try"):
        assert command in page.text
    assert page.all("form", action=f"{HERE}/try/drop")
    row = await database.fetchrow("SELECT database, note FROM worlds")
    assert row is not None
    assert row["note"] == HOSTILE
    assert place(await send(desk, name="kept", kind="checkpoint", source="try")) == f"{HERE}/kept?done=world-made"
    page = await look(desk, f"{HERE}/kept")
    assert "simfeed world restore kept again" in page.text
    assert "--world kept" not in page.text
    assert page.all("button", name="kind", value="restore")
    assert place(await send(desk, name="again", kind="restore", source="kept")) == f"{HERE}/again?done=world-made"
    assert (await worlds.one(database, "again")).source == "kept"
    assert place(await send(desk, name="new", kind="made")) == f"{HERE}/new?done=world-made"
    sure = await send(desk, f"{HERE}/try/drop")
    assert sure.status_code == 200
    assert Page(sure.text).is_sound()
    assert "for ever" in sure.text
    assert (await worlds.one(database, "try")).state == "ready"
    assert place(await send(desk, f"{HERE}/try/drop", sure="yes")) == f"{HERE}?done=world-dropped"
    await look(desk, f"{HERE}/try", 404)
    assert await deeds(database) == [
        ("world.made", "try"), ("world.made", "kept"), ("world.made", "again"), ("world.made", "new"),
        ("world.dropped", "try"),
    ]  # fmt: skip


async def test_what_differs_and_the_hash(desk: httpx2.AsyncClient, url: str, database: Database) -> None:
    await populate(url)
    await send(desk, name="try", kind="fork")
    result = place(await send(desk, f"{HERE}/compare", what="diff", a="home", b="try"))
    assert "They are the same" in (await look(desk, result)).text
    there = await databases.locate(url, "try")
    await run_sql(there, f"UPDATE personas SET bio = '{HOSTILE.replace(chr(39), chr(39) * 2)}' WHERE id = 1")
    result = place(await send(desk, f"{HERE}/compare", what="diff", a="home", b="try", part="network", limit="3"))
    page = await look(desk, result)
    assert HOSTILE in page.text
    assert "#t-personas" in page.links
    assert "t-personas" in page.ids
    assert "changed" in page.text
    result = place(await send(desk, f"{HERE}/compare", what="hash", a="try"))
    page = await look(desk, result)
    wanted = await states.state_at(there)
    assert wanted.sha256 in page.text
    assert all(one.sha256 in page.text for one in wanted.tables)
    assert page.all("button", **{"data-copy": "#c-hash"})
    assert await deeds(database) == [("world.made", "try")]


async def test_mistakes_are_explained(desk: httpx2.AsyncClient, database: Database) -> None:
    for name in (
        "",
        "home",
        "a b",
        "../x",
        'a"; DROP DATABASE postgres; --',
        "a\x00b",
        "x" * 41,
        "ä",
        HOSTILE,
        "\ud7ff",
    ):
        answer = await send(desk, name=name, kind="fork", source="home")
        assert answer.status_code == 422, name
        assert Page(answer.text).is_sound()
        assert "<script>alert" not in answer.text
    for odd in (
        {"kind": ""},
        {"kind": "home"},
        {"kind": HOSTILE},
        {"source": "a b"},
        {"via": "x"},
        {"note": "x" * 201},
        {"note": "\x00"},
    ):
        answer = await send(desk, **{"name": "ok", "kind": "fork", **odd})
        assert answer.status_code == 422, odd
        assert 'aria-invalid="true"' in answer.text, odd
    assert (await send(desk, name="ok", kind="fork", source="nobody")).status_code == 404
    assert place(await send(desk, name="ok", kind="made"))
    answer = await send(desk, name="OK", kind="made", note="mine")
    assert (answer.status_code, 'value="mine"' in answer.text) == (409, True)
    assert "take another name" in answer.text
    assert (await send(desk, name="b", kind="restore", source="ok")).status_code == 422
    assert await database.fetchval("SELECT count(*) FROM worlds WHERE state = 'ready'") == 1
    for query in ("name=a%20b", "source=%00", "kind=home", "name=" + "x" * 41):
        await look(desk, f"{HERE}?{query}", 422)
    page = await look(desk, f"{HERE}?name=after-run-3&kind=checkpoint")
    assert page.all("input", name="name", value="after-run-3")
    for path in ("a%20b", "%00", "%22%3B--", "x" * 41):
        await look(desk, f"{HERE}/{path}", 422)
        assert (await send(desk, f"{HERE}/{path}/drop", sure="yes")).status_code == 422
    await look(desk, f"{HERE}/nobody", 404)
    assert (await send(desk, f"{HERE}/nobody/drop", sure="yes")).status_code == 404
    assert (await send(desk, f"{HERE}/HOME/drop", sure="yes")).status_code == 409
    for asked in ({"a": "a b"}, {"b": HOSTILE}, {"what": "x"}, {"part": "x"}, {"times": "\x00"}, {"limit": "1000"}):
        answer = await send(desk, f"{HERE}/compare", **asked)
        assert answer.status_code == 422, asked
    assert (await send(desk, f"{HERE}/compare", a="nobody")).status_code == 404
    await look(desk, f"{HERE}/compare?job={'0' * 32}", 404)
    for query in ("job=x", "a=%27", "job=" + "g" * 32):
        await look(desk, f"{HERE}/compare?{query}", 422)


async def test_only_our_own_forms_count(desk: httpx2.AsyncClient, database: Database) -> None:
    token = await csrf(desk)
    for address, given in (
        (HERE, {"name": "a", "kind": "made"}),
        (f"{HERE}/compare", {"what": "hash"}),
        (f"{HERE}/a/drop", {"sure": "yes"}),
    ):
        assert (await desk.post(address, data=given)).status_code == 403
        assert (await desk.post(address, data={**given, "csrf": "0" * 64})).status_code == 403
        cross = {"Sec-Fetch-Site": "cross-site"}
        assert (await desk.post(address, data={**given, "csrf": token}, headers=cross)).status_code == 403
    assert await database.fetchval("SELECT count(*) FROM worlds") == 0
    desk.cookies.clear()
    for path in ("", "/home", "/compare"):
        answer = await desk.get(HERE + path)
        assert (answer.status_code, answer.headers["location"][:12]) == (303, "/admin/login")
        assert (await desk.post(HERE + path, data={"csrf": token})).status_code in (303, 401, 403, 405)


async def test_observers_look(desk: httpx2.AsyncClient, database: Database) -> None:
    await send(desk, name="try", kind="made")
    await database.fetchval("UPDATE admin SET role = 'observer'")
    for path in ("", "/try", "/compare"):
        page = await look(desk, HERE + path)
        assert not page.all("form", action=HERE)
        assert not page.all("form", action=f"{HERE}/try/drop")
    assert (await send(desk, name="b", kind="made")).status_code == 403
    assert (await send(desk, f"{HERE}/try/drop", sure="yes")).status_code == 403
    result = place(await send(desk, f"{HERE}/compare", what="hash", a="try"))
    assert "The canonical hash" in (await look(desk, result)).text
    assert [w.name for w in await worlds.everything(database)] == ["home", "try"]


@asynccontextmanager
async def held_up(monkeypatch: pytest.MonkeyPatch, name: str) -> AsyncIterator[asyncio.Event]:
    """Work on worlds that goes on only once it may, seen by forms that do not wait."""
    may = asyncio.Event()
    module: Any = worlds if name in ("make", "drop") else states
    whole = getattr(module, name)

    async def late(*given: Any, **more: Any) -> Any:
        more["told"]("passing posts")
        await may.wait()
        return await whole(*given, **more)

    with monkeypatch.context() as patched:
        patched.setattr(module, name, late)
        patched.setattr(pages, "WAIT_SECONDS", 0.01)
        yield may
        may.set()


async def until(client: httpx2.AsyncClient, address: str, words: str) -> Page:
    """A page once it says something; a fork of the home world makes it answer 503 for a moment."""
    for _ in range(400):
        answer = await client.get(address)
        if answer.status_code == 200 and words in (page := Page(answer.text)).text:
            assert page.is_sound()
            return page
        await asyncio.sleep(0.05)
    raise AssertionError(answer.text)


async def test_what_takes_long_is_said(
    desk: httpx2.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with held_up(monkeypatch, "make") as may:
        assert place(await send(desk, name="slow", kind="fork")) == f"{HERE}?done=world-making"
        page = await look(desk, HERE)
        assert "slow" in page.text
        assert "passing posts" in page.text
        assert page.all("progress")
        assert page.all("div", **{"data-moving": ""})
        again = await send(desk, name="second", kind="made")
        assert again.status_code == 429
        assert "busy with worlds already (slow)" in again.text
        may.set()
        await until(desk, f"{HERE}/slow", "simfeed run --world slow")
    assert not (await look(desk, HERE)).all("div", **{"data-moving": ""})
    assert await deeds(database) == [("world.made", "slow")]


async def test_what_failed_after_a_while_is_said(desk: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async with held_up(monkeypatch, "make") as may:
        assert place(await send(desk, name="late", kind="fork", source="nobody")) == f"{HERE}?done=world-making"
        may.set()
        page = await until(desk, HERE, "was not made")
    assert "there is no world 'nobody'" in page.text


async def test_a_reading_goes_on_beside_the_page_and_is_bounded(
    desk: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with held_up(monkeypatch, "diff_at") as may:
        result = place(await send(desk, f"{HERE}/compare", a="home", b="home"))
        assert place(await send(desk, f"{HERE}/compare", a="home", b="home")) == result  # the same is read once
        page = await look(desk, result)
        assert "Passing posts" in page.text
        assert "simfeed world diff home home" in page.text
        second = place(await send(desk, f"{HERE}/compare", a="home", b="home", part="network"))
        assert second != result
        assert (await send(desk, f"{HERE}/compare", a="home", b="home", part="ledger")).status_code == 429
        may.set()
        await until(desk, result, "They are the same")


async def test_a_reading_that_takes_too_long_is_given_up(
    desk: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.web.workshop.READ_SECONDS", 0.01)
    async with held_up(monkeypatch, "diff_at"):
        result = place(await send(desk, f"{HERE}/compare", a="home", b="home"))
        page = await until(desk, result, "was given up")
        assert "simfeed world diff home home" in page.text


async def test_what_another_process_left_is_cleared_away(desk: httpx2.AsyncClient, database: Database) -> None:
    await database.fetchval("INSERT INTO worlds (name, database, kind) VALUES ('dead', 'simfeed_world_dead_1', 'fork')")
    page = await look(desk, HERE)
    assert "by another process" in page.text
    assert not page.all("option", value="dead")
    page = await look(desk, f"{HERE}/dead")
    assert "If it has died" in page.text
    assert place(await send(desk, f"{HERE}/dead/drop", sure="yes")) == f"{HERE}?done=world-dropped"
    assert await database.fetchval("SELECT state FROM worlds") == "dropped"


async def test_a_server_in_another_world_says_so(desk: httpx2.AsyncClient, url: str) -> None:
    await populate(url)
    assert not (await look(desk, "/")).all("strong", class_="where-name")
    await send(desk, name="try", kind="fork")
    there = await databases.locate(url, "try")
    await run_sql(there, "UPDATE instance SET world_at = '2026-03-02T08:30Z'")
    async with at_desk(url, simfeed_world="try") as other:
        for address in ("/", "/admin", HERE):
            page = await look(other, address)
            assert page.all("strong", class_="where-name")
            assert page.all("time", class_="where-at", datetime="2026-03-02T08:30:00+00:00")
            assert "world try" in page.text
            assert "its clock: 02 Mar 2026, 08:30" in page.text
        assert "You are in the world try" in page.text
        assert "simfeed world diff home try" in page.text
        assert not page.all("form", action=HERE)
        await look(other, f"{HERE}/compare")
        await look(other, f"{HERE}/try", 409)
        for path, given in ((HERE, {"name": "b", "kind": "made"}), (f"{HERE}/compare", {}), (f"{HERE}/try/drop", {})):
            assert (await send(other, path, **given)).status_code == 409
    async with serving(settings_for(url, simfeed_world="HOME")) as home:
        assert "where-name" not in (await home.get("/", headers=BROWSER)).text


async def test_the_clock_of_the_home_world(url: str) -> None:
    await run_sql(url, "UPDATE instance SET world_at = '2026-03-02T08:30Z'")
    async with at_desk(url) as client:
        page = await look(client, "/")
        assert page.all("time", class_="where-at")
        assert not page.all("strong", class_="where-name")


async def test_a_runs_page_leads_to_forks_and_replays(database: Database, url: str) -> None:
    first, last = await played(database, url, cycles=2)
    post = await database.fetchrow(
        "SELECT a.object_id, p.username FROM actions a JOIN turns t ON t.id = a.turn_id JOIN personas p"
        " ON p.id = t.persona_id WHERE t.run_id = $1 AND a.effect = 'post' LIMIT 1",
        first,
    )
    assert post is not None
    async with at_desk(url) as client:
        page = await look(client, f"/admin/runs/{first}")
        assert f"simfeed replay {first}" in page.text
        assert f"--keep after-run-{first}" in page.text
        assert f"/admin/runs/{last}" in page.links
        assert re.search(rf'simfeed replay {first} --counterfactual "drop post \d+"', page.text)
        assert "Fork the world here" not in page.text
        page = await look(client, f"/admin/runs/{last}")
        fork = f"{HERE}?name=after-run-{last}#make"
        assert fork in page.links
        assert (await look(client, fork)).all("input", value=f"after-run-{last}")
        await database.fetchval("UPDATE admin SET role = 'observer'")
        assert fork not in (await look(client, f"/admin/runs/{last}")).links
        await database.fetchval("UPDATE runs SET state = 'running' WHERE id = $1", last)
        assert "Fork and replay" not in (await look(client, f"/admin/runs/{last}")).text


async def test_the_workshop_keeps_the_newest_and_ends_its_work() -> None:
    async def soon(_: Any) -> int:
        return 1

    async def never(_: Any) -> None:
        await asyncio.Event().wait()

    async def broken(_: Any) -> None:
        raise ZeroDivisionError

    async with Workshop() as workshop:
        for n in range(KEPT + 5):
            job = workshop.begin("hash", (f"w{n}",), soon)
            assert await workshop.settled(job, 5)
            assert job.found == 1
            assert job.ended is not None
            assert job.ended <= datetime.now(UTC)
        assert len(workshop.jobs) == KEPT
        bug = workshop.begin("diff", ("a", "b"), broken)
        assert await workshop.settled(bug, 5)
        assert bug.problem is not None
        assert bug.problem.status == 500
        assert "ZeroDivision" not in bug.problem.detail
        last = workshop.begin("make", ("a",), never)
        assert not await workshop.settled(last, 0.01)
        with pytest.raises(TooMany):
            workshop.begin("drop", ("b",), never)
    assert last.ended is not None
