"""budgets, providers, workers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATES = ("queued", "running", "done", "limit", "refused", "failed")


def _money(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Numeric(14, 8), server_default="0", nullable=False)


def _tokens(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)


def _states(states: tuple[str, ...]) -> None:
    op.drop_constraint("turns_state_check", "turns")
    op.create_check_constraint(op.f("turns_state_check"), "turns", f"state IN ({', '.join(map(repr, states))})")


def upgrade() -> None:
    _states((*STATES, "deferred"))
    op.add_column("turns", _tokens("held_tokens"))
    op.add_column("turns", _money("held_usd"))
    op.add_column("turns", sa.Column("held_day", sa.Date(), nullable=True))
    op.add_column("runs", sa.Column("reason", sa.Text(), nullable=True))
    op.add_column("runs", sa.Column("estimate", postgresql.JSONB(), nullable=True))
    op.add_column("runs", sa.Column("lost_calls", sa.Integer(), server_default="0", nullable=False))
    op.add_column("instance", sa.Column("halted_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("calls_created_at_idx", "calls", ["created_at"], postgresql_using="brin")
    op.create_table(
        "budgets",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        _tokens("spent_tokens"),
        _money("spent_usd"),
        _tokens("held_tokens"),
        _money("held_usd"),
        sa.CheckConstraint("held_tokens >= 0 AND held_usd >= 0", name=op.f("budgets_held_check")),
        sa.CheckConstraint("scope IN ('instance', 'run', 'persona')", name=op.f("budgets_scope_check")),
        sa.PrimaryKeyConstraint("scope", "key", "day", name=op.f("budgets_pkey")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "providers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("paused_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("blocked", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("key_sha256", sa.LargeBinary(), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("providers_pkey")),
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("workers_pkey")),
    )


def downgrade() -> None:
    op.drop_table("workers")
    op.drop_table("providers")
    op.drop_table("budgets")
    op.drop_index("calls_created_at_idx", table_name="calls", postgresql_using="brin")
    op.drop_column("instance", "halted_at")
    for column in ("lost_calls", "estimate", "reason"):
        op.drop_column("runs", column)
    for column in ("held_day", "held_usd", "held_tokens"):
        op.drop_column("turns", column)
    op.execute("UPDATE turns SET state = 'failed' WHERE state = 'deferred'")
    _states(STATES)
