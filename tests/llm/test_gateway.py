"""Models by name: the right endpoint and key, prices that are known or said not to be, and what a model can."""

import asyncio
from typing import Any

import pytest

from app.errors import Misconfigured
from app.llm.conformance import OFFERED, check
from app.llm.gateway import Endpoint, Gateway, endpoint
from app.llm.model import Completion, Request, Usage, encode_message
from app.llm.pricing import CUSTOM, SCRIPTED, cost, price, providers, split
from app.settings import load_settings
from tests import fault_llm
from tests.fault_llm import error, ok


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


async def test_the_way_to_a_provider_and_back() -> None:
    async with fault_llm.serving(error(503), ok()) as server:
        gateway = Gateway(load_settings(openai_base_url=server.url))
        for stack in [gateway._model(CUSTOM, endpoint(gateway.settings, "any"))]:
            object.__setattr__(stack, "scale", 0)
        found = await gateway.complete(ask("any"))
        await gateway.aclose()
        assert (found.status, found.text, len(server.received)) == ("ok", "hello", 2)


async def test_no_more_calls_at_once_than_turns() -> None:
    at_once, most = 0, 0

    class Slow:
        async def complete(self, request: Request) -> Completion:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0)
            at_once -= 1
            return Completion("ok", request.model)

        async def aclose(self) -> None:
            """Nothing is held."""

    gateway = Gateway(load_settings(max_concurrent_turns=3), _models={"ollama": Slow()})
    found = await asyncio.gather(*(gateway.complete(ask("ollama/x")) for _ in range(20)))
    assert {f.model for f in found} == {"x"}
    assert most == 3


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
