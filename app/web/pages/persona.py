"""One persona: who it is, what it wrote and liked, whom it knows, and when it is awake."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from app.web.deps import House, TheHouse
from app.web.inputs import Handle, read_cursor, sign_cursor
from app.web.pages.frame import render
from app.web.pages.query import checked
from app.web.pages.session import viewer_of
from app.world import feed, glance, personas, profiles
from app.world.feed import Row
from app.world.text import INT64_MAX

router = APIRouter(include_in_schema=False)
Tab = Literal["posts", "comments", "likes", "network", "activity"]
Side = Literal["following", "followers"]
PEOPLE_MAX = 60
BESIDE_MAX = 24
RING_MAX = 16
WIDTH, HEIGHT, FACE, CENTRE_FACE = 640, 440, 40, 64


class PersonaQuery(BaseModel):
    """What the address of a persona's page may say."""

    model_config = ConfigDict(extra="ignore")

    tab: Tab = "posts"
    side: Side | None = None
    cursor: Annotated[str, Field(max_length=400)] | None = None


@dataclass(frozen=True)
class Dot:
    """Somebody in the picture of a network."""

    username: str
    x: float
    y: float
    size: int


@dataclass(frozen=True)
class Line:
    """A follow in the picture, both ways if `mutual`; `near` ones begin or end at the persona itself."""

    x1: float
    y1: float
    x2: float
    y2: float
    mutual: bool
    near: bool


@dataclass(frozen=True)
class Network:
    """The picture of whom a persona follows and who follows it."""

    dots: list[Dot]
    lines: list[Line]
    mutual: int
    middle: float


@dataclass(frozen=True)
class Day:
    """A day of a persona's life, by the hour (UTC)."""

    date: datetime
    hours: list[int]

    @property
    def total(self) -> int:
        return sum(self.hours)


@dataclass(frozen=True)
class Activity:
    """The last weeks; `level` puts a count into one of five shades."""

    days: list[Day]
    most: int

    @property
    def total(self) -> int:
        return sum(day.total for day in self.days)

    @property
    def busiest(self) -> Day:
        return max(self.days, key=lambda day: day.total)

    @property
    def hour(self) -> int:
        """The hour of the day in which most was done."""
        sums = Counter({hour: sum(day.hours[hour] for day in self.days) for hour in range(24)})
        return sums.most_common(1)[0][0]

    def level(self, count: int) -> int:
        return math.ceil(4 * count / self.most) if count else 0


@router.get("/@{handle}")
async def by_handle(request: Request, house: TheHouse, handle: Handle) -> Response:
    """The page of a persona that has not departed."""
    return await persona_page(request, house, await personas.by_username(house.database, handle))


async def persona_page(request: Request, house: House, persona: Row) -> Response:
    """The page of a persona, with one of its tabs open."""
    query = checked(PersonaQuery, request)
    viewer = await viewer_of(request, house)
    departed = persona["status"] == "departed"
    home = f"/persona/{persona['id']}" if departed else f"/@{persona['username']}"
    shelf = _Shelf(house, persona["id"], query, home)
    context: dict[str, Any] = {
        "persona": persona,
        "profile": msgspec.json.decode(persona["profile"], type=dict[str, Any]),
        "model": persona["model"] or house.settings.simfeed_model,
        "tallies": await profiles.tallies(house.database, persona["id"]),
        "home": home,
        "departed": departed,
        "tab": query.tab,
        "side": query.side,
        "first": not query.cursor,
        **await shelf.read(),
    }
    return render(request, "persona.html", viewer=viewer, **context)


@dataclass(frozen=True)
class _Shelf:
    """What stands under the open tab."""

    house: House
    id: int
    query: PersonaQuery
    home: str

    @property
    def scope(self) -> tuple[Any, ...]:
        return ("persona", self.id, self.query.tab, self.query.side)

    async def read(self) -> dict[str, Any]:
        """The names that the template expects, those of the other tabs empty."""
        empty: dict[str, Any] = {
            "posts": [],
            "comments": [],
            "leanings": {},
            "people": [],
            "following": [],
            "followers": [],
            "network": None,
            "activity": None,
            "older": "",
        }
        match self.query.tab:
            case "posts":
                return empty | await self._posts()
            case "comments":
                return empty | await self._comments()
            case "likes":
                return empty | await self._likes()
            case "network" if self.query.side:
                return empty | await self._people(self.query.side)
            case "network":
                return empty | await self._network()
            case "activity":
                return empty | {"activity": await self._activity()}

    def _before(self) -> int:
        given = self.query.cursor
        return int(read_cursor(self.house.secret, self.scope, given)[0]) if given else INT64_MAX

    def _page(self, rows: list[Row], size: int, key: str) -> tuple[list[Row], str]:
        """One page of the rows, and the address of the next."""
        if len(rows) <= size:
            return rows, ""
        cursor = sign_cursor(self.house.secret, self.scope, (rows[size - 1][key],))
        words = {"tab": self.query.tab, **({"side": self.query.side} if self.query.side else {}), "cursor": cursor}
        return rows[:size], f"{self.home}?{urlencode(words)}"

    async def _posts(self) -> dict[str, Any]:
        after = feed.Position(self._before())
        rows = await feed.posts(self.house.database, limit=feed.PAGE_SIZE + 1, after=after, author=self.id)
        shown, older = self._page(rows, feed.PAGE_SIZE, "id")
        return {"posts": shown, "older": older}

    async def _likes(self) -> dict[str, Any]:
        database = self.house.database
        rows = await profiles.likes_by(database, self.id, before=self._before(), limit=feed.PAGE_SIZE + 1)
        shown, older = self._page(rows, feed.PAGE_SIZE, "like_id")
        leanings = await glance.leanings(database, [row["author_id"] for row in shown])
        return {"posts": shown, "older": older, "leanings": leanings}

    async def _comments(self) -> dict[str, Any]:
        before = self._before()
        rows = await profiles.comments_by(self.house.database, self.id, before=before, limit=feed.PAGE_SIZE + 1)
        shown, older = self._page(rows, feed.PAGE_SIZE, "id")
        return {"comments": shown, "older": older}

    async def _people(self, side: Side) -> dict[str, Any]:
        rows = await profiles.ties(self.house.database, self.id, side, before=self._before(), limit=PEOPLE_MAX + 1)
        shown, older = self._page(rows, PEOPLE_MAX, "id")
        return {"people": shown, "older": older}

    async def _network(self) -> dict[str, Any]:
        database = self.house.database
        following = await profiles.ties(database, self.id, "following", limit=BESIDE_MAX)
        followers = await profiles.ties(database, self.id, "followers", limit=BESIDE_MAX)
        ring = _ring(following, followers)
        among = await profiles.ties_among(database, [row["persona_id"] for row in ring])
        persona = await personas.get(database, self.id)
        picture = _drawn(persona["username"], ring, {r["persona_id"] for r in following}, among)
        return {"following": following, "followers": followers, "network": picture}

    async def _activity(self) -> Activity:
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        counts = await profiles.activity(self.house.database, self.id, today)
        dates = [today - timedelta(days=back) for back in range(profiles.DAYS)]
        days = [Day(date, [counts.get(date + timedelta(hours=hour), 0) for hour in range(24)]) for date in dates]
        return Activity(days, max((count for day in days for count in day.hours), default=0))


def _ring(following: Sequence[Row], followers: Sequence[Row]) -> list[Row]:
    """Who stands in the picture: those who follow each other with the persona first, then the most followed."""
    everybody = {row["persona_id"]: row for row in (*followers, *following)}
    ranked = sorted(everybody.values(), key=lambda r: (not r["mutual"], -r["followers_count"], r["persona_id"]))
    return ranked[:RING_MAX]


def _drawn(username: str, ring: list[Row], followed: set[int], among: list[tuple[int, int]]) -> Network:
    """The persona in the middle, the others around it, and who follows whom."""
    middle = Dot(username, WIDTH / 2, HEIGHT / 2, CENTRE_FACE)
    places = {}
    for n, row in enumerate(ring):
        turn = 2 * math.pi * n / len(ring) - math.pi / 2
        x, y = middle.x + 250 * math.cos(turn), middle.y + 165 * math.sin(turn)
        places[row["persona_id"]] = Dot(row["username"], round(x, 1), round(y, 1), FACE)
    pairs = {frozenset(pair): pair for pair in among}
    both = {frozenset(pair) for pair in among if pair[::-1] in set(among)}
    lines = [_line(places[a], places[b], key in both, False) for key, (a, b) in pairs.items()]
    for row in ring:
        other = places[row["persona_id"]]
        ends = (middle, other) if row["persona_id"] in followed else (other, middle)
        lines.append(_line(*ends, row["mutual"], True))
    return Network([*places.values(), middle], lines, sum(row["mutual"] for row in ring), middle.y)


def _line(start: Dot, end: Dot, mutual: bool, near: bool) -> Line:
    """From edge to edge of the two faces."""
    length = math.hypot(end.x - start.x, end.y - start.y) or 1.0
    dx, dy = (end.x - start.x) / length, (end.y - start.y) / length
    off, to = start.size * 0.62, end.size * 0.62 + 4
    return Line(
        round(start.x + dx * off, 1),
        round(start.y + dy * off, 1),
        round(end.x - dx * to, 1),
        round(end.y - dy * to, 1),
        mutual,
        near,
    )
