"""Plots: what they say is true of the data, they hold nothing but shapes and text, and odd data draws or is refused."""

import random
import re
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from xml.etree.ElementTree import Element

import pytest
from defusedxml.ElementTree import fromstring
from hypothesis import given, settings
from hypothesis import strategies as st

from app.analysis import plots
from app.analysis.graph import Graph, Life, Person, Tie
from app.analysis.plots import CSS, Plot
from app.analysis.plots.plot import SERIES, SVG, _clean, labels, number, shown
from app.analysis.tables import from_csv

ELEMENTS = {"svg", "title", "desc", "g", "path", "line", "rect", "text", "tspan", "circle", "clipPath", "defs"}
HOSTILE = [
    "</svg><script>alert(1)</script>",
    "x" * 10_000,
    "\u202eevil\u2066 שלום عربى",
    "a\x00b\x1b\ud800",
    "]]> & <![CDATA[ \" ' `${1}` datum['x']",
    "a.b[0]\\n",
    "",
]
EVEN = [0.1, 0.2, 0.3, 0.4]


def a_graph(*ties: tuple[int, int], names: list[str] | None = None) -> Graph:
    life = Life(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC), 3600, 24)
    handles = names or [f"p{n}" for n in range(6)]
    people = [Person(n, handle, "", "left" if n % 2 else "right", 0, False, 0) for n, handle in enumerate(handles)]
    return Graph("follows", life, people, [Tie(a, b, (1,), (1,)) for a, b in ties], len(people), len(ties))


def some(name: str = "treated") -> dict[str, Plot]:
    """One of each kind; `name` stands wherever somebody else's words can."""
    ends = {"value": 0.2, "low": 0.1, "high": 0.3}
    arms: dict[str, list[float | None]] = {name: [0.2, 0.4, None, 0.6], "control": [0.1, 0.2, 0.3, 0.3]}
    return {
        "activity": plots.activity(
            [{"run": name, "at": None, "posts": n, "likes": 2 * n, "active": 3} for n in range(5)]
        ),
        "distributions": plots.distributions(name, arms, name, {name: (0.1, 0.7)}, paired=True),
        "differences": plots.differences(
            [{"outcome": name, "arm": name, "control": "c", "unit": name, "p": 0.04, **ends}]
        ),
        "network": plots.network(a_graph((0, 1), (1, 0), (2, 0), names=[name, *"abcde"])),
        "opinion_drift": plots.opinion_drift({name: {"mean": [0, 0.1], "low": [-1, 0], "high": [0.5, 0.6]}}, band=name),
        "over_time": plots.over_time(name, {name: [[1, 2, 3], [2, 3, None]], "control": [[1, 1, 1]]}, name),
        "cost": plots.cost([{"name": name, "usd": 1.5, "tokens": 1000, "calls": 3}]),
        "power_curve": plots.power_curve([{"runs": n, "power": n / 20, "low": 0.1, "high": 0.9} for n in (5, 18)]),
        "sensitivity": plots.sensitivity([{"name": name, **ends}], mean=ends, unit=name),
        "human_comparison": plots.human_comparison([1, 2, 2, 3], [1, 1, 2, 4], name),
    }


def parsed(plot: Plot) -> Element:
    root: Element = fromstring(plot.svg())
    return root


def words(plot: Plot) -> str:
    return " ".join("".join(one.itertext()) for one in parsed(plot).iter(f"{{{SVG}}}text"))


def check_safe(plot: Plot) -> None:
    """Nothing in it runs, loads or styles."""
    root = parsed(plot)
    ids = [found for one in root.iter() if (found := one.get("id"))]
    assert len(ids) == len(set(ids))
    for one in root.iter():
        assert one.tag.removeprefix(f"{{{SVG}}}") in ELEMENTS
        for name, value in one.attrib.items():
            assert not name.startswith("on")
            assert name not in ("style", "href", "src", "{http://www.w3.org/1999/xlink}href")
            assert "url(" not in value or re.fullmatch(r"url\(#([\w-]+)\)", value)[1] in ids  # type: ignore[index]
    assert root.get("role") == "img"
    title, desc = root.find(f"{{{SVG}}}title"), root.find(f"{{{SVG}}}desc")
    assert title is not None
    assert desc is not None
    assert root.get("aria-labelledby") == f"{title.get('id')} {desc.get('id')}"
    assert title.text
    assert desc.text


@pytest.mark.parametrize("kind", some())
def test_every_plot_is_safe_says_what_it_shows_and_is_the_same_again(kind: str) -> None:
    plot, again = some()[kind], some()[kind]
    check_safe(plot)
    assert plot.svg() == plot.svg() == again.svg()
    png = plot.png()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert png == again.png()
    width, height = (int.from_bytes(png[at : at + 4]) for at in (16, 20))
    root = parsed(plot)
    assert (width, height) == (round(2 * float(root.get("width", 0))), round(2 * float(root.get("height", 0))))
    assert len(from_csv(plot.csv(), plot.table.columns).rows) == len(plot.table.rows) > 0
    assert re.search(r"\d", plot.alt)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text_and_nothing_else(name: str) -> None:
    for kind, plot in some(name).items():
        check_safe(plot)
        assert kind != "distributions" or plot.png().startswith(b"\x89PNG")
        assert len(plot.svg()) < 60_000
        assert not re.search("[\u202a-\u202e\u2066-\u2069]", plot.svg())


def test_what_is_not_known_as_harmless_is_left_out() -> None:
    """The sieve itself, for no drawing of ours holds any of it."""
    drawn = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:x="http://www.w3.org/1999/xlink" width="9" height="9">'
        '<script>alert(1)</script><image x:href="http://example.org/x.png"/><foreignObject><p/></foreignObject>'
        '<style>*{}</style><a x:href="javascript:1"><path d="M1 1" fill="red"/></a>'
        '<path d="M2 2" fill="red" onclick="alert(1)" style="x:y"/></svg>'
    )
    found = _clean(drawn, "t", "a")
    assert 'd="M2 2"' in found
    assert not re.search("script|image|foreign|style|href|onclick|M1 1", found)


def test_plots_in_one_page_share_no_ids() -> None:
    seen: set[str] = set()
    for plot in some().values():
        own = set(re.findall(r'\bid="([^"]+)"', plot.svg()))
        assert own
        assert not own & seen
        seen |= own


def test_distributions_tell_means_intervals_and_what_is_missing() -> None:
    plot = plots.distributions("gini", {"a": [0.2, 0.4, None], "b": [0.5, 0.5, 0.8]}, "index", {"a": (0.1, 0.5)})
    assert "a: mean 0.3 index, 95 % interval 0.1 to 0.5, from 0.2 to 0.4 over 2 runs, 1 missing" in plot.alt
    assert "b: mean 0.6 index, from 0.5 to 0.8 over 3 runs" in plot.alt
    assert {"a (n = 2)", "b (n = 3)"} <= {"".join(one.itertext()) for one in parsed(plot).iter(f"{{{SVG}}}text")}
    assert [row for row in plot.table.rows if row[2] is None] == [("a", 3, None)]


def drawn_paths(plot: Plot, look: str) -> int:
    return sum(look in one.get("class", "") for one in parsed(plot).iter(f"{{{SVG}}}path"))


def test_every_run_is_a_dot_and_seeds_are_linked_where_paired() -> None:
    arms: dict[str, list[float | None]] = {"a": [1, 2, 3, 4, 5], "b": [2, 3, None, 5, 6]}
    paired, apart = (plots.distributions("x", arms, paired=one) for one in (True, False))
    assert (drawn_paths(apart, "fill-s1"), drawn_paths(apart, "fill-s2")) == (5, 4)
    assert drawn_paths(paired, "stroke-soft") - drawn_paths(apart, "stroke-soft") == 4


def test_differences_count_what_leaves_out_zero_and_show_the_corrected_p() -> None:
    rows: list[dict[str, Any]] = [
        {
            "outcome": "gini",
            "arm": "a",
            "control": "c",
            "value": 0.2,
            "low": 0.1,
            "high": 0.3,
            "p": 0.0123,
            "unit": "index",
        },
        {
            "outcome": "length",
            "arm": "a",
            "control": "c",
            "value": 40,
            "low": -5,
            "high": 85,
            "p": None,
            "unit": "words",
        },
        {
            "outcome": "none",
            "arm": "a",
            "control": "c",
            "value": None,
            "low": None,
            "high": None,
            "p": None,
            "unit": "",
        },
    ]
    plot = plots.differences(rows)
    assert "1 of 3 95 % intervals leave out 0" in plot.alt
    assert "1 has no value" in plot.alt
    assert "0.2 (0.1 to 0.3), p 0.0123" in words(plot)
    assert "each outcome by itself" in words(plot)
    assert "difference (index)" in words(plots.differences(rows[:1]))


def test_over_time_says_what_the_band_is() -> None:
    arms = {"a": [[1.0, 2.0], [3.0, 4.0]]}
    inside, whole = plots.over_time("m", arms), plots.over_time("m", arms, band="range")
    assert "a (n = 2) from 2 to 3" in inside.alt
    assert "Student's t" in inside.alt
    assert "lowest to the highest run" in whole.alt
    assert whole.table.rows[0] == ("a", 1, 2.0, 1.0, 3.0)
    low, high = inside.table.rows[0][3:]
    assert (round(low, 3), round(high, 3)) == (2 - 12.706, 2 + 12.706)
    assert "band" not in plots.over_time("m", {"a": [[1.0, 2.0]]}).alt


def test_other_plots_tell_their_main_facts() -> None:
    told = some()
    assert "5 cycles with 10 posts, 20 likes; 3 active a cycle. The most happened in cycle 5" in told["activity"].alt
    assert "6 personas, 3 ties. Ahead: @treated (2)" in told["network"].alt
    assert "18 runs reach the wanted 80 %" in told["power_curve"].alt
    assert "none of them reaches the wanted 80 %" in plots.power_curve([{"runs": 9, "power": 0.79}]).alt
    assert "1.5 US dollars in all" in told["cost"].alt
    assert "tokens in all" in plots.cost([{"name": "offline", "usd": 0, "tokens": 5, "calls": 1}]).alt
    assert "mean 2; the line is 4 values of personas, mean 2" in told["human_comparison"].alt
    assert "Their shares differ by 50 %" in told["human_comparison"].alt


EMPTY: list[tuple[Callable[[], Plot], str]] = [
    (lambda: plots.activity([]), "no cycle was played"),
    (lambda: plots.distributions("x", {}), "no run has a value"),
    (lambda: plots.distributions("x", {"a": [None, None]}), "no run has a value"),
    (lambda: plots.differences([]), "no difference can be told"),
    (lambda: plots.network(a_graph()), "nothing of it yet"),
    (lambda: plots.opinion_drift({"a": {"mean": [None]}}), "no cycle has a value"),
    (lambda: plots.over_time("x", {"a": [[]]}), "no cycle has a value"),
    (lambda: plots.cost([]), "no call was made"),
    (lambda: plots.power_curve([]), "no pilot runs"),
    (lambda: plots.sensitivity([]), "no difference can be told"),
    (lambda: plots.human_comparison([], [1]), "no values of both"),
]


@pytest.mark.parametrize("made", EMPTY)
def test_no_data_gives_a_plot_that_says_so(made: tuple[Callable[[], Plot], str]) -> None:
    plot = made[0]()
    check_safe(plot)
    assert made[1] in words(plot)
    assert made[1] in plot.alt


@pytest.mark.parametrize("values", [[5.0], [5.0] * 4, [0.0, 0.0], [1e100, -1e100], [1e-300, 2e-300], [1e15, 1e15 + 1]])
def test_few_same_and_huge_values_are_drawn(values: list[float]) -> None:
    for plot in (
        plots.distributions("x", {"a": values, "b": values}, paired=True),
        plots.over_time("x", {"a": [values, values]}),
        plots.human_comparison(values, values),
        plots.differences([{"outcome": "x", "arm": "a", "value": v, "low": v, "high": v} for v in values]),
    ):
        check_safe(plot)
        assert "NaN" not in plot.svg()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e101, "7", True])
def test_what_is_no_finite_number_is_refused_with_its_place(bad: float) -> None:
    works: tuple[Callable[[], Plot], ...] = (
        lambda: plots.distributions("x", {"a": [1, bad]}),
        lambda: plots.distributions("x", {"a": [1]}, intervals={"a": (0, bad)}),
        lambda: plots.over_time("x", {"a": [[1, bad]]}),
        lambda: plots.activity([{"posts": 1}, {"posts": bad}]),
        lambda: plots.human_comparison([1, bad], [1]),
        lambda: plots.power_curve([{"runs": 5, "power": bad}]),
    )
    for work in works:
        with pytest.raises(ValueError, match=r"value \d: must be a"):
            work()


def test_a_thousand_runs_are_all_there() -> None:
    draw = random.Random(4)
    plot = plots.distributions("x", {"a": [draw.gauss() for _ in range(1000)], "b": [0.0] * 1000}, paired=True)
    check_safe(plot)
    assert (drawn_paths(plot, "fill-s1"), drawn_paths(plot, "fill-s2")) == (1000, 1000)
    assert "over 1,000 runs" in plot.alt


def test_many_arms_are_told_of_where_they_are_not_drawn() -> None:
    plot = plots.distributions("x", {f"arm {n}": [n] for n in range(30)})
    assert "6 more arms are in the table" in plot.alt
    assert len(plot.table.rows) == 30


def lightness(colour: str) -> float:
    """CIELAB L*."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    y = sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return float(116 * y ** (1 / 3) - 16)


def test_colours_differ_in_grey_in_both_themes() -> None:
    both = [re.findall(rf"\.fill-s{n} {{ fill: light-dark\((#\w+), (#\w+)\)", CSS)[0] for n in range(1, 6)]
    assert [light for light, _ in both] == list(SERIES)
    for theme in zip(*both, strict=True):
        found = sorted(map(lightness, theme))
        assert min(b - a for a, b in pairwise(found)) > 7, theme
    assert lightness("#777777") - lightness("#767676") < 7


def test_names_that_look_the_same_stay_apart() -> None:
    assert labels(["a", "a", "x" * 40, "x" * 50]) == ["a", "a (2)", "x" * 25 + "…", "x" * 25 + "… (2)"]
    plot = plots.distributions("x", {"x" * 40: EVEN, "x" * 50: EVEN})
    assert drawn_paths(plot, "fill-s2") == 4


@settings(max_examples=60)
@given(st.text())
def test_shown_texts_are_short_and_in_one_line(text: str) -> None:
    found = shown(text)
    assert len(found) <= 26
    assert not re.search("[\x00-\x1f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", found)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "none"),
        (0, "0"),
        (0.12346, "0.1235"),
        (1234.5, "1,234"),
        (123456, "123,456"),
        (1e-9, "1e-09"),
        (-2e12, "-2e+12"),
    ],
)
def test_numbers_for_people(value: float | None, told: str) -> None:
    assert number(value) == told


def test_a_notebook_gets_the_picture() -> None:
    plot = some()["cost"]
    assert plot._repr_svg_() == plot.svg()
    assert plot.svg() in plot._repr_html_()
    assert "<script>" not in Plot("<script>", "a", plot.spec, plot.table)._repr_html_()
