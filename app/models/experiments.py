"""Experiments: arms of runs that begin in the same world; what people said to compare them with; datasets."""

from sqlalchemy import (
    CheckConstraint,
    Double,
    ForeignKey,
    Index,
    LargeBinary,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSON, JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import BigInteger

from app.models.base import Base, Big, Count, Created, Key, Time
from app.models.ledger import RUN_STATES, Money, one_of


class Experiment(Base):
    """Variants of a setting, each run so many times, in forks of `start_world`, which is a checkpoint of `source`.

    `start_sha256` names the network of `start_world`. `design` is as it is now, in its own order; `frozen` as it was
    when it was frozen, with what else was promised then, and the hash of that. Experiments, their trials and what
    people said lie in the home world.
    """

    __tablename__ = "experiments"
    __table_args__ = (CheckConstraint(one_of("state", RUN_STATES), name="state"),)

    id: Mapped[Key]
    key: Mapped[str] = mapped_column(Text, unique=True)
    name: Mapped[str] = mapped_column(Text, server_default="")
    venue: Mapped[str] = mapped_column(Text)
    design: Mapped[dict[str, object]] = mapped_column(JSON)
    seed: Mapped[Big]
    state: Mapped[str] = mapped_column(Text, server_default="queued")
    reason: Mapped[str | None] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text)
    start_world: Mapped[str | None] = mapped_column(Text)
    start_sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    estimate: Mapped[dict[str, object] | None] = mapped_column(JSONB)
    budget_tokens: Mapped[int | None] = mapped_column(BigInteger)
    budget_usd: Mapped[float | None] = mapped_column(Double)
    parallel: Mapped[int]
    frozen: Mapped[dict[str, object] | None] = mapped_column(JSONB)
    frozen_sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    frozen_at: Mapped[Time | None]
    created_by: Mapped[Big | None] = mapped_column(ForeignKey("admin.id"))
    created_at: Mapped[Created]
    started_at: Mapped[Time | None]
    ended_at: Mapped[Time | None]


class Trial(Base):
    """One run of a variant. Those of the same `replicate` have the same seed in all variants, and are a pair.

    Whoever holds the lease plays it, in the `epoch` that fences what is written of it. `since` is the newest run of the
    world in which it began. `held_tokens` and `held_usd` are set aside of the experiment's budget for the cycle under
    way. `outcomes` has a value or null for each metric of the design, `why` a reason for each null, `series` what each
    cycle came to. `excluded` names the rule that leaves it out of comparisons; it is shown all the same. `programs` are
    those that played it: version, hash of the prompts, versions of the metrics.
    """

    __tablename__ = "experiment_trials"
    __table_args__ = (
        CheckConstraint(one_of("state", RUN_STATES), name="state"),
        UniqueConstraint("experiment_id", "variant", "replicate"),
        Index("experiment_trials_open_idx", "experiment_id", postgresql_where="state IN ('queued', 'running')"),
    )

    experiment_id: Mapped[Big] = mapped_column(ForeignKey("experiments.id"), primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    variant: Mapped[str] = mapped_column(Text)
    replicate: Mapped[int]
    seed: Mapped[Big]
    state: Mapped[str] = mapped_column(Text, server_default="queued")
    reason: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[Count]
    epoch: Mapped[Count]
    lease_until: Mapped[Time | None]
    world: Mapped[str | None] = mapped_column(Text)
    since: Mapped[Big | None]
    session: Mapped[str | None] = mapped_column(Text)
    cycles_done: Mapped[Count]
    calls: Mapped[Count]
    prompt_tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
    completion_tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
    usd: Mapped[Money]
    held_tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
    held_usd: Mapped[float] = mapped_column(Double, server_default="0")
    outcomes: Mapped[dict[str, object]] = mapped_column(JSONB, server_default="{}")
    why: Mapped[dict[str, object]] = mapped_column(JSONB, server_default="{}")
    series: Mapped[list[object]] = mapped_column(JSONB, server_default="[]")
    world_sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    excluded: Mapped[str | None] = mapped_column(Text)
    programs: Mapped[list[object]] = mapped_column(JSONB, server_default="[]")
    started_at: Mapped[Time | None]
    ended_at: Mapped[Time | None]


class ExperimentChange(Base):
    """What was done to an experiment after it was planned: its design changed, a trial excluded, a budget raised."""

    __tablename__ = "experiment_changes"
    __table_args__ = (Index("experiment_changes_experiment_id_idx", "experiment_id", "id"),)

    id: Mapped[Key]
    experiment_id: Mapped[Big] = mapped_column(ForeignKey("experiments.id"))
    what: Mapped[str] = mapped_column(Text)
    was: Mapped[object | None] = mapped_column(JSONB)
    now: Mapped[object | None] = mapped_column(JSONB)
    note: Mapped[str] = mapped_column(Text, server_default="")
    by: Mapped[Big | None] = mapped_column(ForeignKey("admin.id"))
    at: Mapped[Created]


class ExperimentReference(Base):
    """What people did, to compare an outcome with: a value for each person, by sub-group (`""`: all).

    `held_out`: nothing of the experiment was chosen by looking at these values.
    """

    __tablename__ = "experiment_references"
    __table_args__ = (UniqueConstraint("experiment_id", "outcome", "name"),)

    id: Mapped[Key]
    experiment_id: Mapped[Big] = mapped_column(ForeignKey("experiments.id"))
    outcome: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    held_out: Mapped[bool] = mapped_column(server_default="false")
    values: Mapped[dict[str, object]] = mapped_column(JSONB)
    note: Mapped[str] = mapped_column(Text, server_default="")
    by: Mapped[Big | None] = mapped_column(ForeignKey("admin.id"))
    at: Mapped[Created]


class Dataset(Base):
    """A package of files that is being built, or was, of the world or experiment `about` names; `size` is in bytes."""

    __tablename__ = "datasets"
    __table_args__ = (
        CheckConstraint(one_of("kind", ("world", "experiment")), name="kind"),
        CheckConstraint(one_of("state", ("running", "completed", "failed")), name="state"),
        Index("datasets_newest_idx", text("id DESC")),
    )

    id: Mapped[Key]
    key: Mapped[str] = mapped_column(Text, unique=True)
    kind: Mapped[str] = mapped_column(Text)
    about: Mapped[str] = mapped_column(Text)
    options: Mapped[dict[str, object]] = mapped_column(JSONB)
    state: Mapped[str] = mapped_column(Text, server_default="running")
    reason: Mapped[str | None] = mapped_column(Text)
    words: Mapped[str] = mapped_column(Text, server_default="")
    file: Mapped[str | None] = mapped_column(Text)
    size: Mapped[int | None] = mapped_column(BigInteger)
    rows: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    doi: Mapped[str] = mapped_column(Text, server_default="")
    created_by: Mapped[Big | None] = mapped_column(ForeignKey("admin.id"))
    created_at: Mapped[Created]
    ended_at: Mapped[Time | None]
