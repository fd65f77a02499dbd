"""What this process has counted, for Prometheus."""

import asyncio
import hmac
from ipaddress import ip_address
from math import nan

from fastapi import APIRouter, Request, Response

from app import metrics
from app.analysis import realism
from app.analysis.alarms import LEVELS
from app.db.engine import TROUBLE, Database
from app.errors import Forbidden, Unauthorized
from app.settings import LOOPBACK, Settings
from app.venues.dispatch import PgQueue
from app.web.api.schemas import problems
from app.web.deps import TheHouse
from app.world.text import INT64_MAX

router = APIRouter(tags=["health"])
FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "origin")
DEPTH_SECONDS = 1.0
TEXT = {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' text format."}


def check_reader(request: Request, settings: Settings) -> None:
    """What a world costs is not for everybody: a token, or else only a program on this machine.

    Raises:
        Unauthorized: there is a token, and it was not sent.
        Forbidden: there is none, and the request comes from elsewhere, through a proxy, or from a page.
    """
    token = settings.metrics_token
    if token is not None and token.get_secret_value():
        given = request.headers.get("authorization", "").encode("latin-1")
        if not hmac.compare_digest(given, b"Bearer " + token.get_secret_value().encode()):
            raise Unauthorized("send METRICS_TOKEN as `Authorization: Bearer`")
        return
    host = request.headers.get("host", "").lower().rpartition("]")
    name = f"{host[0]}]" if host[1] else host[2].partition(":")[0]
    local = is_loopback(request.scope["client_address"]) and name in LOOPBACK
    if not local or any(header in request.headers for header in FORWARDED):
        raise Forbidden("only this machine may read the metrics, unless METRICS_TOKEN is set and sent")


def is_loopback(address: str) -> bool:
    """Whether this is an address of this machine that no other reaches."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


async def _depth(database: Database) -> float:
    """Batches that wait; NaN when the database does not tell soon."""
    try:
        async with asyncio.timeout(DEPTH_SECONDS):
            return await PgQueue(database).depth()
    except TROUBLE:
        return nan


async def _alarms(database: Database) -> dict[str, float]:
    """Monitors beyond a limit in the newest cycle, by level; NaN when the database does not tell soon."""
    try:
        async with asyncio.timeout(DEPTH_SECONDS):
            found = await realism.lately(database, INT64_MAX - 1, 1)
    except TROUBLE:
        return dict.fromkeys(LEVELS, nan)
    sounded = [alarm.level for _, one in found for alarm in one.alarms]
    return {level: float(sounded.count(level)) for level in LEVELS}


async def told(request: Request, settings: Settings, database: Database) -> Response:
    """All that `request.app` has counted, for whoever may read it.

    Raises:
        Unauthorized, Forbidden: see `check_reader`.
    """
    check_reader(request, settings)
    found = request.app.state.metrics
    assert isinstance(found, metrics.Metrics)  # noqa: S101 - whoever made the application has set it
    found.queue_depth.set(await _depth(database))
    for level, number in (await _alarms(database)).items():
        found.alarms.labels(level).set(number)
    return Response(found.text(), headers={"Content-Type": metrics.CONTENT_TYPE, "Cache-Control": "no-store"})


@router.get(
    "/metrics", operation_id="read_metrics", response_class=Response, responses={**problems(401, 403), 200: TEXT}
)
async def read_metrics(request: Request, house: TheHouse) -> Response:
    """Metrics in Prometheus' text format; for whoever sends METRICS_TOKEN, or without one for this machine alone."""
    return await told(request, house.settings, house.database)
