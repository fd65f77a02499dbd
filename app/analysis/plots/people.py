"""Personas beside people."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean

from app.analysis.plots.plot import (
    GRID,
    SERIES,
    SOFT,
    Plot,
    Spec,
    axis,
    chart,
    counted,
    nothing,
    number,
    numbers,
    scale,
    shown,
    table,
)
from app.analysis.tables import Column

CATEGORIES_MOST = 12
BINS = 20


def human_comparison(
    simulated: Sequence[float | None], people: Sequence[float | None], unit: str = "", *, of: str = ""
) -> Plot:
    """The simulated answers beside those of people: the share of each that falls into each value, or bin of 20.

    Args:
        simulated: Values of personas, in `unit`; None where there is none.
        people: Values of people.
        unit: Of both.
        of: What these are values of, for the title.

    Raises:
        ValueError: A value is no finite number.
    """
    ours = [v for v in numbers(simulated, "simulated") if v is not None]
    theirs = [v for v in numbers(people, "people") if v is not None]
    title = "Personas beside people" + (f": {shown(of, 90)}" if of else "")
    columns = (
        Column("from", "number"),
        Column("to", "number"),
        Column("people", "number"),
        Column("personas", "number"),
    )
    if not ours or not theirs:
        return nothing(title, "no values of both", table(columns, ()))
    bins = _bins([*ours, *theirs])
    rows = [
        {
            "low": low,
            "high": high,
            "middle": (low + high) / 2,
            "people": _share(theirs, low, high, n == len(bins) - 1),
            "personas": _share(ours, low, high, n == len(bins) - 1),
        }
        for n, (low, high) in enumerate(bins)
    ]
    held = table(columns, ((r["low"], r["high"], r["people"], r["personas"]) for r in rows))
    ends = scale([bins[0][0], bins[-1][1]])
    side = {
        "field": "low",
        "type": "quantitative",
        "scale": ends,
        "axis": axis(ends["domain"], shown(unit, 40) or "value"),
    }
    up = {"type": "quantitative", "axis": {"title": "share of values", "format": ".0%", "tickCount": 5}}
    named: Spec = {
        "type": "nominal",
        "scale": {"domain": ["people", "personas"], "range": [GRID, SERIES[0]]},
        "title": None,
    }
    layers: list[Spec] = [
        {
            "mark": {"type": "bar", "stroke": SOFT, "strokeWidth": 1},
            "transform": [{"calculate": "'people'", "as": "who"}],
            "encoding": {
                "x": side,
                "x2": {"field": "high"},
                "y": up | {"field": "people"},
                "y2": {"datum": 0},
                "color": named | {"field": "who"},
            },
        },
        {
            "mark": {"type": "line", "point": {"size": 50, "filled": True}, "strokeWidth": 2},
            "transform": [{"calculate": "'personas'", "as": "who"}],
            "encoding": {
                "x": side | {"field": "middle"},
                "y": up | {"field": "personas"},
                "color": named | {"field": "who"},
            },
        },
    ]
    apart = 50 * sum(abs(r["people"] - r["personas"]) for r in rows)
    alt = (
        f"{title}: bars are {counted(len(theirs), 'value')} of people, mean {number(fmean(theirs))}; the line is "
        f"{counted(len(ours), 'value')} of personas, mean {number(fmean(ours))}. Their shares differ by {apart:.0f} %."
    )
    return Plot(title, alt, chart(layers, rows=rows, height=280), held)


def _bins(values: Sequence[float]) -> list[tuple[float, float]]:
    there = sorted(set(values))
    if len(there) <= CATEGORIES_MOST:
        gap = min((b - a for a, b in pairwise(there)), default=max(abs(there[0]) * 0.1, 1.0))
        return [(value - gap * 0.4, value + gap * 0.4) for value in there]
    low, wide = there[0], (there[-1] - there[0]) / BINS
    return [(low + n * wide, low + (n + 1) * wide if n < BINS - 1 else there[-1]) for n in range(BINS)]


def _share(values: Sequence[float], low: float, high: float, last: bool) -> float:
    return sum(low <= value < high or (last and value == high) for value in values) / len(values)
