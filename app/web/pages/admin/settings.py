"""Every setting with its value and where that comes from; the clock; whether a provider answers."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from fastapi import APIRouter
from pydantic import SecretStr, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from starlette.requests import Request
from starlette.responses import Response

from app.agent.population.tables import number
from app.auth.admins import record
from app.errors import Misconfigured
from app.llm import local
from app.llm.conformance import Finding
from app.llm.conformance import check as check_model
from app.llm.gateway import ready
from app.llm.model import Halted
from app.llm.pricing import LOCAL, SCRIPTED, providers
from app.scheduler import stored_interval
from app.settings import Settings, sources
from app.web.api.scheduler import Interval
from app.web.deps import House, TheHouse
from app.web.pages.admin.persona import models_known
from app.web.pages.frame import DONE, go_to, render
from app.web.pages.session import AdminForm, TheViewer, Viewer
from app.world.text import Line

router = APIRouter(prefix="/admin/settings", include_in_schema=False)
HERE = router.prefix
CHECK_SECONDS = 90.0
MODEL: TypeAdapter[str] = TypeAdapter(Line)
DONE |= {"interval-set": "The clock ticks by the new interval from now on, and after a restart too."}
SECTIONS = {
    "simfeed_home": "Home and database",
    "secret_key": "Secrets and sessions",
    "scheduler_job_interval": "Clock and workers",
    "simfeed_model": "Models",
    "model_fallback": "Providers and prices",
    "budget_call_tokens": "Budgets",
    "max_actions": "Turns",
    "rate_limit_per_minute": "Edge and log",
}
"""The field that each section begins with."""


@dataclass(frozen=True)
class Shown:
    """A setting as the page shows it. Of a secret only whether there is one."""

    name: str
    value: str
    source: str
    about: str


@dataclass(frozen=True)
class Preset:
    """A provider, whether it can be asked, and the model to test it with."""

    name: str
    where: str
    lacks: str
    model: str


@dataclass(frozen=True)
class Checked:
    """What came of a test."""

    model: str
    findings: list[Finding]
    problem: str = ""

    @property
    def ok(self) -> bool:
        return not self.problem and all(finding["ok"] for finding in self.findings)


def shown(settings: Settings) -> list[tuple[str, list[Shown]]]:
    """All settings by section, in the order in which they are declared."""
    found: list[tuple[str, list[Shown]]] = []
    origin = sources(settings)
    for name, field in type(settings).model_fields.items():
        if name in SECTIONS or not found:
            found.append((SECTIONS.get(name, "Settings"), []))
        value = _value(field, getattr(settings, name))
        found[-1][1].append(Shown(name.upper(), value, origin[name], field.description or ""))
    return found


def _value(field: FieldInfo, value: Any) -> str:
    if "SecretStr" in str(field.annotation):
        return "set" if isinstance(value, SecretStr) and value.get_secret_value() else "not set"
    match value:
        case None | "" | ():
            return ""
        case bool():
            return "yes" if value else "no"
        case tuple():
            return ", ".join(map(str, value))
        case float():
            return f"{value:g}"
        case Path() | int():
            return str(value)
        case _:
            return _without_password(str(value))


def _without_password(text: str) -> str:
    """An address may hold a name and a password."""
    if "://" not in text or "@" not in text:
        return text
    parts = urlsplit(text)
    return urlunsplit(parts._replace(netloc="…@" + parts.netloc.rpartition("@")[2]))


def presets(settings: Settings) -> list[Preset]:
    """The providers there are, the offline ones first."""
    try:
        local.require()
        lacks = ""
    except Misconfigured as error:
        lacks = error.detail
    found = [
        Preset(SCRIPTED, "offline, no language model", "", SCRIPTED),
        Preset(LOCAL, "in this process, a tiny language model", lacks, LOCAL),
    ]
    for provider in providers().values():
        key = getattr(settings, provider.key.lower()) if provider.key else None
        lacks = f"set {provider.key}" if provider.key and not (key and key.get_secret_value()) else ""
        priced = next(iter(provider.prices), "")
        found.append(Preset(provider.name, provider.base_url, lacks, f"{provider.name}/{priced}" if priced else ""))
    return found


@router.get("")
async def settings_page(request: Request, house: TheHouse, viewer: TheViewer) -> Response:
    """All settings."""
    return await _show(request, house, viewer)


async def _show(
    request: Request,
    house: House,
    viewer: Viewer,
    *,
    interval: str | None = None,
    wrong: dict[str, str] | None = None,
    model: str = "",
    checked: Checked | None = None,
    status: int = 200,
) -> Response:
    minutes = await stored_interval(house.mind, house.settings)
    return render(
        request,
        "admin/settings.html",
        viewer=viewer,
        status=status,
        sections=shown(house.settings),
        presets=presets(house.settings),
        models=models_known(),
        interval=f"{minutes:g}" if interval is None else interval,
        own_interval=minutes != house.settings.scheduler_job_interval,
        default_interval=house.settings.scheduler_job_interval,
        enabled=house.settings.scheduler_enabled,
        wrong=wrong or {},
        model=model or house.settings.simfeed_model,
        checked=checked,
        seconds=int(CHECK_SECONDS),
    )


@router.post("/interval")
async def set_interval(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm) -> Response:
    """When the personas wake, as PUT /scheduler/interval sets it."""
    text = form["interval"].strip()[:40]
    try:
        given = Interval.model_validate({"interval": number(text)})
    except ValidationError:
        wrong = {"interval": "must be a number of minutes from 0.05 (3 seconds) to 10080 (a week)"}
        return await _show(request, house, viewer, interval=text, wrong=wrong, status=422)
    await house.scheduler.set_interval(given.interval)
    async with house.database.connection() as connection:
        await record(connection, viewer.admin.id, "scheduler.interval", f"{given.interval:g}")
    return go_to(HERE, done="interval-set")


@router.post("/check")
async def check(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm) -> Response:
    """Ask a model to call tools, as `simfeed models check` does: two short calls."""
    given = form["model"]
    try:
        model = MODEL.validate_python(given)
        ready(house.settings, model)
    except ValidationError:
        wrong = {"model": "must be the name of a model, as NAME or PRESET/NAME"}
        return await _show(request, house, viewer, model=given[:200], wrong=wrong, status=422)
    except Misconfigured as error:
        return await _show(request, house, viewer, model=given[:200], wrong={"model": error.detail}, status=422)
    if _busy(request):
        wrong = {"model": "another test is under way: wait for it to end"}
        return await _show(request, house, viewer, model=model, wrong=wrong, status=429)
    request.app.state.checking = True
    try:
        checked = await _checked(house, model)
    finally:
        request.app.state.checking = False
    async with house.database.connection() as connection:
        await record(connection, viewer.admin.id, "model.checked", model, ok=checked.ok)
    return await _show(request, house, viewer, model=model, checked=checked)


def _busy(request: Request) -> bool:
    return bool(getattr(request.app.state, "checking", False))


async def _checked(house: House, model: str) -> Checked:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return Checked(model, await check_model(house.mind.model, model))
    except TimeoutError:
        return Checked(model, [], f"it gave no answer within {CHECK_SECONDS:.0f} seconds")
    except Halted:
        return Checked(model, [], "everything is halted: no model is asked. The kill switch is on the page Budgets")
