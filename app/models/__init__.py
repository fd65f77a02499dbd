"""The tables."""

from app.models.accounts import Admin, AdminSession, AuditEntry, Instance, Invitation, LoginAttempt
from app.models.base import Base
from app.models.experiments import Dataset, Experiment, ExperimentChange, ExperimentReference, Trial
from app.models.ledger import Action, Call, Exposure, PromptText, Reusable, Run, Turn
from app.models.memory import Memory
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
from app.models.sessions import Session, SessionAsk, SessionCheckpoint, SessionLine, SessionMember
from app.models.studies import Answer, Assigned, Identity, Participant, Study, StudyMember, StudyToken
from app.models.world import Comment, Follow, Intervention, Like, Mute, News, Persona, Post, PostCount, Reaction, Report
from app.models.worlds import WorldEntry

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
    "Dataset",
    "Experiment",
    "ExperimentChange",
    "ExperimentReference",
    "Exposure",
    "Follow",
    "Identity",
    "Instance",
    "Intervention",
    "Invitation",
    "Like",
    "LoginAttempt",
    "Memory",
    "Mute",
    "News",
    "Participant",
    "Persona",
    "Post",
    "PostCount",
    "PromptText",
    "Reaction",
    "Report",
    "Reusable",
    "Room",
    "RoomBlock",
    "RoomDraft",
    "RoomEvent",
    "RoomGo",
    "RoomMember",
    "RoomMessage",
    "RoomReaction",
    "Run",
    "Session",
    "SessionAsk",
    "SessionCheckpoint",
    "SessionLine",
    "SessionMember",
    "Study",
    "StudyMember",
    "StudyToken",
    "Trial",
    "Turn",
    "WorldEntry",
]
