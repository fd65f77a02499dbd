"""Admins shut each other out: at once, for good, and never the last one."""

import asyncio
from collections import Counter

import pytest

from app.auth import admins, attempts, passwords
from app.db.engine import Database
from app.errors import Conflict, Forbidden, NotFound, Unauthorized
from tests.conftest import BOOTSTRAP, PASSWORD, SECRET

LIMITS = attempts.Limits(100, 100, 0)


@pytest.fixture
async def three(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[admins.AdminInfo]:
    """Three admins, whose passwords cost nothing."""

    async def hashed(password: str) -> str:
        return f"plain {password}"

    async def verified(password: str, stored: str | None) -> bool:
        return stored == f"plain {password}"

    monkeypatch.setattr(passwords, "hashed", hashed)
    monkeypatch.setattr(passwords, "verified", verified)
    monkeypatch.setattr(passwords, "outdated", lambda stored: False)
    made = []
    for number, name in enumerate(("ada", "bob", "cyd")):
        email = f"{name}@example.org"
        token = None if number == 0 else (await admins.invite(database, email, by=1))[0]
        row = await admins.register(
            database,
            username=name,
            email=email,
            password=PASSWORD,
            bootstrap_token=None if number else BOOTSTRAP,
            invite_token=token,
            expected_bootstrap=BOOTSTRAP,
        )
        made.append(admins.AdminInfo(row["id"], row["username"], row["email"], row["role"]))
    return made


async def enter(database: Database, name: str) -> admins.Access:
    return await admins.sign_in(
        database, SECRET, login=name, password=PASSWORD, address="::1", device="", minutes=30, limits=LIMITS
    )


async def lives(database: Database, access: admins.Access) -> bool:
    try:
        await admins.signed_in(database, SECRET, access.token)
    except Unauthorized:
        return False
    return True


async def test_who_is_disabled_is_out_at_once_and_comes_back_only_by_signing_in(
    database: Database, three: list[admins.AdminInfo]
) -> None:
    ada, bob, _ = three
    mine, theirs = await enter(database, "ada"), await enter(database, "bob")
    token, _ = await admins.invite(database, "dan@example.org", by=bob.id)
    await admins.disable(database, bob.id, by=ada.id)
    assert await lives(database, mine)
    assert not await lives(database, theirs)
    with pytest.raises(Unauthorized):
        await enter(database, "bob")
    with pytest.raises(Unauthorized):
        await admins.open_session(database, SECRET, bob.id, 30)
    with pytest.raises(Forbidden, match="invitation"):
        await admins.register(
            database,
            username="dan",
            email="dan@example.org",
            password=PASSWORD,
            bootstrap_token=None,
            invite_token=token,
            expected_bootstrap=BOOTSTRAP,
        )
    await admins.enable(database, bob.id, by=ada.id)
    assert not await lives(database, theirs)
    assert await lives(database, await enter(database, "bob"))
    said = await database.fetch("SELECT action, subject FROM audit ORDER BY id DESC LIMIT 2")
    assert [tuple(row) for row in said] == [("admin.enabled", "bob"), ("admin.disabled", "bob")]


async def test_nobody_disables_themselves_or_who_is_not_there(
    database: Database, three: list[admins.AdminInfo]
) -> None:
    with pytest.raises(Conflict):
        await admins.disable(database, three[0].id, by=three[0].id)
    with pytest.raises(NotFound):
        await admins.disable(database, 99, by=three[0].id)
    with pytest.raises(NotFound):
        await admins.enable(database, three[1].id, by=three[0].id)


async def test_one_is_always_left_when_all_disable_each_other(
    database: Database, three: list[admins.AdminInfo]
) -> None:
    async def shut(who: int, by: int) -> str:
        try:
            await admins.disable(database, who, by=by)
        except NotFound:
            return "too late"
        return "won"

    for _ in range(10):
        pairs = [(a.id, b.id) for a in three for b in three if a is not b]
        ended = Counter(await asyncio.gather(*(shut(who, by) for who, by in pairs)))
        assert ended == {"won": 2, "too late": 4}
        assert await database.fetchval("SELECT count(*) FROM admin WHERE disabled_at IS NULL") == 1
        await database.fetchval("UPDATE admin SET disabled_at = NULL")


async def test_one_ends_only_own_sessions(database: Database, three: list[admins.AdminInfo]) -> None:
    ada = three[0]
    first, second, theirs = await enter(database, "ada"), await enter(database, "ada"), await enter(database, "bob")
    _, jti = await admins.signed_in(database, SECRET, first.token)
    _, other = await admins.signed_in(database, SECRET, theirs.token)
    with pytest.raises(NotFound):
        await admins.end_session(database, ada, other)
    await admins.end_session(database, ada, jti)
    assert [await lives(database, one) for one in (first, second, theirs)] == [False, True, True]
    with pytest.raises(NotFound):
        await admins.end_session(database, ada, jti)
    assert len(await admins.sessions(database, ada.id)) == 1
    await admins.sign_out_everywhere(database, ada)
    assert [await lives(database, one) for one in (second, theirs)] == [False, True]
    assert await admins.sessions(database, ada.id) == []
