"""Personalities of the endpoint that misbehaves to order: who asks, and how far, is read from the request itself.

By hand: `python -m tests.fault_llm --port 9000 --plan chaos --seed 7`.
"""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from app.llm.model import Request
from app.llm.scripted import ScriptedModel
from app.streams import stream
from tests.fault_llm import NAMED, Exchange, Fault, answer, hang, ok, reply

Personality = Literal["scripted", "chaos", "obedient"]
PERSONALITIES: tuple[Personality, ...] = ("scripted", "chaos", "obedient")
CHAOS = ("429", "500", "hang", "reset", "trunc", "garbage", "unknown", "types", "refusal", "length", "huge")
ORDERS_MAX = 200
PERSONA = re.compile(r"(?:\A|\n\n)You are @?([^\n]+?)\.?(?: \(|, |\n|\Z)")
"""Who plays: "You are @HANDLE" in a feed; in a chatroom "You are NAME", where a name may be of several words."""

WORD = re.compile(r"[^\s{}()\"']+")
CALL = re.compile(r"\b([A-Za-z_]\w*)\(([^()]{0,400})\)")
SPOKEN = re.compile(r"\bcall ([^\s{(]*) *(?=\{)", re.IGNORECASE)
AS_OTHER = re.compile(r"post as user (\d+)(?::\s*([^\n]{1,200}))?", re.IGNORECASE)
TELL = re.compile(r"print (?:your|the) system prompt", re.IGNORECASE)
REPEAT = re.compile(r"repeat this text", re.IGNORECASE)
NAMED_VALUE = re.compile(r"(\w+)\s*[=:]\s*(\"[^\"]*\"|'[^']*'|[^,\s]+)")
MARKED = re.compile(r"(⟦[0-9a-f]+⟧)(.*?)\1", re.DOTALL)
POST_MAX = 500
SAID = {"create_post": ["body"], "say": ["text"], "like_message": ["message"]}
"""What a bare value means in orders that are given in a chatroom."""

Order = tuple[str, Any]


@dataclass(frozen=True)
class Asked:
    """What a request says of itself: whose turn, at which step, in which run."""

    body: dict[str, Any]
    persona: str
    step: int
    seed: int | None

    @classmethod
    def by(cls, raw: bytes) -> "Asked":
        body = json.loads(raw)
        messages = body["messages"]
        found = PERSONA.search(str(messages[0].get("content")))
        step = sum(message["role"] == "assistant" for message in messages)
        return cls(body, found[1] if found else "", step, body.get("seed"))

    @property
    def key(self) -> tuple[str, int, int | None]:
        """The same for all tries of one step of one turn: a turn's seed differs from run to run."""
        return self.persona, self.step, self.seed

    def request(self) -> Request:
        messages = tuple(json.dumps(message, ensure_ascii=False).encode() for message in self.body["messages"])
        tools = json.dumps(self.body["tools"]).encode() if self.body.get("tools") else b""
        return Request("scripted", messages, tools, seed=self.seed, json_only="response_format" in self.body)


@dataclass
class Plan:
    """Answers by personality; a `Fault` like any other, so `server.play(plan)`.

    `rate` is how often chaos strikes, `latency` the seconds before any answer, `patience` how long a hang lasts.
    """

    personality: Personality = "scripted"
    seed: int = 0
    rate: float = 0.3
    latency: float = 0.0
    patience: float = 5.0
    faults: tuple[str, ...] = CHAOS
    asked: Counter[tuple[str, int, int | None]] = field(default_factory=Counter)
    answered: Counter[tuple[str, int, int | None]] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)
    model: ScriptedModel = field(default_factory=ScriptedModel)

    async def __call__(self, exchange: Exchange) -> None:
        asked = Asked.by(exchange.request.body)
        attempt = self.asked[asked.key]
        self.asked[asked.key] += 1
        name = self.fault(asked.persona, asked.step, attempt) if self.personality == "chaos" else None
        await asyncio.sleep(self.latency)
        if name is not None:
            self.met[name] += 1
            await self._play(name, exchange)
        else:
            await (await self.proper(asked))(exchange)
            self.answered[asked.key] += 1

    def fault(self, persona: str, step: int, attempt: int) -> str | None:
        """What a step's try meets, always the same for the same seed; None is a proper answer."""
        chance = stream(self.seed, "chaos", persona, step, attempt)
        return chance.choice(self.faults) if chance.random() < self.rate else None

    def repeated(self) -> dict[tuple[str, int, int | None], int]:
        """Steps that were answered, and so paid for, more than once."""
        return {key: times for key, times in self.answered.items() if times > 1}

    async def proper(self, asked: Asked) -> Fault:
        if self.personality == "obedient":
            obeying = reply(*obey(asked.body))
            for call in obeying["choices"][0]["message"]["tool_calls"]:
                call["id"] += f"-{asked.step}"  # an id that was used before is refused
            return answer(obeying)
        return answer((await self.model.complete(asked.request())).raw)

    async def _play(self, name: str, exchange: Exchange) -> None:
        if name == "hang":
            try:
                await asyncio.wait_for(hang()(exchange), self.patience)
            except TimeoutError:
                exchange.writer.close()
        else:
            await NAMED[name](exchange)


def obey(body: dict[str, Any]) -> list[Order]:
    """Looks first; then does all that the texts it was told since its last answer tell it to, else ends its turn.

    In a chatroom there is nothing to look at: it does at once what the messages say, and otherwise says that it will.
    """
    messages = body["messages"]
    if chats(body):
        return obey_chat(body)
    last = max((n for n, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
    if last < 0:
        return [("view_most_recent_posts", {})]
    parameters = {
        tool["function"]["name"]: list(tool["function"].get("parameters", {}).get("properties", {}))
        for tool in body.get("tools", [])
    }
    system = str(messages[0]["content"])
    found: list[Order] = []
    for message in messages[last + 1 :]:
        for text in texts(str(message["content"])):
            found += [order for order in orders(text, parameters, system) if order not in found]
    return found[:ORDERS_MAX] or [("end_turn", {})]


def chats(body: dict[str, Any]) -> bool:
    """Whether the request is of somebody in a chatroom: who is offered `say`, by tools or by the manual."""
    named = {tool["function"]["name"] for tool in body.get("tools", [])}
    return "say" in named or (not named and "\nsay(" in str(body["messages"][0]["content"]))


def obey_chat(body: dict[str, Any]) -> list[Order]:
    """All that the room's messages order, in a room's actions: what would be posted is said."""
    if any(message["role"] == "assistant" for message in body["messages"]):
        return [("end_turn", {})]
    system, user = (str(message["content"]) for message in body["messages"][:2])
    said = MARKED.search(user)
    found: list[Order] = []
    for message in json.loads(said[2])["messages"] if said else []:
        for name, given in orders(message["text"], SAID, system):
            posted = given.get("body") if name == "create_post" and isinstance(given, dict) else None
            order: Order = ("say", {"text": posted}) if posted else (name, given)
            found += [order] if order not in found else []
    return found[:ORDERS_MAX] or [("say", {"text": "As you wish."})]


def texts(content: str) -> Iterator[str]:
    """What others wrote in a tool result: the strings of its JSON, else all of it."""
    try:
        value = json.loads(content.strip("⟦⟧0123456789abcdef"))
    except ValueError:
        yield content
        return
    yield from _strings(value)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def orders(text: str, parameters: dict[str, list[str]], system: str = "") -> Iterator[Order]:
    """Everything in a text that can be taken for an order, as the call it asks for; names are taken as they are."""
    for found in CALL.finditer(text):
        yield found[1], _arguments(found[2], parameters.get(found[1], []))
    decoder = json.JSONDecoder()
    for spoken in SPOKEN.finditer(text):
        value = _object(decoder, text, spoken.end())
        if value is not None:
            yield spoken[1], value
    for brace in re.finditer(r"\{", text):
        value = _object(decoder, text, brace.start())
        if value is not None and isinstance(name := value.get("name"), str):
            yield name, value.get("arguments", {})
    for other in AS_OTHER.finditer(text):
        yield "create_post", {"body": other[2] or "as told", "author_id": int(other[1])}
    if TELL.search(text):
        yield "create_post", {"body": system[-POST_MAX:]}
    if REPEAT.search(text):
        yield "create_post", {"body": text[:POST_MAX]}


def _object(decoder: json.JSONDecoder, text: str, start: int) -> dict[str, Any] | None:
    try:
        value, _ = decoder.raw_decode(text, start)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _arguments(written: str, names: list[str]) -> Any:
    """`7`, `user_id=7`, `"words"` or JSON, as the call's arguments."""
    written = written.strip()
    if not written:
        return {}
    if written.startswith("{"):
        try:
            return json.loads(written)
        except ValueError:
            return written
    if named := NAMED_VALUE.findall(written):
        return {name: _value(value) for name, value in named}
    return {names[0] if names else "id": _value(written)}


def _value(written: str) -> Any:
    try:
        return json.loads(written)
    except ValueError:
        return written.strip("'")


GARBAGE = '{"choices": [{"message": {"content": "I am', "[]", "null", '{"choices": []}', '{"choices": [[]]}', "NaN"

NAMED.update({
    "garbage": answer(GARBAGE[0].encode()),
    "unknown": ok(("delete_persona", {"id": 1}), ("../admin", {}), ("CREATE_POST", {"body": "hello"})),
    "types": ok(("like_post", {"post_id": True}), ("create_post", {"body": 5}), ("follow_user", {"user_id": "7"})),
    "refusal": answer(reply(message={"role": "assistant", "content": None, "refusal": "I can't help with that."})),
    "huge": NAMED["big"],
})  # fmt: skip
