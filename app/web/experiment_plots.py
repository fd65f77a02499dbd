"""The plots of an experiment by their names, from the report's own sections."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

from app.analysis.plots import Plot, differences
from app.analysis.report.experiment import experiment_page
from app.analysis.report.outcomes import effects, listed
from app.analysis.report.page import Figure, Page, Section

Name = Literal["differences", "distributions", "over_time", "sensitivity", "power", "cost", "people"]
NAMES: tuple[Name, ...] = get_args(Name)
SECTIONS: Mapping[Name, str] = {
    "differences": "Outcomes",
    "distributions": "Every run",
    "over_time": "Over time",
    "sensitivity": "Sensitivity",
    "power": "Power",
    "cost": "Cost",
    "people": "Beside people",
}
"""The section of the report in which plots of a name stand."""


def drawn(data: Mapping[str, Any]) -> list[tuple[Name, str, Plot]]:
    """All plots of what `results` tells, with name and outcome; the outcome is empty where a plot is of all of them."""
    page = experiment_page(data)
    return [(name, outcome, plot) for name in NAMES for outcome, plot in _of(name, page, data)]


def _of(name: Name, page: Page, data: Mapping[str, Any]) -> Iterator[tuple[str, Plot]]:
    found = next((one for one in page.sections if one.title == SECTIONS[name]), None)
    plots = _plots(found)
    match name:
        case "differences" if found:
            yield "", differences(effects(listed(data, "outcomes")))
        case "distributions":
            yield from zip((str(one["name"]) for one in data.get("outcomes") or ()), plots, strict=False)
        case "over_time":
            yield from zip(map(str, data.get("series") or {}), plots, strict=False)
        case "sensitivity" | "people":
            rows = list(data.get("human" if name == "people" else name) or ())
            if name == "people":
                rows = [one for one in rows if one.get("simulated") and one.get("people")]
            yield from zip((str(one.get("outcome", "")) for one in rows), plots, strict=False)
        case _:
            yield from (("", plot) for plot in plots[:1])


def _plots(section: Section | None) -> list[Plot]:
    return [part.plot for part in section.parts if isinstance(part, Figure)] if section else []
