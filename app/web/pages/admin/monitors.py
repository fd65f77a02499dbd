"""What monitors found in a run, as its page shows it: values, limits, how they went, and alarms with their text."""

from dataclasses import dataclass

from app.analysis import realism
from app.analysis.adherence import RULES
from app.analysis.alarms import BY_NAME, Alarm, Level
from app.analysis.realism import Realism
from app.db.engine import Database

WIDTH, HEIGHT = 100, 24
NAMED = 8


@dataclass(frozen=True)
class Row:
    """A monitor in a table: `points` of its line over the last runs, `words` for who doesn't see it."""

    name: str
    what: str
    value: str
    unit: str
    n: str
    limits: str
    level: Level | None
    points: str
    words: str


@dataclass(frozen=True)
class Shown:
    """All that the page shows of it."""

    rows: list[Row]
    alarms: list[Alarm]
    worst: list[tuple[str, str, int, int]]
    mix: list[tuple[str, float, float | None]]
    reference_is: str
    errors: list[tuple[str, int]]
    drift: str
    turns: int
    total: int


async def shown(database: Database, run_id: int) -> Shown | None:
    """What was found in a run; None where nobody has looked."""
    found = await realism.of_run(database, run_id)
    if found is None:
        return None
    lately = await realism.lately(database, run_id)
    handles = await realism.handles(database, found)
    levels = {alarm.monitor: alarm.level for alarm in found.alarms}
    return Shown(
        [_row(name, found, levels.get(name), lately) for name in found.values if name in BY_NAME],
        found.alarms,
        [
            (handles.get(one.persona_id, str(one.persona_id)), RULES.get(one.rule, one.rule), one.broken, one.of)
            for one in found.worst[:NAMED]
        ],
        _mix(found),
        found.reference_is,
        sorted(found.errors.items(), key=lambda one: -one[1]),
        _drift(found),
        found.turns,
        found.total,
    )


def _row(name: str, found: Realism, level: Level | None, lately: list[tuple[int, Realism]]) -> Row:
    known, one = BY_NAME[name], found.values[name]
    past = [(run, then.values[name].value) for run, then in lately if name in then.values]
    known_past = [(run, value) for run, value in past if value is not None]
    side = "≤" if known.falls else "≥"
    few = "" if one.n >= known.least else f", {known.least} are needed"
    words = ", ".join(f"run {run}: {value:.2f}" for run, value in known_past[-5:]) or "no values yet"
    return Row(
        name,
        known.what,
        "—" if one.value is None else f"{one.value:.2f}",
        known.unit,
        f"{one.n:,.0f} {known.of}{few}",
        f"{side} {known.notice:g}, {side} {known.alarm:g}",
        level,
        line([value for _, value in known_past]),
        words,
    )


def line(values: list[float]) -> str:
    """The points of a line through these values, over the whole width; empty for less than two."""
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    step = WIDTH / (len(values) - 1)
    flat = high == low
    return " ".join(
        f"{n * step:.1f},{HEIGHT / 2 if flat else HEIGHT - 2 - (HEIGHT - 4) * (v - low) / span:.1f}"
        for n, v in enumerate(values)
    )


def _mix(found: Realism) -> list[tuple[str, float, float | None]]:
    """Each action's share, and the reference's."""
    acts, whole = sum(found.actions.values()), sum(found.reference.values())
    names = [*found.actions, *(name for name in found.reference if name not in found.actions)]
    return [
        (
            name,
            found.actions.get(name, 0) / acts if acts else 0.0,
            found.reference.get(name, 0.0) / whole if whole else None,
        )
        for name in names
    ]


def _drift(found: Realism) -> str:
    if found.drift is None:
        return ""
    one = found.drift
    told = f"{one.per_run:+.3f} a run (99 % interval {one.low:+.3f} to {one.high:+.3f})"
    return f"Agreement over the last {one.runs} runs: {told}."
