"""Any OpenAI-compatible endpoint, through the vendor's client: its errors become ours, its replies are not trusted."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from http.cookiejar import DefaultCookiePolicy

import aiohttp
import httpx2
import msgspec
import openai

from app.llm import replies
from app.llm.model import Completion, Request


class _Capped(httpx2.AsyncByteStream):
    """A reply's bytes, up to the cap."""

    def __init__(self, inner: httpx2.AsyncByteStream, code: int) -> None:
        self._inner = inner
        self._code = code

    async def __aiter__(self) -> AsyncIterator[bytes]:
        taken = 0
        try:
            async for chunk in self._inner:
                taken += len(chunk)
                if taken > replies.REPLY_MAX:
                    raise replies.TooLarge(self._code, taken)
                yield chunk
        except (httpx2.HTTPError, aiohttp.ClientError, OSError) as error:
            raise replies.BrokenOff(self._code, taken) from error

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _guard(response: httpx2.Response) -> None:
    headers = response.headers
    replies.guard(response.status_code, headers.get("content-encoding"), headers.get("content-length"))
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _Capped(response.stream, response.status_code)


class OpenAIModel:
    """One provider. `timeout` is in seconds and bounds a whole call, however slowly bytes drip."""

    def __init__(self, *, base_url: str, api_key: str, timeout: float = 60, connections: int = 256) -> None:
        self._timeout = timeout
        limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
        http_client = openai.DefaultAioHttpClient(
            limits=limits,
            follow_redirects=False,
            event_hooks={"response": [_guard]},
            trust_env=False,
            verify=ssl.create_default_context(),  # heeds SSL_CERT_FILE, which trust_env=False else leaves out
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
                    options={"headers": replies.HEADERS},
                )
            completion = replies.read(request, reply.content)
        except openai.APIStatusError as error:
            response = error.response
            wait = response.headers.get("retry-after")
            completion = replies.refused(request, response.status_code, wait, response.content)
        except (openai.APIError, aiohttp.ClientError, httpx2.HTTPError, TimeoutError, replies.Unread) as error:
            completion = replies.failed(request, error)
        return msgspec.structs.replace(completion, latency_ms=int((time.monotonic() - started) * 1000))
