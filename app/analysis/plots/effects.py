"""Effects with intervals around 0: between arms, and by what they hang on."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.analysis.plots.plot import (
    INK,
    PAPER,
    ROW,
    SERIES,
    SOFT,
    Plot,
    Row,
    Spec,
    axis,
    between,
    chart,
    counted,
    in_unit,
    labels,
    nothing,
    number,
    numbers,
    scale,
    shown,
    table,
)
from app.analysis.tables import Column, Table

Effect = dict[str, float | None]
_EFFECT = ("value", "low", "high", "p")
ROWS_MOST = 60
HALO: tuple[Spec, ...] = ({"stroke": PAPER, "strokeWidth": 4, "strokeJoin": "round"}, {})
"""Text twice, first in the colour of the paper, so that no line runs through it."""


def differences(rows: Sequence[Mapping[str, Any]], *, level: float = 0.95, part: str = "") -> Plot:
    """A forest plot: for each outcome and contrast the difference to the control with its interval.

    Args:
        rows: Mappings with `outcome`, `arm`, `control`, `value`, `low`, `high` in the outcome's `unit`, and `p`, the
            corrected p. Numbers may be None. Where units differ, each outcome has a scale of its own around 0.
        level: Of the intervals, as the text has it.
        part: What the title ends with, where these are not all.

    Raises:
        ValueError: A value is no finite number.
    """
    names = [f"{shown(row.get('outcome', ''), 24)}: {shown(row.get('arm', ''), 18)}" for row in rows]
    read = [_effect(row, name) for row, name in zip(rows, names, strict=True)]
    outcomes = [str(row.get("outcome", "")) for row in rows]
    units = {str(row.get("unit") or "") for row in rows}
    alike = len(set(outcomes)) == 1 or (len(units) == 1 and units != {""})
    columns = (Column("outcome"), Column("arm"), Column("control"), *(Column(n, "number") for n in _EFFECT))
    held = table(
        columns,
        (
            (row.get("outcome"), row.get("arm"), row.get("control"), *(one[n] for n in _EFFECT))
            for row, one in zip(rows, read, strict=True)
        ),
    )
    title = f"Differences to the control{part}"
    unit = shown(next(iter(units), ""), 20)
    across = (
        f"difference ({unit})" if alike and unit else "difference" if alike else "difference, each outcome by itself"
    )
    widest = {name: _widest(read, outcomes, name) for name in set(outcomes)}
    by = [1.0 if alike else widest[name] for name in outcomes]
    apart = sum(map(_clear, read))
    fact = f"{apart} of {len(read)} {level * 100:g} % intervals leave out 0"
    return _forest(
        title, fact, labels(names, 46), read, by, across if alike else f"{across} (numbers beside)", held, alike
    )


def _effect(row: Mapping[str, Any], name: str) -> Effect:
    value, low, high, p = numbers([row.get(key) for key in _EFFECT], name)
    return {"value": value, "low": low if high is not None else None, "high": high if low is not None else None, "p": p}


def _clear(one: Effect) -> bool:
    """Whether its interval leaves out 0."""
    low, high = one["low"], one["high"]
    return low is not None and high is not None and (low > 0 or high < 0)


def _widest(read: Sequence[Effect], outcomes: Sequence[str], name: str) -> float:
    ends = [
        abs(value)
        for one, outcome in zip(read, outcomes, strict=True)
        if outcome == name
        for key in ("value", "low", "high")
        if (value := one[key]) is not None
    ]
    return max(ends, default=0.0) or 1.0


def sensitivity(
    levels: Sequence[Mapping[str, Any]], *, mean: Mapping[str, Any] | None = None, unit: str = "", of: str = ""
) -> Plot:
    """The same effect under other prompts, models or settings, and over all of them.

    Args:
        levels: Mappings with `name`, and `value`, `low`, `high` in `unit`; numbers may be None.
        mean: The effect over all levels, in the same form without a name.
        unit: Of the effect.
        of: What it is an effect on, for the title.

    Raises:
        ValueError: A value is no finite number.
    """
    given = [*levels, *([{**mean, "name": "over all levels"}] if mean else [])]
    names = labels((row.get("name", "") for row in given), 40)
    read = [_effect(row, name) for row, name in zip(given, names, strict=True)]
    values = [one["value"] for one in read[: len(levels)] if one["value"] is not None]
    held = table(
        (Column("level"), *(Column(n, "number") for n in _EFFECT[:3])),
        ((row.get("name"), *(one[n] for n in _EFFECT[:3])) for row, one in zip(given, read, strict=True)),
    )
    fact = f"{counted(len(levels), 'level')}"
    if values:
        same = max(sum(v > 0 for v in values), sum(v < 0 for v in values))
        fact += f", effects from {number(min(values))} to {number(max(values))}, {same} of {len(values)} of one sign"
    title = "The effect by level" + (f": {shown(of, 60)}" if of else "")
    return _forest(title, fact, names, read, [1.0] * len(read), in_unit("effect", unit), held, True)


def _told(one: Effect) -> str:
    inside = between(one["low"], one["high"])
    return number(one["value"]) + (f" ({inside})" if inside else "")


def _forest(
    title: str,
    fact: str,
    names: Sequence[str],
    read: Sequence[Effect],
    by: Sequence[float],
    across: str,
    held: Table,
    numbered: bool,
) -> Plot:
    """Effects with intervals around 0, each divided by its `by`, with their numbers beside."""
    there = [(name, one, w) for name, one, w in zip(names, read, by, strict=True) if one["value"] is not None]
    if not there:
        return nothing(title, "no difference can be told", held)
    rows: list[Row] = []
    for name, one, most in zip(names[:ROWS_MOST], read, by, strict=False):
        told = _told(one) + (f", p {number(one['p'])}" if one.get("p") is not None else "")
        scaled = {key: None if (v := one[key]) is None else v / most for key in ("value", "low", "high")}
        rows.append({"name": name, "said": told, "clear": _clear(one), **scaled})
    span = scale((row[key] for row in rows for key in ("value", "low", "high")), zero=True, room=0.18)
    ticks = axis(span["domain"], across, **({} if numbered else {"labels": False, "ticks": False}))
    place: Spec = {"y": ROW | {"axis": ROW["axis"] | {"labelLimit": 230}}}
    wide: Spec = {"field": "value", "type": "quantitative", "scale": span, "axis": ticks}
    fill = {"condition": {"test": "datum.clear", "value": SERIES[0]}, "value": PAPER}
    words: Spec = {"type": "text", "fontSize": 11, "dy": -13}
    layers: list[Spec] = [
        {"mark": {"type": "rule", "color": SOFT, "strokeDash": [4, 3]}, "encoding": {"x": {"datum": 0}}},
        {
            "mark": {"type": "rule", "color": INK, "strokeWidth": 2},
            "transform": [{"filter": "datum.low !== null"}],
            "encoding": place | {"x": wide | {"field": "low"}, "x2": {"field": "high"}},
        },
        {
            "mark": {
                "type": "point",
                "shape": "square",
                "size": 80,
                "stroke": SERIES[0],
                "strokeWidth": 2,
                "opacity": 1,
            },
            "transform": [{"filter": "datum.value !== null"}],
            "encoding": place | {"x": wide, "fill": fill},
        },
        *(
            {
                "mark": words | halo,
                "transform": [{"filter": "datum.value !== null"}],
                "encoding": place | {"x": wide, "text": {"field": "said"}},
            }
            for halo in HALO
        ),
    ]
    first = [f"{name} {_told(one)}" for name, one, _ in there[:6]]
    more = f" and {len(there) - 6} more" * (len(there) > 6)
    lost = f" {counted(len(read) - len(there), 'has', 'have')} no value." * (len(read) > len(there))
    lost += f" The first {ROWS_MOST} of {len(read)} are drawn." * (len(read) > ROWS_MOST)
    alt = f"{title}: {fact}. {'; '.join(first)}{more}.{lost}"
    return Plot(title, alt, chart(layers, rows=rows, height=46 * len(rows) + 60), held)
