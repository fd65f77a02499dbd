"""What is kept of one participant, for that participant."""

from typing import Any

import msgspec

from app.db.engine import Database
from app.errors import NotFound
from app.venues.chatroom import withdrawal
from app.venues.chatroom.design import StudyDesign, stored
from app.venues.chatroom.withdrawal import ERASURE
from app.world.rooms import ROOMS

NOT_LISTED = [
    "hashes of your token, of your browser's secret and of your receipt code",
    "when each page was opened, beyond the times above",
]
PROMPTS = "the prompts in which models were told what you wrote: `model_calls` counts them"
LATER = "what the study tells you at its end"


async def own_data(database: Database, participant_id: int) -> dict[str, Any]:
    """All that is kept of a participant. Their arm is told once they have come to the end of the study; and so is what
    would tell that AI takes part, where that is disclosed at the end.

    Raises:
        NotFound: there is no such participant.
    """
    async with (
        database.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        person = await connection.fetchrow(ERASURE["person"], participant_id)
        facts = await connection.fetchrow(ERASURE["facts"], participant_id)
        if person is None or facts is None:
            raise NotFound(f"no participant has the id {participant_id}")
        answers = await connection.fetch(ERASURE["all_answers"], participant_id)
        rooms = [
            {
                **dict(await connection.fetchrow(ERASURE["room_facts"], room["id"])),
                "messages": [dict(row) for row in await connection.fetch(ERASURE["room_words"], room["id"])],
                "notices": [dict(row) for row in await connection.fetch(ROOMS["notices"], room["id"])],
                "deeds": [
                    dict(row) | {"detail": msgspec.json.decode(row["detail"])}
                    for row in await connection.fetch(ERASURE["room_deeds"], room["id"])
                ],
            }
            for room in await connection.fetch(ERASURE["rooms_of"], *withdrawal.whose(person))
        ]
    design = stored(facts["design"])
    told = design.disclosure == "at_once" or facts["state"] != "active" or facts["debriefed_at"] is not None
    if not told:
        for room in rooms:
            del room["model_calls"]
    texts = {question.id: question.text for question in (*design.intake, *design.closing)}
    return {
        "study": facts["study"],
        "title": design.title,
        "pseudonym": facts["pseudonym"],
        "state": facts["state"],
        "stage": facts["stage"],
        "end_reason": facts["end_reason"],
        "arm": None if facts["state"] == "active" else facts["arm"],
        "completion_code": facts["completion_code"],
        "times": {name: facts[name] for name in ("created_at", "stage_at", "seen_at", "debriefed_at", "ended_at")},
        "consent": _consent(design, facts["consent_sha256"]) | {"at": facts["consented_at"]},
        "if_you_withdraw": facts["kept"],
        "identity": {
            "username": facts["username"],
            "params": msgspec.json.decode(facts["params"]) if facts["params"] else {},
        },
        "answers": [
            {
                "stage": row["stage"],
                "question": row["question"],
                "text": texts.get(row["question"], ""),
                "value": msgspec.json.decode(row["value"]),
                "at": row["at"],
            }
            for row in answers
        ],
        "rooms": rooms,
        "kept_but_not_listed": [*NOT_LISTED, PROMPTS if told else LATER],
    }


def _consent(design: StudyDesign, sha256: bytes | None) -> dict[str, Any]:
    if design.consent == "external":
        return {"where": "elsewhere, before you came here", "text": None, "sha256": None}
    return {"where": "here", "text": design.consent_text, "sha256": sha256.hex() if sha256 else None}
