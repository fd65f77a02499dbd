"""The pages of experiments, datasets and the engine's flow: the builder, an experiment, its comparison, packages."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.db.engine import Database
from app.experiments.design import checked
from app.experiments.examples import EXAMPLES
from app.experiments.runner import Runner
from app.web.pages.admin.experiment_fields import BLANK, WrongFieldsError, data_of, design_of
from app.world import datasets, personas, worlds
from tests.conftest import a_mind, copy_of, settings_for
from tests.web.pages.desk import Page, at_desk, csrf, look

HERE = "/admin/experiments"
FORM: dict[str, Any] = {
    **{name: text for name, text in BLANK.items() if text},
    "name": "rankers <b>",
    "cycles": "1",
    "runs": "2",
    "setting": 'start = "2026-01-05T08:00:00Z"',
    "primary": ["attention_gini"],
    "exploratory": ["posts_per_persona"],
    "margins": "posts_per_persona = 0.5",
    "hypotheses": "Interest concentrates attention.\n\nAnother.",
}


@dataclass
class Desk:
    client: httpx2.AsyncClient
    database: Database
    url: str
    folder: Path
    key: str = ""

    async def send(self, address: str, **fields: Any) -> httpx2.Response:
        return await self.client.post(address, data={"csrf": await csrf(self.client), **fields})

    async def page(self, address: str, status: int = 200, **fields: Any) -> Page:
        answer = await self.send(address, **fields)
        assert answer.status_code == status, answer.text[:3000]
        page = Page(answer.text)
        assert page.is_sound()
        return page


@pytest.fixture(scope="module")
async def desk(server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    folder = tmp_path_factory.mktemp("home")
    async with copy_of(server_url, template) as url, at_desk(url, simfeed_home=folder) as client:
        database = await Database.open(url, size=4)
        specs = [
            personas.PersonaSpec.model_validate({"username": f"person_{n}", "persona": f"Number {n}, likes herring."})
            for n in range(1, 4)
        ]
        async with database.connection() as connection:
            await personas.add(connection, specs)
        one = Desk(client, database, url, folder)
        answer = await one.send(f"{HERE}/new", **FORM, do="run")
        assert answer.status_code == 303, answer.text[:2000]
        one.key = answer.headers["location"].partition("?")[0].rpartition("/")[2]
        async with a_mind(database) as mind:
            await Runner(mind, settings_for(url), one.key).run()
        yield one
        for name in [world.name for world in await worlds.everything(database) if world.kind != "home"]:
            await worlds.drop(database, name)
        await database.close()


# The builder


def test_the_form_comes_to_a_design() -> None:
    texts = {**BLANK, **{name: text for name, text in FORM.items() if isinstance(text, str)}}
    texts |= {"v2_prompt": "Be kind.", "v2_more": '{"cast": {"without": ["person_1"]}}', "stop_minutes": "1.5"}
    texts |= {"exclude_outcome": "missing_turn_share", "exclude_above": "0.2", "budget_usd": "2.5"}
    design = design_of(texts, {"primary": ["attention_gini"], "exploratory": ["posts_per_persona"]})
    assert design.variants["interest"] == {
        "ranker": "interest",
        "prompt": "Be kind.",
        "cast": {"without": ["person_1"]},
    }
    assert design.setting["start"] == "2026-01-05T08:00:00Z"
    assert (design.runs, design.stop.seconds, design.budget.usd) == (2, 90, 2.5)
    assert design.exclude[0].above == 0.2
    assert design.hypotheses == ("Interest concentrates attention.", "Another.")
    assert design.outcomes.margins == {"posts_per_persona": 0.5}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"v1_ranker": "nobody"}, "v1_ranker"),
        ({"v2_temperature": "hot"}, "v2_temperature"),
        ({"v2_name": "latest"}, "v2_name"),
        ({"v2_name": "<b>"}, "v2_name"),
        ({"v2_name": "a/b"}, "v2_name"),
        ({"v2_name": "x" * 41}, "v2_name"),
        ({"v2_name": "latest.2", "v2_ranker": "nobody"}, "v2_ranker"),
        ({"cycles": "0"}, "cycles"),
        ({"runs": "many"}, "runs"),
        ({"setting": "{"}, "setting"),
        ({"setting": "no_such = 1"}, "setting"),
        ({"primary_more": "nothing"}, "primary_more"),
        ({"margins": "nothing"}, "margins"),
        ({"control": "c"}, "control"),
        ({"exclude_above": "0.2"}, "exclude_outcome"),
        ({"stop_half_width": "0.2"}, "stop_outcome"),
        ({"budget_usd": "-1"}, "budget_usd"),
        ({"mode": "text", "text": "a = "}, "text"),
        ({"mode": "text", "text": ""}, "text"),
        ({"mode": "text", "text": "[]"}, "text"),
        ({"mode": "text", "text": '{"a": 1, "a": 2}'}, "text"),
    ],
)
def test_each_fault_stands_at_its_field(change: dict[str, str], field: str) -> None:
    texts = {**BLANK, **change}
    with pytest.raises(WrongFieldsError) as caught:
        design_of(texts, {"primary": [], "exploratory": []})
    assert field in caught.value.wrong
    assert "String should match" not in str(caught.value)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_load_as_text(name: str) -> None:
    assert checked(data_of({**BLANK, "mode": "text", "text": EXAMPLES[name]}, {"primary": [], "exploratory": []}))


async def test_the_builder_checks_estimates_and_turns_into_text(desk: Desk) -> None:
    blank = await look(desk.client, f"{HERE}/new")
    assert {"f-name", "f-v1_ranker", "f-v2_prompt", "f-budget_usd"} <= blank.ids
    assert not blank.all("button", value="run")
    assert len(blank.all("input", name="primary")) > 40
    told = await desk.page(f"{HERE}/new", **FORM, do="estimate")
    assert "About what it takes" in told.text
    assert told.all("button", value="run")
    assert (
        await desk.database.fetchval(
            "SELECT count(*) FROM experiments WHERE key <> $1 AND name = 'rankers <b>'", desk.key
        )
    ) == 0
    text = await desk.page(f"{HERE}/new", **FORM, do="text")
    assert "f-text" in text.ids
    assert '"attention_gini"' in text.text
    wrong = await desk.page(f"{HERE}/new", 422, **{**FORM, "budget_tokens": "1"}, do="estimate")
    assert "can't hold" in wrong.text
    assert "#f-budget_tokens" in wrong.links
    example = await look(desk.client, f"{HERE}/new?example=cups")
    assert "deposit" in example.text
    planned = await desk.send(
        f"{HERE}/new", mode="text", text=EXAMPLES["cups"].replace("runs = 6", "runs = 1"), do="plan"
    )
    assert planned.status_code == 303, planned.text[:2000]
    page = await look(desk.client, planned.headers["location"])
    assert page.all("button")
    assert "Run it" in page.text


# One experiment


async def test_an_experiment_and_its_deeds(desk: Desk) -> None:
    listed = await look(desk.client, HERE)
    assert f"{HERE}/{desk.key}" in listed.links
    assert "rankers <b>" in listed.text
    page = await look(desk.client, f"{HERE}/{desk.key}")
    assert page.text.count("completed") >= 5
    assert sum(link.startswith("/admin/worlds/") for link in page.links) >= 4
    here = f"{HERE}/{desk.key}"
    assert (await desk.send(f"{here}/do/freeze")).status_code == 409
    assert (await desk.send(f"{here}/do/freeze-late")).status_code == 303
    text = await desk.client.get(f"{here}/export/freeze.md")
    assert text.status_code == 200
    await desk.page(f"{here}/amend", 422, design="margins", note="why")
    done = await desk.send(
        f"{here}/amend", design="[outcomes.margins]\nattention_gini = 0.1", note="asked by a reviewer"
    )
    assert done.status_code == 303, Page(done.text).text[-6000:]
    assert "asked by a reviewer" in (await look(desk.client, here)).text
    await desk.page(f"{here}/runs/1", 422, do="exclude", reason="")
    assert (await desk.send(f"{here}/runs/1", do="exclude", reason="<i>noise</i>")).status_code == 303
    assert "<i>noise</i>" in (await look(desk.client, here)).text
    assert (await desk.send(f"{here}/runs/1", do="include")).status_code == 303
    assert (await desk.send(f"{here}/do/stop")).status_code == 409
    assert (await desk.send(f"{here}/resume", tokens="none")).status_code == 422
    assert (await look(desk.client, f"{HERE}/k3v9mq2xw7ab", 404)).text


async def test_the_comparison(desk: Desk) -> None:
    here = f"{HERE}/{desk.key}"
    page = await look(desk.client, f"{here}/compare")
    assert "Unit of analysis: run (n = 4)" in page.text
    assert "Exploratory" in page.text
    assert len(page.all("svg", class_="plot")) >= 3
    sheet = await desk.client.get(f"{here}/export/compare.csv")
    assert sheet.text.splitlines()[0].startswith("outcome,unit,family,arm,n")
    assert len(sheet.text.splitlines()) == 1 + 2 * 2
    power = await look(desk.client, f"{here}/compare?power_outcome=posts_per_persona&effect=0.5&wanted=0.8")
    assert "planned the power is" in power.text
    assert "runs" in (await look(desk.client, f"{here}/compare?outcome=posts_per_persona")).text
    people = {"outcome": "posts_per_persona", "name": "a town"}
    wrong = await desk.page(f"{here}/people", 422, **people, values="1\nmany\n")
    assert "row 3" in wrong.text
    for values in ("1\n2\n1.5", "value,group\n1,\n2,\n", json.dumps([1, 2, 3])):
        answer = await desk.send(f"{here}/people", **people, values=values, held_out="yes")
        assert answer.status_code == 303, answer.text[:2000]
    assert "a town" in (await look(desk.client, f"{here}/compare")).text
    assert (await desk.send(f"{here}/people", **people, do="detach")).status_code == 303
    report = await desk.client.get(f"{here}/export/report.html")
    assert report.status_code == 200
    assert "&lt;b&gt;" in report.text
    picture = await desk.client.get(f"{here}/export/differences.svg")
    assert picture.headers["content-type"].startswith("image/svg")


async def test_observers_look_and_change_nothing(desk: Desk) -> None:
    await desk.database.fetchval("UPDATE admin SET role = 'observer'")
    try:
        for address in (HERE, f"{HERE}/{desk.key}", f"{HERE}/{desk.key}/compare", "/admin/datasets", "/admin/simulate"):
            page = await look(desk.client, address)
            assert "You are an observer" in page.text
        assert (await desk.send(f"{HERE}/new", **FORM, do="run")).status_code == 403
        assert (await desk.send(f"{HERE}/{desk.key}/delete", what="all")).status_code == 403
    finally:
        await desk.database.fetchval("UPDATE admin SET role = 'admin'")
    bare = await desk.client.post(f"{HERE}/{desk.key}/delete", data={"csrf": "0" * 64, "what": "all"})
    assert bare.status_code == 403


# Datasets


async def test_a_package_from_its_page(desk: Desk) -> None:
    form: dict[str, Any] = {
        "source": "world:home",
        "pseudonyms": "names",
        "tables": ["personas", "posts"],
        "formats": ["csv", "graphml"],
    }
    preview = await desk.page("/admin/datasets", **form, do="preview")
    assert "What would be in it" in preview.text
    assert "/admin/datasets/codebook#personas" in preview.links
    assert "Codebook" in (await look(desk.client, "/admin/datasets/codebook")).text
    await desk.page("/admin/datasets", 422, **{**form, "formats": ["graphml"]}, do="build")
    bare = await desk.page("/admin/datasets", 422, **{**form, "formats": [], "tables": []}, do="build")
    assert "tables: none is chosen: choose at least one; formats: none is chosen" in bare.text
    assert {"wrong-tables", "wrong-formats"} <= bare.ids
    await desk.page("/admin/datasets", 422, **{**form, "source": "nothing"}, do="build")
    await desk.page("/admin/datasets", 404, **{**form, "source": "world:nowhere"}, do="build")
    assert (await desk.send("/admin/datasets", **form, do="build")).status_code == 303
    key = await desk.database.fetchval("SELECT key FROM datasets ORDER BY id DESC LIMIT 1")
    for _ in range(200):
        row = await datasets.found(desk.database, key)
        if row["state"] != "running":
            break
        await asyncio.sleep(0.05)
    assert row["state"] == "completed", row["reason"]
    file = await desk.client.get(f"/admin/datasets/{key}/download")
    assert file.content.startswith(b"PK")
    await desk.page(f"/admin/datasets/{key}", 422, do="doi", doi="nothing")
    assert (await desk.send(f"/admin/datasets/{key}", do="doi", doi="10.5281/zenodo.1")).status_code == 303
    assert 'value="10.5281/zenodo.1"' in (await desk.client.get("/admin/datasets")).text
    assert (await desk.send(f"/admin/datasets/{key}", do="delete")).status_code == 303
    assert not (desk.folder / "datasets" / f"{key}.zip").exists()


# The engine's flow on one page


@pytest.mark.parametrize(
    ("change", "leads"),
    [
        ({"place": "dialogue"}, "/admin/sessions/"),
        ({"place": "dialogue", "runs": "2"}, "/admin/experiments/"),
        ({"place": "focus_group", "turns": "1"}, "/admin/sessions/"),
        ({"place": "survey", "questions": "likert: I would use it."}, "/admin/sessions/"),
        ({"place": "interview", "questions": "Why?", "turns": "1"}, "/admin/sessions/"),
        ({"place": "feed", "turns": "1", "new_name": "eve", "new_description": "likes maps"}, "/admin/experiments/"),
        ({"place": "dialogue", "people": '[{"username": "eve", "description": "likes maps"}]'}, "/admin/sessions/"),
    ],
)
async def test_from_parameters_to_where_it_is_watched(desk: Desk, change: dict[str, str], leads: str) -> None:
    form = {"seed_text": "A four-day week?", "turns": "2", "runs": "1", "seed": "7", "who": ["person_1", "person_2"]}
    answer = await desk.send("/admin/simulate", **{**form, **change})
    assert answer.status_code == 303, answer.text[:3000]
    assert answer.headers["location"].startswith(leads)
    await look(desk.client, answer.headers["location"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"who": []}, "two to six"),
        ({"seed_text": " "}, "must not be empty"),
        ({"turns": "x"}, "whole number"),
        ({"temperature": "9"}, "from 0 to 2"),
        ({"place": "survey"}, "what are they asked"),
        ({"people": "{"}, "not JSON"),
        ({"people": "[1]"}, "item 1"),
        ({"new_name": "a b", "new_description": "x"}, "letters"),
        ({"model": "no-such-model"}, "no-such-model"),
    ],
)
async def test_what_is_wrong_is_told(desk: Desk, change: dict[str, Any], words: str) -> None:
    form = {"seed_text": "A four-day week?", "turns": "2", "runs": "1", "seed": "7", "who": ["person_1", "person_2"]}
    answer = await desk.send("/admin/simulate", **{**form, "place": "dialogue", **change})
    assert answer.status_code in (409, 422), answer.text[:300]
    assert words in Page(answer.text).text


async def test_every_fault_is_told_at_once_and_what_was_typed_stays(desk: Desk) -> None:
    form: dict[str, Any] = {"place": "survey", "seed_text": "kept", "turns": "0", "runs": "0", "seed": "x", "who": []}
    page = await desk.page("/admin/simulate", 422, **form, temperature="hot")
    assert "5 things need mending" in page.text
    for words in ("pick somebody", "what are they asked", "up to 1,000", "from 0 to 2"):
        assert words in page.text, words
    assert "kept" in page.text
    page = await desk.page("/admin/simulate", 422, **{**form, "place": "dialogue", "seed_text": ""}, temperature="hot")
    assert "6 things need mending" in page.text
