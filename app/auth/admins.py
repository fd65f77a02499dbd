"""Admins: how they register, sign in and out, invite others, and shut each other out."""

import asyncio
import hmac
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

import asyncpg

from app.auth import attempts, keys, passwords, second_factor, tokens
from app.auth.audit import broken_audit, record
from app.db.engine import Database
from app.db.queries import load
from app.errors import Conflict, FieldError, Forbidden, Invalid, NotFound, Unauthorized

__all__ = ["broken_audit", "record"]
ACCOUNTS = load("accounts")
INVITATION_HOURS = 24
WRONG = "the username or the password is wrong"
Role = Literal["admin", "observer"]
"""An admin changes everything; an observer sees all that admins see, and changes only what is their own."""


@dataclass(frozen=True)
class AdminInfo:
    """What may be told of an admin."""

    id: int
    username: str
    email: str
    role: Role


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
    """Make an admin: the first by the bootstrap token, later ones by an invitation, which says their role.

    All in one transaction.

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
            role = "admin"
            if await connection.fetchval(ACCOUNTS["bootstrap"]) is None:
                raise Forbidden("the bootstrap token has been used: ask an admin for an invitation")
        else:
            role = await connection.fetchval(ACCOUNTS["accept_invitation"], tokens.digest(invite_token or ""), email)
            if role is None:
                raise Forbidden("the invitation is unknown, used, expired, or for another e-mail address")
        row = await connection.fetchrow(ACCOUNTS["add_admin"], username, email, password_hash, role)
        if row is None:
            raise Conflict("an admin with this username or e-mail exists")
        await record(connection, row["id"], "admin.registered", row["username"], role=role)
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
    code: str | None = None,
) -> Access:
    """Open a session and return its access token.

    The answer and its time are the same for an unknown admin and a wrong password. Whether a code is asked for is told
    only to who knows the password.

    Args:
        device: what a device that has signed in before was given then.
        code: one of the authenticator app, or a recovery code; not looked at where none is asked for.

    Raises:
        CodeNeeded: the password is right, and `code` is needed too.
        Unauthorized: username, password or code is wrong.
        TooMany: too many wrong ones from this address or for this account, unless the device is known.
    """
    row = await database.fetchrow(ACCOUNTS["by_login"], login)
    admin_id, stored = (row["id"], row["password_hash"]) if row else (None, None)
    known = attempts.device_key(secret, device, admin_id or 0, stored or "")
    if known is not None:
        counted = [known]
    else:
        counted = [f"ip:{address}", attempts.account_key(admin_id, login)]
        await attempts.count(database, counted[0], limits.per_ip, attempts.IP_WINDOW)
    tried = await attempts.count(database, counted[-1], limits.per_account, attempts.ACCOUNT_WINDOW)
    if not await passwords.verified(password, stored) or admin_id is None or stored is None:
        await asyncio.sleep(attempts.delay(tried, limits.delay))
        raise Unauthorized(WRONG)
    if passwords.outdated(stored):
        stored = await passwords.hashed(password)
        await database.fetchval(ACCOUNTS["rehash"], admin_id, stored)
    await attempts.take_back(database, *counted)
    if row is not None and row["second"]:
        if code is None:
            raise second_factor.CodeNeeded(second_factor.half_login(secret, admin_id, stored))
        await second_factor.check(database, secret, admin_id, code, limits=limits, device=known)
    return await _enter(database, secret, admin_id, stored, minutes)


async def finish_sign_in(
    database: Database, secret: str, *, half: str, code: str, device: str, minutes: int, limits: attempts.Limits
) -> Access:
    """Open a session by the code that was still needed after the password.

    Raises:
        Unauthorized: the code is wrong, or the half login has ended.
        TooMany: too many wrong codes.
    """
    row = await second_factor.halfway(database, secret, half)
    known = attempts.device_key(secret, device, row["id"], row["password_hash"])
    await second_factor.check(database, secret, row["id"], code, limits=limits, device=known)
    return await _enter(database, secret, row["id"], row["password_hash"], minutes)


async def _enter(database: Database, secret: str, admin_id: int, password_hash: str, minutes: int) -> Access:
    access = await open_session(database, secret, admin_id, minutes)
    return replace(access, device=attempts.new_device(secret, admin_id, password_hash))


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
    return AdminInfo(**row), claims.jti


async def acting(database: Database, secret: str, token: str) -> tuple[AdminInfo, str | None]:
    """The admin whom an access token or an API key stands for, and the session; a key has none.

    Raises:
        Unauthorized: it is not valid, or has ended.
    """
    if keys.is_key(token):
        return AdminInfo(**await keys.holder(database, token)), None
    return await signed_in(database, secret, token)


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


async def known(database: Database, login: str) -> int:
    """The id of the enabled admin with this username or e-mail.

    Raises:
        NotFound: there is none.
    """
    row = await database.fetchrow(ACCOUNTS["by_login"], login)
    if row is None:
        raise NotFound(f"no admin has the username or e-mail {login}")
    return int(row["id"])


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


async def invite(database: Database, email: str, *, by: int | None, role: Role = "admin") -> tuple[str, asyncpg.Record]:
    """Invite an address for a day; the token is returned once and kept only as a hash."""
    token = tokens.new_token("sf_inv")
    async with database.connection() as connection, connection.transaction():
        row = await connection.fetchrow(ACCOUNTS["invite"], email, tokens.digest(token), by, INVITATION_HOURS, role)
        assert row is not None  # noqa: S101 - an insert without conflict clause always returns its row
        await record(connection, by, "admin.invited", email, role=role)
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
    """Shut an admin out: their sessions, open invitations and keys end at once.

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


async def set_role(database: Database, admin_id: int, role: Role, *, by: int) -> None:
    """Make another admin an observer, or an observer an admin; effective at once, for sessions and keys too.

    Whoever does it stays an admin, so there is always one left, also when two do it to each other at the same time.

    Raises:
        Conflict: it is oneself.
        NotFound: no such admin.
        Forbidden: one is no admin oneself any more.
    """
    if admin_id == by:
        raise Conflict("you can't change your own role: another admin can")
    async with database.connection() as connection, connection.transaction():
        await connection.execute(ACCOUNTS["hold_admins"])
        username = await connection.fetchval(ACCOUNTS["set_role"], admin_id, by, role)
        if username is not None:
            await record(connection, by, "admin.role_set", username, role=role)
            return
        now = await connection.fetchval(ACCOUNTS["role"], admin_id)
    if now is None:
        raise NotFound(f"no admin has the id {admin_id}")
    if now != role:
        raise Forbidden("you are no admin any more")


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
