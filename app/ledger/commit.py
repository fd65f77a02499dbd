"""The committer: replies, records and effects of many personas' steps, in one statement and one commit."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import asyncpg

from app.db.engine import Database, patiently
from app.db.notify import Bell
from app.db.queries import load
from app.ledger.budget import Hold, charged
from app.ledger.budget import Superseded as Superseded
from app.world.effects import Effect

if TYPE_CHECKING:  # its library takes the command line longer than all the rest of this
    from app.metrics import Metrics

COMMIT = load("commit")["commit_steps"]
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
    """What was shown before this step: ids in order of rank."""

    ordinal: int
    kind: str
    ranker: str
    items: tuple[int, ...]


@dataclass(frozen=True)
class StepRecord:
    """One model call of a turn with all that came of it. `state` is the turn's after it.

    With a `hold`, the budgets it stands in are charged what the call took instead.
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
    held = [_held_row(r, r.hold) for r in records if r.hold is not None]
    return [*steps, lease_seconds, *_columns(actions, 12), *_columns(shown, 6), *_columns(held, 6)]


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

    async def _drain(self) -> None:
        held: list[_Waiting] = []
        while True:
            group = self._take([*held, *([] if held else [await self._queue.get()])])
            held = group[1]
            await self._settle(group[0])
            for _ in group[0]:
                self._queue.task_done()

    def _take(self, first: list[_Waiting]) -> tuple[list[_Waiting], list[_Waiting]]:
        """At most one step of a persona in a group: the statement sees one state of the world."""
        group: list[_Waiting] = []
        held: list[_Waiting] = []
        personas: set[int] = set()
        candidates = first
        while candidates or (not self._queue.empty() and len(group) < GROUP):
            waiting = candidates.pop(0) if candidates else self._queue.get_nowait()
            if waiting.record.persona_id in personas or len(group) >= GROUP:
                held.append(waiting)
                continue
            personas.add(waiting.record.persona_id)
            group.append(waiting)
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
        rows = await patiently(
            lambda: self._database.fetch(COMMIT, *arguments), MET, tries=DEADLOCK_TRIES, wait=DEADLOCK_WAIT
        )
        self.groups += 1
        self.steps += len(records)
        return rows


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.done.done():
        waiting.done.set_exception(error)


def _tell(group: list[_Waiting], rows: list[asyncpg.Record]) -> list[tuple[StepRecord, dict[int, EffectOutcome]]]:
    """Tell each step what came of it; those that stand are returned."""
    live: set[int] = set()
    outcomes: dict[int, dict[int, EffectOutcome]] = {}
    for turn_id, ordinal, outcome, object_id in rows:
        if outcome == "live":
            live.add(turn_id)
        else:
            outcomes.setdefault(turn_id, {})[ordinal] = EffectOutcome(outcome, object_id)
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
