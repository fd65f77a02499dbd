"""Both clients of providers against an endpoint that misbehaves: every fault has its status, and none an exception."""

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import aiohttp
import openai
import pytest

from app.llm import openai as sdk
from app.llm import replies
from app.llm.model import Completion, Model, Request, ToolCall, Usage, encode_message
from app.llm.openai import OpenAIModel
from app.llm.replies import REPLY_MAX, sent
from app.llm.retry import TRIES, Retrying
from app.llm.wire import RawModel
from tests import fault_llm
from tests.fault_llm import NAMED, Fault, FaultLLM, answer, error, head, ok, raw, reply

REQUEST = Request("m", (encode_message("user", "hi"),), max_tokens=50, seed=3)


TRANSPORTS: dict[str, type[OpenAIModel | RawModel]] = {"sdk": OpenAIModel, "raw": RawModel}


@dataclass
class Server(FaultLLM):
    """The endpoint, and which of the two clients asks it."""

    transport: str = "sdk"


@pytest.fixture(params=TRANSPORTS)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    found = Server(transport=request.param)
    await found.start()
    yield found
    await found.stop()


def client(server: Server, timeout: float = 5.0) -> Model:
    return TRANSPORTS[server.transport](base_url=server.url, api_key="sk-test", timeout=timeout)


async def once(server: Server, *faults: Fault, seconds: float = 5.0) -> Completion:
    """One call by a client of its own, which is closed; nothing may be left of it."""
    server.play(*faults)
    before = asyncio.all_tasks()
    model = client(server, seconds)
    try:
        return await model.complete(REQUEST)
    finally:
        await model.aclose()
        await until(lambda: server.open == 0)
        assert asyncio.all_tasks() <= before


async def until(met: Any) -> None:
    for _ in range(500):
        if met():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


async def test_a_plain_reply(server: Server) -> None:
    found = await once(server, ok(("like_post", {"post_id": 7}), text="Nice."))
    assert (found.status, found.text, found.model) == ("ok", "Nice.", "m")
    assert found.calls == (ToolCall("c0", "like_post", '{"post_id": 7}'),)
    assert found.usage == Usage(100, 10, 0)
    (sent,) = server.received
    assert sent.body == REQUEST.body()
    assert (sent.path, sent.headers["authorization"]) == ("/v1/chat/completions", "Bearer sk-test")
    assert sent.headers["accept-encoding"] == "identity"


STATUSES = {
    400: "config",
    401: "auth",
    402: "quota",
    403: "auth",
    404: "config",
    405: "config",
    408: "timeout",
    409: "config",
    413: "config",
    418: "config",
    422: "config",
    429: "rate_limit",
    500: "unavailable",
    502: "unavailable",
    503: "unavailable",
    504: "unavailable",
    529: "unavailable",
    999: "unavailable",
}


@pytest.mark.parametrize(("code", "status"), STATUSES.items())
async def test_http_statuses(server: Server, code: int, status: str) -> None:
    found = await once(server, error(code, "some_code"))
    assert (found.status, found.detail) == (status, f"HTTP {code}, some_code")
    assert len(server.received) == 1


@pytest.mark.parametrize("code", STATUSES)
async def test_what_may_be_tried_again_is(server: Server, code: int) -> None:
    server.play(error(code))
    model = Retrying(client(server), scale=0)
    assert (await model.complete(REQUEST)).status == STATUSES[code]
    await model.aclose()
    assert len(server.received) == TRIES.get(STATUSES[code], 1)


@pytest.mark.parametrize("code", ["insufficient_quota", "billing_hard_limit_reached"])
async def test_an_empty_account_is_not_asked_again(server: Server, code: str) -> None:
    server.play(error(429, code))
    model = Retrying(client(server), scale=0)
    assert (await model.complete(REQUEST)).status == "quota"
    server.play(answer({"error": {"type": code}}, 429))
    assert (await model.complete(REQUEST)).status == "quota"
    await model.aclose()
    assert len(server.received) == 1


async def test_a_try_after_trouble_succeeds(server: Server) -> None:
    server.play(error(503), fault_llm.reset(), ok())
    model = Retrying(client(server), scale=0)
    assert (await model.complete(REQUEST)).status == "ok"
    await model.aclose()
    assert len(server.received) == 3


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("3", 3, 3),
        ("0", 0, 0),
        ("2.5", 2.5, 2.5),
        ("999999", 999_999, 999_999),
    ],
)
async def test_retry_after(server: Server, header: str, least: float, most: float) -> None:
    found = await once(server, error(429, None, f"Retry-After: {header}"))
    assert found.status == "rate_limit"
    assert found.retry_after is not None
    assert least <= found.retry_after <= most


HUGE = b"a" * 100_000
BAD_HTTP: dict[str, bytes] = {
    "no status": b"HTTP/1.1 abc\r\n\r\n",
    "no HTTP": b"\x00\x01\x02 hello\r\n\r\n",
    "HTTP/0.9": b"hello",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\n",
    "huge header": b"HTTP/1.1 200 OK\r\nX: " + HUGE + b"\r\n\r\n",
    "length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\nabc",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nabc",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nabc",
    "length and chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc",
    "half a head": b"HTTP/1.1 200 OK\r\n",
    "nothing": b"",
    "upgrade": b"HTTP/1.1 101 Switch\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nxx",
    "status 099": b"HTTP/1.1 099 No\r\nContent-Length: 0\r\n\r\n",
    "truncated body": head(length=500) + json.dumps(reply(text="hello")).encode(),
    "truncated error": head(500, length=500) + b"{",
    "truncated chunks": head(200, "Transfer-Encoding: chunked") + b"5\r\nab",
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_HTTP)
async def test_bad_http_is_a_status(server: Server, name: str) -> None:
    found = await once(server, raw(BAD_HTTP[name]))
    assert found.status in ("unavailable", "parse", "config")
    assert found.calls == ()


@pytest.mark.parametrize("after", [b"", b"HTTP/1.1 200 OK\r\n", head(length=900) + b'{"choices"'])
async def test_a_reset_is_unavailable(server: Server, after: bytes) -> None:
    assert (await once(server, fault_llm.reset(after))).status == "unavailable"


async def test_nobody_there_is_unavailable(server: Server) -> None:
    with socket.socket() as held:  # bound, so that nobody else gets it, and not listened at
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/v1"
        model = TRANSPORTS[server.transport](base_url=url, api_key="sk-test", timeout=5.0)
        found = await model.complete(REQUEST)
        await model.aclose()
    assert (found.status, found.detail) == ("unavailable", "the provider can't be reached (ConnectionRefusedError)")


@pytest.mark.parametrize("name", ["hang", "drip"])
async def test_the_deadline_is_for_the_whole_call(server: Server, name: str) -> None:
    fault = fault_llm.drip(every=0.05) if name == "drip" else NAMED[name]
    found = await once(server, fault, seconds=1.0)
    assert found.status == "timeout"
    assert len(server.received) == 1
    assert server.sent < 200


async def test_control_without_the_whole_deadline_a_drip_goes_on(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each read is in time, so only the deadline over all of them ends it."""
    monkeypatch.setattr(asyncio, "timeout", lambda _: asyncio.timeout_at(None))
    body = json.dumps(reply(text="hello")).encode()
    found = await once(server, fault_llm.drip(every=0.002, body=body), seconds=0.3)
    assert found.status == "ok"


TOO_LARGE: dict[str, Fault] = {
    "declared": answer(b" " * 10_000_000),
    "in chunks": fault_llm.chunked(10_000_000),
    "endless": fault_llm.endless(),
    "an error": answer(b" " * 10_000_000, 500),
    "no length": raw(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 10_000_000),
}


@pytest.mark.parametrize("name", TOO_LARGE)
async def test_a_large_reply_is_not_read(server: Server, name: str) -> None:
    found = await once(server, TOO_LARGE[name])
    assert (found.status, found.raw) == ("too_large", b"")
    assert server.sent < REPLY_MAX + 2**20


async def test_control_without_the_cap_it_is_read(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "REPLY_MAX", 2**40)
    found = await once(server, TOO_LARGE["in chunks"])
    assert found.status == "parse"
    assert server.sent > 9_000_000


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "GZIP", "identity, gzip", "x-bomb"])
async def test_what_is_compressed_is_not_unpacked(server: Server, encoding: str) -> None:
    body = gzip.compress(json.dumps(reply(text=" " * 20_000_000)).encode())
    found = await once(server, answer(body, 200, f"Content-Encoding: {encoding}"))
    assert (found.status, found.raw) == ("too_large", b"")


async def test_control_without_the_check_it_is_unpacked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    make = aiohttp.ClientSession
    monkeypatch.setattr(replies, "guard", lambda *_: None)
    monkeypatch.setattr(aiohttp, "ClientSession", lambda **given: make(**{**given, "auto_decompress": True}))
    body = gzip.compress(json.dumps(reply(text="a" * 900_000)).encode())
    assert len((await once(server, answer(body, 200, "Content-Encoding: gzip"))).text) == 900_000


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("scheme", ["target", "file:///etc/passwd", "http://[::bad", "//127.0.0.1", ""])
async def test_redirects_are_not_followed(server: Server, code: int, scheme: str) -> None:
    async with fault_llm.serving() as target:
        where = target.url if scheme == "target" else scheme
        found = await once(server, answer(b"", code, *([f"Location: {where}"] if where else [])))
        assert found.status == "config"
        assert (len(server.received), len(target.received)) == (1, 0)


async def test_control_a_client_that_follows_would_reach_the_target(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, post = openai.DefaultAioHttpClient, aiohttp.ClientSession.post
    monkeypatch.setattr(openai, "DefaultAioHttpClient", lambda **given: make(**{**given, "follow_redirects": True}))
    monkeypatch.setattr(
        aiohttp.ClientSession, "post", lambda *a, **given: post(*a, **{**given, "allow_redirects": True})
    )
    async with fault_llm.serving(ok()) as target:
        await once(server, answer(b"", 307, f"Location: {target.url}"))
        assert len(target.received) == 1


async def test_a_bad_cookie_does_not_break_the_calls_after_it(server: Server) -> None:
    server.play(answer(None, 200, "Set-Cookie: a=b; Path=/", "Set-Cookie: \xff\xfe=;;;"), ok())
    model = client(server)
    assert [(await model.complete(REQUEST)).status for _ in range(3)] == ["ok"] * 3
    await model.aclose()
    assert not any("cookie" in sent.headers for sent in server.received)


async def test_control_a_kept_bad_cookie_breaks_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk, "DefaultCookiePolicy", lambda **_: DefaultCookiePolicy())
    async with fault_llm.serving(
        answer(None, 200, "Set-Cookie: a=b; Path=/", "Set-Cookie: \xff\xfe=;;;"), ok()
    ) as server:
        model = OpenAIModel(base_url=server.url, api_key="sk-test")
        await model.complete(REQUEST)
        with pytest.raises(UnicodeEncodeError):
            await model.complete(REQUEST)
        await model.aclose()


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/octet-stream", "text/html", "application/json; charset=bogus"]
)
async def test_json_counts_not_its_type(server: Server, kind: str) -> None:
    assert (await once(server, answer(kind=kind))).text == "hello"


async def test_html_is_no_completion(server: Server) -> None:
    found = await once(server, NAMED["html"])
    assert (found.status, found.raw) == ("parse", b"<html>Welcome</html>")


async def test_errors_with_odd_bodies(server: Server) -> None:
    bodies = [b"[" * 100_000, b'{"error":' + b"9" * 6_000 + b"}", b"[1]", b"\xff\xfe<", b"", b"null", b'"x"', b"NaN"]
    for body in [*bodies, b'{"error":{"code":{"a":1},"message":5}}', b'{"error":{"code":"\\ud800\\u0000 <b>"}}']:
        found = await once(server, answer(body, 400))
        assert (found.status, found.detail) == ("config", "HTTP 400")


async def test_a_wrong_shape_is_asked_for_once_more(server: Server) -> None:
    server.play(answer([]))
    model = Retrying(client(server), scale=0)
    assert (await model.complete(REQUEST)).status == "parse"
    await model.aclose()
    assert len(server.received) == 2


CHARGED: dict[str, tuple[Fault, str, int]] = {
    "parse": (answer([]), "parse", 0),
    "parse, reported": (answer({**reply(text="hello"), "choices": []}), "parse", 10),
    "timeout": (NAMED["hang"], "timeout", 0),
    "too large, declared": (answer(b" " * 10_000_000), "too_large", 0),
    "too large, chunks": (fault_llm.endless(), "too_large", REPLY_MAX // 5),
    "compressed": (answer(b"x", 200, "Content-Encoding: gzip"), "too_large", 0),
    "broken off": (NAMED["trunc"], "unavailable", 20),
    "reset midway": (NAMED["midreset"], "unavailable", 2),
}


@pytest.mark.parametrize("name", CHARGED)
async def test_what_was_sent_is_charged(server: Server, name: str) -> None:
    fault, status, least = CHARGED[name]
    found = await once(server, fault, seconds=0.4 if status == "timeout" else 5)
    assert found.status == status
    assert found.usage.prompt >= sent(REQUEST)
    assert found.usage.completion >= least


FREE: list[Fault] = [error(c) for c in (401, 402, 404, 408, 429, 500, 503)] + [
    fault_llm.reset(),
    answer(b" " * 10_000_000, 500),
]


async def test_what_was_refused_is_not_charged(server: Server) -> None:
    for fault in FREE:
        assert (await once(server, fault)).usage == Usage()
    await server.stop()
    model = client(server)
    assert (await model.complete(REQUEST)).usage == Usage()
    await model.aclose()


async def test_one_client_serves_many_calls_and_lets_all_go(server: Server) -> None:
    server.play(*(f for _ in range(10) for f in (ok(), error(500), NAMED["trunc"], NAMED["hang"])), ok())
    before = asyncio.all_tasks()
    model = client(server, timeout=1.5)
    found = await asyncio.gather(*(model.complete(REQUEST) for _ in range(40)))
    await model.aclose()
    await until(lambda: server.open == 0)
    assert {f.status for f in found} == {"ok", "unavailable", "timeout"}
    assert asyncio.all_tasks() <= before
