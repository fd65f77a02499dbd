"""Access tokens (JWT, HS256 only) and single-use tokens (random, kept as their SHA-256)."""

import hashlib
import re
import secrets
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jose import JWTError, jwt
from jose.utils import base64url_decode, base64url_encode

from app.errors import Unauthorized

ALGORITHM = "HS256"
ISSUER = "simfeed"
AUDIENCE = "simfeed-api"
LEEWAY_SECONDS = 30
TOKEN_MAX = 4_096
REQUIRED = ("exp", "iat", "sub", "aud", "iss", "jti")
OPTIONS: dict[str, Any] = {"leeway": LEEWAY_SECONDS, **{f"require_{claim}": True for claim in REQUIRED}}

_ID = re.compile(r"[1-9][0-9]{0,17}")
_JTI = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Claims:
    """Who a token is for, and the session it hangs on."""

    admin_id: int
    jti: str


def new_jti() -> str:
    return secrets.token_urlsafe(16)


def sign(secret: str, *, admin_id: int, jti: str, issued: datetime, expires: datetime) -> str:
    """An access token. Never of the future to us, however far our clock is behind the one that `issued` is from."""
    claims = {
        "sub": str(admin_id),
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": int(min(issued.timestamp(), time.time())),
        "exp": int(expires.timestamp()),
        "jti": jti,
    }
    return str(jwt.encode(claims, secret, algorithm=ALGORITHM, headers={"typ": "JWT"}))


def check(secret: str, token: str) -> Claims:
    """What a token says, if it is one of ours.

    Raises:
        Unauthorized: it is not, or it has expired.
    """
    try:
        if len(token) > TOKEN_MAX or jwt.get_unverified_header(token) != {"alg": ALGORITHM, "typ": "JWT"}:
            raise JWTError("too long, or not our header")
        claims = jwt.decode(token, secret, algorithms=[ALGORITHM], audience=AUDIENCE, issuer=ISSUER, options=OPTIONS)
        if not _one_spelling(token) or claims["iat"] > time.time() + LEEWAY_SECONDS:
            raise JWTError("spelled otherwise than we do, or of the future")
        if not _ID.fullmatch(claims["sub"]) or not _JTI.fullmatch(claims["jti"]):
            raise JWTError("no such admin or session can be")
        return Claims(int(claims["sub"]), claims["jti"])
    except (JWTError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise Unauthorized("the access token is not valid or has expired: sign in again") from None


def _one_spelling(token: str) -> bool:
    """Whether the signature is written as we write it: decoders pass over stray characters and spare bits."""
    signature = token.rpartition(".")[2].encode()
    return bool(base64url_encode(base64url_decode(signature)) == signature)


def new_token(prefix: str) -> str:
    """A single-use token of 32 random bytes; the prefix tells what it is for."""
    return f"{prefix}_{secrets.token_urlsafe(32)}"


def digest(token: str) -> bytes:
    """What is stored of a single-use token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
