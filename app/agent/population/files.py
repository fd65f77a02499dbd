"""Persona files: which format one is in, its records, and each record's persona or problems."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from app.agent.population import tables
from app.agent.population.checking import Checker, shown, unknown
from app.agent.population.engine import from_engine
from app.agent.population.foreign import Draft, Mapper, assemble, tidy
from app.agent.population.oasis import from_oasis_csv, from_oasis_json
from app.agent.population.results import PersonaFormat, ReadResult, Record, UnusableError
from app.agent.population.tinytroupe import MARKS, from_tinytroupe
from app.errors import Invalid
from app.strict_json import JSONError, decode, loads

BYTES_MAX = 64 * 1024 * 1024
RECORDS_MAX = 1_000_000
HOLDERS = ("personas", "agents")
"""Under which key an object may hold a file's personas."""

_MAPPERS = {
    PersonaFormat.TINYTROUPE: from_tinytroupe,
    PersonaFormat.OASIS_CSV: from_oasis_csv,
    PersonaFormat.OASIS_JSON: from_oasis_json,
    PersonaFormat.ENGINE: from_engine,
}


def read_personas(path: Path, *, format: PersonaFormat | None = None) -> ReadResult:  # noqa: A002
    """Read the personas in the file at `path`; see `parse_personas`."""
    try:
        with path.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise Invalid(f"{path}: cannot be read: {error.strerror or error}") from None
    return parse_personas(data, path.name, format)


def parse_personas(data: bytes, name: str, format: PersonaFormat | None = None) -> ReadResult:  # noqa: A002
    """Return the personas in `data`, the content of the file `name`, and what is wrong with the others.

    Raises:
        Invalid: the file as a whole can't be read.
    """
    text = _text(data, name)
    records, dialect = _tabled(text, name, format) if _is_table(text, name, format) else _listed(text, name, format)
    if not records:
        raise Invalid(f"{name}: holds no personas")
    if len(records) > RECORDS_MAX:
        raise Invalid(f"{name}: holds {len(records):,} personas, at most {RECORDS_MAX:,} are allowed in one file")
    if dialect in _MAPPERS:
        return imported(records, dialect, name)
    checker = Checker(name)
    _check(checker, records, table=dialect is PersonaFormat.CSV)
    return checker.result


def _text(data: bytes, name: str) -> str:
    if len(data) > BYTES_MAX:
        raise Invalid(f"{name}: is larger than {BYTES_MAX // 1024**2} MiB")
    try:
        text = decode(data, allow_bom=True)
    except JSONError as error:
        raise Invalid(f"{name}: {error}; save it as UTF-8") from None
    if not text.strip():
        raise Invalid(f"{name}: is empty")
    return text


def _is_table(text: str, name: str, format: PersonaFormat | None) -> bool:  # noqa: A002
    if format is not None:
        return format in (PersonaFormat.CSV, PersonaFormat.OASIS_CSV)
    suffix = Path(name).suffix.lower()
    if suffix in (".csv", ".json", ".jsonl", ".ndjson"):
        return suffix == ".csv"
    return text.lstrip()[0] not in "[{"


def _tabled(text: str, name: str, format: PersonaFormat | None) -> tuple[list[Record], PersonaFormat]:  # noqa: A002
    try:
        names = tables.header(text)
        dialect = format or (PersonaFormat.OASIS_CSV if "user_char" in names else PersonaFormat.CSV)
        if faults := tables.header_faults(names, ours=dialect is PersonaFormat.CSV):
            raise Invalid(f"{name}, line 1: {'; '.join(faults)}")
        return list(tables.records(text)), dialect
    except tables.TableError as error:
        raise Invalid(f"{name}, {error}") from None


def _listed(text: str, name: str, format: PersonaFormat | None) -> tuple[list[Record], PersonaFormat]:  # noqa: A002
    if format is PersonaFormat.JSONL or (format is None and _is_lines(text, name)):
        records, own = list(_lines(text)), PersonaFormat.JSONL
    else:
        records, own = _json_records(text, name), PersonaFormat.JSON
    return records, format or _dialect(records) or own


def _is_lines(text: str, name: str) -> bool:
    if Path(name).suffix.lower() in (".jsonl", ".ndjson"):
        return True
    first, _, rest = text.strip().partition("\n")
    return bool(rest) and first.startswith("{") and first.rstrip().endswith("}") and rest.lstrip().startswith("{")


def _lines(text: str) -> Iterator[Record]:
    filled = ((line, content) for line, content in enumerate(text.split("\n"), 1) if content.strip())
    for number, (line, content) in enumerate(filled, 1):
        try:
            yield Record(number, loads(content), line)
        except JSONError as error:
            yield Record(number, UnusableError(f"is not JSON: column {error.column}: {error.message}"), line)


def _json_records(text: str, name: str) -> list[Record]:
    try:
        value = loads(text)
    except JSONError as error:
        raise Invalid(f"{name}: is not JSON: {error}") from None
    if isinstance(value, dict):
        value = _members(value, name)
    if not isinstance(value, list):
        raise Invalid(f"{name}: must hold a list of personas or one object, not {shown(value)}")
    return [Record(number, item) for number, item in enumerate(value, 1)]


def _members(value: dict[str, Any], name: str) -> object:
    held = next((key for key in HOLDERS if key in value), None)
    if held is None:
        return [value]
    if others := [key for key in value if key != held]:
        raise Invalid(f"{name}: {unknown(others[0], 'field', [held])}")
    return value[held]


def _dialect(records: list[Record]) -> PersonaFormat | None:
    """Return whose records these are, by the first object among them; None when they are ours."""
    first = next((record.value for record in records if isinstance(record.value, dict)), {})
    if isinstance(first.get("persona"), dict) or isinstance(first.get("_configuration"), dict):
        return PersonaFormat.TINYTROUPE
    if first.keys() >= {"id", "name", "role", "personality"}:
        return PersonaFormat.ENGINE
    if first.get("type") == "TinyPerson" or (first.keys() & MARKS and "name" in first and "username" not in first):
        return PersonaFormat.TINYTROUPE
    return PersonaFormat.OASIS_JSON if first.keys() & {"realname", "interested_topics", "user_char"} else None


def _check(checker: Checker, records: Iterable[Record], *, table: bool) -> None:
    for record in records:
        try:
            checker.check(record, tables.fields(_object(record)) if table else _usable(record))
        except UnusableError as error:
            checker.refuse(record, error.field, error.message)


def _import(checker: Checker, records: Iterable[Record], mapper: Mapper) -> None:
    drafted: list[tuple[Record, Draft]] = []
    owners: dict[tuple[str, str], int] = {}
    for record in records:
        try:
            draft = mapper(_object(record))
            _claim(owners, record, draft)
            drafted.append((record, draft))
        except UnusableError as error:
            for one in (error, *error.more):
                checker.refuse(record, one.field, one.message)
    made, checker.result.notes = assemble([draft for _, draft in drafted])
    for (record, _), fields in zip(drafted, made, strict=True):
        checker.check(record, fields)
    checker.result.problems.sort(key=lambda problem: problem.record)


def imported(records: Iterable[Record], format: PersonaFormat, name: str) -> ReadResult:  # noqa: A002
    """Return what the importer makes of another system's records."""
    checker = Checker(name)
    _import(checker, records, _MAPPERS[format])
    return checker.result


def _claim(owners: dict[tuple[str, str], int], record: Record, draft: Draft) -> None:
    found = []
    for field, value in draft.unique.items():
        owner = owners.setdefault((field, tidy(value).casefold()), record.number)
        if owner != record.number:
            found.append(UnusableError(f"{shown(value)} is already the {field} of record {owner}", field))
    if found:
        found[0].more = found[1:]
        raise found[0]


def _usable(record: Record) -> object:
    if isinstance(record.value, UnusableError):
        raise record.value
    return record.value


def _object(record: Record) -> dict[str, Any]:
    value = _usable(record)
    if not isinstance(value, dict):
        raise UnusableError(f"must be an object, not {shown(value)}")
    return value
