"""Plans experiments: what they will take, whether the budget can hold that, and the rows with which they begin."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import asyncpg

from app.actions.asking import ExtractedField, Question
from app.db.engine import Database
from app.errors import FieldError, Invalid, Misconfigured
from app.experiments.design import Cast, Experiment, FeedSetting
from app.experiments.outcomes import asked_of
from app.experiments.trial import terms_of
from app.llm.gateway import ready
from app.llm.pricing import OFFLINE
from app.settings import Settings
from app.venues.chatroom.forecast import forecast as forecast_room
from app.venues.chatroom.setting import RoomSetting
from app.venues.estimate import OFFLINE_SECONDS_A_CALL, SECONDS_A_CALL, estimate_run
from app.venues.session.design import Dialogue, Simulation
from app.venues.session.forecast import forecast
from app.venues.session.opening import check_models
from app.world import personas, sessions, worlds
from app.world.experiments import EXPERIMENTS, change, found

CALL_SECONDS, RUN_SECONDS = 0.003, 0.75
"""What a call, and a run's fork and measuring, take whatever the model takes: 12 runs of one cycle took 10.8 s for 560
calls, of nine 24.3 s for 5,042, one after the other on 2 shared cores."""


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
        max(sum(cell.seconds for cell in cells) / design.parallel, sum(cell.calls for cell in cells) * CALL_SECONDS)
        + sum(cell.runs for cell in cells) * RUN_SECONDS,
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
        calls = room.calls * runs
        return Cell(variant, runs, calls, tokens, usd, calls * _call_seconds(chosen.simfeed_model)), room.unpriced
    people = 0
    if isinstance(setting, Simulation):
        people = setting.participants.count or 1
    told = forecast(chosen, setting, people)
    tokens = told.prompt_tokens + told.completion_tokens
    usd = None if told.usd is None else told.usd * runs
    seconds = told.calls * runs * _call_seconds(told.model)
    found = Cell(variant, runs, told.calls * runs, tokens * runs, usd, seconds)
    return found, () if told.usd is not None else (told.model,)


def _call_seconds(model: str) -> float:
    return OFFLINE_SECONDS_A_CALL if model in OFFLINE else SECONDS_A_CALL


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
    _models(settings, design)
    _refuse([*_shares(design), *_asked(design), *await _people(home, design)])
    told = await estimate(home, settings, design)
    _afford(design, told)
    return told


Fault = tuple[str, str, str]
"""A place, its code, what is wrong there."""


def _refuse(faults: Sequence[Fault]) -> None:
    if told := list(dict.fromkeys(faults)):
        raise Invalid(
            "; ".join(f"{place}: {words}" for place, _, words in told[:20]),
            errors=[FieldError(f"/{place.replace('.', '/')}", code, words) for place, code, words in told[:50]],
        )


def _place(design: Experiment, variant: str, part: str) -> str:
    """Where a part of a variant's setting stands."""
    return f"variants.{variant}.{part}" if part in design.variants[variant] else f"setting.{part}"


def _models(settings: Settings, design: Experiment) -> None:
    """
    Raises:
        Misconfigured: a model of the feed can't be used; names each place.
        Invalid: that of a session.
    """
    wrong: dict[str, None] = {}
    for variant in design.variants:
        setting = design.setting_of(variant)
        if isinstance(setting, Dialogue | Simulation):
            check_models(settings, setting)
            continue
        for model, part in _models_of(settings, setting).items():
            try:
                ready(settings, model)
            except Misconfigured as error:
                wrong[f"{_place(design, variant, part)}: {error.detail}" if part else error.detail] = None
    if wrong:
        raise Misconfigured("; ".join(wrong))


def _models_of(settings: Settings, setting: FeedSetting | RoomSetting) -> dict[str, str]:
    """The models that a setting needs, and the part of it that names each; the installation's has none."""
    if isinstance(setting, RoomSetting):
        return {settings.simfeed_model: "", **setting.models()}
    return {terms_of(settings, setting).simfeed_model: "model" if setting.model else ""}


def _shares(design: Experiment) -> list[Fault]:
    words = f"comes to no run of {design.runs * len(design.variants)}: give it more, or leave the variant out"
    return [(f"weights.{variant}", "no_run", words) for variant, runs in design.counts().items() if not runs]


def check_outcomes(design: Experiment) -> None:
    """
    Raises:
        Invalid: an outcome is of a question or a field that no variant asks for.
    """
    _refuse(_asked(design))


def _asked(design: Experiment) -> list[Fault]:
    """Outcomes of answers and extracted values that no variant asks for: they would be missing in every run."""
    settings = [design.setting_of(variant) for variant in design.variants]
    asked: dict[str, dict[str, Question | ExtractedField]] = {"answer": {}, "field": {}}
    for one in settings:
        if isinstance(one, Simulation):
            asked["answer"] |= {question.key: question for question in one.questions}
            if one.extraction_config is not None and one.extraction_config.extract_results:
                asked["field"] |= {field.name: field for field in one.extraction_config.fields}
    wrong: list[Fault] = []
    for place, name in named(design):
        if design.venue == "feed" or (found := asked_of(name)) is None:
            continue
        of, key, option = found
        there = asked[of]
        options = getattr(there.get(key), "options", ())
        if key not in there:
            names = ", ".join(there) or "none"
            wrong.append((place, "unknown_outcome", f"nothing asks for {of}.{key}; of {of}s there are {names}"))
        elif option is not None and options and option.casefold() not in {one.casefold() for one in options}:
            wrong.append((place, "unknown_outcome", f"{key} has no option {option[:60]!r}: {', '.join(options)}"))
    return wrong


def named(design: Experiment) -> list[tuple[str, str]]:
    """All outcomes that a design names, with their places."""
    outcomes, precise = design.outcomes, design.stop.precision
    found = [(f"outcomes.primary.{n}", one) for n, one in enumerate(outcomes.primary)]
    found += [(f"outcomes.exploratory.{n}", one) for n, one in enumerate(outcomes.exploratory)]
    found += [(f"exclude.{n}.outcome", one.outcome) for n, one in enumerate(design.exclude)]
    return found + ([] if precise is None else [("stop.precision.outcome", precise.outcome)])


async def _people(home: Database, design: Experiment) -> list[Fault]:
    """What is wrong with those whom the design brings or names, in the world in which it begins."""
    if design.personas is None:
        async with worlds.inside(home, design.world) as where:
            listed = await personas.listed(where, limit=1_000_000)
        here, wrong = {row["username"].lower() for row in listed}, []
    else:
        names = [one.username for one in design.personas]
        here = {name.lower() for name in names}
        wrong = [("personas", "taken", f"{name} is there twice") for name in _twice(names)]
    for variant in design.variants:
        setting = design.setting_of(variant)
        if isinstance(setting, FeedSetting):
            wrong += _cast(design, variant, setting.cast, here)
            wrong += _interventions(design, variant, setting, here)
        if isinstance(setting, RoomSetting):
            wrong += [
                (_place(design, variant, part), "unknown_persona", f"no persona has the username {one.persona}")
                for part, members in (("cast", setting.cast), ("participant", [setting.participant]))
                for one in members
                if one.persona is not None and one.persona.lower() not in here
            ]
    return wrong


def _twice(names: Sequence[str]) -> list[str]:
    times = Counter(name.lower() for name in names)
    return [name for name, many in times.items() if many > 1]


def _cast(design: Experiment, variant: str, cast: Cast, here: set[str]) -> list[Fault]:
    added = [one.username for one in cast.add]
    known = here | {name.lower() for name in added}
    if not known:
        return [
            ("world", "nobody", "nobody lives there: `simfeed personas import` brings some, or give `personas`"),
        ]
    place = _place(design, variant, "cast")
    named = {"only": cast.only or (), "without": cast.without, "change": tuple(cast.change)}
    wrong = [
        (f"{place}.{part}", "unknown_persona", f"no persona has the username {name}")
        for part, names in named.items()
        for name in names
        if name.lower() not in known
    ]
    taken = [*(name for name in added if name.lower() in here), *_twice(added)]
    wrong += [(f"{place}.add", "taken", f"there is a persona {name} already") for name in taken]
    chosen = known if cast.only is None else {name.lower() for name in (*cast.only, *added)}
    if not chosen - {name.lower() for name in cast.without}:
        wrong.append((place, "nobody", "leaves nobody who acts"))
    return wrong


def _interventions(design: Experiment, variant: str, setting: FeedSetting, here: set[str]) -> list[Fault]:
    known = here | {one.username.lower() for one in setting.cast.add}
    place = _place(design, variant, "interventions")
    wrong: list[Fault] = []
    for n, plan in enumerate(setting.planned(), 1):
        to = getattr(plan, "to", None)
        names = [getattr(plan, "persona", None), getattr(plan, "by", None), *(to if isinstance(to, list) else ())]
        wrong += [
            (place, "unknown_persona", f"entry {n}: no persona has the username {name}")
            for name in names
            if name is not None and name.lower() not in known
        ]
        if plan.cycle is not None and plan.cycle > setting.cycles:
            wrong.append((place, "never", f"entry {n}: cycle {plan.cycle} never comes: a run has {setting.cycles}"))
    return wrong


def _afford(design: Experiment, told: Estimate) -> None:
    wrong: list[Fault] = []
    budget, code = design.budget, "impossible_budget"
    if budget.tokens is not None and told.tokens > budget.tokens:
        wrong.append(("budget.tokens", code, f"{budget.tokens:,} can't hold: about {told.tokens:,} will be used"))
    if budget.usd is not None:
        if told.usd is None:
            unpriced = ", ".join(told.unpriced)
            wrong.append(("budget.usd", code, f"can't hold: no price is known for {unpriced} (set MODEL_PRICES)"))
        elif told.usd > budget.usd:
            wrong.append(("budget.usd", code, f"{budget.usd:g} can't hold: about {told.usd:.4f} will be spent"))
    _refuse(wrong)


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
