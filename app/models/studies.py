"""Studies with people: what is studied, who may take part, and what is known of them."""

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, LargeBinary, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Big, Count, Created, Key, Time
from app.models.ledger import one_of

STUDY_STATES = ("draft", "open", "paused", "closed")
STAGES = ("intake", "chat", "closing", "debrief", "done")
PARTICIPANT_STATES = ("active", "finished", "withdrawn", "dropped_out", "removed", "failed")


class Study(Base):
    """A study: its design can be changed until it is opened. `seed` decides who comes into which arm."""

    __tablename__ = "studies"
    __table_args__ = (
        CheckConstraint(one_of("state", STUDY_STATES), name="state"),
        CheckConstraint("consent IN ('page', 'external')", name="consent"),
        Index("studies_name_key", text("lower(name)"), unique=True),
    )

    id: Mapped[Key]
    name: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, server_default="draft")
    consent: Mapped[str] = mapped_column(Text)
    design: Mapped[dict[str, object]] = mapped_column(JSONB)
    design_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    seed: Mapped[Big]
    created_by: Mapped[Big | None] = mapped_column(ForeignKey("admin.id"))
    created_at: Mapped[Created]
    opened_at: Mapped[Time | None]
    closed_at: Mapped[Time | None]


class StudyMember(Base):
    """An agent of a study's rooms: a persona, and what it is called there."""

    __tablename__ = "study_members"
    __table_args__ = (UniqueConstraint("study_id", "name"),)

    study_id: Mapped[Big] = mapped_column(ForeignKey("studies.id"), primary_key=True, autoincrement=False)
    ordinal: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    persona_id: Mapped[Big] = mapped_column(ForeignKey("personas.id"))
    name: Mapped[str] = mapped_column(Text)


class StudyToken(Base):
    """What lets one person in once: its SHA-256. No two tokens that are still worth something are the same."""

    __tablename__ = "study_tokens"
    __table_args__ = (
        Index("study_tokens_sha256_key", "sha256", unique=True, postgresql_where="revoked_at IS NULL"),
        Index("study_tokens_study_id_idx", "study_id", "id"),
    )

    id: Mapped[Key]
    study_id: Mapped[Big] = mapped_column(ForeignKey("studies.id"))
    sha256: Mapped[bytes] = mapped_column(LargeBinary)
    arm: Mapped[str | None] = mapped_column(Text)
    label: Mapped[str] = mapped_column(Text, server_default="")
    own: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    created_at: Mapped[Created]
    redeemed_at: Mapped[Time | None]
    revoked_at: Mapped[Time | None]


class Assigned(Base):
    """How many were assigned to arms so far, in each stratum of a study: the place in the seeded blocks."""

    __tablename__ = "study_assigned"

    study_id: Mapped[Big] = mapped_column(ForeignKey("studies.id"), primary_key=True, autoincrement=False)
    stratum: Mapped[str] = mapped_column(Text, primary_key=True)
    count: Mapped[Count]


class Participant(Base):
    """One person in one study, known by a pseudonym alone.

    `kept` is what they consented to for the case that they withdraw: `erase` or `anonymised`. Hashes stand for the
    secret of their browser and for their receipt code. `erased_at` tells that nothing of them is left but this row.
    """

    __tablename__ = "participants"
    __table_args__ = (
        CheckConstraint(one_of("stage", STAGES), name="stage"),
        CheckConstraint(one_of("state", PARTICIPANT_STATES), name="state"),
        CheckConstraint("kept IN ('erase', 'anonymised')", name="kept"),
        UniqueConstraint("study_id", "pseudonym"),
        Index("participants_secret_key", "secret_sha256", unique=True),
        Index("participants_receipt_key", "receipt_sha256", unique=True),
    )

    id: Mapped[Key]
    study_id: Mapped[Big] = mapped_column(ForeignKey("studies.id"))
    token_id: Mapped[Big] = mapped_column(ForeignKey("study_tokens.id"), unique=True)
    pseudonym: Mapped[str] = mapped_column(Text)
    arm: Mapped[str] = mapped_column(Text)
    stratum: Mapped[str] = mapped_column(Text, server_default="")
    place: Mapped[int | None]
    stage: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, server_default="active")
    end_reason: Mapped[str | None] = mapped_column(Text)
    kept: Mapped[str] = mapped_column(Text, server_default="erase")
    consent_sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    consented_at: Mapped[Time | None]
    secret_sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    receipt_sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    completion_code: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[Created]
    stage_at: Mapped[Created]
    seen_at: Mapped[Created]
    debriefed_at: Mapped[Time | None]
    ended_at: Mapped[Time | None]
    erased_at: Mapped[Time | None]


class Identity(Base):
    """What could tell who a participant is: never in a prompt, a log or an export, and deleted first."""

    __tablename__ = "identities"

    participant_id: Mapped[Big] = mapped_column(ForeignKey("participants.id"), primary_key=True, autoincrement=False)
    username: Mapped[str | None] = mapped_column(Text)
    params: Mapped[dict[str, object]] = mapped_column(JSONB, server_default="{}")
    created_at: Mapped[Created]


class Answer(Base):
    """What a participant answered to one question before or after the room."""

    __tablename__ = "answers"
    __table_args__ = (CheckConstraint("stage IN ('intake', 'closing')", name="stage"),)

    participant_id: Mapped[Big] = mapped_column(ForeignKey("participants.id"), primary_key=True, autoincrement=False)
    stage: Mapped[str] = mapped_column(Text, primary_key=True)
    question: Mapped[str] = mapped_column(Text, primary_key=True)
    value: Mapped[object] = mapped_column(JSONB)
    at: Mapped[Created]
