"""Whether a model does what the turn loop asks of one."""

from typing import TypedDict

import msgspec

from app import strict_json
from app.llm.model import Completion, Model, Request, encode_message, encode_result
from app.llm.pricing import OFFLINE

SYSTEM = (
    "You are @tester, a member of a social network. Act only by calling functions. "
    "Look first with view_most_recent_posts, then like one post that you saw, then call end_turn."
)
MARK = "⟦0000⟧"
POSTS = '{"posts":[{"id":41,"by":"@ann","by_id":2,"ago":"3m","likes":1,"comments":0,"text":"Trains are good."}]}'


class Finding(TypedDict):
    check: str
    ok: bool
    detail: str


def _tool(name: str, properties: dict[str, str]) -> dict[str, object]:
    parameters = {"type": "object", "properties": {p: {"type": t} for p, t in properties.items()}}
    return {"type": "function", "function": {"name": name, "parameters": {**parameters, "required": list(properties)}}}


TOOLS = msgspec.json.encode(
    [_tool("view_most_recent_posts", {}), _tool("like_post", {"post_id": "integer"}), _tool("end_turn", {})]
)
OFFERED = frozenset({"view_most_recent_posts", "like_post", "end_turn"})


def _situation() -> str:
    return (
        "It is Saturday 21 November 2026, 12:00 UTC. So far you wrote 0 posts and 0 comments; 0 follow you, "
        f"you follow 0.\nQuote marks now: {MARK}\nYour turn: at most 3 actions."
    )


async def check(model: Model, name: str) -> list[Finding]:
    """Play a tiny turn with the model, and say what it did right."""
    opening = (encode_message("system", SYSTEM), encode_message("user", _situation()))
    first = await model.complete(Request(name, opening, TOOLS, max_tokens=300, seed=1))
    findings = [
        _finding("answers", first.status == "ok", first.detail or f"{first.latency_ms} ms, says it is {first.model}")
    ]
    if first.status != "ok":
        return findings
    findings += [_calls(first), _arguments(first), _usage(first, name)]
    if first.calls:
        results = [encode_result(c.id, f"{MARK}{POSTS}{MARK}") for c in first.calls]
        second = await model.complete(Request(name, (*opening, first.message, *results), TOOLS, max_tokens=300, seed=2))
        findings.append(_goes_on(second))
    return findings


def _finding(check: str, ok: bool, detail: str) -> Finding:
    return {"check": check, "ok": ok, "detail": detail}


def _calls(first: Completion) -> Finding:
    names = [c.name for c in first.calls]
    detail = f"called {', '.join(names)}" if names else "answered with text and called nothing"
    return _finding("calls offered functions", bool(names) and OFFERED.issuperset(names), detail)


def _arguments(first: Completion) -> Finding:
    bad = [c.name for c in first.calls if not _is_object(c.arguments)]
    return _finding("arguments are JSON objects", not bad, f"not so for {', '.join(bad)}" if bad else "")


def _is_object(text: str) -> bool:
    try:
        return isinstance(strict_json.loads(text.strip() or "{}"), dict)
    except ValueError:
        return False


def _usage(first: Completion, name: str) -> Finding:
    usage = first.usage
    counted = usage.prompt > 0 or name in OFFLINE  # the local model reads only where it has a text to write
    return _finding("reports its usage", counted, f"{usage.prompt} prompt, {usage.completion} written")


def _goes_on(second: Completion) -> Finding:
    names = ", ".join(c.name for c in second.calls)
    return _finding(
        "goes on after results", second.status == "ok", f"called {names}" if names else second.detail or "ended"
    )
