"""What a persona is told in the opening of its turn: messages of others, as quoted data, within a token budget."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.actions.showing import tokens
from app.agent.prompt import unmarked
from app.ledger.commit import ExposureRecord
from app.world.in_force import Told

EXPOSURE, RANKER = "message", "intervention"
MESSAGES_MOST, TOKENS_MOST = 3, 300
"""Messages in one opening, and what all but the first of them may take; what is left is told in the next turn."""

LINE_TOKENS = 8


@dataclass(frozen=True)
class Hearing:
    """What is told in an opening: (from, text), and for the ledger which interventions said it."""

    lines: tuple[tuple[str, str], ...] = ()
    shown: tuple[ExposureRecord, ...] = ()


SILENCE = Hearing()


def fit(told: Sequence[Told], ordinal: int) -> Hearing:
    """As many messages as fit, the oldest first and always one; `ordinal` is the exposure's among those of its step."""
    lines: list[tuple[str, str]] = []
    ids: list[int] = []
    left = TOKENS_MOST
    for one in told[:MESSAGES_MOST]:
        left -= tokens(one.body) + LINE_TOKENS
        if lines and left < 0:
            break
        lines.append((unmarked(one.by), " ".join(one.body.split())))
        ids.append(one.id)
    if not ids:
        return SILENCE
    return Hearing(tuple(lines), (ExposureRecord(ordinal, EXPOSURE, RANKER, tuple(ids)),))
