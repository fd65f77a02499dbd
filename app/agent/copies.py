"""What a text repeats of what its writer was just told: content that spreads itself, and instructions that leak.

Measured and marked, not prevented: a mark stands in the ledger beside the action. What marks lead to is decided at the
end of the cycle, by `world/moderation`.
"""

import json
from collections.abc import Sequence

from app.world import moderation

PARTS = moderation.PARTS
ENOUGH = moderation.ENOUGH
SHORTEST = 40
"""Characters below which a text is everybody's."""

OWN_WORDS = b'{"role":"assistant"'
OWN_INSTRUCTIONS = moderation.OWN_INSTRUCTIONS
JUST_READ = moderation.JUST_READ


def repeated(body: str, told: Sequence[bytes]) -> str:
    """What `body` repeats of the messages its writer was told, the first of which are instructions; empty if nothing.

    A text counts as repeated when six of its eight equal parts occur as they are, whatever their case: changes to a
    twentieth of it touch two of them at most, if they lie together.
    """
    plain = " ".join(body.lower().split())
    if len(plain) < SHORTEST or not told:
        return ""
    size = len(plain) / PARTS
    parts = [plain[round(n * size) : round((n + 1) * size)] for n in range(PARTS)]
    if _holds(told[0], [_escaped(part) for part in parts]):
        return OWN_INSTRUCTIONS
    quoted = [_escaped(_escaped(part)) for part in parts]  # results are JSON within a message's JSON
    read = (message for message in told[1:] if not message.startswith(OWN_WORDS))
    return JUST_READ if any(_holds(message, quoted) for message in read) else ""


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _holds(message: bytes, parts: list[str]) -> bool:
    said, missing = message.decode("utf-8", "replace").lower(), 0
    if "\\n" in said:
        said = said.replace("\\\\n", " ").replace("\\n", " ")
    for part in parts:
        missing += part not in said
        if missing > PARTS - ENOUGH:
            return False
    return True
