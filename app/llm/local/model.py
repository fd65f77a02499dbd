"""The local model: plans come from the offline model, texts from a small language model on this machine."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import msgspec

from app import strict_json
from app.errors import Misconfigured
from app.llm.local.engine import WEIGHTS, Draft, Engine
from app.llm.local.prompting import FIELDS, Task, task
from app.llm.local.scoring import score, verdict
from app.llm.model import Completion, Request, ToolCall, Usage, encode_reply
from app.llm.scripted import ScriptedModel
from app.llm.scripted.chance import digest
from app.llm.scripted.reading import Call, read

LOCAL = "local"
SHOWN = f"{LOCAL} ({WEIGHTS})"
DRAFTS = 3
TOKENS = 40
TEMPERATURE = 0.9
_CLOSING_SECONDS = 5.0


@dataclass
class Written:
    """What became of one text."""

    task: Task
    text: str = ""
    drafts: list[dict[str, str]] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)

    def origin(self) -> str:
        """Who wrote the text that stands."""
        if self.text:
            return f"written by {WEIGHTS}"
        reasons = ", ".join(draft["fault"] for draft in self.drafts) or "no time"
        return f"the offline model's text kept ({reasons})"


class LocalModel:
    """Plays personas on this machine. The model is loaded at the first text, in the one thread that uses it.

    `deadline` bounds a call's own work, the loading included, but not its wait for the calls before it, each of
    which has its own: what isn't written by then stays as the offline model wrote it.
    """

    name = LOCAL

    def __init__(
        self, seed: int = 0, *, deadline: float = 60.0, threads: int = 1, load: Callable[[int], Engine] = Engine
    ) -> None:
        self.seed = seed
        self._deadline, self._threads, self._load = deadline, threads, load
        self._planner = ScriptedModel(seed)
        self._engine: Engine | None = None
        self._worker: ThreadPoolExecutor | None = None
        self._turn = asyncio.Lock()

    async def complete(self, request: Request) -> Completion:
        """Answer `request`."""
        started = time.monotonic()
        planned = await self._planner.complete(request)
        scene = read(request)
        calls = _calls(planned)
        found = (task(scene, call, place, self.seed) for place, call in enumerate(calls))
        tasks = [one for one in found if one is not None]
        try:
            written = await self._in_time(tasks, request) if tasks else []
        except Misconfigured as error:
            return Completion("config", SHOWN, detail=error.detail)
        return _completion(request, planned, calls, written, started)

    async def _in_time(self, tasks: list[Task], request: Request) -> list[Written]:
        """What became of each task, as far as the deadline allows."""
        over, finished = threading.Event(), list[Written]()
        async with self._turn:
            if self._worker is None:
                self._worker = ThreadPoolExecutor(1, thread_name_prefix="local-model")
            work = asyncio.get_running_loop().run_in_executor(self._worker, self._write, tasks, request, over, finished)
            work.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, even if nobody waits
            try:
                done, _ = await asyncio.wait({work}, timeout=self._deadline)
            finally:
                over.set()  # the thread ends behind the draft it is at
        if done:
            work.result()
        return [*finished, *map(Written, tasks[len(finished) :])]

    def _write(self, tasks: list[Task], request: Request, over: threading.Event, finished: list[Written]) -> None:
        for one in tasks:
            if over.is_set():
                return
            if self._engine is None:
                self._engine = self._load(self._threads)
            finished.append(self._best(self._engine, one, request, over))

    def _best(self, engine: Engine, todo: Task, request: Request, over: threading.Event) -> Written:
        """The best of the drafts that pass."""
        one = Written(todo)
        fit: list[tuple[float, str]] = []
        for n in range(DRAFTS):
            if over.is_set():
                break
            draft = engine.write(
                todo.prompt,
                seed=int(digest(self.seed, request.seed, todo.call, n), 16) >> 33,
                temperature=TEMPERATURE if request.temperature is None else request.temperature,
                tokens=min(TOKENS, request.max_tokens or TOKENS),
                fresh=n == 0,
            )
            if draft is None:
                one.drafts.append({"text": "", "fault": "prompt refused"})
                break
            text, fault = verdict(todo, draft.text, whole=draft.whole)
            one.drafts.append({"text": todo.opener + draft.text, "fault": fault})
            one.usage = _sum(one.usage, draft)
            if text:
                fit.append((score(todo, text), text))
        one.text = max(fit)[1] if fit else ""
        return one

    async def aclose(self) -> None:
        """Free the model."""
        worker, self._worker = self._worker, None
        if worker is not None:
            work = asyncio.get_running_loop().run_in_executor(worker, self._free)
            await asyncio.wait({work}, timeout=_CLOSING_SECONDS)
            worker.shutdown(wait=False)

    def _free(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()


def _sum(usage: Usage, draft: Draft) -> Usage:
    more = draft.usage
    return Usage(usage.prompt + more.prompt, usage.completion + more.completion, usage.cached + more.cached)


def _calls(planned: Completion) -> list[Call]:
    """The planned calls, whichever form the answer has."""
    if planned.calls:
        return [Call(call.name, strict_json.loads(call.arguments)) for call in planned.calls]
    if not planned.text.startswith("{"):
        return []
    actions = strict_json.loads(planned.text)["actions"]
    return [Call(action["name"], action["arguments"]) for action in actions]


def _completion(
    request: Request, planned: Completion, calls: list[Call], written: list[Written], started: float
) -> Completion:
    """The planned answer with its new texts."""
    for one in written:
        if one.text:
            calls[one.task.call].arguments[FIELDS[one.task.name][0]] = one.text
    text, made = planned.text, planned.calls
    if made:
        encoded = [msgspec.json.encode(call.arguments).decode() for call in calls]
        made = tuple(ToolCall(old.id, old.name, new) for old, new in zip(made, encoded, strict=True))
    elif calls:
        actions = [{"name": call.name, "arguments": call.arguments} for call in calls]
        text = msgspec.json.encode({"actions": actions}).decode()
    message = encode_reply(text, made)
    usage = Usage(
        sum(one.usage.prompt for one in written),
        sum(one.usage.completion for one in written),
        sum(one.usage.cached for one in written),
    )
    raw = _raw(request, message, usage, written, finish="tool_calls" if made else "stop")
    spent = int(1000 * (time.monotonic() - started))
    return Completion("ok", SHOWN, text, made, usage, raw, message, latency_ms=spent)


def _raw(request: Request, message: bytes, usage: Usage, written: list[Written], *, finish: str) -> bytes:
    """The answer as an OpenAI-compatible server would give it, with the drafts and who wrote what."""
    origins = [f"{one.task.name} {one.task.call}: {one.origin()}" for one in written] or ["nothing to write"]
    body = {
        "id": f"chatcmpl-{digest(message.hex(), request.seed)}",
        "object": "chat.completion",
        "created": 0,
        "model": SHOWN,
        "system_fingerprint": f"planned by the offline model; {'; '.join(origins)}",
        "choices": [{"index": 0, "message": msgspec.Raw(message), "finish_reason": finish}],
        "usage": {
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.completion,
            "total_tokens": usage.prompt + usage.completion,
            "prompt_tokens_details": {"cached_tokens": usage.cached},
        },
        "drafts": [{"call": one.task.call, "kept": one.task.kept, "drafts": one.drafts} for one in written],
    }
    return msgspec.json.encode(body)
