"""`simfeed trace`: what personas were told, thought and did."""

from itertools import zip_longest
from typing import Annotated, Any

import msgspec
import typer

from app.cli.common import Home, Json, err, go, opened, out, settings_for, show_json, table
from app.cli.intervene import data
from app.errors import NotFound
from app.ledger import transcript
from app.ledger.traces import TRACES
from app.llm.model import read_reply
from app.settings import Settings
from app.venues.run import TURNS
from app.world import interventions
from app.world.text import INT64_MAX


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
        began = data(await interventions.of_run(database, run_id))
        return {**dict(found), "turns": [dict(row) for row in turns], "interventions": began}


async def _read_turn(settings: Settings, turn_id: int) -> dict[str, Any]:
    async with opened(settings) as database:
        found = await database.fetchrow(TURNS["turn"], turn_id)
        if found is None:
            raise NotFound(f"no turn has the number {turn_id}: `simfeed trace RUN` lists a run's")
        calls = await database.fetch(TURNS["turn_calls"], turn_id)
        actions = await database.fetch(TURNS["turn_actions"], turn_id)
        shown = await database.fetch(TRACES["exposures"], turn_id)
    return {**dict(found), "steps": [_step(call, actions, shown) for call in calls]}


def _step(call: Any, actions: list[Any], shown: list[Any]) -> dict[str, Any]:
    skip = {"told", "reply", "response", "options", "tools_sha256"}
    return {
        **{name: value for name, value in dict(call).items() if name not in skip},
        "told": [msgspec.json.decode(message) for message in transcript.told(call)],
        "said": read_reply(call["status"], call["reply"]).text,
        "actions": [dict(action) for action in actions if action["step"] == call["step"]],
        "exposures": [dict(one) for one in shown if one["step"] == call["step"]],
    }


def _show_run(found: dict[str, Any]) -> None:
    rows: list[tuple[object, ...]] = [
        (t["id"], f"@{t['username']}", t["state"], t["reason"], t["steps"], t["started_at"], t["ended_at"])
        for t in found["turns"]
    ]
    for one in found["interventions"]:
        out.print(f"It began with intervention {one['id']}: {one['summary']} ({one['state']})", markup=False)
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
        for seen in step["exposures"]:
            out.print(_indented(_seen(seen)), markup=False, highlight=False, style="dim")
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


def _seen(seen: dict[str, Any]) -> str:
    """A reading: its items in order, and each one's reason where the ranker gave any."""
    columns = (seen["shown"], seen["scores"], seen["reasons"], seen["chances"])
    why = [
        str(item)
        + (
            f" ({reason}; score {score:.4g}" + (f", chance {chance:.4g})" if chance is not None else ")")
            if reason
            else ""
        )
        for item, score, reason, chance in zip_longest(*columns)
    ]
    if seen["kind"] == "memory":
        return f"remembered by {seen['ranker']} v{seen['version']}, best first: memories {', '.join(why)}"
    return f"shown before: {seen['kind']}s by {seen['ranker']} v{seen['version']}: {', '.join(why)}"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
