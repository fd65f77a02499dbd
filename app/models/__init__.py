"""The tables."""

from app.models.accounts import Admin, AdminSession, AuditEntry, Instance, Invitation, LoginAttempt
from app.models.base import Base
from app.models.ledger import Action, Call, Exposure, PromptText, Run, Turn
from app.models.rooms import (
    Room,
    RoomBlock,
    RoomDraft,
    RoomEvent,
    RoomGo,
    RoomMember,
    RoomMessage,
    RoomReaction,
)
from app.models.studies import Answer, Assigned, Identity, Participant, Study, StudyMember, StudyToken
from app.models.world import Comment, Follow, Like, Mute, Persona, Post, PostCount, Report

__all__ = [
    "Action",
    "Admin",
    "AdminSession",
    "Answer",
    "Assigned",
    "AuditEntry",
    "Base",
    "Call",
    "Comment",
    "Exposure",
    "Follow",
    "Identity",
    "Instance",
    "Invitation",
    "Like",
    "LoginAttempt",
    "Mute",
    "Participant",
    "Persona",
    "Post",
    "PostCount",
    "PromptText",
    "Report",
    "Room",
    "RoomBlock",
    "RoomDraft",
    "RoomEvent",
    "RoomGo",
    "RoomMember",
    "RoomMessage",
    "RoomReaction",
    "Run",
    "Study",
    "StudyMember",
    "StudyToken",
    "Turn",
]
