"""The persona list of the TinyTroupe Simulation Engine."""

import re
from typing import Any

from app.agent.population.foreign import Draft, is_blank, labelled
from app.agent.population.results import UnusableError

_REQUIRED = ("id", "name", "role", "description", "personality")
_PERSONALITY = ("traits", "goals", "style")
_SETTINGS = ("model", "temperature")
_LEFT_OUT = ("prompting", "validation_rules")
_ID = re.compile(r"[A-Za-z0-9_-]+")


def from_engine(record: dict[str, Any]) -> Draft:
    """Return the draft of one persona.

    Raises:
        UnusableError: a required field is missing or empty, or the id holds other characters.
    """
    personality = _required(record)
    losses = [f"{name}: not imported" for name in _LEFT_OUT if not is_blank(record.get(name))]
    draft = Draft(handle=record["id"], losses=losses, unique={key: record[key] for key in ("id", "name")})
    draft.parts.append(record["description"])
    draft.line("display_name", record["name"], "Name")
    draft.line("role", record["role"], "Role")
    draft.lines("traits", personality["traits"], "Traits")
    draft.lines("goals", personality["goals"], "Goals")
    draft.line("style", personality["style"], "Style")
    for name, value in personality.items():
        if name not in _PERSONALITY:
            draft.tell(labelled(name), value)
    draft.fields |= {name: record[name] for name in _SETTINGS if record.get(name) is not None}
    draft.rest(record, {*_REQUIRED, *_SETTINGS, *_LEFT_OUT, "type"})
    return draft


def _required(record: dict[str, Any]) -> dict[str, Any]:
    for name in _REQUIRED:
        if is_blank(record.get(name)):
            raise UnusableError("is missing or empty", name)
        if name != "personality" and not isinstance(record[name], str):
            raise UnusableError("must be a text", name)
    if not _ID.fullmatch(record["id"]):
        raise UnusableError("must be letters A-Z, digits, '_' or '-'", "id")
    personality = record["personality"]
    if not isinstance(personality, dict):
        raise UnusableError("must be an object with traits, goals and style", "personality")
    for name in _PERSONALITY:
        if is_blank(personality.get(name)):
            raise UnusableError("is missing or empty", f"personality.{name}")
    return personality
