"""The routes by which admins run studies: what they answer, refuse, write down and never tell."""

import csv
import io
from typing import Any

import httpx2

from app.auth import audit
from app.db.engine import Database
from app.venues.chatroom.design import StudyDesign
from tests.conftest import serving, settings_for, sign_up
from tests.web.test_edge import assert_problem

ARMS = {"a": {"prompt_template": "Be kind."}, "b": {"prompt_template": "Be curt.", "weight": 2}}
DESIGN: dict[str, Any] = {"title": "T", "arms": ARMS, "consent": "external"}
Headers = dict[str, str]


async def make(client: httpx2.AsyncClient, admin: Headers, name: str = "one", **more: Any) -> dict[str, Any]:
    wish = {"name": name, "design": {**DESIGN, **more}}
    answer = await client.post("/studies", json=wish, headers=admin)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/studies/{answer.json()['id']}"
    found: dict[str, Any] = answer.json()
    return found


async def test_a_study_from_draft_to_close(client: httpx2.AsyncClient, admin: Headers) -> None:
    made = await make(client, admin)
    path = f"/studies/{made['id']}"
    assert (made["state"], made["consent"], made["members"], made["created_by"]) == ("draft", "external", [], "ada")
    assert made["design"]["pace"]["words_per_minute"] == 60
    assert made["design_sha256"] == StudyDesign.model_validate(DESIGN).sha256().hex()
    changed = await client.put(path, json={**DESIGN, "title": "U"}, headers=admin)
    assert (changed.status_code, changed.json()["title"]) == (200, "U")
    assert changed.json()["design_sha256"] != made["design_sha256"]
    opened = await client.post(f"{path}/open", headers=admin)
    assert opened.status_code == 200, opened.text
    assert [one["name"] for one in opened.json()["members"]] == [one["name"] for one in made["design"]["cast"]]
    assert_problem(await client.put(path, json=DESIGN, headers=admin), 409)
    assert_problem(await client.post(f"{path}/open", headers=admin), 409)
    assert (await client.post(f"{path}/pause", headers=admin)).status_code == 204
    assert_problem(await client.post(f"{path}/pause", headers=admin), 409)
    assert (await client.post(f"{path}/resume", headers=admin)).status_code == 204
    await client.post(f"{path}/tokens", json={"count": 3}, headers=admin)
    closed = await client.post(f"{path}/close", headers=admin)
    assert closed.json() == {"tokens_revoked": 3}
    assert_problem(await client.post(f"{path}/close", headers=admin), 409)
    assert_problem(await client.post(f"{path}/tokens", json={"count": 3}, headers=admin), 409)
    assert (await client.get(path, headers=admin)).json()["tokens"] == [{"arm": None, "state": "revoked", "count": 3}]
    assert_problem(await client.post("/studies", json={"name": "ONE", "design": DESIGN}, headers=admin), 409)


async def test_what_admins_do_is_written_down(client: httpx2.AsyncClient, admin: Headers, url: str) -> None:
    made = await make(client, admin)
    answer = await client.post(f"/studies/{made['id']}/tokens", json={"count": 1, "arm": "a"}, headers=admin)
    token = answer.json()["tokens"][0]
    await client.delete(f"/studies/{made['id']}/tokens/{token['id']}", headers=admin)
    await client.post(f"/studies/{made['id']}/open", headers=admin)
    database = await Database.open(url, size=2)
    found = await audit.page(database, before=2**62, admin=None, action=None, words=None, limit=50)
    await database.close()
    deeds = [row["action"] for row in reversed(found.entries) if row["action"].startswith("study.")]
    assert deeds == ["study.created", "study.tokens_made", "study.token_revoked", "study.opened"]
    assert {row["username"] for row in found.entries} == {"ada"}
    assert token["token"] not in str([dict(row) for row in found.entries])


async def test_tokens_are_told_once(client: httpx2.AsyncClient, admin: Headers) -> None:
    made = await make(client, admin)
    path = f"/studies/{made['id']}"
    wish = {"count": 2, "arm": "b", "labels": ["first"]}
    answer = await client.post(f"{path}/tokens", json=wish, headers=admin)
    assert answer.status_code == 201
    told = answer.json()["tokens"]
    assert [(one["label"], one["arm"]) for one in told] == [("first", "b"), ("", "b")]
    assert all(one["url"] == f"http://simfeed.test/s/{one['token']}" for one in told)
    sheet = await client.post(f"{path}/links.csv", json={"count": 2, "labels": ["=1+1", "ä"]}, headers=admin)
    assert (sheet.status_code, sheet.headers["content-type"]) == (201, "text/csv; charset=utf-8")
    assert sheet.headers["content-disposition"] == f'attachment; filename="study-{made["id"]}-links.csv"'
    read = list(csv.DictReader(io.StringIO(sheet.text)))
    assert [(row["label"], row["arm"]) for row in read] == [("'=1+1", ""), ("ä", "")]
    listed = (await client.get(f"{path}/tokens", headers=admin)).json()
    assert [(one["label"], one["arm"], one["state"]) for one in listed["data"]] == [
        ("first", "b", "open"),
        ("", "b", "open"),
        ("=1+1", None, "open"),
        ("ä", None, "open"),
    ]
    everything = str(listed) + (await client.get(path, headers=admin)).text
    assert not [one for one in (*told, *read) if one["token"] in everything]
    assert_problem(await client.post(f"{path}/tokens", json={"count": 1, "arm": "z"}, headers=admin), 422)
    assert_problem(await client.post(f"{path}/tokens", json={"count": 1, "labels": ["a", "b"]}, headers=admin), 422)
    number = listed["data"][0]["id"]
    assert (await client.delete(f"{path}/tokens/{number}", headers=admin)).status_code == 204
    assert_problem(await client.delete(f"{path}/tokens/{number}", headers=admin), 404)


async def test_lists_are_paged_by_cursors(client: httpx2.AsyncClient, admin: Headers) -> None:
    for n in range(5):
        made = await make(client, admin, f"study-{n}")
    await client.post(f"/studies/{made['id']}/tokens", json={"count": 5}, headers=admin)
    for path, key in (("/studies", "name"), (f"/studies/{made['id']}/tokens", "id")):
        seen, cursor, pages = [], "", 0
        while True:
            answer = await client.get(f"{path}?limit=2{cursor}", headers=admin)
            page = answer.json()
            seen += [one[key] for one in page["data"]]
            pages += 1
            if not page["has_more"]:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert (len(seen), len(set(seen)), pages, page["next_cursor"]) == (5, 5, 3, None)
        forged = await client.get(f"{path}?cursor=AAAA", headers=admin)
        assert_problem(forged, 422)
    other = await make(client, admin, "other")
    first = (await client.get(f"/studies/{made['id']}/tokens?limit=2", headers=admin)).json()["next_cursor"]
    assert_problem(await client.get(f"/studies/{other['id']}/tokens?cursor={first}", headers=admin), 422)


async def test_validating_changes_nothing_and_says_what_is_wrong(client: httpx2.AsyncClient, admin: Headers) -> None:
    answer = await client.post("/studies/validate", json=DESIGN, headers=admin)
    assert answer.status_code == 200
    found = answer.json()
    assert (found["valid"], found["stages"], found["block_size"]) == (True, ["chat", "done"], 3)
    assert (await client.get("/studies", headers=admin)).json()["data"] == []
    wrong = {
        **DESIGN,
        "pace": {"messages_per_minute": 61, "context_window_size": 0},
        "disclosure": "never",
        "redirect": {"completion": "javascript:alert(1)"},
    }
    refused = await client.post("/studies/validate", json=wrong, headers=admin)
    assert_problem(refused, 422)
    pointers = {error["pointer"] for error in refused.json()["errors"]}
    assert pointers == {"/pace/messages_per_minute", "/pace/context_window_size", "/disclosure", "/redirect/completion"}
    contradiction = await client.post("/studies/validate", json={**DESIGN, "disclosure": "delayed"}, headers=admin)
    assert_problem(contradiction, 422)
    assert "needs ethics_reference and debrief_text" in contradiction.json()["detail"]
    assert [error["pointer"] for error in contradiction.json()["errors"]] == ["/disclosure"]


async def test_a_study_that_is_not_ready_says_all_reasons(client: httpx2.AsyncClient, admin: Headers) -> None:
    cast = [{"name": "Al", "persona": "nobody"}, {"name": "Bo", "persona": "neither"}]
    made = await make(client, admin, cast=cast)
    answer = await client.post(f"/studies/{made['id']}/open", headers=admin)
    assert_problem(answer, 409)
    assert [error["code"] for error in answer.json()["errors"]] == ["not_ready"] * 2


async def test_the_cast_is_seen_by_nobody_in_the_feed(client: httpx2.AsyncClient, admin: Headers) -> None:
    made = await make(client, admin)
    opened = (await client.post(f"/studies/{made['id']}/open", headers=admin)).json()
    member = opened["members"][0]
    assert member["status"] == "cast"
    for path in (f"/persona/{member['persona_id']}", f"/personas/{member['persona_id']}"):
        answer = await client.get(path, headers=admin)
        assert answer.status_code == 404, path
    assert (await client.get("/personas", headers=admin)).json() == []
    assert_problem(await client.get(f"/personas/username/{member['username']}", headers=admin), 404)


async def test_nobody_but_admins_runs_studies(client: httpx2.AsyncClient, admin: Headers) -> None:
    made = await make(client, admin)
    path = f"/studies/{made['id']}"
    for method, where in (
        ("POST", "/studies"), ("GET", "/studies"), ("POST", "/studies/validate"), ("GET", path), ("PUT", path),
        ("POST", f"{path}/open"), ("POST", f"{path}/pause"), ("POST", f"{path}/resume"), ("POST", f"{path}/close"),
        ("POST", f"{path}/tokens"), ("GET", f"{path}/tokens"), ("POST", f"{path}/links.csv"),
        ("DELETE", f"{path}/tokens/1"),
    ):  # fmt: skip
        assert_problem(await client.request(method, where), 401)
    assert (await client.get(path, headers=admin)).json()["state"] == "draft"


async def test_a_seed_makes_the_assignment_repeatable(url: str) -> None:
    async with serving(settings_for(url)) as client:
        admin = await sign_up(client)
        for name in ("one", "two"):
            answer = await client.post("/studies", json={"name": name, "design": DESIGN, "seed": 5}, headers=admin)
            assert answer.json()["seed"] == 5
        drawn = [await make(client, admin, f"drawn_{n}") for n in range(3)]
        assert len({one["seed"] for one in drawn}) == 3
        for name in ("../x y", "x y", "", "-x", "x.", "a" * 61):
            assert_problem(await client.post("/studies", json={"name": name, "design": DESIGN}, headers=admin), 422)
        for seed in (-1, 2**63, 1.5, "5", True):
            wish = {"name": "x", "design": DESIGN, "seed": seed}
            assert_problem(await client.post("/studies", json=wish, headers=admin), 422)
