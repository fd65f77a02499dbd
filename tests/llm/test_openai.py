"""The client of providers against an endpoint that misbehaves: every fault has its status, and none an exception."""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.llm import openai as module
from app.llm.model import Completion, Request, ToolCall, Usage, encode_message
from app.llm.openai import CALLS_MAX, REPLY_MAX, OpenAIModel, read, retry_after
from app.llm.retry import AGAIN, LONGEST_WAIT, Retrying, wait
from tests import fault_llm
from tests.fault_llm import NAMED, Fault, FaultLLM, answer, error, head, ok, raw, reply

REQUEST = Request("m", (encode_message("user", "hi"),), max_tokens=50, seed=3)


@pytest.fixture
async def server() -> AsyncIterator[FaultLLM]:
    async with fault_llm.serving() as found:
        yield found


def client(server: FaultLLM, timeout: float = 5.0) -> OpenAIModel:
    return OpenAIModel(base_url=server.url, api_key="sk-test", timeout=timeout)


async def once(server: FaultLLM, *faults: Fault, seconds: float = 5.0) -> Completion:
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


async def test_a_plain_reply(server: FaultLLM) -> None:
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
async def test_http_statuses(server: FaultLLM, code: int, status: str) -> None:
    found = await once(server, error(code, "some_code"))
    assert (found.status, found.detail) == (status, f"HTTP {code}, some_code")
    assert len(server.received) == 1


@pytest.mark.parametrize("code", STATUSES)
async def test_what_may_be_tried_again_is(server: FaultLLM, code: int) -> None:
    server.play(error(code))
    model = Retrying(client(server), scale=0)
    assert (await model.complete(REQUEST)).status == STATUSES[code]
    await model.aclose()
    assert len(server.received) == (3 if STATUSES[code] in AGAIN else 1)


@pytest.mark.parametrize("code", ["insufficient_quota", "billing_hard_limit_reached"])
async def test_an_empty_account_is_not_asked_again(server: FaultLLM, code: str) -> None:
    server.play(error(429, code))
    model = Retrying(client(server), scale=0)
    assert (await model.complete(REQUEST)).status == "quota"
    server.play(answer({"error": {"type": code}}, 429))
    assert (await model.complete(REQUEST)).status == "quota"
    await model.aclose()
    assert len(server.received) == 1


async def test_a_try_after_trouble_succeeds(server: FaultLLM) -> None:
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
async def test_retry_after(server: FaultLLM, header: str, least: float, most: float) -> None:
    found = await once(server, error(429, None, f"Retry-After: {header}"))
    assert found.status == "rate_limit"
    assert found.retry_after is not None
    assert least <= found.retry_after <= most
    assert min(LONGEST_WAIT, found.retry_after) <= wait(found, 1) <= LONGEST_WAIT


@pytest.mark.parametrize(
    "header",
    ["", "soon", "-5", "nan", "inf", "-inf", "1e999", "Wed, 21 Oct 2015 07:28:00 GMT", "Thu, 99 Foo", ";", "٣ "],
)
def test_a_senseless_retry_after_is_none(header: str) -> None:
    assert retry_after(header) is None or header == "٣ "


@given(st.text() | st.from_regex(r"\w{3}, \d{1,5} \w{3} \d{1,12} \d\d?:\d\d?:\d\d? ?[-+\w]*"))
def test_any_retry_after_gives_seconds_or_none(header: str) -> None:
    found = retry_after(header)
    assert found is None or found >= 0


def test_retry_after_a_date() -> None:
    found = retry_after(formatdate(time.time() + 3_600, usegmt=True))
    assert found is not None
    assert 3_000 < found <= 3_600


def test_waits_are_bounded_without_a_header() -> None:
    failed = Completion("rate_limit", "m")
    assert all(0 <= wait(failed, tries) <= LONGEST_WAIT for tries in range(1, 40))


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
async def test_bad_http_is_a_status(server: FaultLLM, name: str) -> None:
    found = await once(server, raw(BAD_HTTP[name]))
    assert found.status in ("unavailable", "parse", "config")
    assert found.calls == ()


@pytest.mark.parametrize("after", [b"", b"HTTP/1.1 200 OK\r\n", head(length=900) + b'{"choices"'])
async def test_a_reset_is_unavailable(server: FaultLLM, after: bytes) -> None:
    assert (await once(server, fault_llm.reset(after))).status == "unavailable"


async def test_nobody_there_is_unavailable() -> None:
    async with fault_llm.serving() as gone:
        model = client(gone)
    found = await model.complete(REQUEST)
    await model.aclose()
    assert (found.status, found.detail) == ("unavailable", "the provider can't be reached (ConnectionRefusedError)")


@pytest.mark.parametrize("name", ["hang", "drip"])
async def test_the_deadline_is_for_the_whole_call(server: FaultLLM, name: str) -> None:
    fault = fault_llm.drip(every=0.05) if name == "drip" else NAMED[name]
    found = await once(server, fault, seconds=0.3)
    assert found.status == "timeout"
    assert len(server.received) == 1
    assert server.sent < 200


async def test_control_without_the_whole_deadline_a_drip_goes_on(
    server: FaultLLM, monkeypatch: pytest.MonkeyPatch
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
async def test_a_large_reply_is_not_read(server: FaultLLM, name: str) -> None:
    found = await once(server, TOO_LARGE[name])
    assert (found.status, found.raw) == ("too_large", b"")
    assert server.sent < REPLY_MAX + 2**20


async def test_control_without_the_cap_it_is_read(server: FaultLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPLY_MAX", 2**40)
    found = await once(server, TOO_LARGE["in chunks"])
    assert found.status == "parse"
    assert server.sent > 9_000_000


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "GZIP", "identity, gzip", "x-bomb"])
async def test_what_is_compressed_is_not_unpacked(server: FaultLLM, encoding: str) -> None:
    body = gzip.compress(json.dumps(reply(text=" " * 20_000_000)).encode())
    found = await once(server, answer(body, 200, f"Content-Encoding: {encoding}"))
    assert (found.status, found.raw) == ("too_large", b"")


async def test_control_without_the_check_it_is_unpacked(server: FaultLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unguarded(_: object) -> None:
        pass

    monkeypatch.setattr(module, "_guard", unguarded)
    body = gzip.compress(json.dumps(reply(text="a" * 2_000_000)).encode())
    assert len((await once(server, answer(body, 200, "Content-Encoding: gzip"))).text) == 2_000_000


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("scheme", ["target", "file:///etc/passwd", "http://[::bad", "//127.0.0.1", ""])
async def test_redirects_are_not_followed(server: FaultLLM, code: int, scheme: str) -> None:
    async with fault_llm.serving() as target:
        where = target.url if scheme == "target" else scheme
        found = await once(server, answer(b"", code, *([f"Location: {where}"] if where else [])))
        assert found.status == "config"
        assert (len(server.received), len(target.received)) == (1, 0)


async def test_control_a_client_that_follows_would_reach_the_target(
    server: FaultLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = openai.DefaultAioHttpClient
    monkeypatch.setattr(openai, "DefaultAioHttpClient", lambda **given: make(**{**given, "follow_redirects": True}))
    async with fault_llm.serving(ok()) as target:
        await once(server, answer(b"", 307, f"Location: {target.url}"))
        assert len(target.received) == 1


async def test_a_bad_cookie_does_not_break_the_calls_after_it(server: FaultLLM) -> None:
    server.play(answer(None, 200, "Set-Cookie: a=b; Path=/", "Set-Cookie: \xff\xfe=;;;"), ok())
    model = client(server)
    assert [(await model.complete(REQUEST)).status for _ in range(3)] == ["ok"] * 3
    await model.aclose()
    assert not any("cookie" in sent.headers for sent in server.received)


async def test_control_a_kept_bad_cookie_breaks_them(server: FaultLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DefaultCookiePolicy", lambda **_: DefaultCookiePolicy())
    server.play(answer(None, 200, "Set-Cookie: a=b; Path=/", "Set-Cookie: \xff\xfe=;;;"), ok())
    model = client(server)
    await model.complete(REQUEST)
    with pytest.raises(UnicodeEncodeError):
        await model.complete(REQUEST)
    await model.aclose()


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/octet-stream", "text/html", "application/json; charset=bogus"]
)
async def test_json_counts_not_its_type(server: FaultLLM, kind: str) -> None:
    assert (await once(server, answer(kind=kind))).text == "hello"


async def test_html_is_no_completion(server: FaultLLM) -> None:
    found = await once(server, NAMED["html"])
    assert (found.status, found.raw) == ("parse", b"<html>Welcome</html>")


async def test_errors_with_odd_bodies(server: FaultLLM) -> None:
    bodies = [b"[" * 100_000, b'{"error":' + b"9" * 6_000 + b"}", b"[1]", b"\xff\xfe<", b"", b"null", b'"x"', b"NaN"]
    for body in [*bodies, b'{"error":{"code":{"a":1},"message":5}}', b'{"error":{"code":"\\ud800\\u0000 <b>"}}']:
        found = await once(server, answer(body, 400))
        assert (found.status, found.detail) == ("config", "HTTP 400")


GOOD = reply(text="hello")


def shape(**choice: Any) -> dict[str, Any]:
    return {**GOOD, "choices": [choice]}


def message(**given: Any) -> dict[str, Any]:
    return reply(message=given)


def asks(call: Any) -> dict[str, Any]:
    return message(content=None, tool_calls=[call])


SHAPES: list[Any] = [
    [], "text", None, 5, True, {}, [GOOD], {"error": {"message": "no"}}, {"choices": None}, {"choices": []},
    {"choices": {}}, {"choices": {"0": GOOD["choices"][0]}}, {"choices": "abc"}, {"choices": 5}, {"choices": [None]},
    {"choices": ["x"]}, {"choices": [[]]}, {"choices": [{}]}, {"choices": GOOD["choices"] * 2}, shape(text="hello"),
    shape(message=None), shape(message="hello"), shape(message=[]), shape(message=5), shape(delta={"content": "x"}),
    message(content=5), message(content=True), message(content=["x"]), message(content={"text": "x"}),
    message(content=[{"type": "text", "text": "x"}]), message(tool_calls=5), message(tool_calls="abc"),
    message(tool_calls=True), message(tool_calls={"a": 1}), asks(None), asks("like_post"), asks([]), asks({}),
    asks({"function": None}), asks({"function": "like_post"}), asks({"function": []}), asks({"function": {}}),
    asks({"function": {"name": None}}), asks({"function": {"name": 5}}), asks({"function": {"name": ["a"]}}),
    asks({"function": {"name": {"a": 1}, "arguments": "{}"}}), asks({"name": "like_post", "arguments": "{}"}),
    message(content="\ud800"), asks({"id": "\ud800", "function": {"name": "a", "arguments": "{}"}}),
    asks({"id": "a", "function": {"name": "\udfff", "arguments": "{}"}}),
    asks({"id": "a", "function": {"name": "a", "arguments": "\ud800"}}),
    asks({"id": "a", "function": {"name": "a", "arguments": {"body": "\ud800"}}}),
]  # fmt: skip
_TEXT = json.dumps(GOOD)
BYTES: list[bytes] = [
    b"", b" ", b"\0", b"{", b"nul", b"\xff\xfe\x00", b"\xef\xbb\xbf" + _TEXT.encode(), _TEXT.encode("utf-16"),
    _TEXT.encode()[:-1], _TEXT.encode() + b"x", _TEXT.replace("100", "NaN").encode(),
    _TEXT.replace("100", "Infinity").encode(), _TEXT.replace("100", "-Infinity").encode(),
    _TEXT.replace("100", "1e999").encode(), _TEXT.replace("100", "9" * 5_000).encode(),
    _TEXT.replace('"model"', '"id"').encode(), _TEXT.replace('"content"', '"role"').encode(),
    _TEXT.replace('"hello"', "[" * 10_000 + "]" * 10_000).encode(),
    _TEXT.replace('"hello"', '{"a":' * 10_000 + "1" + "}" * 10_000).encode(),
    _TEXT.replace("hello", "hel\nlo").encode(), _TEXT.replace("hello", "\\x00").encode(), b"data: " + _TEXT.encode(),
    _TEXT.replace('"', "'").encode(), b"hello".join([b"\xc3\x28", b"\x80"]),
]  # fmt: skip


def test_wrong_shapes_are_parse() -> None:
    assert len(SHAPES) + len(BYTES) >= 70
    for body in [*(json.dumps(s).encode() for s in SHAPES), *BYTES]:
        found = read(REQUEST, body)
        assert (found.status, found.calls, found.raw) == ("parse", (), body), body[:200]
        found.detail.encode()


async def test_a_wrong_shape_is_asked_for_once_more(server: FaultLLM) -> None:
    server.play(answer([]))
    model = Retrying(client(server), scale=0)
    assert (await model.complete(REQUEST)).status == "parse"
    await model.aclose()
    assert len(server.received) == 2


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(json_values, st.sampled_from(["reply", "choice", "message", "call", "function", "arguments", "usage"]))
def test_any_reply_gives_a_completion(value: Any, where: str) -> None:
    bodies = {
        "reply": value,
        "choice": {**GOOD, "choices": [value]},
        "message": reply(message=value if value is not None else 0),
        "call": asks(value),
        "function": asks({"id": "a", "function": value}),
        "arguments": asks({"id": "a", "function": {"name": "a", "arguments": value}}),
        "usage": {**GOOD, "usage": value, "model": value},
    }
    found = read(REQUEST, json.dumps(bodies[where]).encode())
    assert found.status in ("ok", "parse", "refusal", "length")
    assert min(found.usage.prompt, found.usage.completion, found.usage.cached) >= 0
    found.model.encode()


@given(st.binary())
def test_any_bytes_give_a_completion(data: bytes) -> None:
    assert read(REQUEST, data).status == "parse"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ('{"post_id": 1}', '{"post_id": 1}'),
        ({"post_id": 1}, '{"post_id":1}'),
        ('"{\\"post_id\\": 1}"', '"{\\"post_id\\": 1}"'),
        ("", ""),
        (None, "null"),
        ('{"body":"hel', '{"body":"hel'),
        ([1], "[1]"),
        ({"i": 10**399}, '{"i":1' + "0" * 399 + "}"),
        ("a\0b", "a\0b"),
    ],
)
def test_arguments_are_kept_as_written(given: Any, text: str) -> None:
    call = {"id": "a", "function": {"name": "like_post", "arguments": given}}
    found = read(REQUEST, json.dumps(asks(call)).encode())
    assert [c.arguments for c in found.calls] == [text]


def test_what_was_cut_off_or_declined_asks_for_nothing() -> None:
    call = {"id": "a", "function": {"name": "create_post", "arguments": '{"body":"hel'}}
    for finish, status in (("length", "length"), ("content_filter", "refusal")):
        body = {**GOOD, "choices": [{"message": {"tool_calls": [call]}, "finish_reason": finish}]}
        found = read(REQUEST, json.dumps(body).encode())
        assert (found.status, found.calls) == (status, ())
    found = read(REQUEST, json.dumps(message(refusal="No.", tool_calls=[call])).encode())
    assert (found.status, found.calls) == ("refusal", ())


@pytest.mark.parametrize("given", [None, "", 5, [], {}])
def test_calls_without_ids_get_their_own_in_every_reply(given: Any) -> None:
    """Several providers give none; the ids of two replies must differ, or the second reply's calls look repeated."""
    body = json.dumps(asks({"id": given, "function": {"name": "like_post", "arguments": "{}"}})).encode()
    longer = Request("m", (*REQUEST.messages, b"{}", b"{}"))
    (first,), (second,) = read(REQUEST, body).calls, read(longer, body).calls
    assert first.id != second.id
    assert read(REQUEST, body).calls == (first,)


def test_a_flood_of_calls_is_refused_whole() -> None:
    call = {"id": "a", "function": {"name": "a", "arguments": "{}"}}
    assert len(read(REQUEST, json.dumps(message(tool_calls=[call] * CALLS_MAX)).encode()).calls) == CALLS_MAX
    found = read(REQUEST, json.dumps(message(tool_calls=[call] * (CALLS_MAX + 1))).encode())
    assert (found.status, found.calls) == ("tool_schema", ())


@pytest.mark.parametrize("wrong", [None, -5, "10", 1e9, 10**15, True, [], {}])
def test_usage_that_cannot_be_true_is_counted_here(wrong: Any) -> None:
    body = json.dumps({**GOOD, "usage": {"prompt_tokens": wrong, "completion_tokens": wrong}}).encode()
    found = read(REQUEST, body).usage
    assert found == Usage(sum(map(len, REQUEST.messages)) // 4 + 1, len(body) // 4, 0)


def test_no_prompt_is_free_and_no_more_is_cached_than_sent() -> None:
    assert read(REQUEST, json.dumps({**GOOD, "usage": {"prompt_tokens": 0}}).encode()).usage.prompt > 0
    usage = {"prompt_tokens": 10, "completion_tokens": 0, "prompt_tokens_details": {"cached_tokens": 9_999}}
    assert read(REQUEST, json.dumps({**GOOD, "usage": usage}).encode()).usage == Usage(10, 0, 10)
    for missing in ({**GOOD, "usage": None}, {**GOOD, "usage": []}, {**GOOD, "usage": {"prompt_tokens_details": 5}}):
        assert read(REQUEST, json.dumps(missing).encode()).usage.prompt > 0


@pytest.mark.parametrize(
    ("echoed", "kept"), [("other", "other"), (None, "m"), (5, "m"), ("a\ud800", "a?"), ("\0", "\0")]
)
def test_the_model_that_answered_is_kept(echoed: Any, kept: str) -> None:
    assert read(REQUEST, json.dumps({**GOOD, "model": echoed}).encode()).model == kept


async def test_one_client_serves_many_calls_and_lets_all_go(server: FaultLLM) -> None:
    server.play(*(f for _ in range(10) for f in (ok(), error(500), NAMED["trunc"], NAMED["hang"])), ok())
    before = asyncio.all_tasks()
    model = client(server, timeout=0.3)
    found = await asyncio.gather(*(model.complete(REQUEST) for _ in range(40)))
    await model.aclose()
    await until(lambda: server.open == 0)
    assert {f.status for f in found} == {"ok", "unavailable", "timeout"}
    assert asyncio.all_tasks() <= before
