"""What a page holds by the dozen, made in Python: a Jinja macro takes five times as long.

Every value that a persona or an admin wrote goes through `escape` here.
"""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from markupsafe import Markup, escape

from app.actions.showing import ago

_AI = Markup('<span class="mark" title="Written by a language model, not by a person">AI</span>')


MACHINE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's term for what a model made."""

UNITS = ((1e9, "B"), (1e6, "M"), (1e3, "K"))


def compact(number: float) -> str:
    """`1234` as `1.2K`."""
    for bound, unit in UNITS:
        if abs(number) >= bound:
            return f"{number / bound:.1f}".rstrip("0").rstrip(".") + unit
    return f"{number:g}"


def icons(paths: Mapping[str, str]) -> Callable[[str], Markup]:
    """Line drawings of 24 × 24 units, by name."""
    drawn = {
        name: Markup(
            '<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">'
            f'<path d="{escape(path)}"/></svg>'
        )
        for name, path in paths.items()
    }
    return drawn.__getitem__


@lru_cache(maxsize=4096)
def face(handle: str, size: int = 44) -> Markup:
    """The picture of a handle; beside its name, so it needs no text."""
    address = f"/avatar/{quote(handle, safe='')}.svg"
    return Markup(f'<img class="face" src="{address}" width="{size}" height="{size}" alt="" loading="lazy">')


def moment(value: datetime) -> str:
    """An absolute time for people."""
    return f"{value.astimezone(UTC):%d %b %Y, %H:%M:%S} UTC"


WORLD_AT: ContextVar[datetime | None] = ContextVar("world_at", default=None)
"""Where the clock of the world that is shown stands; None where it is real."""


def happened(value: datetime) -> Markup:
    """How long ago in the world something happened, and exactly when."""
    at = WORLD_AT.get()
    if at is None:
        return when(value)
    return Markup(f'<time datetime="{value.isoformat()}" title="{moment(value)}">{ago(value, at)}</time>')


def when(value: datetime) -> Markup:
    """How long ago, and exactly when."""
    iso = value.isoformat()
    return Markup(f'<time datetime="{iso}" title="{moment(value)}" data-ago>{ago(value, datetime.now(UTC))}</time>')


def ai() -> Markup:
    """The visible mark of what a model wrote."""
    return _AI


def chip(text: str) -> Markup:
    return Markup(f'<span class="chip">{escape(text)}</span>')


def prose(text: str) -> Markup:
    """A sentence of ours, in which what stands between backticks is code."""
    parts = (
        Markup("<code>{}</code>").format(part) if n % 2 else escape(part) for n, part in enumerate(text.split("`"))
    )
    return Markup().join(parts)


def state(name: str) -> Markup:
    """A state's name with its colour."""
    safe = escape(name)
    return Markup(f'<span class="state state-{safe}">{safe.replace("_", " ")}</span>')


def persona_link(handle: str, name: str | None = "", id: int = 0, departed: bool = False) -> Markup:  # noqa: A002
    """A persona's names; a handle may be another's since its owner departed, so the number leads to that one."""
    address = f"/persona/{id}" if departed else f"/@{quote(handle, safe='')}"
    gone = ' <span class="chip">departed</span>' if departed else ""
    return Markup(
        f'<a class="person" href="{address}"><strong dir="auto">{escape(name or handle)}</strong>'
        f' <span class="handle">@{escape(handle)}</span></a>{gone}'
    )


QUOTED_MAX = 240
"""Characters of a quoted post that a card shows."""


def quoted(post: Mapping[str, Any]) -> str:
    """The post that a post quotes, as a small card in it; empty where there is none to be seen."""
    if post["quote_of"] is None:
        return ""
    number, author = post["quote_of"], escape(post["quote_username"])
    body = post["quote_body"]
    text = escape(body if len(body) <= QUOTED_MAX else body[: QUOTED_MAX - 1].rsplit(" ", 1)[0] + "…")
    title = f'<strong dir="auto">{escape(post["quote_title"])}</strong> ' if post["quote_title"] else ""
    return (
        f'<blockquote class="quoted" cite="/post/{number}"><p class="quoted-by"><a href="/post/{number}">'
        f'<span class="unseen">Quotes a post by </span>@{author}</a></p>'
        f'<p class="quoted-text" dir="auto">{title}{text}</p></blockquote>'
    )


def dislikes(number: int) -> str:
    """How many dislike a post, where anybody does."""
    if not number:
        return ""
    return f'<span class="dislikes">{compact(number)} dislike{"s" * (number != 1)}</span>'


def card_with(icon: Callable[[str], Markup]) -> Callable[..., Markup]:
    """What draws a post as it stands in lists, and `large` on its own page; `place` is its position in a feed."""
    comment, like, share, why = icon("comment"), icon("like"), icon("share"), icon("why")

    def card(post: Mapping[str, Any], leaning: str = "", place: int = 0, large: bool = False) -> Markup:
        number, author = post["id"], escape(post["author_username"])
        names = persona_link(
            post["author_username"], post["author_display_name"], post["author_id"], post["author_departed"]
        )
        comments, likes, reposts = post["comments_count"], post["likes_count"], post["reposts_count"]
        original = escape(post["repost_of_username"] or "")
        shared = f'<p class="shared">{share}shares what <a href="/@{original}">@{original}</a> said</p>' * bool(
            original
        )
        title = (
            f'<h2 class="title" dir="auto" itemprop="headline">{escape(post["title"])}</h2>' if post["title"] else ""
        )
        below = quoted(post)
        felt = dislikes(post["dislikes_count"])
        seat = f' tabindex="0" aria-posinset="{place}" aria-setsize="-1"' if place else ""
        leans = f" {chip(leaning)}" if leaning else ""
        return Markup(
            f'<article class="post{" post-large" * large}" id="post-{number}" data-post="{number}"'
            f' data-ai-generated="true" itemscope itemtype="https://schema.org/SocialMediaPosting"{seat}'
            f' aria-labelledby="by-{number}"><meta itemprop="digitalSourceType" content="{MACHINE}">'
            f'{face(post["author_username"], 52 if large else 44)}<div class="post-in">{shared}'
            f'<p class="by" id="by-{number}">{names}{leans} <span class="stamp"><a class="at" href="/post/{number}"'
            f' itemprop="url">{happened(post["created_at"])}</a> {_AI}</span></p>{title}'
            f'<p class="body" dir="auto" itemprop="articleBody">{escape(post["body"])}</p>{below}<p class="acts">'
            f'<a href="/post/{number}#comments" aria-label="{comments} comment{"s" * (comments != 1)}">'
            f'{comment}<span data-count="comments">{compact(comments)}</span></a>'
            f'<a href="/post/{number}#likes" aria-label="{likes} like{"s" * (likes != 1)}">'
            f'{like}<span data-count="likes">{compact(likes)}</span></a>'
            f'<span title="shared {reposts} times">{share}<span data-count="reposts">{compact(reposts)}</span>'
            f'<span class="unseen"> shares</span></span>{felt}'
            f'<a class="why" href="/post/{number}#why" aria-label="Why did @{author} post this?">'
            f"{why}<span>why?</span></a></p></div></article>\n"
        )

    return card
