"""What prompts cost: stored requests rebuilt from the ledger and counted with o200k."""

import hashlib
import importlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from app.cli.bench.meter import BENCH
from app.db.engine import Database
from app.ledger import transcript
from app.llm.model import Request

ENCODING = "o200k_base"
ADDRESS = f"https://openaipublic.blob.core.windows.net/encodings/{ENCODING}.tiktoken"
SAMPLE = 100
"""Turns whose requests are counted."""


class Prompts(msgspec.Struct):
    """Tokens of requests as sent: the JSON of tools and messages. `how` says what counted them, if anything could."""

    how: str
    turns: int = 0
    calls: int = 0
    rebuilt_exactly: int = 0
    first_call: float | None = None
    a_call: float | None = None
    an_action: float | None = None


def counter() -> tuple[str, Callable[[str], int]] | None:
    """A tokenizer that is here already; none is downloaded."""
    if _cached():
        try:
            tiktoken: Any = importlib.import_module("tiktoken")
            found = tiktoken.get_encoding(ENCODING)
        except ImportError:
            pass
        else:
            return f"tiktoken, {ENCODING}", lambda text: len(found.encode(text, disallowed_special=()))
    try:
        bpe: Any = importlib.import_module("bpe_openai")
    except ImportError:
        return None
    encoding = bpe.get_encoding(ENCODING)
    return f"bpe_openai, {ENCODING}", lambda text: len(encoding.encode_ordinary(text))


def _cached() -> bool:
    folder = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    name = hashlib.sha1(ADDRESS.encode(), usedforsecurity=False).hexdigest()
    return Path(folder or Path(tempfile.gettempdir(), "data-gym-cache"), name).exists()


async def turns(database: Database, number: int) -> list[list[Request]]:
    """The requests of the newest turns, as the ledger has them."""
    rows = await database.fetch(BENCH["sample_turns"], number)
    return [await requests(database, row["id"]) for row in rows]


async def requests(database: Database, turn_id: int) -> list[Request]:
    calls = await database.fetch(transcript.TURNS["turn_calls"], turn_id)
    tools = {hashed: await transcript.kept_tools(database, hashed) for hashed in {c["tools_sha256"] for c in calls}}
    return [
        Request(
            call["model"],
            tuple(transcript.messages(calls, upto=call["step"])),
            tools[call["tools_sha256"]],
            **msgspec.json.decode(call["options"]),
        )
        for call in calls
    ]


async def count(database: Database) -> Prompts:
    """Count a sample of the newest turns."""
    found = counter()
    if found is None:
        return Prompts("not counted: neither tiktoken with its encoding cached nor bpe_openai is here")
    name, tokens = found
    sample = await turns(database, SAMPLE)
    if not sample:
        return Prompts("not counted: no turn came to its end")
    sizes = [[tokens(sent(request)) for request in turn] for turn in sample]
    total, calls = sum(map(sum, sizes)), sum(map(len, sizes))
    actions = sum(max(1, len(turn) - 1) for turn in sizes)
    return Prompts(
        f"{name}, tools and messages as sent (JSON), newest {len(sample)} turns",
        len(sample),
        calls,
        await _exact(database, sample),
        sum(turn[0] for turn in sizes) / len(sizes),
        total / calls,
        total / actions,
    )


def sent(request: Request) -> str:
    """Tools and messages of a request, as they are sent."""
    return (request.tools + b"[" + b",".join(request.messages) + b"]").decode()


async def _exact(database: Database, sample: list[list[Request]]) -> int:
    """How many of the rebuilt requests have the hash that was stored when they were sent."""
    rows = await database.fetch(BENCH["sample_turns"], SAMPLE)
    exact = 0
    for row, turn in zip(rows, sample, strict=True):
        calls = await database.fetch(transcript.TURNS["turn_calls"], row["id"])
        exact += sum(request.sha256() == call["request_sha256"] for request, call in zip(turn, calls, strict=True))
    return exact
