"""Registering, signing in and out, inviting; roles, and keys for programs."""

from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import Field, ValidationError

from app import strict_json
from app.auth import admins, attempts, keys
from app.errors import Invalid
from app.web.api.schemas import (
    AccessToken,
    AdminInfoOut,
    AdminOut,
    InvitationMade,
    InvitationOut,
    KeyMade,
    KeyOut,
    Registered,
    problems,
)
from app.web.deps import House, TheAdmin, TheHouse
from app.web.inputs import Body, GivenPassword, Password, PathId, Token
from app.world.text import Email, Line, Username

router = APIRouter(prefix="/auths", tags=["auths"])
DEVICE = "simfeed_device"
EXAMPLE = {"username": "ada", "password": "correct horse battery"}


Code = Annotated[
    str,
    Field(
        strict=True,
        pattern="^[0-9A-Za-z -]{1,40}$",
        description="A code of the authenticator app (six digits), or a recovery code.",
    ),
]
KeyDays = Annotated[int, Field(strict=True, ge=1, le=keys.DAYS_MAX, description="Days that the key lives.")]


class Registration(Body):
    """The first admin gives `bootstrap_token`, later ones the `invite_token` sent to their address."""

    username: Username
    email: Email
    password: Password
    bootstrap_token: Token | None = None
    invite_token: Token | None = None


class Credentials(Body):
    """`username` may be the e-mail address; `totp` is needed where an authenticator is in use.

    The other fields are OAuth2's, and not needed.
    """

    username: Line
    password: GivenPassword
    totp: Code | None = None
    grant_type: str | None = None
    scope: str | None = None
    client_id: str | None = None
    client_secret: str | None = None


class PasswordChange(Body):
    old_password: GivenPassword
    new_password: Password


class InvitationWish(Body):
    """An `observer` sees all that admins see, and changes nothing."""

    email: Email
    role: admins.Role = "admin"


class RoleWish(Body):
    role: admins.Role


class KeyWish(Body):
    """`name` says which program the key is for."""

    name: Line
    days: KeyDays = keys.DAYS


@router.post(
    "/register",
    operation_id="register",
    status_code=201,
    responses=problems(403, 409, body=True),
)
async def register(house: TheHouse, request: Request, given: Registration) -> Registered:
    """Become an admin."""
    settings = house.settings
    address = request.scope["client_address"]
    await attempts.count(house.database, f"register:{address}", settings.login_attempts_per_ip, attempts.IP_WINDOW)
    row = await admins.register(
        house.database,
        username=given.username,
        email=given.email,
        password=given.password,
        bootstrap_token=given.bootstrap_token,
        invite_token=given.invite_token,
        expected_bootstrap=settings.bootstrap_token.get_secret_value(),
    )
    return Registered(message=f"welcome, {row['username']}", admin_info=AdminInfoOut(**dict(row)))


def limits_of(house: House) -> attempts.Limits:
    """How often a password and a code may be guessed here."""
    settings = house.settings
    return attempts.Limits(
        settings.login_attempts_per_ip, settings.login_attempts_per_account, settings.login_delay_seconds
    )


def _form(text: str) -> dict[str, str]:
    pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=20, strict_parsing=bool(text))
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field is given twice")
    return fields


async def _credentials(request: Request) -> Credentials:
    """The OAuth2 form or the same fields as JSON."""
    body = await request.body()
    try:
        if request.headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded"):
            fields = _form(body.decode())
        else:
            fields = strict_json.loads(body or b"{}")
        return Credentials.model_validate(fields)
    except ValidationError as error:
        errors = [{**e, "loc": ("body", *e["loc"])} for e in error.errors()]
        raise RequestValidationError(errors, body=fields) from None
    except ValueError:
        raise Invalid("the body is neither a form nor JSON with username and password") from None


_BODY = {
    "required": True,
    "content": {
        kind: {
            "schema": Credentials.model_json_schema(),
            "example": EXAMPLE,
        }
        for kind in ("application/x-www-form-urlencoded", "application/json")
    },
}


@router.post(
    "/login",
    operation_id="login",
    responses=problems(401, body=True),
    openapi_extra={"requestBody": _BODY},
)
async def login(house: TheHouse, request: Request, response: Response) -> AccessToken:
    """Sign in (OAuth2 password flow, as a form or as JSON).

    Where an authenticator is in use, `totp` is needed too: without it the answer is 401 with the code `totp_required`.

    The cookie `simfeed_device` lets this device sign in even while others guess at the account.
    """
    given = await _credentials(request)
    settings = house.settings
    access = await admins.sign_in(
        house.database,
        house.secret,
        login=given.username,
        password=given.password,
        address=request.scope["client_address"],
        device=request.cookies.get(DEVICE, "")[: attempts.DEVICE_MAX],
        minutes=settings.access_token_minutes,
        limits=limits_of(house),
        code=given.totp,
    )
    response.set_cookie(
        DEVICE,
        access.device,
        max_age=attempts.DEVICE_DAYS * 86_400,
        path=router.prefix,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return AccessToken(access_token=access.token, token_type="bearer", expires_at=access.expires)  # noqa: S106 - the kind


@router.post("/logout", operation_id="logout", status_code=204, responses=problems(401))
async def logout(house: TheHouse, admin: TheAdmin) -> None:
    """End this session: its token is worth nothing from now on."""
    if admin.jti is not None:
        await admins.sign_out(house.database, admin.jti)


@router.put("/password", operation_id="change_password", status_code=204, responses=problems(401, body=True))
async def change_password(house: TheHouse, admin: TheAdmin, given: PasswordChange) -> None:
    """Set a new password; every session of yours ends."""
    most = house.settings.login_attempts_per_account
    await attempts.count(house.database, f"password:{admin.admin.id}", most, attempts.ACCOUNT_WINDOW)
    await admins.change_password(house.database, admin.admin, old=given.old_password, new=given.new_password)


@router.post("/invitations", operation_id="invite", status_code=201, responses=problems(401, body=True))
async def invite(house: TheHouse, admin: TheAdmin, given: InvitationWish) -> InvitationMade:
    """Invite an address to become admin or observer, within a day."""
    token, row = await admins.invite(house.database, given.email, by=admin.admin.id, role=given.role)
    return InvitationMade(invite_token=token, **dict(row))


@router.get("/invitations", operation_id="list_invitations", responses=problems(401))
async def list_invitations(house: TheHouse, _: TheAdmin) -> list[InvitationOut]:
    """The newest 200 invitations and what became of them."""
    return [InvitationOut(**dict(row)) for row in await admins.invitations(house.database)]


@router.delete(
    "/invitations/{invitation_id}",
    operation_id="revoke_invitation",
    status_code=204,
    responses=problems(401, 404),
)
async def revoke(house: TheHouse, admin: TheAdmin, invitation_id: PathId) -> None:
    """End an open invitation."""
    await admins.revoke(house.database, invitation_id, by=admin.admin.id)


@router.get("/admins", operation_id="list_admins", responses=problems(401))
async def list_admins(house: TheHouse, _: TheAdmin) -> list[AdminOut]:
    """All admins and observers, with their roles."""
    return [AdminOut(**dict(row)) for row in await admins.admins(house.database)]


@router.put(
    "/admins/{admin_id}/role",
    operation_id="set_role",
    status_code=204,
    responses=problems(401, 404, 409, body=True),
)
async def set_role(house: TheHouse, admin: TheAdmin, admin_id: PathId, given: RoleWish) -> None:
    """Make another admin an observer, or an observer an admin: effective at once."""
    await admins.set_role(house.database, admin_id, given.role, by=admin.admin.id)


@router.post("/keys", operation_id="create_key", status_code=201, responses=problems(401, 409, body=True))
async def create_key(house: TheHouse, admin: TheAdmin, given: KeyWish) -> KeyMade:
    """A key for a program: it may do what you may, until it ends or you are disabled."""
    me = admin.admin.id
    key, row = await keys.create(house.database, me, name=given.name, days=given.days, by=me)
    return KeyMade(key=key, **dict(row))


@router.get("/keys", operation_id="list_keys", responses=problems(401))
async def list_keys(house: TheHouse, _: TheAdmin) -> list[KeyOut]:
    """The newest 200 keys of everybody, those that live first, and when each was used last."""
    return [KeyOut(**dict(row)) for row in await keys.listed(house.database)]


@router.delete("/keys/{key_id}", operation_id="revoke_key", status_code=204, responses=problems(401, 404))
async def revoke_key(house: TheHouse, admin: TheAdmin, key_id: PathId) -> None:
    """End a key at once; an observer, one of their own."""
    own = admin.admin.role != "admin"
    await keys.revoke(house.database, key_id, by=admin.admin.id, own=own)
