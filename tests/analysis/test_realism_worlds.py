"""Monitors over real worlds: quiet where personas differ, and loud, by the right name, where something collapsed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.analysis import realism
from app.analysis.alarms import BY_NAME, MONITORS, limits_of, mix_of
from app.analysis.realism import Realism
from app.db.engine import Database
from app.errors import Misconfigured, NotFound
from app.llm.model import Completion, Request, ToolCall, Usage, encode_reply
from app.llm.scripted import ScriptedModel
from app.settings import Settings, load_settings
from app.venues import feed as venue
from app.venues.feed import open_cycle, play_cycle
from app.world import personas
from app.world.personas import PersonaSpec
from tests.conftest import a_mind
from tests.venues.test_cycle import people
from tests.venues.test_remembering import cycle

SETTINGS = load_settings()
TWELVE = [PersonaSpec.model_validate(one) for one in json.loads(Path("sql/seed/personas.json").read_text())]
Acts = Callable[[int, int], list[tuple[str, dict[str, Any]]]]
TOPICS = (
    "tram", "rose", "herring", "kettle", "sonnet", "glacier", "violin", "cheese", "beetle", "harbour", "comet", "quilt"
)  # fmt: skip


class Acting:
    """Persona n of cycle k does `acts(n, k)` in its first answer, and ends its turn."""

    def __init__(self, acts: Acts) -> None:
        self.acts = acts
        self.cycle = 0

    async def complete(self, request: Request) -> Completion:
        told = json.loads(request.messages[0])["content"]
        who = int(told.split("You are @p", 1)[1].split(".")[0].split(" ")[0])
        first = not any(b'"role":"assistant"' in message for message in request.messages)
        made = self.acts(who, self.cycle) if first else []
        calls = tuple(
            ToolCall(f"c{n}-{len(request.messages)}", name, json.dumps(arguments))
            for n, (name, arguments) in enumerate([*made, ("end_turn", {})])
        )
        return Completion("ok", "acting", "", calls, Usage(1, 1), b"{}", encode_reply("", calls))

    async def aclose(self) -> None:
        """Nothing is held."""


def plain(n: int, k: int) -> str:
    """A text that is neither like the others' nor like the persona's last."""
    stuff = [f"{TOPICS[(n + j * 5) % 12]}{(n * 7 + k * 13 + j * 3) % 97}" for j in range(12)]
    return f"{TOPICS[n]} {' '.join(stuff)}"


def varied(n: int, k: int) -> list[tuple[str, dict[str, Any]]]:
    acts: list[tuple[str, dict[str, Any]]] = [("create_post", {"body": plain(n, k)})]
    if k:
        acts.append(("like_post", {"post_id": 12 * (k - 1) + 1 + (n + 1) % 12}))
        acts.append(
            (
                "comment_on_post",
                {"post_id": 12 * (k - 1) + 1 + (n + 2) % 12, "body": plain(n + 1 - 12 * (n == 11), k + 50)},
            )
        )
    return acts


async def lived(
    database: Database, acts: Acts, cycles: int = 1, *, settings: Settings = SETTINGS, first: Acts | None = None
) -> list[Realism]:
    await people(database, 12)
    found = []
    for k in range(cycles):
        model = Acting(first if first is not None and k < cycles - 1 else acts)
        model.cycle = k
        run_id = await cycle(database, model, n=k, seed=k, settings=settings, rounds=True)
        one = await realism.of_run(database, run_id)
        assert one is not None
        found.append(one)
    return found


def names(found: Realism, level: str = "alarm") -> set[str]:
    return {one.monitor for one in found.alarms if one.level == level}


async def test_a_world_in_which_people_differ_is_quiet(database: Database) -> None:
    found = await lived(database, varied, 8)
    assert [one.alarms for one in found] == [[]] * 8
    assert found[-1].reference_is == "runs 1 to 5"
    assert set(found[-1].values) == set(BY_NAME)


async def test_twenty_four_cycles_of_the_offline_model_sound_no_alarm(database: Database) -> None:
    async with database.connection() as connection:
        await personas.add(connection, TWELVE)
    sounded = {}
    for n in range(24):
        run_id = await cycle(database, ScriptedModel(), n=n, seed=n, rounds=True)
        found = await realism.of_run(database, run_id)
        assert found is not None
        if found.alarms:
            sounded[n] = [(one.monitor, one.level, one.value) for one in found.alarms]
    assert sounded == {}


async def test_all_write_the_same(database: Database) -> None:
    same = "The weather is nice today and everybody should enjoy a long walk by the calm blue sea before dinner."
    (found,) = await lived(database, lambda n, k: [("create_post", {"body": same})])
    assert names(found) >= {"similarity", "lexical_diversity"}


async def test_everybody_repeats_itself(database: Database) -> None:
    found = await lived(database, lambda n, k: [("create_post", {"body": plain(n, 0) + f" {k}"})], 3)
    assert "self_similarity" in names(found[-1])
    assert "similarity" not in names(found[-1])


async def test_all_agree(database: Database) -> None:
    found = await lived(
        database, lambda n, k: [("create_post", {"body": f"I agree, yes, exactly right: {plain(n, k)}"})]
    )
    assert names(found[0]) == {"agreement"} | names(found[0]) - {"agreement"}
    assert "agreement" in names(found[0])


async def test_the_tone_moves_one_way(database: Database) -> None:
    def drifts(n: int, k: int) -> list[tuple[str, dict[str, Any]]]:
        tone = "agree" if n < 12 * k / 9 else "wrong"
        return [("create_post", {"body": f"{tone} {tone} {plain(n, k)}"})]

    found = await lived(database, drifts, 10)
    assert "agreement_drift" in names(found[-1])
    drift = found[-1].drift
    assert drift is not None
    assert 0 < drift.low < drift.per_run < drift.high
    assert "agreement_drift" not in names(found[3]) | names(found[3], "notice")  # too few runs


async def test_one_action_only(database: Database) -> None:
    await lived(database, varied)
    model = Acting(lambda n, k: [("like_post", {"post_id": 1 + (n + j) % 12}) for j in range(1, 4)])
    found = await realism.of_run(database, await cycle(database, model, n=2, seed=9))
    assert found is not None
    assert "commonest_action" in names(found)


async def test_what_is_done_changes(database: Database) -> None:
    def likes(n: int, k: int) -> list[tuple[str, dict[str, Any]]]:
        return [("follow_user", {"user_id": 1 + (n + 3) % 12}), ("follow_user", {"user_id": 1 + (n + 4) % 12}),
                ("like_post", {"post_id": 1 + (n + 4) % 12})]  # fmt: skip

    found = await lived(database, likes, 6, first=varied)
    assert "action_mix" in names(found[-1])
    assert found[-1].reference_is == "runs 1 to 5"


async def test_assistants_and_their_refusals(database: Database) -> None:
    (found,) = await lived(
        database, lambda n, k: [("create_post", {"body": f"As an AI language model I find {plain(n, k)}"})]
    )
    assert "assistant_speak" in names(found)
    assert {one.rule for one in found.worst} == {"assistant_speak"}


async def test_nobody_does_anything(database: Database) -> None:
    (found,) = await lived(database, lambda n, k: [])
    assert names(found) == {"silence"}


class Failing(Acting):
    async def complete(self, request: Request) -> Completion:
        return Completion("refusal", "acting", "", (), Usage(1, 1), b"{}", b"", "it says no")


async def test_refusals(database: Database) -> None:
    await people(database, 12)
    run_id = await cycle(database, Failing(varied), seed=1)
    found = await realism.of_run(database, run_id)
    assert found is not None
    assert names(found) == {"refusals"}


async def test_copies_are_counted_by_their_marks(database: Database) -> None:
    await people(database, 12)
    text = "Trams should be free for everybody, and the night line should come back to the harbour at last."
    await cycle(database, Acting(lambda n, k: [("create_post", {"body": text})] if n == 0 else []))

    class Copying(Acting):
        async def complete(self, request: Request) -> Completion:
            answers = sum(b'"role":"assistant"' in message for message in request.messages)
            script: list[tuple[str, dict[str, Any]]] = [("view_most_recent_posts", {}), ("create_post", {"body": text})]
            name, given = script[answers] if answers < len(script) else ("end_turn", {})
            calls = (ToolCall(f"c{answers}", name, json.dumps(given)),)
            return Completion("ok", "copying", "", calls, Usage(1, 1), b"{}", encode_reply("", calls))

    run_id = await cycle(database, Copying(varied), n=1, seed=2)
    found = await realism.of_run(database, run_id)
    assert found is not None
    assert "near_copies" in names(found)


async def test_limits_and_the_reference_are_settings(database: Database) -> None:
    strict = load_settings(alarms="similarity=0/2, silence=off", action_mix="post=1,like=3")
    found = (await lived(database, varied, settings=strict))[0]
    assert "similarity" in names(found, "notice")
    assert found.reference_is == "ACTION_MIX"
    assert found.values["action_mix"].value == pytest.approx(0.5488 - 1 / 12 / 8 / 0.6931, abs=0.01)
    off = load_settings(alarms="off")
    again = await realism.look(database, off, 1)
    assert again is not None
    assert again.alarms == []
    assert await realism.of_run(database, 1) == again


@pytest.mark.parametrize("wrong", ["similarity", "similarity=1", "nothing=1/2", "similarity=x/1", "similarity=1.1.1/2"])
def test_wrong_limits_are_refused(wrong: str) -> None:
    with pytest.raises(Misconfigured, match="ALARMS"):
        limits_of(wrong)


@pytest.mark.parametrize("wrong", ["post", "post=x", "post=-1", "dance=1", "post=0", "post=nan", "post=inf"])
def test_a_wrong_reference_is_refused(wrong: str) -> None:
    with pytest.raises(Misconfigured, match="ACTION_MIX"):
        mix_of(wrong)


async def test_a_cycle_with_wrong_limits_is_not_opened(database: Database) -> None:
    await people(database, 1)
    async with a_mind(database) as mind:
        with pytest.raises(Misconfigured):
            await open_cycle(mind, load_settings(alarms="x"))
    assert await database.fetchval("SELECT count(*) FROM runs") == 0


async def test_looking_again_finds_the_same(database: Database) -> None:
    found = await lived(database, varied, 7)
    for n, one in enumerate(found, 1):
        assert await realism.look(database, SETTINGS, n) == one
    with pytest.raises(NotFound):
        await realism.look(database, SETTINGS, 99)


async def test_a_run_whose_process_died_is_looked_at_before_the_next(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await people(database, 12)

    async def nothing(*_: Any) -> None:
        pass

    with monkeypatch.context() as broken:
        broken.setattr(venue, "_close", nothing)
        first = await cycle(database, Acting(varied))
    assert await realism.of_run(database, first) is None
    await cycle(database, Acting(varied), n=1, seed=2)
    assert await realism.of_run(database, first) is not None


async def test_a_large_run_is_sampled(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realism, "TURNS", 5)
    (found,) = await lived(database, varied)
    assert (found.turns, found.total, sum(found.actions.values())) == (5, 12, 5)


def test_every_monitor_says_what_to_do() -> None:
    assert all(one.do.endswith((".", ".`")) or one.do for one in MONITORS)
    assert all(one.notice >= one.alarm if one.falls else one.notice <= one.alarm for one in MONITORS)


async def test_nobody_woke(database: Database) -> None:
    async with a_mind(database) as mind:
        run_id = await open_cycle(mind, SETTINGS)
        assert run_id is not None
        await play_cycle(mind, SETTINGS, run_id)
    assert await realism.look(database, SETTINGS, run_id) is None
