"""Observers, roles and API keys in a browser; every form of every page is barred to observers but for their own."""

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from starlette.routing import Match

from app.main import create_app
from app.web import roles
from tests.conftest import PASSWORD, serving, settings_for, sign_in, sign_up
from tests.web.pages.test_admin_access import ACCESS, alive, enter, send, shown_token
from tests.web.test_page import BROWSER, HOSTILE

OPEN = {("POST", "/admin/login"), ("POST", "/admin/login/code"), ("POST", "/admin/register")}


@pytest.fixture
async def browser(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """Signed in as ada, an admin; olga is an observer with the id 2."""
    async with serving(settings_for(url)) as found:
        await sign_up(found)
        found.headers.update(BROWSER)
        await enter(found)
        token = shown_token(await send(found, "/invitations", email="olga@example.org", role="observer"))
        person = {"username": "olga", "email": "olga@example.org", "password": PASSWORD, "invite_token": token}
        assert (await found.post("/auths/register", json=person)).status_code == 201
        yield found


async def become(client: httpx2.AsyncClient, name: str) -> None:
    client.cookies.clear()
    assert (await enter(client, name)).status_code == 303


def routes_of(app: Any) -> list[tuple[str, str]]:
    """Method and template of every unsafe page route below /admin, found by walking what is served."""
    found: set[tuple[str, str]] = set()

    def walk(routes: Any) -> None:
        for route in routes:
            inner = getattr(route, "original_router", None) or getattr(route, "router", None)
            if inner is not None and getattr(inner, "routes", None) and inner is not app.router:
                walk(inner.routes)
            path = getattr(route, "path", "")
            for method in getattr(route, "methods", None) or ():
                if method not in roles.SAFE and path.startswith("/admin"):
                    found.add((method, path))

    walk(app.routes)
    return sorted(found)


async def test_every_form_of_every_page_is_barred_to_observers(browser: httpx2.AsyncClient, url: str) -> None:
    every = routes_of(create_app(settings_for(url)))
    assert len(every) > 30
    await become(browser, "olga")
    page = await browser.get(ACCESS)
    csrf = re.search(r'name="csrf" value="([0-9a-f]{64})"', page.text)
    assert csrf is not None
    barred = 0
    for method, path in every:
        if (method, path) in OPEN or (method, path) in roles.OBSERVERS:
            continue
        address = re.sub(r"\{[^}]+\}", "1", path)
        answer = await browser.request(method, address, data={"csrf": csrf[1], "role": "admin", "post": "1"})
        assert answer.status_code == 403, (method, path, answer.status_code)
        assert "ou are an observer here" in answer.text
        assert answer.headers["content-type"].startswith("text/html")
        barred += 1
    assert barred > 15


def test_what_observers_may_is_there(url: str) -> None:
    app = create_app(settings_for(url))
    for method, path in roles.OBSERVERS | roles.PEOPLE:
        address = re.sub(r"\{[^}]+\}", "1", path)
        scope = {"type": "http", "method": method, "path": address, "root_path": "", "headers": []}
        assert any(route.matches(scope)[0] is Match.FULL for route in app.routes), (method, path)


async def test_control_without_the_rule_an_observer_changes_all(
    browser: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await become(browser, "olga")
    assert (await browser.post("/admin/personas/bulk", data={})).status_code == 403
    assert (await send(browser, "/invitations", email="eve@example.org")).status_code == 403
    monkeypatch.setattr(roles, "permit", lambda *_, **__: None)
    assert (await send(browser, "/invitations", email="eve@example.org")).status_code == 200


async def test_an_observer_sees_all_and_no_button_of_admins(browser: httpx2.AsyncClient) -> None:
    await send(browser, "/invitations", email="eve@example.org")
    await send(browser, "/keys", key="ada's", days="9")
    await become(browser, "olga")
    page = (await browser.get(ACCESS)).text
    for seen in ("eve@example.org", "ada&#39;s", "ada@example.org", "You are an observer"):
        assert seen in page
    for form in ("/disable", "/role", "/invitations", "/revoke"):
        assert not re.search(rf'action="/admin/access/[^"]*{form}"', page), form
    for path in ("", "/personas", "/runs", "/traces", "/budgets", "/safety", "/audit", "/settings"):
        answer = await browser.get(f"/admin{path}")
        assert answer.status_code == 200, path
        assert "You are an observer" in answer.text


async def test_what_is_their_own_observers_change(browser: httpx2.AsyncClient) -> None:
    await send(browser, "/keys", key="ada's", days="9")
    await become(browser, "olga")
    assert (await send(browser, "/keys", key="mine", days="1")).status_code == 200
    assert (await send(browser, "/keys/1/revoke")).status_code == 404
    assert (await send(browser, "/keys/2/revoke")).status_code == 303
    assert (await send(browser, "/totp/begin", password=PASSWORD)).status_code == 303
    new = "another long password"
    assert (await send(browser, "/password", old_password=PASSWORD, new_password=new)).status_code == 303
    assert (await enter(browser, "olga", new)).status_code == 303
    assert (await send(browser, "/sessions/end-all")).status_code == 303


async def test_a_role_is_changed_at_once(browser: httpx2.AsyncClient) -> None:
    api = {**await sign_in(browser, "olga"), "Accept": "application/json"}
    wish = {"email": "eve@example.org"}
    assert (await browser.post("/auths/invitations", json=wish, headers=api)).status_code == 403
    answer = await send(browser, "/admins/2/role", role="admin")
    assert answer.headers["location"] == ACCESS + "?done=role-set"
    assert (await browser.post("/auths/invitations", json=wish, headers=api)).status_code == 201
    assert (await browser.put("/auths/admins/1/role", json={"role": "observer"}, headers=api)).status_code == 204
    listed = (await browser.get("/auths/admins", headers=api)).json()
    assert [(one["username"], one["role"]) for one in listed] == [("ada", "observer"), ("olga", "admin")]
    assert (await send(browser, "/admins/2/role", role="observer")).status_code == 403
    assert (await browser.put("/auths/admins/2/role", json={"role": "observer"}, headers=api)).status_code == 409
    assert (await browser.put("/auths/admins/9/role", json={"role": "observer"}, headers=api)).status_code == 404


@pytest.mark.parametrize("role", ["", "root", HOSTILE, "\x00", "admin " * 1_000])
async def test_odd_roles_are_refused(browser: httpx2.AsyncClient, role: str) -> None:
    assert (await send(browser, "/admins/2/role", role=role)).status_code == 422
    if role:
        answer = await send(browser, "/invitations", email="eve@example.org", role=role)
        assert answer.status_code == 422
        assert "<script>" not in answer.text


def shown_key(page: httpx2.Response) -> str:
    found = re.search(r'id="api-key"[^>]*>([^<]+)<', page.text)
    assert found is not None, page.text
    return found[1]


async def test_a_key_is_shown_exactly_once_and_used(browser: httpx2.AsyncClient) -> None:
    page = await send(browser, "/keys", key=HOSTILE, days="30")
    assert (page.status_code, page.headers["cache-control"]) == (200, "private, no-store")
    assert "<script>" not in page.text
    key = shown_key(page)
    headers = {"Authorization": f"Bearer {key}"}
    assert 'data-label="Last used">never' in (await browser.get(ACCESS)).text
    assert await alive(browser, headers)
    listed = await browser.get(ACCESS)
    assert 'data-label="Last used"><time' in listed.text
    for path in (ACCESS, "/admin/audit", "/admin/audit.jsonl", "/admin/audit.csv"):
        assert key not in (await browser.get(path)).text
    assert "<script>" not in listed.text
    told = (await browser.get("/auths/keys", headers={**headers, "Accept": "application/json"})).json()
    assert [(one["name"], one["owner"], one["state"]) for one in told] == [(HOSTILE, "ada", "live")]
    assert (await send(browser, "/keys/1/revoke")).headers["location"] == ACCESS + "?done=key-revoked"
    assert not await alive(browser, headers)
    assert (await send(browser, "/keys/1/revoke")).status_code == 404
    assert "state-revoked" in (await browser.get(ACCESS)).text


async def test_a_key_opens_no_page(browser: httpx2.AsyncClient) -> None:
    key = shown_key(await send(browser, "/keys", key="ci", days="30"))
    browser.cookies.clear()
    browser.cookies.set("simfeed_session", key)
    assert (await browser.get(ACCESS, headers={"Authorization": f"Bearer {key}"})).status_code == 303


@pytest.mark.parametrize(
    ("name", "days", "where"),
    [
        ("", "9", "key"),
        ("x" * 201, "9", "key"),
        ("a\x00b", "9", "key"),
        ("ci", "0", "days"),
        ("ci", "366", "days"),
        ("ci", "1e2", "days"),
        ("ci", "９", "days"),
        ("ci", "9" * 5_000, "days"),
        ("ci", "", "days"),
    ],
)
async def test_a_wrong_key_is_explained_at_its_field(
    browser: httpx2.AsyncClient, name: str, days: str, where: str
) -> None:
    answer = await send(browser, "/keys", key=name, days=days)
    assert answer.status_code == 422
    assert f'id="wrong-{where}"' in answer.text
    assert "No program has a key yet" in answer.text


async def test_disabling_ends_keys(browser: httpx2.AsyncClient) -> None:
    answer = await browser.post("/auths/keys", json={"name": "x"}, headers=await sign_in(browser, "olga"))
    headers = {"Authorization": f"Bearer {answer.json()['key']}"}
    assert await alive(browser, headers)
    await send(browser, "/admins/2/disable")
    assert not await alive(browser, headers)
    await send(browser, "/admins/2/enable")
    assert not await alive(browser, headers)
