"""H10–H15, H20: hostile values in every place of every operation, taken from the OpenAPI document."""

import base64
import hmac
import json
import math
import re
import unicodedata
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import asyncpg
import httpx2
import pytest

from app import strict_json
from app.auth import passwords
from app.web import inputs
from app.world import text
from tests.conftest import PASSWORD, SECRET, copy_of, run_sql, serving, settings_for, sign_in, sign_up
from tests.web.test_contract import populate
from tests.web.test_edge import assert_problem

PERSONA = {
    "username": "carol",
    "description": "likes maps",
    "bio": "b",
    "display_name": "Carol",
    "role": "r",
    "style": "s",
    "leaning": "l",
    "model": "scripted",
    "traits": ["t"],
    "goals": ["g"],
    "interests": ["i"],
    "fragments": ["f"],
    "demographics": {"town": "Ulm"},
    "temperature": 1.0,
    "activity": 0.5,
    "status": "active",
}
STUDY = {
    "title": "t",
    "arms": {"a": {"prompt_template": "p", "weight": 1}},
    "repeat": 1,
    "strata": "q",
    "cast": [{"name": "n", "description": "d", "bio": "b", "role": "r", "traits": ["t"], "model": "scripted"}],
    "pace": {"messages_per_minute": 5.0},
    "model": "scripted",
    "temperature": 1.0,
    "disclosure": "delayed",
    "ethics_reference": "e",
    "debrief_text": "d",
    "consent": "page",
    "consent_text": "c",
    "withdrawal": ["erase"],
    "contact": "c",
    "intake": [{"id": "q", "text": "?", "kind": "single", "options": ["a", "b"]}],
    "closing": [{"id": "r", "text": "?", "kind": "likert", "low": "l", "high": "h"}],
    "redirect": {"completion": "https://example.org/", "leave": "https://example.org/"},
    "completion_code": "c",
    "params": ["p"],
    "retention_days": 1,
    "token_reusable_before_first_message": False,
    "origins": ["https://example.org"],
}
ONCE = {"cycle": 1, "note": "n"}
PLANS = [
    {"kind": "post", **ONCE, "persona": "ann", "title": "t", "body": "b"},
    {"kind": "message", **ONCE, "to": ["bob"], "from": "ann", "body": "b"},
    {"kind": "message", **ONCE, "to": {"tag": "maps"}, "sender": "s", "body": "b"},
    {"kind": "ranker", **ONCE, "to": {"leaning": "l"}, "ranker": "own", "who_to_follow": "off"},
    {"kind": "pause", **ONCE, "to": "all"},
    {"kind": "resume", "at": "2998-01-01T08:00", "note": "n", "to": "all"},
    {"kind": "news", **ONCE, "title": "t", "body": "b", "source": "s", "url": "https://example.org/"},
]
NEWS = {
    "title": "t",
    "text": "t",
    "source": "s",
    "url": "https://example.org/",
    "published_at": "2026-03-02T08:00:00Z",
    "guid": "g",
}
TERMS = {"seed": 1, "model": "scripted", "temperature": 1.0, "max_tokens": 500, "budget_tokens": 1, "budget_usd": 1.0}
FIELD = {"name": "reason", "type": "category", "hint": "h", "options": ["a", "b"]}
EXTRACTION = {
    "extraction_objective": "o",
    "situation": "s",
    "fields": [FIELD, {"name": "n", "type": "number", "least": 0}],
    "fields_hints": {"reason": "h"},
    "per": "run",
    "repetitions": 2,
}
SIMULATION = {
    "session_config": {"session_name": "n", "cache_file": "c", "description": "d"},
    "participants": {"mode": "custom", "specifications": ["ann", {"username": "eve", "description": "d"}]},
    "simulation_config": {"environment_type": "survey", "rounds": 2, "enable_memory": True},
    "stimulus": {"type": "product", "content": "c", "context": "x"},
    "questions": [
        {"key": "a", "type": "single", "text": "t", "options": ["a", "b"], "shuffle": False},
        {"key": "b", "type": "matrix", "text": "t", "rows": ["r"], "low": "l", "high": "h", "points": 3},
        {"key": "c", "type": "number", "text": "t", "unit": "u", "when": {"question": "a", "among": ["b"]}},
    ],
    "extraction_config": EXTRACTION,
    "checks": ["fluency"],
    "terms": TERMS,
}
DIALOGUE = {
    "name": "n",
    "channel": "c",
    "bots": [
        {"name": "A", "persona": "ann", "model": "scripted", "options": {"temperature": 1.0, "stop": ["s"]}},
        {"name": "B", "prompt": "p"},
    ],
    "seed_message": {"from": "H", "message": "m"},
    "initial_bot": "A",
    "turn_taking": "moderated",
    "moderator": "rule",
    "window": 5,
    "stop": {"turns": 2, "phrase": "p"},
    "checks": ["repetition"],
    "terms": TERMS,
}
POPULATION = {
    "demographics": {"title": "t", "marginals": {"age": {"18-29": 1}, "region": {"r": 1}}},
    "size": 2,
    "seed": 1,
    "method": "quasi",
    "into_world": False,
    "written": True,
    "terms": TERMS,
}
EXPERIMENT = {
    "name": "n",
    "venue": "feed",
    "world": "nowhere",
    "setting": {"cycles": 1, "prompt": "p", "cast": {"add": [{"username": "eve", "description": "d"}]}},
    "variants": {"a": {"ranker": "latest"}, "b": {"interventions": [PLANS[-1]]}},
    "runs": 2,
    "hypotheses": ["h"],
    "analysis": "a",
    "outcomes": {"primary": ["density"], "control": "a"},
    "exclude": [{"outcome": "density", "above": 1.0}],
}
DATASET = {
    "kind": "world",
    "about": "nowhere",
    "tables": ["posts"],
    "formats": ["csv"],
    "pseudonyms": "names",
    "title": "t",
    "description": "d",
    "licence": "l",
}
PEOPLE = {"outcome": "density", "name": "n", "values": {"a=b": [1.0, {"value": 2.0, "persona": "p"}]}, "note": "n"}
TOKENS = {"count": 1, "arm": "a", "labels": ["l"]}
BODIES: dict[str, dict[str, Any]] = {
    "register": {
        "username": "dora",
        "email": "d@example.org",
        "password": PASSWORD,
        "invite_token": "no",
        "bootstrap_token": "no",
    },
    "login": {
        "username": "ada",
        "password": "a wrong guess",
        "totp": "123456",
        "grant_type": "password",
        "scope": "",
        "client_id": "",
    },
    "change_password": {"old_password": "a wrong guess", "new_password": "another long password"},
    "invite": {"email": "guest@example.org", "role": "observer"},
    "set_role": {"role": "admin"},
    "create_key": {"name": "ci", "days": 90},
    "create_persona": PERSONA,
    "replace_persona": PERSONA,
    "update_persona": PERSONA,
    "set_interval": {"interval": 5},
    "set_halt": {"halted": False},
    "set_quarantine": {"quarantined": False, "reason": "r", "cascade": False},
    "set_comment_quarantine": {"quarantined": False, "reason": "r", "cascade": False},
    "close_reports": {"verdict": "dismissed", "reason": "r"},
    "give_memory": {"body": "You grew up by the sea.", "importance": 0.8},
    "publish_news": {"items": [NEWS]},
    "plan_interventions": {"interventions": PLANS, "relative": False},
    "make_world": {"name": "try", "kind": "fork", "source": "home", "via": "auto", "note": "n"},
    "create_study": {"name": "n", "seed": 1, "design": STUDY},
    "validate_study": STUDY,
    "replace_study_design": STUDY,
    "make_study_tokens": TOKENS,
    "make_study_link_sheet": TOKENS,
    "notify_study_room": {"text": "x"},
    "extend_study_room": {"minutes": 5},
    "run_simulation": SIMULATION,
    "run_dialogue": DIALOGUE,
    "make_simulation_checkpoint": {"name": "n"},
    "make_dialogue_checkpoint": {"name": "n"},
    "recover_simulation": {"checkpoint": "n"},
    "recover_dialogue": {"checkpoint": "n"},
    "extract_simulation": {"extraction_config": EXTRACTION, "terms": TERMS},
    "extract_dialogue": {"extraction_config": EXTRACTION, "terms": TERMS},
    "plan_experiment": EXPERIMENT,
    "estimate_experiment": EXPERIMENT,
    "amend_experiment": {"design": {"name": "n", "hypotheses": ["h"]}, "note": "n"},
    "resume_experiment": {"budget_tokens": 1, "budget_usd": 1.0, "failed": True},
    "exclude_trial": {"reason": "r"},
    "attach_reference": PEOPLE,
    "build_dataset": DATASET,
    "publish_dataset": {"doi": "10.5281/zenodo.1"},
    "generate_population": POPULATION,
    "ground_persona": {"passages": ["p"], "name": "n", "terms": TERMS},
    "rewrite_text": {"text": "t", "wish": "w", "name": "n", "terms": TERMS},
    "write_document": {"of": "k3v9mq2xw7ab", "genre": "report", "title": "t", "wish": "w", "terms": TERMS},
}
"""A body for each operation that takes one: complete, and right but for what `REFUSED` says."""

SESSIONS: dict[str, dict[str, Any]] = {
    "start_session": {"token": "no", "username": "x"},
    "like_message": {"user": "x"},
    "report_message": {"user": "x", "block": True, "reason": "x"},
    "withdraw": {"receipt": "no", "kept": "erase"},
    "read_own_data": {"receipt": "no"},
}
"""The same for participants' clients, some of them another system's: what is not named is left out of account."""

TELL_401 = frozenset({"login", "start_session", "withdraw", "read_own_data"})
"""Operations of everybody that ask for something to be known: a password, a token, a receipt."""

PUBLIC = frozenset(
    {
        "root",
        "list_posts",
        "read_feed",
        "list_posts_page",
        "read_post",
        "list_comments",
        "read_persona",
        "list_relations",
        "list_news",
        "list_trends",
        "search",
    }
    | {"register", "login", "livez", "readyz"}
    | {*SESSIONS, "give_receipt"}
)
JSON = {"Content-Type": "application/json"}


@dataclass
class Operation:
    id: str
    method: str
    path: str
    parameters: list[dict[str, Any]]
    secured: bool
    answers: set[str]

    def url(self, query: str = "", **values: str) -> str:
        """Its address: path parameters are 1 or `ann` unless given (already quoted)."""
        filled = self.path
        for parameter in self.named("path"):
            name = parameter["name"]
            usual = "1" if parameter["schema"].get("type") == "integer" else "ann"
            filled = filled.replace("{" + name + "}", values.get(name, usual))
        needed = "relation=follower" if self.id == "list_relations" and "relation=" not in query else ""
        joined = "&".join(filter(None, (needed, query)))
        return f"{filled}?{joined}" if joined else filled

    @property
    def addressed(self) -> list[dict[str, Any]]:
        """The parameters that stand in the address. A wrong `Prefer` is left out of account, as RFC 7240 has it."""
        return [*self.named("path"), *self.named("query")]

    def named(self, where: str) -> list[dict[str, Any]]:
        return [parameter for parameter in self.parameters if parameter["in"] == where]


@dataclass
class House:
    client: httpx2.AsyncClient
    admin: dict[str, str]
    url: str
    operations: dict[str, Operation]
    sent: list[int] = field(default_factory=list)

    async def ask(self, operation: Operation, address: str, **more: Any) -> httpx2.Response:
        headers = {**self.admin, **more.pop("headers", {})}
        answer = await self.client.request(operation.method, address, headers=headers, **more)
        self.sent.append(answer.status_code)
        assert answer.status_code < 500, (operation.id, address[:200], str(more)[:300], answer.text[:300])
        if answer.status_code >= 400:
            assert_problem(answer, answer.status_code)
        if "there is nothing at" not in answer.text:
            assert str(answer.status_code) in operation.answers, (operation.id, "does not document", answer.status_code)
        return answer

    async def snapshot(self) -> dict[str, str]:
        """A digest of every table but those that count attempts and sessions."""
        connection = await asyncpg.connect(self.url)
        names = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        digest = "SELECT count(*) || ':' || coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') FROM {} t"
        try:
            tables = [row[0] for row in names if row[0] not in ("login_attempts", "admin_sessions")]
            return {name: await connection.fetchval(digest.format(f'"{name}"')) for name in tables}
        finally:
            await connection.close()


def read_operations(document: dict[str, Any]) -> dict[str, Operation]:
    found = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if operation["operationId"] in ("read_events", "read_metrics"):
                continue  # test_events.py has hostile values for what has no end, test_metrics.py asks as strangers do
            found[operation["operationId"]] = Operation(
                operation["operationId"],
                method.upper(),
                path,
                [_plain(parameter) for parameter in operation.get("parameters", [])],
                bool(operation.get("security")),
                set(operation["responses"]),
            )
    return found


def _plain(parameter: dict[str, Any]) -> dict[str, Any]:
    """A parameter whose schema is no choice with null."""
    options = [one for one in parameter["schema"].get("anyOf", []) if one.get("type") != "null"]
    return {**parameter, "schema": options[0]} if options else parameter


@pytest.fixture(scope="module")
async def house(server_url: str, template: str) -> AsyncIterator[House]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_verify", lambda password, stored: stored is not None and password == PASSWORD)
        async with copy_of(server_url, template) as url, serving(settings_for(url, **GENEROUS)) as client:
            await populate(url)
            admin = await sign_up(client)
            document = (await client.get("/openapi.json")).json()
            yield House(client, admin, url, read_operations(document))


GENEROUS = {"login_attempts_per_account": 10**9, "login_attempts_per_ip": 10**9}


@pytest.fixture
async def unchanged(house: House) -> AsyncIterator[None]:
    """Nothing of what the test asks for changes the database."""
    before = await house.snapshot()
    yield
    assert await house.snapshot() == before


def test_every_operation_with_a_body_has_one_here(house: House) -> None:
    assert {one.id for one in house.operations.values() if "415" in one.answers} == BODIES.keys() | SESSIONS.keys()


# Numbers

WHOLE = [
    "0", "-1", "-0", "00", "01", "+1", " 1", "1 ", "1.0", "1.", ".5", "1e3", "1e30", "0x10", "0b1", "1_000", "1,000",
    str(2**63), str(2**64), "9" * 5_000, "1" + "0" * 19, "１", "١", "²", "½", "NaN", "Infinity", "null", "true", "[]",
    "1;2", "1'", "1--", "\t1", "1\n", "\u200b1", "\ufeff1", "a", "%31x",
]  # fmt: skip


@pytest.mark.usefixtures("unchanged")
async def test_h13_h14_ids_limits_and_pages(house: House) -> None:
    for operation in house.operations.values():
        for parameter in operation.addressed:
            if parameter["schema"].get("type") != "integer":
                continue
            name = parameter["name"]
            values = WHOLE + (["101", str(10**9)] if name in ("limit", "page") else [])
            for value in values:
                quoted = quote(value, safe="")
                in_path = parameter["in"] == "path"
                address = operation.url(**{name: quoted}) if in_path else operation.url(f"{name}={quoted}")
                body = BODIES.get(operation.id) or SESSIONS.get(operation.id)
                answer = await house.ask(operation, address, **({"json": body} if body else {}))
                assert answer.status_code == 422, (operation.id, name, value, answer.status_code)
                assert name in answer.json()["detail"]
    assert len(house.sent) > 500


async def test_h13_the_largest_id_is_only_unknown(house: House) -> None:
    for path in ("/post/", "/persona/", "/personas/"):
        answer = await house.client.get(f"{path}{2**63 - 1}", headers=house.admin)
        assert_problem(answer, 404)
        assert str(2**63 - 1) in answer.json()["detail"]


@pytest.mark.parametrize(
    "raw", [b"%FF", b"%C0%80", b"%ED%A0%80", b"%00", b"%2e%2e%2f", b"%0d%0aX:%20y", b"%u0000", b"%", b"%zz"]
)
@pytest.mark.usefixtures("unchanged")
async def test_h12_bytes_in_addresses(house: House, raw: bytes) -> None:
    odd = raw.decode()
    for operation in house.operations.values():
        if operation.id == "logout":
            continue
        for parameter in operation.addressed:
            name = parameter["name"]
            in_path = parameter["in"] == "path"
            address = operation.url(**{name: odd}) if in_path else operation.url(f"{name}={odd}")
            body = BODIES.get(operation.id) or SESSIONS.get(operation.id)
            answer = await house.ask(operation, address, **({"json": body} if body else {}))
            if name not in ("q", "username"):
                assert answer.status_code in (404, 405, 422), (operation.id, name, answer.status_code)


# Cursors


async def first_cursor(house: House, path: str) -> str:
    answer = await house.client.get(path)
    return str(re.search(r"cursor=([\w-]+)", answer.headers["link"])[1])  # type: ignore[index]


PAGED = (
    "/posts?limit=2",
    "/posts?limit=2&sort=hot",
    "/posts?limit=2&sort=top",
    "/feed?limit=2",
    "/posts/1/comments?limit=1",
)


@pytest.mark.parametrize("path", PAGED)
async def test_h14_cursors_are_ours_or_refused(house: House, path: str) -> None:
    cursor = await first_cursor(house, path)
    assert (await house.client.get(f"{path}&cursor={cursor}")).status_code == 200
    forged = [cursor[:n] for n in range(len(cursor))]
    forged += [cursor[:n] + ("A" if cursor[n] != "A" else "B") + cursor[n + 1 :] for n in range(len(cursor))]
    forged += [cursor + cursor, cursor[::-1], "A" * 400, "A" * 401, "=" * 8, "%00", "%F0%9F%98%80", "null", "[1,2]"]
    for position in ([math.inf], [10**30], [-1, None], ["'"], [None], [], {"id": 1}, [1, 2, 3, 4]):
        payload = json.dumps(position).encode()
        forged.append(base64.urlsafe_b64encode(b"\0" * 16 + payload).decode().rstrip("="))
    forged += [inputs.sign_cursor("another secret", ("posts", "latest", None), (1, None))]
    forged += [inputs.sign_cursor(SECRET, ("another list",), (1, None))]
    spare = 0
    for one in forged:
        answer = await house.client.get(f"{path}&cursor={one}")
        if answer.status_code == 200 and one[:-1] == cursor[:-1]:
            spare += 1  # the last character's spare bits carry nothing
            continue
        assert_problem(answer, 422)
        assert "cursor" in answer.json()["detail"] or one == "%00"
    assert spare <= 1
    for other in PAGED:
        if other != path:
            assert_problem(await house.client.get(f"{other}&cursor={cursor}"), 422)


async def test_h14_control_without_the_seal_a_forged_cursor_is_taken(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    forged = inputs.sign_cursor("another secret", ("posts", "latest", None), (2, None))
    assert_problem(await house.client.get(f"/posts?cursor={forged}"), 422)
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: True)
    answer = await house.client.get(f"/posts?cursor={forged}")
    assert [post["id"] for post in answer.json()["posts_found"]] == [1]


# Bodies


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each string in a body."""
    if isinstance(value, str):
        yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def with_value(body: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    key, *rest = path
    copy = dict(body) if isinstance(body, dict) else list(body)
    copy[key] = with_value(body[key], tuple(rest), value)
    return copy


ESCAPES = ["\\u0000", "a\\u0000b", "\\ud800", "\\udc00\\ud800", "\\u001b[2J", "\\u0085", "\\u007f"]
HASHED = ("password", "old_password", "new_password", "bootstrap_token", "invite_token")
UNUSED = ("grant_type", "scope", "client_id")


@pytest.mark.usefixtures("unchanged")
async def test_h11_h12_characters_in_every_string_of_every_body(house: House) -> None:
    asked = 0
    for name, body in BODIES.items():
        operation = house.operations[name]
        for path in places(body):
            for escape in ESCAPES:
                content = json.dumps(with_value(body, path, "@@")).replace("@@", escape)
                if name == "register" or path[0] not in (*HASHED, *UNUSED):
                    answer = await house.ask(operation, operation.url(), content=content.encode(), headers=JSON)
                    allowed = (403, 422) if path[0] in HASHED else (422,)
                    assert answer.status_code in allowed, (name, path, escape, answer.status_code)
                    asked += 1
    assert asked > 200


async def test_h11_control_the_database_itself_refuses_them_too_late(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "_FORBIDDEN", re.compile("(?!)"))
    body = {**PERSONA, "description": "a\0b"}
    answer = await house.client.post("/personas", json=body, headers=house.admin)
    assert_problem(answer, 500)


RAW = {
    "empty object": b"{}",
    "null": b"null",
    "list": b"[]",
    "string": b'"x"',
    "number": b"1",
    "cut": b'{"username": "x',
    "two values": b"{} {}",
    "comment": b"{} // x",
    "trailing comma": b'{"a": 1,}',
    "single quotes": b"{'a': 1}",
    "NaN": b'{"interval": NaN, "temperature": NaN}',
    "Infinity": b'{"interval": Infinity}',
    "-Infinity": b'{"interval": -Infinity}',
    "1e999": b'{"interval": 1e999}',
    "-1e999": b'{"interval": -1e999}',
    "repeated key": b'{"interval": 5, "interval": 6}',
    "repeated deep": b'{"demographics": {"a": 1, "a": 2}}',
    "depth 33": b"[" * 33 + b"]" * 33,
    "depth 900": b'{"a":' * 900 + b"1" + b"}" * 900,
    "depth 100k": b"[" * 100_000,
    "depth 100k closed": b"[" * 100_000 + b"]" * 100_000,
    "5,000 digits": b'{"interval": ' + b"9" * 5_000 + b"}",
    "5,000 digits, fraction": b'{"interval": 0.' + b"9" * 5_000 + b"}",
    "250,000 digits": b'{"interval": ' + b"9" * 250_000 + b"}",
    "invalid UTF-8": b'{"username": "\xff\xfe"}',
    "overlong": b'{"username": "\xc0\x80\xc1\xbf"}',
    "surrogate in UTF-8": b'{"username": "\xed\xa0\x80"}',
    "beyond Unicode": b'{"username": "\xf4\x90\x80\x80"}',
    "cut UTF-8": b'{"username": "\xe2\x82"}',
    "BOM": b'\xef\xbb\xbf{"interval": 5}',
    "UTF-16": '{"interval": 5}'.encode("utf-16"),
    "UTF-16-LE": '{"interval": 5}'.encode("utf-16-le"),
    "UTF-32": '{"interval": 5}'.encode("utf-32"),
    "NUL": b"\0",
    "NUL inside": b'{"interval": 5}\0',
    "raw control": b'{"username": "a\x01b"}',
    "lone surrogate key": b'{"\\ud800": 1}',
    "NUL key": b'{"\\u0000": 1}',
    "long key": b'{"' + b"k" * 200_000 + b'": 1}',
    "many keys": json.dumps({f"k{n}": n for n in range(10_000)}).encode(),
    "spaces": b" " * 200_000,
    "quotes": b'"' * 200_001,
    "backslashes": b'"' + b"\\" * 200_001,
    "prototype": b'{"__proto__": {"is_admin": true}, "constructor": 1}',
}


@pytest.mark.usefixtures("unchanged")
async def test_bodies_of_participants_clients(house: House) -> None:
    """Whatever they send, and whatever stands in each field: a problem, and nothing changes."""
    allowed = (400, 401, 403, 404, 413, 422, 429)
    for name, body in SESSIONS.items():
        operation = house.operations[name]
        for content in RAW.values():
            answer = await house.ask(operation, operation.url(), content=content, headers=JSON)
            assert answer.status_code in allowed, (name, content[:40], answer.status_code)
        for key in body:
            for value in WRONG:
                answer = await house.ask(operation, operation.url(), json={**body, key: value, "more": value})
                assert answer.status_code in allowed, (name, key, value, answer.status_code)
            for escape in ESCAPES:
                content = json.dumps({**body, key: "@@"}).replace("@@", escape).encode()
                answer = await house.ask(operation, operation.url(), content=content, headers=JSON)
                assert answer.status_code in allowed, (name, key, escape, answer.status_code)


@pytest.mark.parametrize("kind", RAW)
@pytest.mark.usefixtures("unchanged")
async def test_h12_h15_bodies(house: House, kind: str) -> None:
    for name in BODIES:
        operation = house.operations[name]
        answer = await house.ask(operation, operation.url(), content=RAW[kind], headers=JSON)
        assert answer.status_code in (400, 422), (name, answer.status_code)
        assert len(answer.content) < 20_000


async def test_h15_control_a_lenient_reader_takes_the_last_of_two_keys(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, headers = RAW["repeated key"], {**house.admin, **JSON}
    assert_problem(await house.client.put("/scheduler/interval", content=body, headers=headers), 400)
    monkeypatch.setattr(strict_json, "loads", json.loads)
    assert (await house.client.put("/scheduler/interval", content=body, headers=headers)).status_code == 204
    assert (await house.client.get("/scheduler/interval", headers=house.admin)).json()["interval"] == 6


async def test_h15_depth_32_is_not_too_deep(house: House) -> None:
    answer = await house.client.post("/personas", content=b"[" * 32 + b"]" * 32, headers={**house.admin, **JSON})
    assert_problem(answer, 422)


WRONG: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1.5,
    1e308,
    10**30,
    "",
    " ",
    "\n",
    [],
    {},
    [[]],
    [None],
    "x" * 9_000,
    "é" * 9_000,
]


@pytest.mark.usefixtures("unchanged")
async def test_l19_wrong_types_in_every_field(house: House) -> None:
    """Values of a wrong type, empty or too long; where one is right, another field is wrong."""
    for name, body in BODIES.items():
        operation = house.operations[name]
        for key in body:
            for value in WRONG:
                wrong = {**body, key: value, "no_such_field": 1}
                answer = await house.ask(operation, operation.url(), json=wrong)
                assert answer.status_code == 422, (name, key, value)


def test_l19_a_heap_of_combining_marks_is_refused_before_it_is_sorted(monkeypatch: pytest.MonkeyPatch) -> None:
    """NFC takes quadratic time in them: 128,000 of them half a minute."""
    normalized: list[str] = []

    def normalize(form: str, value: str) -> str:
        normalized.append(value)
        return value

    monkeypatch.setattr(unicodedata, "normalize", normalize)
    with pytest.raises(Exception, match="combining marks"):
        text.clean("a" + "\u0315\u0316" * 60_000)
    assert normalized == []
    assert text.clean("a" + "\u0315" * text.MARKS_MAX)
    assert normalized


def test_l26_text_round_trips() -> None:
    for good in ("é", "e\u0301", "한국어", "👩‍👩‍👧‍👦", "שלום", "a\tb\nc", "\u202eabc\u202c", "क्षि", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍"[:20]):
        assert text.clean(good) == unicodedata.normalize("NFC", good)
        assert text.clean(text.clean(good)) == text.clean(good)


# SQL

STARTS = ["'", '"', "')", "'))", "\\'", "1", "%27", "' OR ''='", "$1", "`"]
MIDDLES = [
    " OR 1=1",
    " OR '1'='1",
    "; DROP TABLE posts",
    "; SELECT pg_sleep(30)",
    " UNION SELECT username, password_hash FROM admin",
    "||(SELECT password_hash FROM admin LIMIT 1)||",
    " AND 1=CAST((SELECT version()) AS int)",
    "; UPDATE admin SET disabled_at = now()",
    "; COPY (SELECT 1) TO PROGRAM 'id'",
    "::int",
]
ENDS = ["--", "/*", "#"]
SQL = [start + middle + end for start in STARTS for middle in MIDDLES for end in ENDS]


def lists_in(body: Any) -> list[list[Any]]:
    """The lists of what was found: an answer that is one, or each that it holds."""
    lists = [body] if isinstance(body, list) else [value for value in body.values() if isinstance(value, list)]
    assert lists, body
    return lists


@pytest.mark.usefixtures("unchanged")
async def test_h10_sql_in_parameters(house: House) -> None:
    everything = len((await house.client.get("/feed?q=post&limit=100")).json()["data"])
    assert everything == 45
    for operation in house.operations.values():
        if operation.id == "logout":
            continue
        for parameter in operation.addressed:
            name = parameter["name"]
            searched = name in ("q", "username")
            for attack in SQL if searched else SQL[::7]:
                quoted = quote(attack, safe="")
                in_path = parameter["in"] == "path"
                address = operation.url(**{name: quoted}) if in_path else operation.url(f"{name}={quoted}")
                body = BODIES.get(operation.id) or SESSIONS.get(operation.id)
                answer = await house.ask(operation, address, **({"json": body} if body else {}))
                if name == "q":
                    assert answer.status_code == 200, (operation.id, attack, answer.status_code)
                    assert max(map(len, lists_in(answer.json()))) < 2, (operation.id, attack)
                else:
                    assert answer.status_code in (404, 422), (operation.id, name, attack, answer.status_code)


@pytest.mark.usefixtures("unchanged")
async def test_h10_sql_in_what_signs_in(house: House) -> None:
    login = house.operations["login"]
    for attack in SQL:
        answer = await house.ask(login, login.url(), json={"username": attack, "password": attack})
        assert answer.status_code == 401, attack
    for name in ("register", "invite", "change_password"):
        operation, body = house.operations[name], BODIES[name]
        for path in places(body):
            for attack in SQL[::11]:
                answer = await house.ask(operation, operation.url(), json=with_value(body, path, attack))
                assert answer.status_code in (403, 422), (name, path, attack)


async def test_h10_sql_in_a_persona_is_text(house: House) -> None:
    made = await house.client.post("/personas", json={**PERSONA, "username": "sqlbin"}, headers=house.admin)
    number = made.json()["persona_id"]
    before = await house.snapshot()
    for place in places(PERSONA):
        if place[0] in ("username", "status"):
            continue
        for attack in SQL[::9]:
            change = {place[0]: with_value(PERSONA, place, attack)[place[0]]}
            answer = await house.client.patch(f"/personas/{number}", json=change, headers=house.admin)
            assert answer.status_code == 200, answer.text
            assert answer.json()[place[0]] == change[place[0]]
    after = await house.snapshot()
    assert {name for name in before if before[name] != after[name]} <= {"personas", "persona_versions", "audit"}
    assert before["personas"].partition(":")[0] == after["personas"].partition(":")[0]
    await house.client.delete(f"/personas/{number}", headers=house.admin)


async def test_h10_control_pasted_into_sql_they_work(house: House) -> None:
    connection = await asyncpg.connect(house.url)
    attack = "' OR 1=1--"
    assert attack in SQL
    found = await connection.fetch(f"SELECT id FROM posts WHERE body = '{attack}'")
    await connection.close()
    assert len(found) == 45


# Who may do what, and with which fields


async def test_h20_who_may_do_what(house: House) -> None:
    """All operations by nobody, by garbage, by an expired token and by an admin: 401 for all but the public ones."""
    expired = (await sign_in(house.client))["Authorization"]
    await house.client.post("/auths/logout", headers={"Authorization": expired})
    before = await house.snapshot()
    strangers = [
        {},
        {"Authorization": "Bearer garbage"},
        {"Authorization": expired},
        {"Authorization": "Basic YWRhOmE="},
    ]
    strangers += [{"Authorization": house.admin["Authorization"][:-1]}, {"Cookie": house.admin["Authorization"]}]
    for operation in house.operations.values():
        assert operation.secured == (operation.id not in PUBLIC), operation.id
        assert ("401" in operation.answers) == (operation.secured or operation.id in TELL_401), operation.id
        of_sessions = operation.id in SESSIONS or operation.id == "give_receipt"
        for headers in strangers:
            for body in (b"", b"{}"):
                sent = {**headers, **(JSON if body else {})}
                answer = await house.client.request(operation.method, operation.url(), content=body, headers=sent)
                if operation.secured:
                    assert_problem(answer, 401)
                    assert answer.headers["www-authenticate"] == "Bearer"
                else:
                    allowed = (403, 404, 422) if of_sessions else (200, 422)
                    assert answer.status_code in allowed, (operation.id, answer.status_code)
    assert await house.snapshot() == before
    own = await sign_in(house.client)
    for operation in sorted(house.operations.values(), key=lambda one: one.id == "logout"):
        absent = {parameter["name"]: "999999" for parameter in operation.named("path")}
        body = b"{}" if "415" in operation.answers else b""
        address = operation.url(**absent)
        answer = await house.client.request(operation.method, address, content=body, headers={**own, **JSON})
        assert answer.status_code in (200, 204, 404, 422), (operation.id, answer.status_code)
    assert_problem(await house.client.get("/personas", headers=own), 401)


OWN = {"logout", "change_password", "create_key", "revoke_key"}
"""The unsafe operations that are an observer's too."""

PEOPLES = {"logout", "change_password", "create_key"}
"""What no API key may do."""


async def test_h20_what_observers_and_keys_may(house: House) -> None:
    """All operations by an observer, an admin's key and an observer's key: 403 for all that they may not change."""
    client = house.client
    wish = {"email": "olga@example.org", "role": "observer"}
    made = (await client.post("/auths/invitations", json=wish, headers=house.admin)).json()
    person = {"username": "olga", "email": "olga@example.org", "password": PASSWORD}
    registered = await client.post("/auths/register", json={**person, "invite_token": made["invite_token"]})
    assert registered.json()["admin_info"]["role"] == "observer"
    olga = await sign_in(client, "olga")

    async def key_of(headers: dict[str, str]) -> dict[str, str]:
        answer = await client.post("/auths/keys", json={"name": "ci"}, headers=headers)
        return {"Authorization": f"Bearer {answer.json()['key']}"}

    askers = [(olga, True, False), (await key_of(house.admin), False, True), (await key_of(olga), True, True)]
    for headers, observer, by_key in askers:
        before = await house.snapshot()
        for operation in sorted(house.operations.values(), key=lambda one: one.id == "logout"):
            absent = {parameter["name"]: "999999" for parameter in operation.named("path")}
            bodies = (b"{}", json.dumps(BODIES[operation.id]).encode()) if operation.id in BODIES else (b"",)
            safe = operation.method == "GET" or operation.id in PUBLIC
            barred = not safe and ((observer and operation.id not in OWN) or (by_key and operation.id in PEOPLES))
            if barred:
                assert "403" in operation.answers, operation.id
            for body in bodies if barred else bodies[:1]:
                sent = {**headers, **(JSON if body else {})}
                answer = await client.request(operation.method, operation.url(**absent), content=body, headers=sent)
                if barred:
                    assert_problem(answer, 403)
                else:
                    assert answer.status_code in (200, 204, 404, 422) or operation.id == "give_receipt", (
                        operation.id,
                        answer.status_code,
                        answer.text,
                    )
        after = await house.snapshot()
        assert {name for name in before if before[name] != after[name]} <= {"admin_keys"}, "its last use alone"
    assert_problem(await client.get("/personas", headers=olga), 401)


EXTRA = [
    "is_admin",
    "author_id",
    "created_at",
    "id",
    "persona_id",
    "posts_count",
    "password_hash",
    "__proto__",
    "",
    "Username",
]


@pytest.mark.usefixtures("unchanged")
async def test_h20_no_field_more_than_is_asked_for(house: House) -> None:
    for name, body in BODIES.items():
        operation = house.operations[name]
        for extra in EXTRA:
            answer = await house.ask(operation, operation.url(), json={**body, extra: True})
            assert answer.status_code == 422, (name, extra)
            pointers = [error["pointer"] for error in answer.json()["errors"]]
            assert f"/{extra}" in pointers, (name, extra, pointers)


async def test_errors_point_into_the_body(house: House) -> None:
    body = {**PERSONA, "traits": ["a", 5], "demographics": {"a/b~c": None, "town": {}}, "zz/y": 1}
    answer = await house.client.post("/personas", json=body, headers=house.admin)
    pointers = {error["pointer"] for error in answer.json()["errors"]}
    assert pointers == {"/traits/1", "/demographics/a~1b~0c", "/demographics/town", "/zz~1y"}


async def test_i3_after_all_this_counters_are_right(house: House) -> None:
    await run_sql(house.url, "SELECT 1")
    connection = await asyncpg.connect(house.url)
    wrong = await connection.fetch(
        """SELECT p.id FROM personas p WHERE p.posts_count <> (SELECT count(*) FROM posts WHERE author_id = p.id)
              OR p.followers_count <> (SELECT count(*) FROM follows WHERE followed = p.id)
              OR p.following_count <> (SELECT count(*) FROM follows WHERE follower = p.id)"""
    )
    await connection.close()
    assert wrong == []
    assert max(house.sent) < 500
    assert len(house.sent) > 4_000
