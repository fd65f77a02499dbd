"""experiments: the hash of the world in which they begin; by which programs their runs were played."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("experiments", sa.Column("start_sha256", sa.LargeBinary(), nullable=True))
    op.add_column(
        "experiment_trials",
        sa.Column("programs", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
    )


def downgrade() -> None:
    op.drop_column("experiment_trials", "programs")
    op.drop_column("experiments", "start_sha256")
