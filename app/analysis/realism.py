"""Monitors of a run: do its personas still write, act and differ as people would? (docs/monitors.md)

Computed when a run of the feed ends, by whoever ends its last turn, from the ledger alone, and kept in `runs.realism`:
derived, recomputable (`simfeed runs realism`), and so no part of a world's state. At most `TURNS` turns are looked at,
drawn by the run's seed; of their personas at most `COMPARED` have their earlier texts read.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TypeVar

import asyncpg
import msgspec

from app.analysis import adherence
from app.analysis.adherence import RULES, Persona, Written
from app.analysis.alarms import BY_NAME, Alarm, Limits, limits_of, mix_of, sounded
from app.analysis.words import (
    RUNS_MOST,
    chance_divergence,
    cross_similarity,
    divergence,
    mattr,
    mean_similarity,
    slope,
    vectors,
    words,
)
from app.db.engine import Database
from app.db.queries import load
from app.errors import NotFound
from app.settings import Settings
from app.streams import stream
from app.world.memories import CONSENT, DISSENT
from app.world.moderation import JUST_READ, OWN_INSTRUCTIONS

REALISM = load("realism")
N = TypeVar("N", int, float)
VERSION = 1
VENUE = "feed"
TURNS = 500
"""Turns of a run that are looked at, at most."""

COMPARED, EARLIER_TURNS = 150, 6
"""Personas whose earlier texts are read, and of how many of their turns."""

FIRST = 5
"""Cycles of the world that are the reference of what is done, unless ACTION_MIX says otherwise."""

LOOKED_BACK = 3
WORST = 10
DRIFT_RUNS = 8
"""Runs with words of tone that a drift is told from, at least."""

OLDEST_SHOWN = 30


@dataclass(frozen=True)
class Value:
    """A monitor's value, and from how many of what it is known; None where that was too little."""

    value: float | None
    n: float


@dataclass(frozen=True)
class Drift:
    """By how much agreement changes from run to run, with its 99 % interval, over so many runs and words of tone."""

    per_run: float
    low: float
    high: float
    runs: int
    words: int


@dataclass(frozen=True)
class Worst:
    """A persona that broke a rule in so many of so many texts."""

    persona_id: int
    rule: str
    broken: int
    of: int


@dataclass(frozen=True)
class Realism:
    """What monitors found: `values` by monitor; counts of `actions` and `errors`; `turns` of `total` were looked at."""

    version: int
    turns: int
    total: int
    values: dict[str, Value]
    actions: dict[str, int]
    reference: dict[str, float]
    reference_is: str
    errors: dict[str, int]
    drift: Drift | None
    worst: list[Worst]
    alarms: list[Alarm] = field(default_factory=list)


@dataclass(frozen=True)
class Seen:
    """All that monitors look at: rows of `sql/realism.sql`."""

    total: int
    ended: Sequence[asyncpg.Record]
    sampled: Sequence[asyncpg.Record]
    made: Sequence[asyncpg.Record]
    earlier: Sequence[asyncpg.Record]
    runs_before: int
    before: Sequence[tuple[float, float]]
    reference: Mapping[str, float]
    reference_is: str


async def look(database: Database, settings: Settings, run_id: int, *, keep: bool = True) -> Realism | None:
    """Look at a run of the feed, and keep what was found in `runs.realism`; None for one without turns at an end.

    Raises:
        NotFound: there is no such run of the feed.
        Misconfigured: ALARMS or ACTION_MIX is wrong.
    """
    limits, mix = limits_of(settings.alarms), mix_of(settings.action_mix)
    run = await database.fetchrow(REALISM["run"], run_id)
    if run is None or run["venue"] != VENUE:
        raise NotFound(f"no cycle of the feed has the number {run_id}: `simfeed runs` lists them")
    seen = await _read(database, run, mix)
    if not seen.sampled:
        return None
    found = await asyncio.to_thread(judge, seen, limits)
    if keep:
        await database.fetchval(REALISM["keep"], run_id, msgspec.json.encode(asdict(found)).decode())
    return found


async def catch_up(database: Database, settings: Settings, before: int) -> None:
    """Look at the last runs before run `before` whose processes died before they could."""
    for row in await database.fetch(REALISM["unwatched"], before, VENUE, LOOKED_BACK):
        await look(database, settings, row["id"])


async def _read(database: Database, run: asyncpg.Record, mix: Mapping[str, float] | None) -> Seen:
    run_id, total = run["id"], run["turns_total"]
    chance = stream(run["seed"], "realism")
    ordinals = sorted(chance.sample(range(1, total + 1), TURNS)) if total > TURNS else list(range(1, total + 1))
    sampled = await database.fetch(REALISM["sampled"], run_id, ordinals)
    whose = sorted({row["persona_id"] for row in sampled})
    if len(whose) > COMPARED:
        whose = sorted(chance.sample(whose, COMPARED))
    before = await database.fetch(REALISM["before"], run_id, VENUE, RUNS_MOST - 1)
    reference: dict[str, float] = dict(mix or {})
    said = "ACTION_MIX"
    if mix is None:
        first = await database.fetch(REALISM["first"], run_id, VENUE, FIRST)
        for row in first if len(first) == FIRST else ():
            for name, times in msgspec.json.decode(row["actions"] or "{}").items():
                reference[name] = reference.get(name, 0) + times
        said = f"runs {first[0]['id']} to {first[-1]['id']}" if len(first) == FIRST else ""
    return Seen(
        total,
        await database.fetch(REALISM["turns"], run_id),
        sampled,
        await database.fetch(REALISM["made"], run_id, ordinals),
        await database.fetch(REALISM["earlier"], run_id, whose, EARLIER_TURNS),
        len(before),
        [value for row in reversed(before) if (value := _agreed(row["realism"])) is not None],
        reference,
        said,
    )


def _agreed(stored: str) -> tuple[float, float] | None:
    """Agreement in an earlier run, and of how many words."""
    found = kept(stored)
    value = found.values["agreement"] if found is not None else None
    return (value.value, value.n) if value is not None and value.value is not None else None


def judge(seen: Seen, limits: Limits) -> Realism:
    """What monitors find in what was seen; it depends on nothing else."""
    texts = [
        Written(row["persona_id"], _kind(row["effect"]), row["body"], row["detail"] == OWN_INSTRUCTIONS)
        for row in seen.made
        if row["body"]
    ]
    earlier = [Written(row["persona_id"], _kind(row["effect"]), row["body"], now=False) for row in seen.earlier]
    copies = sum(row["detail"] == JUST_READ for row in seen.made if row["body"])
    values = _of_texts(texts, earlier) | {"near_copies": _share(copies, len(texts))}

    agreement = values["agreement"] = balance(texts)
    drift = _drift([*seen.before, *([(agreement.value, agreement.n)] if agreement.value is not None else [])])
    values["agreement_drift"] = drifted(drift)

    actions: dict[str, int] = {}
    for row in seen.made:
        actions[row["effect"]] = actions.get(row["effect"], 0) + 1
    actions = _most_first(actions)
    values["action_mix"] = mixed(actions, seen.reference, exact=seen.reference_is == "ACTION_MIX")
    acts = sum(actions.values())
    values["commonest_action"] = _share(max(actions.values(), default=0), acts if seen.runs_before else 0)

    people = {row["persona_id"]: row for row in seen.sampled}
    counted = adherence.count(
        [Persona(i, row["description"], msgspec.json.decode(row["profile"])) for i, row in sorted(people.items())],
        [*earlier, *texts],
    )
    for rule in RULES:
        of = [one for (_, name), one in counted.items() if name == rule]
        values[rule] = _share(sum(one.broken for one in of), sum(one.of for one in of))
    worst = [Worst(who, rule, one.broken, one.of) for (who, rule), one in counted.items() if one.broken]
    worst.sort(
        key=lambda one: (list(RULES).index(one.rule) > 1, -one.broken / one.of, -one.of, one.persona_id, one.rule)
    )

    ended = sum(row["times"] for row in seen.ended)
    lost = [row for row in seen.ended if row["state"] in ("failed", "deferred")]
    errors: dict[str, int] = {}
    for row in lost:
        errors[row["reason"] or row["state"]] = errors.get(row["reason"] or row["state"], 0) + row["times"]
    values["refusals"] = _share(sum(row["times"] for row in seen.ended if row["state"] == "refused"), ended)
    values["errors"] = _share(sum(row["times"] for row in lost), ended)
    played = [row for row in seen.sampled if row["state"] in ("done", "limit")]
    values["silence"] = _share(sum(not row["acted"] for row in played), len(played))

    values = {name: values[name] for name in BY_NAME}
    alarms = sounded(limits, [(name, one.value, one.n) for name, one in values.items()])
    reference = _most_first({name: round(x, 4) for name, x in seen.reference.items()})
    return Realism(
        VERSION, len(seen.sampled), seen.total, values, actions, reference, seen.reference_is, _most_first(errors),
        drift,
        worst[:WORST], alarms,
    )  # fmt: skip


def _kind(effect: str) -> str:
    return "post" if effect in ("post", "quote") else "comment"


def _share(part: float, whole: float) -> Value:
    return Value(round(part / whole, 4) if whole else None, whole)


def _of_texts(texts: Sequence[Written], earlier: Sequence[Written]) -> dict[str, Value]:
    """Diversity, and likeness among the run's texts and of each persona's to its own."""
    bags = [words(text.body) for text in [*texts, *earlier]]
    flat = [word for bag in bags[: len(texts)] for word in bag]
    units = vectors(bags[: len(texts)])
    both = vectors(bags)
    now: dict[int, list[dict[str, float]]] = {}
    then: dict[int, list[dict[str, float]]] = {}
    for text, unit in zip([*texts, *earlier], both, strict=True):
        (now if text.now else then).setdefault(text.persona_id, []).append(unit)
    own = [x for who in now if (x := cross_similarity(now[who], then.get(who, []))) is not None]
    return {
        "lexical_diversity": Value(_rounded(mattr(flat)), len(flat)),
        "similarity": Value(_rounded(mean_similarity(units)), len(texts)),
        "self_similarity": Value(round(sum(own) / len(own), 4) if own else None, len(own)),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def balance(texts: Sequence[Written]) -> Value:
    """(consent - dissent) / (consent + dissent) words, from -1 to 1, over all texts; of how many such words."""
    said = [word for text in texts for word in words(text.body)]
    pros, cons = (sum(word in tone for word in said) for tone in (set(CONSENT), set(DISSENT)))
    return Value(round((pros - cons) / (pros + cons), 4) if pros + cons else None, pros + cons)


def _drift(runs: Sequence[tuple[float, float]]) -> Drift | None:
    fitted = slope(runs)
    if fitted is None:
        return None
    per_run, low, high = (round(x, 4) for x in (fitted.per_run, fitted.low, fitted.high))
    return Drift(per_run, low, high, fitted.n, int(sum(weight for _, weight in runs[-fitted.n :])))


def drifted(drift: Drift | None) -> Value:
    """The change from the first run of the window to the last, weighed by words; 0 where the interval holds 0."""
    if drift is None or drift.runs < DRIFT_RUNS:
        return Value(None, 0)
    certain = drift.low > 0 or drift.high < 0
    return Value(round(drift.per_run * (drift.runs - 1), 4) if certain else 0.0, drift.words)


def mixed(actions: Mapping[str, int], reference: Mapping[str, float], *, exact: bool = False) -> Value:
    """The divergence of what was done from the reference, less what chance alone would make of it (bits).

    Args:
        exact: the reference is no sample.
    """
    acts, kinds = sum(actions.values()), len({*actions, *reference})
    found = divergence(actions, reference)
    if found is None:
        return Value(None, acts)
    of = float("inf") if exact else sum(reference.values())
    return Value(round(max(0.0, found - chance_divergence(kinds, acts, of)), 4), acts)


def kept(stored: str | None) -> Realism | None:
    """What is kept of a run; None for nothing, or what another version found. In order again, which JSONB forgets."""
    if stored is None or msgspec.json.decode(stored).get("version") != VERSION:
        return None
    found = msgspec.json.decode(stored, type=Realism)
    return replace(
        found,
        values={name: found.values[name] for name in BY_NAME if name in found.values},
        actions=_most_first(found.actions),
        reference=_most_first(found.reference),
        errors=_most_first(found.errors),
    )


def _most_first(counts: Mapping[str, N]) -> dict[str, N]:
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))


async def of_run(database: Database, run_id: int) -> Realism | None:
    """What was found in a run.

    Raises:
        NotFound: there is no such run.
    """
    run = await database.fetchrow(REALISM["run"], run_id)
    if run is None:
        raise NotFound(f"no run has the number {run_id}: `simfeed runs` lists them")
    return kept(run["realism"])


async def lately(database: Database, up_to: int, most: int = OLDEST_SHOWN) -> list[tuple[int, Realism]]:
    """What was found in the last runs of the feed up to run `up_to`, oldest first."""
    rows = await database.fetch(REALISM["before"], up_to + 1, VENUE, most)
    return [(row["id"], found) for row in reversed(rows) if (found := kept(row["realism"])) is not None]


async def handles(database: Database, found: Realism) -> dict[int, str]:
    """The handles of the personas that are named in it."""
    rows = await database.fetch(REALISM["handles"], [one.persona_id for one in found.worst])
    return {row["id"]: row["username"] for row in rows}
