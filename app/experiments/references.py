"""What people did, attached to an outcome of an experiment and compared with its runs (docs/preregistration.md).

Of what was asked or extracted in sessions, each persona's own value is compared with people's, read from the runs'
kept worlds. Any other outcome has one value a run, so each of people's values must be that of a whole community.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from app.analysis import against_humans, comparing
from app.db.engine import Database
from app.errors import Invalid, NotFound
from app.experiments.compared import counts, unit_of, value_of
from app.experiments.design import Experiment
from app.experiments.once import once
from app.experiments.outcomes import asked_of
from app.experiments.people import NAME_MOST, Given, Person, fits, read
from app.experiments.runner import design_of
from app.streams import number, stream
from app.venues.session.results import answers, extracted
from app.world import sessions, worlds
from app.world.experiments import EXPERIMENTS, Trial, found
from app.world.sessions import decoded, encoded

NOTE_MOST, SHOWN_MOST = 1_000, 10_000


@dataclass(frozen=True)
class Persona:
    """A persona's value in a run, or a run's own (no name); `groups` are its attributes, as `attribute=value`."""

    value: float | None
    name: str = ""
    groups: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Reference:
    """People's values of an outcome; of the variant that is called as it is, or of all."""

    outcome: str
    name: str
    people: tuple[Person, ...]
    held_out: bool = False
    note: str = ""
    at: str | None = None


async def attach(
    home: Database,
    key: str,
    outcome: str,
    name: str,
    values: Given,
    *,
    held_out: bool = False,
    note: str = "",
    by: int | None = None,
) -> dict[str, Any]:
    """Keep what people did beside an outcome, in the place of what had this name; how much that is.

    Args:
        outcome: One of the experiment's.
        name: What it is called. One that is called as a variant is compared with that variant alone, others with all.
        values: A CSV or JSON file, or what such JSON holds: a list of numbers, or of objects with `value`, `group`
            and `persona`, or an object of such lists by group.
        held_out: Nothing of the experiment was chosen by looking at these values.

    Raises:
        NotFound: there is no such experiment or file.
        Invalid: no such outcome; values that are none, each fault with its row.
    """
    row = await found(home, key)
    design = design_of(row)
    if outcome not in design.outcomes.names():
        raise Invalid(f"outcome: {outcome[:60]!r} is none of this experiment: {', '.join(design.outcomes.names())}")
    for what, text, least, most in (("name", name, 1, NAME_MOST), ("note", note, 0, NOTE_MOST)):
        if not least <= len(text.strip()) <= most or not text.isprintable():
            raise Invalid(f"{what}: must be a line of {least} to {most:,} characters")
    people = read(values)
    fits(design, outcome, people)
    kept = [outcome, name.strip(), held_out, encoded(_stored(people)), note.strip(), by]
    await home.fetchval(EXPERIMENTS["attach"], row["id"], *kept)
    groups = sorted({one.group for one in people if one.group})
    return {
        "outcome": outcome,
        "name": name.strip(),
        "people": sum(one.value is not None for one in people),
        "missing": sum(one.value is None for one in people),
        "groups": groups,
        "held_out": held_out,
    }


async def detach(home: Database, key: str, outcome: str, name: str) -> None:
    """Take people's values away.

    Raises:
        NotFound: there is no such experiment, or no values of this name.
    """
    row = await found(home, key)
    if await home.fetchval(EXPERIMENTS["detach"], row["id"], outcome, name) is None:
        raise NotFound(f"no people's values are called {name[:60]!r} beside the outcome {outcome[:60]!r}")


async def listed(home: Database, experiment_id: int) -> list[Reference]:
    """What people did beside an experiment."""
    return [
        Reference(
            row["outcome"], row["name"], _kept(decoded(row["values"])), row["held_out"], row["note"],
            row["at"].isoformat(),
        )
        for row in await home.fetch(EXPERIMENTS["references"], experiment_id)
    ]  # fmt: skip


def _stored(people: Iterable[Person]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for one in people:
        value = {"value": one.value, "persona": one.persona} if one.persona else one.value
        groups.setdefault(one.group, []).append(value)
    return groups


def _kept(values: Mapping[str, Sequence[Any]]) -> tuple[Person, ...]:
    return tuple(
        Person(one["value"], group, one["persona"]) if isinstance(one, Mapping) else Person(one, group)
        for group, members in values.items()
        for one in members
    )


# Comparing


async def beside(
    home: Database, experiment_id: int, design: Experiment, trials: Sequence[Trial]
) -> list[dict[str, Any]]:
    """Each reference beside each variant that it is compared with."""
    told: list[dict[str, Any]] = []
    known: dict[str, dict[str, list[list[Persona]]]] = {}
    for one in await listed(home, experiment_id):
        if one.outcome not in known:
            known[one.outcome] = await simulated(home, design, trials, one.outcome)
        for arm in [one.name] if one.name in design.variants else list(design.variants):
            planned = sum(trial.variant == arm and counts(trial) for trial in trials)
            told.append(await asyncio.to_thread(once, compared, design, one, arm, known[one.outcome][arm], planned))
    return told


async def simulated(
    home: Database, design: Experiment, trials: Sequence[Trial], outcome: str
) -> dict[str, list[list[Persona]]]:
    """By variant what is compared with people: of each run that counts its personas' values, or its own alone.

    A run whose world was dropped has none any more.
    """
    found_of: dict[str, list[list[Persona]]] = {variant: [] for variant in design.variants}
    asked = asked_of(outcome) if design.venue != "feed" else None
    for one in trials:
        if not counts(one):
            continue
        if asked is None:
            found_of[one.variant].append([Persona(value_of(one, outcome))])
        elif one.world is not None and one.session is not None:
            try:
                async with worlds.inside(home, one.world, size=2) as database:
                    found_of[one.variant].append(await _personas(database, one.session, asked))
            except NotFound:
                continue
    return found_of


async def _personas(database: Database, session: str, asked: tuple[str, str, str | None]) -> list[Persona]:
    row = await sessions.found(database, session)
    of, key, option = asked
    groups = {
        str(one.number): (one.row["username"], _groups(one)) for one in await sessions.members(database, row["id"])
    }
    values: list[tuple[str, Any]]
    if of == "answer":
        values = [(one.participant, one.answers.get(key)) for one in (await answers(database, row)).records]
    else:
        records = (await extracted(database, row)).records
        values = [(one.participant, one.fields[key].value if key in one.fields else None) for one in records]
    return [Persona(_reckoned(value, option), *groups.get(who, ("", frozenset()))) for who, value in values]


def _groups(member: sessions.Member) -> frozenset[str]:
    profile = decoded(member.row["profile"]) or {}
    facts = {**(profile.get("demographics") or {}), **{k: profile[k] for k in ("leaning", "role") if profile.get(k)}}
    return frozenset(f"{name}={value}" for name, value in facts.items())


def _reckoned(value: Any, option: str | None) -> float | None:
    """An answer as a number; of an option 1 where it was chosen, else 0."""
    if value is None:
        return None
    if option is not None:
        chosen = value if isinstance(value, list) else [value]
        words = {True: "yes", False: "no"}
        told = {(words[one] if isinstance(one, bool) else str(one)).casefold() for one in chosen}
        return float(option.casefold() in told)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def compared(
    design: Experiment, reference: Reference, arm: str, runs: Sequence[Sequence[Persona]], planned: int
) -> dict[str, Any]:
    """A reference beside the runs of a variant; `planned` runs should have had values."""
    seed = number(design.seed, "people", reference.outcome, reference.name, arm, bits=62)
    people = [one.value for one in reference.people]
    names = sorted({one.group for one in reference.people if one.group})
    groups = {
        name: (
            [[one.value for one in run if name in one.groups] for run in runs],
            [one.value for one in reference.people if one.group == name],
        )
        for name in names
    }
    known = {name: both for name, both in groups.items() if any(value is not None for run in both[0] for value in run)}
    values = [[one.value for one in run] for run in runs]
    agreement = against_humans.agreement(
        values, people, seed=seed, groups=known, held_out=reference.held_out, level=design.outcomes.level
    )
    reasons = list(agreement.stamp.reasons)
    reasons += [f"{name}: no persona is known to be of this sub-group" for name in names if name not in known]
    if len(runs) < planned:
        reasons.append(f"the worlds of {planned - len(runs)} of {planned} runs were dropped, with what personas said")
    corrected = _corrected(reference.people, runs, design.outcomes.level)
    return {
        "outcome": reference.outcome,
        "name": reference.name,
        "arm": arm,
        "unit": unit_of(design.venue, reference.outcome),
        "of": "runs" if asked_of(reference.outcome) is None or design.venue == "feed" else "personas",
        "held_out": reference.held_out,
        "note": reference.note,
        "at": reference.at,
        "simulated": _shown([value for run in values for value in run if value is not None], seed),
        "people": _shown([value for value in people if value is not None], seed),
        "agreement": comparing.data(agreement),
        "corrected": None if corrected is None else comparing.data(corrected),
        "stamp": {"label": "exploratory" if reasons else "calibrated", "reasons": reasons},
    }


def _shown(values: list[float], seed: int) -> list[float]:
    return values if len(values) <= SHOWN_MOST else stream(seed, "shown").sample(values, SHOWN_MOST)


def _corrected(
    people: Sequence[Person], runs: Sequence[Sequence[Persona]], level: float
) -> against_humans.Corrected | None:
    """The mean of all people, where it is known who is whose persona; a persona's value is its mean over runs."""
    by_name: dict[str, list[float]] = {}
    for run in runs:
        for one in run:
            if one.name and one.value is not None:
                by_name.setdefault(one.name.casefold(), []).append(one.value)
    asked = {one.persona.casefold(): one.value for one in people if one.persona and one.value is not None}
    pairs = [(value, fmean(by_name[name])) for name, value in asked.items() if name in by_name]
    if not pairs:
        return None
    more = [fmean(values) for name, values in by_name.items() if name not in asked]
    return against_humans.corrected_mean([y for y, _ in pairs], [f for _, f in pairs], more, level=level, tuned=True)
