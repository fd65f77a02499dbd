"""The tables."""

from app.models.accounts import Admin, AdminSession, AuditEntry, Instance, Invitation, LoginAttempt
from app.models.base import Base
from app.models.ledger import Action, Call, Exposure, PromptText, Run, Turn
from app.models.world import Comment, Follow, Like, Mute, Persona, Post, PostCount, Report

__all__ = [
    "Action",
    "Admin",
    "AdminSession",
    "AuditEntry",
    "Base",
    "Call",
    "Comment",
    "Exposure",
    "Follow",
    "Instance",
    "Invitation",
    "Like",
    "LoginAttempt",
    "Mute",
    "Persona",
    "Post",
    "PostCount",
    "PromptText",
    "Report",
    "Run",
    "Turn",
]
