"""What personas see and do in the feed: readings within their budget, in rank order, without whom they muted."""

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.actions import feed as actions
from app.actions import showing
from app.actions.feed import ALWAYS, feed_actions
from app.actions.registry import Action, ActionContext, ActionRefused, ActionSet, Reading
from app.actions.showing import ago, cut, fit
from app.agent.prompt import quote
from app.db.engine import Database
from app.ledger.commit import EffectOutcome
from app.world import effects
from app.world.effects import Effect
from tests.agent.test_prompt import tokens
from tests.conftest import NOON
from tests.ledger.test_commit import commit, step, turns_for

_steps = itertools.count()


async def do(database: Database, persona: int, *wishes: Effect) -> list[EffectOutcome]:
    """Persona's effects, as its turn's next step."""
    number = await database.fetchval("SELECT next_step FROM turns WHERE id = $1", persona)
    (made,) = await commit(database, [step(persona, number, *wishes)])
    return [made[n] for n in range(len(wishes))]


async def see(database: Database, persona: int, action: Action, *, budget: int = 400, **arguments: Any) -> Reading:
    assert action.read is not None
    given = action.arguments.model_validate(arguments)
    return await action.read(ActionContext(database, persona, budget, datetime.now(UTC)), given)


VIEWS = [actions.view_most_recent_posts, actions.view_most_popular_posts, actions.view_most_commented_posts]


async def test_an_empty_world_reads_as_empty(database: Database) -> None:
    await turns_for(database, 1)
    for action in VIEWS:
        assert await see(database, 1, action) == Reading({"posts": []}, "post", {
            "view_most_recent_posts": "latest", "view_most_popular_posts": "top",
            "view_most_commented_posts": "discussed"}[action.name])  # fmt: skip
    assert (await see(database, 1, actions.search_posts, query="x")).result == {"posts": []}
    assert (await see(database, 1, actions.search_users, query="x")).result == {"users": []}
    assert (await see(database, 1, actions.view_follows_recent_actions)).result == {"actions": []}
    for action in (actions.view_comments_on_post, actions.find_post_author):
        with pytest.raises(ActionRefused, match="there is no post 1"):
            await see(database, 1, action, post_id=1)


async def test_each_view_has_its_order(database: Database) -> None:
    await turns_for(database, 4)
    one, two, three = [
        m.object_id or 0 for m in await do(database, 1, *(effects.NewPost(body=f"{n}") for n in range(3)))
    ]
    await do(database, 2, effects.Like(one), effects.NewComment(two, body="a"), effects.NewComment(two, body="b"))
    await do(database, 3, effects.Like(one), effects.Like(two), effects.FollowPersona(1))
    orders = {"latest": (three, two, one), "top": (one, two, three), "discussed": (two, three, one)}
    for action, (ranker, order) in zip(VIEWS, orders.items(), strict=True):
        reading = await see(database, 4, action)
        assert (reading.kind, reading.ranker, reading.items) == ("post", ranker, order)
        assert [post["id"] for post in reading.result["posts"]] == list(order)
    assert (await see(database, 1, VIEWS[0])).items == ()  # nobody is shown their own
    found = await see(database, 3, actions.find_post_author, post_id=one)
    assert (found.result["by"], found.result["followers"], found.result["you_follow"]) == ("@p1", 1, True)
    comments = await see(database, 4, actions.view_comments_on_post, post_id=two)
    assert [c["text"] for c in comments.result["comments"]] == ["b", "a"]
    assert [a["did"] for a in (await see(database, 3, actions.view_follows_recent_actions)).result["actions"]] == [
        "post"
    ] * 2


async def test_whom_one_mutes_one_does_not_see(database: Database) -> None:
    await turns_for(database, 3)
    ((post,), (other,)) = [
        [m.object_id or 0 for m in await do(database, p, effects.NewPost(body="trains are fine"))] for p in (2, 3)
    ]
    await do(database, 2, effects.NewComment(other, body="quite"))
    before = [await see(database, 1, action) for action in VIEWS]
    assert all(set(reading.items) == {post, other} for reading in before)
    await do(database, 1, effects.MutePersona(2))
    for action in VIEWS:
        assert (await see(database, 1, action)).items == (other,)
    assert (await see(database, 1, actions.search_posts, query="trains")).items == (other,)
    assert (await see(database, 1, actions.view_comments_on_post, post_id=other)).items == ()
    assert post in (await see(database, 3, VIEWS[0])).items


async def test_whom_one_follows_and_mutes_one_does_not_see_either(database: Database) -> None:
    await turns_for(database, 2)
    await do(database, 2, effects.NewPost(body="trains are fine"))
    await do(database, 1, effects.FollowPersona(2), effects.MutePersona(2))
    assert (await see(database, 1, actions.view_follows_recent_actions)).items == ()


async def test_a_muted_members_post_does_not_come_back_shared(database: Database) -> None:
    await turns_for(database, 3)
    (made,) = await do(database, 2, effects.NewPost(body="trains are fine"))
    await do(database, 3, effects.Repost(made.object_id))
    await do(database, 1, effects.MutePersona(2))
    assert (await see(database, 1, VIEWS[0])).items == ()


async def test_a_share_of_a_share_is_of_the_original(database: Database) -> None:
    await turns_for(database, 4)
    (made,) = await do(database, 1, effects.NewPost(body="first"))
    (shared,) = await do(database, 2, effects.Repost(made.object_id))
    (again,) = await do(database, 3, effects.Repost(shared.object_id))
    assert await database.fetchval("SELECT repost_of FROM posts WHERE id = $1", again.object_id) == made.object_id
    reading = await see(database, 4, VIEWS[0])
    assert {post["id"] for post in reading.result["posts"]} == {made.object_id}
    assert [post.get("repost_of") for post in reading.result["posts"]] == [made.object_id, made.object_id, None]
    assert reading.items == (again.object_id, shared.object_id, made.object_id)


async def test_searching(database: Database) -> None:
    await turns_for(database, 3)
    await do(database, 2, effects.NewPost(body="Trains are late"), effects.NewBio(body="100% rail_way"))
    assert len((await see(database, 1, actions.search_posts, query="trains late")).items) == 1
    for query in ("'; DROP TABLE posts --", '"', "a & | !", "\\", "%", "_", "((", "<->", "@p2", "@", "*"):
        await see(database, 1, actions.search_posts, query=query)
        await see(database, 1, actions.search_users, query=query)
    assert (await see(database, 1, actions.search_users, query="100%")).items == (2,)
    assert (await see(database, 1, actions.search_users, query="_")).items == (2,)
    assert (await see(database, 1, actions.search_users, query="@P2")).items == (2,)


# Budgets

SENTENCE = "the train was late again and nobody said sorry so we walked home in the rain as one does here "
TEXTS = {
    "English": SENTENCE * 5,
    "Russian": "поезд снова опоздал и никто не извинился так что мы пошли домой пешком под дождем " * 5,
    "Chinese": "火车又晚点了没有人道歉所以我们冒雨走回家就像这里的人一样" * 15,
    "short": "ok",
    "signs": "!@#$%^&*()_+{}|:<>?~`-=[];'./" * 15,
    "quotes": '"\\' * 200,
    "digits": "31415926535897932384" * 20,
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈🦄" * 40,
    "joiners": "\u200d\u200b" * 200,
    "cuneiform": "".join(chr(0x12000 + n * 7 % 900) for n in range(400)),
}


def rows(text: str, title: str | None = None) -> list[Any]:
    same = {
        "author_username": "dale_offgrid",
        "author_id": 7,
        "repost_of": None,
        "title": title,
        "likes_count": 3,
        "quote_of": None,
    }
    return [
        {
            **same,
            "id": 1000 + n,
            "root_id": 1000 + n,
            "comments_count": 2,
            "created_at": datetime.now(UTC),
            "body": text,
        }
        for n in range(10)
    ]


def shown_now(row: Any) -> dict[str, Any]:
    return showing.post(row, NOON)


@pytest.mark.parametrize("budget", [50, 400, 2_000])
@pytest.mark.parametrize("name", TEXTS)
def test_a_reading_keeps_to_its_tokens(name: str, budget: int) -> None:
    """By OpenAI's own tokenizer; a fifth and an item's names more, since we count without one."""
    shown = fit(rows(TEXTS[name], TEXTS[name]), budget, shown_now)
    assert shown
    assert tokens(quote({"posts": shown}, "⟦abcd⟧")) <= 1.2 * budget + 100


def test_control_counting_bytes_alone_hostile_text_takes_thrice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(showing, "tokens", lambda text: len(text.encode()) // 4 + 1)
    shown = fit(rows(TEXTS["cuneiform"]), 400, shown_now)
    assert tokens(quote({"posts": shown}, "⟦abcd⟧")) > 2 * 400


def test_ordinary_posts_fit_by_the_handful() -> None:
    assert len(fit(rows(SENTENCE), 400, shown_now)) >= 5


@given(st.lists(st.text(max_size=500), max_size=10), st.integers(1, 3_000))
def test_what_is_shown_is_the_best_ranked(texts: list[str], budget: int) -> None:
    given_rows = [{**rows("x")[0], "body": text, "root_id": n} for n, text in enumerate(texts)]
    shown = fit(given_rows, budget, shown_now)
    assert [item["id"] for item in shown] == list(range(len(shown)))
    assert bool(shown) == bool(texts)
    assert all(item["text"] == cut(item["text"], 280) for item in shown)


async def test_a_view_is_cut_to_the_budget(database: Database) -> None:
    await turns_for(database, 2)
    await do(database, 2, *(effects.NewPost(body=f"{n} {SENTENCE}"[:280]) for n in range(10)))
    small, large = [await see(database, 1, VIEWS[0], budget=budget) for budget in (150, 20_000)]
    assert 1 <= len(small.items) < len(large.items) == 10
    assert small.items == large.items[: len(small.items)]
    assert len(small.result["posts"]) == len(small.items)


@given(st.text(), st.integers(1, 300))
def test_cut(text: str, limit: int) -> None:
    found = cut(text, limit)
    assert len(found) <= limit or found == text
    assert found == text or found.endswith("…")


@pytest.mark.parametrize(
    ("seconds", "said"), [(-5, "0s"), (0, "0s"), (59, "59s"), (60, "1m"), (7_200, "2h"), (90_000, "1d")]
)
def test_ago(seconds: int, said: str) -> None:
    assert ago(NOON - timedelta(seconds=seconds), NOON) == said


# The tools as they are offered


def test_every_action_is_offered_as_it_is_checked() -> None:
    offered = {t["function"]["name"]: t["function"] for t in json.loads(feed_actions().tools)}
    assert offered.keys() == feed_actions().by_name.keys()
    for name, action in feed_actions().by_name.items():
        fields = action.arguments.model_fields
        parameters = offered[name]["parameters"]
        assert parameters["properties"].keys() == fields.keys()
        assert parameters.get("required", []) == [n for n, f in fields.items() if f.is_required()]
        for field, schema in parameters["properties"].items():
            assert schema == {"type": "integer" if field.endswith("_id") else "string"}
        assert offered[name].get("description", "") == action.description


def test_no_action_takes_who_acts() -> None:
    names = {name for action in feed_actions().by_name.values() for name in action.arguments.model_fields}
    assert names == {"post_id", "user_id", "body", "title", "query", "reason", "bio"}
    for action in feed_actions().by_name.values():
        assert action.arguments.model_config["extra"] == "forbid"
        assert action.arguments.model_config["strict"] is True
        assert (action.read is None) != (action.write is None)
        assert action.reads == (action.read is not None)


def test_what_can_be_undone_is_offered_when_there_is_something() -> None:
    sets = {(a, b): list(feed_actions(has_liked=a, follows=b).by_name) for a in (False, True) for b in (False, True)}
    always = [action.name for action in ALWAYS]
    assert sets[False, False] == always
    assert sets[True, False] == [*always, "unlike_post"]
    assert sets[False, True] == [*always, "unfollow_user", "view_follows_recent_actions"]
    assert feed_actions() is feed_actions()


def test_the_tools_hash_names_the_tools() -> None:
    sets = [feed_actions(has_liked=a, follows=b) for a in (False, True) for b in (False, True)]
    assert len({s.tools_sha256 for s in sets}) == 4
    assert ActionSet(sets[0].by_name.values()).tools_sha256 == sets[0].tools_sha256
    assert all(msgspec.json.decode(s.tools) for s in sets)
