"""Ways through the pages as people go them: becoming an admin, watching the feed live, losing the server."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest
from playwright.async_api import Browser, async_playwright, expect

from app.db.engine import Database
from app.settings import load_settings
from app.venues.feed import open_cycle, play_cycle
from tests.browser.conftest import Site, Tab, chromium, open_context, open_tab, served
from tests.browser.world import World, become_admin, live
from tests.conftest import BOOTSTRAP, PASSWORD, a_mind, copy_of

SECONDS = 15_000
HALT_SECONDS = 2
"""By then every process has heard of the kill switch."""

SETTINGS = load_settings(max_actions=4, max_calls_per_reply=4)


@pytest.fixture
async def fresh(url: str) -> AsyncIterator[Site]:
    """An empty world without an admin."""
    with served(World(url)) as site:
        yield site


@pytest.fixture(scope="module")
async def town(server_url: str, template: str) -> AsyncIterator[Site]:
    """A world that goes on living: this server plays the turns that are opened."""
    async with copy_of(server_url, template) as url:
        world = await live(url)
        with served(world, worker_enabled=True, max_actions=4, max_calls_per_reply=4) as site:
            site.cookies = await become_admin(site.address)
            yield site


async def cycle(site: Site) -> None:
    """A cycle, played by another process than the server, so to speak."""
    database = await Database.open(site.world.url, size=4)
    async with a_mind(database) as mind:
        run = await open_cycle(mind, SETTINGS)
        assert run is not None
        await play_cycle(mind, SETTINGS, run)
    await database.close()


async def test_the_first_admin_comes_in_and_goes_out(browser: Browser, fresh: Site) -> None:
    context = await open_context(browser, fresh)
    tab = await open_tab(context, fresh)
    page = tab.page
    await tab.go("/")
    await page.get_by_role("link", name="Sign in").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Become the first admin")
    await page.get_by_label("Bootstrap token").fill("sf_boot_of-somebody-else")
    await page.get_by_label("Username").fill("ada")
    await page.get_by_label("E-mail").fill("ada@example.org")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Become admin").click()
    await expect(page.get_by_role("alert")).to_contain_text("the bootstrap token is wrong")
    await page.get_by_label("Bootstrap token").fill(BOOTSTRAP)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Become admin").click()
    await expect(page.get_by_role("status").first).to_contain_text("Welcome")
    await page.get_by_label("Username or e-mail").fill("ada")
    await page.get_by_label("Password").fill("a wrong password")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_contain_text("the username or the password is wrong")
    assert await page.get_by_label("Username or e-mail").input_value() == "ada"
    await page.get_by_label("Password").fill(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    await tab.go("/admin/access")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Access")
    await page.get_by_role("button", name="Sign out ada").click()
    await expect(page.get_by_text("You are signed out.")).to_be_visible()
    await tab.go("/admin/access")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    assert [t for t in await tab.troubles() if "status of 4" not in t and "status of 404" not in t] == []
    await context.close()


async def test_an_invitation_is_copied_and_used(browser: Browser, town: Site) -> None:
    context = await open_context(browser, town, admin=True, permissions=["clipboard-read", "clipboard-write"])
    tab = await open_tab(context, town)
    await tab.go("/admin/access")
    await tab.page.get_by_label("Invite somebody").fill("bob@example.org")
    await tab.page.get_by_role("button", name="Make an invitation").click()
    await tab.page.get_by_role("button", name="Copy the link").click()
    await expect(tab.page.get_by_role("button", name="Copied")).to_be_visible()
    link = await tab.page.evaluate("navigator.clipboard.readText()")
    guests = await open_context(browser, town, java_script_enabled=False)
    page = await guests.new_page()
    await page.goto(link)
    await page.get_by_label("Username").fill("bob")
    await page.get_by_label("E-mail").fill("bob@example.org")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Accept").click()
    await page.get_by_label("Username or e-mail").fill("bob")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("button", name="Sign out bob")).to_be_visible()

    await tab.go("/admin/access")
    tab.page.on("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))
    await tab.page.get_by_role("button", name="Disable bob").click()
    await expect(tab.page.get_by_text("They are shut out")).to_be_visible()
    await page.goto(town.address + "/admin/access")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    assert await tab.troubles() == []
    await guests.close()
    await context.close()


async def on_the_feed(browser: Browser, site: Site) -> Tab:
    context = await open_context(browser, site)
    tab = await open_tab(context, site)
    await tab.go("/")
    await expect(tab.page.locator('.live-dot[data-live="on"]')).to_be_visible(timeout=SECONDS)
    return tab


async def test_new_posts_wait_until_they_are_asked_for(browser: Browser, town: Site) -> None:
    tab = await on_the_feed(browser, town)
    page = tab.page
    await page.evaluate("scrollTo({ top: 600, behavior: 'instant' })")
    before = await page.evaluate("scrollY")
    assert before > 300
    first = await page.locator("article.post").first.get_attribute("id")
    await page.evaluate("window.__shifts = []")
    await cycle(town)
    pill = page.get_by_role("button", name="new post")
    await expect(pill).to_be_visible(timeout=SECONDS)
    assert await page.evaluate("scrollY") == before
    assert await page.locator("article.post").first.get_attribute("id") == first
    assert await page.evaluate("window.__shifts") == []
    await pill.click()
    await expect(page.locator("article.post").first).not_to_have_attribute("id", first or "")
    await expect(page.locator("article.post").first).to_be_focused()
    await expect(pill).to_be_hidden()
    places = await page.locator("article.post").evaluate_all("all => all.map((e) => Number(e.ariaPosInSet))")
    assert places == list(range(1, len(places) + 1))
    ids = await page.locator("article.post").evaluate_all("all => all.map((e) => e.id)")
    assert len(ids) == len(set(ids))
    assert await tab.troubles() == []
    await page.context.close()


async def test_the_pill_counts_up_without_moving(browser: Browser, town: Site) -> None:
    tab = await on_the_feed(browser, town)
    page = tab.page
    await page.evaluate("window.__shifts = []; document.querySelector('[data-pill]').hidden = false")
    for words in ("1 new post", "2 new posts", "12 new posts", "99+ new posts"):
        await page.evaluate("words => { document.querySelector('[data-pill-words]').textContent = words }", words)
        await page.wait_for_timeout(150)
    assert await page.evaluate("window.__shifts") == []
    await page.context.close()


async def test_nothing_moves_while_the_feed_loads(browser: Browser, town: Site) -> None:
    tab = await on_the_feed(browser, town)
    await tab.page.wait_for_timeout(300)
    assert await tab.page.evaluate("window.__shifts") == []
    await tab.page.context.close()


async def test_page_down_goes_from_post_to_post(browser: Browser, town: Site) -> None:
    tab = await on_the_feed(browser, town)
    posts = tab.page.locator("article.post")
    await posts.first.focus()
    for at in (1, 2):
        await tab.page.keyboard.press("PageDown")
        await expect(posts.nth(at)).to_be_focused()
    await tab.page.keyboard.press("PageUp")
    await expect(posts.nth(1)).to_be_focused()
    await tab.page.context.close()


async def test_older_posts_follow_and_the_focus_with_them(browser: Browser, town: Site) -> None:
    tab = await on_the_feed(browser, town)
    posts, older = tab.page.locator("article.post"), tab.page.get_by_role("link", name="Older posts")
    count = await posts.count()
    await older.click()
    await expect(posts.nth(count)).to_be_focused()
    ids = await posts.evaluate_all("all => all.map((e) => e.id)")
    assert len(ids) == len(set(ids)) > count
    await tab.page.context.close()


async def test_a_persona_is_made_takes_part_and_is_asked_why(browser: Browser, town: Site) -> None:
    feed = await on_the_feed(browser, town)
    context = await open_context(browser, town, admin=True)
    desk = await open_tab(context, town)
    page = desk.page
    await desk.go("/admin/personas/new")
    await page.get_by_label("Handle").fill("zoe_live")
    await page.get_by_label("Display name").fill("Zoe")
    await page.get_by_label("Description").fill(
        "A retired sailor who writes about tides, tea and trains, and never stops."
    )
    await page.get_by_role("button", name="Create").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("@zoe_live")

    pill = feed.page.get_by_role("button", name="new post")
    hers = feed.page.locator("article.post", has=feed.page.locator('a[href="/@zoe_live"]'))
    for _ in range(8):
        await desk.go("/admin/runs")
        await page.get_by_role("button", name="Run now").click()
        await expect(pill).to_be_visible(timeout=SECONDS)
        await ended(town)
        await pill.click()
        await expect(pill).to_be_hidden()
        if await hers.count():
            break
    assert await hers.count(), "the offline model has said nothing in eight cycles"
    number = (await hers.first.get_attribute("id") or "").removeprefix("post-")
    await hers.first.get_by_role("link", name="Why did @zoe_live post this?").click()
    await feed.page.wait_for_url(f"**/post/{number}#why")
    await expect(feed.page.locator("#why")).to_contain_text("@zoe_live")
    await expect(feed.page.get_by_role("link", name="The whole trace")).to_have_count(0)

    await desk.go(f"/post/{number}")
    await page.get_by_role("link", name="The whole trace").click()
    await page.wait_for_url("**/admin/traces/*#step-*")
    step = page.locator(":target")
    await expect(step).to_be_in_viewport()
    await step.locator(f'a[href="/post/{number}"]').first.click()
    await page.wait_for_url(f"**/post/{number}")
    assert await desk.troubles() == []
    assert await feed.troubles() == []
    await context.close()
    await feed.page.context.close()


async def count(site: Site, query: str) -> int:
    connection = await asyncpg.connect(site.world.url)
    try:
        return int(await connection.fetchval(query))
    finally:
        await connection.close()


async def ended(site: Site) -> None:
    """Wait until no turn is open."""
    async with asyncio.timeout(30):
        while await count(site, "SELECT count(*) FROM turns WHERE state IN ('queued', 'running')"):
            await asyncio.sleep(0.1)


@pytest.fixture
async def unhalted(town: Site) -> AsyncIterator[None]:
    """Whatever becomes of the test, the world goes on."""
    yield
    await count(town, "UPDATE instance SET halted_at = NULL RETURNING 1")


@pytest.mark.usefixtures("unhalted")
async def test_the_kill_switch_stops_all_calls_and_lets_them_go_on(browser: Browser, town: Site) -> None:
    context = await open_context(browser, town, admin=True)
    tab = await open_tab(context, town)
    page = tab.page
    await ended(town)
    await tab.go("/admin/budgets")
    await page.get_by_text("Halt everything").click()
    await page.get_by_role("button", name="Yes, halt now").click()
    await expect(page.get_by_role("heading", name="Everything is halted")).to_be_visible()
    await asyncio.sleep(HALT_SECONDS)
    await tab.go("/admin/runs")
    await expect(page.get_by_role("button", name="Run now")).to_be_disabled()
    before = await count(town, "SELECT count(*) FROM calls")
    database = await Database.open(town.world.url, size=4)
    async with a_mind(database) as mind:
        assert await open_cycle(mind, SETTINGS) is not None
    await database.close()
    await asyncio.sleep(1.5)
    assert await count(town, "SELECT count(*) FROM calls") == before
    assert await count(town, "SELECT count(*) FROM turns WHERE state IN ('queued', 'running')") > 0
    await tab.go("/admin/budgets")
    await page.get_by_text("Go on …").click()
    await page.get_by_role("button", name="Yes, go on").click()
    await expect(page.get_by_role("heading", name="Models may be asked")).to_be_visible()
    await ended(town)
    assert await count(town, "SELECT count(*) FROM calls") > before
    assert await tab.troubles() == []
    await context.close()


async def test_a_lost_connection_is_told_and_found_again(browser: Browser, town: Site) -> None:
    with served(town.world) as site:
        tab = await on_the_feed(browser, site)
        port = int(site.address.rpartition(":")[2])
        await tab.page.evaluate("window.__shifts = []")
    line = tab.page.locator("[data-live-words]")
    await expect(line).to_have_text("Connection lost — trying again …", timeout=SECONDS)
    await expect(tab.page.locator('.live-dot[data-live="off"]')).to_be_visible()
    with served(town.world, port):
        await expect(line).to_have_text("Connected again.", timeout=2 * SECONDS)
        await cycle(town)
        await expect(tab.page.get_by_role("button", name="new post")).to_be_visible(timeout=SECONDS)
        assert await tab.page.evaluate("window.__shifts") == []
        await tab.page.context.close()


async def test_the_theme_is_kept(browser: Browser, town: Site) -> None:
    tab = await on_the_feed(browser, town)
    page = tab.page
    ground = "getComputedStyle(document.body).backgroundColor"
    light = await page.evaluate(ground)
    for _ in range(2):
        await page.get_by_role("button", name="Theme").click()
    dark = await page.evaluate(ground)
    assert light != dark
    await page.reload()
    assert await page.evaluate(ground) == dark
    await expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    await page.context.close()


async def test_forms_work_over_plain_http_on_a_named_host(browser: Browser, town: Site) -> None:
    """A browser sends no Sec-Fetch-Site to such a host, and under `no-referrer` the Origin `null`."""
    async with async_playwright() as playwright:
        rules = ["--no-sandbox", "--host-resolver-rules=MAP simfeed.test 127.0.0.1"]
        named = await playwright.chromium.launch(executable_path=chromium(), args=rules)
        page = await named.new_page()
        await page.goto(town.address.replace("127.0.0.1", "simfeed.test") + "/admin/login")
        await page.get_by_label("Username or e-mail").fill("ada")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("button", name="Sign out ada")).to_be_visible()
        await named.close()


async def test_a_table_is_sorted_filtered_and_taken_along_by_keys(browser: Browser, town: Site) -> None:
    context = await open_context(browser, town, admin=True, accept_downloads=True)
    tab = await open_tab(context, town)
    page = tab.page
    await tab.go("/admin/settings")
    field = page.get_by_label("Filter settings")
    await field.fill("budget_day")
    await expect(page.get_by_role("status").filter(has_text=" of ")).to_contain_text("2 of ")
    await expect(page.get_by_role("heading", name="Home and database")).to_be_hidden()
    head = page.get_by_role("columnheader", name="Setting")
    await head.get_by_role("button").press("Enter")
    await head.get_by_role("button").press("Enter")
    await expect(head).to_have_attribute("aria-sort", "descending")
    assert urlsplit(page.url).query == "settings-q=budget_day&settings-sort=-setting"
    await page.reload()
    rows = page.get_by_role("row").filter(has_text="BUDGET_DAY")
    assert [text.split()[0] for text in await rows.all_inner_texts()] == ["BUDGET_DAY_USD", "BUDGET_DAY_TOKENS"]
    async with page.expect_download() as waited:
        await page.get_by_role("button", name="CSV of settings").click()
    lines = (await (await waited.value).path()).read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in lines] == ["Setting", "BUDGET_DAY_USD", "BUDGET_DAY_TOKENS"]
    assert await tab.troubles() == []
    await context.close()
