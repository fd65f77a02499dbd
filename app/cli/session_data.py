"""Sessions as files: answers, extracted values, transcripts, results; analytics of dialogues."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import asyncpg
import typer

from app.analysis.extracted import answer_table, extraction_table
from app.analysis.tables import Column, Table, to_csv, to_json, to_parquet
from app.cli.common import err
from app.cli.session_play import plain, spoken
from app.cli.writing import whole
from app.db.engine import Database
from app.errors import Invalid
from app.venues.session.results import (
    COLUMNS,
    analytics,
    answers,
    block,
    document,
    extracted,
    persona_specs,
    transcript,
)
from app.world.text import quoted

What = Literal["answers", "extracted", "transcript", "result"]
Form = Literal["csv", "json", "jsonl", "parquet", "md"]
Out = Annotated[Path | None, typer.Option("-o", "--out", metavar="FILE", help="A file; without it, stdout.")]
LINES = (
    Column("number", "integer"),
    Column("by"),
    Column("member", "integer"),
    Column("kind"),
    Column("round", "integer"),
    Column("text"),
    Column("thought"),
    Column("value"),
    Column("missing"),
    Column("at"),
)
TABLES: Mapping[str, Callable[[Table], bytes]] = {"csv": to_csv, "json": to_json, "parquet": to_parquet}


def write(data: bytes, to: Path | None, *, binary: bool = False) -> None:
    """To a file, whole or not at all; or to stdout.

    Raises:
        Invalid: it is no text, and stdout is a terminal.
    """
    if to is not None:
        with whole(to) as file:
            file.write(data)
        err.print(f"{to}: {len(data):,} bytes", markup=False, highlight=False)
        return
    stdout = typer.get_binary_stream("stdout")
    if binary and stdout.isatty():
        raise Invalid("this is no text: name a file, -o FILE")
    stdout.write(data)
    stdout.flush()


async def dialogue_export(database: Database, row: asyncpg.Record, form: str) -> bytes:
    """A dialogue's analytics (csv), or its lines."""
    if form == "csv":
        return _csv(COLUMNS, await analytics(database, row))
    lines = await transcript(database, row)
    if form == "jsonl":
        return _json_lines(lines)
    return _markdown(row, lines) if form == "md" else _text(lines)


async def exported(database: Database, row: asyncpg.Record, what: What, form: Form) -> bytes:
    """A session's answers, extracted values, transcript or result.

    Raises:
        Invalid: there is none, or it has no such form.
    """
    if what == "result":
        return await _result(database, row, form)
    if what == "transcript":
        lines = await transcript(database, row)
        return _markdown(row, lines) if form == "md" else _table(_transcript_table(lines), form)
    if form == "md":
        raise Invalid(f"{what} have no form md: csv, json, jsonl or parquet")
    if what == "answers":
        given = await answers(database, row)
        if not given.questions:
            raise Invalid(f"the session {row['key']} asks nothing that is answered in writing: there are no answers")
        return _table(answer_table(given.questions, given.records), form)
    found = await extracted(database, row)
    if not found.fields:
        raise Invalid(f"nothing is extracted in the session {row['key']}: `simfeed session extract` does so")
    return _table(extraction_table(found.fields, found.records), form)


async def _result(database: Database, row: asyncpg.Record, form: Form) -> bytes:
    if form == "md" and row["kind"] == "writing":
        return document_markdown(await document(database, row))
    if form != "json":
        raise Invalid("a result has the form json" + (" or md" if row["kind"] == "writing" else ""))
    if row["kind"] == "population":
        people, wrong = await persona_specs(database, row)
        for one in wrong:
            err.print(one, markup=False, highlight=False)
        return _json([one.model_dump(mode="json", exclude_defaults=True) for one in people])
    answer = await block(database, row)
    if row["kind"] == "writing":
        answer["document"] = await document(database, row)
    return _json(answer)


def _table(table: Table, form: str) -> bytes:
    return _json_lines(table.dicts()) if form == "jsonl" else TABLES[form](table)


def _transcript_table(lines: Sequence[Mapping[str, Any]]) -> Table:
    names = [column.name for column in LINES]
    rows = []
    for line in lines:
        value = None if line["value"] is None else json.dumps(line["value"], ensure_ascii=False)
        rows.append(tuple(value if name == "value" else line[name] for name in names))
    return Table(LINES, tuple(rows))


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1, default=str).encode() + b"\n"


def _json_lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False, default=str).encode() + b"\n" for row in rows)


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    for row in rows:
        cells = [row[column] for column in columns]
        writer.writerow([quoted(cell) if isinstance(cell, str) else cell for cell in cells])
    return text.getvalue().encode()


def _text(lines: Sequence[Mapping[str, Any]]) -> bytes:
    told = [f"{plain(line['by'])}: {plain(words)}\n" for line in lines if (words := spoken(line)) is not None]
    return "".join(told).encode()


def _markdown(row: asyncpg.Record, lines: Sequence[Mapping[str, Any]]) -> bytes:
    title = row["name"] or f"{row['kind'].replace('_', ' ')} {row['key']}"
    parts = [f"# {_escaped(title)}", f"{row['kind'].replace('_', ' ').capitalize()} {row['key']}, seed {row['seed']}"]
    number = 0
    for line in lines:
        words = spoken(line)
        if words is None:
            continue
        if line["round"] != number and row["kind"] != "dialogue":
            number = line["round"]
            parts.append(f"## Round {number}")
        parts.append(f"**{_escaped(line['by'])}:** {_escaped(words)}")
    return ("\n\n".join(parts) + "\n").encode()


def document_markdown(found: Mapping[str, Any] | None) -> bytes:
    """A document, with its quotes and whether they were said.

    Raises:
        Invalid: none was written.
    """
    if found is None:
        raise Invalid("no document was written")
    parts = [f"# {_escaped(found['title'])}"]
    for section in found["sections"]:
        parts += [f"## {_escaped(section['heading'])}", _escaped(section["text"])]
    if found["quotes"]:
        parts.append("## Quotes")
        parts += [
            f"> {_escaped(q['quote'])}\n>\n> (line {q['n']}{'' if q['found'] else ', NOT FOUND'})"
            for q in found["quotes"]
        ]
    return ("\n\n".join(parts) + "\n").encode()


def _escaped(text: str) -> str:
    """Text that stays text in Markdown."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|" else c for c in plain(text))
