"""Models by name: the right endpoint and key, prices that are known or said not to be, and what a model can."""

import asyncio
import json
from typing import Any

import pytest

from app.errors import Misconfigured
from app.ledger.pulse import Pulse
from app.llm import admission, retry
from app.llm.conformance import OFFERED, check
from app.llm.gateway import Endpoint, Gateway, endpoint
from app.llm.model import Completion, Halted, Request, Usage, encode_message
from app.llm.pricing import CUSTOM, SCRIPTED, Price, cost, own_prices, price, providers, split
from app.settings import load_settings
from tests import fault_llm
from tests.fault_llm import FaultLLM, answer, error, ok, reply


def at(server: FaultLLM) -> dict[str, Any]:
    """The settings that lead to a server."""
    return {"openai_base_url": server.url, "model_transport": "raw"}


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(admission, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(admission, "JITTER", (0.001, 0.002))


def ask(model: str) -> Request:
    return Request(model, (encode_message("user", "hi"),))


@pytest.mark.parametrize(
    ("model", "found"),
    [
        ("scripted", (SCRIPTED, "scripted")),
        ("gpt-4o-mini", ("openai", "gpt-4o-mini")),
        ("openai/gpt-4o-mini", ("openai", "gpt-4o-mini")),
        ("deepseek-chat", ("deepseek", "deepseek-chat")),
        ("gemini-2.5-flash", ("gemini", "gemini-2.5-flash")),
        ("openrouter/openai/gpt-4o", ("openrouter", "openai/gpt-4o")),
        ("ollama/qwen3:8b", ("ollama", "qwen3:8b")),
        ("nobody/x", (CUSTOM, "nobody/x")),
        ("ollama/", (CUSTOM, "ollama/")),
        ("/x", (CUSTOM, "/x")),
        ("", (CUSTOM, "")),
        ("SCRIPTED", (CUSTOM, "SCRIPTED")),
    ],
)
def test_names(model: str, found: tuple[str, str]) -> None:
    assert split(model) == found


def test_each_provider_gets_its_own_key() -> None:
    settings = load_settings(openai_api_key="sk-o", deepseek_api_key="sk-d", gemini_api_key="sk-g")
    for model, key in (("gpt-4o", "sk-o"), ("deepseek-chat", "sk-d"), ("gemini-2.5-pro", "sk-g"), ("ollama/x", "")):
        assert endpoint(settings, model).key == key


def test_a_base_url_takes_what_would_go_to_openai_and_nothing_else() -> None:
    settings = load_settings(openai_base_url="http://127.0.0.1:9/v1", openai_api_key="sk-o", deepseek_api_key="sk-d")
    assert endpoint(settings, "gpt-4o") == Endpoint(CUSTOM, "gpt-4o", "http://127.0.0.1:9/v1", "sk-o")
    assert endpoint(settings, "my-model").base_url == "http://127.0.0.1:9/v1"
    assert endpoint(settings, "deepseek-chat").base_url == providers()["deepseek"].base_url
    assert endpoint(settings, "deepseek-chat").key == "sk-d"


@pytest.mark.parametrize(
    ("given", "model", "named"),
    [
        ({}, "gpt-4o", "OPENAI_API_KEY"),
        ({}, "deepseek-chat", "DEEPSEEK_API_KEY"),
        ({"openai_api_key": "sk-o"}, "gemini-2.5-flash", "GEMINI_API_KEY"),
        ({"openai_api_key": "sk-o"}, "unheard-of", "OPENAI_BASE_URL"),
        *(({"openai_api_key": bad}, "gpt-4o", "OPENAI_API_KEY") for bad in ("ké", "a b", "sk\n", "sk\r\nX: y", "\0")),
    ],
)
async def test_what_is_missing_is_named_and_nothing_is_asked(given: Any, model: str, named: str) -> None:
    settings = load_settings(**given)
    with pytest.raises(Misconfigured, match=named):
        endpoint(settings, model)
    gateway = Gateway(settings)
    found = await gateway.complete(ask(model))
    await gateway.aclose()
    assert found.status == "config"
    assert named in found.detail
    assert "sk" not in found.detail


@pytest.mark.parametrize("transport", ["sdk", "raw"])
async def test_the_way_to_a_provider_and_back(transport: str, no_waits: None) -> None:
    async with fault_llm.serving(error(503), ok()) as server:
        gateway = Gateway(load_settings(openai_base_url=server.url, model_transport=transport))
        found = await gateway.complete(ask("any"))
        await gateway.aclose()
        assert (found.status, found.text, len(server.received)) == ("ok", "hello", 2)
        assert ("openai" in server.received[0].headers["user-agent"].lower()) == (transport == "sdk")


async def test_no_more_calls_at_once_than_turns() -> None:
    most = 0

    async def counted(exchange: fault_llm.Exchange) -> None:
        nonlocal most
        most = max(most, exchange.server.open)
        await asyncio.sleep(0.01)
        await ok()(exchange)

    async with fault_llm.serving(counted) as server:
        gateway = Gateway(load_settings(max_concurrent_turns=3, **at(server)))
        found = await asyncio.gather(*(gateway.complete(ask(f"any-{n % 5}")) for n in range(20)))
        await gateway.aclose()
    assert {f.status for f in found} == {"ok"}
    assert most == 3, "the models of a provider share its gate"


async def test_models_of_a_provider_share_what_is_known_of_it() -> None:
    async with fault_llm.serving(error(401)) as server:
        gateway = Gateway(load_settings(**at(server)))
        first, second = [await gateway.complete(ask(m)) for m in ("any", "other")]
        await gateway.aclose()
        assert [(f.status, f.asked, f.model) for f in (first, second)] == [
            ("auth", True, "any"), ("auth", False, "other"),
        ]  # fmt: skip
        assert len(server.received) == 1


@pytest.mark.parametrize("model", ["scripted", "any"])
async def test_when_all_is_halted_nothing_is_asked(model: str) -> None:
    pulse = Pulse()
    async with fault_llm.serving(ok()) as server:
        gateway = Gateway(load_settings(**at(server)), pulse)
        assert (await gateway.complete(ask(model))).status == "ok"
        server.play(ok())
        pulse.halted = True
        with pytest.raises(Halted):
            await gateway.complete(ask(model))
        assert not server.received
        pulse.halted = False
        assert (await gateway.complete(ask(model))).status == "ok"
        await gateway.aclose()


def for_model(**faults: fault_llm.Fault) -> fault_llm.Fault:
    """A fault for each model that is asked for."""

    async def fault(exchange: fault_llm.Exchange) -> None:
        await faults[json.loads(exchange.request.body)["model"]](exchange)

    return fault


FALLS_BACK: dict[str, fault_llm.Fault] = {
    "unavailable": error(503),
    "rate_limit": error(429),
    "quota": error(402),
    "config": error(400),
    "parse": answer({**reply(text="x"), "choices": []}),
}
STAYS: dict[str, fault_llm.Fault] = {
    "ok": ok(),
    "refusal": answer(reply(text="no", finish="content_filter")),
    "length": answer(reply(text="x", finish="length")),
    "too_large": answer(b" " * 2_000_000),
}
PRICES = "mine=1/1/2,spare=10/10/20"


@pytest.mark.parametrize("status", FALLS_BACK)
async def test_another_model_is_asked_where_the_first_gives_nothing(status: str, no_waits: None) -> None:
    spare = answer({**reply(text="from the spare"), "model": "spare-1"})
    async with fault_llm.serving(for_model(mine=FALLS_BACK[status], spare=spare)) as server:
        given = load_settings(model_fallback="ollama/spare", model_prices=PRICES, **at(server))
        gateway = Gateway(given)
        gateway._held["ollama"] = gateway._client(Endpoint("ollama", "spare", server.url, ""))
        found = await gateway.complete(ask("mine"))
        await gateway.aclose()
        asked = [json.loads(sent.body)["model"] for sent in server.received]
    assert (found.status, found.text, found.model) == ("ok", "from the spare", "spare-1")
    assert asked[-1] == "spare"
    assert asked.count("spare") == 1
    tries = 2 if status == "parse" else 0
    assert found.usage == Usage(100 + 100 * tries, 10 + 10 * tries)
    assert found.cost_usd == pytest.approx(tries * (100 * 1 + 10 * 2) / 1e6), "what the spare takes is free"


@pytest.mark.parametrize("status", STAYS)
async def test_no_other_model_is_asked_where_the_first_has_answered(status: str) -> None:
    async with fault_llm.serving(for_model(mine=STAYS[status], spare=ok())) as server:
        gateway = Gateway(load_settings(model_fallback="spare", **at(server)))
        assert (await gateway.complete(ask("mine"))).status == status
        await gateway.aclose()
        assert len(server.received) == 1


async def test_where_both_fail_the_first_says_why_and_both_are_charged() -> None:
    bad = answer({**reply(text="x"), "choices": []})
    async with fault_llm.serving(for_model(mine=bad, spare=error(400, "nope"))) as server:
        gateway = Gateway(load_settings(model_fallback="spare", model_prices=PRICES, **at(server)))
        found = await gateway.complete(ask("mine"))
        alone = await gateway.complete(ask("spare"))
        await gateway.aclose()
    assert (found.status, found.usage.prompt) == ("parse", 200)
    assert found.cost_usd == pytest.approx(2 * (100 + 20) / 1e6)
    assert "not a chat completion" in found.detail
    assert "HTTP 400, nope" in found.detail
    assert (alone.status, alone.cost_usd) == ("config", 0.0)


async def test_a_model_without_a_key_falls_back_to_the_offline_one() -> None:
    gateway = Gateway(load_settings(model_fallback="scripted"))
    found = await gateway.complete(ask("gpt-4o"))
    await gateway.aclose()
    assert (found.status, found.model, found.cost_usd) == ("ok", "scripted", 0.0)


async def test_own_prices_come_first_and_the_unknown_stay_unknown() -> None:
    async with fault_llm.serving(ok()) as server:
        gateway = Gateway(load_settings(model_prices=" mine=0.15/0.075/0.6 , openai/gpt-4o=1/1/1", **at(server)))
        found = {m: (await gateway.complete(ask(m))).cost_usd for m in ("mine", "gpt-4o", "gpt-4o-mini", "other")}
        await gateway.aclose()
        costs = {m: gateway.cost(m, Usage(100, 10)) for m in found}
    assert found == {
        "mine": pytest.approx((100 * 0.15 + 10 * 0.6) / 1e6),
        "gpt-4o": pytest.approx(110 / 1e6),
        "gpt-4o-mini": None,
        "other": None,
    }
    assert costs == found
    assert gateway.cost("scripted", Usage(9, 9)) == 0


@pytest.mark.parametrize(
    "wrong",
    ["mine", "mine=", "mine=1", "mine=1/2", "mine=1/2/3/4", "mine=-1/1/1", "mine=nan/1/1", "mine=inf/1/1", "=1/1/1",
     "mine=1e3/1/1", "mine=1/1/1,", ",", "a b=1/1/1", "mine=١/1/1", "mine=1/1/1,mine=2/2/2", "a==1/1/1",
     "gpt-4o=1/1/1,openai/gpt-4o=1/1/1"],
)  # fmt: skip
def test_prices_that_are_none_are_named(wrong: str) -> None:
    with pytest.raises(Misconfigured, match="MODEL_PRICES: "):
        Gateway(load_settings(model_prices=wrong))


def test_own_prices_by_name() -> None:
    own = own_prices("my-model=0.15/0.075/0.6,ollama/qwen3:8b=0/0/0,gpt-4o=1/2/3,scripted=1/1/1")
    assert price("my-model", own) == Price(0.15, 0.075, 0.6)
    assert price("openai/gpt-4o", own) == Price(1, 2, 3)
    assert (price("ollama/qwen3:8b", own), price("scripted", own)) == (Price(0, 0, 0), Price(0, 0, 0))
    assert price("my-other", own) is None
    assert own_prices("") == own_prices("  ") == {}


async def test_the_offline_model_needs_nothing() -> None:
    gateway = Gateway(load_settings())
    assert (await gateway.complete(ask("scripted"))).status == "ok"
    await gateway.aclose()


async def test_clients_are_made_once_and_closed() -> None:
    made, closed = [], []

    class Client:
        def __init__(self, **given: Any) -> None:
            made.append(given)

        async def complete(self, request: Request) -> Completion:
            return Completion("ok", request.model)

        async def aclose(self) -> None:
            closed.append(self)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("app.llm.openai.OpenAIModel", Client)
        gateway = Gateway(load_settings(openai_api_key="sk-o", model_timeout=7))
        for model in ("gpt-4o", "gpt-4o-mini", "ollama/a", "ollama/b"):
            await gateway.complete(ask(model))
        await gateway.aclose()
    assert [(g["api_key"], g["timeout"]) for g in made] == [("sk-o", 7.0), ("", 7.0)]
    assert len(closed) == 2


def test_costs() -> None:
    usage = Usage(prompt=1_000_000, completion=1_000_000, cached=400_000)
    assert cost("gpt-4o-mini", usage) == pytest.approx(0.6 * 0.15 + 0.4 * 0.075 + 0.60)
    assert cost("openai/gpt-4o-mini", usage) == cost("gpt-4o-mini", usage)
    assert (cost("scripted", usage), cost("ollama/x", usage)) == (0, 0)
    for unknown in ("gpt-99", "my-model", "openrouter/openai/gpt-4o", ""):
        assert price(unknown) is None
        assert cost(unknown, usage) is None
    assert cost("gpt-4o", Usage(prompt=0, cached=10)) == pytest.approx(10 * 1.25 / 1e6)


def test_prices_make_sense() -> None:
    for provider in providers().values():
        assert provider.base_url.startswith(("https://", "http://127.0.0.1:"))
        assert bool(provider.key) != provider.free
        for known in provider.prices.values():
            assert 0 < known.cached <= known.prompt <= known.completion


async def test_a_check_of_a_model_that_can() -> None:
    gateway = Gateway(load_settings())
    found = await check(gateway, "scripted")
    await gateway.aclose()
    assert [f["ok"] for f in found] == [True] * 5, found


CANNOT: list[tuple[fault_llm.Fault, dict[str, bool]]] = [
    (ok(text="I like trains."), {"answers": True, "calls offered functions": False}),
    (ok(("delete_all", {})), {"calls offered functions": False, "arguments are JSON objects": True}),
    (ok(("like_post", "[1]")), {"calls offered functions": True, "arguments are JSON objects": False}),
    (ok(("like_post", '{"post_id": 4')), {"arguments are JSON objects": False, "goes on after results": True}),
    (error(401), {"answers": False}),
    (fault_llm.answer([]), {"answers": False}),
]


@pytest.mark.parametrize(("fault", "expected"), CANNOT)
async def test_a_check_of_a_model_that_cannot(fault: fault_llm.Fault, expected: dict[str, bool]) -> None:
    async with fault_llm.serving(fault) as server:
        gateway = Gateway(load_settings(openai_base_url=server.url))
        found = {f["check"]: f["ok"] for f in await check(gateway, "any")}
        await gateway.aclose()
    assert found.items() >= expected.items()
    assert len(OFFERED) == 3
