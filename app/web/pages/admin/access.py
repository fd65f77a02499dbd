"""Access: admins and observers, invitations, API keys; one's own sessions, password, authenticator."""

from typing import Any

import segno
from fastapi import APIRouter
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from app.auth import admins, attempts, keys, second_factor, totp
from app.errors import AppError, Conflict, Invalid, NotFound, TooMany, Unauthorized
from app.web.api.auths import Code, InvitationWish, KeyWish, PasswordChange, RoleWish, limits_of
from app.web.deps import House, TheHouse
from app.web.inputs import GivenPassword, PathId
from app.web.pages.frame import DONE, go_to, render
from app.web.pages.session import AdminForm, TheViewer, Viewer, end_session

router = APIRouter(prefix="/admin/access", include_in_schema=False)
HERE = router.prefix
DONE |= {
    "admin-disabled": "They are shut out: their sessions, open invitations and keys have ended.",
    "admin-enabled": "They may sign in again.",
    "session-ended": "That session has ended.",
    "signed-out-everywhere": "You are signed out everywhere.",
    "invitation-revoked": "The invitation is worth nothing now.",
    "role-set": "The role is changed, at once.",
    "key-revoked": "The key is worth nothing now.",
    "totp-off": "Your authenticator is off: the password alone signs you in.",
}
CODE: TypeAdapter[str] = TypeAdapter(Code)
PASSWORD: TypeAdapter[str] = TypeAdapter(GivenPassword)
QUIET = 4
"""Modules of white around a QR code that readers need (ISO/IEC 18004)."""


async def _show(
    request: Request,
    house: House,
    viewer: Viewer,
    wrong: dict[str, str] | None = None,
    status: int = 200,
    **given: str,
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
        keys=await keys.listed(house.database),
        days_max=keys.DAYS_MAX,
        factor=await second_factor.state(house.database, viewer.admin.id),
        wrong=wrong or {},
        given={"email": "", "role": "admin", "key": "", "days": str(keys.DAYS)}
        | {name: value[:254] for name, value in given.items()},
    )


def _messages(error: ValidationError) -> dict[str, str]:
    return {str(e["loc"][0]): e["msg"] for e in error.errors()}


@router.get("")
async def access_page(request: Request, house: TheHouse, viewer: TheViewer) -> Response:
    """Admins, invitations and keys; one's own sessions, password and authenticator."""
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


@router.post("/admins/{admin_id}/role")
async def set_role(house: TheHouse, viewer: TheViewer, form: AdminForm, admin_id: PathId) -> Response:
    """Make another admin an observer, or an observer an admin."""
    try:
        wish = RoleWish.model_validate({"role": form["role"]})
    except ValidationError:
        raise Invalid("a role is admin or observer") from None
    await admins.set_role(house.database, admin_id, wish.role, by=viewer.admin.id)
    return go_to(HERE, done="role-set")


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


async def _count(house: House, viewer: Viewer) -> None:
    """Bounds the guessing of a signed-in admin's password."""
    most = house.settings.login_attempts_per_account
    await attempts.count(house.database, f"password:{viewer.admin.id}", most, attempts.ACCOUNT_WINDOW)


@router.post("/password")
async def change_password(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm) -> Response:
    """Set a new password; every session ends."""
    try:
        given = PasswordChange(old_password=form["old_password"], new_password=form["new_password"])
        await _count(house, viewer)
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
    role = form["role"] or "admin"
    try:
        given = InvitationWish.model_validate({"email": form["email"], "role": role})
    except ValidationError as error:
        return await _show(request, house, viewer, _messages(error), 422, email=form["email"], role=role)
    token, row = await admins.invite(house.database, given.email, by=viewer.admin.id, role=given.role)
    link = str(request.base_url.replace(path="/admin/register").include_query_params(token=token))
    return render(request, "admin/access_invited.html", viewer=viewer, invitation=row, token=token, link=link)


@router.post("/invitations/{invitation_id}/revoke")
async def revoke(house: TheHouse, viewer: TheViewer, form: AdminForm, invitation_id: PathId) -> Response:
    """End an open invitation."""
    await admins.revoke(house.database, invitation_id, by=viewer.admin.id)
    return go_to(HERE, done="invitation-revoked")


@router.post("/totp/begin")
async def begin_totp(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm) -> Response:
    """Make a secret for an authenticator app; it counts from its first code on."""
    try:
        password = PASSWORD.validate_python(form["password"])
        await _count(house, viewer)
        await second_factor.begin(house.database, house.secret, viewer.admin.id, password)
    except ValidationError:
        return await _show(request, house, viewer, {"password": "is needed"}, 422)
    except (Conflict, Invalid, TooMany) as error:
        return await _show(request, house, viewer, {"password": error.detail}, error.status)
    return go_to(f"{HERE}/totp")


@router.get("/totp")
async def totp_page(request: Request, house: TheHouse, viewer: TheViewer) -> Response:
    """The secret, as a picture and as letters, until it is confirmed."""
    return await _show_totp(request, house, viewer)


async def _show_totp(request: Request, house: House, viewer: Viewer, wrong: str = "", status: int = 200) -> Response:
    try:
        key = await second_factor.pending(house.database, house.secret, viewer.admin.id)
    except (NotFound, Unauthorized):
        return go_to(HERE + "#authenticator")
    address = totp.address(key, viewer.admin.username)
    letters = totp.spelled(key)
    return render(
        request,
        "admin/access_totp.html",
        viewer=viewer,
        status=status,
        address=address,
        letters=" ".join(letters[at : at + 4] for at in range(0, len(letters), 4)),
        picture=_picture(address),
        minutes=second_factor.PENDING_MINUTES,
        wrong=wrong,
    )


def _picture(address: str) -> dict[str, Any]:
    """A QR code as the path of its dark modules, each row's runs as rectangles."""
    rows = segno.make_qr(address, error="m").matrix
    parts = []
    for y, row in enumerate(rows):
        x = 0
        while x < len(row):
            width = next((n for n, module in enumerate(row[x:]) if not module), len(row) - x)
            if width:
                parts.append(f"M{x + QUIET} {y + QUIET}h{width}v1h-{width}z")
            x += width + 1
    return {"size": len(rows) + 2 * QUIET, "dark": "".join(parts)}


@router.post("/totp/confirm")
async def confirm_totp(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm) -> Response:
    """Put the secret in force. The answer is the only page that ever shows the recovery codes."""
    me = viewer.admin
    try:
        code = CODE.validate_python(form["code"])
        codes = await second_factor.confirm(house.database, house.secret, me.id, me.username, code)
    except ValidationError:
        return await _show_totp(request, house, viewer, "must be six digits", 422)
    except Invalid as error:
        return await _show_totp(request, house, viewer, error.detail, 422)
    return render(request, "admin/access_codes.html", viewer=viewer, codes=codes)


@router.post("/totp/off")
async def totp_off(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm) -> Response:
    """Ask for codes no more: needs the password and a code."""
    me = viewer.admin
    wrong = "password"
    try:
        password = PASSWORD.validate_python(form["password"])
        wrong = "code"
        code = CODE.validate_python(form["code"])
        await _count(house, viewer)
        await second_factor.turn_off(
            house.database, house.secret, me.id, me.username, password=password, code=code, limits=limits_of(house)
        )
    except ValidationError:
        said = "is needed" if wrong == "password" else "must be six digits, or a recovery code"
        return await _show(request, house, viewer, {wrong: said}, 422)
    except Invalid as error:
        return await _show(request, house, viewer, {"password": error.detail}, 422)
    except (Unauthorized, TooMany) as error:
        return await _show(request, house, viewer, {"code": error.detail}, 422 if error.status == 401 else error.status)
    return go_to(HERE, done="totp-off")


@router.post("/keys")
async def make_key(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm) -> Response:
    """A key for a program. The answer is the only page that ever shows it."""
    me, days = viewer.admin.id, form["days"].strip()
    plain = days.isascii() and days.isdigit() and len(days) < 6
    try:
        given = KeyWish.model_validate({"name": form["key"], "days": int(days) if plain else 0})
        key, row = await keys.create(house.database, me, name=given.name, days=given.days, by=me)
    except ValidationError as error:
        wrong = {"key" if name == "name" else name: text for name, text in _messages(error).items()}
        return await _show(request, house, viewer, wrong, 422, key=form["key"], days=days)
    except AppError as error:
        return await _show(request, house, viewer, {"key": error.detail}, error.status, key=form["key"], days=days)
    return render(request, "admin/access_key.html", viewer=viewer, made=row, key=key)


@router.post("/keys/{key_id}/revoke")
async def revoke_key(house: TheHouse, viewer: TheViewer, form: AdminForm, key_id: PathId) -> Response:
    """End a key; an observer, one of their own."""
    await keys.revoke(house.database, key_id, by=viewer.admin.id, own=viewer.admin.role != "admin")
    return go_to(HERE, done="key-revoked")
