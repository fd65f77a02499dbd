"""A stand-in for a model's server, in a process of its own so that its CPU is not ours: `python -m app.cli.bench.stub`.

Raw HTTP/1.1 over keep-alive. It answers each chat-completion request with the next call of a fixed turn: look, post,
like, comment, follow, again from the start until there were BENCH_ACTIONS of them, end. Which one that is follows from
the request alone: from how often the assistant spoke in it. In a chatroom it says something. It ends when its standard
input does.
"""

import asyncio
import json
import os
import re
import sys
import threading
from random import Random
from typing import cast

import uvloop

LENGTH = re.compile(rb"\r\ncontent-length: *(\d{1,9})\r\n", re.IGNORECASE)
SHOWN = re.compile(rb'\{\\"id\\":(\d+),\\"by\\":\\"[^"\\]*\\",\\"by_id\\":(\d+)')
SEED = re.compile(rb'"seed":(\d+)')
CHATROOM = b'"name":"say"'
SAID = b'{"role":"assistant"'
ACTIONS = int(os.environ.get("BENCH_ACTIONS", "5"))
WORDS = [
    "bench", "lane", "bread", "rent", "gull", "union", "heating", "meeting", "minutes", "mother", "tea", "bus",
    "plan", "town", "sandwich", "swan", "council", "pension", "harbour", "kettle", "ladder", "referee", "sausage",
    "traffic", "umbrella", "vicar", "window", "yeast", "argues", "measures", "forgets", "recommends", "colder",
    "louder", "quietly", "never", "twice", "again", "because", "although", "without", "behind", "every", "our",
    "their", "that", "which", "nobody",
]  # fmt: skip


def words(seed: int) -> str:
    """A post or comment, never the same twice, nor near to another: a near copy would be looked into."""
    chosen = Random(seed).choices(WORDS, k=17)  # noqa: S311 - chatter
    return f"{' '.join(chosen).capitalize()}. No. {seed % 1_000_000}"


def call(body: bytes, actions: int = ACTIONS) -> tuple[str, dict[str, object]]:
    """The next call of the turn that this request continues."""
    step = body.count(SAID)
    found = SEED.findall(body)
    seed = int(found[-1]) if found else 0
    if CHATROOM in body:
        return "say", {"text": words(seed)}
    if step >= actions:
        return "end_turn", {}
    if step % 5 == 0:
        return "view_most_recent_posts", {}
    shown = SHOWN.findall(body)
    if step % 5 == 1 or not shown:
        return "create_post", {"body": words(seed)}
    post, author = shown[seed % len(shown)]
    if step % 5 == 2:
        return "like_post", {"post_id": int(post)}
    if step % 5 == 3:
        return "comment_on_post", {"post_id": int(post), "body": words(seed)}
    return "follow_user", {"user_id": int(author)}


def reply(body: bytes) -> bytes:
    """The whole HTTP answer."""
    name, arguments = call(body)
    prompt = len(body) // 4
    function = {"name": name, "arguments": json.dumps(arguments)}
    content = {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "bench-stub",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {"id": f"call_{body.count(SAID)}_{prompt}", "type": "function", "function": function}
                    ],
                },
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": prompt, "completion_tokens": 24, "total_tokens": prompt + 24},
    }
    encoded = json.dumps(content).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(encoded)}\r\n\r\n"
    return head.encode() + encoded


class Stub(asyncio.Protocol):
    """One connection."""

    def __init__(self, latency: float) -> None:
        self.latency = latency
        self.buffer = b""
        self.transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            length = LENGTH.search(self.buffer, 0, end + 2)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self.buffer) < whole:
                return
            body, self.buffer = self.buffer[end + 4 : whole], self.buffer[whole:]
            answer = reply(body)
            if self.latency:
                asyncio.get_running_loop().call_later(self.latency, self._send, answer)
            else:
                self._send(answer)

    def _send(self, answer: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(answer)


async def serve(latency: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Stub(latency), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - it is what the parent reads
    await server.serve_forever()


def end_with_parent() -> None:
    """Nobody holds our standard input any more: nobody needs us."""
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    uvloop.run(serve(float(os.environ.get("BENCH_LATENCY_SECONDS", "0"))))
