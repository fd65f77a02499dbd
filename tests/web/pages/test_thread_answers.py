"""A thread's page and the API with quotes, answers to comments, likes of them and reactions."""

from html import escape

import httpx2
import pytest

from app.db.engine import Database
from app.web.pages.thread import nested
from app.world.effects import LikeComment, NewComment, NewPost, Quote, React, Reply
from tests.ledger.test_commit import turns_for
from tests.ledger.test_social_commit import Steps

PAGE = {"Accept": "text/html"}
XSS = '<script>alert("x")</script>'


@pytest.fixture
async def talk(database: Database) -> dict[str, int]:
    """A post with a comment, an answer to it and one to that, a quote, a like of a comment and a dislike."""
    await turns_for(database, 3)
    do = Steps(database)
    found = {}
    await do(1, NewPost(body=f"a post {XSS}"))
    found["post"] = do.made
    await do(2, NewComment(found["post"], body="a comment"))
    found["comment"] = do.made
    await do(3, Reply(found["comment"], body=f"an answer {XSS}"), LikeComment(found["comment"]))
    found["reply"] = do.made
    await do(2, Reply(found["reply"], body="an answer to it"))
    found["second"] = do.made
    await do(3, Quote(found["post"], body=f"a quote {XSS}"), React(found["post"], body="dislike"))
    found["quote"] = do.made
    return found


async def test_the_thread_nests_one_level(client: httpx2.AsyncClient, talk: dict[str, int]) -> None:
    page = (await client.get(f"/post/{talk['post']}", headers=PAGE)).text
    assert page.count('class="replies"') == 1
    inside = page.partition('class="replies"')[2]
    assert inside.index(f"comment-{talk['reply']}") < inside.index(f"comment-{talk['second']}")
    assert f'answers <a href="#comment-{talk["reply"]}">@p3</a>' in page
    assert page.count('class="answers"') == 1, "an answer to the comment right above says nothing"
    assert "1 like" in page.partition('class="comment-likes"')[2][:400]
    assert "1 dislikes it" in page
    assert "Quoted by" in page
    assert f'href="/post/{talk["quote"]}"' in page
    assert XSS not in page
    assert escape(XSS, quote=False) in page or "&lt;script&gt;" in page


async def test_a_quote_shows_what_it_quotes_until_that_is_hidden(
    client: httpx2.AsyncClient, database: Database, talk: dict[str, int]
) -> None:
    for address in (f"/post/{talk['quote']}", "/", "/@p3"):
        page = (await client.get(address, headers=PAGE)).text
        assert 'class="quoted"' in page, address
        assert XSS not in page
    await database.fetchval("UPDATE posts SET hidden = true WHERE id = $1", talk["post"])
    page = (await client.get(f"/post/{talk['quote']}", headers=PAGE)).text
    assert 'class="quoted"' not in page
    assert (await client.get(f"/post/{talk['quote']}")).json()["quote"] is None


async def test_the_api_tells_it(client: httpx2.AsyncClient, talk: dict[str, int]) -> None:
    post = (await client.get(f"/post/{talk['post']}")).json()
    assert (post["quotes_count"], post["dislikes_count"], post["quote"]) == (1, 1, None)
    assert [(c["id"], c["parent_id"], c["likes_count"]) for c in post["comments"]] == [
        (talk["second"], talk["reply"], 0),
        (talk["reply"], talk["comment"], 0),
        (talk["comment"], None, 1),
    ]
    quote = next(one for one in (await client.get("/feed")).json()["data"] if one["id"] == talk["quote"])
    assert quote["quote"] == {
        "id": talk["post"],
        "title": None,
        "body": f"a post {XSS}",
        "author_id": 1,
        "author_username": "p1",
    }


def test_an_answer_whose_first_comment_is_elsewhere_stands_alone() -> None:
    rows = [
        {"id": 5, "parent_id": 2},
        {"id": 6, "parent_id": 5},
        {"id": 7, "parent_id": 6},
        {"id": 8, "parent_id": None},
    ]
    found = [(one["id"], [reply["id"] for reply in replies]) for one, replies in nested(rows)]
    assert found == [(5, [6, 7]), (8, [])]
