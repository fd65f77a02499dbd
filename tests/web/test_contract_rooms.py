"""Section 2 of the contract, sentence by sentence, by a client that knows nothing else."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_cli import simfeed
from tests.conftest import copy_of, run_sql, settings_for
from tests.simulacra_client import EVENTS, LOGGED, MESSAGE, Line, Simulacra, moment, read_log
from tests.web.test_edge import loopback

AGENTS = ["Alice", "Bob", "Charlie"]
EXPERIMENT = """
[groups.Tx1]
prompt_template = "You are in a group chat about the weather."
[groups.Tx2]
prompt_template = "You are in a group chat about the news."
"""
SIMULATION: dict[str, Any] = {
    "num_agents": 3,
    "agent_names": AGENTS,
    "messages_per_minute": 6,
    "user_response_probability": 1.0,
    "context_window_size": 10,
    "session_duration_minutes": 5,
    "llm_concurrency_limit": 5,
}
AT_ONCE = {"words_per_minute": 0}
"""A key of ours, so that nobody waits until agents have typed; the files of the first study hold Simulacra's alone."""

LONG_WORD = "participation " * 20
QUIET_SECONDS = 0.5


def files(folder: Path, prefix: str, count: int, **more: Any) -> list[str]:
    """Simulacra's three files, and the tokens in them: the first half leads to Tx1."""
    folder.mkdir()
    tokens = [f"{prefix}{n:04}" for n in range(count)]
    half = count // 2
    (folder / "experimental_settings.toml").write_text(EXPERIMENT)
    (folder / "participant_tokens.toml").write_text(
        f"[groups]\nTx1 = {json.dumps(tokens[:half])}\nTx2 = {json.dumps(tokens[half:])}\n"
    )
    settings = {**SIMULATION, **more}
    (folder / "simulation_settings.toml").write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in settings.items()))
    return tokens


@dataclass
class Lab:
    """A server, and tokens that were not used yet, by study."""

    client: Simulacra
    url: str
    tokens: dict[str, list[str]] = field(default_factory=dict)

    def token(self, study: str = "swift") -> str:
        return self.tokens[study].pop()

    def log(self, session: str) -> list[dict[str, Any]]:
        done = simfeed(self.url, "study", "log", session)
        assert done.returncode == 0, done.stderr
        return read_log(done.stdout)


@pytest.fixture(scope="module")
async def lab(server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    """Three studies from Simulacra's files: as they are, with swift agents, and one that is over at once."""
    folder = tmp_path_factory.mktemp("simulacra")
    kinds: dict[str, dict[str, Any]] = {
        "plain": {"messages_per_minute": 60},
        "swift": {**AT_ONCE, "messages_per_minute": 0.01},
        "brief": {**AT_ONCE, "session_duration_minutes": 0.04, "messages_per_minute": 60},
    }
    async with copy_of(server_url, template) as url:
        with loopback(settings_for(url, worker_enabled=True, session_guesses_per_hour=1_000)) as address:
            lab = Lab(Simulacra(address), url)
            for name, more in kinds.items():
                lab.tokens[name] = files(folder / name, f"{name}-", 40, **more)
                for command in (("create", name, "--toml", str(folder / name)), ("open", name)):
                    done = simfeed(url, "study", *command)
                    assert done.returncode == 0, done.stderr
            yield lab


async def answered(line: Line, *words: str) -> dict[str, Any]:
    """Somebody's answer to a message that speaks to them."""
    before = len(line.messages)
    await line.say(*words or ("@Alice, what do you think?",))
    return (await line.heard(before + 1))[before]


# Starting


async def test_health(lab: Lab) -> None:
    assert (await lab.client.get("/health")).status_code == 200


async def test_a_token_starts_a_session_once(lab: Lab) -> None:
    token = lab.token()
    begun = await lab.client.start(token)
    assert begun.status_code == 200
    assert set(begun.json()) == {"session_id", "message"}
    assert all(isinstance(value, str) and value for value in begun.json().values())
    assert (await lab.client.start(token)).status_code == 401
    assert (await lab.client.start("nobody's token")).status_code == 401


async def test_a_name_is_optional(lab: Lab) -> None:
    for name in ("Kim", "", None):
        assert (await lab.client.start(lab.token(), username=name)).status_code == 200


async def test_of_many_who_try_a_token_at_once_one_comes_in(lab: Lab) -> None:
    token = lab.token()
    answers = await asyncio.gather(*(lab.client.start(token) for _ in range(16)))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 401: 15}


@pytest.mark.parametrize("given", [{}, {"token": None}, {"token": 7}, {"token": ""}, [], "token", None])
async def test_what_is_no_token_is_refused_and_never_breaks(lab: Lab, given: Any) -> None:
    answer = await lab.client.post("/session/start", given)
    assert 400 <= answer.status_code < 500
    assert answer.json()["detail"]


# The connection


@pytest.mark.parametrize("session", ["00000000-0000-4000-8000-000000000000", "nothing", "a%20b"])
async def test_an_unknown_session_is_closed_with_1008(lab: Lab, session: str) -> None:
    async with lab.client.connect(session) as line:
        assert await line.closed() == 1008
        assert line.messages == []


async def test_a_message_has_the_fields_of_the_contract(lab: Lab) -> None:
    session = await lab.client.session(lab.token())
    async with lab.client.connect(session) as line:
        told = await answered(line)
        assert set(told) == MESSAGE
        assert told["sender"] == "Alice"
        assert isinstance(told["content"], str)
        assert told["content"]
        assert moment(told["timestamp"])
        assert isinstance(told["message_id"], str)
        assert told["reply_to"] is None or isinstance(told["reply_to"], str)
        assert told["quoted_text"] is None or isinstance(told["quoted_text"], str)
        assert isinstance(told["mentions"], list)
        assert (told["likes_count"], told["liked_by"], told["reported"]) == (0, [], False)


async def test_agents_write_by_themselves_with_the_files_as_they_are(lab: Lab) -> None:
    session = await lab.client.session(lab.token("plain"))
    async with lab.client.connect(session) as line:
        told = await line.heard(2)
        assert {one["sender"] for one in told} <= set(AGENTS)
        assert len({one["message_id"] for one in told}) == len(told)
        assert [moment(one["timestamp"]) for one in told] == sorted(moment(one["timestamp"]) for one in told)
        assert line.strange == []


async def test_an_own_message_is_not_sent_back(lab: Lab) -> None:
    session = await lab.client.session(lab.token(), username="Kim")
    async with lab.client.connect(session) as line:
        await answered(line, "@Bob only one of us sees this twice")
        await asyncio.sleep(QUIET_SECONDS)
        assert [one["sender"] for one in line.messages] == ["Bob"]
        assert line.strange == []


async def test_a_reply_its_quotation_and_mentions_are_taken(lab: Lab) -> None:
    session = await lab.client.session(lab.token())
    async with lab.client.connect(session) as line:
        first = await answered(line, "@Charlie begin, please")
        assert first["sender"] == "Charlie"
        await line.say("Both of you?", reply_to=first["message_id"], quoted_text="begin", mentions=["Alice", "Bob"])
        told = (await line.heard(4))[1:]
        assert {one["sender"] for one in told} == set(AGENTS)  # the two who are named, and who is answered
    kept = [one["data"] for one in lab.log(session) if one["event_type"] == "message"]
    mine = next(one for one in kept if one["content"] == "Both of you?")
    assert (mine["reply_to"], mine["quoted_text"]) == (first["message_id"], "begin")
    assert {"Alice", "Bob"} <= set(mine["mentions"])


async def test_a_reply_to_what_only_the_client_knows_is_a_message(lab: Lab) -> None:
    """The browser client makes ids of its own for what its person writes, and names of its own in mentions."""
    session = await lab.client.session(lab.token())
    async with lab.client.connect(session) as line:
        await line.say("@Alice once more", reply_to="user-1700000000000", quoted_text="mine", mentions=["user"])
        assert (await line.heard(1))[0]["sender"] == "Alice"


async def test_two_sessions_know_nothing_of_each_other(lab: Lab) -> None:
    one, other = await lab.client.session(lab.token()), await lab.client.session(lab.token())
    async with lab.client.connect(one) as first, lab.client.connect(other) as second:
        told = await answered(first)
        await asyncio.sleep(QUIET_SECONDS)
        assert second.messages == second.events == []
        assert (await lab.client.like(other, told["message_id"])).status_code == 404


# Likes, reports, blocks


async def test_a_like_toggles_and_is_told(lab: Lab) -> None:
    session = await lab.client.session(lab.token())
    async with lab.client.connect(session) as line:
        message = (await answered(line))["message_id"]
        for place, action in enumerate(("liked", "unliked", "liked")):
            answer = await lab.client.like(session, message)
            assert answer.status_code == 200
            assert "message" in answer.json()
            event = await line.event("message_like", place, about=message)
            assert event.keys() >= EVENTS["message_like"]
            assert (event["message_id"], event["action"], event["session_id"]) == (message, action, session)
            assert event["likes_count"] == len(event["liked_by"]) == (action == "liked")
            assert event["user"] in event["liked_by"] or action == "unliked"
            assert moment(event["timestamp"])


async def test_a_report_toggles_and_is_told(lab: Lab) -> None:
    session = await lab.client.session(lab.token())
    async with lab.client.connect(session) as line:
        message = (await answered(line))["message_id"]
        for place, reported in enumerate((True, False, True)):
            more = {"reason": "rude"} if reported else {}
            answer = await lab.client.report(session, message, **more)
            assert answer.status_code == 200
            assert "message" in answer.json()
            event = await line.event("message_report", place, about=message)
            assert event.keys() >= EVENTS["message_report"]
            assert (event["message_id"], event["reported"]) == (message, reported)
            assert event["action"] == ("reported" if reported else "unreported")
        await asyncio.sleep(QUIET_SECONDS)
        assert not [one for one in line.events if one["event_type"] == "user_block"]


async def test_who_is_blocked_is_heard_no_more(lab: Lab) -> None:
    session = await lab.client.session(lab.token())
    async with lab.client.connect(session) as line:
        message = await answered(line, "@Alice hello")
        answer = await lab.client.report(session, message["message_id"], block=True, reason="rude")
        assert answer.status_code == 200
        event = await line.event("user_block")
        assert event.keys() >= EVENTS["user_block"]
        assert set(event["blocked"]) == {"Alice"}
        assert moment(event["blocked"]["Alice"])
        await line.say("@Alice and @Bob?")
        told = (await line.heard(2))[1:]
        await asyncio.sleep(QUIET_SECONDS)
        assert {one["sender"] for one in told} == {"Bob"}
    async with lab.client.connect(session) as line:
        await answered(line, "@Alice and @Charlie?")
        assert {one["sender"] for one in line.messages} == {"Charlie"}


async def test_what_is_not_there_is_404_and_what_is_malformed_422(lab: Lab) -> None:
    session = await lab.client.session(lab.token())
    async with lab.client.connect(session) as line:
        message = (await answered(line))["message_id"]
        for deed in (lab.client.like, lab.client.report):
            assert (await deed(session, "nothing")).status_code == 404
            assert (await deed("nothing", message)).status_code == 404
        wrong: tuple[Any, ...] = ({}, {"user": 7}, {"user": None}, [])
        for route in ("like", "report"):
            for given in wrong:
                answer = await lab.client.post(f"/session/{session}/message/{message}/{route}", given)
                assert answer.status_code == 422
        assert all(one["message_id"] != message for one in line.events)


# Coming back, and the end


async def test_a_reconnect_goes_on_and_replays_what_was_missed(lab: Lab) -> None:
    session = await lab.client.session(lab.token())
    async with lab.client.connect(session) as line:
        known = await answered(line, "@Alice one")
        await line.say("@Bob two")
    await asyncio.sleep(2)
    async with lab.client.connect(session) as again:
        (missed,) = await again.heard(1)
        assert (missed["sender"], set(missed)) == ("Bob", MESSAGE)
        told = await answered(again, "@Charlie three")
        assert [one["sender"] for one in again.messages] == ["Bob", "Charlie"]
        assert known["message_id"] not in {one["message_id"] for one in again.messages}
        assert again.strange == []
    await asyncio.sleep(2)
    async with lab.client.connect(session) as third:
        await asyncio.sleep(QUIET_SECONDS)
        assert told["message_id"] not in {one["message_id"] for one in third.messages}


async def test_an_ended_session_is_closed_with_1008(lab: Lab) -> None:
    session = await lab.client.session(lab.token("brief"))
    async with lab.client.connect(session) as line:
        await line.say("@Alice quick!")
        assert await line.closed() != 1008
        message = line.messages[0]["message_id"] if line.messages else "nothing"
    async with lab.client.connect(session) as line:
        assert await line.closed() == 1008
        assert line.messages == []
    assert (await lab.client.like(session, message)).status_code == 404


# The log


async def test_the_log_is_json_lines_of_the_events_of_the_contract(lab: Lab) -> None:
    token = lab.token("brief")
    session = await lab.client.session(token, username="Zaphod")
    async with lab.client.connect(session) as line:
        message = await answered(line, "@Alice hello")
        await lab.client.like(session, message["message_id"])
        await lab.client.report(session, message["message_id"], block=True, reason="rude")
        await line.closed()
    for _ in range(50):
        log = lab.log(session)
        if log[-1]["event_type"] == "session_end":
            break
        await asyncio.sleep(0.2)
    assert all(set(one) == {"timestamp", "event_type", "session_id", "data"} for one in log)
    assert all(one["session_id"] == session and isinstance(one["data"], dict) for one in log)
    kinds = Counter(one["event_type"] for one in log)
    assert kinds.keys() <= LOGGED
    assert kinds.keys() >= LOGGED - {"error"}
    assert (log[0]["event_type"], log[-1]["event_type"]) == ("session_start", "session_end")
    assert [moment(one["timestamp"]) for one in log] == sorted(moment(one["timestamp"]) for one in log)
    begin = log[0]["data"]
    assert begin["treatment_group"] == "Tx2"
    assert set(begin["experimental_config"]["groups"]) == {"Tx1", "Tx2"}
    told = begin["simulation_config"]
    assert {key: told[key] for key in SIMULATION if key in ("num_agents", "agent_names", "context_window_size")} == {
        "num_agents": 3,
        "agent_names": AGENTS,
        "context_window_size": 10,
    }
    assert told.keys() >= SIMULATION.keys()
    assert begin["consent"] == "external"
    assert token not in json.dumps(log)
    assert "Zaphod" not in json.dumps(log)
    replies = [one["data"] for one in log if one["event_type"] == "llm_call"]
    assert all(one["prompt"] for one in replies)


# The files


WRONG: list[tuple[str, Any, str]] = [
    ("num_agents", 4, "the number of agent_names"),
    ("agent_names", ["Alice", "Bob"], "num_agents"),
    ("agent_names", "Alice", "a list of names"),
    ("messages_per_minute", 0, "above 0"),
    ("messages_per_minute", "five", "number"),
    ("user_response_probability", 1.1, "from 0 to 1"),
    ("user_response_probability", -0.1, "from 0 to 1"),
    ("context_window_size", 0, "from 1"),
    ("session_duration_minutes", 0, "above 0"),
    ("llm_concurrency_limit", 0, "above 0"),
]


@pytest.mark.parametrize(("key", "value", "allowed"), WRONG)
def test_a_wrong_value_is_refused_with_file_key_and_what_is_allowed(
    tmp_path: Path, key: str, value: Any, allowed: str
) -> None:
    files(tmp_path / "config", "t-", 4, **{key: value})
    refused = simfeed(
        "postgresql://nobody@127.0.0.1:1/none", "study", "create", "x", "--toml", str(tmp_path / "config")
    )
    assert refused.returncode == 2
    assert f"simulation_settings.toml: {key if key != 'agent_names' or 'num' not in allowed else 'num_agents'}" in (
        refused.stderr
    )
    assert allowed in refused.stderr


# Habits of its browser client, which sends and expects more than the contract says in words


async def test_the_answer_to_a_like_holds_the_message_as_it_is_now(lab: Lab) -> None:
    session = await lab.client.session(lab.token())
    async with lab.client.connect(session) as line:
        told = await answered(line)
        message = (await lab.client.like(session, told["message_id"])).json()["message"]
        assert (message["message_id"], message["likes_count"]) == (told["message_id"], 1)
        message = (await lab.client.report(session, told["message_id"])).json()["message"]
        assert (message["message_id"], message["reported"]) == (told["message_id"], True)


async def test_a_block_tells_all_who_are_blocked(lab: Lab) -> None:
    session = await lab.client.session(lab.token())
    async with lab.client.connect(session) as line:
        for place, name in enumerate(("Alice", "Bob")):
            told = await answered(line, f"@{name} hello")
            await lab.client.report(session, told["message_id"], block=True)
            event = await line.event("user_block", place)
        assert set(event["blocked"]) == {"Alice", "Bob"}


async def test_it_quotes_the_whole_message_that_it_answers(lab: Lab) -> None:
    session = await lab.client.session(lab.token())
    async with lab.client.connect(session) as line:
        await line.say("@Alice I answer to much", quoted_text=LONG_WORD)
        await line.until(lambda: line.messages or line.strange)
        assert [one["sender"] for one in line.messages] == ["Alice"]


async def test_nothing_is_sent_that_is_neither_a_message_nor_one_of_three_events(lab: Lab) -> None:
    session = await lab.client.session(lab.token())
    async with lab.client.connect(session) as line:
        for text in ('{"type": "user_message", "content": "  "}', '{"type": "ping"}', '{"type": "user_message"}'):
            await line.raw(text)
        await answered(line)
        assert line.strange == []
        assert line.code is None


async def test_a_token_that_is_given_as_user_is_not_stored(lab: Lab) -> None:
    token = lab.token()
    session = await lab.client.session(token)
    async with lab.client.connect(session) as line:
        told = await answered(line)
        await lab.client.like(session, told["message_id"], user=token)
    await run_sql(lab.url, f"DO $$ BEGIN ASSERT NOT EXISTS (SELECT FROM identities WHERE username = '{token}'); END $$")
