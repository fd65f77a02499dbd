"""The committer: replies, records and effects of many personas' steps, in one statement and one commit."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Literal

import asyncpg
import msgspec

from app.db.engine import Database, patiently
from app.db.notify import Bell
from app.db.queries import load
from app.ledger.budget import Hold, charged
from app.ledger.budget import Superseded as Superseded
from app.world.effects import Effect

if TYPE_CHECKING:  # its library takes the command line longer than all the rest of this
    from app.metrics import Metrics

STATEMENTS = load("commit")
COMMIT = STATEMENTS["commit_steps"]
GROUP = 128
DRAINERS = 2
DEADLOCK_TRIES = 5
DEADLOCK_WAIT = 0.01
MET = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""Two statements met: one of them was undone, and will do when it is tried again."""

ActionOutcome = Literal["made", "already", "not_found", "not_allowed", "read", "refused", "ended"]


@dataclass(frozen=True)
class ActionRecord:
    """One call out of a reply. With an `effect`, the commit finds the outcome; without, `outcome` is it."""

    ordinal: int
    call_id: str
    name: str
    arguments: str
    effect: Effect | None = None
    outcome: ActionOutcome = "refused"
    detail: str = ""


@dataclass(frozen=True)
class ExposureRecord:
    """What was shown before this step: ids in order of rank, and why; see `models/ledger.Exposure`."""

    ordinal: int
    kind: str
    ranker: str
    items: tuple[int, ...]
    version: int = 1
    scores: tuple[float, ...] = ()
    reasons: tuple[str, ...] = ()
    chances: tuple[float, ...] = ()


@dataclass(frozen=True)
class StepRecord:
    """One model call of a turn with all that came of it. `state` is the turn's after it.

    With a `hold`, the budgets it stands in are charged what the call took instead. In a replay it happens `at` the time
    at which it happened, and what it makes gets the ids that were `made`, by the actions' ordinals.
    """

    turn_id: int
    persona_id: int
    epoch: int
    step: int
    state: str
    reason: str | None
    status: str
    detail: str
    model: str
    model_returned: str
    options: bytes
    told: bytes
    tools_sha256: bytes
    request_sha256: bytes
    reply: bytes
    response: bytes
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cost_usd: float | None
    latency_ms: int
    actions: tuple[ActionRecord, ...] = ()
    exposures: tuple[ExposureRecord, ...] = ()
    hold: Hold | None = None
    at: datetime | None = None
    made: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class EffectOutcome:
    """What came of one effect; `object_id` is what it made or undid."""

    outcome: ActionOutcome
    object_id: int | None


@dataclass
class _Waiting:
    record: StepRecord
    done: asyncio.Future[dict[int, EffectOutcome]] = field(default_factory=asyncio.Future)


_STEP_COLUMNS = (
    "turn_id", "epoch", "step", "state", "reason", "status", "detail", "model", "model_returned", "options", "told",
    "tools_sha256", "request_sha256", "reply", "response", "prompt_tokens", "completion_tokens", "cached_tokens",
    "cost_usd", "latency_ms",
)  # fmt: skip


def _arguments(records: Sequence[StepRecord], lease_seconds: float) -> list[object]:
    steps: list[object] = [[getattr(r, column) for r in records] for column in _STEP_COLUMNS]
    actions = [_action_row(r, a) for r in records for a in r.actions]
    shown: list[tuple[object, ...]] = [
        (r.turn_id, r.step, e.ordinal, e.kind, e.ranker, "{" + ",".join(map(str, e.items)) + "}")
        for r in records
        for e in r.exposures
    ]
    why: list[tuple[object, ...]] = [
        (e.version, _numbers(e.scores), msgspec.json.encode(e.reasons).decode(), _numbers(e.chances))
        for r in records
        for e in r.exposures
    ]
    held = [_held_row(r, r.hold) for r in records if r.hold is not None]
    columns = (*_columns(actions, 12), *_columns(shown, 6), *_columns(held, 6), *_columns(why, 4))
    made = [r.made.get(a.ordinal) for r in records for a in r.actions]
    return [*steps, lease_seconds, *columns, made, [r.at for r in records]]


def _numbers(values: Sequence[float]) -> str:
    """An array as PostgreSQL reads it: arrays of different lengths can't go as one."""
    return "{" + ",".join(map(repr, values)) + "}"


def _columns(rows: list[tuple[object, ...]], width: int) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def _action_row(record: StepRecord, action: ActionRecord) -> tuple[object, ...]:
    head = (record.turn_id, record.step, action.ordinal, action.call_id, action.name, action.arguments)
    if action.effect is None:
        return (*head, None, None, None, None, action.outcome, action.detail)
    effect = action.effect
    return (*head, effect.kind, effect.target_id, effect.title, effect.body, action.outcome, action.detail)


def _held_row(record: StepRecord, hold: Hold) -> tuple[object, ...]:
    tokens, usd = charged(record.prompt_tokens, record.completion_tokens, record.cost_usd)
    return (record.turn_id, hold.tokens, hold.usd, hold.day, tokens, usd)


class Committer:
    """Takes steps from all turns of this process and commits them in groups; takes what is there, without a timer."""

    def __init__(
        self,
        database: Database,
        *,
        lease_seconds: float,
        bell: Bell | None = None,
        metrics: "Metrics | None" = None,
    ) -> None:
        self.metrics = metrics
        self._database = database
        self._lease_seconds = lease_seconds
        self._bell = bell
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._drainers: list[asyncio.Task[None]] = []
        self.groups = 0
        self.steps = 0

    async def __aenter__(self) -> "Committer":
        self._drainers = [asyncio.create_task(self._drain(), name=f"committer-{n}") for n in range(DRAINERS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._queue.join()
        for task in self._drainers:
            task.cancel()
        await asyncio.gather(*self._drainers, return_exceptions=True)

    async def commit(self, record: StepRecord) -> dict[int, EffectOutcome]:
        """Commit one step and return its effects' outcomes by ordinal.

        Raises:
            Superseded: the turn's epoch or next step has moved on; nothing was written.
            asyncpg.PostgresError, OSError: the database refused or is away; nothing was written, or (when the
                connection broke during the commit) the step may stand: committing it again tells by `Superseded`.
        """
        waiting = _Waiting(record)
        self._queue.put_nowait(waiting)
        return await waiting.done

    async def commit_together(self, records: Sequence[StepRecord]) -> list[dict[int, EffectOutcome] | Exception]:
        """Commit steps of different turns in this order and in one transaction; what came of each, or why it can't be.

        Raises:
            asyncpg.PostgresError, OSError: the database refused all of them or is away; nothing was written.
        """
        return await patiently(lambda: self._together(records), MET, tries=DEADLOCK_TRIES, wait=DEADLOCK_WAIT)

    async def _together(self, records: Sequence[StepRecord]) -> list[dict[int, EffectOutcome] | Exception]:
        if len(records) > GROUP or any(map(_blocks, records)):
            told = await self._in_parts(records)
        else:
            try:
                told = _told(records, await self._database.fetch(COMMIT, *_arguments(records, self._lease_seconds)))
            except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError):
                told = await self._in_parts(records)
        self.groups += 1
        self.steps += len(records)
        if self.metrics is not None:
            for record, outcomes in zip(records, told, strict=True):
                if not isinstance(outcomes, Exception):
                    _count(self.metrics, record, outcomes)
        if self._bell is not None and any(told):
            self._bell.ring()
        return told

    async def _in_parts(self, records: Sequence[StepRecord]) -> list[dict[int, EffectOutcome] | Exception]:
        told: list[dict[int, EffectOutcome] | Exception] = []
        async with self._database.connection() as connection, connection.transaction():
            if any(map(_blocks, records)):
                await connection.execute(STATEMENTS["alone"])
            for part in _parts(records):
                told += await self._part(connection, part)
        return told

    async def _part(
        self, connection: asyncpg.pool.PoolConnectionProxy, records: Sequence[StepRecord]
    ) -> list[dict[int, EffectOutcome] | Exception]:
        try:
            async with connection.transaction():
                rows = await connection.fetch(COMMIT, *_arguments(records, self._lease_seconds))
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            if len(records) == 1:
                return [error]
            return [(await self._part(connection, [record]))[0] for record in records]
        return _told(records, rows)

    async def _drain(self) -> None:
        held: list[_Waiting] = []
        while True:
            group = self._take([*held, *([] if held else [await self._queue.get()])])
            held = group[1]
            await self._settle(group[0])
            for _ in group[0]:
                self._queue.task_done()

    def _take(self, first: list[_Waiting]) -> tuple[list[_Waiting], list[_Waiting]]:
        """At most one step of a persona in a group, and a block alone: the statement sees one state of the world."""
        group: list[_Waiting] = []
        held: list[_Waiting] = []
        personas: set[int] = set()
        candidates = first
        while candidates or (not self._queue.empty() and len(group) < GROUP):
            waiting = candidates.pop(0) if candidates else self._queue.get_nowait()
            blocks = _blocks(waiting.record)
            if waiting.record.persona_id in personas or len(group) >= GROUP or (blocks and group):
                held.append(waiting)
                continue
            personas.add(waiting.record.persona_id)
            group.append(waiting)
            if blocks:
                return group, [*held, *candidates]
        return group, held

    async def _settle(self, group: list[_Waiting]) -> None:
        try:
            rows = await self._write([w.record for w in group])
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            await self._one_by_one(group, error)
        except Exception as error:
            for waiting in group:
                _fail(waiting, error)
        else:
            told = _tell(group, rows)
            if self.metrics is not None:
                for record, outcomes in told:
                    _count(self.metrics, record, outcomes)
            if self._bell is not None and len(rows) > len(group):  # besides the live turns there are effects
                self._bell.ring()

    async def _one_by_one(self, group: list[_Waiting], error: Exception) -> None:
        """One step's bad data must not fail the others'."""
        if len(group) == 1:
            _fail(group[0], error)
            return
        for waiting in group:
            await self._settle([waiting])

    async def _write(self, records: Sequence[StepRecord]) -> list[asyncpg.Record]:
        arguments = _arguments(records, self._lease_seconds)
        write = self._write_alone if any(map(_blocks, records)) else self._database.fetch
        rows = await patiently(lambda: write(COMMIT, *arguments), MET, tries=DEADLOCK_TRIES, wait=DEADLOCK_WAIT)
        self.groups += 1
        self.steps += len(records)
        return rows

    async def _write_alone(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(STATEMENTS["alone"])
            rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
            return rows


def _told(records: Sequence[StepRecord], rows: list[asyncpg.Record]) -> list[dict[int, EffectOutcome] | Exception]:
    live, outcomes = _read(rows)
    return [
        outcomes.get(r.turn_id, {}) if r.turn_id in live else Superseded(f"turn {r.turn_id} has moved on")
        for r in records
    ]


def _blocks(record: StepRecord) -> bool:
    return any(action.effect is not None and action.effect.kind == "block" for action in record.actions)


def _parts(records: Sequence[StepRecord]) -> Iterator[Sequence[StepRecord]]:
    """The records in their order: up to `GROUP` of them together, each block alone."""
    for blocks, these in groupby(records, key=_blocks):
        part, size = list(these), 1 if blocks else GROUP
        yield from (part[first : first + size] for first in range(0, len(part), size))


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.done.done():
        waiting.done.set_exception(error)


def _read(rows: list[asyncpg.Record]) -> tuple[set[int], dict[int, dict[int, EffectOutcome]]]:
    """The turns whose steps stand, and what came of their effects."""
    live: set[int] = set()
    outcomes: dict[int, dict[int, EffectOutcome]] = {}
    for turn_id, ordinal, outcome, object_id in rows:
        if outcome == "live":
            live.add(turn_id)
        else:
            outcomes.setdefault(turn_id, {})[ordinal] = EffectOutcome(outcome, object_id)
    return live, outcomes


def _tell(group: list[_Waiting], rows: list[asyncpg.Record]) -> list[tuple[StepRecord, dict[int, EffectOutcome]]]:
    """Tell each step what came of it; those that stand are returned."""
    live, outcomes = _read(rows)
    for waiting in group:
        turn_id = waiting.record.turn_id
        if turn_id not in live:
            _fail(waiting, Superseded(f"turn {turn_id} has moved on"))
        elif not waiting.done.done():
            waiting.done.set_result(outcomes.get(turn_id, {}))
    return [(w.record, outcomes.get(w.record.turn_id, {})) for w in group if w.record.turn_id in live]


def _count(metrics: "Metrics", record: StepRecord, outcomes: dict[int, EffectOutcome]) -> None:
    metrics.call(
        record.status,
        prompt=record.prompt_tokens,
        completion=record.completion_tokens,
        cached=record.cached_tokens,
        usd=record.cost_usd,
        seconds=record.latency_ms / 1000,
    )
    for action in record.actions:
        effect = outcomes.get(action.ordinal)
        metrics.action(action.name, effect.outcome if effect is not None else action.outcome)
    if record.state != "running":
        metrics.turn(record.state)
