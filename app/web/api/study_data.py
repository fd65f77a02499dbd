"""What a study has brought: the log of a session, and the whole as a package."""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from typing import IO, Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from app.auth.audit import record
from app.venues.chatroom.export import export
from app.venues.chatroom.log import write_log
from app.web.api.schemas import problems
from app.web.api.sessions import SessionId
from app.web.deps import TheAdmin, TheHouse
from app.web.inputs import PathId

router = APIRouter(prefix="/studies", tags=["studies"])
CHUNK = 256 * 1024
LINES = "application/x-ndjson"
ZIP = "application/zip"
Spreadsheet = Annotated[bool, Query(description="Add a copy of each table that a spreadsheet takes for no formula.")]


def _binary(kind: str, words: str) -> dict[int | str, dict[str, Any]]:
    schema = {"type": "string", **({"format": "binary"} if kind == ZIP else {})}
    return {200: {"description": words, "content": {kind: {"schema": schema}}}}


class LogLines(StreamingResponse):
    media_type = LINES


class Packed(StreamingResponse):
    media_type = ZIP


async def _sent(file: IO[bytes]) -> AsyncIterator[bytes]:
    """A file from its beginning. It has no name, so it is gone with the answer, also when that is broken off."""
    try:
        file.seek(0)
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            yield chunk
    finally:
        file.close()


def _headers(file: IO[bytes], name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"', "Content-Length": str(file.tell())}


@router.get(
    "/{study_id}/sessions/{session_id}/log",
    operation_id="read_session_log",
    response_class=LogLines,
    responses={**problems(401, 404), **_binary(LINES, "The log: JSON Lines.")},
)
async def read_session_log(house: TheHouse, admin: TheAdmin, study_id: PathId, session_id: SessionId) -> Response:
    """A session's log: one JSON object a line, of `timestamp, event_type, session_id, data`."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it is sent
    try:
        lines = await write_log(house.database, session_id, file, study_id=study_id)
        async with house.database.connection() as connection:
            await record(connection, admin.admin.id, "study.log_read", session_id, id=study_id, lines=lines)
    except BaseException:
        file.close()
        raise
    return LogLines(_sent(file), headers=_headers(file, f"{session_id}.jsonl"))


@router.get(
    "/{study_id}/export",
    operation_id="export_study",
    response_class=Packed,
    responses={**problems(401, 404), **_binary(ZIP, "The package: a zip file.")},
)
async def export_study(
    house: TheHouse, admin: TheAdmin, study_id: PathId, spreadsheet: Spreadsheet = False
) -> Response:
    """All that a study has brought, in one snapshot: tables as CSV and JSON Lines, codebook, design, checksums."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it is sent
    try:
        manifest = await export(house.database, study_id, file, spreadsheet=spreadsheet)
        sha256 = await asyncio.to_thread(digest, file)
        async with house.database.connection() as connection:
            name = manifest["study"]["name"]
            await record(connection, admin.admin.id, "study.exported", name, id=study_id, sha256=sha256)
    except BaseException:
        file.close()
        raise
    return Packed(_sent(file), headers=_headers(file, f"study-{study_id}.zip"))


def digest(file: IO[bytes]) -> str:
    """The SHA-256 of a file; it is read to its end."""
    file.seek(0)
    found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # typeshed asks for its own protocol
    file.seek(0, 2)
    return found
