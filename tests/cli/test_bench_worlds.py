"""`simfeed bench worlds`: it forks, plays again and lives on in worlds of its own."""

from tests.cli.test_cli import data, simfeed


def test_forks_replays_and_days_are_measured(server_url: str) -> None:
    given = ("--posts", "200", "--personas", "4", "--cycles", "2", "--latency-ms", "2", "--forks", "1", "--json")
    found = data(simfeed(server_url, "bench", "worlds", *given))
    assert found["world"]["posts"] == 200
    assert len(found["fork"]["seconds"]) == 1
    assert [one["name"] for one in found["replays"]] == ["1 at once", "8 at once", "64 at once", "rounds"]
    assert all(one["equal"] and one["calls"] >= 4 for one in found["replays"])
    assert found["day"]["calls"] >= found["day"]["turns"] >= 8
    assert len(found["targets"]) == 3
