"""What a population is made of: shares of each attribute's values, alone or together, and numbers within ranges."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import NormalDist
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from app.agent.population.checking import shown, unknown
from app.errors import FieldError, Invalid
from app.world.text import Line, Note

ATTRIBUTES_MAX = 32
VALUES_MAX, CELLS_MAX, JOINT_MAX = 500, 10_000, 8
AGE_MAX = 110
OPEN_YEARS = 25
"""Years that a bin without an end, such as 65+, is taken to span."""

SHARE_SLACK, PERCENT_SLACK, SAME = 0.01, 1.0, 0.005
"""How far fractions may be from 1, percentages from 100, and a marginal from its joint table, by rounding."""

_AGES = re.compile(
    r"(?P<low>\d{1,3})\s*(?:-|–|to)\s*(?P<high>\d{1,3})|(?P<only>\d{1,3})"
    r"|(?P<since>\d{1,3})\s*(?:\+|and (?:over|older|above)|or (?:over|older|more))"
    r"|(?:>|over|above)\s*(?P<above>\d{1,3})|(?:<|under|below)\s*(?P<below>\d{1,3})"
)
_COUNTED = {"too_long": "has too many entries", "too_short": "has too few entries", "missing": "is missing"}


def _distinct(given: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    made = handler(given)
    if isinstance(given, dict) and len(made) < len(given):
        raise PydanticCustomError("distinct", "has names that are the same but for white space")
    return made


Attribute = Annotated[Line, Field(max_length=60)]
Weight = Annotated[float, Field(strict=True, ge=0, le=1e15, allow_inf_nan=False)]
Finite = Annotated[float, Field(strict=True, ge=-1e9, le=1e9, allow_inf_nan=False)]
Marginal = Annotated[dict[Line, Weight], Field(min_length=1, max_length=VALUES_MAX), WrapValidator(_distinct)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cell(_Strict):
    """One cell of a joint table: a value of each of its attributes, and how many are so."""

    attributes: Annotated[dict[Attribute, Line], Field(min_length=2, max_length=8)]
    weight: Weight


class Range(_Strict):
    """A number from `low` to `high`, both included, with `digits` decimals. A normal one is cut off at both ends."""

    low: Finite
    high: Finite
    distribution: Literal["uniform", "normal", "triangular"] = "uniform"
    mean: Finite | None = None
    sd: Annotated[float, Field(strict=True, gt=0, le=1e9, allow_inf_nan=False)] | None = None
    mode: Finite | None = None
    digits: Annotated[int, Field(strict=True, ge=0, le=3)] = 0

    @model_validator(mode="after")
    def _possible(self) -> "Range":
        given = {name for name in ("mean", "sd", "mode") if getattr(self, name) is not None}
        needed = {"uniform": set(), "normal": {"mean", "sd"}, "triangular": {"mode"}}[self.distribution]
        if given != needed:
            told = " and ".join(sorted(needed)) or "none of mean, sd and mode"
            raise PydanticCustomError("range", f"a {self.distribution} distribution has {told}")
        if self.low >= self.high:
            raise PydanticCustomError("range", "low must be below high")
        if self.mode is not None and not self.low <= self.mode <= self.high:
            raise PydanticCustomError("range", "mode must lie from low to high")
        return self

    def at(self, u: float) -> float:
        """The value below which the share `u` of all lies (the quantile function); 0 <= u < 1."""
        step = 10.0**-self.digits
        if self.distribution == "uniform":
            count = round((self.high - self.low) / step) + 1
            return round(self.low + int(u * count) * step, self.digits)
        value = self._normal(u) if self.distribution == "normal" else self._triangular(u)
        return min(self.high, max(self.low, round(value, self.digits)))

    def _normal(self, u: float) -> float:
        assert self.mean is not None  # noqa: S101 - as _possible has it
        bell = NormalDist(self.mean, self.sd or 1.0)
        low, high = bell.cdf(self.low), bell.cdf(self.high)
        return bell.inv_cdf(min(1 - 1e-12, max(1e-12, low + u * (high - low))))

    def _triangular(self, u: float) -> float:
        assert self.mode is not None  # noqa: S101 - as _possible has it
        width, rise = self.high - self.low, self.mode - self.low
        if u * width < rise:
            return float(self.low + (u * width * rise) ** 0.5)
        return float(self.high - ((1 - u) * width * (self.high - self.mode)) ** 0.5)


class Demographics(_Strict):
    """A population, as files and clients describe it (docs/populations.md).

    `marginals`: attribute → value → weight. Weights are whole numbers of any sum (counts, parts, percentages), or
    fractions: of sum 1 if none is above 1, else percentages of sum 100. `joint`: tables of cells, each with values of
    the same attributes. `ranges`: attribute → a number. `least_age` leaves younger people out: of a bin it cuts, the
    part of the years that remain counts.
    """

    title: Line | None = None
    description: Note | None = None
    marginals: Annotated[dict[Attribute, Marginal], Field(max_length=ATTRIBUTES_MAX), WrapValidator(_distinct)] = {}
    joint: Annotated[
        tuple[Annotated[tuple[Cell, ...], Field(min_length=1, max_length=CELLS_MAX)], ...], Field(max_length=JOINT_MAX)
    ] = ()
    ranges: Annotated[dict[Attribute, Range], Field(max_length=ATTRIBUTES_MAX)] = {}
    least_age: Annotated[int, Field(strict=True, ge=0, le=100)] = 0

    @field_validator("joint", mode="before")
    @classmethod
    def _one_table(cls, given: Any) -> Any:
        is_table = isinstance(given, list | tuple) and given and not isinstance(given[0], list | tuple)
        return [given] if is_table else given

    @model_validator(mode="after")
    def _possible(self) -> "Demographics":
        if faults := list(_faults(self)):
            raise PydanticCustomError("demographics", "{told}", {"told": "; ".join(faults), "faults": faults})
        return self


def attributes_of(population: Demographics) -> list[str]:
    """All attributes, in the order in which people are told of."""
    tables = [name for table in population.joint for name in table[0].attributes]
    return list(dict.fromkeys([*tables, *population.marginals, *population.ranges]))


def ages(label: str) -> tuple[int, int] | None:
    """The first and last age of a bin such as `18-29`, `65+`, `under 18` or `41`; None if it is no bin."""
    found = _AGES.fullmatch(label.strip().lower())
    if found is None:
        return None
    part = {name: int(value) for name, value in found.groupdict().items() if value is not None}
    if "below" in part:
        bounds = (0, part["below"] - 1)
    elif "only" in part:
        bounds = (part["only"], part["only"])
    elif "low" in part:
        bounds = (part["low"], part["high"])
    else:
        low = part["since"] if "since" in part else part["above"] + 1
        bounds = (low, min(AGE_MAX, low + OPEN_YEARS))
    return bounds if bounds[0] <= bounds[1] <= AGE_MAX else None


def total_fault(weights: Mapping[str, float]) -> str | None:
    """What is wrong with the sum of some weights, in words; None if they are a distribution."""
    total = sum(weights.values())
    if total <= 0:
        return "all weights are 0"
    if all(float(weight).is_integer() for weight in weights.values()):
        return None
    of, slack = (1, SHARE_SLACK) if max(weights.values()) <= 1 else (100, PERCENT_SLACK)
    if abs(total - of) <= slack + 1e-9:
        return None
    kind = "fractions" if of == 1 else "percentages"
    return f"as {kind} they must sum to {of}, not {total:.6g}; counts and parts are whole numbers"


def _faults(population: Demographics) -> Iterator[str]:
    if not attributes_of(population):
        yield "needs marginals, joint or ranges: without them there is nothing to draw"
    if len(attributes_of(population)) > ATTRIBUTES_MAX:
        yield f"has {len(attributes_of(population))} attributes, at most {ATTRIBUTES_MAX} are allowed"
    for name, weights in population.marginals.items():
        if fault := total_fault(weights):
            yield f"marginals.{name}: {fault}"
    yield from _joint_faults(population)
    for name in population.ranges:
        if name in population.marginals or any(name in table[0].attributes for table in population.joint):
            yield f"ranges.{name}: has shares, too; give only one of them"
    yield from _age_faults(population)


def _joint_faults(population: Demographics) -> Iterator[str]:
    owners: dict[str, int] = {}
    for place, table in enumerate(population.joint, 1):
        where, names = f"joint table {place}", list(table[0].attributes)
        seen: dict[tuple[str, ...], int] = {}
        for number, cell in enumerate(table, 1):
            if set(cell.attributes) != set(names):
                yield f"{where}, cell {number}: must have the attributes of cell 1: {', '.join(names)}"
                continue
            values = tuple(cell.attributes[name] for name in names)
            if (first := seen.setdefault(values, number)) != number:
                yield f"{where}, cell {number}: is the same as cell {first}"
        if fault := total_fault({str(number): cell.weight for number, cell in enumerate(table)}):
            yield f"{where}: {fault}"
        for name in names:
            if name in owners:
                yield f"{where}: {name} is in joint table {owners[name]}, too"
            elif name in population.marginals:
                yield from _contradictions(name, where, table, population.marginals[name])
            owners.setdefault(name, place)


def _contradictions(name: str, where: str, table: tuple[Cell, ...], marginal: Mapping[str, float]) -> Iterator[str]:
    """Yield where an attribute's own shares are not those of its joint table."""
    whole, total = sum(marginal.values()), sum(cell.weight for cell in table)
    if not whole or not total:
        return
    found: dict[str, float] = {}
    for cell in table:
        value = cell.attributes.get(name, "")
        found[value] = found.get(value, 0.0) + cell.weight
    for value in dict.fromkeys([*marginal, *found]):
        own, other = marginal.get(value, 0) / whole, found.get(value, 0) / total
        if abs(own - other) > SAME:
            yield f'marginals.{name}["{value}"]: is {own:.1%}, but {other:.1%} in {where}'


def _age_faults(population: Demographics) -> Iterator[str]:
    for where, label in _age_labels(population):
        if ages(label) is None:
            yield f'{where}["{label}"]: must be an age or a bin of ages such as 18-29, 65+ or under 18'
    bins = sorted({label: ages(label) or (0, -1) for _, label in _age_labels(population)}.items(), key=lambda b: b[1])
    for (one, (_, last)), (other, (first, _)) in pairwise(bins):
        if first <= last:
            yield f"age: the bins {one} and {other} overlap"
    if bins and max(last for _, (_, last) in bins) < population.least_age:
        yield f"least_age: nobody is {population.least_age} or older"
    age = population.ranges.get("age")
    if age is not None and (age.low < 0 or age.high > AGE_MAX or age.digits or age.high < population.least_age):
        yield f"ranges.age: must be whole years from 0 to {AGE_MAX}, and not all below least_age"


def _age_labels(population: Demographics) -> Iterator[tuple[str, str]]:
    for label in population.marginals.get("age", {}):
        yield "marginals.age", label
    for place, table in enumerate(population.joint, 1):
        for cell in table:
            if "age" in cell.attributes:
                yield f"joint table {place}: age", cell.attributes["age"]


def checked(value: object, name: str = "demographics") -> Demographics:
    """The population that an object of our own form describes.

    Raises:
        Invalid: names each fault and its place.
    """
    if isinstance(value, Demographics):
        return value
    if not isinstance(value, dict):
        raise Invalid(f"{name}: must be an object, not {shown(value)}")
    try:
        return Demographics.model_validate(value)
    except ValidationError as error:
        details = error.errors(include_url=False)
        told = dict(_told(detail) for detail in reversed(details) if not _follows(detail, details))
        faults = [FieldError(pointer, "invalid", said) for pointer, said in reversed(told.items())]
    raise Invalid("\n".join(f"{name}: {fault.message}" for fault in faults), errors=faults)


def _told(detail: ErrorDetails) -> tuple[str, str]:
    """The JSON Pointer of a fault, and the sentence."""
    loc = [part for part in detail["loc"] if part != "[key]"]
    pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in loc)
    kind, given = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        inner = Range if loc[0] == "ranges" else Cell
        said = unknown(str(loc[-1]), "field", (inner if len(loc) > 1 else Demographics).model_fields)
        return pointer, said if len(loc) == 1 else f"{_place(loc[:-1])}: {said}"
    if kind == "demographics":
        return pointer, str(detail["ctx"]["told"])
    if kind in _COUNTED:
        said = _COUNTED[kind]
    elif kind == "greater_than_equal" and "weight" in _weighed(loc):
        said = f"must not be negative, but is {shown(given)}"
    elif kind in ("float_type", "finite_number", "float_parsing"):
        said = f"must be a number, not {_number(given)}"
    else:
        said = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return pointer, f"{_place(loc)}: {said}"


def _follows(detail: ErrorDetails, others: Sequence[ErrorDetails]) -> bool:
    """Whether a list is too short only because its entries have faults."""
    size = len(detail["loc"])
    if detail["type"] != "too_short":
        return False
    return any(other["loc"][:size] == detail["loc"] and len(other["loc"]) > size for other in others)


def _weighed(loc: list[int | str]) -> str:
    return "weight" if loc and (loc[0] == "marginals" or loc[-1] == "weight") else ""


def _number(given: object) -> str:
    return str(given) if isinstance(given, float) else shown(given)


def _place(loc: list[int | str]) -> str:
    """Where it is, for people: `marginals.age["18-29"]`, `joint table 1, cell 3, weight`."""
    if not loc:
        return "the object"
    head, *rest = loc
    if head == "joint":
        words = [
            f"{name} {n + 1}" if isinstance(n, int) else str(n)
            for name, n in zip(("table", "cell"), rest, strict=False)
        ]
        return ", ".join([f"joint {words[0]}" if words else "joint", *words[1:], *map(str, rest[2:])])
    text = ".".join(map(str, [head, *rest[:1]]))
    return text + "".join(f'["{part}"]' if head == "marginals" else f".{part}" for part in rest[1:])
