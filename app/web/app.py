"""The web application: routes, errors, edge."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi

from app.settings import Settings
from app.web import errors, socket
from app.web.api import (
    auths,
    datasets,
    dialogues,
    events,
    experiments,
    feed,
    health,
    interventions,
    memories,
    metrics,
    news,
    personas,
    populations,
    ranking,
    runs,
    safety,
    scheduler,
    search,
    sessions,
    simulations,
    studies,
    study_data,
    study_monitor,
    withdrawal,
    world_metrics,
    worlds,
)
from app.web.api.schemas import Problem, Root, problems
from app.web.cached import answer
from app.web.cors import PublicReads
from app.web.deps import TheHouse
from app.web.edge import Edge
from app.web.hot import HotAnswers
from app.web.negotiate import wants_page
from app.web.pages import PAGES, error_page
from app.web.pages.feed import feed_page
from app.web.pages.session import MaybeViewer

VERSION = version("simfeed")
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
DESCRIPTION = "A social network whose members are personas played by a language model."
TAGS: list[dict[str, Any]] = [
    {"name": "feed", "description": "What the personas have said and done. Public."},
    {"name": "auths", "description": "Becoming an admin, signing in and out, inviting others."},
    {"name": "personas", "description": "The members, as admins manage them."},
    {"name": "scheduler", "description": "When the personas wake."},
    {"name": "news", "description": "What the world is told from outside, and what its members begin to talk about."},
    {"name": "safety", "description": "What spreads, leaks or was reported, and the kill switch of a post."},
    {"name": "worlds", "description": "Copies of the world to try things in, and what tells worlds apart."},
    {"name": "studies", "description": "Studies with people in chatrooms, as admins run them."},
    {
        "name": "simulations",
        "description": "Dialogues, focus groups, surveys, interviews, and what is written with models.",
    },
    {"name": "experiments", "description": "Arms of runs that begin in the same world, compared; packages of data."},
    {"name": "sessions", "description": "What participants' clients use; the socket is at /ws/{session_id}."},
    {"name": "health", "description": "Whether the server lives and can serve."},
]


def build(settings: Settings, lifespan: Lifespan) -> FastAPI:
    """The application; `lifespan` opens and closes what it serves."""
    app = FastAPI(
        title="Sim-Feed",
        version=VERSION,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    errors.install(app, error_page)
    _root(app)
    for module in (
        feed,
        events,
        auths,
        personas,
        interventions,
        memories,
        ranking,
        runs,
        news,
        search,
        scheduler,
        safety,
        studies,
        study_data,
        study_monitor,
        sessions,
        withdrawal,
        worlds,
        world_metrics,
        simulations,
        dialogues,
        populations,
        experiments,
        datasets,
        socket,
        health,
        metrics,
    ):
        app.include_router(module.router)
    for router in PAGES:
        app.include_router(router)
    app.add_middleware(HotAnswers)
    app.add_middleware(
        PublicReads,
        allow_origins=list(settings.cors_origins),
        allow_methods=["GET", "HEAD"],
        allow_headers=["Last-Event-ID"],
        expose_headers=["Link", "ETag", "X-Request-Id", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"],
        max_age=600,
    )
    app.add_middleware(Edge, settings=settings)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    return app


def _root(app: FastAPI) -> None:
    @app.get("/", operation_id="root", response_model=Root, responses=problems(304), tags=["feed"])
    async def root(request: Request, house: TheHouse, viewer: MaybeViewer) -> Response:
        """What this is, and what there is to ask it; to a browser, the feed."""
        if wants_page(request):
            return await feed_page(request, house, viewer)
        content = {"message": "Welcome to Sim-Feed", "status": "OK", "version": VERSION, "endpoints": endpoints(app)}
        return answer(request, content)


def endpoints(app: FastAPI) -> dict[str, str]:
    """Each route and what it does, in a line."""
    return {
        f"{method.upper()} {path}": operation.get("description", "").split("\n")[0]
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
    }


def _told_to_observers(paths: dict[str, Any]) -> None:
    """Whatever changes something and needs an admin can be answered by 403."""
    for operations in paths.values():
        for method, operation in operations.items():
            if operation.get("security") and method not in ("get", "head"):
                operation["responses"]["403"] = operation["responses"]["401"] | {
                    "description": "Not allowed: an observer changes nothing."
                }
                operation["responses"] = dict(sorted(operation["responses"].items()))


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=TAGS
        )
        schemas = schema["components"]["schemas"]
        schemas |= Problem.model_json_schema(ref_template="#/components/schemas/{model}")["$defs"]
        schemas["Problem"] = {
            k: v
            for k, v in Problem.model_json_schema(ref_template="#/components/schemas/{model}").items()
            if k != "$defs"
        }
        _told_to_observers(schema["paths"])
        app.openapi_schema = schema
    return app.openapi_schema
