"""One-time codes: RFC 6238's own vectors, once only also in a race, and secrets that the database alone can't tell."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.auth import admins, attempts, passwords, second_factor, totp
from app.db.engine import Database
from app.errors import Conflict, Invalid, NotFound, TooMany, Unauthorized
from tests.conftest import BOOTSTRAP, PASSWORD, SECRET

LIMITS = attempts.Limits(100, 5, 0)
RFC_KEY = b"12345678901234567890"
RACERS = 16


@pytest.mark.parametrize(
    ("at", "code"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_the_vectors_of_rfc_6238_appendix_b(at: int, code: str) -> None:
    assert totp.code_at(RFC_KEY, at // totp.STEP_SECONDS, digits=8) == code
    assert totp.code_at(RFC_KEY, at // totp.STEP_SECONDS) == code[-6:]


def test_a_clock_may_be_one_step_off_and_no_more() -> None:
    now = 1_700_000_000.0
    step = int(now) // 30
    found = [totp.step_of(RFC_KEY, totp.code_at(RFC_KEY, step + off), now) for off in range(-3, 4)]
    assert found == [None, None, step - 1, step, step + 1, None, None]
    for odd in ("", "1", "12345", "é23456", "١٢٣٤٥٦", "\x00" * 6, "1" * 10_000):
        assert totp.step_of(RFC_KEY, odd, now) is None
    assert totp.step_of(RFC_KEY, totp.code_at(RFC_KEY, 0), 3.0) == 0


def test_a_secret_is_opened_only_under_its_key_and_for_its_admin() -> None:
    stored = totp.sealed(SECRET, 1, RFC_KEY)
    assert RFC_KEY not in stored
    assert totp.sealed(SECRET, 1, RFC_KEY) != stored
    assert totp.opened(SECRET, 1, stored) == RFC_KEY
    flipped = stored[:-1] + bytes([stored[-1] ^ 1])
    for secret, admin_id, what in ((SECRET + "x", 1, stored), (SECRET, 2, stored), (SECRET, 1, flipped)):
        with pytest.raises(Unauthorized, match="SECRET_KEY"):
            totp.opened(secret, admin_id, what)


def test_control_without_its_admin_a_secret_fits_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    encrypt, decrypt = AESGCM.encrypt, AESGCM.decrypt

    class Plain:
        def __init__(self, key: bytes) -> None:
            self.inner = AESGCM(key)

        def encrypt(self, nonce: bytes, data: bytes, _: bytes) -> bytes:
            return encrypt(self.inner, nonce, data, None)

        def decrypt(self, nonce: bytes, data: bytes, _: bytes) -> bytes:
            return decrypt(self.inner, nonce, data, None)

    monkeypatch.setattr(totp, "AESGCM", Plain)
    assert totp.opened(SECRET, 2, totp.sealed(SECRET, 1, RFC_KEY)) == RFC_KEY


def test_the_address_quotes_the_name() -> None:
    told = totp.address(RFC_KEY, "a&b:/ü")
    assert told.startswith("otpauth://totp/Sim-Feed:a%26b%3A%2F%C3%BC?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time by which codes are checked, in its only element."""
    now = [float(int(time.time()))]
    monkeypatch.setattr("app.auth.second_factor.time.time", lambda: now[0])
    return now


@pytest.fixture
async def ada(database: Database, monkeypatch: pytest.MonkeyPatch) -> int:
    async def hashed(password: str) -> str:
        return f"plain {password}"

    async def verified(password: str, stored: str | None) -> bool:
        return stored == f"plain {password}"

    monkeypatch.setattr(passwords, "hashed", hashed)
    monkeypatch.setattr(passwords, "verified", verified)
    monkeypatch.setattr(passwords, "outdated", lambda stored: False)
    row = await admins.register(
        database,
        username="ada",
        email="ada@example.org",
        password=PASSWORD,
        bootstrap_token=BOOTSTRAP,
        invite_token=None,
        expected_bootstrap=BOOTSTRAP,
    )
    return int(row["id"])


async def enrol(database: Database, admin_id: int, now: float) -> tuple[bytes, list[str]]:
    """The secret in force and its recovery codes; the code of the step before `now` has been used."""
    await second_factor.begin(database, SECRET, admin_id, PASSWORD)
    key = await second_factor.pending(database, SECRET, admin_id)
    code = totp.code_at(key, int(now) // 30 - 1)
    return key, await second_factor.confirm(database, SECRET, admin_id, "ada", code)


async def enter(database: Database, code: str | None = None, password: str = PASSWORD) -> admins.Access:
    return await admins.sign_in(
        database, SECRET, login="ada", password=password, address="::1", device="", minutes=30, limits=LIMITS, code=code
    )


async def race(run: Callable[[], Awaitable[Any]]) -> Counter[str]:
    async def racer() -> str:
        try:
            return "won" if await run() in (True, None) else "lost"
        except Exception as error:
            return type(error).__name__

    return Counter(await asyncio.gather(*(racer() for _ in range(RACERS))))


async def test_nothing_is_asked_before_the_first_code(database: Database, ada: int, clock: list[float]) -> None:
    with pytest.raises(NotFound):
        await second_factor.pending(database, SECRET, ada)
    with pytest.raises(Invalid):
        await second_factor.begin(database, SECRET, ada, "a wrong guess")
    await second_factor.begin(database, SECRET, ada, PASSWORD)
    with pytest.raises(Invalid):
        await second_factor.confirm(database, SECRET, ada, "ada", "000 000 0")
    await enter(database)
    assert await second_factor.state(database, ada) is None
    first = await second_factor.pending(database, SECRET, ada)
    await second_factor.begin(database, SECRET, ada, PASSWORD)
    assert await second_factor.pending(database, SECRET, ada) != first
    await database.fetchval("UPDATE admin_totp SET created_at = now() - interval '1 hour'")
    with pytest.raises(NotFound):
        await second_factor.pending(database, SECRET, ada)


async def test_a_code_is_asked_for_and_counts_once(database: Database, ada: int, clock: list[float]) -> None:
    key, _ = await enrol(database, ada, clock[0])
    with pytest.raises(Conflict):
        await second_factor.begin(database, SECRET, ada, PASSWORD)
    step = int(clock[0]) // 30
    with pytest.raises(second_factor.CodeNeeded) as needed:
        await enter(database)
    assert [error.code for error in needed.value.errors] == ["totp_required"]
    with pytest.raises(Unauthorized, match="code"):
        await enter(database, totp.code_at(key, step - 1))  # it confirmed the secret
    await enter(database, totp.code_at(key, step))
    with pytest.raises(Unauthorized, match="code"):
        await enter(database, totp.code_at(key, step))
    await enter(database, totp.code_at(key, step + 1))
    clock[0] += 30
    with pytest.raises(Unauthorized, match="code"):
        await enter(database, totp.code_at(key, step + 1))
    with pytest.raises(Unauthorized, match="password"):
        await enter(database, totp.code_at(key, step + 2), "a wrong guess")
    await enter(database, totp.code_at(key, step + 2))


async def test_a_code_counts_once_also_in_a_race(database: Database, ada: int, clock: list[float]) -> None:
    key, codes = await enrol(database, ada, clock[0])
    for code in (totp.code_at(key, int(clock[0]) // 30), codes[0], codes[1].lower().replace("-", " ")):
        assert await race(lambda c=code: second_factor.spend(database, SECRET, ada, c)) == {  # type: ignore[misc]
            "won": 1,
            "lost": RACERS - 1,
        }
    state = await second_factor.state(database, ada)
    assert state is not None
    assert state["recovery"] == 8
    said = await database.fetch("SELECT action FROM audit WHERE action LIKE '%recovery%'")
    assert len(said) == 2


async def test_control_without_the_condition_a_code_counts_for_many(
    database: Database, ada: int, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    key, codes = await enrol(database, ada, clock[0])
    for name, dropped in (("spend_step", "AND last_step < $2"), ("spend_recovery", "AND used_at IS NULL")):
        assert dropped in second_factor.FACTOR[name]
        monkeypatch.setitem(second_factor.FACTOR, name, second_factor.FACTOR[name].replace(dropped, ""))
    for code in (totp.code_at(key, int(clock[0]) // 30), codes[0]):
        assert await race(lambda c=code: second_factor.spend(database, SECRET, ada, c)) == {"won": RACERS}  # type: ignore[misc]


async def test_one_confirmation_wins(database: Database, ada: int, clock: list[float]) -> None:
    await second_factor.begin(database, SECRET, ada, PASSWORD)
    code = totp.code_at(await second_factor.pending(database, SECRET, ada), int(clock[0]) // 30)
    shown: list[list[str]] = []

    async def confirm() -> None:
        shown.append(await second_factor.confirm(database, SECRET, ada, "ada", code))

    assert await race(confirm) == {"won": 1, "NotFound": RACERS - 1}
    assert await second_factor.spend(database, SECRET, ada, shown[0][0])


async def test_guessing_is_bounded_and_the_owner_s_device_is_not(
    database: Database, ada: int, clock: list[float]
) -> None:
    device = (await enter(database)).device
    key, codes = await enrol(database, ada, clock[0])
    half = second_factor.half_login(SECRET, ada, f"plain {PASSWORD}")

    async def guess(device: str, code: str) -> admins.Access:
        return await admins.finish_sign_in(
            database, SECRET, half=half, code=code, device=device, minutes=30, limits=LIMITS
        )

    for n in range(LIMITS.per_account):
        with pytest.raises(Unauthorized):
            await guess("", f"wrong{n}")
    with pytest.raises(TooMany):
        await guess("", codes[0])
    with pytest.raises(TooMany):
        await enter(database, codes[0])
    assert (await guess(device, totp.code_at(key, int(clock[0]) // 30))).token


async def test_a_half_login_lives_five_minutes_and_dies_with_the_password(
    database: Database, ada: int, clock: list[float]
) -> None:
    half = second_factor.half_login(SECRET, ada, f"plain {PASSWORD}")
    assert (await second_factor.halfway(database, SECRET, half))["username"] == "ada"
    admin_id, until, mark = half.split(".")
    forged = [f"{admin_id}.{int(until) + 1}.{mark}", f"2.{until}.{mark}", half[:-1], half + "0", "", ".", "é" * 50]
    forged += [f"{10**17}.{until}.{mark}", f"0{half}", half.upper(), f" {half}", f"{half}\n", "1.9." + "0" * 64]
    forged += [second_factor.half_login("another secret", ada, f"plain {PASSWORD}")]
    for one in forged:
        with pytest.raises(Unauthorized):
            await second_factor.halfway(database, SECRET, one)
    clock[0] += second_factor.HALF_SECONDS
    with pytest.raises(Unauthorized):
        await second_factor.halfway(database, SECRET, half)
    clock[0] -= 1
    await second_factor.halfway(database, SECRET, half)
    await admins.set_password(database, "ada", "another long password")
    with pytest.raises(Unauthorized):
        await second_factor.halfway(database, SECRET, half)


async def test_turning_off_needs_password_and_code(database: Database, ada: int, clock: list[float]) -> None:
    key, codes = await enrol(database, ada, clock[0])
    right = totp.code_at(key, int(clock[0]) // 30)

    async def off(password: str, code: str) -> None:
        await second_factor.turn_off(database, SECRET, ada, "ada", password=password, code=code, limits=LIMITS)

    with pytest.raises(Invalid):
        await off("a wrong guess", right)
    with pytest.raises(Unauthorized):
        await off(PASSWORD, "000000000")
    await off(PASSWORD, right)
    await enter(database)
    assert not await second_factor.spend(database, SECRET, ada, codes[0])
    await enrol(database, ada, clock[0])
    await second_factor.reset(database, "ada@example.org")
    with pytest.raises(NotFound):
        await second_factor.reset(database, "ada")
    said = await database.fetch("SELECT admin_id, action FROM audit WHERE action LIKE '%totp%' ORDER BY id")
    assert [tuple(row) for row in said] == [
        (ada, "admin.totp_on"),
        (ada, "admin.totp_off"),
        (ada, "admin.totp_on"),
        (None, "admin.totp_off"),
    ]


async def test_the_database_alone_tells_no_secret(database: Database, ada: int, clock: list[float]) -> None:
    key, codes = await enrol(database, ada, clock[0])
    rows = await database.fetch("SELECT t::text FROM admin_totp t UNION ALL SELECT c::text FROM admin_recovery_codes c")
    told = " ".join(row[0] for row in rows)
    assert len(rows) == 1 + second_factor.RECOVERY_CODES == 1 + len(set(codes))
    for word in (key.hex(), totp.spelled(key), *(code.replace("-", "") for code in codes)):
        assert word not in told
    with pytest.raises(Unauthorized, match="SECRET_KEY"):
        await second_factor.spend(database, "another secret", ada, totp.code_at(key, int(clock[0]) // 30))
    assert await second_factor.spend(database, "another secret", ada, codes[0])
