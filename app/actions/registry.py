"""What an action is: a typed function a persona may call, and the set of them it is offered."""

import hashlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar, get_args

import msgspec
from pydantic import BaseModel, ConfigDict, ValidationError

from app import strict_json
from app.db.engine import Database
from app.world.effects import Effect
from app.world.ranking import LATEST, Ranking

ARGUMENTS_MAX = 16_384
"""Bytes of arguments that are looked at at all."""


class ActionRefused(Exception):
    """Goes back to the model as a sentence it can act on; anything else that an action raises is our bug."""


class Arguments(BaseModel):
    """Base of the argument models: nothing is coerced, nothing extra is taken. The actor is never an argument."""

    model_config = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True)
class ActionContext:
    """Who acts, where, when in the world, and how much a reading may return (in tokens).

    `ranking` makes its feed, `suggester` names the way in which people are suggested to it. What is left to chance
    follows from the run's `seed` and `draw`, the occasion. Its run was `opened` then by the wall clock; `simulated`:
    `now` is not of that clock.
    """

    database: Database
    persona_id: int
    result_tokens: int
    now: datetime
    ranking: Ranking = LATEST
    suggester: str = ""
    seed: int = 0
    draw: int = 0
    opened: datetime | None = None
    simulated: bool = False


@dataclass(frozen=True)
class Reading:
    """What an action found: `result` for the model, and which items it showed, in order of rank, by which ranker.

    `scores`, `reasons` and `chances` go with the items, or are empty.
    """

    result: dict[str, Any]
    kind: str = ""
    ranker: str = ""
    items: tuple[int, ...] = ()
    version: int = 1
    scores: tuple[float, ...] = ()
    reasons: tuple[str, ...] = ()
    chances: tuple[float, ...] = ()


@dataclass(frozen=True)
class EndTurn:
    """The persona has nothing more to do."""


@dataclass(frozen=True)
class Action:
    """One action. `reads` tells whether it returns a Reading (awaited after the commit) or an effect.

    One that `ends` is the last of its turn. `form` is the JSON schema of its arguments, where these follow from data.
    """

    name: str
    description: str
    arguments: type[Arguments]
    reads: bool
    read: Callable[[ActionContext, Any], Awaitable[Reading]] | None = None
    write: Callable[[Any], Effect | EndTurn] | None = None
    ends: bool = False
    form: dict[str, Any] | None = None

    def schema(self) -> dict[str, Any]:
        """The tool in the wire format, as short as it can be: prompts are paid by the token."""
        if self.form is not None:
            return {
                "type": "function",
                "function": {"name": self.name, "description": self.description, "parameters": self.form},
            }
        properties = {
            name: {"type": "integer" if _is_whole(field.annotation) else "string"}
            for name, field in self.arguments.model_fields.items()
        }
        parameters: dict[str, Any] = {"type": "object", "properties": properties}
        if required := [n for n, field in self.arguments.model_fields.items() if field.is_required()]:
            parameters["required"] = required
        described = {"description": self.description} if self.description else {}
        return {"type": "function", "function": {"name": self.name, **described, "parameters": parameters}}


def _is_whole(annotation: Any) -> bool:
    return annotation is int or any(_is_whole(part) for part in get_args(annotation))


def _described(function: Callable[..., Any]) -> str:
    """What the model reads; nothing when it says no more than the name does."""
    text = " ".join((function.__doc__ or "").split()).removesuffix(".")
    return "" if text.lower().replace(" ", "_") == function.__name__ else text


A = TypeVar("A", bound=Arguments)


def reads(arguments: type[A]) -> Callable[[Callable[[ActionContext, A], Awaitable[Reading]]], Action]:
    """Make an action of a function that looks something up; its docstring is what the model reads."""

    def make(function: Callable[[ActionContext, A], Awaitable[Reading]]) -> Action:
        return Action(function.__name__, _described(function), arguments, reads=True, read=function)

    return make


def writes(arguments: type[A], *, ends: bool = False) -> Callable[[Callable[[A], Effect | EndTurn]], Action]:
    """Make an action of a function that returns an effect; its docstring is what the model reads."""

    def make(function: Callable[[A], Effect | EndTurn]) -> Action:
        return Action(function.__name__, _described(function), arguments, reads=False, write=function, ends=ends)

    return make


class ActionSet:
    """The actions a persona is offered in a venue. Names match exactly or not at all."""

    def __init__(self, actions: Iterable[Action]) -> None:
        self.by_name = {action.name: action for action in actions}
        self.tools = msgspec.json.encode([action.schema() for action in self.by_name.values()]) if self.by_name else b""
        self.tools_sha256 = hashlib.sha256(self.tools).digest()

    def manual(self) -> str:
        """The actions as text, for models without function calling."""
        return "\n".join(f"{a.name}({_manual(a)}): {a.description}" for a in self.by_name.values())

    def parse(self, name: str, arguments: str) -> tuple[Action, Arguments]:
        """The action that is called, with checked arguments.

        Raises:
            ActionRefused: no such action, or the arguments are not of its form.
        """
        action = self.by_name.get(name)
        if action is None:
            raise ActionRefused(f"there is no action of that name; you have: {', '.join(self.by_name)}")
        return action, action.arguments.model_validate(_loads(action, arguments))


def _manual(action: Action) -> str:
    """An action's arguments, as text: their names, or the schema where they follow from data."""
    if action.form is None:
        return ", ".join(_signature(action))
    return f"one JSON object by this schema: {msgspec.json.encode(action.form).decode()}"


def _signature(action: Action) -> list[str]:
    return [name + ("" if f.is_required() else "?") for name, f in action.arguments.model_fields.items()]


def _loads(action: Action, text: str) -> dict[str, Any]:
    if len(text) > ARGUMENTS_MAX:
        raise ActionRefused("the arguments are too long")
    try:
        value = strict_json.loads(text.strip() or "{}")
    except ValueError as error:
        raise ActionRefused(f"the arguments are not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise ActionRefused(f"the arguments must be one JSON object with: {', '.join(_signature(action)) or 'nothing'}")
    return value


def explain(error: ValidationError) -> str:
    """What is wrong with the arguments, in a sentence for the model."""
    return "; ".join(f"{'.'.join(map(str, e['loc']))[:60] or 'arguments'}: {e['msg']}" for e in error.errors()[:3])
