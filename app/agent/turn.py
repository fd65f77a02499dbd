"""The loop of one persona's turn: ask, perform, tell, until it is done, refused or limited."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

import msgspec
from pydantic import ValidationError

from app.actions.registry import Action, ActionContext, ActionRefused, ActionSet, Arguments, EndTurn, Reading, explain
from app.agent import json_answers, prompt
from app.agent.copies import repeated
from app.db.engine import AWAY, Database, patiently
from app.ledger import transcript
from app.ledger.budget import Account
from app.ledger.commit import ActionRecord, Committer, EffectOutcome, ExposureRecord, StepRecord, Superseded
from app.ledger.pulse import Pulse
from app.ledger.transcript import Progress
from app.llm.model import Completion, Model, Request, ToolCall, encode_message, encode_result, read_reply
from app.streams import number
from app.world.effects import Effect
from app.world.ranking import LATEST, Ranking

UNKNOWN_IN_A_ROW = 3
SAME_IN_A_ROW = 3
TRIES = 8
WAIT = 0.2
"""Seconds before the second try, doubled before each further one, while the database is away."""

WRITTEN = frozenset({"post", "quote", "comment", "reply", "bio"})
THINGS = {
    **dict.fromkeys(("follow", "unfollow", "mute", "block"), "member"),
    **dict.fromkeys(("reply", "like_comment", "unlike_comment"), "comment"),
    **dict.fromkeys(("say", "like_message"), "message"),
}
MAKES = {
    **dict.fromkeys(("post", "repost", "quote"), "post_id"),
    **dict.fromkeys(("comment", "reply"), "comment_id"),
}
"""As what the model is told the number of a thing it made."""


State = Literal["running", "done", "limit", "refused", "failed", "deferred"]

LATER = frozenset({"rate_limit", "unavailable", "timeout"})
"""What a provider may mend by itself: the turn is put off, and played again when its run is resumed."""


class Parked(Exception):
    """The turn was asked to stop between two steps: it waits, as its last commit left it."""


class NotAsked(Exception):
    """The model was not asked: its provider refuses us, as an earlier call has shown."""

    def __init__(self, status: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True)
class Limits:
    """What one turn may take. `result_tokens` bounds a reading, `max_tokens` a reply."""

    max_actions: int = 10
    max_calls_per_reply: int = 5
    result_tokens: int = 400
    max_tokens: int = 700


@dataclass(frozen=True)
class Mind:
    """What every turn of a process shares. `gateway` is what answers behind `model`, for other worlds to share."""

    database: Database
    committer: Committer
    model: Model
    limits: Limits
    pulse: Pulse = field(default_factory=Pulse)
    gateway: Model | None = None


class Commits(Protocol):
    """What a step's record is given to."""

    async def commit(self, record: StepRecord) -> dict[int, EffectOutcome]:
        """Commit the step, and return its effects' outcomes by ordinal."""
        ...


@dataclass(frozen=True)
class Asked:
    """How a model is asked: its own seed, options, limits, and within what an identical request is asked once."""

    seed: int
    max_tokens: int
    tries: int = 1
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    scope: str = ""


@dataclass(frozen=True)
class Seat:
    """Whose turn it is, on what terms, with the claim that fences it.

    Steps are given to `commits`, if it is there; it is `at` in the world, if its clock is simulated. `ranking` makes
    its feed, `suggester` names the way in which people are suggested to it. Its run was `opened` then.
    With `reuse` a request that was answered before is answered so again. `asked` is how, where that is not as ever.
    """

    turn_id: int
    persona_id: int
    epoch: int
    seed: int
    model: str
    temperature: float | None
    native: bool
    actions: ActionSet
    marker: str
    account: Account | None = None
    at: datetime | None = None
    ranking: Ranking = LATEST
    suggester: str = ""
    opened: datetime | None = None
    reuse: bool = False
    asked: "Asked | None" = None
    commits: Commits | None = field(default=None, compare=False)
    goes_on: Callable[[], bool] = field(default=lambda: True, compare=False)


@dataclass
class Planned:
    """One call of a reply: refused, an effect to commit, a reading to take, or the end."""

    ordinal: int
    call: ToolCall
    refusal: str = ""
    mark: str = ""
    effect: Effect | None = None
    action: Action | None = None
    arguments: Arguments | None = None
    ends: bool = False

    def record(self) -> ActionRecord:
        call = self.call
        stored = (storable(call.id), storable(call.name)[:200], storable(call.arguments))
        if self.refusal:
            return ActionRecord(self.ordinal, *stored, outcome="refused", detail=storable(self.refusal))
        if self.effect is not None:
            return ActionRecord(self.ordinal, *stored, effect=self.effect, detail=self.mark)
        return ActionRecord(self.ordinal, *stored, outcome="ended" if self.ends else "read")


def storable(text: str) -> str:
    """`text` as PostgreSQL can hold it; the bytes as received are in `calls.response`."""
    return text.replace("\0", "\N{SYMBOL FOR NULL}").encode("utf-8", "replace").decode()


@dataclass
class Turn:
    """One persona's go."""

    mind: Mind
    seat: Seat
    messages: list[bytes]
    step: int = 0
    told: tuple[bytes, ...] = ()
    exposures: tuple[ExposureRecord, ...] = ()
    used: int = 0
    seen_ids: set[str] = field(default_factory=set)
    unknown: int = 0
    repaired: bool = False
    same: tuple[str, int] = ("", 0)
    reason: str | None = None
    spent_tokens: int = 0
    spent_usd: float = 0.0

    @classmethod
    def fresh(
        cls, mind: Mind, seat: Seat, opening: tuple[bytes, ...], shown: tuple[ExposureRecord, ...] = ()
    ) -> "Turn":
        """A turn that begins; `shown`: what of the world its opening holds."""
        return cls(mind, seat, list(opening), told=opening, exposures=shown)

    @classmethod
    async def resumed(cls, mind: Mind, seat: Seat, progress: Progress) -> "Turn":
        """Go on behind the last stored reply: its effects stand, its readings are taken again.

        Behind a call that gave nothing the same request is made again.
        """
        turn = cls(mind, seat, list(progress.messages), spent_tokens=progress.tokens, spent_usd=progress.usd)
        last: list[Planned] = []
        for status, message in progress.replies:
            completion = read_reply(status, message)
            last = turn._plan(completion)
            turn._judge(completion, last)
            turn.step += 1
        if progress.replies[-1][0] == "ok":
            turn._tell(await turn._results(last, progress.outcomes))
        return turn

    async def play(self) -> State:
        """Play the turn to its end and return the state it ended in.

        Raises:
            Parked, Halted: it was asked to stop; nothing is under way.
            BudgetExhausted: the next call would cost more than is left.
            NotAsked: the provider refuses us.
            Superseded: another process has taken the turn over.
        """
        while True:
            if not self.seat.goes_on():
                raise Parked
            request = self._request()
            completion = await self.mind.model.complete(request)
            if not completion.asked:
                raise NotAsked(completion.status, completion.detail)
            planned = self._plan(completion)
            state = self._judge(completion, planned)
            outcomes = await self._commit(request, completion, planned, state)
            if state != "running":
                return state
            self.step += 1
            self.messages.append(completion.message)
            self._tell(await self._results(planned, outcomes))

    def _request(self) -> Request:
        seat = self.seat
        asked = seat.asked
        request = Request(
            model=seat.model,
            messages=tuple(self.messages),
            tools=seat.actions.tools if seat.native else b"",
            temperature=seat.temperature,
            max_tokens=self.mind.limits.max_tokens if asked is None else asked.max_tokens,
            seed=number(seat.seed, "model", seat.persona_id, self.step) if asked is None else asked.seed,
            json_only=not seat.native,
            reusable=seat.reuse,
            account=seat.account and replace(seat.account, spent_tokens=self.spent_tokens, spent_usd=self.spent_usd),
        )
        if asked is None:
            return request
        return replace(request, top_p=asked.top_p, stop=asked.stop, scope=asked.scope)

    def _plan(self, completion: Completion) -> list[Planned]:
        if completion.status != "ok":
            return []
        calls = completion.calls if self.seat.native else json_answers.calls(completion.text, self.step)
        effects: set[object] = set()
        return [self._plan_one(n, call, effects) for n, call in enumerate(calls)]

    def _plan_one(self, ordinal: int, call: ToolCall, effects: set[object]) -> Planned:
        planned = Planned(ordinal, call)
        try:
            self._check_caps(ordinal, call)
            planned.action, planned.arguments = self.seat.actions.parse(call.name, call.arguments)
            self.seen_ids.add(call.id)
            if planned.action.write is not None:
                _plan_write(planned, planned.action.write(planned.arguments), effects)
                planned.ends |= planned.action.ends
                if planned.effect is not None and planned.effect.kind in WRITTEN:
                    planned.mark = repeated(planned.effect.body or "", self.messages)
        except ActionRefused as refusal:
            planned.refusal = str(refusal)
        except ValidationError as error:
            planned.refusal = explain(error)
        if not planned.refusal and (planned.effect is not None or not planned.ends):
            self.used += 1
        return planned

    def _check_caps(self, ordinal: int, call: ToolCall) -> None:
        limits = self.mind.limits
        if call.id in self.seen_ids:
            raise ActionRefused("this call id was used before; nothing was done twice")
        if ordinal >= limits.max_calls_per_reply:
            raise ActionRefused(f"only {limits.max_calls_per_reply} calls of one answer are carried out")
        if self.used >= limits.max_actions and call.name != "end_turn":
            raise ActionRefused(f"you have used your {limits.max_actions} actions")

    def _judge(self, completion: Completion, planned: list[Planned]) -> State:
        """What becomes of the turn after this reply."""
        if completion.status != "ok":
            self.reason = completion.status
            return (
                "refused" if completion.status == "refusal" else "deferred" if completion.status in LATER else "failed"
            )
        if not planned:
            return self._judge_silence(completion)
        if any(p.ends for p in planned):
            self.reason = next(p.call.name for p in planned if p.ends)
            return "done"
        self.reason = self._limit(planned)
        return "limit" if self.reason else "running"

    def _judge_silence(self, completion: Completion) -> State:
        if not self.seat.native and completion.text and not json_answers.is_answer(completion.text):
            self.reason = "parse"
            state: State = "failed" if self.repaired else "running"
            self.repaired = True
            return state
        self.reason = "no_call" if completion.text or self.step else "empty"
        return "refused" if self.reason == "empty" else "done"

    def _limit(self, planned: list[Planned]) -> str | None:
        for p in planned:
            self.unknown = 0 if p.call.name in self.seat.actions.by_name else self.unknown + 1
            key = f"{p.call.name} {p.call.arguments}"
            self.same = (key, self.same[1] + 1) if key == self.same[0] else (key, 1)
        if self.unknown >= UNKNOWN_IN_A_ROW:
            return "unknown_actions"
        if self.same[1] >= SAME_IN_A_ROW:
            return "loop"
        most = self.mind.limits.max_actions if self.seat.asked is None else self.seat.asked.tries
        return "max_actions" if self.used >= most or self.step + 1 >= most else None

    async def _commit(
        self, request: Request, completion: Completion, planned: list[Planned], state: State
    ) -> dict[int, EffectOutcome]:
        record = self._record(request, completion, planned, state)
        self.spent_tokens += record.prompt_tokens + record.completion_tokens
        self.spent_usd += record.cost_usd or 0.0
        tried = 0

        async def commit() -> dict[int, EffectOutcome]:
            nonlocal tried
            tried += 1
            try:
                return await (self.seat.commits or self.mind.committer).commit(record)
            except Superseded:
                stands = await transcript.committed(self.mind.database, record) if tried > 1 else None
                if stands is None:
                    raise
                return stands

        return await patiently(commit, AWAY, tries=TRIES, wait=WAIT)

    def _record(self, request: Request, completion: Completion, planned: list[Planned], state: State) -> StepRecord:
        usage = completion.usage
        return StepRecord(
            turn_id=self.seat.turn_id,
            persona_id=self.seat.persona_id,
            epoch=self.seat.epoch,
            step=self.step,
            state=state,
            reason=self.reason if state != "running" else None,
            status=completion.status,
            detail=storable(completion.detail or _answered_by(request.model, completion.model)),
            model=request.model,
            model_returned=storable(completion.model)[:200],
            options=request.options(),
            told=b"[" + b",".join(self.told) + b"]",
            tools_sha256=self.seat.actions.tools_sha256,
            request_sha256=request.sha256(),
            reply=completion.message,
            response=completion.raw,
            prompt_tokens=usage.prompt,
            completion_tokens=usage.completion,
            cached_tokens=usage.cached,
            cost_usd=completion.cost_usd,
            latency_ms=completion.latency_ms,
            hold=completion.hold,
            actions=tuple(p.record() for p in planned),
            exposures=self.exposures,
        )

    async def _results(self, planned: list[Planned], outcomes: dict[int, EffectOutcome]) -> list[tuple[str, str]]:
        """What is told of each call, in their order: (call id, text). Readings are taken now, after the commit."""
        self.exposures = ()
        return [(p.call.id, await self._result(p, outcomes.get(p.ordinal))) for p in planned]

    async def _result(self, planned: Planned, outcome: EffectOutcome | None) -> str:
        if planned.refusal:
            return _plain({"error": planned.refusal})
        if planned.effect is not None and outcome is not None:
            return _plain(_told(planned.effect, outcome))
        if planned.action is None or planned.action.read is None:
            return _plain({"ok": True})
        read, arguments = planned.action.read, planned.arguments
        try:
            reading = await patiently(lambda: read(self._context(), arguments), AWAY, tries=TRIES, wait=WAIT)
        except ActionRefused as refusal:
            return _plain({"error": str(refusal)})
        self._expose(reading)
        return prompt.quote(reading.result, self.seat.marker)

    def _context(self) -> ActionContext:
        seat = self.seat
        return ActionContext(
            self.mind.database,
            seat.persona_id,
            self.mind.limits.result_tokens,
            seat.at or datetime.now(UTC),
            ranking=seat.ranking,
            suggester=seat.suggester,
            seed=seat.seed,
            draw=self.step,
            opened=seat.opened,
            simulated=seat.at is not None,
        )

    def _expose(self, reading: Reading) -> None:
        if reading.items:
            shown = ExposureRecord(
                len(self.exposures),
                reading.kind,
                reading.ranker,
                reading.items,
                reading.version,
                reading.scores,
                reading.reasons,
                reading.chances,
            )
            self.exposures = (*self.exposures, shown)

    def _tell(self, results: list[tuple[str, str]]) -> None:
        if self.seat.native:
            self.told = tuple(encode_result(call_id, text) for call_id, text in results)
        elif results:
            self.told = (encode_message("user", "\n".join(text for _, text in results)),)
        else:
            self.told = (encode_message("user", 'That was not the JSON asked for. Answer with {"actions":[…]} only.'),)
        self.messages.extend(self.told)


def _plan_write(planned: Planned, wish: Effect | EndTurn, effects: set[object]) -> None:
    if isinstance(wish, EndTurn):
        planned.ends = True
        return
    if effects.intersection(wish.keys):
        raise ActionRefused("you have already acted on this in the same answer")
    effects.update(wish.keys)
    planned.effect = wish


def _answered_by(asked: str, returned: str) -> str:
    """A note where another model than the one asked says it has answered; a dated name of the same is no other."""
    name = asked.rpartition("/")[2]
    return "" if not returned or returned.rpartition("/")[2].startswith(name) else f"answered by {returned}"[:200]


def _plain(result: dict[str, Any]) -> str:
    return prompt.unmarked(msgspec.json.encode(result).decode())


def _told(effect: Effect, outcome: EffectOutcome) -> dict[str, Any]:
    """An effect's outcome, for the model."""
    thing = THINGS.get(effect.kind, "post")
    match outcome.outcome:
        case "made":
            made = MAKES.get(effect.kind)
            return {"ok": True, made: outcome.object_id} if made else {"ok": True}
        case "already":
            return {"already": True}
        case "not_found":
            return {"error": f"there is no {thing} {effect.target_id}"}
        case _:
            what = f"{effect.kind.removesuffix('_comment')} {thing} {effect.target_id}"
            return {"error": f"you may not {what}: it is your own, or you are muted or blocked"}
