"""What all plots share: one picture as SVG and PNG, its words and its table, colours, labels and scales.

Specs are Vega-Lite as plain dicts, drawn by vl-convert with the network off. A spec names only fields that this package
chose; names of arms and people are data in it, never code.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from html import escape
from math import isfinite
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement, register_namespace, tostring

from defusedxml.ElementTree import fromstring

from app.analysis.comparing import LARGEST
from app.analysis.graph import printable
from app.analysis.kept import Kept
from app.analysis.tables import Column, Table, to_csv

CSS: Final = (Path(__file__).parent / "plots.css").read_text()
"""The look of plots in light and dark pages. Without it a plot stands on white in its own colours."""

WIDTH: Final = 560
INK, SOFT, GRID, PAPER = "#221c15", "#665b4c", "#ddd3c3", "#ffffff"
SERIES: Final = ("#0b62a4", "#e87304", "#2b0f63", "#1f8a4c", "#8c1246")
"""In this order their lightness (CIELAB) is 40, 61, 14, 51, 31, so that they differ in grey; each has 3 : 1 on white.
`plots.css` has their like for dark."""

SHAPES: Final = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
DASHES: Final[Sequence[list[int]]] = ([], [7, 4], [2, 3], [9, 3, 2, 3], [12, 4], [4, 2], [1, 4])
NAME_MOST: Final = 26
ARMS_MOST: Final = 24
POINTS_MOST: Final = 20_000
"""Numbers that are drawn at most: more can't be told apart."""

DRAWN: Final = Kept(32_000_000)
"""Pictures that were drawn, as SVG: one takes 0.05 to 1 s, and pages, reports and files show the same ones."""

FONT: Final = "Arial, Helvetica, sans-serif"
SVG: Final = "http://www.w3.org/2000/svg"
Spec = dict[str, Any]
Row = dict[str, Any]

_CLASSES = {INK: "ink", SOFT: "soft", GRID: "grid", PAPER: "paper"} | {c: f"s{n}" for n, c in enumerate(SERIES, 1)}
_KEPT = frozenset(
    {"d", "transform", "fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "stroke-linejoin"}
    | {"opacity", "fill-opacity", "stroke-opacity", "stroke-miterlimit", "x", "y", "x1", "x2", "y1", "y2", "width"}
    | {"height", "cx", "cy", "r", "font-family", "font-size", "font-weight", "font-style", "text-anchor", "id"}
    | {"clip-path", "paint-order", "dy", "dx", "direction"}
)
_TAGS = frozenset({"g", "path", "line", "rect", "text", "tspan", "circle", "clipPath", "defs", "title"})
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_URL = re.compile(r"url\(#([\w-]+)\)")
register_namespace("", SVG)

ROW: Final[Spec] = {
    "field": "name",
    "type": "nominal",
    "sort": None,
    "axis": {"title": None, "domain": False, "ticks": False},
}
"""Names down the side."""

_AXIS = {
    "labelColor": INK,
    "titleColor": INK,
    "titleFontWeight": "normal",
    "labelFontSize": 12,
    "titleFontSize": 12,
    "domainColor": SOFT,
    "tickColor": SOFT,
    "gridColor": GRID,
    "labelLimit": 190,
    "titleLimit": 420,
    "titlePadding": 8,
    "labelFont": FONT,
    "titleFont": FONT,
    "labelPadding": 5,
}
_LEGEND = {
    "labelColor": INK,
    "titleColor": INK,
    "orient": "top",
    "title": None,
    "labelFontSize": 12,
    "symbolSize": 90,
    "symbolStrokeWidth": 2,
    "symbolOpacity": 1,
    "labelLimit": 190,
    "labelFont": FONT,
    "columnPadding": 16,
    "columns": 3,
    "offset": 12,
}
CONFIG: Final[Spec] = {
    "background": PAPER,
    "font": FONT,
    "axis": _AXIS,
    "legend": _LEGEND,
    "view": {"stroke": None},
    "text": {"color": INK, "font": FONT, "fontSize": 12},
}


@dataclass(frozen=True)
class Plot:
    """A picture of some data.

    `alt` tells its main facts in words and numbers, `table` holds all the numbers it shows (more than are drawn, where
    they are too many), `spec` is Vega-Lite; `drawing` an SVG in its place, where a plot is no chart.
    """

    title: str
    alt: str
    spec: Spec = field(repr=False)
    table: Table = field(repr=False)
    drawing: str = field(default="", repr=False)

    def svg(self) -> str:
        """An SVG that may stand in a page or alone: no script, style, reference or event; the same for the same data.

        Ids begin with a hash of the picture, so that many stand in one page.
        """
        return self._svg

    @cached_property
    def _svg(self) -> str:
        given = repr((self.title, self.alt, self.drawing or self.spec)).encode("utf-8", "backslashreplace")
        return DRAWN.of(given, lambda: self._made().encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")

    def _made(self) -> str:
        import vl_convert  # 0.07 s, and 0.6 s with the first picture

        drawn = self.drawing or vl_convert.vegalite_to_svg(self.spec, vl_version="6.4", allowed_base_urls=[])
        return _clean(drawn, self.title, self.alt)

    def png(self, scale: float = 2) -> bytes:
        """The picture as pixels on white, `scale` times its size."""
        import vl_convert

        return bytes(vl_convert.svg_to_png(self.svg(), scale=scale))

    def csv(self) -> bytes:
        """The numbers that it shows, as `tables.to_csv` has them."""
        return to_csv(self.table)

    def _repr_svg_(self) -> str:
        return self.svg()

    def _repr_html_(self) -> str:
        return f"<figure>{self.svg()}<figcaption>{escape(self.title)}</figcaption></figure>"


def _clean(drawn: str, title: str, alt: str) -> str:
    """The drawing with nothing in it but shapes and text, its title and what it tells."""
    source = fromstring(drawn)
    whole = "\0".join((re.sub(r"clip\d+", "clip", drawn), title, alt))
    mark = "p" + blake2b(whole.encode("utf-8", "replace"), digest_size=5).hexdigest()
    width, height = (float(source.get(name, 0)) for name in ("width", "height"))
    root = Element(
        f"{{{SVG}}}svg",
        {
            "class": "plot",
            "role": "img",
            "aria-labelledby": f"{mark}-t {mark}-d",
            "width": f"{width:g}",
            "height": f"{height:g}",
            "viewBox": source.get("viewBox", f"0 0 {width:g} {height:g}"),
        },
    )
    SubElement(root, f"{{{SVG}}}title", {"id": f"{mark}-t"}).text = shown(title, 300)
    SubElement(root, f"{{{SVG}}}desc", {"id": f"{mark}-d"}).text = shown(alt, 3_000)
    ids: dict[str, str] = {}
    for found in source.iter():
        if name := found.get("id"):
            ids[name] = f"{mark}-{len(ids)}"
    for child in source:
        _copy(child, root, ids)
    return tostring(root, encoding="unicode")


def _copy(source: Element, into: Element, ids: Mapping[str, str]) -> None:
    tag = source.tag.rpartition("}")[2]
    if tag not in _TAGS or source.get("display") == "none" or (tag == "path" and not _draws(source)):
        return
    made = SubElement(into, f"{{{SVG}}}{tag}")
    looks = []
    for name, value in source.attrib.items():
        if name not in _KEPT:
            continue
        if name == "id":
            value = ids[value]
        elif "url(" in value:
            value = _URL.sub(lambda found: f"url(#{ids[found[1]]})", value)
        elif name in ("fill", "stroke"):
            value = {"white": PAPER, "transparent": "none"}.get(value, value)
            looks += [f"{name}-{_CLASSES[value]}"] if value in _CLASSES else []
        made.set(name, value)
    if looks:
        made.set("class", " ".join(looks))
    made.text = source.text if tag in ("text", "tspan", "title") else None
    for child in source:
        _copy(child, made, ids)
    if tag in ("g", "defs") and not len(made):
        into.remove(made)


def _draws(path: Element) -> bool:
    """Whether a path is more than the empty frame that Vega puts around everything."""
    seen = any(path.get(name, "none") not in ("none", "transparent") for name in ("fill", "stroke"))
    clips = path.get("d") not in (None, "", "M0,0h0v0h0Z")
    return clips and (seen or not {"fill", "stroke", "class"} & set(path.attrib))


def shown(text: object, most: int = NAME_MOST) -> str:
    """A text as a plot shows it: in one line, at most `most` characters, nothing that turns the text around it."""
    whole = " ".join(printable(_BIDI.sub("", str(text)[: 20 * most])).split())
    return whole if len(whole) <= most else whole[: most - 1].rstrip() + "…"


def labels(names: Iterable[object], most: int = NAME_MOST) -> list[str]:
    """`shown` names, each different: those that look the same are numbered."""
    found: list[str] = []
    for name in names:
        label, n = shown(name, most) or "(no name)", 2
        plain = label
        while label in found:
            label, n = f"{plain} ({n})", n + 1
        found.append(label)
    return found


def numbers(values: Sequence[float | None], what: str) -> list[float | None]:
    """Values as they are.

    Raises:
        ValueError: one is NaN, infinite, beyond `LARGEST`, or no number.
    """
    for place, value in enumerate(values, 1):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ValueError(f"{shown(what)}: value {place}: must be a number or None, not {shown(repr(value))}")
        if value is not None and not (isfinite(value) and abs(value) <= LARGEST):
            raise ValueError(f"{shown(what)}: value {place}: must be a finite number or None, not {value}")
    return [None if value is None else float(value) for value in values]


def number(value: float | None) -> str:
    """A number for people: four digits, with commas; `none` where there is none."""
    if value is None:
        return "none"
    if value and not 1e-4 <= abs(value) < 1e9:
        return f"{value:.3g}"
    whole = f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return whole if "e" not in whole else f"{value:,.0f}"


def between(low: float | None, high: float | None) -> str:
    """An interval for people; empty where there is none."""
    return "" if low is None or high is None else f"{number(low)} to {number(high)}"


def in_unit(what: str, unit: str) -> str:
    """An axis' title: what it shows, and in which unit."""
    return shown(what, 40) + (f" ({shown(unit, 20)})" if unit else "")


def counted(n: int, what: str, many: str = "") -> str:
    """`1 run`, `2 runs`."""
    return f"{n:,} {what if n == 1 else many or what + 's'}"


def scale(values: Iterable[float | None], *, zero: bool = False, room: float = 0.05) -> Spec:
    """A scale that holds all values with some room, a share of their span, also where they are all the same."""
    there = [value for value in values if value is not None]
    low, high = (min(there), max(there)) if there else (0.0, 1.0)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    more = (high - low) * room or max(abs(high) * 0.1, 0.5)
    ends = [low if zero and low == 0 else low - more, high if zero and high == 0 else high + more]
    return {"domain": ends, "nice": max(abs(low), abs(high)) < 1e15, "zero": False}


def axis(values: Iterable[float | None], title: str, **more: Any) -> Spec:
    """An axis of values whose numbers are short."""
    most = max((abs(value) for value in values if value is not None), default=0.0)
    form = {} if 1e-3 <= most < 1e5 or not most else {"format": "~s" if 1 <= most < 1e15 else ".2~e"}
    return {"title": title, "tickCount": 6, **form, **more}


def inked(names: Sequence[str], *, shape: bool = False, dash: bool = False) -> Spec:
    """Encodings that tell names apart: by colour, and by shape and dash for who sees none."""
    rounds = range(len(names))

    def by(found: Sequence[Any]) -> Spec:
        ranged = {"domain": list(names), "range": [found[n % len(found)] for n in rounds]}
        return {"field": "name", "type": "nominal", "scale": ranged, "sort": None}

    there = {"color": by(SERIES)}
    if shape:
        there["shape"] = by(SHAPES)
    if dash:
        there["strokeDash"] = by(DASHES)
    if len(names) < 2:
        there["color"]["legend"] = None
        there |= {key: one | {"legend": None} for key, one in there.items()}
    return there


def chart(layers: Sequence[Spec], *, height: int, rows: Sequence[Row] = (), width: int = WIDTH) -> Spec:
    """A whole spec of layers over the same rows."""
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": width,
        "height": height,
        "autosize": {"type": "fit", "contains": "padding"},
        "padding": 6,
        "config": CONFIG,
        "data": {"values": list(rows)},
        "layer": list(layers),
    }


def nothing(title: str, why: str, table: Table) -> Plot:
    """A plot that says there is nothing to show."""
    words = {"mark": {"type": "text", "fontSize": 14}, "encoding": {"text": {"value": why}}}
    return Plot(title, f"{title}: {why}.", chart([words], height=90, rows=[{}]), table)


def table(columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> Table:
    """A table whose texts can be written to any file."""
    cells = (tuple(printable(cell) if isinstance(cell, str) else cell for cell in row) for row in rows)
    return Table(tuple(columns), tuple(cells))
