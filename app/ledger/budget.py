"""What turns may spend: reserved before a model call in every scope at once, settled with the step it belongs to."""

from dataclasses import dataclass
from datetime import date
from typing import Literal

import msgspec

Scope = Literal["call", "turn", "persona", "run", "instance"]


@dataclass(frozen=True)
class Caps:
    """The most a scope may spend; None is no limit."""

    tokens: int | None = None
    usd: float | None = None

    def __bool__(self) -> bool:
        return self.tokens is not None or self.usd is not None


@dataclass(frozen=True)
class Account:
    """Who pays for a model call, on what terms. `spent_*` is what the turn's earlier calls were charged."""

    run_id: int
    persona_id: int
    turn_id: int
    epoch: int
    spent_tokens: int = 0
    spent_usd: float = 0.0
    call: Caps = Caps()
    turn: Caps = Caps()
    persona: Caps = Caps()
    run: Caps = Caps()
    instance: Caps = Caps()


class Hold(msgspec.Struct, frozen=True):
    """What is reserved for one call, in the budgets of this day."""

    tokens: int
    usd: float
    day: date


class BudgetExhausted(Exception):
    """A call would take a scope over its cap: nothing was asked, nothing was reserved."""

    def __init__(self, scope: Scope, detail: str) -> None:
        super().__init__(detail)
        self.scope = scope
        self.detail = detail
