"""`bin/screenshots`: pictures of every page of a seeded world, which the offline model plays."""

import argparse
import asyncio
import base64
import re
import sys
from pathlib import Path
from typing import Any

import asyncpg
from playwright.async_api import Browser, BrowserContext, Page, ViewportSize, async_playwright

from app.agent.population.invented import invented
from app.auth import admins
from app.db import embedded, migrate
from app.db.engine import Database
from app.venues.chatroom import studies
from app.world import rooms
from tests.browser.conftest import Site, chromium, open_context, served
from tests.browser.every_page import addresses, application, page_paths
from tests.browser.looking import whose
from tests.browser.test_taking_part import Seat, take_seat
from tests.browser.world import become_admin, live
from tests.llm.test_scripted_chat import asking, calls, character
from tests.taking_part import open_study

IMAGES = Path(__file__).parents[2] / "docs" / "images"
CYCLES = 5
TALLEST = 2_400
VIEWS = {
    "light": ("light", ViewportSize(width=1280, height=860)),
    "dark": ("dark", ViewportSize(width=1280, height=860)),
    "phone": ("light", ViewportSize(width=390, height=844)),
}
SPACED = """
UPDATE posts SET created_at = now() - (SELECT max(id) FROM posts) * interval '9 minutes' + id * interval '9 minutes';
UPDATE post_counts c SET created_at = p.created_at FROM posts p WHERE p.id = c.post_id;
UPDATE comments c SET created_at = p.created_at + interval '2 minutes' FROM posts p WHERE p.id = c.post_id;
UPDATE calls SET latency_ms = 2;
"""
"""A world that was played in seconds, as if over hours."""

BRIEF = "You chat about bicycles in town. Be polite and constructive."
STUDY: dict[str, Any] = {
    "title": "How people talk about bicycles",
    "arms": {"civil": {"prompt_template": BRIEF}},
    "cast": [{"name": name} for name in ("Robin", "Sam", "Noor", "Toni")],
    "consent": "external",
    "strata": None,
    "intake": [],
}
TALK = (
    ("Robin", "background", ""),
    ("", "", "I would cycle to work if there was a lane on the main road."),
    ("Sam", "answer", ""),
    ("Toni", "background", ""),
    ("", "", "@Noor do you ride in winter, too?"),
    ("Noor", "addressed", ""),
    ("Robin", "background", ""),
)
"""Who speaks in the room of the picture, and why; what the person says."""

SEED = 70
"""Behind which the speakers have much to say, and without pictograms, for which not every machine has a font."""

NOON = """() => {
  document.querySelectorAll("[data-log] time").forEach((time, n) => { time.textContent = `12:0${n >> 1}`; });
  document.querySelector("[data-clock]").textContent = "11:24";
}"""

STILL = """() => {
  for (const time of document.querySelectorAll("time[data-countdown]")) {
    const still = document.createElement("span");
    still.textContent = "in 12:31";
    time.replaceWith(still);
  }
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode())
    walker.currentNode.data = walker.currentNode.data
      .replace(/\\d\\d [A-Z][a-z]{2} \\d{4}, \\d\\d:\\d\\d:\\d\\d UTC/g, "01 Mar 2026, 12:00:00 UTC");
}"""
"""What would differ from one time to the next, made to stand still."""

TO_WEBP = """async (png) => {
  const image = new Image();
  image.src = "data:image/png;base64," + png;
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
  canvas.getContext("2d").drawImage(image, 0, 0);
  return canvas.toDataURL("image/webp", 0.86).split(",")[1];
}"""


def name_of(path: str) -> str:
    """`/admin/runs/{run_id}` as `admin-runs-run_id`."""
    return re.sub(r"[^a-z0-9_]+", "-", path.lower()).strip("-") or "feed"


LOADED = "Promise.all([...document.images].map((i) => { i.loading = 'eager'; return i.decode().catch(() => 0) }))"


def say(words: str) -> None:
    sys.stderr.write(f"{words}\n")


async def still(page: Page, address: str) -> None:
    """Open a page and wait until all of it is there."""
    await page.goto(address, wait_until="load")
    await page.evaluate(LOADED)
    await page.evaluate(STILL)


async def every_page(contexts: dict[str, BrowserContext], site: Site, folder: Path) -> int:
    """A picture of each page in each view; how many that makes."""
    pages = {name: await context.new_page() for name, context in contexts.items()}
    made = 0
    for path in page_paths(application()):
        page = pages[whose(path)]
        address = site.address + addresses(path, site.world)[0]
        for view, (theme, size) in VIEWS.items():
            await page.set_viewport_size(size)
            await page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]  # light or dark
            await still(page, address)
            height = min(TALLEST, await page.evaluate("document.documentElement.scrollHeight"))
            await page.set_viewport_size({"width": size["width"], "height": max(height, size["height"])})
            await page.screenshot(path=folder / f"{name_of(path)}-{view}.png")
            made += 1
        say(address.removeprefix(site.address))
    return made


async def readme(contexts: dict[str, BrowserContext], browser: Browser, site: Site, folder: Path) -> list[Path]:
    """The pictures of the README: the feed in both themes, the trace of a turn, and a chatroom."""
    blank = await browser.new_page()
    made = []

    async def keep(page: Page, name: str) -> None:
        png = base64.b64encode(await page.screenshot()).decode()
        made.append(folder / f"{name}.webp")
        made[-1].write_bytes(base64.b64decode(await blank.evaluate(TO_WEBP, png)))

    trace = addresses("/admin/traces/{turn_id}", site.world)[0]
    for name, who, theme, path in (
        ("feed-light", "anybody", "light", "/"),
        ("feed-dark", "anybody", "dark", "/"),
        ("trace", "admin", "light", trace),
    ):
        page = await contexts[who].new_page()
        await page.set_viewport_size({"width": 1200, "height": 760})
        await page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]  # light or dark
        await still(page, site.address + path)
        await keep(page, name)
        await page.close()
    seat = await chatroom(browser, site)
    await keep(seat.page, "room")
    await seat.context.close()
    await blank.close()
    return made


async def chatroom(browser: Browser, site: Site) -> Seat:
    """A participant in a room in which four personas have begun to talk, played by the offline model."""
    database = await Database.open(site.world.url, size=2)
    study = await open_study(database, **STUDY)
    (token,) = await studies.make_tokens(database, study, 1, by=None)
    seat = await take_seat(browser, site, database, token.token, viewport={"width": 960, "height": 812})
    names = [one["name"] for one in STUDY["cast"]]
    told = {name: character(spec, name) for name, spec in zip(names, invented(names, 1), strict=True)}
    heard: list[dict[str, Any]] = []
    for number, (name, cause, words) in enumerate(TALK, 1):
        if name:
            members = ("participant", *names)
            seed = SEED + number
            request = asking(*heard, name=name, told=told[name], brief=BRIEF, members=members, cause=cause, seed=seed)
            words = next(given["text"] for called, given in await calls(request) if called == "say")
            await seat.agent_says(words, names.index(name) + 1)
        else:
            await rooms.say(database, await seat.key(), words)
        heard.append({"n": number, "by": name or "participant", "text": words})
        await seat.page.locator("[data-log] .msg").nth(number - 1).wait_for()
    await seat.page.evaluate(NOON)
    await database.close()
    return seat


async def busy(url: str) -> None:
    """Give the admin something to have done."""
    database = await Database.open(url, size=2)
    for name in ("grace", "mary", "edith"):
        await admins.invite(database, f"{name}@example.org", by=1)
    await admins.revoke(database, 2, by=1)
    await database.close()


async def work(folder: Path | None, images: Path | None) -> None:
    with embedded.throwaway(durable=False) as server:
        connection = await asyncpg.connect(server.url("postgres"))
        await connection.execute("CREATE DATABASE pictures")
        await connection.close()
        url = server.url("pictures")
        await migrate.upgrade(url)
        say(f"playing {CYCLES} cycles ...")
        world = await live(url, cycles=CYCLES, odd=False, at_once=1)
        connection = await asyncpg.connect(url)
        await connection.execute(SPACED)
        await connection.close()
        with served(world, scheduler_enabled=True, scheduler_job_interval=10_080) as site:
            site.cookies = await become_admin(site.address)
            await busy(url)
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
                contexts = {
                    who: await open_context(browser, site, admin=who == "admin") for who in ("admin", "anybody")
                }
                if folder is not None:
                    say(f"{await every_page(contexts, site, folder)} pictures in {folder}")
                if images is not None:
                    made = await readme(contexts, browser, site, images)
                    total = sum(path.stat().st_size for path in made)
                    say(f"{len(made)} pictures of {total // 1024} KB in {images}")
                await browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="bin/screenshots", add_help=False)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--readme", action="store_true")
    given = parser.parse_args()
    if given.folder is None and not given.readme:
        parser.error("name a folder, or --readme; bin/screenshots --help tells more")
    if chromium() is None:
        sys.exit("no Chromium here: apt-get install chromium, or set SIMFEED_TEST_CHROMIUM to a browser of its kind")
    for place in (given.folder, IMAGES if given.readme else None):
        if place is not None:
            place.mkdir(parents=True, exist_ok=True)
    asyncio.run(work(given.folder, IMAGES if given.readme else None))


if __name__ == "__main__":
    main()
