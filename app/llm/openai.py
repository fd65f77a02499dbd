"""Any OpenAI-compatible endpoint, through the vendor's client: its errors become ours, its replies are not trusted."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from typing import Any, TypeGuard

import httpx2
import msgspec
import openai

from app import strict_json
from app.llm.model import Completion, Request, Status, ToolCall, Usage, encode_reply

REPLY_MAX = 1024 * 1024
"""Bytes of a reply that are read at all."""

USAGE_MAX = 10_000_000
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


class _TooLarge(Exception):
    pass


class _Encoded(Exception):
    pass


class _Capped(httpx2.AsyncByteStream):
    """A reply's bytes, up to the cap."""

    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        taken = 0
        async for chunk in self._inner:
            taken += len(chunk)
            if taken > REPLY_MAX:
                raise _TooLarge
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _guard(response: httpx2.Response) -> None:
    """Refuse what is too large or compressed (a small reply can unpack to a huge one) before it is read."""
    if response.headers.get("content-encoding", "identity") not in ("", "identity"):
        raise _Encoded
    length = response.headers.get("content-length", "")
    if length.isdigit() and int(length[:12]) > REPLY_MAX:
        raise _TooLarge
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _Capped(response.stream)


class OpenAIModel:
    """One provider. `timeout` is in seconds and bounds a whole call, however slowly bytes drip."""

    def __init__(self, *, base_url: str, api_key: str, timeout: float = 60, connections: int = 256) -> None:
        self._timeout = timeout
        limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._client = openai.AsyncOpenAI(
            base_url=base_url,
            api_key=api_key or "none",
            organization="",
            project="",
            max_retries=0,
            timeout=timeout,
            http_client=openai.DefaultAioHttpClient(
                limits=limits, follow_redirects=False, event_hooks={"response": [_guard]}, trust_env=False
            ),
        )

    async def aclose(self) -> None:
        await self._client.close()

    async def complete(self, request: Request) -> Completion:
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                reply = await self._client.post(
                    "/chat/completions",
                    cast_to=httpx2.Response,
                    content=request.body(),
                    options={"headers": HEADERS},
                )
            completion = read(request, reply.content)
        except (openai.APIError, TimeoutError, _TooLarge, _Encoded) as error:
            completion = _failed(request, error)
        return msgspec.structs.replace(completion, latency_ms=int((time.monotonic() - started) * 1000))


def _failed(request: Request, error: Exception) -> Completion:
    cause = error.__cause__ if isinstance(error, openai.APIConnectionError) and error.__cause__ else error
    status: Status
    match cause:
        case _TooLarge():
            status, detail = "too_large", f"the reply is over {REPLY_MAX:,} bytes"
        case _Encoded():
            status, detail = "too_large", "the reply is compressed, which was not asked for"
        case TimeoutError() | openai.APITimeoutError() | httpx2.TimeoutException():
            status, detail = "timeout", "the model took too long"
        case openai.APIStatusError():
            return _refused_by_provider(request, cause)
        case _:
            status, detail = "unavailable", f"the provider can't be reached ({type(cause).__name__})"
    return Completion(status, request.model, detail=detail)


def _refused_by_provider(request: Request, error: openai.APIStatusError) -> Completion:
    code = error.status_code
    status = STATUS.get(code, "config" if code < 500 else "unavailable")
    if code == 429 and error.code in ("insufficient_quota", "billing_hard_limit_reached"):
        status = "quota"
    detail = f"HTTP {code}" + (f", {error.code}" if isinstance(error.code, str) else "")
    if 300 <= code < 400:
        detail += ": a redirect, which is not followed; is the base URL right?"
    return Completion(
        status, request.model, detail=detail[:300], retry_after=retry_after(error.response.headers.get("retry-after"))
    )


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
    try:
        reply = strict_json.loads(raw)
        choice = reply["choices"][0]
        message = choice["message"]
        text, calls = _text(message), _calls(message)
        refused = bool(message.get("refusal"))
        finish = choice.get("finish_reason")
        model = reply.get("model")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        return Completion("parse", request.model, raw=raw, detail=f"not a chat completion: {error}"[:300])
    completion = Completion(
        "ok",
        model if isinstance(model, str) else request.model,
        text,
        calls,
        _usage(reply.get("usage"), request, raw),
        raw,
        encode_reply(text, calls),
    )
    if refused or finish == "content_filter":
        return msgspec.structs.replace(completion, status="refusal", detail="the model declined to answer", calls=())
    if finish == "length":
        return msgspec.structs.replace(completion, status="length", detail="cut off at its token limit", calls=())
    return completion


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if content is None:
        return ""
    if isinstance(content, str):
        content.encode()
        return content
    raise TypeError("content is not text")


def _calls(message: dict[str, Any]) -> tuple[ToolCall, ...]:
    calls = []
    for n, call in enumerate(message.get("tool_calls") or []):
        function = call["function"]
        name, arguments = function["name"], function.get("arguments", "")
        if not isinstance(name, str):
            raise TypeError("a call's name is not text")
        text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
        call_id = call.get("id")
        (name + text).encode()
        calls.append(ToolCall(call_id if isinstance(call_id, str) and call_id else f"call-{n}-{name}", name, text))
    return tuple(calls)


def _usage(reported: object, request: Request, raw: bytes) -> Usage:
    """What the provider reports, if it can be true; else counted here: a token for four bytes."""
    usage = reported if isinstance(reported, dict) else {}
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    return Usage(
        prompt if _plausible(prompt) else sum(map(len, request.messages)) // 4 + len(request.tools) // 4,
        completion if _plausible(completion) else len(raw) // 4,
        cached if _plausible(cached) else 0,
    )


def _plausible(count: object) -> TypeGuard[int]:
    return type(count) is int and 0 <= count <= USAGE_MAX
