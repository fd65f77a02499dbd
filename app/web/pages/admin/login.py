"""Becoming an admin, signing in (with a code, where an authenticator is in use) and out, in a browser."""

from urllib.parse import urlsplit

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from app.auth import admins, attempts, second_factor
from app.errors import AppError, Unauthorized
from app.web.api.auths import DEVICE, Code, Registration, limits_of
from app.web.deps import House, TheHouse
from app.web.inputs import GivenPassword
from app.web.pages.frame import DONE, go_to, render
from app.web.pages.session import AdminForm, Form, MaybeViewer, OpenForm, TheViewer, end_session, keep_session
from app.world.text import Line

router = APIRouter(prefix="/admin", include_in_schema=False)
HALF = "simfeed_half"
CODE: TypeAdapter[str] = TypeAdapter(Code)
DONE |= {
    "registered": "Welcome. You are an admin now: sign in.",
    "password": "The password is changed: sign in again.",
    "half-over": "The five minutes for the code are over: begin again with the password.",
}


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
    minutes = house.settings.page_session_minutes
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
            limits=limits_of(house),
        )
    except ValidationError:
        return _show_login(request, form, "Both fields are needed.", 422)
    except second_factor.CodeNeeded as needed:
        answer = go_to("/admin/login/code", next=_within(form["next"]))
        _keep(request, answer, HALF, needed.half, second_factor.HALF_SECONDS)
        return answer
    except AppError as error:
        return _show_login(request, form, error.detail, error.status)
    return _entered(request, form, access, minutes)


def _keep(request: Request, answer: Response, name: str, value: str, seconds: int) -> None:
    """A cookie that only the forms of sign-in get, from our own pages; none for `seconds` = 0."""
    answer.set_cookie(
        name,
        value,
        max_age=seconds,
        path="/admin/login",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def _entered(request: Request, form: Form, access: admins.Access, minutes: int) -> Response:
    answer = go_to(_within(form["next"]))
    keep_session(request, answer, access, minutes)
    _keep(request, answer, DEVICE, access.device, attempts.DEVICE_DAYS * 86_400)
    if HALF in request.cookies:
        _keep(request, answer, HALF, "", 0)
    return answer


@router.get("/login/code")
async def code_page(request: Request, house: TheHouse, viewer: MaybeViewer) -> Response:
    """The second step: the code of the authenticator app."""
    if viewer is not None:
        return go_to("/admin")
    form = Form({"next": [request.query_params.get("next", "")[:2000]]})
    try:
        await second_factor.halfway(house.database, house.secret, _half(request))
    except Unauthorized:
        return _begin_again(request, form)
    return _show_code(request, form)


def _half(request: Request) -> str:
    return request.cookies.get(HALF, "")[: second_factor.HALF_MAX]


def _begin_again(request: Request, form: Form) -> Response:
    answer = go_to("/admin/login", done="half-over", next=_within(form["next"]))
    _keep(request, answer, HALF, "", 0)
    return answer


def _show_code(request: Request, form: Form, wrong: str = "", status: int = 200) -> Response:
    return render(
        request, "admin/login_code.html", status=status, private=True, wrong=wrong, next=_within(form["next"])
    )


@router.post("/login/code")
async def give_code(request: Request, house: TheHouse, form: OpenForm) -> Response:
    """Open a session by the code that was still needed."""
    minutes = house.settings.page_session_minutes
    half = _half(request)
    try:
        await second_factor.halfway(house.database, house.secret, half)
    except Unauthorized:
        return _begin_again(request, form)
    try:
        access = await admins.finish_sign_in(
            house.database,
            house.secret,
            half=half,
            code=CODE.validate_python(form["code"]),
            device=request.cookies.get(DEVICE, "")[: attempts.DEVICE_MAX],
            minutes=minutes,
            limits=limits_of(house),
        )
    except ValidationError:
        return _show_code(request, form, "must be six digits, or a recovery code", 422)
    except AppError as error:
        return _show_code(request, form, error.detail, error.status)
    return _entered(request, form, access, minutes)


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
