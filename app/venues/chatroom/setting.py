"""A room whose person is played too, as data: what an experiment varies."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le, MaxLen
from pydantic import Field

from app.venues.chatroom.design import USUAL_CAST, Cast, Member, Pace, Part, doubled
from app.world.text import ChatBody, Line, PersonaText

Finite = Field(allow_inf_nan=False)


class Scripted(Part):
    """Words that the person writes whatever happens, so many seconds from the start: a stimulus that all runs share."""

    seconds: Annotated[float, Ge(0), Le(86_400), Finite]
    text: ChatBody


class Person(Member):
    """Who takes the participant's place: a persona of the world, one described here, or one made up by the seed.

    It writes by itself `messages_per_minute` times (as agents do: at random moments), and answers who speaks to it.
    With neither, all it says is the script.
    """

    reserved: ClassVar[frozenset[str]] = frozenset()

    name: Literal["participant"] = "participant"
    messages_per_minute: Annotated[float, Ge(0), Le(60), Finite] = 1.5
    answer_probability: Annotated[float, Ge(0), Le(1), Finite] = 0.7
    script: Annotated[list[Scripted], MaxLen(500)] = Field(default_factory=list)


class RoomSetting(Part):
    """A chatroom of a study as agents meet it, in simulated time: no minute of it takes a minute.

    `prompt_template` is what all agents are told, as an arm of a study tells it. A turn takes `thinking_seconds` of the
    room's time, whatever the model takes.
    """

    prompt_template: PersonaText | None = None
    cast: Cast = Field(default_factory=lambda: list(USUAL_CAST))
    participant: Person = Person()
    pace: Pace = Pace()
    model: Line | None = None
    temperature: Annotated[float, Ge(0), Le(2), Finite] | None = None
    disclosure: Literal["at_once", "delayed"] = "at_once"
    thinking_seconds: Annotated[float, Ge(0), Le(60), Finite] = 2.0

    def contradictions(self) -> Iterator[tuple[str, str]]:
        yield from doubled(self.cast)
        here = {member.persona.casefold() for member in self.cast if member.persona}
        if (self.participant.persona or "").casefold() in here:
            yield "participant", f"is {self.participant.persona}, who is in the cast too"
        last = max((one.seconds for one in self.participant.script), default=0.0)
        if last >= 60 * self.pace.session_duration_minutes:
            yield "participant", f"has words at {last:g} s, when the room is at its end"

    def models(self) -> dict[str, str]:
        """The models that are named, and in which part."""
        named = {member.model: "cast" for member in self.cast if member.model}
        named |= {self.participant.model: "participant"} if self.participant.model else {}
        return named | ({self.model: "model"} if self.model else {})
