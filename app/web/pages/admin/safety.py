"""What spreads or leaks, and the kill switch of a post."""

from dataclasses import dataclass

import msgspec
from fastapi import APIRouter
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from app.auth.admins import record
from app.web.deps import House, TheHouse
from app.web.inputs import PathId
from app.web.pages.frame import DONE, go_to, render
from app.web.pages.session import AdminForm, TheViewer, Viewer
from app.world import feed, moderation
from app.world.moderation import By, Verdict
from app.world.text import Note

router = APIRouter(prefix="/admin/safety", include_in_schema=False)
HERE = router.prefix
DONE |= {
    "quarantined": "Nobody sees it any more, nor what was made of it. Nothing is deleted.",
    "released": "It is seen again, as it was.",
    "dismissed": "The reports are closed; the post stays where it was.",
    "hidden": "The reports are closed. Nobody sees the post any more, nor what was made of it. Nothing is deleted.",
}
SHOWN = 50
REASON: TypeAdapter[str] = TypeAdapter(Note)


@dataclass(frozen=True)
class Wrong:
    """A verdict that could not be given: on which post, why not, and the reason that was typed."""

    post_id: int
    message: str
    reason: str


async def _show(
    request: Request,
    house: House,
    viewer: Viewer,
    wrong: str = "",
    number: str = "",
    status: int = 200,
    verdict: Wrong | None = None,
) -> Response:
    reports = await moderation.open_reports(house.database, SHOWN)
    return render(
        request,
        "admin/safety.html",
        viewer=viewer,
        status=status,
        mode=house.settings.copies,
        found=await moderation.safety(house.database, SHOWN),
        reports=[{**row, "reasons": msgspec.json.decode(row["reasons"])} for row in reports],
        wrong=wrong,
        number=number,
        verdict=verdict,
    )


@router.post("/reports/{post_id}")
async def judge(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, post_id: PathId) -> Response:
    """Close the reports of a post: dismiss them, or hide it."""
    verdict: Verdict = "hidden" if form["verdict"] == "hidden" else "dismissed"
    try:
        reason = REASON.validate_python(form["reason"])
    except ValidationError as error:
        wrong = Wrong(post_id, str(error.errors()[0]["msg"]), form["reason"][:1000])
        return await _show(request, house, viewer, verdict=wrong, status=422)
    async with house.database.connection() as connection, connection.transaction():
        by = By("admin", viewer.admin.id)
        closed = await moderation.close_reports(connection, post_id, verdict, by=by, reason=reason)
        if closed.reports:
            detail = {"verdict": verdict, "reason": reason, "reports": closed.reports}
            await record(connection, viewer.admin.id, "reports.closed", str(post_id), **detail)
    return go_to(HERE, done=verdict)


@router.get("")
async def safety_page(request: Request, house: TheHouse, viewer: TheViewer) -> Response:
    """Marked texts, how those that were copied spread, what is in quarantine."""
    return await _show(request, house, viewer)


@router.post("/find")
async def find(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm) -> Response:
    """On to the post with a number, or with the address that somebody copied."""
    given = form["post"].strip().rpartition("/")[2].removeprefix("#")
    if given.isascii() and given.isdigit() and 0 < int(given[:19]) < 2**63 and len(given) < 20:
        return go_to(f"{HERE}/post/{int(given)}")
    return await _show(request, house, viewer, "must be a post's number or address", form["post"][:200], 422)


@router.get("/post/{post_id}")
async def switch_page(request: Request, house: TheHouse, viewer: TheViewer, post_id: PathId) -> Response:
    """The kill switch of one post."""
    return await _show_switch(request, house, viewer, post_id)


async def _show_switch(
    request: Request, house: House, viewer: Viewer, post_id: int, wrong: str = "", reason: str = "", status: int = 200
) -> Response:
    text = await moderation.post_text(house.database, post_id)
    return render(
        request,
        "admin/safety_post.html",
        viewer=viewer,
        status=status,
        post_id=post_id,
        text=text,
        post=await feed.post(house.database, post_id),
        infection=next(iter(await moderation.infections(house.database, [("post", post_id)])), None),
        wrong=wrong,
        reason=reason,
    )


@router.post("/post/{post_id}")
async def switch(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, post_id: PathId) -> Response:
    """Quarantine a post, or lift it."""
    lift = form["do"] == "lift"
    try:
        reason = REASON.validate_python(form["reason"])
    except ValidationError as error:
        message = str(error.errors()[0]["msg"])
        return await _show_switch(request, house, viewer, post_id, message, form["reason"][:1000], 422)
    by, whole = By("admin", viewer.admin.id), form["cascade"] == "on"
    async with house.database.connection() as connection, connection.transaction():
        if lift:
            await moderation.lift(connection, post_id, by=by, reason=reason)
        else:
            await moderation.quarantine(connection, post_id, by=by, reason=reason, cascade=whole)
        deed = "post.released" if lift else "post.quarantined"
        await record(connection, viewer.admin.id, deed, str(post_id), reason=reason)
    return go_to(HERE, done="released" if lift else "quarantined")
