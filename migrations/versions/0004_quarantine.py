"""quarantine: what is hidden, by whom and why; marks, resolved to what they copy."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

HIDES = ("posts", "post_counts", "comments")
RANKED = {"top": "likes_count", "discussed": "comments_count", "hot": "hot"}

VIEW = """
CREATE OR REPLACE VIEW feed_posts AS
SELECT p.id, p.title, coalesce(o.body, p.body) AS body, p.author_id, a.username AS author_username,
       a.profile ->> 'display_name' AS author_display_name, a.status = 'departed' AS author_departed,
       c.post_id, c.likes_count, c.comments_count, c.reposts_count, c.hot, p.created_at, p.repost_of,
       coalesce(p.repost_of, p.id) AS root_id, oa.username AS repost_of_username
FROM posts p
JOIN post_counts c ON c.post_id = p.id
JOIN personas a ON a.id = p.author_id
LEFT JOIN posts o ON o.id = p.repost_of
LEFT JOIN personas oa ON oa.id = o.author_id
"""


def _id(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _time(name: str, *, made: bool = False) -> sa.Column[object]:
    default = sa.text("now()") if made else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=not made)


def _ranked(*, where: str | None) -> None:
    for name, column in RANKED.items():
        op.drop_index(f"post_counts_{name}_idx", table_name="post_counts")
        parts = [sa.literal_column(f"{column} DESC"), sa.literal_column("post_id DESC")]
        op.create_index(f"post_counts_{name}_idx", "post_counts", parts, postgresql_where=where)


def _of_authors(*, include: list[str]) -> None:
    op.drop_index("posts_author_id_idx", table_name="posts")
    parts = ["author_id", sa.literal_column("id DESC")]
    op.create_index("posts_author_id_idx", "posts", parts, postgresql_include=include)


def upgrade() -> None:
    for table in HIDES:
        op.add_column(table, sa.Column("hidden", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    _ranked(where="NOT hidden")
    _of_authors(include=["hidden"])
    op.create_index("posts_seen_idx", "posts", [sa.literal_column("id DESC")], postgresql_where="NOT hidden")
    op.execute(f"{VIEW} WHERE NOT p.hidden")
    op.create_table(
        "quarantines",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        _id("post_id", nullable=True),
        _id("comment_id", nullable=True),
        _id("cause", nullable=True),
        sa.Column("taken_by", sa.Text(), nullable=False),
        _id("admin_id", nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        _time("created_at", made=True),
        _time("lifted_at"),
        _id("lifted_by", nullable=True),
        sa.Column("lift_reason", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint("num_nonnulls(post_id, comment_id) = 1", name=op.f("quarantines_one_thing_check")),
        sa.CheckConstraint("taken_by IN ('admin', 'operator', 'guard')", name=op.f("quarantines_taken_by_check")),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], name=op.f("quarantines_post_id_fkey")),
        sa.ForeignKeyConstraint(["comment_id"], ["comments.id"], name=op.f("quarantines_comment_id_fkey")),
        sa.ForeignKeyConstraint(["cause"], ["quarantines.id"], name=op.f("quarantines_cause_fkey")),
        sa.ForeignKeyConstraint(["admin_id"], ["admin.id"], name=op.f("quarantines_admin_id_fkey")),
        sa.ForeignKeyConstraint(["lifted_by"], ["admin.id"], name=op.f("quarantines_lifted_by_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("quarantines_pkey")),
    )
    for thing in ("post_id", "comment_id"):
        where = f"lifted_at IS NULL AND {thing} IS NOT NULL"
        op.create_index(f"quarantines_{thing}_key", "quarantines", [thing], unique=True, postgresql_where=where)
    op.create_table(
        "marks",
        sa.Column("turn_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("ordinal", sa.SmallInteger(), autoincrement=False, nullable=False),
        _id("run_id"),
        _id("persona_id"),
        sa.Column("mark", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        _id("object_id"),
        sa.Column("source_kind", sa.Text(), nullable=True),
        _id("source_id", nullable=True),
        sa.Column("similarity", sa.Double(), nullable=True),
        sa.Column("origin_kind", sa.Text(), nullable=True),
        _id("origin_id", nullable=True),
        sa.Column("generation", sa.Integer(), nullable=True),
        _time("created_at", made=True),
        sa.CheckConstraint("mark IN ('copy', 'canary')", name=op.f("marks_mark_check")),
        sa.CheckConstraint("kind IN ('post', 'comment', 'bio')", name=op.f("marks_kind_check")),
        sa.ForeignKeyConstraint(
            ["turn_id", "step", "ordinal"],
            ["actions.turn_id", "actions.step", "actions.ordinal"],
            name="marks_turn_id_step_ordinal_fkey",
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("marks_run_id_fkey")),
        sa.ForeignKeyConstraint(["persona_id"], ["personas.id"], name=op.f("marks_persona_id_fkey")),
        sa.PrimaryKeyConstraint("turn_id", "step", "ordinal", name=op.f("marks_pkey")),
    )
    op.create_index("actions_marked_idx", "actions", ["turn_id"], postgresql_where="outcome = 'made' AND detail <> ''")
    op.create_index("marks_object_idx", "marks", ["kind", "object_id"])
    op.create_index("marks_source_idx", "marks", ["source_kind", "source_id"])
    op.create_index("marks_origin_idx", "marks", ["origin_kind", "origin_id"])


def downgrade() -> None:
    op.drop_table("marks")
    op.drop_table("quarantines")
    op.execute(VIEW)
    op.drop_index("posts_seen_idx", table_name="posts")
    _of_authors(include=[])
    _ranked(where=None)
    for table in HIDES:
        op.drop_column(table, "hidden")
