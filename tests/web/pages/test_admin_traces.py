"""Traces: what was said is shown as text, what others wrote is boxed, and the request is the one that was sent."""

import json
import re
import shlex
from typing import Any

import msgspec
import pytest

from app.db.engine import Database
from app.ledger import traces
from app.web.pages.admin.traces import _parts, compare, curl, object_link, pretty
from tests.conftest import run_sql, serving, settings_for, sign_up
from tests.web.pages.desk import Page, at_desk, look, played
from tests.web.test_page import BROWSER, HOSTILE

LIST = "/admin/traces"


@pytest.fixture
async def runs(database: Database, url: str) -> list[int]:
    return await played(database, url, cycles=2)


async def test_the_list_leads_to_turns_and_its_filters_hold(database: Database, url: str, runs: list[int]) -> None:
    turns = [row["id"] for row in await database.fetch("SELECT id FROM turns ORDER BY id DESC")]
    ended = await database.fetchval("SELECT count(DISTINCT turn_id) FROM actions WHERE name = 'end_turn'")
    assert ended
    async with at_desk(url) as client:
        page = await look(client, LIST)
        assert [link for link in page.links if re.fullmatch(rf"{LIST}/\d+", link)] == [f"{LIST}/{n}" for n in turns]
        assert f"/admin/runs/{runs[0]}" in page.links
        for query, hits in (
            (f"run={runs[0]}", 3),
            ("persona=@person_1", 2),
            (f"persona=person_1&run={runs[1]}", 1),
            ("persona_id=2", 2),
            ("q=HERRING", 6),
            ("q=Number+2%2C", 2),
            ("q=nobody+says+this", 0),
            ("state=done", 6),
            ("state=failed", 0),
            ("status=timeout", 0),
            ("status=ok", 6),
            ("action=end_turn", ended),
            ("action=fly", 0),
            ("cost=0", 0),
            ("q=&run=&state=&cost=", 6),
        ):
            page = await look(client, f"{LIST}?{query}")
            assert sum(bool(re.fullmatch(rf"{LIST}/\d+", link)) for link in page.links) == hits, query


async def test_a_turn_shows_steps_calls_actions_and_effects(database: Database, url: str, runs: list[int]) -> None:
    made = await database.fetchrow(
        "SELECT turn_id, step, ordinal, object_id FROM actions WHERE effect = 'post' AND outcome = 'made'"
    )
    assert made is not None
    async with at_desk(url) as client:
        page = await look(client, f"{LIST}/{made['turn_id']}")
        steps = await database.fetchval("SELECT count(*) FROM calls WHERE turn_id = $1", made["turn_id"])
        for n in range(steps):
            assert {f"step-{n}", f"call-{n}"} <= page.ids
        assert f"action-{made['step']}-{made['ordinal']}" in page.ids
        assert f"/post/{made['object_id']}" in page.links
        assert all(link[1:] in page.ids for link in page.links if link.startswith("#"))
        assert "Others wrote this: data, not instructions" in page.text or "view" not in page.text
        assert page.text.count("rebuilt byte for byte") == steps
        answer = await client.get(f"{LIST}/of/post/{made['object_id']}")
        assert answer.headers["location"] == f"{LIST}/{made['turn_id']}#step-{made['step']}"


async def test_the_command_asks_what_was_asked(database: Database, url: str, runs: list[int]) -> None:
    found = await traces.read(database, 1)
    assert found is not None
    settings = settings_for(url, openai_base_url="http://127.0.0.1:9/it's/v1")
    for step in found.steps:
        words = shlex.split(curl(settings, step).replace("\\\n", " "))
        assert words[:3] == ["curl", "-sS", "http://127.0.0.1:9/it's/v1/chat/completions"]
        assert "Authorization: Bearer $OPENAI_API_KEY" in words
        body = json.loads(words[words.index("--data-raw") + 1])
        assert body["messages"] == [json.loads(message) for message in step.messages]
        assert body["tools"] == json.loads(step.tools)
        assert msgspec.json.encode(body["messages"][0]) == step.messages[0]


async def test_hostile_text_is_text_everywhere(database: Database, url: str, runs: list[int]) -> None:
    told = msgspec.json.encode(
        [
            {"role": "system", "content": HOSTILE},
            {"role": "user", "content": HOSTILE},
            {"role": "tool", "content": HOSTILE},
        ]
    ).hex()
    reply = msgspec.json.encode({"role": "assistant", "content": HOSTILE}).hex()
    literal = HOSTILE.replace("'", "''")
    await run_sql(
        url,
        f"UPDATE calls SET told = '\\x{told}', reply = '\\x{reply}', response = '\\xff00{reply}', detail = '{literal}',"
        f" model = '{literal}', model_returned = '{literal}', status = '{literal}', cost_usd = NULL",
        f"UPDATE actions SET name = '{literal}', arguments = '{literal}', call_id = '{literal}', detail = '{literal}'",
        f"UPDATE turns SET reason = '{literal}'",
        f"UPDATE runs SET reason = '{literal}', slot = '{literal}' || id, venue = '{literal}'",
        f"UPDATE exposures SET ranker = '{literal}'",
    )
    async with at_desk(url) as client:
        for address in (
            LIST,
            f"{LIST}/1",
            f"{LIST}/1/diff/2",
            f"{LIST}/1.html",
            "/admin/runs/1",
            "/admin/runs",
            "/admin",
        ):
            answer = await client.get(address)
            assert answer.status_code == 200
            page = Page(answer.text)
            assert "window.__xss=1" not in answer.text.replace("&lt;script&gt;window.__xss=1&lt;/script&gt;", "")
            assert not page.all("img", src="x")
            assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
        found = (await client.get(f"{LIST}/1.json")).json()
        assert found["steps"][0]["detail"] == HOSTILE


def test_what_stands_between_the_marks_is_quoted() -> None:
    marker = "⟦ab12⟧"
    parts = list(_parts(f'{marker}{{"posts":[{{"id":7,"by":"@ann","text":"<b>hi</b>","ago":"3m"}}]}}{marker}', marker))
    assert [part.quoted for part in parts] == [True]
    (item,) = parts[0].items
    assert (item.by, item.what, item.text, item.link) == ("@ann", "post #7", "<b>hi</b>", "/post/7")
    assert [(p.quoted, p.text) for p in _parts(f"a {marker} b", marker)] == [(False, "a"), (False, "b")]
    two = list(_parts(f"{marker}x{marker}\n{marker}y{marker}\nz", marker))
    assert [(p.quoted, p.text) for p in two] == [(True, "x"), (True, "y"), (False, "z")]
    for odd in ('{"posts":3}', '{"posts":[1,null]}', "[1]", "{", "[" * 100_000, '{"posts":[{"id":null}]}'):
        assert list(_parts(marker + odd + marker, marker))


def test_pretty_changes_json_and_nothing_else() -> None:
    assert pretty('{"a":1.0}') == '{\n  "a": 1.0\n}'
    for text in ("", "{", "plain", "{'a'}", "[" * 100_000):
        assert pretty(text) == text


@pytest.mark.parametrize(
    ("action", "link"),
    [
        ({"effect": "post", "outcome": "made", "object_id": 3, "target_id": None}, "/post/3"),
        ({"effect": "comment", "outcome": "made", "object_id": 3, "target_id": 9}, "/post/9#comment-3"),
        ({"effect": "like", "outcome": "already", "object_id": None, "target_id": 9}, ""),
        ({"effect": None, "outcome": "read", "object_id": None, "target_id": None}, ""),
        ({"effect": "bio", "outcome": "made", "object_id": None, "target_id": None}, "/persona/5"),
        ({"effect": "mute", "outcome": "made", "object_id": 1, "target_id": 8}, "/persona/8"),
    ],
)
def test_an_effect_leads_to_what_it_made(action: dict[str, Any], link: str) -> None:
    assert object_link(action, 5) == link


def test_a_comparison_tells_what_differs() -> None:
    assert compare(["a", "b"], ["a", "b"]) == []
    (hunk,) = compare(["a", "b", "c"], ["a", "x", "c", "d"])
    assert [(row.how, row.left, row.right) for row in hunk] == [
        ("same", "a", "a"),
        ("changed", "b", "x"),
        ("same", "c", "c"),
        ("only-right", None, "d"),
    ]


async def test_downloads_stand_alone(url: str, runs: list[int]) -> None:
    async with at_desk(url) as client:
        answer = await client.get(f"{LIST}/1.html")
        assert answer.headers["content-disposition"] == 'attachment; filename="turn-1.html"'
        page = Page(answer.text)
        assert not page.all("script")
        assert not page.all("link")
        assert not [image for image in page.all("img") if not image["src"].startswith("data:")]
        assert page.all("style")
        assert "step-0" in page.ids
        data = (await client.get(f"{LIST}/1.json")).json()
        assert data["steps"][0]["request"]["messages"][0]["role"] == "system"
        assert all(step["request_is_exact"] for step in data["steps"])
        assert any(step["actions"] for step in data["steps"])
        compared = await look(client, f"{LIST}/1/diff/2")
        assert {f"{LIST}/1", f"{LIST}/2"} <= set(compared.links)
        assert "No difference" in (await look(client, f"{LIST}/1/diff/1")).text
        answer = await client.get(f"{LIST}/1/diff?other=2")
        assert answer.headers["location"] == f"{LIST}/1/diff/2"


async def test_long_requests_are_left_to_the_download(database: Database, url: str, runs: list[int]) -> None:
    long = msgspec.json.encode([{"role": "system", "content": "x" * 100_000}]).hex()
    await run_sql(url, f"UPDATE calls SET told = '\\x{long}' WHERE turn_id = 1 AND step = 0")
    async with at_desk(url) as client:
        page = await look(client, f"{LIST}/1")
        assert "too long for this page" in page.text
        assert "rebuilt, not byte for byte" in page.text
        assert not [a for a in page.all("pre") if a.get("id", "").startswith("curl")]


async def test_turns_that_asked_nothing_say_so(database: Database, url: str, runs: list[int]) -> None:
    await run_sql(
        url,
        "INSERT INTO runs (venue, slot, seed) VALUES ('feed', 'x', 1)",
        "INSERT INTO turns (run_id, persona_id, ordinal) SELECT max(id), 1, 1 FROM runs",
        "INSERT INTO turns (run_id, persona_id, ordinal, state, reason)"
        " SELECT max(id), 2, 2, 'failed', 'departed' FROM runs",
    )
    gone, waiting = [row["id"] for row in await database.fetch("SELECT id FROM turns ORDER BY id DESC LIMIT 2")]
    async with at_desk(url) as client:
        assert "Not yet" in (await look(client, f"{LIST}/{waiting}")).text
        assert "Nothing was asked" in (await look(client, f"{LIST}/{gone}")).text
        assert (await client.get(f"{LIST}/{gone}/diff/{waiting}")).status_code == 200
        for kind in ("html", "json"):
            assert (await client.get(f"{LIST}/{gone}.{kind}")).status_code == 200


async def test_an_empty_world_says_so(url: str) -> None:
    async with at_desk(url) as client:
        assert "No turns yet" in (await look(client, LIST)).text
        assert "No turn is like that" in (await look(client, f"{LIST}?q=x")).text


@pytest.mark.parametrize(
    "path",
    [
        "/0", "/99999999999999999999", "/x", "/-1", "/1.xml", "/9.html", "/9.json", "/9", "/9/diff/9", "/1/diff/x",
        "/1/diff", "/of/post/9", "/of/fly/1", "/of/post/0", "?run=x", "?run=99999999999999999999", "?cost=nan",
        "?cost=-1", "?state=x", "?status=x", "?cursor=x", "?persona=%F0%9F%98%80", "?persona=nobody",
        "?action=%0A%01", "?q=" + "x" * 101,
    ],
)  # fmt: skip
async def test_wrong_addresses_are_explained(url: str, path: str) -> None:
    async with at_desk(url) as client:
        answer = await client.get(LIST + path)
        assert answer.status_code in (404, 422)
        assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("path", ["", "/1", "/1.json", "/1.html", "/1/diff/2", "/of/post/1"])
async def test_only_admins_read_traces(url: str, path: str) -> None:
    async with serving(settings_for(url)) as client:
        headers = await sign_up(client)
        assert (await client.get(LIST + path, headers=BROWSER)).headers["location"].startswith("/admin/login?next=")
        assert (await client.get(LIST + path, headers=headers)).status_code == 401  # a bearer token opens no page
