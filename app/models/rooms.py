"""Chatrooms: members, messages, and the order in which everything was told."""

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, SmallInteger, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Big, Count, Created, Key, Time


class Room(Base):
    """A timed room, which is a run: its turns are the agents' goes.

    `key` names it on the wire and in logs. Whoever holds the lease drives it, in the `epoch` that fences all it does.
    `ends_at` is set when the clock starts. Whoever holds the person's socket moves `grace_until` on; `visits` counts
    connections, of which the newest is heard. An ending room takes nothing more and waits for calls under way.
    Since `erased_at` it is a frame without words: its person is erased.
    """

    __tablename__ = "rooms"
    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'running', 'ending', 'ended')", name="state"),
        Index("rooms_open_idx", "lease_until", postgresql_where="state <> 'ended'"),
        Index("rooms_study_id_idx", "study_id", "id"),
    )

    id: Mapped[Key]
    key: Mapped[str] = mapped_column(Text, unique=True)
    run_id: Mapped[Big] = mapped_column(ForeignKey("runs.id"), unique=True)
    study_id: Mapped[Big | None] = mapped_column(ForeignKey("studies.id"))
    participant_id: Mapped[Big | None] = mapped_column(ForeignKey("participants.id"), unique=True)
    arm: Mapped[str] = mapped_column(Text, server_default="")
    seed: Mapped[Big]
    pace: Mapped[dict[str, object]] = mapped_column(JSONB)
    state: Mapped[str] = mapped_column(Text, server_default="waiting")
    end_reason: Mapped[str | None] = mapped_column(Text)
    messages_count: Mapped[Count]
    events_count: Mapped[Count]
    epoch: Mapped[Count]
    lease_until: Mapped[Time | None]
    grace_until: Mapped[Time | None]
    visits: Mapped[Count]
    paused_at: Mapped[Time | None]
    created_at: Mapped[Created]
    started_at: Mapped[Time | None]
    ends_at: Mapped[Time | None]
    ended_at: Mapped[Time | None]
    erased_at: Mapped[Time | None]


class RoomMember(Base):
    """Who is in a room: the person has the ordinal 0, agents those from 1. `told_up_to` is an event's position."""

    __tablename__ = "room_members"
    __table_args__ = (UniqueConstraint("room_id", "name"),)

    room_id: Mapped[Big] = mapped_column(ForeignKey("rooms.id"), primary_key=True, autoincrement=False)
    ordinal: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    persona_id: Mapped[Big | None] = mapped_column(ForeignKey("personas.id"))
    name: Mapped[str] = mapped_column(Text)
    told_up_to: Mapped[Count]


class RoomMessage(Base):
    """One message; `number` counts a room's messages from 1 without a gap. `member` and `mentions` are ordinals."""

    __tablename__ = "room_messages"
    __table_args__ = (
        ForeignKeyConstraint(["room_id", "member"], ["room_members.room_id", "room_members.ordinal"]),
        UniqueConstraint("room_id", "client_id"),
    )

    room_id: Mapped[Big] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    key: Mapped[str] = mapped_column(Text, unique=True)
    member: Mapped[int] = mapped_column(SmallInteger)
    body: Mapped[str] = mapped_column(Text)
    reply_to: Mapped[int | None]
    quoted_text: Mapped[str | None] = mapped_column(Text)
    mentions: Mapped[list[int]] = mapped_column(ARRAY(SmallInteger), server_default="{}")
    client_id: Mapped[str | None] = mapped_column(Text)
    turn_id: Mapped[Big | None] = mapped_column(ForeignKey("turns.id"))
    at: Mapped[Created]


class RoomGo(Base):
    """Why an agent has a turn: by itself, or for what the person wrote as message `number`."""

    __tablename__ = "room_goes"
    __table_args__ = (
        CheckConstraint("cause IN ('background', 'answer', 'addressed')", name="cause"),
        ForeignKeyConstraint(["room_id", "member"], ["room_members.room_id", "room_members.ordinal"]),
        UniqueConstraint("room_id", "plan"),
    )

    turn_id: Mapped[Big] = mapped_column(ForeignKey("turns.id"), primary_key=True, autoincrement=False)
    room_id: Mapped[Big]
    member: Mapped[int] = mapped_column(SmallInteger)
    cause: Mapped[str] = mapped_column(Text)
    number: Mapped[int | None]
    plan: Mapped[str] = mapped_column(Text)
    """What may happen only once: `tick/N`, `answer/NUMBER`, `answer/NUMBER/MEMBER`."""


class RoomDraft(Base):
    """What an agent has written and is still typing, or wants to like; told when its time comes, or discarded."""

    __tablename__ = "room_drafts"
    __table_args__ = (
        CheckConstraint("kind IN ('say', 'like_message')", name="kind"),
        CheckConstraint("state IN ('typing', 'sent', 'discarded')", name="state"),
        ForeignKeyConstraint(["room_id", "member"], ["room_members.room_id", "room_members.ordinal"]),
        Index("room_drafts_typing_idx", "room_id", "id", postgresql_where="state = 'typing'"),
    )

    id: Mapped[Key]
    room_id: Mapped[Big]
    member: Mapped[int] = mapped_column(SmallInteger)
    turn_id: Mapped[Big] = mapped_column(ForeignKey("turns.id"))
    kind: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    reply_to: Mapped[int | None]
    state: Mapped[str] = mapped_column(Text, server_default="typing")
    reason: Mapped[str | None] = mapped_column(Text)
    made_at: Mapped[Created]
    settled_at: Mapped[Time | None]


class RoomReaction(Base):
    """A like or a report of a message by a member."""

    __tablename__ = "room_reactions"
    __table_args__ = (
        CheckConstraint("kind IN ('like', 'report')", name="kind"),
        ForeignKeyConstraint(["room_id", "number"], ["room_messages.room_id", "room_messages.number"]),
    )

    room_id: Mapped[Big] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    member: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    reason: Mapped[str] = mapped_column(Text, server_default="")
    at: Mapped[Created]


class RoomBlock(Base):
    """Whose messages a member doesn't get any more."""

    __tablename__ = "room_blocks"
    __table_args__ = (ForeignKeyConstraint(["room_id", "blocked"], ["room_members.room_id", "room_members.ordinal"]),)

    room_id: Mapped[Big] = mapped_column(primary_key=True, autoincrement=False)
    member: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    blocked: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    at: Mapped[Created]


class RoomEvent(Base):
    """All that a room's members are told, in its order: `position` counts from 1 without a gap."""

    __tablename__ = "room_events"

    room_id: Mapped[Big] = mapped_column(ForeignKey("rooms.id"), primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(Text)
    number: Mapped[int | None]
    member: Mapped[int | None] = mapped_column(SmallInteger)
    detail: Mapped[dict[str, object]] = mapped_column(JSONB, server_default="{}")
    at: Mapped[Created]
