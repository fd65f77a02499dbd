"""Questions with typed answers, and fields to be extracted: their forms, JSON schemas, and what is a valid answer."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,39}$")]
Label = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
Options = Annotated[tuple[Label, ...], MinLen(2), MaxLen(50)]
Value: TypeAlias = str | int | float | bool | list[str] | dict[str, int]
"""An answer, or what was extracted for a field."""

TEXT_MAX = 4000
"""Characters of an open answer."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class When(_Strict):
    """Skip logic: a question is asked only of those whose answer to an earlier one is among `among`, or in a range."""

    question: Key
    among: Annotated[tuple[str | int | bool, ...], MaxLen(50)] = ()
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "When":
        if not self.among and self.at_least is None and self.at_most is None:
            raise ValueError("needs among, at_least or at_most")
        return self

    def holds(self, answers: Mapping[str, Value]) -> bool:
        """Whether the earlier answer, which may be missing, is such."""
        answer = answers.get(self.question)
        if answer is None:
            return False
        given = answer if isinstance(answer, list) else [answer]
        if self.among and not any(value in self.among for value in given):
            return False
        if self.at_least is None and self.at_most is None:
            return True
        if isinstance(answer, bool) or not isinstance(answer, int | float):
            return False
        return (self.at_least is None or answer >= self.at_least) and (self.at_most is None or answer <= self.at_most)


class _Question(_Strict):
    """Base of the questions. Each has a `form`, the JSON schema of an answer, and tells the `fault` of one, if any."""

    key: Key
    text: Words
    when: When | None = None

    def order(self, chance: Sequence[int]) -> tuple[str, ...]:
        """The options as they are shown, where the question has options: by a permutation of their places."""
        return ()


def _text(value: Any, most: int = TEXT_MAX) -> str | None:
    if isinstance(value, str) and len(value.strip()) > 0 and len(value) <= most and "\0" not in value:
        return None
    return f"must be a text of 1 to {most} characters"


def _whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


class Open(_Question):
    """An answer in one's own words."""

    type: Literal["open"] = "open"

    def form(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1, "maxLength": TEXT_MAX}

    def fault(self, value: Any) -> str | None:
        return _text(value)


class _OfOptions(_Question):
    options: Options
    shuffle: bool = True
    """Whether each participant sees the options in an order of its own."""

    @model_validator(mode="after")
    def _differ(self) -> Any:
        if len(set(self.options)) < len(self.options):
            raise ValueError("options must differ from one another")
        return self

    def order(self, chance: Sequence[int]) -> tuple[str, ...]:
        return tuple(self.options[place] for place in chance) if self.shuffle else self.options


class Single(_OfOptions):
    """One of the options."""

    type: Literal["single"] = "single"

    def form(self) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.options)}

    def fault(self, value: Any) -> str | None:
        return None if value in self.options else f"must be one of: {'; '.join(self.options)}"


class Multiple(_OfOptions):
    """Some of the options."""

    type: Literal["multiple"] = "multiple"
    least: Annotated[int, Ge(0), Le(50)] = 0
    most: Annotated[int, Ge(1), Le(50)] | None = None

    @model_validator(mode="after")
    def _possible(self) -> "Multiple":
        if self.least > (self.most or len(self.options)) or (self.most or 0) > len(self.options):
            raise ValueError("least must not be more than most, nor either more than there are options")
        return self

    def form(self) -> dict[str, Any]:
        items = {"type": "string", "enum": list(self.options)}
        most = self.most or len(self.options)
        return {"type": "array", "items": items, "uniqueItems": True, "minItems": self.least, "maxItems": most}

    def fault(self, value: Any) -> str | None:
        most = self.most or len(self.options)
        if (
            isinstance(value, list)
            and self.least <= len(value) <= most
            and all(isinstance(one, str) and one in self.options for one in value)
            and len(set(value)) == len(value)
        ):
            return None
        return f"must be a list of {self.least} to {most} different ones of: {'; '.join(self.options)}"


class Likert(_Question):
    """A whole number from 1 to `points`; `low` and `high` name the ends."""

    type: Literal["likert"] = "likert"
    points: Annotated[int, Ge(2), Le(11)] = 5
    low: Label = "strongly disagree"
    high: Label = "strongly agree"

    def form(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": 1, "maximum": self.points}

    def fault(self, value: Any) -> str | None:
        return None if _whole(value, 1, self.points) else f"must be a whole number from 1 to {self.points}"


class Number(_Question):
    """A number; `unit` is for reading only."""

    type: Literal["number"] = "number"
    least: float = Field(default=-1e12, ge=-1e12, le=1e12)
    most: float = Field(default=1e12, ge=-1e12, le=1e12)
    whole: bool = False
    unit: Annotated[str, MaxLen(40)] = ""

    @model_validator(mode="after")
    def _possible(self) -> "Number":
        if self.least > self.most:
            raise ValueError("least must not be more than most")
        return self

    def form(self) -> dict[str, Any]:
        return {"type": "integer" if self.whole else "number", "minimum": self.least, "maximum": self.most}

    def fault(self, value: Any) -> str | None:
        right = isinstance(value, int) and not isinstance(value, bool)
        right |= not self.whole and isinstance(value, float)
        if right and self.least <= value <= self.most:
            return None
        return f"must be a {'whole ' * self.whole}number from {self.least:g} to {self.most:g}"


class Ranking(_OfOptions):
    """All options, best first."""

    type: Literal["ranking"] = "ranking"

    def form(self) -> dict[str, Any]:
        items = {"type": "string", "enum": list(self.options)}
        count = len(self.options)
        return {"type": "array", "items": items, "uniqueItems": True, "minItems": count, "maxItems": count}

    def fault(self, value: Any) -> str | None:
        right = isinstance(value, list) and all(isinstance(one, str) for one in value)
        if right and sorted(value) == sorted(self.options):
            return None
        return f"must be a list of all of these, each once, best first: {'; '.join(self.options)}"


class Matrix(_Question):
    """A whole number from 1 to `points` for each row."""

    type: Literal["matrix"] = "matrix"
    rows: Annotated[tuple[Label, ...], MinLen(1), MaxLen(30)]
    points: Annotated[int, Ge(2), Le(11)] = 5
    low: Label = "strongly disagree"
    high: Label = "strongly agree"

    @model_validator(mode="after")
    def _differ(self) -> "Matrix":
        if len(set(self.rows)) < len(self.rows):
            raise ValueError("rows must differ from one another")
        return self

    def form(self) -> dict[str, Any]:
        cell = {"type": "integer", "minimum": 1, "maximum": self.points}
        return {"type": "object", "properties": dict.fromkeys(self.rows, cell), "required": list(self.rows)}

    def fault(self, value: Any) -> str | None:
        right = isinstance(value, dict) and set(value) == set(self.rows)
        if right and all(_whole(one, 1, self.points) for one in value.values()):
            return None
        return f"must be an object with a whole number from 1 to {self.points} for each of: {'; '.join(self.rows)}"


Question: TypeAlias = Annotated[
    Open | Single | Multiple | Likert | Number | Ranking | Matrix, Field(discriminator="type")
]

FieldType = Literal["text", "number", "integer", "boolean", "category", "list"]


class ExtractedField(_Strict):
    """What is to be found in what was said. A `category` has `options`; a number may have bounds."""

    name: Key
    type: FieldType = "text"
    hint: Annotated[str, MaxLen(1000)] = ""
    options: Annotated[tuple[Label, ...], MaxLen(50)] = ()
    least: float | None = None
    most: float | None = None

    @model_validator(mode="after")
    def _possible(self) -> "ExtractedField":
        if (self.type == "category") != bool(self.options):
            raise ValueError("options are what a category has, and nothing else")
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError("least must not be more than most")
        return self

    def form(self) -> dict[str, Any]:
        """The JSON schema of its value."""
        if self.type == "category":
            return {"type": "string", "enum": list(self.options)}
        if self.type == "list":
            return {"type": "array", "items": {"type": "string"}, "maxItems": 50}
        if self.type in ("number", "integer"):
            bounds = {"minimum": self.least, "maximum": self.most}
            return {"type": self.type, **{name: bound for name, bound in bounds.items() if bound is not None}}
        return {"type": "boolean" if self.type == "boolean" else "string"}

    def fault(self, value: Any) -> str | None:
        """What is wrong with a value; None if it is valid."""
        match self.type:
            case "text":
                return _text(value)
            case "category":
                return None if value in self.options else f"must be one of: {'; '.join(self.options)}"
            case "boolean":
                return None if isinstance(value, bool) else "must be true or false"
            case "list":
                right = isinstance(value, list) and len(value) <= 50 and all(_text(one) is None for one in value)
                return None if right else "must be a list of up to 50 texts"
            case _:
                return self._number(value)

    def _number(self, value: Any) -> str | None:
        right = isinstance(value, int) and not isinstance(value, bool)
        right |= self.type == "number" and isinstance(value, float)
        if right and abs(value) <= 1e15 and not self._beyond(value):
            return None
        least = "" if self.least is None else f" from {self.least:g}"
        most = "" if self.most is None else f" up to {self.most:g}"
        return f"must be a {'whole ' * (self.type == 'integer')}number{least}{most}"

    def _beyond(self, value: float) -> bool:
        return (self.least is not None and value < self.least) or (self.most is not None and value > self.most)
