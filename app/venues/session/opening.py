"""Begins sessions: puts together who takes part, opens the run, and tells what is wrong before anything is asked."""

import asyncio
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import msgspec

from app.agent.population import parse_personas
from app.agent.population.compose import compose
from app.agent.population.invented import handles
from app.agent.population.sampling import plan
from app.agent.prompt import texts_sha256
from app.db.engine import Database
from app.db.queries import load
from app.errors import FieldError, Invalid, Misconfigured
from app.llm.gateway import ready
from app.settings import Settings
from app.streams import number, stream
from app.venues.session.design import PARTICIPANTS_MOST, Dialogue, Extraction, Kind, Part, Simulation, Terms
from app.venues.session.reading import MODERATOR
from app.world import personas, sessions
from app.world.personas import PersonaSpec
from app.world.sessions import SESSIONS, Member

TURNS = load("turns")
NOBODY = PersonaSpec(username="nobody", description="Nobody in particular: as whom models are asked to do a task.")
SPECIFICATIONS_MOST = 4_000_000
"""Bytes of specifications, as JSON."""


@dataclass(frozen=True)
class Cast:
    """Who shall take part: a persona that is there (`id`), or one to be made; by which name; with which details."""

    name: str
    id: int | None = None
    spec: PersonaSpec | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


async def begin(
    database: Database,
    settings: Settings,
    kind: Kind,
    design: Part,
    *,
    name: str = "",
    by: int | None = None,
    of: int | None = None,
    waits: bool = False,
    steps: int | None = None,
) -> str:
    """Begin a session, and return its key; whoever drives sessions goes on with it.

    Args:
        of: the session whose transcript it reads.
        waits: nothing is asked until somebody lets it go on.
        steps: it pauses after so many lines.

    Raises:
        Invalid: a participant is not there or not well described; a model is not to be used. Names each place.
    """
    check_models(settings, design)
    async with database.connection() as connection, connection.transaction():
        cast = await _cast(connection, database, design, of)
        made = iter(await personas.add_cast(connection, _specs(cast))) if _specs(cast) else iter(())
        ids = [one.id if one.id is not None else next(made) for one in cast]
        key, row = await open_in(
            connection,
            settings,
            kind,
            design,
            list(zip(ids, cast, strict=True)),
            name=name,
            by=by,
            of=of,
            waits=waits,
        )
        if steps is not None:
            await connection.fetchval(SESSIONS["pause_at"], row, steps)
    return key


async def open_in(
    connection: asyncpg.pool.PoolConnectionProxy,
    settings: Settings,
    kind: Kind,
    design: Part,
    cast: Sequence[tuple[int, Cast]],
    *,
    name: str,
    by: int | None,
    of: int | None,
    waits: bool,
) -> tuple[str, int]:
    """Open a session and its run with these personas, in order from member 0; its key and number."""
    terms: Terms = design.terms  # type: ignore[attr-defined]
    key = sessions.new_key()
    kept = {"prompts_sha256": texts_sha256(), **_run_terms(settings, design, terms)}
    state = "paused" if waits else "running"
    run_id = await connection.fetchval(
        TURNS["open_run"], kind, f"{kind}/{key}", terms.seed, json.dumps(kept), [], state, "live", None, []
    )
    scope = getattr(getattr(design, "session_config", None), "cache_file", None) or key
    row = await connection.fetchval(
        SESSIONS["add"],
        key,
        kind,
        name,
        design.model_dump_json(by_alias=True),
        scope,
        terms.seed,
        run_id,
        of,
        by,
        [persona for persona, _ in cast],
        [one.name for _, one in cast],
        [json.dumps(dict(one.detail)) for _, one in cast],
    )
    return key, int(row)


def check_models(settings: Settings, design: Part) -> None:
    """Refuse models that can't be used under these settings.

    Raises:
        Invalid: names each place.
    """
    named = {"terms.model": design.terms.model}  # type: ignore[attr-defined]
    if isinstance(design, Dialogue):
        named |= {f"bots item {n}.model": bot.model for n, bot in enumerate(design.bots, 1)}
    wrong = []
    for place, model in named.items():
        try:
            if model:
                ready(settings, model)
        except Misconfigured as error:
            wrong.append(FieldError("/" + place.replace(".", "/"), "model", f"{place}: {error.detail}"))
    if wrong:
        raise Invalid("; ".join(one.message for one in wrong), errors=wrong)


def _run_terms(settings: Settings, design: Part, terms: Terms) -> dict[str, Any]:
    counts = isinstance(design, Dialogue) and design.stop.tokens is not None
    kept: dict[str, Any] = {
        "model": terms.model or settings.simfeed_model,
        "tool_mode": settings.tool_mode,
        "cache": terms.cache,
        "memory": "on" if terms.recall else "off",
        "remember": terms.remember,
        "counts_tokens": counts,
    }
    budgets = {"budget_tokens": terms.budget_tokens, "budget_usd": terms.budget_usd}
    return kept | {name: value for name, value in budgets.items() if value is not None}


def _specs(cast: Sequence[Cast]) -> list[PersonaSpec]:
    """New personas, with handles that differ from one another and from those of other sessions."""
    mark = secrets.token_hex(4)
    new = [one.spec for one in cast if one.spec is not None]
    return [spec.model_copy(update={"username": f"cast_{mark}_{n}"}) for n, spec in enumerate(new)]


async def _cast(
    connection: asyncpg.pool.PoolConnectionProxy, database: Database, design: Part, of: int | None
) -> list[Cast]:
    host = Cast(MODERATOR, spec=NOBODY)
    match design:
        case Dialogue():
            return [host, *[await _bot(connection, n, bot) for n, bot in enumerate(design.bots, 1)]]
        case Simulation():
            return [host, *await participants(connection, design)]
        case Extraction():
            assert of is not None  # noqa: S101 - who opens it has found the session
            return [_again(member) for member in await sessions.members(database, of)]
        case _:
            return [host]


def _again(member: Member) -> Cast:
    return Cast(member.name, id=member.persona_id, detail=member.detail)


async def _bot(connection: asyncpg.pool.PoolConnectionProxy, place: int, bot: Any) -> Cast:
    if bot.persona is None:
        described = f"A bot of a dialogue. {bot.prompt}"[:2_000] if bot.prompt else "A bot of a dialogue."
        return Cast(bot.name, spec=PersonaSpec(username=handles([bot.name])[0], description=described))
    row = await _persona(connection, bot.persona, f"bots item {place}.persona")
    return Cast(bot.name, id=row["id"])


async def _persona(connection: asyncpg.pool.PoolConnectionProxy, handle: str, place: str) -> asyncpg.Record:
    row = await connection.fetchrow(personas.PEOPLE["by_username"], handle.removeprefix("@"))
    if row is None:
        raise _wrong(place, f"no persona has the username {handle[:60]}")
    return row


def _wrong(place: str, what: str) -> Invalid:
    pointer = "/" + place.replace(" item ", "/").replace(".", "/")
    return Invalid(f"{place}: {what}", errors=[FieldError(pointer, "participants", what)])


PLACE = "participants.specifications"


async def participants(connection: asyncpg.pool.PoolConnectionProxy, design: Simulation) -> list[Cast]:
    """Who takes part in a simulation.

    Raises:
        Invalid: names what is wrong with whom.
    """
    asked, seed = design.participants, design.terms.seed
    if len(msgspec.json.encode(asked.specifications)) > SPECIFICATIONS_MOST:
        raise _wrong(PLACE, f"must be at most {SPECIFICATIONS_MOST // 1_000_000} MB of JSON")
    match asked.mode:
        case "from_demographics":
            found = await asyncio.to_thread(_of_demographics, asked.specifications, asked.count, seed)
        case "from_agent":
            found = await asyncio.to_thread(_of_agent, asked.specifications, asked.count)
        case "from_population":
            found = await _of_population(connection, asked.specifications, asked.count, seed)
        case _:
            found = await _custom(connection, _listed(asked.specifications))
            if asked.count is not None and asked.count != len(found):
                raise _wrong("participants.count", f"must be {len(found)}, the number of specifications, or left out")
    if not found:
        raise _wrong(PLACE, "must describe at least one participant")
    return _differing(found)


def _listed(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]


def _of_demographics(given: Any, count: int | None, seed: int) -> list[Cast]:
    if not isinstance(given, dict) or not given:
        raise _wrong(PLACE, "must be a demographics object: `simfeed population example` shows one")
    sample = plan(whole_demographics(given), count or 10, number(seed, "sample"), name=PLACE)
    specs = compose(sample, number(seed, "compose"))
    return [
        Cast(spec.display_name or spec.username, spec=spec, detail={"sampled": row})
        for spec, row in zip(specs, sample.rows, strict=True)
    ]


def whole_demographics(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Demographics in our form, of which the marginals alone may be given."""
    if not {"marginals", "joint", "ranges"} & set(given) and all(_is_marginal(one) for one in given.values()):
        return {"marginals": given}
    return given


def _is_marginal(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(share, int | float) for share in value.values())


def _read(records: Sequence[Any]) -> list[PersonaSpec]:
    """Personas of records in any of the forms that files of personas have."""
    result = parse_personas(msgspec.json.encode([_handled(record, n) for n, record in enumerate(records, 1)]), PLACE)
    if result.problems:
        told = [str(problem) for problem in result.problems[:20]]
        raise Invalid(
            "; ".join(told), errors=[FieldError("/" + PLACE.replace(".", "/"), "persona", one) for one in told]
        )
    return list(result.personas)


def _handled(record: Any, place: int) -> Any:
    """A plain record that has a name gets a handle, too: nobody in a session is spoken to by it."""
    plain = isinstance(record, dict) and isinstance(record.get("name"), str) and "description" in record
    if not plain or {"username", "personality", "persona", "type"} & set(record):
        return record
    rest = {key: value for key, value in record.items() if key != "name"}
    return {"username": f"participant_{place}", "display_name": record["name"], **rest}


def _of_agent(given: Any, count: int | None) -> list[Cast]:
    if isinstance(given, list) and len(given) > 1:
        raise _wrong(PLACE, "must be one agent; several are a population or custom")
    records = _listed(given)
    if not records or not isinstance(records[0], dict) or not records[0]:
        raise _wrong(PLACE, "must be an agent, as a file of one holds it")
    spec = _read(records)[0]
    return [Cast(_name(spec), spec=spec) for _ in range(count or 1)]


async def _of_population(
    connection: asyncpg.pool.PoolConnectionProxy, given: Any, count: int | None, seed: int
) -> list[Cast]:
    """A sample of a list of personas; or of the world's own, where it says `{"world": true}`."""
    if isinstance(given, dict) and given.get("world") is True and len(given) == 1:
        rows = await connection.fetch(SESSIONS["active"])
        if not rows:
            raise _wrong(PLACE, "the world has no personas")
        all_of_them = [Cast(str(_shown(row)), id=row["id"]) for row in rows]
    else:
        records = given.get("agents", given.get("personas")) if isinstance(given, dict) else given
        if not isinstance(records, list) or not records:
            raise _wrong(PLACE, 'must be a list of agents or personas, or {"world": true}')
        all_of_them = [Cast(_name(spec), spec=spec) for spec in await asyncio.to_thread(_read, records)]
    if count is None and len(all_of_them) > PARTICIPANTS_MOST:
        raise _wrong(
            "participants.count", f"is needed: of {len(all_of_them):,} at most {PARTICIPANTS_MOST:,} take part"
        )
    if count is None or count == len(all_of_them):
        return all_of_them
    if count > len(all_of_them):
        raise _wrong("participants.count", f"must be at most {len(all_of_them)}: so many there are")
    chosen = sorted(stream(seed, "sample").sample(range(len(all_of_them)), count))
    return [all_of_them[place] for place in chosen]


def _shown(row: asyncpg.Record) -> str:
    return str(msgspec.json.decode(row["profile"]).get("display_name") or row["username"])


async def _custom(connection: asyncpg.pool.PoolConnectionProxy, given: list[Any]) -> list[Cast]:
    """Handles of personas of the world, and personas as files describe them, in any mixture."""
    new = [one for one in given if not isinstance(one, str)]
    read = iter(await asyncio.to_thread(_read, new)) if new else iter(())
    found = []
    for place, one in enumerate(given, 1):
        if isinstance(one, str):
            row = await _persona(connection, one, f"{PLACE} item {place}")
            found.append(Cast(_shown(row), id=row["id"]))
        else:
            spec = next(read)
            found.append(Cast(_name(spec), spec=spec))
    return found


def _name(spec: PersonaSpec) -> str:
    return (spec.display_name or spec.username)[:60]


def _differing(cast: Sequence[Cast]) -> list[Cast]:
    """Names that differ: those of the same name are numbered from the second on."""
    seen: dict[str, int] = {}
    found = []
    for one in cast:
        seen[one.name] = seen.get(one.name, 0) + 1
        name = one.name if seen[one.name] == 1 else f"{one.name} {seen[one.name]}"
        found.append(Cast(name, one.id, one.spec, one.detail))
    return found
