"""Answers a request that was answered before, byte for byte the same one, with that answer."""

import asyncio
import hashlib
from dataclasses import dataclass, field

import msgspec
import structlog

from app.db.engine import TROUBLE, Database
from app.ledger import reusable
from app.ledger.pulse import Pulse
from app.ledger.reusable import Kept
from app.llm.model import Completion, Model, Request, Usage, read_reply

DETAIL = "reused: the same request was answered before"
log = structlog.get_logger()


@dataclass
class Reusing:
    """Asks `inner` only what nobody has asked before, of requests that may be answered so (`Request.reusable`).

    A request's name is the SHA-256 of its body: model, messages, tools and options, the seed among them; with a scope,
    the SHA-256 of that and of the body's. An answer that is used again takes no tokens, costs nothing and stands in no
    budget. Only answers of status `ok` are kept. Where the database can't be asked, the model is. Of several that ask
    the same at once one asks, and the others wait for it.
    """

    inner: Model
    home: Database
    pulse: Pulse
    _asking: dict[bytes, asyncio.Event] = field(default_factory=dict)

    async def complete(self, request: Request) -> Completion:
        """Answer `request`.

        Raises:
            Halted, BudgetExhausted, Superseded: as `inner`.
        """
        if not request.reusable or self.pulse.halted:
            return await self.inner.complete(request)
        name = request.sha256()
        if request.scope:
            name = hashlib.sha256(request.scope.encode() + b"\0" + name).digest()
        while (asking := self._asking.get(name)) is not None:
            await asking.wait()
        self._asking[name] = asking = asyncio.Event()
        try:
            return await self._answer(request, name)
        finally:
            del self._asking[name]
            asking.set()

    async def _answer(self, request: Request, name: bytes) -> Completion:
        if (kept := await self._kept(name)) is not None:
            return msgspec.structs.replace(
                read_reply("ok", kept.reply), model=kept.model, raw=kept.response, detail=DETAIL, cost_usd=0.0
            )
        completion = await self.inner.complete(request)
        if completion.status == "ok" and completion.asked:
            await self._keep(name, completion, completion.usage)
        return completion

    async def _kept(self, name: bytes) -> Kept | None:
        try:
            return await reusable.answer(self.home, name)
        except TROUBLE as error:
            log.warning("not looked for an answer to use again", error=type(error).__name__)
            return None

    async def _keep(self, name: bytes, completion: Completion, usage: Usage) -> None:
        kept = Kept(completion.model, completion.message, completion.raw)
        try:
            await reusable.keep(
                self.home, name, kept, prompt=usage.prompt, completion=usage.completion, usd=completion.cost_usd
            )
        except TROUBLE as error:
            log.warning("an answer is not kept for use again", error=type(error).__name__)

    async def aclose(self) -> None:
        await self.inner.aclose()
