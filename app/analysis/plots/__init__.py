"""Plots of worlds and experiments as SVG and PNG, the same for pages, reports and notebooks (docs/plots.md)."""

from app.analysis.plots.effects import differences, sensitivity
from app.analysis.plots.lines import activity, cost, opinion_drift, over_time, power_curve
from app.analysis.plots.network import network
from app.analysis.plots.people import human_comparison
from app.analysis.plots.plot import CSS, Plot
from app.analysis.plots.runs import distributions

__all__ = [
    "CSS",
    "Plot",
    "activity",
    "cost",
    "differences",
    "distributions",
    "human_comparison",
    "network",
    "opinion_drift",
    "over_time",
    "power_curve",
    "sensitivity",
]
