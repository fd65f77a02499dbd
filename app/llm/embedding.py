"""Texts as vectors, from any OpenAI-compatible endpoint: what memories are compared by where a model is set for it."""

import asyncio
from collections.abc import Sequence

import aiohttp
import msgspec
import structlog

from app.errors import Misconfigured
from app.llm import replies
from app.llm.gateway import endpoint
from app.settings import Settings

TEXT_MAX = 2_000
NUMBERS_MAX = 16_000
"""Dimensions that pgvector takes."""

ANSWER_MAX = 64 * 1024**2
log = structlog.get_logger()


class _One(msgspec.Struct):
    index: int
    embedding: list[float]


class _Embeddings(msgspec.Struct):
    data: list[_One]


async def embed(settings: Settings, texts: Sequence[str]) -> list[list[float]]:
    """A vector for each text, all of one length, from EMBEDDING_MODEL; empty when it gives nothing, and why is logged.

    One request, without retries, within MODEL_TIMEOUT: who asks falls back to words.
    """
    if not texts or settings.embedding_model is None:
        return []
    try:
        async with asyncio.timeout(settings.model_timeout):
            found = await _ask(settings, settings.embedding_model, texts)
    except (aiohttp.ClientError, OSError, msgspec.DecodeError, Misconfigured, replies.Unread) as error:
        why = f"{type(error).__name__}: {error}"[:200]
        log.warning("no embeddings: words decide what is relevant", model=settings.embedding_model, error=why)
        return []
    sizes = {len(vector) for vector in found}
    if len(found) != len(texts) or len(sizes) != 1 or not 0 < min(sizes) <= NUMBERS_MAX:
        log.warning("no embeddings: the answer does not fit what was asked", model=settings.embedding_model)
        return []
    return found


async def _ask(settings: Settings, model: str, texts: Sequence[str]) -> list[list[float]]:
    where = endpoint(settings, model)
    headers = {**replies.HEADERS, "User-Agent": "simfeed"}
    if where.key:
        headers["Authorization"] = f"Bearer {where.key}"
    asked = msgspec.json.encode({"model": where.name, "input": [text[:TEXT_MAX] for text in texts]})
    url = f"{where.base_url.rstrip('/')}/embeddings"
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=False) as session,
        session.post(url, data=asked, headers=headers, allow_redirects=False) as response,
    ):
        replies.guard(response.status, response.headers.get("Content-Encoding"), None)
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > ANSWER_MAX:
                raise OSError(f"an answer of more than {ANSWER_MAX} bytes")
    if response.status != 200:
        raise OSError(f"HTTP {response.status}")
    data = msgspec.json.decode(body, type=_Embeddings).data
    return [one.embedding for one in sorted(data, key=lambda one: one.index)]
