"""The network: personas and what they have made."""

from typing import Annotated

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    SmallInteger,
    Text,
    false,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Big, Count, Created, Key, Time

HOT = (
    "log(greatest(likes_count + 2 * comments_count, 1)::numeric)::double precision"
    " + extract(epoch from (created_at at time zone 'UTC'))::double precision / 45000"
)
"""Reddit's published ranking: tenfold votes weigh as much as 12.5 hours (45,000 s) of youth."""

Hidden = Annotated[bool, mapped_column(server_default=false())]
"""Whether a quarantine in force hides it: `sql/moderation.sql` keeps it, and feed reads ask nothing else."""


class Persona(Base):
    """A member. A departed one keeps its history; its username is free again.

    One that an intervention paused, and no admin since, has that as `paused_by`.
    """

    __tablename__ = "personas"
    __table_args__ = (
        CheckConstraint("status IN ('active', 'paused', 'departed', 'cast')", name="status"),
        CheckConstraint("activity BETWEEN 0 AND 1", name="activity"),
        CheckConstraint("temperature BETWEEN 0 AND 2", name="temperature"),
        Index(
            "personas_username_key",
            text("lower(username)"),
            unique=True,
            postgresql_where="status IN ('active', 'paused')",
        ),
        {"postgresql_with": {"fillfactor": 80}},
    )

    id: Mapped[Key]
    username: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    bio: Mapped[str] = mapped_column(Text, server_default="")
    profile: Mapped[dict[str, object]] = mapped_column(JSONB, server_default="{}")
    model: Mapped[str | None] = mapped_column(Text)
    temperature: Mapped[float | None]
    activity: Mapped[float] = mapped_column(server_default="1")
    status: Mapped[str] = mapped_column(Text, server_default="active")
    posts_count: Mapped[Count]
    comments_count: Mapped[Count]
    followers_count: Mapped[Count]
    following_count: Mapped[Count]
    created_at: Mapped[Created]
    departed_at: Mapped[Time | None]
    paused_by: Mapped[Big | None] = mapped_column(ForeignKey("interventions.id"))


class Post(Base):
    """What was said. What changes lies in `post_counts`, so that a like touches no index of posts.

    Only a quarantine updates a row: lists by time ask `hidden` here, rankings ask it of `post_counts`.
    """

    __tablename__ = "posts"
    __table_args__ = (
        CheckConstraint("char_length(body) <= 500", name="body"),
        CheckConstraint("(body <> '') <> (repost_of IS NOT NULL)", name="post_or_repost"),
        CheckConstraint("num_nonnulls(repost_of, quote_of) <= 1", name="quote_or_repost"),
        Index("posts_quote_of_idx", "quote_of", text("id DESC"), postgresql_where="quote_of IS NOT NULL"),
        Index("posts_author_id_idx", "author_id", text("id DESC"), postgresql_include=["hidden"]),
        Index("posts_seen_idx", text("id DESC"), postgresql_where="NOT hidden"),
        Index("posts_repost_key", "author_id", "repost_of", unique=True, postgresql_where="repost_of IS NOT NULL"),
        Index("posts_search_idx", "search", postgresql_using="gin"),
    )

    id: Mapped[Key]
    author_id: Mapped[Big] = mapped_column(ForeignKey("personas.id"))
    title: Mapped[str | None] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    repost_of: Mapped[Big | None] = mapped_column(ForeignKey("posts.id"), index=True)
    quote_of: Mapped[Big | None] = mapped_column(ForeignKey("posts.id"))
    created_at: Mapped[Created]
    search: Mapped[str] = mapped_column(
        TSVECTOR, Computed("to_tsvector('simple', coalesce(title, '') || ' ' || body)", persisted=True)
    )
    hidden: Mapped[Hidden]


class PostCount(Base):
    """A post's counters, and the rankings made of them."""

    __tablename__ = "post_counts"
    __table_args__ = (
        CheckConstraint("likes_count >= 0 AND comments_count >= 0 AND reposts_count >= 0", name="not_negative"),
        CheckConstraint("quotes_count >= 0 AND dislikes_count >= 0", name="not_negative_either"),
        Index("post_counts_top_idx", text("likes_count DESC"), text("post_id DESC"), postgresql_where="NOT hidden"),
        Index(
            "post_counts_discussed_idx",
            text("comments_count DESC"),
            text("post_id DESC"),
            postgresql_where="NOT hidden",
        ),
        Index("post_counts_hot_idx", text("hot DESC"), text("post_id DESC"), postgresql_where="NOT hidden"),
        {"postgresql_with": {"fillfactor": 80}},
    )

    post_id: Mapped[Big] = mapped_column(ForeignKey("posts.id"), primary_key=True, autoincrement=False)
    likes_count: Mapped[Count]
    comments_count: Mapped[Count]
    reposts_count: Mapped[Count]
    quotes_count: Mapped[Count]
    dislikes_count: Mapped[Count]
    created_at: Mapped[Created]
    hot: Mapped[float] = mapped_column(Computed(HOT, persisted=True))
    hidden: Mapped[Hidden]


class Comment(Base):
    """An answer to a post, or to the comment `parent_id` on the same post."""

    __tablename__ = "comments"
    __table_args__ = (
        CheckConstraint("char_length(body) BETWEEN 1 AND 1000", name="body"),
        Index("comments_post_id_idx", "post_id", text("id DESC")),
        Index("comments_author_id_idx", "author_id", text("id DESC")),
        Index("comments_parent_id_idx", "parent_id", "id", postgresql_where="parent_id IS NOT NULL"),
        CheckConstraint("likes_count >= 0", name="not_negative"),
    )

    id: Mapped[Key]
    post_id: Mapped[Big] = mapped_column(ForeignKey("posts.id"))
    author_id: Mapped[Big] = mapped_column(ForeignKey("personas.id"))
    body: Mapped[str] = mapped_column(Text)
    parent_id: Mapped[Big | None] = mapped_column(ForeignKey("comments.id"))
    likes_count: Mapped[Count]
    created_at: Mapped[Created]
    hidden: Mapped[Hidden]


class Like(Base):
    __tablename__ = "likes"
    __table_args__ = (
        Index("likes_post_id_persona_id_key", "post_id", "persona_id", unique=True),
        Index("likes_persona_id_idx", "persona_id", text("id DESC")),
    )

    id: Mapped[Key]
    post_id: Mapped[Big] = mapped_column(ForeignKey("posts.id"))
    persona_id: Mapped[Big] = mapped_column(ForeignKey("personas.id"))
    created_at: Mapped[Created]


class Reaction(Base):
    """A feeling about a post that is not a like of it, or a like of a comment; at most one of a persona for a thing."""

    __tablename__ = "reactions"
    __table_args__ = (
        CheckConstraint("num_nonnulls(post_id, comment_id) = 1", name="one_thing"),
        CheckConstraint("kind IN ('like', 'dislike', 'love', 'laugh', 'sad', 'angry')", name="kind"),
        CheckConstraint("(kind = 'like') = (comment_id IS NOT NULL)", name="likes_of_comments"),
        Index(
            "reactions_post_id_persona_id_key",
            "post_id",
            "persona_id",
            unique=True,
            postgresql_where="post_id IS NOT NULL",
        ),
        Index(
            "reactions_comment_id_persona_id_key",
            "comment_id",
            "persona_id",
            unique=True,
            postgresql_where="comment_id IS NOT NULL",
        ),
        Index("reactions_persona_id_idx", "persona_id", text("id DESC")),
    )

    id: Mapped[Key]
    post_id: Mapped[Big | None] = mapped_column(ForeignKey("posts.id"))
    comment_id: Mapped[Big | None] = mapped_column(ForeignKey("comments.id"))
    persona_id: Mapped[Big] = mapped_column(ForeignKey("personas.id"))
    kind: Mapped[str] = mapped_column(Text)
    created_at: Mapped[Created]


class Follow(Base):
    """`follower` follows `followed`."""

    __tablename__ = "follows"
    __table_args__ = (
        CheckConstraint("follower <> followed", name="not_self"),
        Index("follows_follower_followed_key", "follower", "followed", unique=True),
        Index("follows_followed_idx", "followed", text("id DESC")),
        Index("follows_follower_idx", "follower", text("id DESC")),
    )

    id: Mapped[Key]
    follower: Mapped[Big] = mapped_column(ForeignKey("personas.id"))
    followed: Mapped[Big] = mapped_column(ForeignKey("personas.id"))
    created_at: Mapped[Created]


class Mute(Base):
    """`persona_id` no longer sees what `muted_id` writes; where it is a `block`, nor the other way round."""

    __tablename__ = "mutes"
    __table_args__ = (CheckConstraint("persona_id <> muted_id", name="not_self"),)

    persona_id: Mapped[Big] = mapped_column(ForeignKey("personas.id"), primary_key=True)
    muted_id: Mapped[Big] = mapped_column(ForeignKey("personas.id"), primary_key=True, index=True)
    block: Mapped[bool] = mapped_column(server_default=false())
    created_at: Mapped[Created]


class Report(Base):
    """A member's complaint about a post, open until an admin has closed it with a verdict."""

    __tablename__ = "reports"
    __table_args__ = (
        Index("reports_post_id_reporter_id_key", "post_id", "reporter_id", unique=True),
        Index("reports_open_idx", "id", postgresql_where="closed_at IS NULL"),
        CheckConstraint("verdict IN ('dismissed', 'hidden')", name="verdict"),
        CheckConstraint("(verdict IS NULL) = (closed_at IS NULL)", name="closed"),
    )

    id: Mapped[Key]
    post_id: Mapped[Big] = mapped_column(ForeignKey("posts.id"))
    reporter_id: Mapped[Big] = mapped_column(ForeignKey("personas.id"), index=True)
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[Created]
    verdict: Mapped[str | None] = mapped_column(Text)
    closed_at: Mapped[Time | None]
    closed_by: Mapped[Big | None] = mapped_column(ForeignKey("admin.id"))


class Quarantine(Base):
    """A post (with its reposts) or a comment that nobody sees until `lifted_at`; what it took along has it as `cause`.

    Nothing is deleted, and at most one is in force for a thing. A repost can be taken alone.
    """

    __tablename__ = "quarantines"
    __table_args__ = (
        CheckConstraint("num_nonnulls(post_id, comment_id) = 1", name="one_thing"),
        CheckConstraint("taken_by IN ('admin', 'operator', 'guard')", name="taken_by"),
        Index(
            "quarantines_post_id_key",
            "post_id",
            unique=True,
            postgresql_where="lifted_at IS NULL AND post_id IS NOT NULL",
        ),
        Index(
            "quarantines_comment_id_key",
            "comment_id",
            unique=True,
            postgresql_where="lifted_at IS NULL AND comment_id IS NOT NULL",
        ),
    )

    id: Mapped[Key]
    post_id: Mapped[Big | None] = mapped_column(ForeignKey("posts.id"))
    comment_id: Mapped[Big | None] = mapped_column(ForeignKey("comments.id"))
    cause: Mapped[Big | None] = mapped_column(ForeignKey("quarantines.id"))
    taken_by: Mapped[str] = mapped_column(Text)
    admin_id: Mapped[Big | None] = mapped_column(ForeignKey("admin.id"))
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[Created]
    lifted_at: Mapped[Time | None]
    lifted_by: Mapped[Big | None] = mapped_column(ForeignKey("admin.id"))
    lift_reason: Mapped[str] = mapped_column(Text, server_default="")


class Mark(Base):
    """A marked action, looked into at the end of its cycle: a near copy of `source`, or instructions that leaked.

    `origin` is the first text of the chain of copies, `generation` how many copies lie between. A copy whose source was
    not found has neither.
    """

    __tablename__ = "marks"
    __table_args__ = (
        ForeignKeyConstraint(
            ["turn_id", "step", "ordinal"],
            ["actions.turn_id", "actions.step", "actions.ordinal"],
            name="marks_turn_id_step_ordinal_fkey",
        ),
        CheckConstraint("mark IN ('copy', 'canary')", name="mark"),
        CheckConstraint("kind IN ('post', 'comment', 'bio')", name="kind"),
        Index("marks_object_idx", "kind", "object_id"),
        Index("marks_source_idx", "source_kind", "source_id"),
        Index("marks_origin_idx", "origin_kind", "origin_id"),
    )

    turn_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    ordinal: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    run_id: Mapped[Big] = mapped_column(ForeignKey("runs.id"))
    persona_id: Mapped[Big] = mapped_column(ForeignKey("personas.id"))
    mark: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    object_id: Mapped[Big]
    source_kind: Mapped[str | None] = mapped_column(Text)
    source_id: Mapped[Big | None]
    similarity: Mapped[float | None]
    origin_kind: Mapped[str | None] = mapped_column(Text)
    origin_id: Mapped[Big | None]
    generation: Mapped[int | None]
    created_at: Mapped[Created]


class News(Base):
    """What an admin, a feed file or an intervention has told the world, from `published_at` in the world's time on."""

    __tablename__ = "news"
    __table_args__ = (
        CheckConstraint("char_length(title) BETWEEN 1 AND 200", name="title"),
        CheckConstraint("char_length(body) <= 2000", name="body"),
        CheckConstraint("char_length(source) <= 100", name="source"),
        CheckConstraint("char_length(url) <= 2000", name="url"),
        CheckConstraint("char_length(guid) <= 2000", name="guid"),
        Index("news_url_key", "url", unique=True),
        Index("news_guid_key", "guid", unique=True),
        Index("news_published_idx", text("published_at DESC"), text("id DESC")),
    )

    id: Mapped[Key]
    title: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text, server_default="")
    source: Mapped[str] = mapped_column(Text, server_default="")
    url: Mapped[str | None] = mapped_column(Text)
    guid: Mapped[str | None] = mapped_column(Text)
    published_at: Mapped[Created]
    created_at: Mapped[Created]
    created_by: Mapped[Big | None] = mapped_column(ForeignKey("admin.id"))
    withdrawn_at: Mapped[Time | None]


class Intervention(Base):
    """A change to the world that was planned, for a cycle (counted over the world's life) or a time in the world.

    `detail` holds what the kind needs, `outcome` what came of it in which run.
    """

    __tablename__ = "interventions"
    __table_args__ = (
        CheckConstraint("num_nonnulls(cycle, at) = 1", name="cycle_or_time"),
        CheckConstraint("cycle > 0", name="cycle"),
        CheckConstraint("kind IN ('post', 'message', 'ranker', 'pause', 'resume', 'news')", name="kind"),
        CheckConstraint("state IN ('planned', 'done', 'failed', 'cancelled')", name="state"),
        Index("interventions_planned_idx", "id", postgresql_where="state = 'planned'"),
        Index("interventions_run_id_idx", "run_id"),
    )

    id: Mapped[Key]
    kind: Mapped[str] = mapped_column(Text)
    cycle: Mapped[int | None]
    at: Mapped[Time | None]
    detail: Mapped[dict[str, object]] = mapped_column(JSONB, server_default="{}")
    note: Mapped[str] = mapped_column(Text, server_default="")
    state: Mapped[str] = mapped_column(Text, server_default="planned")
    run_id: Mapped[Big | None] = mapped_column(ForeignKey("runs.id"))
    outcome: Mapped[dict[str, object]] = mapped_column(JSONB, server_default="{}")
    created_at: Mapped[Created]
    created_by: Mapped[Big | None] = mapped_column(ForeignKey("admin.id"))
    done_at: Mapped[Time | None]


class Event(Base):
    """Something that happened, as listeners are told of it: by its id, never given twice, in about its order."""

    __tablename__ = "events"
    __table_args__ = (CheckConstraint("kind IN ('post', 'comment', 'like', 'follow', 'run', 'news')", name="kind"),)

    id: Mapped[Key]
    kind: Mapped[str] = mapped_column(Text)
    object_id: Mapped[Big]
    persona_id: Mapped[Big | None]
    target_id: Mapped[Big | None]
    detail: Mapped[str] = mapped_column(Text, server_default="")
    created_at: Mapped[Created]
