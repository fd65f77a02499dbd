"""Sessions: the list of dialogues, focus groups, surveys and the like, and the forms that begin one."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import urlencode

import asyncpg
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from app.auth.admins import record
from app.errors import Invalid
from app.ledger.pulse import PULSE
from app.venues.session.design import Dialogue, Kind, Simulation
from app.venues.session.forecast import Forecast, forecast
from app.venues.session.opening import begin
from app.web.deps import House, TheHouse
from app.web.inputs import next_cursor, read_cursor
from app.web.pages.admin.runs import duration, lasted, watch_of, workers_alive
from app.web.pages.admin.session_fields import (
    BOTS,
    CHECKS,
    Begun,
    Typed,
    WrongFieldsError,
    blank,
    design_of,
    located,
    typed,
)
from app.web.pages.admin.session_gallery import GALLERY, filled
from app.web.pages.frame import DONE, go_to, render
from app.web.pages.query import checked
from app.web.pages.session import AdminForm, TheViewer, Viewer
from app.world import personas
from app.world.sessions import SESSIONS
from app.world.text import INT64_MAX

router = APIRouter(prefix="/admin/sessions", include_in_schema=False)
HERE = router.prefix
PAGE = 20
NAMED_MOST = 100
"""Personas that a field offers by their usernames."""

KINDS: Mapping[Kind, str] = {
    "dialogue": "Dialogues",
    "focus_group": "Focus groups",
    "survey": "Surveys",
    "interview": "Interviews",
    "extraction": "Extractions",
    "population": "Populations",
    "writing": "Writings",
}
BEGINS: Mapping[Begun, str] = {
    "dialogue": "Two to six voices talk to each other, turn by turn.",
    "focus_group": "People discuss something in rounds, hearing each other, and answer questions about it.",
    "survey": "People answer typed questions, each for themselves; shares come with intervals.",
    "interview": "Each person is asked alone, with follow-up questions.",
}
TURN_TAKING = (
    ("round_robin", "one after the other"),
    ("random", "by chance, never twice in a row"),
    ("moderated", "a moderator (the model) chooses"),
    ("raised_hands", "by raised hands: whoever wants to most"),
)
STIMULI = tuple((name, name) for name in ("product", "message", "question", "scenario"))
CHECK_WORDS: Mapping[str, str] = {
    "adherence": "in character",
    "self_consistency": "consistent with oneself",
    "fluency": "fluent",
    "repetition": "repetitions",
    "convergence": "mere agreement",
    "judge": "a judge model’s verdict",
}
DONE |= {"session-begun": "The session has begun."}


class ListQuery(BaseModel):
    """What the address of the list may say."""

    model_config = ConfigDict(extra="ignore")

    kind: Kind | None = None
    cursor: Annotated[str, Field(max_length=400)] | None = None


class FormQuery(BaseModel):
    """Which template fills the form."""

    model_config = ConfigDict(extra="ignore")

    template: Annotated[str, Field(max_length=60)] | None = None


@router.get("")
async def sessions_page(request: Request, house: TheHouse, viewer: TheViewer) -> Response:
    """The newest sessions, and ways to begin one."""
    query = checked(ListQuery, request)
    scope = ("sessions", query.kind)
    before = int(read_cursor(house.secret, scope, query.cursor)[0]) if query.cursor else INT64_MAX
    rows = await house.database.fetch(SESSIONS["listed"], before, query.kind, PAGE + 1)
    following = next_cursor(house.secret, scope, rows, PAGE)
    given = {"kind": query.kind} if query.kind else {}
    return render(
        request,
        "admin/sessions.html",
        viewer=viewer,
        rows=await _figured(request, house, rows[:PAGE]),
        wanted=query.kind or "",
        kinds=KINDS,
        begins=BEGINS,
        gallery=GALLERY,
        first=not query.cursor,
        older=f"{HERE}?" + urlencode({**given, "cursor": following}) if following else "",
        duration=duration,
        **await _stand(house),
    )


async def _figured(request: Request, house: House, rows: Sequence[asyncpg.Record]) -> list[dict[str, Any]]:
    """The rows of the list with what they took, and how far they are, of 100."""
    runs: list[Any] = [
        {"id": r["run_id"], "state": r["state"], "ended_at": r["ended_at"], "turns_total": r["asks_count"]}
        for r in rows
    ]
    figures = await watch_of(request).kept.of(house.database, runs)
    return [
        {
            **dict(row),
            "shown_state": "cancelled" if row["ended_at"] and row["state"] == "stopped" else row["state"],
            "figures": figures.get(row["run_id"]),
            "seconds": lasted({**dict(row), "started_at": row["created_at"]}),
            "percent": round(100 * row["answered"] / row["asks_count"]) if row["asks_count"] else 0,
        }
        for row in rows
    ]


async def _stand(house: House) -> dict[str, Any]:
    """Whether anything can go on just now."""
    halted = bool(await house.database.fetchval(PULSE["halted"]))
    return {"halted": halted, "workers": await workers_alive(house.database)}


@router.get("/new")
async def new_page(request: Request, house: TheHouse, viewer: TheViewer) -> Response:
    """What can be begun, and templates."""
    return render(
        request,
        "admin/session_new.html",
        viewer=viewer,
        kinds=KINDS,
        begins=BEGINS,
        gallery=GALLERY,
        **await _stand(house),
    )


@router.get("/new/{session_kind}")
async def form_page(request: Request, house: TheHouse, viewer: TheViewer, session_kind: Begun) -> Response:
    """The form that begins a session of a kind, blank or filled by a template."""
    template = GALLERY.get(checked(FormQuery, request).template or "")
    given = filled(template) if template is not None and template.kind == session_kind else blank(session_kind)
    return await _form(request, house, viewer, session_kind, given)


@router.post("/new/{session_kind}")
async def begin_session(
    request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, session_kind: Begun
) -> Response:
    """Begin a session and lead to its page; or only foretell what it takes."""
    given = typed(session_kind, form)
    try:
        design = design_of(session_kind, given)
        count = await _people(house, given, design)
        if form["do"] == "estimate":
            foretold = forecast(house.settings, design, count)
            return await _form(request, house, viewer, session_kind, given, foretold=foretold)
        key = await _begun(house, viewer, session_kind, given, design)
    except WrongFieldsError as error:
        return await _form(request, house, viewer, session_kind, given, wrong=error.wrong, status=422)
    except Invalid as error:
        wrong = located(session_kind, given, error)
        return await _form(request, house, viewer, session_kind, given, wrong=wrong, status=422)
    return go_to(f"{HERE}/{key}", done="session-begun")


async def _begun(house: House, viewer: Viewer, kind: Begun, given: Typed, design: Dialogue | Simulation) -> str:
    name = given.texts["name"].strip()
    waits = given.texts["waits"] == "yes"
    key = await begin(house.database, house.settings, kind, design, name=name, by=viewer.admin.id, waits=waits)
    async with house.database.connection() as connection:
        await record(connection, viewer.admin.id, "session.begun", key, kind=kind, name=name)
    return key


async def _people(house: House, given: Typed, design: Dialogue | Simulation) -> int:
    """How many take part.

    Raises:
        WrongFieldsError: a sample of the world has no size.
    """
    if isinstance(design, Dialogue):
        return len(design.bots)
    asked = design.participants
    if given.texts["mode"] == "world" and not given.texts["handles"].strip() and asked.count is None:
        raise WrongFieldsError({"count": "say how many are drawn of the world’s personas"})
    listed: Any = asked.specifications
    if isinstance(listed, dict):
        listed = listed.get("personas", listed.get("agents", []))
    return asked.count or (len(listed) if isinstance(listed, list) and listed else 10)


async def _form(
    request: Request,
    house: House,
    viewer: Viewer,
    kind: Begun,
    given: Typed,
    *,
    wrong: Mapping[str, str] | None = None,
    foretold: Forecast | None = None,
    status: int = 200,
) -> Response:
    rows = await personas.listed(house.database, limit=NAMED_MOST)
    return render(
        request,
        "admin/session_form.html",
        viewer=viewer,
        status=status,
        kind=kind,
        given=given.texts,
        ticked=given.checks,
        wrong=wrong or {},
        foretold=foretold,
        words=BEGINS[kind],
        kinds=KINDS,
        bots=BOTS,
        open_bots=[n for n in BOTS if n <= 2 or given.texts.get(f"bot{n}_name") or f"bot{n}_name" in (wrong or {})],
        turn_taking=TURN_TAKING,
        stimuli=STIMULI,
        checks=[(name, CHECK_WORDS[name]) for name in CHECKS if kind != "survey" or name == "self_consistency"],
        usernames=[row["username"] for row in rows],
        templates=[(key, one) for key, one in GALLERY.items() if one.kind == kind],
        model=house.settings.simfeed_model,
        **await _stand(house),
    )
