"""Focus groups, surveys, interviews, extraction: who hears what, what is a valid answer, what came of it."""

import json
from typing import Any

import msgspec
import pytest

from app.agent.turn import Mind
from app.db.engine import Database
from app.errors import Invalid
from app.llm.model import Completion, Request
from app.settings import load_settings
from app.venues.session import results
from app.venues.session.design import ExtractionConfig, Simulation, checked
from app.venues.session.stage import play
from app.world import sessions
from tests.conftest import a_mind
from tests.session_stand import CUP, Watched, a_group, began, calls, plain, played, said

QUESTIONS: list[dict[str, Any]] = [
    {"type": "single", "key": "drinks", "text": "Do you drink coffee out?", "options": ["yes", "no"]},
    {"type": "number", "key": "cups", "text": "How many cups a week?", "least": 0, "most": 50, "whole": True,
     "when": {"question": "drinks", "among": ["yes"]}},
    {"type": "ranking", "key": "order", "text": "What matters most?", "options": ["price", "taste", "waste"]},
]  # fmt: skip


def offered(request: Request) -> str:
    return str(msgspec.json.decode(request.tools)[0]["function"]["name"]) if request.tools else ""


def data(request: Request) -> dict[str, Any]:
    """What stands between the marks."""
    text = str(msgspec.json.decode(request.messages[1])["content"])
    return dict(json.loads(text.split("⟧", 2)[1].rpartition("⟦")[0]))


async def block_of(database: Database, number: int) -> dict[str, Any]:
    return await results.block(database, await sessions.by_id(database, number))


@pytest.mark.parametrize("kind", ["focus_group", "survey", "interview"])
async def test_the_same_seed_gives_the_same_session(mind: Mind, kind: str) -> None:
    seen = []
    for seed in (7, 7, 8):
        number, state = await played(mind, a_group(kind=kind, rounds=2, terms={"seed": seed}))
        assert state == "completed"
        seen.append(plain(await said(mind.database, number)))
    assert seen[0] == seen[1]
    assert seen[0] != seen[2]


@pytest.mark.parametrize(("broadcast", "hears"), [(True, True), (False, False)])
async def test_others_are_heard_only_where_it_is_broadcast(database: Database, broadcast: bool, hears: bool) -> None:
    model = Watched(lambda request, nth: calls("speak", text=f"remark {nth} of mine"))
    async with a_mind(database, model) as mind:
        number, _ = await played(mind, a_group(3, rounds=2, config={"broadcast_mode": broadcast}))
    lines = {line.key: line.body for line in await said(database, number)}
    second = model.asked[3:]
    for member, request in enumerate(second, 1):
        told = json.dumps(data(request))
        assert lines[f"say/1/{member}"] in told
        others = [lines[f"say/1/{other}"] in told for other in (1, 2, 3) if other != member]
        assert all(others) if hears else not any(others)


async def test_without_memory_nobody_hears_what_was_said(database: Database) -> None:
    model = Watched(lambda request, nth: calls("speak", text=f"remark {nth} of mine"))
    async with a_mind(database, model) as mind:
        await played(mind, a_group(3, rounds=2, config={"enable_memory": False}))
    assert not any("remark" in text for text in model.texts())


async def test_who_speaks_in_turn_hears_all_before(database: Database) -> None:
    model = Watched(lambda request, nth: calls("speak", text=f"remark {nth} of mine"))
    async with a_mind(database, model) as mind:
        await played(mind, a_group(4, config={"in_turn": True}))
    assert [sum(f"remark {n} of" in text for n in range(1, 5)) for text in model.texts()] == [0, 1, 2, 3]


async def test_thoughts_are_private(database: Database) -> None:
    model = Watched(lambda request, nth: calls("speak", thought=f"secret {nth}", text=f"remark {nth}"))
    async with a_mind(database, model) as mind:
        number, _ = await played(mind, a_group(3, rounds=2, config={"enable_thinking": True}))
    assert not any("secret" in text for text in model.texts())
    assert [line.thought for line in await said(database, number) if line.kind == "say"][:2] == ["secret 1", "secret 2"]


async def test_skip_logic_and_shuffled_options(mind: Mind) -> None:
    number, _ = await played(mind, a_group(40, "survey", questions=QUESTIONS))
    row = await sessions.by_id(mind.database, number)
    given = await results.answers(mind.database, row)
    for record in given.records:
        assert ("cups" in record.answers) == (record.answers["drinks"] == "yes")
        assert record.missing == (
            {} if "cups" in record.answers else {"cups": "not asked: skipped by an earlier answer"}
        )
    asked = await mind.database.fetch("SELECT about::text AS about FROM session_asks WHERE session_id = $1", number)
    orders = [
        tuple(one["orders"]["order"])
        for one in map(json.loads, (r["about"] for r in asked))
        if "order" in one["orders"]
    ]
    assert len(orders) == 40
    assert 3 < len(set(orders)) <= 6


async def test_options_are_told_in_the_order_shown(database: Database) -> None:
    model = Watched()
    async with a_mind(database, model) as mind:
        await played(mind, a_group(6, "survey", questions=QUESTIONS[2:]))
    for request in model.asked:
        form = msgspec.json.decode(request.tools)[0]["function"]["parameters"]["properties"]["order"]
        assert form["items"]["enum"] == data(request)["questions"][0]["options"]


async def test_a_wrong_answer_is_asked_again_once(database: Database) -> None:
    question = {"type": "likert", "key": "use", "text": "I would use it."}
    model = Watched(lambda request, nth: calls("answer", use=9 if nth % 2 else 4))
    async with a_mind(database, model) as mind:
        number, state = await played(mind, a_group(1, "survey", questions=[question]))
    assert state == "completed"
    assert (await said(database, number))[-1].value == {"use": 4}
    assert "must be a whole number from 1 to 5" in model.texts()[1]


@pytest.mark.parametrize(
    "answer",
    [
        {"use": 9},
        {"use": "4"},
        {"use": True},
        {"use": 4, "more": 1},
        {},
        Completion("refusal", "stub", detail="no"),
        Completion("timeout", "stub", detail="late"),
    ],
    ids=str,
)
async def test_who_never_answers_rightly_is_missing_with_a_reason(
    database: Database, answer: Completion | dict[str, Any]
) -> None:
    question = {"type": "likert", "key": "use", "text": "I would use it."}
    model = Watched(lambda *_: answer if isinstance(answer, Completion) else calls("answer", **answer))
    async with a_mind(database, model) as mind:
        number, state = await played(mind, a_group(3, "survey", questions=[question]))
    late = isinstance(answer, Completion) and answer.status == "timeout"
    assert state == ("failed" if late else "partial")
    told = await block_of(database, number)
    assert told["participants"]["failed"] == 3
    assert all(one["reason"] for one in told["participants"]["failures"])
    assert told["status"] == state
    assert told["extracted_results"]["statistical_analysis"]["answers"]["use"]["n"] == 0


async def test_some_who_fail_make_it_partial(database: Database) -> None:
    bad = Completion("refusal", "stub", detail="no")
    async with a_mind(database, Watched(lambda _, nth: bad if nth == 2 else None)) as mind:
        number, state = await played(mind, a_group(4, "survey"))
    assert state == "partial"
    told = await block_of(database, number)
    assert (told["participants"]["successful"], told["participants"]["failed"]) == (3, 1)


EXTRACT = {
    "extraction_objective": "Who would use it",
    "fields": ["reason", {"name": "would_use", "type": "boolean"}, {"name": "price", "type": "number"}],
    "summary": False,
}


async def test_extracted_values_have_quotes_that_were_said(mind: Mind) -> None:
    number, _ = await played(mind, a_group(8, rounds=2, extraction_config=EXTRACT))
    told = await block_of(mind.database, number)
    lines = {line.number: line for line in await said(mind.database, number)}
    values = [f for one in told["extracted_results"]["individual_results"] for f in one["fields"].values()]
    quoted = [value for value in values if value.get("quote")]
    assert len(quoted) > 8
    assert all(value["quote"].casefold() in lines[value["line"]].body.casefold() for value in quoted)
    assert all(0 < value["confidence"] < 1 for value in quoted)
    assert all(value["missing"] for value in values if "value" not in value)


async def test_an_invented_quote_is_none_and_lowers_confidence(database: Database) -> None:
    def answer(request: Request, _: int) -> Completion | None:
        if offered(request) != "record":
            return None
        said_first = next(one for one in data(request)["said"] if one["by"] != "Moderator")
        honest = json.loads(json.dumps({"value": said_first["text"], "quote": said_first["text"]}))
        return calls("record", reason=honest, other={"value": "They like it", "quote": "I love every bit of this cup"})

    config = {**EXTRACT, "fields": ["reason", "other"]}
    async with a_mind(database, Watched(answer)) as mind:
        number, _ = await played(mind, a_group(2, extraction_config=config))
    for one in (await block_of(database, number))["extracted_results"]["individual_results"]:
        assert one["fields"]["reason"]["quote"]
        assert one["fields"]["other"]["quote"] is None
        assert one["fields"]["other"]["confidence"] < one["fields"]["reason"]["confidence"]


async def test_an_extractor_that_never_gives_json_leaves_reasons(database: Database) -> None:
    prose = Completion("ok", "stub", "Sure! Here is the JSON:", message=b'{"role":"assistant","content":"Sure!"}')
    answer = lambda request, _: prose if offered(request) == "record" else None  # noqa: E731
    async with a_mind(database, Watched(answer)) as mind:
        number, state = await played(mind, a_group(3, extraction_config=EXTRACT))
    assert state == "partial"
    told = await block_of(database, number)
    fields = [f for one in told["extracted_results"]["individual_results"] for f in one["fields"].values()]
    assert all("missing" in one and one["missing"] for one in fields)


async def test_repeated_extraction_counts_votes(database: Database) -> None:
    def answer(request: Request, nth: int) -> Completion | None:
        if offered(request) != "record":
            return None
        return calls("record", would_use={"value": request.seed not in seeds[:1], "quote": ""}) if seeds else None

    seeds: list[int | None] = []
    first = Watched()
    async with a_mind(database, first) as mind:
        await played(mind, a_group(1, extraction_config={**EXTRACT, "repetitions": 3}))
    seeds += dict.fromkeys(request.seed for request in first.asked if offered(request) == "record")
    assert len(seeds) == 3
    async with a_mind(database, Watched(answer)) as mind:
        number, _ = await played(mind, a_group(1, extraction_config={**EXTRACT, "repetitions": 3}))
    found = (await block_of(database, number))["extracted_results"]["individual_results"][0]["fields"]["would_use"]
    assert found["value"] is True


async def test_an_extraction_of_another_session(mind: Mind) -> None:
    number, _ = await played(mind, a_group(4))
    row = await sessions.by_id(mind.database, number)
    config = ExtractionConfig.model_validate(EXTRACT)
    key = await results.extract(mind.database, load_settings(), row, config)
    made = await sessions.found(mind.database, key)
    assert await play(mind, load_settings(), made["id"]) == "completed"
    told = await block_of(mind.database, made["id"])
    assert len(told["extracted_results"]["individual_results"]) == 4
    assert any(one["fields"]["reason"].get("quote") for one in told["extracted_results"]["individual_results"])


@pytest.mark.parametrize(
    ("whole", "place"),
    [
        ({"participants": {"mode": "by_magic"}, "stimulus": CUP}, "participants.mode"),
        ({"participants": {"mode": "custom", "count": 0}, "stimulus": CUP}, "participants.count"),
        ({"participants": {"mode": "custom", "count": 1001}, "stimulus": CUP}, "participants.count"),
        ({"participants": {"mode": "custom"}}, "stimulus"),
        ({"participants": {"mode": "custom"}, "stimulus": {"content": ""}}, "stimulus.content"),
        (
            {"participants": {"mode": "custom"}, "stimulus": CUP, "extraction_config": {"fields": []}},
            "extraction_config.fields",
        ),
        (
            {
                "participants": {"mode": "custom"},
                "stimulus": CUP,
                "simulation_config": {"in_turn": True, "broadcast_mode": False},
            },
            "simulation_config.in_turn",
        ),
        (
            {
                "participants": {"mode": "custom"},
                "questions": [{"type": "single", "key": "a", "text": "?", "options": ["x"]}],
            },
            "questions item 1.single.options",
        ),
        (
            {
                "participants": {"mode": "custom"},
                "questions": [{"type": "open", "key": "a", "text": "?", "when": {"question": "b", "among": ["x"]}}],
            },
            "questions item 1.when.question",
        ),
        ({"participants": {"mode": "custom"}, "stimulus": CUP, "simulation_config": {"rounds": 1e999}}, "rounds"),
    ],
)
def test_what_is_wrong_with_a_design_is_named(whole: dict[str, Any], place: str) -> None:
    with pytest.raises(Invalid) as told:
        checked(Simulation, whole)
    assert place in told.value.detail


@pytest.mark.parametrize(
    ("participants", "place"),
    [
        ({"mode": "from_demographics", "specifications": {}}, "demographics"),
        ({"mode": "from_demographics", "specifications": {"age": {"18-29": -1}}}, "18-29"),
        ({"mode": "from_agent", "specifications": {}}, "agent"),
        ({"mode": "from_agent", "specifications": {"name": "X"}}, "description"),
        ({"mode": "from_population", "specifications": {"world": True}}, "no personas"),
        ({"mode": "custom", "specifications": ["@nobody"]}, "specifications item 1"),
        ({"mode": "custom", "specifications": []}, "at least one"),
        (
            {"mode": "custom", "specifications": [{"name": "A", "description": "Likes tea."}, {"name": "B"}]},
            "description",
        ),
        (
            {"mode": "custom", "specifications": [{"name": "A", "description": "Tea."}], "count": 3},
            "participants.count",
        ),
    ],
)
async def test_what_is_wrong_with_participants_is_named(
    database: Database, participants: dict[str, Any], place: str
) -> None:
    with pytest.raises(Invalid) as told:
        await began(database, a_group(participants=participants))
    assert place in told.value.detail
    assert await database.fetchval("SELECT count(*) FROM sessions") == 0
    assert await database.fetchval("SELECT count(*) FROM runs") == 0


async def test_participants_of_each_mode(mind: Mind) -> None:
    tinytroupe = {"type": "TinyPerson", "persona": {"name": "Lisa Carter", "age": 28, "occupation": "Data scientist"}}
    people = [
        {"username": f"p{n}", "description": f"Person {n} likes tea and long walks by the sea."} for n in range(5)
    ]
    for participants, count in (
        ({"mode": "from_agent", "specifications": tinytroupe, "count": 3}, 3),
        ({"mode": "from_population", "specifications": people, "count": 2}, 2),
        ({"mode": "custom", "specifications": people}, 5),
    ):
        number, state = await played(mind, a_group(participants=participants))
        names = [m.name for m in await sessions.members(mind.database, number)][1:]
        assert (state, len(names), len(set(names))) == ("completed", count, count)
    assert await mind.database.fetchval("SELECT count(*) FROM personas WHERE status <> 'cast'") == 0


async def test_a_judge_scores_each_who_is_to_be_judged(mind: Mind) -> None:
    number, _ = await played(mind, a_group(3, checks=["repetition", "judge"]))
    found = (await block_of(mind.database, number))["quality"]
    assert [one["name"] for one in found["judged"]] == [
        member.name for member in (await sessions.members(mind.database, number))[1:]
    ]
    assert all(0 <= one["score"] <= 10 and one["reason"] for one in found["judged"])
    without, _ = await played(mind, a_group(3))
    assert (await block_of(mind.database, without))["quality"] is None
