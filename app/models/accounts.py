"""Admins, their invitations, sessions, second factors and keys, the audit trail, and the instance itself.

All of it is this instance's own: a fork carries no admin, session, authenticator or key.
"""

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, LargeBinary, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Big, Count, Created, Key, Time


class Instance(Base):
    """The one row of facts about this installation. While `halted_at` is set, no model is asked anything.

    `world_at` is where the world's clock stands, if it is simulated.
    """

    __tablename__ = "instance"
    __table_args__ = (CheckConstraint("id", name="single"),)

    id: Mapped[bool] = mapped_column(Boolean, primary_key=True, server_default=text("true"))
    bootstrapped_at: Mapped[Time | None]
    scheduler_interval_minutes: Mapped[float | None]
    halted_at: Mapped[Time | None]
    world_at: Mapped[Time | None]
    created_at: Mapped[Created]


ROLES = "role IN ('admin', 'observer')"


class Admin(Base):
    """Who may change everything (`admin`) or see everything (`observer`)."""

    __tablename__ = "admin"
    __table_args__ = (
        CheckConstraint(ROLES, name="role"),
        Index("admin_username_key", text("lower(username)"), unique=True),
        Index("admin_email_key", text("lower(email)"), unique=True),
    )

    id: Mapped[Key]
    username: Mapped[str] = mapped_column(Text)
    email: Mapped[str] = mapped_column(Text)
    password_hash: Mapped[str] = mapped_column(Text)
    created_at: Mapped[Created]
    disabled_at: Mapped[Time | None]
    role: Mapped[str] = mapped_column(Text, server_default="admin")


class Invitation(Base):
    """A token's SHA-256, bound to one e-mail address; used at most once."""

    __tablename__ = "admin_invitations"
    __table_args__ = (CheckConstraint(ROLES, name="role"),)

    id: Mapped[Key]
    email: Mapped[str] = mapped_column(Text)
    token_sha256: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    invited_by: Mapped[Big | None] = mapped_column(ForeignKey("admin.id"))
    created_at: Mapped[Created]
    expires_at: Mapped[Time]
    accepted_at: Mapped[Time | None]
    revoked_at: Mapped[Time | None]
    role: Mapped[str] = mapped_column(Text, server_default="admin")


class Authenticator(Base):
    """An admin's secret of one-time codes, encrypted; asked for once it is confirmed. No step counts twice."""

    __tablename__ = "admin_totp"

    admin_id: Mapped[Big] = mapped_column(ForeignKey("admin.id"), primary_key=True, autoincrement=False)
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    last_step: Mapped[Big] = mapped_column(server_default="0")
    created_at: Mapped[Created]
    confirmed_at: Mapped[Time | None]


class RecoveryCode(Base):
    """The SHA-256 of a code that stands in, once, for one of a lost authenticator."""

    __tablename__ = "admin_recovery_codes"

    admin_id: Mapped[Big] = mapped_column(ForeignKey("admin.id"), primary_key=True, autoincrement=False)
    code_sha256: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    used_at: Mapped[Time | None]


class AdminKey(Base):
    """The SHA-256 of what a program shows instead of an access token; it may do what its admin may."""

    __tablename__ = "admin_keys"

    id: Mapped[Key]
    admin_id: Mapped[Big] = mapped_column(ForeignKey("admin.id"), index=True)
    name: Mapped[str] = mapped_column(Text)
    key_sha256: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    created_at: Mapped[Created]
    expires_at: Mapped[Time]
    last_used_at: Mapped[Time | None]
    revoked_at: Mapped[Time | None]


class AdminSession(Base):
    """What makes an access token end at once: its `jti` must be a live row."""

    __tablename__ = "admin_sessions"

    jti: Mapped[str] = mapped_column(Text, primary_key=True)
    admin_id: Mapped[Big] = mapped_column(ForeignKey("admin.id"), index=True)
    created_at: Mapped[Created]
    expires_at: Mapped[Time] = mapped_column(index=True)
    revoked_at: Mapped[Time | None]


class LoginAttempt(Base):
    """How often one address or account tried within a window."""

    __tablename__ = "login_attempts"

    key: Mapped[str] = mapped_column(Text, primary_key=True)
    window_start: Mapped[Time] = mapped_column(primary_key=True)
    attempts: Mapped[Count]


class AuditEntry(Base):
    """What an admin did. Each entry's hash covers the one before, and none can be changed or taken away."""

    __tablename__ = "audit"

    id: Mapped[Key]
    at: Mapped[Created]
    admin_id: Mapped[Big | None] = mapped_column(ForeignKey("admin.id"))
    action: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text, server_default="")
    detail: Mapped[dict[str, object]] = mapped_column(JSONB, server_default="{}")
    previous: Mapped[bytes] = mapped_column(LargeBinary)
    hash: Mapped[bytes] = mapped_column(LargeBinary)


class PersonaVersion(Base):
    """What a persona was before an admin gave it another description."""

    __tablename__ = "persona_versions"

    persona_id: Mapped[Big] = mapped_column(ForeignKey("personas.id"), primary_key=True, autoincrement=False)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    spec: Mapped[dict[str, object]] = mapped_column(JSONB)
    replaced_by: Mapped[Big | None] = mapped_column(ForeignKey("admin.id"))
    created_at: Mapped[Created]
