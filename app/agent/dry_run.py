"""A turn that writes nothing: what a persona is told, and what it would do now, judged against the real world."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

import asyncpg
import msgspec
import structlog

from app.actions.feed import offered, world_extras
from app.actions.news import extras
from app.actions.registry import ActionSet
from app.actions.showing import tokens
from app.agent import prompt
from app.agent.turn import Mind, NotAsked, Planned, Seat, State, Turn
from app.db.engine import Database
from app.errors import Conflict, TooMany
from app.ledger import spend
from app.ledger.budget import Account, BudgetExhausted, Caps
from app.ledger.commit import EffectOutcome
from app.llm.model import Completion, Halted, Request
from app.settings import Settings
from app.streams import number
from app.world import feed, in_force, news
from app.world.clock import stands_at, world_now
from app.world.personas import PROFILE, PersonaSpec
from app.world.ranking import LATEST, Ranking, of_persona, of_run
from app.world.verdicts import Imagined

AT_ONCE = 2
SECONDS = 120.0
MESSAGE_TOKENS = 4
"""About what the wire takes for a message beside its text."""

Verdict = Literal["made", "already", "not_found", "not_allowed", "read", "refused", "ended"]
log = structlog.get_logger()


@dataclass(frozen=True)
class Told:
    """One message as the model gets it, with about how many tokens it takes."""

    role: str
    text: str
    tokens: int


@dataclass(frozen=True)
class Opening:
    """All that a persona's turn begins with; the functions that are offered count too."""

    messages: tuple[Told, ...]
    actions: int
    actions_tokens: int
    system_tokens: int
    persona_tokens: int

    @property
    def tokens(self) -> int:
        return self.actions_tokens + sum(message.tokens for message in self.messages)


@dataclass(frozen=True)
class Tried:
    """One call of a reply: what would come of it, why not, and what the model was told."""

    name: str
    arguments: str
    verdict: Verdict
    why: str
    told: str = ""
    mark: str = ""


@dataclass
class TriedStep:
    """One question to the model, and its reply."""

    number: int
    status: str
    detail: str
    text: str
    model: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost_usd: float | None
    latency_ms: int
    calls: list[Tried] = field(default_factory=list)


@dataclass
class Trial:
    """A turn that was tried. `state` is as a turn's, or `limit` where time or money ended it; `why` in a sentence."""

    model: str
    state: State
    reason: str
    why: str
    seconds: float
    steps: list[TriedStep]

    @property
    def tokens(self) -> int:
        return sum(step.prompt_tokens + step.completion_tokens for step in self.steps)

    @property
    def usd(self) -> float | None:
        """US dollars in all; None where a price is unknown."""
        costs = [step.cost_usd for step in self.steps]
        return None if None in costs else sum(cost or 0.0 for cost in costs)


class Looking(Database):
    """A database that refuses to be changed."""

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
        async with super().connection() as connection, connection.transaction(readonly=True):
            yield connection


@dataclass
class Trying(Turn):
    """A turn whose effects are judged, not committed."""

    imagined: Imagined = field(default_factory=lambda: Imagined(0))
    steps: list[TriedStep] = field(default_factory=list)

    async def _commit(
        self, request: Request, completion: Completion, planned: list[Planned], state: State
    ) -> dict[int, EffectOutcome]:
        usage = completion.usage
        self.spent_tokens += usage.prompt + usage.completion
        self.spent_usd += completion.cost_usd or 0.0
        step = TriedStep(
            self.step + 1,
            completion.status,
            completion.detail,
            completion.text,
            completion.model or request.model,
            usage.prompt,
            usage.cached,
            usage.completion,
            completion.cost_usd,
            completion.latency_ms,
        )
        self.steps.append(step)
        wishes = [p for p in planned if not p.refusal and p.effect is not None]
        judged = await self.imagined.judge(self.mind.database, [p.effect for p in wishes if p.effect is not None])
        outcomes = {p.ordinal: EffectOutcome(*found) for p, found in zip(wishes, judged, strict=True)}
        step.calls = [_tried(p, outcomes.get(p.ordinal)) for p in planned]
        return outcomes

    async def _results(self, planned: list[Planned], outcomes: dict[int, EffectOutcome]) -> list[tuple[str, str]]:
        results = await super()._results(planned, outcomes)
        calls = self.steps[-1].calls
        for n, (_, text) in enumerate(results):
            calls[n] = replace(calls[n], told=text.replace(self.seat.marker, ""))
        return results


def _tried(planned: Planned, outcome: EffectOutcome | None) -> Tried:
    call = planned.call
    if planned.refusal:
        return Tried(call.name, call.arguments, "refused", planned.refusal)
    if outcome is None:
        return Tried(call.name, call.arguments, "ended" if planned.ends else "read", "")
    return Tried(call.name, call.arguments, outcome.outcome, "", mark=planned.mark)


def situation_of(row: Mapping[str, Any], now: datetime) -> prompt.Situation:
    """What a turn starts from, of a row of `feed.situations`."""
    return prompt.Situation(
        username=row["username"],
        description=row["description"],
        bio=row["bio"],
        profile=msgspec.json.decode(row["profile"]),
        posts=row["posts_count"],
        comments=row["comments_count"],
        followers=row["followers_count"],
        following=row["following_count"],
        lately=_lately(row),
        now=now,
    )


def _lately(row: Mapping[str, Any]) -> list[tuple[str, int, str]]:
    return [tuple(did) for did in msgspec.json.decode(row["lately"] or "[]")]


async def _informed(database: Database, settings: Settings) -> frozenset[str]:
    fresh = await news.any_fresh(database, now=await world_now(database), known=None)
    return extras(fresh_news=fresh, trending=settings.trends == "on")


def _offered(
    row: Mapping[str, Any],
    settings: Settings,
    ours: Ranking | None,
    informed: frozenset[str] = frozenset(),
    way: str | None = None,
) -> ActionSet:
    return offered(
        row,
        ranked=ours is not None,
        suggests=(way or settings.who_to_follow) != "off",
        worlds=world_extras(settings.reactions) | informed,
    )


def _ranking(row: Mapping[str, Any], settings: Settings) -> Ranking | None:
    return of_persona(msgspec.json.decode(row["profile"]), of_run({}, settings.feed_ranker))


NOBODY = {
    "posts_count": 0,
    "comments_count": 0,
    "followers_count": 0,
    "following_count": 0,
    "lately": None,
}
"""What one who has only just come has done."""


async def preview(database: Database, settings: Settings, spec: PersonaSpec, persona_id: int | None) -> Opening:
    """The messages that a persona's next turn would begin with if it were as `spec` says."""
    row = (await feed.situations(database, [persona_id])).get(persona_id) if persona_id is not None else None
    profile = spec.model_dump_json(include=set(PROFILE), exclude_defaults=True)
    described = {"username": spec.username, "description": spec.description, "bio": spec.bio, "profile": profile}
    played = {**(dict(row) if row is not None else NOBODY), **described}
    informed = await _informed(database, settings)
    actions, native = _offered(played, settings, _ranking(played, settings), informed), settings.tool_mode == "native"
    situation = situation_of(played, datetime.now(UTC))
    marker = prompt.marker(0, persona_id or 0)
    opening = prompt.opening(situation, actions, marker=marker, max_actions=settings.max_actions, native=native)
    messages = tuple(map(told, opening))
    who = tokens(prompt.persona_text(situation))
    return Opening(
        messages,
        len(actions.by_name),
        tokens(actions.tools.decode()) if native else 0,
        max(0, messages[0].tokens - who),
        who,
    )


def told(message: bytes) -> Told:
    """A message of a prompt, with about how many tokens it takes."""
    found = msgspec.json.decode(message)
    return Told(found["role"], found["content"], tokens(found["content"]) + MESSAGE_TOKENS)


@dataclass
class Booth:
    """Where turns are tried, a few at once in this process."""

    trying: int = 0

    async def play(self, mind: Mind, settings: Settings, persona_id: int, model: str = "") -> Trial:
        """Play a persona's turn with `model`, else its own, and write nothing; the caps of calls, turns and days hold.

        Raises:
            TooMany: others are trying.
            Conflict: everything is halted.
        """
        if self.trying >= AT_ONCE:
            raise TooMany("two turns are being tried just now: wait for one of them to end")
        self.trying += 1
        try:
            return await _play(mind, settings, persona_id, model)
        finally:
            self.trying -= 1


async def _play(mind: Mind, settings: Settings, persona_id: int, model: str) -> Trial:
    database = Looking(mind.database.url, mind.database.pool)
    row = (await feed.situations(database, [persona_id]))[persona_id]
    rules, profile = await in_force.rules(database), msgspec.json.decode(row["profile"])
    ours = in_force.ranking_of(rules, persona_id, profile, _ranking(row, settings))
    way = in_force.switched(rules, "who_to_follow", persona_id, profile) or settings.who_to_follow
    seed = number(0, "try", persona_id, time.time_ns())
    native = settings.tool_mode == "native"
    seat = Seat(
        turn_id=0,
        persona_id=persona_id,
        epoch=0,
        seed=seed,
        model=model or row["model"] or settings.simfeed_model,
        temperature=row["temperature"] if row["temperature"] is not None else settings.model_temperature,
        native=native,
        actions=_offered(row, settings, ours, await _informed(database, settings), way),
        at=await stands_at(database),
        ranking=ours or LATEST,
        suggester=way.removeprefix("off"),
        marker=prompt.marker(seed, persona_id),
        account=Account(
            0,
            persona_id,
            0,
            0,
            call=Caps(settings.budget_call_tokens, settings.budget_call_usd),
            turn=await spend.left_for_turn(database, settings, persona_id),
        ),
    )
    limits = mind.limits
    opening = prompt.opening(
        situation_of(row, datetime.now(UTC)),
        seat.actions,
        marker=seat.marker,
        max_actions=limits.max_actions,
        native=native,
    )
    turn = Trying.fresh(replace(mind, database=database), seat, opening)
    assert isinstance(turn, Trying)  # noqa: S101 - `fresh` makes one of its own class
    turn.imagined = Imagined(persona_id)
    begun = time.monotonic()
    state, reason, why = await _end_of(turn)
    trial = Trial(seat.model, state, reason, why, time.monotonic() - begun, turn.steps)
    log.info("turn tried", persona=persona_id, model=seat.model, tokens=trial.tokens, usd=trial.usd, state=state)
    return trial


async def _end_of(turn: Trying) -> tuple[State, str, str]:
    try:
        async with asyncio.timeout(SECONDS):
            state = await turn.play()
    except TimeoutError:
        return "limit", "timeout", f"it took longer than {SECONDS:.0f} seconds and was ended"
    except Halted:
        if not turn.steps:
            raise Conflict("everything is halted: no model is asked. The kill switch is on the page Budgets") from None
        return "limit", "halted", "everything was halted meanwhile"
    except BudgetExhausted as spent:
        return "limit", "budget", spent.detail
    except NotAsked as refused:
        return "deferred", refused.status, refused.detail
    last = turn.steps[-1] if turn.steps else None
    return state, turn.reason or "", last.detail if last is not None and last.status != "ok" else ""
