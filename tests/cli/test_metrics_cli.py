"""`simfeed metrics`."""

import csv
import io
from collections.abc import AsyncIterator

import pytest

from app.analysis.catalogue import METRICS
from app.cli.metrics import numbers
from app.errors import Invalid
from tests.analysis.test_measuring import WORLD
from tests.cli.test_cli import data, simfeed
from tests.conftest import copy_of, run_sql


@pytest.fixture(scope="module")
async def world(server_url: str, template: str) -> AsyncIterator[str]:
    """The small world of tests/analysis/test_measuring.py."""
    async with copy_of(server_url, template) as url:
        await run_sql(url, WORLD)
        yield url


def test_a_table_goes_by_families_and_tells_limits_and_what_is_missing(world: str) -> None:
    shown = simfeed(world, "metrics")
    assert shown.returncode == 0, shown.stderr
    assert all(name in shown.stdout for name in METRICS)
    assert "needs 50 words" in shown.stdout
    assert "toxicity_share: Weak" in shown.stderr
    assert "4 personas, 4 posts" in shown.stdout
    assert "NETWORK" in shown.stdout


def test_data_as_json_and_csv(world: str) -> None:
    found = data(simfeed(world, "metrics", "density", "cost_usd", "--json"))
    assert found["values"] == {"density": 0.25, "cost_usd": None}
    assert found["why"] == {"cost_usd": "needs a price for every model call"}
    assert found["counts"]["posts"] == 4
    rows = list(csv.DictReader(io.StringIO(simfeed(world, "metrics", "density", "--csv").stdout)))
    assert [list(row.values()) for row in rows] == [["density", "network", "share", "0.25", "1", "", ""]]
    assert list(rows[0]) == ["metric", "family", "unit", "value", "version", "why", "alarm"]


def test_runs_and_since(world: str) -> None:
    one = data(simfeed(world, "metrics", "calls", "--runs", "1", "--json"))
    assert (one["values"], one["counts"]["runs"]) == ({"calls": 3.0}, 1)
    assert data(simfeed(world, "metrics", "calls", "--runs", "1-2,3", "--json"))["values"] == {"calls": 6.0}
    assert data(simfeed(world, "metrics", "calls", "--since", "1", "--json"))["values"] == {"calls": 3.0}


def test_by_run(world: str) -> None:
    rows = list(csv.DictReader(io.StringIO(simfeed(world, "metrics", "density", "--by-run", "--csv").stdout)))
    assert [(row["run"], row["posts"], row["usd"]) for row in rows] == [("1", "2", "0.75"), ("3", "1", "")]
    assert "density" in rows[0]
    assert [row["run"] for row in data(simfeed(world, "metrics", "--by-run", "--json", "--since", "1"))] == [3]
    assert "active" in simfeed(world, "metrics", "--by-run", COLUMNS="160").stdout


def test_the_list_needs_no_world() -> None:
    shown = simfeed("postgresql://nobody@127.0.0.1:1/none", "metrics", "--list")
    assert shown.returncode == 0, shown.stderr
    for one in METRICS.values():
        assert one.formula in shown.stdout
        assert one.source in shown.stdout
        assert one.limits in shown.stdout
    listed = data(simfeed("postgresql://nobody@127.0.0.1:1/none", "metrics", "--list", "--json", "density"))
    assert [(one["name"], one["family"], one["version"]) for one in listed] == [("density", "network", 1)]


WRONG = {
    "unknown metric": (("metrics", "densty"), "did you mean density"),
    "unknown run": (("metrics", "--runs", "99"), "number 99"),
    "no number": (("metrics", "--runs", "1,x"), "item 2"),
    "runs by run": (("metrics", "--by-run", "--runs", "1"), "--since"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_line(world: str, case: str) -> None:
    words, hint = WRONG[case]
    found = simfeed(world, *words)
    assert (found.returncode, found.stderr.count("\n"), found.stdout) == (2, 1, ""), found.stderr
    assert hint in found.stderr


def test_runs_are_numbers_and_ranges() -> None:
    assert numbers(None) is None
    assert numbers("3") == [3]
    assert numbers("7, 3-5,4") == [3, 4, 5, 7]


@pytest.mark.parametrize(
    "text", ["", "5-3", "1-99999999999", "0", "-1", "1-", "²", "9" * 5000, "1--2", "1-60000,60001-120000", "٣"]
)
def test_what_is_no_run_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(Invalid, match=r"--runs: item \d: must"):
        numbers(text)
