"""`simfeed admin`: who may manage this instance."""

import secrets
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from app.auth import admins, keys, passwords, second_factor
from app.cli.common import Home, Json, err, go, opened, settings_for, show_json, table
from app.errors import Invalid
from app.world.text import INT64_MAX, Email, Line

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="\b\nExamples:\n  simfeed admin invite ada@example.org\n  simfeed admin list\n"
    "  simfeed admin reset-password ada\n  simfeed admin key create ada --name ci\n\nWho may manage this instance.",
)
key_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="\b\nExamples:\n  simfeed admin key create ada --name ci\n  simfeed admin key list\n"
    "  simfeed admin key revoke 3\n\nKeys by which programs do what an admin may.",
)
app.add_typer(key_app, name="key")


@app.command()
def invite(
    email: Annotated[str, typer.Argument(help="The address the invitation is for.")],
    observer: Annotated[bool, typer.Option("--observer", help="To see everything and change nothing.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed admin invite ada@example.org

    Invite somebody to become admin (or observer), within a day. The token is shown once, on stdout.
    """
    try:
        address = TypeAdapter(Email).validate_python(email)
    except ValidationError:
        raise Invalid(f"{email} is not an e-mail address") from None

    async def work() -> dict[str, Any]:
        async with opened(settings_for(home)) as database:
            token, row = await admins.invite(database, address, by=None, role="observer" if observer else "admin")
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
        (r["id"], r["username"], r["role"], r["email"], r["created_at"], r["disabled_at"]) for r in rows
    ]
    table(
        "",
        "id",
        "username",
        "role",
        "e-mail",
        "since",
        "disabled",
        rows=cells,
        empty="No admin yet: `simfeed up` says how.",
    )


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


@app.command("reset-totp")
def reset_totp(
    login: Annotated[str, typer.Argument(help="Username or e-mail.")],
    home: Home = None,
) -> None:
    """\b
    Examples:
      simfeed admin reset-totp ada

    Turn an admin's authenticator off: for those who lost it and all recovery codes.
    """

    async def work() -> None:
        async with opened(settings_for(home)) as database:
            await second_factor.reset(database, login)

    go(work())
    err.print("their password alone signs them in now", markup=False)


@key_app.command("create")
def create_key(
    login: Annotated[str, typer.Argument(help="Username or e-mail of the admin it acts for.")],
    name: Annotated[str, typer.Option(help="Which program it is for.")],
    days: Annotated[int, typer.Option(min=1, max=keys.DAYS_MAX, help="Days that it lives.")] = keys.DAYS,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed admin key create ada --name ci --days 30

    A key for a program: it may do what this admin may. It is shown once, on stdout.
    """
    try:
        named = TypeAdapter(Line).validate_python(name)
    except ValidationError:
        raise Invalid("a key's name is one line of 1 to 200 characters") from None

    async def work() -> dict[str, Any]:
        async with opened(settings_for(home)) as database:
            admin_id = await admins.known(database, login)
            key, row = await keys.create(database, admin_id, name=named, days=days, by=None)
            return {**dict(row), "key": key}

    made = go(work())
    if json:
        show_json(made)
        return
    typer.echo(made["key"])
    err.print(f"until {made['expires_at']:%Y-%m-%d %H:%M} UTC: send it as Authorization: Bearer", markup=False)


@key_app.command("list")
def list_keys(home: Home = None, json: Json = False) -> None:
    """\b
    Examples:
      simfeed admin key list --json

    The newest 200 keys, those that live first, and when each was used last.
    """

    async def read() -> list[dict[str, Any]]:
        async with opened(settings_for(home)) as database:
            return [dict(row) for row in await keys.listed(database)]

    rows = go(read())
    if json:
        show_json(rows)
        return
    cells: list[tuple[object, ...]] = [
        (r["id"], r["owner"], r["name"], r["state"], r["last_used_at"], r["expires_at"]) for r in rows
    ]
    empty = "No key yet: `simfeed admin key create NAME --name PROGRAM` makes one."
    table("", "id", "of", "program", "state", "last used", "ends", rows=cells, empty=empty)


@key_app.command("revoke")
def revoke_key(
    key_id: Annotated[int, typer.Argument(min=1, max=INT64_MAX, help="Its id, as `simfeed admin key list` says.")],
    home: Home = None,
) -> None:
    """\b
    Examples:
      simfeed admin key revoke 3

    End a key at once.
    """

    async def work() -> None:
        async with opened(settings_for(home)) as database:
            await keys.revoke(database, key_id, by=None)

    go(work())
    err.print("revoked; who shows it is refused", markup=False)
