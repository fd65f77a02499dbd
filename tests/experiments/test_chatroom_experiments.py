"""Chatrooms as what an experiment varies: in simulated time, the same whenever it is played, each call paid once."""

import asyncio
import csv
import io
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import asyncpg
import pytest

from app.analysis import room
from app.analysis.room import Line, Talk
from app.db.engine import Database
from app.errors import Conflict, Invalid, NotFound
from app.experiments.design import checked
from app.experiments.packages import of_experiment
from app.experiments.planning import check, estimate, raise_budget
from app.experiments.runner import begin
from app.experiments.said import said_in
from app.llm.gateway import Gateway
from app.llm.model import Completion, Request
from app.settings import load_settings
from app.venues.chatroom.relay import Relay
from app.venues.chatroom.setting import RoomSetting
from app.venues.chatroom.simulated import SimulatedRoom, open_simulated
from app.venues.chatroom.stage import Stage
from app.world import experiments, rooms, worlds
from app.world.experiments import Trial
from tests.conftest import NOON, a_mind
from tests.experiment_stand import a_home, killed_again_and_again, plain, planned, ran, settings_at, trials_of

QUESTION = "Should the park be open at night, @Robin?"
ROOM: dict[str, Any] = {
    "name": "kind or curt",
    "venue": "chatroom",
    "setting": {
        "pace": {"session_duration_minutes": 3, "messages_per_minute": 6},
        "participant": {"description": "Ann walks her dog at night.", "script": [{"seconds": 5, "text": QUESTION}]},
    },
    "variants": {
        "kind": {"prompt_template": "Be kind, whatever anybody says."},
        "curt": {"prompt_template": "Contradict whoever wrote last, and be curt."},
    },
    "runs": 2,
    "seed": 7,
    "outcomes": {"primary": ["sentiment_mean"], "exploratory": ["messages", "answered_share", "calls", "likes"]},
}


@pytest.fixture
async def home(url: str) -> AsyncIterator[Database]:
    async with a_home(url) as found:
        yield found


class Overheard:
    """The offline model; keeps what it was asked, and fails where it is told to."""

    def __init__(self, fails: bool = False) -> None:
        self._inner = Gateway(load_settings())
        self.fails = fails
        self.asked: list[Request] = []

    async def complete(self, request: Request) -> Completion:
        self.asked.append(request)
        if self.fails:
            return Completion("auth", request.model, detail="no key", cost_usd=0.0)
        return await self._inner.complete(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def said(home: Database, trial: Trial) -> list[asyncpg.Record]:
    async with worlds.inside(home, trial.world or "") as there:
        return await rooms.transcript(there, trial.session or "")


async def test_rooms_differ_by_their_treatment_and_are_the_same_again(home: Database) -> None:
    model = Overheard()
    key = await planned(home, ROOM)
    assert await ran(home, key, model) == "completed"
    trials = await trials_of(home, key)
    assert len({t.world_sha256 for t in trials}) == 4
    assert all(t.outcomes["messages"] and t.outcomes["sentiment_mean"] is not None for t in trials)
    prompts = [b"".join(request.messages).decode() for request in model.asked]
    told = [
        ("Be kind" in text, "be curt" in text) for text in prompts if "You are Ann" not in text and "dog" not in text
    ]
    assert {(True, False), (False, True)} == set(told)
    again = await planned(home, ROOM, parallel=2)
    assert await ran(home, again) == "completed"
    assert plain(await trials_of(home, again)) == plain(trials)


async def test_nobody_but_agents_is_told_of_the_treatment(home: Database) -> None:
    model = Overheard()
    key = await planned(home, ROOM, runs=1)
    await ran(home, key, model)
    persons = [r for r in model.asked if b"walks her dog" in r.messages[0]]
    agents = [r for r in model.asked if b"walks her dog" not in r.messages[0]]
    assert persons
    assert agents
    assert not any(b"Be kind" in r.messages[0] or b"AI takes part" in r.messages[0] for r in persons)
    assert all(b"Be kind" in r.messages[0] or b"be curt" in r.messages[0] for r in agents)
    assert all(b"AI takes part" in r.messages[0] for r in agents)


async def test_what_was_said_can_be_read_and_is_packaged(home: Database) -> None:
    key = await planned(home, ROOM, runs=1)
    with pytest.raises(Conflict, match="nothing was said in it yet"):
        await said_in(home, key, 1)
    assert await ran(home, key) == "completed"
    first, *others = await said_in(home, key, 1)
    assert (first["number"], first["seconds"], first["speaker"], first["text"]) == (1, 5.0, "participant", QUESTION)
    assert next(line for line in others if line["answers"] == 1)["speaker"] == "Robin"
    _, extras = await of_experiment(home, key)
    rows = list(csv.DictReader(io.StringIO(cast(bytes, extras["experiment/messages.csv"]).decode("utf-8-sig"))))
    assert len(rows) == sum(int(t.outcomes["messages"] or 0) for t in await trials_of(home, key))
    assert (rows[0]["run"], rows[0]["variant"], rows[0]["text"]) == ("1", "kind", QUESTION)
    with pytest.raises(NotFound, match="has no run 3"):
        await said_in(home, key, 3)
    talk = {"bots": [{"name": "A"}, {"name": "B"}], "seed_message": {"from": "A", "message": "Night parks?"}}
    session = {"venue": "dialogue", "setting": talk, "variants": {"a": {}}, "runs": 1, "seed": 7}
    other = await planned(home, {**session, "outcomes": {"primary": ["lines"]}})
    assert await ran(home, other) == "completed"
    lines = await said_in(home, other, 1)
    assert (lines[0]["speaker"], lines[0]["text"]) == ("A", "Night parks?")
    assert {line["speaker"] for line in lines} == {"A", "B"}
    feed = await planned(home)
    with pytest.raises(Conflict, match="a world of its own"):
        await said_in(home, feed, 1)


async def test_time_is_the_rooms_own(home: Database) -> None:
    """Half an hour of a slow room takes no time; typing takes a while, the script comes in time."""
    pace = {"session_duration_minutes": 30, "messages_per_minute": 2, "words_per_minute": 30}
    design = {**ROOM, "setting": {**ROOM["setting"], "pace": pace}, "runs": 1}
    key = await planned(home, design, variants={"kind": {}})
    assert await ran(home, key) == "completed"
    lines = await said(home, (await trials_of(home, key))[0])
    assert [line["number"] for line in lines] == list(range(1, len(lines) + 1))
    times = [line["seconds"] for line in lines]
    assert times == sorted(times)
    assert 600 < times[-1] < 1800
    assert (lines[0]["body"], lines[0]["seconds"], lines[0]["member"]) == (QUESTION, 5.0, 0)
    answer = next(line for line in lines if line["answers"] == 1)
    assert answer["name"] == "Robin"
    assert answer["seconds"] >= 5 + 2 + min(20, 2 * len(answer["body"].split())) - 0.01


async def test_who_is_spoken_to_does_not_wait_behind_the_pace(home: Database) -> None:
    """Others wait for the next minute; an answer to the person takes thinking, and those who type already."""
    script = [{"seconds": 60.0 * n + 30, "text": f"@Robin, the {n}th question?"} for n in range(1, 9)]
    person = {"messages_per_minute": 0, "answer_probability": 0, "script": script}
    pace = {"session_duration_minutes": 10, "messages_per_minute": 1, "words_per_minute": 120}
    key = await planned(home, ROOM, setting={"pace": pace, "participant": person}, variants={"only": {}}, runs=1)
    assert await ran(home, key) == "completed"
    lines = await said(home, (await trials_of(home, key))[0])
    asked = {line["number"]: line["seconds"] for line in lines if line["member"] == 0}
    answered = [line["seconds"] - asked[line["answers"]] for line in lines if line["answers"] in asked]
    assert len(answered) >= 6
    assert max(answered) < 20


async def test_killed_again_and_again_it_comes_to_the_same(home: Database, tmp_path: Path) -> None:
    whole = await planned(home, ROOM)
    assert await ran(home, whole) == "completed"
    key = await planned(home, ROOM)
    await begin(home, key)
    bill = tmp_path / "asked"
    kills = await killed_again_and_again(home, key, bill)
    assert (await experiments.found(home, key))["state"] == "completed"
    assert plain(await trials_of(home, key)) == plain(await trials_of(home, whole))
    calls = sum(t.calls for t in await trials_of(home, key))
    asked = Counter(bill.read_text().split())
    assert calls <= sum(asked.values()) <= calls + kills


@pytest.mark.parametrize("venue", ["chatroom", "dialogue"])
async def test_a_budget_that_is_spent_can_be_raised(home: Database, venue: str) -> None:
    talk = {"bots": [{"name": "A"}, {"name": "B"}], "seed_message": {"from": "A", "message": "Night parks?"}}
    given = {"dialogue": {"setting": talk, "outcomes": {"primary": ["lines"]}}}
    design = {**ROOM, "venue": venue, "variants": {"only": {}}, "runs": 1, **given.get(venue, {})}
    key, whole = await planned(home, design), await planned(home, design)
    await ran(home, whole)
    used = sum(t.prompt_tokens + t.completion_tokens for t in await trials_of(home, whole))
    await raise_budget(home, key, tokens=3 * used // 4)
    assert await ran(home, key) == "budget_exhausted"
    assert [t.state for t in await trials_of(home, key)] == ["budget_exhausted"]
    await raise_budget(home, key, tokens=5 * used // 4)
    assert await ran(home, key) == "completed"
    assert plain(await trials_of(home, key)) == plain(await trials_of(home, whole))


@pytest.mark.parametrize("heeded", [True, False])
async def test_agents_write_no_faster_than_their_pace(
    home: Database, monkeypatch: pytest.MonkeyPatch, heeded: bool
) -> None:
    if not heeded:
        monkeypatch.setattr(SimulatedRoom, "_until_more", lambda _: 0.0)
    pace = {"session_duration_minutes": 20, "messages_per_minute": 3, "words_per_minute": 0}
    key = await planned(home, ROOM, setting={"pace": pace}, variants={"only": {}}, runs=1)
    assert await ran(home, key) == "completed"
    lines = await said(home, (await trials_of(home, key))[0])
    free = [line["seconds"] for line in lines if line["member"] and line["answers"] is None]
    assert (max(sum(at - 60 < t <= at for t in free) for at in free) <= 3) is heeded


async def test_a_room_that_failed_is_kept_and_played_anew(home: Database) -> None:
    key = await planned(home, ROOM, runs=1)
    model = Overheard(fails=True)
    assert await ran(home, key, model) == "failed"
    failed = await trials_of(home, key)
    assert [t.state for t in failed] == ["failed", "failed"]
    assert "is failed" in str(failed[0].reason)
    assert await ran(home, key, failed=True) == "completed"
    assert all(
        t.session != f.session and t.outcomes["messages"]
        for t, f in zip(await trials_of(home, key), failed, strict=True)
    )


@pytest.mark.parametrize(
    ("change", "pointer", "words"),
    [
        ({"cast": []}, "/setting/cast", "at least 1"),
        ({"cast": [{"name": "participant"}]}, "/setting/cast/0/name", "kept for others"),
        (
            {"cast": [{"name": "A", "persona": "p1"}], "participant": {"persona": "P1"}},
            "/setting/participant",
            "cast too",
        ),
        ({"participant": {"script": [{"seconds": 180, "text": "late"}]}}, "/setting/participant", "at its end"),
        ({"participant": {"script": [{"seconds": 1, "text": " "}]}}, "/setting/participant/script/0/text", "empty"),
        ({"participant": {"name": "Ann"}}, "/setting/participant/name", "participant"),
        ({"participant": {"messages_per_minute": float("nan")}}, "/setting/participant/messages_per_minute", "finite"),
        ({"pace": {"session_duration_minutes": 0}}, "/setting/pace/session_duration_minutes", "more than 0"),
        ({"consent_text": "x"}, "/setting/consent_text", "is no key here"),
    ],
)
def test_what_can_t_be_a_room_is_refused_with_its_place(change: dict[str, Any], pointer: str, words: str) -> None:
    setting = {"pace": {"session_duration_minutes": 3}, **change}
    with pytest.raises(Invalid) as told:
        checked({**ROOM, "setting": setting})
    assert [(one.pointer, words in one.message) for one in told.value.errors] == [(pointer, True)]


async def test_who_and_which_model_is_not_there_is_told_before(home: Database) -> None:
    with pytest.raises(Invalid, match=r"there is no outcome 'answer\.use' of this venue: there are messages") as told:
        checked({**ROOM, "outcomes": {"primary": ["answer.use"]}})
    assert told.value.errors[0].pointer == "/outcomes/primary/0"
    with pytest.raises(Invalid, match=r"setting\.cast: no persona has the username nobody"):
        await planned(home, {**ROOM, "setting": {"cast": [{"name": "A", "persona": "nobody"}]}})
    with pytest.raises(Exception, match="gpt-none"):
        await check(
            home,
            settings_at(home.url),
            checked({**ROOM, "setting": {"participant": {"description": "Ann.", "model": "gpt-none"}}}),
        )


async def test_personas_of_the_world_take_part(home: Database) -> None:
    setting = {**ROOM["setting"], "cast": [{"name": "Pat", "persona": "p2"}], "participant": {"persona": "p3"}}
    key = await planned(home, {**ROOM, "setting": setting}, runs=1)
    assert await ran(home, key) == "completed"
    trial = (await trials_of(home, key))[0]
    async with worlds.inside(home, trial.world or "") as there:
        rows = await there.fetch(
            "SELECT m.name, p.username FROM room_members m JOIN personas p ON p.id = m.persona_id ORDER BY m.ordinal"
        )
    assert [tuple(row) for row in rows] == [("participant", "p3"), ("Pat", "p2")]


async def test_what_it_will_take_is_foretold(home: Database) -> None:
    told = await estimate(home, settings_at(home.url), checked(ROOM))
    key = await planned(home, ROOM)
    await ran(home, key)
    trials = await trials_of(home, key)
    assert 0.5 < sum(t.calls for t in trials) / told.calls < 2
    assert 0.5 < sum(t.prompt_tokens + t.completion_tokens for t in trials) / told.tokens < 2


@pytest.mark.parametrize("marked", [True, False])
async def test_nobody_drives_it_as_a_room_with_a_person(home: Database, url: str, marked: bool) -> None:
    setting = RoomSetting.model_validate({"pace": {"session_duration_minutes": 3}})
    key = await open_simulated(home, settings_at(url), setting, seed=1, at=NOON, terms={})
    if not marked:
        await home.fetch("UPDATE rooms SET pace = pace - 'simulated'")
    async with a_mind(home) as mind, Relay(home) as relay, Stage(mind, settings_at(url), relay) as stage:
        await asyncio.sleep(1.5)
        taken = bool(stage.driven) or (await rooms.simulated(home, key))["state"] != "running"
    assert taken is not marked


def test_figures_of_a_room_by_hand() -> None:
    talk = Talk(
        [
            Line(1, 0, "What do you think of trains?", 10.0),
            Line(2, 1, "I love trains!", 16.0, reply_to=1, answers=1, likes=2),
            Line(3, 2, "You are an idiot.", 20.0, mentions=True),
            Line(4, 0, "Hm", 30.0),
        ],
        minutes=2,
        goes=8,
        lost=2,
        used={"calls": 9, "prompt_tokens": 100, "completion_tokens": 10, "usd": None},
    )
    values, why = room.measure(talk, list(room.FIGURES))
    counted = {"messages": 4, "participant_messages": 2, "agent_messages": 2, "likes": 2, "calls": 9}
    assert {name: values[name] for name in counted} == counted
    assert values["messages_per_minute"] == 2
    assert values["words_per_message"] == 3.5
    assert values["participant_words_per_message"] == 3.5
    assert values["participation_entropy"] == 1.5
    assert values["answered_share"] == 0.5
    assert values["answer_seconds"] == 6
    assert values["reply_share"] == values["mention_share"] == values["toxicity_share"] == 0.25
    assert values["missing_turn_share"] == 0.25
    assert (values["agent_sentiment"] or 0) == pytest.approx((0.6696 - 0.5106) / 2, abs=0.01)
    assert values["lexical_diversity"] is None
    assert values["cost_usd"] is None
    assert why == dict.fromkeys(("lexical_diversity", "cost_usd"), "there is nothing to count")
    empty, _ = room.measure(Talk([], 2), list(room.FIGURES))
    assert {name for name, value in empty.items() if value is not None} == {
        "messages", "participant_messages", "agent_messages", "messages_per_minute", "likes",
    }  # fmt: skip
