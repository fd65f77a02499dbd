"""The pages: everything a browser shows, over the same functions as the API."""

from app.web.pages import about, docs, feed, frame, graph, participant, people, persona, withdraw
from app.web.pages.admin import (
    access,
    audit,
    budgets,
    interventions,
    login,
    overview,
    personas,
    runs,
    safety,
    session_files,
    session_page,
    sessions,
    settings,
    shown,
    studies,
    study_builder,
    study_monitor,
    traces,
    worlds,
)
from app.web.pages.admin import memories as memory_desk
from app.web.pages.admin import persona as persona_desk
from app.web.pages.errors import error_page

PAGES = (
    frame.router,
    feed.router,
    login.router,
    access.router,
    audit.router,
    graph.router,
    overview.router,
    interventions.router,
    runs.router,
    shown.router,
    traces.router,
    worlds.router,
    safety.router,
    about.router,
    docs.router,
    people.router,
    persona.router,
    personas.router,
    persona_desk.router,
    memory_desk.router,
    budgets.router,
    study_builder.router,
    study_monitor.router,
    studies.router,
    sessions.router,
    session_page.router,
    session_files.router,
    settings.router,
    withdraw.router,
    participant.router,
)
__all__ = ["PAGES", "error_page"]
