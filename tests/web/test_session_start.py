"""`POST /session/start` as Simulacra's clients call it, from wherever their pages are."""

import asyncio
from collections import Counter
from typing import Any

import httpx2
import pytest

from app.db.engine import Database
from app.venues.chatroom import studies
from tests.conftest import serving, settings_for
from tests.web.pages.test_participant import a_study

AWAY = "https://chat.example.org"
PREFLIGHT = {"Origin": AWAY, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}


async def start(client: httpx2.AsyncClient, token: Any, headers: dict[str, str] | None = None, **more: Any) -> Any:
    return await client.post("/session/start", json={"token": token, **more}, headers=headers)


async def test_a_token_starts_one_session(client: httpx2.AsyncClient, database: Database) -> None:
    _, tokens = await a_study(database, "one", consent="external")
    answers = await asyncio.gather(*(start(client, tokens[0], username="Kim") for _ in range(12)))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 401: 11}
    begun = next(answer.json() for answer in answers if answer.status_code == 200)
    assert set(begun) == {"session_id", "message"}
    assert len({answer.text.partition('"instance"')[0] for answer in answers if answer.status_code == 401}) == 1
    found = await database.fetch(
        "SELECT r.key, i.username FROM rooms r JOIN identities i ON i.participant_id = r.participant_id"
    )
    assert [(row["key"], row["username"]) for row in found] == [(begun["session_id"], "Kim")]
    assert (await start(client, tokens[1], username="", extra=1)).status_code == 200


async def test_what_starts_no_session(client: httpx2.AsyncClient, database: Database) -> None:
    _, page = await a_study(database, "asks")
    closed, shut = await a_study(database, "shut", consent="external")
    await studies.close(database, closed, by=None)
    refused = await start(client, page[0])
    assert (refused.status_code, "/s/TOKEN" in refused.json()["detail"]) == (403, True)
    assert (await start(client, shut[0])).status_code == 401
    assert (await start(client, "unknown")).status_code == 401
    wrong: list[Any] = ["", "x" * 201, 7, None, [], {"a": 1}, True]
    for token in wrong:
        assert (await start(client, token)).status_code == 422
    for name in ("a\x00b", "x" * 201, 7, ["a"]):
        assert (await start(client, "unknown", username=name)).status_code == 422
    assert await database.fetchval("SELECT count(*) FROM participants") == 0
    assert await database.fetchval("SELECT count(*) FROM study_tokens WHERE redeemed_at IS NOT NULL") == 0


async def test_guessing_is_slowed_down(url: str, database: Database) -> None:
    _, tokens = await a_study(database, "one", consent="external")
    async with serving(settings_for(url, session_guesses_per_hour=3)) as client:
        codes = [(await start(client, f"guess {n}")).status_code for n in range(5)]
        limited = await start(client, tokens[0])
    assert codes == [401, 401, 401, 429, 429]
    assert (limited.status_code, "retry-after" in limited.headers) == (429, True)


async def test_pages_of_other_origins_may_ask_where_the_study_lets_them(
    client: httpx2.AsyncClient, database: Database
) -> None:
    _, anywhere = await a_study(database, "anywhere", consent="external")
    _, named = await a_study(database, "named", consent="external", origins=[AWAY])
    for path in ("/session/start", "/session/key/message/m/like", "/session/key/message/m/report"):
        asked = await client.options(path, headers=PREFLIGHT)
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == "*"
        assert "POST" in asked.headers["access-control-allow-methods"]
        assert "access-control-allow-credentials" not in asked.headers
        for wish in ({"Access-Control-Request-Method": "DELETE"}, {"Access-Control-Request-Headers": "authorization"}):
            assert (await client.options(path, headers={**PREFLIGHT, **wish})).status_code == 400
    for token, origin, status in (
        (anywhere[0], "https://any.example", 200),
        (named[0], "https://any.example", 403),
        (named[0], "null", 403),
        (named[0], AWAY, 200),
        (named[1], "http://simfeed.test", 200),
        ("unknown", "https://any.example", 401),
    ):
        answer = await start(client, token, {"Origin": origin})
        assert answer.status_code == status, origin
        assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("path", ["/posts", "/auths/login", "/s/join", "/personas"])
async def test_other_writes_stay_closed_to_other_origins(client: httpx2.AsyncClient, path: str) -> None:
    assert (await client.options(path, headers=PREFLIGHT)).status_code == 400
    answer = await client.post(path, json={}, headers={"Origin": AWAY})
    assert "access-control-allow-origin" not in answer.headers
