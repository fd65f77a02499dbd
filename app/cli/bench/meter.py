"""CPU and memory of processes, as the kernel counts them."""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from app.db.queries import load

BENCH = load("bench")
PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Spent:
    """CPU-seconds up to now, and when that was. `postgres` is None where its processes can't be seen."""

    wall: float
    ours: float
    postgres: float | None

    def since(self, before: "Spent") -> "Spent":
        both = self.postgres is not None and before.postgres is not None
        postgres = self.postgres - before.postgres if both else None  # type: ignore[operator]  # both are there
        return Spent(self.wall - before.wall, self.ours - before.ours, postgres)


def _stat(pid: int | str) -> list[str]:
    """The fields of /proc/PID/stat behind the name: state, parent, …"""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def process_seconds(pid: int | str) -> float:
    """CPU-seconds of a living process: its first thread's in nanoseconds where the kernel has them, else in ticks."""
    fields = _stat(pid)
    if not fields:
        return 0.0
    ticks = (int(fields[11]) + int(fields[12])) / TICKS
    if int(fields[17]) > 1:
        return ticks
    try:
        exact = int((PROC / str(pid) / "schedstat").read_text().split()[0]) / 1e9
    except (OSError, ValueError, IndexError):
        return ticks
    return exact or ticks


def family_seconds(parent: int) -> float:
    """CPU-seconds of a process, of its children, and of the children it has had."""
    own = _stat(parent)
    if not own:
        return 0.0
    ended = (int(own[13]) + int(own[14])) / TICKS
    children = [p.name for p in PROC.iterdir() if p.name.isdigit() and _stat(p.name)[1:2] == [str(parent)]]
    return process_seconds(parent) + ended + sum(map(process_seconds, children))


async def postmaster(connection: asyncpg.Connection) -> int | None:
    """The process all of PostgreSQL's are children of; None when the server is not on this machine."""
    backend = _stat(await connection.fetchval(BENCH["backend"]))
    parent = int(backend[1]) if backend else 0
    try:
        name = (PROC / str(parent) / "comm").read_text().strip()
    except OSError:
        return None
    return parent if name.startswith("post") else None


def spent(postgres: int | None) -> Spent:
    """What this process and PostgreSQL have spent up to now."""
    return Spent(time.perf_counter(), time.process_time(), None if postgres is None else family_seconds(postgres))


def peak_mb() -> float:
    """The most memory this process ever held, in MB; since its own start where the kernel tells."""
    try:
        status = (PROC / "self" / "status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    except (OSError, ValueError, IndexError):
        import resource  # only where there is no /proc

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
