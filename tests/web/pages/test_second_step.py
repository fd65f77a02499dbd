"""The second step of signing in, over the API and in a browser; setting an authenticator up and turning it off."""

import base64
import re
import time
from html import unescape

import httpx2
import pytest

from app.auth import second_factor, totp
from tests.conftest import PASSWORD, run_sql, serving, settings_for, sign_up
from tests.web.pages.test_admin_access import ACCESS, enter, send
from tests.web.test_edge import assert_problem
from tests.web.test_page import BROWSER, HOSTILE

LOGIN = {"username": "ada", "password": PASSWORD}
CODE_FORM = "/admin/login/code"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time by which codes are checked, in its only element."""
    now = [float(int(time.time()))]
    monkeypatch.setattr("app.auth.second_factor.time.time", lambda: now[0])
    return now


def shown(page: httpx2.Response, name: str) -> str:
    found = re.search(rf'id="{name}"[^>]*>([^<]+)<', page.text)
    assert found is not None, page.text
    return unescape(found[1])


class Phone:
    """The authenticator app."""

    def __init__(self, key: bytes, clock: list[float]) -> None:
        self.key, self.clock = key, clock

    def code(self) -> str:
        """A code that was not shown before: time goes on by a step."""
        self.clock[0] += totp.STEP_SECONDS
        return totp.code_at(self.key, int(self.clock[0]) // totp.STEP_SECONDS)


async def enrol(browser: httpx2.AsyncClient, clock: list[float]) -> tuple[Phone, list[str]]:
    answer = await send(browser, "/totp/begin", password=PASSWORD)
    assert answer.headers["location"] == ACCESS + "/totp"
    page = await browser.get(ACCESS + "/totp")
    assert page.headers["cache-control"] == "private, no-store"
    letters = shown(page, "totp-secret").replace(" ", "")
    assert f"secret={letters}&" in shown(page, "totp-address")
    phone = Phone(base64.b32decode(letters), clock)
    kept = await send(browser, "/totp/confirm", code=phone.code())
    assert (kept.status_code, kept.headers["cache-control"]) == (200, "private, no-store")
    codes = shown(kept, "recovery-codes").split()
    assert len(codes) == 10
    for path in (ACCESS, "/admin/audit", "/admin/audit.jsonl"):
        text = (await browser.get(path)).text
        assert letters not in text
        assert codes[0] not in text
    return phone, codes


async def test_the_api_asks_for_a_code(browser: httpx2.AsyncClient, clock: list[float]) -> None:
    assert (await browser.post("/auths/login", json={**LOGIN, "totp": "123456"})).status_code == 200
    phone, codes = await enrol(browser, clock)
    browser.headers["Accept"] = "application/json"
    answer = await browser.post("/auths/login", data=LOGIN)
    assert_problem(answer, 401)
    assert "send it as `totp`" in answer.json()["detail"]
    assert [error["code"] for error in answer.json()["errors"]] == ["totp_required"]
    code = phone.code()
    assert (await browser.post("/auths/login", data={**LOGIN, "totp": code})).status_code == 200
    again = await browser.post("/auths/login", json={**LOGIN, "totp": code})
    assert_problem(again, 401)
    assert [error["code"] for error in again.json()["errors"]] == ["totp_wrong"]
    for given in ({"totp": phone.code()}, {"totp": codes[0]}, {"totp": codes[1].lower().replace("-", " ")}):
        answer = await browser.post("/auths/login", json={**LOGIN, **given})
        assert answer.status_code == 200, answer.text
        assert set(answer.json()) == {"access_token", "token_type", "expires_at"}
    assert_problem(await browser.post("/auths/login", json={**LOGIN, "totp": codes[0]}), 401)
    odds: tuple[object, ...] = ("", "x" * 41, "é", "1\n", "\x00", 123456, [], True)
    for odd in odds:
        assert_problem(await browser.post("/auths/login", json={**LOGIN, "totp": odd}), 422)


async def test_who_does_not_know_the_password_learns_nothing(browser: httpx2.AsyncClient, clock: list[float]) -> None:
    phone, _ = await enrol(browser, clock)
    browser.headers["Accept"] = "application/json"
    told = set()
    for given in (
        {"username": "ada", "password": "a wrong guess"},
        {"username": "ada", "password": "a wrong guess", "totp": phone.code()},
        {"username": "nobody", "password": "a wrong guess"},
        {"username": "nobody", "password": "a wrong guess", "totp": "123456"},
    ):
        answer = await browser.post("/auths/login", json=given)
        told.add((answer.status_code, answer.json()["detail"], "errors" in answer.json()))
    assert told == {(401, "the username or the password is wrong", False)}


async def test_a_browser_is_asked_in_a_second_step(browser: httpx2.AsyncClient, clock: list[float]) -> None:
    phone, codes = await enrol(browser, clock)
    for code in (phone.code(), codes[0]):
        browser.cookies.clear()
        answer = await browser.post("/admin/login", data={**LOGIN, "next": "/admin/settings?x=1"})
        assert (answer.status_code, answer.headers["location"]) == (
            303,
            f"{CODE_FORM}?next=%2Fadmin%2Fsettings%3Fx%3D1",
        )
        cookies = answer.headers.get_list("set-cookie")
        assert [one.partition("=")[0] for one in cookies] == ["simfeed_half"]
        said = {part.strip().lower() for part in cookies[0].split(";")[1:]}
        assert said == {"httponly", "samesite=strict", "path=/admin/login", "max-age=300"}
        assert (await browser.get(ACCESS)).status_code == 303, "half a login opens nothing"
        page = await browser.get(answer.headers["location"])
        assert 'value="/admin/settings?x=1"' in page.text
        assert page.headers["cache-control"] == "private, no-store"
        wrong = await browser.post(CODE_FORM, data={"code": "000000 0"})
        assert wrong.status_code == 401
        assert "the code is wrong" in shown(wrong, "wrong-code")
        right = await browser.post(CODE_FORM, data={"code": code, "next": "/admin/settings?x=1"})
        assert (right.status_code, right.headers["location"]) == (303, "/admin/settings?x=1")
        assert "simfeed_half" not in browser.cookies
        assert (await browser.get(ACCESS)).status_code == 200
        assert (await browser.get(CODE_FORM)).headers["location"] == "/admin"


async def test_the_step_is_bound_to_a_password_just_given(browser: httpx2.AsyncClient, clock: list[float]) -> None:
    phone, _ = await enrol(browser, clock)
    browser.cookies.clear()
    for half in ("", "1.2.3", "1.99999999999." + "0" * 64, "x" * 5_000):
        headers = {"Cookie": f"simfeed_half={half}"}
        for answer in (
            await browser.get(CODE_FORM, headers=headers),
            await browser.post(CODE_FORM, data={"code": phone.code()}, headers=headers),
        ):
            assert (answer.status_code, answer.headers["location"]) == (
                303,
                "/admin/login?done=half-over&next=%2Fadmin",
            )
    await browser.post("/admin/login", data=LOGIN)
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.test"}):
        assert (await browser.post(CODE_FORM, data={"code": phone.code()}, headers=headers)).status_code == 403
    clock[0] += second_factor.HALF_SECONDS
    over = await browser.post(CODE_FORM, data={"code": phone.code()})
    assert "five minutes" in (await browser.get(over.headers["location"])).text
    assert (await browser.get(ACCESS)).status_code == 303


@pytest.mark.parametrize("code", ["", HOSTILE, "x" * 10_000, "\x00", "é", "１２３４５６"])
async def test_odd_codes_are_explained(browser: httpx2.AsyncClient, clock: list[float], code: str) -> None:
    await enrol(browser, clock)
    off = await send(browser, "/totp/off", password=PASSWORD, code=code)
    browser.cookies.clear()
    await browser.post("/admin/login", data=LOGIN)
    for answer in (off, await browser.post(CODE_FORM, data={"code": code})):
        assert answer.status_code == 422
        assert "six digits" in shown(answer, "wrong-code")
        assert "<script>" not in answer.text


async def test_guessing_codes_is_bounded(url: str, clock: list[float]) -> None:
    async with serving(settings_for(url, login_attempts_per_account=3)) as client:
        await sign_up(client)
        client.headers.update(BROWSER)
        await enter(client)
        phone, _ = await enrol(client, clock)
        client.cookies.clear()
        await client.post("/admin/login", data=LOGIN)
        statuses = [(await client.post(CODE_FORM, data={"code": "999 999 9"})).status_code for _ in range(4)]
        assert statuses == [401, 401, 401, 429]
        answer = await client.post(CODE_FORM, data={"code": phone.code()})
        assert answer.status_code == 429
        assert "try again later" in answer.text


async def test_setting_up_asks_for_the_password_and_waits_for_a_code(
    browser: httpx2.AsyncClient, clock: list[float], url: str
) -> None:
    for password in ("", "a wrong guess", "x" * 300):
        answer = await send(browser, "/totp/begin", password=password)
        assert answer.status_code == 422
        assert shown(answer, "wrong-password")
    assert (await browser.get(ACCESS + "/totp")).headers["location"] == ACCESS + "#authenticator"
    await send(browser, "/totp/begin", password=PASSWORD)
    wrong = await send(browser, "/totp/confirm", code="12345")
    assert wrong.status_code == 422
    assert "clock of your phone" in shown(wrong, "wrong-code")
    browser.cookies.clear()
    assert (await enter(browser)).headers["location"] == "/admin"
    await run_sql(url, "UPDATE admin_totp SET created_at = now() - interval '16 minutes'")
    assert (await browser.get(ACCESS + "/totp")).status_code == 303
    assert (await send(browser, "/totp/confirm", code="123456")).status_code == 404


async def test_the_picture_is_a_qr_code_of_the_address(browser: httpx2.AsyncClient) -> None:
    segno = pytest.importorskip("segno")
    await send(browser, "/totp/begin", password=PASSWORD)
    page = await browser.get(ACCESS + "/totp")
    path = re.search(r'<path fill="#000" d="([^"]+)"', page.text)
    assert path is not None
    dark = set()
    for x, y, width in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\3z", path[1]):
        dark |= {(int(x) + n - 4, int(y) - 4) for n in range(int(width))}
    rows = segno.make_qr(shown(page, "totp-address"), error="m").matrix
    assert dark == {(x, y) for y, row in enumerate(rows) for x, module in enumerate(row) if module}
    assert " style=" not in page.text


async def test_turning_off_needs_both(browser: httpx2.AsyncClient, clock: list[float]) -> None:
    phone, codes = await enrol(browser, clock)
    assert "10 recovery codes are left" in (await browser.get(ACCESS)).text
    assert shown(await send(browser, "/totp/off", password="a wrong guess", code=phone.code()), "wrong-password")
    assert shown(await send(browser, "/totp/off", password=PASSWORD, code="999 999 9"), "wrong-code")
    answer = await send(browser, "/totp/off", password=PASSWORD, code=codes[3])
    assert answer.headers["location"] == ACCESS + "?done=totp-off"
    browser.cookies.clear()
    assert (await enter(browser)).headers["location"] == "/admin"


async def test_the_first_step_alone_counts_no_attempt_of_the_password(
    browser: httpx2.AsyncClient, clock: list[float], url: str
) -> None:
    await enrol(browser, clock)
    for _ in range(3):
        browser.cookies.clear()
        await browser.post("/admin/login", data=LOGIN)
    await run_sql(url, "DO $$ BEGIN ASSERT (SELECT coalesce(sum(attempts), 0) FROM login_attempts"
                  " WHERE key LIKE 'ip:%' OR key LIKE 'account:%') = 0; END $$")  # fmt: skip
