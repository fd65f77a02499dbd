"""Registering, signing in and out, inviting."""

from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from app import strict_json
from app.auth import admins, attempts
from app.errors import Invalid
from app.web.api.schemas import (
    AccessToken,
    AdminInfoOut,
    InvitationMade,
    InvitationOut,
    Registered,
    problems,
)
from app.web.deps import TheAdmin, TheHouse
from app.web.inputs import Body, GivenPassword, Password, PathId, Token
from app.world.text import Email, Line, Username

router = APIRouter(prefix="/auths", tags=["auths"])
DEVICE = "simfeed_device"
EXAMPLE = {"username": "ada", "password": "correct horse battery"}


class Registration(Body):
    """The first admin gives `bootstrap_token`, later ones the `invite_token` sent to their address."""

    username: Username
    email: Email
    password: Password
    bootstrap_token: Token | None = None
    invite_token: Token | None = None


class Credentials(Body):
    """`username` may be the e-mail address. The other fields are OAuth2's, and not needed."""

    username: Line
    password: GivenPassword
    grant_type: str | None = None
    scope: str | None = None
    client_id: str | None = None
    client_secret: str | None = None


class PasswordChange(Body):
    old_password: GivenPassword
    new_password: Password


class InvitationWish(Body):
    email: Email


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
        limits=attempts.Limits(
            settings.login_attempts_per_ip, settings.login_attempts_per_account, settings.login_delay_seconds
        ),
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
    await admins.sign_out(house.database, admin.jti)


@router.put("/password", operation_id="change_password", status_code=204, responses=problems(401, body=True))
async def change_password(house: TheHouse, admin: TheAdmin, given: PasswordChange) -> None:
    """Set a new password; every session of yours ends."""
    most = house.settings.login_attempts_per_account
    await attempts.count(house.database, f"password:{admin.admin.id}", most, attempts.ACCOUNT_WINDOW)
    await admins.change_password(house.database, admin.admin, old=given.old_password, new=given.new_password)


@router.post("/invitations", operation_id="invite", status_code=201, responses=problems(401, body=True))
async def invite(house: TheHouse, admin: TheAdmin, given: InvitationWish) -> InvitationMade:
    """Invite an address to become admin, within a day."""
    token, row = await admins.invite(house.database, given.email, by=admin.admin.id)
    return InvitationMade(id=row["id"], email=row["email"], invite_token=token, expires_at=row["expires_at"])


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
