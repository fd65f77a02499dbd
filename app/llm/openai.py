"""Any OpenAI-compatible endpoint, through the vendor's client: its errors become ours, its replies are not trusted."""

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator, Iterator
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any, TypeGuard

import aiohttp
import httpx2
import msgspec
import openai

from app import strict_json
from app.llm.model import Completion, Request, Status, ToolCall, Usage, encode_reply

REPLY_MAX = 1024 * 1024
"""Bytes of a reply that are read at all."""

CALLS_MAX = 256
"""Calls a reply may ask for; a turn carries out a few of them and answers every one."""

USAGE_MAX = 10_000_000
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


class _TooLarge(Exception):
    pass


class _TooManyCalls(Exception):
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
        http_client = openai.DefaultAioHttpClient(
            limits=limits, follow_redirects=False, event_hooks={"response": [_guard]}, trust_env=False
        )
        http_client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # one bad cookie breaks all calls
        self._client = openai.AsyncOpenAI(
            base_url=base_url,
            api_key=api_key or "none",
            organization="",
            project="",
            max_retries=0,
            timeout=timeout,
            http_client=http_client,
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
        except (openai.APIError, aiohttp.ClientError, httpx2.HTTPError, TimeoutError, _TooLarge, _Encoded) as error:
            completion = _failed(request, error)
        return msgspec.structs.replace(completion, latency_ms=int((time.monotonic() - started) * 1000))


def _failed(request: Request, error: Exception) -> Completion:
    causes = list(_causes(error))
    status: Status
    match error:
        case _TooLarge():
            status, detail = "too_large", f"the reply is over {REPLY_MAX:,} bytes"
        case _Encoded():
            status, detail = "too_large", "the reply is compressed, which was not asked for"
        case openai.APIStatusError():
            return _refused_by_provider(request, error)
        case _ if any(isinstance(cause, TimeoutError) for cause in causes):
            status, detail = "timeout", "the model took too long"
        case _:
            status, detail = "unavailable", f"the provider can't be reached ({type(causes[-1]).__name__})"
    return Completion(status, request.model, detail=detail)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from: the adapters on the way call a refused connection a time-out."""
    while error is not None:
        yield error
        error = error.__cause__


def _refused_by_provider(request: Request, error: openai.APIStatusError) -> Completion:
    code = error.status_code
    status = STATUS.get(code, "config" if code < 500 else "unavailable")
    if code == 429 and not OUT_OF_QUOTA.isdisjoint((error.code, str(error.type))):
        status = "quota"
    named = isinstance(error.code, str) and CODE.fullmatch(error.code)
    detail = f"HTTP {code}" + (f", {error.code}" if named else "")
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
        (choice,) = _listed(reply["choices"])
        message = choice["message"]
        text, calls = _text(message), _calls(message, f"call-{len(request.messages)}")
        refused = bool(message.get("refusal"))
        finish = choice.get("finish_reason")
        model = reply.get("model")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        return Completion("parse", request.model, raw=raw, detail=f"not a chat completion: {error}"[:300])
    except _TooManyCalls:
        return Completion("tool_schema", request.model, raw=raw, detail=f"asks for more than {CALLS_MAX} calls at once")
    completion = Completion(
        "ok",
        model.encode("utf-8", "replace").decode() if isinstance(model, str) else request.model,
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


def _usage(reported: object, request: Request, raw: bytes) -> Usage:
    """What the provider reports, if it can be true; else counted here: a token for four bytes."""
    usage = reported if isinstance(reported, dict) else {}
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not _plausible(prompt, 1):
        prompt = sum(map(len, request.messages)) // 4 + len(request.tools) // 4 + 1
    return Usage(
        prompt,
        completion if _plausible(completion, 0) else len(raw) // 4,
        min(cached, prompt) if _plausible(cached, 0) else 0,
    )


def _plausible(count: object, least: int) -> TypeGuard[int]:
    return type(count) is int and least <= count <= USAGE_MAX
