"""A model that does everything there is to do, at random; the same for the same request's seed."""

import asyncio
import random
from typing import Any

from app.llm.model import Completion, Request
from tests.agent.test_turn import Call, says

POSTS, PEOPLE = 16, 12
FEELINGS = ("dislike", "love", "laugh", "sad", "angry")


class Mischief:
    """Does up to four random things a step, among the first posts and people of a world; answers out of order."""

    def __init__(self, longest: float = 0.0, *, posts: int = POSTS, people: int = PEOPLE) -> None:
        self.asked = 0
        self._longest = longest
        self._posts = posts
        self._comments = max(2, posts // 5)
        self._people = people

    async def complete(self, request: Request) -> Completion:
        self.asked += 1
        chance = random.Random(request.seed)
        await asyncio.sleep(random.random() * self._longest)
        if chance.random() < 0.15:
            return says(("end_turn", {}, f"{request.seed}-e"))
        return says(*(self._deed(chance, f"{request.seed}-{n}") for n in range(chance.randint(1, 4))))

    def _deed(self, chance: random.Random, call_id: str) -> Call:
        post, person = {"post_id": chance.randint(1, self._posts)}, {"user_id": chance.randint(1, self._people)}
        comment = {"comment_id": chance.randint(1, self._comments)}
        words = f"words {chance.randrange(10**9)}"
        deeds: list[tuple[str, dict[str, Any]]] = [
            ("create_post", {"body": words}),
            ("create_post", {"body": words}),
            ("comment_on_post", {**post, "body": words}),
            ("like_post", post),
            ("like_post", post),
            ("unlike_post", post),
            ("unlike_post", post),
            ("repost", post),
            ("quote_post", {**post, "body": words}),
            ("reply_to_comment", {**comment, "body": words}),
            ("like_comment", comment),
            ("like_comment", comment),
            ("unlike_comment", comment),
            ("unlike_comment", comment),
            ("react_to_post", {**post, "reaction": chance.choice(FEELINGS)}),
            ("react_to_post", {**post, "reaction": "dislike"}),
            ("follow_user", person),
            ("unfollow_user", person),
            ("report_post", {**post, "reason": words}),
            ("update_bio", {"bio": words}),
            ("view_most_recent_posts", {}),
            ("view_most_popular_posts", {}),
            ("search_posts", {"query": "words"}),
        ]
        if chance.random() < 0.03:
            return (chance.choice(("mute_user", "block_user")), person, call_id)
        return (*chance.choice(deeds), call_id)
