"""`simfeed bench metrics` and `bench statistics`, small: their figures are there and plausible."""

import pytest

from app.analysis.catalogue import METRICS
from app.analysis.comparing import arm_of, compare
from app.cli.bench import chances, misses
from app.streams import stream
from tests.cli.test_cli import data, simfeed

WANTED = chances.Wanted(6, 1, 3, 1)


def test_a_world_is_measured_whole(server_url: str) -> None:
    given = ("--posts", "500", "--edges", "2000", "--personas", "60", "--runs", "2", "--json")
    found = data(simfeed(server_url, "bench", "metrics", *given))
    assert found["counts"] | {"follows": 0} == {
        "personas": 60, "posts": 500, "comments": 500, "likes": found["world"]["likes"], "follows": 0,
        "exposures": 1200, "runs": 2,
    }  # fmt: skip
    assert found["targets"][1]["figure"] == found["world"]["likes"] + found["world"]["follows"] > 1000
    assert (set(found["each_seconds"]), set(found["values"])) == (set(METRICS), set(METRICS))
    assert found["with_a_value"] >= len(METRICS) - 2
    assert 0 < found["values"]["opinion_variance"] <= 1
    assert found["seconds"] > found["cpu_ours"] * 0.1 > 0
    assert [one["what"] for one in found["targets"]] == ["all metrics", "edges measured"]


def test_intervals_and_stamps_are_counted_the_same_by_the_seed() -> None:
    found, again = (chances.measure(WANTED) for _ in range(2))
    for what in ("intervals", "stamps", "misses"):
        assert again[what] == found[what]
    by = {(one["shape"], one["runs"]): one for one in found["intervals"]}
    assert len(by) == 8
    assert by["normal", 40]["t"] >= 0.5
    assert [(one["people"], one["mean_off"]) for one in found["stamps"]] == [
        (100, 0), (200, 0), (500, 0), (100, 0.2), (200, 0.2), (500, 0.2),
    ]  # fmt: skip
    assert {one["calibrated"] for one in found["stamps"]} <= {0, 1}
    assert list(dict.fromkeys(one["case"] for one in found["misses"])) == [case.what for case in misses.CASES]
    for one in found["misses"]:
        assert one["n"] == 3
        assert 0 <= one["low"] <= one["share"] == one["count"] / 3 <= one["high"] <= 1


def test_the_command_has_a_row_for_each_thing_of_each_case() -> None:
    found = data(
        simfeed("", "bench", "statistics", "--intervals", "10", "--stamps", "1", "--simulations", "2", "--json")
    )
    of_two = [("p ≤ 0.05",), ("p ≤ 0.05", "interval"), ("interval", "interval of a further level"), ("interval",)]
    for case in misses.CASES:
        rows = [one for one in found["misses"] if one["case"] == case.what]
        assert tuple(one["label"] for one in rows) in of_two
        assert {one["count"] for one in rows} <= {0, 1, 2}


@pytest.mark.parametrize(
    "what",
    [
        "10 pairs",
        "arms of 5 and 5",
        "three arms of 8, in blocks",
        "equivalence at the margin, 12 pairs",
        "pairs until known to ±0.7 SD",
        "mean of 12 levels",
        "mean of 100 people and useful predictions",
    ],
)
def test_each_kind_is_wrong_about_as_often_as_it_may_be(what: str) -> None:
    [case] = [case for case in misses.CASES if case.what == what]
    for one in misses.counted(case, 200, 1, lambda: None):
        assert 2 <= one["count"] <= 24


def test_a_small_arm_that_varies_more_is_told_of() -> None:
    found = [
        misses.counted(misses.Case("4 and 12", misses.arms, (4, 12, sd)), 300, 1, lambda: None)[0]["share"]
        for sd in (1, 3)
    ]
    assert found[0] < found[1] < 0.15


@pytest.mark.parametrize("n", [10, 19, 20, 23])
def test_what_stops_pairs_is_the_interval_that_the_rule_of_precision_looks_at(n: int) -> None:
    chance = stream(1, "pairs", n)
    treated, control = ([chance.gauss(0, 1) for _ in range(n)] for _ in range(2))
    [told] = compare({"control": control, "treated": treated}, seeds=range(n), seed=5).contrasts
    differences = [x - y for x, y in zip(treated, control, strict=True)]
    assert arm_of("", differences, 0.95, 5).mean == (told.t if told.shown == "t" else told.difference)
