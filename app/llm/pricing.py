"""Providers by name, and what a model's tokens cost."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

import msgspec

from app.errors import Misconfigured
from app.llm.model import Completion, Model, Request, Usage

PRESETS = Path(__file__).with_name("presets.toml")
SCRIPTED = "scripted"
LOCAL = "local"
OFFLINE = (SCRIPTED, LOCAL)
CUSTOM = "custom"
OLD_DAYS = 180
"""After so many days a price is doubted."""

OWN = re.compile(r"([^\s,=]{1,200})=(\d{1,6}(?:\.\d{1,9})?)/(\d{1,6}(?:\.\d{1,9})?)/(\d{1,6}(?:\.\d{1,9})?)", re.ASCII)


@dataclass(frozen=True)
class Price:
    """US dollars for a million tokens."""

    prompt: float
    cached: float
    completion: float


OwnPrices: TypeAlias = Mapping[tuple[str, str], Price]
NONE: OwnPrices = MappingProxyType({})
FREE = Price(0, 0, 0)


@dataclass(frozen=True)
class Provider:
    """An OpenAI-compatible endpoint. `key` is the environment name of its key, empty when it needs none.

    `source` is where it publishes its prices, `as_of` the day on which one was last seen there.
    """

    name: str
    base_url: str
    key: str
    models: tuple[str, ...]
    prices: dict[str, Price]
    free: bool = False
    source: str = ""
    as_of: Mapping[str, date] = field(default_factory=dict)


@cache
def providers() -> dict[str, Provider]:
    """The presets, by name."""
    data = tomllib.loads(PRESETS.read_text(encoding="utf-8"))
    return {
        name: Provider(
            name,
            entry["base_url"],
            entry["key"],
            tuple(entry["models"]),
            {model: Price(*price) for model, price in entry.get("prices", {}).items()},
            entry.get("free", False),
            entry.get("source", ""),
            entry.get("as_of", {}),
        )
        for name, entry in data.items()
    }


def split(model: str) -> tuple[str, str]:
    """`PRESET/NAME` or a bare name as (provider, name as the provider knows it); (CUSTOM, name) when nothing fits."""
    if model in OFFLINE:
        return model, model
    head, _, rest = model.partition("/")
    if rest and head in providers():
        return head, rest
    for provider in providers().values():
        if model.startswith(provider.models) and provider.models:
            return provider.name, model
    return CUSTOM, model


def own_prices(text: str) -> dict[tuple[str, str], Price]:
    """The prices of the setting MODEL_PRICES, by `split` name.

    Raises:
        Misconfigured: names the part that is not `NAME=PROMPT/CACHED/WRITTEN`, or that is there twice.
    """
    found: dict[tuple[str, str], Price] = {}
    for part in text.split(",") if text.strip() else ():
        match = OWN.fullmatch(part.strip())
        if match is None:
            raise Misconfigured(
                f"MODEL_PRICES: {part.strip()!r} is not NAME=PROMPT/CACHED/WRITTEN, US dollars for a million tokens "
                "each, as in my-model=0.15/0.075/0.6"
            )
        name = split(match[1])
        if name in found:
            raise Misconfigured(f"MODEL_PRICES: {match[1]!r} is given twice")
        found[name] = Price(float(match[2]), float(match[3]), float(match[4]))
    return found


def price(model: str, own: OwnPrices = NONE) -> Price | None:
    """A model's price, the operator's `own` before the published one; None when it is unknown."""
    provider, name = split(model)
    if provider in OFFLINE:
        return FREE
    if (provider, name) in own:
        return own[provider, name]
    preset = providers().get(provider)
    if preset is None:
        return None
    return FREE if preset.free else preset.prices.get(name)


def doubts(model: str, own: OwnPrices = NONE, *, today: date | None = None, days: int = OLD_DAYS) -> str | None:
    """Why the price of a model can't be relied on, as a sentence; None if it can.

    The operator's `own` prices are never doubted, nor is what is free.
    """
    provider, name = split(model)
    known = price(model, own)
    if known is None:
        return f"The price of {model} is not known: MODEL_PRICES can tell it."
    if (provider, name) in own or known == FREE:
        return None
    preset = providers()[provider]
    seen = preset.as_of.get(name)
    if seen is None:
        return f"Nobody has noted when the price of {model} was last looked up: compare it with {preset.source}."
    age = ((today or datetime.now(UTC).date()) - seen).days
    if age <= days:
        return None
    return f"The price of {model} was looked up {age} days ago ({seen}): compare it with {preset.source}."


def charge(known: Price | None, usage: Usage) -> float | None:
    """US dollars for these tokens; None when the price is unknown."""
    if known is None:
        return None
    fresh = max(0, usage.prompt - usage.cached)
    return (fresh * known.prompt + usage.cached * known.cached + usage.completion * known.completion) / 1e6


def cost(model: str, usage: Usage, own: OwnPrices = NONE) -> float | None:
    """US dollars for one call; None when the model's price is unknown."""
    return charge(price(model, own), usage)


@dataclass(frozen=True)
class Priced:
    """`inner`, which knows its model as `name`, with what its tokens cost."""

    inner: Model
    name: str
    price: Price | None

    async def complete(self, request: Request) -> Completion:
        named = request if request.model == self.name else replace(request, model=self.name)
        completion = await self.inner.complete(named)
        return msgspec.structs.replace(completion, cost_usd=charge(self.price, completion.usage))

    async def aclose(self) -> None:
        await self.inner.aclose()
