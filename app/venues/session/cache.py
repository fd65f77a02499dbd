"""Within a session the same is asked once: the ledger holds the answer, and it is given again at no cost."""

import asyncio
from dataclasses import dataclass, field

import msgspec

from app.db.engine import Database
from app.llm.model import Completion, Model, Request, Usage, read_reply
from app.llm.reuse import DETAIL
from app.world.sessions import SESSIONS


@dataclass
class OnceEach:
    """Asks `inner` only what was not asked in this session before; requests are the same if their bodies' hashes are.

    Whoever drives a session asks all of it, so that what it knows is all there is; `load` reads what was answered
    before it took the session over. Of several that ask the same at once one asks, and the others wait for it.
    """

    inner: Model
    _known: dict[bytes, Completion] = field(default_factory=dict)
    _asking: dict[bytes, asyncio.Event] = field(default_factory=dict)

    async def load(self, database: Database, session_id: int) -> None:
        """What was answered in the session so far."""
        for row in await database.fetch(SESSIONS["answered"], session_id):
            reply = read_reply("ok", row["reply"])
            known = msgspec.structs.replace(reply, model=row["model_returned"], raw=row["response"])
            self._known[bytes(row["request_sha256"])] = known

    async def complete(self, request: Request) -> Completion:
        """Answer `request`.

        Raises:
            Halted, BudgetExhausted, Superseded: as `inner`.
        """
        name = request.sha256()
        while (asking := self._asking.get(name)) is not None:
            await asking.wait()
        if (known := self._known.get(name)) is not None:
            return msgspec.structs.replace(known, detail=DETAIL, cost_usd=0.0, usage=Usage(), latency_ms=0, hold=None)
        self._asking[name] = asking = asyncio.Event()
        try:
            completion = await self.inner.complete(request)
            if completion.status == "ok" and completion.asked:
                self._known[name] = completion
            return completion
        finally:
            del self._asking[name]
            asking.set()

    async def aclose(self) -> None:
        """The model is somebody else's to close."""
