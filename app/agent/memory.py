"""What comes to a persona's mind before its turn: recalled memories as lines of a prompt, within a token budget.

Recall is that of Park et al. 2023, Generative Agents (arXiv:2304.03442), section 4.1: recency, importance and
relevance, each from 0 to 1, weighed alike. Reflection is that of section 4.2: a model call once enough has come
together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from pydantic import ValidationError

from app.actions.memory import REFLECTION, Thought
from app.actions.registry import ActionRefused
from app.actions.showing import ago, tokens
from app.db.engine import Database
from app.ledger.commit import ExposureRecord
from app.llm.embedding import embed
from app.settings import Settings
from app.world import memories
from app.world.memories import EVERYTHING, AtHand, Memory

EXPOSURE, RANKER, VERSION = "memory", "recall", 1
LINE_TOKENS = 2
"""What an entry of a list takes beside its text."""

EMBEDDED_MOST = 500
"""Memories that are embedded at the end of one run; what is left comes with the next."""

LOOK_BACK_TOKENS = 900
"""What a reflection is told, at most."""


@dataclass(frozen=True)
class Remembering:
    """How a run's personas remember: by its own terms, else by the settings. `reflect_at`: importance; 0 is never."""

    on: bool
    scope: Literal["persona", "run"]
    tokens: int
    most: int
    reflect_at: float
    settings: Settings = field(repr=False)

    @classmethod
    def of(cls, settings: Settings, terms: dict[str, Any]) -> "Remembering":
        return cls(
            terms.get("memory", settings.memory) == "on",
            terms.get("memory_scope", settings.memory_scope),
            int(terms.get("memory_tokens", settings.memory_tokens)),
            settings.memory_most,
            float(terms.get("memory_reflect", settings.memory_reflect)),
            settings,
        )

    def only(self, run_id: int) -> int | None:
        """The run outside which nothing counts; None where everything does."""
        return run_id if self.scope == "run" else None


@dataclass(frozen=True)
class Recollection:
    """What came to mind: the lines of the prompt, and for the ledger which memories they are and why."""

    lines: tuple[str, ...] = ()
    shown: tuple[ExposureRecord, ...] = ()


NOTHING = Recollection()


def fit(found: Sequence[Memory], now: datetime, budget: int) -> Recollection:
    """As many memories as the token budget holds, best first; one that is too long leaves its place to shorter ones."""
    lines: list[str] = []
    taken: list[Memory] = []
    for memory in found:
        line = _line(memory, now)
        takes = tokens(line) + LINE_TOKENS
        if takes <= budget:
            lines.append(line)
            taken.append(memory)
            budget -= takes
    return Recollection(tuple(lines), _shown(taken))


def fit_oldest(found: Sequence[Memory], now: datetime) -> Recollection:
    """What is looked back on: as many as fit, from the oldest on."""
    lines: list[str] = []
    budget = LOOK_BACK_TOKENS
    for memory in found:
        line = _line(memory, now)
        budget -= tokens(line) + LINE_TOKENS
        if budget < 0:
            break
        lines.append(line)
    items = tuple(memory.id for memory in found[: len(lines)])
    return Recollection(tuple(lines), (ExposureRecord(0, EXPOSURE, "oldest", items, VERSION),) if items else ())


def thought(arguments: str) -> str | None:
    """The text of a reflection, of the arguments as called; None where they are not of the form."""
    try:
        parsed = REFLECTION.parse("reflect", arguments)[1]
    except (ActionRefused, ValidationError):
        return None
    return parsed.text if isinstance(parsed, Thought) else None


def _line(memory: Memory, now: datetime) -> str:
    return f"{ago(memory.at, now)} ago: {' '.join(memory.body.split())}"


def why(memory: Memory) -> str:
    """The parts of a memory's score, in words."""
    parts = f"recency {memory.recency:.3f}, importance {memory.importance:.2f}, relevance {memory.relevance:.2f}"
    return f"{memory.kind}: {parts}"


def _shown(taken: Sequence[Memory]) -> tuple[ExposureRecord, ...]:
    if not taken:
        return ()
    scores = tuple(round(memory.score, 6) for memory in taken)
    reasons = tuple(why(memory) for memory in taken)
    return (ExposureRecord(0, EXPOSURE, RANKER, tuple(m.id for m in taken), VERSION, scores, reasons),)


async def come_to_mind(
    database: Database,
    how: Remembering,
    persona_ids: Sequence[int],
    *,
    now: datetime,
    run_id: int,
    at_hand: AtHand = EVERYTHING,
) -> dict[int, Recollection]:
    """What each persona remembers now, by one statement for all; nothing where memory is off."""
    if not how.on or not persona_ids:
        return {}
    if how.settings.embedding_model is not None:
        at_hand = await _meant(database, how.settings, persona_ids, at_hand)
    found = await memories.recall(database, persona_ids, now=now, run_id=how.only(run_id), at_hand=at_hand)
    return {persona_id: fit(recalled, now, how.tokens) for persona_id, recalled in found.items()}


async def _meant(database: Database, settings: Settings, persona_ids: Sequence[int], at_hand: AtHand) -> AtHand:
    """What is at hand, as embeddings; by its words, where they or pgvector can't be had."""
    if not await memories.has_vectors(database):
        return at_hand
    if at_hand.words is None:
        found = await memories.texts_at_hand(database, persona_ids)
        texts = [found.get(persona_id) or "nothing" for persona_id in persona_ids]
    else:
        texts = [at_hand.words or "nothing"] * len(persona_ids)
    return replace(at_hand, meanings=await embed(settings, texts))


async def embed_new(database: Database, settings: Settings, whose: Sequence[int]) -> int:
    """Embed what these personas remember and is not embedded; how many are. Nothing where no model is set for it."""
    if settings.embedding_model is None or not await memories.has_vectors(database):
        return 0
    bodies = await memories.unembedded(database, whose, EMBEDDED_MOST)
    vectors = await embed(settings, list(bodies.values()))
    if vectors:
        await memories.keep_embeddings(database, list(bodies), vectors)
    return len(vectors)
