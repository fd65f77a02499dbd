"""What providers send back, over either transport: statuses, waits, usage and replies, none of it trusted."""

import math
import re
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from app import strict_json
from app.llm.model import Completion, Request, Status, ToolCall, Usage, encode_reply

REPLY_MAX = 1024 * 1024
"""Bytes of a reply that are read at all."""

CALLS_MAX = 256
"""Calls a reply may ask for; a turn carries out a few of them and answers every one."""

USAGE_MAX = 10_000_000
TEXT_BYTES = 5
"""Bytes of text that are at least a token; of English JSON a token has three to four."""

TOOLS_BYTES = 10
"""The same for tools: providers show a model a shorter form of them, with half the tokens of the JSON."""

OUT_OF_QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
CODE = re.compile(r"[\w.-]{1,64}", re.ASCII)
HEADERS = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
STATUS: dict[int, Status] = {
    400: "config",
    401: "auth",
    402: "quota",
    403: "auth",
    404: "config",
    408: "timeout",
    413: "config",
    422: "config",
    429: "rate_limit",
}


class Unread(Exception):
    """A reply of `code` of which no more than `taken` bytes were read."""

    def __init__(self, code: int, taken: int = 0) -> None:
        super().__init__(f"{taken} bytes of a reply of status {code}")
        self.code = code
        self.taken = taken


class TooLarge(Unread):
    pass


class Encoded(Unread):
    pass


class BrokenOff(Unread):
    pass


class _TooManyCalls(Exception):
    pass


def guard(code: int, encoding: str | None, length: str | None) -> None:
    """Refuse what is too large or compressed (a small reply can unpack to a huge one) before it is read.

    Raises:
        Encoded, TooLarge: as its headers say.
    """
    if (encoding or "identity") != "identity":
        raise Encoded(code)
    if length and length.isdigit() and int(length[:12]) > REPLY_MAX:
        raise TooLarge(code)


def failed(request: Request, error: Exception) -> Completion:
    """What came of a call that got no whole reply; what was sent may be charged unless it was refused at once."""
    causes = list(_causes(error))
    unread = next((cause for cause in causes if isinstance(cause, Unread)), None)
    usage = Usage()
    if unread is not None and unread.code < 300:
        usage = Usage(sent(request), unread.taken // TEXT_BYTES)
    status: Status
    match unread:
        case TooLarge():
            status, detail = "too_large", f"the reply is over {REPLY_MAX:,} bytes"
        case Encoded():
            status, detail = "too_large", "the reply is compressed, which was not asked for"
        case _ if any(isinstance(cause, TimeoutError) for cause in causes):
            status, detail = "timeout", "the model took too long"
            usage = Usage(sent(request))
        case _:
            status, detail = "unavailable", f"the provider can't be reached ({type(causes[-1]).__name__})"
    return Completion(status, request.model, usage=usage, detail=detail)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from: the adapters on the way call a refused connection a time-out."""
    while error is not None:
        yield error
        error = error.__cause__


def refused(request: Request, code: int, wait: str | None, body: bytes) -> Completion:
    """A reply whose HTTP status is not 200 to 299."""
    status = STATUS.get(code, "config" if code < 500 else "unavailable")
    named, kind = _named(body)
    if code == 429 and not OUT_OF_QUOTA.isdisjoint((named, kind)):
        status = "quota"
    detail = f"HTTP {code}" + (f", {named}" if CODE.fullmatch(named) else "")
    if 300 <= code < 400:
        detail += ": a redirect, which is not followed; is the base URL right?"
    return Completion(status, request.model, detail=detail, retry_after=retry_after(wait))


def _named(body: bytes) -> tuple[str, str]:
    """An error's code and type, as far as it has them."""
    try:
        reply = strict_json.loads(body)
    except ValueError:
        return "", ""
    error = reply.get("error", reply) if isinstance(reply, dict) else None
    if not isinstance(error, dict):
        return "", ""
    code, kind = error.get("code"), error.get("type")
    return code if isinstance(code, str) else "", kind if isinstance(kind, str) else ""


def retry_after(header: str | None) -> float | None:
    """Seconds a `Retry-After` header asks to wait (RFC 9110, both forms); None when it says nothing sensible."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def read(request: Request, raw: bytes) -> Completion:
    """A reply's bytes as a completion; what is not of the expected form is `parse`."""
    reply: Any = None
    try:
        reply = strict_json.loads(raw)
        (choice,) = _listed(reply["choices"])
        message = choice["message"]
        text, calls = _text(message), _calls(message, f"call-{len(request.messages)}")
        refusal = bool(message.get("refusal"))
        finish = choice.get("finish_reason")
        model = reply.get("model")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        return _unusable("parse", request, reply, raw, f"not a chat completion: {error}"[:300])
    except _TooManyCalls:
        return _unusable("tool_schema", request, reply, raw, f"asks for more than {CALLS_MAX} calls at once")
    written = "".join([text, *(part for c in calls for part in (c.name, c.arguments))])
    completion = Completion(
        "ok",
        model.encode("utf-8", "replace").decode() if isinstance(model, str) else request.model,
        text,
        calls,
        charged(reply.get("usage"), request, len(written.encode())),
        raw,
        encode_reply(text, calls),
    )
    if refusal or finish == "content_filter":
        return msgspec.structs.replace(completion, status="refusal", detail="the model declined to answer", calls=())
    if finish == "length":
        return msgspec.structs.replace(completion, status="length", detail="cut off at its token limit", calls=())
    return completion


def _unusable(status: Status, request: Request, reply: Any, raw: bytes, detail: str) -> Completion:
    reported = reply.get("usage") if isinstance(reply, dict) else None
    usage = charged(reported, request, 0)
    if not usage.completion:
        usage = msgspec.structs.replace(usage, completion=len(raw) // TEXT_BYTES)
    return Completion(status, request.model, usage=usage, raw=raw, detail=detail)


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if content is None:
        return ""
    if isinstance(content, str):
        content.encode()
        return content
    raise TypeError("content is not text")


def _listed(value: object) -> list[Any]:
    if isinstance(value, list):
        return value
    raise TypeError("a list was expected")


def _calls(message: dict[str, Any], unnamed: str) -> tuple[ToolCall, ...]:
    """The calls of a message; some providers give them no id, or no id of their own."""
    asked = _listed(message.get("tool_calls") or [])
    if len(asked) > CALLS_MAX:
        raise _TooManyCalls
    calls = []
    for n, call in enumerate(asked):
        function, call_id = call["function"], call.get("id")
        name, arguments = function["name"], function.get("arguments", "")
        if not isinstance(name, str):
            raise TypeError("a call's name is not text")
        text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
        call_id = call_id if isinstance(call_id, str) and call_id else f"{unnamed}-{n}"
        (call_id + name + text).encode()
        calls.append(ToolCall(call_id, name, text))
    return tuple(calls)


def sent(request: Request) -> int:
    """Tokens that a request has at the least, by its bytes."""
    return sum(map(len, request.messages)) // TEXT_BYTES + len(request.tools) // TOOLS_BYTES + 1


def charged(reported: object, request: Request, written: int) -> Usage:
    """The tokens to charge: what the provider reports if it can be true, but never less than the bytes show.

    Args:
        written: bytes the model wrote.
    """
    usage = reported if isinstance(reported, dict) else {}
    details = usage.get("prompt_tokens_details")
    prompt = max(_count(usage.get("prompt_tokens")), sent(request))
    return Usage(
        prompt,
        max(_count(usage.get("completion_tokens")), written // TEXT_BYTES),
        min(_count(details.get("cached_tokens")), prompt) if isinstance(details, dict) else 0,
    )


def _count(reported: object) -> int:
    """A count of tokens that can be true; else 0."""
    return reported if type(reported) is int and 0 <= reported <= USAGE_MAX else 0
