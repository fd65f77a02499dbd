"""What a persona can do when it looks back. The docstring is what the model reads."""

from app.actions.registry import ActionSet, Arguments, EndTurn, writes
from app.world.text import PostBody


class Thought(Arguments):
    """At most what a post holds, so that a reflection takes less room than what it holds."""

    text: PostBody


@writes(Thought, ends=True)
def reflect(_: Thought) -> EndTurn:
    """What you make of it"""
    return EndTurn()


REFLECTION = ActionSet((reflect,))
