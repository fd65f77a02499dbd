"""The queue of reports and the cascade of a post: closed once, hidden and lifted as a whole, nothing else touched."""

import pytest

from app.db.engine import Database
from app.errors import Conflict, NotFound
from app.world import moderation
from app.world.effects import NewPost, Quote, Reply, ReportPost, Repost
from app.world.moderation import By, Changed, Closed, Hideable, Verdict
from tests.world.test_moderation import OPERATOR, World


async def close(database: Database, post: int, verdict: Verdict) -> Closed:
    async with database.connection() as connection, connection.transaction():
        return await moderation.close_reports(connection, post, verdict, by=OPERATOR, reason="r")


async def take(database: Database, number: int, *, kind: Hideable = "post", cascade: bool = True) -> Changed:
    async with database.connection() as connection, connection.transaction():
        return await moderation.quarantine(
            connection, number, by=By("operator"), reason="r", kind=kind, cascade=cascade
        )


async def lift(database: Database, number: int, kind: Hideable = "post") -> Changed:
    async with database.connection() as connection, connection.transaction():
        return await moderation.lift(connection, number, by=By("operator"), reason="r", kind=kind)


async def a_cascade(world: World) -> tuple[int, int, int, int, int]:
    """A post, a repost of it, a quote of it, a quote of that, and a copy; beside one that has nothing to do with it."""
    seed = await world.writes(1)
    _, shared = await world.does(2, Repost(seed))
    _, quote = await world.does(3, Quote(seed, body="Look at this"))
    _, further = await world.does(4, Quote(quote, body="And at that"))
    copy = await world.copies(5, seed)
    await world.does(5, NewPost(body="The weather is fine"))
    await world.look_into("mark")
    return seed, shared, quote, further, copy


async def test_a_cascade_is_hidden_and_lifted_as_a_whole(database: Database) -> None:
    world = await World.of(database, 5)
    whole = await a_cascade(world)
    seed, shared, _, _, copy = whole
    assert await take(database, seed, cascade=False) == Changed(3, 0)
    assert await world.hidden() == {seed, shared, copy}
    assert await take(database, seed) == Changed(2, 0)
    assert await world.hidden() == set(whole)
    assert await take(database, seed) == Changed(0, 0)
    await world.is_sound()
    assert await lift(database, seed) == Changed(5, 0)
    assert await world.hidden() == set()
    await world.is_sound()


async def test_what_was_hidden_before_stays_hidden(database: Database) -> None:
    world = await World.of(database, 5)
    seed, _, quote, further, _ = await a_cascade(world)
    await take(database, quote)
    await take(database, seed)
    await lift(database, seed)
    assert await world.hidden() == {quote, further}
    await world.is_sound()


async def test_a_comment_is_hidden_with_its_answers(database: Database) -> None:
    world = await World.of(database, 3)
    post = await world.writes(1)
    comment = await world.writes(2, "first", on=post)
    _, answer = await world.does(3, Reply(comment, body="second"))
    other = await world.writes(3, "other", on=post)
    assert await take(database, comment, kind="comment", cascade=False) == Changed(0, 1)
    assert await world.hidden("comments") == {comment}
    assert await take(database, comment, kind="comment") == Changed(0, 1)
    assert await world.hidden("comments") == {comment, answer}
    assert await lift(database, comment, "comment") == Changed(0, 2)
    assert await world.hidden("comments") == set()
    assert other not in {comment, answer}
    with pytest.raises(NotFound, match="no comment has the id 99"):
        await take(database, 99, kind="comment")
    await world.is_sound()


async def test_reports_are_listed_by_post_and_closed_once(database: Database) -> None:
    world = await World.of(database, 4)
    first, second = await world.writes(1), await world.writes(2, "another text, and quite another at that")
    for persona, post in ((2, first), (3, first), (1, second)):
        await world.does(persona, ReportPost(post, body=f"by {persona}"))
    rows = await moderation.open_reports(database, 10)
    assert [(row["post_id"], row["reports"]) for row in rows] == [(second, 1), (first, 2)]
    assert rows[1]["reasons"] == '["by 3", "by 2"]'
    (older,) = await moderation.open_reports(database, 10, before=rows[0]["last_id"])
    assert older["post_id"] == first
    assert await close(database, first, "hidden") == Closed(2, Changed(1, 0))
    assert await close(database, first, "hidden") == Closed(0, Changed(0, 0))
    assert await world.hidden() == {first}
    with pytest.raises(Conflict, match="closed before: hidden"):
        await close(database, first, "dismissed")
    assert await close(database, second, "dismissed") == Closed(1, Changed(0, 0))
    assert await moderation.open_reports(database, 10) == []
    assert await world.hidden() == {first}
    for missing in (await world.writes(4, "a text that nobody has reported so far"), 99):
        with pytest.raises(NotFound):
            await close(database, missing, "dismissed")


async def test_a_new_report_opens_the_post_again(database: Database) -> None:
    world = await World.of(database, 3)
    post = await world.writes(1)
    await world.does(2, ReportPost(post, body="first"))
    await close(database, post, "dismissed")
    await world.does(3, ReportPost(post, body="second"))
    (row,) = await moderation.open_reports(database, 10)
    assert (row["reports"], row["reasons"]) == (1, '["second"]')
    assert await close(database, post, "hidden") == Closed(1, Changed(1, 0))
