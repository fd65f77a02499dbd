"""Sim-Feed: a social network whose members are personas played by a language model."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.experiments.client import open_world
    from app.experiments.remote import Client
    from app.venues.session.offhand import dialogue, generate_population, simulate

__all__ = ["Client", "dialogue", "generate_population", "open_world", "simulate"]

_WHERE = {"Client": "app.experiments.remote", "open_world": "app.experiments.client"}


def __getattr__(name: str) -> Any:
    """The calls are loaded when they are first asked for, so that nobody else waits for what they need."""
    if name in __all__:
        return getattr(import_module(_WHERE.get(name, "app.venues.session.offhand")), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
