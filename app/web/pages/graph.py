"""The graph of follows, likes or replies: a page, its downloads, and a tiny one for beside the feed."""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any

import vl_convert
from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from markupsafe import Markup
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import PydanticCustomError
from starlette.requests import Request
from starlette.responses import Response

from app.analysis import files
from app.analysis.graph import Colour, Graph, Graphs, Kind, Moment, Size, read
from app.analysis.picture import DRAWN_MOST, Picture, picture
from app.db.engine import Database
from app.web.cached import CACHE
from app.web.deps import House, TheHouse
from app.web.pages.frame import render, templates
from app.web.pages.session import MaybeViewer

router = APIRouter(include_in_schema=False)
SIZES: tuple[Size, ...] = (25, 50, 150, 400, 1000)
STRONGEST = 20
TINY = 24
PNG_SCALE = 2.0


@dataclass(frozen=True)
class Words:
    """How a kind of graph is spoken of."""

    title: str
    one: str
    many: str
    got: str
    gave: str
    larger: str
    nobody: str


WORDS: dict[Kind, Words] = {
    "follows": Words(
        "Who follows whom",
        "follow",
        "follows",
        "followed by",
        "follows",
        "the more follow it",
        "Nobody follows anybody yet",
    ),
    "likes": Words(
        "Who likes whose posts",
        "like",
        "likes",
        "liked by",
        "likes",
        "the more like its posts",
        "Nobody has liked anything yet",
    ),
    "replies": Words(
        "Who answers whom",
        "reply",
        "replies",
        "answered by",
        "answers",
        "the more answer it",
        "Nobody has answered anybody yet",
    ),
}


def _size(value: object) -> object:
    if isinstance(value, str) and value in map(str, SIZES):
        return int(value)
    raise PydanticCustomError("size", "must be one of {sizes}", {"sizes": ", ".join(map(str, SIZES))})


def _sane(moment: datetime) -> datetime:
    if not 1970 <= moment.year <= 9998:
        raise PydanticCustomError("moment", "must be a moment from 1970 on, as in 2026-03-01T12:00Z")
    return moment.replace(tzinfo=moment.tzinfo or UTC)


class GraphQuery(BaseModel):
    """What the address of the graph may say."""

    model_config = ConfigDict(extra="ignore")

    kind: Kind = "follows"
    colour: Colour = "community"
    n: Annotated[Size, BeforeValidator(_size)] = 150
    until: Annotated[datetime, AfterValidator(_sane)] | None = None


@dataclass(frozen=True)
class Asked:
    """A moment of a graph, as the address asks for it."""

    query: GraphQuery
    graphs: Graphs
    graph: Graph

    @property
    def moment(self) -> Moment:
        return self.graph.at(self.graph.life.step(self.query.until))

    async def make(self, what: str, work: Callable[[Moment], Any]) -> Any:
        """What `work` makes of the moment, in a thread, kept as long as the graph."""
        moment = self.moment
        return await self.graphs.make(self.graph, (what, self.query.colour, moment.step), lambda: work(moment))


async def _ask(request: Request, house: House) -> Asked:
    given = {name: value for name, value in request.query_params.items() if value.strip()}
    try:
        query = GraphQuery.model_validate(given)
    except ValidationError as error:
        raise RequestValidationError([{**e, "loc": ("query", *e["loc"])} for e in error.errors()]) from None
    graphs = _graphs(request, house.database)
    return Asked(query, graphs, await graphs.get(query.kind, query.n))


def _graphs(request: Request, database: Database) -> Graphs:
    state = request.app.state
    if not hasattr(state, "graphs"):
        state.graphs = Graphs(database)
    found = state.graphs
    assert isinstance(found, Graphs)  # noqa: S101 - nobody else writes it
    return found


def _draw(found: Picture, words: Words, *, alone: bool, said: str = "") -> Markup:
    template = templates.get_template("graph_svg.html")
    return Markup(template.render(picture=found, words=words, alone=alone, said=said))  # noqa: S704 - autoescaped


def _summary(moment: Moment, words: Words) -> str:
    """The picture in a few sentences."""
    graph, nodes = moment.graph, moment.nodes
    acts = sum(int(weight) for *_, weight in moment.ties)
    everybody = "all" if len(graph.people) == graph.people_in_all else "the"
    said = f"{words.title}, among {everybody} {len(nodes):,}"
    said += (
        " personas who do or get it" if everybody == "all" else f" best connected of {graph.people_in_all:,} personas"
    )
    if not moment.ties:
        return f"{said}: nothing of it by then."
    said += f": {acts:,} {words.one if acts == 1 else words.many}"
    said += f" between {len(moment.ties):,} pairs. " if acts != len(moment.ties) else ". "
    leaders = [node for node in nodes[:3] if moment.into.get(node)]
    named = [f"@{graph.people[node].handle} ({words.got} {moment.into[node]:,})" for node in leaders]
    said += "Ahead: " + ", ".join(named) + "."
    mutual = moment.facts("community")["reciprocity"]
    return said + (f" {mutual:.0%} of it is mutual." if mutual is not None else "")


def _left_out(moment: Moment, drawn: int) -> list[str]:
    graph, said = moment.graph, []
    if (more := graph.people_in_all - len(graph.people)) > 0:
        said.append(f"{more:,} less connected personas are left out.")
    if (more := graph.ties_in_all - len(graph.ties)) > 0:
        said.append(
            f"{len(graph.ties):,} of the {graph.ties_in_all:,} ties among these are looked at, the strongest first."
        )
    if len(moment.ties) > drawn:
        said.append(
            f"The strongest {DRAWN_MOST:,} of {len(moment.ties):,} ties are drawn; tables, numbers and files hold all."
        )
    return said


def _strongest(moment: Moment) -> list[tuple[int, int, float, float]]:
    """Each pair once: who does more of it, to whom, how often, and how often in return."""
    weights = {(source, target): weight for source, target, weight in moment.ties}
    pairs = ((source, target, weight, weights.get((target, source), 0)) for source, target, weight in moment.ties)
    once = (pair for pair in pairs if pair[2] > pair[3] or (pair[2] == pair[3] and pair[0] < pair[1]))
    return list(islice(once, STRONGEST))


def _parts(asked: Asked) -> Callable[[Moment], Markup]:
    query, words = asked.query, WORDS[asked.query.kind]

    def work(moment: Moment) -> Markup:
        found = picture(moment, query.colour)
        summary = _summary(moment, words)
        template = templates.get_template("graph_parts.html")
        body = template.render(
            svg=_draw(found, words, alone=False, said=summary),
            picture=found,
            people=moment.graph.people,
            facts=moment.facts(query.colour),
            summary=summary,
            tie_count=len(moment.ties),
            left_out=_left_out(moment, found.drawn),
            strongest=_strongest(moment),
            words=words,
            kind=query.kind,
            colour=query.colour,
            communities=moment.graph.communities,
            time=moment.time,
            files=_address(asked, moment).partition("?")[2],
        )
        return Markup(body)  # noqa: S704 - autoescaped

    return work


def _address(asked: Asked, moment: Moment, **other: object) -> str:
    """The address of what is seen, but for what is `other`."""
    query, life = asked.query, asked.graph.life
    until = "" if moment.step == life.steps else int(life.end(moment.step).timestamp())
    given = {"kind": query.kind, "colour": query.colour, "n": query.n, "until": until} | other
    usual = {"kind": "follows", "colour": "community", "n": 150, "until": ""}
    said = "&".join(f"{name}={value}" for name, value in given.items() if value != usual[name])
    return "/graph" + (f"?{said}" if said else "")


@router.get("/graph")
async def graph_page(request: Request, house: TheHouse, viewer: MaybeViewer) -> Response:
    """The graph, its legend, its numbers and its strongest ties, at a moment."""
    asked = await _ask(request, house)
    moment, life = asked.moment, asked.graph.life
    return render(
        request,
        "graph.html",
        viewer=viewer,
        words=WORDS[asked.query.kind],
        kinds=[(kind, WORDS[kind], _address(asked, moment, kind=kind)) for kind in WORDS],
        query=asked.query,
        sizes=SIZES,
        life=life,
        step=moment.step,
        time=moment.time,
        stops=[int(life.end(step).timestamp()) for step in range(life.steps + 1)],
        parts=await asked.make("parts", _parts(asked)) if asked.graph.ties else None,
    )


def _file(request: Request, asked: Asked, body: bytes, kind: str, ending: str) -> Response:
    until = "" if asked.query.until is None else f"-{asked.moment.time:%Y%m%dT%H%M%S}"
    tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers = {
        "ETag": tag,
        "Cache-Control": CACHE,
        "Content-Disposition": f'attachment; filename="simfeed-{asked.query.kind}{until}.{ending}"',
    }
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(body, 200, headers, kind)


def _svg(asked: Asked) -> Callable[[Moment], bytes]:
    words, colour = WORDS[asked.query.kind], asked.query.colour
    return lambda moment: _draw(picture(moment, colour), words, alone=True, said=_summary(moment, words)).encode()


@router.get("/graph.svg")
async def graph_svg(request: Request, house: TheHouse) -> Response:
    """The picture, with its own colours, on white."""
    asked = await _ask(request, house)
    return _file(request, asked, await asked.make("svg", _svg(asked)), "image/svg+xml", "svg")


@router.get("/graph.png")
async def graph_png(request: Request, house: TheHouse) -> Response:
    """The picture as pixels: 2,000 × 1,440 at most."""
    asked = await _ask(request, house)
    svg: bytes = await asked.make("svg", _svg(asked))
    body = await asked.make("png", lambda _: vl_convert.svg_to_png(svg.decode(), scale=PNG_SCALE))
    return _file(request, asked, body, "image/png", "png")


@router.get("/graph.graphml")
async def graph_graphml(request: Request, house: TheHouse) -> Response:
    """The graph with all its attributes, for Gephi, networkx, igraph or R."""
    asked = await _ask(request, house)
    body = await asked.make("graphml", lambda moment: files.graphml(moment, asked.query.colour))
    return _file(request, asked, body, "application/graphml+xml", "graphml")


@router.get("/graph.csv")
async def graph_csv(request: Request, house: TheHouse) -> Response:
    """The ties as a table."""
    asked = await _ask(request, house)
    return _file(request, asked, await asked.make("csv", files.edges_csv), "text/csv; charset=utf-8", "csv")


async def tiny(database: Database) -> Markup:
    """A small picture of who follows whom among the best connected, without links; empty where nobody follows anybody.

    It is made anew each time, within some 0.1 s at 100,000 personas: keep it for a while. It wants `graph.css`.
    """
    graph = await read(database, "follows", TINY)
    if not graph.ties:
        return Markup("")

    def work() -> Markup:
        found = picture(graph.at(graph.life.steps), "community")
        said = f"{len(graph.people)} well-connected personas and {len(graph.ties):,} follows among them."
        return Markup(templates.get_template("graph_tiny.html").render(picture=found, said=said))  # noqa: S704 - autoescaped

    return await asyncio.to_thread(work)
