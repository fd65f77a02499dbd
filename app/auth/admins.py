"""Admins: how they register, sign in and out, and invite others."""

import hmac
from dataclasses import dataclass
from datetime import datetime

import asyncpg
import msgspec

from app.auth import passwords, tokens
from app.db.engine import Database
from app.db.queries import load
from app.errors import Conflict, FieldError, Forbidden, Invalid, NotFound, TooMany, Unauthorized

ACCOUNTS = load("accounts")
INVITATION_HOURS = 24
IP_WINDOW, ACCOUNT_WINDOW = 300, 3600
WRONG = "the username or the password is wrong"


@dataclass(frozen=True)
class AdminInfo:
    """What may be told of an admin."""

    id: int
    username: str
    email: str


@dataclass(frozen=True)
class Access:
    """A fresh access token and when it ends."""

    token: str
    expires: datetime


async def register(
    database: Database,
    *,
    username: str,
    email: str,
    password: str,
    bootstrap_token: str | None,
    invite_token: str | None,
    expected_bootstrap: str,
) -> asyncpg.Record:
    """Make an admin: the first by the bootstrap token, later ones by invitation. All in one transaction.

    Raises:
        Forbidden: the token is missing, wrong, used, expired, or another address's.
        Conflict: username or e-mail is taken.
    """
    if bootstrap_token is None and invite_token is None:
        raise Forbidden("a bootstrap_token (first admin) or an invite_token is needed to register")
    if bootstrap_token is not None and not _same(bootstrap_token, expected_bootstrap):
        raise Forbidden("the bootstrap token is wrong")
    password_hash = await passwords.hashed(password)
    async with database.connection() as connection, connection.transaction():
        if bootstrap_token is not None:
            if await connection.fetchval(ACCOUNTS["bootstrap"]) is None:
                raise Forbidden("the bootstrap token has been used: ask an admin for an invitation")
        elif await connection.fetchval(ACCOUNTS["accept_invitation"], tokens.digest(invite_token or ""), email) is None:
            raise Forbidden("the invitation is unknown, used, expired, or for another e-mail address")
        row = await connection.fetchrow(ACCOUNTS["add_admin"], username, email, password_hash)
        if row is None:
            raise Conflict("an admin with this username or e-mail exists")
        await record(connection, row["id"], "admin.registered", row["username"])
    return row


def _same(given: str, expected: str) -> bool:
    return bool(expected) and hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


async def throttle(database: Database, key: str, most: int, window: int) -> None:
    """Count an attempt.

    Raises:
        TooMany: there were more than `most` in this window of `window` seconds.
    """
    row = await database.fetchrow(ACCOUNTS["count_attempt"], key, window)
    if row is not None and row["attempts"] > most:
        raise TooMany("too many attempts; try again later", headers={"Retry-After": str(max(1, row["left"]))})


async def sign_in(
    database: Database,
    secret: str,
    *,
    login: str,
    password: str,
    address: str,
    minutes: int,
    per_ip: int,
    per_account: int,
) -> Access:
    """Open a session and return its access token.

    The answer and its time are the same for an unknown admin and a wrong password.

    Raises:
        Unauthorized: username or password is wrong.
        TooMany: too many attempts from this address or for this account.
    """
    await throttle(database, f"ip:{address}", per_ip, IP_WINDOW)
    account = f"account:{tokens.digest(login.lower()).hex()[:32]}:{address}"
    await throttle(database, account, per_account, ACCOUNT_WINDOW)
    row = await database.fetchrow(ACCOUNTS["by_login"], login)
    if not await passwords.verified(password, row["password_hash"] if row else None) or row is None:
        raise Unauthorized(WRONG)
    if passwords.outdated(row["password_hash"]):
        await database.fetchval(ACCOUNTS["rehash"], row["id"], await passwords.hashed(password))
    await database.fetchval(ACCOUNTS["forget_attempts"], account)
    return await open_session(database, secret, row["id"], minutes)


async def open_session(database: Database, secret: str, admin_id: int, minutes: int) -> Access:
    jti = tokens.new_jti()
    row = await database.fetchrow(ACCOUNTS["open_session"], jti, admin_id, minutes)
    assert row is not None  # noqa: S101 - an insert without conflict clause always returns its row
    issued, expires = row["created_at"], row["expires_at"]
    return Access(tokens.sign(secret, admin_id=admin_id, jti=jti, issued=issued, expires=expires), expires)


async def signed_in(database: Database, secret: str, token: str) -> tuple[AdminInfo, str]:
    """The admin whose live session a token names, and that session.

    Raises:
        Unauthorized: the token is not valid, or its session has ended.
    """
    claims = tokens.check(secret, token)
    row = await database.fetchrow(ACCOUNTS["session"], claims.jti, claims.admin_id)
    if row is None:
        raise Unauthorized("this session has ended: sign in again")
    return AdminInfo(row["id"], row["username"], row["email"]), claims.jti


async def sign_out(database: Database, jti: str) -> None:
    await database.fetchval(ACCOUNTS["close_session"], jti)


async def change_password(database: Database, admin: AdminInfo, *, old: str, new: str) -> None:
    """Set a new password and end every session.

    Raises:
        Invalid: the old password is wrong.
    """
    row = await database.fetchrow(ACCOUNTS["by_login"], admin.username)
    if row is None or not await passwords.verified(old, row["password_hash"]):
        raise Invalid("the old password is wrong", errors=[FieldError("/old_password", "wrong", "is not the password")])
    await set_password(database, admin.username, new)


async def set_password(database: Database, login: str, password: str) -> None:
    """Set an admin's password and end every session.

    Raises:
        NotFound: no such admin.
    """
    row = await database.fetchrow(ACCOUNTS["by_login"], login)
    if row is None:
        raise NotFound(f"no admin has the username or e-mail {login}")
    new_hash = await passwords.hashed(password)
    async with database.connection() as connection, connection.transaction():
        await connection.fetchval(ACCOUNTS["set_password"], row["id"], new_hash)
        await record(connection, row["id"], "admin.password_changed", row["username"])


async def invite(database: Database, email: str, *, by: int | None) -> tuple[str, asyncpg.Record]:
    """Invite an address for a day; the token is returned once and kept only as a hash."""
    token = tokens.new_token("sf_inv")
    async with database.connection() as connection, connection.transaction():
        row = await connection.fetchrow(ACCOUNTS["invite"], email, tokens.digest(token), by, INVITATION_HOURS)
        assert row is not None  # noqa: S101 - an insert without conflict clause always returns its row
        await record(connection, by, "admin.invited", email)
    return token, row


async def invitations(database: Database) -> list[asyncpg.Record]:
    return await database.fetch(ACCOUNTS["invitations"])


async def revoke(database: Database, invitation_id: int, *, by: int) -> None:
    """End an open invitation.

    Raises:
        NotFound: there is no open invitation with this id.
    """
    async with database.connection() as connection, connection.transaction():
        if await connection.fetchval(ACCOUNTS["revoke_invitation"], invitation_id) is None:
            raise NotFound(f"no open invitation has the id {invitation_id}")
        await record(connection, by, "admin.invitation_revoked", str(invitation_id))


async def admins(database: Database) -> list[asyncpg.Record]:
    return await database.fetch(ACCOUNTS["admins"])


async def bootstrapped(database: Database) -> bool:
    """Whether there has been a first admin."""
    return bool(await database.fetchval(ACCOUNTS["bootstrapped"]))


async def record(
    connection: asyncpg.pool.PoolConnectionProxy, admin_id: int | None, action: str, about: str, **detail: object
) -> None:
    """Write into the audit trail, in the caller's transaction."""
    await connection.execute(ACCOUNTS["audit"], admin_id, action, about, msgspec.json.encode(detail).decode())
