"""`simfeed run`, `runs` and `trace`: a cycle now, and what became of earlier ones."""

from typing import Annotated, Any

import msgspec
import typer

from app.cli.common import EXIT_FAILED, Home, Json, err, go, opened, out, settings_for, show_json, table
from app.cli.progress import play, summary
from app.errors import NotFound
from app.ledger import transcript
from app.llm.gateway import ready
from app.llm.model import read_reply
from app.llm.remedies import REMEDIES
from app.settings import Settings
from app.venues.estimate import keep_estimate
from app.venues.feed import open_cycle
from app.venues.run import TURNS, open_mind, resume_run, stop_run
from app.world.text import INT64_MAX

RunNumber = Annotated[int, typer.Argument(min=1, max=INT64_MAX, help="A run's number.")]
BudgetUsd = Annotated[float | None, typer.Option(min=0.0001, help="Most US dollars that this run may spend.")]
BudgetTokens = Annotated[int | None, typer.Option(min=1, max=INT64_MAX, help="Most tokens that this run may use.")]


def run(
    model: Annotated[str | None, typer.Option(help="Model of personas that name none.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**62, help="Order, waking and the offline model.")] = None,
    budget_usd: BudgetUsd = None,
    budget_tokens: BudgetTokens = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed run
      simfeed run --seed 7 --json
      OPENAI_API_KEY=… simfeed run --model gpt-4o-mini --budget-usd 0.50

    Play one cycle now: every persona that wakes has one turn.
    """
    settings = settings_for(home, simfeed_model=model)
    ready(settings, settings.simfeed_model)
    _finish(go(_run(settings, seed, _terms(budget_usd, budget_tokens))), json=json)


def _terms(budget_usd: float | None, budget_tokens: int | None) -> dict[str, Any]:
    """What a run has instead of the settings' caps."""
    given = {"budget_usd": budget_usd, "budget_tokens": budget_tokens}
    return {name: value for name, value in given.items() if value is not None}


def _finish(result: dict[str, Any], *, json: bool) -> None:
    if json:
        show_json(result)
    else:
        _show_summary(result)
    if result["state"] == "failed":
        raise typer.Exit(EXIT_FAILED)


async def _run(settings: Settings, seed: int | None, terms: dict[str, Any]) -> dict[str, Any]:
    async with opened(settings) as database, open_mind(settings, database, works=True) as mind:
        run_id = await open_cycle(mind, settings, seed=seed, terms=terms)
        assert run_id is not None  # noqa: S101 - a slot of its own is never taken
        await keep_estimate(database, settings, run_id, settings.simfeed_model)
        await play(mind, settings, run_id, title=f"Run {run_id}")
        return await summary(mind, run_id)


def _off(times: float | None) -> str:
    return "" if times is None else f", {times:.2f} × the estimate"


def _show_summary(result: dict[str, Any]) -> None:
    if not result["turns"]["total"]:
        err.print("Nobody woke: there is no active persona. `simfeed personas add` or `import` makes some.")
        return
    turns = [(f"turns {row['state']}", row["turns"], row["reason"]) for row in result["turns"]["ended"]]
    actions = [(row["name"], row["times"], row["outcome"]) for row in result["actions"]]
    dollars = f"${result['cost_usd']:.4f}" + (
        f" and {result['unpriced']} calls of unknown price" * bool(result["unpriced"])
    )
    prompt = f"{result['prompt_tokens']:,} prompt ({result['cached_tokens']:,} cached)"
    tokens = f"{prompt}, {result['completion_tokens']:,} written"
    off = result["estimate_off"] or {}
    lost = f", {result['lost_calls']} lost" * bool(result["lost_calls"])
    totals = [
        ("model calls", result["calls"], f"{result['failed_calls']} failed{lost}{_off(off.get('calls'))}"),
        ("tokens", tokens, _off(off.get("tokens")).lstrip(", ")),
        ("cost", dollars, _off(off.get("usd")).lstrip(", ")),
    ]
    marked = [("texts that are marked", times, mark) for mark, times in result["marked"].items()]
    rows: list[tuple[object, ...]] = [*turns, *actions, *marked, ("refused", result["refused"], ""), *totals]
    reason = f" ({result['reason']})" if result["reason"] else ""
    table(f"Run {result['run']}: {result['state']}{reason}", "what", "how many", "how", rows=rows, empty="")
    for trouble in result["troubles"]:
        why = REMEDIES.get(trouble["status"], trouble["status"])
        err.print(f"{trouble['times']} × {trouble['model']}: {why} ({trouble['detail']})", markup=False)
    err.print(f"simfeed trace {result['run']} shows who did what.", markup=False)
    if result["state"] in ("stopped", "budget_exhausted", "failed", "partial", "paused"):
        more = " --budget-usd …" if result["state"] == "budget_exhausted" else ""
        err.print(f"simfeed runs resume {result['run']}{more} goes on with it.", markup=False)


app = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode=None,
    help="\b\nExamples:\n  simfeed runs\n  simfeed runs --limit 100 --json\n  simfeed runs stop 7\n"
    "  simfeed runs resume 7 --budget-usd 2\n\nThe newest runs; and how to stop one, and go on with it.",
)


@app.command("stop")
def stop(number: RunNumber, home: Home = None) -> None:
    """\b
    Examples:
      simfeed runs stop 7

    No further step of a run is begun, by any process; what is done stays. `resume` goes on.
    """

    async def work() -> None:
        async with opened(settings_for(home)) as database:
            await stop_run(database, number)

    go(work())
    err.print(f"Run {number} is stopped. `simfeed runs resume {number}` goes on with it.", markup=False)


@app.command("resume")
def resume(
    number: RunNumber,
    budget_usd: BudgetUsd = None,
    budget_tokens: BudgetTokens = None,
    leave: Annotated[bool, typer.Option("--leave", help="Leave it to the server and the workers.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed runs resume 7                       a run that was stopped, or whose provider was away
      simfeed runs resume 7 --budget-usd 2        one that had used up its budget
      simfeed runs resume 7 --leave               played by the server or a worker, not here

    Go on with a run from its last step. Turns that a provider let down are played on.
    """
    settings = settings_for(home)
    result = go(_resume(settings, number, _terms(budget_usd, budget_tokens), leave=leave))
    if leave:
        err.print(f"Run {number} goes on as soon as a server or worker has time.", markup=False)
    else:
        _finish(result, json=json)


async def _resume(settings: Settings, run_id: int, terms: dict[str, Any], *, leave: bool) -> dict[str, Any]:
    async with opened(settings) as database, open_mind(settings, database, works=not leave) as mind:
        for provider in mind.pulse.blocked():
            mind.pulse.unblock(provider)
        await mind.pulse.beat()
        await resume_run(database, run_id, terms=terms)
        if not leave:
            await play(mind, settings, run_id, title=f"Run {run_id}")
        return await summary(mind, run_id)


@app.callback()
def runs(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    home: Home = None,
    json: Json = False,
) -> None:
    """List the newest runs."""
    if context.invoked_subcommand is not None:
        return

    async def read() -> list[dict[str, Any]]:
        async with opened(settings_for(home)) as database:
            return [dict(row) for row in await database.fetch(TURNS["runs"], INT64_MAX, limit)]

    rows = go(read())
    if json:
        show_json(rows)
        return
    cells: list[tuple[object, ...]] = [
        (r["id"], r["venue"], r["state"], r["reason"], r["turns_total"], r["started_at"], r["ended_at"], r["slot"])
        for r in rows
    ]
    table(
        "",
        "run",
        "venue",
        "state",
        "reason",
        "turns",
        "started",
        "ended",
        "slot",
        rows=cells,
        empty="No runs yet: `simfeed run`.",
    )


def trace(
    number: Annotated[int, typer.Argument(min=1, max=INT64_MAX, help="A run's number, or with --turn a turn's.")],
    turn: Annotated[bool, typer.Option("--turn", help="NUMBER is a turn's, not a run's.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed trace 1           the turns of run 1
      simfeed trace --turn 17   everything said and done in turn 17

    Read what personas were told, thought and did.
    """
    found = go(_read_turn(settings_for(home), number) if turn else _read_run(settings_for(home), number))
    if json:
        show_json(found)
    elif turn:
        _show_turn(found)
    else:
        _show_run(found)


async def _read_run(settings: Settings, run_id: int) -> dict[str, Any]:
    async with opened(settings) as database:
        found = await database.fetchrow(TURNS["run"], run_id)
        if found is None:
            raise NotFound(f"no run has the number {run_id}: `simfeed runs` lists them")
        turns = await database.fetch(TURNS["run_turns"], run_id)
        return {**dict(found), "turns": [dict(row) for row in turns]}


async def _read_turn(settings: Settings, turn_id: int) -> dict[str, Any]:
    async with opened(settings) as database:
        found = await database.fetchrow(TURNS["turn"], turn_id)
        if found is None:
            raise NotFound(f"no turn has the number {turn_id}: `simfeed trace RUN` lists a run's")
        calls = await database.fetch(TURNS["turn_calls"], turn_id)
        actions = await database.fetch(TURNS["turn_actions"], turn_id)
    return {**dict(found), "steps": [_step(call, actions) for call in calls]}


def _step(call: Any, actions: list[Any]) -> dict[str, Any]:
    skip = {"told", "reply", "response", "options", "tools_sha256"}
    return {
        **{name: value for name, value in dict(call).items() if name not in skip},
        "told": [msgspec.json.decode(message) for message in transcript.told(call)],
        "said": read_reply(call["status"], call["reply"]).text,
        "actions": [dict(action) for action in actions if action["step"] == call["step"]],
    }


def _show_run(found: dict[str, Any]) -> None:
    rows: list[tuple[object, ...]] = [
        (t["id"], f"@{t['username']}", t["state"], t["reason"], t["steps"], t["started_at"], t["ended_at"])
        for t in found["turns"]
    ]
    title = f"Run {found['id']} ({found['venue']}): {found['state']}"
    table(title, "turn", "persona", "state", "reason", "steps", "started", "ended", rows=rows, empty="Nobody woke.")
    if rows:
        err.print(f"simfeed trace --turn {rows[0][0]} reads one.", markup=False)


def _show_turn(found: dict[str, Any]) -> None:
    ended = f"{found['state']} ({found['reason']})" if found["reason"] else found["state"]
    out.print(f"Turn {found['id']} of run {found['run_id']}: @{found['username']}, {ended}", markup=False, style="bold")
    for step in found["steps"]:
        for message in step["told"]:
            out.print(f"\n  {message['role']}", style="cyan", markup=False)
            out.print(_indented(str(message.get("content") or "")), markup=False, highlight=False)
        cost = "price unknown" if step["cost_usd"] is None else f"${step['cost_usd']:.6f}"
        facts = f"{step['prompt_tokens']}+{step['completion_tokens']} tokens, {cost}, {step['latency_ms']} ms"
        out.print(
            f"\n  step {step['step']}: {step['model_returned']}, {step['status']}, {facts}", style="green", markup=False
        )
        if step["detail"] or step["said"]:
            out.print(_indented(step["detail"] or step["said"]), markup=False, highlight=False)
        for action in step["actions"]:
            made = f" #{action['object_id']}" if action["object_id"] is not None else ""
            why = f": {action['detail']}" if action["detail"] else ""
            line = f"{action['name']} {action['arguments']} → {action['outcome']}{made}{why}"
            out.print(_indented(line), markup=False, highlight=False)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
