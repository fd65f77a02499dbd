"""The pages: everything a browser shows, over the same functions as the API."""

from app.web.pages import about, docs, feed, frame, graph, people, persona
from app.web.pages.admin import access, audit, budgets, login, overview, personas, runs, safety, settings, traces
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
    settings.router,
)
__all__ = ["PAGES", "error_page"]
