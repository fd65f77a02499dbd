"""What routes are handed: the house they serve, and who is asking."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import OAuth2PasswordBearer

from app.agent.turn import Mind
from app.auth.admins import AdminInfo, acting
from app.db.engine import Database
from app.db.worlds import HOME
from app.errors import Unauthorized
from app.scheduler import Scheduler
from app.settings import Settings
from app.web import roles
from app.world.clock import Watch


@dataclass
class House:
    """Everything a running server holds open."""

    settings: Settings
    database: Database
    mind: Mind
    scheduler: Scheduler
    watch: Watch

    @property
    def secret(self) -> str:
        return self.settings.secret_key.get_secret_value()

    @property
    def world(self) -> str | None:
        """The name of the world that is served; None where it is the home world."""
        name = self.settings.simfeed_world
        return name if name and name.lower() != HOME else None


@dataclass(frozen=True)
class SignedIn:
    """An admin and the session of the request; a program's key has none."""

    admin: AdminInfo
    jti: str | None


_bearer = OAuth2PasswordBearer(tokenUrl="auths/login", auto_error=False)


async def house(request: Request) -> House:
    # Not a plain function: FastAPI would send each request through a thread for it.
    found = request.app.state.house
    assert isinstance(found, House)  # noqa: S101 - the lifespan has set it
    return found


async def signed_in_admin(
    request: Request, given: Annotated[House, Depends(house)], token: Annotated[str | None, Depends(_bearer)]
) -> SignedIn:
    if not token:
        raise Unauthorized(
            "sign in first: send `Authorization: Bearer` with the access_token of POST /auths/login, or with an API key"
        )
    admin, jti = await acting(given.database, given.secret, token)
    roles.permit(request, admin, by_key=jti is None)
    return SignedIn(admin, jti)


TheHouse = Annotated[House, Depends(house)]
TheAdmin = Annotated[SignedIn, Depends(signed_in_admin)]
