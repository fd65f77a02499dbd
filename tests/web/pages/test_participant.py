"""A participant's way over HTTP: what is stored when, which page comes next, and what hostile browsers get."""

import asyncio
import re
from dataclasses import dataclass
from html import unescape
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
import structlog
from structlog.testing import capture_logs

from app.auth import participants
from app.db.engine import Database
from app.settings import load_settings
from app.venues.chatroom import monitor, studies
from app.venues.chatroom.design import StudyDesign
from app.web import edge
from app.world import rooms
from tests.conftest import serving, settings_for
from tests.web.test_page import BROWSER

XSS = "<script>window.__xss=1</script>\"'><img src=x onerror=alert(1)>"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
QUESTIONS: list[dict[str, Any]] = [
    {"id": "why", "text": "Why do you come?", "kind": "open", "min": 3, "max": 50},
    {"id": "where", "text": "Where?", "kind": "single", "options": ["here", "there"]},
    {"id": "what", "text": "What?", "kind": "multiple", "options": ["a", "b", "c"], "min": 1, "max": 2},
    {"id": "mood", "text": "Mood?", "kind": "likert", "low": "bad", "high": "good"},
    {"id": "scale", "text": "Scale?", "kind": "likert", "min": 0, "max": 100, "required": False},
    {"id": "age", "text": "Age?", "kind": "number", "min": 18, "max": 120},
]
ANSWERS = {"q-why": "curious", "q-where": "there", "q-what": ["a", "c"], "q-mood": "6", "q-age": "44"}
CLOSING = [{"id": "end", "text": "How was it?", "kind": "open", "required": False}]
CONSENT = "We ask you to talk.\n\nIt is voluntary."
TABLES = ("participants", "identities", "answers", "rooms", "study_assigned", "runs")


@dataclass
class Lab:
    """A server with an open study, and the tokens that lead into it."""

    client: httpx2.AsyncClient
    database: Database
    study: int
    tokens: list[str]

    async def counts(self) -> dict[str, int]:
        """What is stored of people, and how many tokens are used."""
        rows = {table: int(await self.database.fetchval(f"SELECT count(*) FROM {table}")) for table in TABLES}
        used = await self.database.fetchval("SELECT count(*) FROM study_tokens WHERE redeemed_at IS NOT NULL")
        return {**rows, "used": int(used)}

    async def person(self) -> dict[str, Any]:
        """The newest participant."""
        rows = await self.database.fetch(
            "SELECT p.*, i.username, i.params::text AS params, "
            "r.key, r.id AS room_id, r.state AS room_state, r.end_reason AS room_end "
            "FROM participants p LEFT JOIN identities i ON i.participant_id = p.id "
            "LEFT JOIN rooms r ON r.participant_id = p.id ORDER BY p.id DESC LIMIT 1"
        )
        return dict(rows[0])

    async def join(self, token: str = "", query: str = "", **more: str) -> httpx2.Response:
        """Open the link, and agree to what it shows."""
        token = token or self.tokens.pop()
        page = await self.client.get(f"/s/{token}{query}")
        assert page.status_code == 200, page.text
        return await self.client.post("/s/join", data={**fields(page), "choice": "agree", **more})

    async def send(self, path: str, **given: Any) -> httpx2.Response:
        """Send a form of the page that is next."""
        page = await self.client.get("/s")
        return await self.client.post(path, data={**fields(page), **given})

    async def now(self) -> str:
        """The page that is next, followed to its end."""
        answer = await self.client.get("/s", follow_redirects=True)
        assert answer.status_code == 200, answer.text
        return words(answer)


def fields(page: httpx2.Response) -> dict[str, str]:
    """What a page's forms send unseen, and what is chosen in them."""
    found = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text))
    found |= dict(re.findall(r'<input type="radio" name="(kept)" value="([^"]*)" checked', page.text))
    return {name: unescape(value) for name, value in found.items()}


def words(page: httpx2.Response) -> str:
    """A page's text."""
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.text)))


def a_design(**more: Any) -> StudyDesign:
    return StudyDesign.model_validate(
        {
            "title": "Talk",
            "arms": {"a": {"prompt_template": "Be kind."}},
            "consent_text": CONSENT,
            "contact": "lab@example.org",
            "cast": [{"name": "Robin"}, {"name": "Sam"}],
            **more,
        }
    )


async def a_study(database: Database, name: str, count: int = 4, **more: Any) -> tuple[int, list[str]]:
    made = await studies.create(database, name, a_design(**more), seed=7, by=None)
    await studies.open_study(database, load_settings(), made, by=None)
    tokens = await studies.make_tokens(database, made, count, by=None)
    return made, [one.token for one in tokens]


async def a_lab(client: httpx2.AsyncClient, database: Database, **more: Any) -> Lab:
    study, tokens = await a_study(database, "one", **more)
    return Lab(client, database, study, tokens)


@pytest.fixture
async def lab(client: httpx2.AsyncClient, database: Database) -> Lab:
    return await a_lab(
        client, database, intake=QUESTIONS, closing=CLOSING, debrief_text="It was about talk.\n\nThanks."
    )


# Consent


async def test_nothing_is_stored_before_somebody_agrees(lab: Lab) -> None:
    before = await lab.counts()
    token = lab.tokens[0]
    page = await lab.client.get(f"/s/{token}?PROLIFIC_PID=p1&STUDY_ID=s1&other=x")
    assert page.status_code == 200
    assert page.headers["cache-control"] == "private, no-store"
    assert "We ask you to talk." in page.text
    assert "It is voluntary." in page.text
    assert "Artificial intelligence takes part" in page.text
    assert 'name="param-PROLIFIC_PID" value="p1"' in page.text
    assert "other" not in page.text
    saved = await lab.client.get(f"/s/{token}?text=1")
    assert (saved.text, saved.headers["content-type"].partition(";")[0]) == (CONSENT, "text/plain")
    declined = await lab.client.post("/s/join", data={**fields(page), "choice": "decline"})
    assert "Nothing about you has been stored" in words(declined)
    for answer in (page, saved, declined):
        assert "set-cookie" not in answer.headers
    assert await lab.counts() == before
    answer = await lab.client.post("/s/join", data={**fields(page), "choice": "agree", "kept": "anonymised"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/s")
    after = await lab.counts()
    assert (after["participants"], after["identities"], after["used"], after["rooms"]) == (1, 1, 1, 0)
    person = await lab.person()
    assert person["params"] == '{"STUDY_ID": "s1", "PROLIFIC_PID": "p1"}'
    assert (person["kept"], person["stage"], person["consented_at"] is not None) == ("anonymised", "intake", True)
    assert person["consent_sha256"] == a_design().consent_sha256


async def test_a_delayed_disclosure_says_nothing_of_machines_until_the_debrief(
    client: httpx2.AsyncClient, database: Database
) -> None:
    debrief = "All the others were played by a language model."
    client.headers.update(BROWSER)
    lab = await a_lab(client, database, disclosure="delayed", ethics_reference="EC 1", debrief_text=debrief)
    token = lab.tokens[0]
    pages = [await client.get(f"/s/{token}"), await client.get("/s/nothing"), await client.get("/s")]
    await lab.join(token)
    pages += [await client.get("/s")]
    wrong = await client.post("/s/enter", data={"csrf": "no"})
    pages += [wrong]
    await lab.send("/s/enter")
    pages += [await client.get("/s"), await client.get("/s?plain=1"), await client.get("/s?leave=1")]
    for page in pages:
        told = words(page).lower()
        assert not re.search(r"\bai\b|artificial|machine|language model|sim-feed|persona", told), told
        assert 'class="mark"' not in page.text
    await lab.send("/s/leave")
    assert debrief in await lab.now()
    assert (await lab.person())["stage"] == "debrief"
    await lab.send("/s/debriefed")
    assert "Completion code" in await lab.now()
    assert (await lab.person())["debriefed_at"] is not None


async def test_consent_given_elsewhere_begins_at_once_and_ends_with_a_code(
    client: httpx2.AsyncClient, database: Database
) -> None:
    lab = await a_lab(client, database, consent="external", withdrawal=["erase"])
    page = await client.get(f"/s/{lab.tokens[0]}")
    assert "Begin" in words(page)
    assert CONSENT.split("\n")[0] not in page.text
    await lab.join(lab.tokens[0])
    assert 'data-room="' in (await client.get("/s")).text
    await lab.send("/s/leave")
    told = await lab.now()
    assert "Completion code" in told
    assert "Receipt code" in told
    assert (await lab.person())["state"] == "finished"


# Tokens and browsers


async def test_a_used_link_leads_its_own_browser_back_and_nobody_else_in(lab: Lab) -> None:
    token = lab.tokens[0]
    await lab.join(token)
    again = await lab.client.get(f"/s/{token}")
    assert (again.status_code, again.headers["location"]) == (303, "/s")
    lab.client.cookies.clear()
    told = await lab.client.get(f"/s/{token}")
    assert told.status_code == 404
    assert "one person in, once" in words(told)
    assert "know this browser" in words(await lab.client.get("/s"))
    assert (await lab.counts())["participants"] == 1


async def test_the_same_form_sent_again_is_the_same_participant(lab: Lab) -> None:
    page = await lab.client.get(f"/s/{lab.tokens[0]}")
    given = {**fields(page), "choice": "agree"}
    answers = await asyncio.gather(*(lab.client.post("/s/join", data=given) for _ in range(6)))
    assert [answer.status_code for answer in answers] == [303] * 6
    assert len({answer.cookies["simfeed_participant"] for answer in answers}) == 1
    assert (await lab.counts())["participants"] == 1
    lab.client.cookies.clear()
    other = await lab.client.post("/s/join", data={**given, "nonce": "another page's"})
    assert other.status_code == 404
    assert "set-cookie" not in other.headers


@pytest.mark.parametrize("how", ["unknown", "paused", "closed", "empty", "long", "odd", "slashes"])
async def test_what_lets_nobody_in_says_so_kindly(lab: Lab, how: str) -> None:
    token = lab.tokens[0]
    if how == "paused":
        await studies.pause(lab.database, lab.study, by=None)
    elif how == "closed":
        await studies.close(lab.database, lab.study, by=None)
    else:
        token = {"unknown": "sf_par_no", "empty": "", "long": "x" * 5000, "odd": XSS, "slashes": "a/../b"}[how]
    before = await lab.counts()
    page = await lab.client.get(f"/s/{quote(token, safe='')}")
    assert page.status_code == 404
    assert "This link does not open anything now" in words(page)
    assert "<img src=x" not in page.text
    sent = await lab.client.post("/s/join", data={"token": token, "choice": "agree", "consent": "00", "kept": "erase"})
    assert sent.status_code == 404
    assert await lab.counts() == before


async def test_guesses_are_counted_by_address(database: Database, url: str) -> None:
    async with serving(settings_for(url, session_guesses_per_hour=3)) as client:
        lab = await a_lab(client, database)
        for _ in range(3):
            assert (await client.get("/s/guess")).status_code == 404
        limited = await client.get("/s/guess")
        assert (limited.status_code, "retry-after" in limited.headers) == (429, True)
        assert "Too many attempts" in words(limited)
        assert (await client.get(f"/s/{lab.tokens[0]}")).status_code == 429


@pytest.mark.parametrize("changed", [{"consent": "ff" * 32}, {"consent": "no hex"}, {"kept": "sell"}, {"kept": ""}])
async def test_what_the_study_does_not_offer_is_not_agreed_to(lab: Lab, changed: dict[str, str]) -> None:
    answer = await lab.join(lab.tokens[0], **changed)
    assert answer.status_code in (409, 422)
    assert "I agree" in words(answer)
    assert (await lab.counts())["participants"] == 0


async def test_over_https_the_cookie_is_bound_to_the_host(lab: Lab) -> None:
    transport = lab.client._transport
    async with httpx2.AsyncClient(transport=transport, base_url="https://simfeed.test") as client:
        given = {**fields(await client.get(f"/s/{lab.tokens[0]}")), "choice": "agree"}
        cookie = (await client.post("/s/join", data=given)).headers["set-cookie"]
    assert cookie.startswith("__Host-simfeed_participant=")
    for part in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"):
        assert part in cookie
    stored = await lab.database.fetchval("SELECT secret_sha256 FROM participants")
    assert stored.hex() not in cookie


# Questions


async def test_all_kinds_of_questions_are_asked_and_checked(lab: Lab) -> None:
    await lab.join()
    page = await lab.client.get("/s")
    for kind in ("<textarea", 'type="radio"', 'type="checkbox"', 'inputmode="decimal"', 'inputmode="numeric"'):
        assert kind in page.text
    assert "Step 1 of 5" in words(page)
    wrong = {"q-why": "hi", "q-what": ["a", "b", "c"], "q-mood": "9", "q-age": "about forty"}
    answer = await lab.send("/s/answers", **wrong)
    assert answer.status_code == 422
    told = words(answer)
    assert "5 answers to look at again" in told
    for problem in ("3 to 50 characters, not 2", "needs an answer", "1 to 2 of the options", "must be a number"):
        assert problem in told, told
    assert ">\nhi</textarea>" in answer.text
    assert 'value="about forty"' in answer.text
    assert len(re.findall(r'type="checkbox"[^>]* checked', answer.text)) == 3
    assert (await lab.counts())["answers"] == 0
    done = await lab.send("/s/answers", **ANSWERS)
    assert (done.status_code, done.headers["location"]) == (303, "/s")
    person = await lab.person()
    assert person["stage"] == "chat"
    assert await participants.answers(lab.database, person["id"], "intake") == {
        "why": "curious", "where": "there", "what": ["a", "c"], "mood": 6, "scale": None, "age": 44,
    }  # fmt: skip
    again = await lab.client.post("/s/answers", data={**fields(page), **ANSWERS})
    assert again.headers["location"] == "/s?done=elsewhere"


async def test_what_is_given_back_is_escaped(lab: Lab) -> None:
    await lab.join(query=f"?PROLIFIC_PID={quote(XSS)}")
    answer = await lab.send("/s/answers", **{"q-why": XSS * 20, "q-age": XSS, "q-where": XSS, "q-none": XSS})
    assert answer.status_code == 422
    assert "<script>window" not in answer.text
    assert "<img src=x" not in answer.text


async def test_a_study_of_hostile_texts_is_shown_as_text(client: httpx2.AsyncClient, database: Database) -> None:
    lab = await a_lab(
        client,
        database,
        title=XSS,
        consent_text=XSS,
        contact=XSS,
        debrief_text=XSS,
        cast=[{"name": "<b>Bo</b>"}],
        closing=[
            {"id": "q", "text": XSS, "kind": "single", "options": [XSS, "b"], "required": False},
            {"id": "l", "text": XSS, "kind": "likert", "low": XSS, "high": XSS, "required": False},
        ],
    )
    token = lab.tokens[0]
    pages = [await client.get(f"/s/{token}")]
    await lab.join(token)
    pages.append(await client.get("/s"))
    pages.append(await lab.send("/s/enter", name=XSS[:30]))
    await lab.send("/s/enter", name="<i>me</i>")
    pages.append(await client.get("/s"))
    await client.get("/s?plain=1")
    await lab.send("/s/say?x", text=XSS)
    room = await lab.person()
    await rooms.say(database, room["key"], XSS)
    pages.append(await client.get("/s?plain=1"))
    assert "window.__xss=1" in pages[-1].text
    await lab.send("/s/leave")
    pages.append(await client.get("/s"))
    await lab.send("/s/answers")
    pages.append(await client.get("/s"))
    await lab.send("/s/debriefed")
    pages.append(await client.get("/s"))
    for page in pages:
        assert not re.search(r"<script>window|<img|<b>Bo|<i>me", page.text), page.text


# The room


async def test_from_the_door_to_the_last_page_without_script(lab: Lab) -> None:
    await lab.join()
    await lab.send("/s/answers", **ANSWERS)
    assert "Enter the room" in await lab.now()
    assert (await lab.counts())["rooms"] == 0
    for taken in ("robin", "Participant", "x" * 50, "a\nb", "\x07"):
        refused = await lab.send("/s/enter", name=taken)
        assert (refused.status_code == 422 and "choose" in words(refused)) or "name" in words(refused)
    await lab.send("/s/enter", name="Kim")
    person = await lab.person()
    assert (person["username"], person["room_state"]) == ("Kim", "waiting")
    live = await lab.client.get("/s")
    assert f'data-room="{person["key"]}"' in live.text
    assert "Robin" in live.text
    assert 'class="mark"' in live.text
    plain = await lab.client.get("/s?plain=1")
    assert "Nobody has written yet" in words(plain)
    assert (await lab.person())["room_state"] == "running"
    given = {**fields(plain), "text": "  Hello @Robin\r\nand all "}
    for _ in range(2):
        assert (await lab.client.post("/s/say", data=given)).headers["location"] == "/s?plain=1"
    said = await lab.database.fetch("SELECT body, mentions FROM room_messages")
    assert [(row["body"], row["mentions"]) for row in said] == [("Hello @Robin\nand all", [1])]
    assert "Hello @Robin" in words(await lab.client.get("/s?plain=1"))
    for text in ("", "x" * 2001, "a\x00b"):
        body = f"csrf={given['csrf']}&once=a&text={quote(text, errors='surrogatepass')}"
        refused = await lab.client.post("/s/say", content=body, headers=FORM)
        assert refused.status_code == 422, text
    grace = "SELECT grace_until >= ends_at FROM rooms"
    assert await lab.database.fetchval(grace)
    asked = await lab.client.get("/s?leave=1")
    assert "a few closing questions" in words(asked)
    await lab.client.post("/s/leave", data=fields(asked))
    person = await lab.person()
    assert (person["stage"], person["end_reason"], person["room_end"]) == ("closing", "left", "left")
    assert "How was it?" in await lab.now()
    await lab.send("/s/answers", **{"q-end": "fine"})
    assert "It was about talk." in await lab.now()
    await lab.send("/s/debriefed")
    last = await lab.client.get("/s")
    person = await lab.person()
    assert (person["state"], person["completion_code"] in last.text) == ("finished", True)
    receipt = re.search(r'id="receipt">([A-Z2-7-]+)<', last.text)
    assert receipt
    assert (await participants.by_receipt(lab.database, receipt[1]))["id"] == person["id"]
    assert receipt[1] in (await lab.client.get("/s")).text
    lab.client.cookies.delete("simfeed_receipt")
    later = await lab.client.get("/s")
    assert receipt[1] not in later.text
    assert "shown once before" in words(later)


async def test_who_floods_by_the_form_is_slowed_down(lab: Lab) -> None:
    await lab.join()
    await lab.send("/s/answers", **ANSWERS)
    await lab.send("/s/enter")
    given = fields(await lab.client.get("/s?plain=1"))
    codes = [
        (await lab.client.post("/s/say", data={**given, "once": f"a{n}", "text": f"m{n}"})).status_code
        for n in range(40)
    ]
    assert 429 in codes
    assert set(codes) == {303, 429}


async def test_leaving_before_the_room_ends_the_study(lab: Lab) -> None:
    await lab.join()
    assert "not kept" in words(await lab.client.get("/s?leave=1"))
    await lab.send("/s/leave")
    person = await lab.person()
    assert (person["state"], person["end_reason"], person["room_id"]) == ("dropped_out", "left", None)
    assert "It was about talk." in await lab.now()
    await lab.send("/s/debriefed")
    told = await lab.now()
    assert "before the conversation began" in told
    assert "Receipt code" in told
    assert "Completion code" not in told


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("time", "How was it?"),
        ("error", "How was it?"),
        ("budget", "How was it?"),
        ("study_closed", "How was it?"),
        ("removed", "It was about talk."),
        ("dropped_out", "It was about talk."),
    ],
)
async def test_however_the_room_ends_a_page_follows(lab: Lab, reason: rooms.EndReason, expected: str) -> None:
    await lab.join()
    await lab.send("/s/answers", **ANSWERS)
    await lab.send("/s/enter")
    await rooms.end(lab.database, (await lab.person())["room_id"], reason)
    assert expected in await lab.now()
    late = await lab.send("/s/say", text="late")
    assert late.headers["location"].startswith("/s")


WENT_ON: tuple[rooms.EndReason, ...] = ("time", "left", "error", "budget", "study_closed")
STOPPED: tuple[rooms.EndReason, ...] = ("dropped_out", "removed", "withdrawn")
DEBRIEF = "It was about talk."


@pytest.mark.parametrize("reason", WENT_ON + STOPPED)
@pytest.mark.parametrize("consent", ["page", "external"])
@pytest.mark.parametrize("closing", [True, False])
@pytest.mark.parametrize("debrief", [True, False])
async def test_every_end_of_the_room_leads_to_what_follows(
    client: httpx2.AsyncClient,
    database: Database,
    reason: rooms.EndReason,
    consent: str,
    closing: bool,
    debrief: bool,
) -> None:
    more = {"disclosure": "delayed", "ethics_reference": "EC 1"} if debrief else {}
    lab = await a_lab(
        client,
        database,
        consent=consent,
        closing=CLOSING if closing else [],
        debrief_text=DEBRIEF if debrief else "",
        **more,
    )
    await lab.join()
    if consent == "page":
        await lab.send("/s/enter")
    room = (await lab.person())["room_id"]
    assert await rooms.end(database, room, reason)
    person = await lab.person()
    went_on = reason in WENT_ON
    stage = "chat" if not went_on else "closing" if closing else "debrief" if debrief else "done"
    state = (
        {"removed": "removed"}.get(reason, "dropped_out")
        if not went_on
        else "finished"
        if stage == "done"
        else "active"
    )
    assert (person["stage"], person["state"], person["end_reason"]) == (stage, state, reason)
    assert (person["ended_at"] is None) == (state == "active")
    told = await lab.now()
    if went_on and closing:
        assert "How was it?" in told
        await lab.send("/s/answers")
        told = await lab.now()
    assert (DEBRIEF in told) == debrief
    if debrief:
        assert "Completion code" not in told
        await lab.send("/s/debriefed")
        told = await lab.now()
        assert (await lab.person())["debriefed_at"] is not None
    assert ("Completion code" in told) == went_on
    assert "Receipt code" in told
    person = await lab.person()
    assert (person["state"], bool(person["completion_code"])) == ("finished" if went_on else state, went_on)
    assert person["end_reason"] == reason


@pytest.mark.parametrize(
    ("reason", "stage", "state"),
    [
        ("time", "done", "finished"),
        ("left", "done", "finished"),
        ("budget", "done", "finished"),
        ("study_closed", "done", "finished"),
        ("error", "chat", "failed"),
        ("dropped_out", "chat", "dropped_out"),
        ("removed", "chat", "removed"),
    ],
)
async def test_whoever_has_none_of_our_pages_is_at_the_end_with_the_room(
    client: httpx2.AsyncClient, database: Database, reason: rooms.EndReason, stage: str, state: str
) -> None:
    lab = await a_lab(client, database, consent="external", closing=CLOSING, debrief_text=DEBRIEF)
    assert (await client.post("/session/start", json={"token": lab.tokens[0]})).status_code == 200
    person = await lab.person()
    assert person["secret_sha256"] is None
    await rooms.end(database, person["room_id"], reason)
    person = await lab.person()
    assert (person["stage"], person["state"], person["ended_at"] is None) == (stage, state, False)


async def test_who_was_let_on_is_not_brought_back_when_the_room_ends(lab: Lab) -> None:
    await lab.join()
    await lab.send("/s/answers", **ANSWERS)
    await lab.send("/s/enter")
    person = await lab.person()
    await lab.database.fetch("UPDATE participants SET stage = 'debrief'")
    await rooms.end(lab.database, person["room_id"], "time")
    assert (await lab.person())["stage"] == "debrief"


async def test_a_link_of_a_study_with_consent_from_elsewhere_leads_to_a_code(
    client: httpx2.AsyncClient, database: Database
) -> None:
    lab = await a_lab(
        client,
        database,
        consent="external",
        intake=QUESTIONS,
        closing=CLOSING,
        debrief_text=DEBRIEF,
        withdrawal=["erase"],
    )
    token = lab.tokens[0]
    before = await lab.counts()
    page = await client.get(f"/s/{token}?PROLIFIC_PID=p9")
    assert "Artificial intelligence takes part" in page.text
    assert CONSENT.split("\n")[0] not in page.text
    assert await lab.counts() == before
    await lab.join(token, "?PROLIFIC_PID=p9")
    person = await lab.person()
    assert (person["stage"], person["arm"], person["kept"]) == ("intake", "a", "erase")
    assert (person["consent_sha256"], person["consented_at"]) == (None, None)
    assert person["params"] == '{"PROLIFIC_PID": "p9"}'
    await lab.send("/s/answers", **ANSWERS)
    assert "Enter the room" in await lab.now()
    await lab.send("/s/enter", name="Kim")
    assert 'data-room="' in (await client.get("/s")).text
    await lab.send("/s/leave")
    await lab.send("/s/answers")
    assert DEBRIEF in await lab.now()
    await lab.send("/s/debriefed")
    told = await lab.now()
    assert "Completion code" in told
    assert "Receipt code" in told
    client.cookies.clear()
    assert (await client.get(f"/s/{token}")).status_code == 404


async def test_consent_is_given_where_the_study_says(client: httpx2.AsyncClient, database: Database) -> None:
    """A form that says consent came from elsewhere lets nobody in where it must be given here, and the other way."""
    lab = await a_lab(client, database)
    answer = await lab.join(lab.tokens[0], consent="external")
    assert (answer.status_code, "I agree" in words(answer)) == (409, True)
    _, elsewhere = await a_study(database, "two", consent="external")
    answer = await lab.join(elsewhere[0], consent=a_design().consent_sha256.hex())
    assert answer.status_code == 409
    assert (await lab.counts())["participants"] == 0


async def test_leaving_the_debrief_leads_to_the_end(client: httpx2.AsyncClient, database: Database) -> None:
    lab = await a_lab(client, database, debrief_text=DEBRIEF)
    await lab.join()
    await lab.send("/s/enter")
    await lab.send("/s/leave")
    assert DEBRIEF in await lab.now()
    await lab.send("/s/leave")
    assert "Completion code" in await lab.now()
    person = await lab.person()
    assert (person["stage"], person["debriefed_at"] is not None) == ("done", True)


async def test_who_comes_back_without_having_written_gets_another_room(
    client: httpx2.AsyncClient, database: Database
) -> None:
    lab = await a_lab(client, database, token_reusable_before_first_message=True, debrief_text=DEBRIEF)
    token = lab.tokens[0]
    await lab.join(token)
    await lab.send("/s/enter")
    first = await lab.person()
    await rooms.end(database, first["room_id"], "dropped_out")
    client.cookies.clear()
    await lab.join(token)
    assert "Enter the room" in await lab.now()
    await lab.send("/s/enter")
    again = await lab.person()
    assert (again["id"], again["state"], again["room_state"]) == (first["id"], "active", "waiting")
    assert again["room_id"] != first["room_id"]
    await rooms.end(database, again["room_id"], "dropped_out")
    await lab.send("/s/debriefed")
    client.cookies.clear()
    told = await client.get(f"/s/{token}")  # they know now what it is about
    assert told.status_code == 404


async def test_who_waits_at_the_door_of_a_closed_study_can_end(client: httpx2.AsyncClient, database: Database) -> None:
    lab = await a_lab(client, database)
    await lab.join()
    await studies.close(database, lab.study, by=None)
    page = await client.get("/s")
    assert "The study is closed" in words(page)
    assert 'href="/s?leave=1"' in page.text
    await client.post("/s/leave", data=fields(await client.get("/s?leave=1")))
    assert "Receipt code" in await lab.now()


async def test_without_script_notices_of_the_researchers_are_read(lab: Lab) -> None:
    await lab.join()
    await lab.send("/s/answers", **ANSWERS)
    await lab.send("/s/enter")
    await lab.client.get("/s?plain=1")
    key = (await lab.person())["key"]
    await monitor.notice(lab.database, lab.study, key, f"Stay on the topic {XSS}", by=None)
    await monitor.pause_room(lab.database, lab.study, key, by=None)
    page = await lab.client.get("/s?plain=1")
    assert "From the research team" in words(page)
    assert "Stay on the topic" in words(page)
    assert "<img src=x" not in page.text
    assert "(paused)" in words(page)


async def test_a_paused_or_closed_study_opens_no_more_rooms(lab: Lab) -> None:
    await lab.join()
    await lab.send("/s/answers", **ANSWERS)
    page = await lab.client.get("/s")
    await studies.pause(lab.database, lab.study, by=None)
    assert "The study is paused" in await lab.now()
    assert "The study is paused" in words(await lab.client.post("/s/enter", data=fields(page)))
    await studies.resume(lab.database, lab.study, by=None)
    await studies.close(lab.database, lab.study, by=None)
    assert "The study is closed" in await lab.now()
    assert (await lab.counts())["rooms"] == 0


async def test_redirects_carry_the_completion_code(client: httpx2.AsyncClient, database: Database) -> None:
    redirect = {"completion": "https://example.org/done?cc={completion_code}", "leave": "https://example.org/left"}
    lab = await a_lab(client, database, redirect=redirect, completion_code="C-77")
    await lab.join()
    await lab.send("/s/enter")
    await rooms.end(database, (await lab.person())["room_id"], "time")
    assert 'href="https://example.org/done?cc=C-77"' in (await client.get("/s", follow_redirects=True)).text
    client.cookies.clear()
    page = await client.get(f"/s/{lab.tokens[0]}")
    declined = await client.post("/s/join", data={**fields(page), "choice": "decline"})
    assert 'href="https://example.org/left"' in declined.text


# Hostile browsers

DOORS = ("/s/answers", "/s/enter", "/s/say", "/s/leave", "/s/debriefed")


async def test_forms_count_only_from_our_pages_of_this_browser(lab: Lab) -> None:
    await lab.join()
    csrf = fields(await lab.client.get("/s"))["csrf"]
    cookie = dict(lab.client.cookies)
    lab.client.cookies.clear()
    await lab.join()
    other = fields(await lab.client.get("/s"))["csrf"]
    lab.client.cookies.clear()
    lab.client.cookies.update(cookie)
    assert csrf != other
    before = await lab.counts()
    for path in DOORS:
        for given, headers, status in (
            ({"csrf": other}, {}, 403),
            ({}, {}, 403),
            ({"csrf": "ä\udfff"}, {}, 403),
            ({"csrf": csrf}, {"Origin": "https://elsewhere.example"}, 403),
            ({"csrf": csrf}, {"Sec-Fetch-Site": "cross-site"}, 403),
            ({"csrf": csrf}, {"Sec-Fetch-Site": "same-site"}, 403),
        ):
            body = "&".join(f"{name}={quote(value, errors='surrogatepass')}" for name, value in given.items())
            answer = await lab.client.post(path, content=body, headers={**FORM, **headers})
            assert answer.status_code in (status, 422), (path, given, headers, answer.status_code)
    page = await lab.client.get(f"/s/{lab.tokens[0]}")
    forged = {**fields(page), "choice": "agree"}
    away = await lab.client.post("/s/join", data=forged, headers={"Origin": "https://elsewhere.example"})
    assert away.status_code == 403
    assert await lab.counts() == before


async def test_forged_cookies_are_nobodys(lab: Lab) -> None:
    await lab.join()
    csrf = fields(await lab.client.get("/s"))["csrf"]
    for value in ("", "x", "x" * 5000, "sf_page_" + "0" * 64, "%00", "a;b", "é"):
        headers = [(b"cookie", f"simfeed_participant={value}".encode())]
        async with httpx2.AsyncClient(transport=lab.client._transport, base_url="http://simfeed.test") as stranger:
            assert "know this browser" in words(await stranger.get("/s", headers=headers))
            for path in DOORS:
                answer = await stranger.post(path, data={"csrf": csrf}, headers=headers)
                assert answer.status_code == 404


async def test_odd_forms_and_methods_never_fail(lab: Lab) -> None:
    await lab.join()
    csrf = fields(await lab.client.get("/s"))["csrf"]
    bodies = ["%", "a=%ff", "=&=&=", "csrf", f"csrf={csrf}&" + "q-why=1&" * 7000, "q" * 200_000, "\x00", "a=\x00"]
    for path in (*DOORS, "/s/join"):
        for body in bodies:
            answer = await lab.client.post(path, content=body.encode(), headers=FORM)
            assert 200 <= answer.status_code < 500, (path, body[:20])
        for kind in ("application/json", "text/plain", "multipart/form-data; boundary=x"):
            answer = await lab.client.post(path, content=b"{}", headers={"Content-Type": kind})
            assert 400 <= answer.status_code < 500
        assert (await lab.client.put(path)).status_code == 405
    for path in ("/s?plain=1", "/s?leave=%00", "/s?done=" + "x" * 3000, "/s/%ff%fe", "/s/%00"):
        assert (await lab.client.get(path)).status_code < 500


async def test_tokens_stay_out_of_the_log(lab: Lab, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "log", structlog.get_logger("access"))  # one that has not settled for a level yet
    async with serving(settings_for(url, log_level="info")) as client:
        with capture_logs() as told:
            await client.get(f"/s/{lab.tokens[0]}")
            await client.get(f"/s/{lab.tokens[0]}/x")
            await client.post(f"/session/{lab.tokens[0]}/message/m/like", json={"user": "u"})
            await client.get(f"/session/{lab.tokens[0]}/nothing")
    paths = [one["path"] for one in told if one["event"] == "request"]
    assert paths == ["/s/{token:path}"] * 2 + ["/session/{session_id}/message/{message_id}/like", "session"]
