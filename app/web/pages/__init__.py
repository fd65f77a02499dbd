"""The pages: everything a browser shows, over the same functions as the API."""

from app.web.pages import about, docs, feed, frame, graph, participant, people, persona, withdraw
from app.web.pages.admin import (
    access,
    audit,
    budgets,
    login,
    overview,
    personas,
    runs,
    safety,
    settings,
    studies,
    study_builder,
    study_monitor,
    traces,
)
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
    runs.router,
    traces.router,
    safety.router,
    about.router,
    docs.router,
    people.router,
    persona.router,
    personas.router,
    persona_desk.router,
    budgets.router,
    study_builder.router,
    study_monitor.router,
    studies.router,
    settings.router,
    withdraw.router,
    participant.router,
)
__all__ = ["PAGES", "error_page"]
