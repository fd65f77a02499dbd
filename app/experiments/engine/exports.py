"""Results in the engine's format as files: JSON, CSV, Markdown, HTML and plain text."""

import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from app.analysis.tables import Column, Table, to_csv
from app.errors import Invalid

Result = Mapping[str, Any]
TURNS = (Column("turn", "integer"), Column("speaker"), Column("role"), Column("text"), Column("timestamp"))
STYLE = """:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif}
body{max-width:46rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse}th,td{text-align:left;padding:.2rem .8rem .2rem 0;vertical-align:top}
blockquote{margin:0 0 1.5rem;padding-left:1rem;border-left:3px solid}li{margin:.6rem 0}small{opacity:.7}
svg{max-width:100%;height:auto;background:#fff}"""


def as_json(result: Result) -> bytes:
    """The result as it is."""
    return json.dumps(result, ensure_ascii=False, allow_nan=False, indent=2).encode() + b"\n"


def as_csv(result: Result) -> bytes:
    """The transcript: turn, speaker, role, text, timestamp. What a spreadsheet would reckon with is guarded."""
    names = [column.name for column in TURNS]
    return to_csv(Table(TURNS, tuple(tuple(entry[name] for name in names) for entry in result["transcript"])))


def as_text(result: Result) -> bytes:
    """What was said, a paragraph each."""
    said = [f"{_plain(one['speaker'])}: {_plain(one['text'])}" for one in result["transcript"]]
    head = [f"Seed text: {_plain(result['config']['seed_text'])}"]
    return "\n\n".join([*head, *said, _told(result)]).encode() + b"\n"


def as_markdown(result: Result) -> bytes:
    """The same with a table of figures; nothing that was said is Markdown here."""
    parts = ["# Simulation", f"> {_marked(result['config']['seed_text'])}", "## Personas"]
    parts.append("\n".join(f"- **{_marked(a['name'])}**, {_marked(a['role'] or '—')}" for a in result["agents"]))
    parts.append("## Transcript")
    parts += [f"**{one['turn']}. {_marked(one['speaker'])}:** {_marked(one['text'])}" for one in result["transcript"]]
    rows = "\n".join(f"| {_marked(name)} | {value} |" for name, value in figures(result))
    parts += ["## Figures", f"| what | value |\n|---|---|\n{rows}", _marked(_told(result))]
    return ("\n\n".join(parts) + "\n").encode()


def as_html(result: Result, charts: Sequence[str] = ()) -> bytes:
    """A page that needs nothing else; `charts` are SVG that this program drew. Whatever was said is text in it."""
    people = "".join(
        f"<li><strong>{escape(a['name'])}</strong>, {escape(a['role'] or '—')}</li>" for a in result["agents"]
    )
    said = "".join(
        f"<li value={int(one['turn'])}><strong>{escape(one['speaker'])}:</strong> {_lines(one['text'])} "
        f"<small>{escape(one['timestamp'] or '')}</small></li>"
        for one in result["transcript"]
    )
    rows = "".join(
        f"<tr><th scope=row>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in figures(result)
    )
    drawn = "".join(f"<figure>{chart}</figure>" for chart in charts)
    csp = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" '
        f'content="{csp}"><meta name="viewport" content="width=device-width"><title>Simulation</title>'
        f"<style>{STYLE}</style><main><h1>Simulation</h1><blockquote>{_lines(result['config']['seed_text'])}</blockquote>"
        f"<h2>Personas</h2><ul>{people}</ul><h2>Transcript</h2><ol>{said}</ol><h2>Figures</h2>"
        f"<table>{rows}</table>{drawn}<p>{escape(_told(result))}</p></main></html>\n"
    )
    return page.encode()


FORMS: Mapping[str, Callable[[Result], bytes]] = {
    "json": as_json,
    "csv": as_csv,
    "md": as_markdown,
    "html": as_html,
    "txt": as_text,
}


def forms_of(wanted: str) -> list[str]:
    """Names of forms, separated by commas.

    Raises:
        Invalid: one is none.
    """
    names = list(dict.fromkeys(name.strip().lower() for name in wanted.split(",") if name.strip()))
    if not names or (strange := [name for name in names if name not in FORMS]):
        raise Invalid(f"--format: {', '.join(strange)[:60] if names else 'nothing'} is none of {', '.join(FORMS)}")
    return names


def figures(result: Result) -> list[tuple[str, str]]:
    """The metrics, and who said how much where that was analysed, as words."""
    found = [(name.replace("_", " "), _number(value)) for name, value in result["metrics"].items()]
    for one in result.get("analysis", {}).get("speakers", []):
        share = "—" if one["share"] is None else f"{one['share']:.1%}"
        found.append((one["speaker"], f"{one['messages']} messages, {one['words']} words ({share})"))
    return found


def _number(value: float) -> str:
    return f"{value:,.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else f"{value:,}"


def _told(result: Result) -> str:
    """How it ended, in a sentence."""
    session = result["session"]
    reason = f" ({session['reason']})" if session["reason"] else ""
    return f"{'Succeeded' if result['success'] else 'Failed'}: {session['status']}{reason}; seed {session['seed']}."


def _plain(text: str) -> str:
    """Without what a terminal would obey; further lines are indented."""
    shown = ["".join(c if c.isprintable() or c == "\t" else " " for c in line) for line in text.strip().splitlines()]
    return "\n  ".join(shown)


def _marked(text: str) -> str:
    """Text that stays text in Markdown."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|&" else c for c in " ".join(_plain(text).split()))


def _lines(text: str) -> str:
    return escape(_plain(text)).replace("\n", "<br>")
