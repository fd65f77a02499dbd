"""Whether a population is what was expected: fields, ranges, uniqueness, texts that are too alike, and shares."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from app.agent.population.checking import shown, unknown
from app.agent.population.demographics import Demographics, ages
from app.agent.population.resemblance import NEAR, pairs
from app.agent.population.sampling import Share, asked_of
from app.agent.population.statistics_files import population_of
from app.errors import FieldError, Invalid
from app.world.personas import PersonaSpec

FIELD_MAX = 60
_Name = Annotated[str, Field(min_length=1, max_length=FIELD_MAX)]
_Bound = Annotated[float, Field(strict=True, ge=-1e12, le=1e12, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Bounds(_Strict):
    """From `least` to `most`, both included; what is missing is without a bound."""

    least: _Bound | None = None
    most: _Bound | None = None

    @model_validator(mode="after")
    def _possible(self) -> "Bounds":
        if self.least is not None and self.most is not None and self.least > self.most:
            raise PydanticCustomError("bounds", "least must not be more than most")
        return self

    def fault(self, value: float) -> str | None:
        if self.least is not None and value < self.least:
            return f"is {value:g}, below {self.least:g}"
        return f"is {value:g}, above {self.most:g}" if self.most is not None and value > self.most else None


class Expectations(_Strict):
    """What a population must be. A field is one of a persona, or one of its demographics (`age`).

    `similar`: resemblance of two `texts`, 0 to 1, from which they are near-duplicates. `shares` are demographics;
    each share may be off by `tolerance`, or by one person.
    """

    required: Annotated[tuple[_Name, ...], Field(max_length=50)] = ()
    ranges: Annotated[dict[_Name, Bounds], Field(max_length=50)] = {}
    unique: Annotated[tuple[_Name, ...], Field(max_length=50)] = ("username", "display_name")
    texts: Annotated[tuple[_Name, ...], Field(max_length=10)] = ("description",)
    similar: Annotated[float, Field(strict=True, gt=0, le=1)] = NEAR
    size: Bounds | None = None
    shares: Demographics | None = None
    tolerance: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.05


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one persona (`@username`; empty: with all of them), in which field; of two, with whom else."""

    person: str
    field: str
    message: str
    other: str = ""
    similarity: float | None = None

    def __str__(self) -> str:
        return f"{self.person or 'the population'}, {self.field}: {self.message}"


def expectations_of(value: object, name: str = "expectations") -> Expectations:
    """The expectations that an object describes; its `shares` are demographics of ours or TinyTroupe's.

    Raises:
        Invalid: names each fault and its place.
    """
    if not isinstance(value, dict):
        raise Invalid(f"{name}: must be an object, not {shown(value)}")
    given = dict(value)
    if given.get("shares") is not None:
        given["shares"] = population_of(given["shares"], f"{name}: shares")[0]
    try:
        return Expectations.model_validate(given)
    except ValidationError as error:
        faults = [_fault(tuple(one["loc"]), one["type"], one["msg"]) for one in error.errors(include_url=False)]
    raise Invalid("\n".join(f"{name}: {fault.message}" for fault in faults), errors=faults)


def _fault(loc: tuple[int | str, ...], kind: str, message: str) -> FieldError:
    place = ".".join(str(part + 1) if isinstance(part, int) else part for part in loc)
    if kind == "extra_forbidden":
        told = unknown(str(loc[-1]), "field", Bounds.model_fields if len(loc) > 1 else Expectations.model_fields)
    else:
        told = f"{place}: {message.replace('Input should be', 'must be')}"
    return FieldError("".join(f"/{part}" for part in loc), kind, told)


def check(personas: Sequence[PersonaSpec], expected: Expectations | None = None) -> list[Finding]:
    """All that is not as expected, persons in their order, then pairs, then shares."""
    expected = expected or Expectations()
    return [
        *(finding for one in personas for finding in _of_one(one, expected)),
        *_repeated(personas, expected.unique),
        *(finding for field in expected.texts for finding in _alike(personas, field, expected.similar)),
        *_of_all(personas, expected),
    ]


def value_of(one: PersonaSpec, field: str) -> Any:
    """What a persona has in a field, or among its demographics; None for nothing."""
    if field in PersonaSpec.model_fields:
        return getattr(one, field)
    return one.demographics.get(field.removeprefix("demographics."))


def _of_one(one: PersonaSpec, expected: Expectations) -> Iterator[Finding]:
    who = f"@{one.username}"
    for field in expected.required:
        if value_of(one, field) in (None, "", [], {}):
            yield Finding(who, field, "is missing")
    for field, bounds in expected.ranges.items():
        value = value_of(one, field)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield Finding(who, field, f"must be a number, not {shown(value)}")
        elif fault := bounds.fault(value):
            yield Finding(who, field, fault)


def _repeated(personas: Sequence[PersonaSpec], fields: Sequence[str]) -> Iterator[Finding]:
    for field in fields:
        owners: dict[str, int] = {}
        for place, one in enumerate(personas):
            value = value_of(one, field)
            if value in (None, "", [], {}):
                continue
            owner = owners.setdefault(str(value).casefold(), place)
            if owner != place:
                other = f"@{personas[owner].username}"
                yield Finding(f"@{one.username}", field, f"{shown(value)} is that of {other}, too", other)


def _alike(personas: Sequence[PersonaSpec], field: str, least: float) -> Iterator[Finding]:
    for pair in pairs([_text(value_of(one, field)) for one in personas], least):
        one, other = f"@{personas[pair.one].username}", f"@{personas[pair.other].username}"
        yield Finding(one, field, f"is like that of {other} ({pair.resemblance:.0%})", other, pair.resemblance)


def _text(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value or "")


def _of_all(personas: Sequence[PersonaSpec], expected: Expectations) -> Iterator[Finding]:
    size = len(personas)
    if expected.size and (fault := expected.size.fault(size)):
        yield Finding("", "size", fault)
    for share in shares(personas, expected.shares) if expected.shares and size else ():
        if abs(share.off) > max(1.0, expected.tolerance * size) + 1e-9:
            told = f"{share.got / size:.1%} ({share.got:g} of {size}), where {share.asked / size:.1%} were asked for"
            yield Finding("", f'{share.attribute} "{share.value}"', told)


def shares(personas: Sequence[PersonaSpec], population: Demographics) -> list[Share]:
    """Asked and got for each value of each attribute, as the personas' demographics (or fields) have it."""
    asked = asked_of(population, len(personas))
    counted: dict[str, Counter[str]] = {}
    for attribute in dict.fromkeys(attribute for attribute, _ in asked):
        labels = [value for name, value in asked if name == attribute]
        counted[attribute] = Counter(_label(value_of(one, attribute), attribute, labels) for one in personas)
    return [
        Share(attribute, value, expected, counted[attribute][value]) for (attribute, value), expected in asked.items()
    ]


def _label(value: Any, attribute: str, labels: Sequence[str]) -> str:
    """The value as the plan calls it: an age by its bin."""
    if attribute == "age" and isinstance(value, int):
        return next((label for label in labels if _holds(label, value)), "")
    told: Mapping[str, str] = {label.casefold(): label for label in labels}
    return told.get(str(value).casefold(), "")


def _holds(label: str, age: int) -> bool:
    low, high = ages(label) or (0, -1)
    return low <= age <= high
