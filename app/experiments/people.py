"""People's values as files and programs bring them: read whole, or refused with each fault and its row."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, TypeAlias

from app import strict_json
from app.analysis.catalogue import METRICS
from app.analysis.comparing import LARGEST
from app.errors import FieldError, Invalid
from app.experiments.design import Experiment
from app.experiments.outcomes import asked_of
from app.venues.session.files import read_bytes

PEOPLE_MOST, NAME_MOST = 100_000, 200
COLUMNS = ("value", "group", "persona")
FAULTS_MOST = 20

Given: TypeAlias = Path | Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True)
class Person:
    """A value, None where it is missing; its sub-group (`attribute=value`), and which persona is meant to be alike."""

    value: float | None
    group: str = ""
    persona: str = ""


def read(values: Given) -> list[Person]:
    """People's values from a file or from data.

    Raises:
        NotFound: there is no such file.
        Invalid: it is none, or too large; each fault with its row.
    """
    if isinstance(values, Path):
        data = read_bytes(values)
        try:
            if values.suffix.lower() == ".csv":
                return _people(_csv_rows(strict_json.decode(data, allow_bom=True)))
            if values.suffix.lower() == ".json":
                return read(strict_json.loads(data, allow_bom=True))
        except strict_json.JSONError as error:
            raise Invalid(f"{values.name}: {error}") from None
        except Invalid as fault:
            raise Invalid(f"{values.name}: {fault.detail}", errors=fault.errors) from None
        raise Invalid(f"{values.name}: must end in .csv or .json")
    if isinstance(values, Mapping):
        return _people(_grouped(values))
    if isinstance(values, str | bytes) or not isinstance(values, Sequence):
        raise Invalid("must be a list of values, or an object of such lists by group")
    return _people((f"row {place}", one) for place, one in enumerate(values, 1))


def _grouped(values: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for group, members in values.items():
        if isinstance(members, str | bytes) or not isinstance(members, Sequence):
            raise Invalid(f"{str(group)[:60]!r}: must hold a list of values")
        for place, one in enumerate(members, 1):
            more = one if isinstance(one, Mapping) else {"value": one}
            yield f"{str(group)[:60]!r}, row {place}", {"group": group, **more}


def _csv_rows(text: str) -> Iterable[tuple[str, Any]]:
    lines = csv.reader(io.StringIO(text), strict=True)
    try:
        head = [name.strip().lower() for name in next(lines, [])]
        if "value" not in head or len(set(head)) < len(head) or set(head) - set(COLUMNS):
            raise Invalid(f"row 1: must name the columns {', '.join(COLUMNS)}, of which `value` is needed")
        for place, cells in enumerate(lines, 2):
            if cells and len(cells) != len(head):
                yield f"row {place}", Invalid(f"has {len(cells)} cells, not {len(head)}")
            elif cells:
                cell = dict(zip(head, cells, strict=True))
                yield f"row {place}", {**cell, "value": _number(cell["value"].strip())}
    except csv.Error as error:
        raise Invalid(f"row {lines.line_num}: is not CSV: {error}") from None


def _number(cell: str) -> float | str | None:
    if cell == "":
        return None
    try:
        return float(cell) if "_" not in cell else cell
    except ValueError:
        return cell


def _people(rows: Iterable[tuple[str, Any]]) -> list[Person]:
    people, faults = [], []
    for place, one in rows:
        person = _person(one)
        if isinstance(person, str):
            faults.append((place, person))
        else:
            people.append(person)
        if len(people) > PEOPLE_MOST or len(faults) > PEOPLE_MOST:
            raise Invalid(f"holds more than {PEOPLE_MOST:,} people")
    _refuse(faults)
    if not any(one.value is not None for one in people):
        raise Invalid("holds no value")
    return people


def _person(one: Any) -> Person | str:
    """A person, or what is wrong with it."""
    if isinstance(one, Invalid):
        return one.detail
    given = one if isinstance(one, Mapping) else {"value": one}
    if unknown := [str(name) for name in given if name not in COLUMNS]:
        return f"has the unknown key {unknown[0][:40]!r}; there are {', '.join(COLUMNS)}"
    value, texts = given.get("value"), [given.get(name) or "" for name in COLUMNS[1:]]
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        return f"must be a number, not {str(value)[:40]!r}"
    if value is not None and not (abs(value) <= LARGEST and isfinite(value)):
        return "must be a finite number"
    for name, text in zip(COLUMNS[1:], texts, strict=True):
        if not isinstance(text, str) or len(text) > NAME_MOST or not text.isprintable():
            return f"{name} must be a line of at most {NAME_MOST} characters"
    return Person(None if value is None else float(value), texts[0].strip(), texts[1].strip())


def _refuse(faults: Sequence[tuple[str, str]]) -> None:
    if faults:
        more = f"; and {len(faults) - FAULTS_MOST} more" if len(faults) > FAULTS_MOST else ""
        errors = [FieldError(place, "invalid", words) for place, words in faults[:FAULTS_MOST]]
        said = "; ".join(f"{place}: {words}" for place, words in faults[:FAULTS_MOST])
        raise Invalid(said + more, errors=errors)


def fits(design: Experiment, outcome: str, people: Sequence[Person]) -> None:
    """
    Raises:
        Invalid: these can't be values of this outcome.
    """
    asked = asked_of(outcome)
    low, high = METRICS[outcome].bounds if design.venue == "feed" and outcome in METRICS else (None, None)
    if asked is not None and asked[2] is not None:
        low, high = 0, 1
    told = f"must be from {'-∞' if low is None else f'{low:g}'} to {'∞' if high is None else f'{high:g}'}"
    _refuse(
        [
            (f"person {place}", f"{told}, not {one.value:g}: that is what {outcome} can be")
            for place, one in enumerate(people, 1)
            if one.value is not None
            and ((low is not None and one.value < low) or (high is not None and one.value > high))
        ]
    )
    named = [one.persona.casefold() for one in people if one.persona]
    first = {name: place for place, name in reversed([*enumerate(named)])}
    _refuse(
        [
            (f"persona {name[:40]!r}", "stands there twice: a persona is made after one person")
            for place, name in enumerate(named)
            if first[name] != place
        ]
    )
    if asked is None and any(one.group or one.persona for one in people):
        raise Invalid(f"group, persona: {outcome} has one value a run, which is no persona's")
