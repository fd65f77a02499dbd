"""Every public write in any order, valid or not, against a model of plain Python (I1, I3, I5)."""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import asyncpg
import httpx2
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.auth import passwords
from tests.conftest import BOOTSTRAP, copy_of, settings_for
from tests.web.test_edge import loopback

HISTORIES, STEPS = 15, 25
T = TypeVar("T")

NAMES = ("ann", "Ann", "bob", "carl.2")
BAD_NAMES = ("", " ", "a b", "-x", "a\0", "x" * 41, "ä", 5, None)
EMAILS = ("ann@example.org", "ANN@example.org", "bob@example.org", "eve@example.org")
BAD_EMAILS = ("", "ann", "ann@", "a@b@c", "a\0@example.org", None)
WORDS = ("first long password", "second long password")
BAD_WORDS = ("", "short", "x" * 257, None, 5)
TEXTS = ("likes maps", "e\u0301", "' OR 1=1--", "x" * 8_000, "a\nb")
BAD_TEXTS = ("", " \n", "a\0b", "x" * 8_001, None, 7)
WHO = st.sampled_from([3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 1, 2])
NUMBER = st.sampled_from([1, 1, 2, 2, 3, 4])
RESET = """
    ALTER TABLE audit DISABLE TRIGGER audit_append_only;
    TRUNCATE personas, posts, admin, admin_invitations, admin_sessions, login_attempts, audit RESTART IDENTITY CASCADE;
    ALTER TABLE audit ENABLE TRIGGER audit_append_only;
    UPDATE instance SET bootstrapped_at = NULL;
"""


class Probe:
    """A connection to the database beside the server, on a loop of its own."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._connection: asyncpg.Connection = self._run(asyncpg.connect(url))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def execute(self, statement: str) -> None:
        self._run(self._connection.execute(statement))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self._run(self._connection.fetch(query))]

    def close(self) -> None:
        self._run(self._connection.close())
        self._loop.call_soon_threadsafe(self._loop.stop)


@dataclass
class Admin:
    username: str
    email: str
    password: str


@dataclass
class Invitation:
    email: str
    token: str
    state: str = "open"


@dataclass
class Model:
    """What should be there."""

    bootstrapped: bool = False
    admins: list[Admin] = field(default_factory=list)
    invitations: dict[int, Invitation] = field(default_factory=dict)
    sessions: dict[str, Admin] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    personas: dict[int, dict[str, Any]] = field(default_factory=dict)
    writes: int = 0

    def taken(self, username: str, email: str) -> bool:
        return any(a.username.lower() == username.lower() or a.email.lower() == email.lower() for a in self.admins)

    def holder(self, username: str, *, but: int | None = None) -> bool:
        return any(
            persona["username"].lower() == username.lower() and persona["status"] != "departed" and number != but
            for number, persona in self.personas.items()
        )

    def present(self, number: int) -> bool:
        return number in self.personas and self.personas[number]["status"] != "departed"


def normal(text: str) -> str:
    return "é" if text == "e\u0301" else text


class Writes(RuleBasedStateMachine):
    """Rules are requests; each says from the model what must come of it."""

    address: ClassVar[str]
    probe: ClassVar[Probe]
    seen: ClassVar[dict[str, int]] = {}

    @initialize()
    def begin(self) -> None:
        self.probe.execute(RESET)
        self.model = Model()
        self.http = httpx2.Client(base_url=self.address)
        self.register(username="ann", email="ann@example.org", password=WORDS[0], way="bootstrap")
        self.come_in()
        for username in ("ann", "bob"):
            self.create(which=3, username=username, text=TEXTS[0], key="persona")

    def teardown(self) -> None:
        if hasattr(self, "http"):
            self.http.close()

    def ask(self, method: str, path: str, expected: int, *, token: str | None = None, **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        answer = self.http.request(method, path, headers=headers, **more)
        assert answer.status_code == expected, (method, path, more, answer.status_code, answer.text)
        key = f"{method} {path.rstrip('0123456789')} {expected}"
        self.seen[key] = self.seen.get(key, 0) + 1
        if expected >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
        return answer.json() if answer.content else None

    def token(self, which: int) -> tuple[str | None, Admin | None]:
        """A token to ask with, and whose it is: mostly a live one, else an ended one, garbage or none."""
        live = list(self.model.sessions)
        if live and which >= 3:
            return (chosen := live[which % len(live)]), self.model.sessions[chosen]
        return [self.model.ended[-1] if self.model.ended else "garbage", "garbage", None][which % 3], None

    # Accounts

    @rule(
        username=st.sampled_from(NAMES * 8 + BAD_NAMES),
        email=st.sampled_from(EMAILS * 6 + BAD_EMAILS),
        password=st.sampled_from(WORDS * 10 + BAD_WORDS),
        way=st.sampled_from(["bootstrap", "invitation", "wrong", "none"]),
    )
    def register_anything(self, username: Any, email: Any, password: Any, way: str) -> None:
        self.register(username=username, email=email, password=password, way=way)

    @precondition(lambda self: any(one.state == "open" for one in self.model.invitations.values()))
    @rule(username=st.sampled_from(NAMES), data=st.data())
    def accept(self, username: str, data: st.DataObject) -> None:
        email = data.draw(
            st.sampled_from([one.email for one in self.model.invitations.values() if one.state == "open"])
        )
        self.register(username=username, email=email, password=WORDS[1], way="invitation")

    def register(self, *, username: Any, email: Any, password: Any, way: str) -> None:
        model = self.model
        body: dict[str, Any] = {"username": username, "email": email, "password": password}
        invited = None
        if way == "bootstrap":
            body["bootstrap_token"] = BOOTSTRAP
        elif way == "wrong":
            body["invite_token"] = "sf_inv_wrong"
        elif way == "invitation":
            of_address = [one for one in model.invitations.values() if one.email.lower() == str(email).lower()]
            invited = of_address[-1] if of_address else None
            body["invite_token"] = invited.token if invited else "sf_inv_none"
        if username not in NAMES or email not in EMAILS or password not in WORDS:
            self.ask("POST", "/auths/register", 422, json=body)
            return
        may = not model.bootstrapped if way == "bootstrap" else invited is not None and invited.state == "open"
        status = 403 if not may else 409 if model.taken(username, email) else 201
        made = self.ask("POST", "/auths/register", status, json=body)
        if status != 201:
            return
        assert made["admin_info"]["username"] == username
        model.admins.append(Admin(username, email, password))
        model.writes += 1
        if invited is None:
            model.bootstrapped = True
        else:
            invited.state = "accepted"

    @rule(name=st.sampled_from(NAMES + EMAILS + ("nobody",)), password=st.sampled_from(WORDS))
    def login(self, name: str, password: str) -> None:
        whose = [a for a in self.model.admins if name.lower() in (a.username.lower(), a.email.lower())]
        right = bool(whose) and whose[0].password == password
        given = self.ask("POST", "/auths/login", 200 if right else 401, json={"username": name, "password": password})
        if right:
            self.model.sessions[given["access_token"]] = whose[0]

    @precondition(lambda self: len(self.model.sessions) < 2)
    @rule()
    def come_in(self) -> None:
        ann = self.model.admins[0]
        self.login(name=ann.username, password=ann.password)

    @rule(which=WHO)
    def logout(self, which: int) -> None:
        token, admin = self.token(which)
        self.ask("POST", "/auths/logout", 204 if admin else 401, token=token)
        if token is not None and admin is not None:
            del self.model.sessions[token]
            self.model.ended.append(token)

    @rule(which=WHO, old=st.sampled_from(WORDS), new=st.sampled_from(WORDS + BAD_WORDS))
    def change_password(self, which: int, old: str, new: Any) -> None:
        token, admin = self.token(which)
        right = admin is not None and old == admin.password and new in WORDS
        status = 401 if admin is None else 204 if right else 422
        self.ask("PUT", "/auths/password", status, token=token, json={"old_password": old, "new_password": new})
        if admin is not None and right:
            admin.password = new
            self.model.writes += 1
            gone = [t for t, whose in self.model.sessions.items() if whose is admin]
            self.model.ended += gone
            for one in gone:
                del self.model.sessions[one]

    @rule(which=WHO, email=st.sampled_from(EMAILS + BAD_EMAILS))
    def invite(self, which: int, email: Any) -> None:
        token, admin = self.token(which)
        status = 401 if admin is None else 201 if email in EMAILS else 422
        made = self.ask("POST", "/auths/invitations", status, token=token, json={"email": email})
        if status == 201:
            for one in self.model.invitations.values():
                if one.email.lower() == email.lower() and one.state == "open":
                    one.state = "revoked"
            self.model.invitations[made["id"]] = Invitation(email, made["invite_token"])
            self.model.writes += 1

    @rule(which=WHO, number=NUMBER)
    def revoke(self, which: int, number: int) -> None:
        token, admin = self.token(which)
        found = self.model.invitations.get(number)
        known = found is not None and found.state == "open"
        self.ask("DELETE", f"/auths/invitations/{number}", 401 if admin is None else 204 if known else 404, token=token)
        if admin is not None and found is not None and known:
            found.state = "revoked"
            self.model.writes += 1

    # Personas

    @rule(
        which=WHO,
        username=st.sampled_from(NAMES * 2 + BAD_NAMES),
        text=st.sampled_from(TEXTS * 2 + BAD_TEXTS),
        key=st.sampled_from(["persona", "description"]),
    )
    def create(self, which: int, username: Any, text: Any, key: str) -> None:
        token, admin = self.token(which)
        good = username in NAMES and text in TEXTS
        status = 401 if admin is None else 422 if not good else 409 if self.model.holder(username) else 201
        made = self.ask("POST", "/personas", status, token=token, json={"username": username, key: text})
        if status == 201:
            new = {"username": username, "description": normal(text), "bio": "", "status": "active", "activity": 1.0}
            self.model.personas[made["persona_id"]] = new
            self.model.writes += 1

    @rule(which=WHO, number=NUMBER, username=st.sampled_from(NAMES), text=st.sampled_from(TEXTS))
    def replace(self, which: int, number: int, username: str, text: str) -> None:
        token, admin = self.token(which)
        status = 401 if admin is None else 404 if not self.model.present(number) else 200
        if status == 200 and self.model.holder(username, but=number):
            status = 409
        body = {"username": username, "description": text, "bio": "new"}
        self.ask("PUT", f"/personas/{number}", status, token=token, json=body)
        if status == 200:
            full = {
                "username": username,
                "description": normal(text),
                "bio": "new",
                "status": "active",
                "activity": 1.0,
            }
            self.model.personas[number] = full
            self.model.writes += 1

    @rule(
        which=WHO,
        number=NUMBER,
        change=st.sampled_from(
            [
                {"bio": "changed"},
                {"activity": 0.25, "status": "paused"},
                {"username": "bob"},
                {"description": "e\u0301"},
                {},
                {"bio": None},
                {"activity": 2},
                {"activity": True},
                {"status": "departed"},
                {"created_at": "2020-01-01T00:00:00Z"},
                {"posts_count": 9},
                {"persona": "a\0"},
            ]
        ),
    )
    def patch(self, which: int, number: int, change: dict[str, Any]) -> None:
        token, admin = self.token(which)
        shape = not change.keys() & {"created_at", "posts_count", "persona"} and change.get("activity", 0) in (0, 0.25)
        shape = shape and change.get("status") != "departed"
        if admin is None:
            status = 401
        elif not shape:
            status = 422
        elif not self.model.present(number):
            status = 404
        elif not change or change.get("bio", "") is None:
            status = 422
        else:
            status = 409 if "username" in change and self.model.holder(change["username"], but=number) else 200
        self.ask("PATCH", f"/personas/{number}", status, token=token, json=change)
        if status == 200:
            self.model.personas[number] |= {k: normal(v) if isinstance(v, str) else v for k, v in change.items()}
            self.model.writes += 1

    @rule(which=WHO, number=NUMBER, to=st.sampled_from(["pause", "resume", "depart"]))
    def turn(self, which: int, number: int, to: str) -> None:
        token, admin = self.token(which)
        status = 401 if admin is None else 204 if self.model.present(number) else 404
        method, path = ("DELETE", f"/personas/{number}") if to == "depart" else ("POST", f"/personas/{number}/{to}")
        self.ask(method, path, status, token=token)
        if status == 204:
            state = {"pause": "paused", "resume": "active", "depart": "departed"}[to]
            self.model.personas[number]["status"] = state
            self.model.writes += 1

    # What must hold after each

    @invariant()
    def i1_what_was_acknowledged_is_there_once(self) -> None:
        if not hasattr(self, "model"):
            return
        model, probe = self.model, self.probe
        stored = probe.rows("SELECT id, username, description, bio, status, activity FROM personas ORDER BY id")
        assert stored == [
            (number, p["username"], p["description"], p["bio"], p["status"], p["activity"])
            for number, p in sorted(model.personas.items())
        ]
        admins = probe.rows("SELECT username, email, password_hash FROM admin ORDER BY id")
        assert admins == [(a.username, a.email, f"hash:{a.password}") for a in model.admins]
        assert probe.rows("SELECT count(*) FROM audit") == [(model.writes,)]

    @invariant()
    def i5_tokens_and_sessions_are_as_they_should(self) -> None:
        if not hasattr(self, "model"):
            return
        states = self.probe.rows(
            """SELECT id, CASE WHEN accepted_at IS NOT NULL THEN 'accepted' WHEN revoked_at IS NOT NULL THEN 'revoked'
                      ELSE 'open' END FROM admin_invitations ORDER BY id"""
        )
        assert states == [(number, one.state) for number, one in sorted(self.model.invitations.items())]
        live = self.probe.rows("SELECT count(*) FROM admin_sessions WHERE revoked_at IS NULL")
        assert live == [(len(self.model.sessions),)]

    @invariant()
    def i3_counters_and_references_hold(self) -> None:
        wrong = self.probe.rows(
            """SELECT id FROM personas WHERE posts_count + comments_count + followers_count + following_count <> 0
               OR (status = 'departed') <> (departed_at IS NOT NULL)"""
        )
        assert wrong == []


@pytest.fixture
async def world(server_url: str, template: str) -> AsyncIterator[str]:
    async with copy_of(server_url, template) as url:
        yield url


@pytest.fixture
def machine(world: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Writes]]:
    """The machine, with a server to ask; its hashes cost nothing."""

    async def hashed(password: str) -> str:
        return f"hash:{password}"

    monkeypatch.setattr(passwords, "hashed", hashed)
    monkeypatch.setattr(passwords, "_verify", lambda password, stored: stored == f"hash:{password}")
    monkeypatch.setattr(passwords, "outdated", lambda stored: False)
    probe = Probe(world)
    with loopback(settings_for(world, login_attempts_per_account=10**9, login_attempts_per_ip=10**9)) as address:
        yield type("TheseWrites", (Writes,), {"address": address, "probe": probe, "seen": {}})
    probe.close()


BOUNDS = settings(
    max_examples=HISTORIES,
    stateful_step_count=STEPS,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def test_any_history_of_writes_agrees_with_the_model(machine: type[Writes]) -> None:
    run_state_machine_as_test(machine, settings=BOUNDS)
    good = {key for key in machine.seen if key.endswith((" 200", " 201", " 204"))}
    assert len(good) >= 10, machine.seen
    assert {key.rsplit(" ", 1)[1] for key in machine.seen} >= {"401", "403", "404", "409", "422"}, machine.seen


def test_control_a_write_that_is_lost_is_noticed(machine: type[Writes]) -> None:
    class Forgetful(machine):  # type: ignore[misc,valid-type]
        @rule(number=st.integers(1, 3))
        def lose(self, number: int) -> None:
            self.probe.execute(f"DELETE FROM personas WHERE id = {number}")

    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            Forgetful, settings=settings(BOUNDS, phases=[Phase.generate], report_multiple_bugs=False)
        )
