"""The scripted model: a request in, a persona's next move out."""

import hashlib

import msgspec

from app.llm.model import Completion, Request, ToolCall, Usage, encode_reply
from app.llm.scripted.acting import Actor
from app.llm.scripted.answering import bent
from app.llm.scripted.anybody import invent
from app.llm.scripted.asked import Asked, read_asked
from app.llm.scripted.chance import digest, stream
from app.llm.scripted.chatting import Chatter
from app.llm.scripted.plan import plan
from app.llm.scripted.reading import Call, Persona, Scene, read
from app.llm.scripted.remembering import look_back
from app.llm.scripted.room import read_room
from app.llm.scripted.sessions import reply
from app.llm.scripted.voice import Voice
from app.llm.scripted.voices import bank

NAME = "scripted"
FINGERPRINT = "offline model, no language model"
CHATS = frozenset({"say"})
"""Who is offered this sits in a chatroom."""

LOOKS_BACK = frozenset({"reflect"})

_GOODBYES = ("That is all from me for now.", "Nothing more to add.", "Done for this turn.", "Back to reading.")


class ScriptedModel:
    """Plays personas from data files. Stateless: an answer depends on the two seeds and the messages alone."""

    name = NAME

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    async def complete(self, request: Request) -> Completion:
        """Answer `request`."""
        turn = digest(self.seed, request.seed, _fingerprint(request.messages[:2]))
        if asked := read_asked(request):
            return self._in_session(request, asked, turn)
        scene = read(request)
        if CHATS & scene.offered:
            return self._chat(request, scene, turn)
        if scene.offered >= LOOKS_BACK:
            key = f"{turn}{scene.replies}"
            calls = [look_back(scene.memories, stream(turn, "look back"))]
            return _completion(request, *_reply(scene, calls, False, key), key)
        intent = plan(stream(turn, "plan"), scene.follows)
        rather = bent(stream(turn, "bent"))
        actor = Actor(scene, intent, self._voice(scene.persona), stream(turn, "step", scene.replies), rather)
        calls = actor.calls()
        if calls and intent.ends_at_once and not actor.left()[len(calls) :] and scene.replies:
            calls.append(Call("end_turn", {}))
        key = f"{turn}{scene.replies}"
        return _completion(request, *_reply(scene, calls, intent.says_goodbye, key), key)

    def _in_session(self, request: Request, asked: Asked, turn: str) -> Completion:
        answer = reply(asked, self.seed, turn)
        if isinstance(answer, str):
            return _completion(request, answer, (), turn)
        scene = Scene(asked.persona, frozenset([answer.name]), asked.json_mode)
        return _completion(request, *_reply(scene, [answer], False, turn), turn)

    def _chat(self, request: Request, scene: Scene, turn: str) -> Completion:
        key = f"{turn}{scene.replies}"
        calls = Chatter(scene, read_room(request), self.seed, stream(turn, "chat", scene.replies)).calls()
        return _completion(request, *_reply(scene, calls, False, key), key)

    async def aclose(self) -> None:
        """Nothing is held."""

    def _voice(self, persona: Persona) -> Voice:
        return Voice(bank(persona.username) or invent(persona), f"{self.seed}/{persona.username}")


def _fingerprint(messages: tuple[bytes, ...]) -> str:
    return hashlib.blake2b(b"\n".join(messages), digest_size=8).hexdigest()


def _reply(scene: Scene, calls: list[Call], says_goodbye: bool, key: str) -> tuple[str, tuple[ToolCall, ...]]:
    """The answer's text and calls, in the form the request asks for."""
    if not calls and "end_turn" in scene.offered and not says_goodbye:
        calls = [Call("end_turn", {})]
    calls = [call for call in calls if call.name in scene.offered]
    if scene.json_mode:
        actions = [{"name": call.name, "arguments": call.arguments} for call in calls]
        return msgspec.json.encode({"actions": actions}).decode(), ()
    if not calls:
        return stream(key, "goodbye").choice(_GOODBYES), ()
    return "", tuple(
        ToolCall(f"call_{digest(key, place)}", call.name, msgspec.json.encode(call.arguments).decode())
        for place, call in enumerate(calls)
    )


def _completion(request: Request, text: str, calls: tuple[ToolCall, ...], key: str) -> Completion:
    message = encode_reply(text, calls)
    usage = Usage(_tokens(sum(map(len, request.messages)) + len(request.tools)), _tokens(len(message)))
    body = {
        "id": f"chatcmpl-{digest(key, 'id')}",
        "object": "chat.completion",
        "created": 0,
        "model": NAME,
        "system_fingerprint": FINGERPRINT,
        "choices": [{"index": 0, "message": msgspec.Raw(message), "finish_reason": "tool_calls" if calls else "stop"}],
        "usage": {
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.completion,
            "total_tokens": usage.prompt + usage.completion,
        },
    }
    return Completion("ok", NAME, text, calls, usage, msgspec.json.encode(body), message)


def _tokens(size: int) -> int:
    return max(1, size // 4)
