"""Who may do what admins do: admins, one's own sessions and password, invitations."""

from fastapi import APIRouter
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from app.auth import admins, attempts
from app.errors import Invalid, NotFound, TooMany
from app.web.api.auths import InvitationWish, PasswordChange
from app.web.deps import House, TheHouse
from app.web.inputs import PathId
from app.web.pages.frame import DONE, go_to, render
from app.web.pages.session import AdminForm, TheViewer, Viewer, end_session

router = APIRouter(prefix="/admin/access", include_in_schema=False)
HERE = router.prefix
DONE |= {
    "admin-disabled": "They are shut out: their sessions and open invitations have ended.",
    "admin-enabled": "They may sign in again.",
    "session-ended": "That session has ended.",
    "signed-out-everywhere": "You are signed out everywhere.",
    "invitation-revoked": "The invitation is worth nothing now.",
}


async def _show(
    request: Request,
    house: House,
    viewer: Viewer,
    wrong: dict[str, str] | None = None,
    email: str = "",
    status: int = 200,
) -> Response:
    return render(
        request,
        "admin/access.html",
        viewer=viewer,
        status=status,
        admins=await admins.roll(house.database),
        sessions=await admins.sessions(house.database, viewer.admin.id),
        invitations=await admins.invitations(house.database),
        hours=admins.INVITATION_HOURS,
        wrong=wrong or {},
        email=email[:254],
    )


def _messages(error: ValidationError) -> dict[str, str]:
    return {str(e["loc"][0]): e["msg"] for e in error.errors()}


@router.get("")
async def access_page(request: Request, house: TheHouse, viewer: TheViewer) -> Response:
    """Admins, one's own sessions, the password, invitations."""
    return await _show(request, house, viewer)


@router.post("/admins/{admin_id}/disable")
async def disable(house: TheHouse, viewer: TheViewer, form: AdminForm, admin_id: PathId) -> Response:
    """Shut another admin out."""
    await admins.disable(house.database, admin_id, by=viewer.admin.id)
    return go_to(HERE, done="admin-disabled")


@router.post("/admins/{admin_id}/enable")
async def enable(house: TheHouse, viewer: TheViewer, form: AdminForm, admin_id: PathId) -> Response:
    """Let a disabled admin in again."""
    await admins.enable(house.database, admin_id, by=viewer.admin.id)
    return go_to(HERE, done="admin-enabled")


@router.post("/sessions/end")
async def end_one(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm) -> Response:
    """End one of one's own sessions, named by its `jti`."""
    jti = form["session"]
    if not (jti.isascii() and jti.isprintable()):
        raise NotFound("there is no such session")
    await admins.end_session(house.database, viewer.admin, jti)
    if jti != viewer.jti:
        return go_to(HERE, done="session-ended")
    answer = go_to("/admin/login", done="signed-out")
    end_session(request, answer)
    return answer


@router.post("/sessions/end-all")
async def end_all(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm) -> Response:
    """Sign out everywhere, here too."""
    await admins.sign_out_everywhere(house.database, viewer.admin)
    answer = go_to("/admin/login", done="signed-out-everywhere")
    end_session(request, answer)
    return answer


@router.post("/password")
async def change_password(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm) -> Response:
    """Set a new password; every session ends."""
    try:
        given = PasswordChange(old_password=form["old_password"], new_password=form["new_password"])
        most = house.settings.login_attempts_per_account
        await attempts.count(house.database, f"password:{viewer.admin.id}", most, attempts.ACCOUNT_WINDOW)
        await admins.change_password(house.database, viewer.admin, old=given.old_password, new=given.new_password)
    except ValidationError as error:
        return await _show(request, house, viewer, _messages(error), status=422)
    except (Invalid, TooMany) as error:
        return await _show(request, house, viewer, {"old_password": error.detail}, status=error.status)
    answer = go_to("/admin/login", done="password")
    end_session(request, answer)
    return answer


@router.post("/invitations")
async def invite(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm) -> Response:
    """Invite an address. The answer is the only page that ever shows the token, and nothing keeps it."""
    try:
        given = InvitationWish(email=form["email"])
    except ValidationError as error:
        return await _show(request, house, viewer, _messages(error), form["email"], 422)
    token, row = await admins.invite(house.database, given.email, by=viewer.admin.id)
    link = str(request.base_url.replace(path="/admin/register").include_query_params(token=token))
    return render(request, "admin/access_invited.html", viewer=viewer, invitation=row, token=token, link=link)


@router.post("/invitations/{invitation_id}/revoke")
async def revoke(house: TheHouse, viewer: TheViewer, form: AdminForm, invitation_id: PathId) -> Response:
    """End an open invitation."""
    await admins.revoke(house.database, invitation_id, by=viewer.admin.id)
    return go_to(HERE, done="invitation-revoked")
