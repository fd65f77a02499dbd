"""Becoming an admin, signing in and out, in a browser."""

from urllib.parse import urlsplit

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from app.auth import admins, attempts
from app.errors import AppError
from app.web.api.auths import DEVICE, Registration
from app.web.deps import House, TheHouse
from app.web.inputs import GivenPassword
from app.web.pages.frame import DONE, go_to, render
from app.web.pages.session import AdminForm, Form, MaybeViewer, OpenForm, TheViewer, end_session, keep_session
from app.world.text import Line

router = APIRouter(prefix="/admin", include_in_schema=False)
DONE |= {"registered": "Welcome. You are an admin now: sign in.", "password": "The password is changed: sign in again."}


class SignIn(BaseModel):
    model_config = ConfigDict(extra="ignore")

    username: Line
    password: GivenPassword


def _within(address: str) -> str:
    """`address` if it is one of ours, else the overview."""
    parts = urlsplit(address)
    ours = address.startswith("/") and not address.startswith(("//", "/\\")) and not (parts.scheme or parts.netloc)
    return address if ours and address.isprintable() and "\\" not in address else "/admin"


@router.get("/login")
async def login_page(request: Request, house: TheHouse, viewer: MaybeViewer) -> Response:
    """The form; to a world without admins, the way to become the first."""
    if viewer is not None:
        return go_to("/admin")
    if not await admins.bootstrapped(house.database):
        return go_to("/admin/register")
    return _show_login(request, Form({"next": [request.query_params.get("next", "")[:2000]]}))


def _show_login(request: Request, form: Form, problem: str = "", status: int = 200) -> Response:
    return render(
        request,
        "admin/login.html",
        status=status,
        private=True,
        problem=problem,
        username=form["username"][:254],
        next=_within(form["next"]),
    )


@router.post("/login")
async def login(request: Request, house: TheHouse, form: OpenForm) -> Response:
    """Open a session."""
    settings = house.settings
    minutes = settings.page_session_minutes
    try:
        given = SignIn(username=form["username"], password=form["password"])
        access = await admins.sign_in(
            house.database,
            house.secret,
            login=given.username,
            password=given.password,
            address=request.scope["client_address"],
            device=request.cookies.get(DEVICE, "")[: attempts.DEVICE_MAX],
            minutes=minutes,
            limits=attempts.Limits(
                settings.login_attempts_per_ip, settings.login_attempts_per_account, settings.login_delay_seconds
            ),
        )
    except ValidationError:
        return _show_login(request, form, "Both fields are needed.", 422)
    except AppError as error:
        return _show_login(request, form, error.detail, error.status)
    answer = go_to(_within(form["next"]))
    keep_session(request, answer, access, minutes)
    answer.set_cookie(
        DEVICE,
        access.device,
        max_age=attempts.DEVICE_DAYS * 86_400,
        path="/admin/login",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return answer


@router.post("/logout")
async def logout(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm) -> Response:
    """End the session."""
    await admins.sign_out(house.database, viewer.jti)
    answer = go_to("/", done="signed-out")
    end_session(request, answer)
    return answer


@router.get("/register")
async def register_page(request: Request, house: TheHouse, viewer: MaybeViewer) -> Response:
    """The first admin needs the bootstrap token, the others an invitation."""
    if viewer is not None:
        return go_to("/admin")
    first = not await admins.bootstrapped(house.database)
    return _show_register(request, Form({"token": [request.query_params.get("token", "")[:200]]}), first, {})


def _show_register(
    request: Request, form: Form, first: bool, wrong: dict[str, str], problem: str = "", status: int = 200
) -> Response:
    given = {name: form[name][:254] for name in ("username", "email", "token")}
    return render(request, "admin/register.html", status=status, first=first, wrong=wrong, problem=problem, given=given)


@router.post("/register")
async def register(request: Request, house: TheHouse, form: OpenForm) -> Response:
    """Become an admin."""
    first = not await admins.bootstrapped(house.database)
    token = {"bootstrap_token" if first else "invite_token": form["token"]}
    try:
        given = Registration.model_validate(
            {"username": form["username"], "email": form["email"], "password": form["password"], **token}
        )
        await _register(house, request, given)
    except ValidationError as error:
        wrong = {
            str(e["loc"][0]).replace("bootstrap_token", "token").replace("invite_token", "token"): e["msg"]
            for e in error.errors()
        }
        return _show_register(request, form, first, wrong, status=422)
    except AppError as error:
        return _show_register(request, form, first, {}, error.detail, error.status)
    return go_to("/admin/login", done="registered")


async def _register(house: House, request: Request, given: Registration) -> None:
    settings = house.settings
    address = request.scope["client_address"]
    await attempts.count(house.database, f"register:{address}", settings.login_attempts_per_ip, attempts.IP_WINDOW)
    await admins.register(
        house.database,
        username=given.username,
        email=given.email,
        password=given.password,
        bootstrap_token=given.bootstrap_token,
        invite_token=given.invite_token,
        expected_bootstrap=settings.bootstrap_token.get_secret_value(),
    )
