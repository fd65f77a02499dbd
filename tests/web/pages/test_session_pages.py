"""The pages of sessions: the list, the forms that begin one, a session as it grows, its files, and who may do what."""

import asyncio
import csv
import io
import json
import re
from contextlib import suppress
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.analysis.extracted import answer_columns
from app.analysis.tables import from_parquet
from app.db.engine import Database
from app.errors import Unavailable
from app.venues.session.design import Dialogue, Simulation, checked
from app.venues.session.forecast import forecast
from app.venues.session.opening import begin
from app.venues.session.stage import play
from app.web import session_relay
from app.web.pages.admin import session_page
from app.web.pages.admin import sessions as pages
from app.web.pages.admin.session_fields import WrongFieldsError, blank, design_of
from app.web.pages.admin.session_gallery import GALLERY, filled
from app.web.pages.admin.session_notation import WrongLinesError, demographics, fields, questions
from app.web.session_relay import SessionRelay
from app.world import sessions
from tests.conftest import PASSWORD, a_mind, serving, settings_for
from tests.web.pages.desk import at_desk, csrf, look
from tests.web.test_page import BROWSER, HOSTILE

HERE = "/admin/sessions"
DEMOGRAPHICS = {"age": {"18-29": 50, "30-60": 50}}
GROUP: dict[str, Any] = {
    "participants": {"mode": "from_demographics", "specifications": DEMOGRAPHICS, "count": 3},
    "simulation_config": {"rounds": 2, "enable_thinking": True},
    "stimulus": {"type": "product", "content": "A reusable coffee cup with a deposit of two euros."},
    "questions": [
        {"key": "use", "type": "likert", "text": "I would use this cup."},
        {"key": "colour", "type": "single", "text": "Which colour?", "options": ["red", "green"]},
        {"key": "pay", "type": "number", "text": "Which deposit?", "least": 0, "most": 20, "unit": "euros"},
        {"key": "first", "type": "ranking", "text": "What comes first?", "options": ["price", "look", "weight"]},
        {"key": "rated", "type": "matrix", "text": "How good is …", "rows": ["the look", "the price"]},
        {"key": "own", "type": "multiple", "text": "Which do you own?", "options": ["bike", "car"]},
    ],
    "extraction_config": {
        "fields": ["reason", {"name": "would_use", "type": "boolean", "hint": "would use the cup"}],
        "extraction_objective": "Who would use it and why",
    },
    "checks": ["adherence", "self_consistency", "fluency", "repetition", "convergence", "judge"],
    "terms": {"seed": 7},
}
TALK: dict[str, Any] = {
    "bots": [{"name": "Geo", "prompt": "You are a geologist."}, {"name": "Mara", "prompt": "You are a journalist."}],
    "seed_message": {"from": "Host", "message": "Where do rare earth metals come from?"},
    "stop": {"turns": 4},
    "checks": ["repetition", "convergence"],
    "terms": {"seed": 7},
}


async def played(database: Database, url: str, kind: Any, design: dict[str, Any], **more: Any) -> str:
    """A session, played to its end unless it waits."""
    chosen = checked(Dialogue if kind == "dialogue" else Simulation, design)
    key = await begin(database, settings_for(url), kind, chosen, **more)
    if not more.get("waits"):
        async with a_mind(database) as mind:
            await play(mind, settings_for(url), (await sessions.found(database, key))["id"])
    return key


def sent_form(template: str, **changed: str) -> dict[str, Any]:
    """A template's form as a browser sends it: boxes that are not ticked are not sent."""
    given = filled(GALLERY[template])
    texts = {**given.texts, **changed}
    return {name: text for name, text in texts.items() if text} | {"checks": list(given.checks), "do": "begin"}


async def send(client: httpx2.AsyncClient, path: str, **fields: Any) -> httpx2.Response:
    return await client.post(HERE + path, data={"csrf": await csrf(client), **fields})


# The list


async def test_an_empty_world_says_what_to_do(browser: httpx2.AsyncClient) -> None:
    page = await look(browser, HERE)
    assert "No sessions yet" in page.text
    for key, one in GALLERY.items():
        assert f"{HERE}/new/{one.kind}?template={key}" in page.links
    assert HERE in (await look(browser, "/admin")).links
    assert "No interviews yet" in (await look(browser, f"{HERE}?kind=interview")).text
    new = await look(browser, f"{HERE}/new")
    assert {f"{HERE}/new/{kind}" for kind in pages.BEGINS} <= set(new.links)


async def test_the_list_tells_how_sessions_stand(database: Database, url: str) -> None:
    done = await played(database, url, "dialogue", TALK, name=HOSTILE[:150])
    waits = await played(database, url, "dialogue", TALK, name="waits", waits=True)
    cancelled = await played(database, url, "dialogue", TALK, waits=True)
    await sessions.cancel(database, (await sessions.found(database, cancelled))["id"])
    async with at_desk(url) as client:
        page = await look(client, HERE)
        assert [link for link in page.links if re.fullmatch(rf"{HERE}/[a-z0-9]{{12}}", link)] == [
            f"{HERE}/{key}" for key in (cancelled, waits, done)
        ]
        states = [a["class"] for a in page.all("span") if a.get("class", "").startswith("state state-")]
        assert states == ["state state-cancelled", "state state-paused", "state state-completed"]
        assert HOSTILE[:30] in page.text
        assert "4 of 4" in page.text
        assert "No surveys yet" in (await look(client, f"{HERE}?kind=survey")).text
        assert (await look(client, f"{HERE}?kind=dialogue")).text.count("of 4") == 1


async def test_older_sessions_are_a_page_further(database: Database, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PAGE", 2)
    keys = [await played(database, url, "dialogue", TALK, waits=True) for _ in range(3)]
    async with at_desk(url) as client:
        first = await look(client, HERE)
        (older,) = [a["href"] for a in first.all("a", rel="next")]
        second = await look(client, older)
        assert f"{HERE}/{keys[0]}" in second.links
        assert f"{HERE}/{keys[2]}" not in second.links
        assert "very first session" in second.text


# Forms


@pytest.mark.parametrize("kind", list(pages.BEGINS))
async def test_forms_are_there_and_whole(browser: httpx2.AsyncClient, kind: Any) -> None:
    page = await look(browser, f"{HERE}/new/{kind}")
    named = {a.get("name") for tag in ("input", "textarea", "select") for a in page.all(tag)}
    assert set(blank(kind).texts) - {"in_turn", "broadcast"} <= named
    assert "checks" in named


@pytest.mark.parametrize("name", list(GALLERY))
async def test_a_template_begins_as_it_is(browser: httpx2.AsyncClient, database: Database, name: str) -> None:
    template = GALLERY[name]
    page = await look(browser, f"{HERE}/new/{template.kind}?template={name}")
    assert template.fills["seed"] in {a.get("value") for a in page.all("input", name="seed")}
    foretold = await send(browser, f"/new/{template.kind}", **{**sent_form(name), "do": "estimate"})
    assert foretold.status_code == 200
    assert "About what it takes" in foretold.text
    assert await database.fetchval("SELECT count(*) FROM sessions") == 0
    answer = await send(browser, f"/new/{template.kind}", **sent_form(name))
    assert answer.status_code == 303, answer.text
    row = await sessions.found(database, answer.headers["location"].split("/")[-1].partition("?")[0])
    assert (row["kind"], row["name"], row["state"]) == (template.kind, template.fills["name"], "running")
    assert await database.fetchval("SELECT count(*) FROM audit WHERE action = 'session.begun'") == 1


async def test_personas_of_the_world_and_pasted_ones_take_part(browser: httpx2.AsyncClient, database: Database) -> None:
    await database.fetch(
        "INSERT INTO personas (username, description) SELECT 'p' || n, 'who likes herring' FROM generate_series(1, 5) n"
    )
    cup = "returnable-cup"

    async def who(**changed: str) -> list[str]:
        answer = await send(browser, "/new/focus_group", **sent_form(cup, waits="yes", **changed))
        assert answer.status_code == 303, re.findall(r'class="wrong".*', answer.text)
        row = await sessions.found(database, answer.headers["location"].split("/")[-1].partition("?")[0])
        assert row["state"] == "paused"
        return [member.name for member in (await sessions.members(database, row["id"]))[1:]]

    assert await who(mode="world", handles="@p2, p4", count="") == ["p2", "p4"]
    assert len(await who(mode="world", handles="", count="3")) == 3
    two = json.dumps([{"username": "ana", "persona": "A baker."}, {"username": "bo", "persona": "A pilot."}])
    assert await who(mode="json", people=two, count="") == ["ana", "bo"]
    assert len(await who(mode="json", people=two[1:-1].partition("}, ")[0] + "}", count="2")) == 2
    talk = sent_form("rare-earths", bot1_name="", bot1_persona="p1", bot1_prompt="")
    assert (await send(browser, "/new/dialogue", **talk)).status_code == 303


@pytest.mark.parametrize(
    ("which", "changed", "field", "told"),
    [
        ("returnable-cup", {"rounds": "many"}, "rounds", "whole number"),
        ("returnable-cup", {"rounds": "0"}, "rounds", "greater than or equal to 1"),
        ("returnable-cup", {"count": "1001"}, "count", "1000"),
        ("returnable-cup", {"count": "-1"}, "count", "1"),
        ("returnable-cup", {"content": "", "questions": ""}, "content", "needed"),
        ("returnable-cup", {"questions": "single: Which? | red"}, "questions", "line 1"),
        ("returnable-cup", {"questions": "likert: a\n\nnumber: b | 9..1"}, "questions", "line 3"),
        ("returnable-cup", {"fields": "mood (sad)"}, "fields", "is no type"),
        ("returnable-cup", {"fields": "a\na"}, "fields", "differ"),
        ("returnable-cup", {"demographics": "age"}, "demographics", "line 1"),
        ("returnable-cup", {"demographics": '{"age": '}, "demographics", "JSON"),
        ("returnable-cup", {"demographics": ""}, "demographics", "demographics object"),
        ("returnable-cup", {"mode": "json", "people": "[1]"}, "people", ""),
        ("returnable-cup", {"mode": "json", "people": "[{"}, "people", "JSON"),
        ("returnable-cup", {"mode": "json", "people": ""}, "people", "JSON"),
        ("returnable-cup", {"mode": "world", "handles": "nobody_here", "count": ""}, "handles", "no persona"),
        ("returnable-cup", {"mode": "world", "handles": "", "count": ""}, "count", "how many"),
        ("returnable-cup", {"mode": "world", "handles": ""}, "handles", "no personas"),
        ("returnable-cup", {"in_turn": "yes", "broadcast": ""}, "in_turn", "broadcast"),
        ("returnable-cup", {"seed": "x"}, "seed", "whole number"),
        ("returnable-cup", {"model": "no-such-model-x"}, "model", "model"),
        ("returnable-cup", {"stimulus_type": "dance"}, "stimulus_type", "must be"),
        ("rare-earths", {"turns": "0"}, "turns", "1"),
        ("rare-earths", {"bot2_name": "", "bot2_prompt": ""}, "bot2_name", "two bots"),
        ("rare-earths", {"bot2_name": "Geologist"}, "bot1_name", "own"),
        ("rare-earths", {"bot2_persona": "nobody_here"}, "bot2_persona", "no persona"),
        ("rare-earths", {"bot2_model": "no-such-model-x"}, "bot2_model", "model"),
        ("rare-earths", {"bot2_model": "m" * 201}, "bot2_model", "200"),
        ("rare-earths", {"bot2_name": "", "bot2_prompt": "", "bot4_name": "N" * 61}, "bot4_name", "60"),
        ("rare-earths", {"initial_bot": "Zed"}, "initial_bot", "must be random or one of"),
        ("rare-earths", {"seed_message": " "}, "seed_message", "empty"),
        ("rare-earths", {"seed_from": ""}, "seed_from", "empty"),
        ("rare-earths", {"turn_taking": HOSTILE}, "turn_taking", "must be"),
        ("rare-earths", {"temperature": "3"}, "temperature", "2"),
    ],
)
async def test_a_wrong_field_is_told_beside_it_and_nothing_typed_is_lost(
    browser: httpx2.AsyncClient, database: Database, which: str, changed: dict[str, str], field: str, told: str
) -> None:
    one = GALLERY[which]
    answer = await send(browser, f"/new/{one.kind}", **sent_form(which, name=HOSTILE[:120], **changed))
    assert answer.status_code == 422
    beside = re.search(rf'<p class="wrong" id="(?:wrong|hint)-{field}">(.*?)</p>', answer.text)
    assert beside is not None, re.findall(r'class="wrong".*', answer.text)
    assert told in beside[1]
    assert f'href="#f-{field}"' in answer.text
    assert "<script>window" not in answer.text
    kept = filled(one).texts | changed
    for name in ("content", "bot1_prompt"):
        assert name not in kept or not kept[name] or kept[name][:40] in answer.text
    assert await database.fetchval("SELECT count(*) FROM sessions") == 0


def test_questions_are_read_from_lines() -> None:
    found = questions(
        "What do you think?\n[use] likert: Would use. | 7 | never | always\nnumber: Pay? | 0..20 whole euros\n"
        "single: Colour? | red | green | if use >= 5\nmultiple: Own? | a | b\nranking: Order? | a | b | c\n"
        "matrix: Rate | look | price\n[why] Why? | if q4 = red, green\nNote: is this open?"
    )
    assert [q.type for q in found] == [
        *("open", "likert", "number", "single", "multiple", "ranking", "matrix", "open", "open")
    ]
    assert [q.key for q in found] == ["q1", "use", "q3", "q4", "q5", "q6", "q7", "why", "q9"]
    assert (found[1].points, found[1].low, found[1].high) == (7, "never", "always")
    assert (found[2].least, found[2].most, found[2].whole, found[2].unit) == (0, 20, True, "euros")
    assert found[3].when.at_least == 5
    assert found[7].when.among == ("red", "green")
    assert (found[7].text, found[8].text) == ("Why?", "Note: is this open?")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("single: a? | b", "two options"),
        ("single: a? | b | b", "differ"),
        ("likert: a | never", "both its ends"),
        ("likert: a | 99", "points"),
        ("number: a | 1..2 | 3", "one range"),
        ("open: a | b", "no options"),
        ("[bad key] a", "letters, digits"),
        ("a | if x ~ 3", "condition"),
        ("a | if x >= much", "needs a number"),
        ("matrix: a", "rows"),
        ("likert:  | 5", ""),
    ],
)
def test_a_line_that_is_no_question_is_told_by_its_number(line: str, told: str) -> None:
    with pytest.raises(WrongLinesError, match=r"^line 2: ") as wrong:
        questions(f"fine\n{line}")
    assert told in str(wrong.value)


def test_fields_and_demographics_are_read_from_lines() -> None:
    found = fields("reason: the main one\nuse (boolean): would\nmood (glad | angry)\npay (number 0..20)\nages (list)")
    assert [f.type for f in found] == ["text", "boolean", "category", "number", "list"]
    assert (found[2].options, found[3].most, found[0].hint) == (("glad", "angry"), 20, "the main one")
    assert demographics("age: 18-29 = 20, 30-60 80%\ncity: Bad Ems = 1, Ulm=2") == {
        "age": {"18-29": 20.0, "30-60": 80.0},
        "city": {"Bad Ems": 1.0, "Ulm": 2.0},
    }
    assert demographics('{"a": {"b": 1}}') == {"a": {"b": 1}}
    for wrong in ("a: b = 1\na: c = 2", "a: b = 1, b = 2", "no colon", "a: nothing"):
        with pytest.raises(WrongLinesError):
            demographics(wrong)


@given(st.text(max_size=300))
def test_whatever_is_typed_is_read_or_refused(text: str) -> None:
    for read in (questions, fields, demographics):
        with suppress(WrongLinesError):
            read(text)


@given(st.dictionaries(st.sampled_from(sorted(blank("focus_group").texts)), st.text(max_size=80), max_size=6))
def test_whatever_a_form_holds_is_a_design_or_told_by_fields(changed: dict[str, str]) -> None:
    form = filled(GALLERY["returnable-cup"])
    form.texts.update(changed)
    wrong: dict[str, str] = {}
    try:
        design_of("focus_group", form)
    except WrongFieldsError as error:
        wrong = error.wrong
    assert set(wrong) <= {*form.texts, "form", "checks"}


@pytest.mark.parametrize("name", list(GALLERY))
async def test_what_is_foretold_is_about_what_it_takes(database: Database, url: str, name: str) -> None:
    template = GALLERY[name]
    design = design_of(template.kind, filled(template))
    people = len(design.bots) if isinstance(design, Dialogue) else design.participants.count or 0
    foretold = forecast(settings_for(url), design, people)
    key = await begin(database, settings_for(url), template.kind, design)
    async with a_mind(database) as mind:
        await play(mind, settings_for(url), (await sessions.found(database, key))["id"])
    spent = await database.fetchrow(sessions.SESSIONS["spent"], (await sessions.found(database, key))["id"])
    assert spent is not None
    for what, took in (("calls", spent["calls"]), ("prompt_tokens", spent["prompt_tokens"])):
        assert 0.6 < getattr(foretold, what) / took < 1.7, (what, foretold, dict(spent))
    assert 0.3 < foretold.completion_tokens / spent["completion_tokens"] < 3, (foretold, dict(spent))


# A session


async def test_a_group_shows_all_that_came_of_it(database: Database, url: str) -> None:
    key = await played(database, url, "focus_group", GROUP, name="Cups")
    async with at_desk(url) as client:
        page = await look(client, f"{HERE}/{key}")
        for words in ("I would use this cup.", "Which colour?", "Which deposit?", "What comes first?", "How good is …"):
            assert words in page.text
        for words in ("Round 2", "Private thought", "Quality of the talk", "In character", "judge model"):
            assert words in page.text
        assert "strongly disagree" in page.text
        row = await sessions.found(database, key)
        lines = await sessions.lines(database, row["id"])
        assert {f"line-{line.number}" for line in lines} <= page.ids
        turns = {line.turn_id for line in lines if line.turn_id}
        assert {f"/admin/traces/{turn}" for turn in turns} <= set(page.links)
        charts = [a for a in page.all("table") if a.get("class") == "bars"]
        assert len(charts) >= 6
        assert len(page.all("caption")) == len(charts)
        quoted = [link for link in page.links if link.startswith("#line-")]
        assert quoted
        assert all(link[1:] in page.ids for link in quoted)
        assert "Go on from here" in page.text
        assert len(page.all("form", action=f"{HERE}/{key}/recover")) == 2
        assert not page.all("form", action=f"{HERE}/{key}/do/pause")
        assert not [s for s in page.all("section") if "data-session" in s]
        for turn in sorted(turns)[:2]:
            await look(client, f"/admin/traces/{turn}")
        await look(client, f"/admin/runs/{row['run_id']}")


async def test_a_dialogue_tells_who_said_what_to_whom(database: Database, url: str) -> None:
    key = await played(database, url, "dialogue", TALK)
    async with at_desk(url) as client:
        html = (await client.get(f"{HERE}/{key}")).text
    spoken = re.findall(r'<strong dir="auto">(Host|Geo|Mara)</strong>.*?<bdi>(.*?)</bdi>', html)
    assert spoken[0] == ("Host", "everybody")
    assert set(spoken[1:]) == {("Geo", "Mara"), ("Mara", "Geo")}
    assert "line-host" in html


async def test_what_others_wrote_is_text(database: Database, url: str) -> None:
    key = await played(database, url, "focus_group", GROUP, name=HOSTILE)
    await database.fetch("UPDATE session_lines SET body = $1, thought = $1 WHERE body <> ''", HOSTILE)
    await database.fetch("UPDATE session_members SET name = left($1, 60) || number", HOSTILE)
    await database.fetch("UPDATE session_lines SET missing = $1, value = NULL WHERE kind = 'record'", HOSTILE)
    async with at_desk(url) as client:
        page = await look(client, f"{HERE}/{key}")
        assert page.text.count("<script>window.__xss=1</script>") > 10
        assert not page.all("img", src="x")
        stream = (await client.get(f"{HERE}/{key}/events")).text
        assert "<script>" not in stream.replace("\\u003c", "<")
        assert "&lt;script&gt;" in stream


async def test_long_transcripts_come_by_pages(database: Database, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_page, "LINES_SHOWN", 5)
    monkeypatch.setattr(session_page, "PEOPLE_SHOWN", 2)
    key = await played(database, url, "focus_group", GROUP)
    async with at_desk(url) as client:

        async def shown(query: str) -> list[int]:
            page = await look(client, f"{HERE}/{key}{query}")
            return sorted(int(i[5:]) for i in page.ids if re.fullmatch(r"line-\d+", i))

        last = (await sessions.found(database, key))["lines_count"]
        assert await shown("") == list(range(last - 4, last + 1))
        assert await shown("?upto=7") == [3, 4, 5, 6, 7]
        assert await shown("?upto=2") == [1, 2]
        assert await shown("?line=8") == [6, 7, 8, 9, 10]
        assert await shown("?line=1") == [1, 2, 3, 4, 5]
        assert len(await shown("?upto=99999999")) == 5
        page = await look(client, f"{HERE}/{key}?people=3")
        assert "3 to 3 of 3" in page.text
        assert [a for a in page.links if re.search(r"\?line=\d+#line-\d+$", a)]
        await look(client, f"{HERE}/{key}?people=999999")
        for wrong in ("?upto=0", "?line=x", "?people=0", f"?upto={10**30}"):
            await look(client, f"{HERE}/{key}{wrong}", 422)


async def test_pause_step_resume_cancel(database: Database, url: str) -> None:
    key = await played(database, url, "dialogue", TALK, waits=True)
    async with at_desk(url) as client:

        async def deed(name: str) -> int:
            return (await send(client, f"/{key}/do/{name}")).status_code

        page = await look(client, f"{HERE}/{key}")
        assert page.all("form", action=f"{HERE}/{key}/do/step")
        assert not page.all("form", action=f"{HERE}/{key}/do/pause")
        assert await deed("pause") == 409
        assert await deed("step") == 303
        row = await sessions.found(database, key)
        async with a_mind(database) as mind:
            assert await play(mind, settings_for(url), row["id"]) == "paused"
        said = (await sessions.found(database, key))["lines_count"]
        assert 0 < said < 5
        assert await deed("resume") == 303
        assert await deed("resume") == 409
        assert await deed("pause") == 303
        assert await deed("cancel") == 303
        assert await deed("cancel") == 409
        assert await deed("dance") == 422
        page = await look(client, f"{HERE}/{key}")
        assert "cancelled" in page.text
        assert not page.all("form", action=f"{HERE}/{key}/do/step")
        told = [r["action"] for r in await database.fetch("SELECT action FROM audit WHERE action LIKE 'session.%'")]
        assert told.count("session.resume") == 1


async def test_checkpoints_are_made_and_gone_on_from(database: Database, url: str) -> None:
    key = await played(database, url, "dialogue", TALK, waits=True, steps=None)
    async with at_desk(url) as client:
        for wrong in ("", "x" * 61, "a\nb", "\0"):
            answer = await send(client, f"/{key}/checkpoints", name=wrong)
            assert answer.status_code == 422
            assert 'id="wrong-point"' in answer.text
        assert (await send(client, f"/{key}/checkpoints", name="  here ")).status_code == 303
        assert (await send(client, f"/{key}/checkpoints", name="here")).status_code == 409
        page = await look(client, f"{HERE}/{key}")
        assert page.all("button", aria_label="Go on from here") or "here" in page.text
        answer = await send(client, f"/{key}/recover", checkpoint="here")
        assert answer.status_code == 303
        other = answer.headers["location"].split("/")[-1].partition("?")[0]
        assert f"{HERE}/{key}" in (await look(client, f"{HERE}/{other}")).links
        assert (await send(client, f"/{key}/recover", checkpoint=HOSTILE)).status_code == 404
        assert (await send(client, f"/{key}/recover", checkpoint="a\0b")).status_code == 404


# Files


async def test_files(database: Database, url: str) -> None:
    key = await played(database, url, "focus_group", GROUP, name="Cups")
    talk = await played(database, url, "dialogue", TALK)
    async with at_desk(url) as client:

        async def got(path: str) -> httpx2.Response:
            answer = await client.get(f"{HERE}/{path.replace('/', '/download/')}")
            assert answer.status_code == 200, answer.text[:500]
            assert answer.headers["content-disposition"] == f'attachment; filename="{path.replace("/", "-")}"'
            assert answer.headers["cache-control"] == "private, no-store"
            return answer

        lines = [json.loads(line) for line in (await got(f"{key}/transcript.jsonl")).text.splitlines()]
        assert [line["number"] for line in lines] == list(range(1, len(lines) + 1))
        text = (await got(f"{key}/transcript.md")).text
        assert text.startswith("# Cups\n")
        assert all(line["text"] in text for line in lines if line["kind"] == "say")
        answers = list(csv.DictReader(io.StringIO((await got(f"{key}/answers.csv")).text)))
        assert [row["name"] for row in answers] == [r["name"] for r in (await got(f"{key}/answers.json")).json()]
        design = checked(Simulation, GROUP)
        columns = answer_columns(design.questions)
        assert len(from_parquet((await got(f"{key}/answers.parquet")).content, columns).rows) == 3
        for kind in ("csv", "json", "parquet"):
            assert (await got(f"{key}/extraction.{kind}")).content
        result = (await got(f"{key}/result.json")).json()
        assert (result["operation_id"], result["status"], result["participants"]["total"]) == (key, "completed", 3)
        rows = list(csv.reader(io.StringIO((await got(f"{talk}/analytics.csv")).text)))
        assert rows[0][:3] == ["Bot", "Channel", "Generations"]
        assert [row[0] for row in rows[1:]] == ["Geo", "Mara"]
        assert (await client.get(f"{HERE}/{key}/download/analytics.csv")).status_code == 409
        assert (await client.get(f"{HERE}/{key}/download/all.exe")).status_code == 422


# Live


async def test_a_finished_session_is_told_at_once_and_once(database: Database, url: str) -> None:
    key = await played(database, url, "dialogue", TALK)
    async with at_desk(url) as client:
        stream = (await client.get(f"{HERE}/{key}/events?after=2")).text
        (told,) = [json.loads(each) for each in re.findall(r"data: (\{\"state.*)\n", stream)]
        assert told["state"] == "completed"
        assert told["words"]["answered"] == "4 of 4"
        assert re.findall(r'data-line="(\d+)"', told["html"]) == ["3", "4", "5"]
        assert "id: 5\n" in stream
        assert stream.endswith("event: end\ndata: {}\n\n")
        again = (await client.get(f"{HERE}/{key}/events", headers={"Last-Event-ID": "5"})).text
        assert "data-line" not in again
        for wrong in ("x", "-1", "9" * 30, "²"):
            assert (await client.get(f"{HERE}/{key}/events?after={wrong}")).text.count("data-line=") == 5
        assert (await client.head(f"{HERE}/{key}/events")).status_code == 200


async def test_lines_are_told_as_they_come(database: Database, url: str) -> None:
    key = await played(database, url, "dialogue", TALK, waits=True)
    row = await sessions.found(database, key)
    async with at_desk(url) as client, asyncio.timeout(60):
        watching = [asyncio.create_task(client.get(f"{HERE}/{key}/events")) for _ in range(3)]
        await asyncio.sleep(0.3)
        await sessions.go_on(database, row["id"])
        async with a_mind(database) as mind:
            await play(mind, settings_for(url), row["id"])
        for answer in await asyncio.gather(*watching):
            assert [int(n) for n in re.findall(r"data-line=\\?\"(\d+)", answer.text)] == [1, 2, 3, 4, 5]
            assert answer.text.count("event: end") == 1


async def test_a_stream_ends_with_its_admin_session(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_relay, "HEARTBEAT_SECONDS", 0.0)
    monkeypatch.setattr(session_relay, "LOOK_SECONDS", 0.05)
    key = await played(database, url, "dialogue", TALK, waits=True)
    async with at_desk(url) as client, asyncio.timeout(30):
        watching = asyncio.create_task(client.get(f"{HERE}/{key}/events"))
        await asyncio.sleep(0.3)
        assert not watching.done()
        await database.fetch("DELETE FROM admin_sessions")
        assert "event: end" not in (await watching).text


async def test_no_more_may_watch_than_there_is_room(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await played(database, url, "dialogue", TALK)
    relay = SessionRelay(database)
    async with relay.watching():
        monkeypatch.setattr(session_relay, "WATCHERS_MAX", 1)
        with pytest.raises(Unavailable):
            async with relay.watching():
                pass
    assert not relay.watchers
    monkeypatch.setattr(session_relay, "WATCHERS_MAX", 0)
    async with at_desk(url) as client:
        assert (await client.get(f"{HERE}/{key}/events")).status_code == 503


# Who may


WRONG = ["/0", "/abc", "/aaaaaaaaaaaa", "/AAAAAAAAAAAA", "/new/population", "/new/x", "?kind=dance", "?cursor=x"]


@pytest.mark.parametrize("path", [*WRONG, "/aaaaaaaaaaaa/events", "/aaaaaaaaaaaa/download/result.json"])
async def test_wrong_addresses_are_explained(browser: httpx2.AsyncClient, path: str) -> None:
    answer = await browser.get(HERE + path)
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"].startswith("text/html")


POSTS = ["/new/dialogue", "/{key}/do/pause", "/{key}/do/cancel", "/{key}/checkpoints", "/{key}/recover"]


@pytest.mark.parametrize("path", POSTS)
async def test_forms_count_only_from_our_pages(database: Database, url: str, path: str) -> None:
    key = await played(database, url, "dialogue", TALK, waits=True)
    async with at_desk(url) as client:
        token = await csrf(client)
        address = HERE + path.format(key=key)
        assert (await client.post(address, data={"csrf": "0" * 64})).status_code == 403
        answer = await client.post(address, data={"csrf": token}, headers={"Origin": "http://evil.test"})
        assert answer.status_code == 403
        gone = await client.post(HERE + path.format(key="a" * 12), data={"csrf": token})
        assert gone.status_code == (422 if path == "/new/dialogue" else 404)
    assert (await sessions.found(database, key))["ended_at"] is None


@pytest.mark.parametrize(
    "path", ["", "/new", "/new/dialogue", "/{key}", "/{key}/events", "/{key}/download/result.json"]
)
async def test_only_admins_see_sessions(database: Database, url: str, path: str) -> None:
    key = await played(database, url, "dialogue", TALK)
    async with serving(settings_for(url)) as anybody:
        answer = await anybody.get(HERE + path.format(key=key), headers=BROWSER)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/admin/login")


async def test_observers_read_and_change_nothing(database: Database, url: str) -> None:
    key = await played(database, url, "dialogue", TALK, waits=True)
    async with at_desk(url) as client:
        token = await csrf(client)
        await database.fetch("UPDATE admin SET role = 'observer'")
        page = await look(client, f"{HERE}/{key}")
        assert not [form for form in page.all("form") if form.get("action", "").startswith(f"{HERE}/{key}")]
        assert f"{HERE}/{key}/download/transcript.md" in page.links
        for path in POSTS:
            answer = await client.post(HERE + path.format(key=key), data={"csrf": token})
            assert answer.status_code == 403
    assert (await sessions.found(database, key))["state"] == "paused"


async def test_control_without_a_worker_the_page_says_that_nothing_moves(database: Database, url: str) -> None:
    key = await played(database, url, "dialogue", TALK, waits=True)
    async with at_desk(url) as client:
        assert "No worker is alive" in (await look(client, f"{HERE}/{key}")).text
    async with serving(settings_for(url, worker_enabled=True)) as client:
        client.headers.update(BROWSER)
        await client.post("/admin/login", data={"username": "ada", "password": PASSWORD})
        await asyncio.sleep(1)
        assert "No worker is alive" not in (await look(client, f"{HERE}/{key}")).text
