"""The gate to a provider, under load, against an endpoint that fails: how many calls it lets through, and when."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import pytest

from app.ledger.pulse import Pulse
from app.llm import admission, breaker
from app.llm.admission import Admitted, Gate
from app.llm.model import Completion, Model, Request, encode_message
from app.llm.rate_limit import Bucket, RateLimit
from app.llm.retry import Retrying
from app.llm.window import Slot, Window
from app.llm.wire import RawModel
from tests import fault_llm
from tests.fault_llm import NAMED, Exchange, Fault, FaultLLM, answer, error, ok, reply
from tests.pace import clock

REQUEST = Request("m", (encode_message("user", "hi"),), max_tokens=50)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses and probes in a twentieth of their time."""
    monkeypatch.setattr(admission, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(admission, "JITTER", (0.01, 0.03))
    monkeypatch.setattr(breaker, "FIRST_PROBE", 0.05)
    monkeypatch.setattr(breaker, "LAST_PROBE", 0.4)


@asynccontextmanager
async def asking(
    server: FaultLLM, pulse: Pulse | None = None, *, most: int = 64, deadline: float = 5, **limits: Any
) -> AsyncIterator[Admitted]:
    """The wrapper over a client and a gate of its own."""
    rates = RateLimit(limits.pop("requests", 0), limits.pop("tokens", 0))
    gate = Gate("custom", "sk-test", pulse or Pulse(), rates, Window(most), limits.pop("patience", 5))
    model = Admitted(RawModel(base_url=server.url, api_key="sk-test", timeout=deadline), gate)
    try:
        yield model
    finally:
        await model.aclose()


async def all_of(model: Model, number: int) -> list[Completion]:
    return await asyncio.gather(*(model.complete(REQUEST) for _ in range(number)))


def statuses(found: Iterable[Completion]) -> set[str]:
    return {f.status for f in found}


def timed(fault: Fault, at: list[float]) -> Fault:
    """`fault`, with the time of each request noted."""

    async def noted(exchange: Exchange) -> None:
        at.append(time.monotonic())
        await fault(exchange)

    return noted


async def test_a_wrong_key_costs_one_call_however_many_wait() -> None:
    pulse = Pulse()
    async with fault_llm.serving(error(401, "invalid_api_key")) as server, asking(server, pulse) as model:
        found = await all_of(Retrying(model), 64)
        assert statuses(found) == {"auth"}
        assert (len(server.received), [f.asked for f in found].count(True)) == (1, 1)
        assert {f.detail for f in found if not f.asked} == {
            "authentication refused by custom (HTTP 401, invalid_api_key)"
        }
        assert {f.model for f in found} == {"m"}
        pulse.unblock("custom")
        server.play(ok())
        assert statuses(await all_of(model, 8)) == {"ok"}


async def test_control_without_the_slow_start_each_asks_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Window, "has_room", lambda *_, **__: True)
    async with fault_llm.serving(error(401)) as server, asking(server) as model:
        await all_of(model, 64)
        assert len(server.received) > 32


@pytest.mark.parametrize(
    ("code", "name", "status"),
    [(401, None, "auth"), (402, None, "quota"), (429, "insufficient_quota", "quota")],
)
async def test_what_no_waiting_mends_blocks_the_provider(code: int, name: str | None, status: str) -> None:
    pulse = Pulse()
    async with fault_llm.serving(error(code, name)) as server, asking(server, pulse) as model:
        assert statuses([await Retrying(model).complete(REQUEST) for _ in range(3)]) == {status}
        assert len(server.received) == 1
        block = pulse.block_of("custom", "sk-test")
        assert block is not None
        assert block.status == status
        assert pulse.block_of("custom", "sk-other") is None


async def test_a_model_that_is_gone_is_not_asked_and_others_are() -> None:
    pulse = Pulse()
    async with fault_llm.serving(error(404, "model_not_found")) as server, asking(server, pulse) as model:
        assert statuses([await Retrying(model).complete(REQUEST) for _ in range(3)]) == {"config"}
        assert len(server.received) == 1
        assert pulse.blocked() == ["custom/m"]
        server.play(ok())
        assert (await model.complete(replace(REQUEST, model="another"))).status == "ok"


@pytest.mark.parametrize(("code", "status"), [(400, "config"), (403, "auth"), (413, "config"), (422, "config")])
async def test_a_request_that_is_refused_blocks_nobody(code: int, status: str) -> None:
    pulse = Pulse()
    async with fault_llm.serving(error(code)) as server, asking(server, pulse) as model:
        assert statuses([await Retrying(model).complete(REQUEST) for _ in range(3)]) == {status}
        assert len(server.received) == 3
        assert pulse.block_of("custom", "sk-test") is None


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_nobody_asks_while_the_provider_wants_to_be_left_alone(form: str) -> None:
    at: list[float] = []
    async with fault_llm.serving() as server, asking(server) as model:
        server.play(ok())
        await all_of(model, 20)
        wait = "1" if form == "seconds" else formatdate(time.time() + 2, usegmt=True)
        limited = time.monotonic()
        server.play(error(429, None, f"Retry-After: {wait}"))
        assert (await model.complete(REQUEST)).status == "rate_limit"
        least = model.gate.pulse.wait_of("custom")
        assert least <= 2
        assert time.monotonic() + least > limited + 0.9
        server.play(timed(slow(ok(), 0.1), at))
        assert statuses(await all_of(Retrying(model), 20)) == {"ok"}
        assert min(at) >= limited + least
        assert sum(t < min(at) + 0.1 for t in at) == 1


def slow(fault: Fault, seconds: float) -> Fault:
    """`fault`, which takes its time first."""

    async def later(exchange: Exchange) -> None:
        await asyncio.sleep(seconds)
        await fault(exchange)

    return later


async def test_turns_end_though_a_third_of_the_calls_are_limited() -> None:
    """Twenty personas of three steps: none asks inside a window, none fails for another reason."""
    at, pauses = list[float](), list[tuple[float, float]]()

    class Watched(Window):
        def enter(self, tokens: int) -> Slot:
            at.append(time.monotonic())
            return super().enter(tokens)

    class Noting(Pulse):
        def pause(self, provider: str, seconds: float) -> None:
            pauses.append((time.monotonic(), seconds))
            super().pause(provider, seconds)

    pattern = [ok(), ok(), error(429, None, "Retry-After: 0.1")] * 400

    async def turn(model: Model) -> list[str]:
        return [(await model.complete(REQUEST)).status for _ in range(3)]

    async with fault_llm.serving(*pattern) as server, asking(server, Noting(), patience=30) as model:
        model.gate.window = Watched(64)
        found = await asyncio.gather(*(turn(Retrying(model)) for _ in range(20)))
    assert {status for turn_ in found for status in turn_} <= {"ok", "rate_limit"}
    assert sum(turn_.count("ok") for turn_ in found) > 45
    assert len(pauses) > 5
    assert not [t for t in at for begun, seconds in pauses if begun < t < begun + seconds]


async def test_one_pause_does_not_use_up_the_patience_of_those_who_wait() -> None:
    pulse = Pulse()
    async with fault_llm.serving(slow(ok(), 0.2)) as server, asking(server, pulse, patience=1.5) as model:
        pulse.pause("custom", 2)
        assert statuses(await all_of(model, 6)) == {"ok"}


async def test_pause_after_pause_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "LONGEST_PAUSE", 0.3)
    async with (
        fault_llm.serving(error(429, None, "Retry-After: 9")) as server,
        asking(server, patience=0.5) as model,
    ):
        found = await all_of(model, 20)
        assert statuses(found) == {"rate_limit"}
        assert "asks us to wait" in next(f.detail for f in found if not f.asked)
        assert len(server.received) < 10


async def test_control_without_the_shared_pause_they_ask_inside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pulse, "wait_of", lambda *_: 0.0)
    at: list[float] = []
    async with (
        fault_llm.serving(error(429, None, "Retry-After: 50"), timed(ok(), at)) as server,
        asking(server) as model,
    ):
        began = time.monotonic()
        await all_of(model, 20)
        assert min(at) < began + 40


async def test_a_pause_of_another_process_counts_too() -> None:
    pulse, at = Pulse(), list[float]()
    async with fault_llm.serving(timed(ok(), at)) as server, asking(server, pulse) as model:
        await all_of(model, 20)
        at.clear()
        began = time.monotonic()
        pulse.pause("custom", 0.3)
        assert statuses(await all_of(model, 20)) == {"ok"}
        assert min(at) >= began + 0.3


@pytest.mark.parametrize(
    "header", [None, "999999", "-5", "garbage", "nan", "0", "inf", "Wed, 21 Oct 2015 07:28:00 GMT"]
)
async def test_a_senseless_wish_to_wait_is_bounded(header: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "LONGEST_PAUSE", 0.3)
    pulse = Pulse()
    lines = [] if header is None else [f"Retry-After: {header}"]
    async with fault_llm.serving(error(429, None, *lines), ok()) as server, asking(server, pulse) as model:
        assert (await model.complete(REQUEST)).status == "rate_limit"
        assert pulse.wait_of("custom") <= 0.3
        assert (await model.complete(REQUEST)).status == "ok"


async def test_control_an_absurd_wait_would_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "LONGEST_PAUSE", 1e9)
    pulse = Pulse()
    async with fault_llm.serving(error(429, None, "Retry-After: 999999")) as server, asking(server, pulse) as model:
        await model.complete(REQUEST)
        assert pulse.wait_of("custom") > 100_000


def test_pauses_without_a_wish_grow_to_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "FIRST_PAUSE", 1.0)
    monkeypatch.setattr(random, "uniform", lambda _, most: most)
    asked: list[float] = []
    pulse = Pulse()
    monkeypatch.setattr(pulse, "pause", lambda _, seconds: asked.append(seconds))
    gate = Gate("p", "", pulse, RateLimit(0, 0), Window(4))
    for _ in range(9):
        gate.leave(gate.window.enter(0), "m", Completion("rate_limit", "m"))
    assert asked == [2, 4, 8, 16, 32, 60, 60, 60, 60]


async def until(met: Any) -> None:
    for _ in range(500):
        if met():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


async def test_a_provider_that_is_down_is_probed_and_no_more() -> None:
    """Twenty callers, all failing: ten calls, then one at each probe; it closes soon after."""
    async with fault_llm.serving(error(500), error(502), error(503)) as server, asking(server, patience=20) as model:
        began = time.monotonic()
        calls = asyncio.gather(*(model.complete(REQUEST) for _ in range(40)))
        while not model.gate.breaker.open:
            await asyncio.sleep(0)
        assert len(server.received) == 10
        await asyncio.sleep(1.2)
        await until(lambda: len(server.received) > 10)
        spent = time.monotonic() - began
        assert 11 <= len(server.received) <= 10 + 5 + spent / 0.4
        back = clock()
        server.play(ok())
        found = await calls
        assert clock() - back < 5
        assert not model.gate.breaker.open
        assert [f.status for f in found].count("ok") > 20


async def test_control_without_the_breaker_every_caller_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "FAILURES", 10_000)
    async with fault_llm.serving(error(503)) as server, asking(server) as model:
        await all_of(model, 40)
        assert len(server.received) == 40


def test_probes_come_ever_later_up_to_eight_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    circuit, now = breaker.Breaker(), 100.0
    opened = [circuit.failed(now + n) for n in range(10)]
    assert opened == [False] * 9 + [True]
    now, waits = now + 9, []
    for _ in range(6):
        waits.append(circuit.wait(now))
        now += waits[-1]
        assert circuit.wait(now) == 0
        circuit.failed(now)
    assert waits == [1, 2, 4, 8, 8, 8]
    circuit.answered()
    for n in range(10):
        circuit.failed(now + n)
    now, waits = now + 9, []
    for _ in range(6):
        waits.append(circuit.wait(now))
        now += waits[-1]
        assert circuit.wait(now) == 0
        circuit.probed(now)
        circuit.hung()
    assert waits == [1, 1, 2, 4, 8, 8]
    circuit.answered()
    assert circuit.wait(now) == 0
    assert not any(circuit.failed(now + 31 * n) for n in range(30)), "far apart they are no burst"


async def test_who_waits_too_long_is_sent_away_unasked() -> None:
    async with fault_llm.serving(error(500)) as server, asking(server, patience=0.3) as model:
        found = await all_of(model, 40)
        assert statuses(found) == {"unavailable"}
        assert sum(f.asked for f in found) == len(server.received) < 20
        assert "does not answer" in next(f.detail for f in found if not f.asked)


async def test_behind_a_provider_that_hangs_nobody_waits_for_ever() -> None:
    async with fault_llm.serving(NAMED["hang"]) as server, asking(server, patience=0.4, deadline=0.3) as model:
        began = clock()
        found = await all_of(model, 40)
        assert clock() - began < 3
        assert statuses(found) <= {"timeout", "unavailable"}
        assert len(server.received) <= 4


@asynccontextmanager
async def behind_an_open_circuit(*faults: Fault, patience: float) -> AsyncIterator[tuple[Admitted, FaultLLM]]:
    """A provider that failed until the circuit opened, and now plays these."""
    async with fault_llm.serving(error(500)) as server, asking(server, patience=patience, deadline=30) as model:
        while not model.gate.breaker.open:
            await model.complete(REQUEST)
        server.play(*faults)
        yield model, server


async def test_a_probe_that_hangs_does_not_hold_back_the_next() -> None:
    async with behind_an_open_circuit(*[NAMED["hang"]] * 3, ok(), patience=20) as (model, server):
        hanging = [asyncio.create_task(model.complete(REQUEST)) for _ in range(3)]
        await asyncio.sleep(0)  # they come first
        assert (await model.complete(REQUEST)).status == "ok"
        assert not model.gate.breaker.open
        assert len(server.received) == 4
        assert not any(task.done() for task in hanging)
        await all_of(model, 8)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
    assert model.gate._probes == set()
    assert model.gate.window._under_way == 0


async def test_control_while_it_is_waited_for_nobody_else_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gate, "_give_up_probe", lambda _: None)
    async with behind_an_open_circuit(NAMED["hang"], ok(), patience=1) as (model, server):
        hanging = asyncio.create_task(model.complete(REQUEST))
        await asyncio.sleep(0)
        found = await model.complete(REQUEST)
        assert (found.status, found.asked, len(server.received)) == ("unavailable", False, 1)
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)


@pytest.mark.parametrize("counts", [True, False])
async def test_the_late_answer_of_a_slow_provider_closes_the_circuit(
    counts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes longer than any probe is waited for; if late answers did not count, it would stay shut out."""
    give_up = Gate._give_up_probe

    def forget(gate: Gate) -> None:
        give_up(gate)
        gate._probes.clear()

    if not counts:
        monkeypatch.setattr(Gate, "_give_up_probe", forget)
    async with behind_an_open_circuit(slow(ok(), 1.0), patience=30) as (model, server):
        first, began = asyncio.create_task(model.complete(REQUEST)), time.monotonic()
        await asyncio.sleep(0)
        others = [asyncio.create_task(model.complete(REQUEST)) for _ in range(40)]
        assert (await first).status == "ok"
        assert model.gate.breaker.open is not counts
        assert 2 <= len(server.received) <= 4 + (time.monotonic() - began) / 0.4
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


async def test_nobody_there() -> None:
    async with fault_llm.serving() as server:
        pass
    async with asking(server, patience=0.3) as model:
        assert statuses(await all_of(Retrying(model, scale=0), 20)) == {"unavailable"}
        assert model.gate.breaker.open


async def test_the_window_grows_with_answers_and_shrinks_with_failures() -> None:
    open_at_once: list[int] = []

    async def counted(exchange: Exchange) -> None:
        open_at_once.append(server.open)
        await asyncio.sleep(0.02)
        await ok()(exchange)

    async with fault_llm.serving(counted) as server, asking(server, most=16) as model:
        assert statuses(await all_of(model, 100)) == {"ok"}
        assert open_at_once[0] == 1
        assert 8 < max(open_at_once) <= 16
        window = model.gate.window
        assert window._size == 16
        slots = [window.enter(0) for _ in range(16)]
        for slot in slots:
            window.leave(slot)
            window.shrink(slot)
        assert window._size == 8, "what failed together counts once"


async def test_some_failures_do_not_stop_the_rest() -> None:
    async with fault_llm.serving(*[error(500), ok(), ok(), ok()] * 100) as server, asking(server) as model:
        found = await all_of(Retrying(model, scale=0), 60)
        assert [f.status for f in found].count("ok") > 50
        assert len(server.received) < 160


@pytest.mark.parametrize(("workers", "least"), [(1, 0.5), (3, 1.6)])
async def test_requests_a_minute_are_shared_by_the_workers(workers: int, least: float) -> None:
    pulse = Pulse(workers=workers)
    async with fault_llm.serving(ok()) as server, asking(server, pulse, requests=1_200) as model:
        began, really = clock(), time.monotonic()
        burst = max(1, 20 / workers)
        assert statuses(await all_of(model, 30 if workers == 1 else 18)) == {"ok"}
        assert time.monotonic() - really >= ((30 if workers == 1 else 18) - burst - 1) / (20 / workers) * 0.95
        assert least * 0.8 < time.monotonic() - really
        assert clock() - began < least * 5


async def test_control_without_a_limit_they_take_no_time() -> None:
    async with fault_llm.serving(ok()) as server, asking(server) as model:
        began = clock()
        await all_of(model, 200)
        assert clock() - began < 8, "a limit of 1,200 a minute would make it 9"


async def test_tokens_are_estimated_before_and_corrected_after() -> None:
    body = {**reply(text="x"), "usage": {"prompt_tokens": 100, "completion_tokens": 500}}
    async with fault_llm.serving(answer(body)) as server, asking(server, tokens=60_000) as model:
        estimate = model.gate.limits.estimate(REQUEST)
        assert 50 < estimate < 100
        began = time.monotonic()
        assert statuses([await model.complete(REQUEST) for _ in range(4)]) == {"ok"}
        assert time.monotonic() - began >= (3 * 600 + estimate - 1_000) / 1_000 * 0.95
        server.play(error(503))
        level = model.gate.limits._tokens
        assert level is not None
        before = level._level
        await model.complete(REQUEST)
        assert level._level >= before, "what was not charged is given back"


def test_a_bucket_holds_a_second_and_follows_the_number_of_sharers() -> None:
    bucket = Bucket(600)
    assert bucket.wait(1, 50) == 0
    bucket.take(10)
    assert bucket.wait(1, 50) == pytest.approx(0.1)
    assert bucket.wait(1, 50, sharers=5) == pytest.approx(0.5)
    assert bucket.wait(1_000, 1_000) == 0
    bucket.take(1_000)
    assert bucket.wait(1, 1_000) == pytest.approx(99.1)
