"""What a session leaves behind, as files: transcript, answers, extracted fields, analytics, the result."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal

from fastapi import APIRouter
from starlette.responses import Response

from app.analysis.extracted import answer_table, extraction_table
from app.analysis.tables import Table, to_csv, to_json, to_parquet
from app.errors import Conflict
from app.venues.session.results import COLUMNS, analytics, answers, block, extracted, transcript
from app.web.deps import TheHouse
from app.web.pages.admin.session_page import SessionKey, titled
from app.web.pages.session import TheViewer
from app.web.pages.sheet import PRIVATE, sheet
from app.world import sessions

router = APIRouter(prefix="/admin/sessions", include_in_schema=False)
Kept = Literal[
    "transcript.md",
    "transcript.jsonl",
    "answers.csv",
    "answers.json",
    "answers.parquet",
    "extraction.csv",
    "extraction.json",
    "extraction.parquet",
    "analytics.csv",
    "result.json",
]
MEDIA = {
    "md": "text/markdown; charset=utf-8",
    "jsonl": "application/jsonl",
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
}
WRITES: Mapping[str, Callable[[Table], bytes]] = {"csv": to_csv, "json": to_json, "parquet": to_parquet}


@router.get("/{session_key}/download/{session_file}")
async def download(house: TheHouse, viewer: TheViewer, session_key: SessionKey, session_file: Kept) -> Response:
    """One of a session's files."""
    row = await sessions.found(house.database, session_key)
    what, _, kind = session_file.partition(".")
    name = f"{session_key}-{session_file}"
    match what:
        case "transcript":
            lines = await transcript(house.database, row)
            title = row["name"] or f"{titled(row['kind'])} {session_key}"
            body = as_markdown(title, lines).encode() if kind == "md" else as_jsonl(lines)
        case "analytics":
            if row["kind"] != "dialogue":
                raise Conflict("only dialogues have analytics of their bots")
            rows = await analytics(house.database, row)
            return sheet(f"{session_key}-analytics", COLUMNS, [[one[column] for column in COLUMNS] for one in rows])
        case "result":
            body = json.dumps(await block(house.database, row), ensure_ascii=False, indent=1, allow_nan=False).encode()
        case "answers":
            given = await answers(house.database, row)
            body = WRITES[kind](answer_table(given.questions, given.records))
        case _:
            found = await extracted(house.database, row)
            body = WRITES[kind](extraction_table(found.fields, found.records))
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": PRIVATE}
    return Response(body, 200, headers, MEDIA[kind])


def as_jsonl(lines: list[dict[str, Any]]) -> bytes:
    """A line of JSON for each line."""
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


def as_markdown(title: str, lines: list[dict[str, Any]]) -> str:
    """The transcript for reading: who said what, with what was thought and answered."""
    parts = [f"# {title}"]
    for line in lines:
        told = [f"**{line['by']}** ({line['number']}):", line["text"] or ""]
        if line["value"]:
            told.append("; ".join(f"{key} = {json.dumps(v, ensure_ascii=False)}" for key, v in line["value"].items()))
        if line["missing"]:
            told.append(f"*nothing: {line['missing']}*")
        parts.append(" ".join(part for part in told if part))
        if line["thought"]:
            parts.append(f"> *thinks:* {line['thought']}")
    return "\n\n".join(parts) + "\n"
