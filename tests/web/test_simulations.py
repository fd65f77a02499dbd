"""Sessions over the API, as a client sees them that knows the contract and nothing else."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import polars as pl
import pytest

from app.db.engine import Database
from app.settings import load_settings
from app.venues.session.stage import SessionStage
from app.web import session_relay
from app.web.api.session_schemas import DIALOGUE, EXAMPLE
from app.world import sessions
from tests.conftest import BOOTSTRAP, PASSWORD, a_mind, serving, settings_for, sign_up
from tests.session_stand import DEMOGRAPHICS, Watched, words
from tests.web.test_contract import populate
from tests.web.test_edge import assert_problem, loopback

BLOCKS: dict[str, set[str]] = {
    "participants": {"total", "successful", "failed"},
    "simulation_results": {"interactions", "rounds_completed", "total_interactions"},
    "extracted_results": {"individual_results", "aggregate_statistics", "statistical_analysis"},
    "metadata": {"execution_time", "cache_file", "checkpoints", "quality_score"},
}
HEADS = {"operation_id", "session_id", "status"}


@dataclass
class Desk:
    """A server that plays sessions, an admin's client, and the database behind."""

    client: httpx2.AsyncClient
    admin: dict[str, str]

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        return await self.client.get(path, headers={**self.admin, **headers})

    async def post(self, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        return await self.client.post(path, json=body, headers={**self.admin, **headers})

    async def done(self, path: str, body: Any) -> dict[str, Any]:
        """A session begun and played to its end."""
        answer = await self.post(f"{path}?wait=60", body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
async def desk(url: str) -> AsyncIterator[Desk]:
    async with serving(settings_for(url, worker_enabled=True)) as client:
        yield Desk(client, await sign_up(client))


@pytest.fixture
async def idle(client: httpx2.AsyncClient, admin: dict[str, str]) -> Desk:
    """A server that plays nothing."""
    return Desk(client, admin)


def request(count: int = 3, kind: str = "focus_group", **more: Any) -> dict[str, Any]:
    return {
        "session_config": {"session_name": "cups", "description": "about cups"},
        "participants": {"mode": "from_demographics", "specifications": DEMOGRAPHICS, "count": count},
        "simulation_config": {"environment_type": kind, "rounds": 2 if kind == "focus_group" else 1},
        "stimulus": {"type": "product", "content": "A cup with a deposit.", "context": "In town."},
        "terms": {"seed": 7},
        **more,
    }


def assert_block(block: dict[str, Any]) -> None:
    assert block.keys() >= HEADS | BLOCKS.keys()
    for name, keys in BLOCKS.items():
        assert block[name].keys() >= keys, name
    took_part, said = block["participants"], block["simulation_results"]
    assert took_part["total"] == took_part["successful"] + took_part["failed"]
    assert len(said["interactions"]) == said["total_interactions"]
    assert block["operation_id"] == block["session_id"]


# The contract


async def test_request_and_answer_are_the_contracts(desk: Desk) -> None:
    body = request(
        4,
        session_config={"session_name": "cups", "cache_file": "cups.json", "description": "d"},
        simulation_config={
            "environment_type": "focus_group",
            "rounds": 2,
            "enable_memory": True,
            "enable_thinking": True,
            "broadcast_mode": True,
        },
        extraction_config={
            "extract_results": True,
            "extraction_objective": "Who would use it",
            "fields": ["reason", "mood"],
            "fields_hints": {"mood": "how they feel about it"},
            "statistical_analysis": True,
        },
    )
    begun = await desk.post("/simulations", body)
    assert begun.status_code == 202
    assert_block(begun.json())
    assert begun.json()["status"] == "running"
    assert begun.headers["location"] == f"/simulations/{begun.json()['session_id']}"
    answer = await desk.get(begun.headers["location"], Prefer="respond-async, wait=50")
    assert answer.headers["preference-applied"] == "wait=50"
    block = answer.json()
    assert_block(block)
    assert block["status"] == "completed"
    assert block["participants"]["total"] == block["participants"]["successful"] == 4
    assert block["simulation_results"]["rounds_completed"] == 2
    assert block["simulation_results"]["total_interactions"] == 8
    assert block["progress"] == {"asked": block["progress"]["answered"], "answered": block["progress"]["asked"]} | {
        "round": block["progress"]["round"]
    }
    assert block["metadata"]["cache_file"] == "cups.json"
    assert block["metadata"]["checkpoints"]
    assert 0 < block["metadata"]["quality_score"] <= 1
    assert block["metadata"]["execution_time"] > 0
    transcript = await whole_transcript(desk, begun.headers["location"])
    spoken = {line["number"]: line["text"] for line in transcript}
    results = block["extracted_results"]["individual_results"]
    assert [one["participant"] for one in results] == ["1", "2", "3", "4"]
    values = [value for one in results for value in one["fields"].values()]
    assert len(values) == 8
    for value in values:
        if "missing" in value:
            assert value["missing"]
            continue
        assert 0 <= value["confidence"] <= 1
        if value["quote"] is not None:
            assert value["quote"].strip(" .") in spoken[value["line"]]
    assert set(block["extracted_results"]["aggregate_statistics"]) == {"reason", "mood"}


async def whole_transcript(desk: Desk, place: str, limit: int = 3) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    page = (await desk.get(f"{place}/transcript?limit={limit}")).json()
    while True:
        assert page["has_more"] == (page["next_cursor"] is not None)
        lines += page["data"]
        if not page["has_more"]:
            return lines
        page = (await desk.get(f"{place}/transcript?limit={limit}&cursor={page['next_cursor']}")).json()


AGENT = {"type": "TinyPerson", "persona": {"name": "Lisa Carter", "age": 28, "occupation": {"title": "Data Scientist"}}}
MODES: list[dict[str, Any]] = [
    {"mode": "from_demographics", "specifications": DEMOGRAPHICS, "count": 3},
    {"mode": "from_agent", "specifications": AGENT, "count": 2},
    {"mode": "from_population", "specifications": {"agents": [AGENT, AGENT]}},
    {"mode": "from_population", "specifications": {"world": True}, "count": 2},
    {"mode": "custom", "specifications": ["ann", {"username": "eve", "description": "Keeps bees."}]},
]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: str(mode["mode"]))
async def test_every_mode_of_the_contract(desk: Desk, url: str, mode: dict[str, Any]) -> None:
    await populate(url)
    for kind, stimulus in (("focus_group", "message"), ("survey", "question"), ("interview", "scenario")):
        body = request(kind=kind, participants=mode, stimulus={"type": stimulus, "content": "Bicycles in town."})
        block = await desk.done("/simulations", body)
        assert_block(block)
        assert block["status"] == "completed", block["participants"]
        assert block["participants"]["total"] == mode.get("count", 2)
        assert block["simulation_results"]["total_interactions"] >= mode.get("count", 2)


async def test_the_same_request_gives_the_same(desk: Desk) -> None:
    def told(block: dict[str, Any]) -> list[tuple[str, str]]:
        return [(line["by"], line["text"]) for line in block["simulation_results"]["interactions"]]

    first, again = [told(await desk.done("/simulations", request())) for _ in range(2)]
    assert first == again
    assert first != told(await desk.done("/simulations", request(terms={"seed": 8})))


async def test_a_server_that_plays_nothing_says_so_in_time(idle: Desk) -> None:
    answer = await idle.post("/simulations", request(), Prefer="wait=1")
    assert (answer.status_code, answer.json()["status"]) == (202, "running")
    for odd in ("wait", "wait=", "wait=-5", "wait=1e9", "wait=x, wait", "a" * 2_000, "wait=0", "wait =\t" * 200):
        assert (await idle.get(answer.headers["location"], Prefer=odd)).status_code == 200, odd
    for wait in ("0", "61", "1.5", "x"):
        assert_problem(await idle.get(f"{answer.headers['location']}?wait={wait}"), 422)


# What a session lets be done with it


async def test_pause_step_resume_and_cancel(desk: Desk, database: Database) -> None:
    begun = (await desk.post("/dialogues", {**DIALOGUE, "stop": {"turns": 400, "goodbye": False}})).json()
    place = f"/dialogues/{begun['session_id']}"
    assert (await desk.post(f"{place}/pause")).json()["status"] == "paused"
    assert_problem(await desk.post(f"{place}/pause"), 409)

    async def lines() -> int:
        row = await sessions.found(database, begun["session_id"])
        return int(row["lines_count"])

    async def paused() -> int:
        async with asyncio.timeout(30):
            while (await desk.get(place)).json()["status"] != "paused":
                await asyncio.sleep(0.05)
        return await lines()

    await desk.post(f"{place}/step")
    before = await paused()
    await desk.post(f"{place}/step")
    assert await paused() == before + 1
    await desk.post(f"{place}/step?lines=3")
    assert await paused() == before + 4
    assert (await desk.post(f"{place}/resume")).json()["status"] == "running"
    assert_problem(await desk.post(f"{place}/resume"), 409)
    ended = (await desk.post(f"{place}/cancel")).json()
    assert ended["status"] == "cancelled"
    assert_problem(await desk.post(f"{place}/cancel"), 409)
    stood = await lines()
    await asyncio.sleep(0.5)
    assert await lines() == stood < 400
    deeds = await database.fetch("SELECT action FROM audit WHERE subject = $1 ORDER BY id", begun["session_id"])
    assert [deed["action"].partition(".")[2] for deed in deeds] == [
        "begun", "paused", "stepped", "stepped", "stepped", "resumed", "cancelled",
    ]  # fmt: skip


async def test_checkpoints_recovery_and_further_extraction(desk: Desk) -> None:
    block = await desk.done("/simulations", request(3))
    place = f"/simulations/{block['session_id']}"
    made = await desk.post(f"{place}/checkpoints", {"name": "the end"})
    assert made.status_code == 201
    assert len(made.json()["sha256"]) == 64
    assert_problem(await desk.post(f"{place}/checkpoints", {"name": "the end"}), 409)
    points = (await desk.get(f"{place}/checkpoints")).json()["checkpoints"]
    assert {point["name"] for point in points} == {*block["metadata"]["checkpoints"], "the end"}
    assert_problem(await desk.post(f"{place}/recover", {"checkpoint": "no such"}), 404)
    first = block["metadata"]["checkpoints"][0]
    again = (await desk.post(f"{place}/recover?wait=30", {"checkpoint": first})).json()
    assert again["session_id"] != block["session_id"]
    assert again["status"] == "completed"
    assert words_of(again) == words_of(block)
    found = (await desk.post(f"{place}/extractions?wait=30", {"extraction_config": {"fields": ["opinion"]}})).json()
    assert_block(found)
    assert len(found["extracted_results"]["individual_results"]) == 3
    assert_problem(await desk.post(f"/simulations/{found['session_id']}/extractions", {"extraction_config": {}}), 422)
    config = {"extraction_config": {"fields": ["opinion"]}}
    assert_problem(await desk.post(f"/simulations/{found['session_id']}/extractions", config), 409)


def words_of(block: dict[str, Any]) -> list[tuple[str, str, Any]]:
    return [(one["by"], one["text"], one["value"]) for one in block["simulation_results"]["interactions"]]


QUESTIONS: list[dict[str, Any]] = [
    {"key": "buy", "type": "likert", "text": "I would use it."},
    {"key": "colour", "type": "single", "text": "Which colour?", "options": ["red", "=blue"]},
    {"key": "uses", "type": "multiple", "text": "What for?", "options": ["tea", "coffee"]},
]


async def test_files_in_three_forms_say_the_same(desk: Desk) -> None:
    body = request(5, "survey", questions=QUESTIONS, extraction_config={"fields": ["reason"]})
    place = f"/simulations/{(await desk.done('/simulations', body))['session_id']}"
    for name in ("answers", "extracted"):
        by_form = {form: await desk.get(f"{place}/{name}.{form}") for form in ("json", "csv", "parquet")}
        rows = by_form["json"].json()
        assert len(rows) == 5
        read = list(csv.DictReader(io.StringIO(by_form["csv"].text)))
        assert [row["name"] for row in read] == [row["name"] for row in rows]
        assert not any(cell.startswith("=") for row in read for cell in row.values())
        assert pl.read_parquet(io.BytesIO(by_form["parquet"].content)).to_dicts() == rows
        assert_problem(await desk.get(f"{place}/{name}.xlsx"), 422)
    dialogue = (await desk.done("/dialogues", DIALOGUE))["session_id"]
    assert_problem(await desk.get(f"/simulations/{dialogue}/answers.csv"), 404)
    assert_problem(await desk.get(f"/simulations/{dialogue}/extracted.csv"), 404)


async def test_a_dialogue_and_its_analytics(desk: Desk) -> None:
    answer = await desk.post("/dialogues?wait=30", DIALOGUE)
    assert answer.status_code == 200
    key = answer.json()["session_id"]
    assert answer.headers["location"] == f"/dialogues/{key}"
    sheet = (await desk.get(f"/dialogues/{key}/analytics.csv")).text
    rows = list(csv.DictReader(io.StringIO(sheet)))
    columns = "Bot,Channel,Generations,Turns,MessagesReceived,MessagesIgnored,AvgProcessingTime"
    assert sheet.splitlines()[0] == columns
    assert [(row["Bot"], row["Channel"], row["Turns"]) for row in rows] == [
        ("Geo", "rare-earths", "4"),
        ("Mara", "rare-earths", "4"),
    ]
    survey = (await desk.done("/simulations", request(2, "survey")))["session_id"]
    assert_problem(await desk.get(f"/dialogues/{survey}"), 404)
    assert_problem(await desk.post(f"/dialogues/{survey}/cancel"), 404)
    listed = (await desk.get("/simulations?limit=1")).json()
    assert [one["session_id"] for one in listed["data"]] == [survey]
    following = (await desk.get(f"/simulations?limit=1&cursor={listed['next_cursor']}")).json()
    assert [one["session_id"] for one in following["data"]] == [key]
    only = (await desk.get("/simulations?kind=dialogue")).json()["data"]
    assert [(one["session_id"], one["status"], one["members"]) for one in only] == [(key, "completed", 2)]
    assert_problem(await desk.get(f"/simulations?kind=dialogue&cursor={listed['next_cursor']}"), 422)


# Isolation


MARKS = [f"zeppelin{n:02d}" for n in range(12)]


def marks_in(text: str) -> set[str]:
    return {mark for mark in MARKS if mark in text}


async def test_twelve_at_once_know_nothing_of_each_other(idle: Desk, database: Database) -> None:
    model = Watched()
    model.longest = 0.01
    keys = []
    for mark in MARKS:
        stimulus = {"type": "product", "content": f"A {mark} for every street.", "context": mark}
        body = request(3, stimulus=stimulus, extraction_config={"fields": ["reason"]}, terms={"seed": 1})
        keys.append((await idle.post("/simulations", body)).json()["session_id"])
    async with a_mind(database, model) as mind, SessionStage(mind, load_settings()):
        blocks = [(await idle.get(f"/simulations/{key}?wait=60")).json() for key in keys]
        assert {block["status"] for block in blocks} == {"completed"}
        asked = [marks_in(text) for text in model.texts()]
        assert {len(marks) for marks in asked} == {1}, "a prompt holds the words of one session alone"
        assert set.union(*asked) == set(MARKS)
        for mark, block in zip(MARKS, blocks, strict=True):
            assert marks_in(json.dumps(block)) <= {mark}
        told = [block["simulation_results"]["interactions"] for block in blocks]
        turns = [line["turn"] for lines in told for line in lines]
        assert len(turns) == len(set(turns)) == 12 * 6
        before = len(model.asked)  # control: a session made of another one does hold that one's words
        config = {"extraction_config": {"fields": ["other"]}}
        await idle.post(f"/simulations/{keys[3]}/extractions?wait=60", config)
        of_third = [marks_in(text) for text in model.texts()[before:]]
        assert of_third
        assert all(marks == {MARKS[3]} for marks in of_third)


# A model that fails


async def test_a_model_that_never_answers_in_form_loses_nobody_silently(idle: Desk, database: Database) -> None:
    model = Watched(lambda _, __: words("I would rather not use your {form"))
    body = request(4, "survey", questions=QUESTIONS)
    place = (await idle.post("/simulations", body)).headers["location"]
    async with a_mind(database, model) as mind, SessionStage(mind, load_settings()):
        block = (await idle.get(f"{place}?wait=60")).json()
    assert block["status"] == "partial"
    assert (block["participants"]["total"], block["participants"]["failed"]) == (4, 4)
    assert len(block["participants"]["failures"]) == 4
    assert all(one["name"] and one["reason"] for one in block["participants"]["failures"])
    rows = (await idle.get(f"{place}/answers.json")).json()
    assert all(row[f"{one['key']}.missing"] for row in rows for one in QUESTIONS)


async def test_some_that_fail_are_counted_as_partial(idle: Desk, database: Database) -> None:
    model = Watched(lambda _, n: words("no form at all") if n % 2 else None)
    place = (await idle.post("/simulations", request(6, "survey", questions=QUESTIONS))).headers["location"]
    async with a_mind(database, model) as mind, SessionStage(mind, load_settings()):
        block = (await idle.get(f"{place}?wait=60")).json()
    took_part = block["participants"]
    assert took_part["failed"] == len(took_part["failures"])
    assert (block["status"] == "partial") == (0 < took_part["failed"] < 6)
    assert block["metadata"]["quality_score"] <= 1 - took_part["failed"] / 6 + 1e-9


# Lines as they come


def heard(text: str) -> Iterator[tuple[str, int | None, Any]]:
    """Events of a stream: kind, id, data."""
    for event in text.split("\n\n"):
        given = dict(line.split(": ", 1) for line in event.splitlines() if ": " in line and not line.startswith(":"))
        if "event" in given:
            yield given["event"], int(given["id"]) if "id" in given else None, json.loads(given["data"])


def signed_in(client: httpx2.Client) -> dict[str, str]:
    person = {"username": "ada", "email": "ada@example.org", "password": PASSWORD, "bootstrap_token": BOOTSTRAP}
    client.post("/auths/register", json=person)
    signed = client.post("/auths/login", json={"username": "ada", "password": PASSWORD}).json()
    return {"Authorization": f"Bearer {signed['access_token']}"}


def test_a_broken_stream_goes_on_without_loss_or_doubling(url: str) -> None:
    with loopback(settings_for(url, worker_enabled=True)) as address, httpx2.Client(base_url=address) as client:
        admin = signed_in(client)
        body = {**DIALOGUE, "stop": {"turns": 40, "goodbye": False}}
        place = client.post("/dialogues", json=body, headers=admin).headers["location"]
        numbers: list[int] = []
        connections, ended = 0, False
        while not ended:
            connections += 1
            headers = {**admin, **({"Last-Event-ID": str(numbers[-1])} if numbers else {})}
            with client.stream("GET", f"{place}/events", headers=headers, timeout=30) as answer:
                if answer.status_code == 204:  # all was there before the connection broke
                    break
                assert answer.status_code == 200
                part = ""
                for chunk in answer.iter_text():
                    part += chunk
                    if "event: end" in part or part.count("event: line\n") >= 7:
                        break
            whole = part[: part.rindex("\n\n") + 2]  # what a browser would have taken, of a line that was cut
            events = list(heard(whole))
            numbers += [number for kind, number, _ in events if kind == "line" and number is not None]
            ended = events[-1][0] == "end"
        assert connections >= 3
        assert numbers == list(range(1, 42))
        done = client.get(f"{place}/events", headers={**admin, "Last-Event-ID": "41"})
        assert (done.status_code, done.text) == (204, "")
        again = client.get(f"{place}/events", headers=admin)  # control: without saying what one has, all is told anew
        assert [number for kind, number, _ in heard(again.text) if kind == "line"] == numbers
        behind = client.get(f"{place}/events?after=39", headers=admin)
        assert [(kind, number) for kind, number, _ in heard(behind.text)][:2] == [("line", 40), ("line", 41)]
        for odd in ("-1", "1.0", "x", "9" * 30):
            assert_problem(client.get(f"{place}/events", headers={**admin, "Last-Event-ID": odd}), 422)
        assert_problem(client.get(f"{place}/events"), 401)


def test_a_stream_ends_with_the_session_of_its_admin(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_relay, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(session_relay, "LOOK_SECONDS", 0.05)
    with loopback(settings_for(url)) as address, httpx2.Client(base_url=address) as client:
        admin = signed_in(client)
        place = client.post("/dialogues", json=DIALOGUE, headers=admin).headers["location"]
        with client.stream("GET", f"{place}/events", headers=admin, timeout=30) as answer:
            beats = 0
            for line in answer.iter_lines():
                beats += (beat := line.startswith(": still here"))
                if beat and beats == 3:  # control: as long as the admin is signed in, it goes on
                    assert httpx2.post(f"{address}/auths/logout", headers=admin).status_code == 204
            assert 3 <= beats < 100
        assert_problem(client.get(f"{place}/events", headers=admin), 401)


# Bad input


def changed(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    first, _, rest = path.partition(".")
    return {**body, first: changed(body.get(first) or {}, rest, value) if rest else value}


ONE = {"key": "a", "type": "likert", "text": "t"}
WRONG: list[tuple[str, Any, str, str]] = [
    ("participants.mode", "everybody", "/participants/mode", "from_demographics"),
    ("participants.count", 0, "/participants/count", "1"),
    ("participants.count", 1001, "/participants/count", "1000"),
    ("participants.count", "5", "/participants/count", "a number"),
    ("participants.count", True, "/participants/count", "a number"),
    ("participants.specifications", {}, "/participants/specifications", "demographics"),
    ("participants", {"mode": "custom", "specifications": ["nobody"]}, "/participants/specifications/1", "nobody"),
    (
        "participants",
        {"mode": "custom", "specifications": [{"username": "a", "description": "d"}, {"username": "b"}]},
        "/participants/specifications",
        "record 2",
    ),
    ("participants", {"mode": "from_agent", "specifications": {}}, "/participants/specifications", "agent"),
    ("participants", {"mode": "custom", "specifications": ["x"] * 1001}, "/participants/specifications", "1000"),
    ("simulation_config.environment_type", "party", "/simulation_config/environment_type", "survey"),
    ("simulation_config.rounds", 0, "/simulation_config/rounds", "1"),
    ("simulation_config.enable_memory", "yes", "/simulation_config/enable_memory", "true or false"),
    ("simulation_config.broadcast_mode", 1, "/simulation_config/broadcast_mode", "true or false"),
    ("simulation_config", {"in_turn": True, "broadcast_mode": False}, "/simulation_config/in_turn", "broadcast_mode"),
    ("stimulus", None, "/stimulus", "needed"),
    ("stimulus.content", "", "/stimulus/content", "at least 1"),
    ("stimulus.content", "a\u0000b", "/stimulus/content", "U+0000"),
    ("stimulus.type", "smell", "/stimulus/type", "scenario"),
    ("questions", [ONE, ONE], "/questions/1/key", "its own"),
    ("questions", [{**ONE, "points": 99}], "/questions/0/points", "11"),
    ("questions", [{**ONE, "type": "feeling"}], "/questions/0", "likert"),
    ("questions", [{**ONE, "when": {"question": "b", "at_least": 1}}], "/questions/0/when/question", "before"),
    ("extraction_config", {}, "/extraction_config/fields", "needed"),
    ("extraction_config", {"fields": ["a", "a"]}, "/extraction_config/fields", "differ"),
    ("extraction_config", {"fields": ["a"], "fields_hints": {"b": "h"}}, "/extraction_config/fields_hints", "none"),
    ("extraction_config", {"fields": [{"name": "a", "type": "category"}]}, "/extraction_config/fields/0", "options"),
    ("checks", ["taste"], "/checks/0", "fluency"),
    ("terms.seed", -1, "/terms/seed", "0"),
    ("terms.model", "no-such-model", "/terms/model", "no-such-model"),
    ("terms.shoe_size", 43, "/terms/shoe_size", "not permitted"),
]


@pytest.mark.parametrize(("path", "value", "pointer", "said"), WRONG, ids=lambda part: str(part)[:40])
async def test_bad_input_points_at_the_field(
    idle: Desk, database: Database, path: str, value: Any, pointer: str, said: str
) -> None:
    answer = await idle.post("/simulations", changed(request(), path, value))
    assert_problem(answer, 422)
    errors = answer.json()["errors"]
    assert pointer in [error["pointer"] for error in errors], errors
    assert said in json.dumps(errors, ensure_ascii=False) + answer.json()["detail"]
    assert await database.fetchval("SELECT count(*) FROM sessions") == 0


async def test_control_the_same_request_unchanged_is_taken(idle: Desk) -> None:
    assert (await idle.post("/simulations", request())).status_code == 202


async def test_two_bots_of_one_name_and_an_unknown_beginner(idle: Desk) -> None:
    bots = [{"name": "A"}, {"name": "a"}]
    answer = await idle.post("/dialogues", {**DIALOGUE, "bots": bots, "initial_bot": "C"})
    assert_problem(answer, 422)
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/bots", "/initial_bot"]


async def test_large_lists_of_people_are_taken_up_to_a_limit(idle: Desk) -> None:
    people = [{"username": f"p{n}", "description": "x" * 2_000} for n in range(400)]
    body = request(participants={"mode": "from_population", "specifications": people, "count": 2})
    assert len(json.dumps(body)) > 800_000
    assert (await idle.post("/simulations", body)).status_code == 202
    too_many = request(participants={"mode": "custom", "specifications": [{"description": "x" * 4_100_000}]})
    assert_problem(await idle.post("/simulations", too_many), 413)
    assert_problem(await idle.post("/personas", {"username": "p", "description": "x" * 300_000}), 413)


async def test_deep_and_huge_values_are_no_bug(idle: Desk) -> None:
    deep: Any = "x"
    for _ in range(20):
        deep = {"a": deep}
    odd: Any
    for odd in (deep, [deep], {"age": {"18-29": 10**300}}, {"age": 2**70}, [2**70], [[]], [None], ["\ud800"], [1e308]):
        for mode in ("from_demographics", "from_agent", "from_population", "custom"):
            body = json.dumps(request(participants={"mode": mode, "specifications": odd})).encode()
            headers = {**idle.admin, "Content-Type": "application/json"}
            answer = await idle.client.post("/simulations", content=body, headers=headers)
            assert_problem(answer, 422)


# People and texts


async def test_people_are_drawn_as_asked_for(desk: Desk, database: Database) -> None:
    wish = {"demographics": {"marginals": DEMOGRAPHICS}, "size": 10, "seed": 3}
    first, again = [(await desk.post("/populations", wish)).json() for _ in range(2)]
    assert first == again
    assert len(first["personas"]) == len({one["description"] for one in first["personas"]}) == 10
    assert all(abs(share["asked"] - share["got"]) < 1 for share in first["table"] if not share["mean"])
    assert await database.fetchval("SELECT count(*) FROM personas") == 0
    moved = await desk.post("/populations", {**wish, "into_world": True})
    assert moved.status_code == 201
    assert await database.fetchval("SELECT count(*) FROM personas WHERE status = 'active'") == 10
    answer = await desk.post("/populations", {**wish, "demographics": {"marginals": {"age": {"old": "many"}}}})
    assert_problem(answer, 422)
    assert answer.json()["errors"][0]["pointer"].startswith("/demographics/marginals/age")
    assert_problem(await desk.post("/populations", {**wish, "size": 1001}), 422)
    assert_problem(await desk.post("/populations", {**wish, "written": True, "into_world": True}), 422)


async def test_people_whom_the_model_writes(desk: Desk, database: Database) -> None:
    wish = {"demographics": DEMOGRAPHICS, "size": 4, "written": True, "terms": {"seed": 5}}
    begun = await desk.post("/populations", wish)
    assert begun.status_code == 202
    place = begun.headers["location"]
    key = begun.json()["session_id"]
    assert (await desk.get(f"/simulations/{key}?wait=30")).json()["status"] == "completed"
    found = (await desk.get(place)).json()
    assert len(found["personas"]) == 4
    assert found["wrong"] == []
    assert (await desk.post(f"{place}/settle")).status_code == 201
    assert_problem(await desk.post(f"{place}/settle"), 409)
    assert await database.fetchval("SELECT count(*) FROM personas WHERE status = 'active'") == 4
    dialogue = (await desk.done("/dialogues", DIALOGUE))["session_id"]
    assert_problem(await desk.get(f"/populations/{dialogue}"), 404)


async def test_what_is_written(desk: Desk) -> None:
    talk = await desk.done("/simulations", EXAMPLE)
    document = await desk.done("/documents", {"of": talk["session_id"], "genre": "minutes", "title": "Cups"})
    assert document["status"] == "completed"
    assert document["document"]["sections"]
    assert all(quote["found"] for quote in document["document"]["quotes"])
    assert (await desk.get(f"/writings/{document['session_id']}")).json() == document
    rewritten = await desk.done("/rewrites", {"text": "The cup costs two euros.", "wish": "livelier"})
    assert rewritten["text"]
    passages = ["Ada keeps bees in Ulm.", "She was a nurse for twenty years."]
    grounded = await desk.done("/personas/ground", {"passages": passages, "name": "Ada"})
    assert grounded["persona"]["display_name"] == "Ada"
    assert grounded["traits"]
    assert all(trait["source"] == passages[trait["passage"] - 1] for trait in grounded["traits"])
    assert_problem(await desk.post("/documents", {"of": "aaaaaaaaaaaa"}), 404)
