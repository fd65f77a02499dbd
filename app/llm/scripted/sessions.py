"""What sessions ask, answered: a dialogue's turn as text, everything else as one call of the tool that is offered."""

from collections.abc import Callable
from typing import Any

from app.llm.scripted.asked import Asked
from app.llm.scripted.chance import digest, stream
from app.llm.scripted.dialoguing import turn
from app.llm.scripted.disposition import nature
from app.llm.scripted.portraying import write_persona
from app.llm.scripted.reading import Call
from app.llm.scripted.recording import ground, record
from app.llm.scripted.reporting import choose_speaker, judge, raise_hand, summarise, write_document
from app.llm.scripted.rewriting import rewrite
from app.llm.scripted.speaking import speaker
from app.llm.scripted.surveying import Respondent, question


def reply(asked: Asked, seed: int, again: str) -> str | Call:
    """The answer to what is asked: text of a dialogue's turn, else a call. `again` names the occasion."""
    if not asked.tool.name:
        return turn(asked, seed, stream(again, "turn"))
    return Call(asked.tool.name, _MAKERS[asked.tool.name](asked, seed, again))


def _speak(asked: Asked, seed: int, again: str) -> dict[str, Any]:
    about = (
        asked.text("topic")
        or asked.text("situation")
        or asked.text("context")
        or (asked.said[0].text if asked.said else "")
    )
    one = speaker(asked, seed, stream(again, "speak"), about)
    made = {"text": one.said()}
    return {**made, "thought": one.thought()} if asked.tool.takes("thought") else made


def _answer(asked: Asked, seed: int, again: str) -> dict[str, Any]:
    rows = {str(row.get("key")): row for row in asked.rows("questions")}
    names = [name for name in asked.tool.properties if name != "thought"]
    if not any(asked.tool.properties.values()) and not set(names) & set(rows):
        names = list(rows)
    respondent = Respondent(nature(asked.persona), again)
    about = asked.text("topic") or asked.text("context")
    made: dict[str, Any] = {}
    for place, name in enumerate(names):
        schema = asked.tool.properties.get(name)
        one = question(name, rows.get(name, {}), schema if isinstance(schema, dict) else {}, about)
        if one.kind == "open":
            at = int(digest(again, name), 16) % 97 + 5 * place
            told = speaker(asked, seed, stream(again, name), about or one.text, at)
            made[name] = told.open_answer(one.text) or "I have no answer to that."
        else:
            made[name] = respondent.answer(one)
    if asked.tool.takes("thought"):
        made["thought"] = speaker(asked, seed, stream(again, "thought"), about or "the questions").thought()
    return made


_MAKERS: dict[str, Callable[[Asked, int, str], dict[str, Any]]] = {
    "speak": _speak,
    "answer": _answer,
    "choose_speaker": lambda asked, seed, again: {"name": choose_speaker(asked, again)},
    "raise_hand": lambda asked, seed, again: {"eagerness": raise_hand(asked, again)},
    "record": lambda asked, seed, again: record(asked),
    "summarise": lambda asked, seed, again: {"text": summarise(asked)},
    "judge": lambda asked, seed, again: judge(asked),
    "write_persona": lambda asked, seed, again: write_persona(asked, stream(again, "persona")),
    "rewrite": lambda asked, seed, again: {"text": rewrite(asked, stream(again, "rewrite"))},
    "write_document": lambda asked, seed, again: write_document(asked),
    "ground": lambda asked, seed, again: ground(asked),
}
