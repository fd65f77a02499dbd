"""Every metric of a world says what it is, has a test with a known answer, and stands in the docs."""

import ast
import importlib
import re
import subprocess
import sys
from importlib.metadata import distribution, version
from pathlib import Path

import pytest

from app.analysis.cascades import cascades, summary
from app.analysis.catalogue import METRICS, SCORER, Metric

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "metrics-of-worlds.md"
KNOWN = "test_known_"
EACH = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


def known_answers() -> set[str]:
    """The names of all tests that begin with `test_known_` and assert something."""
    found = set()
    for file in Path(__file__).parent.glob("test_world_*.py"):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef) and any(isinstance(one, ast.Assert) for one in ast.walk(node)):
                found.add(node.name)
    return {name.removeprefix(KNOWN) for name in found if name.startswith(KNOWN)}


def row(metric: Metric) -> str:
    """A metric as the page has it."""
    low, high = ("" if end is None else f"{end:g}" for end in metric.bounds)
    bounds = f"{low} to {high}" if high else f"{low} on"
    formula = metric.formula.replace("|", "∣")
    return (
        f"| `{metric.name}` | {metric.family} | {formula} | {metric.unit} | {bounds} | {metric.better or ''} |"
        f" {metric.version} | `{metric.where}` | {metric.source} | {metric.needs} |"
    ).replace("|  |", "| |")


@EACH
def test_a_metric_says_what_it_is(metric: Metric) -> None:
    assert re.fullmatch("[a-z][a-z0-9_]*", metric.name)
    assert all((metric.unit, metric.formula, metric.source, metric.needs))
    assert metric.version >= 1
    low, high = metric.bounds
    assert low is not None
    assert high is None or low < high


@EACH
def test_a_metric_is_reckoned_where_it_says(metric: Metric) -> None:
    module, function = metric.where.split(".")
    assert callable(getattr(importlib.import_module(f"app.analysis.{module}"), function))


def test_each_metric_has_a_known_answer_and_each_known_answer_a_metric() -> None:
    assert known_answers() == set(METRICS)


def test_the_page_lists_exactly_these() -> None:
    assert [line for line in PAGE.read_text().splitlines() if line.startswith("| `")] == [*map(row, METRICS.values())]


def test_cascades_give_what_is_listed_for_them() -> None:
    assert list(summary(cascades([-1]))) == [one.name for one in METRICS.values() if one.where == "cascades.summary"]


def test_the_page_tells_the_limits_of_each_that_has_any() -> None:
    text = " ".join(PAGE.read_text().split())
    for metric in METRICS.values():
        assert metric.limits in text, metric.name


def test_the_weak_scorer_says_that_it_is_weak() -> None:
    assert METRICS["toxicity_share"].limits.startswith("Weak")
    assert "eight right" in METRICS["sentiment_mean"].limits


def test_the_scorer_is_the_one_that_the_catalogue_names() -> None:
    assert f"{distribution('vaderSentiment').metadata['Name']} {version('vaderSentiment')}" == SCORER


def test_names_alone_need_no_numpy() -> None:
    code = "import sys, app.analysis.catalogue; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
