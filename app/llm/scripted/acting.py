"""From a scene and a plan to the calls of one answer."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from app.llm.scripted import answering
from app.llm.scripted.answering import STANDS_FOR, Bent
from app.llm.scripted.informing import about_news, looks
from app.llm.scripted.plan import Plan
from app.llm.scripted.reading import Call, Post, Remark, Scene
from app.llm.scripted.remembering import FORCE, grudges, spoken
from app.llm.scripted.topics import quotes
from app.llm.scripted.voice import Voice
from app.world.text import COMMENT_MAX

_WRITES = frozenset(
    [
        "create_post",
        "comment_on_post",
        "like_post",
        "unlike_post",
        "repost",
        "follow_user",
        "unfollow_user",
        "mute_user",
        "report_post",
        "update_bio",
        *STANDS_FOR,
    ]
)
_NO_ARGUMENTS = frozenset(
    [
        "view_most_recent_posts",
        "view_most_popular_posts",
        "view_most_commented_posts",
        "view_follows_recent_actions",
        "view_feed",
        "suggest_follows",
    ]
)
_RATHER = {"view_most_recent_posts": "view_feed", "search_users": "suggest_follows"}
"""What is looked at instead, where it is offered."""

_ANSWERS_MOST = 8
"""Answers after which a turn ends whatever was planned."""


@dataclass
class Actor:
    """One persona about to answer."""

    scene: Scene
    plan: Plan
    voice: Voice
    chance: random.Random
    bent: Bent = field(default_factory=Bent)
    done: list[Call] = field(default_factory=list)

    def calls(self) -> list[Call]:
        """The next calls; none when there is nothing left to do."""
        room = self.scene.cap - len(self.scene.made)
        if room < 1 or self.scene.replies >= _ANSWERS_MOST:
            return []
        self.done = list(self.scene.made)
        looks = self._looks() if room > 2 else []
        return (looks or self._acts(min(self.plan.stride, max(room - 1, 1))))[:room]

    def _looks(self) -> list[Call]:
        if self.scene.replies == 0:
            planned = [call for name in self.plan.looks if (call := self._look(self._rather(name)))]
            return [*looks(self.scene, self.chance), *planned]
        if self.scene.replies == 1 and not any(call.name in _WRITES for call in self.scene.made):
            return [call for call in [self._deeper()] if call]
        return []

    def _rather(self, name: str) -> str:
        other = _RATHER.get(name, name)
        return other if other in self.scene.offered else name

    def _look(self, name: str) -> Call | None:
        if name not in self.scene.offered:
            return None
        if name in _NO_ARGUMENTS:
            return Call(name, {})
        return Call(name, {"query": self.voice.search(self.scene.written + self.scene.commented)})

    def _deeper(self) -> Call | None:
        name = self.plan.deepen
        if name not in self.scene.offered:
            return None
        if own := answering.look_at_own(self):
            return own
        posts = self.others() if name == "find_post_author" else [p for p in self.others() if p.comments]
        return Call(name, {"post_id": self.best(posts).id}) if posts else None

    def _acts(self, room: int) -> list[Call]:
        calls: list[Call] = []
        for name in self.left():
            call = self._act(name)
            if call and len(calls) < room:
                calls.append(call)
                self.done.append(call)
        return calls

    def left(self) -> list[str]:
        """The acts of the plan that were not tried yet; a lonely persona posts."""
        wanted = list(self.plan.acts) if self.others() else ["create_post"]
        for call in self.scene.made:
            if meant := next((name for name in STANDS_FOR.get(call.name, (call.name,)) if name in wanted), None):
                wanted.remove(meant)
        if self.bent.cross and self.scene.memories and not self.times("block_user"):
            wanted.append("block_user")
        return [name for name in wanted if name in self.scene.offered]

    def _act(self, name: str) -> Call | None:
        makers: dict[str, Callable[[], dict[str, object] | None]] = {
            "create_post": self._create,
            "comment_on_post": self._comment,
            "like_post": self._like,
            "unlike_post": self._unlike,
            "repost": self._repost,
            "follow_user": self._follow,
            "unfollow_user": self._unfollow,
            "mute_user": self._mute,
            "report_post": self._report,
            "update_bio": self._bio,
            "quote_post": lambda: answering.quote(self),
            "reply_to_comment": lambda: answering.reply(self),
            "like_comment": lambda: answering.like_comment(self),
            "unlike_comment": lambda: answering.unlike_comment(self),
            "react_to_post": lambda: answering.react(self),
            "dislike_post": lambda: answering.dislike(self),
            "block_user": lambda: answering.block(self),
        }
        rather = [other for other in self.bent.instead.get(name, ()) if other in self.scene.offered]
        for chosen in [*rather, name]:
            if chosen in makers and (arguments := makers[chosen]()):
                return Call(chosen, arguments)
        return None

    def _create(self) -> dict[str, object]:
        posts = self.others()
        quotable = [post for post in posts if quotes(post.text)]
        about = self.best(quotable) if quotable else None
        index = self.scene.written + self.times("create_post")
        if self.scene.news and (told := about_news(self.scene, self.voice, index, self.chance, self.heard())):
            return told
        return self.voice.post(index, about, self.heard())

    def _comment(self) -> dict[str, object] | None:
        me = self.scene.persona.username
        answered = {remark.post_id for remark in self.scene.remarks if remark.by == me}
        known = self.scene.lately_did("commented") | self.touched("comment_on_post") | answered
        posts = [post for post in self.others() if post.id not in known]
        remark = None if "reply_to_comment" in self.scene.offered else self._remark(known)
        target = remark or (self.best(posts) if posts else None)
        if not target:
            return None
        post_id = target.post_id if isinstance(target, Remark) else target.id
        index = self.scene.commented + self.times("comment_on_post") + self.times("reply_to_comment")
        body = self.voice.comment(target, self.tone(target.by), index, self.heard())
        return {"post_id": post_id, "body": self.with_grudge(target.by, body)}

    def with_grudge(self, by: str, body: str) -> str:
        """Now and then a persona comes back to a quarrel that it remembers."""
        grudge = grudges(self.scene.memories).get(by) if self.scene.memories else None
        if grudge is None or self.chance.random() >= FORCE:
            return body
        return f"{body} {spoken(grudge, self.chance)}" if len(body) < COMMENT_MAX - 200 else body

    def _remark(self, known: set[int]) -> Remark | None:
        """Now and then what others wrote under a post is the better thing to answer."""
        me = self.scene.persona.username
        own = {post.id for post in self.scene.posts.values() if post.by == me}
        open_ones = [r for r in self.scene.remarks if r.by != me and r.post_id not in known | own]
        return self.chance.choice(open_ones[-4:]) if open_ones and self.chance.random() < 0.7 else None

    def tone(self, by: str) -> str:
        """In which tone it answers somebody."""
        bank, mood = self.voice.bank, self.plan.mood
        swing = {"sunny": 0.2, "irritable": -0.25, "weary": -0.05, "expansive": 0.05}[mood]
        base = 0.85 if by in bank.allies else 0.1 if by in bank.foils else 0.45
        roll = self.chance.random()
        return "agree" if roll < base + swing else "needle" if roll < base + swing + 0.4 else "muse"

    def _like(self) -> dict[str, object] | None:
        known = self.scene.lately_did("liked") | self.touched("like_post")
        least = -0.6 if self.plan.mood == "sunny" else 0.0
        posts = [p for p in self.others() if p.id not in known and self.voice.warmth(p) >= least]
        return {"post_id": max(posts, key=self._liking).id} if posts else None

    def _unlike(self) -> dict[str, object] | None:
        liked = sorted(self.scene.lately_did("liked") - self.touched("unlike_post"))
        return {"post_id": liked[0]} if liked else None

    def _repost(self) -> dict[str, object] | None:
        posts = [post for post in self.others() if self.voice.warmth(post) > 0]
        return {"post_id": max(posts, key=self._liking).id} if posts else None

    def _follow(self) -> dict[str, object] | None:
        """Only whom it is known not to follow, or anybody as long as it follows next to nobody."""
        unfollowed = [by for by, follows in self.scene.followed.items() if not follows]
        fresh = sorted({p.by for p in self.others() if p.by not in self.scene.followed} | set(unfollowed))
        people = unfollowed if unfollowed else fresh if self.scene.follows < 2 else []
        return self.person([by for by in people if by not in self.voice.bank.foils], "follow_user")

    def _unfollow(self) -> dict[str, object] | None:
        followed = [by for by, follows in self.scene.followed.items() if follows]
        return self.person([by for by in followed if by in self.voice.bank.foils], "unfollow_user")

    def _mute(self) -> dict[str, object] | None:
        return self.person([post.by for post in self.others() if post.by in self.voice.bank.foils], "mute_user")

    def person(self, people: list[str], act: str) -> dict[str, object] | None:
        """One of these people, whom it did not do so to yet."""
        me, lately = self.scene.persona.username, self.scene.lately
        taken = {call.arguments.get("user_id") for call in self.done if call.name == act}
        ids = [self.scene.ids.get(by, 0) for by in people if by != me and f"@{by}" not in lately]
        free = [number for number in dict.fromkeys(ids) if number and number not in taken]
        return {"user_id": self.chance.choice(free)} if free else None

    def _report(self) -> dict[str, object] | None:
        posts = [post for post in self.others() if self.voice.warmth(post) < -0.4]
        if not posts:
            return None
        return {"post_id": self.chance.choice(posts).id, "reason": self.voice.reason(self.scene.written)}

    def _bio(self) -> dict[str, object] | None:
        text = self.voice.bio(self.scene.written + self.scene.commented)
        return {"bio": text} if text else None

    def others(self) -> list[Post]:
        """What others wrote, of the posts in sight."""
        return [post for post in self.scene.posts.values() if post.by != self.scene.persona.username and post.text]

    def best(self, posts: list[Post]) -> Post:
        """The post that the persona has most to say about, with some luck."""
        tie = {post.id: self.chance.random() * 2.5 for post in posts}
        bank = self.voice.bank
        newer = {post.id: place for place, post in enumerate(sorted(posts, key=lambda post: -post.id))}

        def pull(post: Post) -> float:
            crowd = 0.4 * min(post.comments, 10)
            return (
                tie[post.id]
                + self.voice.has_view(post)
                + 0.8 * (post.by in bank.allies | bank.foils)
                - crowd
                - 0.2 * newer[post.id]
            )

        return max(posts, key=pull)

    def _liking(self, post: Post) -> float:
        return self.voice.warmth(post) + self.chance.random()

    def times(self, name: str) -> int:
        """How often it did so in this turn."""
        return sum(call.name == name for call in self.done)

    def touched(self, name: str, what: str = "post_id") -> set[int]:
        """What it did so to in this turn."""
        ids = [call.arguments.get(what) for call in self.done if call.name == name]
        return {number for number in ids if isinstance(number, int)}

    def heard(self) -> str:
        """What was said in sight, so as not to say it again."""
        told = [str(call.arguments.get("body", "")) for call in self.done]
        seen = [post.text for post in self.scene.posts.values()] + [remark.text for remark in self.scene.remarks]
        return "\n".join([*told, *seen, self.scene.lately])
