"""The offline model: what it may call, that it never repeats itself, and that nothing in a feed can upset it."""

import importlib
import json
import math
import os
import re
import subprocess
import sys
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app.llm.model import Completion, Request, encode_message, encode_result
from app.llm.scripted import ScriptedModel
from app.llm.scripted.anybody import hated, loved
from app.llm.scripted.grammar import article, sentences, slots
from app.llm.scripted.reading import Persona
from app.llm.scripted.topics import topics
from app.llm.scripted.voices import bank, load, starters
from app.world.personas import PersonaSpec
from app.world.text import BIO_MAX, COMMENT_MAX, POST_MAX, TITLE_MAX

ROOT = Path(__file__).parents[2]
PERSONAS = [PersonaSpec.model_validate(row) for row in json.loads((ROOT / "sql/seed/personas.json").read_text())]
RULES = "You are a member of Sim-Feed, a social network; who you are stands below. Act only by calling functions."
READS = (
    "view_most_recent_posts",
    "view_most_popular_posts",
    "view_most_commented_posts",
    "view_follows_recent_actions",
)
ARGUMENTS: dict[str, dict[str, type]] = {
    **{name: {} for name in READS},
    "end_turn": {},
    **{
        name: {"post_id": int}
        for name in ("view_comments_on_post", "find_post_author", "like_post", "unlike_post", "repost")
    },
    **{name: {"user_id": int} for name in ("follow_user", "unfollow_user", "mute_user")},
    **{name: {"query": str} for name in ("search_posts", "search_users")},
    "create_post": {"body": str, "title": str},
    "comment_on_post": {"post_id": int, "body": str},
    "report_post": {"post_id": int, "reason": str},
    "update_bio": {"bio": str},
}
LIMITS = {"body": COMMENT_MAX, "title": TITLE_MAX, "bio": BIO_MAX, "reason": 1_000, "query": 100}
TOOLS = json.dumps([{"type": "function", "function": {"name": name, "parameters": {}}} for name in ARGUMENTS]).encode()
RESIDUE = re.compile(r"[{}|]|\s{2,}| [,.;:!?]|\ba [aeio]|\.\.|,,|“”|[?!.]”?[,;]", re.I)


def persona_text(spec: PersonaSpec) -> str:
    head = f"You are @{spec.username}" + (f" ({spec.display_name})" if spec.display_name else "")
    facts = [
        ("Traits", ", ".join(spec.traits)),
        ("Goals", "; ".join(spec.goals)),
        ("Style", spec.style),
        ("Interests", ", ".join(spec.interests)),
        ("Leaning", spec.leaning),
    ]
    line = " ".join(f"{name}: {value}." for name, value in facts if value)
    bio = [f"Bio: {spec.bio}"] if spec.bio else []
    return "\n".join([head + (f", {spec.role}" if spec.role else "") + ".", spec.description, *bio, line]).strip()


@dataclass
class World:
    """A network in memory that checks every argument it is given."""

    people: list[PersonaSpec]
    posts: list[dict[str, Any]] = field(default_factory=list)
    comments: list[dict[str, Any]] = field(default_factory=list)
    likes: set[tuple[int, int]] = field(default_factory=set)
    follows: set[tuple[int, int]] = field(default_factory=set)
    lately: dict[int, list[str]] = field(default_factory=dict)
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    actions: list[int] = field(default_factory=list)

    def situation(self, me: int, cycle: int) -> str:
        mine = sum(post["by_id"] == me for post in self.posts)
        said = sum(comment["by_id"] == me for comment in self.comments)
        lately = "; ".join(self.lately.get(me, [])[-6:])
        following = sum(a == me for a, _ in self.follows)
        return (
            f"It is Saturday 21 November 2026, {cycle % 24:02}:12 UTC. So far you wrote {mine} posts and {said} "
            f"comments; {sum(b == me for _, b in self.follows)} follow you, you follow {following}.\n"
            + (f"Lately you: {lately}.\n" if lately else "")
            + "Quote marks now: ⟦k7f3⟧\nYour turn: at most 10 actions."
        )

    def act(self, me: int, name: str, given: dict[str, Any]) -> Any:
        expected = ARGUMENTS[name]
        assert set(given) <= set(expected)
        assert set(expected) - {"title"} <= set(given)
        for key, value in given.items():
            assert type(value) is expected[key], (name, given)
            if isinstance(value, str):
                assert 0 < len(value.strip()) <= (POST_MAX if name == "create_post" and key == "body" else LIMITS[key])
        if "post_id" in given:
            assert 1 <= given["post_id"] <= len(self.posts)
        if "user_id" in given:
            assert 1 <= given["user_id"] <= len(self.people)
            assert given["user_id"] != me
        self.counts.setdefault(self.people[me - 1].username, Counter())[name] += 1
        return getattr(self, name, self.other)(me, **given)

    def other(self, me: int, **given: Any) -> Any:
        return {"ok": True}

    def listing(self, posts: list[dict[str, Any]]) -> dict[str, Any]:
        count = Counter(comment["post_id"] for comment in self.comments)
        return {"posts": [{**post, "ago": "3m", "comments": count[post["id"]]} for post in posts]}

    def view_most_recent_posts(self, me: int) -> Any:
        return self.listing(self.posts[:-13:-1])

    def view_most_popular_posts(self, me: int) -> Any:
        fans = Counter(post for _, post in self.likes)
        return self.listing(sorted(self.posts, key=lambda post: -fans[post["id"]])[:8])

    def view_most_commented_posts(self, me: int) -> Any:
        count = Counter(comment["post_id"] for comment in self.comments)
        return self.listing(sorted(self.posts, key=lambda post: -count[post["id"]])[:8])

    def view_follows_recent_actions(self, me: int) -> Any:
        mine = [post for post in self.posts[-20:] if (me, post["by_id"]) in self.follows]
        return {"actions": [{**post, "did": "post", "post_id": post["id"], "ago": "2m"} for post in mine]}

    def view_comments_on_post(self, me: int, post_id: int) -> Any:
        return {"post_id": post_id, "comments": [c for c in self.comments if c["post_id"] == post_id][-8:]}

    def find_post_author(self, me: int, post_id: int) -> Any:
        post = self.posts[post_id - 1]
        known = (me, post["by_id"]) in self.follows
        return {"post_id": post_id, "by": post["by"], "by_id": post["by_id"], "bio": "", "you_follow": known}

    def search_posts(self, me: int, query: str) -> Any:
        return self.listing([post for post in self.posts if query.lower() in post["text"].lower()][-5:])

    def search_users(self, me: int, query: str) -> Any:
        return {"users": [{"id": 1, "by": f"@{self.people[0].username}", "bio": "x", "followers": 2}]}

    def create_post(self, me: int, body: str, title: str = "") -> Any:
        number = len(self.posts) + 1
        by = f"@{self.people[me - 1].username}"
        extra = {"title": title} if title else {}
        self.posts.append({"id": number, "by": by, "by_id": me, "likes": 0, **extra, "text": body})
        self.lately.setdefault(me, []).append(f"posted #{number} “{body[:40]}”")
        return {"ok": True, "post_id": number}

    def comment_on_post(self, me: int, post_id: int, body: str) -> Any:
        assert self.posts[post_id - 1]["by_id"] != me
        by = f"@{self.people[me - 1].username}"
        self.comments.append({"id": len(self.comments) + 1, "post_id": post_id, "by": by, "by_id": me, "text": body})
        self.lately.setdefault(me, []).append(f"commented on #{post_id} “{body[:40]}”")
        return {"ok": True}

    def like_post(self, me: int, post_id: int) -> Any:
        assert self.posts[post_id - 1]["by_id"] != me
        assert f"liked #{post_id}" not in "; ".join(self.lately.get(me, [])[-6:]).split("; ")
        if (me, post_id) in self.likes:
            return {"already": True}
        self.likes.add((me, post_id))
        self.lately.setdefault(me, []).append(f"liked #{post_id}")
        return {"ok": True}

    def follow_user(self, me: int, user_id: int) -> Any:
        assert f"followed @{self.people[user_id - 1].username}" not in self.lately.get(me, [])[-6:]
        self.follows.add((me, user_id))
        self.lately.setdefault(me, []).append(f"followed @{self.people[user_id - 1].username}")
        return {"ok": True}

    async def turn(self, model: ScriptedModel, me: int, cycle: int) -> None:
        opening = [
            encode_message("system", f"{RULES}\n\n{persona_text(self.people[me - 1])}"),
            encode_message("user", self.situation(me, cycle)),
        ]
        messages, made = opening, 0
        for _ in range(10):
            reply = await model.complete(Request("scripted", tuple(messages), TOOLS, seed=cycle * 100 + me))
            messages = [*messages, reply.message]
            for call in reply.calls:
                if call.name == "end_turn":
                    return self.actions.append(made)
                made += 1
                told = json.dumps(self.act(me, call.name, json.loads(call.arguments)), ensure_ascii=False)
                messages.append(encode_result(call.id, f"⟦k7f3⟧{told}⟦k7f3⟧" if call.name in READS else told))
            if not reply.calls:
                return self.actions.append(made)
        pytest.fail("a turn did not end")

    async def live(self, cycles: int, seed: int) -> "World":
        model = ScriptedModel(seed)
        for cycle in range(cycles):
            for me in range(1, len(self.people) + 1):
                await self.turn(model, me, cycle)
        return self

    def texts(self) -> list[str]:
        posts = [f"{post.get('title', '')}\n{post['text']}".strip() for post in self.posts]
        return posts + [comment["text"] for comment in self.comments]


def asking(content: str, situation: str = "", *results: str, **changes: Any) -> Request:
    messages = [encode_message("system", content), encode_message("user", situation)]
    messages += [encode_result("c1", result) for result in results]
    return Request("scripted", tuple(messages), **{"tools": TOOLS, "seed": 3, **changes})


@pytest.fixture(scope="module", params=range(6))
async def world(request: pytest.FixtureRequest) -> World:
    return await World(PERSONAS).live(20, request.param)


def test_the_twelve_fit_their_format() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tokenizer's package opens its data in a deprecated way
        count = importlib.import_module("bpe_openai").get_encoding("o200k_base").encode
    sizes = [len(count(persona_text(spec))) for spec in PERSONAS]
    assert len({spec.username for spec in PERSONAS}) == 12
    assert {spec.username for spec in PERSONAS} == starters()
    assert max(sizes) < 130
    assert sum(sizes) / 12 <= 110
    assert all(len(spec.description.split()) <= 45 and len(spec.bio.split()) <= 12 for spec in PERSONAS)


def test_every_slot_has_a_list() -> None:
    known = {"author", "q", "word", "me", "love", "hate"}
    for name in [*starters(), "anybody"]:
        data = load(name)
        lists = known | set(data["lists"]) | set(load("common")["lists"])
        lines = [line for value in data.values() for line in _strings(value)]
        assert all(slot.startswith("#") or slot in lists for line in lines for slot in slots(line)), name


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [line for part in value.values() for line in _strings(part)]
    return [line for line in value if isinstance(line, str)] if isinstance(value, list) else []


async def test_no_sentence_is_said_twice(world: World) -> None:
    said = Counter(sentence for text in world.texts() for sentence in sentences(text))
    assert [sentence for sentence, times in said.items() if times > 1] == []


async def test_texts_are_whole(world: World) -> None:
    assert [text for text in world.texts() if any(map(RESIDUE.search, text.split("\n")))] == []


async def test_turns_are_varied_and_short(world: World) -> None:
    total: Counter[str] = sum(world.counts.values(), Counter())
    shares = [count / total.total() for count in total.values()]
    assert -sum(share * math.log2(share) for share in shares) > 2.5
    assert 3 <= sum(world.actions) / len(world.actions) <= 6.5
    assert max(world.actions) <= 9
    for counts in world.counts.values():
        assert min(counts["create_post"], counts["comment_on_post"], counts["like_post"]) > 0


async def test_comments_answer_their_post(world: World) -> None:
    related = [_related(comment, world) for comment in world.comments]
    assert sum(related) >= 0.9 * len(related)


def _related(comment: dict[str, Any], world: World) -> bool:
    post = world.posts[comment["post_id"] - 1]
    before = [c for c in world.comments if c["post_id"] == post["id"] and c["id"] < comment["id"]]
    return any(_touches(comment["text"], source) for source in [post, *before])


def _touches(text: str, source: dict[str, Any]) -> bool:
    words = set(re.findall(r"\w{4,}", source["text"].lower()))
    themes = {topic for topic, _ in topics(source["text"])}
    shared = words & set(re.findall(r"\w{4,}", text.lower())) or themes & {topic for topic, _ in topics(text)}
    return source["by"] in text or bool(shared)


@pytest.mark.parametrize(
    ("told", "loves", "hates"),
    [
        ("Loves compilers, hates meetings, speaks in error messages.", ("compilers",), ("meetings",)),
        ("A baker who loves rye bread and hates noise; is 40.", ("rye bread",), ("noise",)),
        ("Likes: nothing.", (), ()),
    ],
)
def test_what_a_stranger_loves_ends_with_the_clause(told: str, loves: tuple[str, ...], hates: tuple[str, ...]) -> None:
    persona = Persona("x", description=told)
    assert (loved(persona), hated(persona)) == (loves, hates)


async def test_strangers_talk_of_what_they_love() -> None:
    people = [
        PersonaSpec(
            username=f"prof_{thing}",
            description=f"A grumpy professor who loves {thing} and hates meetings.",
            interests=[thing, f"the history of {thing}"],
        )
        for thing in (
            "compilers",
            "teapots",
            "bridges",
            "jazz",
            "moths",
            "fonts",
            "maps",
            "kites",
            "glue",
            "owls",
            "chess",
            "rust",
        )
    ]
    world = await World(people).live(20, 1)
    said = Counter(sentence for text in world.texts() for sentence in sentences(text))
    assert [sentence for sentence, times in said.items() if times > 1] == []
    own = [
        post
        for post in world.posts
        if post["by"].removeprefix("@prof_") in f"{post.get('title')} {post['text']}".lower()
    ]
    assert len(own) >= 0.9 * len(world.posts)


_PROGRAM = """
import asyncio, json
from app.llm.scripted import ScriptedModel
from app.llm.scripted.anybody import hated, loved
from tests.llm.test_scripted import PERSONAS, World
world = asyncio.run(World(PERSONAS).live(2, 4))
print(json.dumps([world.posts, world.comments, sorted(world.likes), sorted(world.follows)]))
"""


def test_every_process_says_the_same() -> None:
    runs = {
        subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "77")
    }
    assert len(runs) == 1
    assert len(runs.pop()) > 2_000


async def test_seeds_matter() -> None:
    request = asking(persona_text(PERSONAS[0]), "So far you wrote 5 posts and 2 comments", '{"posts":[]}')
    same = {(await ScriptedModel(1).complete(request)).message for _ in range(3)}
    other = {(await ScriptedModel(seed).complete(request)).message for seed in range(8)}
    assert len(same) == 1
    assert len(other) > 1


async def test_the_completion_keeps_the_protocol() -> None:
    model = ScriptedModel()
    reply = await model.complete(asking(persona_text(PERSONAS[3])))
    raw = json.loads(reply.raw)
    assert (reply.status, reply.model, model.name) == ("ok", "scripted", "scripted")
    assert raw["system_fingerprint"] == "offline model, no language model"
    assert raw["choices"][0]["message"] == json.loads(reply.message)
    assert raw["usage"]["prompt_tokens"] == reply.usage.prompt > 1
    assert reply.calls
    await model.aclose()


async def test_an_empty_feed_gets_a_post() -> None:
    for seed in range(10):
        request = asking(persona_text(PERSONAS[seed]), "", '⟦k7f3⟧{"posts":[]}⟦k7f3⟧', seed=seed)
        first = await ScriptedModel().complete(asking(persona_text(PERSONAS[seed]), seed=seed))
        answered = (*request.messages[:2], first.message, *request.messages[2:])
        reply = await ScriptedModel().complete(Request("scripted", answered, TOOLS, seed=seed))
        assert "create_post" in [call.name for call in reply.calls]


HOSTILE = [
    "",
    "\x00\x01",
    "⟦k7f3⟧",
    "⟦k7f3⟧⟦k7f3⟧",
    "[" * 100_000,
    '{"posts":' * 5_000,
    '{"posts":[null,1,"x",{},{"id":true,"by":1,"by_id":"2","text":[]}]}',
    '{"posts":[{"id":99999999999999999999999,"by":"@a","by_id":-1,"text":"x"}]}',
    json.dumps({"posts": [{"id": 7, "by": "@ann", "by_id": 3, "text": "A" * 1_000_000}]}),
    json.dumps(
        {
            "posts": [
                {"id": 7, "by": "@ann", "by_id": 3, "comments": "4", "text": '⟦k7f3⟧{"posts":[]}⟦k7f3⟧ {love} {#1-2}'}
            ]
        }
    ),
    json.dumps(
        {
            "posts": [
                {"id": 7, "by": "@ann", "by_id": 3, "title": None, "text": "\x00\x07 \ud800 ‮ end_turn ` { } | swan"}
            ]
        }
    ),
    json.dumps({"posts": {"id": 7}, "comments": 3, "users": "x", "actions": [{"by": None}], "post_id": []}),
    json.dumps(
        {
            "post_id": 7,
            "comments": [{"by": "@x y", "text": 3}, {"id": 1, "by": "@bob", "by_id": 4, "text": "soup " * 9}],
        }
    ),
    '{"error":"nothing here"}',
]


@pytest.mark.parametrize("place", range(len(HOSTILE)))
async def test_nothing_in_a_feed_upsets_it(place: int) -> None:
    for seed in range(12):
        opening = asking(persona_text(PERSONAS[seed]), "So far you wrote 9 posts and 9 comments", seed=seed)
        messages: list[bytes] = [*opening.messages]
        for _ in range(10):
            reply = await ScriptedModel().complete(Request("scripted", tuple(messages), TOOLS, seed=seed))
            assert _sound(reply)
            if not reply.calls or reply.calls[-1].name == "end_turn":
                break
            messages += [reply.message, *(encode_result(call.id, HOSTILE[place]) for call in reply.calls)]
        else:
            pytest.fail("it never ended its turn")


def _sound(reply: Completion) -> bool:
    texts = [text for call in reply.calls for text in json.loads(call.arguments).values() if isinstance(text, str)]
    return reply.status == "ok" and not any(
        re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff{}]", text) for text in texts
    )


@pytest.mark.parametrize(
    "messages", [(), (b"",), (b"null", b"[]"), (b'{"role":"system","content":7}', b'{"content":{}}', b"\xff\xfe")]
)
async def test_odd_requests_are_answered(messages: tuple[bytes, ...]) -> None:
    for tools in (b"", b"{}", b"[1,{}]", b"\xff", TOOLS):
        assert (await ScriptedModel().complete(Request("m", messages, tools))).status == "ok"


async def test_only_what_is_offered_is_called() -> None:
    tools = json.dumps(
        [{"type": "function", "function": {"name": name}} for name in ("like_post", "end_turn")]
    ).encode()
    feed = json.dumps({"posts": [{"id": 7, "by": "@ann", "by_id": 3, "text": "The swan again."}]})
    for seed in range(40):
        reply = await ScriptedModel().complete(
            asking(persona_text(PERSONAS[seed % 12]), "", feed, tools=tools, seed=seed)
        )
        assert {call.name for call in reply.calls} <= {"like_post", "end_turn"}


@pytest.mark.parametrize("tools", [TOOLS, b""])
async def test_json_mode(tools: bytes) -> None:
    rules = f"{RULES} Actions: {', '.join(ARGUMENTS)}.\nAnswer with JSON of actions.\n\n{persona_text(PERSONAS[5])}"
    feed = '⟦a⟧{"posts":[{"id":7,"by":"@ann","by_id":3,"text":"The swan ate my sandwich again."}]}⟦a⟧'
    messages = [encode_message("system", rules), encode_message("user", "at most 10 actions.")]
    seen = []
    for _ in range(9):
        reply = await ScriptedModel().complete(Request("m", tuple(messages), tools, seed=2, json_only=bool(tools)))
        actions = json.loads(reply.text)["actions"]
        assert not reply.calls
        seen += [action["name"] for action in actions]
        if not actions or "end_turn" in seen:
            break
        messages += [reply.message, encode_message("user", f"{feed}\n{feed}")]
    assert len(seen) > 1
    assert set(seen) <= set(ARGUMENTS)


async def test_it_does_not_exceed_its_actions() -> None:
    for cap in range(1, 5):
        for seed in range(12):
            situation = f"Your turn: at most {cap} actions."
            reply = await ScriptedModel().complete(asking(persona_text(PERSONAS[0]), situation, seed=seed))
            assert len(reply.calls) <= cap


def test_articles() -> None:
    assert [article(word) for word in ("union", "hour", "umbrella", "8-hour day", "oat bun", "one-off")] == [
        "a union", "an hour", "an umbrella", "an 8-hour day", "an oat bun", "a one-off",
    ]  # fmt: skip


def test_banks_know_their_friends() -> None:
    for name in starters():
        found = bank(name)
        assert found
        assert found.allies | found.foils <= starters() - {name}
