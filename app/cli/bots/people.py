"""Scripted participants: each has a character, and plays a study from its link to its end."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from types import MappingProxyType
from typing import Any, Literal

import httpx2
from websockets.exceptions import InvalidHandshake

from app.cli.bots.answers import filled
from app.cli.bots.pages import Browser, Form, Page, Unexpected
from app.cli.bots.room import Seat
from app.errors import AppError
from app.venues.chatroom.design import Question

Character = Literal[
    "chatty", "terse", "silent", "loses the line", "reloads", "reacts", "leaves", "withdraws", "drops out"
]
End = Literal["finished", "left", "dropped out", "withdrawn"]
CHARACTERS: tuple[Character, ...] = (
    "chatty", "terse", "loses the line", "reacts", "reloads", "leaves", "withdraws", "drops out", "silent", "chatty",
)  # fmt: skip
"""Of ten participants one each, and two who talk much."""

ENDS: Mapping[Character, End] = MappingProxyType(
    {"leaves": "left", "withdraws": "withdrawn", "drops out": "dropped out"}
)
STAGES = (
    "to come", "consent", "starting", "questions before", "door", "chat", "leaving", "withdrawing", "questions after",
    "debrief", "codes",
)  # fmt: skip
"""Where bots are, in the order in which they come there; then they are done, or stuck."""

SAYS = {"chatty": (6.0, 18.0), "terse": (20.0, 45.0)}
"""Seconds between two messages, in a room of two minutes or more; others are between these."""

OTHERWISE = (10.0, 28.0)
USUAL_MINUTES = 2.0
LAST_SECONDS = 3.0
"""So long before the end nobody begins a message any more."""

SPARE_SECONDS = 90.0
"""How long all but the room may take."""

HEARD_SECONDS = 30.0
SHORT = ("Yes.", "No.", "Maybe", "Not sure", "ok", "Why?", "True.", "Hm", "Really?", "Go on", "Same here", "I doubt it")
OPENINGS = (
    "I think", "To be honest,", "Where I live", "Last week I saw that", "My sister says", "Nobody told me, but",
    "Could it be that", "I used to believe", "The strange thing is that", "What surprised me:", "On the whole",
    "If you ask me,",
)  # fmt: skip
CLAIMS = (
    "it is not as simple as that", "people change their minds more often than they say", "most of us would do the same",
    "there are two sides to it", "it costs more than it should", "it will look different in ten years",
    "the rules are unclear", "we should hear those whom it concerns", "somebody has to begin",
    "this has been said before", "nobody has counted it", "it depends on who pays",
)  # fmt: skip


@dataclass
class Study:
    """What is known of a study without looking behind it: where it is, and what it asks. Times in their unit's name."""

    address: str
    external: bool
    intake: list[Question]
    closing: list[Question]
    debriefs: bool
    minutes: float
    grace_seconds: float


@dataclass
class Bot:
    """A participant. `stage` tells where they are; `problems`, what went otherwise than it should."""

    number: int
    character: Character
    token: str
    study: Study
    random: Random
    arrives: float = 0.0
    stage: str = "to come"
    came: bool = False
    seat: Seat | None = None
    room: str = ""
    code: str = ""
    problems: list[str] = field(default_factory=list)
    _said: set[str] = field(default_factory=set)

    @property
    def end(self) -> End:
        """How it shall end with them. A client of another system can't leave but by going away."""
        end = ENDS.get(self.character, "finished")
        return "dropped out" if end == "left" and self.study.external else end

    async def play(self) -> None:
        """Play it to the end; what goes wrong is kept in `problems`."""
        await asyncio.sleep(self.arrives)
        try:
            async with (
                asyncio.timeout(60 * self.study.minutes + SPARE_SECONDS),
                Browser(self.study.address) as browser,
            ):
                await (self._as_client(browser) if self.study.external else self._by_pages(browser))
        except Unexpected as error:
            self.problems.append(str(error))
        except TimeoutError:
            self.problems.append(f"got stuck at the stage {self.stage}")
        except (httpx2.HTTPError, OSError, InvalidHandshake, AppError, LookupError, ValueError) as error:
            self.problems.append(f"{type(error).__name__} at the stage {self.stage}: {error}")
        finally:
            if self.seat is not None:
                self.problems += self.seat.refused
                await self.seat.close()
            self.stage = "stuck" if self.problems else "done"

    # By the pages

    async def _by_pages(self, browser: Browser) -> None:
        gone_early = self.character == "drops out" and bool(self.study.intake) and self.random.random() < 0.5
        self.stage = "consent"
        page = await browser.open(f"/s/{self.token}?PROLIFIC_PID=bot-{self.number}")
        consent = self._form(page, "/s/join")
        kept = consent.choices.get("kept", [])
        fields = [("choice", "agree"), *([("kept", self.random.choice(kept))] if kept else [])]
        page = await browser.send(consent, *fields)
        self.came = True
        debriefed = False
        while "completion" not in page.codes and "receipt" not in page.codes:
            if form := page.form("/s/answers"):
                before = form.hidden("stage") == "intake"
                self.stage = "questions before" if before else "questions after"
                if before and gone_early:
                    return
                asked = self.study.intake if before else self.study.closing
                page = await browser.send(form, *filled(form, asked, self.random))
            elif form := page.form("/s/enter"):
                self.stage = "door"
                named = [("name", f"Kim {self.number}")] if self.random.random() < 0.5 else []
                page = await browser.send(form, *named)
            elif page.room and not self.room:
                page = await self._chat_on_page(browser, page)
                if self.character == "withdraws":
                    await self._withdraw(browser)
                    return
                if self.character == "drops out":
                    return
            elif form := page.form("/s/debriefed"):
                self.stage, debriefed = "debrief", True
                page = await browser.send(form)
            else:
                raise Unexpected(f"after the stage {self.stage} comes a page that leads nowhere: {page.title}")
        self.stage, self.code = "codes", page.codes.get("completion", "")
        if not self.code:
            raise Unexpected("the last page has no completion code")
        if self.study.debriefs and not debriefed:
            raise Unexpected("the debrief was not shown")
        if self.character == "reloads":
            async with Browser(self.study.address) as another:
                await another.open(f"/s/{self.token}", status=404)

    async def _chat_on_page(self, browser: Browser, page: Page) -> Page:
        self.room, self.stage = page.room, "chat"
        self.seat = Seat(self._wire(page.room), extras=True, origin=self.study.address)
        await self._attend(browser, self.seat)
        if self.character == "leaves":
            self.stage = "leaving"
            after = await browser.send(self._form(page, "/s/leave"))
            await self._over(self.seat, "left")
            return after
        if self.character in ("withdraws", "drops out"):
            return page
        await self._over(self.seat, "time")
        return await browser.open("/s")

    async def _withdraw(self, browser: Browser) -> None:
        self.stage = "withdrawing"
        page = await browser.open("/withdraw")
        form = next((one for one in page.forms if "sure" in one), None)
        if form is None:
            raise Unexpected("the page to withdraw asks nothing")
        kept = form.choices.get("kept", [])
        chosen = [("kept", self.random.choice(kept))] if kept else []
        await browser.send(form, *chosen, ("sure", "yes"), ("do", "withdraw"))
        if self.seat is not None:
            await self._over(self.seat, "withdrawn")
        page = await browser.open("/s")
        if page.forms or page.room:
            raise Unexpected("whoever has withdrawn is still let in")

    def _form(self, page: Page, action: str) -> Form:
        if form := page.form(action):
            return form
        raise Unexpected(f"the page “{page.title}” has no form for {action}")

    # As a client of another system

    async def _as_client(self, browser: Browser) -> None:
        self.stage = "starting"
        named = {"username": f"Kim {self.number}"} if self.random.random() < 0.5 else {}
        begun = await browser.post("/session/start", {"token": self.token, **named})
        self.came, self.room, self.stage = True, str(begun["session_id"]), "chat"
        self.seat = Seat(self._wire(self.room), extras=self.number % 2 == 0)
        await self._attend(browser, self.seat)
        if self.character in ("drops out", "leaves"):
            return
        if self.character == "withdraws":
            self.stage = "withdrawing"
            receipt = (await browser.post(f"/session/{self.room}/receipt", {}))["receipt"]
            kept = self.random.choice(({}, {"kept": "anonymised"}))
            await browser.post(f"/session/{self.room}/withdraw", {"receipt": receipt, **kept})
            await self._over(self.seat, "withdrawn")
            return
        await self._over(self.seat, "time")
        if self.character == "reloads":
            await browser.post("/session/start", {"token": self.token}, status=401)

    # In the room

    def _wire(self, room: str) -> str:
        return f"{self.study.address.replace('http', 'ws', 1)}/ws/{room}"

    async def _over(self, seat: Seat, why: str) -> None:
        """Wait for the end of the room.

        Raises:
            Unexpected: it ends for another reason.
        """
        await seat.over.wait()
        if seat.ended not in (why, "closed"):
            raise Unexpected(f"the room ended because of {seat.ended or 'nothing we were told'}, not {why}")

    async def _attend(self, browser: Browser, seat: Seat) -> None:
        """Be in the room as the character has it; returns at its end, or when it is time for what they do then."""
        await seat.open()
        began = asyncio.get_running_loop().time()
        if seat.extras:
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARD_SECONDS):
                    await seat.greeted.wait()
        seconds = 60 * self.study.minutes if seat.seconds_left is None else seat.seconds_left
        last = seconds - min(LAST_SECONDS, seconds / 4)
        goes = {"leaves": 0.5, "withdraws": 0.6, "drops out": 0.4}.get(self.character)
        until = began + (last if goes is None else goes * last)
        acts: dict[str, Callable[[], Awaitable[None]]] = {
            "loses the line": lambda: self._lose(seat),
            "reloads": lambda: self._reload(browser, seat),
            "reacts": lambda: self._react(browser, seat),
        }
        act, turning = acts.get(self.character), began + last * self.random.uniform(0.3, 0.6)
        if self.character == "silent":
            await self._pause(seat, until)
            return
        while not seat.over.is_set() and (left := until - asyncio.get_running_loop().time()) > 0:
            if act is not None and asyncio.get_running_loop().time() >= turning:
                await act()
                act = None
            await self._say(seat)
            low, high = SAYS.get(self.character, OTHERWISE)
            hurry = min(1.0, self.study.minutes / USUAL_MINUTES)
            await self._pause(seat, until - left + self.random.uniform(low, high) * hurry)
        if self.character == "drops out" or (self.character == "leaves" and self.study.external):
            await seat.lose()

    async def _pause(self, seat: Seat, until: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await seat.over.wait()

    async def _lose(self, seat: Seat) -> None:
        """The line breaks, and is there again before anybody misses them."""
        await seat.lose()
        await asyncio.sleep(min(8.0, self.study.grace_seconds / 3))
        await seat.open()

    async def _reload(self, browser: Browser, seat: Seat) -> None:
        """The page is loaded again: it knows nothing, and is told all."""
        await seat.close()
        if not self.study.external and (await browser.open("/s")).room != self.room:
            raise Unexpected("the room is another one after the page was loaded again")
        seat.forget()
        await seat.open()

    async def _react(self, browser: Browser, seat: Seat) -> None:
        """Like a message, take it back, like another; report one and block who wrote it."""
        others = [one for one in seat.heard if not one.get("own")]
        if not others:
            return
        first, second = self.random.choice(others), self.random.choice(others)
        for message, liked in ((first, True), (first, False), (second, True)):
            done = await browser.post(self._deed(message, "like"), {"user": "participant"})
            told = done.get("message")
            if not isinstance(told, dict) or told.get("message_id") != message["message_id"]:
                raise Unexpected(f"a like was answered with {str(told)[:200]}, not with the message")
            if bool(told.get("likes_count")) < liked:
                raise Unexpected("a like was not counted")
        reported = self.random.choice(others)
        block = len(seat.names) > 1
        given: dict[str, object] = {"user": "participant", "reason": "a bot's report", "block": block}
        await browser.post(self._deed(reported, "report"), given)

    def _deed(self, message: dict[str, Any], deed: str) -> str:
        return f"/session/{self.room}/message/{message['message_id']}/{deed}"

    async def _say(self, seat: Seat) -> None:
        others = [one for one in seat.heard[-6:] if not one.get("own")]
        chance = self.random.random()
        if self.character == "terse":
            await seat.say(self._new(lambda: self.random.choice(SHORT)))
        elif others and chance < 0.3:
            await seat.say(self._new(self._claim), reply_to=self.random.choice(others))
        elif seat.names and chance < 0.6:
            whom = self.random.choice(sorted(set(seat.names) - seat.blocks) or seat.names)
            await seat.say(self._new(lambda: f"@{whom} {self._claim()}. What do you say?"))
        else:
            await seat.say(self._new(self._claim))

    def _claim(self) -> str:
        return f"{self.random.choice(OPENINGS)} {self.random.choice(CLAIMS)}"

    def _new(self, words: Callable[[], str]) -> str:
        """Something not said before, so that what is kept of it can be found again."""
        text = next((one for one in (words() for _ in range(10)) if one not in self._said), "")
        if not text:
            text = f"{words()} ({len(self._said) + 1})"
        self._said.add(text)
        return text
