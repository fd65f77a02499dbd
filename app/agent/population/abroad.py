"""Personas to the files of other systems: the importer's way back, and what those files can't hold."""

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from itertools import count
from typing import Any

from app.agent.population.engine import faults, kept_record, written
from app.agent.population.files import imported
from app.agent.population.oasis import FORM, MAPPED, SAID, is_left_out
from app.agent.population.results import PersonaFormat, Record
from app.agent.population.tables import NUMBERS, records
from app.agent.population.tinytroupe import FACTS, KNOWN
from app.world.personas import PersonaSpec
from app.world.text import quoted

_PERSON = ("age", "nationality", "occupation")
"""What TinyTroupe asks every person for."""


def write_tinytroupe(personas: Sequence[PersonaSpec]) -> tuple[dict[str, bytes], list[str]]:
    """Return the file of each persona by its name, for TinyTroupe has one agent a file, and notes on what is lost."""
    names = _names(personas)
    persons = [_person(one, names[one.username]) for one in personas]
    agents = [{"type": "TinyPerson", "persona": person} for person in persons]
    files = {
        f"{one.username}.agent.json": _dumps(agent, indent=4).encode() + b"\n"
        for one, agent in zip(personas, agents, strict=True)
    }
    return files, [*_lost(personas, _numbered(agents), PersonaFormat.TINYTROUPE), *_unsaid(persons, _PERSON)]


def write_oasis_csv(personas: Sequence[PersonaSpec]) -> tuple[bytes, list[str]]:
    """Return OASIS' table of users, and notes on what it can't hold. Columns beyond OASIS' own stand where needed."""
    rows = [_row(one) for one in personas]
    columns = list(dict.fromkeys([*FORM, *(name for row in rows for name in row)]))
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(map(quoted, columns))
    writer.writerows([quoted(str(row.get(name, ""))) for name in columns] for row in rows)
    text = out.getvalue()
    return text.encode(), _lost(personas, list(records(text)), PersonaFormat.OASIS_CSV)


def write_oasis_json(personas: Sequence[PersonaSpec]) -> tuple[bytes, list[str]]:
    """Return OASIS' list of user profiles, and notes on what it can't hold."""
    profiles = [_profile(one) for one in personas]
    notes = [*_lost(personas, _numbered(profiles), PersonaFormat.OASIS_JSON), *_unsaid(profiles, SAID)]
    return _dumps(profiles, indent=2).encode() + b"\n", notes


def write_engine(personas: Sequence[PersonaSpec]) -> tuple[bytes, list[str]]:
    """Return the simulation engine's list, and notes on what it needs and nothing tells.

    A persona that came from such a list is written as it was there, but for what has changed since.
    """
    names = _names(personas)
    before = _imported(personas)
    records = [written(one, names[one.username], before.get(one.username)) for one in personas]
    _differ(records, personas)
    notes = [
        f"{place}: is missing, and the engine wants it ({_counted(times)})" for place, times in _wanted(records).items()
    ]
    return _dumps(records, indent=2).encode() + b"\n", notes


def _imported(personas: Sequence[PersonaSpec]) -> dict[str, PersonaSpec]:
    """What importing the record that a persona came from gives, by its username."""
    found: dict[str, PersonaSpec] = {}
    for one in personas:
        if (kept := kept_record(one)) is not None:
            read = imported([Record(1, kept)], PersonaFormat.ENGINE, "the file").personas
            found.update(dict.fromkeys([one.username], *read) if read else {})
    return found


def _differ(records: Sequence[dict[str, Any]], personas: Sequence[PersonaSpec]) -> None:
    """Give whoever has the id or name of somebody before it one of its own, after its username."""
    for field in ("id", "name"):
        known = {record[field].casefold() for record in records}
        seen: set[str] = set()
        for record, one in zip(records, personas, strict=True):
            if record[field].casefold() in seen:
                plain = one.username.replace(".", "_")
                tried = (plain if n == 1 else f"{plain}_{n}" for n in count(1))
                record[field] = next(name for name in tried if name.casefold() not in known)
                known.add(record[field].casefold())
            seen.add(record[field].casefold())


def _wanted(records: Sequence[dict[str, Any]]) -> Counter[str]:
    return Counter(place for record in records for place, message in faults(record) if message == "is missing or empty")


def _names(personas: Sequence[PersonaSpec]) -> dict[str, str]:
    """Return the name of each: its display name, or, where somebody has that, its username, as names must differ."""
    names: dict[str, str] = {}
    taken = {one.username for one in personas}
    for one in personas:
        name = one.display_name
        names[one.username] = name if name and (name == one.username or name not in taken) else one.username
        taken.add(names[one.username])
    return names


def _person(one: PersonaSpec, name: str) -> dict[str, Any]:
    told = {key: value for key, value in one.demographics.items() if key not in KNOWN or key in FACTS}
    nested = {key: value for key, value in one.demographics.items() if key not in told}
    person: dict[str, Any] = {
        "name": name,
        "username": one.username,
        "age": None,
        "nationality": None,
        "occupation": {"title": one.role} if one.role else None,
        "description": one.description,
        "bio": one.bio,
        "style": one.style,
        "personality": {"traits": one.traits} if one.traits else None,
        "preferences": {"interests": one.interests} if one.interests else None,
        "long_term_goals": one.goals,
        "political_affiliation": one.leaning,
        "demographics": nested,
        **told,
    }
    return {key: value for key, value in person.items() if value or value == 0 or key in _PERSON}


def _row(one: PersonaSpec) -> dict[str, Any]:
    row = {
        **_oasis(one),
        "following_agentid_list": "[]",
        "previous_tweets": "[]",
        "user_char": one.description,
        "description": one.bio,
    }
    if one.interests:
        row["interested_topics"] = _dumps(one.interests)
    return row


def _profile(one: PersonaSpec) -> dict[str, Any]:
    names = _oasis(one)
    profile = {"realname": names.pop("name"), "username": names.pop("username"), "bio": one.bio}
    said = dict.fromkeys(SAID)
    return {**profile, "persona": one.description, **said, **names, "interested_topics": one.interests}


def _oasis(one: PersonaSpec) -> dict[str, Any]:
    """What both forms of OASIS call the same, the demographics among it as far as their names are free."""
    told: dict[str, Any] = {"name": one.display_name or one.username, "username": one.username}
    if one.role:
        told["profession"] = one.role
    told |= {key: value for key, value in one.demographics.items() if key not in MAPPED and not is_left_out(key)}
    return told | one.model_dump(include={"model", *NUMBERS}, exclude_defaults=True)


def _numbered(values: Sequence[object]) -> list[Record]:
    return [Record(number, value) for number, value in enumerate(values, 1)]


def _lost(personas: Sequence[PersonaSpec], written: Sequence[Record], format: PersonaFormat) -> list[str]:  # noqa: A002
    """Return a note for each field that the importer would not read back as it is, for how many personas."""
    found = imported(written, format, "the file")
    again = {one.username: one for one in found.personas}
    lost: Counter[str] = Counter()
    for one in personas:
        if back := again.get(one.username):
            lost.update(name for name in PersonaSpec.model_fields if getattr(one, name) != getattr(back, name))
    fields = [name for name in PersonaSpec.model_fields if lost[name]]
    notes = [f"{name}: not, or not wholly, held by {format} ({_counted(lost[name])})" for name in fields]
    return notes + [f"can't be read back: {problem}" for problem in found.problems]


def _unsaid(written: Sequence[dict[str, Any]], names: Sequence[str]) -> list[str]:
    unsaid = {name: sum(one[name] is None for one in written) for name in names}
    return [
        f"{name}: written as null, as nothing tells it ({_counted(count)})" for name, count in unsaid.items() if count
    ]


def _counted(count: int) -> str:
    return f"{count:,} persona{'s'[: count != 1]}"


def _dumps(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
