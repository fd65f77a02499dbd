"""H5–H7: what may happen once happens once, and what may happen so often happens no oftener."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import httpx2
import pytest
from asgi_lifespan import LifespanManager

from app.auth import admins, attempts, passwords, tokens
from app.db.engine import Database
from app.errors import Forbidden
from app.main import create_app
from tests.auth.conftest import RACERS
from tests.conftest import BOOTSTRAP, PASSWORD, run_sql, settings_for, sign_in, sign_up

INVITATION_ROUNDS = 20
BOOTSTRAP_ROUNDS = 10
CONTROL_ROUNDS = 10


@pytest.fixture
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Racers that meet in the database rather than in the queue for the hash."""

    async def hashed(password: str) -> str:
        return "x"

    monkeypatch.setattr(passwords, "hashed", hashed)


async def race(run: Callable[[int], Any]) -> Counter[str]:
    """What came of each racer: `won`, or the name of its error."""
    start = asyncio.Event()

    async def racer(number: int) -> str:
        await start.wait()
        try:
            await run(number)
        except Exception as error:
            return type(error).__name__
        return "won"

    racers = [asyncio.create_task(racer(number)) for number in range(RACERS)]
    await asyncio.sleep(0)
    start.set()
    return Counter(await asyncio.gather(*racers))


async def enter(database: Database, username: str, email: str, **token: str) -> None:
    given: dict[str, Any] = {"bootstrap_token": None, "invite_token": None, **token}
    person = {"username": username, "email": email, "password": PASSWORD}
    await admins.register(database, **person, **given, expected_bootstrap=BOOTSTRAP)


@pytest.mark.usefixtures("cheap_hashes")
async def test_h6_one_invitation_makes_one_admin(wide: Database) -> None:
    for turn in range(INVITATION_ROUNDS):
        email = f"new{turn}@example.org"
        token, _ = await admins.invite(wide, email, by=None)
        outcome = await race(lambda n, t=token, e=email, r=turn: enter(wide, f"r{r}-{n}", e, invite_token=t))  # type: ignore[misc]
        assert outcome == {"won": 1, Forbidden.__name__: RACERS - 1}
        assert await wide.fetchval("SELECT count(*) FROM admin WHERE email = $1", email) == 1
    assert (
        await wide.fetchval("SELECT count(*) FROM admin_invitations WHERE accepted_at IS NOT NULL") == INVITATION_ROUNDS
    )


async def test_h6_control_look_then_take_has_several_winners(wide: Database) -> None:
    async def naive(token: bytes) -> None:
        found = await wide.fetchval(
            "SELECT id FROM admin_invitations WHERE token_sha256 = $1 AND accepted_at IS NULL", token
        )
        if found is None:
            raise Forbidden("used")
        await wide.fetchval("UPDATE admin_invitations SET accepted_at = now() WHERE id = $1", found)

    worst = 0
    for turn in range(CONTROL_ROUNDS):
        token, _ = await admins.invite(wide, f"new{turn}@example.org", by=None)
        outcome = await race(lambda _, t=token: naive(tokens.digest(t)))  # type: ignore[misc]
        worst = max(worst, outcome["won"])
    assert worst > 1


@pytest.mark.usefixtures("cheap_hashes")
async def test_h7_one_first_admin(wide: Database) -> None:
    for turn in range(BOOTSTRAP_ROUNDS):
        await wide.fetchval("UPDATE instance SET bootstrapped_at = NULL")
        before = await wide.fetchval("SELECT count(*) FROM admin")
        outcome = await race(
            lambda n, r=turn: enter(wide, f"r{r}-{n}", f"r{r}-{n}@example.org", bootstrap_token=BOOTSTRAP)  # type: ignore[misc]
        )
        assert outcome == {"won": 1, Forbidden.__name__: RACERS - 1}
        assert await wide.fetchval("SELECT count(*) FROM admin") == before + 1


@pytest.mark.usefixtures("cheap_hashes")
async def test_h7_control_without_the_condition_all_are_first(wide: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(admins.ACCOUNTS, "bootstrap", "SELECT now() FROM instance WHERE bootstrapped_at IS NULL")
    outcome = await race(lambda n: enter(wide, f"n{n}", f"n{n}@example.org", bootstrap_token=BOOTSTRAP))
    assert outcome["won"] > 1


@pytest.mark.usefixtures("cheap_hashes")
async def test_h7_a_lost_race_takes_nothing(wide: Database) -> None:
    """Whoever is refused for a taken name has not used up the token."""
    await enter(wide, "ada", "ada@example.org", bootstrap_token=BOOTSTRAP)
    token, _ = await admins.invite(wide, "bob@example.org", by=None)
    outcome = await race(lambda _: enter(wide, "ADA", "bob@example.org", invite_token=token))
    assert outcome == {"Conflict": RACERS}
    await enter(wide, "bob", "bob@example.org", invite_token=token)


@asynccontextmanager
async def town(url: str, *addresses: str, **more: Any) -> AsyncIterator[list[httpx2.AsyncClient]]:
    """One server and a client at each of these addresses."""
    app = create_app(settings_for(url, **more))
    async with LifespanManager(app, startup_timeout=60, shutdown_timeout=60) as running, AsyncExitStack() as stack:
        transports = [
            httpx2.ASGITransport(app=running.app, raise_app_exceptions=False, client=(ip, 1)) for ip in addresses
        ]
        yield [
            await stack.enter_async_context(httpx2.AsyncClient(transport=t, base_url="http://simfeed.test"))
            for t in transports
        ]


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passwords that were verified; verifying costs nothing here. Attempts are counted in one endless window."""
    seen: list[str] = []

    def verify(password: str, stored: str | None) -> bool:
        seen.append(password)
        return stored is not None and password == PASSWORD

    monkeypatch.setattr(passwords, "_verify", verify)
    monkeypatch.setattr(attempts, "IP_WINDOW", 10**9)
    monkeypatch.setattr(attempts, "ACCOUNT_WINDOW", 10**9)
    return seen


async def guess(client: httpx2.AsyncClient, username: str, **headers: str) -> httpx2.Response:
    return await client.post("/auths/login", data={"username": username, "password": "a wrong guess"}, headers=headers)


async def test_h5_hashes_of_one_address_are_bounded(url: str, hashes: list[str]) -> None:
    async with town(url, "10.0.0.1", "10.0.0.2", login_attempts_per_ip=25) as (thief, owner):
        headers = await sign_up(owner)
        hashes.clear()
        answers = [await guess(thief, "ada", **{"X-Forwarded-For": f"192.0.2.{n}"}) for n in range(60)]
        answers += [await guess(thief, f"user{n}", Forwarded=f"for=192.0.2.{n}") for n in range(60)]
        assert len(hashes) == 25
        assert Counter(answer.status_code for answer in answers) == {401: 25, 429: 95}
        refused = [answer for answer in answers if answer.status_code == 429]
        assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
        assert (await owner.get("/personas", headers=headers)).status_code == 200
        await sign_in(owner)


async def test_h5_control_without_the_throttle_every_guess_is_hashed(
    url: str, hashes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def idle(*_: object) -> int:
        return 1

    monkeypatch.setattr(attempts, "count", idle)
    async with town(url, "10.0.0.1", login_attempts_per_ip=25) as (thief,):
        for _ in range(60):
            await guess(thief, "ada")
    assert len(hashes) == 60


async def test_h5_hashes_of_one_account_are_bounded_but_not_for_its_owner(url: str, hashes: list[str]) -> None:
    addresses = [f"10.0.1.{n}" for n in range(10)]
    async with town(url, "10.0.0.1", *addresses, login_attempts_per_account=5) as (owner, *thieves):
        headers = await sign_up(owner)
        hashes.clear()
        names = ("ada", "ADA", "Ada", "ada@example.org")
        statuses = Counter([(await guess(thief, name)).status_code for thief in thieves for name in names])
        assert statuses == {401: 5, 429: 35}
        assert len(hashes) == 5
        assert (await owner.get("/personas", headers=headers)).status_code == 200
        for _ in range(10):
            await sign_in(owner)
        assert [(await guess(owner, "ada")).status_code for _ in range(7)] == [401] * 5 + [429] * 2


async def test_h5_control_a_device_that_is_not_known_waits_like_everybody(url: str, hashes: list[str]) -> None:
    async with town(url, "10.0.0.1", "10.0.0.2", login_attempts_per_account=5) as (owner, thief):
        await sign_up(owner)
        own = owner.cookies["simfeed_device"]
        person = {"username": "ada", "password": PASSWORD}
        for _ in range(6):
            await guess(thief, "ada")
        nonce, _, mark = own.partition(".")
        for device in ("", ".", own[:-1], f"{nonce}x.{mark}", f".{mark}", f"{nonce}.", "ä" * 40, "x" * 4_000):
            cookie = f"simfeed_device={device}".encode()
            answer = await thief.post("/auths/login", data=person, headers={b"Cookie": cookie})
            assert answer.status_code == 429, device
        answer = await thief.post("/auths/login", data=person, headers={"Cookie": f"simfeed_device={own}"})
        assert answer.status_code == 200


async def test_h5_a_device_is_forgotten_with_the_password_and_is_no_other_admins(url: str, hashes: list[str]) -> None:
    async with town(url, "10.0.0.1", "10.0.0.2", login_attempts_per_account=5) as (owner, thief):
        headers = await sign_up(owner)
        own = owner.cookies["simfeed_device"]
        await run_sql(
            url,
            """INSERT INTO admin (username, email, password_hash)
               SELECT 'bob', 'bob@example.org', password_hash FROM admin""",
        )
        for name in ("ada", "bob"):
            for _ in range(6):
                await guess(thief, name)
        shown = {"Cookie": f"simfeed_device={own}"}
        assert (await guess(thief, "bob", **shown)).status_code == 429
        assert (await guess(thief, "ada", **shown)).status_code == 401
        wish = {"old_password": PASSWORD, "new_password": "another long password"}
        assert (await owner.put("/auths/password", json=wish, headers=headers)).status_code == 204
        assert (await guess(thief, "ada", **shown)).status_code == 429


async def test_h5_the_device_cookie_is_closed_to_scripts_and_other_sites(client: httpx2.AsyncClient) -> None:
    await sign_up(client)
    answer = await client.post("/auths/login", data={"username": "ada", "password": PASSWORD})
    said = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
    assert said == {"httponly", "samesite=strict", "path=/auths", f"max-age={attempts.DEVICE_DAYS * 86_400}"}
    assert "set-cookie" not in (await guess(client, "ada")).headers


async def test_h5_right_passwords_are_not_counted(url: str, hashes: list[str]) -> None:
    async with town(url, "10.0.0.1", login_attempts_per_ip=5, login_attempts_per_account=5) as (client,):
        await sign_up(client)
        for _ in range(12):
            client.cookies.clear()
            await sign_in(client)
        assert [(await guess(client, "ada")).status_code for _ in range(6)] == [401] * 5 + [429]


async def test_h5_answers_to_wrong_passwords_come_ever_later(
    url: str, hashes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    delay = attempts.delay

    def watched(tried: int, longest: float) -> float:
        waits.append(round(delay(tried, longest), 3))
        return 0.0

    monkeypatch.setattr(attempts, "delay", watched)
    async with town(url, "10.0.0.1", login_delay_seconds=1) as (client,):
        await sign_up(client)
        for name in ("ada", "nobody"):
            waits.clear()
            for _ in range(12):
                await guess(client, name)
            assert [wait for wait in waits if wait] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]
        monkeypatch.setattr(attempts, "delay", lambda tried, longest: 0.2)
        began = time.monotonic()
        await guess(client, "ada")
        assert time.monotonic() - began >= 0.2


async def test_h5_a_trusted_proxy_names_the_address(url: str, hashes: list[str]) -> None:
    more: dict[str, Any] = {"login_attempts_per_ip": 3, "trusted_proxies": "10.0.0.9"}
    async with town(url, "10.0.0.9", **more) as (proxy,):
        for n in range(4):
            spoofed = {"X-Forwarded-For": f"192.0.2.{n}, 198.51.100.7"}
            assert (await guess(proxy, "ada", **spoofed)).status_code == (401 if n < 3 else 429)
        two_lines = [("X-Forwarded-For", "192.0.2.99"), ("X-Forwarded-For", "198.51.100.7")]
        form = {"username": "ada", "password": "a wrong guess"}
        assert (await proxy.post("/auths/login", data=form, headers=two_lines)).status_code == 429
        assert (await guess(proxy, "ada", **{"X-Forwarded-For": "198.51.100.8"})).status_code == 401


async def test_h5_unknown_and_wrong_cost_and_say_the_same(url: str, hashes: list[str]) -> None:
    async with town(url, "10.0.0.1") as (client,):
        await sign_up(client)
        told = set()
        for name in ("ada", "ada@example.org", "nobody", "nobody@example.org", "ada'--"):
            hashes.clear()
            answer = await guess(client, name)
            assert len(hashes) == 1, name
            told.add((answer.status_code, answer.json()["title"], answer.json()["detail"], len(answer.content)))
        assert len(told) == 1


async def test_h5_an_unknown_admin_costs_a_real_verification(monkeypatch: pytest.MonkeyPatch) -> None:
    class Spy:
        verified: list[str] = []  # noqa: RUF012 - one list is what is wanted

        def verify(self, password: str, stored: str) -> bool:
            self.verified.append(stored)
            return True

    stand_in = passwords._nobodys_hash()
    monkeypatch.setattr(passwords, "_HASHER", Spy())
    assert await passwords.verified("x", None) is False
    assert Spy.verified == [stand_in]
    assert stand_in.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_h5_guessing_the_old_password_is_bounded(url: str, hashes: list[str]) -> None:
    async with town(url, "10.0.0.1", login_attempts_per_account=5) as (client,):
        headers = await sign_up(client)
        hashes.clear()
        wish = {"old_password": "a wrong guess", "new_password": "another long password"}
        answers = [await client.put("/auths/password", json=wish, headers=headers) for _ in range(20)]
        assert Counter(answer.status_code for answer in answers) == {422: 5, 429: 15}
        assert len(hashes) == 5


async def test_h5_registering_is_bounded(url: str, hashes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    async def hashed(password: str) -> str:
        made.append(password)
        return "x"

    monkeypatch.setattr(passwords, "hashed", hashed)
    async with town(url, "10.0.0.1", login_attempts_per_ip=5) as (client,):
        person = {"username": "eve", "email": "eve@example.org", "password": PASSWORD, "invite_token": "guess"}
        answers = [await client.post("/auths/register", json=person) for _ in range(20)]
    assert Counter(answer.status_code for answer in answers) == {403: 5, 429: 15}
    assert len(made) == 5


async def test_h9_tokens_are_long_and_kept_hashed(database: Database) -> None:
    token, _ = await admins.invite(database, "bob@example.org", by=None)
    assert len(token.removeprefix("sf_inv_")) == 43, "256 bits"
    stored: asyncpg.Record | None = await database.fetchrow("SELECT * FROM admin_invitations")
    assert stored is not None
    assert token not in str(dict(stored))
    assert stored["token_sha256"] == tokens.digest(token)
