"""D14: the server commits, and the answer is lost on the way. Whatever the turn does then, nothing happens twice."""

import asyncio

import pytest

from app.agent.turn import Turn
from app.db.engine import AWAY
from app.ledger.commit import Committer, Superseded
from app.streams import stream
from app.venues.feed import open_cycle
from app.world.effects import NewPost
from tests.agent.test_turn import END, Script, fresh, says, seat
from tests.conftest import a_mind
from tests.fault_proxy import FaultProxy, proxied
from tests.faults.own import SETTINGS, Slow, broken, opened, played
from tests.ledger.test_commit import step, turns_for
from tests.venues.test_cycle import people

STEPS = (*(says(("create_post", {"body": f"post {n}"}), ("update_bio", {"bio": f"bio {n}"})) for n in range(4)), END)


def loses(proxy: FaultProxy, share: float, seed: int) -> None:
    """From now on this share of all step commits stands and is not heard of, but never more than three in a row."""
    chance = stream(seed, "lost answers")
    row = 0

    def lost(sql: str) -> bool:
        nonlocal row
        if "INSERT INTO calls" not in sql:
            return False
        row = row + 1 if row < 3 and chance.random() < share else 0
        return row > 0

    proxy.lose = lost


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waits between the tries of a commit."""
    really = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda seconds: really(min(seconds, 0.01)))


async def turns_that_lose(url: str, personas: int, share: float) -> tuple[int, list[object], int, int]:
    """(answers lost, how each turn ended here, posts, calls)."""
    async with opened(url) as database, proxied(url) as proxy, opened(proxy.client_url) as shaky:
        await turns_for(database, personas)
        await database.fetch("UPDATE runs SET turns_total = $1", personas)
        async with a_mind(shaky, Script(*STEPS)) as mind:
            loses(proxy, share, 1)
            turns = (fresh(mind, seat(persona)).play() for persona in range(1, personas + 1))
            ended: list[object] = list(await asyncio.gather(*turns, return_exceptions=True))
        posts, calls = [await database.fetchval(f"SELECT count(*) FROM {table}") for table in ("posts", "calls")]
        lost = proxy.lost
        await database.fetch("UPDATE turns SET state = 'queued', lease_until = NULL WHERE state = 'running'")
        assert await database.fetchval("SELECT count(*) - count(DISTINCT (author_id, body)) FROM posts") == 0
        made = "SELECT count(*) FROM actions WHERE outcome = 'made' AND effect = 'post'"
        assert await database.fetchval(made) == posts
    return lost, ended, posts, calls


@pytest.mark.usefixtures("quick")
async def test_d14_lost_answers_double_nothing_and_end_no_turn(own_url: str) -> None:
    """A turn whose step stands goes on from it: that nobody else took it over is known from the epoch."""
    lost, ended, posts, calls = await turns_that_lose(own_url, 30, 0.5)
    assert lost >= 5
    assert await broken(own_url) == {}
    assert ended == ["done"] * 30
    assert (posts, calls) == (30 * 4, 30 * 5)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
async def test_d14_five_hundred_cuts(own_url: str) -> None:
    """One turn at a time, so that each cut meets a commit of one step."""
    cuts = 0
    async with opened(own_url) as database, proxied(own_url) as proxy, opened(proxy.client_url) as shaky:
        await turns_for(database, 160)
        await database.fetch("UPDATE runs SET turns_total = 160")
        loses(proxy, 0.45, 2)
        async with a_mind(shaky, Script(*STEPS)) as mind:
            for persona in range(1, 161):
                turn: Turn = fresh(mind, seat(persona))
                assert await turn.play() == "done"
        cuts = proxy.lost
        assert cuts >= 250
        assert await database.fetchval("SELECT count(*) FROM posts") == 160 * 4
    assert await broken(own_url) == {}


async def test_d14_a_cycle_that_loses_answers(own_url: str) -> None:
    async with opened(own_url) as database, proxied(own_url) as proxy, opened(proxy.client_url) as shaky:
        await people(database, 20)
        async with a_mind(shaky, Slow(0.01)) as mind:
            run_id = await open_cycle(mind, SETTINGS)
            assert run_id is not None
            loses(proxy, 0.3, 3)
            states = await played(mind, run_id)
        assert proxy.lost >= 3
    assert states.keys() <= {"done", "limit"}
    assert await broken(own_url) == {}


async def test_d14_control_without_the_fence_it_is_done_twice(own_url: str) -> None:
    """The same post under the next number, as it would be if a step were not known by its own."""
    async with opened(own_url) as database, proxied(own_url) as proxy, opened(proxy.client_url) as shaky:
        await turns_for(database, 1)
        proxy.lose = lambda sql: "INSERT INTO calls" in sql and proxy.lost == 0
        async with Committer(shaky, lease_seconds=20) as committer:
            with pytest.raises(AWAY):
                await committer.commit(step(1, 0, NewPost(body="once")))
            await committer.commit(step(1, 1, NewPost(body="once")))
        assert await database.fetchval("SELECT count(*) FROM posts") == 2


async def test_d14_with_the_fence_it_is_superseded(own_url: str) -> None:
    async with opened(own_url) as database, proxied(own_url) as proxy, opened(proxy.client_url) as shaky:
        await turns_for(database, 1)
        proxy.lose = lambda sql: "INSERT INTO calls" in sql and proxy.lost == 0
        async with Committer(shaky, lease_seconds=20) as committer:
            record = step(1, 0, NewPost(body="once"))
            with pytest.raises(AWAY):
                await committer.commit(record)
            with pytest.raises(Superseded):
                await committer.commit(record)
        assert proxy.lost == 1
        assert await database.fetchval("SELECT count(*) FROM posts") == 1
