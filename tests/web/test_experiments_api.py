"""Experiments over the API: planned, run by the server, frozen, compared, told; and what is refused."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.db.engine import Database
from app.experiments.runner import Runner
from app.world import personas, worlds
from app.world.experiments import found
from tests.conftest import a_mind, copy_of, serving, settings_for, sign_up
from tests.web.test_edge import assert_problem

DESIGN: dict[str, Any] = {
    "name": "latest against interest",
    "setting": {"cycles": 1, "start": "2026-01-05T08:00:00Z"},
    "variants": {"latest": {"ranker": "latest"}, "interest": {"ranker": "interest"}},
    "runs": 2,
    "seed": 7,
    "outcomes": {
        "primary": ["attention_gini"],
        "exploratory": ["posts_per_persona", "density"],
        "margins": {"attention_gini": 0.2},
    },
}


@dataclass
class House:
    """A server, who asks it, and an experiment that was run to its end."""

    client: httpx2.AsyncClient
    admin: dict[str, str]
    database: Database
    url: str
    key: str = ""

    async def ask(self, method: str, path: str, status: int = 200, **more: Any) -> Any:
        answer = await self.client.request(method, path, headers=self.admin, **more)
        assert answer.status_code == status, (method, path, answer.text[:1000])
        if status >= 400:
            assert_problem(answer, status)
        is_json = answer.content and "json" in answer.headers.get("content-type", "")
        return answer.json() if is_json else answer

    async def drive(self, key: str) -> None:
        async with a_mind(self.database) as mind:
            await Runner(mind, settings_for(self.url), key).run()


@pytest.fixture(scope="module")
async def house(server_url: str, template: str) -> AsyncIterator[House]:
    async with copy_of(server_url, template) as url, serving(settings_for(url)) as client:
        database = await Database.open(url, size=4)
        specs = [
            personas.PersonaSpec.model_validate({"username": f"person_{n}", "persona": f"Number {n}, likes herring."})
            for n in range(1, 4)
        ]
        async with database.connection() as connection:
            await personas.add(connection, specs)
        one = House(client, await sign_up(client), database, url)
        made = await one.ask("POST", "/experiments?begin=true", 201, json=DESIGN)
        one.key = made["key"]
        assert made["state"] == "running"
        assert made["progress"]["queued"] == 4
        await one.drive(one.key)
        yield one
        for name in [world.name for world in await worlds.everything(database) if world.kind != "home"]:
            await worlds.drop(database, name)
        await database.close()


async def test_what_it_came_to(house: House) -> None:
    one = await house.ask("GET", f"/experiments/{house.key}")
    assert (one["state"], one["progress"]["done"], one["progress"]["trials"]) == ("completed", 4, 4), one["reason"]
    assert [(t["variant"], t["replicate"]) for t in one["trials"]] == [
        ("latest", 0), ("interest", 0), ("latest", 1), ("interest", 1),
    ]  # fmt: skip
    assert one["trials"][0]["seed"] == one["trials"][1]["seed"] != one["trials"][2]["seed"]
    assert all(trial["world"] and trial["world_sha256"] for trial in one["trials"])
    told = await house.ask("GET", f"/experiments/{house.key}/results")
    assert (told["n_planned"], told["n_done"], told["stamp"]["label"]) == (4, 4, "exploratory")
    assert [outcome["family"] for outcome in told["outcomes"]] == ["primary", "exploratory", "exploratory"]
    listed = await house.ask("GET", "/experiments?limit=1")
    assert listed["data"][0]["key"]
    assert {"trials", "done", "failed", "usd"} <= listed["data"][0].keys()


async def test_files(house: House) -> None:
    report = await house.ask("GET", f"/experiments/{house.key}/report")
    assert report.headers["content-type"].startswith("text/html")
    assert "latest against interest" in report.text
    assert "<script" not in report.text
    assert "script-src" not in report.headers["content-security-policy"]
    answer = await house.ask("GET", f"/experiments/{house.key}/outcomes.csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == 4 * 3
    assert {row["outcome"] for row in rows} == {"attention_gini", "posts_per_persona", "density"}
    for name in ("differences", "distributions", "cost"):
        drawn = await house.ask("GET", f"/experiments/{house.key}/plots/{name}.svg")
        assert drawn.text.startswith("<svg")
        assert drawn.headers["content-type"].startswith("image/svg")
    shown = await house.ask("GET", f"/experiments/{house.key}/plots/distributions.svg?outcome=density")
    assert "density" in shown.text
    png = await house.ask("GET", f"/experiments/{house.key}/plots/cost.png")
    assert png.content.startswith(b"\x89PNG")
    await house.ask("GET", f"/experiments/{house.key}/plots/nothing.svg", 422)
    await house.ask("GET", f"/experiments/{house.key}/plots/distributions.svg?outcome=nothing", 404)


async def test_a_plan_is_frozen_amended_run_and_deleted(house: House) -> None:
    told = await house.ask("POST", "/experiments/estimate", json=DESIGN)
    assert told["runs"] == 4
    assert [cell["variant"] for cell in told["cells"]] == ["latest", "interest"]
    key = (await house.ask("POST", "/experiments", 201, json=DESIGN))["key"]
    await house.ask("GET", f"/experiments/{key}/freeze", 404)
    frozen = await house.ask("POST", f"/experiments/{key}/freeze", 201)
    assert (await house.ask("GET", f"/experiments/{key}/freeze"))["sha256"] == frozen["sha256"]
    text = await house.ask("GET", f"/experiments/{key}/freeze?format=md")
    assert frozen["sha256"] in text.text
    assert text.headers["content-type"].startswith("text/markdown")
    await house.ask("POST", f"/experiments/{key}/freeze", 409)
    amended = await house.ask("PATCH", f"/experiments/{key}", json={"design": {"runs": 1}, "note": "too dear"})
    assert amended["progress"]["trials"] == 2
    (found_so,) = [
        one
        for one in (await house.ask("GET", f"/experiments/{key}/results"))["deviations"]
        if one["what"] == "design: runs"
    ]
    assert (found_so["was"], found_so["is"], found_so["note"]) == (2, 1, "too dear")
    assert (await house.ask("POST", f"/experiments/{key}/run"))["state"] == "running"
    await house.ask("DELETE", f"/experiments/{key}", 409)
    assert (await house.ask("POST", f"/experiments/{key}/stop"))["state"] == "stopped"
    await house.ask("POST", f"/experiments/{key}/stop", 409)
    again = await house.ask("POST", f"/experiments/{key}/resume", json={"budget_tokens": 10**9, "failed": True})
    assert (again["state"], again["budget_tokens"]) == ("running", 10**9)
    await house.ask("POST", f"/experiments/{key}/stop")
    await house.ask("DELETE", f"/experiments/{key}", 204)
    await house.ask("GET", f"/experiments/{key}", 404)
    deeds = await house.database.fetch("SELECT action FROM audit WHERE subject = $1 ORDER BY id", key)
    assert [row["action"].partition(".")[2] for row in deeds] == [
        "planned", "frozen", "amended", "run", "stopped", "resumed", "stopped", "deleted",
    ]  # fmt: skip


async def test_a_run_is_left_out_and_people_are_attached(house: House) -> None:
    left = await house.ask("POST", f"/experiments/{house.key}/trials/2/exclude", json={"reason": "a power cut"})
    assert "a power cut" in left["trials"][1]["excluded"]
    assert (await house.ask("GET", f"/experiments/{house.key}/results"))["n_excluded"] == 1
    taken = await house.ask("POST", f"/experiments/{house.key}/trials/2/exclude", json={"reason": None})
    assert taken["trials"][1]["excluded"] is None
    await house.ask("POST", f"/experiments/{house.key}/trials/99/exclude", 404, json={"reason": "x"})
    wish = {"outcome": "posts_per_persona", "name": "a town", "values": [0.4, 0.5, 0.45], "held_out": True}
    await house.ask("POST", f"/experiments/{house.key}/references", 204, json=wish)
    people = (await house.ask("GET", f"/experiments/{house.key}/results"))["human"]
    assert {one["arm"] for one in people} == {"latest", "interest"}
    await house.ask("GET", f"/experiments/{house.key}/plots/people.svg")
    wrong = await house.ask("POST", f"/experiments/{house.key}/references", 422, json={**wish, "outcome": "nothing"})
    assert "outcome" in wrong["detail"]
    gone = f"/experiments/{house.key}/references?outcome=posts_per_persona&name=a%20town"
    await house.ask("DELETE", gone, 204)
    await house.ask("DELETE", gone, 404)


async def test_all_faults_are_told_at_once(house: House) -> None:
    wrong = {**DESIGN, "runs": 0, "variants": {"a": {"ranker": "nobody"}}, "outcome": {}}
    problem = await house.ask("POST", "/experiments", 422, json=wrong)
    assert {one["pointer"] for one in problem["errors"]} == {"/runs", "/variants/a/ranker", "/outcome"}
    assert "did you mean outcomes?" in problem["detail"]


@pytest.mark.parametrize(
    ("change", "pointer", "words"),
    [
        ({"variants": {"a": {"ranker": "nobody"}, "b": {}}}, "/variants/a/ranker", "nobody"),
        ({"setting": {"cycles": 0}}, "/setting/cycles", "at least 1"),
        ({"outcomes": {"primary": ["attention_ginni"]}}, "/outcomes/primary/0", "attention_gini"),
        ({"outcomes": {"control": "c"}}, "/outcomes/control", "no variant"),
        ({"budget": {"tokens": 1}}, "/budget/tokens", "can't hold"),
        ({"variants": {"a": {"cast": {"only": ["nobody"]}}}}, "/variants/a/cast/only", "nobody"),
        ({"variants": {}}, "/variants", "at least 1"),
    ],
)
async def test_each_fault_has_its_place(house: House, change: dict[str, Any], pointer: str, words: str) -> None:
    for path in ("/experiments", "/experiments/estimate"):
        problem = await house.ask("POST", path, 422, json={**DESIGN, **change})
        (fault,) = [one for one in problem["errors"] if one["pointer"] == pointer]
        assert words in fault["message"]


async def test_hostile_designs(house: House) -> None:
    deep: dict[str, Any] = {}
    for _ in range(25):
        deep = {"a": deep}
    wrong: list[dict[str, Any]] = [
        {"no_such": 1}, {"cycles": []}, {"prompt": "x\u0000"}, {"cycles": 10**30}, deep, {"every": "9" * 999},
    ]  # fmt: skip
    for setting in wrong:
        await house.ask("POST", "/experiments", 422, json={**DESIGN, "setting": setting})
    await house.ask("POST", "/experiments", 422, json={**DESIGN, "variants": {"a b": {}}})
    await house.ask("POST", "/experiments", 404, json={**DESIGN, "world": "nowhere"})
    await house.ask("POST", "/experiments", 413, content=b" " * 4_000_001)
    await house.ask("GET", "/experiments/k3v9mq2xw7ab", 404)


ROUTES = (
    ("GET", ""), ("POST", ""), ("POST", "/estimate"), ("GET", "/{}"), ("PATCH", "/{}"), ("DELETE", "/{}"),
    ("DELETE", "/{}/worlds"), ("POST", "/{}/run"), ("POST", "/{}/stop"), ("POST", "/{}/resume"), ("GET", "/{}/results"),
    ("GET", "/{}/report"), ("GET", "/{}/plots/cost.svg"), ("GET", "/{}/outcomes.csv"), ("POST", "/{}/freeze"),
    ("POST", "/{}/trials/1/exclude"), ("POST", "/{}/references"), ("DELETE", "/{}/references?outcome=a&name=b"),
)  # fmt: skip


async def test_who_may(house: House) -> None:
    await house.database.fetchval("UPDATE admin SET role = 'observer'")
    try:
        for method, path in ROUTES:
            address = "/experiments" + path.format(house.key)
            assert_problem(await house.client.request(method, address, json={}), 401)
            answer = await house.client.request(method, address, headers=house.admin, json={})
            assert answer.status_code == (200 if method == "GET" else 403), (method, path, answer.text[:300])
    finally:
        await house.database.fetchval("UPDATE admin SET role = 'admin'")


async def test_the_server_drives_what_was_begun(house: House) -> None:
    """With a worker, `begin` alone is enough; without one (above) nothing moves until somebody drives it."""
    assert (await found(house.database, house.key))["state"] == "completed"
    async with serving(settings_for(house.url, worker_enabled=True)) as client:
        design = {**DESIGN, "runs": 1, "variants": {"latest": {"ranker": "latest"}}}
        answer = await client.post("/experiments?begin=true", json=design, headers=house.admin)
        assert answer.status_code == 201, answer.text
        key = answer.json()["key"]
        for _ in range(600):
            if (await client.get(f"/experiments/{key}", headers=house.admin)).json().get(
                "state", "running"
            ) != "running":
                break
            await asyncio.sleep(0.1)
        assert (await found(house.database, key))["state"] == "completed"
    await house.ask("DELETE", f"/experiments/{key}", 409)
    await house.ask("DELETE", f"/experiments/{key}?worlds=true", 204)


async def test_a_package_of_an_experiment(house: House, tmp_path: Path) -> None:
    async with serving(settings_for(house.url, simfeed_home=tmp_path)) as client:
        wish = {"kind": "experiment", "about": house.key, "tables": ["posts", "personas"], "formats": ["csv"]}
        answer = await client.post("/datasets", json=wish, headers=house.admin)
        assert answer.status_code == 202, answer.text
        key = answer.json()["key"]
        for _ in range(300):
            row = (await client.get(f"/datasets/{key}", headers=house.admin)).json()
            if row["state"] != "running":
                break
            await asyncio.sleep(0.1)
        assert row["state"] == "completed", row["reason"]
        assert (tmp_path / "datasets" / f"{key}.zip").stat().st_size == row["size"]
