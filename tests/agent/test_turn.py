"""The loop of a turn: what a model asks for is checked, carried out once, told, and can be gone on with."""

import asyncio
import dataclasses
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import asyncpg
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.actions.feed import feed_actions
from app.actions.registry import Action, ActionSet, Arguments
from app.actions.social import PostRef
from app.agent import prompt
from app.agent import turn as module
from app.agent.turn import Limits, Mind, Planned, Seat, Turn
from app.db.engine import Database
from app.ledger import transcript
from app.ledger.commit import Committer, ExposureRecord, StepRecord, Superseded
from app.llm.model import Completion, Request, Status, ToolCall, Usage, encode_reply
from app.world import personas
from app.world.effects import NewPost
from app.world.text import INT64_MAX
from tests.conftest import a_mind
from tests.ledger.test_commit import commit, drifted, step, turns_for

ACTIONS = feed_actions()
ALL_SETS = {
    s.tools_sha256: s for s in (feed_actions(has_liked=a, follows=b) for a in (False, True) for b in (False, True))
}
EFFECTS = ("posts", "comments", "likes", "follows", "mutes", "reports")
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
_ids = itertools.count()

Call: TypeAlias = tuple[str, Any] | tuple[str, Any, str]
Reply: TypeAlias = Completion | Callable[[Request], Any]


def called(call: Call) -> ToolCall:
    """(name, arguments[, id]); arguments that are text go as they are."""
    name, arguments, *given = call
    written = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return ToolCall(given[0] if given else f"id-{next(_ids)}", name, written)


def says(*calls: Call, text: str = "", status: Status = "ok") -> Completion:
    asked = tuple(map(called, calls))
    return Completion(status, "test", text, asked, Usage(10, 5), b"raw \0 bytes", encode_reply(text, asked))


def says_json(*calls: Call, text: str | None = None) -> Completion:
    """The same as a strict JSON answer."""
    actions = [{"name": name, "arguments": arguments} for name, arguments, *_ in calls]
    return says(text=json.dumps({"actions": actions}) if text is None else text)


def answered(request: Request) -> int:
    """How many replies the request's conversation holds."""
    return sum(json.loads(message)["role"] == "assistant" for message in request.messages)


class Script:
    """Plays these replies, by how long the conversation is; the last of them for ever."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = replies
        self.asked: list[Request] = []

    async def complete(self, request: Request) -> Completion:
        self.asked.append(request)
        reply = self.replies[min(answered(request), len(self.replies) - 1)]
        found = reply if isinstance(reply, Completion) else reply(request)
        completion = await found if asyncio.iscoroutine(found) else found
        assert isinstance(completion, Completion)
        return completion

    async def aclose(self) -> None:
        """Nothing is held."""

    def told(self, number: int = -1) -> list[Any]:
        """What request `number` tells of the calls before it, unquoted and decoded."""
        texts = [m["content"] for m in map(json.loads, self.asked[number].messages) if m["role"] == "tool"]
        return [json.loads(text.strip("⟦⟧0123456789abcdef")) for text in texts]


def seat(persona: int = 1, *, native: bool = True, epoch: int = 1, actions: ActionSet = ACTIONS) -> Seat:
    return Seat(persona, persona, epoch, 1, "test", None, native, actions, prompt.marker(1, persona))


def situation(**more: Any) -> prompt.Situation:
    counts: dict[str, Any] = {"posts": 0, "comments": 0, "followers": 0, "following": 0}
    plain = prompt.Situation("p1", "Loves trains.", "", {}, lately=[], now=NOW, **counts)
    return dataclasses.replace(plain, **more)


def fresh(mind: Mind, where: Seat, *, shown: tuple[ExposureRecord, ...] = (), **more: Any) -> Turn:
    opening = prompt.opening(situation(**more), where.actions, marker=where.marker, max_actions=10, native=where.native)
    return Turn.fresh(mind, where, opening, shown)


async def play(
    database: Database, model: Script, persona: int = 1, *, native: bool = True, limits: Limits | None = None
) -> Turn:
    async with a_mind(database, model, limits) as mind:
        turn = fresh(mind, seat(persona, native=native))
        assert await turn.play() == await database.fetchval("SELECT state FROM turns WHERE id = $1", persona)
    return turn


async def state(database: Database, turn: int = 1) -> tuple[str, str | None]:
    row = await database.fetchrow("SELECT state, reason FROM turns WHERE id = $1", turn)
    assert row is not None
    return row["state"], row["reason"]


async def effects(database: Database) -> dict[str, int]:
    """How many rows there are of what a persona can make, where any are."""
    counts = {name: await database.fetchval(f"SELECT count(*) FROM {name}") for name in EFFECTS}
    return {name: count for name, count in counts.items() if count}


async def outcomes(database: Database, turn: int = 1) -> list[str]:
    rows = await database.fetch("SELECT outcome FROM actions WHERE turn_id = $1 ORDER BY step, ordinal", turn)
    return [row["outcome"] for row in rows]


async def posts(database: Database, *bodies: str, by: int = 2, number: int = 0) -> list[int]:
    """Posts of persona `by`, through its own turn's next step."""
    (made,) = await commit(database, [step(by, number, *(NewPost(body=body) for body in bodies))])
    return [made[n].object_id for n in range(len(bodies))]


END = says(("end_turn", {}))


# What happens in order


async def test_several_calls_are_done_and_told_in_their_order(database: Database) -> None:
    await turns_for(database, 2)
    (post,) = await posts(database, "Trains are late.")
    calls: list[Call] = [
        ("view_comments_on_post", {"post_id": post}),
        ("comment_on_post", {"post_id": post, "body": "Always."}),
        ("nothing_such", {}),
        ("like_post", {"post_id": post}),
        ("find_post_author", {"post_id": post}),
    ]
    model = Script(says(*calls), END)
    await play(database, model)
    assert await state(database) == ("done", "end_turn")
    comments, comment, unknown, like, author = model.told()
    assert [c["text"] for c in comments["comments"]] == ["Always."]  # a reading sees what the same reply wrote
    assert comment == {"ok": True, "comment_id": 1}
    assert "nothing_such" not in unknown["error"]
    assert like == {"ok": True}
    assert author["by"] == "@p2"
    sent = [json.loads(m) for m in model.asked[-1].messages]
    assert [m["tool_call_id"] for m in sent[3:]] == [c["id"] for c in sent[2]["tool_calls"]]
    assert await outcomes(database) == ["read", "made", "refused", "made", "read", "ended"]
    assert await effects(database) == {"posts": 1, "comments": 1, "likes": 1}
    assert await drifted(database) == {"post_counts": 0, "personas": 0}


async def test_control_a_reading_taken_before_the_commit_misses_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await turns_for(database, 2)
    (post,) = await posts(database, "Trains are late.")
    commit_now = Turn._commit
    early: list[tuple[str, str]] = []

    async def too_early(self: Turn, request: Request, completion: Completion, planned: Any, where: Any) -> Any:
        early.extend(await self._results([p for p in planned if p.action and p.action.reads], {}))
        return await commit_now(self, request, completion, planned, where)

    monkeypatch.setattr(Turn, "_commit", too_early)
    look = ("view_comments_on_post", {"post_id": post})
    await play(database, Script(says(("comment_on_post", {"post_id": post, "body": "Always."}), look), END))
    assert "Always." not in early[0][1]


async def test_only_so_many_calls_of_a_reply_and_of_a_turn(database: Database) -> None:
    await turns_for(database, 1)
    flood = [says(*(("create_post", {"body": f"{r} {n}"}) for n in range(200))) for r in range(3)]
    model = Script(*flood)
    await play(database, model)
    assert await effects(database) == {"posts": 10}
    assert await state(database) == ("limit", "max_actions")
    assert len(model.asked) == 2
    assert (await outcomes(database)).count("refused") == 390


async def test_control_without_the_caps_all_would_be_done(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Turn, "_check_caps", lambda *_: None)
    await turns_for(database, 1)
    await play(database, Script(says(*(("create_post", {"body": f"{n}"}) for n in range(200)))))
    assert await effects(database) == {"posts": 200}


async def test_eight_calls_at_once_do_not_end_the_turn(database: Database) -> None:
    """The three over the cap are refused; that is no sign of a model that knows no action."""
    await turns_for(database, 1)
    model = Script(says(*(("create_post", {"body": f"{n}"}) for n in range(8))), END)
    await play(database, model)
    assert await state(database) == ("done", "end_turn")
    assert [("error" in told) for told in model.told()] == [False] * 5 + [True] * 3


# Names

UNKNOWN = [
    "delete_persona", "../admin", "CREATE_POST", "сreate_post", "create_post ", " create_post", "create-post",
    "createPost", "create_post()", "functions.create_post", "create_post\0", "create_post\n", "ｃreate_post", "",
    "None",
    "like_post; DROP TABLE posts", "__class__", "__init__", "by_name", "parse", "eval", "exec", "system", "bash",
    "python", "sql", "http_get", "fetch", "read_file", "write_file", "open_url", "admin", "grant_admin", "sudo",
    "create_admin", "invite", "drop_table", "post_as", "impersonate", "update_persona", "set_model", "end_turn.",
    "end_turn ", "create_post\u200b", "create\u00ad_post", "‮create_post", "🚀", "a" * 5_000, "create_роst",
    "like_post#1",
]  # fmt: skip


async def test_unknown_names_do_nothing_and_are_told_what_there_is(database: Database) -> None:
    assert len(UNKNOWN) >= 50
    await turns_for(database, len(UNKNOWN))
    for n, name in enumerate(UNKNOWN, 1):
        model = Script(says((name, {"body": "hello", "post_id": 1})), END)
        await play(database, model, n)
        assert await state(database, n) == ("done", "end_turn")
        (told,) = model.told()
        assert told["error"].endswith(", ".join(ACTIONS.by_name))
    assert await effects(database) == {}


async def test_control_a_lenient_match_would_post(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    strictly = ActionSet.parse
    monkeypatch.setattr(ActionSet, "parse", lambda self, name, given: strictly(self, name.strip().lower(), given))
    await turns_for(database, 1)
    await play(database, Script(says(("CREATE_POST ", {"body": "hello"})), END))
    assert await effects(database) == {"posts": 1}


@pytest.mark.parametrize("together", [True, False])
async def test_three_unknown_names_in_a_row_end_the_turn(database: Database, together: bool) -> None:
    await turns_for(database, 1)
    model = Script(says(*[(f"no_{n}", {}) for n in range(3)])) if together else Script(
        *(says((f"no_{n}", {})) for n in range(9))
    )  # fmt: skip
    await play(database, model)
    assert await state(database) == ("limit", "unknown_actions")
    assert len(model.asked) == (1 if together else 3)


async def test_a_known_name_in_between_starts_the_count_again(database: Database) -> None:
    await turns_for(database, 1)
    no: Call = ("no", {})
    look: Call = ("view_most_recent_posts", {})
    await play(database, Script(says(no), says(no), says(look), says(no), says(("nope", {})), END))
    assert await state(database) == ("done", "end_turn")


async def test_an_action_that_is_not_offered_is_unknown(database: Database) -> None:
    await turns_for(database, 1)
    few = feed_actions(has_liked=False, follows=False)
    model = Script(says(("unlike_post", {"post_id": 1}), ("unfollow_user", {"user_id": 1})), END)
    async with a_mind(database, model) as mind:
        await fresh(mind, seat(actions=few)).play()
    assert ["there is no action" in told["error"] for told in model.told()] == [True, True]


# Arguments

WRONG: list[tuple[str, Any]] = [
    ("like_post", given) for given in (
        {"post_id": True}, {"post_id": "1"}, {"post_id": 1.0}, {"post_id": None}, {"post_id": [1]}, {}, {"id": 1},
        {"post_id": 1, "author_id": 2}, {"post_id": 1, "persona_id": 2}, {"post_id": 1, "": 1}, [], [1], "1", "null",
        "true", '"{\\"post_id\\": 1}"', '{"post_id": 1', '{"post_id": 1} x', '{"post_id": 1, "post_id": 1}',
        '{"post_id": NaN}', '{"post_id": 1e0}', '{"post_id": 1e999}', '{"post_id": ' + "9" * 5_000 + "}",
        '{"post_id": ' + "[" * 10_000 + "]" * 10_000 + "}", "{'post_id': 1}", "post_id=1", '{"post_id": 1,}', "\0",
        {"post_id": 2**63}, {"post_id": 0}, {"post_id": -1}, {"POST_ID": 1}, " " * 20_000, "", '{"post_id": "١"}',
        '{"\\ud800": 1}', '{"post_id": 1, "' + "x" * 9_000 + '": 1}',
    )
] + [
    ("create_post", given) for given in (
        {"body": ""}, {"body": " \n "}, {"body": "a" * 501}, {"body": None}, {"body": 5}, {"body": ["a"]}, {},
        {"body": "a\0b"}, {"body": "a\x1bb"}, '{"body": "\\ud800"}', {"body": "a", "title": 5},
        {"body": "a", "title": "t" * 121}, {"body": "a", "author_id": 2}, {"body": "a", "by": "@p2"},
        {"text": "a"}, '{"body":"hel', {"body": "a", "repost_of": 1},
    )
] + [
    ("comment_on_post", given) for given in ({"post_id": 1}, {"body": "a"}, {"post_id": "1", "body": "a"},
                                             {"post_id": 1, "body": "a" * 1_001}, {"post_id": 1, "body": ""})
] + [
    ("follow_user", given) for given in ({"user_id": True}, {"user_id": "@p2"}, {"post_id": 2}, {"user_id": 2.0})
] + [("end_turn", {"now": True}), ("view_most_recent_posts", {"limit": 1}), ("update_bio", {"bio": "a" * 501}),
     ("search_posts", {"query": ""}), ("report_post", {"post_id": 1}), ("mute_user", {})]  # fmt: skip


async def test_wrong_arguments_do_nothing_and_are_explained(database: Database) -> None:
    await turns_for(database, 2)
    await posts(database, "one")
    await database.fetch("UPDATE turns SET state = 'running', next_step = 0")
    limits = Limits(max_actions=10_000, max_calls_per_reply=10_000)
    model = Script(says(*WRONG), END)
    await play(database, model, limits=limits)
    assert await outcomes(database) == ["refused"] * len(WRONG) + ["ended"]
    assert await effects(database) == {"posts": 1}
    for told, call in zip(model.told(), WRONG, strict=True):
        assert 0 < len(told["error"]) < 600, call


async def test_control_a_lax_reader_would_do_some(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def lax(self: ActionSet, name: str, given: str) -> tuple[Action, Arguments]:
        action = self.by_name[name]
        return action, PostRef.model_construct(post_id=int(json.loads(given)["post_id"]))

    monkeypatch.setattr(ActionSet, "parse", lax)
    await turns_for(database, 2)
    await posts(database, "one")
    await play(database, Script(says(("like_post", {"post_id": True, "author_id": 2})), says()))
    assert await effects(database) == {"posts": 1, "likes": 1}


scalars = st.none() | st.booleans() | st.integers(-2, 3) | st.integers() | st.floats() | st.text(max_size=5)
values = scalars | st.lists(scalars, max_size=2) | st.sampled_from(["12", "1", 1.0, INT64_MAX, 2**63, "a" * 501])
NAMES = sorted({name for action in ACTIONS.by_name.values() for name in action.arguments.model_fields})


@st.composite
def some_arguments(draw: st.DrawFn) -> tuple[Action, dict[str, Any]]:
    action = draw(st.sampled_from(list(ACTIONS.by_name.values())))
    names = st.sampled_from([*action.arguments.model_fields, *NAMES, "author_id", "persona_id"])
    return action, draw(st.dictionaries(names, values, max_size=3))


def fits(action: Action, given: dict[str, Any]) -> bool:
    """By the words of the schema alone, without pydantic: what may be accepted at all."""
    fields = action.arguments.model_fields
    required = {name for name, field in fields.items() if field.is_required()}
    if not (required <= given.keys() <= fields.keys()):
        return False
    return all(
        (type(value) is int and 1 <= value <= INT64_MAX) if name.endswith("_id")
        else (value is None and name == "title") or (type(value) is str and len(value) <= 1_000)
        for name, value in given.items()
    )  # fmt: skip


def planned_of(completion: Completion) -> list[Planned]:
    turn = Turn(Mind(None, None, Script(), Limits()), seat(), [])  # type: ignore[arg-type]  # planning asks neither
    return turn._plan(completion)


@given(some_arguments())
def test_nothing_is_planned_on_what_does_not_fit(drawn: tuple[Action, dict[str, Any]]) -> None:
    action, arguments = drawn
    (planned,) = planned_of(says((action.name, arguments)))
    if not fits(action, arguments):
        assert planned.refusal
        assert (planned.effect, planned.ends) == (None, False)
    planned.record()


@given(st.text(max_size=40) | st.binary(max_size=40).map(lambda b: b.decode("latin-1")), st.sampled_from(NAMES))
def test_any_text_as_arguments_is_planned_or_refused(text: str, name: str) -> None:
    for action in ACTIONS.by_name.values():
        (planned,) = planned_of(says((action.name, text)))
        assert planned.refusal or fits(action, json.loads(text.strip() or "{}"))


# Ids that are not there


@pytest.mark.parametrize("wrong", [99, INT64_MAX, 0, -1, 2**63, 2**200])
async def test_ids_that_are_not_there_are_told_and_the_turn_goes_on(database: Database, wrong: int) -> None:
    await turns_for(database, 2)
    post = {"post_id": wrong}
    calls: list[Call] = [
        ("like_post", post), ("repost", post), ("comment_on_post", {**post, "body": "a"}),
        ("report_post", {**post, "reason": "a"}), ("view_comments_on_post", post), ("find_post_author", post),
        ("follow_user", {"user_id": wrong}), ("mute_user", {"user_id": wrong}),
    ]  # fmt: skip
    undo: list[Call] = [("unlike_post", post), ("unfollow_user", {"user_id": wrong})]
    model = Script(says(*calls), says(*undo), END)
    await play(database, model, limits=Limits(max_actions=99, max_calls_per_reply=99))
    assert await state(database) == ("done", "end_turn")
    assert await effects(database) == {}
    sentences = [told["error"] for told in model.told()]
    if 0 < wrong <= INT64_MAX:
        things = [*["post"] * 6, "member", "member", "post", "member"]
        assert sentences == [f"there is no {thing} {wrong}" for thing in things]
    assert len(sentences) == 10


# Once and only once


@pytest.mark.parametrize("across", [True, False])
async def test_a_call_id_is_carried_out_once(database: Database, across: bool) -> None:
    await turns_for(database, 1)
    twice: list[Call] = [("create_post", {"body": "a"}, "same"), ("create_post", {"body": "b"}, "same")]
    model = Script(*(says(c) for c in twice), END) if across else Script(says(*twice), END)
    await play(database, model)
    assert await effects(database) == {"posts": 1}
    assert (await outcomes(database))[:2] == ["made", "refused"]


async def test_control_without_the_check_it_is_done_twice(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Turn, "_check_caps", lambda *_: None)
    await turns_for(database, 1)
    await play(
        database, Script(says(("create_post", {"body": "a"}, "same"), ("create_post", {"body": "b"}, "same")), END)
    )
    assert await effects(database) == {"posts": 2}


PAIRS: list[tuple[Call, Call]] = [
    (("like_post", {"post_id": 1}), ("unlike_post", {"post_id": 1})),
    (("unlike_post", {"post_id": 1}), ("like_post", {"post_id": 1})),
    (("like_post", {"post_id": 1}), ("like_post", {"post_id": 1})),
    (("follow_user", {"user_id": 2}), ("unfollow_user", {"user_id": 2})),
    (("repost", {"post_id": 1}), ("repost", {"post_id": 1})),
    (("mute_user", {"user_id": 2}), ("mute_user", {"user_id": 2})),
    (("report_post", {"post_id": 1, "reason": "a"}), ("report_post", {"post_id": 1, "reason": "b"})),
    (("update_bio", {"bio": "a"}), ("update_bio", {"bio": "b"})),
]


@pytest.mark.parametrize(("first", "second"), PAIRS)
async def test_effects_of_one_reply_never_contradict(database: Database, first: Call, second: Call) -> None:
    await turns_for(database, 2)
    await posts(database, "one")
    model = Script(says(first, second), END)
    await play(database, model)
    assert "already acted" in model.told()[1]["error"]
    assert (await outcomes(database))[1] == "refused"
    assert await drifted(database) == {"post_counts": 0, "personas": 0}


async def test_control_without_the_check_a_contradiction_is_committed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = module._plan_write
    monkeypatch.setattr(module, "_plan_write", lambda planned, wish, _: check(planned, wish, set()))
    await turns_for(database, 2)
    await posts(database, "one")
    await play(database, Script(says(*PAIRS[0]), END))
    assert "refused" not in await outcomes(database)


async def test_own_things_and_repeats(database: Database) -> None:
    await turns_for(database, 2)
    (own,) = await posts(database, "mine", by=1)
    (other,) = await posts(database, "theirs", by=2)
    await database.fetch("UPDATE turns SET next_step = 0 WHERE id = 1")
    await database.fetch("DELETE FROM actions")
    await database.fetch("DELETE FROM calls")
    on_own: list[Call] = [
        ("like_post", {"post_id": own}),
        ("repost", {"post_id": own}),
        ("follow_user", {"user_id": 1}),
    ]
    on_own += [("mute_user", {"user_id": 1}), ("report_post", {"post_id": own, "reason": "a"})]
    on_other: list[Call] = [("like_post", {"post_id": other}), ("repost", {"post_id": other})]
    on_other += [("follow_user", {"user_id": 2}), ("report_post", {"post_id": other, "reason": "a"})]
    model = Script(says(*on_own), says(*on_other), says(*on_other), END)
    await play(database, model, limits=Limits(max_actions=50))
    told = model.told()
    assert ["you may not" in t["error"] for t in told[:5]] == [True] * 5
    assert [t["ok"] for t in told[5:9]] == [True] * 4
    assert told[6]["post_id"] > other
    assert told[9:] == [{"already": True}] * 4
    assert await effects(database) == {"posts": 3, "likes": 1, "follows": 1, "reports": 1}
    assert await drifted(database) == {"post_counts": 0, "personas": 0}


# Ends


async def test_a_loop_of_the_same_call_ends(database: Database) -> None:
    await turns_for(database, 1)
    model = Script(*(says(("view_most_recent_posts", {})) for _ in range(20)))
    await play(database, model)
    assert (await state(database), len(model.asked)) == (("limit", "loop"), 3)


async def test_control_without_the_detector_it_runs_to_the_limit(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAME_IN_A_ROW", 10**9)
    await turns_for(database, 1)
    model = Script(*(says(("view_most_recent_posts", {})) for _ in range(20)))
    await play(database, model)
    assert (await state(database), len(model.asked)) == (("limit", "max_actions"), 10)


@pytest.mark.parametrize("name", ["search_posts", "like_post"])
async def test_calls_without_end_stop_at_the_limit(database: Database, name: str) -> None:
    """Whether they do something or are refused for ever."""
    await turns_for(database, 1)
    model = Script(*(says((name, {"query": f"{n}"})) for n in range(40)))
    await play(database, model)
    assert await state(database) == ("limit", "max_actions")
    assert len(model.asked) == 10


ENDS: list[tuple[Completion, tuple[str, str]]] = [
    (says(status="refusal"), ("refused", "refusal")),
    (says(("create_post", {"body": "a"}), status="refusal"), ("refused", "refusal")),
    (says(("create_post", {"body": "a"}), status="length"), ("failed", "length")),
    (says(), ("refused", "empty")),
    (says(text="I would rather not."), ("done", "no_call")),
    (END, ("done", "end_turn")),
    *((says(("create_post", {"body": "a"}), status=status), ("failed", status))
      for status in ("parse", "tool_schema", "quota", "auth", "config", "too_large", "budget")),
    *((says(status=status), ("deferred", status)) for status in ("rate_limit", "unavailable", "timeout")),
]  # fmt: skip


@pytest.mark.parametrize("first", [True, False])
async def test_how_a_turn_ends(database: Database, first: bool) -> None:
    await turns_for(database, len(ENDS))
    for turn, (reply, end) in enumerate(ENDS, 1):
        model = Script(reply) if first else Script(says(("view_most_recent_posts", {})), reply)
        await play(database, model, turn)
        later_silence = end == ("refused", "empty") and not first
        assert await state(database, turn) == (("done", "no_call") if later_silence else end)
        assert len(model.asked) == (1 if first else 2)
    assert await effects(database) == {}


async def test_what_stands_beside_end_turn_is_done(database: Database) -> None:
    await turns_for(database, 1)
    await play(database, Script(says(("end_turn", {}), ("create_post", {"body": "a"}))))
    assert await effects(database) == {"posts": 1}
    assert await outcomes(database) == ["ended", "made"]


# JSON mode


async def test_json_mode_acts(database: Database) -> None:
    await turns_for(database, 2)
    await posts(database, "one")
    replies = [
        says_json(("view_most_recent_posts", {})),
        says_json(("like_post", {"post_id": 1}), ("like_post", {"post_id": "1"}), ("nope", {})),
        says_json(("view_most_recent_posts", {})),
        says_json(text='```json\n{"actions":[{"name":"end_turn"}]}\n```'),
    ]
    model = Script(*replies)
    await play(database, model, native=False)
    assert await state(database) == ("done", "end_turn")
    assert await effects(database) == {"posts": 1, "likes": 1}
    assert await outcomes(database) == ["read", "made", "refused", "refused", "read", "ended"]
    assert all(request.json_only and not request.tools for request in model.asked)


NO_ANSWER = ["I like trains.", "{", "[]", '{"actions": 5}', '{"actions": {}}', "null", '{"actions":[NaN]}', "\ud7ff"]


async def test_json_mode_repairs_once(database: Database) -> None:
    texts = [*NO_ANSWER, '{"actions":[' + ",".join("1" * 257) + "]}"]
    await turns_for(database, 2 * len(texts))
    for turn, text in enumerate(texts, 1):
        model = Script(says_json(text=text), says_json(("create_post", {"body": "a"})), says_json(text=text))
        await play(database, model, turn, native=False)
        assert (await state(database, turn), len(model.asked)) == (("failed", "parse"), 3)
        model = Script(says_json(text=text))
        await play(database, model, len(texts) + turn, native=False)
        assert (await state(database, len(texts) + turn), len(model.asked)) == (("failed", "parse"), 2)
    assert await effects(database) == {"posts": len(texts)}


ODD = ["1", "null", '"end_turn"', "[]", "{}", '{"name":null}', '{"name":["a"]}', '{"name":{}}', '{"name":"\\ud800"}',
       '{"name":"like_post","arguments":null}', '{"name":"like_post","arguments":"{}"}', '{"name":"like_post"}',
       '{"name":"like_post","arguments":{"post_id":1' + "0" * 390 + "}}", '{"name":"create_post","arguments":[]}',
       '{"name":"create_post","arguments":{"body":"\\ud800"}}', '{"name":"create_post","arguments":{"\\ud800":1}}',
       '{"name":"create_post","arguments":{"body":"\\u0000"}}']  # fmt: skip


async def test_odd_items_of_a_json_answer_are_refused(database: Database) -> None:
    await turns_for(database, len(ODD))
    for turn, item in enumerate(ODD, 1):
        model = Script(says_json(text=f'{{"actions":[{item}]}}'), says_json(("end_turn", {})))
        await play(database, model, turn, native=False)
        assert await outcomes(database, turn) == ["refused", "ended"], item
    assert await effects(database) == {}


async def test_an_empty_json_answer_ends_the_turn(database: Database) -> None:
    await turns_for(database, 1)
    await play(database, Script(says_json()), native=False)
    assert await state(database) == ("done", "no_call")


# The ledger


async def test_what_was_shown_is_kept_in_its_order(database: Database) -> None:
    await turns_for(database, 2)
    made = await posts(database, *(f"post {n}" for n in range(4)))
    look: list[Call] = [("view_most_recent_posts", {}), ("find_post_author", {"post_id": made[0]})]
    model = Script(says(*look), says(("create_post", {"body": "a"})), END)
    await play(database, model)
    rows = await database.fetch("SELECT step, ordinal, kind, ranker, items FROM exposures ORDER BY step, ordinal")
    assert [tuple(row) for row in rows] == [(1, 0, "post", "latest", made[::-1]), (1, 1, "persona", "author", [2])]
    assert [post["id"] for post in model.told(1)[0]["posts"]] == made[::-1]


async def test_unstorable_text_is_kept_and_ends_nothing(database: Database) -> None:
    await turns_for(database, 1)
    call = ToolCall("id\0", "na\0me" * 100, '{"a": "\0"}')
    completion = Completion("ok", "mo\0del", "", (call,), Usage(), b"\0\xff", encode_reply("", (call,)))
    await play(database, Script(completion, END))
    assert await state(database) == ("done", "end_turn")
    row = await database.fetchrow("SELECT response, model_returned FROM calls WHERE step = 0")
    assert row is not None
    assert tuple(row) == (b"\0\xff", "mo␀del")


async def test_a_stale_epoch_cannot_write(database: Database) -> None:
    await turns_for(database, 1)
    model = Script(says(("create_post", {"body": "a"})))
    async with a_mind(database, model) as mind:
        for epoch in (0, 2):
            with pytest.raises(Superseded):
                await fresh(mind, seat(epoch=epoch)).play()
    assert await effects(database) == {}
    assert await database.fetchval("SELECT count(*) FROM calls") == 0


async def test_who_departs_mid_turn_writes_no_more(database: Database) -> None:
    await turns_for(database, 1)

    async def departs(_: Request) -> Completion:
        await personas.depart(database, 1)
        return says(("create_post", {"body": "from beyond"}))

    async with a_mind(database, Script(says(("create_post", {"body": "a"})), departs)) as mind:
        with pytest.raises(Superseded):
            await fresh(mind, seat()).play()
    assert await effects(database) == {"posts": 1}
    assert await state(database) == ("failed", "departed")


class Shaky:
    """A committer whose database goes away a few times first."""

    def __init__(self, inner: Committer, *errors: Exception) -> None:
        self.inner = inner
        self.errors = list(errors)

    async def commit(self, record: StepRecord) -> Any:
        if self.errors:
            raise self.errors.pop(0)
        return await self.inner.commit(record)


AWAY = [
    asyncpg.AdminShutdownError("x"), asyncpg.CannotConnectNowError("x"), asyncpg.QueryCanceledError("x"),
    asyncpg.TooManyConnectionsError("x"), asyncpg.ConnectionDoesNotExistError("x"), asyncpg.InterfaceError("x"),
    ConnectionResetError(), TimeoutError(),
]  # fmt: skip


async def _at_once(_: float) -> None:
    return None


async def test_a_database_that_is_away_is_waited_for(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await turns_for(database, len(AWAY))
    async with a_mind(database, Script(says(("create_post", {"body": "a"})), END)) as mind:
        for persona, error in enumerate(AWAY, 1):
            shaky = Shaky(mind.committer, error, error)
            turn = fresh(dataclasses.replace(mind, committer=shaky), seat(persona))  # type: ignore[arg-type]
            with monkeypatch.context() as patched:
                patched.setattr(asyncio, "sleep", _at_once)
                assert await turn.play() == "done"
    assert await effects(database) == {"posts": len(AWAY)}


async def test_control_a_turn_that_does_not_wait_fails(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AWAY", ())
    await turns_for(database, 1)
    async with a_mind(database, Script(END)) as mind:
        shaky = Shaky(mind.committer, AWAY[0])
        with pytest.raises(asyncpg.AdminShutdownError):
            await fresh(dataclasses.replace(mind, committer=shaky), seat()).play()  # type: ignore[arg-type]


async def test_a_database_that_stays_away_ends_the_turn_here(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await turns_for(database, 1)
    async with a_mind(database, Script(END)) as mind:
        shaky = Shaky(mind.committer, *[AWAY[0]] * module.TRIES)
        turn = fresh(dataclasses.replace(mind, committer=shaky), seat())  # type: ignore[arg-type]
        with monkeypatch.context() as patched:
            patched.setattr(asyncio, "sleep", _at_once)
            with pytest.raises(asyncpg.AdminShutdownError):
                await turn.play()
    assert await state(database) == ("running", None)


# Going on


class Stopped(Exception):
    """The process is gone."""


def stops(_: Request) -> Completion:
    raise Stopped


LONG: list[list[Call]] = [
    [("view_most_recent_posts", {}), ("like_post", {"post_id": 1})],
    [("create_post", {"body": "a"}), ("nope", {}), ("view_most_popular_posts", {})],
    [("like_post", {"post_id": "1"}), ("comment_on_post", {"post_id": 1, "body": "c"}), ("like_post", {"post_id": 1})],
    [("view_comments_on_post", {"post_id": 1}), ("follow_user", {"user_id": 1}), ("update_bio", {"bio": "⟦0000⟧"})],
    [("create_post", {"body": "b"}), ("search_users", {"query": "p"})],
    [("end_turn", {})],
]


def long_turn(native: bool) -> list[Reply]:
    replies: list[Reply] = [says(*calls) if native else says_json(*calls) for calls in LONG]
    return replies if native else [replies[0], says_json(text="Sorry?"), *replies[1:]]


async def as_stored(database: Database, turn_id: int) -> list[Request]:
    """Every request of a turn, rebuilt of what the ledger keeps; each must have the hash it was sent under."""
    calls = await database.fetch(transcript.TURNS["turn_calls"], turn_id)
    rebuilt = []
    for row in calls:
        options = msgspec.json.decode(row["options"])
        request = Request(
            model=row["model"],
            messages=tuple(transcript.messages(calls, upto=row["step"])),
            tools=b"" if options["json_only"] else ALL_SETS[row["tools_sha256"]].tools,
            **options,
        )
        assert request.sha256() == row["request_sha256"]
        rebuilt.append(request)
    return rebuilt


@pytest.mark.parametrize("native", [True, False])
async def test_a_turn_that_was_cut_off_anywhere_goes_on_from_there(database: Database, native: bool) -> None:
    steps = len(long_turn(native))
    await turns_for(database, steps + 2)
    await posts(database, "one", by=steps + 2)
    for persona, k in enumerate(range(1, steps + 1), 1):
        replies = long_turn(native)
        first, second = Script(*replies[:k], stops), Script(*replies)
        limits = Limits(max_actions=50)
        async with a_mind(database, first, limits) as mind:
            if k < steps:
                with pytest.raises(Stopped):
                    await fresh(mind, seat(persona, native=native)).play()
                await database.fetch("UPDATE turns SET epoch = 2 WHERE id = $1", persona)
                where = seat(persona, native=native, epoch=2)
                progress = await transcript.progress(database, persona)
                assert progress.next_step == k
                turn = await Turn.resumed(dataclasses.replace(mind, model=second), where, progress)
                assert await turn.play() == "done"
                assert answered(second.asked[0]) == k
            else:
                await fresh(mind, seat(persona, native=native)).play()
        sent = [*first.asked[:k], *second.asked]
        assert [r.body() for r in await as_stored(database, persona)] == [r.body() for r in sent]
        assert await state(database, persona) == ("done", "end_turn")
        assert await outcomes(database, persona) == [
            "read", "made", "made", "refused", "read", "refused", "made", "already", "read",
            "not_allowed" if persona == 1 else "made", "made", "made", "read", "ended",
        ]  # fmt: skip
        count = "SELECT count(*) FROM {} WHERE {} = $1"
        for table, column, times in (
            ("posts", "author_id", 2),
            ("likes", "persona_id", 1),
            ("comments", "author_id", 1),
        ):
            assert await database.fetchval(count.format(table, column), persona) == times
    assert await drifted(database) == {"post_counts": 0, "personas": 0}


async def test_what_counts_towards_limits_is_remembered(database: Database) -> None:
    """Ids, actions, unknown names and repeats of the stored replies count after going on."""
    await turns_for(database, 3)
    cases: Sequence[tuple[Iterable[Completion], tuple[str, str]]] = [
        ([says(("no_1", {})), says(("no_2", {})), says(("no_3", {}))], ("limit", "unknown_actions")),
        ([says(("search_posts", {"query": "a"})) for _ in range(3)], ("limit", "loop")),
        ([says(("create_post", {"body": f"{n}"}, "one id")) for n in range(2)] + [END], ("done", "end_turn")),
    ]
    for persona, (replies, end) in enumerate(cases, 1):
        *before, last = replies
        async with a_mind(database, Script(*before, stops)) as mind:
            with pytest.raises(Stopped):
                await fresh(mind, seat(persona)).play()
            model = Script(*before, last)
            progress = await transcript.progress(database, persona)
            turn = await Turn.resumed(dataclasses.replace(mind, model=model), seat(persona), progress)
            await turn.play()
        assert await state(database, persona) == end
        assert len(model.asked) == 1
    assert await effects(database) == {"posts": 1}


@pytest.mark.parametrize(
    ("asked", "returned", "note"),
    [
        ("gpt-4o-mini", "gpt-4o-mini-2024-07-18", ""),
        ("openrouter/meta/llama-3", "meta/llama-3", ""),
        ("scripted", "", ""),
        ("gpt-4o", "gpt-3.5-turbo", "answered by gpt-3.5-turbo"),
    ],
)
def test_l25_a_model_that_is_not_the_one_asked_is_noted(asked: str, returned: str, note: str) -> None:
    assert module._answered_by(asked, returned) == note
