"""access: roles of admins and invitations, one-time codes as second factor, API keys."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ROLED = ("admin", "admin_invitations")


def _admin_id() -> sa.Column[object]:
    return sa.Column("admin_id", sa.BigInteger(), autoincrement=False, nullable=False)


def _time(name: str, *, made: bool = False) -> sa.Column[object]:
    default = sa.text("now()") if made else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=not made)


def upgrade() -> None:
    for table in ROLED:
        op.add_column(table, sa.Column("role", sa.Text(), server_default="admin", nullable=False))
        op.create_check_constraint(op.f(f"{table}_role_check"), table, "role IN ('admin', 'observer')")
    op.create_table(
        "admin_totp",
        _admin_id(),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), server_default="0", nullable=False),
        _time("created_at", made=True),
        _time("confirmed_at"),
        sa.ForeignKeyConstraint(["admin_id"], ["admin.id"], name=op.f("admin_totp_admin_id_fkey")),
        sa.PrimaryKeyConstraint("admin_id", name=op.f("admin_totp_pkey")),
    )
    op.create_table(
        "admin_recovery_codes",
        _admin_id(),
        sa.Column("code_sha256", sa.LargeBinary(), nullable=False),
        _time("used_at"),
        sa.ForeignKeyConstraint(["admin_id"], ["admin.id"], name=op.f("admin_recovery_codes_admin_id_fkey")),
        sa.PrimaryKeyConstraint("admin_id", "code_sha256", name=op.f("admin_recovery_codes_pkey")),
    )
    op.create_table(
        "admin_keys",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("admin_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key_sha256", sa.LargeBinary(), nullable=False),
        _time("created_at", made=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        _time("last_used_at"),
        _time("revoked_at"),
        sa.ForeignKeyConstraint(["admin_id"], ["admin.id"], name=op.f("admin_keys_admin_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("admin_keys_pkey")),
        sa.UniqueConstraint("key_sha256", name=op.f("admin_keys_key_sha256_key")),
    )
    op.create_index(op.f("admin_keys_admin_id_idx"), "admin_keys", ["admin_id"])


def downgrade() -> None:
    """An observer would be an admin in the schema before: whoever is one is disabled, and signed out."""
    op.execute(
        "UPDATE admin_sessions SET revoked_at = now() WHERE revoked_at IS NULL"
        " AND admin_id IN (SELECT id FROM admin WHERE role = 'observer')"
    )
    op.execute("UPDATE admin SET disabled_at = now() WHERE role = 'observer' AND disabled_at IS NULL")
    op.execute(
        "UPDATE admin_invitations SET revoked_at = now()"
        " WHERE role = 'observer' AND accepted_at IS NULL AND revoked_at IS NULL"
    )
    for table in ("admin_keys", "admin_recovery_codes", "admin_totp"):
        op.drop_table(table)
    for table in ROLED:
        op.drop_column(table, "role")
