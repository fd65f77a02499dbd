"""What observers and API keys may change: the one place that says so, asked for every request of an admin.

Whoever is signed in may read everything. An unsafe request is for admins, unless it stands here.
"""

from starlette.requests import Request

from app.auth.admins import AdminInfo
from app.errors import Forbidden

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
OBSERVERS = frozenset(
    {
        ("POST", "/auths/logout"),
        ("PUT", "/auths/password"),
        ("POST", "/auths/keys"),
        ("DELETE", "/auths/keys/{key_id}"),
        ("POST", "/admin/logout"),
        ("POST", "/admin/access/password"),
        ("POST", "/admin/access/sessions/end"),
        ("POST", "/admin/access/sessions/end-all"),
        ("POST", "/admin/access/totp/begin"),
        ("POST", "/admin/access/totp/confirm"),
        ("POST", "/admin/access/totp/off"),
        ("POST", "/admin/access/keys"),
        ("POST", "/admin/access/keys/{key_id}/revoke"),
        ("POST", "/admin/personas/preview"),
        ("POST", "/admin/safety/find"),
        ("POST", "/admin/worlds/compare"),
    }
)
"""What is their own, and three forms that only look something up."""

PEOPLE = frozenset({("POST", "/auths/logout"), ("PUT", "/auths/password"), ("POST", "/auths/keys")})
"""What an API key can't do: end a session it does not have, and make what would outlive it."""

OBSERVER = (
    "you are an observer here: you see everything, and admins change it. Ask one of them to do this, or for the role"
)


def permit(request: Request, admin: AdminInfo, *, by_key: bool = False) -> None:
    """Let a request pass that this admin may make.

    Raises:
        Forbidden: they may not.
    """
    if request.method in SAFE:
        return
    wish = (request.method, request.scope["route"].path)
    if admin.role != "admin" and wish not in OBSERVERS:
        raise Forbidden(OBSERVER)
    if by_key and wish in PEOPLE:
        raise Forbidden("an API key can't do this: sign in with your password")
