"""A turn that is only tried: it says what would be done, as the commit would decide it, and writes nothing."""

import asyncio
import hashlib
import json

import asyncpg
import pytest

from app.agent import dry_run, prompt
from app.agent.dry_run import Booth, Looking, preview
from app.db.engine import Database
from app.errors import Conflict, TooMany
from app.ledger import pulse
from app.venues.feed import open_cycle, play_cycle
from app.venues.run import open_mind
from app.world import personas
from app.world.effects import (
    Effect,
    FollowPersona,
    Like,
    MutePersona,
    NewBio,
    NewComment,
    NewPost,
    ReportPost,
    Repost,
    UnfollowPersona,
    Unlike,
)
from app.world.personas import PersonaSpec
from app.world.verdicts import Imagined
from tests.agent.test_turn import Script, says
from tests.conftest import a_mind, settings_for
from tests.ledger.test_commit import commit, step, turns_for


async def fingerprint(database: Database) -> dict[str, str]:
    """What every table holds."""
    names = await database.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    found = {}
    for row in names:
        rows = await database.fetch(f'SELECT t::text FROM "{row["tablename"]}" t ORDER BY 1')
        found[row["tablename"]] = hashlib.sha256(repr([tuple(r) for r in rows]).encode()).hexdigest()
    return found


async def live(database: Database) -> None:
    """Persona 1 muted by 4; posts 1 (of 1), 2 (of 2), 3 (of 4), 4 hidden, 5: 2 shares post 3."""
    await turns_for(database, 5)
    async with database.connection() as connection:
        await connection.execute(
            """
            INSERT INTO posts (author_id, body, repost_of, hidden) VALUES
                (1, 'mine', NULL, false), (2, 'theirs', NULL, false), (4, 'of one who muted me', NULL, false),
                (2, 'hidden', NULL, true), (2, '', 3, false), (3, 'liked', NULL, false);
            INSERT INTO post_counts (post_id, hidden, likes_count, reposts_count)
                SELECT id, hidden, (id = 6)::int, (id = 3)::int FROM posts;
            INSERT INTO mutes (persona_id, muted_id) VALUES (4, 1), (1, 2);
            INSERT INTO likes (post_id, persona_id) VALUES (6, 1);
            INSERT INTO follows (follower, followed) VALUES (1, 3);
            INSERT INTO reports (post_id, reporter_id, reason) VALUES (6, 1, 'r');
            UPDATE personas SET following_count = 1 WHERE id = 1;
            UPDATE personas SET followers_count = 1 WHERE id = 3;
            UPDATE personas SET status = 'departed' WHERE id = 5;
            """
        )


async def test_a_tried_turn_writes_nothing_to_any_table(database: Database, url: str) -> None:
    await live(database)
    replies = [
        says(("view_most_recent_posts", {}), ("search_users", {"query": "p2"}), text="Let me look."),
        says(
            ("create_post", {"body": "A post that nobody will ever read."}),
            ("like_post", {"post_id": 2}),
            ("comment_on_post", {"post_id": 2, "body": "Indeed."}),
            ("follow_user", {"user_id": 2}),
        ),
        says(
            ("mute_user", {"user_id": 3}),
            ("repost", {"post_id": 6}),
            ("like_post", {"post_id": "2"}),
            ("dance", {}),
        ),
        says(("end_turn", {})),
    ]
    async with a_mind(database, Script(*replies)) as mind:
        before = await fingerprint(database)
        assert len(before) > 20
        trial = await Booth().play(mind, settings_for(url), 1)
        assert await fingerprint(database) == before
    assert (trial.state, trial.reason, len(trial.steps)) == ("done", "end_turn", 4)
    first, second, third, last = trial.steps
    assert first.text == "Let me look."
    assert [call.verdict for call in first.calls] == ["read", "read"]
    assert '"text":"liked"' in first.calls[0].told
    assert "⟦" not in first.calls[0].told
    assert [call.verdict for call in second.calls] == ["made"] * 4
    assert json.loads(second.calls[0].told) == {"ok": True, "post_id": 7}
    assert [call.verdict for call in third.calls] == ["made", "made", "refused", "refused"]
    assert "whole number" in third.calls[2].why or "integer" in third.calls[2].why
    assert "there is no action" in third.calls[3].why
    assert [call.verdict for call in last.calls] == ["ended"]
    assert trial.tokens == 60


async def test_the_offline_models_turn_writes_nothing_either(database: Database, url: str) -> None:
    async with open_mind(settings_for(url), database) as mind:
        async with database.connection() as connection:
            await personas.add(
                connection, [PersonaSpec(username=f"p{n}", description="A tram driver.") for n in range(4)]
            )
        settings = settings_for(url)
        await play_cycle(mind, settings, await open_cycle(mind, settings) or 0)
        before = await fingerprint(database)
        trials = [await Booth().play(mind, settings, n) for n in range(1, 5)]
        assert await fingerprint(database) == before
    assert any(call.verdict == "made" for trial in trials for step in trial.steps for call in step.calls)
    assert all(trial.usd == 0 for trial in trials)


async def test_verdicts_are_what_the_commit_decides(database: Database) -> None:
    await live(database)
    effects: list[Effect] = [NewPost(body="p"), NewBio(body="b")]
    for target in (1, 2, 3, 4, 5, 6, 99):
        effects += [
            NewComment(target, body="c"),
            Like(target),
            Unlike(target),
            Repost(target),
            ReportPost(target, body="r"),
        ]
        effects += [FollowPersona(target), UnfollowPersona(target), MutePersona(target)]
    wrong = []
    for n, effect in enumerate(effects):
        ((foretold, _),) = await Imagined(1).judge(database, [effect])
        (outcomes,) = await commit(database, [step(1, n, effect)])
        if outcomes[0].outcome != foretold:
            wrong.append((effect, foretold, outcomes[0].outcome))
    assert wrong == []


async def test_what_was_tried_before_counts(database: Database) -> None:
    await live(database)
    imagined = Imagined(1)
    said = [
        (await imagined.judge(database, [effect]))[0][0]
        for effect in (
            Like(2),
            Like(2),
            Unlike(2),
            Like(2),
            FollowPersona(2),
            UnfollowPersona(2),
            NewPost(body="x"),
            NewComment(7, body="to my own new post"),
            Like(7),
            Repost(2),
            Repost(2),
        )
    ]
    made = "made"
    assert said == [made, "already", made, made, made, made, made, made, "not_allowed", made, "already"]


async def test_a_preview_is_what_the_model_gets(database: Database, url: str) -> None:
    await live(database)
    spec = PersonaSpec(username="p1", description="Loves compilers ⟦x⟧.", bio="b", role="clerk", traits=["dry", "calm"])
    await database.fetchval(
        "UPDATE personas SET description = $1, bio = 'b', profile = $2 WHERE id = 1",
        spec.description,
        json.dumps({"role": "clerk", "traits": ["dry", "calm"]}),
    )
    script = Script(says(("end_turn", {})))
    async with a_mind(database, script) as mind:
        await Booth().play(mind, settings_for(url), 1)
    seen = await preview(database, settings_for(url), spec, 1)
    sent = [json.loads(message) for message in script.asked[0].messages]
    assert [m["role"] for m in sent] == [m.role for m in seen.messages] == ["system", "user"]
    assert sent[0]["content"] == seen.messages[0].text
    apart = list(zip(sent[1]["content"].split("\n"), seen.messages[1].text.split("\n"), strict=True))
    assert [a == b or a[:8] == b[:8] for a, b in apart] == [True] * len(apart)
    assert seen.actions_tokens > 200
    assert seen.tokens == seen.actions_tokens + sum(m.tokens for m in seen.messages)
    as_json = await preview(database, settings_for(url, tool_mode="json"), spec, 1)
    assert as_json.actions_tokens == 0
    assert "create_post(" in as_json.messages[0].text
    assert prompt.text("feed") in (await preview(database, settings_for(url), spec, None)).messages[0].text


async def test_a_looking_database_can_not_be_written(database: Database) -> None:
    looking = Looking(database.url, database.pool)
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await looking.fetchval("INSERT INTO personas (username, description) VALUES ('x', 'x')")
    assert await looking.fetchval("SELECT count(*) FROM personas") == 0


async def test_the_kill_switch_holds(database: Database, url: str) -> None:
    await live(database)
    await pulse.halt(database, True)
    async with open_mind(settings_for(url), database) as mind:
        with pytest.raises(Conflict, match="halted"):
            await Booth().play(mind, settings_for(url), 1)


@pytest.mark.parametrize(
    ("caps", "word"),
    [
        ({"budget_turn_tokens": 100}, "turn"),
        ({"budget_call_tokens": 100}, "call"),
        ({"budget_day_tokens": 100}, "turn"),
        ({"budget_persona_day_tokens": 100}, "turn"),
    ],
)
async def test_caps_hold(database: Database, url: str, caps: dict[str, int], word: str) -> None:
    await live(database)
    settings = settings_for(url, **caps)
    async with open_mind(settings, database) as mind:
        trial = await Booth().play(mind, settings, 1)
    assert (trial.state, trial.reason, trial.steps) == ("limit", "budget", [])
    assert "the cap is 100 tokens" in trial.why
    assert word in trial.why


async def test_what_a_day_has_spent_is_not_left_for_a_try(database: Database, url: str) -> None:
    await live(database)
    await database.fetchval(
        "INSERT INTO budgets (scope, key, day, spent_tokens)"
        " VALUES ('instance', 0, (now() AT TIME ZONE 'UTC')::date, 99990)"
    )
    settings = settings_for(url, budget_day_tokens=100_000)
    async with open_mind(settings, database) as mind:
        trial = await Booth().play(mind, settings, 1)
    assert "the cap is 10 tokens" in trial.why


async def test_a_slow_model_is_given_up_and_few_are_tried_at_once(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await live(database)
    monkeypatch.setattr(dry_run, "SECONDS", 0.2)

    async def never(*_: object) -> None:
        await asyncio.sleep(60)

    async with a_mind(database, Script(never)) as mind:
        booth, settings = Booth(), settings_for(url)
        trying = [asyncio.create_task(booth.play(mind, settings, 1)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(TooMany):
            await booth.play(mind, settings, 1)
        assert [(t.state, t.reason) for t in await asyncio.gather(*trying)] == [("limit", "timeout")] * 2
        assert booth.trying == 0


async def test_a_failing_model_is_told_as_it_is(database: Database, url: str) -> None:
    await live(database)
    async with a_mind(database, Script(says(status="refusal"))) as mind:
        trial = await Booth().play(mind, settings_for(url), 1, "another")
    assert (trial.model, trial.state, [s.status for s in trial.steps]) == ("another", "refused", ["refusal"])
