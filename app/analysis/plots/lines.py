"""Plots over time and over sizes: activity, metrics by cycle with a band over runs, opinions, power."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Literal

from app.analysis.intervals import t_mean
from app.analysis.plots.plot import (
    ARMS_MOST,
    DASHES,
    POINTS_MOST,
    SERIES,
    SOFT,
    Plot,
    Row,
    Spec,
    axis,
    chart,
    counted,
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

Band = Literal["interval", "range"]
BANDS: dict[Band, str] = {
    "interval": "the 95 % interval of the mean over runs, cycle by cycle (Student's t)",
    "range": "from the lowest to the highest run",
}
KINDS = ("posts", "comments", "likes", "follows", "reposts", "active")
"""What `activity` shows of what it is given, in this order."""


def activity(series: Sequence[Mapping[str, Any]]) -> Plot:
    """What happened in each cycle.

    Args:
        series: One mapping per cycle, in order: `run`, `at` (ISO or None), and counts by `KINDS`, None for none.

    Raises:
        ValueError: A count is no finite number.
    """
    kinds = [kind for kind in KINDS if any(row.get(kind) is not None for row in series)]
    given = {kind: numbers([row.get(kind) for row in series], kind) for kind in kinds}
    columns = (Column("cycle", "integer"), Column("run"), Column("at"), *(Column(kind, "number") for kind in kinds))
    held = table(
        columns,
        (
            (n, _text(row.get("run")), _text(row.get("at")), *(given[kind][n - 1] for kind in kinds))
            for n, row in enumerate(series, 1)
        ),
    )
    title = "Activity over time"
    if not kinds:
        return nothing(title, "no cycle was played", held)
    sums = [(kind, sum(v or 0 for v in values)) for kind, values in given.items()]
    busiest = max(range(len(series)), key=lambda n: sum(given[kind][n] or 0 for kind in kinds if kind != "active"))
    said = ", ".join(f"{number(total)} {kind}" for kind, total in sums if kind != "active")
    awake = f"; {number(fmean([v or 0 for v in given['active']]))} active a cycle" if "active" in given else ""
    alt = f"{title}: {counted(len(series), 'cycle')} with {said}{awake}. The most happened in cycle {busiest + 1}."
    lines = {kind: [(n, v, None, None) for n, v in enumerate(values, 1)] for kind, values in given.items()}
    return Plot(title, alt, _lines(lines, "cycle", "how many a cycle", zero=True), held)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


Point = tuple[float, float | None, float | None, float | None]
"""x, y, and the band from low to high."""


def _lines(
    lines: Mapping[str, Sequence[Point]],
    across: str,
    up: str,
    *,
    zero: bool = False,
    domain: Sequence[float] | None = None,
) -> Spec:
    """A line for each name, with its band where it has one."""
    names = labels(lines)
    every = max(1, -(-sum(len(points) for points in lines.values()) // POINTS_MOST))
    rows: list[Row] = [
        {"name": name, "x": x, "y": y, "low": low, "high": high}
        for name, points in zip(names, lines.values(), strict=True)
        for x, y, low, high in points[::every]
    ]
    ends = [row[key] for row in rows for key in ("y", "low", "high")]
    span: Spec = {"domain": list(domain), "nice": False} if domain else scale(ends, zero=zero)
    side = {
        "field": "x",
        "type": "quantitative",
        "scale": scale([row["x"] for row in rows]) | {"nice": False},
        "axis": axis([row["x"] for row in rows], across, tickMinStep=1, grid=False),
    }
    high = {"field": "y", "type": "quantitative", "scale": span, "axis": axis(ends, up)}
    few = len(rows) <= 40 * len(names)
    looks = inked(names, dash=True, shape=few)
    layers: list[Spec] = []
    if any(row["low"] is not None for row in rows):
        layers.append(
            {
                "mark": {"type": "area", "opacity": 0.22},
                "transform": [{"filter": "datum.low !== null"}],
                "encoding": {"x": side, "y": high | {"field": "low"}, "y2": {"field": "high"}, "color": looks["color"]},
            }
        )
    layers.append(
        {
            "mark": {"type": "line", "strokeWidth": 2.2},
            "encoding": {"x": side, "y": high, "color": looks["color"], "strokeDash": looks["strokeDash"]},
        }
    )
    if few:
        layers.append(
            {
                "mark": {"type": "point", "filled": True, "size": 46, "opacity": 1},
                "encoding": {"x": side, "y": high, "color": looks["color"], "shape": looks["shape"]},
            }
        )
    return chart(layers, rows=rows, height=330)


def over_time(
    metric: str,
    arms: Mapping[str, Sequence[Sequence[float | None]]],
    unit: str = "",
    *,
    band: Band = "interval",
) -> Plot:
    """The mean of a metric over runs, cycle by cycle, with a band.

    Args:
        metric: Its name.
        arms: For each arm its runs, and for each run its values by cycle, in `unit`; runs may be of different length.
        unit: Of the values.
        band: `interval` of the mean (2 runs or more), or the `range` of runs.

    Raises:
        ValueError: A value is no finite number.
    """
    given = {arm: [numbers(run, arm) for run in runs] for arm, runs in arms.items()}
    lines = {arm: _over_runs(runs, band) for arm, runs in given.items()}
    runs = {arm: len(found) for arm, found in given.items()}
    return _banded(f"{shown(metric, 60)} over time", lines, unit or shown(metric, 40), BANDS[band], runs)


def _over_runs(runs: Sequence[Sequence[float | None]], band: Band) -> list[Point]:
    points: list[Point] = []
    for cycle in range(max(map(len, runs), default=0)):
        values = [value for run in runs if cycle < len(run) and (value := run[cycle]) is not None]
        if len(values) < 2:
            points.append((cycle + 1, values[0] if values else None, None, None))
        elif band == "range" or min(values) == max(values):
            points.append((cycle + 1, fmean(values), min(values), max(values)))
        else:
            mean = t_mean(values)
            points.append((cycle + 1, mean.value, mean.low, mean.high))
    return points


def opinion_drift(arms: Mapping[str, Mapping[str, Sequence[float | None]]], *, band: str = "") -> Plot:
    """Opinions from -1 to 1, cycle by cycle.

    Args:
        arms: For each arm, or group of people, `mean` by cycle, and if there is a band its `low` and `high`.
        band: What the band is, in words.

    Raises:
        ValueError: A value is no finite number; rows of an arm are not as long as each other.
    """
    lines: dict[str, list[Point]] = {}
    for arm, rows in arms.items():
        middle = numbers(rows["mean"], arm)
        low, high = (numbers(rows.get(key, [None] * len(middle)), arm) for key in ("low", "high"))
        if not len(low) == len(middle) == len(high):
            raise ValueError(f"{shown(arm)}: low and high must have {len(middle)} values, as the mean")
        ends = [(a, b) if a is not None and b is not None else (None, None) for a, b in zip(low, high, strict=True)]
        lines[arm] = [(n, v, *ends[n - 1]) for n, v in enumerate(middle, 1)]
    return _banded("Opinions over time", lines, "opinion, from -1 to 1", band, {}, domain=(-1, 1))


def _banded(
    title: str,
    lines: Mapping[str, Sequence[Point]],
    up: str,
    band: str,
    runs: Mapping[str, int],
    *,
    domain: Sequence[float] | None = None,
) -> Plot:
    columns = (Column("arm"), Column("cycle", "integer"), *(Column(name, "number") for name in ("mean", "low", "high")))
    held = table(columns, ((arm, *point) for arm, points in lines.items() for point in points))
    drawn = {arm: points for arm, points in list(lines.items())[:ARMS_MOST] if any(p[1] is not None for p in points)}
    if not drawn:
        return nothing(title, "no cycle has a value", held)
    said = []
    for arm, points in drawn.items():
        there = [(x, y) for x, y, *_ in points if y is not None]
        way = f"from {number(there[0][1])} to {number(there[-1][1])}" if len(there) > 1 else number(there[0][1])
        n = f" (n = {runs[arm]})" if arm in runs else ""
        said.append(f"{shown(arm)}{n} {way}, cycles {number(there[0][0])} to {number(there[-1][0])}")
    wide = any(point[2] is not None for points in drawn.values() for point in points)
    told = f" The band is {band}." if wide and band else ""
    more = f" {counted(len(lines) - len(drawn), 'other', 'others')} not drawn." if len(lines) > len(drawn) else ""
    inside = (
        domain
        if domain
        and all(v is None or domain[0] <= v <= domain[1] for points in drawn.values() for p in points for v in p[1:])
        else None
    )
    alt = f"{title}: {'; '.join(said)}.{told}{more}"
    return Plot(title, alt, _lines(drawn, "cycle", shown(up, 40), domain=inside), held)


def power_curve(points: Sequence[Mapping[str, Any]], *, wanted: float = 0.8) -> Plot:
    """The power by the number of runs an arm.

    Args:
        points: Mappings with `runs`, and `power` from 0 to 1 with `low` and `high`; `normal` by the approximation.
        wanted: The power that is wanted, drawn as a line across.

    Raises:
        ValueError: A value is no finite number.
    """
    keys = ("power", "low", "high", "normal")
    given = sorted(
        (
            [*numbers([point.get("runs")], "runs"), *numbers([point.get(key) for key in keys], "power")]
            for point in points
        ),
        key=lambda row: row[0] or 0,
    )
    held = table((Column("runs", "number"), *(Column(key, "number") for key in keys)), given)
    there = [row for row in given if row[0] is not None and row[1] is not None]
    title = "Power by the number of runs"
    if not there:
        return nothing(title, "no pilot runs to tell it from", held)
    lines: dict[str, list[Point]] = {"simulated": [(x or 0, y, low, high) for x, y, low, high, _ in there]}
    if any(row[4] is not None for row in there):
        lines["normal approximation"] = [(x or 0, row, None, None) for x, _, _, _, row in there]
    spec = _lines(lines, "runs an arm", "power", domain=(0, 1))
    spec["layer"].insert(
        0,
        {
            "data": {"values": [{}]},
            "mark": {"type": "rule", "color": SOFT, "strokeDash": DASHES[1]},
            "encoding": {"y": {"datum": wanted}},
        },
    )
    enough = next((row for row in there if row[1] is not None and row[1] >= wanted), None)
    reached = f"{number(enough[0])} runs reach" if enough else "none of them reaches"
    alt = (
        f"{title}: from {number(there[0][1])} with {number(there[0][0])} to {number(there[-1][1])} with "
        f"{number(there[-1][0])} runs an arm; {reached} the wanted {wanted * 100:g} %."
        " The band is Wilson's 95 % interval."
    )
    return Plot(title, alt, spec, held)


def cost(rows: Sequence[Mapping[str, Any]]) -> Plot:
    """What calls took, by arm or model: US dollars, or tokens where nothing has a price.

    Args:
        rows: Mappings with `name`, `usd`, `tokens` and `calls`; numbers may be None.

    Raises:
        ValueError: A value is no finite number.
    """
    keys = ("usd", "tokens", "calls")
    names = labels(row.get("name", "") for row in rows)
    given = [numbers([row.get(key) for key in keys], name) for row, name in zip(rows, names, strict=True)]
    held = table(
        (Column("name"), *(Column(key, "number") for key in keys)),
        ((_text(row.get("name")), *values) for row, values in zip(rows, given, strict=True)),
    )
    title = "What it cost"
    which = 0 if any(values[0] for values in given) else 1
    unit = ("US dollars", "tokens")[which]
    if not any(values[which] is not None for values in given):
        return nothing(title, "no call was made", held)
    drawn: list[Row] = [
        {"name": name, "value": values[which] or 0.0, "said": _taken(values)}
        for name, values in zip(names[:60], given, strict=False)
    ]
    span = scale([row["value"] for row in drawn], zero=True)
    side = {"field": "value", "type": "quantitative", "scale": span, "axis": axis(span["domain"], unit)}
    place = {
        "y": {
            "field": "name",
            "type": "nominal",
            "sort": None,
            "axis": {"title": None, "ticks": False},
            "scale": {"paddingInner": 0.45},
        }
    }
    layers: list[Spec] = [
        {"mark": {"type": "bar", "color": SERIES[0], "yOffset": 7, "height": 16}, "encoding": place | {"x": side}},
        {
            "mark": {"type": "text", "align": "left", "dy": -10, "dx": 3},
            "encoding": place | {"x": {"datum": 0}, "text": {"field": "said"}},
        },
    ]
    total = sum(values[which] or 0.0 for values in given)
    most = max(drawn, key=lambda row: row["value"])
    alt = f"{title}: {number(total)} {unit} in all, most for {most['name']} ({most['said']})."
    return Plot(title, alt, chart(layers, rows=drawn, height=46 * len(drawn) + 60), held)


def _taken(values: Sequence[float | None]) -> str:
    usd, tokens, calls = values
    price = "" if usd is None else f"${usd:,.2f}" if usd >= 0.01 or not usd else f"${usd:.2g}"
    told = [
        price,
        f"{number(tokens)} tokens" if tokens is not None else "",
        f"{number(calls)} calls" if calls is not None else "",
    ]
    return ", ".join(filter(None, told))
