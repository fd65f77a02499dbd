"""Plays one session in a process of its own, which may be killed: `python -m tests.session_worker URL ID ASKED`.

Every request is written to the file ASKED before it is answered, as a provider would have it on its bill.
"""

import asyncio
import os
import random
import sys

from app.agent.turn import Limits, Mind
from app.db.engine import Database
from app.ledger.commit import Committer
from app.llm.gateway import Gateway
from app.llm.model import Completion, Request
from app.settings import load_settings
from app.venues.session.stage import SessionStage
from app.world import sessions


class Billed:
    """The offline model, which takes a while; `file` has a line for each request."""

    def __init__(self, file: str) -> None:
        self._inner = Gateway(load_settings())
        self._file = os.open(file, os.O_APPEND | os.O_CREAT | os.O_WRONLY)

    async def complete(self, request: Request) -> Completion:
        os.write(self._file, request.sha256().hex().encode() + b"\n")
        await asyncio.sleep(random.random() * 0.1)
        return await self._inner.complete(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def main(url: str, number: int, asked: str) -> None:
    database = await Database.open(url, size=6)
    settings = load_settings(max_concurrent_turns=4)
    async with Committer(database, lease_seconds=1.0) as committer:
        mind = Mind(database, committer, Billed(asked), Limits())
        async with SessionStage(mind, settings, only=number, lease_seconds=1.0):
            await over(database, number)


async def over(database: Database, number: int) -> None:
    while (await sessions.by_id(database, number))["ended_at"] is None:
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
