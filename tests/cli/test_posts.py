"""`simfeed posts`: the kill switch from the terminal."""

from app.db.engine import Database
from tests.cli.test_cli import data, simfeed
from tests.world.test_moderation import World


async def test_quarantine_lift_and_flagged(database: Database, url: str) -> None:
    world = await World.of(database, 3)
    seed = await world.writes(1)
    copies = [await world.copies(persona, seed) for persona in (2, 3)]
    await world.look_into("mark")
    rows = data(simfeed(url, "posts", "flagged", "--json"))
    assert [(row["object_id"], row["source_id"], row["quarantined"]) for row in rows] == [
        (copies[1], seed, False),
        (copies[0], seed, False),
    ]
    taken = simfeed(url, "posts", "quarantine", str(seed), "--reason", "a [worm]")
    assert (taken.returncode, taken.stdout) == (0, "")
    assert "--lift` shows them again" in taken.stderr
    assert await world.hidden() == {seed, *copies}
    told = await database.fetchrow("SELECT taken_by, reason FROM quarantines WHERE post_id = $1", seed)
    assert told is not None
    assert tuple(told) == ("operator", "a [worm]")
    assert "hidden" in simfeed(url, "posts", "flagged").stdout
    assert "already" in simfeed(url, "posts", "quarantine", str(seed)).stderr
    lifted = data(simfeed(url, "posts", "quarantine", str(seed), "--lift", "--json"))
    assert lifted == {"post_id": seed, "quarantined": False, "posts": 3, "comments": 0}
    assert await world.hidden() == set()
    assert await database.fetchval("SELECT count(*) FROM audit WHERE admin_id IS NULL AND action LIKE 'post.%'") == 3


async def test_what_is_wrong_is_said_in_a_line(url: str) -> None:
    assert "Nothing was flagged" in simfeed(url, "posts", "flagged").stderr
    for words in (
        ("99",),
        ("99", "--lift"),
        ("0",),
        ("x",),
        ("1", "--reason", "r" * 201),
        ("1", "--reason", "\x1b[2J"),
    ):
        wrong = simfeed(url, "posts", "quarantine", *words)
        assert wrong.returncode == 2, words
        assert wrong.stderr.count("\n") == 1, words
