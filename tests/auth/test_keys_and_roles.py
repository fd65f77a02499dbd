"""API keys end when they should; roles change at once, and the last admin stays one."""

import asyncio
from collections import Counter

import pytest

from app.auth import admins, keys, tokens
from app.auth.admins import AdminInfo
from app.db.engine import Database
from app.errors import Conflict, Forbidden, NotFound, Unauthorized
from tests.auth.test_admins import enter, three
from tests.conftest import BOOTSTRAP, PASSWORD, SECRET

__all__ = ["three"]


async def works(database: Database, key: str) -> bool:
    try:
        await admins.acting(database, SECRET, key)
    except Unauthorized:
        return False
    return True


async def test_a_key_acts_as_its_admin_until_it_ends(database: Database, three: list[AdminInfo]) -> None:
    ada, bob, _ = three
    key, row = await keys.create(database, bob.id, name="ci", days=1, by=bob.id)
    assert key.startswith("sf_key_")
    assert len(key) == 50
    assert await admins.acting(database, SECRET, key) == (bob, None)
    await admins.set_role(database, bob.id, "observer", by=ada.id)
    assert (await admins.acting(database, SECRET, key))[0].role == "observer"
    await admins.set_role(database, bob.id, "admin", by=ada.id)
    await database.fetchval("UPDATE admin_keys SET expires_at = now()")
    assert not await works(database, key)
    await database.fetchval("UPDATE admin_keys SET expires_at = now() + interval '1 day'")
    assert await works(database, key)
    with pytest.raises(NotFound):
        await keys.revoke(database, row["id"], by=ada.id, own=True)
    await keys.revoke(database, row["id"], by=ada.id)
    assert not await works(database, key)
    with pytest.raises(NotFound):
        await keys.revoke(database, row["id"], by=ada.id)
    said = await database.fetch("SELECT admin_id, action FROM audit WHERE action LIKE '%key%' ORDER BY id")
    assert [tuple(one) for one in said] == [(bob.id, "admin.key_made"), (ada.id, "admin.key_revoked")]


async def test_a_key_dies_with_its_admin_for_good(database: Database, three: list[AdminInfo]) -> None:
    ada, bob, _ = three
    key, _ = await keys.create(database, bob.id, name="ci", days=90, by=bob.id)
    await admins.disable(database, bob.id, by=ada.id)
    assert not await works(database, key)
    with pytest.raises(NotFound):
        await keys.create(database, bob.id, name="ci", days=90, by=None)
    await admins.enable(database, bob.id, by=ada.id)
    assert not await works(database, key)


async def test_only_the_hash_is_kept(database: Database, three: list[AdminInfo]) -> None:
    key, _ = await keys.create(database, 1, name="ci", days=90, by=1)
    stored = await database.fetchval("SELECT k::text FROM admin_keys k")
    assert key not in stored
    assert tokens.digest(key).hex() in stored
    assert key not in await database.fetchval("SELECT string_agg(a::text, '') FROM audit a")


@pytest.mark.parametrize(
    "change", [lambda k: k[:-1], lambda k: k + "A", lambda k: k.swapcase(), lambda k: f"{k}\n", lambda k: "sf_key_"]
)
async def test_what_is_not_quite_a_key_is_none(database: Database, three: list[AdminInfo], change: object) -> None:
    key, _ = await keys.create(database, 1, name="ci", days=90, by=1)
    assert callable(change)
    assert not await works(database, change(key))
    for odd in ("sf_key_" + "é" * 43, "sf_key_" + "\x00" * 43, "sf_key_" + "x" * 10_000, "sf_key_' OR 1=1 --"):
        assert not await works(database, odd)


async def test_use_is_written_once_a_minute(database: Database, three: list[AdminInfo]) -> None:
    key, _ = await keys.create(database, 1, name="ci", days=90, by=1)

    async def version() -> str:
        return str(await database.fetchval("SELECT xmin::text FROM admin_keys"))

    before = await version()
    await asyncio.gather(*(works(database, key) for _ in range(16)))
    first = await version()
    assert before != first
    for _ in range(5):
        assert await works(database, key)
    assert await version() == first
    await database.fetchval("UPDATE admin_keys SET last_used_at = now() - interval '61 seconds'")
    second = await version()
    assert await works(database, key)
    assert await version() != second


async def test_keys_are_bounded_also_in_a_race(database: Database, three: list[AdminInfo]) -> None:
    async def make(number: int) -> str:
        try:
            await keys.create(database, 1, name=f"k{number}", days=90, by=1)
        except Conflict:
            return "refused"
        return "made"

    ended = Counter(await asyncio.gather(*(make(number) for number in range(keys.LIVE_MAX + 10))))
    assert ended == {"made": keys.LIVE_MAX, "refused": 10}


async def test_an_invitation_carries_the_role(database: Database, three: list[AdminInfo]) -> None:
    token, row = await admins.invite(database, "dan@example.org", by=1, role="observer")
    assert row["role"] == "observer"
    made = await admins.register(
        database,
        username="dan",
        email="dan@example.org",
        password=PASSWORD,
        bootstrap_token=None,
        invite_token=token,
        expected_bootstrap=BOOTSTRAP,
    )
    assert made["role"] == "observer"
    access = await enter(database, "dan")
    assert (await admins.signed_in(database, SECRET, access.token))[0].role == "observer"
    with pytest.raises(NotFound):
        await admins.disable(database, 1, by=made["id"])
    with pytest.raises(Forbidden):
        await admins.set_role(database, 1, "observer", by=made["id"])


async def test_a_role_changes_at_once_and_takes_invitations_along(database: Database, three: list[AdminInfo]) -> None:
    ada, bob, _ = three
    theirs = await enter(database, "bob")
    await admins.invite(database, "eve@example.org", by=bob.id)
    await admins.set_role(database, bob.id, "observer", by=ada.id)
    await admins.set_role(database, bob.id, "observer", by=ada.id)
    assert (await admins.signed_in(database, SECRET, theirs.token))[0].role == "observer"
    assert (await admins.invitations(database))[0]["state"] == "revoked"
    with pytest.raises(Conflict):
        await admins.set_role(database, ada.id, "observer", by=ada.id)
    with pytest.raises(NotFound):
        await admins.set_role(database, 99, "observer", by=ada.id)
    said = await database.fetch("SELECT detail::text FROM audit WHERE action = 'admin.role_set'")
    assert [row[0] for row in said] == ['{"role": "observer"}']


async def duel(database: Database, three: list[AdminInfo]) -> Counter[str]:
    """All make each other observers and shut each other out, at once."""

    async def strike(who: int, by: int, role: bool) -> str:
        try:
            await (admins.set_role(database, who, "observer", by=by) if role else admins.disable(database, who, by=by))
        except (NotFound, Forbidden):
            return "too late"
        return "won"

    blows = [(a.id, b.id, role) for a in three for b in three if a is not b for role in (True, False)]
    return Counter(await asyncio.gather(*(strike(*blow) for blow in blows)))


LEFT = "SELECT count(*) FROM admin WHERE disabled_at IS NULL AND role = 'admin'"
AGAIN = "UPDATE admin SET disabled_at = NULL, role = 'admin'"


async def test_one_admin_is_always_left(database: Database, three: list[AdminInfo]) -> None:
    for _ in range(15):
        await duel(database, three)
        assert await database.fetchval(LEFT) == 1
        await database.fetchval(AGAIN)


async def test_control_without_holding_all_none_is_left_at_times(
    database: Database, three: list[AdminInfo], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(admins.ACCOUNTS, "hold_admins", "SELECT 1")
    fewest = 1
    for _ in range(30):
        await duel(database, three)
        fewest = min(fewest, await database.fetchval(LEFT))
        await database.fetchval(AGAIN)
    assert fewest == 0
