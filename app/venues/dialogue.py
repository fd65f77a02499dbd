"""Models talk to each other: who speaks next, what they are told, when it ends."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from app.actions import session as acts
from app.actions.registry import ActionSet
from app.agent import asking
from app.agent.asking import Asking
from app.agent.memory import Recollection
from app.streams import stream
from app.venues.session.design import Bot, Dialogue
from app.venues.session.script import NO_ACTIONS, Move, Opening, Stand
from app.venues.session.talk import named, said_data
from app.world.sessions import Ask, Line, Member

SEED, SAY, CHOICE, HAND = "seed", "say", "choice", "hand"
FAREWELL = re.compile(
    r"\b(?:good ?bye|bye(?: bye| for now| now)?|farewell|see you(?: soon| later| around)?|take care|"
    r"until next time|so long|auf wiedersehen|tschüss|au revoir|adi[oó]s)\b[^.!?]{0,25}[.!?…\s]*$",
    re.IGNORECASE,
)
"""A text that ends with this says goodbye."""

WINDOW_TOKENS = 1_200
HAND_TOKENS, CHOICE_TOKENS = 60, 60


class DialogueScript:
    """A dialogue's moves. Bots are the members from 1 in the design's order; who chooses a speaker is member 0."""

    def __init__(self, design: Dialogue, members: Sequence[Member], seed: int) -> None:
        self.design = design
        self.members = members
        self.seed = seed
        self._bots = range(1, len(design.bots) + 1)

    def move(self, stand: Stand) -> Move:
        """The seed message, then turn by turn; a turn that yields nothing is over too."""
        if not stand.lines:
            return Move(say=[self._seed_line()])
        if self.stopped_by(stand) is not None:
            return Move(over=True)
        turn = sum(line.kind == SAY for line in stand.lines) + 1
        speaker, first = self._speaker(stand.lines, turn)
        if first:
            return Move(ask=first)
        name = self.members[speaker].name
        return Move(ask=[Ask(f"turn/{turn}", speaker, SAY, turn, about={"plain": name})])

    def _seed_line(self) -> Line:
        seed = self.design.seed_message
        by = next((m.number for m in self.members[1:] if m.name == seed.from_), 0)
        return Line(SEED, by, SEED, 0, seed.message, value=None if by else {"by": seed.from_})

    def stopped_by(self, stand: Stand) -> str | None:
        """What ends the dialogue now, if anything does."""
        stop = self.design.stop
        said = [line for line in stand.lines if line.kind == SAY]
        spoken = [line for line in said if line.missing is None]
        if stop.phrase and spoken and stop.phrase.casefold() in spoken[-1].body.casefold():
            return "phrase"
        if stop.goodbye and len(said) > 1 and all(FAREWELL.search(line.body) for line in said[-2:]):
            return "goodbye"
        if len(said) >= stop.turns:
            return "turns"
        if stop.tokens is not None and stand.tokens >= stop.tokens:
            return "tokens"
        return "seconds" if stop.seconds is not None and stand.age >= stop.seconds else None

    def _speaker(self, lines: Sequence[Line], turn: int) -> tuple[int, list[Ask]]:
        """Who has this turn; or what must be asked first to know."""
        if turn == 1 and self.design.turn_taking in ("round_robin", "random"):
            return self._initial(lines), []
        if turn == 1 and self.design.initial_bot != "random":
            return self._initial(lines), []
        last = lines[0] if turn == 1 else [line for line in lines if line.kind == SAY][-1]
        free = [n for n in self._bots if n != last.member]
        match self.design.turn_taking:
            case "round_robin":
                return (self._initial(lines) - 1 + turn - 1) % len(self._bots) + 1, []
            case "random":
                return stream(self.seed, "turn", turn).choice(free), []
            case "raised_hands":
                return self._by_hands(lines, turn, free)
            case _:
                return self._moderated(lines, turn, free, last)

    def _initial(self, lines: Sequence[Line]) -> int:
        if self.design.initial_bot != "random":
            return next(m.number for m in self.members[1:] if m.name == self.design.initial_bot)
        return stream(self.seed, "initial").choice([n for n in self._bots if n != lines[0].member])

    def _moderated(self, lines: Sequence[Line], turn: int, free: list[int], last: Line) -> tuple[int, list[Ask]]:
        if self.design.moderator == "model":
            chosen = next((line for line in lines if line.key == f"choice/{turn}"), None)
            if chosen is None:
                stream(self.seed, "names", turn).shuffle(free)
                names = [self.members[n].name for n in free]
                return 0, [Ask(f"choice/{turn}", 0, CHOICE, turn, about={"names": names})]
            if chosen.missing is None and chosen.value is not None:
                return next(n for n in free if self.members[n].name == chosen.value["name"]), []
        spoken_to = [n for n in free if re.search(rf"\b{re.escape(self.members[n].name)}\b", last.body, re.IGNORECASE)]
        return self._least_heard(lines, turn, spoken_to or free), []

    def _by_hands(self, lines: Sequence[Line], turn: int, free: list[int]) -> tuple[int, list[Ask]]:
        hands = [line for line in lines if line.kind == HAND and line.round == turn]
        if not hands:
            return 0, [Ask(f"hand/{turn}/{n}", n, HAND, turn) for n in free]
        eager = {line.member: int(line.value["eagerness"]) for line in hands if line.missing is None and line.value}
        most = max(eager.values(), default=0)
        return self._least_heard(lines, turn, [n for n in free if eager.get(n, 0) == most]), []

    def _least_heard(self, lines: Sequence[Line], turn: int, among: list[int]) -> int:
        """Who has spoken least; who of them is left to chance."""
        counts = {n: sum(line.kind == SAY and line.member == n for line in lines) for n in among}
        return stream(self.seed, "turn", turn).choice([n for n in among if counts[n] == min(counts.values())])

    def opening(self, ask: Ask, lines: Sequence[Line], marker: str, *, native: bool, recalled: Recollection) -> Opening:
        """How a bot, or the moderator, is asked."""
        heard = [line for line in lines if line.kind in (SEED, SAY) and line.missing is None]
        data = {"said": said_data(heard[-self.design.window :], self.members, WINDOW_TOKENS)}
        if ask.kind == CHOICE:
            names = list(ask.about["names"])
            choose = ActionSet([acts.choose_speaker(names)])
            what = Asking("moderator", "Choose who speaks next: call choose_speaker.", data={**data, "names": names})
            messages = asking.messages(what, choose, marker=marker, native=native)
            return Opening(messages, choose, CHOICE_TOKENS)
        bot = self.design.bots[ask.member - 1]
        others = ", ".join(m.name for m in self.members[1:] if m.number != ask.member)
        frame, who = f"Dialogue. With you: {others}.", f"You are {bot.name}."
        character, options = self._character(bot, self.members[ask.member]), bot.options
        if ask.kind == HAND:
            hand = ActionSet([acts.raise_hand()])
            what = Asking("hand", f"{who} Call raise_hand.", character, frame, data, recalled.lines)
            messages = asking.messages(what, hand, marker=marker, native=native)
            return Opening(messages, hand, HAND_TOKENS, bot.model, options.temperature)
        told = f"{who} It is your turn: write what you say next, and nothing else."
        what = Asking("dialogue", told, character, frame, data, recalled.lines)
        return Opening(
            asking.messages(what, NO_ACTIONS, marker=marker, native=native),
            NO_ACTIONS,
            options.num_predict or self.design.terms.max_tokens,
            bot.model or self.members[ask.member].row["model"],
            options.temperature,
            options.top_p,
            options.stop,
            tries=1,
            again=ask.round,
        )

    def _character(self, bot: Bot, member: Member) -> str:
        return bot.prompt if bot.persona is None else "\n".join([*([bot.prompt] if bot.prompt else []), named(member)])

    def result(self, lines: Sequence[Line]) -> Mapping[str, Any]:
        """How many turns there were, how many yielded nothing, and what ended it."""
        said = [line for line in lines if line.kind == SAY]
        ended = self.stopped_by(Stand(lines))
        return {
            "turns": len(said),
            "ignored": sum(line.missing is not None for line in said),
            "stopped_by": ended or ("tokens" if self.design.stop.tokens is not None else "seconds"),
        }
