"""the rest of a social network: quotes, replies, reactions, news; interventions; what monitors find."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

FEED_POSTS = """
CREATE OR REPLACE VIEW feed_posts AS
SELECT p.id, p.title, coalesce(o.body, p.body) AS body, p.author_id, a.username AS author_username,
       a.profile ->> 'display_name' AS author_display_name, a.status = 'departed' AS author_departed,
       c.post_id, c.likes_count, c.comments_count, c.reposts_count, c.hot, p.created_at, p.repost_of,
       coalesce(p.repost_of, p.id) AS root_id, oa.username AS repost_of_username{more}
FROM posts p
JOIN post_counts c ON c.post_id = p.id
JOIN personas a ON a.id = p.author_id
LEFT JOIN posts o ON o.id = p.repost_of
LEFT JOIN personas oa ON oa.id = o.author_id
{joined}WHERE NOT p.hidden
"""
QUOTES = """,
       c.quotes_count, c.dislikes_count, q.id AS quote_of, q.author_id AS quote_author_id,
       qa.username AS quote_username, q.title AS quote_title, q.body AS quote_body"""
QUOTED = """LEFT JOIN posts q ON q.id = coalesce(o.quote_of, p.quote_of) AND NOT q.hidden
LEFT JOIN personas qa ON qa.id = q.author_id
"""


def upgrade() -> None:
    op.create_table(
        "interventions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("cycle", sa.Integer(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("state", sa.Text(), server_default="planned", nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column("outcome", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("created_by", sa.BigInteger(), nullable=True),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind IN ('post', 'message', 'ranker', 'pause', 'resume', 'news')", name=op.f("interventions_kind_check")
        ),
        sa.CheckConstraint(
            "state IN ('planned', 'done', 'failed', 'cancelled')", name=op.f("interventions_state_check")
        ),
        sa.CheckConstraint("cycle > 0", name=op.f("interventions_cycle_check")),
        sa.CheckConstraint("num_nonnulls(cycle, at) = 1", name=op.f("interventions_cycle_or_time_check")),
        sa.ForeignKeyConstraint(["created_by"], ["admin.id"], name=op.f("interventions_created_by_fkey")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("interventions_run_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("interventions_pkey")),
    )
    op.create_index(
        "interventions_planned_idx", "interventions", ["id"], unique=False, postgresql_where="state = 'planned'"
    )
    op.create_index("interventions_run_id_idx", "interventions", ["run_id"], unique=False)
    op.create_table(
        "news",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), server_default="", nullable=False),
        sa.Column("source", sa.Text(), server_default="", nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("guid", sa.Text(), nullable=True),
        sa.Column("published_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("created_by", sa.BigInteger(), nullable=True),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("char_length(body) <= 2000", name=op.f("news_body_check")),
        sa.CheckConstraint("char_length(guid) <= 2000", name=op.f("news_guid_check")),
        sa.CheckConstraint("char_length(source) <= 100", name=op.f("news_source_check")),
        sa.CheckConstraint("char_length(title) BETWEEN 1 AND 200", name=op.f("news_title_check")),
        sa.CheckConstraint("char_length(url) <= 2000", name=op.f("news_url_check")),
        sa.ForeignKeyConstraint(["created_by"], ["admin.id"], name=op.f("news_created_by_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("news_pkey")),
    )
    op.create_index(
        "news_published_idx",
        "news",
        [sa.literal_column("published_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index("news_guid_key", "news", ["guid"], unique=True)
    op.create_index("news_url_key", "news", ["url"], unique=True)
    op.create_table(
        "reactions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("post_id", sa.BigInteger(), nullable=True),
        sa.Column("comment_id", sa.BigInteger(), nullable=True),
        sa.Column("persona_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(kind = 'like') = (comment_id IS NOT NULL)", name=op.f("reactions_likes_of_comments_check")
        ),
        sa.CheckConstraint(
            "kind IN ('like', 'dislike', 'love', 'laugh', 'sad', 'angry')", name=op.f("reactions_kind_check")
        ),
        sa.CheckConstraint("num_nonnulls(post_id, comment_id) = 1", name=op.f("reactions_one_thing_check")),
        sa.ForeignKeyConstraint(["comment_id"], ["comments.id"], name=op.f("reactions_comment_id_fkey")),
        sa.ForeignKeyConstraint(["persona_id"], ["personas.id"], name=op.f("reactions_persona_id_fkey")),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], name=op.f("reactions_post_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("reactions_pkey")),
    )
    op.create_index(
        "reactions_comment_id_persona_id_key",
        "reactions",
        ["comment_id", "persona_id"],
        unique=True,
        postgresql_where="comment_id IS NOT NULL",
    )
    op.create_index("reactions_persona_id_idx", "reactions", ["persona_id", sa.literal_column("id DESC")], unique=False)
    op.create_index(
        "reactions_post_id_persona_id_key",
        "reactions",
        ["post_id", "persona_id"],
        unique=True,
        postgresql_where="post_id IS NOT NULL",
    )
    op.create_table(
        "reusable",
        sa.Column("request_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("reply", sa.LargeBinary(), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), server_default="0", nullable=False),
        sa.Column("completion_tokens", sa.Integer(), server_default="0", nullable=False),
        sa.Column("cost_usd", sa.Numeric(precision=14, scale=8), nullable=True),
        sa.Column("uses", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("request_sha256", name=op.f("reusable_pkey")),
    )
    op.add_column("comments", sa.Column("parent_id", sa.BigInteger(), nullable=True))
    op.add_column("comments", sa.Column("likes_count", sa.Integer(), server_default="0", nullable=False))
    op.create_index(
        "comments_parent_id_idx",
        "comments",
        ["parent_id", "id"],
        unique=False,
        postgresql_where="parent_id IS NOT NULL",
    )
    op.create_foreign_key(op.f("comments_parent_id_fkey"), "comments", "comments", ["parent_id"], ["id"])
    op.add_column("personas", sa.Column("paused_by", sa.BigInteger(), nullable=True))
    op.create_foreign_key(op.f("personas_paused_by_fkey"), "personas", "interventions", ["paused_by"], ["id"])
    op.add_column("mutes", sa.Column("block", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("post_counts", sa.Column("quotes_count", sa.Integer(), server_default="0", nullable=False))
    op.add_column("post_counts", sa.Column("dislikes_count", sa.Integer(), server_default="0", nullable=False))
    op.add_column("posts", sa.Column("quote_of", sa.BigInteger(), nullable=True))
    op.create_index(
        "posts_quote_of_idx",
        "posts",
        ["quote_of", sa.literal_column("id DESC")],
        unique=False,
        postgresql_where="quote_of IS NOT NULL",
    )
    op.create_foreign_key(op.f("posts_quote_of_fkey"), "posts", "posts", ["quote_of"], ["id"])
    op.execute(FEED_POSTS.format(more=QUOTES, joined=QUOTED))
    op.add_column("reports", sa.Column("verdict", sa.Text(), nullable=True))
    op.add_column("reports", sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("reports", sa.Column("closed_by", sa.BigInteger(), nullable=True))
    op.create_index("reports_open_idx", "reports", ["id"], unique=False, postgresql_where="closed_at IS NULL")
    op.create_foreign_key(op.f("reports_closed_by_fkey"), "reports", "admin", ["closed_by"], ["id"])
    op.add_column("runs", sa.Column("realism", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.create_check_constraint("quote_or_repost", "posts", "num_nonnulls(repost_of, quote_of) <= 1")
    op.create_check_constraint("not_negative_either", "post_counts", "quotes_count >= 0 AND dislikes_count >= 0")
    op.create_check_constraint("not_negative", "comments", "likes_count >= 0")
    op.create_check_constraint("verdict", "reports", "verdict IN ('dismissed', 'hidden')")
    op.create_check_constraint("closed", "reports", "(verdict IS NULL) = (closed_at IS NULL)")
    op.drop_constraint(op.f("events_kind_check"), "events")
    op.create_check_constraint("kind", "events", "kind IN ('post', 'comment', 'like', 'follow', 'run', 'news')")


def downgrade() -> None:
    op.execute("DELETE FROM events WHERE kind = 'news'")
    op.drop_constraint(op.f("events_kind_check"), "events")
    op.create_check_constraint("kind", "events", "kind IN ('post', 'comment', 'like', 'follow', 'run')")
    op.drop_constraint(op.f("reports_closed_check"), "reports")
    op.drop_constraint(op.f("reports_verdict_check"), "reports")
    op.drop_constraint(op.f("comments_not_negative_check"), "comments")
    op.drop_constraint(op.f("post_counts_not_negative_either_check"), "post_counts")
    op.drop_constraint(op.f("posts_quote_or_repost_check"), "posts")
    op.execute("DROP VIEW feed_posts")
    op.drop_column("runs", "realism")
    op.drop_constraint(op.f("reports_closed_by_fkey"), "reports", type_="foreignkey")
    op.drop_index("reports_open_idx", table_name="reports", postgresql_where="closed_at IS NULL")
    op.drop_column("reports", "closed_by")
    op.drop_column("reports", "closed_at")
    op.drop_column("reports", "verdict")
    op.drop_constraint(op.f("posts_quote_of_fkey"), "posts", type_="foreignkey")
    op.drop_index("posts_quote_of_idx", table_name="posts", postgresql_where="quote_of IS NOT NULL")
    op.drop_column("posts", "quote_of")
    op.drop_column("post_counts", "dislikes_count")
    op.drop_column("post_counts", "quotes_count")
    op.drop_column("mutes", "block")
    op.drop_constraint(op.f("comments_parent_id_fkey"), "comments", type_="foreignkey")
    op.drop_index("comments_parent_id_idx", table_name="comments", postgresql_where="parent_id IS NOT NULL")
    op.drop_column("comments", "likes_count")
    op.drop_column("comments", "parent_id")
    op.drop_table("reusable")
    op.drop_index("reactions_post_id_persona_id_key", table_name="reactions", postgresql_where="post_id IS NOT NULL")
    op.drop_index("reactions_persona_id_idx", table_name="reactions")
    op.drop_index(
        "reactions_comment_id_persona_id_key", table_name="reactions", postgresql_where="comment_id IS NOT NULL"
    )
    op.drop_table("reactions")
    op.drop_index("news_url_key", table_name="news")
    op.drop_index("news_guid_key", table_name="news")
    op.drop_index("news_published_idx", table_name="news")
    op.drop_table("news")
    op.execute(FEED_POSTS.format(more="", joined=""))
    op.drop_constraint(op.f("personas_paused_by_fkey"), "personas", type_="foreignkey")
    op.drop_column("personas", "paused_by")
    op.drop_index("interventions_run_id_idx", table_name="interventions")
    op.drop_index("interventions_planned_idx", table_name="interventions", postgresql_where="state = 'planned'")
    op.drop_table("interventions")
