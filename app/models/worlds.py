"""The worlds there are, as the home world knows them."""

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Big, Created, Key, Time


class WorldEntry(Base):
    """A world beside the home world: a database on the same server.

    A `fork` goes on by itself, a `checkpoint` stays as it is, one `made` began empty. `source` is the world it was
    copied from (null: the home world), `run_id` the newest run in it then. A dropped one keeps its row.
    """

    __tablename__ = "worlds"
    __table_args__ = (
        CheckConstraint("kind IN ('fork', 'checkpoint', 'made')", name="kind"),
        CheckConstraint("state IN ('making', 'ready', 'dropping', 'dropped')", name="state"),
        Index("worlds_name_key", text("lower(name)"), unique=True, postgresql_where="state <> 'dropped'"),
    )

    id: Mapped[Key]
    name: Mapped[str] = mapped_column(Text)
    database: Mapped[str] = mapped_column(Text, unique=True)
    kind: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, server_default="making")
    source: Mapped[Big | None] = mapped_column(ForeignKey("worlds.id"))
    run_id: Mapped[Big | None]
    note: Mapped[str] = mapped_column(Text, server_default="")
    created_by: Mapped[Big | None] = mapped_column(ForeignKey("admin.id"))
    created_at: Mapped[Created]
    dropped_at: Mapped[Time | None]
