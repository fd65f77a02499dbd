"""events, the chained audit trail, versions of personas."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

CHAIN = """
DO $$
DECLARE entry record; last bytea := '';
BEGIN
    FOR entry IN SELECT * FROM audit ORDER BY id LOOP
        UPDATE audit SET previous = last, hash = sha256(last || convert_to(jsonb_build_array(
            entry.id, extract(epoch FROM entry.at), entry.admin_id, entry.action, entry.subject, entry.detail
        )::text, 'UTF8')) WHERE id = entry.id RETURNING hash INTO last;
    END LOOP;
END $$
"""
"""What `audit_append` of sql/accounts.sql does, for what was written before."""

REFUSE = """
CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the audit trail is append-only'; END $$
"""
ONLY_APPEND = """
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()
"""


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("object_id", sa.BigInteger(), nullable=False),
        sa.Column("persona_id", sa.BigInteger(), nullable=True),
        sa.Column("target_id", sa.BigInteger(), nullable=True),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind IN ('post', 'comment', 'like', 'follow', 'run')", name=op.f("events_kind_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("events_pkey")),
    )
    op.create_table(
        "persona_versions",
        sa.Column("persona_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("spec", postgresql.JSONB(), nullable=False),
        sa.Column("replaced_by", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["persona_id"], ["personas.id"], name=op.f("persona_versions_persona_id_fkey")),
        sa.ForeignKeyConstraint(["replaced_by"], ["admin.id"], name=op.f("persona_versions_replaced_by_fkey")),
        sa.PrimaryKeyConstraint("persona_id", "version", name=op.f("persona_versions_pkey")),
    )
    op.add_column("audit", sa.Column("previous", sa.LargeBinary(), nullable=True))
    op.add_column("audit", sa.Column("hash", sa.LargeBinary(), nullable=True))
    op.execute(CHAIN)
    op.alter_column("audit", "previous", nullable=False)
    op.alter_column("audit", "hash", nullable=False)
    op.execute(REFUSE)
    op.execute(ONLY_APPEND)
