"""Sessions for tests: designs, models that fail in known ways, sessions played to their end."""

import asyncio
import itertools
import random
from collections.abc import Callable
from typing import Any

import msgspec

from app.agent.turn import Mind
from app.db.engine import Database
from app.llm.gateway import Gateway
from app.llm.model import Completion, Request, ToolCall, encode_reply
from app.settings import Settings, load_settings
from app.venues.session.design import Dialogue, Kind, Part, Simulation, checked
from app.venues.session.opening import begin
from app.venues.session.stage import play
from app.world import sessions
from app.world.sessions import Line

IDS = itertools.count()
DEMOGRAPHICS = {"age": {"18-29": 20, "30-49": 40, "50-80": 40}, "gender": {"female": 50, "male": 50}}
CUP = {"type": "product", "content": "A reusable coffee cup with a deposit of two euros, taken in every café in town."}


def a_dialogue(**more: Any) -> Dialogue:
    """Two bots on rare earth metals; `more` replaces parts."""
    design: Dialogue = checked(
        Dialogue,
        {
            "bots": [
                {"name": "Geo", "prompt": "You are a geologist who knows rare earth metals. Answer briefly."},
                {"name": "Mara", "prompt": "You are a journalist, curious and critical."},
            ],
            "seed_message": {"from": "Host", "message": "How will the world get enough rare earth metals?"},
            "stop": {"turns": 6},
            "terms": {"seed": 7},
            **more,
        },
    )
    return design


def a_group(count: int = 4, kind: str = "focus_group", rounds: int = 1, **more: Any) -> Simulation:
    """Participants from demographics on a cup; `config` adds to the simulation's, other names replace parts."""
    config = {"environment_type": kind, "rounds": rounds, **more.pop("config", {})}
    design: Simulation = checked(
        Simulation,
        {
            "participants": {"mode": "from_demographics", "specifications": DEMOGRAPHICS, "count": count},
            "simulation_config": config,
            "stimulus": CUP,
            "terms": {"seed": 7},
            **more,
        },
    )
    return design


async def began(database: Database, design: Part, settings: Settings | None = None, **how: Any) -> int:
    """A session of this design; its number."""
    kind: Kind = "dialogue"
    if isinstance(design, Simulation):
        kind = design.simulation_config.environment_type
    key = await begin(database, settings or load_settings(), kind, design, **how)
    return int((await sessions.found(database, key))["id"])


async def played(mind: Mind, design: Part, settings: Settings | None = None, **how: Any) -> tuple[int, str]:
    """A session played to its end; its number and state."""
    chosen = settings or load_settings()
    number = await began(mind.database, design, chosen, **how)
    async with asyncio.timeout(120):
        return number, await play(mind, chosen, number)


async def said(database: Database, number: int) -> list[Line]:
    return await sessions.lines(database, number)


def plain(lines: list[Line]) -> list[tuple[object, ...]]:
    """What a transcript says, without times and turns."""
    return [
        (line.number, line.key, line.member, line.body, line.thought, line.value and dict(line.value), line.missing)
        for line in lines
    ]


class Watched:
    """The offline model, or another answer; keeps what it was asked."""

    def __init__(self, answer: Callable[[Request, int], Completion | None] = lambda _, __: None) -> None:
        self.asked: list[Request] = []
        self.longest = 0.0
        self._inner = Gateway(load_settings())
        self._answer = answer

    async def complete(self, request: Request) -> Completion:
        self.asked.append(request)
        if self.longest:
            await asyncio.sleep(random.random() * self.longest)
        return self._answer(request, len(self.asked)) or await self._inner.complete(request)

    async def aclose(self) -> None:
        await self._inner.aclose()

    def texts(self) -> list[str]:
        """What was asked, whole."""
        return [b"\n".join(request.messages).decode() for request in self.asked]


def calls(name: str, /, **arguments: Any) -> Completion:
    """A reply that calls one function, by an id of its own."""
    call = ToolCall(f"c{next(IDS)}", name, msgspec.json.encode(arguments).decode())
    return Completion("ok", "stub", "", (call,), message=encode_reply("", (call,)), cost_usd=0.0)


def words(text: str) -> Completion:
    """A reply in plain words."""
    return Completion("ok", "stub", text, message=encode_reply(text, ()), cost_usd=0.0)
