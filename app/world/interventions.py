"""Interventions: changes to the world that were planned, and are done when a cycle is opened (docs/interventions.md).

Each is done exactly once, in the transaction that opens the cycle: cycles are opened, and interventions planned, one
after the other. What one is about to do and can't, fails with a reason, and the cycle goes on.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

import asyncpg
import msgspec

from app.db.engine import Database
from app.db.queries import load
from app.errors import AppError, Conflict, NotFound
from app.world import news
from app.world.plans import Group, Plan, Wrong
from app.world.text import INT64_MAX

_SQL = load("interventions")
Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy"
State = Literal["planned", "done", "failed", "cancelled"]
STATES: tuple[State, ...] = ("planned", "done", "failed", "cancelled")
PLANNED_MOST = 10_000
"""Interventions that wait at a time."""


def statement_for(statement: str, to: str) -> str:
    """A statement about those whom the JSON `to` says."""
    return _SQL[statement].replace("{addressed}", f"({_SQL['addressed']})").replace("{to}", to)


HERE, PAUSE, RESUME = (statement_for(name, "$1::jsonb") for name in ("here", "pause", "resume"))


@dataclass(frozen=True)
class Intervention:
    """One of them as it is kept. `outcome` says what came of it, a failed one's `reason`."""

    id: int
    kind: str
    cycle: int | None
    at: datetime | None
    detail: dict[str, Any]
    note: str
    state: State
    run_id: int | None
    outcome: dict[str, Any]
    created_at: datetime
    created_by: int | None
    done_at: datetime | None

    @property
    def summary(self) -> str:
        """What it does, in a few words."""
        return summary(self.kind, self.detail)

    @property
    def came_of_it(self) -> str:
        """Its outcome, in a few words."""
        out = self.outcome
        if self.state == "failed":
            return str(out.get("reason", ""))
        if "post_id" in out:
            return f"post {out['post_id']}"
        if "news_id" in out:
            return f"news {out['news_id']}"
        if "changed" in out:
            stay = f", {out['stay']} stay paused by an admin" if out.get("stay") else ""
            return f"{out['changed']} personas{stay}"
        return f"for {out['here']} personas" if "here" in out else ""


@dataclass(frozen=True)
class Recorded:
    """What one did in a run that is played again: when, and the ids of what it made."""

    at: datetime
    outcome: Mapping[str, Any] = field(default_factory=dict)


def summary(kind: str, detail: Mapping[str, Any]) -> str:
    """What an intervention of this kind does, in a few words."""
    to = addressees(detail["to"]) if "to" in detail else ""
    match kind:
        case "post":
            return f"@{detail['username']} says “{detail['body'][:80]}”"
        case "message":
            by = f"@{detail['username']}" if detail.get("username") else detail.get("sender") or "somebody outside"
            return f"{by} tells {to}: “{detail['body'][:80]}”"
        case "ranker":
            ways = [("ranked by", detail.get("ranker")), ("people suggested by", detail.get("who_to_follow"))]
            return f"{to}: " + ", ".join(f"{what} {name}" for what, name in ways if name)
        case "news":
            return f"news: “{detail['title'][:80]}”"
    return f"{kind}s {to}"


def addressees(to: Mapping[str, Any]) -> str:
    """Whom it is for, in a few words."""
    if "personas" in to:
        names = [f"@{name}" for name in to["usernames"]]
        return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return next((f"{what} {to[what]}" for what in ("leaning", "tag") if what in to), "all")


# Planning


@dataclass(frozen=True)
class Drafted:
    """Plans that can be kept: their rows, and the cycles that the world has seen."""

    rows: list[tuple[str, int | None, datetime | None, str, str]]
    cycles: int

    def told(self) -> list[tuple[str, int | None, datetime | None, dict[str, Any], str]]:
        """The rows, for people: their details as data."""
        return [(kind, cycle, at, msgspec.json.decode(detail), note) for kind, cycle, at, detail, note in self.rows]


async def hold(connection: Connection) -> None:
    """Until the transaction ends, nobody else opens a cycle of the feed or plans an intervention."""
    await connection.fetchval(_SQL["hold"])


async def draft(
    connection: Connection, plans: Sequence[Plan], *, now: datetime | None = None, relative: bool = False
) -> Drafted:
    """See that all plans can be kept.

    Args:
        now: the time in the world, if its clock is simulated.
        relative: their cycles count from the next one on.

    Raises:
        Invalid: names each that can't, and why.
        Conflict: too many wait already.
    """
    await hold(connection)
    counted = await connection.fetchrow(_SQL["cycles"])
    assert counted is not None  # noqa: S101 - an aggregate always gives a row
    seen, at = counted["cycles"], now or counted["now"]
    if await connection.fetchval(_SQL["planned"]) + len(plans) > PLANNED_MOST:
        raise Conflict(f"more than {PLANNED_MOST:,} interventions would wait: cancel some first")
    names = sorted({name.lower() for plan in plans for _, name in _names(plan)})
    who = {row["username"].lower(): row for row in await connection.fetch(_SQL["names"], names)} if names else {}
    wrong = Wrong()
    for n, plan in enumerate(plans):
        for key, name in _names(plan):
            if name.lower() not in who:
                wrong.add(n, key, f"no persona has the username {name}")
        if plan.cycle is not None and not relative and plan.cycle <= seen:
            wrong.add(n, "cycle", f"is over: the next cycle of this world is {seen + 1}, not {plan.cycle}")
        if plan.at is not None and plan.at < at:
            wrong.add(n, "at", f"is over: it is {at:%Y-%m-%d %H:%M} in this world, not {plan.at:%Y-%m-%d %H:%M}")
    wrong.tell()
    cycles = [plan.cycle if plan.cycle is None or not relative else plan.cycle + seen for plan in plans]
    return Drafted(
        [
            (plan.kind, cycle, plan.at, msgspec.json.encode(_detail(plan, who)).decode(), plan.note)
            for plan, cycle in zip(plans, cycles, strict=True)
        ],
        seen,
    )


async def plan(
    connection: Connection,
    plans: Sequence[Plan],
    *,
    now: datetime | None = None,
    relative: bool = False,
    by: int | None = None,
) -> list[int]:
    """Keep plans, all or none, in the caller's transaction; their ids in order. `by` is an admin; else as `draft`."""
    drafted = await draft(connection, plans, now=now, relative=relative)
    columns = map(list, zip(*drafted.rows, strict=True))
    return sorted(row["id"] for row in await connection.fetch(_SQL["plan"], *columns, by)) if plans else []


def _names(plan: Plan) -> list[tuple[str, str]]:
    """The usernames that a plan holds, with the keys under which they stand."""
    to = getattr(plan, "to", None)
    found = [("persona", getattr(plan, "persona", None)), ("from", getattr(plan, "by", None))]
    found += [("to", name) for name in to] if isinstance(to, list) else []
    return [(key, name) for key, name in found if name]


def _detail(plan: Plan, who: Mapping[str, asyncpg.Record]) -> dict[str, Any]:
    """What is kept of a plan: personas by their ids, so that one may get another username meanwhile."""
    kept = plan.model_dump(exclude={"kind", "cycle", "at", "note", "to", "persona", "by"}, exclude_none=True)
    if (to := getattr(plan, "to", None)) is not None:
        kept["to"] = _to(to, who)
    if name := getattr(plan, "persona", None):
        kept |= {"persona_id": who[name.lower()]["id"], "username": who[name.lower()]["username"]}
    if name := getattr(plan, "by", None):
        kept |= {"from_id": who[name.lower()]["id"], "username": who[name.lower()]["username"]}
    return kept


def _to(to: object, who: Mapping[str, asyncpg.Record]) -> dict[str, Any]:
    if isinstance(to, Group):
        return to.model_dump(exclude_none=True)
    if isinstance(to, list):
        people = {who[name.lower()]["id"]: who[name.lower()]["username"] for name in to}
        return {"personas": sorted(people), "usernames": [people[number] for number in sorted(people)]}
    return {"all": True}


async def cycles(database: Database) -> int:
    """How many cycles of the feed the world has seen."""
    return int(await database.fetchval(_SQL["cycles"]))


async def listed(
    database: Database, *, limit: int, before: int = INT64_MAX, state: State | None = None
) -> list[Intervention]:
    """The newest first."""
    return [_read(row) for row in await database.fetch(_SQL["listed"], before, state, limit)]


async def of_run(database: Database, run_id: int) -> list[Intervention]:
    """Those with which a run began, in the order in which they were done."""
    return [_read(row) for row in await database.fetch(_SQL["of_run"], run_id)]


def _read(row: asyncpg.Record) -> Intervention:
    found = dict(row)
    return Intervention(
        **{**found, "detail": msgspec.json.decode(found["detail"]), "outcome": msgspec.json.decode(found["outcome"])}
    )


async def behind_post(database: Database, post_id: int) -> asyncpg.Record | None:
    """The intervention that put a post there."""
    return await database.fetchrow(_SQL["behind_post"], post_id)


async def cancel(connection: Connection, number: int) -> None:
    """One that is planned is not to be done.

    Raises:
        NotFound: there is none of that number.
        Conflict: it is not planned any more.
    """
    if await connection.fetchval(_SQL["cancel"], number) is not None:
        return
    row = await connection.fetchrow(_SQL["one"], number)
    if row is None:
        raise NotFound(f"no intervention has the number {number}")
    when = f" in run {row['run_id']}" if row["run_id"] else ""
    raise Conflict(f"intervention {number} is {row['state']}{when}: only a planned one can be cancelled")


# Doing


async def begin(
    connection: Connection,
    run_id: int,
    *,
    at: datetime | None = None,
    again: Mapping[int, Recorded | None] | None = None,
) -> int:
    """Do what is due when a cycle begins, in the transaction that opened it as run `run_id`; how many were due.

    Args:
        at: the time in the world, if its clock is simulated.
        again: in a fork, do exactly these, with the ids and at the time that they had, if those are given.
    """
    if again is not None:
        rows = await connection.fetch(_SQL["these"], list(again))
    else:
        counted = await connection.fetchrow(_SQL["cycles"])
        assert counted is not None  # noqa: S101 - an aggregate always gives a row
        rows = await connection.fetch(_SQL["due"], counted["cycles"], at or counted["now"])
    if not rows:
        return 0
    details = [msgspec.json.decode(row["detail"]) for row in rows]
    await connection.fetch(_SQL["lock_people"], [d["persona_id"] for d in details if "persona_id" in d])
    for row, detail in zip(rows, details, strict=True):
        was = (again or {}).get(row["id"])
        when, made = at or (was.at if was else None), was.outcome if was else {}
        doing = Doing(connection, row["id"], run_id, detail, when, made)
        await _settle(doing, row["kind"], was)
    return len(rows)


async def _settle(doing: "Doing", kind: str, was: Recorded | None) -> None:
    state = "done"
    try:
        async with doing.connection.transaction():
            outcome = await _DO[kind](doing)
    except AppError as error:
        state, outcome = "failed", {"reason": error.detail}
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
        state, outcome = "failed", {"reason": f"the database refused it: {error}"[:300]}
    done_at = was.at if was else None
    kept = msgspec.json.encode(outcome).decode()
    await doing.connection.fetchval(_SQL["settle"], doing.id, doing.run_id, state, kept, done_at)


@dataclass(frozen=True)
class Doing:
    """An intervention under way; it is `at` in the world (None: now), and what it makes gets the ids of `made`."""

    connection: Connection
    id: int
    run_id: int
    detail: dict[str, Any]
    at: datetime | None
    made: Mapping[str, Any]

    @property
    def to(self) -> str:
        return msgspec.json.encode(self.detail["to"]).decode()


async def _post(it: Doing) -> dict[str, Any]:
    d = it.detail
    made = await it.connection.fetchval(
        _SQL["say"], d["persona_id"], d.get("title") or None, d["body"], it.at, it.made.get("post_id")
    )
    if made is None:
        raise NotFound(f"@{d['username']} (persona {d['persona_id']}) has departed")
    return {"post_id": made}


async def _here(it: Doing) -> dict[str, Any]:
    """Whom it is for: how many, and the newest of them.

    Raises:
        NotFound: nobody.
    """
    row = await it.connection.fetchrow(HERE, it.to)
    if row is None or not row["here"]:
        to = it.detail["to"]
        gone = f"{addressees(to)} departed" if "personas" in to else f"nobody here is one of {addressees(to)}"
        raise NotFound(gone)
    return {"here": row["here"], "newest": row["newest"]}


async def _ranker(it: Doing) -> dict[str, Any]:
    return {"here": (await _here(it))["here"]}


async def _pause(it: Doing) -> dict[str, Any]:
    await _here(it)
    return {"changed": await it.connection.fetchval(PAUSE, it.to, it.id)}


async def _resume(it: Doing) -> dict[str, Any]:
    await _here(it)
    row = await it.connection.fetchrow(RESUME, it.to)
    assert row is not None  # noqa: S101 - a statement of aggregates gives a row
    return {"changed": row["changed"], "stay": row["stay"], "woken": msgspec.json.decode(row["woken"])}


async def _news(it: Doing) -> dict[str, Any]:
    d = it.detail
    if (number := it.made.get("news_id")) is not None:
        await it.connection.fetchval(_SQL["news_number"], number)
    item = news.NewsItem(title=d["title"], text=d["body"], source=d["source"], url=d.get("url"))
    at = it.at or (await it.connection.fetchrow(_SQL["cycles"]))["now"]
    (made,) = await news.publish(it.connection, [item], now=at)
    if made is None:
        raise Conflict(f"news with the address {d.get('url', '')[:200]} is there already")
    await it.connection.fetchval(_SQL["news_known"], made, it.run_id)
    return {"news_id": made}


_DO: dict[str, Callable[[Doing], Awaitable[dict[str, Any]]]] = {
    "post": _post,
    "message": _here,
    "ranker": _ranker,
    "pause": _pause,
    "resume": _resume,
    "news": _news,
}


async def leave_out(connection: Connection, numbers: Sequence[int]) -> None:
    """In a fork: these are not to be done."""
    await connection.fetchval(_SQL["leave_out"], list(numbers))


async def crowd_gone(connection: Connection, run_id: int) -> None:
    """In a fork: a run's turns, none of which was played, make room for others."""
    await connection.fetchval(_SQL["crowd_gone"], run_id)
