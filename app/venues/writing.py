"""What models write: persons who fit a sample, documents from transcripts, texts anew, traits out of sources."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.actions import session as acts
from app.actions.registry import Action, ActionSet
from app.agent import asking
from app.agent.asking import Asking
from app.agent.memory import Recollection
from app.venues.session.design import Writing
from app.venues.session.script import Move, Opening, Stand
from app.venues.session.talk import said_data
from app.world.sessions import Ask, Line, Member

AT_ONCE = 25
"""Persons that are written at once: those after them are told the names of those before."""

NAMES_MOST = 200
MATERIAL_TOKENS = 12_000
TOKENS = {"persona": 900, "document": 4_000, "rewrite": 6_000, "ground": 3_000}


class WritingScript:
    """The moves of something that is written, all of it by member 0; `source` is the transcript that it is made of."""

    def __init__(
        self,
        design: Writing,
        members: Sequence[Member],
        source: Sequence[Line] = (),
        speakers: Sequence[Member] = (),
    ) -> None:
        self.design = design
        self.members = members
        self._source = [line for line in source if line.body]
        self._speakers = speakers

    def move(self, stand: Stand) -> Move:
        if self.design.what != "persona":
            return Move(over=True) if stand.lines else Move(ask=[Ask(self.design.what, 0, self.design.what)])
        done, size = len(stand.lines), len(self.design.sampled)
        if done >= size:
            return Move(over=True)
        nth = range(done, min(done + AT_ONCE, size))
        return Move(ask=[Ask(f"persona/{n + 1}", 0, "persona", n + 1) for n in nth])

    def opening(self, ask: Ask, lines: Sequence[Line], marker: str, *, native: bool, recalled: Recollection) -> Opening:
        action, data, told = self._asked(ask, lines)
        offered = ActionSet([action])
        what = Asking(self.design.what, told, data={k: v for k, v in data.items() if v})
        messages = asking.messages(what, offered, marker=marker, native=native)
        most = max(TOKENS[self.design.what], len(self.design.text) // 2 if self.design.what == "rewrite" else 0)
        return Opening(
            messages,
            offered,
            min(most, 16_000),
            self.design.terms.model,
            self.design.terms.temperature,
            again=ask.round,
        )

    def _asked(self, ask: Ask, lines: Sequence[Line]) -> tuple[Action, dict[str, Any], str]:
        design = self.design
        match design.what:
            case "persona":
                names = [
                    str(line.value["display_name"]) for line in lines if line.value and "display_name" in line.value
                ]
                data = {"sampled": design.sampled[ask.round - 1], "taken": names[-NAMES_MOST:]}
                return acts.write_persona(), data, "Write this person: call write_persona."
            case "document":
                said = said_data(self._source, self._speakers, MATERIAL_TOKENS)
                asked: dict[str, Any] = {"genre": design.genre, "title": design.title, "wish": design.wish}
                return acts.write_document(), {**asked, "said": said}, f"Write the {design.genre}: call write_document."
            case "rewrite":
                return acts.rewrite(), {"text": design.text, "wish": design.wish}, "Write the text anew: call rewrite."
            case _:
                passages: Any = [{"n": n, "text": text} for n, text in enumerate(design.passages, 1)]
                return acts.ground(), {"passages": passages}, "Say who this is: call ground."

    def result(self, lines: Sequence[Line]) -> Mapping[str, Any]:
        return {"written": sum(line.missing is None for line in lines)}
