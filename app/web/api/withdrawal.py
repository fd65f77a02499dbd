"""What participants may do with what is kept of them, for clients of their own: withdraw, and have it as data."""

from typing import Annotated, Any, Literal

import asyncpg
import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from app.auth import participants
from app.errors import Conflict, Forbidden, NotFound, Unauthorized
from app.venues.chatroom import withdrawal
from app.venues.chatroom.design import stored
from app.venues.chatroom.own_data import own_data
from app.web.api.schemas import problems
from app.web.api.sessions import Lenient, SessionId
from app.web.cors import from_allowed
from app.web.deps import House, TheHouse
from app.world import rooms

router = APIRouter(tags=["sessions"])
Code = Annotated[str, Field(strict=True, max_length=100, examples=["ABCDE-FGHIJ-KLMNO-PQRST-UVWXY-Z2345"])]


class Withdrawal(Lenient):
    """A receipt code, and what shall become of the data; left out: what its bearer consented to."""

    receipt: Code
    kept: Literal["erase", "anonymised"] | None = None


class Receipt(Lenient):
    receipt: Code


class ReceiptGiven(BaseModel):
    """Told once: only its hash is kept."""

    receipt: str


class Withdrawn(BaseModel):
    """`debrief` is what the study was about, where that is told: show it, for nobody can ask for it again."""

    message: str = Field(examples=["withdrawn"])
    kept: Literal["erase", "anonymised"]
    debrief: str = ""


class OwnData(Response):
    media_type = "application/json"


def own_json(found: dict[str, Any]) -> OwnData:
    """Somebody's data as a file of theirs."""
    body = msgspec.json.format(msgspec.json.encode(found), indent=2)
    return OwnData(body, headers={"Content-Disposition": 'attachment; filename="my-data.json"'})


async def bearer(house: House, request: Request, receipt: str, session_id: str | None = None) -> asyncpg.Record:
    """Whose receipt code it is; failures are counted against the address.

    Raises:
        Unauthorized: nobody's, or not of this session's participant.
        TooMany: this address has tried too many.
    """
    address, most = request.scope["client_address"], house.settings.session_guesses_per_hour
    async with participants.guarded(house.database, address, most):
        person = await participants.by_receipt(house.database, receipt)
        if session_id is not None:
            room = await rooms.by_key(house.database, session_id)
            if room is None or room["participant_id"] != person["id"]:
                raise Unauthorized("this receipt code is not known")
        return person


def _check_origin(request: Request, design: str) -> None:
    if not from_allowed(request, stored(design).allowed_origins):
        raise Forbidden("this study takes nothing from pages of that origin")


@router.post(
    "/session/{session_id}/receipt", operation_id="give_receipt", responses=problems(403, 404, 409), summary="Receipt"
)
async def give_receipt(request: Request, house: TheHouse, session_id: SessionId) -> ReceiptGiven:
    """A code with which this session's person can withdraw later, told once. They don't take part by it."""
    room = await rooms.by_key(house.database, session_id)
    if room is None or room["participant_id"] is None:
        raise NotFound("there is no session of this id")
    if not from_allowed(request, room["origins"]):
        raise Forbidden("this study takes nothing from pages of that origin")
    code = await participants.give_receipt(house.database, room["participant_id"])
    if code is None:
        raise Conflict("the receipt code was told before, and can't be told again")
    return ReceiptGiven(receipt=code)


@router.post(
    "/session/{session_id}/withdraw",
    operation_id="withdraw",
    responses=problems(401, 403, 404, 429, body=True),
    summary="Withdraw",
)
async def withdraw(request: Request, house: TheHouse, session_id: SessionId, given: Withdrawal) -> Withdrawn:
    """Take no part any more: the session ends, and what it holds of its person is erased, or kept anonymised."""
    person = await bearer(house, request, given.receipt, session_id)
    _check_origin(request, person["design"])
    done = await withdrawal.withdraw(house.database, person["id"], given.kept)
    request.app.state.rooms.tell()
    debrief = stored(person["design"]).debrief_text
    if debrief:
        await participants.debriefed(house.database, person["id"])
    return Withdrawn(message="withdrawn", kept=done.kept, debrief=debrief)


@router.post(
    "/my-data", operation_id="read_own_data", response_class=OwnData, responses=problems(401, 403, 429, body=True)
)
async def read_own_data(request: Request, house: TheHouse, given: Receipt) -> Response:
    """All that is kept of the bearer of a receipt code."""
    person = await bearer(house, request, given.receipt)
    _check_origin(request, person["design"])
    return own_json(await own_data(house.database, person["id"]))
