"""Plans experiments: what they will take, whether the budget can hold that, and the rows with which they begin."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import asyncpg

from app.db.engine import Database
from app.errors import FieldError, Invalid
from app.experiments.design import Experiment, FeedSetting
from app.experiments.trial import terms_of
from app.llm.gateway import ready
from app.settings import Settings
from app.venues.chatroom.forecast import forecast as forecast_room
from app.venues.chatroom.setting import RoomSetting
from app.venues.estimate import estimate_run
from app.venues.session.design import Simulation
from app.venues.session.forecast import forecast
from app.venues.session.opening import check_models
from app.world import personas, sessions, worlds
from app.world.experiments import EXPERIMENTS, change, found

CALL_SECONDS = 0.002
"""What a call takes of one processor, whatever the model takes (`simfeed bench experiment`)."""


@dataclass(frozen=True)
class Cell:
    """What all runs of a variant will take. `usd` is None where a price is unknown; `seconds` as if one by one."""

    variant: str
    runs: int
    calls: float
    tokens: int
    usd: float | None
    seconds: float


@dataclass(frozen=True)
class Estimate:
    """What an experiment will take; `seconds` with so many runs at once. `unpriced` are models without a price."""

    cells: tuple[Cell, ...]
    runs: int
    calls: float
    tokens: int
    usd: float | None
    seconds: float
    unpriced: tuple[str, ...]

    def data(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


async def estimate(home: Database, settings: Settings, design: Experiment) -> Estimate:
    """What all runs of a design will take, from what turns took in the world in which it begins.

    Raises:
        NotFound: there is no such world.
        Invalid: a persona that a variant names is not there.
    """
    cells: list[Cell] = []
    unpriced: set[str] = set()
    async with worlds.inside(home, design.world) as where:
        for variant, runs in design.counts().items():
            cell, without = await _cell(where, settings, design, variant, runs)
            cells.append(cell)
            unpriced.update(without)
    known = [cell.usd for cell in cells]
    return Estimate(
        tuple(cells),
        sum(cell.runs for cell in cells),
        sum(cell.calls for cell in cells),
        sum(cell.tokens for cell in cells),
        None if None in known else sum(usd or 0.0 for usd in known),
        max(sum(cell.seconds for cell in cells) / design.parallel, sum(cell.calls for cell in cells) * CALL_SECONDS),
        tuple(sorted(unpriced)),
    )


async def _cell(
    where: Database, settings: Settings, design: Experiment, variant: str, runs: int
) -> tuple[Cell, Sequence[str]]:
    setting = design.setting_of(variant)
    chosen = terms_of(settings, setting)
    if isinstance(setting, FeedSetting):
        one = await estimate_run(where, chosen, chosen.simfeed_model, setting.cycles)
        times = await _crowding(where, design, setting)
        tokens = one.prompt_tokens + one.completion_tokens
        usd = None if one.usd is None else one.usd * times * runs
        found = Cell(
            variant, runs, one.calls * times * runs, round(tokens * times * runs), usd, one.seconds * times * runs
        )
        return found, one.unpriced
    if isinstance(setting, RoomSetting):
        room = forecast_room(chosen, setting)
        usd = None if room.usd is None else room.usd * runs
        tokens = (room.prompt_tokens + room.completion_tokens) * runs
        return Cell(variant, runs, room.calls * runs, tokens, usd, room.calls * runs), room.unpriced
    people = 0
    if isinstance(setting, Simulation):
        people = setting.participants.count or 1
    told = forecast(chosen, setting, people)
    tokens = told.prompt_tokens + told.completion_tokens
    usd = None if told.usd is None else told.usd * runs
    found = Cell(variant, runs, told.calls * runs, tokens * runs, usd, float(told.calls * runs))
    return found, () if told.usd is not None else (told.model,)


async def _crowding(where: Database, design: Experiment, setting: FeedSetting) -> float:
    """How many times as many wake in a variant as in the world that was looked at."""
    listed = await personas.listed(where, limit=10_000)
    here = sum(row["activity"] for row in listed if row["status"] == "active")
    if design.personas is not None:
        there = sum(one.activity for one in design.personas if one.status == "active")
    else:
        cast = setting.cast
        away = {name.lower() for name in cast.without}
        only = None if cast.only is None else {name.lower() for name in cast.only}
        there = sum(
            row["activity"]
            for row in listed
            if row["status"] == "active"
            and row["username"].lower() not in away
            and (only is None or row["username"].lower() in only)
        )
    there += sum(one.activity for one in setting.cast.add)
    return there / here if here else 1.0


async def check(home: Database, settings: Settings, design: Experiment) -> Estimate:
    """See that an experiment can be run as it is, and return what it will take.

    Raises:
        NotFound: the world is not there.
        Invalid: a budget that can't hold, personas that are not there; each with its place.
        Misconfigured: a model can't be used under these settings.
    """
    await worlds.one(home, design.world)
    for variant in design.variants:
        setting = design.setting_of(variant)
        if isinstance(setting, FeedSetting):
            ready(settings, terms_of(settings, setting).simfeed_model)
        elif isinstance(setting, RoomSetting):
            for model in (settings.simfeed_model, *setting.models()):
                ready(settings, model)
        else:
            check_models(settings, setting)
    await _cast(home, design)
    told = await estimate(home, settings, design)
    _afford(design, told)
    return told


async def _cast(home: Database, design: Experiment) -> None:
    async with worlds.inside(home, design.world) as where:
        listed = await personas.listed(where, limit=1_000_000) if design.personas is None else []
    here = {row["username"].lower() for row in listed} | {one.username.lower() for one in design.personas or ()}
    wrong = []
    for variant in design.variants:
        setting = design.setting_of(variant)
        if isinstance(setting, RoomSetting):
            wrong += [
                (_placed(design, variant, part), f"no persona has the username {one.persona}")
                for part, members in (("cast", setting.cast), ("participant", [setting.participant]))
                for one in members
                if one.persona is not None and one.persona.lower() not in here
            ]
        if not isinstance(setting, FeedSetting):
            continue
        cast = setting.cast
        known = here | {one.username.lower() for one in cast.add}
        if not known:
            wrong.append(("world", "nobody lives there: `simfeed personas import` brings some, or give `personas`"))
        named = {"only": cast.only or (), "without": cast.without, "change": tuple(cast.change)}
        wrong += [
            (f"variants.{variant}.cast.{part}", f"no persona has the username {name}")
            for part, names in named.items()
            for name in names
            if name.lower() not in known
        ]
    if wrong:
        told = list(dict.fromkeys(wrong))
        raise Invalid(
            "; ".join(f"{place}: {words}" for place, words in told[:20]),
            errors=[FieldError(f"/{place.replace('.', '/')}", "unknown_persona", words) for place, words in told[:50]],
        )


def _placed(design: Experiment, variant: str, part: str) -> str:
    """Where a design says a part of a variant's setting."""
    return f"variants.{variant}.{part}" if part in design.variants[variant] else f"setting.{part}"


def _afford(design: Experiment, told: Estimate) -> None:
    wrong = []
    if design.budget.tokens is not None and told.tokens > design.budget.tokens:
        wrong.append(("tokens", f"{design.budget.tokens:,} can't hold: about {told.tokens:,} will be used"))
    if design.budget.usd is not None:
        if told.usd is None:
            wrong.append(("usd", f"can't hold: no price is known for {', '.join(told.unpriced)} (set MODEL_PRICES)"))
        elif told.usd > design.budget.usd:
            wrong.append(("usd", f"{design.budget.usd:g} can't hold: about {told.usd:.4f} will be spent"))
    if wrong:
        raise Invalid(
            "; ".join(f"budget.{place}: {words}" for place, words in wrong),
            errors=[FieldError(f"/budget/{place}", "impossible_budget", words) for place, words in wrong],
        )


def stored(design: Experiment) -> str:
    """A design for the database, which keeps no order of names: so the control is named."""
    data = design.model_dump(mode="json", exclude_unset=True, by_alias=True)
    return sessions.encoded({**data, "outcomes": {**data.get("outcomes", {}), "control": design.control}}) or ""


async def plan(
    connection: asyncpg.pool.PoolConnectionProxy,
    design: Experiment,
    told: Estimate,
    *,
    by: int | None = None,
) -> str:
    """Keep an experiment with all its runs, in the caller's transaction; its key. Nothing is begun."""
    key = sessions.new_key()
    runs = design.plan()
    await connection.fetch(
        EXPERIMENTS["add"],
        key,
        design.name,
        design.venue,
        stored(design),
        design.seed,
        design.world,
        sessions.encoded(told.data()),
        design.budget.tokens,
        design.budget.usd,
        design.parallel,
        by,
        [run.number for run in runs],
        [run.variant for run in runs],
        [run.replicate for run in runs],
        [run.seed for run in runs],
    )
    return key


async def raise_budget(
    home: Database,
    key: str,
    *,
    tokens: int | None = None,
    usd: float | None = None,
    parallel: int | None = None,
    by: int | None = None,
) -> None:
    """Other caps from now on, or other runs at once; what is None stays. A change of a cap is noted.

    Raises:
        NotFound: there is none of this key.
    """
    row = await found(home, key)
    await home.fetchval(EXPERIMENTS["budget"], row["id"], tokens, usd, parallel)
    for name, value in (("budget_tokens", tokens), ("budget_usd", usd)):
        if value is not None and value != row[name]:
            await change(home, row["id"], name, was=row[name], now=value, by=by)
