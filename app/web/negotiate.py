"""One address, two representations: a browser gets the page, a program JSON."""

from starlette.requests import Request


def wants_page(request: Request) -> bool:
    """Whether a browser asks: it names text/html, and before JSON."""
    accept = request.headers.get("accept", "")
    html, json = accept.find("text/html"), accept.find("application/json")
    return html >= 0 and (json < 0 or html < json)
