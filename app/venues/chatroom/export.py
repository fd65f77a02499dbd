"""A study as a package: all its rows in one snapshot, as CSV and JSON Lines, with codebook and checksums.

What a file holds stands in `sql/study_export.sql`, whose comments are the codebook. No file holds a token, a name, a
parameter of a link, or a hash of what lets somebody in.
"""

import asyncio
import base64
import hashlib
import json
import re
import zipfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import partial
from importlib.metadata import version
from types import MappingProxyType
from typing import IO, Any, Literal

import asyncpg
import msgspec

from app.db.engine import Database
from app.db.queries import load
from app.errors import NotFound
from app.venues.chatroom.design import StudyDesign, stored
from app.world.text import FORMULA

EXPORT = load("study_export")
STUDY_FILES = ("participants", "assignments", "strata", "attrition", "answers", "tokens", "cast_members")
ROOM_FILES = (
    "sessions", "members", "messages", "events", "reactions", "reports", "blocks", "turns", "calls", "actions",
    "drafts", "texts",
)  # fmt: skip
FORMAT = 1
ROOMS, ROWS = 20, 200
"""Rooms that are read by one statement, and rows by one fetch."""

GUARDED = (*FORMULA, "'")
"""What an apostrophe is put before, which is our own mark: so taking one away gives the text again."""

Kind = Literal["text", "integer", "number", "boolean", "time", "json", "hex", "base64"]
KINDS: Mapping[str, Kind] = {
    "text": "text", "varchar": "text", "int2": "integer", "int4": "integer", "int8": "integer", "float8": "number",
    "numeric": "number", "bool": "boolean", "timestamptz": "time", "jsonb": "json",
}  # fmt: skip
FORMS: tuple[Kind, ...] = ("json", "hex", "base64")
QUOTED = frozenset({"text", "json", "hex", "base64"})
_COLUMN = re.compile(r"(\w+),? -- (?:\[(json|hex|base64)\] )?(.+)$", re.MULTILINE)
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_JSON = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True)
class Column:
    """A column of a file: how its values stand there, and what they mean."""

    name: str
    kind: Kind
    meaning: str


@dataclass(frozen=True)
class Table:
    """A file of the package. Rows are in the values that JSON has."""

    name: str
    meaning: str
    columns: Sequence[Column]


@dataclass
class Package:
    """A zip file that is being written, with what its manifest tells of each file."""

    zip: zipfile.ZipFile
    files: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)

    def add(self, path: str, content: str | bytes) -> None:
        """A file that is at hand as a whole."""
        data = content.encode() if isinstance(content, str) else content
        self.zip.writestr(path, data)
        self.files.append({"path": path, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})

    async def table(
        self, path: str, rows: AsyncIterator[list[list[Any]]], head: bytes, line: Callable[[list[Any]], bytes]
    ) -> int:
        """A file of rows that come in stretches; packing is done beside the event loop."""
        sha256, size, count = hashlib.sha256(), 0, 0
        with self.zip.open(path, "w", force_zip64=True) as file:

            def write(data: bytes) -> None:
                nonlocal size
                file.write(data)
                sha256.update(data)
                size += len(data)

            write(head)
            async for stretch in rows:
                count += len(stretch)
                await asyncio.to_thread(_write_all, write, line, stretch)
        self.files.append({"path": path, "bytes": size, "sha256": sha256.hexdigest(), "rows": count})
        return count


def _write_all(write: Callable[[bytes], None], line: Callable[[list[Any]], bytes], rows: list[list[Any]]) -> None:
    write(b"".join(map(line, rows)))


# What a value looks like


def plain(kind: Kind, value: Any) -> Any:
    """A value of the database as JSON has it."""
    if value is None:
        return None
    match kind:
        case "time":
            return value.isoformat()
        case "hex":
            return bytes(value).hex()
        case "base64":
            return base64.b64encode(value).decode()
        case "json":
            return msgspec.Raw(value if isinstance(value, bytes) else _compact(value))
    return value


def _compact(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else _JSON.encode(value)


def csv_cell(kind: Kind, value: Any, *, guarded: bool = False) -> str:
    """A value in CSV: texts are always in quotes, so that an empty text is `""` and what is missing is nothing."""
    if value is None:
        return ""
    if kind in QUOTED:
        text = bytes(value).decode() if isinstance(value, msgspec.Raw) else str(value)
        if guarded and text.startswith(GUARDED):
            text = f"'{text}"
        return '"' + text.replace('"', '""') + '"'
    if isinstance(value, bool):
        return "true" if value else "false"
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def csv_line(columns: Sequence[Column], row: Sequence[Any], *, guarded: bool = False) -> bytes:
    """A record as RFC 4180 has it."""
    cells = (csv_cell(column.kind, value, guarded=guarded) for column, value in zip(columns, row, strict=True))
    return (",".join(cells) + "\r\n").encode()


def csv_head(columns: Sequence[Column]) -> bytes:
    return (",".join(column.name for column in columns) + "\r\n").encode()


def json_line(columns: Sequence[Column], row: Sequence[Any]) -> bytes:
    """A row as a line of JSON Lines."""
    names = (column.name for column in columns)
    return _JSON.encode(dict(zip(names, row, strict=True))) + b"\n"


# Reading


def _table(name: str, attributes: Iterable[asyncpg.Attribute]) -> Table:
    """What a statement gives, from its comments and from the schema."""
    sql = EXPORT[name]
    told = {found[1]: (found[2], found[3].strip()) for found in _COLUMN.finditer(sql)}
    columns = []
    for attribute in attributes:
        form, meaning = told[attribute.name]
        kind: Kind = next((known for known in FORMS if known == form), KINDS.get(attribute.type.name, "text"))
        columns.append(Column(attribute.name, kind, meaning))
    return Table(name, sql.split("\n", 1)[0].removeprefix("-- "), columns)


class Reader:
    """Reads a study within the snapshot of `connection`."""

    def __init__(self, connection: asyncpg.pool.PoolConnectionProxy, study_id: int, rooms: Sequence[int]) -> None:
        self._connection = connection
        self._study_id = study_id
        self._rooms = rooms

    async def table(self, name: str) -> Table:
        """A file's columns."""
        prepared = await self._connection.prepare(EXPORT[name])
        return _table(name, prepared.get_attributes())

    async def rows(self, table: Table) -> AsyncIterator[list[list[Any]]]:
        """All rows of a file, in stretches; the same ones whenever they are read."""
        kinds = [column.kind for column in table.columns]
        for argument in self._scopes(table.name):
            cursor = await self._connection.cursor(EXPORT[table.name], argument)
            while found := await cursor.fetch(ROWS):
                yield [[plain(kind, value) for kind, value in zip(kinds, row, strict=True)] for row in found]

    def _scopes(self, name: str) -> Iterator[object]:
        if name in STUDY_FILES:
            yield self._study_id
        elif name == "texts":  # one text is sent in many rooms
            yield list(self._rooms)
        else:
            for start in range(0, len(self._rooms), ROOMS):
                yield list(self._rooms[start : start + ROOMS])


async def _together(stretches: AsyncIterator[list[list[Any]]]) -> list[list[Any]]:
    return [row async for stretch in stretches for row in stretch]


async def _again(rows: list[list[Any]]) -> AsyncIterator[list[list[Any]]]:
    yield rows


# Packing


async def export(
    database: Database,
    study_id: int,
    file: IO[bytes],
    *,
    spreadsheet: bool = False,
    facts: Mapping[str, Any] = MappingProxyType({}),
    preface: str = "",
) -> dict[str, Any]:
    """Write a study's package to `file`, as it is at one moment, and return its manifest.

    Args:
        spreadsheet: add a copy of each table that a spreadsheet takes for no formula.
        facts: what the manifest says first.
        preface: what the README says first.

    Raises:
        NotFound: there is no such study.
    """
    async with (
        database.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        study = await connection.fetchrow(EXPORT["study"], study_id)
        if study is None:
            raise NotFound(f"no study has the id {study_id}")
        moment = await connection.fetchrow(EXPORT["now"])
        rooms = [row["id"] for row in await connection.fetch(EXPORT["room_ids"], study_id)]
        reader = Reader(connection, study_id, rooms)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
            package = Package(packed)
            tables = [await reader.table(name) for name in (*STUDY_FILES, *ROOM_FILES)]
            for table in tables:
                await _pack(package, table, partial(reader.rows, table), spreadsheet)
            design = stored(study["design"])
            wide = _wide(design)
            answers = next(table for table in tables if table.name == "answers")
            people = next(table for table in tables if table.name == "participants")
            flat = _pivot(
                wide, await _together(reader.rows(people)), people, await _together(reader.rows(answers)), answers
            )
            await _pack(package, wide, lambda: _again(flat), spreadsheet)
            readme = preface + _readme(study, design, [*tables, wide], package.rows, moment["at"], spreadsheet)
            return _finish(package, study, design, [*tables, wide], moment, facts, readme)


async def _pack(
    package: Package, table: Table, rows: Callable[[], AsyncIterator[list[list[Any]]]], spreadsheet: bool
) -> None:
    columns = table.columns
    count = await package.table(f"data/{table.name}.csv", rows(), csv_head(columns), lambda row: csv_line(columns, row))
    await package.table(f"data/{table.name}.jsonl", rows(), b"", lambda row: json_line(columns, row))
    if spreadsheet:
        await package.table(
            f"spreadsheet/{table.name}.csv",
            rows(),
            b"\xef\xbb\xbf" + csv_head(columns),
            lambda row: csv_line(columns, row, guarded=True),
        )
    package.rows[table.name] = count


def _wide(design: StudyDesign) -> Table:
    """The questionnaire in wide form. An id of a question can't begin with `_`."""
    kinds: dict[str, Kind] = {"likert": "integer", "number": "number", "multiple": "json"}
    keys = [
        Column("_participant", "text", "The participant."),
        Column("_arm", "text", "The arm."),
        Column("_state", "text", "Their state."),
        Column("_stage", "text", "How far they came."),
    ]
    asked = [
        Column(question.id, kinds.get(question.kind, "text"), question.text)
        for question in (*design.intake, *design.closing)
    ]
    return Table("questionnaire", "Answers in wide form: one row a participant, one column a question.", keys + asked)


def _pivot(
    wide: Table, people: list[list[Any]], person: Table, answers: list[list[Any]], answer: Table
) -> list[list[Any]]:
    at = {column.name: place for place, column in enumerate(person.columns)}
    to = {column.name: place for place, column in enumerate(answer.columns)}
    given = {(row[to["participant"]], row[to["question"]]): row[to["value"]] for row in answers}
    keys = [at[name.removeprefix("_")] for name in ("_participant", "_arm", "_state", "_stage")]
    return [
        [row[place] for place in keys]
        + [_flat(column.kind, given.get((row[keys[0]], column.name))) for column in wide.columns[len(keys) :]]
        for row in people
    ]


def _flat(kind: Kind, value: msgspec.Raw | None) -> Any:
    if value is None or bytes(value) == b"null":
        return None
    return value if kind == "json" else msgspec.json.decode(value)


def _finish(
    package: Package,
    study: asyncpg.Record,
    design: StudyDesign,
    tables: Sequence[Table],
    moment: asyncpg.Record,
    facts: Mapping[str, Any],
    readme: str,
) -> dict[str, Any]:
    package.add("design.json", json.dumps(design.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n")
    package.add("design.toml", toml(design))
    package.add("codebook.json", _codebook(tables, design))
    package.add("README.md", readme)
    manifest = {
        **facts,
        "format": FORMAT,
        "made_by": f"Sim-Feed {version('simfeed')}",
        "schema": moment["schema"],
        "database": moment["server"],
        "snapshot_at": moment["at"].isoformat(),
        "study": {
            "id": study["id"],
            "name": study["name"],
            "state": study["state"],
            "consent": study["consent"],
            "seed": study["seed"],
            "design_sha256": study["design_sha256"].hex(),
            **{name: study[name] and study[name].isoformat() for name in ("created_at", "opened_at", "closed_at")},
        },
        "rows": package.rows,
        "files": sorted(package.files, key=lambda one: one["path"]),
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    package.add("manifest.json", text)
    sums = "".join(f"{one['sha256']}  {one['path']}\n" for one in sorted(package.files, key=lambda f: f["path"]))
    package.zip.writestr("SHA256SUMS", sums)
    return manifest


def _codebook(tables: Sequence[Table], design: StudyDesign) -> str:
    asked = [
        {"stage": stage, **question.model_dump(mode="json", exclude_defaults=False)}
        for stage, questions in (("intake", design.intake), ("closing", design.closing))
        for question in questions
    ]
    files = [
        {
            "file": table.name,
            "meaning": table.meaning,
            "columns": [{"name": c.name, "kind": c.kind, "meaning": c.meaning} for c in table.columns],
        }
        for table in tables
    ]
    return json.dumps({"files": files, "questions": asked}, indent=2, ensure_ascii=False) + "\n"


def _readme(
    study: asyncpg.Record,
    design: StudyDesign,
    tables: Sequence[Table],
    rows: Mapping[str, int],
    at: datetime,
    spreadsheet: bool,
) -> str:
    """What lies where, and how it is read."""
    consent = {
        "page": "Participants agreed on this program's page: `consent_sha256` names the text in `design.json`.",
        "external": "Consent was obtained elsewhere (`consent: external`): nothing is known of it here.",
    }[study["consent"]]
    lines = [f"| `{table.name}` | {rows[table.name]} | {table.meaning} |" for table in tables]
    guarded = [
        "",
        "`spreadsheet/` holds the tables once more for Excel and the like: with a byte order mark, and with an "
        "apostrophe before each text that begins with `=`, `+`, `-`, `@`, a tab, a line break, a full-width form of "
        "these, or an apostrophe, so that nothing is taken for a formula. Taking one leading apostrophe from each text "
        "gives the data back. Don't compute with these.",
    ]
    return "\n".join(
        [
            f"# {design.title}",
            "",
            f"The study `{study['name']}` as it was at {at.isoformat()}, seen in one snapshot of the database.",
            "",
            consent + " Participants are pseudonyms. Neither tokens nor names nor parameters of links are in here; "
            "what people wrote may still tell who they are, so treat the package as personal data.",
            "",
            "Participants who withdrew stay as a row, and are counted in `attrition`. Of those who were erased nothing "
            "else is left: `body`, `told`, `reply` and the like of their room are missing, the frame (who, when, how "
            "many tokens) stays.",
            "",
            "| table | rows | what |",
            "|---|---|---|",
            *lines,
            "",
            "Each table is there twice, with the same content: `data/NAME.csv` (RFC 4180, UTF-8, CRLF; texts and JSON "
            'are always in quotes, so `""` is an empty text and an empty field is missing) and `data/NAME.jsonl` (one '
            "JSON object a line). Times are ISO 8601 in UTC. `codebook.json` says what each column and question means, "
            "`design.json` and `design.toml` are the study itself. `manifest.json` counts rows and has the SHA-256 of "
            "each file; `sha256sum -c SHA256SUMS` checks them.",
            *(guarded if spreadsheet else []),
            "",
            "```python",
            "import pandas",
            "",
            "messages = pandas.read_json('data/messages.jsonl', lines=True)",
            "people = pandas.read_csv('data/participants.csv')",
            "both = messages.merge(pandas.read_csv('data/sessions.csv'), on='session').merge(people, on='participant')",
            "```",
            "",
        ]
    )


# TOML


def toml(design: StudyDesign) -> str:
    """A design as TOML, as `simfeed study create --file` takes it."""
    values, tables = _split(design.model_dump(mode="json"))
    lines = [f"{key} = {_value(value)}" for key, value in values]
    for key, value in tables:
        lines += _section((key,), value)
    return "\n".join(lines) + "\n"


def _split(data: Mapping[str, Any]) -> tuple[list[tuple[str, Any]], list[tuple[str, Any]]]:
    """Plain values first: in TOML what stands below a table's name is the table's. TOML has no null."""
    given = [(key, value) for key, value in data.items() if value is not None]
    return [one for one in given if not _is_table(one[1])], [one for one in given if _is_table(one[1])]


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _section(path: tuple[str, ...], value: Any) -> list[str]:
    name = ".".join(map(_key, path))
    lines: list[str] = []
    for one in value if isinstance(value, list) else [value]:
        values, tables = _split(one)
        lines += ["", f"[[{name}]]" if isinstance(value, list) else f"[{name}]"]
        lines += [f"{_key(key)} = {_value(found)}" for key, found in values]
        for key, found in tables:
            lines += _section((*path, key), found)
    return lines


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str):
        return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
    return json.dumps(value)
