"""What is asked of a model only within caps; what becomes of a hold when the answer does not come."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from app.db.engine import Database
from app.ledger.budget import Account, BudgetExhausted, Caps, Desk, recount
from app.ledger.commit import Committer
from app.llm.budget import Budgeted, most_usage, pricing_of
from app.llm.gateway import Gateway, endpoint
from app.llm.model import Completion, Halted, Request, Usage, encode_message
from app.llm.pricing import charge
from app.settings import load_settings
from tests.ledger.test_commit import step, turns_for

ANSWER = Completion("ok", "m", usage=Usage(100, 10))
MANY = Caps(tokens=10**6)


@dataclass
class Oracle:
    """A model that answers, or does as it is told."""

    answer: Completion = ANSWER
    error: BaseException | None = None
    asked: int = 0

    async def complete(self, request: Request) -> Completion:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.answer

    async def aclose(self) -> None:
        """Nothing is held."""


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    await turns_for(database, 2)
    async with Desk(database) as found:
        yield found


def account(**more: Any) -> Account:
    return replace(Account(run_id=1, persona_id=1, turn_id=1, epoch=1), **more)


def request(payer: Account | None, model: str = "gpt-4o-mini", **more: Any) -> Request:
    return replace(Request(model, (encode_message("user", "x" * 300),), b"[1]", account=payer), **more)


def budgeted(desk: Desk, inner: Any = None, **settings: Any) -> Budgeted:
    given = load_settings(**settings)
    return Budgeted(inner or Oracle(), desk, pricing_of(given), given.model_fallback)


async def held(database: Database) -> tuple[int, float]:
    row = await database.fetchrow("SELECT held_tokens, held_usd FROM budgets WHERE scope = 'run'")
    return (row["held_tokens"], float(row["held_usd"])) if row is not None else (0, 0.0)


def test_the_most_a_request_may_take() -> None:
    asked = request(None, max_tokens=50)
    sent = len(asked.messages[0]) + 3
    assert most_usage(asked) == Usage(-(-sent // 3), 50)
    assert most_usage(replace(asked, max_tokens=None)).completion == 700
    assert most_usage(Request("m", ("ß".encode(),))).prompt == 1


@pytest.mark.parametrize("payer", [None, account()])
async def test_without_caps_it_is_only_passed_on(database: Database, desk: Desk, payer: Account | None) -> None:
    inner = Oracle()
    assert await budgeted(desk, inner).complete(request(payer, "price/unknown")) is inner.answer
    assert await database.fetchval("SELECT count(*) FROM budgets") == 0


async def test_what_is_held_is_settled_with_the_step(database: Database, desk: Desk) -> None:
    asked = request(account(run=Caps(usd=1.0)))
    usage = most_usage(asked)
    completion = await budgeted(desk).complete(asked)
    usd = (usage.prompt * 0.15 + usage.completion * 0.60) / 1e6
    assert completion.hold is not None
    assert completion.hold.usd == pytest.approx(usd)
    tokens, dollars = await held(database)
    assert tokens == usage.prompt + usage.completion
    assert dollars == pytest.approx(usd, abs=1e-8)
    async with Committer(database, lease_seconds=20) as committer:
        await committer.commit(step(1, 0, hold=completion.hold))
    assert await held(database) == (0, 0.0)
    assert await recount(database) == []


async def test_over_a_cap_nothing_is_asked(desk: Desk) -> None:
    inner = Oracle()
    model = budgeted(desk, inner)
    for caps in ({"call": Caps(tokens=100)}, {"turn": Caps(tokens=100)}, {"run": Caps(usd=0.00001)}):
        with pytest.raises(BudgetExhausted) as caught:
            await model.complete(request(account(**caps)))
        assert caught.value.scope == next(iter(caps))
    assert inner.asked == 0
    assert (await model.complete(request(account(call=Caps(tokens=10_000))))).hold is None
    assert inner.asked == 1


@pytest.mark.parametrize("scope", ["call", "turn", "persona", "run", "instance"])
async def test_no_cap_in_dollars_holds_without_a_price(desk: Desk, scope: str) -> None:
    inner = Oracle()
    payer = account(**{scope: Caps(usd=5.0)})
    with pytest.raises(BudgetExhausted, match=r"no price is known for nobody/knows: .* MODEL_PRICES") as caught:
        await budgeted(desk, inner).complete(request(payer, "nobody/knows"))
    assert (caught.value.scope, inner.asked) == ("call", 0)
    told = budgeted(desk, inner, model_prices="nobody/knows=1/1/1")
    assert (await told.complete(request(payer, "nobody/knows"))).status == "ok"
    tokens = account(**{scope: MANY})
    await desk.release(payer)
    assert (await budgeted(desk, inner).complete(request(tokens, "nobody/knows"))).status == "ok"


async def test_a_fallback_without_a_price_is_refused_and_a_dearer_one_is_held(database: Database, desk: Desk) -> None:
    payer = account(run=Caps(usd=5.0))
    with pytest.raises(BudgetExhausted, match="no price is known for nobody/knows"):
        await budgeted(desk, model_fallback="nobody/knows").complete(request(payer))
    dearer = budgeted(desk, model_fallback="gold/one", model_prices="gold/one=100/100/100")
    await dearer.complete(request(payer))
    tokens, usd = await held(database)
    assert usd == pytest.approx(tokens / 1e4)


async def test_offline_models_cost_no_money_but_their_tokens_count(database: Database, desk: Desk) -> None:
    completion = await budgeted(desk).complete(request(account(run=Caps(tokens=10**6, usd=0.01)), "scripted"))
    assert completion.hold is not None
    assert completion.hold.usd == 0
    tokens, usd = await held(database)
    assert tokens > 700
    assert usd == 0


@pytest.mark.parametrize("error", [Halted(), ValueError("a bug")])
async def test_a_call_that_was_not_made_gives_its_hold_back(database: Database, desk: Desk, error: Exception) -> None:
    with pytest.raises(type(error)):
        await budgeted(desk, Oracle(error=error)).complete(request(account(run=MANY)))
    assert await held(database) == (0, 0.0)


async def test_what_was_not_asked_gives_its_hold_back(database: Database, desk: Desk) -> None:
    refused = Completion("auth", "m", asked=False)
    assert (await budgeted(desk, Oracle(refused)).complete(request(account(run=MANY)))).hold is None
    assert await held(database) == (0, 0.0)
    failed = Completion("timeout", "m")
    assert (await budgeted(desk, Oracle(failed)).complete(request(account(run=MANY)))).hold is not None
    assert (await held(database))[0] > 0


async def test_a_call_that_was_cancelled_keeps_its_hold(database: Database, desk: Desk) -> None:
    with pytest.raises(asyncio.CancelledError):
        await budgeted(desk, Oracle(error=asyncio.CancelledError())).complete(request(account(run=MANY)))
    assert (await held(database))[0] > 0
    assert await database.fetchval("SELECT held_tokens > 0 FROM turns WHERE id = 1")


@pytest.mark.parametrize(
    "model", ["gpt-4o-mini", "openai/gpt-4o-mini", "mine", "scripted", "ollama/x", "deepseek-chat"]
)
@pytest.mark.parametrize("base_url", [None, "http://127.0.0.1:1/v1"])
def test_the_price_is_the_gateways(model: str, base_url: str | None) -> None:
    settings = load_settings(
        openai_api_key="k", deepseek_api_key="k", openai_base_url=base_url, model_prices="mine=1/2/3"
    )
    usage = Usage(1000, 100, 10)
    found = pricing_of(settings)(model, usage)
    if model in ("scripted", "ollama/x"):
        assert found == 0
    elif model == "mine" or base_url is None:
        assert found is not None
    if model != "scripted" and (model != "mine" or base_url):
        assert found == charge(Gateway(settings)._price(model, endpoint(settings, model)), usage)


@pytest.mark.parametrize(("epoch", "drifts"), [(2, 0), (1, 1)])
async def test_a_turn_whose_caps_go_in_the_middle_is_no_drift(
    database: Database, desk: Desk, epoch: int, drifts: int
) -> None:
    """Another process, without caps, goes on with it. That one process charges some of a turn's calls only, is."""
    hold = await desk.reserve(account(run=MANY), 500, 0.0)
    await database.fetch("UPDATE turns SET epoch = $1 WHERE id = 1", epoch)
    async with Committer(database, lease_seconds=20) as committer:
        await committer.commit(step(1, 0, epoch=epoch, hold=hold))
        await committer.commit(step(1, 1, epoch=epoch))
    assert len(await recount(database)) == drifts
