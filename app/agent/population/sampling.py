"""Whom a population consists of: people drawn from demographics so that what was asked for is met."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import floor
from random import Random
from typing import Any, Literal, TypeAlias

from app.agent.population.demographics import Demographics, Range, ages, attributes_of
from app.agent.population.statistics_files import population_of
from app.errors import FieldError, Invalid
from app.streams import number, stream

SIZE_MAX = 10_000
Method = Literal["quota", "quasi", "random"]
METHODS: tuple[Method, ...] = ("quota", "quasi", "random")
Fact: TypeAlias = "str | int | float"
Row: TypeAlias = Mapping[str, Fact]


@dataclass(frozen=True, slots=True)
class Share:
    """How many persons of a value were asked for, and how many there are; `mean`: the number's mean instead."""

    attribute: str
    value: str
    asked: float
    got: float
    mean: bool = False

    @property
    def off(self) -> float:
        return self.got - self.asked


@dataclass(frozen=True, slots=True)
class Sample:
    """The people of a population, each a value by attribute; an age is a number, whatever bin it was drawn from."""

    rows: tuple[Row, ...]
    shares: tuple[Share, ...]
    method: Method
    seed: int
    notes: tuple[str, ...] = ()

    def table(self) -> list[Share]:
        """Asked and got for each value of each attribute and each cell of each joint table."""
        return list(self.shares)

    def worst(self) -> float:
        """The largest difference between asked and got, in persons."""
        return max((abs(share.off) for share in self.shares if not share.mean), default=0.0)


@dataclass(frozen=True, slots=True)
class Factor:
    """What is drawn at once: one value of one attribute, or of several, with the share of each cell."""

    names: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    shares: tuple[float, ...]


def plan(
    demographics: Demographics | Mapping[str, Any], size: int, seed: int, method: Method = "quota", name: str = ""
) -> Sample:
    """Draw `size` people; the same demographics, size, seed and method give the same ones.

    `quota`: counts of each attribute, and of each cell of a joint table, by largest remainders (Hamilton), so that each
    is less than one person from what was asked; who has which is shuffled for each attribute on its own. `quasi`: a
    scrambled Sobol sequence, which fills all combinations evenly. `random`: independent draws, to compare with.

    Raises:
        Invalid: the demographics have faults, or size or method is unknown.
    """
    population, notes = population_of(demographics, name or "demographics")
    if method not in METHODS:
        told = f"method must be one of {', '.join(METHODS)}"
        raise Invalid(told, errors=[FieldError("/method", "unknown", told)])
    if not 1 <= size <= SIZE_MAX:
        told = f"size must be from 1 to {SIZE_MAX:,}, not {size:,}"
        raise Invalid(told, errors=[FieldError("/size", "out_of_range", told)])
    factors = factors_of(population)
    ranges = {name: _bounded(name, one, population) for name, one in population.ranges.items()}
    tags = [*(" × ".join(factor.names) for factor in factors), *ranges]
    columns = points(method, size, tags, seed)
    rows: list[dict[str, Fact]] = [{} for _ in range(size)]
    shares: list[Share] = []
    for factor, column in zip(factors, columns, strict=False):
        drawn = _drawn(factor, column, stream(seed, "population", "ties", *factor.names), method)
        _fill(rows, factor, drawn, population.least_age)
        shares += _shares(factor, [cell for cell, _ in drawn], size)
    for (attribute, numbers), column in zip(ranges.items(), columns[len(factors) :], strict=True):
        for row, u in zip(rows, column, strict=True):
            row[attribute] = _whole(numbers.at(u), numbers.digits)
        shares.append(_mean(attribute, numbers, [float(row[attribute]) for row in rows]))
    order = attributes_of(population)
    ordered = tuple({attribute: row[attribute] for attribute in order} for row in rows)
    return Sample(ordered, tuple(shares), method, seed, tuple(notes))


def factors_of(population: Demographics) -> list[Factor]:
    """Joint tables first, then the attributes that none of them decides."""
    made = []
    for table in population.joint:
        names = tuple(table[0].attributes)
        made.append(_factor(names, {tuple(c.attributes[n] for n in names): c.weight for c in table}, population))
    decided = {name for factor in made for name in factor.names}
    return made + [
        _factor((name,), {(value,): weight for value, weight in weights.items()}, population)
        for name, weights in population.marginals.items()
        if name not in decided
    ]


def _factor(names: tuple[str, ...], weights: Mapping[tuple[str, ...], float], population: Demographics) -> Factor:
    if "age" in names:
        place = names.index("age")
        weights = {cell: weight * _old_enough(cell[place], population.least_age) for cell, weight in weights.items()}
    total = sum(weights.values())
    if not total:
        raise Invalid(f"{' × '.join(names)}: nobody is {population.least_age} or older")
    return Factor(names, tuple(weights), tuple(weight / total for weight in weights.values()))


def _old_enough(label: str, least: int) -> float:
    """The part of a bin's years that is not below the least age."""
    low, high = ages(label) or (0, 0)
    return max(0, high - max(low, least) + 1) / (high - low + 1)


def _bounded(name: str, one: Range, population: Demographics) -> Range:
    if name != "age" or population.least_age <= one.low:
        return one
    return one.model_copy(update={"low": float(population.least_age)})


def points(method: Method, size: int, tags: Sequence[str], seed: int) -> list[list[float]]:
    """For each tag a column of `size` numbers in [0, 1), as the method spreads them.

    Of `quota` each column has one number in each of `size` equal parts, in an order of its own (a Latin hypercube:
    McKay, Beckman & Conover 1979, Technometrics 21(2)); `quasi` takes the first points of a scrambled Sobol sequence
    (Owen 1998, J. Complexity 14(4)).
    """
    if method == "quasi":
        return _sobol(size, len(tags), seed)
    columns = []
    for tag in tags:
        chance = stream(seed, "population", method, tag)
        if method == "random":
            columns.append([chance.random() for _ in range(size)])
        else:
            column = [(place + chance.random()) / size for place in range(size)]
            chance.shuffle(column)
            columns.append(column)
    return columns


def _sobol(size: int, dimensions: int, seed: int) -> list[list[float]]:
    import numpy as np
    from scipy.stats import qmc

    if not dimensions:
        return []
    engine = qmc.Sobol(dimensions, scramble=True, rng=np.random.default_rng(number(seed, "population", "sobol")))
    drawn = engine.random_base2((size - 1).bit_length())[:size]
    return [[float(u) for u in column] for column in drawn.T]


def largest_remainder(shares: Sequence[float], size: int, chance: Random) -> list[int]:
    """Whole numbers that sum to `size`, each less than 1 from its share of it (Hamilton's method); ties by chance."""
    exact = [share * size for share in shares]
    counts = [floor(value + 1e-9) for value in exact]
    order = list(range(len(shares)))
    chance.shuffle(order)
    order.sort(key=lambda place: -round(exact[place] - counts[place], 9))
    for place in order[: size - sum(counts)]:
        counts[place] += 1
    return counts


def _drawn(factor: Factor, column: Sequence[float], chance: Random, method: Method) -> list[tuple[int, float]]:
    """For each person the place of its cell, and where in the cell it fell, 0 to 1."""
    if method == "quota":
        size = len(column)
        widths = [count / size for count in largest_remainder(factor.shares, size, chance)]
    else:
        widths = list(factor.shares)
    ends = list(accumulate(widths))
    last = max(place for place, width in enumerate(widths) if width)
    drawn = []
    for u in column:
        place = min(bisect_right(ends, u + 1e-12), last)
        begin = ends[place] - widths[place]
        drawn.append((place, min(1 - 1e-9, max(0.0, (u - begin) / widths[place]))))
    return drawn


def _fill(rows: Sequence[dict[str, Fact]], factor: Factor, drawn: Sequence[tuple[int, float]], least: int) -> None:
    for row, (place, part) in zip(rows, drawn, strict=True):
        for attribute, value in zip(factor.names, factor.cells[place], strict=True):
            row[attribute] = _age(value, part, least) if attribute == "age" else value


def _age(label: str, part: float, least: int) -> int:
    low, high = ages(label) or (0, 0)
    low = max(low, least)
    return low + int(part * (high - low + 1))


def _whole(value: float, digits: int) -> int | float:
    return value if digits else int(value)


def _shares(factor: Factor, drawn: Sequence[int], size: int) -> list[Share]:
    got = Counter(drawn)
    told = []
    if len(factor.names) > 1:
        told = [
            Share(" × ".join(factor.names), " × ".join(cell), share * size, got[place])
            for place, (cell, share) in enumerate(zip(factor.cells, factor.shares, strict=True))
        ]
    for column, attribute in enumerate(factor.names):
        asked: dict[str, float] = {}
        counted: Counter[str] = Counter()
        for place, (cell, share) in enumerate(zip(factor.cells, factor.shares, strict=True)):
            asked[cell[column]] = asked.get(cell[column], 0.0) + share * size
            counted[cell[column]] += got[place]
        told += [Share(attribute, value, expected, counted[value]) for value, expected in asked.items()]
    return told


def asked_of(population: Demographics, size: int) -> dict[tuple[str, str], float]:
    """Of each (attribute, value), how many of `size` people have it, as a number of persons that need not be whole."""
    told: dict[tuple[str, str], float] = {}
    for factor in factors_of(population):
        for cell, share in zip(factor.cells, factor.shares, strict=True):
            for named in zip(factor.names, cell, strict=True):
                told[named] = told.get(named, 0.0) + share * size
    return told


def _mean(attribute: str, numbers: Range, values: Sequence[float]) -> Share:
    asked = sum(numbers.at((place + 0.5) / 1000) for place in range(1000)) / 1000
    return Share(attribute, "mean", asked, sum(values) / len(values), mean=True)
