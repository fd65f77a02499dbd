"""What sessions ask of a model, as requests, for the tests of the offline model."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from app.actions.asking import ExtractedField, Question
from app.agent import prompt
from app.llm.model import Request, encode_message
from app.llm.scripted import ScriptedModel
from app.world.personas import PersonaSpec

MARK = "⟦1f0a⟧"
MODEL = ScriptedModel()
SPEAK = {"text": {"type": "string"}, "thought": {"type": "string"}}
KIT = (
    "We plan a meal kit for people who live alone: three dinners a week, local vegetables, 29 euros, delivered by bike."
)


def tool(name: str, properties: Mapping[str, Any]) -> bytes:
    parameters = {"type": "object", "properties": dict(properties), "required": list(properties)}
    return json.dumps([{"type": "function", "function": {"name": name, "parameters": parameters}}]).encode()


def system(spec: PersonaSpec | None, head: str = "You take part in a study. Speak in your own words.") -> str:
    if spec is None:
        return head
    profile = spec.model_dump(exclude_defaults=True, exclude={"display_name"})
    return f"{head}\n\n{prompt.character(spec.display_name or spec.username, spec.description, spec.bio, profile)}"


def request(
    told: str,
    given: Mapping[str, Any],
    tools: bytes = b"",
    *,
    frame: str = "",
    ends: str = "It is your turn: call the function.",
    seed: int = 1,
    json_only: bool = False,
) -> Request:
    lines = [frame, prompt.quote(given, MARK), f"Quote marks now: {MARK}", ends]
    messages = encode_message("system", told), encode_message("user", "\n".join(filter(None, lines)))
    return Request("scripted", messages, tools, seed=seed, json_only=json_only)


async def called(asked: Request) -> dict[str, Any]:
    """The arguments of the one call that is made."""
    reply = await MODEL.complete(asked)
    assert reply.status == "ok"
    if asked.json_only:
        (action,) = json.loads(reply.text)["actions"]
        found: dict[str, Any] = action["arguments"]
        return found
    (call,) = reply.calls
    made: dict[str, Any] = json.loads(call.arguments)
    return made


def shown(question: Question, order: Sequence[str] = ()) -> dict[str, Any]:
    """A question as it is listed."""
    row = question.model_dump(exclude={"when", "shuffle"})
    return {**row, "options": list(order or row.get("options", ()))}


async def answers(
    spec: PersonaSpec | None, *questions: Question, seed: int = 1, turned: bool = False, topic: str = ""
) -> dict[str, Any]:
    """The answers of a persona, each of them valid; `turned`: the options the other way round."""
    rows = [shown(one, getattr(one, "options", ())[::-1] if turned else ()) for one in questions]
    forms = {one.key: _turned(one.form()) if turned else one.form() for one in questions}
    given = {"questions": rows, **({"topic": topic} if topic else {})}
    made = await called(request(system(spec), given, tool("answer", forms), seed=seed))
    assert made.keys() == forms.keys()
    for one in questions:
        assert one.fault(made[one.key]) is None, (one, made[one.key])
    return made


def _turned(form: dict[str, Any]) -> dict[str, Any]:
    if "enum" in form:
        return {**form, "enum": form["enum"][::-1]}
    return {**form, "items": {**form["items"], "enum": form["items"]["enum"][::-1]}} if "items" in form else form


async def recorded(fields: Sequence[ExtractedField], said: Sequence[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    """What is found for fields in what was said."""
    rows = [{"name": one.name, "type": one.type, "hint": one.hint, "options": list(one.options)} for one in fields]
    forms = {
        one.name: {"type": "object", "properties": {"value": one.form(), "quote": {"type": "string"}}} for one in fields
    }
    return await called(request("You extract.", {"fields": rows, "said": said}, tool("record", forms), **more))
