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
    """A member. A departed one keeps its history; its username is free again."""

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


class Post(Base):
    """What was said. What changes lies in `post_counts`, so that a like touches no index of posts.

    Only a quarantine updates a row: lists by time ask `hidden` here, rankings ask it of `post_counts`.
    """

    __tablename__ = "posts"
    __table_args__ = (
        CheckConstraint("char_length(body) <= 500", name="body"),
        CheckConstraint("(body <> '') <> (repost_of IS NOT NULL)", name="post_or_repost"),
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
    created_at: Mapped[Created]
    hot: Mapped[float] = mapped_column(Computed(HOT, persisted=True))
    hidden: Mapped[Hidden]


class Comment(Base):
    __tablename__ = "comments"
    __table_args__ = (
        CheckConstraint("char_length(body) BETWEEN 1 AND 1000", name="body"),
        Index("comments_post_id_idx", "post_id", text("id DESC")),
        Index("comments_author_id_idx", "author_id", text("id DESC")),
    )

    id: Mapped[Key]
    post_id: Mapped[Big] = mapped_column(ForeignKey("posts.id"))
    author_id: Mapped[Big] = mapped_column(ForeignKey("personas.id"))
    body: Mapped[str] = mapped_column(Text)
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
    """`persona_id` no longer sees what `muted_id` writes."""

    __tablename__ = "mutes"
    __table_args__ = (CheckConstraint("persona_id <> muted_id", name="not_self"),)

    persona_id: Mapped[Big] = mapped_column(ForeignKey("personas.id"), primary_key=True)
    muted_id: Mapped[Big] = mapped_column(ForeignKey("personas.id"), primary_key=True, index=True)
    created_at: Mapped[Created]


class Report(Base):
    __tablename__ = "reports"
    __table_args__ = (Index("reports_post_id_reporter_id_key", "post_id", "reporter_id", unique=True),)

    id: Mapped[Key]
    post_id: Mapped[Big] = mapped_column(ForeignKey("posts.id"))
    reporter_id: Mapped[Big] = mapped_column(ForeignKey("personas.id"), index=True)
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[Created]


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


class Event(Base):
    """Something that happened, as listeners are told of it: by its id, never given twice, in about its order."""

    __tablename__ = "events"
    __table_args__ = (CheckConstraint("kind IN ('post', 'comment', 'like', 'follow', 'run')", name="kind"),)

    id: Mapped[Key]
    kind: Mapped[str] = mapped_column(Text)
    object_id: Mapped[Big]
    persona_id: Mapped[Big | None]
    target_id: Mapped[Big | None]
    detail: Mapped[str] = mapped_column(Text, server_default="")
    created_at: Mapped[Created]
