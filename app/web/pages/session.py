"""Admins in a browser: the session cookie, and forms that only our own pages can send.

A form counts when it comes from this origin (Sec-Fetch-Site, else Origin) and holds the token of its session (OWASP's
HMAC-based token pattern). The API takes no cookie, so nothing there can be forged across origins.
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from app.auth.admins import Access, AdminInfo, signed_in
from app.errors import AppError, Forbidden, Invalid, Unauthorized
from app.web import roles
from app.web.deps import TheHouse

FIELDS_MAX = 200


@dataclass(frozen=True)
class Viewer:
    """The admin who looks at a page, and the session that tells so."""

    admin: AdminInfo
    jti: str


class SignInFirst(AppError):
    """Leads to the sign-in page, and back to `address` from there."""

    status, title = 401, "Sign in first"

    def __init__(self, address: str) -> None:
        super().__init__("this page is for admins: sign in first")
        self.address = address


def cookie_name(request: Request) -> str:
    """`__Host-` binds the cookie to this host and to TLS; plain HTTP, as on loopback, can't have it."""
    return "__Host-simfeed_session" if request.url.scheme == "https" else "simfeed_session"


def keep_session(request: Request, response: Response, access: Access, minutes: int) -> None:
    """Give the browser its session."""
    response.set_cookie(
        cookie_name(request),
        access.token,
        max_age=minutes * 60,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )


def end_session(request: Request, response: Response) -> None:
    """Take the cookie back."""
    response.delete_cookie(
        cookie_name(request), path="/", secure=request.url.scheme == "https", httponly=True, samesite="lax"
    )


async def viewer_of(request: Request, house: TheHouse) -> Viewer | None:
    """The signed-in admin; None for everybody else."""
    token = request.cookies.get(cookie_name(request))
    if not token:
        return None
    try:
        admin, jti = await signed_in(house.database, house.secret, token)
    except Unauthorized:
        return None
    return Viewer(admin, jti)


async def admin_of(request: Request, viewer: Annotated[Viewer | None, Depends(viewer_of)]) -> Viewer:
    """The signed-in admin, who may do what is asked for.

    Raises:
        SignInFirst: nobody is signed in.
        Forbidden: an observer wants to change something.
    """
    if viewer is None:
        query = f"?{request.url.query}" if request.url.query else ""
        raise SignInFirst(request.url.path + query if request.method == "GET" else "/admin")
    roles.permit(request, viewer.admin)
    return viewer


def csrf_token(secret: str, jti: str) -> str:
    """What a form of this session holds."""
    return hmac.new(secret.encode(), f"csrf|{jti}".encode(), hashlib.sha256).hexdigest()


def same_origin(request: Request) -> bool:
    """Whether a browser says that a page of ours sent this; what says neither header is no browser."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host", "")


@dataclass(frozen=True)
class Form:
    """The fields of a form, each with all its values."""

    fields: dict[str, list[str]]

    def __getitem__(self, name: str) -> str:
        """The first value, or an empty string."""
        return self.fields.get(name, [""])[0]

    def all(self, name: str) -> list[str]:
        return self.fields.get(name, [])

    def lines(self, name: str) -> list[str]:
        """The lines of a text field that are not blank."""
        return [line.strip() for line in self[name].splitlines() if line.strip()]


async def read_form(request: Request, most: int = FIELDS_MAX) -> Form:
    """The fields of a form from our origin, at most so many.

    Raises:
        Forbidden: it comes from elsewhere.
        Invalid: it can't be read.
    """
    if not same_origin(request):
        raise Forbidden("this form was sent from another site")
    try:
        text = (await request.body()).decode()
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=most, strict_parsing=bool(text))
    except ValueError:
        raise Invalid("the form can't be read") from None
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return Form(fields)


async def open_form(request: Request) -> Form:
    """The fields of a form from our origin."""
    return await read_form(request)


async def admins_form(
    house: TheHouse, viewer: Annotated[Viewer, Depends(admin_of)], form: Annotated[Form, Depends(open_form)]
) -> Form:
    """The fields of a form that the signed-in admin sent from one of our pages."""
    return own_form(house.secret, viewer, form)


def own_form(secret: str, viewer: Viewer, form: Form) -> Form:
    """The form, if it is this session's.

    Raises:
        Forbidden: it does not hold the session's token.
    """
    if not hmac.compare_digest(form["csrf"].encode("utf-8", "replace"), csrf_token(secret, viewer.jti).encode()):
        raise Forbidden("this form belongs to another session: go back, reload the page and send it again")
    return form


MaybeViewer = Annotated[Viewer | None, Depends(viewer_of)]
TheViewer = Annotated[Viewer, Depends(admin_of)]
OpenForm = Annotated[Form, Depends(open_form)]
AdminForm = Annotated[Form, Depends(admins_form)]
