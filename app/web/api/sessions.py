"""Chat sessions as Simulacra's clients know them; the socket is in `app/web/socket.py`."""

from collections.abc import Sequence
from typing import Annotated

import asyncpg
from fastapi import APIRouter, Path, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app.auth import participants
from app.errors import Forbidden, NotFound
from app.venues.chatroom import studies
from app.venues.chatroom.design import stored
from app.web.api.schemas import problems
from app.web.cors import from_allowed
from app.web.deps import House, TheHouse
from app.web.inputs import Token
from app.web.socket import message_of, named
from app.world import rooms
from app.world.text import Line, Note

router = APIRouter(tags=["sessions"])
SessionId = Annotated[str, Path(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_-]+$")]


class Lenient(BaseModel):
    """Clients of another system may send more than we know."""

    model_config = ConfigDict(extra="ignore")


class Start(Lenient):
    """A token, and what its bearer wants to be called; only they see that."""

    token: Token
    username: Note | None = None


class Started(BaseModel):
    session_id: str
    message: str = Field(examples=["session started"])


class Liking(Lenient):
    """Who likes is the session's person, whatever `user` says; it names them where they gave no name before."""

    user: Line


class Report(Liking):
    block: bool = False
    reason: Note | None = None


class MessageOut(BaseModel):
    """A message as it stands now, with those who like it."""

    sender: str
    content: str
    timestamp: str = Field(examples=["2026-11-21T12:00:00.000000+00:00"])
    message_id: str
    reply_to: str | None
    quoted_text: str | None
    mentions: list[str]
    likes_count: int
    liked_by: list[str]
    reported: bool


class Done(BaseModel):
    message: MessageOut


class Reported(Done):
    """`blocked` is there if a sender was blocked: all whom this person has blocked, and when."""

    blocked: dict[str, AwareDatetime] | None


def _check_origin(request: Request, origins: Sequence[str]) -> None:
    if not from_allowed(request, origins):
        raise Forbidden("this study takes no sessions from pages of that origin")


@router.post("/session/start", operation_id="start_session", responses=problems(401, 403, 409, 429, body=True))
async def start(request: Request, house: TheHouse, given: Start) -> Started:
    """Use a token, and open its session's room. A study that asks for consent on its own page refuses."""
    address, settings = request.scope["client_address"], house.settings
    async with participants.guarded(house.database, address, settings.session_guesses_per_hour):
        found = await participants.look(house.database, given.token)
    _check_origin(request, stored(found["design"]).allowed_origins)
    session = await studies.start_session(house.database, settings, given.token, address=address, username=_name(given))
    return Started(session_id=session.key, message="session started")


@router.post(
    "/session/{session_id}/message/{message_id}/like",
    operation_id="like_message",
    responses=problems(404, body=True),
    summary="Like",
)
async def like(request: Request, house: TheHouse, session_id: SessionId, message_id: SessionId, given: Liking) -> Done:
    """Like a message, or take the like back."""
    await rooms.like(house.database, session_id, message_id)
    await _named(request, house, session_id, given.user)
    request.app.state.rooms.tell()
    return Done(message=await _message(request, house, session_id, message_id))


@router.post(
    "/session/{session_id}/message/{message_id}/report",
    operation_id="report_message",
    responses=problems(404, body=True),
    summary="Report",
)
async def report(
    request: Request, house: TheHouse, session_id: SessionId, message_id: SessionId, given: Report
) -> Reported:
    """Report an agent's message, or take the report back; `block` blocks its sender for this person."""
    row = await rooms.report(house.database, session_id, message_id, reason=given.reason or "", block=given.block)
    await _named(request, house, session_id, given.user)
    request.app.state.rooms.tell()
    message = await _message(request, house, session_id, message_id)
    if not row["blocked"]:
        return Reported(message=message, blocked=None)
    room = await _room(house, session_id)
    names = await rooms.members(house.database, room["id"])
    blocked = await rooms.blocks(house.database, room["id"])
    return Reported(message=message, blocked={names[member]: at for member, at in blocked.items()})


def _name(given: Start) -> str | None:
    """What they want to be called; clients of Simulacra's call themselves by the token, which is kept nowhere."""
    return given.username if given.username and given.username != given.token else None


async def _named(request: Request, house: House, session_id: str, user: str) -> None:
    await rooms.name_person(house.database, session_id, user)
    request.app.state.visits.called(session_id, user)


async def _room(house: House, session_id: str) -> asyncpg.Record:
    room = await rooms.by_key(house.database, session_id)
    if room is None:
        raise NotFound("there is no session of that id")
    return room


async def _message(request: Request, house: House, session_id: str, message_id: str) -> MessageOut:
    row, room = await rooms.message(house.database, session_id, message_id), await _room(house, session_id)
    names = await rooms.members(house.database, room["id"])
    own = room["username"] or request.app.state.visits.alias.get(session_id)
    liked_by = [named(member, names, own) for member in row["liked_by"]]
    told = message_of(row, names, own) | {"likes_count": len(liked_by), "liked_by": liked_by}
    return MessageOut(**told, reported=row["reported"])
