"""What may be spent and what has been: caps, forecast, prices, and the kill switch."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.auth.admins import record
from app.errors import Invalid, NotFound
from app.ledger import pulse, spend
from app.ledger.budget import SETTINGS, WARN_AT, Caps
from app.ledger.pulse import PULSE
from app.llm.pricing import CUSTOM, OFFLINE, Price, own_prices, price, providers, split
from app.scheduler import stored_interval
from app.settings import Settings
from app.venues.estimate import Estimate
from app.web.deps import House, TheHouse
from app.web.pages.admin.estimates import estimates
from app.web.pages.admin.runs import span
from app.web.pages.frame import DONE, go_to, render
from app.web.pages.session import AdminForm, TheViewer

router = APIRouter(prefix="/admin/budgets", include_in_schema=False)
HERE = router.prefix
EARLY = 0.02
"""The share of a day before which it tells nothing of the rest."""

DONE |= {
    "halted": "Halted: no process asks any model any more. What stood in the middle waits.",
    "goes-on": "The switch is off: what stood still goes on by itself within seconds.",
    "provider-tried": "The provider is asked again with the next call. Runs that it stopped go on with “Resume”.",
}


@dataclass(frozen=True)
class Bar:
    """One cap in one unit, and how much of it is gone."""

    unit: str
    cap: float
    spent: float
    held: float

    @property
    def left(self) -> float:
        return max(0.0, self.cap - self.spent - self.held)

    @property
    def share(self) -> float:
        """Spent, of 100."""
        return round(min(100.0, 100 * self.spent / self.cap), 2)

    @property
    def held_share(self) -> float:
        return round(min(100.0 - self.share, 100 * self.held / self.cap), 2)

    @property
    def level(self) -> str:
        gone = (self.spent + self.held) / self.cap
        return "full" if gone >= 1 else "near" if gone >= WARN_AT else ""


@dataclass(frozen=True)
class Forecast:
    """What a whole day like today so far would come to, and what the next cycle will take."""

    tokens: float | None
    usd: float | None
    cycle: Estimate | None
    cycles_left: int


@dataclass(frozen=True)
class PriceRow:
    """A model and its price: dollars for a million tokens."""

    model: str
    personas: int
    price: Price | None
    source: str


def bars(cap: Caps, used: spend.Used) -> list[Bar]:
    """The bars of a scope: one for each unit that is capped."""
    found = [Bar("usd", cap.usd, used.spent_usd, used.held_usd)] if cap.usd is not None else []
    if cap.tokens is not None:
        found.append(Bar("tokens", cap.tokens, used.spent_tokens, used.held_tokens))
    return found


def _used(row: Any) -> spend.Used:
    return spend.Used(*(row[name] for name in ("spent_tokens", "spent_usd", "held_tokens", "held_usd")))


def _calendar(request: Request) -> spend.Calendar:
    state = request.app.state
    if not hasattr(state, "calendar"):
        state.calendar = spend.Calendar()
    found = state.calendar
    assert isinstance(found, spend.Calendar)  # noqa: S101 - nobody else writes it
    return found


@router.get("")
async def budgets_page(request: Request, house: TheHouse, viewer: TheViewer) -> Response:
    """Everything about money on one page."""
    settings, database = house.settings, house.database
    days, passed = await _calendar(request).read(database)
    today = await _today(house, days)
    minutes = await stored_interval(house.mind, settings)
    persona_cap = Caps(settings.budget_persona_day_tokens, settings.budget_persona_day_usd)
    day_cap = Caps(settings.budget_day_tokens, settings.budget_day_usd)
    return render(
        request,
        "admin/budgets.html",
        viewer=viewer,
        halt=await spend.halt(database),
        providers=await database.fetch(PULSE["providers"]),
        today=today,
        day_bars=bars(day_cap, today) if today else [],
        runs=[(row, bars(_run_cap(settings, row), _used(row))) for row in await spend.runs(database)],
        people=[(row, bars(persona_cap, _used(row))) for row in await spend.personas_today(database)]
        if persona_cap
        else [],
        persona_cap=persona_cap,
        run_cap=Caps(settings.budget_run_tokens, settings.budget_run_usd),
        turn_cap=Caps(settings.budget_turn_tokens, settings.budget_turn_usd),
        call_cap=Caps(settings.budget_call_tokens, settings.budget_call_usd),
        names=SETTINGS,
        forecast=Forecast(
            tokens=_whole(today.spent_tokens if today else None, passed),
            usd=_whole(today.spent_usd if today else None, passed),
            cycle=await estimates(request).cycle(house),
            cycles_left=int((1 - passed) * 1440 / minutes),
        ),
        interval=span(minutes),
        days=days,
        columns=_columns(days),
        nothing=all(found is not None and not found.calls for _, found in days),
        unpriced=sum(day.unpriced for _, day in days if day is not None),
        prices=_prices(settings, await spend.models(database)),
        model=settings.simfeed_model,
    )


async def _today(house: House, days: list[tuple[date, spend.Day | None]]) -> spend.Used | None:
    """What today has cost: as the caps count it, or else as the calls say; None where there was no time to count."""
    settings = house.settings
    if settings.budget_day_tokens is not None or settings.budget_day_usd is not None:
        kept = await spend.instance_today(house.database)
        if kept is not None:
            return kept
    counted = days[0][1]
    return spend.Used(counted.tokens, counted.usd) if counted is not None else None


def _whole(spent: float | None, passed: float) -> float | None:
    return spent / passed if spent is not None and passed >= EARLY else None


def _run_cap(settings: Settings, row: Any) -> Caps:
    tokens, usd = row["cap_tokens"], row["cap_usd"]
    return Caps(
        tokens if tokens is not None else settings.budget_run_tokens,
        usd if usd is not None else settings.budget_run_usd,
    )


def _columns(days: list[tuple[date, spend.Day | None]]) -> list[tuple[date, float]]:
    """Each day's height of 100, oldest first: by money, or by tokens where nothing costs any."""
    values = [(day, (found.usd, float(found.tokens)) if found else (0.0, 0.0)) for day, found in reversed(days)]
    unit = 0 if any(value[0] for _, value in values) else 1
    most = max((value[unit] for _, value in values), default=0.0)
    return [(day, round(100 * value[unit] / most, 2) if most else 0.0) for day, value in values]


def _prices(settings: Settings, used: Iterable[Any]) -> list[PriceRow]:
    """The models in use, then those of the presets."""
    counts: dict[str, int] = {settings.simfeed_model: 0}
    for row in used:
        name = row["model"] or settings.simfeed_model
        counts[name] = counts.get(name, 0) + row["personas"]
    if settings.model_fallback:
        counts.setdefault(settings.model_fallback, 0)
    rows = [PriceRow(name, n, *_price(settings, name)) for name, n in counts.items()]
    names = (f"{preset.name}/{model}" for preset in providers().values() for model in preset.prices)
    known = {split(name) for name in counts}
    return rows + [PriceRow(name, 0, *_price(settings, name)) for name in names if split(name) not in known]


def _price(settings: Settings, name: str) -> tuple[Price | None, str]:
    own = own_prices(settings.model_prices)
    provider, bare = split(name)
    if provider in OFFLINE:
        return price(name), "offline"
    if (provider, bare) in own:
        return own[provider, bare], "MODEL_PRICES"
    if provider == CUSTOM or (provider == "openai" and settings.openai_base_url):
        return None, "unknown: an address of your own"
    found = price(name)
    return found, "preset" if found is not None else "unknown"


@router.post("/halt")
async def halt(house: TheHouse, viewer: TheViewer, form: AdminForm) -> Response:
    """The kill switch."""
    if form["halted"] not in ("on", "off"):
        raise Invalid("say whether the switch shall be on or off")
    on = form["halted"] == "on"
    await pulse.halt(house.database, on)
    async with house.database.connection() as connection:
        await record(connection, viewer.admin.id, "scheduler.halt", "on" if on else "off")
    return go_to(HERE, done="halted" if on else "goes-on")


@router.post("/providers")
async def ask_again(house: TheHouse, viewer: TheViewer, form: AdminForm) -> Response:
    """Forget that a provider has refused us or asked to wait."""
    name = form["provider"]
    if name not in {row["name"] for row in await house.database.fetch(PULSE["providers"])}:
        raise NotFound("no such provider is paused or blocked")
    house.mind.pulse.unblock(name)
    await house.database.fetchval(PULSE["unblock"], name)
    async with house.database.connection() as connection:
        await record(connection, viewer.admin.id, "provider.unblocked", name)
    return go_to(HERE, done="provider-tried")
