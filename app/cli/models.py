"""`simfeed models`: which models there are, and whether one calls tools as asked."""

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import Field, TypeAdapter, ValidationError

from app import strict_json
from app.cli.common import EXIT_FAILED, Home, Json, err, go, settings_for, show_json, table
from app.errors import Invalid, Misconfigured
from app.llm import local
from app.llm.conformance import check as check_model
from app.llm.gateway import Gateway, ready
from app.llm.pricing import CUSTOM, LOCAL, OLD_DAYS, SCRIPTED, OwnPrices, doubts, own_prices, price, providers
from app.settings import Settings
from app.venues.session.files import read_bytes

Dollars = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
Prices = dict[str, Annotated[list[Dollars], Field(min_length=3, max_length=3)]]
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


@app.command("prices")
def prices(
    check_file: Annotated[
        Path | None,
        typer.Option("--check", metavar="FILE", help='Compare with a JSON list: {"MODEL": [PROMPT, CACHED, WRITTEN]}.'),
    ] = None,
    days: Annotated[int, typer.Option(min=0, max=36_500, help="Doubt what is older than so many days.")] = OLD_DAYS,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed models prices
      simfeed models prices --days 30 --json
      simfeed models prices --check invoice.json

    The prices that costs are counted by: US dollars a million tokens, when each was last looked up, and where. With
    --check, exit code 1 if any differs.
    """
    own = own_prices(settings_for(home).model_prices)
    if check_file is not None:
        _compare(check_file, own, json=json)
        return
    found = [_priced(model, own, days) for model in _models(own)]
    if json:
        show_json(found)
        return
    rows: list[tuple[object, ...]] = [
        (
            one["model"],
            *one["price"],
            one["as_of"] or "unknown",
            one["source"],
            "" if one["doubt"] is None else "doubtful",
        )
        for one in found
    ]
    table("", "model", "prompt", "cached", "written", "as of", "source", "", rows=rows, empty="")
    for one in found:
        if one["doubt"] is not None:
            err.print(one["doubt"], markup=False, highlight=False)


def _models(own: OwnPrices) -> list[str]:
    listed = [f"{provider.name}/{name}" for provider in providers().values() for name in provider.prices]
    return list(dict.fromkeys([*listed, *(f"{provider}/{name}" for provider, name in own)]))


def _priced(model: str, own: OwnPrices, days: int) -> dict[str, Any]:
    provider, _, name = model.partition("/")
    preset = providers().get(provider)
    mine = (provider, name) in own
    known = own[provider, name] if mine else price(model)
    assert known is not None  # noqa: S101 - only models with a price are listed
    seen = preset.as_of.get(name) if preset is not None and not mine else None
    return {
        "model": name if provider == CUSTOM else model,
        "price": [known.prompt, known.cached, known.completion],
        "as_of": seen.isoformat() if seen is not None else "now" if mine else None,
        "source": "MODEL_PRICES" if mine or preset is None else preset.source,
        "doubt": None if mine else doubts(model, own, days=days),
    }


def _compare(path: Path, own: OwnPrices, *, json: bool) -> None:
    differ: list[dict[str, Any]] = []
    for model, theirs in _list_of(path).items():
        known = price(model, own)
        ours = None if known is None else [known.prompt, known.cached, known.completion]
        if ours != theirs:
            differ.append({"model": model, "ours": ours, "theirs": theirs})
    if json:
        show_json(differ)
    else:
        rows: list[tuple[object, ...]] = [
            (one["model"], "/".join(map(str, one["ours"] or ["unknown"])), "/".join(map(str, one["theirs"])))
            for one in differ
        ]
        table("", "model", "counted by", f"in {path.name}", rows=rows, empty="All of them are as we count.")
    if differ:
        raise typer.Exit(EXIT_FAILED)


def _list_of(path: Path) -> dict[str, list[float]]:
    """A user's list of prices.

    Raises:
        NotFound, Invalid: it can't be read, or is none; names the places.
    """
    try:
        value = strict_json.loads(read_bytes(path), allow_bom=True)
        return TypeAdapter(Prices).validate_python(value)
    except strict_json.JSONError as error:
        raise Invalid(f"{path.name}: is not JSON: {error}") from None
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:10])
        raise Invalid(f"{path.name}: {faults}") from None
