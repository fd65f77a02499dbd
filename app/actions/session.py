"""What is asked for in sessions: each ask offers one function, whose answer is checked before it counts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ConfigDict

from app.actions.asking import TEXT_MAX, ExtractedField, Question
from app.actions.registry import Action, ActionRefused, Arguments, EndTurn

Check = Callable[[dict[str, Any]], str | None]
THOUGHT = {"type": "string", "description": "what you think to yourself; nobody reads it"}
EAGERNESS_MOST = 10
SCORE_MOST = 10


class Given(Arguments):
    """Arguments whose names follow from data; they are checked by the action."""

    model_config = ConfigDict(extra="allow", strict=True)


def _ends(name: str, description: str, form: dict[str, Any], check: Check) -> Action:
    """An action that ends the turn, if its arguments pass `check`, which else says what is wrong."""

    def write(given: Given) -> EndTurn:
        values = given.model_extra or {}
        unknown = sorted(set(values) - set(form["properties"]))
        if unknown:
            raise ActionRefused(f"there is no {', '.join(unknown)[:200]}; you have: {', '.join(form['properties'])}")
        missing = [name for name in form.get("required", ()) if name not in values]
        if missing:
            raise ActionRefused(f"missing: {', '.join(missing)}")
        if (fault := check(values)) is not None:
            raise ActionRefused(fault)
        return EndTurn()

    return Action(name, description, Given, reads=False, write=write, ends=True, form=form)


def _object(properties: Mapping[str, Any], required: Sequence[str] | None = None) -> dict[str, Any]:
    named = list(properties) if required is None else list(required)
    return {"type": "object", "properties": dict(properties), **({"required": named} if named else {})}


def _is_text(value: object, most: int = TEXT_MAX) -> bool:
    return isinstance(value, str) and len(value.strip()) > 0 and len(value) <= most and "\0" not in value


def _texts(*names: str, most: int = TEXT_MAX) -> Check:
    def check(given: dict[str, Any]) -> str | None:
        wrong = [name for name in names if name in given and not _is_text(given[name], most)]
        return f"{', '.join(wrong)}: must be a text of 1 to {most} characters" if wrong else None

    return check


def speak(*, thinking: bool) -> Action:
    """Say something to the group; with `thinking` behind a thought of one's own."""
    properties = {**({"thought": THOUGHT} if thinking else {}), "text": {"type": "string"}}
    return _ends("speak", "Say this", _object(properties, ["text"]), _texts("text", "thought"))


def answer(questions: Sequence[Question], shown: Mapping[str, Sequence[str]], *, thinking: bool) -> Action:
    """Answer questions; `shown` has the options of those that have any in the order in which they are shown."""
    properties: dict[str, Any] = {"thought": THOUGHT} if thinking else {}
    for question in questions:
        properties[question.key] = _in_order(question.form(), shown.get(question.key, ()))

    def check(given: dict[str, Any]) -> str | None:
        faults = [(q.key, q.fault(given[q.key])) for q in questions]
        wrong = [f"{key} {fault}" for key, fault in faults if fault is not None]
        return "; ".join(wrong) if wrong else _texts("thought")(given)

    return _ends("answer", "Your answers", _object(properties, [q.key for q in questions]), check)


def _in_order(form: dict[str, Any], options: Sequence[str]) -> dict[str, Any]:
    if not options:
        return form
    if "enum" in form:
        return {**form, "enum": list(options)}
    return {**form, "items": {**form["items"], "enum": list(options)}}


def choose_speaker(names: Sequence[str]) -> Action:
    """Choose who speaks next."""
    form = _object({"name": {"type": "string", "enum": list(names)}})
    return _ends("choose_speaker", "Who speaks next", form, lambda given: _one_of(given["name"], names))


def _one_of(value: object, names: Sequence[str]) -> str | None:
    return None if value in names else f"name must be one of: {'; '.join(names)}"


def _scale(name: str, most: int) -> Check:
    def check(given: dict[str, Any]) -> str | None:
        value = given[name]
        right = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
        return None if right else f"{name} must be a whole number from 0 to {most}"

    return check


def raise_hand() -> Action:
    """Say how much one wants to speak now."""
    form = _object({"eagerness": {"type": "integer", "minimum": 0, "maximum": EAGERNESS_MOST}})
    return _ends("raise_hand", "How much you want to speak now", form, _scale("eagerness", EAGERNESS_MOST))


def judge() -> Action:
    """Score what was said by a rule."""
    form = _object({"score": {"type": "integer", "minimum": 0, "maximum": SCORE_MOST}, "reason": {"type": "string"}})

    def check(given: dict[str, Any]) -> str | None:
        return _scale("score", SCORE_MOST)(given) or _texts("reason")(given)

    return _ends("judge", "Your verdict: 0 is not at all, 10 wholly", form, check)


def record(fields: Sequence[ExtractedField]) -> Action:
    """Record what was found; a field about which nothing was said is left out."""
    properties = {f.name: _object({"value": f.form(), "quote": {"type": "string"}}) for f in fields}

    def check(given: dict[str, Any]) -> str | None:
        wrong = [f"{f.name}: {fault}" for f in fields if f.name in given and (fault := _fault(f, given[f.name]))]
        return "; ".join(wrong) or None

    return _ends("record", "What was found, each value with a quote that shows it", _object(properties, []), check)


def _fault(field: ExtractedField, found: object) -> str | None:
    if not isinstance(found, dict) or set(found) != {"value", "quote"}:
        return "must be an object with value and quote"
    if not isinstance(found["quote"], str) or len(found["quote"]) > TEXT_MAX:
        return "quote must be a text"
    fault = field.fault(found["value"])
    return None if fault is None else f"value {fault}"


def summarise() -> Action:
    """Sum up what was said."""
    return _ends("summarise", "The summary", _object({"text": {"type": "string"}}), _texts("text", most=8000))


def rewrite() -> Action:
    """Write a text anew."""
    return _ends("rewrite", "The new text", _object({"text": {"type": "string"}}), _texts("text", most=40_000))


def write_persona() -> Action:
    """Write a person."""
    words, several = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
    texts = ("username", "display_name", "description", "bio", "role", "style")
    lists = ("traits", "goals", "interests")
    form = _object({**dict.fromkeys(texts, words), **dict.fromkeys(lists, several)}, ["display_name", "description"])

    def check(given: dict[str, Any]) -> str | None:
        wrong = [name for name in lists if name in given and not _are_texts(given[name])]
        return f"{', '.join(wrong)}: must be a list of texts" if wrong else _texts("display_name", "description")(given)

    return _ends("write_persona", "The person", form, check)


def _are_texts(value: object, most: int = 30) -> bool:
    return isinstance(value, list) and len(value) <= most and all(_is_text(one, 400) for one in value)


def write_document() -> Action:
    """Write a document with sections and quotes."""
    section = _object({"heading": {"type": "string"}, "text": {"type": "string"}})
    quoted = _object({"n": {"type": "integer"}, "quote": {"type": "string"}})
    form = _object(
        {
            "title": {"type": "string"},
            "sections": {"type": "array", "items": section},
            "quotes": {"type": "array", "items": quoted},
        },
        ["title", "sections"],
    )

    def check(given: dict[str, Any]) -> str | None:
        sections, quotes = given["sections"], given.get("quotes", [])
        if not _is_text(given["title"], 300):
            return "title must be a text of 1 to 300 characters"
        if not _all(sections, lambda one: _is_text(one.get("heading"), 300) and _is_text(one.get("text"), 20_000)):
            return "sections must be a list of objects with heading and text"
        if quotes and not _all(quotes, lambda one: isinstance(one.get("n"), int) and _is_text(one.get("quote"))):
            return "quotes must be a list of objects with n, the number of a line, and quote"
        return None

    return _ends("write_document", "The document; quotes are verbatim, n is the number of the line", form, check)


def ground() -> Action:
    """Find traits of a person in passages."""
    trait = _object({"name": {"type": "string"}, "text": {"type": "string"}, "passage": {"type": "integer"}})
    form = _object({"traits": {"type": "array", "items": trait}})

    def right(one: dict[str, Any]) -> bool:
        return _is_text(one.get("name"), 100) and _is_text(one.get("text"), 400) and isinstance(one.get("passage"), int)

    def check(given: dict[str, Any]) -> str | None:
        ok = _all(given["traits"], right)
        return None if ok else "traits must be a list of objects with name, text and passage, the number of a passage"

    return _ends("ground", "Traits, each with the passage it rests on", form, check)


def _all(value: object, right: Callable[[dict[str, Any]], bool]) -> bool:
    return isinstance(value, list) and 0 < len(value) <= 200 and all(isinstance(o, dict) and right(o) for o in value)
