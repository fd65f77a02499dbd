"""A study under way: who is where, each room as it goes, and what researchers do in it."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from app.agent.population.tables import number
from app.errors import Conflict, Invalid
from app.models.studies import PARTICIPANT_STATES, STAGES
from app.venues.chatroom import monitor, studies
from app.venues.chatroom.monitor import MINUTES_MOST, RoomView
from app.web.api.sessions import SessionId
from app.web.deps import House, TheHouse
from app.web.inputs import PathId, read_cursor, sign_cursor
from app.web.pages.admin.studies import confirm
from app.web.pages.admin.study_builder import HERE
from app.web.pages.frame import DONE, go_to, render
from app.web.pages.query import checked
from app.web.pages.session import AdminForm, TheViewer, Viewer
from app.world.text import ChatBody

router = APIRouter(include_in_schema=False)
ONE = HERE + "/{study_id}"
ROOM = ONE + "/rooms/{key}"
SEATS_SHOWN = 100
EVENTS_SHOWN = 200
TEXT: TypeAdapter[str] = TypeAdapter(ChatBody)
Pseudonym = Annotated[str, Path(pattern=r"^[A-Z0-9]{1,20}$")]
DONE |= {
    "room-notice": "They are told.",
    "room-paused": "The room is paused: its clock stands still and nobody can write.",
    "room-resumed": "The room goes on.",
    "room-extended": "The room has more time.",
    "removed": "Their part in the study has ended.",
}


class Asked(BaseModel):
    """Whom the monitor shows."""

    model_config = ConfigDict(extra="ignore")

    stage: Literal["intake", "chat", "closing", "debrief", "done"] | None = None
    state: Literal["active", "finished", "withdrawn", "dropped_out", "removed", "failed"] | None = None
    cursor: Annotated[str, Field(max_length=400)] | None = None


@router.get(ONE + "/monitor")
async def monitor_page(request: Request, house: TheHouse, viewer: TheViewer, study_id: PathId) -> Response:
    """Participants by stage, as they stand now."""
    asked = checked(Asked, request)
    study = await studies.show(house.database, study_id)
    scope = ("study monitor", study_id, asked.stage, asked.state)
    after = read_cursor(house.secret, scope, asked.cursor)[0] if asked.cursor else 0
    found = await monitor.seats(
        house.database,
        study_id,
        after=after,
        limit=SEATS_SHOWN + 1,
        stage=asked.stage or "",
        state=asked.state or "",
    )
    shown = found[:SEATS_SHOWN]
    counts = {(row["state"], row["stage"]): 0 for row in study.people}
    for row in study.people:
        counts[row["state"], row["stage"]] += row["count"]
    return render(
        request,
        "admin/study_monitor.html",
        viewer=viewer,
        study=study,
        asked=asked,
        seats=shown,
        older=sign_cursor(house.secret, scope, (shown[-1]["id"],)) if len(found) > len(shown) else "",
        stages=STAGES,
        states=PARTICIPANT_STATES,
        at_stage={stage: counts.get(("active", stage), 0) for stage in STAGES},
        in_state={state: sum(n for (one, _), n in counts.items() if one == state) for state in PARTICIPANT_STATES},
    )


@router.get(ROOM)
async def room_page(request: Request, house: TheHouse, viewer: TheViewer, study_id: PathId, key: SessionId) -> Response:
    """One room, read only, and what can be done in it."""
    return await _show_room(request, house, viewer, study_id, key)


async def _show_room(
    request: Request,
    house: House,
    viewer: Viewer,
    study_id: int,
    key: str,
    given: dict[str, str] | None = None,
    wrong: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    study = await studies.show(house.database, study_id)
    asked = request.query_params.get("from", "")
    after = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else None
    view = await _view(house, study_id, key, after)
    return render(
        request,
        "admin/study_room.html",
        viewer=viewer,
        status=status,
        study=study,
        room=view.room,
        told=[_shown(row) for row in view.told],
        after=after if after is not None else _newest(view),
        more=view.more,
        open=view.room["state"] in ("waiting", "running"),
        shown=EVENTS_SHOWN,
        given={"text": "", "minutes": "5", **(given or {})},
        wrong=wrong or {},
        most=MINUTES_MOST,
    )


async def _view(house: House, study_id: int, key: str, after: int | None) -> RoomView:
    """What a room told after a position; or, without one, the newest of it."""
    if after is None:
        head = await monitor.room_view(house.database, study_id, key, limit=1)
        after = _newest(head)
    return await monitor.room_view(house.database, study_id, key, after=after, limit=EVENTS_SHOWN)


def _newest(view: RoomView) -> int:
    return max(0, int(view.room["events_count"]) - EVENTS_SHOWN)


def _shown(row: Any) -> dict[str, Any]:
    return {**dict(row), "detail": msgspec.json.decode(row["detail"])}


@router.post(ROOM + "/notice")
async def notice(
    request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, study_id: PathId, key: SessionId
) -> Response:
    """Tell the participant something."""
    try:
        text = TEXT.validate_python(form["text"])
        await monitor.notice(house.database, study_id, key, text, by=viewer.admin.id)
    except ValidationError as error:
        wrong = {"text": error.errors()[0]["msg"]}
        return await _show_room(request, house, viewer, study_id, key, {"text": form["text"]}, wrong, 422)
    except Conflict as refused:
        wrong = {"text": refused.detail}
        return await _show_room(request, house, viewer, study_id, key, {"text": form["text"]}, wrong, 409)
    return _told(request, study_id, key, "room-notice")


def _told(request: Request, study_id: int, key: str, done: str) -> Response:
    request.app.state.rooms.tell()
    return go_to(f"{HERE}/{study_id}/rooms/{key}", done=done)


@router.post(ROOM + "/pause")
async def pause(
    request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, study_id: PathId, key: SessionId
) -> Response:
    """Stop the room's clock."""
    await monitor.pause_room(house.database, study_id, key, by=viewer.admin.id)
    return _told(request, study_id, key, "room-paused")


@router.post(ROOM + "/resume")
async def resume(
    request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, study_id: PathId, key: SessionId
) -> Response:
    """Let the clock go on."""
    await monitor.resume_room(house.database, study_id, key, by=viewer.admin.id)
    return _told(request, study_id, key, "room-resumed")


@router.post(ROOM + "/extend")
async def extend(
    request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, study_id: PathId, key: SessionId
) -> Response:
    """Give the room more time."""
    text = form["minutes"].strip()
    minutes = number(text)
    if not isinstance(minutes, float) or not 0 < minutes <= MINUTES_MOST:
        wrong = {"minutes": f"must be a number above 0, at most {MINUTES_MOST}"}
        return await _show_room(request, house, viewer, study_id, key, {"minutes": form["minutes"]}, wrong, 422)
    try:
        await monitor.extend_room(house.database, study_id, key, minutes, by=viewer.admin.id)
    except (Conflict, Invalid) as refused:
        wrong = {"minutes": refused.detail}
        return await _show_room(request, house, viewer, study_id, key, {"minutes": text}, wrong, refused.status)
    return _told(request, study_id, key, "room-extended")


@router.post(ONE + "/participants/{pseudonym}/remove")
async def remove(
    request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, study_id: PathId, pseudonym: Pseudonym
) -> Response:
    """End somebody's part in the study; who asks is first told what that means."""
    study = await studies.show(house.database, study_id)
    if form["sure"] != "yes":
        return confirm(
            request,
            viewer,
            title=f"Remove {pseudonym}?",
            words=[
                f"Their part in {study.name} ends at once, and with it their room, if they are in one.",
                "They read that the research team has ended their part, see the debrief if there is one, and keep "
                "their right to withdraw.",
                "What they wrote and answered stays. They can't come in again with the same token.",
            ],
            action=f"{HERE}/{study_id}/participants/{pseudonym}/remove",
            do=f"Remove {pseudonym}",
            back=f"{HERE}/{study_id}/monitor",
        )
    await monitor.remove(house.database, study_id, pseudonym, by=viewer.admin.id)
    request.app.state.rooms.tell()
    return go_to(f"{HERE}/{study_id}/monitor", done="removed")
