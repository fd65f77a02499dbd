"""Participants for tests: a study whose every field holds a word to be found again, and a dump to find it in."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from app.auth import participants
from app.db.engine import Database
from app.settings import load_settings
from app.venues.chatroom import studies
from app.venues.chatroom.design import StudyDesign
from tests.chat import PACE, talks
from tests.conftest import settings_for
from tests.fault_llm import Fault, FaultLLM, serving
from tests.schema_dump import pg_dump
from tests.web.test_edge import loopback

ADDRESS = "192.0.2.7"
CANARY = "Zq7canary"
DESIGN: dict[str, Any] = {
    "title": "Bicycles",
    "arms": {"civil": {"prompt_template": "Be kind."}, "curt": {"prompt_template": "Be curt."}},
    "cast": [{"name": "Alice"}, {"name": "Bob"}],
    "pace": PACE,
    "strata": "city",
    "intake": [
        {"id": "city", "text": "Where?", "kind": "single", "options": [f"{CANARY}-stratum", "elsewhere"]},
        {"id": "why", "text": "Why?", "kind": "open"},
        {"id": "which", "text": "Which?", "kind": "multiple", "options": ["a", "b"], "required": False},
    ],
    "closing": [{"id": "fair", "text": "Fair?", "kind": "likert", "min": 1, "max": 7}],
    "debrief_text": "It was about bicycles.",
}


@dataclass(frozen=True)
class Taker:
    """Somebody who takes part, with all that only they know."""

    id: int
    token: str
    secret: str
    receipt: str
    key: str
    pseudonym: str


async def open_study(database: Database, name: str = "bicycles", **more: Any) -> int:
    design = StudyDesign.model_validate({**DESIGN, **more})
    made = await studies.create(database, name, design, seed=7, by=None)
    await studies.open_study(database, load_settings(), made, by=None)
    return made


async def take_part(
    database: Database,
    study_id: int,
    *,
    label: str = "",
    city: str = "elsewhere",
    why: str = "no reason",
    **params: str,
) -> Taker:
    """Consent, answer the questions, and have a room; `kept` is what they consented to."""
    design = (await studies.show(database, study_id)).design
    kept = params.pop("kept", design.withdrawal[0])
    (token,) = await studies.make_tokens(database, study_id, 1, labels=[label] if label else [], by=None)
    entered = await studies.enter(
        database,
        load_settings(),
        token.token,
        address=ADDRESS,
        consent_sha256=design.consent_sha256,
        kept=kept,
        params=params,
    )
    person = await participants.by_secret(database, entered.secret)
    assert person is not None
    if design.intake:
        await studies.submit(database, person, "intake", {"city": city, "why": why})
    receipt = await participants.give_receipt(database, entered.id)
    assert receipt is not None
    async with database.connection() as connection, connection.transaction():
        key = await studies.open_room_of(connection, load_settings(), entered.id)
    return Taker(entered.id, token.token, entered.secret, receipt, key, entered.pseudonym)


def dump(url: str) -> bytes:
    """All data of a database, as `pg_dump` writes it."""
    done = subprocess.run([pg_dump(), "--data-only", url], capture_output=True, check=True)
    return done.stdout


def hits(data: bytes, *words: str) -> int:
    """How often any of the words is there, as text or in hexadecimal, as `bytea` is dumped."""
    lower = data.lower()
    return sum(lower.count(form) for word in words for form in (word.lower().encode(), word.encode().hex().encode()))


def echoing(think: float = 0.0) -> Fault:
    """A model that says again whatever of the canary it was told, in its call's id and its arguments."""

    def words(body: dict[str, Any]) -> str:
        told = str(body["messages"])
        found = [part for part in told.replace('"', " ").replace("\\", " ").split() if CANARY in part]
        return " ".join(["You said", *found])[:1500]

    return talks(words, think=think)


@asynccontextmanager
async def house(url: str, fault: Fault, **more: Any) -> AsyncIterator[tuple[str, FaultLLM]]:
    """A server that drives rooms with such a model."""
    async with serving(fault) as endpoint:
        given = {"simfeed_model": "any", "openai_base_url": endpoint.url, "openai_api_key": "k", "worker_enabled": True}
        with loopback(settings_for(url, **given, **more)) as address:
            yield address, endpoint


async def until_ended(database: Database, key: str, seconds: float = 30.0) -> str:
    """Wait until a room is at an end; why it is."""
    async with asyncio.timeout(seconds):
        while True:
            row = await database.fetchrow("SELECT state, end_reason FROM rooms WHERE key = $1", key)
            assert row is not None
            if row["state"] == "ended":
                return str(row["end_reason"])
            await asyncio.sleep(0.05)
