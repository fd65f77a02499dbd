"""Admins: how they register, sign in and out, invite others, and shut each other out."""

import asyncio
import hmac
from dataclasses import dataclass, replace
from datetime import datetime

import asyncpg

from app.auth import attempts, passwords, tokens
from app.auth.audit import broken_audit, record
from app.db.engine import Database
from app.db.queries import load
from app.errors import Conflict, FieldError, Forbidden, Invalid, NotFound, Unauthorized

__all__ = ["broken_audit", "record"]
ACCOUNTS = load("accounts")
INVITATION_HOURS = 24
WRONG = "the username or the password is wrong"


@dataclass(frozen=True)
class AdminInfo:
    """What may be told of an admin."""

    id: int
    username: str
    email: str


@dataclass(frozen=True)
class Access:
    """A fresh access token, when it ends, and what the device shows when it signs in again."""

    token: str
    expires: datetime
    device: str = ""


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


async def sign_in(
    database: Database,
    secret: str,
    *,
    login: str,
    password: str,
    address: str,
    device: str,
    minutes: int,
    limits: attempts.Limits,
) -> Access:
    """Open a session and return its access token.

    The answer and its time are the same for an unknown admin and a wrong password.

    Args:
        device: what a device that has signed in before was given then.

    Raises:
        Unauthorized: username or password is wrong.
        TooMany: too many wrong ones from this address or for this account, unless the device is known.
    """
    row = await database.fetchrow(ACCOUNTS["by_login"], login)
    admin_id, stored = (row["id"], row["password_hash"]) if row else (None, None)
    known = attempts.device_key(secret, device, admin_id or 0, stored or "")
    if known is not None:
        keys = [known]
    else:
        keys = [f"ip:{address}", attempts.account_key(admin_id, login)]
        await attempts.count(database, keys[0], limits.per_ip, attempts.IP_WINDOW)
    tried = await attempts.count(database, keys[-1], limits.per_account, attempts.ACCOUNT_WINDOW)
    if not await passwords.verified(password, stored) or admin_id is None or stored is None:
        await asyncio.sleep(attempts.delay(tried, limits.delay))
        raise Unauthorized(WRONG)
    if passwords.outdated(stored):
        stored = await passwords.hashed(password)
        await database.fetchval(ACCOUNTS["rehash"], admin_id, stored)
    await attempts.take_back(database, *keys)
    access = await open_session(database, secret, admin_id, minutes)
    return replace(access, device=attempts.new_device(secret, admin_id, stored))


async def open_session(database: Database, secret: str, admin_id: int, minutes: int) -> Access:
    """A session of an admin who is not disabled.

    Raises:
        Unauthorized: they have been, a moment ago.
    """
    jti = tokens.new_jti()
    row = await database.fetchrow(ACCOUNTS["open_session"], jti, admin_id, minutes)
    if row is None:
        raise Unauthorized(WRONG)
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


async def sessions(database: Database, admin_id: int) -> list[asyncpg.Record]:
    """An admin's live sessions, the newest first."""
    return await database.fetch(ACCOUNTS["sessions"], admin_id)


async def end_session(database: Database, admin: AdminInfo, jti: str) -> None:
    """End one of an admin's own sessions.

    Raises:
        NotFound: it has ended, or is another's.
    """
    async with database.connection() as connection, connection.transaction():
        if await connection.fetchval(ACCOUNTS["end_session"], admin.id, jti) is None:
            raise NotFound("this session has ended already")
        await record(connection, admin.id, "admin.session_ended", admin.username)


async def sign_out_everywhere(database: Database, admin: AdminInfo) -> None:
    """End all sessions of an admin."""
    async with database.connection() as connection, connection.transaction():
        ended = await connection.fetch(ACCOUNTS["end_sessions"], admin.id)
        await record(connection, admin.id, "admin.signed_out_everywhere", admin.username, sessions=len(ended))


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


async def roll(database: Database) -> list[asyncpg.Record]:
    """All admins, when each signed in last, and how many sessions they have open."""
    return await database.fetch(ACCOUNTS["roll"])


async def disable(database: Database, admin_id: int, *, by: int) -> None:
    """Shut an admin out: their sessions and open invitations end at once.

    Whoever does it stays in, so there is always one left, also when two disable each other at the same time.

    Raises:
        Conflict: it is oneself.
        NotFound: no such admin, or not an enabled one.
    """
    if admin_id == by:
        raise Conflict("you can't disable yourself: another admin can")
    async with database.connection() as connection, connection.transaction():
        await connection.execute(ACCOUNTS["hold_admins"])
        username = await connection.fetchval(ACCOUNTS["disable"], admin_id, by)
        if username is None:
            raise NotFound(f"no enabled admin has the id {admin_id}")
        await record(connection, by, "admin.disabled", username)


async def enable(database: Database, admin_id: int, *, by: int) -> None:
    """Let a disabled admin sign in again.

    Raises:
        NotFound: no such admin, or not a disabled one.
    """
    async with database.connection() as connection, connection.transaction():
        username = await connection.fetchval(ACCOUNTS["enable"], admin_id)
        if username is None:
            raise NotFound(f"no disabled admin has the id {admin_id}")
        await record(connection, by, "admin.enabled", username)


async def bootstrapped(database: Database) -> bool:
    """Whether there has been a first admin."""
    return bool(await database.fetchval(ACCOUNTS["bootstrapped"]))
