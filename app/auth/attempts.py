"""How often a password may be guessed: by address, by account, and apart from both by a device that knew it before.

The last is OWASP's device cookie: whoever guesses from many addresses can close an account to devices unknown to it,
but never to those its owner has signed in with.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from app.auth import tokens
from app.db.engine import Database
from app.db.queries import load
from app.errors import TooMany

ACCOUNTS = load("accounts")
IP_WINDOW, ACCOUNT_WINDOW = 300, 3600
DEVICE_DAYS = 90
DEVICE_MAX = 128
FREE = 5
"""Wrong passwords in an hour that are answered at once."""

FIRST_DELAY = 0.1


@dataclass(frozen=True)
class Limits:
    """Attempts in their windows, and the longest delay of an answer in seconds."""

    per_ip: int
    per_account: int
    delay: float


async def count(database: Database, key: str, most: int, window: int) -> int:
    """Count an attempt and tell how many that makes in this window of `window` seconds.

    Raises:
        TooMany: more than `most`.
    """
    row = await database.fetchrow(ACCOUNTS["count_attempt"], key, window)
    assert row is not None  # noqa: S101 - an upsert always returns its row
    if row["attempts"] > most:
        raise TooMany("too many attempts; try again later", headers={"Retry-After": str(max(1, row["left"]))})
    return int(row["attempts"])


async def take_back(database: Database, *keys: str) -> None:
    """Count those that turned out right as if they had not been."""
    await database.fetchval(ACCOUNTS["take_back_attempts"], list(keys))


def account_key(admin_id: int | None, login: str) -> str:
    """One for all the names of an account; one for each name that is nobody's."""
    return f"account:{admin_id}" if admin_id else f"name:{tokens.digest(login.lower()).hex()[:32]}"


def delay(attempts: int, longest: float) -> float:
    """Seconds before a wrong password is answered: doubling from the sixth in the window on."""
    return min(longest, FIRST_DELAY * 2.0 ** (attempts - FREE - 1)) if attempts > FREE else 0.0


def new_device(secret: str, admin_id: int, password_hash: str) -> str:
    """What a device shows when it comes again; worth nothing after a change of the password."""
    nonce = secrets.token_urlsafe(16)
    return f"{nonce}.{_mark(secret, nonce, admin_id, password_hash)}"


def device_key(secret: str, device: str, admin_id: int, password_hash: str) -> str | None:
    """What a device's attempts are counted by; None if it never signed in as this admin."""
    nonce, _, mark = device.partition(".")
    expected = _mark(secret, nonce, admin_id, password_hash)
    known = hmac.compare_digest(mark.encode("utf-8", "replace"), expected.encode())
    return f"device:{nonce}" if known and nonce else None


def _mark(secret: str, nonce: str, admin_id: int, password_hash: str) -> str:
    words = f"device|{nonce}|{admin_id}|{password_hash}".encode("utf-8", "replace")
    return hmac.new(secret.encode(), words, hashlib.sha256).hexdigest()
