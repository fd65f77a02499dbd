"""The second step of a sign-in: a code of the admin's authenticator app, or a recovery code.

A right password alone gives a half login: a signed word that says whose password was known, for five minutes.
"""

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
import time

import asyncpg

from app.auth import attempts, passwords, tokens, totp
from app.auth.audit import record
from app.db.engine import Database
from app.db.queries import load
from app.errors import Conflict, FieldError, Invalid, NotFound, Unauthorized

FACTOR = load("second_factor")
ACCOUNTS = load("accounts")
HALF_SECONDS = 300
HALF_MAX = 200
PENDING_MINUTES = 15
RECOVERY_CODES = 10
WRONG_CODE = "the code is wrong, too old, or has been used"

_CODE = re.compile(rf"[0-9]{{{totp.DIGITS}}}")
_RECOVERY = re.compile(r"[A-Z2-7]{16}")
_HALF = re.compile(r"([1-9][0-9]{0,17})\.([0-9]{1,12})\.([0-9a-f]{64})")


class CodeNeeded(Unauthorized):
    """The password is right, and a code is needed besides; `half` stands for the password until then."""

    def __init__(self, half: str) -> None:
        super().__init__(
            "the password is right; a code of your authenticator app is needed too: send it as `totp`",
            errors=[FieldError("/totp", "totp_required", "a code of the authenticator app, or a recovery code")],
        )
        self.half = half


def half_login(secret: str, admin_id: int, password_hash: str) -> str:
    """Says for five minutes that somebody knew this password; worth nothing after it is changed."""
    until = int(time.time()) + HALF_SECONDS
    return f"{admin_id}.{until}.{_mark(secret, admin_id, until, password_hash)}"


async def halfway(database: Database, secret: str, half: str) -> asyncpg.Record:
    """The admin whose password was known.

    Raises:
        Unauthorized: the half login is not ours, or its five minutes are over.
    """
    parts = _HALF.fullmatch(half)
    if parts is not None:
        admin_id, until = int(parts[1]), int(parts[2])
        row = await database.fetchrow(ACCOUNTS["by_id"], admin_id)
        expected = _mark(secret, admin_id, until, row["password_hash"] if row else "")
        if hmac.compare_digest(parts[3], expected) and row is not None and time.time() < until:
            return row
    raise Unauthorized("the five minutes for the code are over: begin again with the password")


def _mark(secret: str, admin_id: int, until: int, password_hash: str) -> str:
    words = f"half|{admin_id}|{until}|{password_hash}".encode("utf-8", "replace")
    return hmac.new(secret.encode(), words, hashlib.sha256).hexdigest()


async def check(
    database: Database,
    secret: str,
    admin_id: int,
    code: str,
    *,
    limits: attempts.Limits,
    device: str | None = None,
) -> None:
    """Take a code, which counts once.

    Args:
        device: what attempts of a device that signed in before are counted by, apart from all others.

    Raises:
        Unauthorized: the code is wrong or used.
        TooMany: too many wrong ones.
    """
    key = f"totp:{device or admin_id}"
    tried = await attempts.count(database, key, limits.per_account, attempts.ACCOUNT_WINDOW)
    if not await spend(database, secret, admin_id, code):
        await asyncio.sleep(attempts.delay(tried, limits.delay))
        raise Unauthorized(WRONG_CODE, errors=[FieldError("/totp", "totp_wrong", WRONG_CODE)])
    await attempts.take_back(database, key)


async def spend(database: Database, secret: str, admin_id: int, code: str) -> bool:
    """Whether it is a code of this admin that has not been taken before; it is now."""
    plain = re.sub(r"[ -]", "", code).upper()
    if _CODE.fullmatch(plain):
        stored = await database.fetchval(FACTOR["secret"], admin_id)
        if stored is None:
            return False
        step = totp.step_of(totp.opened(secret, admin_id, stored), plain, time.time())
        return step is not None and await database.fetchval(FACTOR["spend_step"], admin_id, step, stored) is not None
    if not _RECOVERY.fullmatch(plain):
        return False
    async with database.connection() as connection, connection.transaction():
        if await connection.fetchval(FACTOR["spend_recovery"], admin_id, tokens.digest(plain)) is None:
            return False
        left = await connection.fetchval(FACTOR["recovery_left"], admin_id)
        await record(connection, admin_id, "admin.recovery_code_used", str(admin_id), left=left)
    return True


async def state(database: Database, admin_id: int) -> asyncpg.Record | None:
    """Since when codes are asked for (`confirmed_at`), and how many recovery codes are left; None when they are not."""
    return await database.fetchrow(FACTOR["state"], admin_id)


async def begin(database: Database, secret: str, admin_id: int, password: str) -> None:
    """Make a secret, to be confirmed by its first code.

    Raises:
        Invalid: the password is wrong.
        Conflict: codes are asked for already.
    """
    await _know(database, admin_id, password)
    stored = totp.sealed(secret, admin_id, totp.new_key())
    if await database.fetchval(FACTOR["begin"], admin_id, stored) is None:
        raise Conflict("an authenticator is in use already: turn it off first")


async def _waiting(database: Database, admin_id: int) -> bytes:
    stored: bytes | None = await database.fetchval(FACTOR["pending"], admin_id, PENDING_MINUTES)
    if stored is None:
        raise NotFound(f"no authenticator waits to be confirmed; it does so for {PENDING_MINUTES} minutes")
    return stored


async def pending(database: Database, secret: str, admin_id: int) -> bytes:
    """The secret that waits for its first code.

    Raises:
        NotFound: there is none, or it has waited too long.
    """
    return totp.opened(secret, admin_id, await _waiting(database, admin_id))


async def confirm(database: Database, secret: str, admin_id: int, username: str, code: str) -> list[str]:
    """Put the secret in force by its first code; the recovery codes that are returned are kept only as hashes.

    Raises:
        Invalid: the code is wrong.
        NotFound: nothing waits to be confirmed.
    """
    stored = await _waiting(database, admin_id)
    plain = re.sub(r"[ -]", "", code)
    key = totp.opened(secret, admin_id, stored)
    step = totp.step_of(key, plain, time.time()) if _CODE.fullmatch(plain) else None
    if step is None:
        raise Invalid("the code is wrong: is the clock of your phone right?")
    codes = [base64.b32encode(secrets.token_bytes(10)).decode() for _ in range(RECOVERY_CODES)]
    async with database.connection() as connection, connection.transaction():
        if await connection.fetchval(FACTOR["confirm"], admin_id, step, stored) is None:
            raise NotFound("this authenticator has been confirmed, or replaced by another, a moment ago")
        await connection.execute(FACTOR["add_recovery"], admin_id, [tokens.digest(one) for one in codes])
        await record(connection, admin_id, "admin.totp_on", username)
    return ["-".join(one[at : at + 4] for at in range(0, 16, 4)) for one in codes]


async def turn_off(
    database: Database, secret: str, admin_id: int, username: str, *, password: str, code: str, limits: attempts.Limits
) -> None:
    """Ask for codes no more.

    Raises:
        Invalid: the password is wrong.
        Unauthorized: the code is wrong or used.
        TooMany: too many wrong ones.
    """
    await _know(database, admin_id, password)
    await check(database, secret, admin_id, code, limits=limits)
    await _forget(database, admin_id, username, by=admin_id)


async def reset(database: Database, login: str) -> None:
    """Turn an admin's authenticator off, on the command line: for those who lost it and all recovery codes.

    Raises:
        NotFound: no such admin, or none in force.
    """
    row = await database.fetchrow(ACCOUNTS["by_login"], login)
    if row is None:
        raise NotFound(f"no admin has the username or e-mail {login}")
    await _forget(database, row["id"], row["username"], by=None)


async def _forget(database: Database, admin_id: int, username: str, *, by: int | None) -> None:
    async with database.connection() as connection, connection.transaction():
        if await connection.fetchval(FACTOR["forget"], admin_id) is None:
            raise NotFound("no authenticator is in use")
        await record(connection, by, "admin.totp_off", username)


async def _know(database: Database, admin_id: int, password: str) -> None:
    row = await database.fetchrow(ACCOUNTS["by_id"], admin_id)
    if row is None or not await passwords.verified(password, row["password_hash"]):
        raise Invalid("the password is wrong")
