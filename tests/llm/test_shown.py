"""SHOW_PROMPTS: what models are asked and answer is on stderr, and nothing in it is obeyed, secret or endless."""

import io
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ledger.budget import Account
from app.llm.conformance import TOOLS
from app.llm.gateway import Gateway
from app.llm.model import Completion, Model, Request, ToolCall, Usage, encode_message
from app.llm.shown import LONGEST, Shown, of_settings, visible
from app.settings import load_settings
from tests import fault_llm
from tests.fault_llm import error, ok

KEY = "sk-test-0123456789abcdef"


class Terminal(io.StringIO):
    """A text stream that says what it is."""

    encoding = "utf-8"

    def __init__(self, *, terminal: bool = False) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


class Says:
    """A model that gives one answer."""

    def __init__(self, completion: Completion) -> None:
        self._completion = completion

    async def complete(self, request: Request) -> Completion:
        return self._completion

    async def aclose(self) -> None:
        """Nothing is held."""


async def shown(text: str, answer: str = "Fine.", *, terminal: bool = False, secrets: tuple[str, ...] = ()) -> str:
    stream = Terminal(terminal=terminal)
    calls = (ToolCall("c1", "like_post", '{"post_id": 7}'),)
    completion = Completion("ok", "m-1", answer, calls, Usage(120, 8, 100), cost_usd=0.25, latency_ms=40)
    model: Model = Shown(Says(completion), "m", secrets, stream=stream)
    account = Account(4, 5, 6, 1)
    messages = (encode_message("system", "You are @ann."), encode_message("user", text))
    await model.complete(Request("m", messages, TOOLS, temperature=0.5, account=account))
    return stream.getvalue()


async def test_a_request_and_its_reply_are_whole() -> None:
    lines = (await shown("Hello\nthere")).splitlines()
    assert lines == [
        "▶ 1 m for persona 5, turn 6 of run 4 (temperature 0.5)",
        "  system:",
        "    You are @ann.",
        "  user:",
        "    Hello",
        "    there",
        "  tools: view_most_recent_posts, like_post, end_turn",
        "◀ 1 m-1: ok, 120 prompt (100 cached), 8 written, $0.250000, 40 ms",
        "  Fine.",
        '  → like_post({"post_id": 7})',
    ]


async def test_colour_is_for_terminals_alone() -> None:
    assert "\x1b[1m▶ 1 m" in await shown("hi", terminal=True)
    assert "\x1b" not in await shown("hi")


HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\x08\u202egnp.exe\u2066\u200b\x00\n▶ 9 forged"


@pytest.mark.parametrize("where", ["asked", "answered"])
async def test_nothing_is_obeyed_by_a_terminal(where: str) -> None:
    told = await shown(HOSTILE) if where == "asked" else await shown("hi", HOSTILE)
    assert all(c.isprintable() or c == "\n" for c in told)
    assert r"\x1b]0;owned\x07" in told
    assert r"\u202egnp.exe" in told
    assert [line for line in told.splitlines() if line.startswith("▶")] == [told.splitlines()[0]]


@given(st.text(max_size=200))
def test_whatever_is_written_is_visible(text: str) -> None:
    assert all(c.isprintable() or c in "\n\t" for c in visible(text))


def test_plain_text_stays_as_it_is() -> None:
    text = "Übermut — “quoted”, 日本語, 1 + 1 = 2;\n\tindented"
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"my key is {KEY}!", "my key is sk-[secret]!"),
        ("sf_key_abcdefghijklmnop", "sf_key_[secret]"),
        ("Authorization: Bearer abc.def-ghi_jkl", "Authorization: Bearer [secret]"),
        ("postgresql://me:hunter2@db/home", "postgresql://me:[secret]@db/home"),
        ("AIzaSyA1234567890abcdef", "AIza[secret]"),
        ("sketch, skill and risk-free talk", "sketch, skill and risk-free talk"),
    ],
)
def test_what_looks_like_a_secret_is_not_shown(text: str, kept: str) -> None:
    assert visible(text) == kept


async def test_secrets_of_the_settings_are_not_shown() -> None:
    settings = load_settings(openai_api_key="a-plain-word", metrics_token="other-0123456789abc")
    assert set(of_settings(settings)) == {"a-plain-word", "other-0123456789abc"}
    told = await shown("say a-plain-word", "other-0123456789abc", secrets=of_settings(settings))
    assert "say [secret]" in told
    assert "plain-word" not in told
    assert "other-0123456789abc" not in told


async def test_long_texts_are_cut_and_that_is_said() -> None:
    told = await shown("x" * (LONGEST + 1_234))
    assert "x" * LONGEST + " […, 1,234 more characters]" in told
    assert "x" * (LONGEST + 1) not in told


async def test_each_model_that_is_asked_is_shown_and_none_without_the_setting(capsys: Any) -> None:
    async with fault_llm.serving(error(400), ok()) as server:
        given: dict[str, Any] = {"openai_base_url": server.url, "model_transport": "raw", "openai_api_key": KEY}
        for on in (True, False):
            gateway = Gateway(load_settings(show_prompts=on, model_fallback="scripted", **given))
            await gateway.complete(Request("first", (encode_message("user", f"my key: {KEY}"),)))
            await gateway.aclose()
            told = capsys.readouterr().err
            heads = [line.split()[:3] for line in told.splitlines() if line[:1] in "▶◀"]
            assert heads == ([["▶", "1", "first"], ["◀", "1", "first:"], *heads[2:]] if on else [])
            assert KEY not in told


def test_the_offline_model_by_the_setting_alone() -> None:
    program = (
        "import asyncio; from app.llm.gateway import Gateway; from app.settings import load_settings\n"
        "from app.llm.model import Request, encode_message\n"
        "asyncio.run(Gateway(load_settings()).complete(Request('scripted', (encode_message('user', 'hi'),))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={"SHOW_PROMPTS": "true"}, timeout=60
    )
    assert done.stderr.startswith("▶ 1 scripted"), done.stderr
    assert done.stdout == ""
    assert json.dumps("hi")[1:-1] in done.stderr
