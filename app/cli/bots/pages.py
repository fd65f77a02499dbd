"""A participant's browser without a screen: cookies, pages, forms."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from types import TracebackType
from urllib.parse import urlencode, urlsplit

import httpx2

PATIENCE = 30.0
"""Seconds that an answer may take."""


class Unexpected(Exception):
    """The study did something that a participant would be puzzled by."""


@dataclass
class Form:
    """A form: where it goes, what it holds already, and what it asks. `choices`: the values of radios and boxes."""

    action: str
    given: list[tuple[str, str]] = field(default_factory=list)
    choices: dict[str, list[str]] = field(default_factory=dict)
    texts: set[str] = field(default_factory=set)
    buttons: list[tuple[str, str]] = field(default_factory=list)

    def __contains__(self, name: str) -> bool:
        return name in self.choices or name in self.texts

    def hidden(self, name: str) -> str:
        return next((value for known, value in self.given if known == name), "")


@dataclass
class Page:
    """What a page holds for somebody who acts on it; `codes`: the words of elements that have an id."""

    status: int
    path: str
    forms: list[Form]
    codes: dict[str, str]
    room: str
    title: str

    def form(self, action: str) -> Form | None:
        return next((form for form in self.forms if form.action == action), None)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.codes: dict[str, str] = {}
        self.room = ""
        self.title = ""
        self._form: Form | None = None
        self._into = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        has = {name: value or "" for name, value in attributes}
        self._into = "title" if tag == "title" else has.get("id", "") if tag == "code" else ""
        self.room = has.get("data-room") or self.room
        if tag == "form":
            self._form = Form(has.get("action", ""))
            self.forms.append(self._form)
        elif self._form is not None and (name := has.get("name")):
            self._field(self._form, tag, name, has)

    def _field(self, form: Form, tag: str, name: str, has: dict[str, str]) -> None:
        kind, value = has.get("type", "text"), has.get("value", "")
        if tag == "button":
            form.buttons.append((name, value))
        elif tag == "textarea":
            form.texts.add(name)
        elif tag == "input" and kind == "hidden":
            form.given.append((name, value))
        elif tag == "input" and kind in ("radio", "checkbox"):
            form.choices.setdefault(name, []).append(value)
        elif tag == "input":
            form.texts.add(name)

    def handle_endtag(self, tag: str) -> None:
        self._into = ""
        if tag == "form":
            self._form = None

    def handle_data(self, data: str) -> None:
        if self._into == "title":
            self.title += data
        elif self._into:
            self.codes[self._into] = self.codes.get(self._into, "") + data.strip()


class Browser:
    """Keeps cookies, follows redirects, and sends what a page's forms hold."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._client = httpx2.AsyncClient(
            base_url=address,
            follow_redirects=True,
            timeout=PATIENCE,
            trust_env=False,
            headers={"Accept": "text/html", "Sec-Fetch-Site": "same-origin"},
        )

    async def __aenter__(self) -> "Browser":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def open(self, path: str, *, status: int = 200) -> Page:
        """A page.

        Raises:
            Unexpected: it is answered otherwise than with `status`.
        """
        return _page(await self._client.get(path), status)

    async def send(self, form: Form, *fields: tuple[str, str], status: int = 200) -> Page:
        """A form with these fields, and what follows it."""
        answer = await self._client.post(
            form.action,
            content=urlencode([*form.given, *fields]),
            headers={"Content-Type": "application/x-www-form-urlencoded", "Origin": self.address},
        )
        return _page(answer, status)

    async def post(self, path: str, given: dict[str, object], *, status: int = 200) -> dict[str, object]:
        """JSON, as scripts of a page and clients of other systems send it."""
        answer = await self._client.post(path, json=given, headers={"Accept": "application/json"})
        _check(answer, status)
        found = answer.json()
        return found if isinstance(found, dict) else {}


def _check(answer: httpx2.Response, status: int) -> None:
    if answer.status_code != status:
        route = "/".join(urlsplit(str(answer.url)).path.split("/")[:2])  # what follows may let somebody in
        raise Unexpected(f"{answer.request.method} {route} … was answered with {answer.status_code}, not {status}")


def _page(answer: httpx2.Response, status: int) -> Page:
    _check(answer, status)
    reader = _Reader()
    reader.feed(answer.text)
    path = urlsplit(str(answer.url)).path
    return Page(answer.status_code, path, reader.forms, reader.codes, reader.room, " ".join(reader.title.split()))
