"""Runs: what became of them, how one goes on just now, and the forms that begin, stop and resume them."""

import asyncio
import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import asyncpg
import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.auth.admins import record
from app.db.engine import TROUBLE, Database
from app.db.queries import load
from app.errors import AppError, Conflict, NotFound, Unavailable
from app.ledger import figures
from app.ledger.figures import OPEN, Figures, Kept
from app.ledger.pulse import PULSE
from app.llm.remedies import REMEDIES
from app.models.ledger import RUN_STATES
from app.scheduler import stored_interval
from app.venues.estimate import Estimate, compared, estimate_run, keep_estimate
from app.venues.feed import VENUE, open_cycle
from app.venues.run import TURNS, resume_run, stop_run
from app.web.api import scheduler
from app.web.deps import House, SignedIn, TheHouse
from app.web.inputs import PathId, read_cursor, sign_cursor
from app.web.live import END, HEARTBEAT_SECONDS, RETRY, STILL_HERE, LiveStream
from app.web.pages.admin import monitors
from app.web.pages.admin.worlds import of_run
from app.web.pages.frame import DONE, go_to, money, render
from app.web.pages.parts import compact
from app.web.pages.query import checked
from app.web.pages.session import AdminForm, Form, TheViewer, Viewer, viewer_of
from app.web.pages.sheet import sheet
from app.world import interventions
from app.world.text import INT64_MAX

router = APIRouter(prefix="/admin/runs", include_in_schema=False)
DONE |= {
    "run-opened": "The run is open: its turns are handed out.",
    "run-stopped": "The run is stopped. What is done stays.",
    "run-resumed": "The run goes on.",
    "interval": "The interval is kept, and holds from now on.",
}
INSTANCE = load("instance")
PAGE = 20
TURNS_PAGE = 60
WATCHERS_MAX = 40
LOOK_SECONDS = 1.0
STILL = ("stopped", "failed", "partial", "completed", "budget_exhausted")
"""States in which nothing happens until somebody resumes the run."""

STOPPABLE = ("queued", "running", "paused", "budget_exhausted")
RESUMABLE = ("stopped", "paused", "budget_exhausted", "partial", "failed")
BAR = ("done", "limit", "refused", "deferred", "failed", "running", "queued")
RunState = Literal["queued", "running", "paused", "stopped", "budget_exhausted", "partial", "failed", "completed"]


class RunsQuery(BaseModel):
    """What the address of the list may say."""

    model_config = ConfigDict(extra="ignore")

    state: RunState | None = None
    cursor: Annotated[str, Field(max_length=400)] | None = None


class TurnsQuery(BaseModel):
    """Where a page of a run's turns begins."""

    model_config = ConfigDict(extra="ignore")

    cursor: Annotated[str, Field(max_length=400)] | None = None


class Terms(BaseModel):
    """What a run may spend instead of the settings' caps."""

    model_config = ConfigDict(extra="ignore")

    budget_usd: Annotated[float, Field(ge=0.0001, le=1e6, allow_inf_nan=False)] | None = None
    budget_tokens: Annotated[int, Field(ge=1, le=INT64_MAX)] | None = None

    def given(self) -> dict[str, Any]:
        return self.model_dump(include={"budget_usd", "budget_tokens"}, exclude_none=True)


class RunNow(Terms):
    """The form that begins a run; `once` makes of two clicks one run."""

    seed: Annotated[int, Field(ge=0, le=2**62)] | None = None
    once: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


def _fields(form: Form, kind: type[BaseModel]) -> tuple[Any, dict[str, str]]:
    """The form as `kind`, or what is wrong with each field; an empty field is not given."""
    given = {name: form[name].strip() for name in kind.model_fields if form[name].strip()}
    try:
        return kind.model_validate(given), {}
    except ValidationError as error:
        return None, {str(e["loc"][0]): e["msg"] for e in error.errors()}


def segments(states: Mapping[str, int]) -> list[tuple[str, float, float]]:
    """A stacked bar over a width of 100: (state, x, width)."""
    total = sum(states.values())
    found, x = [], 0.0
    for state in BAR:
        if states.get(state):
            width = 100 * states[state] / total
            found.append((state, round(x, 3), round(width, 3)))
            x += width
    return found


def duration(seconds: float | None) -> str:
    """A length of time for people; a dash when there is none."""
    if seconds is None:
        return "—"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def span(minutes: float) -> str:
    """An interval for people: `week`, `30 min`."""
    for size, name in ((10_080, "week"), (1_440, "day"), (60, "hour")):
        if minutes >= size and minutes % size == 0:
            return name if minutes == size else f"{minutes / size:g} {name}s"
    return f"{minutes:g} min" if minutes >= 1 else f"{minutes * 60:g} s"


def lasted(run: Mapping[str, Any]) -> float | None:
    """Seconds from a run's beginning to its end, or to now."""
    if run["started_at"] is None:
        return None
    end: datetime = run["ended_at"] or datetime.now(UTC)
    begun: datetime = run["started_at"]
    return max(0.0, (end - begun).total_seconds())


def fingerprint(settings: str) -> str:
    """A short name of a run's settings: the same settings have the same."""
    return hashlib.sha256(settings.encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Live:
    """How a run stands just now. `eta` is in seconds, None where nothing tells it."""

    state: str
    reason: str
    figures: Figures
    total: int
    seconds: float | None
    eta: float | None

    @property
    def percent(self) -> float:
        return 100 * self.figures.ended / self.total if self.total else 100.0

    def words(self) -> dict[str, str]:
        """What stands in the page, by the name of its place."""
        f = self.figures
        return {
            "state": self.state.replace("_", " "),
            "ended": f"{f.ended:,} of {self.total:,}",
            "calls": compact(f.calls or 0),
            "tokens": compact(f.tokens or 0),
            "cost": money(f.cost_usd) + (f" and {f.unpriced} calls of unknown price" if f.unpriced else ""),
            "seconds": duration(self.seconds),
            "eta": f"about {duration(self.eta)}" if self.eta is not None else "—",
            "reason": self.reason,
        }

    def sent(self) -> bytes:
        """The same as an event's data."""
        bar = segments(self.figures.states)
        told = {"state": self.state, "percent": round(self.percent, 2), "bar": bar, "words": self.words()}
        return b"event: progress\ndata: %b\n\n" % msgspec.json.encode(told)


@dataclass
class _Seen:
    key: tuple[object, ...]
    until: float
    found: Any


@dataclass
class Watch:
    """What this process knows of runs, shared by all who watch: one look at a time, and no more often than it can be
    afforded. A run that is over is looked at once."""

    kept: Kept = field(default_factory=Kept)
    watchers: int = 0
    _seen: OrderedDict[tuple[str, int], _Seen] = field(default_factory=OrderedDict)
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def live(self, database: Database, run_id: int) -> Live | None:
        run = await database.fetchrow(TURNS["run"], run_id)
        if run is None:
            return None
        found = await self._look("live", run, lambda: figures.now(database, run_id))
        counted, pace = found
        seconds = lasted(run)
        eta = None
        if run["state"] == "running" and pace and seconds:
            eta = counted.open * min(60.0, seconds) / pace
        return Live(run["state"], run["reason"] or "", counted, run["turns_total"], seconds, eta)

    async def detail(self, database: Database, run: asyncpg.Record) -> figures.Detail:
        found = await self._look("detail", run, lambda: figures.detail(database, run["id"]))
        assert isinstance(found, figures.Detail)  # noqa: S101 - what was looked for
        return found

    async def _look(self, what: str, run: asyncpg.Record, look: Any) -> Any:
        """What `look` finds, or found for somebody else: ten times as long ago as it took, a second at the least."""
        key, over = (run["state"], run["ended_at"]), run["state"] in figures.OVER
        async with self._looking:
            seen = self._seen.get((what, run["id"]))
            if seen is not None and seen.key == key and (over or time.monotonic() < seen.until):
                return seen.found
            began = time.monotonic()
            found = await look()
            took = time.monotonic() - began
            self._seen[what, run["id"]] = _Seen(key, began + max(LOOK_SECONDS * 0.9, 10 * took), found)
            while len(self._seen) > figures.KEPT_MAX:
                self._seen.popitem(last=False)
            return found


def watch_of(request: Request) -> Watch:
    """The process's one."""
    state = request.app.state
    if not hasattr(state, "watch"):
        state.watch = Watch()
    found = state.watch
    assert isinstance(found, Watch)  # noqa: S101 - nobody else writes it
    return found


async def workers_alive(database: Database) -> int:
    return sum(row["alive"] for row in await database.fetch(PULSE["workers"]))


@router.get("")
async def runs_page(request: Request, house: TheHouse, viewer: TheViewer) -> Response:
    """The newest runs, and the forms that begin one and set the interval."""
    return await _show_runs(request, house, viewer)


async def _listed(request: Request, house: House, query: RunsQuery) -> tuple[list[dict[str, Any]], str]:
    """The runs of a page with their figures, and the cursor of older ones."""
    scope = ("runs", query.state)
    before = int(read_cursor(house.secret, scope, query.cursor)[0]) if query.cursor else INT64_MAX
    states = query.state and [query.state]
    rows = await figures.runs(house.database, before=before, states=states, limit=PAGE + 1)
    shown = rows[:PAGE]
    counted = await watch_of(request).kept.of(house.database, shown)
    older = sign_cursor(house.secret, scope, (shown[-1]["id"],)) if len(rows) > PAGE else ""
    return [_row(run, counted.get(run["id"])) for run in shown], older


@router.get(".csv")
async def runs_csv(request: Request, house: TheHouse, viewer: TheViewer) -> Response:
    """The runs that the page of the same query shows."""
    rows, _ = await _listed(request, house, checked(RunsQuery, request))
    plain = ("id", "venue", "slot", "state", "reason", "turns_total", "created_at", "started_at", "ended_at", "seconds")
    figured = ("lost", "calls", "tokens", "cost_usd", "unpriced")
    cells = [
        (
            *(run[name] for name in (*plain, "seed", "hash")),
            *(getattr(run["figures"], name) if run["figures"] else None for name in figured),
        )
        for run in rows
    ]
    return sheet("runs", (*plain, "seed", "settings_hash", *figured), cells)


async def _show_runs(
    request: Request,
    house: House,
    viewer: Viewer,
    *,
    form: Form | None = None,
    wrong: Mapping[str, str] | None = None,
    problem: str = "",
    status: int = 200,
) -> Response:
    query = checked(RunsQuery, request)
    rows, cursor = await _listed(request, house, query)
    database = house.database
    given = {"state": query.state} if query.state else {}
    here = {**given, "cursor": query.cursor} if query.cursor else given
    given_form = form or Form({})
    return render(
        request,
        "admin/runs.html",
        viewer=viewer,
        status=status,
        problem=problem,
        wrong=wrong or {},
        given={name: given_form[name][:100] for name in ("seed", "budget_usd", "budget_tokens", "interval")},
        rows=rows,
        csv="/admin/runs.csv" + ("?" + urlencode(here) if here else ""),
        wanted=query.state or "",
        states=RUN_STATES,
        first=not query.cursor,
        older="/admin/runs?" + urlencode({**given, "cursor": cursor}) if cursor else "",
        estimate=await _estimate(house) if not query.cursor else None,
        once=secrets.token_hex(16),
        model=house.settings.simfeed_model,
        workers=await workers_alive(database),
        halted=bool(await database.fetchval(PULSE["halted"])),
        under_way=bool(await database.fetch(TURNS["under_way"], VENUE, f"{VENUE}/%")),
        interval=await stored_interval(house.mind, house.settings),
        tick=house.scheduler.next_tick,
        skipped=house.scheduler.skipped,
        enabled=house.settings.scheduler_enabled,
        duration=duration,
    )


def _row(run: asyncpg.Record, counted: Figures | None) -> dict[str, Any]:
    found = {**dict(run), "figures": counted, "seconds": lasted(run), "hash": fingerprint(run["settings"])}
    return found | {"bar": segments(counted.states) if counted else [], "told": told(counted.states if counted else {})}


def told(states: Mapping[str, int]) -> str:
    """A bar in words."""
    return ", ".join(f"{states[state]:,} {state}" for state in BAR if states.get(state)) or "no turns"


async def _estimate(house: House) -> Estimate | None:
    try:
        return await estimate_run(house.database, house.settings, house.settings.simfeed_model)
    except AppError:
        return None


@router.post("/now")
async def run_now(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm) -> Response:
    """Open a cycle for whoever has time to play it, and lead to its page."""
    given, wrong = _fields(form, RunNow)
    if given is None:
        return await _show_runs(request, house, viewer, form=form, wrong=wrong, status=422)
    if await house.database.fetchval(PULSE["halted"]):
        problem = "The kill switch is on: nothing is begun. Take it back first."
        return await _show_runs(request, house, viewer, form=form, problem=problem, status=409)
    slot = f"{VENUE}/by-hand/{given.once}"
    run_id = await open_cycle(house.mind, house.settings, slot=slot, seed=given.seed, terms=given.given())
    if run_id is None:
        return go_to(f"/admin/runs/{await house.database.fetchval(INSTANCE['run_of_slot'], slot)}")
    await keep_estimate(house.database, house.settings, run_id, house.settings.simfeed_model)
    await _note(house, viewer, "run.now", run_id, seed=given.seed, **given.given())
    return go_to(f"/admin/runs/{run_id}", done="run-opened")


async def _note(house: House, viewer: Viewer, action: str, run_id: int, **detail: object) -> None:
    async with house.database.connection() as connection:
        await record(connection, viewer.admin.id, action, f"run {run_id}", **detail)


@router.post("/interval")
async def set_interval(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm) -> Response:
    """Set the interval, as the API does."""
    try:
        given = scheduler.Interval.model_validate({"interval": float(form["interval"])})
    except ValueError:  # pydantic's error is one too
        wrong = {"interval": "must be a number of minutes from 0.05 (3 seconds) to 10,080 (a week)"}
        return await _show_runs(request, house, viewer, form=form, wrong=wrong, status=422)
    await scheduler.set_interval(house, SignedIn(viewer.admin, viewer.jti), given)
    return go_to("/admin/runs", done="interval")


@router.get("/{run_id}")
async def run_page(request: Request, house: TheHouse, viewer: TheViewer, run_id: PathId) -> Response:
    """One run, as it stands."""
    return await _show_run(request, house, viewer, run_id)


async def _show_run(
    request: Request,
    house: House,
    viewer: Viewer,
    run_id: int,
    *,
    form: Form | None = None,
    wrong: Mapping[str, str] | None = None,
    problem: str = "",
    status: int = 200,
) -> Response:
    database, watch = house.database, watch_of(request)
    run = await _run(database, run_id)
    query = checked(TurnsQuery, request)
    scope = ("turns", run_id)
    behind = int(read_cursor(house.secret, scope, query.cursor)[0]) if query.cursor else 0
    live = await watch.live(database, run_id)
    assert live is not None  # noqa: S101 - runs are never deleted
    detail = await watch.detail(database, run)
    rows = await figures.turns(database, run_id, behind=behind, limit=TURNS_PAGE + 1)
    more = ""
    if len(rows) > TURNS_PAGE:
        cursor = sign_cursor(house.secret, scope, (rows[TURNS_PAGE - 1]["ordinal"],))
        more = f"/admin/runs/{run_id}?" + urlencode({"cursor": cursor})
    estimate = msgspec.json.decode(run["estimate"]) if run["estimate"] else None
    given_form = form or Form({})
    return render(
        request,
        "admin/run.html",
        viewer=viewer,
        status=status,
        problem=problem,
        wrong=wrong or {},
        given={name: given_form[name][:100] for name in ("budget_usd", "budget_tokens")},
        run=run,
        live=live,
        words=live.words(),
        bar=segments(live.figures.states),
        told=told(live.figures.states),
        moves=run["state"] not in STILL,
        stoppable=run["state"] in STOPPABLE,
        resumable=run["state"] in RESUMABLE,
        workers=await workers_alive(database),
        detail=detail,
        done=sorted(detail.done.items(), key=lambda one: (-sum(one[1].values()), one[0])),
        remedies=REMEDIES,
        estimate=estimate,
        off=compared(estimate, vars(detail.usage)) if estimate else None,
        found=await monitors.shown(database, run_id) if run["venue"] == VENUE else None,
        monitored=run["venue"] == VENUE,
        again=await of_run(database, run),
        terms=sorted(msgspec.json.decode(run["settings"]).items()),
        hash=fingerprint(run["settings"]),
        began=await interventions.of_run(database, run_id),
        turns=list(_bars(run, rows[:TURNS_PAGE])),
        first=not query.cursor,
        more=more,
        csv=f"/admin/runs/{run_id}/turns.csv" + (f"?{urlencode({'cursor': query.cursor})}" if query.cursor else ""),
        duration=duration,
    )


@router.get("/{run_id}/turns.csv")
async def turns_csv(request: Request, house: TheHouse, viewer: TheViewer, run_id: PathId) -> Response:
    """The turns that the run's page of the same query shows."""
    query = checked(TurnsQuery, request)
    await _run(house.database, run_id)
    behind = int(read_cursor(house.secret, ("turns", run_id), query.cursor)[0]) if query.cursor else 0
    rows = await figures.turns(house.database, run_id, behind=behind, limit=TURNS_PAGE)
    turned = ("id", "ordinal", "persona_id", "username", "state", "reason", "epoch", "next_step", "started_at")
    columns = (*turned, "ended_at", "tokens", "cost_usd", "unpriced", "failed_calls", "trouble")
    return sheet(f"run-{run_id}-turns", columns, [[row[name] for name in columns] for row in rows])


async def _run(database: Database, run_id: int) -> asyncpg.Record:
    run = await database.fetchrow(TURNS["run"], run_id)
    if run is None:
        raise NotFound(f"no run has the number {run_id}")
    return run


def _bars(run: Mapping[str, Any], turns: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Turns with their place in the run's time: `x` and `width` of 100."""
    seconds = lasted(run)
    for turn in turns:
        x = width = None
        if turn["started_at"] is not None and run["started_at"] is not None and seconds:
            end = turn["ended_at"] or run["ended_at"] or datetime.now(UTC)
            x = min(99.0, max(0.0, 100 * (turn["started_at"] - run["started_at"]).total_seconds() / seconds))
            width = min(100 - x, max(1.0, 100 * (end - turn["started_at"]).total_seconds() / seconds))
        took = None if turn["ended_at"] is None or turn["started_at"] is None else turn["ended_at"] - turn["started_at"]
        yield {**turn, "x": x, "width": width, "seconds": took and took.total_seconds(), "open": turn["state"] in OPEN}


@router.post("/{run_id}/stop")
async def stop(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, run_id: PathId) -> Response:
    """No further step of the run is begun."""
    try:
        await stop_run(house.database, run_id)
    except Conflict as error:
        return await _show_run(request, house, viewer, run_id, problem=error.detail, status=409)
    await _note(house, viewer, "run.stop", run_id)
    return go_to(f"/admin/runs/{run_id}", done="run-stopped")


@router.post("/{run_id}/resume")
async def resume(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, run_id: PathId) -> Response:
    """Go on with the run from its last step; providers that refused us are asked again."""
    given, wrong = _fields(form, Terms)
    if given is None:
        return await _show_run(request, house, viewer, run_id, form=form, wrong=wrong, status=422)
    pulse = house.mind.pulse
    for provider in pulse.blocked():
        pulse.unblock(provider)
    await pulse.beat()
    try:
        await resume_run(house.database, run_id, terms=given.given())
    except Conflict as error:
        return await _show_run(request, house, viewer, run_id, form=form, problem=error.detail, status=409)
    await _note(house, viewer, "run.resume", run_id, **given.given())
    return go_to(f"/admin/runs/{run_id}", done="run-resumed")


@router.get("/{run_id}/events")
async def run_events(request: Request, house: TheHouse, viewer: TheViewer, run_id: PathId) -> Response:
    """A run's progress while somebody looks: an event when it changes, and `end` with the run."""
    await _run(house.database, run_id)
    watch = watch_of(request)
    if watch.watchers >= WATCHERS_MAX:
        raise Unavailable("too many watch runs already; reload the page instead", headers={"Retry-After": "10"})
    return RunStream(request, house, watch, run_id)


class RunStream(LiveStream):
    """Goes on until the run or the session ends."""

    def __init__(self, request: Request, house: House, watch: Watch, run_id: int) -> None:
        super().__init__()
        self._request = request
        self._house = house
        self._watch = watch
        self._run_id = run_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._watch.watchers += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._watch.watchers -= 1

    async def events(self, closed: asyncio.Event) -> AsyncIterator[bytes]:
        last, checked = b"", time.monotonic()
        yield RETRY
        while not closed.is_set():
            try:
                if time.monotonic() - checked > HEARTBEAT_SECONDS:
                    checked = time.monotonic()
                    if await viewer_of(self._request, self._house) is None:
                        return
                    yield STILL_HERE
                live = await self._watch.live(self._house.database, self._run_id)
            except TROUBLE:
                live = None
            if live is not None:
                sent = live.sent()
                if sent != last:
                    last = sent
                    yield sent
                if live.state in STILL:
                    yield END
                    return
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await closed.wait()
