"""`simfeed models`: which models there are, and whether one calls tools as asked."""

from typing import Annotated, Any

import typer

from app.cli.common import EXIT_FAILED, Home, Json, err, go, settings_for, show_json, table
from app.errors import Misconfigured
from app.llm import local
from app.llm.conformance import check as check_model
from app.llm.gateway import Gateway, ready
from app.llm.pricing import LOCAL, SCRIPTED, providers
from app.settings import Settings

IN_PROCESS = {SCRIPTED: "offline, no language model", LOCAL: "in this process, a tiny language model"}

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="\b\nExamples:\n  simfeed models list\n  simfeed models check gpt-4o-mini\n"
    "  simfeed models check ollama/qwen3:8b\n\nWhich models there are, and whether one calls tools as asked.",
)


@app.command("list")
def list_(home: Home = None, json: Json = False) -> None:
    """\b
    Examples:
      simfeed models list

    The presets, whether their keys are set, and the prices known: US dollars a million tokens, prompt/cached/written.
    """
    settings = settings_for(home)
    found: list[dict[str, Any]] = [
        {"preset": name, "base_url": "", "key": "", "ready": name == SCRIPTED or _installed(), "prices": {}}
        for name in IN_PROCESS
    ]
    for provider in providers().values():
        ready = not provider.key or bool(getattr(settings, provider.key.lower(), None))
        prices = {name: [p.prompt, p.cached, p.completion] for name, p in provider.prices.items()}
        found.append(
            {
                "preset": provider.name,
                "base_url": provider.base_url,
                "key": provider.key,
                "ready": ready,
                "prices": prices,
            }
        )
    if json:
        show_json(found)
        return
    rows: list[tuple[object, ...]] = []
    for entry in found:
        state = "ready" if entry["ready"] else f"set {entry['key']}" if entry["key"] else "not installed"
        shown = "; ".join(f"{name} {'/'.join(map(str, price))}" for name, price in entry["prices"].items())
        rows.append((entry["preset"], state, entry["base_url"] or IN_PROCESS[entry["preset"]], shown))
    table("", "preset", "state", "where", "prices", rows=rows, empty="")


def _installed() -> bool:
    try:
        local.require()
    except Misconfigured:
        return False
    return True


@app.command("check")
def check(
    model: Annotated[str, typer.Argument(help="A model, as NAME or PRESET/NAME.")],
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed models check gpt-4o-mini
      simfeed models check scripted

    Ask a model to call tools, and say what it did: two short calls, which cost what they cost.
    """
    settings = settings_for(home)
    ready(settings, model)
    found = go(_check(settings, model))
    if json:
        show_json(found)
    else:
        rows: list[tuple[object, ...]] = [(f["check"], "ok" if f["ok"] else "no", f["detail"]) for f in found]
        table(model, "check", "result", "detail", rows=rows, empty="")
        if not all(f["ok"] for f in found):
            err.print("A model without function calling can play with --tool-mode json.", markup=False)
    if not all(f["ok"] for f in found):
        raise typer.Exit(EXIT_FAILED)


async def _check(settings: Settings, model: str) -> list[dict[str, Any]]:
    gateway = Gateway(settings)
    try:
        return [dict(found) for found in await check_model(gateway, model)]
    finally:
        await gateway.aclose()
