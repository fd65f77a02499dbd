"""A turn: what to look at, what to do about it, and when to stop."""

import random
from dataclasses import dataclass

_LOOKS: tuple[tuple[int, tuple[str, ...]], ...] = (
    (44, ("view_most_recent_posts",)),
    (10, ("view_most_recent_posts", "view_most_popular_posts")),
    (10, ("view_most_popular_posts",)),
    (10, ("view_most_commented_posts",)),
    (9, ("view_follows_recent_actions", "view_most_recent_posts")),
    (7, ("search_posts", "view_most_recent_posts")),
    (6, ("view_most_recent_posts", "view_most_commented_posts")),
    (4, ("search_users", "view_most_recent_posts")),
)
_MOODS = ("sunny", "irritable", "weary", "expansive")
_CHANCES: tuple[tuple[str, float], ...] = (
    ("create_post", 0.68),
    ("comment_on_post", 0.7),
    ("like_post", 0.55),
    ("comment_on_post", 0.17),
    ("repost", 0.05),
    ("unlike_post", 0.01),
    ("unfollow_user", 0.02),
    ("mute_user", 0.012),
    ("report_post", 0.012),
    ("update_bio", 0.025),
    ("like_post", 0.2),
)
_MOST_ACTS = 4


@dataclass(frozen=True)
class Plan:
    """What a persona means to do in a turn, before it has seen anything."""

    mood: str
    looks: tuple[str, ...]
    deepen: str
    acts: tuple[str, ...]
    stride: int
    says_goodbye: bool
    ends_at_once: bool


def plan(chance: random.Random, follows: int) -> Plan:
    mood = chance.choice(_MOODS)
    looks = chance.choices([names for _, names in _LOOKS], [weight for weight, _ in _LOOKS])[0]
    deepen = chance.choices(("view_comments_on_post", "find_post_author", ""), (38, 26 if follows < 6 else 10, 36))[0]
    return Plan(
        mood=mood,
        looks=looks,
        deepen=deepen,
        acts=_acts(chance, follows, deepen),
        stride=chance.choice((1, 1, 2, 4)),
        says_goodbye=chance.random() < 0.15,
        ends_at_once=chance.random() < 0.25,
    )


def _acts(chance: random.Random, follows: int, deepen: str) -> tuple[str, ...]:
    wanted = [name for name, probability in _CHANCES if chance.random() < probability]
    eager = 0.8 if deepen == "find_post_author" else 0.45 if follows < 2 else 0.0
    if chance.random() < eager:
        wanted.append("follow_user")
    wanted = wanted[:_MOST_ACTS]
    chance.shuffle(wanted)
    return tuple(wanted) or ("create_post",)
