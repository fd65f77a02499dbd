"""Admins, sessions, the password and invitations, in a browser."""

import re
from html import unescape
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
import structlog

from app.web import edge
from tests.conftest import PASSWORD, run_sql, serving, settings_for, sign_in, sign_up
from tests.web.test_page import BROWSER, HOSTILE

ACCESS = "/admin/access"


async def enter(client: httpx2.AsyncClient, name: str = "ada", password: str = PASSWORD) -> httpx2.Response:
    return await client.post("/admin/login", data={"username": name, "password": password}, headers=BROWSER)


async def send(client: httpx2.AsyncClient, path: str, **fields: str) -> httpx2.Response:
    page = await client.get(ACCESS)
    csrf = re.search(r'name="csrf" value="([0-9a-f]{64})"', page.text)
    assert csrf is not None
    return await client.post(ACCESS + path, data={"csrf": csrf[1], **fields})


def shown_token(page: httpx2.Response) -> str:
    found = re.search(r'id="invitation-token"[^>]*>([^<]+)<', page.text)
    assert found is not None, page.text
    return found[1]


@pytest.fixture
async def bob(browser: httpx2.AsyncClient) -> dict[str, str]:
    """A second admin, by invitation; the headers of their token."""
    token = shown_token(await send(browser, "/invitations", email="bob@example.org"))
    person = {"username": "bob", "email": "bob@example.org", "password": PASSWORD, "invite_token": token}
    answer = await browser.post("/auths/register", json=person)
    assert answer.status_code == 201, answer.text
    return await sign_in(browser, "bob")


async def alive(client: httpx2.AsyncClient, headers: dict[str, str]) -> bool:
    answer = await client.get("/personas", headers={**headers, "Accept": "application/json"})
    return bool(answer.status_code == 200)


async def test_who_is_not_signed_in_is_led_to_the_form(url: str) -> None:
    async with serving(settings_for(url)) as client:
        assert (await client.get(ACCESS, headers=BROWSER)).headers["location"] == "/admin/login?next=%2Fadmin%2Faccess"
        for path in ("/password", "/invitations", "/invitations/1/revoke", "/admins/1/disable", "/sessions/end-all"):
            answer = await client.post(ACCESS + path, data={"email": "x@example.org"}, headers=BROWSER)
            assert answer.status_code == 303
            assert answer.headers["location"].startswith("/admin/login")


@pytest.mark.parametrize(
    "path",
    [
        "/admins/2/disable",
        "/admins/2/enable",
        "/sessions/end",
        "/sessions/end-all",
        "/password",
        "/invitations",
        "/invitations/1/revoke",
    ],
)
async def test_no_form_works_without_the_sessions_token_or_from_elsewhere(
    browser: httpx2.AsyncClient, bob: dict[str, str], path: str
) -> None:
    fields = {"email": "eve@example.org", "old_password": PASSWORD, "new_password": "another long password"}
    assert (await browser.post(ACCESS + path, data=fields)).status_code == 403
    browser.headers["Sec-Fetch-Site"] = "cross-site"
    assert (await send(browser, path, **fields)).status_code == 403
    del browser.headers["Sec-Fetch-Site"]
    assert await alive(browser, bob)
    page = (await browser.get(ACCESS)).text
    assert "eve@example.org" not in page
    assert "state-disabled" not in page


async def test_an_admin_is_shut_out_at_once_and_let_in_again(browser: httpx2.AsyncClient, bob: dict[str, str]) -> None:
    assert await alive(browser, bob)
    answer = await send(browser, "/admins/2/disable")
    assert answer.headers["location"] == "/admin/access?done=admin-disabled"
    assert not await alive(browser, bob)
    page = (await browser.get(answer.headers["location"])).text
    assert "They are shut out" in page
    assert "state-disabled" in page
    assert (await send(browser, "/admins/2/disable")).status_code == 404
    assert (await send(browser, "/admins/2/enable")).status_code == 303
    assert not await alive(browser, bob)
    assert await alive(browser, await sign_in(browser, "bob"))


async def test_nobody_shuts_themselves_out(browser: httpx2.AsyncClient) -> None:
    assert "/admin/access/admins/1/" not in (await browser.get(ACCESS)).text
    answer = await send(browser, "/admins/1/disable")
    assert answer.status_code == 409
    assert "you can&#39;t disable yourself" in answer.text
    assert (await browser.get(ACCESS)).status_code == 200


@pytest.mark.parametrize("number", ["0", "-1", "99", str(2**63), "1e3", "x", "１"])
async def test_odd_numbers_are_answered_by_a_page(browser: httpx2.AsyncClient, number: str) -> None:
    for path in (f"/admins/{number}/disable", f"/admins/{number}/enable", f"/invitations/{number}/revoke"):
        answer = await send(browser, path)
        assert answer.status_code in (404, 422)
        assert answer.headers["content-type"].startswith("text/html")


async def test_an_invitation_is_shown_exactly_once(browser: httpx2.AsyncClient, url: str) -> None:
    page = await send(browser, "/invitations", email="bob@example.org")
    assert (page.status_code, page.headers["cache-control"]) == (200, "private, no-store")
    assert page.headers["referrer-policy"] in ("no-referrer", "same-origin")
    token = shown_token(page)
    link = re.search(r'id="invitation-link"[^>]*>([^<]+)<', page.text)
    assert link is not None
    parts = urlsplit(unescape(link[1]))
    assert (parts.scheme, parts.netloc, parts.path) == ("http", "simfeed.test", "/admin/register")
    assert parse_qs(parts.query) == {"token": [token]}
    for path in (ACCESS, "/admin/audit", "/admin/audit.jsonl", "/admin/audit.csv", "/auths/invitations"):
        assert token not in (await browser.get(path)).text, path
    listed = (await browser.get(ACCESS)).text
    assert "bob@example.org" in listed
    assert "state-open" in listed

    browser.cookies.clear()
    form = await browser.get(f"/admin/register?token={token}")
    assert f'value="{token}"' in form.text
    person = {"username": "bob", "email": "bob@example.org", "password": PASSWORD, "token": token}
    assert (await browser.post("/admin/register", data=person)).status_code == 303
    await enter(browser, "bob")
    assert "<bdi>bob</bdi>, <time" in (await browser.get(ACCESS)).text


async def test_the_token_is_in_no_log(
    url: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "log", structlog.get_logger("access"))  # one that has not settled for a level yet
    async with serving(settings_for(url, log_level="info")) as client:
        await sign_up(client)
        client.headers.update(BROWSER)
        await enter(client)
        token = shown_token(await send(client, "/invitations", email="bob@example.org"))
        client.cookies.clear()
        await client.get(f"/admin/register?token={token}")
    out, err = capfd.readouterr()
    assert "/admin/register" in out + err
    assert token not in out + err


async def test_a_revoked_invitation_is_worth_nothing(browser: httpx2.AsyncClient) -> None:
    token = shown_token(await send(browser, "/invitations", email="bob@example.org"))
    answer = await send(browser, "/invitations/1/revoke")
    assert answer.headers["location"] == "/admin/access?done=invitation-revoked"
    assert "state-revoked" in (await browser.get(ACCESS)).text
    assert (await send(browser, "/invitations/1/revoke")).status_code == 404
    browser.cookies.clear()
    person = {"username": "bob", "email": "bob@example.org", "password": PASSWORD, "token": token}
    assert (await browser.post("/admin/register", data=person)).status_code == 403


async def test_an_expired_invitation_says_so(browser: httpx2.AsyncClient, url: str) -> None:
    await send(browser, "/invitations", email="bob@example.org")
    await run_sql(url, "UPDATE admin_invitations SET expires_at = now()")
    page = (await browser.get(ACCESS)).text
    assert "state-expired" in page
    assert "/revoke" not in page


@pytest.mark.parametrize("email", ["", "bob", HOSTILE, "a@" + "b" * 300, "x\x00@example.org", "\ud800@x.org"])
async def test_a_wrong_address_is_explained_at_its_field(browser: httpx2.AsyncClient, email: str) -> None:
    answer = await send(browser, "/invitations", email=email.encode("utf-8", "surrogatepass").decode("latin-1"))
    assert answer.status_code == 422
    assert 'id="wrong-email"' in answer.text
    assert "<script>" not in answer.text
    assert "Nobody has been invited yet" in answer.text


async def test_a_session_is_ended_and_all_are(browser: httpx2.AsyncClient, bob: dict[str, str]) -> None:
    api = await sign_in(browser)
    page = (await browser.get(ACCESS)).text
    assert page.count("Another sign-in") == 2  # also that of `sign_up`
    other = re.findall(r'name="session" value="([^"]+)"', page)[0]
    assert (await send(browser, "/sessions/end", session=other)).status_code == 303
    assert not await alive(browser, api)
    assert (await send(browser, "/sessions/end", session=other)).status_code == 404
    api = await sign_in(browser)
    answer = await send(browser, "/sessions/end-all")
    assert answer.headers["location"] == "/admin/login?done=signed-out-everywhere"
    assert not await alive(browser, api)
    assert await alive(browser, bob)
    assert (await browser.get(ACCESS)).status_code == 303


async def test_ending_ones_own_session_signs_out(browser: httpx2.AsyncClient) -> None:
    page = (await browser.get(ACCESS)).text
    mine = re.search(r'name="session" value="([^"]+)"><button[^>]*aria-label="End this session"', page)
    assert mine is not None
    answer = await send(browser, "/sessions/end", session=mine[1])
    assert answer.headers["location"] == "/admin/login?done=signed-out"
    assert (await browser.get(ACCESS)).status_code == 303


@pytest.mark.parametrize("name", ["", "x", "\x00", "é", "x" * 10_000, "' OR 1=1 --"])
async def test_a_session_that_is_not_ones_own_is_not_found(browser: httpx2.AsyncClient, name: str) -> None:
    assert (await send(browser, "/sessions/end", session=name)).status_code == 404
    assert (await browser.get(ACCESS)).status_code == 200


async def test_a_new_password_ends_all_sessions(browser: httpx2.AsyncClient) -> None:
    api = await sign_in(browser)
    new = "another long password"
    answer = await send(browser, "/password", old_password=PASSWORD, new_password=new)
    assert answer.headers["location"] == "/admin/login?done=password"
    assert not await alive(browser, api)
    assert (await browser.get(ACCESS)).status_code == 303
    assert (await enter(browser)).status_code == 401
    assert (await enter(browser, password=new)).status_code == 303


@pytest.mark.parametrize(
    ("old", "new", "where", "says"),
    [
        ("wrong", "another long password", "old_password", "the old password is wrong"),
        ("", "another long password", "old_password", "at least 1 character"),
        (PASSWORD, "short", "new_password", "at least 12 characters"),
        (PASSWORD, "x" * 257, "new_password", "at most 256 characters"),
        ("\x00", "another long password", "old_password", "the old password is wrong"),
    ],
)
async def test_a_wrong_password_is_explained_at_its_field(
    browser: httpx2.AsyncClient, old: str, new: str, where: str, says: str
) -> None:
    answer = await send(browser, "/password", old_password=old, new_password=new)
    assert answer.status_code == 422
    found = re.search(rf'id="wrong-{where}">([^<]+)<', answer.text)
    assert found is not None
    assert says in unescape(found[1])
    assert new not in answer.text.replace('value=""', "") or new == "short"
    assert (await enter(browser)).status_code == 303


async def test_guessing_the_old_password_is_bounded(url: str) -> None:
    async with serving(settings_for(url, login_attempts_per_account=3)) as client:
        await sign_up(client)
        client.headers.update(BROWSER)
        await enter(client)
        wish = {"old_password": "a wrong guess", "new_password": "another long password"}
        assert [(await send(client, "/password", **wish)).status_code for _ in range(4)] == [422, 422, 422, 429]


async def test_names_are_text(browser: httpx2.AsyncClient, bob: dict[str, str], url: str) -> None:
    await send(browser, "/invitations", email="eve@example.org")
    quoted = HOSTILE.replace("'", "''")
    await run_sql(
        url,
        f"UPDATE admin SET username = '{quoted}', email = '{quoted}' WHERE id = 2",
        f"UPDATE admin_invitations SET email = '{quoted}', invited_by = 2 WHERE id = 2",
    )
    page = await browser.get(ACCESS)
    assert "<script>" not in page.text
    assert "<img src=x" not in page.text
    assert page.text.count("{{ 7*7 }}") >= 4
