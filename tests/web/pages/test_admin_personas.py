"""Personas as admins manage them in a browser: nothing is lost, nothing is run, nobody else may."""

import csv
import io
import json
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from typing import Any

import asyncpg
import httpx2
import pytest

from app.agent.population import parse_personas
from app.web.pages.admin.persona_form import WrongFields, fields_of, spec_in
from app.web.pages.session import Form
from app.world.personas import PersonaSpec
from tests.conftest import PASSWORD, serving, settings_for, sign_up
from tests.web.test_page import BROWSER, HOSTILE

ANN = {
    "username": "ann",
    "description": "Repairs trams.",
    "bio": "Trams.",
    "display_name": "Ann Arbor",
    "role": "mechanic",
    "traits": ["calm", "curious"],
    "goals": ["mend it"],
    "style": "dry",
    "interests": ["trams"],
    "leaning": "green",
    "demographics": {"age": 41, "city": "Graz"},
    "fragments": ["Hates rain."],
    "model": "scripted",
    "temperature": 0.5,
    "activity": 0.25,
    "status": "active",
}


class Page(HTMLParser):
    """What a page holds: its text, the fields of its forms, its links."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fields: dict[str, list[str]] = {}
        self.links: list[str] = []
        self.scripts: list[dict[str, str | None]] = []
        self.text = ""
        self._area: str | None = None
        self._select: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert not [name for name in given if name.startswith("on") or name == "style"]
        match tag:
            case "input" if given.get("type") not in ("checkbox", "search"):
                self.fields.setdefault(given.get("name") or "", []).append(given.get("value") or "")
            case "textarea":
                self._area = given["name"]
                self.fields[given["name"] or ""] = [""]
            case "select":
                self._select = given["name"]
            case "option" if self._select and "selected" in given:
                self.fields[self._select] = [given.get("value") or ""]
            case "a":
                self.links.append(given.get("href") or "")
            case "script":
                self.scripts.append(given)

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._area = None
        if tag == "select":
            self._select = None

    def handle_data(self, data: str) -> None:
        if self._area is not None:
            self.fields[self._area][0] += data.removeprefix("\n")
        else:
            self.text += data

    def form(self) -> dict[str, Any]:
        return {name: values[-1] for name, values in self.fields.items() if name in FIELDS}


FIELDS = {*PersonaSpec.model_fields, "csrf", "mark", "persona"}


@pytest.fixture
async def desk(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A browser in which an admin is signed in."""
    async with serving(settings_for(url)) as client:
        headers = await sign_up(client)
        client.headers.update(BROWSER)
        await client.post("/admin/login", data={"username": "ada", "password": PASSWORD})
        assert (await client.post("/personas", json=ANN, headers=headers)).status_code == 201
        yield client


async def page(client: httpx2.AsyncClient, address: str, status: int = 200) -> Page:
    answer = await client.get(address)
    assert answer.status_code == status, answer.text
    return Page(answer.text)


async def csrf(client: httpx2.AsyncClient) -> str:
    return (await page(client, "/admin/personas")).fields["csrf"][0]


async def send(client: httpx2.AsyncClient, address: str, **fields: Any) -> httpx2.Response:
    return await client.post(address, data={"csrf": await csrf(client), **fields})


async def sql(url: str, statement: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
        return rows
    finally:
        await connection.close()


ADDRESSES = (
    "/admin/personas",
    "/admin/personas.csv",
    "/admin/personas/new",
    "/admin/personas/import",
    "/admin/personas/export",
    "/admin/personas/1",
    "/admin/personas/1/history",
    "/admin/personas/1/try",
)


async def test_only_admins_see_and_do(desk: httpx2.AsyncClient, url: str) -> None:
    token = await csrf(desk)
    for address in ADDRESSES:
        assert (await desk.get(address)).status_code == 200
    posts = ("new", "preview", "bulk", "import", "1", "1/return", "1/restore", "1/try")
    for address in posts:
        data = {"persona": "1", "do": "remove", "sure": "yes", "username": "eve", "description": "x"}
        for headers, given in (
            ({"Sec-Fetch-Site": "cross-site"}, {**data, "csrf": token}),
            ({}, {**data, "csrf": "0" * 64}),
            ({}, data),
        ):
            answer = await desk.post(f"/admin/personas/{address}", data=given, headers=headers)
            assert answer.status_code == 403, address
    desk.cookies.clear()
    for address in ADDRESSES:
        answer = await desk.get(address)
        assert (answer.status_code, answer.headers["location"][:12]) == (303, "/admin/login")
    for address in posts:
        assert (await desk.post(f"/admin/personas/{address}", data={"csrf": token})).status_code == 303
    assert [(r["username"], r["status"]) for r in await sql(url, "SELECT * FROM personas")] == [("ann", "active")]


async def test_the_editor_gives_back_what_it_shows(desk: httpx2.AsyncClient, url: str) -> None:
    before = await sql(url, "SELECT * FROM personas")
    shown = await page(desk, "/admin/personas/1")
    assert shown.form()["traits"] == "calm\ncurious"
    assert shown.form()["demographics"] == "age: 41\ncity: Graz"
    answer = await desk.post("/admin/personas/1", data=shown.form())
    assert answer.headers["location"] == "/admin/personas/1?done=persona-same"
    changed = shown.form() | {"traits": "calm\r\n\r\n stubborn ", "temperature": "", "demographics": "age: 42"}
    assert (await desk.post("/admin/personas/1", data=changed)).headers["location"].endswith("done=persona-saved")
    (row,) = await sql(url, "SELECT * FROM personas")
    profile = json.loads(row["profile"])
    assert (profile["traits"], profile["demographics"], row["temperature"]) == (["calm", "stubborn"], {"age": 42}, None)
    assert {**dict(row), "profile": "", "temperature": 0} == {**dict(before[0]), "profile": "", "temperature": 0}
    (kept,) = await sql(url, "SELECT * FROM persona_versions")
    assert (kept["version"], kept["replaced_by"], json.loads(kept["spec"])["traits"]) == (1, 1, ["calm", "curious"])
    actions = [r["action"] for r in await sql(url, "SELECT action FROM audit ORDER BY id")]
    assert actions[-2:] == ["persona.created", "persona.replaced"]


async def test_the_api_keeps_versions_too(desk: httpx2.AsyncClient, url: str) -> None:
    login = await desk.post("/auths/login", data={"username": "ada", "password": PASSWORD})
    headers = {"Authorization": f"Bearer {login.json()['access_token']}", "Accept": "application/json"}
    assert (await desk.patch("/personas/1", json={"bio": "one"}, headers=headers)).json()["bio"] == "one"
    assert (await desk.put("/personas/1", json={**ANN, "bio": "two"}, headers=headers)).json()["bio"] == "two"
    rows = await sql(url, "SELECT version, spec ->> 'bio' AS bio, replaced_by FROM persona_versions ORDER BY 1")
    assert [tuple(row) for row in rows] == [(1, "Trams.", 1), (2, "one", 1)]


async def test_a_stale_form_loses_nothing(desk: httpx2.AsyncClient, url: str) -> None:
    mine = (await page(desk, "/admin/personas/1")).form() | {"bio": "mine", "goals": "mend more"}
    theirs = (await page(desk, "/admin/personas/1")).form() | {"bio": "theirs"}
    assert (await desk.post("/admin/personas/1", data=theirs)).status_code == 303
    answer = await desk.post("/admin/personas/1", data=mine)
    assert answer.status_code == 409
    again = Page(answer.text)
    assert again.form()["bio"] == "mine"
    assert "<del>theirs</del>" in answer.text
    assert "<ins>mine</ins>" in answer.text
    assert [r["bio"] for r in await sql(url, "SELECT bio FROM personas")] == ["theirs"]
    assert (await desk.post("/admin/personas/1", data=again.form())).status_code == 303
    assert [r["bio"] for r in await sql(url, "SELECT bio FROM personas")] == ["mine"]
    versions = await sql(url, "SELECT spec ->> 'bio' AS bio FROM persona_versions ORDER BY version")
    assert [r["bio"] for r in versions] == ["Trams.", "theirs"]
    forged = mine | {"mark": "ä" * 500}
    assert (await desk.post("/admin/personas/1", data=forged)).status_code == 409


async def test_history_shows_and_restores(desk: httpx2.AsyncClient, url: str) -> None:
    for n in range(12):
        form = (await page(desk, "/admin/personas/1")).form() | {"bio": f"bio {n}"}
        await desk.post("/admin/personas/1", data=form)
    shown = await desk.get("/admin/personas/1/history")
    assert "Version 12 → 13" in shown.text
    assert "Version 2 →" not in shown.text
    older = next(link for link in Page(shown.text).links if "before=" in link)
    assert "<del>Trams.</del>" in (await desk.get(older)).text
    await send(desk, "/admin/personas/bulk", persona="1", do="pause")
    answer = await send(desk, "/admin/personas/1/restore", version="1")
    assert answer.headers["location"].endswith("done=persona-restored")
    (row,) = await sql(url, "SELECT bio, status FROM personas")
    assert tuple(row) == ("Trams.", "paused")
    for version, status in (("99", 404), ("0", 422), ("x", 422), ("9" * 30, 422), ("", 422)):
        assert (await send(desk, "/admin/personas/1/restore", version=version)).status_code == status
    for query, status in (("before=0", 422), ("before=x", 422), (f"before={2**63 - 1}", 200), ("before=1", 200)):
        assert (await desk.get(f"/admin/personas/1/history?{query}")).status_code == status
    assert (await desk.get("/admin/personas/99/history")).status_code == 404


WRONG = (
    ("username", "", "letters"),
    ("username", "no spaces", "letters"),
    ("username", "x" * 41, "at most 40"),
    ("description", "", "must not be empty"),
    ("description", "x" * 8001, "8001 characters"),
    ("bio", "a\x00b", "U+0000"),
    ("traits", "a\n" * 33, "33 entries"),
    ("goals", "fine\n" + "x" * 201, "entry 2"),
    ("temperature", "3", "from 0 to 2"),
    ("temperature", "nan", "a number"),
    ("temperature", "1e999", "a number"),
    ("activity", "-0.1", "from 0 to 1"),
    ("status", "departed", "active"),
    ("demographics", "no colon", "entry 1"),
    ("demographics", "a: 1\na: 2", "second time"),
    ("demographics", "a: " + "9" * 10, "whole number"),
    ("model", "x" * 300, "300 characters"),
)


async def test_what_is_wrong_is_said_at_its_field(desk: httpx2.AsyncClient, url: str) -> None:
    shown = (await page(desk, "/admin/personas/1")).form()
    for field, value, words in WRONG:
        for address in ("/admin/personas/1", "/admin/personas/new", "/admin/personas/preview"):
            answer = await desk.post(address, data=shown | {field: value})
            assert answer.status_code == 422, (address, field, value)
            found = re.search(rf'id="wrong-{field}">([^<]*)<', answer.text)
            assert found is not None
            assert words in found[1]
            assert Page(answer.text).form()["display_name"] == "Ann Arbor"
    assert len(await sql(url, "SELECT FROM persona_versions")) == 0


async def test_making_and_copying(desk: httpx2.AsyncClient, url: str) -> None:
    assert (
        await desk.post("/admin/personas/new", data=(await page(desk, "/admin/personas/1")).form())
    ).status_code == 409
    copy = await page(desk, "/admin/personas/new?like=1")
    assert copy.form()["username"] == "ann_2"
    assert copy.form()["persona"] == ""
    answer = await desk.post("/admin/personas/new", data=copy.form())
    assert answer.headers["location"] == "/admin/personas/3?done=persona-made"
    assert "Moved in" in (await desk.get(answer.headers["location"])).text
    first, second = await sql(
        url, "SELECT description, bio, profile, model, temperature, activity FROM personas ORDER BY id"
    )
    assert tuple(first) == tuple(second)
    assert (await desk.get("/admin/personas/new?like=99")).status_code == 404
    assert (await desk.get("/admin/personas/new?like=x")).status_code == 422
    for odd in ("0", "-1", "x", "9" * 25, "1.5"):
        assert (await desk.get(f"/admin/personas/{odd}")).status_code == 422
    assert (await desk.get(f"/admin/personas/{2**63 - 1}")).status_code == 404


async def test_the_preview_is_a_page_or_a_part_of_one(desk: httpx2.AsyncClient) -> None:
    form = (await page(desk, "/admin/personas/1")).form() | {"description": "Sings <b>loud</b>."}
    whole = await desk.post("/admin/personas/preview", data=form)
    assert "<h1" in whole.text
    part = await desk.post("/admin/personas/preview", data=form | {"fragment": "1"})
    assert part.text.startswith('<div class="seen" data-seen>')
    for answer in (whole, part):
        assert answer.status_code == 200
        assert "Sings &lt;b&gt;loud&lt;/b&gt;." in answer.text
        assert "You are @ann (Ann Arbor), mechanic." in answer.text
        assert re.search(r"about [\d,]+ tokens", answer.text)
    bad = await desk.post("/admin/personas/preview", data=form | {"fragment": "1", "username": ""})
    assert bad.status_code == 422
    assert "username" in bad.text
    for odd in ("9" * 19, "x", "-1"):
        answer = await desk.post("/admin/personas/preview", data=form | {"fragment": "1", "persona": odd})
        assert answer.status_code in (200, 422)


async def test_trying_a_turn_writes_nothing(desk: httpx2.AsyncClient, url: str) -> None:
    counts = "SELECT (SELECT count(*) FROM posts), (SELECT count(*) FROM turns), (SELECT count(*) FROM calls)"
    answer = await send(desk, "/admin/personas/1/try", model="")
    assert answer.status_code == 200
    assert "What it would have done" in answer.text
    assert "Step 1" in answer.text
    assert [tuple(r) for r in await sql(url, counts)] == [(0, 0, 0)]
    for odd in ("gpt-4o-mini", "no-such-model", "x" * 999, "a\x00b"):
        assert (await send(desk, "/admin/personas/1/try", model=odd)).status_code == 422
        assert (
            await desk.get("/admin/personas/1/try", params={"model": odd.replace("\x00", "\x01")})
        ).status_code == 422
    assert (await send(desk, "/admin/personas/9/try", model="")).status_code == 404
    await sql(url, "UPDATE personas SET description = $1, bio = $1", HOSTILE)
    assert (await send(desk, "/admin/personas/1/try", model="")).status_code == 200


async def populate(url: str, n: int) -> None:
    await sql(
        url,
        """INSERT INTO personas (username, description, status, posts_count, profile)
           SELECT 'p' || n, 'x', CASE n % 3 WHEN 0 THEN 'paused' ELSE 'active' END, n % 7,
                  jsonb_build_object('display_name', 'Number ' || n) FROM generate_series(1, $1::int) n""",
        n,
    )


@pytest.mark.parametrize("sort", ["newest", "oldest", "name", "posts", "cost", "failures", "recent"])
async def test_every_sort_pages_through_all_once(desk: httpx2.AsyncClient, url: str, sort: str) -> None:
    await populate(url, 120)
    await sql(url, "INSERT INTO runs (venue, slot, seed) VALUES ('feed', 's', 1)")
    await sql(
        url,
        """INSERT INTO turns (run_id, persona_id, ordinal, state, started_at, ended_at)
           SELECT 1, n, n, CASE n % 2 WHEN 0 THEN 'failed' ELSE 'done' END, now(), now()
           FROM generate_series(2, 60) n""",
    )
    await sql(
        url,
        """INSERT INTO calls (turn_id, step, status, model, model_returned, options, told, tools_sha256, request_sha256,
                              reply, response, cost_usd)
           SELECT id, 0, 'ok', 'm', 'm', '', '', '', '', '', '', id / 1000.0 FROM turns WHERE id <> 7""",
    )
    seen: list[str] = []
    address: str | None = f"/admin/personas?sort={sort}"
    while address:
        found = await page(desk, address)
        seen += [link for link in found.links if re.fullmatch(r"/admin/personas/\d+", link)]
        address = next((link for link in found.links if "cursor=" in link and ".csv" not in link), None)
        if address and f"sort={sort}" not in address and sort != "newest":
            pytest.fail("the sort is lost")
        if address and len(seen) > 130:
            pytest.fail("it goes in circles")
        address = address if address and len(seen) % 50 == 0 else None
    assert len(seen) == len(set(seen)) == 121
    if sort == "cost":
        assert seen[0] == "/admin/personas/60"


async def test_search_state_and_hostile_queries(desk: httpx2.AsyncClient, url: str) -> None:
    await populate(url, 12)
    assert "Ann Arbor" in (await page(desk, "/admin/personas?q=ARB")).text
    assert "Nobody of that name" in (await page(desk, "/admin/personas?q=zzz%25")).text
    assert "Number 3" in (await page(desk, "/admin/personas?state=paused&q=number")).text
    assert "Number 4" not in (await page(desk, "/admin/personas?state=paused")).text
    assert "Nobody has departed" in (await page(desk, "/admin/personas?state=departed")).text
    for query in ("sort=x", "state=x", "cursor=x", "cursor=" + "A" * 300, "q=" + "x" * 101, "q=%01"):
        assert (await desk.get(f"/admin/personas?{query}")).status_code == 422, query
        assert (await desk.get(f"/admin/personas.csv?{query}")).status_code == 422, query
    assert (await desk.get("/admin/personas?q=&sort=&state=&cursor=&other=1")).status_code == 200
    await sql(url, "DELETE FROM personas")
    assert "No personas yet" in (await page(desk, "/admin/personas")).text


async def test_what_is_written_is_text(desk: httpx2.AsyncClient, url: str) -> None:
    profile = json.dumps(dict.fromkeys(("display_name", "role", "style", "leaning"), HOSTILE) | {"traits": [HOSTILE]})
    await sql(url, "UPDATE personas SET description = $1, bio = $1, model = $1, profile = $2", HOSTILE, profile)
    form = (await page(desk, "/admin/personas/1")).form()
    assert form["description"] == HOSTILE
    await desk.post("/admin/personas/1", data=form | {"bio": "x", "traits": HOSTILE + HOSTILE})
    for address in ("/admin/personas", "/admin/personas/1", "/admin/personas/1/history", "/admin/personas/1/try"):
        answer = await desk.get(address)
        assert all(script.get("src", "").startswith("/static/") for script in Page(answer.text).scripts), address  # type: ignore[union-attr]
        assert "<img src=x" not in answer.text
        assert "unsafe-inline" not in answer.headers["content-security-policy"]
        assert "no-store" in answer.headers["cache-control"]


async def test_many_at_once(desk: httpx2.AsyncClient, url: str) -> None:
    await populate(url, 5)
    states = "SELECT status FROM personas ORDER BY id"
    answer = await send(desk, "/admin/personas/bulk", persona=["2", "3", "99"], do="pause", back="/admin/personas?q=p")
    assert answer.headers["location"] == "/admin/personas?q=p&done=personas-paused"
    assert [r["status"] for r in await sql(url, states)][:4] == ["active", "paused", "paused", "paused"]
    await send(desk, "/admin/personas/bulk", persona=["2", "3", "4"], do="resume", back="https://evil.test/")
    assert [r["status"] for r in await sql(url, states)][:4] == ["active"] * 4
    asked = await send(desk, "/admin/personas/bulk", persona=["2", "3"], do="remove", back="//evil.test")
    assert asked.status_code == 200
    assert "Remove 2 personas?" in asked.text
    assert "stays readable" in asked.text
    assert "evil" not in asked.text
    assert "departed" not in [r["status"] for r in await sql(url, states)]
    given = Page(asked.text).fields
    answer = await send(desk, "/admin/personas/bulk", persona=given["persona"], do="remove", sure="yes")
    assert answer.headers["location"] == "/admin/personas?done=personas-departed"
    assert [r["status"] for r in await sql(url, states)].count("departed") == 2
    assert (await send(desk, "/admin/personas/bulk", persona=["2", "3"], do="remove")).status_code == 409
    for bad in (
        {"do": "pause"},
        {"persona": "1", "do": "explode"},
        {"persona": "x", "do": "pause"},
        {"persona": "9" * 19, "do": "pause"},
        {"persona": "0", "do": "pause"},
    ):
        assert (await send(desk, "/admin/personas/bulk", **bad)).status_code == 422
    audit = [r["action"] for r in await sql(url, "SELECT action FROM audit ORDER BY id")]
    assert audit.count("persona.departed") == 2
    assert audit.count("persona.resumed") == 3


async def test_departing_and_coming_back(desk: httpx2.AsyncClient, url: str) -> None:
    await sql(url, "INSERT INTO runs (venue, slot, seed, state) VALUES ('feed', 's', 1, 'running')")
    await sql(url, "INSERT INTO turns (run_id, persona_id, ordinal) VALUES (1, 1, 1)")
    await send(desk, "/admin/personas/bulk", persona="1", do="remove", sure="yes", back="/admin/personas/1")
    assert [tuple(r) for r in await sql(url, "SELECT state, reason FROM turns")] == [("failed", "departed")]
    assert "Bring back" in (await desk.get("/admin/personas/1")).text
    assert (await send(desk, "/admin/personas/1", **ANN | {"traits": "", "demographics": ""})).status_code == 404
    answer = await send(desk, "/admin/personas/1/return")
    assert answer.headers["location"].endswith("done=persona-back")
    assert [r["status"] for r in await sql(url, "SELECT status FROM personas")] == ["paused"]
    assert (await send(desk, "/admin/personas/1/return")).status_code == 404
    await send(desk, "/admin/personas/bulk", persona="1", do="remove", sure="yes")
    await sql(url, "INSERT INTO personas (username, description) VALUES ('ANN', 'x')")
    assert (await send(desk, "/admin/personas/1/return")).status_code == 409


async def test_the_csv_holds_what_is_shown_and_no_formula(desk: httpx2.AsyncClient, url: str) -> None:
    await populate(url, 60)
    await sql(url, "UPDATE personas SET profile = $1, model = '+1' WHERE id = 1", json.dumps({"display_name": '=1+1"'}))
    answer = await desk.get("/admin/personas.csv?sort=oldest")
    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.reader(io.StringIO(answer.text)))
    assert len(rows) == 51
    assert rows[1][:6] == ["1", "ann", "'=1+1\"", "'+1", "active", "0"]
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


async def test_what_is_exported_can_be_imported(desk: httpx2.AsyncClient, url: str) -> None:
    await populate(url, 30)
    answer = await desk.get("/admin/personas/export")
    assert answer.headers["content-disposition"] == 'attachment; filename="personas.json"'
    found = parse_personas(answer.content, "personas.json")
    assert (len(found.personas), found.problems) == (31, [])
    assert found.personas[0] == PersonaSpec.model_validate(ANN)
    taken = await send(desk, "/admin/personas/import", text=answer.text, do="make")
    assert taken.status_code == 422
    assert "Handles that are taken" in taken.text
    await sql(url, "DELETE FROM personas")
    assert (await desk.get("/admin/personas/export")).json() == []
    look = await send(desk, "/admin/personas/import", text=answer.text, do="look")
    assert "31 personas would move in" in look.text
    assert len(await sql(url, "SELECT FROM personas")) == 0
    given = Page(look.text).fields
    made = await send(desk, "/admin/personas/import", text=given["text"][0], do="make")
    assert made.headers["location"] == "/admin/personas?done=personas-imported"
    again = await desk.get("/admin/personas/export")
    assert again.json() == answer.json()


BROKEN = (
    ("", "is empty"),
    ("[", "is not JSON"),
    ("[]", "holds no personas"),
    ('{"username":"a","description":"x"}\n{"username":"b"}', "line 2"),
    ("username,description\na,x\nb,", "line 3"),
    ("username;description\na;x", "separated by commas"),
    ('[{"username":"a","description":"x"},{"username":"A","description":"y"}]', "already the username"),
    ('[{"username":"a","description":"' + "<script>" + '","extra":1}]', "unknown field"),
    ("\x00", "is not JSON"),
    ("[" * 5000, "is not JSON"),
)


async def test_an_import_says_what_is_wrong_and_where(desk: httpx2.AsyncClient, url: str) -> None:
    for text, words in BROKEN:
        for do in ("look", "make"):
            answer = await send(desk, "/admin/personas/import", text=text, do=do)
            assert answer.status_code == 422, text[:40]
            assert text == "\x00" or words in Page(answer.text).text
    assert len(await sql(url, "SELECT FROM personas")) == 1


async def test_other_formats_are_taken_by_name(desk: httpx2.AsyncClient, url: str) -> None:
    table = "username,description\nzed,Zany"
    for more in ({"name": "people.csv"}, {"format": "csv"}, {}):
        assert "1 persona would move in" in (await send(desk, "/admin/personas/import", text=table, **more)).text
    assert (await send(desk, "/admin/personas/import", text=table, format="exe")).status_code == 422
    assert (await send(desk, "/admin/personas/import", text=table, name="\x00../etc\n" * 50)).status_code == 200


@pytest.mark.parametrize(
    "odd",
    [
        {"traits": ['"quoted"', "two\nlines", '"', "plain"]},
        {"demographics": {"a:b": "c", '"k"': "12", "n": 12, "two\nlines": "x\ny", "e": "", "colon": "a: b"}},
        {"fragments": ["“fancy”", "back\\slash", '"half']},
        {"temperature": 0.0, "activity": 0.0},
        {"activity": 1e-05},
    ],
)
def test_a_form_gives_back_whatever_a_persona_holds(odd: dict[str, Any]) -> None:
    spec = PersonaSpec.model_validate({"username": "a", "description": "two\nlines", **odd})
    assert spec_in(Form({name: [value] for name, value in fields_of(spec).items()})) == spec


def test_a_form_without_anything_says_so() -> None:
    with pytest.raises(WrongFields) as found:
        spec_in(Form({}))
    assert found.value.wrong.keys() >= {"username", "description", "status"}
