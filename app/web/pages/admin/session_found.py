"""What was found out in sessions, computed beside the loop and kept: of large ones it takes seconds."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.requests import Request

from app.actions.asking import ExtractedField
from app.analysis.extracted import Record
from app.db.engine import Database
from app.venues.session.findings import Whole, answers_of, extracted_of, judged, quality_of, whole
from app.web.pages.admin.session_results import Chart, Looked, answer_charts, field_charts, looked
from app.world import sessions

KEPT_MAX = 50
LINES_KEPT_MAX = 100_000
"""Lines of all sessions whose findings are kept."""

AFFORDED = 10
"""How many times as long as it took a running session's findings are shown before they are computed anew."""


@dataclass(frozen=True)
class FoundOut:
    """Charts and values of a session; `source` is the key of the session whose transcript was read."""

    charts: Sequence[Chart]
    fields: Sequence[ExtractedField]
    records: Sequence[Record]
    field_charts: Sequence[Chart]
    summary: str
    quality: Looked | None
    source: str


def _computed(one: Whole, source: Whole) -> FoundOut:
    found = extracted_of(one, source)
    return FoundOut(
        answer_charts(answers_of(one)),
        found.fields,
        found.records,
        field_charts(found),
        found.summary,
        looked(quality_of(one), judged(one)),
        source.row["key"],
    )


@dataclass(frozen=True)
class _Kept:
    of: tuple[object, ...]
    until: float
    lines: int
    found: FoundOut


@dataclass
class Findings:
    """Findings by session, the latest seen; computed for one session at a time, once for all who look."""

    _kept: OrderedDict[int, _Kept] = field(default_factory=OrderedDict)
    _computing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def of(self, database: Database, one: Whole) -> FoundOut:
        """What was found out in a session; of a running one perhaps what was a little earlier."""
        row = one.row
        over = row["ended_at"] is not None
        key = (len(one.lines), row["state"], over)
        async with self._computing:
            kept = self._kept.get(row["id"])
            if kept is not None and (kept.of == key or (not over and time.monotonic() < kept.until)):
                self._kept.move_to_end(row["id"])
                return kept.found
            began = time.monotonic()
            found = await asyncio.to_thread(_computed, one, await _source(database, one))
            took = time.monotonic() - began
            self._keep(row["id"], _Kept(key, began + AFFORDED * took, len(one.lines), found))
            return found

    def _keep(self, session_id: int, kept: _Kept) -> None:
        self._kept[session_id] = kept
        self._kept.move_to_end(session_id)
        while len(self._kept) > 1 and (
            len(self._kept) > KEPT_MAX or sum(one.lines for one in self._kept.values()) > LINES_KEPT_MAX
        ):
            self._kept.popitem(last=False)


async def _source(database: Database, one: Whole) -> Whole:
    """The session whose transcript an extraction reads; else the session itself."""
    if one.row["kind"] == "extraction" and one.row["of"] is not None:
        return await whole(database, await sessions.by_id(database, one.row["of"]))
    return one


def findings_of(request: Request) -> Findings:
    """The process's one."""
    state = request.app.state
    if not hasattr(state, "session_findings"):
        state.session_findings = Findings()
    found = state.session_findings
    assert isinstance(found, Findings)  # noqa: S101 - nobody else writes it
    return found
