"""Interventions: what is planned, what was done, and a form that plans one."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from app.auth.admins import record
from app.errors import Conflict, Invalid
from app.web.deps import House, TheHouse
from app.web.inputs import PathId, next_cursor, read_cursor
from app.web.pages.frame import DONE, go_to, render
from app.web.pages.query import checked as query_of
from app.web.pages.session import AdminForm, Form, TheViewer, Viewer
from app.world import interventions
from app.world.clock import stands_at
from app.world.interventions import STATES, State
from app.world.plans import checked
from app.world.ranking import RANKERS, SUGGESTERS
from app.world.text import INT64_MAX

router = APIRouter(prefix="/admin/runs/interventions", include_in_schema=False)
HERE = router.prefix
DONE |= {
    "intervention-planned": "It is planned, and done when its time comes.",
    "intervention-cancelled": "It is cancelled: it will not be done.",
}
PAGE = 30
Kind = Literal["post", "message", "ranker", "pause", "resume", "news"]
WORDS: dict[Kind, str] = {
    "post": "A persona says something: a post like any other, that no model wrote.",
    "message": "Something is said to some personas alone: each is told once, in its next turn, and remembers it.",
    "ranker": "From then on their feeds are ranked, or people suggested to them, otherwise.",
    "pause": "They wake no more, until they are resumed.",
    "resume": "Those whom an intervention paused wake again; whom an admin paused stays so.",
    "news": "Something happened in the world outside.",
}
FIELDS: dict[Kind, tuple[str, ...]] = {
    "post": ("persona", "title", "body"),
    "message": ("from", "sender", "body", "to", "leaning", "tag"),
    "ranker": ("ranker", "who_to_follow", "to", "leaning", "tag"),
    "pause": ("to", "leaning", "tag"),
    "resume": ("to", "leaning", "tag"),
    "news": ("title", "body", "source", "url"),
}


class Asked(BaseModel):
    """What the address of the page may say."""

    model_config = ConfigDict(extra="ignore")

    kind: Kind = "post"
    state: State | None = None
    cursor: Annotated[str, Field(max_length=400)] | None = None


@router.get("")
async def interventions_page(request: Request, house: TheHouse, viewer: TheViewer) -> Response:
    """What is planned and what was done, and the form."""
    return await _show(request, house, viewer, query_of(Asked, request))


async def _show(
    request: Request,
    house: House,
    viewer: Viewer,
    asked: Asked,
    *,
    form: Form | None = None,
    wrong: Mapping[str, str] | None = None,
    problem: str = "",
    status: int = 200,
) -> Response:
    scope = ("interventions", asked.state)
    before = int(read_cursor(house.secret, scope, asked.cursor)[0]) if asked.cursor else INT64_MAX
    found = await interventions.listed(house.database, limit=PAGE + 1, before=before, state=asked.state)
    following = next_cursor(house.secret, scope, [vars(one) for one in found], PAGE)
    given = {"state": asked.state} if asked.state else {}
    typed = form or Form({})
    seen = await interventions.cycles(house.database)
    return render(
        request,
        "admin/interventions.html",
        viewer=viewer,
        status=status,
        problem=problem,
        wrong=wrong or {},
        kind=asked.kind,
        kinds=list(WORDS),
        words=WORDS[asked.kind],
        fields=FIELDS[asked.kind],
        given={
            name: typed[name][:2_000]
            for name in ("cycle", "at", "note", *{field for fields in FIELDS.values() for field in fields})
        },
        rankers=(("", "as now"), *((name, name) for name in RANKERS), ("own", "their own, or the run's")),
        ways=(("", "as now"), *((name, name) for name in SUGGESTERS), ("off", "not at all"), ("own", "the run's")),
        next_cycle=seen + 1,
        world_at=await stands_at(house.database),
        rows=found[:PAGE],
        wanted=asked.state or "",
        states=STATES,
        first=not asked.cursor,
        older=f"{HERE}?" + urlencode({**given, "cursor": following}) if following else "",
    )


def _entry(kind: Kind, form: Form) -> tuple[dict[str, Any], dict[str, str]]:
    """The form as an entry of a file, and what is wrong with what only a form can say."""
    given = {name: form[name].strip() for name in ("at", "note", *FIELDS[kind]) if form[name].strip()}
    entry: dict[str, Any] = {**given, "kind": kind}
    wrong = {}
    if cycle := form["cycle"].strip():
        if cycle.isascii() and cycle.isdigit() and len(cycle) < 12:
            entry["cycle"] = int(cycle)
        else:
            wrong["cycle"] = "must be a whole number from 1"
    groups = {name: entry.pop(name) for name in ("leaning", "tag") if name in entry}
    if "to" in entry and groups:
        wrong["to"] = "say either names, or a leaning, or a tag"
    elif "to" in entry:
        names = entry["to"].replace(",", " ").split()
        entry["to"] = "all" if names == ["all"] else names
    elif groups:
        entry["to"] = groups
    return entry, wrong


@router.post("/plan/{kind}")
async def plan(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, kind: Kind) -> Response:
    """Plan one."""
    asked = Asked(kind=kind)
    entry, wrong = _entry(kind, form)
    if not wrong:
        try:
            plans = checked([entry])
            now = await stands_at(house.database)
            async with house.database.connection() as connection, connection.transaction():
                (number,) = await interventions.plan(connection, plans, now=now, by=viewer.admin.id)
                await record(connection, viewer.admin.id, "intervention.planned", str(number), kind=kind)
            return go_to(HERE, done="intervention-planned", kind=kind)
        except Invalid as error:
            wrong = {e.pointer.split("/")[2] or "cycle": e.message for e in error.errors}
        except Conflict as error:
            return await _show(request, house, viewer, asked, form=form, problem=error.detail, status=409)
    return await _show(request, house, viewer, asked, form=form, wrong=wrong, status=422)


@router.post("/{number}/cancel")
async def cancel(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, number: PathId) -> Response:
    """One that is planned is not to be done."""
    try:
        async with house.database.connection() as connection, connection.transaction():
            await interventions.cancel(connection, number)
            await record(connection, viewer.admin.id, "intervention.cancelled", str(number))
    except Conflict as error:
        return await _show(request, house, viewer, Asked(), problem=error.detail, status=409)
    return go_to(HERE, done="intervention-cancelled")
