"""One session: its transcript as it grows, what came of it, and the forms that steer it."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import asyncpg
import msgspec
from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from app.auth.admins import record
from app.db.engine import Database
from app.errors import Conflict, Invalid, NotFound
from app.ledger.pulse import PULSE
from app.venues.session.design import Dialogue, Part, Simulation
from app.venues.session.findings import Whole, whole
from app.venues.session.results import document, mark, recover, status_of
from app.venues.session.scripts import design_of, questions_of
from app.web.deps import House, TheHouse
from app.web.pages.admin.runs import duration, lasted, workers_alive
from app.web.pages.admin.session_found import findings_of
from app.web.pages.admin.session_results import cells
from app.web.pages.admin.session_talk import READINGS, Talk
from app.web.pages.frame import DONE, go_to, money, render, templates
from app.web.pages.parts import compact
from app.web.pages.query import checked
from app.web.pages.session import AdminForm, TheViewer, Viewer, viewer_of
from app.web.session_relay import News, SessionStream, session_relay_of
from app.world import sessions
from app.world.sessions import SESSIONS, Line, Member
from app.world.text import INT64_MAX

router = APIRouter(prefix="/admin/sessions", include_in_schema=False)
HERE = router.prefix
SessionKey = Annotated[str, Path(pattern=r"^[a-z0-9]{12}$")]
Deed = Literal["pause", "step", "resume", "cancel"]
PointName = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60, pattern=r"^[^\x00-\x1f]*$")
]
POINT: TypeAdapter[str] = TypeAdapter(PointName)
LINES_SHOWN = 150
PEOPLE_SHOWN = 50
STANDING = ("paused", "stopped", "budget_exhausted", "queued")
DONE |= {
    "session-pause": "The session pauses: nobody is asked anything further.",
    "session-step": "It takes one step and pauses again.",
    "session-resume": "The session goes on.",
    "session-cancel": "The session is cancelled. What was said stays.",
    "session-checkpoint": "The checkpoint is made.",
    "session-recovered": "A new session goes on from the checkpoint.",
}


class TalkQuery(BaseModel):
    """Which lines are shown: up to one, or around one; and from which participant on."""

    model_config = ConfigDict(extra="ignore")

    upto: Annotated[int, Field(ge=1, le=INT64_MAX)] | None = None
    line: Annotated[int, Field(ge=1, le=INT64_MAX)] | None = None
    people: Annotated[int, Field(ge=1, le=1_000_000)] = 1


@router.get("/{session_key}")
async def session_page(request: Request, house: TheHouse, viewer: TheViewer, session_key: SessionKey) -> Response:
    """A session, as it stands."""
    return await _show(request, house, viewer, session_key)


async def _show(
    request: Request,
    house: House,
    viewer: Viewer,
    key: str,
    *,
    wrong: Mapping[str, str] | None = None,
    problem: str = "",
    name: str = "",
    status: int = 200,
) -> Response:
    database = house.database
    row = await sessions.found(database, key)
    query = checked(TalkQuery, request)
    one = await whole(database, row)
    spent = await database.fetchrow(SESSIONS["spent"], row["id"])
    assert spent is not None  # noqa: S101 - an aggregate always gives its row
    over = row["ended_at"] is not None
    shown = window(one.lines, query)
    talk = _talk(row, one.members, one.design)
    before = one.lines[shown[0].number - 2].round if shown and shown[0].number > 1 else -1
    return render(
        request,
        "admin/session.html",
        viewer=viewer,
        status=status,
        problem=problem,
        wrong=wrong or {},
        point=name,
        one=row,
        title=row["name"] or titled(row["kind"]),
        kind=titled(row["kind"]),
        state=status_of(row),
        moves=not over,
        standing=not over and row["state"] in STANDING,
        progress=_progress(row, one.lines),
        entries=talk.entries(shown, before),
        earlier=shown[0].number - 1 if shown and shown[0].number > 1 else 0,
        later=min(shown[-1].number + LINES_SHOWN, len(one.lines)) if shown and shown[-1].number < len(one.lines) else 0,
        last=len(one.lines),
        inside=_inside(shown),
        members=one.people,
        spent=spent,
        seconds=lasted({**dict(row), "started_at": row["started_at"]}),
        points=await database.fetch(SESSIONS["checkpoints"], row["id"]),
        design=_told(one),
        model=msgspec.json.decode(row["settings"]).get("model"),
        duration=duration,
        compact=compact,
        halted=bool(await database.fetchval(PULSE["halted"])),
        workers=await workers_alive(database),
        **await _found_out(request, database, one, query.people),
    )


def titled(kind: str) -> str:
    """A kind's name for people."""
    return kind.replace("_", " ").capitalize()


def window(lines: Sequence[Line], query: TalkQuery) -> Sequence[Line]:
    """The lines that a page shows: the last, or those up to one, or those around one."""
    upto = len(lines) if query.upto is None else min(query.upto, len(lines))
    if query.line is not None:
        upto = min(max(query.line + LINES_SHOWN // 2, LINES_SHOWN), len(lines))
    return lines[max(0, upto - LINES_SHOWN) : upto]


def _inside(shown: Sequence[Line]) -> tuple[int, int]:
    return (shown[0].number, shown[-1].number) if shown else (0, 0)


def _talk(row: asyncpg.Record, members: Sequence[Member], design: Part) -> Talk:
    broadcast = not isinstance(design, Simulation) or design.simulation_config.broadcast_mode
    return Talk(row["kind"], members, questions_of(design), broadcast)


def _progress(row: asyncpg.Record, lines: Sequence[Line]) -> dict[str, Any]:
    """How far it is: answered of asked, the round, and how many gave nothing."""
    asked, answered = row["asks_count"], sum(line.turn_id is not None for line in lines)
    missing = sum(line.missing is not None for line in lines)
    rounds = [line.round for line in lines if line.kind not in READINGS]
    return {"asked": asked, "answered": answered, "round": max(rounds, default=0), "missing": missing}


def _told(one: Whole) -> list[tuple[str, str]]:
    """The design in a few words."""
    design, told = one.design, []
    if isinstance(design, Dialogue):
        told += [("turn-taking", design.turn_taking.replace("_", " ")), ("ends after", f"{design.stop.turns} turns")]
    if isinstance(design, Simulation):
        config = design.simulation_config
        told.append(("rounds", str(config.rounds)))
        if design.stimulus is not None:
            told.append((design.stimulus.type, design.stimulus.content))
            if design.stimulus.context:
                told.append(("context", design.stimulus.context))
        if config.environment_type == "focus_group":
            told.append(("heard by", "everybody" if config.broadcast_mode else "the moderator alone"))
    return told


async def _found_out(request: Request, database: Database, one: Whole, first: int) -> dict[str, Any]:
    """Charts, tables, summary and quality; of the extracted values those of participants from the `first` on."""
    found = await findings_of(request).of(database, one)
    shown = found.records[first - 1 : first - 1 + PEOPLE_SHOWN]
    return {
        "charts": found.charts,
        "fields": found.fields,
        "records": [(record, cells(found.fields, record)) for record in shown],
        "people_from": first,
        "people_next": first + PEOPLE_SHOWN,
        "people_before": max(1, first - PEOPLE_SHOWN),
        "people_all": len(found.records),
        "field_charts": found.field_charts,
        "summary": found.summary,
        "quality": found.quality,
        "source": found.source,
        "document": await document(database, one.row) if one.row["kind"] == "writing" else None,
    }


# Live


@router.get("/{session_key}/events")
async def session_events(request: Request, house: TheHouse, viewer: TheViewer, session_key: SessionKey) -> Response:
    """New lines as they come, as parts of the page, and how the session stands."""
    row = await sessions.found(house.database, session_key)
    members = await sessions.members(house.database, row["id"])
    relay = session_relay_of(request)
    relay.check_room()
    talk = _talk(row, members, design_of(row))
    after = _after(request)

    async def allowed() -> bool:
        return await viewer_of(request, house) is not None

    async def told(news: News) -> bytes:
        return await _event(house, talk, news)

    return SessionStream(relay, row["id"], after, told, allowed)


def _after(request: Request) -> int:
    """The line behind which somebody wants to hear: that of the last event, or of the address."""
    given = request.headers.get("last-event-id") or request.query_params.get("after") or "0"
    return int(given) if given.isascii() and given.isdigit() and len(given) < 10 else 0


async def _event(house: House, talk: Talk, news: News) -> bytes:
    """Lines as HTML of our own template, with the figures that stand above them."""
    row, lines = news.row, news.lines
    progress = await house.database.fetchrow(SESSIONS["progress"], row["id"])
    spent = await house.database.fetchrow(SESSIONS["spent"], row["id"])
    assert progress is not None  # noqa: S101 - the session is there
    assert spent is not None  # noqa: S101 - an aggregate always gives its row
    before = await _round_before(house, row["id"], lines)
    html = templates.get_template("admin/session_lines.html").render(entries=talk.entries(lines, before))
    told = {
        "state": status_of(row),
        "percent": round(100 * progress["answered"] / progress["asks_count"], 1) if progress["asks_count"] else 0,
        "html": html if lines else "",
        "words": {
            "state": status_of(row).replace("_", " "),
            "reason": row["reason"] or "",
            "answered": f"{progress['answered']:,} of {progress['asks_count']:,}",
            "round": str(progress["round"] or 0),
            "lines": f"{row['lines_count']:,}",
            "calls": compact(spent["calls"]),
            "tokens": compact(spent["prompt_tokens"] + spent["completion_tokens"]),
            "cost": money(spent["usd"]),
            "seconds": duration(lasted(row)),
        },
    }
    mark_ = b"id: %d\n" % lines[-1].number if lines else b""
    return b"event: news\n%bdata: %b\n\n" % (mark_, msgspec.json.encode(told))


async def _round_before(house: House, session_id: int, lines: list[Line]) -> int:
    if not lines or lines[0].number < 2:
        return -1
    (line,) = await sessions.lines(house.database, session_id, after=lines[0].number - 2, most=1)
    return line.round


# Deeds


@router.post("/{session_key}/do/{session_deed}")
async def do(
    request: Request,
    house: TheHouse,
    viewer: TheViewer,
    form: AdminForm,
    session_key: SessionKey,
    session_deed: Deed,
) -> Response:
    """Pause, take a step, go on, or end it for good."""
    row = await sessions.found(house.database, session_key)
    try:
        match session_deed:
            case "pause":
                await sessions.pause(house.database, row["id"])
            case "cancel":
                await sessions.cancel(house.database, row["id"])
            case _:
                await sessions.go_on(house.database, row["id"], steps=1 if session_deed == "step" else None)
    except Conflict as error:
        return await _show(request, house, viewer, session_key, problem=error.detail, status=409)
    await _note(house, viewer, f"session.{session_deed}", session_key)
    return go_to(f"{HERE}/{session_key}", done=f"session-{session_deed}")


async def _note(house: House, viewer: Viewer, action: str, key: str, **detail: object) -> None:
    async with house.database.connection() as connection:
        await record(connection, viewer.admin.id, action, key, **detail)


@router.post("/{session_key}/checkpoints")
async def make_checkpoint(
    request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, session_key: SessionKey
) -> Response:
    """Mark where the session stands."""
    row = await sessions.found(house.database, session_key)
    name = form["name"][:200]
    try:
        name = POINT.validate_python(name)
        await mark(house.database, row, name)
    except ValidationError:
        wrong = {"name": "must have 1 to 60 characters, in one line"}
        return await _show(request, house, viewer, session_key, wrong=wrong, name=name, status=422)
    except Conflict:
        wrong = {"name": "there is a checkpoint of this name already"}
        return await _show(request, house, viewer, session_key, wrong=wrong, name=name, status=409)
    await _note(house, viewer, "session.checkpoint", session_key, name=name)
    return go_to(f"{HERE}/{session_key}", done="session-checkpoint")


@router.post("/{session_key}/recover")
async def go_on_from(
    request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, session_key: SessionKey
) -> Response:
    """A new session from one of its checkpoints."""
    row = await sessions.found(house.database, session_key)
    try:
        key = await recover(house.database, house.settings, row, form["checkpoint"], by=viewer.admin.id)
    except (NotFound, Invalid) as error:
        return await _show(request, house, viewer, session_key, problem=error.detail, status=error.status)
    await _note(house, viewer, "session.recovered", key, of=session_key, checkpoint=form["checkpoint"][:60])
    return go_to(f"{HERE}/{key}", done="session-recovered")
