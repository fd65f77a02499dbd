"""studies with people, and the rooms they meet personas in."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

PLAYED = (
    "CREATE TEMPORARY TABLE played ON COMMIT DROP AS"
    " SELECT t.id FROM turns t JOIN runs r ON r.id = t.run_id WHERE r.venue = 'chatroom'",
    "DELETE FROM exposures WHERE turn_id IN (SELECT id FROM played)",
    "DELETE FROM actions WHERE turn_id IN (SELECT id FROM played)",
    "DELETE FROM calls WHERE turn_id IN (SELECT id FROM played)",
    "DELETE FROM turns WHERE id IN (SELECT id FROM played)",
)
"""The turns of rooms are not one a persona, as the schema before asks: they go with their rooms."""


def upgrade() -> None:
    op.create_table(
        "studies",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="draft", nullable=False),
        sa.Column("consent", sa.Text(), nullable=False),
        sa.Column("design", JSONB(), nullable=False),
        sa.Column("design_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("consent IN ('page', 'external')", name=op.f("studies_consent_check")),
        sa.CheckConstraint("state IN ('draft', 'open', 'paused', 'closed')", name=op.f("studies_state_check")),
        sa.ForeignKeyConstraint(["created_by"], ["admin.id"], name=op.f("studies_created_by_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("studies_pkey")),
    )
    op.create_index("studies_name_key", "studies", [sa.literal_column("lower(name)")], unique=True)
    op.create_table(
        "study_assigned",
        sa.Column("study_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("stratum", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("study_assigned_study_id_fkey")),
        sa.PrimaryKeyConstraint("study_id", "stratum", name=op.f("study_assigned_pkey")),
    )
    op.create_table(
        "study_members",
        sa.Column("study_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("persona_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["persona_id"], ["personas.id"], name=op.f("study_members_persona_id_fkey")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("study_members_study_id_fkey")),
        sa.PrimaryKeyConstraint("study_id", "ordinal", name=op.f("study_members_pkey")),
        sa.UniqueConstraint("study_id", "name", name=op.f("study_members_study_id_name_key")),
    )
    op.create_table(
        "study_tokens",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=True),
        sa.Column("label", sa.Text(), server_default="", nullable=False),
        sa.Column("own", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("redeemed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("study_tokens_study_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("study_tokens_pkey")),
    )
    op.create_index(
        "study_tokens_sha256_key", "study_tokens", ["sha256"], unique=True, postgresql_where="revoked_at IS NULL"
    )
    op.create_index("study_tokens_study_id_idx", "study_tokens", ["study_id", "id"], unique=False)
    op.create_table(
        "participants",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("token_id", sa.BigInteger(), nullable=False),
        sa.Column("pseudonym", sa.Text(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("stratum", sa.Text(), server_default="", nullable=False),
        sa.Column("place", sa.Integer(), nullable=True),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="active", nullable=False),
        sa.Column("end_reason", sa.Text(), nullable=True),
        sa.Column("kept", sa.Text(), server_default="erase", nullable=False),
        sa.Column("consent_sha256", sa.LargeBinary(), nullable=True),
        sa.Column("consented_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=True),
        sa.Column("receipt_sha256", sa.LargeBinary(), nullable=True),
        sa.Column("completion_code", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("stage_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("debriefed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kept IN ('erase', 'anonymised')", name=op.f("participants_kept_check")),
        sa.CheckConstraint(
            "stage IN ('intake', 'chat', 'closing', 'debrief', 'done')", name=op.f("participants_stage_check")
        ),
        sa.CheckConstraint(
            "state IN ('active', 'finished', 'withdrawn', 'dropped_out', 'removed', 'failed')",
            name=op.f("participants_state_check"),
        ),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("participants_study_id_fkey")),
        sa.ForeignKeyConstraint(["token_id"], ["study_tokens.id"], name=op.f("participants_token_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("participants_pkey")),
        sa.UniqueConstraint("study_id", "pseudonym", name=op.f("participants_study_id_pseudonym_key")),
        sa.UniqueConstraint("token_id", name=op.f("participants_token_id_key")),
    )
    op.create_index("participants_receipt_key", "participants", ["receipt_sha256"], unique=True)
    op.create_index("participants_secret_key", "participants", ["secret_sha256"], unique=True)
    op.create_table(
        "answers",
        sa.Column("participant_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("value", JSONB(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("stage IN ('intake', 'closing')", name=op.f("answers_stage_check")),
        sa.ForeignKeyConstraint(["participant_id"], ["participants.id"], name=op.f("answers_participant_id_fkey")),
        sa.PrimaryKeyConstraint("participant_id", "stage", "question", name=op.f("answers_pkey")),
    )
    op.create_table(
        "identities",
        sa.Column("participant_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("username", sa.Text(), nullable=True),
        sa.Column("params", JSONB(), server_default="{}", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["participant_id"], ["participants.id"], name=op.f("identities_participant_id_fkey")),
        sa.PrimaryKeyConstraint("participant_id", name=op.f("identities_pkey")),
    )
    op.create_table(
        "rooms",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=True),
        sa.Column("participant_id", sa.BigInteger(), nullable=True),
        sa.Column("arm", sa.Text(), server_default="", nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("pace", JSONB(), nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("end_reason", sa.Text(), nullable=True),
        sa.Column("messages_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("events_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("grace_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("visits", sa.Integer(), server_default="0", nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('waiting', 'running', 'ending', 'ended')", name=op.f("rooms_state_check")),
        sa.ForeignKeyConstraint(["participant_id"], ["participants.id"], name=op.f("rooms_participant_id_fkey")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("rooms_run_id_fkey")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("rooms_study_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("rooms_pkey")),
        sa.UniqueConstraint("key", name=op.f("rooms_key_key")),
        sa.UniqueConstraint("participant_id", name=op.f("rooms_participant_id_key")),
        sa.UniqueConstraint("run_id", name=op.f("rooms_run_id_key")),
    )
    op.create_index("rooms_open_idx", "rooms", ["lease_until"], unique=False, postgresql_where="state <> 'ended'")
    op.create_index("rooms_study_id_idx", "rooms", ["study_id", "id"], unique=False)
    op.create_table(
        "room_events",
        sa.Column("room_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("member", sa.SmallInteger(), nullable=True),
        sa.Column("detail", JSONB(), server_default="{}", nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["room_id"], ["rooms.id"], name=op.f("room_events_room_id_fkey")),
        sa.PrimaryKeyConstraint("room_id", "position", name=op.f("room_events_pkey")),
    )
    op.create_table(
        "room_members",
        sa.Column("room_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ordinal", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("persona_id", sa.BigInteger(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("told_up_to", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["persona_id"], ["personas.id"], name=op.f("room_members_persona_id_fkey")),
        sa.ForeignKeyConstraint(["room_id"], ["rooms.id"], name=op.f("room_members_room_id_fkey")),
        sa.PrimaryKeyConstraint("room_id", "ordinal", name=op.f("room_members_pkey")),
        sa.UniqueConstraint("room_id", "name", name=op.f("room_members_room_id_name_key")),
    )
    op.create_table(
        "room_blocks",
        sa.Column("room_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("member", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("blocked", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["room_id", "blocked"],
            ["room_members.room_id", "room_members.ordinal"],
            name=op.f("room_blocks_room_id_blocked_fkey"),
        ),
        sa.PrimaryKeyConstraint("room_id", "member", "blocked", name=op.f("room_blocks_pkey")),
    )
    op.create_table(
        "room_drafts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("room_id", sa.BigInteger(), nullable=False),
        sa.Column("member", sa.SmallInteger(), nullable=False),
        sa.Column("turn_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("reply_to", sa.Integer(), nullable=True),
        sa.Column("state", sa.Text(), server_default="typing", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("made_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('say', 'like_message')", name=op.f("room_drafts_kind_check")),
        sa.CheckConstraint("state IN ('typing', 'sent', 'discarded')", name=op.f("room_drafts_state_check")),
        sa.ForeignKeyConstraint(
            ["room_id", "member"],
            ["room_members.room_id", "room_members.ordinal"],
            name=op.f("room_drafts_room_id_member_fkey"),
        ),
        sa.ForeignKeyConstraint(["turn_id"], ["turns.id"], name=op.f("room_drafts_turn_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("room_drafts_pkey")),
    )
    op.create_index(
        "room_drafts_typing_idx", "room_drafts", ["room_id", "id"], unique=False, postgresql_where="state = 'typing'"
    )
    op.create_table(
        "room_goes",
        sa.Column("turn_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("room_id", sa.BigInteger(), nullable=False),
        sa.Column("member", sa.SmallInteger(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.CheckConstraint("cause IN ('background', 'answer', 'addressed')", name=op.f("room_goes_cause_check")),
        sa.ForeignKeyConstraint(
            ["room_id", "member"],
            ["room_members.room_id", "room_members.ordinal"],
            name=op.f("room_goes_room_id_member_fkey"),
        ),
        sa.ForeignKeyConstraint(["turn_id"], ["turns.id"], name=op.f("room_goes_turn_id_fkey")),
        sa.PrimaryKeyConstraint("turn_id", name=op.f("room_goes_pkey")),
        sa.UniqueConstraint("room_id", "plan", name=op.f("room_goes_room_id_plan_key")),
    )
    op.create_table(
        "room_messages",
        sa.Column("room_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("member", sa.SmallInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("reply_to", sa.Integer(), nullable=True),
        sa.Column("quoted_text", sa.Text(), nullable=True),
        sa.Column("mentions", ARRAY(sa.SmallInteger()), server_default="{}", nullable=False),
        sa.Column("client_id", sa.Text(), nullable=True),
        sa.Column("turn_id", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["room_id", "member"],
            ["room_members.room_id", "room_members.ordinal"],
            name=op.f("room_messages_room_id_member_fkey"),
        ),
        sa.ForeignKeyConstraint(["turn_id"], ["turns.id"], name=op.f("room_messages_turn_id_fkey")),
        sa.PrimaryKeyConstraint("room_id", "number", name=op.f("room_messages_pkey")),
        sa.UniqueConstraint("key", name=op.f("room_messages_key_key")),
        sa.UniqueConstraint("room_id", "client_id", name=op.f("room_messages_room_id_client_id_key")),
    )
    op.create_table(
        "room_reactions",
        sa.Column("room_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("member", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind IN ('like', 'report')", name=op.f("room_reactions_kind_check")),
        sa.ForeignKeyConstraint(
            ["room_id", "number"],
            ["room_messages.room_id", "room_messages.number"],
            name=op.f("room_reactions_room_id_number_fkey"),
        ),
        sa.PrimaryKeyConstraint("room_id", "number", "member", "kind", name=op.f("room_reactions_pkey")),
    )
    op.add_column("turns", sa.Column("round", sa.Integer(), server_default="0", nullable=False))
    op.drop_index(op.f("turns_run_id_persona_id_key"), table_name="turns")
    op.create_index("turns_run_id_persona_id_round_key", "turns", ["run_id", "persona_id", "round"], unique=True)
    op.drop_constraint(op.f("personas_status_check"), "personas")
    op.create_check_constraint(
        op.f("personas_status_check"), "personas", "status IN ('active', 'paused', 'departed', 'cast')"
    )
    op.drop_index("personas_username_key", table_name="personas")
    op.create_index(
        "personas_username_key",
        "personas",
        [sa.literal_column("lower(username)")],
        unique=True,
        postgresql_where="status IN ('active', 'paused')",
    )


def downgrade() -> None:
    op.drop_table("room_reactions")
    op.drop_table("room_messages")
    op.drop_table("room_goes")
    op.drop_index("room_drafts_typing_idx", table_name="room_drafts", postgresql_where="state = 'typing'")
    op.drop_table("room_drafts")
    for statement in PLAYED:
        op.execute(statement)
    op.drop_index("turns_run_id_persona_id_round_key", table_name="turns")
    op.create_index(op.f("turns_run_id_persona_id_key"), "turns", ["run_id", "persona_id"], unique=True)
    op.drop_column("turns", "round")
    op.drop_table("room_blocks")
    op.drop_table("room_members")
    op.drop_table("room_events")
    op.drop_index("rooms_study_id_idx", table_name="rooms")
    op.drop_index("rooms_open_idx", table_name="rooms", postgresql_where="state <> 'ended'")
    op.drop_table("rooms")
    op.execute("DELETE FROM runs WHERE venue = 'chatroom'")
    op.drop_table("identities")
    op.drop_table("answers")
    op.drop_index("participants_secret_key", table_name="participants")
    op.drop_index("participants_receipt_key", table_name="participants")
    op.drop_table("participants")
    op.drop_index("study_tokens_study_id_idx", table_name="study_tokens")
    op.drop_index("study_tokens_sha256_key", table_name="study_tokens", postgresql_where="revoked_at IS NULL")
    op.drop_table("study_tokens")
    op.drop_table("study_members")
    op.drop_table("study_assigned")
    op.drop_index("studies_name_key", table_name="studies")
    op.drop_table("studies")
    op.execute("UPDATE personas SET status = 'departed', departed_at = now() WHERE status = 'cast'")
    op.drop_constraint(op.f("personas_status_check"), "personas")
    op.create_check_constraint(op.f("personas_status_check"), "personas", "status IN ('active', 'paused', 'departed')")
    op.drop_index("personas_username_key", table_name="personas")
    op.create_index(
        "personas_username_key",
        "personas",
        [sa.literal_column("lower(username)")],
        unique=True,
        postgresql_where="status <> 'departed'",
    )
