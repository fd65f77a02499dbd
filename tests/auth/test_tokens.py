"""H1–H4: no access token but ours, and ours only while its session lives."""

import base64
import hashlib
import hmac
import json
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx2
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jose import jwt

from app.auth import admins, tokens
from app.errors import Unauthorized
from tests.conftest import PASSWORD, SECRET, sign_in

MUTATIONS = 2_000
HEADER = {"alg": "HS256", "typ": "JWT"}


def segment(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def forge(claims: object, *, header: object = None, key: bytes = SECRET.encode(), signature: str | None = None) -> str:
    """A token made by hand: whatever its header says, signed by HMAC-SHA256 under `key`."""
    signed = f"{segment(HEADER if header is None else header)}.{segment(claims)}"
    return f"{signed}.{segment(hmac.digest(key, signed.encode(), hashlib.sha256)) if signature is None else signature}"


def claims(**changes: Any) -> dict[str, Any]:
    """Claims that hold, with some changed; `...` takes one away."""
    now = int(time.time())
    held = {"sub": "1", "iss": "simfeed", "aud": "simfeed-api", "iat": now, "exp": now + 600, "jti": "j"} | changes
    return {name: value for name, value in held.items() if value is not ...}


def accepted(token: str, secret: str = SECRET) -> bool:
    try:
        tokens.check(secret, token)
    except Unauthorized:
        return False
    return True


def rsa_public(form: str) -> bytes:
    public = rsa.generate_private_key(65537, 2048).public_key()
    encoding = serialization.Encoding.PEM if form == "pem" else serialization.Encoding.DER
    return public.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)


def test_our_own_token_is_accepted() -> None:
    now = datetime.now(UTC)
    token = tokens.sign(SECRET, admin_id=7, jti="abc", issued=now, expires=now + timedelta(minutes=1))
    assert tokens.check(SECRET, token) == tokens.Claims(7, "abc")
    assert accepted(forge(claims()))


@pytest.mark.parametrize(
    "alg", ["none", "None", "nOnE", "NONE", "", None, "HS384", "HS512", "RS256", "ES256", "hs256", 1]
)
@pytest.mark.parametrize("signature", ["", None, "AAAA"])
def test_h1_only_our_algorithm_counts(alg: object, signature: str | None) -> None:
    forged = forge(claims(), header={"alg": alg, "typ": "JWT"}, signature=signature)
    assert not accepted(forged)
    assert not accepted(forged.removesuffix("."))


def test_h1_control_the_claims_of_an_unsigned_token_would_do() -> None:
    forged = forge(claims(), header={"alg": "none", "typ": "JWT"}, signature="AAAA")
    options = tokens.OPTIONS | {"verify_signature": False}
    assert jwt.decode(forged, SECRET, audience=tokens.AUDIENCE, issuer=tokens.ISSUER, options=options)["sub"] == "1"


@pytest.mark.parametrize(
    "key",
    [b"", b"secret", SECRET.lower().encode(), SECRET.encode() + b" ", SECRET.encode()[:-1], SECRET.encode() + b"\0"],
)
def test_h2_wrong_key(key: bytes) -> None:
    # HMAC pads keys with zero bytes, so that the last one is the same key
    assert accepted(forge(claims(), key=key)) == (key == SECRET.encode() + b"\0")


@pytest.mark.parametrize("form", ["pem", "der"])
@pytest.mark.parametrize("alg", ["HS256", "RS256"])
def test_h2_a_public_key_is_no_secret(form: str, alg: str) -> None:
    public = rsa_public(form)
    forged = forge(claims(), header={"alg": alg, "typ": "JWT"}, key=public)
    assert not accepted(forged)
    signed, _, seal = forged.rpartition(".")
    assert seal == segment(hmac.digest(public, signed.encode(), hashlib.sha256)), "control: to that key it is genuine"


@pytest.mark.parametrize(
    "extra",
    [
        {"kid": "../../../../dev/null"},
        {"kid": "x' UNION SELECT 'a"},
        {"jku": "https://evil.example/jwks.json"},
        {"x5u": "https://evil.example/cert.pem"},
        {"jwk": {"kty": "oct", "k": segment(b"evil")}},
        {"x5c": ["AAAA"]},
        {"crit": ["exp"]},
        {"b64": False},
        {"zip": "DEF"},
        {"typ": "at+jwt"},
        {"typ": "jwt"},
        {"cty": "JWT"},
    ],
)
def test_h2_a_header_names_no_key_of_its_own(extra: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    header = HEADER | extra
    assert not accepted(forge(claims(), header=header, key=b"evil"))
    assert not accepted(forge(claims(), header=header))
    if "crit" not in extra and "b64" not in extra:
        monkeypatch.setattr(jwt, "get_unverified_header", lambda token: HEADER)
        assert accepted(forge(claims(), header=header)), "control: without the check of the header it passes"


@pytest.mark.parametrize("claim", ["exp", "iat", "sub", "aud", "iss", "jti"])
def test_h3_every_claim_is_required(claim: str) -> None:
    assert not accepted(forge(claims(**{claim: ...})))


@pytest.mark.parametrize("claim", ["exp", "aud"])
def test_h3_control_the_library_alone_requires_none(claim: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "OPTIONS", {"leeway": tokens.LEEWAY_SECONDS})
    assert accepted(forge(claims(**{claim: ...})))


NOW = int(time.time())


@pytest.mark.parametrize(
    "change",
    [
        {"exp": NOW - 31},
        {"exp": 0},
        {"exp": -1},
        {"exp": "soon"},
        {"exp": None},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"exp": [NOW + 60]},
        {"nbf": NOW + 3_600},
        {"nbf": "later"},
        {"iat": NOW + 3_600},
        {"iat": None},
        {"iat": "now"},
        {"iat": {}},
        {"aud": "another"},
        {"aud": ""},
        {"aud": None},
        {"aud": []},
        {"aud": {"simfeed-api": 1}},
        {"iss": "another"},
        {"iss": None},
        {"iss": ["simfeed"]},
        {"sub": "ada"},
        {"sub": ""},
        {"sub": "1.5"},
        {"sub": None},
        {"sub": 1},
        {"jti": None},
        {"jti": 5},
    ],
)
def test_h3_wrong_claims(change: dict[str, Any]) -> None:
    assert not accepted(forge(claims(**change)))


def test_h3_control_the_library_alone_takes_a_token_of_the_future(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "LEEWAY_SECONDS", 10**9)
    assert accepted(forge(claims(iat=NOW + 3_600)))


@pytest.mark.parametrize("payload", [b"", b"null", b"[]", b'"x"', b"{", b"\xff\xfe", b"[" * 100_000, b"1" * 2_000])
def test_h3_a_payload_that_is_no_object(payload: bytes) -> None:
    assert not accepted(forge(payload))
    assert not accepted(forge(claims(), header=payload))


@pytest.mark.parametrize(
    "token", ["", ".", "..", "...", "a.b.c", "e30.e30.e30", "=.=.=", "ä.ö.ü", "\ud800", "\0", "A" * 2**20, "." * 2**20]
)
def test_h2_what_is_no_token(token: str) -> None:
    assert not accepted(token)


def spellings(token: str) -> list[str]:
    """The same token as lenient decoders of base64 would also read it."""
    head, _, seal = token.rpartition(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(seal[-1])
    spare = [seal[:-1] + alphabet[last ^ bits] for bits in (1, 2, 3)]
    return [f"{head}.{other}" for other in (*spare, seal + "=", seal[:9] + "!" + seal[9:], seal + "\n", " " + seal)]


def test_h2_a_signature_has_one_spelling(monkeypatch: pytest.MonkeyPatch) -> None:
    others = spellings(forge(claims()))
    assert not any(map(accepted, others))
    monkeypatch.setattr(tokens, "_one_spelling", lambda token: True)
    assert any(map(accepted, others)), "control: the library passes over spare bits and stray characters"


def mutations(token: str, number: int) -> list[str]:
    """Tokens that differ from `token` in a few characters, in a cut, or in the order of their parts."""
    chance = random.Random(20_261_121)
    alphabet = "ABCXYZabcxyz0189-_.=+/! "

    def one() -> str:
        kind, at = chance.randrange(5), chance.randrange(len(token))
        if kind == 0:
            return token[:at] + chance.choice(alphabet) + token[at + 1 :]
        if kind == 1:
            return token[:at] + chance.choice(alphabet) + token[at:]
        if kind == 2:
            return token[:at]
        if kind == 3:
            return token[:at] + token[at + 1 + chance.randrange(9) :]
        parts = token.split(".")
        chance.shuffle(parts)
        return ".".join(parts)

    made: set[str] = set()
    while len(made) < number:
        made |= {one()} - {token}
    return sorted(made)


async def test_h2_mutated_tokens(client: httpx2.AsyncClient, admin: dict[str, str]) -> None:
    statuses: dict[int, int] = {}
    for mutated in mutations(admin["Authorization"].removeprefix("Bearer "), MUTATIONS):
        answer = await client.get("/personas", headers={"Authorization": f"Bearer {mutated}"})
        # outer white space is not part of a header's value
        if answer.status_code != 401 and f"Bearer {mutated}".strip() == admin["Authorization"]:
            continue
        statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
    assert statuses.keys() == {401}, statuses
    assert statuses[401] >= MUTATIONS - 5
    assert (await client.get("/personas", headers=admin)).status_code == 200, "control: unchanged it is good"


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic YWRhOmE=", "bearer x", "Bearer a b", "Token x", "Bearer \xff\xfe", "Bearer \0"],
)
async def test_h2_odd_headers(client: httpx2.AsyncClient, header: str) -> None:
    answer = await client.get("/personas", headers=[(b"Authorization", header.encode("latin-1"))])
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_h2_a_token_of_a_megabyte(client: httpx2.AsyncClient, admin: dict[str, str]) -> None:
    for token in ("A" * 2**20, admin["Authorization"] + "A" * 2**20, "." * 2**20):
        assert (await client.get("/personas", headers={"Authorization": f"Bearer {token}"})).status_code == 401


async def test_h2_a_token_of_nobodys_session(client: httpx2.AsyncClient, admin: dict[str, str]) -> None:
    for change in ({"jti": "x"}, {"sub": "2"}, {"sub": str(2**63)}, {"sub": "-1"}, {"jti": "\0"}, {"jti": "\ud800"}):
        answer = await client.get("/personas", headers={"Authorization": f"Bearer {forge(claims(**change))}"})
        assert answer.status_code == 401, change


def forgetful(token: str) -> str:
    """The statement of a naive server, which believes the token alone."""
    return "SELECT id, username, email, role FROM admin WHERE id = $2 AND $1 = $1"


async def _leave(client: httpx2.AsyncClient, headers: dict[str, str], url: str) -> None:
    await client.post("/auths/logout", headers=headers)


async def _change(client: httpx2.AsyncClient, headers: dict[str, str], url: str) -> None:
    wish = {"old_password": PASSWORD, "new_password": "another long password"}
    assert (await client.put("/auths/password", json=wish, headers=headers)).status_code == 204


async def _sql(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


async def _disable(client: httpx2.AsyncClient, headers: dict[str, str], url: str) -> None:
    await _sql(url, "UPDATE admin SET disabled_at = now()")


async def _expire(client: httpx2.AsyncClient, headers: dict[str, str], url: str) -> None:
    await _sql(url, "UPDATE admin_sessions SET expires_at = now()")


async def _forget(client: httpx2.AsyncClient, headers: dict[str, str], url: str) -> None:
    await _sql(url, "DELETE FROM admin_sessions")


@pytest.mark.parametrize("end", [_leave, _change, _disable, _expire, _forget])
async def test_h4_a_session_ends_at_once(
    client: httpx2.AsyncClient,
    admin: dict[str, str],
    url: str,
    end: Callable[[httpx2.AsyncClient, dict[str, str], str], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert (await client.get("/personas", headers=admin)).status_code == 200
    await end(client, admin, url)
    assert (await client.get("/personas", headers=admin)).status_code == 401
    monkeypatch.setitem(admins.ACCOUNTS, "session", forgetful("session"))
    assert (await client.get("/personas", headers=admin)).status_code == 200, "control: the token alone still holds"


async def test_h4_a_disabled_admin_does_not_sign_in(
    client: httpx2.AsyncClient, admin: dict[str, str], url: str
) -> None:
    await sign_in(client)
    await _disable(client, admin, url)
    answer = await client.post("/auths/login", data={"username": "ada", "password": PASSWORD})
    assert (answer.status_code, answer.json()["detail"]) == (401, admins.WRONG)


def test_a_fresh_token_holds_for_a_clock_that_is_behind_the_one_it_was_issued_by() -> None:
    later = datetime.now(UTC) + timedelta(minutes=10)
    token = tokens.sign(SECRET, admin_id=1, jti="j", issued=later, expires=later + timedelta(hours=1))
    assert tokens.check(SECRET, token).admin_id == 1
