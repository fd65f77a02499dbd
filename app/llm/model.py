"""What every language model looks like to us: one request, one completion, one method."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, cast

import msgspec

from app.ledger.budget import Account, Hold

Status = Literal[
    "ok",
    "refusal",
    "length",
    "parse",
    "tool_schema",
    "rate_limit",
    "quota",
    "auth",
    "config",
    "unavailable",
    "timeout",
    "too_large",
    "budget",
]
"""Why a model call gave what it gave. `ok` is the only one whose reply may be carried out."""


class Halted(Exception):
    """The kill switch is on: nothing was asked."""


class ToolCall(msgspec.Struct, frozen=True):
    """One call the model asks for. `arguments` is the text the model wrote, not yet trusted as JSON."""

    id: str
    name: str
    arguments: str


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one call. `cached` of the `prompt` tokens came from the provider's cache."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.prompt + other.prompt, self.completion + other.completion, self.cached + other.cached)


@dataclass(frozen=True)
class Request:
    """One chat-completion request.

    `messages` and `tools` are JSON texts (UTF-8), encoded once when they were made and never again:
    each message is one JSON object in the wire format of OpenAI's chat completions, `tools` is a
    JSON array or empty. `seed` makes a deterministic model repeat itself. Neither `account`, which says who pays, nor
    `reusable`, whether an answer to the same request may be used again, nor `scope`, within what, is sent.
    """

    model: str
    messages: tuple[bytes, ...]
    tools: bytes = b""
    temperature: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    json_only: bool = False
    account: Account | None = None
    reusable: bool = False
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    scope: str = ""

    def body(self) -> bytes:
        """The request as it goes over the wire."""
        return self._body

    @cached_property
    def _body(self) -> bytes:
        parts = [b'{"model":', msgspec.json.encode(self.model), b',"messages":[', b",".join(self.messages), b"]"]
        if self.tools:
            parts += [b',"tools":', self.tools]
        for name, value in (*self._numbers(), ("stop", self.stop or None)):
            if value is not None:
                parts += [b',"', name.encode(), b'":', msgspec.json.encode(value)]
        if self.json_only:
            parts.append(b',"response_format":{"type":"json_object"}')
        parts.append(b"}")
        return b"".join(parts)

    def _numbers(self) -> tuple[tuple[str, float | None], ...]:
        seen = () if self.top_p is None else (("top_p", self.top_p),)
        return ("temperature", self.temperature), ("max_tokens", self.max_tokens), ("seed", self.seed), *seen

    def options(self) -> bytes:
        """All but messages and tools, as JSON, for the ledger."""
        stop = {"stop": self.stop} if self.stop else {}
        return msgspec.json.encode({**dict(self._numbers()), **stop, "json_only": self.json_only})

    def sha256(self) -> bytes:
        """32 bytes that name this exact request."""
        return hashlib.sha256(self.body()).digest()


class Completion(msgspec.Struct, frozen=True):
    """What came of one request.

    `raw` is the reply as received (it may hold what PostgreSQL's `text` can't); `message` the
    assistant's message as it goes into the conversation, re-encoded by us; `detail` says in a sentence why
    `status` is not `ok`; `retry_after` is what the provider asks to wait, in seconds; `cost_usd` is None where the
    price is unknown; `hold` was reserved for the call and is settled with it;
    `asked` is false where no request was sent, because the provider is known to refuse us or to be down.
    """

    status: Status
    model: str
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    usage: Usage = Usage()
    raw: bytes = b""
    message: bytes = b""
    detail: str = ""
    latency_ms: int = 0
    retry_after: float | None = None
    cost_usd: float | None = None
    hold: Hold | None = None
    asked: bool = True


class Model(Protocol):
    """A language model or a wrapper round one."""

    async def complete(self, request: Request) -> Completion:
        """Answer `request`. Provider faults come back as `Completion.status`, never as exceptions.

        Raises:
            Halted: the kill switch is on.
        """
        ...

    async def aclose(self) -> None:
        """Release connections."""
        ...


def encode_message(role: Literal["system", "user"], content: str) -> bytes:
    return msgspec.json.encode({"role": role, "content": content})


def encode_result(call_id: str, content: str) -> bytes:
    """The message that tells the model what came of one of its calls."""
    return msgspec.json.encode({"role": "tool", "tool_call_id": call_id, "content": content})


def encode_reply(text: str, calls: tuple[ToolCall, ...]) -> bytes:
    """The assistant's message, as it is sent back in the next request."""
    message: dict[str, object] = {"role": "assistant", "content": text or None}
    if calls:
        message["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}} for c in calls
        ]
    return msgspec.json.encode(message)


class _Function(msgspec.Struct):
    name: str
    arguments: str


class _Call(msgspec.Struct):
    id: str
    function: _Function


class _Reply(msgspec.Struct):
    content: str | None = None
    tool_calls: list[_Call] = []


def read_reply(status: str, message: bytes) -> Completion:
    """A stored assistant's message as the completion it came from."""
    reply = msgspec.json.decode(message, type=_Reply) if message else _Reply()
    calls = tuple(ToolCall(c.id, c.function.name, c.function.arguments) for c in reply.tool_calls)
    return Completion(cast(Status, status), "", reply.content or "", calls, message=message)
