"""What an experiment is, as data: variants of a setting, runs, seeds, outcomes, rules. Checked as a whole.

The setting of the feed is `FeedSetting`, that of a chatroom `RoomSetting` (`app/venues/chatroom/setting.py`), that of a
session its own design (`app/venues/session/design.py`). A variant
holds what is otherwise in it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from math import isclose
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    StringConstraints,
    ValidationError,
    WrapValidator,
    field_validator,
)

from app.errors import AppError, Invalid
from app.experiments import outcomes
from app.experiments.faults import Faults
from app.streams import number
from app.venues.chatroom.setting import RoomSetting
from app.venues.session.design import Dialogue, Line, Part, Seed, Simulation, Temperature, Text
from app.venues.session.exactly import exactly
from app.venues.session.files import read_value
from app.world import plans
from app.world.clock import span
from app.world.personas import PersonaChange, PersonaSpec
from app.world.plans import Plan, Time
from app.world.ranking import SUGGESTERS, parse
from app.world.text import Username

Venue: TypeAlias = Literal["feed", "chatroom", "dialogue", "focus_group", "survey", "interview"]
Variant = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$")]
VENUES: tuple[str, ...] = get_args(Venue)
ASKING = ("focus_group", "survey", "interview")
TRIALS_MOST = 2_000


def _ranker(value: str) -> str:
    try:
        return str(parse(value))
    except Invalid as error:
        raise ValueError(error.detail) from None


def _way(value: str) -> str:
    if value not in ("off", *SUGGESTERS):
        raise ValueError(f"must be off, {', '.join(SUGGESTERS)}")
    return value


def _span(value: str) -> str:
    span(value)
    return value


class Cast(Part):
    """Who lives in the worlds of a variant: of the personas that are there, and more of them or others."""

    only: Annotated[tuple[Username, ...], MaxLen(10_000)] | None = None
    without: Annotated[tuple[Username, ...], MaxLen(10_000)] = ()
    change: Annotated[dict[Username, PersonaChange], MaxLen(10_000)] = Field(default_factory=dict)
    everybody: PersonaChange | None = None
    add: Annotated[tuple[PersonaSpec, ...], MaxLen(10_000)] = ()


class FeedSetting(Part):
    """How the feed is played in a run. What is left out, the settings of the installation say.

    `prompt` is added to everybody's description. `interventions` count cycles from the run's first.
    """

    cycles: Annotated[int, Ge(1), Le(100_000)] = 10
    every: Annotated[str, AfterValidator(_span)] = "30m"
    start: Time | None = None
    rounds: bool = True
    model: Line | None = None
    temperature: Temperature | None = None
    tool_mode: Literal["native", "json"] | None = None
    max_actions: Annotated[int, Ge(1), Le(50)] | None = None
    max_tokens: Annotated[int, Ge(16), Le(32_768)] | None = None
    ranker: Annotated[str, AfterValidator(_ranker)] | None = None
    who_to_follow: Annotated[str, AfterValidator(_way)] | None = None
    memory: Literal["on", "off"] | None = None
    memory_scope: Literal["persona", "run"] | None = None
    memory_tokens: Annotated[int, Ge(20), Le(4_000)] | None = None
    reactions: Literal["off", "dislike", "all"] | None = None
    trends: Literal["off", "on"] | None = None
    copies: Literal["mark", "quarantine"] | None = None
    prompt: Annotated[Text, MaxLen(2_000)] = ""
    cast: Cast = Cast()
    interventions: Annotated[tuple[dict[str, Any], ...], MaxLen(plans.PLANS_MAX)] = ()

    @field_validator("interventions")
    @classmethod
    def _plans(cls, value: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        try:
            plans.checked(value)
        except Invalid as error:
            raise ValueError(error.detail) from None
        return value

    def planned(self) -> list[Plan]:
        """The interventions."""
        return plans.checked(self.interventions)

    def step(self) -> timedelta:
        """How long a cycle takes in the world."""
        return span(self.every)


Setting: TypeAlias = FeedSetting | RoomSetting | Dialogue | Simulation
SETTINGS: dict[str, type[BaseModel]] = {
    "feed": FeedSetting,
    "chatroom": RoomSetting,
    "dialogue": Dialogue,
    "focus_group": Simulation,
    "survey": Simulation,
    "interview": Simulation,
}


class Outcomes(Part):
    """What is compared. Primary ones are corrected by Holm, exploratory ones by Benjamini-Hochberg.

    `control` is the variant with which others are compared, without it the first. `margins` are what still counts as
    equal, in the outcome's unit.
    """

    primary: Annotated[tuple[Line, ...], MaxLen(20)] = ()
    exploratory: Annotated[tuple[Line, ...], MaxLen(100)] = ()
    margins: dict[Line, Annotated[float, Gt(0), Le(1e12)]] = Field(default_factory=dict)
    control: Variant | None = None
    paired: bool = True
    level: Annotated[float, Gt(0.5), Le(0.999)] = 0.95

    def names(self) -> list[str]:
        """All of them, primary first."""
        return list(dict.fromkeys((*self.primary, *self.exploratory)))


class Precision(Part):
    """Enough is known: the interval of every difference in `outcome` reaches no further than `half_width`."""

    outcome: Line
    half_width: Annotated[float, Gt(0), Le(1e12)]
    least: Annotated[int, Ge(3), Le(TRIALS_MOST)] = 10
    """Runs of each variant before that is looked at."""


class Stopping(Part):
    """When an experiment stops before all its runs are done, whichever comes first."""

    failed: Annotated[int, Ge(1), Le(TRIALS_MOST)] | None = None
    seconds: Annotated[float, Gt(0), Le(10**8)] | None = None
    precision: Precision | None = None


class Exclusion(Part):
    """A run is left out of comparisons where this outcome lies above or below a bound, or is missing."""

    outcome: Line
    above: Annotated[float, Ge(-1e12), Le(1e12)] | None = None
    below: Annotated[float, Ge(-1e12), Le(1e12)] | None = None
    missing: bool = False

    def told(self, value: float | None) -> str | None:
        """Why a run with this value is left out; None where it isn't."""
        if value is None:
            return f"{self.outcome} is missing" if self.missing else None
        if self.above is not None and value > self.above:
            return f"{self.outcome} is {value:.4g}, above {self.above:g}"
        if self.below is not None and value < self.below:
            return f"{self.outcome} is {value:.4g}, below {self.below:g}"
        return None


class Budget(Part):
    """What all runs together may take."""

    tokens: Annotated[int, Ge(1), Le(10**15)] | None = None
    usd: Annotated[float, Gt(0), Le(10**9)] | None = None


class Experiment(Part):
    """Arms compared: each variant is run `runs` times, in forks of one starting world, paired by seed."""

    name: Line = ""
    venue: Venue = "feed"
    world: Line = "home"
    personas: Annotated[tuple[PersonaSpec, ...], MinLen(1), MaxLen(10_000)] | None = None
    """Instead of a world: who lives in a new one."""

    setting: dict[str, Any] = Field(default_factory=dict)
    variants: Annotated[dict[Variant, dict[str, Any]], MinLen(1), MaxLen(50)]
    runs: Annotated[int, Ge(1), Le(1_000)] = 10
    weights: dict[Variant, Annotated[float, Ge(0), Le(1)]] | None = None
    """Shares of all `runs` × variants; equal ones without it."""

    seed: Seed = 0
    seeds: Annotated[tuple[Seed, ...], MinLen(1), MaxLen(1_000)] | None = None
    hypotheses: Annotated[tuple[Text, ...], MaxLen(50)] = ()
    analysis: Text = ""
    outcomes: Outcomes = Outcomes()
    sensitivity: Annotated[dict[Line, tuple[Variant, Variant]], MaxLen(50)] = Field(default_factory=dict)
    """Levels of a factor, as prompts or models: each with its control and its treated variant."""

    exclude: Annotated[tuple[Exclusion, ...], MaxLen(50)] = ()
    stop: Stopping = Stopping()
    budget: Budget = Budget()
    parallel: Annotated[int, Ge(1), Le(64)] = 1
    keep_worlds: bool = True

    @property
    def control(self) -> str:
        """The variant with which others are compared."""
        return self.outcomes.control or next(iter(self.variants))

    def merged(self, variant: str) -> dict[str, Any]:
        """The setting of a variant, as data: what the variant says before what all share."""
        return merge(self.setting, self.variants[variant])

    def setting_of(self, variant: str) -> Setting:
        """The setting of a variant."""
        return _setting(self.venue, self.merged(variant))

    def plan(self) -> list["Planned"]:
        """All runs, in the order in which they are begun: replicate by replicate, all variants of each."""
        counts, seeds = self.counts(), self.all_seeds()
        most = max(counts.values())
        cells = [(v, r) for r in range(most) for v in self.variants if r < counts[v]]
        return [Planned(n, v, r, seeds[r]) for n, (v, r) in enumerate(cells, 1)]

    def counts(self) -> dict[str, int]:
        """Runs of each variant; by largest remainders where there are weights."""
        if self.weights is None:
            return dict.fromkeys(self.variants, self.runs)
        total = self.runs * len(self.variants)
        shares = {v: self.weights.get(v, 0.0) * total for v in self.variants}
        counts = {v: int(share) for v, share in shares.items()}
        by_rest = sorted(shares, key=lambda v: counts[v] - shares[v])
        for v in by_rest[: total - sum(counts.values())]:
            counts[v] += 1
        return counts

    def all_seeds(self) -> list[int]:
        """The seed of each replicate, the same in all variants."""
        if self.seeds is not None:
            return list(self.seeds)
        return [number(self.seed, "replicate", r, bits=62) for r in range(max(self.counts().values()))]


@dataclass(frozen=True)
class Planned:
    """A run that is to be: `number` counts from 1, `replicate` from 0; those of a replicate share the seed."""

    number: int
    variant: str
    replicate: int
    seed: int


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` before `base`; tables within them are merged too, lists are not."""
    both = dict(base)
    for key, value in over.items():
        known = both.get(key)
        both[key] = merge(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return both


def read(path: Path) -> Experiment:
    """The experiment of a file: TOML, YAML or JSON.

    Raises:
        Invalid: tells each fault with its place.
    """
    return checked(read_value(path), path.name)


def checked(value: Any, name: str = "") -> Experiment:
    """`value` as an experiment, every variant of which can be played.

    Raises:
        Invalid: tells each fault with its place; its `errors` point at them.
    """
    faults = Faults(name)
    try:
        design: Experiment | None = exactly(value, Experiment.model_validate)
    except ValidationError as error:
        faults.of(error, Experiment)
        design = None
    _settings(value, faults)
    if design is not None:
        _rules(design, faults)
    faults.tell()
    assert design is not None  # noqa: S101 - else there were faults
    return design


def _whole(value: Any, handler: Any) -> Any:
    try:
        return exactly(value, handler)
    except ValidationError:
        checked(value)
        raise


WHOLE = WrapValidator(_whole)
"""Of a body: all its faults are told at once, as those of a file are."""


def _settings(value: Any, faults: Faults) -> None:
    """What is wrong in the variants' settings, as far as they can be read where something else is wrong."""
    whole = value if isinstance(value, Mapping) else {}
    venue, shared, variants = whole.get("venue", "feed"), whole.get("setting", {}), whole.get("variants", {})
    if venue not in VENUES or not isinstance(shared, Mapping) or not isinstance(variants, Mapping):
        return
    for variant, own in variants.items():
        if not isinstance(own, Mapping):
            continue

        def place(loc: tuple[int | str, ...], variant: str = variant, own: Mapping[str, Any] = own) -> Any:
            return ("variants", variant, *loc) if loc and loc[0] in own else ("setting", *loc)

        try:
            _setting(venue, merge(shared, own))
        except ValidationError as error:
            faults.of(error, SETTINGS[venue], place)
        except AppError as error:
            faults.add(("variants", variant), error.detail)


def _setting(venue: str, data: Mapping[str, Any]) -> Setting:
    of = {"simulation_config": {"environment_type": venue}} if venue in ASKING else {}
    found: Setting = exactly(merge(of, data), SETTINGS[venue].model_validate)
    return found


def _rules(design: Experiment, faults: Faults) -> None:
    counts = design.counts()
    if (total := sum(counts.values())) > TRIALS_MOST:
        faults.add(("runs",), f"makes {total:,} runs in all; at most {TRIALS_MOST:,} are made")
    if design.weights is not None:
        _weights(design, design.weights, faults)
    if design.seeds is not None:
        if len(set(design.seeds)) < len(design.seeds):
            faults.add(("seeds",), "must differ: runs of the same seed would be the same run")
        if len(design.seeds) != max(counts.values()):
            faults.add(
                ("seeds",), f"are {len(design.seeds)}, and a variant has {max(counts.values())} runs: one for each"
            )
    if design.personas is not None and design.world != "home":
        faults.add(("personas",), "is instead of `world`: an experiment begins in one or the other")
    control = design.outcomes.control
    if control is not None and control not in design.variants:
        faults.add(("outcomes", "control"), f"is no variant; there are {', '.join(design.variants)}")
    for level, pair in design.sensitivity.items():
        if len(set(pair)) < 2 or not set(pair) <= set(design.variants):
            faults.add(("sensitivity", level), f"needs two different variants, of {', '.join(design.variants)}")
    _outcomes(design, faults)


def _weights(design: Experiment, weights: Mapping[str, float], faults: Faults) -> None:
    for name in weights:
        if name not in design.variants:
            faults.add(("weights", name), f"is no variant; there are {', '.join(design.variants)}")
    for name in design.variants:
        if name not in weights:
            faults.add(("weights", name), "is needed: each variant has its share")
    if not isclose(sum(weights.values()), 1, abs_tol=1e-6):
        faults.add(("weights",), f"must sum to 1, and sum to {sum(weights.values()):g}")


def _outcomes(design: Experiment, faults: Faults) -> None:
    named: list[tuple[tuple[int | str, ...], str]] = [
        (("outcomes", family, n), one)
        for family in ("primary", "exploratory")
        for n, one in enumerate(getattr(design.outcomes, family))
    ]
    named += [(("exclude", n, "outcome"), one.outcome) for n, one in enumerate(design.exclude)]
    if design.stop.precision is not None:
        named.append((("stop", "precision", "outcome"), design.stop.precision.outcome))
    for place, name in named:
        if (why := outcomes.unknown(design.venue, name)) is not None:
            faults.add(place, why, "unknown_outcome")
    for n, one in enumerate(design.exclude):
        if one.above is None and one.below is None and not one.missing:
            faults.add(("exclude", n), "needs `above`, `below` or `missing`: it would leave nothing out")
    for name in design.outcomes.margins:
        if name not in design.outcomes.names():
            faults.add(("outcomes", "margins", name), "is no outcome of this experiment")
    for family in ("primary", "exploratory"):
        for name, times in Counter(getattr(design.outcomes, family)).items():
            if times > 1:
                faults.add(("outcomes", family), f"{name} stands there twice")
    both = set(design.outcomes.primary) & set(design.outcomes.exploratory)
    for name in sorted(both):
        faults.add(("outcomes", "exploratory"), f"{name} is primary already")
