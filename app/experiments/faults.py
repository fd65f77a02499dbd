"""What is wrong with a design, told at once: each fault with its place, in words."""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from app.errors import FieldError, Invalid
from app.venues.session.design import place_of

FAULTS_MOST = 50
TOLD_MOST = 20
PART_MOST = 80
KEY = "[key]"
"""Where pydantic says that the name of an entry is wrong, and not what it holds."""

NAME = "must be 1 to 40 letters, digits, '_', '-' or '.', and begin with a letter or a digit"
Place = tuple[int | str, ...]
_FORMS: Mapping[str, str] = {
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type", "mapping_type"), "must be a table"),
    **dict.fromkeys(("tuple_type", "list_type"), "must be a list"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    "finite_number": "must be a finite number",
    "string_type": "must be a text",
    "missing": "is needed",
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}


class Faults:
    """What is wrong, told at once."""

    def __init__(self, name: str = "") -> None:
        self._name = name
        self._found: dict[tuple[Place, str], str] = {}

    def add(self, place: Sequence[int | str], words: str, code: str = "contradiction") -> None:
        self._found.setdefault((tuple(place), words), code)

    def of(
        self, error: ValidationError, model: type[BaseModel], place: Callable[[Place], Place] = lambda loc: loc
    ) -> None:
        """All faults that pydantic found in a `model`; `place` tells where a part of what it looked at stands."""
        errors = error.errors(include_url=False)
        for one in errors:
            loc = one["loc"]
            within = any(other["loc"][: len(loc)] == loc and len(other["loc"]) > len(loc) for other in errors)
            if not (one["type"] == "too_short" and within):  # it counts what is right
                self.add(place(loc), _words(one, model), one["type"])

    def tell(self) -> None:
        """
        Raises:
            Invalid: something was added.
        """
        if not self._found:
            return
        said = [f"{place_of(_named(place))}: {words}" if place else words for place, words in self._found]
        more = f"; and {len(said) - TOLD_MOST} more" if len(said) > TOLD_MOST else ""
        errors = [FieldError(_pointer(place), code, words) for (place, words), code in self._found.items()]
        front = f"{self._name}: " if self._name else ""
        raise Invalid(front + "; ".join(said[:TOLD_MOST]) + more, errors=errors[:FAULTS_MOST])


def _named(place: Place) -> Place:
    return _short(place[:-1] if place[-1] == KEY else place)


def _short(place: Place) -> Place:
    """Names in it may be as long as whoever wrote them likes; an answer may not."""
    return tuple(f"{part[:PART_MOST]}…" if isinstance(part, str) and len(part) > PART_MOST else part for part in place)


def _pointer(place: Place) -> str:
    """A JSON Pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in _short(place))


def _words(error: Mapping[str, Any], model: type[BaseModel]) -> str:
    kind, context = error["type"], error.get("ctx") or {}
    if kind == "extra_forbidden":
        return _no_key(error["loc"], model)
    if kind in _FORMS:
        return _FORMS[kind]
    if kind in _BOUNDS:
        word, bound = _BOUNDS[kind]
        return f"must be {word} {context[bound]:,}"
    if kind in ("too_short", "too_long"):
        least = kind == "too_short"
        most = context["min_length" if least else "max_length"]
        return f"must have at {'least' if least else 'most'} {most:,} {'entry' if most == 1 else 'entries'}"
    if kind == "string_pattern_mismatch" and error["loc"][-1] == KEY:
        return NAME
    return str(error["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")


def _no_key(loc: Place, model: type[BaseModel]) -> str:
    """What keys there are like the wrong one, where it stands."""
    here: Any = model
    for part in loc[:-1]:
        fields = _fields(here)
        here = fields[str(part)] if str(part) in fields else next(iter(_models(here)), None)
    like = difflib.get_close_matches(str(loc[-1]), _fields(here), 1)
    return f"is no key here{f'; did you mean {like[0]}?' if like else ''}"


def _fields(annotation: Any) -> dict[str, Any]:
    """By name or alias, the types of the fields of the first model in an annotation."""
    model = next(iter(_models(annotation)), None)
    if model is None:
        return {}
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
