"""`simfeed bench rank`: it measures every ranker in a world of its own."""

from app.world.ranking import RANKERS, SUGGESTERS
from tests.cli.test_cli import data, simfeed


def test_every_ranker_is_measured(server_url: str) -> None:
    found = data(simfeed(server_url, "bench", "rank", "--personas", "5", "--posts", "200", "--rounds", "1", "--json"))
    assert (found["viewers"], found["world"]["posts"]) == (5, 200)
    assert [row["name"] for row in found["rankers"]] == [*RANKERS, *SUGGESTERS]
    by_name = {row["name"]: row for row in found["rankers"] if row["kind"] == "post"}
    assert {row["items"] for row in by_name.values()} == {50}
    assert [target["most"] for target in found["targets"]] == [1, 1, 1, 1, 3, 1, 1]
