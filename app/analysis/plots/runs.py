"""Every run of every arm as a dot."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean

from app.analysis.plots.plot import (
    ARMS_MOST,
    INK,
    POINTS_MOST,
    ROW,
    SOFT,
    Plot,
    Row,
    Spec,
    axis,
    between,
    chart,
    counted,
    in_unit,
    inked,
    labels,
    nothing,
    number,
    numbers,
    scale,
    shown,
    table,
)
from app.analysis.tables import Column

LINKS_MOST = 200
"""Seeds whose runs are linked by lines: more make a grey field."""

STACK = 44
"""Dots that stand on each other in a row at most; the rest is closer together."""

_LANE: Spec = {"field": "lane", "type": "quantitative", "scale": {"domain": [0, 1]}}


def distributions(
    outcome: str,
    arms: Mapping[str, Sequence[float | None]],
    unit: str = "",
    intervals: Mapping[str, tuple[float | None, float | None]] | None = None,
    *,
    paired: bool = False,
    level: float = 0.95,
) -> Plot:
    """Each arm in a row: every run as a dot, above them the mean with its interval.

    Args:
        outcome: Its name.
        arms: A value for each run, in `unit`; None where the run has none.
        unit: What the values are in.
        intervals: Of the mean, by arm, from low to high in `unit`.
        paired: The k-th runs of all arms have the same seed: a thin line links them.
        level: Of the intervals, as the text has it.

    Raises:
        ValueError: A value is no finite number; the message says which.
    """
    given = {arm: numbers(values, arm) for arm, values in arms.items()}
    names = dict(zip(given, labels(given, 20), strict=True))
    columns = (Column("arm"), Column("run", "integer"), Column("value", "number"))
    held = table(columns, ((arm, n, v) for arm, values in given.items() for n, v in enumerate(values, 1)))
    title = f"{shown(outcome, 60)} by arm"
    there = {arm: [value for value in values if value is not None] for arm, values in given.items()}
    if not any(there.values()):
        return nothing(title, "no run has a value", held)
    drawn = list(given)[:ARMS_MOST]
    rows = {arm: f"{names[arm]} (n = {len(there[arm]):,})" for arm in drawn}
    ends = {arm: _ends((intervals or {}).get(arm), arm) for arm in drawn}
    span = scale([*(v for arm in drawn for v in there[arm]), *(end for pair in ends.values() for end in pair)])
    dots = [dot for arm in drawn for dot in _dots(arm, rows[arm], given[arm], span["domain"])]
    middles = [
        {
            "name": rows[arm],
            "value": fmean(there[arm]),
            "low": ends[arm][0],
            "high": ends[arm][1],
            "lane": 0.2,
            "said": number(fmean(there[arm])),
        }
        for arm in drawn
        if there[arm]
    ]
    across = {
        "field": "value",
        "type": "quantitative",
        "scale": span,
        "axis": axis(span["domain"], in_unit(outcome, unit)),
    }
    layers = [
        *_links(dots, drawn, across, paired),
        _dot_layer(dots, across, list(rows.values())),
        *_means(middles, across),
    ]
    said = [_arm_said(names[arm], there[arm], len(given[arm]), ends[arm], unit, level) for arm in drawn]
    more = f" {counted(len(given) - len(drawn), 'more arm is', 'more arms are')} in the table." * (
        len(given) > len(drawn)
    )
    return Plot(title, f"{title}: {'; '.join(said)}.{more}", chart(layers, height=70 * len(drawn) + 60), held)


def _ends(given: tuple[float | None, float | None] | None, arm: str) -> tuple[float | None, float | None]:
    low, high = numbers(given or (None, None), f"the interval of {shown(arm)}")
    return (low, high) if low is not None and high is not None else (None, None)


def _arm_said(
    name: str, there: Sequence[float], planned: int, ends: tuple[float | None, float | None], unit: str, level: float
) -> str:
    missing = f", {planned - len(there)} missing" if planned > len(there) else ""
    if not there:
        return f"{name}: no value in {counted(planned, 'run')}"
    inside = f", {level * 100:g} % interval {between(*ends)}" if ends[0] is not None else ""
    spread = f", from {number(min(there))} to {number(max(there))}" if len(there) > 1 else ""
    measure = f" {shown(unit, 20)}" if unit else ""
    return f"{name}: mean {number(fmean(there))}{measure}{inside}{spread} over {counted(len(there), 'run')}{missing}"


def _dots(arm: str, name: str, values: Sequence[float | None], ends: Sequence[float]) -> list[Row]:
    """Each run, stacked where others have about the same value."""
    bins = [None if v is None else int(60 * (v - ends[0]) / (ends[1] - ends[0])) for v in values]
    most = max((bins.count(one) for one in set(bins) - {None}), default=1)
    step = min(0.11, 0.5 / max(1, min(most, STACK) - 1))
    seen: dict[int, int] = {}
    dots = []
    for run, (value, place) in enumerate(zip(values, bins, strict=True), 1):
        if value is None or place is None:
            continue
        on = seen[place] = seen.get(place, -1) + 1
        dots.append({"arm": arm, "name": name, "run": run, "value": value, "lane": 0.46 + step * (on % STACK)})
    return dots[: POINTS_MOST // 4]


def _dot_layer(dots: Sequence[Row], across: Spec, names: Sequence[str]) -> Spec:
    size, opacity = (46, 0.85) if len(dots) <= 200 else (16, 0.55)
    looks = {name: one | {"legend": None} for name, one in inked(names, shape=True).items()}
    values = [{key: dot[key] for key in ("name", "value", "lane")} for dot in dots]
    encoding = {"y": ROW, "yOffset": _LANE, "x": across, **looks}
    return {
        "data": {"values": values},
        "mark": {"type": "point", "filled": True, "size": size, "opacity": opacity},
        "encoding": encoding,
    }


def _links(dots: Sequence[Row], drawn: Sequence[str], across: Spec, paired: bool) -> list[Spec]:
    by = {(dot["arm"], dot["run"]): dot for dot in dots}
    runs = sorted({dot["run"] for dot in dots})
    if not paired or len(runs) > LINKS_MOST:
        return []
    pairs = [
        (by[one, run], by[other, run])
        for one, other in pairwise(drawn)
        for run in runs
        if (one, run) in by and (other, run) in by
    ]
    rows = [
        {key: dot[key] for key in ("name", "value", "lane")} | {"link": n, "end": end}
        for n, pair in enumerate(pairs)
        for end, dot in enumerate(pair)
    ]
    encoding = {"y": ROW, "yOffset": _LANE, "x": across, "detail": {"field": "link"}, "order": {"field": "end"}}
    return [
        {
            "data": {"values": rows},
            "mark": {"type": "line", "color": SOFT, "strokeWidth": 0.8, "opacity": 0.5},
            "encoding": encoding,
        }
    ]


def _means(middles: Sequence[Row], across: Spec) -> list[Spec]:
    place = {"y": ROW, "yOffset": _LANE}
    ends = [row for row in middles if row["low"] is not None]
    rule = {"x": across | {"field": "low"}, "x2": {"field": "high"}}
    return [
        {
            "data": {"values": ends},
            "mark": {"type": "rule", "color": INK, "strokeWidth": 2.5},
            "encoding": place | rule,
        },
        {
            "data": {"values": list(middles)},
            "mark": {"type": "point", "shape": "diamond", "filled": True, "size": 110, "color": INK},
            "encoding": place | {"x": across},
        },
        {
            "data": {"values": list(middles)},
            "mark": {"type": "text", "dy": -13},
            "encoding": place | {"x": across, "text": {"field": "said"}},
        },
    ]
