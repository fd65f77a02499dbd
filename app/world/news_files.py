"""News feeds as files: RSS 2.0, Atom 1.0, JSON Feed 1.1, and our own items as JSON Lines. All of it is hostile input.

XML is read by `defusedxml` without any DTD, so that no entity is ever expanded or looked up. What is HTML becomes plain
text. Nothing that a file names is fetched.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from pydantic import ValidationError

from app import strict_json
from app.errors import Invalid
from app.world.news import ITEMS_MAX, SOURCE_MAX, TEXT_MAX, NewsItem

BYTES_MAX = 5 * 1024 * 1024
MARKUP_MAX = 20_000
"""Characters of a description that are looked at: ten times what is kept."""

ATOM = "{http://www.w3.org/2005/Atom}"
XHTML = "{http://www.w3.org/1999/xhtml}"
JSON_FEED = re.compile(r"https?://(?:www\.)?jsonfeed\.org/version/1(?:\.1)?")
SPACE = re.compile(r"[^\S\n]+")
BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "br",
        "dd",
        "div",
        "dl",
        "dt",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "li",
        "main",
        "nav",
        "ol",
        "p",
        "pre",
        "section",
        "table",
        "td",
        "th",
        "tr",
        "ul",
    ]
)
UNSEEN = frozenset(
    [
        "script",
        "style",
        "template",
        "iframe",
        "object",
        "noscript",
        "svg",
        "math",
        "head",
        "title",
        "textarea",
        "select",
    ]
)
KNOWN = "an RSS 2.0, Atom or JSON Feed file, or JSON Lines with a news item on each"


@dataclass(frozen=True)
class Problem:
    """What is wrong with an item; items count from 1."""

    item: int
    field: str
    message: str

    def __str__(self) -> str:
        return f"item {self.item}{f', {self.field}' if self.field else ''}: {self.message}"


@dataclass
class Found:
    """The items of a file that can be taken, and what is wrong with the others."""

    items: list[NewsItem] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


class Unusable(Exception):
    """A field of an item holds what it may not."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.field = name


class _Words(HTMLParser):
    """Collects what a reader would see."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []
        self._unseen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in UNSEEN:
            self._unseen.append(tag)
        elif tag in BLOCKS:
            self.words.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._unseen:
            del self._unseen[self._unseen.index(tag) :]
        elif tag in BLOCKS:
            self.words.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.words.append(data)


def plain(markup: str) -> str:
    """HTML as plain text: no tags, no scripts, entities as the characters they stand for."""
    words = _Words()
    words.feed(markup[:MARKUP_MAX])
    words.close()
    lines = (SPACE.sub(" ", line).strip() for line in "".join(words.words).split("\n"))
    return "\n".join(line for line in lines if line)


def cut(text: str, limit: int = TEXT_MAX) -> str:
    """At most `limit` characters, ending on a word."""
    return text if len(text) <= limit else text[: limit - 1].rsplit(None, 1)[0].rstrip() + "…"


def read_news(path: Path) -> Found:
    """Read the items of the file at `path`; see `parse_news`."""
    try:
        with path.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise Invalid(f"{path}: cannot be read: {error.strerror or error}") from None
    return parse_news(data, path.name)


def parse_news(data: bytes, name: str) -> Found:
    """The items in `data`, the content of the file `name`, and what is wrong with others.

    Raises:
        Invalid: the file as a whole can't be read; nothing that is wrong with one item alone.
    """
    if len(data) > BYTES_MAX:
        raise Invalid(f"{name}: is larger than {BYTES_MAX // 1024**2} MiB, the most that is read")
    if not data.strip():
        raise Invalid(f"{name}: is empty; it must be {KNOWN}")
    start = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    is_xml = (
        start.startswith(b"<") or data[:4] in (b"\xff\xfe<\0", b"\xfe\xff\0<") or data[:4] in (b"<\0?\0", b"\0<\0?")
    )
    drafts = list(_of_xml(data, name) if is_xml else _of_json(data, name))
    if not drafts:
        raise Invalid(f"{name}: holds no items")
    if len(drafts) > ITEMS_MAX:
        raise Invalid(f"{name}: holds {len(drafts):,} items; at most {ITEMS_MAX:,} are taken of one file")
    found = Found()
    for number, draft in enumerate(drafts, 1):
        try:
            if isinstance(draft, Unusable):
                raise draft
            found.items.append(NewsItem.model_validate(draft))
        except Unusable as wrong:
            found.problems.append(Problem(number, wrong.field, str(wrong)))
        except ValidationError as wrong:
            found.problems += [Problem(number, ".".join(map(str, e["loc"])), e["msg"]) for e in wrong.errors()]
    return found


Draft = dict[str, Any] | Unusable


def _of_xml(data: bytes, name: str) -> Iterator[Draft]:
    try:
        root = fromstring(data, forbid_dtd=True, forbid_entities=True, forbid_external=True)
    except DefusedXmlException:
        raise Invalid(f"{name}: declares a DTD or entities, which are not read: take <!DOCTYPE …> out of it") from None
    except (ParseError, ValueError, LookupError) as error:
        raise Invalid(f"{name}: is not well-formed XML: {' '.join(str(error).split())[:200]}") from None
    if root.tag == "rss":
        channel = root.find("channel")
        if channel is None:
            raise Invalid(f"{name}: is RSS without a <channel>")
        whose = _said(channel.find("title"))
        return (_made(_of_rss, item, whose) for item in channel.iterfind("item"))
    if root.tag == f"{ATOM}feed":
        whose = _said(root.find(f"{ATOM}title"))
        return (_made(_of_atom, entry, whose) for entry in root.iterfind(f"{ATOM}entry"))
    raise Invalid(f"{name}: begins with <{root.tag[:60]}>; it must be {KNOWN}")


def _made(reader: Any, value: Any, whose: str) -> Draft:
    try:
        draft: dict[str, Any] = reader(value, whose)
    except Unusable as wrong:
        return wrong
    return {key: value for key, value in draft.items() if value is not None}


def _said(element: Element | None) -> str:
    """All the text of an element, without markup."""
    return "" if element is None else plain("".join(element.itertext()))


def _of_rss(item: Element, whose: str) -> dict[str, Any]:
    text, title = _said(item.find("description")), " ".join(_said(item.find("title")).split())
    guid = item.find("guid")
    marked, link = _bare(guid), _bare(item.find("link"))
    if link is None and marked and guid is not None and guid.get("isPermaLink", "true") == "true":
        link = marked if marked.startswith(("http://", "https://")) else None
    return {
        "title": title or cut(text.partition("\n")[0], 120),
        "text": cut(text),
        "source": cut(_said(item.find("source")) or whose, SOURCE_MAX),
        "url": link,
        "guid": marked,
        "published_at": _moment("pubDate", _bare(item.find("pubDate"))),
    }


def _bare(element: Element | None) -> str | None:
    return ((element.text or "").strip() or None) if element is not None else None


def _of_atom(entry: Element, whose: str) -> dict[str, Any]:
    body = entry.find(f"{ATOM}summary")
    text = _content(body if body is not None else entry.find(f"{ATOM}content"))
    links = [one for one in entry.iterfind(f"{ATOM}link") if one.get("rel", "alternate") == "alternate"]
    source = entry.find(f"{ATOM}source/{ATOM}title")
    published = _bare(entry.find(f"{ATOM}published"))
    name = "published" if published else "updated"
    return {
        "title": " ".join(_content(entry.find(f"{ATOM}title")).split()),
        "text": cut(text),
        "source": cut(_said(source) or whose, SOURCE_MAX),
        "url": next((href for one in links if (href := one.get("href"))), None),
        "guid": _bare(entry.find(f"{ATOM}id")),
        "published_at": _moment(name, published or _bare(entry.find(f"{ATOM}updated"))),
    }


def _content(element: Element | None) -> str:
    """A text construct of Atom (RFC 4287, 3.1): text, HTML, or XHTML, whose scripts are no text."""
    if element is None:
        return ""
    for parent in list(element.iter()):
        for child in [one for one in parent if str(one.tag).removeprefix(XHTML) in UNSEEN]:
            parent.remove(child)
    said = "".join(element.itertext())
    return (
        plain(said)
        if element.get("type") == "html"
        else "\n".join(" ".join(x.split()) for x in said.split("\n")).strip()
    )


def _moment(name: str, text: object) -> datetime | None:
    """A time as RFC 822 or RFC 3339 has it; without a zone it is UTC."""
    if text is None:
        return None
    try:
        if not isinstance(text, str) or len(text) > 60:
            raise ValueError
        found = datetime.fromisoformat(text) if text[:1].isdigit() and "-" in text[:6] else parsedate_to_datetime(text)
    except (ValueError, IndexError, TypeError, OverflowError):
        shown = text[:40] if isinstance(text, str) else type(text).__name__
        raise Unusable(
            name, f"must be a time such as 2026-11-20T12:00:00Z or Fri, 20 Nov 2026 12:00:00 GMT, not {shown!r}"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _of_json(data: bytes, name: str) -> Iterator[Draft]:
    try:
        text = strict_json.decode(data, allow_bom=True)
    except strict_json.JSONError as error:
        raise Invalid(f"{name}: {error}; it must be {KNOWN}, in UTF-8") from None
    try:
        whole: Any = strict_json.loads(text)
    except strict_json.JSONError as error:
        if not text.lstrip().startswith("{") or "\n" not in text.strip():
            raise Invalid(f"{name}: {error}; it must be {KNOWN}") from None
        return _of_lines(text)
    if isinstance(whole, dict) and ("version" in whole or "items" in whole):
        version = whole.get("version")
        if not isinstance(version, str) or not JSON_FEED.fullmatch(version):
            raise Invalid(f"{name}: its version must be https://jsonfeed.org/version/1.1, not {str(version)[:60]!r}")
        items = whole.get("items")
        if not isinstance(items, list):
            raise Invalid(f"{name}: its `items` must be a list")
        whose = whole.get("title")
        return (_made(_of_json_feed, item, plain(whose) if isinstance(whose, str) else "") for item in items)
    if isinstance(whole, dict):
        return iter([_ours(whole)])
    raise Invalid(f"{name}: must be {KNOWN}")


def _of_lines(text: str) -> Iterator[Draft]:
    for line in text.split("\n"):
        if line.strip():
            try:
                yield _ours(strict_json.loads(line))
            except strict_json.JSONError as error:
                yield Unusable("", f"is not JSON: column {error.column}: {error.message}")


def _ours(value: object) -> Draft:
    if not isinstance(value, dict):
        return Unusable("", "must be an object with title, text, source, url, published_at, guid; only title is needed")
    if not isinstance(moment := value.get("published_at"), str):
        return value
    try:
        return value | {"published_at": _moment("published_at", moment)}
    except Unusable as wrong:
        return wrong


def _of_json_feed(item: object, whose: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise Unusable("", "must be an object")

    def said(name: str) -> str:
        value = item.get(name)
        if value is not None and not isinstance(value, str):
            raise Unusable(name, "must be a text")
        return value or ""

    text = said("content_text") or said("summary") or plain(said("content_html"))
    marked = item.get("id")
    return {
        "title": " ".join(said("title").split()) or cut(text.strip().partition("\n")[0], 120),
        "text": cut(text.strip()),
        "source": cut(whose, SOURCE_MAX),
        "url": said("url").strip() or said("external_url").strip() or None,
        "guid": str(marked)[:2_001] if isinstance(marked, str | int) and not isinstance(marked, bool) else None,
        "published_at": _moment("date_published", item.get("date_published")),
    }
