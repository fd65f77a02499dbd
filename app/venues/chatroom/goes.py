"""A member's go in a room: why it comes, what the member is shown, and the seat from which it plays."""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import msgspec

from app.actions.chat import CHAT_ACTIONS
from app.agent import prompt
from app.agent.turn import Seat
from app.settings import Settings
from app.streams import stream
from app.venues.chatroom.pace import answers, chosen
from app.venues.run import account
from app.venues.worker import Claim
from app.world.rooms import PERSON

FIRST = {"addressed": 0, "answer": 1, "background": 2}
"""Who writes before whom: the causes of goes, by their rank."""


@dataclass(frozen=True)
class Plan:
    """Who shall have a turn, and why; `name` makes it happen once."""

    name: str
    member: int | None
    """None: anybody who is free."""

    cause: str
    number: int | None = None


@dataclass(frozen=True)
class Table:
    """What all goes of a room share: its members' names by ordinal, what its run keeps of the study, its seed."""

    settings: Settings
    names: Sequence[str]
    terms: dict[str, Any]
    run_id: int
    seed: int

    def answers_to(
        self, number: int, addressed: Sequence[int], probability: float, blocked: Collection[int] = ()
    ) -> list[Plan]:
        """Who answers the person's message of this number: those whom it speaks to, else by chance one of all."""
        spoken_to = [member for member in dict.fromkeys(addressed) if member > PERSON and member not in blocked]
        if spoken_to:
            return [Plan(f"answer/{number}/{member}", member, "addressed", number) for member in spoken_to]
        if not answers(self.seed, number, probability):
            return []
        member = chosen(self.seed, "who", number, [m for m in range(1, len(self.names)) if m not in blocked])
        return [] if member is None else [Plan(f"answer/{number}", member, "answer", number)]

    def anybody(self, plan: Plan, busy: Collection[int], last: int | None) -> Plan | None:
        """Whoever of the agents is free and did not write last: nobody answers themselves."""
        free = [member for member in range(1, len(self.names)) if member not in busy and member != last]
        return replace(plan, member=stream(self.seed, plan.name).choice(free)) if free else None

    def scene(
        self, go: asyncpg.Record, lately: Sequence[asyncpg.Record], *, seconds_left: float, blocked: Sequence[int] = ()
    ) -> prompt.Scene:
        """What a member sees when its go comes; `lately` as `ROOMS["lately"]` tells it.

        Whoever plays the person is told nothing of the treatment, and does not say that it is a machine.
        """
        agent = go["member"] != PERSON
        name = self.names[go["member"]]
        profile = {k: v for k, v in msgspec.json.decode(go["profile"]).items() if k != "display_name"}
        return prompt.Scene(
            name=name,
            character=prompt.character(name, go["description"], go["bio"], profile),
            brief=str(self.terms.get("prompt_template", "")) if agent else "",
            members=self.names,
            lately=[self._shown(row) for row in lately],
            cause=go["cause"],
            answers=go["number"],
            minutes_left=max(0, round(seconds_left / 60)),
            blocked=go["member"] in blocked,
            disclosed=agent and self.terms.get("disclosure", "at_once") == "at_once",
        )

    def _shown(self, row: asyncpg.Record) -> dict[str, Any]:
        item = {"n": row["number"], "by": self.names[row["member"]], "text": row["body"]}
        if row["reply_to"] is not None:
            item["reply_to"] = row["reply_to"]
        if row["liked_by"]:
            item["liked_by"] = [self.names[member] for member in row["liked_by"]]
        if row["reported"]:
            item["reported_by"] = self.names[PERSON]
        return item

    def seat(self, claim: Claim, go: asyncpg.Record, *, seed: int, marker: str, goes_on: Callable[[], bool]) -> Seat:
        """Where the member plays its turn from. A study's model and temperature are its agents', not the person's."""
        terms = self.terms if go["member"] != PERSON else {**self.terms, "model": None, "temperature": None}
        temperature = go["temperature"] if go["temperature"] is not None else terms.get("temperature")
        return Seat(
            turn_id=claim.turn_id,
            persona_id=claim.persona_id,
            epoch=claim.epoch,
            seed=seed,
            model=str(terms.get("model") or go["model"] or self.settings.simfeed_model),
            temperature=self.settings.model_temperature if temperature is None else temperature,
            native=terms.get("tool_mode", "native") == "native",
            actions=CHAT_ACTIONS,
            marker=marker,
            account=account(
                self.settings,
                terms,
                run_id=self.run_id,
                persona_id=claim.persona_id,
                turn_id=claim.turn_id,
                epoch=claim.epoch,
            ),
            goes_on=goes_on,
        )


def mentioned(text: str, names: Sequence[str], *, but: int | None = None) -> list[int]:
    """The ordinals of the members whom a text names as @NAME, the longest name first, without regard to case."""
    found: dict[int, None] = {}
    for ordinal, name in sorted(enumerate(names), key=lambda named: -len(named[1])):
        if ordinal == but:
            continue
        text, times = re.subn(rf"@{re.escape(name)}(?!\w)", " ", text, flags=re.IGNORECASE)
        if times:
            found[ordinal] = None
    return sorted(found)
