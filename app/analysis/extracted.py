"""What was extracted and what was answered, participant by participant, as tables and back.

A value is there, or it is missing for a reason; never both, never neither. That is how an empty text and a missing one
differ in a CSV, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.actions.asking import ExtractedField, Likert, Matrix, Multiple, Number, Question, Ranking, Value
from app.analysis.answers import NO_ANSWER, Summary, summarise_field, summarise_question
from app.analysis.tables import Column, Kind, Table
from app.errors import Invalid

WHO = (Column("participant"), Column("name"))


@dataclass(frozen=True)
class Extracted:
    """A value with its quote, the line that holds it, and its confidence from 0 to 1; or why it is missing."""

    value: Value | None = None
    quote: str | None = None
    line: int | None = None
    confidence: float | None = None
    missing: str | None = None

    def __post_init__(self) -> None:
        if (self.value is None) != bool(self.missing):
            raise ValueError("a value is there, or it is missing for a reason")


@dataclass(frozen=True)
class Record:
    """What was extracted for a participant, or for a run as a whole (`participant` is then its own name for that)."""

    participant: str
    name: str
    fields: Mapping[str, Extracted]


@dataclass(frozen=True)
class Answered:
    """What a participant answered, by question; `missing` says why there is no answer to others."""

    participant: str
    name: str
    answers: Mapping[str, Value]
    missing: Mapping[str, str] = field(default_factory=dict)


_FIELD_KINDS: dict[str, Kind] = {"number": "number", "integer": "integer", "boolean": "boolean", "list": "list"}
_PARTS: tuple[tuple[str, Kind], ...] = (
    ("quote", "text"),
    ("line", "integer"),
    ("confidence", "number"),
    ("missing", "text"),
)


def extraction_columns(fields: Sequence[ExtractedField]) -> tuple[Column, ...]:
    """`participant`, `name`, and of each field `f`, `f.quote`, `f.line`, `f.confidence`, `f.missing`."""
    columns = list(WHO)
    for one in fields:
        columns.append(Column(one.name, _FIELD_KINDS.get(one.type, "text")))
        columns += [Column(f"{one.name}.{part}", kind) for part, kind in _PARTS]
    return tuple(columns)


def extraction_table(fields: Sequence[ExtractedField], records: Sequence[Record]) -> Table:
    """One row a participant. A field that a record does not have is missing, as `no answer`."""
    rows = []
    for record in records:
        row: list[Any] = [record.participant, record.name]
        for one in fields:
            found = record.fields.get(one.name) or Extracted(missing=NO_ANSWER)
            row += [found.value, found.quote or None, found.line, found.confidence, found.missing]
        rows.append(tuple(row))
    return Table(extraction_columns(fields), tuple(rows))


def extraction_records(fields: Sequence[ExtractedField], table: Table) -> list[Record]:
    """The records that `extraction_table` made a table of, however it was stored since.

    Raises:
        Invalid: a row has neither a value nor a reason, or both.
    """
    records = []
    for n, row in enumerate(table.dicts(), 1):
        found = {}
        for one in fields:
            value, quote, line, sure, missing = (row[name] for name in _names(one.name))
            value = _returned(value, missing, one.type in ("text", "category"), f"row {n}: {one.name}")
            found[one.name] = Extracted(value, quote, line, sure, missing)
        records.append(Record(row["participant"] or "", row["name"] or "", found))
    return records


def _names(name: str) -> tuple[str, ...]:
    return name, *(f"{name}.{part}" for part, _ in _PARTS)


def _returned(value: Any, missing: str | None, text: bool, place: str) -> Any:
    """A value as it was: nothing, where no reason is given, was an empty text."""
    if value is None and not missing and text:
        return ""
    if (value is None) != bool(missing):
        raise Invalid(f"{place}: must have a value, or a reason why it is missing")
    return value


def extraction_long(fields: Sequence[ExtractedField], records: Sequence[Record]) -> Table:
    """One row a value: whose, field, type, the value as text, number or list, quote, line, confidence, missing."""
    columns = (*WHO, Column("field"), Column("type"), *_VALUE, *(Column(name, kind) for name, kind in _PARTS))
    rows = []
    for record in records:
        for one in fields:
            found = record.fields.get(one.name) or Extracted(missing=NO_ANSWER)
            told = (found.quote or None, found.line, found.confidence, found.missing)
            rows.append((record.participant, record.name, one.name, one.type, *_split(found.value), *told))
    return Table(columns, tuple(rows))


_VALUE = (Column("text"), Column("number", "number"), Column("list", "list"))


def _split(value: Value | None) -> tuple[str | None, float | None, list[str] | None]:
    """A value as text, as number (1 and 0 for true and false) or as list."""
    if isinstance(value, list):
        return None, None, value
    if isinstance(value, int | float):
        return None, value + 0, None
    return (value, None, None) if isinstance(value, str) else (None, None, None)


def extraction_summaries(
    fields: Sequence[ExtractedField], records: Sequence[Record], *, level: float = 0.95, seed: int = 0
) -> dict[str, Summary]:
    """What each field comes to over all records, with the reasons of what is missing."""
    made = {}
    for one in fields:
        found = [record.fields.get(one.name) or Extracted(missing=NO_ANSWER) for record in records]
        reasons = [each.missing for each in found]
        made[one.name] = summarise_field(one, [each.value for each in found], level=level, seed=seed, reasons=reasons)
    return made


def answer_columns(questions: Sequence[Question]) -> tuple[Column, ...]:
    """`participant`, `name`, and of each question `q` (of a matrix `q[row]` for each row) and `q.missing`."""
    columns = list(WHO)
    for one in questions:
        names = [f"{one.key}[{row}]" for row in one.rows] if isinstance(one, Matrix) else [one.key]
        columns += [Column(name, _question_kind(one)) for name in names]
        columns.append(Column(f"{one.key}.missing"))
    return tuple(columns)


def _question_kind(question: Question) -> Kind:
    match question:
        case Likert() | Matrix():
            return "integer"
        case Number():
            return "integer" if question.whole else "number"
        case Multiple() | Ranking():
            return "list"
    return "text"


def answer_table(questions: Sequence[Question], people: Sequence[Answered]) -> Table:
    """One row a participant. A question without answer or reason is missing as `no answer`."""
    rows = []
    for person in people:
        row: list[Any] = [person.participant, person.name]
        for one in questions:
            value: Any = person.answers.get(one.key)
            row += [value[name] if value else None for name in one.rows] if isinstance(one, Matrix) else [value]
            row.append(None if value is not None else person.missing.get(one.key) or NO_ANSWER)
        rows.append(tuple(row))
    return Table(answer_columns(questions), tuple(rows))


def answer_records(questions: Sequence[Question], table: Table) -> list[Answered]:
    """The answers that `answer_table` made a table of, however it was stored since.

    Raises:
        Invalid: a row has neither an answer nor a reason, or both.
    """
    people = []
    for n, row in enumerate(table.dicts(), 1):
        answers: dict[str, Value] = {}
        reasons: dict[str, str] = {}
        for one in questions:
            value: Any = row.get(one.key)
            if isinstance(one, Matrix):
                cells = {name: row[f"{one.key}[{name}]"] for name in one.rows}
                value = None if all(cell is None for cell in cells.values()) else cells
            missing = row[f"{one.key}.missing"]
            value = _returned(value, missing, _question_kind(one) == "text", f"row {n}: {one.key}")
            if value is None:
                reasons[one.key] = missing
            else:
                answers[one.key] = value
        people.append(Answered(row["participant"] or "", row["name"] or "", answers, reasons))
    return people


def answer_long(questions: Sequence[Question], people: Sequence[Answered]) -> Table:
    """One row an answer, of a matrix one a row: participant, name, question, row, type, text, number, list, missing."""
    columns = (*WHO, Column("question"), Column("row"), Column("type"), *_VALUE, Column("missing"))
    rows = []
    for person in people:
        for one in questions:
            value = person.answers.get(one.key)
            cells = list(value.items()) if isinstance(value, dict) else [(None, value)]
            missing = None if value is not None else person.missing.get(one.key) or NO_ANSWER
            rows += [
                (person.participant, person.name, one.key, row, one.type, *_split(cell), missing) for row, cell in cells
            ]
    return Table(columns, tuple(rows))


def answer_summaries(
    questions: Sequence[Question], people: Sequence[Answered], *, level: float = 0.95, seed: int = 0
) -> dict[str, Summary]:
    """What the answers to each question come to, with the reasons of those that are missing."""
    made = {}
    for one in questions:
        values = [person.answers.get(one.key) for person in people]
        reasons = [person.missing.get(one.key) for person in people]
        made[one.key] = summarise_question(one, values, level=level, seed=seed, reasons=reasons)
    return made
