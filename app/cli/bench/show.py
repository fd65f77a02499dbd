"""How the report of `bench turns` is shown."""

from typing import Any

from app.cli.bench import report
from app.cli.bench.figures import LABELS
from app.cli.bench.report import Verdict, number, ratio
from app.cli.common import out, table

BARE = {"http": "the bare vendor's client", "raw": "a bare aiohttp client"}
FUNCTIONS = 12


def show(found: dict[str, Any]) -> None:
    _show_costs([*found["configurations"], *found["floors"]])
    _show_prompts([r for r in found["configurations"] if r["kind"] not in ("flow", "thousand")])
    for floor in found["floors"]:
        _show_floor(floor, found["configurations"])
    report.show_verdicts([Verdict(**{k: v for k, v in t.items() if k != "reached"}) for t in found["targets"]])
    for profile in found["profiles"]:
        _show_profile(profile)
    out.print(
        "Every turn came to its end and every counter equals its recount."
        if found["sound"]
        else "NOT SOUND: turns are open or failed, or counters differ from a recount; --json says which.",
        markup=False,
    )


def _show_costs(configurations: list[dict[str, Any]]) -> None:
    rows: list[tuple[object, ...]] = [
        (
            f"{r['over']}: {r['name']}",
            f"{r['turns']:,}",
            f"{r['steps']:,}",
            number(r["steps_per_second"], 0),
            number(r["ours_ms"]),
            number(r["postgres_ms"]),
            number(r["cpu_ms"]),
            number(r["peak_mb"], 0),
        )
        for r in configurations
    ]
    head = ("what", "turns", "steps", "steps/s", "ours", "database", "both", "MB")
    table("A step is one model call with its actions, committed. CPU-ms a step", *head, rows=rows, empty="")


def _show_prompts(configurations: list[dict[str, Any]]) -> None:
    figures = ("first_call_tokens", "tokens_a_call", "tokens_an_action")
    rows: list[tuple[object, ...]] = [
        (f"{r['over']}: {r['name']}", *(number(r[figure], 0) for figure in figures)) for r in configurations
    ]
    first = configurations[0]
    exact = f"{first['requests_rebuilt_exactly']} of {first['requests_counted']} rebuilt to the byte"
    title = f"Prompt tokens ({first['tokens_counted']}; {exact})"
    table(title, "what", "first call", "a call", "an action", rows=rows, empty="")


def _show_floor(floor: dict[str, Any], configurations: list[dict[str, Any]]) -> None:
    over, personas = floor["over"], floor["personas"]
    ours = next(r for r in configurations if (r["kind"], r["over"], r["personas"]) == ("sized", over, personas))
    times, more = ratio(ours["cpu_ms"], floor["cpu_ms"]), None
    if ours["cpu_ms"] is not None and floor["cpu_ms"] is not None:
        more = ours["cpu_ms"] - floor["cpu_ms"]
    out.print(
        f"Floor: {BARE[over]} and one asyncpg insert a step, the same requests, the same stub: "
        f"{number(floor['cpu_ms'])} ms. Ours {LABELS[over]} takes {number(times)} times that, {number(more)} ms more.",
        markup=False,
    )


def _show_profile(profile: dict[str, Any]) -> None:
    total = profile["ours_ms"] + (profile["postgres_ms"] or 0)
    parts = {name: share * profile["ours_ms"] for name, share in profile.get("layers", {}).items()}
    parts["PostgreSQL"] = profile["postgres_ms"]
    rows: list[tuple[object, ...]] = [
        (name, number(ms, 3), "–" if ms is None else f"{ms / total:.0%}") for name, ms in parts.items()
    ]
    what = f"{profile['over']}, {profile['personas']:,} personas; {profile.get('samples', 0):,} samples"
    table(f"Where a step's CPU goes ({what})", "layer", "ms a step", "share", rows=rows, empty="")
    functions = list(profile.get("functions", {}).items())[:FUNCTIONS]
    ran: list[tuple[object, ...]] = [(name, number(share * profile["ours_ms"], 3)) for name, share in functions]
    table("Functions that ran themselves", "function", "ms a step", rows=ran, empty="")
