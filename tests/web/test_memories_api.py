"""Memories over the API: admins see, give and take them; nobody else."""

import httpx2
import pytest


async def a_persona(client: httpx2.AsyncClient, admin: dict[str, str], name: str = "luna") -> int:
    answer = await client.post("/personas", json={"username": name, "persona": "Loves trams."}, headers=admin)
    return int(answer.json()["persona_id"])


async def test_give_list_search_and_forget(client: httpx2.AsyncClient, admin: dict[str, str]) -> None:
    persona = await a_persona(client, admin)
    at = f"/personas/{persona}/memories"
    for body in ("You grew up by the sea.", "You quarrelled with @max over trams."):
        assert (await client.post(at, json={"body": body}, headers=admin)).status_code == 201
    listed = (await client.get(at, headers=admin)).json()
    assert [m["kind"] for m in listed] == ["given", "given"]
    page = (await client.get(at, params={"limit": 1, "after": listed[0]["id"]}, headers=admin)).json()
    assert page == [listed[1]]
    found = (await client.get(f"{at}/search", params={"q": "trams"}, headers=admin)).json()
    assert found[0]["body"] == "You quarrelled with @max over trams."
    assert found[0]["score"] > found[1]["score"]
    assert (await client.delete(f"{at}/{listed[0]['id']}", headers=admin)).status_code == 204
    assert (await client.delete(f"{at}/{listed[0]['id']}", headers=admin)).status_code == 404
    assert len((await client.get(at, headers=admin)).json()) == 1


async def test_only_admins_see_memories(client: httpx2.AsyncClient, admin: dict[str, str]) -> None:
    persona = await a_persona(client, admin)
    at = f"/personas/{persona}/memories"
    for method, path in (("GET", at), ("GET", f"{at}/search"), ("POST", at), ("DELETE", f"{at}/1")):
        assert (await client.request(method, path)).status_code == 401
    assert (await client.get("/personas/999/memories", headers=admin)).status_code == 404


async def test_another_personas_memory_is_not_found(client: httpx2.AsyncClient, admin: dict[str, str]) -> None:
    one, other = await a_persona(client, admin), await a_persona(client, admin, "max")
    made = (await client.post(f"/personas/{one}/memories", json={"body": "x"}, headers=admin)).json()["id"]
    assert (await client.delete(f"/personas/{other}/memories/{made}", headers=admin)).status_code == 404
    after = await client.get(f"/personas/{other}/memories", params={"after": made}, headers=admin)
    assert after.status_code == 404


@pytest.mark.parametrize(
    "body", ["{}", '{"body":""}', '{"body":1}', '{"body":"x","importance":2}', '{"body":"x","kind":"did"}', "[",
             '{"body":"\\u0000"}']
)  # fmt: skip
async def test_hostile_bodies_are_refused(client: httpx2.AsyncClient, admin: dict[str, str], body: str) -> None:
    persona = await a_persona(client, admin)
    answer = await client.post(
        f"/personas/{persona}/memories", content=body, headers={**admin, "Content-Type": "application/json"}
    )
    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize("words", ["'", "\\", ":*", "a & !", "⟦⟧", "%00", "x" * 101])
async def test_no_words_break_the_search(client: httpx2.AsyncClient, admin: dict[str, str], words: str) -> None:
    persona = await a_persona(client, admin)
    await client.post(f"/personas/{persona}/memories", json={"body": "You like trams."}, headers=admin)
    answer = await client.get(f"/personas/{persona}/memories/search", params={"q": words}, headers=admin)
    assert answer.status_code in (200, 422)
