"""`view_feed` and `suggest_follows`: what a persona reads, what is kept of it, and who chooses the ranker."""

from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest

from app.actions.feed import (
    ACTIONS,
    EXTRAS,
    feed_actions,
    feed_actions_by,
    offered,
    suggest_follows,
    view_feed,
    world_extras,
)
from app.actions.registry import ActionContext, Reading
from app.db.engine import Database
from app.errors import Invalid, Misconfigured
from app.ledger import exposures
from app.settings import load_settings
from app.venues.feed import open_cycle, play_cycle
from app.world.ranking import Ranking, parse
from tests.agent.test_prompt import tokens
from tests.conftest import a_mind
from tests.venues.test_cycle import people
from tests.world.test_ranking import NOW, Place, any_world

REFERENCE = (Path(__file__).parents[2] / "docs" / "reference.md").read_text()


def context(database: Database, ours: str = "latest", budget: int = 400, **more: Any) -> ActionContext:
    return ActionContext(database, 1, budget, NOW, ranking=parse(ours), **more)


async def look(found: ActionContext, action: Any = view_feed) -> Reading:
    reading = await action.read(found, action.arguments())
    assert isinstance(reading, Reading)
    return reading


async def test_the_feed_is_read_in_order_and_with_reasons(database: Database) -> None:
    world = await any_world(database, 1)
    for name in ("latest", "interest", "random", "mixed"):
        ranked = await world.feed(name, seed=9, draw=2)
        reading = await look(context(database, name, 20_000, seed=9, draw=2))
        assert (reading.kind, reading.ranker, reading.version) == ("post", name, 1)
        assert reading.items == tuple(one.item for one in ranked)
        assert reading.scores == tuple(one.score for one in ranked)
        assert reading.reasons == tuple(one.reason for one in ranked)
        assert reading.chances == tuple(one.chance for one in ranked if one.chance is not None)
        assert len(reading.result["posts"]) == len(ranked)
        short = await look(context(database, name, 100, seed=9, draw=2))
        assert 1 <= len(short.items) < len(reading.items)
        assert short.items == reading.items[: len(short.items)]
        assert len(short.scores) == len(short.reasons) == len(short.items)


async def test_nothing_there_is_nothing_shown(database: Database) -> None:
    await Place.of(database, 1)
    assert await look(context(database)) == Reading({"posts": []}, "post", "latest")
    found = await look(context(database, suggester="adamic_adar"), suggest_follows)
    assert found == Reading({"users": []}, "persona", "adamic_adar")


async def test_people_are_suggested(database: Database) -> None:
    world = await Place.of(database, 4)
    await world.follow(1, 2)
    await world.follow(2, 3, 4)
    found = await look(context(database, suggester="common_neighbours"), suggest_follows)
    assert found.items == (3, 4)
    assert found.reasons == ("in common 1", "in common 1")
    assert [user["by"] for user in found.result["users"]] == ["@p3", "@p4"]


def test_they_are_offered_only_where_they_were_chosen() -> None:
    plain = set(feed_actions().by_name)
    assert not {"view_feed", "suggest_follows"} & plain
    assert set(feed_actions(ranked=True).by_name) - plain == {"view_feed"}
    assert set(feed_actions(suggests=True).by_name) - plain == {"suggest_follows"}


EVERY_SET = [
    feed_actions(has_liked=liked, follows=follows, ranked=ranked, suggests=suggests, extras=extras)
    for liked, follows, ranked, suggests in product((False, True), repeat=4)
    for extras in (frozenset[str](), *map(frozenset, combinations(EXTRAS, 1)), frozenset(EXTRAS))
]


def test_a_set_is_found_again_by_its_stored_tools() -> None:
    assert len({one.tools_sha256 for one in EVERY_SET}) == 16 * (2 + len(EXTRAS))
    for one in EVERY_SET:
        found = feed_actions_by(one.tools)
        assert found is not None
        assert (found.tools_sha256, list(found.by_name)) == (one.tools_sha256, list(one.by_name))


@pytest.mark.parametrize(
    "tools",
    [
        b"",
        b"nothing",
        b"[1]",
        b'[{"function":{"name":"drop_tables"}}]',
        feed_actions().tools.replace(b"Write a post", b"Write posts"),
    ],
)
def test_tools_of_another_time_are_no_set(tools: bytes) -> None:
    assert feed_actions_by(tools) is None


SITUATION = {"posts_count": 0, "comments_count": 0, "followers_count": 0, "following_count": 0, "lately": None}


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({}, set()),
        ({"posts_count": 1}, {"quote_post"}),
        ({"comments_count": 2}, {"reply_to_comment", "like_comment"}),
        ({"followers_count": 1}, {"block_user"}),
        ({"lately": '[["liked comment", 4, ""]]'}, {"unlike_comment"}),
        ({"lately": '[["liked", 4, ""]]'}, {"unlike_post"}),
        ({"following_count": 1}, {"unfollow_user", "view_follows_recent_actions"}),
    ],
)
def test_what_answers_others_is_offered_to_those_who_have_spoken(more: dict[str, Any], names: set[str]) -> None:
    few = offered(SITUATION, ranked=False, suggests=False)
    assert len(few.by_name) == 16
    now = offered({**SITUATION, **more}, ranked=False, suggests=False)
    assert set(now.by_name) - set(few.by_name) == names
    assert now.tools.startswith(few.tools[:-1]), "what is new comes last, for the sake of prompt caches"


@pytest.mark.parametrize(
    ("setting", "names"), [("off", set()), ("dislike", {"dislike_post"}), ("all", {"react_to_post"}), ("odd", set())]
)
def test_reactions_are_a_setting_of_the_world(setting: str, names: set[str]) -> None:
    assert world_extras(setting) == names
    plain, here = (
        offered(SITUATION, ranked=False, suggests=False, worlds=w) for w in (frozenset[str](), world_extras(setting))
    )
    assert set(here.by_name) - set(plain.by_name) == names


def test_they_cost_few_tokens() -> None:
    both = feed_actions(ranked=True, suggests=True).tools.decode()
    assert tokens(both) - tokens(feed_actions().tools.decode()) <= 60


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_every_action_that_can_be_offered_is_documented(name: str) -> None:
    assert f"`{name}`" in REFERENCE


async def play(database: Database, seed: int, terms: dict[str, Any] | None = None, **settings: Any) -> int:
    chosen = load_settings(**settings)
    async with a_mind(database) as mind:
        run_id = await open_cycle(mind, chosen, seed=seed, terms=terms or {})
        assert run_id is not None
        await play_cycle(mind, chosen, run_id)
    return run_id


async def rankers(database: Database, run_id: int) -> set[tuple[int, str]]:
    """Who viewed a feed of its own in a run, and by which ranker."""
    rows = await database.fetch(
        "SELECT DISTINCT t.persona_id, e.ranker FROM exposures e JOIN turns t ON t.id = e.turn_id"
        " JOIN actions a ON a.turn_id = t.id AND a.step = e.step - 1 AND a.name = 'view_feed'"
        " WHERE t.run_id = $1 AND e.kind = 'post' AND e.reasons <> '{}'",
        run_id,
    )
    return {(row["persona_id"], row["ranker"]) for row in rows}


async def test_a_persona_comes_before_its_run_and_a_run_before_the_setting(database: Database) -> None:
    await people(database, 16)
    await database.fetch("""UPDATE personas SET profile = '{"ranker": "top"}' WHERE id <= 6""")
    first = await play(database, 1)
    assert {ranker for _, ranker in await rankers(database, first)} <= {"top"}  # without any other choice
    by_setting = await rankers(database, await play(database, 2, feed_ranker="hot"))
    by_run = await rankers(database, await play(database, 3, {"ranker": "mixed:latest=1,top=1"}, feed_ranker="hot"))
    for found, expected in ((by_setting, "hot"), (by_run, "mixed")):
        assert {ranker for one, ranker in found if one <= 6} == {"top"}
        assert {ranker for one, ranker in found if one > 6} == {expected}
    kept = [
        row["ranker"]
        for row in await database.fetch(
            "SELECT settings ->> 'ranker' AS ranker FROM runs WHERE venue = 'feed' ORDER BY id"
        )
    ]
    assert kept == [None, "hot", "mixed:latest=1,top=1"]


async def test_what_was_shown_is_kept_and_read_back(database: Database) -> None:
    await people(database, 12)
    await play(database, 1)
    run_id = await play(database, 2, {"ranker": "mixed", "who_to_follow": "preferential"})
    rows = await database.fetch("SELECT * FROM exposures WHERE ranker = 'mixed'")
    assert rows
    for row in rows:
        assert len(row["items"]) == len(row["scores"]) == len(row["reasons"]) == len(row["chances"])
        assert all(0 < chance <= 1 for chance in row["chances"])
        assert {reason.partition(":")[0] for reason in row["reasons"]} <= {"following", "interest", "random"}
    one = rows[0]
    persona = await database.fetchval("SELECT persona_id FROM turns WHERE id = $1", one["turn_id"])
    found = await exposures.of_persona(database, persona, post_id=one["items"][1], limit=100)
    assert found is not None
    (told,) = [
        row
        for row in found.rows
        if (row["turn_id"], row["step"], row["ranker"]) == (one["turn_id"], one["step"], "mixed")
    ]
    assert (told["rank"], told["item"], told["reason"]) == (2, one["items"][1], one["reasons"][1])
    assert (told["score"], told["chance"], told["version"]) == (one["scores"][1], one["chances"][1], 1)
    shown = {(row["kind"], row["ranker"]): row for row in await exposures.of_runs(database, run_id, run_id)}
    assert shown["post", "mixed"]["impressions"] == sum(len(row["items"]) for row in rows)


async def test_what_nobody_knows_is_refused_before_anything_starts(database: Database) -> None:
    for terms in (
        {"ranker": "best"},
        {"ranker": ["hot"]},
        {"ranker": "hot:pool=0"},
        {"who_to_follow": "x"},
        {"ranker": ""},
    ):
        with pytest.raises(Invalid, match=r"there is no|pool must be"):
            await play(database, 1, terms)
    with pytest.raises(Misconfigured, match="FEED_RANKER: there is no ranker 'best'"):
        await play(database, 1, feed_ranker="best")
    assert await database.fetchval("SELECT count(*) FROM runs") == 0


async def test_the_same_seed_shows_the_same(database: Database) -> None:
    world = await any_world(database, 2)
    one, same, other = [await look(context(world.database, "random", seed=seed)) for seed in (1, 1, 2)]
    assert one == same != other


async def test_gini_and_shares(database: Database) -> None:
    """Post 1 is shown thrice, post 2 once: 2 (1·1 + 2·3) / (2·4) - 3 / 2 = 0.25."""
    world = await Place.of(database, 3)
    posts = [await world.post(3), await world.post(2)]
    for persona, leaning in ((1, "left"), (2, "right"), (3, "left")):
        await database.fetch(
            "UPDATE personas SET profile = json_build_object('leaning', $2::text) WHERE id = $1", persona, leaning
        )
    await database.fetch("INSERT INTO runs (venue, slot, seed) VALUES ('feed', 's', 1)")
    for n, (persona, shown) in enumerate(((1, posts), (2, posts[:1]), (1, posts[:1]))):
        await database.fetch(
            "INSERT INTO turns (run_id, persona_id, ordinal, round) VALUES (1, $1, $2, $2)", persona, n
        )
        await database.fetch(
            "INSERT INTO calls (turn_id, step, status, model, model_returned, options, told, tools_sha256,"
            " request_sha256, reply, response) VALUES ($1, 0, 'ok', 'm', 'm', '', '', '', '', '', '')", n + 1,
        )  # fmt: skip
        await database.fetch(
            "INSERT INTO exposures (turn_id, step, ordinal, kind, ranker, items) VALUES ($1, 0, 0, 'post', 'hot', $2)",
            n + 1, shown,
        )  # fmt: skip
    (row,) = await exposures.of_runs(database, 1, 1)
    assert (row["impressions"], row["items"], row["viewers"]) == (4, 2, 2)
    assert (row["top_share"], row["gini"], row["cross_leaning"]) == pytest.approx((0.75, 0.25, 0.5))
    assert Ranking("hot").version == 1
