"""Worlds to look at: one in which everybody has lived for some cycles, and the same with hostile text everywhere."""

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import msgspec

from app.auth import audit
from app.db.engine import Database
from app.experiments import freezing, planning, references
from app.experiments.design import checked as checked_experiment
from app.settings import load_settings
from app.venues.chatroom import studies
from app.venues.chatroom.design import StudyDesign
from app.venues.feed import open_cycle, play_cycle
from app.venues.session.design import Dialogue, Simulation, checked
from app.venues.session.opening import begin
from app.venues.session.results import mark
from app.venues.session.stage import play
from app.world import personas, rooms, sessions
from app.world.personas import PersonaSpec
from tests.browser.payloads import Spreader
from tests.conftest import BOOTSTRAP, PASSWORD, a_mind
from tests.taking_part import DESIGN, open_study, take_part

STARTERS = Path(__file__).parents[2] / "sql" / "seed" / "personas.json"
ROOM = {
    ("personas", "bio"): 400,
    ("personas", "description"): 600,
    ("posts", "title"): 110,
    ("posts", "body"): 500,
    ("comments", "body"): 300,
    ("admin_invitations", "email"): 110,
    ("actions", "name"): 110,
    ("actions", "call_id"): 110,
    ("actions", "arguments"): 300,
    ("actions", "detail"): 200,
    ("calls", "detail"): 200,
    ("calls", "model_returned"): 110,
    ("events", "detail"): 200,
    ("datasets", "reason"): 200,
    ("experiment_changes", "note"): 200,
    ("experiment_references", "name"): 110,
    ("experiment_references", "note"): 200,
    ("experiment_trials", "excluded"): 200,
    ("experiment_trials", "reason"): 200,
    ("experiments", "name"): 150,
    ("experiments", "reason"): 200,
    ("providers", "detail"): 300,
    ("quarantines", "reason"): 200,
    ("reports", "reason"): 200,
    ("room_messages", "body"): 300,
    ("session_checkpoints", "name"): 60,
    ("session_lines", "body"): 300,
    ("session_lines", "thought"): 200,
    ("session_members", "name"): 60,
    ("sessions", "name"): 150,
    ("study_tokens", "label"): 110,
    ("runs", "slot"): 150,
    ("runs", "reason"): 200,
    ("turns", "reason"): 200,
    ("workers", "host"): 110,
    ("worlds", "note"): 200,
}
"""Columns that a model, an admin or a provider has a say in, and how much fits in."""

DOCUMENTS = (
    ("personas", "profile"),
    ("persona_versions", "spec"),
    ("runs", "settings"),
    ("runs", "estimate"),
    ("session_lines", "value"),
    ("calls", "told"),
    ("calls", "reply"),
    ("calls", "response"),
    ("calls", "options"),
)
"""Columns of JSON: each text in them becomes hostile, but for what says how to read the rest."""

KEPT = frozenset(
    {
        "username",
        "status",
        "role",
        "type",
        "id",
        "object",
        "model",
        "tool_mode",
        "copies",
        "finish_reason",
        "tool_call_id",
    }
)


@dataclass
class World:
    """Where a world is, and what to look at in it: for each parameter of an address its values."""

    url: str
    values: dict[str, list[Any]] = field(default_factory=dict)


async def live(url: str, *, cycles: int = 2, odd: bool = True, at_once: int = 2) -> World:
    """The twelve personas that `simfeed up` starts with, after some cycles; with every `odd` state a page may show."""
    database = await Database.open(url, size=8)
    specs = [PersonaSpec.model_validate(entry) for entry in msgspec.json.decode(STARTERS.read_bytes())]
    async with database.connection() as connection:
        await personas.add(connection, specs)
    settings = load_settings(max_concurrent_turns=at_once, max_actions=4, max_calls_per_reply=4)
    async with a_mind(database) as mind:
        for n in range(cycles):
            run = await open_cycle(mind, settings, slot=f"feed/test/{n}", seed=7 + n)
            assert run is not None
            await play_cycle(mind, settings, run)
    studied: dict[str, list[Any]] = {}
    if odd:
        await _more(database)
        studied = await _study(database) | await _sessions(database) | await _experiments(database)
    values = await _values(database) | studied
    await database.close()
    return World(url, values)


async def _more(database: Database) -> None:
    """What two cycles do not bring about by themselves: each state that a page may show."""
    async with database.connection() as connection:
        post = await connection.fetchval("SELECT max(id) FROM posts WHERE body <> ''")
        await connection.execute(
            """
            INSERT INTO comments (post_id, author_id, body) SELECT $1, id, 'well said' FROM personas LIMIT 5
            """,
            post,
        )
        await connection.execute(
            "INSERT INTO likes (post_id, persona_id) SELECT $1, id FROM personas ON CONFLICT DO NOTHING", post
        )
        await connection.execute(
            """
            UPDATE post_counts SET comments_count = (SELECT count(*) FROM comments c WHERE c.post_id = $1),
                   likes_count = (SELECT count(*) FROM likes l WHERE l.post_id = $1) WHERE post_id = $1
            """,
            post,
        )
        for statement in (
            "INSERT INTO reports (post_id, reporter_id, reason) SELECT max(id), 1, 'spam' FROM posts",
            "UPDATE runs SET state = 'partial', reason = 'some turns failed' WHERE id = 1",
            "UPDATE turns SET state = 'failed', reason = 'timeout: the provider took too long' WHERE id = 1",
            "UPDATE personas SET status = 'paused' WHERE id = 2",
            "UPDATE personas SET status = 'departed', departed_at = now() WHERE id = 3",
            """INSERT INTO quarantines (post_id, taken_by, reason) SELECT min(id), 'operator', 'a copy' FROM posts""",
            "UPDATE posts SET hidden = true WHERE id = (SELECT min(id) FROM posts)",
            "UPDATE post_counts SET hidden = true WHERE post_id = (SELECT min(id) FROM posts)",
            """INSERT INTO worlds (name, database, kind, state, run_id, note) VALUES
               ('try', 'simfeed_world_none_1', 'fork', 'ready', 2, 'a note'),
               ('kept', 'simfeed_world_none_2', 'checkpoint', 'ready', 2, '')""",
        ):
            await connection.execute(statement)
        for persona_id in (1, 2):
            spec = personas.spec_of(await connection.fetchrow(personas.PEOPLE["persona"], persona_id))
            await connection.execute(
                "INSERT INTO persona_versions (persona_id, version, spec) VALUES ($1, 1, $2)",
                persona_id,
                spec.model_copy(update={"bio": "what it was before"}).model_dump_json(exclude_none=True),
            )
        await connection.execute(
            """
            INSERT INTO admin_invitations (email, token_sha256, expires_at)
            SELECT 'guest' || n || '@example.org', sha256(n::text::bytea), now() + make_interval(hours => n)
            FROM generate_series(-2, 9) n
            """
        )
        for n in range(60):
            await audit.record(connection, None, "test.done", f"entry {n}", said=f"something {n}", list=["a", n])


async def _study(database: Database) -> dict[str, list[Any]]:
    """A draft, and a study in which somebody has begun to write."""
    study = await open_study(database)
    taker = await take_part(database, study, label="seat 1")
    await rooms.enter(database, taker.key)
    await rooms.say(database, taker.key, "hello")
    tokens = await studies.make_tokens(database, study, 2, labels=["seat 2", "seat 3"], by=None)
    draft = await studies.create(database, "draft", StudyDesign.model_validate(DESIGN), seed=7, by=None)
    return {
        "study_id": [study],
        "draft_id": [draft],
        "key": [taker.key],
        "session_id": [taker.key],
        "token": [one.token for one in tokens],
    }


async def _sessions(database: Database) -> dict[str, list[Any]]:
    """A focus group with all that may come of one, and a dialogue that stands still."""
    group = {
        "participants": {"mode": "from_demographics", "specifications": {"age": {"18-60": 1}}, "count": 4},
        "simulation_config": {"rounds": 2, "enable_thinking": True},
        "stimulus": {"type": "product", "content": "A cup with a deposit."},
        "questions": [
            {"key": "use", "type": "likert", "text": "I would use it."},
            {"key": "colour", "type": "single", "text": "Which colour?", "options": ["red", "green"]},
        ],
        "extraction_config": {"fields": ["reason", {"name": "use", "type": "boolean"}], "repetitions": 2},
        "checks": ["adherence", "fluency", "repetition", "convergence", "judge"],
    }
    bots = [{"name": "Ana", "prompt": "You are a geologist."}, {"name": "Bo", "prompt": "You are a journalist."}]
    talk = {"bots": bots, "seed_message": {"from": "Host", "message": "Where do metals come from?"}}
    settings = load_settings()
    done = await begin(database, settings, "focus_group", checked(Simulation, group), name="Cups")
    async with a_mind(database) as mind:
        await play(mind, settings, (await sessions.found(database, done))["id"])
    waits = await begin(database, settings, "dialogue", checked(Dialogue, talk), waits=True)
    await mark(database, await sessions.found(database, waits), "before it began")
    return {"session_key": [done], "waiting_key": [waits], "session_kind": ["focus_group"], "form": ["csv"]}


async def _experiments(database: Database) -> dict[str, list[Any]]:
    """An experiment with runs of every kind, one that is only planned, and packages; no world of theirs is made."""
    settings = load_settings()
    data = {
        "name": "latest against interest",
        "setting": {"cycles": 3},
        "variants": {"latest": {"ranker": "latest"}, "interest": {"ranker": "interest", "prompt": "Be kind."}},
        "runs": 4,
        "seed": 7,
        "hypotheses": ["Interest concentrates attention."],
        "outcomes": {"primary": ["attention_gini"], "exploratory": ["density"], "margins": {"attention_gini": 0.2}},
    }
    keys = []
    for name in ("latest against interest", ""):
        design = checked_experiment({**data, "name": name})
        told = await planning.estimate(database, settings, design)
        async with database.connection() as connection:
            keys.append(await planning.plan(connection, design, told))
    await freezing.freeze(database, settings, keys[0])
    for number in range(1, 9):
        values = {"attention_gini": 0.3 + number / 40, "density": 0.1 + (number % 3) / 50}
        series = [{"run": n, "attention_gini": values["attention_gini"] * n / 3, "posts": n} for n in (1, 2, 3)]
        await database.fetch(
            """
            UPDATE experiment_trials SET state = 'completed', outcomes = $2, series = $3, cycles_done = 3, calls = 40,
                   prompt_tokens = 9000, completion_tokens = 900, usd = 0.01, started_at = now(), ended_at = now(),
                   world_sha256 = sha256('world')
            WHERE number = $1 AND experiment_id = (SELECT id FROM experiments WHERE key = $4)
            """,
            number,
            json.dumps(values),
            json.dumps(series),
            keys[0],
        )
    for statement in (
        "UPDATE experiments SET state = 'partial', reason = 'of 8 runs 1 failed', ended_at = now(), started_at = now() "
        "WHERE key = $1",
        "UPDATE experiment_trials SET state = 'failed', reason = 'the provider is late', excluded = 'the run failed' "
        "WHERE number = 6 AND experiment_id = (SELECT id FROM experiments WHERE key = $1)",
        "UPDATE experiment_trials SET excluded = 'by hand: a power cut' WHERE number = 7 "
        "AND experiment_id = (SELECT id FROM experiments WHERE key = $1)",
    ):
        await database.fetch(statement, keys[0])
    await database.fetch(
        """
        INSERT INTO experiments (key, name, venue, design, seed, source, parallel)
        SELECT 'k3v9mq2xw7ad', 'two bots', 'focus_group', '{"variants": {"talk": {}}}', 7, 'home', 1
        """
    )
    await database.fetch(
        """
        INSERT INTO experiment_trials (experiment_id, number, variant, replicate, seed, state, world, session, outcomes)
        SELECT id, 1, 'talk', 0, 7, 'completed', 'home', (SELECT min(key) FROM sessions), '{"lines": 12}'
        FROM experiments WHERE key = 'k3v9mq2xw7ad'
        """
    )
    await references.attach(database, keys[0], "attention_gini", "a town", [0.4, 0.5, 0.45], note="made up for a test")
    await freezing.amend(
        database, settings, keys[0], {"outcomes": {"margins": {"density": 0.1}}}, "asked by a reviewer"
    )
    await database.fetch(
        """
        INSERT INTO datasets (key, kind, about, options, state, reason, size, rows, sha256, ended_at) VALUES
            ('k3v9mq2xw7ab', 'world', 'home', '{}', 'completed', NULL, 1200000, 5400, sha256('a'), now()),
            ('k3v9mq2xw7ac', 'experiment', 'home', '{}', 'failed', 'the server ended', NULL, NULL, NULL, now())
        """
    )
    return {"experiment_key": keys[:1], "number": [1], "planned_key": keys[1:], "dataset_key": ["k3v9mq2xw7ab"]}


async def _values(database: Database) -> dict[str, list[Any]]:
    async def column(query: str) -> list[Any]:
        return [row[0] for row in await database.fetch(query)]

    posts = await column(
        "SELECT post_id FROM post_counts WHERE NOT hidden ORDER BY comments_count + likes_count DESC, post_id LIMIT 2"
    )
    people = await database.fetch("SELECT id, username FROM personas WHERE id IN (1, 2) ORDER BY id")
    turns = await column(
        "SELECT turn_id FROM actions WHERE effect IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 2"
    )
    made = await column("SELECT object_id FROM actions WHERE effect = 'post' AND outcome = 'made' LIMIT 1")
    return {
        "post_id": posts,
        "effect": ["post"],
        "object_id": made,
        "a": turns[:1],
        "b": turns[1:],
        "username": [row["username"] for row in people],
        "handle": [row["username"] for row in people],
        "persona_id": [row["id"] for row in people],
        "run_id": [2, 1],
        "turn_id": turns,
        "step": [0],
        "invitation_id": [1],
        "admin_id": [1],
        "version": [1],
        "page": [1],
        "world": ["try"],
        "name": ["home"],
        "other": ["home"],
    }


async def poison(world: World) -> None:
    """Write hostile text wherever a model, an admin or a provider has a say."""
    connection = await asyncpg.connect(world.url)
    spread = Spreader()
    try:
        async with connection.transaction():
            await connection.execute("SET CONSTRAINTS ALL DEFERRED")
            for (table, column), room in ROOM.items():
                where = "WHERE body <> ''" if (table, column) == ("posts", "body") else ""
                for key in await connection.fetch(f"SELECT ctid::text AS at FROM {table} {where}"):
                    text = spread.fill(room)
                    await connection.execute(
                        f"UPDATE {table} SET {column} = $1 WHERE ctid = $2::text::tid", text, key["at"]
                    )
            for table, column in DOCUMENTS:
                await _documents(connection, spread, table, column)
            for _ in range(20):
                await audit.record(connection, None, spread.one(), spread.fill(300), **{spread.one(): spread.fill(300)})
    finally:
        await connection.close()


async def _documents(connection: asyncpg.Connection, spread: Spreader, table: str, column: str) -> None:
    kind = "jsonb" if table in ("personas", "persona_versions", "runs", "session_lines") else "bytea"
    for row in await connection.fetch(
        f"SELECT ctid::text AS at, {column} AS body FROM {table} WHERE {column} IS NOT NULL"
    ):
        with suppress(ValueError):
            made = json.dumps(_hostile(json.loads(row["body"]), spread), ensure_ascii=False)
            value = made if kind == "jsonb" else made.encode()
            await connection.execute(f"UPDATE {table} SET {column} = $1 WHERE ctid = $2::text::tid", value, row["at"])


def _hostile(value: Any, spread: Spreader, name: str = "") -> Any:
    match value:
        case dict():
            return {key: _hostile(inner, spread, key) for key, inner in value.items()}
        case list():
            return [_hostile(inner, spread, name) for inner in value]
        case str() if name == "arguments":
            return json.dumps({"body": spread.fill(200), spread.one(): 1})
        case str() if name not in KEPT:
            return spread.fill(110 if len(value) < 100 else 300)
        case _:
            return value


async def become_admin(address: str) -> dict[str, str]:
    """Register the first admin and sign in: the cookies of a session."""
    async with httpx2.AsyncClient(base_url=address) as client:
        person = {"username": "ada", "email": "ada@example.org", "password": PASSWORD, "token": BOOTSTRAP}
        made = await client.post("/admin/register", data=person)
        assert made.status_code == 303, made.text
        entered = await client.post("/admin/login", data={"username": "ada", "password": PASSWORD})
        assert entered.status_code == 303, entered.text
        return dict(client.cookies)
