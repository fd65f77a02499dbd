"""`simfeed bench metrics` and `bench statistics`, small: their figures are there and plausible."""

from app.analysis.catalogue import METRICS
from app.cli.bench import chances
from tests.cli.test_cli import data, simfeed

WANTED = chances.Wanted(6, 1, 1)


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
    assert (again["intervals"], again["stamps"]) == (found["intervals"], found["stamps"])
    by = {(one["shape"], one["runs"]): one for one in found["intervals"]}
    assert len(by) == 8
    assert by["normal", 40]["t"] >= 0.5
    assert [(one["people"], one["mean_off"]) for one in found["stamps"]] == [
        (100, 0), (200, 0), (500, 0), (100, 0.2), (200, 0.2), (500, 0.2),
    ]  # fmt: skip
    assert {one["calibrated"] for one in found["stamps"]} <= {0, 1}
