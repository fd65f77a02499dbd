"""Providers by name, and what a model's tokens cost."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from app.llm.model import Usage

PRESETS = Path(__file__).with_name("presets.toml")
SCRIPTED = "scripted"
LOCAL = "local"
OFFLINE = (SCRIPTED, LOCAL)
CUSTOM = "custom"


@dataclass(frozen=True)
class Price:
    """US dollars for a million tokens."""

    prompt: float
    cached: float
    completion: float


@dataclass(frozen=True)
class Provider:
    """An OpenAI-compatible endpoint. `key` is the environment name of its key, empty when it needs none."""

    name: str
    base_url: str
    key: str
    models: tuple[str, ...]
    prices: dict[str, Price]
    free: bool = False


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


@cache
def price(model: str) -> Price | None:
    """A model's price; None when it is unknown."""
    provider, name = split(model)
    if provider in OFFLINE or (provider in providers() and providers()[provider].free):
        return Price(0, 0, 0)
    return providers()[provider].prices.get(name) if provider in providers() else None


def cost(model: str, usage: Usage) -> float | None:
    """US dollars for one call; None when the model's price is unknown."""
    known = price(model)
    if known is None:
        return None
    fresh = max(0, usage.prompt - usage.cached)
    return (fresh * known.prompt + usage.cached * known.cached + usage.completion * known.completion) / 1e6
