"""`GET /persona/{id}/exposures`: why a persona saw what it saw; and the same in the trace and on the command line."""

from typing import Any

import httpx2
import pytest

from app.db.engine import Database
from tests.actions.test_ranked_feed import play
from tests.cli.test_cli import data, simfeed
from tests.venues.test_cycle import people
from tests.web.pages.desk import Page, at_desk
from tests.web.test_edge import assert_problem


async def lived(database: Database, ranker: str = "mixed") -> Any:
    """A world in which somebody viewed its feed: one reading of it, with persona and run."""
    await people(database, 12)
    await play(database, 1)
    await play(database, 2, {"ranker": ranker})
    row = await database.fetchrow(
        "SELECT e.*, t.persona_id, t.run_id, p.username FROM exposures e JOIN turns t ON t.id = e.turn_id"
        " JOIN personas p ON p.id = t.persona_id WHERE e.ranker = $1 ORDER BY e.turn_id LIMIT 1",
        ranker,
    )
    assert row is not None
    return row


async def test_all_impressions_page_by_page(
    client: httpx2.AsyncClient, admin: dict[str, str], database: Database
) -> None:
    seen = await lived(database)
    path = f"/persona/{seen['persona_id']}/exposures"
    whole = (await client.get(path, params={"limit": 100}, headers=admin)).json()
    assert (whole["has_more"], whole["next_cursor"]) == (False, None)
    walked: list[Any] = []
    cursor = None
    while True:
        answer = await client.get(path, params={"limit": 3, **({"cursor": cursor} if cursor else {})}, headers=admin)
        page = answer.json()
        walked += page["data"]
        cursor = page["next_cursor"]
        assert page["has_more"] == ("Link" in answer.headers) == (cursor is not None)
        if cursor is None:
            break
    assert walked == whole["data"]
    assert len(walked) == await database.fetchval(
        "SELECT sum(cardinality(e.items)) FROM exposures e JOIN turns t ON t.id = e.turn_id WHERE t.persona_id = $1",
        seen["persona_id"],
    )
    order = [(one["turn_id"], one["step"]) for one in walked]
    assert order == sorted(order, reverse=True)


async def test_why_it_saw_a_post(client: httpx2.AsyncClient, admin: dict[str, str], database: Database) -> None:
    seen = await lived(database)
    post = seen["items"][0]
    found = (await client.get(f"/persona/{seen['persona_id']}/exposures?post={post}", headers=admin)).json()["data"]
    (one,) = [
        one for one in found if (one["turn_id"], one["step"], one["ranker"]) == (seen["turn_id"], seen["step"], "mixed")
    ]
    assert {name: one[name] for name in ("item", "rank", "version", "reason", "run_id", "kind")} == {
        "item": post, "rank": 1, "version": 1, "reason": seen["reasons"][0], "run_id": seen["run_id"], "kind": "post",
    }  # fmt: skip
    assert one["chance"] == pytest.approx(seen["chances"][0])
    assert all(one["item"] == post for one in found)


async def test_a_share_of_a_post_is_the_post(
    client: httpx2.AsyncClient, admin: dict[str, str], database: Database
) -> None:
    seen = await lived(database)
    post = seen["items"][0]
    root = await database.fetchval("SELECT coalesce(repost_of, id) FROM posts WHERE id = $1", post)
    share = await database.fetchval(
        "INSERT INTO posts (author_id, body, repost_of) SELECT id, '', $1 FROM personas WHERE id NOT IN"
        " (SELECT author_id FROM posts WHERE repost_of = $1) LIMIT 1 RETURNING id",
        root,
    )
    await database.fetch(
        "UPDATE exposures SET items[1] = $2 WHERE turn_id = $1 AND ranker = 'mixed'", seen["turn_id"], share
    )
    found = (await client.get(f"/persona/{seen['persona_id']}/exposures?post={root}", headers=admin)).json()["data"]
    assert share in [one["item"] for one in found]


async def test_only_who_is_signed_in_and_only_what_there_is(
    client: httpx2.AsyncClient, admin: dict[str, str], database: Database
) -> None:
    seen = await lived(database)
    path = f"/persona/{seen['persona_id']}/exposures"
    assert_problem(await client.get(path), 401)
    assert_problem(await client.get("/persona/999/exposures", headers=admin), 404)
    assert_problem(await client.get(f"{path}?post=999999", headers=admin), 404)
    cursor = (await client.get(f"{path}?limit=1", headers=admin)).json()["next_cursor"]
    other = await database.fetchval("SELECT id FROM personas WHERE id <> $1 LIMIT 1", seen["persona_id"])
    for query in (
        "post=0", "post=x", "post=99999999999999999999", "limit=0", "limit=101", "cursor=%00", "cursor=AAAA",
        f"post={seen['items'][0]}&cursor={cursor}",
    ):  # fmt: skip
        answer = await client.get(f"{path}?{query}", headers=admin)
        assert answer.status_code in (400, 422), query
        assert_problem(answer, answer.status_code)
    assert_problem(await client.get(f"/persona/{other}/exposures?cursor={cursor}", headers=admin), 422)
    assert_problem(await client.get("/persona/9223372036854775808/exposures", headers=admin), 422)


async def test_a_turn_without_a_share_of_all_that_is_told_elsewhere(
    client: httpx2.AsyncClient, admin: dict[str, str], database: Database, url: str
) -> None:
    """The command line says the same: `why`, `runs exposures` and the trace."""
    seen = await lived(database, "interest")
    post, who = seen["items"][0], seen["username"]
    told = data(simfeed(url, "why", f"@{who}", str(post), "--json"))
    found = (await client.get(f"/persona/{seen['persona_id']}/exposures?post={post}", headers=admin)).json()["data"]
    assert [(one["turn_id"], one["rank"], one["reason"]) for one in told["impressions"]] == [
        (one["turn_id"], one["rank"], one["reason"]) for one in found
    ]
    assert data(simfeed(url, "why", str(seen["persona_id"]), str(post), "--json")) == told
    assert "interest v1" in simfeed(url, "why", who, str(post)).stdout
    rows = data(simfeed(url, "runs", "exposures", str(seen["run_id"]), "--json"))
    assert "interest" in {row["ranker"] for row in rows}
    assert "Gini" in simfeed(url, "runs", "exposures", str(seen["run_id"])).stdout
    trace = simfeed(url, "trace", "--turn", str(seen["turn_id"])).stdout
    assert f"posts by interest v1: {post} ({seen['reasons'][0]}; score" in trace
    (step,) = [
        step for step in data(simfeed(url, "trace", "--turn", str(seen["turn_id"]), "--json"))["steps"]
        if any(one["ranker"] == "interest" and one["step"] == seen["step"] for one in step["exposures"])
    ]  # fmt: skip
    assert list(seen["items"]) in [one["shown"] for one in step["exposures"]]
    nothing = simfeed(
        url, "why", who, str(await database.fetchval("SELECT id FROM posts WHERE author_id = $1", seen["persona_id"]))
    )
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert "was never shown" in nothing.stderr
    for words in (
        ("why", who, "0"),
        ("why", who, "999999"),
        ("why", "@nobody_here", "1"),
        ("why", "9" * 30, "1"),
        ("runs", "exposures", "999"),
        ("run", "--ranker", "best"),
        ("run", "--who-to-follow", "x"),
    ):
        wrong = simfeed(url, *words)
        assert wrong.returncode == 2, words
        assert wrong.stderr.count("\n") == 1, words


async def test_the_trace_page_says_why(url: str, database: Database) -> None:
    seen = await lived(database)
    async with at_desk(url) as desk:
        text = Page((await desk.get(f"/admin/traces/{seen['turn_id']}")).text).text
    assert "ranked by mixed (version 1)" in text
    assert seen["reasons"][0] in text
    assert f"chance {seen['chances'][0]:.4g}" in text
