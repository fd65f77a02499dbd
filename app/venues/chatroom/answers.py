"""What people answer to a study's questions: checked by the question, and as it is stored."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from annotated_types import MaxLen
from pydantic import ConfigDict, TypeAdapter, ValidationError

from app.errors import FieldError, Invalid
from app.venues.chatroom.design import ANSWER_MAX, Question, bounded


def check_answer(question: Question, value: object) -> Any:
    """The answer as it is stored: a text, an option, a list of options in their order, or a number; None if not given.

    Raises:
        Invalid: it is missing, or none that the question allows.
    """
    if value is None or value in ("", []):
        if question.required:
            raise _refused(question, "missing", "needs an answer")
        return None
    least, most = question.bounds()
    match question.kind:
        case "open":
            return _open(question, value, least, most)
        case "single":
            if not isinstance(value, str) or value not in question.options:
                raise _refused(question, "option", "must be one of the options")
            return value
        case "multiple":
            if not isinstance(value, list) or not all(
                isinstance(one, str) and one in question.options for one in value
            ):
                raise _refused(question, "option", "must be a list of some of the options")
            if not least <= len(set(value)) <= most:
                raise _refused(question, "options", f"must be {_span(least, most)} of the options")
            return [option for option in question.options if option in value]
        case "likert" | "number":
            return _number(question, value, least, most)


def _open(question: Question, value: object, least: float, most: float) -> str | None:
    try:
        answer = _ANSWER.validate_python(value)
    except ValidationError as error:
        raise _refused(question, "text", error.errors()[0]["msg"]) from None
    if not answer and question.required:
        raise _refused(question, "missing", "needs an answer")
    if answer and not least <= len(answer) <= most:
        raise _refused(question, "length", f"must have {_span(least, most)} characters, not {len(answer)}")
    return answer or None


def _number(question: Question, value: object, least: float, most: float) -> int | float:
    whole = question.kind == "likert"
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _refused(question, "number", "must be a number")
    if not least <= value <= most or (whole and value != int(value)):
        raise _refused(question, "range", f"must be a {'whole ' * whole}number {_range(least, most)}")
    return int(value) if value == int(value) else value


_ANSWER: TypeAdapter[str] = TypeAdapter(
    Annotated[str, MaxLen(4 * ANSWER_MAX), bounded(ANSWER_MAX, lines=True)], config=ConfigDict(strict=True)
)


def check_answers(questions: Sequence[Question], given: Mapping[str, object]) -> dict[str, Any]:
    """All answers of a page, by question; what was left out is None.

    Raises:
        Invalid: tells of every wrong one at once.
    """
    known = {question.id for question in questions}
    wrong = [FieldError(f"/{name[:80]}", "unknown", "is no question here") for name in given if name not in known]
    answers: dict[str, Any] = {}
    for question in questions:
        try:
            answers[question.id] = check_answer(question, given.get(question.id))
        except Invalid as refusal:
            wrong += refusal.errors
    if wrong:
        raise Invalid("; ".join(f"{one.pointer[1:]} {one.message}" for one in wrong[:5]), errors=wrong)
    return answers


def answer_of(question: Question, values: Sequence[str]) -> object:
    """What a form's fields of one question say, for `check_answer`; text that is no number stays text."""
    if question.kind == "multiple":
        return list(values)
    text = values[0].strip() if values else ""
    if question.kind in ("likert", "number") and re.fullmatch(r"[+-]?\d{1,15}([.,]\d{1,15})?", text, re.ASCII):
        number = float(text.replace(",", "."))
        return int(number) if number == int(number) else number
    return text


def _span(least: float, most: float) -> str:
    return f"{int(least)}" if least == most else f"{int(least)} to {int(most)}"


def _range(least: float, most: float) -> str:
    if abs(least) >= 1e12 and most >= 1e12:
        return "within 1,000,000,000,000 of 0"
    low = "" if least <= -1e12 else f"from {least:g}"
    high = "" if most >= 1e12 else f"{'to' if low else 'up to'} {most:g}"
    return f"{low} {high}".strip()


def _refused(question: Question, code: str, message: str) -> Invalid:
    return Invalid(f"{question.id} {message}", errors=[FieldError(f"/{question.id}", code, message)])
