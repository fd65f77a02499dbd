"""What metrics of a world are reckoned from, read in one snapshot as arrays: people, acts, texts, exposures, runs.

People and runs are places in arrays from 0 on, `NOWHERE` for none that is known. What is hidden does not count.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import compress
from typing import Any

import asyncpg
import numpy as np
from numpy.typing import NDArray

from app.analysis.arrays import Floats, Ints
from app.analysis.catalogue import Family
from app.analysis.exposure import UNKNOWN
from app.analysis.opinions import sides
from app.analysis.process import Process
from app.analysis.state import snapshot
from app.db import worlds
from app.db.queries import load
from app.errors import NotFound
from app.ledger.figures import FIGURES, LOST, OPEN

METRICS_SQL = load("metrics")
NOWHERE = -1
ROWS_AT_ONCE = 5_000
TEXTUAL: frozenset[Family] = frozenset({"language", "collapse"})
_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Acts:
    """Acts of one kind, in the order of their ids: who, to whom (`NOWHERE`: to nobody), in which run; shape (n,)."""

    id: Ints
    who: Ints
    to: Ints
    run: Ints

    def where(self, chosen: "NDArray[np.bool_]") -> "Acts":
        if chosen.all():
            return self
        return Acts(self.id[chosen], self.who[chosen], self.to[chosen], self.run[chosen])


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts in the order they were written: by whom, in which run; `who` and `run` have the shape (n,)."""

    body: Sequence[str]
    who: Ints
    run: Ints


@dataclass(frozen=True, eq=False)
class Shown:
    """How often whoever was shown posts of an author, run by run: each has the shape (n,), `cuts` (runs - 1,)."""

    viewer: Ints
    author: Ints
    times: Ints
    cuts: Ints

    def of_run(self, run: int) -> tuple[Ints, Ints, Ints]:
        """(viewer, author, times)."""
        part = slice(*np.concatenate([[0], self.cuts, [len(self.times)]])[run : run + 2].tolist())
        return self.viewer[part], self.author[part], self.times[part]


@dataclass(frozen=True)
class RunOf:
    """A run, its moment in the world's time, and what it took."""

    id: int
    venue: str
    at: datetime | None
    process: Process


@dataclass(frozen=True, eq=False)
class Gathered:
    """A world: `leaning` numbers the leanings (`UNKNOWN` for none), `side` is -1 or 1, or NaN; shape (people,).

    `parents`: of posts, then comments, the place of what each answers among these, `NOWHERE` for none. `reposts`: which
    posts are reposts. `within`: whether acts outside `runs` don't count. `shown`, and `exposures`, which is how many
    there are by run, where they were asked for.
    """

    people: Ints
    leaning: Ints
    side: Floats
    posts: Acts
    reposts: Ints
    comments: Acts
    parents: Ints
    likes: Acts
    follows: Acts
    runs: Sequence[RunOf]
    within: bool
    texts: Texts = field(default_factory=lambda: Texts((), _NONE, _NONE))
    shown: Shown = field(default_factory=lambda: Shown(_NONE, _NONE, _NONE, _NONE))
    exposures: Sequence[int] = ()


async def gather(
    url: str,
    families: Collection[Family],
    *,
    runs: Sequence[int] | None = None,
    since: int | None = None,
    venue: str | None = None,
    counted: bool = False,
) -> Gathered:
    """Read the world at `url`, of one moment; of texts, exposures and calls what these families need.

    Args:
        runs, since, venue: which runs count; None for all. Acts outside of runs count only where all three are None.
        counted: count exposures even though no family needs them.

    Raises:
        NotFound: there is no run of a number.
        Unavailable: the database can't be reached.
    """
    connection = await worlds.connect(url)
    try:
        async with snapshot(connection):
            await connection.execute(METRICS_SQL["roomy"])
            return await _gather(connection, frozenset(families), runs, since, venue, counted=counted)
    finally:
        connection.terminate()


async def _gather(
    connection: asyncpg.Connection,
    families: frozenset[Family],
    numbers: Sequence[int] | None,
    since: int | None,
    venue: str | None,
    *,
    counted: bool,
) -> Gathered:
    within = any(one is not None for one in (numbers, since, venue))
    rows = await connection.fetch(METRICS_SQL["runs"], None if numbers is None else list(numbers), since or 0, venue)
    ids = np.array([row["id"] for row in rows], np.int64)
    _all_there(numbers or (), ids, since or 0)
    row = await connection.fetchrow(METRICS_SQL["people"])
    people, leanings = _numbers(row["id"]), row["leaning"] or []
    made = {
        row["kind"]: (_numbers(row["id"]), _places(ids, _numbers(row["run"])))
        for row in await connection.fetch(METRICS_SQL["made"], ids.tolist())
    }
    p = await _columns(connection, "posts")
    c = await _columns(connection, "comments")
    parent, post = _places(p["id"], p["parent"]), _places(p["id"], c["post"])
    author = _places(people, p["author"])
    of = np.where(parent >= 0, author[parent] if len(author) else parent, NOWHERE)
    posts = Acts(p["id"], author, of, _NONE)
    seen = post >= 0
    c, post = {name: column[seen] for name, column in c.items()}, post[seen]
    answered = _places(c["id"], c["parent"])
    parents = np.concatenate([parent, np.where(answered >= 0, answered + len(p["id"]), post)])
    comments = Acts(c["id"], _places(people, c["author"]), author[post], _NONE)
    k = await _columns(connection, "likes")
    liked = _places(p["id"], k["post"])
    k, liked = {name: column[liked >= 0] for name, column in k.items()}, liked[liked >= 0]
    likes = Acts(k["id"], _places(people, k["who"]), np.where(p["repost"] > 0, of, author)[liked], _NONE)
    f = await _columns(connection, "follows")
    follows = Acts(f["id"], _places(people, f["who"]), _places(people, f["whom"]), _NONE)
    posts, comments, likes, follows = (
        _by_run(acts, made.get(kind))
        for kind, acts in (("post", posts), ("comment", comments), ("like", likes), ("follow", follows))
    )
    texts = await _texts(connection, posts, comments, within=within) if families & TEXTUAL else Texts((), _NONE, _NONE)
    shown = Shown(_NONE, _NONE, _NONE, _NONE)
    exposures: list[int] = []
    if "exposure" in families:
        shown = await _shown(connection, people, ids)
        exposures = [int(shown.of_run(run)[2].sum()) for run in range(len(ids))]
    elif counted:
        exposures = (await _columns(connection, "exposures", ids.tolist()))["times"].tolist()
    process = await _process(connection, rows) if "process" in families else {}
    played = [RunOf(row["id"], row["venue"], row["at"], process.get(row["id"], NOTHING)) for row in rows]
    return Gathered(
        people, _numbered(leanings), sides(leanings), posts, np.flatnonzero(p["repost"]), comments, parents, likes,
        follows, played, within, texts, shown, exposures,
    )  # fmt: skip


def _all_there(numbers: Sequence[int], ids: Ints, since: int) -> None:
    """
    Raises:
        NotFound: a run after `since` is not there.
    """
    if missing := sorted({n for n in numbers if n > since} - {*ids.tolist()}):
        raise NotFound(f"no run has the number {missing[0]}: `simfeed runs` lists them")


async def _columns(connection: asyncpg.Connection, statement: str, *given: object) -> dict[str, Ints]:
    row = await connection.fetchrow(METRICS_SQL[statement], *given)
    return {name: _numbers(value) for name, value in row.items()}


def _numbers(sent: bytes | None, form: str = ">i8") -> Ints:
    return np.frombuffer(sent or b"", form).astype(np.int64)


def _places(ids: Ints, wanted: Ints) -> Ints:
    """The place of each number among `ids`, which ascend; `NOWHERE` for those that are not there."""
    if not len(ids):
        return np.full(len(wanted), NOWHERE, np.int64)
    at = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    return np.where(ids[at] == wanted, at, NOWHERE)


def _by_run(acts: Acts, made: tuple[Ints, Ints] | None) -> Acts:
    """With the run in which each was made."""
    if made is None:
        return Acts(acts.id, acts.who, acts.to, np.full(len(acts.id), NOWHERE, np.int64))
    ids, runs = made
    at = _places(ids, acts.id)
    return Acts(acts.id, acts.who, acts.to, np.where(at >= 0, runs[at], NOWHERE))


def _numbered(leanings: Sequence[str | None]) -> Ints:
    """A number for each leaning, by the alphabet."""
    number = {one: n for n, one in enumerate(sorted({one for one in leanings if one}))}
    return np.array([number.get(one or "", UNKNOWN) for one in leanings], np.int64)


async def _texts(connection: asyncpg.Connection, posts: Acts, comments: Acts, *, within: bool) -> Texts:
    wanted = [acts.id[acts.run >= 0].tolist() if within else None for acts in (posts, comments)]
    kind, number, bodies = [], [], []
    async for row in connection.cursor(METRICS_SQL["texts"], *wanted, prefetch=ROWS_AT_ONCE):
        kind.append(row["kind"])
        number.append(row["id"])
        bodies.append(row["body"])
    is_comment, ids = np.array(kind, np.int64) == 1, np.array(number, np.int64)
    at = np.where(is_comment, _places(comments.id, ids) + len(posts.id), _places(posts.id, ids))
    known = np.where(is_comment, at >= len(posts.id), at >= 0)
    who, run = (np.concatenate([getattr(posts, name), getattr(comments, name)]) for name in ("who", "run"))
    return Texts(list(compress(bodies, known.tolist())), who[at[known]], run[at[known]])


async def _shown(connection: asyncpg.Connection, people: Ints, runs: Ints) -> Shown:
    """What runs were shown, read one after the other, for it is millions."""
    parts = [(_NONE, _NONE, _NONE)]
    async for row in connection.cursor(METRICS_SQL["shown"], runs.tolist(), prefetch=1):
        viewer, author = (_places(people, _numbers(row[name])) for name in ("viewer", "author"))
        known = (viewer >= 0) & (author >= 0)
        parts.append((viewer[known], author[known], _numbers(row["times"])[known]))
    cuts = np.cumsum([len(times) for *_, times in parts])[1:-1]
    viewer, author, times = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Shown(viewer, author, times, cuts)


NOTHING = Process(1, 0, 0, 0, 0, 0, 0, 0, 0.0, 0, _NONE)


async def _process(connection: asyncpg.Connection, runs: Sequence[Mapping[str, Any]]) -> dict[int, Process]:
    """By run, what it took."""
    ids = [row["id"] for row in runs]
    states: dict[int, dict[str, int]] = {}
    for row in await connection.fetch(FIGURES["states"], ids):
        states.setdefault(row["run_id"], {})[row["state"]] = row["turns"]
    took = {row["run_id"]: row for row in await connection.fetch(FIGURES["usage"], ids)}
    answered = await connection.fetch(METRICS_SQL["latencies"], ids)
    waited = {row["run_id"]: _numbers(row["ms"], ">i4") for row in answered}
    found = {}
    for run in runs:
        stood, usage = states.get(run["id"], {}), took.get(run["id"], {})
        found[run["id"]] = Process(
            1,
            max(run["turns_total"], sum(stood.values())),
            sum(turns for state, turns in stood.items() if state not in OPEN),
            stood.get("refused", 0),
            sum(stood.get(state, 0) for state in LOST),
            int(usage.get("calls", 0)),
            int(usage.get("prompt_tokens", 0)),
            int(usage.get("completion_tokens", 0)),
            float(usage.get("cost_usd", 0)),
            int(usage.get("unpriced", 0)),
            waited.get(run["id"], _NONE),
        )
    return found


def whole(runs: Sequence[RunOf]) -> Process:
    """What runs took together."""
    each = [run.process for run in runs]
    return Process(
        len(each),
        sum(one.planned for one in each),
        sum(one.ended for one in each),
        sum(one.refused for one in each),
        sum(one.lost for one in each),
        sum(one.calls for one in each),
        sum(one.prompt_tokens for one in each),
        sum(one.completion_tokens for one in each),
        sum(one.cost_usd for one in each),
        sum(one.unpriced for one in each),
        np.concatenate([_NONE, *(one.latency_ms for one in each)]),
    )
