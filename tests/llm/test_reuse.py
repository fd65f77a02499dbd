"""What was answered once is not paid twice: identical requests in any run of any world, and nothing else."""

from typing import Any

import msgspec
import pytest

from app.db.engine import Database
from app.ledger import reusable
from app.ledger.budget import BudgetExhausted
from app.ledger.pulse import Pulse
from app.llm.gateway import Gateway
from app.llm.model import Completion, Halted, Request, encode_message
from app.llm.reuse import DETAIL, Reusing
from app.settings import load_settings
from app.venues.feed import open_cycle, play_cycle
from tests.conftest import a_mind
from tests.venues.test_rounds import HALF_AN_HOUR, MONDAY, two_worlds

SETTINGS = load_settings(max_concurrent_turns=3, batch_turns=2, reuse=True)
ASKED = Request("scripted", (encode_message("user", "Hello"),), seed=7, reusable=True)


class Counting:
    """A model, and how often it was asked."""

    def __init__(self, pulse: Pulse | None = None, **given: Any) -> None:
        self._model = Gateway(load_settings(), pulse)
        self._given = given
        self.asked = 0

    async def complete(self, request: Request) -> Completion:
        self.asked += 1
        return msgspec.structs.replace(await self._model.complete(request), **self._given)

    async def aclose(self) -> None:
        await self._model.aclose()


class Exhausted(Counting):
    async def complete(self, request: Request) -> Completion:
        raise BudgetExhausted("run", "nothing is left")


async def played(world: Database, home: Database, settings: Any = SETTINGS) -> int:
    """Play a cycle in `world`, whose home is `home`, and return how often the model was asked."""
    counting = Counting(cost_usd=0.01)
    async with a_mind(world, Reusing(counting, home, Pulse())) as mind:
        run_id = await open_cycle(mind, settings, slot="s", seed=7, rounds=True, at=MONDAY, lasts=HALF_AN_HOUR)
        assert run_id is not None
        assert await play_cycle(mind, settings, run_id) == "completed"
    return counting.asked


async def replies(world: Database) -> list[tuple[Any, ...]]:
    told = "SELECT turn_id, step, told, reply, response FROM calls ORDER BY 1, 2"
    return [tuple(row) for row in await world.fetch(told)]


async def test_a_run_played_once_more_costs_nothing(server_url: str, template: str) -> None:
    async with two_worlds(server_url, template) as (one, two):
        asked = await played(one, one)
        assert asked > 8
        assert await played(two, one) == 0
        assert await replies(one) == await replies(two)
        paid = "SELECT count(*), sum(cost_usd)::float8, sum(prompt_tokens) FROM calls WHERE detail = $1"
        assert await two.fetchrow(paid, DETAIL) == (asked, 0.0, 0)
        assert await one.fetchval("SELECT count(*) FROM calls WHERE detail = $1", DETAIL) == 0
        saved = await reusable.savings(one)
        assert (saved.answers, saved.uses) == (asked, asked)
        assert saved.usd == pytest.approx(0.01 * asked)
        assert saved.tokens > 0
        assert await reusable.clear(one) == asked
        assert (await reusable.savings(one)).answers == 0


async def test_control_without_the_setting_all_is_asked_again(server_url: str, template: str) -> None:
    async with two_worlds(server_url, template) as (one, two):
        off = load_settings(max_concurrent_turns=3, batch_turns=2)
        assert await played(one, one, off) == await played(two, one, off) > 0
        assert (await reusable.savings(one)).answers == 0


async def test_only_the_very_same_request_is_answered_again(database: Database) -> None:
    model = Reusing(counting := Counting(), database, Pulse())
    first = await model.complete(ASKED)
    again = await model.complete(ASKED)
    assert (again.text, again.calls, again.raw) == (first.text, first.calls, first.raw)
    assert again.detail == DETAIL
    assert counting.asked == 1
    for other in (
        Request("scripted", ASKED.messages, seed=8, reusable=True),
        Request("scripted", ASKED.messages, seed=7, temperature=0.5, reusable=True),
        Request("scripted", (encode_message("user", "Hello!"),), seed=7, reusable=True),
        Request("scripted", ASKED.messages, seed=7),
    ):
        assert (await model.complete(other)).detail != DETAIL
    assert counting.asked == 5


@pytest.mark.parametrize("status", ["refusal", "parse", "timeout", "length"])
async def test_what_could_not_be_carried_out_is_asked_again(database: Database, status: str) -> None:
    model = Reusing(counting := Counting(status=status), database, Pulse())
    await model.complete(ASKED)
    await model.complete(ASKED)
    assert counting.asked == 2


async def test_what_a_cap_forbids_is_still_answered_if_it_was_before(database: Database) -> None:
    await Reusing(Counting(), database, Pulse()).complete(ASKED)
    poor = Reusing(Exhausted(), database, Pulse())
    assert (await poor.complete(ASKED)).detail == DETAIL
    with pytest.raises(BudgetExhausted):
        await poor.complete(Request("scripted", ASKED.messages, seed=8, reusable=True))


async def test_the_kill_switch_stops_answers_from_before_too(database: Database) -> None:
    pulse = Pulse()
    model = Reusing(Counting(pulse), database, pulse)
    await model.complete(ASKED)
    pulse.halted = True
    with pytest.raises(Halted):
        await model.complete(ASKED)


async def test_without_its_database_the_model_is_asked(url: str) -> None:
    gone = await Database.open(url, size=2)
    await gone.close()
    model = Reusing(counting := Counting(), gone, Pulse())
    assert (await model.complete(ASKED)).status == "ok"
    assert counting.asked == 1
