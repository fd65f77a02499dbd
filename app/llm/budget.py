"""Keeps calls within their account's caps: holds what a call may take before it is asked, and tells what was held."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import structlog

from app.ledger.budget import Account, BudgetExhausted, Desk
from app.llm.model import Completion, Model, Request, Usage
from app.llm.pricing import CUSTOM, OFFLINE, charge, cost, own_prices, split
from app.settings import Settings

COMPLETION_TOKENS = 700
BYTES_A_TOKEN = 3
"""Fewer than a tokenizer takes on average, so that a hold is rather too large than too small."""

Pricing = Callable[[str, Usage], float | None]
"""US dollars for a model's tokens; None where its price is unknown."""

log = structlog.get_logger()


def most_usage(request: Request) -> Usage:
    """The most tokens a request may take: one for each three bytes sent, and all that it allows to be written."""
    sent = sum(map(len, request.messages)) + len(request.tools)
    return Usage(-(-sent // BYTES_A_TOKEN), request.max_tokens or COMPLETION_TOKENS)


def pricing_of(settings: Settings) -> Pricing:
    """What the gateway charges under these settings: behind an operator's own address only MODEL_PRICES tells it.

    Raises:
        Misconfigured: MODEL_PRICES makes no sense.
    """
    own = own_prices(settings.model_prices)

    def usd(model: str, usage: Usage) -> float | None:
        provider, name = split(model)
        if provider == CUSTOM or (provider == "openai" and settings.openai_base_url):
            return charge(own.get((provider, name)), usage)
        return cost(model, usage, own)

    return usd


def _caps_money(account: Account) -> bool:
    caps = (account.call, account.turn, account.persona, account.run, account.instance)
    return any(cap.usd is not None for cap in caps)


def _capped(account: Account) -> bool:
    return bool(account.call or account.turn or account.shared())


@dataclass
class Budgeted:
    """Asks `inner`, the gateway, only what the caps of a request's account allow.

    `fallback` is the model that the gateway asks where the request's own gives nothing.
    """

    inner: Model
    desk: Desk
    pricing: Pricing = cost
    fallback: str | None = None

    async def complete(self, request: Request) -> Completion:
        """Answer `request`.

        Raises:
            BudgetExhausted: the call would go over a cap; nothing was asked.
            Superseded: another process holds the turn now; nothing was asked.
        """
        account = request.account
        if account is None or not _capped(account):
            return await self.inner.complete(request)
        usage = most_usage(request)
        usd = self._most_usd(request.model, usage, _caps_money(account))
        hold = await self.desk.reserve(account, usage.prompt + usage.completion, usd)
        try:
            completion = await self.inner.complete(request)
        except asyncio.CancelledError:
            raise
        except BaseException:
            await self._release(account)
            raise
        if not completion.asked:
            await self._release(account)
            return completion
        return msgspec.structs.replace(completion, hold=hold)

    def _most_usd(self, model: str, usage: Usage, capped: bool) -> float:
        """US dollars of a call to the model, or to its fallback where that is dearer."""
        models = [model, self.fallback] if self.fallback and model not in OFFLINE else [model]
        most = 0.0
        for name in models:
            usd = self.pricing(name, usage)
            if usd is None and capped:
                raise BudgetExhausted(
                    "call",
                    f"a cap in US dollars can't hold, for no price is known for {name}: "
                    "set a cap in tokens instead, or its price in MODEL_PRICES",
                )
            most = max(most, usd or 0.0)
        return most

    async def _release(self, account: Account) -> None:
        try:
            await self.desk.release(account)
        except Exception as error:
            log.warning("hold left to be charged", turn=account.turn_id, error=type(error).__name__)

    async def aclose(self) -> None:
        await self.inner.aclose()
