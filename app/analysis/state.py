"""The state of a world: its canonical hash (docs/worlds.md), and what differs between two worlds."""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import asyncpg
from sqlalchemy import Column, DateTime, LargeBinary, Table, Text

from app.db import worlds
from app.db.queries import load
from app.db.worlds import COPIED, CUT
from app.models import Base

STATE = load("state")
NETWORK = (
    "comments", "follows", "instance", "likes", "memories", "mutes", "news", "persona_versions", "personas",
    "post_counts", "posts", "quarantines", "reactions", "reports",
)  # fmt: skip
"""What the world is to those who live in it."""

LEDGER = (
    "actions", "calls", "exposures", "interventions", "marks", "prompt_texts", "runs", "session_asks",
    "session_checkpoints", "session_lines", "session_members", "sessions", "turns",
)  # fmt: skip
"""How it came about."""

NO_STATE = ("events",)
"""Copied, and no state: what listeners are told, which ages."""

LEFT_OUT: dict[str, tuple[str, ...]] = {
    "instance": ("bootstrapped_at", "scheduler_interval_minutes", "halted_at", "created_at"),
    "runs": ("estimate", "realism"),
    "sessions": ("epoch", "lease_until"),
    "turns": ("epoch", "lease_until", "held_tokens", "held_usd", "held_day"),
}
"""Columns of processes and installations, and what is worked out from others.

Those that a fork cuts are left out too, and generated ones."""

MEASURED: dict[str, tuple[str, ...]] = {
    "calls": ("latency_ms", "created_at"),
    "exposures": ("created_at",),
    "interventions": ("created_at", "done_at"),
    "marks": ("created_at",),
    "news": ("created_at",),
    "persona_versions": ("created_at",),
    "prompt_texts": ("created_at",),
    "quarantines": ("created_at", "lifted_at"),
    "runs": ("created_at", "started_at", "ended_at", "lost_calls", "remembered_at"),
    "session_checkpoints": ("at",),
    "session_lines": ("at",),
    "sessions": ("created_at", "ended_at"),
    "turns": ("started_at", "ended_at"),
}
"""What a wall clock, or an accident, has written: it differs each time, even where the world's clock is simulated."""

Part = Literal["all", "network", "ledger"]
Times = Literal["all", "world", "none"]
FETCH = 5_000
STRETCH = 256
"""Rows that are compared at a stroke."""

SHOWN = 300
"""Characters of a value that a difference shows."""


@dataclass(frozen=True)
class Terms:
    """What is compared.

    `times`: `all` there are; `world`, without what wall clocks measured (two runs under a simulated clock); `none`,
    without any time (two runs in live mode). `without` names more columns to leave out, as `table.column`.
    """

    part: Part = "all"
    times: Times = "all"
    without: frozenset[str] = frozenset()

    def tables(self) -> tuple[str, ...]:
        """The tables that count, by name."""
        return {"all": tuple(sorted((*NETWORK, *LEDGER))), "network": NETWORK, "ledger": LEDGER}[self.part]

    def columns(self, table: str) -> tuple[str, ...]:
        """The columns of a table that count, by name."""
        return tuple(sorted(c.name for c in _table(table).columns if self._counts(table, c)))

    def _counts(self, table: str, column: "Column[Any]") -> bool:
        away = LEFT_OUT.get(table, ()) + CUT.get(table, ())
        if column.computed is not None or column.name in away or f"{table}.{column.name}" in self.without:
            return False
        if self.times == "all":
            return True
        measured = column.name in MEASURED.get(table, ())
        return not (measured or (self.times == "none" and isinstance(column.type, DateTime)))


ALL = Terms()


@dataclass(frozen=True)
class TableState:
    """`sha256` covers the table's name, its columns that count and their values, in the order of the primary key."""

    table: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class WorldState:
    """`sha256` covers the tables', in the order of their names."""

    sha256: str
    tables: tuple[TableState, ...]


@dataclass(frozen=True)
class RowDiff:
    """A row that is not the same: `columns` holds its values in both worlds where they differ, cut to `SHOWN`."""

    kind: Literal["only_a", "only_b", "changed"]
    key: dict[str, str]
    about: str
    columns: dict[str, tuple[str | None, str | None]]


@dataclass
class TableDiff:
    """What differs in a table, counted, and the first of it in the order of the key."""

    table: str
    rows_a: int = 0
    rows_b: int = 0
    only_a: int = 0
    only_b: int = 0
    changed: int = 0
    first: list[RowDiff] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        return not (self.only_a or self.only_b or self.changed)


@dataclass(frozen=True)
class WorldDiff:
    tables: tuple[TableDiff, ...]

    @property
    def equal(self) -> bool:
        return all(table.equal for table in self.tables)


def _table(name: str) -> Table:
    return Base.metadata.tables[name]


@cache
def _key(table: str) -> tuple[str, ...]:
    return tuple(column.name for column in _table(table).primary_key)


def _q(names: Iterable[str]) -> str:
    return ", ".join(f't."{name}"' for name in names)


def rows_of(table: str, terms: Terms) -> str:
    """The statement that gives each row's key and digest, in the order of the key."""
    return f"SELECT {_q(_key(table))}, sha256(record_send(ROW({_q(terms.columns(table))}))) AS digest {in_order(table)}"


def in_order(table: str) -> str:
    """What follows the columns of a statement that reads the rows that travel, as `t`, in the order of the key."""
    order = ", ".join(
        f't."{name}"' + (' COLLATE "C"' if isinstance(_table(table).c[name].type, Text) else "") for name in _key(table)
    )
    private = f"WHERE NOT {COPIED[table]}" if COPIED[table] else ""
    return f'FROM "{table}" t {private} ORDER BY {order}'


def header(table: str, terms: Terms) -> bytes:
    """What a table's hash begins with."""
    return f"{table}({','.join(terms.columns(table))})\n".encode()


@asynccontextmanager
async def snapshot(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """All that is read in the block is of one moment; indexes give the order, so that nothing is sorted in memory."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(
            "SET LOCAL statement_timeout = 0; SET LOCAL jit = off; SET LOCAL cursor_tuple_fraction = 1"
        )
        yield


async def _chunks(connection: asyncpg.Connection, table: str, terms: Terms) -> AsyncIterator[list[asyncpg.Record]]:
    cursor = await connection.cursor(rows_of(table, terms))
    while rows := await cursor.fetch(FETCH):
        yield rows


async def state(
    connection: asyncpg.Connection, terms: Terms = ALL, told: Callable[[str], None] = lambda _: None
) -> WorldState:
    """The hash of the world that `connection` is to; memory does not grow with the world."""
    found = []
    async with snapshot(connection):
        for table in terms.tables():
            told(f"hashing {table}")
            digest, count = hashlib.sha256(header(table, terms)), 0
            async for rows in _chunks(connection, table, terms):
                digest.update(b"".join([row[-1] for row in rows]))
                count += len(rows)
            found.append(TableState(table, count, digest.hexdigest()))
    whole = "".join(f"{one.table} {one.sha256}\n" for one in found)
    return WorldState(hashlib.sha256(whole.encode()).hexdigest(), tuple(found))


async def state_at(url: str, terms: Terms = ALL, told: Callable[[str], None] = lambda _: None) -> WorldState:
    """The hash of the world at `url`.

    Raises:
        Unavailable: the database can't be reached.
    """
    connection = await worlds.connect(url)
    try:
        return await state(connection, terms, told)
    finally:
        connection.terminate()


async def diff_at(
    url_a: str, url_b: str, terms: Terms = ALL, *, limit: int = 10, told: Callable[[str], None] = lambda _: None
) -> WorldDiff:
    """What differs between two worlds, and the first `limit` differences of each table.

    Raises:
        Unavailable: a database can't be reached.
    """
    a = await worlds.connect(url_a)
    try:
        b = await worlds.connect(url_b)
        try:
            return await diff(a, b, terms, limit=limit, told=told)
        finally:
            b.terminate()
    finally:
        a.terminate()


async def diff(
    a: asyncpg.Connection,
    b: asyncpg.Connection,
    terms: Terms = ALL,
    *,
    limit: int = 10,
    told: Callable[[str], None] = lambda _: None,
) -> WorldDiff:
    """As `diff_at`, over two connections: both are read in the order of the keys, side by side."""
    found = []
    async with snapshot(a), snapshot(b):
        for table in terms.tables():
            told(f"comparing {table}")
            found.append(await _diff_table(a, b, table, terms, limit))
    return WorldDiff(tuple(found))


class _Side:
    """One world's rows of a table, in order. `taken` is how many were passed."""

    def __init__(self, chunks: AsyncIterator[list[asyncpg.Record]]) -> None:
        self._chunks = chunks
        self.rows: list[asyncpg.Record] = []
        self.place = 0
        self.taken = 0

    async def filled(self) -> bool:
        """Whether there is another row."""
        if self.place == len(self.rows):
            self.taken += len(self.rows)
            self.rows, self.place = await anext(self._chunks, []), 0
        return bool(self.rows)

    def ahead(self, most: int = STRETCH) -> list[asyncpg.Record]:
        return self.rows[self.place : self.place + most]

    def next(self) -> asyncpg.Record:
        row = self.rows[self.place]
        self.place += 1
        return row


async def _diff_table(a: asyncpg.Connection, b: asyncpg.Connection, table: str, terms: Terms, limit: int) -> TableDiff:
    found = TableDiff(table)
    first: list[tuple[Literal["only_a", "only_b", "changed"], tuple[Any, ...]]] = []
    one, other = _Side(_chunks(a, table, terms)), _Side(_chunks(b, table, terms))
    while True:
        more = (await one.filled(), await other.filled())
        if not any(more):
            break
        if all(more) and (same := one.ahead()) == other.ahead(len(same)):
            one.place, other.place = one.place + len(same), other.place + len(same)
            continue
        left = tuple(one.rows[one.place])[:-1] if more[0] else None
        right = tuple(other.rows[other.place])[:-1] if more[1] else None
        if right is None or (left is not None and left < right):
            one.next()
            found.only_a += 1
            kind: Literal["only_a", "only_b", "changed"] = "only_a"
        elif left is None or right < left:
            other.next()
            found.only_b += 1
            kind = "only_b"
        elif one.next()[-1] != other.next()[-1]:
            found.changed += 1
            kind = "changed"
        else:
            continue
        if len(first) < limit:
            first.append((kind, left if kind != "only_b" and left is not None else right or ()))
    found.rows_a, found.rows_b = one.taken, other.taken
    found.first = [await _shown(a, b, table, terms, kind, key) for kind, key in first]
    return found


async def _shown(
    a: asyncpg.Connection,
    b: asyncpg.Connection,
    table: str,
    terms: Terms,
    kind: Literal["only_a", "only_b", "changed"],
    key: tuple[Any, ...],
) -> RowDiff:
    columns = tuple(sorted({*terms.columns(table), *_key(table)}))
    nothing: dict[str, tuple[str | None, bytes]] = {}
    in_a = await _values(a, table, columns, key) if kind != "only_b" else nothing
    in_b = await _values(b, table, columns, key) if kind != "only_a" else nothing
    away = (None, b"")
    differ = {
        name: (in_a.get(name, away)[0], in_b.get(name, away)[0])
        for name in columns
        if in_a.get(name, away)[1] != in_b.get(name, away)[1]
    }
    values = {name: text for name, (text, _) in (in_b or in_a).items()}
    about = await _about(a if kind == "only_a" else b, table, values)
    return RowDiff(kind, {name: str(values[name]) for name in _key(table)}, about, differ)


async def _values(
    connection: asyncpg.Connection, table: str, columns: tuple[str, ...], key: tuple[Any, ...]
) -> dict[str, tuple[str | None, bytes]]:
    """Each column's value as people read it, cut, and the digest of the whole value."""
    texts = ", ".join(_readable(_table(table).c[name]) for name in columns)
    digests = ", ".join(f'sha256(record_send(ROW(t."{name}")))' for name in columns)
    where = " AND ".join(f't."{name}" = ${n}' for n, name in enumerate(_key(table), 1))
    row = await connection.fetchrow(
        f'SELECT ARRAY[{texts}] AS texts, ARRAY[{digests}] AS digests FROM "{table}" t WHERE {where}',  # noqa: S608 - as above
        *key,
    )
    assert row is not None  # noqa: S101 - it was there in this snapshot
    return dict(zip(columns, zip(row["texts"], row["digests"], strict=True), strict=True))


def _readable(column: "Column[Any]") -> str:
    if isinstance(column.type, LargeBinary):
        return f"""left(encode(substr(t."{column.name}", 1, {SHOWN}), 'escape'), {SHOWN})"""
    return f'left(t."{column.name}"::text, {SHOWN})'


def _refers(table: str, column: str, to: str) -> bool:
    if to == "turns" and column == "turn_id":
        return True
    return any(key.column.table.name == to for key in _table(table).c[column].foreign_keys)


async def _about(connection: asyncpg.Connection, table: str, values: Mapping[str, str | None]) -> str:
    """A row in words: whom and what it concerns, and how its text begins."""

    async def named(statement: str, to: str) -> list[str]:
        ids = [int(v) for name, v in values.items() if v is not None and _refers(table, name, to)]
        rows = {row[0]: row[1] for row in await connection.fetch(STATE[statement], ids)} if ids else {}
        return [str(rows[number]) for number in ids if number in rows]

    said = [f"@{name}" for name in await named("handles", "personas")]
    said += [f"a turn of @{name}" for name in await named("players", "turns")]
    said += [f"post “{text}”" for text in await named("texts", "posts")]
    if table == "personas":
        said.append(f"@{values['username']}")
    text = next((v for name in ("body", "name", "reason") if (v := values.get(name))), None)
    return ", ".join([*said, *([f"“{text[:80]}”"] if text else [])])
