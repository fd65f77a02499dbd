"""How something is asked in a session: the two messages, the data of others between the marks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.actions.registry import ActionSet
from app.agent import prompt
from app.llm.model import encode_message


@dataclass(frozen=True)
class Asking:
    """What is asked: by which text of `app/agent/prompts`, in whose character, in which frame, about which data."""

    text: str
    instruction: str
    character: str = ""
    frame: str = ""
    data: Mapping[str, Any] | None = None
    memories: Sequence[str] = ()


def messages(asking: Asking, actions: ActionSet, *, marker: str, native: bool) -> tuple[bytes, ...]:
    """The system's message and the user's. What others wrote stands between marks that nobody else knows."""
    system = prompt.text(asking.text) if asking.text else ""
    if actions.tools and not native:
        system += "\n" + prompt.text("json_mode").format(manual=actions.manual())
    parts = [part for part in (system, asking.character) if part]
    lines = [prompt.unmarked(asking.frame)] if asking.frame else []
    if asking.data:
        lines.append(prompt.quote(asking.data, marker))
    if asking.memories:
        lines.append(f"You remember: {prompt.quote({'memories': asking.memories}, marker)}")
    lines += [f"Quote marks now: {marker}", prompt.unmarked(asking.instruction)]
    return (
        encode_message("system", prompt.unmarked("\n\n".join(parts))),
        encode_message("user", "\n".join(lines)),
    )
