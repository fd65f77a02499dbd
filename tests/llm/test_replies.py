"""What a provider's reply is taken for, whatever it holds, and what it is charged."""

import importlib
import json
import time
import warnings
from email.utils import formatdate
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.actions.feed import feed_actions
from app.llm.model import Request, Usage, encode_message, encode_result
from app.llm.replies import CALLS_MAX, read, retry_after, sent
from app.llm.retry import LONGEST_WAIT, wait
from tests.fault_llm import reply

PROMPTS = Path(__file__).parents[2] / "app" / "agent" / "prompts"
REQUEST = Request("m", (encode_message("user", "hi"),), max_tokens=50, seed=3)


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


def test_waits_are_bounded_and_a_rate_limit_is_not_waited_for_twice() -> None:
    assert all(0 <= wait("unavailable", tries) <= LONGEST_WAIT for tries in range(1, 40))
    assert wait("rate_limit", 5) == 0


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


@pytest.mark.parametrize("wrong", [None, -5, "10", 1e9, 10**15, True, [], {}, 0])
def test_usage_that_cannot_be_true_is_counted_here(wrong: Any) -> None:
    text = "a word or two " * 20
    body = json.dumps({**reply(text=text), "usage": {"prompt_tokens": wrong, "completion_tokens": wrong}}).encode()
    assert read(REQUEST, body).usage == Usage(sent(REQUEST), len(text) // 5, 0)
    assert sent(REQUEST) > 1


def test_what_is_reported_counts_where_it_is_more() -> None:
    usage = {"prompt_tokens": 5_000, "completion_tokens": 900, "prompt_tokens_details": {"cached_tokens": 4_000}}
    assert read(REQUEST, json.dumps({**GOOD, "usage": usage}).encode()).usage == Usage(5_000, 900, 4_000)


def test_no_prompt_is_free_and_no_more_is_cached_than_sent() -> None:
    assert read(REQUEST, json.dumps({**GOOD, "usage": {"prompt_tokens": 0}}).encode()).usage.prompt > 0
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 9_999}}
    assert read(REQUEST, json.dumps({**GOOD, "usage": usage}).encode()).usage == Usage(10, 2, 10)
    for missing in ({**GOOD, "usage": None}, {**GOOD, "usage": []}, {**GOOD, "usage": {"prompt_tokens_details": 5}}):
        assert read(REQUEST, json.dumps(missing).encode()).usage.prompt > 0


@pytest.mark.parametrize("refusal", [{"refusal": "No."}, {"content": "x"}])
def test_a_reply_that_is_no_use_is_charged_all_the_same(refusal: Any) -> None:
    body = {**GOOD, "choices": [{"message": refusal, "finish_reason": "length"}]}
    assert read(REQUEST, json.dumps(body).encode()).usage == Usage(100, 10)


def prompts() -> list[Request]:
    """What personas are sent, and what they see."""
    seen = {"by": "@ann", "by_id": 2, "ago": "3m", "likes": 1, "comments": 0, "text": "Trains are good, aren't they?"}
    posts = msgspec.json.encode({"posts": [{"id": 4_000 + n, **seen} for n in range(8)]}).decode()
    texts = [p.read_text(encoding="utf-8") for p in sorted(PROMPTS.glob("*.md"))]
    messages = (*(encode_message("system", text) for text in texts), encode_result("call_7", f"⟦k7f3⟧{posts}⟦k7f3⟧"))
    return [
        Request("m", messages[:n], feed_actions(has_liked=liked, follows=liked).tools)
        for n in (1, len(messages))
        for liked in (False, True)
    ]


@pytest.mark.parametrize("encoding", ["o200k_base", "cl100k_base"])
def test_the_count_made_here_is_below_any_real_one(encoding: str) -> None:
    """Tools are counted as providers show them to a model: as TypeScript, without most of the JSON."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tokenizer's package opens its data in a deprecated way
        count = importlib.import_module("bpe_openai").get_encoding(encoding).encode_ordinary
    for request in prompts():
        contents = [json.loads(m)["content"] for m in request.messages]
        shown = "\n".join(map(typescript, json.loads(request.tools)))
        assert sent(request) <= sum(len(count(c)) + 3 for c in contents) + len(count(shown))
        assert sent(request) * 3 > sum(len(count(c)) for c in contents)


def typescript(tool: dict[str, Any]) -> str:
    function = tool["function"]
    properties = function.get("parameters", {}).get("properties", {})
    fields = [f"// {v.get('description', '')}\n{k}: {v.get('type', 'any')}," for k, v in properties.items()]
    return (
        f"// {function.get('description', '')}\ntype {function['name']} = (_: {{\n" + "\n".join(fields) + "\n}) => any;"
    )


@pytest.mark.parametrize(
    ("echoed", "kept"), [("other", "other"), (None, "m"), (5, "m"), ("a\ud800", "a?"), ("\0", "\0")]
)
def test_the_model_that_answered_is_kept(echoed: Any, kept: str) -> None:
    assert read(REQUEST, json.dumps({**GOOD, "model": echoed}).encode()).model == kept
