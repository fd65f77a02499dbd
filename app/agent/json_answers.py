"""Actions out of strict JSON answers, for models that can't call functions."""

import json
from typing import Any

from app import strict_json
from app.llm.model import ToolCall

ANSWER_MAX = 256
"""Actions an answer may hold; one with more is none."""


def _actions_in(text: str) -> list[Any] | None:
    stripped = text.strip().removeprefix("```json").removeprefix("```").removesuffix("```")
    try:
        answer = strict_json.loads(stripped)
    except ValueError:
        return None
    actions = answer.get("actions") if isinstance(answer, dict) else None
    return actions if isinstance(actions, list) and len(actions) <= ANSWER_MAX else None


def is_answer(text: str) -> bool:
    """Whether a reply is of the form asked for."""
    return _actions_in(text) is not None


def calls(text: str, step: int) -> tuple[ToolCall, ...]:
    """The actions of a strict JSON answer, as calls with ids of our own."""
    found = []
    for n, item in enumerate(_actions_in(text) or []):
        name = item.get("name") if isinstance(item, dict) else None
        arguments = item.get("arguments", {}) if isinstance(item, dict) else item
        found.append(ToolCall(f"{step}-{n}", str(name), json.dumps(arguments)))
    return tuple(found)
