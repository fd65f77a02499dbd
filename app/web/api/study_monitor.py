"""A study under way, as its researchers watch it and hold its rooms."""

from typing import Annotated, Any, Literal

import asyncpg
import msgspec
from annotated_types import Gt, Le
from fastapi import APIRouter, Path, Query, Request
from pydantic import AwareDatetime, BaseModel, Field

from app.venues.chatroom import monitor
from app.venues.chatroom.monitor import MINUTES_MOST
from app.web.api.schemas import problems
from app.web.api.sessions import SessionId
from app.web.deps import TheAdmin, TheHouse
from app.web.inputs import Body, Cursor, Limit, PathId, QueryId, next_cursor, read_cursor
from app.world import studies
from app.world.feed import INT32_MAX
from app.world.text import ChatBody

router = APIRouter(prefix="/studies", tags=["studies"])
Pseudonym = Annotated[str, Path(pattern=r"^[A-Z0-9]{1,20}$", examples=["PK4TQ7A"])]
Stage = Literal["intake", "chat", "closing", "debrief", "done"]
State = Literal["active", "finished", "withdrawn", "dropped_out", "removed", "failed"]
After = Annotated[QueryId | None, Query(description="Only what came after this position.")]


class Seat(BaseModel):
    """Somebody who takes part, by pseudonym, and how their room stands. Times left are seconds."""

    pseudonym: str
    arm: str
    state: State
    stage: Stage
    end_reason: str | None
    created_at: AwareDatetime
    stage_at: AwareDatetime
    seen_at: AwareDatetime
    ended_at: AwareDatetime | None
    room_key: str | None
    room_state: Literal["waiting", "running", "ending", "ended"] | None
    room_reason: str | None
    paused: bool
    connected: bool
    seconds_left: float | None
    theirs: int = Field(description="Messages of theirs.")
    others: int = Field(description="Messages of the agents.")
    reports: int
    blocks: int


class Seats(BaseModel):
    """A page of participants, oldest first."""

    data: list[Seat]
    next_cursor: str | None
    has_more: bool


class Told(BaseModel):
    """What a room told: a message, whom the person blocked, a notice, a pause, more time, or its end."""

    position: int
    kind: Literal["message", "user_block", "notice", "paused", "resumed", "extended", "ended"]
    at: AwareDatetime
    number: int | None = None
    by: str | None = None
    body: str | None = None
    reply_to: int | None = None
    quoted_text: str | None = None
    liked_by: list[str]
    reported: str | None = Field(default=None, description="Why the participant reported it; null: they did not.")
    blocked: str | None = None
    detail: dict[str, Any]


class RoomOut(BaseModel):
    """A room as its researchers see it, and a page of what it told, oldest first."""

    key: str
    participant: str | None
    arm: str
    state: Literal["waiting", "running", "ending", "ended"]
    end_reason: str | None
    paused: bool
    messages: int
    seconds_left: float | None
    started_at: AwareDatetime | None
    ends_at: AwareDatetime | None
    ended_at: AwareDatetime | None
    told: list[Told]
    has_more: bool


class Notice(Body):
    """What the researchers tell the person in a room; the agents don't read it."""

    text: ChatBody


class MoreTime(Body):
    minutes: Annotated[float, Field(strict=True, allow_inf_nan=False), Gt(0), Le(MINUTES_MOST)]


@router.get("/{study_id}/participants", operation_id="list_study_participants", responses=problems(401, 404))
async def list_study_participants(
    house: TheHouse,
    _: TheAdmin,
    study_id: PathId,
    limit: Limit = 100,
    cursor: Cursor | None = None,
    stage: Stage | None = None,
    state: State | None = None,
) -> Seats:
    """Who is where, by pseudonym, oldest first; of one stage or state if asked."""
    await studies.get(house.database, study_id)
    scope = ("study participants", study_id, stage, state)
    after = read_cursor(house.secret, scope, cursor)[0] if cursor else 0
    found = await monitor.seats(
        house.database, study_id, after=after, limit=limit + 1, stage=stage or "", state=state or ""
    )
    return Seats(
        data=[Seat(**dict(row)) for row in found[:limit]],
        next_cursor=next_cursor(house.secret, scope, found, limit),
        has_more=len(found) > limit,
    )


@router.get("/{study_id}/rooms/{key}", operation_id="read_study_room", responses=problems(401, 404))
async def read_study_room(
    house: TheHouse, _: TheAdmin, study_id: PathId, key: SessionId, after: After = None, limit: Limit = 100
) -> RoomOut:
    """A room and what it told after a position."""
    found = await monitor.room_view(house.database, study_id, key, after=min(after or 0, INT32_MAX), limit=limit)
    room = found.room
    return RoomOut(
        key=room["key"],
        participant=room["pseudonym"],
        arm=room["arm"],
        state=room["state"],
        end_reason=room["end_reason"],
        paused=room["paused_at"] is not None,
        messages=room["messages_count"],
        seconds_left=None if room["ended_at"] else room["seconds_left"],
        started_at=room["started_at"],
        ends_at=room["ends_at"],
        ended_at=room["ended_at"],
        told=[_told(row) for row in found.told],
        has_more=found.more,
    )


def _told(row: asyncpg.Record) -> Told:
    return Told(**{**dict(row), "detail": msgspec.json.decode(row["detail"])})


@router.post(
    "/{study_id}/rooms/{key}/notice",
    operation_id="notify_study_room",
    status_code=204,
    responses=problems(401, 404, 409, body=True),
)
async def notify_study_room(
    request: Request, house: TheHouse, admin: TheAdmin, study_id: PathId, key: SessionId, given: Notice
) -> None:
    """Tell the person in a room something, in the researchers' name."""
    await monitor.notice(house.database, study_id, key, given.text, by=admin.admin.id)
    request.app.state.rooms.tell()


@router.post(
    "/{study_id}/rooms/{key}/pause",
    operation_id="pause_study_room",
    status_code=204,
    responses=problems(401, 404, 409),
)
async def pause_study_room(
    request: Request, house: TheHouse, admin: TheAdmin, study_id: PathId, key: SessionId
) -> None:
    """Stop a room's clock: nobody writes until it is resumed."""
    await monitor.pause_room(house.database, study_id, key, by=admin.admin.id)
    request.app.state.rooms.tell()


@router.post(
    "/{study_id}/rooms/{key}/resume",
    operation_id="resume_study_room",
    status_code=204,
    responses=problems(401, 404, 409),
)
async def resume_study_room(
    request: Request, house: TheHouse, admin: TheAdmin, study_id: PathId, key: SessionId
) -> None:
    """Let a paused room go on with the time it had left."""
    await monitor.resume_room(house.database, study_id, key, by=admin.admin.id)
    request.app.state.rooms.tell()


@router.post(
    "/{study_id}/rooms/{key}/extend",
    operation_id="extend_study_room",
    status_code=204,
    responses=problems(401, 404, 409, body=True),
)
async def extend_study_room(
    request: Request, house: TheHouse, admin: TheAdmin, study_id: PathId, key: SessionId, given: MoreTime
) -> None:
    """Give a room that has begun more minutes."""
    await monitor.extend_room(house.database, study_id, key, given.minutes, by=admin.admin.id)
    request.app.state.rooms.tell()


@router.post(
    "/{study_id}/participants/{pseudonym}/remove",
    operation_id="remove_study_participant",
    status_code=204,
    responses=problems(401, 404, 409),
)
async def remove_study_participant(
    request: Request, house: TheHouse, admin: TheAdmin, study_id: PathId, pseudonym: Pseudonym
) -> None:
    """End somebody's part in a study, and their room; what they gave stays as they consented."""
    await monitor.remove(house.database, study_id, pseudonym, by=admin.admin.id)
    request.app.state.rooms.tell()
