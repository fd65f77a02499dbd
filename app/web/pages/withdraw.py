"""Where participants withdraw, and get what is kept of them: in their own browser, or by their receipt code."""

import hmac
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.auth import participants
from app.errors import Forbidden, Unauthorized
from app.venues.chatroom import withdrawal
from app.venues.chatroom.design import redirect_url, stored
from app.venues.chatroom.own_data import own_data
from app.web.api.withdrawal import bearer, own_json
from app.web.deps import House, TheHouse
from app.web.pages import participant
from app.web.pages.participant import Kindly, MaybeVisitor, TheVisitor, Visitor, cookie_name
from app.web.pages.session import Form, OpenForm

router = APIRouter(include_in_schema=False, route_class=Kindly)
RECEIPT_MAX = 100


@router.get("/s/my-data.json")
async def my_data(house: TheHouse, visitor: TheVisitor) -> Response:
    """All that is kept of this browser's participant."""
    return own_json(await own_data(house.database, visitor.id))


@router.get("/withdraw")
async def withdraw_page(request: Request, visitor: MaybeVisitor) -> Response:
    """What withdrawing means, for this browser's participant; for others, and with `receipt`, a field for the code."""
    if visitor is None or visitor.person["state"] == "withdrawn" or "receipt" in request.query_params:
        return _ask(request, visitor)
    return _show(request, visitor.person, visitor)


@router.post("/withdraw")
async def withdraw(request: Request, house: TheHouse, visitor: MaybeVisitor, form: OpenForm) -> Response:
    """First show what will happen, then do it. `do=data` gives the data instead, `do=receipt` a code for later."""
    code = form["receipt"].strip()[: RECEIPT_MAX + 1]
    if code or visitor is None or visitor.person["state"] == "withdrawn":
        try:
            person = await bearer(house, request, code) if code else None
        except Unauthorized:
            return _ask(request, visitor, "We don't know this code. Check it: it has 30 letters and digits.", 422)
        if person is None:
            return _ask(request, visitor, "Enter your receipt code.", 422)
    elif not hmac.compare_digest(form["csrf"].encode("utf-8", "replace"), visitor.csrf.encode()):
        raise Forbidden("this form belongs to another visit: open the page again, and send it from there")
    else:
        person = visitor.person
    if form["do"] == "data":
        return own_json(await own_data(house.database, person["id"]))
    if form["do"] == "receipt" and visitor is not None and not code:
        told, _ = await participant.receipt_of(request, house, visitor)
        answer = _show(request, person, visitor, told=told)
        participant.keep_receipt(request, answer, told)
        return answer
    if form["do"] != "withdraw":
        return _show(request, person, visitor, code)
    wrong = _wrong(form, stored(person["design"]).withdrawal)
    if wrong:
        return _show(request, person, visitor, code, wrong, form["kept"], 422)
    return await _done(request, house, person, form["kept"] or None, mine=visitor is not None and not code)


def _wrong(form: Form, offered: list[Any]) -> str:
    if form["kept"] and form["kept"] not in offered:
        return "Choose what should happen to your data."
    return "" if form["sure"] == "yes" else "Tick the box if you want to withdraw."


def _ask(request: Request, visitor: Visitor | None, wrong: str = "", status: int = 200) -> Response:
    return participant._page(request, "withdraw_code", wrong=wrong, status=status, known=visitor is not None)


def _show(
    request: Request,
    person: Any,
    visitor: Visitor | None,
    code: str = "",
    wrong: str = "",
    kept: str = "",
    status: int = 200,
    told: str = "",
) -> Response:
    design = stored(person["design"])
    return participant._page(
        request,
        "withdraw",
        design=design,
        status=status,
        csrf="" if visitor is None else visitor.csrf,
        receipt=code,
        pseudonym=person["pseudonym"],
        choices=design.withdrawal,
        kept=kept if kept in design.withdrawal else person["kept"],
        in_room=person["state"] == "active" and person["stage"] == "chat",
        pays=bool(design.redirect.completion or design.completion_code),
        wrong=wrong,
        told=told,
        may_ask=visitor is not None and not code and not visitor.person["has_receipt"],
        place=participant.withdrawal_place(request),
    )


async def _done(request: Request, house: House, person: Any, kept: str | None, *, mine: bool) -> Response:
    """It is done. Who was not told yet what the study was about is told here, for they can't come back."""
    design = stored(person["design"])
    done = await withdrawal.withdraw(house.database, person["id"], kept)
    request.app.state.rooms.tell()
    if design.debrief_text:
        await participants.debriefed(house.database, person["id"])
    leave = redirect_url(design.redirect.leave, "") if design.redirect.leave else ""
    answer = participant._page(
        request,
        "withdrawn",
        design=design,
        kept=done.kept,
        debrief=[part for part in design.debrief_text.split("\n\n") if part.strip()],
        onward=leave,
    )
    if mine:
        for name in (cookie_name(request), participant._receipt_cookie(request)):
            secure = request.url.scheme == "https"
            answer.delete_cookie(name, path="/", secure=secure, httponly=True, samesite="lax")
    return answer
