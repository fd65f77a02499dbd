"""All pages there are, found in the routes of the application, so that none is forgotten."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from app.main import create_app
from tests.browser.world import World
from tests.conftest import settings_for

NO_PAGES = ("/static/", "/avatar/", "/fragments/")
"""Beginnings of addresses that only parts of pages have."""

DOWNLOADS = re.compile(r"\.(csv|jsonl?|html|svg|png|graphml|zip|txt)$|/(export|download|events|stream)(/|$)")
HEALTH = ("/health", "/healthz")
"""Addresses that only programs ask for, though no document names them."""

SIGNED_OUT = ("/admin/login", "/admin/register")
"""Pages that who is signed in is led away from."""

ASKED = {"/admin/traces/{turn_id}/diff": "?other={b}"}
"""What an address needs to be told besides its path."""

MORE = {
    "/": ("/?following={username}", "/?q=nobody-ever-said-this"),
    "/admin/audit": ("/admin/audit?q=nobody-ever-did-this",),
    "/admin/personas/{persona_id}/shown": ("/admin/personas/{persona_id}/shown?post={post_id}",),
    "/admin/experiments/new": ("/admin/experiments/new?mode=text", "/admin/experiments/new?example=cups"),
    "/admin/experiments/{experiment_key}": ("/admin/experiments/{planned_key}",),
    "/admin/experiments/{experiment_key}/runs/{number}": (
        "/admin/experiments/k3v9mq2xw7ad/runs/1",
        "/admin/experiments/{experiment_key}/runs/6",
    ),
    "/admin/experiments/{experiment_key}/compare": (
        "/admin/experiments/{planned_key}/compare",
        "/admin/experiments/{experiment_key}/compare?power_outcome=attention_gini&effect=0.1",
    ),
    "/admin/sessions": ("/admin/sessions?kind=dialogue",),
    "/admin/sessions/new/{session_kind}": (
        "/admin/sessions/new/dialogue?template=rare-earths",
        "/admin/sessions/new/survey?template=four-day-week",
        "/admin/sessions/new/interview",
    ),
    "/admin/sessions/{session_key}": ("/admin/sessions/{waiting_key}", "/admin/sessions/{session_key}?upto=5"),
    "/admin/worlds/{world}": ("/admin/worlds/home", "/admin/worlds/kept"),
}
"""Further states of a page."""


def routes(app: Any) -> Iterator[APIRoute]:
    """All routes, also those of included routers."""
    for route in app.routes:
        if isinstance(route, APIRoute):
            yield route
        elif inner := getattr(route, "original_router", None):
            yield from routes(inner)


def application() -> FastAPI:
    """The application without its world: enough to ask for its routes."""
    return create_app(settings_for("postgresql://nobody@127.0.0.1:1/nothing"))


def page_paths(app: FastAPI) -> list[str]:
    """The paths of all pages: GET routes for no program, and those of the API that have two representations."""
    found = {route.path for route in routes(app) if "GET" in (route.methods or ()) and _is_page(route)}
    return sorted(found, key=lambda path: (path.startswith("/admin"), path))


def _is_page(route: APIRoute) -> bool:
    if route.include_in_schema:
        return "wants_page(" in inspect.getsource(route.endpoint)
    return not (route.path in HEALTH or route.path.startswith(NO_PAGES) or DOWNLOADS.search(route.path))


def addresses(path: str, world: World) -> list[str]:
    """Where to look at a page in this world.

    Raises:
        KeyError: tests/browser/world.py doesn't say what stands for a parameter of its path.
    """
    return [_filled(each, world) for each in (path + ASKED.get(path, ""), *MORE.get(path, ()))]


def parts(app: FastAPI) -> set[str]:
    """Addresses that are no pages and that no document names, but for downloads."""
    every = {route.path for route in routes(app) if "GET" in (route.methods or ()) and not route.include_in_schema}
    return {path for path in every - set(page_paths(app)) if not DOWNLOADS.search(path)}


def _filled(path: str, world: World) -> str:
    return re.sub(r"\{(\w+)(:\w+)?\}", lambda found: str(world.values[found[1]][0]), path)
