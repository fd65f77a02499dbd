"""One-time codes by time (RFC 6238 over RFC 4226: HMAC-SHA-1, 30 seconds, 6 digits), and how their secrets are kept."""

import base64
import hashlib
import hmac
import secrets
from urllib.parse import quote, urlencode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.errors import Unauthorized

STEP_SECONDS = 30
DIGITS = 6
DRIFT = 1
"""Steps that the clock of a phone may be off, either way."""

SECRET_BYTES = 20
ISSUER = "Sim-Feed"
_NONCE = 12


def code_at(key: bytes, step: int, digits: int = DIGITS) -> str:
    """The code of a step: RFC 4226's dynamic truncation of HMAC-SHA-1."""
    mac = hmac.digest(key, step.to_bytes(8, "big"), hashlib.sha1)
    at = mac[-1] & 0xF
    number = int.from_bytes(mac[at : at + 4], "big") & 0x7FFF_FFFF
    return str(number % 10**digits).zfill(digits)


def step_of(key: bytes, code: str, now: float) -> int | None:
    """The step, within the drift, whose code this is; all are compared, whichever fits."""
    today = int(now) // STEP_SECONDS
    found = None
    for step in range(max(0, today - DRIFT), today + DRIFT + 1):
        if hmac.compare_digest(code_at(key, step).encode(), code.encode("utf-8", "replace")):
            found = step
    return found


def new_key() -> bytes:
    """As many random bytes as SHA-1 has (RFC 4226, R6)."""
    return secrets.token_bytes(SECRET_BYTES)


def spelled(key: bytes) -> str:
    """The secret as people type it into their app."""
    return base64.b32encode(key).decode()


def address(key: bytes, username: str) -> str:
    """The `otpauth:` address that apps read from the picture."""
    query = urlencode(
        {"secret": spelled(key), "issuer": ISSUER, "digits": DIGITS, "period": STEP_SECONDS}, quote_via=quote
    )
    return f"otpauth://totp/{quote(ISSUER)}:{quote(username, safe='')}?{query}"


def _cipher(secret: str) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, salt=None, info=b"simfeed totp").derive(secret.encode()))


def sealed(secret: str, admin_id: int, key: bytes) -> bytes:
    """A secret as it is stored: encrypted under SECRET_KEY, and worth nothing in another admin's row."""
    nonce = secrets.token_bytes(_NONCE)
    return nonce + _cipher(secret).encrypt(nonce, key, str(admin_id).encode())


def opened(secret: str, admin_id: int, stored: bytes) -> bytes:
    """The secret of an admin.

    Raises:
        Unauthorized: SECRET_KEY is not the one it was stored under.
    """
    try:
        return _cipher(secret).decrypt(stored[:_NONCE], stored[_NONCE:], str(admin_id).encode())
    except InvalidTag:
        raise Unauthorized(
            "codes of this authenticator can't be checked since SECRET_KEY was changed: use a recovery code, "
            "or have it turned off by `simfeed admin reset-totp NAME`"
        ) from None
