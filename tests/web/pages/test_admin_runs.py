"""Runs on the pages: begun, watched, stopped and resumed by forms, as the command line and the API do it."""

import asyncio
import json
import re
import secrets

import httpx2
import pytest

from app.db.engine import Database
from app.ledger.pulse import halt
from app.web.pages.admin import runs as pages
from app.web.pages.admin.runs import duration, segments
from tests.conftest import run_sql, serving, settings_for, sign_up
from tests.web.pages.desk import at_desk, csrf, look, played
from tests.web.test_page import BROWSER

LIST = "/admin/runs"


async def send(client: httpx2.AsyncClient, address: str, **fields: str) -> httpx2.Response:
    return await client.post(address, data={"csrf": await csrf(client), **fields})


async def test_the_list_shows_how_runs_stand(database: Database, url: str) -> None:
    runs = await played(database, url, cycles=3)
    await run_sql(url, f"UPDATE runs SET state = 'failed', reason = 'HTTP 500' WHERE id = {runs[0]}")
    async with at_desk(url) as client:
        page = await look(client, LIST)
        assert [link for link in page.links if re.fullmatch(rf"{LIST}/\d+", link)] == [
            f"{LIST}/{n}" for n in runs[::-1]
        ]
        assert any("3 done" in svg["aria-label"] for svg in page.all("svg", role="img"))
        assert "No worker is alive" in page.text
        failed = await look(client, f"{LIST}?state=failed")
        assert "HTTP 500" in failed.text
        assert f"{LIST}/{runs[1]}" not in failed.links
        assert "No run is paused" in (await look(client, f"{LIST}?state=paused")).text


async def test_older_runs_follow(database: Database, url: str) -> None:
    await run_sql(url, "INSERT INTO runs (venue, slot, seed) SELECT 'feed', 's' || n, n FROM generate_series(1, 45) n")
    async with at_desk(url) as client:
        seen: list[str] = []
        address: str | None = LIST
        while address:
            page = await look(client, address)
            seen += [link for link in page.links if re.fullmatch(rf"{LIST}/\d+", link)]
            address = next((a["href"] for a in page.all("a", rel="next")), None)
        assert seen == [f"{LIST}/{n}" for n in range(45, 0, -1)]


async def test_run_now_hands_out_and_leads_to_the_run(database: Database, url: str) -> None:
    await played(database, url, cycles=0)
    async with at_desk(url) as client:
        page = await look(client, LIST)
        assert "Assumed" in page.text
        once = page.all("input", name="once")[0]["value"]
        answer = await send(client, f"{LIST}/now", once=once, seed="7", budget_usd="0.5", budget_tokens="")
        assert answer.status_code == 303
        address = answer.headers["location"]
        run = await database.fetchrow("SELECT * FROM runs")
        assert run is not None
        assert address == f"{LIST}/{run['id']}?done=run-opened"
        assert (run["seed"], run["state"], run["turns_total"]) == (7, "running", 3)
        assert json.loads(run["settings"])["budget_usd"] == 0.5
        assert run["estimate"] is not None
        page = await look(client, address)
        assert "The run is open" in page.text
        assert "No worker is alive" in page.text
        again = await send(client, f"{LIST}/now", once=once, seed="8")
        assert again.headers["location"] == f"{LIST}/{run['id']}"
        assert await database.fetchval("SELECT count(*) FROM runs") == 1
        entry = await database.fetchrow("SELECT action, subject, detail FROM audit ORDER BY id DESC LIMIT 1")
        assert entry is not None
        assert (entry["action"], entry["subject"]) == ("run.now", f"run {run['id']}")


async def test_a_worker_of_the_server_plays_it_and_the_stream_tells_so(database: Database, url: str) -> None:
    await played(database, url, cycles=0)
    async with at_desk(url, worker_enabled=True) as client:
        answer = await send(client, f"{LIST}/now", once=secrets.token_hex(16))
        address = answer.headers["location"].partition("?")[0]
        async with asyncio.timeout(30):
            stream = await client.get(f"{address}/events")
        assert stream.headers["content-type"].startswith("text/event-stream")
        events = re.findall(r"event: progress\ndata: (.+)\n\n", stream.text)
        last = json.loads(events[-1])
        assert (last["state"], last["percent"], last["words"]["ended"]) == ("completed", 100.0, "3 of 3")
        assert last["bar"] == [["done", 0.0, 100.0]]
        assert stream.text.endswith("event: end\ndata: {}\n\n")
        page = await look(client, address)
        assert "No worker is alive" not in page.text
        assert not [section for section in page.all("section") if "data-run" in section]
        assert any(script["src"].endswith("/runs.js") for script in page.all("script")) is False


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"seed": "x"}, "integer"),
        ({"seed": "-1"}, "greater"),
        ({"seed": str(2**63)}, "less"),
        ({"budget_usd": "0"}, "greater"),
        ({"budget_usd": "nan"}, "finite"),
        ({"budget_tokens": "0.5"}, "integer"),
        ({"budget_tokens": "<script>"}, "integer"),
        ({"once": "x"}, "too old"),
    ],
)
async def test_a_wrong_field_is_explained_beside_it(
    database: Database, url: str, fields: dict[str, str], told: str
) -> None:
    async with at_desk(url) as client:
        answer = await send(client, f"{LIST}/now", **({"once": secrets.token_hex(16)} | fields))
        assert answer.status_code == 422
        assert told in answer.text
        assert '<script>"' not in answer.text
    assert await database.fetchval("SELECT count(*) FROM runs") == 0


async def test_nothing_begins_while_everything_is_halted(database: Database, url: str) -> None:
    await halt(database, True)
    async with at_desk(url) as client:
        answer = await send(client, f"{LIST}/now", once=secrets.token_hex(16))
        assert answer.status_code == 409
        assert "kill switch is on" in answer.text
    assert await database.fetchval("SELECT count(*) FROM runs") == 0


async def test_the_interval_is_set_as_by_the_api(database: Database, url: str) -> None:
    async with at_desk(url) as client:
        answer = await send(client, f"{LIST}/interval", interval="12.5")
        assert answer.headers["location"] == f"{LIST}?done=interval"
        assert 'value="12.5"' in (await client.get(LIST)).text
        for wrong in ("", "0", "x", "nan", "inf", "1e9"):
            answer = await send(client, f"{LIST}/interval", interval=wrong)
            assert answer.status_code == 422
            assert "from 0.05" in answer.text
    assert await database.fetchval("SELECT scheduler_interval_minutes FROM instance") == 12.5
    assert await database.fetchval("SELECT count(*) FROM audit WHERE action = 'scheduler.interval'") == 1


async def test_stop_and_resume(database: Database, url: str) -> None:
    await played(database, url, cycles=0)
    async with at_desk(url) as client:
        address = (await send(client, f"{LIST}/now", once=secrets.token_hex(16))).headers["location"].partition("?")[0]
        assert (await send(client, f"{address}/stop")).headers["location"] == f"{address}?done=run-stopped"
        page = await look(client, address)
        assert page.all("form", action=f"{address}/resume")
        assert not page.all("form", action=f"{address}/stop")
        assert (await send(client, f"{address}/stop")).status_code == 409
        wrong = await send(client, f"{address}/resume", budget_usd="-1")
        assert wrong.status_code == 422
        assert 'value="-1"' in wrong.text
        answer = await send(client, f"{address}/resume", budget_tokens="1000000")
        assert answer.headers["location"] == f"{address}?done=run-resumed"
        assert (await send(client, f"{address}/resume")).status_code == 409
        run = await database.fetchrow("SELECT state, settings FROM runs")
        assert run is not None
        assert (run["state"], json.loads(run["settings"])["budget_tokens"]) == ("running", 1_000_000)
        done = await database.fetch("SELECT action FROM audit WHERE action LIKE 'run.%' ORDER BY id")
        assert [row["action"] for row in done] == ["run.now", "run.stop", "run.resume"]
        for wish in ("stop", "resume"):
            assert (await send(client, f"{LIST}/999/{wish}")).status_code == 404


async def test_a_run_tells_what_went_wrong_and_how_to_mend_it(database: Database, url: str) -> None:
    (run,) = await played(database, url)
    await run_sql(
        url,
        "UPDATE calls SET status = 'auth', detail = 'HTTP 401' WHERE turn_id = 1 AND step = 0",
        "UPDATE turns SET state = 'failed', reason = 'auth', epoch = 2 WHERE id = 1",
        "UPDATE actions SET detail = 'repeats what it was just told' WHERE outcome = 'made'",
        f"UPDATE runs SET state = 'partial', reason = 'HTTP 401' WHERE id = {run}",
    )
    async with at_desk(url) as client:
        page = await look(client, f"{LIST}/{run}")
        for told in ("Is the key right?", "HTTP 401", "claimed 2 times", "repeats what it was just told"):
            assert told.lower() in page.text.lower()
        assert f"/admin/traces?run={run}&status=auth" in page.links
        assert {"/admin/traces/1", "/admin/traces/2", "/admin/traces/3"} <= set(page.links)
        assert "Foretold" in page.text


async def test_the_turns_of_a_large_run_come_in_pages(database: Database, url: str) -> None:
    await run_sql(
        url,
        "INSERT INTO personas (username, description) SELECT 'p' || n, 'x' FROM generate_series(1, 150) n",
        "INSERT INTO runs (venue, slot, seed, state, turns_total) VALUES ('feed', 's', 1, 'stopped', 150)",
        "INSERT INTO turns (run_id, persona_id, ordinal) SELECT 1, 151 - n, n FROM generate_series(1, 150) n",
    )
    async with at_desk(url) as client:
        seen: list[str] = []
        address: str | None = f"{LIST}/1"
        while address:
            page = await look(client, address)
            seen += [link for link in page.links if re.fullmatch(r"/admin/traces/\d+", link)]
            address = next((a["href"] for a in page.all("a", rel="next")), None)
        assert len(seen) == len(set(seen)) == 150


async def test_who_watches_is_counted_and_no_more_than_that(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run,) = await played(database, url)
    async with at_desk(url) as client:
        assert (await client.get(f"{LIST}/{run}/events")).text.count("event: progress") == 1
        assert (await client.head(f"{LIST}/{run}/events")).status_code == 200
        monkeypatch.setattr(pages, "WATCHERS_MAX", 0)
        assert (await client.get(f"{LIST}/{run}/events")).status_code == 503
        assert (await client.get(f"{LIST}/999/events")).status_code == 404


async def test_a_stream_ends_with_its_session(database: Database, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "HEARTBEAT_SECONDS", 0.0)
    await run_sql(url, "INSERT INTO runs (venue, slot, seed, state) VALUES ('feed', 's', 1, 'running')")
    async with at_desk(url) as client:
        watching = asyncio.create_task(client.get(f"{LIST}/1/events"))
        await asyncio.sleep(0.1)
        await run_sql(url, "DELETE FROM admin_sessions")
        async with asyncio.timeout(20):
            assert "event: end" not in (await watching).text


async def test_an_empty_world(url: str) -> None:
    async with at_desk(url) as client:
        page = await look(client, LIST)
        assert "No runs yet" in page.text
        assert "Nobody would wake" in page.text
        answer = await send(client, f"{LIST}/now", once=secrets.token_hex(16))
        page = await look(client, answer.headers["location"])
        assert "Nobody woke" in page.text


@pytest.mark.parametrize(
    "path", ["/0", "/x", "/999", "/99999999999999999999", "/1/events/x", "?state=done", "?cursor=x", "/999?cursor=x"]
)
async def test_wrong_addresses_are_explained(url: str, path: str) -> None:
    async with at_desk(url) as client:
        answer = await client.get(LIST + path)
        assert answer.status_code in (404, 422)
        assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("path", ["/now", "/interval", "/1/stop", "/1/resume"])
async def test_forms_count_only_from_our_pages(url: str, path: str) -> None:
    async with at_desk(url) as client:
        token = await csrf(client)
        assert (await client.post(LIST + path, data={"csrf": "0" * 64})).status_code == 403
        answer = await client.post(LIST + path, data={"csrf": token}, headers={"Origin": "http://evil.test"})
        assert answer.status_code == 403


@pytest.mark.parametrize("path", ["", "/1", "/1/events"])
async def test_only_admins_see_runs(url: str, path: str) -> None:
    async with serving(settings_for(url)) as client:
        await sign_up(client)
        assert (await client.get(LIST + path, headers=BROWSER)).headers["location"].startswith("/admin/login?next=")
        assert (
            (await client.post(f"{LIST}/now", data={}, headers=BROWSER)).headers["location"].startswith("/admin/login")
        )


def test_a_bar_is_as_wide_as_its_parts() -> None:
    bar = segments({"queued": 1, "done": 2, "failed": 1})
    assert bar == [("done", 0.0, 50.0), ("failed", 50.0, 25.0), ("queued", 75.0, 25.0)]
    assert segments({}) == []


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(None, "—"), (0.2, "200 ms"), (3.14, "3.1 s"), (61, "61 s"), (150, "2 min 30 s"), (7_500, "2 h 05 min")],
)
def test_durations_are_for_people(seconds: float | None, told: str) -> None:
    assert duration(seconds) == told
