"""Sessions: dialogues, focus groups, surveys, interviews and what is written with models, each of them a run."""

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Big, Count, Created, Key, Time


class Session(Base):
    """A run whose turns follow from its design, its seed and what was said so far.

    `key` names it on the wire and in files; `scope` is within what identical requests are asked once. Whoever holds
    the lease drives it, in the `epoch` that fences its lines. `pause_at` is how many lines it has when it pauses.
    A session is made `of` another where it reads that one's transcript, or goes on from one of its checkpoints.
    """

    __tablename__ = "sessions"
    __table_args__ = (
        CheckConstraint(
            "kind IN ('dialogue', 'focus_group', 'survey', 'interview', 'extraction', 'population', 'writing')",
            name="kind",
        ),
        Index("sessions_open_idx", "lease_until", postgresql_where="ended_at IS NULL"),
        Index("sessions_kind_idx", "kind", text("id DESC")),
    )

    id: Mapped[Key]
    key: Mapped[str] = mapped_column(Text, unique=True)
    kind: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text, server_default="")
    design: Mapped[dict[str, object]] = mapped_column(JSONB)
    scope: Mapped[str] = mapped_column(Text, server_default="")
    seed: Mapped[Big]
    run_id: Mapped[Big] = mapped_column(ForeignKey("runs.id"), unique=True)
    of: Mapped[Big | None] = mapped_column(ForeignKey("sessions.id"))
    lines_count: Mapped[Count]
    asks_count: Mapped[Count]
    epoch: Mapped[Count]
    lease_until: Mapped[Time | None]
    pause_at: Mapped[int | None]
    result: Mapped[dict[str, object] | None] = mapped_column(JSONB)
    created_by: Mapped[Big | None] = mapped_column(ForeignKey("admin.id"))
    created_at: Mapped[Created]
    ended_at: Mapped[Time | None]


class SessionMember(Base):
    """Who takes part: participants are numbered from 1; 0 is nobody in particular, as whom models are asked."""

    __tablename__ = "session_members"
    __table_args__ = (Index("session_members_persona_id_idx", "persona_id"),)

    session_id: Mapped[Big] = mapped_column(ForeignKey("sessions.id"), primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    persona_id: Mapped[Big] = mapped_column(ForeignKey("personas.id"))
    name: Mapped[str] = mapped_column(Text)
    detail: Mapped[dict[str, object]] = mapped_column(JSONB, server_default="{}")


class SessionAsk(Base):
    """What somebody is asked, once: a turn, and as of which line of the transcript (`upto`) it is asked."""

    __tablename__ = "session_asks"
    __table_args__ = (
        ForeignKeyConstraint(["session_id", "member"], ["session_members.session_id", "session_members.number"]),
        UniqueConstraint("session_id", "key"),
        UniqueConstraint("session_id", "ordinal"),
    )

    turn_id: Mapped[Big] = mapped_column(ForeignKey("turns.id"), primary_key=True, autoincrement=False)
    session_id: Mapped[Big] = mapped_column(ForeignKey("sessions.id"))
    ordinal: Mapped[int]
    key: Mapped[str] = mapped_column(Text)
    member: Mapped[int]
    kind: Mapped[str] = mapped_column(Text)
    round: Mapped[Count]
    upto: Mapped[Count]
    about: Mapped[dict[str, object]] = mapped_column(JSONB, server_default="{}")


class SessionLine(Base):
    """A line of the transcript; `number` counts them from 1 without a gap.

    `key` is that of the ask which it answers, or names what the session itself said. `missing` is why nothing came.
    """

    __tablename__ = "session_lines"
    __table_args__ = (
        ForeignKeyConstraint(["session_id", "member"], ["session_members.session_id", "session_members.number"]),
        UniqueConstraint("session_id", "key"),
    )

    session_id: Mapped[Big] = mapped_column(ForeignKey("sessions.id"), primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    key: Mapped[str] = mapped_column(Text)
    turn_id: Mapped[Big | None] = mapped_column(ForeignKey("turns.id"), unique=True)
    member: Mapped[int]
    kind: Mapped[str] = mapped_column(Text)
    round: Mapped[Count]
    body: Mapped[str] = mapped_column(Text, server_default="")
    thought: Mapped[str | None] = mapped_column(Text)
    value: Mapped[dict[str, object] | None] = mapped_column(JSONB)
    missing: Mapped[str | None] = mapped_column(Text)
    at: Mapped[Created]


class SessionCheckpoint(Base):
    """A point to which a session can be taken back: so many lines and asks, and the hash of all up to there."""

    __tablename__ = "session_checkpoints"

    session_id: Mapped[Big] = mapped_column(ForeignKey("sessions.id"), primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    lines: Mapped[int]
    asks: Mapped[int]
    sha256: Mapped[bytes] = mapped_column(LargeBinary)
    at: Mapped[Created]
