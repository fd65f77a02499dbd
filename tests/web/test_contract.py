"""Section 1 of the contract: every route as Sim-Feed's clients use it."""

from typing import Any

import asyncpg
import httpx2
import pytest

from tests.conftest import BOOTSTRAP, PASSWORD, sign_in, sign_up

PERSONA = {"username": "professor_rust", "persona": "Loves compilers, hates meetings."}


async def populate(url: str, posts: int = 45) -> None:
    """Two personas; the first wrote `posts` posts, the second commented on and liked post 1 and follows."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            f"""
            INSERT INTO personas (username, description, posts_count) VALUES ('ann', 'a', {posts}), ('bob', 'b', 0);
            INSERT INTO posts (author_id, body, created_at)
                SELECT 1, 'post ' || n, now() - make_interval(mins => {posts} - n) FROM generate_series(1, {posts}) n;
            INSERT INTO post_counts (post_id, likes_count, comments_count, created_at)
                SELECT id, CASE id WHEN 1 THEN 1 ELSE 0 END, CASE id WHEN 1 THEN 2 ELSE 0 END, created_at FROM posts;
            INSERT INTO comments (post_id, author_id, body) VALUES (1, 2, 'first'), (1, 2, 'second');
            INSERT INTO likes (post_id, persona_id) VALUES (1, 2);
            INSERT INTO follows (follower, followed) VALUES (2, 1);
            UPDATE personas SET followers_count = 1 WHERE id = 1;
            UPDATE personas SET following_count = 1, comments_count = 2 WHERE id = 2;
            """
        )
    finally:
        await connection.close()


async def test_root(client: httpx2.AsyncClient) -> None:
    body = (await client.get("/")).json()
    assert body["status"] == "OK"
    assert body["message"]
    assert body["version"]
    assert "GET /posts" in body["endpoints"]


async def test_posts(client: httpx2.AsyncClient, url: str) -> None:
    await populate(url)
    body = (await client.get("/posts", params={"limit": 20})).json()
    assert body["status"] == "OK"
    assert [post["id"] for post in body["posts_found"]] == list(range(45, 25, -1))
    first = body["posts_found"][0]
    assert {"id", "title", "body", "author", "author_username", "likes_count", "comments_count"} <= first.keys()
    assert first["author"] == first["author_id"]
    assert first["created_at"].endswith(("Z", "+00:00"))


@pytest.mark.parametrize("sort", ["latest", "hot", "top", "discussed"])
@pytest.mark.parametrize("author", [None, 1])
async def test_every_sort_pages_through_all_posts_once(
    client: httpx2.AsyncClient, url: str, sort: str, author: int | None
) -> None:
    await populate(url)
    params: dict[str, Any] = {"limit": 7, "sort": sort} | ({"author": author} if author else {})
    seen: list[int] = []
    address: str | None = "/posts"
    while address:
        answer = await client.get(address, params=params if address == "/posts" else None)
        assert answer.status_code == 200, answer.text
        seen += [post["id"] for post in answer.json()["posts_found"]]
        address = answer.links.get("next", {}).get("url")
        assert (address is None) == (answer.json()["next_cursor"] is None)
    assert sorted(seen) == list(range(1, 46))
    if sort in ("top", "discussed"):
        assert seen[0] == 1


async def test_a_cursor_holds_only_for_its_list(client: httpx2.AsyncClient, url: str) -> None:
    await populate(url)
    cursor = (await client.get("/posts", params={"limit": 2})).json()["next_cursor"]
    assert (await client.get("/posts", params={"cursor": cursor, "sort": "top"})).status_code == 422
    assert (await client.get("/posts", params={"cursor": cursor, "author": 1})).status_code == 422
    assert (await client.get("/feed", params={"cursor": cursor})).status_code == 422
    for forged in (cursor[:-1], cursor[:-2] + "AA", "x", "", "ä", "=" * 10):
        assert (await client.get("/posts", params={"cursor": forged})).status_code == 422, forged


async def test_posts_by_page(client: httpx2.AsyncClient, url: str) -> None:
    await populate(url)
    assert [p["id"] for p in (await client.get("/posts/1")).json()] == list(range(45, 25, -1))
    assert [p["id"] for p in (await client.get("/posts/3")).json()] == [5, 4, 3, 2, 1]
    assert (await client.get("/posts/4")).json() == []
    deep = await client.get("/posts/101")
    assert deep.status_code == 422
    assert "next_cursor" in deep.json()["detail"]


async def test_comments(client: httpx2.AsyncClient, url: str) -> None:
    await populate(url)
    comments = (await client.get("/posts/1/comments")).json()
    assert [c["body"] for c in comments] == ["second", "first"]
    assert comments[0].keys() >= {"id", "post_id", "body", "author_id", "author_username", "created_at"}
    assert (comments[0]["parent_id"], comments[0]["likes_count"]) == (None, 0)
    assert (await client.get("/posts/2/comments")).json() == []
    assert (await client.get("/posts/999/comments")).status_code == 404


async def test_post_detail(client: httpx2.AsyncClient, url: str) -> None:
    await populate(url)
    post = (await client.get("/post/1")).json()
    assert (post["likes_count"], post["comments_count"], len(post["comments"])) == (1, 2, 2)
    assert (await client.get("/post/999")).status_code == 404


async def test_persona_and_relations(client: httpx2.AsyncClient, url: str) -> None:
    await populate(url)
    ann = (await client.get("/persona/1")).json()
    assert (ann["persona_id"], ann["username"], ann["followers_count"], ann["following_count"]) == (1, "ann", 1, 0)
    assert "description" not in ann
    assert (await client.get("/persona/1/relations", params={"relation": "follower"})).json() == []
    followed = (await client.get("/persona/1/relations", params={"relation": "followed"})).json()
    assert [(f["follower"], f["followed"]) for f in followed] == [(2, 1)]
    follows = (await client.get("/persona/2/relations", params={"relation": "follower"})).json()
    assert follows == followed
    assert follows[0].keys() == {"id", "follower", "followed", "created_at"}
    for params in ({}, {"relation": "friends"}):
        wrong = await client.get("/persona/1/relations", params=params)
        assert wrong.status_code == 422
        assert "relation" in wrong.json()["detail"]
    assert (await client.get("/persona/99/relations", params={"relation": "followed"})).status_code == 404


async def test_feed_variants(client: httpx2.AsyncClient, url: str) -> None:
    await populate(url)
    following = (await client.get("/feed", params={"following": 2, "limit": 5})).json()
    assert [p["id"] for p in following["data"]] == [45, 44, 43, 42, 41]
    assert following["has_more"] is True
    assert (await client.get("/feed", params={"following": 1})).json() == {
        "data": [],
        "next_cursor": None,
        "has_more": False,
    }
    found = (await client.get("/feed", params={"q": "post 7"})).json()
    assert [p["id"] for p in found["data"]] == [7]
    assert (await client.get("/feed", params={"following": 999})).status_code == 404
    assert (await client.get("/feed", params={"following": 1, "q": "x"})).status_code == 422


async def test_register_and_log_in(client: httpx2.AsyncClient) -> None:
    person = {"username": "ada", "email": "ada@example.org", "password": PASSWORD}
    answer = await client.post("/auths/register", json={**person, "bootstrap_token": BOOTSTRAP})
    assert answer.status_code == 201
    assert answer.json()["message"]
    assert answer.json()["admin_info"]["username"] == "ada"
    assert PASSWORD not in answer.text
    as_form = await client.post("/auths/login", data={"username": "ada", "password": PASSWORD})
    as_json = await client.post("/auths/login", json={"username": "ada@example.org", "password": PASSWORD})
    for token in (as_form, as_json):
        assert token.status_code == 200
        assert token.json()["token_type"] == "bearer"
    wrong = await client.post("/auths/login", data={"username": "ada", "password": "not the password"})
    unknown = await client.post("/auths/login", data={"username": "eve", "password": "not the password"})
    assert (wrong.status_code, unknown.status_code) == (401, 401)
    assert wrong.json()["detail"] == unknown.json()["detail"]


async def test_the_bootstrap_token_works_once(client: httpx2.AsyncClient, admin: dict[str, str]) -> None:
    again = {"username": "eve", "email": "eve@example.org", "password": PASSWORD, "bootstrap_token": BOOTSTRAP}
    assert (await client.post("/auths/register", json=again)).status_code == 403
    wrong = {**again, "bootstrap_token": "wrong"}
    assert (await client.post("/auths/register", json=wrong)).status_code == 403
    none = {key: value for key, value in again.items() if key != "bootstrap_token"}
    assert (await client.post("/auths/register", json=none)).status_code == 403


async def test_an_invitation_is_bound_to_its_address_and_used_once(
    client: httpx2.AsyncClient, admin: dict[str, str]
) -> None:
    made = await client.post("/auths/invitations", json={"email": "bob@example.org"}, headers=admin)
    assert made.status_code == 201
    token = made.json()["invite_token"]
    person = {"username": "bob", "email": "eve@example.org", "password": PASSWORD, "invite_token": token}
    assert (await client.post("/auths/register", json=person)).status_code == 403
    person["email"] = "bob@example.org"
    assert (await client.post("/auths/register", json=person)).status_code == 201
    person["username"] = "bob2"
    assert (await client.post("/auths/register", json=person)).status_code == 403
    listed = (await client.get("/auths/invitations", headers=admin)).json()
    assert [(i["email"], i["state"]) for i in listed] == [("bob@example.org", "accepted")]
    assert token not in str(listed)


async def test_a_revoked_or_expired_invitation_is_worth_nothing(
    client: httpx2.AsyncClient, admin: dict[str, str], url: str
) -> None:
    tokens = {}
    for name in ("rev", "old"):
        made = await client.post("/auths/invitations", json={"email": f"{name}@example.org"}, headers=admin)
        tokens[name] = made.json()
    assert (await client.delete(f"/auths/invitations/{tokens['rev']['id']}", headers=admin)).status_code == 204
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE admin_invitations SET expires_at = now() WHERE email = 'old@example.org'")
    await connection.close()
    for name, made in tokens.items():
        person = {"username": name, "email": f"{name}@example.org", "password": PASSWORD}
        answer = await client.post("/auths/register", json={**person, "invite_token": made["invite_token"]})
        assert answer.status_code == 403


async def test_logging_out_ends_the_token_at_once(client: httpx2.AsyncClient, admin: dict[str, str]) -> None:
    other = await sign_in(client)
    assert (await client.post("/auths/logout", headers=admin)).status_code == 204
    assert (await client.get("/personas", headers=admin)).status_code == 401
    assert (await client.get("/personas", headers=other)).status_code == 200


async def test_a_new_password_ends_every_token(client: httpx2.AsyncClient, admin: dict[str, str]) -> None:
    other = await sign_in(client)
    wrong = {"old_password": "not the password", "new_password": "another long password"}
    assert (await client.put("/auths/password", json=wrong, headers=admin)).status_code == 422
    right = {**wrong, "old_password": PASSWORD}
    assert (await client.put("/auths/password", json=right, headers=admin)).status_code == 204
    for headers in (admin, other):
        assert (await client.get("/personas", headers=headers)).status_code == 401
    await sign_in(client, password="another long password")


async def test_personas(client: httpx2.AsyncClient, admin: dict[str, str]) -> None:
    made = await client.post("/personas", json=PERSONA, headers=admin)
    assert made.status_code == 201
    number = made.json()["persona_id"]
    assert (await client.post("/personas", json=PERSONA, headers=admin)).status_code == 409
    assert [p["username"] for p in (await client.get("/personas", headers=admin)).json()] == ["professor_rust"]
    one = (await client.get(f"/personas/{number}", headers=admin)).json()
    assert one["description"] == PERSONA["persona"]
    named = await client.get("/personas/username/Professor_Rust", headers=admin)
    assert named.json() == one
    changed = await client.patch(f"/personas/{number}", json={"bio": "cargo cult"}, headers=admin)
    assert (changed.json()["bio"], changed.json()["description"]) == ("cargo cult", PERSONA["persona"])
    assert (await client.delete(f"/personas/{number}", headers=admin)).status_code == 204
    gone = await client.get(f"/personas/{number}", headers=admin)
    assert gone.status_code == 404
    assert str(number) in gone.json()["detail"]
    assert (await client.delete(f"/personas/{number}", headers=admin)).status_code == 404
    assert (await client.get(f"/persona/{number}")).json()["status"] == "departed"
    assert (await client.get("/personas/username/professor_rust", headers=admin)).status_code == 404
    assert (await client.post("/personas", json=PERSONA, headers=admin)).status_code == 201


async def test_a_departed_personas_history_stays(client: httpx2.AsyncClient, url: str) -> None:
    await populate(url)
    headers = await sign_up(client)
    assert (await client.delete("/personas/1", headers=headers)).status_code == 204
    post = (await client.get("/post/1")).json()
    assert (post["author_username"], post["author_departed"]) == ("ann", True)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/personas"),
        ("GET", "/personas"),
        ("GET", "/personas/1"),
        ("GET", "/personas/username/ann"),
        ("DELETE", "/personas/1"),
        ("PUT", "/personas/1"),
        ("PATCH", "/personas/1"),
        ("PUT", "/scheduler/interval"),
        ("GET", "/scheduler/interval"),
        ("POST", "/auths/invitations"),
        ("POST", "/auths/logout"),
        ("PUT", "/auths/password"),
    ],
)
async def test_admin_routes_want_a_token(client: httpx2.AsyncClient, method: str, path: str) -> None:
    answer = await client.request(method, path, json={} if method in ("POST", "PUT", "PATCH") else None)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_the_interval_is_kept(client: httpx2.AsyncClient, admin: dict[str, str]) -> None:
    assert (await client.put("/scheduler/interval", json={"interval": 5}, headers=admin)).status_code == 204
    assert (await client.get("/scheduler/interval", headers=admin)).json()["interval"] == 5
    for wrong in (0, -1, 1e9, "5", None, True):
        answer = await client.put("/scheduler/interval", json={"interval": wrong}, headers=admin)
        assert answer.status_code == 422, wrong


async def test_public_reads_are_revalidated_by_etag(client: httpx2.AsyncClient, url: str) -> None:
    await populate(url)
    first = await client.get("/posts")
    again = await client.get("/posts", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert "max-age" in first.headers["cache-control"]


async def test_public_reads_may_be_read_by_any_page(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/posts", headers={"Origin": "https://example.org"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers
    wish = {"Origin": "https://example.org", "Access-Control-Request-Method": "DELETE"}
    assert (await client.options("/personas/1", headers=wish)).status_code == 400
