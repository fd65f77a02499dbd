"""sessions: dialogues, focus groups, surveys, interviews, and what is written with models."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
JSONB = postgresql.JSONB(astext_type=sa.Text())


def upgrade() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("design", JSONB, nullable=False),
        sa.Column("scope", sa.Text(), server_default="", nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("of", sa.BigInteger(), nullable=True),
        sa.Column("lines_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("asks_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pause_at", sa.Integer(), nullable=True),
        sa.Column("result", JSONB, nullable=True),
        sa.Column("created_by", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind IN ('dialogue', 'focus_group', 'survey', 'interview', 'extraction', 'population', 'writing')",
            name=op.f("sessions_kind_check"),
        ),
        sa.ForeignKeyConstraint(["created_by"], ["admin.id"], name=op.f("sessions_created_by_fkey")),
        sa.ForeignKeyConstraint(["of"], ["sessions.id"], name=op.f("sessions_of_fkey")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("sessions_run_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("sessions_pkey")),
        sa.UniqueConstraint("key", name=op.f("sessions_key_key")),
        sa.UniqueConstraint("run_id", name=op.f("sessions_run_id_key")),
    )
    op.create_index("sessions_open_idx", "sessions", ["lease_until"], postgresql_where=sa.text("ended_at IS NULL"))
    op.create_index("sessions_kind_idx", "sessions", ["kind", sa.literal_column("id DESC")])
    op.create_table(
        "session_members",
        sa.Column("session_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("persona_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("detail", JSONB, server_default="{}", nullable=False),
        sa.ForeignKeyConstraint(["persona_id"], ["personas.id"], name=op.f("session_members_persona_id_fkey")),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("session_members_session_id_fkey")),
        sa.PrimaryKeyConstraint("session_id", "number", name=op.f("session_members_pkey")),
    )
    op.create_index("session_members_persona_id_idx", "session_members", ["persona_id"])
    op.create_table(
        "session_asks",
        sa.Column("turn_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("session_id", sa.BigInteger(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("member", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("round", sa.Integer(), server_default="0", nullable=False),
        sa.Column("upto", sa.Integer(), server_default="0", nullable=False),
        sa.Column("about", JSONB, server_default="{}", nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id", "member"],
            ["session_members.session_id", "session_members.number"],
            name=op.f("session_asks_session_id_member_fkey"),
        ),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("session_asks_session_id_fkey")),
        sa.ForeignKeyConstraint(["turn_id"], ["turns.id"], name=op.f("session_asks_turn_id_fkey")),
        sa.PrimaryKeyConstraint("turn_id", name=op.f("session_asks_pkey")),
        sa.UniqueConstraint("session_id", "key", name=op.f("session_asks_session_id_key_key")),
        sa.UniqueConstraint("session_id", "ordinal", name=op.f("session_asks_session_id_ordinal_key")),
    )
    op.create_table(
        "session_lines",
        sa.Column("session_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("turn_id", sa.BigInteger(), nullable=True),
        sa.Column("member", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("round", sa.Integer(), server_default="0", nullable=False),
        sa.Column("body", sa.Text(), server_default="", nullable=False),
        sa.Column("thought", sa.Text(), nullable=True),
        sa.Column("value", JSONB, nullable=True),
        sa.Column("missing", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id", "member"],
            ["session_members.session_id", "session_members.number"],
            name=op.f("session_lines_session_id_member_fkey"),
        ),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("session_lines_session_id_fkey")),
        sa.ForeignKeyConstraint(["turn_id"], ["turns.id"], name=op.f("session_lines_turn_id_fkey")),
        sa.PrimaryKeyConstraint("session_id", "number", name=op.f("session_lines_pkey")),
        sa.UniqueConstraint("session_id", "key", name=op.f("session_lines_session_id_key_key")),
        sa.UniqueConstraint("turn_id", name=op.f("session_lines_turn_id_key")),
    )
    op.create_table(
        "session_checkpoints",
        sa.Column("session_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column("asks", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("session_checkpoints_session_id_fkey")),
        sa.PrimaryKeyConstraint("session_id", "name", name=op.f("session_checkpoints_pkey")),
    )


def downgrade() -> None:
    op.drop_table("session_checkpoints")
    op.drop_table("session_lines")
    op.drop_table("session_asks")
    op.drop_index("session_members_persona_id_idx", table_name="session_members")
    op.drop_table("session_members")
    op.drop_index("sessions_kind_idx", table_name="sessions")
    op.drop_index("sessions_open_idx", table_name="sessions", postgresql_where="ended_at IS NULL")
    op.drop_table("sessions")
