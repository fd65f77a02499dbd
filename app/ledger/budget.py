"""What turns may spend: reserved before a model call in every scope at once, settled with the step it belongs to."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, TypeVar

import asyncpg
import msgspec
import structlog

from app.db.engine import AWAY, Database, patiently
from app.db.queries import load
from app.ledger.figures import index_new

BUDGETS = load("budgets")
GROUP = 128
TRIES = 8
WARN_AT = 0.8
USD_MOST = 100_000.0
"""US dollars that one call may be said to cost; a larger price is a mistake."""

BUSY = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.LockNotAvailableError)
log = structlog.get_logger()
T = TypeVar("T")

Scope = Literal["call", "turn", "persona", "run", "instance"]
SETTINGS: dict[Scope, str] = {
    "call": "BUDGET_CALL",
    "turn": "BUDGET_TURN",
    "persona": "BUDGET_PERSONA_DAY",
    "run": "BUDGET_RUN",
    "instance": "BUDGET_DAY",
}
"""The settings that cap a scope, without their endings _TOKENS and _USD."""


@dataclass(frozen=True)
class Caps:
    """The most a scope may spend; None is no limit."""

    tokens: int | None = None
    usd: float | None = None

    def __bool__(self) -> bool:
        return self.tokens is not None or self.usd is not None


@dataclass(frozen=True)
class Account:
    """Who pays for a model call, on what terms. `spent_*` is what the turn's earlier calls were charged."""

    run_id: int
    persona_id: int
    turn_id: int
    epoch: int
    spent_tokens: int = 0
    spent_usd: float = 0.0
    call: Caps = Caps()
    turn: Caps = Caps()
    persona: Caps = Caps()
    run: Caps = Caps()
    instance: Caps = Caps()

    def shared(self) -> list[tuple[Scope, int, Caps]]:
        """The scopes that other turns spend in too, as (scope, key, caps), where there is a cap."""
        scopes: list[tuple[Scope, int, Caps]] = [
            ("persona", self.persona_id, self.persona),
            ("run", self.run_id, self.run),
            ("instance", 0, self.instance),
        ]
        return [scope for scope in scopes if scope[2]]


class Hold(msgspec.Struct, frozen=True):
    """What is reserved for one call, in the budgets of this day."""

    tokens: int
    usd: float
    day: date


class BudgetExhausted(Exception):
    """A call would take a scope over its cap: nothing was asked, nothing was reserved."""

    def __init__(self, scope: Scope, detail: str) -> None:
        super().__init__(detail)
        self.scope = scope
        self.detail = detail


class Superseded(Exception):
    """Another process holds this turn now, or the step was already committed: nothing was written."""


@dataclass(frozen=True)
class Nearly:
    """A scope has spent, or holds for calls under way, `share` (0 to 1) of its cap; `key` is its run or persona."""

    scope: Scope
    key: int
    share: float


def charged(prompt_tokens: int, completion_tokens: int, cost_usd: float | None) -> tuple[int, float]:
    """What a call is charged, as (tokens, US dollars): never less than nothing, whatever was reported."""
    usd = cost_usd if cost_usd is not None and math.isfinite(cost_usd) else 0.0
    return max(0, prompt_tokens) + max(0, completion_tokens), min(max(0.0, usd), USD_MOST)


async def charge_lost(database: Database, turn_ids: Sequence[int], epochs: Sequence[int] | None = None) -> int:
    """Charge what these turns hold for calls whose answers are lost, and return how many held something.

    With `epochs` only turns that are still at theirs: then what a new owner has reserved meanwhile stays untouched.
    Raises what asyncpg raises.
    """
    return await _end_holds(database, turn_ids, epochs, charge=True) if turn_ids else 0


async def charge_lost_of_run(database: Database, run_id: int) -> int:
    """Charge what turns of a run still hold when the run is at its end, and return how many held something."""
    rows = await database.fetch(BUDGETS["holding_turns"], run_id)
    return await charge_lost(database, [row["id"] for row in rows])


async def recount(database: Database | asyncpg.Connection) -> list[asyncpg.Record]:
    """Budgets of the last two days that differ from the ledger; none when all is well.

    A budget that lacks what was spent while nothing was capped is none of them: it catches up before it is used again.
    """
    rows: list[asyncpg.Record] = await database.fetch(BUDGETS["budget_drift"])
    return rows


async def _end_holds(database: Database, turn_ids: Sequence[int], epochs: Sequence[int] | None, *, charge: bool) -> int:
    given = list(epochs) if epochs is not None else [None] * len(turn_ids)
    return int(await _unless_busy(lambda: database.fetchval(BUDGETS["end_holds"], list(turn_ids), given, charge)))


async def _unless_busy(work: Callable[[], Awaitable[T]]) -> T:
    return await patiently(work, BUSY, tries=TRIES, wait=0.01)


@dataclass
class _Waiting:
    account: Account
    tokens: int
    usd: float
    unsure: bool
    done: asyncio.Future[Hold] = field(default_factory=asyncio.Future)

    def row(self) -> tuple[object, ...]:
        a = self.account
        caps = (a.persona.tokens, a.persona.usd, a.run.tokens, a.run.usd, a.instance.tokens, a.instance.usd)
        return (a.turn_id, a.epoch, self.tokens, self.usd, *caps)


class Desk:
    """Reserves for all turns of this process, in groups; takes what is there, without a timer.

    `nearly` lists the scopes that came to 80 % of their caps, each once; `on_nearly` is told of each.
    """

    def __init__(self, database: Database, *, on_nearly: Callable[[Nearly], None] | None = None) -> None:
        self._database = database
        self._on_nearly = on_nearly
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._drainer: asyncio.Task[None] | None = None
        self._open: set[tuple[Scope, int]] = set()
        self._day: date | None = None
        self._told: set[tuple[Scope, int]] = set()
        self.nearly: list[Nearly] = []
        self.groups = 0

    async def __aenter__(self) -> "Desk":
        self._drainer = asyncio.create_task(self._drain(), name="budget-desk")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._queue.join()
        if self._drainer is not None:
            self._drainer.cancel()
            await asyncio.gather(self._drainer, return_exceptions=True)

    async def reserve(self, account: Account, tokens: int, usd: float) -> Hold | None:
        """Hold `tokens` and `usd` (US dollars) for one call in all scopes; None where no shared scope has a cap.

        Raises:
            BudgetExhausted: a scope would go over its cap; nothing is held.
            Superseded: another process holds this turn now.
            asyncpg.PostgresError, OSError: the database refused, or was away for long.
        """
        tokens = max(0, tokens)
        usd = max(0.0, usd)
        _check_own(account, tokens, usd)
        if not account.shared():
            return None
        tried = 0

        async def reserve() -> Hold:
            nonlocal tried
            tried += 1
            waiting = _Waiting(account, tokens, usd, unsure=tried > 1)
            self._queue.put_nowait(waiting)
            return await waiting.done

        return await patiently(reserve, AWAY, tries=TRIES, wait=0.2)

    async def release(self, account: Account) -> None:
        """Give back what the turn holds: its call was not made. Nothing happens when the turn has moved on."""
        if account.shared():
            await _end_holds(self._database, [account.turn_id], [account.epoch], charge=False)

    async def _drain(self) -> None:
        while True:
            first = await self._queue.get()
            group, later = _take(first, self._queue)
            for some in (group, *([waiting] for waiting in later)):
                await self._settle([w for w in some if not w.done.done()])
                for _ in some:
                    self._queue.task_done()

    async def _settle(self, group: list[_Waiting]) -> None:
        """Every pass decides at least the first; what was only in the way of others is tried again without them."""
        try:
            while group:
                await self._open_rows(group)
                group = await self._pass(group)
        except Exception as error:
            for waiting in group:
                _fail(waiting, error)

    async def _open_rows(self, group: list[_Waiting]) -> None:
        new = sorted({(s, key) for w in group for s, key, _ in w.account.shared() if (s, key) not in self._open})
        if new:
            day = await _unless_busy(lambda: self._open_in_database(new))
            self._turn_to(day)
            self._open.update(new)

    async def _open_in_database(self, new: Sequence[tuple[Scope, int]]) -> date:
        scopes, keys = [scope for scope, _ in new], [key for _, key in new]
        if "instance" in scopes:  # it is begun with all calls of the day
            await index_new(self._database)
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(BUDGETS["one_opener"])
            day: date = await connection.fetchval(BUDGETS["open_budgets"], scopes, keys)
            return day

    def _turn_to(self, day: date) -> None:
        if day != self._day:
            self._day = day
            self._open.clear()
            self._told = {scope for scope in self._told if scope[0] == "run"}

    async def _pass(self, group: list[_Waiting]) -> list[_Waiting]:
        columns = [list(column) for column in zip(*(w.row() for w in group), strict=True)]
        rows = await _unless_busy(lambda: self._database.fetch(BUDGETS["reserve"], *columns, WARN_AT))
        self.groups += 1
        verdicts: dict[int, list[asyncpg.Record]] = {}
        for row in rows:
            verdicts.setdefault(row["n"] - 1, []).append(row)
        again = [w for n, w in enumerate(group) if not await self._decide(w, verdicts[n])]
        self._turn_to(rows[0]["day"])
        return again

    async def _decide(self, waiting: _Waiting, rows: list[asyncpg.Record]) -> bool:
        """Tell one what became of its wish; False when it must be tried again."""
        match rows[0]["verdict"]:
            case "held":
                self._warn(waiting, rows)
                await self._give(waiting, Hold(waiting.tokens, waiting.usd, rows[0]["day"]))
            case "over":
                _fail(waiting, _exhausted(waiting, next(row for row in rows if row["over"])))
            case "gone":
                _fail(waiting, Superseded(f"turn {waiting.account.turn_id} has moved on"))
            case "holds":
                await self._clear(waiting)
                return False
            case "missing":
                self._open.clear()
                return False
            case _:
                return False
        return True

    async def _clear(self, waiting: _Waiting) -> None:
        """The turn holds something already: by our own try that went unheard, or for a call whose answer was lost."""
        turn, epoch = waiting.account.turn_id, waiting.account.epoch
        await _end_holds(self._database, [turn], [epoch], charge=not waiting.unsure)

    async def _give(self, waiting: _Waiting, hold: Hold) -> None:
        if not waiting.done.done():
            waiting.done.set_result(hold)
            return
        try:
            await self.release(waiting.account)
        except (*AWAY, *BUSY):
            log.warning("hold left to be charged", turn=waiting.account.turn_id)

    def _warn(self, waiting: _Waiting, rows: Iterable[asyncpg.Record]) -> None:
        for row in rows:
            scope, key = row["scope"], row["key"]
            if scope is None or (scope, key) in self._told:
                continue
            self._told.add((scope, key))
            caps: Caps = getattr(waiting.account, scope)
            nearly = Nearly(scope, key, round(_share(waiting, row, caps), 4))
            self.nearly.append(nearly)
            log.warning("budget at 80 %", scope=scope, key=key, share=nearly.share)
            if self._on_nearly is not None:
                self._on_nearly(nearly)


def _take(first: _Waiting, queue: "asyncio.Queue[_Waiting]") -> tuple[list[_Waiting], list[_Waiting]]:
    """A group in which each turn stands once, and what must come behind it."""
    group, turns = [first], {first.account.turn_id}
    later: list[_Waiting] = []
    while not queue.empty() and len(group) + len(later) < GROUP:
        waiting = queue.get_nowait()
        (later if waiting.account.turn_id in turns else group).append(waiting)
        turns.add(waiting.account.turn_id)
    return group, later


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.done.done():
        waiting.done.set_exception(error)


def _share(waiting: _Waiting, row: Any, caps: Caps) -> float:
    used = [(row["spent_tokens"] + row["held_tokens"] + waiting.tokens) / caps.tokens] if caps.tokens else []
    used += [(row["spent_usd"] + row["held_usd"] + waiting.usd) / caps.usd] if caps.usd else []
    return max(used, default=1.0)


def _check_own(account: Account, tokens: int, usd: float) -> None:
    if not math.isfinite(usd) or usd > USD_MOST:
        raise BudgetExhausted("call", f"this call would cost {usd} US dollars, which can't be: check MODEL_PRICES")
    own: list[tuple[Scope, Caps, int, float]] = [
        ("call", account.call, 0, 0.0),
        ("turn", account.turn, account.spent_tokens, account.spent_usd),
    ]
    for scope, caps, spent_tokens, spent_usd in own:
        if caps.tokens is not None and spent_tokens + tokens > caps.tokens:
            raise BudgetExhausted(scope, _sentence(scope, 0, tokens, caps.tokens, spent_tokens, 0))
        if caps.usd is not None and spent_usd + usd > caps.usd:
            raise BudgetExhausted(scope, _sentence(scope, 0, usd, caps.usd, spent_usd, 0.0))


def _exhausted(waiting: _Waiting, row: Any) -> BudgetExhausted:
    scope: Scope = row["scope"]
    caps: Caps = getattr(waiting.account, scope)
    spent, held = row["spent_tokens"], row["held_tokens"]
    if caps.tokens is not None and spent + held + waiting.tokens > caps.tokens:
        return BudgetExhausted(scope, _sentence(scope, row["key"], waiting.tokens, caps.tokens, spent, held))
    usd = (waiting.usd, caps.usd or 0.0, row["spent_usd"], row["held_usd"])
    return BudgetExhausted(scope, _sentence(scope, row["key"], *usd))


def _sentence(scope: Scope, key: int, wish: float, cap: float, spent: float, held: float) -> str:
    """What is exhausted, by how much, and which setting allows more."""
    whose = {"persona": f"persona {key} today", "run": f"run {key}", "instance": "this instance today"}
    unit = "TOKENS" if isinstance(cap, int) else "USD"

    def amount(value: float) -> str:
        return f"{value:,} tokens" if unit == "TOKENS" else f"${value:,.6f}"

    under_way = f" and holds {amount(held)} for calls under way" * bool(held)
    before = f"of which {whose.get(scope, 'the ' + scope)} has spent {amount(spent)}{under_way}; " * (scope != "call")
    return (
        f"the cap is {amount(cap)}, {before}this call may take {amount(wish)}: "
        f"raise {SETTINGS[scope]}_{unit}" + " or wait for the next day (UTC)" * (scope in ("persona", "instance"))
    )
