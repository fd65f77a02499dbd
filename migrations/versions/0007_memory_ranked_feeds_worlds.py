"""memory, ranked feeds, worlds."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "worlds",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("database", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="making", nullable=False),
        sa.Column("source", sa.BigInteger(), nullable=True),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("created_by", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("dropped_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('fork', 'checkpoint', 'made')", name=op.f("worlds_kind_check")),
        sa.CheckConstraint("state IN ('making', 'ready', 'dropping', 'dropped')", name=op.f("worlds_state_check")),
        sa.ForeignKeyConstraint(["created_by"], ["admin.id"], name=op.f("worlds_created_by_fkey")),
        sa.ForeignKeyConstraint(["source"], ["worlds.id"], name=op.f("worlds_source_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("worlds_pkey")),
        sa.UniqueConstraint("database", name=op.f("worlds_database_key")),
    )
    op.create_index(
        "worlds_name_key",
        "worlds",
        [sa.literal_column("lower(name)")],
        unique=True,
        postgresql_where="state <> 'dropped'",
    )
    op.create_table(
        "memories",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("persona_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("about", sa.BigInteger(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("importance", sa.REAL(), server_default="0.5", nullable=False),
        sa.Column("venue", sa.Text(), server_default="feed", nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column("turn_id", sa.BigInteger(), nullable=True),
        sa.Column("object_kind", sa.Text(), nullable=True),
        sa.Column("object_id", sa.BigInteger(), nullable=True),
        sa.Column("sources", postgresql.ARRAY(sa.BigInteger()), server_default="{}", nullable=False),
        sa.Column("counts", postgresql.ARRAY(sa.Integer()), server_default="{}", nullable=False),
        sa.Column("folded_into", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("recalled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("recalls", sa.Integer(), server_default="0", nullable=False),
        sa.Column("embedding", postgresql.ARRAY(sa.REAL()), nullable=True),
        sa.Column(
            "search", postgresql.TSVECTOR(), sa.Computed("to_tsvector('simple', body)", persisted=True), nullable=False
        ),
        sa.CheckConstraint(
            "kind IN ('did', 'done_to', 'bond', 'reflection', 'given')", name=op.f("memories_kind_check")
        ),
        sa.CheckConstraint("char_length(body) BETWEEN 1 AND 1000", name=op.f("memories_body_check")),
        sa.CheckConstraint("importance BETWEEN 0 AND 1", name=op.f("memories_importance_check")),
        sa.ForeignKeyConstraint(["about"], ["personas.id"], name=op.f("memories_about_fkey")),
        sa.ForeignKeyConstraint(["folded_into"], ["memories.id"], name=op.f("memories_folded_into_fkey")),
        sa.ForeignKeyConstraint(["persona_id"], ["personas.id"], name=op.f("memories_persona_id_fkey")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("memories_run_id_fkey")),
        sa.ForeignKeyConstraint(["turn_id"], ["turns.id"], name=op.f("memories_turn_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("memories_pkey")),
    )
    op.create_index(op.f("memories_about_idx"), "memories", ["about"], unique=False)
    op.create_index(
        "memories_bond_key",
        "memories",
        ["persona_id", "about", "run_id"],
        unique=True,
        postgresql_where="kind = 'bond'",
        postgresql_nulls_not_distinct=True,
    )
    op.create_index(op.f("memories_folded_into_idx"), "memories", ["folded_into"], unique=False)
    op.create_index(
        "memories_live_idx", "memories", ["persona_id"], unique=False, postgresql_where="folded_into IS NULL"
    )
    op.create_index(
        "memories_persona_id_idx",
        "memories",
        ["persona_id", sa.literal_column("at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(op.f("memories_run_id_idx"), "memories", ["run_id"], unique=False)
    op.create_index("memories_search_idx", "memories", ["search"], unique=False, postgresql_using="gin")
    op.create_index(
        "memories_source_key",
        "memories",
        ["persona_id", "kind", "object_kind", "object_id", "run_id"],
        unique=True,
        postgresql_where="kind IN ('did', 'done_to')",
    )
    op.add_column("exposures", sa.Column("version", sa.SmallInteger(), server_default="1", nullable=False))
    op.add_column("exposures", sa.Column("scores", postgresql.ARRAY(sa.REAL()), server_default="{}", nullable=False))
    op.add_column("exposures", sa.Column("reasons", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False))
    op.add_column("exposures", sa.Column("chances", postgresql.ARRAY(sa.REAL()), server_default="{}", nullable=False))
    op.add_column("runs", sa.Column("pacing", sa.Text(), server_default="live", nullable=False))
    op.add_column("runs", sa.Column("world_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("runs", sa.Column("remembered_at", sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint("pacing", "runs", "pacing IN ('live', 'rounds')")
    op.add_column("turns", sa.Column("world_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("actions", sa.Column("before", sa.Text(), nullable=True))
    op.add_column("instance", sa.Column("world_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("actions", "before")
    op.drop_column("instance", "world_at")
    op.drop_column("turns", "world_at")
    op.drop_constraint(op.f("runs_pacing_check"), "runs")
    op.drop_column("runs", "remembered_at")
    op.drop_column("runs", "world_at")
    op.drop_column("runs", "pacing")
    op.drop_column("exposures", "chances")
    op.drop_column("exposures", "reasons")
    op.drop_column("exposures", "scores")
    op.drop_column("exposures", "version")
    op.drop_index("memories_source_key", table_name="memories", postgresql_where="kind IN ('did', 'done_to')")
    op.drop_index("memories_search_idx", table_name="memories", postgresql_using="gin")
    op.drop_index(op.f("memories_run_id_idx"), table_name="memories")
    op.drop_index("memories_persona_id_idx", table_name="memories")
    op.drop_index("memories_live_idx", table_name="memories", postgresql_where="folded_into IS NULL")
    op.drop_index(op.f("memories_folded_into_idx"), table_name="memories")
    op.drop_index(
        "memories_bond_key", table_name="memories", postgresql_where="kind = 'bond'", postgresql_nulls_not_distinct=True
    )
    op.drop_index(op.f("memories_about_idx"), table_name="memories")
    op.drop_table("memories")
    op.drop_index("worlds_name_key", table_name="worlds", postgresql_where="state <> 'dropped'")
    op.drop_table("worlds")
