"""the first schema."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


FEED_POSTS = """
CREATE VIEW feed_posts AS
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


def upgrade() -> None:
    op.create_table(
        "admin",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("admin_pkey")),
    )
    op.create_index("admin_email_key", "admin", [sa.literal_column("lower(email)")], unique=True)
    op.create_index("admin_username_key", "admin", [sa.literal_column("lower(username)")], unique=True)
    op.create_table(
        "instance",
        sa.Column("id", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("bootstrapped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("scheduler_interval_minutes", sa.Double(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("id", name=op.f("instance_single_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("instance_pkey")),
    )
    op.create_table(
        "login_attempts",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("key", "window_start", name=op.f("login_attempts_pkey")),
    )
    op.create_table(
        "personas",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("bio", sa.Text(), server_default="", nullable=False),
        sa.Column("profile", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("temperature", sa.Double(), nullable=True),
        sa.Column("activity", sa.Double(), server_default="1", nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("posts_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("comments_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("followers_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("following_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("departed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("status IN ('active', 'paused', 'departed')", name=op.f("personas_status_check")),
        sa.CheckConstraint("activity BETWEEN 0 AND 1", name=op.f("personas_activity_check")),
        sa.CheckConstraint("temperature BETWEEN 0 AND 2", name=op.f("personas_temperature_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("personas_pkey")),
        postgresql_with={"fillfactor": 80},
    )
    op.create_index(
        "personas_username_key",
        "personas",
        [sa.literal_column("lower(username)")],
        unique=True,
        postgresql_where="status <> 'departed'",
    )
    op.create_table(
        "prompt_texts",
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("prompt_texts_pkey")),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("venue", sa.Text(), nullable=False),
        sa.Column("slot", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("settings", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("turns_total", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'paused', 'stopped', 'budget_exhausted', 'partial', 'failed', 'completed')",
            name=op.f("runs_state_check"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("runs_pkey")),
        sa.UniqueConstraint("slot", name=op.f("runs_slot_key")),
    )
    op.create_table(
        "admin_invitations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("token_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("invited_by", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["invited_by"], ["admin.id"], name=op.f("admin_invitations_invited_by_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("admin_invitations_pkey")),
        sa.UniqueConstraint("token_sha256", name=op.f("admin_invitations_token_sha256_key")),
    )
    op.create_table(
        "admin_sessions",
        sa.Column("jti", sa.Text(), nullable=False),
        sa.Column("admin_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["admin_id"], ["admin.id"], name=op.f("admin_sessions_admin_id_fkey")),
        sa.PrimaryKeyConstraint("jti", name=op.f("admin_sessions_pkey")),
    )
    op.create_index(op.f("admin_sessions_admin_id_idx"), "admin_sessions", ["admin_id"], unique=False)
    op.create_index(op.f("admin_sessions_expires_at_idx"), "admin_sessions", ["expires_at"], unique=False)
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("admin_id", sa.BigInteger(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), server_default="", nullable=False),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.ForeignKeyConstraint(["admin_id"], ["admin.id"], name=op.f("audit_admin_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_pkey")),
    )
    op.create_table(
        "follows",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("follower", sa.BigInteger(), nullable=False),
        sa.Column("followed", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("follower <> followed", name=op.f("follows_not_self_check")),
        sa.ForeignKeyConstraint(["followed"], ["personas.id"], name=op.f("follows_followed_fkey")),
        sa.ForeignKeyConstraint(["follower"], ["personas.id"], name=op.f("follows_follower_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("follows_pkey")),
    )
    op.create_index("follows_followed_idx", "follows", ["followed", sa.literal_column("id DESC")], unique=False)
    op.create_index("follows_follower_followed_key", "follows", ["follower", "followed"], unique=True)
    op.create_index("follows_follower_idx", "follows", ["follower", sa.literal_column("id DESC")], unique=False)
    op.create_table(
        "mutes",
        sa.Column("persona_id", sa.BigInteger(), nullable=False),
        sa.Column("muted_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("persona_id <> muted_id", name=op.f("mutes_not_self_check")),
        sa.ForeignKeyConstraint(["muted_id"], ["personas.id"], name=op.f("mutes_muted_id_fkey")),
        sa.ForeignKeyConstraint(["persona_id"], ["personas.id"], name=op.f("mutes_persona_id_fkey")),
        sa.PrimaryKeyConstraint("persona_id", "muted_id", name=op.f("mutes_pkey")),
    )
    op.create_index(op.f("mutes_muted_id_idx"), "mutes", ["muted_id"], unique=False)
    op.create_table(
        "posts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("author_id", sa.BigInteger(), nullable=False),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("repost_of", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "search",
            postgresql.TSVECTOR(),
            sa.Computed("to_tsvector('simple', coalesce(title, '') || ' ' || body)", persisted=True),
            nullable=False,
        ),
        sa.CheckConstraint("(body <> '') <> (repost_of IS NOT NULL)", name=op.f("posts_post_or_repost_check")),
        sa.CheckConstraint("char_length(body) <= 500", name=op.f("posts_body_check")),
        sa.ForeignKeyConstraint(["author_id"], ["personas.id"], name=op.f("posts_author_id_fkey")),
        sa.ForeignKeyConstraint(["repost_of"], ["posts.id"], name=op.f("posts_repost_of_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("posts_pkey")),
    )
    op.create_index("posts_author_id_idx", "posts", ["author_id", sa.literal_column("id DESC")], unique=False)
    op.create_index(
        "posts_repost_key", "posts", ["author_id", "repost_of"], unique=True, postgresql_where="repost_of IS NOT NULL"
    )
    op.create_index(op.f("posts_repost_of_idx"), "posts", ["repost_of"], unique=False)
    op.create_index("posts_search_idx", "posts", ["search"], unique=False, postgresql_using="gin")
    op.create_table(
        "turns",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("persona_id", sa.BigInteger(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        sa.Column("epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_step", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'done', 'limit', 'refused', 'failed')", name=op.f("turns_state_check")
        ),
        sa.ForeignKeyConstraint(["persona_id"], ["personas.id"], name=op.f("turns_persona_id_fkey")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("turns_run_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("turns_pkey")),
        postgresql_with={"fillfactor": 70},
    )
    op.create_index(
        "turns_open_idx",
        "turns",
        ["run_id", "ordinal"],
        unique=False,
        postgresql_where="state IN ('queued', 'running')",
    )
    op.create_index("turns_persona_id_idx", "turns", ["persona_id", sa.literal_column("id DESC")], unique=False)
    op.create_index("turns_run_id_persona_id_key", "turns", ["run_id", "persona_id"], unique=True)
    op.create_table(
        "calls",
        sa.Column("turn_id", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("model_returned", sa.Text(), nullable=False),
        sa.Column("options", sa.LargeBinary(), nullable=False),
        sa.Column("told", sa.LargeBinary(), nullable=False),
        sa.Column("tools_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("request_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("reply", sa.LargeBinary(), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), server_default="0", nullable=False),
        sa.Column("completion_tokens", sa.Integer(), server_default="0", nullable=False),
        sa.Column("cached_tokens", sa.Integer(), server_default="0", nullable=False),
        sa.Column("cost_usd", sa.Numeric(precision=14, scale=8), nullable=True),
        sa.Column("latency_ms", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["turn_id"], ["turns.id"], name=op.f("calls_turn_id_fkey")),
        sa.PrimaryKeyConstraint("turn_id", "step", name=op.f("calls_pkey")),
    )
    op.create_table(
        "comments",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("post_id", sa.BigInteger(), nullable=False),
        sa.Column("author_id", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("char_length(body) BETWEEN 1 AND 1000", name=op.f("comments_body_check")),
        sa.ForeignKeyConstraint(["author_id"], ["personas.id"], name=op.f("comments_author_id_fkey")),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], name=op.f("comments_post_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("comments_pkey")),
    )
    op.create_index("comments_author_id_idx", "comments", ["author_id", sa.literal_column("id DESC")], unique=False)
    op.create_index("comments_post_id_idx", "comments", ["post_id", sa.literal_column("id DESC")], unique=False)
    op.create_table(
        "exposures",
        sa.Column("turn_id", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.SmallInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("ranker", sa.Text(), nullable=False),
        sa.Column("items", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["turn_id"], ["turns.id"], name=op.f("exposures_turn_id_fkey")),
        sa.PrimaryKeyConstraint("turn_id", "step", "ordinal", name=op.f("exposures_pkey")),
    )
    op.create_table(
        "likes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("post_id", sa.BigInteger(), nullable=False),
        sa.Column("persona_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["persona_id"], ["personas.id"], name=op.f("likes_persona_id_fkey")),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], name=op.f("likes_post_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("likes_pkey")),
    )
    op.create_index("likes_persona_id_idx", "likes", ["persona_id", sa.literal_column("id DESC")], unique=False)
    op.create_index("likes_post_id_persona_id_key", "likes", ["post_id", "persona_id"], unique=True)
    op.create_table(
        "post_counts",
        sa.Column("post_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("likes_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("comments_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reposts_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "hot",
            sa.Double(),
            sa.Computed(
                "log(greatest(likes_count + 2 * comments_count, 1)::numeric)::double precision"
                " + extract(epoch from (created_at at time zone 'UTC'))::double precision / 45000",
                persisted=True,
            ),
            nullable=False,
        ),
        sa.CheckConstraint(
            "likes_count >= 0 AND comments_count >= 0 AND reposts_count >= 0",
            name=op.f("post_counts_not_negative_check"),
        ),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], name=op.f("post_counts_post_id_fkey")),
        sa.PrimaryKeyConstraint("post_id", name=op.f("post_counts_pkey")),
        postgresql_with={"fillfactor": 80},
    )
    op.create_index(
        "post_counts_discussed_idx",
        "post_counts",
        [sa.literal_column("comments_count DESC"), sa.literal_column("post_id DESC")],
        unique=False,
    )
    op.create_index(
        "post_counts_hot_idx",
        "post_counts",
        [sa.literal_column("hot DESC"), sa.literal_column("post_id DESC")],
        unique=False,
    )
    op.create_index(
        "post_counts_top_idx",
        "post_counts",
        [sa.text("likes_count DESC"), sa.literal_column("post_id DESC")],
        unique=False,
    )
    op.create_table(
        "reports",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("post_id", sa.BigInteger(), nullable=False),
        sa.Column("reporter_id", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], name=op.f("reports_post_id_fkey")),
        sa.ForeignKeyConstraint(["reporter_id"], ["personas.id"], name=op.f("reports_reporter_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("reports_pkey")),
    )
    op.create_index("reports_post_id_reporter_id_key", "reports", ["post_id", "reporter_id"], unique=True)
    op.create_index(op.f("reports_reporter_id_idx"), "reports", ["reporter_id"], unique=False)
    op.create_table(
        "actions",
        sa.Column("turn_id", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.SmallInteger(), nullable=False),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("arguments", sa.Text(), nullable=False),
        sa.Column("effect", sa.Text(), nullable=True),
        sa.Column("target_id", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("object_id", sa.BigInteger(), nullable=True),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint(
            "outcome IN ('made', 'already', 'not_found', 'not_allowed', 'read', 'refused', 'ended')",
            name=op.f("actions_outcome_check"),
        ),
        sa.ForeignKeyConstraint(["turn_id", "step"], ["calls.turn_id", "calls.step"], name="actions_turn_id_step_fkey"),
        sa.PrimaryKeyConstraint("turn_id", "step", "ordinal", name=op.f("actions_pkey")),
    )
    op.create_index(
        "actions_object_idx", "actions", ["effect", "object_id"], unique=False, postgresql_where="outcome = 'made'"
    )
    op.execute(FEED_POSTS)
    op.execute("INSERT INTO instance DEFAULT VALUES")


def downgrade() -> None:
    op.execute("DROP VIEW feed_posts")
    op.drop_index("actions_object_idx", table_name="actions", postgresql_where="outcome = 'made'")
    op.drop_table("actions")
    op.drop_index(op.f("reports_reporter_id_idx"), table_name="reports")
    op.drop_index("reports_post_id_reporter_id_key", table_name="reports")
    op.drop_table("reports")
    op.drop_index("post_counts_top_idx", table_name="post_counts")
    op.drop_index("post_counts_hot_idx", table_name="post_counts")
    op.drop_index("post_counts_discussed_idx", table_name="post_counts")
    op.drop_table("post_counts")
    op.drop_index("likes_post_id_persona_id_key", table_name="likes")
    op.drop_index("likes_persona_id_idx", table_name="likes")
    op.drop_table("likes")
    op.drop_table("exposures")
    op.drop_index("comments_post_id_idx", table_name="comments")
    op.drop_index("comments_author_id_idx", table_name="comments")
    op.drop_table("comments")
    op.drop_table("calls")
    op.drop_index("turns_run_id_persona_id_key", table_name="turns")
    op.drop_index("turns_persona_id_idx", table_name="turns")
    op.drop_index("turns_open_idx", table_name="turns", postgresql_where="state IN ('queued', 'running')")
    op.drop_table("turns")
    op.drop_index("posts_search_idx", table_name="posts", postgresql_using="gin")
    op.drop_index(op.f("posts_repost_of_idx"), table_name="posts")
    op.drop_index("posts_repost_key", table_name="posts", postgresql_where="repost_of IS NOT NULL")
    op.drop_index("posts_author_id_idx", table_name="posts")
    op.drop_table("posts")
    op.drop_index(op.f("mutes_muted_id_idx"), table_name="mutes")
    op.drop_table("mutes")
    op.drop_index("follows_follower_idx", table_name="follows")
    op.drop_index("follows_follower_followed_key", table_name="follows")
    op.drop_index("follows_followed_idx", table_name="follows")
    op.drop_table("follows")
    op.drop_table("audit")
    op.drop_index(op.f("admin_sessions_expires_at_idx"), table_name="admin_sessions")
    op.drop_index(op.f("admin_sessions_admin_id_idx"), table_name="admin_sessions")
    op.drop_table("admin_sessions")
    op.drop_table("admin_invitations")
    op.drop_table("runs")
    op.drop_table("prompt_texts")
    op.drop_index("personas_username_key", table_name="personas", postgresql_where="status <> 'departed'")
    op.drop_table("personas")
    op.drop_table("login_attempts")
    op.drop_table("instance")
    op.drop_index("admin_username_key", table_name="admin")
    op.drop_index("admin_email_key", table_name="admin")
    op.drop_table("admin")
