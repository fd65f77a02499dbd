"""The worlds beside the home world: made, compared and dropped; what takes long is done beside the request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from app.analysis import state as states
from app.analysis.state import Part, Terms, Times
from app.db import worlds as databases
from app.db.engine import Database
from app.db.worlds import HOME, NAME_RULE
from app.errors import AppError, Conflict, Misconfigured, NotFound
from app.ledger.recorded import example, next_run
from app.venues.feed import VENUE
from app.web.api.worlds import Name, WorldName, WorldWish, wrote
from app.web.deps import House, TheHouse
from app.web.pages.frame import DONE, go_to, render
from app.web.pages.query import checked
from app.web.pages.session import AdminForm, TheViewer, Viewer
from app.web.workshop import Job, Told, Workshop
from app.world import worlds
from app.world.worlds import World

router = APIRouter(prefix="/admin/worlds", include_in_schema=False)
HERE = router.prefix
WAIT_SECONDS = 4.0
"""So long a form waits for its work; what takes longer goes on beside the pages."""

KINDS = {"fork": "fork", "checkpoint": "checkpoint", "made": "made", "restore": "fork"}
"""What may be asked for, and the kind of world it makes."""

ENDED = ("completed", "partial", "failed", "stopped")
FIELDS = ("name", "kind", "source", "via", "note")
MISTAKES = {
    "name": f"must be {NAME_RULE}; `{HOME}` is taken",
    "source": "is not the name of a world",
    "kind": "must be one of the kinds that are offered",
    "via": "must be one of the ways that are offered",
}
DONE |= {
    "world-made": "The world is ready.",
    "world-making": "The world is being made. This page says when it is ready.",
    "world-dropped": "The world is gone, with all that was in it.",
    "world-dropping": "The world is being dropped.",
}


class Compared(BaseModel):
    """What is read: the hash of `a`, or what differs between `a` and `b`; `limit` rows of each table are shown."""

    model_config = ConfigDict(extra="ignore")

    what: Literal["diff", "hash"] = "diff"
    a: Name = HOME
    b: Name = HOME
    part: Part = "all"
    times: Times = "all"
    limit: Literal["3", "10", "50"] = "10"

    @property
    def command(self) -> str:
        """The same on the command line."""
        more = "".join(f" --{n} {v}" for n, v in (("part", self.part), ("times", self.times)) if v != "all")
        if self.what == "hash":
            return f"simfeed world hash {self.a}{more} --json"
        return f"simfeed world diff {self.a} {self.b}{more}" + (f" --limit {self.limit}" if self.limit != "10" else "")


class CompareQuery(BaseModel):
    """What the address of the comparison may say."""

    model_config = ConfigDict(extra="ignore")

    job: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    a: Name = HOME
    b: Name | None = None


class ListQuery(BaseModel):
    """What the address of the list may say: what the form begins with."""

    model_config = ConfigDict(extra="ignore")

    name: Name = ""
    source: Name = HOME
    kind: Literal["fork", "checkpoint", "made"] = "fork"


def workshop_of(request: Request) -> Workshop:
    """That of this server."""
    found = request.app.state.workshop
    assert isinstance(found, Workshop)  # noqa: S101 - the lifespan has set it
    return found


def _at_home(house: House) -> None:
    """See that this server keeps the worlds.

    Raises:
        Conflict: it is in another one than the home world.
    """
    if house.world:
        raise Conflict(f"this server is in the world {house.world}; worlds are kept by the home world's server")


# The list


@router.get("")
async def worlds_page(request: Request, house: TheHouse, viewer: TheViewer) -> Response:
    """All worlds, and the form that makes one; in another world, where they are kept."""
    query = checked(ListQuery, request)
    return await _show(request, house, viewer, {**query.model_dump(), "via": "auto", "note": ""})


async def _show(
    request: Request,
    house: House,
    viewer: Viewer,
    given: Mapping[str, str],
    *,
    wrong: Mapping[str, str] | None = None,
    problem: str = "",
    status: int = 200,
) -> Response:
    workshop = workshop_of(request)
    found = [] if house.world else await worlds.everything(house.database)
    jobs = workshop.under_way()
    return render(
        request,
        "admin/worlds.html",
        viewer=viewer,
        status=status,
        worlds=found,
        names=_names(found),
        jobs=jobs,
        failed=workshop.failed(),
        moves=bool(jobs) or any(world.state in ("making", "dropping") for world in found),
        ours={job.about[0].lower(): job for job in jobs},
        given=given,
        wrong=wrong or {},
        problem=problem,
    )


def _names(found: Sequence[World]) -> list[str]:
    """Those that can be copied and compared."""
    return [world.name for world in found if world.state == "ready"]


@router.post("")
async def make(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm) -> Response:
    """Fork a world, keep a checkpoint of it, restore one, or make an empty world."""
    _at_home(house)
    given = {name: form[name].strip()[:300] for name in FIELDS}
    try:
        kind = KINDS.get(given["kind"], "")
        copied = {"source": given["source"] or HOME, "via": given["via"] or "auto"} if kind != "made" else {}
        wish = WorldWish.model_validate({"name": given["name"], "kind": kind, "note": form["note"], **copied})
    except ValidationError as error:
        wrong = {str(e["loc"][0]): MISTAKES.get(str(e["loc"][0]), e["msg"]) for e in error.errors()}
        return await _show(request, house, viewer, given, wrong=wrong, status=422)
    home, me = house.database, viewer.admin.id

    async def work(told: Told) -> World:
        if given["kind"] == "restore":
            made = await worlds.restore(home, wish.source, wish.name, note=wish.note, by=me, told=told)
        else:
            made = await worlds.make(
                home, wish.name, kind=wish.kind, source=wish.source, note=wish.note, by=me, via=wish.via, told=told
            )
        await wrote(home, me, "world.made", made.name, kind=made.kind, source=made.source)
        return made

    try:
        job = workshop_of(request).begin("make", (wish.name,), work)
    except AppError as error:
        return await _show(request, house, viewer, given, problem=error.detail, status=error.status)
    if not await workshop_of(request).settled(job, WAIT_SECONDS):
        return go_to(HERE, done="world-making")
    workshop_of(request).take_away(job)
    if job.problem is not None:
        return await _show(request, house, viewer, given, problem=job.problem.detail, status=_status(job.problem))
    return go_to(f"{HERE}/{wish.name}", done="world-made")


def _status(error: AppError) -> int:
    """What only an operator can mend is a conflict to whoever asks, as over the API."""
    return 409 if isinstance(error, Misconfigured) else error.status


@dataclass(frozen=True)
class Again:
    """How a run is played again: whether the world has gone on since, and what could be changed, by example."""

    later: int | None
    post: int | None
    actor: str


async def of_run(database: Database, run: Mapping[str, Any]) -> Again | None:
    """What a run's page says about forks and replays; None for a run that can't be played again, or not yet."""
    if run["venue"] != VENUE or run["state"] not in ENDED:
        return None
    post, actor = await example(database, run["id"]) or (None, "handle")
    return Again(await next_run(database, run["id"]), post, actor)


# What differs


@router.get("/compare")
async def compare_page(request: Request, house: TheHouse, viewer: TheViewer) -> Response:
    """The forms that compare worlds; with `job`, what came of one."""
    query = checked(CompareQuery, request)
    job = workshop_of(request).jobs.get(query.job or "")
    if query.job and (job is None or job.kind not in ("hash", "diff")):
        raise NotFound("this result is not kept any more: only the newest are, until the server ends. Ask again")
    given = Compared.model_validate(job.wish) if job else Compared(a=query.a, b=query.b or HOME)
    return await _show_compare(request, house, viewer, given, job=job)


async def _show_compare(
    request: Request,
    house: House,
    viewer: Viewer,
    given: Compared,
    *,
    job: Job | None = None,
    problem: str = "",
    status: int = 200,
) -> Response:
    found = [] if house.world else await worlds.everything(house.database)
    return render(
        request,
        "admin/world_compare.html",
        viewer=viewer,
        status=status,
        names=_names(found),
        given=given,
        job=job,
        problem=problem,
        most=workshop_of(request).read_seconds,
    )


@router.post("/compare")
async def compare(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm) -> Response:
    """Begin to read, and lead to where its result will stand. Nothing is changed, so observers may."""
    _at_home(house)
    try:
        asked = Compared.model_validate({name: v for name in Compared.model_fields if (v := form[name].strip())})
    except ValidationError:
        problem = "The form named a world or a choice that can’t be. Nothing was read."
        return await _show_compare(request, house, viewer, Compared(), problem=problem, status=422)
    home, terms = house.database, Terms(asked.part, asked.times)

    async def work(told: Told) -> states.WorldState | states.WorldDiff:
        left = await databases.locate(home.url, asked.a)
        if asked.what == "hash":
            return await states.state_at(left, terms, told)
        right = await databases.locate(home.url, asked.b)
        return await states.diff_at(left, right, terms, limit=int(asked.limit), told=told)

    about = (asked.a,) if asked.what == "hash" else (asked.a, asked.b)
    try:
        job = workshop_of(request).begin(asked.what, about, work, asked.model_dump())
    except AppError as error:
        return await _show_compare(request, house, viewer, asked, problem=error.detail, status=error.status)
    await workshop_of(request).settled(job, WAIT_SECONDS)
    if job.problem is not None:
        workshop_of(request).take_away(job)
        status = _status(job.problem)
        return await _show_compare(request, house, viewer, asked, problem=job.problem.detail, status=status)
    return go_to(f"{HERE}/compare", job=job.id)


# One world


@router.get("/{world}")
async def world_page(request: Request, house: TheHouse, viewer: TheViewer, world: WorldName) -> Response:
    """One world: what it is, how to work in it, what can be made of it."""
    _at_home(house)
    found = await worlds.everything(house.database)
    one = _of(found, world)
    kind = "restore" if one.kind == "checkpoint" else "fork"
    return render(
        request,
        "admin/world.html",
        viewer=viewer,
        one=one,
        names=_names(found),
        copies=[each for each in found if each.source and each.source.lower() == one.name.lower()],
        ours=next((job for job in workshop_of(request).under_way() if job.about[0].lower() == one.name.lower()), None),
        given={"name": "", "kind": kind, "source": one.name, "via": "auto", "note": ""},
        compared=Compared(a=one.name, b=one.source or HOME),
    )


def _of(found: Sequence[World], name: str) -> World:
    for each in found:
        if each.name.lower() == name.lower():
            return each
    raise NotFound(f"there is no world {name}: it was dropped, or never made")


@router.post("/{world}/drop")
async def drop(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, world: WorldName) -> Response:
    """Ask whether a world is to be deleted; once that is `sure`, do it."""
    _at_home(house)
    one = await worlds.one(house.database, world)
    if one.name == HOME:
        raise Conflict("the home world can't be dropped: it holds the admins, the studies and the audit log")
    if form["sure"] != "yes":
        return await _show_drop(request, viewer, one)
    home, me = house.database, viewer.admin.id

    async def work(_: Told) -> World:
        gone = await worlds.drop(home, one.name)
        await wrote(home, me, "world.dropped", gone.name)
        return gone

    try:
        job = workshop_of(request).begin("drop", (one.name,), work)
    except AppError as error:
        return await _show_drop(request, viewer, one, error.detail, error.status)
    if not await workshop_of(request).settled(job, WAIT_SECONDS):
        return go_to(HERE, done="world-dropping")
    workshop_of(request).take_away(job)
    if job.problem is not None:
        return await _show_drop(request, viewer, one, job.problem.detail, _status(job.problem))
    return go_to(HERE, done="world-dropped")


async def _show_drop(request: Request, viewer: Viewer, one: World, problem: str = "", status: int = 200) -> Response:
    return render(request, "admin/world_drop.html", viewer=viewer, status=status, one=one, problem=problem)
