"""Values taken for what they are: no text for a number, no truth for a 1, no control character anywhere."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError, WrapValidator
from pydantic_core import InitErrorDetails, PydanticCustomError

from app.world.text import clean

Place = tuple[str | int, ...]
FAULTS_MOST = 20


def _characters(value: Any, place: Place = ()) -> Iterator[InitErrorDetails]:
    """What no text may hold, wherever it stands in a body."""
    texts = list(value) if isinstance(value, dict) else [value] if isinstance(value, str) else []
    for text in texts:
        try:
            clean(text)
        except PydanticCustomError as error:
            yield InitErrorDetails(type=error, loc=place, input=None)
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from _characters(child, (*place, key))


def _read_otherwise(given: Any, kept: Any, place: Place = ()) -> Iterator[InitErrorDetails]:
    """Where a text was read as a number, or a number as true or false."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key in given.keys() & kept.keys():
            yield from _read_otherwise(given[key], kept[key], (*place, key))
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for n, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from _read_otherwise(one, other, (*place, n))
    elif _form(given) != (form := _form(kept)) and _form(given) and form:
        fault = PydanticCustomError("type", "must be {form}", {"form": form})
        yield InitErrorDetails(type=fault, loc=place, input=None)


def _form(value: Any) -> str:
    forms = ((bool, "true or false"), (str, "a text"), (int | float, "a number"))
    return next((form for kind, form in forms if isinstance(value, kind)), "")


def _refuse(faults: Iterator[InitErrorDetails]) -> None:
    if found := [fault for fault, _ in zip(faults, range(FAULTS_MOST), strict=False)]:
        raise ValidationError.from_exception_data("body", found)


def exactly(value: Any, handler: Any) -> Any:
    """What `handler` makes of a value, if it takes nothing in it for what it is not.

    Raises:
        ValidationError: as `handler`, or each place where something was.
    """
    _refuse(_characters(value))
    read = handler(value)
    _refuse(_read_otherwise(value, read.model_dump(mode="json", by_alias=True, exclude_unset=True)))
    return read


EXACTLY = WrapValidator(exactly)
"""Of a design or a body: no control characters anywhere, and nothing is taken for what it is not."""
