"""Tries, cancellations and the kill switch: who waits at the gate hears of it, and what was sent is charged."""

import asyncio
import json
import time

import pytest

from app.ledger.pulse import Pulse
from app.llm.admission import Gate
from app.llm.model import Completion, Halted
from app.llm.rate_limit import RateLimit
from app.llm.retry import Retrying
from app.llm.window import Window
from tests import fault_llm
from tests.fault_llm import NAMED, Exchange, Fault, answer, error, ok, reply
from tests.llm.test_admission import REQUEST, all_of, asking, statuses, until
from tests.pace import clock


async def test_the_kill_switch_is_heard_by_who_waits() -> None:
    pulse = Pulse()
    async with fault_llm.serving(NAMED["hang"]) as server, asking(server, pulse, deadline=30) as model:
        calls = [asyncio.create_task(model.complete(REQUEST)) for _ in range(20)]
        await until(lambda: server.received)
        pulse.halted = True
        began = clock()
        done, under_way = await asyncio.wait(calls, timeout=30, return_when=asyncio.FIRST_EXCEPTION)
        assert clock() - began < 1
        assert (len(done), len(under_way)) == (19, 1)
        assert all(isinstance(task.exception(), Halted) for task in done)
        with pytest.raises(Halted):
            await model.complete(REQUEST)
        under_way.pop().cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert len(server.received) == 1


async def test_what_is_charged_already_is_told_though_all_is_halted() -> None:
    pulse = Pulse()

    async def last(exchange: Exchange) -> None:
        pulse.halted = True
        await answer([])(exchange)

    async with fault_llm.serving(last) as server, asking(server, pulse) as model:
        found = await Retrying(model, scale=0).complete(REQUEST)
        assert (found.status, len(server.received)) == ("parse", 1)
        assert found.usage.prompt > 0


async def test_who_is_cancelled_leaves_no_place_taken() -> None:
    async with fault_llm.serving(NAMED["hang"]) as server, asking(server, deadline=30) as model:
        calls = [asyncio.create_task(model.complete(REQUEST)) for _ in range(20)]
        await until(lambda: server.received)
        for task in calls:
            task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert (model.gate.window._under_way, model.gate.window._fresh) == (0, 0)
        server.play(ok())
        assert statuses(await all_of(model, 20)) == {"ok"}


async def test_who_is_cancelled_as_the_gate_opens_gives_the_place_back() -> None:
    gate = Gate("p", "", Pulse(), RateLimit(0, 0), Window(1))
    first = await gate.enter(REQUEST)
    second = asyncio.create_task(gate.enter(REQUEST))
    await asyncio.sleep(0)
    assert not isinstance(first, Completion)
    gate.leave(first, "m", Completion("ok", "m"))
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    assert (gate.window._under_way, second.cancelled()) == (0, True)


@pytest.mark.parametrize(
    ("fault", "calls"),
    [(error(400), 1), (error(401), 1), (error(402), 1), (answer(reply(text="x", finish="length")), 1),
     (answer(reply(text="x", finish="content_filter")), 1), (answer(b" " * 2_000_000), 1), (answer([]), 2),
     (error(503), 3), (error(408), 3), (error(429, None, "Retry-After: 0.01"), 3)],
)  # fmt: skip
async def test_only_what_may_be_tried_again_is(fault: Fault, calls: int) -> None:
    async with fault_llm.serving(fault) as server, asking(server) as model:
        await Retrying(model, scale=0).complete(REQUEST)
        assert len(server.received) == calls


async def test_all_tries_are_charged_and_have_one_deadline() -> None:
    bad = json.dumps({**reply(text="x"), "choices": []}).encode()
    async with fault_llm.serving(answer(bad), ok()) as server, asking(server) as model:
        found = await Retrying(model, scale=0).complete(REQUEST)
        assert (found.status, found.usage.prompt, len(server.received)) == ("ok", 200, 2)
        server.play(error(503), NAMED["hang"])
        began, really = clock(), time.monotonic()
        found = await Retrying(model, deadline=1.5, scale=0).complete(REQUEST)
        assert time.monotonic() - really > 1.4
        assert clock() - began < 4
        assert (found.status, len(server.received)) == ("unavailable", 2)
        assert found.usage.prompt > 0, "the try that was cut short was sent"
        server.play(error(429, None, "Retry-After: 9"))
        found = await Retrying(model, deadline=0.4, scale=0).complete(REQUEST)
        assert (found.status, found.usage.prompt, len(server.received)) == ("rate_limit", 0, 1)
