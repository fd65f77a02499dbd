"""experiments: arms of runs that begin in the same world; datasets."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None
JSONB = postgresql.JSONB(astext_type=sa.Text())
STATES = "state IN ('queued', 'running', 'paused', 'stopped', 'budget_exhausted', 'partial', 'failed', 'completed')"


def upgrade() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("options", JSONB, nullable=False),
        sa.Column("state", sa.Text(), server_default="running", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("words", sa.Text(), server_default="", nullable=False),
        sa.Column("file", sa.Text(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("rows", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.LargeBinary(), nullable=True),
        sa.Column("doi", sa.Text(), server_default="", nullable=False),
        sa.Column("created_by", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('world', 'experiment')", name=op.f("datasets_kind_check")),
        sa.CheckConstraint("state IN ('running', 'completed', 'failed')", name=op.f("datasets_state_check")),
        sa.ForeignKeyConstraint(["created_by"], ["admin.id"], name=op.f("datasets_created_by_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("datasets_pkey")),
        sa.UniqueConstraint("key", name=op.f("datasets_key_key")),
    )
    op.create_index("datasets_newest_idx", "datasets", [sa.literal_column("id DESC")])
    op.create_table(
        "experiments",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("venue", sa.Text(), nullable=False),
        sa.Column("design", postgresql.JSON(astext_type=sa.Text()), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("start_world", sa.Text(), nullable=True),
        sa.Column("estimate", JSONB, nullable=True),
        sa.Column("budget_tokens", sa.BigInteger(), nullable=True),
        sa.Column("budget_usd", sa.Double(), nullable=True),
        sa.Column("parallel", sa.Integer(), nullable=False),
        sa.Column("frozen", JSONB, nullable=True),
        sa.Column("frozen_sha256", sa.LargeBinary(), nullable=True),
        sa.Column("frozen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(STATES, name=op.f("experiments_state_check")),
        sa.ForeignKeyConstraint(["created_by"], ["admin.id"], name=op.f("experiments_created_by_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("experiments_pkey")),
        sa.UniqueConstraint("key", name=op.f("experiments_key_key")),
    )
    op.create_table(
        "experiment_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("experiment_id", sa.BigInteger(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("was", JSONB, nullable=True),
        sa.Column("now", JSONB, nullable=True),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("by", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["by"], ["admin.id"], name=op.f("experiment_changes_by_fkey")),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiments.id"], name=op.f("experiment_changes_experiment_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("experiment_changes_pkey")),
    )
    op.create_index("experiment_changes_experiment_id_idx", "experiment_changes", ["experiment_id", "id"])
    op.create_table(
        "experiment_references",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("experiment_id", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("held_out", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("values", JSONB, nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("by", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["by"], ["admin.id"], name=op.f("experiment_references_by_fkey")),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiments.id"], name=op.f("experiment_references_experiment_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("experiment_references_pkey")),
        sa.UniqueConstraint(
            "experiment_id", "outcome", "name", name=op.f("experiment_references_experiment_id_outcome_name_key")
        ),
    )
    op.create_table(
        "experiment_trials",
        sa.Column("experiment_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("variant", sa.Text(), nullable=False),
        sa.Column("replicate", sa.Integer(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("world", sa.Text(), nullable=True),
        sa.Column("since", sa.BigInteger(), nullable=True),
        sa.Column("session", sa.Text(), nullable=True),
        sa.Column("cycles_done", sa.Integer(), server_default="0", nullable=False),
        sa.Column("calls", sa.Integer(), server_default="0", nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("usd", sa.Numeric(precision=14, scale=8), server_default="0", nullable=False),
        sa.Column("held_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("held_usd", sa.Double(), server_default="0", nullable=False),
        sa.Column("outcomes", JSONB, server_default="{}", nullable=False),
        sa.Column("why", JSONB, server_default="{}", nullable=False),
        sa.Column("series", JSONB, server_default="[]", nullable=False),
        sa.Column("world_sha256", sa.LargeBinary(), nullable=True),
        sa.Column("excluded", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(STATES, name=op.f("experiment_trials_state_check")),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiments.id"], name=op.f("experiment_trials_experiment_id_fkey")
        ),
        sa.PrimaryKeyConstraint("experiment_id", "number", name=op.f("experiment_trials_pkey")),
        sa.UniqueConstraint(
            "experiment_id", "variant", "replicate", name=op.f("experiment_trials_experiment_id_variant_replicate_key")
        ),
    )
    op.create_index(
        "experiment_trials_open_idx",
        "experiment_trials",
        ["experiment_id"],
        postgresql_where=sa.text("state IN ('queued', 'running')"),
    )


def downgrade() -> None:
    op.drop_index(
        "experiment_trials_open_idx",
        table_name="experiment_trials",
        postgresql_where=sa.text("state IN ('queued', 'running')"),
    )
    op.drop_table("experiment_trials")
    op.drop_table("experiment_references")
    op.drop_index("experiment_changes_experiment_id_idx", table_name="experiment_changes")
    op.drop_table("experiment_changes")
    op.drop_table("experiments")
    op.drop_index("datasets_newest_idx", table_name="datasets")
    op.drop_table("datasets")
