"""Prints what models are asked and what they answer, for debugging (SHOW_PROMPTS)."""

import asyncio
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TextIO

import msgspec
from pydantic import SecretStr

from app.llm.model import Completion, Model, Request
from app.settings import Settings

LONGEST = 4_000
"""Characters of one text that are shown."""

SECRET = re.compile(
    r"(sf_(?:key|boot)_|sk-(?:proj-|ant-|or-)?|AIza|Bearer\s+|eyJ[\w-]{8,}\.)[\w.~+/=-]{8,}"
    r"|(?<=://)([^\s:/@]*):[^\s/@]+(?=@)",
    re.ASCII,
)
"""What looks like a key, a token, or a password in an address: what a model is told should never hold one."""

BOLD, DIM, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"


def visible(text: str) -> str:
    """Text of which a terminal obeys nothing: control characters, and those that turn or hide others, are written out.

    What looks like a secret is not shown; what is too long is cut, which is said.
    """
    whole = SECRET.sub(lambda found: f"{found[1] or (found[2] or '') + ':'}[secret]", text)
    shown = "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in whole[:LONGEST])
    cut = len(whole) - LONGEST
    return shown + (f" […, {cut:,} more characters]" if cut > 0 else "")


def of_settings(settings: Settings) -> tuple[str, ...]:
    """The secrets of the settings, longest first."""
    held = (getattr(settings, name) for name in type(settings).model_fields)
    found = {one.get_secret_value() for one in held if isinstance(one, SecretStr)}
    return tuple(sorted((one for one in found if one), key=len, reverse=True))


@dataclass
class Shown:
    """Asks `inner`, and prints each request and its reply as one block, also where many are under way at once.

    `name` is the model's; `secrets` are texts that are never printed; `numbers` tell which reply is to which request.
    """

    inner: Model
    name: str
    secrets: tuple[str, ...] = ()
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    stream: TextIO | None = None

    async def complete(self, request: Request) -> Completion:
        number = next(self.numbers)
        await self._print(self._asked(request, number))
        completion = await self.inner.complete(request)
        await self._print(self._answered(completion, number))
        return completion

    async def aclose(self) -> None:
        await self.inner.aclose()

    def _asked(self, request: Request, number: int) -> list[tuple[str, str]]:
        who = request.account
        for_ = f" for persona {who.persona_id}, turn {who.turn_id} of run {who.run_id}" if who is not None else ""
        options = ", ".join(
            f"{name} {value}" for name, value in msgspec.json.decode(request.options()).items() if value
        )
        lines = [(BOLD, f"▶ {number} {self.name}{for_} ({options})")]
        for message in request.messages:
            lines += _message(msgspec.json.decode(message))
        if request.tools:
            names = ", ".join(tool["function"]["name"] for tool in msgspec.json.decode(request.tools))
            lines.append((DIM, f"  tools: {names}"))
        return lines

    def _answered(self, completion: Completion, number: int) -> list[tuple[str, str]]:
        used = completion.usage
        cost = "price unknown" if completion.cost_usd is None else f"${completion.cost_usd:.6f}"
        tokens = f"{used.prompt} prompt ({used.cached} cached), {used.completion} written"
        said = f"{completion.status}, {tokens}, {cost}, {completion.latency_ms} ms"
        lines = [(BOLD, f"◀ {number} {completion.model}: {said}")]
        if completion.detail:
            lines.append(("", f"  {completion.detail}"))
        if completion.text:
            lines.append(("", f"  {completion.text}"))
        return [*lines, *(("", f"  → {call.name}({call.arguments})") for call in completion.calls)]

    async def _print(self, lines: list[tuple[str, str]]) -> None:
        stream = self.stream or sys.stderr
        colour = stream.isatty()
        block = "".join(self._line(style if colour else "", text) for style, text in lines)
        await asyncio.to_thread(self._write, stream, block)

    def _line(self, style: str, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, "[secret]")
        inward = len(text) - len(text.lstrip(" "))
        told = visible(text[inward:]).replace("\n", "\n    ")
        return f"{style}{' ' * inward}{told}{PLAIN if style else ''}\n"

    @staticmethod
    def _write(stream: TextIO, block: str) -> None:
        encoding = stream.encoding or "utf-8"
        stream.write(block.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()


def _message(message: dict[str, Any]) -> list[tuple[str, str]]:
    lines = [(DIM, f"  {message.get('role', '?')}:")]
    content = message.get("content")
    if content:
        lines.append(("", f"    {content if isinstance(content, str) else msgspec.json.encode(content).decode()}"))
    called = [call["function"] for call in message.get("tool_calls") or ()]
    return [*lines, *(("", f"    → {one['name']}({one['arguments']})") for one in called)]
