"""Looking after something every so often, through any trouble, until it is to stop."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from app.db.engine import TROUBLE

log = structlog.get_logger()


async def tend(look: Callable[[], Awaitable[None]], stopping: asyncio.Event, *, seconds: float, what: str) -> None:
    """Look again and again, `seconds` apart; what goes wrong in one look is told, and the next is taken."""
    while not stopping.is_set():
        try:
            await look()
        except TROUBLE as error:
            log.debug(f"{what} are not looked after", error=type(error).__name__)
        except Exception:
            log.exception(f"looking after {what} failed")
        try:
            async with asyncio.timeout(seconds):
                await stopping.wait()
        except TimeoutError:
            continue
