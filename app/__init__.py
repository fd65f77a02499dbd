"""Sim-Feed: a social network whose members are personas played by a language model."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.venues.session.offhand import dialogue, generate_population, simulate

__all__ = ["dialogue", "generate_population", "simulate"]


def __getattr__(name: str) -> Any:
    """The calls are loaded when they are first asked for, so that nobody else waits for what they need."""
    if name in __all__:
        return getattr(import_module("app.venues.session.offhand"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
