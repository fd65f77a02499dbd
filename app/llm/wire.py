"""Any OpenAI-compatible endpoint, over plain HTTP: what the vendor's client promises here, for a fifth of its work."""

import asyncio
import time

import aiohttp
import msgspec

from app.llm import replies
from app.llm.model import Completion, Request


class RawModel:
    """One provider. `timeout` is in seconds and bounds a whole call, however slowly bytes drip."""

    def __init__(self, *, base_url: str, api_key: str, timeout: float = 60, connections: int = 256) -> None:
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._headers = {**replies.HEADERS, "User-Agent": "simfeed"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._timeout = timeout
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    def _opened(self) -> aiohttp.ClientSession:
        """The connections, once a loop is there to hold them."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def complete(self, request: Request) -> Completion:
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                completion = await self._ask(request)
        except (aiohttp.ClientError, OSError, replies.Unread) as error:
            completion = replies.failed(request, error)
        return msgspec.structs.replace(completion, latency_ms=int((time.monotonic() - started) * 1000))

    async def _ask(self, request: Request) -> Completion:
        asked = self._opened().post(self._url, data=request.body(), headers=self._headers, allow_redirects=False)
        async with asked as response:
            code, headers = response.status, response.headers
            replies.guard(code, headers.get("Content-Encoding"), headers.get("Content-Length"))
            body = await _body(response)
        if 200 <= code < 300:
            return replies.read(request, body)
        return replies.refused(request, code, headers.get("Retry-After"), body)


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """All of a reply, up to the cap."""
    chunks: list[bytes] = []
    taken = 0
    try:
        async for chunk in response.content.iter_any():
            taken += len(chunk)
            if taken > replies.REPLY_MAX:
                raise replies.TooLarge(response.status, taken)
            chunks.append(chunk)
    except (aiohttp.ClientError, OSError) as error:
        raise replies.BrokenOff(response.status, taken) from error
    return b"".join(chunks)
