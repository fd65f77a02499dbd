"""The overview: what is well, what is not, and what to do about it."""

import asyncio
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import asyncpg
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.analysis import realism
from app.analysis.realism import Realism
from app.db import migrate
from app.db.engine import TROUBLE
from app.errors import AppError
from app.ledger import figures
from app.ledger.figures import FIGURES, Day, Figures, Spent
from app.ledger.pulse import PULSE
from app.llm.gateway import ready
from app.llm.pricing import OFFLINE
from app.llm.remedies import REMEDIES
from app.scheduler import stored_interval
from app.venues.dispatch import PgQueue
from app.venues.feed import VENUE
from app.web.deps import House, TheHouse
from app.web.pages.admin.runs import duration, lasted, segments, span, told, watch_of
from app.web.pages.frame import money, render
from app.web.pages.parts import compact
from app.web.pages.session import TheViewer
from app.world.text import INT64_MAX

router = APIRouter(include_in_schema=False)
CYCLES = 30
KEEP_SECONDS = 15.0
DISK_LEAST = 512 * 1024**2
DISK_LITTLE = 2 * 1024**3
SKEW_MOST = 5.0
NEARLY = 0.8
Colour = Literal["good", "warn", "bad"]


@dataclass(frozen=True)
class Light:
    """One part of the installation; `mend` says what to do when it is not green."""

    what: str
    colour: Colour
    found: str
    mend: str = ""
    link: str = ""


@dataclass(frozen=True)
class Caps:
    """What a day may take; None is no limit."""

    tokens: int | None
    usd: float | None

    def share(self, spent: Spent) -> float | None:
        """The larger part of a cap that is spent, 0 to 1; None without one."""
        shares = [spent.tokens / self.tokens] if self.tokens else []
        shares += [float(spent.cost_usd) / self.usd] if self.usd else []
        return max(shares, default=None)


@dataclass
class Slow:
    """What is read at most every `KEEP_SECONDS`: the sums over a day, and how far the schema is."""

    made: float = 0.0
    day: Day = field(default_factory=Day)
    spent: Spent = field(default_factory=Spent)
    schema: Light | None = None
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def read(self, house: House) -> tuple[Spent, Light]:
        async with self.reading:
            if self.schema is None or time.monotonic() - self.made > KEEP_SECONDS:
                self.spent = await self.day.spent(house.database, datetime.now(UTC))
                self.schema = await _schema(house.database.url)
                self.made = time.monotonic()
            return self.spent, self.schema


def _slow(request: Request) -> Slow:
    state = request.app.state
    if not hasattr(state, "slow"):
        state.slow = Slow()
    found = state.slow
    assert isinstance(found, Slow)  # noqa: S101 - nobody else writes it
    return found


@router.get("/admin")
async def overview(request: Request, house: TheHouse, viewer: TheViewer) -> Response:
    """How everything stands."""
    database, settings = house.database, house.settings
    spent, schema = await _slow(request).read(house)
    caps = Caps(settings.budget_day_tokens, settings.budget_day_usd)
    halted = bool(await database.fetchval(PULSE["halted"]))
    providers = await database.fetch(PULSE["providers"])
    workers = [worker for worker in await database.fetch(PULSE["workers"]) if worker["alive"]]
    standing = await database.fetch(FIGURES["standing"])
    cycles = await figures.cycles(database, VENUE, CYCLES)
    counted = await watch_of(request).kept.of(database, cycles, sums=False)
    depth = await _depth(house)
    lights = [
        await _database(house),
        await _scheduler(house, halted=halted),
        _provider(house, providers),
        _queue(depth, workers, standing),
        _workers(workers),
        _disk(settings.simfeed_home),
        schema,
    ]
    last = cycles[0] if cycles else None
    watched = await realism.lately(database, INT64_MAX - 1, 1)
    return render(
        request,
        "admin/overview.html",
        viewer=viewer,
        lights=lights,
        alerts=[
            *(light for light in lights if light.colour != "good"),
            *_alerts(spent, caps, standing, last),
            *_realism(watched),
        ],
        halted=halted,
        spent=spent,
        caps=caps,
        share=caps.share(spent),
        last=last,
        last_bar=segments(counted[last["id"]].states) if last and last["id"] in counted else [],
        last_told=told(counted[last["id"]].states) if last and last["id"] in counted else "",
        last_states=counted[last["id"]].states if last and last["id"] in counted else {},
        last_took=duration(lasted(last)) if last else "",
        spark=_spark(cycles, counted),
        spark_words=_spark_words(cycles, counted),
        tick=house.scheduler.next_tick,
    )


async def _database(house: House) -> Light:
    began = time.monotonic()
    row = await house.database.fetchrow(FIGURES["server"])
    assert row is not None  # noqa: S101 - it has no FROM
    took = (time.monotonic() - began) * 1000
    skew = abs((datetime.now(UTC) - row["now"]).total_seconds())
    found = f"PostgreSQL {row['version'].split()[0]}, {row['bytes'] / 1024**2:,.0f} MiB, answers in {took:.0f} ms"
    if skew > SKEW_MOST:
        return Light("Database", "warn", f"{found}; clocks differ by {skew:.0f} s", "Set this machine's clock (NTP).")
    return Light("Database", "good", found)


async def _schema(url: str) -> Light:
    try:
        state = await migrate.status(url)
    except AppError as error:
        return Light("Migrations", "bad", error.detail, "Install the newer Sim-Feed.")
    except TROUBLE:
        return Light("Migrations", "warn", "not known just now", "Look again in a moment.")
    if state.pending:
        return Light("Migrations", "bad", f"{len(state.pending)} pending", "Run `simfeed db migrate`.")
    return Light("Migrations", "good", f"up to date ({state.head})")


async def _scheduler(house: House, *, halted: bool) -> Light:
    minutes = await stored_interval(house.mind, house.settings)
    if halted:
        mend = "Take it back when all is well: runs that stood still go on by themselves."
        return Light("Scheduler", "bad", "the kill switch is on", mend, "/admin/budgets")
    if not house.settings.scheduler_enabled:
        mend = "No cycle begins by itself here: set SCHEDULER_ENABLED, or run another process with it."
        return Light("Scheduler", "warn", "off on this server", mend)
    found = f"every {span(minutes)}" + (f", {house.scheduler.skipped} ticks left out" * bool(house.scheduler.skipped))
    return Light("Scheduler", "good", found, "", "/admin/runs")


def _provider(house: House, providers: Sequence[asyncpg.Record]) -> Light:
    name = house.settings.simfeed_model
    try:
        ready(house.settings, name)
    except AppError as error:
        return Light("Model", "bad", error.detail, "Do that, or choose another model.", "/admin/settings")
    for row in providers:
        if row["blocked"]:
            mend = REMEDIES.get(row["blocked"], row["blocked"]).capitalize() + ". Mend it, then resume the run."
            return Light("Model", "bad", f"{row['name']} refuses us: {row['detail']}", mend, "/admin/runs?state=failed")
    now = datetime.now(UTC)
    for row in providers:
        if row["paused_until"] and row["paused_until"] > now:
            wait = (row["paused_until"] - now).total_seconds()
            return Light("Model", "warn", f"{row['name']} asked to wait {duration(wait)}", "It goes on by itself.")
    return Light("Model", "good", f"{name}, the offline model" if name in OFFLINE else name)


async def _depth(house: House) -> int | None:
    try:
        return await PgQueue(house.database).depth()
    except TROUBLE:
        return None


def _queue(depth: int | None, workers: Sequence[object], standing: Sequence[asyncpg.Record]) -> Light:
    if depth is None:
        return Light("Queue", "bad", "can't be read", "Restart the server: it prepares its queue.")
    waiting = f"{depth} batches wait" if depth != 1 else "1 batch waits"
    if depth and not workers:
        return Light("Queue", "bad", f"{waiting}, and nobody plays", "Start `simfeed worker`.")
    running = sum(run["state"] == "running" for run in standing)
    return Light(
        "Queue", "good", f"{waiting if depth else 'empty'}, {running} {'run' if running == 1 else 'runs'} under way"
    )


def _workers(workers: Sequence[asyncpg.Record]) -> Light:
    if not workers:
        mend = "Start `simfeed worker`, or a server with WORKER_ENABLED=true."
        return Light("Workers", "bad", "none is alive", mend)
    hosts = sorted({worker["host"] for worker in workers})
    return Light("Workers", "good", f"{len(workers)} alive on {', '.join(hosts[:3])}{' …' if len(hosts) > 3 else ''}")


def _disk(home: Path) -> Light:
    place = home.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    colour: Colour = "bad" if free < DISK_LEAST else "warn" if free < DISK_LITTLE else "good"
    mend = "Free some space: a full disk stops everything."
    return Light("Disk", colour, f"{free / 1024**3:.1f} GiB free", "" if colour == "good" else mend)


def _alerts(spent: Spent, caps: Caps, standing: Sequence[asyncpg.Record], last: asyncpg.Record | None) -> list[Light]:
    found = []
    share = caps.share(spent)
    if share is not None and share >= NEARLY:
        told_caps = [f"{compact(caps.tokens)} tokens"] if caps.tokens else []
        told_caps += [money(caps.usd)] if caps.usd else []
        words = f"{share:.0%} of today's cap ({' or '.join(told_caps)}) is spent"
        mend = "Runs stop at the cap and can be resumed with a larger one: BUDGET_DAY_USD, BUDGET_DAY_TOKENS."
        found.append(Light("Budget", "bad" if share >= 1 else "warn", words, mend, "/admin/budgets"))
    for run in standing:
        link = f"/admin/runs/{run['id']}"
        if run["state"] == "budget_exhausted":
            mend = "Resume it with a larger budget."
            found.append(Light(f"Run {run['id']}", "warn", run["reason"] or "its budget is used up", mend, link))
        elif run["state"] == "paused":
            found.append(
                Light(f"Run {run['id']}", "warn", f"stands still: {run['reason']}", "Resume it, or stop it.", link)
            )
    if last is not None and last["state"] in ("failed", "partial"):
        words = f"the last cycle is {last['state']}" + (f": {last['reason']}" if last["reason"] else "")
        mend = "Its page says what went wrong and how to mend it."
        colour: Colour = "bad" if last["state"] == "failed" else "warn"
        found.append(Light(f"Run {last['id']}", colour, words, mend, f"/admin/runs/{last['id']}"))
    return found


def _realism(watched: Sequence[tuple[int, Realism]]) -> list[Light]:
    """What monitors say of the newest cycle that they looked at."""
    return [
        Light(
            f"Run {run_id}",
            "bad" if alarm.level == "alarm" else "warn",
            f"{alarm.monitor.replace('_', ' ')} is {alarm.value:.2f}",
            alarm.do,
            f"/admin/runs/{run_id}#monitors",
        )
        for run_id, found in watched
        for alarm in found.alarms
    ]


def _spark(cycles: Sequence[asyncpg.Record], counted: dict[int, Figures]) -> list[dict[str, Any]]:
    """A column a cycle, the oldest first: the share of its turns that failed or were put off."""
    columns = []
    step = 300 / CYCLES
    for place, run in enumerate(reversed(cycles), start=CYCLES - len(cycles)):
        lost, total = _lost(run, counted), run["turns_total"]
        share = lost / total if lost is not None and total else None
        height = 2.0 if not share else max(3.0, 56 * share)
        kind = "none" if share is None else "bad" if share else "good"
        words = f"run {run['id']}: " + ("not counted" if lost is None else f"{lost:,} of {total:,} turns lost")
        columns.append(
            {"id": run["id"], "x": round(place * step, 2), "height": round(height, 2), "kind": kind, "words": words}
        )
    return columns


def _lost(run: asyncpg.Record, counted: dict[int, Figures]) -> int | None:
    if run["state"] == "completed":
        return 0
    if run["state"] == "failed" and run["id"] not in counted:
        return int(run["turns_total"])
    return counted[run["id"]].lost if run["id"] in counted else None


def _spark_words(cycles: Sequence[asyncpg.Record], counted: dict[int, Figures]) -> str:
    losses = [lost for run in cycles if (lost := _lost(run, counted)) is not None]
    bad = sum(lost > 0 for lost in losses)
    if not losses:
        return "No cycle has been played yet."
    whole = f"the last {len(losses)} cycles" if len(losses) > 1 else "the last cycle"
    loss = "1 turn was lost" if sum(losses) == 1 else f"{sum(losses):,} turns were lost"
    return f"In {whole}, {loss}" + (f", in {bad} of them." if bad else ".")
