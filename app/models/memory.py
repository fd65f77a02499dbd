"""What personas remember."""

from sqlalchemy import BigInteger, CheckConstraint, Computed, ForeignKey, Index, Integer, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, REAL, TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Big, Count, Created, Key, Time


class Memory(Base):
    """One thing that a persona remembers, and where it came from.

    `did`: an act of its own; `done_to`: what `about` did to it; `bond`: how it stands with `about`; `reflection`: what
    it made of the memories `sources`; `given`: put there by an admin or a study. `object_kind` and `object_id` name the
    act and what it is about (a post, a comment, a member, a room), `turn_id` and `run_id` where it happened. One that a
    reflection holds has it as `folded_into`. `importance` is from 0 to 1; `at` is the world's time. `counts` is of a
    bond: how often the persona turned to the other, the other to it, what weighs for and what against (docs/memory.md).
    `embedding` is there where a model makes them.
    """

    __tablename__ = "memories"
    __table_args__ = (
        CheckConstraint("kind IN ('did', 'done_to', 'bond', 'reflection', 'given')", name="kind"),
        CheckConstraint("importance BETWEEN 0 AND 1", name="importance"),
        CheckConstraint("char_length(body) BETWEEN 1 AND 1000", name="body"),
        Index("memories_persona_id_idx", "persona_id", text("at DESC"), text("id DESC")),
        Index("memories_live_idx", "persona_id", postgresql_where="folded_into IS NULL"),
        Index(
            "memories_source_key",
            "persona_id",
            "kind",
            "object_kind",
            "object_id",
            "run_id",
            unique=True,
            postgresql_where="kind IN ('did', 'done_to')",
        ),
        Index(
            "memories_bond_key",
            "persona_id",
            "about",
            "run_id",
            unique=True,
            postgresql_where="kind = 'bond'",
            postgresql_nulls_not_distinct=True,
        ),
        Index("memories_search_idx", "search", postgresql_using="gin"),
    )

    id: Mapped[Key]
    persona_id: Mapped[Big] = mapped_column(ForeignKey("personas.id"))
    kind: Mapped[str] = mapped_column(Text)
    about: Mapped[Big | None] = mapped_column(ForeignKey("personas.id"), index=True)
    body: Mapped[str] = mapped_column(Text)
    importance: Mapped[float] = mapped_column(REAL, server_default="0.5")
    venue: Mapped[str] = mapped_column(Text, server_default="feed")
    run_id: Mapped[Big | None] = mapped_column(ForeignKey("runs.id"), index=True)
    turn_id: Mapped[Big | None] = mapped_column(ForeignKey("turns.id"))
    object_kind: Mapped[str | None] = mapped_column(Text)
    object_id: Mapped[Big | None]
    sources: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default="{}")
    counts: Mapped[list[int]] = mapped_column(ARRAY(Integer), server_default="{}")
    folded_into: Mapped[Big | None] = mapped_column(ForeignKey("memories.id"), index=True)
    at: Mapped[Created]
    recalled_at: Mapped[Time | None]
    recalls: Mapped[Count]
    embedding: Mapped[list[float] | None] = mapped_column(ARRAY(REAL))
    search: Mapped[str] = mapped_column(TSVECTOR, Computed("to_tsvector('simple', body)", persisted=True))
