"""What a participant of a study sees: consent, questions, the room, the end. `/s` is always the page that is next.

Nothing here says who is a machine unless the study discloses it, so these pages have a frame and errors of their own.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote

import asyncpg
from fastapi import APIRouter, Depends
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from app.auth import participants
from app.db.engine import explain
from app.errors import AppError, Conflict, FieldError, Forbidden, Invalid, NotFound, TooMany, Unauthorized
from app.venues.chatroom import studies
from app.venues.chatroom.answers import answer_of
from app.venues.chatroom.design import (
    RESERVED_NAMES,
    MemberName,
    Question,
    StudyDesign,
    redirect_url,
    stored,
)
from app.venues.chatroom.goes import mentioned
from app.web.deps import House, TheHouse
from app.web.pages.frame import DONE, go_to, render
from app.web.pages.session import Form, OpenForm, csrf_token, same_origin
from app.world import rooms
from app.world import studies as rows
from app.world.rooms import PERSON, ROOMS
from app.world.text import CHAT_MAX, ChatBody

COOKIE_DAYS = 30
SECRET_MAX = 200
TOKEN_MAX = 800
"""Bytes of a token of a study's own list, which has at most 200 characters."""

RECEIPT_SECONDS = 600
"""How long a receipt code can be read again, in the browser it was told to."""

FIELDS_MAX = 6_000
"""A hundred questions with fifty options each, and what else a form holds."""

LIKERT_MOST = 11
"""Points of a scale that are drawn as a row of choices; a longer one asks for a number."""

PLAIN_MESSAGES = 200
NAME: TypeAdapter[str] = TypeAdapter(MemberName)
BODY: TypeAdapter[str] = TypeAdapter(ChatBody)
DONE |= {
    "elsewhere": "That page was finished already. This is where you are now.",
    "declined": "You did not agree, and nothing was kept.",
}
STEPS = {"intake": "Questions", "chat": "Conversation", "closing": "Questions", "debrief": "About this study"}


@dataclass(frozen=True)
class Visitor:
    """The participant whose browser asks; `person` is a row of `participants.by_secret`."""

    person: asyncpg.Record
    design: StudyDesign
    secret: str
    csrf: str

    @property
    def id(self) -> int:
        return int(self.person["id"])

    @property
    def takes_part(self) -> bool:
        return bool(self.person["state"] == "active")

    @property
    def in_room(self) -> bool:
        """Whether their room takes them now."""
        at_chat = self.takes_part and self.person["stage"] == "chat"
        return at_chat and self.person["room_state"] in ("waiting", "running")


class Kindly(APIRoute):
    """A route whose errors are told in the participants' own frame."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def kindly(request: Request) -> Response:
            try:
                return await handle(request)
            except AppError as error:
                return _problem(request, error)
            except RequestValidationError:
                return _problem(request, Invalid("The address is not one of ours: check the link."))
            except Exception as error:
                if (known := explain(error)) is None:
                    raise
                return _problem(request, known)

        return kindly


router = APIRouter(include_in_schema=False, route_class=Kindly)
TITLES = {403: "This form can't be taken", 404: "There is nothing here", 429: "Too many attempts", 503: "Just a moment"}


def _problem(request: Request, error: AppError) -> Response:
    answer = _words(request, TITLES.get(error.status, "That did not work"), [_sentence(error.detail)], error.status)
    if "Retry-After" in error.headers:
        answer.headers["Retry-After"] = error.headers["Retry-After"]
    return answer


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def _words(
    request: Request,
    title: str,
    words: list[str],
    status: int,
    *,
    design: StudyDesign | None = None,
    **more: Any,
) -> Response:
    """A page that only says something, and perhaps where to go on."""
    known = cookie_name(request) in request.cookies
    told = {"title": title, "words": words, "address": "/s" if known else "", "action": "Go on", **more}
    return _page(request, "words", status=status, design=design, **told)


def _page(
    request: Request,
    template: str,
    *,
    design: StudyDesign | None = None,
    visitor: Visitor | None = None,
    status: int = 200,
    **context: Any,
) -> Response:
    frame: dict[str, Any] = {
        "study": design.title if design else "",
        "contact": design.contact if design else "",
        "discloses": design is not None and design.disclosure == "at_once",
        "leaving": _what_follows(visitor) if visitor and visitor.takes_part else None,
        "step": _step(visitor) if visitor else None,
        "can_withdraw": visitor is not None and visitor.person["state"] != "withdrawn",
        "csrf": visitor.csrf if visitor else "",
    }
    return render(request, f"participant/{template}.html", status=status, private=True, **{**frame, **context})


def _step(visitor: Visitor) -> tuple[int, int, str] | None:
    """Which of how many steps they are at, and what it is called."""
    stages, stage = visitor.design.stages(), visitor.person["stage"]
    if not visitor.takes_part or stage not in STEPS or stage not in stages:
        return None
    return stages.index(stage) + 1, len(stages), STEPS[stage]


def _what_follows(visitor: Visitor) -> list[str]:
    """What somebody is told who wants to leave."""
    stage, design = visitor.person["stage"], visitor.design
    if stage == "intake" or (stage == "chat" and not visitor.in_room):
        return [
            "Your part in the study ends here. Answers on this page that you have not sent are not kept.",
            "You can't come in again with the same link.",
        ]
    closing = "a few closing questions, " if stage == "chat" and design.closing else ""
    debrief = "a page about the study, " if design.debrief_text and stage != "debrief" else ""
    ends = {"chat": "The conversation ends for you, and you can't go back to it."}.get(
        stage, "The questions on this page are left out." if stage == "closing" else ""
    )
    follows = f"What follows: {closing}{debrief}and the last page with your codes.".replace(", and", " and")
    return [ends, follows] if ends else [follows]


# Who asks


def cookie_name(request: Request) -> str:
    """`__Host-` binds the cookie to this host and to TLS; plain HTTP can't have it."""
    return "__Host-simfeed_participant" if request.url.scheme == "https" else "simfeed_participant"


def _receipt_cookie(request: Request) -> str:
    return cookie_name(request).replace("participant", "receipt")


def _keep(request: Request, answer: Response, name: str, value: str, seconds: int) -> None:
    secure = request.url.scheme == "https"
    answer.set_cookie(name, value, max_age=seconds, path="/", secure=secure, httponly=True, samesite="lax")


async def visitor_of(request: Request, house: TheHouse) -> Visitor | None:
    """The participant of this browser; None for everybody else."""
    secret = request.cookies.get(cookie_name(request), "")
    if not secret or len(secret) > SECRET_MAX:
        return None
    person = await participants.by_secret(house.database, secret)
    if person is None:
        return None
    return Visitor(person, stored(person["design"]), secret, csrf_token(house.secret, f"participant|{secret}"))


async def the_visitor(visitor: Annotated[Visitor | None, Depends(visitor_of)]) -> Visitor:
    """The participant of this browser.

    Raises:
        NotFound: it is nobody's.
    """
    if visitor is None:
        raise NotFound("this browser does not take part in a study: open the link that you were given")
    return visitor


async def visitors_form(request: Request, house: TheHouse, visitor: Annotated[Visitor, Depends(the_visitor)]) -> Form:
    """The fields of a form that a page of this participant sent.

    Raises:
        Forbidden: it comes from elsewhere, or from another's page.
        Invalid: it can't be read.
    """
    if not same_origin(request):
        raise Forbidden("this form was sent from another site")
    try:
        text = (await request.body()).decode()
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX, strict_parsing=bool(text))
    except ValueError:
        raise Invalid("the form can't be read") from None
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    form = Form(fields)
    if not hmac.compare_digest(form["csrf"].encode("utf-8", "replace"), visitor.csrf.encode()):
        raise Forbidden("this form belongs to another visit: go on, and send it from the page that opens")
    return form


MaybeVisitor = Annotated[Visitor | None, Depends(visitor_of)]
TheVisitor = Annotated[Visitor, Depends(the_visitor)]
VisitorForm = Annotated[Form, Depends(visitors_form)]


# Coming in


@router.get("/s/{token:path}")
async def join_page(request: Request, house: TheHouse, visitor: MaybeVisitor, token: str) -> Response:
    """What the study is, before anything is stored. The browser that agreed comes back to where it was."""
    if visitor is not None and await participants.came_by(house.database, visitor.id, token):
        return go_to("/s")
    design, external = await _design_of(request, house, token)
    if design is None:
        return _leads_nowhere(request)
    if "text" in request.query_params and not external:
        name = 'attachment; filename="consent.txt"'
        return PlainTextResponse(design.consent_text, headers={"Content-Disposition": name})
    given = design.kept_params(dict(request.query_params.items()))
    return _show_consent(request, design, external, token, given)


def _show_consent(
    request: Request,
    design: StudyDesign,
    external: bool,
    token: str,
    params: Mapping[str, str],
    wrong: str = "",
    status: int = 200,
) -> Response:
    return _page(
        request,
        "consent",
        design=design,
        status=status,
        external=external,
        token=token,
        params=params,
        paragraphs=[part for part in design.consent_text.split("\n\n") if part.strip()],
        choices=design.withdrawal,
        minutes=design.pace.session_duration_minutes,
        version=design.consent_sha256.hex(),
        nonce=secrets.token_urlsafe(24),
        save=f"/s/{quote(token, safe='')}?text=1",
        wrong=wrong,
    )


async def _design_of(request: Request, house: House, token: str) -> tuple[StudyDesign | None, bool]:
    """The study a token leads to, and whether consent to it is given elsewhere.

    Raises:
        TooMany: this address has tried too many tokens that lead nowhere.
    """
    if not token or len(token.encode("utf-8", "replace")) > TOKEN_MAX:
        return None, False
    address, most = request.scope["client_address"], house.settings.session_guesses_per_hour
    try:
        async with participants.guarded(house.database, address, most):
            found = await participants.look(house.database, token)
    except Unauthorized:
        return None, False
    return stored(found["design"]), found["consent"] == "external"


def _leads_nowhere(request: Request) -> Response:
    return _words(
        request,
        "This link does not open anything now",
        [
            "It may have been used already: each link lets one person in, once. Or the study is paused or closed, or "
            "the link is not complete.",
            "If you have begun in this browser, you can go on where you were. If not, ask whoever sent you the link.",
        ],
        404,
        action="Go on where I was",
    )


@router.post("/s/join")
async def join(request: Request, house: TheHouse, visitor: MaybeVisitor, form: OpenForm) -> Response:
    """Agree, and be a participant from now on; or don't, and nothing is stored.

    Sent again by the same page, as after a lost answer, it leads to the same participant.
    """
    token, given = form["token"], {name[6:]: form[name] for name in form.fields if name.startswith("param-")}
    if form["choice"] != "agree":
        design, _ = await _design_of(request, house, token)
        return _declined(request, design, token)
    secret = _secret_of(house, token, form["nonce"])
    if await participants.by_secret(house.database, secret) is None:
        try:
            await _redeem(request, house, form, secret, given)
        except Unauthorized:
            if await participants.by_secret(house.database, secret) is None:
                return _leads_nowhere(request)
        except (Conflict, Invalid) as error:
            design, external = await _design_of(request, house, token)
            if design is None:
                return _leads_nowhere(request)
            kept = design.kept_params(given)
            return _show_consent(request, design, external, token, kept, _sentence(error.detail), error.status)
    answer = go_to("/s")
    _keep(request, answer, cookie_name(request), secret, COOKIE_DAYS * 86_400)
    return answer


def _secret_of(house: House, token: str, nonce: str) -> str:
    """The secret of the browser that was shown `nonce`; a form without one gets one of its own."""
    mixed = f"join|{nonce or secrets.token_urlsafe(24)}|{token}".encode("utf-8", "replace")
    return "sf_page_" + hmac.new(house.secret.encode(), mixed, hashlib.sha256).hexdigest()


async def _redeem(request: Request, house: House, form: Form, secret: str, params: Mapping[str, str]) -> None:
    address, token = request.scope["client_address"], form["token"]
    version: bytes | None = None
    if form["consent"] != "external":
        try:
            version = bytes.fromhex(form["consent"][:100])
        except ValueError:
            version = b""
    entered = await studies.enter(
        house.database,
        house.settings,
        token,
        address=address,
        consent_sha256=version,
        kept=form["kept"],
        params=params,
        secret=secret,
    )
    if version is None and entered.stage == "chat":  # they were told of the room on the page that sent this
        with suppress(Conflict):
            await _open_room(house, entered.id)


async def _open_room(house: House, participant_id: int) -> str:
    async with house.database.connection() as connection, connection.transaction():
        return await studies.open_room_of(connection, house.settings, participant_id)


def _declined(request: Request, design: StudyDesign | None, token: str) -> Response:
    elsewhere = design.redirect.leave if design else ""
    return _words(
        request,
        "You don't take part",
        [
            "Thank you for your time. Nothing about you has been stored, and your link has not been used.",
            "If you change your mind, open the link again.",
        ],
        200,
        design=design,
        address=redirect_url(elsewhere, "") or f"/s/{quote(token[:TOKEN_MAX], safe='')}",
        action="Leave this page" if elsewhere else "Read it again",
    )


# The page that is next


@router.get("/s")
async def now(request: Request, house: TheHouse, visitor: MaybeVisitor) -> Response:
    """Where they are. `plain=1`: the room without script; `leave=1`: what leaving means."""
    if visitor is None:
        return _words(
            request,
            "We don't know this browser",
            ["If you take part in a study, open the link that you were given, in the browser in which you began."],
            200,
            address="",
        )
    if "leave" in request.query_params and visitor.takes_part:
        return _page(request, "leave", design=visitor.design, visitor=visitor)
    await participants.seen(house.database, visitor.id)
    if not visitor.takes_part:
        return await _end(request, house, visitor)
    match visitor.person["stage"]:
        case "intake" | "closing" as stage:
            if _questions(visitor):
                return _show_questions(request, visitor)
            await _go_on(house, visitor, stage)
            return go_to("/s")
        case "chat":
            return await _chat(request, house, visitor)
        case "debrief":
            return _debrief(request, visitor)
    return await _end(request, house, visitor)


async def _go_on(house: House, visitor: Visitor, stage: participants.Stage) -> None:
    with suppress(Conflict):  # another tab was faster
        await studies.go_on(house.database, visitor.design, visitor.id, stage)


def _debrief(request: Request, visitor: Visitor) -> Response:
    return _page(
        request,
        "debrief",
        design=visitor.design,
        visitor=visitor,
        paragraphs=[part for part in visitor.design.debrief_text.split("\n\n") if part.strip()],
    )


@router.post("/s/debriefed")
async def debriefed(house: TheHouse, visitor: TheVisitor, _: VisitorForm) -> Response:
    """They have read what the study was about."""
    await participants.debriefed(house.database, visitor.id)
    if visitor.takes_part and visitor.person["stage"] == "debrief":
        await _go_on(house, visitor, "debrief")
    return go_to("/s")


STOPPED = {
    "left": "You left the study before the conversation began.",
    "dropped_out": "The connection to your browser was lost for too long, so the conversation has ended.",
    "removed": "The research team has ended your part in this study.",
    "withdrawn": "You have withdrawn from this study.",
    "failed": "Something went wrong on our side, so your part in the study has ended. It was not your fault.",
}


async def _end(request: Request, house: House, visitor: Visitor) -> Response:
    """The last page; before it, what the study was about, if that is still to be told."""
    person, design = visitor.person, visitor.design
    if design.debrief_text and person["debriefed_at"] is None and person["state"] != "withdrawn":
        return _debrief(request, visitor)
    finished = person["state"] == "finished" or (visitor.takes_part and person["stage"] == "done")
    code = person["completion_code"] or ""
    if finished and not code:
        code = await participants.finish(house.database, visitor.id, "chat", design.completion_code) or ""
    left = person["end_reason"] == "left"
    elsewhere = (design.redirect.leave if left or not finished else "") or (
        design.redirect.completion if finished else ""
    )
    receipt, told_before = "", False
    if person["state"] != "withdrawn":
        receipt, told_before = await receipt_of(request, house, visitor)
    answer = _page(
        request,
        "end",
        design=design,
        visitor=visitor,
        finished=finished,
        why="" if finished else STOPPED.get(person["end_reason"] or "", STOPPED.get(person["state"], "")),
        code=code,
        onward=redirect_url(elsewhere, code) if elsewhere else "",
        receipt=receipt,
        place=withdrawal_place(request),
        told_before=told_before,
        kept=person["kept"],
        withdrawn=person["state"] == "withdrawn",
    )
    keep_receipt(request, answer, receipt)
    return answer


def withdrawal_place(request: Request) -> str:
    """Where people withdraw from another device, as they write it down."""
    return f"{request.url.netloc}/withdraw"


def keep_receipt(request: Request, answer: Response, code: str) -> None:
    """Let this browser tell the code again for some minutes."""
    if code:
        _keep(request, answer, _receipt_cookie(request), code, RECEIPT_SECONDS)


async def receipt_of(request: Request, house: House, visitor: Visitor) -> tuple[str, bool]:
    """The receipt code, if it can be told now; and whether it was told before and is gone.

    It is told once. The browser keeps it for some minutes, for a reload or a lost answer.
    """
    if code := await participants.give_receipt(house.database, visitor.id):
        return code, False
    held = request.cookies.get(_receipt_cookie(request), "")
    with suppress(Unauthorized):
        if held and (await participants.by_receipt(house.database, held))["id"] == visitor.id:
            return held, False
    return "", True


# Questions


@dataclass(frozen=True)
class Asked:
    """A question with what was answered and what is wrong with it."""

    question: Question
    values: list[str]
    wrong: str
    points: range | None = None
    bounds: tuple[float, float] = field(default=(0, 0))

    @property
    def name(self) -> str:
        return f"q-{self.question.id}"


def _questions(visitor: Visitor) -> list[Question]:
    design = visitor.design
    return design.intake if visitor.person["stage"] == "intake" else design.closing


def _show_questions(
    request: Request, visitor: Visitor, form: Form | None = None, wrong: Mapping[str, str] | None = None
) -> Response:
    asked = []
    for question in _questions(visitor):
        least, most = question.bounds()
        points = range(int(least), int(most) + 1) if question.kind == "likert" else None
        if points is not None and len(points) > LIKERT_MOST:
            points = None
        values = form.all(f"q-{question.id}") if form else []
        asked.append(Asked(question, values, (wrong or {}).get(question.id, ""), points, (least, most)))
    return _page(
        request,
        "questions",
        design=visitor.design,
        visitor=visitor,
        status=422 if wrong else 200,
        asked=asked,
        wrong=[one for one in asked if one.wrong],
        stage=visitor.person["stage"],
    )


@router.post("/s/answers")
async def answers(request: Request, house: TheHouse, visitor: TheVisitor, form: VisitorForm) -> Response:
    """Keep the answers and go on; wrong ones are shown at their questions, with all that was given."""
    stage = visitor.person["stage"]
    if not visitor.takes_part or stage not in ("intake", "closing") or form["stage"] != stage:
        return go_to("/s", done="elsewhere")
    given = {one.id: answer_of(one, form.all(f"q-{one.id}")) for one in _questions(visitor)}
    try:
        await studies.submit(house.database, visitor.person, stage, given)
    except Invalid as refused:
        return _show_questions(request, visitor, form, _wrong(refused.errors))
    except Conflict:
        return go_to("/s", done="elsewhere")
    return go_to("/s")


def _wrong(errors: tuple[FieldError, ...]) -> dict[str, str]:
    return {one.pointer.removeprefix("/"): f"This {one.message}." for one in errors}


# The room


async def _chat(request: Request, house: House, visitor: Visitor) -> Response:
    """The room, or the door to it."""
    if not visitor.in_room:
        if visitor.person["room_state"] in ("ending", "ended") and not await _may_have_another(house, visitor):
            await _go_on(house, visitor, "chat")
            return go_to("/s")
        if visitor.person["study_state"] != "open":
            return _closed(request, visitor)
        return await _show_door(request, house, visitor)
    if "plain" in request.query_params:
        return await _plain(request, house, visitor)
    return _page(request, "chat", **await _room(house, visitor))


async def _may_have_another(house: House, visitor: Visitor) -> bool:
    """Whether they were let in again after their room had ended without a word of theirs."""
    async with house.database.connection() as connection:
        room = await rows.room_of(connection, visitor.id)
    return room is not None and not room["wrote"] and visitor.design.token_reusable_before_first_message


async def _room(house: House, visitor: Visitor) -> dict[str, Any]:
    members = await rows.members(house.database, visitor.person["study_id"])
    return {
        "design": visitor.design,
        "visitor": visitor,
        "key": visitor.person["room"],
        "members": [one["name"] for one in members],
        "most": CHAT_MAX,
        "minutes": visitor.design.pace.session_duration_minutes,
    }


def _closed(request: Request, visitor: Visitor) -> Response:
    paused = visitor.person["study_state"] == "paused"
    return _words(
        request,
        "The study is paused" if paused else "The study is closed",
        ["Your place is kept. Try again in a while."]
        if paused
        else ["No more conversations begin in it. Thank you for your time."],
        200,
        design=visitor.design,
        visitor=visitor,
        address="/s" if paused else "/s?leave=1",
        action="Try again" if paused else "Go to the end",
    )


async def _show_door(
    request: Request, house: House, visitor: Visitor, name: str = "", wrong: str = "", status: int = 200
) -> Response:
    return _page(request, "door", status=status, name=name, wrong=wrong, **await _room(house, visitor))


@router.post("/s/enter")
async def enter(request: Request, house: TheHouse, visitor: TheVisitor, form: VisitorForm) -> Response:
    """Open their room. What they want to be called is known to them alone."""
    if visitor.person["stage"] != "chat" or not visitor.takes_part:
        return go_to("/s", done="elsewhere")
    if visitor.person["study_state"] != "open" and not visitor.in_room:
        return _closed(request, visitor)
    name = form["name"].strip()
    try:
        name = _name(visitor.design, name) if name else ""
    except Invalid as refused:
        return await _show_door(request, house, visitor, name[:80], _sentence(refused.detail), 422)
    try:
        key = await _open_room(house, visitor.id)
    except Conflict:
        return go_to("/s", done="elsewhere")
    if name:
        await rooms.name_person(house.database, key, name)
    return go_to("/s")


def _name(design: StudyDesign, name: str) -> str:
    """A name that nobody in the room has.

    Raises:
        Invalid: it is another's, or none that can be shown.
    """
    try:
        name = NAME.validate_python(name)
    except ValidationError as error:
        raise Invalid(f"the name {error.errors()[0]['msg']}") from None
    if name.casefold() in {member.name.casefold() for member in design.cast} | RESERVED_NAMES:
        raise Invalid("somebody else is called so: choose another name")
    return name


async def _plain(
    request: Request, house: House, visitor: Visitor, text: str = "", wrong: str = "", status: int = 200
) -> Response:
    """The room as a page: its messages, and a form to write one."""
    key = visitor.person["room"]
    entered = await _attend(request, house, key)
    room = await rooms.by_key(house.database, key)
    if not entered or room is None:
        return go_to("/s")
    names = await rooms.members(house.database, room["id"])
    names[PERSON] = "You"
    shut = {row["blocked"] for row in await house.database.fetch(ROOMS["blocked"], room["id"], room["events_count"])}
    found = await house.database.fetch(ROOMS["lately"], room["id"], room["messages_count"], PLAIN_MESSAGES)
    messages = [
        {
            "notice": False,
            "own": one["member"] == PERSON,
            "name": names[one["member"]],
            "text": _called(room, one["body"]),
            "quoted": _called(room, one["quoted_text"] or ""),
            "at": one["at"],
        }
        for one in found
        if one["member"] not in shut
    ]
    notices = await house.database.fetch(ROOMS["notices"], room["id"])
    messages += [{"notice": True, "text": one["text"], "at": one["at"]} for one in notices]
    messages.sort(key=lambda one: one["at"])
    return _page(
        request,
        "plain",
        status=status,
        messages=messages,
        minutes_left=max(0, round((room["seconds_left"] or 0) / 60)),
        paused=room["paused_at"] is not None,
        text=text,
        wrong=wrong,
        once=secrets.token_hex(12),
        **await _room(house, visitor),
    )


def _called(room: asyncpg.Record, text: str) -> str:
    """A text with the person's own name in it, which only they see."""
    return text.replace(f"@{rooms.PERSON_NAME}", f"@{room['username'] or 'you'}")


async def _attend(request: Request, house: House, key: str) -> bool:
    """Without a socket they are there until the time is up, for nobody can tell that they are gone."""
    if await house.database.fetchval(ROOMS["attend"], key) is None:
        if await rooms.enter(house.database, key) is None:
            return False
        await house.database.fetchval(ROOMS["attend"], key)
        request.app.state.rooms.tell()
    return True


@router.post("/s/say")
async def say(request: Request, house: TheHouse, visitor: TheVisitor, form: VisitorForm) -> Response:
    """Write a message without script; the same form sent twice is one message."""
    if not visitor.in_room:
        return go_to("/s", done="elsewhere")
    key, text = visitor.person["room"], form["text"]
    room = await rooms.by_key(house.database, key)
    if room is None or not await _attend(request, house, key):
        return go_to("/s", done="elsewhere")
    shown = text[: 2 * CHAT_MAX]
    try:
        body = BODY.validate_python(text)
        if not request.app.state.visits.bucket(room["id"]).take():
            raise TooMany("that was fast: wait a moment, then send it again")
        names = await rooms.members(house.database, room["id"])
        once = form["once"][:64] if form["once"].isalnum() and form["once"].isascii() else None
        await rooms.say(house.database, key, body, mentions=mentioned(body, names, but=PERSON), client_id=once)
    except ValidationError as error:
        return await _plain(request, house, visitor, shown, f"The message {error.errors()[0]['msg']}.", 422)
    except (TooMany, Conflict) as refused:
        return await _plain(request, house, visitor, shown, _sentence(refused.detail), refused.status)
    request.app.state.rooms.tell()
    return go_to("/s?plain=1")


@router.post("/s/leave")
async def leave(request: Request, house: TheHouse, visitor: TheVisitor, _: VisitorForm) -> Response:
    """Leave what they are at: the study before the room, else the room, or the questions after it."""
    stage = visitor.person["stage"]
    if not visitor.takes_part:
        return go_to("/s")
    if stage == "intake" or (stage == "chat" and visitor.person["room"] is None):
        await participants.stop(house.database, visitor.id, "dropped_out", "left")
    elif stage == "chat":
        room = await rooms.by_key(house.database, visitor.person["room"])
        if room is not None and await rooms.end(house.database, room["id"], "left"):
            request.app.state.rooms.tell()
    elif stage == "closing":
        await _go_on(house, visitor, "closing")
    elif stage == "debrief":  # which they have before them
        await participants.debriefed(house.database, visitor.id)
        await _go_on(house, visitor, "debrief")
    return go_to("/s")
