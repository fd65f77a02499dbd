"""Researchers' pages of studies: the builder without script, states, tokens told once, results, the monitor."""

import csv
import io
import json
import re
import zipfile
from collections.abc import AsyncIterator
from html import unescape
from typing import Any

import httpx2
import pytest

from app.auth import participants
from app.auth.tokens import digest
from app.db.engine import Database
from app.settings import load_settings
from app.venues.chatroom import studies
from app.venues.chatroom.design import StudyDesign
from app.venues.chatroom.export import toml
from app.web.pages import session
from app.web.pages.admin.persona_form import WrongFields
from app.web.pages.admin.study_form import FIELDS_MOST, ROWS, blank, design_in, fields_of
from app.web.pages.session import Viewer
from app.world import rooms
from tests.conftest import PASSWORD
from tests.taking_part import CANARY, DESIGN, Taker, open_study, take_part
from tests.web.pages.desk import Page, at_desk, csrf, look
from tests.web.pages.test_admin_access import enter, send, shown_token

HERE = "/admin/studies"
XSS = "<script>window.__xss=1</script>\"'><img src=x onerror=alert(1)>"
FULL: dict[str, Any] = {
    "title": "All keys",
    "arms": {
        "a.b": {"prompt_template": "Be kind.\n\nBe brief.", "weight": 2},
        "1": {"prompt_template": "Be curt."},
    },
    "repeat": 3,
    "strata": "city",
    "cast": [
        {"name": "Rita", "description": "Rita mends bicycles.", "bio": "b", "role": "r", "traits": ["dry", '"odd"']}
        | {"goals": ["g"], "style": "s", "interests": ["i"], "leaning": "l", "fragments": ["f"], "model": "x/y"}
        | {"demographics": {"age": 52, "zip: code": "0041", "n": "7"}, "temperature": 0.25},
        {"name": "Karim"},
        {"name": "Old", "persona": "somebody"},
    ],
    "pace": {
        "messages_per_minute": 0.5,
        "user_response_probability": 0.1,
        "context_window_size": 7,
        "session_duration_minutes": 2.5,
        "words_per_minute": 0,
        "llm_concurrency_limit": 9,
        "grace_seconds": 30,
    },
    "model": "a/b",
    "temperature": 1.5,
    "disclosure": "delayed",
    "ethics_reference": "E 12/3",
    "debrief_text": "It was about talk.\n\nThanks.",
    "consent_text": "We ask you.\n\nIt is voluntary.",
    "withdrawal": ["anonymised", "erase"],
    "contact": "lab@example.org",
    "intake": [
        {"id": "city", "text": "Where?\nReally?", "kind": "single", "options": ["a", "b"]},
        {"id": "why", "text": "Why?", "kind": "open", "min": 3, "max": 50, "required": False},
        {"id": "age", "text": "Age?", "kind": "number", "min": 18, "max": 120.5},
    ],
    "closing": [
        {"id": "fair", "text": "Fair?", "kind": "likert", "min": 1, "max": 5, "low": "no", "high": "yes"},
        {"id": "which", "text": "Which?", "kind": "multiple", "options": ["x", "y", "z"], "min": 1, "max": 2},
    ],
    "redirect": {"completion": "https://example.org/?cc={completion_code}", "leave": "https://example.org/bye"},
    "completion_code": "C1",
    "params": ["PROLIFIC_PID"],
    "retention_days": 30,
    "token_reusable_before_first_message": True,
    "origins": ["https://chat.example.org"],
}
SAID = """
WITH room AS (UPDATE rooms SET messages_count = messages_count + 1, events_count = events_count + 1 WHERE key = $1
              RETURNING id, messages_count AS number, events_count AS position),
made AS (INSERT INTO room_messages (room_id, number, key, member, body) SELECT id, number, $2, $3, $4 FROM room)
INSERT INTO room_events (room_id, position, kind, number, member) SELECT id, position, 'message', number, $3 FROM room
"""


@pytest.fixture
async def desk(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with at_desk(url) as client:
        yield client


def filled(page: httpx2.Response | str) -> dict[str, Any]:
    """What the builder's form would send as it stands."""
    text = page if isinstance(page, str) else page.text
    form = text[text.index("data-builder") : text.index("<aside")]
    found: dict[str, Any] = {}
    for tag in re.findall(r"<input [^>]*>", form):
        given = dict(re.findall(r'([a-z-]+)="([^"]*)"', tag))
        if given.get("type") != "checkbox" or " checked" in tag:
            found[given["name"]] = unescape(given["value"])
    for name, value in re.findall(r'<textarea [^>]*name="([^"]+)"[^>]*>\n(.*?)</textarea>', form, re.DOTALL):
        found[name] = unescape(value).replace("\n", "\r\n")
    for name, options in re.findall(r'<select [^>]*name="([^"]+)"[^>]*>(.*?)</select>', form, re.DOTALL):
        chosen = re.search(r'value="([^"]*)" selected', options)
        found[name] = unescape(chosen[1]) if chosen else ""
    return found


def wrong(page: httpx2.Response) -> dict[str, str]:
    """What the page tells to be wrong, by field."""
    found = re.findall(r'id="wrong-([^"]+)">([^<]*)<', page.text)
    return {name: unescape(text) for name, text in found}


async def a_draft(database: Database, name: str = "pilot", **more: Any) -> int:
    design = StudyDesign.model_validate({**DESIGN, **more})
    return await studies.create(database, name, design, seed=7, by=None)


async def post(client: httpx2.AsyncClient, path: str, **given: Any) -> httpx2.Response:
    return await client.post(HERE + path, data={"csrf": await csrf(client), **given})


async def state_of(database: Database, study: int) -> str:
    return str(await database.fetchval("SELECT state FROM studies WHERE id = $1", study))


# The form


def test_all_keys_of_a_design_are_in_the_form_and_come_back() -> None:
    design = StudyDesign.model_validate(FULL)
    fields = fields_of(design)
    assert design_in(fields) == design
    assert design_in(fields_of(design_in(fields))).sha256() == design.sha256()
    keys = {name.partition("-")[0] for name in fields.texts} | set(ROWS)
    assert keys == set(StudyDesign.model_fields)
    assert {name[5:] for name in fields.texts if name.startswith("pace-")} == set(type(design.pace).model_fields)
    cells = sum(
        len(ROWS[group]) * most for group, most in (("arms", 50), ("cast", 30), ("intake", 100), ("closing", 100))
    )
    assert cells + len(fields.texts) < FIELDS_MOST


def test_usual_values_are_those_of_a_file_that_leaves_them_out() -> None:
    fields = blank()
    fields.texts["title"], fields.rows["arms"][0]["prompt_template"] = "T", "P"
    assert design_in(fields) == StudyDesign.model_validate({"title": "T", "arms": {"talk": {"prompt_template": "P"}}})


def test_every_wrong_field_is_told_at_once_and_at_its_place() -> None:
    fields = fields_of(StudyDesign.model_validate(FULL))
    fields.texts |= {
        "title": "",
        "repeat": "many",
        "pace-grace_seconds": "1e999",
        "redirect-leave": "javascript:alert(1)",
    }
    fields.texts |= {"params": "ok\nno good", "withdrawal": "burn", "temperature": "9" * 5000}
    fields.rows["arms"][1] |= {"name": "a.b"}
    fields.rows["arms"][0] |= {"weight": "0.5"}
    fields.rows["cast"][1] |= {"name": "x" * 41, "demographics": "no colon", "traits": "a\n" + "b" * 300}
    fields.rows["intake"][1] |= {"id": "1st", "max": "many"}
    with pytest.raises(WrongFields) as refused:
        design_in(fields)
    told = refused.value.wrong
    places = {"title", "repeat", "pace-grace_seconds", "redirect-leave", "params", "withdrawal", "temperature"}
    places |= {"arms-0-weight", "arms-1-name", "cast-1-name", "cast-1-demographics", "cast-1-traits"}
    assert set(told) == places | {"intake-1-id", "intake-1-max"}
    assert told["params"].startswith("entry 2: ")
    assert told["cast-1-traits"].startswith("entry 2: ")
    assert told["repeat"] == 'must be a whole number from 1 to 100, not "many"'


# The list


async def test_an_empty_list_says_how_to_begin(desk: httpx2.AsyncClient) -> None:
    page = await look(desk, HERE)
    assert "No studies yet" in page.text
    assert "simfeed study create NAME --file study.toml" in page.text
    assert HERE + "/new" in page.links
    assert HERE in page.links


async def test_the_list_is_paged_newest_first(desk: httpx2.AsyncClient, database: Database) -> None:
    for n in range(31):
        await a_draft(database, f"study {n}", title=XSS if n == 30 else "T")
    page = await look(desk, HERE)
    assert page.text.index("study 30") < page.text.index("study 29")
    assert XSS in page.text
    assert f"{HERE}/1" not in page.links
    older = next(link for link in page.links if "cursor=" in link)
    last = await look(desk, older)
    assert [link for link in last.links if re.fullmatch(HERE + r"/\d+", link)] == [f"{HERE}/1"]
    for odd in ("x", "%00", "'", "9" * 399):
        assert (await desk.get(f"{HERE}?cursor={odd}")).status_code == 422


# The builder, without script


async def test_a_study_is_built_row_by_row_and_nothing_is_lost(desk: httpx2.AsyncClient, database: Database) -> None:
    page = await desk.get(HERE + "/new")
    given = filled(page) | {"name": "bicycles", "title": "  Bicycles\t", "arms-0-name": "civil"}
    steps = ["add-arms", "add-arms", "add-closing", "add-intake", "add-cast"]
    for step in steps:
        page = await desk.post(HERE + "/new", data={**given, "do": step})
        assert page.status_code == 200
        assert Page(page.text).is_sound()
        given |= filled(page)
    assert (given["name"], given["title"], given["arms-0-name"]) == ("bicycles", "  Bicycles\t", "civil")
    given |= {"arms-0-prompt_template": "Be kind.\r\n\r\nAlways.", "arms-1-name": "gone", "arms-2-name": "curt"}
    given |= {"arms-2-prompt_template": "Be curt.", "arms-2-weight": "3", "cast-4-name": "Rita"}
    page = await desk.post(HERE + "/new", data={**given, "do": "drop-arms-1"})
    given = filled(page)
    assert (given["arms-1-name"], given["arms-1-weight"]) == ("curt", "3")
    assert "arms-2-name" not in given
    page = await desk.post(HERE + "/new", data={**given, "do": "up-cast-4"})
    given = filled(page)
    assert (given["cast-3-name"], given["cast-4-name"]) == ("Rita", "Toni")
    refused = await desk.post(HERE + "/new", data={**given, "title": "Bicycles", "do": "save"})
    assert refused.status_code == 422
    assert set(wrong(refused)) == {"intake-0-id", "intake-0-text", "closing-0-id", "closing-0-text"}
    kept = filled(refused)
    assert kept["arms-0-prompt_template"] == "Be kind.\r\n\r\nAlways."
    kept |= {"intake-0-id": "ride", "intake-0-text": "Do you ride?", "intake-0-options": "yes\r\nno\r\n"}
    kept |= {"closing-0-id": "fair", "closing-0-text": "Fair?", "title": "Bicycles", "seed": "11"}
    made = await desk.post(HERE + "/new", data={**kept, "do": "save"})
    assert made.status_code == 303, wrong(made)
    study = await studies.find(database, "bicycles")
    assert made.headers["location"] == f"{HERE}/{study['id']}?done=study-made"
    design = (await studies.show(database, study["id"])).design
    assert study["seed"] == 11
    assert set(design.arms) == {"civil", "curt"}
    assert design.arms["civil"].prompt_template == "Be kind.\n\nAlways."
    assert [member.name for member in design.cast] == ["Robin", "Sam", "Noor", "Rita", "Toni"]
    assert design.intake[0].options == ["yes", "no"]
    assert design.closing[0].kind == "likert"
    again = await desk.post(HERE + "/new", data={**kept, "do": "save"})
    assert (again.status_code, "name" in wrong(again)) == (409, True)


async def test_enter_in_a_field_saves_and_does_not_remove_a_row(desk: httpx2.AsyncClient) -> None:
    text = (await desk.get(HERE + "/new")).text
    form = text[text.index("data-builder") : text.index("<aside")]
    first = re.search(r'<button [^>]*type="submit"[^>]*>', form)
    assert first is not None
    assert 'value="save"' in first[0]


@pytest.mark.parametrize(
    "deed",
    [
        "add-",
        "add-arms-0",
        "drop-arms",
        "drop-arms-9999",
        "up-arms-0",
        "drop-x-0",
        "drop-arms-99999",
        "up-arms--1",
        XSS,
    ],
)
async def test_odd_deeds_change_nothing(desk: httpx2.AsyncClient, database: Database, deed: str) -> None:
    given = filled(await desk.get(HERE + "/new"))
    page = await desk.post(HERE + "/new", data={**given, "do": deed})
    assert page.status_code in (200, 422)
    assert {n: v for n, v in filled(page).items() if n != "csrf"} == {n: v for n, v in given.items() if n != "csrf"}
    assert await database.fetchval("SELECT count(*) FROM studies") == 0


HOSTILE_FIELDS: list[dict[str, str]] = [
    {"title": "a\x00b"},
    {"title": "e" + "\u0301" * 60},
    {"name": "\x00"},
    {"name": "n" * 61},
    {"seed": "-1"},
    {"seed": "9" * 400},
    {"arms-0-weight": "9" * 5_000},
    {"arms-9999-name": "far", "arms-9999-prompt_template": ""},
    {"cast-0-name": "participant"},
    {"cast-0-persona": "robin", "cast-0-role": "both"},
    {"pace-messages_per_minute": "NaN"},
    {"pace-messages_per_minute": "inf"},
    {"consent": "never"},
    {"origins": "https://x.example/path"},
    {"redirect-completion": "https://{completion_code}.example"},
    {"strata": "nobody-asked"},
    {"disclosure": "delayed"},
    {"retention_days": "1e5"},
]


@pytest.mark.parametrize("odd", HOSTILE_FIELDS, ids=lambda odd: next(iter(odd)))
async def test_what_can_not_be_is_told_at_a_field(
    desk: httpx2.AsyncClient, database: Database, odd: dict[str, str]
) -> None:
    given = filled(await desk.get(HERE + "/new")) | {"name": "n", "title": "T", "arms-0-prompt_template": "P"}
    body = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in {**given, **odd, "do": "save"}.items())
    page = await desk.post(HERE + "/new", content=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert page.status_code == 422, page.text[:500]
    assert "needs mending" in page.text or "need mending" in page.text or "can&#39;t be read" in page.text
    assert await database.fetchval("SELECT count(*) FROM studies") == 0


def _quoted(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


async def test_script_in_every_field_stays_text(desk: httpx2.AsyncClient, database: Database) -> None:
    given = filled(await desk.get(HERE + "/new"))
    for step in ("add-intake", "add-closing"):
        given |= filled(await desk.post(HERE + "/new", data={**given, "do": step}))
    hostile = {name: value if name == "csrf" else XSS for name, value in given.items()}
    for do in ("save", "preview"):
        page = await desk.post(HERE + "/new", data={**hostile, "do": do})
        assert page.status_code == 422
        assert "<script>window" not in page.text
        assert "<img" not in page.text
        assert Page(page.text).is_sound()
    members = [{"name": XSS[:40], "description": XSS}]
    question = {"id": "q", "text": XSS, "kind": "single", "options": [XSS, "b"]}
    study = await a_draft(
        database, XSS[:60], title=XSS, cast=members, arms={XSS[:60]: {"prompt_template": XSS}}, strata=None,
        intake=[question], closing=[], debrief_text=XSS, consent_text=XSS, contact=XSS,
    )  # fmt: skip
    for path in ("", "/edit", "/preview", "/tokens", "/results", "/monitor"):
        seen = await look(desk, f"{HERE}/{study}{path}")
        assert XSS[:20] in seen.text
        assert not seen.all("img", src="x")


async def test_a_file_fills_the_form_and_wrong_keys_are_named(desk: httpx2.AsyncClient, database: Database) -> None:
    design = StudyDesign.model_validate(FULL)
    page = await post(desk, "/read", toml=toml(design), name="n")
    assert page.status_code == 200
    given = filled(page)
    assert given["cast-0-demographics"].startswith("age: 52")
    refused = await desk.post(HERE + "/new", data={**given, "name": "../a file", "do": "save"})
    assert (refused.status_code, "must be 1 to 60 letters A-Z" in refused.text) == (422, True)
    made = await desk.post(HERE + "/new", data={**given, "name": "from-a.file_1", "do": "save"})
    assert made.status_code == 303, wrong(made)
    study = await studies.find(database, "from-a.file_1")
    assert (await studies.show(database, study["id"])).design == design
    for text, told in (
        ('title = "x"\narms = 3\nfoo = 1', ["arms", "foo", "is an unknown key"]),
        ('title = "x', ["not valid TOML"]),
        ("a = " + "[" * 5_000, ["not valid TOML"]),
        ("", ["title", "is missing"]),
        ('title = "\\u0000"\n[arms.a]\nprompt_template = "x"', ["title", "U+0000"]),
        ("title = 1979-05-27T07:32:00Z", ["title"]),
    ):
        page = await post(desk, "/read", toml=text)
        assert page.status_code == 422, text
        for word in told:
            assert word in unescape(page.text)
        assert "<textarea" in page.text


async def test_preview_shows_each_page_and_the_prompt_and_keeps_nothing(
    desk: httpx2.AsyncClient, database: Database
) -> None:
    given = fields_form(StudyDesign.model_validate(DESIGN)) | {"csrf": await csrf(desk), "do": "preview", "name": ""}
    page = await desk.post(HERE + "/new", data=given)
    assert page.status_code == 200
    assert Page(page.text).is_sound()
    words = unescape(re.sub(r"<[^>]+>", " ", page.text))
    for told in ("1. Link", "Questions before", "Waiting", "Chat", "Questions after", "Debrief", "7. End"):
        assert told in words
    for told in ("Artificial intelligence takes part", "The room is ready", "It was about bicycles.", "Receipt code"):
        assert told in words
    for told in ("You are Alice", "What holds in this room: Be kind.", "What holds in this room: Be curt.", "tokens"):
        assert told in words
    seen = page.text[page.text.index('class="study-seen"') :]
    assert "<form" not in seen
    assert 'type="submit"' not in seen
    part = await desk.post(HERE + "/new", data={**given, "fragment": "1"})
    assert part.text.startswith('<div class="study-seen"') or "<html" not in part.text
    refused = await desk.post(HERE + "/new", data={**given, "title": "", "fragment": "1"})
    assert refused.status_code == 422
    assert await database.fetchval("SELECT count(*) FROM studies") == 0


def fields_form(design: StudyDesign) -> dict[str, str]:
    """A design as the form would send it."""
    fields = fields_of(design)
    rows = {
        f"{g}-{n}-{k}": v for g, found in fields.rows.items() for n, row in enumerate(found) for k, v in row.items()
    }
    return {**fields.texts, **rows}


async def test_a_draft_is_edited_and_nobody_is_overwritten_unasked(
    desk: httpx2.AsyncClient, database: Database
) -> None:
    study = await a_draft(database)
    address = f"{HERE}/{study}/edit"
    mine = filled(await desk.get(address))
    assert (await desk.post(address, data={**mine, "title": "Theirs", "do": "save"})).status_code == 303
    stale = await desk.post(address, data={**mine, "title": "Mine", "do": "save"})
    assert stale.status_code == 409
    assert "Somebody saved this draft" in stale.text
    assert (await studies.show(database, study)).design.title == "Theirs"
    again = filled(stale)
    assert again["title"] == "Mine"
    assert (await desk.post(address, data={**again, "do": "save"})).status_code == 303
    assert (await studies.show(database, study)).design.title == "Mine"
    await studies.open_study(database, load_settings(), study, by=None)
    for answer in (await desk.get(address), await desk.post(address, data={**again, "do": "save"})):
        assert answer.status_code == 409
        assert "its design is fixed" in unescape(answer.text)
    assert "copy" in filled(await desk.get(f"{HERE}/new?like={study}"))["name"]


# A study's states


async def test_from_draft_to_close(desk: httpx2.AsyncClient, database: Database) -> None:
    study = await a_draft(database)
    page = await look(desk, f"{HERE}/{study}")
    assert "Nobody has come in yet" in page.text
    assert "No tokens yet" in page.text
    assert (await studies.show(database, study)).design_sha256 in page.text
    for path, to in (("open", "open"), ("pause", "paused"), ("resume", "open")):
        assert (await post(desk, f"/{study}/{path}")).status_code == 303
        assert await state_of(database, study) == to
        assert (await post(desk, f"/{study}/{path}")).status_code == 409
    asked = await post(desk, f"/{study}/close")
    assert (asked.status_code, await state_of(database, study)) == (200, "open")
    assert "can't be opened again" in unescape(asked.text)
    assert (await post(desk, f"/{study}/close", sure="yes")).status_code == 303
    assert await state_of(database, study) == "closed"
    for answer in (await post(desk, f"/{study}/close"), await post(desk, f"/{study}/close", sure="yes")):
        assert answer.status_code == 409
    deeds = await database.fetch("SELECT action FROM audit WHERE action LIKE 'study.%' ORDER BY id")
    assert [row["action"] for row in deeds] == [
        *("study.created", "study.opened", "study.paused", "study.resumed", "study.closed")
    ]
    page = await look(desk, f"{HERE}/{study}")
    assert not page.all("form", action=f"{HERE}/{study}/close")


async def test_what_stands_against_opening_is_all_told(desk: httpx2.AsyncClient, database: Database) -> None:
    cast = [{"name": "Ann", "persona": "nobody_here"}, {"name": "Bob", "description": "Bob.", "model": "nosuch/model"}]
    study = await a_draft(database, cast=cast)
    answer = await post(desk, f"/{study}/open")
    assert answer.status_code == 409
    text = unescape(answer.text)
    assert "can’t be opened yet" in text
    assert "nobody_here" in text
    assert "cast: Bob" in text
    assert await state_of(database, study) == "draft"


@pytest.mark.parametrize("path", ["", "/edit", "/tokens", "/monitor", "/results", "/preview", "/export"])
async def test_a_study_that_is_not_there(desk: httpx2.AsyncClient, path: str) -> None:
    for number in ("9", str(2**63 - 1)):
        answer = await desk.get(f"{HERE}/{number}{path}")
        assert answer.status_code == 404
    for odd in ("0", "-1", "1e3", "x", str(2**63), "9" * 400, "%00", "１"):
        assert (await desk.get(f"{HERE}/{odd}{path}")).status_code in (404, 422), odd


# Tokens


async def test_tokens_are_told_once_with_links_and_codes(desk: httpx2.AsyncClient, database: Database) -> None:
    study = await a_draft(database)
    page = await post(
        desk, f"/{study}/tokens", **{"count": "3", "arm": "curt", "labels": f"seat 1\n\n{XSS}", "as": "page"}
    )
    assert page.status_code == 200
    assert page.headers["cache-control"] == "private, no-store"
    assert Page(page.text).is_sound()
    made = re.findall(r"<code>(http://simfeed\.test/s/(sf_par_[\w-]{43}))</code>", page.text)
    assert len(made) == 3
    assert page.text.count('<svg viewBox="0 0 ') == 3
    hashes = {bytes(row["sha256"]) for row in await database.fetch("SELECT sha256 FROM study_tokens")}
    assert hashes == {digest(token) for _, token in made}
    packed = re.search(r'name="made" value="([^"]*)"', page.text)
    assert packed is not None
    sheet = await post(desk, f"/{study}/links", **{"made": unescape(packed[1]), "as": "csv"})
    lines = list(csv.reader(io.StringIO(sheet.text)))
    assert lines[0] == ["label", "token", "url", "arm"]
    assert [line[1] for line in lines[1:]] == [token for _, token in made]
    assert [line[0] for line in lines[1:]][:2] == ["seat 1", XSS]
    codes = await post(desk, f"/{study}/links", **{"made": unescape(packed[1]), "as": "qr"})
    with zipfile.ZipFile(io.BytesIO(codes.content)) as archive:
        assert len(archive.namelist()) == 4
        assert archive.read(archive.namelist()[0]).startswith(b"<?xml")
    listed = await look(desk, f"{HERE}/{study}/tokens")
    assert "seat 1" in listed.text
    assert XSS in listed.text
    for token in (token for _, token in made):
        assert token not in listed.text
        assert token not in (await desk.get("/admin/audit")).text
    ids = [row["id"] for row in await database.fetch("SELECT id FROM study_tokens ORDER BY id")]
    assert (await post(desk, f"/{study}/tokens/{ids[0]}/revoke")).status_code == 303
    assert (await post(desk, f"/{study}/tokens/{ids[0]}/revoke")).status_code == 404
    assert (await post(desk, f"/{study + 1}/tokens/{ids[1]}/revoke")).status_code == 404


async def test_tokens_as_files(desk: httpx2.AsyncClient, database: Database) -> None:
    study = await a_draft(database)
    sheet = await post(desk, f"/{study}/tokens", **{"count": "300", "as": "csv"})
    assert sheet.headers["content-disposition"] == f'attachment; filename="study-{study}-links.csv"'
    assert len(sheet.text.splitlines()) == 301
    codes = await post(desk, f"/{study}/tokens", **{"count": "2", "as": "qr"})
    assert codes.headers["content-type"] == "application/zip"
    page = await look(desk, f"{HERE}/{study}/tokens")
    assert "302" in page.text
    assert next(link for link in page.links if "cursor=" in link).startswith(f"{HERE}/{study}/tokens?cursor=")


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"count": "0"}, "count"),
        ({"count": "9" * 5_000}, "count"),
        ({"count": "201", "as": "page"}, "count"),
        ({"count": "1001", "as": "qr"}, "count"),
        ({"count": "10001", "as": "csv"}, "count"),
        ({"count": "two"}, "count"),
        ({"arm": "nobody's"}, "arm"),
        ({"as": "pdf"}, "as"),
        ({"count": "1", "labels": "a\nb"}, "labels"),
        ({"labels": "x" * 121}, "labels"),
        ({"labels": "a\x00"}, "labels"),
    ],
)
async def test_tokens_that_can_not_be(
    desk: httpx2.AsyncClient, database: Database, given: dict[str, str], where: str
) -> None:
    study = await a_draft(database)
    answer = await post(desk, f"/{study}/tokens", **{"count": "5", "as": "page", **given})
    assert answer.status_code == 422
    assert set(wrong(answer)) == {where}
    assert await database.fetchval("SELECT count(*) FROM study_tokens") == 0


@pytest.mark.parametrize(
    "made", ["", "[", "{}", '[{"id": "x"}]', "[" * 10_000, '[{"id":1,"token":2,"label":3,"arm":4}]']
)
async def test_links_of_what_are_no_tokens(desk: httpx2.AsyncClient, database: Database, made: str) -> None:
    study = await a_draft(database)
    assert (await post(desk, f"/{study}/links", **{"made": made, "as": "csv"})).status_code == 422


# Results and downloads


async def finished(database: Database, study: int, fair: int, why: str = "because") -> Taker:
    """Somebody who wrote twice, was answered once, and answered the question after the room."""
    taker = await take_part(database, study, label="Ada Lovelace", why=why, PROLIFIC_PID="prolific-77")
    assert await rooms.enter(database, taker.key) is not None
    for text in ("hello", XSS):
        await rooms.say(database, taker.key, text)
    await database.fetch(SAID, taker.key, rooms.new_key(), 1, "an answer")
    room = await rooms.by_key(database, taker.key)
    assert room is not None
    await rooms.end(database, room["id"], "time")
    person = await participants.by_secret(database, taker.secret)
    assert person is not None
    await studies.submit(database, person, "closing", {"fair": fair})
    return taker


async def test_results_count_by_arm_and_show_no_text(desk: httpx2.AsyncClient, database: Database) -> None:
    study = await open_study(database)
    assert "Nothing to look at yet" in (await look(desk, f"{HERE}/{study}/results")).text
    takers = [await finished(database, study, fair, f"secret reason {fair}") for fair in (2, 2, 6, 7)]
    page = await look(desk, f"{HERE}/{study}/results")
    text = re.sub(r"\s+", " ", page.text)
    assert "n = 2" in text
    assert "secret reason" not in text
    for taker in takers:
        assert taker.pseudonym not in text
    arms = {row["arm"] for row in await database.fetch("SELECT DISTINCT arm FROM participants")}
    assert arms == {"civil", "curt"}
    rows = re.search(
        r"<tr><th scope=\"row\" dir=\"auto\">2</th>(.*?)</tr>", (await desk.get(f"{HERE}/{study}/results")).text
    )
    assert rows is not None
    times = [int(found) for found in re.findall(r'share-words">(\d+)', rows[1])]
    assert sum(times) == 2
    package = await desk.get(f"{HERE}/{study}/export")
    with zipfile.ZipFile(io.BytesIO(package.content)) as archive:
        assert "manifest.json" in archive.namelist()
    log = await desk.get(f"{HERE}/{study}/log/{takers[0].key}.jsonl")
    assert json.loads(log.text.splitlines()[0])["event_type"] == "session_start"
    assert (await desk.get(f"{HERE}/{study}/log/nosuch.jsonl")).status_code == 404
    told = await desk.get(f"{HERE}/{study}/download/design.toml")
    assert told.text == toml((await studies.show(database, study)).design)
    assert (await desk.get(f"{HERE}/{study}/download/design.json")).json()["title"] == "Bicycles"
    assert (await desk.get(f"{HERE}/{study}/download/design.exe")).status_code in (404, 422)


# The monitor


async def test_the_monitor_shows_everybody_by_pseudonym_alone(desk: httpx2.AsyncClient, database: Database) -> None:
    study = await open_study(database)
    assert "Nobody has come in yet" in (await look(desk, f"{HERE}/{study}/monitor")).text
    done = await finished(database, study, 4)
    there = await take_part(database, study, label="Grace Hopper", city=f"{CANARY}-stratum", PROLIFIC_PID="prolific-88")
    await rooms.name_person(database, there.key, "Gracie")
    page = await look(desk, f"{HERE}/{study}/monitor")
    for one in (done, there):
        assert one.pseudonym in page.text
        assert f"{HERE}/{study}/rooms/{one.key}" in page.links
    for secret in ("Lovelace", "Hopper", "Gracie", "prolific", CANARY, there.token, there.secret):
        for path in ("/monitor", f"/rooms/{there.key}", f"/rooms/{done.key}", "", "/results"):
            if secret == CANARY and path == "/results":
                continue  # the design's own option
            text = (await desk.get(f"{HERE}/{study}{path}")).text
            assert secret not in text or (secret == CANARY and path == ""), (secret, path)
    tokens = (await look(desk, f"{HERE}/{study}/tokens")).text
    assert "Grace Hopper" in tokens
    assert there.pseudonym not in tokens
    only = await look(desk, f"{HERE}/{study}/monitor?state=active&stage=chat")
    assert there.pseudonym in only.text
    assert done.pseudonym not in only.text
    assert "Nobody is there just now" in (await look(desk, f"{HERE}/{study}/monitor?stage=intake")).text
    for odd in ("stage=x", "state=%00", "cursor=x", f"stage={'9' * 400}"):
        assert (await desk.get(f"{HERE}/{study}/monitor?{odd}")).status_code == 422
    assert (await desk.get(f"{HERE}/{study}/monitor?stage=&state=")).status_code == 200


async def test_a_room_is_read_and_held(desk: httpx2.AsyncClient, database: Database) -> None:
    study = await open_study(database)
    taker = await take_part(database, study)
    room = f"/{study}/rooms/{taker.key}"
    assert "Nothing has been written here yet" in (await look(desk, HERE + room)).text
    early = await post(desk, room + "/extend", minutes="5")
    assert early.status_code == 409
    await rooms.enter(database, taker.key)
    await rooms.say(database, taker.key, XSS)
    await database.fetch(SAID, taker.key, rooms.new_key(), 1, "an answer")
    page = await look(desk, HERE + room)
    assert XSS in page.text
    assert "an answer" in page.text
    assert not page.all("img", src="x")

    async def left() -> float:
        row = await database.fetchrow(
            "SELECT extract(epoch FROM ends_at - started_at)::float8 AS s, paused_at FROM rooms WHERE key = $1",
            taker.key,
        )
        assert row is not None
        return float(row["s"])

    before = await left()
    assert (await post(desk, room + "/extend", minutes="2.5")).status_code == 303
    assert round(await left() - before) == 150
    for path in ("pause", "resume"):
        assert (await post(desk, f"{room}/{path}")).status_code == 303
        assert (await post(desk, f"{room}/{path}")).status_code == 409
    assert (await post(desk, room + "/notice", text=f"Ten minutes {XSS}")).status_code == 303
    page = await look(desk, HERE + room)
    assert f"Ten minutes {XSS}" in page.text
    assert "2.5 more minutes" in page.text
    asked = await post(desk, f"/{study}/participants/{taker.pseudonym}/remove")
    assert asked.status_code == 200
    assert f"Remove {taker.pseudonym}?" in asked.text
    assert await database.fetchval("SELECT state FROM participants") == "active"
    assert (await post(desk, f"/{study}/participants/{taker.pseudonym}/remove", sure="yes")).status_code == 303
    assert await database.fetchval("SELECT state FROM participants") == "removed"
    assert (await post(desk, f"/{study}/participants/{taker.pseudonym}/remove", sure="yes")).status_code == 409
    late = await post(desk, room + "/notice", text="too late")
    assert late.status_code == 409
    assert "too late" in late.text or "at an end" in late.text
    deeds = await database.fetch("SELECT action FROM audit WHERE action LIKE 'room.%' OR action LIKE 'participant.%'")
    assert {row["action"] for row in deeds} == {
        *("room.extend", "room.pause", "room.resume", "room.notice", "participant.removed")
    }


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("notice", {"text": ""}),
        ("notice", {"text": "a\x00b"}),
        ("notice", {"text": "x" * 20_000}),
        *(("extend", {"minutes": m}) for m in ("", "0", "-5", "inf", "nan", "1e999", "9" * 5_000, "241", "five")),
    ],
)
async def test_odd_wishes_are_told_at_their_field(
    desk: httpx2.AsyncClient, database: Database, path: str, given: dict[str, str]
) -> None:
    study = await open_study(database)
    taker = await take_part(database, study)
    await rooms.enter(database, taker.key)
    answer = await post(desk, f"/{study}/rooms/{taker.key}/{path}", **given)
    assert answer.status_code == 422
    assert set(wrong(answer)) == {next(iter(given))}


async def test_rooms_of_others_and_of_nobody(desk: httpx2.AsyncClient, database: Database) -> None:
    study = await open_study(database)
    other = await open_study(database, "other")
    taker = await take_part(database, study)
    for key in (taker.key, "nosuch"):
        assert (await desk.get(f"{HERE}/{other}/rooms/{key}")).status_code == 404
        assert (await post(desk, f"/{other}/rooms/{key}/notice", text="hi")).status_code == 404
        assert (await post(desk, f"/{other}/rooms/{key}/pause")).status_code == 404
    assert (await post(desk, f"/{other}/participants/{taker.pseudonym}/remove", sure="yes")).status_code == 404
    for odd in ("p1", "%00", "x" * 30):
        assert (await post(desk, f"/{other}/participants/{odd}/remove")).status_code in (404, 422)
    for odd in ("x", "-1", "9" * 30, "%00"):
        assert (await desk.get(f"{HERE}/{study}/rooms/{taker.key}?from={odd}")).status_code in (200, 422)


# Who may


async def test_nobody_signed_in_is_led_to_the_door(client: httpx2.AsyncClient, database: Database) -> None:
    study = await a_draft(database)
    headers = {"Accept": "text/html"}
    for path in (
        "",
        "/new",
        f"/{study}",
        f"/{study}/tokens",
        f"/{study}/monitor",
        f"/{study}/results",
        f"/{study}/export",
    ):
        answer = await client.get(HERE + path, headers=headers)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/admin/login")


async def test_forms_of_others_are_refused(desk: httpx2.AsyncClient, database: Database) -> None:
    study = await a_draft(database)
    paths = [f"/{study}/open", f"/{study}/tokens", f"/{study}/edit", "/new", "/read", f"/{study}/close"]
    for path in paths:
        assert (await desk.post(HERE + path, data={"csrf": "0" * 64})).status_code == 403
        assert (await desk.post(HERE + path, data={})).status_code == 403
        elsewhere = {"Origin": "https://evil.example"}
        answer = await desk.post(HERE + path, data={"csrf": await csrf(desk)}, headers=elsewhere)
        assert answer.status_code == 403
    assert await state_of(database, study) == "draft"


async def test_control_without_the_token_another_session_could_build(
    desk: httpx2.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = fields_form(StudyDesign.model_validate(DESIGN)) | {"name": "forged", "do": "save"}
    assert (await desk.post(HERE + "/new", data=given)).status_code == 403

    def unchecked(secret: str, viewer: Viewer, form: session.Form) -> session.Form:
        return form

    monkeypatch.setattr("app.web.pages.admin.study_builder.own_form", unchecked)
    assert (await desk.post(HERE + "/new", data=given)).status_code == 303
    assert (await studies.find(database, "forged"))["state"] == "draft"


async def test_observers_look_and_do_nothing(desk: httpx2.AsyncClient, database: Database) -> None:
    study = await open_study(database)
    taker = await take_part(database, study)
    token = shown_token(await send(desk, "/invitations", email="olga@example.org", role="observer"))
    person = {"username": "olga", "email": "olga@example.org", "password": PASSWORD, "invite_token": token}
    assert (await desk.post("/auths/register", json=person)).status_code == 201
    desk.cookies.clear()
    assert (await enter(desk, "olga")).status_code == 303
    for path in ("", "/tokens", "/monitor", "/results", "/preview", f"/rooms/{taker.key}"):
        page = await look(desk, f"{HERE}/{study}{path}")
        assert "You are an observer" in page.text
        assert not [
            form for form in page.all("form") if form.get("action", "").startswith(HERE) and form["method"] == "post"
        ]
    assert not [link for link in (await look(desk, HERE)).links if link.endswith("/new")]
    for path in ("/new", "/read", f"/{study}/pause", f"/{study}/tokens", f"/{study}/rooms/{taker.key}/notice"):
        assert (await post(desk, path, text="hi")).status_code == 403
    assert await state_of(database, study) == "open"
