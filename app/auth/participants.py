"""Participants: how a token lets one person in once, and what is kept of where they are, without who they are."""

import base64
import ipaddress
import re
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import asyncpg
import msgspec

from app.auth import attempts, tokens
from app.db.engine import Database
from app.db.queries import load
from app.errors import Conflict, NotFound, TooMany, Unauthorized

PARTICIPANTS = load("participants")
TOKENS_MOST = 10_000
"""Tokens that are made at once."""

NO_ENTRY = "this link or token is not valid, has been used, or its study is not open"
"""What everybody reads whom a token does not let in, whatever the cause."""

GUESS_SECONDS = 3600
PSEUDONYM_TRIES = 5
RECEIPT = re.compile(r"[A-Z2-7]{30}")
Stopped = Literal["dropped_out", "removed", "failed", "withdrawn"]
Stage = Literal["intake", "chat", "closing", "debrief", "done"]


@dataclass(frozen=True)
class NewToken:
    """A token as it is told once; `arm` None: it is assigned."""

    id: int
    token: str
    label: str
    arm: str | None


@dataclass(frozen=True)
class Entered:
    """Who was let in. `secret` is for their browser alone, empty for a client that has no pages of ours; `fresh` is
    False for one who was here before.

    `arm` is empty, and `place` None, until an arm is assigned.
    """

    id: int
    study_id: int
    pseudonym: str
    arm: str
    place: int | None
    stage: str
    secret: str
    fresh: bool


# Tokens


async def make_tokens(
    connection: asyncpg.pool.PoolConnectionProxy,
    study_id: int,
    count: int,
    *,
    arm: str | None = None,
    labels: Sequence[str] = (),
) -> list[NewToken]:
    """New tokens of 256 random bits. They are told here, once; only their hashes are kept."""
    made = [tokens.new_token("sf_par") for _ in range(count)]
    names = [*labels, *[""] * (count - len(labels))]
    rows = await _add(connection, study_id, made, [arm] * count, names, own=False)
    return [NewToken(rows[token], token, label, arm) for token, label in zip(made, names, strict=True)]


async def add_own_tokens(
    connection: asyncpg.pool.PoolConnectionProxy, study_id: int, lists: Mapping[str, Sequence[str]]
) -> int:
    """Take the study's own list of tokens, by arm; how many that were.

    Raises:
        Conflict: some of them still let somebody in elsewhere.
    """
    arms = [arm for arm, own in lists.items() for _ in own]
    own = [token for one in lists.values() for token in one]
    return len(await _add(connection, study_id, own, list(arms), [""] * len(own), own=True))


async def _add(
    connection: asyncpg.pool.PoolConnectionProxy,
    study_id: int,
    made: list[str],
    arms: Sequence[str | None],
    labels: list[str],
    *,
    own: bool,
) -> dict[str, int]:
    hashes = {tokens.digest(token): token for token in made}
    async with connection.transaction():
        rows = await connection.fetch(PARTICIPANTS["add_tokens"], study_id, list(hashes), list(arms), labels, own)
        ids = {hashes[row["sha256"]]: int(row["id"]) for row in rows}
        if missing := len(made) - len(ids):
            taken = [tokens.digest(token) for token in made if token not in ids]
            where = [row["name"] for row in await connection.fetch(PARTICIPANTS["held_by"], taken)]
            raise Conflict(
                f"{missing} of the tokens are in use in the study {', '.join(where)}: close that one first, or "
                "give each study tokens of its own"
            )
    return ids


async def list_tokens(database: Database, study_id: int, *, after: int, limit: int) -> list[asyncpg.Record]:
    """A study's tokens after an id: label, arm, state (open, used, revoked), and whom each let in."""
    return await database.fetch(PARTICIPANTS["tokens"], study_id, after, limit)


async def revoke_token(connection: asyncpg.pool.PoolConnectionProxy, study_id: int, token_id: int) -> str:
    """Take back an unused token; its label.

    Raises:
        NotFound: the study has no unused token with this id.
    """
    row = await connection.fetchrow(PARTICIPANTS["revoke_token"], study_id, token_id)
    if row is None:
        raise NotFound(f"the study has no unused token with the id {token_id}")
    return str(row["label"])


# Guessing


@asynccontextmanager
async def guarded(database: Database, address: str, most: int) -> AsyncIterator[None]:
    """Count what fails in here (`Unauthorized`) against the address: at most `most` failures an hour.

    People who come in cost nothing, so a whole class may come from one address at once.

    Raises:
        TooMany: there have been that many failures.
    """
    key = f"session:{_neighbourhood(address)}"
    row = await database.fetchrow(PARTICIPANTS["guesses"], key, GUESS_SECONDS)
    if row is not None and row["attempts"] >= most:
        raise TooMany("too many attempts; try again later", headers={"Retry-After": str(max(1, row["left"]))})
    try:
        yield
    except Unauthorized:
        await attempts.count(database, key, most, GUESS_SECONDS)
        raise


def _neighbourhood(address: str) -> str:
    """An address as guesses are counted: an IPv6 one by its /64, which one caller has to themselves."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(getattr(found, "ipv4_mapped", None) or found)


# Coming in


async def look(database: Database, token: str) -> asyncpg.Record:
    """The study a token leads to, without using it.

    Raises:
        Unauthorized: it leads nowhere.
    """
    if row := await database.fetchrow(PARTICIPANTS["look"], tokens.digest(token)):
        return row
    raise Unauthorized(NO_ENTRY)


async def redeem(
    connection: asyncpg.pool.PoolConnectionProxy,
    token: str,
    *,
    stage: Stage,
    arm_of: Callable[[int], str] | None,
    kept: str = "erase",
    consent_sha256: bytes | None = None,
    username: str | None = None,
    params: Mapping[str, str] | None = None,
    secret: str | None = "",
) -> Entered:
    """Use a token, once over any number of processes, and make the participant whom it lets in.

    Args:
        arm_of: the arm of a place, for a token that names none; None leaves it to `assign`.
        username: what they want to be called; it is kept apart, with `params` of their link.
        secret: what their browser shows from now on; made here if empty. None: they come by a client of their own,
            and have no pages of ours.

    Raises:
        Unauthorized: the token is unknown, used, revoked, or its study not open.
    """
    digest, secret = tokens.digest(token), tokens.new_token("sf_page") if secret == "" else secret
    known_by = None if secret is None else tokens.digest(secret)
    given = msgspec.json.encode(dict(params or {})).decode()
    for _ in range(PSEUDONYM_TRIES):
        pseudonym = f"P{_base32(5)[:6]}"
        try:
            async with connection.transaction():
                row = await connection.fetchrow(
                    PARTICIPANTS["redeem"],
                    digest,
                    pseudonym,
                    stage,
                    arm_of is not None,
                    kept,
                    consent_sha256,
                    known_by,
                    username,
                    given,
                )
                if row is None:
                    break
                arm = row["arm"]
                if row["place"] is not None and arm_of is not None:
                    arm = arm_of(row["place"])
                    await connection.execute(PARTICIPANTS["set_arm"], row["id"], arm, "", row["place"])
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name != "participants_study_id_pseudonym_key":
                raise
            continue
        return Entered(**{**dict(row), "arm": arm}, secret=secret or "", fresh=True)
    return await _reenter(connection, digest, secret, username)


async def _reenter(
    connection: asyncpg.pool.PoolConnectionProxy, digest: bytes, secret: str | None, username: str | None
) -> Entered:
    known_by = None if secret is None else tokens.digest(secret)
    row = await connection.fetchrow(PARTICIPANTS["reenter"], digest, known_by, username)
    if row is None:
        raise Unauthorized(NO_ENTRY)
    return Entered(**dict(row), secret=secret or "", fresh=False)


async def assign(
    connection: asyncpg.pool.PoolConnectionProxy, participant_id: int, stratum: str, arm_of: Callable[[int], str]
) -> str:
    """The arm of a participant; who has none yet gets the next place in their stratum. Asked again, it is the same."""
    async with connection.transaction():
        place = await connection.fetchval(PARTICIPANTS["place"], participant_id, stratum)
        if place is not None:
            await connection.execute(PARTICIPANTS["set_arm"], participant_id, arm_of(place), stratum, place)
        return str(await connection.fetchval(PARTICIPANTS["arm"], participant_id))


async def locked(connection: asyncpg.pool.PoolConnectionProxy, participant_id: int) -> asyncpg.Record:
    """A participant whom nobody else moves until the transaction ends.

    Raises:
        NotFound: there is none with this id.
    """
    if row := await connection.fetchrow(PARTICIPANTS["lock"], participant_id):
        return row
    raise NotFound(f"no participant has the id {participant_id}")


async def by_secret(database: Database, secret: str) -> asyncpg.Record | None:
    """Whose browser it is, with their study and room; None for a secret that is nobody's."""
    return await database.fetchrow(PARTICIPANTS["by_secret"], tokens.digest(secret))


async def came_by(database: Database, participant_id: int, token: str) -> bool:
    """Whether it is this token that let a participant in."""
    return await database.fetchval(PARTICIPANTS["came_by"], participant_id, tokens.digest(token)) is not None


# On the way


async def advance(
    connection: asyncpg.pool.PoolConnectionProxy | Database, participant_id: int, stage: Stage, to: Stage
) -> bool:
    """Move an active participant from one stage to another; False when they are not in it."""
    return await connection.fetchval(PARTICIPANTS["advance"], participant_id, stage, to) is not None


async def finish(
    connection: asyncpg.pool.PoolConnectionProxy | Database, participant_id: int, stage: Stage, code: str = ""
) -> str | None:
    """The end of the way, from the stage before it: the completion code, the study's own or a random one.

    Asked again, it is the same. None for whoever is elsewhere or no longer takes part.
    """
    given = await connection.fetchval(PARTICIPANTS["finish"], participant_id, stage, code or _base32(5))
    return None if given is None else str(given)


async def stop(
    connection: asyncpg.pool.PoolConnectionProxy | Database, participant_id: int, state: Stopped, reason: str
) -> bool:
    """An active participant ends before the end; False when they had ended already."""
    return await connection.fetchval(PARTICIPANTS["stop"], participant_id, state, reason) is not None


async def seen(database: Database, participant_id: int) -> None:
    """Their page or socket was heard of just now."""
    await database.fetchval(PARTICIPANTS["seen"], participant_id)


async def debriefed(database: Database, participant_id: int) -> None:
    """The debrief was shown to them."""
    await database.fetchval(PARTICIPANTS["debriefed"], participant_id)


async def answer(
    connection: asyncpg.pool.PoolConnectionProxy, participant_id: int, stage: Stage, answers: Mapping[str, Any]
) -> None:
    """Keep checked answers of the stage somebody is in; those that are None are kept as null.

    Raises:
        Conflict: they are not in this stage any more.
    """
    values = [msgspec.json.encode(value).decode() for value in answers.values()]
    kept = await connection.fetchval(PARTICIPANTS["answer"], participant_id, stage, list(answers), values)
    if kept is None:
        raise Conflict("these questions have been answered; go on with the page that is open")


async def answers(database: Database, participant_id: int, stage: Stage) -> dict[str, Any]:
    """What somebody has answered in a stage, by question."""
    rows = await database.fetch(PARTICIPANTS["answers"], participant_id, stage)
    return {row["question"]: msgspec.json.decode(row["value"]) for row in rows}


# Receipts


async def give_receipt(connection: asyncpg.pool.PoolConnectionProxy | Database, participant_id: int) -> str | None:
    """A code by which a participant can withdraw later. It is told here, once; None when one was given before."""
    code = _base32(20)[:30]
    if await connection.fetchval(PARTICIPANTS["give_receipt"], participant_id, tokens.digest(code)) is None:
        return None
    return "-".join(code[at : at + 5] for at in range(0, len(code), 5))


async def by_receipt(database: Database, code: str) -> asyncpg.Record:
    """Whose receipt code it is, however they spell it (spaces, dashes, small letters, 0 and 1).

    Raises:
        Unauthorized: nobody's.
    """
    plain = re.sub(r"[\s-]", "", code[:100]).upper().translate(str.maketrans("018", "OIB"))
    if RECEIPT.fullmatch(plain):
        row = await database.fetchrow(PARTICIPANTS["by_receipt"], tokens.digest(plain))
        if row is not None:
            return row
    raise Unauthorized("this receipt code is not known")


def _base32(size: int) -> str:
    """Random base32 of so many bytes, 8 characters for each 5."""
    return base64.b32encode(secrets.token_bytes(size)).decode().rstrip("=")
