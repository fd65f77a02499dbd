"""The engine's persona files: looked over as a whole, chosen from, and made who talks in a dialogue."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app import strict_json
from app.agent import prompt
from app.agent.population.engine import OURS, Fault, look_over, plain
from app.agent.population.files import BYTES_MAX, HOLDERS, imported
from app.agent.population.foreign import shortened
from app.agent.population.results import PersonaFormat, Record
from app.errors import FieldError, Invalid
from app.venues.session.files import read_bytes
from app.world.personas import PROFILE, PersonaSpec

RECORDS_MOST = 100_000
NAME_MOST, PROMPT_MOST = 60, 20_000
"""Characters of a bot's name and prompt, as designs of dialogues have them."""

FAULTS_TOLD = 50


@dataclass(frozen=True)
class People:
    """A persona file, looked over: its records as they are, and what is wrong or unusual where."""

    name: str
    records: tuple[Any, ...]
    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...]

    def of(self, item: int) -> list[Fault]:
        """The faults of one record; items count from 1."""
        return [fault for fault in self.faults if fault.item == item]


@dataclass(frozen=True)
class Person:
    """Who talks: its id in the file, its name in the dialogue, and who it is."""

    id: str
    name: str
    role: str
    spec: PersonaSpec

    def bot(self) -> dict[str, Any]:
        """As a design of a dialogue has it."""
        profile = self.spec.model_dump(mode="json", include=set(PROFILE) - {"display_name"}, exclude_defaults=True)
        who = prompt.character(self.name, self.spec.description, self.spec.bio, profile)
        made: dict[str, Any] = {"name": self.name, "role": self.role[:200], "prompt": shortened(who, PROMPT_MOST)[0]}
        if self.spec.model is not None:
            made["model"] = self.spec.model
        if self.spec.temperature is not None:
            made["options"] = {"temperature": self.spec.temperature}
        return made


def read_people(path: Path) -> People:
    """The personas in a file: a list, one object, or an object that holds a list as `personas` or `agents`.

    Raises:
        NotFound: there is no such file.
        Invalid: it can't be read, is larger than 64 MiB, no UTF-8 or JSON, or holds nobody or too many.
    """
    try:
        value = strict_json.loads(read_bytes(path, BYTES_MAX), allow_bom=True)
    except strict_json.JSONError as error:
        raise Invalid(f"{path.name}: is not JSON: {error}") from None
    return looked_over(value, path.name)


def looked_over(value: object, name: str) -> People:
    """The same, of the value that a file holds."""
    extra: list[Fault] = []
    if isinstance(value, dict):
        held = next((key for key in HOLDERS if key in value), None)
        if held is not None:
            others = [key for key in value if key != held]
            extra = [
                Fault(0, plain(key[:60]), "stands beside the personas and is not read", warning=True) for key in others
            ]
        value = [value] if held is None else value[held]
    if not isinstance(value, list):
        raise Invalid(f"{name}: must hold a list of personas or one object")
    if not value:
        raise Invalid(f"{name}: holds no personas")
    if len(value) > RECORDS_MOST:
        raise Invalid(f"{name}: holds {len(value):,} personas, at most {RECORDS_MOST:,} are read")
    found = look_over(value)
    faults = [fault for fault in found if not fault.warning]
    faults += _of_ours(value, {fault.item for fault in faults})
    return People(
        name,
        tuple(value),
        tuple(sorted(faults, key=lambda fault: fault.item)),
        (*extra, *(fault for fault in found if fault.warning)),
    )


def _of_ours(records: Sequence[Any], faulty: set[int]) -> list[Fault]:
    """What is wrong with fields of ours that stand in records which are right otherwise."""
    return [
        Fault(number, f"{OURS}.{problem.field}", problem.message)
        for number, record in enumerate(records, 1)
        if number not in faulty and OURS in record
        for problem in imported([Record(number, record)], PersonaFormat.ENGINE, "").problems
    ]


def usable(people: People) -> list[Person]:
    """Everybody in a file that is without fault.

    Raises:
        Invalid: tells each fault with its place.
    """
    if people.faults:
        told = [str(fault) for fault in people.faults]
        more = f"; and {len(told) - FAULTS_TOLD:,} more" if len(told) > FAULTS_TOLD else ""
        errors = [FieldError(_pointer(fault), "persona", fault.message) for fault in people.faults[:FAULTS_TOLD]]
        raise Invalid(f"{people.name}: {'; '.join(told[:FAULTS_TOLD])}{more}", errors=errors)
    records = [Record(number, record) for number, record in enumerate(people.records, 1)]
    read = imported(records, PersonaFormat.ENGINE, people.name)
    if read.problems:
        raise Invalid("; ".join(str(problem) for problem in read.problems[:FAULTS_TOLD]))
    names = _names([str(record["name"]) for record in people.records])
    return [
        Person(record["id"], name, _line(str(record["role"])), spec)
        for record, name, spec in zip(people.records, names, read.personas, strict=True)
    ]


def _pointer(fault: Fault) -> str:
    place = re.sub(r" item (\d+)", lambda found: f"/{int(found[1]) - 1}", fault.place).replace(".", "/")
    return f"/{fault.item - 1}" + (f"/{place}" if place else "")


def _line(text: str) -> str:
    """One line that every terminal, page and database takes."""
    return " ".join("".join(c if c.isprintable() else " " for c in prompt.unmarked(text)).split())


def _names(given: Sequence[str]) -> list[str]:
    """Names that a dialogue takes, which differ; those that are alike once they are short are numbered."""
    seen: dict[str, int] = {}
    found = []
    for name in given:
        short = _line(name)[:NAME_MOST].strip() or "Persona"
        key = short.casefold()
        seen[key] = seen.get(key, 0) + 1
        found.append(short if seen[key] == 1 else f"{short[: NAME_MOST - 6]} {seen[key]}")
    return found


def chosen(people: Sequence[Person], wanted: Sequence[str], *, most: int) -> list[Person]:
    """Those of these ids or names, in the order in which they are asked for; without any, all.

    Raises:
        Invalid: somebody is not there or asked for twice; they are fewer than two, or more than `most`.
    """
    found = [_one(people, one.strip()) for one in wanted if one.strip()] if wanted else list(people)
    if twice := {one.id for one in found if sum(other is one for other in found) > 1}:
        raise Invalid(f"--personas: {', '.join(sorted(twice))} is asked for twice")
    if len(found) < 2:
        raise Invalid(f"a conversation needs two personas or more, and there is {len(found)}")
    if len(found) > most:
        raise Invalid(
            f"{len(found)} personas are too many: at most {most} (max_personas; 20 in all) talk: choose with --personas"
        )
    return found


def _one(people: Sequence[Person], who: str) -> Person:
    for same in (lambda one: one.id == who, lambda one: who.casefold() in (one.id.casefold(), one.name.casefold())):
        if (found := next(filter(same, people), None)) is not None:
            return found
    near = difflib.get_close_matches(who, [one.id for one in people], n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(one.id for one in people[:20])}"
    raise Invalid(f"--personas: nobody has the id {who[:60]!r}; {hint}")


def as_data(people: People) -> dict[str, Any]:
    """A look over a file, as programs get it."""
    wrong: dict[int, list[Fault]] = {}
    odd: dict[int, list[Fault]] = {}
    for fault in people.faults:
        wrong.setdefault(fault.item, []).append(fault)
    for fault in people.warnings:
        odd.setdefault(fault.item, []).append(fault)

    def told(found: Sequence[Fault]) -> list[dict[str, str]]:
        return [{"place": one.place, "message": one.message} for one in found]

    personas = [
        {
            "item": n,
            "id": _shown(record, "id"),
            "name": _shown(record, "name"),
            "ok": n not in wrong,
            "faults": told(wrong.get(n, [])),
            "warnings": told(odd.get(n, [])),
        }
        for n, record in enumerate(people.records, 1)
    ]
    return {
        "file": people.name,
        "valid": not people.faults,
        "total": len(people.records),
        "faulty": len(wrong),
        "warnings": told(odd.get(0, [])),
        "personas": personas,
    }


def _shown(record: object, field: str) -> str | None:
    value = record.get(field) if isinstance(record, dict) else None
    return _line(value)[:100] if isinstance(value, str) else None
