"""`simfeed admin`: who may manage this instance."""

import secrets
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from app.auth import admins, passwords
from app.cli.common import Home, Json, err, go, opened, settings_for, show_json, table
from app.errors import Invalid
from app.world.text import Email

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="\b\nExamples:\n  simfeed admin invite ada@example.org\n  simfeed admin list\n"
    "  simfeed admin reset-password ada\n\nWho may manage this instance.",
)


@app.command()
def invite(
    email: Annotated[str, typer.Argument(help="The address the invitation is for.")],
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed admin invite ada@example.org

    Invite somebody to become admin, within a day. The token is shown once, on stdout.
    """
    try:
        address = TypeAdapter(Email).validate_python(email)
    except ValidationError:
        raise Invalid(f"{email} is not an e-mail address") from None

    async def work() -> dict[str, Any]:
        async with opened(settings_for(home)) as database:
            token, row = await admins.invite(database, address, by=None)
            return {**dict(row), "invite_token": token}

    made = go(work())
    if json:
        show_json(made)
        return
    typer.echo(made["invite_token"])
    err.print(f"for {address}, until {made['expires_at']:%Y-%m-%d %H:%M} UTC: POST /auths/register", markup=False)


@app.command("list")
def list_(home: Home = None, json: Json = False) -> None:
    """\b
    Examples:
      simfeed admin list --json

    All admins.
    """

    async def read() -> list[dict[str, Any]]:
        async with opened(settings_for(home)) as database:
            return [dict(row) for row in await admins.admins(database)]

    rows = go(read())
    if json:
        show_json(rows)
        return
    cells: list[tuple[object, ...]] = [
        (r["id"], r["username"], r["email"], r["created_at"], r["disabled_at"]) for r in rows
    ]
    table("", "id", "username", "e-mail", "since", "disabled", rows=cells, empty="No admin yet: `simfeed up` says how.")


@app.command("reset-password")
def reset_password(
    login: Annotated[str, typer.Argument(help="Username or e-mail.")],
    password: Annotated[str | None, typer.Option(help="The new one; without it, one is generated.")] = None,
    home: Home = None,
) -> None:
    """\b
    Examples:
      simfeed admin reset-password ada

    Set a new password and end every session of this admin. A generated one is shown once, on stdout.
    """
    chosen = password or secrets.token_urlsafe(18)
    if not passwords.MIN <= len(chosen) <= passwords.MAX:
        raise Invalid(f"a password has {passwords.MIN} to {passwords.MAX} characters")

    async def work() -> None:
        async with opened(settings_for(home)) as database:
            await admins.set_password(database, login, chosen)

    go(work())
    if password is None:
        typer.echo(chosen)
    err.print("password set; every session of theirs has ended", markup=False)
