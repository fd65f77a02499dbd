"""The book of runs, turns, model calls and actions."""

from datetime import date
from decimal import Decimal
from typing import Annotated

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    Numeric,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, REAL
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import BigInteger

from app.models.base import Base, Big, Count, Created, Key, Time

RUN_STATES = ("queued", "running", "paused", "stopped", "budget_exhausted", "partial", "failed", "completed")
TURN_STATES = ("queued", "running", "done", "limit", "refused", "failed", "deferred")


Money = Annotated[Decimal, mapped_column(Numeric(14, 8), server_default="0")]
"""US dollars."""


def one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(v) for v in values)})"


class Run(Base):
    """One execution of a venue. `slot` names what may happen only once, such as a tick of the scheduler.

    `lost_calls` counts model calls whose answers were lost with a process; each is charged what was held for it.
    `world_at` is the time in the world at which it begins, where the world's clock is simulated. In `rounds`
    everybody reads the world as it was when the run began, and effects are committed in the order of its turns.
    What happened in it up to `remembered_at` has become memories; `realism` is what monitors found at its end.
    """

    __tablename__ = "runs"
    __table_args__ = (
        CheckConstraint(one_of("state", RUN_STATES), name="state"),
        CheckConstraint("pacing IN ('live', 'rounds')", name="pacing"),
    )

    id: Mapped[Key]
    venue: Mapped[str] = mapped_column(Text)
    slot: Mapped[str] = mapped_column(Text, unique=True)
    state: Mapped[str] = mapped_column(Text, server_default="queued")
    seed: Mapped[Big]
    settings: Mapped[dict[str, object]] = mapped_column(JSONB, server_default="{}")
    turns_total: Mapped[Count]
    reason: Mapped[str | None] = mapped_column(Text)
    estimate: Mapped[dict[str, object] | None] = mapped_column(JSONB)
    realism: Mapped[dict[str, object] | None] = mapped_column(JSONB)
    lost_calls: Mapped[Count]
    pacing: Mapped[str] = mapped_column(Text, server_default="live")
    world_at: Mapped[Time | None]
    created_at: Mapped[Created]
    started_at: Mapped[Time | None]
    ended_at: Mapped[Time | None]
    remembered_at: Mapped[Time | None]


class Turn(Base):
    """One persona's go, in each round of a run at most one.

    `epoch` grows with each claim, `next_step` with each committed reply: both fence writers.

    `held_tokens` and `held_usd` are reserved, in the budgets of `held_day`, for the call that is under way. Where the
    world's clock is simulated, `world_at` is the time in the world at which the persona acts.
    """

    __tablename__ = "turns"
    __table_args__ = (
        CheckConstraint(one_of("state", TURN_STATES), name="state"),
        Index("turns_run_id_persona_id_round_key", "run_id", "persona_id", "round", unique=True),
        Index("turns_persona_id_idx", "persona_id", text("id DESC")),
        Index("turns_open_idx", "run_id", "ordinal", postgresql_where="state IN ('queued', 'running')"),
        {"postgresql_with": {"fillfactor": 70}},
    )

    id: Mapped[Key]
    run_id: Mapped[Big] = mapped_column(ForeignKey("runs.id"))
    persona_id: Mapped[Big] = mapped_column(ForeignKey("personas.id"))
    ordinal: Mapped[int]
    round: Mapped[Count]
    state: Mapped[str] = mapped_column(Text, server_default="queued")
    epoch: Mapped[Count]
    next_step: Mapped[Count]
    world_at: Mapped[Time | None]
    lease_until: Mapped[Time | None]
    held_tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
    held_usd: Mapped[Money]
    held_day: Mapped[date | None]
    reason: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[Time | None]
    ended_at: Mapped[Time | None]


class PromptText(Base):
    """A text that many calls share (the tool schemas), kept once under its SHA-256."""

    __tablename__ = "prompt_texts"

    sha256: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[Created]


class Call(Base):
    """One model call, the step of a turn.

    `told` holds the messages added since the step before, so that the request as sent is the concatenation of the
    turn's `told` and `reply` (see `ledger/transcript.py`); `request_sha256` proves it. `response` is the reply as
    received.
    """

    __tablename__ = "calls"
    __table_args__ = (Index("calls_created_at_idx", "created_at", postgresql_using="brin"),)

    turn_id: Mapped[Big] = mapped_column(ForeignKey("turns.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[str] = mapped_column(Text)
    detail: Mapped[str] = mapped_column(Text, server_default="")
    model: Mapped[str] = mapped_column(Text)
    model_returned: Mapped[str] = mapped_column(Text)
    options: Mapped[bytes] = mapped_column(LargeBinary)
    told: Mapped[bytes] = mapped_column(LargeBinary)
    tools_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    request_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    reply: Mapped[bytes] = mapped_column(LargeBinary)
    response: Mapped[bytes] = mapped_column(LargeBinary)
    prompt_tokens: Mapped[Count]
    completion_tokens: Mapped[Count]
    cached_tokens: Mapped[Count]
    cost_usd: Mapped[Decimal | None] = mapped_column(Numeric(14, 8))
    latency_ms: Mapped[Count]
    created_at: Mapped[Created]


class Reusable(Base):
    """What a request was answered, for whoever asks the same again, in whichever world: kept while `REUSE` is on."""

    __tablename__ = "reusable"

    request_sha256: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    model: Mapped[str] = mapped_column(Text)
    reply: Mapped[bytes] = mapped_column(LargeBinary)
    response: Mapped[bytes] = mapped_column(LargeBinary)
    prompt_tokens: Mapped[Count]
    completion_tokens: Mapped[Count]
    cost_usd: Mapped[Decimal | None] = mapped_column(Numeric(14, 8))
    uses: Mapped[Count]
    created_at: Mapped[Created]


class Action(Base):
    """One typed thing a persona did, or tried to. `outcome` tells what came of it, `object_id` what it made.

    `before` is the bio that a new one replaced.
    """

    __tablename__ = "actions"
    __table_args__ = (
        ForeignKeyConstraint(["turn_id", "step"], ["calls.turn_id", "calls.step"], name="actions_turn_id_step_fkey"),
        CheckConstraint(
            "outcome IN ('made', 'already', 'not_found', 'not_allowed', 'read', 'refused', 'ended')", name="outcome"
        ),
        Index("actions_object_idx", "effect", "object_id", postgresql_where="outcome = 'made'"),
        Index("actions_marked_idx", "turn_id", postgresql_where="outcome = 'made' AND detail <> ''"),
    )

    turn_id: Mapped[Big] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    ordinal: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    call_id: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    arguments: Mapped[str] = mapped_column(Text)
    effect: Mapped[str | None] = mapped_column(Text)
    target_id: Mapped[Big | None]
    outcome: Mapped[str] = mapped_column(Text)
    object_id: Mapped[Big | None]
    detail: Mapped[str] = mapped_column(Text, server_default="")
    before: Mapped[str | None] = mapped_column(Text)


class Exposure(Base):
    """What a persona was shown before a step: `items` in the order of their rank, by which version of which ranker.

    `scores`, `reasons` and `chances` (the probability of being shown there, where chance decided) go with the items;
    each is empty where the ranker has none.
    """

    __tablename__ = "exposures"

    turn_id: Mapped[Big] = mapped_column(ForeignKey("turns.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    ordinal: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    ranker: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(SmallInteger, server_default="1")
    items: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    scores: Mapped[list[float]] = mapped_column(ARRAY(REAL), server_default="{}")
    reasons: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    chances: Mapped[list[float]] = mapped_column(ARRAY(REAL), server_default="{}")
    created_at: Mapped[Created]


class Budget(Base):
    """What a scope has spent and holds for calls under way: a run in all, the instance or a persona in a day (UTC).

    A run's day is the first of all days. Rows are made when a cap first asks for them, from the calls there are.
    """

    __tablename__ = "budgets"
    __table_args__ = (
        CheckConstraint("scope IN ('instance', 'run', 'persona')", name="scope"),
        CheckConstraint("held_tokens >= 0 AND held_usd >= 0", name="held"),
        {"postgresql_with": {"fillfactor": 50}},
    )

    scope: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(primary_key=True)
    spent_tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
    spent_usd: Mapped[Money]
    held_tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
    held_usd: Mapped[Money]


class Provider(Base):
    """What all processes know of a provider: until when it asked to wait, and why it is not asked any more.

    A block counts for the key it was met with: `key_sha256`.
    """

    __tablename__ = "providers"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    paused_until: Mapped[Time | None]
    blocked: Mapped[str | None] = mapped_column(Text)
    detail: Mapped[str] = mapped_column(Text, server_default="")
    key_sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    changed_at: Mapped[Created]


class Worker(Base):
    """A process that plays turns, while it is heard of."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    host: Mapped[str] = mapped_column(Text)
    pid: Mapped[int]
    started_at: Mapped[Created]
    seen_at: Mapped[Created]
