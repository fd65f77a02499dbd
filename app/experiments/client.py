"""A world as DataFrames, from a program or a notebook, without a server.

    from app import open_world
    world = open_world("home")
    posts = world.posts

Without DATABASE_URL that world is the embedded one in SIMFEED_HOME (`.simfeed`). Frames are polars'; `.to_pandas()` is
pandas'. Nothing can be changed through it.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from datetime import datetime
from difflib import get_close_matches
from types import TracebackType
from typing import Any, Self, TypeVar

import asyncpg
import polars as pl

from app.analysis.measuring import Measured, measure, series
from app.db import migrate, worlds
from app.db.engine import Database
from app.db.queries import load
from app.db.worlds import HOME
from app.errors import Invalid, Misconfigured, NotFound
from app.experiments.frames import TIME, frame
from app.settings import Settings, load_settings
from app.venues.session.offhand import through
from app.world.experiments import EXPERIMENTS

T = TypeVar("T")
FRAMES = load("frames")
SECONDS = 600
"""For so long one statement may take."""


def open_world(name: str = HOME, **settings: Any) -> "World":
    """A world to read: `home`, or one that `simfeed world list` names.

    Args:
        settings: any setting by its name in lower case, before the environment: `database_url=…`, `simfeed_home=…`.

    Raises:
        NotFound: there is no such world.
        Invalid: there is no such setting.
        Misconfigured: there is no home world, or its schema is not up to date.
        Unavailable: the database can't be reached.
    """
    for one in settings.keys() - Settings.model_fields.keys():
        near = get_close_matches(one, Settings.model_fields, 1)
        raise Invalid(f"there is no setting {one!r}" + (f": did you mean {near[0]}?" if near else ""))
    chosen = load_settings(**settings)
    if name.lower() != HOME:
        chosen = chosen.model_copy(update={"simfeed_world": name})
    if chosen.database_url is None and not os.path.lexists(chosen.simfeed_home / "pg"):
        raise Misconfigured(
            f"there is no world in {chosen.simfeed_home}: name its folder (simfeed_home=…) or set DATABASE_URL; "
            "`simfeed up` makes one"
        )
    return World(name, chosen)


class World:
    """An open world. Each frame is read anew, whole and of one moment, whenever it is asked for.

    Closed by `close()`, at the end of a `with` block, or when the program ends. All times are UTC (`Datetime("us",
    "UTC")`), all numbers of rows and tokens `Int64`; what is JSON or text is `String`.
    """

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self._closed = False
        self._open = ExitStack()
        self.url = self._open.enter_context(migrate.open_home_url(settings))
        try:
            through(self._reading(_nothing))
            if through(migrate.status(self.url)).pending:
                raise Misconfigured("the database is not up to date: run `simfeed db migrate` first")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<World {self.name}>"

    def close(self) -> None:
        """Let go of the database; a second time does nothing."""
        self._closed = True
        self._open.close()

    @property
    def posts(self) -> pl.DataFrame:
        """A row a post, oldest first, of n posts × 14.

        `id`, `author_id`, `repost_of`, `quote_of` and the counts (`likes_count`, `comments_count`, `reposts_count`,
        `quotes_count`, `dislikes_count`): Int64; `author`, `title`, `body`: String; `hidden` (in quarantine): Boolean;
        `created_at`: time. A repost has an empty body.
        """
        return self._frame("posts")

    @property
    def comments(self) -> pl.DataFrame:
        """A row a comment, n × 9: `id`, `post_id`, `parent_id` (null: it answers the post), `author_id`, `likes_count`:
        Int64; `author`, `body`: String; `hidden`: Boolean; `created_at`: time."""
        return self._frame("comments")

    @property
    def likes(self) -> pl.DataFrame:
        """A row a like, n × 4: `id`, `persona_id`, `post_id`: Int64; `created_at`: time."""
        return self._frame("likes")

    @property
    def reactions(self) -> pl.DataFrame:
        """A row a reaction, n × 6: `id`, `persona_id`, `post_id` or `comment_id`: Int64; `kind`: String;
        `created_at`: time."""
        return self._frame("reactions")

    @property
    def follows(self) -> pl.DataFrame:
        """A row a tie, n × 4: `id`, `follower`, `followed` (personas' ids): Int64; `created_at`: time."""
        return self._frame("follows")

    @property
    def personas(self) -> pl.DataFrame:
        """A row a member, departed ones too, n × 17.

        `id` and counts (`posts_count`, `comments_count`, `followers_count`, `following_count`): Int64; `username`,
        `description`, `bio`, `display_name`, `leaning`, `profile` (JSON), `model`, `status`: String; `temperature` (0
        to 2), `activity` (the chance to wake in a cycle, 0 to 1): Float64; `created_at`, `departed_at`: time.
        """
        return self._frame("personas")

    @property
    def exposures(self) -> pl.DataFrame:
        """A row for each thing that was shown to a persona, n × 14.

        `turn_id`, `step`, `ordinal`, `run_id`, `persona_id`, `version`, `rank` (1 is the top), `item` (a post's id, or
        what `kind` says): Int64; `kind`, `ranker`, `reason`: String; `score` (of the ranker, without unit), `chance`
        (0 to 1): Float64; `created_at`: time.
        """
        return self._frame("exposures")

    @property
    def runs(self) -> pl.DataFrame:
        """A row a run, n × 13: `id`, `seed`, `turns_total`, `lost_calls`: Int64; `venue`, `state`, `reason`, `settings`
        (JSON), `pacing`: String; `world_at`, `created_at`, `started_at`, `ended_at`: times."""
        return self._frame("runs")

    @property
    def turns(self) -> pl.DataFrame:
        """A row a turn, n × 11: `id`, `run_id`, `persona_id`, `ordinal`, `round`, `steps`: Int64; `state`, `reason`:
        String; `world_at`, `started_at`, `ended_at`: times."""
        return self._frame("turns")

    @property
    def calls(self) -> pl.DataFrame:
        """A row a model call, n × 14.

        `run_id`, `persona_id`, `turn_id`, `step`, `prompt_tokens`, `completion_tokens`, `cached_tokens` (of the
        prompt's), `latency_ms` (milliseconds): Int64; `status`, `detail`, `model`, `model_returned`: String; `cost_usd`
        (US dollars, null where the price is unknown): Float64; `created_at`: time.
        """
        return self._frame("calls")

    @property
    def actions(self) -> pl.DataFrame:
        """A row an action, n × 13: `run_id`, `persona_id`, `turn_id`, `step`, `ordinal`, `target_id`, `object_id`:
        Int64; `name`, `arguments` (as the model wrote them), `effect`, `outcome`, `detail`, `before`: String."""
        return self._frame("actions")

    @property
    def sessions(self) -> pl.DataFrame:
        """A row a session, n × 14: `id`, `seed`, `run_id`, `lines_count`, `asks_count`: Int64; `key`, `kind`, `name`,
        `state`, `reason`, `design` (JSON), `result` (JSON): String; `created_at`, `ended_at`: times."""
        return self._frame("sessions")

    @property
    def lines(self) -> pl.DataFrame:
        """A row for each line of a session, n × 13: `session_id`, `number`, `member`, `persona_id`, `round`: Int64;
        `session` (its key), `by`, `kind`, `body`, `thought`, `value` (JSON), `missing`: String; `at`: time."""
        return self._frame("lines")

    @property
    def trials(self) -> pl.DataFrame:
        """A row for each run of an experiment, in the home world, n × 18. `number`, `replicate`, `seed`, `calls`,
        `prompt_tokens`, `completion_tokens`: Int64; `usd`: Float64; `experiment` (its key), `name`, `variant`, `state`,
        `reason`, `excluded`, `world`, `session`, `outcomes` (JSON): String; `started_at`, `ended_at`: times."""
        return self._frame("trials")

    def outcomes(self, experiment: str) -> pl.DataFrame:
        """What the runs of an experiment came to: a row for each run and outcome, n × 8.

        `number`, `replicate`, `seed`: Int64; `variant`, `state`, `excluded`, `outcome`: String; `value`: Float64, null
        where it is missing. `.pivot("outcome", index=["number", "variant", "seed"], values="value")` makes it wide.

        Raises:
            NotFound: no experiment in this world has that key (`trials` has them; they are rows of the home world).
        """

        async def work(connection: asyncpg.Connection) -> pl.DataFrame:
            if await connection.fetchrow(EXPERIMENTS["experiment"], experiment) is None:
                raise NotFound(f"no experiment in the world {self.name} has the key {experiment[:40]!r}")
            return await frame(connection, EXPERIMENTS["outcomes"], experiment)

        return through(self._reading(work))

    def read(self, *names: str) -> dict[str, pl.DataFrame]:
        """Several of these frames, by their names, all of one moment.

        Raises:
            Invalid: there is no such frame.
        """
        if wrong := [name for name in names if name not in FRAMES]:
            raise Invalid(f"there is no frame {wrong[0]!r}: {', '.join(FRAMES)}")

        async def work(connection: asyncpg.Connection) -> dict[str, pl.DataFrame]:
            return {name: await frame(connection, FRAMES[name]) for name in names}

        return through(self._reading(work))

    def sql(self, query: str, *arguments: object) -> pl.DataFrame:
        """What one SQL statement gives; `$1`, `$2`, … stand for `arguments`. It may read, and nothing else.

        Integers are Int64, `numeric` Float64, times as above, `jsonb` and types that have no dtype String, lists List.

        Raises:
            Invalid: the statement is wrong, or would change something.
        """

        async def work(connection: asyncpg.Connection) -> pl.DataFrame:
            return await frame(connection, query, *arguments)

        return through(self._reading(work))

    def metrics(self, *names: str, since: int | None = None) -> pl.DataFrame:
        """The metrics of the world (docs/metrics-of-worlds.md), all or those that are named.

        A row a metric, n × 3: `metric`: String; `value`: Float64, null where too little is known; `why`: String, what
        is missing then. `since`: only what happened after that run counts.

        Raises:
            Invalid: there is no such metric.
        """

        async def work(database: Database) -> Measured:
            return await measure(database, names or None, since=since)

        found = through(self._measuring(work))
        rows = [(name, value, found.why.get(name)) for name, value in found.values.items()]
        return pl.DataFrame(rows, {"metric": pl.String, "value": pl.Float64, "why": pl.String}, orient="row")

    def series(self, *names: str, since: int | None = None) -> pl.DataFrame:
        """The feed cycle by cycle: a row a run, with what it took and the metrics that are named; `at`: time.

        Raises:
            Invalid: there is no such metric.
        """

        async def work(database: Database) -> list[dict[str, Any]]:
            return await series(database, names, since=since)

        rows = [row | {"at": row["at"] and datetime.fromisoformat(row["at"])} for row in through(self._measuring(work))]
        return pl.DataFrame(rows, schema_overrides={"at": TIME} if rows else None, infer_schema_length=None)

    def _frame(self, name: str) -> pl.DataFrame:
        return self.read(name)[name]

    async def _reading(self, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        self._still_open()
        connection = await worlds.connect(self.url)
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await connection.execute(
                    f"SET LOCAL statement_timeout = '{SECONDS}s'; SELECT 1"
                )  # no way back from here
                return await work(connection)
        except asyncpg.PostgresError as error:
            raise Invalid(f"the statement was refused: {error}") from None
        except asyncpg.InterfaceError as error:
            raise Invalid(f"the statement or its arguments are wrong: {error}") from None
        finally:
            connection.terminate()

    def _still_open(self) -> None:
        if self._closed:
            raise Invalid(f"the world {self.name} was closed: open it anew")

    async def _measuring(self, work: Callable[[Database], Awaitable[T]]) -> T:
        self._still_open()
        async with _database(self.url) as database:
            return await work(database)


async def _nothing(_: asyncpg.Connection) -> None:
    """Whether the database answers is all that is asked."""


@asynccontextmanager
async def _database(url: str) -> AsyncIterator[Database]:
    database = await Database.open(url, size=2)
    try:
        yield database
    finally:
        await database.close()
