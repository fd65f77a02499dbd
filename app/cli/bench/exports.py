"""`simfeed bench export`: how long a dataset of a large world takes, and how much memory the process that writes it."""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.cli.bench import place, report, world
from app.cli.bench.report import Verdict
from app.cli.common import err, go, out, table
from app.errors import Unavailable
from app.settings import Settings

SECONDS_MOST, MB_MOST = 120.0, 300.0
LIKES_EACH = 6


class Wanted(msgspec.Struct):
    """What the command was asked for."""

    rows: int
    formats: str
    zipped: bool


def measure(settings: Settings, wanted: Wanted) -> dict[str, Any]:
    """Make a world of about so many rows, export and check it in processes of their own, and return the report."""
    machine = report.machine()
    posts = max(50, round(wanted.rows / (3 + LIKES_EACH + 0.21)))  # with its counters and a comment; 20 follow each
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        place.server(settings) as server,
        server.database() as url,
        tempfile.TemporaryDirectory(prefix="simfeed-bench-") as room,
    ):
        if not err.is_terminal:
            err.print(f"making a world of {wanted.rows:,} rows", markup=False)
        with Progress(*columns, console=err, disable=not err.is_terminal) as bar:
            held = go(world.make(url, posts, posts * LIKES_EACH, bar))
        target = Path(room, "town.zip" if wanted.zipped else "town")
        build = _run(url, "build", "-o", str(target), "--formats", wanted.formats, "--json")
        check = _run(url, "check", str(target), "--json")
        files = json.loads(build["stdout"])["files"]
        size = sum(one["bytes"] for one in files)
        packed = target.stat().st_size if wanted.zipped else None
        shutil.rmtree(target, ignore_errors=True)
    found = json.loads(check["stdout"])
    return {
        "machine": {**machine, "server": server.label},
        "asked": msgspec.to_builtins(wanted),
        "world": held,
        "rows": found["rows"],
        "files": len(files),
        "mb": size / 1e6,
        "packed_mb": None if packed is None else packed / 1e6,
        "build": {name: build[name] for name in ("seconds", "cpu_seconds", "peak_mb")},
        "check": {name: check[name] for name in ("seconds", "cpu_seconds", "peak_mb")},
        "sound": found["sound"],
        "targets": [
            Verdict(f"export of {found['rows']:,} rows", build["seconds"], SECONDS_MOST, "s").plain(),
            Verdict("most memory of the exporting process", build["peak_mb"], MB_MOST, "MB").plain(),
        ],
    }


def _run(url: str, *words: str) -> dict[str, Any]:
    """`simfeed dataset …` in a process of its own: its seconds, CPU (without PostgreSQL) and most memory."""
    begun = time.perf_counter()
    given = {**os.environ, "DATABASE_URL": url}
    code = "from app.cli import main; main()"
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", code, "dataset", *words], stdout=subprocess.PIPE, env=given, text=True
    ) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        stdout = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise Unavailable(f"`simfeed dataset {words[0]}` ended with {process.returncode}")
    return {
        "stdout": stdout,
        "seconds": time.perf_counter() - begun,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_mb": _mb(used),
    }


def _mb(used: resource.struct_rusage) -> float:
    return used.ru_maxrss / (1024 * 1024 if sys.platform == "darwin" else 1024)


def show(found: dict[str, Any]) -> None:
    n = report.number
    rows: list[tuple[object, ...]] = [
        (what, n(found[what]["seconds"]), n(found[what]["cpu_seconds"]), n(found[what]["peak_mb"]))
        for what in ("build", "check")
    ]
    title = f"{found['rows']:,} rows as {found['asked']['formats']}: {found['files']} files, {found['mb']:,.0f} MB"
    table(title, "simfeed dataset", "seconds", "CPU seconds", "most memory, MB", rows=rows, empty="")
    out.print("CPU and memory are the process's own, without PostgreSQL.", markup=False)
    report.show_verdicts([Verdict(**{k: v for k, v in t.items() if k != "reached"}) for t in found["targets"]])
