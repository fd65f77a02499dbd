"""Plays a recorded run again: what models answered comes from the ledger, everything else is done anew.

In a fork that was taken back to before the run. Nobody is asked anything: replies are found by their place (turn,
step). They are committed in the order, the groups and at the times in which they were, so that whoever was first is
first again. What the guard found at its end, and took, is put back as it was: it follows from what was read, which in
live mode depends on who was faster.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import msgspec

from app.agent.turn import Commits, Mind, State
from app.ledger.commit import ActionRecord, EffectOutcome, StepRecord
from app.ledger.recorded import REPLAY, Answered, Cycle, Position, Recording, drifted, numbers_on
from app.llm.model import Completion, Model, Request, Usage, encode_reply, read_reply
from app.settings import Settings
from app.venues.feed import crowd_of, open_cycle, play_cycle, prepare_run
from app.venues.run import TURNS, fill_run
from app.venues.worker import Claim, Play, Prepare, TurnEnd, Worker
from app.world import interventions, moderation
from app.world.interventions import Recorded


class Unanswered(Exception):
    """The recording has no reply for this place: the turn ended here without one."""


@dataclass(frozen=True)
class Replayed:
    """What came of playing a run again: calls in all, and how many of them were asked in other words."""

    calls: int
    drifted: int
    state: str


@dataclass
class ByPlace:
    """A model that answers as was answered at the same place, whatever it is asked."""

    recorded: Recording
    _steps: dict[int, int] = field(default_factory=dict)

    async def complete(self, request: Request) -> Completion:
        assert request.account is not None  # noqa: S101 - every turn has one
        turn = request.account.turn_id
        step = self._steps.get(turn, 0)
        self._steps[turn] = step + 1
        found = self.recorded.calls.get((turn, step))
        if found is None:
            raise Unanswered
        return completed(found)

    async def aclose(self) -> None:
        """There is nothing to close here."""


def completed(found: Answered) -> Completion:
    """A recorded answer as it was received."""
    usage = Usage(found.prompt_tokens, found.completion_tokens, found.cached_tokens)
    return msgspec.structs.replace(
        read_reply(found.status, found.reply),
        model=found.model,
        usage=usage,
        raw=found.response,
        detail=found.detail,
        latency_ms=found.latency_ms,
        cost_usd=found.cost_usd,
    )


@dataclass(frozen=True)
class Again:
    """Gives what is made the ids that it had."""

    recorded: Recording
    inner: Commits

    async def commit(self, record: StepRecord) -> dict[int, EffectOutcome]:
        """Commit one step, and return its effects' outcomes by ordinal."""
        was = self.recorded.calls.get((record.turn_id, record.step))
        return await self.inner.commit(record if was is None else _as_was(record, was))


def _as_was(record: StepRecord, was: Answered) -> StepRecord:
    """The step with the ids that it made, and its texts marked as they were, whatever it read this time."""
    actions = tuple(
        replace(action, detail=was.marked[action.ordinal])
        if action.effect is not None and action.ordinal in was.marked
        else action
        for action in record.actions
    )
    return replace(record, made=was.made, actions=actions)


def _in_vain(action: ActionRecord, was: Answered) -> ActionRecord:
    """The action without its effect, if it had none: commits that ran at once did not see each other, and now would."""
    outcome = was.vain.get(action.ordinal)
    return action if outcome is None or action.effect is None else replace(action, effect=None, outcome=outcome)


class InOrder:
    """Commits steps in the groups in which they were committed, at the same times, with the same ids."""

    def __init__(self, mind: Mind, recorded: Recording) -> None:
        self._mind = mind
        self._recorded = recorded
        self._left = iter(recorded.groups)
        self._next: list[Position] = next(self._left, [])
        self._waiting: dict[Position, tuple[StepRecord, asyncio.Future[dict[int, EffectOutcome]]]] = {}
        self._lock = asyncio.Lock()

    async def commit(self, record: StepRecord) -> dict[int, EffectOutcome]:
        """Commit one step when it is its group's turn, and return its effects' outcomes by ordinal."""
        place = (record.turn_id, record.step)
        was = self._recorded.calls[place]
        done: asyncio.Future[dict[int, EffectOutcome]] = asyncio.Future()
        record = _as_was(record, was)
        actions = tuple(_in_vain(action, was) for action in record.actions)
        self._waiting[place] = (replace(record, at=was.at, actions=actions), done)
        await self._go_on()
        return {**await done, **{ordinal: EffectOutcome(outcome, None) for ordinal, outcome in was.vain.items()}}

    async def _go_on(self) -> None:
        async with self._lock:
            while self._next and all(place in self._waiting for place in self._next):
                group = [self._waiting.pop(place) for place in self._next]
                outcomes = await self._mind.committer.commit_together([record for record, _ in group])
                for (_, done), outcome in zip(group, outcomes, strict=True):
                    if isinstance(outcome, Exception):
                        done.set_exception(outcome)
                    else:
                        done.set_result(outcome)
                self._next = next(self._left, [])


async def replay_run(
    mind: Mind, settings: Settings, recorded: Recording, *, on_end: Callable[[TurnEnd], None] = lambda _: None
) -> Replayed:
    """Play the run again that was taken back, whose turns wait, from its recording alone."""
    run = await mind.database.fetchrow(TURNS["run"], recorded.run_id)
    assert run is not None  # noqa: S101 - the fork has it
    model = ByPlace(recorded)
    again = replace(mind, model=model)
    async with mind.database.connection() as connection, connection.transaction():
        await interventions.begin(connection, recorded.run_id, at=run["world_at"], again=recorded.interventions)

    def through(rounds: Commits | None) -> Commits:
        return InOrder(mind, recorded) if rounds is None else Again(recorded, rounds)

    async def guard() -> None:
        if recorded.guarded is not None:
            await moderation.guard_as_was(mind.database, recorded.run_id, recorded.guarded)

    prepare = await prepare_run(again, settings, recorded.run_id, through=through, guard=guard)
    assert prepare is not None  # noqa: S101 - the run is there
    async with Worker(again, at_once=max(1, run["turns_total"])) as worker:
        await worker.play(recorded.run_id, ending(again, prepare, recorded), on_end=on_end)
    await guard()
    await numbers_on(mind.database)
    state = str(await mind.database.fetchval(TURNS["run_state"], recorded.run_id))
    return Replayed(len(recorded.calls), await drifted(mind.database, recorded), state)


def ending(mind: Mind, prepare: Prepare, recorded: Recording) -> Prepare:
    """As `prepare`, but turns that ended without a reply end as they ended."""

    async def prepared(claims: list[Claim]) -> Play:
        inner = await prepare(claims)

        async def play(claim: Claim) -> tuple[State, str | None]:
            try:
                return await inner(claim)
            except Unanswered:
                state, reason = recorded.ends[claim.turn_id]
                await mind.database.fetchval(REPLAY["end_as"], claim.turn_id, state, reason)
                return state, reason  # type: ignore[return-value]

        return play

    return prepared


# Counterfactuals


@dataclass(frozen=True)
class Change:
    """What is otherwise from a cycle on. `unsaid`: tool calls that are left out of replies, as if never made.

    `terms` are the cycles' own: model, ranker, temperature. `without`: interventions that are not done.
    """

    unsaid: frozenset[tuple[Position, str]] = frozenset()
    terms: Mapping[str, Any] = field(default_factory=dict)
    without: frozenset[int] = frozenset()


@dataclass
class ByPersona:
    """Answers as was answered to the same persona at the same step, as long as it is asked the same; else asks."""

    cycle: Cycle
    change: Change
    model: Model
    reused: int = 0
    asked: int = 0
    _steps: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        turns = {persona: turn for turn, persona in self.cycle.recorded.personas.items()}
        self._turns = turns

    async def complete(self, request: Request) -> Completion:
        assert request.account is not None  # noqa: S101 - every turn has one
        persona = request.account.persona_id
        step = self._steps.get(persona, 0)
        self._steps[persona] = step + 1
        place = (self._turns.get(persona, 0), step)
        found = self.cycle.recorded.calls.get(place)
        if found is None or found.request_sha256 != request.sha256():
            self.asked += 1
            return await self.model.complete(request)
        self.reused += 1
        unsaid = {call_id for where, call_id in self.change.unsaid if where == place}
        return _without(completed(found), unsaid) if unsaid else completed(found)

    async def aclose(self) -> None:
        """The model is somebody else's to close."""


def _without(completion: Completion, call_ids: set[str]) -> Completion:
    calls = tuple(call for call in completion.calls if call.id not in call_ids)
    return msgspec.structs.replace(completion, calls=calls, message=encode_reply(completion.text, calls))


async def play_otherwise(
    mind: Mind,
    settings: Settings,
    cycles: Sequence[Cycle],
    change: Change,
    *,
    on_cycle: Callable[[Replayed], None] = lambda _: None,
) -> list[Replayed]:
    """Play cycles again, one after the other, with a change: what is asked as it was is answered as it was, at no cost.

    In a fork that was taken back to before the first of them, whose turns wait. All chance comes from the same streams.

    Returns:
        For each cycle its calls, and how many of them had to be asked.
    """
    told = []
    for n, cycle in enumerate(cycles):
        model = ByPersona(cycle, change, mind.model)
        again = replace(mind, model=model)
        run_id = await _reopen(again, settings, cycle, change, first=n == 0)
        state = await play_cycle(again, settings, run_id)
        told.append(Replayed(model.reused + model.asked, model.asked, str(state)))
        on_cycle(told[-1])
    return told


async def _reopen(mind: Mind, settings: Settings, cycle: Cycle, change: Change, *, first: bool) -> int:
    """The first is there, and waits; later ones are opened anew, by the same seed.

    What changes the rankers holds for all, whatever interventions had switched.
    """
    terms = {name: value for name, value in {**cycle.terms, **change.terms}.items() if name != "switched"}
    again = {number: None for number in cycle.recorded.interventions if number not in change.without}
    lasts = timedelta(seconds=float(terms.get("lasts_seconds", 0))) or None
    if first:
        await _begin_again(mind, cycle, change, again, lasts or timedelta())
        return cycle.recorded.run_id
    run_id = await open_cycle(
        mind,
        settings,
        slot=f"feed/otherwise/{cycle.recorded.run_id}",
        seed=cycle.seed,
        terms=terms,
        rounds=cycle.rounds,
        at=cycle.world_at,
        lasts=lasts,
        again=again,
    )
    assert run_id is not None  # noqa: S101 - a fork is played once
    if "ranker" in change.terms:
        await mind.database.fetchval(REPLAY["terms"], run_id, '{"switched": []}')
    return run_id


async def _begin_again(
    mind: Mind, cycle: Cycle, change: Change, again: Mapping[int, Recorded | None], lasts: timedelta
) -> None:
    """The first cycle begins otherwise; where somebody wakes who did not, or the other way round, it gets new turns."""
    run_id = cycle.recorded.run_id
    run = await mind.database.fetchrow(TURNS["run"], run_id)
    assert run is not None  # noqa: S101 - the fork has it
    async with mind.database.connection() as connection, connection.transaction():
        await interventions.leave_out(connection, sorted(change.without))
        await interventions.begin(connection, run_id, at=cycle.world_at, again=again)
        crowd = await crowd_of(connection, cycle.seed, cycle.world_at, lasts, opened=run["created_at"])
        terms = {"switched": [], **({} if "ranker" in change.terms else crowd.terms), **change.terms}
        if change.without and set(crowd.personas) != set(cycle.recorded.personas.values()):
            await interventions.crowd_gone(connection, run_id)
            await fill_run(connection, run_id, replace(crowd, terms=terms))
        else:
            await connection.fetchval(REPLAY["terms"], run_id, msgspec.json.encode(terms).decode())
