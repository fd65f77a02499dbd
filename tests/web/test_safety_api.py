"""`GET /safety` and the kill switch of a post, as admins use them."""

import json

import httpx2

from app.db.engine import Database
from app.world import moderation
from app.world.effects import NewBio, ReportPost
from app.world.moderation import OWN_INSTRUCTIONS
from tests.web.test_contract import populate
from tests.web.test_edge import assert_problem
from tests.world.test_moderation import TEXT, World


async def put(client: httpx2.AsyncClient, admin: dict[str, str], post: int, *, quarantined: bool) -> httpx2.Response:
    body = {"quarantined": quarantined, "reason": "asks to be repeated"}
    return await client.put(f"/posts/{post}/quarantine", json=body, headers=admin)


async def test_a_post_is_hidden_and_shown_again(
    client: httpx2.AsyncClient, url: str, admin: dict[str, str], database: Database
) -> None:
    await populate(url)
    pages = ("/posts?limit=100", "/feed?q=post&limit=100", "/posts/1", "/posts/3", "/posts?sort=top&limit=100")
    before = [(await client.get(path)).json() for path in pages]
    answer = await put(client, admin, 1, quarantined=True)
    assert (answer.status_code, answer.json()) == (
        200,
        {"post_id": 1, "quarantined": True, "posts": 1, "comments": 0},
    )
    for path in ("/post/1", "/posts/1/comments"):
        assert_problem(await client.get(path), 404)
    for path in pages:
        assert not any(post["id"] == 1 for post in listed((await client.get(path)).json())), path
    assert len((await client.get("/posts/3")).json()) == 4
    (held,) = (await client.get("/safety", headers=admin)).json()["quarantined"]
    assert {name: held[name] for name in ("post_id", "comment_id", "taken_by", "admin", "reason", "text")} == {
        "post_id": 1, "comment_id": None, "taken_by": "admin", "admin": "ada", "reason": "asks to be repeated",
        "text": "post 1",
    }  # fmt: skip
    assert (await put(client, admin, 1, quarantined=True)).json()["posts"] == 0
    assert (await put(client, admin, 1, quarantined=False)).json()["posts"] == 1
    assert [(await client.get(path)).json() for path in pages] == before
    assert (await client.get("/safety", headers=admin)).json()["quarantined"] == []
    deeds = await database.fetch("SELECT action, subject, detail FROM audit WHERE action LIKE 'post.%' ORDER BY id")
    assert [(row["action"], row["subject"]) for row in deeds] == [
        ("post.quarantined", "1"), ("post.quarantined", "1"), ("post.released", "1"),
    ]  # fmt: skip
    assert json.loads(deeds[0]["detail"]) == {"reason": "asks to be repeated"}


def listed(found: object) -> list[dict[str, object]]:
    """The posts of an answer, whatever form it has."""
    return next(iter(v for v in found.values() if isinstance(v, list))) if isinstance(found, dict) else list(found)  # type: ignore[call-overload]


async def test_who_may(client: httpx2.AsyncClient, url: str, admin: dict[str, str]) -> None:
    await populate(url)
    assert_problem(await put(client, {}, 1, quarantined=True), 401)
    assert_problem(await client.get("/safety"), 401)
    assert_problem(await put(client, admin, 99, quarantined=True), 404)
    assert_problem(await put(client, admin, 99, quarantined=False), 404)
    for wrong in ({"quarantined": "yes"}, {}, {"quarantined": True, "reason": "r" * 201}):
        assert_problem(await client.put("/posts/1/quarantine", json=wrong, headers=admin), 422)
    assert len((await client.get("/posts?limit=100")).json()["posts_found"]) == 45


async def test_what_spreads_and_leaks_is_told(
    client: httpx2.AsyncClient, admin: dict[str, str], database: Database
) -> None:
    world = await World.of(database, 4)
    seed = await world.writes(1)
    first = await world.copies(2, seed)
    comment = await world.copies(3, first, on=first)
    await world.does(4, NewBio(body="You are @p4. You love trains."), mark=OWN_INSTRUCTIONS)
    told = (await client.get("/safety", headers=admin)).json()
    assert [(flag["mark"], flag["source_id"]) for flag in told["flagged"]] == [
        ("canary", None), ("copy", None), ("copy", None),
    ]  # fmt: skip
    assert told["infections"] == []
    await moderation.look_into(database, [world.run], "quarantine")
    told = (await client.get("/safety", headers=admin)).json()
    canary, second, near = told["flagged"]
    assert (canary["mark"], canary["kind"], canary["object_id"], canary["username"]) == ("canary", "bio", 4, "p4")
    assert (second["kind"], second["object_id"], second["source_kind"], second["source_id"]) == (
        "comment", comment, "post", first,
    )  # fmt: skip
    assert (near["origin_id"], near["generation"], near["similarity"], near["quarantined"]) == (seed, 1, 1.0, True)
    (infection,) = told["infections"]
    assert (infection["id"], infection["text"], infection["r0"], infection["copies"]) == (seed, TEXT, 1.0, 2)
    assert [g["r"] for g in infection["generations"]] == [1.0, 1.0, 0.0]
    (held,) = told["quarantined"]
    assert (held["post_id"], held["taken_by"], held["admin"], held["taken_along"]) == (seed, "guard", None, 2)
    assert len((await client.get("/safety?limit=1", headers=admin)).json()["flagged"]) == 1
    answer = await put(client, admin, seed, quarantined=False)
    assert (answer.json()["posts"], answer.json()["comments"]) == (2, 1)


async def test_reports_are_judged_once(client: httpx2.AsyncClient, admin: dict[str, str], database: Database) -> None:
    world = await World.of(database, 4)
    post, other = await world.writes(1), await world.writes(2, "another text, and quite another at that")
    for persona, number in ((2, post), (3, post), (3, other)):
        await world.does(persona, ReportPost(number, body=f"<b>by {persona}</b>"))
    first = (await client.get("/reports?limit=1", headers=admin)).json()
    assert [(one["post_id"], one["reports"]) for one in first["data"]] == [(other, 1)]
    second = (await client.get(f"/reports?limit=1&cursor={first['next_cursor']}", headers=admin)).json()
    assert second["next_cursor"] is None
    assert [(one["post_id"], one["reasons"]) for one in second["data"]] == [(post, ["<b>by 3</b>", "<b>by 2</b>"])]

    async def judge(number: int, verdict: str, **more: str) -> httpx2.Response:
        return await client.put(f"/reports/{number}", json={"verdict": verdict, **more}, headers=admin)

    hidden = await judge(post, "hidden", reason="spam")
    assert hidden.json() == {"post_id": post, "verdict": "hidden", "closed": 2, "posts": 1, "comments": 0}
    assert (await judge(post, "hidden")).json()["closed"] == 0
    assert_problem(await judge(post, "dismissed"), 409)
    assert (await judge(other, "dismissed")).json()["closed"] == 1
    assert_problem(await client.get(f"/post/{post}"), 404)
    assert (await client.get(f"/post/{other}")).status_code == 200
    assert (await client.get("/reports", headers=admin)).json()["data"] == []
    for number, verdict, status in ((99, "hidden", 404), (other, "burnt", 422)):
        assert_problem(await judge(number, verdict), status)
    assert_problem(await judge(other, "hidden", reason="r" * 201), 422)
    assert_problem(await client.put(f"/reports/{other}", json={"verdict": "hidden"}), 401)
    assert_problem(await client.get("/reports"), 401)
    assert_problem(await client.get("/reports?cursor=x", headers=admin), 422)
    deeds = await database.fetch("SELECT subject FROM audit WHERE action = 'reports.closed' ORDER BY id")
    assert [row["subject"] for row in deeds] == [str(post), str(other)]


async def test_a_comment_is_hidden_and_shown_again(
    client: httpx2.AsyncClient, admin: dict[str, str], database: Database
) -> None:
    world = await World.of(database, 2)
    post = await world.writes(1)
    comment = await world.writes(2, "an answer", on=post)
    path = f"/comments/{comment}/quarantine"
    assert_problem(await client.put(path, json={"quarantined": True}), 401)
    hidden = await client.put(path, json={"quarantined": True, "cascade": True}, headers=admin)
    assert hidden.json() == {"comment_id": comment, "quarantined": True, "posts": 0, "comments": 1}
    assert (await client.get(f"/posts/{post}/comments")).json() == []
    shown = await client.put(path, json={"quarantined": False}, headers=admin)
    assert shown.json()["comments"] == 1
    assert len((await client.get(f"/posts/{post}/comments")).json()) == 1
    assert_problem(await client.put("/comments/99/quarantine", json={"quarantined": True}, headers=admin), 404)
